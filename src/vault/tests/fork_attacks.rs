//! What somebody who was removed on one side of a fork can make of the other side, whose roster has not heard of it: there he is
//! still enrolled, and knows the scope's key.

use std::collections::BTreeMap;

use crate::device::enrolled::{EnrolledKey, Fido2, Kind, Profile};
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::vault::error::RosterFault;
use crate::vault::index::{Ancestor, Entry, Head, HeadClear, Node, Version, head_path};
use crate::vault::roster::signature;
use crate::vault::scope::{self, Ring};
use crate::vault::statement::Statement;
use crate::vault::{Fork, Vault, VaultError, random};

use super::earlier::{Removed, SCOPE, next_prompt, ring_of, spare};
use super::fork::{added, apart, forge, forge_after, fork, join_by, joined, names, rotation, third};
use super::keys::{add, commit, remove_from};
use super::recover::recover;
use super::rig::{NOW, Rig, apply, put};

/// A vault in which `spare` is removed on one side, and what it knows of the other.
struct Late {
    rig: Removed,
    /// The state of that side.
    state: (Digest, Head),
}

/// A side's state, and the key of it that somebody who was removed on the other side knows.
type Seen = ((Digest, Head), Ring);

fn seen(vault: &Vault, ring: Ring) -> Seen {
    let digest = vault.standing(&[SCOPE]).unwrap().heads()[0].1[0];
    ((digest, Removed::head(vault, &ring)), ring)
}

/// The vault as the second machine has it now.
fn there(rig: &Rig) -> Vault {
    Vault::open(&rig.folder(), &rig.home.join("other")).unwrap()
}

impl Late {
    /// Two machines change the vault apart from each other; one of them says what of it is seen.
    fn apart(mut rig: Removed, here: impl FnOnce(&Rig, &Vault) -> Option<Seen>, other: impl FnOnce(&Rig, &Vault) -> Option<Seen>) -> Self {
        let (mut seen_here, mut seen_there) = (None, None);
        apart(
            &rig.rig,
            |vault| seen_here = here(&rig.rig, vault),
            |vault| seen_there = other(&rig.rig, vault),
        );
        let (state, ring) = seen_here.or(seen_there).unwrap();
        rig.ring = ring;
        Self { rig, state }
    }

    /// The owner removes `spare` and puts HERE; the machine that does not hear of it does `late`, and puts THERE.
    fn after(late: impl FnOnce(&Vault, &SoftKey)) -> Self {
        Self::apart(
            Removed::before(),
            |rig, vault| {
                remove_from(vault, "spare", &rig.blue).unwrap();
                rig.put(SCOPE, "HERE", b"2").unwrap();
                None
            },
            |rig, vault| {
                late(vault, &rig.blue);
                let vault = there(rig);
                apply(&vault, &rig.blue, SCOPE, put("THERE", b"3")).unwrap();
                Some(seen(&vault, ring_of(&vault, &spare())))
            },
        )
    }

    /// Somebody who knows that side's key writes a state that follows it, in which nothing of it is left but a secret of his own.
    fn forge(&self) -> Digest {
        follow(&self.rig, &self.state)
    }
}

fn follow(rig: &Removed, (digest, head): &(Digest, Head)) -> Digest {
    let Node::Leaf(mut leaf) = head.root.clone() else {
        unreachable!("a few secrets")
    };
    for entry in leaf.values_mut() {
        entry.versions = vec![Version {
            number: 9,
            change: random::id(&mut random::system()),
            record: None,
        }];
    }
    for name in ["KEPT", "MINE"] {
        let version = Version {
            number: 9,
            change: random::id(&mut random::system()),
            record: Some(rig.record(name, b"stolen")),
        };
        let (name, versions) = (name.to_owned(), vec![version]);
        leaf.insert(name.clone(), Entry { name, versions });
    }
    let mut recent = head.recent.clone();
    recent.push(Ancestor {
        digest: *digest,
        change: head.change,
    });
    rig.forge_head(&Head {
        parents: vec![*digest],
        change: random::id(&mut random::system()),
        root: Node::Leaf(leaf),
        recent,
        earlier: Vec::new(),
    })
}

fn rotate(vault: &Vault, blue: &SoftKey) {
    commit(rotation(vault, &[SCOPE], blue), vault, blue).unwrap();
}

fn admit(vault: &Vault, blue: &SoftKey) {
    added(vault, &third(), &[SCOPE], blue);
}

