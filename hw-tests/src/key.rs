//! An emulated key as a test handles it: the finger over it, and the hand that plugs and pulls it.

use std::{fmt, io, os::fd::OwnedFd, str::FromStr, sync::Arc, time::Duration};

use crate::{
    authenticator::{Authenticator, Settings},
    ctap::Ctap,
    finger::{Counts, Finger, Mode},
    hid_socket::HidSocket,
    host::{Host, Protocol},
};

/// The PIN that [`Command::SetPin`] sets.
pub const PIN: &str = "7410-rig";

/// What a test tells a key; as text, one line of the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Touch at once, from now on.
    Grant,
    /// Touch this long after the key asks, from now on.
    Delay(Duration),
    /// Decline at once, from now on.
    Deny,
    /// Touch nothing, from now on.
    Never,
    /// Only the card's power-up counts as a touch, from now on.
    Tap,
    /// Touch the key that waits.
    Press,
    /// Decline for the key that waits.
    Refuse,
    /// End the wait as a timeout.
    Expire,
    /// Wait until the key waits for a touch, this long at most.
    Asked(Duration),
    /// Say what happened so far.
    Counts,
    /// Take the key out.
    Pull,
    /// Put it back in.
    Plug,
    /// Report "still busy" this often.
    Keepalive(Duration),
    /// Make the key as new, without a touch.
    Reset,
    /// Give a key that has no PIN the PIN [`PIN`].
    SetPin,
    /// End the program that is the key.
    Quit,
}

/// What the key says to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Done, or yes.
    Ok,
    /// Nothing waits for a touch.
    NotAsking,
    /// The counts.
    Counts(Counts),
}

/// Why a key could not be told.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The key's socket, or what it is plugged into, failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is no command, or no reply.
    #[error("not understood: {0}")]
    NotUnderstood(String),
    /// The program that is the key could not do it.
    #[error("the key failed: {0}")]
    Failed(String),
}

type Result<T> = std::result::Result<T, ControlError>;

/// A key that a test drives, in this process or another.
pub trait KeyHandle: Send + Sync {
    /// Tells the key; every other method is this one.
    ///
    /// # Errors
    /// See [`ControlError`].
    fn tell(&self, command: Command) -> Result<Reply>;

    /// Touches at once, from now on.
    ///
    /// # Errors
    /// See [`ControlError`], here and below.
    fn grant(&self) -> Result<()> {
        self.tell(Command::Grant).map(drop)
    }

    /// Touches this long after the key asks, from now on.
    fn delay(&self, delay: Duration) -> Result<()> {
        self.tell(Command::Delay(delay)).map(drop)
    }

    /// Declines at once, from now on.
    fn deny(&self) -> Result<()> {
        self.tell(Command::Deny).map(drop)
    }

    /// Touches nothing, from now on.
    fn never(&self) -> Result<()> {
        self.tell(Command::Never).map(drop)
    }

    /// Lets only the card's power-up count as a touch, from now on.
    fn tap(&self) -> Result<()> {
        self.tell(Command::Tap).map(drop)
    }

    /// Touches the key that waits; false if it does not.
    fn press(&self) -> Result<bool> {
        self.tell(Command::Press).map(|reply| reply == Reply::Ok)
    }

    /// Declines for the key that waits; false if it does not.
    fn refuse(&self) -> Result<bool> {
        self.tell(Command::Refuse).map(|reply| reply == Reply::Ok)
    }

    /// Ends the wait as a timeout; false if there is none.
    fn expire(&self) -> Result<bool> {
        self.tell(Command::Expire).map(|reply| reply == Reply::Ok)
    }

    /// Waits until the key waits for a touch; false if it does not within `limit`.
    fn await_asked(&self, limit: Duration) -> Result<bool> {
        self.tell(Command::Asked(limit)).map(|reply| reply == Reply::Ok)
    }

    /// What happened so far.
    fn counts(&self) -> Result<Counts> {
        match self.tell(Command::Counts)? {
            Reply::Counts(counts) => Ok(counts),
            other => Err(ControlError::NotUnderstood(other.to_string())),
        }
    }

