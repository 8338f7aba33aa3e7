//! Vaults that a PIV key opens and signs: statements of format 2, and what is wrong in some of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::device::enrolled::{EnrolledKey, Kind};
use crate::device::proof::Evidence;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::{Namespace, ecdsa};
use crate::vault::enrolment;
use crate::vault::slot::Private;
use crate::vault::testing::Folder;
use crate::vault::{Changes, Delivery, Put, RecoveryCode, Rules};

use super::super::piv_attacks::{name_the_victim, signed};
use super::super::rig::{collect, found_with, secret};
use super::bad::{Kit, follow};
use super::base::{self, Stream};
use super::good::{Side, vault};
use super::patch::Files;

const FORM: &str = "vault statement-form";
const CONTENT: &str = "vault statement-content";
const ENROLMENT: &str = "vault statement-enrolment";

type Change = fn(&mut Value, usize);

/// What is wrong in the JSON of a statement with a FIDO2 key in front and a PIV key behind it, by the place; the number is that of the PIV
/// key's slot in the first scope.
const CHANGES: &[(&str, &str, &str, Change)] = &[
    ("version-1", "format 1, though it names a PIV key", CONTENT, |s, _| {
        s["v"] = json!(1)
    }),
    ("unknown-member", "an unknown member in a PIV key", FORM, |s, _| {
        s["keys"][1]["zzz"] = json!(1)
    }),
    ("profile", "a PIV key with a profile", FORM, |s, _| {
        s["keys"][1]["profile"] = json!("pin")
    }),
    ("unknown-member-open", "an unknown member in the slot that opens", FORM, |s, _| {
        s["keys"][1]["open"]["zzz"] = json!(1)
    }),
    ("no-serial", "a PIV key without a serial number", FORM, |s, _| {
        drop(s["keys"][1].as_object_mut().unwrap().remove("serial"))
    }),
    ("serial-large", "a serial number of 2^32", FORM, |s, _| {
        s["keys"][1]["serial"] = json!(1_u64 << 32)
    }),
    ("firmware-short", "firmware of two numbers", FORM, |s, _| {
        s["keys"][1]["firmware"] = json!([5, 7])
    }),
    ("firmware-large", "a firmware number of 256", FORM, |s, _| {
        s["keys"][1]["firmware"] = json!([5, 7, 256])
    }),
    ("slot-9d", "a slot that is not for retired keys", FORM, |s, _| {
        s["keys"][1]["open"]["slot"] = json!("9d")
    }),
    ("slot-number", "the slot as a number", FORM, |s, _| {
        s["keys"][1]["open"]["slot"] = json!(0x82)
    }),
    ("slot-96", "a slot behind the last one", FORM, |s, _| {
        s["keys"][1]["sign"]["slot"] = json!("96")
    }),
    ("one-slot", "one slot that opens and signs", CONTENT, |s, _| {
        s["keys"][1]["open"]["slot"] = json!("83")
    }),
    ("one-key", "one key in both slots", CONTENT, |s, _| {
        let sign = s["keys"][1]["sign"]["public_key"].clone();
        s["keys"][1]["open"]["public_key"] = sign;
    }),
    ("enrolment-missing", "a PIV key without its enrolment", ENROLMENT, |s, _| {
        drop(s["keys"][1].as_object_mut().unwrap().remove("enrolment"))
    }),
    ("enrolment-null", "null for the enrolment of a PIV key", FORM, |s, _| {
        s["keys"][1]["enrolment"] = json!(null)
    }),
    (
        "enrolment-empty",
        "no signature as the enrolment of a PIV key",
        ENROLMENT,
        |s, _| s["keys"][1]["enrolment"] = json!(""),
    ),
    (
        "enrolment-serial",
        "another serial number than the PIV key signed",
        ENROLMENT,
        |s, _| s["keys"][1]["serial"] = json!(7),
    ),
    (
        "enrolment-firmware",
        "another firmware than the PIV key signed",
        ENROLMENT,
        |s, _| s["keys"][1]["firmware"] = json!([5, 7, 9]),
    ),
    (
        "enrolment-slot",
        "another slot that opens than the PIV key signed",
        ENROLMENT,
        |s, _| s["keys"][1]["open"]["slot"] = json!("95"),
    ),
    (
        "enrolment-open",
        "another key that opens than the PIV key signed",
        ENROLMENT,
        |s, _| s["keys"][1]["open"]["public_key"] = s["recovery"].clone(),
    ),
    (
        "enrolment-seen",
        "another way in which the policies were seen",
        ENROLMENT,
        |s, _| s["keys"][1]["open"]["seen"] = json!("attested"),
    ),
    ("touch-cached", "a touch policy of cached", FORM, |s, _| {
        s["keys"][1]["open"]["touch"] = json!("cached")
    }),
    ("touch-never", "a touch policy of never", FORM, |s, _| {
        s["keys"][1]["sign"]["touch"] = json!("never")
    }),
    ("pin-once", "a PIN policy of once", FORM, |s, _| {
        s["keys"][1]["sign"]["pin"] = json!("once")
    }),
    ("seen", "policies that were seen by another way", FORM, |s, _| {
        s["keys"][1]["sign"]["seen"] = json!("told")
    }),
    ("point-off", "a public key off the curve", CONTENT, |s, _| {
        s["keys"][1]["open"]["public_key"] = json!(format!("BA{}", "A".repeat(85)))
    }),
    ("recovery-point", "the recovery key is the one that signs", CONTENT, |s, _| {
        s["recovery"] = s["keys"][1]["sign"]["public_key"].clone()
    }),
    ("slot-salt", "a PIV slot with a salt", FORM, |s, at| {
        s["scopes"][0]["slots"][at]["salt"] = json!("00".repeat(32))
    }),
    ("slot-kind", "a PIV slot of a FIDO2 key", CONTENT, |s, at| {
        let key = s["scopes"][0]["slots"][0]["key"].clone();
        s["scopes"][0]["slots"][at]["key"] = key;
        s["scopes"][0]["slots"].as_array_mut().unwrap().remove(0);
    }),
    ("slot-twice", "two slots of one PIV key", CONTENT, |s, at| {
        let mut again = s["scopes"][0]["slots"][at].clone();
        again["id"] = json!("00".repeat(16));
        s["scopes"][0]["slots"].as_array_mut().unwrap().push(again);
    }),
    ("serial-twice", "two PIV keys with one serial number", CONTENT, |s, _| {
        let mut again = s["keys"][1].clone();
        let (open, sign) = (again["open"]["public_key"].clone(), again["sign"]["public_key"].clone());
        (again["open"]["public_key"], again["sign"]["public_key"]) = (sign, open);
        again["name"] = json!("again");
        s["keys"].as_array_mut().unwrap().push(again);
    }),
];

