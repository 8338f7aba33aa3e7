//! What somebody makes of a vault with PIV keys who has its files, or once had a key or a code of it.

use std::path::Path;

use crate::device::enrolled::{EnrolledKey, Fido2, Kind, Piv, Retired};
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::{Namespace, ecdsa};
use crate::vault::error::RosterFault;
use crate::vault::random::Random;
use crate::vault::roster::{Chain, signature, signature_path, statement_path};
use crate::vault::scope::{open_with_recovery, sealed_path};
use crate::vault::statement::{FORMAT, NEWEST, SlotEntry, Statement};
use crate::vault::store::Store;
use crate::vault::{Fork, RecoveryCode, Vault, VaultError, enrolment, random};

use super::fork::{apart, forge, fork, join_by, joined, rotation, third};
use super::keys::{add, add_to, commit, remove_from};
use super::piv::{card, other_card};
use super::rig::{NOW, Rig, apply, get, put};

/// `key` for `vault`, as a signature of `signer` in `namespace` says.
pub(super) fn signed(key: &EnrolledKey, vault: Digest, signer: &SoftKey, namespace: Namespace) -> EnrolledKey {
    let mut key = key.clone();
    let Kind::Piv(piv) = &mut key.kind else { panic!() };
    let text = enrolment::piv_text(piv, vault).unwrap();
    piv.enrolment = signer.touch(namespace, &text, &[]).sshsig(&text);
    key
}

/// What is named of a victim's key in another vault.
type Forge = fn(&EnrolledKey, Digest) -> EnrolledKey;

fn fault<T>(result: Result<T, VaultError>) -> Option<RosterFault> {
    match result.err() {
        Some(VaultError::Roster { why, .. }) => Some(why),
        _ => None,
    }
}

fn write(folder: &Path, statement: &Statement, signature: Vec<u8>) -> Digest {
    let bytes = statement.to_bytes().unwrap();
    let digest = Digest::of(&bytes);
    std::fs::write(folder.join(signature_path(&digest)), signature).unwrap();
    std::fs::write(folder.join(statement_path(&digest)), bytes).unwrap();
    digest
}

fn by(key: &SoftKey, statement: &Statement) -> Vec<u8> {
    let bytes = statement.to_bytes().unwrap();
    signature(&key.touch(Namespace::Vault, &bytes, &[]), &bytes).unwrap()
}

/// Makes a new vault, which `first` and the code `of_first` open, one that `victim` and the code `given` open too: that takes public data
/// alone. Where it hides, a second statement leaves the victim's key alone on every screen.
pub(super) fn name_the_victim(
    vault: &Vault,
    first: &SoftKey,
    (of_first, given): (&RecoveryCode, &RecoveryCode),
    victim: &EnrolledKey,
    hides: bool,
    random: &mut Random,
) {
    let (folder, mut statement) = (vault.store.folder(), vault.roster.in_force().clone());
    let public = victim.piv().unwrap().open.public_key;
    statement.recovery = given.key_pair(&vault.id()).1;
    statement.keys.push(victim.clone());
    for scope in &mut statement.scopes {
        let ring = open_with_recovery(&vault.store, &vault.roster, scope, of_first).unwrap();
        let (id, key) = (random::id(random), victim.id().0);
        scope.slots.push(SlotEntry::Piv { id, key });
        for slot in &scope.slots {
            let public = match slot {
                SlotEntry::Piv { key, .. } if *key == victim.id().0 => public,
                SlotEntry::Recovery { .. } => statement.recovery,
                _ => continue,
            };
            let sealed = ring.seal_to(slot.id(), &public, random).unwrap();
            std::fs::write(folder.join(sealed_path(slot.id(), &scope.commitment)), sealed).unwrap();
        }
    }
    let before = vault.roster_digest();
    for path in [statement_path(&before), signature_path(&before)] {
        std::fs::remove_file(folder.join(path)).unwrap();
    }
    let digest = write(folder, &statement, by(first, &statement));
    if hides {
        let own = first.enrolled().id();
        statement.keys.retain(|key| key.id() != own);
        for scope in &mut statement.scopes {
            scope.slots.retain(|slot| slot.key() != Some(own));
        }
        (statement.previous, statement.random) = (vec![digest], None);
        write(folder, &statement, by(first, &statement));
    }
}

