//! A raw client against the authenticator over the packet socket: what the product's tests build upon.

use std::{io, thread};

use super::*;
use crate::{
    authenticator::Settings,
    ctap,
    ctaphid::packet::{self, BROADCAST, Parsed, SIZE, command, error},
    host::{Assertion, Credential, Host, HostError, NewAssertion, NewCredential, Protocol, hid::HidHost, permission},
    key::{Key, KeyHandle},
};

const RP: &str = "touchlease:lease";
const HASH: [u8; 32] = [7; 32];
const SALTS: [u8; 64] = [9; 64];
const PIN: &str = "a good pin";
const LIMIT: Duration = Duration::from_secs(20);

type HidKey = Key<HidSocket>;

fn key() -> HidKey {
    Key::start(Settings::default()).unwrap()
}

fn host(key: &HidKey) -> Host<HidHost> {
    Host(HidHost::connect(key.open().unwrap()).unwrap())
}

fn credential() -> NewCredential<'static> {
    NewCredential {
        rp_id: RP,
        client_data_hash: HASH,
        ..NewCredential::default()
    }
}

fn secrets<'a>(allow: &'a [&'a [u8]], protocol: Protocol) -> NewAssertion<'a> {
    NewAssertion {
        rp_id: RP,
        client_data_hash: HASH,
        allow,
        salts: Some((protocol, &SALTS)),
        ..NewAssertion::default()
    }
}

fn silent<'a>(allow: &'a [&'a [u8]]) -> NewAssertion<'a> {
    NewAssertion {
        rp_id: RP,
        client_data_hash: HASH,
        allow,
        silent: true,
        ..NewAssertion::default()
    }
}

fn enrolled(host: &mut Host<HidHost>) -> Credential {
    host.make_credential(&NewCredential {
        hmac_secret: true,
        ..credential()
    })
    .unwrap()
}

fn status<T: std::fmt::Debug>(result: Result<T, HostError>) -> u8 {
    match result {
        Err(HostError::Status(status)) => status,
        other => panic!("expected a status, got {other:?}"),
    }
}

/// Two salts, asked for on another thread, so that this one can move the finger.
fn waiting_assertion(key: &HidKey, id: &[u8]) -> thread::JoinHandle<Result<Assertion, HostError>> {
    let (mut host, id) = (host(key), id.to_vec());
    let waiting = thread::spawn(move || host.get_assertion(&secrets(&[&id], Protocol::Two)));
    assert!(key.await_asked(LIMIT).unwrap());
    waiting
}

#[test]
fn a_touch_gives_two_secrets_and_a_signature_over_our_bytes() {
    let key = key();
    let mut host = host(&key);
    let credential = enrolled(&mut host);
    for protocol in [Protocol::One, Protocol::Two] {
        let assertion = host.get_assertion(&secrets(&[&credential.id], protocol)).unwrap();
        assert!(assertion.verifies(&credential.public_key, &HASH));
        assert!(!assertion.verifies(&credential.public_key, &[8; 32]));
        assert_eq!(assertion.flags(), 0x81);
        let secrets = assertion.secrets.unwrap();
        assert_eq!(secrets.len(), 64);
        assert_eq!(secrets[..32], secrets[32..], "equal salts, equal secrets");
    }
    assert_eq!(key.counts().unwrap().given, 3);
}

#[test]
fn two_keys_make_different_secrets() {
    let secret = || {
        let key = key();
        let mut host = host(&key);
        let id = enrolled(&mut host).id;
        host.get_assertion(&secrets(&[&id], Protocol::Two)).unwrap().secrets.unwrap()
    };
    assert_ne!(secret(), secret());
}

#[test]
fn a_pin_in_either_protocol_protects_a_level_3_credential() {
    for protocol in [Protocol::One, Protocol::Two] {
        let key = key();
        let mut host = host(&key);
        host.set_pin(protocol, PIN).unwrap();
        let token = host
            .token(protocol, PIN, permission::MAKE_CREDENTIAL | permission::GET_ASSERTION, RP)
            .unwrap();
        let new = NewCredential {
            hmac_secret: true,
            cred_protect: Some(3),
            token: Some(&token),
            ..credential()
        };
        let made = host.make_credential(&new).unwrap();
        assert_eq!(made.cred_protect, Some(3));
        let allow: &[&[u8]] = &[&made.id];
        let without = secrets(allow, protocol);
        assert_eq!(status(host.get_assertion(&without)), ctap::NO_CREDENTIALS);
        let token = host.token(protocol, PIN, permission::GET_ASSERTION, RP).unwrap();
        let with = NewAssertion {
            token: Some(&token),
            ..secrets(allow, protocol)
        };
        let assertion = host.get_assertion(&with).unwrap();
        assert_eq!(assertion.flags(), 0x85);
        assert!(assertion.verifies(&made.public_key, &HASH));
        assert_eq!(assertion.secrets.unwrap().len(), 64);
    }
}

#[test]
fn secrets_with_and_without_a_pin_differ() {
    let key = key();
    let mut host = host(&key);
    let id = enrolled(&mut host).id;
    let bare = host.get_assertion(&secrets(&[&id], Protocol::Two)).unwrap().secrets;
    host.set_pin(Protocol::Two, PIN).unwrap();
    let token = host.token(Protocol::Two, PIN, permission::GET_ASSERTION, RP).unwrap();
    let allow: &[&[u8]] = &[&id];
    let verified = NewAssertion {
        token: Some(&token),
        ..secrets(allow, Protocol::Two)
    };
    assert_ne!(host.get_assertion(&verified).unwrap().secrets, bare);
    assert_eq!(host.get_assertion(&secrets(&[&id], Protocol::Two)).unwrap().secrets, bare);
}

#[test]
fn a_silent_look_finds_a_level_1_credential_without_a_touch() {
    let key = key();
    let mut host = host(&key);
    let made = host
        .make_credential(&NewCredential {
            cred_protect: Some(1),
            ..credential()
        })
        .unwrap();
    key.never().unwrap();
    let asked = key.counts().unwrap().asked;
    let assertion = host.get_assertion(&silent(&[&made.id])).unwrap();
    assert_eq!(assertion.flags(), 0x00);
    assert!(assertion.verifies(&made.public_key, &HASH));
    assert_eq!(status(host.get_assertion(&silent(&[&[1; 64]]))), ctap::NO_CREDENTIALS);
    assert_eq!(key.counts().unwrap().asked, asked);
}

#[test]
fn an_excluded_credential_keeps_the_key_from_enrolling_twice() {
    let key = key();
    let mut host = host(&key);
    let id = enrolled(&mut host).id;
    assert_eq!(
        status(host.make_credential(&NewCredential {
            exclude: &[&id],
            ..credential()
        })),
        0x19
    );
}

#[test]
fn a_wiped_key_does_not_know_its_credentials() {
    let key = key();
    let mut host = host(&key);
    let id = enrolled(&mut host).id;
    key.never().unwrap();
    key.reset().unwrap();
    key.grant().unwrap();
    assert_eq!(status(host.get_assertion(&secrets(&[&id], Protocol::Two))), ctap::NO_CREDENTIALS);
}

#[test]
fn a_ctap_reset_forgets_credentials_and_pin() {
    let key = key();
    let mut host = host(&key);
    let id = enrolled(&mut host).id;
    host.set_pin(Protocol::Two, PIN).unwrap();
    host.reset().unwrap();
    assert_eq!(status(host.get_assertion(&secrets(&[&id], Protocol::Two))), ctap::NO_CREDENTIALS);
    host.set_pin(Protocol::Two, PIN).unwrap();
}

#[test]
fn credentials_survive_a_replug_and_a_restart_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let settings = || Settings {
        storage: crate::authenticator::Storage::Folder(folder.path().join("state")),
        ..Settings::default()
    };
    let first = Key::start(settings()).unwrap();
    let id = enrolled(&mut host(&first)).id;
    first.pull().unwrap();
    assert_eq!(first.open().unwrap_err().kind(), io::ErrorKind::NotFound);
    first.plug().unwrap();
    let before = host(&first).get_assertion(&secrets(&[&id], Protocol::Two)).unwrap();
    drop(first);
    let second = Key::start(settings()).unwrap();
    let after = host(&second).get_assertion(&secrets(&[&id], Protocol::Two)).unwrap();
    assert_eq!(before.secrets, after.secrets);
    assert!(after.counter() > before.counter());
}

#[test]
fn three_wrong_pins_block_until_a_replug() {
    let key = key();
    let mut program = host(&key);
    program.set_pin(Protocol::Two, PIN).unwrap();
    let mut attempt = |pin| program.token(Protocol::Two, pin, permission::GET_ASSERTION, RP);
    assert_eq!([0; 3].map(|_| status(attempt("wrong").map(drop))), [0x31, 0x31, 0x34]);
    assert_eq!(status(attempt(PIN).map(drop)), 0x34);
    key.pull().unwrap();
    key.plug().unwrap();
    let mut program = host(&key);
    assert_eq!(program.pin_retries().unwrap(), 5);
    program.token(Protocol::Two, PIN, permission::GET_ASSERTION, RP).unwrap();
}

#[test]
fn the_finger_decides_how_a_wait_ends() {
    let key = key();
    let id = enrolled(&mut host(&key)).id;
    key.deny().unwrap();
    assert_eq!(
        status(host(&key).get_assertion(&secrets(&[&id], Protocol::Two))),
        ctap::OPERATION_DENIED
    );
    key.never().unwrap();
    let waiting = waiting_assertion(&key, &id);
    assert!(key.expire().unwrap());
    assert_eq!(status(waiting.join().unwrap()), ctap::USER_ACTION_TIMEOUT);
    let waiting = waiting_assertion(&key, &id);
    assert!(key.press().unwrap());
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_waiting_key_says_so_as_often_as_told_and_a_second_program_hears_it() {
    let key = key();
    let mut program = host(&key);
    let id = enrolled(&mut program).id;
    key.never().unwrap();
    key.keepalive(Duration::from_millis(1)).unwrap();
    let listener = key.open().unwrap();
    let waiting = waiting_assertion(&key, &id);
    let mut report = [0; SIZE];
    loop {
        rustix::net::recv(&listener, &mut report[..], rustix::net::RecvFlags::empty()).unwrap();
        if let Parsed::Init {
            command: command::KEEPALIVE,
            data: [packet::status::UP_NEEDED, ..],
            ..
        } = packet::parse(&report)
        {
            break;
        }
    }
    assert!(key.press().unwrap());
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_cancel_ends_the_wait_and_one_on_another_channel_does_not() {
    let key = key();
    let mut program = HidHost::connect(key.open().unwrap()).unwrap();
    let stranger = HidHost::connect(key.open().unwrap()).unwrap();
    key.never().unwrap();
    program.send(command::CBOR, &[0x0b]).unwrap(); // authenticatorSelection
    assert!(key.await_asked(LIMIT).unwrap());
    stranger.send(command::CANCEL, &[]).unwrap();
    let mut stranger = stranger;
    assert_eq!(
        stranger.transact(command::CBOR, &[ctap::GET_INFO]).unwrap().payload,
        [error::CHANNEL_BUSY]
    );
    assert!(key.counts().unwrap().waiting);
    program.send(command::CANCEL, &[]).unwrap();
    assert_eq!(program.answer().unwrap().payload, [ctap::KEEPALIVE_CANCEL]);
    assert_eq!(stranger.transact(command::CBOR, &[ctap::GET_INFO]).unwrap().payload[0], ctap::OK);
}

#[test]
fn init_on_a_busy_channel_throws_its_message_away() {
    let key = key();
    let mut program = HidHost::connect(key.open().unwrap()).unwrap();
    key.never().unwrap();
    program.send(command::CBOR, &[0x0b]).unwrap();
    assert!(key.await_asked(LIMIT).unwrap());
    let answer = program.transact(command::INIT, b"12345678").unwrap();
    assert_eq!((answer.command, &answer.payload[..8]), (command::INIT, &b"12345678"[..]));
    assert_eq!(program.transact(command::CBOR, &[ctap::GET_INFO]).unwrap().payload[0], ctap::OK);
}

#[test]
fn pulling_a_waiting_key_ends_the_operation_and_a_replugged_one_works() {
    let key = key();
    let id = enrolled(&mut host(&key)).id;
    key.never().unwrap();
    let waiting = waiting_assertion(&key, &id);
    key.pull().unwrap();
    assert!(matches!(waiting.join().unwrap(), Err(HostError::Transport(error)) if error.kind() == io::ErrorKind::UnexpectedEof));
    key.plug().unwrap();
    key.grant().unwrap();
    host(&key).get_assertion(&secrets(&[&id], Protocol::Two)).unwrap();
}

#[test]
fn framing_faults_get_the_errors_of_the_specification() {
    let key = key();
    let mut program = HidHost::connect(key.open().unwrap()).unwrap();
    assert_eq!(program.transact(command::PING, &[5; 1000]).unwrap().payload, [5; 1000]);
    assert_eq!(program.transact(0x55, &[]).unwrap().payload, [error::INVALID_CMD]);
    assert_eq!(program.transact(command::CBOR, &[]).unwrap().payload, [error::INVALID_LEN]);
    let packets = packet::split(program.channel(), command::PING, &[5; 1000]);
    program.send_packet(&packets[0]).unwrap();
    program.send_packet(&packets[2]).unwrap();
    assert_eq!(program.answer().unwrap().payload, [error::INVALID_SEQ]);
    let mut stranger = packets[0];
    stranger[..4].copy_from_slice(&0x1234_5678_u32.to_be_bytes());
    let observer = key.open().unwrap();
    program.send_packet(&stranger).unwrap();
    let mut report = [0; SIZE];
    rustix::net::recv(&observer, &mut report[..], rustix::net::RecvFlags::empty()).unwrap();
    let invalid = packet::split(0x1234_5678, command::ERROR, &[error::INVALID_CHANNEL]);
    assert_eq!(report, invalid[0]);
    let on_broadcast = packet::split(BROADCAST, command::PING, &[]);
    program.send_packet(&on_broadcast[0]).unwrap();
    rustix::net::recv(&observer, &mut report[..], rustix::net::RecvFlags::empty()).unwrap();
    assert_eq!(report[7], error::INVALID_CHANNEL);
}
