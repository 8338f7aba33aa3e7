//! What the daemon says while a request is under way, and what a screen answers.

use std::fmt;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::reply::SecretView;
use super::request::PutAsk;
use super::signer::SessionAsk;
use super::{Failure, Outcome, Value};

/// A prompt as a screen gets it: the exact bytes that will be signed, never a description of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptView {
    /// Number of the prompt on this daemon.
    pub prompt: u64,
    /// The text to be signed, byte for byte.
    pub text: String,
    /// What the text does not say of itself: beside a statement of the roster, who asks and the statements that it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// Milliseconds left before it closes.
    pub left_ms: u64,
    /// Names of the keys that can serve.
    pub keys: Vec<String>,
    /// How many requests wait behind it.
    pub waiting: u32,
    /// Where the vault lies, for a person with two.
    pub vault: String,
    /// On a watch: the requester's own terminal, where it stands too and can be answered by whoever is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
}

/// Where a touch stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TouchState {
    /// Waiting for any of the keys to be plugged in or tapped.
    Waiting,
    /// The key blinks; or, on a reader without contacts, it was tapped and has to stay there for a moment.
    TouchNow {
        /// Which.
        key: String,
        /// How it is connected, in words.
        link: String,
        /// It was tapped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        hold: bool,
    },
    /// A key is to be enrolled, and it is not plain which: none that is not enrolled is connected, or several are.
    WhichToEnrol {
        /// Where those are that are not enrolled.
        at: Vec<String>,
    },
    /// A reader waits for a key.
    TapNow {
        /// Which reader.
        reader: String,
        /// It has a slot: the key is put in, not tapped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        insert: bool,
        /// A card lies on it already: take it off first.
        lift_first: bool,
    },
    /// A PIN is needed before this key can serve.
    PinNeeded {
        /// Which key.
        key: String,
        /// Tries left before it blocks.
        tries: Option<u32>,
        /// The one before was wrong.
        wrong: bool,
    },
    /// Another program is asking this key for a touch: do not touch.
    AnotherProgram {
        /// Which key.
        key: String,
    },
    /// Another program holds the key.
    Busy {
        /// Which key.
        key: String,
        /// Who, where it can be told.
        by: Option<String>,
    },
    /// The key still waits for the touch of a request that is over; a card cannot be told.
    Unfinished {
        /// Which key.
        key: String,
    },
    /// A key cannot serve; others still may.
    Problem {
        /// One sentence.
        what: String,
    },
    /// The key was pulled out.
    Gone {
        /// Which key.
        key: String,
    },
    /// A card is touched several times for this: once for each scope that it opens, and once more where it signs.
    Touches {
        /// Which key.
        key: String,
        /// How often.
        touches: u32,
    },
    /// What is connected is being looked at; with 0, which keys are there is known.
    Looking {
        /// At how many places.
        places: u32,
    },
    /// A card waits for a touch that nobody needs any more, and cannot be told so.
    StillWaits {
        /// Which key.
        key: String,
    },
    /// A second key was touched as well; what it gave was wiped.
    ExtraTouch {
        /// Which key.
        key: String,
    },
    /// The key's signature counter went back: a hint at a copy of it, no proof.
    CounterBack {
        /// Which key.
        key: String,
        /// Last seen.
        before: u32,
        /// Now.
        now: u32,
    },
    /// It was touched, and what was touched for is not begun: others write to the vault. It can still be denied.
    Touched,
    /// It was touched, and what was touched for is being written. It cannot be denied any more.
    BeingWritten,
}

