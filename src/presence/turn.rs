//! The queue: one prompt at a time.

use tokio::sync::mpsc::UnboundedSender;

use super::desk::{Desk, Open, PromptError, Showing, Waiting, Whose, count};
use super::prompt::Prompt;
use super::screen::ScreenKind;
use crate::wire::{Event, PromptView};

/// A place in the queue, and at its head the right to show a prompt. Given up when dropped.
pub struct Turn<'a> {
    pub(super) desk: &'a Desk,
    pub(super) number: u64,
}

impl<'a> Turn<'a> {
    pub(super) fn take(desk: &'a Desk, whose: Whose<'_>) -> Self {
        let mut state = desk.state.borrow_mut();
        let first = whose.own.is_some() && !state.is_watched(whose);
        state.next += 1;
        let number = state.next;
        let place = if first {
            state.queue.partition_point(|waiting| waiting.first)
        } else {
            state.queue.len()
        };
        state.queue.insert(place, Waiting { number, first });
        state.tell_waiting();
        Self { desk, number }
    }

    pub(super) async fn come(&self, whose: Whose<'_>, tell: &UnboundedSender<Event>) {
        let (mut told, mut told_of_pause) = (None, false);
        loop {
            let changed = self.desk.changed.notified();
            let (ahead, pause) = {
                let state = self.desk.state.borrow();
                let before = state.queue.iter().take_while(|waiting| waiting.number != self.number).count();
                (
                    before + usize::from(state.open.is_some()),
                    state.brakes.of(whose).wait(self.desk.clock.boot()),
                )
            };
            match (ahead, pause) {
                (0, None) => return,
                (0, Some(pause)) => {
                    if !std::mem::replace(&mut told_of_pause, true) {
                        let seconds = pause.as_millis().div_ceil(1000);
                        let what = format!("the last prompts were denied: the next one opens in {seconds} s");
                        // As below.
                        let _ = tell.send(Event::Note { what });
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        // An approval may have ended the pause.
                        () = changed => {}
                    }
                }
                (ahead, _) => {
                    if told.replace(ahead) != Some(ahead) {
                        // Whoever asked may have gone already; the connection's own end cancels the request.
                        let _ = tell.send(Event::Queued { ahead: count(ahead) });
                    }
                    changed.await;
                }
            }
        }
    }

    /// Puts the text on a screen, and waits until a screen says that it is there.
    ///
    /// # Errors
    /// See [`PromptError`].
    pub async fn show(self, showing: Showing<'_>, whose: Whose<'_>, tell: UnboundedSender<Event>) -> Result<Prompt<'a>, PromptError> {
        let screens = self.desk.screens_for(whose)?;
        self.desk.check_brake(whose)?;
        let opened = self.desk.clock.boot();
        self.desk.state.borrow_mut().brakes.of_mut(whose).count(opened);
        let deadline = opened + showing.open_for;
        self.put_on(screens, showing, whose, &tell);
        let prompt = Prompt::new(self, tell, whose, opened, deadline);
        prompt.wait_shown().await?;
        Ok(prompt)
    }

    fn put_on(&self, sent_to: Vec<u64>, showing: Showing<'_>, whose: Whose<'_>, tell: &UnboundedSender<Event>) {
        let left_ms = u64::try_from(showing.open_for.as_millis()).unwrap_or(u64::MAX);
        let words = showing.words.map(str::to_owned);
        let _ = tell.send(Event::Asked {
            prompt: self.number,
            id: showing.id.to_owned(),
            words,
            left_ms,
        });
        let mut state = self.desk.state.borrow_mut();
        state.queue.retain(|waiting| waiting.number != self.number);
        let view = PromptView {
            prompt: self.number,
            text: showing.text.to_owned(),
            beside: showing.beside.map(str::to_owned),
            left_ms,
            keys: showing.keys,
            waiting: count(state.queue.len()),
            vault: showing.vault,
            elsewhere: None,
        };
        let mut watches = vec![];
        for screen in state.screens.iter().filter(|screen| sent_to.contains(&screen.id)) {
            let mut view = view.clone();
            if screen.kind == ScreenKind::Watch {
                watches.push(screen.id);
                view.elsewhere = whose.own.map(|_| whose.whereabouts.terminal_name());
            }
            let _ = screen.tx.send(Event::Prompt(view));
        }
        state.open = Some(Open {
            prompt: self.number,
            by: showing.by,
            sent_to,
            watches,
            shown_on: vec![],
            hidden_on: vec![],
            too_small: vec![],
            denied: false,
            pins: vec![],
        });
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.desk.state.borrow_mut();
        let before = state.queue.len();
        state.queue.retain(|waiting| waiting.number != self.number);
        if state.queue.len() < before {
            state.tell_waiting();
        }
        if state.open.as_ref().is_some_and(|open| open.prompt == self.number) {
            state.open = None;
        }
        drop(state);
        self.desk.changed.notify_waiters();
    }
}
