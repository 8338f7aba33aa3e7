//! Scopes: their keys of all epochs, as one slot opens them.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::device::candidate::Unseal;
use crate::device::enrolled::EnrolledKey;
use crate::encoding::Digest;

use super::bytes::{Bytes, Id};
use super::crypto::{self, Key, expand, label};
use super::error::VaultError;
use super::random::{self, Random};
use super::recovery::RecoveryCode;
use super::roster::Roster;
use super::slot::{HALF_LEN, Place, Private, SEALED_LEN, open_half, open_scope_key, seal_scope_key, sealed_scope_key};
use super::statement::{ScopeEntry, SlotEntry, Statement, holder};
use super::store::Store;

const CARRY: &[u8; 8] = b"TL1carr\n";
const LONGEST_CARRY: usize = 1 << 20;

/// The keys of a scope: the one in force and those before it. Wiped when dropped.
pub struct Ring {
    /// The vault.
    pub vault: Digest,
    /// The scope.
    pub scope: Id,
    current: Digest,
    keys: BTreeMap<Digest, (u64, Key)>,
}

impl Ring {
    /// A ring around a fresh key.
    pub fn generate(vault: Digest, scope: Id, epoch: u64, random: &mut Random) -> Self {
        Self::around(vault, scope, epoch, Key::new(random::bytes(random)))
    }

    fn around(vault: Digest, scope: Id, epoch: u64, key: Key) -> Self {
        let current = commitment(&vault, scope, epoch, &key);
        Self {
            vault,
            scope,
            current,
            keys: BTreeMap::from([(current, (epoch, key))]),
        }
    }

    /// The commitment of the key in force, by which files name the key that they are sealed under.
    #[must_use]
    pub fn current(&self) -> Digest {
        self.current
    }

    /// A key derived for `purpose` from the scope key with this commitment.
    #[must_use]
    pub fn derive(&self, commitment: &Digest, purpose: &str, context: &[&[u8]]) -> Option<Key> {
        let (_, key) = self.keys.get(commitment)?;
        let context: Vec<&[u8]> = [&self.vault.0[..], &self.scope.0]
            .into_iter()
            .chain(context.iter().copied())
            .collect();
        Some(expand(key, &label(purpose, &context)))
    }

    /// The key in force, sealed to the slot `slot` with this public key.
    ///
    /// # Errors
    /// The public key is not on the curve (the roster has checked that it is).
    pub fn seal_to(&self, slot: Id, public: &[u8; 65], random: &mut Random) -> Result<Vec<u8>, VaultError> {
        let place = Place {
            vault: self.vault,
            scope: self.scope,
            slot,
        };
        let sealed = self
            .keys
            .get(&self.current)
            .and_then(|(epoch, key)| seal_scope_key(&place, *epoch, public, key, random));
        sealed.ok_or(VaultError::Sealing("a slot"))
    }

    /// A ring with a fresh key of the next epoch in front of the keys of this one.
    pub fn followed_by(&self, fresh: &Ring) -> Ring {
        let keys = fresh.keys.iter().chain(&self.keys);
        Ring {
            keys: keys
                .map(|(commitment, (epoch, key))| (*commitment, (*epoch, key.clone())))
                .collect(),
            ..*fresh
        }
    }

    /// The keys before the one in force, sealed under it.
    ///
    /// # Errors
    /// [`VaultError::Sealing`].
    pub fn carry(&self, random: &mut Random) -> Result<Vec<u8>, VaultError> {
        let mut plain = Zeroizing::new(Vec::with_capacity(40 * self.keys.len()));
        for (epoch, key) in self.keys.iter().filter(|(c, _)| **c != self.current).map(|(_, k)| k) {
            plain.extend(epoch.to_be_bytes());
            plain.extend_from_slice(key.as_slice());
        }
        let mut file = CARRY.to_vec();
        self.derive(&self.current, "carry", &[])
            .and_then(|key| crypto::seal(&mut file, &key, CARRY, &plain, random))
            .ok_or(VaultError::Sealing("the keys before"))?;
        Ok(file)
    }

