//! Backups: made, verified and put back, and what is no backup.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::encoding::Digest;
use crate::vault::backup::archive::{LONGEST_FILE, Writer};
use crate::vault::backup::{BackupError, create, restore, verify};
use crate::vault::testing::Folder;
use crate::vault::{Vault, VaultError};

use super::rig::{Rig, get};

fn backup(rig: &Rig) -> Vec<u8> {
    let mut archive = Vec::new();
    create(&rig.folder(), &mut archive).unwrap();
    archive
}

/// Names of folders that are not there yet.
struct Scratch(Folder, u32);

impl Scratch {
    fn next(&mut self) -> PathBuf {
        self.1 += 1;
        self.0.join(self.1.to_string())
    }
}

fn scratch() -> Scratch {
    Scratch(Folder::new(), 0)
}

fn modes(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{path:?}");
        if path.is_dir() {
            modes(&path);
        }
    }
}

#[test]
fn a_backup_is_the_same_for_the_same_vault_and_opens_where_it_is_put_back() {
    let rig = Rig::new();
    for n in 0..40 {
        rig.put("prod", &format!("N{n}"), format!("value {n}").as_bytes()).unwrap();
    }
    super::keys::add(
        &rig,
        &crate::device::soft::SoftKey::new("spare", crate::device::Profile::Pin, 2),
        &["prod"],
    )
    .unwrap();
    super::keys::remove_from(&rig.vault(), "spare", &rig.blue).unwrap();
    let archive = backup(&rig);
    assert_eq!(backup(&rig), archive);
    let mut scratch = scratch();
    let verified = verify(&archive[..], &scratch.next()).unwrap();
    assert_eq!(
        (verified.name.as_str(), verified.statements, verified.keys.clone()),
        ("laptop", 3, vec!["blue".to_owned()])
    );
    let prod = verified.scopes.iter().find(|scope| scope.name == "prod").unwrap();
    assert_eq!((prod.heads, prod.records, prod.slots), (1, 40, 2));
    let folder = scratch.next();
    assert_eq!(restore(&archive[..], &folder, &scratch.next()).unwrap(), verified);
    modes(&folder);
    let vault = Vault::open(&folder, &scratch.next()).unwrap();
    assert_eq!(get(&vault, &rig.blue, "prod", "N7").unwrap(), b"value 7");
    // Byte for byte what was there, and nothing besides.
    let mut again = Vec::new();
    create(&folder, &mut again).unwrap();
    assert_eq!(again, archive);
    assert!(matches!(
        restore(&archive[..], &folder, &scratch.next()),
        Err(BackupError::Vault(VaultError::NotEmpty { .. }))
    ));
}

