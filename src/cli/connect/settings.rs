//! A file of settings that somebody else owns: read, changed in one place, shown, written.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::super::new_file::NewFile;
use super::super::ui::Ui;
use super::shown;
use crate::encoding::lines;
use crate::encoding::plain::shell_word;
use crate::finding::quoted;
use crate::sys::file::read_text;
use crate::wire::{Failure, Outcome};

/// Largest file that is looked at, in bytes: Claude Code keeps whole histories in its own.
const LARGEST: usize = 64 << 20;
/// Copies of a file as it was that there may be.
const MOST_BACKUPS: u32 = 1000;

/// Why a change cannot be made: what stands in its place.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It is no file of this form.
    #[error("{0}")]
    Form(String),
    /// Something of another kind stands where ours would.
    #[error("`{0}` is there already, and is of another kind")]
    Kind(&'static str),
}

/// A form of settings.
pub trait Settings: Sized {
    /// What it is called.
    const FORM: &'static str;

    /// Reads it; an empty text is empty settings.
    fn parse(text: &str) -> Result<Self, SettingsError>;
    /// Puts the server there, and leaves it if it is.
    fn put_server(&mut self, program: &str, arguments: &[String]) -> Result<(), SettingsError>;
    /// Takes it away, if it is there.
    fn remove_server(&mut self) -> Result<(), SettingsError>;
    /// Puts the hook there, in place of an older one of ours.
    fn put_hook(&mut self, command: &str) -> Result<(), SettingsError>;
    /// Takes it away.
    fn remove_hook(&mut self) -> Result<(), SettingsError>;
    /// Whether the server and the hook are there.
    fn has(&self) -> (bool, bool);
    /// By which setting no hook at all is run.
    fn hooks_off(&self) -> Option<&'static str>;
    /// As it is written.
    fn text(&self) -> String;
}

/// Whether a hook's command is ours, wherever the program lay when it was written: one word of a shell's, whose file has our name.
pub fn is_our_hook(command: &str) -> bool {
    ["codex", "claude"].iter().any(|client| {
        let word = command.strip_suffix(client).and_then(|rest| rest.strip_suffix(" hook "));
        word.is_some_and(|word| {
            let inside = word.strip_prefix('\'').and_then(|word| word.strip_suffix('\''));
            let program = inside.map_or_else(|| word.to_owned(), |inside| inside.replace(r"'\''", "'"));
            shell_word(&program) == word && program.rsplit('/').next() == Some(super::NAME)
        })
    })
}

/// Whether the server and the hook are in a file, which may not be there.
///
/// # Errors
/// It cannot be read, or is not of its form.
pub fn has<S: Settings>(path: &Path) -> Result<(bool, bool), SettingsError> {
    match read_text(path, LARGEST) {
        Ok(text) => Ok(S::parse(&text)?.has()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((false, false)),
        Err(error) => Err(SettingsError::Form(error.to_string())),
    }
}

/// By which setting of a file no hook is run; nothing where it is not there, or is not of its form.
pub fn hooks_off<S: Settings>(path: &Path) -> Option<&'static str> {
    S::parse(&read_text(path, LARGEST).ok()?).ok()?.hooks_off()
}

/// One file, and what becomes of it.
pub struct Edit {
    /// As it was named.
    named: PathBuf,
    /// Where it lies, behind links.
    place: PathBuf,
    before: Option<String>,
    after: String,
}

