//! What is known of a key once it is enrolled: public data, kept in the vault's roster.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::encoding::Digest;
use crate::encoding::sshsig::Point;

/// Whether a key is asked for its PIN, fixed at enrolment: hmac-secret gives different output with and without (CTAP 2.1, 12.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// PIN and touch; the credential cannot be used without the PIN (credProtect level 3).
    Pin,
    /// Touch alone: the weaker one.
    TouchOnly,
}

/// How a key is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// CTAPHID.
    Usb,
    /// A slot, or a key's own smart-card interface.
    Contact,
    /// NFC.
    Contactless,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usb => "USB",
            Self::Contact => "card slot",
            Self::Contactless => "NFC",
        })
    }
}

/// A FIDO2 credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Credential id, 1 to 1023 bytes; base64url without padding in text.
    #[serde(with = "base64url")]
    pub id: Vec<u8>,
    /// ES256 public key; base64url without padding in text.
    #[serde(with = "base64url")]
    pub public_key: Point,
}

/// An enrolled key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolledKey {
    /// The person's name for it.
    pub name: String,
    /// PIN or touch only.
    pub profile: Profile,
    /// Signs and unseals, with a touch.
    pub lease: Credential,
    /// Tells, without a touch and without a PIN, which key this is; it opens nothing.
    pub which: Credential,
}

impl EnrolledKey {
    /// Whether `other` is this key as it was enrolled, under whatever name.
    #[must_use]
    pub fn is_enrolled_as(&self, other: &Self) -> bool {
        let Self {
            name: _,
            profile,
            lease,
            which,
        } = self;
        (*profile, lease, which) == (other.profile, &other.lease, &other.which)
    }

    /// Identifies the key in rosters, receipts and messages.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(&self.lease.public_key))
    }
}

/// SHA-256 of the public key (65 bytes, uncompressed) of the lease credential; 64 lower-case hexadecimal digits in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub Digest);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes as base64url text without padding (RFC 4648, 5), for `#[serde(with)]`.
pub(crate) mod base64url {
    use data_encoding::BASE64URL_NOPAD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64URL_NOPAD.encode(bytes))
    }

    pub fn deserialize<'de, T: TryFrom<Vec<u8>>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(de::Error::custom)?;
        T::try_from(bytes).map_err(|_| de::Error::custom("a wrong number of bytes"))
    }
}

/// Bytes in a list, an option or a map of messages, as base64url text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text64(#[serde(with = "base64url")] pub Vec<u8>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const JSON: &str = concat!(
        r#"{"name":"blue","profile":"touch-only","#,
        r#""lease":{"id":"AQID","public_key":"BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"},"#,
        r#""which":{"id":"_-8","public_key":"BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"}}"#
    );

    #[test]
    fn an_enrolled_key_has_one_text_form() {
        let key: EnrolledKey = serde_json::from_str(JSON).unwrap();
        assert_eq!(
            (key.profile, key.lease.id.as_slice(), key.which.id.as_slice()),
            (Profile::TouchOnly, &[1, 2, 3][..], &[0xFF, 0xEF][..])
        );
        assert_eq!(serde_json::to_string(&key).unwrap(), JSON);
        assert_eq!(key.id(), KeyId(Digest::of(&[4; 65])));
    }

    #[test]
    fn unknown_fields_padding_and_short_points_are_refused() {
        for (from, to) in [
            ("\"name\"", "\"x\":1,\"name\""),
            ("AQID", "AQI="),
            ("\"BAQE", "\"B"),
            ("touch-only", "none"),
        ] {
            assert!(serde_json::from_str::<EnrolledKey>(&JSON.replacen(from, to, 1)).is_err(), "{to}");
        }
    }
}
