//! `touchlease audit show | verify | export`.

mod line;

use std::collections::BTreeSet;
use std::io::{Cursor, ErrorKind};
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use self::line::Digests;
use super::card::clock_time;
use super::change::how_many;
use super::init::unexpected;
use super::session::Session;
use super::ui::Tone;
use crate::audit::event::Profile;
use crate::audit::report::Assurance;
use crate::audit::{Line, Receipt, ReceiptError, Report, SignerKey, verify};
use crate::encoding::Digest;
use crate::encoding::id::{self, IdError};
use crate::encoding::plain::count;
use crate::finding::quoted;
use crate::lease::text::{LeaseText, Text as _};
use crate::wire::reply::Signer;
use crate::wire::{Event, Failure, Outcome, Reply, Request};

/// Hexadecimal digits of the id of a text that was signed.
const ID_DIGITS: usize = 32;
/// Column of a line's time, below which the line goes on.
const UNDER: usize = 8;

/// Read, verify and export the log of what was asked, approved and used.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the log.
    Show {
        /// Show only the last N lines.
        #[arg(short = 'n', long, value_name = "N", value_parser = how_many::<usize>)]
        last: Option<usize>,
    },
    /// Verify the chain of lines and every signature in it.
    Verify {
        /// Require that the log holds this receipt, a folder that `audit export` made and that was kept elsewhere.
        #[arg(long, value_name = "FOLDER")]
        since: Option<PathBuf>,
    },
    /// Write a receipt into a folder, for anybody to verify with ssh-keygen.
    Export {
        /// Id of the lease or change, as `audit show` prints it; the first 4 digits or more are enough where no other begins so.
        id: String,
        /// Where to write it; made if it is not there.
        folder: PathBuf,
    },
    /// Accept the clock as it is, by a touch, after it was set or the machine was paused.
    AcceptClock,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, command: Command) -> Result<(), Failure> {
    if matches!(command, Command::AcceptClock) {
        return accept_clock(session);
    }
    let mut log = String::new();
    let (reply, _) = session.ask_parts(Request::Audit, &mut |part| {
        if let Event::Line { line } = part {
            log += &line;
            log.push('\n');
        }
    })?;
    let Reply::Log { signers, damage } = reply else {
        return Err(unexpected());
    };
    if let Some(damage) = &damage {
        session.ui.note(
            Tone::Bad,
            &format!("{damage}; here it is as it lies there, and no lease is given meanwhile"),
        );
    }
    match command {
        Command::Show { last } => show(session, &log, last, damage.as_deref()),
        Command::Verify { since } => check(session, &log, &signers, since),
        Command::Export { id, folder } => export(session, &log, &id, &folder),
        // Answered above.
        Command::AcceptClock => Ok(()),
    }
}

fn accept_clock(session: &Session) -> Result<(), Failure> {
    let Reply::Clock { accepted } = session.ask(Request::AcceptClock)? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "accepted": accepted }));
    if accepted {
        session.ui.line("the clock is accepted as it is");
    } else {
        session.ui.note(
            Tone::Dim,
            "the clock agrees with the last line of the log: nothing was wrong, and there is nothing to accept",
        );
    }
    Ok(())
}

/// Ids of the leases that have given an SSH certificate, as far as this machine's log of the vault can be read.
///
/// # Errors
/// See [`Failure`].
pub(super) fn certificates(session: &Session) -> Result<BTreeSet<String>, Failure> {
    let mut ids = BTreeSet::new();
    let (reply, _) = session.ask_parts(Request::Audit, &mut |part| {
        if let Event::Line { line } = part {
            ids.extend(certified(&line));
        }
    })?;
    match reply {
        Reply::Log { .. } => Ok(ids),
        _ => Err(unexpected()),
    }
}

/// The id of the lease that this line approves, where it gives a certificate.
fn certified(line: &str) -> Option<String> {
    let line = Line::from_bytes(format!("{line}\n").as_bytes()).ok()?;
    let lease = LeaseText::decode(&line.event.signed()?.text).ok()?;
    lease.certificate().is_some().then_some(lease.id)
}

fn show(session: &Session, log: &str, last: Option<usize>, damage: Option<&str>) -> Result<(), Failure> {
    let lines: Vec<&str> = log.lines().collect();
    let from = last.map_or(0, |last| lines.len().saturating_sub(last));
    if session.ui.is_json() {
        let parsed = lines[from..]
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or(Value::Null));
        session.ui.json(&json!({ "lines": parsed.collect::<Vec<_>>(), "damage": damage }));
        return Ok(());
    }
    let zone = TimeZone::system();
    let digests = Digests::of(&lines);
    for (number, line) in lines.iter().enumerate().skip(from) {
        match Line::from_bytes(format!("{line}\n").as_bytes()) {
            Ok(parsed) => {
                let at = clock_time(parsed.wall().seconds(), &zone);
                let said = format!("{:>6}  {at}  {}", parsed.seq, line::said(&parsed.event, &digests));
                session.ui.hanging(&said, UNDER);
            }
            Err(error) => session
                .ui
                .line(&format!("{:>6}  damaged: not a line of the log: {error}", number + 1)),
        }
    }
    Ok(())
}

fn check(session: &Session, log: &str, signers: &[Signer], since: Option<PathBuf>) -> Result<(), Failure> {
    let since = since
        .map(|folder| Receipt::read(&folder).map_err(|error| (error, folder)))
        .transpose()
        .map_err(|(error, folder)| receipt_failure(&error, &folder))?;
    let keys = |id: &Digest| signers.iter().find(|signer| signer.id == *id).and_then(key);
    let report = verify(Cursor::new(log), &keys, since.as_ref())
        .map_err(|error| Failure::new(Outcome::LogRefused, "log", error.to_string()).hint("touchlease doctor looks at the log"))?;
    tell(session, &report);
    let missed = since.is_some() && !matches!(report.assurance(), Assurance::Held { .. });
    if report.is_good() && !missed {
        return Ok(());
    }
    Err(Failure::new(Outcome::LogRefused, "log_faulty", "the audit log does not verify")
        .hint("keep the file as it is and look who could write to it; moved aside, the next lease begins a new one"))
}