/// The live names of the one head under the key in force, of which the joined statement is.
fn head_of(rig: &Removed) -> Vec<String> {
    let (vault, ring) = (rig.rig.vault(), rig.ring_in_force());
    let scope = vault.scope(SCOPE).unwrap();
    let heads = vault.heads(scope).unwrap().into_iter();
    let files = heads.map(|head| vault.store.read(&head_path(scope.id, &head), 1 << 20).unwrap());
    let mut ours = files.filter(|file| HeadClear::read(file).unwrap().key == scope.commitment);
    let head = Head::open(&ring, &ours.next().unwrap()).unwrap();
    assert!(ours.next().is_none(), "one head");
    let Node::Leaf(leaf) = head.root else {
        unreachable!("a few secrets")
    };
    let live = leaf.into_values().filter(|entry| entry.records().next().is_some());
    live.map(|entry| entry.name).collect()
}

#[test]
fn t53_a_removed_key_hides_and_replaces_nothing_through_a_side_that_had_not_heard_of_its_removal() {
    for (what, changes) in [("admitted", admit as fn(&Vault, &SoftKey)), ("re-keyed", rotate)] {
        let late = Late::after(changes);
        late.forge();
        let plan = fork(&late.rig.rig)
            .join(&[late.rig.rig.blue.enrolled().id()], &BTreeMap::new(), NOW, &mut random::system())
            .unwrap();
        assert_eq!(plan.left_aside(), [SCOPE], "{what}");
        let vault = joined(&late.rig.rig);
        assert_eq!(head_of(&late.rig), ["HERE", "KEPT"], "{what}: what the side has that shut it out");
        // The next prompt shows all that the other side has, the owner's and the forged, as what they may be.
        let (shown, earlier) = next_prompt(&vault);
        assert!(earlier, "{what}");
        for name in ["KEPT", "MINE", "THERE"] {
            assert!(shown.iter().any(|shown| shown == name), "{what}: {name} in {shown:?}");
        }
        let (_, entries) = late.rig.join(&vault);
        let entries = entries.unwrap();
        assert_eq!(entries.keys().collect::<Vec<_>>(), ["HERE", "KEPT", "MINE", "THERE"], "{what}");
        assert_eq!(entries["KEPT"].versions.len(), 2, "{what}: a person says which");
        assert_eq!(late.rig.rig.get(SCOPE, "HERE").unwrap(), b"2", "{what}");
        assert_eq!(late.rig.rig.get(SCOPE, "THERE").unwrap(), b"3", "{what}");
    }
}

#[test]
fn t53_on_a_machine_that_had_not_heard_of_a_removal_only_what_it_accepted_is_joined_and_the_rest_is_shown() {
    let late = Late::after(admit);
    late.forge();
    let other = Fork::open(&late.rig.rig.folder(), &late.rig.rig.home.join("other"))
        .unwrap()
        .unwrap();
    join_by(&other, &[&late.rig.rig.blue], &[]).unwrap();
    let vault = there(&late.rig.rig);
    assert_eq!(head_of(&late.rig), ["HERE", "KEPT", "THERE"]);
    let (shown, earlier) = next_prompt(&vault);
    assert!(earlier && shown.contains(&"MINE".to_owned()), "{shown:?}");
}

#[test]
fn t53_whoever_has_a_code_that_one_side_replaced_only_adds_through_the_other_side() {
    let late = Late::apart(
        Removed::before(),
        |rig, vault| {
            recover(vault, &rig.code, &third(), &[]).unwrap();
            rig.put(SCOPE, "HERE", b"2").unwrap();
            None
        },
        |rig, vault| {
            let plan = vault.new_scope("web", &[rig.blue.enrolled().id()], NOW, &mut random::system());
            commit(plan.unwrap(), vault, &rig.blue).unwrap();
            let vault = there(rig);
            let scope = vault.scope(SCOPE).unwrap();
            let ring = scope::open_with_recovery(&vault.store, &vault.roster, scope, &rig.code).unwrap();
            Some(seen(&vault, ring))
        },
    );
    late.forge();
    let rig = late.rig;
    joined(&rig.rig);
    assert_eq!(head_of(&rig), ["HERE", "KEPT"]);
    // What that code opens can be forged in a scope of that side alone too: it begins anew, and what there is of it is shown.
    let standing = rig.rig.vault().standing(&["web"]).unwrap();
    assert!(standing.has_earlier_heads());
}

/// Two keys, each removed on one side: each knows the key of the side that has not heard of it. What the first of them made there.
fn each_removed_on_one_side() -> Removed {
    let rig = Removed::before();
    add(&rig.rig, &third(), &[SCOPE]).unwrap();
    let late = Late::apart(
        rig,
        |rig, vault| {
            remove_from(vault, "spare", &rig.blue).unwrap();
            rig.put(SCOPE, "HERE", b"2").unwrap();
            let vault = rig.vault();
            let ring = ring_of(&vault, &third());
            Some(seen(&vault, ring))
        },
        |rig, vault| {
            remove_from(vault, "third", &rig.blue).unwrap();
            apply(&there(rig), &rig.blue, SCOPE, put("THERE", b"3")).unwrap();
            None
        },
    );
    late.forge();
    late.rig
}

