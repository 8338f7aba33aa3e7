//! The finger that a test controls.
//!
//! A real key waits about 30 seconds for a touch. No test has to: whatever the finger is told while a key waits takes
//! effect at once, [`Finger::expire`] included.

use std::{
    fmt,
    str::FromStr,
    sync::{Condvar, Mutex},
    time::{Duration, Instant},
};

use crate::sync::lock;

/// What the finger does each time the key asks for a touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Touches at once.
    Grant,
    /// Touches this long after the key asked.
    Delay(Duration),
    /// Declines at once: the key answers "operation denied".
    Deny,
    /// Does nothing by itself; ended by [`Finger::press`], [`Finger::refuse`], [`Finger::expire`], a cancel or the key's
    /// own patience.
    Never,
    /// Presence is the card entering the field, and lasts for one operation (CTAP 2.1, 11.3); later requests are denied.
    Tap,
}

/// How one request for a touch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The key was touched.
    Touched,
    /// The person declined.
    Denied,
    /// The key gave up waiting.
    TimedOut,
    /// The host cancelled, or the key was pulled.
    Cancelled,
}

/// What happened at the key's button since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often the key asked for a touch.
    pub asked: u64,
    /// How often it got one.
    pub given: u64,
    /// How often the wait ended without one, for whatever reason.
    pub refused: u64,
    /// Whether it is waiting now.
    pub waiting: bool,
}

/// The finger over one key.
#[derive(Debug)]
pub struct Finger {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    counts: Counts,
    told: Option<Outcome>,
    operations: Operations,
    tapped: bool,
}

/// Operations are numbered, so that a cancel of one never hits the next.
#[derive(Debug, Default)]
struct Operations {
    submitted: u64,
    running: u64,
    cancelled: u64,
}

