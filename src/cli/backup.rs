//! `touchlease backup`: the vault in one file, verified without a touch, and put back on another machine.
//!
//! Reads the folder itself, under its lock: a backup is for whoever owns the folder, and needs nothing of the daemon.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, BufWriter, IsTerminal, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::init::unexpected;
use super::new_file::NewFile;
use super::session::Session;
use super::ui::Tone;
use crate::encoding::plain::count;
use crate::finding::quoted;
use crate::lease::failure::IntoFailure;
use crate::vault::VaultError;
use crate::vault::backup::{self, BackupError, Verified};
use crate::wire::{Failure, Outcome, Reply, Request};

/// What a touch alone can tell.
const UNCHECKED: &str = "not checked, for that takes a touch: that the sealed files open, that every secret of the index is there, \
                         and that this is the newest state";

/// Copy the vault into one file, verify such a file, and put it back.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write the vault's files into one archive, without a touch.
    ///
    /// The same state of the vault gives the same bytes. Nothing in it opens without a key or the recovery code; names and rules can be
    /// read, as in the folder.
    Create {
        /// The archive, which must not be there yet; `-` for standard output.
        file: PathBuf,
    },
    /// Verify an archive, without a touch.
    ///
    /// Checks its form, every digest, every signature of the roster, and that all files are there that the roster names.
    Verify {
        /// The archive; `-` for standard input.
        file: PathBuf,
    },
    /// Put an archive back as the vault, where there is none.
    Restore {
        /// The archive; `-` for standard input.
        file: PathBuf,
    },
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::Create { file } => create(session, &file),
        Command::Verify { file } => verify(session, &file),
        Command::Restore { file } => restore(session, &file),
    }
}

fn create(session: &Session, file: &Path) -> Result<(), Failure> {
    let folder = folder(session)?;
    if file == Path::new("-") {
        if io::stdout().is_terminal() {
            return Err(Failure::new(Outcome::Usage, "terminal_output", "an archive is not for a terminal")
                .hint("touchlease backup create vault.tar"));
        }
        backup::create(&folder, BufWriter::new(io::stdout().lock())).map_err(failure)?;
        return Ok(());
    }
    let mut out = NewFile::create(file).map_err(|error| file_failure(file, &error))?;
    let made = backup::create(&folder, BufWriter::new(&mut out)).and_then(|contents| {
        out.finish()?;
        Ok(contents)
    });
    let contents = made.map_err(failure)?;
    session.ui.json(&json!({
        "file": file.display().to_string(),
        "vault": contents.vault,
        "roster": contents.roster,
        "files": contents.files,
        "bytes": contents.bytes,
    }));
    session.ui.line(&format!(
        "{}, {} in {}",
        count(contents.files, "file"),
        count(contents.bytes, "byte"),
        file.display()
    ));
    session.ui.note(Tone::Dim, &format!("touchlease backup verify {}", file.display()));
    Ok(())
}

fn verify(session: &Session, file: &Path) -> Result<(), Failure> {
    let scratch = scratch(&std::env::temp_dir())?;
    let verified = open(file).and_then(|archive| backup::verify(archive, &scratch).map_err(|error| unverified(error, file)));
    let _ = fs::remove_dir_all(&scratch);
    let verified = verified?;
    show(session, &verified, json!({ "file": file.display().to_string() }));
    if verified.unreadable.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Outcome::VaultRefused,
        "backup",
        match verified.unreadable.as_slice() {
            [_] => "a file in the archive is no readable record".to_owned(),
            several => format!("{} files in the archive are no readable records", several.len()),
        },
    )
    .hint("they were damaged in the vault already: touchlease list names them"))
}

fn restore(session: &Session, file: &Path) -> Result<(), Failure> {
    let folder = folder(session)?;
    let beside = folder.parent().unwrap_or(Path::new("/"));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(beside);
    made.map_err(|error| file_failure(beside, &error))?;
    let scratch = scratch(beside)?;
    let restored = open(file).and_then(|archive| backup::restore(archive, &folder, &scratch).map_err(|error| unverified(error, file)));
    if restored.is_err() {
        let _ = fs::remove_dir_all(&scratch);
    }
    let restored = restored?;
    show(session, &restored, json!({ "folder": folder.display().to_string() }));
    session.ui.line(&format!("restored to {}", folder.display()));
    session.ui.note(
        Tone::Dim,
        "a machine that has not seen this vault before cannot tell an old copy from the newest",
    );
    Ok(())
}

