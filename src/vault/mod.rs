//! The vault: everything sealed, in a folder that is safe to copy, to back up and to keep in git.
//!
//! - [`statement`], [`roster`], [`difference`]: who may open what, signed by touches;
//! - [`slot`], [`scope`], [`recovery`]: the ways into a scope;
//! - [`rules`], [`record`], [`index`], [`tree`]: secrets, and which of them there are; what was changed apart is joined there;
//! - [`store`], [`journal`], [`accepted`]: files, changes that happen whole or not at all, the memory against old copies;
//! - [`backup`]: all of it in one file;
//! - [`genesis`], [`change`], [`material`], [`export`]: what a touch does to it;
//! - [`keys`], [`scopes`], [`recover`], [`fork`]: changes of who may open what, each a [`plan`];
//! - [`health`]: how it is, for a person who asks.
//!
//! `docs/format.md` describes every byte.

pub mod accepted;
pub mod backup;
pub mod bytes;
pub mod change;
pub mod crypto;
pub mod difference;
mod draft;
pub mod enrolment;
pub mod error;
pub mod export;
#[cfg(test)]
mod faults;
pub mod fork;
pub mod form;
pub mod genesis;
mod gone;
pub mod health;
pub mod index;
mod join;
pub mod journal;
pub mod keys;
mod known_keys;
pub mod listing;
pub mod marker;
pub mod material;
pub mod merge;
pub mod older;
pub mod plan;
pub mod random;
pub mod record;
pub mod recover;
pub mod recovery;
pub mod roster;
pub mod rules;
pub mod scope;
pub mod scopes;
pub mod signer;
pub mod slot;
pub mod statement;
pub mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tree;

use std::path::Path;

use crate::device::candidate::{Candidate, Unseal};
use crate::device::enrolled::EnrolledKey;
use crate::device::proof::Proof;
use crate::encoding::Digest;
use crate::secret::Secret;

use accepted::{Accepted, Memory};
use bytes::Id;
use roster::Roster;
use scope::Ring;
use statement::ScopeEntry;
use store::Store;
use tree::{Index, Trust};

pub use change::{Changes, Put, Turn};
pub use enrolment::Enrolment;
pub use error::VaultError;
pub use export::{OpenScope, Taken};
pub use fork::{Clash, Fork, Side};
pub use form::{Form, Place};
pub use genesis::Genesis;
pub use journal::InForce;
pub use keys::{Addition, Removal};
pub use listing::{Found, Listed, Shelf};
pub use material::{Material, Wanted};
pub use merge::{Claim, Contest, Merge};
pub use older::{Older, OlderScope};
pub use plan::{Plan, Purpose};
pub use random::Random;
pub use record::LARGEST_VALUE;
pub use recover::{Recovering, Recovery};
pub use recovery::{CodeError, RecoveryCode};
pub use rules::{Delivery, Header, LONGEST_PROXIED, Rules};
pub use signer::{Hardware, LONGEST_TOKEN, MOST_TOKENS, Signer, SignerKeys, Vouched};
pub use statement::Statement;

/// Scopes that one touch opens: CTAP's hmac-secret takes two salts (CTAP 2.1, 12.5).
pub const SCOPES_PER_TOUCH: usize = 2;

/// For git: no line-end conversion (digests would change), no half-written files.
const GIT_FILES: [(&str, &str); 2] = [(".gitattributes", "* -text -diff\n"), (".gitignore", ".tmp-*\n")];

/// A vault whose roster was verified. It is a snapshot of the roster: open it again when [`Vault::is_current`] says no.
pub struct Vault {
    store: Store,
    roster: Roster,
    memory: Memory,
}

/// What a lease or change is bound to: the roster and the index heads in force when its text was fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    roster: Digest,
    /// Scopes in the order of their names, which is the order of the salts.
    scopes: Vec<(String, Vec<Digest>)>,
    /// What joining takes in, in scopes with several heads.
    claims: Vec<Claim>,
    /// Whether one of the heads is under an earlier key.
    earlier: bool,
    /// Whether it is of a change that leaves such heads aside, and the scopes in which there are some.
    aside: Option<Vec<String>>,
}

impl Standing {
    /// Digest of the roster statement in force.
    #[must_use]
    pub fn roster(&self) -> Digest {
        self.roster
    }

    /// Scopes by name, each with the digests of its index heads: one, or several that the touch joins.
    #[must_use]
    pub fn heads(&self) -> &[(String, Vec<Digest>)] {
        &self.scopes
    }

