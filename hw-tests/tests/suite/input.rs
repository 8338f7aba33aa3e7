//! Bad input at each entry point: a sentence, what to do, the exit code of the design, and nothing lost.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use hw_tests::{
    authenticator::{Authenticator, Settings},
    ctap::{Ctap, GET_INFO},
    finger::{Finger, Mode},
    hid_socket::HidSocket,
    key::{Attachment, Key, KeyHandle},
    stubs::impostor::{Impostor, Recognition},
};
use serde_json::{Value, json};
use touchlease::config::Config;

use crate::{
    disk::{SmallDisk, mount},
    lab::{CANARY, Lab, error_of, holds},
};

/// What a command that fails says: exit code and reason; always with a sentence and a hint.
fn failed(out: &Output) -> (i32, String) {
    let (code, error) = error_of(out);
    let message = error["message"].as_str().unwrap_or_else(|| panic!("no sentence: {out:?}"));
    assert!(message.len() > 10 && !message.contains("Os {"), "{error}");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.len() > 10), "{error}");
    assert!(out.stderr.is_empty() || !holds(&out.stderr, "panicked"), "{out:?}");
    (code.unwrap(), error["reason"].as_str().unwrap().to_owned())
}

fn hint(out: &Output) -> String {
    error_of(out).1["hint"].as_str().unwrap_or_default().to_owned()
}

fn agent(lab: &Lab, arguments: &[&str]) -> Output {
    lab.agent_to_its_end(&[&["--json"], arguments].concat())
}

/// The same at a person's own terminal.
fn person(lab: &Lab, arguments: &[&str]) -> (Option<i32>, String) {
    let (status, shown) = lab.home.terminal(arguments).unwrap().finish().unwrap();
    (status.code(), shown)
}

/// The secret is there still, and opens.
fn assert_nothing_lost(lab: &Lab) {
    let (code, shown) = person(
        lab,
        &[
            "run",
            "--with",
            "prod/TOKEN",
            "--",
            "sh",
            "-c",
            "test \"$TOKEN\" = correct-horse-battery-7391",
        ],
    );
    assert_eq!(code, Some(0), "{shown}");
}

