//! `touchlease put`, `edit`, `rm`: each one touch for the whole batch.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::slice;
use std::str::FromStr;

use serde_json::json;
use zeroize::Zeroizing;

use super::init::unexpected;
use super::list;
use super::rules::RulesArgs;
use super::session::Session;
use super::tty::Tty;
use super::ui::Tone;
use crate::config::parse_duration;
use crate::deliver::mask::{SHORTEST, is_too_short};
use crate::encoding::SecretRef;
use crate::encoding::reference::ReferenceError;
use crate::lease::change::several_scopes;
use crate::lease::failure::locked_memory;
use crate::secret::Secret;
use crate::vault::LARGEST_VALUE;
use crate::wire::reply::SecretView;
use crate::wire::request::{PutAsk, RulesAsk};
use crate::wire::{Failure, Outcome, Reply, Request, Uses, Value};

/// Add secrets, or new values for them.
///
/// A value is typed at a prompt, or comes from standard input or a file, never from the command line. One touch seals the batch.
/// From standard input, the newline behind a value of one line is taken off: `echo` writes it. Of more lines, and of a file, every byte
/// counts. A new value keeps the rules that the secret had, unless rules are given.
#[derive(Debug, clap::Args)]
pub struct PutArgs {
    /// As scope/NAME.
    // Read later: what clap refuses it repeats, and here somebody may have typed a value.
    #[arg(required = true, value_name = "SECRET")]
    secrets: Vec<String>,
    /// Take the value from this file, byte for byte; for one secret only.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    #[command(flatten)]
    rules: RulesArgs,
}

/// Change the rules of a secret and keep its value.
///
/// What is not named stays as it is. With --reset-rules, it goes back to what `put` gives without options: so a cap or a host is taken off.
#[derive(Debug, clap::Args)]
pub struct EditArgs {
    /// As scope/NAME.
    #[arg(value_name = "SECRET")]
    secret: SecretRef,
    #[command(flatten)]
    rules: RulesArgs,
    /// Take off what is not named here: caps and hosts go, env and file are allowed.
    #[arg(long)]
    reset_rules: bool,
}

/// Remove secrets.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// As scope/NAME.
    #[arg(required = true, value_name = "SECRET")]
    secrets: Vec<SecretRef>,
}

/// # Errors
/// See [`Failure`].
pub fn put(session: &Session, args: PutArgs) -> Result<(), Failure> {
    if args.from_file.is_some() && args.secrets.len() > 1 {
        return Err(
            Failure::new(Outcome::Usage, "one_file", "--from-file goes with one secret").hint("touchlease put SECRET --from-file FILE")
        );
    }
    let secrets = names(&args.secrets)?;
    once(&secrets)?;
    let named: Vec<String> = secrets.iter().map(SecretRef::to_string).collect();
    args.rules.check(Some(&format!("put {}", named.join(" "))), &args.rules.rules())?;
    // Nobody types a value for a vault or a scope that is not there.
    let known = known(session, &secrets)?;
    check_new(&secrets, &known)?;
    of_one_scope(&secrets)?;
    if secrets.len() > 1 && !io::stdin().is_terminal() {
        return Err(Failure::new(Outcome::Usage, "one_stdin", "standard input holds one value")
            .hint("put one secret at a time: touchlease put SECRET"));
    }
    // Without a word about rules, a new version keeps those it had.
    let rules = (!args.rules.is_default()).then(|| args.rules.rules());
    let mut puts = Vec::new();
    for secret in &secrets {
        let value = read_value(secret, args.from_file.as_deref())?;
        warn(session, secret, &value);
        puts.push(PutAsk {
            secret: secret.to_string(),
            value: Value(value),
            rules: rules.clone(),
        });
    }
    let unmaskable: Vec<&str> = puts
        .iter()
        .filter(|put| is_too_short(put.value.0.expose()))
        .map(|put| put.secret.as_str())
        .collect();
    let more = json!({ "unmaskable": unmaskable });
    changed(session, Request::Put { puts, more: 0 }, "sealed", more)
}

/// What is said of such a value, by its name.
pub fn unmaskable(secret: &str) -> String {
    format!("{secret} has fewer than {} bytes: it cannot be masked in output", SHORTEST)
}
/// Those of `secrets` that the vault has. A word behind the first that names no scope of it may be a value with a `/`, as base64 has:
/// it is not repeated.
fn known(session: &Session, secrets: &[SecretRef]) -> Result<Vec<SecretView>, Failure> {
    let listed = |secrets: &[SecretRef]| list::secrets(session, None, secrets.iter().map(SecretRef::to_string).collect());
    if let [first, _, ..] = secrets {
        listed(slice::from_ref(first))?;
        let first_name = first.to_string();
        return match listed(secrets) {
            Err(failure) if failure.reason == "no_scope" => Err(value_in_argv(&first_name, "what follows it names no scope")),
            other => Ok(other?.secrets),
        };
    }
    Ok(listed(secrets)?.secrets)
}

