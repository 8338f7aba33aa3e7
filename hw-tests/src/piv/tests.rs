//! The card as a host sees it, APDU by APDU: without a reader, and in the readers of `with-readers`.

use std::{env, ffi::CString, thread};

use p256::{PublicKey, SecretKey, elliptic_curve::Generate, elliptic_curve::sec1::ToSec1Point};
use pcsc::{Context, Disposition, Protocols, Scope, ShareMode};
use x509_cert::{Certificate, der::Decode};

use super::{
    management_key::{AES_192, ManagementKey, TRIPLE_DES},
    tlv::find,
    *,
};
use crate::{
    control::Control,
    finger::Mode,
    key::KeyHandle,
    rig::{self, Reader, SECOND_YUBIKEY_READER, YUBIKEY, YUBIKEY_READER},
};

const P256: u8 = 0x11;
const RETIRED: u8 = 0x82;
const SECURITY_STATUS: Status = 0x6982;
const DEVICES_PIN: [u8; 8] = *b"pin-42\xff\xff";

/// What carries an APDU.
trait Link {
    /// The answer; empty if the card was pulled meanwhile.
    fn exchange(&mut self, apdu: &[u8]) -> Vec<u8>;
}

impl Link for YubiKeyCard {
    fn exchange(&mut self, apdu: &[u8]) -> Vec<u8> {
        self.transmit(apdu)
    }
}

impl Link for pcsc::Card {
    fn exchange(&mut self, apdu: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; pcsc::MAX_BUFFER_SIZE_EXTENDED];
        self.transmit(apdu, &mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
    }
}

struct Host<L> {
    card: L,
}

impl Host<YubiKeyCard> {
    fn with(version: [u8; 3]) -> Self {
        let settings = Settings {
            version,
            ..Settings::default()
        };
        let inside = YubiKey::start(settings, Arc::new(Finger::new(Mode::Grant)));
        let mut card = YubiKeyCard::new(Arc::new(inside.unwrap()));
        card.power_up();
        let mut host = Self { card };
        assert_eq!(host.select(&PIV_AID), apdu::OK);
        host
    }

    fn new() -> Self {
        Self::with(Settings::default().version)
    }

    fn finger(&self) -> &Finger {
        &self.card.inside.finger
    }
}

impl Host<pcsc::Card> {
    fn connect(reader: Reader) -> Self {
        let context = Context::establish(Scope::System).unwrap();
        let names = context.list_readers_owned().unwrap();
        let is = |name: &CString| name.to_bytes() == format!("{} 00 00", reader.name).as_bytes();
        let name = names.into_iter().find(is).unwrap();
        let card = context.connect(&name, ShareMode::Shared, Protocols::ANY).unwrap();
        let mut host = Self { card };
        assert_eq!(host.select(&PIV_AID), apdu::OK);
        host
    }

    fn leave(self, disposition: Disposition) {
        self.card.disconnect(disposition).map_err(|(_, error)| error).unwrap();
    }

    fn has_pin(&mut self) -> bool {
        self.status(0x20, 0, 0x80, &[]) == apdu::OK
    }
}

impl<L: Link> Host<L> {
    /// An extended APDU.
    fn send(&mut self, instruction: u8, p1: u8, p2: u8, data: &[u8]) -> (Vec<u8>, Status) {
        let length = (data.len() as u16).to_be_bytes();
        let mut command = vec![0, instruction, p1, p2, 0];
        if !data.is_empty() {
            command.extend([&length, data].concat());
        }
        let mut answer = self.card.exchange(&[&command[..], &[0, 0]].concat());
        let status = answer.split_off(answer.len().saturating_sub(2));
        let [high, low] = status[..] else {
            return (vec![], 0);
        };
        (answer, Status::from_be_bytes([high, low]))
    }

    fn status(&mut self, instruction: u8, p1: u8, p2: u8, data: &[u8]) -> Status {
        self.send(instruction, p1, p2, data).1
    }

