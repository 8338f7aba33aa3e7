//! What is said when something is refused: the command of a hint is not refused in the situation in which it is shown.

use std::{fs, time::Duration};

use hw_tests::key::KeyHandle;
use serde_json::{Value, json};
use touchlease::config::Config;

use crate::{
    lab::{Lab, PATIENCE, holds},
    newcomer::failed,
};

/// The first command that a hint names.
fn command(hint: &str) -> Vec<&str> {
    let (_, command) = hint.split_once("touchlease ").unwrap_or_else(|| panic!("no command: {hint}"));
    command.split(';').next().unwrap().split(' ').collect()
}

fn hint_of(lab: &Lab, arguments: &[&str]) -> (String, String) {
    let (_, reason, _, hint) = failed(&lab.agent_to_its_end(&[&["--json"], arguments].concat()));
    (reason, hint)
}

/// The failure of a command at a person's own terminal.
fn refused(lab: &Lab, arguments: &[&str]) -> Value {
    let (status, shown) = lab.home.terminal([&["--json"], arguments].concat()).unwrap().finish().unwrap();
    assert!(!status.success(), "{arguments:?}: {shown}");
    let line = shown.lines().find(|line| line.starts_with('{'));
    let said: Value = serde_json::from_str(line.unwrap_or_else(|| panic!("no JSON: {shown}"))).unwrap();
    said["error"].clone()
}

#[test]
fn a_delivery_that_the_rules_forbid_is_allowed_by_the_hint_and_what_was_allowed_stays() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    lab.put("prod/WEB", b"correct-horse", &["--host", "a.example", "--max-ttl", "5m"]);
    lab.put("prod/FILE", b"correct-horse", &["--allow", "file"]);
    for (secret, deliveries) in [("prod/WEB", json!(["file", "proxy"])), ("prod/FILE", json!(["env", "file"]))] {
        // The one by proxy, if nothing else is said.
        let run = ["run", "--with-file", &format!("X={secret}"), "--", "true"];
        let run = if secret == "prod/FILE" {
            ["run", "--with", secret, "--", "true"]
        } else {
            run
        };
        let (reason, hint) = hint_of(&lab, &run);
        assert_eq!(reason, "delivery_forbidden");
        lab.person(&command(&hint));
        let ran = lab.agent_to_its_end(&run);
        assert!(ran.status.success(), "{hint}: {ran:?}");
        let listed: Value = serde_json::from_slice(&lab.agent_to_its_end(&["--json", "list", "prod"]).stdout).unwrap();
        let mut rules = listed["secrets"].as_array().unwrap().iter();
        let rules = &rules.find(|one| one["secret"] == secret).unwrap()["rules"];
        assert_eq!(rules["deliveries"], deliveries, "{rules}");
        assert_eq!(rules["ttl"], if secret == "prod/WEB" { json!(300) } else { Value::Null });
    }
}

#[test]
fn a_key_that_alone_opens_a_scope_goes_once_another_is_let_in_as_the_hint_says() {
    let lab = Lab::new();
    lab.reach.add().unwrap();
    lab.person(&["key", "add", "spare"]);
    lab.person(&["scope", "add", "web", "--key", "blue"]);
    let error = refused(&lab, &["key", "remove", "blue"]);
    assert_eq!(error["reason"], "none_in");
    let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
    assert!(message.contains("\"blue\" is the only key that opens scope web"), "{message}");
    assert_eq!(command(hint), ["key", "admit", "spare", "--scope", "web"]);
    assert!(hint.contains("touchlease recover NAME --lost blue"), "{hint}");
    lab.person(&command(hint));
    // The one that is named does not open it; another one that stays does.
    lab.reach.add().unwrap();
    lab.person(&["key", "add", "third", "--scope", "prod"]);
    let error = refused(&lab, &["key", "remove", "blue", "--key", "third"]);
    assert_eq!(error["reason"], "none_in");
    lab.person(&command(error["hint"].as_str().unwrap()));
}

#[test]
fn who_is_to_approve_a_removal_is_a_key_that_can() {
    let lab = Lab::new();
    for (name, scopes) in [("all", &[][..]), ("part", &["--scope", "prod"])] {
        lab.reach.add().unwrap();
        lab.person(&[&["key", "add", name], scopes].concat());
    }
    let error = refused(&lab, &["key", "remove", "blue", "--key", "blue"]);
    assert_eq!(error["reason"], "leaving_key");
    lab.person(&command(error["hint"].as_str().unwrap()));
}

