//! Reading one secret of the index on one path, and writing a new state of it.

use std::collections::BTreeMap;

use crate::encoding::Digest;

use super::bytes::Id;
use super::error::VaultError;
use super::index::{
    DEEPEST, Entry, Head, HeadClear, Kind, LEAF, Node, below_path, child, head_path, open_below, page_bytes, read_page, seal_below,
};
use super::journal::Change;
use super::random::Random;
use super::scope::Ring;
use super::statement::ScopeEntry;
use super::store::Store;

const LARGEST_HEAD: usize = 1 << 20;
const LARGEST_NODE: usize = 1 << 20;
/// Earlier heads kept in the head itself; more go into a page.
const RECENT: usize = 64;
/// Another writer replaces a head in two steps; this many in a row while one look is taken is no coincidence.
const RETRIES: u32 = 5;

/// A scope's index, opened.
pub struct Index<'a> {
    store: &'a Store,
    ring: &'a Ring,
    digest: Digest,
    head: Head,
}

/// The head in force, found without a touch: not named as a parent by another, and under the scope key in force.
///
/// # Errors
/// [`VaultError::ForkedIndex`]; [`VaultError::Missing`] when there is none; a damaged head.
pub fn head(store: &Store, scope: &ScopeEntry) -> Result<Digest, VaultError> {
    let mut heads = heads(store, scope)?;
    for _ in 0..RETRIES {
        if heads.is_some() {
            break;
        }
        heads = self::heads(store, scope)?;
    }
    let heads = heads.unwrap_or_default();
    let followed: Vec<Digest> = heads.values().flatten().copied().collect();
    let ends: Vec<Digest> = heads.into_keys().filter(|digest| !followed.contains(digest)).collect();
    match ends.as_slice() {
        [end] => Ok(*end),
        [] => Err(VaultError::Missing {
            path: format!("the index head of scope {} (heads/{})", scope.name, scope.id),
        }),
        _ => Err(VaultError::ForkedIndex {
            scope: scope.name.clone(),
            heads: ends,
        }),
    }
}

/// Heads under the scope key in force and their parents; none when another writer removed one between the list and the look.
fn heads(store: &Store, scope: &ScopeEntry) -> Result<Option<BTreeMap<Digest, Vec<Digest>>>, VaultError> {
    let mut heads = BTreeMap::new();
    for name in store.list(&format!("heads/{}", scope.id))? {
        let path = format!("heads/{}/{name}", scope.id);
        let digest = Digest::from_hex(&name).ok_or_else(|| VaultError::damaged(path, "not the name of an index head"))?;
        let file = match read_head(store, scope.id, &digest) {
            Err(VaultError::Missing { .. }) => return Ok(None),
            read => read?,
        };
        let clear = HeadClear::read(&file).ok_or_else(|| damaged_head(scope.id, &digest))?;
        if clear.key == scope.commitment {
            heads.insert(digest, clear.parents);
        }
    }
    Ok(Some(heads))
}

/// A scope's first head: its digest and bytes.
///
/// # Errors
/// [`VaultError::Sealing`].
pub fn first_head(ring: &Ring, random: &mut Random) -> Result<(Digest, Vec<u8>), VaultError> {
    let head = Head {
        parents: Vec::new(),
        root: Node::empty(),
        recent: Vec::new(),
        earlier: Vec::new(),
    };
    sealed_head(&head, ring, random)
}

impl<'a> Index<'a> {
    /// Opens the head `digest`.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] when it does not open under the scope key in force.
    pub fn open(store: &'a Store, ring: &'a Ring, digest: Digest) -> Result<Self, VaultError> {
        let file = read_head(store, ring.scope, &digest)?;
        let head = Head::open(ring, &file).ok_or_else(|| damaged_head(ring.scope, &digest))?;
        Ok(Self { store, ring, digest, head })
    }

    /// What the index knows of `name`.
    ///
    /// # Errors
    /// A missing or damaged node.
    pub fn find(&self, name: &str) -> Result<Option<Entry>, VaultError> {
        let mut below = None;
        for depth in 0..=DEEPEST {
            match below.as_ref().unwrap_or(&self.head.root) {
                Node::Leaf(entries) => return Ok(entries.get(name).cloned()),
                // A name's hash has no bits for a branch below that.
                Node::Branch(_) if depth == DEEPEST => return Ok(None),
                Node::Branch(children) => match children.get(&child(name, depth)) {
                    Some(digest) => below = Some(self.node(digest)?),
                    None => return Ok(None),
                },
            }
        }
        Ok(None)
    }

