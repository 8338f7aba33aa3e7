//! Reading one secret of the index on one path, and writing a new state of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::encoding::Digest;

use super::bytes::Id;
use super::error::VaultError;
use super::index::{
    Ancestor, Child, DEEPEST, Entry, Head, HeadClear, Kind, LEAF, Node, Step, Version, below_path, child, head_path, open_below,
    page_bytes, read_page, seal_below,
};
use super::join::{self, Joined};
use super::journal::Change;
use super::random::{self, Random};
use super::scope::Ring;
use super::store::Store;

const LARGEST_HEAD: usize = 1 << 20;
const LARGEST_NODE: usize = 1 << 20;
/// Earlier heads kept in the head itself; more go into a page.
const RECENT: usize = 64;
/// Earlier heads on one page.
const PAGE: usize = 4096;
/// Heads that one head can follow: their number is one byte.
const MOST_PARENTS: usize = 255;
/// Another writer replaces a head in two steps; this many in a row while one look is taken is no coincidence.
const RETRIES: u32 = 5;

/// Which heads of a scope count, by the commitments of the keys that they are sealed under.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Keys in force: one, or one of each side where a fork of the roster is joined.
    pub in_force: BTreeSet<Digest>,
    /// A head that counts like one under a key in force: that this machine has accepted, where a fork is joined and there is no such key.
    pub accepted: Option<Digest>,
    /// Keys before them. A head under one adds, and does nothing else (`join.rs`): somebody who was removed may have made it.
    pub earlier: BTreeSet<Digest>,
}

impl Trust {
    /// Whether the head `digest`, which names the commitment `key`, counts in full.
    fn is_sure(&self, digest: &Digest, key: &Digest) -> bool {
        self.in_force.contains(key) || self.accepted == Some(*digest)
    }

    /// Whether there is nothing that counts in full: the scope begins anew, and what there is can only add.
    fn is_of_nothing(&self) -> bool {
        self.in_force.is_empty() && self.accepted.is_none()
    }
}

/// A scope's index, opened: one state, or several joined.
pub struct Index<'a> {
    below: Below<'a>,
    /// The heads that it was opened from, those that count in full first.
    lines: Vec<Line>,
    joined: Joined,
    /// Changes of the versions that heads under earlier keys brought.
    brought: Vec<Id>,
    /// Heads under earlier keys that cannot be joined, and why: they cost nobody else anything, and stay where they are.
    aside: Vec<(Digest, VaultError)>,
}

/// A secret's next version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its name.
    pub name: String,
    /// Number of the version.
    pub number: u64,
    /// Id of its record and digest of the file; none to remove it.
    pub record: Option<(Id, Digest)>,
}

/// A head that counts.
#[derive(Clone)]
pub(super) struct Line {
    pub digest: Digest,
    pub head: Head,
    /// Whether it is under a key in force.
    pub sure: bool,
}

/// The files below a scope's heads.
#[derive(Clone, Copy)]
pub(super) struct Below<'a> {
    pub store: &'a Store,
    pub ring: &'a Ring,
}

/// The heads that stand, ascending, found without a touch: those that no other under a key in force names as a parent. One in most
/// scopes; more after a merge. Of more under earlier keys than one head can follow, `own`, which this machine has accepted, has its turn,
/// and the others by a draw that is another one in each state: none keeps the rest away for good.
///
/// # Errors
/// [`VaultError::Missing`] when there is none under a key in force; a damaged head.
pub fn heads(store: &Store, scope: Id, name: &str, trust: &Trust, own: Option<Digest>) -> Result<Vec<Digest>, VaultError> {
    let mut heads = listed(store, scope, trust)?;
    for _ in 0..RETRIES {
        if heads.is_some() {
            break;
        }
        heads = listed(store, scope, trust)?;
    }
    let heads = heads.unwrap_or_default();
    let sure = |(digest, clear): (&Digest, &HeadClear)| trust.is_sure(digest, &clear.key);
    let in_full = heads.iter().filter(|head| sure(*head));
    let followed: BTreeSet<&Digest> = in_full.flat_map(|(_, clear)| &clear.parents).collect();
    let standing = heads.keys().filter(|digest| !followed.contains(digest)).copied();
    let (mut standing, mut earlier): (Vec<_>, Vec<_>) = standing.partition(|digest| heads.get_key_value(digest).is_some_and(sure));
    if standing.is_empty() && !trust.is_of_nothing() {
        return Err(VaultError::Missing {
            path: format!("the index head of scope {name} (heads/{scope})"),
        });
    }
    if standing.len() > MOST_PARENTS {
        return Err(VaultError::damaged(format!("heads/{scope}"), "more than 255 heads"));
    }
    let state: Vec<u8> = standing.iter().flat_map(|digest| digest.0).collect();
    earlier.sort_by_cached_key(|digest| (Some(*digest) != own, Digest::of(&[&state[..], &digest.0].concat())));
    standing.extend(earlier.into_iter().take(MOST_PARENTS - standing.len()));
    standing.sort_unstable();
    Ok(standing)
}

