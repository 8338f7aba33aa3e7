//! authenticatorClientPIN (CTAP 2.1, 6.5): the secret shared with the key, the PIN's tries, and the token that stands for the PIN.

use aes::Aes256;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey, ecdh};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::cbor::{self, Map, Value};
use super::error::{CtapError, Status};
use super::{Command, Random, Session};
use crate::encoding::sshsig::Point;

const GET_RETRIES: i64 = 0x01;
const GET_KEY_AGREEMENT: i64 = 0x02;
const GET_PIN_TOKEN: i64 = 0x05;
const GET_TOKEN_WITH_PERMISSIONS: i64 = 0x09;

/// What a token may be used for (CTAP 2.1, 6.5.5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// makeCredential.
    MakeCredential = 0x01,
    /// getAssertion.
    GetAssertion = 0x02,
    /// Fingerprints.
    BioEnrollment = 0x08,
}

/// How the shared secret is made and used (CTAP 2.1, 6.5.6 and 6.5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinProtocol {
    /// SHA-256 of the ECDH result for everything, zero IV, HMAC cut to 16 bytes.
    One = 1,
    /// HKDF keys for AES and HMAC, random IV.
    Two = 2,
}

impl PinProtocol {
    pub(super) fn from_number(n: u32) -> Option<Self> {
        match n {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    pub(super) fn number(self) -> i64 {
        self as i64
    }

    fn authenticate(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let mut tag = hmac(key, message);
        if self == Self::One {
            tag.truncate(16);
        }
        tag
    }
}

/// A PIN/UV auth token: 16 or 32 bytes, good for seconds.
pub struct PinToken {
    protocol: PinProtocol,
    token: Zeroizing<Vec<u8>>,
}

impl PinToken {
    pub(super) fn authenticate(&self, message: &[u8]) -> Vec<u8> {
        self.protocol.authenticate(&self.token, message)
    }

    pub(super) fn protocol(&self) -> PinProtocol {
        self.protocol
    }
}

/// How often a wrong PIN may still be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Until only a reset helps; eight on a fresh key.
    pub left: u32,
    /// Three were wrong since power-up: the key has to be pulled out and plugged in.
    pub power_cycle: bool,
}

/// The secret shared with the key.
pub struct SharedSecret {
    protocol: PinProtocol,
    ours: Point,
    aes: Zeroizing<[u8; 32]>,
    hmac: Zeroizing<[u8; 32]>,
    random: Random,
}

impl SharedSecret {
    /// Agrees with the key whose public key `peer` is.
    ///
    /// # Errors
    /// The point is not on the curve, or the system has no randomness.
    pub fn agree(protocol: PinProtocol, peer: &Point, random: Random) -> Result<Self, CtapError> {
        let peer = PublicKey::from_sec1_bytes(peer).map_err(|_| CtapError::Form("a point that is not on P-256"))?;
        let secret = ephemeral(random)?;
        let shared = ecdh::diffie_hellman(secret.to_nonzero_scalar(), peer.as_affine());
        let z = shared.raw_secret_bytes();
        let (aes, hmac) = match protocol {
            PinProtocol::One => {
                let key: Zeroizing<[u8; 32]> = Zeroizing::new(Sha256::digest(z).into());
                (key.clone(), key)
            }
            PinProtocol::Two => (derive(z, b"CTAP2 AES key")?, derive(z, b"CTAP2 HMAC key")?),
        };
        let ours = secret.public_key().to_sec1_point(false);
        let ours = ours.as_bytes().try_into().map_err(|_| CtapError::System)?;
        Ok(Self {
            protocol,
            ours,
            aes,
            hmac,
            random,
        })
    }

    /// Our public key, as the key wants it.
    #[must_use]
    pub fn key_agreement(&self) -> Map {
        cose_key(&self.ours, -25)
    }

    /// The protocol agreed on.
    #[must_use]
    pub fn protocol(&self) -> PinProtocol {
        self.protocol
    }

