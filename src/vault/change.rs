//! Changing the secrets of a scope: a batch, signed by one touch, in force as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::device::proof::Proof;
use crate::encoding::Digest;
use crate::encoding::plain::check_name;
use crate::encoding::sshsig::Namespace;
use crate::secret::Secret;

use super::error::VaultError;
use super::index::{Entry, head_path};
use super::journal::{self, Change};
use super::material::Held;
use super::random::{self, Random};
use super::record::{self, Clear, Record};
use super::rules::Rules;
use super::scope::Ring;
use super::statement::FORMAT;
use super::tree::Index;
use super::{Standing, Vault};

/// A secret to be written, new or in the place of an older version.
#[derive(Debug)]
pub struct Put {
    /// Its name.
    pub name: String,
    /// What it may be used for.
    pub rules: Rules,
    /// Its value, 1 byte to 1 MiB.
    pub value: Secret,
}

/// Changes to one scope.
#[derive(Debug, Default)]
pub struct Changes {
    /// Secrets to be written.
    pub puts: Vec<Put>,
    /// Secrets whose rules change and whose values stay.
    pub rules: Vec<(String, Rules)>,
    /// Secrets to be removed.
    pub removes: Vec<String>,
    /// The clear parts of the names above, as [`Vault::find`] gave them, absent for those that it did not find. They are a claim of
    /// the folder until the index was opened; rules that were taken from one must not be sealed on its word.
    pub judged: BTreeMap<String, Vec<u8>>,
}

impl Changes {
    /// Checks names, rules and values before anybody is asked for a touch.
    ///
    /// # Errors
    /// [`VaultError::Nothing`], [`VaultError::Twice`], a refused name, rule or value.
    pub fn check(&self) -> Result<(), VaultError> {
        let mut names = BTreeSet::new();
        let all = self.puts.iter().map(|put| &put.name);
        for name in all.chain(self.rules.iter().map(|(name, _)| name)).chain(&self.removes) {
            check_name("the secret's name", name)?;
            if !names.insert(name) {
                return Err(VaultError::Twice(name.clone()));
            }
        }
        if names.is_empty() {
            return Err(VaultError::Nothing);
        }
        for put in &self.puts {
            put.rules.check()?;
            put.rules.check_value(&put.value)?;
            if !(1..=record::LARGEST_VALUE).contains(&put.value.len()) {
                return Err(VaultError::ValueSize(put.value.len()));
            }
        }
        self.rules.iter().try_for_each(|(_, rules)| rules.check())
    }
}

impl Vault {
    /// Makes `changes` in the one scope of `standing` with the touch that signed them; `text` is the digest of the signed bytes,
    /// which list every name that is written, and `now` is seconds since 1970. Gives the digest of the new index head.
    ///
    /// When this fails, the old state is in force, except where the disk failed after the new one was; opening the vault tells.
    ///
    /// # Errors
    /// As [`Changes::check`] and [`Vault::unseal`]; a full disk, a read-only folder.
    pub fn apply(
        &self,
        proof: &Proof,
        text: Digest,
        standing: &Standing,
        changes: &Changes,
        now: u64,
        random: &mut Random,
    ) -> Result<Digest, VaultError> {
        if proof.namespace() != Namespace::Change || proof.text_digest() != text {
            return Err(VaultError::WrongProof("it signed another change"));
        }
        changes.check()?;
        let [(name, head)] = standing.scopes.as_slice() else {
            return Err(VaultError::TooManyScopes {
                asked: standing.scopes.len(),
            });
        };
        let lock = self.store.lock()?;
        journal::settle_locked(&lock)?;
        self.check_standing(standing)?;
        let scope = self.scope_entry(name)?;
        let mut rings = self.unlock(proof, &[scope])?;
        let ring = rings.pop().ok_or(VaultError::Nothing)?;
        let index = self.index(scope, &ring, *head)?;
        let mut batch = Batch {
            vault: self,
            scope: name,
            ring: &ring,
            index: &index,
            change: Change::default(),
            entries: Vec::new(),
            now,
        };
        batch.fill(changes, random)?;
        let Batch { mut change, entries, .. } = batch;
        let (digest, bytes) = index.next(&ring, entries, &mut change, random)?;
        change.commit(&lock, &head_path(scope.id, &digest), &bytes)?;
        self.memory.remember(scope.id, digest)?;
        Ok(digest)
    }
}

