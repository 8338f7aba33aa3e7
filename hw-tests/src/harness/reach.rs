//! How a daemon in this process reaches emulated keys: the product's own workers, on threads, over packet sockets.

use std::{
    io,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tokio::sync::watch;
use touchlease::device::{
    Link, Place, Port,
    broker::{Places, Reach, Worker},
    ctap::{Transport, TransportError},
    hid::Hid,
    worker::{self, Ways, protocol::Failure},
};

use crate::{
    authenticator::Settings,
    hid_socket::HidSocket,
    key::{Command, ControlError, Key, KeyHandle, Reply},
    sync::lock,
};

/// A set of USB ports in this process. Clones are the same ports.
#[derive(Clone)]
pub struct EmulatedReach {
    ports: Arc<Mutex<Vec<Arc<PluggedIn>>>>,
    places: Arc<watch::Sender<Option<Vec<Place>>>>,
    plugs: Arc<AtomicU64>,
}

struct PluggedIn {
    node: PathBuf,
    model: &'static str,
    key: Arc<Key<HidSocket>>,
    /// Changes with each plugging-in; 0 while it is pulled.
    plug: AtomicU64,
}

/// A key in one of the ports.
#[derive(Clone)]
pub struct UsbKey {
    reach: EmulatedReach,
    port: Arc<PluggedIn>,
}

impl Default for EmulatedReach {
    fn default() -> Self {
        Self {
            ports: Arc::default(),
            places: Arc::new(watch::Sender::new(Some(vec![]))),
            plugs: Arc::default(),
        }
    }
}

impl EmulatedReach {
    /// A new key of honest firmware, plugged in.
    ///
    /// # Errors
    /// The emulator does not start.
    pub fn add(&self) -> io::Result<UsbKey> {
        self.add_key(Key::<HidSocket>::start(Settings::default())?)
    }

    /// A key that was made elsewhere: an ill-behaved one.
    ///
    /// # Errors
    /// It cannot be plugged in.
    pub fn add_key(&self, key: Key<HidSocket>) -> io::Result<UsbKey> {
        self.add_model("Emulated Key", key)
    }

    /// A key that calls itself this.
    ///
    /// # Errors
    /// It cannot be plugged in.
    pub fn add_model(&self, model: &'static str, key: Key<HidSocket>) -> io::Result<UsbKey> {
        let mut ports = lock(&self.ports);
        let node = PathBuf::from(format!("/dev/emulated{}", ports.len()));
        let port = Arc::new(PluggedIn {
            node,
            model,
            key: Arc::new(key),
            plug: AtomicU64::new(self.next_plug()),
        });
        ports.push(port.clone());
        drop(ports);
        self.tell();
        Ok(UsbKey { reach: self.clone(), port })
    }

    fn next_plug(&self) -> u64 {
        self.plugs.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn tell(&self) {
        let ports = lock(&self.ports);
        let plugged = ports.iter().filter_map(|port| {
            let plug = port.plug.load(Ordering::Relaxed);
            (plug > 0).then(|| Place {
                port: Port::Node(port.node.clone()),
                plug,
                link: Link::Usb,
                model: port.model.into(),
                socket: port.node.display().to_string(),
                empty: false,
            })
        });
        self.places.send_replace(Some(plugged.collect()));
    }

    fn open(&self, port: &Port, channel: Option<u32>) -> Result<Box<dyn Transport>, TransportError> {
        let Port::Node(node) = port else {
            return Err(TransportError::PulledOut);
        };
        let port = lock(&self.ports).iter().find(|plugged| plugged.node == *node).cloned();
        let fd = port.and_then(|port| port.key.open().ok()).ok_or(TransportError::PulledOut)?;
        Ok(Box::new(Hid::from_fd(fd, channel, worker::random)))
    }
}

impl Reach for EmulatedReach {
    fn places(&self) -> io::Result<Places> {
        Ok(self.places.subscribe())
    }

    fn start(&self) -> io::Result<Worker> {
        let (ours, theirs) = UnixStream::pair()?;
        let reach = self.clone();
        thread::spawn(move || {
            // The broker hangs up when it has heard enough.
            let ways = Ways {
                fido2: &|port, _, channel| reach.open(port, channel),
                piv: &|_| Err(Failure::NotPiv),
            };
            let _ = worker::serve(theirs, ways);
        });
        Worker::from_socket(ours)
    }
}

impl KeyHandle for UsbKey {
    fn tell(&self, command: Command) -> Result<Reply, ControlError> {
        let reply = self.port.key.tell(command)?;
        match command {
            Command::Pull => self.port.plug.store(0, Ordering::Relaxed),
            Command::Plug => self.port.plug.store(self.reach.next_plug(), Ordering::Relaxed),
            _ => return Ok(reply),
        }
        self.reach.tell();
        Ok(reply)
    }
}

impl UsbKey {
    /// The emulator itself.
    #[must_use]
    pub fn key(&self) -> &Key<HidSocket> {
        &self.port.key
    }
}
