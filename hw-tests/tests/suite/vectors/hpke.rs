//! What a scope key is sealed with: RFC 9180 base mode, single shot, and DeriveKeyPair of the recovery code.

use serde::Deserialize;
use touchlease::vault::slot::{Private, open_base, seal_base};

use super::{Drawn, Tally, hex};

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    section: String,
    mode: u8,
    kdf_id: u16,
    aead_id: u16,
    info: String,
    pairs: Vec<Pair>,
    enc: String,
    encryptions: Vec<Encryption>,
}

#[derive(Deserialize)]
struct Pair {
    ikm: String,
    pk: String,
}

#[derive(Deserialize)]
struct Encryption {
    sequence: u64,
    pt: String,
    aad: String,
    ct: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str::<File>(include_str!("../../../vectors/rfc9180-p256.json"))
        .unwrap()
        .vectors
}

#[test]
fn t59_rfc_9180_pairs_derive() {
    let mut tally = Tally::new("RFC 9180 DeriveKeyPair, DHKEM(P-256)");
    for pair in vectors().iter().flat_map(|vector| &vector.pairs) {
        tally.applies(true);
        assert_eq!(Private::derive(&hex(&pair.ikm)).1.to_vec(), hex(&pair.pk));
    }
    tally.is(30, 30, "none");
}

#[test]
fn t59_rfc_9180_base_mode_seals_and_opens() {
    let mut tally = Tally::new("RFC 9180 messages, DHKEM(P-256)");
    for vector in vectors() {
        for message in &vector.encryptions {
            let ours = (vector.mode, vector.kdf_id, vector.aead_id, message.sequence) == (0, 1, 3, 0);
            if !tally.applies(ours) {
                continue;
            }
            let [sender, receiver] = &vector.pairs[..] else {
                panic!("{}: base mode has two pairs", vector.section)
            };
            let (private, point) = Private::derive(&hex(&receiver.ikm));
            let (info, aad, plain) = (hex(&vector.info), hex(&message.aad), hex(&message.pt));
            let sealed = [hex(&vector.enc), hex(&message.ct)].concat();
            assert_eq!(*open_base(&private, &info, &aad, &sealed).unwrap(), plain);
            assert_eq!(
                seal_base(&point, &info, &aad, &plain, &mut Drawn(hex(&sender.ikm))).unwrap(),
                sealed
            );
            for at in 0..sealed.len() {
                let mut bad = sealed.clone();
                bad[at] ^= 1;
                assert!(open_base(&private, &info, &aad, &bad).is_none(), "{at}");
            }
        }
    }
    tally.is(
        1,
        72,
        "another mode, KDF or AEAD, or a later message of one context: the vault seals one message to each slot",
    );
}
