//! Why the vault refuses.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

use crate::encoding::Digest;
use crate::encoding::plain::{PlainError, count};

use super::bytes::Id;
use super::difference::quoted;
use super::fork::Side;

/// Why the vault refuses. Nothing was handed out and nothing was changed, except where a variant says so.
#[derive(Debug, Error)]
pub enum VaultError {
    // The folder.
    /// There is no vault at this place: a wrong `--vault`, or `init` was never run.
    #[error("there is no vault in {folder}")]
    NoVault {
        /// The folder.
        folder: String,
    },
    /// A vault, or something else, is there already.
    #[error("{folder} is not empty; a vault is made in a new or an empty folder")]
    NotEmpty {
        /// The folder.
        folder: String,
    },
    /// Written by a later version of touchlease.
    #[error("the vault has format {found}, and this touchlease reads up to {known}; install a newer touchlease")]
    Newer {
        /// Format of the vault.
        found: u64,
        /// The newest format that this version reads.
        known: u64,
    },
    /// The folder or a file in it belongs to somebody else.
    #[error("{path} belongs to uid {owner}, not to uid {us}, under which touchlease runs")]
    NotOurs {
        /// What belongs to somebody else.
        path: String,
        /// Its owner.
        owner: u32,
        /// The uid of this process.
        us: u32,
    },
    /// A symbolic link, device or folder where a plain file belongs.
    #[error("{path} is a symbolic link or no plain file; the vault has neither")]
    NotPlain {
        /// Where.
        path: String,
    },
    /// The file system is read-only or the folder is not writable.
    #[error("{path} cannot be written: the folder is read-only")]
    ReadOnly {
        /// Where.
        path: String,
    },
    /// The disk or the quota is full. The state before is in force.
    #[error("{path} cannot be written: the disk or your quota is full; the vault is as it was before")]
    Full {
        /// Where.
        path: String,
    },
    /// Another process is writing: a second daemon, a `git` hook that holds the folder.
    #[error("another process is writing to this vault; try again")]
    Busy,
    /// Any other failure of a system call.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The kernel refuses to lock more memory.
    #[error("no locked memory for a secret ({0}); raise the limit on locked memory (ulimit -l)")]
    Memory(io::Error),
    /// A change was interrupted, and the folder is read-only now.
    #[error("a change to this vault was interrupted, and finishing it needs write access to the folder")]
    Unfinished,

