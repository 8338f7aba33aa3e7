//! The next statement of the roster and what its touches do: the one path of every change of keys and scopes.
//!
//! Every touch of a plan signs the statement; the signature of the first goes into the roster. A touch has two hmac-secret salts
//! (CTAP 2.1, 12.5), and each of them opens a scope or makes a slot: one touch opens two scopes, or opens one and renews the slot that
//! opened it. A PIV key is touched once for each scope that it opens, and once more to sign.

use std::collections::{BTreeMap, BTreeSet};

use crate::device::candidate::{Candidate, Unseal};
use crate::device::enrolled::{EnrolledKey, KeyId};
use crate::device::proof::Proof;
use crate::encoding::Digest;
use crate::encoding::sshsig::{Namespace, Point, ecdsa};

use super::accepted::{Accepted, remember_made};
use super::bytes::Id;
use super::enrolment::Making;
use super::error::VaultError;
use super::index::head_path;
use super::journal::{self, Change, InForce};
use super::merge::Claim;
use super::random::Random;
use super::recovery::RecoveryCode;
use super::roster::{self, Roster, signature_path, statement_path};
use super::scope::{self, Ring, carry_path, half_path, sealed_path};
use super::statement::{ScopeEntry, Statement};
use super::store::{Lock, Store};
use super::tree::{Index, Trust};
use super::{SCOPES_PER_TOUCH, Standing, Vault, those_left, tree};

/// The next statement, waiting for the touches of enrolled keys.
pub struct Plan {
    pub(super) text: Vec<u8>,
    pub(super) statement: Statement,
    pub(super) touches: Vec<Touch>,
    pub(super) works: Vec<(Id, Work)>,
    pub(super) halves: Vec<(Id, Vec<u8>)>,
    /// Files that are not needed afterwards, beside those for which the statements speak.
    pub(super) drops: Vec<String>,
    /// Where a fork of the roster is joined: what is joined in the scopes that get a new key.
    pub(super) joins: BTreeMap<Id, ForkedScope>,
}

/// What is joined in a scope where a fork of the roster is: as it is shown before the touch, and has to be there after it.
pub(super) struct ForkedScope {
    /// Which heads count, and how.
    pub trust: Trust,
    pub heads: Vec<Digest>,
    pub claims: Vec<Claim>,
    /// Whether heads under other keys are left as they are.
    pub leaves_aside: bool,
}

/// What a touch of a plan is for, in the names of keys and scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// The key to be touched; nothing where any that opens the scopes will do.
    pub key: Option<String>,
    /// Scopes that the touch opens.
    pub opens: Vec<String>,
    /// Scopes into which it makes the key a new way.
    pub makes: Vec<String>,
}

/// One touch.
pub(super) struct Touch {
    /// By this key; by any that opens the scopes when there is none.
    pub by: Option<KeyId>,
    pub opens: Vec<Open>,
    pub makes: Vec<Making>,
}

/// A scope to be opened, and what it stood at when the plan was made.
pub(super) struct Open {
    /// On which side: the first, except where a fork of the roster is joined.
    pub side: usize,
    pub scope: String,
    pub standing: Standing,
}

/// What is done in a scope once its touches are there.
pub(super) enum Work {
    /// Seal its key to a new slot.
    Grant(Id, Point),
    /// Give it a new key, sealed to the slots that the statement leaves. The ring holds the new key alone.
    Rekey(Ring),
    /// Begin it: its first key, sealed to its slots, and an empty index.
    Found(Ring),
    /// Give it up, if its index names no secret.
    GiveUp,
}

/// A scope that a touch has opened.
struct Opened {
    side: usize,
    scope: Id,
    standing: Standing,
    ring: Ring,
}

/// A scope's new state.
struct State {
    scope: Id,
    head: Digest,
    /// Ids of its records, where it joins several.
    records: Option<Vec<Id>>,
}

impl Plan {
    /// The statement, to be signed in the namespace `touchlease-vault` by every touch of the plan.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The statements that this one follows, byte for byte, in the order in which it names them.
    ///
    /// # Errors
    /// [`VaultError::Changed`] when the vault is another one.
    pub fn follows(&self, vault: &Vault) -> Result<Vec<Vec<u8>>, VaultError> {
        let text = |digest: &Digest| vault.roster.statement(digest).and_then(|before| before.to_bytes().ok());
        let texts = self.statement.previous.iter().map(text).collect::<Option<_>>();
        texts.ok_or(VaultError::Changed)
    }

