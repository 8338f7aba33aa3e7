//! The certificate of a signer's key that the key signs itself: made with the key, since nobody has its private half later without a touch.

use data_encoding::BASE64URL_NOPAD;
use p256::ecdsa;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
    SigningKey, date_time_ymd,
};

use super::key;
use crate::encoding::es256;
use crate::encoding::jwk::{Algorithm, PublicKey};
use crate::sys::stack::scrubbed;

/// A P-256 key of a signer, as `rcgen` signs with it.
struct Own<'a> {
    private: &'a [u8],
    public: &'a PublicKey,
}

/// The certificate of `public`, whose private half is `private`: base64url of DER. Its name is the key's thumbprint, it has no end of its own
/// (RFC 5280, 4.1.2.5: the key has none), and it says that the key signs no other certificate. `None` for an Ed25519 key, or another private one.
#[must_use]
pub fn certificate(private: &[u8], public: &PublicKey) -> Option<String> {
    if public.algorithm() != Algorithm::Es256 || key::public_of(Algorithm::Es256, private).as_ref() != Some(public) {
        return None;
    }
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, public.thumbprint());
    params.distinguished_name = name;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&Own { private, public }).ok()?;
    Some(BASE64URL_NOPAD.encode(certificate.der()))
}

impl PublicKeyData for Own<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Own<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let failed = rcgen::Error::RemoteKeyError;
        // By the nonce of RFC 6979: the certificate of a key is the same whenever it is made.
        let scalar = self.private.try_into().map_err(|_| failed.clone())?;
        let signature = scrubbed(|| es256::sign(scalar, message)).ok_or(failed.clone())?;
        let signature = ecdsa::Signature::from_slice(&signature).map_err(|_| failed)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::encoding::self_signed::check;

    #[test]
    fn t59_a_certificate_is_of_the_key_that_signed_it_and_of_no_other_and_every_changed_byte_is_refused() {
        let public = key::public_of(Algorithm::Es256, &[7; 32]).unwrap();
        let text = certificate(&[7; 32], &public).unwrap();
        let der = check(&text, &public).unwrap();
        assert_eq!(certificate(&[7; 32], &public).unwrap(), text, "the same each time");
        let other = key::public_of(Algorithm::Es256, &[8; 32]).unwrap();
        assert_eq!(check(&text, &other), None);
        assert_eq!(certificate(&[8; 32], &public), None);
        let mut refused = 0;
        for at in 0..der.len() {
            let mut changed = der.clone();
            changed[at] ^= 1;
            refused += usize::from(check(&BASE64URL_NOPAD.encode(&changed), &public).is_none());
        }
        assert_eq!(refused, der.len());
        assert_eq!(check(&BASE64URL_NOPAD.encode(&der[..der.len() - 1]), &public), None);
        assert_eq!(check(&BASE64URL_NOPAD.encode(&[der.as_slice(), &[0]].concat()), &public), None);
        let ed25519 = key::public_of(Algorithm::EdDsa, &[7; 32]).unwrap();
        assert_eq!((certificate(&[7; 32], &ed25519), check(&text, &ed25519)), (None, None));
    }
}
