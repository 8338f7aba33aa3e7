//! What somebody does wrong who has not read the pages: each time a sentence and a command that helps, before anything is typed.

use std::{
    fs,
    io::{ErrorKind, Read},
    os::unix::net::UnixStream,
    process::{Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use hw_tests::key::KeyHandle;
use serde_json::{Value, json};
use touchlease::{config::Config, daemon::boot::read_config};

use crate::lab::{Lab, error_of, holds, lease_call, product};

const SLIP: &str = "hunter2-in-the-open";

/// Exit code, reason, sentence and hint of a command that fails.
pub fn failed(out: &Output) -> (i32, String, String, String) {
    let (code, error) = error_of(out);
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    assert!(!text("hint").is_empty(), "no hint: {error}");
    (code.unwrap(), text("reason"), text("message"), text("hint"))
}

fn agent(lab: &Lab, arguments: &[&str]) -> Output {
    lab.agent_to_its_end(&[&["--json"], arguments].concat())
}

#[test]
fn t45_a_value_on_the_command_line_is_not_taken_and_not_repeated() {
    let lab = Lab::new();
    let named = format!("prod/A={SLIP}");
    let cases: &[(&[&str], &str)] = &[
        (&["put", &named], "value_in_argv"),
        (&["put", &format!("prod/A={SLIP}$!")], "value_in_argv"),
        (&["put", "prod/A", SLIP], "value_in_argv"),
        (&["put", "prod/A", &format!("{SLIP}/aGVs+bG8=")], "value_in_argv"),
        (&["put", "prod/A", &format!("{SLIP}/aGVs")], "value_in_argv"),
        (&["put", "prod/A", &format!("{SLIP}//x")], "value_in_argv"),
        (&["put", &format!("A={SLIP}")], "usage"),
        (&["put", SLIP], "usage"),
    ];
    for (arguments, expected) in cases {
        for arguments in [arguments.to_vec(), [&["--json"], *arguments].concat()] {
            let out = lab.agent_to_its_end(&arguments);
            assert!(!holds(&out.stdout, SLIP) && !holds(&out.stderr, SLIP), "{arguments:?}: {out:?}");
        }
        let (code, reason, message, hint) = failed(&agent(&lab, arguments));
        assert_eq!((code, reason.as_str()), (64, *expected), "{arguments:?}: {message}");
        assert!(hint.contains("touchlease put "), "{hint}");
    }
    let with = format!("TOKEN={SLIP}");
    let out = agent(&lab, &["run", "--with", &with, "--", "true"]);
    assert!(!holds(&out.stdout, SLIP), "{out:?}");
    assert_eq!(failed(&out).1, "reference");
    let log = fs::read(lab.home.log().unwrap()).unwrap();
    assert!(!holds(&log, SLIP));
}

#[test]
fn nothing_is_asked_for_that_could_not_be_used() {
    let lab = Lab::empty(Config::default());
    let file = lab.home.work().join("x.env");
    fs::write(&file, "A=1\n").unwrap();
    let asks_nothing = |arguments: &[&str], says: &str| {
        let (status, shown) = lab.home.terminal(arguments).unwrap().finish().unwrap();
        let shown = shown.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            !status.success() && shown.contains(says) && shown.contains("hint: "),
            "{arguments:?}: {shown}"
        );
        for question in ["value of", "PIN:", "PIN of", "password", "recovery code (not shown)", "new PIN"] {
            assert!(!shown.contains(question), "{arguments:?}: {shown}");
        }
    };
    for arguments in [
        &["put", "prod/A"][..],
        &["edit", "prod/A", "--max-ttl", "1m"],
        &["import", "--scope", "prod", "x.env"],
        &["recover", "green"],
    ] {
        asks_nothing(arguments, "touchlease init");
    }
    asks_nothing(&["key", "pin", "change"], "the key has no PIN");
    asks_nothing(&["key", "credentials"], "touchlease key pin set");
    asks_nothing(&["key", "pin", "set", "nobody"], "no connected key has this name");
    lab.key.pull().unwrap();
    asks_nothing(&["key", "pin", "change"], "no security key is connected");
    lab.key.plug().unwrap();
    lab.person(&["init"]);
    asks_nothing(&["put", "staging/A"], "touchlease scope add NAME");
    asks_nothing(&["import", "--scope", "staging", "x.env"], "touchlease scope add staging");
    asks_nothing(&["put", "prod/A", "prod/B", "prod/A"], "prod/A is named twice");
    for option in ["--lost", "--keep"] {
        asks_nothing(&["recover", "green", option, "nobody"], "no enrolled key is called \"nobody\"");
    }
    asks_nothing(
        &["recover", "first", "--keep", "first"],
        "a key that stays is called \"first\" already",
    );
    asks_nothing(&["recover", "my key", "--lost", "first"], "the key's name may not have ' '");
    lab.person(&["scope", "add", "staging"]);
    asks_nothing(&["put", "prod/A", "staging/B"], "one change is for one scope");
    lab.put("prod/A", b"correct-horse", &["--max-ttl", "10m"]);
    // Nobody touches for what changes nothing.
    lab.key.never().unwrap();
    asks_nothing(&["edit", "prod/A", "--max-ttl", "600s"], "has these rules already");
    asks_nothing(
        &["key", "remove", "first", "--key", "first"],
        "is the key that is taken out: one that stays has to approve that",
    );
    assert!(!lab.key.counts().unwrap().waiting);
}

#[test]
fn a_result_that_could_not_be_written_is_no_success() {
    let lab = Lab::new();
    for arguments in [&["list"][..], &["--json", "list"], &["audit", "show"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = lab.home.command(arguments);
        let command = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
        let out = command.spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(70), "{arguments:?}: {said}");
        assert!(
            said.contains("could not be written") && said.contains("hint: "),
            "{arguments:?}: {said}"
        );
    }
}

#[test]
fn masked_output_that_could_not_be_written_is_no_success() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    // All of it was written before the fault; or more was to come, and the command gets the signal that is meant for it.
    for (script, code) in [("echo hello", Some(70)), ("head -c 1000000 /dev/zero", None)] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = lab.home.command(["run", "--with", "prod/TOKEN", "--", "sh", "-c", script]);
        let command = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
        let out = command.spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        let is_right = code.map_or(!out.status.success(), |code| out.status.code() == Some(code));
        assert!(is_right, "{script}: {:?}: {said}", out.status);
        assert!(said.contains("output could not be written: No space left"), "{script}: {said}");
    }
}

