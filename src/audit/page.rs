//! `docs/verify.md` is run as it stands: the commands that we tell people to use have to work, and to find what we say they find.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Stdio};

use super::event::{Event, Signed};
use super::log::Durability;
use super::receipt::{HOW_TO_VERIFY as PAGE, Receipt};
use super::testing::{Folder, GOOD, TestClock, asked, assertion, lease, one_lease, open, signed_with, twin};
use crate::encoding::sshsig::{Assertion, FLAG_UV, Namespace};

/// The page's commands, in one script.
fn script() -> String {
    let blocks: Vec<_> = PAGE
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 5);
    blocks.concat()
}

/// What the page prints in a folder with a log, and with the receipt of the last of three leases in it.
fn run(make: impl Fn(&str) -> Assertion, spoil: impl Fn(&Folder)) -> String {
    let folder = Folder::new();
    let mut log = open(&folder, &TestClock::new());
    one_lease(&mut log, "1");
    one_lease(&mut log, "2");
    let text = lease(&log.append(asked("why \"not\""), Durability::Grouped).unwrap(), "3");
    let signed: Signed = signed_with(&make(&text), Namespace::Lease, &text);
    log.append(Event::Approved(signed.clone()), Durability::Synced).unwrap();
    one_lease(&mut log, "4");
    Receipt::of(&signed).unwrap().export(&folder.0).unwrap();
    spoil(&folder);
    let output = Command::new("sh")
        .args(["-u", "-c", &script()])
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

fn good(text: &str) -> Assertion {
    assertion(Namespace::Lease, text, GOOD)
}

fn has_all(printed: &str, lines: &[&str]) {
    for line in lines {
        assert!(printed.lines().any(|l| l == *line), "{line:?} is not in:\n{printed}");
    }
}

#[test]
fn the_page_finds_a_good_receipt_good() {
    let printed = run(good, |_| {});
    assert!(
        printed.starts_with("Good \"touchlease-lease\" signature for blue with "),
        "{printed}"
    );
    has_all(
        &printed,
        &[
            "flags: 0x85",
            "touch: yes",
            "PIN: yes",
            "lines read: 18",
            "asked: line 12",
            "approved: the same",
        ],
    );
    let expected = PAGE.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(printed.contains(expected), "{printed}");
}

#[test]
fn t02_the_page_finds_the_missing_touch_that_ssh_keygen_calls_good() {
    let printed = run(|text| assertion(Namespace::Lease, text, FLAG_UV), |_| {});
    assert!(printed.starts_with("Good "), "{printed}");
    has_all(&printed, &["flags: 0x04", "touch: NO, not a receipt"]);
    let printed = run(|text| assertion(Namespace::Lease, text, 1), |_| {});
    has_all(&printed, &["flags: 0x01", "touch: yes", "PIN: no"]);
}

#[test]
fn the_twin_of_a_signature_is_the_same_receipt_to_the_page() {
    let printed = run(|text| twin(good(text)), |_| {});
    assert!(printed.starts_with("Good "), "{printed}");
    has_all(&printed, &["touch: yes", "client data: exact"]);
}

#[test]
fn the_page_finds_a_changed_lease() {
    let printed = run(good, |folder| {
        let path = folder.0.join("lease.json");
        let text = fs::read_to_string(&path).unwrap().replace("deploy", "destroy");
        fs::write(path, text).unwrap();
    });
    assert!(!printed.contains("Good "), "{printed}");
    has_all(&printed, &["client data: NOT OURS", "approved: NOT THE SAME"]);
}

#[test]
fn t54_the_page_finds_a_changed_log() {
    let printed = run(good, |folder| {
        let text = fs::read_to_string(folder.log())
            .unwrap()
            .replacen("/usr/bin/make", "/usr/bin/fake", 1);
        fs::write(folder.log(), text).unwrap();
    });
    has_all(&printed, &["line 3: DOES NOT FOLLOW", "asked: NOT in this log"]);
}
