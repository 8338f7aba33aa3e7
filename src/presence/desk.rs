//! One prompt at a time, on a screen that the requester does not own.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::brake::Brakes;
use super::screen::{Attached, Screen, ScreenKind, Whereabouts};
use super::turn::Turn;
use crate::clock::Clock;
use crate::secret::Secret;
use crate::wire::{Answer, Event, Room};

/// How long a screen has to say that it shows a prompt. On a machine that is busy it takes seconds: two were too few beside three database
/// servers that start.
pub(super) const SHOW_WITHIN: Duration = Duration::from_secs(5);
/// How long a request waits for its turn.
const QUEUE_LIMIT: Duration = Duration::from_secs(300);

/// Why no prompt is on a screen.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PromptError {
    /// No `touchlease watch` runs.
    #[error("nobody would see this request: no `touchlease watch` is open, and it does not come from a person's own terminal")]
    NoScreen,
    /// One runs that does not serve: the requester may have started it for itself, or nobody sees it.
    #[error(
        "nobody would see this request: the `touchlease watch` that is open does not count, as it is in the terminal or the session of whoever asks, or not in the foreground"
    )]
    OwnWatch,
    /// A screen is open and did not answer, or was closed while the prompt stood on it.
    #[error("the screen went away before the request was answered")]
    ScreenGone,
    /// Screens are open, and it fits on none.
    #[error("this request does not fit on the screen that is open: it {0}")]
    TooSmall(Room),
    /// It stands on the requester's own terminal, and on none of the watches that are open.
    #[error("the request does not fit on the `touchlease watch` that is open")]
    NotOnWatch,
    /// Ten prompts in ten minutes.
    #[error("there have been ten prompts within ten minutes; the next may open in {} s", .again.as_secs() + 1)]
    TooMany {
        /// Time until the next may open.
        again: Duration,
    },
    /// Others were in front for five minutes.
    #[error("other requests were in front for {} minutes", QUEUE_LIMIT.as_secs() / 60)]
    QueueLimit,
}

/// Who asks, as far as screens are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// Where the requester stands.
    pub whereabouts: &'a Whereabouts,
    /// The requester's own screen.
    pub own: Option<u64>,
}

/// What is to be shown.
#[derive(Debug)]
pub struct Showing<'a> {
    /// The text to be signed.
    pub text: &'a str,
    /// What the text does not say of itself, to be shown beside it.
    pub beside: Option<&'a str>,
    /// Id in the text.
    pub id: &'a str,
    /// The four words.
    pub words: [&'static str; 4],
    /// Names of the keys that can serve.
    pub keys: Vec<String>,
    /// Where the vault lies.
    pub vault: String,
    /// Who asks, in short and as claimed.
    pub by: String,
    /// How long the prompt stays open.
    pub open_for: Duration,
}

/// All screens and the queue. One thread; shared by reference.
pub struct Desk {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: RefCell<State>,
    pub(super) changed: Notify,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) next: u64,
    pub(super) screens: Vec<Screen>,
    pub(super) queue: Vec<Waiting>,
    pub(super) open: Option<Open>,
    pub(super) brakes: Brakes,
}

/// A request in the queue. Where no watch is open that could show it, one at the requester's own terminal goes before those who wait
/// for a watch; where one is open, nobody is to slip a prompt in before the one that a person waits for.
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) first: bool,
}

pub(super) struct Open {
    pub(super) prompt: u64,
    /// Who asks, in short.
    pub(super) by: String,
    pub(super) sent_to: Vec<u64>,
    /// Those of them that the requester does not own. While there is one, a key is armed by these alone.
    pub(super) watches: Vec<u64>,
    pub(super) shown_on: Vec<u64>,
    /// Screens that it stood on, and that do not show it whole any more.
    pub(super) hidden_on: Vec<u64>,
    /// Screens that it does not fit on, and what they lack.
    pub(super) too_small: Vec<(u64, Room)>,
    pub(super) denied: bool,
    pub(super) pins: Vec<(String, Secret)>,
}