    fn ok(&mut self, instruction: u8, p1: u8, p2: u8, data: &[u8]) -> Vec<u8> {
        let (answer, status) = self.send(instruction, p1, p2, data);
        assert_eq!(status, apdu::OK, "{instruction:02x} {p1:02x} {p2:02x}");
        answer
    }

    fn select(&mut self, aid: &[u8]) -> Status {
        self.status(SELECT, 4, 0, aid)
    }

    fn verify(&mut self, pin: &[u8; 8]) -> Status {
        self.status(0x20, 0, 0x80, pin)
    }

    fn administer(&mut self, key: &ManagementKey) -> Status {
        let answer = self.ok(0x87, key.algorithm(), 0x9b, &tlv(0x7c, &tlv(0x81, &[])));
        let challenge = find(find(&answer, 0x7c).unwrap(), 0x81).unwrap().to_vec();
        self.status(0x87, key.algorithm(), 0x9b, &tlv(0x7c, &tlv(0x82, &key.encrypt(&challenge))))
    }

    /// Makes a key in a slot; its public key.
    fn generate(&mut self, slot: u8, pin: PinPolicy, touch: TouchPolicy) -> PublicKey {
        let policies = [tlv(0xaa, &[pin as u8]), tlv(0xab, &[touch as u8])].concat();
        let answer = self.ok(0x47, 0, slot, &tlv(0xac, &[tlv(0x80, &[P256]), policies].concat()));
        PublicKey::from_sec1_bytes(find(find(&answer[1..], 0x49).unwrap(), 0x86).unwrap()).unwrap()
    }

    fn agree(&mut self, slot: u8, peer: &SecretKey) -> (Vec<u8>, Status) {
        let point = peer.public_key().to_sec1_point(false);
        let template = tlv(0x7c, &[tlv(0x82, &[]), tlv(0x85, point.as_bytes())].concat());
        let (answer, status) = self.send(0x87, P256, slot, &template);
        let secret = find(&answer, 0x7c).and_then(|body| find(body, 0x82)).unwrap_or_default().to_vec();
        (secret, status)
    }
}

fn factory() -> ManagementKey {
    ManagementKey::factory(AES_192)
}

#[test]
fn a_retired_slot_agrees_on_the_secret_that_the_peer_computes() {
    let mut host = Host::new();
    assert_eq!(host.administer(&factory()), apdu::OK);
    let public = host.generate(RETIRED, PinPolicy::Always, TouchPolicy::Always);
    let peer = SecretKey::generate();
    assert_eq!(host.verify(&FACTORY_PIN), apdu::OK);
    let (secret, status) = host.agree(RETIRED, &peer);
    let expected = p256::ecdh::diffie_hellman(peer.to_nonzero_scalar(), public.as_affine());
    assert_eq!((status, &secret[..]), (apdu::OK, &expected.raw_secret_bytes()[..]));
    assert_eq!(host.finger().counts().given, 1);
}

#[test]
fn a_key_that_always_wants_the_pin_wants_it_immediately_before() {
    let mut host = Host::new();
    host.administer(&factory());
    host.generate(RETIRED, PinPolicy::Always, TouchPolicy::Never);
    host.generate(0x83, PinPolicy::Once, TouchPolicy::Never);
    host.generate(0x84, PinPolicy::Never, TouchPolicy::Never);
    let peer = SecretKey::generate();
    let agree = |host: &mut Host<YubiKeyCard>, slot| host.agree(slot, &peer).1;
    assert_eq!(agree(&mut host, 0x84), apdu::OK);
    assert_eq!(agree(&mut host, 0x83), SECURITY_STATUS);
    host.verify(&FACTORY_PIN);
    assert_eq!(agree(&mut host, RETIRED), apdu::OK);
    assert_eq!(agree(&mut host, RETIRED), SECURITY_STATUS);
    assert_eq!(agree(&mut host, 0x83), apdu::OK);
    host.verify(&FACTORY_PIN);
    host.ok(0xfd, 0, 0, &[]);
    assert_eq!(agree(&mut host, RETIRED), SECURITY_STATUS);
}

