//! Time, handed to whoever needs it.

use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Wall clock: milliseconds since 1970-01-01T00:00:00Z. Somebody may set it; it decides nothing alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall(pub u64);

/// `CLOCK_BOOTTIME`: milliseconds since boot, counting suspend, which nobody can set. Deadlines run on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boot(pub u64);

impl Wall {
    /// Whole seconds since the epoch.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

impl Boot {
    /// Time left until `self`, zero when past.
    #[must_use]
    pub fn since(self, earlier: Boot) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Boot {
    type Output = Boot;

    fn add(self, rhs: Duration) -> Boot {
        Boot(self.0.saturating_add(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;

    fn add(self, rhs: Duration) -> Wall {
        Wall(self.0.saturating_add(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Where time comes from. Tests bring a clock of their own.
pub trait Clock: Send + Sync {
    /// Now, by the wall clock.
    fn wall(&self) -> Wall;
    /// Now, by the clock that counts suspend.
    fn boot(&self) -> Boot;
}

/// The kernel's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Wall {
        Wall(millis(ClockId::Realtime))
    }

    fn boot(&self) -> Boot {
        Boot(millis(ClockId::Boottime))
    }
}

fn millis(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    u64::try_from(t.tv_sec).unwrap_or(0) * 1000 + u64::try_from(t.tv_nsec).unwrap_or(0) / 1_000_000
}
