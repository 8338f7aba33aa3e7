//! The archive: a tar file (POSIX ustar) of plain files in the order of their paths, and at its end the list of them.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, EntryType, Header};

use crate::encoding::{Digest, jcs};

use super::{BackupError, Contents, is_of_a_vault};
use crate::vault::statement::FORMAT;

/// The list of files, in the archive only.
const MANIFEST: &str = "manifest.json";
const KIND: &str = "touchlease backup";
/// Longest file of a vault.
pub const LONGEST_FILE: usize = 8 << 20;
/// Longest entry of the list of files: digest, size and path (at most 256 bytes in a ustar header), and what stands around them.
const LONGEST_LISTED: u64 = 512;
/// Longest list without its entries.
const LONGEST_MANIFEST: u64 = 4096;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    files: Vec<Listed>,
    kind: String,
    roster: Digest,
    v: u64,
    vault: Digest,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Listed {
    digest: Digest,
    path: String,
    size: u64,
}

/// Writes an archive.
pub struct Writer<W: Write> {
    builder: Builder<W>,
    files: Vec<Listed>,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self {
            builder: Builder::new(out),
            files: Vec::new(),
        }
    }

    /// Adds a file; paths come in ascending order.
    pub fn add(&mut self, path: &str, bytes: &[u8]) -> Result<(), BackupError> {
        self.files.push(listed(path, bytes));
        self.append(path, bytes)
    }

    /// Writes the list of files and the archive's end.
    pub fn finish(mut self, vault: Digest, roster: Digest) -> Result<Contents, BackupError> {
        let contents = contents(&self.files, vault, roster);
        let manifest = Manifest {
            files: std::mem::take(&mut self.files),
            kind: KIND.into(),
            roster,
            v: FORMAT,
            vault,
        };
        let bytes = jcs::to_vec(&manifest).map_err(|_| form(MANIFEST, "it has no canonical form"))?;
        self.append(MANIFEST, &bytes)?;
        self.builder.into_inner()?.flush()?;
        Ok(contents)
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let mut header = Header::new_ustar();
        header.set_path(path)?;
        header.set_size(bytes.len() as u64);
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        // No times and no owners: the same files give the same archive.
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        Ok(self.builder.append(&header, bytes)?)
    }
}

/// Reads an archive, gives each file to `take`, and compares them with the list at the end.
pub fn read(archive: impl Read, mut take: impl FnMut(&str, Vec<u8>) -> Result<(), BackupError>) -> Result<Contents, BackupError> {
    let mut archive = Archive::new(archive);
    let mut files: Vec<Listed> = Vec::new();
    let mut manifest: Option<Manifest> = None;
    // Raw: a long name of another kind of tar is an entry to be refused, not one to be read into memory first.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if manifest.is_some() {
            return Err(form(path, "it comes after the list of files"));
        }
        if entry.header().entry_type() != EntryType::Regular {
            return Err(form(path, "it is no plain file"));
        }
        let limit = match path.as_str() {
            MANIFEST => LONGEST_MANIFEST + LONGEST_LISTED * files.len() as u64,
            _ => LONGEST_FILE as u64,
        };
        if entry.size() > limit {
            return Err(form(path, "it is larger than any file of its kind"));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if path == MANIFEST {
            manifest = Some(jcs::from_slice(&bytes).map_err(|_| form(path, "it is not in the known form"))?);
            continue;
        }
        if !is_of_a_vault(&path) {
            return Err(form(path, "no file of a vault has this path"));
        }
        if files.last().is_some_and(|last| last.path >= path) {
            return Err(form(path, "it is not in the order of paths"));
        }
        files.push(listed(&path, &bytes));
        take(&path, bytes)?;
    }
    let manifest = manifest.ok_or(BackupError::NoManifest)?;
    if manifest.v != FORMAT || manifest.kind != KIND {
        return Err(form(MANIFEST, "it is of another format"));
    }
    match files.iter().zip(&manifest.files).find(|(found, listed)| found != listed) {
        Some((found, _)) => Err(form(&found.path, "it is not the file that the list names")),
        None if files.len() != manifest.files.len() => Err(form(MANIFEST, "it names other files than there are")),
        None => Ok(contents(&files, manifest.vault, manifest.roster)),
    }
}

fn listed(path: &str, bytes: &[u8]) -> Listed {
    Listed {
        digest: Digest::of(bytes),
        path: path.to_owned(),
        size: bytes.len() as u64,
    }
}

fn contents(files: &[Listed], vault: Digest, roster: Digest) -> Contents {
    Contents {
        vault,
        roster,
        files: files.len(),
        bytes: files.iter().map(|file| file.size).sum(),
    }
}

fn form(path: impl Into<String>, why: &'static str) -> BackupError {
    BackupError::Form { path: path.into(), why }
}