#[test]
fn no_touch_is_the_status_that_no_pin_is_and_no_pin_asks_for_no_touch() {
    let mut host = Host::new();
    host.administer(&factory());
    host.generate(RETIRED, PinPolicy::Always, TouchPolicy::Always);
    let peer = SecretKey::generate();
    assert_eq!(host.agree(RETIRED, &peer).1, SECURITY_STATUS);
    assert_eq!(host.finger().counts().asked, 0);
    host.finger().set(Mode::Deny);
    host.verify(&FACTORY_PIN);
    assert_eq!(host.agree(RETIRED, &peer).1, SECURITY_STATUS);
    assert_eq!(host.finger().counts().asked, 1);
}

#[test]
fn a_cached_touch_counts_for_the_next_use_and_an_always_key_asks_again() {
    let mut host = Host::new();
    host.administer(&factory());
    host.generate(RETIRED, PinPolicy::Never, TouchPolicy::Cached);
    host.generate(0x83, PinPolicy::Never, TouchPolicy::Always);
    let peer = SecretKey::generate();
    for (slot, asked) in [(RETIRED, 1), (RETIRED, 1), (0x83, 2), (0x83, 3)] {
        assert_eq!(host.agree(slot, &peer).1, apdu::OK);
        assert_eq!(host.finger().counts().asked, asked);
    }
}

#[test]
fn another_application_makes_it_forget_the_pin_and_the_same_one_does_not() {
    let mut host = Host::new();
    let verified = |host: &mut Host<YubiKeyCard>| host.status(0x20, 0, 0x80, &[]) == apdu::OK;
    host.verify(&FACTORY_PIN);
    host.select(&PIV_AID);
    assert!(verified(&mut host));
    assert_eq!(host.select(&[0xa0, 1, 2, 3, 4]), apdu::NOT_FOUND);
    assert!(verified(&mut host));
    host.select(&MANAGEMENT_AID);
    host.select(&PIV_AID);
    assert!(!verified(&mut host));
    host.verify(&FACTORY_PIN);
    host.card.power_up();
    host.select(&PIV_AID);
    assert!(!verified(&mut host));
}

#[test]
fn three_wrong_pins_block_an_empty_one_among_them_and_the_puk_opens_again() {
    let mut host = Host::new();
    let change = [FACTORY_PIN, DEVICES_PIN].concat();
    assert_eq!(host.status(0x24, 0, 0x80, &change), apdu::OK);
    assert_eq!(host.verify(&FACTORY_PIN), 0x63c2);
    assert_eq!(host.status(0x24, 0, 0x80, &change), 0x63c1);
    assert_eq!(host.verify(&[0xff; 8]), 0x6983);
    assert_eq!(host.verify(&DEVICES_PIN), 0x6983);
    assert_eq!(host.status(0x20, 0, 0x80, &[]), 0x6983);
    assert_eq!(host.status(0x2c, 0, 0x80, &[*b"00000000", FACTORY_PIN].concat()), 0x63c2);
    assert_eq!(host.status(0x2c, 0, 0x80, &[FACTORY_PUK, FACTORY_PIN].concat()), apdu::OK);
    assert_eq!(host.verify(&FACTORY_PIN), apdu::OK);
}

#[test]
fn it_is_reset_only_once_pin_and_puk_are_blocked_and_then_as_new() {
    let mut host = Host::new();
    host.administer(&factory());
    host.generate(RETIRED, PinPolicy::Never, TouchPolicy::Never);
    assert_eq!(host.status(0xfb, 0, 0, &[]), apdu::CONDITIONS_NOT_SATISFIED);
    for _ in 0..3 {
        host.verify(&[0xff; 8]);
        host.status(0x2c, 0, 0x80, &[[0xff; 8], [0xff; 8]].concat());
    }
    assert_eq!(host.status(0xfb, 0, 0, &[]), apdu::OK);
    assert_eq!(host.verify(&FACTORY_PIN), apdu::OK);
    assert_eq!(host.status(0xf7, 0, RETIRED, &[]), 0x6a88);
    assert_eq!(host.status(0x47, 0, RETIRED, &tlv(0xac, &tlv(0x80, &[P256]))), SECURITY_STATUS);
}

