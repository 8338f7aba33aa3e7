//! What somebody who once had a scope's key, and was removed, can make of a merge: a head under that key beside the owner's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::device::enrolled::Profile;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::vault::bytes::{Hex, Id};
use crate::vault::index::{Child, Entry, Head, Kind, Node, Version, below_path, head_path, seal_below};
use crate::vault::record::{self, Clear};
use crate::vault::scope::Ring;
use crate::vault::statement::FORMAT;
use crate::vault::{Changes, Delivery, Rules, Vault, VaultError, random};

use super::fork::{apart, fork, joined, rotation};
use super::keys::{add, commit, remove_from};
use super::recover::recover;
use super::rig::{NOW, Rig, apply, get, put, secret, touch};

pub const SCOPE: &str = "prod";

/// A vault that had the key `spare` until its owner removed it, and what `spare` kept.
pub struct Removed {
    pub rig: Rig,
    /// The scope's key of then.
    pub ring: Ring,
    /// A record of then, which the owner removed: its file's path, id, digest and bytes.
    path: PathBuf,
    pub id: Id,
    pub bytes: Vec<u8>,
    /// A change of then.
    change: Id,
}

pub fn spare() -> SoftKey {
    SoftKey::new("spare", Profile::TouchOnly, 2)
}

pub fn remove(name: &str) -> Changes {
    Changes {
        removes: vec![name.into()],
        ..Changes::default()
    }
}

fn join() -> Changes {
    Changes {
        join: true,
        ..Changes::default()
    }
}

pub fn ring_of(vault: &Vault, key: &SoftKey) -> Ring {
    let standing = vault.standing(&[SCOPE]).unwrap();
    let proof = touch(vault, key, Namespace::Lease, &standing, b"look");
    vault.unlock(&proof, &[vault.scope(SCOPE).unwrap()]).unwrap().remove(0)
}

impl Removed {
    pub fn new() -> Self {
        let removed = Self::before();
        remove_from(&removed.rig.vault(), "spare", &removed.rig.blue).unwrap();
        removed
    }

    /// The vault as it was then.
    pub fn before() -> Self {
        let rig = Rig::with(Profile::Pin, &[SCOPE]);
        add(&rig, &spare(), &[SCOPE]).unwrap();
        rig.put(SCOPE, "GONE", b"leaked").unwrap();
        let vault = rig.vault();
        let ring = ring_of(&vault, &spare());
        let claim = vault.records_of(SCOPE, "GONE").unwrap().records.remove(0);
        let path = record::path(ring.scope, "GONE", claim.record).into();
        let bytes = std::fs::read(rig.folder().join(&path)).unwrap();
        let change = Removed::head(&vault, &ring).change;
        apply(&vault, &rig.blue, SCOPE, remove("GONE")).unwrap();
        rig.put(SCOPE, "KEPT", b"1").unwrap();
        Self {
            rig,
            ring,
            path,
            id: claim.record,
            bytes,
            change,
        }
    }

    pub fn head(vault: &Vault, ring: &Ring) -> Head {
        let head = vault.standing(&[SCOPE]).unwrap().heads()[0].1[0];
        let file = vault.store.read(&head_path(ring.scope, &head), 1 << 20).unwrap();
        Head::open(ring, &file).unwrap()
    }

    pub fn ring_in_force(&self) -> Ring {
        ring_of(&self.rig.vault(), &self.rig.blue)
    }

    pub fn version(&self, change: Id) -> Version {
        Version {
            number: 7,
            change,
            record: Some((self.id, Digest::of(&self.bytes))),
        }
    }

    /// Puts a head under the old key beside the owner's.
    pub fn forge(&self, entries: &[(&str, Vec<Version>)]) -> Digest {
        let entry = |(name, versions): &(&str, Vec<Version>)| {
            let (name, versions) = ((*name).to_owned(), versions.clone());
            (name.clone(), Entry { name, versions })
        };
        self.forge_root(Node::Leaf(entries.iter().map(entry).collect()))
    }

    pub fn forge_root(&self, root: Node) -> Digest {
        self.forge_head(&Head {
            parents: Vec::new(),
            change: random::id(&mut random::system()),
            root,
            recent: Vec::new(),
            earlier: Vec::new(),
        })
    }

    pub fn forge_head(&self, head: &Head) -> Digest {
        let bytes = head.seal(&self.ring, &mut random::system()).unwrap();
        let digest = Digest::of(&bytes);
        std::fs::write(self.path_of(&digest), bytes).unwrap();
        digest
    }

