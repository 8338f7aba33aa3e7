//! How a request can end: an API of exit codes and machine-readable words.

use serde::{Deserialize, Serialize};

/// Every way in which touchlease itself ends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A person said no.
    Denied,
    /// Nobody touched a key in time.
    TimedOut,
    /// Policy, rules or a limit forbid it.
    Refused,
    /// No key is connected, or none of those connected is enrolled.
    NoKey,
    /// The command line was wrong.
    Usage,
    /// A file or a value is not what it has to be.
    BadInput,
    /// A PIN is needed, was wrong, or is blocked.
    Locked,
    /// No screen is open that the requester does not own.
    NoScreen,
    /// Another program holds the key.
    KeyBusy,
    /// No daemon runs and none could be started.
    NoDaemon,
    /// A fault of ours or of the machine.
    Internal,
    /// The vault did not verify, is older than what was seen, or a secret's rules changed.
    VaultRefused,
    /// The audit log could not be written.
    LogRefused,
}

impl Outcome {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Denied => 60,
            Self::TimedOut => 61,
            Self::Refused => 62,
            Self::NoKey => 63,
            Self::Usage => 64,
            Self::BadInput => 65,
            Self::Locked => 66,
            Self::NoScreen => 67,
            Self::KeyBusy => 68,
            Self::NoDaemon => 69,
            Self::Internal => 70,
            Self::VaultRefused => 71,
            Self::LogRefused => 72,
        }
    }
}

/// An ending that a person or a program can act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Its class; decides the exit code.
    pub outcome: Outcome,
    /// The exact case, in snake_case; stable.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// What to do next. Nothing only where it came from a program of another version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A failure that does not say yet what to do next, and so is none that anybody can be given:
///
/// ```
/// use touchlease::wire::{Failure, Outcome};
/// let refusal: Failure = Failure::new(Outcome::Refused, "lease_over", "the lease is over").hint("ask again");
/// ```
/// ```compile_fail,E0308
/// use touchlease::wire::{Failure, Outcome};
/// let refusal: Failure = Failure::new(Outcome::Refused, "lease_over", "the lease is over");
/// ```
#[derive(Debug)]
#[must_use]
pub struct Unhinted(Failure);

/// Where nobody but us can do anything about it.
const OUR_FAULT: &str = "this is a fault of touchlease: ask again, and if it is said again, report it with what `touchlease doctor` says";

impl Unhinted {
    /// What to do next: a command that works, where there is one.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Failure {
        self.0.hint(hint)
    }

    /// The failure of something that cannot fail as far as we know.
    #[must_use]
    pub fn ours(self) -> Failure {
        self.0.hint(OUR_FAULT)
    }
}

impl Failure {
    /// A failure, once it has a hint.
    #[allow(clippy::new_ret_no_self, reason = "without a hint it is none yet")]
    pub fn new(outcome: Outcome, reason: &str, message: impl Into<String>) -> Unhinted {
        Unhinted(Self {
            outcome,
            reason: reason.into(),
            message: message.into(),
            hint: None,
        })
    }

    /// The same with something else to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
