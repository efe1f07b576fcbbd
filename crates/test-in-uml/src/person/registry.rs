//! The guests that run in this checkout, by their names.
//!
//! Each has a folder with a lock, which its holder has, and a socket. A folder whose lock is free is of a holder that was
//! killed: whoever comes across it removes it.

use std::fs::{self, File, TryLockError};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, SockAddr, Socket, Type};

use super::name::GuestName;
use crate::layout::Layout;
use crate::socket_path::socket_in;
use crate::{invocation, lock};

const SOCKET: &str = "socket";

/// So many may wait to be accepted: the most that the kernel lets one have (listen(2)).
const BACKLOG: i32 = 4096;

/// A name that is ours until this is dropped, and the socket that others reach us at.
#[derive(Debug)]
pub struct Registered {
    folder: PathBuf,
    listener: Socket,
    _lock: File,
}

impl Registered {
    /// Takes the name.
    ///
    /// # Errors
    /// When a guest of that name runs, or its folder cannot be made.
    pub fn claim(layout: &Layout, name: &GuestName) -> Result<Self> {
        Self::try_claim(layout, name)?.with_context(|| {
            let xtask = invocation::command();
            format!("a guest `{name}` runs already: `{xtask} down {name}` ends it")
        })
    }

    /// Takes the first free name of these: `base`, `base-2` and so on.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn claim_any(layout: &Layout, base: &str) -> Result<(GuestName, Self)> {
        for number in 1_u32.. {
            let name = if number == 1 { base.into() } else { format!("{base}-{number}") };
            let name: GuestName = name.parse().map_err(anyhow::Error::msg)?;
            if let Some(claimed) = Self::try_claim(layout, &name)? {
                return Ok((name, claimed));
            }
        }
        bail!("every name is taken")
    }

    /// Takes the name, unless a guest of that name runs.
    fn try_claim(layout: &Layout, name: &GuestName) -> Result<Option<Self>> {
        let folder = folder_of(layout, name);
        // The socket is for nobody else.
        let Some(lock) = lock::claim_folder(&folder, 0o700)? else { return Ok(None) };
        let listener = bind_in(&folder).context("cannot make a guest's socket")?;
        Ok(Some(Self { folder, listener, _lock: lock }))
    }
}

impl Registered {
    /// The next of those who want something.
    pub(super) fn accept(&self) -> std::io::Result<Socket> {
        Ok(self.listener.accept()?.0)
    }
}

impl AsFd for Registered {
    /// Readable when somebody wants something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // What cannot be removed is removed by whoever comes across it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The names of the guests that run.
pub fn names(layout: &Layout) -> Vec<GuestName> {
    let Ok(entries) = fs::read_dir(layout.guests()) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut running: Vec<GuestName> = names.filter(|name| is_held(layout, name)).collect();
    running.sort();
    running
}

/// A connection to the process that holds the guest of that name.
///
/// # Errors
/// When no such guest runs; the message names those that do.
pub(super) fn connect_to(layout: &Layout, name: &GuestName) -> Result<Socket> {
    if !is_held(layout, name) {
        let running: Vec<String> = names(layout).iter().map(GuestName::to_string).collect();
        let those = if running.is_empty() {
            format!("no guest does: `{} up {name}` boots one", invocation::command())
        } else {
            format!("these do: {}", running.join(" "))
        };
        bail!("no guest `{name}` runs in this checkout; {those}");
    }
    let folder = File::open(folder_of(layout, name)).context("cannot open a guest's folder")?;
    let socket = new_socket()?;
    socket
        .connect(&address_in(&folder)?)
        .with_context(|| format!("cannot reach the process that holds the guest `{name}`"))?;
    Ok(socket)
}

/// The process that holds a guest, by its lock; nothing if there was none.
#[derive(Debug)]
pub(super) struct Holder(Option<File>);

impl Holder {
    pub fn of(layout: &Layout, name: &GuestName) -> Self {
        Self(File::open(lock::in_folder(&folder_of(layout, name))).ok())
    }

    /// Returns true if it is gone, and the guest with it.
    pub fn is_gone(&self) -> bool {
        let Some(lock) = &self.0 else { return true };
        let is_free = lock.try_lock_shared().is_ok();
        // The name is for whoever wants it next.
        let _ = lock.unlock();
        is_free
    }
}

/// Returns true if somebody holds that guest. What a holder left that was killed is removed.
fn is_held(layout: &Layout, name: &GuestName) -> bool {
    let Holder(Some(lock)) = Holder::of(layout, name) else { return false };
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => true,
        Ok(()) if lock::is_still_at(&lock, &lock::in_folder(&folder_of(layout, name))) => {
            let _ = fs::remove_dir_all(folder_of(layout, name));
            false
        }
        _ => false,
    }
}

fn folder_of(layout: &Layout, name: &GuestName) -> PathBuf {
    layout.guests().join(name.as_str())
}

fn bind_in(folder: &Path) -> Result<Socket> {
    // That of a holder that was killed.
    let _ = fs::remove_file(folder.join(SOCKET));
    let socket = new_socket()?;
    socket.bind(&address_in(&File::open(folder)?)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn new_socket() -> Result<Socket> {
    Socket::new(Domain::UNIX, Type::SEQPACKET, None).context("cannot make a socket")
}

/// The address of the socket in a folder.
fn address_in(folder: &File) -> Result<SockAddr> {
    SockAddr::unix(socket_in(folder, SOCKET)).context("a socket's address is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> GuestName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_one_guests_at_a_time_and_free_again_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        // A path that no socket's address has room for.
        let layout = Layout::in_dir(&dir.path().join("x".repeat(120)));
        assert!(names(&layout).is_empty());
        let error = connect_to(&layout, &name("web")).unwrap_err().to_string();
        assert!(error.contains("up web"), "{error}");

        let held = Registered::claim(&layout, &name("web")).unwrap();
        let error = Registered::claim(&layout, &name("web")).unwrap_err().to_string();
        assert!(error.contains("runs already") && error.contains("down web"), "{error}");
        let other = Registered::claim(&layout, &name("db")).unwrap();
        assert_eq!(names(&layout), [name("db"), name("web")]);
        let error = connect_to(&layout, &name("wbe")).unwrap_err().to_string();
        assert!(error.contains("these do: db web"), "{error}");
        connect_to(&layout, &name("web")).unwrap();

        drop((held, other));
        assert!(names(&layout).is_empty());
        assert_eq!(fs::read_dir(layout.guests()).unwrap().count(), 0);
        Registered::claim(&layout, &name("web")).unwrap();
    }

    #[test]
    fn what_a_holder_that_was_killed_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::in_dir(dir.path());
        let leave = || {
            let folder = folder_of(&layout, &name("web"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(lock::in_folder(&folder), "").unwrap();
            fs::write(folder.join(SOCKET), "").unwrap();
        };
        leave();
        assert!(names(&layout).is_empty());
        assert!(!folder_of(&layout, &name("web")).exists());
        leave();
        let held = Registered::claim(&layout, &name("web")).unwrap();
        connect_to(&layout, &name("web")).unwrap();
        drop(held);
    }
}
