//! SSH user certificates in the form of OpenSSH (PROTOCOL.certkeys), signed by a signer.
//!
//! sshd does not look whether a FIDO2 key was touched when it signed as a CA (`docs/ssh.md`), so none is one here: the key that signs lies in
//! the vault, and a touch unseals it for one certificate, or in a PIV slot that wants a touch for each.

use data_encoding::BASE64;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{MintError, Minter};
use crate::encoding::addresses::{Addresses, AddressesError, MOST};
use crate::encoding::jwk::{Algorithm, PublicKey};
use crate::encoding::ssh_key::SshKey;
use crate::encoding::sshsig::{mpint, put};
use crate::vault::LONGEST_TOKEN;
use crate::vault::signer::{is_command, is_principal};

/// User certificates (PROTOCOL.certkeys, SSH2_CERT_TYPE_USER).
const USER: u32 = 1;
/// A server whose clock is a little late takes the certificate too.
pub const BEFORE: u64 = 30;

/// Why a certificate is none that is made.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CertificateError {
    /// sshd would take it for every user, for none, or for others than it looks like.
    #[error("a principal is one user's name: up to 64 letters, digits and . _ - @ +, beginning with a letter, a digit or _")]
    Principal,
    /// It would be good for ever, for too long, or never.
    #[error("a certificate lives at least a second and at most an hour")]
    Life,
    /// Empty, with blanks around it, or not to be seen whole.
    #[error("the forced command is one visible line of at most 512 bytes")]
    Command,
    /// Too many, or one that sshd would not read, or that is no limit.
    #[error(transparent)]
    Addresses(#[from] AddressesError),
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose key it is for.
    pub key: SshKey,
    /// The number by which it is taken back.
    pub serial: u64,
    /// What sshd writes into its log: the id of the lease.
    pub id: String,
    /// The one user as whom it lets in.
    pub principal: String,
    /// From when on it is good, and until when: seconds since 1970.
    pub valid: (u64, u64),
    /// The one command that it lets run, whatever is asked for.
    pub force_command: Option<String>,
    /// From where it lets in; from everywhere when there is none.
    pub source_addresses: Vec<Addresses>,
    /// Whether it lets have a terminal. Nothing else is permitted: no forwarding of any kind.
    pub pty: bool,
}

impl Certificate {
    /// Checks that sshd takes it for what it looks like.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn check(&self) -> Result<(), CertificateError> {
        check_parts(&self.principal, self.force_command.as_deref(), &self.source_addresses)?;
        let (from, until) = self.valid;
        match until.checked_sub(from) {
            Some(1..) if until - from <= LONGEST_TOKEN + BEFORE => Ok(()),
            _ => Err(CertificateError::Life),
        }
    }

    /// What is signed, with the public key of the CA, and bytes that nobody else has chosen.
    fn body(&self, ca: &SshKey, nonce: &[u8; 32]) -> Vec<u8> {
        let (mut body, mut principals) = (Vec::new(), Vec::new());
        put(&mut body, self.key.certificate_type().as_bytes());
        put(&mut body, nonce);
        body.extend(self.key.fields());
        body.extend(self.serial.to_be_bytes());
        body.extend(USER.to_be_bytes());
        put(&mut body, self.id.as_bytes());
        put(&mut principals, self.principal.as_bytes());
        put(&mut body, &principals);
        body.extend(self.valid.0.to_be_bytes());
        body.extend(self.valid.1.to_be_bytes());
        put(&mut body, &self.critical_options());
        put(&mut body, &self.extensions());
        put(&mut body, b"");
        put(&mut body, &ca.to_blob());
        body
    }

    /// In the order of their names.
    fn critical_options(&self) -> Vec<u8> {
        let addresses: Vec<String> = self.source_addresses.iter().map(ToString::to_string).collect();
        let addresses = Some(addresses.join(",")).filter(|addresses| !addresses.is_empty());
        let mut options = Vec::new();
        for (name, value) in [("force-command", &self.force_command), ("source-address", &addresses)] {
            let Some(value) = value else { continue };
            let mut data = Vec::new();
            put(&mut data, value.as_bytes());
            put(&mut options, name.as_bytes());
            put(&mut options, &data);
        }
        options
    }

    fn extensions(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        if self.pty {
            put(&mut extensions, b"permit-pty");
            put(&mut extensions, b"");
        }
        extensions
    }
}

