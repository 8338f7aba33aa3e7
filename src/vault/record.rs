//! Records: a secret's value, sealed, behind a clear part that says what it may be used for.

use serde::{Deserialize, Serialize};

use crate::encoding::plain::check_name;
use crate::encoding::{Digest, jcs};
use crate::secret::Secret;

use super::bytes::{Bytes, Id, put_field};
use super::crypto;
use super::error::VaultError;
use super::random::Random;
use super::rules::Rules;
use super::scope::Ring;
use super::signer;

/// Format of the clear part of a signer.
pub(super) const SIGNER_FORMAT: u64 = 2;

const HEADER: &[u8; 8] = b"TL1reco\n";
/// Largest value in bytes.
pub const LARGEST_VALUE: usize = 1 << 20;
const LARGEST_CLEAR: usize = 64 << 10;
/// Largest record file: header, clear part, and a padded value (one eighth more at most, or the clear part's length).
pub const LARGEST_RECORD: usize = LARGEST_CLEAR + LARGEST_VALUE + LARGEST_VALUE / 8 + 4096;
/// Digits of the name's digest that choose the folder of a record, and those after them that begin its file's name.
const SHELF: usize = 3;
const TAG: usize = 8;
/// Values up to this length all look alike.
const SMALLEST_PADDED: usize = 256;

/// What can be read of a secret without a touch. Before the touch it is a claim.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Clear {
    /// When it was written: seconds since 1970 by the wall clock.
    pub changed: u64,
    /// Random; the end of the file's name.
    pub id: Id,
    /// Commitment of the scope key under which the value is sealed.
    pub key: Digest,
    /// The secret's name.
    pub name: String,
    /// What it may be used for.
    pub rules: Rules,
    /// The scope.
    pub scope: Id,
    /// Format of the record.
    pub v: u64,
    /// 1 at first, one more with each change.
    pub version: u64,
}

/// A record file, split.
pub struct Record<'a> {
    /// The clear part, read.
    pub clear: Clear,
    /// The clear part's exact bytes.
    pub clear_bytes: &'a [u8],
    aad: &'a [u8],
    sealed: &'a [u8],
}

/// Seals `value` behind `clear`.
///
/// # Errors
/// [`VaultError::ValueSize`], rules or a name that are refused.
pub fn seal(ring: &Ring, clear: &Clear, value: &Secret, random: &mut Random) -> Result<Vec<u8>, VaultError> {
    if !(1..=LARGEST_VALUE).contains(&value.len()) {
        return Err(VaultError::ValueSize(value.len()));
    }
    check_name("the secret's name", &clear.name)?;
    clear.rules.check()?;
    clear.rules.check_value(value)?;
    let bytes = jcs::to_vec(clear).map_err(|_| VaultError::Sealing("a record"))?;
    let padded = padded_len(value.len(), bytes.len());
    let mut plain = Secret::zeroed(4 + padded).map_err(VaultError::Memory)?;
    let (len, rest) = plain.expose_mut().split_at_mut(4);
    len.copy_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    rest[..value.len()].copy_from_slice(value.expose());
    let mut file = HEADER.to_vec();
    put_field(&mut file, &bytes);
    let aad = file.clone();
    ring.derive(&clear.key, "record", &[&clear.id.0])
        .and_then(|key| crypto::seal(&mut file, &key, &aad, plain.expose(), random))
        .ok_or(VaultError::Sealing("a record"))?;
    Ok(file)
}

