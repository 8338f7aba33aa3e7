//! The vault in git: plain `git merge` never conflicts, whatever two machines did apart from each other.

use std::path::Path;
use std::process::Command;

use crate::device::enrolled::Profile;
use crate::device::soft::SoftKey;
use crate::vault::testing::Folder;
use crate::vault::{Changes, Delivery, Rules, Vault, VaultError};

use super::rig::{apply, copy, found, get, put};

fn git(folder: &Path, arguments: &[&str]) {
    let run = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "init.defaultBranch=main",
            "-c",
            "core.autocrlf=true",
        ])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "git {arguments:?}: {said}");
}

fn remove(name: &str) -> Changes {
    Changes {
        removes: vec![name.into()],
        ..Changes::default()
    }
}

fn rules(name: &str) -> Changes {
    // A long clear part, the same on both sides but for a word: what git would take for a renamed file.
    let hosts: Vec<String> = (0..40).map(|n| format!("host-{n}.a-long-name-that-repeats.example.com")).collect();
    let mut rules = Rules::for_hosts(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    rules.deliveries.insert(Delivery::Env);
    Changes {
        rules: vec![(name.into(), rules)],
        ..Changes::default()
    }
}

/// What the two machines do to a vault that has A, B and C.
fn sides() -> Vec<(&'static str, Changes, Changes)> {
    vec![
        ("put and put", put("X", b"1"), put("Y", b"2")),
        ("the same name put twice", put("X", b"1"), put("X", b"2")),
        ("edit and edit", put("A", b"1"), put("A", b"2")),
        ("rules and rules", rules("A"), rules("A")),
        ("remove and edit", remove("A"), put("A", b"2")),
        ("remove and remove", remove("A"), remove("A")),
        ("remove and put", remove("B"), put("X", b"2")),
    ]
}

#[test]
fn plain_git_merge_never_conflicts_in_either_order() {
    let blue = SoftKey::new("blue", Profile::Pin, 1);
    for (what, ours, theirs) in sides() {
        for (first, second) in [(&ours, &theirs), (&theirs, &ours)] {
            let home = Folder::new();
            let (one, two) = (home.join("one"), home.join("two"));
            let open = |folder: &Path| Vault::open(folder, &folder.with_extension("state"));
            found(&one, &one.with_extension("state"), &blue, &["prod"]).unwrap();
            for name in ["A", "B", "C"] {
                apply(&open(&one).unwrap(), &blue, "prod", put(name, b"0")).unwrap();
            }
            apply(&open(&one).unwrap(), &blue, "prod", rules("A")).unwrap();
            git(&one, &["init", "-q"]);
            git(&one, &["add", "-A"]);
            git(&one, &["commit", "-qm", "base"]);
            git(&home, &["clone", "-q", "one", "two"]);
            assert_eq!(get(&open(&two).unwrap(), &blue, "prod", "C").unwrap(), b"0", "{what}");
            for (folder, changes) in [(&one, first), (&two, second)] {
                apply(&open(folder).unwrap(), &blue, "prod", copy(changes)).unwrap();
                git(folder, &["add", "-A"]);
                git(folder, &["commit", "-qm", what]);
            }
            git(&two, &["pull", "-q", "--no-rebase", "--no-edit", "origin", "main"]);
            // Joining the heads takes a touch; until then both are named, and nothing is guessed.
            let merged = open(&two).unwrap();
            assert!(
                matches!(merged.standing(&["prod"]), Err(VaultError::ForkedIndex { heads, .. }) if heads.len() == 2),
                "{what}"
            );
        }
    }
}