impl Finger {
    /// A finger that does this until told otherwise.
    pub fn new(mode: Mode) -> Self {
        let state = State {
            mode,
            counts: Counts::default(),
            told: None,
            operations: Operations::default(),
            tapped: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Changes what the finger does, also for the request that is waiting now.
    pub fn set(&self, mode: Mode) {
        lock(&self.state).mode = mode;
        self.changed.notify_all();
    }

    /// Touches the key that is waiting; false if it is not.
    pub fn press(&self) -> bool {
        self.tell(Outcome::Touched)
    }

    /// Declines the request that is waiting; false if there is none.
    pub fn refuse(&self) -> bool {
        self.tell(Outcome::Denied)
    }

    /// Ends the wait as if the key's time for it were over; false if it does not wait.
    pub fn expire(&self) -> bool {
        self.tell(Outcome::TimedOut)
    }

    /// Waits until the key waits for a touch; false if it does not within `limit`.
    pub fn await_asked(&self, limit: Duration) -> bool {
        let state = lock(&self.state);
        match self.changed.wait_timeout_while(state, limit, |state| !state.counts.waiting) {
            Ok((state, _)) => state.counts.waiting,
            Err(poisoned) => poisoned.into_inner().0.counts.waiting,
        }
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        lock(&self.state).counts
    }

    /// The host's cancel: no operation submitted so far gets a touch any more.
    pub(crate) fn cancel(&self) {
        let operations = &mut lock(&self.state).operations;
        operations.cancelled = operations.submitted;
        self.changed.notify_all();
    }

    /// Numbers an operation that was submitted.
    pub(crate) fn submit(&self) -> u64 {
        let operations = &mut lock(&self.state).operations;
        operations.submitted += 1;
        operations.submitted
    }

    /// The key works on this operation now.
    pub(crate) fn begin(&self, operation: u64) {
        lock(&self.state).operations.running = operation;
    }

    /// The card was powered up, or down.
    pub(crate) fn power(&self, up: bool) {
        lock(&self.state).tapped = up;
    }

    /// The key asks for a touch and waits for it, `patience` at most.
    pub(crate) fn ask(&self, patience: Duration) -> Outcome {
        let since = Instant::now();
        let mut state = lock(&self.state);
        state.counts.asked += 1;
        state.counts.waiting = true;
        state.told = None;
        self.changed.notify_all();
        let outcome = loop {
            let waited = since.elapsed();
            if let Some(outcome) = state.decide(waited, patience) {
                break outcome;
            }
            let until = state.next_change(patience);
            state = match self.changed.wait_timeout(state, until.saturating_sub(waited)) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        };
        state.counts.waiting = false;
        match outcome {
            Outcome::Touched => state.counts.given += 1,
            _ => state.counts.refused += 1,
        }
        outcome
    }

    fn tell(&self, outcome: Outcome) -> bool {
        let mut state = lock(&self.state);
        if state.counts.waiting {
            state.told = Some(outcome);
            self.changed.notify_all();
        }
        state.counts.waiting
    }
}

impl State {
    fn decide(&mut self, waited: Duration, patience: Duration) -> Option<Outcome> {
        if self.operations.running <= self.operations.cancelled && self.operations.cancelled > 0 {
            return Some(Outcome::Cancelled);
        }
        if let Some(told) = self.told {
            return Some(told);
        }
        match self.mode {
            Mode::Grant => Some(Outcome::Touched),
            Mode::Deny => Some(Outcome::Denied),
            Mode::Tap if std::mem::take(&mut self.tapped) => Some(Outcome::Touched),
            Mode::Tap => Some(Outcome::Denied),
            Mode::Delay(delay) if waited >= delay && delay <= patience => Some(Outcome::Touched),
            _ => (waited >= patience).then_some(Outcome::TimedOut),
        }
    }

    fn next_change(&self, patience: Duration) -> Duration {
        match self.mode {
            Mode::Delay(delay) => delay.min(patience),
            _ => patience,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            asked,
            given,
            refused,
            waiting,
        } = self;
        write!(f, "asked={asked} given={given} refused={refused} waiting={waiting}")
    }
}

/// A line that is not what [`Counts`] displays as.
#[derive(Debug, thiserror::Error)]
#[error("not a line of counts: {0}")]
pub struct NotCounts(String);

impl FromStr for Counts {
    type Err = NotCounts;

    fn from_str(line: &str) -> Result<Self, NotCounts> {
        let field = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let number = |name| field(name)?.parse().ok();
        let counts = || {
            Some(Self {
                asked: number("asked")?,
                given: number("given")?,
                refused: number("refused")?,
                waiting: field("waiting")?.parse().ok()?,
            })
        };
        counts().ok_or_else(|| NotCounts(line.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn asked(mode: Mode, meanwhile: impl FnOnce(&Finger)) -> (Outcome, Counts) {
        let finger = Arc::new(Finger::new(mode));
        finger.begin(finger.submit());
        let key = thread::spawn({
            let finger = finger.clone();
            move || finger.ask(PATIENCE)
        });
        assert!(finger.await_asked(PATIENCE));
        meanwhile(&finger);
        (key.join().unwrap(), finger.counts())
    }

    #[test]
    fn a_granting_finger_touches_at_once_and_is_counted() {
        let finger = Finger::new(Mode::Grant);
        assert_eq!(finger.ask(PATIENCE), Outcome::Touched);
        assert_eq!(
            finger.counts(),
            Counts {
                asked: 1,
                given: 1,
                refused: 0,
                waiting: false
            }
        );
    }

    #[test]
    fn a_denying_finger_declines_at_once() {
        let finger = Finger::new(Mode::Deny);
        assert_eq!(finger.ask(PATIENCE), Outcome::Denied);
        assert_eq!(finger.counts().refused, 1);
    }

    #[test]
    fn a_waiting_key_is_pressed_refused_or_expired_on_command() {
        assert_eq!(asked(Mode::Never, |finger| assert!(finger.press())).0, Outcome::Touched);
        assert_eq!(asked(Mode::Never, |finger| assert!(finger.refuse())).0, Outcome::Denied);
        assert_eq!(asked(Mode::Never, |finger| assert!(finger.expire())).0, Outcome::TimedOut);
        assert_eq!(asked(Mode::Never, Finger::cancel).0, Outcome::Cancelled);
    }

    #[test]
    fn a_change_of_mode_reaches_the_request_that_waits() {
        let (outcome, counts) = asked(Mode::Never, |finger| finger.set(Mode::Grant));
        assert_eq!(outcome, Outcome::Touched);
        assert!(!counts.waiting);
    }

    #[test]
    fn a_delayed_finger_touches_after_its_delay_but_not_after_the_keys_patience() {
        let finger = Finger::new(Mode::Delay(Duration::from_millis(5)));
        let since = Instant::now();
        assert_eq!(finger.ask(PATIENCE), Outcome::Touched);
        assert!(since.elapsed() >= Duration::from_millis(5));
        assert_eq!(finger.ask(Duration::from_millis(1)), Outcome::TimedOut);
    }

    #[test]
    fn a_tap_serves_one_operation() {
        let finger = Finger::new(Mode::Tap);
        finger.power(true);
        assert_eq!(finger.ask(PATIENCE), Outcome::Touched);
        assert_eq!(finger.ask(PATIENCE), Outcome::Denied);
    }

    #[test]
    fn a_cancel_counts_for_what_was_submitted_before_it_even_if_the_key_has_yet_to_ask() {
        let finger = Finger::new(Mode::Grant);
        let cancelled = finger.submit();
        finger.cancel();
        let next = finger.submit();
        finger.begin(cancelled);
        assert_eq!(finger.ask(PATIENCE), Outcome::Cancelled);
        finger.begin(next);
        assert_eq!(finger.ask(PATIENCE), Outcome::Touched);
    }

    #[test]
    fn nobody_presses_a_key_that_does_not_ask() {
        let finger = Finger::new(Mode::Never);
        assert!(!finger.press());
        assert!(!finger.expire());
    }

    #[test]
    fn counts_survive_their_text_form() {
        let counts = Counts {
            asked: 3,
            given: 1,
            refused: 1,
            waiting: true,
        };
        assert_eq!(counts.to_string().parse::<Counts>().unwrap(), counts);
        assert!("asked=1".parse::<Counts>().is_err());
    }
}
