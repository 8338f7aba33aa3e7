//! Statements that an enrolled key has signed, and that are none.

use serde_json::{Value, json};

use super::bad::{Kit, follow, next, signed};
use super::base::Base;

const FORM: &str = "vault statement-form";
const CONTENT: &str = "vault statement-content";

type Change = fn(&mut Value, &Base);
type Form = fn(String) -> String;

/// What is wrong in the JSON, by the place.
const CHANGES: &[(&str, &str, &str, Change)] = &[
    ("unknown-member", "a member that no statement has", FORM, |s, _| s["zzz"] = json!(1)),
    ("unknown-member-key", "an unknown member in a key", FORM, |s, _| {
        s["keys"][0]["zzz"] = json!(1)
    }),
    ("unknown-member-credential", "an unknown member in a credential", FORM, |s, _| {
        s["keys"][0]["lease"]["zzz"] = json!(1)
    }),
    ("unknown-member-scope", "an unknown member in a scope", FORM, |s, _| {
        s["scopes"][0]["zzz"] = json!(1)
    }),
    ("unknown-member-slot", "an unknown member in a slot", FORM, |s, _| {
        s["scopes"][0]["slots"][0]["zzz"] = json!(1)
    }),
    ("no-name", "the vault's name is missing", FORM, |s, _| {
        drop(s.as_object_mut().unwrap().remove("name"))
    }),
    ("no-random", "random is missing instead of null", FORM, |s, _| {
        drop(s.as_object_mut().unwrap().remove("random"))
    }),
    ("no-half", "half is missing instead of null", FORM, |s, _| {
        drop(s["scopes"][0]["slots"][0].as_object_mut().unwrap().remove("half"));
    }),
    ("version-text", "v is a text", FORM, |s, _| s["v"] = json!("1")),
    ("version-2", "format 2, though no key is a PIV key", CONTENT, |s, _| {
        s["v"] = json!(2)
    }),
    ("version-3", "a statement of format 3", "vault newer", |s, _| s["v"] = json!(3)),
    ("version-0", "a statement of format 0", CONTENT, |s, _| s["v"] = json!(0)),
    ("epoch-fraction", "an epoch of 1.5", FORM, |s, _| {
        s["scopes"][0]["epoch"] = json!(1.5)
    }),
    ("epoch-negative", "an epoch of -1", FORM, |s, _| s["scopes"][0]["epoch"] = json!(-1)),
    ("epoch-large", "an epoch of 2^53", FORM, |s, _| {
        s["scopes"][0]["epoch"] = json!(1_u64 << 53)
    }),
    ("epoch-zero", "an epoch of 0", CONTENT, |s, _| s["scopes"][0]["epoch"] = json!(0)),
    ("vault-upper-case", "the vault's id in upper case", FORM, |s, _| {
        s["vault"] = json!(s["vault"].as_str().unwrap().to_uppercase())
    }),
    ("vault-short", "the vault's id without its last digit", FORM, |s, _| {
        let id = s["vault"].as_str().unwrap()[1..].to_owned();
        s["vault"] = json!(id);
    }),
    ("id-long", "a scope's id with 34 digits", FORM, |s, _| {
        s["scopes"][0]["id"] = json!("00".repeat(17))
    }),
    ("salt-short", "a salt of 31 bytes", FORM, |s, _| {
        s["scopes"][0]["slots"][0]["salt"] = json!("00".repeat(31))
    }),
    ("point-padded", "a point in base64 with padding", FORM, |s, _| {
        let point = format!("{}=", s["recovery"].as_str().unwrap());
        s["recovery"] = json!(point);
    }),
    ("point-short", "a point of 64 bytes", FORM, |s, _| {
        s["recovery"] = json!("A".repeat(86))
    }),
    ("recovery-off-curve", "a recovery key that is not on the curve", CONTENT, |s, _| {
        s["recovery"] = json!(off_curve())
    }),
    (
        "recovery-infinity",
        "the point at infinity, padded to 65 bytes, as the recovery key",
        CONTENT,
        |s, _| s["recovery"] = json!("A".repeat(87)),
    ),
    ("slot-off-curve", "a slot's public key that is not on the curve", CONTENT, |s, _| {
        s["scopes"][0]["slots"][0]["public"] = json!(off_curve())
    }),
    ("key-off-curve", "an enrolled key that is not on the curve", CONTENT, |s, _| {
        s["keys"][0]["which"]["public_key"] = json!(off_curve())
    }),
    ("key-kind", "a key of an unknown kind", FORM, |s, _| {
        s["keys"][0]["kind"] = json!("piv2")
    }),
    ("key-profile", "a key of an unknown profile", FORM, |s, _| {
        s["keys"][0]["profile"] = json!("none")
    }),
    ("key-name-empty", "a key without a name", CONTENT, |s, _| {
        s["keys"][0]["name"] = json!("")
    }),
    ("key-name-bidi", "a key's name that runs backwards on a screen", CONTENT, |s, _| {
        s["keys"][0]["name"] = json!("a\u{202e}b")
    }),
    (
        "key-name-decomposed",
        "a key's name that is not in Normalization Form C",
        CONTENT,
        |s, _| s["keys"][0]["name"] = json!("e\u{301}te"),
    ),
    ("key-name-dash", "a key's name with a dash in front", CONTENT, |s, _| {
        s["keys"][0]["name"] = json!("-blue")
    }),
    ("key-name-long", "a key's name of 129 bytes", CONTENT, |s, _| {
        s["keys"][0]["name"] = json!("b".repeat(129))
    }),
    ("vault-name-slash", "a vault's name with a slash", CONTENT, |s, _| {
        s["name"] = json!("a/b")
    }),
    ("scope-name-dots", "a scope called ..", CONTENT, |s, _| {
        s["scopes"][0]["name"] = json!("..")
    }),
    ("credential-empty", "a credential id of no bytes", CONTENT, |s, _| {
        s["keys"][0]["lease"]["id"] = json!("")
    }),
    ("credential-long", "a credential id of 1024 bytes", CONTENT, |s, _| {
        s["keys"][0]["which"]["id"] = json!("A".repeat(1366))
    }),
    ("no-keys", "no key is enrolled", CONTENT, |s, _| s["keys"] = json!([])),
    ("key-twice", "one key twice", CONTENT, |s, _| {
        let key = s["keys"][0].clone();
        s["keys"].as_array_mut().unwrap().push(key);
    }),
    ("key-names-alike", "two keys of one name", CONTENT, |s, base| {
        let mut key = serde_json::to_value(&base.statements[1].1.keys[1]).unwrap();
        key["name"] = json!("blue");
        s["keys"].as_array_mut().unwrap().push(key);
    }),
    ("scope-twice", "one scope twice", CONTENT, |s, _| {
        let scope = s["scopes"][0].clone();
        s["scopes"].as_array_mut().unwrap().push(scope);
    }),
    ("scope-names-alike", "two scopes of one name", CONTENT, |s, _| {
        s["scopes"][1]["name"] = s["scopes"][0]["name"].clone()
    }),
    ("slot-ids-alike", "two slots of one id", CONTENT, |s, _| {
        s["scopes"][1]["slots"][0]["id"] = s["scopes"][0]["slots"][0]["id"].clone();
    }),
    ("slot-stranger", "a slot of a key that is not enrolled", CONTENT, |s, _| {
        s["scopes"][0]["slots"][0]["key"] = json!("0".repeat(64))
    }),
    ("slot-kind", "a slot of an unknown kind", FORM, |s, _| {
        s["scopes"][0]["slots"][0]["kind"] = json!("paper")
    }),
    ("two-slots-of-a-key", "two slots of one key in a scope", CONTENT, |s, _| {
        let mut slot = s["scopes"][0]["slots"][0].clone();
        slot["id"] = json!("ab".repeat(16));
        s["scopes"][0]["slots"].as_array_mut().unwrap().push(slot);
    }),
    ("no-recovery-slot", "a scope without a recovery slot", CONTENT, |s, _| {
        s["scopes"][0]["slots"]
            .as_array_mut()
            .unwrap()
            .retain(|slot| slot["kind"] != "recovery");
    }),
    ("two-recovery-slots", "a scope with two recovery slots", CONTENT, |s, _| {
        s["scopes"][0]["slots"]
            .as_array_mut()
            .unwrap()
            .push(json!({"id": "ab".repeat(16), "kind": "recovery"}));
    }),
    ("previous-unsorted", "previous in descending order", CONTENT, |s, base| {
        s["previous"] = json!(["f".repeat(64), base.end().0.to_string()]);
    }),
    ("previous-twice", "one statement twice in previous", CONTENT, |s, base| {
        s["previous"] = json!([base.end().0, base.end().0])
    }),
    (
        "previous-and-random",
        "random in a statement that follows another",
        CONTENT,
        |s, _| s["random"] = json!("00".repeat(32)),
    ),
    ("neither-previous-nor-random", "neither previous nor random", CONTENT, |s, _| {
        s["previous"] = json!([])
    }),
    ("another-vault", "a statement of another vault", "vault statement-vault", |s, _| {
        s["vault"] = json!("0".repeat(64))
    }),
    ("commitment-replaced", "another scope key in the same epoch", CONTENT, |s, _| {
        s["scopes"][0]["commitment"] = json!("0".repeat(64))
    }),
    ("epoch-back", "an epoch that was before", CONTENT, |s, _| {
        s["scopes"][0]["epoch"] = json!(1)
    }),
    ("epoch-alone", "a later epoch with the same scope key", CONTENT, |s, _| {
        s["scopes"][0]["epoch"] = json!(3)
    }),
    ("epoch-skipped", "a later epoch with one left out before it", CONTENT, |s, _| {
        s["scopes"][0]["epoch"] = json!(4);
        s["scopes"][0]["commitment"] = json!("0".repeat(64));
    }),
    (
        "key-which-altered",
        "another credential by which a key is recognised",
        CONTENT,
        |s, _| s["keys"][0]["which"]["id"] = json!("AQID"),
    ),
    (
        "key-profile-altered",
        "another profile of a key that was enrolled before",
        CONTENT,
        |s, _| {
            let other = if s["keys"][0]["profile"] == "pin" { "touch-only" } else { "pin" };
            s["keys"][0]["profile"] = json!(other);
        },
    ),
    ("slot-public-altered", "another public key under a slot's id", CONTENT, |s, _| {
        s["scopes"][0]["slots"][0]["public"] = s["recovery"].clone();
    }),
    ("slot-salt-altered", "another salt under a slot's id", CONTENT, |s, _| {
        s["scopes"][0]["slots"][0]["salt"] = json!("00".repeat(32))
    }),
    ("slot-half-altered", "another private half under a slot's id", CONTENT, |s, _| {
        s["scopes"][0]["slots"][0]["half"] = json!("0".repeat(64))
    }),
];