#[test]
fn what_comes_after_init_is_named_with_the_names_that_were_given() {
    let lab = Lab::empty(Config::default());
    let shown = lab.person(&["init", "--key", "spare", "--scope", "web"]);
    let (_, add) = shown.split_once("locks nobody out: ").unwrap();
    let add = add.split([' ', '\r', '\n', '\u{1b}']).take(4).collect::<Vec<_>>();
    assert_eq!(add, ["touchlease", "key", "add", "second"]);
    lab.reach.add().unwrap();
    lab.person(&add[1..]);
    let said = lab.agent_to_its_end(&["list"]);
    let said = String::from_utf8(said.stderr).unwrap();
    let put = command(said.trim());
    assert_eq!(put, ["put", "web/NAME"]);
    lab.put(put[1], b"correct-horse", &[]);
}

#[test]
fn a_file_in_place_of_a_vault_is_named_with_what_to_give() {
    let lab = Lab::new();
    let inside = lab.vault().join("format").display().to_string();
    let (reason, hint) = hint_of(&lab, &["--vault", &inside, "list"]);
    assert_eq!(reason, "vault_path");
    let (_, folder) = hint.rsplit_once("--vault ").unwrap();
    let listed = lab.agent_to_its_end(&["--vault", folder, "list"]);
    assert!(listed.status.success() && holds(&listed.stdout, "prod/TOKEN"), "{hint}: {listed:?}");
    lab.agent_to_its_end(&["backup", "create", "vault.tar"]);
    let archive = lab.home.work().join("vault.tar").display().to_string();
    let out = lab.agent_to_its_end(&["--json", "--vault", "vault.tar", "list"]);
    let (code, _, message, hint) = failed(&out);
    assert!(
        code == 65 && message.ends_with("vault.tar is a file, and a vault is a folder"),
        "{message}"
    );
    assert_eq!(command(&hint), ["--vault", "FOLDER", "backup", "restore", archive.as_str()]);
}

#[test]
fn a_value_that_cannot_be_masked_is_named_to_programs_and_before_an_import() {
    let lab = Lab::new();
    let work = lab.home.work();
    let _watch = lab.home.watch().unwrap();
    fs::write(work.join("five"), "12345").unwrap();
    fs::write(work.join("six"), "123456").unwrap();
    fs::write(work.join("x.env"), "SHORT=12345\nLONG=123456\n").unwrap();
    for (file, named) in [("five", json!(["prod/A"])), ("six", json!([]))] {
        let out = lab.agent_to_its_end(&["--json", "put", "prod/A", "--from-file", file]);
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!((&said["changed"], &said["unmaskable"]), (&json!(["prod/A"]), &named));
    }
    let import = ["import", "--scope", "prod", "--dry-run", "x.env"];
    let said: Value = serde_json::from_slice(&lab.agent_to_its_end(&[&["--json"], &import[..]].concat()).stdout).unwrap();
    assert_eq!(said["unmaskable"], json!(["prod/SHORT"]));
    let said = lab.agent_to_its_end(&import);
    assert!(
        holds(&said.stderr, "prod/SHORT has fewer than 6 bytes: it cannot be masked") && !holds(&said.stderr, "prod/LONG"),
        "{said:?}"
    );
}

#[test]
fn a_number_that_is_none_is_said_in_words() {
    let lab = Lab::empty(Config::default());
    for arguments in [
        &["run", "--uses", "0", "--with", "prod/A", "--", "true"][..],
        &["put", "prod/A", "--max-uses", "many"],
        &["audit", "show", "--last", "x"],
    ] {
        let (code, _, message, _) = failed(&lab.agent_to_its_end(&[&["--json"], arguments].concat()));
        assert!(code == 64 && message.contains("give a whole number, "), "{message}");
        assert!(!message.contains("..") && !message.contains("digit"), "{message}");
    }
}

