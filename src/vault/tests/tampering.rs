//! What somebody does who can write to the folder.

use crate::device::enrolled::Profile;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::vault::bytes::Hex;
use crate::vault::error::RosterFault;
use crate::vault::roster::{signature_path, statement_path};
use crate::vault::slot::Private;
use crate::vault::statement::{SlotEntry, Statement};
use crate::vault::{VaultError, random};

use super::rig::{Rig, apply, found, get, put, unseal, wanted};

#[test]
fn t53_every_flipped_or_cut_byte_of_every_file_is_refused_or_changes_nothing() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    rig.put("prod", "A", b"value").unwrap();
    let files = rig.files();
    let mut refused = 0;
    for (path, bytes) in &files {
        let for_git = path.starts_with(".gitignore") || path.starts_with(".gitattributes");
        let recovery = is_recovery(&rig, path);
        // Signatures are verified at every opening: a sample of a long file costs a minute less and says the same.
        let step = if bytes.len() > 600 { 7 } else { 1 };
        for at in (0..bytes.len()).step_by(step) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x01;
            for bad in [&flipped[..], &bytes[..at]] {
                std::fs::write(rig.folder().join(path), bad).unwrap();
                match rig.get("prod", "A") {
                    Ok(value) => {
                        assert_eq!(value, b"value", "{path:?} {at}");
                        assert!(for_git || recovery, "{path:?} {at} was not noticed");
                    }
                    Err(_) => refused += 1,
                }
                if recovery {
                    assert!(rig.vault().unseal_with_recovery(&rig.code, "prod", "A").is_err(), "{path:?} {at}");
                }
            }
        }
        std::fs::write(rig.folder().join(path), bytes).unwrap();
    }
    assert_eq!(rig.get("prod", "A").unwrap(), b"value");
    assert!(refused > 2000, "{refused}");
}

/// What is sealed to the recovery slot is read only with the recovery code.
fn is_recovery(rig: &Rig, path: &std::path::Path) -> bool {
    let vault = rig.vault();
    let statement = vault.roster.in_force().clone();
    statement
        .scopes
        .iter()
        .flat_map(|s| &s.slots)
        .any(|slot| matches!(slot, SlotEntry::Recovery { .. }) && path.to_string_lossy().contains(&slot.id().to_string()))
}

#[test]
fn t53_a_deleted_file_is_noticed() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    rig.put("prod", "A", b"value").unwrap();
    for (path, bytes) in rig.files() {
        let ignored = path.starts_with(".gitignore") || path.starts_with(".gitattributes") || is_recovery(&rig, &path);
        std::fs::remove_file(rig.folder().join(&path)).unwrap();
        assert_eq!(rig.get("prod", "A").is_ok(), ignored, "{path:?}");
        std::fs::write(rig.folder().join(&path), bytes).unwrap();
    }
}

#[test]
fn t53_a_record_that_is_deleted_after_it_was_shown_is_named() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    let vault = rig.vault();
    let standing = vault.standing(&["prod"]).unwrap();
    let wanted = [wanted(&vault, "prod", "A").unwrap()];
    std::fs::remove_dir_all(rig.folder().join("records")).unwrap();
    assert!(matches!(
        unseal(&vault, &rig.blue, &standing, &wanted),
        Err(VaultError::Deleted { name, .. }) if name == "A"
    ));
}

#[test]
fn t53_an_older_version_of_a_record_is_refused_beside_the_newer_and_in_its_place() {
    let rig = Rig::new();
    rig.put("prod", "A", b"old").unwrap();
    let old = rig.files();
    rig.put("prod", "A", b"new").unwrap();
    let new = rig.files();
    let records = |files: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>| {
        let mut found = files.iter().filter(|(path, _)| path.starts_with("records"));
        let (path, bytes) = found.next().unwrap();
        (path.clone(), bytes.clone())
    };
    let ((old_path, old_bytes), (new_path, _)) = (records(&old), records(&new));
    std::fs::write(rig.folder().join(&old_path), &old_bytes).unwrap();
    assert_eq!(rig.get("prod", "A").unwrap(), b"new");
    std::fs::remove_file(rig.folder().join(&new_path)).unwrap();
    assert!(matches!(rig.get("prod", "A"), Err(VaultError::Swapped { .. })));
    // Under the new one's name it is not even listed.
    std::fs::rename(rig.folder().join(&old_path), rig.folder().join(&new_path)).unwrap();
    assert!(matches!(rig.get("prod", "A"), Err(VaultError::Damaged { .. })));
}

#[test]
fn t53_a_removed_record_that_is_put_back_is_refused() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    let before = rig.files();
    let remove = crate::vault::Changes {
        removes: vec!["A".into()],
        ..Default::default()
    };
    apply(&rig.vault(), &rig.blue, "prod", remove).unwrap();
    let (path, bytes) = before.iter().find(|(path, _)| path.starts_with("records")).unwrap();
    std::fs::write(rig.folder().join(path), bytes).unwrap();
    assert!(matches!(rig.get("prod", "A"), Err(VaultError::Removed { .. })));
}

