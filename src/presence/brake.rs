//! Brakes against being asked to death. They count by time alone: a brake that counted a caller's own name would be none.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::desk::Whose;
use crate::clock::Boot;

/// Most prompts of a budget within [`WINDOW`].
const MOST: usize = 10;
const WINDOW: Duration = Duration::from_secs(600);
/// First pause after a denial; doubled by each denial in a row.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// What a prompt is counted against: all that stand on watches alone, or all that stand on requesters' own terminals. A terminal is
/// made in no time, so that one is never counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Budget {
    Watches,
    Own,
}

/// The brakes of all budgets.
#[derive(Debug, Default)]
pub(super) struct Brakes {
    used: HashMap<Budget, Brake>,
    unused: Brake,
}

/// When the next prompt of a budget may open.
#[derive(Debug, Default)]
pub(super) struct Brake {
    opened: VecDeque<Boot>,
    denials: u32,
    paused_until: Option<Boot>,
}

impl Budget {
    pub(super) fn of(whose: Whose<'_>) -> Self {
        match whose.own {
            Some(_) => Self::Own,
            None => Self::Watches,
        }
    }
}

impl Brakes {
    pub(super) fn of(&self, whose: Whose<'_>) -> &Brake {
        self.used.get(&Budget::of(whose)).unwrap_or(&self.unused)
    }

    pub(super) fn of_mut(&mut self, whose: Whose<'_>) -> &mut Brake {
        self.get_mut(Budget::of(whose))
    }

    pub(super) fn get_mut(&mut self, budget: Budget) -> &mut Brake {
        self.used.entry(budget).or_default()
    }
}

impl Brake {
    /// Time to wait before a prompt may open, or nothing when it may now.
    pub(super) fn wait(&self, now: Boot) -> Option<Duration> {
        self.paused_until.map(|until| until.since(now)).filter(|left| !left.is_zero())
    }

    /// Time until there is room for another prompt, when there is none now.
    pub(super) fn full(&self, now: Boot) -> Option<Duration> {
        let recent = self.opened.iter().filter(|at| now.since(**at) < WINDOW);
        if recent.count() < MOST {
            return None;
        }
        self.opened.front().map(|first| (*first + WINDOW).since(now))
    }

    pub(super) fn count(&mut self, now: Boot) {
        self.opened.push_back(now);
        if self.opened.len() > MOST {
            self.opened.pop_front();
        }
    }

    /// The prompt that opened then was touched for at a terminal of the person's own: he may put secrets in one by one.
    pub(super) fn uncount(&mut self, opened: Boot) {
        if let Some(at) = self.opened.iter().position(|at| *at == opened) {
            self.opened.remove(at);
        }
    }

    pub(super) fn denied(&mut self, now: Boot) {
        let pause = PAUSE.saturating_mul(1 << self.denials.min(6)).min(LONGEST_PAUSE);
        self.denials = self.denials.saturating_add(1);
        self.paused_until = Some(now + pause);
    }

    pub(super) fn approved(&mut self) {
        self.denials = 0;
        self.paused_until = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t12_the_eleventh_prompt_in_ten_minutes_has_to_wait() {
        let mut brake = Brake::default();
        for k in 0..10 {
            assert_eq!(brake.full(Boot(k)), None);
            brake.count(Boot(k));
        }
        assert_eq!(brake.full(Boot(10)).unwrap(), Duration::from_millis(599_990));
        assert_eq!(brake.full(Boot(600_000)), None);
    }

    #[test]
    fn each_denial_in_a_row_doubles_the_pause_and_an_approval_ends_it() {
        let mut brake = Brake::default();
        let pauses: Vec<_> = (0..9)
            .map(|_| {
                brake.denied(Boot(0));
                brake.wait(Boot(0)).unwrap().as_secs()
            })
            .collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 120, 120, 120]);
        brake.approved();
        assert_eq!(brake.wait(Boot(0)), None);
    }
}
