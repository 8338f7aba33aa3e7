//! An older copy that was put back, and a person who takes it as it is.

use crate::device::enrolled::Profile;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::vault::{Older, Vault, VaultError};

use super::rig::{Rig, apply, get, put};

fn as_is(rig: &Rig) -> Vault {
    Vault::open_as_is(&rig.folder(), &rig.home.join("state")).unwrap()
}

fn accept(vault: &Vault, key: &SoftKey, older: &Older) -> Result<(), VaultError> {
    let proof = key.touch(Namespace::Change, b"older", &[]);
    vault.accept_as_is(&proof, Digest::of(b"older"), older)
}

#[test]
fn t53_an_older_state_is_refused_until_a_touch_accepts_it() {
    let rig = Rig::new();
    rig.put("prod", "A", b"old").unwrap();
    let old = rig.files();
    rig.put("prod", "A", b"new").unwrap();
    rig.put("prod", "B", b"new").unwrap();
    assert!(as_is(&rig).older().unwrap().is_nothing());
    rig.restore(&old);
    assert!(matches!(rig.get("prod", "A"), Err(VaultError::Older { .. })));
    let older = as_is(&rig).older().unwrap();
    assert_eq!((older.roster, older.scopes.len()), (None, 1));
    assert_eq!((older.scopes[0].scope.as_str(), older.scopes[0].gone), ("prod", 2));
    let stranger = SoftKey::new("blue", Profile::Pin, 9);
    assert!(matches!(accept(&as_is(&rig), &stranger, &older), Err(VaultError::WrongProof(_))));
    let lease = rig.blue.touch(Namespace::Lease, b"older", &[]);
    assert!(matches!(
        as_is(&rig).accept_as_is(&lease, Digest::of(b"older"), &older),
        Err(VaultError::WrongProof(_))
    ));
    assert!(matches!(rig.get("prod", "A"), Err(VaultError::Older { .. })));
    accept(&as_is(&rig), &rig.blue, &older).unwrap();
    assert_eq!(rig.get("prod", "A").unwrap(), b"old");
    rig.put("prod", "B", b"again").unwrap();
    rig.restore(&old);
    // What was accepted counts from here: the same copy is older again.
    assert!(matches!(rig.get("prod", "A"), Err(VaultError::Older { .. })));
}

#[test]
fn t53_an_older_roster_is_accepted_by_a_touch_and_changes_meanwhile_are_not() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    let before = rig.files();
    let added = super::keys::add(&rig, &SoftKey::new("spare", Profile::Pin, 2), &["prod"]).unwrap();
    let after = rig.files();
    rig.restore(&before);
    assert!(matches!(rig.try_open(), Err(VaultError::Older { .. })));
    let vault = as_is(&rig);
    let older = vault.older().unwrap();
    assert_eq!((older.roster, older.scopes.len()), (Some(added), 0));
    assert_eq!(vault.standing(&["prod"]).unwrap().roster(), vault.roster_digest());
    // Another copy is put in its place while the person looks.
    rig.restore(&after);
    assert!(matches!(accept(&vault, &rig.blue, &older), Err(VaultError::Changed)));
    rig.restore(&before);
    accept(&as_is(&rig), &rig.blue, &older).unwrap();
    assert_eq!(rig.vault().keys().len(), 1);
    assert_eq!(rig.get("prod", "A").unwrap(), b"1");
    // Nobody is asked about a newer state.
    rig.restore(&after);
    assert!(as_is(&rig).older().unwrap().is_nothing());
    assert_eq!(rig.vault().keys().len(), 2);
}