#[test]
fn hints_are_commands_that_work_as_they_stand() {
    let lab = Lab::new();
    let hint_of = |arguments: &[&str]| failed(&agent(&lab, arguments)).3;
    assert!(hint_of(&["init"]).contains("touchlease key add NAME"));
    assert_eq!(
        hint_of(&["run", "--with", "prod/TOKEN", "--reason", "it's ls", "ls", "-l", "ls"]),
        r"touchlease --json run --with prod/TOKEN --reason 'it'\''s ls' -- ls -l ls"
    );
    assert_eq!(hint_of(&["key", "pin", "chang"]), "touchlease key pin --help");
    assert_eq!(hint_of(&["nonsense"]), "touchlease --help");
    for (line, command) in [
        ("run --ttl soon -- true", "run"),
        ("put prod/A --max-uses many", "put"),
        ("--vault key audit show -n x", "audit show"),
    ] {
        let line: Vec<&str> = line.split(' ').collect();
        assert_eq!(hint_of(&line), format!("touchlease {command} --help"), "{line:?}");
    }
    let folder = lab.home.work().join("nope").display().to_string();
    let (_, _, message, _) = failed(&agent(&lab, &["audit", "verify", "--since", &folder]));
    assert!(message.contains(&folder), "{message}");
    assert!(failed(&agent(&lab, &["key", "pin", "change"])).3.contains("touchlease key pin set"));
    let mut homeless = std::process::Command::new(product());
    let out = homeless.args(["--json", "status"]).env_clear().output().unwrap();
    assert!(failed(&out).3.contains("export HOME="), "{out:?}");
}

/// Runs what a hint says behind its last colon, as a person types it.
fn typed(lab: &Lab, hint: &str) -> Output {
    let (_, command) = hint.rsplit_once(": ").unwrap_or(("", hint));
    let like = lab.home.command([""; 0]);
    let path = format!("{}:{}", product().parent().unwrap().display(), lab.home.variable("PATH"));
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", command]).env_clear();
    shell.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("PATH", path).current_dir(lab.home.work()).output().unwrap()
}

