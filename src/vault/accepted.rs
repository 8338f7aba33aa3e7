//! What this machine has accepted of a vault: the memory by which an old copy that was put back is noticed.
//!
//! It lies outside the vault's folder. On a machine that has never seen the vault there is none, and an old copy is not noticed.
//!
//! Several processes, and several copies of one vault, may share it: what is remembered is read again whenever it is asked for, and
//! is replaced, under the lock, only by what follows it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
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

/// What takes an id back, in front of it: the record was removed or replaced since.
const TAKES_BACK: char = '-';

/// The memory of one vault.
pub struct Memory {
    pub(super) store: Store,
    /// What holds where nothing is remembered yet.
    nothing: Accepted,
}

/// What is remembered, as it was when it was read: one look at it is for one operation, which may not mix two of them.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
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
        write(&lock(&Store::create(folder)?)?, &accepted)
    }

    /// Reads the memory in `folder` (made where it is missing), and checks that `roster` is the remembered one or follows it.
    ///
    /// # Errors
    /// [`VaultError::Older`], [`VaultError::State`]; a folder that cannot be written.
    pub fn open(folder: &Path, roster: &Roster) -> Result<Self, VaultError> {
        let memory = Self::look(folder, roster)?;
        if !memory.store.exists(FILE)? || memory.accepted()?.roster() != roster.end() {
            memory.remember_roster(roster.end(), roster)?;
        }
        Ok(memory)
    }

    /// The same for one side of a fork: it is looked at, and accepted only once it is joined.
    ///
    /// # Errors
    /// As [`Memory::open`].
    pub fn look(folder: &Path, roster: &Roster) -> Result<Self, VaultError> {
        let memory = Self::open_as_is(folder, roster)?;
        memory.accepted()?.check_roster(roster)?;
        Ok(memory)
    }

    /// The same without the check, and without remembering `roster` in the place of what is remembered.
    ///
    /// # Errors
    /// [`VaultError::State`].
    pub fn open_as_is(folder: &Path, roster: &Roster) -> Result<Self, VaultError> {
        let memory = Self {
            store: Store::create(folder)?,
            nothing: Accepted {
                heads: BTreeMap::new(),
                roster: roster.end(),
                v: FORMAT,
                vault: roster.in_force().vault,
            },
        };
        memory.accepted()?;
        Ok(memory)
    }

    /// What is remembered now.
    ///
    /// # Errors
    /// [`VaultError::State`]; a file that cannot be read.
    pub fn accepted(&self) -> Result<Accepted, VaultError> {
        match self.store.read_if_there(FILE, LONGEST)? {
            Some(bytes) => read(self.store.folder(), &bytes, self.nothing.vault),
            None => Ok(self.nothing.clone()),
        }
    }

    /// Remembers `roster`, whatever was before it, and forgets what was accepted of `scopes`.
    ///
    /// # Errors
    /// The memory cannot be written.
    pub fn accept_as_is(&self, roster: Digest, scopes: impl Iterator<Item = Id>) -> Result<(), VaultError> {
        self.update(|accepted| {
            accepted.roster = roster;
            for scope in scopes {
                accepted.heads.remove(&scope.to_string());
            }
            Ok(())
        })
    }

    /// Ids of the records of `scope` that were accepted here: what is not among them came from elsewhere since.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn known(&self, scope: Id) -> Result<BTreeSet<Id>, VaultError> {
        let text = self.store.read_if_there(&records_file(scope), LONGEST_LIST)?.unwrap_or_default();
        Ok(read_records(&text))
    }

    /// Adds to the records that were accepted here, and takes those back that are removed or replaced.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn learn(&self, scope: Id, records: impl Iterator<Item = Id>, gone: impl Iterator<Item = Id>) -> Result<(), VaultError> {
        let gone = gone.map(|id| format!("{TAKES_BACK}{id}\n"));
        let text: String = gone.chain(records.map(line)).collect();
        lock(&self.store)?.append(&records_file(scope), text.as_bytes())
    }

    /// Takes `records` for those of `scope` that were accepted here, in the place of what was known.
    ///
    /// # Errors
    /// As [`Memory::learn`].
    pub fn learn_anew(&self, scope: Id, records: impl Iterator<Item = Id>) -> Result<(), VaultError> {
        let text: String = records.map(line).collect();
        lock(&self.store)?.write(&records_file(scope), text.as_bytes())
    }

    /// Whether `record` of `scope` is a signer that a touch has shown to have this clear part.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn knows_signer(&self, scope: Id, record: Id, clear: Digest) -> Result<bool, VaultError> {
        let text = self.store.read_if_there(&signers_file(scope), LONGEST_LIST)?.unwrap_or_default();
        let line = signer_line(record, clear);
        // A line that a power cut left half written is no signer's.
        Ok(text.split_inclusive(|byte| *byte == b'\n').any(|each| each == line.as_bytes()))
    }

    /// Signers of `scope` that a touch has shown and nothing has replaced since, each with the clear parts that it was shown to have.
    ///
    /// # Errors
    /// The lists cannot be read.
    pub fn signers(&self, scope: Id) -> Result<BTreeMap<Id, BTreeSet<Digest>>, VaultError> {
        let known = self.known(scope)?;
        let text = self.store.read_if_there(&signers_file(scope), LONGEST_LIST)?.unwrap_or_default();
        let mut signers: BTreeMap<Id, BTreeSet<Digest>> = BTreeMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            let words = str::from_utf8(line).ok().and_then(|line| line.split_once(' '));
            let read = words.and_then(|(id, clear)| Some((Id::from_text(id)?, Digest::from_hex(clear)?)));
            if let Some((id, clear)) = read.filter(|(id, _)| known.contains(id)) {
                signers.entry(id).or_default().insert(clear);
            }
        }
        Ok(signers)
    }

    /// Adds a signer to those that a touch has shown.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn learn_signer(&self, scope: Id, record: Id, clear: Digest) -> Result<(), VaultError> {
        if self.knows_signer(scope, record, clear)? {
            return Ok(());
        }
        lock(&self.store)?.append(&signers_file(scope), signer_line(record, clear).as_bytes())
    }

    /// Remembers the state `head`, which was made from `before`, as [`Accepted::head`] gave it, or accepted in its place. Where another
    /// one is remembered meanwhile, that stays: what follows what is not known here.
    ///
    /// # Errors
    /// The memory cannot be written.
    pub fn remember(&self, scope: Id, before: Option<Digest>, head: Digest) -> Result<(), VaultError> {
        self.update(|accepted| {
            let scope = scope.to_string();
            if accepted.heads.get(&scope).copied() == before {
                accepted.heads.insert(scope, head);
            }
            Ok(())
        })
    }

    /// Remembers `statement`, the end of `roster` or one that follows it. Whoever opened the vault since it was made has remembered it already.
    ///
    /// # Errors
    /// [`VaultError::Older`] where one is remembered that is not in `roster`: it stays. The memory cannot be written.
    pub fn remember_roster(&self, statement: Digest, roster: &Roster) -> Result<(), VaultError> {
        self.update(|accepted| {
            if accepted.roster != statement {
                accepted.check_roster(roster)?;
                accepted.roster = statement;
            }
            Ok(())
        })
    }

    /// Reads, changes and writes what is remembered, with nobody else at it.
    fn update(&self, change: impl FnOnce(&mut Accepted) -> Result<(), VaultError>) -> Result<(), VaultError> {
        let lock = lock(&self.store)?;
        let mut accepted = self.accepted()?;
        change(&mut accepted)?;
        write(&lock, &accepted)
    }
}