    /// Where a fork of the roster is joined: scopes by name, each with the heads that become one.
    #[must_use]
    pub fn heads(&self) -> Vec<(String, Vec<Digest>)> {
        let scopes = self.statement.scopes.iter();
        let heads = scopes.filter_map(|scope| Some((scope.name.clone(), self.joins.get(&scope.id)?.heads.clone())));
        heads.collect()
    }

    /// The records that this takes in, as the folder shows them.
    #[must_use]
    pub fn claims(&self) -> Vec<Claim> {
        let mut claims: Vec<Claim> = self.joins.values().flat_map(|join| &join.claims).cloned().collect();
        claims.sort_by(|a, b| a.rank().cmp(&b.rank()));
        claims
    }

    /// Names of the scopes in which heads under earlier keys are left as they are where a fork of the roster is joined.
    #[must_use]
    pub fn left_aside(&self) -> Vec<String> {
        let aside = |scope: &&ScopeEntry| self.joins.get(&scope.id).is_some_and(|join| join.leaves_aside);
        self.statement.scopes.iter().filter(aside).map(|scope| scope.name.clone()).collect()
    }

    /// How many touches of enrolled keys the plan needs, at least one.
    #[must_use]
    pub fn touches(&self) -> usize {
        self.touches.len()
    }

    /// What touch number `touch` (from 0) is for.
    #[must_use]
    pub fn purpose(&self, touch: usize) -> Option<Purpose> {
        let touch = self.touches.get(touch)?;
        let scope = |id: Id| self.statement.scopes.iter().find(|scope| scope.id == id);
        Some(Purpose {
            key: touch.by.and_then(|key| self.statement.key(key)).map(|key| key.name.clone()),
            opens: touch.opens.iter().map(|open| open.scope.clone()).collect(),
            makes: touch
                .makes
                .iter()
                .filter_map(|making| Some(scope(making.scope())?.name.clone()))
                .collect(),
        })
    }

    /// Who can give touch number `touch` (from 0), and what to ask for. Keys that the plan removes are not among them.
    ///
    /// # Errors
    /// [`VaultError::Nothing`] when there is no such touch.
    pub fn candidates(&self, vault: &Vault, touch: usize) -> Result<Vec<Candidate>, VaultError> {
        self.candidates_over(&[vault], touch)
    }

    /// The same where a fork of the roster is joined.
    pub(super) fn candidates_over(&self, sides: &[&Vault], touch: usize) -> Result<Vec<Candidate>, VaultError> {
        let touch = self.touches.get(touch).ok_or(VaultError::Nothing)?;
        // As the statement has them: of a fork's sides one may be forged.
        let keys = self.statement.keys.iter().filter(|key| self.may_give(sides, touch, key.id()));
        those_left(keys.map(|key| (touch.unseals(sides, key), key.clone())))
    }

    /// Makes the plan effective with its touches, in their order. The digest is the new statement's; open the vault again.
    ///
    /// # Errors
    /// [`VaultError::Busy`], with which nothing has begun and it can be tried again; [`VaultError::WrongProof`], [`VaultError::Changed`],
    /// as [`Vault::unseal`] for the scopes; a full disk, a read-only folder. The roster is as it was then.
    pub fn commit(&self, vault: &Vault, proofs: &[&Proof], random: &mut Random) -> Result<InForce, VaultError> {
        self.commit_over(&[vault], proofs, random)
    }

    /// The same where a fork of the roster is joined.
    pub(super) fn commit_over(&self, sides: &[&Vault], proofs: &[&Proof], random: &mut Random) -> Result<InForce, VaultError> {
        let lock = first(sides)?.store.lock()?;
        journal::settle_locked(&lock)?;
        self.check_current(sides)?;
        let mut change = Change::default();
        let signer = proofs.first().ok_or(VaultError::Nothing)?;
        let signature = roster::signature(signer, &self.text)?;
        let opened = self.take(sides, proofs, &mut change, random)?;
        self.finish(sides, &lock, signature, opened, change, random)
    }