#[test]
fn what_is_asked_for_has_to_exist_and_to_be_allowed() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    lab.put("prod/SHORT", b"0123456789", &["--max-ttl", "1m", "--max-uses", "2"]);
    lab.put("prod/FILE", b"0123456789", &["--allow", "file"]);
    lab.put("prod/HOST", b"0123456789", &["--host", "api.example.com"]);
    let touches = lab.key.counts().unwrap().given;
    let file = "[task.three]\nabout = \"x\"\n[[task.three.grant]]\nsecret = \"a/A\"\nvia = \"env\"\nenv = \"A\"\n[[task.three.grant]]\nsecret = \"b/B\"\nvia = \"env\"\nenv = \"B\"\n";
    std::fs::write(lab.home.work().join("touchlease.toml"), file).unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["run", "--with", "prod/NOPE", "--", "true"], 65, "no_secret"),
        (&["run", "--with", "nope/TOKEN", "--", "true"], 65, "no_scope"),
        (&["run", "--with", "prod/../TOKEN", "--", "true"], 65, "reference"),
        (&["run", "--with", "TOKEN", "--", "true"], 65, "reference"),
        (&["run", "--with", "prod/a.b", "--", "true"], 65, "reference"),
        (
            &["run", "--with", "A=prod/TOKEN", "--with", "A=prod/SHORT", "--", "true"],
            65,
            "grants",
        ),
        (&["run", "--with", "prod/SHORT", "--ttl", "61s", "--", "true"], 62, "ttl_over_cap"),
        (&["run", "--with", "prod/SHORT", "--uses", "3", "--", "true"], 62, "uses_over_cap"),
        (&["run", "--with", "prod/TOKEN", "--ttl", "9h", "--", "true"], 62, "ttl_over_cap"),
        (&["run", "--with", "prod/FILE", "--", "true"], 62, "delivery_forbidden"),
        (&["run", "--with-file", "A=prod/HOST", "--", "true"], 62, "delivery_forbidden"),
        (&["run", "--with-proxy", "prod/TOKEN", "--", "true"], 62, "delivery_forbidden"),
        (&["run", "--task", "nope", "--", "true"], 65, "task"),
        (&["run", "--task", "three", "--", "true"], 65, "no_scope"),
        (&["run", "--with", "prod/TOKEN"], 64, "no_command"),
        (&["run", "--", "true"], 65, "grants"),
        (&["run", "--with", "prod/TOKEN", "--", "no-such-program-anywhere"], 65, "start"),
        (&["run", "--with", "prod/TOKEN", "--", "./touchlease.toml"], 65, "start"),
        (&["run", "--with", "prod/TOKEN", "--env-file", "nope", "--", "true"], 65, "env_file"),
        (&["run", "--with", "prod/TOKEN", "--ttl", "x", "--", "true"], 64, "usage"),
        (&["run", "--with", "prod/TOKEN", "--uses", "0", "--", "true"], 64, "usage"),
        (&["lease", "show", "nope"], 65, "no_lease"),
        (&["lease", "end", "nope"], 65, "no_lease"),
        (&["lease", "revoke", "nope"], 65, "no_lease"),
        (&["lease", "revoke"], 64, "usage"),
        (&["key", "remove", "blue"], 67, "no_terminal"),
        (&["key", "add", "red"], 67, "no_terminal"),
        (&["key", "info", "nope"], 63, "no_such_key"),
        (&["rm", "prod/NOPE"], 65, "no_secret"),
        (&["edit", "prod/NOPE", "--max-ttl", "1m"], 65, "no_secret"),
        (&["edit", "prod/TOKEN"], 64, "nothing_to_change"),
        (&["edit", "prod/TOKEN", "--allow", "proxy"], 65, "rules"),
        (&["edit", "prod/TOKEN", "--host", "evil host"], 65, "rules"),
        (&["list", "nope"], 65, "no_scope"),
        (&["unlock", "--keep", "13h"], 65, "keep"),
        (&["unlock", "nope"], 65, "no_such_key"),
        (&["audit", "export", "nope", "out"], 65, "no_receipt"),
        (&["audit", "verify", "--since", "nope"], 65, "receipt"),
        (&["init"], 65, "not_empty"),
        (&["nonsense"], 64, "usage"),
    ];
    let mut wrong = vec![];
    for (arguments, code, reason) in cases {
        let out = agent(&lab, arguments);
        let got = failed(&out);
        if got != (*code, (*reason).to_owned()) {
            wrong.push(format!("{arguments:?}: {got:?}, not {:?}", (code, reason)));
        }
        if *code != 64 && hint(&out).is_empty() {
            wrong.push(format!("{arguments:?}: no hint: {}", error_of(&out).1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(lab.key.counts().unwrap().given, touches, "nobody was asked for a touch");
    assert_nothing_lost(&lab);
}

#[test]
fn task_files_that_are_missing_or_bad_are_named() {
    let lab = Lab::new();
    let file = lab.home.work().join("touchlease.toml");
    let run = |task: &str| failed(&agent(&lab, &["run", "--task", task, "--", "true"]));
    assert_eq!(run("x"), (65, "no_task_file".into()));
    for text in [
        "not toml",
        "[task.x]\nabout = 1\n",
        "[task.x]\nabout = \"x\"\n",
        "[task.x]\nabot = \"x\"\n",
    ] {
        std::fs::write(&file, text).unwrap();
        assert_eq!(run("x"), (65, "task".into()), "{text}");
    }
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    assert_eq!(run("x"), (65, "task_file".into()));
    let grant = |scope: &str| {
        format!(
            "[[task.x.grant]]\nsecret = \"{scope}/A\"\nvia = \"env\"\nenv = \"{}\"\n",
            scope.to_uppercase()
        )
    };
    for secret in ["prod/A", "dev/A"] {
        lab.put(secret, b"0123456789", &[]);
    }
    std::fs::write(
        &file,
        format!("[task.x]\nabout = \"x\"\n{}{}{}", grant("prod"), grant("dev"), grant("none")),
    )
    .unwrap();
    assert_eq!(run("x"), (65, "no_scope".into()));
}

#[test]
fn values_of_one_byte_to_one_mebibyte_are_taken_and_others_refused() {
    let lab = Lab::new();
    let path = lab.home.work().join("value");
    let put = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        agent(&lab, &["put", "prod/SIZE", "--from-file", "value"])
    };
    assert_eq!(failed(&put(b"")), (65, "empty_value".into()));
    assert_eq!(failed(&put(&vec![7; (1 << 20) + 1])), (65, "huge_value".into()));
    for bytes in [vec![b'x'], vec![0; 1 << 20], (0..=255).collect()] {
        lab.put("prod/SIZE", &bytes, &[]);
        std::fs::write(&path, &bytes).unwrap();
        let (code, shown) = person(
            &lab,
            &["run", "--with-file", "SIZE=prod/SIZE", "--", "sh", "-c", "cmp \"$SIZE\" value"],
        );
        assert_eq!(code, Some(0), "{} bytes: {shown}", bytes.len());
    }
    // A C string ends at NUL: said before the command runs.
    let (code, shown) = person(&lab, &["run", "--with", "prod/SIZE", "--", "touch", "ran"]);
    assert_eq!(code, Some(65), "{shown}");
    assert!(shown.contains("--with-file") && !lab.home.work().join("ran").exists(), "{shown}");
    // From a pipe: the newline is echo's.
    assert_eq!(failed(&agent(&lab, &["put", "prod/PIPE"])), (65, "empty_value".into()));
    assert_nothing_lost(&lab);
}

#[test]
fn t32_a_value_with_a_line_break_is_refused_where_it_would_end_a_field() {
    let lab = Lab::new();
    let path = lab.home.work().join("value");
    for value in ["a-token\nHost: evil", "a-token\r", "a\0token"] {
        std::fs::write(&path, value).unwrap();
        let (code, shown) = person(&lab, &["put", "prod/API", "--from-file", "value", "--host", "api.example.com"]);
        assert_eq!(code, Some(65), "{value:?}: {shown}");
    }
    let touches = lab.key.counts().unwrap().given;
    lab.put("prod/API", b"a-token", &["--host", "api.example.com"]);
    assert_eq!(lab.key.counts().unwrap().given, touches + 1);
}

#[test]
fn t29_names_that_mean_something_to_a_path_a_shell_or_an_option_are_refused() {
    let lab = Lab::new();
    std::fs::write(lab.home.work().join("value"), "0123456789").unwrap();
    let before = (lab.count("change"), files(&lab.vault()));
    for name in [
        "prod/a/b",
        "prod/..",
        "../prod/x",
        "prod/-rf",
        "prod/.git",
        "prod/a;b",
        "prod/a b",
        "prod/$x",
        "prod/a\nb",
        "prod/\u{202e}x",
        "/x",
        "prod/",
        "-x/a",
    ] {
        let out = agent(&lab, &["put", name, "--from-file", "value"]);
        assert_eq!(failed(&out), (64, "usage".into()), "{name:?}");
        let out = agent(&lab, &["run", "--with", name, "--", "true"]);
        assert!([64, 65].contains(&failed(&out).0), "{name:?}");
    }
    for key in ["../key", "a\u{1b}[2Jb", ".", ""] {
        let (code, shown) = person(&lab, &["key", "add", key]);
        assert_eq!(code, Some(65), "{key:?}: {shown}");
    }
    assert_eq!((lab.count("change"), files(&lab.vault())), before);
}

#[test]
fn t43_control_characters_of_a_command_line_do_not_reach_the_terminal() {
    let lab = Lab::new();
    for arguments in [
        vec!["put", "prod/\u{1b}]0;x\u{7}"],
        vec!["\u{1b}[2J"],
        vec!["run", "--with", "prod/\u{1b}[2J", "--", "true"],
        vec!["run", "--with", "prod/TOKEN", "--", "\u{1b}[2J"],
        vec!["lease", "show", "\u{1b}[2J"],
        vec!["audit", "export", "\u{9b}2J", "out"],
        vec!["--vault", "/nope/\u{1b}[2J", "list"],
        vec!["key", "info", "\u{202e}x"],
    ] {
        let out = lab.agent_to_its_end(&arguments);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && !said.is_empty(), "{arguments:?}");
        assert!(
            !said.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'),
            "{arguments:?}: {said:?}"
        );
    }
}

#[test]
fn a_key_without_hmac_secret_is_refused_and_says_what_it_lacks() {
    let lab = Lab::empty(Config::default());
    lab.key.pull().unwrap();
    let finger = Arc::new(Finger::new(Mode::Grant));
    let inner: Arc<dyn Ctap> = Arc::new(Authenticator::start(Settings::default(), finger.clone()).unwrap());
    let mut info = inner.call(&[GET_INFO]);
    let at = info.windows(11).position(|window| window == b"hmac-secret").unwrap();
    info[at..at + 11].copy_from_slice(b"hmac-secreX");
    let ctap: Arc<dyn Ctap> = Arc::new(Impostor::new(inner, info, Recognition::None));
    let socket = HidSocket::new(ctap.clone());
    socket.plug().unwrap();
    lab.reach.add_key(Key::new(finger, ctap, socket)).unwrap();
    let (code, shown) = person(&lab, &["init"]);
    assert_eq!(code, Some(62), "{shown}");
    assert!(shown.contains("hmac-secret") && shown.contains("hint:"), "{shown}");
    assert!(!lab.vault().exists() || std::fs::read_dir(lab.vault()).unwrap().next().is_none());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

#[test]
fn t53_a_corrupt_vault_file_is_refused_and_the_vault_is_well_again_with_the_old_bytes() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let (mut refused, mut unused) = (0, 0);
    for file in files(&lab.vault()) {
        lab.clock.suspend(std::time::Duration::from_secs(70));
        let before = std::fs::read(&file).unwrap();
        let mut after = before.clone();
        let at = after.len() / 2;
        after[at] ^= 1;
        std::fs::write(&file, &after).unwrap();
        let out = agent(&lab, &["run", "--with", "prod/TOKEN", "--", "true"]);
        match out.status.code() {
            // A file of another scope, or a statement that was replaced.
            Some(0) => unused += 1,
            Some(65 | 71) => {
                assert!(!hint(&out).is_empty(), "{out:?}");
                refused += 1;
            }
            _ => panic!("{}: {out:?}", file.display()),
        }
        std::fs::write(&file, &before).unwrap();
    }
    assert!(refused >= 3, "{refused} refused, {unused} not needed");
    lab.clock.suspend(std::time::Duration::from_secs(700));
    assert_nothing_lost(&lab);
}

#[test]
fn a_full_disk_or_a_read_only_vault_folder_loses_nothing_and_says_what_to_do() {
    let mut lab = Lab::new();
    let vault = lab.vault();
    let disk = SmallDisk::under(&mut lab, &vault, "256k");
    std::fs::write(lab.home.work().join("value"), vec![b'x'; 100_000]).unwrap();
    let put = || person(&lab, &["put", "prod/NEW", "--from-file", "value"]);
    disk.fill();
    let (code, shown) = put();
    assert_eq!(code, Some(70), "{shown}");
    assert!(shown.contains("full") && shown.contains("hint:"), "{shown}");
    disk.make_room();
    assert_nothing_lost(&lab);
    disk.writable(false);
    let (code, shown) = put();
    assert_eq!(code, Some(70), "{shown}");
    assert!(shown.contains("read-only") && shown.contains("hint:"), "{shown}");
    // Reading needs no writing.
    assert_nothing_lost(&lab);
    disk.writable(true);
    let (code, shown) = put();
    assert_eq!(code, Some(0), "{shown}");
}

#[test]
fn init_loses_no_recovery_code_to_a_full_or_read_only_disk() {
    let lab = Lab::empty(touchlease::config::Config::default());
    let state = lab.home.places().unwrap().state;
    let data = lab.vault().parent().unwrap().to_owned();
    let init = || person(&lab, &["init", "--key", "blue"]);
    let given = || lab.key.counts().unwrap().given;
    let nothing_made = || {
        assert_eq!(failed(&agent(&lab, &["list"])), (65, "no_vault".into()));
        let left: Vec<_> = std::fs::read_dir(&state)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert!(left.iter().all(|name| name == ".fill"), "{left:?}");
    };
    for (folder, code) in [(&state, 72), (&data, 70)] {
        std::fs::create_dir_all(folder).unwrap();
        let disk = SmallDisk::over(folder, "256k");
        // What can be known is said before a touch.
        let before = given();
        disk.writable(false);
        let (exit, shown) = init();
        assert_eq!((exit, given()), (Some(code), before), "{shown}");
        assert!(shown.contains("ead-only") && shown.contains("hint:"), "{shown}");
        disk.writable(true);
        disk.fill();
        let (exit, shown) = init();
        assert_eq!(exit, Some(code), "{shown}");
        assert!(shown.contains("hint:") && !shown.contains("Recovery code"), "{shown}");
        disk.make_room();
        nothing_made();
        lab.clock.suspend(std::time::Duration::from_secs(700));
    }
    let (exit, shown) = init();
    assert!(exit == Some(0) && shown.contains("Recovery code"), "{shown}");
}

#[test]
fn one_vault_by_several_paths_is_one_vault_and_a_copy_shares_its_log() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let (vault, work) = (lab.vault(), lab.home.work());
    std::os::unix::fs::symlink(&vault, work.join("link")).unwrap();
    crate::lab::copy(&vault, &work.join("copy"));
    std::fs::create_dir(work.join("bound")).unwrap();
    let bound = work.join("bound").display().to_string();
    assert!(mount(&["--bind", &vault.display().to_string(), &bound]), "this case needs root");
    let bound = SmallDisk::there(bound.into());
    let whole = format!("{}/", vault.display());
    for path in ["link", "./link/", "../data/touchlease/vault", &whole, "bound", "copy"] {
        lab.clock.suspend(std::time::Duration::from_secs(70));
        let out = agent(&lab, &["--vault", path, "run", "--with", "prod/TOKEN", "--", "true"]);
        assert_eq!(out.status.code(), Some(0), "{path}: {out:?}");
    }
    lab.put("prod/OTHER", b"put by the first path", &[]);
    let out = agent(&lab, &["--vault", "link", "list"]);
    assert!(crate::lab::holds(&out.stdout, "prod/OTHER"), "{out:?}");
    lab.person(&["audit", "verify"]);
    drop(bound);
    let mut relative = lab.call(&json!({"v": 1, "vault": "data/touchlease/vault", "request": {"do": "status"}}));
    assert_eq!(relative.reply().unwrap()["reason"], "vault_path");
}

