//! What happens while a touch is waited for: a one-way feed.

use std::sync::Arc;

use super::super::ctap::fingerprint::Sample;
use super::super::enrolled::{KeyId, Link};
use super::super::error::DeviceError;
use super::super::place::Port;

/// Where events go. Called from the broker; must not block.
pub type Feed = Arc<dyn Fn(Event) + Send + Sync>;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The prompt is open; keys are looked for.
    Waiting,
    /// This key waits for its touch, now; one in a field was tapped, and works.
    TouchNow {
        /// Which; nothing while its first credential is made, and then the id by that one.
        key: Option<KeyId>,
        /// The person's name for it, or the model.
        name: String,
        /// How it is reached.
        link: Link,
    },
    /// A card may be tapped on, or put into, this reader.
    TapNow {
        /// The reader's name.
        reader: String,
        /// Into a slot, or onto a field.
        link: Link,
        /// A card lies on it already, and has to be taken off first.
        lift_first: bool,
    },
    /// This key cannot go on without its PIN: see [`super::Broker::give_pin`].
    PinNeeded {
        /// Which.
        key: KeyId,
        /// The person's name for it.
        name: String,
        /// Tries left.
        tries: Option<u32>,
    },
    /// The PIN was wrong and is forgotten.
    PinWrong {
        /// Of which key.
        key: KeyId,
        /// Tries left.
        left: Option<u32>,
    },
    /// Another program's request is on the same key: do not touch it now (T04).
    AnotherProgram {
        /// The person's name for the key, or the model.
        name: String,
    },
    /// A key was pulled out in the middle.
    Gone {
        /// Its name, or the model.
        name: String,
    },
    /// A key is held by another program.
    Busy {
        /// Where.
        port: Port,
        /// The program, where it could be found out.
        by: Option<String>,
    },
    /// A key still waits for the touch of a request that is over, and is asked when that has ended.
    Unfinished {
        /// Its name, or where it is.
        name: String,
    },
    /// This key cannot serve; others still may.
    Problem {
        /// Where.
        port: Port,
        /// Why.
        error: DeviceError,
    },
    /// So many places are being looked at: which key is there is not known yet.
    Looking {
        /// How many.
        places: usize,
    },
    /// This card was asked for a touch that nobody needs any more, and cannot be told so: it waits for about 15 s. A touch in that time gives
    /// nothing to anybody.
    StillWaits {
        /// The key's name.
        name: String,
    },
    /// A touch that nobody needed any more: its result is wiped.
    ExtraTouch {
        /// Of which key.
        key: KeyId,
        /// The key's name.
        name: String,
    },
    /// The key's counter did not go forward: a hint at a copy, or a key that does not count.
    CounterBack {
        /// Which.
        key: KeyId,
        /// Its name.
        name: String,
        /// Last seen.
        was: u32,
        /// Now.
        now: u32,
    },
    /// The key took a sample of a finger.
    Sample(Sample),
}