pub fn add(kit: &mut Kit<'_>) {
    let base = kit.base;
    let card = SoftKey::piv("card", 3);
    let side = Side::new(base, "a PIV key").add_key(&card, &base.blue);
    let files = side.files();
    let about = "A PIV key beside the FIDO2 key, with a slot in each scope; the statement is of format 2: to be read.";
    vault(kit, "piv-key", about, "fine", files.clone(), &[]);
    bad(kit, &side, &files, &card);
    remade(kit, &side.vault().keys()[1]);
    let side = side.rotate_by(&card);
    let about = "A scope with another key, by the PIV key, which signs the statement as the recovery key would: to be read.";
    vault(kit, "piv-signs", about, "fine", side.files(), &[]);
    let side = side.remove_key("blue", &card);
    let about = "The PIV key has taken the FIDO2 key out, and is the only one: to be read.";
    vault(kit, "piv-alone", about, "fine", side.files(), &[]);
    let side = side.add_key(&base.spare, &card).remove_key("card", &base.spare);
    let about = "The PIV key was taken out again by a FIDO2 key; the statement in force is of format 1 again: to be read.";
    vault(kit, "piv-gone", about, "fine", side.files(), &[]);
}

fn bad(kit: &mut Kit<'_>, side: &Side<'_>, files: &Files, card: &SoftKey) {
    let before = side.vault();
    let mut next = before.roster.in_force().clone();
    (next.previous, next.random) = (vec![before.roster_digest()], None);
    let slots = &next.scopes[0].slots;
    let at = slots.iter().position(|slot| slot.key() == Some(card.enrolled().id())).unwrap();
    let value = serde_json::to_value(&next).unwrap();
    let bytes = serde_json::to_vec(&value).unwrap();
    let mut push = |name: &str, about: &str, expect: &str, bytes: &[u8], signature: String| {
        let mut files = files.clone();
        follow(&mut files, bytes, Some(signature));
        vault(kit, &format!("piv-{name}"), about, expect, files, &[]);
    };
    let by = |key: &SoftKey, namespace, bytes: &[u8]| key.touch(namespace, bytes, &[]).sshsig(bytes).unwrap();
    for (name, about, expect, change) in CHANGES {
        let mut value = value.clone();
        change(&mut value, at);
        let bytes = serde_json::to_vec(&value).unwrap();
        let about = format!("A statement by the PIV key: {about}.");
        push(name, &about, expect, &bytes, by(card, Namespace::Vault, &bytes));
    }
    let signer = "vault statement-signer";
    let about = "A statement that a PIV key signed which is not enrolled.";
    push(
        "stranger",
        about,
        signer,
        &bytes,
        by(&SoftKey::piv("card", 4), Namespace::Vault, &bytes),
    );
    let about = "A statement with the PIV key's signature over another one.";
    let other = card.touch(Namespace::Vault, b"{}", &[]).sshsig(b"{}").unwrap();
    push("other-text", about, "vault statement-signature", &bytes, other);
    let about = "A statement that the PIV key signed as a lease.";
    push(
        "lease",
        about,
        "vault statement-signature",
        &bytes,
        by(card, Namespace::Lease, &bytes),
    );
    let about = "A statement with a signature in the PIV key's name by another key.";
    let (private, _) = Private::derive(b"a PIV key of somebody else");
    let forged = ecdsa::sign(private.scalar(), card.enrolled().signer(), Namespace::Vault, &bytes).unwrap();
    push("forged", about, "vault statement-signature", &bytes, forged);
    let about = "A statement with a signature in the name of the key that the PIV key opens by.";
    let open = card.enrolled().piv().unwrap().open.public_key;
    let by_open = ecdsa::armored(&open, Namespace::Vault, &[1; 64]);
    push("by-open", about, signer, &bytes, by_open);
    let about = "A statement with a plain signature in the name of a FIDO2 key, which says nothing of a touch.";
    let plain = ecdsa::armored(before.keys()[0].signer(), Namespace::Vault, &[1; 64]);
    push("plain-of-fido2", about, signer, &bytes, plain);
    let stranger = SoftKey::piv("card", 4);
    let (key, id, elsewhere) = (before.keys().remove(1), before.id(), Digest::of(b"another vault"));
    for (name, about, expect, key) in [
        (
            "vault",
            "for another vault",
            ENROLMENT,
            signed(&key, elsewhere, card, Namespace::Enrol),
        ),
        (
            "lease",
            "that was signed as a lease",
            ENROLMENT,
            signed(&key, id, card, Namespace::Lease),
        ),
        (
            "stranger",
            "by another key",
            ENROLMENT,
            signed(&key, id, &stranger, Namespace::Enrol),
        ),
        ("twin", "with (r, n - s) in the place of (r, s)", CONTENT, twin(&key, id, card)),
    ] {
        let mut next = next.clone();
        next.keys[1] = key;
        let bytes = next.to_bytes().unwrap();
        let about = format!("A statement by the PIV key, with an enrolment {about}.");
        push(
            &format!("enrolment-{name}"),
            &about,
            expect,
            &bytes,
            by(card, Namespace::Vault, &bytes),
        );
    }
}

