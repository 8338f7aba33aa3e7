//! `touchlease lease request | list | show | end | revoke`.

use jiff::tz::TimeZone;
use serde_json::json;

use super::card::{self, clock_time, duration};
use super::init::unexpected;
use super::lock::leases;
use super::run::{AskArgs, say_joined};
use super::session::Session;
use super::table::Table;
use super::ui::Tone;
use crate::device::enrolled::UNVERIFIED;
use crate::encoding::Digest;
use crate::encoding::plain::count;
use crate::lease::text::{LeaseText, Text as _};
use crate::wire::reply::{Granted, LeaseView};
use crate::wire::{Failure, Outcome, Reply, Request};

/// Digits of a lease's id in a list on a screen.
const SHOWN_DIGITS: usize = 12;

/// Ask for leases, look at them, end them.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Ask for a lease that the calling process holds, for it and what it starts.
    ///
    /// It prints no value: `touchlease run` with the same task or secrets, from the same process or one below it, uses the lease
    /// without another touch. The lease ends with the calling process at the latest.
    Request(RequestArgs),
    /// List live leases.
    List,
    /// Show one live lease: the text that was signed, and the receipt.
    Show {
        /// Its id, as `lease list` shows it; the first 4 digits or more are enough where no other begins so.
        id: String,
    },
    /// Give a lease back before its time.
    End {
        /// Its id, as `lease list` shows it; the first 4 digits or more are enough where no other begins so.
        id: String,
    },
    /// Take a lease away, whoever holds it.
    Revoke {
        /// Its id, as `lease list` shows it; the first 4 digits or more are enough where no other begins so.
        id: Option<String>,
        /// Take away every live lease of the vault.
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

/// What to ask for, and where it is to come.
#[derive(Debug, clap::Args)]
pub struct RequestArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// Have what goes by proxy come to the proxy that this command is behind, which HTTPS_PROXY names, and print its placeholders as
    /// lines for a shell.
    #[arg(long)]
    to_proxy: bool,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::Request(args) => request(session, &args),
        Command::List => list(session),
        Command::Show { id } => show(session, id),
        Command::End { id } => ended(session, || Request::LeaseEnd { id: id.clone() }),
        Command::Revoke { id: None, all: false } => {
            Err(
                Failure::new(Outcome::Usage, "usage", "say which lease is taken away, or that all are")
                    .hint("touchlease lease list shows their ids; touchlease lease revoke --all takes all away"),
            )
        }
        Command::Revoke { id, .. } => ended(session, || Request::LeaseRevoke { id: id.clone() }),
    }
}

fn request(session: &Session, RequestArgs { ask: args, to_proxy }: &RequestArgs) -> Result<(), Failure> {
    let mut ask = args.ask(vec![])?;
    if *to_proxy {
        ask.session = Some(proxy_around(&|name| std::env::var(name).ok())?);
    }
    let Reply::Granted(granted) = session.ask(Request::Lease(ask))? else {
        return Err(unexpected());
    };
    if *to_proxy {
        return placeholders(session, args, &granted);
    }
    session.ui.json(&json!({ "lease": granted.lease, "joined": granted.joined }));
    if granted.joined {
        say_joined(session, args, &granted);
    }
    describe(session, &granted.lease);
    session.ui.note(
        Tone::Dim,
        "`touchlease run` with the same task, from this process or what it starts, uses it without another touch",
    );
    Ok(())
}

/// Which session this command is in, by the address of the proxy that it was given.
fn proxy_around(variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Failure> {
    let url = ["HTTPS_PROXY", "https_proxy"].into_iter().find_map(variable).unwrap_or_default();
    let bearer = url.strip_prefix("http://x:").and_then(|rest| rest.split_once("@127.0.0.1:"));
    match bearer {
        Some((bearer, _)) => Ok(Digest::of(bearer.as_bytes()).to_string()),
        None => Err(Failure::new(
            Outcome::BadInput,
            "no_session",
            "HTTPS_PROXY names no proxy of touchlease: this command is behind none",
        )
        .hint("start what needs one behind it: touchlease run --proxy -- COMMAND")),
    }
}

/// On standard output nothing but what a shell evaluates.
fn placeholders(session: &Session, args: &AskArgs, granted: &Granted) -> Result<(), Failure> {
    session
        .ui
        .json(&json!({ "lease": granted.lease, "joined": granted.joined, "placeholders": granted.placeholders }));
    if granted.joined {
        say_joined(session, args, granted);
    }
    if granted.placeholders.is_empty() {
        return Err(Failure::new(
            Outcome::BadInput,
            "not_by_proxy",
            "nothing of this lease goes by proxy, so there is nothing for a proxy",
        )
        .hint("ask without --to-proxy, and use it with: touchlease run"));
    }
    for given in &granted.placeholders {
        session.ui.line(&format!("export {}='{}'", given.env, given.placeholder));
    }
    Ok(())
}

fn list(session: &Session) -> Result<(), Failure> {
    let Reply::Leases { leases } = session.ask(Request::LeaseList)? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "leases": leases }));
    // A program gets the whole id; on a screen its beginning is enough to name the lease.
    let digits = if session.ui.is_on_terminal() { SHOWN_DIGITS } else { usize::MAX };
    let head = ["LEASE", "TASK", "SECRETS", "LEFT", "USES", "KEY", "FOR"];
    let table = Table::new(head, leases.iter().map(|lease| row(lease, digits)));
    session.ui.table(&table, "no live leases");
    Ok(())
}

