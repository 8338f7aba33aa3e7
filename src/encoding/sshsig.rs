//! SSHSIG (OpenSSH `PROTOCOL.sshsig`) with WebAuthn signatures (OpenSSH `PROTOCOL.u2f`): the form of every receipt.
//!
//! One assertion signs `authenticatorData || SHA-256(clientDataJSON)`, and the clientDataJSON carries the SSHSIG signed blob as its
//! challenge. Stock `ssh-keygen -Y verify` accepts the result as `webauthn-sk-ecdsa-sha2-nistp256@openssh.com`.

pub mod ecdsa;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use sha2::{Digest as _, Sha256, Sha512};
use ssh_encoding::{Decode, Encode, Reader};
use thiserror::Error;

use super::Digest;
pub use super::es256::Point;
use super::es256::{self, Es256Error, Signature};

/// Relying party of every credential: no web site can claim it, an origin has no colon without a port.
pub const RP_ID: &str = "touchlease:lease";
/// Origin in every clientDataJSON.
pub const ORIGIN: &str = "touchlease";

const MAGIC: &[u8; 6] = b"SSHSIG";
const VERSION: u32 = 1;
const HASH: &str = "sha512";
const KEY_TYPE: &str = "sk-ecdsa-sha2-nistp256@openssh.com";
const CURVE: &str = "nistp256";
const SIGNATURE_TYPE: &str = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// User present, in the flags of authenticator data (WebAuthn Level 2, 6.1).
pub const FLAG_UP: u8 = 0x01;
/// User verified.
pub const FLAG_UV: u8 = 0x04;
/// Attested credential data included; OpenSSH refuses it in a signature.
pub const FLAG_AT: u8 = 0x40;
/// Extension data included.
pub const FLAG_ED: u8 = 0x80;

/// What a signature is for; nothing signed in one namespace verifies in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// A lease.
    Lease,
    /// A change to a vault's contents.
    Change,
    /// A statement of a vault's roster.
    Vault,
    /// Enrolment of a key: its first use, before any roster names it.
    Enrol,
}

impl Namespace {
    /// As it stands in the signature.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "touchlease-lease",
            Self::Change => "touchlease-change",
            Self::Vault => "touchlease-vault",
            Self::Enrol => "touchlease-enrol",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        [Self::Lease, Self::Change, Self::Vault, Self::Enrol]
            .into_iter()
            .find(|n| n.as_str() == text)
    }
}

/// Why a signature is not one of ours over this text by this key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SshsigError {
    /// Not armored SSHSIG, cut, or with bytes left over.
    #[error("not a well-formed SSHSIG")]
    Form,
    /// Another key type, signature type, hash or curve.
    #[error("not a {SIGNATURE_TYPE} signature with {HASH}")]
    Algorithm,
    /// Made for something else.
    #[error("signed in another namespace")]
    Namespace,
    /// Made by another key, or the key's point is not on the curve.
    #[error("signed by another key")]
    Key,
    /// The text differs from the signed one, or clientDataJSON is not exactly ours.
    #[error("signed over another text")]
    Text,
    /// Another relying party or origin.
    #[error("signed for another relying party or origin")]
    Party,
    /// The extension flag and the extension bytes disagree, or attested data is claimed.
    #[error("flags do not fit the data")]
    Flags,
    /// The ECDSA signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// UP is not set: stock `ssh-keygen` calls it good all the same.
    #[error("no touch: user presence is not set in the signed data")]
    NotTouched,
    /// UV is not set though the key's profile asks for it.
    #[error("no PIN: user verification is not set in the signed data")]
    NotVerified,
}

/// A WebAuthn assertion by an enrolled credential, as it goes into an SSHSIG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// Flags of the signed authenticator data.
    pub flags: u8,
    /// Signature counter.
    pub counter: u32,
    /// Extension bytes of the authenticator data (CBOR map), empty when flag 0x80 is clear.
    pub extensions: Vec<u8>,
    /// r and s, 32 bytes each, big-endian.
    pub signature: Signature,
}

