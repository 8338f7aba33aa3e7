//! What whoever has a scope's key of before, and may write into the folder, tries with heads under it: to hide, to replace, to teach
//! or to bring in unseen, and to be in the way.

use std::fs;

use crate::encoding::Digest;
use crate::vault::bytes::{Hex, Id};
use crate::vault::index::{Ancestor, Child, Entry, Head, Node, Version, child, head_path};
use crate::vault::{Changes, VaultError, random, record, tree};

use super::earlier::{Removed, SCOPE, remove};
use super::rig::{apply, get, put};

fn fresh() -> Id {
    random::id(&mut random::system())
}

fn leaf(name: &str, versions: Vec<Version>) -> Node {
    let name = name.to_owned();
    Node::Leaf([(name.clone(), Entry { name, versions })].into())
}

fn version(change: Id, record: (Id, Digest)) -> Version {
    let record = Some(record);
    Version { number: 1, change, record }
}

fn head(change: Id, root: Node) -> Head {
    Head {
        parents: Vec::new(),
        change,
        root,
        recent: Vec::new(),
        earlier: Vec::new(),
    }
}

fn is_aside(rig: &Removed, what: &str) {
    let (_, joined) = rig.join(&rig.rig.vault());
    assert!(matches!(joined, Err(VaultError::Aside { .. })), "{what}: {joined:?}");
    assert_eq!(rig.rig.get(SCOPE, "KEPT").unwrap(), b"1", "{what}");
}

/// A machine that has not heard of the new key puts NAME: its head's change, and the digest of its head.
fn late_put(rig: &Removed, change: Id) -> Digest {
    let record = rig.record("NAME", b"the owner's");
    rig.forge_head(&head(change, leaf("NAME", vec![version(change, record)])))
}

#[test]
fn t53_a_node_that_many_name_is_come_to_once_and_its_head_is_left_aside() {
    for levels in [1, 10] {
        let rig = Removed::new();
        rig.put_back();
        let mut node = leaf("GONE", vec![rig.version(fresh())]);
        for _ in 0..levels {
            let (digest, change) = (rig.forge_node(&node), fresh());
            node = Node::Branch((0..64).map(|slot| (slot, Child { digest, change })).collect());
        }
        rig.forge_root(node);
        is_aside(&rig, &format!("{levels} levels"));
    }
}

#[test]
fn t53_a_name_lies_where_its_digest_leads_or_its_head_is_left_aside() {
    let rig = Removed::new();
    rig.put_back();
    let digest = rig.forge_node(&leaf("GONE", vec![rig.version(fresh())]));
    let elsewhere = (child("GONE", 0) + 1) % 64;
    let change = fresh();
    rig.forge_root(Node::Branch([(elsewhere, Child { digest, change })].into()));
    is_aside(&rig, "another child's name");
}

#[test]
fn t53_a_removed_key_that_names_the_owners_nodes_has_none_of_them_removed() {
    let rig = Removed::new();
    let mut many = Changes::default();
    for n in 0..200 {
        many.puts.extend(put(&format!("N{n}"), b"1").puts);
    }
    apply(&rig.rig.vault(), &rig.rig.blue, SCOPE, many).unwrap();
    let vault = rig.rig.vault();
    let children = match Removed::head(&vault, &rig.ring_in_force()).root {
        Node::Branch(children) => children,
        Node::Leaf(_) => panic!("200 secrets in one leaf"),
    };
    let moved = |(slot, of): (&u8, &Child)| {
        let (digest, change) = (of.digest, fresh());
        ((slot + 1) % 64, Child { digest, change })
    };
    rig.forge_root(Node::Branch(children.iter().map(moved).collect()));
    rig.join(&vault).1.ok();
    for n in 0..200 {
        assert_eq!(rig.rig.get(SCOPE, &format!("N{n}")).unwrap(), b"1");
    }
}

