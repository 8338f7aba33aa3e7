//! Keys that come and go.

use crate::device::candidate::Unseal;
use crate::device::enrolled::Profile;
use crate::device::proof::Proof;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::encoding::sshsig::ecdsa;
use crate::vault::error::RosterFault;
use crate::vault::roster::{signature_path, statement_path};
use crate::vault::statement::SlotEntry;
use crate::vault::{Addition, Plan, RecoveryCode, Removal, Statement, Vault, VaultError, random};

use super::rig::{NOW, Rig, apply, get, put};

pub fn commit(plan: Plan, vault: &Vault, signer: &SoftKey) -> Result<Digest, VaultError> {
    let proofs: Vec<Proof> = (0..plan.touches())
        .map(|touch| {
            let candidates = plan.candidates(vault, touch).unwrap();
            let candidate = candidates
                .into_iter()
                .find(|c| c.key.id() == signer.enrolled().id())
                .expect("a candidate");
            signer.touch(Namespace::Vault, plan.text(), &candidate.unseals)
        })
        .collect();
    plan.commit(vault, &proofs.iter().collect::<Vec<_>>(), &mut random::system())?
        .sure()
}

pub fn plan_addition(vault: &Vault, key: &SoftKey, scopes: &[&str]) -> Result<Plan, VaultError> {
    let random = &mut random::system();
    let addition = Addition::begin(vault, key.enrolled(), scopes, NOW, random)?;
    let touches = addition.enrolments()?;
    let proofs: Vec<Proof> = touches.iter().map(|e| key.touch(Namespace::Enrol, e.text(), e.unseals())).collect();
    addition.seal(vault, &proofs.iter().collect::<Vec<_>>(), random)
}

pub fn add(rig: &Rig, key: &SoftKey, scopes: &[&str]) -> Result<Digest, VaultError> {
    add_to(&rig.vault(), &rig.blue, key, scopes)
}

pub fn add_to(vault: &Vault, signer: &SoftKey, key: &SoftKey, scopes: &[&str]) -> Result<Digest, VaultError> {
    commit(plan_addition(vault, key, scopes)?, vault, signer)
}

pub fn remove_from(vault: &Vault, name: &str, signer: &SoftKey) -> Result<Digest, VaultError> {
    commit(removal(vault, name, signer)?.into_plan(), vault, signer)
}

fn removal(vault: &Vault, name: &str, signer: &SoftKey) -> Result<Removal, VaultError> {
    Removal::begin(vault, name, &[signer.enrolled().id()], NOW, &mut random::system())
}

fn remove(rig: &Rig, name: &str, signer: &SoftKey) -> Result<Digest, VaultError> {
    remove_from(&rig.vault(), name, signer)
}

fn spare() -> SoftKey {
    SoftKey::new("spare", Profile::TouchOnly, 2)
}

#[test]
fn a_key_that_was_added_by_one_touch_of_another_opens_what_was_there() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    rig.put("dev", "B", b"2").unwrap();
    add(&rig, &spare(), &["prod"]).unwrap();
    let vault = rig.vault();
    assert_eq!(get(&vault, &spare(), "prod", "A").unwrap(), b"1");
    assert_eq!(get(&vault, &rig.blue, "dev", "B").unwrap(), b"2");
    assert_eq!(vault.keys_not_in("dev").unwrap(), ["spare"]);
    assert!(vault.keys_not_in("prod").unwrap().is_empty());
    apply(&vault, &spare(), "prod", put("A", b"3")).unwrap();
    assert_eq!(rig.get("prod", "A").unwrap(), b"3");
    assert!(vault.unsigned_slots().unwrap().is_empty());
}

#[test]
fn five_scopes_need_three_touches_of_each_key() {
    let scopes = ["a", "b", "c", "d", "e"];
    let rig = Rig::with(Profile::Pin, &scopes);
    let vault = rig.vault();
    let addition = Addition::begin(&vault, spare().enrolled(), &scopes, NOW, &mut random::system()).unwrap();
    assert_eq!(addition.enrolments().unwrap().len(), 3);
    let plan = plan_addition(&vault, &spare(), &scopes).unwrap();
    assert_eq!(plan.touches(), 3);
    commit(plan, &vault, &rig.blue).unwrap();
    let vault = rig.vault();
    for scope in scopes {
        apply(&vault, &spare(), scope, put("X", scope.as_bytes())).unwrap();
        assert_eq!(rig.get(scope, "X").unwrap(), scope.as_bytes());
    }
}