/// What is to be put. A word that names nothing is not repeated: it may be a value.
fn names(words: &[String]) -> Result<Vec<SecretRef>, Failure> {
    let read = words.iter().enumerate().map(|(at, word)| {
        word.parse().map_err(|error: ReferenceError| {
            let (what, hint) = match word.split_once('=') {
                Some((name, _)) if name.parse::<SecretRef>().is_ok() => return value_in_argv(name, BEHIND_EQUALS),
                _ if at > 0 && words[0].parse::<SecretRef>().is_ok() => return value_in_argv(&words[0], "what follows it names no secret"),
                _ if words.len() > 1 => (format!("word {} names no secret", at + 1), "touchlease put SECRET"),
                _ => ("this names no secret".to_owned(), "touchlease put prod/TOKEN"),
            };
            Failure::new(Outcome::Usage, "usage", format!("{what}: {error}")).hint(format!("{hint}; the value is asked for, or piped"))
        })
    });
    read.collect()
}

/// Before anybody types a value that is refused.
fn of_one_scope(secrets: &[SecretRef]) -> Result<(), Failure> {
    let several = secrets.windows(2).any(|pair| pair[0].scope != pair[1].scope);
    match several {
        true => Err(several_scopes()),
        false => Ok(()),
    }
}

/// Before anybody types two values for one name.
fn once(secrets: &[SecretRef]) -> Result<(), Failure> {
    let twice = secrets.iter().enumerate().find(|(at, secret)| secrets[..*at].contains(secret));
    twice.map_or(Ok(()), |(_, secret)| {
        Err(Failure::new(Outcome::BadInput, "twice", format!("{secret} is named twice")).hint("name each secret once"))
    })
}

/// `=` may stand in a name, but in a new one it is what separates the name from a value.
fn check_new(secrets: &[SecretRef], known: &[SecretView]) -> Result<(), Failure> {
    let is_known = |secret: &SecretRef| known.iter().any(|view| view.secret == secret.to_string());
    match secrets.iter().find(|secret| secret.name.contains('=') && !is_known(secret)) {
        Some(secret) => Err(value_in_argv(
            secret.to_string().split('=').next().unwrap_or_default(),
            BEHIND_EQUALS,
        )),
        None => Ok(()),
    }
}

const BEHIND_EQUALS: &str = "what follows = was not looked at";

/// Every process of the machine reads command lines, and shells remember them.
fn value_in_argv(name: &str, rest: &str) -> Failure {
    let message = format!("a value is not taken from the command line: {name} is the name, and {rest}");
    Failure::new(Outcome::Usage, "value_in_argv", message).hint(format!(
        "touchlease put {name} asks for the value. One that you typed may be in your shell's history: remove it there"
    ))
}

/// # Errors
/// See [`Failure`].
pub fn edit(session: &Session, args: EditArgs) -> Result<(), Failure> {
    if args.rules.is_default() && !args.reset_rules {
        return Err(
            Failure::new(Outcome::Usage, "nothing_to_change", "edit changes rules: say which").hint(format!(
                "touchlease edit {} --max-ttl 10m; a new value is put: touchlease put {}",
                args.secret, args.secret
            )),
        );
    }
    let before = rules_of(session, &args.secret)?;
    let is_signer = before.signer.is_some();
    let (rules, reset) = match args.reset_rules {
        true => (args.rules.rules(), " --reset-rules"),
        false => (args.rules.over(before), ""),
    };
    // A signer's are another matter, and the daemon says so.
    if !is_signer {
        args.rules.check(Some(&format!("edit {}{reset}", args.secret)), &rules)?;
    }
    let request = Request::Edit {
        secret: args.secret.to_string(),
        rules,
    };
    changed(session, request, "changed", json!({}))
}

/// The rules that a secret has: what the command line does not name stays as it is.
fn rules_of(session: &Session, secret: &SecretRef) -> Result<RulesAsk, Failure> {
    let secrets = list::secrets(session, None, vec![secret.to_string()])?.secrets;
    secrets.into_iter().next().map(|view| view.rules).ok_or_else(|| {
        Failure::new(Outcome::BadInput, "no_secret", format!("there is no secret {secret}")).hint("touchlease list shows what there is")
    })
}

/// # Errors
/// See [`Failure`].
pub fn rm(session: &Session, args: RmArgs) -> Result<(), Failure> {
    let secrets = args.secrets.iter().map(SecretRef::to_string).collect();
    changed(session, Request::Remove { secrets }, "removed", json!({}))?;
    session.ui.note(
        Tone::Dim,
        "old copies of the vault still hold it: change it at its issuer if it must not work any more",
    );
    Ok(())
}

/// Asks for the change, and prints it; `more` is what a program is told beside it.
fn changed(session: &Session, request: Request, verb: &str, mut more: serde_json::Value) -> Result<(), Failure> {
    let Reply::Changed { secrets } = session.ask(request)? else {
        return Err(unexpected());
    };
    more["changed"] = json!(secrets);
    session.ui.json(&more);
    for secret in secrets {
        session.ui.line(&format!("{secret} {verb}"));
    }
    Ok(())
}