    /// Takes in the keys of earlier epochs, which [`Ring::carry`] wrote.
    pub(crate) fn take_in(&mut self, file: &[u8]) -> Option<()> {
        let key = self.derive(&self.current, "carry", &[])?;
        let plain = crypto::open(&key, CARRY, file.strip_prefix(CARRY)?)?;
        let mut bytes = Bytes::new(&plain);
        while !bytes.rest().is_empty() {
            let epoch = bytes.u64()?;
            let key = Key::new(bytes.array()?);
            self.keys.insert(commitment(&self.vault, self.scope, epoch, &key), (epoch, key));
        }
        Some(())
    }
}

/// HKDF-Expand(scope key, "touchlease v1 commit", vault id, scope id, epoch).
#[must_use]
pub fn commitment(vault: &Digest, scope: Id, epoch: u64, key: &Key) -> Digest {
    Digest(*expand(key, &label("commit", &[&vault.0, &scope.0, &epoch.to_be_bytes()])))
}

/// Path of a slot's private half.
#[must_use]
pub fn half_path(slot: Id) -> String {
    format!("slots/{slot}.half")
}

/// Path of the scope key with this commitment, sealed to a slot.
#[must_use]
pub fn sealed_path(slot: Id, commitment: &Digest) -> String {
    format!("slots/{slot}.{commitment}")
}

/// Path of the keys before the one with this commitment.
#[must_use]
pub fn carry_path(scope: Id, commitment: &Digest) -> String {
    format!("scopes/{scope}/{commitment}")
}

/// What to ask `key` for so that it opens `scope` of `statement`; nothing where it has no slot there.
///
/// # Errors
/// For a PIV key, whose slot is opened by what is sealed to it: that cannot be read.
pub fn unseal_of(store: &Store, statement: &Statement, scope: &ScopeEntry, key: &EnrolledKey) -> Result<Option<Unseal>, VaultError> {
    let (slot, public) = match (scope.slot_of(key.id()), key.piv()) {
        (Some(SlotEntry::Fido2 { salt, .. }), _) => return Ok(Some(Unseal::Salt(salt.0))),
        (Some(SlotEntry::Piv { id, .. }), Some(piv)) => (*id, &piv.open.public_key),
        _ => return Ok(None),
    };
    let path = sealed_path(slot, &scope.commitment);
    let place = Place {
        vault: statement.vault,
        scope: scope.id,
        slot,
    };
    let sealed = sealed_scope_key(&place, scope.epoch, public, &store.read(&path, SEALED_LEN)?);
    // What names no point on the curve goes to no card (RFC 9180, 7.1.4).
    let sealed = sealed.filter(|sealed| sealed.encapsulated().is_some());
    let sealed = sealed.ok_or_else(|| VaultError::damaged(path, "no scope key is sealed in it"))?;
    Ok(Some(Unseal::Sealed(sealed)))
}

/// Opens a scope with what a key's touch gave for [`unseal_of`] it.
///
/// # Errors
/// [`VaultError::NoSlot`], [`VaultError::SlotClosed`], [`VaultError::WrongScopeKey`], a missing file.
pub fn open_with_key(store: &Store, roster: &Roster, scope: &ScopeEntry, key: &EnrolledKey, output: &[u8]) -> Result<Ring, VaultError> {
    let place = |slot| Place {
        vault: roster.in_force().vault,
        scope: scope.id,
        slot,
    };
    let closed = || VaultError::SlotClosed {
        key: key.name.clone(),
        scope: scope.name.clone(),
    };
    match scope.slot_of(key.id()) {
        Some(SlotEntry::Fido2 { half, id, public, .. }) => {
            let path = half_path(*id);
            let file = store.read(&path, HALF_LEN)?;
            if half.is_some_and(|digest| digest != Digest::of(&file)) {
                return Err(VaultError::damaged(path, "not the private half that the roster names"));
            }
            let private = holder(key).and_then(|holder| open_half(&place(*id), &holder, output, public, &file));
            open_slot(store, roster, scope, &place(*id), &private.ok_or_else(closed)?)
        }
        Some(SlotEntry::Piv { .. }) => {
            let key = Key::new(output.try_into().map_err(|_| closed())?);
            open_ring(store, roster, scope, key)
        }
        _ => Err(VaultError::NoSlot {
            key: key.name.clone(),
            scope: scope.name.clone(),
        }),
    }
}

