//! Vaults that PIV keys open: the private half of their slots is on a card, which signs and opens by different slots.

use crate::device::candidate::{Candidate, Unseal};
use crate::device::enrolled::Profile;
use crate::device::proof::{Evidence, Proof};
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::{Namespace, ecdsa};
use crate::vault::error::RosterFault;
use crate::vault::roster::{signature_path, statement_path};
use crate::vault::slot::Private;
use crate::vault::statement::{FORMAT, NEWEST};
use crate::vault::testing::Folder;
use crate::vault::{Genesis, Recovering, Statement, Vault, VaultError, random};

use super::keys::{add_to, commit, remove_from};
use super::rig::{NOW, Rig, apply, get, put, wanted};

pub(super) fn card() -> SoftKey {
    SoftKey::piv("card", 4)
}

pub(super) fn other_card() -> SoftKey {
    SoftKey::piv("other", 5)
}

/// A vault with the scopes `dev` and `prod` that a card alone opens.
fn alone() -> Rig {
    Rig::of(card(), &["prod", "dev"])
}

pub(super) fn candidate(vault: &Vault, key: &SoftKey, scopes: &[&str]) -> Candidate {
    let candidates = vault.candidates(&vault.standing(scopes).unwrap()).unwrap();
    candidates.into_iter().find(|c| c.key.id() == key.enrolled().id()).unwrap()
}

fn statement(vault: &Vault) -> &Statement {
    vault.roster.in_force()
}

#[test]
fn a_card_alone_makes_a_vault_changes_it_and_opens_it_for_a_lease_that_it_does_not_sign() {
    let rig = alone();
    apply(&rig.vault(), &card(), "prod", put("TOKEN", b"s3cret")).unwrap();
    let vault = rig.vault();
    assert_eq!(statement(&vault).v, NEWEST);
    assert_eq!(get(&vault, &card(), "prod", "TOKEN").unwrap(), b"s3cret");
    let standing = vault.standing(&["prod"]).unwrap();
    let proof = card().opening(b"lease", &candidate(&vault, &card(), &["prod"]).unseals);
    assert_eq!((proof.evidence(), proof.sshsig(b"lease")), (&Evidence::Opening, None));
    let wanted = [wanted(&vault, "prod", "TOKEN").unwrap()];
    let material = vault.unseal(&proof, Digest::of(b"lease"), &standing, &wanted).unwrap();
    assert_eq!(material.value("prod", "TOKEN").unwrap().expose(), b"s3cret");
    // What signs nothing changes nothing.
    let changed = vault.apply(&proof, Digest::of(b"lease"), &standing, &put("A", b"x"), NOW, &mut random::system());
    assert!(matches!(changed, Err(VaultError::WrongProof(_))));
    assert_eq!(vault.unseal_with_recovery(&rig.code, "prod", "TOKEN").unwrap().expose(), b"s3cret");
}

#[test]
fn a_card_opens_two_scopes_with_an_agreement_for_each() {
    let rig = alone();
    for (scope, value) in [("dev", b"1"), ("prod", b"2")] {
        apply(&rig.vault(), &card(), scope, put("A", value)).unwrap();
    }
    let vault = rig.vault();
    let candidate = candidate(&vault, &card(), &["prod", "dev"]);
    assert_eq!(candidate.sealed().unwrap().len(), 2);
    assert_eq!(candidate.salts(), None);
    let proof = card().opening(b"lease", &candidate.unseals);
    let standing = vault.standing(&["prod", "dev"]).unwrap();
    let both = [wanted(&vault, "prod", "A").unwrap(), wanted(&vault, "dev", "A").unwrap()];
    let material = vault.unseal(&proof, Digest::of(b"lease"), &standing, &both).unwrap();
    assert_eq!(material.value("dev", "A").unwrap().expose(), b"1");
    assert_eq!(material.value("prod", "A").unwrap().expose(), b"2");
}

#[test]
fn cards_and_fido2_keys_let_each_other_in_and_take_each_other_out() {
    let rig = Rig::new();
    rig.put("prod", "TOKEN", b"s3cret").unwrap();
    assert_eq!(statement(&rig.vault()).v, FORMAT);
    add_to(&rig.vault(), &rig.blue, &card(), &["prod", "dev"]).unwrap();
    assert_eq!(statement(&rig.vault()).v, NEWEST);
    assert_eq!(get(&rig.vault(), &card(), "prod", "TOKEN").unwrap(), b"s3cret");
    add_to(&rig.vault(), &card(), &other_card(), &["prod"]).unwrap();
    add_to(&rig.vault(), &card(), &SoftKey::new("green", Profile::Pin, 6), &["dev"]).unwrap();
    remove_from(&rig.vault(), "blue", &card()).unwrap();
    remove_from(&rig.vault(), "card", &other_card()).expect_err("other is not in dev");
    for key in [card(), other_card()] {
        assert_eq!(get(&rig.vault(), &key, "prod", "TOKEN").unwrap(), b"s3cret");
    }
    apply(&rig.vault(), &other_card(), "prod", put("TOKEN", b"changed")).unwrap();
    assert_eq!(get(&rig.vault(), &card(), "prod", "TOKEN").unwrap(), b"changed");
    let vault = rig.vault();
    let candidates = vault.candidates(&vault.standing(&["prod"]).unwrap()).unwrap();
    assert!(candidates.iter().all(|candidate| candidate.key.name != "blue"));
}

