//! What a device may send.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};

use crate::device::ctap::cbor::{self, Map, Value};
use crate::device::ctap::fingerprint;
use crate::device::ctap::get_assertion::{GetAssertion, RawAssertion};
use crate::device::ctap::info::Info;
use crate::device::ctap::make_credential::{self, Attested, MakeCredential};
use crate::device::ctap::pin::{self, Permission, PinProtocol, SharedSecret};
use crate::device::ctap::{Frames, KeepAlive, Session, Transport, TransportError, Watch};
use crate::device::enrolled::{Link, Profile};
use crate::device::find::is_fido;
use crate::device::hid::Hid;
use crate::device::hid::frame::{Answer, Frame, PACKET, Packet, packets as cut};
use crate::device::nfc::applet::{Apdu, Contact, Nfc, contact, contact_by_name};
use crate::device::piv::attestation::{Claim, Roots};
use crate::device::proof::{self, Expected};
use crate::device::which;
use crate::device::worker::protocol::{Report, Request};
use crate::encoding::sshsig::{Assertion, Namespace};
use crate::samples::device::{AAGUID_AT, OURS, ROOTS, key};
use crate::samples::text;
use crate::worker::frame::{cut_frame, read_frame, write_frame};

/// CTAPHID packets, one after the other, put together as one answer.
pub fn packets(data: &[u8]) {
    let mut answer = Answer::default();
    let (packets, _) = data.as_chunks::<PACKET>();
    let mut start = None;
    for packet in packets {
        match Frame::parse(packet) {
            Frame::First {
                channel,
                command,
                len,
                data,
            } => {
                assert!(data.len() <= len.min(57) && packet[4] == command | 0x80);
                if answer.start(len, data).is_ok() {
                    start = Some((channel, command));
                }
            }
            Frame::Next { sequence, data, .. } if answer.expects(sequence) => answer.go_on(data),
            Frame::Next { .. } => {}
        }
        if let (Some(message), Some((channel, command))) = (answer.whole(), start) {
            let again = cut(channel, command, &message).expect("what came can be sent");
            assert_eq!(together(&again).as_ref(), Some(&message));
            return;
        }
    }
}

/// Certificates of a card: one for slot F9, then one for another slot. The first byte says which file of roots they are held against.
pub fn attestation(data: &[u8]) {
    let Some(([which, high, low], rest)) = data.split_first_chunk::<3>().map(|(head, rest)| (*head, rest)) else {
        return;
    };
    let text = if which & 1 == 0 { ROOTS.as_bytes() } else { rest };
    let Ok(roots) = Roots::from_pem(text) else { return };
    let (f9, slot) = rest.split_at(rest.len().min(usize::from(u16::from_be_bytes([high, low]))));
    if let Ok(authority) = roots.authority(f9) {
        let claim = Claim {
            serial: 24_117_248,
            firmware: [5, 7, 1],
            public_key: [4; 65],
        };
        assert!(authority.attests(slot, &claim).is_err(), "a key that is none was attested");
    }
}

fn together(packets: &[Packet]) -> Option<Vec<u8>> {
    let mut answer = Answer::default();
    for packet in packets {
        match Frame::parse(packet) {
            Frame::First { len, data, .. } => answer.start(len, data).ok()?,
            Frame::Next { sequence, data, .. } => {
                assert!(answer.expects(sequence));
                answer.go_on(data);
            }
        }
    }
    answer.whole()
}

/// Everything that a node says while one message is under way: on our channel, on others, on none.
pub fn conversation(data: &[u8]) {
    let Some((first, packets)) = data.split_first() else { return };
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .expect("a pair of sockets");
    for packet in packets.chunks(PACKET).take(40) {
        let _ = rustix::io::write(&theirs, packet);
    }
    // The end of the packets is the key pulled out; what we send is read by nobody.
    shutdown(&theirs, Shutdown::Write).expect("an open socket");
    let channel = (first & 1 == 1).then_some(0x0102_0304);
    let mut hid = Hid::from_fd(ours, channel, sevens).with_silence(Duration::from_millis(20));
    let mut seen = Seen::default();
    if let Ok(answer) = hid.cbor(&[0x04], &mut seen) {
        assert!(answer.len() <= PACKET * packets.len().div_ceil(PACKET) && hid.channel().is_some());
    }
    assert!(hid.frames().received as usize <= packets.len().div_ceil(PACKET));
}

/// A HID report descriptor.
pub fn descriptor(data: &[u8]) {
    if is_fido(data) {
        assert!(is_fido(&[data, &[0xFF; 9]].concat()), "what is open stays open");
    }
    let _ = contact(data, data.get(..1));
    // A reader of this name.
    let _ = contact_by_name(&String::from_utf8_lossy(data));
}

