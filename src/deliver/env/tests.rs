#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::clock::SystemClock;

/// Signals are the process's: one run at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC).unwrap()
}

fn var(name: &str, value: &[u8], how: How) -> Var {
    let value = Secret::from_slice_wiping(&mut value.to_vec()).unwrap();
    Var {
        name: name.into(),
        label: format!("test/{name}"),
        value,
        how,
    }
}

fn shell(script: &str) -> Delivery {
    Delivery {
        command: ["sh", "-c", script].map(OsString::from).to_vec(),
        found: None,
        vars: vec![var("TOKEN", b"s3cr3t-token-value", How::Env)],
        plain: vec![],
        masking: true,
        at_end: AtEnd::Terminate,
        certificates: None,
        runtime_dir: None,
        walls: None,
    }
}

struct Ran {
    outcome: Result<Outcome, DeliverError>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    took: Duration,
}

impl Ran {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    fn status(&self) -> Status {
        self.outcome.as_ref().unwrap().status
    }
}

fn collect(mut from: std::fs::File) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        all
    })
}

/// Runs with pipes for all streams; the lease ends after `end`.
fn ran(delivery: &Delivery, input: &[u8], end: Option<Duration>) -> Ran {
    let _alone = alone();
    let ((stdin, mut typed), (out, stdout), (err, stderr)) = (pipe(), pipe(), pipe()).into_files();
    let (lease, ends) = pipe();
    typed.write_all(input).unwrap();
    drop(typed);
    let (out, err) = (collect(out), collect(err));
    let timer = std::thread::spawn(move || {
        if let Some(end) = end {
            std::thread::sleep(end);
            drop(ends);
            None
        } else {
            Some(ends)
        }
    });
    let streams = Streams {
        stdin: stdin.as_fd(),
        stdout: stdout.as_fd(),
        stderr: stderr.as_fd(),
    };
    let start = SystemClock.boot();
    let outcome = run(delivery, &delivery.patterns(), streams, &mut lease.as_fd(), &SystemClock);
    let took = SystemClock.boot().since(start);
    drop((stdout, stderr));
    let _held = timer.join().unwrap();
    Ran {
        outcome,
        stdout: out.join().unwrap(),
        stderr: err.join().unwrap(),
        took,
    }
}

trait IntoFiles {
    type Files;
    fn into_files(self) -> Self::Files;
}

type Ends = (OwnedFd, OwnedFd);
type Files = (std::fs::File, std::fs::File);

impl IntoFiles for (Ends, Ends, Ends) {
    type Files = (Files, Files, Files);
    fn into_files(self) -> Self::Files {
        let files = |(a, b): Ends| (a.into(), b.into());
        (files(self.0), files(self.1), files(self.2))
    }
}

#[test]
fn both_outputs_are_masked_apart_and_the_exit_code_passes() {
    let run = ran(&shell("echo \"out $TOKEN\"; echo \"err $TOKEN\" >&2; exit 7"), b"", None);
    assert_eq!(run.text(), "out <touchlease:test/TOKEN>\n");
    assert_eq!(run.stderr, b"err <touchlease:test/TOKEN>\n");
    let expected = Outcome {
        status: Status::Exited(7),
        ended_by_lease: false,
        left_running: 0,
        masked: 2,
        lost: None,
    };
    assert_eq!(run.outcome.unwrap(), expected);
}

#[test]
fn t46_a_secret_in_many_writes_is_masked_but_for_three_bytes() {
    let script = "s=$TOKEN; while [ -n \"$s\" ]; do printf %.1s \"$s\"; s=${s#?}; sleep 0.005; done";
    assert_eq!(ran(&shell(script), b"", None).text(), "s3c<touchlease:test/TOKEN>");
}

#[test]
fn stdin_passes_untouched_and_binary_output_too() {
    let bytes: Vec<u8> = (0..=255).cycle().take(40_000).collect();
    assert_eq!(ran(&shell("cat"), &bytes, None).stdout, bytes);
}

#[test]
fn a_death_by_signal_is_told_as_such() {
    let status = ran(&shell("kill -USR1 $$"), b"", None).status();
    assert_eq!(status, Status::Killed(Signal::USR1.as_raw()));
    assert_eq!(status.code(), 138);
}

#[test]
fn a_process_left_behind_with_our_pipe_does_not_keep_us() {
    let run = ran(&shell("{ sleep 3; } >&2 2>&1 & echo done"), b"", None);
    assert_eq!(run.text(), "done\n");
    assert!(run.took < Duration::from_secs(2), "{:?}", run.took);
}

#[test]
fn a_child_that_closes_its_outputs_is_waited_for() {
    assert_eq!(
        ran(&shell("exec >&- 2>&-; sleep 0.2; exit 3"), b"", None).status(),
        Status::Exited(3)
    );
}

