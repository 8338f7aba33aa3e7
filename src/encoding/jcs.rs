//! Canonical JSON (RFC 8785) of what is signed: integers only, no unknown or duplicate names.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

/// Largest integer that every JSON reader keeps exact (RFC 8785, 3.2.2.3 by way of I-JSON, RFC 7493, 2.2).
const LARGEST_INTEGER: u64 = (1 << 53) - 1;

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
    fn fractions_and_large_integers_are_refused() {
        assert!(matches!(to_vec(&json!({"a": 1.5})), Err(JcsError::Number)));
        assert!(matches!(to_vec(&json!({"a": 9_007_199_254_740_992_u64})), Err(JcsError::Number)));
        assert!(to_vec(&json!({"a": 9_007_199_254_740_991_u64})).is_ok());
    }
}
