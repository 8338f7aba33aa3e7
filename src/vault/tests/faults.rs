//! Full disks and power cuts.

use crate::device::enrolled::Profile;
use crate::device::soft::SoftKey;
use crate::vault::{Changes, VaultError};

use super::rig::{Rig, apply, put};

/// One put, one replacement and one removal, cut at every call that changes a file.
#[test]
fn t49_p9_a_change_cut_at_any_step_leaves_the_old_vault_or_the_new_one() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    rig.put("prod", "A", b"old").unwrap();
    rig.put("prod", "B", b"old").unwrap();
    let start = rig.files();
    let (mut step, mut old, mut new) = (0, 0, 0);
    loop {
        rig.restore(&start);
        std::fs::remove_dir_all(rig.home.join("state")).unwrap();
        let vault = rig.vault();
        vault.store.faults.cut_at(step);
        let changes = Changes {
            removes: vec!["B".into()],
            ..put("A", b"new")
        };
        let done = apply(&vault, &rig.blue, "prod", changes);
        let steps = vault.store.faults.done();
        drop(vault);
        let listed: Vec<_> = rig.vault().list(None).unwrap().0.into_iter().map(|l| (l.name, l.version)).collect();
        let value = rig.get("prod", "A").unwrap();
        if value == b"new" {
            assert_eq!(listed, [("A".into(), 2)], "step {step}");
            new += 1;
        } else {
            assert_eq!((value.as_slice(), listed.len()), (&b"old"[..], 2), "step {step}");
            assert!(done.is_err(), "step {step}: acknowledged and lost");
            old += 1;
        }
        assert!(!rig.folder().join("pending").read_dir().unwrap().any(|_| true), "step {step}");
        if done.is_ok() {
            assert!(steps > 15 && old > 10 && new > 5, "{steps} {old} {new}");
            break;
        }
        step += 1;
    }
}

#[test]
fn t50_a_full_disk_at_any_step_of_a_change_loses_nothing() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    rig.put("prod", "A", b"old").unwrap();
    let mut step = 0;
    loop {
        let vault = rig.vault();
        vault.store.faults.fail_at(step);
        let value = format!("new {step}");
        let before = rig.get("prod", "A").unwrap();
        let done = apply(&vault, &rig.blue, "prod", put("A", value.as_bytes()));
        let after = rig.get("prod", "A").unwrap();
        match done {
            Ok(_) => {
                assert_eq!(after, value.as_bytes());
                if vault.store.faults.done() <= step {
                    break;
                }
            }
            Err(VaultError::Full { .. }) => assert!(after == before || after == value.as_bytes(), "step {step}"),
            Err(other) => panic!("step {step}: {other}"),
        }
        step += 1;
    }
    assert!(step > 15);
}

#[test]
fn t49_a_key_that_is_added_or_removed_with_a_cut_is_in_or_out() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    let spare = SoftKey::new("spare", Profile::Pin, 2);
    super::keys::add(&rig, &spare, &["prod"]).unwrap();
    let start = rig.files();
    let mut step = 0;
    loop {
        rig.restore(&start);
        std::fs::remove_dir_all(rig.home.join("state")).unwrap();
        let vault = rig.vault();
        vault.store.faults.cut_at(step);
        let done = super::keys::remove_from(&vault, "spare", &rig.blue);
        drop(vault);
        let vault = rig.vault();
        let (keys, epoch) = (vault.keys().len(), vault.roster.in_force().scope("prod").unwrap().epoch);
        assert!((keys, epoch) == (2, 1) || (keys, epoch) == (1, 2), "step {step}");
        assert_eq!(rig.get("prod", "A").unwrap(), b"1", "step {step}");
        if done.is_ok() {
            assert_eq!((keys, epoch), (1, 2));
            break;
        }
        step += 5;
    }
    assert!(step > 30);
}

#[test]
fn t49_making_a_vault_that_was_cut_can_be_begun_again() {
    let home = crate::vault::testing::Folder::new();
    let blue = SoftKey::new("blue", Profile::Pin, 1);
    // What a cut after the markers and the list of files leaves.
    std::fs::create_dir_all(home.join("vault/slots")).unwrap();
    std::fs::create_dir_all(home.join("vault/pending")).unwrap();
    std::fs::write(home.join("vault/format"), "touchlease vault 1\n").unwrap();
    std::fs::write(home.join("vault/slots/a.half"), b"half").unwrap();
    let list = "touchlease change 1\n= roster/x.json\n+ slots/a.half\n";
    let name = crate::encoding::Digest::of(list.as_bytes()).to_string();
    std::fs::write(home.join("vault/pending").join(name), list).unwrap();
    super::rig::found(&home.join("vault"), &home.join("state"), &blue, &["prod"]).unwrap();
    assert!(!home.join("vault/slots/a.half").exists());
}

#[test]
fn t52_two_daemons_that_write_at_once_lose_nothing() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    std::thread::scope(|threads| {
        for writer in ["ONE", "TWO"] {
            let rig = &rig;
            threads.spawn(move || {
                for n in 0..10 {
                    let name = format!("{writer}_{n}");
                    // Whoever comes second asks again: his text was bound to a state that is no longer in force.
                    while let Err(error) = rig.put("prod", &name, name.as_bytes()) {
                        assert!(
                            matches!(error, VaultError::Busy | VaultError::Changed | VaultError::Missing { .. }),
                            "{error}"
                        );
                    }
                }
            });
        }
    });
    let (listed, unreadable) = rig.vault().list(None).unwrap();
    assert_eq!((listed.len(), unreadable.len()), (20, 0));
    for secret in listed {
        assert_eq!(rig.get("prod", &secret.name).unwrap(), secret.name.as_bytes());
    }
}