#[test]
fn a_scope_is_re_keyed_to_a_cards_slot_which_stays_the_same() {
    let rig = alone();
    apply(&rig.vault(), &card(), "prod", put("TOKEN", b"s3cret")).unwrap();
    let vault = rig.vault();
    let before = vault.scope("prod").unwrap().clone();
    let plan = vault
        .rotation(&["prod"], card().enrolled().id(), NOW, &mut random::system())
        .unwrap();
    assert_eq!(plan.touches(), 1);
    commit(plan, &vault, &card()).unwrap();
    let vault = rig.vault();
    let after = vault.scope("prod").unwrap();
    assert_eq!((after.epoch, &after.slots), (2, &before.slots));
    assert_ne!(after.commitment, before.commitment);
    assert_eq!(get(&vault, &card(), "prod", "TOKEN").unwrap(), b"s3cret");
}

#[test]
fn a_card_gets_new_scopes_and_is_let_into_those_that_there_are() {
    let rig = Rig::new();
    add_to(&rig.vault(), &rig.blue, &card(), &["prod"]).unwrap();
    let (vault, random) = (rig.vault(), &mut random::system());
    let plan = vault.new_scope("web", &[card().enrolled().id()], NOW, random).unwrap();
    commit(plan, &vault, &card()).unwrap();
    apply(&rig.vault(), &card(), "web", put("A", b"1")).unwrap();
    let vault = rig.vault();
    let plan = vault.admission("card", &["dev"], NOW, random).unwrap();
    commit(plan, &vault, &rig.blue).unwrap();
    rig.put("dev", "B", b"2").unwrap();
    assert_eq!(get(&rig.vault(), &card(), "dev", "B").unwrap(), b"2");
    assert_eq!(get(&rig.vault(), &card(), "web", "A").unwrap(), b"1");
}

#[test]
fn the_recovery_code_lets_a_card_in() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    let (vault, random) = (rig.vault(), &mut random::system());
    let lost = ["blue".to_owned()];
    let recovering = Recovering::begin(&vault, &vault.whole_standing().unwrap(), card().enrolled(), &lost, NOW, random).unwrap();
    let asked = recovering.enrolments().unwrap();
    let proofs: Vec<Proof> = asked
        .iter()
        .map(|e| card().touch(Namespace::Enrol, e.text(), e.unseals()))
        .collect();
    let recovery = recovering.seal(&proofs.iter().collect::<Vec<_>>(), random).unwrap();
    recovery.finish(&vault, &rig.code, random).unwrap().sure().unwrap();
    assert_eq!(get(&rig.vault(), &card(), "prod", "A").unwrap(), b"1");
}

#[test]
fn a_card_that_does_not_open_what_is_sealed_to_it_is_not_enrolled() {
    let (home, random) = (Folder::new(), &mut random::system());
    let genesis = Genesis::begin(&home.join("vault"), "laptop", &["prod"], card().enrolled(), random).unwrap();
    let asked = genesis.enrolments().unwrap();
    // Another genesis has another trial: its proof is over the text of this one, and opens another message.
    let other = Genesis::begin(&home.join("vault"), "laptop", &["prod"], card().enrolled(), random).unwrap();
    let trial = other.enrolments().unwrap()[0].unseals().to_vec();
    let proof = card().touch(Namespace::Enrol, asked[0].text(), &trial);
    let sealed = genesis.seal(&[&proof], NOW, random);
    assert!(matches!(sealed.err(), Some(VaultError::WrongProof(_))));
}

#[test]
fn a_card_is_enrolled_once_and_two_with_one_serial_number_are_not() {
    let rig = Rig::new();
    add_to(&rig.vault(), &rig.blue, &card(), &["prod"]).unwrap();
    let mut again = card().enrolled();
    again.name = "again".into();
    let again = crate::vault::Addition::begin(&rig.vault(), again, &["prod"], NOW, &mut random::system());
    assert!(matches!(again.err(), Some(VaultError::Twice(_))));
}

