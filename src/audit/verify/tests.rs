#![allow(clippy::unwrap_used, clippy::print_stdout)]
use std::fs;

use super::*;
use crate::audit::event::{Change, OfAsked};
use crate::audit::log::{Durability, Log};
use crate::audit::record::LineError;
use crate::audit::report::{Assurance, Fault};
use crate::audit::testing::*;
use crate::encoding::sshsig::{FLAG_UP, FLAG_UV};

fn setup() -> (Folder, Log) {
    let folder = Folder::new();
    let log = open(&folder, &TestClock::new());
    (folder, log)
}

fn check(bytes: &[u8], since: Option<&Receipt>) -> Report {
    verify(bytes, &keys, since).unwrap()
}

/// The faults of a log to which `write` adds what it likes.
fn faults_of(write: impl FnOnce(&mut Log)) -> Vec<Fault> {
    let (folder, mut log) = setup();
    write(&mut log);
    check(&fs::read(folder.log()).unwrap(), None).faults
}

fn add(log: &mut Log, event: Event) -> Digest {
    log.append(event, Durability::Grouped).unwrap()
}

fn approve_with(flags: u8) -> Vec<Fault> {
    faults_of(|log| {
        let text = lease(&add(log, asked("x")), "1");
        let signed = signed_with(&assertion(Namespace::Lease, &text, flags), Namespace::Lease, &text);
        add(log, Event::Approved(signed));
    })
}

fn receipt(text: &str) -> Receipt {
    let Event::Approved(signed) = approved(text) else { panic!() };
    Receipt::of(&signed).unwrap()
}

fn split(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|b| *b == b'\n').collect()
}

/// Makes the chain hold again, as somebody would who can write the file.
fn chain_again(lines: &[Line]) -> Vec<u8> {
    let (mut prev, mut all) = (NO_LINE, Vec::new());
    for (n, line) in lines.iter().enumerate() {
        let line = Line {
            prev,
            seq: n as u64 + 1,
            ..line.clone()
        };
        let bytes = line.to_bytes().unwrap();
        prev = Digest::of(&bytes);
        all.extend(bytes);
    }
    all
}

#[test]
fn a_log_of_two_leases_is_good_and_says_what_its_end_is_worth() {
    let (folder, mut log) = setup();
    let first = one_lease(&mut log, "1");
    one_lease(&mut log, "2");
    add(
        &mut log,
        Event::Change(Change {
            names: Vec::new(),
            signed: signed("{}"),
        }),
    );
    let bytes = fs::read(folder.log()).unwrap();
    let report = check(&bytes, None);
    assert!(report.is_good(), "{:?}", report.faults);
    assert_eq!((report.lines, report.receipts, report.changes), (12, 2, 1));
    assert_eq!((report.vault, report.tip), (Some(VAULT), Some(log.tip().1)));
    let newest = Newest {
        lease: "2".into(),
        asked: 7,
        approved: 9,
    };
    assert_eq!(report.assurance(), Assurance::FileOnly { newest });
    assert!(report.assurance().to_string().contains("cannot tell"));
    assert_eq!(check(&bytes, Some(&receipt(&first))).assurance(), Assurance::Held { line: 2 });
    assert_eq!(check(split(&bytes)[0], None).assurance(), Assurance::Nothing);
}

#[test]
fn t02_receipts_without_touch_or_pin_are_refused() {
    assert!(approve_with(FLAG_UP | FLAG_UV).is_empty());
    for (flags, error) in [
        (0, SshsigError::NotTouched),
        (FLAG_UV, SshsigError::NotTouched),
        (FLAG_UP, SshsigError::NotVerified),
    ] {
        let faults = approve_with(flags);
        assert!(
            matches!(&faults[..], [Fault { line: 3, wrong: Wrong::Signature(e) }] if *e == error),
            "{faults:?}"
        );
    }
}

#[test]
fn t02_foreign_keys_signatures_and_namespaces_are_refused() {
    let signed_by = |change: fn(&mut Signed)| {
        let faults = faults_of(|log| {
            let text = lease(&add(log, asked("x")), "1");
            let Event::Approved(mut signed) = approved(&text) else { panic!() };
            change(&mut signed);
            add(log, Event::Approved(signed));
        });
        assert_eq!(faults.len(), 1);
        faults.into_iter().next().unwrap().wrong
    };
    assert!(matches!(signed_by(|s| s.key = Digest([1; 32])), Wrong::UnknownKey(_)));
    assert!(matches!(signed_by(|s| s.profile = Profile::TouchOnly), Wrong::Profile));
    let other_text = |s: &mut Signed| s.text = s.text.replace("deploy", "destroy");
    assert!(matches!(signed_by(other_text), Wrong::Signature(SshsigError::Text)));
    let other_space = |s: &mut Signed| *s = signed(&s.text);
    assert!(matches!(signed_by(other_space), Wrong::Signature(SshsigError::Namespace)));
    assert!(matches!(signed_by(|s| s.text.push(' ')), Wrong::Lease(_)));
    assert!(matches!(signed_by(|s| s.text = "{}".into()), Wrong::Lease(_)));
}

