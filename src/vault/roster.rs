//! The roster: the chain of signed statements, read and verified as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::device::enrolled::{EnrolledKey, KeyId, Profile};
use crate::device::proof::Proof;
use crate::encoding::Digest;
use crate::encoding::sshsig::{Assertion, Namespace, Point, ecdsa};
use crate::finding::quoted;

use super::bytes::Id;
use super::enrolment;
use super::error::{RosterFault, VaultError};
use super::fork;
use super::known_keys::KnownKeys;
use super::scope::half_path;
use super::statement::{NEWEST, ScopeEntry, SlotEntry, Statement};
use super::store::Store;
use super::tree::Trust;

/// Folder of the statements and their signatures.
pub const FOLDER: &str = "roster";
const LONGEST_STATEMENT: usize = 4 << 20;
const LONGEST_SIGNATURE: usize = 1 << 20;

/// A roster that verified, from its first statement to its end.
#[derive(Debug)]
pub struct Roster {
    statements: BTreeMap<Digest, Statement>,
    known: KnownKeys,
    end: Digest,
    in_force: Statement,
}

/// Who signed a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A touch of this key.
    Key(KeyId),
    /// The recovery code.
    RecoveryCode,
}

/// All statements of a folder, verified, and the ends to which they lead: one, or several where machines changed the roster apart from
/// each other.
pub struct Chain {
    statements: BTreeMap<Digest, Statement>,
    known: KnownKeys,
    signers: BTreeMap<Digest, Signer>,
    ends: Vec<Digest>,
}

impl Chain {
    /// Reads and verifies every statement.
    ///
    /// # Errors
    /// [`VaultError::Roster`] at the first statement that does not verify, [`VaultError::Newer`]; [`VaultError::NoVault`] without any.
    pub fn read(store: &Store) -> Result<Self, VaultError> {
        Self::verified(store).map_err(|error| in_folder(error, store.folder()))
    }

    fn verified(store: &Store) -> Result<Self, VaultError> {
        let mut waiting = BTreeMap::new();
        for digest in listed(store)? {
            waiting.insert(digest, read_statement(store, digest)?);
        }
        let (mut verified, mut signers, mut known) = (BTreeMap::new(), BTreeMap::new(), KnownKeys::default());
        while let Some(digest) = next(&waiting, &verified) {
            if let Some((statement, bytes)) = waiting.remove(&digest) {
                let signature = read_signature(store, digest)?;
                let signer = verify(&statement, &bytes, &signature, &verified).map_err(|why| fault(digest, why))?;
                known.learn(digest, &statement).map_err(|_| fault(digest, RosterFault::Content))?;
                verified.insert(digest, statement);
                signers.insert(digest, signer);
            }
        }
        if let Some((digest, (statement, _))) = waiting.first_key_value() {
            let gap = |d: &Digest| !waiting.contains_key(d) && !verified.contains_key(d);
            let why = if statement.previous.iter().any(gap) {
                RosterFault::Gap
            } else {
                RosterFault::Unconnected
            };
            return Err(fault(*digest, why));
        }
        let followed: BTreeSet<Digest> = verified.values().flat_map(|s| s.previous.iter().copied()).collect();
        let ends: Vec<Digest> = verified.keys().copied().filter(|d| !followed.contains(d)).collect();
        if ends.is_empty() {
            return Err(VaultError::NoVault {
                folder: store.folder().display().to_string(),
            });
        }
        Ok(Self {
            statements: verified,
            known,
            signers,
            ends,
        })
    }

    /// The ends, ascending.
    #[must_use]
    pub fn ends(&self) -> &[Digest] {
        &self.ends
    }

    /// The statement of this digest.
    #[must_use]
    pub fn statement(&self, digest: &Digest) -> Option<&Statement> {
        self.statements.get(digest)
    }

    /// Who signed it.
    #[must_use]
    pub fn signer(&self, digest: &Digest) -> Option<Signer> {
        self.signers.get(digest).copied()
    }

    /// The roster as if `end` were the only end.
    ///
    /// # Errors
    /// [`VaultError::Nothing`] for a statement that there is not.
    pub fn side(&self, end: Digest) -> Result<Roster, VaultError> {
        Ok(Roster {
            end,
            in_force: self.statements.get(&end).ok_or(VaultError::Nothing)?.clone(),
            statements: self.statements.clone(),
            known: self.known.clone(),
        })
    }

    /// Whether every key is the same on all sides.
    ///
    /// # Errors
    /// [`VaultError::OtherKey`].
    pub fn check_keys(&self) -> Result<(), VaultError> {
        self.known.behind(&self.ends).map(drop).map_err(VaultError::OtherKey)
    }

