//! The folder that an agent works in: its task file is read there and nowhere else.
//!
//! The agent may write in this folder, and this process reads more than the agent may. So a task file that is a link is not followed, and
//! what is wrong in one is said without its words: otherwise a link to somebody's key file would be read out line by line.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, lstat, open, openat};
use rustix::io::Errno;

use crate::lease::task::{self, LARGEST_FILE, Task, TaskError};
use crate::paths::Places;
use crate::sys::account;
use crate::sys::file::read_up_to;
use crate::wire::request::TaskAsk;
use crate::wire::{Failure, Outcome};

/// The name of a task file.
const TASK_FILE: &str = "touchlease.toml";

/// See the module.
#[derive(Debug)]
pub struct Workspace {
    folder: PathBuf,
    handle: OwnedFd,
    /// Why commands cannot be confined to it.
    too_wide: Option<String>,
}

/// A task file as it was read.
#[derive(Debug)]
pub struct TaskFile(String);

impl Workspace {
    /// The folder `named`, or the present one.
    ///
    /// # Errors
    /// It is not there.
    pub fn open(named: Option<&Path>, places: &Places, vault: Option<&Path>) -> Result<Self, Failure> {
        let unopened = |error: std::io::Error| {
            Failure::new(Outcome::BadInput, "workspace", format!("the workspace cannot be opened: {error}"))
                .hint("name the folder that the agent works in: touchlease mcp --workspace FOLDER")
        };
        let folder = match named {
            Some(named) => named.canonicalize(),
            None => std::env::current_dir().and_then(|folder| folder.canonicalize()),
        };
        let folder = folder.map_err(unopened)?;
        let handle = open(&folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|error| unopened(error.into()))?;
        // The requester's folder in a prompt is this one.
        std::env::set_current_dir(&folder).map_err(unopened)?;
        let own: Vec<PathBuf> = [
            Some(&*places.state),
            Some(&places.config),
            Some(&places.vault),
            Some(&places.runtime),
            vault,
        ]
        .into_iter()
        .flatten()
        .map(|path| path.canonicalize().unwrap_or_else(|_| path.to_owned()))
        .collect();
        // What a variable says may be another folder than the one that the user's programs read.
        let homes = [std::env::home_dir(), account::home()].into_iter().flatten();
        let homes: Vec<PathBuf> = homes.map(|home| home.canonicalize().unwrap_or(home)).collect();
        let too_wide = too_wide(&folder, &own, &homes);
        Ok(Self { folder, handle, too_wide })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder itself, whatever its name leads to by now.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Whether a command can be confined to it, with this vault kept out of it too.
    ///
    /// # Errors
    /// It holds what no command may get at, or is no longer where it was: what was judged is a place, and what is confined to is a folder.
    pub fn confines(&self, vault: &Path) -> Result<(), Failure> {
        if !self.is_in_its_place() {
            let message = format!(
                "the workspace is no longer {}: that was renamed, or leads elsewhere",
                self.folder.display()
            );
            return Err(Failure::new(Outcome::Refused, "workspace_moved", message)
                .hint("put the folder back, or start the server anew in the folder where the work is: touchlease mcp --workspace FOLDER"));
        }
        let why = self.too_wide.clone().or_else(|| too_wide(&self.folder, &[vault.to_owned()], &[]));
        let Some(why) = why else { return Ok(()) };
        let message = format!("commands cannot be confined to {}: {why}", self.folder.display());
        Err(Failure::new(Outcome::Refused, "workspace_too_wide", message)
            .hint("start the agent in the project's folder, or name it: touchlease mcp --workspace FOLDER"))
    }

    fn is_in_its_place(&self) -> bool {
        let same = |one: &Stat, other: &Stat| (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino);
        let seen = (fstat(&self.handle), lstat(&self.folder), self.folder.canonicalize());
        matches!(seen, (Ok(held), Ok(named), Ok(real)) if same(&held, &named) && real == self.folder)
    }

    /// Reads the task file.
    ///
    /// # Errors
    /// There is none, or it is no file that is read here.
    pub fn task_file(&self) -> Result<TaskFile, Failure> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let unread = |why: &str| {
            let message = format!("{TASK_FILE} of {} {why}", self.folder.display());
            Failure::new(Outcome::BadInput, "task_file", message).hint(task::EXAMPLE)
        };
        let file = openat(&self.handle, TASK_FILE, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => Failure::new(
                Outcome::BadInput,
                "no_task_file",
                format!("there is no {TASK_FILE} in {}", self.folder.display()),
            )
            .hint(task::EXAMPLE),
            Errno::LOOP => unread("is a link, which is not followed"),
            error => unread(&format!("cannot be opened: {error}")),
        })?;
        if !fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
            return Err(unread("is no file"));
        }
        let bytes = read_up_to(File::from(file), LARGEST_FILE).map_err(|error| unread(&format!("cannot be read: {error}")))?;
        let text = str::from_utf8(&bytes).map_err(|_| unread("is no text"))?;
        Ok(TaskFile(text.to_owned()))
    }
}