    /// Takes the key out; a running operation ends.
    fn pull(&self) -> Result<()> {
        self.tell(Command::Pull).map(drop)
    }

    /// Puts it back in; it has forgotten what a power loss makes a key forget.
    fn plug(&self) -> Result<()> {
        self.tell(Command::Plug).map(drop)
    }

    /// Reports "still busy" this often.
    fn keepalive(&self, interval: Duration) -> Result<()> {
        self.tell(Command::Keepalive(interval)).map(drop)
    }

    /// Makes the key as new, without a touch.
    fn reset(&self) -> Result<()> {
        self.tell(Command::Reset).map(drop)
    }

    /// Gives a key that has no PIN the PIN [`PIN`].
    fn set_pin(&self) -> Result<()> {
        self.tell(Command::SetPin).map(drop)
    }
}

/// What a key is plugged into.
pub trait Attachment: Send + Sync {
    /// Plugs the key in; nothing if it is.
    ///
    /// # Errors
    /// The other side is not there, or does not take it.
    fn plug(&self) -> io::Result<()>;

    /// Pulls it; nothing if it is out.
    fn pull(&self);

    /// Changes how often a busy key says so.
    fn keepalive(&self, interval: Duration);
}

/// What a key keeps inside, whatever it is plugged into.
pub trait Inside: Send + Sync {
    /// Makes it as new from the factory, without a touch.
    fn wipe(&self);

    /// Gives it the PIN [`PIN`] if it has none.
    ///
    /// # Errors
    /// The key does not take it.
    fn set_pin(self: &Arc<Self>) -> Result<()>;
}

impl Inside for dyn Ctap {
    fn wipe(&self) {
        Ctap::wipe(self);
    }

    fn set_pin(self: &Arc<Self>) -> Result<()> {
        let set = Host(self.clone()).set_pin(Protocol::Two, PIN);
        set.map_err(|error| ControlError::Failed(error.to_string()))
    }
}

/// A key in this process.
pub struct Key<A, I: ?Sized = dyn Ctap> {
    finger: Arc<Finger>,
    inside: Arc<I>,
    attachment: A,
}

impl<A: Attachment, I: Inside + ?Sized> Key<A, I> {
    /// Puts a key together. `inside` is what works under that finger, or somebody in front of it.
    pub fn new(finger: Arc<Finger>, inside: Arc<I>, attachment: A) -> Self {
        Self {
            finger,
            inside,
            attachment,
        }
    }

    /// The finger over it.
    pub fn finger(&self) -> &Finger {
        &self.finger
    }

    /// What it is plugged into.
    pub fn attachment(&self) -> &A {
        &self.attachment
    }
}

impl<A> Key<A> {
    /// What answers its messages.
    pub fn ctap(&self) -> &Arc<dyn Ctap> {
        &self.inside
    }
}

impl Key<HidSocket> {
    /// A USB key, plugged in, under a finger that grants.
    ///
    /// # Errors
    /// See [`Authenticator::start`].
    pub fn start(settings: Settings) -> io::Result<Self> {
        let finger = Arc::new(Finger::new(Mode::Grant));
        let ctap: Arc<dyn Ctap> = Arc::new(Authenticator::start(settings, finger.clone())?);
        let key = Self::new(finger, ctap.clone(), HidSocket::new(ctap));
        key.attachment.plug()?;
        Ok(key)
    }

    /// Opens it: see [`crate::bus::Bus::open`].
    ///
    /// # Errors
    /// `NotFound` while it is pulled.
    pub fn open(&self) -> io::Result<OwnedFd> {
        self.attachment.open()
    }
}

