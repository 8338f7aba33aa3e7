//! Attestation: a certificate that says of a slot's key that it was made here, on this key, under these policies.
//!
//! Developers' page "PIV attestation" of Yubico: the slot's certificate is signed by the key in slot F9, whose certificate is data
//! object 5FFF01 and is signed by the maker's root. Root and F9 key of an emulated key are its own.

use std::{str::FromStr, time::Duration};

use p256::{
    ecdsa::{DerSignature, SigningKey},
    elliptic_curve::Generate,
};
use x509_cert::{
    SubjectPublicKeyInfo, TbsCertificate,
    builder::{self, Builder, CertificateBuilder, profile::BuilderProfile},
    der::{Encode, EncodePem, asn1::OctetString, pem::LineEnding},
    ext::{
        Extension, ToExtension,
        pkix::{BasicConstraints, KeyUsage, KeyUsages},
    },
    name::Name,
    serial_number::SerialNumber,
    spki::{self, AlgorithmIdentifier, ObjectIdentifier, SubjectPublicKeyInfoRef},
    time::Validity,
};

use super::memory::SlotKey;

const FIRMWARE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.3");
const SERIAL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.7");
const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.8");
const FORM_FACTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.9");

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// USB-A keychain (Yubico's list of form factors).
pub(super) const KEYCHAIN: u8 = 1;
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The key in slot F9, and whom it descends from.
pub(super) struct Attestor {
    key: SigningKey,
    subject: Name,
    /// The certificate of slot F9, in DER.
    pub(super) certificate: Vec<u8>,
    /// The root's, in PEM.
    pub(super) root: String,
}

impl Attestor {
    /// A new root, and a key under it for a card with this firmware.
    pub(super) fn new(version: [u8; 3]) -> builder::Result<Self> {
        let root_key = SigningKey::generate();
        let root_name = Name::from_str("CN=Emulated PIV Root CA")?;
        let authority = |path| {
            extension(&BasicConstraints {
                ca: true,
                path_len_constraint: Some(path),
            })
        };
        let usage = || extension(&KeyUsage(KeyUsages::KeyCertSign.into()));
        let root = Unsigned {
            issuer: root_name.clone(),
            subject: root_name.clone(),
            extensions: vec![authority(1)?, usage()?],
        };
        let root = root.signed(1, SubjectPublicKeyInfo::from_key(root_key.verifying_key())?, &root_key)?;

        let key = SigningKey::generate();
        let subject = Name::from_str("CN=Yubico PIV Attestation")?;
        let own = Unsigned {
            issuer: root_name,
            subject: subject.clone(),
            extensions: vec![authority(0)?, usage()?, raw(FIRMWARE, &version)?],
        };
        let own = own.signed(2, SubjectPublicKeyInfo::from_key(key.verifying_key())?, &root_key)?;
        Ok(Self {
            key,
            subject,
            certificate: own.to_der()?,
            root: root.to_pem(LineEnding::LF)?,
        })
    }

    /// The certificate of a slot's key, in DER.
    pub(super) fn attest(&self, slot: u8, key: &SlotKey, version: [u8; 3], serial: u32) -> builder::Result<Vec<u8>> {
        let certificate = Unsigned {
            issuer: self.subject.clone(),
            subject: Name::from_str(&format!("CN=YubiKey PIV Attestation {slot:02x}"))?,
            extensions: vec![
                raw(FIRMWARE, &version)?,
                raw(SERIAL, &serial.to_der()?)?,
                raw(POLICIES, &[key.pin_policy as u8, key.touch_policy as u8])?,
                raw(FORM_FACTOR, &[KEYCHAIN])?,
            ],
        };
        let certificate = certificate.signed(u32::from(slot), public_key(key)?, &self.key)?;
        Ok(certificate.to_der()?)
    }
}

fn public_key(key: &SlotKey) -> spki::Result<SubjectPublicKeyInfo> {
    let curve = if key.is_p256() { P256 } else { P384 };
    Ok(SubjectPublicKeyInfo {
        algorithm: AlgorithmIdentifier {
            oid: EC_PUBLIC_KEY,
            parameters: Some(curve.into()),
        },
        subject_public_key: spki::der::asn1::BitString::from_bytes(&key.point)?,
    })
}

fn extension<E>(of: E) -> Result<Extension, E::Error>
where
    E: ToExtension,
{
    of.to_extension(&Name::default(), &[])
}

/// Yubico's extensions hold their bytes as they are, most of them not in DER.
fn raw(oid: ObjectIdentifier, bytes: &[u8]) -> spki::Result<Extension> {
    Ok(Extension {
        extn_id: oid,
        critical: false,
        extn_value: OctetString::new(bytes)?,
    })
}

struct Unsigned {
    issuer: Name,
    subject: Name,
    extensions: Vec<Extension>,
}

impl Unsigned {
    fn signed(self, serial: u32, key: SubjectPublicKeyInfo, signer: &SigningKey) -> builder::Result<x509_cert::Certificate> {
        let serial = SerialNumber::from(serial);
        let builder = CertificateBuilder::new(self, serial, Validity::from_now(CENTURY)?, key)?;
        builder.build::<_, DerSignature>(signer)
    }
}

impl BuilderProfile for Unsigned {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}
