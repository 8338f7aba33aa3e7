//! Whose turn it is: whatever takes long goes on one step at a time, and between two steps everybody is heard. So a flood of requests
//! keeps nobody from ending leases (P4), which waits for no turn.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::mem::replace;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::task::yield_now;

/// The turns of all connections.
pub struct Turns {
    is_free: Cell<bool>,
    next: Cell<u64>,
    /// In the order in which they came.
    waiting: RefCell<BTreeMap<u64, Waker>>,
    taken: Notify,
}

/// Waits for a turn. It is nobody's before it is taken: who is not looked after meanwhile keeps nobody else waiting.
struct Turn<'a> {
    turns: &'a Turns,
    place: Option<u64>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            is_free: Cell::new(true),
            next: Cell::default(),
            waiting: RefCell::default(),
            taken: Notify::default(),
        }
    }
}

impl Turns {
    /// Does `work`, each step of it in a turn of its own.
    pub async fn each<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            self.turn().await;
            if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
                return done;
            }
            // Until whatever the step waits for wakes this task.
            let mut is_woken = false;
            poll_fn(|_| {
                if replace(&mut is_woken, true) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        }
    }

    /// Gives one turn in each pass of the runtime, which begins with a look at all sockets. Nothing to do, no wake-up.
    pub async fn give(&self) {
        loop {
            self.taken.notified().await;
            loop {
                yield_now().await;
                self.is_free.set(true);
                match self.waiting.borrow_mut().pop_first() {
                    Some((_, first)) => first.wake(),
                    None => break,
                }
            }
        }
    }

    fn turn(&self) -> Turn<'_> {
        Turn { turns: self, place: None }
    }
}

impl Future for Turn<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let turns = self.turns;
        if turns.is_free.replace(false) {
            turns.taken.notify_one();
            return Poll::Ready(());
        }
        let place = *self.place.get_or_insert_with(|| turns.next.replace(turns.next.get() + 1));
        turns.waiting.borrow_mut().insert(place, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.turns.waiting.borrow_mut().remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    /// A test with turns that are given.
    async fn with_turns<F: Future<Output = ()>>(test: impl FnOnce(Rc<Turns>) -> F) {
        let given = async {
            let turns = Rc::<Turns>::default();
            let usher = turns.clone();
            spawn_local(async move { usher.give().await });
            test(turns).await;
        };
        LocalSet::new().run_until(given).await;
    }

    /// Steps that were made so far by 100 connections, which go on as long as they are let.
    fn busy(turns: &Rc<Turns>) -> Rc<Cell<u32>> {
        let steps = Rc::<Cell<u32>>::default();
        for _ in 0..100 {
            let (turns, steps) = (turns.clone(), steps.clone());
            spawn_local(async move {
                let work = async {
                    loop {
                        steps.set(steps.get() + 1);
                        yield_now().await;
                    }
                };
                turns.each(work).await
            });
        }
        steps
    }

    #[tokio::test(flavor = "current_thread")]
    async fn p4_between_two_steps_of_others_everybody_is_heard() {
        with_turns(|turns| async move {
            let steps = busy(&turns);
            for pass in 0..300 {
                let before = steps.get();
                yield_now().await;
                assert!(steps.get() - before <= 1, "{} steps in pass {pass}", steps.get() - before);
            }
            assert!(steps.get() > 200, "{}", steps.get());
        })
        .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn t12_who_waits_and_is_not_looked_after_keeps_nobody_waiting() {
        with_turns(|turns| async move {
            turns.each(async {}).await;
            // It has its place, and nobody looks after it: its connection waits for a client that does not read.
            let mut first = pin!(turns.each(async {}));
            assert!(poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx))).await.is_pending());
            for _ in 0..3 {
                turns.each(async {}).await;
            }
            first.await;
            assert!(turns.waiting.borrow().is_empty());
        })
        .await;
    }
}
