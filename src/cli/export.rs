//! `touchlease export`: every value of a scope, in the clear.

use std::collections::BTreeSet;
use std::io::{self, Stdout, Write};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use serde_json::json;
use zeroize::Zeroizing;

use super::init::unexpected;
use super::list;
use super::new_file::NewFile;
use super::session::Session;
use super::ui::Tone;
use crate::encoding::plain::{check_variable, count};
use crate::wire::reply::SecretView;
use crate::wire::request::ExportAsk;
use crate::wire::{Event, Failure, Outcome, Reply, Request};

/// Write every value of a scope into a file, in the clear.
///
/// For moving to another program. The touch signs that ALL values of the scope leave the vault, and the log says that they did. Secrets
/// whose rules allow neither env nor file stay, and are named. The file is private (mode 0600) and must not exist; delete it afterwards.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Export this scope.
    #[arg(long, value_name = "NAME")]
    scope: String,
    /// Write in this form.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    format: Format,
    /// Write into this file, which must not exist.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "danger_stdout",
        conflicts_with = "danger_stdout"
    )]
    out: Option<PathBuf>,
    /// Write to standard output, where a terminal, a log or another program keeps it.
    #[arg(long)]
    danger_stdout: bool,
}

/// Forms of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// NAME='value', for text without NUL and names that are variables
    Env,
    /// One document; values that are no text in base64
    Json,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let secrets = list::secrets(session, Some(args.scope.clone()), vec![])?.secrets;
    let leaving = announce(session, &args, &secrets)?;
    let to = match &args.out {
        Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
        None => "standard output".to_owned(),
    };
    let mut sink = Sink::open(session, &args)?;
    let request = Request::Export(ExportAsk {
        scope: args.scope.clone(),
        to,
    });
    let mut written = sink.begin(&args.scope);
    let reply = session.ask_parts(request, &mut |part| {
        if let (Event::Exported { name, value }, Ok(())) = (part, &written) {
            written = sink.secret(&name, value.0.expose());
        }
    });
    let Reply::Exported { secrets, left_out } = reply?.0 else {
        return Err(unexpected());
    };
    written.and_then(|()| sink.end())?;
    if args.out.is_some() {
        session.ui.json(&json!({ "exported": secrets, "left_out": left_out }));
    }
    let more = if secrets < leaving {
        "; the vault held fewer than its folder showed"
    } else {
        ""
    };
    session.ui.note(
        Tone::Strong,
        &format!("{} of {} left the vault in the clear{more}", count(secrets, "secret"), args.scope),
    );
    session
        .ui
        .note(Tone::Dim, "the log says so; delete what was written when it has served");
    Ok(())
}

/// Says what stays, and refuses what could not be written before anybody touches a key. Gives how many leave.
fn announce(session: &Session, args: &Args, secrets: &[SecretView]) -> Result<u64, Failure> {
    let may_leave = |view: &&SecretView| view.rules.deliveries.iter().any(|delivery| delivery == "env" || delivery == "file");
    let leaving: BTreeSet<&str> = secrets.iter().filter(may_leave).map(|view| view.secret.as_str()).collect();
    for view in secrets.iter().filter(|view| !leaving.contains(view.secret.as_str())) {
        session
            .ui
            .note(Tone::Bad, &format!("{} stays: its rules allow neither env nor file", view.secret));
    }
    if leaving.is_empty() {
        return Err(
            Failure::new(Outcome::BadInput, "nothing", format!("scope {} has nothing to export", args.scope)).hint("touchlease list"),
        );
    }
    let name = |secret: &&&str| secret.split_once('/').is_some_and(|(_, name)| check_variable(name).is_err());
    if args.format == Format::Env
        && let Some(secret) = leaving.iter().find(name)
    {
        let message = format!("{secret} has a name that no variable can have");
        return Err(Failure::new(Outcome::BadInput, "variable", message).hint("write JSON: --format json"));
    }
    Ok(leaving.len() as u64)
}

/// Where values go.
struct Sink {
    to: To,
    format: Format,
    first: bool,
}

enum To {
    File(NewFile),
    Stdout(Stdout),
}

impl Sink {
    fn open(session: &Session, args: &Args) -> Result<Self, Failure> {
        let to = match &args.out {
            Some(path) => To::File(NewFile::create(path).map_err(|error| not_made(path, &error))?),
            None if session.ui.is_json() => {
                return Err(
                    Failure::new(Outcome::Usage, "json", "--json prints the result where the values would go").hint("give --out FILE"),
                );
            }
            None => To::Stdout(io::stdout()),
        };
        Ok(Self {
            to,
            format: args.format,
            first: true,
        })
    }

