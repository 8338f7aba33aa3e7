//! Two machines that changed the roster apart from each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::device::enrolled::{KeyId, Profile};
use crate::device::proof::Proof;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::vault::bytes::Id;
use crate::vault::error::RosterFault;
use crate::vault::roster::{Chain, signature, signature_path, statement_path};
use crate::vault::store::Store;
use crate::vault::{Fork, Plan, Statement, Vault, VaultError, random};

use super::keys::{add, commit, plan_addition, remove_from};
use super::recover::recover;
use super::rig::{NOW, Rig, apply, get, put};

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What plain `git merge` makes of the changes of two machines: files that one added are added, files that one removed are gone.
fn merged(before: &Files, one: &Files, two: &Files) -> Files {
    let all = one.iter().chain(two);
    let gone = |path: &PathBuf| before.contains_key(path) && !(one.contains_key(path) && two.contains_key(path));
    all.filter(|(path, _)| !gone(path))
        .map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect()
}

/// Lets two machines change the vault apart, and merges.
pub(super) fn apart(rig: &Rig, one: impl FnOnce(&Vault), two: impl FnOnce(&Vault)) {
    let before = rig.files();
    one(&rig.vault());
    let first = rig.files();
    rig.restore(&before);
    two(&Vault::open(&rig.folder(), &rig.home.join("other")).unwrap());
    let second = rig.files();
    rig.restore(&merged(&before, &first, &second));
}

