//! Where the symbolic links of an overlay lead in the image.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::tree::{NodeKind, RootfsTree};

/// What is there only once a guest runs.
const OF_A_RUNNING_GUEST: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/tmp"];

/// As many links as Linux follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

impl RootfsTree {
    /// Checks that each link of an overlay, which has been laid over the tree, leads somewhere.
    ///
    /// # Errors
    /// When one does not, or the overlay cannot be read.
    pub fn check_links(&self, overlay: &Path) -> Result<()> {
        for entry in walkdir::WalkDir::new(overlay).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot read {}", overlay.display()))?;
            let place = Path::new("/").join(entry.path().strip_prefix(overlay)?);
            if let Some(NodeKind::Symlink(target)) = self.nodes.get(&place).map(|node| &node.kind) {
                ensure!(
                    self.leads_somewhere(&place),
                    "{} is a link to {}, which is not in the image",
                    entry.path().display(),
                    target.display()
                );
            }
        }
        Ok(())
    }

    fn leads_somewhere(&self, place: &Path) -> bool {
        let mut at = PathBuf::from("/");
        let mut links = 0;
        let mut rest = parts(place);
        while let Some(name) = rest.pop() {
            if name == Path::new("..") {
                at.pop();
                continue;
            }
            at.push(name);
            if OF_A_RUNNING_GUEST.iter().any(|dir| at.starts_with(dir)) {
                return true;
            }
            match self.nodes.get(&at).map(|node| &node.kind) {
                None => return false,
                Some(NodeKind::Symlink(target)) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return false;
                    }
                    at.pop();
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    rest.extend(parts(target));
                }
                Some(_) => {}
            }
        }
        true
    }
}

/// The names of a path, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    let parts = path.components().rev().filter(named);
    parts.map(|part| PathBuf::from(part.as_os_str())).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn leads(target: &str) -> Result<()> {
        let overlay = tempfile::tempdir().unwrap();
        std::fs::create_dir(overlay.path().join("etc")).unwrap();
        symlink(target, overlay.path().join("etc/link")).unwrap();
        let mut tree = RootfsTree::default();
        tree.put("/usr/bin/sh".into(), NodeKind::File(Vec::new()), 0o755);
        tree.put("/bin".into(), NodeKind::Symlink("usr/bin".into()), 0o777);
        tree.put("/loop".into(), NodeKind::Symlink("/loop".into()), 0o777);
        tree.lay_over(overlay.path())?;
        tree.check_links(overlay.path())
    }

    #[test]
    fn a_link_may_lead_through_others_and_to_what_a_running_guest_has() {
        for fine in
            ["/usr/bin/sh", "../bin/sh", "/bin", ".", "../../../bin", "/proc/mounts", "/run/x"]
        {
            leads(fine).unwrap();
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_refused_by_name() {
        for wrong in ["/nowhere", "nowhere", "../bin/bash", "/loop", "link", "/usr/bin/sh/x"] {
            let error = leads(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("etc/link is a link to {wrong}, which")), "{error}");
        }
    }
}
