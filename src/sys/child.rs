//! Processes in ways that `std::process` does not offer.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::process::{Pid, Resource, Signal, setrlimit};

use super::arena;
use super::process::no_cores;

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

/// Starts `command` with what [`harden`](super::process::harden) took from this process: its limit of core files, and the signals
/// that were blocked when it started (the standard library unblocks all of them in a child, and cannot know what SIGPIPE was).
///
/// The limit is put back here for as long as the start takes, not by a closure before `exec`: with a closure the standard library
/// forks, which copies our page tables, where it would use vfork. This process is not dumpable all the while (core(5)).
///
/// # Errors
/// As [`Command::spawn`].
pub fn spawn_as_started(command: &mut Command) -> io::Result<Child> {
    let Some(before) = super::process::started_with() else {
        return command.spawn();
    };
    if before.blocks_any() {
        // SAFETY: between fork and exec one async-signal-safe call is made, sigprocmask; what it reads was copied.
        unsafe {
            command.pre_exec(
                move || match libc::sigprocmask(libc::SIG_SETMASK, &raw const before.blocked, std::ptr::null_mut()) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                },
            );
        }
    }
    setrlimit(Resource::Core, before.core)?;
    spawn_and(command, || no_cores(before.core))
}

/// Starts `command` and does what follows. If that fails the command is ended: who is told of an error waits for no child.
fn spawn_and(command: &mut Command, then: impl FnOnce() -> io::Result<()>) -> io::Result<Child> {
    let child = command.spawn();
    let Err(error) = then() else { return child };
    if let Ok(mut child) = child {
        // One that has ended by itself cannot be killed, and is reaped all the same.
        let _ = child.kill();
        let _ = child.wait();
    }
    Err(error)
}

/// Lets `command` start in its own process group, in the foreground of the terminal `tty`, which must stay open until the spawn.
/// As the group changes before `exec`, the program never reads as a background one (POSIX, 11.1.4).
pub fn start_in_foreground(command: &mut Command, tty: RawFd) {
    // SAFETY: between fork and exec only async-signal-safe calls are made: signal, setpgid, tcsetpgrp.
    unsafe {
        command.pre_exec(move || {
            // From the background tcsetpgrp would stop us with SIGTTOU.
            let before = libc::signal(libc::SIGTTOU, libc::SIG_IGN);
            let done = libc::setpgid(0, 0) == 0 && libc::tcsetpgrp(tty, libc::getpid()) == 0;
            let error = io::Error::last_os_error();
            libc::signal(libc::SIGTTOU, before);
            if done { Ok(()) } else { Err(error) }
        });
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::Stdio;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_command_does_not_run_on_when_its_start_is_said_to_have_failed() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut command = Command::new("sleep");
        command.arg("600").stdout(Stdio::from(OwnedFd::from(theirs)));
        let failed = spawn_and(&mut command, || Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        drop(command);
        // Its end of the socket is closed when it is gone.
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    }
}