    fn begin(&mut self, scope: &str) -> Result<(), Failure> {
        match self.format {
            Format::Env => self.write(format!("# scope {scope}\n").as_bytes()),
            Format::Json => self.write(format!("{{\"v\":1,\"scope\":{},\"secrets\":[", json!(scope)).as_bytes()),
        }
    }

    fn secret(&mut self, name: &str, value: &[u8]) -> Result<(), Failure> {
        let text = match self.format {
            Format::Env => env_line(name, value)?,
            Format::Json => {
                let comma = if self.first { "" } else { "," };
                json_member(comma, name, value)
            }
        };
        self.first = false;
        self.write(&text)
    }

    fn end(mut self) -> Result<(), Failure> {
        if self.format == Format::Json {
            self.write(b"\n]}\n")?;
        }
        let done = match self.to {
            To::File(file) => file.finish(),
            To::Stdout(mut stdout) => stdout.flush(),
        };
        done.map_err(|error| not_written(&error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = match &mut self.to {
            To::File(file) => file.write_all(bytes),
            To::Stdout(stdout) => stdout.write_all(bytes),
        };
        written.map_err(|error| not_written(&error))
    }
}

fn not_made(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(Outcome::BadInput, "out_exists", format!("{shown} exists already"))
            .hint("name a file that does not exist: nothing is overwritten"),
        _ => Failure::new(Outcome::BadInput, "out", format!("{shown} cannot be written: {error}")).hint("name another file with --out"),
    }
}

fn not_written(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => {
            return Failure::new(Outcome::BadInput, "out", "whoever read the export went away before its end")
                .hint("write all of it into a file: --out FILE");
        }
        io::ErrorKind::AlreadyExists => {
            return Failure::new(
                Outcome::BadInput,
                "out_exists",
                "something has got the name of the file in the meantime",
            )
            .hint("name a file that does not exist: nothing is overwritten");
        }
        _ => {}
    }
    Failure::new(Outcome::BadInput, "out", format!("the export cannot be written: {error}"))
        .hint("free some space, or name another file with --out")
}

/// In single quotes nothing has a meaning, to a shell and to dotenv programs alike; a single quote stands in double ones.
fn env_line(name: &str, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let text = str::from_utf8(value).ok().filter(|text| !text.contains(['\0', '\r']));
    let text = text.ok_or_else(|| {
        Failure::new(
            Outcome::BadInput,
            "not_text",
            format!("the value of {name} is no text that an environment file can hold"),
        )
        .hint("write JSON: --format json")
    })?;
    let mut line = Zeroizing::new(Vec::with_capacity(name.len() + 5 * text.len() + 4));
    line.extend_from_slice(format!("{name}='").as_bytes());
    for byte in text.bytes() {
        match byte {
            b'\'' => line.extend_from_slice(b"'\"'\"'"),
            byte => line.push(byte),
        }
    }
    line.extend_from_slice(b"'\n");
    Ok(line)
}

fn json_member(comma: &str, name: &str, value: &[u8]) -> Zeroizing<Vec<u8>> {
    // Six bytes for one at most, as \u0000: the buffer never grows.
    let mut text = Zeroizing::new(Vec::with_capacity(6 * (name.len() + value.len()) + 64));
    let (member, value) = match str::from_utf8(value) {
        Ok(text) => ("value", Zeroizing::new(text.to_owned())),
        Err(_) => ("base64", Zeroizing::new(BASE64.encode(value))),
    };
    text.extend_from_slice(format!("{comma}\n  {{\"name\":{},\"{member}\":", json!(name)).as_bytes());
    // Writing into a vector does not fail.
    let _ = serde_json::to_writer(&mut *text, value.as_str());
    text.push(b'}');
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_as_an_environment_file_is_read_back() {
        let values = ["plain", "two words", "it's", "a\"b$c`d\\e#f", "two\nlines", " edges ", "'", "é"];
        let mut file = Vec::new();
        for (n, value) in values.iter().enumerate() {
            file.extend_from_slice(&env_line(&format!("V{n}"), value.as_bytes()).unwrap());
        }
        let read: Vec<_> = dotenvy::from_read_iter(file.as_slice()).map(|line| line.unwrap().1).collect();
        assert_eq!(read, values);
        for bad in [&b"a\0b"[..], b"\xff", b"a\r\n"] {
            assert_eq!(env_line("V", bad).unwrap_err().reason, "not_text");
        }
    }

    #[test]
    fn what_is_written_as_json_is_one_document() {
        let members = [json_member("", "A", b"a\"\n"), json_member(",", "B", b"\xff\0")];
        let text = [&b"["[..], &members[0], &members[1], b"]"].concat();
        let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(read, json!([{ "name": "A", "value": "a\"\n" }, { "name": "B", "base64": "/wA=" }]));
    }
}