/// Whether one of `heads` is under an earlier key, read without a touch.
///
/// # Errors
/// A missing or damaged head.
pub fn any_earlier(store: &Store, scope: Id, heads: &[Digest], trust: &Trust) -> Result<bool, VaultError> {
    for digest in heads {
        let clear = HeadClear::read(&read_head(store, scope, digest)?).ok_or_else(|| damaged_head(scope, digest))?;
        if !trust.is_sure(digest, &clear.key) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The parents that the head `digest` names, read without a touch.
///
/// # Errors
/// A missing or damaged head.
pub fn parents(store: &Store, scope: Id, digest: &Digest) -> Result<Vec<Digest>, VaultError> {
    let clear = HeadClear::read(&read_head(store, scope, digest)?);
    clear.map(|clear| clear.parents).ok_or_else(|| damaged_head(scope, digest))
}

/// The heads that count; none when another writer removed one between the list and the look.
fn listed(store: &Store, scope: Id, trust: &Trust) -> Result<Option<BTreeMap<Digest, HeadClear>>, VaultError> {
    let mut heads = BTreeMap::new();
    for name in store.list(&format!("heads/{scope}"))? {
        let path = format!("heads/{scope}/{name}");
        let digest = Digest::from_hex(&name).ok_or_else(|| VaultError::damaged(path, "not the name of an index head"))?;
        let file = match read_head(store, scope, &digest) {
            Err(VaultError::Missing { .. }) => return Ok(None),
            read => read?,
        };
        let clear = HeadClear::read(&file).ok_or_else(|| damaged_head(scope, &digest))?;
        if trust.in_force.contains(&clear.key) || trust.earlier.contains(&clear.key) {
            heads.insert(digest, clear);
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
        change: random::id(random),
        root: Node::empty(),
        recent: Vec::new(),
        earlier: Vec::new(),
    };
    sealed_head(&head, ring, random)
}

impl<'a> Index<'a> {
    /// Opens the heads `heads`, joined where there are several. `ring` has the keys of all of them. What one under an earlier key brings
    /// is added if `may_bring` has nothing against it; else that head is left aside, as it is if it does not open. `own`, which this
    /// machine has accepted, needs no leave.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] when `own` or one under a key in force does not open, or there is none.
    pub fn open(
        store: &'a Store,
        ring: &'a Ring,
        heads: &[Digest],
        trust: &Trust,
        own: Option<Digest>,
        may_bring: impl Fn(&[Entry]) -> Result<(), VaultError>,
    ) -> Result<Self, VaultError> {
        let below = Below { store, ring };
        let (mut lines, mut earlier, mut aside) = (Vec::new(), Vec::new(), Vec::new());
        for digest in heads {
            let counts = Some(*digest) == own || !any_earlier(store, ring.scope, &[*digest], trust)?;
            match below.line(digest, trust) {
                Ok(line) if line.sure => lines.push(line),
                Ok(line) => earlier.push(line),
                Err(why) if counts => return Err(why),
                Err(why) => aside.push((*digest, why)),
            }
        }
        if let (true, Some(line)) = (lines.is_empty(), earlier.first()) {
            return Err(damaged_head(ring.scope, &line.digest));
        }
        lines.sort_by_key(|line| line.digest);
        let joined = match trust.is_of_nothing() {
            true => Joined::default(),
            false => join::join(below, &lines)?,
        };
        let mut index = Self {
            below,
            joined,
            lines,
            brought: Vec::new(),
            aside,
        };
        index.take_in(earlier, own, may_bring)?;
        Ok(index)
    }

    fn take_in(
        &mut self,
        mut earlier: Vec<Line>,
        own: Option<Digest>,
        may_bring: impl Fn(&[Entry]) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let mut known = BTreeSet::new();
        for line in self.lines.iter().filter(|_| !earlier.is_empty()) {
            known.extend(self.below.changes(&line.head)?);
        }
        earlier.sort_by_key(|line| (Some(line.digest) != own, line.digest));
        for line in earlier {
            let is_own = Some(line.digest) == own;
            let brought = join::brought(self, &line, &known);
            match brought.and_then(|brought| {
                if is_own {
                    Ok(brought)
                } else {
                    may_bring(&brought).map(|()| brought)
                }
            }) {
                Ok(brought) => {
                    let changes = brought.iter().flat_map(|entry| &entry.versions).map(|version| version.change);
                    self.brought.extend(changes.clone());
                    known.extend(changes);
                    self.joined.add(self.below, brought)?;
                    self.lines.push(line);
                }
                Err(why) if is_own => return Err(why),
                Err(why) => self.aside.push((line.digest, why)),
            }
        }
        Ok(())
    }

    /// The head, where it was opened from one.
    #[must_use]
    pub fn only_head(&self) -> Option<Digest> {
        match self.lines.as_slice() {
            [line] => Some(line.digest),
            _ => None,
        }
    }

    /// The heads that are left aside, and why.
    pub fn aside(&self) -> impl Iterator<Item = &(Digest, VaultError)> {
        self.aside.iter()
    }

    /// Whether a head is left aside.
    #[must_use]
    pub fn has_aside(&self) -> bool {
        !self.aside.is_empty()
    }

    /// Why a head was left aside.
    #[must_use]
    pub fn into_aside(self) -> Option<VaultError> {
        let scope = self.below.ring.scope;
        let (digest, why) = self.aside.into_iter().next()?;
        Some(VaultError::Aside {
            path: head_path(scope, &digest),
            why: Box::new(why),
        })
    }

    /// The changes that the head `own` knows, or, if it is not among the heads, those that all heads in force know.
    ///
    /// # Errors
    /// A missing or damaged page.
    pub fn known(&self, own: Option<Digest>) -> Result<BTreeSet<Id>, VaultError> {
        if let Some(line) = self.lines.iter().find(|line| Some(line.digest) == own) {
            return self.below.changes(&line.head);
        }
        let mut common: Option<BTreeSet<Id>> = None;
        for line in self.lines.iter().filter(|line| line.sure) {
            let known = self.below.changes(&line.head)?;
            common = Some(common.map_or(known.clone(), |common| &common & &known));
        }
        Ok(common.unwrap_or_default())
    }

    /// The versions that are by other changes than `known`.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn news(&self, known: &BTreeSet<Id>) -> Result<Vec<Entry>, VaultError> {
        let fresh = |mut entry: Entry| {
            entry.versions.retain(|version| !known.contains(&version.change));
            (!entry.versions.is_empty()).then_some(entry)
        };
        let entries = self.walk(&self.joined.root, |child| !known.contains(&child.change))?;
        Ok(entries.into_iter().filter_map(fresh).collect())
    }

    /// Whether it was opened from several heads.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.lines.len() > 1
    }

    /// Ids of all records. A node that does not open costs the secrets below it only: theirs are not among them.
    #[must_use]
    pub fn records(&self) -> Vec<Id> {
        let mut records = Vec::new();
        let mut each = |leaf: Result<Vec<Entry>, VaultError>| {
            records.extend(leaf.unwrap_or_default().iter().flat_map(Entry::records).map(|(id, _)| id));
            Ok(())
        };
        // It gives up on nothing.
        self.leaves(&self.joined.root, |_| true, &mut each).ok();
        records
    }

    /// What the index knows of `name`.
    ///
    /// # Errors
    /// A missing or damaged node.
    pub fn find(&self, name: &str) -> Result<Option<Entry>, VaultError> {
        let (mut depth, mut step) = (0, self.joined.root.step(name, 0));
        loop {
            match step {
                Step::Found(entry) => return Ok(entry),
                Step::Below(child) => {
                    depth += 1;
                    step = self.step(&child.digest, name, depth)?;
                }
            }
        }
    }

    /// Every entry, tombstones included.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn entries(&self) -> Result<Vec<Entry>, VaultError> {
        self.walk(&self.joined.root, |_| true)
    }

    /// Every entry below `root`, but for what lies below children that `enter` does not let in.
    ///
    /// # Errors
    /// A missing or damaged node.
    pub(super) fn walk(&self, root: &Node, enter: impl Fn(&Child) -> bool) -> Result<Vec<Entry>, VaultError> {
        let mut entries = Vec::new();
        self.leaves(root, enter, &mut |leaf| {
            entries.extend(leaf?);
            Ok(())
        })?;
        Ok(entries)
    }

    /// Gives `each` the entries of every leaf, or why a node is refused, until it has had enough. Files of ours have a nonce each, so no
    /// node has two places, and each name lies where its digest leads.
    fn leaves(
        &self,
        root: &Node,
        enter: impl Fn(&Child) -> bool,
        each: &mut impl FnMut(Result<Vec<Entry>, VaultError>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![(None, Vec::new())];
        while let Some((digest, path)) = waiting.pop() {
            let fault = |why| Err(VaultError::damaged("index", why));
            let leads_here = |name: &String| path.iter().enumerate().all(|(depth, slot)| child(name, depth) == *slot);
            match digest.map_or_else(|| Ok(root.clone()), |digest| self.node(&digest)) {
                Err(why) => each(Err(why))?,
                Ok(Node::Leaf(leaf)) if leaf.keys().all(leads_here) => each(Ok(leaf.into_values().collect()))?,
                Ok(Node::Leaf(_)) => each(fault("a name where its digest does not lead"))?,
                Ok(Node::Branch(_)) if path.len() == DEEPEST => each(fault("a tree that is too deep"))?,
                Ok(Node::Branch(children)) => {
                    for (slot, child) in children.iter().filter(|(_, child)| enter(child)) {
                        if seen.insert(child.digest) {
                            waiting.push((Some(child.digest), [&path[..], &[*slot]].concat()));
                        } else {
                            each(fault("a node in two places"))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether this state is `earlier` or was made from it. What was before them only heads under a key in force can say.
    ///
    /// # Errors
    /// A missing or damaged page.
    pub fn descends_from(&self, earlier: &Digest) -> Result<bool, VaultError> {
        let found = |ancestor: &Ancestor| ancestor.digest == *earlier;
        for line in &self.lines {
            let before = |heads: &[Ancestor]| heads.iter().any(found);
            if line.digest == *earlier || line.sure && self.below.ancestors(&line.head, before)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds to `change` the files of the state in which `writes` replaced what the index had of their names, sealed under `ring`
    /// (this scope's, perhaps of the next epoch: then all of the tree is sealed anew, so that nothing of it hangs on files that a
    /// machine that has not heard of the new key takes away). The new head follows all heads that this index was opened from; its
    /// digest and bytes are returned: it is for the caller to write them.
    ///
    /// # Errors
    /// A missing or damaged node.
    pub fn next(&self, ring: &Ring, writes: Vec<Write>, change: &mut Change, random: &mut Random) -> Result<(Digest, Vec<u8>), VaultError> {
        let mut writer = Writer {
            index: self,
            ring,
            change,
            id: random::id(random),
            random,
        };
        let id = writer.id;
        let entries = writes.into_iter().map(|write| write.entry(id)).collect();
        let root = writer.update(self.joined.root.clone(), 0, entries)?;
        let (mut recent, mut earlier) = self.history();
        if recent.len() >= RECENT {
            let pages = recent.chunks(PAGE).map(|heads| {
                let before = std::mem::take(&mut earlier);
                writer.put(Kind::Page, &page_bytes(heads, &before))
            });
            earlier = pages.collect::<Result<_, _>>()?;
            recent.clear();
        }
        recent.extend(self.lines.iter().map(|line| line.ancestor(id)));
        for path in &self.joined.replaced {
            change.remove(path.clone());
        }
        for line in &self.lines {
            change.remove(head_path(self.below.ring.scope, &line.digest));
        }
        let head = Head {
            parents: self.lines.iter().map(|line| line.digest).collect(),
            change: id,
            root,
            recent,
            earlier,
        };
        sealed_head(&head, ring, random)
    }

    /// The heads before those that this index was opened from, and the pages before them.
    fn history(&self) -> (Vec<Ancestor>, Vec<Digest>) {
        let (mut recent, mut earlier) = (Vec::new(), Vec::new());
        for line in self.lines.iter().filter(|line| line.sure) {
            let new = |ancestor: &&Ancestor| !recent.contains(*ancestor);
            recent.extend(line.head.recent.iter().filter(new).copied().collect::<Vec<_>>());
            let new = |page: &&Digest| !earlier.contains(*page);
            earlier.extend(line.head.earlier.iter().filter(new).copied().collect::<Vec<_>>());
        }
        let digest = Digest([0; 32]);
        recent.extend(self.brought.iter().map(|change| Ancestor { digest, change: *change }));
        (recent, earlier)
    }

    fn step(&self, digest: &Digest, name: &str, depth: usize) -> Result<Step, VaultError> {
        match self.joined.loose.get(digest) {
            Some(node) => Ok(node.step(name, depth)),
            None => self.below.step(digest, name, depth),
        }
    }

    fn node(&self, digest: &Digest) -> Result<Node, VaultError> {
        match self.joined.loose.get(digest) {
            Some(node) => Ok(node.clone()),
            None => self.below.node(digest),
        }
    }
}

impl Write {
    fn entry(self, change: Id) -> Entry {
        let version = Version {
            number: self.number,
            change,
            record: self.record,
        };
        Entry {
            name: self.name,
            versions: vec![version],
        }
    }
}

impl Line {
    /// As the head of the change `by` names it.
    fn ancestor(&self, by: Id) -> Ancestor {
        Ancestor {
            digest: self.digest,
            change: if self.sure { self.head.change } else { by },
        }
    }
}

impl Below<'_> {
    fn line(&self, digest: &Digest, trust: &Trust) -> Result<Line, VaultError> {
        let damaged = || damaged_head(self.ring.scope, digest);
        let file = read_head(self.store, self.ring.scope, digest)?;
        let key = HeadClear::read(&file).ok_or_else(damaged)?.key;
        let sure = trust.is_sure(digest, &key);
        if !sure && !trust.earlier.contains(&key) {
            return Err(damaged());
        }
        Ok(Line {
            digest: *digest,
            head: Head::open(self.ring, &file).ok_or_else(damaged)?,
            sure,
        })
    }

    /// Every change that `head` was made from, its own included.
    pub fn changes(&self, head: &Head) -> Result<BTreeSet<Id>, VaultError> {
        let mut changes = BTreeSet::from([head.change]);
        self.ancestors(head, |heads| {
            changes.extend(heads.iter().map(|ancestor| ancestor.change));
            false
        })?;
        Ok(changes)
    }

    /// Gives `look` the heads before `head`, page by page, until it says that it has seen enough. Gives whether it did.
    fn ancestors(&self, head: &Head, mut look: impl FnMut(&[Ancestor]) -> bool) -> Result<bool, VaultError> {
        if look(&head.recent) {
            return Ok(true);
        }
        let mut waiting = head.earlier.clone();
        let mut seen: BTreeSet<Digest> = waiting.iter().copied().collect();
        while let Some(page) = waiting.pop() {
            let (heads, earlier) = self.page(&page)?;
            if look(&heads) {
                return Ok(true);
            }
            waiting.extend(earlier.into_iter().filter(|page| seen.insert(*page)));
        }
        Ok(false)
    }

    pub fn node(&self, digest: &Digest) -> Result<Node, VaultError> {
        let (path, plain) = self.read(Kind::Node, digest)?;
        Node::from_bytes(&plain).ok_or_else(|| damaged_node(path))
    }

    fn step(&self, digest: &Digest, name: &str, depth: usize) -> Result<Step, VaultError> {
        let (path, plain) = self.read(Kind::Node, digest)?;
        Node::step_in(&plain, name, depth).ok_or_else(|| damaged_node(path))
    }

    fn page(&self, digest: &Digest) -> Result<(Vec<Ancestor>, Vec<Digest>), VaultError> {
        let (path, plain) = self.read(Kind::Page, digest)?;
        read_page(&plain).ok_or_else(|| VaultError::damaged(path, "not a page of the index"))
    }

    fn read(&self, kind: Kind, digest: &Digest) -> Result<(String, zeroize::Zeroizing<Vec<u8>>), VaultError> {
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
    id: Id,
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

    fn descend(&mut self, mut children: BTreeMap<u8, Child>, depth: usize, entries: Vec<Entry>) -> Result<Node, VaultError> {
        let written = children.iter().filter(|(_, child)| self.has_to_be_written(child));
        let mut by_child: BTreeMap<u8, Vec<Entry>> = written.map(|(slot, _)| (*slot, Vec::new())).collect();
        for entry in entries {
            by_child.entry(child(&entry.name, depth)).or_default().push(entry);
        }
        for (slot, entries) in by_child {
            let below = match children.get(&slot) {
                Some(child) => {
                    if !self.index.joined.loose.contains_key(&child.digest) {
                        self.change.remove(below_path(self.index.below.ring.scope, &child.digest));
                    }
                    self.index.node(&child.digest)?
                }
                None => Node::empty(),
            };
            let below = self.update(below, depth + 1, entries)?;
            let digest = self.put(Kind::Node, &below.to_bytes())?;
            children.insert(slot, Child { digest, change: self.id });
        }
        Ok(Node::Branch(children))
    }

    /// A node that joining made, or, with a new scope key, any.
    fn has_to_be_written(&self, child: &Child) -> bool {
        self.index.joined.loose.contains_key(&child.digest) || self.ring.current() != self.index.below.ring.current()
    }

    fn put(&mut self, kind: Kind, plain: &[u8]) -> Result<Digest, VaultError> {
        let file = seal_below(self.ring, kind, plain, self.random).filter(|file| file.len() <= LARGEST_NODE);
        let file = file.ok_or(VaultError::Sealing("the index"))?;
        let digest = Digest::of(&file);
        self.change.add(below_path(self.ring.scope, &digest), file);
        Ok(digest)
    }
}

fn sealed_head(head: &Head, ring: &Ring, random: &mut Random) -> Result<(Digest, Vec<u8>), VaultError> {
    let file = head.seal(ring, random).filter(|file| file.len() <= LARGEST_HEAD);
    let file = file.ok_or(VaultError::Sealing("the index head"))?;
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

fn damaged_node(path: String) -> VaultError {
    VaultError::damaged(path, "not a node of the index")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::bytes::Hex;
    use super::super::random;
    use super::super::testing::Folder;
    use super::*;

    fn entry(n: u32, number: u64) -> Write {
        Write {
            name: format!("NAME_{n}"),
            number,
            record: Some((Hex([1; 16]), Digest::of(&n.to_be_bytes()))),
        }
    }

    fn open<'a>(store: &'a Store, ring: &'a Ring, head: Digest) -> Index<'a> {
        let trust = Trust {
            in_force: [ring.current()].into(),
            ..Trust::default()
        };
        Index::open(store, ring, &[head], &trust, None, |_| Ok(())).unwrap()
    }

    fn commit(store: &Store, ring: &Ring, before: Digest, entries: Vec<Write>) -> Digest {
        let mut change = Change::default();
        let index = open(store, ring, before);
        let (digest, bytes) = index.next(ring, entries, &mut change, &mut random::system()).unwrap();
        change
            .commit(&store.lock().unwrap(), &head_path(ring.scope, &digest), &bytes)
            .and_then(super::super::journal::InForce::sure)
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
            .and_then(super::super::journal::InForce::sure)
            .unwrap();
        (folder, store, ring, digest)
    }

    #[test]
    fn a_thousand_secrets_are_found_each_on_its_path_and_old_nodes_are_gone() {
        let (folder, store, ring, first) = start();
        let head = commit(&store, &ring, first, (0..1000).map(|n| entry(n, 1)).collect());
        let head = commit(&store, &ring, head, vec![entry(5, 2), entry(1000, 1)]);
        let index = open(&store, &ring, head);
        for n in 0..=1000 {
            let version = if n == 5 { 2 } else { 1 };
            let found = index.find(&format!("NAME_{n}")).unwrap().unwrap();
            assert_eq!((found.number(), found.records().next()), (version, entry(n, version).record));
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
        let index = open(&store, &ring, heads[200]);
        for head in &heads {
            assert!(index.descends_from(head).unwrap());
        }
        assert!(!index.descends_from(&Digest::of(b"another")).unwrap());
        assert_eq!(store.list(&format!("heads/{}", ring.scope)).unwrap().len(), 1);
    }
}