    /// Makes a plan effective that needs no touch of an enrolled key: the recovery code opens the scopes and signs. The scopes have to be
    /// as they were `shown`.
    pub(super) fn commit_with_code(
        &self,
        vault: &Vault,
        shown: &Standing,
        code: &RecoveryCode,
        random: &mut Random,
    ) -> Result<InForce, VaultError> {
        let lock = vault.store.lock()?;
        journal::settle_locked(&lock)?;
        self.check_current(&[vault])?;
        vault.check_standing(shown)?;
        let mut opened = Vec::new();
        for (id, _) in &self.works {
            let scope = vault.scope_of(*id)?;
            opened.push(Opened {
                side: 0,
                scope: *id,
                standing: shown.clone(),
                ring: scope::open_with_recovery(&vault.store, &vault.roster, scope, code)?,
            });
        }
        let (private, public) = code.key_pair(&vault.id());
        let signature = ecdsa::sign(private.scalar(), &public, Namespace::Vault, &self.text);
        let signature = signature.ok_or(VaultError::Sealing("the signature"))?.into_bytes();
        self.finish(&[vault], &lock, signature, opened, Change::default(), random)
    }

    fn finish(
        &self,
        sides: &[&Vault],
        lock: &Lock<'_>,
        signature: Vec<u8>,
        opened: Vec<Opened>,
        mut change: Change,
        random: &mut Random,
    ) -> Result<InForce, VaultError> {
        let digest = Digest::of(&self.text);
        first(sides)?.roster.check_next(&self.statement, &self.text, &signature)?;
        change.add(signature_path(&digest), signature);
        let states = self.fill(sides, opened, &mut change, random)?;
        let Vault { memory, roster, .. } = first(sides)?;
        let before = memory.accepted()?;
        let in_force = change.commit(lock, &statement_path(&digest), &self.text)?;
        // The statement is in force now. An error would say that nothing was changed, and a recovery would lose the new code with it;
        // what follows the remembered statement and heads is remembered when it is next opened.
        remember_made(|| {
            memory.remember_roster(digest, roster)?;
            for state in states {
                if let Some(records) = state.records {
                    memory.learn_anew(state.scope, records.into_iter())?;
                }
                memory.remember(state.scope, before.head(state.scope), state.head)?;
            }
            Ok(())
        });
        Ok(in_force)
    }

    /// The roster and the index heads must be those for which the plan was made.
    fn check_current(&self, sides: &[&Vault]) -> Result<(), VaultError> {
        let mut ends: Vec<Digest> = sides.iter().map(|side| side.roster_digest()).collect();
        ends.sort_unstable();
        if self.statement.previous != ends || !first(sides)?.is_current()? {
            return Err(VaultError::Changed);
        }
        let Vault { memory, roster, .. } = first(sides)?;
        memory.accepted()?.check_roster(roster)?;
        let mut opens = self.touches.iter().flat_map(|touch| &touch.opens);
        opens.try_for_each(|open| side(sides, open.side)?.check_standing(&open.standing).map(drop))
    }

    /// Opens scopes with what the touches gave, and seals the private halves of the slots that they made.
    fn take(&self, sides: &[&Vault], proofs: &[&Proof], change: &mut Change, random: &mut Random) -> Result<Vec<Opened>, VaultError> {
        if proofs.len() != self.touches.len() {
            return Err(VaultError::WrongProof("another number of touches than the plan has"));
        }
        let mut opened = Vec::new();
        for (touch, proof) in self.touches.iter().zip(proofs) {
            let id = proof.key_id();
            let key = first(sides)?.roster.in_force().key(id).filter(|_| self.may_give(sides, touch, id));
            let unseals = key.map(|key| touch.unseals(sides, key)).transpose()?.flatten();
            let unseals = unseals.ok_or(VaultError::WrongProof("the key that was touched is not one that the plan asks"))?;
            if proof.namespace() != Namespace::Vault || proof.text_digest() != Digest::of(&self.text) {
                return Err(VaultError::WrongProof("it did not sign this statement"));
            }
            if proof.outputs().len() != unseals.len() {
                return Err(VaultError::WrongProof("it answers for another number of scopes"));
            }
            let output = |unseal: Option<&Unseal>| {
                let found = unseals.iter().zip(proof.outputs()).find(|(of, _)| Some(*of) == unseal);
                found.map(|(_, output)| output).ok_or(VaultError::Nothing)
            };
            for open in &touch.opens {
                let vault = side(sides, open.side)?;
                let (key, scope) = (
                    vault.roster.in_force().key(id).ok_or(VaultError::Nothing)?,
                    vault.scope(&open.scope)?,
                );
                opened.push(Opened {
                    side: open.side,
                    scope: scope.id,
                    standing: open.standing.clone(),
                    ring: vault.open_scope(key, scope, output(vault.unseal_of(scope, key)?.as_ref())?)?,
                });
            }
            for making in &touch.makes {
                let half = making.seal(output(Some(&making.unseal()))?.expose(), random)?;
                change.add(half_path(making.slot()), half);
            }
        }
        Ok(opened)
    }

