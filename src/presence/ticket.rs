//! The queue: one prompt at a time.

use super::desk::{Desk, Showing, Waiting, count};
use crate::wire::Event;

/// A place in the queue, given up when dropped.
pub(super) struct Ticket<'a> {
    pub(super) desk: &'a Desk,
    pub(super) number: u64,
}

impl<'a> Ticket<'a> {
    pub(super) fn take(desk: &'a Desk, own: bool) -> Self {
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

    pub(super) async fn turn(&self, showing: &Showing<'_>) {
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
