//! `touchlease run`: a command with a lease, its output masked, ended when the lease ends.

pub(super) mod agent;
pub(super) mod proxied;
pub mod words;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::process::Signal;

use self::agent::{Agent, NoLease};
use super::card::duration;
use super::change::how_many;
use super::env_file::{self, grant};
use super::init::unexpected;
use super::mcp::outside::Outside;
use super::session::Session;
use super::ui::Tone;
use crate::client::{Client, Message};
use crate::clock::SystemClock;
use crate::config::parse_duration;
use crate::deliver::env::{self, AtEnd, Certificates, DeliverError, Delivery, How, LeaseEnd, Status, Streams, Var};
use crate::deliver::mask::Patterns;
use crate::encoding::plain::count;
use crate::lease::task::{self, Task};
use crate::paths::Places;
use crate::sys::file::{read_text, read_up_to};
use crate::sys::walls::{Brought, Walls};
use crate::wire::reply::{Delivered, Granted, ProxyView};
use crate::wire::request::{GrantAsk, LeaseAsk, ProxyAsk, TaskAsk};
use crate::wire::{Answer, Event, Failure, Outcome, Reply, Request, Uses};

/// Largest task file or environment file, in bytes: more than anybody writes into one.
const LARGEST_FILE: usize = 1 << 20;

/// Variables that are no secrets.
pub(super) type Plain = Vec<(OsString, OsString)>;

/// What to ask for.
#[derive(Debug, Default, clap::Args)]
pub struct AskArgs {
    /// Ask for the task of this name in touchlease.toml, here or in the nearest folder above that has one.
    #[arg(long, short, value_name = "NAME", conflicts_with = "with")]
    task: Option<String>,
    /// Ask for a secret in the environment: scope/NAME, or VARIABLE=scope/NAME. Repeat for more.
    ///
    /// One whose rules allow the proxy and not the environment goes by proxy, and the variable holds a placeholder.
    #[arg(long, short, value_name = "SECRET")]
    with: Vec<String>,
    /// Ask for a secret by proxy: the variable holds a placeholder, in whose place the proxy puts the value. Repeat for more.
    #[arg(long, value_name = "SECRET")]
    with_proxy: Vec<String>,
    /// Ask for a secret as a private file whose path the variable holds: VARIABLE=scope/NAME. Repeat for more.
    #[arg(long, value_name = "SECRET")]
    with_file: Vec<String>,
    /// Ask for this long, as 90s, 15m or 1h30m [default: the task's, or 15m].
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| parse_duration(text).map(|d| d.as_secs()))]
    ttl: Option<u64>,
    /// Ask for this many uses at most: one start of a command is one use, by proxy one request.
    #[arg(long, value_name = "N", value_parser = how_many::<u32>)]
    uses: Option<u32>,
    /// Say why, in one line, to the person who touches.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Run a command with a lease, mask its output, and end it when the lease ends.
///
/// The exit status is the command's. When no lease is given, the command is not started and the status is one of ours, 60 to 72.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    #[command(flatten)]
    ask: AskArgs,
    /// Add the variables of this file; those with a value like touchlease://prod/TOKEN become part of the lease.
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// What becomes of hosts that the lease does not name, where the command goes through the proxy [default: open; with
    /// --agent granted-only].
    ///
    /// With open they are reached as without the proxy, with granted-only they are refused.
    #[arg(long, value_name = "NETWORK", value_parser = ["open", "granted-only"])]
    network: Option<String>,
    /// Start the command behind a proxy without a lease: leases that are asked for later come to it, and go.
    ///
    /// Whoever wants a host that a task names hears which task to ask for: `touchlease lease request --to-proxy --task NAME` from within.
    #[arg(long, conflicts_with_all = ["task", "with", "with_proxy", "with_file", "ttl", "uses", "reason"])]
    proxy: bool,
    /// Leave the command's output as it is, values and all.
    #[arg(long, env = "TOUCHLEASE_NO_MASKING", value_parser = clap::builder::FalseyValueParser::new())]
    no_masking: bool,
    /// Start an agent behind walls: vault, log, keys and your other programs are out of its reach, and no value is given to it: secrets
    /// go by proxy. Where this machine lacks some of the walls, `--agent=best-effort` starts it with those there are.
    #[arg(long, value_name = "WALLS", num_args = 0..=1, require_equals = true, default_missing_value = "walled")]
    agent: Option<Agent>,
    /// The command and its arguments [default: the task's].
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Args {
    /// Whether values in the command's output stay in it.
    pub fn leaves_output(&self) -> bool {
        self.no_masking
    }
}

