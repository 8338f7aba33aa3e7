//! The audit log: one append-only file of canonical JSON lines, each holding the hash of the line before.
//!
//! A lease carries the hash of its own `asked` line, so the touch that approves it signs the history up to that line too. What is
//! detected later is every change before the newest receipt that the verifier holds from elsewhere.
//!
//! - [`event`], [`record`]: what a line says and its bytes;
//! - [`log`]: the one writer, durable before anything is acted on;
//! - [`clock_rule`]: the log as a witness against a clock that was set;
//! - [`mod@verify`], [`report`]: the one reader that believes nothing;
//! - [`health`]: how the log is, for a person who asks;
//! - [`receipt`]: what is given to somebody else.

pub mod clock_rule;
mod error;
pub mod event;
mod file;
pub mod health;
pub mod log;
#[cfg(test)]
mod page;
pub mod read;
pub mod receipt;
pub mod record;
pub mod report;
#[cfg(test)]
mod testing;
pub mod verify;

pub use clock_rule::ClockError;
pub use error::{AuditError, Damage, Unsafe};
pub use event::Event;
pub use log::{Durability, Log, Owner};
pub use read::Lines;
pub use receipt::{Receipt, ReceiptError};
pub use record::Line;
pub use report::Report;
pub use verify::{SignerKey, verify};
