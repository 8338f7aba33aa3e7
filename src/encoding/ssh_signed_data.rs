//! What an agent is asked to sign for `ssh-keygen -Y sign` and git: the signed data of an SSH signature (PROTOCOL.sshsig of OpenSSH, section 3).
//!
//! It has a namespace and a digest of what is signed, and nothing else. Nothing else is read: what is signed is exactly what can be shown.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::sshsig::{put, take};

const MAGIC: &[u8; 6] = b"SSHSIG";

/// It is not the signed data of an SSH signature, or has more or less in it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("it is not what ssh-keygen -Y sign has signed: a namespace and a digest")]
pub struct NotSignedData;

/// The hash by which what is signed was made short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-512, which ssh-keygen uses if nobody says otherwise.
    Sha512,
}

/// What is signed of an SSH signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedData {
    /// What it is for: `git`, `file` and such.
    pub namespace: String,
    /// How the digest was made.
    pub hash: Hash,
    /// Of what is signed: 32 or 64 bytes, as the hash has them.
    pub digest: Vec<u8>,
}

impl Hash {
    /// As it stands in the signed data.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes of a digest.
    #[must_use]
    pub fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SignedData {
    /// Reads the bytes that are to be signed.
    ///
    /// # Errors
    /// See [`NotSignedData`].
    pub fn read(blob: &[u8]) -> Result<Self, NotSignedData> {
        let mut rest = blob.strip_prefix(MAGIC).ok_or(NotSignedData)?;
        let mut field = || take(&mut rest).map_err(|_| NotSignedData);
        let (namespace, reserved, hash, digest) = (field()?, field()?, field()?, field()?);
        let hash = [Hash::Sha256, Hash::Sha512]
            .into_iter()
            .find(|known| known.as_str().as_bytes() == hash)
            .filter(|known| known.length() == digest.len())
            .ok_or(NotSignedData)?;
        let namespace = String::from_utf8(namespace).map_err(|_| NotSignedData)?;
        let read = Self { namespace, hash, digest };
        // Whatever comes into the reserved field means something that nobody was shown. One text has one form: what is signed is what was read.
        (reserved.is_empty() && rest.is_empty() && read.to_blob() == blob)
            .then_some(read)
            .ok_or(NotSignedData)
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        let mut blob = MAGIC.to_vec();
        for field in [self.namespace.as_bytes(), b"", self.hash.as_str().as_bytes(), &self.digest] {
            put(&mut blob, field);
        }
        blob
    }

    /// The digest as `sha512sum` prints it.
    #[must_use]
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.digest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::ssh_userauth::UserAuth;
    use super::super::sshsig::{Namespace, signed_blob};
    use super::*;

    fn blob(fields: &[&[u8]]) -> Vec<u8> {
        let mut blob = MAGIC.to_vec();
        fields.iter().for_each(|field| put(&mut blob, field));
        blob
    }

    #[test]
    fn t22_what_is_read_is_what_is_signed_and_nothing_else_is_read() {
        let (long, short) = ([7; 64], [7; 32]);
        let good = blob(&[b"git", b"", b"sha512", &long]);
        let read = SignedData::read(&good).unwrap();
        assert_eq!(
            (read.namespace.as_str(), read.hash, read.hex()),
            ("git", Hash::Sha512, "07".repeat(64))
        );
        assert_eq!(read.to_blob(), good);
        assert!(SignedData::read(&blob(&[b"file", b"", b"sha256", &short])).is_ok());
        for wrong in [
            vec![],
            b"SSHSIG".to_vec(),
            good[1..].to_vec(),
            good[..good.len() - 1].to_vec(),
            [&good[..], &[0]].concat(),
            blob(&[b"git", b"x", b"sha512", &long]),
            blob(&[b"git", b"", b"sha512", &short]),
            blob(&[b"git", b"", b"sha256", &long]),
            blob(&[b"git", b"", b"SHA512", &long]),
            blob(&[b"git", b"", b"sha384", &[7; 48]]),
            blob(&[b"git", b"", b"sha512"]),
            blob(&[b"g\xff", b"", b"sha512", &long]),
            // The whole signature has a version behind the same six letters.
            [&b"SSHSIG\0\0\0\x01"[..], &good[6..]].concat(),
        ] {
            assert_eq!(SignedData::read(&wrong), Err(NotSignedData), "{wrong:?}");
        }
    }

    #[test]
    fn t22_no_bytes_are_a_login_and_a_signature_too_and_our_own_texts_are_in_namespaces_of_their_own() {
        let good = blob(&[b"git", b"", b"sha512", &[7; 64]]);
        assert!(UserAuth::read(&good).is_err());
        let ours = SignedData::read(&signed_blob(Namespace::Lease, b"{}")).unwrap();
        assert_eq!(ours.namespace, "touchlease-lease");
    }
}
