//! Other programs' files.

use serde_json::Value;

use crate::cli::env_file;
use crate::cli::import::source::Found;
use crate::cli::import::{cost, env, onepux};
use crate::cli::issuer::check::{Read, compare};
use crate::cli::scan::objects::{Head, staged};
use crate::encoding::SecretRef;
use crate::encoding::plain::check_variable;
use crate::encoding::reference::SCHEME;
use crate::samples::import as samples;

/// An environment file: what is found can be written plainly, and is found again.
pub fn environment(data: &[u8]) {
    let Ok((found, _)) = env::read(data) else { return };
    let mut plain = String::new();
    for Found { name, value, place } in &found {
        let value = str::from_utf8(value).expect("a text was read");
        assert!(!value.is_empty() && !value.starts_with(SCHEME) && place == name);
        // Within single quotes nothing stands for anything else; what has one of its own is left out here.
        if !value.contains(['\'', '\\']) {
            plain += &format!("{name}='{value}'\n");
        }
    }
    if plain.is_empty() {
        return;
    }
    let (again, left_out) = env::read(plain.as_bytes()).expect("a text");
    assert!(left_out.is_empty(), "{left_out:?}");
    let mut expected = found.iter().filter(|found| !found.value.iter().any(|byte| b"'\\".contains(byte)));
    for found in &again {
        let wanted = expected.next().expect("as many as were written");
        assert_eq!((&found.name, &found.value), (&wanted.name, &wanted.value));
    }
    assert!(expected.next().is_none());
}

/// An environment file of `run`: what is asked for can be asked for, and a refusal repeats nothing of a line.
pub fn env_file(data: &[u8]) {
    match env_file::parse(data, "FILE") {
        Ok((plain, grants)) => {
            assert!(plain.iter().all(|(_, value)| !value.starts_with(SCHEME)));
            for grant in grants {
                assert!(grant.secret.parse::<SecretRef>().is_ok() && grant.env.as_deref().is_some_and(|env| check_variable(env).is_ok()));
            }
        }
        Err(failure) => assert!(failure.message.starts_with("FILE, line ") && failure.hint.is_some(), "{failure:?}"),
    }
}

/// What git says of objects: an id that is read is one, and what stands in front of an object is written again as it was.
pub fn git_objects(data: &[u8]) {
    let is_oid = |oid: &str| matches!(oid.len(), 40 | 64) && oid.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(head) = Head::parse(data) {
        assert!(is_oid(&head.oid));
        let again = format!("{} {} {}", head.oid, head.kind, head.size);
        assert_eq!(Head::parse(again.as_bytes()), Some(head));
    }
    for staged in staged(data).unwrap_or_default() {
        assert!(is_oid(&staged.oid) && !staged.path.as_os_str().is_empty());
    }
}

/// The outer header of a KeePass database: what is let through asks for nothing beyond the limits, wherever it is looked for.
pub fn kdbx_cost(data: &[u8]) {
    let passes = cost::check(data).is_ok();
    let longer = cost::check(&[data, b"more"].concat());
    assert!(!passes || longer.is_ok(), "what follows the header is no part of it");
}

/// An export of 1Password: as an archive, and with any `export.data`.
pub fn onepux(data: &[u8]) {
    sound(onepux::read(data).ok());
    sound(onepux::read(&crate::samples::import::archive(data)).ok());
}

fn sound<L>(read: Option<(Vec<Found>, L)>) {
    for found in read.into_iter().flat_map(|(found, _)| found) {
        assert!(!found.place.is_empty() && str::from_utf8(&found.value).is_ok());
    }
}

/// What an issuer serves: the discovery document, a zero byte, the key set. Where nothing is said to differ, every key of ours is there as it is,
/// and no private half.
pub fn issuer_served(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (configuration, keys) = data.split_at(at);
    let keys = keys.get(1..).unwrap_or_default();
    let ours = samples::ours();
    let read = |name: &str, bytes: &[u8]| Read {
        name: name.to_owned(),
        bytes: Ok(bytes.to_vec()),
    };
    let found = compare(&ours, &read("configuration", configuration), &read("keys", keys));
    // What somebody else wrote is cut.
    assert!(found.iter().all(|one| (1..2000).contains(&one.what.len())), "{found:?}");
    if !found.is_empty() {
        return;
    }
    let served: Value = serde_json::from_slice(keys).expect("it was read");
    let served = served["keys"].as_array().expect("a list of keys");
    assert_eq!(served.len(), ours.keys.len());
    for (kid, key) in &ours.keys {
        let there = served.iter().find(|one| one["kid"] == **kid).expect("the key");
        assert!(there["x"] == key["x"] && there["y"] == key["y"] && there.get("d").is_none() && there.get("k").is_none());
    }
}
