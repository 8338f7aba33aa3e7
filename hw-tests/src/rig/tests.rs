//! The same client over PC/SC and a kernel's hidraw; run by `with-readers` and `kernel/uml`.

use std::{ffi::CString, io, time::Duration};

use pcsc::{Context, Disposition, Protocols, Scope, ShareMode};
use touchlease::device::{Link, Port, ctap::TransportError, worker};

use super::*;
use crate::{
    card::{FIDO_AID, Interface},
    ctap::OPERATION_DENIED,
    host::{Host, HostError, NewAssertion, NewCredential, Protocol, Transport, hid::HidHost},
    key::{Attachment, KeyHandle},
    stubs::cards::{Disturbance, Disturbed},
    vpcd::VpcdSocket,
};

const RP: &str = "touchlease:lease";
const HASH: [u8; 32] = [7; 32];

struct Slot(pcsc::Card);

impl Slot {
    fn connect(reader: Reader) -> Host<Self> {
        let context = Context::establish(Scope::System).unwrap();
        let name = found_by_pcscd(&context, reader);
        let card = context.connect(&name, ShareMode::Exclusive, Protocols::ANY).unwrap();
        let mut slot = Self(card);
        slot.select();
        Host(slot)
    }

    fn select(&mut self) {
        let answer = self.transmit(&[&[0, 0xa4, 4, 0, 8][..], &FIDO_AID, &[0]].concat()).unwrap();
        assert_eq!(answer, b"FIDO_2_0\x90\x00");
    }

    /// What a program can do to a card that lies on the reader: a tap without a hand.
    fn power_cycle(&mut self) {
        self.0
            .reconnect(ShareMode::Exclusive, Protocols::ANY, Disposition::UnpowerCard)
            .unwrap();
        self.select();
    }

    fn transmit(&self, apdu: &[u8]) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; pcsc::MAX_BUFFER_SIZE_EXTENDED];
        let answer = self.0.transmit(apdu, &mut buffer).map_err(io::Error::other)?;
        Ok(answer.to_vec())
    }
}

impl Transport for Slot {
    fn exchange(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        let length = (message.len() as u16).to_be_bytes();
        let answer = self.transmit(&[&[0x80, 0x10, 0, 0, 0], &length[..], message, &[0, 0]].concat())?;
        match &answer[..] {
            [message @ .., 0x90, 0x00] => Ok(message.to_vec()),
            [] => Err(io::ErrorKind::UnexpectedEof.into()), // pulled during the command
            other => Err(io::Error::other(format!("{other:02x?}"))),
        }
    }
}

fn found_by_pcscd(context: &Context, reader: Reader) -> CString {
    let names = context.list_readers_owned().unwrap();
    names
        .into_iter()
        .find(|found| found.to_bytes().starts_with(reader.name.as_bytes()))
        .unwrap()
}

fn found(name: &str) -> Control {
    let key = key(name, |name| std::env::var_os(name)).expect("run by a launcher of hw-tests");
    key.plug().unwrap();
    key
}

fn enrolled(host: &mut Host<impl Transport>) -> Vec<u8> {
    let new = NewCredential {
        rp_id: RP,
        client_data_hash: HASH,
        hmac_secret: true,
        ..NewCredential::default()
    };
    host.make_credential(&new).unwrap().id
}

