//! Places for leases, of which each has its own lock: whoever asks for a lease keeps its place locked, and who wants the same waits for it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::serve::locked;

type Shared<L> = Arc<Mutex<Option<Arc<L>>>>;

/// Places by what a lease is for.
pub(super) struct Slots<K, L>(std::sync::Mutex<BTreeMap<K, Shared<L>>>);

/// A place; one in which there is no lease goes with the last who looks at it.
pub(super) struct Slot<'a, K: Ord, L> {
    slots: &'a Slots<K, L>,
    place: K,
    shared: Shared<L>,
}

impl<K, L> Default for Slots<K, L> {
    fn default() -> Self {
        Self(std::sync::Mutex::default())
    }
}

impl<K: Ord + Clone, L> Slots<K, L> {
    /// The place, if there is one.
    pub(super) fn known(&self, place: &K) -> Option<Slot<'_, K, L>> {
        let shared = locked(&self.0).get(place).cloned()?;
        Some(Slot {
            slots: self,
            place: place.clone(),
            shared,
        })
    }

    /// The place, which is made where there is none.
    pub(super) fn place(&self, place: K) -> Slot<'_, K, L> {
        let shared = locked(&self.0).entry(place.clone()).or_default().clone();
        Slot {
            slots: self,
            place,
            shared,
        }
    }
}

impl<K: Ord, L> Slot<'_, K, L> {
    /// Takes a lease that is over out of its place, where there may be another by now; its connection ends with the last who uses it.
    pub(super) async fn forget(&self, lease: &Arc<L>) {
        let mut there = self.lock().await;
        if there.as_ref().is_some_and(|other| Arc::ptr_eq(other, lease)) {
            *there = None;
        }
    }
}

impl<K: Ord, L> Deref for Slot<'_, K, L> {
    type Target = Mutex<Option<Arc<L>>>;

    fn deref(&self) -> &Self::Target {
        &self.shared
    }
}

impl<K: Ord, L> Drop for Slot<'_, K, L> {
    fn drop(&mut self) {
        let mut slots = locked(&self.slots.0);
        // Nobody else waits for it: there are the one in the list and this one.
        if Arc::strong_count(&self.shared) == 2 && self.shared.try_lock().is_ok_and(|there| there.is_none()) {
            slots.remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn len(slots: &Slots<u8, ()>) -> usize {
        locked(&slots.0).len()
    }

    #[test]
    fn t12_a_place_in_which_no_lease_came_to_be_is_not_kept_whoever_stopped_waiting_for_one() {
        let slots = Slots::<u8, ()>::default();
        assert!(slots.known(&1).is_none());
        let (first, second) = (slots.place(1), slots.known(&1).unwrap());
        let asking = first.try_lock().unwrap();
        assert!(second.try_lock().is_err(), "it is one place");
        drop(asking);
        drop(first);
        assert_eq!(len(&slots), 1, "somebody waits for it still");
        let lease = second.try_lock().unwrap().insert(Arc::new(())).clone();
        drop(second);
        assert_eq!(len(&slots), 1, "there is a lease");
        let there = slots.place(1);
        let wait = tokio::runtime::Builder::new_current_thread().build().unwrap();
        wait.block_on(there.forget(&Arc::new(())));
        assert!(there.try_lock().unwrap().is_some(), "it is another lease");
        wait.block_on(there.forget(&lease));
        drop(there);
        assert_eq!(len(&slots), 0);
    }
}
