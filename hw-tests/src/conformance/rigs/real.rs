//! Two real keys in a person's hands. The person is told what to do, and says when it is done.

use std::{
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    conformance::{Link, Rig},
    finger::Counts,
    harness::{Daemon, Home},
    key::{Command, ControlError, KeyHandle, PIN, Reply},
    sync::lock,
};

/// See the module. The cases reset both keys: everything on them is lost.
pub struct Real {
    program: PathBuf,
    link: Link,
    hands: [Arc<Hand>; 2],
}

/// A person with one key.
struct Hand {
    key: &'static str,
    is_out: Mutex<Option<bool>>,
    presses: AtomicU64,
}

impl Real {
    /// A person with two keys that go into USB, or onto a reader.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, link: Link) -> Self {
        let hand = |key| {
            Arc::new(Hand {
                key,
                is_out: Mutex::new(None),
                presses: AtomicU64::new(0),
            })
        };
        Self {
            program: program.into(),
            link,
            hands: [hand("key 1"), hand("key 2")],
        }
    }
}

impl Rig for Real {
    fn name(&self) -> &str {
        "real"
    }

    fn link(&self) -> Link {
        self.link
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn keys(&self) -> [Arc<dyn KeyHandle>; 2] {
        self.hands.clone().map(|hand| hand as Arc<dyn KeyHandle>)
    }

    fn daemon(&self, _: &Home) -> io::Result<Option<Daemon>> {
        Ok(None)
    }
}

impl KeyHandle for Hand {
    fn tell(&self, command: Command) -> Result<Reply, ControlError> {
        let key = self.key;
        match command {
            Command::Grant => say(&format!("From now on touch {key} whenever it blinks."))?,
            Command::Tap => say(&format!("Each tap of {key}: off the reader, and on again when you are told."))?,
            Command::Never => say(&format!("From now on do not touch {key}, even if it blinks."))?,
            Command::Delay(delay) => say(&format!("From now on touch {key} {} s after it begins to blink.", delay.as_secs()))?,
            Command::Press => {
                self.presses.fetch_add(1, Ordering::Relaxed);
                say(&format!("Touch {key} now, once."))?;
            }
            Command::Pull => return self.moved(true, &format!("Take {key} out, or off the reader.")),
            Command::Plug => return self.moved(false, &format!("Put {key} in, or on the reader.")),
            Command::Asked(limit) => return asks(key, limit),
            Command::Expire => done(&format!("Do not touch {key}; wait until it stops blinking (about 30 s)."))?,
            Command::Reset => done(&format!("Reset {key} with its maker's program: EVERYTHING ON IT IS LOST."))?,
            Command::SetPin => done(&format!("Set the PIN of {key} to {PIN} with its maker's program."))?,
            Command::Counts => {
                let given = self.presses.load(Ordering::Relaxed);
                return Ok(Reply::Counts(Counts {
                    asked: given,
                    given,
                    ..Counts::default()
                }));
            }
            // A key without a button that says no; no wire to its firmware.
            Command::Deny | Command::Refuse | Command::Keepalive(_) | Command::Quit => return Ok(Reply::NotAsking),
        }
        Ok(Reply::Ok)
    }
}

impl Hand {
    fn moved(&self, out: bool, what: &str) -> Result<Reply, ControlError> {
        let mut is_out = lock(&self.is_out);
        if *is_out != Some(out) {
            done(what)?;
            *is_out = Some(out);
            self.presses.fetch_add(u64::from(!out), Ordering::Relaxed);
        }
        Ok(Reply::Ok)
    }
}

fn asks(key: &str, limit: Duration) -> Result<Reply, ControlError> {
    say(&format!(
        "Does {key} blink, within {} s? Enter when it does, n and Enter if not.",
        limit.as_secs()
    ))?;
    Ok(if answer()?.starts_with('n') { Reply::NotAsking } else { Reply::Ok })
}

fn done(what: &str) -> io::Result<()> {
    say(&format!("{what} Then press Enter."))?;
    answer().map(drop)
}

fn say(what: &str) -> io::Result<()> {
    let mut err = io::stderr().lock();
    writeln!(err, ">>> {what}")
}

fn answer() -> io::Result<String> {
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}
