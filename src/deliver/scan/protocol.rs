//! What the worker of a scan and the daemon say to each other, and what it and whoever asked do.
//!
//! With the daemon: frames. With whoever asked: packets (`SOCK_SEQPACKET`). One of theirs is the number of the first of 1 to 16 descriptors
//! beside it, eight bytes, the least first; the others have the numbers behind it. One of ours is JSON, a [`Seen`].

use serde::{Deserialize, Serialize};

use crate::deliver::mask::Encoding;

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "scan-worker";
/// Most bytes of a packet from the worker.
pub const LONGEST_SEEN: usize = 128 * 1024;
/// Most places of one file that are told.
pub const MOST_HITS: usize = 64;
/// Most secrets with the same value that are told.
pub const MOST_ALIKE: usize = 8;
/// Most numbers in one [`Report::TooShort`].
pub const MOST_NUMBERS: usize = 4096;

/// From the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// A part of the next value, in the tail.
    Value {
        /// Whether it is the last part.
        last: bool,
    },
    /// All values are there.
    Begin {
        /// Shorter ones, and shorter lines of others, are left out.
        least: usize,
    },
}

/// To the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// Values that are not looked for, by their numbers in the order in which they came, from 0.
    TooShort {
        /// The numbers.
        numbers: Vec<u32>,
    },
    /// Files may come.
    Ready {
        /// The most bytes that one occurrence takes.
        span: u64,
    },
    /// No more files come, and all that came are looked through.
    Done {
        /// Files.
        files: u64,
        /// Bytes of them.
        bytes: u64,
        /// Occurrences.
        found: u64,
    },
}

/// What one packet of files held.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Number of the first.
    pub first: u64,
    /// How many.
    pub files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Those that could not be read to the end: their numbers, from the first, and the system's number of the error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<(u64, i32)>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hits: Vec<Hit>,
    /// Occurrences beyond [`MOST_HITS`] of a file.
    pub more: u64,
}

/// One occurrence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// The file, counted from the first of its packet.
    pub file: u64,
    /// Where it begins, in bytes from the file's.
    pub at: u64,
    /// Whose it is: the numbers of the secrets with this value.
    pub secrets: Vec<u32>,
    /// How it is written.
    pub encoding: Encoding,
}
