//! KeePass databases.

use std::path::Path;

use keepass::db::{DatabaseOpenError, EntryRef, GroupRef, fields};
use keepass::{Database, DatabaseKey};
use zeroize::Zeroizing;

use super::super::tty::Tty;
use super::cost::{self, Costs};
use super::source::{Format, Found, LeftOut, not_read};
use crate::secret::Secret;
use crate::wire::{Failure, Outcome};

/// Fields that KeePass programs keep one-time codes in.
const ONE_TIME: [&str; 4] = ["otp", "totp", "hmacotp", "timeotp"];

/// Asks for the password at the terminal, and reads the database.
///
/// # Errors
/// No terminal; a wrong password; no such database, or one that takes too much to be opened.
pub fn ask_and_read(path: &Path, bytes: &[u8], key_file: Option<&[u8]>) -> Result<(Vec<Found>, Vec<LeftOut>), Failure> {
    // Before somebody types a password for nothing.
    cost::check(bytes).map_err(|costs| too_much(&costs))?;
    let mut tty = Tty::open().ok_or_else(|| {
        Failure::new(
            Outcome::BadInput,
            "no_terminal",
            "there is no terminal to type the database's password on",
        )
        .hint("run the command in a terminal")
    })?;
    let shown = crate::encoding::plain::visible(&path.display().to_string());
    let typed = tty
        .ask_secret(&format!("password of {shown} (not shown): "))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::Interrupted => {
                Failure::new(Outcome::Denied, "interrupted", "nothing was imported").hint("run the command again to type it")
            }
            _ => Failure::new(Outcome::BadInput, "terminal", format!("the terminal cannot be read: {error}"))
                .hint("open another terminal and run the command there"),
        })?;
    drop(tty);
    read(bytes, &typed, key_file)
}

/// Reads a database with its password, and key file where it needs one.
///
/// # Errors
/// As [`ask_and_read`]; what it costs is not looked at.
fn read(bytes: &[u8], password: &Secret, key_file: Option<&[u8]>) -> Result<(Vec<Found>, Vec<LeftOut>), Failure> {
    let database = Database::parse(bytes, key(password, key_file)?).map_err(|error| match error {
        // In KDBX 3 what a wrong password makes of the text ends in the cipher before the check.
        DatabaseOpenError::Key(_) | DatabaseOpenError::Cryptography(_) => Failure::new(
            Outcome::BadInput,
            "kdbx_password",
            "the database does not open with this password and key file",
        )
        .hint("type the password of the KeePass database; name its key file with --key-file if it has one"),
        _ => not_read(Format::Kdbx, "it is damaged, or of a version that is not known"),
    })?;
    let mut reader = Reader {
        bin: database.recycle_bin().map(|group| group.id()),
        found: Vec::new(),
        left_out: Vec::new(),
    };
    reader.group(&database.root(), "");
    Ok((reader.found, reader.left_out))
}

fn too_much(costs: &Costs) -> Failure {
    match costs {
        Costs::Damaged => not_read(Format::Kdbx, &costs.to_string()),
        Costs::TooMuch { .. } => Failure::new(
            Outcome::BadInput,
            "kdbx_cost",
            format!("opening this database could take the whole machine: {costs}"),
        )
        .hint("open it in KeePass, lower its key derivation (database settings, security), save it, and import that"),
    }
}

fn key(password: &Secret, key_file: Option<&[u8]>) -> Result<DatabaseKey, Failure> {
    let mut key = DatabaseKey::new();
    // An empty password and none at all are two things; a database with a key file has none as a rule.
    if !(password.is_empty() && key_file.is_some()) {
        let text = str::from_utf8(password.expose()).map_err(|_| not_read(Format::Kdbx, "its password is not UTF-8"))?;
        key = key.with_password(text);
    }
    if let Some(mut file) = key_file {
        key = key
            .with_keyfile(&mut file)
            .map_err(|_| not_read(Format::Kdbx, "the key file cannot be read"))?;
    }
    Ok(key)
}

struct Reader {
    bin: Option<keepass::db::GroupId>,
    found: Vec<Found>,
    left_out: Vec<LeftOut>,
}

impl Reader {
    fn group(&mut self, group: &GroupRef<'_>, path: &str) {
        for entry in group.entries() {
            self.entry(&entry, path);
        }
        for below in group.groups() {
            let path = format!("{path}{} / ", below.name);
            if self.bin == Some(below.id()) {
                self.leave(path.trim_end_matches(" / ").to_owned(), "it is the recycle bin");
            } else {
                self.group(&below, &path);
            }
        }
    }

    fn entry(&mut self, entry: &EntryRef<'_>, path: &str) {
        let title = entry.get_title().filter(|title| !title.is_empty()).unwrap_or("untitled");
        let place = format!("{path}{title}");
        for (name, _) in entry.attachments_named() {
            self.leave(format!("{place}: {name}"), "attachments are files, not secrets");
        }
        let mut names: Vec<_> = entry.fields.keys().map(String::as_str).collect();
        names.sort_unstable();
        let is_one_time = |name: &str| ONE_TIME.iter().any(|known| name.to_lowercase().starts_with(known));
        for name in names.iter().filter(|name| is_one_time(name)) {
            self.leave(
                format!("{place}: {name}"),
                "one-time codes are a second factor, to be kept apart from the password",
            );
        }
        if entry.get(fields::NOTES).is_some_and(|notes| !notes.is_empty()) {
            self.leave(format!("{place}: {}", fields::NOTES), "notes are left where they are");
        }
        let mut empty = true;
        for name in names {
            let Some(field) = entry.fields.get(name).filter(|field| !field.get().is_empty() && !is_one_time(name)) else {
                continue;
            };
            // Whatever KeePass hides is a secret; the password is one even where its hiding was switched off.
            if name != fields::PASSWORD && (!field.is_protected() || fields::KNOWN_FIELDS.contains(&name)) {
                continue;
            }
            empty = false;
            let (place, own) = match name {
                fields::PASSWORD => (place.clone(), title.to_owned()),
                _ => (format!("{place}: {name}"), format!("{title}.{name}")),
            };
            self.found.push(Found {
                place,
                name: own,
                value: Zeroizing::new(field.get().as_bytes().to_vec()),
            });
        }
        if empty {
            self.leave(place, "it has no secret in it");
        }
    }

    fn leave(&mut self, what: String, why: &'static str) {
        self.left_out.push(LeftOut { what, why });
    }
}