    /// Encrypts whole 16-byte blocks.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>, CtapError> {
        let mut iv = [0; 16];
        if self.protocol == PinProtocol::Two {
            (self.random)(&mut iv).map_err(|_| CtapError::System)?;
        }
        let cipher = cbc::Encryptor::<Aes256>::new((&*self.aes).into(), (&iv).into()).encrypt_padded_vec::<NoPadding>(plain);
        Ok(match self.protocol {
            PinProtocol::One => cipher,
            PinProtocol::Two => [&iv[..], &cipher].concat(),
        })
    }

    /// Decrypts what the key encrypted.
    ///
    /// # Errors
    /// Not whole blocks, or no IV in front with protocol two.
    pub fn decrypt(&self, cipher: &[u8]) -> Result<Zeroizing<Vec<u8>>, CtapError> {
        let wrong = CtapError::Form("an encrypted value of a wrong length");
        let (iv, cipher) = match self.protocol {
            PinProtocol::One => ([0; 16], cipher),
            PinProtocol::Two => cipher.split_first_chunk().map(|(iv, rest)| (*iv, rest)).ok_or(wrong.clone())?,
        };
        let mut plain = Zeroizing::new(cipher.to_vec());
        cbc::Decryptor::<Aes256>::new((&*self.aes).into(), (&iv).into())
            .decrypt_padded::<NoPadding>(&mut plain)
            .map_err(|_| wrong)?;
        Ok(plain)
    }

    /// The tag over `message`: 16 bytes with protocol one, 32 with two.
    #[must_use]
    pub fn authenticate(&self, message: &[u8]) -> Vec<u8> {
        self.protocol.authenticate(&*self.hmac, message)
    }
}

impl Session<'_> {
    /// How often a wrong PIN may still be tried.
    ///
    /// # Errors
    /// See [`CtapError`]; a key without a PIN answers `PIN_NOT_SET`, or with a number.
    pub fn pin_retries(&mut self) -> Result<Retries, CtapError> {
        let request = request(self.protocol()?, GET_RETRIES);
        parse_retries(&self.call(Command::ClientPin, request)?)
    }

    /// Turns the PIN into a token for one use, at one relying party where the use has one. This is a PIN try.
    ///
    /// # Errors
    /// `PIN_INVALID`, `PIN_AUTH_BLOCKED`, `PIN_BLOCKED`, `PIN_NOT_SET` and the like; see [`CtapError`].
    pub fn pin_token(&mut self, pin: &[u8], permission: Permission, rp_id: Option<&str>) -> Result<PinToken, CtapError> {
        let hash = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(pin)));
        let with_permissions = self.info.option("pinUvAuthToken") == Some(true);
        let shared = self.shared()?;
        let subcommand = if with_permissions {
            GET_TOKEN_WITH_PERMISSIONS
        } else {
            GET_PIN_TOKEN
        };
        let mut parameters = request(shared.protocol, subcommand)
            .with(0x03, shared.key_agreement())
            .with(0x06, shared.encrypt(&hash[..16])?);
        // A CTAP 2.0 token is good for everything until power-down; newer keys bind it.
        if with_permissions {
            parameters = parameters.with(0x09, permission as i64).with_some(0x0A, rp_id);
        }
        let answer = self.call(Command::ClientPin, parameters);
        // The key makes a new key pair after each wrong PIN (6.5.5.7.2): what we agreed on is void.
        if matches!(answer, Err(CtapError::Status(Status::PIN_INVALID))) {
            self.agreed = None;
        }
        let encrypted = parse_token(&answer?)?;
        let shared = self.shared()?;
        let token = shared.decrypt(&encrypted)?;
        let fits = match shared.protocol {
            PinProtocol::One => matches!(token.len(), 16 | 32),
            PinProtocol::Two => token.len() == 32,
        };
        if !fits {
            return Err(CtapError::Form("a PIN token of a wrong length"));
        }
        Ok(PinToken {
            protocol: shared.protocol,
            token,
        })
    }
}