/// The bytes of which a signature is made: magic, namespace, reserved, hash name, SHA-512 of `text` (PROTOCOL.sshsig, "Signed Data").
#[must_use]
pub fn signed_blob(namespace: Namespace, text: &[u8]) -> Vec<u8> {
    let mut blob = MAGIC.to_vec();
    for field in [namespace.as_str().as_bytes(), b"", HASH.as_bytes(), &Sha512::digest(text)] {
        put(&mut blob, field);
    }
    blob
}

/// The exact clientDataJSON of an assertion over `text`.
#[must_use]
pub fn client_data(namespace: Namespace, text: &[u8]) -> Vec<u8> {
    let challenge = BASE64URL_NOPAD.encode(&signed_blob(namespace, text));
    format!("{{\"type\":\"webauthn.get\",\"challenge\":\"{challenge}\",\"origin\":\"{ORIGIN}\"}}").into_bytes()
}

/// clientDataHash (32 bytes) of an assertion over `text`.
#[must_use]
pub fn client_data_hash(namespace: Namespace, text: &[u8]) -> Digest {
    Digest::of(&client_data(namespace, text))
}

impl Assertion {
    /// authenticatorData as the key signed it: SHA-256 of the relying party id, flags, counter, extensions.
    #[must_use]
    pub fn auth_data(&self) -> Vec<u8> {
        let mut data = Sha256::digest(RP_ID).to_vec();
        data.push(self.flags);
        data.extend(self.counter.to_be_bytes());
        data.extend(&self.extensions);
        data
    }

    /// Checks that `key` made this assertion over `text`, with a touch, and with its PIN where `uv` asks for it.
    ///
    /// # Errors
    /// The first thing found wrong; see [`SshsigError`].
    pub fn verify(&self, key: &Point, namespace: Namespace, text: &[u8], uv: bool) -> Result<(), SshsigError> {
        self.check_flags()?;
        let signed = [&self.auth_data()[..], &client_data_hash(namespace, text).0].concat();
        es256::verify(key, &signed, &self.signature).map_err(|error| match error {
            Es256Error::Key => SshsigError::Key,
            Es256Error::Signature => SshsigError::Signature,
        })?;
        // Only now do the flags mean anything: the key signed them.
        if self.flags & FLAG_UP == 0 {
            return Err(SshsigError::NotTouched);
        }
        if uv && self.flags & FLAG_UV == 0 {
            return Err(SshsigError::NotVerified);
        }
        Ok(())
    }

    fn check_flags(&self) -> Result<(), SshsigError> {
        let extended = self.flags & FLAG_ED != 0;
        if self.flags & FLAG_AT != 0 || extended == self.extensions.is_empty() {
            Err(SshsigError::Flags)
        } else {
            Ok(())
        }
    }

    /// The armored SSHSIG of this assertion by `key` over `text`.
    #[must_use]
    pub fn to_sshsig(&self, key: &Point, namespace: Namespace, text: &[u8]) -> String {
        let mut body = MAGIC.to_vec();
        body.extend(VERSION.to_be_bytes());
        for field in [
            &key_blob(key)[..],
            namespace.as_str().as_bytes(),
            b"",
            HASH.as_bytes(),
            &self.blob(&client_data(namespace, text)),
        ] {
            put(&mut body, field);
        }
        armor(&body)
    }

    /// PROTOCOL.u2f, "webauthn signature": r and s as mpints, flags, counter, origin, clientData, extensions.
    fn blob(&self, client_data: &[u8]) -> Vec<u8> {
        let mut scalars = Vec::new();
        put(&mut scalars, &mpint(&self.signature[..32]));
        put(&mut scalars, &mpint(&self.signature[32..]));
        let mut blob = Vec::new();
        put(&mut blob, SIGNATURE_TYPE.as_bytes());
        put(&mut blob, &scalars);
        blob.push(self.flags);
        blob.extend(self.counter.to_be_bytes());
        for field in [ORIGIN.as_bytes(), client_data, &self.extensions] {
            put(&mut blob, field);
        }
        blob
    }

