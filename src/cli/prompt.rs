//! A prompt on a terminal: drawn once, its last line redrawn as time runs.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::card::{Card, status_line};
use super::tty::Tty;
use super::ui::{Tone, paint};
use crate::wire::{Answer, Outcome, PromptView, TouchState, Value};

/// The prompt that stands on this terminal.
pub struct Standing {
    view: PromptView,
    state: TouchState,
    closes: Deadline,
}

/// When a prompt closes, on this process's own clock: only for showing, the daemon decides.
struct Deadline(Instant);

impl Standing {
    /// Draws the card and says whether it is on the screen: a text that cannot be decoded is not shown, and so never armed.
    pub fn draw(view: PromptView, zone: &TimeZone, tty: &mut Tty) -> Option<Self> {
        let card = Card::of(&view, zone);
        match &card {
            Some(card) => {
                for line in card.lines(tty.width()) {
                    tty.write(&format!("{line}\r\n"));
                }
            }
            None => tty.write(&format!(
                "{}\r\n",
                paint(Tone::Bad, "a request came that this version cannot show; it is not armed")
            )),
        }
        card?;
        let closes = Deadline::after(Duration::from_millis(view.left_ms));
        let standing = Self {
            view,
            state: TouchState::Waiting,
            closes,
        };
        standing.redraw(tty);
        Some(standing)
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.view.prompt
    }

    /// Takes a new state and draws it.
    pub fn update(&mut self, state: TouchState, tty: &mut Tty) {
        // A second key or another program is said on a line of its own; the state stays what it was.
        if matches!(state, TouchState::ExtraTouch { .. }) {
            tty.write(&format!("\r\x1b[2K{}\r\n", status_line(&state, &[], self.closes.left(), 0)));
        } else {
            self.state = state;
        }
        self.redraw(tty);
    }

    /// Draws the last line anew.
    pub fn redraw(&self, tty: &mut Tty) {
        tty.write(&format!(
            "\r\x1b[2K{}",
            status_line(&self.state, &self.view.keys, self.closes.left(), self.view.waiting)
        ));
    }

    /// Says how it ended, in the last line's place.
    pub fn close(self, outcome: Option<Outcome>, tty: &mut Tty) {
        let said = match outcome {
            None => paint(Tone::Act, " approved"),
            Some(Outcome::Denied) => paint(Tone::Bad, " denied"),
            Some(Outcome::TimedOut) => paint(Tone::Bad, " nobody touched a key in time"),
            Some(_) => paint(Tone::Bad, " not approved"),
        };
        tty.write(&format!("\r\x1b[2K{said}\r\n"));
    }

    /// Asks for the PIN of `key`. Nothing when the person thinks better of it.
    pub fn ask_pin(&self, key: &str, tries: Option<u32>, wrong: bool, tty: &mut Tty) -> Option<Answer> {
        let head = if wrong { "Wrong PIN. " } else { "" };
        let left = tries.map(|tries| format!(" ({tries} tries left)")).unwrap_or_default();
        tty.write("\r\x1b[2K");
        let pin = tty
            .ask_secret(&format!("{head}PIN for \"{key}\"{left}: "))
            .ok()
            .filter(|pin| !pin.is_empty());
        let answer = pin.map(|pin| Answer::Pin {
            prompt: self.number(),
            key: key.to_owned(),
            pin: Value(pin),
        });
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
