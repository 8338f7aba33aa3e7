//! Tokens: JSON Web Tokens in the compact form of JWS (RFC 7519; RFC 7515, 7.1), signed by a signer.
//!
//! There are two ways to one: [`Minter::of`] takes the [`Material`] of a lease, which only a touch makes, and a signer in hardware signs itself, by a
//! touch, what [`unsigned`] gives.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::Serialize;
use thiserror::Error;
use zeroize::Zeroizing;

use super::ssh_cert::CertificateError;
use crate::encoding::access::Access;
use crate::encoding::jwk::{Algorithm, Profile, PublicKey};
use crate::encoding::{Digest, SecretRef, self_signed};
use crate::secret::{LoadError, SigningKey};
use crate::vault::signer::{ACCESS, is_ours};
use crate::vault::{LONGEST_TOKEN, Material};

/// Why there is no token.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MintError {
    /// The lease has no such signer.
    #[error("the lease holds no key of this signer")]
    NoKey,
    /// The record's private key is not that of the public key that was shown: somebody who had the scope's key wrote it.
    #[error("the signer's private key is not the one of the public key that was shown")]
    OtherKey,
    /// It would never be valid, live too long, or begin after its end.
    #[error("the token's times contradict each other")]
    Times,
    /// Empty audience, subject or issuer, or a claim that every token has.
    #[error("the token's claims contradict each other")]
    Claims,
    /// A certificate that sshd would take for another one.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The kernel locks no memory for the key.
    #[error("there is no locked memory for the signer's key")]
    Memory,
    /// The library refuses to sign, or to write JSON; the system has no randomness for a signature.
    #[error("it cannot be signed")]
    Signing,
}

impl From<LoadError> for MintError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::OtherKey => Self::OtherKey,
            LoadError::Memory => Self::Memory,
            LoadError::Library => Self::Signing,
        }
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// What it lets do at a registry; none for a token without that claim.
    pub access: BTreeSet<Access>,
    /// Who issues it.
    pub iss: String,
    /// Whom it speaks of.
    pub sub: String,
    /// For whom it is: one.
    pub aud: String,
    /// Its id, in no other token.
    pub jti: String,
    /// When it is signed, and from when on it is good: seconds since 1970.
    pub iat: u64,
    /// When it ends: seconds since 1970.
    pub exp: u64,
    /// The task of the lease.
    pub task: Option<String>,
    /// SHA-256 of the lease's bytes: the receipt in the log names the same.
    pub lease: Digest,
    /// What else was asked for, shown and approved.
    pub more: BTreeMap<String, String>,
}

/// Signs with one signer of one lease, for as long as the lease is looked at.
pub struct Minter<'a> {
    key: &'a SigningKey,
}

/// By what the header names the key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'a> {
    /// In which way.
    pub profile: Profile,
    /// The key's certificate as it stands in the record, for [`Profile::X5c`].
    pub certificate: Option<&'a str>,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: Algorithm,
    kid: &'a str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    x5c: Option<[String; 1]>,
}

#[derive(Serialize)]
struct Payload<'a> {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    access: &'a BTreeSet<Access>,
    aud: &'a str,
    exp: u64,
    iat: u64,
    iss: &'a str,
    jti: &'a str,
    lease_sha256: Digest,
    nbf: u64,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    #[serde(flatten)]
    more: &'a BTreeMap<String, String>,
}

impl<'a> Minter<'a> {
    /// The signer `secret` of a lease, of which `public` was shown.
    ///
    /// # Errors
    /// [`MintError::NoKey`], [`MintError::OtherKey`], [`MintError::Memory`], [`MintError::Signing`].
    pub fn of(material: &'a Material, secret: &SecretRef, public: &PublicKey) -> Result<Self, MintError> {
        let key = material.signing_key(&secret.scope, &secret.name, public).ok_or(MintError::NoKey)?;
        Ok(Self { key: key? })
    }

