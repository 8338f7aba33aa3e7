//! Unsealing: from the proof of a touch to the values that its lease names, and to no others.

use std::cell::OnceCell;
use std::fmt;

use crate::device::proof::{Proof, SignedMessage};
use crate::encoding::Digest;
use crate::encoding::jwk::PublicKey;
use crate::encoding::sshsig::Namespace;
use crate::secret::{LoadError, Secret, SigningKey};

use super::accepted::Accepted;
use super::bytes::Id;
use super::error::VaultError;
use super::index::Entry;
use super::record::{self, LARGEST_RECORD, Record};
use super::scope::Ring;
use super::tree::Index;
use super::{RecoveryCode, ScopeEntry, Signer, Standing, Vault, scope, signer};

/// A secret that a lease names, with the clear part that was judged and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Name of its scope.
    pub scope: String,
    /// Its name.
    pub name: String,
    /// The exact bytes of the clear part, as [`Vault::find`] gave them.
    pub judged: Vec<u8>,
}

/// The values of a lease, or what its touch signed. Made only by [`Vault::unseal`], from a proof.
///
/// ```compile_fail
/// use touchlease::vault::Material;
/// fn forged(material: Material) -> Material {
///     Material { ..material }
/// }
/// ```
///
/// The same compiles where nothing is forged, so it is the fields that the compiler objects to:
///
/// ```
/// use touchlease::vault::Material;
/// fn kept(material: Material) -> Material {
///     material
/// }
/// ```
#[derive(Debug)]
pub struct Material {
    values: Vec<Value>,
    /// Scopes whose heads are still to be joined on the disk.
    joins: Vec<Join>,
    /// What the touch itself signed.
    signed: Option<SignedMessage>,
}

#[derive(Debug)]
struct Value {
    scope: String,
    name: String,
    bytes: Secret,
    /// Of a sealed signer: the key that signs, from its first signature on.
    key: OnceCell<SigningKey>,
}

/// A scope that was opened from several heads, and its keys.
pub struct Join {
    pub(super) scope: ScopeEntry,
    pub(super) ring: Ring,
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").field("scope", &self.scope.name).finish_non_exhaustive()
    }
}

impl Material {
    /// The value of a secret.
    #[must_use]
    pub fn value(&self, scope: &str, name: &str) -> Option<&Secret> {
        self.find(scope, name).map(|value| &value.bytes)
    }

    fn find(&self, scope: &str, name: &str) -> Option<&Value> {
        self.values.iter().find(|value| value.scope == scope && value.name == name)
    }

    /// The key by which a sealed signer signs, if it has signed before.
    #[must_use]
    pub(crate) fn loaded_key(&self, scope: &str, name: &str) -> Option<&SigningKey> {
        self.find(scope, name)?.key.get()
    }

    /// The key by which a sealed signer signs, whose public half has to be `public`. It is loaded at the first call, and wiped with the values.
    /// `None` where there is no such signer.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn signing_key(&self, scope: &str, name: &str, public: &PublicKey) -> Option<Result<&SigningKey, LoadError>> {
        let value = self.find(scope, name)?;
        let (private, _) = signer::split(&value.bytes)?;
        Some(value.signing_key(private, public))
    }

    /// What a signer's key in hardware signed: the lease's touch.
    #[must_use]
    pub fn signed(&self) -> Option<&SignedMessage> {
        self.signed.as_ref()
    }

    /// What is still to be joined on the disk, for [`Vault::join`].
    #[must_use]
    pub fn take_joins(&mut self) -> Vec<Join> {
        std::mem::take(&mut self.joins)
    }

    /// Every value: scope, name, bytes.
    #[must_use]
    pub fn into_values(self) -> Vec<(String, String, Secret)> {
        let parts = |value: Value| (value.scope, value.name, value.bytes);
        self.values.into_iter().map(parts).collect()
    }
}

impl Value {
    fn signing_key(&self, private: &[u8], public: &PublicKey) -> Result<&SigningKey, LoadError> {
        let key = match self.key.get() {
            Some(key) => key,
            None => {
                let key = SigningKey::load(private, public)?;
                self.key.get_or_init(|| key)
            }
        };
        (key.public() == public).then_some(key).ok_or(LoadError::OtherKey)
    }
}

