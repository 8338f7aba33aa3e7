//! The person's hand: on the keyboard, and on emulated keys.

use std::{
    env,
    fs::File,
    io::{self, IsTerminal, Read, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use hw_tests::{
    control::Control,
    harness::Terminal,
    key::{ControlError, KeyHandle},
    rig,
};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

/// What touches the keys.
pub struct Hand {
    keys: Option<Keys>,
    keyboard: Keyboard,
    /// Whether somebody sits here.
    person: bool,
    /// Whether Enter touches nothing.
    away: Arc<AtomicBool>,
    modes: Option<Termios>,
}

/// The emulated keys.
#[derive(Clone)]
pub struct Keys {
    pub first: Control,
    pub second: Control,
    /// On a reader without contacts, which this show leaves out.
    pub contactless: Control,
}

/// The keyboard of the program that is shown.
type Keyboard = Arc<Mutex<Option<File>>>;

impl Hand {
    /// A hand over real keys, or over those of `with-readers`. `interrupted` is called at Ctrl-C, in place of
    /// anything else.
    pub fn new(real: bool, interrupted: impl Fn() + Send + 'static) -> io::Result<Self> {
        let key = |name: &str| rig::key(name, |name| env::var_os(name)).ok_or_else(|| io::Error::other(format!("{name} is not set")));
        let keys = if real {
            None
        } else {
            Some(Keys {
                first: key(rig::CONTACT)?,
                second: key(&format!("{}{}", rig::CONTACT, rig::SECOND))?,
                contactless: key(rig::CONTACTLESS)?,
            })
        };
        let person = io::stdin().is_terminal() && io::stdout().is_terminal();
        let mut hand = Self {
            keys,
            keyboard: Keyboard::default(),
            person,
            away: Arc::default(),
            modes: None,
        };
        if person {
            hand.listen(interrupted)?;
        }
        Ok(hand)
    }

    /// The emulated keys, if they are.
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// Whether somebody sits here.
    pub fn is_person(&self) -> bool {
        self.person
    }

    /// From now on nobody touches an emulated key.
    pub fn away(&self) -> Result<(), ControlError> {
        self.away.store(true, Ordering::Relaxed);
        self.keys().map_or(Ok(()), |keys| keys.first.never())
    }

    /// Lays the finger over the emulated keys: a person's waits for Enter, ours for half a second.
    pub fn ready(&self) -> Result<(), ControlError> {
        for key in self.keys.iter().flat_map(|keys| [&keys.first, &keys.second]) {
            if self.person {
                key.never()?;
            } else {
                key.delay(Duration::from_millis(500))?;
            }
        }
        Ok(())
    }

    /// What is typed goes to this program now.
    pub fn attend(&self, terminal: &Terminal) -> io::Result<()> {
        *lock(&self.keyboard) = Some(terminal.keyboard()?);
        Ok(())
    }

    fn listen(&mut self, interrupted: impl Fn() + Send + 'static) -> io::Result<()> {
        let before = tcgetattr(io::stdin())?;
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        self.modes = Some(before.clone());
        let (keys, keyboard, away) = (self.keys.clone(), self.keyboard.clone(), self.away.clone());
        thread::spawn(move || {
            for byte in io::stdin().lock().bytes().map_while(Result::ok) {
                match (byte, &keys) {
                    (3, _) => {
                        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before); // it worked a moment ago
                        interrupted();
                    }
                    (b'\n', Some(_)) if away.load(Ordering::Relaxed) => {}
                    (b'\n', Some(keys)) => keys.press(),
                    _ => lock(&keyboard).iter_mut().for_each(|keyboard| {
                        let _ = keyboard.write_all(&[byte]); // the program has just ended
                    }),
                }
            }
        });
        Ok(())
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        if let Some(modes) = &self.modes {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes); // the terminal is gone
        }
    }
}

impl Keys {
    /// Touches the one that blinks, if one does.
    fn press(&self) {
        let _ = [&self.first, &self.second].iter().any(|key| key.press().unwrap_or(false));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
