//! Changing the secrets of a scope: a batch, signed by one touch, in force as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::device::proof::Proof;
use crate::encoding::Digest;
use crate::encoding::plain::check_name;
use crate::encoding::sshsig::Namespace;
use crate::secret::Secret;

use super::accepted::remember_made;
use super::bytes::Id;
use super::error::VaultError;
use super::index::{Entry, head_path};
use super::journal::{self, Change};
use super::material::Held;
use super::random::{self, Random};
use super::record::{self, Clear, LARGEST_RECORD, Record};
use super::rules::Rules;
use super::scope::Ring;
use super::signer;
use super::tree::{Index, Write};
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

/// A signer whose next key is to be the one that signs.
#[derive(Debug)]
pub struct Turn {
    /// Its name.
    pub name: String,
    /// Its rules, with the keys as they will be.
    pub rules: Rules,
    /// The private key that is next from then on, [`signer::PRIVATE`] bytes.
    pub fresh: Secret,
}

/// Changes to one scope.
#[derive(Debug, Default)]
pub struct Changes {
    /// Secrets to be written.
    pub puts: Vec<Put>,
    /// Secrets whose rules change and whose values stay.
    pub rules: Vec<(String, Rules)>,
    /// Signers to be rotated.
    pub turns: Vec<Turn>,
    /// Secrets to be removed.
    pub removes: Vec<String>,
    /// Secrets that were written apart, each with the id of the record that stays: it becomes their next version.
    pub keeps: Vec<(String, Id)>,
    /// Whether joining several heads is a change in itself.
    pub join: bool,
    /// The clear parts of the names above, as [`Vault::find`] gave them, absent for those that it did not find. They are a claim of
    /// the folder until the index was opened; rules that were taken from one must not be sealed on its word.
    pub judged: BTreeMap<String, Vec<u8>>,
}

impl Changes {
    /// Every name that is written or removed.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let puts = self.puts.iter().map(|put| &put.name);
        let rules = self.rules.iter().map(|(name, _)| name);
        let turns = self.turns.iter().map(|turn| &turn.name);
        let keeps = self.keeps.iter().map(|(name, _)| name);
        puts.chain(rules).chain(turns).chain(keeps).chain(&self.removes)
    }

    /// Checks names, rules and values before anybody is asked for a touch.
    ///
    /// # Errors
    /// [`VaultError::Nothing`], [`VaultError::Twice`], a refused name, rule or value.
    pub fn check(&self) -> Result<(), VaultError> {
        let mut names = BTreeSet::new();
        for name in self.names() {
            check_name("the secret's name", name)?;
            if !names.insert(name) {
                return Err(VaultError::Twice(name.clone()));
            }
        }
        if names.is_empty() && !self.join {
            return Err(VaultError::Nothing);
        }
        for put in &self.puts {
            put.rules.check()?;
            put.rules.check_value(&put.value)?;
            if !(1..=record::LARGEST_VALUE).contains(&put.value.len()) {
                return Err(VaultError::ValueSize(put.value.len()));
            }
        }
        let turns = self.turns.iter().map(|turn| &turn.rules);
        self.rules.iter().map(|(_, rules)| rules).chain(turns).try_for_each(Rules::check)
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
        let [(name, heads)] = standing.scopes.as_slice() else {
            return Err(VaultError::TooManyScopes {
                asked: standing.scopes.len(),
            });
        };
        if changes.names().next().is_none() && heads.len() == 1 {
            return Err(VaultError::Nothing);
        }
        let lock = self.store.lock()?;
        journal::settle_locked(&lock)?;
        let accepted = self.check_standing(standing)?;
        let scope = self.scope_entry(name)?;
        let mut rings = self.unlock(proof, &[scope])?;
        let ring = rings.pop().ok_or(VaultError::Nothing)?;
        let index = self.index(scope, &ring, standing, &accepted)?;
        if changes.names().next().is_none() && !index.is_joined() {
            return Err(index.into_aside().unwrap_or(VaultError::Nothing));
        }
        let mut batch = Batch {
            vault: self,
            scope: name,
            ring: &ring,
            index: &index,
            change: Change::default(),
            writes: Vec::new(),
            gone: Vec::new(),
            signers: Vec::new(),
            now,
        };
        batch.fill(changes, random)?;
        let Batch {
            mut change,
            writes,
            gone,
            signers,
            ..
        } = batch;
        let written: Vec<Id> = writes.iter().filter_map(|write| Some(write.record?.0)).collect();
        let before = self.memory.accepted()?.head(scope.id);
        let (digest, bytes) = index.next(&ring, writes, &mut change, random)?;
        change.commit(&lock, &head_path(scope.id, &digest), &bytes)?.sure()?;
        remember_made(|| {
            if index.is_joined() {
                self.memory.learn_anew(scope.id, index.records().into_iter())?;
            }
            self.memory.learn(scope.id, written.into_iter(), gone.into_iter())?;
            self.memory.remember(scope.id, before, digest)
        });
        for (file, clear) in signers {
            self.remember_signer(scope.id, &file, &clear);
        }
        Ok(digest)
    }
}