impl AskArgs {
    /// The request, with the task file of this folder or one above it.
    ///
    /// # Errors
    /// No task file, or a secret that is named wrong.
    pub fn ask(&self, more: Vec<GrantAsk>) -> Result<LeaseAsk, Failure> {
        let mut with = more;
        for (texts, via) in [(&self.with, "any"), (&self.with_proxy, "proxy"), (&self.with_file, "file")] {
            for text in texts {
                with.push(grant(text, via)?);
            }
        }
        Ok(LeaseAsk {
            task: self.task.as_deref().map(read_task).transpose()?,
            with,
            ttl: self.ttl,
            uses: self.uses.map(Uses::Most),
            reason: self.reason.clone(),
            ..LeaseAsk::default()
        })
    }
}

/// What a joined lease leaves, and which limits of the request it does not have.
pub fn say_joined(session: &Session, args: &AskArgs, granted: &Granted) {
    let lease = &granted.lease;
    let uses = lease.uses_left.map(|uses| format!(", {}", count(uses, "use"))).unwrap_or_default();
    let named = match (args.ttl, args.uses) {
        (Some(_), Some(_)) => "; --ttl and --uses of this request do not apply",
        (Some(_), None) => "; --ttl of this request does not apply",
        (None, Some(_)) => "; --uses of this request does not apply",
        (None, None) => "",
    };
    let what = format!("joined a live lease: {} left{uses}{named}", duration(lease.left));
    session.ui.note(if named.is_empty() { Tone::Dim } else { Tone::Strong }, &what);
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let (plain, grants) = read_env_files(&args.env_file)?;
    let mut ask = args.ask.ask(grants)?;
    let command = command_of(args, &ask)?;
    let found = find_command(&command[0], &plain)?;
    let mut what = What {
        command,
        found,
        plain,
        masking: !args.no_masking,
        walls: None,
    };
    if let Some(agent) = args.agent {
        agent::without_values(&mut ask)?;
        let asks = !agent::without_lease(&ask, &args.ask)?;
        let walls = agent::walls_for(session, agent, asks)?;
        what.walls = Some(walls.clone());
        if !asks && !args.proxy {
            drop(session.met.take());
            let outside = what.open_outside(None)?;
            let started = start(&what.delivery(session, None), &Patterns::new([]), &mut NoLease::new()?);
            drop(outside);
            return ended(session, &started.map_err(|failure| agent::not_started(&walls, failure))?, None);
        }
    }
    ask.command = what.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    ask.deliver = true;
    if args.proxy && !ask.with.is_empty() {
        return Err(Failure::new(
            Outcome::Usage,
            "usage",
            "--proxy starts a command without a lease, and --env-file asks for one",
        )
        .hint("leave out one of them: a lease brings its own proxy"));
    }
    // What an agent reaches beside the lease's hosts is for the person to say.
    let closed = || args.agent.map(|_| "granted-only".to_owned());
    ask.network = args.network.clone().or_else(closed);
    if args.proxy {
        return behind_proxy(session, what, ask.network);
    }
    let held = session.ask_held(Request::Lease(ask));
    let (reply, client) = held.map_err(|failure| if args.agent.is_some() { agent::not_given(failure) } else { failure })?;
    let Reply::Granted(granted) = reply else { return Err(unexpected()) };
    // Without limits of its own, a request is meant to use the lease that is there.
    if granted.joined && (args.ask.ttl.is_some() || args.ask.uses.is_some()) {
        say_joined(session, &args.ask, &granted);
    }
    let outside = what.open_outside(granted.proxy.as_deref())?;
    let delivery = what.delivery(session, Some(granted));
    // Every form of every value: not for a command whose output goes by.
    let patterns = if delivery.masking { delivery.patterns() } else { Patterns::new([]) };
    say_too_short(session, &patterns);
    let mut held = Held::new(client, false);
    let outcome = start(&delivery, &patterns, &mut held)?;
    drop(outside);
    ended(session, &outcome, Some(held))
}

