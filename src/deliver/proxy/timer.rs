//! Waits of which nearly all are over before their time: each connection has one timer, that is set again when it rings and not for each wait.
//! To put one into the runtime and to take it out again costs more than to look whether it rang.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant as StdInstant};

use hyper::rt::{Sleep, Timer};
use tokio::time::{self, Instant, sleep_until};

/// It rings after that at the latest: the runtime wakes itself for each timer that ends before all others, and of timers of one length the next
/// one never does.
pub const LONGEST: Duration = Duration::from_secs(300);

/// The timer of one connection, for one wait after the other.
#[derive(Default)]
pub struct LazyTimer(Option<Pin<Box<time::Sleep>>>);

impl LazyTimer {
    /// Waits for an answer, as long as this.
    pub async fn wait<T>(&mut self, patience: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut answer = pin!(answer);
        poll_fn(|context| match answer.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => self.poll(deadline, context).map(|()| None),
        })
        .await
    }

    /// Ready from `deadline` on. It may have been set for a wait before, which ended before its time.
    fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let next = || deadline.min(Instant::now() + LONGEST);
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(next())));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(next());
        }
    }
}

/// The same for the library, which waits in one place of a connection at one time.
#[derive(Clone, Default)]
pub struct HyperTimer(Arc<Mutex<LazyTimer>>);

impl Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: StdInstant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait {
            timer: self.0.clone(),
            deadline: deadline.into(),
        })
    }

    fn now(&self) -> StdInstant {
        Instant::now().into()
    }
}

struct Wait {
    timer: Arc<Mutex<LazyTimer>>,
    deadline: Instant,
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        timer.poll(self.deadline, context)
    }
}

impl Sleep for Wait {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::{pending, ready};

    use super::*;

    fn paused(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap().block_on(test);
    }

    #[test]
    fn a_wait_is_as_long_as_it_is_whatever_the_waits_before_it_were() {
        paused(async {
            let mut timer = LazyTimer::default();
            for (patience, after) in [(900, 0), (300, 0), (7, 290), (900, 10), (1, 0), (300, 899), (2000, 1)] {
                let (patience, after) = (Duration::from_secs(patience), Duration::from_secs(after));
                assert_eq!(timer.wait(patience, ready(7)).await, Some(7));
                time::sleep(after).await;
                let begun = Instant::now();
                assert_eq!(timer.wait(patience, pending::<()>()).await, None);
                let took = begun.elapsed();
                assert!(
                    took >= patience && took < patience + Duration::from_millis(5),
                    "{patience:?}: {took:?}"
                );
            }
        });
    }

    #[test]
    fn what_comes_in_time_is_taken_and_leaves_the_next_wait_its_whole_time() {
        paused(async {
            let mut timer = LazyTimer::default();
            for _ in 0..5 {
                let answer = time::sleep(Duration::from_secs(299));
                assert_eq!(timer.wait(Duration::from_secs(300), answer).await, Some(()));
            }
            let clock = HyperTimer::default();
            for _ in 0..5 {
                // As the library has it: a wait is dropped when what it was for has come.
                let wait = clock.sleep(Duration::from_secs(300));
                assert!(time::timeout(Duration::from_secs(299), wait).await.is_err());
            }
            let begun = Instant::now();
            clock.sleep(Duration::from_secs(300)).await;
            assert!(begun.elapsed() >= Duration::from_secs(300) && begun.elapsed() < Duration::from_secs(301));
        });
    }
}
