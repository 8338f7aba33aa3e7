//! Starting the user's command.
//!
//! As `posix_spawn` does it: a copy of this process that shares its memory until it executes the program, so that no page tables are
//! copied. It does less: the C library asks what each of 64 signals does and sets it, we put back those that are caught here. It does more:
//! the program has the limit of core files and the blocked signals that this process was started with ([`harden`](super::process::harden)
//! took one; the C library takes the signals it is told), and a file without a format is a shell's, as for `execvp` (POSIX, exec).
//! Behind [`Walls`] the copy has memory of its own.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_void};
use std::fs::File;
use std::io::{self, Read};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, null_mut};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use zeroize::Zeroizing;

use super::process::started_with;
use super::signals;
use super::walls::{Walls, processes};

const SHELL: &CStr = c"/bin/sh";
/// Bytes for the few calls between copy and program.
const STACK: usize = 16 << 10;
const NO_CORES: libc::rlimit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };

/// A program to start: its file, its words, and its environment, which is wiped when dropped.
pub struct Program {
    file: CString,
    words: Vec<CString>,
    environment: Vec<Zeroizing<Vec<u8>>>,
    walls: Option<Walls>,
    cores: bool,
}

/// What the copy needs, all of it made before.
struct Plan {
    file: *const c_char,
    words: *const *const c_char,
    /// The same for the shell: its own name, the file, and the words after the first.
    script: *const *const c_char,
    environment: *const *const c_char,
    /// What becomes 0, 1 and 2. None is below 3 but where it belongs.
    streams: [c_int; 3],
    /// The terminal in whose foreground the program has a process group of its own, or -1.
    terminal: c_int,
    core: Option<libc::rlimit>,
    blocked: libc::sigset_t,
    walls: Option<*const Walls>,
    /// Whether it has a session of its own, and no terminal in it.
    apart: bool,
    /// Where a copy that shares no memory says which process is the program, and why it was not executed, or -1.
    news: c_int,
    /// The end of a pipe that this process alone holds the other end of, for a namespace that ends with it, or -1 and -1.
    hold: [c_int; 2],
    /// Why the program was not executed.
    error: c_int,
}

