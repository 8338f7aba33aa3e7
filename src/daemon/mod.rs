//! The daemon: one per user, on one thread.

pub mod peer;
