//! PINs, kept for a while so that a person does not type one for every lease: in locked memory, never in a file.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::super::enrolled::KeyId;
use crate::clock::Boot;
use crate::secret::Secret;

/// The PINs of keys, each until its time. Use does not extend it. `W` is held as long as a PIN is.
pub(super) struct Pins<W> {
    kept: HashMap<KeyId, Kept<W>>,
    /// Keys that a prompt, for as long as it is there, has asked to be lifted and tapped.
    lifted: HashMap<KeyId, Weak<()>>,
}

struct Kept<W> {
    pin: Secret,
    until: Boot,
    _while_kept: W,
}

impl<W> Default for Pins<W> {
    fn default() -> Self {
        Self {
            kept: HashMap::new(),
            lifted: HashMap::new(),
        }
    }
}

impl<W> Pins<W> {
    pub(super) fn give(&mut self, key: KeyId, pin: Secret, now: Boot, lifetime: Duration, while_kept: W) {
        let kept = Kept {
            pin,
            until: now + lifetime,
            _while_kept: while_kept,
        };
        self.kept.insert(key, kept);
    }

    /// A copy of a PIN, for one try.
    pub(super) fn take_copy(&mut self, key: KeyId, now: Boot) -> io::Result<Option<Secret>> {
        self.expire(now);
        self.kept.get(&key).map(|kept| kept.pin.duplicate()).transpose()
    }

    /// The prompt of `asked` has told the person to take this key off its reader and tap it: that is no removal, until the prompt ends.
    pub(super) fn lift(&mut self, key: KeyId, asked: &Arc<()>) {
        self.lifted.insert(key, Arc::downgrade(asked));
    }

    /// The key went away.
    pub(super) fn gone(&mut self, key: KeyId) {
        if self.lifted.get(&key).is_none_or(|asked| asked.strong_count() == 0) {
            self.forget(key);
        }
    }

    /// The prompt of `asked` ends: what it had lifted and was not tapped again, as `is_here` says, is gone.
    pub(super) fn end_lift(&mut self, asked: &Arc<()>, is_here: impl Fn(KeyId) -> bool) {
        let of_it = |by: &Weak<()>| std::ptr::eq(by.as_ptr(), Arc::as_ptr(asked));
        let lifted: Vec<KeyId> = self.lifted.iter().filter(|(_, by)| of_it(by)).map(|(key, _)| *key).collect();
        for key in lifted {
            self.lifted.remove(&key);
            if !is_here(key) {
                self.forget(key);
            }
        }
    }

    pub(super) fn forget(&mut self, key: KeyId) {
        self.kept.remove(&key);
    }

    pub(super) fn forget_all(&mut self) {
        self.kept.clear();
    }

    pub(super) fn expire(&mut self, now: Boot) {
        self.kept.retain(|_, kept| kept.until > now);
    }

    pub(super) fn list(&mut self, now: Boot) -> Vec<(KeyId, Boot)> {
        self.expire(now);
        self.kept.iter().map(|(key, kept)| (*key, kept.until)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::encoding::Digest;

    fn pin() -> Secret {
        Secret::from_slice_wiping(&mut b"1234".to_vec()).unwrap()
    }

    #[test]
    fn a_pin_is_kept_until_its_time_and_use_does_not_extend_it() {
        let (key, mut pins) = (KeyId(Digest::of(b"k")), Pins::default());
        pins.give(key, pin(), Boot(1_000), Duration::from_secs(10), ());
        assert_eq!(pins.take_copy(key, Boot(10_999)).unwrap().unwrap().expose(), b"1234");
        assert_eq!(pins.list(Boot(10_999)), [(key, Boot(11_000))]);
        assert!(pins.take_copy(key, Boot(11_000)).unwrap().is_none());
    }

    #[test]
    fn t57_a_pin_is_found_under_its_own_key_only() {
        let (key, other, mut pins) = (KeyId(Digest::of(b"k")), KeyId(Digest::of(b"o")), Pins::default());
        pins.give(key, pin(), Boot(0), Duration::from_secs(10), ());
        assert!(pins.take_copy(other, Boot(0)).unwrap().is_none());
        pins.forget(other);
        assert!(pins.take_copy(key, Boot(0)).unwrap().is_some());
        pins.forget_all();
        assert!(pins.take_copy(key, Boot(0)).unwrap().is_none());
    }
}
