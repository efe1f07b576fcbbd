//! The paths of sockets, which are shorter than others may be.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

/// A path to what is called so in an open folder, however long the folder's own is: a socket's address has room for 107 bytes (unix(7)).
pub(crate) fn socket_in(folder: &File, name: &str) -> PathBuf {
    format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()).into()
}
