//! The log as a witness against a clock that was set.
//!
//! A wall clock set ahead would have us sign things that are good in the future; one set back would keep old ones alive. So before
//! anything with a wall-clock life is issued, the clock must not be earlier than the last line, nor, within one boot, more than ten
//! minutes from that line's time plus the `CLOCK_BOOTTIME` since.
//!
//! A line written under a clock that breaks the rule must not become the witness for that clock: it carries by how much it departs
//! ([`Line::skew`]), and the time that counts for the next line is the one without it. A person who knows better says so by a touch
//! ([`Event::ClockAccepted`]).

use std::time::Duration;

use thiserror::Error;

use super::event::Event;
use super::record::Line;
use crate::clock::{Boot, Wall};

/// How far the wall clock may drift from `CLOCK_BOOTTIME` within one boot, either way.
pub const DRIFT: Duration = Duration::from_secs(600);

/// The clock is not to be believed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ClockError {
    /// Set back, or the battery of the clock is empty.
    #[error("the clock is {} s earlier than the last line of the audit log", .by.as_secs().max(1))]
    Back {
        /// By how much.
        by: Duration,
    },
    /// Set ahead, or a virtual machine was paused.
    #[error("the clock was moved {} s ahead since the last line of the audit log", .by.as_secs())]
    Ahead {
        /// By how much.
        by: Duration,
    },
    /// Set back, but not before the last line.
    #[error("the clock was moved {} s back since the last line of the audit log", .by.as_secs())]
    Behind {
        /// By how much.
        by: Duration,
    },
}

/// Both clocks at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Wall clock; in a moment that is a witness, the time that counts.
    pub wall: Wall,
    /// `CLOCK_BOOTTIME`.
    pub boot: Boot,
    /// The kernel's id of the boot.
    pub boot_id: String,
}

impl Moment {
    /// The moment to which a line of the log bears witness.
    #[must_use]
    pub fn of(line: &Line) -> Self {
        Self {
            wall: Wall(line.at.saturating_add_signed(line.skew.saturating_neg())),
            boot: line.boottime(),
            boot_id: line.boot_id.clone().into_owned(),
        }
    }
}

/// Holds the clock `now` against the moment `last` of the log.
///
/// # Errors
/// See [`ClockError`].
pub fn check(last: &Moment, now: &Moment) -> Result<(), ClockError> {
    if now.wall < last.wall {
        return Err(ClockError::Back {
            by: apart(last.wall, now.wall),
        });
    }
    if now.boot_id != last.boot_id {
        return Ok(());
    }
    let expected = expected(last, now);
    let by = apart(expected, now.wall);
    match now.wall > expected {
        true if by > DRIFT => Err(ClockError::Ahead { by }),
        false if by > DRIFT => Err(ClockError::Behind { by }),
        _ => Ok(()),
    }
}

/// What [`Line::skew`] of a line with `event`, written `now` after `last`, has to be.
#[must_use]
pub fn skew(last: Option<&Moment>, now: &Moment, event: &Event) -> i64 {
    let Some(last) = last else { return 0 };
    if matches!(event, Event::ClockAccepted(_)) || check(last, now).is_ok() {
        return 0;
    }
    // Never 0: what breaks the rule is before `expected`, or ten minutes from it.
    let millis = |wall: Wall| i64::try_from(wall.0).unwrap_or(i64::MAX);
    millis(now.wall) - millis(expected(last, now))
}

/// The wall clock that `last` lets us expect. Across a boot nothing is known of the time between.
fn expected(last: &Moment, now: &Moment) -> Wall {
    if now.boot_id == last.boot_id {
        last.wall + now.boot.since(last.boot)
    } else {
        last.wall
    }
}

fn apart(a: Wall, b: Wall) -> Duration {
    Duration::from_millis(a.0.abs_diff(b.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::borrow::Cow;

    use super::*;
    use crate::audit::record::{NO_LINE, VERSION};
    use crate::audit::testing::{asked, signed};

    const START: u64 = 1_700_000_000_000;
    const HOUR: u64 = 3_600_000;

    fn moment(wall: u64, boot: u64, boot_id: &str) -> Moment {
        Moment {
            wall: Wall(wall),
            boot: Boot(boot),
            boot_id: boot_id.into(),
        }
    }

    fn line(last: &Moment, now: &Moment, event: Event) -> Line<'static> {
        Line {
            at: now.wall.0,
            boot: now.boot.0,
            boot_id: now.boot_id.clone().into(),
            skew: skew(Some(last), now, &event),
            event: Cow::Owned(event),
            prev: NO_LINE,
            seq: 2,
            v: VERSION,
        }
    }

    #[test]
    fn t14_a_clock_set_back_to_the_epoch_is_refused() {
        let last = moment(START, HOUR, "a");
        for boot_id in ["a", "b"] {
            let error = check(&last, &moment(0, HOUR + 5, boot_id)).unwrap_err();
            assert_eq!(
                error,
                ClockError::Back {
                    by: Duration::from_millis(START)
                }
            );
        }
    }

    #[test]
    fn t14_a_clock_set_ahead_within_a_boot_is_refused_after_ten_minutes() {
        let last = moment(START, HOUR, "a");
        assert_eq!(check(&last, &moment(START + 601_000, HOUR + 1_000, "a")), Ok(()));
        assert_eq!(
            check(&last, &moment(START + 601_001, HOUR + 1_000, "a")),
            Err(ClockError::Ahead {
                by: Duration::from_millis(600_001)
            })
        );
    }

    #[test]
    fn t14_a_clock_set_back_but_not_before_the_last_line_is_refused() {
        let last = moment(START, HOUR, "a");
        assert_eq!(
            check(&last, &moment(START + 1, HOUR + 600_002, "a")),
            Err(ClockError::Behind {
                by: Duration::from_millis(600_001)
            })
        );
    }

    #[test]
    fn t15_a_suspend_is_time_that_passed() {
        let last = moment(START, HOUR, "a");
        assert_eq!(check(&last, &moment(START + 9 * HOUR, 10 * HOUR, "a")), Ok(()));
    }

    #[test]
    fn a_new_boot_knows_only_that_time_does_not_run_back() {
        let last = moment(START, HOUR, "a");
        assert_eq!(check(&last, &moment(START + 1000 * HOUR, 1, "b")), Ok(()));
        assert!(check(&last, &moment(START - 1, 1, "b")).is_err());
    }

    #[test]
    fn t14_a_line_under_a_wrong_clock_does_not_vouch_for_it() {
        let last = moment(START, HOUR, "a");
        let wrong = moment(START + 100 * HOUR, HOUR + 1_000, "a");
        let line = line(&last, &wrong, asked("x"));
        assert_eq!(line.skew, i64::try_from(100 * HOUR - 1_000).unwrap());
        let last = Moment::of(&line);
        assert!(check(&last, &moment(START + 100 * HOUR + 1, HOUR + 1_001, "a")).is_err());
        assert_eq!(check(&last, &moment(START + 2_000, HOUR + 2_000, "a")), Ok(()));
    }

    #[test]
    fn a_touch_accepts_the_clock_as_it_stands() {
        let last = moment(START, HOUR, "a");
        for now in [
            moment(START + 100 * HOUR, HOUR + 1_000, "a"),
            moment(START - HOUR, HOUR + 1_000, "a"),
        ] {
            let line = line(&last, &now, Event::ClockAccepted(signed("{}")));
            assert_eq!(check(&Moment::of(&line), &now), Ok(()));
        }
    }
}
