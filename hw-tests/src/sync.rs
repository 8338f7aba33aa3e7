//! Locks that outlive a panicking test thread.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whoever panicked while holding it: the state of an emulated key stays readable for the failing test's report.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