#[test]
fn a_receipt_is_written_over_nothing_and_the_page_that_verifies_it_lies_with_it() {
    let lab = Lab::new();
    let change = lab.events().into_iter().find(|(name, _)| name == "change").unwrap().1;
    let text: Value = serde_json::from_str(change["signed"]["text"].as_str().unwrap()).unwrap();
    let id = text["id"].as_str().unwrap();
    let first = lab.agent_to_its_end(&["audit", "export", id, "my receipt"]);
    assert!(first.status.success() && holds(&first.stderr, "verify.md"), "{first:?}");
    let page = fs::read_to_string(lab.home.work().join("my receipt/verify.md")).unwrap();
    assert!(page.starts_with("# Verify a receipt without touchlease"), "{page}");
    let (code, reason, message, hint) = failed(&agent(&lab, &["audit", "export", id, "my receipt"]));
    assert_eq!((code, reason.as_str()), (65, "receipt"), "{message}");
    let again = typed(&lab, &hint);
    assert!(again.status.success(), "{hint}: {again:?}");
    assert!(lab.home.work().join("my receipt").join(id).join("change.sig").is_file());
    let (_, _, _, hint) = failed(&agent(&lab, &["audit", "export", id, "not/there"]));
    let elsewhere = typed(&lab, &hint);
    assert!(elsewhere.status.success(), "{hint}: {elsewhere:?}");
}

#[test]
fn revoke_says_that_it_needs_to_know_which_lease() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    lab.lease(&["--with", "prod/TOKEN"]);
    let (code, _, message, hint) = failed(&agent(&lab, &["lease", "revoke"]));
    assert!(code == 64 && message.contains("which lease"), "{message}");
    assert!(
        hint.contains("touchlease lease list") && hint.contains("touchlease lease revoke --all"),
        "{hint}"
    );
    assert_eq!(lab.status()["leases"], 1);
}

#[test]
fn a_runtime_folder_that_gives_no_socket_is_named_with_what_gives_one() {
    let lab = Lab::empty(Config::default());
    let status = |folder: &str| {
        let mut command = lab.home.command(["--json", "status"]);
        failed(&command.env("XDG_RUNTIME_DIR", folder).output().unwrap())
    };
    let long = lab.home.path().join("x".repeat(100)).display().to_string();
    let (code, reason, message, hint) = status(&long);
    assert_eq!((code, reason.as_str()), (65, "places"), "{message}");
    assert!(message.contains("107"), "{message}");
    let (_, exports) = hint.rsplit_once(": ").unwrap();
    let short = typed(
        &lab,
        &format!("{exports} && touchlease --json status; kill $(touchlease --json status | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')"),
    );
    assert!(holds(&short.stdout, "\"reply\"") || holds(&short.stdout, "\"pid\""), "{short:?}");
    // Nothing can be made there, whoever asks.
    let (code, reason, message, hint) = status("/proc/nowhere");
    assert_eq!((code, reason.as_str()), (69, "socket_folder"), "{message}");
    assert!(
        hint.contains("/proc/nowhere is not there") && hint.ends_with("unset XDG_RUNTIME_DIR"),
        "{hint}"
    );
}

#[test]
fn a_bare_command_prints_its_help_as_help_does() {
    let lab = Lab::empty(Config::default());
    for group in [&[][..], &["lease"]] {
        let bare = lab.agent_to_its_end(group);
        let help = lab.agent_to_its_end(&[group, &["--help"]].concat());
        assert_eq!(bare.status.code(), Some(64), "{bare:?}");
        let (bare, help) = (String::from_utf8(bare.stderr).unwrap(), String::from_utf8(help.stdout).unwrap());
        let short = lab.agent_to_its_end(&[group, &["-h"]].concat());
        let short = String::from_utf8(short.stdout).unwrap();
        assert!(bare.contains("\n  ") && (bare == help || bare == short), "{bare}");
    }
}

