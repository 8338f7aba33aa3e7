//! `touchlease exchange`: a command with what a touch-signed token is exchanged for.

use std::ffi::OsString;
use std::path::PathBuf;

use super::change::{how_many, seconds};
use super::init::unexpected;
use super::run::{Held, Plain, ended, ending, find_command, say_too_short, start, vars};
use super::session::Session;
use super::signer::signers;
use super::token::{claim, each_once};
use crate::deliver::env::Delivery;
use crate::deliver::mask::Patterns;
use crate::encoding::SecretRef;
use crate::encoding::exchange::{Fetch, Wanted};
use crate::wire::request::{GrantAsk, LeaseAsk};
use crate::wire::signer::{SignerView, TokenAsk};
use crate::wire::{Failure, Outcome, Reply, Request};

/// Variables in which programs look for OpenBao's address: its own, and its parent's.
const ADDRESS_VARIABLES: [&str; 2] = ["BAO_ADDR", "VAULT_ADDR"];

/// Run a command with credentials that OpenBao gives for a token: one touch.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run a command with a token of OpenBao's, or with credentials that OpenBao makes: one touch.
    ///
    /// The touch signs a token, which logs in at the OpenBao that the signer's sealed rules name. The command gets a token with the policies of
    /// these rules, in BAO_TOKEN and VAULT_TOKEN; or, with --read and --write, what is there, and no token. When the command ends, or the lease
    /// before it, everything is revoked. The command's output is masked. `touchlease signer add --exchange URL` makes such a signer.
    ///
    /// As in: touchlease exchange openbao prod/bao --read DB=database/creds/app -- ./migrate.sh, which finds DB_USERNAME and DB_PASSWORD.
    Openbao(Args),
}

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The signer, as scope/NAME.
    #[arg(value_name = "SIGNER")]
    signer: SecretRef,
    /// Give the command what is at this path: NAME=PATH, as DB=database/creds/app; each field is in a variable, as DB_PASSWORD. Repeat for more.
    #[arg(long, value_name = "FETCH", value_parser = read)]
    read: Vec<Fetch>,
    /// The same with what comes when something is written: NAME=PATH?FIELD=VALUE&FIELD=VALUE, as SSH=ssh/issue/deploy?key_type=ec.
    #[arg(long, value_name = "FETCH", value_parser = write)]
    write: Vec<Fetch>,
    /// Give the values as private files, whose paths the variables hold.
    #[arg(long)]
    files: bool,
    /// Let the command's token be good for this many requests [default: what the signer's rules allow].
    #[arg(long, value_name = "N", value_parser = how_many::<u32>)]
    uses: Option<u32>,
    /// Let everything live this long, as 90s or 5m [default: 5m, or less where the rules say so].
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    ttl: Option<u64>,
    /// Whom the token speaks of [default: the signer's only subject].
    #[arg(long, value_name = "SUBJECT")]
    sub: Option<String>,
    /// Add a claim that the signer's rules allow: NAME=VALUE. Repeat for more.
    #[arg(long = "claim", value_name = "CLAIM", value_parser = claim)]
    claims: Vec<(String, String)>,
    /// Say why, in one line, to the person who touches.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Leave the command's output as it is, values and all.
    #[arg(long, env = "TOUCHLEASE_NO_MASKING", value_parser = clap::builder::FalseyValueParser::new())]
    no_masking: bool,
    /// The command and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, command: Command) -> Result<u8, Failure> {
    let Command::Openbao(args) = command;
    let Some(program) = args.command.first() else {
        let failure = Failure::new(Outcome::Usage, "no_command", "there is no command to run");
        return Err(failure.hint(format!("touchlease exchange openbao {} -- COMMAND", args.signer)));
    };
    let named = signers(session, vec![args.signer.to_string()])?.0;
    let view = named.first().ok_or_else(unexpected)?;
    let plain = addresses(view, |name| std::env::var_os(name).is_some());
    let found = find_command(program, &plain)?;
    let ask = ask(&args, view)?;
    let (reply, client) = session.ask_held(Request::Lease(ask))?;
    let Reply::Granted(granted) = reply else { return Err(unexpected()) };
    let delivery = Delivery {
        command: args.command,
        found: Some(found),
        vars: vars(granted.values),
        plain,
        certificates: None,
        masking: !args.no_masking,
        at_end: ending(&granted.at_end),
        runtime_dir: std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
        walls: None,
    };
    let patterns = if delivery.masking { delivery.patterns() } else { Patterns::new([]) };
    say_too_short(session, &patterns);
    let mut held = Held::new(client, true);
    let outcome = start(&delivery, &patterns, &mut held)?;
    ended(session, &outcome, Some(held))
}

