//! Lists of SSH certificates that are taken back, in the form of OpenSSH (PROTOCOL.krl).

use super::ssh_key::SshKey;
use super::sshsig::put;

/// `SSHKRL\n\0`.
const MAGIC: u64 = 0x5353_484b_524c_0a00;
const FORMAT: u32 = 1;
/// KRL_SECTION_CERTIFICATES.
const CERTIFICATES: u8 = 1;
/// KRL_SECTION_EXPLICIT_KEY: of a CA's key, all that it signed.
const KEYS: u8 = 2;
/// KRL_SECTION_CERT_KEY_ID.
const KEY_ID: u8 = 0x23;

/// What a list takes back.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// The certificates with these ids, whoever signed them: an id is 128 random bits, so no other is taken back, and the key that signed may
    /// be the signer's no more.
    Ids(&'a [String]),
    /// All certificates of these CAs, those to come as well.
    AllOf(&'a [SshKey]),
}

/// A list that takes certificates back. `number` has to grow from one list to the next, and `now` is in seconds since 1970.
#[must_use]
pub fn list(what: What<'_>, number: u64, now: u64) -> Vec<u8> {
    let mut list = Vec::new();
    list.extend(MAGIC.to_be_bytes());
    list.extend(FORMAT.to_be_bytes());
    list.extend(number.to_be_bytes());
    list.extend(now.to_be_bytes());
    // Flags, of which there are none yet.
    list.extend(0_u64.to_be_bytes());
    put(&mut list, b"");
    put(&mut list, b"touchlease");
    let ids = match what {
        What::Ids([]) => return list,
        What::Ids(ids) => ids,
        What::AllOf(cas) => {
            let mut section = Vec::new();
            cas.iter().for_each(|ca| put(&mut section, &ca.to_blob()));
            list.push(KEYS);
            put(&mut list, &section);
            return list;
        }
    };
    let (mut section, mut names) = (Vec::new(), Vec::new());
    // An empty CA key stands for every CA (PROTOCOL.krl, 2).
    put(&mut section, b"");
    put(&mut section, b"");
    section.push(KEY_ID);
    ids.iter().for_each(|id| put(&mut names, id.as_bytes()));
    put(&mut section, &names);
    list.push(CERTIFICATES);
    put(&mut list, &section);
    list
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;
    use std::process::{Command, Output};

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn keygen(folder: &Path, arguments: &[&str]) -> Output {
        Command::new("ssh-keygen").args(arguments).current_dir(folder).output().unwrap()
    }

    #[test]
    fn ssh_keygen_reads_the_list_and_shows_the_ids_that_are_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let shown = |what: What<'_>| {
            std::fs::write(folder.path().join("krl"), list(what, 5, 1_800_000_000)).unwrap();
            let out = keygen(folder.path(), &["-Qlf", "krl"]);
            assert!(out.status.success(), "{out:?}");
            String::from_utf8(out.stdout).unwrap()
        };
        let two = shown(What::Ids(&["0123".into(), "4567".into()]));
        for part in ["# KRL version 5", "touchlease", "id: 0123", "id: 4567"] {
            assert!(two.contains(part), "{part} in {two}");
        }
        assert!(!shown(What::Ids(&[])).contains("id:"));
    }

    #[test]
    fn ssh_keygen_calls_every_certificate_of_a_ca_revoked_whose_key_is_in_the_list() {
        let folder = tempfile::tempdir().unwrap();
        for ca in ["ours", "other"] {
            assert!(keygen(folder.path(), &["-q", "-t", "ed25519", "-N", "", "-f", ca]).status.success());
        }
        let line = std::fs::read_to_string(folder.path().join("ours.pub")).unwrap();
        let ours = SshKey::from_line(&line).unwrap();
        std::fs::write(folder.path().join("krl"), list(What::AllOf(&[ours]), 5, 1_800_000_000)).unwrap();
        for (ca, revoked) in [("ours", true), ("other", false)] {
            let user = format!("{ca}-user");
            assert!(
                keygen(folder.path(), &["-q", "-t", "ed25519", "-N", "", "-f", &user])
                    .status
                    .success()
            );
            let signed = keygen(folder.path(), &["-q", "-s", ca, "-I", ID, "-n", "deploy", &format!("{user}.pub")]);
            assert!(signed.status.success(), "{signed:?}");
            let out = keygen(folder.path(), &["-Qf", "krl", &format!("{user}-cert.pub")]);
            assert_eq!(out.status.success(), !revoked, "{ca}: {out:?}");
        }
    }

    #[test]
    fn t27_ssh_keygen_calls_a_certificate_revoked_by_its_id_whichever_key_signed_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("krl"), list(What::Ids(&[ID.into()]), 5, 1_800_000_000)).unwrap();
        for (ca, id, revoked) in [
            ("ed25519", ID, true),
            ("ecdsa", ID, true),
            ("rsa", "0123456789abcdef0123456789abcde0", false),
        ] {
            let user = format!("{ca}-user");
            for name in [ca, &user] {
                assert!(keygen(folder.path(), &["-q", "-t", ca, "-N", "", "-f", name]).status.success());
            }
            let signed = keygen(folder.path(), &["-q", "-s", ca, "-I", id, "-n", "deploy", &format!("{user}.pub")]);
            assert!(signed.status.success(), "{signed:?}");
            let out = keygen(folder.path(), &["-Qf", "krl", &format!("{user}-cert.pub")]);
            let said = String::from_utf8_lossy(&out.stdout).into_owned();
            assert_eq!(
                (out.status.success(), said.contains("REVOKED")),
                (!revoked, revoked),
                "{ca}: {out:?}"
            );
        }
    }
}