impl<A: Attachment, I: Inside + ?Sized> KeyHandle for Key<A, I> {
    fn tell(&self, command: Command) -> Result<Reply> {
        let set = |mode| {
            self.finger.set(mode);
            true
        };
        let done = match command {
            Command::Grant => set(Mode::Grant),
            Command::Delay(delay) => set(Mode::Delay(delay)),
            Command::Deny => set(Mode::Deny),
            Command::Never => set(Mode::Never),
            Command::Tap => set(Mode::Tap),
            Command::Press => self.finger.press(),
            Command::Refuse => self.finger.refuse(),
            Command::Expire => self.finger.expire(),
            Command::Asked(limit) => self.finger.await_asked(limit),
            Command::Counts => return Ok(Reply::Counts(self.finger.counts())),
            Command::Plug => {
                self.attachment.plug()?;
                true
            }
            Command::Pull | Command::Quit => {
                self.attachment.pull();
                true
            }
            Command::Keepalive(interval) => {
                self.attachment.keepalive(interval);
                true
            }
            Command::Reset => {
                self.inside.wipe();
                true
            }
            Command::SetPin => {
                self.inside.set_pin()?;
                true
            }
        };
        Ok(if done { Reply::Ok } else { Reply::NotAsking })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, time) = match self {
            Self::Grant => ("grant", None),
            Self::Delay(delay) => ("delay", Some(delay)),
            Self::Deny => ("deny", None),
            Self::Never => ("never", None),
            Self::Tap => ("tap", None),
            Self::Press => ("press", None),
            Self::Refuse => ("refuse", None),
            Self::Expire => ("expire", None),
            Self::Asked(limit) => ("asked", Some(limit)),
            Self::Counts => ("counts", None),
            Self::Pull => ("pull", None),
            Self::Plug => ("plug", None),
            Self::Keepalive(interval) => ("keepalive", Some(interval)),
            Self::Reset => ("reset", None),
            Self::SetPin => ("set-pin", None),
            Self::Quit => ("quit", None),
        };
        f.write_str(word)?;
        time.map_or(Ok(()), |time| write!(f, " {}", time.as_millis()))
    }
}

impl FromStr for Command {
    type Err = ControlError;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let millis = |number: &str| number.parse().ok().map(Duration::from_millis);
        let command = match words[..] {
            ["grant"] => Some(Self::Grant),
            ["delay", ms] => millis(ms).map(Self::Delay),
            ["deny"] => Some(Self::Deny),
            ["never"] => Some(Self::Never),
            ["tap"] => Some(Self::Tap),
            ["press"] => Some(Self::Press),
            ["refuse"] => Some(Self::Refuse),
            ["expire"] => Some(Self::Expire),
            ["asked", ms] => millis(ms).map(Self::Asked),
            ["counts"] => Some(Self::Counts),
            ["pull"] => Some(Self::Pull),
            ["plug"] => Some(Self::Plug),
            ["keepalive", ms] => millis(ms).map(Self::Keepalive),
            ["reset"] => Some(Self::Reset),
            ["set-pin"] => Some(Self::SetPin),
            ["quit"] => Some(Self::Quit),
            _ => None,
        };
        command.ok_or_else(|| ControlError::NotUnderstood(line.to_owned()))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::NotAsking => f.write_str("not asking"),
            Self::Counts(counts) => counts.fmt(f),
        }
    }
}

impl FromStr for Reply {
    type Err = ControlError;

    fn from_str(line: &str) -> Result<Self> {
        match (line, line.strip_prefix("error: ")) {
            ("ok", _) => Ok(Self::Ok),
            ("not asking", _) => Ok(Self::NotAsking),
            (_, Some(sentence)) => Err(ControlError::Failed(sentence.to_owned())),
            _ => line
                .parse()
                .map(Self::Counts)
                .map_err(|_| ControlError::NotUnderstood(line.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_survives_its_text_form() {
        let time = Duration::from_millis(250);
        let commands = [
            Command::Grant,
            Command::Delay(time),
            Command::Deny,
            Command::Never,
            Command::Tap,
            Command::Press,
            Command::Refuse,
            Command::Expire,
            Command::Asked(time),
            Command::Counts,
            Command::Pull,
            Command::Plug,
            Command::Keepalive(time),
            Command::Reset,
            Command::SetPin,
            Command::Quit,
        ];
        for command in commands {
            assert_eq!(command.to_string().parse::<Command>().unwrap(), command);
        }
        assert!("delay".parse::<Command>().is_err());
        assert!("press twice".parse::<Command>().is_err());
    }

    #[test]
    fn a_failure_comes_back_as_an_error() {
        assert!(matches!("error: no reader".parse::<Reply>(), Err(ControlError::Failed(why)) if why == "no reader"));
    }
}
