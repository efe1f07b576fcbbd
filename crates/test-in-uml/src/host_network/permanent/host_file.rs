//! A file of the host that is written, and taken back byte for byte.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::host_network::line::Line;
use crate::removal::remove_file;

/// A file, or a symbolic link, that is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HostFile {
    pub path: PathBuf,
    mode: u32,
    /// What it says, or where it leads to.
    pub new: String,
    is_link: bool,
    /// What it said, if it was there.
    old: Option<String>,
    /// The folders that are made for it, the outermost first.
    folders: Vec<PathBuf>,
}

impl HostFile {
    pub fn new(path: impl Into<PathBuf>, new: String) -> Self {
        let (path, folders) = (path.into(), Vec::new());
        Self { path, mode: 0o644, new, is_link: false, old: None, folders }
    }

    pub fn link(path: impl Into<PathBuf>, to: &str) -> Self {
        Self { is_link: true, ..Self::new(path, to.into()) }
    }

    /// The same with this mode.
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// The same, with what is there now.
    pub fn examined(mut self) -> Result<Self> {
        self.old = self.now()?;
        if let Ok(meta) = fs::metadata(&self.path) {
            self.mode = meta.permissions().mode() & 0o7777;
        }
        let above = self.path.ancestors().skip(1).take_while(|folder| !folder.exists());
        self.folders = above.map(Path::to_path_buf).collect();
        self.folders.reverse();
        Ok(self)
    }

    fn now(&self) -> Result<Option<String>> {
        let read = if self.is_link {
            fs::read_link(&self.path).map(|to| to.to_string_lossy().into_owned())
        } else {
            fs::read_to_string(&self.path)
        };
        match read {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("cannot read {}", self.path.display()))
            }
        }
    }

    /// Where it is written to first.
    pub fn beside(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!(".{name}.uml-new"))
    }

    fn write(&self, text: &str) -> Result<()> {
        let what = || format!("cannot write {}", self.path.display());
        let beside = self.beside();
        remove_file(&beside)?;
        if self.is_link {
            symlink(text, &beside).with_context(what)?;
        } else {
            let mut file = fs::File::create_new(&beside).with_context(what)?;
            file.set_permissions(Permissions::from_mode(self.mode)).with_context(what)?;
            file.write_all(text.as_bytes()).with_context(what)?;
            file.sync_all().with_context(what)?;
        }
        fs::rename(&beside, &self.path).with_context(what)
    }

    /// Writes it, unless others have since it was examined.
    pub fn make(&self) -> Result<()> {
        ensure!(self.now()? == self.old, "{} was changed meanwhile", self.path.display());
        for folder in &self.folders {
            let made = fs::create_dir(folder);
            let made = made.or_else(|error| if folder.is_dir() { Ok(()) } else { Err(error) });
            made.with_context(|| format!("cannot make {}", folder.display()))?;
        }
        self.write(&self.new)
    }

    /// Leaves it as it was. What others have written since is theirs.
    pub fn take_back(&self) -> Result<()> {
        remove_file(&self.beside())?;
        let now = self.now()?;
        if now != self.old {
            ensure!(
                now.as_ref() == Some(&self.new),
                "{} was changed since: take out by hand what `diff -u` shows of the network's:\n{}",
                self.path.display(),
                self.difference()
            );
            match &self.old {
                Some(old) => self.write(old)?,
                None => remove_file(&self.path)?,
            }
        }
        for folder in self.folders.iter().rev() {
            // One that others use stays.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    /// What is written, as diff(1) shows it.
    pub fn difference(&self) -> String {
        if self.is_link {
            return format!("link {} -> {}\n", self.path.display(), self.new);
        }
        let show = || -> Result<String> {
            let files = [self.old.as_deref().unwrap_or_default(), &self.new].map(|text| {
                let mut file = tempfile::NamedTempFile::new()?;
                file.write_all(text.as_bytes())?;
                Ok::<_, std::io::Error>(file)
            });
            let [old, new] = files;
            let (old, new) = (old?, new?);
            let (path, old, new) = (
                self.path.to_string_lossy(),
                old.path().to_string_lossy(),
                new.path().to_string_lossy(),
            );
            let from = if self.old.is_some() { &*path } else { "/dev/null" };
            // It ends with 1 where there is a difference.
            Line::new("diff -u").args(["--label", from, "--label", &path, &old, &new]).say()
        };
        show().unwrap_or_else(|error| format!("{}: {error:#}\n{}", self.path.display(), self.new))
    }
}
