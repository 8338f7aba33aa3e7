//! The CTAP2 canonical CBOR encoding form (CTAP 2.1, section 8).
//!
//! Written out, because general CBOR libraries accept what CTAP2 forbids (indefinite lengths, numbers that are not in their
//! shortest form, one key twice) and write map keys in the order given.

use super::error::CtapError;

/// Deeper than any answer of the specification (4 levels); bounds the recursion.
const DEEPEST: usize = 8;

/// A data item. Numbers are limited to what fits an `i64`; tags and floats do not occur in CTAP2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Major types 0 and 1.
    Int(i64),
    /// Major type 2.
    Bytes(Vec<u8>),
    /// Major type 3.
    Text(String),
    /// Major type 4.
    Array(Vec<Value>),
    /// Major type 5.
    Map(Map),
    /// Simple values 20 and 21.
    Bool(bool),
    /// Simple value 22.
    Null,
}

/// A map without double keys. Order is that of arrival or insertion; encoding sorts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map(Vec<(Value, Value)>);

impl Map {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member; the caller does not add one twice.
    #[must_use]
    pub fn with(mut self, key: impl Into<Value>, value: impl Into<Value>) -> Self {
        self.0.push((key.into(), value.into()));
        self
    }

    /// Adds a member if there is one.
    #[must_use]
    pub fn with_some(self, key: impl Into<Value>, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The member named `key`.
    #[must_use]
    pub fn get(&self, key: impl Into<Value>) -> Option<&Value> {
        let key = key.into();
        self.0.iter().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.0.iter().map(|(k, v)| (k, v))
    }

    /// The bytes under `key`.
    ///
    /// # Errors
    /// Absent, or of another type.
    pub fn bytes(&self, key: impl Into<Value>) -> Result<&[u8], CtapError> {
        match self.get(key) {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            _ => Err(CtapError::Form("a byte string is missing")),
        }
    }

    /// The number under `key`, if it is there.
    ///
    /// # Errors
    /// Of another type, or negative, or over 32 bits.
    pub fn number(&self, key: impl Into<Value>) -> Result<Option<u32>, CtapError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Int(n)) => u32::try_from(*n).map(Some).map_err(|_| CtapError::Form("a number is out of range")),
            Some(_) => Err(CtapError::Form("a number is missing")),
        }
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<i32> for Value {
    fn from(n: i32) -> Self {
        Self::Int(n.into())
    }
}

impl From<u32> for Value {
    fn from(n: u32) -> Self {
        Self::Int(n.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items)
    }
}

/// The canonical encoding of `value`.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, value);
    out
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Int(n) if *n >= 0 => put_head(out, 0, n.unsigned_abs()),
        // -1 - n, which cannot overflow.
        Value::Int(n) => put_head(out, 1, (!*n).unsigned_abs()),
        Value::Bytes(bytes) => {
            put_head(out, 2, bytes.len() as u64);
            out.extend(bytes);
        }
        Value::Text(text) => {
            put_head(out, 3, text.len() as u64);
            out.extend(text.as_bytes());
        }
        Value::Array(items) => {
            put_head(out, 4, items.len() as u64);
            items.iter().for_each(|item| put(out, item));
        }
        Value::Map(map) => put_map(out, map),
        Value::Bool(b) => out.push(0xf4 + u8::from(*b)),
        Value::Null => out.push(0xf6),
    }
}

fn put_map(out: &mut Vec<u8>, map: &Map) {
    put_head(out, 5, map.0.len() as u64);
    let mut members: Vec<_> = map.0.iter().map(|(key, value)| (encode(key), value)).collect();
    // Section 8: lower major type first, then the shorter key, then byte by byte.
    members.sort_by(|(a, _), (b, _)| (a.first().map(|x| x >> 5), a.len(), a).cmp(&(b.first().map(|x| x >> 5), b.len(), b)));
    for (key, value) in members {
        out.extend(key);
        put(out, value);
    }
}

fn put_head(out: &mut Vec<u8>, major: u8, n: u64) {
    let major = major << 5;
    let bytes = n.to_be_bytes();
    match n {
        0..=23 => out.push(major | bytes[7]),
        24..=0xff => out.extend([major | 24, bytes[7]]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend(&bytes[6..]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend(&bytes[4..]);
        }
        _ => {
            out.push(major | 27);
            out.extend(bytes);
        }
    }
}

/// Reads exactly one item.
///
/// # Errors
/// Cut, bytes left over, nested too deep, a form that CTAP2 forbids. Wrongly ordered keys are let pass: keys on the market send them.
pub fn decode(bytes: &[u8]) -> Result<Value, CtapError> {
    let (value, rest) = decode_prefix(bytes)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(CtapError::Form("bytes after the end"))
    }
}

/// Reads exactly one map.
///
/// # Errors
/// As [`decode`], and anything that is not a map.
pub fn decode_map(bytes: &[u8]) -> Result<Map, CtapError> {
    match decode(bytes)? {
        Value::Map(map) => Ok(map),
        _ => Err(CtapError::Form("not a map")),
    }
}

