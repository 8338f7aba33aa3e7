//! Slips of the pen on a command line: said before anything is typed or touched, with the line that is meant, which works.

use serde_json::{Value, json};
use touchlease::config::Config;

use crate::{lab::Lab, newcomer::failed};

/// The words of the first command that a hint names.
fn command(hint: &str) -> Vec<&str> {
    let (_, command) = hint.split_once("touchlease ").unwrap_or_else(|| panic!("no command: {hint}"));
    command.split("; ").next().unwrap().split(' ').collect()
}

#[test]
fn a_secret_that_is_named_twice_gets_a_variable_of_its_own_by_the_hint_and_both_are_there() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let ask = ["--with", "prod/TOKEN", "--with", "prod/TOKEN"];
    let out = lab.agent_to_its_end(&[&["--json", "run"], &ask[..], &["--", "true"]].concat());
    let (code, reason, message, hint) = failed(&out);
    assert_eq!((code, reason.as_str()), (65, "grants"));
    assert!(message.contains("the variable TOKEN is given twice"), "{message}");
    let (_, option) = hint.split_once("--with ").unwrap();
    assert_eq!(option, "OTHER=prod/TOKEN");
    let both = [
        "run",
        "--with",
        "prod/TOKEN",
        "--with",
        option,
        "--",
        "sh",
        "-c",
        "test -n \"$TOKEN\" && test \"$TOKEN\" = \"$OTHER\"",
    ];
    let ran = lab.agent_to_its_end(&both);
    assert!(ran.status.success(), "{ran:?}");
    for (option, given) in [("--with-file", "F=prod/TOKEN"), ("--with-proxy", "F=prod/TOKEN")] {
        let out = lab.agent_to_its_end(&["--json", "run", option, given, option, given, "--", "true"]);
        let (_, _, _, hint) = failed(&out);
        assert!(hint.ends_with(&format!("{option} OTHER=prod/TOKEN")), "{hint}");
    }
}

#[test]
fn rules_that_cannot_be_are_refused_before_a_value_is_typed_and_the_line_of_the_hint_is_taken() {
    let lab = Lab::new();
    for (rules, says) in [
        (&["--host", "https://API.example.com/v1/*"][..], "without https://"),
        (&["--host", "api.example.com", "--method", "GTE"], "HTTP has no method \"GTE\""),
        (&["--host", "api.example.com", "--allow", "env"], "is delivered by proxy"),
        (&["--host", "api.example.com", "--method", "LIST"], "LIST is in no registry"),
    ] {
        let put = lab.home.terminal([&["put", "prod/NEW"], rules].concat()).unwrap();
        let (status, shown) = put.finish().unwrap();
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(status.code(), Some(65), "{shown}");
        assert!(shown.contains(says) && !shown.contains("value of"), "{shown}");
        let out = lab.agent_to_its_end(&[&["--json", "put", "prod/NEW", "--from-file", "nope"], rules].concat());
        let (code, reason, _, hint) = failed(&out);
        assert_eq!((code, reason.as_str()), (65, "rules"), "before the file is looked for");
        let mut line = command(&hint);
        line.splice(..2, []);
        let line: Vec<String> = line.into_iter().map(|word| word.trim_matches('\'').to_owned()).collect();
        lab.put("prod/NEW", b"correct-horse", &line.iter().map(String::as_str).collect::<Vec<_>>());
        lab.person(&["rm", "prod/NEW"]);
    }
}

#[test]
fn a_rule_that_is_edited_wrongly_asks_nobody_and_the_line_of_the_hint_is_taken() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    lab.put("prod/API", b"correct-horse", &["--host", "api.example.com", "--max-ttl", "5m"]);
    let out = lab.agent_to_its_end(&["--json", "edit", "prod/API", "--allow", "env", "--max-uses", "3"]);
    let (_, reason, _, hint) = failed(&out);
    assert_eq!(reason, "rules");
    lab.person(&command(&hint));
    let listed: Value = serde_json::from_slice(&lab.agent_to_its_end(&["--json", "list", "prod"]).stdout).unwrap();
    let rules = &listed["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["secret"] == "prod/API")
        .unwrap()["rules"];
    assert_eq!(
        (&rules["deliveries"], &rules["hosts"], &rules["ttl"], &rules["uses"]),
        (&json!(["env", "proxy"]), &json!(["api.example.com"]), &json!(300), &json!(3))
    );
}

