//! `touchlease doctor`: what is wrong on this machine, and what helps.

mod agents;
mod program;

use std::path::PathBuf;

use serde_json::json;

use super::hint;
use super::init::unexpected;
use super::session::Session;
use super::ui::Tone;
use crate::client::{Client, Message, daemon_gone};
use crate::daemon::doctor;
use crate::deliver::env;
use crate::finding::{Finding, Level, Part, quoted};
use crate::wire::reply::Status;
use crate::wire::{Failure, Outcome, Reply, Request};

/// Look at keys, readers, memory, daemon, vault, log and agents' settings, and say what helps where something is wrong.
///
/// Touches nothing: no key blinks, no PIN is asked for, nothing is written, no daemon is started. Ends with 0 when there is no
/// problem, else with the exit code of the first one.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Remedies name the vault where the command line does, as every hint: what the environment names is there for them too.
///
/// # Errors
/// None: what fails is a finding.
pub fn run(session: &Session, names_vault: bool) -> Result<u8, Failure> {
    let mut findings = daemon(session);
    findings.extend(program::file());
    findings.extend(private_files());
    findings.extend(agents::clients(&session.places));
    findings.extend(agents::proxy(&|name| std::env::var(name).ok()));
    // In the order of what depends on what; within a part as it was found.
    findings.sort_by_key(|finding| ORDER.iter().position(|part| *part == finding.part));
    if let Some(vault) = session.vault.as_ref().filter(|_| names_vault) {
        for remedy in findings.iter_mut().filter_map(|finding| finding.remedy.as_mut()) {
            *remedy = hint::in_vault(remedy, vault);
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    let ui = session.ui;
    ui.json(&json!({ "findings": findings, "problems": problems, "warnings": warnings }));
    let mut part = None;
    for finding in &findings {
        if part.replace(finding.part) != Some(finding.part) {
            ui.entry(Tone::Strong, finding.part.word(), "");
        }
        show(session, finding);
    }
    ui.line(&format!("\nproblems: {problems}, warnings: {warnings}"));
    let worst = findings.iter().find(|finding| finding.level == Level::Problem);
    Ok(worst.map_or(0, |finding| outcome(finding).exit_code()))
}

const ORDER: [Part; 10] = [
    Part::Versions,
    Part::Daemon,
    Part::Screen,
    Part::Memory,
    Part::Keys,
    Part::Readers,
    Part::Vault,
    Part::Log,
    Part::Clock,
    Part::Agents,
];

fn show(session: &Session, finding: &Finding) {
    let (tone, word) = match finding.level {
        Level::Ok => (Tone::Dim, "ok"),
        Level::Note => (Tone::Plain, "note"),
        Level::Warning => (Tone::Strong, "warning"),
        Level::Problem => (Tone::Bad, "problem"),
    };
    session.ui.entry(tone, &format!("  {word}"), &finding.what);
    if let Some(remedy) = &finding.remedy {
        session.ui.entry(Tone::Act, "", remedy);
    }
}

/// What asking would end with, as long as this is so.
fn outcome(finding: &Finding) -> Outcome {
    match (finding.part, finding.reason.as_str()) {
        (Part::Keys, "key_busy") => Outcome::KeyBusy,
        (Part::Keys, "no_pin" | "pin_blocked" | "pin_refused") => Outcome::Locked,
        (Part::Keys | Part::Readers, _) => Outcome::NoKey,
        (Part::Daemon, "config") => Outcome::BadInput,
        (Part::Daemon, "socket_not_ours" | "socket_open") | (Part::Clock, _) => Outcome::Refused,
        (Part::Daemon | Part::Versions, _) => Outcome::NoDaemon,
        (Part::Screen, _) => Outcome::NoScreen,
        (Part::Memory, _) => Outcome::Internal,
        (Part::Vault, _) => Outcome::VaultRefused,
        (Part::Log, _) => Outcome::LogRefused,
        (Part::Agents, _) => Outcome::Refused,
    }
}

/// Asks the daemon, which knows most. Where none runs, or one of another version, this process looks itself.
fn daemon(session: &Session) -> Vec<Finding> {
    let mut findings = Vec::new();
    match ask(session, Request::Status) {
        Ok(None) => findings.push(Part::Daemon.note(
            "not_running",
            "no daemon runs; the next command starts one, so this one looked itself",
            "touchlease status",
        )),
        Ok(Some(Reply::Status(status))) => {
            findings.extend(screen(&status));
            let same = status.version == env!("CARGO_PKG_VERSION");
            findings.push(running(&status, same));
            match ask(session, Request::Doctor) {
                Ok(Some(Reply::Findings { findings: more })) if same => return [findings, more].concat(),
                Err(failure) if same => findings.push(refused(&failure)),
                _ => {}
            }
        }
        Ok(Some(_)) => findings.push(refused(&unexpected())),
        Err(failure) => findings.push(refused(&failure)),
    }
    findings.extend(doctor::alone(&session.places, session.vault.as_deref()));
    findings
}

/// Private files of a run that was killed: the daemon knows of none, as it is not where commands run.
fn private_files() -> Option<Finding> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let left: Vec<String> = env::left_behind(runtime.as_deref()).iter().map(|folder| quoted(folder)).collect();
    (!left.is_empty()).then(|| {
        Part::Memory.warning(
            "left_private_files",
            format!(
                "private files of a run that was killed lie in {}; the next `touchlease run` removes them",
                left.join(" and in ")
            ),
            format!("rm -r {}", left.join(" ")),
        )
    })
}

fn screen(status: &Status) -> Option<Finding> {
    Some(match status.screens {
        0 => Part::Screen.note(
            "no_screen",
            "no screen is open: what an agent asks for cannot be shown, and is refused",
            "touchlease watch",
        ),
        1 => Part::Screen.ok("screen", "a screen is open"),
        screens => Part::Screen.ok("screen", format!("{screens} screens are open")),
    })
}

fn running(status: &Status, same: bool) -> Finding {
    let Status { pid, version, .. } = status;
    if same {
        return Part::Daemon.ok("running", format!("the daemon runs: pid {pid}, version {version}"));
    }
    Part::Daemon.problem(
        "other_version",
        format!(
            "the daemon (pid {pid}) is of version {version}, this program of {}",
            env!("CARGO_PKG_VERSION")
        ),
        format!("kill {pid} (the next command starts one of its own version)"),
    )
}

fn refused(failure: &Failure) -> Finding {
    let remedy = failure
        .hint
        .clone()
        .unwrap_or_else(|| "touchlease daemon (in a terminal, to see what it says)".into());
    Part::Daemon.problem(&failure.reason, failure.message.clone(), remedy)
}

/// Nothing where no daemon runs: none is started.
fn ask(session: &Session, request: Request) -> Result<Option<Reply>, Failure> {
    let Some(mut client) = Client::connect(&session.places)? else {
        return Ok(None);
    };
    client.call(&session.call(false, request))?;
    loop {
        match client.message()? {
            Some(Message::Reply(reply)) => match *reply {
                Reply::Failed(failure) => return Err(failure),
                reply => return Ok(Some(reply)),
            },
            Some(Message::Event(_)) => {}
            None => {
                return Err(daemon_gone());
            }
        }
    }
}
