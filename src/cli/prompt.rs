//! A prompt on a terminal: the card drawn once, and below it two lines that are redrawn: what to do, and how long that is possible.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr;

use super::card::{Card, NARROWEST};
use super::columns::{fit, wrap};
use super::entry::{Entered, Entries};
use super::situation::Situation;
use super::tty::Tty;
use super::ui::{Tone, Ui};
use crate::encoding::plain::{count, visible};
use crate::wire::{Answer, Outcome, PromptView, Room, Side, TouchState, Value};

/// The prompt that this terminal shows.
pub struct Shown {
    view: PromptView,
    card: Card,
    now: Situation,
    closes: Deadline,
    entries: Entries,
    ui: Ui,
    /// The terminal's size when the card was drawn, and the rows used since, the two that are redrawn not counted.
    drawn: (usize, usize),
    used: usize,
    /// Whether the card is to be seen whole, and whether the daemon was told that it is.
    fits: bool,
    told: bool,
}

/// When a prompt closes, on this process's own clock: only for showing, the daemon decides.
struct Deadline(Instant);

/// Lines that are redrawn.
const LIVE: usize = 2;
/// How to say no while a PIN is typed, in which `d` may stand.
const STOP: &str = "Ctrl-C deny";
/// Goes to the start of the line above, and clears both.
const CLEAR: &str = "\r\x1b[2K\x1b[1A\r\x1b[2K";

impl Shown {
    /// Draws the card: a text that cannot be decoded, or does not fit, is not shown, and so never armed.
    ///
    /// # Errors
    /// What the screen lacks, if it is that.
    pub fn draw(view: PromptView, zone: &TimeZone, ui: Ui, tty: &mut Tty) -> Result<Self, Option<Room>> {
        let Some(card) = Card::of(&view, zone) else {
            let what = "a request came that this version cannot show; it is not armed from this screen";
            tty.write(&format!("{}\r\n", ui.paint_screen(Tone::Bad, what)));
            return Err(None);
        };
        let mut shown = Self {
            closes: Deadline::after(Duration::from_millis(view.left_ms)),
            view,
            card,
            now: Situation::default(),
            entries: Entries::default(),
            ui,
            drawn: (0, 0),
            used: 0,
            fits: false,
            told: false,
        };
        shown.draw_card(tty);
        if !shown.fits {
            return Err(Some(shown.room(tty)));
        }
        tty.write("\r\n");
        shown.redraw(tty);
        Ok(shown)
    }

    /// Draws the card where the cursor is, if what a person must see fits above the two lines that are redrawn.
    fn draw_card(&mut self, tty: &mut Tty) {
        let (width, height) = tty.size();
        self.drawn = (width, height);
        let lines = self.card.lines(width, height.saturating_sub(LIVE), self.ui);
        self.fits = lines.is_some();
        let Some(lines) = lines else {
            // What keys were asked is withdrawn.
            self.now = Situation::default();
            return self.say_too_small(tty);
        };
        self.used = lines.len();
        tty.write(&format!("\r\n{}\r\n", lines.join("\r\n")));
    }

    /// What the daemon has to be told since this was asked last: that the prompt stands on this screen, or does not any more.
    pub fn news(&mut self) -> Option<Answer> {
        let prompt = self.number();
        (std::mem::replace(&mut self.told, self.fits) != self.fits).then_some(if self.fits {
            Answer::Shown { prompt }
        } else {
            Answer::Hidden { prompt }
        })
    }

    /// What the terminal lacks.
    fn room(&self, tty: &Tty) -> Room {
        let (width, height) = tty.size();
        let (of, needs, has) = if width < NARROWEST {
            (Side::Columns, NARROWEST, width)
        } else {
            (Side::Lines, self.card.least_height(width, self.ui) + LIVE, height)
        };
        let figure = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Room {
            of,
            needs: figure(needs),
            has: figure(has),
        }
    }