#[test]
fn t52_a_change_that_waits_for_another_writer_keeps_nobody_else_waiting() {
    use rustix::fs::{FlockOperation, flock};
    let lab = Lab::new();
    let writer = std::fs::File::open(lab.vault()).unwrap();
    flock(&writer, FlockOperation::LockExclusive).unwrap();
    std::fs::write(lab.home.work().join("value"), "a new one").unwrap();
    let changes = lab.count("change");
    let put = lab.home.terminal(["put", "prod/NEW", "--from-file", "value"]).unwrap();
    lab.until("the touch", || lab.count("change") > changes);
    assert_eq!(lab.status()["leases"], 0);
    let listed = agent(&lab, &["list"]);
    assert!(crate::lab::holds(&listed.stdout, "prod/TOKEN") && !crate::lab::holds(&listed.stdout, "prod/NEW"));
    assert!(!put.has_ended());
    flock(&writer, FlockOperation::Unlock).unwrap();
    let (status, shown) = put.finish().unwrap();
    assert!(status.success(), "{shown}");
    assert!(crate::lab::holds(&agent(&lab, &["list"]).stdout, "prod/NEW"));
}

#[test]
fn t54_a_damaged_log_is_shown_as_it_lies_and_the_damaged_line_is_named() {
    let mut lab = Lab::new();
    let path = lab.home.log().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let lines = whole.iter().filter(|byte| **byte == b'\n').count();
    let cut = whole.len() - 40;
    let damaged: [(&str, Vec<u8>, usize); 3] = [
        ("text behind it", [&whole[..], b"not ours\n"].concat(), lines + 1),
        ("bytes that are no text", [&whole[..cut], b"\xff\xfe\n"].concat(), lines),
        (
            "a number changed",
            String::from_utf8_lossy(&whole)
                .replacen(&format!("\"seq\":{lines}"), "\"seq\":7777", 1)
                .into_bytes(),
            lines,
        ),
    ];
    for (what, bytes, line) in damaged {
        lab.restart(|_| std::fs::write(&path, &bytes).unwrap());
        let out = agent(&lab, &["run", "--with", "prod/TOKEN", "--", "true"]);
        assert_eq!(failed(&out), (72, "log".into()), "{what}");
        let shown = lab.agent_to_its_end(&["audit", "show"]);
        let (text, note) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
        println!("{what}\n{note}{text}");
        assert!(
            shown.status.success() && note.contains("the audit log is damaged"),
            "{what}: {shown:?}"
        );
        assert_eq!(text.lines().count(), bytes.iter().filter(|byte| **byte == b'\n').count(), "{text}");
        assert!(text.contains("     1  ") && text.contains("opened"), "{text}");
        assert_eq!(
            text.contains(&format!("{line:>6}  damaged: ")),
            what != "a number changed",
            "{text}"
        );
        let verified = agent(&lab, &["audit", "verify"]);
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(said.contains(&format!("{{\"line\":{line},\"wrong\":")), "{what}: {said}");
        assert_eq!(verified.status.code(), Some(72));
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what}: looking changes nothing");
    }
    lab.restart(|_| std::fs::write(&path, &whole).unwrap());
    assert_nothing_lost(&lab);
}

