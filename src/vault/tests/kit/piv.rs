//! Vaults that a PIV key opens and signs: statements of format 2, and what is wrong in some of them.

use serde_json::{Value, json};

use crate::device::soft::SoftKey;
use crate::encoding::sshsig::{Namespace, ecdsa};
use crate::vault::slot::Private;

use super::bad::{Kit, follow};
use super::good::{Side, vault};
use super::patch::Files;

const FORM: &str = "vault statement-form";
const CONTENT: &str = "vault statement-content";

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
}
