//! What a guest's process sees: a root of its own, with the files that it needs and nothing else.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::unistd::{chdir, pivot_root};
use serde::{Deserialize, Serialize};

use super::mounts::{bind, show};
use super::{DIR, TUN};

/// Where the new root is built; it lies on the stage's own tmpfs.
const PLACE: &str = "root";

/// What User Mode Linux reads of the host besides its own files: what the host's CPU can do.
const CPUINFO: &str = "/proc/cpuinfo";

/// The devices that there are, beside that for taps where a guest has one.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];

/// The loader, which tells what a program is linked with; it maps that, and starts none of it.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// What the C library loads when a thread is ended (pthread_cancel(3)), as kernels of today do at their own
/// end, and what no program names.
const LOADED_LATE: &str = "libgcc_s.so.1";

/// Where the loader looks for libraries first.
const LOADER_CACHE: &str = "/etc/ld.so.cache";

/// The files of the stage and the host that a guest's process sees, each under its own path, and its
/// own folder. There is no other file, socket or device, and no process but the guest's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Sight {
    /// The libraries that a program of the host is linked with.
    ///
    /// # Errors
    /// When the program is linked with something that is not there.
    pub fn of_program(program: &Path) -> Result<Self> {
        let asked = duct::cmd!(LOADER, "--list", program)
            // The loader finds and lists it like the others, or says that there is none and goes on.
            .full_env([("LD_PRELOAD", LOADED_LATE)])
            .stdin_null()
            .stderr_null()
            .read();
        // A program that is linked statically needs nothing, wherever the loader is.
        let Ok(text) = asked else { return Ok(Self::default()) };
        ensure!(
            !text.contains("not found"),
            "{} is linked with a library that is not there:\n{}",
            program.display(),
            text.trim()
        );
        let mut read: Vec<PathBuf> = text.lines().filter_map(library).map(Into::into).collect();
        read.extend([LOADER, LOADER_CACHE].map(PathBuf::from));
        Ok(Self { read, write: Vec::new() })
    }

    /// And this file or folder, which it cannot change.
    #[must_use]
    pub fn with(mut self, path: impl Into<PathBuf>) -> Self {
        self.read.push(path.into());
        self
    }

    /// And this file, which it can.
    #[must_use]
    pub fn with_lent(mut self, path: impl Into<PathBuf>) -> Self {
        self.write.push(path.into());
        self
    }

    /// And the device that taps are opened with.
    #[must_use]
    pub fn with_tap(self) -> Self {
        self.with_lent(TUN)
    }

    /// What it can read, and execute.
    pub(crate) fn readable(&self) -> impl Iterator<Item = &Path> {
        self.read.iter().map(PathBuf::as_path).chain([Path::new(CPUINFO)])
    }

    /// What it can write to, without its own folder.
    pub(crate) fn writable(&self) -> impl Iterator<Item = &Path> {
        self.write.iter().map(PathBuf::as_path).chain(DEVICES.map(Path::new))
    }

    /// Makes this the root of everything in this mount namespace. The host's is gone from it then
    /// (pivot_root(2)). `dir` is the guest's own folder.
    pub(crate) fn enter(&self, dir: &Path) -> Result<()> {
        let root = Path::new(DIR).join(PLACE);
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        nix::mount::mount(
            Some("root"),
            &root,
            Some("tmpfs"),
            flags,
            Some("size=64k,nr_inodes=256,mode=0755"),
        )
        .context("cannot make a root for a guest")?;
        for path in self.readable() {
            put(&root, path, show)?;
        }
        for path in self.writable().chain([dir]) {
            put(&root, path, bind)?;
        }
        // Only the root itself: what is mounted in it has flags of its own.
        let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        nix::mount::mount(None::<&str>, &root, None::<&str>, flags, None::<&str>)
            .context("cannot make a guest's root read-only")?;
        chdir(&root).context("cannot enter a guest's root")?;
        swap_roots()
    }
}

/// Makes the working directory, which must be a mount, the root, and lets go of the old one.
pub(crate) fn swap_roots() -> Result<()> {
    // The old root comes to lie upon the new one, where it can be taken away (pivot_root(2)).
    pivot_root(".", ".").context("cannot give a guest a root of its own")?;
    umount2(".", MntFlags::MNT_DETACH).context("cannot take the host's root from a guest")?;
    chdir("/").context("cannot enter a guest's root")
}

/// Makes the place on the stage at which roots are built.
pub(crate) fn prepare() -> Result<()> {
    let place = Path::new(DIR).join(PLACE);
    fs::create_dir(&place).with_context(|| format!("cannot make {}", place.display()))
}

/// Mounts a file or a folder under the same path in `root`, or does nothing if there is none.
fn put(root: &Path, path: &Path, mount: fn(&Path, &Path) -> Result<()>) -> Result<()> {
    let inside: PathBuf =
        path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let place = root.join(inside);
    let Ok(about) = path.metadata() else { return Ok(()) };
    if place.exists() {
        // It lies in a folder that is shown already.
        return Ok(());
    }
    // A host may have /lib as a link to usr/lib, which is shown as well.
    if path.is_symlink() && about.is_dir() {
        let target = fs::read_link(path)?;
        return symlink(target, &place).with_context(|| format!("cannot show {}", path.display()));
    }
    let made = match about.is_dir() {
        true => fs::create_dir_all(&place),
        false => place
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| File::create(&place).map(drop)),
    };
    made.with_context(|| format!("cannot make {} in a guest's root", path.display()))?;
    mount(path, &place)
}

/// The path in a line of the loader's list: `NAME => PATH (ADDRESS)`. Without an arrow it is the
/// loader itself, or what the kernel brings.
fn library(line: &str) -> Option<&str> {
    let (_, found) = line.split_once(" => ")?;
    Some(found.rsplit_once(" (").map_or(found, |(path, _)| path).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_s_list_is_understood() {
        let list = "\tlinux-vdso.so.1 (0x00007f5adea77000)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f5ade884000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f5adea79000)\n";
        let found: Vec<&str> = list.lines().filter_map(library).collect();
        assert_eq!(found, ["/lib/x86_64-linux-gnu/libc.so.6"]);
    }

    #[test]
    fn a_program_is_shown_with_its_libraries_and_a_file_that_is_none_without() {
        let shell = Sight::of_program(Path::new("/bin/sh")).unwrap();
        let names = |path: &PathBuf| path.to_string_lossy().into_owned();
        let read: Vec<String> = shell.read.iter().map(names).collect();
        assert!(read.iter().any(|path| path.contains("libc.so")), "{read:?}");
        assert!(read.contains(&LOADER.into()), "{read:?}");
        assert!(read.iter().any(|path| path.ends_with(LOADED_LATE)), "{read:?}");
        assert_eq!(Sight::of_program(Path::new("/etc/passwd")).unwrap(), Sight::default());
    }
}
