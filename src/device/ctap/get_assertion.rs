//! authenticatorGetAssertion (CTAP 2.1, 6.2).

use zeroize::Zeroizing;

use super::cbor::{self, Map, Value};
use super::error::CtapError;
use super::hmac_secret::{self, HMAC_SECRET, Salt};
use super::pin::PinToken;
use super::{Command, Session};
use crate::encoding::sshsig::{FLAG_AT, FLAG_ED};

/// Length of authenticator data without attested data and extensions: rpIdHash, flags, counter (WebAuthn Level 2, 6.1).
pub const SHORTEST_AUTH_DATA: usize = 37;

/// What to ask for.
pub struct GetAssertion<'a> {
    /// Relying party id.
    pub rp_id: &'a str,
    /// SHA-256 of clientDataJSON.
    pub client_data_hash: [u8; 32],
    /// Credential ids, at least one.
    pub allow: &'a [Vec<u8>],
    /// None to two salts for hmac-secret.
    pub salts: &'a [Salt],
    /// Whether to ask for a touch.
    pub touch: bool,
    /// The PIN's token.
    pub token: Option<&'a PinToken>,
}

/// What the key answers, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAssertion {
    /// Credential id; a key may leave it out when the allow list had one.
    pub credential: Option<Vec<u8>>,
    /// Authenticator data, at least 37 bytes.
    pub auth_data: Vec<u8>,
    /// ECDSA signature in DER.
    pub signature: Vec<u8>,
}

impl RawAssertion {
    /// Reads the answer to getAssertion.
    ///
    /// # Errors
    /// Not a map of the specification's types.
    pub fn parse(answer: &[u8]) -> Result<Self, CtapError> {
        let map = cbor::decode_map(answer)?;
        let credential = match map.get(0x01) {
            None => None,
            Some(Value::Map(descriptor)) => Some(descriptor.bytes("id")?.to_vec()),
            Some(_) => return Err(CtapError::Form("a credential descriptor is missing")),
        };
        let auth_data = map.bytes(0x02)?.to_vec();
        if auth_data.len() < SHORTEST_AUTH_DATA {
            return Err(CtapError::Form("authenticator data are cut short"));
        }
        Ok(Self {
            credential,
            auth_data,
            signature: map.bytes(0x03)?.to_vec(),
        })
    }

    /// The extension bytes behind the fixed part: empty, or exactly one CBOR map.
    ///
    /// # Errors
    /// Flag and bytes disagree, attested data in an assertion, or bytes that are not one map.
    pub fn extensions(&self) -> Result<(&[u8], Map), CtapError> {
        let (fixed, rest) = self
            .auth_data
            .split_at_checked(SHORTEST_AUTH_DATA)
            .ok_or(CtapError::Form("authenticator data are cut short"))?;
        let flags = fixed[32];
        if flags & FLAG_AT != 0 || (flags & FLAG_ED == 0) != rest.is_empty() {
            return Err(CtapError::Form("flags that do not fit the authenticator data"));
        }
        let map = if rest.is_empty() { Map::new() } else { cbor::decode_map(rest)? };
        Ok((rest, map))
    }
}

impl Session<'_> {
    /// One assertion, and the hmac-secret outputs one behind the other (32 bytes for each salt).
    ///
    /// # Errors
    /// See [`CtapError`].
    pub fn get_assertion(&mut self, ask: &GetAssertion<'_>) -> Result<(RawAssertion, Zeroizing<Vec<u8>>), CtapError> {
        let extensions = match ask.salts {
            [] => None,
            salts => Some(Map::new().with(HMAC_SECRET, hmac_secret::input(self.shared()?, salts)?)),
        };
        let answer = self.call(Command::GetAssertion, request(ask, extensions))?;
        let assertion = RawAssertion::parse(&answer)?;
        let outputs = match ask.salts {
            [] => Zeroizing::new(Vec::new()),
            salts => hmac_secret::outputs(self.shared()?, &assertion.extensions()?.1, salts.len())?,
        };
        Ok((assertion, outputs))
    }
}

fn request(ask: &GetAssertion<'_>, extensions: Option<Map>) -> Map {
    // `up` is true unless said otherwise (6.2.1), and some CTAP 2.0 keys refuse options they think needless.
    let options = (!ask.touch).then(|| Map::new().with("up", false));
    Map::new()
        .with(0x01, ask.rp_id)
        .with(0x02, &ask.client_data_hash[..])
        .with(0x03, descriptors(ask.allow))
        .with_some(0x04, extensions)
        .with_some(0x05, options)
        .with_some(0x06, ask.token.map(|t| t.authenticate(&ask.client_data_hash)))
        .with_some(0x07, ask.token.map(|t| t.protocol().number()))
}

pub(super) fn descriptors(ids: &[Vec<u8>]) -> Vec<Value> {
    let descriptor = |id: &Vec<u8>| Map::new().with("id", id.clone()).with("type", "public-key").into();
    ids.iter().map(descriptor).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(auth_data: &[u8]) -> Vec<u8> {
        let descriptor = Map::new().with("id", vec![7u8; 16]).with("type", "public-key");
        cbor::encode(&Map::new().with(1, descriptor).with(2, auth_data).with(3, vec![0x30u8, 0]).into())
    }

    #[test]
    fn a_silent_request_says_so_and_a_touched_one_says_nothing() {
        let ask = |touch| {
            let allow = [vec![1u8; 4]];
            request(
                &GetAssertion {
                    rp_id: "touchlease:which",
                    client_data_hash: [2; 32],
                    allow: &allow,
                    salts: &[],
                    touch,
                    token: None,
                },
                None,
            )
        };
        assert_eq!(ask(false).get(5), Some(&Map::new().with("up", false).into()));
        assert_eq!(ask(true).get(5), None);
        assert_eq!(ask(true).get(6), None);
    }

    #[test]
    fn t58_an_answer_with_cut_data_missing_parts_or_wrong_types_is_an_error() {
        assert!(RawAssertion::parse(&answer(&[0; 36])).is_err());
        assert!(RawAssertion::parse(&cbor::encode(&Map::new().with(2, vec![0u8; 37]).into())).is_err());
        assert!(
            RawAssertion::parse(&cbor::encode(
                &Map::new().with(1, 5).with(2, vec![0u8; 37]).with(3, vec![0u8]).into()
            ))
            .is_err()
        );
        assert!(RawAssertion::parse(&[]).is_err());
        let good = answer(&[0; 37]);
        for end in 0..good.len() {
            assert!(RawAssertion::parse(&good[..end]).is_err());
        }
    }

    #[test]
    fn t58_extension_bytes_must_fit_the_flags_and_be_one_map() {
        let data = |flags: u8, tail: &[u8]| {
            let mut data = vec![0; 37];
            data[32] = flags;
            data.extend(tail);
            RawAssertion::parse(&answer(&data)).unwrap().extensions().map(|(raw, _)| raw.len())
        };
        assert_eq!(data(FLAG_ED, &[0xa0]), Ok(1));
        assert_eq!(data(0, &[]), Ok(0));
        for (flags, tail) in [
            (0, &[0xa0][..]),
            (FLAG_ED, &[]),
            (FLAG_ED, &[0xa0, 0]),
            (FLAG_ED, &[0x80]),
            (FLAG_AT, &[]),
        ] {
            assert!(data(flags, tail).is_err());
        }
    }
}
