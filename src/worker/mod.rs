//! What all worker processes of the daemon have in common: hidden subcommands of this program, hardened first of all, that talk with the
//! daemon over descriptor 0 and end when it does.

pub mod frame;
pub mod inbox;
mod leash;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

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
