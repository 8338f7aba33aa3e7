//! One prompt at a time, on a screen that the requester does not own.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::brake::Brake;
use super::prompt::Prompt;
use super::screen::{Attached, Screen, ScreenKind, Standing};
use super::ticket::Ticket;
use crate::clock::Clock;
use crate::secret::Secret;
use crate::wire::{Answer, Event, PromptView};

/// How long a screen has to say that it shows a prompt.
pub(super) const SHOW_WITHIN: Duration = Duration::from_secs(2);
/// How long a request waits for its turn.
const QUEUE_LIMIT: Duration = Duration::from_secs(300);

/// Why no prompt is on a screen.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PromptError {
    /// No `touchlease watch` runs, or only one that the requester owns.
    #[error("no screen is open on which a person could see this request")]
    NoScreen,
    /// A screen is open and did not answer, or was closed while the prompt stood on it.
    #[error("the screen went away before the request was answered")]
    ScreenGone,
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

/// What is to be shown, and to whom it belongs.
#[derive(Debug)]
pub struct Showing<'a> {
    /// The text to be signed.
    pub text: &'a str,
    /// Id in the text.
    pub id: &'a str,
    /// The four words.
    pub words: [&'static str; 4],
    /// Names of the keys that can serve.
    pub keys: Vec<String>,
    /// Where the vault lies.
    pub vault: String,
    /// How long the prompt stays open.
    pub open_for: Duration,
    /// Where the requester stands.
    pub requester: &'a Standing,
    /// The requester's own screen.
    pub own: Option<u64>,
    /// The requester's feed.
    pub tell: UnboundedSender<Event>,
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
    pub(super) brake: Brake,
}

/// A request in the queue. A person at his own terminal goes before those who wait for a watch, so that nobody who floods the
/// watch keeps him out.
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) own: bool,
}

pub(super) struct Open {
    pub(super) prompt: u64,
    pub(super) shown_on: Vec<u64>,
    pub(super) sent_to: Vec<u64>,
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
    pub fn attach(&self, kind: ScreenKind, standing: Standing, tx: UnboundedSender<Event>) -> Attached<'_> {
        let mut state = self.state.borrow_mut();
        state.next += 1;
        let id = state.next;
        state.screens.push(Screen { id, kind, standing, tx });
        Attached { desk: self, id }
    }

    pub(super) fn detach(&self, id: u64) {
        let mut state = self.state.borrow_mut();
        state.screens.retain(|screen| screen.id != id);
        if let Some(open) = &mut state.open {
            open.shown_on.retain(|screen| *screen != id);
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
                Answer::Shown { prompt } if sent && prompt == open.prompt => open.shown_on.push(screen),
                Answer::Deny { prompt } if sent && prompt == open.prompt => open.denied = true,
                Answer::Pin { prompt, key, pin } if sent && prompt == open.prompt => open.pins.push((key, pin.0)),
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

    /// Waits for the request's turn, puts it on a screen, and waits until a screen says that it is there.
    ///
    /// # Errors
    /// See [`PromptError`].
    pub async fn open(&self, showing: Showing<'_>) -> Result<Prompt<'_>, PromptError> {
        self.screens_for(&showing)?;
        if showing.own.is_none() {
            self.check_brake()?;
        }
        let ticket = Ticket::take(self, showing.own.is_some());
        tokio::time::timeout(QUEUE_LIMIT, ticket.turn(&showing))
            .await
            .map_err(|_| PromptError::QueueLimit)?;
        let prompt = self.show(ticket, showing)?;
        prompt.wait_shown().await?;
        Ok(prompt)
    }

    fn screens_for(&self, showing: &Showing<'_>) -> Result<Vec<u64>, PromptError> {
        let state = self.state.borrow();
        let serving = state.screens.iter().filter(|screen| screen.serves(showing.requester, showing.own));
        let ids: Vec<u64> = serving.map(|screen| screen.id).collect();
        if ids.is_empty() { Err(PromptError::NoScreen) } else { Ok(ids) }
    }

    fn check_brake(&self) -> Result<(), PromptError> {
        match self.state.borrow().brake.full(self.clock.boot()) {
            Some(again) => Err(PromptError::TooMany { again }),
            None => Ok(()),
        }
    }

    fn show<'d>(&'d self, ticket: Ticket<'d>, showing: Showing<'_>) -> Result<Prompt<'d>, PromptError> {
        let screens = self.screens_for(&showing)?;
        if showing.own.is_none() {
            self.check_brake()?;
            self.state.borrow_mut().brake.count(self.clock.boot());
        }
        let number = ticket.number;
        let deadline = self.clock.boot() + showing.open_for;
        let left_ms = u64::try_from(showing.open_for.as_millis()).unwrap_or(u64::MAX);
        let words = showing.words.map(str::to_owned);
        // Whoever asked may have gone already; the connection's own end cancels the request.
        let _ = showing.tell.send(Event::Asked {
            prompt: number,
            id: showing.id.to_owned(),
            words,
            left_ms,
        });
        let mut state = self.state.borrow_mut();
        state.queue.retain(|waiting| waiting.number != number);
        state.open = Some(Open {
            prompt: number,
            shown_on: vec![],
            sent_to: screens.clone(),
            denied: false,
            pins: vec![],
        });
        let view = PromptView {
            prompt: number,
            text: showing.text.to_owned(),
            left_ms,
            keys: showing.keys,
            waiting: count(state.queue.len()),
            vault: showing.vault,
        };
        for screen in state.screens.iter().filter(|screen| screens.contains(&screen.id)) {
            let _ = screen.tx.send(Event::Prompt(view.clone()));
        }
        drop(state);
        Ok(Prompt::new(ticket, showing.tell, showing.own, deadline))
    }
}

impl State {
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

pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