#[test]
fn t52_two_copies_of_one_vault_never_set_the_memory_of_it_back() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    rig.put("prod", "A", b"1").unwrap();
    let old = rig.files();
    let copy = rig.home.join("copy");
    let copied = std::process::Command::new("cp").arg("-a").arg(rig.folder()).arg(&copy).status();
    assert!(copied.unwrap().success());
    // Two daemons that serve a copy each, and share one memory.
    let (here, there) = (rig.vault(), Vault::open(&copy, &rig.home.join("state")).unwrap());
    apply(&here, &rig.blue, "prod", put("A", b"2")).unwrap();
    let scope = here.scope("prod").unwrap().id;
    let newest = here.memory.accepted().unwrap().head(scope);
    for refused in [
        apply(&there, &rig.blue, "prod", put("A", b"3")).err(),
        get(&there, &rig.blue, "prod", "A").err(),
    ] {
        assert!(matches!(refused, Some(VaultError::Older { .. })), "{refused:?}");
    }
    assert_eq!(there.memory.accepted().unwrap().head(scope), newest);
    // Another scope's state, remembered late, takes nothing else back.
    there.memory.remember(scope, None, Digest::of(b"old")).unwrap();
    assert_eq!(here.memory.accepted().unwrap().head(scope), newest);
    let added = super::keys::add_to(&here, &rig.blue, &SoftKey::new("spare", Profile::Pin, 2), &["prod"]).unwrap();
    let late = super::keys::add_to(&there, &rig.blue, &SoftKey::new("late", Profile::Pin, 3), &["prod"]).err();
    assert!(matches!(late, Some(VaultError::Older { .. })), "{late:?}");
    assert!(there.memory.remember_roster(there.roster_digest(), &there.roster).is_err());
    assert_eq!(here.memory.accepted().unwrap().roster(), added);
    rig.restore(&old);
    assert!(matches!(rig.try_open(), Err(VaultError::Older { .. })));
}

#[test]
fn t52_a_copy_opens_nothing_more_when_another_has_a_newer_roster() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    rig.put("prod", "A", b"1").unwrap();
    let copy = rig.home.join("copy");
    let copied = std::process::Command::new("cp").arg("-a").arg(rig.folder()).arg(&copy).status();
    assert!(copied.unwrap().success());
    let (here, there) = (rig.vault(), Vault::open(&copy, &rig.home.join("state")).unwrap());
    assert_eq!(get(&there, &rig.blue, "prod", "A").unwrap(), b"1");
    // The records stay as they are: nothing but the roster is newer.
    super::keys::add_to(&here, &rig.blue, &SoftKey::new("spare", Profile::Pin, 2), &["prod"]).unwrap();
    for refused in [
        get(&there, &rig.blue, "prod", "A").err(),
        apply(&there, &rig.blue, "prod", put("A", b"2")).err(),
    ] {
        assert!(
            matches!(&refused, Some(VaultError::Older { what }) if what == "the roster"),
            "{refused:?}"
        );
    }
}

#[test]
fn p9_a_change_that_cannot_be_remembered_yet_is_made_and_said_to_be() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    let vault = rig.vault();
    let memory = rig.home.join("state").join(vault.id().to_string());
    let store = crate::vault::store::Store::open(&memory).unwrap();
    let held = store.lock().unwrap();
    let said = apply(&vault, &rig.blue, "prod", put("A", b"2"));
    drop(held);
    assert!(said.is_ok(), "{said:?}");
    assert_eq!(rig.get("prod", "A").unwrap(), b"2");
}

#[test]
fn t52_a_roster_that_others_opened_before_its_maker_remembered_it_is_no_older_one() {
    let rig = Rig::new();
    let maker = rig.vault();
    let added = super::keys::add(&rig, &SoftKey::new("spare", Profile::Pin, 2), &["prod"]).unwrap();
    rig.vault();
    maker.memory.remember_roster(added, &maker.roster).unwrap();
    let other = Digest::of(b"another statement");
    assert!(matches!(
        maker.memory.remember_roster(other, &maker.roster),
        Err(VaultError::Older { .. })
    ));
    assert_eq!(maker.memory.accepted().unwrap().roster(), added);
}