/// Stands where the signature of a lease stands.
const ATTESTED: &str = "attested by the daemon alone: a PIV key opened the secrets by its touch, and no hardware signature exists; \
     limits.receipts = \"hardware\" in the configuration asks for one";

fn show(session: &Session, id: String) -> Result<(), Failure> {
    let Reply::Lease {
        lease,
        text,
        receipt,
        attested,
    } = session.ask(Request::LeaseShow { id })?
    else {
        return Err(unexpected());
    };
    session
        .ui
        .json(&json!({ "lease": lease, "text": text, "receipt": receipt, "attested": attested }));
    summary(session, &lease, attested, &text);
    session.ui.line("\nThe text that was signed, and the signature:");
    session.ui.line(&text);
    session.ui.line(receipt.as_deref().unwrap_or(ATTESTED).trim_end());
    Ok(())
}

/// Who, what, how long, how it stands, and where the receipt is: the rest is for programs.
fn summary(session: &Session, lease: &LeaseView, attested: Option<bool>, text: &str) {
    let uses = lease
        .uses_left
        .map(|uses| format!(" and {}", count(uses, "use")))
        .unwrap_or_default();
    let until = clock_time(lease.not_after, &TimeZone::system());
    // The daemon decoded it before it was signed.
    let said = LeaseText::decode(text).map(|text| card::approved(&text)).unwrap_or_default();
    let id: String = lease.id.chars().take(SHOWN_DIGITS).collect();
    let stands = [
        (
            "state",
            format!("live: {}{uses} left, until {until} at the latest", duration(lease.left)),
        ),
        ("key", format!("\"{}\" was touched for it{}", lease.key, maker(attested))),
        ("words", lease.words.join("  ")),
        (
            "receipt",
            format!("touchlease audit export {id} FOLDER  writes it, for ssh-keygen to verify"),
        ),
    ];
    for (word, text) in [("lease", lease.id.clone())].into_iter().chain(said).chain(stands) {
        session.ui.entry(Tone::Plain, word, &text);
    }
}

/// By whose word a key by PIV takes a touch for each use.
fn maker(attested: Option<bool>) -> String {
    match attested {
        Some(true) => "; its slots were attested under a maker's root".into(),
        Some(false) => format!("; its slots are {UNVERIFIED}"),
        None => String::new(),
    }
}

fn ended(session: &Session, request: impl Fn() -> Request) -> Result<(), Failure> {
    let Reply::Ended { ids } = session.ask_urgently(request)? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "ended": ids }));
    session.ui.line(&format!("{} ended", leases(ids.len())));
    Ok(())
}

fn row(lease: &LeaseView, digits: usize) -> [String; 7] {
    [
        lease.id.chars().take(digits).collect(),
        lease.task.clone().unwrap_or_default(),
        lease.secrets.join(", "),
        duration(lease.left),
        lease.uses_left.map_or_else(|| used(lease), |left| left.to_string()),
        lease.key.clone(),
        lease.requester.clone(),
    ]
}

/// Of one that time alone limits.
fn used(lease: &LeaseView) -> String {
    match lease.used {
        0 => String::new(),
        used => format!("{used} used"),
    }
}

fn describe(session: &Session, lease: &LeaseView) {
    let uses = lease.uses_left.map_or_else(|| used(lease), |left| count(left, "use"));
    let uses = if uses.is_empty() { uses } else { format!(", {uses}") };
    let entries = [
        ("lease", lease.id.clone()),
        ("task", lease.task.clone().unwrap_or_default()),
        ("gets", lease.secrets.join(", ")),
        ("left", format!("{}{uses}", duration(lease.left))),
        ("key", format!("\"{}\"", lease.key)),
        ("for", lease.requester.clone()),
    ];
    for (word, text) in entries.iter().filter(|(_, text)| !text.is_empty()) {
        session.ui.entry(Tone::Plain, word, text);
    }
}
