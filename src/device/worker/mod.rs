//! One process for each operation on a key, as OpenSSH has `ssh-sk-helper`: C libraries block and print, a touch that waits in PC/SC
//! cannot be cancelled by any call, and a process can be killed.
//!
//! The worker returns raw bytes and judges nothing but what has to be judged before a PIN leaves it.

mod alarm;
mod line;
mod manage;
mod places;
pub mod protocol;
mod readers;
mod run;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::ctap::{Transport, TransportError};
use super::enrolled::Link;
use super::hid::Hid;
use super::nfc::{Contact, Nfc, PcscCard};
use super::piv::{Card, PivCard};
use super::place::Port;
use crate::secret::Secret;
use crate::worker::frame::read_frame;
use crate::worker::process;
use line::Line;
pub use places::watch;
use protocol::{Failure, Report, Request};
pub use readers::SERVICE;

/// The hidden subcommand of a worker for one operation.
pub const SUBCOMMAND: &str = "key-worker";
/// The hidden subcommand of the worker that watches the places.
pub const WATCH_SUBCOMMAND: &str = "key-watch";

/// What the daemon would have given a worker after a cancel (`broker::job`): time to tell its key, which would blink on otherwise.
const LAST_WORDS: Duration = Duration::from_millis(900);

/// Opens what is at a port and reached so, with the channel of the last time.
pub type Open<'a> = dyn Fn(&Port, Link, Option<u32>) -> Result<Box<dyn Transport>, TransportError> + 'a;

/// Opens the YubiKey in a reader.
pub type OpenPiv<'a> = dyn Fn(&str) -> Result<Box<dyn PivCard>, Failure> + 'a;

/// How a worker gets at keys.
#[derive(Clone, Copy)]
pub struct Ways<'a> {
    /// At their FIDO2 application.
    pub fido2: &'a Open<'a>,
    /// At their PIV application.
    pub piv: &'a OpenPiv<'a>,
}

/// The worker's `main`: the socket is descriptor 0, everything else is closed or null.
#[must_use]
pub fn main() -> u8 {
    let (fido2, piv): (&Open<'_>, &OpenPiv<'_>) = (&open, &open_piv);
    process(LAST_WORDS, |socket| serve(socket, Ways { fido2, piv }))
}

/// The `main` of the worker that watches: reports the places until its socket closes.
#[must_use]
pub fn watch_main() -> u8 {
    process(LAST_WORDS, |socket| watch(socket, Path::new("/sys"), Path::new("/dev")))
}

/// Serves the one request that comes over `socket`, on whatever the `ways` lead to.
///
/// # Errors
/// The socket closed, or carries nonsense.
pub fn serve(socket: UnixStream, ways: Ways<'_>) -> io::Result<()> {
    let (request, secret): (Request, Secret) = read_frame(&socket)?;
    let mut line = Line::new(socket);
    let (report, tail) = run::perform(request, secret, ways, &mut line);
    line.tell(&report, tail.as_ref().map_or(&[], |tail| tail.as_slice()))
}

/// What the product's workers open: hidraw nodes and PC/SC readers.
///
/// # Errors
/// See [`TransportError`]: `OtherLink` where the reader says of its card what its answer to reset does not.
pub fn open(port: &Port, link: Link, channel: Option<u32>) -> Result<Box<dyn Transport>, TransportError> {
    let proc_root = Path::new("/proc");
    Ok(match port {
        Port::Node(node) => Box::new(Hid::open(node, channel, random, proc_root)?),
        Port::Reader(name) => {
            let card = PcscCard::connect(name, proc_root)?;
            let contact = card.contact();
            let found = Link::from(contact);
            if found != link {
                return Err(TransportError::OtherLink { found });
            }
            Box::new(Nfc::select(card, contact)?)
        }
    })
}

/// The YubiKey in a PC/SC reader.
///
/// # Errors
/// As [`Card::open`]; `PivContactless` for one in a field, where presence is a power-up.
pub fn open_piv(reader: &str) -> Result<Box<dyn PivCard>, Failure> {
    let proc_root = Path::new("/proc");
    match PcscCard::contact_in(reader, proc_root)? {
        Contact::Slot => Ok(Box::new(Card::open(reader, proc_root)?)),
        Contact::Field => Err(Failure::PivContactless),
    }
}

/// The operating system's randomness.
///
/// # Errors
/// There is none.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(io::Error::other)
}

fn failed(failure: impl Into<protocol::Failure>) -> Report {
    Report::Failed(failure.into())
}

#[cfg(test)]
mod tests;