/// The key with its other good signature: nothing is wrong with it, but a key stays what it was enrolled as.
fn twin(key: &EnrolledKey, vault: Digest, card: &SoftKey) -> EnrolledKey {
    let mut key = key.clone();
    let Kind::Piv(piv) = &mut key.kind else { panic!() };
    let text = enrolment::piv_text(piv, vault).unwrap();
    let proof = card.touch(Namespace::Enrol, &text, &[]);
    let Evidence::Signature(signature) = proof.evidence() else {
        panic!()
    };
    let (r, s) = p256::ecdsa::Signature::from_slice(signature).unwrap().split_scalars();
    let twin = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    piv.enrolment = Some(ecdsa::armored(
        &piv.sign.public_key,
        Namespace::Enrol,
        &twin.to_bytes().as_slice().try_into().unwrap(),
    ));
    key
}

/// Vaults of somebody who has public files alone, around the PIV key of `victim`.
fn remade(kit: &mut Kit<'_>, victim: &EnrolledKey) {
    for (name, signs, hides, about) in [
        ("remade", false, false, "as it is enrolled in another vault, and his own key first"),
        (
            "remade-hidden",
            false,
            true,
            "as it is enrolled in another vault; he took his own key out again",
        ),
        ("remade-signed", true, false, "whose enrolment his own key signed"),
    ] {
        let (home, random) = (Folder::new(), &mut Stream::new("a vault of somebody else"));
        let mallory = SoftKey::piv("spare", 66);
        let (vault, code) = found_with(&home.join("vault"), &home.join("state"), &mallory, &["prod", "dev"], random).unwrap();
        let put = Put {
            name: "TOKEN".into(),
            rules: Rules::value(&[Delivery::Env]),
            value: secret(&kit.base.secrets["prod/TOKEN"]),
        };
        let changes = Changes {
            puts: vec![put],
            ..Changes::default()
        };
        base::apply(&vault, &mallory, "prod", changes, random);
        let given = RecoveryCode::parse(&kit.base.code).unwrap();
        let forged = signed(victim, vault.id(), &mallory, Namespace::Enrol);
        let victim = if signs { &forged } else { victim };
        name_the_victim(&vault, &mallory, (&code, &given), victim, hides, random);
        let about = format!("A vault that somebody made of public files, with somebody else's PIV key {about}.");
        vault_of(kit, name, &about, &home.join("vault"));
    }
}

fn vault_of(kit: &mut Kit<'_>, name: &str, about: &str, folder: &Path) {
    let mut files = BTreeMap::new();
    collect(folder, folder, &mut files);
    let text = |(path, bytes): (PathBuf, Vec<u8>)| (path.to_str().unwrap().to_owned(), bytes);
    let files = files.into_iter().map(text).collect();
    vault(kit, &format!("piv-{name}"), about, ENROLMENT, files, &[]);
}