#[test]
fn t16_the_end_of_the_lease_ends_the_child_and_what_it_started() {
    let run = ran(&shell("sleep 77.5 & echo $!; sleep 77.5"), b"", Some(Duration::from_millis(300)));
    let outcome = run.outcome.as_ref().unwrap();
    assert!(outcome.ended_by_lease);
    assert_eq!(outcome.status, Status::Killed(Signal::TERM.as_raw()));
    assert!(run.took < Duration::from_secs(3));
    let left = Pid::from_raw(run.text().trim().parse().unwrap()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let state = std::fs::read_to_string(format!("/proc/{}/stat", left.as_raw_nonzero())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z"), "{state}");
}

/// Whether it runs no more, reaped or not.
fn is_over(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.is_empty() || state.contains(") Z")
}

#[test]
fn t16_the_end_of_the_lease_reaches_a_process_whose_parents_have_gone() {
    let run = ran(
        &shell("(setsid sleep 77.5 & echo $!); sleep 77.5"),
        b"",
        Some(Duration::from_millis(400)),
    );
    let outcome = run.outcome.as_ref().unwrap();
    assert!(outcome.ended_by_lease && is_over(run.text().trim()), "{outcome:?}: {}", run.text());
}

#[test]
fn t16_a_process_that_ignores_the_end_is_killed_though_the_child_has_ended() {
    let delivery = shell("(trap '' TERM; setsid sleep 77.5 & echo $!); sleep 77.5");
    let run = ran(&delivery, b"", Some(Duration::from_millis(400)));
    assert!(is_over(run.text().trim()), "{}", run.text());
    assert_eq!(run.status(), Status::Killed(Signal::TERM.as_raw()));
}

#[test]
fn t16_what_a_command_left_running_ends_with_its_lease_but_may_end_by_itself() {
    let run = ran(&shell("(setsid sleep 77.5 >&- 2>&- & echo $!); exit 3"), b"", None);
    let expected = Outcome {
        status: Status::Exited(3),
        ended_by_lease: false,
        left_running: 1,
        masked: 0,
        lost: None,
    };
    assert_eq!(run.outcome.as_ref().unwrap(), &expected);
    assert!(is_over(run.text().trim()), "{}", run.text());
    let done = tempfile::NamedTempFile::new().unwrap();
    let script = format!("(sh -c 'sleep 0.3; echo done > {}' >&- 2>&- &)", done.path().display());
    let run = ran(&shell(&script), b"", None);
    assert_eq!(run.outcome.unwrap().left_running, 0);
    assert_eq!(std::fs::read_to_string(done.path()).unwrap(), "done\n");
}

#[test]
fn a_child_of_ours_that_was_there_before_the_command_lives_on() {
    // As the daemon, when it was this process that started it.
    let mut before = std::process::Command::new("sleep").arg("77.5").spawn().unwrap();
    let left = ran(&shell("true"), b"", None);
    assert_eq!(left.outcome.unwrap().left_running, 0);
    let ended = ran(&shell("sleep 77.5"), b"", Some(Duration::from_millis(300)));
    assert!(ended.outcome.unwrap().ended_by_lease && ended.took < Duration::from_secs(5));
    assert!(before.try_wait().unwrap().is_none());
    before.kill().unwrap();
    before.wait().unwrap();
}

#[test]
fn processes_whose_parents_have_gone_are_reaped_while_the_child_runs() {
    let script = "for n in 1 2 3; do (true &); done; sleep 0.5; cat /proc/$PPID/task/*/children | tr ' ' '\\n' | while read p; do grep Z.*zombie /proc/$p/status; done";
    assert_eq!(ran(&shell(script), b"", None).text(), "");
}

#[test]
fn t16_a_child_that_ignores_sigterm_is_killed_after_five_seconds() {
    let run = ran(
        &shell("trap '' TERM; while :; do sleep 0.2; done"),
        b"",
        Some(Duration::from_millis(200)),
    );
    assert_eq!(run.status(), Status::Killed(Signal::KILL.as_raw()));
    assert!((5.0..6.5).contains(&run.took.as_secs_f64()), "{:?}", run.took);
}

#[test]
fn t16_a_slow_reader_does_not_delay_the_end_of_the_lease() {
    let _alone = alone();
    let ((out, stdout), (lease, ends)) = (pipe(), pipe());
    let null = std::fs::File::open("/dev/null").unwrap();
    let streams = Streams {
        stdin: null.as_fd(),
        stdout: stdout.as_fd(),
        stderr: null.as_fd(),
    };
    let (pid_read, pid_write) = pipe();
    drop(pid_write);
    let delivery = Delivery {
        at_end: AtEnd::Kill,
        ..shell("exec yes")
    };
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(ends);
        std::thread::sleep(Duration::from_millis(700));
        drop((out, pid_read));
    });
    let start = SystemClock.boot();
    let outcome = run(&delivery, &delivery.patterns(), streams, &mut lease.as_fd(), &SystemClock).unwrap();
    assert!(outcome.ended_by_lease);
    assert_eq!(outcome.status, Status::Killed(Signal::KILL.as_raw()));
    assert!(SystemClock.boot().since(start) < Duration::from_secs(3));
    reader.join().unwrap();
}

