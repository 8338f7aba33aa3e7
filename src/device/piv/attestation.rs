//! Attestation: a card's word for a key that it made, and whether that word comes from a card of a maker that the configuration trusts.
//!
//! A slot's statement is an X.509 certificate over the slot's public key, signed by the key in slot F9; that one's certificate is signed by
//! the maker, through others or not. Yubico's page "PIV Attestation OID Arc" says what stands in a statement, and that its dates are those of
//! F9's certificate: a card has no clock. So dates say nothing of when the key was made, and are not looked at; nor would a clock that is
//! set wrong keep anybody from enrolling. There are no lists of certificates taken back either: Yubico publishes none for these.
//!
//! `rustls-webpki` wants names of servers and dates, neither of which is here; what verifies is what `yubikey` has in the tree already.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::pkcs1v15;
use rsa::traits::PublicKeyParts;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::referenced::OwnedToRef;
use x509_cert::der::{Decode, Reader, SliceReader};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::encoding::sshsig::Point;

/// Longest file of roots; Yubico's, with everything below them, has some 20 kB.
pub const LONGEST_ROOTS: usize = 1 << 20;

// Extensions of a statement, below Yubico's 1.3.6.1.4.1.41482.3; their values stand there as they are, but for the serial number's.
const YUBICO: &str = "1.3.6.1.4.1.41482.3.";
const FIRMWARE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.3");
const SERIAL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.7");
const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.8");
/// PIN always, touch always: the same numbers as those with which a key is made ("Yubico extensions" of PIV).
const ALWAYS: [u8; 2] = [3, 2];

// RFC 5480, 2.1.1; RFC 8017, appendix A.1 and A.2.4; RFC 5758, 3.2.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
/// Bits of an RSA modulus: F9 of firmware before 5.7 has 2048, roots have up to 4096.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=4096;

/// Why a card's word counts for nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AttestationError {
    /// The file has no certificate, or something that is none.
    #[error("the file of roots has no certificate in PEM form, or one that is damaged")]
    Roots,
    /// What the card gives out is no certificate: slot F9 is empty, or another program has put something there.
    #[error("the certificate of {0} is missing or damaged")]
    Form(&'static str),
    /// The card's own certificate is of another maker, or its maker's root is not in the file.
    #[error("the key's own certificate, of \"{0}\", leads to none of the roots that the configuration names")]
    NoRoot(String),
    /// F9's certificate is none that may sign others.
    #[error("the certificate in slot f9 is none that may sign others")]
    NoAuthority,
    /// The statement of a slot is not signed by the key in F9.
    #[error("what the key says of a slot is not signed by its own certificate's key")]
    Signature,
    /// It is signed, and says another thing than the card said before.
    #[error("what is attested of a slot is {0}")]
    Says(&'static str),
}

/// The certificates that the configuration trusts. Each of them counts, root or not (RFC 5280, 6.1.1 (d)): where a maker has others between
/// its root and its cards, these are in the file as well.
#[derive(Debug)]
pub struct Roots(Vec<Parsed>);

/// The certificate in slot F9 of a card, under one of the roots.
#[derive(Debug)]
pub struct Authority(Parsed);

/// What a slot's statement has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The card's serial number.
    pub serial: u32,
    /// Its firmware.
    pub firmware: [u8; 3],
    /// The key that was made in the slot.
    pub public_key: Point,
}

#[derive(Debug)]
struct Parsed {
    certificate: Certificate,
    /// The part that is signed, in the bytes that came.
    signed: Vec<u8>,
}

impl Roots {
    /// Reads the certificates of a file in PEM form (RFC 7468); what stands between them is left out.
    ///
    /// # Errors
    /// [`AttestationError::Roots`].
    pub fn from_pem(text: &[u8]) -> Result<Self, AttestationError> {
        let text = str::from_utf8(text).map_err(|_| AttestationError::Roots)?;
        let mut roots = Vec::new();
        for piece in text.split("-----BEGIN CERTIFICATE-----").skip(1) {
            let (body, _) = piece.split_once("-----END CERTIFICATE-----").ok_or(AttestationError::Roots)?;
            let body: String = body.split_ascii_whitespace().collect();
            let der = data_encoding::BASE64.decode(body.as_bytes()).ok();
            let parsed = der.and_then(|der| Parsed::new(&der)).filter(Parsed::may_sign);
            roots.push(parsed.ok_or(AttestationError::Roots)?);
        }
        match roots.is_empty() {
            true => Err(AttestationError::Roots),
            false => Ok(Self(roots)),
        }
    }