/// Puts the folder to these files while somebody holds it open.
fn fill(rig: &Rig, files: &Files) {
    for path in rig.files().keys().filter(|path| !files.contains_key(*path)) {
        std::fs::remove_file(rig.folder().join(path)).unwrap();
    }
    for (path, bytes) in files {
        let path = rig.folder().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

pub(super) fn fork(rig: &Rig) -> Fork {
    Fork::open(&rig.folder(), &rig.home.join("state")).unwrap().expect("a fork")
}

pub(super) fn join_by(fork: &Fork, keys: &[&SoftKey], names: &[(&str, &str)]) -> Result<Digest, VaultError> {
    let ids: Vec<KeyId> = keys.iter().map(|key| key.enrolled().id()).collect();
    let names = names.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect();
    let plan = fork.join(&ids, &names, NOW + 5, &mut random::system())?;
    commit_by(fork, &plan, keys)
}

fn commit_by(fork: &Fork, plan: &Plan, keys: &[&SoftKey]) -> Result<Digest, VaultError> {
    let proof = |touch| {
        let candidates = fork.candidates(plan, touch).unwrap();
        let asked = keys
            .iter()
            .find_map(|key| Some((key, candidates.iter().find(|c| c.key.id() == key.enrolled().id())?)));
        let (key, candidate) = asked.expect("one of the keys is asked");
        key.touch(Namespace::Vault, plan.text(), &candidate.unseals)
    };
    let proofs: Vec<Proof> = (0..plan.touches()).map(proof).collect();
    fork.commit(plan, &proofs.iter().collect::<Vec<_>>(), &mut random::system())?.sure()
}

pub(super) fn joined(rig: &Rig) -> Vault {
    join_by(&fork(rig), &[&rig.blue], &[]).unwrap();
    rig.vault()
}

pub(super) fn names(vault: &Vault) -> Vec<String> {
    let mut names: Vec<_> = vault.keys().into_iter().map(|key| key.name).collect();
    names.sort();
    names
}

fn spare() -> SoftKey {
    SoftKey::new("spare", Profile::TouchOnly, 2)
}

pub(super) fn third() -> SoftKey {
    SoftKey::new("third", Profile::Pin, 3)
}

/// Files of the ways into the scopes.
pub(super) fn ways(rig: &Rig) -> BTreeSet<String> {
    let there = rig.files().into_keys().map(|path| path.to_str().unwrap().to_owned());
    there
        .filter(|path| path.starts_with("slots/") || path.starts_with("scopes/"))
        .collect()
}

/// Ids of all slots that a key has and had.
fn slots_of(rig: &Rig, key: &SoftKey) -> BTreeSet<Id> {
    let chain = Chain::read(&Store::open(&rig.folder()).unwrap()).unwrap();
    let all: BTreeSet<Digest> = chain.ends().iter().flat_map(|end| chain.behind(*end)).collect();
    let scopes = chain.of(&all).flat_map(|statement| &statement.scopes);
    scopes.filter_map(|scope| Some(scope.slot_of(key.enrolled().id())?.id())).collect()
}

/// Those that there have to be: what the statement in force asks for, and the halves by which other machines may still seal.
pub(super) fn asked(vault: &Vault) -> BTreeSet<String> {
    let statement = vault.roster.in_force();
    statement.files().union(&vault.roster.replaced_halves(statement)).cloned().collect()
}

pub(super) fn added(vault: &Vault, key: &SoftKey, scopes: &[&str], by: &SoftKey) {
    commit(plan_addition(vault, key, scopes).unwrap(), vault, by).unwrap();
}

pub(super) fn rotation(vault: &Vault, scopes: &[&str], key: &SoftKey) -> Plan {
    vault.rotation(scopes, key.enrolled().id(), NOW, &mut random::system()).unwrap()
}

#[test]
fn both_sides_are_said_in_words_and_nothing_is_read_until_they_are_joined() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    apart(
        &rig,
        |v| added(v, &spare(), &["prod"], &rig.blue),
        |v| added(v, &third(), &["dev"], &rig.blue),
    );
    let error = rig.try_open().err().expect("a fork is not opened");
    let said = error.to_string();
    for part in [
        "\"blue\", 2026-09-21",
        "adds key \"spare\" (touch only) to prod",
        "adds key \"third\" (PIN and touch) to dev",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(matches!(error, VaultError::Fork { sides } if sides.len() == 2));
    // Nothing was re-keyed or removed: one touch signs, and opens nothing.
    let before = rig.files();
    let vault = joined(&rig);
    assert_eq!(names(&vault), ["blue", "spare", "third"]);
    assert_eq!(get(&vault, &spare(), "prod", "A").unwrap(), b"1");
    assert!(before.keys().all(|path| rig.folder().join(path).exists()), "no file was taken away");
    assert!(Fork::open(&rig.folder(), &rig.home.join("state")).unwrap().is_none());
    // The other machine follows.
    assert_eq!(
        get(
            &Vault::open(&rig.folder(), &rig.home.join("other")).unwrap(),
            &rig.blue,
            "prod",
            "A"
        )
        .unwrap(),
        b"1"
    );
}

#[test]
fn a_removal_on_one_side_wins_and_what_was_put_on_the_other_is_there() {
    let rig = Rig::new();
    add(&rig, &spare(), &["prod", "dev"]).unwrap();
    rig.put("prod", "A", b"1").unwrap();
    apart(
        &rig,
        |vault| {
            remove_from(vault, "spare", &rig.blue).unwrap();
            apply(&rig.vault(), &rig.blue, "prod", put("HERE", b"2")).unwrap();
        },
        |vault| {
            added(vault, &third(), &["prod"], &rig.blue);
            let vault = Vault::open(&rig.folder(), &rig.home.join("other")).unwrap();
            apply(&vault, &third(), "prod", put("THERE", b"3")).unwrap();
        },
    );
    let vault = joined(&rig);
    assert_eq!(names(&vault), ["blue", "third"]);
    for key in [&rig.blue, &third()] {
        for (name, value) in [("A", b"1"), ("HERE", b"2"), ("THERE", b"3")] {
            assert_eq!(get(&vault, key, "prod", name).unwrap(), value, "{name}");
        }
    }
    assert_eq!(vault.roster.in_force().scope("prod").unwrap().epoch, 3);
    assert_eq!(vault.unseal_with_recovery(&rig.code, "prod", "THERE").unwrap().expose(), b"3");
    apply(&vault, &third(), "prod", put("AFTER", b"4")).unwrap();
    assert_eq!(rig.get("prod", "AFTER").unwrap(), b"4");
}

#[test]
fn a_scope_that_both_sides_rekeyed_is_opened_with_both_salts_of_one_touch() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    add(&rig, &spare(), &["prod"]).unwrap();
    rig.put("prod", "A", b"1").unwrap();
    apart(
        &rig,
        |vault| {
            commit(rotation(vault, &["prod"], &rig.blue), vault, &rig.blue).unwrap();
        },
        |vault| {
            commit(rotation(vault, &["prod"], &rig.blue), vault, &rig.blue).unwrap();
        },
    );
    let forked = fork(&rig);
    let plan = forked
        .join(&[rig.blue.enrolled().id()], &BTreeMap::new(), NOW, &mut random::system())
        .unwrap();
    assert_eq!((plan.touches(), forked.candidates(&plan, 0).unwrap()[0].unseals.len()), (1, 2));
    let vault = joined(&rig);
    assert_eq!(vault.roster.in_force().scope("prod").unwrap().epoch, 3);
    for key in [&rig.blue, &spare()] {
        assert_eq!(get(&vault, key, "prod", "A").unwrap(), b"1");
    }
    assert_eq!(ways(&rig), asked(&vault));
}

#[test]
fn a_scope_that_two_keys_rekeyed_each_on_its_machine_is_joined_by_either() {
    for by in [SoftKey::new("blue", Profile::Pin, 1), spare()] {
        let rig = Rig::with(Profile::Pin, &["prod"]);
        add(&rig, &spare(), &["prod"]).unwrap();
        rig.put("prod", "A", b"1").unwrap();
        apart(
            &rig,
            |vault| {
                commit(rotation(vault, &["prod"], &rig.blue), vault, &rig.blue).unwrap();
                // Once more: what the other machine seals to is two slots back.
                commit(rotation(&rig.vault(), &["prod"], &rig.blue), &rig.vault(), &rig.blue).unwrap();
                apply(&rig.vault(), &rig.blue, "prod", put("HERE", b"2")).unwrap();
            },
            |vault| {
                commit(rotation(vault, &["prod"], &spare()), vault, &spare()).unwrap();
                let vault = Vault::open(&rig.folder(), &rig.home.join("other")).unwrap();
                apply(&vault, &spare(), "prod", put("THERE", b"3")).unwrap();
            },
        );
        join_by(&fork(&rig), &[&by], &[]).unwrap();
        let vault = rig.vault();
        for key in [&rig.blue, &spare()] {
            for (name, value) in [("A", b"1"), ("HERE", b"2"), ("THERE", b"3")] {
                assert_eq!(get(&vault, key, "prod", name).unwrap(), value, "{name}");
            }
        }
        assert_eq!(ways(&rig), asked(&vault));
        // Nothing of a key that goes stays.
        remove_from(&vault, "spare", &rig.blue).unwrap();
        let gone = slots_of(&rig, &spare());
        assert!(
            ways(&rig)
                .iter()
                .all(|path| !gone.iter().any(|slot| path.contains(&slot.to_string())))
        );
    }
}

#[test]
fn a_key_that_cannot_open_every_side_is_told_which_keys_can() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    for key in [spare(), third()] {
        add(&rig, &key, &["prod"]).unwrap();
    }
    apart(
        &rig,
        |vault| {
            commit(rotation(vault, &["prod"], &rig.blue), vault, &rig.blue).unwrap();
        },
        |vault| {
            commit(rotation(vault, &["prod"], &spare()), vault, &spare()).unwrap();
        },
    );
    // Somebody tidied up: the halves of `blue` are gone.
    for path in rig
        .files()
        .into_keys()
        .filter(|path| path.extension().is_some_and(|end| end == "half"))
    {
        let of_blue = slots_of(&rig, &rig.blue)
            .iter()
            .any(|slot| path.to_str().unwrap().contains(&slot.to_string()));
        if of_blue {
            std::fs::remove_file(rig.folder().join(path)).unwrap();
        }
    }
    let refused = join_by(&fork(&rig), &[&rig.blue], &[]).unwrap_err();
    assert!(
        matches!(&refused, VaultError::NoneJoins { can, .. } if *can == ["spare", "third"]),
        "{refused}"
    );
    assert!(refused.to_string().ends_with("these do: \"spare\", \"third\""), "{refused}");
    join_by(&fork(&rig), &[&spare()], &[]).unwrap();
}

