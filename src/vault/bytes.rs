//! Byte forms of the vault's own files: integers big-endian, fields with a 32-bit length in front.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroize;

/// `N` bytes, written as `2 N` lower-case hexadecimal digits in JSON and in file names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// The random name (16 bytes) of a scope, a slot or a record.
pub type Id = Hex<16>;

impl<const N: usize> Hex<N> {
    /// Reads exactly `2 N` lower-case hexadecimal digits.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }
}

impl<const N: usize> Zeroize for Hex<N> {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_text(&text).ok_or_else(|| de::Error::custom(format!("expected {} lower-case hexadecimal digits", 2 * N)))
    }
}

/// Appends `field` with its length (u32) in front.
pub fn put_field(out: &mut Vec<u8>, field: &[u8]) {
    // No field comes near 4 GiB: the largest file that is written has a few MiB.
    let len = u32::try_from(field.len()).unwrap_or(u32::MAX);
    out.extend(len.to_be_bytes());
    out.extend(field);
}

/// Reads a byte form from its front; nothing is ever read twice, and nothing past the end.
#[derive(Clone, Copy)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// All of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `len` bytes.
    pub fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    /// The next 32-bit integer.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next 64-bit integer.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next field with a 32-bit length in front.
    pub fn field(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.slice(len)
    }

    /// What is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Nothing may be left.
    #[must_use]
    pub fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_longer_than_what_is_left_is_refused() {
        let mut out = Vec::new();
        put_field(&mut out, b"abc");
        assert_eq!(Bytes::new(&out).field(), Some(&b"abc"[..]));
        assert_eq!(Bytes::new(&out[..6]).field(), None);
        assert_eq!(Bytes::new(&[0xff; 8]).field(), None);
    }

    #[test]
    fn upper_case_and_short_digits_are_refused() {
        assert_eq!(Hex::<2>::from_text("00ff"), Some(Hex([0, 0xff])));
        assert_eq!(Hex::<2>::from_text("00FF"), None);
        assert_eq!(Hex::<2>::from_text("00f"), None);
    }
}
