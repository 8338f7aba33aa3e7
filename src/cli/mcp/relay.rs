//! `touchlease mcp` behind the walls of `run --agent`: it carries bytes to a server outside of them, and back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use crate::wire::{Failure, Outcome};

/// Carries until the server has ended.
///
/// # Errors
/// There is no way out, or nobody answers there.
pub fn carry(socket: &Path) -> Result<(), Failure> {
    let stream = UnixStream::connect(socket).map_err(|error| no_way(&format!("{} cannot be reached: {error}", socket.display())))?;
    let carried = || -> io::Result<u64> {
        let mut to = stream.try_clone()?;
        let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        // It ends with the process where the client says nothing more.
        thread::spawn(move || {
            let _ = pass_on(&mut input, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        pass_on(&mut &stream, &mut output)
    };
    match carried() {
        Ok(0) => Err(no_way("the server outside ended without a word; there are at most 8 for an agent")),
        Ok(_) => Ok(()),
        Err(error) => Err(no_way(&error.to_string())),
    }
}

/// Not by `io::copy`: that splices (splice(2)), which holds a pipe's lock while it waits for what comes from a socket, and whoever reads the
/// pipe then waits too, with what he waits for already in it.
fn pass_on(from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
    let mut chunk = [0; 16 << 10];
    let mut passed = 0;
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => return Ok(passed),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&chunk[..count])?;
        passed += count as u64;
    }
}

fn no_way(why: &str) -> Failure {
    let message = format!("from behind the walls of `touchlease run --agent` the server outside is not reached: {why}");
    Failure::new(Outcome::Refused, "no_way_out", message).hint(
        "start the agent anew: touchlease run --agent -- COMMAND; in a terminal of your own `touchlease mcp` says what is wrong with it",
    )
}
