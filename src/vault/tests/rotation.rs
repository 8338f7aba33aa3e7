//! Scopes that get new keys, and what somebody who writes to the folder can make of it.

use crate::device::enrolled::Profile;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::vault::bytes::Id;
use crate::vault::roster::statement_path;
use crate::vault::slot::{Place, Private, open_scope_key};
use crate::vault::statement::{ScopeEntry, SlotEntry, Statement};
use crate::vault::{Vault, VaultError, random};

use super::fork::{asked, ways};
use super::keys::{add, commit};
use super::rig::{NOW, Rig, apply, get, put};

fn rotate(rig: &Rig, scopes: &[&str], key: &SoftKey) -> Result<Digest, VaultError> {
    let vault = rig.vault();
    let plan = vault.rotation(scopes, key.enrolled().id(), NOW, &mut random::system())?;
    commit(plan, &vault, key)
}

fn absent() -> SoftKey {
    SoftKey::new("absent", Profile::TouchOnly, 3)
}

fn scope(vault: &Vault, name: &str) -> ScopeEntry {
    vault.roster.in_force().scope(name).unwrap().clone()
}

fn slot(vault: &Vault, name: &str, key: &SoftKey) -> SlotEntry {
    scope(vault, name).slot_of(key.enrolled().id()).unwrap().clone()
}

#[test]
fn a_rotation_renews_the_slot_that_is_touched_and_keys_that_are_not_there_survive() {
    let rig = Rig::new();
    add(&rig, &absent(), &["prod", "dev"]).unwrap();
    rig.put("prod", "A", b"old").unwrap();
    let before = rig.vault();
    rotate(&rig, &["prod"], &rig.blue).unwrap();
    let after = rig.vault();
    assert_eq!((scope(&before, "prod").epoch, scope(&after, "prod").epoch), (1, 2));
    assert_eq!(slot(&before, "prod", &absent()), slot(&after, "prod", &absent()));
    let (old, new) = (slot(&before, "prod", &rig.blue), slot(&after, "prod", &rig.blue));
    match (&old, &new) {
        (
            SlotEntry::Fido2 { id, public, salt, .. },
            SlotEntry::Fido2 {
                id: new_id,
                public: new_public,
                salt: new_salt,
                half: None,
                ..
            },
        ) => assert!(id != new_id && public != new_public && salt != new_salt),
        other => panic!("{other:?}"),
    }
    assert_eq!(scope(&before, "dev"), scope(&after, "dev"));
    for key in [&rig.blue, &absent()] {
        assert_eq!(get(&after, key, "prod", "A").unwrap(), b"old");
    }
    assert_eq!(after.unseal_with_recovery(&rig.code, "prod", "A").unwrap().expose(), b"old");
    apply(&after, &absent(), "prod", put("A", b"new")).unwrap();
    // The renewed slot is renewed again, and carries two epochs.
    rotate(&rig, &["prod", "dev"], &rig.blue).unwrap();
    assert_eq!(rig.get("prod", "A").unwrap(), b"new");
    assert_eq!((scope(&rig.vault(), "prod").epoch, scope(&rig.vault(), "dev").epoch), (3, 2));
}

#[test]
fn a_rotation_leaves_the_files_that_its_statement_asks_for_and_the_halves_that_other_machines_may_seal_to() {
    let rig = Rig::new();
    add(&rig, &absent(), &["prod"]).unwrap();
    rotate(&rig, &["prod"], &rig.blue).unwrap();
    rotate(&rig, &["prod", "dev"], &rig.blue).unwrap();
    assert_eq!(ways(&rig), asked(&rig.vault()));
}

#[test]
fn two_scopes_take_two_touches_of_one_key_that_opens_both() {
    let rig = Rig::new();
    add(&rig, &absent(), &["prod"]).unwrap();
    let vault = rig.vault();
    let plan = vault
        .rotation(&["prod", "dev", "prod"], rig.blue.enrolled().id(), NOW, &mut random::system())
        .unwrap();
    assert_eq!(plan.touches(), 2);
    let purpose = plan.purpose(0).unwrap();
    assert_eq!(
        (purpose.key.as_deref(), purpose.opens, purpose.makes),
        (Some("blue"), vec!["dev".to_owned()], vec!["dev".to_owned()])
    );
    let outside = vault.rotation(&["prod", "dev"], absent().enrolled().id(), NOW, &mut random::system());
    assert!(matches!(outside, Err(VaultError::NoSlot { key, scope }) if key == "absent" && scope == "dev"));
    let nothing = vault.rotation(&[], rig.blue.enrolled().id(), NOW, &mut random::system());
    assert!(matches!(nothing, Err(VaultError::Nothing)));
}

