//! What a well-behaved key sends.

use std::sync::LazyLock;

use crate::device::ctap::Frames;
use crate::device::ctap::cbor::{self, Map, Value};
use crate::device::ctap::fingerprint::{Feedback, Sample};
use crate::device::ctap::hmac_secret::HMAC_SECRET;
use crate::device::ctap::pin::{self, PinProtocol, SharedSecret, cose_key, parse_cose_key};
use crate::device::enrolled::{Link, Profile};
use crate::device::hid::frame::packets as cut;
use crate::device::place::{Place, Port};
use crate::device::soft::SoftKey;
use crate::device::worker::protocol::{Operation, Report, Request, Warm};
use crate::encoding::sshsig::{Namespace, Point};
use crate::worker::frame::write_frame;

use super::text::SIGNED;

/// Where the AAGUID stands in authenticator data.
pub const AAGUID_AT: usize = 37;
/// Roots that the tests' certificates are under.
pub const ROOTS: &str = concat!(
    include_str!("../../../vectors/attestation/rsa-root.pem"),
    include_str!("../../../vectors/attestation/ec-between.pem")
);
const CHANNEL: u32 = 0x0102_0304;

/// Certificates that OpenSSL made, as a card has them.
pub fn attestation() -> Vec<Vec<u8>> {
    let chains = [
        [
            include_str!("../../../vectors/attestation/rsa-f9.pem"),
            include_str!("../../../vectors/attestation/rsa-slot.pem"),
        ],
        [
            include_str!("../../../vectors/attestation/ec-f9.pem"),
            include_str!("../../../vectors/attestation/ec-slot.pem"),
        ],
    ];
    let der = |pem: &str| {
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        data_encoding::BASE64.decode(body.as_bytes()).expect("made by OpenSSL")
    };
    let chains = chains.map(|chain| {
        let [f9, slot] = chain.map(der);
        let length = (f9.len() as u16).to_be_bytes();
        [&[0][..], &length, &f9, &slot].concat()
    });
    chains.into_iter().chain([[&[1, 0, 0][..], ROOTS.as_bytes()].concat()]).collect()
}

/// The key of the samples.
pub fn key() -> SoftKey {
    SoftKey::new("blue", Profile::Pin, 1)
}

fn point() -> Point {
    *key().enrolled().signer()
}

fn sevens(bytes: &mut [u8]) -> std::io::Result<()> {
    bytes.fill(7);
    Ok(())
}

fn nines(bytes: &mut [u8]) -> std::io::Result<()> {
    bytes.fill(9);
    Ok(())
}

fn public(shared: &SharedSecret) -> Point {
    parse_cose_key(&shared.key_agreement()).expect("our own key")
}

/// The key's side of an agreement with a platform whose randomness is sevens.
fn theirs(protocol: PinProtocol) -> SharedSecret {
    let platform = SharedSecret::agree(protocol, &point(), sevens).expect("a sound point");
    SharedSecret::agree(protocol, &public(&platform), nines).expect("a sound point")
}

/// The platform's side of the same, by the number of the protocol from 0.
pub static OURS: LazyLock<[SharedSecret; 2]> = LazyLock::new(|| {
    [PinProtocol::One, PinProtocol::Two]
        .map(|protocol| SharedSecret::agree(protocol, &public(&theirs(protocol)), sevens).expect("a sound point"))
});

fn info(protocol: i64) -> Map {
    let names = |names: &[&str]| Value::Array(names.iter().map(|name| (*name).into()).collect());
    Map::new()
        .with(1, names(&["U2F_V2", "FIDO_2_0", "FIDO_2_1"]))
        .with(2, names(&["credProtect", "hmac-secret"]))
        .with(3, vec![7u8; 16])
        .with(
            4,
            Map::new()
                .with("rk", true)
                .with("up", true)
                .with("alwaysUv", false)
                .with("clientPin", true)
                .with("pinUvAuthToken", true),
        )
        .with(5, 2048)
        .with(6, vec![Value::Int(protocol)])
        .with(7, 8)
        .with(8, 128)
        .with(9, names(&["usb", "nfc"]))
        .with(0x0A, vec![Value::from(Map::new().with("alg", -7).with("type", "public-key"))])
        .with(0x0C, false)
        .with(0x0D, 4)
        .with(0x0E, 328_706)
}