/// From the daemon, before and after the reply.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// To a watch: it is a screen now, and prompts come here.
    Watching,
    /// Other prompts come first.
    Queued {
        /// How many.
        ahead: u32,
    },
    /// The request has its text and its turn: what the requester prints.
    Asked {
        /// Number of the prompt.
        prompt: u64,
        /// Id of the lease or change.
        id: String,
        /// The four words.
        words: [String; 4],
        /// Milliseconds left.
        left_ms: u64,
    },
    /// For screens: show this, then answer [`Answer::Shown`].
    Prompt(PromptView),
    /// Where the touch stands.
    Touch {
        /// Number of the prompt.
        prompt: u64,
        /// The state.
        #[serde(flatten)]
        state: TouchState,
    },
    /// How many requests wait behind the prompt now.
    Waiting {
        /// Number of the prompt.
        prompt: u64,
        /// How many.
        waiting: u32,
    },
    /// The prompt is over.
    Closed {
        /// Number of the prompt.
        prompt: u64,
        /// How it failed; nothing when it was approved.
        outcome: Option<Outcome>,
    },
    /// One more touch of several in an enrolment.
    Step {
        /// Which, from 1.
        number: u32,
        /// Of how many.
        of: u32,
        /// What this touch is for.
        what: String,
    },
    /// Something to know, in words.
    Note {
        /// What.
        what: String,
    },
    /// The lease that this connection holds is over.
    Ended {
        /// Id of the lease.
        id: String,
        /// Why: `expired`, `used_up`, `ended`, `revoked`, `locked`, `requester_gone`, `key_removed`, `daemon_stopped`.
        why: String,
    },
    /// To [`Answer::Sign`]: the signature in SSH's form, in base64; or why there is none.
    Signed {
        /// The signature.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        /// Why there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Failure>,
    },
    /// A client that was lent ([`Answer::Lend`]) is the agent's again: what it said last is not the lease's matter, or the lease is over, and then this
    /// comes before [`Event::Ended`].
    Back {
        /// Number of the client.
        id: u64,
        /// The body of the `session-bind@openssh.com` frame that was proven and answered, in base64.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bound: Option<String>,
        /// What it has said and nobody has answered, in base64.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        frames: String,
        /// It went away, or has to.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        closed: bool,
    },
    /// One line of the audit log, without its newline.
    Line {
        /// The line, byte for byte.
        line: String,
    },
    /// One secret of an export.
    Exported {
        /// Its name within the scope.
        name: String,
        /// Its value.
        value: Value,
    },
    /// A scan begins: what to look for is with a worker, which looks through what is sent to it over the socket that comes with this line
    /// (SCM_RIGHTS).
    Scanning {
        /// Secrets, `scope/NAME`: what the worker finds it names by their places here.
        secrets: Vec<String>,
        /// Of them those that are too short to be looked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        too_short: Vec<u32>,
        /// The most bytes that one occurrence takes.
        span: u64,
        /// Our end of the worker's socket.
        #[serde(skip)]
        channel: Option<OwnedFd>,
    },
    /// A part of a list, in no order.
    Secrets {
        /// Secrets without their values.
        secrets: Vec<SecretView>,
    },
}

/// What a screen is too small by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// In which direction.
    pub of: Side,
    /// How many the prompt needs.
    pub needs: u32,
    /// How many there are.
    pub has: u32,
}

/// Directions of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Its width.
    Columns,
    /// Its height.
    Lines,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.of {
            Side::Columns => "columns",
            Side::Lines => "lines",
        };
        write!(f, "needs {} {of}, has {}", self.needs, self.has)
    }
}

/// From the client, while its call is under way; [`Answer::Put`] right behind it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The prompt is on this screen.
    Shown {
        /// Which.
        prompt: u64,
    },
    /// The prompt does not fit on this screen any more, and may again. No key stays armed that nobody sees what for.
    Hidden {
        /// Which.
        prompt: u64,
    },
    /// The prompt does not fit on this screen, and is not on it.
    TooSmall {
        /// Which.
        prompt: u64,
        /// What the screen lacks.
        room: Room,
    },
    /// A person says no.
    Deny {
        /// Which.
        prompt: u64,
    },
    /// A PIN, typed on this screen.
    Pin {
        /// For which prompt.
        prompt: u64,
        /// For which key.
        key: String,
        /// The PIN.
        pin: Value,
    },
    /// The child of this connection's lease ended; so may the lease.
    Done,
    /// Sign with the key of this connection's lease: one use.
    Sign {
        /// Of a login: the session in which it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionAsk>,
        /// What is to be signed, in base64.
        data: String,
    },
    /// Serve a client of the agent for as long as it signs with the key of this connection's lease, which time alone limits. Its socket comes with
    /// this line (SCM_RIGHTS), and [`Event::Back`] says when it is the agent's again.
    Lend {
        /// Number of the client on this connection.
        id: u64,
        /// What it has said and nobody has answered, in base64: frames of ssh's agent protocol, of which the last may be half.
        frames: String,
    },
    /// One more secret of a `put` that said how many follow.
    Put(PutAsk),
}