fn ask(args: &Args, view: &SignerView) -> Result<LeaseAsk, Failure> {
    let fetch: Vec<Fetch> = args.read.iter().chain(&args.write).cloned().collect();
    if args.uses.is_some() && !fetch.is_empty() {
        let message = "--uses is for a token that the command gets, and with --read and --write it gets none";
        return Err(Failure::new(Outcome::Usage, "usage", message).hint("leave out one of them"));
    }
    let audience = view.rules.signer.as_deref().and_then(|signer| signer.audiences.first().cloned());
    let token = TokenAsk {
        aud: audience.unwrap_or_default(),
        claims: each_once(args.claims.clone())?,
        exchange: Some(Wanted {
            fetch,
            files: args.files,
            uses: args.uses,
        }),
        sub: args.sub.clone(),
        ..TokenAsk::default()
    };
    Ok(LeaseAsk {
        with: vec![GrantAsk {
            token: Some(token),
            ..GrantAsk::of_signer(&args.signer)
        }],
        ttl: args.ttl,
        reason: args.reason.clone(),
        command: args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        deliver: true,
        ..LeaseAsk::default()
    })
}

/// Where the token is good, unless the person has said so: any node of the cluster will do, and it may be another one that is there.
fn addresses(view: &SignerView, is_set: impl Fn(&str) -> bool) -> Plain {
    let exchange = view.rules.signer.as_deref().and_then(|signer| signer.exchange.as_ref());
    let address = exchange.and_then(|exchange| exchange.addresses.first());
    match address.filter(|_| !ADDRESS_VARIABLES.iter().any(|name| is_set(name))) {
        Some(address) => ADDRESS_VARIABLES.map(|name| (name.into(), address.into())).into(),
        None => vec![],
    }
}

fn read(text: &str) -> Result<Fetch, String> {
    let (name, path) = text.split_once('=').ok_or("write it as NAME=PATH")?;
    sound(Fetch {
        name: name.to_owned(),
        path: path.to_owned(),
        ..Fetch::default()
    })
}

fn write(text: &str) -> Result<Fetch, String> {
    let form = "write it as NAME=PATH?FIELD=VALUE, with & between several";
    let (name, rest) = text.split_once('=').ok_or(form)?;
    let (path, fields) = rest.split_once('?').ok_or(form)?;
    // A value stands as it is: a public key has blanks, + and = in it.
    let fields = fields.split('&').map(|field| field.split_once('=').ok_or(form));
    let fields = fields.map(|field| field.map(|(name, value)| (name.to_owned(), value.to_owned())));
    sound(Fetch {
        name: name.to_owned(),
        path: path.to_owned(),
        with: fields.collect::<Result<_, _>>()?,
    })
}

fn sound(fetch: Fetch) -> Result<Fetch, String> {
    match fetch.fault() {
        Some(fault) => Err(fault.to_owned()),
        None => Ok(fetch),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_stands_as_it_is() {
        let fetch = write("SSH=ssh/sign/deploy?public_key=ecdsa-sha2-nistp256 AA+/A= a@b&ttl=5m").unwrap();
        assert_eq!((fetch.name.as_str(), fetch.path.as_str()), ("SSH", "ssh/sign/deploy"));
        assert_eq!(fetch.with["public_key"], "ecdsa-sha2-nistp256 AA+/A= a@b");
        assert_eq!(fetch.with["ttl"], "5m");
        for wrong in [
            "SSH",
            "SSH=ssh/sign/deploy",
            "SSH=ssh/sign/deploy?",
            "SSH=ssh/sign/deploy?a",
            "=a?b=c",
            "SSH=auth/token/create?a=b",
        ] {
            assert!(write(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read("DB=database/creds/app").unwrap().path, "database/creds/app");
        assert!(read("DB=database/creds/app?x=y").is_err() && read("database/creds/app").is_err());
    }
}
