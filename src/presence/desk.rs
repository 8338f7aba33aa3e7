//! One prompt at a time, on a screen that the requester does not own.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::brake::Brake;
use super::screen::{Attached, Screen, ScreenKind, Standing};
use crate::clock::{Boot, Clock};
use crate::secret::Secret;
use crate::wire::{Answer, Event, Outcome, PromptView, TouchState};

/// How long a screen has to say that it shows a prompt.
const SHOW_WITHIN: Duration = Duration::from_secs(2);
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
    clock: Arc<dyn Clock>,
    state: RefCell<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    screens: Vec<Screen>,
    queue: Vec<Waiting>,
    open: Option<Open>,
    brake: Brake,
}

/// A request in the queue. A person at his own terminal goes before those who wait for a watch, so that nobody who floods the
/// watch keeps him out.
struct Waiting {
    number: u64,
    own: bool,
}

struct Open {
    prompt: u64,
    shown_on: Vec<u64>,
    sent_to: Vec<u64>,
    denied: bool,
    pins: Vec<(String, Secret)>,
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
        Ok(Prompt {
            ticket,
            tell: showing.tell,
            own: showing.own,
            deadline,
            outcome: Cell::new(Some(Outcome::Internal)),
        })
    }
}

impl State {
    /// The screens of the open prompt say how many wait behind it.
    fn tell_waiting(&self) {
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

/// A place in the queue, given up when dropped.
struct Ticket<'a> {
    desk: &'a Desk,
    number: u64,
}

impl<'a> Ticket<'a> {
    fn take(desk: &'a Desk, own: bool) -> Self {
        let mut state = desk.state.borrow_mut();
        state.next += 1;
        let number = state.next;
        let place = if own {
            state.queue.partition_point(|waiting| waiting.own)
        } else {
            state.queue.len()
        };
        state.queue.insert(place, Waiting { number, own });
        state.tell_waiting();
        Self { desk, number }
    }

    async fn turn(&self, showing: &Showing<'_>) {
        let mut told = None;
        loop {
            let changed = self.desk.changed.notified();
            let (ahead, pause) = {
                let state = self.desk.state.borrow();
                let ahead =
                    state.queue.iter().take_while(|waiting| waiting.number != self.number).count() + usize::from(state.open.is_some());
                (
                    ahead,
                    if showing.own.is_none() {
                        state.brake.wait(self.desk.clock.boot())
                    } else {
                        None
                    },
                )
            };
            match (ahead, pause) {
                (0, None) => return,
                (0, Some(pause)) => tokio::time::sleep(pause).await,
                (ahead, _) => {
                    if told.replace(ahead) != Some(ahead) {
                        let _ = showing.tell.send(Event::Queued { ahead: count(ahead) });
                    }
                    changed.await;
                }
            }
        }
    }
}

impl Drop for Ticket<'_> {
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

/// A prompt that stands on a screen. Dropping it takes it off.
pub struct Prompt<'a> {
    ticket: Ticket<'a>,
    tell: UnboundedSender<Event>,
    own: Option<u64>,
    deadline: Boot,
    /// What the screens are told at the end: a failure until somebody says otherwise.
    outcome: Cell<Option<Outcome>>,
}

