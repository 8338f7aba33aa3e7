//! An older copy in the place of a newer one: what this machine remembers of the newer one, and taking the older one as it is.

use std::path::Path;

use crate::device::proof::Proof;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;

use super::accepted::Memory;
use super::error::VaultError;
use super::roster::Roster;
use super::store::Store;
use super::{Vault, journal, marker, tree};

/// How the folder differs from what this machine has accepted before. Without a touch it cannot be told of a scope whether its state
/// is an older one or one of another line; that it is not the one that was seen last can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Older {
    /// The statement that was accepted last, if the folder does not have it.
    pub roster: Option<Digest>,
    /// Scopes in another state than the one that was accepted last or the one after it.
    pub scopes: Vec<OlderScope>,
}

/// A scope in another state than the one that was accepted last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OlderScope {
    /// Its name.
    pub scope: String,
    /// The head that was accepted last.
    pub remembered: Digest,
    /// Heads in the folder.
    pub heads: Vec<Digest>,
    /// Records that were accepted here and are not in the folder. Those that a person removed or replaced himself are among them.
    pub gone: usize,
}

impl Older {
    /// Whether the folder is what was seen.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.roster.is_none() && self.scopes.is_empty()
    }
}

impl Vault {
    /// Opens a vault without comparing its roster with what this machine has accepted before, and without accepting it. For a person
    /// who is asked whether to take it as it is; nothing else may be done with it.
    ///
    /// # Errors
    /// As [`Vault::open`], but for [`VaultError::Older`].
    pub fn open_as_is(folder: &Path, states: &Path) -> Result<Self, VaultError> {
        let store = Store::open(folder)?;
        marker::check(&store)?;
        journal::settle(&store)?;
        let roster = Roster::read(&store)?;
        let memory = Memory::open_as_is(&states.join(roster.in_force().vault.to_string()), &roster)?;
        Ok(Self { store, roster, memory })
    }

    /// Whether the roster has the statement `digest`.
    #[must_use]
    pub fn has_statement(&self, digest: &Digest) -> bool {
        self.roster.contains(digest)
    }

    /// What this machine remembers and the folder does not have.
    ///
    /// # Errors
    /// The folder or the memory cannot be read.
    pub fn older(&self) -> Result<Older, VaultError> {
        let accepted = self.memory.accepted()?;
        let mut scopes = Vec::new();
        for scope in &self.roster.in_force().scopes {
            let Some(remembered) = accepted.head(scope.id) else { continue };
            let heads = tree::heads(&self.store, scope.id, &scope.name, &self.roster.trust(scope), Some(remembered))?;
            if heads.contains(&remembered) || self.follows(scope, &heads, &remembered)? {
                continue;
            }
            let known = self.memory.known(scope.id)?;
            let there = self.record_ids(scope)?.into_iter().filter(|(_, id)| known.contains(id)).count();
            scopes.push(OlderScope {
                scope: scope.name.clone(),
                remembered,
                heads,
                gone: known.len().saturating_sub(there),
            });
        }
        Ok(Older {
            roster: Some(accepted.roster()).filter(|digest| !self.roster.contains(digest)),
            scopes,
        })
    }

    /// Takes the folder as it is, `older` of what was seen, on the word of a touch over `text`, which says so. What the scopes hold is
    /// accepted by the next touch that opens them.
    ///
    /// # Errors
    /// [`VaultError::WrongProof`], [`VaultError::Changed`]; the memory cannot be written.
    pub fn accept_as_is(&self, proof: &Proof, text: Digest, older: &Older) -> Result<(), VaultError> {
        if proof.namespace() != Namespace::Change || proof.text_digest() != text {
            return Err(VaultError::WrongProof("it signed another text"));
        }
        if self.roster.in_force().key(proof.key_id()).is_none() {
            return Err(VaultError::WrongProof("the key that was touched is not enrolled here"));
        }
        if !self.is_current()? || self.older()? != *older {
            return Err(VaultError::Changed);
        }
        let forgotten = older.scopes.iter().filter_map(|older| Some(self.scope(&older.scope).ok()?.id));
        self.memory.accept_as_is(self.roster.end(), forgotten)
    }
}