    /// Reads an armored SSHSIG and checks everything that stock `ssh-keygen -Y verify` leaves unchecked: origin, relying party,
    /// hash, the exact clientDataJSON, flags. Call [`Assertion::verify`] for signature and touch.
    ///
    /// # Errors
    /// The first thing found wrong; see [`SshsigError`].
    pub fn from_sshsig(armored: &str, namespace: Namespace, text: &[u8]) -> Result<(Point, Self), SshsigError> {
        let body = dearmor(armored)?;
        let mut rest = body.strip_prefix(MAGIC).ok_or(SshsigError::Form)?;
        let reader = &mut rest;
        if u32::decode(reader).map_err(|_| SshsigError::Form)? != VERSION {
            return Err(SshsigError::Form);
        }
        let key = parse_key_blob(&take(reader)?)?;
        if Namespace::from_text(&take_text(reader)?) != Some(namespace) {
            return Err(SshsigError::Namespace);
        }
        if !take(reader)?.is_empty() {
            return Err(SshsigError::Form);
        }
        if take_text(reader)? != HASH {
            return Err(SshsigError::Algorithm);
        }
        let assertion = Self::parse_blob(&take(reader)?, &client_data(namespace, text))?;
        // Strict by writing it again: one signature has one armor.
        if reader.is_finished() && assertion.to_sshsig(&key, namespace, text) == armored {
            Ok((key, assertion))
        } else {
            Err(SshsigError::Form)
        }
    }

    fn parse_blob(mut blob: &[u8], client_data: &[u8]) -> Result<Self, SshsigError> {
        let reader = &mut blob;
        if take_text(reader)? != SIGNATURE_TYPE {
            return Err(SshsigError::Algorithm);
        }
        let signature = parse_scalars(&take(reader)?)?;
        let flags = u8::decode(reader).map_err(|_| SshsigError::Form)?;
        let counter = u32::decode(reader).map_err(|_| SshsigError::Form)?;
        if take_text(reader)? != ORIGIN {
            return Err(SshsigError::Party);
        }
        if take(reader)? != client_data {
            return Err(SshsigError::Text);
        }
        let assertion = Self {
            flags,
            counter,
            extensions: take(reader)?,
            signature,
        };
        if !reader.is_finished() {
            return Err(SshsigError::Form);
        }
        assertion.check_flags()?;
        Ok(assertion)
    }
}

/// The key in the form of `authorized_keys` and `allowed_signers`: type and base64 blob.
#[must_use]
pub fn public_key_line(key: &Point) -> String {
    format!("{KEY_TYPE} {}", BASE64.encode(&key_blob(key)))
}

fn key_blob(key: &Point) -> Vec<u8> {
    let mut blob = Vec::new();
    for field in [KEY_TYPE.as_bytes(), CURVE.as_bytes(), key, RP_ID.as_bytes()] {
        put(&mut blob, field);
    }
    blob
}

fn parse_key_blob(mut blob: &[u8]) -> Result<Point, SshsigError> {
    let reader = &mut blob;
    if take_text(reader)? != KEY_TYPE || take_text(reader)? != CURVE {
        return Err(SshsigError::Algorithm);
    }
    let point = take(reader)?.try_into().map_err(|_| SshsigError::Key)?;
    if take_text(reader)? != RP_ID {
        return Err(SshsigError::Party);
    }
    if reader.is_finished() { Ok(point) } else { Err(SshsigError::Form) }
}