/// Runs the command behind a proxy that leases come to later.
fn behind_proxy(session: &Session, mut what: What, network: Option<String>) -> Result<u8, Failure> {
    // Without a task file nobody hears what to ask for, and that is all.
    let tasks = read_task("").ok().map(|task| task.file);
    let (reply, client) = session.ask_held(Request::Proxy(ProxyAsk { network, tasks }))?;
    let Reply::Proxy(proxy) = reply else { return Err(unexpected()) };
    let outside = what.open_outside(Some(&proxy))?;
    let delivery = what.behind(session, vec![], Some(proxy), AtEnd::Terminate);
    let mut held = Held::new(client, false);
    let outcome = start(&delivery, &Patterns::new([]), &mut held)?;
    drop(outside);
    ended(session, &outcome, Some(held))
}

pub(super) fn say_too_short(session: &Session, patterns: &Patterns) {
    for name in patterns.too_short() {
        session
            .ui
            .note(Tone::Bad, &format!("{name} has fewer than 6 bytes and is not masked"));
    }
}

pub(super) fn start(delivery: &Delivery, patterns: &Patterns, lease: &mut impl LeaseEnd) -> Result<env::Outcome, Failure> {
    env::run(delivery, patterns, Streams::of_process(), lease, &SystemClock).map_err(|error| undelivered(&error))
}

/// Says how it went, and gives the lease back.
pub(super) fn ended(session: &Session, outcome: &env::Outcome, held: Option<Held>) -> Result<u8, Failure> {
    if outcome.left_running > 0 {
        let what = match outcome.left_running {
            1 => "a process".to_owned(),
            count => format!("{count} processes"),
        };
        let with = if held.is_some() { "its lease" } else { "it" };
        session.ui.note(
            Tone::Bad,
            &format!("touchlease: the command left {what} running, which ended with {with}"),
        );
    }
    if let Some(mut held) = held {
        if outcome.ended_by_lease {
            let why = held.why.as_deref().unwrap_or("the daemon stopped");
            session.ui.note(
                Tone::Bad,
                &format!("touchlease: the lease is over ({why}), so the command was ended"),
            );
        } else {
            // If the daemon is gone, so is the lease.
            let _ = held.client.answer(&Answer::Done);
        }
        if held.to_the_end {
            held.last_words(session);
        }
    }
    if let Some(why) = &outcome.lost {
        let lost = Failure::new(
            Outcome::Internal,
            "output",
            format!("the command's output could not be written: {why}"),
        );
        let lost = lost.hint("make room where the output goes, and run it again: what is there is not all of it");
        // A command that failed by it says so by its own status.
        if matches!(outcome.status, Status::Exited(0)) {
            return Err(lost);
        }
        session.ui.note(Tone::Bad, &format!("touchlease: {}", lost.message));
    }
    Ok(leave(outcome.status))
}

/// The lease's own connection: whatever ends it ends the child.
pub(super) struct Held {
    client: Client,
    why: Option<String>,
    /// What the daemon has to say when the lease is over is waited for.
    to_the_end: bool,
}

impl Held {
    /// A lease that a command uses. With `to_the_end`, the daemon's last words are waited for.
    pub(super) fn new(client: Client, to_the_end: bool) -> Self {
        Self {
            client,
            why: None,
            to_the_end,
        }
    }

    /// Until the daemon closes the connection.
    fn last_words(&mut self, session: &Session) {
        while let Ok(Some(message)) = self.client.message() {
            if let Message::Event(Event::Note { what }) = message {
                session.ui.note(Tone::Bad, &format!("touchlease: {what}"));
            }
        }
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }
}