    /// The records that joining takes in, as the folder shows them; nothing where every scope has one head.
    #[must_use]
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// Whether one of several heads is under a key that is not in force any more: somebody who was removed may have made it.
    #[must_use]
    pub fn has_earlier_heads(&self) -> bool {
        self.earlier
    }

    /// Names of the scopes in which heads under earlier keys are left as they are.
    #[must_use]
    pub fn left_aside(&self) -> &[String] {
        self.aside.as_deref().unwrap_or_default()
    }

    fn heads_of(&self, scope: &str) -> Result<&[Digest], VaultError> {
        let found = self.scopes.iter().find(|(name, _)| name == scope);
        found
            .map(|(_, heads)| heads.as_slice())
            .ok_or_else(|| VaultError::NoScope(scope.to_owned()))
    }

    fn claims_of<'a>(&'a self, scope: &'a str) -> impl Iterator<Item = &'a Claim> {
        self.claims.iter().filter(move |claim| claim.listed.scope == scope)
    }
}

impl Vault {
    /// Opens a vault: finishes what an interrupted change left, verifies the roster, compares it with what this machine has
    /// accepted before. Reads no secret. `states` is the folder in which each vault's memory has a folder named by the vault's id.
    ///
    /// # Errors
    /// Everything that [`VaultError`] says of folder, files and roster.
    pub fn open(folder: &Path, states: &Path) -> Result<Self, VaultError> {
        let store = Store::open(folder)?;
        marker::check(&store)?;
        journal::settle(&store)?;
        Self::with_store(store, states)
    }

    /// Finishes or takes back what an interrupted change left in `folder`, as [`Vault::open`] does.
    ///
    /// # Errors
    /// [`VaultError::Busy`] while another one is at work there; as [`Vault::open`].
    pub fn settle(folder: &Path) -> Result<(), VaultError> {
        journal::settle(&Store::open(folder)?)
    }

