//! Images that no guest comes up from. These need a kernel and an image, so that they are ignored
//! here; `cargo xtask ci` runs them. `UML_SHELL_ARGS` asks for another kernel than the default one, as
//! for the full guest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use test_in_uml::cancel::CancelToken;
use test_in_uml::config::ByteSize;
use test_in_uml::guest::{Calibration, Connect, GuestSpec, Init, LinkBy, NetDriver, boot};
use test_in_uml::layout::Layout;
use test_in_uml::stage::{Attachment, Share, Stage, StageOptions};

use super::support::{isolation, xtask};

/// The path of what a stage makes.
pub fn made_by(stage: &str, more: &str) -> PathBuf {
    let mut command = xtask();
    command.args(["--quiet", stage]).args(more.split_whitespace());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// Boots a copy of the image that `command` of debugfs(8) has changed; returns why nothing came up.
fn failure(init: Init, commands: &[&str]) -> String {
    failure_within(Duration::from_secs(300), init, commands)
}

fn failure_within(boot_timeout: Duration, init: Init, commands: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let chosen = std::env::var("UML_SHELL_ARGS").unwrap_or_default();
    let (kernel, image) = (made_by("kernel", &chosen), dir.path().join("image"));
    let copied =
        Command::new("cp").arg("--sparse=always").arg(made_by("image", "")).arg(&image).status();
    assert!(copied.unwrap().success());
    Command::new("chmod").arg("u+w").arg(&image).status().unwrap();
    for command in commands {
        let changed = Command::new("debugfs").args(["-w", "-R", command]).arg(&image).output();
        assert!(changed.unwrap().status.success(), "{command}");
    }
    let config = fs::read_to_string(kernel.with_file_name("config")).unwrap();
    let vector = config.contains("CONFIG_UML_NET_VECTOR=y");
    let stage =
        Stage::start(&isolation(), &StageOptions { size: 1 << 31, attachment: Attachment::Tap })
            .unwrap();
    let spec = GuestSpec {
        name: "guest",
        kernel: (&kernel, &stage.expose(&kernel, "kernel").unwrap()),
        image: (&image, &stage.expose(&image, "image").unwrap()),
        disk: test_in_uml::guest::Disk::Own,
        memory: "64M".parse::<ByteSize>().unwrap(),
        link_by: LinkBy::Kernel,
        connect: Connect::NONE,
        net_driver: if vector { NetDriver::Vector } else { NetDriver::Legacy },
        init,
        known_boot_complaints: &[],
        disks: &[],
        interfaces: &[],
        cancel: &CancelToken::default(),
        arguments: &[],
        era: &["noreboot"],
        nonce: "nonce",
        share: Share::default(),
        boot_timeout,
        console_log: dir.path().join("guest.console"),
    };
    let layout = Layout::new(dir.path().into(), dir.path().into()).unwrap();
    let key = kernel.parent().unwrap().file_name().unwrap().to_string_lossy();
    let why = boot(&stage, &spec, &mut Calibration::of(&layout, &key)).unwrap_err().to_string();
    stage.shutdown().unwrap();
    why
}

#[test]
#[ignore = "needs a kernel and an image"]
fn an_image_without_an_init_is_named_as_what_it_is() {
    let error = failure(Init::Agent, &["rm /usr/sbin/uml-agent"]);
    assert!(error.contains("the image has no /usr/sbin/uml-agent"), "{error}");
    let error = failure(Init::Sysv, &["rm /usr/sbin/init"]);
    assert!(error.contains("the image has no /sbin/init"), "{error}");
}

#[test]
#[ignore = "needs a kernel and an image"]
fn an_init_that_is_no_agent_is_not_waited_for_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let other = |limit: u64, script: &str| {
        let path: &Path = &dir.path().join("other");
        fs::write(path, script).unwrap();
        Command::new("chmod").arg("755").arg(path).status().unwrap();
        let write = format!("write {} /usr/sbin/uml-agent", path.display());
        let commands = ["rm /usr/sbin/uml-agent", &write];
        failure_within(Duration::from_secs(limit), Init::Agent, &commands)
    };
    let error = other(300, "#!/bin/sh\nexit 0\n");
    assert!(error.contains("Attempted to kill init"), "{error}");
    let error = other(5, "#!/bin/sh\nexec sleep 1000\n");
    assert!(error.contains("it did not become ready in time"), "{error}");
}