/// Answers of a card: `length, bytes` one behind the other, the last of which is repeated by nobody.
pub fn apdu(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let script = Script(parts(rest));
    let kind = if first & 1 == 1 { Contact::Slot } else { Contact::Field };
    let Ok(nfc) = Nfc::select(script, kind) else { return };
    let mut nfc = nfc.with_pause(Duration::ZERO);
    let message = vec![*first; 1 + usize::from(*first)];
    if let Ok(answer) = nfc.cbor(
        &message,
        &mut Seen {
            cancel: first & 2 == 2,
            ..Seen::default()
        },
    ) {
        assert!(answer.len() <= 7609 + 256 && answer.len() <= rest.len());
    }
    assert!(nfc.frames().received <= nfc.frames().sent);
}

/// One item in CTAP2's canonical form. Only the order of keys may differ from it.
pub fn cbor(data: &[u8]) {
    let Ok((value, rest)) = cbor::decode_prefix(data) else { return };
    let item = &data[..data.len() - rest.len()];
    let again = cbor::encode(&value);
    assert_eq!(again.len(), item.len(), "a shorter form was let pass");
    let sorted = cbor::decode(&again).expect("our own encoding");
    assert_eq!(cbor::encode(&sorted), again);
    if value == sorted {
        assert_eq!(again, item);
    }
}

/// The answer to getInfo.
pub fn get_info(data: &[u8]) {
    let Ok(info) = Info::parse(data) else { return };
    let canonical = cbor::encode(&cbor::decode(data).expect("it was read"));
    let again = Info::parse(&canonical).expect("the same in another order");
    assert!(info.options().all(|(name, on)| again.option(name) == Some(on)));
    assert_eq!(
        (&info.versions, info.aaguid, info.max_msg_size),
        (&again.versions, again.aaguid, again.max_msg_size)
    );
    let _ = (
        info.pin_is_set(),
        info.always_uv(),
        info.built_in_uv(),
        info.is_ctap2(),
        info.extension("hmac-secret"),
    );
}

/// The answer to makeCredential, and its authenticator data alone.
pub fn make_credential(data: &[u8]) {
    let inner = make_credential::parse(data);
    for auth_data in [Some(data), inner.as_deref().ok()].into_iter().flatten() {
        if let Ok(made) = Attested::parse(auth_data) {
            let id = AAGUID_AT + 18..AAGUID_AT + 18 + made.credential.len();
            assert_eq!(auth_data[..32], made.rp_id_hash);
            assert_eq!(auth_data[AAGUID_AT..AAGUID_AT + 16], made.aaguid);
            assert_eq!(auth_data[id], made.credential);
            assert!((1..=1023).contains(&made.credential.len()) && (1..=3).contains(&made.protection));
        }
    }
}

/// The answer to getAssertion, and what becomes of it.
pub fn get_assertion(data: &[u8]) {
    let Ok(raw) = RawAssertion::parse(data) else { return };
    let descriptor = raw.credential.clone().map(|id| Map::new().with("id", id));
    let again = Map::new()
        .with_some(1, descriptor)
        .with(2, raw.auth_data.clone())
        .with(3, raw.signature.clone());
    assert_eq!(RawAssertion::parse(&cbor::encode(&again.into())).as_ref(), Ok(&raw));
    let enrolled = key().enrolled();
    let expected = Expected {
        key: &enrolled,
        link: Link::Usb,
        namespace: Namespace::Lease,
        text: text::SIGNED,
        unseals: &[],
    };
    if let Ok(proof) = proof::verify(&raw, vec![], &expected) {
        let receipt = proof.sshsig(text::SIGNED).expect("the text that was touched for");
        let (point, assertion) = Assertion::from_sshsig(&receipt, Namespace::Lease, text::SIGNED).expect("our own receipt");
        assert_eq!((Some(&assertion), &point), (proof.assertion(), enrolled.signer()));
        assert!(proof.profile() == Profile::Pin && assertion.flags & 5 == 5);
    }
    let which = &enrolled.fido2().expect("a FIDO2 key").which;
    let _ = which::answers(&raw, which, &[0; 32]);
}

/// Answers to clientPIN, and to bioEnrollment.
pub fn client_pin(data: &[u8]) {
    if let Ok(point) = pin::parse_key_agreement(data) {
        let again = Map::new().with(1, pin::cose_key(&point, -25));
        assert_eq!(pin::parse_key_agreement(&cbor::encode(&again.into())), Ok(point));
        for protocol in [PinProtocol::One, PinProtocol::Two] {
            if let Ok(shared) = SharedSecret::agree(protocol, &point, sevens) {
                let sealed = shared.encrypt(&[9; 32]).expect("whole blocks");
                assert_eq!(shared.decrypt(&sealed).expect("our own").as_slice(), [9; 32]);
            }
        }
    }
    if let Ok(retries) = pin::parse_retries(data) {
        let again = Map::new().with(3, retries.left).with(4, retries.power_cycle);
        assert_eq!(pin::parse_retries(&cbor::encode(&again.into())), Ok(retries));
    }
    if let Ok(token) = pin::parse_token(data) {
        let again = Map::new().with(2, token.clone());
        assert_eq!(pin::parse_token(&cbor::encode(&again.into())), Ok(token));
    }
    if let Ok(sample) = fingerprint::parse_sample(data) {
        let again = Map::new().with(5, u32::from(sample.feedback.0)).with(6, sample.left);
        assert_eq!(fingerprint::parse_sample(&cbor::encode(&again.into())), Ok(sample));
    }
    if let Ok(templates) = fingerprint::parse_templates(data) {
        let one = |template: &fingerprint::Template| Map::new().with(1, &template.id[..]).with_some(2, template.name.as_deref());
        let again: Vec<Value> = templates.iter().map(|template| one(template).into()).collect();
        assert_eq!(
            fingerprint::parse_templates(&cbor::encode(&Map::new().with(7, again).into())),
            Ok(templates)
        );
    }
    for shared in OURS.iter() {
        let _ = shared.decrypt(data);
    }
}

