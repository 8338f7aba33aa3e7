//! Certificates of a signer's own keys (RFC 5280), for verifiers that know keys by certificates alone: a key signs its own, and nothing else.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::ObjectIdentifier;

use super::es256;
use super::jwk::{Algorithm, PublicKey};

/// ecdsa-with-SHA256 (RFC 5758, 3.2).
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// Longest certificate: ours have some 400 bytes.
const LONGEST: usize = 1024;

/// Certificates of a signer's keys, each signed by its own key: base64url of DER.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// Of the key that signs.
    pub current: String,
    /// Of the key that signs next.
    pub next: String,
    /// Of the key that signed before, where there was one for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
}

/// The DER of `text` (base64url without padding), if it is a certificate of `key` that `key` itself signed. P-256 alone.
#[must_use]
pub fn check(text: &str, key: &PublicKey) -> Option<Vec<u8>> {
    let der = BASE64URL_NOPAD.decode(text.as_bytes()).ok().filter(|der| der.len() <= LONGEST)?;
    let certificate = Certificate::from_der(&der).ok()?;
    let tbs = certificate.tbs_certificate();
    let one = tbs.subject() == tbs.issuer()
        && certificate.signature_algorithm().oid == ECDSA_SHA256
        && certificate.signature_algorithm() == tbs.signature();
    let of_it = key.algorithm() == Algorithm::Es256 && tbs.subject_public_key_info().to_der().ok()? == key.info()?;
    let signature = es256::from_der(certificate.signature().as_bytes()?)?;
    let signed = es256::verify(key.as_bytes().try_into().ok()?, &tbs.to_der().ok()?, &signature).is_ok();
    (one && of_it && signed).then_some(der)
}

/// In PEM form (RFC 7468).
#[must_use]
pub fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .filter_map(|at| text.get(at..text.len().min(at + 64)))
        .collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
