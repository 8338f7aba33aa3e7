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
#[serde(from = "Form", into = "Form")]
pub struct EnrolledKey {
    /// The person's name for it.
    pub name: String,
    /// PIN or touch only.
    pub profile: Profile,
    /// What it is, and how it signs and unseals.
    pub kind: Kind,
}

/// What an enrolled key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A FIDO2 key.
    Fido2(Fido2),
    /// A YubiKey by its PIV application.
    Piv(Piv),
}

/// The credentials of a FIDO2 key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fido2 {
    /// Signs and unseals, with a touch.
    pub lease: Credential,
    /// Tells, without a touch and without a PIN, which key this is; it opens nothing.
    pub which: Credential,
}

/// The slots of a YubiKey, and what it was seen to be when they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piv {
    /// Its serial number: by which it is found, and which proves nothing.
    pub serial: u32,
    /// Its firmware, as seen.
    pub firmware: [u8; 3],
    /// Unseals, by ECDH.
    pub open: PivSlot,
    /// Signs, by ECDSA.
    pub sign: PivSlot,
    /// The armored SSHSIG by which it says for which vault it was enrolled; nothing before it has signed that.
    pub enrolment: Option<String>,
}

/// What is said of a YubiKey whose slots nobody but itself vouched for.
pub const UNVERIFIED: &str = "not verified against a maker's root";

impl Piv {
    /// Whether what its slots are was attested under a root of the configuration at enrolment.
    #[must_use]
    pub fn is_attested(&self) -> bool {
        [&self.open, &self.sign].into_iter().all(|slot| slot.seen == Seen::Attested)
    }
}

/// A P-256 key in a retired slot, with PIN and touch for each use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PivSlot {
    /// Which.
    pub slot: Retired,
    /// Its public key; base64url without padding in text.
    #[serde(with = "base64url")]
    pub public_key: Point,
    /// Its PIN policy.
    pub pin: Always,
    /// Its touch policy.
    pub touch: Always,
    /// By what the policies were seen.
    pub seen: Seen,
}

/// The one policy that a slot may have: for each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Always {
    /// Never cached.
    Always,
}

/// By what a slot's policies were seen at enrolment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// A certificate of the key's own, under a root that the configuration names.
    Attested,
    /// The key's word (GET METADATA).
    Metadata,
}

/// A slot for retired keys, 82 to 95 hexadecimal (NIST SP 800-73-4 part 1, table 4b); two digits in text, as `ykman` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Retired(u8);

impl Retired {
    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0x82..=0x95).map(Self)
    }

    /// Its key reference.
    #[must_use]
    pub fn reference(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

impl From<Retired> for String {
    fn from(slot: Retired) -> Self {
        slot.to_string()
    }
}

impl TryFrom<String> for Retired {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let slot = Self::all().find(|slot| slot.to_string() == text);
        slot.ok_or("not a slot for retired keys: 82 to 95")
    }
}

/// An enrolled key in text.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Form {
    Fido2 {
        name: String,
        profile: Profile,
        lease: Credential,
        which: Credential,
    },
    Piv {
        name: String,
        serial: u32,
        firmware: [u8; 3],
        open: PivSlot,
        sign: PivSlot,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        enrolment: Option<String>,
    },
}

impl From<Form> for EnrolledKey {
    fn from(form: Form) -> Self {
        match form {
            Form::Fido2 {
                name,
                profile,
                lease,
                which,
            } => Self {
                name,
                profile,
                kind: Kind::Fido2(Fido2 { lease, which }),
            },
            Form::Piv {
                name,
                serial,
                firmware,
                open,
                sign,
                enrolment,
            } => Self {
                name,
                profile: Profile::Pin,
                kind: Kind::Piv(Piv {
                    serial,
                    firmware,
                    open,
                    sign,
                    enrolment,
                }),
            },
        }
    }
}

impl From<EnrolledKey> for Form {
    fn from(key: EnrolledKey) -> Self {
        let EnrolledKey { name, profile, kind } = key;
        match kind {
            Kind::Fido2(Fido2 { lease, which }) => Self::Fido2 {
                name,
                profile,
                lease,
                which,
            },
            Kind::Piv(Piv {
                serial,
                firmware,
                open,
                sign,
                enrolment,
            }) => Self::Piv {
                name,
                serial,
                firmware,
                open,
                sign,
                enrolment,
            },
        }
    }
}

