//! The end of a lease: time on a clock that nobody sets, the person's word, the holder's end.

use std::{
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

use hw_tests::key::KeyHandle;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use touchlease::config::{Config, Limits};

use crate::lab::{CANARY, Lab, error_of, holds, lease_call};

const HOUR: i64 = 3_600_000;

/// A lease that its caller holds, and the caller.
fn held(lab: &Lab, more: Value) -> crate::lab::Caller {
    let mut caller = lab.call(&lease_call(more));
    let reply = caller.reply().unwrap();
    assert_eq!(reply["reply"], "granted", "{reply}");
    caller
}

fn why(caller: &mut crate::lab::Caller) -> String {
    caller.hear(|line| line["event"] == "ended").unwrap()["why"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn refusal(lab: &Lab) -> Value {
    lab.call(&lease_call(json!({}))).reply().unwrap()
}

#[test]
fn t14_a_clock_set_forward_ends_leases_and_none_is_issued_until_it_is_right() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let mut caller = held(&lab, json!({"ttl": 600}));
    lab.clock.set_by(24 * HOUR);
    assert_eq!(why(&mut caller), "expired");
    let said = refusal(&lab);
    assert_eq!(
        (said["outcome"].as_str(), said["reason"].as_str()),
        (Some("refused"), Some("clock")),
        "{said}"
    );
    assert!(said["message"].as_str().unwrap().contains("ahead"), "{said}");
    assert!(said["hint"].as_str().unwrap().contains("clock"), "{said}");
    lab.clock.set_by(-24 * HOUR);
    held(&lab, json!({}));
}

#[test]
fn t14_a_clock_set_back_keeps_no_lease_alive_and_none_is_issued() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let mut caller = held(&lab, json!({"ttl": 600}));
    lab.clock.set_by(-HOUR);
    let said = refusal(&lab);
    assert_eq!(
        (said["outcome"].as_str(), said["reason"].as_str()),
        (Some("refused"), Some("clock")),
        "{said}"
    );
    assert!(said["message"].as_str().unwrap().contains("earlier"), "{said}");
    // Ten minutes later by the clock that nobody sets; the wall clock is still in the past.
    lab.clock.suspend(Duration::from_secs(601));
    assert_eq!(why(&mut caller), "expired");
    assert_eq!(lab.status()["leases"], 0);
}

#[test]
fn t14_a_clock_at_the_epoch_issues_nothing() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let touches = lab.key.counts().unwrap().given;
    lab.clock.set_by(i64::MIN / 2);
    let said = refusal(&lab);
    assert_eq!(
        (said["outcome"].as_str(), said["reason"].as_str()),
        (Some("refused"), Some("clock")),
        "{said}"
    );
    assert_eq!(lab.key.counts().unwrap().given, touches, "nobody was asked for a touch");
}

#[test]
fn t15_a_lease_ends_while_the_machine_sleeps() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let mut caller = held(&lab, json!({"ttl": 3600}));
    lab.clock.suspend(Duration::from_secs(3601));
    assert_eq!(why(&mut caller), "expired");
    // Both clocks went on together: that is no reason for distrust.
    held(&lab, json!({}));
}

fn task(lab: &Lab, at_end: &str) {
    let file = format!(
        "[task.job]\nabout = \"a long job\"\nttl = \"2s\"\nat_end = \"{at_end}\"\n\n[[task.job.grant]]\nsecret = \"prod/TOKEN\"\nvia = \"env\"\nenv = \"TOKEN\"\n"
    );
    std::fs::write(lab.home.work().join("touchlease.toml"), file).unwrap();
}

/// A child that says which signal ended it, and how long it lived. No shell traps what was ignored when it started, as SIGINT is
/// below a script that runs its tests in the background.
fn job(lab: &Lab, script: &str) -> (Output, Duration) {
    let since = Instant::now();
    let shell = ["env", "--default-signal", "sh", "-c", script];
    let out = lab.agent_to_its_end(&[&["run", "--task", "job", "--"][..], &shell].concat());
    (out, since.elapsed())
}

#[test]
fn t16_a_child_is_terminated_interrupted_or_killed_as_its_task_says() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let script = "trap 'echo got TERM; exit 5' TERM; trap 'echo got INT; exit 6' INT; while :; do sleep 0.05; done";
    for (at_end, code, said) in [
        ("terminate", Some(5), "got TERM\n"),
        ("interrupt", Some(6), "got INT\n"),
        ("kill", None, ""),
    ] {
        task(&lab, at_end);
        let (out, _) = job(&lab, script);
        assert_eq!(
            (
                out.status.code().filter(|code| *code < 128),
                String::from_utf8_lossy(&out.stdout).as_ref()
            ),
            (code, said),
            "{out:?}"
        );
        assert!(holds(&out.stderr, "the lease is over (expired)"), "{out:?}");
    }
}

