//! A terminal with a program in it, as a person would have one: a controlling terminal in a session of its own.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::sync::lock;

/// Called with everything the program writes, as it comes.
pub type Echo = Box<dyn Fn(&[u8]) + Send>;

/// Rows of a terminal that nobody resized.
pub const ROWS: u16 = 40;

/// A running program and its terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Screen>,
    /// How much of the output was looked at by [`Terminal::expect`].
    seen: usize,
}

#[derive(Default)]
struct Screen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    output: Vec<u8>,
    ended: bool,
}

impl Terminal {
    /// Starts `command` on a terminal of 100 columns and [`ROWS`] rows.
    ///
    /// # Errors
    /// No pseudo-terminal, or no such program.
    pub fn start(command: &Command) -> io::Result<Self> {
        Self::start_with(command, Box::new(|_| {}))
    }

    /// The same, with everything it writes given to `echo`.
    ///
    /// # Errors
    /// As [`Terminal::start`].
    pub fn start_with(command: &Command, echo: Echo) -> io::Result<Self> {
        let (ours, theirs) = pair()?;
        // A session and a controlling terminal take system calls between fork and exec; this program makes them.
        let mut inside = Command::new("setsid");
        inside
            .args([OsStr::new("--ctty"), OsStr::new("--wait"), command.get_program()])
            .args(command.get_args());
        inside.env_clear();
        inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        let clone = || theirs.try_clone().map(Stdio::from);
        let child = inside.stdin(clone()?).stdout(clone()?).stderr(clone()?).spawn()?;
        drop(theirs);
        let screen = Arc::new(Screen::default());
        let reader = File::from(ours.try_clone()?);
        let shown = screen.clone();
        thread::spawn(move || read(reader, &shown, &echo));
        Ok(Self {
            child,
            keyboard: File::from(ours),
            screen,
            seen: 0,
        })
    }

    /// Types.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn type_in(&mut self, text: &str) -> io::Result<()> {
        self.keyboard.write_all(text.as_bytes())
    }

    /// Its keyboard, for another thread to type on.
    ///
    /// # Errors
    /// No more descriptors.
    pub fn keyboard(&self) -> io::Result<File> {
        self.keyboard.try_clone()
    }

    /// Makes the window this large.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        resize(self.keyboard.as_fd(), columns, rows)
    }

    /// Waits until `text` comes after what was expected before, and gives everything up to it.
    ///
    /// # Errors
    /// It did not come within `limit`, or the program ended without it; the message holds what came instead.
    pub fn expect_within(&mut self, text: &str, limit: Duration) -> io::Result<String> {
        let deadline = Instant::now() + limit;
        let mut state = lock(&self.screen.state);
        loop {
            let new = &state.output[self.seen..];
            if let Some(at) = find(new, text.as_bytes()) {
                let found = String::from_utf8_lossy(&new[..at + text.len()]).into_owned();
                self.seen += at + text.len();
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let why = if state.ended { "the program ended" } else { "it took too long" };
                let shown = String::from_utf8_lossy(new).into_owned();
                return Err(io::Error::other(format!("{text:?} did not appear ({why}); instead:\n{shown}")));
            }
            state = self
                .screen
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
    }

    /// [`Terminal::expect_within`] 20 s.
    ///
    /// # Errors
    /// As there.
    pub fn expect(&mut self, text: &str) -> io::Result<String> {
        self.expect_within(text, Duration::from_secs(20))
    }

    /// What came since the last [`Terminal::expect`] or [`Terminal::skip`].
    #[must_use]
    pub fn unseen(&self) -> String {
        String::from_utf8_lossy(&lock(&self.screen.state).output[self.seen..]).into_owned()
    }

    /// Looks away from everything that was written so far.
    pub fn skip(&mut self) {
        self.seen = lock(&self.screen.state).output.len();
    }

    /// Lets go of everything that was written so far: what a program writes in an hour is no small thing to keep.
    pub fn forget(&mut self) {
        self.seen = 0;
        lock(&self.screen.state).output.clear();
    }

    /// Whether the program has closed the terminal.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        lock(&self.screen.state).ended
    }

    /// Everything written so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&lock(&self.screen.state).output).into_owned()
    }

    /// Waits until the program ends, and gives its status and everything it wrote.
    ///
    /// # Errors
    /// It did not end within 30 s.
    pub fn finish(self) -> io::Result<(ExitStatus, String)> {
        self.finish_within(Duration::from_secs(30))
    }

    /// The same, with another limit.
    ///
    /// # Errors
    /// It did not end within `limit`.
    pub fn finish_within(mut self, limit: Duration) -> io::Result<(ExitStatus, String)> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let mut state = lock(&self.screen.state);
                while !state.ended && Instant::now() < deadline {
                    state = self
                        .screen
                        .changed
                        .wait_timeout(state, Duration::from_millis(50))
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .0;
                }
                return Ok((status, String::from_utf8_lossy(&state.output).into_owned()));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("the program did not end; it wrote:\n{}", self.output())));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let theirs = rustix::fs::open(
        &*name,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    resize(theirs.as_fd(), 100, ROWS)?;
    Ok((ours, theirs))
}

fn resize(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(terminal, size)?)
}

fn read(mut from: File, screen: &Screen, echo: &Echo) {
    let mut chunk = [0; 4096];
    loop {
        // EIO is how a terminal says that nobody has it open any more.
        let n = from.read(&mut chunk).unwrap_or(0);
        // First, so that whoever waits for a text may count on its being shown.
        echo(&chunk[..n]);
        let mut state = lock(&screen.state);
        state.output.extend(&chunk[..n]);
        state.ended = n == 0;
        screen.changed.notify_all();
        if n == 0 {
            return;
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len().max(1)).position(|window| window == part)
}