#[test]
fn t53_an_archive_that_was_cut_or_changed_verifies_as_what_it_was_or_not_at_all() {
    let rig = Rig::with(crate::device::Profile::Pin, &["prod"]);
    rig.put("prod", "A", b"1").unwrap();
    let archive = backup(&rig);
    let mut scratch = scratch();
    let whole = verify(&archive[..], &scratch.next()).unwrap();
    let (mut refused, mut tried) = (0, 0);
    for at in (0..archive.len()).step_by(61) {
        let mut changed = archive.clone();
        changed[at] ^= 0x20;
        tried += 1;
        match verify(&changed[..], &scratch.next()) {
            // A byte of the padding that tar puts behind a file.
            Ok(verified) => assert_eq!(verified, whole, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > tried / 2, "{refused} of {tried}");
    // A tar file ends with two empty blocks.
    for len in (0..archive.len() - 1024).step_by(509) {
        assert!(verify(&archive[..len], &scratch.next()).is_err(), "{len}");
    }
}

#[test]
fn an_archive_without_one_of_the_files_that_the_roster_names_is_refused() {
    let rig = Rig::with(crate::device::Profile::Pin, &["prod"]);
    rig.put("prod", "A", b"1").unwrap();
    let files = rig.files();
    let mut scratch = scratch();
    let mut missing = 0;
    for path in files.keys().filter(|path| path.starts_with("slots") || path.starts_with("heads")) {
        rig.restore(&files);
        fs::remove_file(rig.folder().join(path)).unwrap();
        let archive = backup(&rig);
        assert!(
            matches!(
                verify(&archive[..], &scratch.next()),
                Err(BackupError::Vault(VaultError::Missing { .. }))
            ),
            "{path:?}"
        );
        missing += 1;
    }
    assert_eq!(missing, 4);
}

/// An archive with one entry, made by somebody else.
fn forged(path: &str, kind: tar::EntryType) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    // `set_path` refuses what an attacker writes.
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_size(if kind == tar::EntryType::Regular { 1 } else { 0 });
    if kind != tar::EntryType::Regular {
        header.set_link_name("/etc/passwd").unwrap();
    }
    header.set_mode(0o777);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    let body: &[u8] = if kind == tar::EntryType::Regular { b"x" } else { b"" };
    builder.append(&header, body).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn t25_an_archive_that_leads_out_of_the_vault_is_refused_and_writes_nothing() {
    let mut scratch = scratch();
    for path in [
        "../escaped",
        "/tmp/escaped",
        "roster/../../escaped",
        "records/.git/config",
        ".git/config",
        "notes.txt",
        "roster/deep/x.json",
        "slots/A.half",
        "heads//x",
        "pending/x",
    ] {
        let (folder, beside) = (scratch.next(), scratch.next());
        let refused = restore(&forged(path, tar::EntryType::Regular)[..], &folder, &beside);
        assert!(matches!(refused, Err(BackupError::Form { .. })), "{path}: {refused:?}");
        assert!(!folder.exists() && !scratch.0.join("escaped").exists());
    }
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Fifo,
        tar::EntryType::Directory,
    ] {
        let refused = restore(&forged("roster/x.json", kind)[..], &scratch.next(), &scratch.next());
        assert!(
            matches!(
                refused,
                Err(BackupError::Form {
                    why: "it is no plain file",
                    ..
                })
            ),
            "{kind:?}"
        );
    }
    assert!(matches!(
        restore(&forged("format", tar::EntryType::Regular)[..], &scratch.next(), &scratch.next()),
        Err(BackupError::NoManifest)
    ));
}

/// Counts what was read of it, and looks each time.
struct Watched<R, F: FnMut(u64)> {
    inner: R,
    read: u64,
    look: F,
}

impl<R: Read, F: FnMut(u64)> Read for Watched<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read += count as u64;
        (self.look)(self.read);
        Ok(count)
    }
}

#[test]
fn p13_what_other_kinds_of_tar_put_before_a_file_is_refused_unread() {
    let mut scratch = scratch();
    for kind in [
        tar::EntryType::GNULongName,
        tar::EntryType::GNULongLink,
        tar::EntryType::XHeader,
        tar::EntryType::XGlobalHeader,
        tar::EntryType::GNUSparse,
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_path("roster/x.json").unwrap();
        header.set_entry_type(kind);
        header.set_size(64 << 20);
        header.set_cksum();
        let body = io::repeat(b'a').take(64 << 20);
        let mut archive = Watched {
            inner: header.as_bytes().chain(body),
            read: 0,
            look: |_| {},
        };
        let refused = verify(&mut archive, &scratch.next());
        assert!(archive.read < 1 << 20, "{kind:?}: {} bytes were read", archive.read);
        assert!(
            matches!(
                refused,
                Err(BackupError::Form {
                    why: "it is no plain file",
                    ..
                })
            ),
            "{kind:?}: {refused:?}"
        );
    }
}

#[test]
fn p13_a_list_of_more_files_than_there_are_is_refused_unread() {
    let mut header = tar::Header::new_ustar();
    header.set_path("manifest.json").unwrap();
    header.set_size(64 << 20);
    header.set_cksum();
    let mut archive = Watched {
        inner: header.as_bytes().chain(io::repeat(b' ').take(64 << 20)),
        read: 0,
        look: |_| {},
    };
    let refused = verify(&mut archive, &scratch().next());
    assert!(archive.read < 1 << 20, "{} bytes were read", archive.read);
    assert!(matches!(refused, Err(BackupError::Form { path, .. }) if path == "manifest.json"));
}