    /// `end` and all statements that it follows.
    #[must_use]
    pub fn behind(&self, end: Digest) -> BTreeSet<Digest> {
        let (mut behind, mut waiting) = (BTreeSet::new(), vec![end]);
        while let Some(digest) = waiting.pop() {
            if behind.insert(digest) {
                waiting.extend(self.statements.get(&digest).into_iter().flat_map(|statement| &statement.previous));
            }
        }
        behind
    }

    /// The statements of these digests.
    pub fn of<'a>(&'a self, digests: &'a BTreeSet<Digest>) -> impl Iterator<Item = &'a Statement> {
        digests.iter().filter_map(|digest| self.statements.get(digest))
    }

    /// These statements, each after those that it follows.
    #[must_use]
    pub fn in_order(&self, digests: &BTreeSet<Digest>) -> Vec<Digest> {
        let mut ordered = Vec::new();
        while let Some(next) = digests.iter().find(|digest| {
            let follows = self.statements.get(digest).into_iter().flat_map(|statement| &statement.previous);
            !ordered.contains(*digest)
                && follows
                    .into_iter()
                    .all(|before| !digests.contains(before) || ordered.contains(before))
        }) {
            ordered.push(*next);
        }
        ordered
    }
}

impl Roster {
    /// Reads and verifies every statement.
    ///
    /// # Errors
    /// As [`Chain::read`]; [`VaultError::Fork`].
    pub fn read(store: &Store) -> Result<Self, VaultError> {
        let chain = Chain::read(store)?;
        match chain.ends() {
            [end] => chain.side(*end),
            _ => Err(VaultError::Fork {
                sides: fork::words(&chain),
            }),
        }
    }

    /// Digest of the statement in force.
    #[must_use]
    pub fn end(&self) -> Digest {
        self.end
    }

    /// The statement in force.
    #[must_use]
    pub fn in_force(&self) -> &Statement {
        &self.in_force
    }

    /// Keys of all statements, each once.
    #[must_use]
    pub fn keys_ever(&self) -> Vec<EnrolledKey> {
        let entries = self.statements.values().flat_map(|statement| &statement.keys);
        let keys: BTreeMap<KeyId, &EnrolledKey> = entries.map(|key| (key.id(), key)).collect();
        keys.into_values().cloned().collect()
    }

    /// The statement `digest`, if it is in force or leads to the one that is.
    #[must_use]
    pub fn statement(&self, digest: &Digest) -> Option<&Statement> {
        self.statements.get(digest)
    }

    /// Whether the statement `digest` is in force or leads to the one that is.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.statements.contains_key(digest)
    }

    /// Epochs and commitments that scope `id` has and had.
    #[must_use]
    pub fn commitments(&self, id: Id) -> BTreeSet<(u64, Digest)> {
        let scopes = self.statements.values().flat_map(|s| &s.scopes);
        scopes
            .filter(|scope| scope.id == id)
            .map(|scope| (scope.epoch, scope.commitment))
            .collect()
    }

    /// Which heads of `scope` count.
    #[must_use]
    pub fn trust(&self, scope: &ScopeEntry) -> Trust {
        let earlier = self.commitments(scope.id).into_iter().map(|(_, commitment)| commitment);
        Trust {
            earlier: earlier.filter(|commitment| *commitment != scope.commitment).collect(),
            in_force: [scope.commitment].into(),
            accepted: None,
        }
    }

    /// Ids of all slots that a touch signed, those of earlier statements included.
    #[must_use]
    pub fn slots(&self) -> BTreeSet<Id> {
        let scopes = self.statements.values().flat_map(|s| &s.scopes);
        scopes.flat_map(|scope| scope.slots.iter().map(SlotEntry::id)).collect()
    }

    /// Paths of the private halves of slots that `after` does not have and whose keys it leaves in their scopes. They are kept: a machine
    /// that has not heard of `after` seals to these slots, and only with their halves can these keys open what it sealed.
    #[must_use]
    pub fn replaced_halves(&self, after: &Statement) -> BTreeSet<String> {
        let stays = |id: Id, slot: &SlotEntry| match slot {
            SlotEntry::Fido2 { key, .. } => {
                let scope = after.scopes.iter().find(|scope| scope.id == id);
                let now = scope.and_then(|scope| scope.slot_of(KeyId(*key)));
                now.is_some_and(|now| now.id() != slot.id())
            }
            SlotEntry::Piv { .. } | SlotEntry::Recovery { .. } => false,
        };
        let scopes = self.statements.values().flat_map(|s| &s.scopes);
        scopes
            .flat_map(|scope| scope.slots.iter().filter(|slot| stays(scope.id, slot)))
            .map(|slot| half_path(slot.id()))
            .collect()
    }

    /// Ids of the slots that there were when a key was removed.
    #[must_use]
    pub fn slots_before_a_removal(&self) -> BTreeSet<Id> {
        let removed = |before: &Statement, after: &Statement| before.keys.iter().any(|key| after.key(key.id()).is_none());
        let steps = self.statements.values().flat_map(|after| {
            let before = after.previous.iter().filter_map(|digest| self.statements.get(digest));
            before.map(move |before| (before, after))
        });
        steps
            .filter(|(before, after)| removed(before, after))
            .flat_map(|(before, _)| before.scopes.iter().flat_map(|scope| &scope.slots))
            .map(SlotEntry::id)
            .collect()
    }

    /// Whether `statement`, in these bytes and with this signature, is one that whoever reads the vault next takes: what is in force and
    /// refused would lock everybody out.
    ///
    /// # Errors
    /// [`VaultError::Roster`].
    pub fn check_next(&self, statement: &Statement, bytes: &[u8], signature: &[u8]) -> Result<(), VaultError> {
        let signature = str::from_utf8(signature).map_err(|_| RosterFault::Unsigned);
        let verified = signature.and_then(|signature| verify(statement, bytes, signature, &self.statements));
        let known = self.known.of(statement).map_err(|_| RosterFault::Content);
        verified.and(known).map(drop).map_err(|why| fault(Digest::of(bytes), why))
    }

    /// Whether the folder still holds exactly these statements.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn is_current(&self, store: &Store) -> Result<bool, VaultError> {
        Ok(listed(store)?.into_iter().eq(self.statements.keys().copied()))
    }
}