fn encoded(map: Map) -> Vec<u8> {
    cbor::encode(&map.into())
}

pub fn get_info() -> Vec<Vec<u8>> {
    let old = Map::new().with(1, vec![Value::from("FIDO_2_0")]).with(3, vec![0u8; 16]);
    vec![encoded(info(2)), encoded(old), encoded(info(1).with("unknown", "passed over"))]
}

pub fn cbor() -> Vec<Vec<u8>> {
    let examples: [&[u8]; 6] = [
        &[0x1b, 0, 0, 0, 0xe8, 0xd4, 0xa5, 0x10, 0],
        &[0x39, 3, 0xe7],
        &[0xf4],
        &[0xf6],
        &[0x62, 0xc3, 0xbc],
        &[0x81, 0x81, 0x80],
    ];
    get_info().into_iter().chain(examples.map(<[u8]>::to_vec)).collect()
}

fn attested(flags: u8, extensions: Option<Map>) -> Vec<u8> {
    let mut data = vec![5; 32];
    data.extend([flags, 0, 0, 0, 1]);
    data.extend([6; 16]);
    data.extend([0, 48]);
    data.extend([1; 48]);
    data.extend(encoded(cose_key(&point(), -7)));
    data.extend(extensions.map(encoded).unwrap_or_default());
    data
}

pub fn make_credential() -> Vec<Vec<u8>> {
    let granted = attested(0xC5, Some(Map::new().with(HMAC_SECRET, true).with("credProtect", 3)));
    let answer = Map::new().with(1, "none").with(2, granted.clone()).with(3, Map::new());
    vec![encoded(answer), granted, attested(0x41, None)]
}

fn asserted(auth_data: &[u8]) -> Vec<u8> {
    let descriptor = Map::new().with("id", vec![7u8; 16]).with("type", "public-key");
    encoded(
        Map::new()
            .with(1, descriptor)
            .with(2, auth_data)
            .with(3, vec![0x30u8, 6, 2, 1, 1, 2, 1, 1]),
    )
}

fn auth_data(outputs: Option<Vec<u8>>) -> Vec<u8> {
    let mut data = vec![5; 32];
    data.extend([if outputs.is_some() { 0x85 } else { 0x05 }, 0, 0, 0, 1]);
    data.extend(
        outputs
            .map(|outputs| encoded(Map::new().with(HMAC_SECRET, outputs)))
            .unwrap_or_default(),
    );
    data
}

pub fn get_assertion() -> Vec<Vec<u8>> {
    // One that is a proof: a touch of the samples' key over their text.
    let proof = key().touch(Namespace::Lease, SIGNED, &[]);
    let assertion = proof.assertion().expect("a FIDO2 key");
    let signature = p256::ecdsa::Signature::from_slice(&assertion.signature).expect("a signature");
    let good = Map::new().with(2, assertion.auth_data()).with(3, signature.to_der().as_bytes());
    vec![encoded(good), asserted(&auth_data(None)), asserted(&auth_data(Some(vec![1; 48])))]
}

fn agreement(protocol: PinProtocol) -> Vec<u8> {
    encoded(Map::new().with(1, cose_key(&public(&theirs(protocol)), -25)))
}

pub fn client_pin() -> Vec<Vec<u8>> {
    vec![
        agreement(PinProtocol::Two),
        encoded(Map::new().with(3, 8).with(4, false)),
        encoded(Map::new().with(3, 5)),
        encoded(Map::new().with(2, vec![3u8; 48])),
        encoded(Map::new().with(4, vec![1u8]).with(5, 9).with(6, 3)),
        encoded(Map::new().with(7, vec![Value::from(Map::new().with(1, vec![1u8]).with(2, "thumb"))])),
        vec![1; 64],
    ]
}

