//! What the daemon and the worker of an exchange say to each other, in [frames](crate::worker::frame). Tokens and credentials are in a frame's tail
//! only, never in its JSON.
//!
//! The daemon begins with [`Order::Login`], and the worker answers [`Report::Given`] or [`Report::NotGiven`], after which it ends. After
//! [`Order::Revoke`], or when the daemon is gone, it revokes: [`Report::NotRevoked`] as long as it does not succeed, then one of the others.

use serde::{Deserialize, Serialize};

use crate::encoding::exchange::{Exchange, Wanted};

/// The hidden subcommand of the worker.
pub const SUBCOMMAND: &str = "exchange-worker";

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Order {
    /// The first frame. The tail is the signed token.
    Login(Box<Login>),
    /// The lease is over.
    Revoke,
}

/// An exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Where, and with what.
    pub exchange: Exchange,
    /// For what.
    pub wanted: Wanted,
    /// Id of the lease, which the token has among its metadata.
    pub lease: String,
    /// What is left of the lease, in milliseconds.
    pub left_ms: u64,
}

/// What the worker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Report {
    /// It is done. The tail is the values, one after the other.
    Given {
        /// Of the login's token.
        accessor: String,
        /// The node that gave it.
        server: String,
        /// Accessor of the token that is handed on, or was used.
        token: String,
        /// Its life in seconds.
        ttl: u64,
        /// What comes, in the order of the tail.
        values: Vec<Named>,
    },
    /// It is not.
    NotGiven {
        /// In a word.
        reason: String,
        /// In a sentence.
        why: String,
        /// Accessor of the login's token, where that could not be revoked: the worker goes on as after [`Order::Revoke`].
        left: Option<String>,
    },
    /// OpenBao took it back.
    Revoked {
        /// It knew it no more.
        before: bool,
    },
    /// Not yet; it is tried again.
    NotRevoked {
        /// In a sentence.
        why: String,
    },
    /// It was never taken back, and its time is over.
    RanOut,
}

/// A value in a tail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The variable.
    pub env: String,
    /// Its length in bytes.
    pub len: usize,
}