struct Batch<'a> {
    vault: &'a Vault,
    scope: &'a str,
    ring: &'a Ring,
    index: &'a Index<'a>,
    change: Change,
    entries: Vec<Entry>,
    now: u64,
}

impl Batch<'_> {
    fn fill(&mut self, changes: &Changes, random: &mut Random) -> Result<(), VaultError> {
        for put in &changes.puts {
            let before = self.index.find(&put.name)?;
            self.check_judged(&put.name, before.as_ref(), changes.judged.get(&put.name))?;
            self.write(&put.name, before.as_ref(), put.rules.clone(), &put.value, random)?;
        }
        for (name, rules) in &changes.rules {
            let before = self.index.find(name)?;
            self.check_judged(name, before.as_ref(), changes.judged.get(name))?;
            let value = self.value(name, before.as_ref())?;
            self.write(name, before.as_ref(), rules.clone(), &value, random)?;
        }
        for name in &changes.removes {
            self.remove(name)?;
        }
        Ok(())
    }

    /// What was judged and shown must be what the index names, byte for byte.
    fn check_judged(&self, name: &str, before: Option<&Entry>, judged: Option<&Vec<u8>>) -> Result<(), VaultError> {
        let same = match self.vault.read_record(self.ring, before, name)? {
            Held::Here(path, file) => {
                let record = Record::parse(&file).map_err(|why| VaultError::damaged(&path, why))?;
                judged.is_some_and(|judged| *judged == record.clear_bytes)
            }
            // A record that is gone or was replaced may be written anew, if nothing of the claim is taken over.
            Held::Unknown | Held::Removed | Held::Gone(_) | Held::Other => judged.is_none(),
        };
        if same {
            return Ok(());
        }
        Err(VaultError::RulesChanged {
            scope: self.scope.to_owned(),
            name: name.to_owned(),
        })
    }

    fn write(&mut self, name: &str, before: Option<&Entry>, rules: Rules, value: &Secret, random: &mut Random) -> Result<(), VaultError> {
        let clear = Clear {
            changed: self.now,
            id: random::id(random),
            key: self.ring.current(),
            name: name.to_owned(),
            rules,
            scope: self.ring.scope,
            v: FORMAT,
            version: before.map_or(0, |entry| entry.version) + 1,
        };
        let file = record::seal(self.ring, &clear, value, random)?;
        self.entries.push(Entry {
            name: name.to_owned(),
            version: clear.version,
            record: Some((clear.id, Digest::of(&file))),
        });
        self.change.add(record::path(self.ring.scope, name, clear.id), file);
        self.drop_file(name, before);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), VaultError> {
        let before = self.index.find(name)?;
        let live = before.as_ref().filter(|entry| entry.record.is_some());
        let Some(entry) = live else {
            return Err(VaultError::NoSecret {
                scope: self.scope.to_owned(),
                name: name.to_owned(),
            });
        };
        self.entries.push(Entry {
            name: name.to_owned(),
            version: entry.version + 1,
            record: None,
        });
        self.drop_file(name, before.as_ref());
        Ok(())
    }

    fn drop_file(&mut self, name: &str, before: Option<&Entry>) {
        if let Some((id, _)) = before.and_then(|entry| entry.record) {
            self.change.remove(record::path(self.ring.scope, name, id));
        }
    }

    fn value(&self, name: &str, before: Option<&Entry>) -> Result<Secret, VaultError> {
        let (scope, name) = (self.scope.to_owned(), name.to_owned());
        match self.vault.read_record(self.ring, before, &name)? {
            Held::Here(path, file) => Record::parse(&file)
                .map_err(|why| VaultError::damaged(&path, why))?
                .open(self.ring, &path),
            Held::Unknown | Held::Removed => Err(VaultError::NoSecret { scope, name }),
            Held::Gone(_) => Err(VaultError::Deleted { scope, name }),
            Held::Other => Err(VaultError::Swapped { scope, name }),
        }
    }
}
