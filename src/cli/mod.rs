//! The command line: one file per command.

mod audit;
mod backup;
mod card;
mod change;
mod columns;
mod completions;
mod connect;
mod daemon;
mod doctor;
mod dotenv;
mod entry;
mod env_file;
mod exchange;
mod export;
mod group;
mod hint;
mod hook;
mod import;
mod init;
mod issuer;
mod key;
mod lease;
mod list;
mod lock;
mod mcp;
mod merge;
mod misuse;
mod new_file;
mod piv;
mod prompt;
mod recover;
mod rotate;
mod rules;
mod run;
mod scan;
mod scope;
mod session;
mod signer;
mod situation;
mod ssh;
mod status;
mod table;
mod token;
mod tty;
pub mod ui;
mod vault;
mod watch;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use self::group::Group;
use self::session::Session;
use self::ui::Ui;
use crate::client::Client;
use crate::deliver::{openbao, proxy, scan as scanning};
use crate::device::worker;
use crate::lease::requester::UNMASKED;
use crate::paths::{PathsError, Places};
use crate::wire::{Failure, Outcome};

/// Borrow a credential by touching a security key.
#[derive(Debug, Parser)]
#[command(name = "touchlease", version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What stands before or behind the name of any command.
#[derive(Debug, clap::Args)]
struct Common {
    /// Use the vault in this folder instead of the configured one.
    #[arg(long, global = true, value_name = "FOLDER")]
    vault: Option<PathBuf>,
    /// Print the result, or the error, as one line of JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)] // each start builds the one subcommand that is asked for, not all of them
enum Command {
    Init(init::Args),
    Put(change::PutArgs),
    Edit(change::EditArgs),
    Rm(change::RmArgs),
    Import(import::Args),
    Export(export::Args),
    Scan(scan::Args),
    List(list::Args),
    Merge(merge::Args),
    Key(Group<key::Command>),
    Scope(Group<scope::Command>),
    Signer(Group<signer::Command>),
    Issuer(Group<issuer::Command>),
    Rotate(rotate::Args),
    Recover(recover::Args),
    Vault(Group<vault::Command>),
    Run(run::Args),
    Token(token::Args),
    Exchange(Group<exchange::Command>),
    Ssh(Group<ssh::Command>),
    Lease(Group<lease::Command>),
    Mcp(mcp::Args),
    Connect(connect::Args),
    Hook(hook::Args),
    Watch(WatchArgs),
    Lock(lock::LockArgs),
    Unlock(lock::UnlockArgs),
    Status(status::Args),
    Doctor(doctor::Args),
    Audit(Group<audit::Command>),
    Backup(Group<backup::Command>),
    Daemon(daemon::Args),
    Completions(completions::Args),
}

/// Show requests on this terminal, and let a person deny them and type PINs.
///
/// A key is armed only while a person can see what a touch on it would approve: here, or on the terminal of a person who runs the
/// command himself. Runs until q, Ctrl-C, or the daemon's end.
#[derive(Debug, clap::Args)]
struct WatchArgs {}

/// The command line as it is declared: names, arguments, help texts.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line and returns the process's exit code. First thing in a process.
#[must_use]
pub fn main() -> u8 {
    // Before anything else: from here on nobody of the same uid reads our memory, environment or descriptors.
    if let Err(error) = crate::sys::start::begin().and_then(|()| crate::sys::process::harden()) {
        let failure = Failure::new(Outcome::Internal, "harden", format!("this process cannot be protected: {error}"))
            .hint("look whether a sandbox forbids prctl(2) or setrlimit(2) to this process");
        return finish(Ui::new(false, true), Err(failure));
    }
    // Workers are started at every touch, by the daemon alone: there is no command line to understand.
    match std::env::args_os().nth(1).as_deref().and_then(OsStr::to_str) {
        Some(worker::SUBCOMMAND) => return worker::main(),
        Some(worker::WATCH_SUBCOMMAND) => return worker::watch_main(),
        Some(mcp::worker::SUBCOMMAND) => return mcp::worker::main(),
        Some(proxy::protocol::SUBCOMMAND) => return proxy::worker::main(),
        Some(openbao::protocol::SUBCOMMAND) => return openbao::worker::main(),
        Some(scanning::protocol::SUBCOMMAND) => return scanning::worker::main(),
        _ => {}
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let places = Places::from_env(&|name| std::env::var_os(name));
    let met = places.as_ref().ok().filter(|_| is_run(&words)).and_then(meet);
    let cli = match run_alone(&words).map_or_else(|| Cli::try_parse_from(&words), Ok) {
        Ok(cli) => cli,
        Err(error) => return usage(&in_full().unwrap_or(error)),
    };
    // What `mcp` has standard output for is not ours to write.
    let json = cli.common.json && !matches!(cli.command, Command::Mcp(_));
    let ui = Ui::new(json, std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()));
    let places = places.map_err(|error| no_place(&error));
    let named = cli.common.vault.clone();
    let done = places.and_then(|places| dispatch(cli, ui, places, met));
    finish(ui, done.map_err(|failure| for_vault(failure, named.as_deref())))
}

fn is_run(words: &[OsString]) -> bool {
    words.get(1).is_some_and(|word| word == "run")
}

/// A daemon that runs looks at who connects (the process, and those above it) while that process understands its command line. What is
/// wrong with it is said when it is asked.
fn meet(places: &Places) -> Option<Client> {
    Client::connect(places).ok().flatten()
}

/// `run` without clap, where that understands nothing else by it.
fn run_alone(words: &[OsString]) -> Option<Cli> {
    let (vault, json, args) = run::words::understood(words.get(2..).filter(|_| is_run(words))?)?;
    Some(Cli {
        common: Common { vault, json },
        command: Command::Run(args),
    })
}

fn dispatch(cli: Cli, ui: Ui, places: Places, met: Option<Client>) -> Result<u8, Failure> {
    let on_the_line = cli.common.vault.is_some();
    let named = cli.common.vault.or_else(|| std::env::var_os("TOUCHLEASE_VAULT").map(PathBuf::from));
    let vault = named.map(std::path::absolute).transpose();
    let vault =
        vault.map_err(|error| Failure::new(Outcome::BadInput, "vault_path", error.to_string()).hint("name the folder from / on"))?;
    let session = Session {
        ui,
        places,
        vault,
        labels: labels(&cli.command),
        met: Cell::new(met),
    };
    let done = match cli.command {
        Command::Init(args) => init::run(&session, args),
        Command::Put(args) => change::put(&session, args),
        Command::Edit(args) => change::edit(&session, args),
        Command::Rm(args) => change::rm(&session, args),
        Command::Export(args) => export::run(&session, args),
        Command::Import(args) => import::run(&session, args),
        Command::List(args) => list::run(&session, args),
        Command::Merge(args) => merge::run(&session, args),
        Command::Key(Group(command)) => key::run(&session, command),
        Command::Signer(Group(command)) => signer::run(&session, command),
        Command::Issuer(Group(command)) => return issuer::run(&session, command),
        Command::Token(args) => token::run(&session, args),
        Command::Exchange(Group(command)) => return exchange::run(&session, command),
        Command::Ssh(Group(command)) => return ssh::run(&session, command),
        Command::Scope(Group(command)) => scope::run(&session, command),
        Command::Vault(Group(command)) => vault::run(&session, command),
        Command::Recover(args) => recover::run(&session, args),
        Command::Rotate(args) => rotate::run(&session, args),
        Command::Run(args) => return run::run(&session, &args),
        Command::Scan(args) => return scan::run(&session, &args),
        Command::Lease(Group(command)) => lease::run(&session, command),
        Command::Mcp(args) => mcp::run(&session, &args),
        Command::Connect(args) => connect::run(&session, &args),
        Command::Hook(args) => return hook::run(&session, &args),
        Command::Watch(_) => watch::run(&session),
        Command::Lock(_) => lock::lock(&session),
        Command::Unlock(args) => lock::unlock(&session, args),
        Command::Status(_) => status::run(&session),
        Command::Doctor(_) => return doctor::run(&session, on_the_line),
        Command::Audit(Group(command)) => audit::run(&session, command),
        Command::Backup(Group(command)) => backup::run(&session, command),
        Command::Daemon(args) => daemon::run(&session, &args),
        Command::Completions(args) => completions::run(&session, &args),
    };
    done.map(|()| 0)
}

/// What this process alone knows of the request that it makes, and the person who touches should.
fn labels(command: &Command) -> BTreeMap<String, String> {
    let unmasked = matches!(command, Command::Run(args) if args.leaves_output());
    unmasked.then(|| (UNMASKED.to_owned(), "1".to_owned())).into_iter().collect()
}

fn no_place(error: &PathsError) -> Failure {
    let failure = Failure::new(Outcome::BadInput, "places", error.to_string());
    match error {
        PathsError::NoHome => failure.hint(
            "name your home: export HOME=/home/YOU; or set all four of XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME and XDG_RUNTIME_DIR",
        ),
        PathsError::Long { .. } => {
            failure.hint("name a folder with a shorter path: mkdir -m 700 -p ~/.touchlease; export XDG_RUNTIME_DIR=~/.touchlease")
        }
        PathsError::Relative { variable } => failure.hint(format!("write it from / on, or do without: unset {variable}")),
    }
}

/// The hint is about the vault that the command line named.
fn for_vault(mut failure: Failure, named: Option<&Path>) -> Failure {
    if let Some(vault) = named {
        failure.hint = failure.hint.map(|said| hint::in_vault(&said, vault));
    }
    failure
}

fn finish(ui: Ui, done: Result<u8, Failure>) -> u8 {
    match (done, Ui::lost()) {
        (Err(failure), _) => {
            ui.fail(&failure);
            failure.outcome.exit_code()
        }
        (Ok(_), Some(why)) => {
            let what = format!("the command was carried out, but what it says could not be written to standard output: {why}");
            let failure = Failure::new(Outcome::Internal, "output", what)
                .hint("make room where the output goes; touchlease audit show tells what was done; a recovery code that was not seen is replaced by touchlease vault new-code");
            // On standard error, also where a program reads: its line would be lost like the rest.
            Ui::new(false, true).fail(&failure);
            failure.outcome.exit_code()
        }
        (Ok(code), None) => code,
    }
}

/// What clap says of the command line when every subcommand is built: their one-line texts are missing otherwise.
fn in_full() -> Option<clap::Error> {
    let mut command = command();
    command.build();
    command.try_get_matches_from_mut(std::env::args_os()).err()
}

/// clap prints help and version on standard output with 0; a wrong command line is our 64 (sysexits EX_USAGE), not its 2.
fn usage(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        // Nobody reads if this fails.
        let _ = error.print();
        return 0;
    }
    // The command line was not understood, so neither was its --json.
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && !json {
        let _ = error.print();
        return Outcome::Usage.exit_code();
    }
    finish(Ui::new(json, true), Err(misuse::failure(error, &words)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn alone_and_among_all(words: &[&str]) -> (Option<String>, Result<String, clap::Error>) {
        let words: Vec<OsString> = ["touchlease", "run"].iter().chain(words).map(OsString::from).collect();
        let said = |cli: Cli| format!("{cli:?}");
        (run_alone(&words).map(said), Cli::try_parse_from(&words).map(said))
    }

    #[test]
    fn run_is_understood_by_itself_as_among_all_commands() {
        for line in [
            "-- true",
            "--with prod/TOKEN -- env --json -- --vault x",
            "-t deploy --ttl 90s --uses 3 --reason why",
            "--agent -- codex --agent",
            "--json --vault=/v -w A=prod/A -w prod/B --with-file C=prod/C --env-file .env --env-file=more --no-masking -- sh -c true",
        ] {
            let (alone, among_all) = alone_and_among_all(&line.split(' ').collect::<Vec<_>>());
            assert_eq!(alone.unwrap(), among_all.unwrap(), "{line}");
        }
    }

    /// Every two of these, in front of a command and of none: what is understood by itself, clap understands alike.
    #[test]
    fn run_by_itself_understands_nothing_that_clap_does_not() {
        const WORDS: [&str; 24] = [
            "--agent",
            "--agent=best-effort",
            "--json",
            "--with",
            "prod/A",
            "-w",
            "--with=B=prod/B",
            "--task",
            "x",
            "-t",
            "--",
            "--uses",
            "3",
            "0",
            "--ttl=90s",
            "--ttl",
            "--reason=",
            "--reason",
            "-x",
            "",
            "--no-masking",
            "--vault",
            "--env-file=.env",
            "-wprod/A",
        ];
        let mut understood = 0;
        for one in WORDS {
            for other in WORDS {
                for words in [&[one, other][..], &[one, other, "--", "true"]] {
                    if let (Some(alone), among_all) = alone_and_among_all(words) {
                        assert_eq!(alone, among_all.unwrap(), "{words:?}");
                        understood += 1;
                    }
                }
            }
        }
        assert!(understood > 60, "{understood} of {} lines", 2 * WORDS.len() * WORDS.len());
    }

    #[test]
    fn what_run_does_not_understand_is_left_to_the_whole_command_line() {
        for line in [
            "run --help",
            "run -V",
            "run ls",
            "run --uses 0 -- true",
            "run --json --json -- true",
            "run --task x --with prod/A -- true",
            "run --ttl soon -- true",
            "--json run -- true",
            "status",
            "help run",
        ] {
            let words: Vec<OsString> = ["touchlease"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
            assert!(run_alone(&words).is_none(), "{line}");
        }
    }
}
