//! Waiting for descriptors in the daemon's runtime.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// A descriptor whose readability can be waited for: a timer, a process.
///
/// # Errors
/// The runtime takes no more.
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open, and the same, until the `AsyncFd` that owns it is dropped, which deregisters it first.
    unsafe { AsyncFd::register(fd) }.map_err(Into::into)
}
