//! Lists of SSH certificates that are taken back, in the form of OpenSSH (PROTOCOL.krl).

use super::ssh_key::SshKey;
use super::sshsig::put;

/// `SSHKRL\n\0`.
const MAGIC: u64 = 0x5353_484b_524c_0a00;
const FORMAT: u32 = 1;
/// KRL_SECTION_CERTIFICATES.
const CERTIFICATES: u8 = 1;
/// KRL_SECTION_CERT_KEY_ID.
const KEY_ID: u8 = 0x23;

/// A list that takes back the certificates with these ids that any of the `cas` signed. `number` has to grow from one list to the next, and
/// `now` is in seconds since 1970.
#[must_use]
pub fn list(cas: &[SshKey], ids: &[String], number: u64, now: u64) -> Vec<u8> {
    let mut list = Vec::new();
    list.extend(MAGIC.to_be_bytes());
    list.extend(FORMAT.to_be_bytes());
    list.extend(number.to_be_bytes());
    list.extend(now.to_be_bytes());
    // Flags, of which there are none yet.
    list.extend(0_u64.to_be_bytes());
    put(&mut list, b"");
    put(&mut list, b"touchlease");
    let mut names = Vec::new();
    ids.iter().for_each(|id| put(&mut names, id.as_bytes()));
    for ca in cas.iter().filter(|_| !ids.is_empty()) {
        let mut section = Vec::new();
        put(&mut section, &ca.to_blob());
        put(&mut section, b"");
        section.push(KEY_ID);
        put(&mut section, &names);
        list.push(CERTIFICATES);
        put(&mut list, &section);
    }
    list
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;
    use crate::encoding::jwk::{Algorithm, PublicKey};

    #[test]
    fn ssh_keygen_reads_the_list_and_shows_the_ids_that_are_in_it() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
        let ca = SshKey::of(&PublicKey::from_bytes(Algorithm::EdDsa, key.as_bytes()).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("krl");
        let shown = |ids: &[String]| {
            std::fs::write(&file, list(std::slice::from_ref(&ca), ids, 5, 1_800_000_000)).unwrap();
            let out = Command::new("ssh-keygen").arg("-Qlf").arg(&file).output().unwrap();
            assert!(out.status.success(), "{out:?}");
            String::from_utf8(out.stdout).unwrap()
        };
        let two = shown(&["0123".into(), "4567".into()]);
        for part in ["# KRL version 5", "touchlease", &ca.fingerprint(), "id: 0123", "id: 4567"] {
            assert!(two.contains(part), "{part} in {two}");
        }
        assert!(!shown(&[]).contains("id:"));
    }
}
