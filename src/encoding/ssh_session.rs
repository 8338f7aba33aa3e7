//! Which server an SSH session is with: what `session-bind@openssh.com` says of it (PROTOCOL.agent of OpenSSH, section 1), and that it is so.
//!
//! A server signs the exchange hash of the first key exchange of a session with its host key, and that hash is the session's id (RFC 4253, 7.2
//! and 8). So whoever shows all three has proof that this session ends at whoever has that host key.

use p384::ecdsa::signature::Verifier;
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, pkcs1v15};
use sha2::{Sha256, Sha512};
use thiserror::Error;

use super::es256;
use super::ssh_key::SshKey;
use super::sshsig::{SshsigError, mpint, take};

/// Longest session id in bytes: the exchange hashes of SSH have 20 to 64.
const LONGEST_ID: usize = 64;
const SHORTEST_ID: usize = 20;
/// Longest host key, in bytes; one with a certificate has a few hundred more than an RSA key.
const LONGEST_KEY: usize = 16 << 10;
/// Bits of an RSA key: fewer are broken, more cost more time than anybody has (OpenSSH's own ceiling).
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=16_384;

/// Why it is not known where a session ends.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    /// Cut, longer than any, or with bytes left over.
    #[error("what ssh says of its session is not in the form of session-bind@openssh.com")]
    Form,
    /// A type of key that is not known here: P-521, DSA, or a FIDO2 key as a host key.
    #[error("the server's host key is of a type that is not known here: ed25519, ecdsa on P-256 and P-384, and rsa are")]
    Kind,
    /// The signature is by another key or over another session.
    #[error("the server's host key did not sign this session")]
    Signature,
}

/// A session, and the host key that signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSession {
    /// The host key, or its certificate, in its wire form.
    blob: Vec<u8>,
    host: SshKey,
    id: Vec<u8>,
}

impl SshSession {
    /// Checks that the host key `blob` signed the session `id`: the only maker.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn check(blob: &[u8], id: &[u8], signature: &[u8]) -> Result<Self, SessionError> {
        if blob.len() > LONGEST_KEY || !(SHORTEST_ID..=LONGEST_ID).contains(&id.len()) {
            return Err(SessionError::Form);
        }
        // Of a host certificate the certified key counts: whether its CA is trusted ssh has looked at.
        let host = SshKey::from_blob(blob)
            .or_else(|_| SshKey::from_certificate(blob))
            .map_err(|_| SessionError::Kind)?;
        match verify(&host, id, signature)? {
            true => Ok(Self {
                blob: blob.to_vec(),
                host,
                id: id.to_vec(),
            }),
            false => Err(SessionError::Signature),
        }
    }

    /// The host key; of a certificate, the key that it is for.
    #[must_use]
    pub fn host(&self) -> &SshKey {
        &self.host
    }

    /// What ssh calls the host key: itself, or its certificate.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        &self.id
    }
}

/// Whether `key` made `signature`, in SSH's form, over `message`.
#[must_use]
pub fn is_signed(key: &SshKey, message: &[u8], signature: &[u8]) -> bool {
    verify(key, message, signature) == Ok(true)
}

/// Whether `host` made `signature` (RFC 4253, 6.6) over `message`.
fn verify(host: &SshKey, message: &[u8], signature: &[u8]) -> Result<bool, SessionError> {
    let form = |_: SshsigError| SessionError::Form;
    let mut rest = signature;
    let (algorithm, bytes) = (take(&mut rest).map_err(form)?, take(&mut rest).map_err(form)?);
    if !rest.is_empty() {
        return Err(SessionError::Form);
    }
    let mut fields = host.fields();
    let first = take(&mut fields).map_err(form)?;
    Ok(match (host.name(), &algorithm[..]) {
        ("ssh-ed25519", b"ssh-ed25519") => by_ed25519(&first, message, &bytes),
        ("ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256") => {
            let point = take(&mut fields).map_err(form)?;
            let key = point.as_slice().try_into().ok();
            let numbers = scalars::<32>(&bytes).and_then(|raw| raw.try_into().ok());
            key.zip(numbers)
                .is_some_and(|(key, numbers)| es256::verify(key, message, &numbers).is_ok())
        }
        ("ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp384") => {
            let point = take(&mut fields).map_err(form)?;
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&point);
            let numbers = scalars::<48>(&bytes).and_then(|raw| p384::ecdsa::Signature::from_slice(&raw).ok());
            key.is_ok_and(|key| numbers.is_some_and(|numbers| key.verify(message, &numbers).is_ok()))
        }
        ("ssh-rsa", hash @ (b"rsa-sha2-256" | b"rsa-sha2-512")) => {
            let modulus = take(&mut fields).map_err(form)?;
            by_rsa(&first, &modulus, hash, message, &bytes)
        }
        ("ssh-ed25519" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ssh-rsa", _) => false,
        _ => return Err(SessionError::Kind),
    })
}

fn by_ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = key
        .try_into()
        .ok()
        .and_then(|key| ed25519_dalek::VerifyingKey::from_bytes(key).ok());
    let signature = ed25519_dalek::Signature::from_slice(signature);
    key.is_some_and(|key| signature.is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()))
}

fn by_rsa(exponent: &[u8], modulus: &[u8], hash: &[u8], message: &[u8], signature: &[u8]) -> bool {
    // A zero that only says that a number is no negative one (RFC 4251, 5) would make the key a byte longer than its signatures.
    let number = |bytes: &[u8]| BoxedUint::from_be_slice_vartime(bytes.strip_prefix(&[0]).unwrap_or(bytes));
    let key = rsa::RsaPublicKey::new_with_max_size(number(modulus), number(exponent), *RSA_BITS.end() as usize).ok();
    let key = key.filter(|key| RSA_BITS.contains(&key.n().bit_width()));
    let (Some(key), Ok(signature)) = (key, pkcs1v15::Signature::try_from(signature)) else {
        return false;
    };
    match hash {
        b"rsa-sha2-256" => pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &signature).is_ok(),
        _ => pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(message, &signature).is_ok(),
    }
}