impl LeaseEnd for Held {
    fn is_over(&mut self) -> bool {
        match self.client.message() {
            Ok(Some(Message::Event(Event::Ended { why, .. }))) => {
                self.why = Some(why);
                true
            }
            Ok(Some(_)) => false,
            Ok(None) | Err(_) => true,
        }
    }
}

/// What a lease gives, as a command gets it. What has no variable is for nobody's environment: the daemon gives it to whoever asked for it
/// alone.
pub(super) fn vars(values: Vec<Delivered>) -> Vec<Var> {
    let named = values.into_iter().filter_map(|delivered| Some((delivered.env.clone()?, delivered)));
    let var = |(name, Delivered { secret, via, value, .. }): (String, Delivered)| Var {
        name: name.into(),
        label: secret,
        value: value.0,
        how: if via == "file" { How::File } else { How::Env },
    };
    named.map(var).collect()
}

/// How a command ends with its lease.
pub(super) fn ending(word: &str) -> AtEnd {
    match word {
        "kill" => AtEnd::Kill,
        "interrupt" => AtEnd::Interrupt,
        _ => AtEnd::Terminate,
    }
}

/// What to run, and how.
struct What {
    command: Vec<OsString>,
    found: PathBuf,
    plain: Plain,
    masking: bool,
    walls: Option<Walls>,
}

impl What {
    /// For an agent behind walls: where its servers are started, outside of them.
    fn open_outside(&mut self, proxy: Option<&ProxyView>) -> Result<Option<Outside>, Failure> {
        let Some(walls) = self.walls.as_mut().filter(|walls| walls.namespaces) else {
            return Ok(None);
        };
        let outside = Outside::open(proxy.map(proxied::session).as_deref()).map_err(|error| undelivered(&error))?;
        let folder = outside.folder().to_owned();
        walls.brought.push(Brought {
            from: folder.clone(),
            to: folder,
        });
        self.plain.push(outside.variable());
        Ok(Some(outside))
    }

    /// With what a lease gives, if there is one.
    fn delivery(self, session: &Session, granted: Option<Granted>) -> Delivery {
        let Granted { values, at_end, proxy, .. } = match granted {
            Some(granted) => granted,
            None => return self.with(vec![], None, AtEnd::Terminate),
        };
        self.behind(session, vars(values), proxy.map(|proxy| *proxy), ending(&at_end))
    }

    /// With these values, behind this proxy, if there is one.
    fn behind(mut self, session: &Session, vars: Vec<Var>, proxy: Option<ProxyView>, at_end: AtEnd) -> Delivery {
        let certificates = proxy.map(|proxy| {
            let proxied = proxied::behind(&proxy, &|name| std::env::var_os(name));
            proxied.notes.iter().for_each(|note| session.ui.note(Tone::Dim, note));
            self.plain.extend(proxied.plain);
            proxied.certificates
        });
        self.with(vars, certificates, at_end)
    }

    fn with(self, vars: Vec<Var>, certificates: Option<Certificates>, at_end: AtEnd) -> Delivery {
        Delivery {
            command: self.command,
            found: Some(self.found),
            vars,
            plain: self.plain,
            certificates,
            masking: self.masking,
            at_end,
            // An agent has another folder there, in which nothing is of ours. What it has to see is put where its own sandboxes see it.
            runtime_dir: std::env::var_os("XDG_RUNTIME_DIR")
                .map(PathBuf::from)
                .filter(|_| self.walls.is_none()),
            walls: self.walls,
        }
    }
}

