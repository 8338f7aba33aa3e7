//! Cuts and failures at the Nth change of a file, for tests.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Counts calls that change something; fails one of them, or that one and all after it.
pub struct Faults {
    done: AtomicU64,
    fail_at: AtomicI64,
    cut_at: AtomicI64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            done: AtomicU64::new(0),
            fail_at: AtomicI64::new(-1),
            cut_at: AtomicI64::new(-1),
        }
    }
}

impl Faults {
    /// The call number `n` (from 0) fails as on a full disk; those after it work.
    pub fn fail_at(&self, n: i64) {
        self.done.store(0, Ordering::SeqCst);
        self.fail_at.store(n, Ordering::SeqCst);
    }

    /// From call number `n` (from 0) on nothing works: the process was killed there.
    pub fn cut_at(&self, n: i64) {
        self.done.store(0, Ordering::SeqCst);
        self.cut_at.store(n, Ordering::SeqCst);
    }

    /// How many calls there were.
    pub fn done(&self) -> i64 {
        self.done.load(Ordering::SeqCst).try_into().unwrap_or(i64::MAX)
    }

    pub(super) fn step(&self) -> io::Result<()> {
        let n = i64::try_from(self.done.fetch_add(1, Ordering::SeqCst)).unwrap_or(i64::MAX);
        let cut = self.cut_at.load(Ordering::SeqCst);
        if n == self.fail_at.load(Ordering::SeqCst) || cut >= 0 && n >= cut {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }
}
