//! The index: which secrets a scope has, in which version. Every file of it is encrypted and named by its digest.
//!
//! A *head* holds the root of a tree; what a node names is found by its digest, so whoever has the head has exactly one state of
//! the scope. Byte forms: `docs/format.md`.

use std::collections::BTreeMap;

use crate::encoding::Digest;
use crate::encoding::plain::check_name;

use super::bytes::{Bytes, Hex, Id, put_field};
use super::crypto::{self, Key};
use super::random::Random;
use super::scope::Ring;

const HEAD: &[u8; 8] = b"TL1head\n";
/// A head's content is padded to a multiple of this, so that two heads of a small scope never look alike to git.
const BLOCK: usize = 256;
/// Entries of a leaf before it is split.
pub const LEAF: usize = 32;
/// Bits of the name's digest that choose a child.
const BITS: usize = 6;
/// Levels below which leaves are not split any more: 60 bits of the digest are used up.
pub const DEEPEST: usize = 10;
/// Versions of one name that may stand beside each other: their number is one byte.
pub const MOST_VERSIONS: usize = 255;
/// All version numbers are below this, the largest integer of canonical JSON.
const NUMBERS_END: u64 = (1 << 53) - 1;

/// The number of the version after `number`. It stays at the highest that there is: no honest writer gets there, and somebody who once
/// had the scope's key must not be able to keep the others from writing on.
#[must_use]
pub fn number_after(number: u64) -> u64 {
    number.saturating_add(1).min(NUMBERS_END - 1)
}

/// What the index knows of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its version, or several, ascending by their changes, each with a record: written apart from each other, and a person has to
    /// say which of them it is.
    pub versions: Vec<Version>,
}

/// A version of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Goes on counting when the secret is removed and put again.
    pub number: u64,
    /// The change that wrote it. A state that knows this change and has another version has replaced or removed this one.
    pub change: Id,
    /// Its record's id and the digest of the record's file; none once it was removed (a tombstone).
    pub record: Option<(Id, Digest)>,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Entries by name.
    Leaf(BTreeMap<String, Entry>),
    /// Children by six bits of the name's digest.
    Branch(BTreeMap<u8, Child>),
}

/// A node's byte form, read as a whole; nothing of it is copied.
enum Items<'a> {
    Leaf(Vec<EntryBytes<'a>>),
    Branch(Vec<(u8, Child)>),
}

/// An entry in its byte form.
struct EntryBytes<'a> {
    name: &'a str,
    count: u8,
    /// They begin here.
    versions: Bytes<'a>,
}

/// Where the search for a name goes on from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It ends there: with the entry, or with none.
    Found(Option<Entry>),
    /// In this node below.
    Below(Child),
}

/// A node as the one above it names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// Digest of its file.
    pub digest: Digest,
    /// The change that wrote it: a state that knows this change knows all that is below it.
    pub change: Id,
}

/// One state of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Heads that this one follows: none in the first, one in most, several where they were joined.
    pub parents: Vec<Digest>,
    /// The change that made it.
    pub change: Id,
    /// Root of the tree.
    pub root: Node,
    /// The parents and heads before them, newest last, since the last pages of `earlier`.
    pub recent: Vec<Ancestor>,
    /// Pages with the heads before those.
    pub earlier: Vec<Digest>,
}

/// A head from which another one was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ancestor {
    /// Digest of the head; zeros for a version that a head under an earlier key brought.
    pub digest: Digest,
    /// The change that made it. For a head under an earlier key, which teaches none, that of the head that joined it.
    pub change: Id,
}

/// The part of a head that is read without a touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadClear {
    /// Commitment of the scope key that it is sealed under.
    pub key: Digest,
    /// Heads that it follows.
    pub parents: Vec<Digest>,
}

/// The two kinds of files below a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A node of the tree.
    Node,
    /// A page of earlier heads.
    Page,
}

impl Kind {
    fn header(self) -> &'static [u8; 8] {
        match self {
            Self::Node => b"TL1node\n",
            Self::Page => b"TL1page\n",
        }
    }
}

/// The child of `name` at `depth` (0 at the root).
#[must_use]
pub fn child(name: &str, depth: usize) -> u8 {
    let digest = Digest::of(name.as_bytes()).0;
    let bits = digest.iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    ((bits >> (64 - BITS * (depth + 1))) & 0x3f) as u8
}