#[test]
fn a_key_that_waits_for_a_touch_says_for_whose_request() {
    let lab = Lab::new();
    lab.key.never().unwrap();
    let mut removing = lab.home.terminal(["rm", "prod/TOKEN"]).unwrap();
    removing.expect("touch \"blue\"").unwrap();
    assert!(lab.key.await_asked(PATIENCE).unwrap());
    let (code, reason, message, _) = failed(&lab.agent_to_its_end(&["--json", "key", "info"]));
    assert_eq!((code, reason.as_str()), (68, "key_asked"), "{message}");
    assert!(
        message.contains("waits for a touch, for the request of touchlease <- ") && message.contains("stands on the screen"),
        "{message}"
    );
    removing.type_in("d").unwrap();
    removing.finish().unwrap();
    let told = lab.agent_to_its_end(&["key", "info"]);
    assert!(told.status.success(), "{told:?}");
}

#[test]
fn a_program_without_a_terminal_is_told_on_standard_error_what_is_waited_for() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    // Long enough to blink.
    lab.key.delay(Duration::from_millis(300)).unwrap();
    let out = lab.agent_to_its_end(&["--json", "run", "--with", "prod/TOKEN", "--", "echo", "done"]);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "done\n");
    let told = String::from_utf8(out.stderr).unwrap();
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(told.iter().all(|line| line["v"] == 1), "{told:?}");
    let asked = told.iter().find(|line| line["event"] == "asked").unwrap();
    assert!(
        asked["words"].as_array().unwrap().len() == 4 && asked["left_ms"].is_u64(),
        "{asked}"
    );
    let touch = told.iter().find(|line| line["state"] == "touch_now").unwrap();
    assert_eq!(touch["key"], "blue");
    let closed = told.last().unwrap();
    assert!(closed["event"] == "closed" && closed["outcome"].is_null(), "{closed}");
}

#[test]
fn of_two_keys_that_are_not_enrolled_init_says_which_to_leave_and_goes_on() {
    let lab = Lab::empty(Config::default());
    let other = lab.reach.add().unwrap();
    let mut init = lab.home.terminal(["init"]).unwrap();
    let before = init
        .expect("2 keys that are not enrolled: leave the one to enrol, take the others away")
        .unwrap();
    assert!(!before.contains("several keys"), "{before}");
    other.pull().unwrap();
    let (status, shown) = init.finish().unwrap();
    assert!(status.success(), "{shown}");
}

/// The command of a hint behind what says when it is for, and before what else helps.
fn shell_command(hint: &str) -> &str {
    let command = hint.split_once("set it aside: ").map_or(hint, |(_, command)| command);
    command.split("; else").next().unwrap()
}

#[test]
fn t53_a_forged_or_foreign_file_of_the_roster_is_named_and_what_the_hint_says_takes_it_out() {
    let lab = Lab::new();
    lab.put("prod/TOKEN", b"correct-horse", &[]);
    let roster = lab.vault().join("roster");
    let statement = fs::read_dir(&roster).unwrap().map(|entry| entry.unwrap().path());
    let statement = statement
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "json"))
        .unwrap();
    // Somebody who can write to the folder adds a scope to what is in force, and signs nothing.
    let forged = fs::read_to_string(&statement).unwrap().replacen("\"prod\"", "\"mine\"", 1);
    let digest = touchlease::encoding::Digest::of(forged.as_bytes());
    let forged_name = format!("{digest}.json");
    for (name, bytes, reason) in [
        (forged_name.as_str(), forged.as_bytes(), "it has no signature"),
        ("it's a note.txt", b"of nobody".as_slice(), "no statement of the roster"),
    ] {
        fs::write(roster.join(name), bytes).unwrap();
        let output = lab.agent_to_its_end(&["--json", "list"]);
        assert_eq!(output.status.code(), Some(71), "{output:?}");
        let (_, _, message, hint) = failed(&output);
        let named = if name == forged_name { digest.to_string() } else { name.to_owned() };
        assert!(message.contains(&named) && message.contains(reason), "{message}");
        let done = std::process::Command::new("sh")
            .args(["-ec", shell_command(&hint)])
            .output()
            .unwrap();
        assert!(done.status.success(), "{hint}: {done:?}");
        let aside = format!("{}.aside", lab.vault().display());
        assert_eq!(fs::read(std::path::Path::new(&aside).join(name)).unwrap(), bytes, "it is kept");
        let again = lab.agent_to_its_end(&["--json", "list"]);
        assert!(again.status.success(), "{again:?}");
    }
}
