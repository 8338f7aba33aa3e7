//! What can be read without a touch: names and rules. All of it is a claim until a touch has opened the index.

use std::cmp::Ordering;

use super::bytes::Id;
use super::error::{Unreadable, VaultError};
use super::record::{self, Clear, LARGEST_RECORD};
use super::rules::Rules;
use super::store::{Folder, Store};
use super::{ScopeEntry, Vault};

/// Bytes at the front of a record's file that hold the clear part of almost every one.
const FRONT: usize = 2048;

/// What is wrong with a name outside UTF-8.
pub(super) const STRANGER: &str = "no record is called so";

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

/// A part of a scope's records that is listed at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelf {
    scope: String,
    folder: String,
}

impl Vault {
    /// The secrets of one scope or of all, by scope and name, and the files that are none: a damaged one costs that one only.
    /// Whoever must not hold all of them takes [`Vault::shelves`].
    ///
    /// # Errors
    /// [`VaultError::NoScope`]; a folder that cannot be listed.
    pub fn list(&self, scope: Option<&str>) -> Result<(Vec<Listed>, Vec<Unreadable>), VaultError> {
        let (mut listed, mut unreadable) = (Vec::new(), Vec::new());
        for shelf in self.shelves(scope)? {
            let (secrets, files) = self.list_shelf(&shelf)?;
            listed.extend(secrets);
            unreadable.extend(files);
        }
        listed.sort_by(|a, b| (&a.scope, &a.name).cmp(&(&b.scope, &b.name)));
        Ok((listed, unreadable))
    }

    /// The parts in which one scope or all can be listed: at most 4,096 for each scope, in no order of names.
    ///
    /// # Errors
    /// As [`Vault::list`].
    pub fn shelves(&self, scope: Option<&str>) -> Result<Vec<Shelf>, VaultError> {
        let scopes = match scope {
            Some(name) => vec![self.scope(name)?],
            None => self.roster.in_force().scopes.iter().collect(),
        };
        let mut all = Vec::new();
        for scope in scopes {
            all.extend(shelves(&self.store, scope)?);
        }
        Ok(all)
    }

    /// How many records a scope has, counted without reading any.
    ///
    /// # Errors
    /// As [`Vault::list`].
    pub fn count(&self, scope: &str) -> Result<usize, VaultError> {
        let folder = record::folder(self.scope(scope)?.id);
        Ok(self.store.list_below(&folder)?.len())
    }

    /// The secrets of one part, by name, and the files in it that are none.
    ///
    /// # Errors
    /// As [`Vault::list`].
    pub fn list_shelf(&self, shelf: &Shelf) -> Result<(Vec<Listed>, Vec<Unreadable>), VaultError> {
        list_shelf(&self.store, self.scope(&shelf.scope)?, shelf)
    }

    /// Ids that the names of the files among the records of `scope` say, with what the names of one secret's files have in common.
    pub(super) fn record_ids(&self, scope: &ScopeEntry) -> Result<Vec<(String, Id)>, VaultError> {
        let mut ids = Vec::new();
        for shelf in self.shelves(Some(&scope.name))? {
            for file in self.store.list(&shelf.folder)? {
                if let Some((tag, id)) = file.rsplit_once('-').and_then(|(tag, id)| Some((tag, Id::from_text(id)?))) {
                    ids.push((format!("{}/{tag}", shelf.folder), id));
                }
            }
        }
        Ok(ids)
    }

    /// The clear parts of the records of `scope` whose ids are `wanted`. A file that is no record is left out; `list` names it.
    pub(super) fn clear_parts(&self, scope: &ScopeEntry, wanted: impl Fn(Id) -> bool) -> Result<Vec<(Clear, Vec<u8>)>, VaultError> {
        let mut parts = Vec::new();
        for shelf in self.shelves(Some(&scope.name))? {
            let Some(folder) = self.store.folder_at(&shelf.folder)? else {
                continue;
            };
            for file in folder.names()? {
                let id = file.rsplit('-').next().and_then(Id::from_text);
                if id.is_some_and(&wanted) {
                    parts.extend(read_clear(scope, &folder, &shelf.folder, &file).ok());
                }
            }
        }
        Ok(parts)
    }

