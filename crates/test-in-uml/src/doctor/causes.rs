//! Why a host refuses namespaces or what is done in them: where it can be told, the cure is exact.

use std::fs;
use std::path::Path;

/// Switches that refuse an ordinary user's namespaces, the value at which they do, and the one at
/// which they do not.
const SWITCHES: [(&str, &str, &str); 2] = [
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
];

/// The number of namespaces of each kind a user may have.
const LIMITS: [&str; 6] = ["user", "mnt", "pid", "net", "ipc", "uts"];

/// The cure, if one of the settings below `proc` (proc(5)) explains the refusal.
pub(super) fn cure(proc: &Path) -> Option<String> {
    let sys = proc.join("sys");
    let value = |name: &str| Some(fs::read_to_string(sys.join(name)).ok()?.trim().to_owned());
    let sysctl =
        |name: &str, value: &str| Some(format!("sudo sysctl {}={value}", name.replace('/', ".")));
    for (name, refuses, grants) in SWITCHES {
        if value(name).as_deref() == Some(refuses) {
            return sysctl(name, grants);
        }
    }
    for kind in LIMITS {
        let name = format!("user/max_{kind}_namespaces");
        if value(&name).as_deref() == Some("0") {
            return sysctl(&name, "10000");
        }
    }
    let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
    // SECCOMP_MODE_FILTER (proc(5)).
    let filtered = status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"]));
    filtered.then(|| {
        "a seccomp filter is on, as in a container: docker run --security-opt seccomp=unconfined, and \
         for taps --device /dev/net/tun"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_refuses_is_named() {
        let proc = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = proc.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(cure(proc.path()), None);
        write("self/status", "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n");
        assert!(cure(proc.path()).unwrap().contains("seccomp=unconfined"));
        write("sys/user/max_user_namespaces", "1000\n");
        write("sys/user/max_net_namespaces", "0\n");
        assert_eq!(cure(proc.path()).unwrap(), "sudo sysctl user.max_net_namespaces=10000");
        write("sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
        let name = "kernel.apparmor_restrict_unprivileged_userns=0";
        assert_eq!(cure(proc.path()).unwrap(), format!("sudo sysctl {name}"));
        write("sys/kernel/unprivileged_userns_clone", "0\n");
        assert_eq!(cure(proc.path()).unwrap(), "sudo sysctl kernel.unprivileged_userns_clone=1");
    }
}