impl Program {
    /// # Errors
    /// `InvalidInput` for a NUL byte, which ends a C string.
    pub fn new<'a>(
        file: &Path,
        words: impl IntoIterator<Item = &'a OsString>,
        environment: impl IntoIterator<Item = (&'a OsStr, &'a [u8])>,
    ) -> io::Result<Self> {
        let words = words.into_iter().map(|word| CString::new(word.as_bytes()));
        let variable = |(name, value): (&OsStr, &[u8])| -> io::Result<_> {
            let mut text = Zeroizing::new(Vec::with_capacity(name.len() + value.len() + 2));
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            text.extend_from_slice(value);
            if text.contains(&0) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            text.push(0);
            Ok(text)
        };
        Ok(Self {
            file: CString::new(file.as_os_str().as_bytes())?,
            words: words.collect::<Result<_, _>>()?,
            environment: environment.into_iter().map(variable).collect::<Result<_, _>>()?,
            walls: None,
            cores: true,
        })
    }

    /// The same program, of which no core file is made for as long as it lives: any other program of the same user could ask for one
    /// (prlimit(2) sets limits of whoever is of the same user), and read there what is in its memory.
    #[must_use]
    pub fn without_cores(self, without: bool) -> Self {
        Self { cores: !without, ..self }
    }

    /// The same program, started behind walls. Without a terminal of its own it has a session of its own all the same: into that of the
    /// caller it could type (TIOCSTI in ioctl_tty(2)).
    #[must_use]
    pub fn behind(self, walls: Option<Walls>) -> Self {
        Self { walls, ..self }
    }

    /// Starts it with these standard streams, and, if a terminal is named, in a process group of its own in that terminal's foreground: as
    /// the group changes before the program begins, it never reads as a background one (POSIX, 11.1.4).
    ///
    /// The process's id stays its own until somebody waits for it; the descriptor ([pidfd](https://man7.org/linux/man-pages/man2/pidfd_open.2.html))
    /// means it for ever.
    ///
    /// # Errors
    /// No process could be made, or the file is none that can be executed.
    pub fn start(&self, streams: [BorrowedFd<'_>; 3], terminal: Option<BorrowedFd<'_>>) -> io::Result<(Pid, OwnedFd)> {
        let words = pointers(self.words.iter().map(|word| word.as_ptr()));
        let script = [SHELL.as_ptr(), self.file.as_ptr()].into_iter();
        let script = pointers(script.chain(self.words.iter().skip(1).map(|word| word.as_ptr())));
        let environment = pointers(self.environment.iter().map(|variable| variable.as_ptr().cast()));
        let (streams, _held) = apart(streams)?;
        let before = started_with();
        let news = self.walls.is_some().then(|| pipe_with(PipeFlags::CLOEXEC)).transpose()?;
        let divided = self.walls.as_ref().is_some_and(|walls| walls.processes);
        let hold = divided.then(|| pipe_with(PipeFlags::CLOEXEC)).transpose()?;
        let mut plan = Plan {
            file: self.file.as_ptr(),
            words: words.as_ptr(),
            script: script.as_ptr(),
            environment: environment.as_ptr(),
            streams,
            terminal: terminal.map_or(-1, |terminal| terminal.as_raw_fd()),
            core: if self.cores {
                before.map(|before| before.core_limit())
            } else {
                Some(NO_CORES)
            },
            // SAFETY: a set of zero bytes is the empty one.
            blocked: before.map_or(unsafe { zeroed() }, |before| before.blocked),
            walls: self.walls.as_ref().map(ptr::from_ref),
            apart: self.walls.is_some() && terminal.is_none(),
            news: news.as_ref().map_or(-1, |(_, write)| write.as_raw_fd()),
            hold: hold.as_ref().map_or([-1; 2], |(read, write)| [read.as_raw_fd(), write.as_raw_fd()]),
            error: 0,
        };
        let started = plan.start(self.walls.is_none())?;
        let Some((read, write)) = news else { return Ok(started) };
        drop(write);
        let mut news = File::from(read);
        let (pid, pidfd) = match hold {
            Some((_, hold)) => divided_from(started.0, &mut news, hold)?,
            None => started,
        };
        match next(&mut news) {
            // It was closed by the program's start.
            None => Ok((pid, pidfd)),
            Some(word) => {
                let _ = waitpid(Some(pid), WaitOptions::empty());
                Err(io::Error::from_raw_os_error(-word))
            }
        }
    }
}

/// What is told next: the program's process, or why it was not executed, as a negative number.
fn next(news: &mut File) -> Option<c_int> {
    let mut word = [0; size_of::<c_int>()];
    news.read_exact(&mut word).ok().map(|()| c_int::from_ne_bytes(word))
}

/// The program's process, when the copy that made it has ended.
fn divided_from(copy: Pid, news: &mut File, hold: OwnedFd) -> io::Result<(Pid, OwnedFd)> {
    let _ = waitpid(Some(copy), WaitOptions::empty());
    let word = next(news).ok_or(io::ErrorKind::BrokenPipe)?;
    let Some(pid) = Some(word).filter(|word| *word > 0).and_then(Pid::from_raw) else {
        return Err(io::Error::from_raw_os_error(-word));
    };
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    // The namespace's first process looks for the program from here on.
    rustix::io::write(&hold, &[0])?;
    // It stays open for as long as this process lives, however that ends.
    let _ = hold.into_raw_fd();
    Ok((pid, pidfd))
}