impl Desk {
    /// A desk without screens.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: RefCell::default(),
            changed: Notify::new(),
        }
    }

    /// Opens a screen; events for it go to `tx`.
    pub fn attach(&self, kind: ScreenKind, whereabouts: Whereabouts, tx: UnboundedSender<Event>) -> Attached<'_> {
        let mut state = self.state.borrow_mut();
        state.next += 1;
        let id = state.next;
        state.screens.push(Screen { id, kind, whereabouts, tx });
        Attached { desk: self, id }
    }

    pub(super) fn detach(&self, id: u64) {
        let mut state = self.state.borrow_mut();
        state.screens.retain(|screen| screen.id != id);
        if let Some(open) = &mut state.open {
            open.forget(id);
            open.sent_to.retain(|screen| *screen != id);
            open.watches.retain(|screen| *screen != id);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Takes what a screen answered. An answer to a prompt that is not on that screen is ignored.
    pub fn answer(&self, screen: u64, answer: Answer) {
        {
            let mut state = self.state.borrow_mut();
            let Some(open) = state.open.as_mut() else { return };
            let sent = open.sent_to.contains(&screen);
            match answer {
                Answer::Shown { prompt } if sent && prompt == open.prompt => {
                    open.forget(screen);
                    open.shown_on.push(screen);
                }
                Answer::Hidden { prompt } if open.shown_on.contains(&screen) && prompt == open.prompt => {
                    open.forget(screen);
                    open.hidden_on.push(screen);
                }
                Answer::TooSmall { prompt, room } if sent && prompt == open.prompt => {
                    open.forget(screen);
                    open.too_small.push((screen, room));
                }
                Answer::Deny { prompt } if sent && prompt == open.prompt => open.denied = true,
                Answer::Pin { prompt, key, pin } if sent && prompt == open.prompt => {
                    open.pins.retain(|(name, _)| *name != key);
                    open.pins.push((key, pin.0));
                }
                _ => return,
            }
        }
        self.changed.notify_waiters();
    }

    /// Screens open, and prompts open or waiting.
    #[must_use]
    pub fn counts(&self) -> (u32, u32) {
        let state = self.state.borrow();
        let screens = state.screens.iter().filter(|s| s.kind == ScreenKind::Watch).count();
        let prompts = state.queue.len() + usize::from(state.open.is_some());
        (count(screens), count(prompts))
    }

    /// Whose request stands on a screen now, in short and as claimed.
    #[must_use]
    pub fn asking(&self) -> Option<String> {
        self.state.borrow().open.as_ref().map(|open| open.by.clone())
    }

    /// Waits for the request's turn. Nothing is shown yet, and nothing has to be fixed before it: what is shown can be of this moment.
    ///
    /// # Errors
    /// At once when no screen could show it, or when there were too many prompts; see [`PromptError`].
    pub async fn turn(&self, whose: Whose<'_>, tell: &UnboundedSender<Event>) -> Result<Turn<'_>, PromptError> {
        self.screens_for(whose)?;
        self.check_brake(whose)?;
        let turn = Turn::take(self, whose);
        let waiting = tokio::time::timeout(QUEUE_LIMIT, turn.come(whose, tell)).await;
        waiting.map_err(|_| PromptError::QueueLimit)?;
        Ok(turn)
    }

    pub(super) fn screens_for(&self, whose: Whose<'_>) -> Result<Vec<u64>, PromptError> {
        let state = self.state.borrow();
        let ids: Vec<u64> = state.serving(whose).map(|screen| screen.id).collect();
        match ids.is_empty() {
            false => Ok(ids),
            true if state.screens.iter().any(|screen| screen.kind == ScreenKind::Watch) => Err(PromptError::OwnWatch),
            true => Err(PromptError::NoScreen),
        }
    }

    pub(super) fn check_brake(&self, whose: Whose<'_>) -> Result<(), PromptError> {
        match self.state.borrow().brakes.of(whose).full(self.clock.boot()) {
            Some(again) => Err(PromptError::TooMany { again }),
            None => Ok(()),
        }
    }
}

impl State {
    fn serving(&self, whose: Whose<'_>) -> impl Iterator<Item = &Screen> {
        self.screens
            .iter()
            .filter(move |screen| screen.serves(whose.whereabouts, whose.own))
    }

    /// Whether a watch is open that the requester does not own.
    pub(super) fn is_watched(&self, whose: Whose<'_>) -> bool {
        self.serving(whose).any(|screen| screen.kind == ScreenKind::Watch)
    }

    /// The screens of the open prompt say how many wait behind it.
    pub(super) fn tell_waiting(&self) {
        let Some(open) = &self.open else { return };
        let waiting = count(self.queue.len());
        for screen in self.screens.iter().filter(|screen| open.sent_to.contains(&screen.id)) {
            // A screen that is gone detaches by itself.
            let _ = screen.tx.send(Event::Waiting {
                prompt: open.prompt,
                waiting,
            });
        }
    }
}

impl Open {
    /// Whether a person can see what a touch would approve.
    pub(super) fn is_shown(&self) -> bool {
        self.shown_on
            .iter()
            .any(|screen| self.watches.is_empty() || self.watches.contains(screen))
    }

    /// What the last of its screens lacks, where it fits on none of them.
    pub(super) fn lacks(&self) -> Option<Room> {
        let is_small = |screen: &u64| self.too_small.iter().any(|(small, _)| small == screen);
        let last = self.too_small.last().filter(|_| self.sent_to.iter().all(is_small));
        last.map(|(_, room)| *room)
    }

    /// Whether it is not to be seen now, and may be again.
    pub(super) fn is_hidden(&self) -> bool {
        !self.is_shown() && !self.hidden_on.is_empty()
    }

    fn forget(&mut self, screen: u64) {
        self.shown_on.retain(|shown| *shown != screen);
        self.hidden_on.retain(|hidden| *hidden != screen);
        self.too_small.retain(|(small, _)| *small != screen);
    }
}

pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
