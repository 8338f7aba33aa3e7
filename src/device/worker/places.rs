//! Watching what is plugged in, for as long as somebody wants to know.

use std::collections::HashMap;
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
use crate::device::nfc::{Contact, Reader, contact_by_name};
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
    let (mut told, mut before) = (None, HashMap::new());
    while !line.cancelled() {
        let mut places: Vec<_> = find::nodes(sys_root, dev_root).into_iter().map(key).collect();
        places.extend(readers.seen().iter().map(|reader| card(reader, &mut before)));
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

/// `before` holds how the last card in each reader was reached.
fn card(reader: &Reader, before: &mut HashMap<String, Contact>) -> Place {
    before.extend(reader.card.map(|contact| (reader.name.clone(), contact)));
    let usual = before.get(&reader.name).copied();
    Place {
        port: Port::Reader(reader.name.clone()),
        plug: reader.events.into(),
        link: usual.unwrap_or_else(|| contact_by_name(&reader.name)).into(),
        model: visible(&reader.name),
        socket: reader.name.clone(),
        empty: reader.card.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_reader_is_what_its_last_card_was_and_before_that_what_its_name_says() {
        let mut before = HashMap::new();
        let mut link = |name: &str, now| {
            let reader = Reader {
                name: name.into(),
                events: 0,
                card: now,
            };
            card(&reader, &mut before).link
        };
        for name in ["ACS ACR122U PICC Interface 00 00", "OMNIKEY 5022 CL 00", "A Contactless Reader"] {
            assert_eq!(link(name, None), Link::Contactless, "{name}");
        }
        assert_eq!(link("Some CLever Reader", None), Link::Contact);
        assert_eq!(link("Some CLever Reader", Some(Contact::Field)), Link::Contactless);
        assert_eq!(link("Some CLever Reader", None), Link::Contactless);
        assert_eq!(link("A Contactless Reader", Some(Contact::Slot)), Link::Contact);
    }
}
