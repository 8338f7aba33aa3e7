//! An authenticator as a smart card: the FIDO applet over APDUs (CTAP 2.1, 11.3).

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use crate::{
    apdu::{self, Chaining, Command, Status},
    ctap::Ctap,
    ctaphid::{Keepalive, packet::status},
    finger::Finger,
};

/// The FIDO applet.
pub const FIDO_AID: [u8; 8] = [0xa0, 0x00, 0x00, 0x06, 0x47, 0x2f, 0x00, 0x01];

/// What a key that does not speak CTAP1 answers to SELECT (CTAP 2.1, 11.3.3).
const VERSION: &[u8] = b"FIDO_2_0";

const SELECT: u8 = 0xa4;
const NFCCTAP_MSG: u8 = 0x10;
const NFCCTAP_GETRESPONSE: u8 = 0x11;
const NFCCTAP_CONTROL: u8 = 0x12;

/// P1 of NFCCTAP_MSG: the host understands [`apdu::KEEPALIVE`].
const TAKES_KEEPALIVES: u8 = 0x80;
/// P1 of NFCCTAP_GETRESPONSE: the host gives up.
const CANCEL: u8 = 0x11;

/// How the card meets the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// By contacts: presence is a touch, as over USB.
    Contact,
    /// By a field: presence is the power-up (see [`crate::finger::Mode::Tap`]).
    Contactless,
}

impl Interface {
    /// The answer to reset. PC/SC makes up `3B 8n 80 01 ...` for contactless cards (PC/SC part 3, 3.1.3.2.3), so a
    /// contact card has another.
    pub fn atr(self) -> &'static [u8] {
        match self {
            Self::Contact => &[
                0x3b, 0xfd, 0x13, 0x00, 0x00, 0x81, 0x31, 0xfe, 0x15, 0x80, 0x73, 0xc0, 0x21, 0xc0, 0x57, 0x59, 0x75, 0x62, 0x69, 0x4b,
                0x65, 0x79, 0x40,
            ],
            Self::Contactless => &[
                0x3b, 0x8d, 0x80, 0x01, 0x80, 0x73, 0xc0, 0x21, 0xc0, 0x57, 0x59, 0x75, 0x62, 0x69, 0x4b, 0x65, 0x79, 0xf9,
            ],
        }
    }
}

/// A card, as a reader sees it.
pub trait SmartCard: Send {
    /// The answer to reset.
    fn atr(&self) -> Vec<u8>;

    /// The reader powers it up, or resets it, which most contactless readers do by switching the field.
    fn power_up(&mut self);

    /// The reader, or a hand, takes the power away.
    fn power_down(&mut self);

    /// Answers one command APDU.
    fn transmit(&mut self, apdu: &[u8]) -> Vec<u8>;
}

/// A card with an authenticator in it.
pub struct FidoCard {
    ctap: Arc<dyn Ctap>,
    finger: Arc<Finger>,
    interface: Interface,
    keepalive: Keepalive,
    session: Session,
}

/// What a reset forgets.
#[derive(Default)]
struct Session {
    selected: bool,
    chaining: Chaining,
    running: Option<mpsc::Receiver<Vec<u8>>>,
}

impl FidoCard {
    /// A card. It keeps a host that takes keepalives waiting for this interval, then sends one; every other host is
    /// blocked until the answer is there.
    pub fn new(ctap: Arc<dyn Ctap>, finger: Arc<Finger>, interface: Interface, keepalive: Keepalive) -> Self {
        Self {
            ctap,
            finger,
            interface,
            keepalive,
            session: Session::default(),
        }
    }

    fn execute(&mut self, command: &Command<'_>) -> (Vec<u8>, Status) {
        match (command.class, command.instruction) {
            (0x00, SELECT) if command.p1 == 4 => self.select(command.data),
            (0x80, NFCCTAP_CONTROL) if self.session.selected => {
                self.session.selected = false;
                (vec![], apdu::OK)
            }
            _ if !self.session.selected => (vec![], apdu::CONDITIONS_NOT_SATISFIED),
            (0x80, NFCCTAP_MSG) => self.message(command),
            (0x80, NFCCTAP_GETRESPONSE) => self.proceed(command.p1),
            _ => (vec![], apdu::UNKNOWN_INSTRUCTION),
        }
    }

    fn select(&mut self, aid: &[u8]) -> (Vec<u8>, Status) {
        self.session.selected = aid == FIDO_AID;
        match self.session.selected {
            true => (VERSION.to_vec(), apdu::OK),
            false => (vec![], apdu::NOT_FOUND),
        }
    }

    fn message(&mut self, command: &Command<'_>) -> (Vec<u8>, Status) {
        let (done, answer) = mpsc::channel();
        let finish = move |bytes| {
            let _ = done.send(bytes); // the card lost its power meanwhile
        };
        self.ctap.submit(command.data.to_vec(), Box::new(finish));
        self.session.running = Some(answer);
        match command.p1 & TAKES_KEEPALIVES {
            0 => self.wait(Duration::MAX),
            _ => self.wait(self.keepalive.interval()),
        }
    }

    fn proceed(&mut self, p1: u8) -> (Vec<u8>, Status) {
        match p1 {
            0x00 => self.wait(self.keepalive.interval()),
            CANCEL => {
                self.ctap.cancel();
                self.wait(Duration::MAX)
            }
            _ => (vec![], apdu::WRONG_P1_P2),
        }
    }

