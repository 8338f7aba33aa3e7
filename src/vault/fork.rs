//! A roster that two machines changed apart from each other: what each did, in words, and the statement that joins them.
//!
//! The join takes the additions of every side, and a removal on one side wins over what another still has. What a side did by the hand
//! of a key that another side removed, or of a recovery code that another side replaced, is not taken: somebody who was shut out could
//! have written it after the fact, on top of an old statement. Where every side is like that, nobody can tell which one is the owner's,
//! and there is no join. Scopes whose keys differ, and those from which somebody is shut out, get a new key above all sides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use jiff::Timestamp;

use crate::device::candidate::Candidate;
use crate::device::enrolled::{EnrolledKey, KeyId};
use crate::device::proof::Proof;
use crate::encoding::Digest;
use crate::encoding::plain::check_name;
use crate::encoding::sshsig::Point;

use super::accepted::Memory;
use super::bytes::Id;
use super::difference::differences;
use super::draft::Draft;
use super::error::VaultError;
use super::gone::{Honest, took_unheard};
use super::journal::InForce;
use super::merge::Claim;
use super::plan::{ForkedScope, Plan};
use super::random::{self, Random};
use super::roster::{Chain, Signer, signature_path, statement_path};
use super::scope::{half_path, sealed_path};
use super::statement::{ScopeEntry, SlotEntry, Statement};
use super::store::Store;
use super::{Vault, journal, marker, tree};

/// One statement of a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its digest.
    pub statement: Digest,
    /// Name of the key that signed it; nothing for the recovery code.
    pub signer: Option<String>,
    /// When, by the clock of the machine that made it: seconds since 1970.
    pub at: u64,
    /// What it changed, in words.
    pub changes: Vec<String>,
    /// Whether another side has removed the key, or replaced the recovery code, that signed it.
    pub shut_out: bool,
}

/// One of the ends, and what leads to it from where the sides part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Digest of its last statement.
    pub end: Digest,
    /// Its statements, the oldest first.
    pub steps: Vec<Step>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.signer {
            Some(key) => write!(f, "\"{key}\"")?,
            None => f.write_str("the recovery code")?,
        }
        let at = i64::try_from(self.at).ok().and_then(|at| Timestamp::from_second(at).ok());
        let at = at.map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string());
        write!(f, ", {}, {}", at.unwrap_or_default(), self.changes.join(", "))?;
        match (self.shut_out, &self.signer) {
            (true, Some(_)) => f.write_str(" (this key is removed on another side: what it did is not taken)")?,
            (true, None) => f.write_str(" (this code is replaced on another side: what it did is not taken)")?,
            (false, _) => {}
        }
        Ok(())
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("; then "))
    }
}

/// Two keys, or two scopes, of one name that a person has to tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// Whether they are keys; else scopes.
    pub keys: bool,
    /// The name.
    pub name: String,
    /// Their ids, in hexadecimal digits: the first keeps the name unless it is given another.
    pub ids: Vec<String>,
}

/// A vault whose roster has several ends. Nothing is read from it but the roster.
pub struct Fork {
    sides: Vec<Vault>,
    words: Vec<Side>,
    /// Statements behind each side, its end among them.
    behind: Vec<BTreeSet<Digest>>,
    /// Statements by the hand of those whom another side shuts out.
    shut_out: BTreeSet<Digest>,
    chain: Chain,
}