/// Path of a statement.
#[must_use]
pub fn statement_path(digest: &Digest) -> String {
    format!("{FOLDER}/{digest}.json")
}

/// Path of a statement's signature.
#[must_use]
pub fn signature_path(digest: &Digest) -> String {
    format!("{FOLDER}/{digest}.sig")
}

/// The signature file of a statement that `proof` signed.
///
/// # Errors
/// [`VaultError::WrongProof`]: it signed another text, or for another purpose.
pub fn signature(proof: &Proof, bytes: &[u8]) -> Result<Vec<u8>, VaultError> {
    let fits = proof.namespace() == Namespace::Vault;
    let signed = proof.sshsig(bytes).filter(|_| fits);
    signed
        .map(String::into_bytes)
        .ok_or(VaultError::WrongProof("it signed another statement"))
}

fn listed(store: &Store) -> Result<BTreeSet<Digest>, VaultError> {
    let mut digests = BTreeSet::new();
    for name in store.list(FOLDER)? {
        let (stem, kind) = name.rsplit_once('.').unwrap_or((&name, ""));
        match (Digest::from_hex(stem), kind) {
            (Some(digest), "json") => {
                digests.insert(digest);
            }
            // A signature that came without its statement (half of a copy) proves nothing and opens nothing.
            (Some(_), "sig") => {}
            _ => {
                return Err(VaultError::Stranger {
                    folder: store.folder().to_owned(),
                    path: format!("{FOLDER}/{name}"),
                });
            }
        }
    }
    Ok(digests)
}

fn read_statement(store: &Store, digest: Digest) -> Result<(Statement, Vec<u8>), VaultError> {
    let bytes = store.read(&statement_path(&digest), LONGEST_STATEMENT)?;
    if Digest::of(&bytes) != digest {
        return Err(fault(digest, RosterFault::Digest));
    }
    if let Some(found) = Statement::format_of(&bytes).filter(|v| *v > NEWEST) {
        return Err(VaultError::Newer { found, known: NEWEST });
    }
    let statement = Statement::from_bytes(&bytes).map_err(|why| fault(digest, why))?;
    Ok((statement, bytes))
}

fn read_signature(store: &Store, digest: Digest) -> Result<String, VaultError> {
    let bytes = store
        .read_if_there(&signature_path(&digest), LONGEST_SIGNATURE)?
        .ok_or_else(|| fault(digest, RosterFault::Unsigned))?;
    String::from_utf8(bytes).map_err(|_| fault(digest, RosterFault::Unsigned))
}

/// A statement all of whose predecessors are verified.
fn next(waiting: &BTreeMap<Digest, (Statement, Vec<u8>)>, verified: &BTreeMap<Digest, Statement>) -> Option<Digest> {
    let ready = |statement: &Statement| statement.previous.iter().all(|d| verified.contains_key(d));
    waiting.iter().find(|(_, (s, _))| ready(s)).map(|(digest, _)| *digest)
}

