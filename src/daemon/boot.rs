//! From a process to a daemon: protected, with its places, its socket and its signals.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rustix::process::{getuid, setsid};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::house::{House, Outside};
use super::listener::{Listening, listen};
use super::{peer, serve};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::device::broker::{Broker, Processes};
use crate::lease::requester::AGENTS;
use crate::paths::Places;
use crate::sys::file::read_text;
use crate::sys::memory;
use crate::sys::process::{self, close_inherited, forbid_cores};
use crate::vault::random;
use crate::wire::{Failure, Outcome, codec};

/// More than anybody writes into it.
const LARGEST_CONFIG: usize = 1 << 20;

/// Whether somebody waits for this process to say that it listens.
pub enum Background<'a> {
    /// A client started it: say how it went in one line, and leave the client's session.
    Yes(&'a dyn Fn(&str)),
    /// A person or systemd did.
    No,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting; said on the pipe as well when a client waits.
pub fn run(places: Places, background: Background<'_>) -> Result<(), Failure> {
    if matches!(background, Background::Yes(_)) {
        // Without it the daemon only keeps more open than it has to.
        let _ = close_inherited();
    }
    process::name();
    start_log();
    let ready = forbid_cores()
        .map_err(|error| broken("harden", &error))
        .and_then(|()| prepare(places));
    match (&ready, &background) {
        (Ok(_), Background::Yes(say)) => {
            say("ready\n");
            leave_session();
        }
        (Err(failure), Background::Yes(say)) => say(&codec::encode(failure)
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .unwrap_or_default()),
        _ => {}
    }
    let (outside, listening) = ready?;
    // A tenth of what a daemon that waits has to itself: the words of the command line, the configuration.
    memory::give_back_free_pages();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| broken("runtime", &error))?;
    LocalSet::new()
        .block_on(&runtime, live(outside, listening))
        .map_err(|error| broken("socket", &error))
}

fn prepare(places: Places) -> Result<(Outside, Listening), Failure> {
    let file = places.config.clone();
    let listening = listen(&places)?;
    let boot_id = peer::boot_id().map_err(|error| broken("boot_id", &error))?;
    let clock = Arc::new(SystemClock);
    // It stays right when the file is replaced by an update.
    let program = PathBuf::from("/proc/self/exe");
    let broker = Broker::new(Processes::new(program.clone()), clock.clone());
    let outside = Outside {
        places,
        settings: Box::new(move || read_config(&file)),
        clock,
        random: || Box::new(random::system()),
        broker,
        boot_id,
        uid: getuid().as_raw(),
        agents: &AGENTS,
        program,
    };
    Ok((outside, listening))
}

async fn live(outside: Outside, listening: Listening) -> io::Result<()> {
    listening.socket.set_nonblocking(true)?;
    let Listening { socket, lock } = listening;
    let listener = UnixListener::from_std(socket)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let house = Rc::new(House::new(outside)?);
    tracing::info!("listening");
    let path = house.places.socket();
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve::run(house, listener, stopped).await;
    // The socket of systemd stays; ours would only mislead.
    if lock.is_some() {
        let _ = fs::remove_file(path);
    }
    Ok(())
}

/// Only a place that was ours at the start is read: nothing that a client names (T21). What cannot be read at once is no configuration:
/// nobody waits for it.
///
/// # Errors
/// It is not in the known form, over a cap, or cannot be read.
pub fn read_config(file: &Path) -> Result<Config, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::new(Outcome::BadInput, "config", format!("{}: {error}", file.display()))
            .hint("mend the file, or move it aside; then ask again")
    };
    // What lies behind a cut would fall back to the looser defaults.
    match read_text(file, LARGEST_CONFIG) {
        Ok(text) => Config::parse(&text).map_err(|error| wrong(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(wrong(&format!("it is larger than {} KiB", LARGEST_CONFIG >> 10))),
        Err(error) => Err(wrong(&error)),
    }
}

/// Standard output is the client's pipe: it ends when nobody holds it any more.
fn leave_session() {
    if let Ok(null) = fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
    let _ = setsid();
}

/// Log lines go to standard error. `pcsc`, `ctap` and the like run in workers, whose output is closed.
fn start_log() {
    let asked = std::env::var("TOUCHLEASE_LOG").ok().and_then(|asked| asked.parse::<Targets>().ok());
    let filter = asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(false);
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
}

fn broken(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Outcome::NoDaemon, what, format!("the daemon cannot start: {error}"))
        .hint("touchlease doctor looks at the machine; then run the command again")
}