fn accepted_file(rig: &Removed) -> std::path::PathBuf {
    let vault = fork(&rig.rig).id().unwrap();
    rig.rig.home.join("state").join(vault.to_string()).join("accepted.json")
}

#[test]
fn t53_where_every_side_has_a_key_that_somebody_removed_knows_the_state_that_this_machine_accepted_counts() {
    let rig = each_removed_on_one_side();
    joined(&rig.rig);
    assert_eq!(names(&rig.rig.vault()), ["blue"]);
    assert_eq!(head_of(&rig), ["HERE", "KEPT"]);
    let (shown, earlier) = next_prompt(&rig.rig.vault());
    assert!(earlier);
    for name in ["KEPT", "MINE", "THERE"] {
        assert!(shown.iter().any(|shown| shown == name), "{name} in {shown:?}");
    }
    assert_eq!(rig.rig.get(SCOPE, "HERE").unwrap(), b"2");
}

#[test]
fn t53_where_every_side_has_a_key_that_somebody_removed_knows_a_machine_that_saw_neither_is_shown_all_of_both() {
    let rig = each_removed_on_one_side();
    let there = || rig.rig.home.join("elsewhere");
    let new = Fork::open(&rig.rig.folder(), &there()).unwrap().unwrap();
    join_by(&new, &[&rig.rig.blue], &[]).unwrap();
    assert!(head_of(&rig).is_empty());
    let (mut shown, earlier) = next_prompt(&Vault::open(&rig.rig.folder(), &there()).unwrap());
    shown.dedup();
    assert!(earlier);
    assert_eq!(shown, ["HERE", "KEPT", "MINE", "THERE"]);
}

#[test]
fn t53_where_the_state_is_gone_that_this_machine_accepted_no_other_one_counts_in_its_place() {
    let rig = each_removed_on_one_side();
    let accepted = std::fs::read_to_string(accepted_file(&rig)).unwrap();
    let heads = std::fs::read_dir(rig.rig.folder().join(format!("heads/{}", rig.ring.scope))).unwrap();
    for head in heads.map(|head| head.unwrap()) {
        if accepted.contains(head.file_name().to_str().unwrap()) {
            std::fs::remove_file(head.path()).unwrap();
        }
    }
    let files = rig.rig.files();
    let refused = join_by(&fork(&rig.rig), &[&rig.rig.blue], &[]).unwrap_err();
    assert!(matches!(&refused, VaultError::NoneVouched(scope) if scope == SCOPE), "{refused}");
    assert_eq!(rig.rig.files(), files);
}

#[test]
fn t53_a_key_that_a_removed_key_enrols_again_stays_out_and_so_does_whom_it_lets_in() {
    let rig = Rig::with(Profile::Pin, &[SCOPE]);
    for key in [&spare(), &third()] {
        add(&rig, key, &[SCOPE]).unwrap();
    }
    let before = rig.vault();
    let mallory = SoftKey::new("mallory", Profile::TouchOnly, 7);
    for by_third in [false, true] {
        let files = rig.files();
        apart(
            &rig,
            |vault| {
                remove_from(vault, "spare", &rig.blue).unwrap();
                if by_third {
                    // The owner's other machine took `third` out meanwhile: it lets somebody in here.
                    added(&rig.vault(), &mallory, &[SCOPE], &third());
                }
            },
            |vault| {
                remove_from(vault, "third", &rig.blue).unwrap();
                let there = there(&rig);
                let key = before.keys().into_iter().find(|key| key.name == "third").unwrap();
                forge(&rig, &there, &spare(), |statement| statement.keys.push(key));
            },
        );
        if by_third {
            assert!(matches!(join_by(&fork(&rig), &[&rig.blue], &[]), Err(VaultError::ShutOut)));
        } else {
            joined(&rig);
            assert_eq!(names(&rig.vault()), ["blue"]);
        }
        std::fs::remove_dir_all(rig.home.join("state")).unwrap();
        std::fs::remove_dir_all(rig.home.join("other")).unwrap();
        rig.restore(&files);
    }
}