impl Clear {
    /// Reads it from the front of a record's file, which may be cut off behind it; with the exact bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(front: &[u8]) -> Result<(Self, &[u8]), &'static str> {
        let body = front.strip_prefix(HEADER).ok_or("not a record of this format")?;
        let bytes = Bytes::new(body).field().ok_or("cut short")?;
        let clear: Self = jcs::from_slice(bytes).map_err(|_| "its clear part is not in the known form")?;
        check_name("the secret's name", &clear.name).map_err(|_| "its name is refused")?;
        if clear.v != signer::format(&clear.rules) || clear.version == 0 || clear.rules.check().is_err() {
            return Err("its clear part contradicts itself");
        }
        Ok((clear, bytes))
    }

    /// Where it ends in the file that begins with `front`.
    #[must_use]
    pub fn end(front: &[u8]) -> Option<usize> {
        let len = Bytes::new(front.strip_prefix(HEADER)?).u32()?;
        let end = HEADER.len() + 4 + usize::try_from(len).ok()?;
        (end <= HEADER.len() + 4 + LARGEST_CLEAR).then_some(end)
    }
}

impl<'a> Record<'a> {
    /// Splits a record file and reads its clear part.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(file: &'a [u8]) -> Result<Self, &'static str> {
        let (clear, clear_bytes) = Clear::read(file)?;
        let (aad, sealed) = file.split_at(HEADER.len() + 4 + clear_bytes.len());
        Ok(Self {
            clear,
            clear_bytes,
            aad,
            sealed,
        })
    }

    /// Unseals the value.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] under `path` when it does not open; no locked memory.
    pub fn open(&self, ring: &Ring, path: &str) -> Result<Secret, VaultError> {
        let damaged = || VaultError::damaged(path, "it does not open with the scope's key");
        let key = ring.derive(&self.clear.key, "record", &[&self.clear.id.0]).ok_or_else(damaged)?;
        let len = self.sealed.len().checked_sub(crypto::NONCE + crypto::TAG).ok_or_else(damaged)?;
        // Opened in locked memory: the value lies nowhere else.
        let mut plain = Secret::zeroed(len).map_err(VaultError::Memory)?;
        crypto::open_into(plain.expose_mut(), &key, self.aad, self.sealed).ok_or_else(damaged)?;
        let mut bytes = Bytes::new(plain.expose());
        let value = bytes.field().ok_or_else(damaged)?;
        let whole = 4 + padded_len(value.len(), self.clear_bytes.len()) == len;
        if !whole || !(1..=LARGEST_VALUE).contains(&value.len()) || bytes.rest().iter().any(|b| *b != 0) {
            return Err(damaged());
        }
        let mut secret = Secret::zeroed(value.len()).map_err(VaultError::Memory)?;
        secret.expose_mut().copy_from_slice(value);
        Ok(secret)
    }
}

/// Folder of a scope's records.
#[must_use]
pub fn folder(scope: Id) -> String {
    format!("records/{scope}")
}

/// Folder and start of the file name of all versions of the secret `name`: found without reading any other record. With 4,096
/// folders, those of 100,000 secrets hold two dozen files each.
#[must_use]
pub fn shelf(scope: Id, name: &str) -> (String, String) {
    let tag = Digest::of(name.as_bytes()).to_string();
    (
        format!("{}/{}", folder(scope), &tag[..SHELF]),
        format!("{}-", &tag[SHELF..SHELF + TAG]),
    )
}

/// Path of a record.
#[must_use]
pub fn path(scope: Id, name: &str, id: Id) -> String {
    let (folder, start) = shelf(scope, name);
    format!("{folder}/{start}{id}")
}