pub fn undelivered(error: &DeliverError) -> Failure {
    let said = match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    match error {
        DeliverError::NoCommand | DeliverError::BadName { .. } => {
            Failure::new(Outcome::Usage, "command", said).hint("touchlease run --with prod/TOKEN -- COMMAND")
        }
        DeliverError::NulInValue { .. } => {
            Failure::new(Outcome::BadInput, "nul", said).hint("deliver it as a file: --with-file VARIABLE=scope/NAME")
        }
        DeliverError::Start { .. } => Failure::new(Outcome::BadInput, "start", said).hint("check the command's name and PATH"),
        DeliverError::NoMemoryFolder => Failure::new(Outcome::BadInput, "no_memory_folder", said).hint("mount a tmpfs on /dev/shm"),
        _ => Failure::new(Outcome::Internal, "delivery", said).hint("nothing runs any more; touchlease doctor looks at the machine"),
    }
}

/// Ends as the child did: by its exit code, or by its signal, so that whoever started us sees the same.
fn leave(status: Status) -> u8 {
    match status {
        Status::Exited(code) => code,
        Status::Killed(signal) => match Signal::from_named_raw(signal) {
            Some(signal) => crate::sys::child::die_by(signal),
            None => status.code(),
        },
    }
}

fn command_of(args: &Args, ask: &LeaseAsk) -> Result<Vec<OsString>, Failure> {
    if !args.command.is_empty() {
        return Ok(args.command.clone());
    }
    let none =
        || Failure::new(Outcome::Usage, "no_command", "there is no command to run").hint("touchlease run --with prod/TOKEN -- COMMAND");
    let task = ask.task.as_ref().ok_or_else(none)?;
    let task = Task::parse(&task.file, &task.name)
        .map_err(|error| Failure::new(Outcome::BadInput, "task", error.to_string()).hint(task::EXAMPLE))?;
    if task.command.is_empty() {
        Err(none())
    } else {
        Ok(task.command.into_iter().map(OsString::from).collect())
    }
}

/// Before anybody is asked for a touch: a name that is typed wrong must not cost one.
pub(super) fn find_command(program: &OsStr, plain: &Plain) -> Result<PathBuf, Failure> {
    let path = plain.iter().rfind(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    env::find(program, path.or_else(|| std::env::var_os("PATH")).as_deref()).ok_or_else(|| {
        let message = format!("there is no program {}", program.to_string_lossy());
        Failure::new(Outcome::BadInput, "start", message).hint("check the command's name and PATH")
    })
}

fn too_large(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::FileTooLarge => format!("it is larger than {} KiB", LARGEST_FILE >> 10),
        _ => error.to_string(),
    }
}

pub(super) fn read_task(name: &str) -> Result<TaskAsk, Failure> {
    let folder = std::env::current_dir()
        .map_err(|error| Failure::new(Outcome::BadInput, "folder", error.to_string()).hint("run the command in a folder that is there"))?;
    let path = Places::task_file(&folder).ok_or_else(|| {
        Failure::new(
            Outcome::BadInput,
            "no_task_file",
            "there is no touchlease.toml here or in a folder above",
        )
        .hint(format!("name secrets instead: --with prod/TOKEN; {}", task::EXAMPLE))
    })?;
    let file = read_text(&path, LARGEST_FILE).map_err(|error| {
        Failure::new(
            Outcome::BadInput,
            "task_file",
            format!("{} cannot be read: {}", path.display(), too_large(&error)),
        )
        .hint(task::EXAMPLE)
    })?;
    Ok(TaskAsk { name: name.into(), file })
}

/// Plain variables, and references as grants.
fn read_env_files(files: &[PathBuf]) -> Result<(Plain, Vec<GrantAsk>), Failure> {
    let (mut plain, mut grants) = (vec![], vec![]);
    for path in files {
        // A pipe too, as a shell puts it in place of a file.
        let text = fs::File::open(path).and_then(|file| read_up_to(file, LARGEST_FILE));
        let text = text.map_err(|error| {
            let wrong = env_file::wrong(format!("{} cannot be read: {}", path.display(), too_large(&error)));
            wrong.hint("check the path and its permissions")
        })?;
        let (values, references) = env_file::parse(&text, &path.display().to_string())?;
        plain.extend(values.into_iter().map(|(name, value)| (name.into(), value.into())));
        grants.extend(references);
    }
    Ok((plain, grants))
}