/// What can be said of a certificate before anybody is asked for it.
///
/// # Errors
/// [`CertificateError::Principal`], [`CertificateError::Command`], [`CertificateError::Addresses`].
pub fn check_parts(principal: &str, force_command: Option<&str>, addresses: &[Addresses]) -> Result<(), CertificateError> {
    if !is_principal(principal) {
        return Err(CertificateError::Principal);
    }
    if !force_command.is_none_or(is_command) {
        return Err(CertificateError::Command);
    }
    match addresses.len() > MOST {
        true => Err(AddressesError::Form.into()),
        false => Ok(()),
    }
}

impl Minter<'_> {
    /// One certificate, in a line as `ssh-keygen` writes it. `nonce` is drawn for it.
    ///
    /// # Errors
    /// [`MintError::Certificate`], [`MintError::Signing`].
    pub fn certificate(&self, certificate: &Certificate, nonce: &[u8; 32]) -> Result<Zeroizing<String>, MintError> {
        let body = unsigned(self.public(), certificate, nonce)?;
        let signature = self.sign(&body).ok_or(MintError::Signing)?;
        with_signature(self.public(), certificate, &body, &signature)
    }
}

/// The body of a certificate, as it is signed: the key `ca` is to do that.
///
/// # Errors
/// [`MintError::Certificate`], [`MintError::Signing`].
pub fn unsigned(ca: &PublicKey, certificate: &Certificate, nonce: &[u8; 32]) -> Result<Vec<u8>, MintError> {
    certificate.check()?;
    let ca = SshKey::of(ca).map_err(|_| MintError::Signing)?;
    Ok(certificate.body(&ca, nonce))
}

/// The line of a certificate whose `body` the key `ca` has signed; of `certificate` it is the kind and the id.
///
/// # Errors
/// [`MintError::Signing`].
pub fn with_signature(
    ca: &PublicKey,
    certificate: &Certificate,
    body: &[u8],
    signature: &[u8; 64],
) -> Result<Zeroizing<String>, MintError> {
    let key = SshKey::of(ca).map_err(|_| MintError::Signing)?;
    let mut blob = body.to_vec();
    put(&mut blob, &signature_blob(ca.algorithm(), &key, signature));
    let (kind, id) = (certificate.key.certificate_type(), &certificate.id);
    let mut line = Zeroizing::new(String::with_capacity(kind.len() + BASE64.encode_len(blob.len()) + id.len() + 2));
    line.push_str(kind);
    line.push(' ');
    BASE64.encode_append(&blob, &mut line);
    line.push(' ');
    line.push_str(id);
    Ok(line)
}

