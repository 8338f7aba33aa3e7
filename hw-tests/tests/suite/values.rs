//! What is said of a value on its way in and out, and where the vault lies that it is of.

use std::{
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::lab::{CANARY, Lab, holds};

/// A command without a terminal, with one more variable and something piped in.
fn piped(lab: &Lab, arguments: &[&str], variable: Option<(&str, &str)>, input: &[u8]) -> Output {
    let mut command: Command = lab.home.detached(arguments);
    command.envs(variable);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_value_too_short_to_be_masked_is_named_by_put_and_by_run() {
    let lab = Lab::new();
    let file = lab.home.work().join("short");
    for (value, is_short) in [("12345", true), ("123456", false)] {
        fs::write(&file, value).unwrap();
        let put = lab.person(&["put", "prod/SHORT", "--from-file", "short"]);
        assert_eq!(
            put.contains("prod/SHORT has fewer than 6 bytes: it cannot be masked"),
            is_short,
            "{put}"
        );
        let run = lab.person(&["run", "--with", "prod/SHORT", "--", "sh", "-c", "echo \"<$SHORT>\""]);
        assert_eq!(
            run.contains("prod/SHORT has fewer than 6 bytes and is not masked"),
            is_short,
            "{run}"
        );
        assert_eq!(run.contains(&format!("<{value}>")), is_short, "{run}");
    }
}

#[test]
fn of_a_value_that_is_piped_in_the_newline_of_its_only_line_is_left_out_and_nothing_else() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    for (input, value) in [
        (&b"one line\n"[..], &b"one line"[..]),
        (b"no end", b"no end"),
        (b"two\nlines\n", b"two\nlines\n"),
        (b"\n", b"\n"),
        (b"\xff\x00\n", b"\xff\x00"),
    ] {
        lab.clock.suspend(std::time::Duration::from_secs(130));
        let put = piped(&lab, &["put", "prod/PIPED"], None, input);
        assert!(put.status.success(), "{input:?}: {put:?}");
        fs::write(lab.home.work().join("expected"), value).unwrap();
        let run = ["run", "--with-file", "F=prod/PIPED", "--", "sh", "-c", "cmp \"$F\" expected"];
        let run = lab.agent_to_its_end(&run);
        assert!(run.status.success(), "{input:?}: {run:?}");
    }
}

#[test]
fn masking_is_left_out_where_the_option_or_the_environment_says_so() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let command = ["--with", "prod/TOKEN", "--", "sh", "-c", "echo $TOKEN"];
    for (option, variable, is_masked) in [
        (None, None, true),
        (None, Some("0"), true),
        (None, Some("1"), false),
        (Some("--no-masking"), None, false),
    ] {
        lab.clock.suspend(std::time::Duration::from_secs(70));
        let arguments: Vec<&str> = ["run"].into_iter().chain(option).chain(command).collect();
        let out = piped(&lab, &arguments, variable.map(|value| ("TOUCHLEASE_NO_MASKING", value)), b"");
        assert!(out.status.success(), "{out:?}");
        assert_eq!(holds(&out.stdout, CANARY), !is_masked, "{option:?} {variable:?}: {out:?}");
    }
}

#[test]
fn the_vault_is_the_one_of_the_option_else_of_the_environment_else_the_usual_one() {
    let lab = Lab::new();
    let (option, environment) = (lab.home.path().join("one"), lab.home.path().join("two"));
    let [option, environment] = [option, environment].map(|path| path.display().to_string());
    let usual = lab.vault().display().to_string();
    for (named, variable, expected) in [
        (Some(&option), Some(&environment), &option),
        (None, Some(&environment), &environment),
        (Some(&option), None, &option),
        (None, None, &usual),
    ] {
        let mut arguments = vec!["--json", "status"];
        arguments.extend(named.iter().flat_map(|path| ["--vault", path]));
        let out = piped(&lab, &arguments, variable.map(|path| ("TOUCHLEASE_VAULT", path.as_str())), b"");
        let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
        assert_eq!(said["path"], expected.as_str(), "{said}");
    }
}

#[test]
fn a_key_for_touch_alone_is_named_as_the_weaker_one_wherever_it_is_named() {
    let lab = Lab::empty(touchlease::config::Config::default());
    let shown = lab.person(&["init", "--key", "blue"]);
    assert!(shown.contains("this key is touch-only: whoever holds it"), "{shown}");
    lab.put("prod/TOKEN", CANARY.as_bytes(), &[]);
    for arguments in [&["key", "list"][..], &["key", "info", "blue"]] {
        let out = lab.agent_to_its_end(arguments);
        assert!(holds(&out.stdout, "touch only (weaker)"), "{arguments:?}: {out:?}");
    }
    let found = lab.agent_to_its_end(&["doctor"]);
    assert!(
        holds(&found.stdout, "for touch only: whoever holds it and a copy of the vault opens it"),
        "{found:?}"
    );
    lab.person(&["run", "--with", "prod/TOKEN", "--", "true"]);
    let (_, approved) = lab.events().into_iter().rfind(|(name, _)| name == "approved").unwrap();
    assert_eq!(approved["profile"], "touch_only", "{approved}");
}