#[test]
fn t53_rules_that_differ_from_those_judged_refuse_the_lease() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    let vault = rig.vault();
    let standing = vault.standing(&["prod"]).unwrap();
    let mut judged = wanted(&vault, "prod", "A").unwrap();
    let at = judged.judged.windows(3).position(|w| w == b"env").unwrap();
    judged.judged[at..at + 3].copy_from_slice(b"abc");
    assert!(matches!(
        unseal(&vault, &rig.blue, &standing, &[judged]),
        Err(VaultError::RulesChanged { .. })
    ));
}

#[test]
fn t53_a_vault_that_is_rolled_back_is_older_where_it_was_seen_and_unknown_elsewhere() {
    let rig = Rig::new();
    rig.put("prod", "A", b"old").unwrap();
    let old = rig.files();
    rig.put("prod", "A", b"new").unwrap();
    rig.restore(&old);
    assert!(matches!(rig.get("prod", "A"), Err(VaultError::Older { what }) if what == "scope prod"));
    assert!(matches!(rig.put("prod", "A", b"x"), Err(VaultError::Older { .. })));
    assert_eq!(get(&rig.elsewhere().unwrap(), &rig.blue, "prod", "A").unwrap(), b"old");
}

#[test]
fn t53_a_roster_that_is_rolled_back_is_older() {
    let rig = Rig::new();
    let before = rig.files();
    super::keys::add(&rig, &SoftKey::new("spare", Profile::Pin, 2), &["prod"]).unwrap();
    rig.restore(&before);
    assert!(matches!(rig.try_open(), Err(VaultError::Older { what }) if what == "the roster"));
}

/// The attacker copies the roster, names a slot of his own, and signs with a key of his own, or not at all.
#[test]
fn t53_a_statement_that_no_enrolled_key_signed_closes_the_vault() {
    let rig = Rig::new();
    let vault = rig.vault();
    let (_, mine) = Private::generate(&mut random::system());
    let mut statement = Statement {
        previous: vec![vault.roster_digest()],
        random: None,
        ..vault.roster.in_force().clone()
    };
    for (n, slot) in statement.scopes.iter_mut().flat_map(|scope| &mut scope.slots).enumerate() {
        if let SlotEntry::Fido2 { public, id, .. } = slot {
            *public = mine;
            *id = Hex([n as u8; 16]);
        }
    }
    let bytes = statement.to_bytes().unwrap();
    let digest = Digest::of(&bytes);
    std::fs::write(rig.folder().join(statement_path(&digest)), &bytes).unwrap();
    let why = |rig: &Rig| match rig.try_open() {
        Err(VaultError::Roster { statement, why, .. }) if statement == digest => why,
        other => panic!("{:?}", other.err()),
    };
    assert_eq!(why(&rig), RosterFault::Unsigned);
    let mallory = SoftKey::new("blue", Profile::Pin, 66);
    let proof = mallory.touch(Namespace::Vault, &bytes, &[]);
    let signature = proof
        .assertion()
        .unwrap()
        .to_sshsig(mallory.enrolled().signer(), Namespace::Vault, &bytes);
    std::fs::write(rig.folder().join(signature_path(&digest)), signature).unwrap();
    assert_eq!(why(&rig), RosterFault::Signer);
    // The victim's own key named as the signer of the attacker's signature.
    let signature = proof
        .assertion()
        .unwrap()
        .to_sshsig(rig.blue.enrolled().signer(), Namespace::Vault, &bytes);
    std::fs::write(rig.folder().join(signature_path(&digest)), signature).unwrap();
    assert_eq!(why(&rig), RosterFault::Signature);
}

#[test]
fn t53_a_slot_that_is_altered_under_its_id_is_refused_even_when_signed() {
    let rig = Rig::new();
    let vault = rig.vault();
    let mut statement = vault.roster.in_force().clone();
    statement.previous = vec![vault.roster_digest()];
    statement.random = None;
    let before = vault.roster.in_force();
    assert!(statement.may_follow(before));
    if let Some(SlotEntry::Fido2 { public, .. }) = statement.scopes[0].slots.first_mut() {
        *public = Private::generate(&mut random::system()).1;
    }
    assert!(!statement.may_follow(before));
    let mut rekeyed = before.clone();
    rekeyed.scopes[0].commitment = Digest::of(b"mine");
    assert!(!rekeyed.may_follow(before));
    rekeyed.scopes[0].epoch += 1;
    assert!(rekeyed.may_follow(before));
}