impl Default for Node {
    fn default() -> Self {
        Self::empty()
    }
}

impl Node {
    /// An empty tree.
    #[must_use]
    pub fn empty() -> Self {
        Self::Leaf(BTreeMap::new())
    }

    /// Byte form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Leaf(entries) => {
                out.push(0);
                out.extend(u32::try_from(entries.len()).unwrap_or(u32::MAX).to_be_bytes());
                for entry in entries.values() {
                    entry.put(&mut out);
                }
            }
            Self::Branch(children) => {
                out.push(1);
                out.extend(u32::try_from(children.len()).unwrap_or(u32::MAX).to_be_bytes());
                for (slot, child) in children {
                    out.push(*slot);
                    out.extend(child.digest.0);
                    out.extend(child.change.0);
                }
            }
        }
        out
    }

    /// Reads the byte form; one tree has one form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(match Items::read(bytes)? {
            Items::Leaf(entries) => Self::Leaf(entries.iter().map(|entry| (entry.name.to_owned(), entry.to_entry())).collect()),
            Items::Branch(children) => Self::Branch(children.into_iter().collect()),
        })
    }

    /// Where the search for `name` goes on from this node at `depth` (0 at the root).
    #[must_use]
    pub fn step(&self, name: &str, depth: usize) -> Step {
        match self {
            Self::Leaf(entries) => Step::Found(entries.get(name).cloned()),
            Self::Branch(children) => Step::to(depth, |depth| children.get(&child(name, depth)).copied()),
        }
    }

    /// [`Node::step`] from a node in its byte form, which is refused as [`Node::from_bytes`] refuses it.
    #[must_use]
    pub fn step_in(bytes: &[u8], name: &str, depth: usize) -> Option<Step> {
        Some(match Items::read(bytes)? {
            Items::Leaf(entries) => {
                let found = entries.binary_search_by_key(&name, |entry| entry.name);
                Step::Found(found.ok().map(|at| entries[at].to_entry()))
            }
            Items::Branch(children) => Step::to(depth, |depth| {
                let found = children.binary_search_by_key(&child(name, depth), |(slot, _)| *slot);
                found.ok().map(|at| children[at].1)
            }),
        })
    }
}

impl Step {
    fn to(depth: usize, child: impl FnOnce(usize) -> Option<Child>) -> Self {
        // A name's hash has no bits for a branch below that.
        let child = (depth < DEEPEST).then_some(depth).and_then(child);
        child.map_or(Self::Found(None), Self::Below)
    }
}

impl<'a> Items<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes::new(bytes);
        let kind = bytes.u8()?;
        let count = bytes.u32()?;
        let items = match kind {
            0 => Self::Leaf(read_ascending(count, || EntryBytes::take(&mut bytes), |entry| entry.name)?),
            1 => {
                let child = || {
                    let slot = bytes.u8().filter(|s| *s < 64)?;
                    let (digest, change) = (Digest(bytes.array()?), Hex(bytes.array()?));
                    Some((slot, Child { digest, change }))
                };
                Self::Branch(read_ascending(count, child, |(slot, _)| *slot)?)
            }
            _ => return None,
        };
        bytes.end()?;
        Some(items)
    }
}

/// `count` items with keys in strictly ascending order.
fn read_ascending<T, K: Ord>(count: u32, mut next: impl FnMut() -> Option<T>, key: impl Fn(&T) -> K) -> Option<Vec<T>> {
    let mut items: Vec<T> = Vec::new();
    for _ in 0..count {
        let item = next()?;
        if items.last().is_some_and(|last| key(last) >= key(&item)) {
            return None;
        }
        items.push(item);
    }
    Some(items)
}

impl<'a> EntryBytes<'a> {
    fn take(bytes: &mut Bytes<'a>) -> Option<Self> {
        let name = str::from_utf8(bytes.field()?).ok()?;
        check_name("the secret's name", name).ok()?;
        let count = bytes.u8()?;
        let versions = *bytes;
        let (mut last, mut all_live) = (None, true);
        for _ in 0..count {
            let version = Version::take(bytes)?;
            if last.is_some_and(|last| last >= version.change) {
                return None;
            }
            last = Some(version.change);
            all_live &= version.record.is_some();
        }
        (count == 1 || count > 1 && all_live).then_some(Self { name, count, versions })
    }