    /// The certificate of slot F9, if one of these signed it.
    ///
    /// # Errors
    /// [`AttestationError::Form`], [`AttestationError::NoAuthority`], [`AttestationError::NoRoot`].
    pub fn authority(&self, f9: &[u8]) -> Result<Authority, AttestationError> {
        let own = Parsed::new(f9).ok_or(AttestationError::Form("slot f9"))?;
        if !own.may_sign() {
            return Err(AttestationError::NoAuthority);
        }
        match self.0.iter().any(|root| root.signed(&own) || root.certificate == own.certificate) {
            true => Ok(Authority(own)),
            false => Err(AttestationError::NoRoot(own.certificate.tbs_certificate().issuer().to_string())),
        }
    }
}

impl Authority {
    /// Whether the statement of a slot is this card's, and says that its key was made there and wants PIN and touch for each use.
    ///
    /// # Errors
    /// [`AttestationError::Form`], [`AttestationError::Signature`], [`AttestationError::Says`].
    pub fn attests(&self, statement: &[u8], claim: &Claim) -> Result<(), AttestationError> {
        use AttestationError::{Form, Says, Signature};
        let said = Parsed::new(statement).ok_or(Form("a slot"))?;
        if !self.0.signed(&said) {
            return Err(Signature);
        }
        let key = said.certificate.tbs_certificate().subject_public_key_info().owned_to_ref();
        let is_p256 = key.algorithm.oid == EC_PUBLIC_KEY && key.algorithm.parameters_oid() == Ok(P256);
        if !is_p256 || key.subject_public_key.raw_bytes() != claim.public_key {
            return Err(Says("another key than the one that was made there"));
        }
        if said.value(POLICIES) != Some(&ALWAYS) {
            return Err(Says("that it does not want PIN and touch for each use"));
        }
        let serial = said.value(SERIAL).and_then(|der| u32::from_der(der).ok());
        if serial != Some(claim.serial) {
            return Err(Says("another serial number than the key has"));
        }
        if said.value(FIRMWARE) != Some(&claim.firmware) {
            return Err(Says("another firmware than the key has"));
        }
        Ok(())
    }
}

impl Parsed {
    fn new(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let inner = AnyRef::from_der(der).ok()?;
        let signed = SliceReader::new(inner.value()).ok()?.tlv_bytes().ok()?.to_vec();
        // RFC 5280, 4.1.1.2 and 4.2: both names of the algorithm are one, and what is critical and not understood counts for nothing.
        let one = certificate.signature_algorithm() == certificate.tbs_certificate().signature();
        let parsed = Self { certificate, signed };
        let understood = parsed
            .extensions()
            .iter()
            .all(|extension| !extension.critical || is_understood(extension));
        (one && understood).then_some(parsed)
    }

    fn extensions(&self) -> &[Extension] {
        self.certificate.tbs_certificate().extensions().map_or(&[], Vec::as_slice)
    }

    /// The value of an extension that stands there once.
    fn value(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let mut of = self.extensions().iter().filter(|extension| extension.extn_id == oid);
        match (of.next(), of.next()) {
            (Some(extension), None) => Some(extension.extn_value.as_bytes()),
            _ => None,
        }
    }

    /// Whether it says so itself (RFC 5280, 4.2.1.9 and 4.2.1.3). Keys before firmware 5 do not, and have no use here.
    fn may_sign(&self) -> bool {
        let constraints = self.value(BasicConstraints::OID).map(BasicConstraints::from_der);
        let is_authority = matches!(constraints, Some(Ok(BasicConstraints { ca: true, .. })));
        let usage = self.value(KeyUsage::OID).map(KeyUsage::from_der);
        is_authority && usage.is_none_or(|usage| usage.is_ok_and(|usage| usage.key_cert_sign()))
    }

    /// Whether this one's key signed `other`, in this one's name.
    fn signed(&self, other: &Self) -> bool {
        let (own, theirs) = (self.certificate.tbs_certificate(), other.certificate.tbs_certificate());
        let key = own.subject_public_key_info().owned_to_ref();
        let signature = other.certificate.signature().as_bytes();
        match signature {
            Some(signature) if own.subject() == theirs.issuer() => {
                verifies(&key, other.certificate.signature_algorithm().oid, &other.signed, signature)
            }
            _ => false,
        }
    }
}

