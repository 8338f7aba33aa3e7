//! What all worker processes of the daemon have in common: hidden subcommands of this program, hardened first of all, that talk with the
//! daemon over descriptor 0 and end when it does.

pub mod frame;
pub mod inbox;
mod leash;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::sys;

/// The `main` of a worker: the socket is descriptor 0, everything else is closed or null. It ends `last_words` after the daemon did.
#[must_use]
pub fn process(last_words: Duration, work: impl FnOnce(UnixStream) -> io::Result<()>) -> u8 {
    // First of all: from here on no other process of this user can look into this one.
    let socket = sys::process::harden()
        .and_then(|()| sys::process::forbid_cores())
        .and_then(|()| io::stdin().as_fd().try_clone_to_owned());
    sys::process::name();
    let on_a_leash = |socket: UnixStream| leash::hold(socket.try_clone()?, last_words).and_then(|()| work(socket));
    match socket.map(UnixStream::from).and_then(on_a_leash) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Starts one, from `program`, and gives the daemon's end of its socket. It is killed when its process is dropped.
///
/// # Errors
/// The system refuses a socket or a process.
pub fn start(program: &Path, subcommand: &str) -> io::Result<(tokio::net::UnixStream, Child)> {
    start_with(program, subcommand, Stdio::null())
}

/// The same with a process that is not killed: it has something to end when the daemon is gone, and ends by itself then.
///
/// # Errors
/// As [`start`].
pub fn start_lasting(program: &Path, subcommand: &str) -> io::Result<(tokio::net::UnixStream, Child)> {
    spawn(program, subcommand, Stdio::null(), false)
}

/// The same with a socket of somebody else's as its descriptor 1.
///
/// # Errors
/// As [`start`].
pub fn start_with(program: &Path, subcommand: &str, other: impl Into<Stdio>) -> io::Result<(tokio::net::UnixStream, Child)> {
    spawn(program, subcommand, other, true)
}

fn spawn(program: &Path, subcommand: &str, other: impl Into<Stdio>, killed: bool) -> io::Result<(tokio::net::UnixStream, Child)> {
    let (ours, theirs) = tokio::net::UnixStream::pair()?;
    let theirs = theirs.into_std()?;
    theirs.set_nonblocking(false)?;
    let process = Command::new(program)
        .arg(subcommand)
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(other)
        .stderr(Stdio::null())
        .kill_on_drop(killed)
        .spawn()?;
    Ok((ours, process))
}
