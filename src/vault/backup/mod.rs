//! Backups: the files of a vault in one archive, checked without a touch, and put back on another machine.
//!
//! A backup only reads the vault, under a lock that keeps writers out meanwhile. Nothing in it opens without a key or the recovery
//! code; names and rules can be read, as in the folder. `docs/format.md` describes the archive.

pub(crate) mod archive;
mod check;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use thiserror::Error;

use crate::encoding::Digest;

use super::error::{Unreadable, VaultError};
use super::record::{self, Clear};
use super::roster::Roster;
use super::store::Store;
use super::{GIT_FILES, marker};

/// Folders of a vault, and how many levels of folders are below each.
const FOLDERS: [(&str, u32); 6] = [
    ("heads", 1),
    ("index", 2),
    ("records", 2),
    ("roster", 0),
    ("scopes", 1),
    ("slots", 0),
];
/// Files that are written together when an archive is unpacked, and their bytes; the last of them may go beyond.
const TOGETHER: (usize, usize) = (512, 16 << 20);

/// Why a backup is not made, or does not verify.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The vault, or what is in the archive of it.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The archive cannot be read or written: a full disk, a file cut short.
    #[error("the archive cannot be read or written: {0}")]
    Archive(#[from] io::Error),
    /// Not an archive that `backup create` makes.
    #[error("{path} in the archive: {why}")]
    Form {
        /// Path in the archive.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The archive ends before its list of files: cut short.
    #[error("the archive has no list of its files at its end: it was cut short, or is none of touchlease's")]
    NoManifest,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The vault's id.
    pub vault: Digest,
    /// The statement in force.
    pub roster: Digest,
    /// Files.
    pub files: usize,
    /// Bytes of the files.
    pub bytes: u64,
}

/// What was verified without a touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What the archive holds.
    pub contents: Contents,
    /// The vault's name.
    pub name: String,
    /// Statements of the roster, each with its signature.
    pub statements: usize,
    /// Names of the enrolled keys.
    pub keys: Vec<String>,
    /// Scopes.
    pub scopes: Vec<ScopeVerified>,
    /// Files that are no readable record.
    pub unreadable: Vec<Unreadable>,
}

/// A scope of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeVerified {
    /// Its name.
    pub name: String,
    /// Its heads: one, or several that nobody has joined yet.
    pub heads: usize,
    /// Its slots, the recovery code's among them.
    pub slots: usize,
    /// Records.
    pub records: usize,
}

/// What is known of an archive's files once they were read: which there are, and which of them are no records.
#[derive(Default)]
struct Files {
    digests: BTreeMap<String, Digest>,
    unreadable: Vec<Unreadable>,
}

/// Writes the files of the vault in `folder` to `out`: the same bytes for the same files.
///
/// # Errors
/// [`VaultError::Unfinished`] for a vault in which a change was interrupted; a roster that does not verify; what the system says.
pub fn create(folder: &Path, out: impl Write) -> Result<Contents, BackupError> {
    let store = Store::open(folder)?;
    marker::check(&store)?;
    let _shared = store.lock_shared()?;
    if !store.list("pending")?.is_empty() {
        return Err(VaultError::Unfinished.into());
    }
    let roster = Roster::read(&store)?;
    let mut archive = archive::Writer::new(out);
    for path in paths(&store)? {
        archive.add(&path, &store.read(&path, archive::LONGEST_FILE)?)?;
    }
    archive.finish(roster.in_force().vault, roster.end())
}

/// Verifies an archive as far as that goes without a touch: its form, every digest, the roster's signatures, and that all files are
/// there that the roster names. `scratch` is a folder that is not there yet; the caller removes it.
///
/// # Errors
/// [`BackupError`].
pub fn verify(archive: impl Read, scratch: &Path) -> Result<Verified, BackupError> {
    // What is verified as a folder: the roster and the heads. The rest is looked at as it goes by.
    let kept = |path: &str| path == marker::FILE || path.starts_with("roster/") || path.starts_with("heads/");
    let store = Store::create(scratch)?;
    let (contents, files) = unpack(archive, &store, kept)?;
    check::complete(&store, contents, files)
}