#[test]
fn a_key_that_was_enrolled_again_on_one_side_stays() {
    let rig = Rig::new();
    add(&rig, &spare(), &[SCOPE]).unwrap();
    remove_from(&rig.vault(), "spare", &rig.blue).unwrap();
    apart(
        &rig,
        |vault| added(vault, &spare(), &[SCOPE], &rig.blue),
        |vault| added(vault, &third(), &[SCOPE], &rig.blue),
    );
    joined(&rig);
    assert_eq!(names(&rig.vault()), ["blue", "spare", "third"]);
}

/// A key as its owner enrolled it, with another device to be recognised by, and without its PIN.
fn as_another_device(key: &EnrolledKey) -> EnrolledKey {
    let other = SoftKey::new("mallory", Profile::TouchOnly, 7).enrolled();
    EnrolledKey {
        name: key.name.clone(),
        profile: other.profile,
        kind: Kind::Fido2(Fido2 {
            lease: key.fido2().unwrap().lease.clone(),
            which: other.fido2().unwrap().which.clone(),
        }),
    }
}

fn entry<'a>(statement: &'a mut Statement, name: &str) -> &'a mut EnrolledKey {
    statement.keys.iter_mut().find(|key| key.name == name).unwrap()
}

fn replace(statement: &mut Statement, name: &str) {
    let entry = entry(statement, name);
    *entry = as_another_device(entry);
}

fn leave_out(statement: &mut Statement, name: &str) {
    let id = entry(statement, name).id();
    statement.keys.retain(|key| key.id() != id);
    for scope in &mut statement.scopes {
        scope.slots.retain(|slot| slot.key() != Some(id));
    }
}

#[test]
fn t13_t53_no_statement_says_another_thing_of_a_key_than_those_before_it() {
    let rig = Rig::with(Profile::Pin, &[SCOPE]);
    add(&rig, &spare(), &[SCOPE]).unwrap();
    let known = rig.vault();
    let blue = known.keys().into_iter().find(|key| key.name == "blue").unwrap();
    remove_from(&known, "spare", &rig.blue).unwrap();
    let files = rig.files();
    let refused = || {
        let opened = Fork::open(&rig.folder(), &rig.home.join("state"));
        matches!(
            opened,
            Err(VaultError::Roster {
                why: RosterFault::Content,
                ..
            })
        )
    };
    forge(&rig, &known, &spare(), |statement| replace(statement, "blue"));
    assert!(refused());
    // With a statement between in which the key is not.
    rig.restore(&files);
    let without = forge(&rig, &known, &spare(), |statement| leave_out(statement, "blue"));
    assert!(!refused());
    forge_after(&rig, without, &spare(), |statement| statement.keys.push(as_another_device(&blue)));
    assert!(refused());
    // Its name is the person's matter.
    rig.restore(&files);
    forge(&rig, &known, &spare(), |statement| entry(statement, "blue").name = "azure".into());
    assert!(!refused());
}

#[test]
fn t13_t53_sides_that_say_different_things_of_a_key_are_not_joined() {
    let rig = Rig::with(Profile::Pin, &[SCOPE]);
    add(&rig, &spare(), &[SCOPE]).unwrap();
    let known = rig.vault();
    remove_from(&known, "spare", &rig.blue).unwrap();
    add(&rig, &third(), &[SCOPE]).unwrap();
    forge(&rig, &known, &spare(), |statement| {
        statement.keys.push(as_another_device(&third().enrolled()));
    });
    let files = rig.files();
    let refused = join_by(&fork(&rig), &[&rig.blue], &[]).unwrap_err();
    assert!(matches!(&refused, VaultError::OtherKey(name) if name == "third"), "{refused}");
    assert_eq!(rig.files(), files);
}

#[test]
fn p9_a_statement_that_no_reader_would_take_is_not_written() {
    let rig = Rig::with(Profile::Pin, &[SCOPE]);
    let vault = rig.vault();
    let check = |change: &dyn Fn(&mut Statement)| {
        let mut statement = Statement {
            previous: vec![vault.roster_digest()],
            random: None,
            ..vault.roster.in_force().clone()
        };
        change(&mut statement);
        let text = statement.to_bytes().unwrap();
        let touch = rig.blue.touch(Namespace::Vault, &text, &[]);
        vault.roster.check_next(&statement, &text, &signature(&touch, &text).unwrap())
    };
    check(&|_| {}).unwrap();
    let no_reader = [
        &(|statement: &mut Statement| replace(statement, "blue")) as &dyn Fn(&mut Statement),
        &|statement: &mut Statement| statement.scopes[0].epoch += 2,
    ];
    for change in no_reader {
        let refused = check(change).unwrap_err();
        assert!(
            matches!(
                refused,
                VaultError::Roster {
                    why: RosterFault::Content,
                    ..
                }
            ),
            "{refused}"
        );
    }
}