#[test]
fn t53_changes_that_a_removed_key_made_up_break_no_history() {
    let rig = Removed::new();
    let elsewhere = rig.rig.elsewhere().unwrap();
    assert_eq!(get(&elsewhere, &rig.rig.blue, SCOPE, "KEPT").unwrap(), b"1");
    for n in 0..10 {
        rig.rig.put(SCOPE, &format!("N{n}"), b"1").unwrap();
    }
    let made_up = |_| Ancestor {
        digest: Digest([0; 32]),
        change: fresh(),
    };
    let recent = (0..21_836).map(made_up).collect();
    let root = Node::empty();
    rig.forge_head(&Head {
        recent,
        ..head(fresh(), root)
    });
    for value in [b"2", b"3", b"4"] {
        rig.rig.put(SCOPE, "KEPT", value).unwrap();
    }
    // The memory of that machine is older than the page.
    assert_eq!(get(&elsewhere, &rig.rig.blue, SCOPE, "KEPT").unwrap(), b"4");
}

#[test]
fn t53_a_removed_key_that_claims_a_change_hides_nothing_that_another_machine_wrote() {
    for own in [true, false] {
        let (rig, change) = (Removed::new(), fresh());
        let digest = Digest([0; 32]);
        let recent = vec![Ancestor { digest, change }];
        let claimed = match own {
            true => head(change, Node::empty()),
            false => Head {
                recent,
                ..head(fresh(), Node::empty())
            },
        };
        rig.forge_head(&claimed);
        rig.rig.put(SCOPE, "NEW", b"2").unwrap();
        late_put(&rig, change);
        let (shown, joined) = rig.join(&rig.rig.vault());
        assert_eq!(shown, ["NAME"]);
        assert!(joined.unwrap().contains_key("NAME"));
        assert_eq!(rig.rig.get(SCOPE, "NAME").unwrap(), b"the owner's");
    }
}

#[test]
fn t53_another_record_under_the_change_of_another_machine_replaces_nothing() {
    for removed_key_first in [true, false] {
        let (rig, change) = (Removed::new(), fresh());
        let forge = || {
            let record = rig.record("NAME", b"another's");
            rig.forge_head(&head(fresh(), leaf("NAME", vec![version(change, record)])));
        };
        if removed_key_first {
            forge();
        } else {
            late_put(&rig, change);
        }
        rig.join(&rig.rig.vault()).1.unwrap();
        if removed_key_first {
            late_put(&rig, change);
        } else {
            forge();
        }
        let (shown, joined) = rig.join(&rig.rig.vault());
        assert!(shown.contains(&"NAME".to_owned()));
        assert_eq!(joined.unwrap()["NAME"].versions.len(), 2, "a person says which it is");
    }
}

#[test]
fn t53_a_head_under_an_earlier_key_hides_no_other_by_naming_it() {
    let (rig, change) = (Removed::new(), fresh());
    let late = late_put(&rig, change);
    rig.forge_head(&Head {
        parents: vec![late],
        ..head(fresh(), Node::empty())
    });
    let (_, joined) = rig.join(&rig.rig.vault());
    assert!(joined.unwrap().contains_key("NAME"));
}

#[test]
fn t53_what_was_taken_in_once_and_replaced_since_does_not_come_again() {
    let (rig, change) = (Removed::new(), fresh());
    late_put(&rig, change);
    rig.join(&rig.rig.vault()).1.unwrap();
    let vault = rig.rig.vault();
    let claim = vault.records_of(SCOPE, "NAME").unwrap().records.remove(0);
    let path = rig.rig.folder().join(record::path(rig.ring.scope, "NAME", claim.record));
    let bytes = fs::read(&path).unwrap();
    rig.rig.put(SCOPE, "NAME", b"newer").unwrap();
    // That machine goes on, and has heard of nothing yet.
    fs::write(&path, &bytes).unwrap();
    let again = version(change, (claim.record, Digest::of(&bytes)));
    let also = version(fresh(), rig.record("ALSO", b"3"));
    let name = "ALSO".to_owned();
    let versions = vec![also];
    let Node::Leaf(mut entries) = leaf("NAME", vec![again]) else {
        unreachable!()
    };
    entries.insert(name.clone(), Entry { name, versions });
    rig.forge_root(Node::Leaf(entries));
    rig.join(&rig.rig.vault()).1.unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(rig.rig.get(SCOPE, "NAME").unwrap(), b"newer");
    assert_eq!(rig.rig.get(SCOPE, "ALSO").unwrap(), b"3");
}

