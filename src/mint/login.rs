//! Keys that let in for one lease: made for it in locked memory, never written, and given to nobody.

use std::fmt;
use std::io;

use super::key;
use super::ssh_cert::signature_blob;
use crate::encoding::jwk::Algorithm;
use crate::encoding::ssh_key::SshKey;
use crate::encoding::ssh_userauth::UserAuth;
use crate::secret::SigningKey;

/// An Ed25519 key of one lease.
pub struct LoginKey {
    key: SigningKey,
    public: SshKey,
}

impl LoginKey {
    /// A fresh one. `fill` brings fresh random bytes.
    ///
    /// # Errors
    /// No locked memory.
    pub fn generate(fill: &mut dyn FnMut(&mut [u8])) -> io::Result<Self> {
        let (private, public) = key::generate(Algorithm::EdDsa, fill)?;
        Ok(Self {
            key: SigningKey::load(private.expose(), &public).map_err(io::Error::other)?,
            public: SshKey::of(&public).map_err(io::Error::other)?,
        })
    }

    /// Its public half, for which the certificate is.
    #[must_use]
    pub fn public(&self) -> &SshKey {
        &self.public
    }

    /// Signs a request to be let in (RFC 8709, 6), and nothing else. Which one `lease::login` decides.
    #[must_use]
    pub fn sign(&self, request: &UserAuth) -> Option<Vec<u8>> {
        let signature = self.key.sign(&request.to_blob())?;
        Some(signature_blob(Algorithm::EdDsa, &self.public, &signature))
    }
}

impl fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginKey({})", self.public.fingerprint())
    }
}
