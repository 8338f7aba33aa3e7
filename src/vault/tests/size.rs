//! A vault of many secrets: what one operation reads and writes does not grow with them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::vault::{Changes, Delivery, Put, Rules, record};

use super::rig::{Rig, apply, get, put, secret};

const MANY: usize = 1_000;
const BATCH: usize = 500;

/// `count` secrets, in batches that are each one touch.
fn filled(count: usize) -> Rig {
    let rig = Rig::new();
    let names: Vec<usize> = (0..count).collect();
    for batch in names.chunks(BATCH) {
        let put = |n: &usize| Put {
            name: format!("SECRET_{n}"),
            rules: Rules::value(&[Delivery::Env]),
            value: secret(format!("value of {n}").as_bytes()),
        };
        let changes = Changes {
            puts: batch.iter().map(put).collect(),
            ..Changes::default()
        };
        apply(&rig.vault(), &rig.blue, "prod", changes).unwrap();
    }
    rig
}

/// Bytes that this thread read and wrote, and the calls that it took (proc(5), `io`).
#[derive(Clone, Copy, Debug)]
struct Work {
    bytes_read: u64,
    reads: u64,
    bytes_written: u64,
}

fn counted(work: impl FnOnce()) -> Work {
    let before = counters();
    work();
    let after = counters();
    Work {
        bytes_read: after.bytes_read - before.bytes_read,
        reads: after.reads - before.reads,
        bytes_written: after.bytes_written - before.bytes_written,
    }
}

fn counters() -> Work {
    let text = fs::read_to_string("/proc/thread-self/io").unwrap();
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap().parse().unwrap()
    };
    Work {
        bytes_read: of("rchar"),
        reads: of("syscr"),
        bytes_written: of("wchar"),
    }
}

/// The most entries that a folder below `folder` has.
fn fullest(folder: &Path) -> usize {
    let entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let below = entries.iter().filter(|path| path.is_dir()).map(|path| fullest(path));
    let files = entries.iter().filter(|path| path.is_file()).count();
    below.max().unwrap_or(0).max(files)
}

#[test]
fn one_secret_of_many_is_opened_read_and_written_without_the_others() {
    let (few, many) = (filled(10), filled(MANY));
    let looked = |rig: &Rig| {
        let open = counted(|| drop(rig.vault()));
        let vault = rig.vault();
        let one = counted(|| assert_eq!(get(&vault, &rig.blue, "prod", "SECRET_7").unwrap(), b"value of 7"));
        let put = counted(|| assert!(apply(&vault, &rig.blue, "prod", put("SECRET_8", b"new")).is_ok()));
        (open, one, put)
    };
    let (small, large) = (looked(&few), looked(&many));
    // A signature has some bytes more or fewer (its integers have no leading zeros).
    assert!(large.0.bytes_read.abs_diff(small.0.bytes_read) <= 16, "{large:?} {small:?}");
    assert_eq!(large.0.reads, small.0.reads);
    // One leaf of the index and the branch above it, in place of the head alone; a leaf has at most 32 entries.
    for (large, small) in [(large.1, small.1), (large.2, small.2)] {
        assert!(large.reads <= small.reads + 8, "{large:?}");
        assert!(large.bytes_read <= small.bytes_read + 20_000, "{large:?}");
        assert!(large.bytes_written <= small.bytes_written + 20_000, "{large:?}");
    }
    let records = few.folder().join("records");
    assert!(fullest(&records) <= 10 && fullest(&many.folder().join("records")) <= 16);
}

#[test]
fn a_list_reads_the_clear_parts_and_nothing_of_the_values() {
    let rig = filled(10);
    rig.put("prod", "LARGE", &vec![b'x'; 1 << 20]).unwrap();
    let vault = rig.vault();
    let mut listed = vec![];
    let work = counted(|| listed = vault.list(Some("prod")).unwrap().0);
    assert_eq!(listed.len(), 11);
    assert!(work.bytes_read < 11 * 3_000, "{work:?}");
    assert!(counted(|| drop(vault.find("prod", "LARGE").unwrap())).bytes_read < 3_000);
}

#[test]
fn the_parts_of_a_list_are_the_list() {
    let rig = filled(100);
    rig.put("dev", "OTHER", b"1").unwrap();
    let vault = rig.vault();
    let (whole, unreadable) = vault.list(None).unwrap();
    assert!(whole.len() == 101 && unreadable.is_empty());
    let shelves = vault.shelves(None).unwrap();
    assert!(shelves.len() > 50);
    let mut parts: Vec<_> = shelves.iter().flat_map(|shelf| vault.list_shelf(shelf).unwrap().0).collect();
    parts.sort_by(|a, b| (&a.scope, &a.name).cmp(&(&b.scope, &b.name)));
    assert_eq!(parts, whole);
}

#[test]
fn a_clear_part_longer_than_the_first_look_is_read_whole() {
    let rig = Rig::new();
    let hosts: Vec<String> = (0..60).map(|n| format!("{}-{n}.example.com", "a".repeat(60))).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let mut changes = put("A", b"1");
    changes.puts[0].rules = Rules::for_hosts(&hosts);
    apply(&rig.vault(), &rig.blue, "prod", changes).unwrap();
    assert_eq!(rig.vault().find("prod", "A").unwrap().listed.rules.hosts.len(), 60);
    assert_eq!(rig.get("prod", "A").unwrap(), b"1");
}

/// Every path of the vault below its folder, as text.
fn paths(rig: &Rig) -> BTreeSet<String> {
    rig.files().keys().map(|path| path.to_str().unwrap().to_owned()).collect()
}

#[test]
fn no_two_paths_of_a_vault_differ_by_case_only() {
    let rig = filled(50);
    for name in ["token", "TOKEN", "Token", "Straße", "STRASSE", "ﬁ", "FI", "東京"] {
        rig.put("prod", name, name.as_bytes()).unwrap();
    }
    for path in paths(&rig) {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/.-".contains(c);
        assert!(path.chars().all(plain), "{path}");
    }
    assert_eq!(rig.get("prod", "token").unwrap(), b"token");
    assert_eq!(rig.get("prod", "TOKEN").unwrap(), b"TOKEN");
}

#[test]
fn secrets_share_no_file_whatever_their_names_are() {
    let scope = Rig::new().vault().scope_entry("prod").unwrap().id;
    let shelves: BTreeSet<_> = ["a", "A", "ä", "Ä", "prod", "PROD"].map(|name| record::shelf(scope, name)).into();
    assert_eq!(shelves.len(), 6);
}
