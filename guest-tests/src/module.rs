//! Kernel modules under test, built from the folders that `modules` of the configuration and
//! `--module` name.

use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::libc;

use crate::kernel::kernel_log;

/// How long an unload may take; one that waits for a reference never ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// A module that is loaded, and unloaded when this is dropped.
#[derive(Debug)]
pub struct Module {
    name: String,
    loaded: bool,
}

impl Module {
    /// Loads the module `name`, as init_module(2) does.
    ///
    /// # Errors
    /// When no such module was built for this kernel, or the kernel refuses it: with what it said.
    pub fn load(name: &str) -> Result<Self> {
        Self::load_with(name, &[])
    }

    /// Loads the module `name` with parameters, each by its name.
    ///
    /// # Errors
    /// As [`Module::load`].
    pub fn load_with(name: &str, parameters: &[(&str, &str)]) -> Result<Self> {
        let path = path_of(name)?;
        let image =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let parameters: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let parameters = std::ffi::CString::new(parameters.join(" "))?;
        let before = kernel_log()?;
        // SAFETY: the image has the length that is given, and the parameters end with zero.
        let done = unsafe {
            libc::syscall(libc::SYS_init_module, image.as_ptr(), image.len(), parameters.as_ptr())
        };
        if let Err(error) = Errno::result(done) {
            let after = kernel_log().unwrap_or_default();
            let said = after.strip_prefix(&before).unwrap_or_default().trim_end();
            bail!("cannot load the module {name}: {}\n{said}", error.desc());
        }
        Ok(Self { name: name.into(), loaded: true })
    }

    /// Unloads the module.
    ///
    /// # Errors
    /// When the kernel refuses, because something uses the module, or does not come back from it.
    pub fn unload(self) -> Result<()> {
        self.unload_within(PATIENCE)
    }

    /// Unloads the module, and waits this long for it.
    ///
    /// # Errors
    /// As [`Module::unload`].
    pub fn unload_within(mut self, patience: Duration) -> Result<()> {
        self.end(patience)
    }

    fn end(&mut self, patience: Duration) -> Result<()> {
        if !std::mem::take(&mut self.loaded) {
            return Ok(());
        }
        let (done, ended) = channel();
        let name = std::ffi::CString::new(self.name.as_str())?;
        // The module's own code runs now. If it does not come back, only this thread is stuck.
        std::thread::spawn(move || {
            // SAFETY: the name ends with zero.
            let result =
                unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) };
            let _ = done.send(Errno::result(result).map(drop));
        });
        match ended.recv_timeout(patience) {
            Ok(result) => result.with_context(|| format!("cannot unload the module {}", self.name)),
            Err(_) => {
                bail!("the module {} does not come back from its unload in {patience:?}", self.name)
            }
        }
    }
}

/// # Panics
/// When the module cannot be unloaded, unless the case fails already.
impl Drop for Module {
    fn drop(&mut self) {
        if let Err(error) = self.end(PATIENCE) {
            if std::thread::panicking() {
                eprintln!("{error:#}");
            } else {
                panic!("{error:#}");
            }
        }
    }
}

/// Where the agent put a module.
fn path_of(name: &str) -> Result<PathBuf> {
    let list = std::env::var(crate::env::MODULES).unwrap_or_default();
    let modules: Vec<(&str, &str)> = list.lines().filter_map(|line| line.split_once(' ')).collect();
    match modules.iter().find(|(known, _)| *known == name) {
        Some((_, path)) => Ok(path.into()),
        None if modules.is_empty() => bail!(
            "there is no module {name}: no module was built; `modules` in [workspace.metadata.uml] \
             and `--module` name folders"
        ),
        None => {
            let names: Vec<&str> = modules.iter().map(|(name, _)| *name).collect();
            bail!("there is no module {name}; there is {}", names.join(", "))
        }
    }
}