fn parse_scalars(mut blob: &[u8]) -> Result<[u8; 64], SshsigError> {
    let mut signature = [0; 64];
    for half in signature.chunks_exact_mut(32) {
        let number = take(&mut blob)?;
        let digits = number.strip_prefix(&[0]).unwrap_or(&number);
        // mpint: shortest form, so that one signature has one encoding (RFC 4251, 5).
        if digits.len() > 32 || number != mpint(digits) {
            return Err(SshsigError::Form);
        }
        half[32 - digits.len()..].copy_from_slice(digits);
    }
    if blob.is_empty() { Ok(signature) } else { Err(SshsigError::Form) }
}

/// RFC 4251, 5: big-endian, no needless zero in front, one zero where the top bit would mean a minus.
pub(crate) fn mpint(digits: &[u8]) -> Vec<u8> {
    let digits = &digits[digits.iter().take_while(|b| **b == 0).count()..];
    let sign = digits.first().filter(|b| **b & 0x80 != 0).map(|_| 0);
    sign.into_iter().chain(digits.iter().copied()).collect()
}

pub(crate) fn put(out: &mut Vec<u8>, field: &[u8]) {
    // Cannot fail: the writer is a Vec and no field of ours comes near 4 GiB.
    let done = field.encode(out);
    debug_assert!(done.is_ok());
}

pub(crate) fn take(reader: &mut &[u8]) -> Result<Vec<u8>, SshsigError> {
    Vec::<u8>::decode(reader).map_err(|_| SshsigError::Form)
}

fn take_text(reader: &mut &[u8]) -> Result<String, SshsigError> {
    String::from_utf8(take(reader)?).map_err(|_| SshsigError::Form)
}

fn armor(body: &[u8]) -> String {
    let text = BASE64.encode(body);
    let mut out = format!("{BEGIN}\n");
    for start in (0..text.len()).step_by(70) {
        out.push_str(&text[start..text.len().min(start + 70)]);
        out.push('\n');
    }
    out + END + "\n"
}

