//! A card in a reader of `vpcd`, the virtual reader driver of pcscd (package vsmartcard-vpcd).
//!
//! The driver listens; a card connects to it: a connection is a card in the reader. Messages are a length of two bytes,
//! big-endian, and as many bytes: one byte for control (below), else an APDU.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use pcsc::{Context, Error, ReaderState, Scope, State};
use rustix::net::sockopt;

use crate::{card::SmartCard, ctaphid::Keepalive, finger::Finger, key::Attachment, rig::Reader, sync::lock};

const POWER_OFF: [u8; 1] = [0];
const POWER_ON: [u8; 1] = [1];
const RESET: [u8; 1] = [2];
const ATR: [u8; 1] = [4];

/// pcscd may be starting still, and a loaded machine lets it look late.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one question to pcscd may take, so that a driver that dropped the card is noticed between two.
const LOOK: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_millis(5);
/// How long a card may take to be seen and powered up, before it is taken out and put in again.
const POWER_UP: Duration = Duration::from_secs(3);
/// Two of pcscd's own looks: a reader that is empty for as long is seen as empty.
const TWO_LOOKS: Duration = Duration::from_millis(900);

/// A reader's slot for one card.
///
/// pcscd looks every 400 ms whether there is a card, and one that was swapped in between is to it the card that was there before:
/// never powered up. So both directions wait until pcscd has seen what happened.
pub struct VpcdSocket {
    reader: Reader,
    card: Arc<Mutex<Box<dyn SmartCard>>>,
    finger: Option<Arc<Finger>>,
    keepalive: Keepalive,
    slot: Mutex<Option<TcpStream>>,
}

impl VpcdSocket {
    /// The slot of this reader, for this card.
    pub fn new(reader: Reader, card: Box<dyn SmartCard>) -> Self {
        Self {
            reader,
            card: Arc::new(Mutex::new(card)),
            finger: None,
            keepalive: Keepalive::never(),
            slot: Mutex::new(None),
        }
    }

    /// Names the finger over the card, so that pulling the card ends its wait for a touch.
    #[must_use]
    pub fn with_finger(mut self, finger: Arc<Finger>) -> Self {
        self.finger = Some(finger);
        self
    }

    /// Names the interval of its keepalives, for a card that sends them.
    #[must_use]
    pub fn with_keepalive(mut self, keepalive: Keepalive) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// Puts the card in once; `None` if the driver dropped it again, as it does while pcscd is starting, or if it was not powered up. A
    /// reset as it is pulled out makes pcscd say "empty" before it has looked; the card that is put in then is to it the one that was
    /// there, and is never powered up. So it is taken out again for as long as pcscd needs to see that.
    fn insert(&self, until: Instant) -> io::Result<Option<TcpStream>> {
        let connection = match TcpStream::connect((Ipv4Addr::LOCALHOST, self.reader.port)) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
            other => other?,
        };
        connection.set_nodelay(true)?;
        let inserted = connection.try_clone()?;
        let card = self.card.clone();
        let life = thread::spawn(move || {
            let mut card = lock(&card); // free once the last insertion's thread has noticed the removal
            let _ = serve(connection, &mut **card); // the end of the connection is the removal
            card.power_down();
        });
        let until = until.min(Instant::now() + POWER_UP);
        while !life.is_finished() && Instant::now() < until {
            if sees(self.reader, State::PRESENT) {
                return Ok(Some(inserted));
            }
        }
        if !life.is_finished() {
            let _ = inserted.shutdown(Shutdown::Both); // the driver may have done it
            thread::sleep(TWO_LOOKS);
        }
        Ok(None)
    }
}

impl Attachment for VpcdSocket {
    /// Returns when pcscd has powered the card up.
    fn plug(&self) -> io::Result<()> {
        let mut slot = lock(&self.slot);
        let until = Instant::now() + PATIENCE;
        while slot.is_none() {
            *slot = self.insert(until)?;
            if slot.is_none() {
                if Instant::now() > until {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                thread::sleep(RETRY);
            }
        }
        Ok(())
    }

    /// Returns when pcscd has seen that the reader is empty.
    fn pull(&self) {
        let Some(connection) = lock(&self.slot).take() else {
            return;
        };
        let _ = connection.shutdown(Shutdown::Both); // pcscd may be gone
        self.finger.iter().for_each(|finger| finger.cancel());
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && !sees(self.reader, State::EMPTY) {}
    }

    fn keepalive(&self, interval: Duration) {
        self.keepalive.set(interval);
    }
}

/// Whether pcscd says this of the reader, at once or within [`LOOK`].
fn sees(reader: Reader, wanted: State) -> bool {
    let state = |context: &Context| -> Result<ReaderState, Error> {
        let names = context.list_readers_owned()?;
        let mut named = names.into_iter().filter(|name| name.to_bytes().starts_with(reader.name.as_bytes()));
        let mut states = [ReaderState::new(named.next().ok_or(Error::UnknownReader)?, State::UNAWARE)];
        context.get_status_change(Duration::ZERO, &mut states)?;
        if !is(&states[0], wanted) {
            states[0].sync_current_state();
            // The limit passing says that nothing changed.
            let _ = context.get_status_change(LOOK, &mut states);
        }
        let [state] = states;
        Ok(state)
    };
    match Context::establish(Scope::System).and_then(|context| state(&context)) {
        Ok(state) => is(&state, wanted),
        Err(_) => {
            thread::sleep(RETRY); // pcscd is starting, or gone
            false
        }
    }
}

/// A card that does not answer to its power-up is there for nobody.
fn is(state: &ReaderState, wanted: State) -> bool {
    state.event_state().contains(wanted) && !state.event_state().contains(State::MUTE)
}

fn serve(mut reader: TcpStream, card: &mut dyn SmartCard) -> io::Result<()> {
    loop {
        let message = receive(&mut reader)?;
        match <[u8; 1]>::try_from(&message[..]) {
            Ok(POWER_OFF) => card.power_down(),
            Ok(POWER_ON | RESET) => card.power_up(),
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