#[test]
fn a_lease_that_a_piv_key_opened_counts_as_attested_and_vouches_for_nothing() {
    let (folder, mut log) = setup();
    let asked = add(&mut log, asked("x"));
    let attested = Signed {
        kind: Kind::Attested,
        profile: Profile::Piv,
        sshsig: None,
        ..signed(&lease(&asked, "1"))
    };
    add(&mut log, Event::Approved(attested.clone()));
    add(&mut log, used("1"));
    let bytes = fs::read(folder.log()).unwrap();
    let of_piv = |id: &Digest| {
        keys(id).map(|key| SignerKey {
            profile: Profile::Piv,
            ..key
        })
    };
    let report = verify(&bytes[..], &of_piv, None).unwrap();
    assert!(report.is_good(), "{:?}", report.faults);
    assert_eq!((report.receipts, report.attested, report.assurance()), (0, 1, Assurance::Nothing));
    assert!(matches!(Receipt::of(&attested), Err(crate::audit::ReceiptError::Attested)));
    // A key that signs does not get away with the daemon's word, and neither does a change.
    let faults = check(&bytes, None).faults;
    assert!(matches!(faults[0].wrong, Wrong::Profile), "{faults:?}");
    let claimed = Signed {
        profile: Profile::Pin,
        ..attested.clone()
    };
    let faults = faults_of(|log| {
        let text = lease(&add(log, crate::audit::testing::asked("x")), "1");
        add(log, Event::Approved(Signed { text, ..claimed }));
    });
    assert!(matches!(faults[0].wrong, Wrong::Evidence), "{faults:?}");
    let change = Change {
        names: Vec::new(),
        signed: Signed {
            text: "{}".into(),
            ..attested
        },
    };
    add(&mut log, Event::Change(change));
    let report = verify(&fs::read(folder.log()).unwrap()[..], &of_piv, None).unwrap();
    assert!(matches!(report.faults[0].wrong, Wrong::Evidence), "{:?}", report.faults);
}

#[test]
fn a_piv_keys_receipt_is_an_ordinary_signature_which_stands_for_its_policy() {
    let of_piv = |id: &Digest| {
        keys(id).map(|key| SignerKey {
            profile: Profile::Piv,
            ..key
        })
    };
    let judged = |kind: Kind, sshsig: &dyn Fn(&str) -> String| {
        let (folder, mut log) = setup();
        let text = lease(&add(&mut log, asked("x")), "1");
        let signed = Signed {
            kind,
            profile: Profile::Piv,
            sshsig: Some(sshsig(&text)),
            ..signed(&text)
        };
        add(&mut log, Event::Approved(signed.clone()));
        let report = verify(&fs::read(folder.log()).unwrap()[..], &of_piv, None).unwrap();
        (report, signed)
    };
    let good = |text: &str| ecdsa::sign(&[7; 32], &point(), Namespace::Lease, text.as_bytes()).unwrap();
    let (report, signed) = judged(Kind::Policy, &good);
    assert!(report.is_good() && report.receipts == 1, "{:?}", report.faults);
    let receipt = Receipt::of(&signed).unwrap();
    receipt.check(&of_piv(&key_id()).unwrap()).unwrap();
    assert!(receipt.allowed_signers().contains(" ecdsa-sha2-nistp256 "));
    let wrong = |kind, sshsig: &dyn Fn(&str) -> String| judged(kind, sshsig).0.faults.remove(0).wrong;
    assert!(matches!(wrong(Kind::Touch, &good), Wrong::Evidence));
    let other = |text: &str| ecdsa::sign(&[8; 32], &point(), Namespace::Lease, text.as_bytes()).unwrap();
    assert!(matches!(wrong(Kind::Policy, &other), Wrong::Signature(SshsigError::Signature)));
    let change = |text: &str| ecdsa::sign(&[7; 32], &point(), Namespace::Change, text.as_bytes()).unwrap();
    assert!(matches!(wrong(Kind::Policy, &change), Wrong::Signature(SshsigError::Signature)));
    let fido2 = |text: &str| assertion(Namespace::Lease, text, GOOD).to_sshsig(&point(), Namespace::Lease, text.as_bytes());
    assert!(matches!(wrong(Kind::Policy, &fido2), Wrong::Signature(SshsigError::Form)));
}