#[test]
fn a_fork_without_a_common_key_is_left_by_giving_up_a_side_and_the_code_opens_what_is_left() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    let mut fresh = None;
    apart(
        &rig,
        |vault| {
            fresh = Some(recover(vault, &rig.code, &third(), &["blue"]).unwrap());
            apply(&rig.vault(), &third(), "prod", put("HERE", b"2")).unwrap();
        },
        |vault| added(vault, &spare(), &["prod"], &rig.blue),
    );
    let forked = fork(&rig);
    assert!(forked.keys().is_empty());
    // The side of the key that the other one took out comes first.
    let (side, files) = forked.ways_out().remove(0);
    assert!(forked.sides()[side - 1].steps.iter().all(|step| step.shut_out));
    for path in files {
        std::fs::remove_file(rig.folder().join(path)).unwrap();
    }
    let vault = rig.vault();
    assert_eq!(names(&vault), ["third"]);
    assert_eq!(get(&vault, &third(), "prod", "A").unwrap(), b"1");
    assert_eq!(get(&vault, &third(), "prod", "HERE").unwrap(), b"2");
    // That key is lost too: the code that the recovery printed opens what is left.
    recover(&vault, &fresh.unwrap(), &spare(), &["third"]).unwrap();
    assert_eq!(get(&rig.vault(), &spare(), "prod", "HERE").unwrap(), b"2");
}

