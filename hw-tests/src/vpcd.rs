//! A card in a reader of `vpcd`, the virtual reader driver of pcscd (package vsmartcard-vpcd).
//!
//! The driver listens; a card connects to it: a connection is a card in the reader. Messages are a length of two bytes,
//! big-endian, and as many bytes: one byte for control (below), else an APDU.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::net::sockopt;

use crate::{card::SmartCard, ctap::Ctap, ctaphid::Keepalive, key::Attachment, sync::lock};

const POWER_OFF: [u8; 1] = [0];
const POWER_ON: [u8; 1] = [1];
const RESET: [u8; 1] = [2];
const ATR: [u8; 1] = [4];

/// pcscd may be starting still.
const PATIENCE: Duration = Duration::from_secs(10);
/// pcscd looks every 400 ms whether there is a card. One that was swapped in between is not powered up: to pcscd it is the
/// card that was there before.
const REMOVAL: Duration = Duration::from_millis(600);
const INSERTION: Duration = Duration::from_millis(1500);
const RETRY: Duration = Duration::from_millis(5);

/// A reader's slot for one card.
pub struct VpcdSocket {
    reader: SocketAddr,
    card: Arc<Mutex<Box<dyn SmartCard>>>,
    ctap: Option<Arc<dyn Ctap>>,
    keepalive: Keepalive,
    slot: Mutex<Option<TcpStream>>,
}

impl VpcdSocket {
    /// The slot of the reader that listens on this port, for this card.
    pub fn new(port: u16, card: Box<dyn SmartCard>) -> Self {
        let reader = (Ipv4Addr::LOCALHOST, port).into();
        Self {
            reader,
            card: Arc::new(Mutex::new(card)),
            ctap: None,
            keepalive: Keepalive::never(),
            slot: Mutex::new(None),
        }
    }

    /// Names what the card asks, so that pulling the card ends its wait for a touch, and the interval of its keepalives.
    #[must_use]
    pub fn with_authenticator(mut self, ctap: Arc<dyn Ctap>, keepalive: Keepalive) -> Self {
        self.ctap = Some(ctap);
        self.keepalive = keepalive;
        self
    }

    /// Puts the card in once; `None` if the driver dropped it again, as it does while pcscd is starting, or if pcscd takes
    /// it for the card before.
    fn insert(&self) -> io::Result<Option<TcpStream>> {
        let connection = match TcpStream::connect(self.reader) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
            other => other?,
        };
        connection.set_nodelay(true)?;
        let inserted = connection.try_clone()?;
        let (powered, seen) = mpsc::channel();
        let card = self.card.clone();
        thread::spawn(move || {
            let mut card = lock(&card); // free once the last insertion's thread has noticed the removal
            let _ = serve(connection, &mut **card, &powered); // the end of the connection is the removal
            card.power_down();
        });
        match seen.recv_timeout(INSERTION) {
            Ok(()) => Ok(Some(inserted)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Ok(None),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = inserted.shutdown(Shutdown::Both); // to be put in again
                thread::sleep(REMOVAL);
                Ok(None)
            }
        }
    }
}

impl Attachment for VpcdSocket {
    /// Returns when pcscd has powered the card up: about 0.4 s, and 2 s more right after another card was pulled.
    fn plug(&self) -> io::Result<()> {
        let mut slot = lock(&self.slot);
        if slot.is_some() {
            return Ok(());
        }
        let since = Instant::now();
        while slot.is_none() {
            *slot = self.insert()?;
            if slot.is_none() {
                if since.elapsed() > PATIENCE {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                thread::sleep(RETRY);
            }
        }
        Ok(())
    }

    fn pull(&self) {
        if let Some(connection) = lock(&self.slot).take() {
            let _ = connection.shutdown(Shutdown::Both); // pcscd may be gone
            self.ctap.iter().for_each(|ctap| ctap.cancel());
        }
    }

    fn keepalive(&self, interval: Duration) {
        self.keepalive.set(interval);
    }
}

fn serve(mut reader: TcpStream, card: &mut dyn SmartCard, powered: &mpsc::Sender<()>) -> io::Result<()> {
    loop {
        let message = receive(&mut reader)?;
        match <[u8; 1]>::try_from(&message[..]) {
            Ok(POWER_OFF) => card.power_down(),
            Ok(POWER_ON | RESET) => {
                card.power_up();
                let _ = powered.send(()); // only the first is waited for
            }
            Ok(ATR) => send(&mut reader, &card.atr())?,
            _ => {
                let answer = card.transmit(&message);
                if answer.is_empty() {
                    // The driver would wait for ever. A card that goes away is what makes PC/SC show an empty answer.
                    return reader.shutdown(Shutdown::Both);
                }
                send(&mut reader, &answer)?;
            }
        }
    }
}

fn receive(reader: &mut TcpStream) -> io::Result<Vec<u8>> {
    // The driver writes length and payload apart, with Nagle's algorithm on: a delayed ACK of ours would cost 40 ms for
    // every APDU. The option does not last, so it is set before each read.
    sockopt::set_tcp_quickack(&*reader, true)?;
    let mut length = [0; 2];
    reader.read_exact(&mut length)?;
    sockopt::set_tcp_quickack(&*reader, true)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    reader.read_exact(&mut message)?;
    Ok(message)
}

fn send(reader: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    let length = u16::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    reader.write_all(&[&length.to_be_bytes(), answer].concat())
}

impl Drop for VpcdSocket {
    fn drop(&mut self) {
        self.pull();
    }
}