    /// A node under the old key.
    pub fn forge_node(&self, node: &Node) -> Digest {
        let bytes = seal_below(&self.ring, Kind::Node, &node.to_bytes(), &mut random::system()).unwrap();
        let digest = Digest::of(&bytes);
        let path = self.rig.folder().join(below_path(self.ring.scope, &digest));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        digest
    }

    /// A record under the old key: its id and the digest of its file.
    pub fn record(&self, name: &str, value: &[u8]) -> (Id, Digest) {
        let random = &mut random::system();
        let clear = Clear {
            changed: NOW,
            id: random::id(random),
            key: self.ring.current(),
            name: name.into(),
            rules: Rules::value(&[Delivery::Env]),
            scope: self.ring.scope,
            v: FORMAT,
            version: 1,
        };
        let bytes = record::seal(&self.ring, &clear, &secret(value), random).unwrap();
        let path = self.rig.folder().join(record::path(self.ring.scope, name, clear.id));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &bytes).unwrap();
        (clear.id, Digest::of(&bytes))
    }

    pub fn path_of(&self, head: &Digest) -> PathBuf {
        self.rig.folder().join(head_path(self.ring.scope, head))
    }

    pub fn put_back(&self) {
        let path = self.rig.folder().join(&self.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &self.bytes).unwrap();
    }

    /// Names that a join shows, and what the index has after it, by its owner's touch on this machine.
    pub fn join(&self, vault: &Vault) -> (Vec<String>, Result<BTreeMap<String, Entry>, VaultError>) {
        let standing = vault.standing(&[SCOPE]).unwrap();
        let shown = standing.claims().iter().map(|claim| claim.listed.name.clone()).collect();
        let done = apply(vault, &self.rig.blue, SCOPE, join());
        (shown, done.map(|_| self.entries(vault)))
    }

    /// The live names of the index.
    pub fn entries(&self, vault: &Vault) -> BTreeMap<String, Entry> {
        let (scope, ring) = (vault.scope(SCOPE).unwrap(), ring_of(vault, &self.rig.blue));
        let (standing, accepted) = (vault.standing(&[SCOPE]).unwrap(), vault.memory.accepted().unwrap());
        let index = vault.index(scope, &ring, &standing, &accepted).unwrap();
        let live = index
            .entries()
            .unwrap()
            .into_iter()
            .filter(|entry| entry.records().next().is_some());
        live.map(|entry| (entry.name.clone(), entry)).collect()
    }
}

#[test]
fn t53_a_removed_record_that_a_removed_key_brings_back_is_shown_before_it_is_taken_in() {
    let rig = Removed::new();
    rig.put_back();
    rig.forge(&[("GONE", vec![rig.version(random::id(&mut random::system()))])]);
    let (shown, joined) = rig.join(&rig.rig.vault());
    assert_eq!(shown, ["GONE"]);
    assert!(
        joined.unwrap().contains_key("GONE"),
        "what a person saw and touched for is taken in"
    );
}

#[test]
fn t53_a_file_that_lies_in_the_folder_is_not_taken_for_one_that_was_accepted() {
    let rig = Removed::new();
    rig.put_back();
    // Another machine, which has seen nothing of this vault yet, opens its one head.
    let elsewhere = rig.rig.elsewhere().unwrap();
    assert_eq!(get(&elsewhere, &rig.rig.blue, SCOPE, "KEPT").unwrap(), b"1");
    rig.forge(&[("GONE", vec![rig.version(random::id(&mut random::system()))])]);
    assert_eq!(rig.join(&elsewhere).0, ["GONE"]);
}

#[test]
fn t53_a_change_that_the_owner_knows_hides_nothing_that_a_removed_key_adds() {
    let rig = Removed::new();
    // The record's file comes only after the touch: the prompt cannot show it.
    for name in ["GONE", "NEW"] {
        let forged = rig.forge(&[(name, vec![rig.version(rig.change)])]);
        let vault = rig.rig.vault();
        let (shown, _) = rig.join(&vault);
        assert!(shown.is_empty(), "{shown:?}");
        assert_eq!(rig.entries(&vault).keys().collect::<Vec<_>>(), ["KEPT"], "{name}");
        std::fs::remove_file(rig.path_of(&forged)).ok();
    }
}