impl TaskFile {
    /// Names of its tasks.
    ///
    /// # Errors
    /// It is no task file.
    pub fn names(&self) -> Result<Vec<String>, Failure> {
        Task::names(&self.0).map_err(|error| wrong(&error))
    }

    /// One of its tasks.
    ///
    /// # Errors
    /// It is no task file, or has no such task.
    pub fn task(&self, name: &str) -> Result<Task, Failure> {
        Task::parse(&self.0, name).map_err(|error| wrong(&error))
    }

    /// What the daemon is told of it.
    pub fn ask(&self, name: &str) -> TaskAsk {
        TaskAsk {
            name: name.into(),
            file: self.0.clone(),
        }
    }
}

/// What is wrong, without the file's own words: it may be none of the agent's to read.
fn wrong(error: &TaskError) -> Failure {
    let said = match error {
        TaskError::Form(error) => format!("{TASK_FILE} is no task file: {}", place(error)),
        error => error.to_string(),
    };
    Failure::new(Outcome::BadInput, "task", said).hint(task::EXAMPLE)
}

/// Where it is wrong: a parser's message may repeat what stands there.
fn place(error: &toml::de::Error) -> String {
    match error.span() {
        Some(span) => format!("it is wrong at byte {}", span.start),
        None => "a member is missing, unknown or of another kind".into(),
    }
}

/// Why a command that may write to all of `folder` could write to what is not the agent's.
fn too_wide(folder: &Path, own: &[PathBuf], homes: &[PathBuf]) -> Option<String> {
    if folder.parent().is_none() {
        return Some("it is the root of all files".into());
    }
    if homes.iter().any(|home| home.starts_with(folder)) {
        return Some("your home folder is in it".into());
    }
    // What is in the root itself, and folders of programs of many users.
    let shared = ["/dev/shm", "/usr/local", "/usr/local/bin", "/var/lib", "/var/tmp"];
    if folder.parent() == Some(Path::new("/")) || shared.iter().any(|shared| folder == Path::new(shared)) {
        return Some("it is a folder of the system".into());
    }
    if homes.iter().filter_map(|home| folder.strip_prefix(home).ok()).any(is_obeyed) {
        return Some("programs of yours run what is in it, or take keys and settings from it".into());
    }
    let within = |path: &&PathBuf| path.starts_with(folder) || folder.starts_with(path);
    own.iter()
        .find(within)
        .map(|path| format!("{}, which is touchlease's own, is in it or around it", path.display()))
}