/// Opens a scope with the recovery code.
///
/// # Errors
/// [`VaultError::WrongCode`]; as [`open_with_key`].
pub fn open_with_recovery(store: &Store, roster: &Roster, scope: &ScopeEntry, code: &RecoveryCode) -> Result<Ring, VaultError> {
    let statement = roster.in_force();
    let (private, public) = code.key_pair(&statement.vault);
    if public != statement.recovery {
        return Err(VaultError::WrongCode);
    }
    let slot = scope.slots.iter().find(|slot| matches!(slot, SlotEntry::Recovery { .. }));
    let place = Place {
        vault: statement.vault,
        scope: scope.id,
        slot: slot.map(SlotEntry::id).ok_or_else(|| VaultError::NoScope(scope.name.clone()))?,
    };
    open_slot(store, roster, scope, &place, &private)
}

fn open_slot(store: &Store, roster: &Roster, scope: &ScopeEntry, place: &Place, private: &Private) -> Result<Ring, VaultError> {
    let path = sealed_path(place.slot, &scope.commitment);
    let sealed = store.read(&path, SEALED_LEN)?;
    let key = open_scope_key(place, scope.epoch, private, &sealed)
        .ok_or_else(|| VaultError::damaged(path, "it does not open with its slot's private half"))?;
    open_ring(store, roster, scope, key)
}

/// The keys of a scope, from the one in force that a slot gave.
fn open_ring(store: &Store, roster: &Roster, scope: &ScopeEntry, key: Key) -> Result<Ring, VaultError> {
    let mut ring = Ring::around(roster.in_force().vault, scope.id, scope.epoch, key);
    // HPKE base mode says nothing about who sealed: only the commitment in the signed statement makes this the scope's key.
    if ring.current != scope.commitment {
        return Err(VaultError::WrongScopeKey { scope: scope.name.clone() });
    }
    if scope.epoch > 1 {
        let path = carry_path(scope.id, &scope.commitment);
        let file = store.read(&path, LONGEST_CARRY)?;
        ring.take_in(&file)
            .ok_or_else(|| VaultError::damaged(path, "the keys of earlier epochs do not open"))?;
        let signed = roster.commitments(scope.id);
        if !ring
            .keys
            .iter()
            .all(|(commitment, (epoch, _))| signed.contains(&(*epoch, *commitment)))
        {
            return Err(VaultError::WrongScopeKey { scope: scope.name.clone() });
        }
    }
    Ok(ring)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::bytes::Hex;
    use super::*;

    #[test]
    fn keys_of_earlier_epochs_are_carried_under_the_new_one() {
        let random = &mut random::system();
        let first = Ring::generate(Digest::of(b"v"), Hex([1; 16]), 1, random);
        let second = first.followed_by(&Ring::generate(first.vault, first.scope, 2, random));
        let third = second.followed_by(&Ring::generate(first.vault, first.scope, 3, random));
        let file = third.carry(random).unwrap();
        let (epoch, key) = third.keys.get(&third.current).unwrap();
        let mut opened = Ring::around(first.vault, first.scope, *epoch, key.clone());
        opened.take_in(&file).unwrap();
        assert!(opened.keys.keys().eq(third.keys.keys()));
        assert!(opened.derive(&first.current, "record", &[]).is_some());
        let mut bad = file.clone();
        bad[40] ^= 1;
        assert!(opened.take_in(&bad).is_none());
    }
}