#[test]
fn p13_files_of_an_archive_are_written_as_they_come_and_not_held_in_memory() {
    let (mut scratch, whole) = (scratch(), vec![b'x'; LONGEST_FILE]);
    let files: BTreeMap<PathBuf, Vec<u8>> = (0..6).map(|n| (PathBuf::from(format!("records/a/b/{n}")), whole.clone())).collect();
    let archive = archive_of(&files, Digest([1; 32]), Digest([2; 32]));
    let beside = scratch.next();
    let shelf = beside.join("records/a/b");
    let written = || {
        let there = fs::read_dir(&shelf)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().metadata().unwrap().len());
        there.sum::<u64>()
    };
    let mut held = 0;
    let archive = Watched {
        inner: &archive[..],
        read: 0,
        look: |read| held = held.max(read.saturating_sub(written())),
    };
    // The records are none, which is found out at the end.
    assert!(restore(archive, &scratch.next(), &beside).is_err());
    assert_eq!(written(), 6 * LONGEST_FILE as u64);
    assert!(held <= 4 * LONGEST_FILE as u64, "{held} bytes were held");
}

/// The archive of `files` of a vault, with an honest list at its end.
fn archive_of(files: &BTreeMap<PathBuf, Vec<u8>>, roster: Digest, vault: Digest) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut writer = Writer::new(&mut archive);
    for (path, bytes) in files {
        writer.add(path.to_str().unwrap(), bytes).unwrap();
    }
    writer.finish(vault, roster).unwrap();
    archive
}

#[test]
fn t25_an_archive_that_tells_git_something_else_than_we_do_is_refused() {
    let rig = Rig::new();
    let (id, roster) = (rig.vault().id(), rig.vault().roster_digest());
    let mut scratch = scratch();
    let before = rig.files();
    let honest = archive_of(&before, roster, id);
    assert_eq!(honest, backup(&rig));
    restore(&honest[..], &scratch.next(), &scratch.next()).unwrap();
    for (path, bytes) in [(".gitattributes", "* filter=evil\n"), (".gitignore", "roster/\n")] {
        let mut files = before.clone();
        files.insert(path.into(), bytes.into());
        let (archive, folder) = (archive_of(&files, roster, id), scratch.next());
        let refused = restore(&archive[..], &folder, &scratch.next());
        assert!(matches!(refused, Err(BackupError::Form { path: of, .. }) if of == path));
        assert!(!folder.exists() && verify(&archive[..], &scratch.next()).is_err());
        // Somebody's own are not taken along, so his backup can be put back.
        fs::write(rig.folder().join(path), bytes).unwrap();
        let put_back = scratch.next();
        restore(&backup(&rig)[..], &put_back, &scratch.next()).unwrap();
        assert!(!put_back.join(path).exists());
    }
}

#[test]
fn a_backup_of_a_vault_with_an_interrupted_change_waits_for_the_change_to_be_settled() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    let vault = rig.vault();
    vault.store.faults.cut_at(12);
    assert!(super::rig::apply(&vault, &rig.blue, "prod", super::rig::put("A", b"2")).is_err());
    drop(vault);
    assert!(matches!(
        create(&rig.folder(), Vec::new()),
        Err(BackupError::Vault(VaultError::Unfinished))
    ));
    rig.vault();
    assert!(create(&rig.folder(), Vec::new()).is_ok());
}

#[test]
fn nobody_writes_while_a_backup_reads() {
    let rig = Rig::new();
    let vault = rig.vault();
    let shared = vault.store.lock_shared().unwrap();
    let second = vault.store.lock_shared();
    assert!(second.is_ok());
    assert!(matches!(vault.store.lock(), Err(VaultError::Busy)));
    drop((shared, second));
    assert!(vault.store.lock().is_ok());
}
