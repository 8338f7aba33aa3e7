//! The log's lines of the lease path, and the proof that the approval is among them.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::failure::{IntoFailure, internal};
use super::ledger::{Over, Why};
use super::requester::Requester;
use super::text::Fixed;
use crate::audit::event::{self, Asked, Change, Ended, OfAsked, Refused, Signed, Used};
use crate::audit::{AuditError, Durability, Event, Log};
use crate::device::{Link, Profile, Proof};
use crate::encoding::Digest;
use crate::wire::{Failure, Outcome};

/// The audit log of a vault, as the lease path writes it.
pub struct Journal {
    log: RefCell<Log>,
    written: Rc<Notify>,
}

/// What is asked, for the log.
pub struct Question<'a> {
    /// Who.
    pub requester: &'a Requester,
    /// Secrets, `scope/NAME`.
    pub secrets: Vec<String>,
    /// Task.
    pub task: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
    /// Seconds; 0 for a change.
    pub ttl: u64,
    /// Limit of uses.
    pub uses: Option<u32>,
}

/// The hash of a line that says what is asked, written and synced before anybody is asked.
#[derive(Clone, Copy, Debug)]
pub struct AskedLine(Digest);

/// That the approval of a text is in the log, on the disk. [`approved`] is the only maker.
///
/// ```compile_fail
/// let forged = touchlease::lease::record::Approved { sshsig: String::new(), key: String::new() };
/// ```
#[derive(Debug)]
pub struct Approved {
    sshsig: String,
    key: String,
}

impl AskedLine {
    /// The hash.
    #[must_use]
    pub fn hash(self) -> Digest {
        self.0
    }
}

impl Approved {
    /// The receipt: armored SSHSIG.
    #[must_use]
    pub fn sshsig(&self) -> &str {
        &self.sshsig
    }

