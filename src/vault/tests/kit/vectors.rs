//! Every value on the way from the recovery code, or a key's answer, to a secret of the base vault: test vectors for each step of
//! `docs/format.md`, in `hw-tests/vectors/format.json`.

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::device::candidate::Unseal;
use crate::device::soft::SoftKey;
use crate::encoding::sshsig::{Assertion, Namespace, client_data, signed_blob};
use crate::encoding::{Digest, es256};
use crate::vault::crypto::{NONCE, derive, expand, label, open};
use crate::vault::index::{HeadClear, below_path, head_path};
use crate::vault::record::{self, Record};
use crate::vault::roster::{signature_path, statement_path};
use crate::vault::scope::{carry_path, half_path, sealed_path};
use crate::vault::slot::{Place, open_scope_key};
use crate::vault::statement::{ScopeEntry, SlotEntry, holder};
use crate::vault::{RecoveryCode, enrolment};

use super::bad::{next, opened};
use super::base::{self, Base};

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn vectors(base: &Base) -> Value {
    json!({
        "about": "Steps of docs/format.md over the base vault in vaults/base-vault.txt. Bytes are hexadecimal, texts are texts.",
        "vault_id": vault_id(base),
        "recovery": recovery(base),
        "statement": statement(base),
        "statement_by_recovery": statement_by_recovery(base),
        "scopes": base.end().1.scopes.iter().map(|entry| scope(base, entry)).collect::<Vec<_>>(),
        "record": secret(base, "TOKEN"),
        "record_of_an_earlier_epoch": secret(base, "OLD"),
        "name": name("TOKEN"),
        "enrolment": enrolment(base),
    })
}

/// A PIV key's word for the base vault, which has none.
fn enrolment(base: &Base) -> Value {
    let (card, vault) = (SoftKey::piv("card", 3), base.end().1.vault);
    let text = enrolment::piv_text(card.enrolled().piv().unwrap(), vault).unwrap();
    json!({
        "public_key": hex(card.enrolled().signer()),
        "text": String::from_utf8(text.clone()).unwrap(),
        "signature": card.touch(Namespace::Enrol, &text, &[]).sshsig(&text).unwrap(),
    })
}

fn vault_id(base: &Base) -> Value {
    let first = &base.statements[0].1;
    let (random, key) = (first.random.unwrap(), *first.keys[0].signer());
    json!({"random": hex(&random.0), "first_key": hex(&key), "id": hex(&Digest::of(&[&random.0[..], &key].concat()).0)})
}

fn recovery(base: &Base) -> Value {
    let vault = base.end().1.vault;
    let code = RecoveryCode::parse(&base.code).unwrap();
    let bytes = code_bytes(&base.code);
    let info = label("recovery", &[&vault.0]);
    let ikm = derive(&bytes, &vault.0, &info);
    let (private, point) = code.key_pair(&vault);
    assert_eq!(crate::vault::slot::Private::derive(ikm.as_slice()).1, point);
    json!({
        "text": base.code,
        "bytes": hex(&bytes),
        "checksum_of": hex(&[&label("recovery checksum", &[])[..], &bytes].concat()),
        "checksum_digest": hex(&Digest::of(&[&label("recovery checksum", &[])[..], &bytes].concat()).0),
        "info": hex(&info),
        "ikm": hex(ikm.as_slice()),
        "scalar": hex(private.scalar()),
        "point": hex(&point),
    })
}

/// The code's 20 bytes, by the alphabet of the page.
fn code_bytes(text: &str) -> Vec<u8> {
    let digit = |c: char| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".find(c).unwrap() as u8;
    let bits: Vec<u8> = text
        .chars()
        .filter(|c| *c != '-')
        .take(32)
        .flat_map(|c| (0..5).rev().map(move |bit| digit(c) >> bit & 1))
        .collect();
    bits.chunks(8)
        .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit))
        .collect()
}

fn statement(base: &Base) -> Value {
    let (digest, statement) = base.end();
    let bytes = &base.files[&statement_path(digest)];
    let armored = String::from_utf8(base.files[&signature_path(digest)].clone()).unwrap();
    let (point, assertion) = Assertion::from_sshsig(&armored, Namespace::Vault, bytes).unwrap();
    let client_data = client_data(Namespace::Vault, bytes);
    let signed = [&assertion.auth_data()[..], &Digest::of(&client_data).0].concat();
    es256::verify(&point, &signed, &assertion.signature).unwrap();
    json!({
        "path": statement_path(digest),
        "previous": statement.previous,
        "signed_blob": hex(&signed_blob(Namespace::Vault, bytes)),
        "client_data": String::from_utf8(client_data).unwrap(),
        "authenticator_data": hex(&assertion.auth_data()),
        "signed": hex(&signed),
        "r_s": hex(&assertion.signature),
        "by": hex(&point),
        "armor": armored,
    })
}

fn statement_by_recovery(base: &Base) -> Value {
    let bytes = next(base, |_| {});
    let (private, point) = RecoveryCode::parse(&base.code).unwrap().key_pair(&base.end().1.vault);
    let blob = signed_blob(Namespace::Vault, &bytes);
    let armored = crate::encoding::sshsig::ecdsa::sign(private.scalar(), &point, Namespace::Vault, &bytes).unwrap();
    json!({
        "text": String::from_utf8(bytes).unwrap(),
        "signed_blob": hex(&blob),
        "r_s": hex(&es256::sign(private.scalar(), &blob).unwrap()),
        "by": hex(&point),
        "armor": armored,
    })
}