/// A whole conversation: what a key answers to one command after the other, as in [`apdu`].
pub fn session(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let (mut script, mut watch) = (Script(parts(rest)), Seen::default());
    let Ok(mut session) = Session::open(&mut script, &mut watch, sevens, None) else {
        return;
    };
    assert!(!session.raw_info().is_empty());
    let salts = [[1; 32], [2; 32]];
    let token = (first & 1 == 1)
        .then(|| session.pin_token(b"1234", Permission::GetAssertion, Some("touchlease:lease")).ok())
        .flatten();
    let salts = &salts[..usize::from(first >> 1 & 1) + usize::from(first >> 2 & 1)];
    if first & 8 == 8 {
        let _ = session.pin_retries();
    }
    let asserted = session.get_assertion(&GetAssertion {
        rp_id: "touchlease:lease",
        client_data_hash: [3; 32],
        allow: &[vec![4; 16]],
        salts,
        touch: first & 16 == 0,
        token: token.as_ref(),
    });
    if let Ok((_, outputs)) = asserted {
        assert_eq!(outputs.len(), 32 * salts.len());
    }
    if let (Some(token), true) = (&token, first & 32 == 32) {
        let _ = session.fingerprints(token);
        let _ = session.add_fingerprint(token, "thumb");
    }
    let made = session.make_credential(&MakeCredential {
        rp_id: "touchlease:lease",
        client_data_hash: [3; 32],
        user_id: b"u",
        user_name: "u",
        exclude: &[vec![5; 16]],
        hmac_secret: true,
        protection: 3,
        token: token.as_ref(),
    });
    let _ = made.map(|made| Attested::parse(&made));
}

/// Frames between the daemon and its worker, one behind the other.
pub fn worker_frame(data: &[u8]) {
    frames::<Request>(data);
    frames::<Report>(data);
}

fn frames<T: serde::Serialize + serde::de::DeserializeOwned>(data: &[u8]) {
    let (mut buffer, mut filled) = (data.to_vec(), data.len());
    let mut start = 0;
    while let Ok(Some((message, tail))) = cut_frame::<T>(&mut buffer, &mut filled) {
        let mut again = Vec::new();
        write_frame(&mut again, &message, tail.expose()).expect("what was read can be written");
        let (same, same_tail) = read_frame::<T>(&again[..]).expect("our own frame");
        let json = |message: &T| serde_json::to_string(message).expect("JSON");
        assert_eq!((json(&same), same_tail.expose()), (json(&message), tail.expose()));
        assert!(read_frame::<T>(&data[start..]).is_ok(), "both readers read the same");
        start = data.len() - filled;
        assert!(buffer[filled..].iter().all(|b| *b == 0), "a frame is wiped where it was");
    }
}

fn sevens(bytes: &mut [u8]) -> std::io::Result<()> {
    bytes.fill(7);
    Ok(())
}

/// `length, bytes` one behind the other; what is cut short counts as far as it goes.
fn parts(mut data: &[u8]) -> VecDeque<Vec<u8>> {
    let mut parts = VecDeque::new();
    while let Some((high, rest)) = data.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*high)).min(rest.len());
        let (part, rest) = rest.split_at(len);
        parts.push_back(part.to_vec());
        data = rest;
    }
    parts
}

struct Script(VecDeque<Vec<u8>>);

impl Apdu for Script {
    fn transmit(&mut self, _: &[u8]) -> Result<Vec<u8>, TransportError> {
        self.0.pop_front().ok_or(TransportError::Silent)
    }
}

impl Transport for Script {
    fn cbor(&mut self, _: &[u8], _: &mut dyn Watch) -> Result<Vec<u8>, TransportError> {
        self.0.pop_front().ok_or(TransportError::Silent)
    }

    fn frames(&self) -> Frames {
        Frames::default()
    }
}

/// Cancels when asked to, once the key was seen to work; and when another program is on it, since waiting for that takes time.
#[derive(Default)]
struct Seen {
    works: bool,
    cancel: bool,
    others: u32,
}

impl Watch for Seen {
    fn keepalive(&mut self, _: KeepAlive) {
        self.works = true;
    }

    fn another_program(&mut self) {
        self.others += 1;
    }

    fn cancelled(&mut self) -> bool {
        self.others > 3 || self.works && self.cancel
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
