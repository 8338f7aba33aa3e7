//! What a key answers instead of a result, and what goes wrong on the way to it.

use std::fmt;
use std::io;

use thiserror::Error;

use super::super::enrolled::Link;

/// A CTAP status code (CTAP 2.1, 8.2), one byte in front of every answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    /// Success.
    pub const OK: Self = Self(0x00);
    /// The message is longer than the key takes.
    pub const INVALID_LENGTH: Self = Self(0x03);
    /// The command, or a subcommand, is not there.
    pub const INVALID_COMMAND: Self = Self(0x01);
    /// A credential of the exclude list is on this key.
    pub const CREDENTIAL_EXCLUDED: Self = Self(0x19);
    /// The sensor's storage is full.
    pub const FP_DATABASE_FULL: Self = Self(0x17);
    /// The algorithm is not there.
    pub const UNSUPPORTED_ALGORITHM: Self = Self(0x26);
    /// The person said no, on a key with a way to say it.
    pub const OPERATION_DENIED: Self = Self(0x27);
    /// The operation was cancelled by a CTAPHID_CANCEL, ours or somebody else's.
    pub const KEEPALIVE_CANCEL: Self = Self(0x2D);
    /// An option of the request is not known, or there is no fingerprint of that id.
    pub const INVALID_OPTION: Self = Self(0x2C);
    /// No credential of the allow list is on this key, or none may be seen without UV.
    pub const NO_CREDENTIALS: Self = Self(0x2E);
    /// Nobody touched the key (CTAP 2.0 keys answer ACTION_TIMEOUT).
    pub const USER_ACTION_TIMEOUT: Self = Self(0x2F);
    /// The operation may not be done here, for example by a bare CTAP1 credential.
    pub const NOT_ALLOWED: Self = Self(0x30);
    /// A wrong PIN.
    pub const PIN_INVALID: Self = Self(0x31);
    /// Eight wrong PINs: only a reset helps.
    pub const PIN_BLOCKED: Self = Self(0x32);
    /// The parameter does not verify: a token that has expired or is for something else.
    pub const PIN_AUTH_INVALID: Self = Self(0x33);
    /// Three wrong PINs since power-up.
    pub const PIN_AUTH_BLOCKED: Self = Self(0x34);
    /// The key has no PIN.
    pub const PIN_NOT_SET: Self = Self(0x35);
    /// The key wants a PIN or another verification (PUAT_REQUIRED since CTAP 2.1).
    pub const PIN_REQUIRED: Self = Self(0x36);
    /// The PIN breaks the key's rules, or a new PIN has to be set first.
    pub const PIN_POLICY_VIOLATION: Self = Self(0x37);
    /// Nobody touched the key.
    pub const ACTION_TIMEOUT: Self = Self(0x3A);
    /// A touch is needed for this request.
    pub const UP_REQUIRED: Self = Self(0x3B);
    /// The built-in verification is blocked.
    pub const UV_BLOCKED: Self = Self(0x3C);

    fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::OK => "OK",
            Self::INVALID_LENGTH => "INVALID_LENGTH",
            Self::INVALID_COMMAND => "INVALID_COMMAND",
            Self::FP_DATABASE_FULL => "FP_DATABASE_FULL",
            Self::CREDENTIAL_EXCLUDED => "CREDENTIAL_EXCLUDED",
            Self::UNSUPPORTED_ALGORITHM => "UNSUPPORTED_ALGORITHM",
            Self::OPERATION_DENIED => "OPERATION_DENIED",
            Self::INVALID_OPTION => "INVALID_OPTION",
            Self::KEEPALIVE_CANCEL => "KEEPALIVE_CANCEL",
            Self::NO_CREDENTIALS => "NO_CREDENTIALS",
            Self::USER_ACTION_TIMEOUT => "USER_ACTION_TIMEOUT",
            Self::NOT_ALLOWED => "NOT_ALLOWED",
            Self::PIN_INVALID => "PIN_INVALID",
            Self::PIN_BLOCKED => "PIN_BLOCKED",
            Self::PIN_AUTH_INVALID => "PIN_AUTH_INVALID",
            Self::PIN_AUTH_BLOCKED => "PIN_AUTH_BLOCKED",
            Self::PIN_NOT_SET => "PIN_NOT_SET",
            Self::PIN_REQUIRED => "PIN_REQUIRED",
            Self::PIN_POLICY_VIOLATION => "PIN_POLICY_VIOLATION",
            Self::ACTION_TIMEOUT => "ACTION_TIMEOUT",
            Self::UP_REQUIRED => "UP_REQUIRED",
            Self::UV_BLOCKED => "UV_BLOCKED",
            _ => return None,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} (0x{:02x})", self.0),
            None => write!(f, "0x{:02x}", self.0),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a message did not reach the key, or its answer did not reach us.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TransportError {
    /// The key, card or reader is gone.
    #[error("the key was pulled out")]
    PulledOut,
    /// Neither an answer nor a keepalive for too long: a key that hangs, or is no key.
    #[error("the key does not answer")]
    Silent,
    /// Another program has the node locked or the card connected.
    #[error("another program is using the key")]
    Busy {
        /// The program, where it can be found out.
        by: Option<String>,
    },
    /// We cancelled, and the key did not answer any more.
    #[error("cancelled")]
    Cancelled,
    /// The device node may not be opened by this user: the udev rules are missing.
    #[error("no permission to open the key")]
    Permission,
    /// The card is not reached as was expected of it, so what counts as a touch would be judged wrongly.
    #[error("the reader says that its card is reached otherwise: by {found}")]
    OtherLink {
        /// How it is.
        found: Link,
    },
    /// The card has no FIDO2 applet.
    #[error("not a FIDO2 key")]
    NotFido,
    /// The PC/SC service does not run or refuses us.
    #[error("the smart-card service does not answer")]
    NoService,
    /// Bytes that no key sends.
    #[error("the key breaks the transport's rules: {0}")]
    Protocol(&'static str),
    /// The kernel's answer, none of the above.
    #[error("the key cannot be reached: {0}")]
    Io(io::ErrorKind),
}

/// Why a command gave no result.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CtapError {
    /// The key refused.
    #[error("the key answers {0}")]
    Status(Status),
    /// The answer is not what the specification says: cut, wrong types, bytes left over.
    #[error("the key's answer is malformed: {0}")]
    Form(&'static str),
    /// The request is longer than the key takes (getInfo, maxMsgSize).
    #[error("the request of {len} bytes is longer than the {limit} that the key takes")]
    TooLong {
        /// Length of the request.
        len: usize,
        /// What the key takes.
        limit: usize,
    },
    /// The key lacks what the request needs.
    #[error("the key has no {0}")]
    Lacks(&'static str),
    /// The key takes no fingerprint's name that is so long.
    #[error("the key takes a name of {limit} bytes at most")]
    LongName {
        /// What it takes, in bytes.
        limit: u32,
    },
    /// The transport failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The operating system gave no randomness, or no locked memory.
    #[error("the system refuses randomness or locked memory")]
    System,
}