fn scope(base: &Base, entry: &ScopeEntry) -> Value {
    let vault = base.end().1.vault;
    let ring = base.ring(&entry.name);
    let (private, _) = RecoveryCode::parse(&base.code).unwrap().key_pair(&vault);
    let slot = entry
        .slots
        .iter()
        .find(|slot| matches!(slot, SlotEntry::Recovery { .. }))
        .unwrap()
        .id();
    let place = Place {
        vault,
        scope: entry.id,
        slot,
    };
    let path = sealed_path(slot, &entry.commitment);
    let sealed = &base.files[&path];
    let key = open_scope_key(&place, entry.epoch, &private, sealed).unwrap();
    let commit = label("commit", &[&vault.0, &entry.id.0, &entry.epoch.to_be_bytes()]);
    assert_eq!(*expand(&key, &commit), entry.commitment.0);
    let index = label("index", &[&vault.0, &entry.id.0]);
    let carry = label("carry", &[&vault.0, &entry.id.0]);
    let (head, content) = base.head(&entry.name);
    let head_file = &base.files[&head_path(entry.id, &head)];
    let front = 41 + 32 * HeadClear::read(head_file).unwrap().parents.len();
    let carry_file = &base.files[&carry_path(entry.id, &entry.commitment)];
    let mut value = json!({
        "name": entry.name,
        "id": entry.id,
        "epoch": entry.epoch,
        "recovery_slot": {
            "path": path,
            "hpke_info": "touchlease v1 scope key",
            "hpke_aad": format!("{{\"epoch\":{},\"scope\":\"{}\",\"slot\":\"{slot}\",\"vault\":\"{vault}\"}}", entry.epoch, entry.id),
            "enc": hex(&sealed[8..73]),
            "ciphertext": hex(&sealed[73..]),
        },
        "scope_key": hex(key.as_slice()),
        "commit_info": hex(&commit),
        "commitment": entry.commitment,
        "key_slot": key_slot(base, entry),
        "index_info": hex(&index),
        "index_key": hex(expand(&key, &index).as_slice()),
        "carry_info": hex(&carry),
        "carry_key": hex(expand(&key, &carry).as_slice()),
        "carry": {"path": carry_path(entry.id, &entry.commitment), "nonce": hex(&carry_file[8..8 + NONCE]), "plain": hex(&opened(ring, "carry", carry_file, 8))},
        "head": {
            "path": head_path(entry.id, &head),
            "front": hex(&head_file[..front]),
            "nonce": hex(&head_file[front..front + NONCE]),
            "plain": hex(&opened(ring, "index", head_file, front)),
        },
    });
    if let crate::vault::index::Node::Branch(children) = content.root {
        let (number, child) = children.iter().next().unwrap();
        let path = below_path(entry.id, &child.digest);
        let file = &base.files[&path];
        value["node"] =
            json!({"number": number, "path": path, "nonce": hex(&file[40..40 + NONCE]), "plain": hex(&opened(ring, "index", file, 40))});
    }
    value
}

fn key_slot(base: &Base, entry: &ScopeEntry) -> Value {
    let key = base.blue.enrolled();
    let Some(SlotEntry::Fido2 { id, public, salt, .. }) = entry.slot_of(key.id()) else {
        panic!("blue has a slot")
    };
    let proof = base.blue.touch(Namespace::Lease, b"", &[Unseal::Salt(salt.0)]);
    let (output, holder) = (proof.outputs()[0].expose(), holder(&key).unwrap());
    let vault = base.end().1.vault;
    let info = label("slot", &[&id.0, &entry.id.0, holder.credential, holder.profile.as_bytes()]);
    let k = derive(output, &vault.0, &info);
    let file = &base.files[&half_path(*id)];
    let plain = open(&k, b"TL1half\n", &file[8..]).unwrap();
    assert_eq!(plain[..32], vault.0);
    json!({
        "path": half_path(*id),
        "hmac_secret_salt": salt,
        "hmac_secret_output": hex(output),
        "credential": hex(holder.credential),
        "profile": holder.profile,
        "info": hex(&info),
        "k": hex(k.as_slice()),
        "nonce": hex(&file[8..8 + NONCE]),
        "scalar": hex(&plain[32..]),
        "public": hex(public),
        "sealed": sealed_path(*id, &entry.commitment),
    })
}

fn secret(base: &Base, name: &str) -> Value {
    let (id, digest) = base.entry(name).records().next().unwrap();
    let path = record::path(base.prod.scope, name, id);
    let file = &base.files[&path];
    assert_eq!(Digest::of(file), digest);
    let record = Record::parse(file).unwrap();
    let front = 12 + record.clear_bytes.len();
    let k = base.prod.derive(&record.clear.key, "record", &[&id.0]).unwrap();
    json!({
        "path": path,
        "digest": digest,
        "clear": String::from_utf8(record.clear_bytes.to_vec()).unwrap(),
        "aad": hex(&file[..front]),
        "info": hex(&label("record", &[&base.prod.vault.0, &base.prod.scope.0, &id.0])),
        "k": hex(k.as_slice()),
        "nonce": hex(&file[front..front + NONCE]),
        "plain": hex(&open(&k, &file[..front], &file[front..]).unwrap()),
        "value": String::from_utf8(base.secrets[&format!("prod/{name}")].clone()).unwrap(),
    })
}

fn name(name: &str) -> Value {
    let children: Vec<u8> = (0..=9).map(|depth| crate::vault::index::child(name, depth)).collect();
    json!({"name": name, "digest": Digest::of(name.as_bytes()), "children": children})
}

#[test]
fn t59_the_vectors_of_the_format_come_out_byte_for_byte() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("hw-tests/vectors/format.json");
    let made = serde_json::to_string_pretty(&vectors(&base::make())).unwrap() + "\n";
    if std::env::var_os("TOUCHLEASE_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap();
    assert!(
        published == made,
        "the format changed; TOUCHLEASE_WRITE_VECTORS=1 cargo test --lib kit writes its vectors anew"
    );
}
