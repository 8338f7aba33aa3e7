//! Public keys of SSH: as `ssh-keygen` writes them (sshd(8), AUTHORIZED_KEYS FILE FORMAT), and as they stand in certificates.

use data_encoding::{BASE64, BASE64_NOPAD};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::jwk::{Algorithm, PublicKey};
use super::sshsig::{put, take};

/// Longest line of a file, in bytes: an RSA key of 16,384 bits has some 2,800.
pub const LONGEST_LINE: usize = 8192;

/// Why a text is no public key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SshKeyError {
    /// Not a type and base64.
    #[error("it is not a public key as ssh-keygen writes one: ssh-ed25519 AAAA... NAME")]
    Form,
    /// A certificate already, a type of old, or one that OpenSSH does not know.
    #[error("no certificate is made for a key of this type: make one with ssh-keygen -t ed25519")]
    Kind,
    /// Something else than what a key of this type has in it.
    #[error("the key is damaged: it does not hold what its type says")]
    Content,
}

/// A type of key for which certificates are made.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    /// The type of a certificate for it (PROTOCOL.certkeys; PROTOCOL.u2f for keys in hardware).
    certificate: &'static str,
    /// Lengths of what stands behind the type: nothing where there is no one length.
    fields: &'static [Option<usize>],
    /// The curve that the first of them names.
    curve: Option<&'static str>,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "ssh-ed25519",
        certificate: "ssh-ed25519-cert-v01@openssh.com",
        fields: &[Some(32)],
        curve: None,
    },
    Kind {
        name: "ecdsa-sha2-nistp256",
        certificate: "ecdsa-sha2-nistp256-cert-v01@openssh.com",
        fields: &[Some(8), Some(65)],
        curve: Some("nistp256"),
    },
    Kind {
        name: "ecdsa-sha2-nistp384",
        certificate: "ecdsa-sha2-nistp384-cert-v01@openssh.com",
        fields: &[Some(8), Some(97)],
        curve: Some("nistp384"),
    },
    Kind {
        name: "ecdsa-sha2-nistp521",
        certificate: "ecdsa-sha2-nistp521-cert-v01@openssh.com",
        fields: &[Some(8), Some(133)],
        curve: Some("nistp521"),
    },
    Kind {
        name: "ssh-rsa",
        certificate: "ssh-rsa-cert-v01@openssh.com",
        fields: &[None, None],
        curve: None,
    },
    Kind {
        name: "sk-ssh-ed25519@openssh.com",
        certificate: "sk-ssh-ed25519-cert-v01@openssh.com",
        fields: &[Some(32), None],
        curve: None,
    },
    Kind {
        name: "sk-ecdsa-sha2-nistp256@openssh.com",
        certificate: "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        fields: &[Some(8), Some(65), None],
        curve: Some("nistp256"),
    },
];
/// An RSA modulus in bytes: 2,048 bits at least, 16,384 at most, and the zero that may stand in front (RFC 4251, 5).
const RSA_MODULUS: std::ops::RangeInclusive<usize> = 256..=2049;

/// A public key for which a certificate can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshKey {
    kind: &'static Kind,
    /// What stands behind the type, as it stands in certificates too.
    fields: Vec<u8>,
}