/// What a head under an earlier key may hold that would be in everybody's way.
fn obstacles(rig: &Removed) -> Vec<(&'static str, Node)> {
    let random = &mut random::system();
    let numbered = |number| Version {
        number,
        ..rig.version(Hex([7; 16]))
    };
    let leaf = |versions: Vec<Version>| {
        let name = "KEPT".to_owned();
        Node::Leaf([(name.clone(), Entry { name, versions })].into())
    };
    let mut many: Vec<Version> = (0..255).map(|_| rig.version(random::id(random))).collect();
    many.sort_by_key(|version| version.change);
    let child = Child {
        digest: Digest::of(b"in no folder"),
        change: Hex([8; 16]),
    };
    vec![
        ("a name with 255 versions more", leaf(many)),
        ("a version that is not read", leaf(vec![numbered((1 << 53) - 1)])),
        ("the highest number that there is", leaf(vec![numbered(u64::MAX)])),
        ("a node that is nowhere", Node::Branch((0..64).map(|slot| (slot, child)).collect())),
        ("a record that is nowhere", leaf(vec![rig.version(Hex([9; 16]))])),
    ]
}

#[test]
fn t53_a_head_under_an_earlier_key_that_cannot_be_joined_costs_only_itself_and_is_named() {
    let rig = Removed::new();
    for (what, root) in obstacles(&rig) {
        let forged = rig.forge_root(root);
        let vault = rig.rig.vault();
        assert_eq!(get(&vault, &rig.rig.blue, SCOPE, "KEPT").unwrap(), b"1", "{what}");
        for change in [put("NEW", b"2"), remove("NEW")] {
            apply(&vault, &rig.rig.blue, SCOPE, change).unwrap();
        }
        let (_, joined) = rig.join(&vault);
        let said = joined.unwrap_err();
        assert!(matches!(&said, VaultError::Aside { .. }), "{what}: {said}");
        assert!(said.to_string().starts_with(&head_path(rig.ring.scope, &forged)), "{what}: {said}");
        assert!(rig.path_of(&forged).exists(), "{what}: nothing is lost that may be somebody's");
        std::fs::remove_file(rig.path_of(&forged)).unwrap();
    }
}

#[test]
fn t53_a_version_number_at_the_end_of_all_numbers_keeps_nobody_from_writing_on() {
    let rig = Removed::new();
    rig.put_back();
    let last = Version {
        number: (1 << 53) - 2,
        ..rig.version(random::id(&mut random::system()))
    };
    rig.forge(&[("GONE", vec![last])]);
    let vault = rig.rig.vault();
    let (shown, joined) = rig.join(&vault);
    assert_eq!(shown, ["GONE"]);
    assert_eq!(joined.unwrap()["GONE"].number(), (1 << 53) - 2);
    for value in [b"2", b"3"] {
        apply(&vault, &rig.rig.blue, SCOPE, put("GONE", value)).unwrap();
        assert_eq!(get(&vault, &rig.rig.blue, SCOPE, "GONE").unwrap(), value);
    }
    apply(&vault, &rig.rig.blue, SCOPE, remove("GONE")).unwrap();
    apply(&vault, &rig.rig.blue, SCOPE, put("GONE", b"4")).unwrap();
    assert_eq!(rig.rig.get(SCOPE, "GONE").unwrap(), b"4");
}

#[test]
fn t53_more_heads_than_one_can_follow_block_no_scope() {
    let rig = Removed::new();
    let heads = (0..300).map(|_| rig.forge(&[])).collect::<Vec<_>>();
    let vault = rig.rig.vault();
    assert_eq!(vault.standing(&[SCOPE]).unwrap().heads()[0].1.len(), 255);
    apply(&vault, &rig.rig.blue, SCOPE, put("NEW", b"2")).unwrap();
    apply(&vault, &rig.rig.blue, SCOPE, put("NEW", b"3")).unwrap();
    assert_eq!(vault.standing(&[SCOPE]).unwrap().heads()[0].1.len(), 1);
    assert_eq!(rig.rig.get(SCOPE, "NEW").unwrap(), b"3");
    assert!(heads.iter().all(|head| !rig.path_of(head).exists()));
}

#[test]
fn t53_what_may_be_a_removed_keys_stands_first_among_what_is_joined() {
    let rig = Removed::new();
    rig.put_back();
    // The name of this machine's own comes before it in the order of names.
    let elsewhere = rig.rig.elsewhere().unwrap();
    apply(&elsewhere, &rig.rig.blue, SCOPE, put("AAA", b"1")).unwrap();
    rig.forge(&[("GONE", vec![rig.version(random::id(&mut random::system()))])]);
    let standing = rig.rig.vault().standing(&[SCOPE]).unwrap();
    let shown: Vec<_> = standing
        .claims()
        .iter()
        .map(|claim| (claim.listed.name.as_str(), claim.earlier_key))
        .collect();
    assert_eq!(shown, [("GONE", true), ("AAA", false)]);
    assert!(standing.has_earlier_heads());
}

