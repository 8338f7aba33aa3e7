//! The guard of a prompt that stands on a screen.

use std::cell::Cell;

use tokio::sync::mpsc::UnboundedSender;

use super::brake::Budget;
use super::desk::{Desk, Open, PromptError, SHOW_WITHIN, Whose};
use super::turn::Turn;
use crate::clock::Boot;
use crate::secret::Secret;
use crate::wire::{Event, Outcome, TouchState};

/// A prompt that stands on a screen. Dropping it takes it off.
pub struct Prompt<'a> {
    turn: Turn<'a>,
    tell: UnboundedSender<Event>,
    own: Option<u64>,
    budget: Budget,
    opened: Boot,
    deadline: Boot,
    /// What the screens are told at the end: a failure until somebody says otherwise.
    outcome: Cell<Option<Outcome>>,
}

impl<'a> Prompt<'a> {
    pub(super) fn new(turn: Turn<'a>, tell: UnboundedSender<Event>, whose: Whose<'_>, opened: Boot, deadline: Boot) -> Self {
        let outcome = Cell::new(Some(Outcome::Internal));
        Self {
            turn,
            tell,
            own: whose.own,
            budget: Budget::of(whose),
            opened,
            deadline,
            outcome,
        }
    }

    /// When it closes.
    #[must_use]
    pub fn deadline(&self) -> Boot {
        self.deadline
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.turn.number
    }

    /// Tells the screens and the requester where the touch stands.
    pub fn tell(&self, touch: &TouchState) {
        self.broadcast(|| Event::Touch {
            prompt: self.number(),
            state: touch.clone(),
        });
    }

    /// Ends when a person says no, or when no screen shows the prompt any more and none will again.
    pub async fn refused(&self) -> Outcome {
        self.until(|open| match (open.denied, open.is_shown() || open.is_hidden()) {
            (true, _) => Some(Outcome::Denied),
            (_, false) => Some(Outcome::NoScreen),
            _ => None,
        })
        .await
    }

    /// Whether a person said no.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.desk().state.borrow().open.as_ref().is_some_and(|open| open.denied)
    }

    /// Ends when the prompt is not to be seen, though it may be again: no key may be armed for it.
    pub async fn hidden(&self) {
        self.until(|open| open.is_hidden().then_some(())).await;
    }

    /// Ends when it is to be seen.
    pub async fn shown(&self) {
        self.until(|open| open.is_shown().then_some(())).await;
    }

    /// The next PIN that a person types on a screen: the key's name and the PIN.
    pub async fn pin(&self) -> (String, Secret) {
        self.until(|open| open.pins.pop()).await
    }

    /// Says how it failed.
    pub fn failed(&self, outcome: Outcome) {
        self.outcome.set(Some(outcome));
        if outcome == Outcome::Denied {
            let now = self.desk().clock.boot();
            self.desk().state.borrow_mut().brakes.get_mut(self.budget).denied(now);
        }
    }

    /// Says that it was answered, by less than a touch.
    pub fn answered(&self) {
        self.outcome.set(None);
    }

    /// Says that it was approved by a touch.
    pub fn approved(&self) {
        self.answered();
        {
            let mut state = self.desk().state.borrow_mut();
            let brake = state.brakes.get_mut(self.budget);
            brake.approved();
            if self.budget == Budget::Own {
                brake.uncount(self.opened);
            }
        }
        self.desk().changed.notify_waiters();
    }

    fn desk(&self) -> &Desk {
        self.turn.desk
    }

    pub(super) async fn wait_shown(&self) -> Result<(), PromptError> {
        let seen = self.until(|open| if open.is_shown() { Some(true) } else { open.lacks().map(|_| false) });
        if tokio::time::timeout(SHOW_WITHIN, seen).await == Ok(true) {
            return Ok(());
        }
        let state = self.desk().state.borrow();
        let own_alone = state.open.as_ref().is_some_and(|open| !open.shown_on.is_empty());
        let too_small = state.open.as_ref().and_then(Open::lacks);
        Err(match too_small {
            _ if own_alone => PromptError::NotOnWatch,
            Some(room) => PromptError::TooSmall(room),
            None => PromptError::ScreenGone,
        })
    }

    async fn until<T>(&self, mut ready: impl FnMut(&mut Open) -> Option<T>) -> T {
        loop {
            let changed = self.desk().changed.notified();
            let found = {
                let mut state = self.desk().state.borrow_mut();
                // Present for as long as this guard lives.
                state.open.as_mut().and_then(&mut ready)
            };
            match found {
                Some(found) => return found,
                None => changed.await,
            }
        }
    }

    fn broadcast(&self, event: impl Fn() -> Event) {
        let state = self.desk().state.borrow();
        let screens = state.open.iter().flat_map(|open| &open.sent_to);
        for screen in screens.filter_map(|id| state.screens.iter().find(|s| s.id == *id && Some(s.id) != self.own)) {
            let _ = screen.tx.send(event());
        }
        let _ = self.tell.send(event());
    }
}

impl Drop for Prompt<'_> {
    fn drop(&mut self) {
        let outcome = self.outcome.get();
        self.broadcast(|| Event::Closed {
            prompt: self.number(),
            outcome,
        });
    }
}
