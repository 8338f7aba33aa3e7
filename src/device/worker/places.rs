//! Watching what is plugged in, for as long as somebody wants to know.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::alarm::Alarm;
use super::line::Line;
use super::protocol::Report;
use super::readers::{Readers, SERVICE};
use crate::device::ctap::Watch;
use crate::device::enrolled::Link;
use crate::device::find;
use crate::device::nfc::{Contact, Reader};
use crate::device::place::{Place, Port};
use crate::encoding::plain::visible;

/// Reports the places over `socket`, at once and at every change, until its other end closes. Sleeps while nothing changes.
///
/// # Errors
/// The socket closed while writing; no descriptors or threads left.
pub fn watch(socket: UnixStream, sys_root: &Path, dev_root: &Path) -> io::Result<()> {
    let waker = socket.try_clone()?;
    let mut line = Line::new(socket);
    let mut readers = Readers::watch()?;
    let mut alarm = Alarm::new(&folders(dev_root));
    let mut told = None;
    while !line.cancelled() {
        let mut places: Vec<_> = find::nodes(sys_root, dev_root).into_iter().map(key).collect();
        places.extend(readers.seen().iter().map(card));
        if told.as_ref() != Some(&places) {
            line.tell(&Report::Places(places.clone()), &[])?;
            told = Some(places);
        }
        if alarm.wait([&waker, &readers]) {
            readers.look_again();
        }
    }
    Ok(())
}

/// Where device nodes appear, and the PC/SC service's socket with the folders that it may have to be waited for in.
fn folders(dev_root: &Path) -> Vec<&Path> {
    let service = Path::new(SERVICE).ancestors().skip(1).take(2);
    std::iter::once(dev_root).chain(service).collect()
}

fn key(node: find::Node) -> Place {
    Place {
        port: Port::Node(node.path),
        plug: node.plug,
        link: Link::Usb,
        model: node.name,
        socket: node.port,
        empty: false,
    }
}

fn card(reader: &Reader) -> Place {
    Place {
        port: Port::Reader(reader.name.clone()),
        plug: reader.events.into(),
        link: match reader.card {
            Some(Contact::Slot) => Link::Contact,
            Some(Contact::Field) | None => Link::Contactless,
        },
        model: visible(&reader.name),
        socket: reader.name.clone(),
        empty: reader.card.is_none(),
    }
}