/// Length of the padded value: at least 256, then in steps of an eighth of the next power of two, and never less than the clear
/// part: two versions of a record then never look alike to git, whose rename detection would make a conflict of them.
fn padded_len(value: usize, clear: usize) -> usize {
    let step = (value.next_power_of_two() / 8).max(1);
    value.next_multiple_of(step).max(SMALLEST_PADDED).max(clear)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::bytes::Hex;
    use super::super::random;
    use super::super::rules::Delivery;
    use super::super::statement::FORMAT;
    use super::*;

    fn ring() -> Ring {
        Ring::generate(Digest::of(b"v"), Hex([1; 16]), 1, &mut random::system())
    }

    fn clear(ring: &Ring, name: &str) -> Clear {
        Clear {
            changed: 1_700_000_000,
            id: Hex([7; 16]),
            key: ring.current(),
            name: name.into(),
            rules: Rules::value(&[Delivery::Env]),
            scope: ring.scope,
            v: FORMAT,
            version: 1,
        }
    }

    fn secret(bytes: &[u8]) -> Secret {
        Secret::from_slice_wiping(&mut bytes.to_vec()).unwrap()
    }

    #[test]
    fn values_of_1_byte_to_1_mib_come_back_and_others_are_refused() {
        let ring = ring();
        let random = &mut random::system();
        for len in [1, 2, 255, 256, 257, 65_537, LARGEST_VALUE] {
            let value: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let file = seal(&ring, &clear(&ring, "A"), &secret(&value), random).unwrap();
            assert!(file.len() <= LARGEST_RECORD);
            let record = Record::parse(&file).unwrap();
            assert_eq!(record.open(&ring, "x").unwrap().expose(), value, "{len}");
        }
        for len in [0, LARGEST_VALUE + 1] {
            let refused = seal(&ring, &clear(&ring, "A"), &secret(&vec![1; len]), random);
            assert!(matches!(refused, Err(VaultError::ValueSize(n)) if n == len));
        }
    }

    #[test]
    fn t53_every_flipped_or_cut_byte_of_a_record_is_refused() {
        let ring = ring();
        let file = seal(&ring, &clear(&ring, "A"), &secret(b"value"), &mut random::system()).unwrap();
        let opens = |file: &[u8]| Record::parse(file).ok().is_some_and(|record| record.open(&ring, "x").is_ok());
        assert!(opens(&file));
        for i in 0..file.len() {
            let mut bad = file.clone();
            bad[i] ^= 1;
            assert!(!opens(&bad), "{i}");
            assert!(!opens(&file[..i]), "{i}");
        }
    }

    #[test]
    fn a_value_has_one_padding() {
        let ring = ring();
        let clear = clear(&ring, "A");
        let mut front = HEADER.to_vec();
        put_field(&mut front, &jcs::to_vec(&clear).unwrap());
        let key = ring.derive(&clear.key, "record", &[&clear.id.0]).unwrap();
        let len = padded_len(1, front.len() - 12);
        let opens = |len: usize| {
            let mut plain = vec![0, 0, 0, 1, b'v'];
            plain.resize(4 + len, 0);
            let mut file = front.clone();
            crypto::seal(&mut file, &key, &front, &plain, &mut random::system()).unwrap();
            Record::parse(&file).unwrap().open(&ring, "x").is_ok()
        };
        assert_eq!([1, len - 1, len, len + 1, 2 * len].map(opens), [false, false, true, false, false]);
    }

    #[test]
    fn the_length_of_a_short_value_is_hidden() {
        let ring = ring();
        let len = |n: usize| {
            seal(&ring, &clear(&ring, "A"), &secret(&vec![1; n]), &mut random::system())
                .unwrap()
                .len()
        };
        assert_eq!(len(1), len(256));
        assert_eq!(padded_len(1000, 100), 1024);
        assert_eq!(padded_len(1025, 100), 1280);
        assert_eq!(padded_len(LARGEST_VALUE, 100), LARGEST_VALUE);
        assert_eq!(padded_len(1, 700), 700);
    }

    #[test]
    fn names_in_any_script_are_kept_and_unsafe_ones_refused() {
        let ring = ring();
        for name in ["東京", "naïve", "Ключ", "CLOUDFLARE_TOKEN", "a@b.c"] {
            let file = seal(&ring, &clear(&ring, name), &secret(b"v"), &mut random::system()).unwrap();
            assert_eq!(Record::parse(&file).unwrap().clear.name, name);
        }
        for name in ["", "a/b", "..", "a\u{202e}b", "-x", "e\u{301}"] {
            assert!(
                seal(&ring, &clear(&ring, name), &secret(b"v"), &mut random::system()).is_err(),
                "{name:?}"
            );
        }
    }
}
