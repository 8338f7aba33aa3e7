//! Watching what is plugged in, for as long as somebody wants to know.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use pcsc::{Context, Scope};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::line::Line;
use super::protocol::Report;
use crate::device::ctap::Watch;
use crate::device::enrolled::Link;
use crate::device::nfc::{self, Contact, Reader};
use crate::device::place::{Place, Port};
use crate::device::{find, nfc::readers};
use crate::encoding::plain::visible;

/// How often sysfs is looked at. Readers report at once.
const LOOK: Duration = Duration::from_millis(250);

/// Reports the places over `socket`, at once and at every change, until its other end closes.
///
/// # Errors
/// The socket closed while writing.
pub fn watch(socket: UnixStream, sys_root: &Path, dev_root: &Path) -> io::Result<()> {
    let waker = socket.try_clone()?;
    let mut line = Line::new(socket);
    let mut service = Service::default();
    let mut told = None;
    while !line.cancelled() {
        let readers = service.readers();
        let mut places: Vec<_> = find::nodes(sys_root, dev_root).into_iter().map(key).collect();
        places.extend(readers.iter().map(card));
        if told.as_ref() != Some(&places) {
            line.tell(&Report::Places(places.clone()), &[])?;
            told = Some(places);
        }
        service.wait(&readers, &waker);
    }
    Ok(())
}

/// The PC/SC service, which may come and go.
#[derive(Default)]
struct Service {
    context: Option<Context>,
    looks: u32,
}

impl Service {
    fn readers(&mut self) -> Vec<Reader> {
        // Where no service runs, asking for it costs a connection attempt: every two seconds is enough.
        if self.context.is_none() && self.looks.is_multiple_of(8) {
            self.context = Context::establish(Scope::User).ok();
        }
        self.looks = self.looks.wrapping_add(1);
        let found = self.context.as_ref().map(readers);
        match found {
            Some(Ok(readers)) => readers,
            Some(Err(_)) => {
                self.context = None;
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn wait(&mut self, readers: &[Reader], waker: &UnixStream) {
        let waited = self.context.as_ref().map(|context| nfc::wait_for_change(context, readers, LOOK));
        if !matches!(waited, Some(Ok(()) | Err(pcsc::Error::Timeout))) {
            let mut fds = [PollFd::new(waker, PollFlags::IN)];
            let _ = poll(&mut fds, Timespec::try_from(LOOK).ok().as_ref());
        }
    }
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