/// Unpacks an archive to `folder`, which is new or empty, after verifying it. `scratch` is a folder beside it that is not there yet;
/// the caller removes it where this fails.
///
/// # Errors
/// [`VaultError::NotEmpty`], and as [`verify`].
pub fn restore(archive: impl Read, folder: &Path, scratch: &Path) -> Result<Verified, BackupError> {
    let failed = |error| VaultError::write(&folder.display().to_string(), error);
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        let folder = folder.display().to_string();
        return Err(VaultError::NotEmpty { folder }.into());
    }
    let store = Store::create(scratch)?;
    let (contents, files) = unpack(archive, &store, |_| true)?;
    let verified = check::complete(&store, contents, files)?;
    // Onto an empty folder or none; onto anything else the system refuses it.
    fs::rename(scratch, folder).map_err(failed)?;
    if let Some(parent) = folder.parent() {
        fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
    }
    Ok(verified)
}

fn unpack(archive: impl Read, store: &Store, keep: impl Fn(&str) -> bool) -> Result<(Contents, Files), BackupError> {
    let lock = store.lock()?;
    let mut files = Files::default();
    let (mut waiting, mut bytes_waiting) = (Vec::<(String, Vec<u8>)>::new(), 0);
    let contents = archive::read(archive, |path, bytes| {
        if !is_as_written(path, &bytes) {
            let path = path.to_owned();
            let why = "it is not what touchlease writes there, and git does what it says";
            return Err(BackupError::Form { path, why });
        }
        if path.starts_with("records/")
            && let Err(why) = check_record(path, &bytes)
        {
            let path = path.to_owned();
            files.unreadable.push(Unreadable { path, why });
        }
        files.digests.insert(path.to_owned(), Digest::of(&bytes));
        if keep(path) {
            bytes_waiting += bytes.len();
            waiting.push((path.to_owned(), bytes));
        }
        if waiting.len() >= TOGETHER.0 || bytes_waiting >= TOGETHER.1 {
            lock.write_all(&std::mem::take(&mut waiting))?;
            bytes_waiting = 0;
        }
        Ok(())
    })?;
    lock.write_all(&waiting)?;
    Ok((contents, files))
}

fn check_record(path: &str, bytes: &[u8]) -> Result<(), &'static str> {
    let (clear, _) = Clear::read(bytes)?;
    if record::path(clear.scope, &clear.name, clear.id) == path {
        Ok(())
    } else {
        Err("it is another record's file")
    }
}

/// What git is told of a vault's folder is not signed by anybody: whoever makes an archive could have it run programs (gitattributes(5),
/// filter) or leave files out. So it is what we write, or it is not in the archive.
fn is_as_written(path: &str, bytes: &[u8]) -> bool {
    GIT_FILES.iter().all(|(git, ours)| *git != path || ours.as_bytes() == bytes)
}

/// Paths of all files of the vault, ascending; git files that somebody wrote himself are not of them.
fn paths(store: &Store) -> Result<Vec<String>, VaultError> {
    let mut paths = vec![marker::FILE.to_owned()];
    for (path, _) in GIT_FILES {
        let there = store.read_if_there(path, archive::LONGEST_FILE)?;
        if there.is_some_and(|bytes| is_as_written(path, &bytes)) {
            paths.push(path.to_owned());
        }
    }
    for (folder, depth) in FOLDERS {
        walk(store, folder, depth, &mut paths)?;
    }
    paths.sort_unstable();
    Ok(paths)
}

fn walk(store: &Store, folder: &str, depth: u32, paths: &mut Vec<String>) -> Result<(), VaultError> {
    for name in store.list(folder)? {
        let path = format!("{folder}/{name}");
        match depth.checked_sub(1) {
            Some(depth) => walk(store, &path, depth, paths)?,
            None => paths.push(path),
        }
    }
    Ok(())
}

/// Where in a vault a file may lie.
fn is_of_a_vault(path: &str) -> bool {
    let git = GIT_FILES.iter().any(|(file, _)| *file == path);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/.-".contains(c);
    let parts = path.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    let below = |(folder, depth): &(&str, u32)| {
        let rest = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|rest| rest.matches('/').count() == *depth as usize)
    };
    git || path == marker::FILE || parts && path.chars().all(plain) && FOLDERS.iter().any(below)
}
