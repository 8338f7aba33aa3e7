//! `touchlease list`: names and rules, without a touch.

use serde_json::json;

use super::card::duration;
use super::init::unexpected;
use super::session::Session;
use super::table::Table;
use super::ui::Tone;
use crate::encoding::plain::count;
use crate::wire::reply::SecretView;
use crate::wire::{Event, Failure, Reply, Request};

/// List secrets with their rules, without a touch.
///
/// Names and rules are not secret: whoever reads the vault's folder reads them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scope to list [default: all].
    scope: Option<String>,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let Secrets {
        secrets,
        unreadable,
        unsigned,
    } = secrets(session, args.scope.clone(), vec![])?;
    session
        .ui
        .json(&json!({ "secrets": secrets, "unreadable": unreadable, "unsigned": unsigned }));
    let head = ["SECRET", "VERSION", "AS", "LIMITS"];
    let table = Table::new(head, secrets.iter().map(row));
    let none = match secrets.is_empty() && !session.ui.is_json() {
        true => format!("no secrets yet: touchlease put {}/NAME", first_scope(session, args.scope)?),
        false => String::new(),
    };
    session.ui.table(&table, &none);
    for file in &unreadable {
        session.ui.note(Tone::Bad, &format!("not readable: {file}"));
    }
    session.ui.unsigned(&unsigned);
    Ok(())
}

/// The scope that is named, or the first that there is: a command with another one would be refused.
fn first_scope(session: &Session, named: Option<String>) -> Result<String, Failure> {
    let first = match named {
        Some(named) => Some(named),
        None => match session.ask(Request::ScopeList)? {
            Reply::Scopes { scopes } => scopes.into_iter().next().map(|scope| scope.name),
            _ => return Err(unexpected()),
        },
    };
    Ok(first.unwrap_or_else(|| "SCOPE".into()))
}

/// What a list found.
pub struct Secrets {
    /// By their names.
    pub secrets: Vec<SecretView>,
    /// Files that are not readable.
    pub unreadable: Vec<String>,
    /// Slots that no touch signed.
    pub unsigned: Vec<String>,
}

/// The secrets of one scope or of all, or those that are `named`.
///
/// # Errors
/// See [`Failure`].
pub fn secrets(session: &Session, scope: Option<String>, named: Vec<String>) -> Result<Secrets, Failure> {
    let mut secrets = vec![];
    let request = Request::List { scope, secrets: named };
    let (reply, _) = session.ask_parts(request, &mut |part| {
        if let Event::Secrets { secrets: some } = part {
            secrets.extend(some);
        }
    })?;
    let Reply::Listed { unreadable, unsigned } = reply else {
        return Err(unexpected());
    };
    secrets.sort_by(|a, b| a.secret.split('/').cmp(b.secret.split('/')));
    Ok(Secrets {
        secrets,
        unreadable,
        unsigned,
    })
}

fn row(secret: &SecretView) -> [String; 4] {
    let rules = &secret.rules;
    let limits = [
        (!rules.hosts.is_empty()).then(|| format!("only to {}", rules.hosts.join(", "))),
        (!rules.methods.is_empty()).then(|| format!("only {}", rules.methods.join(", "))),
        (!rules.paths.is_empty()).then(|| format!("only {}", rules.paths.join(", "))),
        rules.send_as.as_ref().map(|form| format!("sent as {form}")),
        rules.ttl.map(|ttl| format!("at most {}", duration(ttl))),
        rules.uses.map(|uses| format!("at most {}", count(uses, "use"))),
        (rules.signer.is_some() && rules.uses.is_none()).then(|| "any number of uses".to_owned()),
    ];
    [
        secret.secret.clone(),
        secret.version.to_string(),
        rules.deliveries.join(" or "),
        limits.into_iter().flatten().collect::<Vec<_>>().join("; "),
    ]
}
