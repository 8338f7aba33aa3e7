//! Time, handed to whoever needs it.

use std::future::Future;
use std::io;
use std::ops::Add;
use std::pin::Pin;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::sys;

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
    /// Waits until either moment has come, through suspend; also ends when somebody sets the wall clock, so that the caller looks
    /// again. Needs a tokio runtime.
    fn sleep(&self, boot: Boot, wall: Wall) -> Sleep;
}

/// What [`Clock::sleep`] waits in. An error means that waiting is not possible, and the moment has to be taken as come.
pub type Sleep = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Waits until `deadline`, whatever happens to the wall clock meanwhile.
pub async fn until(clock: &dyn Clock, deadline: Boot) {
    // Far enough, and still a time that timerfd takes.
    let never = Wall(u64::MAX >> 12);
    while clock.boot() < deadline {
        if clock.sleep(deadline, never).await.is_err() {
            return;
        }
    }
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

    fn sleep(&self, boot: Boot, wall: Wall) -> Sleep {
        Box::pin(async move {
            // tokio's own timers stand still in suspend; these two do not, and the second also ends with ECANCELED when the clock is
            // set (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
            let by_boot = timer(TimerfdClockId::Boottime, TimerfdTimerFlags::ABSTIME, boot.0)?;
            let by_wall = timer(
                TimerfdClockId::Realtime,
                TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET,
                wall.0,
            )?;
            tokio::select! {
                ready = by_boot.readable() => ready.map(drop),
                ready = by_wall.readable() => ready.map(drop),
            }
        })
    }
}

fn timer(clock: TimerfdClockId, flags: TimerfdTimerFlags, at: u64) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = timerfd_create(clock, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    // A zero would disarm it.
    let at = at.max(1);
    let at = Timespec {
        tv_sec: i64::try_from(at / 1000).unwrap_or(i64::MAX),
        tv_nsec: (at % 1000 * 1_000_000).cast_signed(),
    };
    timerfd_settime(
        &fd,
        flags,
        &Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: at,
        },
    )?;
    sys::wait::readable(fd)
}

fn millis(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    u64::try_from(t.tv_sec).unwrap_or(0) * 1000 + u64::try_from(t.tv_nsec).unwrap_or(0) / 1_000_000
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sleep_ends_at_the_first_of_both_moments() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let far = Duration::from_secs(3600);
        runtime.block_on(async {
            let (boot, wall) = (SystemClock.boot(), SystemClock.wall());
            SystemClock.sleep(boot + Duration::from_millis(20), wall + far).await.unwrap();
            assert!(SystemClock.boot() >= boot + Duration::from_millis(20));
            SystemClock.sleep(boot + far, wall + Duration::from_millis(40)).await.unwrap();
            assert!(SystemClock.boot() < boot + far);
        });
    }
}
