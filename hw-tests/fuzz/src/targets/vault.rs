//! The vault's files. What lies inside a sealed box is reached by sealing it first, as whoever has the key could.

use std::path::Path;
use std::sync::LazyLock;

use crate::encoding::sshsig::Namespace;
use crate::encoding::sshsig::ecdsa;
use crate::encoding::{Digest, jcs};
use crate::samples::text;
use crate::samples::vault::{OUTPUT, half_key, holder, pair, place, random, ring};
use crate::vault::backup::archive;
use crate::vault::bytes::{Bytes, put_field};
use crate::vault::crypto::{self, Key};
use crate::vault::index::{DEEPEST, Head, HeadClear, Kind, Node, open_below, page_bytes, read_page, seal_below};
use crate::vault::journal::Pending;
use crate::vault::record::{self, Record};
use crate::vault::recovery::RecoveryCode;
use crate::vault::scope::Ring;
use crate::vault::statement::Statement;
use crate::vault::{accepted as memory, marker as format_file, slot};

/// The file `format`.
pub fn marker(data: &[u8]) {
    if let Ok(number) = format_file::parse(data) {
        assert_eq!(data, format!("touchlease vault {number}\n").as_bytes());
    }
}

/// A statement of the roster.
pub fn statement(data: &[u8]) {
    let newer = Statement::format_of(data);
    if let Ok(statement) = Statement::from_bytes(data) {
        assert_eq!(statement.to_bytes().as_deref(), Ok(data));
        assert_eq!(newer, Some(statement.v));
        // A card's signature says nothing of PIN and touch, and it has no credentials.
        assert!(
            statement
                .keys
                .iter()
                .all(|key| key.is_enrolled_as(key) && key.fido2().is_some() == key.way().contains("touch"))
        );
        assert!(statement.may_follow(&statement) && statement.scopes.iter().all(|scope| statement.scope(&scope.name) == Some(scope)));
    }
}

/// A statement's signature by the recovery key or a PIV key.
pub fn recovery_signature(data: &[u8]) {
    let Ok(armored) = str::from_utf8(data) else { return };
    if let Some(point) = ecdsa::signer(armored)
        && ecdsa::verify(armored, &point, Namespace::Vault, text::SIGNED)
    {
        assert!(!ecdsa::verify(armored, &point, Namespace::Lease, text::SIGNED));
        assert!(!ecdsa::verify(&format!("{armored}\n"), &point, Namespace::Vault, text::SIGNED));
    }
}

/// An index head: as it lies in the folder, and with any content under the scope's key.
pub fn head(data: &[u8]) {
    let ring = ring();
    if let Some(clear) = HeadClear::read(data) {
        assert!(data.len() >= 41 + 32 * clear.parents.len());
    }
    assert!(Head::open(&ring, data).is_none() || data.starts_with(b"TL1head\n"));
    let mut front = b"TL1head\n".to_vec();
    front.extend(ring.current().0);
    front.extend([1; 33]);
    let file = boxed(&ring, "index", &front, data);
    if let Some(head) = Head::open(&ring, &file) {
        let again = head.seal(&ring, &mut random()).expect("what was read can be written");
        assert_eq!(unboxed(&ring, "index", front.len(), &again), data);
    }
}

/// A node of the index.
pub fn node(data: &[u8]) {
    let ring = ring();
    let node = Node::from_bytes(data);
    for (name, depth) in [("NAME_1", 0), ("NAME_1", DEEPEST), ("b", 1)] {
        assert_eq!(Node::step_in(data, name, depth), node.as_ref().map(|node| node.step(name, depth)));
    }
    if let Some(node) = node {
        assert_eq!(node.to_bytes(), data);
        let file = seal_below(&ring, Kind::Node, data, &mut random()).expect("a node is sealed");
        assert_eq!(open_below(&ring, Kind::Node, &file).as_deref().map(Vec::as_slice), Some(data));
        assert!(open_below(&ring, Kind::Page, &file).is_none());
    }
    assert!(open_below(&ring, Kind::Node, data).is_none() || data.starts_with(b"TL1node\n"));
}

/// A page of earlier heads.
pub fn page(data: &[u8]) {
    if let Some((heads, earlier)) = read_page(data) {
        assert_eq!(page_bytes(&heads, &earlier), data);
    }
    assert!(open_below(&ring(), Kind::Page, data).is_none() || data.starts_with(b"TL1page\n"));
}

/// A record: as it lies in the folder, and with any content under the scope's key.
pub fn record(data: &[u8]) {
    let ring = ring();
    if let Ok(record) = Record::parse(data) {
        let mut again = b"TL1reco\n".to_vec();
        put_field(&mut again, &jcs::to_vec(&record.clear).expect("what was read can be written"));
        assert!(data.starts_with(&again));
        let _ = record.open(&ring, "a record");
    }
    let clear = crate::samples::vault::clear(&ring);
    let mut front = b"TL1reco\n".to_vec();
    put_field(&mut front, &jcs::to_vec(&clear).expect("a clear part"));
    let key = ring.derive(&ring.current(), "record", &[&clear.id.0]).expect("the key in force");
    let mut file = front.clone();
    crypto::seal(&mut file, &key, &front, data, &mut random()).expect("a record is sealed");
    let value = Record::parse(&file).expect("a sound record").open(&ring, "a record");
    if let Ok(value) = value {
        let again = record::seal(&ring, &clear, &value, &mut random()).expect("what was read can be written");
        let plain = crypto::open(&key, &front, &again[front.len()..]).expect("our own box");
        assert_eq!(plain.as_slice(), data);
    }
}

