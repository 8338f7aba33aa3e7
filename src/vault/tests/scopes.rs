//! Scopes that come and go, and keys that are let in.

use crate::device::enrolled::{KeyId, Profile};
use crate::device::proof::Proof;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::vault::{Changes, Plan, Vault, VaultError, random};

use super::keys::{add, commit};
use super::rig::{NOW, Rig, apply, get, put};

/// Commits with whichever of the keys each touch asks for.
fn commit_by(plan: Plan, vault: &Vault, keys: &[&SoftKey]) -> Result<Digest, VaultError> {
    let proof = |touch| {
        let candidates = plan.candidates(vault, touch).unwrap();
        let asked = keys
            .iter()
            .find_map(|key| Some((key, candidates.iter().find(|c| c.key.id() == key.enrolled().id())?)));
        let (key, candidate) = asked.expect("one of the keys is asked");
        key.touch(Namespace::Vault, plan.text(), &candidate.unseals)
    };
    let proofs: Vec<Proof> = (0..plan.touches()).map(proof).collect();
    plan.commit(vault, &proofs.iter().collect::<Vec<_>>(), &mut random::system())?
        .sure()
}

fn spare() -> SoftKey {
    SoftKey::new("spare", Profile::TouchOnly, 2)
}

fn ids(keys: &[&SoftKey]) -> Vec<KeyId> {
    keys.iter().map(|key| key.enrolled().id()).collect()
}

fn new_scope(rig: &Rig, name: &str, keys: &[&SoftKey]) -> Result<Digest, VaultError> {
    let vault = rig.vault();
    commit_by(vault.new_scope(name, &ids(keys), NOW, &mut random::system())?, &vault, keys)
}

#[test]
fn a_scope_is_opened_by_the_keys_that_were_touched_for_it_and_by_the_recovery_code() {
    let rig = Rig::new();
    add(&rig, &spare(), &["prod", "dev"]).unwrap();
    new_scope(&rig, "staging", &[&rig.blue]).unwrap();
    new_scope(&rig, "both", &[&rig.blue, &spare()]).unwrap();
    rig.put("staging", "A", b"1").unwrap();
    let vault = rig.vault();
    assert_eq!(vault.keys_not_in("staging").unwrap(), ["spare"]);
    assert_eq!(rig.get("staging", "A").unwrap(), b"1");
    assert_eq!(vault.unseal_with_recovery(&rig.code, "staging", "A").unwrap().expose(), b"1");
    apply(&vault, &spare(), "both", put("B", b"2")).unwrap();
    assert_eq!(rig.get("both", "B").unwrap(), b"2");
    let random = &mut random::system();
    let refused = |plan: Result<Plan, VaultError>| plan.err().expect("refused").to_string();
    assert_eq!(
        refused(vault.new_scope("dev", &ids(&[&spare()]), NOW, random)),
        "dev is there already"
    );
    assert_eq!(refused(vault.new_scope("x", &[], NOW, random)), "nothing to change");
    assert!(refused(vault.new_scope("a/b", &ids(&[&spare()]), NOW, random)).contains("may not have"));
}

