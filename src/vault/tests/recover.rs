//! Back in with the recovery code.

use crate::device::enrolled::Profile;
use crate::device::proof::Proof;
use crate::device::soft::SoftKey;
use crate::encoding::sshsig::Namespace;
use crate::vault::statement::SlotEntry;
use crate::vault::{InForce, Recovering, Recovery, RecoveryCode, Vault, VaultError, random};

use super::keys::{add, commit, remove_from};
use super::rig::{NOW, Rig, apply, get, put};

pub fn plan(vault: &Vault, key: &SoftKey, lost: &[&str]) -> Result<Recovery, VaultError> {
    let random = &mut random::system();
    let lost: Vec<String> = lost.iter().map(|name| (*name).to_owned()).collect();
    let recovering = Recovering::begin(vault, &vault.whole_standing()?, key.enrolled(), &lost, NOW, random)?;
    let touches = recovering.enrolments()?;
    let proofs: Vec<Proof> = touches.iter().map(|e| key.touch(Namespace::Enrol, e.text(), e.unseals())).collect();
    recovering.seal(&proofs.iter().collect::<Vec<_>>(), random)
}

pub fn recover(vault: &Vault, code: &RecoveryCode, key: &SoftKey, lost: &[&str]) -> Result<RecoveryCode, VaultError> {
    vault.check_code(code)?;
    let recovery = plan(vault, key, lost)?;
    recovery.finish(vault, code, &mut random::system())?.sure()?;
    Ok(fresh(&recovery))
}

fn fresh(recovery: &Recovery) -> RecoveryCode {
    RecoveryCode::parse(&recovery.fresh().to_text()).expect("a code is read as it is printed")
}

fn green() -> SoftKey {
    SoftKey::new("green", Profile::Pin, 4)
}

fn recovery_slots(vault: &Vault) -> Vec<SlotEntry> {
    let slots = vault.roster.in_force().scopes.iter().flat_map(|scope| &scope.slots);
    slots.filter(|slot| matches!(slot, SlotEntry::Recovery { .. })).cloned().collect()
}

#[test]
fn the_only_key_is_lost_and_the_code_lets_another_in() {
    let rig = Rig::with(Profile::Pin, &["prod", "dev", "web"]);
    rig.put("prod", "A", b"1").unwrap();
    rig.put("web", "B", b"2").unwrap();
    let before = rig.vault();
    let recovery = plan(&before, &green(), &["blue"]).unwrap();
    let exposed: Vec<_> = recovery.exposed().iter().map(|listed| listed.name.as_str()).collect();
    assert_eq!(exposed, ["A", "B"]);
    recovery.finish(&before, &rig.code, &mut random::system()).unwrap().sure().unwrap();
    let fresh = fresh(&recovery);
    let vault = rig.vault();
    assert_eq!(vault.keys().len(), 1);
    assert_eq!(get(&vault, &green(), "prod", "A").unwrap(), b"1");
    assert_eq!(get(&vault, &green(), "web", "B").unwrap(), b"2");
    apply(&vault, &green(), "dev", put("C", b"3")).unwrap();
    assert_eq!(vault.unseal_with_recovery(&fresh, "dev", "C").unwrap().expose(), b"3");
    // The code before it, and the lost key, open nothing that is in force.
    assert!(matches!(
        vault.unseal_with_recovery(&rig.code, "dev", "C"),
        Err(VaultError::WrongCode)
    ));
    assert!(matches!(vault.check_code(&rig.code), Err(VaultError::WrongCode)));
    assert!(
        vault
            .candidates(&vault.standing(&["prod"]).unwrap())
            .unwrap()
            .iter()
            .all(|c| c.key.id() == green().enrolled().id())
    );
    assert!(recovery_slots(&before).iter().all(|old| !recovery_slots(&vault).contains(old)));
    // A machine that knows nothing of it reads the same chain.
    assert_eq!(get(&rig.elsewhere().unwrap(), &green(), "dev", "C").unwrap(), b"3");
}

#[test]
fn a_key_that_is_kept_opens_as_before_and_one_name_is_had_by_one_key() {
    let rig = Rig::new();
    let absent = SoftKey::new("absent", Profile::TouchOnly, 3);
    add(&rig, &absent, &["prod"]).unwrap();
    rig.put("prod", "A", b"1").unwrap();
    let vault = rig.vault();
    assert!(matches!(plan(&vault, &green(), &["nobody"]), Err(VaultError::NoKey(_))));
    let again = SoftKey::new("blue", Profile::Pin, 5);
    assert!(matches!(plan(&vault, &again, &[]), Err(VaultError::Twice(_))));
    // A key that was reset comes back under its own name, the old entry declared lost.
    recover(&vault, &rig.code, &again, &["blue"]).unwrap();
    let vault = rig.vault();
    assert_eq!(get(&vault, &absent, "prod", "A").unwrap(), b"1");
    assert_eq!(get(&vault, &again, "prod", "A").unwrap(), b"1");
    assert_eq!(vault.keys_not_in("dev").unwrap(), ["absent"]);
    remove_from(&vault, "absent", &again).unwrap();
    assert_eq!(get(&rig.vault(), &again, "prod", "A").unwrap(), b"1");
}