    /// Adds all files of the plan but the statement and its signature. Gives the states of the scopes that got new ones.
    fn fill(&self, sides: &[&Vault], opened: Vec<Opened>, change: &mut Change, random: &mut Random) -> Result<Vec<State>, VaultError> {
        let before: BTreeSet<String> = sides.iter().flat_map(|side| side.roster.in_force().files()).collect();
        let after = self.statement.files();
        let Vault { roster, store, .. } = first(sides)?;
        let kept = roster.replaced_halves(&self.statement);
        let halves = halves(store, roster)?;
        for path in before
            .union(&halves)
            .filter(|path| !after.contains(*path) && !kept.contains(*path))
            .chain(&self.drops)
        {
            change.remove(path.clone());
        }
        for (slot, half) in &self.halves {
            change.add(half_path(*slot), half.clone());
        }
        let mut states = Vec::new();
        for (id, work) in &self.works {
            let entry = || {
                self.statement
                    .scopes
                    .iter()
                    .find(|scope| scope.id == *id)
                    .ok_or(VaultError::Nothing)
            };
            let opened: Vec<&Opened> = opened.iter().filter(|opened| opened.scope == *id).collect();
            let one = || opened.first().copied().ok_or(VaultError::Nothing);
            match work {
                Work::Grant(slot, public) => {
                    let sealed = one()?.ring.seal_to(*slot, public, random)?;
                    change.add(sealed_path(*slot, &entry()?.commitment), sealed);
                }
                Work::Rekey(fresh) => {
                    let forked = self.joins.get(id);
                    states.push(rekey(sides, forked, entry()?, &self.statement, &opened, fresh, change, random)?);
                }
                Work::Found(ring) => states.push(State {
                    scope: *id,
                    head: found(entry()?, &self.statement, ring, change, random)?,
                    records: None,
                }),
                Work::GiveUp => check_empty(first(sides)?, one()?)?,
            }
        }
        Ok(states)
    }

    /// A key that the statement leaves, and the one that the touch asks for where it asks for one.
    fn may_give(&self, sides: &[&Vault], touch: &Touch, key: KeyId) -> bool {
        let known = sides.iter().all(|side| side.roster.in_force().key(key).is_some());
        known && self.statement.key(key).is_some() && touch.by.is_none_or(|by| by == key)
    }
}

impl Touch {
    /// What to ask `key` for: what opens the slots by which it is in its scopes, each once, then the salts of those that it makes. `None`
    /// where it is in one of them not at all, and for a FIDO2 key more than a touch has salts.
    fn unseals(&self, sides: &[&Vault], key: &EnrolledKey) -> Result<Option<Vec<Unseal>>, VaultError> {
        let mut unseals = Vec::new();
        for open in &self.opens {
            let Some(vault) = sides.get(open.side) else { return Ok(None) };
            let Ok(scope) = vault.scope(&open.scope) else { return Ok(None) };
            match vault.unseal_of(scope, key)? {
                None => return Ok(None),
                Some(unseal) if unseals.contains(&unseal) => {}
                Some(unseal) => unseals.push(unseal),
            }
        }
        unseals.extend(self.makes.iter().map(Making::unseal));
        let fits = key.piv().is_some() || unseals.len() <= SCOPES_PER_TOUCH;
        Ok(fits.then_some(unseals))
    }
}

fn check_empty(vault: &Vault, opened: &Opened) -> Result<(), VaultError> {
    let scope = vault.scope_of(opened.scope)?;
    let entries = vault
        .index(scope, &opened.ring, &opened.standing, &vault.memory.accepted()?)?
        .entries()?;
    match entries.iter().filter(|entry| entry.records().next().is_some()).count() {
        0 => Ok(()),
        secrets => Err(VaultError::NotEmptyScope {
            scope: scope.name.clone(),
            secrets,
        }),
    }
}