#[test]
fn t16_a_child_that_ignores_it_is_killed_after_its_grace() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    task(&lab, "terminate");
    let (out, lived) = job(&lab, "trap '' TERM INT HUP; while :; do sleep 0.05; done");
    assert!(!out.status.success(), "{out:?}");
    assert!(lived > Duration::from_secs(2) && lived < Duration::from_secs(30), "{lived:?}");
    assert!(lab.events().iter().any(|(name, event)| name == "ended" && event["why"] == "time"));
}

#[test]
fn t16_t45_a_command_whose_run_is_killed_ends_as_its_task_says_and_the_next_run_removes_its_files() {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let lab = Lab::in_memory(memory.path());
    let _watch = lab.home.watch().unwrap();
    let file = "[task.job]\nabout = \"a long job\"\nat_end = \"interrupt\"\n\n[[task.job.grant]]\nsecret = \"prod/TOKEN\"\nvia = \"file\"\nenv = \"KEY\"\n";
    std::fs::write(lab.home.work().join("touchlease.toml"), file).unwrap();
    let script = "trap 'echo INT > said; exit' INT; sleep 600 & echo $PPID $! $KEY > new; mv new started; while :; do sleep 0.05; done";
    let run = lab.agent(&["run", "--task", "job", "--", "env", "--default-signal", "sh", "-c", script]);
    let started = lab.home.work().join("started");
    lab.until("the child", || started.exists());
    let told = std::fs::read_to_string(started).unwrap();
    let [pid, below, key] = told.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{told}")
    };
    let children = || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    lab.until("the leash", || children().split_whitespace().count() == 2);
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    // Nobody has our outputs open for longer than the command has.
    run.wait_with_output().unwrap();
    let said = lab.home.work().join("said");
    lab.until("the signal of its task", || {
        std::fs::read_to_string(&said).is_ok_and(|said| said == "INT\n")
    });
    lab.until("the end of what it started", || !std::path::Path::new("/proc").join(below).exists());
    assert_eq!(std::fs::read_to_string(key).unwrap(), CANARY);
    let named = || {
        let out = lab.agent_to_its_end(&["--json", "doctor"]);
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        let found = said["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|finding| finding["reason"] == "left_private_files");
        found.map(|finding| finding["remedy"].as_str().unwrap().to_owned())
    };
    let folder = std::path::Path::new(key).parent().unwrap();
    assert_eq!(named().unwrap(), format!("rm -r {}", folder.display()));
    assert!(
        lab.agent_to_its_end(&["run", "--with", "prod/TOKEN", "--", "true"])
            .status
            .success()
    );
    assert!(!folder.exists());
    assert_eq!(named(), None);
}

#[test]
fn t16_a_run_says_what_its_command_left_running() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let script = "(setsid sleep 600 >&- 2>&- & echo $! > left); exit 4";
    let out = lab.agent_to_its_end(&["run", "--with", "prod/TOKEN", "--", "sh", "-c", script]);
    assert_eq!(out.status.code(), Some(4), "{out:?}");
    assert!(holds(&out.stderr, "the command left a process running"), "{out:?}");
    let left = std::fs::read_to_string(lab.home.work().join("left")).unwrap();
    assert!(!std::path::Path::new("/proc").join(left.trim()).exists());
}

#[test]
fn t16_a_program_in_a_session_on_a_terminal_ends_with_its_lease() {
    let lab = Lab::new();
    // The process in the background leaves the terminal, the session, and its parents.
    let script =
        "(setsid sleep 600 & echo $! > left); trap 'echo got TERM; exit 5' TERM; echo reading $TOKEN; while :; do sleep 0.05; done";
    let run = ["run", "--with", "prod/TOKEN", "--ttl", "90s", "--", "sh", "-c", script];
    let mut terminal = lab.home.terminal(run).unwrap();
    terminal.expect("approved").unwrap();
    terminal.expect("reading <touchlease:prod/TOKEN>").unwrap();
    lab.clock.suspend(Duration::from_secs(91));
    terminal.expect("got TERM").unwrap();
    let (status, shown) = terminal.finish().unwrap();
    assert!(status.code() == Some(5) && shown.contains("the lease is over (expired)"), "{shown}");
    assert_eq!(lab.status()["leases"], 0);
    let left = std::fs::read_to_string(lab.home.work().join("left")).unwrap();
    assert!(!std::path::Path::new("/proc").join(left.trim()).exists());
}