#[test]
fn an_environment_file_that_is_none_is_named_by_its_line_and_not_repeated() {
    let lab = Lab::new();
    let file = lab.home.work().join("x.env");
    let cases = [
        (format!("A=1\n# c\n{SLIP} here\n"), "x.env, line 3: it is not NAME=value"),
        (
            format!("A=1\nB=\"open\n{SLIP}\n"),
            "x.env, line 2: the quote that begins the value has no end",
        ),
        ("A=1\n\nB=touchlease://prod\n".into(), "x.env, line 3: "),
        (
            format!("A={SLIP} two\n"),
            "x.env, line 1: a blank stands in the value: put the value in single quotes",
        ),
        (format!("MY NAME={SLIP}\n"), "x.env, line 1: a blank stands in the name"),
        (
            "A=' touchlease://prod/TOKEN'\n".into(),
            "x.env, line 1: a blank stands in front of touchlease://",
        ),
        (
            "A='touchlease://prod/TOKEN '\n".into(),
            "x.env, line 1: a blank stands behind the reference",
        ),
    ];
    for (text, says) in cases {
        fs::write(&file, text).unwrap();
        let out = agent(&lab, &["run", "--env-file", "x.env", "--", "true"]);
        let (code, _, message, _) = failed(&out);
        assert!(code == 65 && message.contains(says) && !holds(&out.stdout, SLIP), "{message}");
    }
    fs::remove_file(&file).unwrap();
    let gone = failed(&agent(&lab, &["run", "--env-file", "x.env", "--", "true"]));
    assert_eq!(gone.3, "check the path and its permissions");
    for text in [format!("Dear Anna,\n{SLIP}\n"), String::new(), format!("\0\u{1}{SLIP}")] {
        fs::write(&file, text).unwrap();
        let out = agent(&lab, &["import", "--scope", "prod", "--dry-run", "x.env"]);
        let (code, reason, ..) = failed(&out);
        assert_eq!((code, reason.as_str()), (65, "import_format"), "{out:?}");
        assert!(!holds(&out.stdout, SLIP), "{out:?}");
    }
}

#[test]
fn who_says_no_at_the_own_prompt_is_told_that_it_was_stopped_there() {
    let lab = Lab::new();
    lab.key.never().unwrap();
    for no in ["\u{3}", "d"] {
        let mut removing = lab.home.terminal(["rm", "prod/TOKEN"]).unwrap();
        removing.expect("touch \"blue\"").unwrap();
        removing.type_in(no).unwrap();
        let (status, shown) = removing.finish().unwrap();
        assert_eq!(status.code(), Some(60), "{shown}");
        assert!(
            shown.contains("touchlease: you stopped it at the prompt") && !shown.contains("a person denied"),
            "{shown}"
        );
        lab.clock.suspend(std::time::Duration::from_secs(700));
    }
    // On a watch it was a person, and perhaps not the one who asked.
    let mut watch = lab.home.watch().unwrap();
    let asking = lab.agent(&["--json", "run", "--with", "prod/TOKEN", "--", "true"]);
    watch.expect("touch \"blue\"").unwrap();
    watch.type_in("d").unwrap();
    let out = asking.wait_with_output().unwrap();
    let (code, reason, message, _) = failed(&out);
    assert_eq!((code, reason.as_str()), (60, "denied"));
    assert!(message.contains("a person denied"), "{message}");
}

#[test]
fn a_lease_is_named_by_as_many_digits_as_tell_it_apart_and_a_receipt_too() {
    let lab = Lab::new();
    lab.key.grant().unwrap();
    let _watch = lab.home.watch().unwrap();
    let lease = lab.lease(&["--with", "prod/TOKEN"]);
    let id = lease.as_str();
    for wrong in ["", &id[..3]] {
        let (code, reason, message, _) = failed(&agent(&lab, &["lease", "show", wrong]));
        assert_eq!((code, reason.as_str()), (65, "which_id"), "{message}");
    }
    let other = if id.starts_with("ffff") { "0000" } else { "ffff" };
    assert_eq!(failed(&agent(&lab, &["lease", "end", other])).1, "no_lease");
    let shown = agent(&lab, &["lease", "show", &id[..4]]);
    assert!(holds(&shown.stdout, id), "{shown:?}");
    let ended: Value = serde_json::from_slice(&agent(&lab, &["lease", "end", &id[..8]]).stdout).unwrap();
    assert_eq!(ended["ended"], json!([id]));
    let exported: Value = serde_json::from_slice(&agent(&lab, &["audit", "export", &id[..12], "receipt"]).stdout).unwrap();
    assert_eq!(exported["id"], *id);
}

