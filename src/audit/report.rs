//! What a verification found.

use std::fmt;

use thiserror::Error;

use super::record::LineError;
use crate::encoding::Digest;
use crate::encoding::jcs::JcsError;
use crate::encoding::sshsig::SshsigError;

/// Faults that are kept; more are only counted.
pub const FAULTS_KEPT: usize = 100;

/// What a verification found.
#[derive(Debug, Default)]
pub struct Report {
    /// Lines read.
    pub lines: u64,
    /// Leases whose receipt verified.
    pub receipts: u64,
    /// Leases that a PIV key opened without a signature: the daemon's word alone.
    pub attested: u64,
    /// Leases of a signer in hardware: what it signed, and gave out, proves them.
    pub in_hardware: u64,
    /// Changes whose signature verified.
    pub changes: u64,
    /// Lines written under a clock that the lines before do not vouch for. No fault of the log.
    pub skewed: u64,
    /// The vault whose log it is.
    pub vault: Option<Digest>,
    /// Hash of the last line.
    pub tip: Option<Digest>,
    /// The newest receipt in the log that verified.
    pub newest: Option<Newest>,
    /// Number of the line up to which the receipt from elsewhere vouches.
    pub since: Option<u64>,
    /// The first [`FAULTS_KEPT`] faults, in the order of lines.
    pub faults: Vec<Fault>,
    /// All faults.
    pub fault_count: u64,
}

/// The newest receipt in the log that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Id of the lease.
    pub lease: String,
    /// Number of its `asked` line, up to which it vouches.
    pub asked: u64,
    /// Number of its `approved` line.
    pub approved: u64,
}

/// What the log's lines are worth, if there are no faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assurance {
    /// A receipt held elsewhere vouches for the lines up to `line`.
    Held {
        /// Number of the last such line.
        line: u64,
    },
    /// Only receipts that stand in the same file vouch: whoever can write the file can have cut it back.
    FileOnly {
        /// The newest of them.
        newest: Newest,
    },
    /// No touch vouches for anything.
    Nothing,
}

/// Something wrong in one line.
#[derive(Debug)]
pub struct Fault {
    /// Number of the line in the file, from 1; one past the end for something that is missing.
    pub line: u64,
    /// What.
    pub wrong: Wrong,
}

/// What can be wrong with a log.
#[derive(Debug, Error)]
pub enum Wrong {
    /// Not a line: damaged, rewritten by another program, or cut off.
    #[error("not a line of a log: {0}")]
    Line(#[from] LineError),
    /// The line before was changed, removed or put in.
    #[error("it does not hold the hash of the line before")]
    Chain,
    /// Its number does not follow.
    #[error("its number does not follow")]
    Sequence,
    /// It says another thing about its clock than follows from the lines before.
    #[error("what it says about its clock does not follow from the lines before")]
    Skew,
    /// The first line does not say whose log it is, or a later one names another vault.
    #[error("it does not name the vault of this log")]
    Vault,
    /// It answers a question that was not asked before it, or was answered already: a replay.
    #[error("it answers no open question of this log")]
    NotAsked,
    /// The lease's text is not canonical JSON with `asked` and `id`.
    #[error("the lease's text: {0}")]
    Lease(#[from] JcsError),
    /// An id or a signed text for the second time: a replay.
    #[error("its id or text was used before")]
    Replay,
    /// No roster that the verifier knows has this key.
    #[error("signed by an unknown key, {0}")]
    UnknownKey(Digest),
    /// It names another profile than the roster does.
    #[error("the key has another profile")]
    Profile,
    /// It names other evidence of the touch than a key of this kind gives, or none where there has to be some.
    #[error("it shows its touch in another way than the key can")]
    Evidence,
    /// The signature is not good, or was given without a touch.
    #[error(transparent)]
    Signature(#[from] SshsigError),
    /// A lease that was not approved before it in the same run of the daemon, or had ended.
    #[error("it is about a lease that is not open")]
    UnknownLease,
    /// The receipt from elsewhere names an `asked` line that is not here.
    #[error("the line to which the receipt bears witness is not here")]
    SinceAsked,
    /// The lease of the receipt from elsewhere is not here as approved.
    #[error("the lease of the receipt is not here as approved")]
    SinceApproved,
}

impl Report {
    /// No fault at all?
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.fault_count == 0
    }

    /// What the lines are worth. Means nothing where there are faults.
    #[must_use]
    pub fn assurance(&self) -> Assurance {
        match (self.since, &self.newest) {
            (Some(line), _) => Assurance::Held { line },
            (None, Some(newest)) => Assurance::FileOnly { newest: newest.clone() },
            (None, None) => Assurance::Nothing,
        }
    }

    pub(super) fn fault(&mut self, line: u64, wrong: Wrong) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_KEPT {
            self.faults.push(Fault { line, wrong });
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.wrong)
    }
}

impl fmt::Display for Assurance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { line } => write!(
                f,
                "Lines 1 to {line} are as they were when the receipt was touched. What comes after is as good as the file."
            ),
            Self::FileOnly { newest } => write!(
                f,
                "Lines 1 to {} are as they were when the newest receipt in this file was touched. No receipt from elsewhere was given: \
                 whether lines after that were changed, or newer receipts cut off, this file alone cannot tell.",
                newest.asked
            ),
            Self::Nothing => write!(
                f,
                "No touch vouches for any line, and no receipt from elsewhere was given: the log is as good as the file."
            ),
        }
    }
}