#[test]
fn t53_a_record_under_the_key_in_force_is_nothing_that_an_earlier_key_brings() {
    let rig = Removed::new();
    rig.rig.put(SCOPE, "SINCE", b"leaked").unwrap();
    let claim = rig.rig.vault().records_of(SCOPE, "SINCE").unwrap().records.remove(0);
    let path = rig.rig.folder().join(record::path(rig.ring.scope, "SINCE", claim.record));
    let bytes = fs::read(&path).unwrap();
    apply(&rig.rig.vault(), &rig.rig.blue, SCOPE, remove("SINCE")).unwrap();
    fs::write(&path, &bytes).unwrap();
    rig.forge(&[("SINCE", vec![version(fresh(), (claim.record, Digest::of(&bytes)))])]);
    let standing = rig.rig.vault().standing(&[SCOPE]).unwrap();
    assert_eq!(standing.claims().len(), 1, "it is shown, and not as one under an earlier key");
    is_aside(&rig, "a record under the key in force");
}

#[test]
fn t53_a_record_that_was_shown_by_another_name_is_not_taken_in() {
    let rig = Removed::new();
    rig.put_back();
    rig.forge(&[("OTHER", vec![rig.version(fresh())])]);
    is_aside(&rig, "GONE was shown, OTHER would be taken in");
}

#[test]
fn t53_the_head_that_was_accepted_here_has_its_turn_and_the_others_of_too_many_are_drawn() {
    let rig = Removed::new();
    let child = Child {
        digest: Digest::of(b"in no folder"),
        change: fresh(),
    };
    for _ in 0..300 {
        let root = Node::Branch([(0, child)].into());
        rig.forge_root(root);
    }
    let vault = rig.rig.vault();
    let scope = vault.scope(SCOPE).unwrap();
    let chosen = |own| tree::heads(&vault.store, scope.id, SCOPE, &vault.roster.trust(scope), own).unwrap();
    let all = fs::read_dir(rig.rig.folder().join(format!("heads/{}", scope.id))).unwrap();
    let all = all.map(|head| Digest::from_hex(head.unwrap().file_name().to_str().unwrap()).unwrap());
    let first = chosen(None);
    let left: Vec<Digest> = all.filter(|head| !first.contains(head)).collect();
    assert_eq!((first.len(), left.len()), (255, 46));
    assert!(chosen(Some(left[0])).contains(&left[0]));
    // What came before the others by its digest, or does not open, keeps nobody away for good.
    rig.rig.put(SCOPE, "NEW", b"2").unwrap();
    let vault = rig.rig.vault();
    let now = vault.standing(&[SCOPE]).unwrap();
    assert!(left.iter().any(|head| now.heads()[0].1.contains(head)));
}

#[test]
fn t53_a_record_that_no_index_names_is_in_nobodys_way() {
    let rig = Removed::new();
    rig.record("STRAY", b"1");
    rig.forge(&[]);
    assert_eq!(rig.rig.get(SCOPE, "KEPT").unwrap(), b"1");
    let (shown, joined) = rig.join(&rig.rig.vault());
    assert_eq!(shown, ["STRAY"]);
    assert_eq!(joined.unwrap().into_keys().collect::<Vec<_>>(), ["KEPT"]);
}

#[test]
fn t53_all_that_was_accepted_once_and_comes_back_is_shown_by_the_next_prompt() {
    let rig = Removed::new();
    let (one, two) = (rig.record("ONE", b"1"), rig.record("TWO", b"2"));
    let vault = rig.rig.vault();
    vault
        .memory
        .learn(rig.ring.scope, [one.0, two.0].into_iter(), [].into_iter())
        .unwrap();
    let version = |record| vec![version(fresh(), record)];
    rig.forge(&[("ONE", version(one)), ("TWO", version(two))]);
    assert!(matches!(rig.join(&vault).1, Err(VaultError::Aside { .. })));
    let (shown, joined) = rig.join(&rig.rig.vault());
    assert_eq!(shown, ["ONE", "TWO"]);
    joined.unwrap();
}

#[test]
fn t53_an_earlier_head_has_no_names_that_the_program_refuses() {
    for name in ["a\nb", "\u{1b}[2J", "../x", ""] {
        let rig = Removed::new();
        let versions = vec![version(Hex([7; 16]), (rig.id, Digest::of(&rig.bytes)))];
        let forged = rig.forge(&[(name, versions)]);
        let (_, joined) = rig.join(&rig.rig.vault());
        let said = joined.unwrap_err().to_string();
        assert!(
            said.starts_with(&head_path(rig.ring.scope, &forged)) && said.contains("does not open"),
            "{said}"
        );
    }
}
