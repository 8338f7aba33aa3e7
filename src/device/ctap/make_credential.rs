//! authenticatorMakeCredential (CTAP 2.1, 6.1).

use super::cbor::{self, Map, Value};
use super::error::CtapError;
use super::get_assertion::{SHORTEST_AUTH_DATA, descriptors};
use super::hmac_secret::HMAC_SECRET;
use super::pin::{PinToken, parse_cose_key};
use super::{Command, Session};
use crate::encoding::sshsig::{FLAG_AT, FLAG_ED, FLAG_UP, FLAG_UV, Point};

/// COSE number of ES256.
const ES256: i64 = -7;
/// WebAuthn Level 2, 4, "Credential ID": at most 1023 bytes.
const LONGEST_CREDENTIAL_ID: usize = 1023;

/// What to ask for: ES256, not discoverable.
pub struct MakeCredential<'a> {
    /// Relying party id.
    pub rp_id: &'a str,
    /// SHA-256 of something fresh; keys sign it in their attestation.
    pub client_data_hash: [u8; 32],
    /// User handle, at most 64 bytes.
    pub user_id: &'a [u8],
    /// For the key's own display.
    pub user_name: &'a str,
    /// The key refuses when one of these credentials is its own.
    pub exclude: &'a [Vec<u8>],
    /// Whether to ask for hmac-secret.
    pub hmac_secret: bool,
    /// credProtect level, 1 to 3; sent only to keys that know the extension.
    pub protection: u8,
    /// The PIN's token.
    pub token: Option<&'a PinToken>,
}

/// A new credential, read from the authenticator data that the key made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    /// SHA-256 of the relying party id.
    pub rp_id_hash: [u8; 32],
    /// Whether the key was touched.
    pub touched: bool,
    /// Whether its person was verified.
    pub verified: bool,
    /// The model (16 bytes).
    pub aaguid: [u8; 16],
    /// Credential id, 1 to 1023 bytes.
    pub credential: Vec<u8>,
    /// ES256 public key.
    pub public_key: Point,
    /// Whether the key gave it hmac-secret.
    pub hmac_secret: bool,
    /// The credProtect level granted; 1, which is none, when the key says nothing (CTAP 2.1, 12.1).
    pub protection: u8,
}

impl Attested {
    /// Reads the authenticator data of makeCredential.
    ///
    /// # Errors
    /// Cut, left-over bytes, no attested data, another algorithm than ES256.
    pub fn parse(auth_data: &[u8]) -> Result<Self, CtapError> {
        let cut = CtapError::Form("attested data are cut short");
        let (fixed, rest) = auth_data.split_at_checked(SHORTEST_AUTH_DATA).ok_or(cut.clone())?;
        let flags = fixed[32];
        if flags & FLAG_AT == 0 {
            return Err(CtapError::Form("no attested data"));
        }
        let (aaguid, rest) = rest.split_first_chunk().ok_or(cut.clone())?;
        let (len, rest) = rest.split_first_chunk().ok_or(cut.clone())?;
        let len = usize::from(u16::from_be_bytes(*len));
        if len == 0 || len > LONGEST_CREDENTIAL_ID {
            return Err(CtapError::Form("a credential id of a wrong length"));
        }
        let (credential, rest) = rest.split_at_checked(len).ok_or(cut.clone())?;
        let (key, rest) = cbor::decode_prefix(rest)?;
        if (flags & FLAG_ED == 0) != rest.is_empty() {
            return Err(CtapError::Form("flags that do not fit the authenticator data"));
        }
        let extensions = if rest.is_empty() { Map::new() } else { cbor::decode_map(rest)? };
        Ok(Self {
            rp_id_hash: fixed[..32].try_into().map_err(|_| cut)?,
            touched: flags & FLAG_UP != 0,
            verified: flags & FLAG_UV != 0,
            aaguid: *aaguid,
            credential: credential.to_vec(),
            public_key: es256_key(&key)?,
            hmac_secret: extensions.get(HMAC_SECRET) == Some(&Value::Bool(true)),
            protection: protection(&extensions)?,
        })
    }
}

impl Session<'_> {
    /// Makes a credential and returns its authenticator data, for [`Attested::parse`].
    ///
    /// # Errors
    /// See [`CtapError`].
    pub fn make_credential(&mut self, ask: &MakeCredential<'_>) -> Result<Vec<u8>, CtapError> {
        let extensions = extensions(ask, self.info.extension("credProtect"));
        let answer = self.call(Command::MakeCredential, request(ask, extensions))?;
        parse(&answer)
    }
}

/// Reads the authenticator data out of the answer to makeCredential.
///
/// # Errors
/// Not a map of the specification's types.
pub fn parse(answer: &[u8]) -> Result<Vec<u8>, CtapError> {
    Ok(cbor::decode_map(answer)?.bytes(0x02)?.to_vec())
}

