//! A daemon under strace: what it calls, and a fault at one of these calls.

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt, fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use touchlease::lease::writer::THREAD as WRITER;

use crate::harness::Home;

/// Calls that change a file, open one, or answer a client.
const TRACED: &str = "openat,openat2,open,mkdir,mkdirat,write,pwrite64,ftruncate,fsync,fdatasync,syncfs,rename,renameat,renameat2,unlink,unlinkat,linkat,sendto";
/// Longest start, with everything slowed down by the trace.
const LIMIT: Duration = Duration::from_secs(30);

/// A thread of the daemon's. Each has a strace of its own: one for both would count, and inject, in each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Thread {
    /// The one that serves; a command's only one.
    Main,
    /// The one that writes into vaults.
    Writer,
}

/// One call of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Which thread makes it.
    pub thread: Thread,
    /// Its number among the calls of this name in its thread, from 1: how strace counts. It is another one in each run: how many descriptors are
    /// looked at depends on who asks, and how often a key is asked on the time it takes.
    pub nth: u32,
    /// Where it stands among the points, which is the same in every run: the number of a call on a file among those of its name and
    /// thread, from 1; of an answer, how many calls on files came before. None of a call that is no point.
    pub place: Option<u32>,
    /// The line that strace wrote.
    pub line: String,
    /// Whether the fault hit it.
    pub cut: bool,
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed in place of the call.
    Kill,
    /// The call does nothing and fails with this error.
    Error(&'static str),
}

/// A running daemon. Killed when dropped.
pub struct Traced {
    straces: [Child; 2],
    daemon: Pid,
    home: PathBuf,
}

/// A strace of a thread, which writes its calls into this home, with a fault in store if it is one of this thread.
fn strace(thread: Thread, home: &Path, fault: Option<(&Call, Fault)>) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-y", "-s", "0", "-e", &format!("trace={TRACED}")]);
    strace.arg("--absolute-timestamps=format:unix,precision:ns");
    strace.arg("-o").arg(log(thread, home));
    if let Some((call, fault)) = fault.filter(|(call, _)| call.thread == thread) {
        strace.args(["-e", &format!("inject={}:{fault}:when={}", call.name, call.nth)]);
    }
    strace
}

fn log(thread: Thread, home: &Path) -> PathBuf {
    home.join(format!("calls-{thread:?}"))
}

/// A program under strace, which writes the calls of its main thread into this home, with a fault in store.
pub(super) fn program(program: &Command, home: &Path, fault: Option<(&Call, Fault)>) -> Command {
    let mut strace = strace(Thread::Main, home, fault);
    strace.arg(program.get_program()).args(program.get_args()).env_clear();
    let environment = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
    strace.envs(environment.map(|(name, value)| (OsString::from(name), value.to_owned())));
    strace.current_dir(program.get_current_dir().unwrap_or(Path::new("/")));
    strace
}

/// The calls that such a program, or a daemon, made in this home.
pub(super) fn read(home: &Path) -> io::Result<Vec<Call>> {
    let logs = [Thread::Main, Thread::Writer].map(|thread| (thread, fs::read(log(thread, home))));
    let mut calls = vec![];
    for (thread, log) in logs {
        match log {
            Ok(log) => calls.extend(parse(thread, &String::from_utf8_lossy(&log))),
            // A command has no writer.
            Err(error) if error.kind() == io::ErrorKind::NotFound && thread == Thread::Writer => {}
            Err(error) => return Err(error),
        }
    }
    Ok(placed(calls, &home.display().to_string()))
}

/// Attaches a strace to the daemon's writer, which has nothing to do yet.
fn attach(daemon: Pid, home: &Path, fault: Option<(&Call, Fault)>) -> io::Result<Child> {
    let task = until("the daemon has no writer", || writer(daemon))?;
    let mut strace = strace(Thread::Writer, home, fault);
    strace.arg("-p").arg(task.file_name().unwrap_or_default());
    let mut strace = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let attached = until("strace is not let at the daemon's writer", || {
        let status = fs::read_to_string(task.join("status"))?;
        Ok((!status.contains("\nTracerPid:\t0\n")).then_some(()))
    });
    if attached.is_err() {
        // It may have ended by itself.
        let _ = strace.kill();
    }
    attached.map(|()| strace)
}

/// The daemon's writer, which it starts once it listens.
fn writer(daemon: Pid) -> io::Result<Option<PathBuf>> {
    for task in fs::read_dir(format!("/proc/{}/task", daemon.as_raw_nonzero()))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim_end() == WRITER {
            return Ok(Some(task));
        }
    }
    Ok(None)
}