#[test]
fn a_key_that_came_in_after_what_was_shown_is_not_kept_unseen() {
    let rig = Rig::new();
    let shown = rig.vault().whole_standing().unwrap();
    add(&rig, &SoftKey::new("absent", Profile::TouchOnly, 3), &["prod"]).unwrap();
    let lost = ["blue".to_owned()];
    let late = Recovering::begin(&rig.vault(), &shown, green().enrolled(), &lost, NOW, &mut random::system());
    assert!(matches!(late, Err(VaultError::Changed)));
}

#[test]
fn a_code_of_another_vault_changes_nothing() {
    let rig = Rig::new();
    let (vault, files) = (rig.vault(), rig.files());
    let other = RecoveryCode::generate(&mut random::system());
    assert!(matches!(recover(&vault, &other, &green(), &["blue"]), Err(VaultError::WrongCode)));
    let signed = plan(&vault, &green(), &["blue"])
        .unwrap()
        .finish(&vault, &other, &mut random::system());
    assert!(matches!(signed, Err(VaultError::WrongCode)));
    assert_eq!(rig.files(), files);
}

#[test]
fn p9_a_recovery_that_is_cut_leaves_the_old_code_or_the_new_one() {
    let mut seen = [0, 0];
    for step in (0..).step_by(7) {
        let rig = Rig::with(Profile::Pin, &["prod"]);
        rig.put("prod", "A", b"1").unwrap();
        let vault = rig.vault();
        let recovery = plan(&vault, &green(), &["blue"]).unwrap();
        vault.store.faults.cut_at(step);
        let done = recovery.finish(&vault, &rig.code, &mut random::system());
        let after = rig.vault();
        let old = after.check_code(&rig.code).is_ok();
        // The new code is told exactly where it holds, though something failed after that.
        assert_eq!(done.is_err(), old, "step {step}");
        let holds = if old {
            after.check_code(&fresh(&recovery)).is_err()
        } else {
            after.check_code(&fresh(&recovery)).is_ok()
        };
        assert!(holds, "step {step}");
        let sure = done.and_then(InForce::sure);
        let key = if old { &rig.blue } else { &green() };
        assert_eq!(get(&after, key, "prod", "A").unwrap(), b"1", "step {step}");
        seen[usize::from(old)] += 1;
        if sure.is_ok() {
            break;
        }
    }
    assert!(seen[0] > 1 && seen[1] > 5, "{seen:?}");
}

#[test]
fn a_memory_that_cannot_be_written_costs_no_new_code() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    rig.put("prod", "A", b"1").unwrap();
    let vault = rig.vault();
    let recovery = plan(&vault, &green(), &["blue"]).unwrap();
    vault.memory.store.faults.cut_at(0);
    let done = recovery.finish(&vault, &rig.code, &mut random::system()).unwrap();
    let (digest, fresh) = (done.sure().unwrap(), fresh(&recovery));
    assert_ne!(vault.memory.accepted().unwrap().roster(), digest);
    let after = rig.vault();
    after.check_code(&fresh).unwrap();
    assert_eq!(after.memory.accepted().unwrap().roster(), digest);
    assert_eq!(get(&after, &green(), "prod", "A").unwrap(), b"1");
}

#[test]
fn a_new_code_by_a_touch_voids_the_old_one_and_opens_what_is_written_from_then_on() {
    let rig = Rig::new();
    let absent = SoftKey::new("absent", Profile::TouchOnly, 3);
    add(&rig, &absent, &["prod"]).unwrap();
    rig.put("prod", "A", b"1").unwrap();
    let before = rig.vault();
    let blue = rig.blue.enrolled().id();
    let (plan, fresh) = before.new_code(&[blue], NOW, &mut random::system()).unwrap();
    commit(plan, &before, &rig.blue).unwrap();
    let vault = rig.vault();
    assert!(matches!(vault.check_code(&rig.code), Err(VaultError::WrongCode)));
    rig.put("prod", "B", b"2").unwrap();
    let vault = rig.vault();
    for (name, value) in [("A", b"1"), ("B", b"2")] {
        assert_eq!(vault.unseal_with_recovery(&fresh, "prod", name).unwrap().expose(), value);
        // A key that was not there stays in.
        assert_eq!(get(&vault, &absent, "prod", name).unwrap(), value);
    }
    // What the old code opened before has no part in what is sealed from now on.
    assert!(vault.unseal_with_recovery(&rig.code, "prod", "B").is_err());
    assert!(recovery_slots(&before).iter().all(|old| !recovery_slots(&vault).contains(old)));
    assert_eq!((vault.epoch("prod").unwrap(), vault.epoch("dev").unwrap()), (2, 2));
    recover(&vault, &fresh, &green(), &["blue"]).unwrap();
    assert_eq!(get(&rig.vault(), &green(), "prod", "B").unwrap(), b"2");
    // A key that is not in every scope cannot.
    let by_absent = rig.vault().new_code(&[absent.enrolled().id()], NOW, &mut random::system());
    assert!(matches!(by_absent, Err(VaultError::NoneIn(scope)) if scope == "dev"));
}