#[test]
fn a_file_that_is_no_backup_is_named_and_nothing_in_it_is_repeated() {
    let lab = Lab::new();
    let work = lab.home.work();
    fs::write(work.join(SLIP), SLIP.repeat(100)).unwrap();
    fs::write(work.join("letter"), SLIP.repeat(100)).unwrap();
    let tar = std::process::Command::new("tar")
        .args(["-cf", "other.tar", SLIP])
        .current_dir(&work)
        .status();
    assert!(tar.unwrap().success());
    let whole = fs::read(work.join("other.tar")).unwrap();
    fs::write(work.join("short.tar"), &whole[..1000]).unwrap();
    fs::write(work.join("empty"), "").unwrap();
    for file in ["letter", "other.tar", "short.tar", "empty"] {
        for command in [&["backup", "verify"][..], &["--vault", "elsewhere", "backup", "restore"]] {
            let out = agent(&lab, &[command, &[file]].concat());
            let (code, reason, message, hint) = failed(&out);
            let of_form = if file == "letter" { (65, "backup_file") } else { (71, "backup") };
            assert_eq!((code, reason.as_str()), of_form, "{out:?}");
            assert!(
                message.contains(file) && hint.contains("`backup create` wrote"),
                "{message}: {hint}"
            );
            assert!(!holds(&out.stdout, SLIP) && !message.contains("cksum"), "{message}");
        }
    }
    let (code, _, message, hint) = failed(&agent(&lab, &["backup", "verify", "/nope.tar"]));
    assert!(
        code == 65 && message.contains("/nope.tar") && hint.contains("`backup create` wrote"),
        "{message}: {hint}"
    );
}

#[test]
fn a_daemon_that_a_command_starts_is_called_by_its_name_in_a_list_of_processes() {
    let home = hw_tests::harness::Home::new(product()).unwrap();
    let out = home.run(["--json", "status"]).unwrap();
    let status: Value = serde_json::from_slice(&out.stdout).unwrap();
    let pid = i32::try_from(status["pid"].as_i64().unwrap()).unwrap();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::TERM).unwrap();
    assert_eq!(name, "touchlease\n");
}

#[test]
fn a_configuration_is_read_when_it_changes_and_its_fault_is_shown_by_status() {
    let mut lab = Lab::new();
    drop(lab.daemon.take());
    fs::remove_file(lab.socket()).unwrap();
    lab.daemon = Some(lab.home.daemon_configured(lab.reach.clone(), lab.clock.clone()).unwrap());
    let file = lab.home.places().unwrap().config;
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    assert!(agent(&lab, &["list"]).status.success());
    for text in ["vault = \"vault\"\n", "[limits]\nttl = \"9h\"\n", "nonsense"] {
        fs::write(&file, text).unwrap();
        let (code, reason, message, _) = failed(&agent(&lab, &["list"]));
        assert_eq!((code, reason.as_str()), (65, "config"), "{message}");
        let faults = &lab.status()["faults"];
        assert!(faults[0].as_str().unwrap().contains("config.toml"), "{faults}");
        let shown = lab.agent_to_its_end(&["status"]);
        assert!(shown.status.success() && holds(&shown.stderr, "config.toml"), "{shown:?}");
        assert!(agent(&lab, &["lock"]).status.success(), "what ends leases needs no configuration");
        let found = agent(&lab, &["doctor"]);
        assert!(holds(&found.stdout, "\"reason\":\"config\""), "{found:?}");
    }
    let nodes = std::process::Command::new("mkfifo").arg(file.with_extension("fifo")).status();
    assert!(nodes.unwrap().success());
    fs::rename(file.with_extension("fifo"), &file).unwrap();
    assert_eq!(failed(&agent(&lab, &["list"])).1, "config", "nobody waits for a pipe");
    fs::remove_file(&file).unwrap();
    fs::write(&file, "[limits]\nlongest_ttl = \"30m\"\n").unwrap();
    assert_eq!(lab.status().get("faults"), None);
    let long = agent(&lab, &["run", "--with", "prod/TOKEN", "--ttl", "1h", "--", "true"]);
    assert_eq!(failed(&long).1, "ttl_over_cap", "the limit holds from the next request on");
    fs::write(&file, "vault = \"/nowhere/vault\"\n").unwrap();
    assert_eq!(failed(&agent(&lab, &["list"])).1, "no_vault");
}