impl Edit {
    /// Reads a file that may not be there.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn read(named: &Path) -> Result<Self, Failure> {
        let unread = |why: &str| {
            Failure::new(
                Outcome::BadInput,
                "client_settings",
                format!("{} cannot be read: {why}", named.display()),
            )
            .hint(format!("nothing was changed; look at it: ls -l {}", quoted(named)))
        };
        let place = match named.canonicalize() {
            Ok(place) => place,
            Err(error) if error.kind() == ErrorKind::NotFound && named.symlink_metadata().is_err() => named.to_owned(),
            Err(error) => return Err(unread(&format!("it is a link to nowhere, or not to be reached: {error}"))),
        };
        // A file that is written anew is ours, and this one's owner would not have it any more.
        if let Ok(found) = fs::metadata(&place)
            && found.uid() != geteuid().as_raw()
        {
            return Err(unread(&format!("it belongs to uid {}, not to you", found.uid())));
        }
        let before = match read_text(&place, LARGEST) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(unread(&error.to_string())),
        };
        Ok(Self {
            named: named.to_owned(),
            place,
            after: before.clone().unwrap_or_default(),
            before,
        })
    }

    /// Makes one change more.
    ///
    /// # Errors
    /// The file is not of its form. Nothing was written.
    pub fn change<S: Settings>(&mut self, change: impl FnOnce(&mut S) -> Result<(), SettingsError>) -> Result<(), Failure> {
        let changed = || -> Result<String, SettingsError> {
            let mut settings = S::parse(&self.after)?;
            change(&mut settings)?;
            Ok(settings.text())
        };
        let mut changed = changed().map_err(|error| {
            Failure::new(
                Outcome::BadInput,
                "client_settings",
                format!("{} is not changed: as {} it cannot be: {error}", self.named.display(), S::FORM),
            )
            .hint(format!(
                "nothing was changed; mend it first: \"${{EDITOR:-vi}}\" {}",
                quoted(&self.named)
            ))
        })?;
        if self.before.is_none() && !changed.is_empty() && !changed.ends_with('\n') {
            changed.push('\n');
        }
        self.after = changed;
        Ok(())
    }

    /// Whether anything is to be written.
    pub fn changes(&self) -> bool {
        match &self.before {
            Some(before) => *before != self.after,
            // No file is made for what is not there.
            None => !self.after.trim().is_empty() && self.after.trim() != "{}",
        }
    }

    pub fn path(&self) -> &Path {
        &self.named
    }

    /// What changes. What stands around it is left out, on the same line too: other programs' settings have tokens in them.
    pub fn show(&self, ui: Ui) {
        let new = if self.before.is_none() { " (new)" } else { "" };
        ui.line(&format!("{}{new}", self.named.display()));
        // A project may have a link in it to settings that are not the project's.
        let is_link = |place: &Path| place.symlink_metadata().is_ok_and(|found| found.is_symlink());
        if self.named.ancestors().take(2).any(is_link) {
            ui.line(&format!("  which is {}", self.place.display()));
        }
        for change in lines::changes(self.before.as_deref().unwrap_or_default(), &self.after) {
            ui.line(&format!("  line {}", change.at));
            let (gone, came) = shown::parts(&change);
            gone.iter().for_each(|line| ui.line(&format!("  - {line}")));
            came.iter().for_each(|line| ui.line(&format!("  + {line}")));
        }
    }

    /// Writes it in one step, with the permissions that it had, and keeps a copy of it as it was: where that is.
    ///
    /// # Errors
    /// Somebody else changed it since it was read; the system refuses. Nothing of it is half there.
    pub fn write(&self) -> Result<Option<PathBuf>, Failure> {
        let unwritten = |error: &io::Error| {
            Failure::new(
                Outcome::BadInput,
                "client_settings",
                format!("{} cannot be written: {error}", self.named.display()),
            )
            .hint(format!(
                "look at its folder: ls -ld {}",
                quoted(self.place.parent().unwrap_or(Path::new("/")))
            ))
        };
        let folder = self.place.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| unwritten(&error))?;
        let backup = self.before.as_deref().map(|before| self.keep(before)).transpose();
        let backup = backup.map_err(|error| unwritten(&error))?;
        let now = match read_text(&self.place, LARGEST) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(unwritten(&error)),
        };
        if now != self.before {
            return Err(Failure::new(
                Outcome::BadInput,
                "client_settings",
                format!(
                    "{} was changed by another program just now; it is left as it is",
                    self.named.display()
                ),
            )
            .hint("end the agent, which writes to it too, and run the command again"));
        }
        self.replace(folder).map_err(|error| unwritten(&error))?;
        Ok(backup)
    }

    /// Beside the file that is really written, under a name that nobody has.
    fn keep(&self, before: &str) -> io::Result<PathBuf> {
        let name = self.place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for number in 1..=MOST_BACKUPS {
            let path = self.place.with_file_name(format!("{name}.before-touchlease-{number}"));
            match write_new(&path, before.as_bytes()) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(
            "there are too many copies of it: remove those that you do not need",
        ))
    }

    fn replace(&self, folder: &Path) -> io::Result<()> {
        let mode = match fs::metadata(&self.place) {
            Ok(meta) => meta.permissions(),
            Err(_) => Permissions::from_mode(0o600),
        };
        let name = self.place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let temporary = self.place.with_file_name(format!("{name}.touchlease-{}", std::process::id()));
        let written = write_new(&temporary, self.after.as_bytes())
            .and_then(|()| fs::set_permissions(&temporary, mode))
            .and_then(|()| fs::rename(&temporary, &self.place))
            .and_then(|()| File::open(folder)?.sync_all());
        if written.is_err() {
            // It is ours by its name, and half of it is of no use.
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes)?;
    file.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::super::{claude::Json, codex::Toml};
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_linked_file_is_changed_where_it_lies_and_keeps_its_permissions_and_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("dotfiles.toml"), folder.path().join("config.toml"));
        fs::write(&real, "# mine\nmodel = \"x\"\n").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        symlink("dotfiles.toml", &link).unwrap();
        let mut edit = Edit::read(&link).unwrap();
        edit.change::<Toml>(|toml| toml.put_server("/bin/touchlease", &["mcp".into()]))
            .unwrap();
        let backup = edit.write().unwrap().unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().starts_with("# mine\nmodel = \"x\"\n"));
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_to_string(&backup).unwrap(), "# mine\nmodel = \"x\"\n");
        assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            names(folder.path()),
            ["config.toml", "dotfiles.toml", "dotfiles.toml.before-touchlease-1"]
        );
        // A second change keeps a second copy.
        let mut edit = Edit::read(&link).unwrap();
        edit.change::<Toml>(Toml::remove_server).unwrap();
        assert!(edit.write().unwrap().unwrap().ends_with("dotfiles.toml.before-touchlease-2"));
        assert_eq!(fs::read_to_string(&real).unwrap(), "# mine\nmodel = \"x\"\n");
    }

    #[test]
    fn a_broken_file_a_link_to_nowhere_and_one_that_changes_meanwhile_are_left_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        fs::write(&path, "{ \"a\": ").unwrap();
        let mut edit = Edit::read(&path).unwrap();
        let failure = edit.change::<Json>(|json| json.put_hook("touchlease hook claude")).unwrap_err();
        assert_eq!(failure.reason, "client_settings");
        assert!(!edit.changes());
        fs::write(&path, "{}").unwrap();
        let mut edit = Edit::read(&path).unwrap();
        edit.change::<Json>(|json| json.put_hook("touchlease hook claude")).unwrap();
        fs::write(&path, "{\"theirs\": 1}").unwrap();
        assert!(edit.write().unwrap_err().message.contains("by another program"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"theirs\": 1}");
        let link = folder.path().join("link");
        symlink("nowhere", &link).unwrap();
        assert!(Edit::read(&link).is_err());
    }

    #[test]
    fn a_file_that_is_not_there_is_made_private_and_none_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/settings.json");
        let mut edit = Edit::read(&path).unwrap();
        edit.change::<Json>(Json::remove_hook).unwrap();
        assert!(!edit.changes());
        edit.change::<Json>(|json| json.put_hook("touchlease hook claude")).unwrap();
        assert_eq!(edit.write().unwrap(), None);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&path).unwrap().ends_with("}\n"));
    }

    #[test]
    fn a_hook_is_ours_by_its_program_and_its_words() {
        for ours in [
            "touchlease hook codex",
            "/a/touchlease hook claude",
            "'/my programs/touchlease' hook codex",
            r"'/it'\''s/touchlease' hook claude",
        ] {
            assert!(is_our_hook(ours), "{ours}");
        }
        for other in [
            "touchlease mcp",
            "guard hook codex",
            "touchlease hook",
            "echo touchlease",
            " hook codex",
            // Another program whose name ends so, or a shell's line that has ours in it somewhere.
            "/a/nottouchlease hook codex",
            "nottouchlease hook claude",
            "/a/touchlease/ hook codex",
            "echo /a/touchlease hook codex",
            "true || touchlease hook codex",
            "'true || touchlease' hook codex",
            "$(x)/touchlease hook codex",
            "'touchlease hook codex",
        ] {
            assert!(!is_our_hook(other), "{other}");
        }
    }
}
