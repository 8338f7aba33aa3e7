//! The marker, lists of changes, and the ways into a scope.

use crate::encoding::Digest;
use crate::vault::bytes::Id;
use crate::vault::scope::{Ring, carry_path, half_path, sealed_path};
use crate::vault::statement::SlotEntry;

use super::bad::{Kit, cut, flip, opened, sealed};
use super::base::{Base, Stream};
use super::judge::Door;
use super::patch::Files;

pub fn add(kit: &mut Kit<'_>) {
    markers(kit);
    lists(kit);
    seals(kit);
    halves(kit);
    carries(kit);
}

fn markers(kit: &mut Kit<'_>) {
    kit.add("base", "The base itself: to be read.", "fine", |_| {});
    kit.add("git-files-missing", "Without the two files for git: to be read.", "fine", |files| {
        files.remove(".gitignore");
        files.remove(".gitattributes");
    });
    kit.add(
        "temporary-file",
        "A temporary file of a writer that was killed: to be read.",
        "fine",
        |files| {
            files.insert("roster/.tmp-x".into(), b"half".to_vec());
            files.insert(".tmp-format".into(), b"touchle".to_vec());
        },
    );
    kit.add("marker-missing", "There is no file `format`.", "vault no-vault", |files| {
        drop(files.remove("format"))
    });
    for (name, text, expect) in [
        ("empty", "", "vault damaged"),
        ("other", "another vault 1\n", "vault damaged"),
        ("no-line-feed", "touchlease vault 1", "vault damaged"),
        ("two-line-feeds", "touchlease vault 1\n\n", "vault damaged"),
        ("carriage-return", "touchlease vault 1\r\n", "vault damaged"),
        ("zero-in-front", "touchlease vault 01\n", "vault damaged"),
        ("sign", "touchlease vault +1\n", "vault damaged"),
        ("number-zero", "touchlease vault 0\n", "vault damaged"),
        ("no-number", "touchlease vault one\n", "vault damaged"),
        ("newer", "touchlease vault 2\n", "vault newer"),
        ("much-newer", "touchlease vault 18446744073709551615\n", "vault newer"),
        ("beyond-64-bits", "touchlease vault 18446744073709551616\n", "vault damaged"),
    ] {
        kit.add(
            &format!("marker-{name}"),
            &format!("The file `format` is {text:?}."),
            expect,
            |files| {
                files.insert("format".into(), text.as_bytes().to_vec());
            },
        );
    }
}

fn lists(kit: &mut Kit<'_>) {
    let base = kit.base;
    let record = base.files.keys().find(|path| path.starts_with("records/")).unwrap().clone();
    let head = base.path(&format!("heads/{}/", base.prod.scope));
    let list =
        |files: &mut Files, text: &str| drop(files.insert(format!("pending/{}", Digest::of(text.as_bytes())), text.as_bytes().to_vec()));
    kit.add(
        "list-undone",
        "A change that was cut off before it was decided, whose new file is still there: to be read without it.",
        "fine",
        |files| {
            files.insert("records/left/over".into(), b"x".to_vec());
            list(files, "touchlease change 1\n= heads/none/none\n+ records/left/over\n");
        },
    );
    kit.add(
        "list-done",
        "A change that was decided and whose old files are still there: to be read without them.",
        "fine",
        |files| {
            files.insert("index/left/over".into(), b"x".to_vec());
            list(files, &format!("touchlease change 1\n= {head}\n- index/left/over\n"));
        },
    );
    for (name, about, text) in [
        ("first-line", "another first line", "touchlease change 2\n= heads/a/b\n".to_owned()),
        (
            "undecided",
            "no file that decides",
            "touchlease change 1\n+ records/a/b\n".to_owned(),
        ),
        (
            "sign",
            "a line that is neither + nor -",
            format!("touchlease change 1\n= heads/a/b\n* {record}\n"),
        ),
        (
            "order",
            "a + behind a -",
            format!("touchlease change 1\n= heads/a/b\n- {record}\n+ records/a/b\n"),
        ),
        ("line-ends", "CR LF", "touchlease change 1\r\n= heads/a/b\r\n".to_owned()),
        (
            "no-line-feed",
            "no line feed at the end",
            "touchlease change 1\n= heads/a/b".to_owned(),
        ),
        (
            "parent",
            "a path that leads out of the vault",
            "touchlease change 1\n= heads/a/b\n+ records/../../x\n".to_owned(),
        ),
        (
            "absolute",
            "an absolute path",
            "touchlease change 1\n= heads/a/b\n+ /etc/passwd\n".to_owned(),
        ),
        (
            "marker",
            "a path that no change writes",
            "touchlease change 1\n= heads/a/b\n+ format\n".to_owned(),
        ),
        (
            "hidden",
            "a path with a hidden part",
            "touchlease change 1\n= heads/a/b\n+ records/.git/x\n".to_owned(),
        ),
        ("empty", "an empty list", String::new()),
    ] {
        kit.add(
            &format!("list-{name}"),
            &format!("A list of changed files with {about}."),
            "vault damaged",
            |files| list(files, &text),
        );
    }
    kit.add(
        "list-renamed",
        "A list of changed files under another name than its digest.",
        "vault damaged",
        |files| {
            files.insert(
                format!("pending/{}", Digest::of(b"x")),
                b"touchlease change 1\n= heads/a/b\n".to_vec(),
            );
        },
    );
}