#[test]
fn a_configuration_is_read_whole_or_not_at_all() {
    let home = hw_tests::harness::Home::new(product()).unwrap();
    let file = home.work().join("config.toml");
    let text = |filler: usize| format!("{}\n[limits]\nlongest_ttl = \"1m\"\nttl = \"1m\"\n", "#".repeat(filler));
    fs::write(&file, text(1 << 20)).unwrap();
    let refused = read_config(&file).unwrap_err();
    assert_eq!(refused.reason, "config");
    assert!(refused.message.ends_with("it is larger than 1024 KiB"), "{}", refused.message);
    fs::write(&file, text(1 << 19)).unwrap();
    assert_eq!(read_config(&file).unwrap().limits.longest_ttl.as_secs(), 60);
}

/// Connections that say nothing: the daemon ends each after ten seconds.
fn held(lab: &Lab, count: usize) -> Vec<UnixStream> {
    (0..count).map(|_| UnixStream::connect(lab.socket()).unwrap()).collect()
}

#[test]
fn the_257th_connection_is_told_why_it_is_not_served() {
    let lab = Lab::new();
    let most = held(&lab, 256);
    let (code, reason, message, hint) = failed(&agent(&lab, &["list"]));
    assert_eq!((code, reason.as_str()), (69, "too_many_connections"), "{message}");
    assert!(message.contains("256") && hint.contains("touchlease lock"), "{message}: {hint}");
    drop(most);
    lab.until("room", || agent(&lab, &["list"]).status.success());
}

#[test]
fn p4_t12_connections_that_are_held_keep_nobody_from_ending_leases() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let lease = |lab: &Lab| {
        let mut caller = lab.call(&lease_call(json!({})));
        let reply = caller.reply().unwrap();
        (reply["lease"]["id"].as_str().unwrap().to_owned(), caller)
    };
    let (first, second, _third) = (lease(&lab), lease(&lab), lease(&lab));
    let most = held(&lab, 256);
    assert_eq!(lab.status()["leases"], 3);
    for (arguments, left) in [
        (&["lease", "end", &first.0][..], 2),
        (&["lease", "revoke", &second.0], 1),
        (&["lock"], 0),
    ] {
        let done = agent(&lab, arguments);
        assert!(done.status.success(), "{arguments:?}: {done:?}");
        assert_eq!(lab.status()["leases"], left, "{arguments:?}");
    }
    // Nor does whoever says nothing on those that are kept for this; one of them makes room, and is told another way.
    let all = held(&lab, 256 + 8);
    let done = agent(&lab, &["lock"]);
    assert!(done.status.success(), "{done:?}");
    let told = |mut stream: &UnixStream| {
        let mut said = String::new();
        stream.set_nonblocking(true).unwrap();
        // It ends with the daemon's word, or with none so far.
        stream.read_to_string(&mut said).ok();
        said.contains("too_many_connections") && said.contains(&format!("kill {}", std::process::id()))
    };
    assert!(all.iter().any(told));
    drop((most, all));
}

#[test]
fn p4_t12_a_process_that_takes_every_connection_again_and_again_keeps_nobody_from_locking() {
    let lab = Lab::new();
    let most = held(&lab, 256);
    let (flood, over) = (lab.socket(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            // What the daemon has not ended stays: only its guests' places that it takes back are there for anybody.
            let is_open = |mut stream: &UnixStream| {
                stream.set_nonblocking(true).unwrap();
                matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
            };
            let mut held = vec![];
            while !over.load(Ordering::Relaxed) {
                held.extend(UnixStream::connect(&flood));
                if held.len() > 400 {
                    held.retain(is_open);
                }
            }
        });
        let done: Vec<Output> = (0..3).map(|_| agent(&lab, &["lock"])).collect();
        over.store(true, Ordering::Relaxed);
        assert!(done.iter().all(|done| done.status.success()), "{done:?}");
    });
    drop(most);
}

