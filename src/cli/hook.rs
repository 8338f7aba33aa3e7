//! `touchlease hook`: what an agent's client runs before each tool.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::connect::Client;
use super::run::agent;
use super::session::Session;
use super::ui::Ui;
use crate::deliver::hook::{Guarded, ToolCall};
use crate::paths::Places;
use crate::sys::file::read_up_to;
use crate::wire::{Failure, Outcome};

/// Longest message of a client in bytes: a tool that writes a file has all of it in its input.
const LONGEST: usize = 64 << 20;
/// By this exit code both clients know that a tool is not to be called, and give the words on standard error to the model. It is theirs,
/// and none of ours.
const BLOCKED: u8 = 2;
/// Variables by which somebody names our folders without their names.
const VARIABLES: [&str; 7] = [
    "HOME",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "TOUCHLEASE_VAULT",
    "CARGO_HOME",
];

/// Look at what an agent is about to do, as its client's PreToolUse hook.
///
/// Reads the call from standard input. Ends with 0 where it may be made, and with 2 and the reason on standard error where it would read
/// the vault, or have touchlease print a secret. `touchlease connect` writes it into the client's settings. It stops a model that tries, not
/// a program that hides: `touchlease run --agent` does. What it says is for the model, and in words with --json too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The client that runs it.
    client: Client,
}

/// # Errors
/// None: where our own folders cannot be told nothing is let through.
pub fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    // For the model: words, in every form of output.
    let ui = Ui::new(false, true);
    if io::stdin().is_terminal() {
        // A person tries it, and would wait for ever.
        let why = "a client runs this before each tool; no call comes from a terminal";
        let connect = args.client.connect(&[]);
        ui.fail(&Failure::new(Outcome::Refused, "hook", why).hint(format!(
            "{connect} has the client run it, and touchlease doctor says whether it does"
        )));
        return Ok(BLOCKED);
    }
    mark(&session.places, args.client);
    let blocked = |why: &str| {
        ui.fail(&Failure::new(Outcome::Refused, "hook", why).hint(
            "do not look for a way around this: the person has set it up. Credentials are asked for with the tools of the touchlease server",
        ));
        Ok(BLOCKED)
    };
    let call = read_up_to(io::stdin().lock(), LONGEST).map_err(|error| error.to_string());
    let call = call.and_then(|bytes| serde_json::from_slice::<ToolCall>(&bytes).map_err(|error| error.to_string()));
    match call {
        Ok(call) => match guarded(session).map(|guarded| guarded.objection(&call)) {
            Ok(None) => Ok(0),
            Ok(Some(why)) => blocked(&why),
            Err(failure) => blocked(&failure.message),
        },
        // A client that says it in another form: better no tool than one that nobody looked at. How the hook is taken out is nothing for a model.
        Err(why) => blocked(&format!(
            "this call is not in a form that this version of touchlease knows ({why}): tell the person that it does not fit the client"
        )),
    }
}

/// What is kept from an agent by walls too, as far as it is a folder.
fn guarded(session: &Session) -> Result<Guarded, Failure> {
    let places = &session.places;
    let config = places.config.parent().map(Path::to_owned);
    let vaults = agent::vaults(session)?;
    // What lies beside a vault in a folder that is ours by its name: backups, an older one.
    let beside = vaults.iter().filter_map(|vault| vault.parent());
    let beside: Vec<_> = beside
        .filter(|folder| folder.file_name().is_some_and(|name| name == "touchlease"))
        .map(Path::to_owned)
        .collect();
    let places = [places.state.clone(), places.runtime.clone()];
    let named = vaults.into_iter().chain(beside).chain(config).chain(places);
    // By each of its names.
    let folders = named
        .flat_map(|folder| [folder.canonicalize().ok(), Some(folder)])
        .flatten()
        .collect();
    let variables = VARIABLES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), env::var(name).ok().filter(|value| !value.is_empty())?)));
    Ok(Guarded {
        folders,
        home: env::home_dir(),
        variables: variables.collect(),
    })
}

/// Where it is noted that the hook was run: a client that does not trust it says nothing.
fn place(places: &Places, client: Client) -> PathBuf {
    places.state.join("hooks").join(client.word())
}

fn mark(places: &Places, client: Client) {
    let place = place(places, client);
    // Behind walls it cannot be noted, and need not be.
    if let Some(folder) = place.parent() {
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        let _ = fs::write(&place, b"");
    }
}

/// Whether this client has run the hook since it was written into its settings.
pub fn was_run(places: &Places, client: Client) -> bool {
    place(places, client).exists()
}

/// It was written anew, or taken out.
pub fn forget(places: &Places, client: Client) {
    // What is not there was never run.
    let _ = fs::remove_file(place(places, client));
}