fn slot_of(base: &Base, scope: usize, recovery: bool) -> (Id, Digest) {
    let scope = &base.end().1.scopes[scope];
    let slot = scope
        .slots
        .iter()
        .find(|slot| matches!(slot, SlotEntry::Recovery { .. }) == recovery)
        .unwrap();
    (slot.id(), scope.commitment)
}

fn seals(kit: &mut Kit<'_>) {
    let base = kit.base;
    let (id, commitment) = slot_of(base, 0, true);
    let path = sealed_path(id, &commitment);
    let expect = "scope prod damaged";
    kit.add(
        "seal-missing",
        "What is sealed to the recovery slot is missing.",
        "scope prod missing",
        |files| drop(files.remove(&path)),
    );
    for (name, at) in [("header", 4), ("point-form", 8), ("point", 40), ("key", 80), ("tag", 120)] {
        let about = format!("One bit of what is sealed to the recovery slot is another one: {name}.");
        kit.add(&format!("seal-flipped-{name}"), &about, expect, |files| flip(files, &path, at));
    }
    kit.add(
        "seal-cut",
        "The last byte of what is sealed to the recovery slot is missing.",
        expect,
        |files| cut(files, &path, 120),
    );
    kit.add(
        "seal-long",
        "A byte more than what is sealed to the recovery slot.",
        expect,
        |files| files.get_mut(&path).unwrap().push(0),
    );
    kit.add(
        "seal-empty",
        "An empty file in the place of what is sealed to the recovery slot.",
        expect,
        |files| cut(files, &path, 0),
    );
    kit.add(
        "seal-other-scope",
        "What is sealed to the recovery slot of the other scope.",
        expect,
        |files| {
            let (id, commitment) = slot_of(base, 1, true);
            let other = files[&sealed_path(id, &commitment)].clone();
            files.insert(path.clone(), other);
        },
    );
    kit.add(
        "seal-other-key",
        "A scope key of somebody's own, sealed to every slot as it should be.",
        "scope prod wrong-scope-key",
        |files| {
            let entry = &base.end().1.scopes[0];
            let evil = Ring::generate(base.end().1.vault, entry.id, entry.epoch, &mut Stream::new("somebody's own key"));
            for slot in &entry.slots {
                let public = if let SlotEntry::Fido2 { public, .. } = slot {
                    public
                } else {
                    &base.end().1.recovery
                };
                let sealed = evil.seal_to(slot.id(), public, &mut Stream::new("somebody's own seal")).unwrap();
                files.insert(sealed_path(slot.id(), &entry.commitment), sealed);
            }
        },
    );
    kit.add(
        "slot-stray",
        "A slot's files that no statement names: to be read, and nothing is sealed to it.",
        "fine",
        |files| {
            files.insert("slots/00112233445566778899aabbccddeeff.half".into(), b"x".to_vec());
        },
    );
}