#[test]
fn a_removed_key_opens_nothing_new_and_absent_keys_survive() {
    let rig = Rig::new();
    let absent = SoftKey::new("absent", Profile::Pin, 3);
    add(&rig, &spare(), &["prod"]).unwrap();
    add(&rig, &absent, &["prod", "dev"]).unwrap();
    rig.put("prod", "A", b"old").unwrap();
    let with_spare = rig.files();
    let removal = removal(&rig.vault(), "spare", &rig.blue).unwrap();
    assert_eq!(removal.exposed().iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["A"]);
    remove(&rig, "spare", &rig.blue).unwrap();
    let vault = rig.vault();
    assert_eq!(vault.keys().len(), 2);
    assert!(
        vault
            .candidates(&vault.standing(&["prod"]).unwrap())
            .unwrap()
            .iter()
            .all(|c| c.key != spare().enrolled())
    );
    // What was sealed under the key before stays readable, by the key that was not there as well, and by the recovery code.
    assert_eq!(get(&vault, &absent, "prod", "A").unwrap(), b"old");
    assert_eq!(vault.unseal_with_recovery(&rig.code, "prod", "A").unwrap().expose(), b"old");
    apply(&vault, &absent, "prod", put("B", b"new")).unwrap();
    assert_eq!(rig.get("prod", "B").unwrap(), b"new");
    // A second re-key carries the keys of both epochs before it.
    remove(&rig, "absent", &rig.blue).unwrap();
    assert_eq!(rig.get("prod", "A").unwrap(), b"old");
    assert_eq!(rig.get("prod", "B").unwrap(), b"new");
    assert_eq!(rig.vault().roster.in_force().scope("prod").unwrap().epoch, 3);
    // The removed key's files are gone from the folder.
    let gone = with_spare
        .keys()
        .filter(|path| path.starts_with("slots") && !rig.files().contains_key(*path));
    assert!(gone.count() >= 4);
}

#[test]
fn a_head_made_with_the_key_of_an_earlier_epoch_is_not_taken() {
    let rig = Rig::new();
    add(&rig, &spare(), &["prod"]).unwrap();
    rig.put("prod", "A", b"1").unwrap();
    let stolen = rig.files();
    remove(&rig, "spare", &rig.blue).unwrap();
    // Who holds the old key makes a head in an old copy and puts it, with its record, into the folder.
    let copy = Rig {
        home: crate::vault::testing::Folder::new(),
        blue: SoftKey::new("blue", Profile::Pin, 1),
        code: random_code(),
    };
    std::fs::create_dir_all(copy.folder()).unwrap();
    copy.restore(&stolen);
    apply(&copy.vault(), &spare(), "prod", put("A", b"forged")).unwrap();
    for (path, bytes) in copy.files() {
        if !rig.folder().join(&path).exists() {
            std::fs::create_dir_all(rig.folder().join(&path).parent().unwrap()).unwrap();
            std::fs::write(rig.folder().join(&path), bytes).unwrap();
        }
    }
    let opened = rig.get("prod", "A");
    assert!(!matches!(&opened, Ok(value) if value == b"forged"), "{opened:?}");
}

fn random_code() -> crate::vault::RecoveryCode {
    crate::vault::RecoveryCode::generate(&mut random::system())
}

#[test]
fn the_last_key_and_unknown_keys_cannot_be_removed_and_a_key_is_added_once() {
    let rig = Rig::new();
    let random = &mut random::system();
    let vault = rig.vault();
    assert!(matches!(removal(&vault, "blue", &rig.blue), Err(VaultError::LastKey(_))));
    assert!(matches!(removal(&vault, "green", &rig.blue), Err(VaultError::NoKey(_))));
    let again = Addition::begin(&vault, rig.blue.enrolled(), &["prod"], NOW, random);
    assert!(matches!(again, Err(VaultError::Twice(_))));
    let nowhere = Addition::begin(&vault, spare().enrolled(), &[], NOW, random);
    assert!(matches!(nowhere, Err(VaultError::Nothing)));
}

#[test]
fn a_statement_is_not_signed_by_the_key_that_it_removes_or_by_a_proof_over_another() {
    let rig = Rig::new();
    add(&rig, &spare(), &["prod"]).unwrap();
    let vault = rig.vault();
    let plan = || removal(&vault, "spare", &rig.blue).unwrap().into_plan();
    let refused = |plan: Plan, key: &SoftKey, text: &[u8], unseals: &[Unseal]| {
        let proof = key.touch(Namespace::Vault, text, unseals);
        let refused = plan.commit(&vault, &[&proof], &mut random::system());
        assert!(matches!(refused, Err(VaultError::WrongProof(_))), "{refused:?}");
    };
    let removed = plan();
    let candidates = removed.candidates(&vault, 0).unwrap();
    assert!(candidates.iter().all(|c| c.key.name == "blue"));
    let of_spare = vault.candidates(&vault.standing(&["prod"]).unwrap()).unwrap();
    let of_spare = of_spare.iter().find(|c| c.key.name == "spare").unwrap().unseals[0].clone();
    let text = removed.text().to_vec();
    refused(removed, &spare(), &text, &[of_spare, candidates[0].unseals[1].clone()]);
    let another = plan();
    let salts = another.candidates(&vault, 0).unwrap()[0].unseals.clone();
    refused(another, &rig.blue, b"another", &salts);
    let short = plan();
    let (text, salts) = (short.text().to_vec(), short.candidates(&vault, 0).unwrap()[0].unseals.clone());
    refused(short, &rig.blue, &text, &salts[..1]);
}

