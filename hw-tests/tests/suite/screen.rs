//! What a person sees, in a real terminal emulator: prompts at two widths, and a leased program under job control.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use hw_tests::{
    harness::{AGENT, Terminal},
    key::KeyHandle,
};
use serde_json::json;

use crate::lab::{Lab, PATIENCE, lease_call, product, until};

/// A tmux server of its own, with one window. Its socket lies in the lab's home, and goes with it.
pub struct Tmux(String);

impl Tmux {
    fn start(lab: &Lab, columns: u32, command: &[&str]) -> Self {
        Self::sized(lab, (columns, 30), command)
    }

    pub fn sized(lab: &Lab, (columns, rows): (u32, u32), command: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tmux-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let tmux = Self(lab.home.path().join(name).display().to_string());
        let environment = lab.home.command([""; 0]);
        let mut start = Command::new("tmux");
        start
            .args([
                "-S",
                &tmux.0,
                "-f",
                "/dev/null",
                "new-session",
                "-d",
                "-x",
                &columns.to_string(),
                "-y",
                &rows.to_string(),
            ])
            .args(command);
        start
            .env_clear()
            .envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
        start.env("TERM", "screen-256color").current_dir(lab.home.work());
        // The session must not be that of the test: who shares a terminal with a screen is not shown on it.
        assert!(start.process_group(0).status().unwrap().success());
        tmux
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new("tmux").args(["-S", &self.0]).args(arguments).output().unwrap()
    }

    /// All that was written.
    fn lines(&self) -> Vec<String> {
        self.captured(&["-S", "-200"])
    }

    /// What is to be seen without scrolling.
    pub fn visible(&self) -> Vec<String> {
        self.captured(&[])
    }