#[test]
fn what_the_join_of_a_fork_takes_in_is_shown_and_nothing_else_is_taken_in() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    rig.put("prod", "A", b"1").unwrap();
    let rotate_and_put = |state: &str, name: &str| {
        let open = || Vault::open(&rig.folder(), &rig.home.join(state)).unwrap();
        commit(rotation(&open(), &["prod"], &rig.blue), &open(), &rig.blue).unwrap();
        apply(&open(), &rig.blue, "prod", put(name, b"2")).unwrap();
    };
    let before = rig.files();
    rotate_and_put("state", "HERE");
    let here = rig.files();
    rig.restore(&before);
    rotate_and_put("other", "THERE");
    let there = rig.files();
    apply(
        &Vault::open(&rig.folder(), &rig.home.join("other")).unwrap(),
        &rig.blue,
        "prod",
        put("LATE", b"3"),
    )
    .unwrap();
    let later = rig.files();
    rig.restore(&merged(&before, &here, &there));
    let shown = fork(&rig);
    let plan = shown
        .join(&[rig.blue.enrolled().id()], &BTreeMap::new(), NOW, &mut random::system())
        .unwrap();
    let claims = plan.claims();
    let names: Vec<_> = claims.iter().map(|claim| (claim.listed.name.as_str(), claim.earlier_key)).collect();
    assert_eq!(names, [("THERE", false)]);
    assert_eq!(
        plan.heads()
            .iter()
            .map(|(scope, heads)| (scope.as_str(), heads.len()))
            .collect::<Vec<_>>(),
        [("prod", 2)]
    );
    // What comes between the look and the touch is not taken in unseen.
    fill(&rig, &merged(&before, &here, &later));
    assert!(matches!(commit_by(&shown, &plan, &[&rig.blue]), Err(VaultError::Changed)));
    fill(&rig, &merged(&before, &here, &there));
    commit_by(&shown, &plan, &[&rig.blue]).unwrap();
    let vault = rig.vault();
    for (name, value) in [("A", b"1"), ("HERE", b"2"), ("THERE", b"2")] {
        assert_eq!(get(&vault, &rig.blue, "prod", name).unwrap(), value, "{name}");
    }
}

#[test]
fn what_a_removed_key_adds_on_top_of_an_old_statement_is_not_taken() {
    let rig = Rig::new();
    add(&rig, &spare(), &["prod", "dev"]).unwrap();
    rig.put("prod", "A", b"1").unwrap();
    let mallory = SoftKey::new("mallory", Profile::TouchOnly, 7);
    apart(
        &rig,
        |vault| {
            remove_from(vault, "spare", &rig.blue).unwrap();
        },
        |vault| added(vault, &mallory, &["prod", "dev"], &spare()),
    );
    let forked = fork(&rig);
    let shut_out = forked.sides().iter().flat_map(|side| &side.steps).filter(|step| step.shut_out);
    assert_eq!(shut_out.filter_map(|step| step.signer.as_deref()).collect::<Vec<_>>(), ["spare"]);
    let vault = joined(&rig);
    assert_eq!(names(&vault), ["blue"]);
    assert_eq!(rig.get("prod", "A").unwrap(), b"1");
    // Its key signs no join: one side does not know it.
    let random = &mut random::system();
    assert!(forked.keys().iter().all(|key| key.name == "blue"));
    let by_spare = forked.join(&[spare().enrolled().id()], &BTreeMap::new(), NOW, random);
    assert!(matches!(by_spare, Err(VaultError::NoneJoins { can, .. }) if can == ["blue"]));
}

/// What `key` can sign on top of the state that it knows, whatever has become of it.
pub(super) fn forge(rig: &Rig, known: &Vault, key: &SoftKey, change: impl FnOnce(&mut Statement)) -> (Digest, Statement) {
    forge_after(rig, (known.roster_digest(), known.roster.in_force().clone()), key, change)
}