    fn to_entry(&self) -> Entry {
        let mut versions = self.versions;
        Entry {
            name: self.name.to_owned(),
            versions: (0..self.count).map_while(|_| Version::take(&mut versions)).collect(),
        }
    }
}

impl Entry {
    /// The highest number of its versions.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.versions.iter().map(|version| version.number).max().unwrap_or(0)
    }

    /// The number of the version that comes after `before`.
    #[must_use]
    pub fn next_number(before: Option<&Self>) -> u64 {
        number_after(before.map_or(0, Self::number))
    }

    /// Ids and digests of its records; none of a tombstone, several of a secret that was written apart.
    pub fn records(&self) -> impl Iterator<Item = (Id, Digest)> {
        self.versions.iter().filter_map(|version| version.record)
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_field(out, self.name.as_bytes());
        out.push(u8::try_from(self.versions.len()).unwrap_or(u8::MAX));
        for version in &self.versions {
            out.extend(version.number.to_be_bytes());
            out.extend(version.change.0);
            match &version.record {
                None => out.push(0),
                Some((id, digest)) => {
                    out.push(1);
                    out.extend(id.0);
                    out.extend(digest.0);
                }
            }
        }
    }
}

impl Version {
    /// As a head under an earlier key brings it: by a change made of what it is, which no version of other content has. None of a
    /// tombstone.
    #[must_use]
    pub fn brought(&self) -> Option<Self> {
        let (id, digest) = self.record?;
        let made_of = Digest::of(&crypto::label("brought", &[&self.change.0, &id.0, &digest.0]));
        let change = Hex(*made_of.0.first_chunk()?);
        Some(Self { change, ..*self })
    }

    fn take(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(Self {
            number: bytes.u64().filter(|number| *number < NUMBERS_END)?,
            change: Hex(bytes.array()?),
            record: match bytes.u8()? {
                0 => None,
                1 => Some((Hex(bytes.array()?), Digest(bytes.array()?))),
                _ => return None,
            },
        })
    }
}

impl Head {
    /// Seals the head under the scope key in force.
    pub fn seal(&self, ring: &Ring, random: &mut Random) -> Option<Vec<u8>> {
        let mut plain = Vec::new();
        put_field(&mut plain, &self.root.to_bytes());
        plain.extend(self.change.0);
        plain.extend(page_bytes(&self.recent, &self.earlier));
        plain.resize(plain.len().next_multiple_of(BLOCK), 0);
        let mut file = HEAD.to_vec();
        file.extend(ring.current().0);
        file.push(u8::try_from(self.parents.len()).ok()?);
        file.extend(self.parents.iter().flat_map(|d| d.0));
        let aad = file.clone();
        crypto::seal(&mut file, &key(ring, &ring.current())?, &aad, &plain, random)?;
        Some(file)
    }

    /// Opens a head under the scope key that it names. One under an earlier key may be anybody's who ever had that key (a removed
    /// security key): what it may say is for whoever joins them.
    #[must_use]
    pub fn open(ring: &Ring, file: &[u8]) -> Option<Self> {
        let clear = HeadClear::read(file)?;
        let (aad, sealed) = file.split_at_checked(HEAD.len() + 33 + 32 * clear.parents.len())?;
        let plain = crypto::open(&key(ring, &clear.key)?, aad, sealed)?;
        let mut bytes = Bytes::new(&plain);
        let head = Self {
            parents: clear.parents,
            root: Node::from_bytes(bytes.field()?)?,
            change: Hex(bytes.array()?),
            recent: take_list(&mut bytes, take_ancestor)?,
            earlier: take_list(&mut bytes, take_digest)?,
        };
        let padding = bytes.rest();
        let whole = plain.len().is_multiple_of(BLOCK) && padding.len() < BLOCK;
        (whole && padding.iter().all(|b| *b == 0)).then_some(head)
    }
}

impl HeadClear {
    /// Reads it from the front of a head's file.
    #[must_use]
    pub fn read(file: &[u8]) -> Option<Self> {
        let mut bytes = Bytes::new(file.strip_prefix(HEAD)?);
        let key = Digest(bytes.array()?);
        let count = bytes.u8()?;
        let parents = (0..count).map(|_| bytes.array().map(Digest)).collect::<Option<Vec<_>>>()?;
        Some(Self { key, parents })
    }
}