impl Accepted {
    /// The statement that was accepted last.
    #[must_use]
    pub fn roster(&self) -> Digest {
        self.roster
    }

    /// The head of `scope` that was accepted last.
    #[must_use]
    pub fn head(&self, scope: Id) -> Option<Digest> {
        self.heads.get(&scope.to_string()).copied()
    }

    /// Checks that `roster` is the remembered one or follows it: another copy of the vault may have gone on since it was opened.
    ///
    /// # Errors
    /// [`VaultError::Older`].
    pub fn check_roster(&self, roster: &Roster) -> Result<(), VaultError> {
        if roster.contains(&self.roster) {
            Ok(())
        } else {
            Err(VaultError::Older { what: "the roster".into() })
        }
    }

    /// Checks that `index` is the remembered state of the scope or follows it.
    ///
    /// # Errors
    /// [`VaultError::Older`]; a missing or damaged page.
    pub fn check(&self, scope: Id, name: &str, index: &Index<'_>) -> Result<(), VaultError> {
        match self.head(scope) {
            Some(known) if !index.descends_from(&known)? => Err(VaultError::Older {
                what: format!("scope {name}"),
            }),
            _ => Ok(()),
        }
    }
}

fn write(lock: &Lock<'_>, accepted: &Accepted) -> Result<(), VaultError> {
    let bytes = jcs::to_vec(accepted).map_err(|_| VaultError::Sealing("the remembered state"))?;
    lock.write(FILE, &bytes)
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

/// Ids of the records that a list names and does not take back.
pub(crate) fn read_records(text: &[u8]) -> BTreeSet<Id> {
    let mut known = BTreeSet::new();
    // A line that a power cut left half written is one record that will be shown once more, or one that is refused once before it is.
    for line in text.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok()) {
        let taken_back = line.strip_prefix(TAKES_BACK);
        match Id::from_text(taken_back.unwrap_or(line)) {
            Some(id) if taken_back.is_some() => drop(known.remove(&id)),
            id => known.extend(id),
        }
    }
    known
}

fn line(id: Id) -> String {
    format!("{id}\n")
}

fn signer_line(record: Id, clear: Digest) -> String {
    format!("{record} {clear}\n")
}

fn signers_file(scope: Id) -> String {
    format!("signers-{scope}")
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
    read(folder, &bytes, roster.in_force().vault)?.check_roster(roster)
}

/// Remembers what stands in the vault already: where that fails, the change is made all the same, and what was not remembered is seen
/// again by whoever opens it next.
pub(crate) fn remember_made(remember: impl FnOnce() -> Result<(), VaultError>) {
    if let Err(error) = remember() {
        tracing::warn!(%error, "a change could not be remembered yet");
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
