//! Public keys of signers as JSON Web Keys (RFC 7517, RFC 7518 section 6.2, RFC 8037), and their names (RFC 7638).

use data_encoding::{BASE32, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Coordinates of a P-256 point, and an Ed25519 public key, in bytes.
const COORDINATE: usize = 32;

/// With which algorithm a signer signs. The names are those of JWS (RFC 7518, 3.1; RFC 8037, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// By what the header of a token names the key that signed it, for one audience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// `kid`: the RFC 7638 thumbprint.
    #[default]
    Thumbprint,
    /// `kid`: the fingerprint of libtrust, which registries of distribution 2 look for.
    Libtrust,
    /// `x5c`: the key's certificate (RFC 7515, 4.1.6), and the thumbprint as `kid`.
    X5c,
}

/// What stands before a point of P-256 in a SubjectPublicKeyInfo (RFC 5480, 2; RFC 5280, 4.1).
const P_256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];
/// Bytes of a digest in libtrust's fingerprint.
const LIBTRUST: usize = 30;

/// Why bytes are no public key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum JwkError {
    /// Not base64url without padding of the one length.
    #[error("a public key is base64url: 65 bytes for ES256, 32 for EdDSA")]
    Form,
    /// Not on the curve, or of small order: anybody could sign for it.
    #[error("not a point of the curve that a private key could have")]
    Point,
}

/// A signer's public key, known to be a point of its curve.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// ES256: an uncompressed SEC 1 point, 65 bytes. EdDSA: 32 bytes (RFC 8032, 5.1.5).
    bytes: Vec<u8>,
}

/// The members that name a key, in the order in which RFC 7638 section 3.3 hashes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    /// The curve.
    pub crv: &'static str,
    /// The kind of key.
    pub kty: &'static str,
    /// First coordinate, or the whole Ed25519 key; base64url.
    pub x: String,
    /// Second coordinate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
}

impl Algorithm {
    /// As `alg` has it in a token's header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl PublicKey {
    /// Checks that `bytes` are a public key.
    ///
    /// # Errors
    /// See [`JwkError`].
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, JwkError> {
        match algorithm {
            Algorithm::Es256 => {
                if bytes.len() != 1 + 2 * COORDINATE || bytes.first() != Some(&4) {
                    return Err(JwkError::Form);
                }
                p256::PublicKey::from_sec1_bytes(bytes).map_err(|_| JwkError::Point)?;
            }
            Algorithm::EdDsa => {
                let key: &[u8; COORDINATE] = bytes.try_into().map_err(|_| JwkError::Form)?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(|_| JwkError::Point)?;
                if key.is_weak() {
                    return Err(JwkError::Point);
                }
            }
        }
        Ok(Self {
            algorithm,
            bytes: bytes.to_vec(),
        })
    }

    /// The same from its text.
    ///
    /// # Errors
    /// See [`JwkError`].
    pub fn from_text(algorithm: Algorithm, text: &str) -> Result<Self, JwkError> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| JwkError::Form)?;
        Self::from_bytes(algorithm, &bytes)
    }

    /// Base64url without padding, as it stands in a record.
    #[must_use]
    pub fn to_text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.bytes)
    }

    /// Whether this is its text.
    #[must_use]
    pub fn is(&self, algorithm: Algorithm, text: &str) -> bool {
        self.algorithm == algorithm && self.to_text() == text
    }

    /// With which algorithm its signatures are checked.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The members of its JSON Web Key.
    #[must_use]
    pub fn jwk(&self) -> Jwk {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match self.algorithm {
            Algorithm::Es256 => {
                let (x, y) = self.bytes[1..].split_at(COORDINATE);
                Jwk {
                    crv: "P-256",
                    kty: "EC",
                    x: text(x),
                    y: Some(text(y)),
                }
            }
            Algorithm::EdDsa => Jwk {
                crv: "Ed25519",
                kty: "OKP",
                x: text(&self.bytes),
                y: None,
            },
        }
    }

    /// Its name in a token's header: the RFC 7638 thumbprint, SHA-256, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        // Members are declared in the order of their names, and none needs escaping: this is the one form of section 3.3.
        let members = serde_json::to_vec(&self.jwk()).unwrap_or_default();
        BASE64URL_NOPAD.encode(&Sha256::digest(members))
    }

    /// Its SubjectPublicKeyInfo, in DER. `None` for an Ed25519 key.
    #[must_use]
    pub fn info(&self) -> Option<Vec<u8>> {
        (self.algorithm == Algorithm::Es256).then(|| [&P_256_INFO, self.bytes.as_slice()].concat())
    }

    /// Its name as libtrust has it (`KeyID`): 240 bits of the SHA-256 of its SubjectPublicKeyInfo, in base32, four letters at a time. `None` for
    /// an Ed25519 key, which libtrust does not know.
    #[must_use]
    pub fn libtrust(&self) -> Option<String> {
        let digest = Sha256::digest(self.info()?);
        let letters = BASE32.encode(digest.get(..LIBTRUST)?);
        let groups: Option<Vec<&str>> = (0..letters.len()).step_by(4).map(|at| letters.get(at..at + 4)).collect();
        Some(groups?.join(":"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t59_the_thumbprint_of_the_ed25519_key_of_rfc_8037_appendix_a_3() {
        let key = PublicKey::from_text(Algorithm::EdDsa, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn t59_the_p_256_key_of_rfc_7515_appendix_a_3_has_the_coordinates_that_stand_there() {
        let (x, y) = (
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        );
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        let point = [vec![4], decode(x), decode(y)].concat();
        let key = PublicKey::from_bytes(Algorithm::Es256, &point).unwrap();
        assert_eq!((key.jwk().x.as_str(), key.jwk().y.as_deref()), (x, Some(y)));
        assert_eq!(PublicKey::from_text(Algorithm::Es256, &key.to_text()).unwrap(), key);
    }

    /// Held against docker-registry itself in `hw-tests/with-verifiers`; the value here is openssl's and Python's.
    #[test]
    fn libtrusts_fingerprint_of_the_p_256_key_of_rfc_7515_and_none_of_an_ed25519_key() {
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        let (x, y) = (
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        );
        let key = PublicKey::from_bytes(Algorithm::Es256, &[vec![4], decode(x), decode(y)].concat()).unwrap();
        assert_eq!(
            key.libtrust().unwrap(),
            "FPI3:WDCE:VCL4:GCT2:UCMR:ZXRY:3ADC:7ZCB:3ZIN:UD2G:QJJU:J5QC"
        );
        let key = PublicKey::from_text(Algorithm::EdDsa, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(key.libtrust(), None);
    }

    #[test]
    fn t28_what_is_no_point_of_the_curve_or_of_small_order_is_no_key() {
        let mut off = [4; 65];
        off[64] = 5;
        assert_eq!(PublicKey::from_bytes(Algorithm::Es256, &off), Err(JwkError::Point));
        assert_eq!(PublicKey::from_bytes(Algorithm::Es256, &[4; 33]), Err(JwkError::Form));
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_bytes(Algorithm::EdDsa, &identity), Err(JwkError::Point));
        assert_eq!(PublicKey::from_bytes(Algorithm::EdDsa, &[0; 31]), Err(JwkError::Form));
        assert_eq!(
            PublicKey::from_text(Algorithm::EdDsa, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
            Err(JwkError::Form)
        );
    }
}