fn show(session: &Session, verified: &Verified, more: Value) {
    let scope =
        |scope: &backup::ScopeVerified| json!({ "name": scope.name, "heads": scope.heads, "slots": scope.slots, "records": scope.records });
    let mut result = json!({
        "vault": verified.contents.vault,
        "name": verified.name,
        "roster": verified.contents.roster,
        "files": verified.contents.files,
        "bytes": verified.contents.bytes,
        "statements": verified.statements,
        "keys": verified.keys,
        "scopes": verified.scopes.iter().map(scope).collect::<Vec<_>>(),
        "unreadable": verified.unreadable.iter().map(|file| format!("{}: {}", file.path, file.why)).collect::<Vec<_>>(),
        "unchecked": UNCHECKED,
    });
    if let (Value::Object(result), Value::Object(more)) = (&mut result, more) {
        result.extend(more);
    }
    session.ui.json(&result);
    let ui = session.ui;
    ui.line(&format!(
        "{}: {}, every digest as listed; {}, every signature good",
        verified.name,
        count(verified.contents.files, "file"),
        count(verified.statements, "statement")
    ));
    ui.line(&format!("keys: {}", verified.keys.join(", ")));
    for scope in &verified.scopes {
        let heads = if scope.heads > 1 {
            format!(", {} states to be joined", scope.heads)
        } else {
            String::new()
        };
        ui.line(&format!(
            "{}: {}, {} in{heads}",
            scope.name,
            count(scope.records, "secret"),
            count(scope.slots, "way")
        ));
    }
    for file in &verified.unreadable {
        ui.note(Tone::Bad, &format!("{}: {}", file.path, file.why));
    }
    ui.note(Tone::Dim, UNCHECKED);
}

/// The vault that the command line names, or the one that the daemon serves.
fn folder(session: &Session) -> Result<PathBuf, Failure> {
    if let Some(folder) = &session.vault {
        return Ok(folder.clone());
    }
    let Reply::Status(status) = session.ask(Request::Status)? else {
        return Err(unexpected());
    };
    Ok(status.path.into())
}

fn open(file: &Path) -> Result<Box<dyn Read>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let archive = File::open(file).map_err(|error| unreadable(file, &error))?;
    Ok(Box::new(BufReader::new(archive)))
}

/// A name for a folder that is not there yet.
fn scratch(above: &Path) -> Result<PathBuf, Failure> {
    let path = above.join(format!(".touchlease-backup-{}", std::process::id()));
    // Made here, so that nobody else's folder or link is written into.
    DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .map_err(|error| file_failure(&path, &error))?;
    Ok(path)
}

fn failure(error: BackupError) -> Failure {
    match error {
        BackupError::Vault(error) => error.failure(),
        BackupError::Archive(_) => {
            Failure::new(Outcome::BadInput, "backup_file", error.to_string()).hint("free some space, or make the file again")
        }
        BackupError::Form { .. } | BackupError::NoManifest => Failure::new(Outcome::VaultRefused, "backup", error.to_string())
            .hint("nothing of it is used; take another copy: touchlease backup create vault.tar"),
    }
}

/// The file may be anybody's: what it holds is not repeated, and a tar library repeats it.
fn unverified(error: BackupError, file: &Path) -> Failure {
    let not_ours = |why: &str| format!("{} is no backup of a vault, or was damaged: {why}", file.display());
    let hint = "name a file that `backup create` wrote; nothing of this one is used";
    match error {
        BackupError::Archive(error) if error.raw_os_error().is_some() => unreadable(file, &error),
        BackupError::Archive(_) => {
            Failure::new(Outcome::BadInput, "backup_file", not_ours("it is no tar archive, or was cut short")).hint(hint)
        }
        BackupError::Form { why, .. } => {
            Failure::new(Outcome::VaultRefused, "backup", not_ours(&format!("a file in it: {why}"))).hint(hint)
        }
        error @ BackupError::NoManifest => Failure::new(Outcome::VaultRefused, "backup", not_ours(&error.to_string())).hint(hint),
        BackupError::Vault(error @ VaultError::NotEmpty { .. }) => error.failure().hint(format!(
            "name a folder that is not there yet: touchlease --vault FOLDER backup restore {}",
            quoted(file)
        )),
        BackupError::Vault(error) => error.failure(),
    }
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Outcome::BadInput,
        "backup_file",
        format!("{} cannot be read: {error}", file.display()),
    )
    .hint(match error.kind() {
        io::ErrorKind::NotFound => "name a file that `backup create` wrote",
        _ => "check the path, its permissions, and the space that is left",
    })
}

fn file_failure(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Outcome::BadInput, "backup_file", format!("{}: {error}", path.display()))
        .hint("name a file that is not there yet, in a folder of yours")
}