#[test]
fn t11_a_receipt_counts_once_and_neither_does_its_twin() {
    let again = |signed: fn(&str) -> Signed| {
        faults_of(|log| {
            let text = one_lease(log, "1");
            add(log, Event::Approved(signed(&text)));
        })
    };
    let same = |text: &str| signed_with(&assertion(Namespace::Lease, text, GOOD), Namespace::Lease, text);
    let other = |text: &str| signed_with(&twin(assertion(Namespace::Lease, text, GOOD)), Namespace::Lease, text);
    for faults in [again(same), again(other)] {
        assert!(
            matches!(
                &faults[..],
                [Fault {
                    line: 7,
                    wrong: Wrong::NotAsked
                }]
            ),
            "{faults:?}"
        );
    }
    // The twin by itself verifies: that is why no receipt is known by its signature.
    let text = "{}";
    let assertion = twin(assertion(Namespace::Lease, text, GOOD));
    assert_eq!(assertion.verify(&point(), Namespace::Lease, text.as_bytes(), true), Ok(()));
}

#[test]
fn t11_an_id_and_a_changes_text_count_once() {
    let faults = faults_of(|log| {
        one_lease(log, "1");
        one_lease(log, "1");
    });
    assert!(
        matches!(
            faults[0],
            Fault {
                line: 9,
                wrong: Wrong::Replay
            }
        ),
        "{faults:?}"
    );
    let change = || {
        Event::Change(Change {
            names: Vec::new(),
            signed: signed("{}"),
        })
    };
    let faults = faults_of(|log| {
        add(log, change());
        add(log, change());
    });
    assert!(
        matches!(
            faults[..],
            [Fault {
                line: 3,
                wrong: Wrong::Replay
            }]
        ),
        "{faults:?}"
    );
}

#[test]
fn an_answer_needs_an_open_question() {
    let of = |asked| OfAsked { asked };
    for answer in [Event::Denied, Event::TimedOut, Event::Shown] {
        let faults = faults_of(|log| {
            let hash = add(log, asked("x"));
            add(log, Event::Denied(of(hash)));
            add(log, answer(of(hash)));
        });
        assert!(
            matches!(
                faults[..],
                [Fault {
                    line: 4,
                    wrong: Wrong::NotAsked
                }]
            ),
            "{faults:?}"
        );
    }
    let faults = faults_of(|log| {
        let (_, not_asked) = log.tip();
        add(log, approved(&lease(&not_asked, "1")));
    });
    assert!(
        matches!(
            faults[..],
            [Fault {
                line: 2,
                wrong: Wrong::NotAsked
            }]
        ),
        "{faults:?}"
    );
}

#[test]
fn t17_questions_and_leases_end_with_their_daemon() {
    let (folder, mut log) = setup();
    let hash = add(&mut log, asked("x"));
    let text = lease(&add(&mut log, asked("y")), "1");
    add(&mut log, approved(&text));
    add(&mut log, used("1"));
    drop(log);
    let mut log = open(&folder, &TestClock::new());
    add(&mut log, used("1"));
    add(&mut log, approved(&lease(&hash, "2")));
    let faults = check(&fs::read(folder.log()).unwrap(), None).faults;
    let wrong: Vec<_> = faults.iter().map(|f| (f.line, &f.wrong)).collect();
    assert!(matches!(wrong[..], [(7, Wrong::UnknownLease), (8, Wrong::NotAsked)]), "{faults:?}");
}

#[test]
fn a_lease_that_ended_is_not_used() {
    let faults = faults_of(|log| {
        one_lease(log, "1");
        add(log, used("1"));
        add(log, ended("1"));
    });
    let unknown = |f: &Fault| matches!(f.wrong, Wrong::UnknownLease);
    assert_eq!((faults.len(), faults.iter().all(unknown)), (2, true));
}

