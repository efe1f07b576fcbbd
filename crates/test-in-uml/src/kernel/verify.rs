//! Whether a configuration is what was asked for; where it is not, which line, and why.

use anyhow::{Result, ensure};

use super::fragment::{ConfigRequest, Requested, Values};
use super::kconfig::Kconfig;

/// Checks that the tree has every symbol that is asked for.
///
/// # Errors
/// When it does not have one: with each place, and the nearest name.
pub fn symbols(request: &ConfigRequest, kconfig: &Kconfig) -> Result<()> {
    let unknown: Vec<String> = request
        .iter()
        .filter(|requested| !kconfig.has(&requested.setting.symbol))
        .map(|requested| {
            let symbol = &requested.setting.symbol;
            let nearest = kconfig.nearest(symbol);
            let nearest = nearest.map_or_else(String::new, |name| format!("; is it {name}?"));
            format!("\n  {}: no Kconfig file defines {symbol}{nearest}", requested.place())
        })
        .collect();
    ensure!(
        unknown.is_empty(),
        "this kernel does not have all that is asked for:{}",
        unknown.concat()
    );
    Ok(())
}

/// What a configuration holds, in which every line took that was asked for.
#[derive(Debug)]
pub struct VerifiedValues(Values);

impl VerifiedValues {
    /// Values of a configuration that was verified for the same request before.
    pub(super) fn as_before(values: Values) -> Self {
        Self(values)
    }

    /// The values.
    pub fn get(&self) -> &Values {
        &self.0
    }
}

/// Checks that every line took, and that the host's files stay out of a guest's reach.
///
/// # Errors
/// When one did not: with each place, what it became, and why, where Kconfig can tell.
pub fn values(
    request: &ConfigRequest,
    values: Values,
    kconfig: &Kconfig,
) -> Result<VerifiedValues> {
    let lost: Vec<String> = request
        .iter()
        .filter(|requested| values.get(&requested.setting.symbol) != requested.setting.value)
        .map(|requested| explained(requested, &values, kconfig))
        .collect();
    ensure!(lost.is_empty(), "Kconfig did not take all that is asked for:{}", lost.concat());
    ensure!(
        values.get("HOSTFS") == "n",
        "HOSTFS is on: a guest's root could read and write any file of yours with it; add \
         `# CONFIG_HOSTFS is not set` to a fragment"
    );
    Ok(VerifiedValues(values))
}

fn explained(requested: &Requested, values: &Values, kconfig: &Kconfig) -> String {
    let setting = &requested.setting;
    let became = match values.get(&setting.symbol) {
        "n" => "is not set",
        value => &format!("became {value}"),
    };
    let mut text = format!("\n  {}: {setting} {became}", requested.place());
    for reason in kconfig.explain(&setting.symbol, &setting.value, values) {
        text += &format!("\n    {reason}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn request(text: &str) -> ConfigRequest {
        ConfigRequest::merge([(PathBuf::from("kconfig/net.config"), text.to_owned())]).unwrap()
    }

    fn kconfig() -> Kconfig {
        let text = "config NET\n\tbool \"Networking\"\nconfig TUN\n\ttristate \"Tap\"\n\
                    \tdepends on NET\nconfig HOSTFS\n\ttristate \"Host\"\n\
                    config CON_CHAN\n\tstring \"Channel\"\n";
        Kconfig::of_text(text)
    }

    #[test]
    fn unknown_symbols_are_named_with_place_and_nearest_name() {
        let error =
            symbols(&request("CONFIG_NET=y\n\nCONFIG_TUNN=y\nCONFIG_ELSEWHERE=y"), &kconfig());
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("kconfig/net.config:3: no Kconfig file defines TUNN; is it TUN?"),
            "{error}"
        );
        assert!(
            error.ends_with("kconfig/net.config:4: no Kconfig file defines ELSEWHERE"),
            "{error}"
        );
    }

    #[test]
    fn a_line_that_did_not_take_is_explained() {
        let request = request("CONFIG_TUN=y\nCONFIG_CON_CHAN=\"null\"\n# CONFIG_NET is not set");
        let built = Values::parse("CONFIG_CON_CHAN=\"xterm\"\n").unwrap();
        let error = values(&request, built, &kconfig()).unwrap_err().to_string();
        assert_eq!(
            error,
            "Kconfig did not take all that is asked for:\n  \
             kconfig/net.config:1: CONFIG_TUN=y is not set\n    it needs NET, which is n (Kconfig:3)\n  \
             kconfig/net.config:2: CONFIG_CON_CHAN=\"null\" became \"xterm\""
        );
    }

    #[test]
    fn what_took_is_accepted() {
        let request = request("CONFIG_NET=y\nCONFIG_TUN=m\n# CONFIG_HOSTFS is not set");
        let built = Values::parse("CONFIG_NET=y\nCONFIG_TUN=m\n").unwrap();
        values(&request, built, &kconfig()).unwrap();
    }

    #[test]
    fn the_hosts_files_stay_out_of_reach_whatever_is_asked_for() {
        for value in ["y", "m"] {
            let line = format!("CONFIG_HOSTFS={value}");
            let error = values(&request(&line), Values::parse(&line).unwrap(), &kconfig());
            assert!(error.unwrap_err().to_string().starts_with("HOSTFS is on"));
        }
    }
}