/// The same on top of one that was forged before.
pub(super) fn forge_after(
    rig: &Rig,
    (before, statement): (Digest, Statement),
    key: &SoftKey,
    change: impl FnOnce(&mut Statement),
) -> (Digest, Statement) {
    let mut statement = Statement {
        previous: vec![before],
        random: None,
        ..statement
    };
    change(&mut statement);
    let bytes = statement.to_bytes().unwrap();
    let (digest, proof) = (Digest::of(&bytes), key.touch(Namespace::Vault, &bytes, &[]));
    std::fs::write(rig.folder().join(signature_path(&digest)), signature(&proof, &bytes).unwrap()).unwrap();
    std::fs::write(rig.folder().join(statement_path(&digest)), bytes).unwrap();
    (digest, statement)
}

#[test]
fn t53_a_removed_key_cannot_use_up_the_numbers_of_epochs() {
    let rig = Rig::new();
    add(&rig, &spare(), &["prod", "dev"]).unwrap();
    rig.put("prod", "A", b"1").unwrap();
    let known = rig.vault();
    remove_from(&rig.vault(), "spare", &rig.blue).unwrap();
    let files = rig.files();
    for (ahead, taken) in [(1, true), (2, false), ((1 << 53) - 2, false)] {
        rig.restore(&files);
        forge(&rig, &known, &spare(), |statement| {
            let scope = &mut statement.scopes[0];
            (scope.epoch, scope.commitment) = (scope.epoch + ahead, Digest::of(b"mine"));
        });
        if taken {
            assert_eq!(names(&joined(&rig)), ["blue"]);
            assert_eq!(rig.get("prod", "A").unwrap(), b"1");
        } else {
            let refused = Fork::open(&rig.folder(), &rig.home.join("state")).err();
            let why = RosterFault::Content;
            assert!(
                matches!(&refused, Some(VaultError::Roster { why: of, .. }) if *of == why),
                "{ahead}: {refused:?}"
            );
        }
    }
}

#[test]
fn t53_what_lies_in_the_slots_of_a_removed_keys_side_keeps_nobody_from_joining() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    add(&rig, &spare(), &["prod"]).unwrap();
    rig.put("prod", "A", b"1").unwrap();
    apart(
        &rig,
        |vault| {
            remove_from(vault, "spare", &rig.blue).unwrap();
            apply(&rig.vault(), &rig.blue, "prod", put("HERE", b"2")).unwrap();
        },
        |vault| {
            commit(rotation(vault, &["prod"], &spare()), vault, &spare()).unwrap();
            let vault = Vault::open(&rig.folder(), &rig.home.join("other")).unwrap();
            apply(&vault, &spare(), "prod", put("THEIRS", b"3")).unwrap();
        },
    );
    let chain = Chain::read(&Store::open(&rig.folder()).unwrap()).unwrap();
    let theirs = fork(&rig).sides().iter().find(|side| side.steps[0].shut_out).unwrap().end;
    let key = chain.statement(&theirs).unwrap().scope("prod").unwrap().commitment.to_string();
    let junk: Vec<PathBuf> = rig
        .files()
        .into_keys()
        .filter(|path| path.to_str().unwrap().ends_with(&key))
        .collect();
    assert!(junk.len() > 2, "{junk:?}");
    for path in junk {
        std::fs::write(rig.folder().join(path), b"junk").unwrap();
    }
    let vault = joined(&rig);
    assert_eq!(names(&vault), ["blue"]);
    for (name, value) in [("A", b"1"), ("HERE", b"2")] {
        assert_eq!(rig.get("prod", name).unwrap(), value, "{name}");
    }
    rig.put("prod", "AFTER", b"4").unwrap();
    assert_eq!(rig.get("prod", "AFTER").unwrap(), b"4");
}

#[test]
fn sides_that_shut_each_other_out_are_joined_by_nobody() {
    let rig = Rig::new();
    for key in [spare(), third()] {
        add(&rig, &key, &["prod", "dev"]).unwrap();
    }
    apart(
        &rig,
        |vault| {
            remove_from(vault, "spare", &rig.blue).unwrap();
        },
        |vault| {
            remove_from(vault, "blue", &spare()).unwrap();
        },
    );
    let files = rig.files();
    assert!(fork(&rig).sides().iter().all(|side| side.steps.iter().all(|step| step.shut_out)));
    assert!(matches!(join_by(&fork(&rig), &[&third()], &[]), Err(VaultError::ShutOut)));
    assert_eq!(rig.files(), files);
}