impl Prompt<'_> {
    /// When it closes.
    #[must_use]
    pub fn deadline(&self) -> Boot {
        self.deadline
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.ticket.number
    }

    /// Tells the screens and the requester where the touch stands.
    pub fn tell(&self, touch: &TouchState) {
        self.broadcast(|| Event::Touch {
            prompt: self.number(),
            state: touch.clone(),
        });
    }

    /// Ends when a person says no, or when no screen shows the prompt any more.
    pub async fn refused(&self) -> Outcome {
        self.until(|open| match (open.denied, open.shown_on.is_empty()) {
            (true, _) => Some(Outcome::Denied),
            (_, true) => Some(Outcome::NoScreen),
            _ => None,
        })
        .await
    }

    /// The next PIN that a person types on a screen: the key's name and the PIN.
    pub async fn pin(&self) -> (String, Secret) {
        self.until(|open| open.pins.pop()).await
    }

    /// Says how it failed.
    pub fn failed(&self, outcome: Outcome) {
        self.outcome.set(Some(outcome));
        if outcome == Outcome::Denied && self.own.is_none() {
            self.desk().state.borrow_mut().brake.denied(self.desk().clock.boot());
        }
    }

    /// Says that it was approved.
    pub fn approved(&self) {
        self.outcome.set(None);
        self.desk().state.borrow_mut().brake.approved();
    }

    fn desk(&self) -> &Desk {
        self.ticket.desk
    }

    async fn wait_shown(&self) -> Result<(), PromptError> {
        let shown = self.until(|open| (!open.shown_on.is_empty()).then_some(()));
        tokio::time::timeout(SHOW_WITHIN, shown).await.map_err(|_| PromptError::ScreenGone)
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

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::clock::SystemClock;

    fn desk() -> Desk {
        Desk::new(Arc::new(SystemClock))
    }

    fn person() -> Standing {
        Standing {
            pid: 10,
            session: 9,
            terminal: Some(2),
            foreground: true,
            ancestors: vec![],
        }
    }

    fn agent() -> Standing {
        Standing {
            pid: 20,
            session: 19,
            ..Standing::default()
        }
    }

    fn showing<'a>(requester: &'a Standing, own: Option<u64>, tell: UnboundedSender<Event>) -> Showing<'a> {
        Showing {
            text: "{}",
            id: "1",
            words: ["abandon"; 4],
            keys: vec![],
            vault: String::new(),
            open_for: Duration::from_secs(60),
            requester,
            own,
            tell,
        }
    }

    async fn next_prompt(rx: &mut UnboundedReceiver<Event>) -> u64 {
        loop {
            if let Event::Prompt(view) = rx.recv().await.unwrap() {
                return view.prompt;
            }
        }
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(test);
    }

    #[test]
    fn without_a_screen_no_prompt_opens() {
        run(async {
            let (desk, requester) = (desk(), agent());
            let refused = desk.open(showing(&requester, None, unbounded_channel().0)).await;
            assert_eq!(refused.err(), Some(PromptError::NoScreen));
        });
    }

    #[test]
    fn a_screen_that_does_not_say_shown_is_not_trusted_with_the_prompt() {
        run(async {
            let (desk, requester) = (desk(), agent());
            let (tx, _rx) = unbounded_channel();
            let _watch = desk.attach(ScreenKind::Watch, person(), tx);
            assert_eq!(
                desk.open(showing(&requester, None, unbounded_channel().0)).await.err(),
                Some(PromptError::ScreenGone)
            );
        });
    }

    #[test]
    fn a_denial_reaches_the_prompt_and_only_from_a_screen_that_was_sent_it() {
        run(async {
            let (desk, requester) = (desk(), agent());
            let (tx, mut rx) = unbounded_channel();
            let watch = desk.attach(ScreenKind::Watch, person(), tx);
            let foreign = desk.attach(ScreenKind::Own, person(), unbounded_channel().0);
            let opening = desk.open(showing(&requester, None, unbounded_channel().0));
            let (prompt, ()) = tokio::join!(opening, async {
                let prompt = next_prompt(&mut rx).await;
                desk.answer(foreign.id(), Answer::Deny { prompt });
                desk.answer(watch.id(), Answer::Shown { prompt });
            });
            let prompt = prompt.unwrap();
            assert!(tokio::time::timeout(Duration::from_secs(1), prompt.refused()).await.is_err());
            desk.answer(watch.id(), Answer::Deny { prompt: prompt.number() });
            assert_eq!(prompt.refused().await, Outcome::Denied);
        });
    }

    #[test]
    fn a_prompt_whose_screens_are_all_closed_is_refused() {
        run(async {
            let (desk, requester) = (desk(), agent());
            let (tx, mut rx) = unbounded_channel();
            let watch = desk.attach(ScreenKind::Watch, person(), tx);
            let opening = desk.open(showing(&requester, None, unbounded_channel().0));
            let (prompt, ()) = tokio::join!(opening, async {
                let prompt = next_prompt(&mut rx).await;
                desk.answer(watch.id(), Answer::Shown { prompt });
            });
            let prompt = prompt.unwrap();
            drop(watch);
            assert_eq!(prompt.refused().await, Outcome::NoScreen);
        });
    }

    #[test]
    fn one_prompt_is_open_at_a_time_and_a_person_at_his_own_terminal_goes_first() {
        run(async {
            let (desk, requester) = (desk(), agent());
            let (tx, mut rx) = unbounded_channel();
            let watch = desk.attach(ScreenKind::Watch, person(), tx);
            let (own_tx, mut own_rx) = unbounded_channel();
            let own_standing = Standing {
                pid: 30,
                session: 29,
                terminal: Some(3),
                foreground: true,
                ancestors: vec![],
            };
            let own = desk.attach(ScreenKind::Own, own_standing.clone(), own_tx);

            let (first, ()) = tokio::join!(desk.open(showing(&requester, None, unbounded_channel().0)), async {
                let prompt = next_prompt(&mut rx).await;
                desk.answer(watch.id(), Answer::Shown { prompt });
            });
            let order = RefCell::new(Vec::new());
            let second = async {
                let prompt = desk.open(showing(&requester, None, unbounded_channel().0)).await.unwrap();
                order.borrow_mut().push("watch");
                drop(prompt);
            };
            let third = async {
                let prompt = desk
                    .open(showing(&own_standing, Some(own.id()), unbounded_channel().0))
                    .await
                    .unwrap();
                order.borrow_mut().push("own");
                drop(prompt);
            };
            let person = async {
                assert_eq!(desk.counts(), (1, 3));
                drop(first.unwrap());
                let prompt = next_prompt(&mut own_rx).await;
                desk.answer(own.id(), Answer::Shown { prompt });
                let prompt = next_prompt(&mut rx).await;
                desk.answer(watch.id(), Answer::Shown { prompt });
            };
            tokio::join!(second, third, async {
                tokio::task::yield_now().await;
                person.await;
            });
            assert_eq!(*order.borrow(), ["own", "watch"]);
        });
    }

    #[test]
    fn t12_a_flood_is_refused_after_ten_prompts() {
        run(async {
            let (desk, requester) = (desk(), agent());
            let (tx, mut rx) = unbounded_channel();
            let watch = desk.attach(ScreenKind::Watch, person(), tx);
            for _ in 0..10 {
                let (prompt, ()) = tokio::join!(desk.open(showing(&requester, None, unbounded_channel().0)), async {
                    let prompt = next_prompt(&mut rx).await;
                    desk.answer(watch.id(), Answer::Shown { prompt });
                });
                drop(prompt.unwrap());
            }
            let eleventh = desk.open(showing(&requester, None, unbounded_channel().0)).await.err();
            assert!(matches!(eleventh, Some(PromptError::TooMany { .. })), "{eleventh:?}");
        });
    }
}