impl Fork {
    /// Reads the roster of the vault in `folder`; nothing when it has one end.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open(folder: &Path, states: &Path) -> Result<Option<Self>, VaultError> {
        let store = Store::open(folder)?;
        marker::check(&store)?;
        journal::settle(&store)?;
        let chain = Chain::read(&store)?;
        if chain.ends().len() < 2 {
            return Ok(None);
        }
        let mut sides = Vec::new();
        for end in chain.ends() {
            let roster = chain.side(*end)?;
            let memory = Memory::look(&states.join(roster.in_force().vault.to_string()), &roster)?;
            let store = Store::open(folder)?;
            sides.push(Vault { store, roster, memory });
        }
        let behind = chain.ends().iter().map(|end| chain.behind(*end)).collect::<Vec<_>>();
        let words = words(&chain);
        let steps = words.iter().flat_map(|side| &side.steps);
        let shut_out = steps.filter(|step| step.shut_out).map(|step| step.statement).collect();
        Ok(Some(Self {
            sides,
            words,
            behind,
            shut_out,
            chain,
        }))
    }

    /// The sides in words.
    #[must_use]
    pub fn sides(&self) -> &[Side] {
        &self.words
    }

    /// The vault's id.
    #[must_use]
    pub fn id(&self) -> Option<Digest> {
        self.sides.first().map(Vault::id)
    }

    /// Every key that is or was enrolled on any side.
    #[must_use]
    pub fn keys_ever(&self) -> Vec<EnrolledKey> {
        self.sides.first().map(Vault::keys_ever).unwrap_or_default()
    }

    /// The keys that every side names: those that may sign the join.
    #[must_use]
    pub fn keys(&self) -> Vec<EnrolledKey> {
        let everywhere = |key: &&EnrolledKey| self.sides.iter().all(|side| side.roster.in_force().key(key.id()).is_some());
        self.merged_keys().into_iter().filter(everywhere).cloned().collect()
    }

    /// Names that two keys or two scopes share after the join.
    #[must_use]
    pub fn clashes(&self) -> Vec<Clash> {
        let keys = self.merged_keys().into_iter().map(|key| (key.name.clone(), key.id().to_string()));
        let scopes = self.merged_scopes().into_iter().map(|scope| (scope.name, scope.id.to_string()));
        [(true, keys.collect::<Vec<_>>()), (false, scopes.collect())]
            .into_iter()
            .flat_map(|(keys, named)| clashes_of(keys, named))
            .collect()
    }

    /// Plans the statement that joins the sides, at `now` in seconds since 1970. In each scope that gets a new key the first of `touched`
    /// that can open it on every side gives the touch. `names` has other names for keys and scopes, by the ids of [`Clash`].
    ///
    /// # Errors
    /// [`VaultError::ShutOut`] when every side has been shut out by another, [`VaultError::OtherKey`], [`VaultError::NoneJoins`] for a scope that none of `touched`
    /// opens on every side, [`VaultError::Twice`] for a name that two still share, a refused name; a missing
    /// index head.
    pub fn join(&self, touched: &[KeyId], names: &BTreeMap<String, String>, now: u64, random: &mut Random) -> Result<Plan, VaultError> {
        if self.trusted().next().is_none() {
            return Err(VaultError::ShutOut);
        }
        self.chain.check_keys()?;
        let mut statement = self.statement(now)?;
        rename(&mut statement, names)?;
        let old = self.fitting_recovery(&mut statement, random);
        let rekeyed: Vec<Id> = statement
            .scopes
            .iter()
            .filter(|scope| old.contains(&scope.id) || self.differs(scope))
            .map(|s| s.id)
            .collect();
        let sides: Vec<&Vault> = self.sides.iter().collect();
        let mut draft = Draft::of(statement);
        for id in rekeyed {
            let scope = draft.scope_mut(id)?.clone();
            let open = self.to_be_opened(id);
            let opens = |key: &KeyId| scope.slot_of(*key).is_some() && open.iter().all(|side| self.has_way(*side, id, *key));
            match touched.iter().find(|key| opens(key)) {
                Some(by) => draft.rekey_over(&sides, &open, id, *by, random)?,
                None => {
                    let can = self.keys().into_iter().filter(|key| opens(&key.id()));
                    return Err(VaultError::NoneJoins {
                        can: can.map(|key| key.name).collect(),
                        scope: scope.name.clone(),
                    });
                }
            }
            draft.joins.insert(id, self.forked(&scope, &open)?);
        }
        draft.with_a_touch()
    }

    /// Whether `key` can open scope `id` as it is on `side`.
    fn has_way(&self, side: usize, id: Id, key: KeyId) -> bool {
        let Some(vault) = self.sides.get(side) else { return false };
        let Ok(scope) = vault.scope_of(id) else { return false };
        let file = scope.slot_of(key).map(|slot| match slot {
            // Its pair is on the card: what is sealed to it is all that there has to be.
            SlotEntry::Piv { id, .. } => sealed_path(*id, &scope.commitment),
            _ => half_path(slot.id()),
        });
        file.is_some_and(|file| vault.store.exists(&file).unwrap_or(false))
    }

    /// The statements that only one side has, for whoever gives that side up because no touch can join it: for each side, those that
    /// cannot be taken in first, the paths of their files.
    #[must_use]
    pub fn ways_out(&self) -> Vec<(usize, Vec<String>)> {
        let mut ways: Vec<_> = self.words.iter().enumerate().collect();
        ways.sort_by_key(|(side, _)| !self.is_shut_out(*side));
        let files = |side: &Side| {
            let statements = side.steps.iter().map(|step| step.statement);
            statements
                .flat_map(|digest| [statement_path(&digest), signature_path(&digest)])
                .collect()
        };
        ways.into_iter().map(|(n, side)| (n + 1, files(side))).collect()
    }

    /// Who can give touch number `touch` (from 0) of a plan of [`Fork::join`], and the salts to ask for.
    ///
    /// # Errors
    /// As [`Plan::candidates`].
    pub fn candidates(&self, plan: &Plan, touch: usize) -> Result<Vec<Candidate>, VaultError> {
        plan.candidates_over(&self.sides.iter().collect::<Vec<_>>(), touch)
    }

    /// The statements that the join follows, as [`Plan::follows`].
    ///
    /// # Errors
    /// As there.
    pub fn follows(&self, plan: &Plan) -> Result<Vec<Vec<u8>>, VaultError> {
        plan.follows(self.sides.first().ok_or(VaultError::Nothing)?)
    }

    /// Makes the join effective.
    ///
    /// # Errors
    /// As [`Plan::commit`].
    pub fn commit(&self, plan: &Plan, proofs: &[&Proof], random: &mut Random) -> Result<InForce, VaultError> {
        plan.commit_over(&self.sides.iter().collect::<Vec<_>>(), proofs, random)
    }

    /// What is joined in `scope`, which is opened on the sides `open`. In full count the heads under keys that nobody knows who has to go,
    /// of sides on which nobody is shut out; where there is no such key, the state that this machine has accepted, if it has one. For the
    /// others `join.rs` has the rule.
    fn forked(&self, scope: &ScopeEntry, open: &[usize]) -> Result<ForkedScope, VaultError> {
        let vault = open.first().and_then(|side| self.sides.get(*side)).ok_or(VaultError::Nothing)?;
        let keys: BTreeSet<Digest> = self.merged_keys().into_iter().map(|key| key.id().0).collect();
        let in_full = |commitment: &Digest| {
            let mut scopes = self.trusted().flat_map(|(_, statement)| &statement.scopes);
            scopes.any(|scope| scope.commitment == *commitment) && !self.honest().is_known_outside(scope.id, commitment, &keys)
        };
        let of_sides: Vec<(&Vault, &ScopeEntry)> = self
            .sides
            .iter()
            .filter_map(|side| Some((side, side.scope_of(scope.id).ok()?)))
            .collect();
        let mut trust = vault.roster.trust(vault.scope_of(scope.id)?);
        let (in_force, earlier) = of_sides.iter().map(|(_, scope)| scope.commitment).partition(in_full);
        trust.in_force = in_force;
        trust.earlier.extend::<BTreeSet<Digest>>(earlier);
        trust.earlier.retain(|commitment| !trust.in_force.contains(commitment));
        let own = vault.memory.accepted()?.head(scope.id);
        if trust.in_force.is_empty() {
            trust.accepted = own;
        }
        let all = tree::heads(&vault.store, scope.id, &scope.name, &trust, own);
        let all = all.map_err(|error| match error {
            VaultError::Missing { .. } if trust.in_force.is_empty() => VaultError::NoneVouched(scope.name.clone()),
            error => error,
        })?;
        // The touch is for the roster: what may be a removed key's is left for a prompt that is about it, and names all of it.
        let heads = vault.without_earlier(scope, &all, &trust, own)?;
        let leaves_aside = heads != all;
        let mut claims: BTreeMap<Id, Claim> = BTreeMap::new();
        if heads.len() > 1 {
            for (side, old) in of_sides {
                for mut claim in side.claims(old, &trust)? {
                    claim.listed.scope.clone_from(&scope.name);
                    claims.insert(claim.record, claim);
                }
            }
        }
        Ok(ForkedScope {
            trust,
            heads,
            claims: claims.into_values().collect(),
            leaves_aside,
        })
    }

    fn statement(&self, now: u64) -> Result<Statement, VaultError> {
        let first = self.sides.first().ok_or(VaultError::Nothing)?.roster.in_force();
        let mut previous = self.chain.ends().to_vec();
        previous.sort_unstable();
        let newest = |one: &&Statement| one.at;
        let trusted = || self.trusted().map(|(_, statement)| statement);
        Ok(Statement {
            at: now,
            keys: self.merged_keys().into_iter().cloned().collect(),
            name: trusted().max_by_key(newest).unwrap_or(first).name.clone(),
            previous,
            random: None,
            recovery: self.merged_recovery().unwrap_or(first.recovery),
            scopes: self.merged_scopes(),
            v: first.v,
            vault: first.vault,
        })
    }

    /// Sides that count in full: nobody who is shut out signed anything there.
    fn trusted(&self) -> impl Iterator<Item = (usize, &Statement)> {
        let statements = self.sides.iter().map(|side| side.roster.in_force()).enumerate();
        statements.filter(|(side, _)| !self.is_shut_out(*side))
    }

    /// All sides, those that count in full first: of what several have, theirs is taken.
    fn trusted_first(&self) -> impl Iterator<Item = (usize, &Vault)> {
        let of = |shut_out| {
            self.sides
                .iter()
                .enumerate()
                .filter(move |(side, _)| self.is_shut_out(*side) == shut_out)
        };
        of(false).chain(of(true))
    }

    fn is_shut_out(&self, side: usize) -> bool {
        self.words.get(side).is_some_and(|side| side.steps.iter().any(|step| step.shut_out))
    }

    /// A recovery point that one side put in the place of the one before is the one that holds; of two, each by the hand of a key that
    /// every side knows, the newer.
    fn merged_recovery(&self) -> Option<Point> {
        let new = |(side, statement): &(usize, &Statement)| {
            let mut others = self.behind.iter().enumerate().filter(|(other, _)| other != side);
            !others.any(|(_, behind)| self.chain.of(behind).any(|old| old.recovery == statement.recovery))
        };
        let newest = self.trusted().filter(new).max_by_key(|(_, statement)| statement.at);
        newest.or_else(|| self.trusted().next()).map(|(_, statement)| statement.recovery)
    }

    /// Keys that no side removed, and that were not let in by somebody who is shut out.
    fn merged_keys(&self) -> Vec<&EnrolledKey> {
        let mut keys: Vec<&EnrolledKey> = Vec::new();
        for (side, vault) in self.trusted_first() {
            for key in &vault.roster.in_force().keys {
                let has = |statement: &Statement| statement.key(key.id()).is_some();
                if self.stays(side, has) && !keys.iter().any(|other| other.id() == key.id()) {
                    keys.push(key);
                }
            }
        }
        keys
    }

    fn merged_scopes(&self) -> Vec<ScopeEntry> {
        let mut scopes: Vec<ScopeEntry> = Vec::new();
        for (side, vault) in self.trusted_first() {
            for scope in &vault.roster.in_force().scopes {
                let has = |statement: &Statement| statement.scopes.iter().any(|old| old.id == scope.id);
                if self.stays(side, has) && !scopes.iter().any(|other| other.id == scope.id) {
                    scopes.push(self.merged_scope(scope));
                }
            }
        }
        scopes
    }

    /// A scope with the slots of the keys that stay; its name from the side that changed it last.
    fn merged_scope(&self, scope: &ScopeEntry) -> ScopeEntry {
        let keys: BTreeSet<KeyId> = self.merged_keys().into_iter().map(EnrolledKey::id).collect();
        let mut slots: BTreeMap<KeyId, &SlotEntry> = BTreeMap::new();
        for (side, vault) in self.trusted_first() {
            let Ok(old) = vault.scope_of(scope.id) else { continue };
            for slot in &old.slots {
                let Some(key) = slot.key() else { continue };
                let in_scope = |scope: &ScopeEntry| scope.slots.iter().any(|other| other.id() == slot.id());
                let has = |statement: &Statement| statement.scopes.iter().any(|old| old.id == scope.id && in_scope(old));
                if keys.contains(&key) && self.stays(side, has) {
                    // Two ways of one key, each renewed on its side: both are good, one is kept.
                    slots.entry(key).or_insert(slot);
                }
            }
        }
        let names = self.trusted().filter_map(|(side, statement)| {
            let of_side = statement.scopes.iter().find(|old| old.id == scope.id)?;
            let mut others = self.behind.iter().enumerate().filter(|(other, _)| *other != side);
            let old = |old: &Statement| old.scopes.iter().any(|old| old.id == scope.id && old.name == of_side.name);
            let renamed = !others.any(|(_, behind)| self.chain.of(behind).any(old));
            renamed.then_some((statement.at, of_side.name.clone()))
        });
        let recovery = scope.slots.iter().find(|slot| matches!(slot, SlotEntry::Recovery { .. }));
        ScopeEntry {
            name: names.max().map_or_else(|| scope.name.clone(), |(_, name)| name),
            slots: slots.into_values().chain(recovery).cloned().collect(),
            ..scope.clone()
        }
    }

    /// Whether what `side` has stays: nobody took it away whose word counts, on this side or on another one that this side has not heard
    /// of; and it is not by a side on which somebody is shut out alone.
    fn stays(&self, side: usize, has: impl Fn(&Statement) -> bool) -> bool {
        let everywhere = self.sides.iter().all(|side| has(side.roster.in_force()));
        let nothing = BTreeSet::new();
        let mut takers = self.behind.iter().enumerate().map(|(by, _)| match by == side {
            true => (by, &nothing),
            false => (by, &self.behind[side]),
        });
        (everywhere || !self.is_shut_out(side)) && !takers.any(|(by, heard)| self.honest().took(by, heard, &has))
    }

    fn honest(&self) -> Honest<'_> {
        Honest {
            chain: &self.chain,
            behind: &self.behind,
            shut_out: &self.shut_out,
        }
    }

    /// Gives the recovery slots of scopes that were sealed to another recovery key than the one that holds fresh ids. Gives these scopes.
    fn fitting_recovery(&self, statement: &mut Statement, random: &mut Random) -> Vec<Id> {
        let recovery = statement.recovery;
        let mut changed = Vec::new();
        for scope in &mut statement.scopes {
            let mut of_sides = self.sides.iter().filter(|side| side.roster.in_force().recovery == recovery);
            let kept = of_sides.find_map(|side| {
                let scope = side.scope_of(scope.id).ok()?;
                scope
                    .slots
                    .iter()
                    .find(|slot| matches!(slot, SlotEntry::Recovery { .. }))
                    .map(SlotEntry::id)
            });
            for slot in &mut scope.slots {
                if let SlotEntry::Recovery { id } = slot
                    && Some(*id) != kept
                {
                    *id = kept.unwrap_or_else(|| random::id(random));
                    changed.push(scope.id);
                }
            }
        }
        changed
    }

    /// The sides on which a scope has to be opened: those whose key no other side carries among the keys before its own. A side that was
    /// re-keyed took the files of the key before away. Where somebody is shut out nothing is opened: its files are whatever he left
    /// there, and what he sealed under a key of his own is not taken.
    fn to_be_opened(&self, id: Id) -> Vec<usize> {
        let trusted: Vec<usize> = self.trusted().map(|(side, _)| side).collect();
        let key_of = |side: usize| Some(self.sides.get(side)?.scope_of(id).ok()?.commitment);
        let carried = |side: usize, key: Digest| {
            let others = trusted.iter().copied();
            let mut others = others.filter(|other| *other != side && key_of(*other).is_some_and(|of| of != key));
            others.any(|other| {
                let mut scopes = self.chain.of(&self.behind[other]).flat_map(|statement| &statement.scopes);
                scopes.any(|scope| scope.id == id && scope.commitment == key)
            })
        };
        let needed = |side: &usize| key_of(*side).is_some_and(|key| !carried(*side, key));
        trusted.iter().copied().filter(needed).collect()
    }

    /// Whether a scope has different keys on the sides, or somebody who was in it on one of them is not any more.
    fn differs(&self, scope: &ScopeEntry) -> bool {
        let mut of_sides = self.sides.iter().filter_map(|side| side.scope_of(scope.id).ok());
        of_sides.any(|old| old.commitment != scope.commitment || old.slots.iter().any(|slot| !scope.slots.contains(slot)))
    }
}