fn read_value(secret: &SecretRef, file: Option<&Path>) -> Result<Secret, Failure> {
    match file {
        Some(path) => read_file(path),
        None if io::stdin().is_terminal() => ask_twice(secret),
        None => read_all(&mut io::stdin().lock(), "standard input"),
    }
}

fn read_file(path: &Path) -> Result<Secret, Failure> {
    let shown = path.display().to_string();
    let mut file = fs::File::open(path).map_err(|error| {
        Failure::new(Outcome::BadInput, "file", format!("{shown} cannot be read: {error}")).hint("check the path and its permissions")
    })?;
    read_all(&mut file, &shown)
}

fn read_all(source: &mut dyn Read, name: &str) -> Result<Secret, Failure> {
    // One byte more than allowed, so that too much is noticed and nothing is cut off silently; never grown, so nothing is left behind.
    let mut bytes = Zeroizing::new(vec![0; LARGEST_VALUE + 1]);
    let mut len = 0;
    while len < bytes.len() {
        match source.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Failure::new(Outcome::BadInput, "read", format!("{name} cannot be read: {error}"))
                    .hint("nothing was put; try again, or pipe the value in"));
            }
        }
    }
    // `echo value | touchlease put`: the newline is echo's. From a file every byte counts.
    if name == "standard input" && len > 1 && bytes[len - 1] == b'\n' && !bytes[..len - 1].contains(&b'\n') {
        len -= 1;
    }
    match len {
        0 => Err(Failure::new(Outcome::BadInput, "empty_value", format!("{name} is empty")).hint("a value has 1 byte to 1 MiB")),
        _ if len > LARGEST_VALUE => Err(
            Failure::new(Outcome::BadInput, "huge_value", format!("{name} holds more than 1 MiB"))
                .hint("seal a key that decrypts the data, not the data itself"),
        ),
        _ => secret(&mut bytes[..len]),
    }
}

fn ask_twice(secret_ref: &SecretRef) -> Result<Secret, Failure> {
    let mut tty = Tty::open().ok_or_else(|| {
        Failure::new(Outcome::BadInput, "no_terminal", "there is no terminal to type a value on")
            .hint("pipe it in, or: touchlease put SECRET --from-file FILE")
    })?;
    let typed = |error: io::Error| match error.kind() {
        io::ErrorKind::Interrupted => {
            Failure::new(Outcome::Denied, "interrupted", "nothing was put").hint("run the command again to type it")
        }
        _ => Failure::new(Outcome::BadInput, "terminal", format!("the terminal cannot be read: {error}"))
            .hint("open another terminal and run the command there"),
    };
    let value = tty.ask_secret(&format!("value of {secret_ref} (not shown): ")).map_err(typed)?;
    if value.is_empty() {
        return Err(
            Failure::new(Outcome::BadInput, "empty_value", "the value is empty").hint("a value has 1 byte to 1 MiB; nothing was put")
        );
    }
    Ok(value)
}

fn secret(bytes: &mut [u8]) -> Result<Secret, Failure> {
    Secret::from_slice_wiping(bytes).map_err(|error| memory(&error))
}

/// The kernel locks no more memory.
pub fn memory(error: &io::Error) -> Failure {
    locked_memory(error)
}

/// What a person should know about a value, without saying anything of it.
fn warn(session: &Session, secret: &SecretRef, value: &Secret) {
    let bytes = value.expose();
    if is_too_short(bytes) {
        session.ui.note(Tone::Bad, &unmaskable(&secret.to_string()));
    }
    if bytes.ends_with(b"\n") && bytes.iter().filter(|byte| **byte == b'\n').count() == 1 {
        session.ui.note(
            Tone::Dim,
            &format!("{secret} ends with a newline, which is a part of it; without it: touchlease put {secret} < FILE"),
        );
    }
    if bytes.contains(&0) {
        session.ui.note(
            Tone::Dim,
            &format!("{secret} has a NUL byte: it can be delivered as a file, not in an environment"),
        );
    }
}

/// A number of uses, or of other things, as it is typed.
///
/// # Errors
/// It is none, or 0.
pub fn how_many<N: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<N, String> {
    let n = text.parse().ok().filter(|n| *n > N::from(0));
    n.ok_or_else(|| "give a whole number, 1 or more".into())
}

/// A number of uses as it is typed, or that there is to be no limit.
///
/// # Errors
/// It is neither, or 0.
pub fn uses(text: &str) -> Result<Uses, String> {
    match text {
        "any" => Ok(Uses::Any),
        text => how_many(text)
            .map(Uses::Most)
            .map_err(|_| "give a whole number, 1 or more, or any".into()),
    }
}

/// A duration as it is typed, in seconds.
///
/// # Errors
/// It is none.
pub fn seconds(text: &str) -> Result<u64, String> {
    parse_duration(text).map(|duration| duration.as_secs())
}
