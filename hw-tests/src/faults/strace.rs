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

use crate::harness::Home;

/// Calls that change a file, open one, or answer a client.
const TRACED: &str =
    "openat,openat2,open,mkdir,mkdirat,write,pwrite64,ftruncate,fsync,fdatasync,syncfs,rename,renameat,renameat2,unlink,unlinkat,sendto";
/// Longest start, with everything slowed down by the trace.
const LIMIT: Duration = Duration::from_secs(30);

/// One call of the daemon's only thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its number among the calls of this name, from 1: how strace counts. It is another one in each run: how many descriptors are
    /// looked at depends on who asks, and how often a key is asked on the time it takes.
    pub nth: u32,
    /// Where it stands among the points, which is the same in every run: the number of a call on a file among those of its name, from
    /// 1; of an answer, how many calls on files came before. None of a call that is no point.
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
    strace: Child,
    daemon: Pid,
    home: PathBuf,
    log: PathBuf,
}

/// A program under strace, which writes the calls to `log`, with a fault in store.
pub(super) fn strace(program: &Command, log: &Path, fault: Option<(&Call, Fault)>) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-y", "-s", "0", "-e", &format!("trace={TRACED}")]);
    strace.arg("-o").arg(log);
    if let Some((call, fault)) = fault {
        strace.args(["-e", &format!("inject={}:{fault}:when={}", call.name, call.nth)]);
    }
    strace.arg(program.get_program()).args(program.get_args()).env_clear();
    let environment = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
    strace.envs(environment.map(|(name, value)| (OsString::from(name), value.to_owned())));
    strace.current_dir(program.get_current_dir().unwrap_or(Path::new("/")));
    strace
}

/// The calls that such a program made in this home.
pub(super) fn read(log: &Path, home: &Path) -> io::Result<Vec<Call>> {
    Ok(parse(&String::from_utf8_lossy(&fs::read(log)?), &home.display().to_string()))
}

impl Traced {
    /// Starts a daemon in this home, with a fault in store.
    ///
    /// # Errors
    /// No strace; the daemon does not listen.
    pub fn start(home: &Home, fault: Option<(&Call, Fault)>) -> io::Result<Self> {
        let log = home.path().join("calls");
        let mut strace = strace(&home.command(["daemon"]), &log, fault);
        let null = Stdio::null;
        let mut strace = strace.stdin(null()).stdout(null()).stderr(null()).spawn()?;
        let socket = home.places()?.socket();
        let since = Instant::now();
        loop {
            if let Ok(stream) = UnixStream::connect(&socket) {
                let daemon = rustix::net::sockopt::socket_peercred(&stream)?.pid;
                let home = home.path().to_owned();
                return Ok(Self { strace, daemon, home, log });
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
        while since.elapsed() < at_most && self.strace.try_wait()?.is_none() {
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
        read(&self.log, &self.home)
    }

    fn kill(&mut self) -> io::Result<()> {
        // It may have been killed by its fault.
        let _ = kill_process(self.daemon, Signal::KILL);
        self.strace.wait().map(drop)
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
        ["fsync", "fdatasync", "syncfs", "rename", "renameat", "renameat2"].contains(&self.name.as_str())
    }

    /// Whether it is `other` in another run.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.name == other.name && self.is_answer() == other.is_answer() && self.place.is_some() && self.place == other.place
    }

    /// Whether it is on a file of the home, and not of the daemon's start.
    fn is_on_file(&self, home: &str) -> bool {
        let of_the_start = ["/run/touchlease", "/config/touchlease"]
            .iter()
            .any(|folder| self.line.contains(folder));
        // strace says with each path where relative ones would begin.
        let line = self.line.replace(&format!("AT_FDCWD<{home}/work>"), "");
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

/// The calls of a trace. The last one before a kill has no result, or `?`.
fn parse(log: &str, home: &str) -> Vec<Call> {
    let mut counts = HashMap::new();
    let mut places = HashMap::new();
    let mut on_files = 0;
    let lines: Vec<&str> = log.lines().collect();
    let killed = lines.iter().position(|line| line.starts_with("+++ killed"));
    let mut calls = vec![];
    for (at, line) in lines.iter().enumerate() {
        let Some((name, _)) = line.split_once('(') else { continue };
        if !TRACED.split(',').any(|traced| traced == name) {
            continue;
        }
        let count = counts.entry(name.to_owned()).or_insert(0);
        *count += 1;
        let last = killed == Some(at + 1) && !line.contains(") = ") || line.trim_end().ends_with("= ?");
        let mut call = Call {
            name: name.to_owned(),
            nth: *count,
            place: None,
            line: (*line).to_owned(),
            cut: line.ends_with("(INJECTED)") || last,
        };
        if call.is_answer() {
            call.place = Some(on_files);
        } else if call.is_on_file(home) {
            on_files += 1;
            let place = places.entry(name.to_owned()).or_insert(0);
            *place += 1;
            call.place = Some(*place);
        }
        calls.push(call);
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_name_and_the_one_that_was_cut_is_known() {
        let log = "openat(AT_FDCWD</>, \"/x\", O_RDONLY) = 3</x>\nfsync(3</x>) = 0\n--- SIGCHLD {si_signo=SIGCHLD} ---\n\
            fsync(3</x>) = -1 EIO (Input/output error) (INJECTED)\nfsync(3</x>) = ?\n+++ killed by SIGKILL +++\n";
        let calls = parse(log, "/home");
        let short: Vec<(&str, u32, bool)> = calls.iter().map(|call| (call.name.as_str(), call.nth, call.cut)).collect();
        assert_eq!(
            short,
            [("openat", 1, false), ("fsync", 1, false), ("fsync", 2, true), ("fsync", 3, true)]
        );
    }

    #[test]
    fn a_point_is_the_same_call_in_another_run_whatever_else_was_called_before_it() {
        let (of_system, of_home) = (
            "openat(AT_FDCWD</home/work>, \"/proc/1\", O_RDONLY) = 3\n",
            "openat(AT_FDCWD</home/work>, \"/home/a\", O_RDONLY) = 3\n",
        );
        let answer = "sendto(4<socket:[7]>, \"\"..., 9, MSG_NOSIGNAL, NULL, 0) = 9\n";
        let of_itself = answer.replace('9', "1");
        let dry = parse(&[of_home, answer].concat(), "/home");
        let calls = parse(&[answer, &of_itself, of_system, of_home, answer, answer].concat(), "/home");
        let of = |call: &Call| (call.nth, call.place);
        assert_eq!(
            calls.iter().map(of).collect::<Vec<_>>(),
            [(1, Some(0)), (2, None), (1, None), (2, Some(1)), (3, Some(1)), (4, Some(1))]
        );
        let same = |of: &Call| -> Vec<u32> { calls.iter().filter(|call| call.is(of)).map(|call| call.nth).collect() };
        assert_eq!((same(&dry[0]), same(&dry[1])), (vec![2], vec![3, 4]));
    }
}