#[test]
fn every_receipt_is_exported_by_its_id_and_stock_openssh_verifies_it() {
    let lab = Lab::new();
    lab.put("prod/OTHER", b"another value", &["--allow", "file"]);
    lab.person(&["edit", "prod/OTHER", "--max-ttl", "1m"]);
    lab.person(&["rm", "prod/OTHER"]);
    let changes: Vec<_> = lab.events().into_iter().filter(|(name, _)| name == "change").collect();
    assert_eq!(changes.len(), 4);
    let shown = lab.agent_to_its_end(&["audit", "show"]).stdout;
    for (n, (_, change)) in changes.iter().enumerate() {
        let text: Value = serde_json::from_str(change["signed"]["text"].as_str().unwrap()).unwrap();
        let id = text["id"].as_str().unwrap();
        assert!(holds(&shown, &format!("change  id={id}")), "{id} is not listed");
        let folder = format!("receipt-{n}");
        let out = agent(&lab, &["audit", "export", id, &folder]);
        assert_eq!(out.status.code(), Some(0), "{out:?}");
        let receipt = lab.home.work().join(&folder);
        std::fs::copy(lab.home.log().unwrap(), receipt.join("audit.jsonl")).unwrap();
        let verified = Command::new("sh")
            .args(["-euc", &crate::docs::verify_a_change()])
            .current_dir(&receipt)
            .output()
            .unwrap();
        for part in [
            "Good \"touchlease-change\"",
            "touch: yes",
            "client data: exact",
            "asked: line",
            "approved: the same",
        ] {
            assert!(holds(&verified.stdout, part), "{part}: {verified:?}");
        }
        lab.person(&["audit", "verify", "--since", &folder]);
    }
    let (_, roster) = lab.events().into_iter().find(|(name, _)| name == "roster").unwrap();
    let out = agent(&lab, &["audit", "export", roster["statement"].as_str().unwrap(), "statement"]);
    assert_eq!(failed(&out), (65, "no_receipt".into()));
    let file = format!("roster/{}.sig", roster["statement"].as_str().unwrap());
    assert!(hint(&out).contains(&file) && lab.vault().join(&file).is_file(), "{}", hint(&out));
}

