//! Two machines with one vault in git, through the command line.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::Value;

use crate::lab::Lab;

fn git(folder: &Path, arguments: &[&str]) {
    let run = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    assert!(run.status.success(), "git {arguments:?}: {run:?}");
}

fn commit(lab: &Lab) {
    git(&lab.vault(), &["add", "-A"]);
    git(&lab.vault(), &["commit", "-qm", "change"]);
}

fn pull(lab: &Lab, from: &Lab) {
    let from = from.vault();
    git(
        &lab.vault(),
        &["pull", "-q", "--no-rebase", "--no-edit", from.to_str().unwrap(), "main"],
    );
}

fn json(lab: &Lab, arguments: &[&str]) -> Value {
    let out = lab.agent_to_its_end(&[&["--json"], arguments].concat());
    serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"))
}

/// What `run` gives to a command.
fn value(lab: &Lab, secret: &str) -> String {
    let shown = lab.person(&[
        "run",
        "--with",
        &format!("IT={secret}"),
        "--",
        "sh",
        "-c",
        "printf '<%s>' $IT | tr a-z A-Z",
    ]);
    let from = shown.rfind('<').unwrap_or_else(|| panic!("{shown}"));
    shown[from..].trim_end().trim_matches(['<', '>']).to_owned()
}

/// A vault with `prod/TOKEN` on two machines.
fn two() -> (Lab, Lab) {
    let one = Lab::new();
    git(&one.vault(), &["init", "-q"]);
    commit(&one);
    let two = one.elsewhere();
    (one, two)
}

#[test]
fn the_touch_for_a_lease_joins_what_a_merge_brought_and_says_so_before() {
    let (one, two) = two();
    one.put("prod/ONE", b"first", &[]);
    two.put("prod/TWO", b"second", &[]);
    commit(&one);
    commit(&two);
    pull(&two, &one);
    let merges = json(&two, &["merge"]);
    assert_eq!(merges["merges"][0]["heads"], 2, "{merges}");
    assert_eq!(merges["merges"][0]["secrets"][0]["secret"], "prod/ONE", "{merges}");
    let shown = two.person(&["run", "--with", "prod/TWO", "--", "true"]);
    for part in ["joins", "2 states of prod", "takes in", "prod/ONE  version 1"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(two.person(&["merge"]).contains("nothing to merge"));
    assert_eq!(value(&two, "prod/ONE"), "FIRST");
    commit(&two);
    pull(&one, &two);
    assert_eq!(value(&one, "prod/TWO"), "SECOND");
    assert!(json(&two, &["audit", "verify"])["error"].is_null());
}

#[test]
fn of_a_secret_that_both_machines_wrote_a_person_keeps_one_by_a_touch_over_the_choice() {
    let (one, two) = two();
    one.put("prod/TOKEN", b"from-machine-one", &[]);
    two.put("prod/TOKEN", b"from-machine-two", &["--max-uses", "3"]);
    commit(&one);
    commit(&two);
    pull(&two, &one);
    let refused = json(&two, &["run", "--with", "prod/TOKEN", "--", "true"]);
    assert_eq!(refused["error"]["reason"], "contested", "{refused}");
    assert!(refused["error"]["hint"].as_str().unwrap().contains("touchlease merge"));
    let shown = two.person(&["merge"]);
    assert!(
        shown.contains("prod/TOKEN was written apart: keep one") && shown.contains("at most 3 uses"),
        "{shown}"
    );
    let merges = json(&two, &["merge"]);
    let versions = merges["merges"][0]["contested"][0]["versions"].as_array().unwrap().clone();
    let theirs = versions.iter().find(|version| version["rules"]["uses"].is_null()).unwrap();
    let keep = format!("prod/TOKEN={}", &theirs["record"].as_str().unwrap()[..8]);
    let wrong = json(&two, &["merge", "--keep", "prod/TOKEN=00000000"]);
    assert_eq!(wrong["error"]["reason"], "no_such_version");
    let shown = two.person(&["merge", "--keep", &keep]);
    for part in [
        "keeps",
        "prod/TOKEN  version 2",
        "as version 3",
        "drops",
        "2 states joined",
        "prod/TOKEN kept",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(value(&two, "prod/TOKEN"), "FROM-MACHINE-ONE");
    commit(&two);
    pull(&one, &two);
    assert_eq!(value(&one, "prod/TOKEN"), "FROM-MACHINE-ONE");
    let kept = two.events().into_iter().rfind(|(name, _)| name == "change").unwrap().1;
    assert!(kept["signed"]["text"].as_str().unwrap().contains("\"keeps\":[{"), "{kept}");
    assert_eq!(fs::metadata(two.vault()).unwrap().permissions().mode() & 0o777, 0o700);
}
