//! What this host has, and what the control group that we are in leaves us of it.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory that are free, on the host and in the control group.
pub(crate) fn memory_left() -> Option<u64> {
    [memory_of_host("MemAvailable"), memory_of_group()].into_iter().flatten().min()
}

/// A line of /proc/meminfo (proc(5)), in bytes.
pub(crate) fn memory_of_host(which: &str) -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    info.lines().find_map(|line| {
        let (name, kib) = line.split_once(':')?;
        let kib = kib.trim().strip_suffix(" kB").filter(|_| name == which)?;
        Some(kib.parse::<u64>().ok()? << 10)
    })
}

/// The number of processes the control group has room for, if it has a limit.
pub(crate) fn processes_left() -> Option<u64> {
    Group::of("pids")?.left("pids.max", "pids.current", None)
}

/// What is left of the memory limit of our control group.
fn memory_of_group() -> Option<u64> {
    let group = Group::of("memory")?;
    let cache = Some(["inactive_file", "active_file"]);
    group.left("memory.max", "memory.current", cache).or_else(|| {
        let cache = Some(["total_inactive_file", "total_active_file"]);
        group.left("memory.limit_in_bytes", "memory.usage_in_bytes", cache)
    })
}

/// A control group (cgroups(7)), of the unified hierarchy or of one controller's own.
struct Group {
    dirs: Vec<PathBuf>,
}

impl Group {
    fn of(controller: &str) -> Option<Self> {
        let text = fs::read_to_string("/proc/self/cgroup").ok()?;
        Some(Self::parse(&text, controller))
    }

    /// The lines of /proc/self/cgroup: `ID:CONTROLLERS:PATH`, the unified one without controllers.
    fn parse(text: &str, controller: &str) -> Self {
        let mut dirs = Vec::new();
        for line in text.lines() {
            let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else {
                continue;
            };
            let mount = match controllers {
                "" => Path::new("/sys/fs/cgroup").to_owned(),
                all if all.split(',').any(|name| name == controller) => {
                    Path::new("/sys/fs/cgroup").join(controller)
                }
                _ => continue,
            };
            // The limits of all groups above hold too. A container may see the path of the host, and
            // its own group at the top.
            let above = Path::new(path.trim_start_matches('/')).ancestors();
            dirs.extend(above.map(|path| mount.join(path)));
        }
        Self { dirs }
    }

    /// What is left of a limit; nothing if there is none. Files in memory count as used, but the
    /// kernel gives them up for programs: `cache` names them in memory.stat.
    fn left(&self, limit: &str, used: &str, cache: Option<[&str; 2]>) -> Option<u64> {
        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let left = |dir: &PathBuf| {
            let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
            let fields = stat.lines().filter_map(|line| line.split_once(' '));
            let cached: u64 = fields
                .filter(|(name, _)| cache.is_some_and(|cache| cache.contains(name)))
                .filter_map(|(_, bytes)| bytes.parse::<u64>().ok())
                .sum();
            let used = number(dir.join(used))?.saturating_sub(cached);
            Some(number(dir.join(limit))?.saturating_sub(used))
        };
        self.dirs.iter().filter_map(left).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_limit_of_a_group_counts() {
        let text = "8:pids:/docker/1\n5:cpu,memory:/a/b\n0::/user.slice\n";
        let group = Group::parse(text, "memory");
        let expected = ["memory/a/b", "memory/a", "memory", "user.slice", ""]
            .map(|path| Path::new("/sys/fs/cgroup").join(path));
        assert_eq!(group.dirs, expected);

        let dir = tempfile::tempdir().unwrap();
        let dirs: Vec<PathBuf> = ["a", "b", "c"].map(|name| dir.path().join(name)).into();
        for (dir, limit) in dirs.iter().zip(["max", "900", "1000"]) {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("memory.max"), format!("{limit}\n")).unwrap();
            fs::write(dir.join("memory.current"), "300\n").unwrap();
            fs::write(dir.join("memory.stat"), "anon 80\ninactive_file 90\nactive_file 50\n")
                .unwrap();
        }
        let group = Group { dirs };
        assert_eq!(group.left("memory.max", "memory.current", None), Some(600));
        let cache = Some(["inactive_file", "active_file"]);
        assert_eq!(group.left("memory.max", "memory.current", cache), Some(740));
    }
}