#[test]
fn every_algorithm_serves_as_management_key_and_the_factorys_is_for_aes_since_5_7() {
    let mut old = Host::with([5, 4, 3]);
    assert_eq!(old.status(0x87, AES_192, 0x9b, &tlv(0x7c, &tlv(0x81, &[]))), apdu::WRONG_P1_P2);
    assert_eq!(old.administer(&ManagementKey::factory(TRIPLE_DES)), apdu::OK);
    let mut host = Host::new();
    let mut key = factory();
    for (algorithm, length) in [(0x03, 24), (0x08, 16), (0x0a, 24), (0x0c, 32)] {
        assert_eq!(host.administer(&key), apdu::OK);
        let new = vec![algorithm; length];
        let data = [&[algorithm, 0x9b, length as u8], &new[..]].concat();
        host.ok(0xff, 0xff, 0xff, &data);
        host.card.power_up();
        host.select(&PIV_AID);
        key = ManagementKey::new(algorithm, &new).unwrap();
        let other = ManagementKey::new(algorithm, &vec![1; length]).unwrap();
        assert_eq!(host.administer(&other), SECURITY_STATUS);
        assert_eq!(host.status(0xff, 0xff, 0xff, &data), SECURITY_STATUS);
    }
}

#[test]
fn metadata_says_what_the_slot_holds() {
    let mut host = Host::new();
    host.administer(&factory());
    let public = host.generate(RETIRED, PinPolicy::Always, TouchPolicy::Cached);
    let metadata = host.ok(0xf7, 0, RETIRED, &[]);
    assert_eq!(find(&metadata, 1), Some(&[P256][..]));
    assert_eq!(find(&metadata, 2), Some(&[3, 3][..]));
    assert_eq!(find(&metadata, 3), Some(&[1][..]));
    let point = public.to_sec1_point(false);
    assert_eq!(find(find(&metadata, 4).unwrap(), 0x86), Some(point.as_bytes()));
    host.verify(&[0xff; 8]);
    let pin = host.ok(0xf7, 0, 0x80, &[]);
    assert_eq!((find(&pin, 5), find(&pin, 6)), (Some(&[1][..]), Some(&[3, 2][..])));
    let management = host.ok(0xf7, 0, 0x9b, &[]);
    assert_eq!((find(&management, 1), find(&management, 5)), (Some(&[AES_192][..]), Some(&[1][..])));
}

#[test]
fn an_attestation_names_the_key_the_policies_and_the_card() {
    let mut host = Host::new();
    host.administer(&factory());
    let public = host.generate(RETIRED, PinPolicy::Always, TouchPolicy::Always);
    assert_eq!(host.status(0xf9, 0x83, 0, &[]), 0x6a88);
    let certificate = Certificate::from_der(&host.ok(0xf9, RETIRED, 0, &[])).unwrap();
    let tbs = certificate.tbs_certificate();
    let key = tbs.subject_public_key_info().subject_public_key.raw_bytes();
    assert_eq!(key, public.to_sec1_point(false).as_bytes());
    let extensions = tbs.extensions().unwrap().iter();
    let said: Vec<_> = extensions
        .map(|one| (one.extn_id.to_string(), one.extn_value.as_bytes().to_vec()))
        .collect();
    let oid = |last| format!("1.3.6.1.4.1.41482.3.{last}");
    assert_eq!(
        said,
        [
            (oid(3), vec![5, 7, 1]),
            (oid(7), [&[2, 4][..], &Settings::default().serial.to_be_bytes()].concat()),
            (oid(8), vec![3, 2]),
            (oid(9), vec![1]),
        ]
    );
}