#[test]
fn t53_a_slot_that_no_touch_signed_is_named_wherever_keys_and_secrets_are_listed() {
    let lab = Lab::new();
    let planted = format!("slots/{}.half", "0a".repeat(16));
    std::fs::write(lab.vault().join(&planted), "a way in").unwrap();
    for arguments in [&["status"][..], &["list"], &["key", "list"]] {
        let said: Value = serde_json::from_slice(&agent(&lab, arguments).stdout).unwrap();
        assert_eq!(said["unsigned"], json!([planted]), "{arguments:?}: {said}");
        let out = lab.agent_to_its_end(arguments);
        let warned = format!("no touch signed {planted}");
        assert!(holds(&out.stderr, &warned), "{arguments:?}: {out:?}");
    }
    std::fs::remove_file(lab.vault().join(&planted)).unwrap();
    assert!(!holds(&agent(&lab, &["status"]).stdout, "unsigned"));
}

#[test]
fn t55_without_a_log_there_is_no_lease_but_revoke_and_lock_work_and_it_recovers() {
    let mut lab = Lab::new();
    let watch = lab.home.watch().unwrap();
    let state = lab.home.log().unwrap().parent().unwrap().to_owned();
    drop(watch);
    let disk = SmallDisk::under(&mut lab, &state, "128k");
    let _watch = lab.home.watch().unwrap();
    let run = |lab: &Lab| agent(lab, &["run", "--with", "prod/TOKEN", "--", "true"]);
    assert_eq!(run(&lab).status.code(), Some(0));
    for full in [true, false] {
        lab.clock.suspend(std::time::Duration::from_secs(700));
        let mut held = lab.call(&crate::lab::lease_call(json!({})));
        assert_eq!(held.reply().unwrap()["reply"], "granted");
        let away = |back: bool| {
            let (from, to) = if back { ("aside", "audit.jsonl") } else { ("audit.jsonl", "aside") };
            std::fs::rename(state.join(from), state.join(to)).unwrap();
        };
        if full {
            disk.fill()
        } else {
            away(false)
        }
        // The last page of the log may have room for a lease yet, on a disk that has none.
        let mut tries = (0..4).map(|_| run(&lab));
        let out = tries.find(|out| !out.status.success()).expect("a lease that is refused");
        drop(tries);
        assert_eq!(failed(&out), (72, "log".into()), "full: {full}");
        assert!(!hint(&out).is_empty());
        let out = if full {
            agent(&lab, &["lease", "revoke", "--all"])
        } else {
            agent(&lab, &["lock"])
        };
        let ended: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(
            (out.status.code(), ended["ended"].as_array().unwrap().len()),
            (Some(0), 1),
            "{ended}"
        );
        assert!(held.hear(|line| line["event"] == "ended").is_some());
        if full {
            disk.make_room()
        } else {
            away(true)
        }
        let out = run(&lab);
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stdout));
    }
    // Whole again: every line and signature verifies.
    lab.person(&["audit", "verify"]);
}

