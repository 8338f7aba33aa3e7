//! What a process of ours forbids others of the same user.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Makes this process non-dumpable, without core files.
///
/// Non-dumpable stops ptrace, `/proc/PID/mem`, `environ`, `fd` and `pidfd_getfd` by other processes of the same uid
/// (ptrace(2), "Ptrace access mode checking"); `exec` resets it, so every program of ours calls this first.
///
/// # Errors
/// The kernel refused; the caller must not go on to hold secrets.
pub fn harden() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    Ok(())
}

/// Closes every descriptor but standard input, output and error: a daemon must not keep a lock or a pipe of whoever started it.
///
/// # Errors
/// The kernel has no close_range(2) (before Linux 5.9).
#[allow(unsafe_code)]
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: called first thing in `main`, before anything here has opened a descriptor of its own.
    match unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
