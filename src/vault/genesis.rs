//! Making a vault: the first key's answers, the first statement, its signature.

use std::path::{Path, PathBuf};

use crate::device::enrolled::EnrolledKey;
use crate::device::proof::Proof;
use crate::encoding::Digest;
use crate::encoding::plain::check_name;

use super::accepted::Memory;
use super::bytes::{Hex, Id};
use super::enrolment::{Enrolment, Made, MadeSlot, NewSlots};
use super::error::VaultError;
use super::journal::{self, Change, InForce};
use super::random::{self, Random};
use super::recovery::RecoveryCode;
use super::roster::{self, signature_path, statement_path};
use super::scope::{Ring, half_path};
use super::statement::{ScopeEntry, SlotEntry, Statement};
use super::store::{Lock, Store};
use super::{GIT_FILES, marker, plan};

/// A vault that is about to be made. Nothing is written before [`Founding::finish`].
pub struct Genesis {
    folder: PathBuf,
    name: String,
    random: Hex<32>,
    vault: Digest,
    scopes: Vec<(String, Ring)>,
    slots: NewSlots,
    code: RecoveryCode,
}

/// A vault whose first statement waits for its signature.
pub struct Founding {
    folder: PathBuf,
    vault: Digest,
    text: Vec<u8>,
    first: EnrolledKey,
    statement: Statement,
    scopes: Vec<(ScopeEntry, Ring)>,
    halves: Vec<(Id, Vec<u8>)>,
    code: RecoveryCode,
}

impl Genesis {
    /// Plans a vault in `folder`, new or empty, with these scopes, opened by `key` and by a fresh recovery code.
    ///
    /// # Errors
    /// [`VaultError::NotEmpty`], a refused name, [`VaultError::Twice`], [`VaultError::Nothing`] without a scope.
    pub fn begin(folder: &Path, name: &str, scopes: &[&str], key: EnrolledKey, random: &mut Random) -> Result<Self, VaultError> {
        check_name("the vault's name", name)?;
        check_name("the key's name", &key.name)?;
        check_free(folder)?;
        let nonce = random::id(random);
        let vault = Statement::vault_id(&nonce, key.signer());
        let mut rings: Vec<(String, Ring)> = Vec::new();
        for scope in scopes {
            check_name("the scope's name", scope)?;
            if rings.iter().any(|(name, _)| name == scope) {
                return Err(VaultError::Twice((*scope).to_owned()));
            }
            let id = random::id(random);
            rings.push(((*scope).to_owned(), Ring::generate(vault, id, 1, random)));
        }
        if rings.is_empty() {
            return Err(VaultError::Nothing);
        }
        let ids: Vec<Id> = rings.iter().map(|(_, ring)| ring.scope).collect();
        Ok(Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            random: nonce,
            vault,
            scopes: rings,
            slots: NewSlots::new(vault, key, &ids, random)?,
            code: RecoveryCode::generate(random),
        })
    }

    /// The touches that the key is asked for first, two scopes in each. One more follows: it signs the statement.
    ///
    /// # Errors
    /// [`VaultError::Sealing`].
    pub fn enrolments(&self) -> Result<Vec<Enrolment>, VaultError> {
        self.slots.enrolments()
    }

    /// Makes the slots with the key's answers, in the order of [`Genesis::enrolments`], and writes the statement; `now` is seconds since 1970.
    ///
    /// # Errors
    /// [`VaultError::WrongProof`].
    pub fn seal(self, proofs: &[&Proof], now: u64, random: &mut Random) -> Result<Founding, VaultError> {
        let Made { key, slots: made } = self.slots.seal(proofs, random)?;
        let recovery = self.code.key_pair(&self.vault).1;
        let scopes: Vec<(ScopeEntry, Ring)> = self
            .scopes
            .into_iter()
            .map(|(name, ring)| (scope_entry(name, &ring, &made, random), ring))
            .collect();
        let mut statement = Statement {
            at: now,
            name: self.name,
            keys: vec![key.clone()],
            previous: Vec::new(),
            random: Some(self.random),
            recovery,
            scopes: scopes.iter().map(|(entry, _)| entry.clone()).collect(),
            v: 0,
            vault: self.vault,
        };
        statement.v = statement.format();
        let text = statement.to_bytes().map_err(|_| VaultError::Sealing("the first statement"))?;
        Ok(Founding {
            folder: self.folder,
            vault: self.vault,
            text,
            first: key,
            statement,
            scopes,
            halves: made.into_iter().filter_map(|slot| Some((slot.entry.id(), slot.half?))).collect(),
            code: self.code,
        })
    }
}