    /// The clear part of one secret, read without looking at any other.
    ///
    /// # Errors
    /// [`VaultError::NoScope`], [`VaultError::NoSecret`], [`VaultError::Contested`]; [`VaultError::Damaged`] when its only file is.
    pub fn find(&self, scope: &str, name: &str) -> Result<Found, VaultError> {
        let entry = self.scope(scope)?;
        let (shelf, start) = record::shelf(entry.id, name);
        let mut best: Option<(Clear, Vec<u8>)> = None;
        let (mut damaged, mut apart) = (None, Vec::new());
        if let Some(folder) = self.store.folder_at(&shelf)? {
            for file in &folder.names_with(&start)? {
                match read_clear(entry, &folder, &shelf, file) {
                    Ok((clear, _)) if clear.name != name => {}
                    Ok(found) => match best.as_ref().map(|(best, _)| found.0.version.cmp(&best.version)) {
                        None | Some(Ordering::Greater) => (best, apart) = (Some(found), Vec::new()),
                        // Two of one version were written apart from each other.
                        Some(Ordering::Equal) => apart.push(found.0.id),
                        // The file of an older version that lies beside the newer one.
                        Some(Ordering::Less) => {}
                    },
                    Err(why) => damaged = Some(VaultError::damaged(format!("{shelf}/{file}"), why)),
                }
            }
        }
        match (best, damaged) {
            (Some((clear, _)), _) if !apart.is_empty() => {
                apart.push(clear.id);
                Err(VaultError::Contested {
                    scope: scope.to_owned(),
                    name: name.to_owned(),
                    records: apart,
                })
            }
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
}

/// See [`Vault::shelves`].
pub(super) fn shelves(store: &Store, scope: &ScopeEntry) -> Result<Vec<Shelf>, VaultError> {
    let records = record::folder(scope.id);
    let shelf = |name: String| Shelf {
        scope: scope.name.clone(),
        folder: format!("{records}/{name}"),
    };
    Ok(store.list(&records)?.into_iter().map(shelf).collect())
}

/// See [`Vault::list_shelf`].
pub(super) fn list_shelf(store: &Store, scope: &ScopeEntry, shelf: &Shelf) -> Result<(Vec<Listed>, Vec<Unreadable>), VaultError> {
    let (mut listed, mut unreadable) = (Vec::new(), Vec::new());
    if let Some(folder) = store.folder_at(&shelf.folder)? {
        let (files, strangers) = folder.entries()?;
        unreadable.extend(strangers.into_iter().map(|stranger| Unreadable {
            path: stranger.path,
            why: STRANGER,
        }));
        for file in files {
            match read_clear(scope, &folder, &shelf.folder, &file) {
                Ok((clear, _)) => listed.push(list_one(scope, clear)),
                Err(why) => unreadable.push(Unreadable {
                    path: format!("{}/{file}", shelf.folder),
                    why,
                }),
            }
        }
    }
    listed.sort_by(|a, b| (&a.name, b.version).cmp(&(&b.name, a.version)));
    // The file of an older version that lies beside the newer one; the index knows only the newer.
    listed.dedup_by(|later, first| later.name == first.name);
    Ok((listed, unreadable))
}

/// The clear part of the record `file` on `shelf`, which must lie where its name and id say. The sealed value is not read.
fn read_clear(scope: &ScopeEntry, folder: &Folder, shelf: &str, file: &str) -> Result<(Clear, Vec<u8>), &'static str> {
    let read = |len| folder.read_front(file, len, LARGEST_RECORD).map_err(|_| "it cannot be read");
    let mut front = read(FRONT)?;
    if let Some(end) = Clear::end(&front).filter(|end| *end > front.len()) {
        front = read(end)?;
    }
    let (clear, bytes) = Clear::read(&front)?;
    let id = file.rsplit('-').next().and_then(Id::from_text);
    if clear.scope != scope.id || id != Some(clear.id) || record::path(scope.id, &clear.name, clear.id) != format!("{shelf}/{file}") {
        return Err("it is another record's file");
    }
    let bytes = bytes.to_vec();
    Ok((clear, bytes))
}

pub(super) fn list_one(scope: &ScopeEntry, clear: Clear) -> Listed {
    Listed {
        scope: scope.name.clone(),
        name: clear.name,
        version: clear.version,
        changed: clear.changed,
        rules: clear.rules,
    }
}