/// `length, bytes` one behind the other.
fn script(first: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut script = vec![first];
    for part in parts {
        script.extend((part.len() as u16).to_be_bytes());
        script.extend(part);
    }
    script
}

fn fine(answer: &[u8]) -> Vec<u8> {
    [&[0], answer].concat()
}

/// A whole conversation with PIN and two salts, and some that go wrong.
pub fn session() -> Vec<Vec<u8>> {
    let with = |protocol: PinProtocol, number: i64| {
        let token = theirs(protocol).encrypt(&[8; 32]).expect("whole blocks");
        let outputs = theirs(protocol).encrypt(&[4; 64]).expect("whole blocks");
        script(
            0b1111,
            &[
                fine(&encoded(info(number))),
                fine(&agreement(protocol)),
                fine(&encoded(Map::new().with(2, token))),
                fine(&encoded(Map::new().with(3, 8).with(4, false))),
                fine(&asserted(&auth_data(Some(outputs)))),
                fine(&make_credential()[0]),
            ],
        )
    };
    let plain = [
        fine(&encoded(info(2))),
        fine(&asserted(&auth_data(None))),
        fine(&make_credential()[0]),
    ];
    let wrong_pin = [
        fine(&encoded(info(1))),
        fine(&agreement(PinProtocol::One)),
        vec![0x31],
        vec![0x2E],
        vec![0x36],
    ];
    vec![
        with(PinProtocol::One, 1),
        with(PinProtocol::Two, 2),
        script(0, &plain),
        script(16, &plain),
        script(9, &wrong_pin),
    ]
}

pub fn packets() -> Vec<Vec<u8>> {
    let of = |command: u8, message: &[u8]| cut(CHANNEL, command, message).expect("a message").concat();
    let long: Vec<u8> = (0..7609).map(|i| i as u8).collect();
    vec![of(0x10, &[0]), of(0x10, &fine(&get_info()[0])), of(0x10, &long), of(0x3B, &[2])]
}

pub fn conversation() -> Vec<Vec<u8>> {
    let of = |channel, command: u8, message: &[u8]| cut(channel, command, message).expect("a message").concat();
    let (cbor, keepalive, init, error) = (0x10, 0x3B, 0x06, 0x3F);
    let answer = of(CHANNEL, cbor, &fine(&get_info()[0]));
    let mut channel = vec![7; 8];
    channel.extend(CHANNEL.to_be_bytes());
    channel.extend([2, 5, 4, 3, 0x0D]);
    let opened = of(0xFFFF_FFFF, init, &channel);
    let touch = of(CHANNEL, keepalive, &[2]);
    let other = of(9, cbor, &[1; 100]);
    let say = |warm: u8, parts: &[&[u8]]| [&[warm], &parts.concat()[..]].concat();
    vec![
        say(1, &[&touch, &other, &answer]),
        say(0, &[&opened, &touch, &answer]),
        say(0, &[&of(0xFFFF_FFFF, error, &[6]), &opened, &answer]),
        say(1, &[&of(CHANNEL, error, &[0x0B]), &opened, &answer]),
        say(1, &[&of(CHANNEL, error, &[1])]),
        say(1, &[&of(CHANNEL, error, &[6]), &answer]),
        say(1, &[&answer[..60]]),
        say(1, &[&of(CHANNEL, 0x01, &[1])]),
    ]
}

