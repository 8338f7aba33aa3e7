//! Card readers, watched by a thread of their own: PC/SC has no descriptor to poll, and its wait blocks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use pcsc::{Context, Scope};
use rustix::event::{EventfdFlags, eventfd};

use crate::device::nfc::{self, Reader};

/// Where pcscd listens, if there is one (`PCSCLITE_CSOCK_NAME`, which workers do not have, could name another place).
pub const SERVICE: &str = "/run/pcscd/pcscd.comm";
/// Pause before asking again for a service that has its socket and does not answer.
const AGAIN: Duration = Duration::from_secs(2);

/// What the thread told. The thread ends with the process.
pub(super) struct Readers {
    told: Receiver<Vec<Reader>>,
    last: Option<Vec<Reader>>,
    bell: Arc<OwnedFd>,
    again: Sender<()>,
}

impl Readers {
    /// Starts to watch.
    ///
    /// # Errors
    /// No descriptors or threads left.
    pub fn watch() -> std::io::Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let ((tell, told), (again, asked)) = (channel(), channel());
        let rings = bell.clone();
        thread::Builder::new().name("readers".into()).spawn(move || {
            follow(&asked, &|readers| {
                // Nobody listens to a watch that is about to end.
                let _ = tell.send(readers);
                let _ = rustix::io::write(&rings, &1_u64.to_ne_bytes());
            });
        })?;
        Ok(Self {
            told,
            last: None,
            bell,
            again,
        })
    }

    /// The readers now. The first time this waits until PC/SC was asked: a card that lies there already must not be taken
    /// for one that was just tapped (T01).
    pub fn seen(&mut self) -> &[Reader] {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.bell, &mut count);
        let first = match self.last.take() {
            Some(last) => last,
            None => self.told.recv().unwrap_or_default(),
        };
        self.last.insert(self.told.try_iter().last().unwrap_or(first))
    }

    /// Something changed in the system: a service that was not there may be now.
    pub fn look_again(&self) {
        let _ = self.again.send(());
    }
}

impl AsFd for Readers {
    /// Readable when [`Readers::seen`] has something new.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

fn follow(asked: &Receiver<()>, tell: &dyn Fn(Vec<Reader>)) {
    loop {
        if let Ok(context) = Context::establish(Scope::User) {
            while let Ok(readers) = nfc::readers(&context) {
                tell(readers.clone());
                if nfc::wait_for_change(&context, &readers, None).is_err() {
                    break;
                }
            }
        }
        tell(Vec::new());
        // Whatever was asked meanwhile is answered by the next attempt.
        let waited = match Path::new(SERVICE).exists() {
            true => asked.recv_timeout(AGAIN),
            false => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if waited == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        while asked.try_recv().is_ok() {}
    }
}