    fn captured(&self, range: &[&str]) -> Vec<String> {
        let out = self.run(&[&["capture-pane", "-p"], range].concat());
        String::from_utf8_lossy(&out.stdout)
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    fn until(&self, text: &str) -> Vec<String> {
        until(&format!("{text:?} on the screen"), || {
            self.lines().iter().any(|line| line.contains(text))
        });
        self.lines()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

#[test]
fn a_prompt_is_readable_at_80_and_at_50_columns() {
    for columns in [80, 50] {
        let lab = Lab::new();
        let watch = product().display().to_string();
        let screen = Tmux::start(&lab, columns, &[&watch, "watch"]);
        screen.until("requests appear here");
        lab.until("the screen", || lab.status()["screens"] == 1);
        lab.key.never().unwrap();
        let reason = "Publish the release notes of version 2 on the site that everybody reads, then tell the channel";
        let mut first = lab.call(&lease_call(
            json!({"reason": reason, "command": ["./deploy.sh", "--all"], "ttl": 5400, "uses": 3}),
        ));
        assert!(lab.key.await_asked(PATIENCE).unwrap());
        let lines = screen.until("touch \"blue\"");
        let text = lines.join("\n");
        println!("{text}");
        let flat = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        for part in [
            "prod/TOKEN",
            "tell the channel",
            "./deploy.sh --all",
            "1 h 30 min",
            "3 uses",
            "words",
            "touch \"blue\"",
            "s left",
        ] {
            assert!(flat.contains(part), "{part:?} is missing at {columns} columns:\n{text}");
        }
        assert!(lines.iter().all(|line| line.chars().count() <= columns as usize), "{text}");
        // Time runs in its own place: nothing scrolls, nothing is drawn twice.
        let left = |lines: &[String]| lines.iter().filter(|line| line.contains("s left")).count();
        let before = lines.iter().position(|line| line.contains("s left"));
        let second = lines.iter().find(|line| line.contains("s left")).cloned();
        until("a second", || {
            screen.lines().iter().find(|line| line.contains("s left")).cloned() != second
        });
        let after = screen.lines();
        assert_eq!(
            (left(&after), after.iter().position(|line| line.contains("s left"))),
            (1, before),
            "{after:?}"
        );
        // A second request is counted, and the first one's answer takes the place of what ran.
        let mut second = lab.call(&lease_call(json!({})));
        screen.until("1 more waiting");
        screen.run(&["send-keys", "d"]);
        assert_eq!(first.reply().unwrap()["outcome"], "denied");
        screen.until("denied");
        second.kill();
        screen.run(&["send-keys", "q"]);
    }
}

/// What has to be seen before a touch.
const MUST: [&str; 5] = ["asks for a lease", "prod/TOKEN", "1 h 30 min", "words", "touch \"blue\""];

#[test]
fn no_key_is_armed_before_what_must_be_seen_fits_the_terminal() {
    let lab = Lab::new();
    let watch = product().display().to_string();
    lab.key.never().unwrap();
    let reason = "Publish the release notes of version 2 on the site that everybody reads, then tell the channel";
    let call = lease_call(json!({"reason": reason, "command": ["./deploy.sh", "--all"], "ttl": 5400, "uses": 3}));
    for (columns, rows) in [(80, 24), (60, 15), (40, 10)] {
        lab.clock.suspend(std::time::Duration::from_secs(700));
        let screen = Tmux::sized(&lab, (columns, rows), &[&watch, "watch"]);
        screen.until("requests appear here");
        lab.until("the screen", || lab.status()["screens"] == 1);
        let asked = lab.key.counts().unwrap().asked;
        let mut first = lab.call(&call);
        screen.until("touch \"blue\"");
        let text = screen.visible().join("\n");
        println!("{columns}x{rows}\n{text}");
        let flat = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        for part in MUST {
            assert!(flat.contains(part), "{part:?} is not to be seen at {columns}x{rows}:\n{text}");
        }
        assert_eq!(lab.key.counts().unwrap().asked, asked + 1);
        // Enlarged, the whole request is there.
        screen.run(&["resize-window", "-x", "100", "-y", "40"]);
        screen.until("./deploy.sh --all");
        screen.run(&["send-keys", "d"]);
        assert_eq!(first.reply().unwrap()["outcome"], "denied");
        screen.until("denied");
    }
    lab.clock.suspend(std::time::Duration::from_secs(700));
    let screen = Tmux::sized(&lab, (40, 6), &[&watch, "watch"]);
    screen.until("requests appear here");
    lab.until("the screen", || lab.status()["screens"] == 1);
    let asked = lab.key.counts().unwrap().asked;
    let reply = lab.call(&call).reply().unwrap();
    assert_eq!(reply["reason"], "screen_small");
    let message = reply["message"].as_str().unwrap();
    assert!(message.contains("needs ") && message.contains(" lines, has 6"), "{message}");
    let text = screen.visible().join(" ");
    println!("{text}");
    assert!(text.contains("not armed") && text.contains("Enlarge"), "{text}");
    assert_eq!(lab.key.counts().unwrap().asked, asked, "the key was armed");
}

#[test]
fn t10_what_is_asked_at_a_terminal_that_somebody_made_for_it_stands_on_the_watch_and_is_denied_there() {
    let lab = Lab::new();
    lab.key.never().unwrap();
    let watch = product().display().to_string();
    // So wide that all but the last letter of what follows fits into one line.
    let screen = Tmux::start(&lab, 90, &[&watch, "watch"]);
    screen.until("requests appear here");
    lab.until("the screen", || lab.status()["screens"] == 1);
    let path = lab.home.work().join("loot.json").display().to_string();
    let export = lab.home.terminal(["export", "--scope", "prod", "--out", &path]).unwrap();
    let text = screen.until("touch \"blue\"").join("\n");
    println!("{text}");
    let flat = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "takes everything out",
        "asked at another terminal, pts/",
        "if you did not ask there, d",
    ] {
        assert!(flat.contains(part), "{part:?} is not on the watch:\n{text}");
    }
    assert!(text.lines().all(|line| line.trim() != "d"), "{text}");
    screen.run(&["send-keys", "d"]);
    let (status, shown) = export.finish().unwrap();
    assert_eq!(status.code(), Some(60), "{shown}");
    assert!(!std::path::Path::new(&path).exists());
    // A watch on which it does not fit lets nothing be armed at the other terminal either.
    lab.clock.suspend(std::time::Duration::from_secs(700));
    screen.run(&["resize-window", "-x", "40", "-y", "5"]);
    let asked = lab.key.counts().unwrap().asked;
    let export = lab.home.terminal(["--json", "export", "--scope", "prod", "--out", &path]).unwrap();
    let (status, shown) = export.finish().unwrap();
    assert!(status.code() == Some(67) && shown.contains("not_on_watch"), "{shown}");
    assert_eq!(lab.key.counts().unwrap().asked, asked, "the key was armed");
}

#[test]
fn t10_a_terminal_that_an_agent_has_is_no_screen() {
    let lab = Lab::new();
    let before = lab.key.counts().unwrap().asked;
    let shell = lab.home.work().join(AGENT);
    std::fs::copy("/bin/sh", &shell).unwrap();
    let by_name = |arguments: &str| {
        let environment = lab.home.command([""; 0]);
        let mut command = Command::new(&shell);
        command.args(["-c", &format!("'{}' --json {arguments}; exit $?", product().display())]);
        command.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(lab.home.work());
        command
    };
    let by_label = |arguments: &str| {
        let mut command = lab.home.command(["--json"].into_iter().chain(arguments.split(' ')));
        command.env("CLAUDECODE", "1");
        command
    };
    for (arguments, reason) in [
        ("rm prod/TOKEN", "no_screen"),
        ("export --scope prod --out loot", "no_terminal"),
        ("watch", "agents_screen"),
    ] {
        for command in [by_name(arguments), by_label(arguments)] {
            let (status, shown) = Terminal::start(&command).unwrap().finish().unwrap();
            assert!(
                status.code() == Some(67) && shown.contains(&format!("{reason:?}")),
                "{arguments}: {shown}"
            );
            assert!(!shown.contains("requests appear here"), "{shown}");
            assert!(reason != "no_screen" || shown.contains("`touchlease watch`"), "{shown}");
        }
    }
    assert_eq!(lab.key.counts().unwrap().asked, before, "the key was armed");
    // On the person's watch it is shown, and nowhere else.
    let mut watch = lab.home.watch().unwrap();
    let removed = Terminal::start(&by_label("rm prod/TOKEN")).unwrap();
    let card = watch.expect("approved").unwrap();
    assert!(card.contains("(CLAUDECODE)") && !card.contains("another terminal"), "{card}");
    let (status, shown) = removed.finish().unwrap();
    assert!(status.success() && !shown.contains("s left   d deny"), "{shown}");
}

#[test]
fn t10_a_request_that_does_not_fit_any_more_disarms_the_key_until_it_fits_again() {
    let lab = Lab::new();
    lab.key.never().unwrap();
    let watch = product().display().to_string();
    let screen = Tmux::sized(&lab, (100, 30), &[&watch, "watch"]);
    screen.until("requests appear here");
    lab.until("the screen", || lab.status()["screens"] == 1);
    let mut caller = lab.call(&lease_call(json!({})));
    assert!(lab.key.await_asked(PATIENCE).unwrap());
    let asked = lab.key.counts().unwrap().asked;
    screen.run(&["resize-window", "-x", "20", "-y", "5"]);
    screen.until("not armed");
    // The worker tells the key to stop, and drains it.
    until("the key to be left alone", || {
        !lab.key.await_asked(std::time::Duration::from_millis(50)).unwrap()
    });
    assert!(!lab.key.press().unwrap(), "the key was armed");
    assert_eq!(lab.status()["prompts"], 1);
    screen.run(&["resize-window", "-x", "100", "-y", "30"]);
    assert!(lab.key.await_asked(PATIENCE).unwrap());
    assert_eq!(lab.key.counts().unwrap().asked, asked + 1);
    screen.until("touch \"blue\"");
    assert!(lab.key.press().unwrap());
    assert_eq!(caller.reply().unwrap()["reply"], "granted");
    assert_eq!((lab.count("approved"), lab.count("extra_touch")), (1, 0));
}

#[test]
fn a_change_of_the_roster_says_who_asks_and_what_changes() {
    for columns in [80, 40] {
        let lab = Lab::new();
        lab.reach.add().unwrap();
        for (arguments, parts) in [
            (
                "key add spare",
                [
                    "changes who may open the vault",
                    "adds key \"spare\" (touch only) to prod, dev",
                    "then \"blue\" (touch only) opens prod, dev",
                ],
            ),
            (
                "key remove spare",
                ["changes who may open the vault", "removes key \"spare\"", "re-keys prod, dev"],
            ),
        ] {
            let script = format!("'{}' {arguments}; echo it-ended; sleep 60", product().display());
            let screen = Tmux::start(&lab, columns, &["sh", "-c", &script]);
            let lines = screen.until("it-ended");
            let text = lines.join("\n");
            println!("{text}");
            let flat = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            for part in parts {
                assert!(flat.contains(part), "{part:?} is missing at {columns} columns:\n{text}");
            }
            assert!(lines.iter().all(|line| line.chars().count() <= columns as usize), "{text}");
        }
    }
}

#[test]
fn a_watch_that_is_left_while_a_request_stands_leaves_no_countdown() {
    let lab = Lab::new();
    lab.key.never().unwrap();
    let script = format!("'{}' watch; echo it-ended; sleep 60", product().display());
    let screen = Tmux::start(&lab, 80, &["sh", "-c", &script]);
    screen.until("requests appear here");
    lab.until("the screen", || lab.status()["screens"] == 1);
    let mut caller = lab.call(&lease_call(json!({})));
    screen.until("touch \"blue\"");
    screen.run(&["send-keys", "q"]);
    let text = screen.until("it-ended").join("\n");
    assert!(text.contains("not watched here any more") && !text.contains("d deny\n"), "{text}");
    assert!(!text.contains("it blinks"), "{text}");
    assert_eq!(caller.reply().unwrap()["reason"], "screen_gone");
}

#[test]
fn what_a_log_vouches_for_is_broken_between_words() {
    let lab = Lab::new();
    let said: serde_json::Value = serde_json::from_slice(&lab.agent_to_its_end(&["--json", "audit", "verify"]).stdout).unwrap();
    let standing = said["standing"].as_str().unwrap();
    for columns in [90, 40] {
        let script = format!("'{}' audit verify; echo it-ended; sleep 60", product().display());
        let lines = Tmux::start(&lab, columns, &["sh", "-c", &script]).until("it-ended");
        assert!(lines.join(" ").contains(standing), "{lines:?}");
    }
}

#[test]
fn what_a_key_was_waited_for_with_is_gone_once_it_is_there() {
    let lab = Lab::empty(touchlease::config::Config::default());
    lab.key.pull().unwrap();
    lab.key.never().unwrap();
    let script = format!("'{}' init; echo it-ended; sleep 60", product().display());
    let screen = Tmux::start(&lab, 80, &["sh", "-c", &script]);
    screen.until("plug in the key to enrol");
    lab.key.plug().unwrap();
    let text = screen.until("now: it blinks").join("\n");
    assert!(!text.contains("plug in"), "{text}");
    assert!(text.contains("touch 1 of 4") && text.contains("4 in all"), "{text}");
}

#[test]
fn job_control_resize_and_colours_pass_through_a_leased_program() {
    let lab = Lab::new();
    lab.put("prod/TOKEN", b"supersecret1", &[]);
    // A job in the background is asked for on another screen.
    let _watch = lab.home.watch().unwrap();
    // The helper drives `COMMAND -- PROGRAM`; each program is one more prompt at the person's own terminal, touched at once.
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tmux-run");
    let environment = lab.home.command([""; 0]);
    let mut drive = Command::new(script);
    drive.args([&product().display().to_string(), "run", "--with", "prod/TOKEN"]);
    drive
        .env_clear()
        .envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(lab.home.work());
    let out = drive.output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    println!("{said}");
    assert!(
        out.status.success() && said.matches("ok    ").count() == 19,
        "{said}{}",
        String::from_utf8_lossy(&out.stderr)
    );
}