#[test]
fn a_clock_with_which_nothing_is_wrong_is_not_said_to_be_accepted_and_nothing_is_written() {
    let lab = Lab::new();
    let log = || std::fs::read(lab.home.log().unwrap()).unwrap();
    let before = log();
    lab.shows(
        &["audit", "accept-clock"],
        0,
        &["nothing was wrong, and there is nothing to accept"],
    );
    let out = lab.agent_to_its_end(&["--json", "audit", "accept-clock"]);
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&said["accepted"], log()), (&json!(false), before));
    lab.clock.set_by(-3_600_000);
    lab.shows(&["audit", "accept-clock"], 0, &["the clock is accepted as it is"]);
}

#[test]
fn who_asks_without_a_screen_is_told_whether_none_is_open_or_his_own_does_not_count() {
    let lab = Lab::new();
    let (code, reason, message, hint) = failed(&lab.agent_to_its_end(&["--json", "run", "--with", "prod/TOKEN", "--", "true"]));
    assert_eq!((code, reason.as_str()), (67, "no_screen"));
    assert!(message.contains("no `touchlease watch` is open"), "{message}");
    assert!(
        hint.contains("run `touchlease watch`") || hint.contains("runs `touchlease watch`"),
        "{hint}"
    );
}

#[test]
fn what_doctor_proposes_names_the_vault_that_the_command_line_names_and_not_that_of_the_environment() {
    let lab = Lab::empty(Config::default());
    let other = lab.home.work().join("other").display().to_string();
    let remedy = |arguments: &[&str], environment: Option<&str>| {
        let mut command = lab.home.detached([&["--json", "doctor"], arguments].concat());
        command.envs(environment.map(|vault| ("TOUCHLEASE_VAULT", vault)));
        let said: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let found = said["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["reason"] == "no_vault")
            .unwrap();
        assert!(found["what"].as_str().unwrap().contains("other"), "{found}");
        found["remedy"].as_str().unwrap().to_owned()
    };
    let by_environment = remedy(&[], Some(&other));
    assert!(by_environment.starts_with("touchlease init"), "{by_environment}");
    let by_line = remedy(&["--vault", &other], None);
    assert!(by_line.starts_with(&format!("touchlease --vault {other} init")), "{by_line}");
}

#[test]
fn ctrl_c_at_a_question_that_is_answered_in_a_line_ends_with_a_sentence_and_changes_nothing() {
    let lab = Lab::new();
    let enrolled = || lab.agent_to_its_end(&["--json", "key", "list"]).stdout;
    let before = enrolled();
    for (stop, question) in [("\u{3}", "is it lost or stolen?"), ("\u{4}", "is it lost or stolen?")] {
        let mut terminal = lab.home.terminal(["recover", "green"]).unwrap();
        terminal.expect(question).unwrap();
        terminal.type_in(stop).unwrap();
        let (status, shown) = terminal.finish().unwrap();
        assert_eq!(status.code(), Some(60), "{shown}");
        assert!(shown.contains("touchlease: nothing was changed"), "{shown}");
    }
    let mut terminal = lab.home.terminal(["connect", "claude"]).unwrap();
    terminal.expect("write this? [y/N]").unwrap();
    terminal.type_in("\u{3}").unwrap();
    let (status, shown) = terminal.finish().unwrap();
    assert!(
        status.code() == Some(64) && shown.contains("touchlease: nothing was written"),
        "{shown}"
    );
    assert_eq!(enrolled(), before);
}

#[test]
fn a_command_whose_output_is_left_as_it_is_says_so_in_the_prompt_and_in_what_is_signed() {
    let lab = Lab::new();
    let recorder = lab.recorder();
    let shown = lab.person(&["run", "--no-masking", "--with", "prod/TOKEN", "--", "true"]);
    assert!(shown.contains("not masked: a value that the command prints"), "{shown}");
    let shown = lab.person(&["run", "--with", "prod/TOKEN", "--", "true"]);
    assert!(!shown.contains("not masked"), "{shown}");
    let texts: Vec<Value> = recorder.texts().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let labels = |text: &Value| text["origin"]["requester"]["claimed"]["labels"]["output_unmasked"].clone();
    assert_eq!((labels(&texts[0]), labels(&texts[1])), (json!("1"), Value::Null));
}