    fn say_too_small(&self, tty: &mut Tty) {
        let (width, room) = (tty.width(), self.room(tty));
        let what = if self.told {
            format!("The request does not fit any more and is not armed from this screen: it {room}. Enlarge the terminal, or deny.")
        } else {
            format!("A request came and is not armed from this screen: it {room}. Enlarge the terminal, and ask again.")
        };
        for line in wrap(&what, width.max(1)) {
            tty.write(&format!("{}\r\n", self.ui.paint_screen(Tone::Bad, &line)));
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.view.prompt
    }

    /// Takes where the touch stands.
    pub fn update(&mut self, state: &TouchState, tty: &mut Tty) {
        match state {
            TouchState::Gone { key } => self.entries.gone(key),
            // Its PIN was typed on another screen.
            TouchState::TouchNow { key, .. } => self.entries.given(key),
            TouchState::Touched => self.entries.clear(),
            _ => {}
        }
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

    /// Leaves a line standing above those that are redrawn. What would push the card off the screen is followed by the card again.
    pub fn say(&mut self, line: &str, tty: &mut Tty) {
        let (width, height) = tty.size();
        let lines = wrap(&visible(line), width.saturating_sub(1));
        self.used += lines.len();
        tty.write(&format!("{CLEAR} {}\r\n", lines.join("\r\n ")));
        if self.used + LIVE > height {
            self.draw_card(tty);
        }
        tty.write("\r\n");
        self.redraw(tty);
    }

    /// Once a second: the time left, and the card again where the terminal was made larger or smaller.
    pub fn tick(&mut self, tty: &mut Tty) {
        if tty.size() != self.drawn {
            tty.write(CLEAR);
            self.draw_card(tty);
            tty.write("\r\n");
        }
        self.redraw(tty);
    }

    /// Draws the two lines anew; while a PIN is typed the lower one asks for it, with the cursor where it is typed.
    pub fn redraw(&self, tty: &mut Tty) {
        let width = tty.width().saturating_sub(1);
        if let Some(question) = self.entries.question() {
            let question = fit(question, width);
            tty.write(&format!("{CLEAR}{}\r\n {question}", self.above_a_pin(width)));
            return;
        }
        let (tone, todo) = if self.fits {
            self.now.line(&self.view.keys)
        } else {
            (Tone::Bad, "not armed here: enlarge the terminal".into())
        };
        tty.write(&format!(
            "{CLEAR} {}\r\n{}",
            self.ui.paint_screen(tone, &fit(&todo, width)),
            self.left(width, false)
        ));
    }

    /// Says how it ended, in the place of the two lines.
    pub fn close(self, outcome: Option<Outcome>, tty: &mut Tty) {
        let said = match outcome {
            None => (Tone::Act, self.card.given()),
            Some(Outcome::Denied) => (Tone::Bad, "denied"),
            Some(Outcome::TimedOut) => (Tone::Bad, "nobody touched a key in time"),
            Some(_) => (Tone::Bad, "not approved"),
        };
        tty.write(&format!("{CLEAR} {}\r\n", self.ui.paint_screen(said.0, said.1)));
    }

    /// Nobody looks here any more: what runs on elsewhere leaves no countdown behind.
    pub fn leave(self, tty: &mut Tty) {
        let what = format!("not watched here any more; {} s were left", self.closes.left().as_secs());
        tty.write(&format!("{CLEAR} {}\r\n", self.ui.paint_screen(Tone::Dim, &what)));
    }

    /// Asks for the PIN of `key`: what is typed from now on is that, unseen, until Enter.
    pub fn ask_pin(&mut self, key: &str, tries: Option<u32>, wrong: bool, tty: &mut Tty) {
        let head = if wrong { "wrong PIN; " } else { "" };
        let left = match tries {
            Some(1) => " (ONE try left before the key blocks)".to_owned(),
            Some(tries) => format!(" ({} left)", count(tries, "try")),
            None => String::new(),
        };
        let warning = (tries == Some(1)).then(|| format!("{head}ONE try left before \"{key}\" blocks; type yes to use it: "));
        self.entries.ask(key, format!("{head}PIN of \"{key}\"{left}: "), warning);
        self.redraw(tty);
    }

    /// Takes what was typed, and gives the answer that it makes. Nothing typed at all is a terminal that is gone: a no.
    pub fn typed(&mut self, keys: &[u8], tty: &mut Tty) -> Option<Answer> {
        let deny = Answer::Deny { prompt: self.number() };
        let answer = match self.entries.push(keys) {
            None => return (is_no(keys) && !self.now.is_being_written()).then_some(deny),
            Some(Entered::More) => return None,
            Some(Entered::Yes | Entered::NoPin) => {
                self.redraw(tty);
                return None;
            }
            Some(Entered::Denied) => deny,
            Some(Entered::Pin(key, pin)) => {
                self.now.pin_typed(&key);
                Answer::Pin {
                    prompt: self.number(),
                    key,
                    pin: Value(pin),
                }
            }
        };
        self.redraw(tty);
        Some(answer)
    }

    /// Whether a PIN is being typed.
    #[must_use]
    pub fn is_typing(&self) -> bool {
        self.entries.question().is_some()
    }

    /// The line above a PIN that is typed: what the other keys want meanwhile, and what is left of the time, which gives way first.
    fn above_a_pin(&self, width: usize) -> String {
        let left = self.left(width, true);
        let Some((tone, todo)) = self.now.beside_a_pin().filter(|_| self.fits) else {
            return left;
        };
        let todo = fit(&format!(" {todo}  "), width);
        let room = width - todo.width();
        let no = format!(" {STOP}");
        let rest = [left, no].into_iter().find(|rest| rest.width() <= room).unwrap_or_default();
        format!("{}{rest}", self.ui.paint_screen(tone, &todo))
    }

    fn left(&self, width: usize, typing: bool) -> String {
        let no = match (typing, self.now.is_being_written()) {
            (true, _) => STOP,
            (false, false) => "d deny",
            (false, true) => "too late to deny",
        };
        let more = if self.view.waiting > 0 {
            format!("   {} more waiting", self.view.waiting)
        } else {
            String::new()
        };
        let left = match self.now.is_touched() {
            false => format!("{} s left   ", self.closes.left().as_secs()),
            true => String::new(),
        };
        fit(&format!(" {left}{no}{more}"), width)
    }
}

/// `d`, and the ways in which people say stop: Ctrl-C, Ctrl-D, Escape alone. A terminal that says nothing any more is gone.
fn is_no(keys: &[u8]) -> bool {
    matches!(keys, [] | [27]) || keys.iter().any(|key| matches!(key, b'd' | b'D' | 3 | 4))
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
