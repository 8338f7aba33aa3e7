//! Joining states of a scope that were made apart from each other: what plain `git merge` left beside each other.
//!
//! Every version, and every node of the tree, names the change that wrote it, and every state names all changes that it was made
//! from. So for two states it can be told of each version whether the other state knows it: one that is known there and is not there
//! was replaced or removed. What neither side knew is taken in; two versions that do not know of each other stay beside each other
//! until a person says which it is. The result does not depend on the order.
//!
//! A head under an earlier key may be made by a machine that has not heard of the new key yet, or by somebody who was removed. It has one
//! rule: **it adds versions of names that it lists, each shown; it hides, removes, replaces and teaches nothing.** [`brought`] is what
//! it adds. A version gets another change there, made of what it is, so that no state comes to know a change that another one wrote.
//!
//! Where a fork of the roster is joined, a key of a side counts as an earlier one for this rule if somebody knows it who has to go: who was
//! in the scope when it had this key, or one that carries it, and is not in the joined roster, or has a recovery code that a side replaced.
//! On that side he is still enrolled, and a head there can be his as well as the owner's. It stays where it is, and the next prompt for the
//! scope shows what it adds. If no key is left that counts in full, the head does that this machine has accepted; on a machine that has
//! accepted none the scope begins with nothing, and all of it is shown. A head that this machine has accepted on such a side adds to the join
//! at once. What statements of a side let in, and do not, is in `fork.rs` and `gone.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crate::encoding::Digest;

use super::bytes::{Hex, Id};
use super::error::VaultError;
use super::index::{Child, DEEPEST, Entry, MOST_VERSIONS, Node, Version, below_path, child};
use super::tree::{Below, Index, Line};

/// The change of a node that is in no file yet: no state knows it.
const UNWRITTEN: Id = Hex([0; 16]);

/// Joined states.
#[derive(Default)]
pub(super) struct Joined {
    /// Root of the tree.
    pub root: Node,
    /// Nodes that are in no file yet, by the digests of their byte forms.
    pub loose: BTreeMap<Digest, Node>,
    /// Files of the nodes in whose place those are.
    pub replaced: Vec<String>,
}

struct Join<'a> {
    below: Below<'a>,
    loose: BTreeMap<Digest, Node>,
    replaced: Vec<String>,
}

/// Which changes each side knows.
#[derive(Clone, Copy)]
struct Known<'a> {
    left: &'a BTreeSet<Id>,
    right: &'a BTreeSet<Id>,
}

/// Joins `lines`, heads under keys in force.
///
/// # Errors
/// A missing or damaged node or page; more versions of one name than a node holds.
pub(super) fn join(below: Below<'_>, lines: &[Line]) -> Result<Joined, VaultError> {
    let mut join = Join {
        below,
        loose: BTreeMap::new(),
        replaced: Vec::new(),
    };
    let Some((first, others)) = lines.split_first() else {
        return Err(VaultError::Nothing);
    };
    let mut root = first.head.root.clone();
    if !others.is_empty() {
        let mut known = below.changes(&first.head)?;
        let mut changes = vec![first.head.change];
        for line in others {
            let theirs = below.changes(&line.head)?;
            if known.contains(&line.head.change) {
                continue;
            }
            if changes.iter().all(|change| theirs.contains(change)) {
                (root, join.loose) = (line.head.root.clone(), BTreeMap::new());
            } else {
                let sides = Known {
                    left: &known,
                    right: &theirs,
                };
                root = join.nodes(root, line.head.root.clone(), 0, sides)?;
            }
            changes.push(line.head.change);
            known.extend(theirs);
        }
    }
    Ok(join.done(root))
}

/// What the head `line`, under an earlier key, adds to `index`, which knows the changes `known`: of the versions with a record those that
/// nobody knows. Its files are not those of `index`, and stay.
///
/// # Errors
/// A missing or damaged node; more versions of one name than a node holds.
pub(super) fn brought(index: &Index<'_>, line: &Line, known: &BTreeSet<Id>) -> Result<Vec<Entry>, VaultError> {
    let nothing = BTreeSet::new();
    let mut all = Vec::new();
    for Entry { name, versions: theirs } in index.walk(&line.head.root, |child| !known.contains(&child.change))? {
        let ours = index.find(&name)?.map_or_else(Vec::new, |entry| entry.versions);
        let mut fresh: Vec<Version> = Vec::new();
        for version in theirs.iter().filter(|version| !known.contains(&version.change)) {
            let there = |other: &Version| other.record == version.record;
            if let Some(version) = version.brought().filter(|version| !known.contains(&version.change))
                && !ours.iter().chain(&fresh).any(there)
            {
                fresh.push(version);
            }
        }
        if fresh.is_empty() {
            continue;
        }
        let sides = Known {
            left: &nothing,
            right: &nothing,
        };
        versions(&ours, &fresh, sides)?;
        fresh.sort_by_key(|version| version.change);
        all.push(Entry { name, versions: fresh });
    }
    Ok(all)
}

impl Joined {
    /// Adds `entries`, replacing nothing.
    ///
    /// # Errors
    /// As [`join`].
    pub fn add(&mut self, below: Below<'_>, entries: Vec<Entry>) -> Result<(), VaultError> {
        let nothing = BTreeSet::new();
        let Self { root, loose, replaced } = std::mem::take(self);
        let mut join = Join { below, loose, replaced };
        let leaf = entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        let sides = Known {
            left: &nothing,
            right: &nothing,
        };
        let root = join.nodes(root, Node::Leaf(leaf), 0, sides)?;
        *self = join.done(root);
        Ok(())
    }
}