    /// Every entry, tombstones included.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn entries(&self) -> Result<Vec<Entry>, VaultError> {
        let mut entries = Vec::new();
        let mut waiting = vec![(self.head.root.clone(), 0)];
        while let Some((node, depth)) = waiting.pop() {
            match node {
                Node::Leaf(leaf) => entries.extend(leaf.into_values()),
                Node::Branch(children) if depth < DEEPEST => {
                    for digest in children.values() {
                        waiting.push((self.node(digest)?, depth + 1));
                    }
                }
                Node::Branch(_) => return Err(damaged_head(self.ring.scope, &self.digest)),
            }
        }
        Ok(entries)
    }

    /// Whether this state is `earlier` or was made from it.
    ///
    /// # Errors
    /// A missing or damaged page.
    pub fn descends_from(&self, earlier: &Digest) -> Result<bool, VaultError> {
        let near = [&self.head.parents[..], &self.head.recent].concat();
        if self.digest == *earlier || near.contains(earlier) {
            return Ok(true);
        }
        let mut waiting = self.head.earlier.clone();
        while let Some(page) = waiting.pop() {
            let (heads, earlier_pages) = self.page(&page)?;
            if heads.contains(earlier) {
                return Ok(true);
            }
            waiting.extend(earlier_pages);
        }
        Ok(false)
    }

    /// Adds to `change` the files of the state in which `entries` replaced what the index had of their names, sealed under `ring`
    /// (this scope's, perhaps of the next epoch). The new head's digest and bytes are returned: it is for the caller to write them.
    ///
    /// # Errors
    /// A missing or damaged node.
    pub fn next(
        &self,
        ring: &Ring,
        entries: Vec<Entry>,
        change: &mut Change,
        random: &mut Random,
    ) -> Result<(Digest, Vec<u8>), VaultError> {
        let mut writer = Writer {
            index: self,
            ring,
            change,
            random,
        };
        let root = writer.update(self.head.root.clone(), 0, entries)?;
        let (mut recent, mut earlier) = (self.head.recent.clone(), self.head.earlier.clone());
        recent.extend(&self.head.parents);
        if recent.len() >= RECENT {
            earlier = vec![writer.put(Kind::Page, &page_bytes(&recent, &earlier))?];
            recent.clear();
        }
        change.remove(head_path(self.ring.scope, &self.digest));
        let head = Head {
            parents: vec![self.digest],
            root,
            recent,
            earlier,
        };
        sealed_head(&head, ring, random)
    }

    fn node(&self, digest: &Digest) -> Result<Node, VaultError> {
        let (path, plain) = self.below(Kind::Node, digest)?;
        Node::from_bytes(&plain).ok_or_else(|| VaultError::damaged(path, "not a node of the index"))
    }

    fn page(&self, digest: &Digest) -> Result<(Vec<Digest>, Vec<Digest>), VaultError> {
        let (path, plain) = self.below(Kind::Page, digest)?;
        read_page(&plain).ok_or_else(|| VaultError::damaged(path, "not a page of the index"))
    }

    fn below(&self, kind: Kind, digest: &Digest) -> Result<(String, zeroize::Zeroizing<Vec<u8>>), VaultError> {
        let path = below_path(self.ring.scope, digest);
        let file = self.store.read(&path, LARGEST_NODE)?;
        if Digest::of(&file) != *digest {
            return Err(VaultError::damaged(path, "its digest is another one"));
        }
        match open_below(self.ring, kind, &file) {
            Some(plain) => Ok((path, plain)),
            None => Err(VaultError::damaged(path, "it does not open with the scope's key")),
        }
    }
}

struct Writer<'a, 'b> {
    index: &'b Index<'a>,
    ring: &'b Ring,
    change: &'b mut Change,
    random: &'b mut Random,
}

impl Writer<'_, '_> {
    fn update(&mut self, node: Node, depth: usize, entries: Vec<Entry>) -> Result<Node, VaultError> {
        match node {
            Node::Leaf(mut leaf) => {
                leaf.extend(entries.into_iter().map(|entry| (entry.name.clone(), entry)));
                if leaf.len() <= LEAF || depth == DEEPEST {
                    return Ok(Node::Leaf(leaf));
                }
                self.descend(BTreeMap::new(), depth, leaf.into_values().collect())
            }
            Node::Branch(children) => self.descend(children, depth, entries),
        }
    }

