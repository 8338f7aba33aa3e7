//! `touchlease doctor`: with and without a daemon, a vault, a key; each finding with a remedy.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        net::UnixListener,
    },
    process::Output,
    thread,
};

use hw_tests::{
    authenticator::Settings,
    harness::{EmulatedReach, Home},
    key::{Key, KeyHandle},
};
use serde_json::Value;

use crate::{lab::Lab, product};

mod system;

/// What was found, and the exit code.
struct Found(Vec<Value>, Option<i32>);

impl Found {
    fn of(output: &Output) -> Self {
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}"));
        let findings = said["findings"].as_array().unwrap().clone();
        for finding in &findings {
            let what = finding["what"].as_str().unwrap();
            assert!(!what.is_empty() && !what.ends_with('.'), "{finding}");
            assert!(finding["level"] == "ok" || finding["remedy"].is_string(), "no remedy: {finding}");
            known(finding);
        }
        Self(findings, output.status.code())
    }

    fn in_home(home: &Home) -> Self {
        Self::of(&home.run(["--json", "doctor"]).unwrap())
    }

    fn get(&self, part: &str, reason: &str) -> &Value {
        let found = self.0.iter().find(|finding| finding["part"] == part && finding["reason"] == reason);
        found.unwrap_or_else(|| panic!("no {part} {reason} in {:#?}", self.0))
    }

    fn level(&self, part: &str, reason: &str) -> &str {
        self.get(part, reason)["level"].as_str().unwrap()
    }

    fn has(&self, part: &str, reason: &str) -> bool {
        self.0.iter().any(|finding| finding["part"] == part && finding["reason"] == reason)
    }
}

/// As a shell splits it, as far as remedies go: a path with blanks is in quotes.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('\'').enumerate();
    let words = parts.flat_map(|(i, part)| match i % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

/// A remedy that is a command of ours is one that the program takes.
fn known(finding: &Value) {
    let Some(remedy) = finding["remedy"].as_str() else { return };
    let commands = remedy.split(['(', ')', ';', ':']).map(str::trim);
    for command in commands.filter(|command| command.starts_with("touchlease ")) {
        let taken = touchlease::cli::command().try_get_matches_from(words(command));
        assert!(taken.is_ok(), "{command}: {}", taken.err().unwrap());
    }
}

#[test]
fn without_daemon_vault_and_key_it_says_so_and_starts_nothing() {
    let home = Home::new(product()).unwrap();
    let found = Found::in_home(&home);
    assert_eq!(found.level("daemon", "not_running"), "note");
    assert_eq!(found.level("vault", "no_vault"), "note");
    assert!(
        found.get("vault", "no_vault")["remedy"]
            .as_str()
            .unwrap()
            .contains("touchlease init")
    );
    assert!(found.has("memory", "locked_memory") || found.has("memory", "little_locked_memory"));
    assert!(found.has("versions", "versions"));
    let places = home.places().unwrap();
    assert!(!places.socket().exists() && !places.state.exists() && !places.vault.exists());
}

#[test]
fn the_daemon_says_what_is_as_it_should_be_and_no_key_blinks() {
    let lab = Lab::new();
    let asked = lab.key.counts().unwrap().asked;
    let found = Found::in_home(&lab.home);
    assert_eq!(found.level("daemon", "running"), "ok");
    assert_eq!(found.level("daemon", "socket"), "ok");
    assert_eq!(found.level("screen", "no_screen"), "note");
    assert_eq!(found.level("vault", "roster"), "ok");
    assert_eq!(found.level("vault", "one_key_opens"), "warning");
    assert_eq!(found.level("vault", "records"), "ok");
    assert_eq!(found.level("log", "log_verifies"), "ok");
    assert_eq!(found.level("clock", "clock"), "ok");
    assert_eq!(found.level("keys", "touch_only"), "note");
    assert_eq!(found.1, Some(0), "{:#?}", found.0);
    assert_eq!(lab.key.counts().unwrap().asked, asked);
    let _watch = lab.home.watch().unwrap();
    assert_eq!(Found::in_home(&lab.home).level("screen", "screen"), "ok");
}

#[test]
fn keys_are_named_with_what_they_lack() {
    let mut lab = Lab::new();
    let stranger = lab.reach.add().unwrap();
    let found = Found::in_home(&lab.home);
    assert!(
        found.get("keys", "not_enrolled")["what"]
            .as_str()
            .unwrap()
            .contains("/dev/emulated1")
    );
    assert_eq!(found.level("keys", "no_pin"), "note");
    stranger.set_pin().unwrap();
    lab.restart(|_| {});
    assert!(!Found::in_home(&lab.home).has("keys", "no_pin"));
    stranger.pull().unwrap();
    lab.key.pull().unwrap();
    let found = Found::in_home(&lab.home);
    assert_eq!(found.level("keys", "no_key"), "warning");
    assert!(found.get("keys", "away")["what"].as_str().unwrap().contains("\"blue\""));
}

#[test]
fn a_key_that_was_reset_is_a_problem_with_its_exit_code() {
    let lab = Lab::new();
    assert!(Found::in_home(&lab.home).has("keys", "touch_only"));
    lab.key.pull().unwrap();
    lab.key.reset().unwrap();
    lab.key.plug().unwrap();
    let found = Found::in_home(&lab.home);
    assert_eq!(found.level("keys", "reset_since_enrolment"), "problem");
    assert_eq!(found.1, Some(63));
}

#[test]
fn a_vault_that_does_not_verify_is_a_problem_and_the_rest_is_looked_at() {
    let lab = Lab::new();
    let roster = lab.vault().join("roster");
    let statement = fs::read_dir(&roster).unwrap().map(|entry| entry.unwrap().path());
    let signature = statement
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "sig"))
        .unwrap();
    fs::write(&signature, "nothing").unwrap();
    let found = Found::in_home(&lab.home);
    assert_eq!(found.level("vault", "roster"), "problem");
    assert!(found.has("keys", "not_enrolled") && found.has("memory", "secret_memory") | found.has("memory", "no_secret_memory"));
    assert_eq!(found.1, Some(71));
}