    fn wait(&mut self, patience: Duration) -> (Vec<u8>, Status) {
        let Some(running) = &self.session.running else {
            return (vec![], apdu::CONDITIONS_NOT_SATISFIED);
        };
        match running.recv_timeout(patience) {
            Ok(answer) => {
                self.session.running = None;
                (answer, apdu::OK)
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let status = if self.ctap.waiting() {
                    status::UP_NEEDED
                } else {
                    status::PROCESSING
                };
                (vec![status], apdu::KEEPALIVE)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => (vec![], apdu::CONDITIONS_NOT_SATISFIED),
        }
    }
}

impl SmartCard for FidoCard {
    fn atr(&self) -> Vec<u8> {
        self.interface.atr().to_vec()
    }

    fn power_up(&mut self) {
        self.session = Session::default();
        self.ctap.power_cycle();
        self.finger.power(true);
    }

    fn power_down(&mut self) {
        self.session = Session::default();
        self.ctap.cancel();
        self.finger.power(false);
    }

    fn transmit(&mut self, apdu: &[u8]) -> Vec<u8> {
        let mut chaining = std::mem::take(&mut self.session.chaining);
        let answer = chaining.transmit(apdu, |command| self.execute(command));
        self.session.chaining = chaining;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        apdu::GET_RESPONSE,
        authenticator::{Authenticator, Settings},
        ctap::{GET_INFO, KEEPALIVE_CANCEL, OPERATION_DENIED},
        finger::Mode,
    };

    const SELECTION: u8 = 0x0b;

    fn card(interface: Interface, mode: Mode, keepalive: Keepalive) -> (FidoCard, Arc<Finger>) {
        let finger = Arc::new(Finger::new(mode));
        let ctap = Arc::new(Authenticator::start(Settings::default(), finger.clone()).unwrap());
        let mut card = FidoCard::new(ctap, finger.clone(), interface, keepalive);
        card.power_up();
        (card, finger)
    }

    fn select(card: &mut FidoCard) -> Vec<u8> {
        card.transmit(&[&[0, SELECT, 4, 0, 8][..], &FIDO_AID, &[0]].concat())
    }

    #[test]
    fn a_selected_card_answers_get_info_in_one_extended_or_several_short_parts() {
        let (mut card, _) = card(Interface::Contact, Mode::Grant, Keepalive::never());
        assert_eq!(card.transmit(&[0x80, NFCCTAP_MSG, 0, 0, 1, GET_INFO, 0]), [0x69, 0x85]);
        assert_eq!(select(&mut card), apdu::answer(VERSION, apdu::OK));
        let whole = card.transmit(&[0x80, NFCCTAP_MSG, 0, 0, 0, 0, 1, GET_INFO, 0, 0]);
        let mut part = card.transmit(&[0x80, NFCCTAP_MSG, 0, 0, 1, GET_INFO, 0]);
        let mut joined = vec![];
        while let [data @ .., 0x61, _] = &part[..] {
            joined.extend_from_slice(data);
            part = card.transmit(&[0x80, GET_RESPONSE, 0, 0, 0]);
        }
        joined.extend(part);
        assert!(whole.len() > 258);
        assert_eq!(joined, whole);
    }

    #[test]
    fn a_chained_command_is_put_together() {
        let (mut card, _) = card(Interface::Contact, Mode::Grant, Keepalive::never());
        select(&mut card);
        assert_eq!(card.transmit(&[0x90, NFCCTAP_MSG, 0, 0, 1, SELECTION]), [0x90, 0x00]);
        assert_eq!(card.transmit(&[0x80, NFCCTAP_MSG, 0, 0]), [0x00, 0x90, 0x00]);
    }

    #[test]
    fn one_power_up_in_the_field_serves_one_operation() {
        let (mut card, _) = card(Interface::Contactless, Mode::Tap, Keepalive::never());
        select(&mut card);
        let selection = [0x80, NFCCTAP_MSG, 0, 0, 1, SELECTION, 0];
        assert_eq!(card.transmit(&selection), [0x00, 0x90, 0x00]);
        assert_eq!(card.transmit(&selection), [OPERATION_DENIED, 0x90, 0x00]);
        card.power_down();
        card.power_up();
        select(&mut card);
        assert_eq!(card.transmit(&selection), [0x00, 0x90, 0x00]);
    }

    #[test]
    fn a_host_that_takes_keepalives_polls_and_may_cancel() {
        let (mut card, finger) = card(Interface::Contact, Mode::Never, Keepalive::every(Duration::from_millis(1)));
        select(&mut card);
        let mut answer = card.transmit(&[0x80, NFCCTAP_MSG, TAKES_KEEPALIVES, 0, 1, SELECTION, 0]);
        while answer != [status::UP_NEEDED, 0x91, 0x00] {
            answer = card.transmit(&[0x80, NFCCTAP_GETRESPONSE, 0, 0, 0]);
        }
        assert_eq!(
            card.transmit(&[0x80, NFCCTAP_GETRESPONSE, CANCEL, 0, 0]),
            [KEEPALIVE_CANCEL, 0x90, 0x00]
        );
        assert_eq!(finger.counts().refused, 1);
    }
}
