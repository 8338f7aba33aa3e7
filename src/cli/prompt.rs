//! A prompt on a terminal: the card drawn once, and below it two lines that are redrawn: what to do, and how long that is possible.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::card::Card;
use super::columns::fit;
use super::situation::Situation;
use super::tty::Tty;
use super::ui::{Tone, paint};
use crate::wire::{Answer, Outcome, PromptView, TouchState, Value};

/// The prompt that stands on this terminal.
pub struct Standing {
    view: PromptView,
    now: Situation,
    closes: Deadline,
}

/// When a prompt closes, on this process's own clock: only for showing, the daemon decides.
struct Deadline(Instant);

/// Goes to the start of the line above, and clears both.
const CLEAR: &str = "\r\x1b[2K\x1b[1A\r\x1b[2K";

impl Standing {
    /// Draws the card and says whether it is on the screen: a text that cannot be decoded is not shown, and so never armed.
    pub fn draw(view: PromptView, zone: &TimeZone, tty: &mut Tty) -> Option<Self> {
        let Some(card) = Card::of(&view, zone) else {
            tty.write(&format!(
                "{}\r\n",
                paint(Tone::Bad, "a request came that this version cannot show; it is not armed")
            ));
            return None;
        };
        tty.write("\r\n");
        for line in card.lines(tty.width()) {
            tty.write(&format!("{line}\r\n"));
        }
        let closes = Deadline::after(Duration::from_millis(view.left_ms));
        let standing = Self {
            view,
            now: Situation::default(),
            closes,
        };
        tty.write("\r\n");
        standing.redraw(tty);
        Some(standing)
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.view.prompt
    }

    /// Takes where the touch stands.
    pub fn update(&mut self, state: &TouchState, tty: &mut Tty) {
        match self.now.update(state) {
            Some(line) => self.say(&line, tty),
            None => self.redraw(tty),
        }
    }

    /// Takes how many requests wait behind this one.
    pub fn queue(&mut self, waiting: u32, tty: &mut Tty) {
        self.view.waiting = waiting;
        self.redraw(tty);
    }

    /// Leaves a line standing above those that are redrawn.
    pub fn say(&self, line: &str, tty: &mut Tty) {
        tty.write(&format!("{CLEAR} {}\r\n\r\n", fit(line, tty.width().saturating_sub(1))));
        self.redraw(tty);
    }

    /// Draws the two lines anew.
    pub fn redraw(&self, tty: &mut Tty) {
        let width = tty.width().saturating_sub(1);
        let (tone, todo) = self.now.line(&self.view.keys);
        let more = if self.view.waiting > 0 {
            format!("   {} more waiting", self.view.waiting)
        } else {
            String::new()
        };
        let left = format!(" {} s left   d deny{more}", self.closes.left().as_secs());
        tty.write(&format!("{CLEAR} {}\r\n{}", paint(tone, &fit(&todo, width)), fit(&left, width)));
    }

    /// Says how it ended, in the place of the two lines.
    pub fn close(self, outcome: Option<Outcome>, tty: &mut Tty) {
        let said = match outcome {
            None => paint(Tone::Act, "approved"),
            Some(Outcome::Denied) => paint(Tone::Bad, "denied"),
            Some(Outcome::TimedOut) => paint(Tone::Bad, "nobody touched a key in time"),
            Some(_) => paint(Tone::Bad, "not approved"),
        };
        tty.write(&format!("{CLEAR} {said}\r\n"));
    }

    /// Asks for the PIN of `key`. Nothing when the person thinks better of it.
    pub fn ask_pin(&mut self, key: &str, tries: Option<u32>, wrong: bool, tty: &mut Tty) -> Option<Answer> {
        let head = if wrong { "wrong PIN; " } else { "" };
        let left = match tries {
            Some(1) => " (ONE try left before the key blocks)".to_owned(),
            Some(tries) => format!(" ({tries} tries left)"),
            None => String::new(),
        };
        tty.write(CLEAR);
        let pin = tty
            .ask_secret(&format!(" {head}PIN of \"{key}\"{left}: "))
            .ok()
            .filter(|pin| !pin.is_empty());
        let answer = pin.map(|pin| Answer::Pin {
            prompt: self.number(),
            key: key.to_owned(),
            pin: Value(pin),
        });
        self.now.pin_typed(key);
        tty.write("\r\n");
        self.redraw(tty);
        answer
    }
}

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "a countdown on a screen; nothing is decided by it")]
    fn after(left: Duration) -> Self {
        Self(Instant::now() + left)
    }

    #[expect(clippy::disallowed_methods, reason = "a countdown on a screen; nothing is decided by it")]
    fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
