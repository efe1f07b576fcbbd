use super::*;

fn kconfig(text: &str) -> Kconfig {
    Kconfig::of_text(text)
}

fn values(lines: &[&str]) -> Values {
    let text: String = lines.iter().map(|line| format!("CONFIG_{line}\n")).collect();
    Values::parse(&text).unwrap()
}

const NETWORK: &str = r#"
menuconfig NETDEVICES
	bool "Network device support"
	depends on NET
	help
	  if this were read as a statement, it would open a block

	  config NOT_A_SYMBOL

if NETDEVICES

config MII
	tristate

menuconfig NET_CORE
	default y
	bool "Network core driver support"

if NET_CORE

config TUN
	tristate "Universal TUN/TAP device driver support"
	depends on INET && \
		   !BROKEN # not there yet
	select CRC32 if X86
	select MII

endif # NET_CORE

endif

menu "Debugging"
	depends on DEBUG_KERNEL

config EXPERT
	bool "Configure standard kernel features" if !EMBEDDED || SURE

config HZ
	int "Ticks, \"jiffies\"" if EXPERT
	default 100

endmenu
"#;

#[test]
fn missing_dependencies_are_named_with_those_of_the_blocks_around() {
    let kconfig = kconfig(NETWORK);
    let explain = |lines: &[&str]| kconfig.explain("TUN", "y", &values(lines));
    assert_eq!(
        explain(&["NETDEVICES=y", "INET=y"]),
        ["it needs NET_CORE, which is n (Kconfig:21)"]
    );
    assert_eq!(
        explain(&["NETDEVICES=y", "NET_CORE=y", "BROKEN=y"]),
        [
            "it needs INET, which is n (Kconfig:21)",
            "it needs `!BROKEN`, where BROKEN is y (Kconfig:21)"
        ]
    );
    assert_eq!(
        explain(&["NETDEVICES=y", "NET_CORE=y", "INET=m", "TUN=m"]),
        ["it needs INET, which is m (Kconfig:21)"]
    );
}

#[test]
fn help_is_no_statement() {
    let kconfig = kconfig(NETWORK);
    assert!(!kconfig.has("NOT_A_SYMBOL"));
    assert_eq!(
        kconfig.explain("NETDEVICES", "y", &values(&[])),
        ["it needs NET, which is n (Kconfig:2)"]
    );
}

#[test]
fn what_cannot_be_asked_for_is_said() {
    let kconfig = kconfig(NETWORK);
    assert_eq!(
        kconfig.explain("MII", "y", &values(&["NETDEVICES=y"])),
        ["nobody is asked about it: it is selected by TUN"]
    );
    assert_eq!(
        kconfig.explain("HZ", "250", &values(&["DEBUG_KERNEL=y", "HZ=100"])),
        ["it can be asked for only with EXPERT, which is n (Kconfig:38)"]
    );
    assert_eq!(
        kconfig.explain("EXPERT", "y", &values(&["EMBEDDED=y"])),
        [
            "it needs DEBUG_KERNEL, which is n (Kconfig:35)",
            "it can be asked for only with `!EMBEDDED || SURE`, where EMBEDDED is y, SURE is n (Kconfig:35)",
        ]
    );
}

#[test]
fn what_turns_a_symbol_on_is_named() {
    let kconfig = kconfig(NETWORK);
    assert_eq!(
        kconfig.explain("MII", "n", &values(&["MII=y", "TUN=y"])),
        ["it is selected by TUN"]
    );
    let expert = values(&["DEBUG_KERNEL=y", "EMBEDDED=y", "EXPERT=y"]);
    assert_eq!(
        kconfig.explain("EXPERT", "n", &expert),
        ["it can be turned off only with `!EMBEDDED || SURE`, where EMBEDDED is y, SURE is n"]
    );
}

#[test]
fn of_several_definitions_the_nearest_is_explained() {
    let kconfig = kconfig("config A\n bool 'a'\n depends on X && Y\nconfig A\n depends on Z\n");
    assert_eq!(kconfig.explain("A", "y", &values(&[])), ["it needs Z, which is n (Kconfig:4)"]);
}

#[test]
fn the_other_member_of_a_choice_is_named() {
    let kconfig = kconfig(
        "choice\n\tprompt \"Log\"\nconfig LOUD\n\tbool \"loud\"\nconfig CALM\n\tbool \"calm\"\n\
         endchoice\n",
    );
    assert_eq!(
        kconfig.explain("CALM", "y", &values(&["LOUD=y"])),
        ["of the choice at Kconfig:1, LOUD was taken"]
    );
}

#[test]
fn included_files_are_read_in_the_blocks_around() {
    let read = |name: &str| match name {
        "Kconfig" => Some("if NET\nsource \"arch/$(SRCARCH)/Kconfig\"\nsource gone\nendif".into()),
        "arch/um/Kconfig" => Some("config TAP\n\tbool \"tap\"\n".to_owned()),
        _ => None,
    };
    let kconfig = Kconfig::parse("Kconfig", read);
    assert_eq!(
        kconfig.explain("TAP", "y", &values(&[])),
        ["it needs NET, which is n (arch/um/Kconfig:1)"]
    );
}

#[test]
fn a_file_that_includes_itself_comes_to_an_end() {
    assert!(kconfig("config A\nsource Kconfig\n").has("A"));
}

#[test]
fn the_nearest_name_is_proposed() {
    let kconfig = kconfig(NETWORK);
    assert_eq!(kconfig.nearest("NET_DEVICES"), Some("NETDEVICES"));
    assert_eq!(kconfig.nearest("SOMETHING_ELSE"), None);
}
