//! Signers in a vault: what is kept of them, and what a folder that somebody wrote to can make believe.

use std::fs;

use data_encoding::BASE64URL_NOPAD;

use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::jwk::{Algorithm, PublicKey};
use crate::vault::signer::NO_PRIVATE;
use crate::vault::signer::tests::{in_hardware, keys, rules};
use crate::vault::testing::Folder;
use crate::vault::{Changes, Delivery, Found, Put, Rules, Turn, Vault, VaultError};

use super::rig::{Rig, apply, collect, secret, wanted};

fn made(rig: &Rig) -> Rig2<'_> {
    let signer = Put {
        name: "deployer".into(),
        rules: rules(),
        value: secret(&[[1; 32], [2; 32]].concat()),
    };
    let changes = Changes {
        puts: vec![signer],
        ..Changes::default()
    };
    apply(&rig.vault(), &rig.blue, "prod", changes).unwrap();
    Rig2(rig)
}

struct Rig2<'a>(&'a Rig);

impl Rig2<'_> {
    fn found(&self) -> Found {
        self.0.vault().find("prod", "deployer").unwrap()
    }

    fn is_vouched(&self) -> bool {
        self.0.vault().is_vouched(&self.found()).unwrap()
    }
}

/// A rotation as the daemon makes it: the keys move up, the third one is next.
fn turn() -> Changes {
    let [current, next, fresh] = keys();
    let mut rules = rules();
    let signer = rules.signer.as_mut().unwrap();
    (signer.current, signer.next, signer.previous) = (next, Some(fresh), Some(current));
    Changes {
        turns: vec![Turn {
            name: "deployer".into(),
            rules,
            fresh: secret(&[3; 32]),
        }],
        ..Changes::default()
    }
}

#[test]
fn a_rotation_moves_the_private_keys_as_it_moves_the_public_ones() {
    let rig = Rig::new();
    let signer = made(&rig);
    assert_eq!(rig.get("prod", "deployer").unwrap(), [[1; 32], [2; 32]].concat());
    apply(&rig.vault(), &rig.blue, "prod", turn()).unwrap();
    assert_eq!(rig.get("prod", "deployer").unwrap(), [[2; 32], [3; 32]].concat());
    let listed = signer.found().listed;
    assert_eq!((listed.version, listed.rules.signer.unwrap().current), (2, keys()[1].clone()));
}

#[test]
fn a_rotation_of_what_is_no_signer_is_refused() {
    let rig = Rig::new();
    rig.put("prod", "deployer", b"a secret").unwrap();
    assert!(matches!(apply(&rig.vault(), &rig.blue, "prod", turn()), Err(VaultError::Rules(_))));
    assert_eq!(rig.get("prod", "deployer").unwrap(), b"a secret");
}

#[test]
fn a_value_that_is_no_two_private_keys_is_no_signers() {
    let rig = Rig::new();
    let changes = Changes {
        puts: vec![Put {
            name: "deployer".into(),
            rules: rules(),
            value: secret(&[1; 32]),
        }],
        ..Changes::default()
    };
    assert!(matches!(changes.check(), Err(VaultError::Rules(_))));
    assert!(matches!(apply(&rig.vault(), &rig.blue, "prod", changes), Err(VaultError::Rules(_))));
}

#[test]
fn t53_a_key_that_somebody_put_into_the_folder_is_not_vouched_for() {
    let rig = Rig::new();
    let signer = made(&rig);
    assert!(signer.is_vouched());
    // Whoever can write to the folder puts a key of his own in the place of the one that signs; what is sealed he cannot.
    let folder = rig.home.join("vault");
    let path = record_of(&folder, &keys()[0]);
    let file = fs::read(&path).unwrap();
    let forged = replaced(&file, keys()[0].as_bytes(), keys()[2].as_bytes());
    fs::write(&path, forged).unwrap();
    assert_eq!(signer.found().listed.rules.signer.unwrap().current, keys()[2]);
    assert!(!signer.is_vouched());
    fs::write(&path, file).unwrap();
    assert!(signer.is_vouched());
}

#[test]
fn t53_a_key_that_was_rotated_out_is_not_vouched_for_when_its_record_is_put_back() {
    let rig = Rig::new();
    let signer = made(&rig);
    let folder = rig.home.join("vault");
    let (path, old) = {
        let path = record_of(&folder, &keys()[0]);
        (path.clone(), fs::read(path).unwrap())
    };
    apply(&rig.vault(), &rig.blue, "prod", turn()).unwrap();
    assert!(signer.is_vouched());
    fs::remove_file(record_of(&folder, &keys()[2])).unwrap();
    fs::write(path, old).unwrap();
    assert_eq!(signer.found().listed.version, 1);
    assert!(!signer.is_vouched());
}

/// A signer in hardware whose key is the one by which `card` signs.
fn of_card(card: &SoftKey) -> Rules {
    let mut rules = in_hardware();
    let key = PublicKey::from_bytes(Algorithm::Es256, card.enrolled().signer()).unwrap();
    rules.signer.as_mut().unwrap().current = key.to_text();
    rules
}