impl SshKey {
    /// Reads a line as `ssh-keygen` writes it: type, base64, and perhaps a comment, which is left out.
    ///
    /// # Errors
    /// See [`SshKeyError`].
    pub fn from_line(line: &str) -> Result<Self, SshKeyError> {
        let line = line.trim_ascii();
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(base64), false) = (words.next(), words.next(), line.len() > LONGEST_LINE || line.contains(['\n', '\r']))
        else {
            return Err(SshKeyError::Form);
        };
        let blob = BASE64.decode(base64.as_bytes()).map_err(|_| SshKeyError::Form)?;
        let key = Self::from_blob(&blob)?;
        (key.kind.name == name).then_some(key).ok_or(SshKeyError::Content)
    }

    /// Reads a key in its wire form (RFC 4253, 6.6).
    ///
    /// # Errors
    /// See [`SshKeyError`].
    pub fn from_blob(blob: &[u8]) -> Result<Self, SshKeyError> {
        let mut rest = blob;
        let name = take(&mut rest).map_err(|_| SshKeyError::Form)?;
        let kind = KINDS.iter().find(|kind| kind.name.as_bytes() == name).ok_or(SshKeyError::Kind)?;
        let fields = rest.to_vec();
        for (number, length) in kind.fields.iter().enumerate() {
            let field = take(&mut rest).map_err(|_| SshKeyError::Content)?;
            let is_curve = number > 0 || kind.curve.is_none_or(|curve| curve.as_bytes() == field);
            // A point is uncompressed (RFC 5656, 3.1), behind its curve.
            let is_point = number != 1 || kind.curve.is_none() || field.first() == Some(&4);
            let is_modulus = kind.name != "ssh-rsa" || number != 1 || RSA_MODULUS.contains(&field.len());
            if field.is_empty() || length.is_some_and(|length| field.len() != length) || !is_curve || !is_point || !is_modulus {
                return Err(SshKeyError::Content);
            }
        }
        rest.is_empty().then_some(Self { kind, fields }).ok_or(SshKeyError::Content)
    }

    /// The key that a certificate is for, of which nothing else is looked at (PROTOCOL.certkeys: type, nonce, and what a key has behind its type).
    ///
    /// # Errors
    /// See [`SshKeyError`].
    pub fn from_certificate(blob: &[u8]) -> Result<Self, SshKeyError> {
        let mut rest = blob;
        let name = take(&mut rest).map_err(|_| SshKeyError::Form)?;
        let kind = KINDS
            .iter()
            .find(|kind| kind.certificate.as_bytes() == name)
            .ok_or(SshKeyError::Kind)?;
        take(&mut rest).map_err(|_| SshKeyError::Content)?;
        let mut key = Vec::new();
        put(&mut key, kind.name.as_bytes());
        for _ in kind.fields {
            put(&mut key, &take(&mut rest).map_err(|_| SshKeyError::Content)?);
        }
        Self::from_blob(&key)
    }

    /// The public half of a signer's key.
    ///
    /// # Errors
    /// None in practice: a signer's key has a form that is one here too.
    pub fn of(key: &PublicKey) -> Result<Self, SshKeyError> {
        let mut blob = Vec::new();
        match key.algorithm() {
            Algorithm::Es256 => {
                for field in [&b"ecdsa-sha2-nistp256"[..], b"nistp256", key.as_bytes()] {
                    put(&mut blob, field);
                }
            }
            Algorithm::EdDsa => {
                put(&mut blob, b"ssh-ed25519");
                put(&mut blob, key.as_bytes());
            }
        }
        Self::from_blob(&blob)
    }

    /// Its wire form.
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        put(&mut blob, self.kind.name.as_bytes());
        blob.extend(&self.fields);
        blob
    }

    /// As it stands in a file, without a comment.
    #[must_use]
    pub fn to_line(&self) -> String {
        format!("{} {}", self.kind.name, BASE64.encode(&self.to_blob()))
    }

    /// As `ssh-keygen -l` shows it: SHA-256 of the wire form.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", BASE64_NOPAD.encode(&Sha256::digest(self.to_blob())))
    }

    /// Its type.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind.name
    }

    /// The type of a certificate for it.
    #[must_use]
    pub fn certificate_type(&self) -> &'static str {
        self.kind.certificate
    }

    /// What stands behind its type, in its wire form and in certificates.
    #[must_use]
    pub fn fields(&self) -> &[u8] {
        &self.fields
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    // Made by ssh-keygen of OpenSSH 9.2; the fingerprints are what `ssh-keygen -l` says of them.
    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGjoqiBnD6F4LhvB19Wm3aR4hJ4R65xDPzrKX5AY8Hxq anna@laptop";
    const ED25519_PRINT: &str = "SHA256:oPkMOS+3fX+xDCnKdTdM5q6EzxJ3yQH2k6W4zsoYMTI";
    const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBNq9NacjTVTG+r049sVbsp+ZiEcCiQIcB4L+InV1xFjAjjL/pF9JjOdfAoHdbV01tmIb4qMUztxlK3wvghqLpXc=";
    const P256_PRINT: &str = "SHA256:fYyx1clC9edOnUJlIAPVvORyP90dObEeYB3guXCniMg";

    #[test]
    fn lines_of_ssh_keygen_are_read_and_written_back_with_their_fingerprints() {
        for (line, print) in [(ED25519, ED25519_PRINT), (P256, P256_PRINT)] {
            let key = SshKey::from_line(line).unwrap();
            assert!(line.starts_with(&key.to_line()), "{line}");
            assert_eq!(key.fingerprint(), print);
            assert_eq!(SshKey::from_blob(&key.to_blob()), Ok(key));
        }
    }

    #[test]
    fn what_is_no_key_or_is_one_of_another_type_than_it_says_is_refused() {
        let (_, base64) = P256.split_once(' ').unwrap();
        assert_eq!(SshKey::from_line(&format!("ssh-ed25519 {base64}")), Err(SshKeyError::Content));
        for bad in ["", "ssh-ed25519", "ssh-ed25519 %%%", "ssh-ed25519 AAAA\nssh-ed25519 AAAA"] {
            assert!(SshKey::from_line(bad).is_err(), "{bad:?}");
        }
        let blob = |fields: &[&[u8]]| {
            let mut blob = Vec::new();
            fields.iter().for_each(|field| put(&mut blob, field));
            SshKey::from_blob(&blob)
        };
        for name in [&b"ssh-dss"[..], b"ssh-ed25519-cert-v01@openssh.com", b""] {
            assert_eq!(blob(&[name, &[1; 32]]), Err(SshKeyError::Kind));
        }
        let point = [&[4][..], &[7; 64]].concat();
        assert!(blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &point]).is_ok());
        for fields in [
            &[&b"ssh-ed25519"[..], &[1; 31]][..],
            &[b"ssh-ed25519", &[1; 32], b"more"],
            &[b"ecdsa-sha2-nistp256", b"nistp384", &point],
            &[b"ecdsa-sha2-nistp256", b"nistp256", &[2; 65]],
            &[b"ecdsa-sha2-nistp256", b"nistp256"],
            &[b"ssh-rsa", &[1, 0, 1], &[7; 128]],
            &[b"sk-ssh-ed25519@openssh.com", &[1; 32], b""],
        ] {
            assert_eq!(blob(fields), Err(SshKeyError::Content), "{fields:?}");
        }
        assert!(blob(&[b"ssh-rsa", &[1, 0, 1], &[7; 256]]).is_ok());
        assert!(blob(&[b"sk-ssh-ed25519@openssh.com", &[1; 32], b"ssh:"]).is_ok());
    }

    #[test]
    fn a_signers_key_is_one_of_ssh() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
        let key = PublicKey::from_bytes(Algorithm::EdDsa, key.as_bytes()).unwrap();
        assert!(
            SshKey::of(&key)
                .unwrap()
                .to_line()
                .starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI")
        );
    }
}