#[test]
fn a_key_of_another_vault_is_named_by_its_place_and_not_at_all_while_keys_are_enrolled() {
    let lab = Lab::new();
    let spare = lab.reach.add().unwrap();
    let shown = lab.person(&["key", "add", "spare"]);
    assert!(!shown.contains("not enrolled"), "{shown}");
    let shown = lab.person(&["key", "remove", "spare"]);
    assert!(!shown.contains("not enrolled"), "{shown}");
    lab.key.never().unwrap();
    let mut terminal = lab.home.terminal(["run", "--with", "prod/TOKEN", "--", "true"]).unwrap();
    let said = terminal.expect("is not enrolled in this vault").unwrap();
    let (_, place) = said.rsplit_once("the key at ").unwrap();
    let place = place.split(" is not").next().unwrap();
    let listed = lab.agent_to_its_end(&["--json", "key", "list"]);
    assert!(holds(&listed.stdout, &format!("\"place\":\"{place}\"")), "{place:?}: {listed:?}");
    drop((terminal, spare));
}

#[test]
fn edit_keeps_the_rules_that_it_does_not_name_and_takes_them_off_where_that_is_asked_for() {
    let lab = Lab::new();
    let rules = || {
        let out = agent(&lab, &["list", "prod"]);
        let listed: Value = serde_json::from_slice(&out.stdout).unwrap();
        let found = listed["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["secret"] == "prod/TOKEN");
        found.unwrap()["rules"].clone()
    };
    let fresh = rules();
    lab.person(&["edit", "prod/TOKEN", "--max-ttl", "10m", "--max-uses", "3"]);
    lab.person(&["edit", "prod/TOKEN", "--max-ttl", "5m"]);
    assert_eq!(
        (&rules()["ttl"], &rules()["uses"]),
        (&json!(300), &json!(3)),
        "what is not named stays"
    );
    lab.person(&["edit", "prod/TOKEN", "--host", "a.example"]);
    assert_eq!(
        (&rules()["hosts"], &rules()["deliveries"]),
        (&json!(["a.example"]), &json!(["proxy"]))
    );
    lab.person(&["edit", "prod/TOKEN", "--reset-rules", "--max-uses", "2"]);
    let reset = rules();
    assert_eq!((&reset["uses"], &reset["ttl"]), (&json!(2), &fresh["ttl"]), "{reset}");
    lab.person(&["edit", "prod/TOKEN", "--reset-rules"]);
    assert_eq!(rules(), fresh);
}

#[test]
fn who_joins_a_live_lease_is_told_what_is_left_and_which_limits_do_not_apply() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let asked = lab.child(&["lease", "request", "--with", "prod/TOKEN", "--ttl", "2m"]);
    assert!(asked.wait_with_output().unwrap().status.success());
    let said = |arguments: &[&str]| {
        let out = lab.child(arguments).wait_with_output().unwrap();
        assert!(out.status.success(), "{arguments:?}: {out:?}");
        let said = String::from_utf8(out.stderr).unwrap();
        said.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    };
    let both = said(&["run", "--with", "prod/TOKEN", "--ttl", "1h", "--uses", "1", "--", "true"]);
    assert!(
        both.contains("joined a live lease: 1 min ") && both.contains("--ttl and --uses of this request do not apply"),
        "{both}"
    );
    let one = said(&["run", "--with", "prod/TOKEN", "--uses", "1", "--", "true"]);
    assert!(one.contains("left; --uses of this request does not apply"), "{one}");
    let none = said(&["run", "--with", "prod/TOKEN", "--", "true"]);
    assert!(!none.contains("joined"), "{none}");
    let asked = said(&["lease", "request", "--with", "prod/TOKEN", "--ttl", "1h"]);
    assert!(
        asked.contains("joined a live lease") && asked.contains("--ttl of this request does not apply"),
        "{asked}"
    );
    let asked = lab.child(&["--json", "lease", "request", "--with", "prod/TOKEN", "--ttl", "1h"]);
    let out = asked.wait_with_output().unwrap();
    assert!(holds(&out.stdout, "\"joined\":true"), "{out:?}");
}
