//! What a process of ours does first.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::IntoRawFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_getfd};
use rustix::stdio::{stderr, stdin, stdout};

/// What the standard library's start does, which ours goes without: nothing that is opened later is taken for a standard stream
/// that was closed, and a reader that is gone is an error of the write (SIGPIPE is ignored, but not in children). Then what ours alone does: large
/// pieces of memory are given back.
///
/// # Errors
/// There is no `/dev/null`, or no descriptor for it.
pub fn begin() -> io::Result<()> {
    // Lowest first: a file that is opened gets the lowest number that is free.
    for stream in [stdin(), stdout(), stderr()] {
        if fcntl_getfd(stream) == Err(Errno::BADF) {
            let _ = open("/dev/null", OFlags::RDWR, Mode::empty())?.into_raw_fd();
        }
    }
    // SAFETY: called before there are threads or handlers; to ignore a signal runs no code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    super::memory::give_back_large_pieces();
    Ok(())
}