#[test]
fn t55_a_use_that_cannot_be_written_down_hands_out_no_value() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let ask = |uses: &[&str], more: &[&str]| {
        let arguments = [&["--json"], more, &["--with", "prod/TOKEN"], uses].concat();
        lab.child(&match more {
            ["run"] => [&arguments[..], &["--", "sh", "-c", "echo has $TOKEN"]].concat(),
            _ => arguments,
        })
        .wait_with_output()
        .unwrap()
    };
    // Without a limit of uses the line waits for no disk: it has to be written all the same.
    for uses in [&["--uses", "9"][..], &[]] {
        assert_eq!(ask(uses, &["lease", "request"]).status.code(), Some(0));
        let touches = lab.key.counts().unwrap().given;
        let out = ask(uses, &["run"]);
        assert!(out.status.success() && holds(&out.stdout, "has <touchlease:prod/TOKEN>"), "{out:?}");
        let log = lab.home.log().unwrap();
        let aside = log.with_extension("aside");
        std::fs::rename(&log, &aside).unwrap();
        let out = ask(uses, &["run"]);
        assert_eq!(failed(&out), (72, "log".into()), "{out:?}");
        assert!(!holds(&out.stdout, "has "), "{out:?}");
        std::fs::rename(&aside, &log).unwrap();
        assert!(ask(uses, &["run"]).status.success());
        assert_eq!(lab.key.counts().unwrap().given, touches, "all of it is one lease");
    }
}