fn green() -> SoftKey {
    SoftKey::new("green", Profile::Pin, 4)
}

/// What the next prompt says that it takes in, and whether it says that somebody who was removed may have made it.
pub fn next_prompt(vault: &Vault) -> (Vec<String>, bool) {
    let standing = vault.standing(&[SCOPE]).unwrap();
    let names = standing.claims().iter().map(|claim| claim.listed.name.clone()).collect();
    (names, standing.has_earlier_heads())
}

#[test]
fn t53_a_recovery_takes_in_nothing_from_a_state_under_an_earlier_key_and_leaves_it_for_a_prompt() {
    let rig = Removed::new();
    rig.put_back();
    let forged = rig.forge(&[("GONE", vec![rig.version(random::id(&mut random::system()))])]);
    let vault = rig.rig.vault();
    let shown = vault.whole_standing().unwrap();
    assert!(shown.claims().is_empty(), "{:?}", shown.claims());
    assert_eq!(shown.left_aside(), [SCOPE]);
    recover(&vault, &rig.rig.code, &green(), &["blue"]).unwrap();
    let vault = rig.rig.vault();
    assert!(rig.path_of(&forged).exists());
    assert_eq!(next_prompt(&vault), (vec!["GONE".to_owned()], true));
    assert_eq!(get(&vault, &green(), SCOPE, "KEPT").unwrap(), b"1");
}

#[test]
fn t53_a_record_that_no_state_names_keeps_nobody_from_recovering() {
    let rig = Removed::new();
    apart(
        &rig.rig,
        |vault| {
            apply(vault, &rig.rig.blue, SCOPE, put("HERE", b"2")).unwrap();
        },
        |vault| {
            apply(vault, &rig.rig.blue, SCOPE, put("THERE", b"3")).unwrap();
        },
    );
    // A record of a state that is nowhere any more.
    let files = rig.rig.files();
    apply(&rig.rig.elsewhere().unwrap(), &rig.rig.blue, SCOPE, join()).unwrap();
    apply(&rig.rig.elsewhere().unwrap(), &rig.rig.blue, SCOPE, put("STRAY", b"4")).unwrap();
    let record = |(path, _): &(PathBuf, Vec<u8>)| path.starts_with("records") && !files.contains_key(path);
    let stray = rig.rig.files().into_iter().find(record).unwrap();
    rig.rig.restore(&files);
    let path = rig.rig.folder().join(stray.0);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, stray.1).unwrap();
    let vault = rig.rig.vault();
    assert_eq!(vault.whole_standing().unwrap().heads()[0].1.len(), 2);
    recover(&vault, &rig.rig.code, &green(), &["blue"]).unwrap();
    let vault = rig.rig.vault();
    for (name, value) in [("HERE", b"2"), ("THERE", b"3")] {
        assert_eq!(get(&vault, &green(), SCOPE, name).unwrap(), value, "{name}");
    }
}

#[test]
fn t53_the_join_of_a_fork_takes_in_nothing_from_a_state_under_an_earlier_key_and_leaves_it_for_a_prompt() {
    let rig = Removed::new();
    let rotate = |vault: &Vault| {
        commit(rotation(vault, &[SCOPE], &rig.rig.blue), vault, &rig.rig.blue).unwrap();
    };
    apart(&rig.rig, rotate, rotate);
    rig.put_back();
    let forged = rig.forge(&[("GONE", vec![rig.version(random::id(&mut random::system()))])]);
    let names = BTreeMap::new();
    let plan = fork(&rig.rig).join(&[rig.rig.blue.enrolled().id()], &names, NOW, &mut random::system());
    let plan = plan.unwrap();
    assert_eq!((plan.heads()[0].1.len(), plan.left_aside()), (2, vec![SCOPE.to_owned()]));
    let vault = joined(&rig.rig);
    assert!(rig.path_of(&forged).exists());
    assert_eq!(next_prompt(&vault), (vec!["GONE".to_owned()], true));
    assert_eq!(get(&vault, &rig.rig.blue, SCOPE, "KEPT").unwrap(), b"1");
}
