//! Every value of a scope, one after the other: for its owner who takes them out of the vault, or who looks where they stand.

use crate::device::proof::Proof;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::secret::Secret;

use super::error::VaultError;
use super::index::Entry;
use super::material::Held;
use super::record::Record;
use super::rules::Rules;
use super::scope::Ring;
use super::{ScopeEntry, Standing, Vault};

/// A scope that is open for its export, or for a scan. Made only by [`Vault::open_for_export`] and [`Vault::open_for_scan`], from a proof.
///
/// ```compile_fail
/// use touchlease::vault::OpenScope;
/// fn forged(scope: OpenScope) -> OpenScope {
///     OpenScope { ..scope }
/// }
/// ```
///
/// The same compiles where nothing is forged, so it is the fields that the compiler objects to:
///
/// ```
/// use touchlease::vault::OpenScope;
/// fn kept(scope: OpenScope) -> OpenScope {
///     scope
/// }
/// ```
pub struct OpenScope {
    name: String,
    standing: Standing,
    ring: Ring,
    entries: Vec<Entry>,
}

/// A secret on its way out.
#[derive(Debug)]
pub struct Taken {
    /// Its name.
    pub name: String,
    /// What it may be used for.
    pub rules: Rules,
    /// Its value.
    pub value: Secret,
}

impl OpenScope {
    /// How many secrets the index names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Vault {
    /// Opens the one scope of `standing` with the touch that signed its export; `text` is the digest of the signed bytes. Holds its
    /// names and keys, no value.
    ///
    /// # Errors
    /// As [`Vault::unseal`].
    pub fn open_for_export(&self, proof: &Proof, text: Digest, standing: &Standing) -> Result<OpenScope, VaultError> {
        if proof.namespace() != Namespace::Change || proof.text_digest() != text {
            return Err(VaultError::WrongProof("it signed another export"));
        }
        let mut scopes = self.open_scopes(proof, standing)?;
        match scopes.len() {
            1 => scopes.pop().ok_or(VaultError::Nothing),
            asked => Err(VaultError::TooManyScopes { asked }),
        }
    }

    /// Opens the scopes of `standing` with the touch that signed the scan that looks for all that is in them; `text` is the digest of the
    /// signed bytes. Holds their names and keys, no value.
    ///
    /// # Errors
    /// As [`Vault::unseal`].
    pub fn open_for_scan(&self, proof: &Proof, text: Digest, standing: &Standing) -> Result<Vec<OpenScope>, VaultError> {
        if proof.namespace() != Namespace::Lease || proof.text_digest() != text {
            return Err(VaultError::WrongProof("it signed another scan"));
        }
        self.open_scopes(proof, standing)
    }

    fn open_scopes(&self, proof: &Proof, standing: &Standing) -> Result<Vec<OpenScope>, VaultError> {
        let accepted = self.check_standing(standing)?;
        let names = standing.heads().iter().map(|(name, _)| name);
        let scopes = names.map(|name| self.scope(name)).collect::<Result<Vec<_>, _>>()?;
        let rings = self.unlock(proof, &scopes)?;
        let open = |(scope, ring): (&ScopeEntry, Ring)| {
            let mut entries = self.index(scope, &ring, standing, &accepted)?.entries()?;
            entries.retain(|entry| entry.records().next().is_some());
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(OpenScope {
                name: scope.name.clone(),
                standing: standing.clone(),
                ring,
                entries,
            })
        };
        scopes.into_iter().zip(rings).map(open).collect()
    }

    /// The secret number `at` of an open scope, by name. It must be what the index named when the scope was opened.
    ///
    /// # Errors
    /// [`VaultError::Changed`] when the scope was changed since; [`VaultError::Contested`], [`VaultError::Deleted`], [`VaultError::Swapped`],
    /// [`VaultError::Damaged`]; no such number.
    pub fn take_out(&self, scope: &OpenScope, at: usize) -> Result<Taken, VaultError> {
        self.take(scope, at).map_err(|error| self.or_changed(&scope.standing, error))
    }

    fn take(&self, scope: &OpenScope, at: usize) -> Result<Taken, VaultError> {
        let entry = scope.entries.get(at).ok_or(VaultError::Nothing)?;
        let (of, name) = (scope.name.clone(), entry.name.clone());
        match self.read_record(&scope.ring, Some(entry), &name)? {
            Held::Here(path, file) => {
                let record = Record::parse(&file).map_err(|why| VaultError::damaged(&path, why))?;
                let value = record.open(&scope.ring, &path)?;
                let rules = record.clear.rules;
                Ok(Taken { name, rules, value })
            }
            Held::Apart(records) => Err(VaultError::Contested { scope: of, name, records }),
            Held::Other => Err(VaultError::Swapped { scope: of, name }),
            Held::Gone(_) | Held::Unknown | Held::Removed => Err(VaultError::Deleted { scope: of, name }),
        }
    }
}