#[test]
fn t16_a_joined_run_ends_with_the_lease_that_it_joined() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let id = lab.lease(&["--with", "prod/TOKEN"]);
    let touches = lab.key.counts().unwrap().given;
    let run = lab.agent(&[
        "run",
        "--with",
        "prod/TOKEN",
        "--",
        "sh",
        "-c",
        "echo $TOKEN > started; exec sleep 60",
    ]);
    let started = lab.home.work().join("started");
    lab.until("the child", || std::fs::read(&started).is_ok_and(|text| !text.is_empty()));
    assert_eq!(lab.key.counts().unwrap().given, touches, "a joined lease needs no touch");
    assert_eq!(lab.agent_to_its_end(&["lease", "revoke", &id]).status.code(), Some(0));
    let out = run.wait_with_output().unwrap();
    assert!(holds(&out.stderr, "the lease is over (revoked)"), "{out:?}");
    assert_eq!(lab.status()["leases"], 0);
}

fn sleeper(lab: &Lab, ttl: &str) -> Child {
    let mut command = lab
        .home
        .detached(["run", "--with", "prod/TOKEN", "--ttl", ttl, "--", "sleep", "60"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn p99(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[(times.len() * 99).div_ceil(100) - 1], times[times.len() - 1])
}

/// How a lease ends whose child's end is timed.
#[derive(Clone, Copy, Debug)]
enum By {
    Revoking,
    Suspend,
    ClockAhead,
    ClockBack,
}

const BY: [By; 4] = [By::Revoking, By::Suspend, By::ClockAhead, By::ClockBack];

#[test]
fn p4_revoked_or_expired_is_over_for_the_child_within_a_second() {
    ends(3);
}

#[test]
#[ignore = "long"]
fn p4_revoked_or_expired_is_over_for_the_child_within_a_second_600_times() {
    ends(150);
}

/// Ends this many leases in each way, and times how long their children live on.
fn ends(of: usize) {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    for by in BY {
        let times: Vec<Duration> = (0..of).map(|_| end_of_a_child(&lab, by)).collect();
        let n = times.len();
        let (p99, max) = p99(times);
        println!(
            "P4 {by:?}: {n} of {of} ended; p99 {} ms, max {} ms",
            p99.as_millis(),
            max.as_millis()
        );
        assert!(
            p99 <= Duration::from_secs(1) && max <= Duration::from_secs(2),
            "{by:?}: p99 {p99:?}, max {max:?}"
        );
    }
}

fn end_of_a_child(lab: &Lab, by: By) -> Duration {
    // Room for another prompt, where both clocks agree.
    lab.clock.suspend(Duration::from_secs(100));
    let mut child = sleeper(lab, if matches!(by, By::Revoking) { "15m" } else { "30s" });
    lab.until("the lease", || lab.status()["leases"] == 1);
    if matches!(by, By::ClockBack) {
        lab.clock.set_by(-HOUR);
    }
    let since = Instant::now();
    match by {
        By::Revoking => assert!(lab.agent_to_its_end(&["lease", "revoke", "--all"]).status.success()),
        By::Suspend | By::ClockBack => lab.clock.suspend(Duration::from_secs(31)),
        By::ClockAhead => lab.clock.set_by(24 * HOUR),
    }
    child.wait().unwrap();
    let lived = since.elapsed();
    match by {
        By::ClockAhead => lab.clock.set_by(-24 * HOUR),
        By::ClockBack => lab.clock.set_by(HOUR),
        _ => {}
    }
    lived
}

#[test]
fn the_end_of_the_daemon_is_the_end_of_its_leases_and_is_on_record() {
    let mut lab = Lab::new();
    let watch = lab.home.watch().unwrap();
    let run = lab.agent(&["run", "--with", "prod/TOKEN", "--", "sh", "-c", "echo > started; exec sleep 60"]);
    let started = lab.home.work().join("started");
    lab.until("the child", || started.exists());
    drop(lab.daemon.take());
    let out = run.wait_with_output().unwrap();
    assert!(holds(&out.stderr, "the lease is over (daemon_stopped)"), "{out:?}");
    assert!(
        lab.events()
            .iter()
            .any(|(name, event)| name == "ended" && event["why"] == "daemon_end"),
        "{:?}",
        lab.events()
    );
    drop(watch);
}

#[test]
fn t20_a_lease_is_joined_by_its_holders_children_and_by_nobody_else() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    // The holder is a shell of its own; its child may use the lease, this test's child may not.
    let script = "touchlease lease request --with prod/TOKEN >&2 && touchlease run --with prod/TOKEN -- sh -c 'echo in $TOKEN'; echo held; read -r line";
    let path = format!(
        "{}:{}",
        crate::lab::product().parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut holder = std::process::Command::new("setsid")
        .args(["sh", "-c", script])
        .env("PATH", path)
        .envs(["HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"].map(|name| (name, lab.home.variable(name))))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let touches = lab.key.counts().unwrap().given;
    let mut said = std::io::BufReader::new(holder.stdout.take().unwrap());
    let mut lines = [String::new(), String::new()];
    for line in &mut lines {
        std::io::BufRead::read_line(&mut said, line).unwrap();
    }
    assert_eq!(lines, ["in <touchlease:prod/TOKEN>\n", "held\n"]);
    assert_eq!(lab.key.counts().unwrap().given, touches + 1);
    // Another tree, without a touch: nothing. With the lease's id: nothing either, there is no such call.
    let out = lab.call(&lease_call(json!({"join_only": true}))).reply().unwrap();
    assert_eq!(
        (out["outcome"].as_str(), out["reason"].as_str()),
        (Some("refused"), Some("no_live_lease")),
        "{out}"
    );
    lab.key.deny().unwrap();
    let out = lab.agent_to_its_end(&["--json", "run", "--with", "prod/TOKEN", "--", "sh", "-c", "echo $TOKEN"]);
    let (code, error) = error_of(&out);
    assert_eq!(code, Some(60), "{error}");
    assert!(!holds(&out.stdout, CANARY));
    // The holder's end is the lease's.
    drop(holder.stdin.take());
    holder.wait().unwrap();
    lab.until("the end", || lab.status()["leases"] == 0);
    assert!(
        lab.events()
            .iter()
            .any(|(name, event)| name == "ended" && event["why"] == "requester_gone")
    );
}

#[test]
fn t20_a_command_whose_shell_is_gone_gets_no_lease_for_whoever_adopted_it() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let given = lab.key.counts().unwrap().given;
    // The shell ends at once; what becomes the client waits until it is adopted.
    let script = "(while read -r _ _ _ parent _ < /proc/$BASHPID/stat; [ $parent -eq $$ ]; do sleep 0.05; done; exec \"$0\" --json lease request --with prod/TOKEN > reply) &";
    let mut shell = std::process::Command::new("setsid");
    shell.args(["bash", "-c", script]).arg(crate::lab::product());
    shell.current_dir(lab.home.work()).envs(
        ["HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"].map(|name| (name, lab.home.variable(name))),
    );
    assert!(shell.status().unwrap().success());
    let reply = lab.home.work().join("reply");
    let read = || serde_json::from_slice::<Value>(&std::fs::read(&reply).unwrap_or_default()).ok();
    lab.until("a reply", || read().is_some());
    let error = read().unwrap()["error"].clone();
    assert_eq!(
        (&error["outcome"], &error["reason"]),
        (&json!("refused"), &json!("no_holder")),
        "{error}"
    );
    // As an agent's child in a session of its own: its parent is of another one.
    let (code, error) = error_of(&lab.agent_to_its_end(&["--json", "lease", "request", "--with", "prod/TOKEN"]));
    assert_eq!(code, Some(62), "{error}");
    assert!(error["message"].as_str().unwrap().contains("is of another session"), "{error}");
    assert_eq!(lab.key.counts().unwrap().given, given, "nobody was to be asked");
}

/// What a program inherits besides environment and descriptors.
const INHERITED: &str = "ulimit -Sc; ulimit -Hc; ulimit -n; umask; grep -E '^Sig(Blk|Ign)' /proc/self/status";

/// What a script without a terminal, in the home's environment, says.
fn in_a_shell(lab: &Lab, script: &str) -> String {
    let like = lab.home.command([""; 0]);
    let environment = like
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let mut shell = std::process::Command::new("setsid");
    shell
        .args(["--wait", "sh", "-c", script])
        .env_clear()
        .envs(environment)
        .current_dir(lab.home.work());
    let out = shell.stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_stream_that_was_closed_is_null_for_a_leased_command_and_not_the_connection_of_its_lease() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let program = crate::lab::product().display().to_string();
    for masking in ["", "--no-masking"] {
        let command = format!("{program} run {masking} --with prod/TOKEN -- readlink /proc/self/fd/0 /proc/self/fd/2");
        let streams = in_a_shell(&lab, &format!("exec {command} <&- 2>&-"));
        let (stdin, stderr) = streams.split_once('\n').unwrap();
        assert_eq!(stdin, "/dev/null", "{masking}");
        let expected = if masking.is_empty() { "pipe:" } else { "/dev/null" };
        assert!(stderr.starts_with(expected), "{masking} {stderr}");
    }
}

#[test]
fn a_leased_command_has_the_limits_umask_and_signals_of_whoever_ran_it_but_leaves_no_core() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let program = crate::lab::product().display().to_string();
    let setting = "umask 027; ulimit -Sn 512; ulimit -Sc 1000; ulimit -Hc 2000; trap '' USR1 HUP";
    let run = |command: &str| in_a_shell(&lab, &format!("{setting}; exec env --block-signal=USR2 {command}"));
    let plain = run(&format!("sh -c '{}'", INHERITED.replace('\'', "'\\''")));
    assert!(plain.starts_with("1000\n2000\n512\n0027\n"), "{plain}");
    // T47: it has a value in it, and nobody can raise a hard limit again.
    let expected = plain.replacen("1000\n2000\n", "0\n0\n", 1);
    for masking in ["", "--no-masking"] {
        let leased = run(&format!(
            "{program} run {masking} --with prod/TOKEN -- sh -c '{}'",
            INHERITED.replace('\'', "'\\''")
        ));
        assert_eq!(leased, expected, "{masking}");
    }
}

