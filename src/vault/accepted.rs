//! What this machine has accepted of a vault: the memory by which an old copy that was put back is noticed.
//!
//! It lies outside the vault's folder. On a machine that has never seen the vault there is none, and an old copy is not noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::encoding::{Digest, jcs};

use super::bytes::Id;
use super::error::VaultError;
use super::roster::Roster;
use super::statement::FORMAT;
use super::store::{Lock, Store};
use super::tree::Index;

const FILE: &str = "accepted.json";
const LONGEST: usize = 1 << 20;
/// Some millions of records.
const LONGEST_LIST: usize = 256 << 20;
/// How often, and in which steps, the memory's lock is tried.
const LOCK_TRIES: u32 = 20;
const LOCK_STEP: Duration = Duration::from_millis(5);

/// The memory of one vault.
pub struct Memory {
    pub(super) store: Store,
    accepted: Mutex<Accepted>,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accepted {
    /// Newest index head of each scope, by the scope's id.
    heads: BTreeMap<String, Digest>,
    /// Newest roster statement.
    roster: Digest,
    /// Format.
    v: u64,
    /// The vault.
    vault: Digest,
}

impl Memory {
    /// Begins the memory in `folder` of a vault that is about to be made with this first statement.
    ///
    /// # Errors
    /// A folder that cannot be made or written: then no vault must be made either.
    pub fn begin(folder: &Path, vault: Digest, statement: Digest) -> Result<(), VaultError> {
        let accepted = Accepted {
            heads: BTreeMap::new(),
            roster: statement,
            v: FORMAT,
            vault,
        };
        write(&Store::create(folder)?, &accepted)
    }

    /// Reads the memory in `folder` (made where it is missing), and checks that `roster` is the remembered one or follows it.
    ///
    /// # Errors
    /// [`VaultError::Older`], [`VaultError::State`]; a folder that cannot be written.
    pub fn open(folder: &Path, roster: &Roster) -> Result<Self, VaultError> {
        let memory = Self::open_as_is(folder, roster)?;
        not_older(&memory.accepted(), roster)?;
        let stored = memory.store.exists(FILE)?;
        if !stored || memory.roster() != roster.end() {
            memory.remember_roster(roster.end())?;
        }
        Ok(memory)
    }

    /// The same for one side of a fork: it is looked at, and accepted only once it is joined.
    ///
    /// # Errors
    /// As [`Memory::open`].
    pub fn look(folder: &Path, roster: &Roster) -> Result<Self, VaultError> {
        let memory = Self::open_as_is(folder, roster)?;
        not_older(&memory.accepted(), roster)?;
        memory.accepted().roster = roster.end();
        Ok(memory)
    }

    /// The same without the check, and without remembering `roster` in the place of what is remembered.
    ///
    /// # Errors
    /// [`VaultError::State`].
    pub fn open_as_is(folder: &Path, roster: &Roster) -> Result<Self, VaultError> {
        let store = Store::create(folder)?;
        let vault = roster.in_force().vault;
        let accepted = match store.read_if_there(FILE, LONGEST)? {
            Some(bytes) => read(folder, &bytes, vault)?,
            None => Accepted {
                heads: BTreeMap::new(),
                roster: roster.end(),
                v: FORMAT,
                vault,
            },
        };
        let accepted = Mutex::new(accepted);
        Ok(Self { store, accepted })
    }

    /// The statement that was accepted last.
    #[must_use]
    pub fn roster(&self) -> Digest {
        self.accepted().roster
    }

    /// The head of `scope` that was accepted last.
    #[must_use]
    pub fn head(&self, scope: Id) -> Option<Digest> {
        self.accepted().heads.get(&scope.to_string()).copied()
    }

    /// Remembers `roster`, whatever was before it, and forgets what was accepted of `scopes`.
    ///
    /// # Errors
    /// The memory cannot be written.
    pub fn accept_as_is(&self, roster: Digest, scopes: impl Iterator<Item = Id>) -> Result<(), VaultError> {
        let mut next = self.accepted().clone();
        next.roster = roster;
        for scope in scopes {
            next.heads.remove(&scope.to_string());
        }
        self.write(&next)?;
        *self.accepted() = next;
        Ok(())
    }

    /// Checks that `index` is the remembered state of the scope or follows it. Gives the head that is remembered.
    ///
    /// # Errors
    /// [`VaultError::Older`]; a missing or damaged page.
    pub fn check(&self, scope: Id, name: &str, index: &Index<'_>) -> Result<Option<Digest>, VaultError> {
        match self.head(scope) {
            Some(known) if !index.descends_from(&known)? => Err(VaultError::Older {
                what: format!("scope {name}"),
            }),
            known => Ok(known),
        }
    }