pub fn descriptor() -> Vec<Vec<u8>> {
    let fido: &[u8] = &[
        0x06, 0xD0, 0xF1, 0x09, 0x01, 0xA1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x40, 0x81, 0x02, 0xC0,
    ];
    let keyboard: &[u8] = &[0x05, 0x01, 0x09, 0x06, 0xA1, 0x01, 0x05, 0x07, 0xC0];
    let long: &[u8] = &[0xFE, 0x02, 0x01, 0xAA, 0xBB, 0x06, 0xD0, 0xF1, 0xA1, 0x01];
    let card: &[u8] = &[0x3B, 0x8D, 0x80, 0x01, 0x80, 0x73, 0xC0];
    [fido, keyboard, long, card].map(<[u8]>::to_vec).into()
}

pub fn apdu() -> Vec<Vec<u8>> {
    let select = b"FIDO_2_0\x90\x00".to_vec();
    let fine = |data: &[u8], status: [u8; 2]| [data, &status].concat();
    vec![
        script(0, &[select.clone(), fine(&[0, 1, 2], [0x61, 2]), fine(&[3, 4], [0x90, 0])]),
        script(
            1,
            &[
                b"U2F_V2\x90\x00".to_vec(),
                fine(&[2], [0x91, 0]),
                fine(&[1], [0x91, 0]),
                fine(&[0, 9], [0x90, 0]),
            ],
        ),
        script(
            2,
            &[
                select.clone(),
                fine(&[2], [0x91, 0]),
                fine(&[2], [0x91, 0]),
                fine(&[0x2D], [0x90, 0]),
            ],
        ),
        script(250, &[select.clone(), fine(&[], [0x90, 0]), fine(&[0], [0x90, 0])]),
        script(251, &[select.clone(), fine(&[], [0x68, 0x84]), fine(&[0], [0x90, 0])]),
        script(252, &[select.clone(), fine(&[], [0x6A, 0x80])]),
        script(0, &[select.clone(), fine(&[], [0x61, 0]), fine(&[], [0x61, 0])]),
        script(0, &[select, vec![0x90]]),
        script(0, &[vec![0x6A, 0x82]]),
    ]
}

pub fn worker_frame() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    let frame = |message: &Request| {
        let mut frame = Vec::new();
        write_frame(&mut frame, message, b"1234").expect("a frame");
        frame
    };
    let report = |report: &Report, tail: &[u8]| {
        let mut frame = Vec::new();
        write_frame(&mut frame, report, tail).expect("a frame");
        frame
    };
    let request = |operation| Request {
        port: Port::Node("/dev/hidraw0".into()),
        warm: Warm::default(),
        operation,
        link: Link::Usb,
    };
    samples.push(frame(&request(Operation::Inspect)));
    samples.push(frame(&request(Operation::Which {
        candidates: vec![],
        challenge: [1; 32],
    })));
    samples.push(report(&Report::TouchNow, b""));
    let place = Place {
        port: Port::Reader("A reader".into()),
        plug: 3,
        link: Link::Contact,
        model: "m".into(),
        socket: "s".into(),
        empty: false,
    };
    let sample = Sample {
        feedback: Feedback::GOOD,
        left: 2,
    };
    samples.push([report(&Report::Places(vec![place]), b""), report(&Report::Sample(sample), &[1; 64])].concat());
    for json in [
        r#"{"Done":{"answer":{"Asserted":{"credential":"AQID","auth_data":"AAAA","signature":"MAYC"}},"warm":{"channel":7,"info":"oA"},"frames":{"sent":1,"received":2}}}"#,
        r#"{"Done":{"answer":{"Inspected":{"tries":8,"power_cycle":false}},"warm":{"channel":null,"info":null},"frames":{"sent":1,"received":2}}}"#,
        r#"{"Done":{"answer":{"List":[{"rp_id":"a","name":"b","id":"AQID"}]},"warm":{"channel":null,"info":null},"frames":{"sent":1,"received":2}}}"#,
        r#"{"Failed":{"PinWrong":3}}"#,
        r#"{"Failed":{"Busy":"scdaemon"}}"#,
    ] {
        let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
        let mut frame = Vec::new();
        write_frame(&mut frame, &value, b"").expect("a frame");
        samples.push(frame);
    }
    samples
}
