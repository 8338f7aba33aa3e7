//! Canonical JSON (RFC 8785) of what is signed: integers only, no unknown or duplicate names.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

/// Largest integer that every JSON reader keeps exact (RFC 8785, 3.2.2.3 by way of I-JSON, RFC 7493, 2.2).
const LARGEST_INTEGER: u64 = (1 << 53) - 1;
/// Digits of integers that are all below it.
const SHORT: usize = 15;

/// Why bytes are not canonical JSON of the expected form.
#[derive(Debug, Error)]
pub enum JcsError {
    /// Not JSON, an unknown or missing or duplicate name, a wrong type.
    #[error("not the expected JSON: {0}")]
    Form(#[from] serde_json::Error),
    /// The same value has another canonical form: spaces, order of names, escapes.
    #[error("not in canonical form (RFC 8785)")]
    NotCanonical,
    /// A fraction, or an integer beyond 2^53 - 1.
    #[error("a number that is not an integer of at most 2^53 - 1")]
    Number,
    /// A name of a member outside ASCII, for which sorting by UTF-16 and by bytes differ.
    #[error("a member name outside ASCII")]
    Name,
}

/// Canonical bytes of `value`.
///
/// # Errors
/// A number that is not a safe integer, a member name outside ASCII.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JcsError> {
    // Types here declare their members in order, so what is written straight away is canonical as a rule.
    let text = serde_json::to_vec(value)?;
    if is_in_order(&text) {
        return Ok(text);
    }
    // `Value` keeps members in a BTreeMap: sorted by bytes, which for ASCII names is the order RFC 8785, 3.2.3 wants.
    let tree = serde_json::to_value(value)?;
    check(&tree)?;
    Ok(serde_json::to_vec(&tree)?)
}

/// Reads canonical bytes; anything that would not be written back byte for byte is refused.
///
/// # Errors
/// See [`JcsError`].
pub fn from_slice<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<T, JcsError> {
    let value: T = serde_json::from_slice(bytes)?;
    if to_vec(&value)? == bytes {
        Ok(value)
    } else {
        Err(JcsError::NotCanonical)
    }
}

/// Whether `text`, as `serde_json` writes it, is canonical for sure: member names ascend and are plain ASCII, numbers are short integers.
fn is_in_order(text: &[u8]) -> bool {
    // The name of the last member of each open object; none at first.
    let mut open: Vec<&[u8]> = Vec::new();
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'{' => open.push(&[]),
            b'}' => drop(open.pop()),
            b'"' => {
                let (string, behind) = rest.split_at(string_len(rest));
                rest = behind.get(1..).unwrap_or_default();
                if rest.first() == Some(&b':') {
                    let Some(last) = open.last_mut() else { return false };
                    if *last >= string || string.iter().any(|byte| !byte.is_ascii() || *byte == b'\\') {
                        return false;
                    }
                    *last = string;
                }
            }
            b'0'..=b'9' => {
                let digits = 1 + rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                rest = &rest[digits - 1..];
                if digits > SHORT || matches!(rest.first(), Some(b'.' | b'e' | b'E')) {
                    return false;
                }
            }
            _ => {}
        }
    }
    true
}

/// Bytes before the quotation mark that ends the string at the front of `text`.
fn string_len(text: &[u8]) -> usize {
    let mut len = 0;
    loop {
        match text.get(len) {
            Some(b'\\') => len += 2,
            Some(b'"') => return len,
            Some(_) => len += 1,
            None => return text.len(),
        }
    }
}

fn check(value: &Value) -> Result<(), JcsError> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(n) => {
            let size = n.as_u64().or_else(|| n.as_i64().map(i64::unsigned_abs));
            if size.is_some_and(|n| n <= LARGEST_INTEGER) {
                Ok(())
            } else {
                Err(JcsError::Number)
            }
        }
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(members) => members
            .iter()
            .try_for_each(|(name, value)| if name.is_ascii() { check(value) } else { Err(JcsError::Name) }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, Serialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        b: u64,
        a: String,
    }

    #[test]
    fn names_are_sorted_and_there_are_no_spaces() {
        let bytes = to_vec(&Sample {
            b: 1,
            a: "\u{1}\n\"é/".into(),
        })
        .unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), "{\"a\":\"\\u0001\\n\\\"é/\",\"b\":1}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let sample = Sample { b: 9, a: "x".into() };
        assert_eq!(from_slice::<Sample>(&to_vec(&sample).unwrap()).unwrap(), sample);
    }

    #[test]
    fn spaces_order_escapes_duplicates_and_unknown_names_are_refused() {
        for text in [
            "{\"a\":\"x\", \"b\":1}",
            "{\"b\":1,\"a\":\"x\"}",
            "{\"a\":\"\\u0078\",\"b\":1}",
            "{\"a\":\"x\",\"a\":\"x\",\"b\":1}",
            "{\"a\":\"x\",\"b\":1,\"c\":2}",
            "{\"a\":\"x\",\"b\":1.0}",
            "{\"a\":\"x\",\"b\":1}\n",
        ] {
            assert!(from_slice::<Sample>(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_in_order_is_told_from_what_has_to_be_sorted() {
        for text in [
            "{}",
            "[{\"a\":1},{\"a\":2}]",
            "{\"a\":{\"z\":[\"y\",{\"x\":-1}]},\"b\":\"a\\\"\\\\\",\"c\":999999999999999}",
            "{\"a\":\"{\\\"b\\\":1\",\"c\":\"é:\",\"ca\":null}",
        ] {
            assert!(is_in_order(text.as_bytes()), "{text}");
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(to_vec(&value).unwrap(), text.as_bytes());
        }
        for text in [
            "{\"b\":1,\"a\":2}",
            "{\"a\":1,\"a\":2}",
            "{\"\":1}",
            "{\"b\":{\"c\":1},\"a\":2}",
            "{\"a\":[{\"c\":1,\"b\":2}]}",
            "{\"é\":1}",
            "{\"\\n\":1}",
            "[1.5]",
            "[1e9]",
            "[1000000000000000]",
        ] {
            assert!(!is_in_order(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn fractions_and_large_integers_are_refused() {
        assert!(matches!(to_vec(&json!({"a": 1.5})), Err(JcsError::Number)));
        assert!(matches!(to_vec(&json!({"a": 9_007_199_254_740_992_u64})), Err(JcsError::Number)));
        assert!(to_vec(&json!({"a": 9_007_199_254_740_991_u64})).is_ok());
    }
}