fn halves(kit: &mut Kit<'_>) {
    let base = kit.base;
    let (id, commitment) = slot_of(base, 0, false);
    let half = half_path(id);
    let expect = "scope prod slot-closed";
    kit.add_by(Door::Key, "key", "The base, opened with the key: to be read.", "fine", |_| {});
    kit.add_by(
        Door::Key,
        "half-missing",
        "The private half of the key's slot is missing.",
        "scope prod missing",
        |files| drop(files.remove(&half)),
    );
    for (name, at) in [("header", 4), ("nonce", 20), ("vault", 40), ("scalar", 80), ("tag", 110)] {
        let about = format!("One bit of the private half of the key's slot is another one: {name}.");
        kit.add_by(Door::Key, &format!("half-flipped-{name}"), &about, expect, |files| {
            flip(files, &half, at)
        });
    }
    kit.add_by(
        Door::Key,
        "half-cut",
        "The last byte of the private half is missing.",
        expect,
        |files| cut(files, &half, 111),
    );
    let other = base.end().1.scopes[1]
        .slots
        .iter()
        .find(|slot| matches!(slot, SlotEntry::Fido2 { .. }))
        .unwrap()
        .id();
    kit.add_by(
        Door::Key,
        "half-other",
        "The private half of the key's other slot.",
        expect,
        |files| {
            let bytes = files[&half_path(other)].clone();
            files.insert(half.clone(), bytes);
        },
    );
    kit.add_by(
        Door::Key,
        "seal-key-missing",
        "What is sealed to the key's slot is missing.",
        "scope prod missing",
        |files| {
            files.remove(&sealed_path(id, &commitment));
        },
    );
    kit.add_by(
        Door::Key,
        "seal-key-flipped",
        "One bit of what is sealed to the key's slot is another one.",
        "scope prod damaged",
        |files| flip(files, &sealed_path(id, &commitment), 100),
    );
}

fn carries(kit: &mut Kit<'_>) {
    let base = kit.base;
    let path = carry_path(base.prod.scope, &base.prod.current());
    let expect = "scope prod damaged";
    kit.add(
        "carry-missing",
        "The keys of earlier epochs are missing.",
        "scope prod missing",
        |files| drop(files.remove(&path)),
    );
    for (name, at) in [("header", 5), ("nonce", 10), ("key", 50), ("tag", 87)] {
        let about = format!("One bit of the keys of earlier epochs is another one: {name}.");
        kit.add(&format!("carry-flipped-{name}"), &about, expect, |files| flip(files, &path, at));
    }
    kit.add(
        "carry-cut",
        "The last byte of the keys of earlier epochs is missing.",
        expect,
        |files| cut(files, &path, 87),
    );
    kit.add("carry-other-scope", "The other scope's keys of earlier epochs.", expect, |files| {
        let other = files[&carry_path(base.dev.scope, &base.dev.current())].clone();
        files.insert(path.clone(), other);
    });
    let plain = opened(&base.prod, "carry", &base.files[&path], 8);
    for (name, about, expect, plain) in [
        (
            "unsigned",
            "a key that no statement names",
            "scope prod wrong-scope-key",
            [&plain[..], &[0, 0, 0, 0, 0, 0, 0, 1], &[9; 32]].concat(),
        ),
        (
            "epoch",
            "the first key under another epoch",
            "scope prod wrong-scope-key",
            [&7_u64.to_be_bytes()[..], &plain[8..]].concat(),
        ),
        ("half", "half a key behind them", expect, [&plain[..], &[0; 20]].concat()),
        ("none", "none at all", "secret prod/OLD damaged", Vec::new()),
    ] {
        let about = format!("Sealed by somebody who has the scope's key: the keys of earlier epochs with {about}.");
        kit.add(&format!("carry-{name}"), &about, expect, |files| {
            files.insert(path.clone(), sealed(&base.prod, "carry", b"TL1carr\n", &plain));
        });
    }
}
