//! Two machines with one vault in git, through the command line.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use hw_tests::key::KeyHandle;

use crate::lab::{Lab, PATIENCE, holds};

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
    let merges = two.json(&["merge"]);
    assert_eq!(merges["merges"][0]["heads"], 2, "{merges}");
    assert_eq!(merges["merges"][0]["secrets"][0]["secret"], "prod/ONE", "{merges}");
    let parts = ["joins", "2 states of prod", "takes in", "prod/ONE  version 1"];
    let shown = two.shows(&["run", "--with", "prod/TWO", "--", "true"], 0, &parts);
    let rows: Vec<_> = shown
        .lines()
        .filter(|line| line.contains(" joins ") || line.contains(" takes in "))
        .collect();
    is_on_the_page(&rows.join("\n"));
    assert!(two.person(&["merge"]).contains("nothing to merge"));
    assert_eq!(value(&two, "prod/ONE"), "FIRST");
    commit(&two);
    pull(&one, &two);
    assert_eq!(value(&one, "prod/TWO"), "SECOND");
    assert!(two.json(&["audit", "verify"])["error"].is_null());
}

#[test]
fn a_recovery_says_what_it_takes_in_from_the_other_machine_before_the_touch() {
    let (one, two) = two();
    let shown = one.person(&["vault", "new-code"]);
    let is_code = |word: &&str| word.split('-').count() == 9;
    let code = shown.split_whitespace().find(is_code).expect("a recovery code is shown");
    commit(&one);
    pull(&two, &one);
    one.put("prod/ONE", b"first", &[]);
    two.put("prod/TWO", b"second", &[]);
    commit(&one);
    commit(&two);
    pull(&two, &one);
    // Every other change of who may open it says where to join first.
    for command in [&["rotate"][..], &["vault", "new-code"], &["key", "add", "spare"]] {
        two.shows(command, 71, &["not joined yet", "touchlease merge prod"]);
    }
    two.key.pull().unwrap();
    let green = two.reach.add().unwrap();
    let mut screen = two.home.terminal(["recover", "green", "--lost", "blue", "--touch-only"]).unwrap();
    screen.expect("recovery code (not shown): ").unwrap();
    screen.type_in(&format!("{code}\n")).unwrap();
    let (status, shown) = screen.finish().unwrap();
    assert!(status.success(), "{shown}");
    for part in ["2 states of prod", "takes in", "prod/ONE  version 1"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(value(&two, "prod/ONE"), "FIRST");
    green.pull().unwrap();
}

#[test]
fn of_a_secret_that_both_machines_wrote_a_person_keeps_one_by_a_touch_over_the_choice() {
    let (one, two) = two();
    one.put("prod/TOKEN", b"from-machine-one", &[]);
    two.put("prod/TOKEN", b"from-machine-two", &["--max-uses", "3"]);
    commit(&one);
    commit(&two);
    pull(&two, &one);
    let refused = two.json(&["run", "--with", "prod/TOKEN", "--", "true"]);
    assert_eq!(refused["error"]["reason"], "contested", "{refused}");
    assert!(refused["error"]["hint"].as_str().unwrap().contains("touchlease merge"));
    let shown = two.person(&["merge"]);
    is_on_the_page(&shown);
    assert!(
        shown.contains("prod/TOKEN was written on several machines: keep one") && shown.contains("at most 3 uses"),
        "{shown}"
    );
    let merges = two.json(&["merge"]);
    let versions = merges["merges"][0]["contested"][0]["versions"].as_array().unwrap().clone();
    let theirs = versions.iter().find(|version| version["rules"]["uses"].is_null()).unwrap();
    let record = &theirs["record"].as_str().unwrap()[..8];
    let keep = format!("prod/TOKEN={record}");
    let wrong = two.json(&["merge", "--keep", "prod/TOKEN=00000000"]);
    assert_eq!(wrong["error"]["reason"], "no_such_version");
    two.shows(
        &["merge", "--keep", &keep],
        0,
        &[
            "keeps",
            &format!("prod/TOKEN  {record}, version 2 of"),
            "it becomes version 3",
            "drops",
            "2 states joined",
            "prod/TOKEN kept",
        ],
    );
    assert_eq!(value(&two, "prod/TOKEN"), "FROM-MACHINE-ONE");
    commit(&two);
    pull(&one, &two);
    assert_eq!(value(&one, "prod/TOKEN"), "FROM-MACHINE-ONE");
    let kept = two.events().into_iter().rfind(|(name, _)| name == "change").unwrap().1;
    assert!(kept["signed"]["text"].as_str().unwrap().contains("\"keeps\":[{"), "{kept}");
    assert_eq!(fs::metadata(two.vault()).unwrap().permissions().mode() & 0o777, 0o700);
}

/// Every line of what was printed, dates and ids aside, stands in `docs/machines.md`.
fn is_on_the_page(shown: &str) {
    let shown = shown.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
    let page = crate::docs::page("machines.md");
    let known: Vec<String> = page.lines().map(shape).collect();
    let missing: Vec<&str> = shown
        .lines()
        .filter(|line| !line.trim().is_empty() && !known.contains(&shape(line)))
        .collect();
    assert!(missing.is_empty(), "not in docs/machines.md: {missing:?} of\n{shown}");
}

/// A line with every digit of dates and ids alike.
fn shape(line: &str) -> String {
    let alike = |word: &str| {
        let hex = word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = word
            .rsplit_once('=')
            .is_some_and(|(_, id)| id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match word.rsplit_once('=') {
            _ if hex => "ID".to_owned(),
            Some((before, _)) if id => format!("{before}=ID"),
            _ if word.contains(['-', ':']) => word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect(),
            _ => word.to_owned(),
        }
    };
    line.split_whitespace().map(alike).collect::<Vec<_>>().join(" ")
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn t53_an_older_copy_is_refused_until_a_touch_accepts_it_in_words() {
    let lab = Lab::new();
    let old = lab.home.path().join("old");
    copy(&lab.vault(), &old);
    lab.put("prod/NEWER", b"of-today", &[]);
    copy(&old, &lab.vault());
    let run = lab.home.terminal(["run", "--with", "prod/TOKEN", "--", "true"]);
    let (status, shown) = run.unwrap().finish().unwrap();
    assert_eq!(status.code(), Some(71), "{shown}");
    assert!(
        shown.contains("scope prod is older") && shown.contains("touchlease vault accept-older"),
        "{shown}"
    );
    // Not on a watch among other prompts: where the command was typed, or nowhere.
    let elsewhere = lab.json(&["vault", "accept-older"]);
    assert_eq!(elsewhere["error"]["reason"], "no_terminal", "{elsewhere}");
    assert_eq!(lab.count("older_accepted"), 0);
    lab.shows(
        &["vault", "accept-older"],
        0,
        &[
            "asks to accept an older vault",
            "prod is not as it was seen last; gone: 1 record",
            "loses",
            "prod/NEWER",
            "accepted as it is",
        ],
    );
    assert_eq!(value(&lab, "prod/TOKEN"), crate::lab::CANARY.to_uppercase());
    assert_eq!(lab.count("older_accepted"), 1);
    let verified = lab.json(&["audit", "verify"]);
    assert!(verified["error"].is_null(), "{verified}");
    // Nothing is asked, and nothing written, where nothing is older.
    let before = lab.events();
    let shown = lab.person(&["vault", "accept-older"]);
    assert!(shown.contains("there is nothing to accept"), "{shown}");
    assert_eq!(lab.events(), before);
}

#[test]
fn t53_another_vault_in_the_place_of_one_is_refused_until_a_touch_takes_it() {
    let lab = Lab::new();
    let (vault, other, before) = (lab.vault(), lab.home.path().join("other"), lab.home.path().join("before"));
    let there = other.to_str().unwrap().to_owned();
    lab.person(&["--vault", &there, "init", "--key", "blue", "--touch-only"]);
    fs::write(lab.home.work().join("value"), "of-the-other-one").unwrap();
    lab.person(&["--vault", &there, "put", "prod/TOKEN", "--from-file", "value"]);
    let refused = |what: &str| {
        let asked = lab.key.counts().unwrap().asked;
        for command in [
            &["run", "--with", "prod/TOKEN", "--", "true"][..],
            &["put", "prod/NEW", "--from-file", "value"],
            &["list"],
        ] {
            let said = lab.json(command);
            assert_eq!(said["error"]["reason"], "other_vault", "{what}: {said}");
            assert!(
                said["error"]["hint"].as_str().unwrap().ends_with("touchlease vault accept-older"),
                "{said}"
            );
        }
        assert_eq!(lab.key.counts().unwrap().asked, asked, "{what}: nobody was asked for a touch");
        assert!(lab.agent_to_its_end(&["lock"]).status.success());
        let faults = lab.status()["faults"].to_string();
        assert!(faults.contains("another one lies there"), "{faults}");
        // Not by an agent.
        assert_eq!(lab.json(&["vault", "accept-older"])["error"]["reason"], "no_terminal");
    };
    // The files of one in the folder of the other, and a folder in the place of another one.
    copy(&vault, &before);
    for part in fs::read_dir(&vault).unwrap() {
        let part = part.unwrap().path();
        fs::remove_dir_all(&part).or_else(|_| fs::remove_file(&part)).unwrap();
    }
    crate::lab::copy(&other, &vault);
    refused("its files");
    fs::rename(&vault, lab.home.path().join("mixed")).unwrap();
    copy(&before, &vault);
    assert_eq!(
        value(&lab, "prod/TOKEN"),
        crate::lab::CANARY.to_uppercase(),
        "the one of before needs no word"
    );
    fs::rename(&vault, lab.home.path().join("away")).unwrap();
    fs::rename(&other, &vault).unwrap();
    refused("its folder");
    lab.shows(
        &["vault", "accept-older"],
        0,
        &[
            "asks to accept another vault",
            "before ",
            "the vault \"vault\" (",
            "accepted as it is",
        ],
    );
    assert_eq!(value(&lab, "prod/TOKEN"), "OF-THE-OTHER-ONE");
    assert!(lab.person(&["vault", "accept-older"]).contains("nothing to accept"));
    assert!(lab.json(&["audit", "verify"])["error"].is_null());
    // A vault that a person makes there is meant.
    fs::remove_dir_all(&vault).unwrap();
    lab.person(&["init", "--key", "blue", "--touch-only"]);
    lab.put("prod/TOKEN", b"of-the-third", &[]);
    assert_eq!(value(&lab, "prod/TOKEN"), "OF-THE-THIRD");
}

#[test]
fn t53_another_vault_whose_roster_is_forked_is_refused_before_it_is_joined() {
    let theirs = Lab::new();
    let twin = theirs.elsewhere();
    for lab in [&theirs, &twin] {
        lab.person(&["rotate"]);
    }
    // Nothing that two people change has one fixed name.
    crate::lab::copy(&twin.vault(), &theirs.vault());
    assert_eq!(theirs.json(&["list"])["error"]["reason"], "roster_fork");
    let lab = Lab::new();
    let (vault, other) = (lab.vault(), lab.home.path().join("other"));
    fs::rename(&vault, lab.home.path().join("before")).unwrap();
    crate::lab::copy(&theirs.vault(), &vault);
    let shown = lab.shows(&["--json", "vault", "join"], 71, &["\"other_vault\"", "another one lies there"]);
    assert!(!shown.contains("joins two histories"), "{shown}");
    // As the hint says: elsewhere it is itself, and can be joined.
    assert!(shown.contains("touchlease --vault FOLDER vault join"), "{shown}");
    fs::rename(&vault, &other).unwrap();
    let there = lab.agent_to_its_end(&["--vault", other.to_str().unwrap(), "vault", "join"]);
    assert!(holds(&there.stderr, "side") || holds(&there.stdout, "side"), "{there:?}");
}

#[test]
fn t53_another_vault_that_is_put_there_while_the_touch_is_waited_for_is_not_taken() {
    let lab = Lab::new();
    let (vault, aside) = (lab.vault(), |name: &str| lab.home.path().join(name));
    for name in ["second", "third"] {
        let there = aside(name).display().to_string();
        lab.person(&["--vault", &there, "init", "--key", "blue", "--touch-only"]);
    }
    let swap = |away: &str, for_it: &str| {
        fs::rename(&vault, aside(away)).unwrap();
        fs::rename(aside(for_it), &vault).unwrap();
    };
    swap("first", "second");
    lab.key.never().unwrap();
    let mut accepting = lab.home.terminal(["vault", "accept-older"]).unwrap();
    accepting.expect("touch \"blue\"").unwrap();
    assert!(lab.key.await_asked(PATIENCE).unwrap());
    swap("second", "third");
    assert!(lab.key.press().unwrap());
    let (status, shown) = accepting.finish().unwrap();
    assert!(
        status.code() == Some(71) && shown.contains("another one lies there by now"),
        "{shown}"
    );
    assert_eq!(lab.json(&["list"])["error"]["reason"], "other_vault");
}

#[test]
fn a_backup_is_verified_without_a_touch_and_opens_on_another_machine() {
    let lab = Lab::new();
    let archive = lab.home.path().join("vault.tar").display().to_string();
    let asked = lab.count("asked");
    let made = lab.json(&["backup", "create", &archive]);
    assert!(made["files"].as_u64().unwrap() > 8, "{made}");
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    let verified = lab.json(&["backup", "verify", &archive]);
    assert_eq!(
        (&verified["keys"][0], &verified["scopes"][0]["records"]),
        (&"blue".into(), &1.into()),
        "{verified}"
    );
    assert!(verified["unchecked"].as_str().unwrap().contains("takes a touch"));
    assert_eq!(lab.count("asked"), asked, "nobody was asked for a touch");
    assert_eq!(lab.json(&["backup", "create", &archive])["error"]["reason"], "backup_file");
    assert_eq!(lab.json(&["backup", "restore", &archive])["error"]["reason"], "not_empty");
    let piped = lab.agent_to_its_end(&["backup", "create", "-"]);
    assert_eq!(piped.stdout, fs::read(&archive).unwrap(), "the same state, the same bytes");
    let mut broken = piped.stdout;
    broken.truncate(broken.len() / 2);
    let cut = lab.home.path().join("cut.tar").display().to_string();
    fs::write(&cut, broken).unwrap();
    assert_eq!(lab.json(&["backup", "verify", &cut])["error"]["outcome"], "bad_input");

    let other = lab.elsewhere();
    for folder in ["data", "state"] {
        fs::remove_dir_all(other.home.path().join(folder)).unwrap();
    }
    assert_eq!(other.json(&["list"])["error"]["reason"], "no_vault");
    let folder = other.vault().display().to_string();
    let restored = other.json(&["--vault", &folder, "backup", "restore", &archive]);
    assert_eq!(restored["folder"], folder.as_str(), "{restored}");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(value(&other, "prod/TOKEN"), crate::lab::CANARY.to_uppercase());
    assert!(!fs::read_dir(other.vault().parent().unwrap()).unwrap().any(|entry| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().starts_with(".touchlease-backup")
    }));
}

#[test]
fn more_from_a_state_under_an_earlier_key_than_a_prompt_names_is_joined_by_a_touch_of_its_own() {
    let (one, two) = two();
    let env: String = (0..41).map(|n| format!("NAME_{n}=value-{n}\n")).collect();
    let file = one.home.work().join("many.env");
    fs::write(&file, env).unwrap();
    one.person(&["import", file.to_str().unwrap(), "--scope", "prod"]);
    two.person(&["rotate", "prod"]);
    commit(&one);
    commit(&two);
    pull(&two, &one);
    for arguments in [&["run", "--with", "prod/TOKEN", "--", "true"][..], &["rm", "prod/TOKEN"]] {
        two.shows(arguments, 71, &["more than a prompt can name", "touchlease merge prod"]);
    }
    assert!(two.person(&["merge"]).contains("prod/NAME_40"));
    let join = two.home.terminal(["merge", "prod"]).unwrap();
    join.resize(100, 60).unwrap();
    let (status, shown) = join.finish().unwrap();
    assert!(status.success() && shown.contains("and 1 more"), "{shown}");
    assert_eq!(value(&two, "prod/NAME_40"), "VALUE-40");
}