#[test]
fn t53_a_vault_remade_from_public_files_around_a_card_is_refused_before_the_first_put() {
    let home = Rig::of(card(), &["prod", "dev"]).vault();
    let victim = home.keys().remove(0);
    let mallory = || Rig::of(SoftKey::piv("spare", 66), &["prod", "dev"]);
    let remake = |rig: &Rig, victim: &EnrolledKey, hides| {
        name_the_victim(
            &rig.vault(),
            &rig.blue,
            (&rig.code, &rig.code),
            victim,
            hides,
            &mut random::system(),
        );
    };
    let forgeries: [(&str, Forge); 4] = [
        ("of the victim's own vault", |victim, _| victim.clone()),
        ("none", |_, _| card().enrolled()),
        ("by another key", |victim, vault| {
            signed(victim, vault, &SoftKey::piv("spare", 66), Namespace::Enrol)
        }),
        ("of another namespace", |victim, vault| {
            signed(victim, vault, &card(), Namespace::Vault)
        }),
    ];
    for hides in [false, true] {
        for (what, forge) in forgeries {
            let rig = mallory();
            remake(&rig, &forge(&victim, rig.vault().id()), hides);
            assert_eq!(fault(rig.elsewhere()), Some(RosterFault::Enrolment), "{what}");
        }
        // Nothing else keeps it out: with the touch that a person gives for this vault it opens.
        let rig = mallory();
        remake(&rig, &signed(&victim, rig.vault().id(), &card(), Namespace::Enrol), hides);
        apply(&rig.elsewhere().unwrap(), &card(), "prod", put("STRIPE", b"sk_live")).unwrap();
    }
}

#[test]
fn t53_a_card_is_in_no_statement_with_another_slot_or_serial_number_than_it_signed() {
    let changes: [fn(&mut Piv); 5] = [
        |piv| piv.open.public_key = other_card().enrolled().piv().unwrap().open.public_key,
        |piv| piv.open.slot = Retired::all().nth(7).unwrap(),
        |piv| piv.sign.slot = Retired::all().nth(7).unwrap(),
        |piv| piv.serial += 1,
        |piv| piv.firmware = [5, 7, 9],
    ];
    for change in changes {
        let rig = Rig::of(card(), &["prod"]);
        let altered = |statement: &mut Statement| {
            let Kind::Piv(piv) = &mut statement.keys[0].kind else { panic!() };
            change(piv);
        };
        forge(&rig, &rig.vault(), &card(), altered);
        assert_eq!(fault(rig.elsewhere()), Some(RosterFault::Enrolment));
        // Not with another signature of its own either: what a key is stands from its enrolment on.
        let rig = Rig::of(card(), &["prod"]);
        let id = rig.vault().id();
        forge(&rig, &rig.vault(), &card(), |statement| {
            altered(statement);
            statement.keys[0] = signed(&statement.keys[0], id, &card(), Namespace::Enrol);
        });
        assert_eq!(fault(rig.elsewhere()), Some(RosterFault::Content));
    }
}

#[test]
fn t13_t53_sides_that_say_different_things_of_a_card_are_not_joined() {
    let rig = Rig::of(card(), &["prod"]);
    add_to(&rig.vault(), &card(), &other_card(), &["prod"]).unwrap();
    let known = rig.vault();
    remove_from(&known, "other", &card()).unwrap();
    let late = SoftKey::piv("late", 9);
    add_to(&rig.vault(), &card(), &late, &["prod"]).unwrap();
    forge(&rig, &known, &other_card(), |statement| {
        let mut other = late.enrolled();
        let Kind::Piv(piv) = &mut other.kind else { panic!() };
        piv.serial = 7;
        statement.keys.push(signed(&other, known.id(), &late, Namespace::Enrol));
    });
    let files = rig.files();
    let refused = join_by(&fork(&rig), &[&card()], &[]).unwrap_err();
    assert!(matches!(&refused, VaultError::OtherKey(name) if name == "late"), "{refused}");
    assert_eq!(rig.files(), files);
}

/// Whoever has a code that was replaced says that a FIDO2 key is a card, which signs by the point of its lease credential.
#[test]
fn p9_t53_a_side_that_makes_a_card_of_a_fido2_key_is_refused_and_costs_nothing() {
    let rig = Rig::new();
    rig.put("prod", "TOKEN", b"s3cret").unwrap();
    let known = rig.vault();
    let (plan, _) = known.new_code(&[rig.blue.enrolled().id()], NOW, &mut random::system()).unwrap();
    commit(plan, &known, &rig.blue).unwrap();
    let files = rig.files();
    let mut side = known.roster.in_force().clone();
    (side.previous, side.random, side.v) = (vec![known.roster_digest()], None, NEWEST);
    let mut as_card = card().enrolled();
    if let Kind::Piv(piv) = &mut as_card.kind {
        piv.sign.public_key = *rig.blue.enrolled().signer();
    }
    as_card.name = "blue".into();
    side.keys = vec![as_card];
    for scope in &mut side.scopes {
        scope.slots.retain(|slot| slot.key().is_none());
    }
    let (private, point) = rig.code.key_pair(&known.id());
    let bytes = side.to_bytes().unwrap();
    let by_code = ecdsa::sign(private.scalar(), &point, Namespace::Vault, &bytes).unwrap();
    let digest = write(&rig.folder(), &side, by_code.into_bytes());
    let opened = Fork::open(&rig.folder(), &rig.home.join("state"));
    assert!(matches!(fault(opened), Some(RosterFault::Enrolment)));
    for path in [statement_path(&digest), signature_path(&digest)] {
        std::fs::remove_file(rig.folder().join(path)).unwrap();
    }
    assert_eq!(rig.files(), files);
    assert_eq!(rig.get("prod", "TOKEN").unwrap(), b"s3cret");
}