#[test]
fn two_statements_after_the_same_one_are_a_fork_that_names_both_ends() {
    let rig = Rig::new();
    let before = rig.files();
    let one = add(&rig, &spare(), &["prod"]).unwrap();
    let after = rig.files();
    rig.restore(&before);
    let other_machine = Vault::open(&rig.folder(), &rig.home.join("other")).unwrap();
    let plan = plan_addition(&other_machine, &SoftKey::new("third", Profile::Pin, 3), &["prod"]).unwrap();
    let two = commit(plan, &other_machine, &rig.blue).unwrap();
    for (path, bytes) in &after {
        std::fs::write(rig.folder().join(path), bytes).unwrap();
    }
    match rig.try_open() {
        Err(VaultError::Fork { sides }) => {
            let ends: Vec<_> = sides.iter().map(|side| side.end).collect();
            assert_eq!(ends.len(), 2);
            assert!(ends.contains(&one) && ends.contains(&two));
        }
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_statement_whose_predecessor_is_missing_is_refused() {
    let rig = Rig::new();
    let first = rig.vault().roster_digest();
    add(&rig, &spare(), &["prod"]).unwrap();
    std::fs::remove_file(rig.folder().join(format!("roster/{first}.json"))).unwrap();
    assert!(matches!(rig.try_open(), Err(VaultError::Roster { .. })));
}

fn write_statement(rig: &Rig, statement: &Statement, signature: impl Fn(&[u8]) -> String) -> Digest {
    let bytes = statement.to_bytes().unwrap();
    let digest = Digest::of(&bytes);
    std::fs::write(rig.folder().join(statement_path(&digest)), &bytes).unwrap();
    std::fs::write(rig.folder().join(signature_path(&digest)), signature(&bytes)).unwrap();
    digest
}

fn signed_by(key: &SoftKey) -> impl Fn(&[u8]) -> String {
    |bytes| key.touch(Namespace::Vault, bytes, &[]).sshsig(bytes).unwrap()
}

fn follow(before: &Statement, previous: Vec<Digest>, change: impl Fn(&mut Statement)) -> Statement {
    let mut next = before.clone();
    next.random = None;
    next.previous = previous;
    next.previous.sort_unstable();
    change(&mut next);
    next
}

#[test]
fn a_statement_joins_a_fork_when_every_side_names_its_signer() {
    let rig = Rig::new();
    add(&rig, &spare(), &["prod"]).unwrap();
    let (before, base) = (rig.vault().roster.in_force().clone(), rig.vault().roster_digest());
    let one = follow(&before, vec![base], |s| s.name = "one".into());
    // The other side takes the spare key out.
    let two = follow(&before, vec![base], |s| {
        s.keys.retain(|entry| entry.name != "spare");
        let gone = spare().enrolled().id().0;
        for scope in &mut s.scopes {
            scope
                .slots
                .retain(|slot| !matches!(slot, SlotEntry::Fido2 { key, .. } if *key == gone));
        }
    });
    let ends = vec![
        write_statement(&rig, &one, signed_by(&rig.blue)),
        write_statement(&rig, &two, signed_by(&rig.blue)),
    ];
    assert!(matches!(rig.try_open(), Err(VaultError::Fork { .. })));
    let joined = follow(&two, ends, |s| s.name = "joined".into());
    let digest = write_statement(&rig, &joined, signed_by(&spare()));
    assert!(matches!(rig.try_open(), Err(VaultError::Roster { statement, why: RosterFault::Signer, .. }) if statement == digest));
    write_statement(&rig, &joined, signed_by(&rig.blue));
    assert_eq!((rig.vault().name(), rig.vault().roster_digest()), ("joined", digest));
}

#[test]
fn the_recovery_key_signs_a_statement_and_another_code_does_not() {
    let rig = Rig::new();
    let vault = rig.vault();
    let next = follow(vault.roster.in_force(), vec![vault.roster_digest()], |s| {
        s.name = "recovered".into()
    });
    let signed_with = |code: &RecoveryCode| {
        let (private, public) = code.key_pair(&vault.id());
        move |bytes: &[u8]| ecdsa::sign(private.scalar(), &public, Namespace::Vault, bytes).unwrap()
    };
    let digest = write_statement(&rig, &next, signed_with(&random_code()));
    assert!(matches!(
        rig.try_open(),
        Err(VaultError::Roster {
            why: RosterFault::Signer,
            ..
        })
    ));
    let good = signed_with(&rig.code);
    write_statement(&rig, &next, |_| good(b"another statement"));
    assert!(matches!(
        rig.try_open(),
        Err(VaultError::Roster {
            why: RosterFault::Signature,
            ..
        })
    ));
    write_statement(&rig, &next, good);
    assert_eq!((rig.vault().name(), rig.vault().roster_digest()), ("recovered", digest));
}
