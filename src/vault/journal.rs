//! Changes of many files that happen whole or not at all.
//!
//! One file of a change decides: once it is in its place, the change is done. Before that a list of all files is written into
//! `pending/`; whoever opens the vault next reads it, and finishes the change or takes it back.

use crate::encoding::Digest;

use super::error::VaultError;
use super::store::{Lock, Store};

/// Folder of the lists.
pub const FOLDER: &str = "pending";
const FIRST_LINE: &str = "touchlease change 1";
const LONGEST: usize = 64 << 20;
/// The folders that a list may name: a forged one can delete nothing else (and who can write it could delete these anyway).
const FOLDERS: [&str; 6] = ["roster/", "slots/", "scopes/", "records/", "index/", "heads/"];

/// A change in the making.
#[derive(Debug, Default)]
pub struct Change {
    adds: Vec<(String, Vec<u8>)>,
    removes: Vec<String>,
}

/// A change that is in force.
#[must_use = "what went wrong afterwards has to be told"]
#[derive(Debug)]
pub struct InForce {
    /// Digest of the file that decided.
    pub digest: Digest,
    /// What failed when that file was in its place, or when nobody can tell whether it is: it may not be durable, and what it replaced may
    /// still be there.
    pub trouble: Option<VaultError>,
}

impl InForce {
    /// The digest, for whoever needs a change that is durable.
    ///
    /// # Errors
    /// The trouble.
    pub fn sure(self) -> Result<Digest, VaultError> {
        self.trouble.map_or(Ok(self.digest), Err)
    }
}

/// What a list in `pending/` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Path of the file that decides.
    pub decides: String,
    /// Paths of the other new files.
    pub adds: Vec<String>,
    /// Paths of the files that are not needed afterwards.
    pub removes: Vec<String>,
}

impl Change {
    /// A new file.
    pub fn add(&mut self, path: String, bytes: Vec<u8>) {
        self.adds.push((path, bytes));
    }

    /// A file that is not needed once the change is done.
    pub fn remove(&mut self, path: String) {
        self.removes.push(path);
    }

    /// Writes everything; `path` with `bytes` decides, written after all others are durable.
    ///
    /// # Errors
    /// The old state is in force. What fails later is told by [`InForce`].
    pub fn commit(self, lock: &Lock<'_>, path: &str, bytes: &[u8]) -> Result<InForce, VaultError> {
        let list = self.list(path).to_text();
        let name = format!("{FOLDER}/{}", Digest::of(list.as_bytes()));
        lock.write(&name, list.as_bytes())?;
        let done = self.write(lock, path, bytes);
        // In both cases: finishes what was decided, takes back what was not. Should this fail too, the next opening does it.
        let settled = settle_one(lock, &name, done.is_ok());
        let digest = Digest::of(bytes);
        match done.and(settled) {
            Ok(()) => Ok(InForce { digest, trouble: None }),
            Err(error) if lock.store().exists(path).is_ok_and(|there| !there) => Err(error),
            Err(error) => Ok(InForce {
                digest,
                trouble: Some(error),
            }),
        }
    }

    fn write(&self, lock: &Lock<'_>, path: &str, bytes: &[u8]) -> Result<(), VaultError> {
        lock.write_all(&self.adds)?;
        lock.write(path, bytes)
    }

    fn list(&self, decides: &str) -> Pending {
        Pending {
            decides: decides.to_owned(),
            adds: self.adds.iter().map(|(path, _)| path.clone()).collect(),
            removes: self.removes.clone(),
        }
    }
}

/// Whether no change is under way, and none was left unfinished.
///
/// # Errors
/// The folder cannot be listed.
pub fn is_settled(store: &Store) -> Result<bool, VaultError> {
    Ok(store.list(FOLDER)?.is_empty())
}

/// Finishes or takes back what an interrupted change left.
///
/// # Errors
/// [`VaultError::Unfinished`] where the folder is read-only; a damaged list.
pub fn settle(store: &Store) -> Result<(), VaultError> {
    if is_settled(store)? {
        return Ok(());
    }
    settle_locked(&store.lock()?)
}

/// As [`settle`], by a writer that has the lock.
///
/// # Errors
/// As [`settle`].
pub fn settle_locked(lock: &Lock<'_>) -> Result<(), VaultError> {
    for name in lock.store().list(FOLDER)? {
        settle_one(lock, &format!("{FOLDER}/{name}"), false).map_err(|e| match e {
            VaultError::ReadOnly { .. } => VaultError::Unfinished,
            e => e,
        })?;
    }
    Ok(())
}

/// `durable`: whether the deciding file, if it is there, is known to be there after a power cut too.
fn settle_one(lock: &Lock<'_>, name: &str, durable: bool) -> Result<(), VaultError> {
    let text = lock.store().read(name, LONGEST)?;
    let pending = Pending::parse(name, &text)?;
    let leftover = if lock.store().exists(&pending.decides)? {
        if !durable {
            // Else a power cut could leave the vault without the new state and without the old one.
            lock.sync_place(&pending.decides)?;
        }
        pending.removes
    } else {
        pending.adds
    };
    lock.remove_all(&leftover)?;
    lock.remove_all(&[name.to_owned()])
}

impl Pending {
    /// The list's text.
    pub fn to_text(&self) -> String {
        let mut list = format!("{FIRST_LINE}\n= {}\n", self.decides);
        for (sign, paths) in [('+', &self.adds), ('-', &self.removes)] {
            for path in paths {
                list.push_str(&format!("{sign} {path}\n"));
            }
        }
        list
    }

