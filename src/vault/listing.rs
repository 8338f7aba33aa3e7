//! What can be read without a touch: names and rules. All of it is a claim until a touch has opened the index.

use super::bytes::Hex;
use super::error::{Unreadable, VaultError};
use super::record::{self, Clear, LARGEST_RECORD, Record};
use super::rules::Rules;
use super::{ScopeEntry, Vault};

/// A secret, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Name of its scope.
    pub scope: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// When it was written: seconds since 1970 by the clock of the machine that wrote it.
    pub changed: u64,
    /// What it may be used for.
    pub rules: Rules,
}

/// A secret's clear part, to be judged and shown, and after the touch compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As it is listed.
    pub listed: Listed,
    /// The exact bytes of the clear part.
    pub clear: Vec<u8>,
}

impl Vault {
    /// The secrets of one scope or of all, by scope and name, and the files that are none: a damaged one costs that one only.
    ///
    /// # Errors
    /// [`VaultError::NoScope`]; a folder that cannot be listed.
    pub fn list(&self, scope: Option<&str>) -> Result<(Vec<Listed>, Vec<Unreadable>), VaultError> {
        let (mut listed, mut unreadable) = (Vec::new(), Vec::new());
        let scopes = match scope {
            Some(name) => vec![self.scope(name)?],
            None => self.roster.in_force().scopes.iter().collect(),
        };
        for scope in scopes {
            let folder = record::folder(scope.id);
            for shelf in self.store.list(&folder)? {
                let shelf = format!("{folder}/{shelf}");
                for file in self.store.list(&shelf)? {
                    let path = format!("{shelf}/{file}");
                    match self.read_clear(scope, &path) {
                        Ok((clear, _)) => listed.push(list_one(scope, clear)),
                        Err(why) => unreadable.push(Unreadable { path, why }),
                    }
                }
            }
        }
        listed.sort_by(|a, b| (&a.scope, &a.name, b.version).cmp(&(&b.scope, &b.name, a.version)));
        // The file of an older version that lies beside the newer one; the index knows only the newer.
        listed.dedup_by(|later, first| (&later.scope, &later.name) == (&first.scope, &first.name));
        Ok((listed, unreadable))
    }

    /// The clear part of one secret, read without looking at any other.
    ///
    /// # Errors
    /// [`VaultError::NoScope`], [`VaultError::NoSecret`]; [`VaultError::Damaged`] when its only file is.
    pub fn find(&self, scope: &str, name: &str) -> Result<Found, VaultError> {
        let entry = self.scope(scope)?;
        let (shelf, start) = record::shelf(entry.id, name);
        let mut best: Option<(Clear, Vec<u8>)> = None;
        let mut damaged = None;
        for file in self.store.list(&shelf)?.iter().filter(|file| file.starts_with(&start)) {
            let path = format!("{shelf}/{file}");
            match self.read_clear(entry, &path) {
                Ok((clear, _)) if clear.name != name => {}
                Ok((clear, _)) if best.as_ref().is_some_and(|(best, _)| best.version >= clear.version) => {}
                Ok(found) => best = Some(found),
                Err(why) => damaged = Some(VaultError::damaged(path, why)),
            }
        }
        match (best, damaged) {
            (Some((clear, bytes)), _) => Ok(Found {
                listed: list_one(entry, clear),
                clear: bytes,
            }),
            (None, Some(damaged)) => Err(damaged),
            (None, None) => Err(VaultError::NoSecret {
                scope: scope.to_owned(),
                name: name.to_owned(),
            }),
        }
    }

    /// The clear part of the record at `path`, which must lie where its name and id say.
    fn read_clear(&self, scope: &ScopeEntry, path: &str) -> Result<(Clear, Vec<u8>), &'static str> {
        let file = self.store.read(path, LARGEST_RECORD).map_err(|_| "it cannot be read")?;
        let record = Record::parse(&file)?;
        let id = path.rsplit('-').next().and_then(Hex::from_text);
        let clear = record.clear;
        if clear.scope != scope.id || id != Some(clear.id) || record::path(scope.id, &clear.name, clear.id) != path {
            return Err("it is another record's file");
        }
        Ok((clear, record.clear_bytes.to_vec()))
    }
}

fn list_one(scope: &ScopeEntry, clear: Clear) -> Listed {
    Listed {
        scope: scope.name.clone(),
        name: clear.name,
        version: clear.version,
        changed: clear.changed,
        rules: clear.rules,
    }
}