impl Vault {
    /// Unseals the records that a lease names with the touch that signed it.
    ///
    /// `text` is the digest of the lease's bytes, `standing` what these bytes are bound to; the scopes of `standing` are those of
    /// `wanted`. Nothing is handed out unless everything is in order.
    ///
    /// # Errors
    /// [`VaultError::WrongProof`], [`VaultError::Changed`], [`VaultError::SlotClosed`], [`VaultError::Older`]; for each record its
    /// own: [`VaultError::Deleted`], [`VaultError::Removed`], [`VaultError::Swapped`], [`VaultError::RulesChanged`].
    pub fn unseal(&self, proof: &Proof, text: Digest, standing: &Standing, wanted: &[Wanted]) -> Result<Material, VaultError> {
        if proof.namespace() != Namespace::Lease || proof.text_digest() != text {
            return Err(VaultError::WrongProof("it signed another lease"));
        }
        let accepted = self.check_standing(standing)?;
        match proof.signed() {
            Some(signed) => self.signed(signed, standing, wanted),
            None => self.unseal_accepted(proof, standing, wanted, &accepted),
        }
    }

    /// The same for a signer in hardware, whose touch opens nothing: what stands in the folder has to be what a touch on this machine has shown
    /// before, and what was judged.
    fn signed(&self, signed: &SignedMessage, standing: &Standing, wanted: &[Wanted]) -> Result<Material, VaultError> {
        let [one] = wanted else {
            return Err(VaultError::WrongProof("a signer's key approves what it signs, and nothing else"));
        };
        let (scope, name) = (one.scope.clone(), one.name.clone());
        if !standing.scopes.iter().any(|(of, _)| *of == scope) {
            return Err(VaultError::NoScope(scope));
        }
        let found = self.find(&scope, &name)?;
        if found.clear != one.judged || !self.is_vouched(&found)? {
            return Err(VaultError::RulesChanged { scope, name });
        }
        let slot = found.listed.rules.signer.as_deref().and_then(Signer::slot);
        if slot.is_none_or(|slot| slot.public_key != signed.by) {
            return Err(VaultError::WrongProof("it is by another key than the signer's"));
        }
        Ok(Material {
            values: Vec::new(),
            joins: Vec::new(),
            signed: Some(signed.clone()),
        })
    }

    /// The same once it is known to be in force. Others may change the vault from then on.
    pub(super) fn unseal_accepted(
        &self,
        proof: &Proof,
        standing: &Standing,
        wanted: &[Wanted],
        accepted: &Accepted,
    ) -> Result<Material, VaultError> {
        let unsealed = self.unseal_all(proof, standing, wanted, accepted);
        unsealed.map_err(|error| self.or_changed(standing, error))
    }

    /// What was found to be wrong, unless the vault was changed since it stood at `standing`: then files are gone because they are needed no
    /// more, and nothing else can be said of them.
    pub(super) fn or_changed(&self, standing: &Standing, error: VaultError) -> VaultError {
        match self.check_standing(standing) {
            Err(VaultError::Changed) => VaultError::Changed,
            _ => error,
        }
    }

    fn unseal_all(&self, proof: &Proof, standing: &Standing, wanted: &[Wanted], accepted: &Accepted) -> Result<Material, VaultError> {
        let scopes = standing
            .scopes
            .iter()
            .map(|(name, _)| self.scope(name))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(other) = wanted.iter().find(|w| !scopes.iter().any(|scope| scope.name == w.scope)) {
            return Err(VaultError::NoScope(other.scope.clone()));
        }
        let rings = self.unlock(proof, &scopes)?;
        let (mut values, mut joins) = (Vec::new(), Vec::new());
        for (scope, ring) in scopes.into_iter().zip(rings) {
            let index = self.index(scope, &ring, standing, accepted)?;
            for wanted in wanted.iter().filter(|w| w.scope == scope.name) {
                values.push(Value {
                    scope: wanted.scope.clone(),
                    name: wanted.name.clone(),
                    bytes: self.unseal_one(&index, &ring, wanted)?,
                    key: OnceCell::new(),
                });
            }
            let is_joined = index.is_joined();
            drop(index);
            if is_joined {
                let scope = scope.clone();
                joins.push(Join { scope, ring });
            }
        }
        Ok(Material {
            values,
            joins,
            signed: None,
        })
    }