    // What is in the files.
    /// A file is missing: deleted, or not copied.
    #[error("{path} is missing; restore it from a backup or from git")]
    Missing {
        /// Which.
        path: String,
    },
    /// A file is not in the form that its place asks for: damaged, or written by another program.
    #[error("{path} is damaged: {why}; restore it from a backup or from git")]
    Damaged {
        /// Which.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },

    // The roster.
    /// A statement of the roster does not verify. Nothing is read from or written into this vault.
    #[error("the roster does not verify at statement {statement}: {why}; nothing is read from this vault")]
    Roster {
        /// Digest of the statement.
        statement: Digest,
        /// What is wrong.
        why: RosterFault,
        /// The vault's folder; empty for a statement that lies in none yet.
        folder: PathBuf,
    },
    /// A file among the statements that is none: another program put it there, or somebody.
    #[error("{path} is no statement of the roster: it has no name of one; nothing is read from this vault")]
    Stranger {
        /// The vault's folder.
        folder: PathBuf,
        /// Which.
        path: String,
    },
    /// Two statements follow the same one: two machines changed the roster apart from each other, or somebody added an old one.
    #[error("who may open this vault was changed in two places that do not know of each other: {}", said(.sides))]
    Fork {
        /// What each side did.
        sides: Vec<Side>,
    },
    /// In a fork every side did something by the hand of a key, or of a recovery code, that another side took away: which one is the
    /// owner's only he can tell.
    #[error("each side of the roster was changed by a key or a code that another side took away, so no touch can tell which one is right")]
    ShutOut,
    /// In a fork the sides do not agree on what the key of this name is: by which credentials it is asked, or whether it wants a PIN.
    #[error("the sides of the roster say different things of key {0:?}: one of them is forged")]
    OtherKey(String),
    /// In a fork every side's key of a scope is known to somebody whom another side took out, and what this machine has accepted of the scope
    /// is not in the folder: nothing says which of its states follows that.
    #[error(
        "on each side somebody knows the key of scope {0} whom another side took out, and the state that this machine saw last is not there"
    )]
    NoneVouched(String),
    /// Two machines wrote the same secret apart from each other, and nobody has said yet which version it is.
    #[error("{scope}/{name} has versions that were written apart from each other; their records are {}", list(.records))]
    Contested {
        /// Name of the scope.
        scope: String,
        /// Name of the secret.
        name: String,
        /// Ids of their records, as far as the folder has them.
        records: Vec<Id>,
    },
    /// A scope that several heads stand for, where its next state has to be the one that is there.
    #[error("scope {0} was written on two machines and is not joined yet")]
    NotJoined(String),
    /// A version that was to be kept is none of those that were written apart.
    #[error("{scope}/{name} has no such version to keep: it was settled meanwhile, or the file is another one's")]
    NotContested {
        /// Name of the scope.
        scope: String,
        /// Name of the secret.
        name: String,
    },
    /// Joining would take in a secret that was not in the prompt: its file is missing, or is another one.
    #[error("{scope}/{name} came from another machine and was not shown before the touch: its file is missing or another one")]
    NotShown {
        /// Name of the scope.
        scope: String,
        /// Name of the secret.
        name: String,
    },
    /// A head that was made under an earlier key of its scope and that cannot be joined: it is left aside, and costs nothing but what it
    /// brings.
    #[error("{path} was made under an earlier key and is left aside: {why}; if none of your machines made it, take it out of the folder")]
    Aside {
        /// The head.
        path: String,
        /// Why it cannot be joined.
        why: Box<VaultError>,
    },
    /// The folder was changed between the question and the touch (a `git pull`, another daemon).
    #[error("the vault changed while the touch was waited for; ask again")]
    Changed,
    /// Older than what this machine has accepted before: an old copy was put back.
    #[error("{what} is older than what this machine has seen, or of another line; an old copy was put back")]
    Older {
        /// Roster, or which scope's index.
        what: String,
    },
    /// The remembered digests cannot be read: damaged state file.
    #[error("the remembered state {path} is damaged: {why}")]
    State {
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },

    // What a proof opens.
    /// The proof was made for something else: another namespace, another text, other salts, another vault.
    #[error("the touch was for something else: {0}")]
    WrongProof(&'static str),
    /// The recovery code is one, but not of this vault, or an older one.
    #[error("this recovery code is of another vault, or was replaced by a newer one")]
    WrongCode,
    /// The key has no slot in a scope.
    #[error("{key} has no slot in scope {scope}")]
    NoSlot {
        /// Name of the key.
        key: String,
        /// Name of the scope.
        scope: String,
    },
    /// The key's output does not open its slot: the key was reset, the PIN was added or removed since, or the file is damaged.
    #[error(
        "{key} does not open its slot in scope {scope}: the key gives another answer than when it was enrolled, or the file is damaged"
    )]
    SlotClosed {
        /// Name of the key.
        key: String,
        /// Name of the scope.
        scope: String,
    },
    /// What was sealed to the slot is not the scope's key: somebody who can write to the folder put his own in place.
    #[error("what was sealed to scope {scope} is not its key; somebody wrote to the folder")]
    WrongScopeKey {
        /// Name of the scope.
        scope: String,
    },
    /// More scopes than one touch can open (CTAP has two salts).
    #[error("one touch opens at most two scopes; {asked} were asked for")]
    TooManyScopes {
        /// How many were asked for.
        asked: usize,
    },
    /// No such scope.
    #[error("there is no scope {0}")]
    NoScope(String),
    /// No such secret.
    #[error("there is no secret {scope}/{name}")]
    NoSecret {
        /// Name of the scope.
        scope: String,
        /// Name of the secret.
        name: String,
    },
    /// The record in the folder was removed by a later change; somebody put the file back.
    #[error("{scope}/{name} was removed; its old file was put back")]
    Removed {
        /// Name of the scope.
        scope: String,
        /// Name of the secret.
        name: String,
    },
    /// The record is not the one that the index names: an older version, another record's file, or a forged one.
    #[error("the file of {scope}/{name} is not the one that the index names: an older version or another record was put in its place")]
    Swapped {
        /// Name of the scope.
        scope: String,
        /// Name of the secret.
        name: String,
    },
    /// The index names a record whose file is gone.
    #[error("the file of {scope}/{name} is gone: it was deleted outside touchlease")]
    Deleted {
        /// Name of the scope.
        scope: String,
        /// Name of the secret.
        name: String,
    },
    /// The rules differ from those that were judged and shown.
    #[error("the rules of {scope}/{name} are not those that were judged before the touch")]
    RulesChanged {
        /// Name of the scope.
        scope: String,
        /// Name of the secret.
        name: String,
    },

    // What the caller asks.
    /// A name that is refused.
    #[error(transparent)]
    Name(#[from] PlainError),
    /// Rules that contradict themselves.
    #[error("{0}")]
    Rules(&'static str),
    /// An empty value, or one over 1 MiB.
    #[error("a value has 1 byte to 1 MiB; this one has {0} bytes")]
    ValueSize(usize),
    /// A name twice in one change, a key or a scope that exists already.
    #[error("{0} is there already")]
    Twice(String),
    /// A change without content.
    #[error("nothing to change")]
    Nothing,
    /// The last key cannot be removed: only the recovery code would open the vault.
    #[error("{0} is the last key; add another one before it is removed")]
    LastKey(String),
    /// The key opens the scope already.
    #[error("{key} is in scope {scope} already")]
    AlreadyIn {
        /// Name of the key.
        key: String,
        /// Name of the scope.
        scope: String,
    },
    /// A scope with secrets is not given up.
    #[error("scope {scope} has {}", count(*.secrets, "secret"))]
    NotEmptyScope {
        /// Name of the scope.
        scope: String,
        /// How many secrets it has.
        secrets: usize,
    },
    /// A vault has at least one scope.
    #[error("{0} is the only scope")]
    LastScope(String),
    /// No key that stays has a slot in a scope that has to be opened.
    #[error("none of the keys that could be touched is in scope {0}")]
    NoneIn(String),
    /// A scope that got different keys on the sides of a fork, which none of the keys that would be touched opens on all of them.
    #[error("scope {scope} has another key on each side, and no key that would be touched opens it on all of them{}", and_who(.can))]
    NoneJoins {
        /// Name of the scope.
        scope: String,
        /// Names of the keys that do.
        can: Vec<String>,
    },
    /// No such key.
    #[error("no key {0} is enrolled")]
    NoKey(String),
    /// Sealing failed inside the cipher (only for texts of impossible size).
    #[error("sealing failed in {0}")]
    Sealing(&'static str),
}

/// What is wrong with a statement of the roster.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RosterFault {
    /// Not canonical JSON of the known form, or it has unknown names.
    #[error("not in the known form")]
    Form,
    /// Its bytes are not those that its name is the digest of.
    #[error("its digest is another one")]
    Digest,
    /// It names a statement before it that is not there.
    #[error("the statement before it is missing")]
    Gap,
    /// It is of another vault.
    #[error("it is of another vault")]
    Vault,
    /// No signature, or not in the form of one.
    #[error("it has no signature")]
    Unsigned,
    /// The signature is by a key that the statement before does not name.
    #[error("it is signed by a key that the statement before does not name")]
    Signer,
    /// The signature does not verify, or was made without the touch or PIN that the key's profile asks for.
    #[error("its signature does not verify, or was made without touch or PIN")]
    Signature,
    /// A PIV key of it has not signed that it was enrolled for this vault.
    #[error("it names a PIV key that has not signed that it belongs to this vault")]
    Enrolment,
    /// It contradicts itself or the statement before it.
    #[error("it contradicts itself or the statement before it")]
    Content,
    /// It is not connected with the first statement.
    #[error("nothing leads to it from the first statement")]
    Unconnected,
}

/// A record whose name or file cannot be made sense of; it costs that record only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Where, below the vault's folder.
    pub path: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl VaultError {
    /// A failure to read `path`.
    #[must_use]
    pub fn read(path: &str, source: io::Error) -> Self {
        let path = path.to_owned();
        match errno(&source) {
            Some(Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO) => Self::NotPlain { path },
            Some(Errno::NOENT) => Self::Missing { path },
            _ => Self::Io { path, source },
        }
    }

    /// A failure to write `path`, with the causes that a person can do something about told apart.
    #[must_use]
    pub fn write(path: &str, source: io::Error) -> Self {
        match errno(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full { path: path.to_owned() },
            Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => Self::ReadOnly { path: path.to_owned() },
            _ => Self::read(path, source),
        }
    }

    pub(super) fn damaged(path: impl Into<String>, why: &'static str) -> Self {
        Self::Damaged { path: path.into(), why }
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

fn said(sides: &[Side]) -> String {
    let sides = sides.iter().enumerate().map(|(n, side)| format!("side {}: {side}", n + 1));
    sides.collect::<Vec<_>>().join("; ")
}

fn and_who(can: &[String]) -> String {
    if can.is_empty() {
        return String::new();
    }
    format!("; these do: {}", quoted(can).join(", "))
}

fn list(ids: &[impl ToString]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