fn secrets<'a>(allow: &'a [&'a [u8]]) -> NewAssertion<'a> {
    let salts = Some((Protocol::Two, &[9; 64][..]));
    NewAssertion {
        rp_id: RP,
        client_data_hash: HASH,
        allow,
        salts,
        ..NewAssertion::default()
    }
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn a_contact_card_makes_secrets_for_a_touch() {
    let key = found(CONTACT);
    key.grant().unwrap();
    let mut host = Slot::connect(CONTACT_READER);
    let id = enrolled(&mut host);
    let assertion = host.get_assertion(&secrets(&[&id])).unwrap();
    assert_eq!((assertion.flags(), assertion.secrets.unwrap().len()), (0x81, 64));
    key.deny().unwrap();
    let denied = host.get_assertion(&secrets(&[&id]));
    assert!(matches!(denied, Err(HostError::Status(OPERATION_DENIED))));
    key.never().unwrap();
    let waiting = std::thread::spawn(move || host.get_assertion(&secrets(&[&id])));
    assert!(key.await_asked(Duration::from_secs(20)).unwrap());
    key.pull().unwrap();
    assert!(matches!(waiting.join().unwrap(), Err(HostError::Transport(_))));
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn a_tap_makes_secrets_once_and_a_program_can_fake_the_next() {
    let key = found(CONTACTLESS);
    key.tap().unwrap();
    let mut host = Slot::connect(CONTACTLESS_READER);
    host.0.power_cycle();
    let id = enrolled(&mut host);
    let again = host.get_assertion(&secrets(&[&id]));
    assert!(matches!(again, Err(HostError::Status(OPERATION_DENIED))), "{again:?}");
    host.0.power_cycle();
    assert_eq!(host.get_assertion(&secrets(&[&id])).unwrap().secrets.unwrap().len(), 64);
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t01_a_worker_that_is_told_of_a_slot_does_not_talk_to_a_card_in_a_field() {
    found(CONTACTLESS);
    let context = Context::establish(Scope::User).unwrap();
    let name = found_by_pcscd(&context, CONTACTLESS_READER);
    let port = Port::Reader(name.to_string_lossy().into_owned());
    let refused = worker::open(&port, Link::Contact, None).err();
    let found = Link::Contactless;
    assert_eq!(refused, Some(TransportError::OtherLink { found }));
    assert!(worker::open(&port, found, None).is_ok());
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn a_card_that_misbehaves_takes_the_place_of_one_that_does_not() {
    let key = found(CONTACTLESS);
    key.pull().unwrap();
    let card = Disturbed::new(Interface::Contactless, Disturbance::Empty);
    let slot = VpcdSocket::new(CONTACTLESS_READER, Box::new(card));
    slot.plug().unwrap();
    let host = Slot::connect(CONTACTLESS_READER);
    assert!(host.0.transmit(&[0x80, 0x10, 0, 0, 1, 4, 0]).unwrap().is_empty());
    slot.pull();
    key.plug().unwrap();
}

#[test]
#[ignore = "needs hw-tests/kernel/uml"]
fn a_hidraw_node_makes_secrets_for_a_touch_and_survives_a_replug() {
    let key = found(HIDRAW);
    key.grant().unwrap();
    let mut host = hidraw();
    let id = enrolled(&mut host);
    let assertion = host.get_assertion(&secrets(&[&id])).unwrap();
    assert_eq!((assertion.flags(), assertion.secrets.unwrap().len()), (0x81, 64));
    key.never().unwrap();
    let waiting = std::thread::spawn({
        let id = id.clone();
        move || host.get_assertion(&secrets(&[&id]))
    });
    assert!(key.await_asked(Duration::from_secs(20)).unwrap());
    key.pull().unwrap();
    assert!(matches!(waiting.join().unwrap(), Err(HostError::Transport(_))));
    key.plug().unwrap();
    key.grant().unwrap();
    assert_eq!(hidraw().get_assertion(&secrets(&[&id])).unwrap().secrets.unwrap().len(), 64);
}

/// The node may take a moment to appear, and need not have the same number after a replug.
pub(super) fn hidraw() -> Host<HidHost> {
    for _ in 0..500 {
        let nodes = std::fs::read_dir("/dev").unwrap().flatten().map(|entry| entry.path());
        let node = nodes
            .filter(|path| path.to_string_lossy().starts_with("/dev/hidraw"))
            .find_map(|path| std::fs::OpenOptions::new().read(true).write(true).open(path).ok());
        if let Some(node) = node {
            return Host(HidHost::connect(node.into()).unwrap());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no hidraw node that can be opened");
}
