//! `touchlease connect` at a person's terminal: what changes is shown, and nothing is written without a yes.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use crate::lab::{Lab, shows};

const MINE: &str = "# mine\nmodel = \"gpt\"   # stays\n\n[mcp_servers.docs]\nenv = { TOKEN = \"correct-horse-of-another\" }\n";

fn names(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn what_changes_is_shown_without_what_stands_beside_it_and_written_after_a_yes() {
    let lab = Lab::new();
    let folder = lab.home.path().join(".codex");
    let file = folder.join("config.toml");
    fs::create_dir(&folder).unwrap();
    fs::write(&file, MINE).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    // Nobody to ask.
    let refused = lab.json(&["connect", "codex"]);
    assert_eq!(refused["error"]["reason"], "not_confirmed", "{refused}");
    let mut terminal = lab.home.terminal(["connect", "codex"]).unwrap();
    let shown = terminal.expect("write this? [y/N]").unwrap();
    assert!(
        shown.contains("+ [mcp_servers.touchlease]") && shown.contains("hook codex"),
        "{shown}"
    );
    assert!(!shown.contains("correct-horse"), "{shown}");
    terminal.type_in("n\n").unwrap();
    let (status, _) = terminal.finish().unwrap();
    assert_eq!((status.code(), names(&folder)), (Some(64), 1));
    assert_eq!(fs::read_to_string(&file).unwrap(), MINE);
    let mut terminal = lab.home.terminal(["connect", "codex"]).unwrap();
    terminal.expect("write this? [y/N]").unwrap();
    terminal.type_in("y\n").unwrap();
    let (status, shown) = terminal.finish().unwrap();
    assert!(status.success() && shown.contains("Until then it is not active"), "{shown}");
    let there = fs::read_to_string(&file).unwrap();
    assert!(there.starts_with(MINE), "{there}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_to_string(folder.join("config.toml.before-touchlease-1")).unwrap(), MINE);
    // Again it is there already, and nobody is asked.
    shows(&lab.home, &["connect", "codex"], 0, &["all of it is there already"]);
    let doctor = lab.json(&["doctor"]);
    let finding = doctor["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["part"] == "agents");
    assert_eq!(finding.unwrap()["reason"], "hook_not_run", "{doctor}");
    shows(
        &lab.home,
        &["connect", "codex", "--remove", "--yes"],
        0,
        &["- [mcp_servers.touchlease]", "taken out"],
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), MINE);
    shows(&lab.home, &["connect", "codex", "--remove"], 0, &["there is nothing of touchlease"]);
}

#[test]
fn p5_of_settings_on_one_line_or_with_a_token_on_the_last_one_no_token_is_shown() {
    let lab = Lab::new();
    let (servers, hooks) = (lab.home.path().join(".claude.json"), lab.home.path().join(".claude/settings.json"));
    let codex = lab.home.path().join(".codex/config.toml");
    for file in [&hooks, &codex] {
        fs::create_dir(file.parent().unwrap()).unwrap();
    }
    fs::write(&servers, "{\n  \"userID\": \"a\",\n  \"primaryApiKey\": \"correct-horse-1\"\n}\n").unwrap();
    fs::write(&hooks, "{\"env\":{\"TOKEN\":\"correct-horse-2\"},\"hooks\":{}}").unwrap();
    fs::write(
        &codex,
        "mcp_servers = { other = { command = \"o\", env = { TOKEN = \"correct-horse-3\" } } }\n",
    )
    .unwrap();
    for client in ["claude", "codex"] {
        for more in [&[][..], &["--remove"]] {
            let arguments = [&["connect", client, "--yes"], more].concat();
            let shown = shows(&lab.home, &arguments, 0, &["touchlease", "mcp"]);
            assert!(!shown.contains("correct-horse"), "{shown}");
        }
    }
    assert!(fs::read_to_string(&servers).unwrap().contains("correct-horse-1"));
}

#[test]
fn a_broken_file_is_named_with_the_place_and_neither_of_two_is_written() {
    let lab = Lab::new();
    let (servers, hooks) = (lab.home.path().join(".claude.json"), lab.home.path().join(".claude/settings.json"));
    fs::create_dir(hooks.parent().unwrap()).unwrap();
    fs::write(&servers, "{\"userID\": \"a\"}").unwrap();
    fs::write(&hooks, "{\"hooks\": {\"PreToolUse\": [}").unwrap();
    let refused: Value = lab.json(&["connect", "claude", "--yes"]);
    assert_eq!(refused["error"]["reason"], "client_settings", "{refused}");
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(said.contains("settings.json") && said.contains("wrong at byte"), "{refused}");
    assert_eq!(fs::read_to_string(&servers).unwrap(), "{\"userID\": \"a\"}");
    assert_eq!(fs::read_to_string(&hooks).unwrap(), "{\"hooks\": {\"PreToolUse\": [}");
}

#[test]
fn a_file_of_another_owner_is_left_alone_and_a_link_is_shown_with_where_it_leads() {
    let lab = Lab::new();
    let file = lab.home.path().join(".codex/config.toml");
    fs::create_dir(file.parent().unwrap()).unwrap();
    fs::write(&file, MINE).unwrap();
    std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
    let refused = lab.json(&["connect", "codex", "--yes"]);
    assert_eq!(refused["error"]["reason"], "client_settings", "{refused}");
    assert!(
        refused["error"]["message"].as_str().unwrap().contains("belongs to uid 65534"),
        "{refused}"
    );
    assert_eq!(
        (fs::read_to_string(&file).unwrap().as_str(), names(file.parent().unwrap())),
        (MINE, 1)
    );
    std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    // As a project that somebody else wrote may have it.
    let link = lab.home.work().join(".codex");
    std::os::unix::fs::symlink(file.parent().unwrap(), &link).unwrap();
    let leads = format!("which is {}", file.canonicalize().unwrap().display());
    shows(&lab.home, &["connect", "codex", "--project", "--yes"], 0, &[&leads]);
}

#[test]
fn a_setting_that_keeps_every_hook_from_being_run_is_named_by_doctor() {
    let lab = Lab::new();
    let mut found = vec![];
    for (client, file, off) in [
        ("claude", ".claude/settings.json", "{\"disableAllHooks\": true}"),
        (
            "claude",
            "work/.claude/settings.local.json",
            "{\"disableAllHooks\": true, // by mistake\n}",
        ),
        ("codex", "work/.codex/config.toml", "[features]\nhooks = false\n"),
    ] {
        let file = lab.home.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, off).unwrap();
        shows(&lab.home, &["connect", client, "--yes"], 0, &["written"]);
        let doctor = lab.json(&["doctor"]);
        let agents = doctor["findings"].as_array().unwrap().iter();
        let agents = agents.filter(|finding| finding["part"] == "agents" && finding["reason"] == "hooks_off");
        found.extend(agents.filter_map(|finding| Some(finding["what"].as_str()?.to_owned())));
        assert!(found.last().is_some_and(|said| said.contains(file.to_str().unwrap())), "{doctor}");
        fs::remove_file(&file).unwrap();
        shows(&lab.home, &["connect", client, "--yes", "--remove"], 0, &[]);
    }
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn t24_the_hook_lets_a_call_through_or_says_why_not_by_the_agents_own_exit_code() {
    use std::{io::Write, process::Stdio};
    let lab = Lab::new();
    let vault = lab.vault().display().to_string();
    for (input, code, part) in [
        (
            serde_json::json!({"tool_name": "Bash", "tool_input": {"command": "cargo test"}, "cwd": "/"}).to_string(),
            0,
            "",
        ),
        (
            serde_json::json!({"tool_name": "Bash", "tool_input": {"command": format!("cat {vault}/roster/*")}, "cwd": "/"}).to_string(),
            2,
            "touchlease's own",
        ),
        (
            serde_json::json!({"tool_name": "Read", "tool_input": {"file_path": lab.home.log().unwrap()}, "cwd": "/", "later": 1})
                .to_string(),
            2,
            "request_lease",
        ),
        ("no JSON".into(), 2, "not in a form"),
    ] {
        for client in ["codex", "claude"] {
            let mut command = lab.home.detached(["hook", client]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut hook = command.spawn().unwrap();
            hook.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            let out = hook.wait_with_output().unwrap();
            assert_eq!(out.status.code(), Some(code), "{input}: {out:?}");
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(said.contains(part) && out.stdout.is_empty(), "{input}: {out:?}");
            assert!(!said.contains("--remove"), "a model is not told how it is taken out: {said}");
        }
    }
    // A person who tries it has an answer, and it is not noted that the client ran it.
    let notes = lab.home.places().unwrap().state.join("hooks");
    std::fs::remove_dir_all(&notes).unwrap();
    lab.shows(
        &["hook", "codex"],
        2,
        &["no call comes from a terminal", "touchlease connect codex has the client run it"],
    );
    assert!(!notes.exists());
}
