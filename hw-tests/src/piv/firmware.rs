//! The PIV application's firmware as it ships on real keys, on a thread of its own: it makes the keys, keeps them, and signs and
//! agrees with them.
//!
//! It has one PIN and one management key for ever, those of the factory. Whatever a YubiKey does with PIN, PUK, management key,
//! policies and data objects is [`super::applet`]'s: this firmware's own answers differ from a YubiKey's there.

use std::{
    io,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use piv_authenticator::{Authenticator, Options};
use trussed::{
    pipe::TrussedChannel,
    virt::{Store, StoreConfig},
};

use super::{
    FACTORY_PIN,
    management_key::{self, ManagementKey},
    tlv::{find, tlv},
};
use crate::{
    apdu::{self, Status},
    platform::{self, Client},
};

/// The firmware keeps its buffers on the stack.
const STACK: usize = 16 << 20;
/// The longest answer.
const ANSWER: usize = 4096;

const VERIFY: u8 = 0x20;
const GENERATE_ASYMMETRIC: u8 = 0x47;
const GENERAL_AUTHENTICATE: u8 = 0x87;

/// A running firmware, as new; dropping it ends its thread.
pub(super) struct Firmware {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    command: Vec<u8>,
    done: mpsc::Sender<(Vec<u8>, Status)>,
}

impl Firmware {
    /// Starts it, with nothing in it.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let thread = thread::Builder::new().name("piv".into()).stack_size(STACK).spawn(move || {
            StoreConfig::ram().with_store(|store| run(store, &inbox));
        })?;
        let firmware = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        firmware.open_administration();
        Ok(firmware)
    }

    /// Makes a key in a slot: GENERATE ASYMMETRIC KEY PAIR (SP 800-73-4 part 2, 3.3.2). The answer is the firmware's.
    pub(super) fn generate(&self, slot: u8, algorithm: u8) -> (Vec<u8>, Status) {
        self.call(GENERATE_ASYMMETRIC, 0, slot, &tlv(0xac, &tlv(0x80, &[algorithm])))
    }

    /// Signs or agrees with a slot's key: GENERAL AUTHENTICATE (SP 800-73-4 part 2, 3.2.4).
    pub(super) fn authenticate(&self, algorithm: u8, slot: u8, template: &[u8]) -> (Vec<u8>, Status) {
        self.call(VERIFY, 0, 0x80, &FACTORY_PIN);
        self.call(GENERAL_AUTHENTICATE, algorithm, slot, template)
    }

    /// Once is enough: the firmware forgets it only with its power.
    fn open_administration(&self) {
        let key = ManagementKey::factory(management_key::TRIPLE_DES);
        let (answer, _) = self.call(GENERAL_AUTHENTICATE, key.algorithm(), 0x9b, &tlv(0x7c, &tlv(0x81, &[])));
        let challenge = find(&answer, 0x7c).and_then(|template| find(template, 0x81)).unwrap_or_default();
        let response = tlv(0x7c, &tlv(0x82, &key.encrypt(challenge)));
        self.call(GENERAL_AUTHENTICATE, key.algorithm(), 0x9b, &response);
    }

    fn call(&self, instruction: u8, p1: u8, p2: u8, data: &[u8]) -> (Vec<u8>, Status) {
        let length = (data.len() as u16).to_be_bytes();
        let command = [&[0, instruction, p1, p2, 0][..], &length, data, &[0, 0]].concat();
        let (done, answer) = mpsc::channel();
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(Job { command, done }));
        match sent {
            Some(Ok(())) => answer.recv().unwrap_or((vec![], apdu::CONDITIONS_NOT_SATISFIED)),
            _ => (vec![], apdu::CONDITIONS_NOT_SATISFIED),
        }
    }
}

impl Drop for Firmware {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic of the firmware has been printed by its thread
        }
    }
}

fn run(store: Store<'_>, inbox: &mpsc::Receiver<Job>) {
    let channel = TrussedChannel::new();
    let Some(client) = platform::boot("piv", &channel, store) else {
        return;
    };
    let mut firmware = Authenticator::new(client, Options::new());
    while let Ok(Job { command, done }) = inbox.recv() {
        let _ = done.send(respond(&mut firmware, &command)); // nobody waits: the card is gone
    }
}

fn respond(firmware: &mut Authenticator<Client<'_>>, command: &[u8]) -> (Vec<u8>, Status) {
    let mut answer = heapless::Vec::<u8, ANSWER>::new();
    let Ok(command) = command.try_into() else {
        return (vec![], apdu::WRONG_LENGTH);
    };
    match firmware.respond(command, &mut answer) {
        Ok(()) => (answer.to_vec(), apdu::OK),
        Err(status) => (vec![], status.into()),
    }
}