/// A page of earlier heads, and the pages before it.
#[must_use]
pub fn page_bytes(heads: &[Ancestor], earlier: &[Digest]) -> Vec<u8> {
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    let mut out = count(heads.len()).to_vec();
    for head in heads {
        out.extend(head.digest.0);
        out.extend(head.change.0);
    }
    out.extend(count(earlier.len()));
    out.extend(earlier.iter().flat_map(|d| d.0));
    out
}

/// Reads what [`page_bytes`] wrote.
#[must_use]
pub fn read_page(bytes: &[u8]) -> Option<(Vec<Ancestor>, Vec<Digest>)> {
    let mut bytes = Bytes::new(bytes);
    let page = (take_list(&mut bytes, take_ancestor)?, take_list(&mut bytes, take_digest)?);
    bytes.end()?;
    Some(page)
}

/// Seals a node or page under the scope key in force.
pub fn seal_below(ring: &Ring, kind: Kind, plain: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut file = kind.header().to_vec();
    file.extend(ring.current().0);
    let aad = file.clone();
    crypto::seal(&mut file, &key(ring, &ring.current())?, &aad, plain, random)?;
    Some(file)
}

/// Opens a node or page. It may be of an earlier epoch: the digest by which the head names it vouches for it.
#[must_use]
pub fn open_below(ring: &Ring, kind: Kind, file: &[u8]) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    let body = file.strip_prefix(kind.header())?;
    let commitment = Digest(*body.first_chunk()?);
    let (aad, sealed) = file.split_at_checked(8 + 32)?;
    crypto::open(&key(ring, &commitment)?, aad, sealed)
}

/// Path of a head.
#[must_use]
pub fn head_path(scope: Id, digest: &Digest) -> String {
    format!("heads/{scope}/{digest}")
}

/// Path of a node or page.
#[must_use]
pub fn below_path(scope: Id, digest: &Digest) -> String {
    let text = digest.to_string();
    format!("index/{scope}/{}/{text}", &text[..2])
}

fn key(ring: &Ring, commitment: &Digest) -> Option<Key> {
    ring.derive(commitment, "index", &[])
}

fn take_list<T>(bytes: &mut Bytes<'_>, take: impl Fn(&mut Bytes<'_>) -> Option<T>) -> Option<Vec<T>> {
    let count = bytes.u32()?;
    (0..count).map(|_| take(bytes)).collect()
}

fn take_digest(bytes: &mut Bytes<'_>) -> Option<Digest> {
    bytes.array().map(Digest)
}

