//! `touchlease scope`: the compartments of the vault.

use serde_json::json;

use super::init::unexpected;
use super::session::Session;
use super::table::Table;
use super::ui::Tone;
use crate::wire::reply::ScopeView;
use crate::wire::{Failure, Reply, Request};

/// List scopes, make, rename and remove them.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the scopes, the keys that open each, and those that are not yet in.
    List,
    /// Make a scope: one touch of each key that will open it.
    Add {
        /// What to call it.
        name: String,
        /// Let this key into it, by a touch of it [default: a connected one]. Repeat for more; `key admit` lets others in later.
        #[arg(long = "key", value_name = "NAME")]
        keys: Vec<String>,
    },
    /// Call a scope something else.
    Rename {
        /// Its name.
        name: String,
        /// Its name from then on. Task files that name its secrets have to be changed too.
        to: String,
    },
    /// Remove a scope that has no secrets.
    Remove {
        /// Its name.
        name: String,
    },
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => list(session),
        Command::Add { name, keys } => add(session, name, keys),
        Command::Rename { name, to } => {
            let said = format!("scope {name} is called {to}");
            done(session, Request::ScopeRename { name, to }, &said)
        }
        Command::Remove { name } => {
            let said = format!("scope {name} is gone");
            done(session, Request::ScopeRemove { name }, &said)
        }
    }
}

fn list(session: &Session) -> Result<(), Failure> {
    let Reply::Scopes { scopes } = session.ask(Request::ScopeList)? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "scopes": scopes }));
    let head = ["SCOPE", "SECRETS", "KEY NUMBER", "OPENED BY", "NOT YET IN"];
    session
        .ui
        .table(&Table::new(head, scopes.iter().map(row)), "no scopes: touchlease scope add NAME");
    Ok(())
}

fn row(scope: &ScopeView) -> [String; 5] {
    [
        scope.name.clone(),
        scope.secrets.to_string(),
        scope.epoch.to_string(),
        quoted(&scope.keys),
        quoted(&scope.not_in),
    ]
}

fn add(session: &Session, name: String, keys: Vec<String>) -> Result<(), Failure> {
    let Reply::ScopeAdded { scope } = session.ask(Request::ScopeAdd { name, keys })? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "scope": scope }));
    session
        .ui
        .line(&format!("scope {} is made; {} opens it", scope.name, quoted(&scope.keys)));
    for key in &scope.not_in {
        session.ui.note(
            Tone::Act,
            &format!("\"{key}\" is not yet in: touchlease key admit {key} --scope {}", scope.name),
        );
    }
    Ok(())
}

fn done(session: &Session, request: Request, said: &str) -> Result<(), Failure> {
    let Reply::Done = session.ask(request)? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "done": true }));
    session.ui.line(said);
    Ok(())
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