/// Reads one item and returns what follows it, for authenticator data, where CBOR items lie one behind the other.
///
/// # Errors
/// As [`decode`], but bytes may follow.
pub fn decode_prefix(bytes: &[u8]) -> Result<(Value, &[u8]), CtapError> {
    let mut reader = Reader { rest: bytes };
    let value = reader.item(0)?;
    Ok((value, reader.rest))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8], CtapError> {
        let cut = CtapError::Form("cut short");
        let len = usize::try_from(len).map_err(|_| cut.clone())?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn head(&mut self) -> Result<(u8, u64), CtapError> {
        let first = self.take(1)?[0];
        let (len, least) = match first & 0x1f {
            n @ 0..=23 => return Ok((first, u64::from(n))),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return Err(CtapError::Form("an indefinite length")),
        };
        let n = self.take(len)?.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        if n < least {
            return Err(CtapError::Form("a number that is not in its shortest form"));
        }
        Ok((first, n))
    }

    fn item(&mut self, depth: usize) -> Result<Value, CtapError> {
        if depth > DEEPEST {
            return Err(CtapError::Form("nested too deep"));
        }
        let (first, n) = self.head()?;
        Ok(match first >> 5 {
            0 => Value::Int(int(n)?),
            1 => Value::Int(!int(n)?),
            2 => Value::Bytes(self.take(n)?.into()),
            3 => Value::Text(self.text(n)?),
            4 => Value::Array(self.array(n, depth)?),
            5 => Value::Map(self.map(n, depth)?),
            7 => match first {
                0xf4 => Value::Bool(false),
                0xf5 => Value::Bool(true),
                0xf6 => Value::Null,
                _ => return Err(CtapError::Form("a simple value or float")),
            },
            _ => return Err(CtapError::Form("a tag")),
        })
    }

    fn text(&mut self, len: u64) -> Result<String, CtapError> {
        String::from_utf8(self.take(len)?.into()).map_err(|_| CtapError::Form("text that is not UTF-8"))
    }

    // Neither reserves what the head claims: every item costs at least a byte of input, so memory stays within a factor of it.
    fn array(&mut self, len: u64, depth: usize) -> Result<Vec<Value>, CtapError> {
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(self.item(depth + 1)?);
        }
        Ok(items)
    }

    fn map(&mut self, len: u64, depth: usize) -> Result<Map, CtapError> {
        let mut map = Map::new();
        for _ in 0..len {
            let key = self.item(depth + 1)?;
            // No key of CTAP2 is one (they are numbers and text), and two maps that are one but for their order would be a double key.
            if matches!(key, Value::Array(_) | Value::Map(_)) {
                return Err(CtapError::Form("a key that is a list or a map"));
            }
            if map.0.iter().any(|(k, _)| *k == key) {
                return Err(CtapError::Form("a key twice in one map"));
            }
            map.0.push((key, self.item(depth + 1)?));
        }
        Ok(map)
    }
}

fn int(n: u64) -> Result<i64, CtapError> {
    i64::try_from(n).map_err(|_| CtapError::Form("a number is out of range"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use data_encoding::HEXLOWER;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_examples_of_rfc_8949_appendix_a_decode_and_encode_back() {
        let map = Map::new().with("a", 1).with("b", vec![Value::Int(2), Value::Int(3)]);
        for (bytes, value) in [
            ("00", Value::Int(0)),
            ("17", Value::Int(23)),
            ("1818", Value::Int(24)),
            ("1903e8", Value::Int(1000)),
            ("1a000f4240", Value::Int(1_000_000)),
            ("1b000000e8d4a51000", Value::Int(1_000_000_000_000)),
            ("20", Value::Int(-1)),
            ("3903e7", Value::Int(-1000)),
            ("f4", Value::Bool(false)),
            ("f5", Value::Bool(true)),
            ("f6", Value::Null),
            ("4401020304", Value::Bytes(vec![1, 2, 3, 4])),
            ("6449455446", "IETF".into()),
            ("62c3bc", "ü".into()),
            ("80", Value::Array(vec![])),
            ("a26161016162820203", map.into()),
        ] {
            assert_eq!(decode(&hex(bytes)).unwrap(), value, "{bytes}");
            assert_eq!(encode(&value), hex(bytes));
        }
    }

    #[test]
    fn map_keys_are_written_in_the_canonical_order_of_ctap2() {
        let map = Map::new()
            .with("aa", 1)
            .with("b", 2)
            .with(-1, 3)
            .with(10, 4)
            .with(-25, 5)
            .with(300, 6)
            .with(3, 7);
        assert_eq!(
            HEXLOWER.encode(&encode(&map.into())),
            "a703070a0419012c062003381805616202626161 01".replace(' ', "")
        );
    }

    #[test]
    fn t58_what_ctap2_forbids_is_an_error() {
        for (bytes, why) in [
            ("", "nothing"),
            ("1801", "not the shortest form"),
            ("190001", "not the shortest form"),
            ("5f4101ff", "indefinite"),
            ("bf6161 01ff", "indefinite"),
            ("a2010101 02", "double key"),
            ("a2a208080708 01a207080808 02", "double key but for the order in it"),
            ("a1818001", "a list as a key"),
            ("c074323031332d30332d32315432303a30343a30305a", "tag"),
            ("f97e00", "float"),
            ("f7", "undefined"),
            ("62ffff", "not UTF-8"),
            ("0000", "left over"),
            ("5affffffff00", "longer than the input"),
            ("9bffffffffffffffff", "longer than the input"),
            ("3bffffffffffffffff", "out of range"),
            ("818181818181818181818100", "deep"),
        ] {
            assert!(decode(&hex(&bytes.replace(' ', ""))).is_err(), "{why}: {bytes}");
        }
    }

    #[test]
    fn t58_every_cut_of_a_good_answer_is_an_error() {
        let value = Map::new().with(1, "x").with(2, vec![0u8; 70]).with(3, Map::new().with("up", true));
        let bytes = encode(&value.into());
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err());
        }
    }
}