    /// One value of a scope, opened with the recovery code: the one exception to the touch.
    ///
    /// # Errors
    /// [`VaultError::WrongCode`]; as [`Vault::unseal`].
    pub fn unseal_with_recovery(&self, code: &RecoveryCode, scope: &str, name: &str) -> Result<Secret, VaultError> {
        let wanted = Wanted {
            scope: scope.to_owned(),
            name: name.to_owned(),
            judged: self.find(scope, name)?.clear,
        };
        let standing = self.standing(&[scope])?;
        let scope = self.scope(scope)?;
        let ring = scope::open_with_recovery(&self.store, &self.roster, scope, code)?;
        let index = self.index(scope, &ring, &standing, &self.memory.accepted()?)?;
        self.unseal_one(&index, &ring, &wanted)
    }

    pub(super) fn unseal_one(&self, index: &Index<'_>, ring: &Ring, wanted: &Wanted) -> Result<Secret, VaultError> {
        let (scope, name) = (wanted.scope.clone(), wanted.name.clone());
        let entry = index.find(&name)?;
        let (path, file) = match self.read_record(ring, entry.as_ref(), &name)? {
            Held::Here(path, file) => (path, file),
            Held::Unknown => return Err(VaultError::NoSecret { scope, name }),
            Held::Removed => return Err(VaultError::Removed { scope, name }),
            Held::Apart(records) => return Err(VaultError::Contested { scope, name, records }),
            Held::Other => return Err(VaultError::Swapped { scope, name }),
            // What was judged lay in another file: that one was put in the place of the one that is gone.
            Held::Gone(id) if judged_id(&wanted.judged) != Some(id) => return Err(VaultError::Swapped { scope, name }),
            Held::Gone(_) => return Err(VaultError::Deleted { scope, name }),
        };
        let record = Record::parse(&file).map_err(|why| VaultError::damaged(&path, why))?;
        if record.clear_bytes != wanted.judged {
            return Err(VaultError::RulesChanged { scope, name });
        }
        let value = record.open(ring, &path)?;
        self.remember_signer(ring.scope, record.clear_bytes, &record.clear);
        Ok(value)
    }

    /// The file of the record that the index names, if it is that file.
    pub(super) fn read_record(&self, ring: &Ring, entry: Option<&Entry>, name: &str) -> Result<Held, VaultError> {
        let Some(entry) = entry else {
            return Ok(Held::Unknown);
        };
        let (id, digest) = match *entry.records().collect::<Vec<_>>() {
            [] => return Ok(Held::Removed),
            [one] => one,
            _ => return Ok(Held::Apart(self.apart(ring.scope, entry)?)),
        };
        let path = record::path(ring.scope, name, id);
        match self.store.read_if_there(&path, LARGEST_RECORD)? {
            None => Ok(Held::Gone(id)),
            Some(file) if Digest::of(&file) != digest => Ok(Held::Other),
            Some(file) => Ok(Held::Here(path, file)),
        }
    }

    /// Ids of the records of a name that was written apart, as far as the folder has them.
    pub(super) fn apart(&self, scope: Id, entry: &Entry) -> Result<Vec<Id>, VaultError> {
        let mut there = Vec::new();
        for (id, _) in entry.records() {
            if self.store.exists(&record::path(scope, &entry.name, id))? {
                there.push(id);
            }
        }
        Ok(there)
    }

    pub(super) fn scope_entry(&self, name: &str) -> Result<&ScopeEntry, VaultError> {
        self.scope(name)
    }
}

/// What lies where the index says that a record is.
pub(super) enum Held {
    /// The record: its path and bytes.
    Here(String, Vec<u8>),
    /// The index has no such name.
    Unknown,
    /// The index has a tombstone.
    Removed,
    /// Several versions, written apart from each other: those of their records that are there.
    Apart(Vec<Id>),
    /// The file of this id is gone.
    Gone(super::bytes::Id),
    /// Another file, an older one or a forged one.
    Other,
}

fn judged_id(clear: &[u8]) -> Option<super::bytes::Id> {
    let clear: record::Clear = crate::encoding::jcs::from_slice(clear).ok()?;
    Some(clear.id)
}