/// A good point with its last bit changed.
fn off_curve() -> String {
    let mut point = crate::device::soft::SoftKey::new("x", crate::device::enrolled::Profile::Pin, 9)
        .enrolled()
        .fido2()
        .unwrap()
        .lease
        .public_key;
    point[64] ^= 1;
    data_encoding::BASE64URL_NOPAD.encode(&point)
}

/// Other texts for one and the same statement.
const FORMS: &[(&str, &str, Form)] = &[
    ("form-blank", "a blank after a colon", |s| s.replacen(':', ": ", 1)),
    ("form-line-feed", "a line feed at the end", |s| s + "\n"),
    ("form-mark", "a byte-order mark in front", |s| format!("\u{feff}{s}")),
    ("form-order", "members in another order", |s| {
        let rest = s.strip_suffix(",\"v\":1,").map_or(s.as_str(), |s| s);
        let v = "\"v\":1,";
        format!("{{{v}{}", rest.replacen(v, "", 1).strip_prefix('{').unwrap_or_default())
    }),
    ("form-escape", "a letter written as an escape", |s| {
        s.replacen("laptop", "l\\u0061ptop", 1)
    }),
    ("form-doubled", "a member twice", |s| s.replacen("\"v\":1,", "\"v\":1,\"v\":1,", 1)),
    ("form-exponent", "a number with an exponent", |s| {
        s.replacen("\"v\":1,", "\"v\":1e0,", 1)
    }),
    ("form-cut", "the last byte is missing", |s| s[..s.len() - 1].to_owned()),
    ("form-empty", "an empty file", |_| String::new()),
    ("form-array", "an array", |s| format!("[{s}]")),
    ("form-latin-1", "a text that is not UTF-8", |s| s),
];

pub fn add(kit: &mut Kit<'_>) {
    let base = kit.base;
    for (name, about, expect, change) in CHANGES {
        let bytes = next(base, |statement| change(statement, base));
        let about = format!("Signed by an enrolled key: {about}.");
        kit.add(&format!("statement-{name}"), &about, expect, |files| {
            follow(files, &bytes, Some(signed(&base.blue, &bytes)));
        });
    }
    for (name, about, form) in FORMS {
        let text = String::from_utf8(next(base, |_| {})).unwrap();
        let mut bytes = form(text.clone()).into_bytes();
        if *name == "form-latin-1" {
            let at = text.find("laptop").unwrap();
            bytes[at] = 0xe9;
        }
        assert_ne!(bytes, text.as_bytes(), "{name}");
        let about = format!("Signed by an enrolled key, in another form than RFC 8785 has: {about}.");
        kit.add(&format!("statement-{name}"), &about, FORM, |files| {
            follow(files, &bytes, Some(signed(&base.blue, &bytes)));
        });
    }
}