struct Batch<'a> {
    vault: &'a Vault,
    scope: &'a str,
    ring: &'a Ring,
    index: &'a Index<'a>,
    change: Change,
    writes: Vec<Write>,
    /// Ids of the records that are removed or replaced.
    gone: Vec<Id>,
    /// Clear parts of the signers that are written.
    signers: Vec<(Vec<u8>, Clear)>,
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
        for turn in &changes.turns {
            let before = self.index.find(&turn.name)?;
            self.check_judged(&turn.name, before.as_ref(), changes.judged.get(&turn.name))?;
            let value = signer::turned(&self.value(&turn.name, before.as_ref())?, &turn.fresh)?;
            self.write(&turn.name, before.as_ref(), turn.rules.clone(), &value, random)?;
        }
        for (name, record) in &changes.keeps {
            self.keep(name, *record, changes.judged.get(name), random)?;
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
            Held::Apart(records) => return Err(self.contested(name, records)),
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
        let v = signer::format(&rules);
        let clear = Clear {
            changed: self.now,
            id: random::id(random),
            key: self.ring.current(),
            name: name.to_owned(),
            rules,
            scope: self.ring.scope,
            v,
            version: Entry::next_number(before),
        };
        let file = record::seal(self.ring, &clear, value, random)?;
        if clear.rules.signer.is_some() {
            let bytes = Clear::read(&file).map_err(|_| VaultError::Sealing("a record"))?.1.to_vec();
            self.signers.push((bytes, clear.clone()));
        }
        self.writes.push(Write {
            name: name.to_owned(),
            number: clear.version,
            record: Some((clear.id, Digest::of(&file))),
        });
        self.change.add(record::path(self.ring.scope, name, clear.id), file);
        self.drop_files(name, before);
        Ok(())
    }

    /// Of several versions the one that a person chose, as the next one.
    fn keep(&mut self, name: &str, id: Id, judged: Option<&Vec<u8>>, random: &mut Random) -> Result<(), VaultError> {
        let (scope, owned) = (self.scope.to_owned(), name.to_owned());
        let entry = self.index.find(name)?.filter(|entry| entry.versions.len() > 1);
        let chosen = entry.as_ref().and_then(|entry| entry.records().find(|(record, _)| *record == id));
        let (Some(entry), Some((_, digest))) = (&entry, chosen) else {
            return Err(VaultError::NotContested { scope, name: owned });
        };
        let path = record::path(self.ring.scope, name, id);
        let file = match self.vault.store.read_if_there(&path, LARGEST_RECORD)? {
            Some(file) if Digest::of(&file) == digest => file,
            Some(_) => return Err(VaultError::Swapped { scope, name: owned }),
            None => return Err(VaultError::Deleted { scope, name: owned }),
        };
        let record = Record::parse(&file).map_err(|why| VaultError::damaged(&path, why))?;
        if judged.is_none_or(|judged| *judged != record.clear_bytes) {
            return Err(VaultError::RulesChanged { scope, name: owned });
        }
        let value = record.open(self.ring, &path)?;
        self.write(name, Some(entry), record.clear.rules, &value, random)
    }

    fn contested(&self, name: &str, records: Vec<Id>) -> VaultError {
        VaultError::Contested {
            scope: self.scope.to_owned(),
            name: name.to_owned(),
            records,
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), VaultError> {
        let before = self.index.find(name)?;
        let live = before.as_ref().filter(|entry| entry.records().next().is_some());
        if let Some(entry) = live.filter(|entry| entry.versions.len() > 1) {
            return Err(self.contested(name, self.vault.apart(self.ring.scope, entry)?));
        }
        let Some(entry) = live else {
            return Err(VaultError::NoSecret {
                scope: self.scope.to_owned(),
                name: name.to_owned(),
            });
        };
        self.writes.push(Write {
            name: name.to_owned(),
            number: Entry::next_number(Some(entry)),
            record: None,
        });
        self.drop_files(name, before.as_ref());
        Ok(())
    }

    fn drop_files(&mut self, name: &str, before: Option<&Entry>) {
        for (id, _) in before.into_iter().flat_map(Entry::records) {
            self.gone.push(id);
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
            Held::Apart(records) => Err(self.contested(&name, records)),
            Held::Gone(_) => Err(VaultError::Deleted { scope, name }),
            Held::Other => Err(VaultError::Swapped { scope, name }),
        }
    }
}