/// Whether a folder of the home, by its way from there, is one of settings, keys or programs. A project may lie deeper (worktrees of agents do).
fn is_obeyed(within: &Path) -> bool {
    let settings = within.components().count() == 1 && within.as_os_str().as_bytes().starts_with(b".");
    let whole = ["bin", ".local/bin", ".ssh", ".gnupg", ".config/autostart", ".config/systemd"];
    settings || whole.iter().any(|folder| within.starts_with(folder))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const FILE: &str = "[task.deploy]\nabout = \"Deploy\"\n[[task.deploy.grant]]\nsecret = \"prod/A\"\nvia = \"env\"\nenv = \"A\"\n";

    fn workspace(folder: &Path) -> Workspace {
        Workspace {
            folder: folder.into(),
            handle: open(folder, OFlags::DIRECTORY, Mode::empty()).unwrap(),
            too_wide: None,
        }
    }

    #[test]
    fn t42_a_task_file_that_is_a_link_or_none_is_not_read_and_nothing_of_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("key");
        fs::write(&secret, "AKIA-CANARY = [").unwrap();
        let place = folder.path().join(TASK_FILE);
        let said = || {
            let read = workspace(folder.path()).task_file().and_then(|file| file.names());
            let failure = read.unwrap_err();
            format!("{}: {} {:?}", failure.reason, failure.message, failure.hint)
        };
        assert!(said().starts_with("no_task_file: "));
        symlink(&secret, &place).unwrap();
        assert!(said().contains("is a link"), "{}", said());
        fs::remove_file(&place).unwrap();
        // A hard link cannot be told from a file: what is wrong with it is said without its words.
        fs::hard_link(&secret, &place).unwrap();
        assert!(said().starts_with("task: ") && !said().contains("CANARY"), "{}", said());
        fs::remove_file(&place).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &place, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(said().contains("is no file"), "{}", said());
        fs::remove_file(&place).unwrap();
        fs::write(&place, FILE).unwrap();
        let file = workspace(folder.path()).task_file().unwrap();
        assert_eq!(file.names().unwrap(), ["deploy"]);
        assert_eq!(file.task("deploy").unwrap().grants.len(), 1);
        fs::write(&place, "x".repeat(LARGEST_FILE + 1)).unwrap();
        assert!(said().starts_with("task_file: "), "{}", said());
    }

    #[test]
    fn t24_a_workspace_whose_name_leads_elsewhere_by_now_confines_nothing() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (outer, other) = (root.join("outer"), root.join("other"));
        for folder in [&outer, &other] {
            fs::create_dir_all(folder.join("work")).unwrap();
        }
        let place = outer.join("work");
        let workspace = workspace(&place);
        let judged = || workspace.confines(Path::new("/vault")).map_err(|failure| failure.reason);
        assert_eq!(judged(), Ok(()));
        fs::rename(&outer, root.join("moved")).unwrap();
        assert_eq!(judged(), Err("workspace_moved".into()));
        // A link to the folder itself, one that leads elsewhere, and another folder of the name.
        symlink(root.join("moved"), &outer).unwrap();
        assert_eq!(judged(), Err("workspace_moved".into()));
        fs::remove_file(&outer).unwrap();
        symlink(&other, &outer).unwrap();
        assert_eq!(judged(), Err("workspace_moved".into()));
        fs::remove_file(&outer).unwrap();
        fs::create_dir_all(&place).unwrap();
        assert_eq!(judged(), Err("workspace_moved".into()));
    }

    #[test]
    fn t24_a_workspace_that_holds_the_home_the_system_or_our_own_things_confines_nothing() {
        let own = [PathBuf::from("/home/anna/.local/state/touchlease"), "/home/anna/src/vault".into()];
        let homes = ["/srv/sandbox/home", "/home/anna"].map(PathBuf::from);
        let wide = |folder: &str| too_wide(Path::new(folder), &own, &homes).is_some();
        for folder in [
            "/",
            "/home",
            "/home/anna",
            "/usr",
            "/home/anna/.local",
            "/home/anna/src",
            "/home/anna/src/vault/records",
            "/tmp",
            "/srv",
            "/var/tmp",
            "/dev/shm",
            "/home/anna/.ssh",
            "/home/anna/.config",
            "/home/anna/.gnupg/private-keys-v1.d",
            "/home/anna/bin",
            "/home/anna/.local/bin/tools",
        ] {
            assert!(wide(folder), "{folder}");
        }
        for folder in [
            "/home/anna/src/app",
            "/home/anna/.codex/worktrees/app",
            "/tmp/work",
            "/srv/app",
            "/usr/src/app",
        ] {
            assert!(!wide(folder), "{folder}");
        }
    }
}
