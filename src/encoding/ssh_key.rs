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
    /// Something else than what a key of this type has in it, or a key that is too short, or by which anybody could sign.
    #[error("the key is damaged or too weak: it does not hold what its type says, or is RSA of less than 2,048 bits")]
    Content,
}

/// A type of key for which certificates are made.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    /// The type of a certificate for it (PROTOCOL.certkeys; PROTOCOL.u2f for keys in hardware).
    certificate: &'static str,
    /// What stands behind the type.
    fields: &'static [Field],
}

/// What stands behind a type. A key by which anybody could sign, or that sshd cannot read, is none: a touch for it would be for nobody, or wasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// The name of the curve that the next field is a point of (RFC 5656, 3.1).
    Curve(&'static str),
    /// A point of P-256.
    P256,
    /// A point of P-384.
    P384,
    /// An uncompressed point of so many bytes, of a curve whose arithmetic is not in here: sshd refuses one that is not on it.
    Point(usize),
    /// A point of Ed25519 (RFC 8709, 4).
    Ed25519,
    /// An RSA exponent.
    Exponent,
    /// An RSA modulus.
    Modulus,
    /// The relying party of a key in hardware (PROTOCOL.u2f).
    Application,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "ssh-ed25519",
        certificate: "ssh-ed25519-cert-v01@openssh.com",
        fields: &[Field::Ed25519],
    },
    Kind {
        name: "ecdsa-sha2-nistp256",
        certificate: "ecdsa-sha2-nistp256-cert-v01@openssh.com",
        fields: &[Field::Curve("nistp256"), Field::P256],
    },
    Kind {
        name: "ecdsa-sha2-nistp384",
        certificate: "ecdsa-sha2-nistp384-cert-v01@openssh.com",
        fields: &[Field::Curve("nistp384"), Field::P384],
    },
    Kind {
        name: "ecdsa-sha2-nistp521",
        certificate: "ecdsa-sha2-nistp521-cert-v01@openssh.com",
        fields: &[Field::Curve("nistp521"), Field::Point(133)],
    },
    Kind {
        name: "ssh-rsa",
        certificate: "ssh-rsa-cert-v01@openssh.com",
        fields: &[Field::Exponent, Field::Modulus],
    },
    Kind {
        name: "sk-ssh-ed25519@openssh.com",
        certificate: "sk-ssh-ed25519-cert-v01@openssh.com",
        fields: &[Field::Ed25519, Field::Application],
    },
    Kind {
        name: "sk-ecdsa-sha2-nistp256@openssh.com",
        certificate: "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        fields: &[Field::Curve("nistp256"), Field::P256, Field::Application],
    },
];
/// Bits of an RSA modulus.
const MODULUS: std::ops::RangeInclusive<usize> = 2048..=16_384;
/// Bits of an RSA exponent: 1 signs nothing, and OpenSSL takes none of more than 64 with a long modulus. Keys of old have 3, 35 or 37.
const EXPONENT: std::ops::RangeInclusive<usize> = 2..=64;

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
        for field in kind.fields {
            let bytes = take(&mut rest).map_err(|_| SshKeyError::Content)?;
            if !field.holds(&bytes) {
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
        let (name, parts): (_, &[&[u8]]) = match key.algorithm() {
            Algorithm::Es256 => ("ecdsa-sha2-nistp256", &[b"nistp256", key.as_bytes()]),
            Algorithm::EdDsa => ("ssh-ed25519", &[key.as_bytes()]),
        };
        let kind = KINDS.iter().find(|kind| kind.name == name).ok_or(SshKeyError::Kind)?;
        // That it is a point of its curve is known of it, and looking takes half as long as a signature.
        let mut fields = Vec::new();
        parts.iter().for_each(|part| put(&mut fields, part));
        Ok(Self { kind, fields })
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

impl Field {
    /// Whether these bytes are such a field.
    fn holds(self, bytes: &[u8]) -> bool {
        match self {
            Self::Curve(name) => bytes == name.as_bytes(),
            Self::P256 => PublicKey::from_bytes(Algorithm::Es256, bytes).is_ok(),
            Self::P384 => bytes.len() == 97 && p384::PublicKey::from_sec1_bytes(bytes).is_ok(),
            Self::Point(length) => bytes.len() == length && bytes.first() == Some(&4),
            Self::Ed25519 => PublicKey::from_bytes(Algorithm::EdDsa, bytes).is_ok(),
            Self::Exponent => odd_bits(bytes).is_some_and(|bits| EXPONENT.contains(&bits)),
            Self::Modulus => odd_bits(bytes).is_some_and(|bits| MODULUS.contains(&bits)),
            // It reaches logs and terminals of others.
            Self::Application => !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '),
        }
    }
}

/// Bits of an odd positive number in its one form (RFC 4251, 5): a zero stands in front where the number would be negative without it, and
/// nowhere else, so that none looks longer than it is. Both numbers of an RSA key are odd.
fn odd_bits(mpint: &[u8]) -> Option<usize> {
    let magnitude = match mpint {
        [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => rest,
        [0x01..=0x7f, ..] => mpint,
        _ => return None,
    };
    let (first, last) = (magnitude.first()?, magnitude.last()?);
    (last & 1 == 1).then(|| magnitude.len() * 8 - first.leading_zeros() as usize)
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

    /// The base point of Ed25519 (RFC 8032, 5.1).
    const BASE: [u8; 32] = {
        let mut base = [0x66; 32];
        base[0] = 0x58;
        base
    };

    fn blob(fields: &[&[u8]]) -> Result<SshKey, SshKeyError> {
        let mut blob = Vec::new();
        fields.iter().for_each(|field| put(&mut blob, field));
        SshKey::from_blob(&blob)
    }

    fn point() -> Vec<u8> {
        let blob = SshKey::from_line(P256).unwrap().to_blob();
        blob[blob.len() - 65..].to_vec()
    }

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
        for name in [&b"ssh-dss"[..], b"ssh-ed25519-cert-v01@openssh.com", b""] {
            assert_eq!(blob(&[name, &[1; 32]]), Err(SshKeyError::Kind));
        }
        let point = point();
        assert!(blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &point]).is_ok());
        for fields in [
            &[&b"ssh-ed25519"[..], &BASE[..31]][..],
            &[b"ssh-ed25519", &BASE, b"more"],
            &[b"ecdsa-sha2-nistp256", b"nistp384", &point],
            &[b"ecdsa-sha2-nistp256", b"nistp256", &[2; 65]],
            &[b"ecdsa-sha2-nistp256", b"nistp256"],
            &[b"ecdsa-sha2-nistp384", b"nistp384", &[4; 97]],
            &[b"ecdsa-sha2-nistp521", b"nistp521", &[4; 132]],
            &[b"sk-ssh-ed25519@openssh.com", &BASE, b""],
        ] {
            assert_eq!(blob(fields), Err(SshKeyError::Content), "{fields:?}");
        }
        assert!(blob(&[b"sk-ssh-ed25519@openssh.com", &BASE, b"ssh:"]).is_ok());
        assert!(blob(&[b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", &point, b"ssh:laptop key"]).is_ok());
    }

    #[test]
    fn t27_a_key_that_is_shorter_than_it_looks_or_by_which_anybody_could_sign_gets_no_certificate() {
        let number = |bytes: usize| [&[0, 0x80][..], &vec![7; bytes - 1]].concat();
        let rsa = |e: &[u8], n: &[u8]| blob(&[b"ssh-rsa", e, n]);
        for (e, n) in [
            (&[1, 0, 1][..], number(256)),
            (&[3], number(512)),
            (&[0x25], number(2048)),
            (&[0, 0xff, 1, 1, 1, 1, 1, 1, 1], number(256)),
        ] {
            assert!(rsa(e, &n).is_ok(), "{e:?}");
        }
        let mut even = number(256);
        even[256] = 8;
        let padded = [&[0; 129][..], &number(128)[1..]].concat();
        for n in [
            // 1,024 bits that look like 2,056; 2,047; 16,392.
            padded,
            [&[0x40][..], &[7; 255]].concat(),
            number(2049),
            even,
            // A zero too many, and a number below zero.
            [&[0][..], &number(256)].concat(),
            number(256)[1..].to_vec(),
            vec![],
        ] {
            assert_eq!(rsa(&[1, 0, 1], &n), Err(SshKeyError::Content), "{n:?}");
        }
        for e in [&[][..], &[0], &[1], &[2], &[0, 3], &[0x80], &[0x81], &[1, 0, 0], &[1; 9], &[1; 300]] {
            assert_eq!(rsa(e, &number(256)), Err(SshKeyError::Content), "{e:?}");
        }
        // The identity, and the other points of small order that anybody signs for.
        let order = |first: u8, last: u8| {
            let mut point = [if first > 1 { 0xff } else { 0 }; 32];
            (point[0], point[31]) = (first, last);
            point
        };
        for weak in [order(1, 0), order(0, 0), order(0, 0x80), order(0xec, 0x7f)] {
            assert_eq!(blob(&[b"ssh-ed25519", &weak]), Err(SshKeyError::Content), "{weak:?}");
            assert_eq!(
                blob(&[b"sk-ssh-ed25519@openssh.com", &weak, b"ssh:"]),
                Err(SshKeyError::Content),
                "{weak:?}"
            );
        }
        let off = [&[4][..], &[7; 64]].concat();
        for kind in [
            &[&b"ecdsa-sha2-nistp256"[..], b"nistp256", &off][..],
            &[b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", &off, b"ssh:"],
        ] {
            assert_eq!(blob(kind), Err(SshKeyError::Content), "off the curve");
        }
        for application in [&b"ssh:\x1b[2J"[..], b"ssh:\nroot", b"ssh:\0", b"ssh:\xc3\xbc", b"ssh:\x7f"] {
            assert_eq!(
                blob(&[b"sk-ssh-ed25519@openssh.com", &BASE, application]),
                Err(SshKeyError::Content)
            );
        }
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
