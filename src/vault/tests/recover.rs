//! Back in with the recovery code.

use crate::device::enrolled::Profile;
use crate::device::proof::Proof;
use crate::device::soft::SoftKey;
use crate::encoding::sshsig::Namespace;
use crate::vault::statement::SlotEntry;
use crate::vault::{Recovering, Recovery, RecoveryCode, Vault, VaultError, random};

use super::keys::{add, remove_from};
use super::rig::{NOW, Rig, apply, get, put};

fn plan(vault: &Vault, key: &SoftKey, lost: &[&str]) -> Result<Recovery, VaultError> {
    let random = &mut random::system();
    let lost: Vec<String> = lost.iter().map(|name| (*name).to_owned()).collect();
    let recovering = Recovering::begin(vault, vault.roster_digest(), key.enrolled(), &lost, NOW, random)?;
    let touches = recovering.enrolments()?;
    let proofs: Vec<Proof> = touches.iter().map(|e| key.touch(Namespace::Enrol, e.text(), e.salts())).collect();
    recovering.seal(&proofs.iter().collect::<Vec<_>>(), random)
}

pub fn recover(vault: &Vault, code: &RecoveryCode, key: &SoftKey, lost: &[&str]) -> Result<RecoveryCode, VaultError> {
    vault.check_code(code)?;
    plan(vault, key, lost)?
        .finish(vault, code, &mut random::system())
        .map(|(_, code)| code)
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
    let (_, fresh) = recovery.finish(&before, &rig.code, &mut random::system()).unwrap();
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
            .all(|c| c.key == green().enrolled())
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
    let shown = rig.vault().roster_digest();
    add(&rig, &SoftKey::new("absent", Profile::TouchOnly, 3), &["prod"]).unwrap();
    let lost = ["blue".to_owned()];
    let late = Recovering::begin(&rig.vault(), shown, green().enrolled(), &lost, NOW, &mut random::system());
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
        assert!(done.is_err() || !old, "step {step}: acknowledged and lost");
        let key = if old { &rig.blue } else { &green() };
        assert_eq!(get(&after, key, "prod", "A").unwrap(), b"1", "step {step}");
        seen[usize::from(old)] += 1;
        if done.is_ok() {
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
    let (digest, fresh) = recovery.finish(&vault, &rig.code, &mut random::system()).unwrap();
    assert_ne!(vault.memory.roster().unwrap(), digest);
    let after = rig.vault();
    after.check_code(&fresh).unwrap();
    assert_eq!(after.memory.roster().unwrap(), digest);
    assert_eq!(get(&after, &green(), "prod", "A").unwrap(), b"1");
}