    /// The same of the `algorithm` and the `text` of the public key (base64url): what one signature after the other is asked by, without reading the key
    /// anew each time.
    ///
    /// # Errors
    /// As [`Minter::of`]; [`MintError::OtherKey`] too for a text that is no public key.
    pub fn of_text(material: &'a Material, secret: &SecretRef, algorithm: Algorithm, text: &str) -> Result<Self, MintError> {
        match material.loaded_key(&secret.scope, &secret.name) {
            Some(key) if key.public().is(algorithm, text) => Ok(Self { key }),
            _ => {
                let public = PublicKey::from_text(algorithm, text).map_err(|_| MintError::OtherKey)?;
                Self::of(material, secret, &public)
            }
        }
    }

    /// The public key that was shown.
    pub(super) fn public(&self) -> &PublicKey {
        self.key.public()
    }

    /// Signs `message`.
    pub(super) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        self.key.sign(message)
    }

    /// One token. Header and claims are ours: nobody names an algorithm, a key id, a second audience or another end.
    ///
    /// # Errors
    /// [`MintError::Times`], [`MintError::Claims`], [`MintError::OtherKey`] (a certificate of another key, or a name that the key has not),
    /// [`MintError::Signing`].
    pub fn token(&self, claims: &Claims, named: Named<'_>) -> Result<Zeroizing<String>, MintError> {
        let unsigned = unsigned(self.public(), claims, named)?;
        let signature = self.sign(unsigned.as_bytes()).ok_or(MintError::Signing)?;
        Ok(with_signature(&unsigned, &Zeroizing::new(signature)))
    }
}

/// Header and claims, as they are signed: the key `public` is to do that.
///
/// # Errors
/// [`MintError::Times`], [`MintError::Claims`], [`MintError::OtherKey`] (a certificate of another key, or a name that the key has not),
/// [`MintError::Signing`].
pub fn unsigned(public: &PublicKey, claims: &Claims, named: Named<'_>) -> Result<String, MintError> {
    claims.check()?;
    let kid = match named.profile {
        Profile::Libtrust => public.libtrust().ok_or(MintError::OtherKey)?,
        Profile::Thumbprint | Profile::X5c => public.thumbprint(),
    };
    let header = Header {
        alg: public.algorithm(),
        kid: &kid,
        typ: "JWT",
        x5c: x5c(public, named)?.map(|der| [BASE64.encode(&der)]),
    };
    let part = |json: Result<Vec<u8>, serde_json::Error>| json.map(|json| BASE64URL_NOPAD.encode(&json));
    let header = part(serde_json::to_vec(&header)).map_err(|_| MintError::Signing)?;
    let payload = part(serde_json::to_vec(&claims.payload())).map_err(|_| MintError::Signing)?;
    Ok(format!("{header}.{payload}"))
}

/// The certificate for the header, which has to be of this very key: whoever reads it takes the key out of it.
fn x5c(public: &PublicKey, named: Named<'_>) -> Result<Option<Vec<u8>>, MintError> {
    if named.profile != Profile::X5c {
        return Ok(None);
    }
    let der = named.certificate.and_then(|text| self_signed::check(text, public));
    der.map(Some).ok_or(MintError::OtherKey)
}

/// The token of what was signed and its signature: wiped where it is dropped, and nowhere else before.
#[must_use]
pub fn with_signature(unsigned: &str, signature: &[u8; 64]) -> Zeroizing<String> {
    let length = unsigned.len() + 1 + BASE64URL_NOPAD.encode_len(signature.len());
    let mut token = Zeroizing::new(String::with_capacity(length));
    token.push_str(unsigned);
    token.push('.');
    BASE64URL_NOPAD.encode_append(signature, &mut token);
    token
}