/// Somebody who has only public files makes a vault that names the victim's key.
#[test]
fn t53_a_vault_remade_from_public_files_is_refused_before_the_first_put() {
    let rig = Rig::new();
    // With a key of his own first, the vault is another one, and the victim's key has no slot that opens.
    let mallory = SoftKey::new("blue", Profile::Pin, 66);
    std::fs::remove_dir_all(rig.folder()).unwrap();
    found(&rig.folder(), &rig.home.join("state"), &mallory, &["prod", "dev"]).unwrap();
    let vault = rig.vault();
    let standing = vault.standing(&["prod"]).unwrap();
    let salts = &vault.candidates(&standing).unwrap()[0].unseals;
    let proof = rig.blue.touch(Namespace::Change, b"x", salts);
    let refused = vault.apply(&proof, Digest::of(b"x"), &standing, &put("A", b"x"), 0, &mut random::system());
    assert!(matches!(refused, Err(VaultError::WrongProof(_))));
}

/// The vault's id can be made again from public data; the first key's signature cannot.
#[test]
fn t53_a_first_statement_remade_around_the_victims_key_is_refused() {
    let rig = Rig::new();
    let vault = rig.vault();
    let (end, mut statement) = (vault.roster_digest(), vault.roster.in_force().clone());
    statement.recovery = Private::generate(&mut random::system()).1;
    let bytes = statement.to_bytes().unwrap();
    let digest = Digest::of(&bytes);
    let path = |path: String| rig.folder().join(path);
    std::fs::write(path(statement_path(&digest)), &bytes).unwrap();
    std::fs::rename(path(signature_path(&end)), path(signature_path(&digest))).unwrap();
    std::fs::remove_file(path(statement_path(&end))).unwrap();
    assert!(matches!(
        rig.elsewhere(),
        Err(VaultError::Roster { statement, why: RosterFault::Unsigned, .. }) if statement == digest
    ));
}

#[test]
fn t53_a_private_half_of_another_vault_is_not_used() {
    let (rig, other) = (Rig::new(), Rig::new());
    let (mine, theirs) = (rig.vault(), other.vault());
    let half = |vault: &crate::vault::Vault| format!("slots/{}.half", vault.roster.in_force().scopes[0].slots[0].id());
    std::fs::copy(other.folder().join(half(&theirs)), rig.folder().join(half(&mine))).unwrap();
    let scope = mine.scopes()[0].to_owned();
    assert!(matches!(
        apply(&mine, &rig.blue, &scope, put("A", b"x")),
        Err(VaultError::Damaged { .. })
    ));
}

#[test]
fn t53_a_scope_key_of_the_attackers_own_sealed_to_everybody_is_not_used() {
    use crate::vault::scope::{Ring, sealed_path};
    let rig = Rig::new();
    let vault = rig.vault();
    let scope = vault.scope("prod").unwrap().clone();
    let evil = Ring::generate(vault.id(), scope.id, scope.epoch, &mut random::system());
    for slot in &scope.slots {
        if let SlotEntry::Fido2 { id, public, .. } = slot {
            let sealed = evil.seal_to(*id, public, &mut random::system()).unwrap();
            std::fs::write(rig.folder().join(sealed_path(*id, &scope.commitment)), sealed).unwrap();
        }
    }
    assert!(matches!(
        rig.put("prod", "A", b"x"),
        Err(VaultError::WrongScopeKey { scope }) if scope == "prod"
    ));
}

#[test]
fn slots_that_no_touch_signed_are_named() {
    let rig = Rig::new();
    assert!(rig.vault().unsigned_slots().unwrap().is_empty());
    std::fs::write(rig.folder().join("slots/00112233445566778899aabbccddeeff.half"), b"x").unwrap();
    std::fs::write(rig.folder().join("slots/junk"), b"x").unwrap();
    assert_eq!(
        rig.vault().unsigned_slots().unwrap(),
        ["slots/00112233445566778899aabbccddeeff.half", "slots/junk"]
    );
}

#[test]
fn a_damaged_record_costs_that_record_only_and_is_named() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    rig.put("prod", "B", b"2").unwrap();
    let vault = rig.vault();
    let entry = vault.find("prod", "A").unwrap();
    let path = rig
        .files()
        .into_iter()
        .find(|(_, bytes)| bytes.windows(entry.clear.len()).any(|w| w == entry.clear))
        .unwrap()
        .0;
    std::fs::write(rig.folder().join(&path), b"junk").unwrap();
    let (listed, unreadable) = vault.list(Some("prod")).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(unreadable[0].path, path.to_string_lossy());
    assert_eq!(rig.get("prod", "B").unwrap(), b"2");
    assert!(matches!(rig.get("prod", "A"), Err(VaultError::Damaged { .. })));
    rig.put("prod", "A", b"again").unwrap();
    assert_eq!(rig.get("prod", "A").unwrap(), b"again");
}