fn is_understood(extension: &Extension) -> bool {
    [BasicConstraints::OID, KeyUsage::OID].contains(&extension.extn_id) || extension.extn_id.to_string().starts_with(YUBICO)
}

fn verifies(key: &SubjectPublicKeyInfoRef<'_>, algorithm: ObjectIdentifier, signed: &[u8], signature: &[u8]) -> bool {
    let digest = match algorithm {
        RSA_SHA256 | ECDSA_SHA256 => Sha256::digest(signed).to_vec(),
        RSA_SHA384 | ECDSA_SHA384 => Sha384::digest(signed).to_vec(),
        RSA_SHA512 | ECDSA_SHA512 => Sha512::digest(signed).to_vec(),
        _ => return false,
    };
    let is_rsa = [RSA_SHA256, RSA_SHA384, RSA_SHA512].contains(&algorithm);
    let Some(bytes) = key.subject_public_key.as_bytes() else {
        return false;
    };
    match (key.algorithm.oid, key.algorithm.parameters_oid().ok(), is_rsa) {
        (EC_PUBLIC_KEY, Some(P256), false) => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes);
            let signature = p256::ecdsa::DerSignature::try_from(signature);
            key.is_ok_and(|key| signature.is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()))
        }
        (EC_PUBLIC_KEY, Some(P384), false) => {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(bytes);
            let signature = p384::ecdsa::DerSignature::try_from(signature);
            key.is_ok_and(|key| signature.is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()))
        }
        (RSA, _, true) => by_rsa(key, algorithm, &digest, signature),
        _ => false,
    }
}