impl EnrolledKey {
    /// The YubiKey with this serial number and firmware, on which these were made; it has not said yet for which vault it is enrolled.
    #[must_use]
    pub fn on_card(name: String, serial: u32, firmware: [u8; 3], open: PivSlot, sign: PivSlot) -> Self {
        Self {
            name,
            profile: Profile::Pin,
            kind: Kind::Piv(Piv {
                serial,
                firmware,
                open,
                sign,
                enrolment: None,
            }),
        }
    }

    /// Whether `other` is this key as it was enrolled, under whatever name.
    #[must_use]
    pub fn is_enrolled_as(&self, other: &Self) -> bool {
        let Self { name: _, profile, kind } = self;
        (*profile, kind) == (other.profile, &other.kind)
    }

    /// By what it serves, in words: a PIV key's PIN and touch are not in what it signs.
    #[must_use]
    pub fn way(&self) -> &'static str {
        match (&self.kind, self.profile) {
            (Kind::Piv(_), _) => "by PIV",
            (Kind::Fido2(_), Profile::Pin) => "PIN and touch",
            (Kind::Fido2(_), Profile::TouchOnly) => "touch only",
        }
    }

    /// Identifies the key in rosters, receipts and messages.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(self.signer()))
    }

    /// The public key by which it signs.
    #[must_use]
    pub fn signer(&self) -> &Point {
        match &self.kind {
            Kind::Fido2(key) => &key.lease.public_key,
            Kind::Piv(key) => &key.sign.public_key,
        }
    }

    /// Its credentials, if it is a FIDO2 key.
    #[must_use]
    pub fn fido2(&self) -> Option<&Fido2> {
        match &self.kind {
            Kind::Fido2(key) => Some(key),
            Kind::Piv(_) => None,
        }
    }

    /// Its slots, if it is a YubiKey by its PIV application.
    #[must_use]
    pub fn piv(&self) -> Option<&Piv> {
        match &self.kind {
            Kind::Fido2(_) => None,
            Kind::Piv(key) => Some(key),
        }
    }
}

/// SHA-256 of the public key (65 bytes, uncompressed) by which a key signs; 64 lower-case hexadecimal digits in text.
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
        r#"{"kind":"fido2","name":"blue","profile":"touch-only","#,
        r#""lease":{"id":"AQID","public_key":"BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"},"#,
        r#""which":{"id":"_-8","public_key":"BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"}}"#
    );

    #[test]
    fn an_enrolled_key_has_one_text_form() {
        let key: EnrolledKey = serde_json::from_str(JSON).unwrap();
        assert_eq!(
            key.fido2()
                .map(|fido2| (key.profile, fido2.lease.id.as_slice(), fido2.which.id.as_slice())),
            Some((Profile::TouchOnly, &[1, 2, 3][..], &[0xFF, 0xEF][..]))
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
            ("fido2", "piv"),
        ] {
            assert!(serde_json::from_str::<EnrolledKey>(&JSON.replacen(from, to, 1)).is_err(), "{to}");
        }
    }

    #[test]
    fn a_piv_key_has_one_text_form_and_no_slot_without_pin_and_touch_for_each_use() {
        let slot = |slot| {
            format!(
                r#"{{"slot":"{slot}","public_key":"BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ","pin":"always","touch":"always","seen":"metadata"}}"#
            )
        };
        let json = format!(
            r#"{{"kind":"piv","name":"card","serial":24117248,"firmware":[5,7,1],"open":{},"sign":{}}}"#,
            slot("82"),
            slot("95")
        );
        let key: EnrolledKey = serde_json::from_str(&json).unwrap();
        assert_eq!((key.profile, key.id()), (Profile::Pin, KeyId(Digest::of(&[4; 65]))));
        assert_eq!(serde_json::to_string(&key).unwrap(), json);
        for (from, to) in [
            ("\"82\"", "\"81\""),
            ("\"82\"", "\"96\""),
            ("\"82\"", "130"),
            ("\"95\"", "\"9d\""),
            ("\"touch\":\"always\"", "\"touch\":\"cached\""),
            ("\"pin\":\"always\"", "\"pin\":\"once\""),
            ("metadata", "guessed"),
            ("[5,7,1]", "[5,7]"),
            ("24117248", "-1"),
            ("\"name\"", "\"profile\":\"pin\",\"name\""),
        ] {
            let bad = json.replacen(from, to, 1);
            assert_ne!(bad, json);
            assert!(serde_json::from_str::<EnrolledKey>(&bad).is_err(), "{to}");
        }
    }
}