fn dearmor(armored: &str) -> Result<Vec<u8>, SshsigError> {
    let inner = armored
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix("\n")?.strip_suffix(END))
        .ok_or(SshsigError::Form)?;
    BASE64.decode(inner.replace('\n', "").as_bytes()).map_err(|_| SshsigError::Form)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use p256::ecdsa::{self, SigningKey, signature::hazmat::PrehashSigner};

    use super::*;

    const LEASE: &[u8] = b"{\"task\":\"deploy\"}";

    fn key() -> (SigningKey, Point) {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let point = key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
        (key, point)
    }

    fn sign(flags: u8, extensions: &[u8]) -> Assertion {
        let mut assertion = Assertion {
            flags,
            counter: 7,
            extensions: extensions.to_vec(),
            signature: [0; 64],
        };
        let mut signed = Sha256::new_with_prefix(assertion.auth_data());
        signed.update(client_data_hash(Namespace::Lease, LEASE).0);
        let signature: ecdsa::Signature = key().0.sign_prehash(&signed.finalize()).unwrap();
        assertion.signature = signature.to_bytes().into();
        assertion
    }

    #[test]
    fn a_receipt_is_read_back_and_verifies() {
        let assertion = sign(FLAG_UP | FLAG_UV | FLAG_ED, &[0xa0]);
        let armored = assertion.to_sshsig(&key().1, Namespace::Lease, LEASE);
        let (point, read) = Assertion::from_sshsig(&armored, Namespace::Lease, LEASE).unwrap();
        assert_eq!((point, &read), (key().1, &assertion));
        assert_eq!(read.verify(&point, Namespace::Lease, LEASE, true), Ok(()));
    }

    #[test]
    fn t02_a_good_signature_without_a_touch_or_a_pin_is_refused() {
        let key = key().1;
        assert_eq!(
            sign(0, &[]).verify(&key, Namespace::Lease, LEASE, false),
            Err(SshsigError::NotTouched)
        );
        assert_eq!(
            sign(FLAG_UV, &[]).verify(&key, Namespace::Lease, LEASE, true),
            Err(SshsigError::NotTouched)
        );
        assert_eq!(
            sign(FLAG_UP, &[]).verify(&key, Namespace::Lease, LEASE, true),
            Err(SshsigError::NotVerified)
        );
        assert_eq!(sign(FLAG_UP, &[]).verify(&key, Namespace::Lease, LEASE, false), Ok(()));
    }

    #[test]
    fn another_text_namespace_or_key_is_refused() {
        let assertion = sign(FLAG_UP, &[]);
        let armored = assertion.to_sshsig(&key().1, Namespace::Lease, LEASE);
        assert_eq!(Assertion::from_sshsig(&armored, Namespace::Lease, b"{}"), Err(SshsigError::Text));
        assert_eq!(
            Assertion::from_sshsig(&armored, Namespace::Vault, LEASE),
            Err(SshsigError::Namespace)
        );
        let other = SigningKey::from_slice(&[8; 32]).unwrap();
        let other = other.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
        assert_eq!(
            assertion.verify(&other, Namespace::Lease, LEASE, false),
            Err(SshsigError::Signature)
        );
    }

    #[test]
    fn flags_that_do_not_fit_the_extension_bytes_are_refused() {
        for (flags, extensions) in [(FLAG_UP | FLAG_ED, &[][..]), (FLAG_UP, &[0xa0][..]), (FLAG_UP | FLAG_AT, &[][..])] {
            assert_eq!(
                sign(flags, extensions).verify(&key().1, Namespace::Lease, LEASE, false),
                Err(SshsigError::Flags)
            );
        }
    }

    #[test]
    fn every_cut_of_a_receipt_is_refused() {
        let armored = sign(FLAG_UP, &[]).to_sshsig(&key().1, Namespace::Lease, LEASE);
        let body = dearmor(&armored).unwrap();
        for len in 0..body.len() {
            assert!(
                Assertion::from_sshsig(&armor(&body[..len]), Namespace::Lease, LEASE).is_err(),
                "{len}"
            );
        }
        let longer = [&body[..], &[0]].concat();
        assert_eq!(
            Assertion::from_sshsig(&armor(&longer), Namespace::Lease, LEASE),
            Err(SshsigError::Form)
        );
    }

    #[test]
    fn one_signature_has_one_armor() {
        let armored = sign(FLAG_UP, &[]).to_sshsig(&key().1, Namespace::Lease, LEASE);
        for other in [
            armored.replace('\n', "\r\n"),
            armored.trim_end().to_owned(),
            format!("{armored}\n"),
            format!(" {armored}"),
            armored.replacen("U1NI", "U1\nNI", 1),
        ] {
            assert_ne!(other, armored);
            assert_eq!(
                Assertion::from_sshsig(&other, Namespace::Lease, LEASE),
                Err(SshsigError::Form),
                "{other}"
            );
        }
    }

    #[test]
    fn stock_ssh_keygen_accepts_a_receipt() {
        let dir = std::env::temp_dir().join(format!("touchlease-sshsig-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let armored = sign(FLAG_UP | FLAG_ED, &[0xa0]).to_sshsig(&key().1, Namespace::Lease, LEASE);
        std::fs::write(dir.join("lease.sig"), armored).unwrap();
        std::fs::write(dir.join("lease"), LEASE).unwrap();
        std::fs::write(dir.join("signers"), format!("blue {}\n", public_key_line(&key().1))).unwrap();
        let verify = std::process::Command::new("ssh-keygen")
            .args([
                "-Y",
                "verify",
                "-n",
                "touchlease-lease",
                "-I",
                "blue",
                "-f",
                "signers",
                "-s",
                "lease.sig",
            ])
            .current_dir(&dir)
            .stdin(std::fs::File::open(dir.join("lease")).unwrap())
            .output()
            .unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
    }
}