    /// Name of the key that was touched.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// Writes what is asked.
///
/// # Errors
/// The log cannot be written: nobody is asked then.
pub fn asked(log: &Journal, question: &Question<'_>) -> Result<AskedLine, Failure> {
    let claimed = question.requester.claimed.clone().for_screen();
    let event = Event::Asked(Asked {
        reason: question.reason.map(str::to_owned),
        requester: event::Requester {
            exe: claimed.executable,
            folder: claimed.folder,
            pid: question.requester.process.pid,
            uid: question.requester.uid,
        },
        secrets: question.secrets.clone(),
        task: question.task.map(str::to_owned),
        ttl: u32::try_from(question.ttl).unwrap_or(u32::MAX),
        uses: question.uses,
    });
    log.write(event, Durability::Synced).map(AskedLine)
}

/// Writes that the prompt stands on a screen.
///
/// # Errors
/// As [`asked`].
pub fn shown(log: &Journal, line: AskedLine) -> Result<(), Failure> {
    log.write(Event::Shown(OfAsked { asked: line.0 }), Durability::Grouped).map(drop)
}

/// Writes the touch, and waits for the disk: what comes after may hand something out.
///
/// # Errors
/// The log cannot be written; the touch was for nothing.
pub fn approved(log: &Journal, proof: &Proof, fixed: &Fixed) -> Result<Approved, Failure> {
    let signed = signed(proof, fixed)?;
    let approved = Approved {
        sshsig: signed.sshsig.clone(),
        key: signed.name.clone(),
    };
    log.write(Event::Approved(signed), Durability::Synced)?;
    Ok(approved)
}

/// Writes the touch for a change to these names, and waits for the disk.
///
/// # Errors
/// As [`approved`].
pub fn changed(log: &Journal, proof: &Proof, fixed: &Fixed, names: Vec<String>) -> Result<(), Failure> {
    let signed = signed(proof, fixed)?;
    log.write(Event::Change(Change { names, signed }), Durability::Synced).map(drop)
}

/// Writes that a person accepts the clock as it is.
///
/// # Errors
/// As [`approved`].
pub fn clock_accepted(log: &Journal, proof: &Proof, fixed: &Fixed) -> Result<(), Failure> {
    log.write(Event::ClockAccepted(signed(proof, fixed)?), Durability::Synced).map(drop)
}

fn signed(proof: &Proof, fixed: &Fixed) -> Result<Signed, Failure> {
    // A proof over another text than the one that is recorded is no approval of it.
    let sshsig = proof
        .sshsig(fixed.text().as_bytes())
        .ok_or_else(|| internal("proof", "the touch was for another text"))?;
    Ok(Signed {
        key: proof.key_id().0,
        kind: event::Kind::Touch,
        name: proof.key_name().to_owned(),
        profile: profile(proof.profile()),
        sshsig,
        text: fixed.text().to_owned(),
        transport: transport(proof.link()),
    })
}

/// Writes how a question ended without an approval. The answer goes out even if that cannot be written: it gives nothing.
pub fn failed(log: &Journal, line: Option<AskedLine>, failure: &Failure) {
    let event = match (failure.outcome, line) {
        (Outcome::Denied, Some(line)) => Event::Denied(OfAsked { asked: line.0 }),
        (Outcome::TimedOut, Some(line)) => Event::TimedOut(OfAsked { asked: line.0 }),
        _ => Event::Refused(Refused {
            asked: line.map(|line| line.0),
            detail: failure.message.clone(),
            reason: failure.reason.clone(),
        }),
    };
    best_effort(log, event);
}

/// Writes one use. With a limit of uses it is on the disk before the use happens.
///
/// # Errors
/// The log cannot be written: the use does not happen.
pub fn used(log: &Journal, lease: &str, delivery: &str, what: &str, left: Option<u32>) -> Result<(), Failure> {
    let durability = if left.is_some() { Durability::Synced } else { Durability::Grouped };
    let event = Event::Used(Used {
        delivery: delivery.into(),
        lease: lease.into(),
        left,
        what: what.into(),
    });
    log.write(event, durability).map(drop)
}

/// Writes that leases are over. They are over whether or not that can be written (T55).
pub fn over(log: &Journal, ended: &[Over]) {
    for over in ended {
        best_effort(
            log,
            Event::Ended(Ended {
                lease: over.id.clone(),
                why: why(over.why),
            }),
        );
    }
}

/// Writes something that gives nothing to anybody, and goes on without it.
pub fn best_effort(log: &Journal, event: Event) {
    if let Err(failure) = log.write(event, Durability::Grouped) {
        tracing::error!(reason = failure.reason, "not in the audit log: {}", failure.message);
    }
}

impl Journal {
    /// `written` is told of every line that may wait for the disk: somebody has to call [`Journal::sync`] within a second.
    #[must_use]
    pub fn new(log: Log, written: Rc<Notify>) -> Self {
        Self {
            log: RefCell::new(log),
            written,
        }
    }

    /// Whether the wall clock may be believed.
    ///
    /// # Errors
    /// It was set: earlier than the last line of the log, or far ahead of it within one boot.
    pub fn check_clock(&self) -> Result<(), Failure> {
        self.log.borrow().check_clock().map_err(IntoFailure::failure)
    }

    /// Brings lines that wait to the disk.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn sync(&self) -> Result<(), AuditError> {
        self.log.borrow_mut().sync()
    }

    fn write(&self, event: Event, durability: Durability) -> Result<Digest, Failure> {
        let mut log = self.log.borrow_mut();
        // A disk that was full may have room again: one attempt to go on from what is known to be durable.
        if log.is_poisoned() {
            log.reopen().map_err(IntoFailure::failure)?;
        }
        let line = log.append(event, durability).map_err(IntoFailure::failure)?;
        if durability == Durability::Grouped {
            self.written.notify_one();
        }
        Ok(line)
    }
}

fn profile(profile: Profile) -> event::Profile {
    match profile {
        Profile::Pin => event::Profile::Pin,
        Profile::TouchOnly => event::Profile::TouchOnly,
    }
}

fn transport(link: Link) -> event::Transport {
    match link {
        Link::Usb => event::Transport::Usb,
        Link::Contact => event::Transport::Contact,
        Link::Contactless => event::Transport::Nfc,
    }
}

fn why(why: Why) -> event::Why {
    match why {
        Why::Expired => event::Why::Time,
        Why::UsedUp => event::Why::Uses,
        Why::Ended => event::Why::Returned,
        Why::Revoked => event::Why::Revoked,
        Why::Locked => event::Why::Locked,
        Why::RequesterGone => event::Why::RequesterGone,
        Why::DaemonStopped => event::Why::DaemonEnd,
    }
}