#[test]
fn t53_a_scope_key_that_somebody_sealed_to_a_card_is_refused() {
    let rig = alone();
    apply(&rig.vault(), &card(), "prod", put("TOKEN", b"s3cret")).unwrap();
    let vault = rig.vault();
    let scope = vault.scope("prod").unwrap().clone();
    let slot = scope.slot_of(card().enrolled().id()).unwrap().id();
    let path = rig
        .home
        .join("vault")
        .join(crate::vault::scope::sealed_path(slot, &scope.commitment));
    // Base mode lets anybody seal to the public half: a key of his own.
    let ring = crate::vault::scope::Ring::generate(vault.id(), scope.id, scope.epoch, &mut random::system());
    let public = card().enrolled().piv().unwrap().open.public_key;
    std::fs::write(&path, ring.seal_to(slot, &public, &mut random::system()).unwrap()).unwrap();
    assert!(matches!(
        get(&rig.vault(), &card(), "prod", "TOKEN"),
        Err(VaultError::WrongScopeKey { .. })
    ));
    // A point off the curve goes to no card.
    let mut off = std::fs::read(&path).unwrap();
    off[9] ^= 1;
    std::fs::write(&path, off).unwrap();
    assert!(matches!(
        vault.candidates(&vault.standing(&["prod"]).unwrap()),
        Err(VaultError::Damaged { .. })
    ));
}

#[test]
fn t11_a_proof_of_another_slot_of_the_card_or_of_something_else_opens_nothing() {
    let rig = alone();
    apply(&rig.vault(), &card(), "prod", put("A", b"1")).unwrap();
    let vault = rig.vault();
    let standing = vault.standing(&["prod"]).unwrap();
    let wanted = [wanted(&vault, "prod", "A").unwrap()];
    let Unseal::Sealed(sealed) = candidate(&vault, &card(), &["prod"]).unseals.remove(0) else {
        panic!()
    };
    let random = &mut random::system();
    let message = crate::vault::slot::seal_base(&sealed.to, &sealed.info, b"elsewhere", &[7; 32], random).unwrap();
    let elsewhere = Unseal::Sealed(crate::device::candidate::Sealed {
        aad: b"elsewhere".to_vec(),
        message,
        ..sealed
    });
    let proof = card().opening(b"lease", &[elsewhere]);
    let opened = vault.unseal(&proof, Digest::of(b"lease"), &standing, &wanted);
    assert!(matches!(opened.err(), Some(VaultError::WrongScopeKey { .. })));
}

/// Writes a statement that follows the end, with a signature by whoever it is.
fn follow(rig: &Rig, signature: impl FnOnce(&[u8]) -> String) -> Result<Vault, VaultError> {
    let vault = rig.vault();
    let mut next = statement(&vault).clone();
    (next.previous, next.random) = (vec![vault.roster_digest()], None);
    let bytes = next.to_bytes().unwrap();
    let digest = Digest::of(&bytes);
    let folder = rig.home.join("vault");
    std::fs::write(folder.join(statement_path(&digest)), &bytes).unwrap();
    std::fs::write(folder.join(signature_path(&digest)), signature(&bytes)).unwrap();
    Vault::open(&folder, &rig.home.join("elsewhere"))
}

#[test]
fn t53_a_statement_is_signed_by_the_slot_that_signs_and_by_no_other_key() {
    fn fault(result: Result<Vault, VaultError>) -> Option<RosterFault> {
        match result.err() {
            Some(VaultError::Roster { why, .. }) => Some(why),
            _ => None,
        }
    }
    let by = |key: &SoftKey| {
        let key = key.touch(Namespace::Vault, b"", &[]);
        move |_: &[u8]| key.sshsig(b"").unwrap()
    };
    let good = follow(&alone(), |bytes| card().touch(Namespace::Vault, bytes, &[]).sshsig(bytes).unwrap());
    assert!(good.is_ok(), "{:?}", good.err());
    let stranger = follow(&alone(), |bytes| {
        other_card().touch(Namespace::Vault, bytes, &[]).sshsig(bytes).unwrap()
    });
    assert_eq!(fault(stranger), Some(RosterFault::Signer));
    assert_eq!(fault(follow(&alone(), by(&card()))), Some(RosterFault::Signature));
    let mine = |bytes: &[u8]| {
        let (private, point) = Private::generate(&mut random::system());
        ecdsa::sign(private.scalar(), &point, Namespace::Vault, bytes).unwrap()
    };
    assert_eq!(fault(follow(&alone(), mine)), Some(RosterFault::Signer));
    let for_a_lease = |bytes: &[u8]| card().touch(Namespace::Lease, bytes, &[]).sshsig(bytes).unwrap();
    assert_eq!(fault(follow(&alone(), for_a_lease)), Some(RosterFault::Signature));
}