fn put_of_card(rig: &Rig, card: &SoftKey) {
    let signer = Put {
        name: "deployer".into(),
        rules: of_card(card),
        value: secret(&NO_PRIVATE),
    };
    let changes = Changes {
        puts: vec![signer],
        ..Changes::default()
    };
    apply(&rig.vault(), &rig.blue, "prod", changes).unwrap();
}

/// What a card signs of a lease, in the form of a token.
fn token(text: &[u8]) -> Vec<u8> {
    let claims = format!("{{\"lease_sha256\":\"{}\"}}", Digest::of(text));
    format!("e30.{}", BASE64URL_NOPAD.encode(claims.as_bytes())).into_bytes()
}

fn sign(vault: &Vault, card: &SoftKey, names: &[&str]) -> Result<Vec<u8>, VaultError> {
    let text = b"lease";
    let proof = card.sign(text, token(text)).unwrap();
    let wanted = names
        .iter()
        .map(|name| wanted(vault, "prod", name))
        .collect::<Result<Vec<_>, _>>()?;
    let standing = vault.standing(&["prod"])?;
    let material = vault.unseal(&proof, Digest::of(text), &standing, &wanted)?;
    assert!(material.value("prod", "deployer").is_none());
    Ok(material.signed().unwrap().message.clone())
}

#[test]
fn t01_a_signer_in_hardware_gives_what_its_touch_signed_and_opens_nothing() {
    let (rig, card) = (Rig::new(), SoftKey::piv("card", 7));
    put_of_card(&rig, &card);
    rig.put("prod", "TOKEN", b"value").unwrap();
    assert_eq!(sign(&rig.vault(), &card, &["deployer"]).unwrap(), token(b"lease"));
    let vault = rig.vault();
    for refused in [
        sign(&vault, &card, &["TOKEN"]),
        sign(&vault, &card, &["deployer", "TOKEN"]),
        sign(&vault, &SoftKey::piv("another", 8), &["deployer"]),
    ] {
        assert!(
            matches!(refused, Err(VaultError::WrongProof(_) | VaultError::RulesChanged { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn t53_a_signer_in_hardware_that_no_touch_here_has_shown_signs_nothing() {
    let (rig, card, mallory) = (Rig::new(), SoftKey::piv("card", 7), SoftKey::piv("mallory", 9));
    put_of_card(&rig, &card);
    let elsewhere = rig.elsewhere().unwrap();
    assert!(matches!(
        sign(&elsewhere, &card, &["deployer"]),
        Err(VaultError::RulesChanged { .. })
    ));
    // Whoever can write to the folder puts a key of his own in the place of the one that signs.
    let public = |card: &SoftKey| of_card(card).signer.unwrap().current;
    let path = record_of(&rig.home.join("vault"), &public(&card));
    let forged = replaced(&fs::read(&path).unwrap(), public(&card).as_bytes(), public(&mallory).as_bytes());
    fs::write(&path, forged).unwrap();
    assert!(matches!(
        sign(&rig.vault(), &mallory, &["deployer"]),
        Err(VaultError::RulesChanged { .. })
    ));
}

#[test]
fn a_machine_that_has_not_seen_a_signer_by_a_touch_vouches_for_it_once_it_was_used() {
    let rig = Rig::new();
    made(&rig);
    let state = Folder::new();
    let elsewhere = || Vault::open(&rig.home.join("vault"), &state).unwrap();
    let vouched = || {
        let vault = elsewhere();
        vault.is_vouched(&vault.find("prod", "deployer").unwrap()).unwrap()
    };
    assert!(!vouched());
    let vault = elsewhere();
    super::rig::get(&vault, &rig.blue, "prod", "deployer").unwrap();
    assert!(vouched());
}

#[test]
fn a_record_of_a_signer_says_so_in_its_format_and_older_readers_refuse_it() {
    let rig = Rig::new();
    let signer = made(&rig);
    let clear = String::from_utf8(signer.found().clear).unwrap();
    assert!(
        clear.contains("\"signer\":{\"alg\":\"EdDSA\"") && clear.contains("\"v\":2,"),
        "{clear}"
    );
    rig.put("prod", "TOKEN", b"value").unwrap();
    let secret = String::from_utf8(rig.vault().find("prod", "TOKEN").unwrap().clear).unwrap();
    assert!(!secret.contains("\"signer\":") && secret.contains("\"v\":1,"), "{secret}");
    assert!(Rules::value(&[Delivery::Signer]).check().is_ok());
}

fn record_of(folder: &std::path::Path, part: &str) -> std::path::PathBuf {
    let mut files = std::collections::BTreeMap::new();
    collect(folder, folder, &mut files);
    let holds = |bytes: &[u8]| bytes.windows(part.len()).any(|window| window == part.as_bytes());
    let found = files.into_iter().find(|(_, bytes)| holds(bytes)).unwrap();
    folder.join(found.0)
}

fn replaced(file: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = file.windows(from.len()).position(|window| window == from).unwrap();
    let mut file = file.to_vec();
    file[at..at + to.len()].copy_from_slice(to);
    file
}
