//! Processes in ways that `std::process` does not offer.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;

use rustix::process::{Pid, Signal};

use super::arena;

/// Forks a copy of this process that runs `work` and exits with its result, without running any destructor: they belong to the
/// parent. Of the descriptors it keeps those of `keep`, and 0, 1, 2.
///
/// The process must have one thread only: locks that another one held stay locked in the copy.
///
/// # Errors
/// No process could be made.
pub fn fork(keep: &[RawFd], work: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: the caller has one thread, so the copy is consistent; it leaves through `_exit` below.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            close_others(keep);
            arena::renew_in_fork();
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(70);
            // SAFETY: ends this copy only; nothing of it is used afterwards.
            unsafe { libc::_exit(code) }
        }
        pid => Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// Closes every descriptor but 0, 1, 2 and those of `keep`.
fn close_others(keep: &[RawFd]) {
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    let mut from: libc::c_uint = 3;
    for fd in keep
        .into_iter()
        .filter_map(|fd| libc::c_uint::try_from(fd).ok())
        .chain([libc::c_uint::MAX])
    {
        if fd > from {
            // SAFETY: runs only in a forked copy that drops none of the owners of these descriptors.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = from.max(fd.saturating_add(1));
    }
}

/// Ends this process by `signal`, so that who waits for it sees the death that our child died. Nothing is cleaned up.
pub fn die_by(signal: Signal) -> ! {
    let number = signal.as_raw();
    // SAFETY: plain system calls on this process; the set is initialised by sigemptyset before use.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, number);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::raise(number);
    }
    // A signal whose default is not death: what a shell would have reported.
    std::process::exit(128 + number)
}