    /// Reads the list `name`; one change has one list.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self, VaultError> {
        let damaged = || VaultError::damaged(name, "not a list of changed files");
        let text = str::from_utf8(text).map_err(|_| damaged())?;
        // The name is the digest: a list cut short is none.
        if name.rsplit('/').next() != Some(&Digest::of(text.as_bytes()).to_string()) {
            return Err(damaged());
        }
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(damaged());
        }
        let decides = lines.next().and_then(|line| line.strip_prefix("= ")).ok_or_else(damaged)?;
        let mut pending = Self {
            decides: checked(decides).ok_or_else(damaged)?,
            adds: Vec::new(),
            removes: Vec::new(),
        };
        for line in lines {
            let (list, path) = match line.split_at_checked(2) {
                Some(("+ ", path)) => (&mut pending.adds, path),
                Some(("- ", path)) => (&mut pending.removes, path),
                _ => return Err(damaged()),
            };
            list.push(checked(path).ok_or_else(damaged)?);
        }
        if pending.to_text() == text { Ok(pending) } else { Err(damaged()) }
    }
}

fn checked(path: &str) -> Option<String> {
    let known = FOLDERS.iter().any(|folder| path.starts_with(folder));
    let plain = path.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    (known && plain).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::Folder;
    use super::*;

    fn change() -> Change {
        let mut change = Change::default();
        change.add("records/s/new".into(), b"new".to_vec());
        change.add("index/s/00/node".into(), b"node".to_vec());
        change.remove("records/s/old".into());
        change
    }

    fn files(store: &Store) -> Vec<String> {
        ["records/s", "index/s/00", "heads/s", "pending"]
            .iter()
            .flat_map(|dir| store.list(dir).unwrap())
            .collect()
    }

    #[test]
    fn p9_a_change_cut_at_any_step_is_the_old_state_or_the_new_one() {
        let (mut step, mut seen) = (0, [0, 0]);
        loop {
            let folder = Folder::new();
            let store = Store::open(&folder).unwrap();
            store.lock().unwrap().write("records/s/old", b"old").unwrap();
            store.faults.cut_at(step);
            let done = change().commit(&store.lock().unwrap(), "heads/s/h", b"head");
            let (known_old, done) = (done.is_err(), done.and_then(InForce::sure));
            let fresh = Store::open(&folder).unwrap();
            settle(&fresh).unwrap();
            let state = files(&fresh);
            let new = state == ["new", "node", "h"];
            assert!(new || state == ["old"], "step {step}: {state:?}");
            assert!(new || done.is_err(), "step {step}: acknowledged and lost");
            assert_eq!(new, !known_old, "step {step}: said to be what it is not");
            seen[usize::from(new)] += 1;
            if done.is_ok() {
                break;
            }
            step += 1;
        }
        assert!(seen[0] > 10 && seen[1] > 5, "{seen:?}");
    }

    #[test]
    fn p9_t51_an_interrupted_change_is_made_durable_before_the_old_files_go() {
        let folder = Folder::new();
        let store = Store::open(&folder).unwrap();
        store.lock().unwrap().write("records/s/old", b"old").unwrap();
        // Killed when the deciding file was in its place and nothing had said that it stays there.
        let mut step = 0;
        while !store.exists("heads/s/h").unwrap() {
            settle(&Store::open(&folder).unwrap()).unwrap();
            store.faults.cut_at(step);
            let _ = change().commit(&store.lock().unwrap(), "heads/s/h", b"head");
            step += 1;
        }
        // The first thing that whoever comes next does is to sync the folders that lead to it.
        for (step, path) in ["", "heads", "heads/s"].into_iter().enumerate() {
            let next = Store::open(&folder).unwrap();
            next.faults.fail_at(i64::try_from(step).unwrap());
            let failed = settle(&next).unwrap_err();
            assert!(matches!(&failed, VaultError::Full { path: at } if at == path), "{failed}");
            assert!(files(&next).contains(&"old".to_owned()));
        }
        let next = Store::open(&folder).unwrap();
        settle(&next).unwrap();
        assert_eq!(files(&next), ["new", "node", "h"]);
    }

    #[test]
    fn a_full_disk_leaves_the_old_state_without_another_opening() {
        for step in 0..19 {
            let folder = Folder::new();
            let store = Store::open(&folder).unwrap();
            store.lock().unwrap().write("records/s/old", b"old").unwrap();
            store.faults.fail_at(step);
            let done = change().commit(&store.lock().unwrap(), "heads/s/h", b"head");
            let done = done.and_then(InForce::sure);
            assert!(matches!(done, Err(VaultError::Full { .. })), "step {step}");
            assert!(files(&store).contains(&"old".to_owned()), "step {step}");
        }
    }

    #[test]
    fn a_change_has_one_list() {
        let text = change().list("heads/s/h").to_text();
        let parse = |text: &str| Pending::parse(&format!("pending/{}", Digest::of(text.as_bytes())), text.as_bytes());
        assert_eq!(parse(&text).unwrap(), change().list("heads/s/h"));
        for other in [
            text.trim_end().to_owned(),
            text.replace('\n', "\r\n"),
            format!("{text}+ records/s/late\n"),
            format!("{text}\n"),
        ] {
            assert!(parse(&other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_forged_list_reaches_no_file_outside_the_vaults_folders() {
        for path in [
            "../x",
            "records/../../x",
            "/etc/passwd",
            "format",
            "records/.git/x",
            ".git/x",
            "pending/x",
        ] {
            let text = format!("{FIRST_LINE}\n= heads/s/h\n+ {path}\n");
            let name = format!("pending/{}", Digest::of(text.as_bytes()));
            assert!(Pending::parse(&name, text.as_bytes()).is_err(), "{path}");
        }
    }
}