#[test]
fn without_a_terminal_a_screen_or_a_daemon_each_says_which() {
    let mut lab = Lab::new();
    let out = agent(&lab, &["watch"]);
    assert_eq!(failed(&out), (67, "no_terminal".into()));
    let out = agent(&lab, &["run", "--with", "prod/TOKEN", "--", "true"]);
    assert_eq!(failed(&out), (67, "no_screen".into()));
    assert!(hint(&out).contains("touchlease watch"));
    drop(lab.daemon.take());
    let runtime = lab.home.places().unwrap().runtime;
    std::fs::remove_dir_all(&runtime).unwrap();
    std::fs::write(&runtime, "").unwrap();
    let out = agent(&lab, &["list"]);
    assert!(matches!(failed(&out), (62 | 69, _)), "{out:?}");
    assert!(!hint(&out).is_empty());
}

#[test]
fn two_vaults_are_kept_apart() {
    let lab = Lab::new();
    let other = lab.home.path().join("other").display().to_string();
    lab.person(&["--vault", &other, "init", "--key", "green"]);
    std::fs::write(lab.home.work().join("value"), "the other's token").unwrap();
    lab.person(&["--vault", &other, "put", "prod/TOKEN", "--from-file", "value"]);
    for (vault, value) in [(None, CANARY), (Some(&other), "the other's token")] {
        let vault: Vec<&str> = vault.iter().flat_map(|path| ["--vault", path]).collect();
        let check = format!("test \"$TOKEN\" = \"{value}\"");
        lab.person(&[&vault[..], &["run", "--with", "prod/TOKEN", "--", "sh", "-c", &check]].concat());
    }
    assert_eq!(
        std::fs::read_dir(lab.home.places().unwrap().state)
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().join("audit.jsonl").exists())
            .count(),
        2
    );
}
