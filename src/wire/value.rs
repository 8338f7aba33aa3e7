//! A secret on the wire: base64, decoded straight into locked memory.

use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// A secret that is meant to travel: the only way a [`Secret`] is ever serialised.
#[derive(Debug)]
pub struct Value(pub Secret);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64.encode(self.0.expose())))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Base64Visitor)
    }
}

struct Base64Visitor;

impl de::Visitor<'_> for Base64Visitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value in base64")
    }

    // Base64 needs no JSON escapes, so serde_json lends the text from the line's own buffer and no copy is left behind.
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        let most = BASE64.decode_len(text.len()).map_err(|_| E::custom("not base64"))?;
        let mut bytes = Zeroizing::new(vec![0; most]);
        let len = BASE64
            .decode_mut(text.as_bytes(), &mut bytes)
            .map_err(|_| E::custom("not base64"))?;
        Secret::from_slice_wiping(&mut bytes[..len]).map(Value).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_value_travels_as_base64() {
        let value = Value(Secret::from_slice_wiping(&mut [0, 255, 7, 9]).unwrap());
        let line = serde_json::to_string(&value).unwrap();
        assert_eq!(line, "\"AP8HCQ==\"");
        let back: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back.0.expose(), [0, 255, 7, 9]);
        assert!(serde_json::from_str::<Value>("\"AP8H*Q==\"").is_err());
    }
}