impl Founding {
    /// The first statement, to be signed in the namespace `touchlease-vault` by a touch of the first key.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The id of the vault that is about to be made.
    #[must_use]
    pub fn vault(&self) -> Digest {
        self.vault
    }

    /// Its recovery code, handed out here and nowhere else. It opens nothing before [`Founding::finish`], and nobody can be told it
    /// afterwards if that fails: whoever passes it on gets ready to do so first.
    #[must_use]
    pub fn code(&self) -> &RecoveryCode {
        &self.code
    }

    /// Writes the vault. What can fail outside its folder fails before it is made.
    ///
    /// # Errors
    /// [`VaultError::WrongProof`], [`VaultError::NotEmpty`], [`VaultError::Busy`]; a full disk, a read-only folder. There is no vault
    /// then, and it can be tried again.
    pub fn finish(&self, proof: &Proof, states: &Path, random: &mut Random) -> Result<InForce, VaultError> {
        if proof.key_id() != self.first.id() {
            return Err(VaultError::WrongProof("another key than the first one signed"));
        }
        let digest = Digest::of(&self.text);
        let mut change = Change::default();
        change.add(signature_path(&digest), roster::signature(proof, &self.text)?);
        for (slot, half) in &self.halves {
            change.add(half_path(*slot), half.clone());
        }
        for (entry, ring) in &self.scopes {
            plan::found(entry, &self.statement, ring, &mut change, random)?;
        }
        check_free(&self.folder)?;
        let store = Store::create(&self.folder)?;
        let lock = store.lock()?;
        // Between the check and the lock somebody else may have made one.
        if !store.list(roster::FOLDER)?.is_empty() {
            return Err(not_empty(&self.folder));
        }
        Memory::begin(&states.join(self.vault.to_string()), self.vault, digest)?;
        write_markers(&lock)?;
        change.commit(&lock, &statement_path(&digest), &self.text)
    }
}

fn scope_entry(name: String, ring: &Ring, made: &[MadeSlot], random: &mut Random) -> ScopeEntry {
    let of_keys = made.iter().filter(|slot| slot.scope == ring.scope).map(|slot| slot.entry.clone());
    let recovery = SlotEntry::Recovery { id: random::id(random) };
    ScopeEntry {
        commitment: ring.current(),
        epoch: 1,
        id: ring.scope,
        name,
        slots: of_keys.chain([recovery]).collect(),
    }
}

/// A new or empty folder, or one in which making a vault was interrupted. A git repository may be there already.
pub(super) fn check_free(folder: &Path) -> Result<(), VaultError> {
    let store = match Store::open(folder) {
        Ok(store) => store,
        Err(VaultError::NoVault { .. }) => return Ok(()),
        Err(e) => return Err(e),
    };
    let (names, strangers) = store.entries("")?;
    if names.iter().any(|name| name == marker::FILE) {
        journal::settle(&store)?;
        if store.list(roster::FOLDER)?.is_empty() {
            return Ok(());
        }
        return Err(not_empty(folder));
    }
    if names.is_empty() && strangers.is_empty() {
        Ok(())
    } else {
        Err(not_empty(folder))
    }
}

fn not_empty(folder: &Path) -> VaultError {
    VaultError::NotEmpty {
        folder: folder.display().to_string(),
    }
}

fn write_markers(lock: &Lock<'_>) -> Result<(), VaultError> {
    for (path, text) in GIT_FILES {
        // Somebody's own git files stay as they are.
        if !lock.store().exists(path)? {
            lock.write(path, text.as_bytes())?;
        }
    }
    lock.write(marker::FILE, &marker::to_bytes())
}
