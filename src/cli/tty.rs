//! The person's own terminal: keys without Enter, PINs without echo, and the terminal as it was on every way out.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::sys::signals::Catcher;

/// Longest PIN or secret that can be typed, in bytes.
const LONGEST: usize = 4096;

/// `/dev/tty`, opened.
pub struct Tty {
    file: File,
    before: Termios,
    /// Whether there is anything to put back: a job in the background that sets modes is stopped (SIGTTOU, termios(3)).
    changed: Cell<bool>,
}

impl Tty {
    /// The controlling terminal; nothing when there is none.
    #[must_use]
    pub fn open() -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        let before = tcgetattr(&file).ok()?;
        Some(Self {
            file,
            before,
            changed: Cell::new(false),
        })
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.size().0
    }

    /// Columns and rows.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(&self.file) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
            // A terminal of 0x0 says nothing about itself.
            _ => (80, 24),
        }
    }

    /// Keys arrive one by one and unseen from here on, Ctrl-C among them, until [`Tty::cooked`] or the end.
    ///
    /// # Errors
    /// The terminal went away.
    pub fn raw(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        self.changed.set(true);
        Ok(tcsetattr(&self.file, OptionalActions::Now, &modes)?)
    }

    /// As it was.
    pub fn cooked(&self) {
        if !self.changed.replace(false) {
            return;
        }
        // The terminal may be gone, and then there is nothing to put back.
        let _ = tcsetattr(&self.file, OptionalActions::Now, &self.before);
    }

    /// Writes text as it is.
    pub fn write(&mut self, text: &str) {
        let _ = self.file.write_all(text.as_bytes()).and_then(|()| self.file.flush());
    }

    /// The bytes of the next key, in raw mode. Waits.
    ///
    /// # Errors
    /// The terminal went away.
    pub fn keys(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(vec![0; 256]);
        let n = self.file.read(&mut bytes)?;
        bytes.truncate(n);
        Ok(bytes)
    }

    /// A line that is typed and seen, without its end.
    ///
    /// # Errors
    /// The terminal went away; Ctrl-C and Ctrl-D are [`io::ErrorKind::Interrupted`].
    pub fn ask(&mut self, question: &str) -> io::Result<String> {
        self.write(question);
        let mut line = String::new();
        let typed = self.line_typed().and_then(|()| BufReader::new(&self.file).read_line(&mut line));
        match typed {
            Ok(1..) => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
            stopped => {
                // Behind the question, and the terminal's ^C, something will be said.
                self.write("\n");
                Err(stopped.err().unwrap_or_else(|| io::ErrorKind::Interrupted.into()))
            }
        }
    }

    /// Waits for a line, or for Ctrl-C, which would end this process without a word.
    fn line_typed(&self) -> io::Result<()> {
        let interrupts = Catcher::new(&[Signal::INT])?;
        loop {
            let mut two = [PollFd::new(&self.file, PollFlags::IN), PollFd::new(&interrupts, PollFlags::IN)];
            match poll(&mut two, None) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) if !two[1].revents().is_empty() => return Err(io::ErrorKind::Interrupted.into()),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// A line that is typed and not seen.
    ///
    /// # Errors
    /// The terminal went away; Ctrl-C and Ctrl-D are [`io::ErrorKind::Interrupted`].
    pub fn ask_secret(&mut self, question: &str) -> io::Result<Secret> {
        // Unseen before the question stands: what is typed the moment it appears would be echoed otherwise.
        self.raw()?;
        self.write(question);
        let typed = self.read_hidden();
        self.cooked();
        self.write("\n");
        typed
    }

    fn read_hidden(&mut self) -> io::Result<Secret> {
        let mut line = HiddenLine::default();
        loop {
            let keys = self.keys()?;
            match line.push(&keys) {
                Typed::Done(secret) => return secret,
                Typed::Stopped => return Err(io::ErrorKind::Interrupted.into()),
                Typed::More if keys.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                Typed::More => {}
            }
        }
    }
}

/// A line that is typed and not seen, key by key.
pub struct HiddenLine(Zeroizing<Vec<u8>>);

/// What the keys came to.
pub enum Typed {
    /// Not Enter yet.
    More,
    /// Ctrl-C or Ctrl-D.
    Stopped,
    /// The line; an error when no more memory can be locked.
    Done(io::Result<Secret>),
}

impl Default for HiddenLine {
    fn default() -> Self {
        // Never grown: growing would leave an unwiped copy behind.
        Self(Zeroizing::new(Vec::with_capacity(LONGEST)))
    }
}

impl HiddenLine {
    /// Takes keys; what comes behind Enter is dropped.
    pub fn push(&mut self, keys: &[u8]) -> Typed {
        for byte in keys {
            match byte {
                b'\r' | b'\n' => return Typed::Done(Secret::from_slice_wiping(&mut self.0)),
                3 | 4 => return Typed::Stopped,
                // Backspace takes a whole UTF-8 character, Ctrl-U everything.
                8 | 127 => while self.0.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
                21 => self.0.clear(),
                _ if self.0.len() < LONGEST => self.0.push(*byte),
                _ => {}
            }
        }
        Typed::More
    }
}

impl AsFd for Tty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        self.cooked();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_hidden_line_ends_at_enter_and_backspace_takes_a_whole_character() {
        let mut line = HiddenLine::default();
        assert!(matches!(line.push("12é".as_bytes()), Typed::More));
        match line.push(b"\x7f34\rrest") {
            Typed::Done(secret) => assert_eq!(secret.unwrap().expose(), b"1234"),
            _ => panic!("the line is not done"),
        }
        assert!(matches!(line.push(b"12\x03"), Typed::Stopped));
    }
}