impl Plan {
    /// `shared`: the copy shares this process's memory. Behind walls it does not: what raises them uses the heap, and for a moment the copy
    /// can be read by others.
    fn start(&mut self, shared: bool) -> io::Result<(Pid, OwnedFd)> {
        // Of the heap, where no page is touched but the one that is used.
        let mut stack = Box::<[u8]>::new_uninit_slice(STACK);
        let mut pidfd: c_int = -1;
        let plan = ptr::from_mut(self);
        // SAFETY: until the copy has executed the program or has ended, this thread waits (CLONE_VFORK), so stack, plan and what the plan
        // points to stay as they are. No handler of ours runs in the copy: every signal is blocked until it has none. What it calls is
        // async-signal-safe, and `errno`, which it shares, is read after the mask is back only where the copy was not made.
        let (pid, error) = unsafe {
            let top = stack.as_mut_ptr().add(STACK).map_addr(|address| address & !63);
            let mut all: libc::sigset_t = zeroed();
            let mut before: libc::sigset_t = zeroed();
            libc::sigfillset(&raw mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            let memory = if shared { libc::CLONE_VM } else { 0 };
            let flags = memory | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
            let pid = libc::clone(become_program, top.cast(), flags, plan.cast(), &raw mut pidfd);
            let error = io::Error::last_os_error();
            libc::sigprocmask(libc::SIG_SETMASK, &raw const before, null_mut());
            (pid, error)
        };
        let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or(error)?;
        // SAFETY: the kernel made the descriptor for this call, so nobody else owns it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        // SAFETY: as above; the copy wrote it, behind the compiler's back.
        match unsafe { (&raw const (*plan).error).read_volatile() } {
            0 => Ok((pid, pidfd)),
            error => {
                let _ = waitpid(Some(pid), WaitOptions::empty());
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }

    /// In the copy, or in what becomes the program in its place: puts everything in its place and executes the program. Returns if that
    /// failed, with `errno`.
    unsafe fn execute(&self) {
        // SAFETY: system calls on this process, with pointers to what [`Program::start`] made and its thread keeps.
        unsafe {
            signals::let_go();
            let walls = self.walls.map(|walls| &*walls);
            let failed = |error: io::Error| *libc::__errno_location() = error.raw_os_error().unwrap_or(libc::EIO);
            if let Some(walls) = walls {
                if let Err(fault) = walls.enter() {
                    return failed(fault.error);
                }
                if walls.processes {
                    let [read, write] = self.hold;
                    libc::close(write);
                    if let Err(error) = processes::divide(self.news, read) {
                        return failed(error);
                    }
                }
            }
            if let Some(core) = &self.core {
                libc::setrlimit(libc::RLIMIT_CORE, core);
            }
            if self.terminal >= 0 && (libc::setpgid(0, 0) != 0 || libc::tcsetpgrp(self.terminal, libc::getpid()) != 0) {
                return;
            }
            if self.apart && libc::setsid() < 0 {
                return;
            }
            for (number, stream) in (0..).zip(self.streams) {
                if stream != number && libc::dup2(stream, number) < 0 {
                    return;
                }
            }
            if let Some(Err(fault)) = walls.map(Walls::raise) {
                return failed(fault.error);
            }
            libc::sigprocmask(libc::SIG_SETMASK, &raw const self.blocked, null_mut());
            libc::execve(self.file, self.words, self.environment);
            if *libc::__errno_location() == libc::ENOEXEC {
                libc::execve(SHELL.as_ptr(), self.script, self.environment);
            }
        }
    }
}

extern "C" fn become_program(plan: *mut c_void) -> c_int {
    // SAFETY: the plan of [`Plan::start`], whose thread waits; `_exit` runs nothing that belongs to it.
    unsafe {
        let plan = plan.cast::<Plan>();
        (*plan).execute();
        let errno = *libc::__errno_location();
        if (*plan).news >= 0 {
            let word = -errno;
            libc::write((*plan).news, (&raw const word).cast(), size_of::<c_int>());
        } else {
            (&raw mut (*plan).error).write_volatile(errno);
        }
        libc::_exit(127)
    }
}

fn pointers(texts: impl Iterator<Item = *const c_char>) -> Vec<*const c_char> {
    texts.chain([ptr::null()]).collect()
}

/// The streams' numbers, and what holds those that had to move: putting one in its place must not close another.
fn apart(streams: [BorrowedFd<'_>; 3]) -> io::Result<([c_int; 3], Vec<OwnedFd>)> {
    let (mut numbers, mut held) = ([0, 1, 2], Vec::new());
    for (number, stream) in numbers.iter_mut().zip(streams) {
        if *number != stream.as_raw_fd() {
            *number = stream.as_raw_fd();
            if *number < 3 {
                let moved = fcntl_dupfd_cloexec(stream, 3)?;
                *number = moved.as_raw_fd();
                held.push(moved);
            }
        }
    }
    Ok((numbers, held))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::{self, Permissions};
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    use rustix::io::Errno;
    use rustix::process::WaitStatus;

    use super::*;

    fn program(file: &str, words: &[&str], environment: &[(&str, &str)]) -> io::Result<Program> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let environment = environment.iter().map(|(name, value)| (OsStr::new(name), value.as_bytes()));
        Program::new(Path::new(file), &words, environment)
    }

    /// What it writes to its standard output, and how it ends.
    fn said(program: &Program) -> io::Result<(String, WaitStatus)> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let (pid, _) = program.start([null.as_fd(), write.as_fd(), null.as_fd()], None)?;
        drop(write);
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        Ok((text, waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1))
    }

    fn script(folder: &Path, name: &str, text: &str) -> String {
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        file.display().to_string()
    }

    #[test]
    fn a_program_has_the_words_and_the_environment_that_it_is_given_and_no_other() {
        let words = ["another name", "-c", "echo \"$0 $1\"; env; exit 7", "first", "second"];
        let (text, status) = said(&program("/bin/sh", &words, &[("A", "1"), ("B", "two words")]).unwrap()).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("PWD=") && !line.starts_with("_="))
            .collect();
        assert_eq!(lines, ["first second", "A=1", "B=two words"]);
        assert_eq!(status.exit_status(), Some(7));
        let (name, _) = said(&program("/bin/sh", &["another name", "-c", "cat /proc/$$/cmdline"], &[]).unwrap()).unwrap();
        assert!(name.starts_with("another name\0-c\0"), "{name:?}");
    }

    #[test]
    fn a_script_without_a_first_line_is_a_shells_as_for_execvp() {
        let folder = tempfile::tempdir().unwrap();
        let file = script(folder.path(), "bare", "echo \"$0 $1\"\n");
        let (text, _) = said(&program(&file, &["bare", "word"], &[]).unwrap()).unwrap();
        assert_eq!(text, format!("{file} word\n"));
        let file = script(folder.path(), "named", "#!/bin/echo\n");
        assert_eq!(
            said(&program(&file, &["named", "word"], &[]).unwrap()).unwrap().0,
            format!("{file} word\n")
        );
    }

    #[test]
    fn what_cannot_be_executed_says_why_and_leaves_no_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = script(folder.path(), "text", "text");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let no_interpreter = script(folder.path(), "script", "#!/nowhere/interpreter\n");
        for (file, errno) in [
            (file.as_str(), Errno::ACCESS),
            ("/nowhere/program", Errno::NOENT),
            (no_interpreter.as_str(), Errno::NOENT),
            ("/", Errno::ACCESS),
        ] {
            let failed = said(&program(file, &["program"], &[]).unwrap()).unwrap_err();
            assert_eq!(failed.raw_os_error(), Some(errno.raw_os_error()), "{file}");
        }
        assert_eq!(waitpid(None, WaitOptions::NOHANG).unwrap_err(), Errno::CHILD);
        for (file, words, environment) in [
            ("/bin/t\0rue", &["true"][..], &[][..]),
            ("/bin/true", &["t\0rue"], &[]),
            ("/bin/true", &["true"], &[("A", "1\0")]),
        ] {
            assert_eq!(program(file, words, environment).err().unwrap().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn streams_that_stand_in_each_others_places_all_arrive() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        // Standard error becomes its standard input, and standard input its standard error.
        let streams = [rustix::stdio::stderr(), write.as_fd(), rustix::stdio::stdin()];
        let links = "readlink /proc/self/fd/0 /proc/self/fd/2";
        let (pid, _) = program("/bin/sh", &["sh", "-c", links], &[]).unwrap().start(streams, None).unwrap();
        drop(write);
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        waitpid(Some(pid), WaitOptions::empty()).unwrap();
        let ours = [2, 0].map(|number| fs::read_link(format!("/proc/self/fd/{number}")).unwrap().display().to_string());
        assert_eq!(text.lines().collect::<Vec<_>>(), ours);
    }

    #[test]
    fn a_signal_that_is_ignored_here_is_ignored_by_the_program_but_for_a_broken_pipe() {
        // SAFETY: to ignore a signal runs no code.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        let (_, status) = said(&program("/bin/sh", &["sh", "-c", "kill -USR2 $$; kill -PIPE $$"], &[]).unwrap()).unwrap();
        assert_eq!(status.terminating_signal(), Some(libc::SIGPIPE));
    }
}