#[test]
fn a_recovery_code_that_was_replaced_lets_nobody_in_by_another_side() {
    let rig = Rig::new();
    let mallory = SoftKey::new("mallory", Profile::TouchOnly, 7);
    apart(
        &rig,
        |vault| {
            recover(vault, &rig.code, &third(), &[]).unwrap();
        },
        |vault| {
            recover(vault, &rig.code, &mallory, &[]).unwrap();
        },
    );
    assert!(matches!(join_by(&fork(&rig), &[&rig.blue], &[]), Err(VaultError::ShutOut)));
}

#[test]
fn whom_a_removed_key_removes_stays() {
    let rig = Rig::new();
    let away = SoftKey::new("away", Profile::Pin, 9);
    for key in [&spare(), &third(), &away] {
        add(&rig, key, &["prod", "dev"]).unwrap();
    }
    rig.put("prod", "A", b"1").unwrap();
    apart(
        &rig,
        |vault| {
            remove_from(vault, "spare", &rig.blue).unwrap();
        },
        |vault| {
            remove_from(vault, "third", &spare()).unwrap();
        },
    );
    join_by(&fork(&rig), &[&away], &[]).unwrap();
    let vault = rig.vault();
    assert_eq!(names(&vault), ["away", "blue", "third"]);
    assert_eq!(get(&vault, &away, "prod", "A").unwrap(), b"1");
}

#[test]
fn keys_and_scopes_of_one_name_are_told_apart_by_a_person() {
    let rig = Rig::new();
    let other = SoftKey::new("spare", Profile::Pin, 8);
    let scope = |vault: &Vault| {
        let plan = vault
            .new_scope("web", &[rig.blue.enrolled().id()], NOW, &mut random::system())
            .unwrap();
        commit(plan, vault, &rig.blue).unwrap();
    };
    apart(
        &rig,
        |vault| {
            added(vault, &spare(), &["prod"], &rig.blue);
            scope(&rig.vault());
        },
        |vault| {
            added(vault, &other, &["prod"], &rig.blue);
            scope(&Vault::open(&rig.folder(), &rig.home.join("other")).unwrap());
        },
    );
    let forked = fork(&rig);
    let clashes = forked.clashes();
    assert_eq!(
        clashes.iter().map(|c| (c.keys, c.name.as_str(), c.ids.len())).collect::<Vec<_>>(),
        [(true, "spare", 2), (false, "web", 2)]
    );
    assert!(matches!(join_by(&forked, &[&rig.blue], &[]), Err(VaultError::Twice(name)) if name == "spare"));
    let names_given = [(clashes[0].ids[1].as_str(), "spare-2"), (clashes[1].ids[1].as_str(), "web-2")];
    join_by(&forked, &[&rig.blue], &names_given).unwrap();
    let vault = rig.vault();
    assert_eq!(names(&vault), ["blue", "spare", "spare-2"]);
    assert_eq!(vault.scopes(), ["prod", "dev", "web", "web-2"]);
}

#[test]
fn a_code_that_was_used_on_one_side_is_void_after_the_join() {
    let rig = Rig::new();
    let mut fresh = None;
    apart(
        &rig,
        |vault| fresh = Some(recover(vault, &rig.code, &third(), &[]).unwrap()),
        |vault| {
            let plan = vault
                .new_scope("web", &[rig.blue.enrolled().id()], NOW, &mut random::system())
                .unwrap();
            commit(plan, vault, &rig.blue).unwrap();
            let vault = Vault::open(&rig.folder(), &rig.home.join("other")).unwrap();
            apply(&vault, &rig.blue, "web", put("A", b"1")).unwrap();
        },
    );
    let said = rig.try_open().err().unwrap().to_string();
    assert!(
        said.contains("the recovery code, 2026-09-21") && said.contains("replaces the recovery code"),
        "{said}"
    );
    let vault = joined(&rig);
    assert!(vault.check_code(&rig.code).is_err());
    // Whoever has the old code can have written in that scope: what is there is shown, and taken in by a touch of its own.
    let standing = vault.standing(&["web"]).unwrap();
    let shown: Vec<_> = standing
        .claims()
        .iter()
        .map(|claim| (claim.listed.name.as_str(), claim.earlier_key))
        .collect();
    assert_eq!(shown, [("A", true)]);
    apply(&vault, &rig.blue, "web", put("B", b"2")).unwrap();
    assert_eq!(vault.unseal_with_recovery(&fresh.unwrap(), "web", "A").unwrap().expose(), b"1");
}