#[test]
fn what_was_done_again_is_told_of_a_lease_of_this_daemon_and_of_no_other() {
    let faults = faults_of(|log| {
        one_lease(log, "1");
        add(log, again("1", 20));
        add(log, again("2", 20));
    });
    assert!(
        matches!(
            faults[..],
            [Fault {
                line: 8,
                wrong: Wrong::UnknownLease
            }]
        ),
        "{faults:?}"
    );
    let (folder, mut log) = setup();
    one_lease(&mut log, "1");
    drop(log);
    add(&mut open(&folder, &TestClock::new()), again("1", 20));
    let faults = check(&fs::read(folder.log()).unwrap(), None).faults;
    assert!(
        matches!(
            faults[..],
            [Fault {
                line: 8,
                wrong: Wrong::UnknownLease
            }]
        ),
        "{faults:?}"
    );
}

#[test]
fn t54_history_written_anew_no_longer_fits_its_receipts() {
    let (folder, mut log) = setup();
    let held = receipt(&one_lease(&mut log, "1"));
    one_lease(&mut log, "2");
    let bytes = fs::read(folder.log()).unwrap();
    let mut lines: Vec<_> = split(&bytes).into_iter().map(|l| Line::from_bytes(l).unwrap()).collect();
    assert_eq!(chain_again(&lines), bytes);
    lines[1].event = std::borrow::Cow::Owned(asked("something else"));
    let report = check(&chain_again(&lines), None);
    assert!(
        report.faults.iter().any(|f| matches!(f.wrong, Wrong::NotAsked)),
        "{:?}",
        report.faults
    );
    // Without any receipt in it a log can be written at will; a receipt from elsewhere shows it.
    lines.truncate(2);
    let forged = chain_again(&lines);
    assert!(check(&forged, None).is_good());
    assert!(matches!(
        check(&forged, Some(&held)).faults[..],
        [Fault {
            line: 3,
            wrong: Wrong::SinceAsked
        }]
    ));
    let cut: Vec<u8> = split(&bytes)[..2].concat();
    assert!(matches!(
        check(&cut, Some(&held)).faults[..],
        [Fault {
            line: 3,
            wrong: Wrong::SinceApproved
        }]
    ));
}

/// 1,005 lines, the first three leases with 331 uses each, and the receipt of the last, which is held elsewhere.
fn long_log() -> (Vec<u8>, Receipt) {
    let (folder, mut log) = setup();
    for n in 0..3 {
        let text = lease(&add(&mut log, asked("x")), &n.to_string());
        add(&mut log, approved(&text));
        log.append_many(&vec![used(&n.to_string()); 331], Durability::Grouped).unwrap();
    }
    let held = receipt(&one_lease(&mut log, "last"));
    let bytes = fs::read(folder.log()).unwrap();
    assert_eq!(split(&bytes).len(), 1 + 3 * 333 + 5);
    (bytes, held)
}

#[test]
fn t54_every_kind_of_change_before_the_newest_receipt_is_found() {
    let (bytes, held) = long_log();
    let lines = split(&bytes);
    assert!(check(&bytes, Some(&held)).is_good());
    // Up to the `approved` line of the newest receipt; behind it nothing is promised.
    let (covered, approved) = (lines[..lines.len() - 4].concat().len(), lines[..lines.len() - 2].concat().len());
    let (mut of, mut missed) = (0, Vec::new());
    let mut found = |other: &[u8], what: &str| {
        of += 1;
        missed.extend(check(other, Some(&held)).is_good().then(|| what.to_owned()));
    };
    for at in (0..covered).step_by(covered / 60).chain([0, covered - 1]) {
        let mut other = bytes.clone();
        other[at] ^= 1 << (at % 8);
        found(&other, &format!("byte {at}"));
    }
    for len in (0..approved).step_by(approved / 40).chain([0, covered - 1, covered, approved - 1]) {
        found(&bytes[..len], &format!("length {len}"));
    }
    for n in (0..lines.len() - 4).step_by(lines.len() / 20) {
        let (before, rest) = (lines[..n].concat(), &lines[n..]);
        found(&[&before[..], &rest[1..].concat()].concat(), &format!("without line {n}"));
        found(&[&before[..], rest[0], &rest.concat()].concat(), &format!("line {n} twice"));
        let swapped = [&before[..], rest[1], rest[0], &rest[2..].concat()].concat();
        found(&swapped, &format!("line {n} behind the next"));
    }
    println!("T54: {} of {of} changes found", of - missed.len());
    assert!(missed.is_empty(), "{missed:?}");
}

impl Verifier<'_> {
    /// Another that has come as far, and found nothing wrong.
    fn again(&self) -> Self {
        assert!(self.report.is_good());
        let report = Report {
            faults: Vec::new(),
            newest: self.report.newest.clone(),
            ..self.report
        };
        Self {
            moment: self.moment.clone(),
            asked: self.asked.clone(),
            leases: self.leases.clone(),
            over: self.over.clone(),
            spent: self.spent.clone(),
            report,
            ..*self
        }
    }
}