/// Adds the files of a scope that begins: its key sealed to its slots, and an empty index. Gives the head's digest.
///
/// # Errors
/// [`VaultError::Sealing`].
pub(super) fn found(
    scope: &ScopeEntry,
    statement: &Statement,
    ring: &Ring,
    change: &mut Change,
    random: &mut Random,
) -> Result<Digest, VaultError> {
    seal_to_slots(scope, statement, ring, change, random)?;
    let (head, bytes) = tree::first_head(ring, random)?;
    change.add(head_path(scope.id, &head), bytes);
    Ok(head)
}

/// Adds the files of a scope's next epoch: the new key sealed to every slot that the new statement names, the keys before it sealed under
/// it, and the index's head sealed under it (the holder of the old key must not be able to make one). Gives the state.
#[allow(clippy::too_many_arguments)]
fn rekey(
    sides: &[&Vault],
    forked: Option<&ForkedScope>,
    scope: &ScopeEntry,
    statement: &Statement,
    opened: &[&Opened],
    fresh: &Ring,
    change: &mut Change,
    random: &mut Random,
) -> Result<State, VaultError> {
    let one = opened.first().ok_or(VaultError::Nothing)?;
    let others = opened.iter().skip(1);
    let ring = others.fold(one.ring.followed_by(fresh), |ring, other| other.ring.followed_by(&ring));
    seal_to_slots(scope, statement, &ring, change, random)?;
    change.add(carry_path(scope.id, &scope.commitment), ring.carry(random)?);
    let vault = side(sides, one.side)?;
    let before = vault.scope_of(scope.id)?;
    let accepted = vault.memory.accepted()?;
    let index = match forked {
        None => vault.index(before, &one.ring, &one.standing, &accepted)?,
        Some(forked) => joined_index(vault, before, forked, &ring, &accepted)?,
    };
    let (head, bytes) = index.next(&ring, Vec::new(), change, random)?;
    change.add(head_path(scope.id, &head), bytes);
    Ok(State {
        scope: scope.id,
        head,
        records: index.is_joined().then(|| index.records()),
    })
}

/// The index of a scope in which the heads of all sides count, each as `forked` says; they have to be those that were shown.
fn joined_index<'a>(
    vault: &'a Vault,
    before: &ScopeEntry,
    forked: &ForkedScope,
    ring: &'a Ring,
    accepted: &Accepted,
) -> Result<Index<'a>, VaultError> {
    let own = accepted.head(before.id);
    let heads = tree::heads(&vault.store, before.id, &before.name, &forked.trust, own)?;
    let heads = vault.without_earlier(before, &heads, &forked.trust, own)?;
    if heads != forked.heads {
        return Err(VaultError::Changed);
    }
    let claims: Vec<_> = forked.claims.iter().collect();
    vault.joined(before, ring, &heads, &forked.trust, &claims, accepted)
}

/// Paths of the private halves in the folder that are of slots which a touch signed.
fn halves(store: &Store, roster: &Roster) -> Result<BTreeSet<String>, VaultError> {
    let slots = roster.slots();
    let names = store.list("slots")?.into_iter();
    let ids = names.filter_map(|name| Id::from_text(name.strip_suffix(".half")?));
    Ok(ids.filter(|id| slots.contains(id)).map(half_path).collect())
}

fn first<'a>(sides: &[&'a Vault]) -> Result<&'a Vault, VaultError> {
    side(sides, 0)
}

fn side<'a>(sides: &[&'a Vault], n: usize) -> Result<&'a Vault, VaultError> {
    sides.get(n).copied().ok_or(VaultError::Nothing)
}

fn seal_to_slots(
    scope: &ScopeEntry,
    statement: &Statement,
    ring: &Ring,
    change: &mut Change,
    random: &mut Random,
) -> Result<(), VaultError> {
    for slot in &scope.slots {
        let public = statement.public_of(slot).ok_or(VaultError::Sealing("a slot"))?;
        change.add(sealed_path(slot.id(), &scope.commitment), ring.seal_to(slot.id(), &public, random)?);
    }
    Ok(())
}