fn by_rsa(key: &SubjectPublicKeyInfoRef<'_>, algorithm: ObjectIdentifier, digest: &[u8], signature: &[u8]) -> bool {
    let key = rsa::RsaPublicKey::try_from(key.clone()).ok();
    let key = key.filter(|key| RSA_BITS.contains(&key.n().bit_width()));
    let (Some(key), Ok(signature)) = (key, pkcs1v15::Signature::try_from(signature)) else {
        return false;
    };
    let verified = match algorithm {
        RSA_SHA256 => pkcs1v15::VerifyingKey::<Sha256>::new(key).verify_prehash(digest, &signature),
        RSA_SHA384 => pkcs1v15::VerifyingKey::<Sha384>::new(key).verify_prehash(digest, &signature),
        _ => pkcs1v15::VerifyingKey::<Sha512>::new(key).verify_prehash(digest, &signature),
    };
    verified.is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::path::Path;

    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/hw-tests/vectors/attestation");
    const SERIAL: u32 = 24_117_248;

    /// What `make` there had OpenSSL make.
    fn pem(name: &str) -> Vec<u8> {
        fs::read(Path::new(FOLDER).join(format!("{name}.pem"))).unwrap()
    }

    fn roots(names: &[&str]) -> Roots {
        Roots::from_pem(&names.iter().flat_map(|name| pem(name)).collect::<Vec<_>>()).unwrap()
    }

    fn der(name: &str) -> Vec<u8> {
        let text = String::from_utf8(pem(name)).unwrap();
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        data_encoding::BASE64.decode(body.as_bytes()).unwrap()
    }

    fn claim(name: &str) -> Claim {
        let slot = Parsed::new(&der(name)).unwrap();
        let key = slot.certificate.tbs_certificate().subject_public_key_info();
        Claim {
            serial: SERIAL,
            firmware: [5, 7, 1],
            public_key: key.subject_public_key.raw_bytes().try_into().unwrap(),
        }
    }

    #[test]
    fn chains_of_rsa_and_of_p_384_that_openssl_made_lead_to_their_roots() {
        for (trusted, f9, slot) in [
            (&["rsa-root"][..], "rsa-f9", "rsa-slot"),
            (&["ec-between"], "ec-f9", "ec-slot"),
            (&["rsa-root", "ec-root", "ec-between"], "ec-f9", "ec-slot"),
            (&["ec-f9"], "ec-f9", "ec-slot"),
        ] {
            let authority = roots(trusted).authority(&der(f9)).unwrap();
            assert_eq!(authority.attests(&der(slot), &claim(slot)), Ok(()), "{f9}");
        }
    }

    #[test]
    fn t58_a_card_of_another_maker_or_one_that_took_the_makers_name_leads_to_no_root() {
        let refused = |trusted: &[&str], f9| roots(trusted).authority(&der(f9)).unwrap_err();
        for (trusted, f9) in [("rsa-root", "forged-f9"), ("ec-root", "rsa-f9"), ("ec-root", "ec-f9")] {
            assert!(matches!(refused(&[trusted], f9), AttestationError::NoRoot(_)), "{f9}");
        }
        for f9 in ["rsa-slot", "leaf-f9", "usage-f9"] {
            assert_eq!(refused(&["rsa-root", "rsa-f9"], f9), AttestationError::NoAuthority, "{f9}");
        }
        assert_eq!(roots(&["rsa-root"]).authority(&[]).unwrap_err(), AttestationError::Form("slot f9"));
    }

    #[test]
    fn t58_what_another_card_says_or_nobody_signed_or_a_weak_key_did_attests_nothing() {
        use AttestationError::{Form, Signature};
        for (f9, slot, why) in [
            ("rsa-f9", "forged-slot", Signature),
            ("rsa-f9", "ec-slot", Signature),
            ("rsa-f9", "below-slot", Signature),
            ("rsa-f9", "sha1-slot", Signature),
            ("weak-f9", "weak-slot", Signature),
            ("rsa-f9", "critical", Form("a slot")),
        ] {
            let authority = roots(&["rsa-root"]).authority(&der(f9)).unwrap();
            let claimed = if slot == "critical" { claim("rsa-slot") } else { claim(slot) };
            assert_eq!(authority.attests(&der(slot), &claimed), Err(why), "{slot}");
        }
    }

    #[test]
    fn t58_a_slot_that_is_attested_with_other_policies_another_key_or_number_is_not_the_one_that_was_made() {
        let authority = roots(&["rsa-root"]).authority(&der("rsa-f9")).unwrap();
        let says = |slot: &str, claim: &Claim| match authority.attests(&der(slot), claim) {
            Err(AttestationError::Says(what)) => what,
            other => panic!("{slot}: {other:?}"),
        };
        for slot in ["cached", "untouched", "pin-once", "silent"] {
            assert!(says(slot, &claim(slot)).contains("PIN and touch"), "{slot}");
        }
        assert!(says("other-serial", &claim("other-serial")).contains("serial number"));
        assert!(says("rsa-slot", &claim("cached")).contains("another key"));
        let p384 = Claim {
            public_key: [4; 65],
            ..claim("rsa-slot")
        };
        assert!(says("p384-slot", &p384).contains("another key"));
        let newer = Claim {
            firmware: [5, 7, 2],
            ..claim("rsa-slot")
        };
        assert!(says("rsa-slot", &newer).contains("firmware"));
    }

    #[test]
    fn t58_a_certificate_with_one_bit_changed_attests_nothing() {
        let (trusted, f9, slot) = (roots(&["rsa-root"]), der("rsa-f9"), der("rsa-slot"));
        let claimed = claim("rsa-slot");
        let holds = |f9: &[u8], slot: &[u8]| {
            trusted
                .authority(f9)
                .is_ok_and(|authority| authority.attests(slot, &claimed).is_ok())
        };
        assert!(holds(&f9, &slot));
        for at in 0..slot.len() {
            let mut bad = slot.clone();
            bad[at] ^= 1;
            assert!(!holds(&f9, &bad), "byte {at} of the slot's");
        }
        for at in 0..f9.len() {
            let mut bad = f9.clone();
            bad[at] ^= 1;
            assert!(!holds(&bad, &slot), "byte {at} of f9's");
        }
    }

    #[test]
    fn a_file_of_roots_may_have_words_around_them_and_is_refused_without_one() {
        let text = [
            b"Subject: CN=Test\n".to_vec(),
            pem("rsa-root"),
            b"\n# and\n".to_vec(),
            pem("ec-root"),
        ]
        .concat();
        assert_eq!(Roots::from_pem(&text).unwrap().0.len(), 2);
        let cut = pem("rsa-root")[..400].to_vec();
        for bad in [b"".to_vec(), b"no certificate".to_vec(), cut, pem("rsa-slot"), vec![0xff; 40]] {
            assert_eq!(Roots::from_pem(&bad).unwrap_err(), AttestationError::Roots);
        }
    }
}