/// A private half: as it lies in the folder, and with any content under the key's output.
pub fn half(data: &[u8]) {
    let opens = |file: &[u8]| slot::open_half(&place(), &holder(), &OUTPUT, &pair().1, file).is_some();
    assert!(!opens(data) || data.len() == slot::HALF_LEN);
    let mut file = b"TL1half\n".to_vec();
    crypto::seal(&mut file, &half_key(), b"TL1half\n", data, &mut random()).expect("a half is sealed");
    static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| crate::samples::vault::slot_half().remove(1));
    assert_eq!(opens(&file), data == GOOD.as_slice());
}

/// A scope key that is sealed to a slot.
pub fn seal(data: &[u8]) {
    let opened = slot::open_scope_key(&place(), 1, &pair().0, data);
    assert!(opened.is_none() || data.len() == slot::SEALED_LEN);
}

/// The keys of earlier epochs.
pub fn carry(data: &[u8]) {
    let mut raw = ring();
    assert!(raw.take_in(data).is_none() || data.starts_with(b"TL1carr\n"));
    let mut ring = ring();
    let file = boxed(&ring, "carry", b"TL1carr\n", data);
    if ring.take_in(&file).is_some() {
        assert_eq!(data.len() % 40, 0);
        let again = ring.carry(&mut random()).expect("what was read can be written");
        let mut keys: Vec<&[u8]> = data.chunks(40).collect();
        let again = unboxed(&ring, "carry", 8, &again);
        let mut written: Vec<&[u8]> = again.chunks(40).collect();
        keys.sort_unstable();
        keys.dedup();
        written.sort_unstable();
        assert!(written.iter().all(|key| keys.contains(key)) && written.len() + 1 >= keys.len());
    }
}

/// The list of a change that is being written.
pub fn change_list(data: &[u8]) {
    let name = format!("pending/{}", Digest::of(data));
    if let Ok(list) = Pending::parse(&name, data) {
        assert_eq!(list.to_text().as_bytes(), data);
        let paths = [&list.adds[..], &list.removes, std::slice::from_ref(&list.decides)].concat();
        assert!(
            paths
                .iter()
                .all(|path| !path.starts_with('/') && !path.split('/').any(|part| part == ".." || part.is_empty()))
        );
    }
}

/// What a machine remembers of a vault.
pub fn accepted(data: &[u8]) {
    if let Ok(accepted) = memory::read(Path::new("state"), data, place().vault) {
        assert_eq!(jcs::to_vec(&accepted).expect("what was read can be written"), data);
    }
}

/// The list of the records that a machine has accepted.
pub fn records_list(data: &[u8]) {
    let known = memory::read_records(data);
    let text: String = known.iter().map(|id| format!("{id}\n")).collect();
    assert_eq!(memory::read_records(text.as_bytes()), known);
    let gone: String = known.iter().map(|id| format!("{id}\n-{id}\n")).collect();
    assert!(memory::read_records(gone.as_bytes()).is_empty());
}

/// A backup: what is read is written as an archive of the same contents.
pub fn backup(data: &[u8]) {
    let mut writer = archive::Writer::new(vec![]);
    let read = archive::read(data, |path, bytes| writer.add(path, &bytes));
    if let Ok(contents) = read {
        let again = writer
            .finish(contents.vault, contents.roster)
            .expect("what was read can be written");
        assert_eq!(again, contents);
    }
}

/// A recovery code as people type it.
pub fn recovery_code(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(code) = RecoveryCode::parse(text) {
        let written = code.to_text();
        let plain = |text: &str| text.chars().filter(|c| *c != '-' && !c.is_whitespace()).collect::<String>();
        let typed = plain(text).to_uppercase().replace('O', "0").replace(['I', 'L'], "1");
        assert_eq!(plain(&written), typed);
        assert!(RecoveryCode::parse(&written).is_ok());
    }
}

fn boxed(ring: &Ring, purpose: &str, front: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut file = front.to_vec();
    crypto::seal(&mut file, &key(ring, purpose), front, plain, &mut random()).expect("a box is sealed");
    file
}

fn unboxed(ring: &Ring, purpose: &str, front: usize, file: &[u8]) -> Vec<u8> {
    crypto::open(&key(ring, purpose), &file[..front], &file[front..])
        .expect("our own box")
        .to_vec()
}

fn key(ring: &Ring, purpose: &str) -> Key {
    ring.derive(&ring.current(), purpose, &[]).expect("the key in force")
}