fn tell(session: &Session, report: &Report) {
    let faults: Vec<_> = report
        .faults
        .iter()
        .map(|fault| json!({ "line": fault.line, "wrong": fault.wrong.to_string() }))
        .collect();
    session.ui.json(&json!({
        "good": report.is_good(), "lines": report.lines, "receipts": report.receipts, "attested": report.attested, "in_hardware": report.in_hardware, "changes": report.changes,
        "tip": report.tip, "faults": faults, "standing": report.assurance().to_string(),
    }));
    session.ui.line(&format!(
        "{}, {}, {}",
        count(report.lines, "line"),
        count(report.receipts, "receipt"),
        count(report.changes, "change")
    ));
    if report.attested > 0 {
        session.ui.line(&format!(
            "{} attested by the daemon alone: a PIV key opened the secrets by its touch, and no hardware signature exists",
            count(report.attested, "lease")
        ));
    }
    if report.in_hardware > 0 {
        session.ui.line(&format!(
            "{} of signers in hardware: each is proved by the token or certificate that was signed for it, which is not in the log",
            count(report.in_hardware, "lease")
        ));
    }
    for fault in &report.faults {
        session.ui.note(Tone::Bad, &format!("line {}: {}", fault.line, fault.wrong));
    }
    session.ui.hanging(&report.assurance().to_string(), 0);
}

fn key(signer: &Signer) -> Option<SignerKey> {
    let point = BASE64URL_NOPAD.decode(signer.point.as_bytes()).ok()?.try_into().ok()?;
    Some(SignerKey {
        point,
        profile: match signer.profile.as_str() {
            "pin" => Profile::Pin,
            "touch-only" => Profile::TouchOnly,
            "piv" => Profile::Piv,
            _ => return None,
        },
        name: signer.name.clone(),
    })
}

fn export(session: &Session, log: &str, id: &str, folder: &Path) -> Result<(), Failure> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::new(Outcome::LogRefused, "log", format!("the audit log cannot be read: {error}"))
            .hint("touchlease audit verify names what is wrong")
    };
    let id = whole_id(log, id)?;
    let signed = Receipt::find(Cursor::new(log), &id).map_err(|error| unreadable(&error))?;
    let signed = signed.ok_or_else(|| no_receipt(log, &id))?;
    let receipt = Receipt::of(&signed).map_err(|error| receipt_failure(&error, folder))?;
    receipt.export(folder).map_err(|error| not_written(&error, &id, folder))?;
    session
        .ui
        .json(&json!({ "id": receipt.id(), "digest": receipt.digest(), "folder": folder }));
    session.ui.line(&format!("{}: {}", folder.display(), receipt.files().join(", ")));
    session.ui.note(
        Tone::Dim,
        "verify.md, which lies with it, says how anybody verifies it, with ssh-keygen and without touchlease",
    );
    Ok(())
}

/// The whole id of a text that was signed, of which a person may have typed the beginning.
fn whole_id(log: &str, typed: &str) -> Result<String, Failure> {
    // A text is a string of the log's JSON, so the quotes in it are escaped.
    let ids = log.split("\\\"id\\\":\\\"").skip(1).filter_map(|rest| rest.split('\\').next());
    // Words of a requester may stand in the same form, and are no id.
    let ids = ids.filter(|id| id.len() == ID_DIGITS && id.bytes().all(|digit| digit.is_ascii_hexdigit()));
    match id::named(ids, typed) {
        // It may be a statement's, or nobody's: said by whoever looks for the receipt.
        Err(IdError::None) => Ok(typed.to_owned()),
        found => found
            .map_err(|error| Failure::new(Outcome::BadInput, "which_id", error.to_string()).hint("touchlease audit show lists the ids")),
    }
}

fn no_receipt(log: &str, id: &str) -> Failure {
    let none = Failure::new(Outcome::BadInput, "no_receipt", format!("the log holds no receipt of {id:?}"));
    // Its signature is no line of the log: it lies beside the statement, in the form that ssh-keygen reads.
    let statements = log.split("\"statement\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let named = |statement: &&str| id.len() >= line::FEWEST_DIGITS && statement.starts_with(id);
    if let Some(statement) = statements.into_iter().find(named) {
        return none.hint(format!(
            "it is a statement of the roster, signed in the vault itself: roster/{statement}.json and roster/{statement}.sig"
        ));
    }
    none.hint("touchlease audit show lists the ids")
}

fn not_written(error: &ReceiptError, id: &str, folder: &Path) -> Failure {
    let failure = Failure::new(Outcome::BadInput, "receipt", format!("{}: {error}", folder.display()));
    match error {
        ReceiptError::Io { error, .. } if error.kind() == ErrorKind::AlreadyExists => failure.hint(format!(
            "nothing is written over; name a folder that is not there yet: touchlease audit export {id} {}",
            quoted(&folder.join(id))
        )),
        _ => failure.hint(format!(
            "name a folder that you may write to: touchlease audit export {id} ~/receipt-{id}"
        )),
    }
}

fn receipt_failure(error: &ReceiptError, folder: &Path) -> Failure {
    Failure::new(Outcome::BadInput, "receipt", format!("{}: {error}", folder.display()))
        .hint("a receipt is a folder with lease.json, lease.sig (or change.json, change.sig) and allowed_signers")
}