    /// Whether [`Vault::settle`] would find nothing to do. Not when that cannot be told.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        journal::is_settled(&self.store).unwrap_or(false)
    }

    fn with_store(store: Store, states: &Path) -> Result<Self, VaultError> {
        let roster = Roster::read(&store)?;
        let memory = Memory::open(&states.join(roster.in_force().vault.to_string()), &roster)?;
        Ok(Self { store, roster, memory })
    }

    /// The vault's id.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.roster.in_force().vault
    }

    /// Device and inode of its folder: the same for every path that leads to it.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn place(&self) -> Result<(u64, u64), VaultError> {
        self.store.place()
    }

    /// What the vault is called on screens.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.roster.in_force().name
    }

    /// Digest of the roster statement in force.
    #[must_use]
    pub fn roster_digest(&self) -> Digest {
        self.roster.end()
    }

    /// The enrolled keys, in the order of their enrolment.
    #[must_use]
    pub fn keys(&self) -> Vec<EnrolledKey> {
        self.roster.in_force().keys.clone()
    }

    /// Every key that is or was enrolled: those that may have signed a receipt.
    #[must_use]
    pub fn keys_ever(&self) -> Vec<EnrolledKey> {
        self.roster.keys_ever()
    }

    /// Names of the scopes.
    #[must_use]
    pub fn scopes(&self) -> Vec<&str> {
        self.roster.in_force().scopes.iter().map(|scope| scope.name.as_str()).collect()
    }

    /// Names of the scopes that a key opens.
    #[must_use]
    pub fn scopes_of(&self, key: &EnrolledKey) -> Vec<String> {
        self.roster.in_force().opened_by(key)
    }

    /// Names of the keys that have no slot in `scope`: "not yet in".
    ///
    /// # Errors
    /// [`VaultError::NoScope`].
    pub fn keys_not_in(&self, scope: &str) -> Result<Vec<String>, VaultError> {
        let scope = self.scope(scope)?;
        let keys = self.keys().into_iter().filter(|key| scope.slot_of(key.id()).is_none());
        Ok(keys.map(|key| key.name).collect())
    }

    /// Which key a scope has: 1 at first, one more with each re-keying.
    ///
    /// # Errors
    /// [`VaultError::NoScope`].
    pub fn epoch(&self, scope: &str) -> Result<u64, VaultError> {
        Ok(self.scope(scope)?.epoch)
    }

    /// Files of slots that no touch signed. Nothing is ever sealed to them; somebody put them there.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn unsigned_slots(&self) -> Result<Vec<String>, VaultError> {
        health::unsigned(&self.store, &self.roster)
    }

    /// Whether the folder's roster is still the one that was verified.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn is_current(&self) -> Result<bool, VaultError> {
        self.roster.is_current(&self.store)
    }

    /// What a text that is to be signed for these scopes is bound to. Duplicates are dropped.
    ///
    /// # Errors
    /// [`VaultError::TooManyScopes`], [`VaultError::NoScope`], [`VaultError::Changed`]; a missing or damaged index head.
    pub fn standing(&self, scopes: &[&str]) -> Result<Standing, VaultError> {
        let mut names = scopes.to_vec();
        names.sort_unstable();
        names.dedup();
        if names.len() > SCOPES_PER_TOUCH {
            return Err(VaultError::TooManyScopes { asked: names.len() });
        }
        self.standing_of(&names, false, &self.memory.accepted()?)
    }

    /// The same for every scope: what no touch of an enrolled key opens. Heads under earlier keys are left aside: where there is no key
    /// to join them by a touch of its own, one prompt could not name all that somebody who was removed may have put there.
    ///
    /// # Errors
    /// As [`Vault::standing`].
    pub fn whole_standing(&self) -> Result<Standing, VaultError> {
        let mut names = self.scopes();
        names.sort_unstable();
        self.standing_of(&names, true, &self.memory.accepted()?)
    }

    fn standing_of(&self, names: &[&str], leaves_aside: bool, accepted: &Accepted) -> Result<Standing, VaultError> {
        if !self.is_current()? {
            return Err(VaultError::Changed);
        }
        let (mut scopes, mut claims, mut earlier) = (Vec::new(), Vec::new(), false);
        let mut aside = Vec::new();
        for name in names {
            let scope = self.scope(name)?;
            let trust = self.roster.trust(scope);
            let own = accepted.head(scope.id);
            let mut heads = tree::heads(&self.store, scope.id, &scope.name, &trust, own)?;
            if leaves_aside {
                let kept = self.without_earlier(scope, &heads, &trust, own)?;
                aside.extend((kept != heads).then(|| (*name).to_owned()));
                heads = kept;
            }
            if heads.len() > 1 {
                claims.extend(self.claims(scope, &trust)?);
                earlier |= tree::any_earlier(&self.store, scope.id, &heads, &trust)?;
            }
            scopes.push(((*name).to_owned(), heads));
        }
        claims.sort_by(|a, b| a.rank().cmp(&b.rank()));
        Ok(Standing {
            roster: self.roster.end(),
            scopes,
            claims,
            earlier,
            aside: leaves_aside.then_some(aside),
        })
    }

    /// `heads` without those under earlier keys, but for `own`, which this machine has accepted.
    fn without_earlier(&self, scope: &ScopeEntry, heads: &[Digest], trust: &Trust, own: Option<Digest>) -> Result<Vec<Digest>, VaultError> {
        let mut kept = Vec::new();
        for head in heads {
            if Some(*head) == own || !tree::any_earlier(&self.store, scope.id, &[*head], trust)? {
                kept.push(*head);
            }
        }
        Ok(kept)
    }

    /// The keys that open all scopes of `standing`, each with what to ask it for: a FIDO2 key opens them with one touch, a PIV key with
    /// one for each. A PIV key is left out where what is sealed to it is missing or damaged: [`Vault::left_out`].
    ///
    /// # Errors
    /// [`VaultError::NoScope`]; what is wrong with the file of a key that was left out, where no other is there.
    pub fn candidates(&self, standing: &Standing) -> Result<Vec<Candidate>, VaultError> {
        let scopes = self.asked_scopes(standing)?;
        those_left(self.keys().into_iter().map(|key| (self.unseals_of(&scopes, &key), key)))
    }

    /// What is wrong with files of PIV keys that are left out where the scopes of `standing` are opened, by their names.
    ///
    /// # Errors
    /// [`VaultError::NoScope`].
    pub fn left_out(&self, standing: &Standing) -> Result<Vec<(String, VaultError)>, VaultError> {
        let scopes = self.asked_scopes(standing)?;
        let keys = self.keys().into_iter();
        Ok(keys
            .filter_map(|key| Some((key.name.clone(), self.unseals_of(&scopes, &key).err()?)))
            .collect())
    }

    fn asked_scopes(&self, standing: &Standing) -> Result<Vec<&ScopeEntry>, VaultError> {
        standing.scopes.iter().map(|(name, _)| self.scope(name)).collect()
    }

    fn unseals_of(&self, scopes: &[&ScopeEntry], key: &EnrolledKey) -> Result<Option<Vec<Unseal>>, VaultError> {
        scopes.iter().map(|scope| self.unseal_of(scope, key)).collect()
    }

    /// What to ask `key` for so that it opens `scope`; nothing where it has no slot there.
    fn unseal_of(&self, scope: &ScopeEntry, key: &EnrolledKey) -> Result<Option<Unseal>, VaultError> {
        scope::unseal_of(&self.store, self.roster.in_force(), scope, key)
    }

    /// Whether one of `heads` names `before` as a parent.
    fn follows(&self, scope: &ScopeEntry, heads: &[Digest], before: &Digest) -> Result<bool, VaultError> {
        for head in heads {
            if tree::parents(&self.store, scope.id, head)?.contains(before) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn heads(&self, scope: &ScopeEntry) -> Result<Vec<Digest>, VaultError> {
        let own = self.memory.accepted()?.head(scope.id);
        tree::heads(&self.store, scope.id, &scope.name, &self.roster.trust(scope), own)
    }

    fn scope(&self, name: &str) -> Result<&ScopeEntry, VaultError> {
        self.roster
            .in_force()
            .scope(name)
            .ok_or_else(|| VaultError::NoScope(name.to_owned()))
    }

    fn scope_of(&self, id: Id) -> Result<&ScopeEntry, VaultError> {
        let scope = self.roster.in_force().scopes.iter().find(|scope| scope.id == id);
        scope.ok_or_else(|| VaultError::NoScope(id.to_string()))
    }

    fn key_named(&self, name: &str) -> Result<&EnrolledKey, VaultError> {
        let mut keys = self.roster.in_force().keys.iter();
        keys.find(|key| key.name == name).ok_or_else(|| VaultError::NoKey(name.to_owned()))
    }

    /// Opens the scopes in the order of the salts with what the touch gave.
    fn unlock(&self, proof: &Proof, scopes: &[&ScopeEntry]) -> Result<Vec<Ring>, VaultError> {
        let statement = self.roster.in_force();
        let key = statement
            .key(proof.key_id())
            .ok_or(VaultError::WrongProof("the key that was touched is not enrolled here"))?;
        if proof.outputs().len() != scopes.len() {
            return Err(VaultError::WrongProof("it answers for another number of scopes"));
        }
        let pairs = scopes.iter().zip(proof.outputs());
        pairs.map(|(scope, output)| self.open_scope(key, scope, output)).collect()
    }

    fn open_scope(&self, key: &EnrolledKey, scope: &ScopeEntry, output: &Secret) -> Result<Ring, VaultError> {
        scope::open_with_key(&self.store, &self.roster, scope, key, output.expose())
    }

    /// Opens a scope's index, several heads of it joined; checks that it is no older than what was `accepted`, and that it holds what
    /// was shown. A single head is remembered; a join is by whoever writes it.
    fn index<'a>(&'a self, scope: &ScopeEntry, ring: &'a Ring, standing: &Standing, accepted: &Accepted) -> Result<Index<'a>, VaultError> {
        let claims: Vec<&Claim> = standing.claims_of(&scope.name).collect();
        let heads = standing.heads_of(&scope.name)?;
        let index = self.joined(scope, ring, heads, &self.roster.trust(scope), &claims, accepted)?;
        let own = accepted.head(scope.id);
        match index.only_head() {
            Some(head) if own == Some(head) => {}
            Some(head) => {
                self.memory.learn_anew(scope.id, index.records().into_iter())?;
                self.memory.remember(scope.id, own, head)?;
            }
            None => {}
        }
        Ok(index)
    }

    /// What `standing` is bound to must be what is in force now. Gives what this machine has accepted, by which that was told.
    fn check_standing(&self, standing: &Standing) -> Result<Accepted, VaultError> {
        let names: Vec<&str> = standing.scopes.iter().map(|(name, _)| name.as_str()).collect();
        let accepted = self.memory.accepted()?;
        // Another copy of the vault may have gone on since this one was opened.
        accepted.check_roster(&self.roster)?;
        if self.standing_of(&names, standing.aside.is_some(), &accepted)? == *standing {
            Ok(accepted)
        } else {
            Err(VaultError::Changed)
        }
    }
}

/// The keys that have something to be asked for. A file of one of them that cannot be read costs the others nothing.
fn those_left(asked: impl Iterator<Item = (Result<Option<Vec<Unseal>>, VaultError>, EnrolledKey)>) -> Result<Vec<Candidate>, VaultError> {
    let (mut candidates, mut wrong) = (Vec::new(), None);
    for (unseals, key) in asked {
        match unseals {
            Ok(unseals) => candidates.extend(unseals.map(|unseals| Candidate { key, unseals })),
            Err(error) => wrong = wrong.or(Some(error)),
        }
    }
    match wrong {
        Some(error) if candidates.is_empty() => Err(error),
        _ => Ok(candidates),
    }
}
