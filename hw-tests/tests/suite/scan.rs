//! Where the vault's own secrets stand: found in every form, told without a byte of them, and asked for by one touch.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use data_encoding::{BASE64, HEXLOWER};
use hw_tests::key::KeyHandle;
use serde_json::{Value, json};
use touchlease::sys::pass;

use crate::lab::{CANARY, Lab, error_of, holds};

/// Git, with nobody's configuration.
fn git(lab: &Lab, folder: &Path, arguments: &[&str]) -> Output {
    let out = Command::new("git")
        .args([
            "-c",
            "user.name=anna",
            "-c",
            "user.email=anna@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env_clear()
        .env("PATH", lab.home.variable("PATH"))
        .env("HOME", lab.home.path())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(out.status.success(), "{arguments:?}: {out:?}");
    out
}

/// A folder in the lab's work folder.
fn folder(lab: &Lab, name: &str) -> std::path::PathBuf {
    let folder = lab.home.work().join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// What a scan at a watch's touch says as JSON, and its exit code.
fn scan(lab: &Lab, arguments: &[&str]) -> (Option<i32>, Value) {
    let _watch = lab.home.watch().unwrap();
    let out = lab.agent_to_its_end(&[&["--json", "scan"], arguments].concat());
    for stream in [&out.stdout, &out.stderr] {
        assert!(!shows_a_part(stream), "{}", String::from_utf8_lossy(stream));
    }
    (
        out.status.code(),
        serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}")),
    )
}

/// Whether eight bytes of the value that every lab has stand there, in the plain, in hex or in base64.
fn shows_a_part(bytes: &[u8]) -> bool {
    let parts = CANARY.as_bytes().windows(8).map(|part| String::from_utf8_lossy(part).into_owned());
    let hex = CANARY.as_bytes().windows(8).map(|part| HEXLOWER.encode(part));
    parts.chain(hex).any(|part| holds(bytes, &part)) || holds(bytes, &BASE64.encode(CANARY.as_bytes())[..12])
}

/// The places that were found: name of the file, line, encoding.
fn found(said: &Value) -> Vec<(String, u64, String)> {
    let place = |finding: &Value| {
        assert_eq!(finding["secrets"], json!(["prod/TOKEN"]), "{finding}");
        let name = Path::new(finding["place"].as_str().unwrap()).file_name().unwrap();
        (
            name.to_string_lossy().into_owned(),
            finding["line"].as_u64().unwrap(),
            finding["encoding"].as_str().unwrap().to_owned(),
        )
    };
    let mut found: Vec<_> = said["findings"].as_array().unwrap().iter().map(place).collect();
    found.sort();
    found
}

fn expected(of: &[(&str, u64, &str)]) -> Vec<(String, u64, String)> {
    of.iter()
        .map(|(name, line, how)| ((*name).to_owned(), *line, (*how).to_owned()))
        .collect()
}

#[test]
fn t45_what_stands_in_files_is_found_by_one_touch_and_no_byte_of_it_is_shown_or_kept() {
    let lab = Lab::new();
    let tree = folder(&lab, "tree");
    let outside = folder(&lab, "outside");
    fs::write(outside.join("linked"), CANARY).unwrap();
    symlink(&outside, tree.join("folder-link")).unwrap();
    symlink(outside.join("linked"), tree.join("file-link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::write(tree.join(".gitignore"), ".env\n").unwrap();
    fs::write(tree.join(".env"), format!("A=1\nTOKEN={CANARY}\n")).unwrap();
    fs::write(
        tree.join("deep/er/b64"),
        format!("x\n\n{}", BASE64.encode(format!("token:{CANARY}").as_bytes())),
    )
    .unwrap();
    fs::write(
        tree.join("deep/binary"),
        [&[0, 255, 10, 10][..], CANARY.as_bytes(), &[0; 9]].concat(),
    )
    .unwrap();
    fs::write(tree.join("hex"), HEXLOWER.encode(CANARY.as_bytes())).unwrap();
    fs::write(tree.join("begun"), &CANARY[..CANARY.len() - 1]).unwrap();
    let big = [vec![b'\n'; 300_000], CANARY.as_bytes().to_vec()].concat();
    fs::write(tree.join("big"), big).unwrap();
    let before = lab.key.counts().unwrap().given;

    let (code, said) = scan(&lab, &["tree"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(lab.key.counts().unwrap().given, before + 1);
    let all = expected(&[
        (".env", 2, "plain"),
        ("b64", 3, "base64"),
        ("big", 300_001, "plain"),
        ("binary", 3, "plain"),
        ("hex", 1, "hex"),
    ]);
    assert_eq!(found(&said), all, "{said}");
    assert_eq!(
        (&said["links"], said["special"].as_array().unwrap().len()),
        (&2.into(), 1),
        "{said}"
    );
    assert_eq!(said["files"], 7);

    // The log has what it was for and what came of it.
    let log = fs::read(lab.home.log().unwrap()).unwrap();
    assert!(!shows_a_part(&log));
    let events = lab.events();
    let of_scan: Vec<_> = events
        .iter()
        .filter(|(name, of)| name == "used" && of["delivery"] == "scan")
        .collect();
    assert_eq!(of_scan[0].1["what"], "looks for 1 secret");
    let counted = of_scan[1].1["what"].as_str().unwrap();
    assert!(
        counted.starts_with("looked into 7 files of ") && counted.ends_with(": found 5 places"),
        "{counted}"
    );
    let id = of_scan[0].1["lease"].as_str().unwrap().to_owned();
    assert!(
        events
            .iter()
            .any(|(name, of)| name == "ended" && of["lease"] == id.as_str() && of["why"] == "returned")
    );
    lab.prints(&["audit", "verify"]);
    let receipt = lab.home.work().join("receipt").display().to_string();
    lab.prints(&["audit", "export", &id, &receipt]);
    let text: Value = serde_json::from_slice(&fs::read(Path::new(&receipt).join("lease.json")).unwrap()).unwrap();
    assert_eq!(
        (&text["kind"], &text["scopes"]),
        (&"scan".into(), &json!(["dev", "prod"])),
        "{text}"
    );

    // At a terminal the same in words; what git ignores may be left out.
    git(&lab, &tree, &["init", "-q"]);
    let parts = [
        "looks where your secrets stand",
        "1 secret of dev and prod, from 6 bytes on",
        "tree (claimed)",
        "no value of any",
    ];
    let shown = lab.shows(&["scan", "--skip-ignored", "tree"], 1, &parts);
    assert!(shown.contains("/hex:1  prod/TOKEN  hex") && !shown.contains(".env"), "{shown}");
    assert!(!shows_a_part(shown.as_bytes()), "{shown}");
    fs::remove_dir_all(&tree).unwrap();
    lab.shows(&["scan", "outside", "--scope", "dev"], 0, &["found nothing"]);
}

#[test]
fn what_git_still_has_is_found_after_it_was_deleted_and_packed() {
    let lab = Lab::new();
    let repository = folder(&lab, "repo");
    git(&lab, &repository, &["init", "-q"]);
    fs::create_dir(repository.join("conf")).unwrap();
    fs::write(repository.join("conf/deploy.env"), format!("\n\nTOKEN={CANARY}\n")).unwrap();
    // More than one memory file holds, with the secret across its edge.
    let at = (4 << 20) - CANARY.len() / 2;
    fs::write(
        repository.join("large"),
        [vec![b'.'; at], CANARY.as_bytes().to_vec(), vec![b'.'; 3 << 20]].concat(),
    )
    .unwrap();
    git(&lab, &repository, &["add", "."]);
    git(&lab, &repository, &["commit", "-qm", "one"]);
    git(&lab, &repository, &["rm", "-qr", "."]);
    git(&lab, &repository, &["commit", "-qm", &format!("remove {CANARY} from the files")]);
    git(&lab, &repository, &["gc", "-q"]);

    // Its message lies in three files of git's; what was in the files is in a pack, which is compressed.
    let (code, said) = scan(&lab, &["repo"]);
    let of_message = [("COMMIT_EDITMSG", 1, "plain"), ("HEAD", 2, "plain"), ("main", 2, "plain")];
    assert_eq!((code, found(&said)), (Some(1), expected(&of_message)), "{said}");
    // The folder itself, and what git has of it: what is loose is found twice.
    let (code, said) = scan(&lab, &["--git", "repo"]);
    let is_of_git = |finding: &&Value| finding["place"].as_str().is_some_and(|place| place.starts_with("git "));
    assert_eq!(code, Some(1), "{said}");
    let places: Vec<_> = said["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(is_of_git)
        .map(|one| (&one["place"], &one["line"], &one["at"]))
        .collect();
    let of = |kind: &str, path: &str| {
        let is = |place: &&Value| {
            place
                .as_str()
                .is_some_and(|place| place.starts_with(&format!("git {kind} ")) && place.ends_with(path))
        };
        places
            .iter()
            .filter(|(place, _, _)| is(place))
            .map(|(_, line, at)| (line.as_u64(), at.as_u64()))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("blob", "(conf/deploy.env)"), [(Some(3), Some(8))], "{said}");
    assert_eq!(of("blob", "(large)"), [(Some(1), Some(at as u64))], "{said}");
    assert_eq!(of("commit", "").len(), 1, "{said}");
    assert_eq!(places.len(), 3, "{said}");

    let (code, error) = error_of(&lab.agent_to_its_end(&["--json", "scan", "--git", "/"]));
    assert_eq!((code, &error["reason"]), (Some(65), &"no_repository".into()));
}

#[test]
fn a_pre_commit_hook_keeps_a_secret_out_of_a_commit_and_asks_for_no_touch_where_nothing_is_staged() {
    let lab = Lab::new();
    let repository = folder(&lab, "repo");
    git(&lab, &repository, &["init", "-q"]);
    let before = lab.key.counts().unwrap().given;
    let staged = |code: i32| {
        let mut command = lab.home.command(["scan", "--staged"]);
        command.current_dir(&repository);
        let (status, shown) = hw_tests::harness::Terminal::start(&command).unwrap().finish().unwrap();
        assert_eq!(status.code(), Some(code), "{shown}");
        shown
    };
    staged(0);
    assert_eq!(lab.key.counts().unwrap().given, before);
    fs::write(repository.join("clean"), "nothing here\n").unwrap();
    git(&lab, &repository, &["add", "clean"]);
    assert!(staged(0).contains("found nothing"));
    assert_eq!(lab.key.counts().unwrap().given, before + 1);
    // Staged is what counts, not what lies there.
    fs::write(repository.join("conf;x"), format!("a\nT={CANARY}\n")).unwrap();
    git(&lab, &repository, &["add", "conf;x"]);
    fs::write(repository.join("conf;x"), "clean again\n").unwrap();
    let shown = staged(1);
    assert!(shown.contains("conf;x:2  prod/TOKEN  plain"), "{shown}");

    let hook = repository.join(".git/hooks/pre-commit");
    fs::write(&hook, format!("#!/bin/sh\nexec {} scan --staged\n", crate::product().display())).unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let commit = |code: i32| {
        let mut command = lab.home.command([""; 0]);
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(n, v)| Some((n.to_owned(), v?.to_owned())))
            .collect();
        command = Command::new("git");
        command
            .args(["-c", "user.name=anna", "-c", "user.email=anna@example.com", "commit", "-qm", "x"])
            .env_clear()
            .envs(environment)
            .current_dir(&repository);
        let (status, shown) = hw_tests::harness::Terminal::start(&command).unwrap().finish().unwrap();
        assert_eq!(status.code(), Some(code), "{shown}");
    };
    commit(1);
    git(&lab, &repository, &["add", "conf;x"]);
    commit(0);
}

#[test]
fn what_agents_and_shells_keep_is_found_in_json_within_json_too() {
    let lab = Lab::new();
    let value = "pass\"word\\with/quotes&more";
    lab.put("prod/QUOTED", value.as_bytes(), &[]);
    let home = lab.home.variable("HOME");
    let home = Path::new(&home);
    let codex = home.join(".codex/sessions/2026/11/27");
    let claude = home.join(".claude/projects/-work");
    fs::create_dir_all(&codex).unwrap();
    fs::create_dir_all(&claude).unwrap();
    let arguments = json!({ "cmd": format!("curl -u x:{value}") }).to_string();
    fs::write(
        codex.join("rollout.jsonl"),
        format!("{{}}\n{}\n", json!({ "type": "function_call", "arguments": arguments })),
    )
    .unwrap();
    fs::write(claude.join("session.jsonl"), format!("{}\n", json!({ "content": value }))).unwrap();
    fs::write(home.join(".bash_history"), format!("ls\nexport X='{value}'\n")).unwrap();
    let (code, said) = scan(&lab, &["--transcripts", "--history"]);
    assert_eq!(code, Some(1), "{said}");
    let mut seen: Vec<_> = said["findings"].as_array().unwrap().iter().collect();
    seen.sort_by_key(|one| one["encoding"].as_str());
    let seen: Vec<_> = seen
        .iter()
        .map(|one| (one["encoding"].as_str().unwrap(), one["line"].as_u64().unwrap()))
        .collect();
    assert_eq!(seen, [("json", 1), ("json_twice", 2), ("plain", 2)], "{said}");
}

#[test]
fn who_sits_at_no_terminal_is_not_told_of_values_that_can_be_guessed() {
    let lab = Lab::new();
    lab.put("prod/PIN", b"20261127", &[]);
    lab.put("prod/TINY", b"1234", &[]);
    let tree = folder(&lab, "guesses");
    let guesses: Vec<String> = (0..10_000).map(|n| format!("{:08}", 20_261_120 + n)).collect();
    fs::write(tree.join("all"), guesses.join("\n")).unwrap();
    let (code, said) = scan(&lab, &["guesses"]);
    assert_eq!((code, &said["too_short"]), (Some(0), &json!(["prod/PIN", "prod/TINY"])), "{said}");
    // The person himself is.
    let shown = lab.shows(&["scan", "guesses"], 1, &["prod/PIN  plain"]);
    assert!(
        shown.contains("not looked for, as its value is too short to tell: prod/TINY"),
        "{shown}"
    );
}

#[test]
fn a_scan_of_nothing_of_too_much_and_without_a_screen_costs_no_touch() {
    let lab = Lab::new();
    lab.person(&["scope", "add", "third"]);
    let before = lab.key.counts().unwrap().given;
    let refused = |arguments: &[&str], code: i32, reason: &str| {
        let (status, error) = error_of(&lab.agent_to_its_end(&[&["--json", "scan"], arguments].concat()));
        assert_eq!((status, &error["reason"]), (Some(code), &reason.into()), "{arguments:?}: {error}");
    };
    refused(&[], 64, "nothing_named");
    refused(&["nowhere"], 65, "path");
    refused(&["."], 62, "too_many_scopes");
    refused(&["--scope", "prod", "--scope", "nothing", "."], 65, "no_scope");
    refused(&["--scope", "prod", "."], 67, "no_screen");
    refused(&["--scope", "prod", "--ttl", "9h", "."], 62, "ttl_over_cap");
    assert_eq!(lab.key.counts().unwrap().given, before);
}

/// A scan that this process asks for itself: the lines that come, and the worker's socket.
struct Raw {
    lines: BufReader<UnixStream>,
    channel: OwnedFd,
}

fn raw_scan(lab: &Lab) -> Raw {
    let mut stream = UnixStream::connect(lab.socket()).unwrap();
    writeln!(
        stream,
        "{}",
        json!({"v": 1, "request": {"do": "scan", "scopes": ["prod"], "places": ["x"]}})
    )
    .unwrap();
    let (mut text, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let (count, fds) = pass::receive(&stream, &mut bytes).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&bytes[..count]);
        if let Some(channel) = fds.into_iter().next() {
            assert!(holds(&text, "\"event\":\"scanning\"") && !shows_a_part(&text));
            return Raw {
                lines: BufReader::new(stream),
                channel,
            };
        }
    }
}

impl Raw {
    fn reply(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "no reply");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line.get("reply").is_some() {
                return line;
            }
        }
    }

    fn packet(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 17];
        let (count, _) = pass::receive(&self.channel, &mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    }
}

#[test]
fn p4_a_scan_ends_within_a_second_when_all_leases_are_ended_and_its_worker_with_it() {
    let lab = Lab::new();
    let _screen = lab.recorder();
    for end in [&["lock"][..], &["lease", "revoke", "--all"]] {
        let mut raw = raw_scan(&lab);
        let since = Instant::now();
        lab.prints(end);
        let reply = raw.reply();
        assert_eq!(
            reply["reason"].as_str().or(reply["failure"]["reason"].as_str()),
            Some("lease_over"),
            "{reply}"
        );
        assert!(raw.packet().is_empty(), "the worker is there still");
        assert!(since.elapsed().as_secs() < 2, "{:?}", since.elapsed());
    }
    // Time does the same.
    let mut raw = raw_scan(&lab);
    lab.clock.suspend(std::time::Duration::from_secs(16 * 60));
    assert!(raw.reply().to_string().contains("lease_over"));
    assert!(raw.packet().is_empty());
    let ends: Vec<_> = lab
        .events()
        .into_iter()
        .filter(|(name, _)| name == "ended")
        .map(|(_, of)| of["why"].clone())
        .collect();
    assert_eq!(ends, ["revoked", "revoked", "time"]);
    lab.prints(&["audit", "verify"]);
}

#[test]
fn t19_a_worker_takes_regular_files_only_and_nothing_else_makes_it_wait_or_talk() {
    let lab = Lab::new();
    let _screen = lab.recorder();
    let mut raw = raw_scan(&lab);
    let file = lab.home.work().join("with");
    fs::write(&file, CANARY).unwrap();
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    let file = File::open(&file).unwrap();
    let device = File::open("/dev/zero").unwrap();
    let folder = File::open(lab.home.work()).unwrap();
    let fds = [pipe.as_fd(), device.as_fd(), folder.as_fd(), raw.channel.as_fd(), file.as_fd()];
    pass::send(&raw.channel, &7_u64.to_le_bytes(), &fds).unwrap();
    let seen: Value = serde_json::from_slice(&raw.packet()).unwrap();
    assert_eq!(
        (&seen["first"], &seen["files"], seen["unread"].as_array().unwrap().len()),
        (&7.into(), &5.into(), 4),
        "{seen}"
    );
    assert_eq!(seen["hits"], json!([{"file": 4, "at": 0, "secrets": [0], "encoding": "plain"}]));
    // What is no packet ends the channel, and the scan with what was seen.
    pass::send(&raw.channel, b"and what is your first secret?", &[]).unwrap();
    assert!(raw.packet().is_empty());
    let reply = raw.reply();
    assert_eq!((&reply["files"], &reply["found"]), (&1.into(), &1.into()), "{reply}");
    // Whoever goes away takes the worker along.
    let raw = raw_scan(&lab);
    let channel = raw.channel.try_clone().unwrap();
    drop(raw);
    assert_eq!(pass::receive(&channel, &mut [0; 8]).unwrap().0, 0);
    lab.until("the end of the scan", || lab.count("ended") == 2);
}
