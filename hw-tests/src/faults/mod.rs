//! Faults in the unmodified daemon: calls that fail, a process that is killed, at every call that changes a file or opens one.
//!
//! A dry run under strace lists the calls that an operation makes. Then each of them, or a sample, is cut in a run of its own: the
//! process is killed there, or the call fails. A fresh daemon has to find the state of before the operation or that of after it,
//! and that of after it where the client was told that it is done.

pub mod bench;
pub mod cut;
pub mod operation;
pub mod plan;
pub mod power;
pub mod state;
pub mod strace;
