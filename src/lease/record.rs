//! The log's lines of the lease path, and the proof that the approval is among them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::failure::{IntoFailure, internal};
use super::ledger::{Over, Why};
use super::requester::Requester;
use super::text::Fixed;
use crate::audit::event::{self, Asked, Change, Ended, OfAsked, Refused, Signed, Used};
use crate::audit::{AuditError, Durability, Event, Log};
use crate::clock::Boot;
use crate::device::proof::Evidence;
use crate::device::{KeyId, Link, Profile, Proof};
use crate::encoding::Digest;
use crate::wire::{Failure, Outcome};

/// The audit log of a vault, as the lease path writes it.
pub struct Journal {
    log: RefCell<Log>,
    written: Rc<Notify>,
    last_refusal: RefCell<Option<(String, Boot)>>,
    /// The statement that the last line about the roster names.
    roster: Cell<Option<Digest>>,
}

/// The reason of a question that whoever asked it has left.
const WITHDRAWN: &str = "withdrawn";
/// How long the same refusal is not written again.
const REFUSAL_PAUSE: Duration = Duration::from_secs(60);

/// What is asked, for the log.
pub struct Question<'a> {
    /// Who.
    pub requester: &'a Requester,
    /// Secrets, `scope/NAME`.
    pub secrets: Vec<String>,
    /// Task.
    pub task: Option<&'a str>,
    /// Why; of a change, what it is.
    pub reason: Option<&'a str>,
    /// Seconds; 0 for a change.
    pub ttl: u64,
    /// Limit of uses.
    pub uses: Option<u32>,
}

impl<'a> Question<'a> {
    /// About a change, which no task asks for and no time ends; `what` it is.
    #[must_use]
    pub fn of_change(requester: &'a Requester, secrets: Vec<String>, what: &'a str) -> Self {
        Self {
            requester,
            secrets,
            task: None,
            reason: Some(what),
            ttl: 0,
            uses: None,
        }
    }
}

/// A question that stands in the log, and has to be answered there: by the touch, by how it failed, or, when whoever asked goes
/// away in between, by being withdrawn. It is shared with whoever waits for the end of what was begun for somebody who is gone.
pub struct AskedLine {
    log: Rc<Journal>,
    hash: Digest,
    answer: Cell<Answer>,
}

/// What the log says to a question.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Nothing yet.
    None,
    /// That it was touched for. A line that it did not come to what was touched for names it still.
    Touched,
    /// An answer that uses the question up: a second one to it would be a replay for whoever verifies the log.
    Spent,
    /// How it ended.
    Over,
}

/// That the approval of exactly this text is in the log, on the disk. [`AskedLine::approved`] is the only maker.
///
/// ```compile_fail
/// use touchlease::lease::record::Approved;
/// fn forged(approved: Approved) -> Approved {
///     Approved { ..approved }
/// }
/// ```
///
/// The same compiles where nothing is forged, so it is the fields that the compiler objects to:
///
/// ```
/// use touchlease::lease::record::Approved;
/// fn kept(approved: Approved) -> Approved {
///     approved
/// }
/// ```
#[derive(Debug)]
pub struct Approved {
    text: Digest,
    sshsig: Option<String>,
    key: String,
    key_id: KeyId,
}

impl Approved {
    /// SHA-256 of the text that was approved.
    #[must_use]
    pub fn text(&self) -> Digest {
        self.text
    }

    /// The receipt: armored SSHSIG. Nothing where a PIV key opened and signed nothing: the daemon alone attests it.
    #[must_use]
    pub fn sshsig(&self) -> Option<&str> {
        self.sshsig.as_deref()
    }