#[test]
fn t53_a_renewed_half_that_somebody_replaced_opens_nothing() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    rig.put("prod", "A", b"1").unwrap();
    let before = rig.files();
    rotate(&rig, &["prod"], &rig.blue).unwrap();
    let half = |files: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>, new: bool| {
        let is_half = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "half");
        let found = files.iter().find(|(path, _)| is_half(path) && new != before.contains_key(*path));
        found.map(|(path, bytes)| (path.clone(), bytes.clone())).unwrap()
    };
    // The statement names no digest of a half that its own touch sealed: the cipher is what refuses.
    std::fs::write(rig.folder().join(half(&rig.files(), true).0), half(&before, false).1).unwrap();
    assert!(matches!(rig.get("prod", "A"), Err(VaultError::SlotClosed { .. })));
}

#[test]
fn t53_nothing_is_sealed_to_a_public_key_that_was_swapped_before_a_rekey() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    add(&rig, &absent(), &["prod"]).unwrap();
    rig.put("prod", "A", b"1").unwrap();
    let (private, public) = Private::generate(&mut random::system());
    let (open, good) = (rig.vault(), rig.files());
    let forged = swapped(open.roster.in_force(), public);
    // In the place of the statement in force: its digest is another one. After it: nobody enrolled has signed it.
    let path = statement_path(&open.roster_digest());
    std::fs::write(rig.folder().join(&path), forged.to_bytes().unwrap()).unwrap();
    assert!(matches!(rig.try_open(), Err(VaultError::Roster { .. })));
    let follows = Statement {
        previous: vec![open.roster_digest()],
        ..forged
    };
    let bytes = follows.to_bytes().unwrap();
    rig.restore(&good);
    std::fs::write(rig.folder().join(statement_path(&Digest::of(&bytes))), bytes).unwrap();
    assert!(matches!(rig.try_open(), Err(VaultError::Roster { .. })));
    // A daemon that had opened the vault before seals to what it had verified, or not at all.
    for swap in [false, true] {
        rig.restore(&good);
        // A machine that has not seen what the other one did.
        let open = Vault::open(&rig.folder(), &rig.home.join(format!("machine-{swap}"))).unwrap();
        if swap {
            let text = String::from_utf8(good[&std::path::PathBuf::from(&path)].clone()).unwrap();
            std::fs::write(rig.folder().join(&path), text.replace("\"absent\"", "\"hacker\"")).unwrap();
        }
        let plan = open
            .rotation(&["prod"], rig.blue.enrolled().id(), NOW, &mut random::system())
            .unwrap();
        commit(plan, &open, &rig.blue).unwrap();
        let opened = rig.files().into_iter().filter(|(path, bytes)| {
            let slot = path
                .strip_prefix("slots")
                .ok()
                .and_then(|p| Id::from_text(p.to_str()?.split('.').next()?));
            let place = slot.map(|slot| Place {
                vault: open.id(),
                scope: scope(&open, "prod").id,
                slot,
            });
            place.is_some_and(|place| (1..4).any(|epoch| open_scope_key(&place, epoch, &private, bytes).is_some()))
        });
        assert_eq!(opened.count(), 0);
    }
}

/// The statement with the absent key's public half replaced.
fn swapped(statement: &Statement, with: crate::encoding::sshsig::Point) -> Statement {
    let mut forged = statement.clone();
    for slot in forged.scopes.iter_mut().flat_map(|scope| &mut scope.slots) {
        if let SlotEntry::Fido2 { key, public, .. } = slot
            && *key == absent().enrolled().id().0
        {
            *public = with;
        }
    }
    assert_ne!(&forged, statement);
    forged
}