fn unplug_lab() -> Lab {
    Lab::with(Config {
        limits: Limits {
            end_when_unplugged: true,
            ..Limits::default()
        },
        ..Config::default()
    })
}

#[test]
fn t18_a_lease_ends_when_its_key_is_pulled_out_where_the_configuration_says_so() {
    let lab = unplug_lab();
    let _watch = lab.home.watch().unwrap();
    let mut caller = held(&lab, json!({}));
    let pulled = Instant::now();
    lab.key.pull().unwrap();
    assert_eq!(why(&mut caller), "key_removed");
    assert!(pulled.elapsed() >= Duration::from_secs(3), "not debounced: {:?}", pulled.elapsed());
    assert_eq!(lab.status()["leases"], 0);
    assert!(
        lab.events()
            .iter()
            .any(|(name, event)| name == "ended" && event["why"] == "key_removed")
    );
}

#[test]
fn t18_a_key_that_is_enumerated_anew_was_not_pulled_out_and_another_one_in_its_place_is_not_it() {
    let lab = unplug_lab();
    let _watch = lab.home.watch().unwrap();
    let mut caller = held(&lab, json!({}));
    let asked = lab.key.counts().unwrap().asked;
    for _ in 0..3 {
        lab.key.pull().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        lab.key.plug().unwrap();
    }
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(lab.status()["leases"], 1, "a lease ended that should not");
    assert_eq!(lab.key.counts().unwrap().asked, asked, "somebody had to touch");
    lab.key.pull().unwrap();
    lab.reach.add().unwrap();
    assert_eq!(why(&mut caller), "key_removed");
}