/// r and s of an ECDSA signature, each of `N` bytes (RFC 5656, 3.1.2).
fn scalars<const N: usize>(blob: &[u8]) -> Option<Vec<u8>> {
    let mut rest = blob;
    let mut both = Vec::with_capacity(2 * N);
    for _ in 0..2 {
        let number = take(&mut rest).ok()?;
        let digits = number.strip_prefix(&[0]).unwrap_or(&number);
        if digits.len() > N || number != mpint(digits) {
            return None;
        }
        both.resize(both.len() + N - digits.len(), 0);
        both.extend(digits);
    }
    rest.is_empty().then_some(both)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;
    use std::process::Command;

    use data_encoding::BASE64;
    use sha2::Digest as _;

    use super::super::sshsig::put;
    use super::*;

    /// A key that ssh-keygen made, and its signature over a message: that of `ssh-keygen -Y sign` (PROTOCOL.sshsig).
    fn signed(folder: &Path, kind: &[&str]) -> (SshKey, Vec<u8>, Vec<u8>) {
        let (file, text) = (folder.join(kind.join("")), folder.join("text"));
        let run = |arguments: &[&str], path: &Path| {
            let out = Command::new("ssh-keygen").args(arguments).arg(path).output().unwrap();
            assert!(out.status.success(), "{out:?}");
        };
        run(&[&["-q", "-N", "", "-t"], kind, &["-f"]].concat(), &file);
        std::fs::write(&text, "text").unwrap();
        let _ = std::fs::remove_file(folder.join("text.sig"));
        run(&["-q", "-Y", "sign", "-n", "test", "-f", &file.display().to_string()], &text);
        let armored = std::fs::read_to_string(folder.join("text.sig")).unwrap();
        let base64: String = armored.lines().filter(|line| !line.starts_with('-')).collect();
        let blob = BASE64.decode(base64.as_bytes()).unwrap();
        let mut rest = &blob[10..];
        let fields: Vec<_> = (0..5).map(|_| take(&mut rest).unwrap()).collect();
        let mut message = b"SSHSIG".to_vec();
        for field in [&b"test"[..], b"", b"sha512", &Sha512::digest("text")] {
            put(&mut message, field);
        }
        (SshKey::from_blob(&fields[0]).unwrap(), message, fields[4].clone())
    }

    #[test]
    fn t22_what_openssh_signed_with_each_type_of_host_key_verifies_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let kinds: [&[&str]; 4] = [
            &["ed25519"],
            &["ecdsa", "-b", "256"],
            &["ecdsa", "-b", "384"],
            &["rsa", "-b", "2048"],
        ];
        let all = kinds.map(|kind| signed(folder.path(), kind));
        for (at, (key, message, signature)) in all.iter().enumerate() {
            assert_eq!(verify(key, message, signature), Ok(true), "{}", key.name());
            assert_eq!(verify(key, &message[1..], signature), Ok(false), "{}", key.name());
            for byte in 0..signature.len() {
                let mut other = signature.clone();
                other[byte] ^= 1;
                assert_ne!(verify(key, message, &other), Ok(true), "{} {byte}", key.name());
            }
            let (_, _, another) = &all[(at + 1) % all.len()];
            assert_ne!(verify(key, message, another), Ok(true));
            assert_eq!(verify(key, message, &[&signature[..], &[0]].concat()), Err(SessionError::Form));
        }
    }

    #[test]
    fn t22_a_session_is_proven_by_its_host_key_alone_whether_or_not_that_has_a_certificate() {
        use p256::ecdsa::signature::Signer;
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let blob = |fields: &[&[u8]]| {
            let mut blob = Vec::new();
            fields.iter().for_each(|field| put(&mut blob, field));
            blob
        };
        let public = key.verifying_key().to_bytes();
        let (plain, certified) = (
            blob(&[b"ssh-ed25519", &public]),
            [blob(&[b"ssh-ed25519-cert-v01@openssh.com", &[9; 32], &public]), vec![0; 40]].concat(),
        );
        let id = [3; 32];
        let signature = blob(&[b"ssh-ed25519", &key.sign(&id).to_bytes()]);
        for host in [&plain, &certified] {
            let session = SshSession::check(host, &id, &signature).unwrap();
            assert_eq!(
                (session.host().to_blob(), session.blob(), session.id()),
                (plain.clone(), &host[..], &id[..])
            );
            assert_eq!(SshSession::check(host, &[4; 32], &signature), Err(SessionError::Signature));
        }
        for (host, id, signature, error) in [
            (&plain, &id[..19], &signature, SessionError::Form),
            (&plain, &[3; 65], &signature, SessionError::Form),
            (&vec![], &id, &signature, SessionError::Kind),
            (&blob(&[b"ssh-dss", &[1; 32]]), &id, &signature, SessionError::Kind),
            (
                &blob(&[b"sk-ssh-ed25519@openssh.com", &public, b"ssh:"]),
                &id,
                &signature,
                SessionError::Kind,
            ),
            (&plain, &id, &vec![], SessionError::Form),
            (&plain, &id, &blob(&[b"ssh-rsa", b""]), SessionError::Signature),
        ] {
            assert_eq!(SshSession::check(host, id, signature), Err(error));
        }
    }
}