impl Claims {
    fn check(&self) -> Result<(), MintError> {
        if self.exp <= self.iat || self.exp - self.iat > LONGEST_TOKEN {
            return Err(MintError::Times);
        }
        let empty = [&self.iss, &self.sub, &self.aud, &self.jti].into_iter().any(String::is_empty);
        let twice = !self.access.is_empty() && self.more.keys().any(|name| name.eq_ignore_ascii_case(ACCESS));
        if empty || twice || self.more.keys().any(|name| is_ours(name)) {
            return Err(MintError::Claims);
        }
        Ok(())
    }

    fn payload(&self) -> Payload<'_> {
        Payload {
            access: &self.access,
            aud: &self.aud,
            exp: self.exp,
            iat: self.iat,
            iss: &self.iss,
            jti: &self.jti,
            lease_sha256: self.lease,
            nbf: self.iat,
            sub: &self.sub,
            task: self.task.as_deref(),
            more: &self.more,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use p256::ecdsa::signature::Verifier;
    use serde_json::{Value, json};

    use super::super::key;
    use super::*;
    use crate::encoding::es256;
    use crate::vault::signer::OUR_CLAIMS;

    fn claims() -> Claims {
        Claims {
            access: BTreeSet::new(),
            iss: "https://id.example".into(),
            sub: "deployer".into(),
            aud: "https://registry.example".into(),
            jti: "0f.1".into(),
            iat: 1_800_000_000,
            exp: 1_800_000_300,
            task: Some("deploy".into()),
            lease: Digest([7; 32]),
            more: [("env".to_owned(), "prod".to_owned())].into(),
        }
    }

    /// Of a key that stays until the tests end.
    pub(crate) fn minter(algorithm: Algorithm) -> Minter<'static> {
        let public = key::public_of(algorithm, &[7; 32]).unwrap();
        let key = SigningKey::load(&[7; 32], &public).unwrap();
        Minter {
            key: Box::leak(Box::new(key)),
        }
    }