#[test]
fn a_key_is_let_into_a_scope_by_its_own_touch_and_one_of_a_key_that_is_in() {
    let rig = Rig::new();
    add(&rig, &spare(), &["prod"]).unwrap();
    new_scope(&rig, "staging", &[&rig.blue]).unwrap();
    rig.put("staging", "A", b"1").unwrap();
    let vault = rig.vault();
    let plan = vault.admission("spare", &["staging", "dev"], NOW, &mut random::system()).unwrap();
    // Two scopes are opened by one touch, and two slots made by one.
    assert_eq!(plan.touches(), 2);
    assert_eq!(plan.purpose(1).unwrap().key.as_deref(), Some("spare"));
    commit_by(plan, &vault, &[&rig.blue, &spare()]).unwrap();
    let vault = rig.vault();
    assert_eq!(get(&vault, &spare(), "staging", "A").unwrap(), b"1");
    assert!(vault.keys_not_in("dev").unwrap().is_empty());
    let random = &mut random::system();
    let again = vault.admission("spare", &["staging"], NOW, random);
    assert!(matches!(again, Err(VaultError::AlreadyIn { key, scope }) if key == "spare" && scope == "staging"));
    // The key by itself, twice: it cannot open what it is not in.
    new_scope(&rig, "closed", &[&rig.blue]).unwrap();
    let vault = rig.vault();
    let plan = vault.admission("spare", &["closed"], NOW, random).unwrap();
    assert!(plan.candidates(&vault, 0).unwrap().iter().all(|c| c.key.name == "blue"));
    let salts = plan.candidates(&vault, 1).unwrap()[0].unseals.clone();
    let proof = || spare().touch(Namespace::Vault, plan.text(), &salts);
    let (first, second) = (proof(), proof());
    let refused = plan.commit(&vault, &[&first, &second], random);
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn a_key_that_is_added_when_no_key_opens_all_scopes_takes_a_touch_for_each_group() {
    let rig = Rig::new();
    add(&rig, &spare(), &["prod"]).unwrap();
    new_scope(&rig, "own", &[&spare()]).unwrap();
    let third = SoftKey::new("third", Profile::Pin, 3);
    let vault = rig.vault();
    let plan = super::keys::plan_addition(&vault, &third, &["prod", "dev", "own"]).unwrap();
    assert_eq!(plan.touches(), 2);
    commit_by(plan, &vault, &[&rig.blue, &spare()]).unwrap();
    apply(&rig.vault(), &third, "own", put("A", b"1")).unwrap();
    assert_eq!(get(&rig.vault(), &spare(), "own", "A").unwrap(), b"1");
    // Only the key that goes opens it: nobody could give it a new key.
    let vault = rig.vault();
    let plan = vault.new_scope("lone", &ids(&[&spare()]), NOW, &mut random::system()).unwrap();
    commit(plan, &vault, &spare()).unwrap();
    let removal = crate::vault::Removal::begin(&rig.vault(), "spare", &ids(&[&rig.blue, &third]), NOW, &mut random::system());
    assert!(matches!(removal, Err(VaultError::NoneIn(scope)) if scope == "lone"));
}

#[test]
fn a_scope_is_renamed_and_its_secrets_stay() {
    let rig = Rig::new();
    rig.put("dev", "A", b"1").unwrap();
    let vault = rig.vault();
    commit(vault.renaming("dev", "test", NOW).unwrap(), &vault, &rig.blue).unwrap();
    assert_eq!(rig.vault().scopes(), ["prod", "test"]);
    assert_eq!(rig.get("test", "A").unwrap(), b"1");
    rig.put("test", "B", b"2").unwrap();
    assert!(matches!(rig.vault().renaming("test", "prod", NOW), Err(VaultError::Twice(_))));
}

#[test]
fn a_scope_is_given_up_when_it_is_empty_and_leaves_no_file() {
    let rig = Rig::new();
    rig.put("dev", "A", b"1").unwrap();
    let give_up = |name: &str| {
        let vault = rig.vault();
        commit(vault.giving_up(name, NOW)?, &vault, &rig.blue)
    };
    assert!(matches!(give_up("dev"), Err(VaultError::NotEmptyScope { secrets: 1, .. })));
    // A record that somebody hid is in the index still.
    let records = rig.files().into_keys().find(|path| path.starts_with("records")).unwrap();
    let bytes = std::fs::read(rig.folder().join(&records)).unwrap();
    std::fs::remove_file(rig.folder().join(&records)).unwrap();
    assert!(matches!(give_up("dev"), Err(VaultError::NotEmptyScope { secrets: 1, .. })));
    std::fs::write(rig.folder().join(&records), bytes).unwrap();
    let removes = Changes {
        removes: vec!["A".into()],
        ..Changes::default()
    };
    let id = rig.vault().scope("dev").unwrap().id.to_string();
    apply(&rig.vault(), &rig.blue, "dev", removes).unwrap();
    give_up("dev").unwrap();
    assert_eq!(rig.vault().scopes(), ["prod"]);
    assert!(rig.files().keys().all(|path| !path.to_str().unwrap().contains(&id)));
    assert!(matches!(give_up("prod"), Err(VaultError::LastScope(_))));
}