fn extensions(ask: &MakeCredential<'_>, knows_protection: bool) -> Map {
    let protection = (knows_protection && ask.protection > 1).then_some(i64::from(ask.protection));
    Map::new()
        .with_some(HMAC_SECRET, ask.hmac_secret.then_some(true))
        .with_some("credProtect", protection)
}

fn request(ask: &MakeCredential<'_>, extensions: Map) -> Map {
    let user = Map::new()
        .with("id", ask.user_id)
        .with("name", ask.user_name)
        .with("displayName", ask.user_name);
    let algorithm = Map::new().with("alg", ES256).with("type", "public-key");
    let exclude = (!ask.exclude.is_empty()).then(|| descriptors(ask.exclude));
    let extensions = (extensions != Map::new()).then_some(extensions);
    Map::new()
        .with(0x01, &ask.client_data_hash[..])
        .with(0x02, Map::new().with("id", ask.rp_id).with("name", "touchlease"))
        .with(0x03, user)
        .with(0x04, vec![Value::from(algorithm)])
        .with_some(0x05, exclude)
        .with_some(0x06, extensions)
        .with_some(0x08, ask.token.map(|t| t.authenticate(&ask.client_data_hash)))
        .with_some(0x09, ask.token.map(|t| t.protocol().number()))
}

fn es256_key(key: &Value) -> Result<Point, CtapError> {
    match key {
        Value::Map(key) if key.get(3) == Some(&Value::Int(ES256)) => parse_cose_key(key),
        _ => Err(CtapError::Form("a public key that is not ES256")),
    }
}

fn protection(extensions: &Map) -> Result<u8, CtapError> {
    match extensions.number("credProtect")? {
        None => Ok(1),
        Some(level @ 1..=3) => Ok(level as u8),
        Some(_) => Err(CtapError::Form("a credProtect level that does not exist")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::pin::cose_key;
    use super::*;

    fn data(flags: u8, id: &[u8], algorithm: i64, tail: &[u8]) -> Vec<u8> {
        let mut data = vec![5; 32];
        data.push(flags);
        data.extend([0; 4]);
        data.extend([6; 16]);
        data.extend((id.len() as u16).to_be_bytes());
        data.extend(id);
        data.extend(cbor::encode(&cose_key(&[4; 65], algorithm).into()));
        data.extend(tail);
        data
    }

    fn granted(level: i64) -> Vec<u8> {
        cbor::encode(&Map::new().with(HMAC_SECRET, true).with("credProtect", level).into())
    }

    #[test]
    fn the_granted_protection_is_read_from_the_authenticator_data() {
        let attested = Attested::parse(&data(0xC5, &[1; 48], ES256, &granted(3))).unwrap();
        assert!(attested.touched && attested.verified && attested.hmac_secret);
        assert_eq!(
            (attested.protection, attested.credential.len(), attested.public_key),
            (3, 48, [4; 65])
        );
        let plain = Attested::parse(&data(0x41, &[1; 48], ES256, &[])).unwrap();
        assert_eq!((plain.protection, plain.hmac_secret, plain.verified), (1, false, false));
    }

    #[test]
    fn t58_cut_strange_and_overlong_attested_data_are_errors() {
        let good = data(0xC5, &[1; 48], ES256, &granted(3));
        for end in 0..good.len() {
            assert!(Attested::parse(&good[..end]).is_err(), "cut at {end}");
        }
        assert!(Attested::parse(&[&good[..], &[0]].concat()).is_err());
        assert!(Attested::parse(&data(0x05, &[1; 48], ES256, &[])).is_err(), "no AT flag");
        assert!(Attested::parse(&data(0x41, &[], ES256, &[])).is_err(), "empty id");
        assert!(Attested::parse(&data(0x41, &[1; 1024], ES256, &[])).is_err(), "long id");
        assert!(Attested::parse(&data(0x41, &[1; 48], -8, &[])).is_err(), "EdDSA");
        assert!(Attested::parse(&data(0xC5, &[1; 48], ES256, &granted(9))).is_err(), "level 9");
    }

    #[test]
    fn protection_is_asked_only_of_keys_that_know_it() {
        let ask = MakeCredential {
            rp_id: "touchlease:lease",
            client_data_hash: [0; 32],
            user_id: b"u",
            user_name: "u",
            exclude: &[],
            hmac_secret: true,
            protection: 3,
            token: None,
        };
        assert_eq!(extensions(&ask, true).number("credProtect"), Ok(Some(3)));
        assert_eq!(extensions(&ask, false).number("credProtect"), Ok(None));
        assert_eq!(request(&ask, Map::new()).get(6), None);
    }
}