fn until<T>(failing: &str, mut look: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    let since = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if since.elapsed() > LIMIT {
            return Err(io::Error::other(failing.to_owned()));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

impl Traced {
    /// Starts a daemon in this home, with a fault in store.
    ///
    /// # Errors
    /// No strace; the daemon does not listen.
    pub fn start(home: &Home, fault: Option<(&Call, Fault)>) -> io::Result<Self> {
        let mut strace = program(&home.command(["daemon"]), home.path(), fault);
        let null = Stdio::null;
        let mut strace = strace.stdin(null()).stdout(null()).stderr(null()).spawn()?;
        let socket = home.places()?.socket();
        let since = Instant::now();
        loop {
            if let Ok(stream) = UnixStream::connect(&socket) {
                let daemon = rustix::net::sockopt::socket_peercred(&stream)?.pid;
                let home = home.path().to_owned();
                let straces = [strace, attach(daemon, &home, fault)?];
                return Ok(Self { straces, daemon, home });
            }
            if since.elapsed() > LIMIT || strace.try_wait()?.is_some() {
                let _ = strace.kill();
                return Err(io::Error::other("the daemon does not listen under strace"));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until it has ended, but no longer than this.
    ///
    /// # Errors
    /// strace cannot be looked at.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        let since = Instant::now();
        while since.elapsed() < at_most && self.straces[0].try_wait()?.is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Kills the daemon, and gives what it called.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub fn end(mut self) -> io::Result<Vec<Call>> {
        self.kill()?;
        read(&self.home)
    }

    fn kill(&mut self) -> io::Result<()> {
        // It may have been killed by its fault.
        let _ = kill_process(self.daemon, Signal::KILL);
        self.straces.iter_mut().try_for_each(|strace| strace.wait().map(drop))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

impl Call {
    /// Whether it makes something durable: these are never left out.
    #[must_use]
    pub fn is_vital(&self) -> bool {
        ["fsync", "fdatasync", "syncfs", "rename", "renameat", "renameat2", "linkat"].contains(&self.name.as_str())
    }

    /// Whether it is `other` in another run.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.thread == other.thread
            && self.is_answer() == other.is_answer()
            && self.place.is_some()
            && self.place == other.place
    }

    /// Whether it is on a file of the home, and not of the daemon's start.
    fn is_on_file(&self, home: &str) -> bool {
        let of_the_start = ["/run/touchlease", "/config/touchlease"]
            .iter()
            .any(|folder| self.line.contains(folder));
        // What a call gave is not there when it fails, and then it would not be known again.
        let asked = self.line.split(") = ").next().unwrap_or_default();
        // strace says with each path where relative ones would begin.
        let line = asked.replace(&format!("AT_FDCWD<{home}/work>"), "");
        line.contains(home) && !of_the_start
    }

    /// Whether it goes to another process: a client, or a key's worker.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        // One byte is a signal that the process tells itself of.
        let told_itself = self.line.contains("\"\"..., 1, MSG_NOSIGNAL");
        (self.line.contains("<socket:[") || self.line.contains("<UNIX")) && !told_itself
    }

    /// The errors that such a call can have.
    #[must_use]
    pub fn errors(&self) -> &'static [&'static str] {
        match self.name.as_str() {
            // A socket that fails is another process that went away.
            _ if self.is_answer() => &[],
            "openat" | "openat2" | "open" if self.line.contains("O_CREAT") => &["EIO", "ENOSPC", "EDQUOT", "EMFILE", "ENOMEM"],
            "openat" | "openat2" | "open" => &["EIO", "EMFILE", "ENOMEM"],
            "unlink" | "unlinkat" => &["EIO", "ENOMEM"],
            _ => &["EIO", "ENOSPC", "EDQUOT", "ENOMEM"],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => write!(f, "signal=KILL"),
            Self::Error(error) => write!(f, "error={error}"),
        }
    }
}

/// The calls of one thread's trace, each with its time. The last one before a kill has no result, or `?`.
fn parse(thread: Thread, log: &str) -> Vec<(String, Call)> {
    let mut counts = HashMap::new();
    let lines: Vec<(&str, &str)> = log.lines().filter_map(|line| line.split_once(' ')).collect();
    let killed = lines.iter().position(|(_, line)| line.starts_with("+++ killed"));
    let mut calls = vec![];
    for (at, (time, line)) in lines.iter().enumerate() {
        let Some((name, _)) = line.split_once('(') else { continue };
        if !TRACED.split(',').any(|traced| traced == name) {
            continue;
        }
        let count = counts.entry(name.to_owned()).or_insert(0);
        *count += 1;
        let last = killed == Some(at + 1) && !line.contains(") = ") || line.trim_end().ends_with("= ?");
        let call = Call {
            name: name.to_owned(),
            thread,
            nth: *count,
            place: None,
            line: (*line).to_owned(),
            cut: line.ends_with("(INJECTED)") || last,
        };
        calls.push(((*time).to_owned(), call));
    }
    calls
}

/// The calls of all threads in their order, each at its place.
fn placed(mut calls: Vec<(String, Call)>, home: &str) -> Vec<Call> {
    let mut places = HashMap::new();
    let mut on_files = 0;
    // As many digits in each.
    calls.sort_by(|(one, _), (other, _)| one.cmp(other));
    let place = |(_, mut call): (String, Call)| {
        if call.is_answer() {
            call.place = Some(on_files);
        } else if call.is_on_file(home) {
            on_files += 1;
            let place = places.entry((call.thread, call.name.clone())).or_insert(0);
            *place += 1;
            call.place = Some(*place);
        }
        call
    };
    calls.into_iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with the times at which these lines were written.
    fn log(first: u32, lines: &[&str]) -> String {
        let line = |(n, line): (u32, &&str)| format!("1764170000.{n:09} {line}\n");
        (first..).zip(lines).map(line).collect()
    }

    #[test]
    fn calls_are_counted_by_name_and_the_one_that_was_cut_is_known() {
        let log = log(
            0,
            &[
                "openat(AT_FDCWD</>, \"/x\", O_RDONLY) = 3</x>",
                "fsync(3</x>) = 0",
                "--- SIGCHLD {si_signo=SIGCHLD} ---",
                "fsync(3</x>) = -1 EIO (Input/output error) (INJECTED)",
                "fsync(3</x>) = ?",
                "+++ killed by SIGKILL +++",
            ],
        );
        let calls = parse(Thread::Main, &log);
        let short: Vec<(&str, u32, bool)> = calls.iter().map(|(_, call)| (call.name.as_str(), call.nth, call.cut)).collect();
        assert_eq!(
            short,
            [("openat", 1, false), ("fsync", 1, false), ("fsync", 2, true), ("fsync", 3, true)]
        );
    }

    #[test]
    fn a_point_is_the_same_call_in_another_run_whatever_else_was_called_before_it() {
        let (of_system, of_home) = (
            "openat(AT_FDCWD</home/work>, \"/proc/1\", O_RDONLY) = 3",
            "openat(AT_FDCWD</home/work>, \"/home/a\", O_RDONLY) = 3",
        );
        let answer = "sendto(4<socket:[7]>, \"\"..., 9, MSG_NOSIGNAL, NULL, 0) = 9";
        let of_itself = answer.replace('9', "1");
        let calls = |lines: &[&str]| placed(parse(Thread::Main, &log(0, lines)), "/home");
        let dry = calls(&[of_home, answer]);
        let calls = calls(&[answer, &of_itself, of_system, of_home, answer, answer]);
        let of = |call: &Call| (call.nth, call.place);
        assert_eq!(
            calls.iter().map(of).collect::<Vec<_>>(),
            [(1, Some(0)), (2, None), (1, None), (2, Some(1)), (3, Some(1)), (4, Some(1))]
        );
        let same = |of: &Call| -> Vec<u32> { calls.iter().filter(|call| call.is(of)).map(|call| call.nth).collect() };
        assert_eq!((same(&dry[0]), same(&dry[1])), (vec![2], vec![3, 4]));
    }

    #[test]
    fn calls_of_two_threads_are_counted_apart_and_stand_in_the_order_of_their_times() {
        let sync = "fsync(3</home/a>) = 0";
        let answer = "sendto(4<socket:[7]>, \"\"..., 9, MSG_NOSIGNAL, NULL, 0) = 9";
        let mut both = parse(Thread::Main, &log(10, &[sync, sync, answer]));
        both.extend(parse(Thread::Writer, &log(11, &[sync])));
        let calls = placed(both, "/home");
        let of = |call: &Call| (call.thread, call.nth, call.place);
        assert_eq!(
            calls.iter().map(of).collect::<Vec<_>>(),
            [
                (Thread::Main, 1, Some(1)),
                (Thread::Main, 2, Some(2)),
                (Thread::Writer, 1, Some(1)),
                (Thread::Main, 1, Some(3))
            ]
        );
        assert!(!calls[0].is(&calls[2]));
    }
}