fn request(protocol: PinProtocol, subcommand: i64) -> Map {
    Map::new().with(0x01, protocol.number()).with(0x02, subcommand)
}

pub(super) fn key_agreement_request(protocol: PinProtocol) -> Map {
    request(protocol, GET_KEY_AGREEMENT)
}

/// Reads the answer to getKeyAgreement.
///
/// # Errors
/// Not a COSE key on P-256.
pub fn parse_key_agreement(answer: &[u8]) -> Result<Point, CtapError> {
    match cbor::decode_map(answer)?.get(0x01) {
        Some(Value::Map(key)) => parse_cose_key(key),
        _ => Err(CtapError::Form("a key agreement key is missing")),
    }
}

/// Reads the answer to getPINRetries.
///
/// # Errors
/// No number in it.
pub fn parse_retries(answer: &[u8]) -> Result<Retries, CtapError> {
    let map = cbor::decode_map(answer)?;
    Ok(Retries {
        left: map.number(0x03)?.ok_or(CtapError::Form("a number of tries is missing"))?,
        power_cycle: matches!(map.get(0x04), Some(Value::Bool(true))),
    })
}

/// Reads the encrypted token of an answer.
///
/// # Errors
/// None in it.
pub fn parse_token(answer: &[u8]) -> Result<Vec<u8>, CtapError> {
    Ok(cbor::decode_map(answer)?.bytes(0x02)?.to_vec())
}

/// A P-256 point as a COSE_Key (RFC 9053, 7.1) for `algorithm`.
#[must_use]
pub fn cose_key(point: &Point, algorithm: i64) -> Map {
    Map::new()
        .with(1, 2)
        .with(3, algorithm)
        .with(-1, 1)
        .with(-2, &point[1..33])
        .with(-3, &point[33..])
}

/// Reads a COSE_Key on P-256; whether the point is on the curve is seen when it is used.
///
/// # Errors
/// Another key type or curve, or coordinates that have not 32 bytes.
pub fn parse_cose_key(key: &Map) -> Result<Point, CtapError> {
    if key.get(1) != Some(&Value::Int(2)) || key.get(-1) != Some(&Value::Int(1)) {
        return Err(CtapError::Form("a key that is not on P-256"));
    }
    let mut point = [4; 65];
    for (label, half) in [(-2, 1..33), (-3, 33..65)] {
        let coordinate: &[u8; 32] = key
            .bytes(label)?
            .try_into()
            .map_err(|_| CtapError::Form("a coordinate of a wrong length"))?;
        point[half].copy_from_slice(coordinate);
    }
    Ok(point)
}

fn ephemeral(random: Random) -> Result<SecretKey, CtapError> {
    let mut scalar = Zeroizing::new([0; 32]);
    // A random scalar is out of range once in 2^32 draws.
    for _ in 0..4 {
        random(&mut *scalar).map_err(|_| CtapError::System)?;
        if let Ok(secret) = SecretKey::from_slice(&*scalar) {
            return Ok(secret);
        }
    }
    Err(CtapError::System)
}