#[test]
fn an_object_is_written_by_the_administrator_and_printed_information_is_read_with_the_pin() {
    let mut host = Host::new();
    let printed = tlv(0x5c, &[0x5f, 0xc1, 0x09]);
    let write = [printed.clone(), tlv(0x53, &[7; 300])].concat();
    assert_eq!(host.status(0xdb, 0x3f, 0xff, &write), SECURITY_STATUS);
    host.administer(&factory());
    host.ok(0xdb, 0x3f, 0xff, &write);
    assert_eq!(host.status(0xcb, 0x3f, 0xff, &printed), SECURITY_STATUS);
    host.verify(&FACTORY_PIN);
    assert_eq!(host.ok(0xcb, 0x3f, 0xff, &printed), tlv(0x53, &[7; 300]));
    host.ok(0xdb, 0x3f, 0xff, &[printed.clone(), tlv(0x53, &[])].concat());
    assert_eq!(host.status(0xcb, 0x3f, 0xff, &printed), apdu::NOT_FOUND);
}

fn plugged(name: &str) -> Control {
    let key = rig::key(name, |name| env::var_os(name)).expect("run by a launcher of hw-tests");
    key.reset().unwrap();
    key.grant().unwrap();
    key.plug().unwrap();
    key
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn two_yubikeys_in_their_readers_are_two_cards_with_their_own_numbers() {
    let keys = [YUBIKEY.to_owned(), format!("{YUBIKEY}{}", rig::SECOND)].map(|name| plugged(&name));
    let said = [YUBIKEY_READER, SECOND_YUBIKEY_READER].map(|reader| {
        let mut host = Host::connect(reader);
        (host.ok(0xfd, 0, 0, &[]), host.ok(0xf8, 0, 0, &[]))
    });
    assert_eq!((&said[0].0[..], &said[1].0[..]), (&[5, 7, 1][..], &[5, 4, 3][..]));
    assert_ne!(said[0].1, said[1].1);
    keys.iter().for_each(|key| key.pull().unwrap());
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn a_pin_is_there_for_the_next_program_unless_the_card_is_reset() {
    let key = plugged(YUBIKEY);
    let mut first = Host::connect(YUBIKEY_READER);
    assert_eq!(first.verify(&FACTORY_PIN), apdu::OK);
    first.leave(Disposition::LeaveCard);
    let mut next = Host::connect(YUBIKEY_READER);
    assert!(next.has_pin());
    next.leave(Disposition::ResetCard);
    assert!(!Host::connect(YUBIKEY_READER).has_pin());
    key.pull().unwrap();
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t56_a_yubikey_pulled_during_its_touch_answers_nothing_and_has_forgotten_the_pin() {
    let key = plugged(YUBIKEY);
    let mut host = Host::connect(YUBIKEY_READER);
    host.administer(&factory());
    host.generate(RETIRED, PinPolicy::Always, TouchPolicy::Always);
    key.never().unwrap();
    let waiting = thread::spawn(move || {
        host.verify(&FACTORY_PIN);
        (host.agree(RETIRED, &SecretKey::generate()), host)
    });
    assert!(key.await_asked(Duration::from_secs(20)).unwrap());
    key.pull().unwrap();
    // Who disconnects before pcscd has looked makes it take the next card for this one.
    let (answer, _connected) = waiting.join().unwrap();
    assert_eq!(answer, (vec![], 0));
    key.grant().unwrap();
    key.plug().unwrap();
    let mut host = Host::connect(YUBIKEY_READER);
    assert!(!host.has_pin());
    assert_eq!(host.agree(RETIRED, &SecretKey::generate()).1, SECURITY_STATUS);
    assert_eq!(host.verify(&FACTORY_PIN), apdu::OK);
    assert_eq!(host.agree(RETIRED, &SecretKey::generate()).1, apdu::OK);
    key.pull().unwrap();
}