#[test]
fn t54_a_changed_log_and_t14_a_clock_that_was_set_are_problems() {
    let lab = Lab::new();
    lab.clock.set_by(-3_600_000);
    let found = Found::in_home(&lab.home);
    assert_eq!(found.level("clock", "clock"), "problem");
    assert_eq!(found.1, Some(62));
    lab.clock.set_by(3_600_000);
    let log = lab.home.log().unwrap();
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("\"seq\":2", "\"seq\":3", 1)).unwrap();
    let found = Found::in_home(&lab.home);
    assert_eq!(found.level("log", "log_faulty"), "problem");
    assert_eq!(found.1, Some(72));
}

#[test]
fn t25_a_socket_that_others_can_reach_is_a_problem_with_the_command_that_closes_it() {
    let lab = Lab::new();
    let socket = lab.home.places().unwrap().socket();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let found = Found::in_home(&lab.home);
    let finding = found.get("daemon", "socket_open");
    assert_eq!((finding["level"].as_str(), found.1), (Some("problem"), Some(62)));
    let remedy = finding["remedy"].as_str().unwrap();
    assert!(std::process::Command::new("sh").args(["-c", remedy]).status().unwrap().success());
    assert!(Found::in_home(&lab.home).has("daemon", "socket"));
    let runtime = lab.home.places().unwrap().runtime;
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
    let found = Found::in_home(&lab.home);
    assert_eq!(found.level("daemon", "socket_folder_open"), "problem");
    assert_eq!(found.level("daemon", "socket_open"), "problem");
}

#[test]
fn t25_a_log_and_folders_that_others_can_reach_are_named_with_the_commands_that_close_them() {
    let mut lab = Lab::new();
    let (state, log) = (lab.home.places().unwrap().state, lab.home.log().unwrap());
    let open = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let of_vault = log.parent().unwrap();
    for (path, mode, reason, level) in [
        (log.as_path(), 0o666, "log_unsafe", "problem"),
        (of_vault, 0o777, "state_open", "warning"),
        (&state, 0o755, "state_open", "note"),
    ] {
        open(path, mode);
        let found = Found::in_home(&lab.home);
        let finding = found.get("log", reason);
        assert_eq!(finding["level"], level, "{finding}");
        let remedy = finding["remedy"].as_str().unwrap();
        assert!(remedy.contains(path.to_str().unwrap()), "{remedy}");
        assert!(std::process::Command::new("sh").args(["-c", remedy]).status().unwrap().success());
        assert!(!Found::in_home(&lab.home).has("log", reason));
    }
    // A daemon that finds the log like that refuses, and the refusal mends it.
    lab.restart(|_| open(&log, 0o666));
    let (code, error) = crate::lab::error_of(&lab.agent_to_its_end(&["--json", "list"]));
    assert_eq!((code, &error["reason"]), (Some(72), &"log".into()), "{error}");
    let remedy = error["hint"].as_str().unwrap().split_once(": ").unwrap().1;
    assert!(std::process::Command::new("sh").args(["-c", remedy]).status().unwrap().success());
    assert!(lab.agent_to_its_end(&["--json", "list"]).status.success());
}