#[test]
fn a_reader_that_goes_away_gives_the_child_sigpipe() {
    let _alone = alone();
    let (out, stdout) = pipe();
    drop(out);
    let (lease, _ends) = pipe();
    let null = std::fs::File::open("/dev/null").unwrap();
    let streams = Streams {
        stdin: null.as_fd(),
        stdout: stdout.as_fd(),
        stderr: null.as_fd(),
    };
    let delivery = shell("exec yes");
    let outcome = run(&delivery, &delivery.patterns(), streams, &mut lease.as_fd(), &SystemClock).unwrap();
    assert_eq!(outcome.status, Status::Killed(Signal::PIPE.as_raw()));
}

#[test]
fn signals_to_us_reach_the_child() {
    let sender = std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(300));
        let _ = kill_process(rustix::process::getpid(), Signal::USR1);
    });
    // Without a run in progress the signal would end the tests: it is sent while this one holds the lock.
    let run = ran(&shell("trap 'echo got; exit 5' USR1; while :; do sleep 0.05; done"), b"", None);
    sender.join().unwrap();
    assert_eq!((run.text().as_str(), run.status()), ("got\n", Status::Exited(5)));
}

#[test]
fn a_private_file_holds_the_value_and_goes_with_the_child() {
    let mut delivery = shell("stat -c %a \"$KEY\"; test -f \"$KEY\" && cat \"$KEY\"; echo; echo \"$KEY\"");
    delivery.vars.push(var("KEY", b"\x00binary-key-value", How::File));
    let run = ran(&delivery, b"", None);
    let text = run.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["600", "<touchlease:test/KEY>"]);
    assert!(lines[2].starts_with("/dev/shm/") && !std::path::Path::new(lines[2]).exists());
}

#[test]
fn t29_what_an_environment_cannot_hold_is_refused_before_the_start() {
    let mut delivery = shell("true");
    delivery.vars.push(var("NUL", b"a\0b", How::Env));
    assert!(matches!(ran(&delivery, b"", None).outcome, Err(DeliverError::NulInValue { .. })));
    for name in ["", "A=B", "A\0"] {
        delivery.vars = vec![var(name, b"v", How::Env)];
        assert!(matches!(ran(&delivery, b"", None).outcome, Err(DeliverError::BadName { .. })));
    }
    delivery.vars.clear();
    delivery.command = vec!["/nonexistent/program".into()];
    assert!(matches!(ran(&delivery, b"", None).outcome, Err(DeliverError::Start { .. })));
    delivery.command.clear();
    assert!(matches!(ran(&delivery, b"", None).outcome, Err(DeliverError::NoCommand)));
}

#[test]
fn without_masking_the_child_has_our_own_streams() {
    let delivery = Delivery {
        masking: false,
        ..shell("echo \"$TOKEN\"")
    };
    let run = ran(&delivery, b"", None);
    assert_eq!(run.text(), "s3cr3t-token-value\n");
    assert_eq!(run.outcome.unwrap().masked, 0);
}

#[test]
fn an_output_on_a_terminal_stays_one_with_its_size_even_of_nothing() {
    let _alone = alone();
    let null = std::fs::File::open("/dev/null").unwrap();
    for (rows, cols) in [(31, 101), (0, 0)] {
        let pair = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&pair).unwrap();
        rustix::pty::unlockpt(&pair).unwrap();
        let tty = rustix::pty::ioctl_tiocgptpeer(&pair, rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&pair, size).unwrap();
        let (lease, _ends) = pipe();
        let streams = Streams {
            stdin: null.as_fd(),
            stdout: tty.as_fd(),
            stderr: tty.as_fd(),
        };
        let delivery = shell("test -t 1 && test -t 2 && stty size <&1; printf '\\033[31m%s\\n' \"$TOKEN\"");
        run(&delivery, &delivery.patterns(), streams, &mut lease.as_fd(), &SystemClock).unwrap();
        let expected = format!("{rows} {cols}\r\n\x1b[31m<touchlease:test/TOKEN>\r\n");
        let (mut buf, mut count) = ([0; 400], 0);
        // Each write takes the kernel its time to come through.
        while count < expected.len() {
            count += rustix::io::read(&pair, &mut buf[count..]).unwrap();
        }
        assert_eq!(String::from_utf8_lossy(&buf[..count]), expected);
    }
}