#[test]
fn t18_a_setting_that_changes_while_a_prompt_stands_changes_nothing_of_what_is_signed() {
    let mut lab = Lab::new();
    drop(lab.daemon.take());
    std::fs::remove_file(lab.socket()).unwrap();
    lab.daemon = Some(lab.home.daemon_configured(lab.reach.clone(), lab.clock.clone()).unwrap());
    let file = lab.home.places().unwrap().config;
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "[limits]\nend_when_unplugged = true\n").unwrap();
    let _watch = lab.home.watch().unwrap();
    lab.key.never().unwrap();
    let mut caller = lab.call(&lease_call(json!({})));
    assert!(lab.key.await_asked(Duration::from_secs(20)).unwrap());
    std::fs::write(&file, "[limits]\nend_when_unplugged = false\n").unwrap();
    // Whoever asks next has the daemon read it.
    assert_eq!(lab.status()["prompts"], 1);
    assert!(lab.key.press().unwrap());
    assert_eq!(caller.reply().unwrap()["reply"], "granted");
    lab.key.pull().unwrap();
    assert_eq!(why(&mut caller), "key_removed");
}

#[test]
fn t18_without_the_setting_a_lease_outlives_its_keys_removal() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let _caller = held(&lab, json!({}));
    lab.key.pull().unwrap();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(lab.status()["leases"], 1);
}