    /// Ids of the records of `scope` that were accepted here: what is not among them came from elsewhere since.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn known(&self, scope: Id) -> Result<BTreeSet<Id>, VaultError> {
        let text = self.store.read_if_there(&records_file(scope), LONGEST_LIST)?.unwrap_or_default();
        // A line that a power cut left half written is one record that will be shown once more.
        Ok(text
            .split(|byte| *byte == b'\n')
            .filter_map(|line| Id::from_text(str::from_utf8(line).ok()?))
            .collect())
    }

    /// Adds to the records that were accepted here.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn learn(&self, scope: Id, records: impl Iterator<Item = Id>) -> Result<(), VaultError> {
        lock(&self.store)?.append(&records_file(scope), lines(records).as_bytes())
    }

    /// Takes `records` for those of `scope` that were accepted here, in the place of what was known.
    ///
    /// # Errors
    /// As [`Memory::learn`].
    pub fn learn_anew(&self, scope: Id, records: impl Iterator<Item = Id>) -> Result<(), VaultError> {
        lock(&self.store)?.write(&records_file(scope), lines(records).as_bytes())
    }

    /// Remembers a state that this process has accepted or made itself.
    ///
    /// # Errors
    /// The memory cannot be written.
    pub fn remember(&self, scope: Id, head: Digest) -> Result<(), VaultError> {
        let mut next = self.accepted().clone();
        next.heads.insert(scope.to_string(), head);
        self.write(&next)?;
        *self.accepted() = next;
        Ok(())
    }

    /// Remembers a statement that this process has made itself.
    ///
    /// # Errors
    /// The memory cannot be written.
    pub fn remember_roster(&self, statement: Digest) -> Result<(), VaultError> {
        let mut next = self.accepted().clone();
        next.roster = statement;
        self.write(&next)?;
        *self.accepted() = next;
        Ok(())
    }

    fn write(&self, accepted: &Accepted) -> Result<(), VaultError> {
        write(&self.store, accepted)
    }

    fn accepted(&self) -> MutexGuard<'_, Accepted> {
        // The guarded value is replaced whole, so a panic elsewhere cannot leave it half changed.
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(store: &Store, accepted: &Accepted) -> Result<(), VaultError> {
    let bytes = jcs::to_vec(accepted).map_err(|_| VaultError::Sealing("the remembered state"))?;
    lock(store)?.write(FILE, &bytes)
}

/// Another daemon that opens the same vault holds the lock for as long as it writes one of these files: milliseconds.
fn lock(store: &Store) -> Result<Lock<'_>, VaultError> {
    for _ in 0..LOCK_TRIES {
        match store.lock() {
            Err(VaultError::Busy) => thread::sleep(LOCK_STEP),
            lock => return lock,
        }
    }
    Err(VaultError::Busy)
}

fn lines(records: impl Iterator<Item = Id>) -> String {
    records.map(|id| format!("{id}\n")).collect()
}

fn records_file(scope: Id) -> String {
    format!("records-{scope}")
}

/// Holds `roster` against the memory in `folder`, where there is one, and changes nothing.
///
/// # Errors
/// [`VaultError::Older`], [`VaultError::State`]; a folder that cannot be read.
pub fn look(folder: &Path, roster: &Roster) -> Result<(), VaultError> {
    let store = match Store::open(folder) {
        Err(VaultError::NoVault { .. }) => return Ok(()),
        opened => opened?,
    };
    let Some(bytes) = store.read_if_there(FILE, LONGEST)? else {
        return Ok(());
    };
    not_older(&read(folder, &bytes, roster.in_force().vault)?, roster)
}

fn not_older(known: &Accepted, roster: &Roster) -> Result<(), VaultError> {
    if roster.contains(&known.roster) {
        Ok(())
    } else {
        Err(VaultError::Older { what: "the roster".into() })
    }
}

/// Reads the file of `vault`'s memory in `folder`.
pub(crate) fn read(folder: &Path, bytes: &[u8], vault: Digest) -> Result<Accepted, VaultError> {
    let refused = |why| VaultError::State {
        path: folder.join(FILE).display().to_string(),
        why,
    };
    let accepted: Accepted = jcs::from_slice(bytes).map_err(|_| refused("not in the known form"))?;
    if accepted.v != FORMAT || accepted.vault != vault {
        return Err(refused("it is of another vault or format"));
    }
    Ok(accepted)
}