fn verify(statement: &Statement, bytes: &[u8], signature: &str, verified: &BTreeMap<Digest, Statement>) -> Result<Signer, RosterFault> {
    let before: Vec<&Statement> = statement.previous.iter().filter_map(|d| verified.get(d)).collect();
    if let Some(random) = &statement.random {
        let first = statement.keys.first().ok_or(RosterFault::Content)?;
        if Statement::vault_id(random, first.signer()) != statement.vault {
            return Err(RosterFault::Vault);
        }
        if !statement.counts_on(&[]) {
            return Err(RosterFault::Content);
        }
        check_enrolments(statement, &[])?;
        return verify_signature(bytes, signature, |point| (first.signer() == point).then_some(first), &[]);
    }
    if before.iter().any(|old| old.vault != statement.vault) {
        return Err(RosterFault::Vault);
    }
    if !before.iter().all(|old| statement.may_follow(old)) || !statement.counts_on(&before) {
        return Err(RosterFault::Content);
    }
    check_enrolments(statement, &before)?;
    // Where a fork is joined, every side must know the signer: a key that one side removed joins nothing.
    let signer = |point: &Point| {
        let keys: Option<Vec<&EnrolledKey>> = before.iter().map(|old| signed_by(old, point)).collect();
        keys.and_then(|keys| keys.into_iter().max_by_key(|key| key.profile == Profile::Pin))
    };
    let recovery: Vec<Point> = before.iter().map(|old| old.recovery).collect();
    verify_signature(bytes, signature, signer, &recovery)
}

/// Whether each key of `statement` was enrolled for its vault. That of a key in one of those `before`, which are verified, was looked at there.
fn check_enrolments(statement: &Statement, before: &[&Statement]) -> Result<(), RosterFault> {
    let is_new = |key: &&EnrolledKey| !before.iter().any(|old| old.keys.contains(key));
    let mut new = statement.keys.iter().filter(is_new);
    let all = new.all(|key| enrolment::is_for(key, statement.vault));
    all.then_some(()).ok_or(RosterFault::Enrolment)
}

fn verify_signature<'a>(
    bytes: &[u8],
    signature: &str,
    signer: impl Fn(&Point) -> Option<&'a EnrolledKey>,
    recovery: &[Point],
) -> Result<Signer, RosterFault> {
    if let Some(point) = ecdsa::signer(signature) {
        let is_code = !recovery.is_empty() && recovery.iter().all(|of| *of == point);
        let by_key = signer(&point).filter(|key| key.piv().is_some()).map(|key| Signer::Key(key.id()));
        let by = if is_code { Some(Signer::RecoveryCode) } else { by_key };
        let is_good = ecdsa::verify(signature, &point, Namespace::Vault, bytes);
        return by
            .ok_or(RosterFault::Signer)
            .and_then(|by| is_good.then_some(by).ok_or(RosterFault::Signature));
    }
    let (point, assertion) = Assertion::from_sshsig(signature, Namespace::Vault, bytes).map_err(|_| RosterFault::Unsigned)?;
    let key = signer(&point).filter(|key| key.fido2().is_some()).ok_or(RosterFault::Signer)?;
    assertion
        .verify(&point, Namespace::Vault, bytes, key.profile == Profile::Pin)
        .map(|()| Signer::Key(key.id()))
        .map_err(|_| RosterFault::Signature)
}

fn signed_by<'a>(statement: &'a Statement, point: &Point) -> Option<&'a EnrolledKey> {
    statement.keys.iter().find(|key| key.signer() == point)
}

fn fault(statement: Digest, why: RosterFault) -> VaultError {
    let folder = PathBuf::new();
    VaultError::Roster { statement, why, folder }
}

/// Where a statement that is not in order lies: a person has to get at it.
fn in_folder(error: VaultError, folder: &Path) -> VaultError {
    match error {
        VaultError::Roster { statement, why, .. } => VaultError::Roster {
            statement,
            why,
            folder: folder.to_owned(),
        },
        error => error,
    }
}

/// What takes the files of a statement out of `folder`, which nobody of ours wrote: they are kept beside it.
#[must_use]
pub fn set_aside(folder: &Path, statement: &Digest) -> String {
    let files = quoted(&folder.join(FOLDER));
    let aside = aside(folder);
    format!("mkdir -p {aside} && find {files} -name '{statement}.*' -exec mv -t {aside} {{}} +")
}

/// The same for a file that is no statement.
#[must_use]
pub fn set_stranger_aside(folder: &Path, path: &str) -> String {
    let aside = aside(folder);
    format!("mkdir -p {aside} && mv -t {aside} -- {}", quoted(&folder.join(path)))
}

fn aside(folder: &Path) -> String {
    let mut aside = folder.as_os_str().to_owned();
    aside.push(".aside");
    quoted(Path::new(&aside))
}