    fn parts(token: &str) -> (Value, Value, String, Vec<u8>) {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, payload) = signed.split_once('.').unwrap();
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        let json = |text: &str| serde_json::from_slice(&decode(text)).unwrap();
        (json(header), json(payload), signed.to_owned(), decode(signature))
    }

    #[test]
    fn t28_a_token_has_these_members_and_no_others() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let minter = minter(algorithm);
            let (header, payload, _, _) = parts(&minter.token(&claims(), Named::default()).unwrap());
            assert_eq!(
                header,
                json!({ "alg": algorithm.as_str(), "kid": minter.public().thumbprint(), "typ": "JWT" })
            );
            assert_eq!(
                payload,
                json!({
                    "aud": "https://registry.example", "exp": 1_800_000_300, "iat": 1_800_000_000, "nbf": 1_800_000_000,
                    "iss": "https://id.example", "jti": "0f.1", "sub": "deployer", "task": "deploy", "env": "prod",
                    "lease_sha256": "07".repeat(32),
                })
            );
        }
    }

    #[test]
    fn t28_the_header_names_the_key_as_the_profile_says_and_a_certificate_of_another_key_is_refused() {
        use super::super::self_signed::certificate;
        let minter = minter(Algorithm::Es256);
        let own = certificate(&[7; 32], minter.public()).unwrap();
        let header = |profile, certificate| {
            let token = minter.token(&claims(), Named { profile, certificate })?;
            Ok::<_, MintError>(parts(&token).0)
        };
        let libtrust = header(Profile::Libtrust, None).unwrap();
        assert_eq!(
            libtrust,
            json!({ "alg": "ES256", "kid": minter.public().libtrust().unwrap(), "typ": "JWT" })
        );
        let der = BASE64URL_NOPAD.decode(own.as_bytes()).unwrap();
        assert_eq!(
            header(Profile::X5c, Some(&own)).unwrap(),
            json!({ "alg": "ES256", "kid": minter.public().thumbprint(), "typ": "JWT", "x5c": [BASE64.encode(&der)] })
        );
        let other = certificate(&[8; 32], &key::public_of(Algorithm::Es256, &[8; 32]).unwrap()).unwrap();
        for certificate in [None, Some(""), Some(other.as_str())] {
            assert_eq!(header(Profile::X5c, certificate), Err(MintError::OtherKey));
        }
        let ed25519 = super::tests::minter(Algorithm::EdDsa);
        for profile in [Profile::Libtrust, Profile::X5c] {
            let named = Named {
                profile,
                certificate: Some(&own),
            };
            assert_eq!(ed25519.token(&claims(), named), Err(MintError::OtherKey));
        }
    }

    #[test]
    fn t28_what_a_token_lets_do_at_a_registry_is_written_as_registries_read_it_and_once() {
        let access = ["repository:team/app:pull,push", "registry:catalog:*"]
            .map(|text| text.parse().unwrap())
            .into();
        let claims = Claims { access, ..claims() };
        let token = minter(Algorithm::Es256).token(&claims, Named::default()).unwrap();
        assert_eq!(
            parts(&token).1["access"],
            json!([
                { "type": "registry", "name": "catalog", "actions": ["*"] },
                { "type": "repository", "name": "team/app", "actions": ["pull", "push"] },
            ])
        );
        for name in ["access", "Access"] {
            let more = [(name.to_owned(), "x".to_owned())].into();
            let twice = Claims { more, ..claims.clone() };
            let refused = minter(Algorithm::Es256).token(&twice, Named::default());
            assert_eq!(refused, Err(MintError::Claims), "{name}");
        }
    }

    #[test]
    fn a_signature_is_over_what_stands_before_it_and_verifies() {
        let es256 = minter(Algorithm::Es256);
        let (_, _, signed, signature) = parts(&es256.token(&claims(), Named::default()).unwrap());
        let point = es256.public().as_bytes().try_into().unwrap();
        es256::verify(point, signed.as_bytes(), &signature.try_into().unwrap()).unwrap();
        let eddsa = minter(Algorithm::EdDsa);
        let (_, _, signed, signature) = parts(&eddsa.token(&claims(), Named::default()).unwrap());
        let key = ed25519_dalek::VerifyingKey::from_bytes(eddsa.public().as_bytes().try_into().unwrap()).unwrap();
        let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        key.verify(signed.as_bytes(), &signature).unwrap();
        key.verify(&signed.as_bytes()[1..], &signature).unwrap_err();
    }

    #[test]
    fn t28_a_token_without_end_or_for_too_long_cannot_be_made() {
        let minter = minter(Algorithm::Es256);
        for (iat, exp) in [(100, 100), (100, 99), (100, 101 + LONGEST_TOKEN), (0, u64::MAX)] {
            assert_eq!(
                minter.token(&Claims { iat, exp, ..claims() }, Named::default()),
                Err(MintError::Times),
                "{iat} {exp}"
            );
        }
        let exp = claims().iat + LONGEST_TOKEN;
        minter.token(&Claims { exp, ..claims() }, Named::default()).unwrap();
    }

    #[test]
    fn t28_a_claim_that_every_token_has_cannot_be_overridden() {
        for name in OUR_CLAIMS.into_iter().chain(["Sub", "AUD", "Exp"]) {
            let more = [(name.to_owned(), "other".to_owned())].into();
            assert_eq!(
                minter(Algorithm::EdDsa).token(&Claims { more, ..claims() }, Named::default()),
                Err(MintError::Claims),
                "{name}"
            );
        }
        for change in [
            |claims: &mut Claims| claims.aud.clear(),
            |claims: &mut Claims| claims.sub.clear(),
            |claims: &mut Claims| claims.iss.clear(),
            |claims: &mut Claims| claims.jti.clear(),
        ] {
            let mut wrong = claims();
            change(&mut wrong);
            assert_eq!(minter(Algorithm::EdDsa).token(&wrong, Named::default()), Err(MintError::Claims));
        }
    }
}