#[test]
fn a_configuration_that_is_none_is_a_problem() {
    let home = Home::new(product()).unwrap();
    let config = home.places().unwrap().config;
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, "touch = \"never\"\n").unwrap();
    let found = Found::in_home(&home);
    assert_eq!(found.level("daemon", "config"), "problem");
    assert_eq!(found.1, Some(65));
    // What the parser says has several lines, of which one points at another.
    let out = home.run(["doctor"]).unwrap();
    let shown = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<&str> = shown.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("  problem ")).unwrap();
    let quoted = lines[at..].iter().position(|line| line.contains("touch = \"never\"")).unwrap() + at;
    let column = lines[quoted].find("touch = ");
    assert_eq!(lines[quoted + 1].find('^'), column, "{shown}");
    assert!(
        lines[at + 1..=quoted + 1].iter().all(|line| line.starts_with("          ")),
        "{shown}"
    );
    assert!(!shown.contains("<U+"), "{shown}");
}

#[test]
fn t44_another_vault_is_looked_at_where_the_command_line_names_it() {
    let lab = Lab::new();
    let other = lab.home.work().join("no vault here");
    let out = lab.home.run(["--json", "doctor", "--vault", other.to_str().unwrap()]).unwrap();
    let found = Found::of(&out);
    let no_vault = found.get("vault", "no_vault");
    assert!(no_vault["what"].as_str().unwrap().contains("no vault here"));
    // And it is made where it was named.
    let remedy = words(no_vault["remedy"].as_str().unwrap());
    assert_eq!(
        remedy[..4],
        ["touchlease", "--vault", other.to_str().unwrap(), "init"],
        "{no_vault}"
    );
}

#[test]
fn a_yubikey_that_can_be_copied_in_a_laboratory_is_named_with_its_firmware() {
    let home = Home::new(product()).unwrap();
    let reach = EmulatedReach::default();
    let _daemon = home.daemon(reach.clone()).unwrap();
    let plug = |firmware| {
        let settings = Settings {
            firmware,
            ..Settings::default()
        };
        reach
            .add_model("Yubico YubiKey OTP+FIDO+CCID", Key::start(settings).unwrap())
            .unwrap()
    };
    let info = || String::from_utf8(home.run(["key", "info"]).unwrap().stdout).unwrap();
    let old = plug(0x05_04_03);
    let found = Found::in_home(&home);
    assert_eq!(found.level("keys", "eucleak"), "note");
    assert!(found.get("keys", "eucleak")["what"].as_str().unwrap().contains("5.4.3"));
    assert!(info().contains("EUCLEAK"), "{}", info());
    old.pull().unwrap();
    plug(0x05_07_01);
    let found = Found::in_home(&home);
    assert!(found.has("keys", "not_enrolled") && !found.has("keys", "eucleak"));
    assert!(info().contains("firmware") && !info().contains("EUCLEAK"), "{}", info());
}

#[test]
fn a_person_reads_it_in_the_columns_of_the_terminal() {
    let home = Home::new(product()).unwrap();
    let _daemon = home.daemon(EmulatedReach::default()).unwrap();
    let (status, shown) = home.terminal(["doctor"]).unwrap().finish().unwrap();
    assert!(status.success(), "{shown}");
    assert!(shown.contains("touchlease watch") && shown.contains("problems: 0"), "{shown}");
}

#[test]
fn a_daemon_of_another_version_is_a_problem_and_this_program_looks_itself() {
    let home = Home::new(product()).unwrap();
    let places = home.places().unwrap();
    fs::DirBuilder::new().mode(0o700).create(&places.runtime).unwrap();
    let listener = UnixListener::bind(places.socket()).unwrap();
    fs::set_permissions(places.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut call = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut call).unwrap();
            let status = r#"{"reply":"status","version":"9.9.9","pid":4711,"path":"/v","vault":null,"leases":0,"prompts":0,"screens":1,"unlocked":[]}"#;
            let failed = r#"{"reply":"failed","outcome":"bad_input","reason":"protocol","message":"the call cannot be read"}"#;
            writeln!(stream, "{}", if call.contains("status") { status } else { failed }).unwrap();
        }
    });
    let found = Found::in_home(&home);
    let finding = found.get("daemon", "other_version");
    assert!(finding["what"].as_str().unwrap().contains("9.9.9"), "{finding}");
    assert!(finding["remedy"].as_str().unwrap().starts_with("kill 4711"), "{finding}");
    assert!(found.has("vault", "no_vault"));
    assert_eq!(found.1, Some(69));
    daemon.join().unwrap();
}