    fn descend(&mut self, mut children: BTreeMap<u8, Digest>, depth: usize, entries: Vec<Entry>) -> Result<Node, VaultError> {
        let mut by_child: BTreeMap<u8, Vec<Entry>> = BTreeMap::new();
        for entry in entries {
            by_child.entry(child(&entry.name, depth)).or_default().push(entry);
        }
        for (slot, entries) in by_child {
            let below = match children.get(&slot) {
                Some(digest) => {
                    self.change.remove(below_path(self.index.ring.scope, digest));
                    self.index.node(digest)?
                }
                None => Node::empty(),
            };
            let below = self.update(below, depth + 1, entries)?;
            children.insert(slot, self.put(Kind::Node, &below.to_bytes())?);
        }
        Ok(Node::Branch(children))
    }

    fn put(&mut self, kind: Kind, plain: &[u8]) -> Result<Digest, VaultError> {
        let file = seal_below(self.ring, kind, plain, self.random).ok_or(VaultError::Sealing("the index"))?;
        let digest = Digest::of(&file);
        self.change.add(below_path(self.ring.scope, &digest), file);
        Ok(digest)
    }
}

fn sealed_head(head: &Head, ring: &Ring, random: &mut Random) -> Result<(Digest, Vec<u8>), VaultError> {
    let file = head.seal(ring, random).ok_or(VaultError::Sealing("the index head"))?;
    Ok((Digest::of(&file), file))
}

fn read_head(store: &Store, scope: Id, digest: &Digest) -> Result<Vec<u8>, VaultError> {
    let path = head_path(scope, digest);
    let file = store.read(&path, LARGEST_HEAD)?;
    if Digest::of(&file) == *digest {
        Ok(file)
    } else {
        Err(VaultError::damaged(path, "its digest is another one"))
    }
}

fn damaged_head(scope: Id, digest: &Digest) -> VaultError {
    VaultError::damaged(head_path(scope, digest), "it does not open as the scope's index head")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::bytes::Hex;
    use super::super::random;
    use super::super::testing::Folder;
    use super::*;

    fn entry(n: u32, version: u64) -> Entry {
        Entry {
            name: format!("NAME_{n}"),
            version,
            record: Some((Hex([1; 16]), Digest::of(&n.to_be_bytes()))),
        }
    }

    fn commit(store: &Store, ring: &Ring, before: Digest, entries: Vec<Entry>) -> Digest {
        let mut change = Change::default();
        let index = Index::open(store, ring, before).unwrap();
        let (digest, bytes) = index.next(ring, entries, &mut change, &mut random::system()).unwrap();
        change
            .commit(&store.lock().unwrap(), &head_path(ring.scope, &digest), &bytes)
            .unwrap();
        digest
    }

    fn start() -> (Folder, Store, Ring, Digest) {
        let folder = Folder::new();
        let store = Store::open(&folder).unwrap();
        let ring = Ring::generate(Digest::of(b"v"), Hex([1; 16]), 1, &mut random::system());
        let (digest, bytes) = first_head(&ring, &mut random::system()).unwrap();
        Change::default()
            .commit(&store.lock().unwrap(), &head_path(ring.scope, &digest), &bytes)
            .unwrap();
        (folder, store, ring, digest)
    }

    #[test]
    fn a_thousand_secrets_are_found_each_on_its_path_and_old_nodes_are_gone() {
        let (folder, store, ring, first) = start();
        let head = commit(&store, &ring, first, (0..1000).map(|n| entry(n, 1)).collect());
        let head = commit(&store, &ring, head, vec![entry(5, 2), entry(1000, 1)]);
        let index = Index::open(&store, &ring, head).unwrap();
        for n in 0..=1000 {
            let version = if n == 5 { 2 } else { 1 };
            assert_eq!(index.find(&format!("NAME_{n}")).unwrap(), Some(entry(n, version)));
        }
        assert_eq!(index.find("NAME_1001").unwrap(), None);
        assert_eq!(index.entries().unwrap().len(), 1001);
        let nodes: usize = std::fs::read_dir(folder.join(format!("index/{}", ring.scope)))
            .unwrap()
            .map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap().count())
            .sum();
        // 64 children of about 16 entries: none of them split, and no replaced one left behind.
        assert_eq!(nodes, 64);
    }

    #[test]
    fn a_state_knows_all_states_that_it_was_made_from() {
        let (_folder, store, ring, first) = start();
        let mut heads = vec![first];
        for n in 0..200 {
            heads.push(commit(&store, &ring, heads[heads.len() - 1], vec![entry(n % 3, u64::from(n) + 1)]));
        }
        let index = Index::open(&store, &ring, heads[200]).unwrap();
        for head in &heads {
            assert!(index.descends_from(head).unwrap());
        }
        assert!(!index.descends_from(&Digest::of(b"another")).unwrap());
        assert_eq!(store.list(&format!("heads/{}", ring.scope)).unwrap().len(), 1);
    }
}
