//! SSH signatures (PROTOCOL.sshsig of OpenSSH): what `ssh-keygen -Y sign` and git ask an agent for.

use super::jwt::{MintError, Minter};
use super::ssh_cert::signature_blob;
use crate::encoding::ssh_key::SshKey;
use crate::encoding::ssh_signed_data::SignedData;

impl Minter<'_> {
    /// One signature over `data`, in SSH's form (RFC 8709, 6; RFC 5656, 3.1.2). Whether it may be signed `lease::signature` decides.
    ///
    /// # Errors
    /// [`MintError::Signing`].
    pub fn ssh_signature(&self, data: &SignedData) -> Result<Vec<u8>, MintError> {
        let key = SshKey::of(self.public()).map_err(|_| MintError::Signing)?;
        let signature = self.sign(&data.to_blob()).ok_or(MintError::Signing)?;
        Ok(signature_blob(self.public().algorithm(), &key, &signature))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::jwt::tests::minter;
    use super::*;
    use crate::encoding::jwk::Algorithm;
    use crate::encoding::ssh_session;
    use crate::encoding::ssh_signed_data::Hash;

    #[test]
    fn t59_a_signature_by_either_kind_of_key_verifies_over_its_signed_data_and_over_nothing_else() {
        let data = SignedData {
            namespace: "git".into(),
            hash: Hash::Sha512,
            digest: vec![7; 64],
        };
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
            let minter = minter(algorithm);
            let key = SshKey::of(minter.public()).unwrap();
            let signature = minter.ssh_signature(&data).unwrap();
            assert!(ssh_session::is_signed(&key, &data.to_blob(), &signature));
            let other = SignedData {
                namespace: "file".into(),
                ..data.clone()
            };
            assert!(!ssh_session::is_signed(&key, &other.to_blob(), &signature));
        }
    }
}
