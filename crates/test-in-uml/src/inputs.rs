//! The folders of a workspace that a run reads from: what lies in one and is not read is a mistake, which would
//! otherwise be found out by what a kernel or an image lacks.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::config::Kernel;

/// Looks at the folders of the workspace at `root`. Fragments and patches that none of the kernels has are returned,
/// as warnings.
///
/// # Errors
/// When a file or a folder lies where nothing reads it, by its name.
pub fn check<'a>(root: &Path, kernels: impl Iterator<Item = &'a Kernel>) -> Result<Vec<String>> {
    let (mut fragments, mut series) = (BTreeSet::new(), BTreeSet::new());
    for kernel in kernels {
        fragments.extend(kernel.fragments.iter().map(|name| format!("{name}.config")));
        series.extend(kernel.patches.iter().cloned());
    }
    let mut warnings = Vec::new();
    for path in entries(&root.join("rootfs-overlay"))? {
        match name(&path) {
            "files" if path.is_dir() => {}
            "manifest.toml" if path.is_file() => {}
            _ => bail!(
                "{} is not read: files of the image belong below rootfs-overlay/files, and what is said of \
                 them into rootfs-overlay/manifest.toml",
                path.display()
            ),
        }
    }
    for path in entries(&root.join("kconfig"))? {
        if !path.is_file() || !name(&path).ends_with(".config") {
            bail!("{} is not read: a fragment is a file kconfig/NAME.config", path.display());
        }
        if !fragments.contains(name(&path)) {
            warnings.push(format!("{} is a fragment of no kernel", path.display()));
        }
    }
    for folder in entries(&root.join("kernel-patches"))? {
        if !folder.is_dir() {
            let path = folder.display();
            bail!("{path} is not read: patches are files kernel-patches/NAME/*.patch");
        }
        if let Some(path) = entries(&folder)?.iter().find(|path| !name(path).ends_with(".patch")) {
            bail!("{} is not read: the name of a patch ends in .patch", path.display());
        }
        if !series.contains(name(&folder)) {
            warnings.push(format!("{} are patches of no kernel", folder.display()));
        }
    }
    Ok(warnings)
}

/// What is in a folder, if there is one, but for what explains it, what is hidden and what editors leave.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = || format!("cannot list {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.with_context(failed)?.path();
        let passed_over = |name: &str| {
            name.starts_with('.')
                || name.ends_with('~')
                || name.to_uppercase().starts_with("README")
        };
        if !passed_over(name(&path)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The last part of a path; what is no UTF-8 is no name of ours.
fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn checked(files: &[&str]) -> Result<Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let config = Config::from_metadata(&serde_json::Value::Null).unwrap();
        check(dir.path(), config.kernels.values())
    }

    #[test]
    fn what_is_read_is_no_mistake() {
        let files = [
            "rootfs-overlay/files/opt/tool",
            "rootfs-overlay/manifest.toml",
            "kconfig/nfs.config",
            "kconfig/README.md",
            "kconfig/.nfs.config.swp",
            "kernel-patches/linux-3.0/0001-own.patch",
        ];
        assert_eq!(checked(&files).unwrap(), [""; 0]);
        assert_eq!(checked(&[]).unwrap(), [""; 0]);
    }

    #[test]
    fn what_lies_where_nothing_reads_it_is_refused_by_name() {
        for file in [
            "rootfs-overlay/opt/tool",
            "rootfs-overlay/files.txt",
            "kconfig/nfs.conf",
            "kconfig/more/nfs.config",
            "kernel-patches/0001-own.patch",
            "kernel-patches/linux-3.0/0001-own.diff",
        ] {
            let error = checked(&[file]).unwrap_err().to_string();
            let named = file.split('/').take(2).collect::<Vec<_>>().join("/");
            assert!(error.contains(&named), "{file}: {error}");
        }
    }

    #[test]
    fn a_fragment_or_a_patch_that_no_kernel_has_is_told_of() {
        let told =
            checked(&["kconfig/nsf.config", "kernel-patches/linux-3/0001-own.patch"]).unwrap();
        assert_eq!(told.len(), 2);
        assert!(told[0].ends_with("nsf.config is a fragment of no kernel"), "{told:?}");
        assert!(told[1].ends_with("linux-3 are patches of no kernel"), "{told:?}");
    }
}