fn rename(statement: &mut Statement, names: &BTreeMap<String, String>) -> Result<(), VaultError> {
    let mut taken = BTreeSet::new();
    for key in &mut statement.keys {
        if let Some(name) = names.get(&key.id().to_string()) {
            check_name("the key's name", name)?;
            key.name.clone_from(name);
        }
        if !taken.insert(key.name.clone()) {
            return Err(VaultError::Twice(key.name.clone()));
        }
    }
    taken.clear();
    for scope in &mut statement.scopes {
        if let Some(name) = names.get(&scope.id.to_string()) {
            check_name("the scope's name", name)?;
            scope.name.clone_from(name);
        }
        if !taken.insert(scope.name.clone()) {
            return Err(VaultError::Twice(scope.name.clone()));
        }
    }
    Ok(())
}

fn clashes_of(keys: bool, named: Vec<(String, String)>) -> Vec<Clash> {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, id) in named {
        by_name.entry(name).or_default().push(id);
    }
    let several = by_name.into_iter().filter(|(_, ids)| ids.len() > 1);
    several.map(|(name, ids)| Clash { keys, name, ids }).collect()
}

/// What each side did since they part.
pub(super) fn words(chain: &Chain) -> Vec<Side> {
    let behind: Vec<BTreeSet<Digest>> = chain.ends().iter().map(|end| chain.behind(*end)).collect();
    let common = behind
        .iter()
        .skip(1)
        .fold(behind.first().cloned().unwrap_or_default(), |common, side| &common & side);
    let taken_elsewhere = |side: usize, has: &dyn Fn(&Statement) -> bool| {
        let mut others = behind.iter().enumerate().filter(|(other, _)| *other != side);
        others.any(|(_, theirs)| took_unheard(chain, theirs, &behind[side], has))
    };
    let side = |(n, end): (usize, &Digest)| Side {
        end: *end,
        steps: chain
            .in_order(&(&behind[n] - &common))
            .into_iter()
            .filter_map(|digest| {
                let statement = chain.statement(&digest)?;
                let before = statement.previous.first().and_then(|before| chain.statement(before));
                let signer = chain.signer(&digest)?;
                let name = |key: KeyId| before.and_then(|before| before.key(key)).map(|key| key.name.clone());
                Some(Step {
                    statement: digest,
                    signer: match signer {
                        Signer::Key(key) => Some(name(key).unwrap_or_default()),
                        Signer::RecoveryCode => None,
                    },
                    at: statement.at,
                    changes: before.map_or_else(Vec::new, |before| {
                        differences(before, statement).iter().map(ToString::to_string).collect()
                    }),
                    shut_out: match signer {
                        Signer::Key(key) => taken_elsewhere(n, &|statement| statement.key(key).is_some()),
                        Signer::RecoveryCode => before.is_none_or(|before| taken_elsewhere(n, &|old| old.recovery == before.recovery)),
                    },
                })
            })
            .collect(),
    };
    chain.ends().iter().enumerate().map(side).collect()
}