/// The other way round, by somebody who had the card: it is no FIDO2 key afterwards.
#[test]
fn t13_t53_a_card_becomes_no_fido2_key() {
    let rig = Rig::of(card(), &["prod"]);
    forge(&rig, &rig.vault(), &card(), |statement| {
        let mut key = third().enrolled();
        let Kind::Fido2(Fido2 { lease, .. }) = &mut key.kind else {
            panic!()
        };
        lease.public_key = *card().enrolled().signer();
        key.name = "card".into();
        statement.keys = vec![key];
        statement.v = FORMAT;
        for scope in &mut statement.scopes {
            scope.slots.retain(|slot| slot.key().is_none());
        }
    });
    assert_eq!(fault(rig.elsewhere()), Some(RosterFault::Content));
}

#[test]
fn a_fork_whose_sides_re_keyed_a_scope_is_joined_by_a_card() {
    let rig = Rig::of(card(), &["prod", "dev"]);
    rig.put("prod", "TOKEN", b"s3cret").unwrap();
    let rotate = |vault: &Vault| {
        commit(rotation(vault, &["prod"], &card()), vault, &card()).unwrap();
    };
    apart(&rig, rotate, rotate);
    let vault = joined(&rig);
    assert_eq!(vault.roster.in_force().scope("prod").unwrap().epoch, 3);
    assert_eq!(rig.get("prod", "TOKEN").unwrap(), b"s3cret");
    rig.put("prod", "TOKEN", b"changed").unwrap();
    // Where what is sealed to it is gone on one side, it cannot.
    apart(&rig, rotate, rotate);
    let opened = fork(&rig);
    let chain = Chain::read(&Store::open(&rig.folder()).unwrap()).unwrap();
    let scope = chain.statement(&chain.ends()[0]).unwrap().scope("prod").unwrap();
    let slot = scope.slot_of(card().enrolled().id()).unwrap().id();
    std::fs::remove_file(rig.folder().join(sealed_path(slot, &scope.commitment))).unwrap();
    let refused = join_by(&opened, &[&card()], &[]).unwrap_err();
    assert!(matches!(&refused, VaultError::NoneJoins { .. }), "{refused}");
}

#[test]
fn a_damaged_or_missing_file_of_a_card_costs_the_other_keys_nothing() {
    let rig = Rig::new();
    rig.put("prod", "TOKEN", b"s3cret").unwrap();
    add(&rig, &card(), &["prod", "dev"]).unwrap();
    let vault = rig.vault();
    let scope = vault.scope("prod").unwrap();
    let path = sealed_path(scope.slot_of(card().enrolled().id()).unwrap().id(), &scope.commitment);
    let file = rig.folder().join(&path);
    let good = std::fs::read(&file).unwrap();
    let mut off = good.clone();
    off[9] ^= 1;
    let damages: [&dyn Fn(); 3] = [
        &|| std::fs::write(&file, &off).unwrap(),
        &|| std::fs::write(&file, &good[..20]).unwrap(),
        &|| std::fs::remove_file(&file).unwrap(),
    ];
    for damage in damages {
        damage();
        let (vault, standing) = (rig.vault(), rig.vault().standing(&["prod"]).unwrap());
        let names: Vec<_> = vault.candidates(&standing).unwrap().into_iter().map(|c| c.key.name).collect();
        assert_eq!(names, ["blue"]);
        let left_out = vault.left_out(&standing).unwrap();
        assert!(matches!(&left_out[..], [(key, why)] if key == "card" && why.to_string().contains(&path)));
        assert_eq!(rig.get("prod", "TOKEN").unwrap(), b"s3cret");
        rig.put("prod", "OTHER", b"2").unwrap();
        assert!(vault.left_out(&vault.standing(&["dev"]).unwrap()).unwrap().is_empty());
    }
    // A new key of the scope mends it, by the key that is left.
    commit(rotation(&rig.vault(), &["prod"], &rig.blue), &rig.vault(), &rig.blue).unwrap();
    assert_eq!(get(&rig.vault(), &card(), "prod", "TOKEN").unwrap(), b"s3cret");
}