impl Join<'_> {
    fn done(self, root: Node) -> Joined {
        Joined {
            root,
            loose: self.loose,
            replaced: self.replaced,
        }
    }

    fn nodes(&mut self, left: Node, right: Node, depth: usize, known: Known<'_>) -> Result<Node, VaultError> {
        let (left, right) = match (left, right) {
            (Node::Leaf(left), Node::Leaf(right)) => return Ok(Node::Leaf(leaves(left, right, known)?)),
            (Node::Branch(_), _) | (_, Node::Branch(_)) if depth == DEEPEST => {
                return Err(VaultError::damaged("index", "a tree that is too deep"));
            }
            (Node::Branch(left), Node::Branch(right)) => (left, right),
            (Node::Leaf(left), Node::Branch(right)) => (self.split(left, depth), right),
            (Node::Branch(left), Node::Leaf(right)) => (left, self.split(right, depth)),
        };
        let mut children = left;
        for (slot, theirs) in right {
            let ours = children.get(&slot).copied();
            let child = match ours {
                None => theirs,
                Some(ours) => self.children(ours, theirs, depth + 1, known)?,
            };
            children.insert(slot, child);
        }
        Ok(Node::Branch(children))
    }

    fn children(&mut self, left: Child, right: Child, depth: usize, known: Known<'_>) -> Result<Child, VaultError> {
        if left.digest == right.digest || known.left.contains(&right.change) {
            return Ok(left);
        }
        if known.right.contains(&left.change) {
            return Ok(right);
        }
        let (ours, theirs) = (self.take(left)?, self.take(right)?);
        let joined = self.nodes(ours, theirs, depth, known)?;
        Ok(self.keep(joined))
    }

    /// The leaf as the children of a branch.
    fn split(&mut self, leaf: BTreeMap<String, Entry>, depth: usize) -> BTreeMap<u8, Child> {
        let mut parts: BTreeMap<u8, BTreeMap<String, Entry>> = BTreeMap::new();
        for (name, entry) in leaf {
            parts.entry(child(&name, depth)).or_default().insert(name, entry);
        }
        parts.into_iter().map(|(slot, leaf)| (slot, self.keep(Node::Leaf(leaf)))).collect()
    }

    fn take(&mut self, child: Child) -> Result<Node, VaultError> {
        if let Some(node) = self.loose.remove(&child.digest) {
            return Ok(node);
        }
        self.replaced.push(below_path(self.below.ring.scope, &child.digest));
        self.below.node(&child.digest)
    }

    fn keep(&mut self, node: Node) -> Child {
        let digest = Digest::of(&node.to_bytes());
        self.loose.insert(digest, node);
        Child { digest, change: UNWRITTEN }
    }
}

fn leaves(
    mut left: BTreeMap<String, Entry>,
    right: BTreeMap<String, Entry>,
    known: Known<'_>,
) -> Result<BTreeMap<String, Entry>, VaultError> {
    for (name, theirs) in right {
        // A name never goes away: a side without it never had it.
        let versions = match left.get(&name) {
            None => theirs.versions,
            Some(ours) => versions(&ours.versions, &theirs.versions, known)?,
        };
        left.insert(name.clone(), Entry { name, versions });
    }
    Ok(left)
}

fn versions(left: &[Version], right: &[Version], known: Known<'_>) -> Result<Vec<Version>, VaultError> {
    let has = |side: &[Version], version: &Version| side.iter().any(|other| other.change == version.change);
    let ours = left
        .iter()
        .filter(|version| has(right, version) || !known.right.contains(&version.change));
    let theirs = right
        .iter()
        .filter(|version| !has(left, version) && !known.left.contains(&version.change));
    let mut versions: Vec<Version> = ours.chain(theirs).copied().collect();
    if versions.is_empty() {
        // Two states that each claim to have replaced the other's: no honest writer makes them.
        return Ok(left.to_vec());
    }
    // A version that was written while the other side removed the one before it is one that nobody removed.
    if versions.iter().any(|version| version.record.is_some()) {
        versions.retain(|version| version.record.is_some());
    } else {
        versions.sort_by_key(|version| (version.number, version.change));
        versions.drain(..versions.len() - 1);
    }
    if versions.len() > MOST_VERSIONS {
        // A node with more is not read again: whoever once had the key could make the scope unreadable.
        return Err(VaultError::damaged(
            "index",
            "a secret has more than 255 versions that were written apart from each other",
        ));
    }
    versions.sort_by_key(|version| version.change);
    Ok(versions)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn version(change: u8) -> Version {
        Version {
            number: 1,
            change: Hex([change; 16]),
            record: Some((Hex([1; 16]), Digest::of(&[change]))),
        }
    }

    #[test]
    fn a_head_under_an_earlier_key_cannot_add_more_versions_than_a_node_holds() {
        let nothing = BTreeSet::new();
        let known = Known {
            left: &nothing,
            right: &nothing,
        };
        let many: Vec<_> = (1..=254).map(version).collect();
        assert_eq!(versions(&[version(0)], &many, known).unwrap().len(), MOST_VERSIONS);
        let many: Vec<_> = (1..=255).map(version).collect();
        assert!(matches!(versions(&[version(0)], &many, known), Err(VaultError::Damaged { .. })));
    }
}
