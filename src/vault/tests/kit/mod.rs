//! A kit of vaults for whoever writes a reader of `docs/format.md`, in the manner of C2SP's CCTV for age: a base, many vaults that
//! differ from it in one thing, and for each what a reader has to say. It lies in `hw-tests/vectors/vaults`, whose README explains it.
//!
//! `TOUCHLEASE_WRITE_VECTORS=1 cargo test --lib kit` writes it anew.
#![allow(clippy::print_stdout, reason = "counts are printed")]

mod bad;
mod base;
mod contents;
mod folder;
mod good;
mod judge;
mod patch;
mod piv;
mod signatures;
mod signers;
mod statements;
mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use data_encoding::{BASE64, HEXLOWER};

use crate::device::candidate::Unseal;
use crate::device::enrolled::Profile;
use crate::device::soft::SoftKey;
use crate::encoding::sshsig::Namespace;
use crate::vault::statement::SlotEntry;

use bad::{Bad, Kit};
use base::Base;
use judge::{Door, Wanted, judge};
use patch::{Files, apply, field, lines};

/// As many as were promised; `hw-tests/vectors/vaults` holds more.
const PROMISED: usize = 150;

fn kit_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("hw-tests/vectors/vaults")
}

fn bad_vaults(base: &Base) -> Vec<Bad> {
    let mut kit = Kit { base, all: Vec::new() };
    folder::add(&mut kit);
    statements::add(&mut kit);
    signatures::add(&mut kit);
    contents::add(&mut kit);
    good::add(&mut kit);
    piv::add(&mut kit);
    signers::add(&mut kit);
    kit.all
}

fn base_text(base: &Base) -> String {
    let mut text = format!("touchlease vault kit 1\nrecovery: {}\n", base.code);
    for scope in &base.end().1.scopes {
        if let Some(SlotEntry::Fido2 { salt, .. }) = scope.slot_of(base.blue.enrolled().id()) {
            let proof = base.blue.touch(Namespace::Lease, b"", &[Unseal::Salt(salt.0)]);
            text += &format!("output: {salt} {}\n", HEXLOWER.encode(proof.outputs()[0].expose()));
        }
    }
    for (secret, value) in &base.secrets {
        text += &format!("secret: {secret} {}\n", BASE64.encode(value));
    }
    text + "\n" + &lines(&Files::new(), &base.files)
}

fn bad_text(base: &Base, bad: &Bad) -> String {
    let door = if bad.door == Door::Key { "key" } else { "recovery" };
    let mut header = format!(
        "touchlease vault kit 1\nabout: {}\nexpect: {}\ndoor: {door}\n",
        bad.about, bad.expect
    );
    for (secret, value) in &bad.secrets {
        header += &format!("secret: {secret} {}\n", BASE64.encode(value));
    }
    header + "\n" + &lines(&base.files, &bad.files)
}

/// The kit as it lies in the folder: names and texts.
fn published() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(kit_folder()).unwrap().map(|file| file.unwrap().path());
    let texts = files.filter(|path| path.extension().is_some_and(|kind| kind == "txt"));
    texts
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}

#[test]
fn t53_the_kit_of_bad_vaults_is_what_its_makers_make_byte_for_byte() {
    let base = base::make();
    let mut made: BTreeMap<String, String> = bad_vaults(&base)
        .iter()
        .map(|bad| (bad.name.clone(), bad_text(&base, bad)))
        .collect();
    made.insert("base-vault".into(), base_text(&base));
    if std::env::var_os("TOUCHLEASE_WRITE_VECTORS").is_some() {
        for name in published().keys().filter(|name| !made.contains_key(*name)) {
            std::fs::remove_file(kit_folder().join(format!("{name}.txt"))).unwrap();
        }
        for (name, text) in &made {
            std::fs::write(kit_folder().join(format!("{name}.txt")), text).unwrap();
        }
    }
    let published = published();
    assert!(
        made.keys().eq(published.keys()),
        "TOUCHLEASE_WRITE_VECTORS=1 cargo test --lib kit writes it anew"
    );
    for (name, text) in &made {
        assert!(
            *text == published[name],
            "{name} is another one; TOUCHLEASE_WRITE_VECTORS=1 cargo test --lib kit writes it anew"
        );
    }
}

#[test]
fn t53_a_sample_of_the_kit_of_bad_vaults_is_refused_as_it_says() {
    judge_every(9);
}

#[test]
#[ignore = "long"]
fn t53_every_bad_vault_of_the_kit_is_refused_as_it_says() {
    judge_every(1);
}

/// What is to be read, as a header says it.
fn secrets(text: &str) -> BTreeMap<String, Vec<u8>> {
    let lines = field(text, "secret").into_iter().map(|line| line.split_once(' ').unwrap());
    lines
        .map(|(name, value)| (name.to_owned(), BASE64.decode(value.as_bytes()).unwrap()))
        .collect()
}

/// Runs one in `step` of the vaults in the folder through the reader.
fn judge_every(step: usize) {
    let mut published = published();
    let base_text = published.remove("base-vault").unwrap();
    let mut base = Files::new();
    apply(&mut base, base_text.split_once("\n\n").unwrap().1);
    let key = SoftKey::new("blue", Profile::Pin, 1);
    let expected: Vec<&str> = published.values().map(|text| field(text, "expect")[0]).collect();
    let bad: Vec<&&str> = expected.iter().filter(|expect| **expect != "fine").collect();
    let reasons: BTreeSet<&str> = bad.iter().filter_map(|expect| expect.rsplit(' ').next()).collect();
    assert!(
        bad.len() >= PROMISED && expected.len() - bad.len() >= 10 && reasons.len() >= 17,
        "{reasons:?}"
    );
    let mut judged = 0;
    let mut wrong = Vec::new();
    for (name, text) in published.iter().step_by(step) {
        let mut files = base.clone();
        apply(&mut files, text.split_once("\n\n").unwrap().1);
        let door = if field(text, "door")[0] == "key" {
            Door::Key
        } else {
            Door::Recovery
        };
        let wanted = Wanted {
            code: field(&base_text, "recovery")[0],
            key: &key,
            secrets: &secrets(&base_text).into_iter().chain(secrets(text)).collect(),
        };
        let (expect, found) = (field(text, "expect")[0], judge(&files, door, &wanted));
        judged += 1;
        if found != expect {
            wrong.push(format!("{name}: {found} instead of {expect}"));
        }
    }
    println!(
        "T53: {judged} of {} vaults of the kit judged as they say; {} are bad, for {} reasons",
        expected.len(),
        bad.len(),
        reasons.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
