//! What goes over the socket: newline-delimited JSON, described in `docs/protocol.md`. No logic.
//!
//! A connection is one [`Call`]. The daemon answers with any number of [`Event`]s and one [`Reply`]; a lease that is held by its
//! connection goes on afterwards with [`Event::Ended`]. The client may send [`Answer`]s in between.

pub mod codec;
pub mod event;
pub mod outcome;
pub mod reply;
pub mod request;
pub mod signer;
pub mod uses;
pub mod value;

pub use event::{Answer, Event, PromptView, Room, Side, TouchState};
pub use outcome::{Failure, Outcome, Unhinted};
pub use reply::Reply;
pub use request::{Call, Places, Request};
pub use uses::Uses;
pub use value::Value;

/// Version of the protocol; a daemon and a client of different versions refuse each other.
pub const VERSION: u32 = 1;

/// Longest line to the daemon in bytes: a value of 1 MiB in base64 and what stands around it.
pub const LONGEST_CALL: usize = 2 << 20;

/// Most secrets in one `put`, and most bytes of their values together: what waits for the touch lies in locked memory, of which a
/// process has 8 MiB as a rule (`RLIMIT_MEMLOCK`).
pub const MOST_PUTS: usize = 500;
/// See [`MOST_PUTS`].
pub const MOST_PUT_BYTES: usize = 2 << 20;

/// Longest line from the daemon in bytes: a lease over as many values of 1 MiB as it may have grants.
pub const LONGEST_REPLY: usize = 64 << 20;