    /// Which key was touched: its name may be another's since.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Name of the key that was touched.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// Writes what is asked, and waits for the disk: only then is anybody asked.
///
/// # Errors
/// The log cannot be written.
pub fn asked(log: &Rc<Journal>, question: &Question<'_>) -> Result<Rc<AskedLine>, Failure> {
    let claimed = question.requester.claimed.clone().for_screen();
    let event = Event::Asked(Asked {
        reason: question.reason.map(str::to_owned),
        requester: event::Requester {
            ancestors: claimed.ancestors,
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
    let hash = log.write(event, Durability::Synced)?;
    Ok(Rc::new(AskedLine {
        log: log.clone(),
        hash,
        answer: Cell::new(Answer::None),
    }))
}

impl AskedLine {
    /// Hash of the line.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// Writes that the prompt stands on a screen.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn shown(&self) -> Result<(), Failure> {
        self.log
            .write(Event::Shown(OfAsked { asked: self.hash }), Durability::Grouped)
            .map(drop)
    }

    /// Writes the touch, and waits for the disk: what comes after may hand something out.
    ///
    /// # Errors
    /// The log cannot be written; the touch was for nothing.
    pub fn approved(&self, proof: &Proof, fixed: &Fixed) -> Result<Approved, Failure> {
        let signed = signed(proof, fixed)?;
        let approved = Approved {
            text: fixed.digest(),
            sshsig: signed.sshsig.clone(),
            key: signed.name.clone(),
            key_id: proof.key_id(),
        };
        self.answer(Event::Approved(signed), Answer::Spent)?;
        Ok(approved)
    }

    /// Writes the touch for a change to these names, and waits for the disk.
    ///
    /// # Errors
    /// As [`AskedLine::approved`].
    pub fn changed(&self, proof: &Proof, fixed: &Fixed, names: Vec<String>) -> Result<(), Failure> {
        let signed = signed(proof, fixed)?;
        self.answer(Event::Change(Change { names, signed }), Answer::Touched)
    }

    /// Writes the touch for an export, and waits for the disk: what comes after hands values out.
    ///
    /// # Errors
    /// As [`AskedLine::approved`].
    pub fn exported(&self, proof: &Proof, fixed: &Fixed) -> Result<(), Failure> {
        self.answer(Event::Exported(signed(proof, fixed)?), Answer::Touched)
    }

    /// Writes that a statement of the roster is signed and about to take effect.
    ///
    /// # Errors
    /// As [`AskedLine::approved`].
    pub fn roster(&self, statement: Digest) -> Result<(), Failure> {
        self.answer(Event::Roster(event::Roster { statement }), Answer::Touched)
    }

    /// Writes that the recovery code is about to let the key `name` in, and to take those called `lost` out.
    ///
    /// # Errors
    /// As [`AskedLine::approved`].
    pub fn recovered(&self, statement: Digest, name: &str, lost: &[String]) -> Result<(), Failure> {
        let used = event::RecoveryCode {
            asked: self.hash,
            key: name.to_owned(),
            removes: lost.to_vec(),
            statement,
        };
        self.answer(Event::RecoveryCode(used), Answer::Spent)
    }

    /// Writes that a person accepts the clock as it is.
    ///
    /// # Errors
    /// As [`AskedLine::approved`].
    pub fn clock_accepted(&self, proof: &Proof, fixed: &Fixed) -> Result<(), Failure> {
        self.answer(Event::ClockAccepted(signed(proof, fixed)?), Answer::Touched)
    }

    /// Writes that a person takes an older copy of the vault as it is.
    ///
    /// # Errors
    /// As [`AskedLine::approved`].
    pub fn older_accepted(&self, proof: &Proof, fixed: &Fixed) -> Result<(), Failure> {
        self.answer(Event::OlderAccepted(signed(proof, fixed)?), Answer::Touched)
    }

    /// Writes how the question ended without what it asked for, whether or not it was touched for. The answer goes out even if that cannot be
    /// written: it gives nothing.
    pub fn failed(&self, failure: &Failure) {
        self.end(failure.outcome, &failure.message, &failure.reason);
    }

    /// Writes that whoever asked went away before it was begun, though it was touched for.
    pub fn given_up(&self) {
        self.end(Outcome::Refused, "whoever asked went away before it was begun", WITHDRAWN);
    }

    fn answer(&self, event: Event, answer: Answer) -> Result<(), Failure> {
        self.log.write(event, Durability::Synced)?;
        self.answer.set(answer);
        Ok(())
    }

    fn end(&self, outcome: Outcome, detail: &str, reason: &str) {
        let answer = self.answer.replace(Answer::Over);
        let of = OfAsked { asked: self.hash };
        let event = match (answer, outcome) {
            (Answer::Over, _) => return,
            (Answer::None | Answer::Touched, Outcome::Denied) => Event::Denied(of),
            (Answer::None | Answer::Touched, Outcome::TimedOut) => Event::TimedOut(of),
            _ => Event::Refused(Refused {
                asked: (answer != Answer::Spent).then_some(self.hash),
                detail: detail.to_owned(),
                reason: reason.to_owned(),
            }),
        };
        best_effort(&self.log, event);
    }
}

impl Drop for AskedLine {
    fn drop(&mut self) {
        if self.answer.get() == Answer::None {
            self.end(Outcome::Refused, "whoever asked went away", WITHDRAWN);
        }
    }
}

fn signed(proof: &Proof, fixed: &Fixed) -> Result<Signed, Failure> {
    // A proof over another text than the one that is recorded is no approval of it.
    if !proof.is_over(fixed.text().as_bytes()) {
        return Err(internal("proof", "the touch was for another text"));
    }
    Ok(Signed {
        key: proof.key_id().0,
        kind: kind(proof.evidence()),
        name: proof.key_name().to_owned(),
        profile: profile(proof),
        sshsig: proof.sshsig(fixed.text().as_bytes()),
        text: fixed.text().to_owned(),
        transport: transport(proof.link()),
    })
}

/// Writes which statement of the roster is the newest, unless that was the last thing said of the roster: whoever changes it has said it
/// before it took effect.
pub fn roster(log: &Journal, statement: Digest) {
    if log.roster.get() != Some(statement) {
        best_effort(log, Event::Roster(event::Roster { statement }));
    }
}

/// Writes a refusal for which nobody was asked. The same one again within a minute is not written: a loop must not fill the disk.
pub fn refused(log: &Journal, failure: &Failure, now: Boot) {
    let mut last = log.last_refusal.borrow_mut();
    let again = last
        .as_ref()
        .is_some_and(|(reason, at)| *reason == failure.reason && now.since(*at) < REFUSAL_PAUSE);
    if !again {
        *last = Some((failure.reason.clone(), now));
        best_effort(
            log,
            Event::Refused(Refused {
                asked: None,
                detail: failure.message.clone(),
                reason: failure.reason.clone(),
            }),
        );
    }
}

/// Writes one use. With a limit of uses it is on the disk before the use happens.
///
/// # Errors
/// The log cannot be written: the use does not happen.
pub fn used(log: &Journal, lease: &str, delivery: &str, what: &str, left: Option<u32>) -> Result<(), Failure> {
    used_together(log, lease, delivery, std::iter::once((what, left)))
}

/// Writes several uses, what each is and how many are left after it, with one wait for the disk where one of them wants that.
///
/// # Errors
/// The log cannot be written: none of them happens.
pub fn used_together<'a>(
    log: &Journal,
    lease: &str,
    delivery: &str,
    uses: impl Iterator<Item = (&'a str, Option<u32>)>,
) -> Result<(), Failure> {
    let mut durability = Durability::Grouped;
    let mut event = |(what, left): (&str, Option<u32>)| {
        if left.is_some() {
            durability = Durability::Synced;
        }
        Event::Used(Used {
            delivery: delivery.into(),
            lease: lease.into(),
            left,
            times: None,
            what: what.into(),
        })
    };
    let events: Vec<_> = uses.map(&mut event).collect();
    log.write_all(&events, durability).map(drop)
}

/// Writes how often each of these was done again, of a lease without a limit of uses, a moment ago.
///
/// # Errors
/// The log cannot be written: none of it is, and none of it is done again.
pub fn used_again(log: &Journal, lease: &str, delivery: &str, again: impl Iterator<Item = (String, u32)>) -> Result<(), Failure> {
    let event = |(what, times)| {
        Event::Used(Used {
            delivery: delivery.into(),
            lease: lease.into(),
            left: None,
            times: Some(times),
            what,
        })
    };
    log.write_all(&again.map(event).collect::<Vec<_>>(), Durability::Grouped).map(drop)
}

/// Writes that an answer had a value in it, which was masked; `left_out` such events before had no line.
pub fn echoed(log: &Journal, lease: &str, secret: &str, host: &str, left_out: u64) {
    let event = Event::Echoed(event::Echoed {
        host: host.into(),
        lease: lease.into(),
        left_out,
        secret: secret.into(),
    });
    best_effort(log, event);
}

/// Writes that a request with a placeholder was refused.
pub fn not_sent(log: &Journal, lease: &str, secret: Option<&str>, reason: &str, what: &str, left_out: u64) {
    let event = Event::NotSent(event::NotSent {
        lease: lease.into(),
        left_out,
        reason: reason.into(),
        secret: secret.map(str::to_owned),
        what: what.into(),
    });
    best_effort(log, event);
}

/// Writes that OpenBao gave a token, on the disk before anybody has it.
///
/// # Errors
/// The log cannot be written: nobody gets it.
pub fn exchanged(log: &Journal, exchanged: event::Exchanged) -> Result<(), Failure> {
    log.write(Event::Exchanged(exchanged), Durability::Synced).map(drop)
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
            last_refusal: RefCell::default(),
            roster: Cell::default(),
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
        let mut log = self.log.borrow_mut();
        // What waits is kept for this: going back to what is durable writes it again.
        let synced = if log.is_poisoned() { log.reopen() } else { log.sync() };
        if synced.is_err() {
            self.written.notify_one();
        }
        synced
    }

    fn write(&self, event: Event, durability: Durability) -> Result<Digest, Failure> {
        let lines = self.write_all(std::slice::from_ref(&event), durability)?;
        Ok(lines.last().copied().unwrap_or_else(|| self.log.borrow().tip().1))
    }

    /// All of them or none.
    fn write_all(&self, events: &[Event], durability: Durability) -> Result<Vec<Digest>, Failure> {
        let mut log = self.log.borrow_mut();
        // A disk that was full may have room again: one attempt to go on from what is known to be durable. Who has nothing to write asks just for that.
        if log.is_poisoned() {
            log.reopen().map_err(IntoFailure::failure)?;
        }
        if events.is_empty() {
            return Ok(vec![]);
        }
        let lines = log.append_many(events, durability).map_err(IntoFailure::failure)?;
        for (event, line) in events.iter().zip(&lines) {
            if let Event::Roster(roster) = event {
                self.roster.set(Some(roster.statement));
            }
            tracing::debug!(%line, "{}", step(event));
        }
        if durability == Durability::Grouped {
            self.written.notify_one();
        }
        Ok(lines)
    }
}

/// What happened, for somebody who looks for a fault: no name of a secret, no word of a requester, nothing of a text.
fn step(event: &Event) -> String {
    let hex = |digest: &Digest| digest.to_string();
    match event {
        Event::Asked(asked) => format!(
            "asked by pid {}: secrets {}, for {} s",
            asked.requester.pid,
            asked.secrets.len(),
            asked.ttl
        ),
        Event::Shown(of) => format!("shown: asked in line {}", hex(&of.asked)),
        Event::Approved(signed) => format!("touched: {:?} over {:?}", signed.name, signed.transport),
        Event::Change(change) => format!("touched for a change: {:?} over {:?}", change.signed.name, change.signed.transport),
        Event::Denied(of) => format!("denied: asked in line {}", hex(&of.asked)),
        Event::TimedOut(of) => format!("timed out: asked in line {}", hex(&of.asked)),
        Event::Refused(refused) => format!("refused: {}", refused.reason),
        Event::Used(used) => format!("delivered: lease {} as {}", used.lease, used.delivery),
        Event::Echoed(echoed) => format!("echoed and masked: lease {}", echoed.lease),
        Event::NotSent(refused) => format!("not sent: lease {}, {}", refused.lease, refused.reason),
        Event::Exchanged(exchanged) => format!("exchanged: lease {}", exchanged.lease),
        Event::ExchangeEnded(ended) => format!("exchange over: lease {}, {:?}", ended.lease, ended.what),
        Event::Ended(ended) => format!("ended: lease {}, {:?}", ended.lease, ended.why),
        Event::Key(trouble) => format!("key trouble: {:?}", trouble.what),
        Event::ExtraTouch(_) => "an extra touch".into(),
        Event::CounterBack(back) => format!("a counter went back from {} to {}", back.before, back.now),
        Event::Opened(_) => "the log is open".into(),
        Event::Recovered(_) => "the log was recovered".into(),
        Event::Exported(_) => "touched for an export".into(),
        Event::ClockAccepted(_) => "the clock was accepted".into(),
        Event::OlderAccepted(_) => "an older copy was accepted".into(),
        Event::Roster(_) => "a statement of the roster".into(),
        Event::RecoveryCode(_) => "the recovery code was used".into(),
    }
}

fn kind(evidence: &Evidence) -> event::Kind {
    match evidence {
        Evidence::Assertion(_) => event::Kind::Touch,
        Evidence::Signature(_) => event::Kind::Policy,
        Evidence::Opening => event::Kind::Attested,
        Evidence::Signed(_) => event::Kind::Signer,
    }
}

fn profile(proof: &Proof) -> event::Profile {
    match (proof.evidence(), proof.profile()) {
        (Evidence::Signature(_) | Evidence::Opening | Evidence::Signed(_), _) => event::Profile::Piv,
        (Evidence::Assertion(_), Profile::Pin) => event::Profile::Pin,
        (Evidence::Assertion(_), Profile::TouchOnly) => event::Profile::TouchOnly,
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
        Why::KeyRemoved => event::Why::KeyRemoved,
        Why::NotDelivered => event::Why::NotDelivered,
        Why::DaemonStopped => event::Why::DaemonEnd,
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::*;
    use crate::audit::log::Owner;
    use crate::clock::SystemClock;
    use crate::lease::request::tests::requester;

    /// A log in this folder, and its file.
    pub(in crate::lease) fn journal(folder: &Path) -> (Rc<Journal>, PathBuf) {
        let path = folder.join("audit.jsonl");
        let owner = Owner {
            vault: Digest([9; 32]),
            boot_id: "a boot".into(),
            program: "a test".into(),
        };
        let log = Log::open(&path, owner, Arc::new(SystemClock)).unwrap();
        (Rc::new(Journal::new(log, Rc::default())), path)
    }

    /// A question about a change that stands in this log.
    pub(in crate::lease) fn question(log: &Rc<Journal>) -> Rc<AskedLine> {
        asked(log, &Question::of_change(&requester(None), vec![], "a change")).unwrap()
    }

    #[test]
    fn t55_a_statement_whose_line_could_not_be_written_is_written_once_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, path) = journal(folder.path());
        let away = folder.path().join("away");
        let statement = Digest([7; 32]);
        let lines = || fs::read_to_string(&path).unwrap().matches(&statement.to_string()).count();
        fs::rename(&path, &away).unwrap();
        roster(&journal, statement);
        fs::rename(&away, &path).unwrap();
        assert_eq!(lines(), 0, "the log was not there");
        for _ in 0..2 {
            roster(&journal, statement);
            journal.sync().unwrap();
            assert_eq!(lines(), 1);
        }
    }
}