fn derive(z: &[u8], label: &[u8]) -> Result<Zeroizing<[u8; 32]>, CtapError> {
    let mut key = Zeroizing::new([0; 32]);
    // Salt: 32 zero bytes (6.5.7).
    Hkdf::<Sha256>::new(Some(&[0; 32]), z)
        .expand(label, &mut *key)
        .map_err(|_| CtapError::System)?;
    Ok(key)
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes a key of any length (RFC 2104): the error cannot occur, and an empty tag verifies nowhere.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(|_| Vec::new(), |mac| mac.chain_update(message).finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use data_encoding::HEXLOWER;

    use super::*;

    fn ones(bytes: &mut [u8]) -> std::io::Result<()> {
        bytes.fill(1);
        Ok(())
    }

    /// The key's half of the agreement, from the specification's point of view.
    fn peer_of(ours: &SharedSecret, key: &SecretKey) -> Zeroizing<Vec<u8>> {
        let public = PublicKey::from_sec1_bytes(&ours.ours).unwrap();
        let shared = ecdh::diffie_hellman(key.to_nonzero_scalar(), public.as_affine());
        Zeroizing::new(shared.raw_secret_bytes().to_vec())
    }

    fn key() -> (SecretKey, Point) {
        let key = SecretKey::from_slice(&[9; 32]).unwrap();
        let point = key.public_key().to_sec1_point(false).as_bytes().try_into().unwrap();
        (key, point)
    }

    #[test]
    fn protocol_one_uses_the_hash_a_zero_iv_and_a_short_tag() {
        let (secret, point) = key();
        let shared = SharedSecret::agree(PinProtocol::One, &point, ones).unwrap();
        let hash = Sha256::digest(&*peer_of(&shared, &secret));
        assert_eq!(shared.aes.as_slice(), hash.as_slice());
        assert_eq!(shared.authenticate(b"x"), hmac(&hash, b"x")[..16]);
        let cipher = shared.encrypt(&[5; 32]).unwrap();
        assert_eq!(cipher.len(), 32);
        assert_eq!(shared.decrypt(&cipher).unwrap().as_slice(), [5; 32]);
    }

    #[test]
    fn protocol_two_derives_two_keys_and_sends_the_iv() {
        let (secret, point) = key();
        let shared = SharedSecret::agree(PinProtocol::Two, &point, ones).unwrap();
        // HKDF written out: extract with 32 zero bytes, expand one block (RFC 5869).
        let prk = hmac(&[0; 32], &peer_of(&shared, &secret));
        assert_eq!(shared.aes.as_slice(), hmac(&prk, b"CTAP2 AES key\x01"));
        assert_eq!(shared.hmac.as_slice(), hmac(&prk, b"CTAP2 HMAC key\x01"));
        let cipher = shared.encrypt(&[5; 64]).unwrap();
        assert_eq!((cipher.len(), &cipher[..16]), (80, &[1; 16][..]));
        assert_eq!(shared.decrypt(&cipher).unwrap().as_slice(), [5; 64]);
        assert_eq!(shared.authenticate(b"x").len(), 32);
    }

    #[test]
    fn hmac_is_that_of_rfc_4231_test_case_2() {
        let tag = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(
            HEXLOWER.encode(&tag),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn t58_lengths_and_points_that_do_not_fit_are_errors() {
        let (_, point) = key();
        for protocol in [PinProtocol::One, PinProtocol::Two] {
            let shared = SharedSecret::agree(protocol, &point, ones).unwrap();
            assert!(shared.decrypt(&[0; 15]).is_err());
            assert!(shared.decrypt(&[0; 33]).is_err());
        }
        let mut off = point;
        off[64] ^= 1;
        assert!(SharedSecret::agree(PinProtocol::One, &off, ones).is_err());
        let short = Map::new().with(1, 2).with(-1, 1).with(-2, vec![1u8; 31]).with(-3, vec![1u8; 32]);
        assert!(parse_cose_key(&short).is_err());
        assert!(parse_cose_key(&Map::new().with(1, 1).with(-1, 6).with(-2, vec![1u8; 32])).is_err());
    }

    #[test]
    fn a_cose_key_reads_back() {
        let (_, point) = key();
        assert_eq!(parse_cose_key(&cose_key(&point, -25)).unwrap(), point);
        let answer = cbor::encode(&Map::new().with(1, cose_key(&point, -25)).into());
        assert_eq!(parse_key_agreement(&answer).unwrap(), point);
    }

    #[test]
    fn tries_are_read_with_and_without_the_power_cycle_flag() {
        let answer = |map: Map| parse_retries(&cbor::encode(&map.into()));
        assert_eq!(
            answer(Map::new().with(3, 8)).unwrap(),
            Retries {
                left: 8,
                power_cycle: false
            }
        );
        assert_eq!(
            answer(Map::new().with(3, 5).with(4, true)).unwrap(),
            Retries {
                left: 5,
                power_cycle: true
            }
        );
        assert!(answer(Map::new()).is_err());
    }
}