/// RFC 8709, 6, and RFC 5656, 3.1.2.
pub(super) fn signature_blob(algorithm: Algorithm, ca: &SshKey, signature: &[u8; 64]) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, ca.name().as_bytes());
    match algorithm {
        Algorithm::EdDsa => put(&mut blob, signature),
        Algorithm::Es256 => {
            let mut numbers = Vec::new();
            for number in signature.chunks_exact(32) {
                put(&mut numbers, &mpint(number));
            }
            put(&mut blob, &numbers);
        }
    }
    blob
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::super::jwt::tests::minter;
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOpKbEo/mkoQkCzLnDsdEBr+0sBNxgVuJQnW82hYPV4n";

    fn certificate() -> Certificate {
        Certificate {
            key: SshKey::from_line(KEY).unwrap(),
            serial: 0x0123_4567_89ab_cdef,
            id: "0123456789abcdef0123456789abcdef".into(),
            principal: "deploy".into(),
            valid: (1_800_000_000, 1_800_000_600),
            force_command: None,
            source_addresses: vec![],
            pty: false,
        }
    }

    fn made(change: impl FnOnce(&mut Certificate)) -> Result<Zeroizing<String>, MintError> {
        let mut certificate = certificate();
        change(&mut certificate);
        minter(Algorithm::EdDsa).certificate(&certificate, &[9; 32])
    }

    /// What OpenSSH reads out of it.
    fn read_by_openssh(line: &str) -> String {
        let mut keygen = Command::new("ssh-keygen")
            .args(["-Lf", "-"])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(keygen.stdin.take().unwrap(), "{line}").unwrap();
        let out = keygen.wait_with_output().unwrap();
        assert!(out.status.success(), "{line}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    #[test]
    fn openssh_reads_what_was_meant_out_of_a_certificate_by_either_kind_of_signer() {
        for (algorithm, name) in [(Algorithm::EdDsa, "ssh-ed25519"), (Algorithm::Es256, "ecdsa-sha2-nistp256")] {
            let full = Certificate {
                force_command: Some("/usr/bin/deploy --now".into()),
                source_addresses: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::1".parse().unwrap()],
                pty: true,
                ..certificate()
            };
            let minter = minter(algorithm);
            let said = read_by_openssh(&minter.certificate(&full, &[9; 32]).unwrap());
            let ca = SshKey::of(minter.public()).unwrap().fingerprint();
            for part in [
                "ssh-ed25519-cert-v01@openssh.com user certificate",
                &format!("{ca} (using {name})"),
                "Key ID: \"0123456789abcdef0123456789abcdef\"",
                "Serial: 81985529216486895",
                "Valid: from 2027-01-15T08:00:00 to 2027-01-15T08:10:00",
                "Principals: \n                deploy\n",
                "force-command /usr/bin/deploy --now",
                "source-address 192.0.2.0/24,2001:db8::1/128",
                "Extensions: \n                permit-pty",
            ] {
                assert!(said.contains(part), "{part} in {said}");
            }
            let plain = read_by_openssh(&minter.certificate(&certificate(), &[9; 32]).unwrap());
            assert!(
                plain.contains("Critical Options: (none)") && plain.contains("Extensions: (none)"),
                "{plain}"
            );
        }
    }

    #[test]
    fn t27_a_certificate_without_a_principal_with_a_wild_one_or_with_several_cannot_be_made() {
        made(|_| {}).unwrap();
        for principal in [
            "",
            "*",
            "deploy*",
            "?",
            "!deploy",
            "deploy,root",
            "deploy root",
            " deploy",
            "deploy\n",
            "-deploy",
            ".deploy",
            "a\0b",
            "ü",
            "$u",
            &"a".repeat(65),
        ] {
            let refused = made(|certificate| certificate.principal = principal.into());
            assert_eq!(refused, Err(MintError::Certificate(CertificateError::Principal)), "{principal:?}");
        }
        for principal in ["deploy", "_www", "anna@example", "ci-3.prod", &"a".repeat(64)] {
            made(|certificate| certificate.principal = principal.into()).unwrap();
        }
    }

    #[test]
    fn t27_a_certificate_that_is_good_for_ever_or_too_long_or_never_cannot_be_made() {
        let longest = LONGEST_TOKEN + BEFORE;
        made(|certificate| certificate.valid = (100, 100 + longest)).unwrap();
        for valid in [(100, 101 + longest), (0, u64::MAX), (u64::MAX, 0), (100, 100), (100, 99)] {
            let refused = made(|certificate| certificate.valid = valid);
            assert_eq!(refused, Err(MintError::Certificate(CertificateError::Life)), "{valid:?}");
        }
    }

    #[test]
    fn t27_a_forced_command_is_what_a_person_sees_and_there_are_at_most_16_ranges() {
        for command in ["", " ", "a\nb", "a\0b", "a\u{202e}b", " a", "a ", &"a".repeat(513)] {
            let refused = made(|certificate| certificate.force_command = Some(command.into()));
            assert_eq!(refused, Err(MintError::Certificate(CertificateError::Command)), "{command:?}");
        }
        let many = vec!["10.0.0.1".parse().unwrap(); 17];
        assert!(made(|certificate| certificate.source_addresses = many).is_err());
    }
}