/// Whether a verification that has come to the line before finds fault with what follows. What it found is never taken back.
fn goes_wrong(before: &Verifier<'_>, rest: &[u8]) -> bool {
    let (mut verifier, mut lines) = (before.again(), Lines::new(rest));
    while let Some(bytes) = lines.next_bytes().unwrap() {
        verifier.line(bytes);
        if !verifier.report.is_good() {
            return true;
        }
    }
    !verifier.finish().is_good()
}

#[test]
#[ignore = "long"]
fn t54_every_byte_every_line_and_every_length_of_1000_entries() {
    let (bytes, held) = long_log();
    let lines = split(&bytes);
    assert!(check(&bytes, Some(&held)).is_good());
    let (covered, approved) = (lines.len() - 4, lines.len() - 2);
    let mut flipped = bytes.clone();
    let (mut found, mut of) = ([0; 3], [0; 3]);
    let mut count = |kind: usize, is_found: bool| {
        of[kind] += 1;
        found[kind] += usize::from(is_found);
    };
    let (mut before, mut at) = (Verifier::new(&keys, Some(&held)), 0);
    for n in 0..approved {
        let (line, rest) = (lines[n], &bytes[at..]);
        for offset in 0..line.len() {
            if n < covered {
                flipped[at + offset] ^= 1 << (offset % 8);
                count(0, goes_wrong(&before, &flipped[at..]));
                flipped[at + offset] = bytes[at + offset];
            }
            count(2, goes_wrong(&before, &rest[..offset]));
        }
        if n < covered {
            let after = &rest[line.len()..];
            let next = &after[..lines[n + 1].len()];
            count(1, goes_wrong(&before, after));
            count(1, goes_wrong(&before, &[line, rest].concat()));
            count(1, goes_wrong(&before, &[next, line, &after[next.len()..]].concat()));
        }
        before.line(line);
        assert!(before.report.is_good());
        at += line.len();
    }
    for (kind, what) in ["bytes", "lines cut, doubled or moved", "lengths"].iter().enumerate() {
        println!("T54 {what}: {} of {} found", found[kind], of[kind]);
    }
    assert_eq!(found, of);
}

#[test]
fn one_changed_line_is_told_as_such() {
    let (folder, mut log) = setup();
    one_lease(&mut log, "1");
    let text = fs::read_to_string(folder.log()).unwrap();
    let faults = check(text.replacen("\"what\":\"make\"", "\"what\":\"fake\"", 1).as_bytes(), None).faults;
    assert!(
        matches!(
            faults[..],
            [Fault {
                line: 6,
                wrong: Wrong::Chain
            }]
        ),
        "{faults:?}"
    );
    let faults = check(&text.as_bytes()[..text.len() - 1], None).faults;
    assert!(
        matches!(
            faults[..],
            [Fault {
                line: 6,
                wrong: Wrong::Line(LineError::Torn)
            }]
        ),
        "{faults:?}"
    );
}

#[test]
fn a_number_that_does_not_follow_is_told_once() {
    let (folder, mut log) = setup();
    one_lease(&mut log, "1");
    let bytes = fs::read(folder.log()).unwrap();
    let [first, second, ..] = split(&bytes)[..] else { panic!() };
    let mut line = Line::from_bytes(second).unwrap();
    line.seq = 7;
    let other = [first, &line.to_bytes().unwrap()].concat();
    assert!(matches!(
        check(&other, None).faults[..],
        [Fault {
            line: 2,
            wrong: Wrong::Sequence
        }]
    ));
}

#[test]
fn t14_a_line_that_hides_a_wrong_clock_is_found() {
    let (folder, clock) = (Folder::new(), TestClock::new());
    let mut log = open(&folder, &clock);
    clock.wall.fetch_add(86_400_000, std::sync::atomic::Ordering::Relaxed);
    add(&mut log, asked("x"));
    let bytes = fs::read(folder.log()).unwrap();
    let report = check(&bytes, None);
    assert_eq!((report.is_good(), report.skewed), (true, 1));
    let hidden = String::from_utf8(bytes).unwrap().replace("\"skew\":86400000", "\"skew\":0");
    assert!(matches!(
        check(hidden.as_bytes(), None).faults[..],
        [Fault {
            line: 2,
            wrong: Wrong::Skew
        }]
    ));
}