fn take_ancestor(bytes: &mut Bytes<'_>) -> Option<Ancestor> {
    let (digest, change) = (Digest(bytes.array()?), Hex(bytes.array()?));
    Some(Ancestor { digest, change })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::random;
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.into(),
            versions: vec![version(1, Some(Digest::of(name.as_bytes())))],
        }
    }

    fn version(change: u8, file: Option<Digest>) -> Version {
        Version {
            number: 3,
            change: Hex([change; 16]),
            record: file.map(|file| (Hex([1; 16]), file)),
        }
    }

    #[test]
    fn a_node_has_one_byte_form() {
        let removed = Entry {
            name: "b".into(),
            versions: vec![version(1, None)],
        };
        let apart = Entry {
            name: "c".into(),
            versions: vec![version(1, Some(Digest::of(b"1"))), version(2, Some(Digest::of(b"2")))],
        };
        let leaf = Node::Leaf([entry("a"), removed, apart].map(|e| (e.name.clone(), e)).into());
        let child = |name: &[u8]| Child {
            digest: Digest::of(name),
            change: Hex([9; 16]),
        };
        let branch = Node::Branch([(0, child(b"x")), (super::child("a", 0), child(b"z")), (63, child(b"y"))].into());
        for node in [leaf, branch, Node::empty()] {
            let bytes = node.to_bytes();
            for (name, depth) in ["a", "b", "c", "d"]
                .into_iter()
                .flat_map(|name| [(name, 0), (name, 9), (name, DEEPEST)])
            {
                assert_eq!(Node::step_in(&bytes, name, depth), Some(node.step(name, depth)), "{name} {depth}");
            }
            assert_eq!(Node::from_bytes(&bytes), Some(node));
            for len in 0..bytes.len() {
                assert_eq!(Node::from_bytes(&bytes[..len]), None);
            }
            assert_eq!(Node::from_bytes(&[&bytes[..], &[0]].concat()), None);
        }
        let twice = [
            &[0, 0, 0, 0, 2][..],
            &Node::Leaf([("a".into(), entry("a"))].into()).to_bytes()[5..].repeat(2),
        ]
        .concat();
        assert_eq!(Node::from_bytes(&twice), None);
    }

    #[test]
    fn an_entry_has_one_version_or_several_live_ones_in_order() {
        let (live, other) = (Some(Digest::of(b"1")), Some(Digest::of(b"2")));
        for versions in [
            vec![],
            vec![version(1, live), version(2, None)],
            vec![version(2, live), version(1, other)],
            vec![version(1, live), version(1, other)],
        ] {
            let bad = Entry {
                name: "a".into(),
                versions,
            };
            assert_eq!(Node::from_bytes(&Node::Leaf([("a".into(), bad)].into()).to_bytes()), None);
        }
    }

    #[test]
    fn version_numbers_are_integers_of_json_and_the_last_one_stays() {
        let numbered = |number| Entry {
            name: "a".into(),
            versions: vec![Version {
                number,
                ..version(1, None)
            }],
        };
        let is_read = |number| Node::from_bytes(&Node::Leaf([("a".into(), numbered(number))].into()).to_bytes()).is_some();
        assert!(is_read(NUMBERS_END - 1) && !is_read(NUMBERS_END) && !is_read(u64::MAX));
        assert_eq!(Entry::next_number(None), 1);
        for number in [NUMBERS_END - 2, NUMBERS_END - 1, u64::MAX] {
            assert_eq!(Entry::next_number(Some(&numbered(number))), NUMBERS_END - 1);
        }
    }

    #[test]
    fn t53_a_head_opens_whole_or_not_at_all() {
        let random = &mut random::system();
        let ring = Ring::generate(Digest::of(b"v"), Hex([1; 16]), 1, random);
        let head = Head {
            parents: vec![Digest::of(b"p")],
            change: Hex([2; 16]),
            root: Node::Leaf([("a".into(), entry("a"))].into()),
            recent: vec![Ancestor {
                digest: Digest::of(b"p"),
                change: Hex([3; 16]),
            }],
            earlier: vec![],
        };
        let file = head.seal(&ring, random).unwrap();
        assert_eq!(Head::open(&ring, &file), Some(head));
        for i in 0..file.len() {
            let mut bad = file.clone();
            bad[i] ^= 1;
            assert_eq!(Head::open(&ring, &bad), None, "{i}");
            assert_eq!(Head::open(&ring, &file[..i]), None, "{i}");
        }
    }

    #[test]
    fn a_head_has_one_padding() {
        let random = &mut random::system();
        let ring = Ring::generate(Digest::of(b"v"), Hex([1; 16]), 1, random);
        let front = [&HEAD[..], &ring.current().0, &[0]].concat();
        let content = [&[0, 0, 0, 5][..], &Node::empty().to_bytes(), &[1; 16], &[0; 8]].concat();
        let padded = |to: usize| {
            let mut plain = content.clone();
            plain.resize(to, 0);
            let mut file = front.clone();
            crypto::seal(&mut file, &key(&ring, &ring.current()).unwrap(), &front, &plain, random).unwrap();
            Head::open(&ring, &file).is_some()
        };
        assert_eq!([17, 255, 256, 257, 512].map(padded), [false, false, true, false, false]);
    }

    #[test]
    fn heads_and_nodes_open_under_the_key_that_they_name() {
        let random = &mut random::system();
        let old = Ring::generate(Digest::of(b"v"), Hex([1; 16]), 1, random);
        let new = old.followed_by(&Ring::generate(old.vault, old.scope, 2, random));
        let head = Head {
            parents: vec![],
            change: Hex([2; 16]),
            root: Node::empty(),
            recent: vec![],
            earlier: vec![],
        };
        assert!(Head::open(&new, &head.seal(&old, random).unwrap()).is_some());
        assert!(Head::open(&old, &head.seal(&new, random).unwrap()).is_none());
        let node = seal_below(&old, Kind::Node, b"x", random).unwrap();
        assert_eq!(&**open_below(&new, Kind::Node, &node).unwrap(), b"x");
        assert!(open_below(&new, Kind::Page, &node).is_none());
    }
}
