//! The operations that are cut, and what they start from.

use std::{
    error::Error,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use touchlease::audit::log::GROUPED_FOR;

use super::state::State;
use crate::{
    conformance::{Rig, rigs::Plugged},
    harness::{Home, Terminal},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where what a daemon says goes, in a home, when a command started it.
const DAEMONS_LOG: &str = "state/touchlease/daemon.log";

/// What an operation starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// No vault.
    Nothing,
    /// A vault with the key "blue", and the secrets A and B.
    OneKey,
    /// The same with the key "spare".
    TwoKeys,
    /// The same with the empty scope `dev`, into which "spare" was not let.
    TwoScopes,
    /// [`Start::OneKey`], and the secrets C and D that two machines put apart from each other, merged and not joined.
    Heads,
    /// [`Start::OneKey`], and a roster of two ends: two machines made a scope each.
    Fork,
    /// No vault, but the archive of one.
    Archive,
}

impl Start {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Nothing,
        Self::OneKey,
        Self::TwoKeys,
        Self::TwoScopes,
        Self::Heads,
        Self::Fork,
        Self::Archive,
    ];
}

/// What a fault takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The daemon; a command that has more to ask may start another one.
    Process,
    /// All there is: nothing starts again before somebody looks.
    Power,
}

/// A command that changes vault, roster or log.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// Its name in the output.
    pub name: &'static str,
    /// What it starts from.
    pub start: Start,
    /// How many calls it had when this was written, and a few less: other programs' code decides over some. A fall means that the
    /// trace lost sight of them.
    pub calls: usize,
    /// The command line.
    pub arguments: &'static [&'static str],
}

impl Operation {
    /// Whether the command line does it without the daemon.
    #[must_use]
    pub fn is_of_the_command(&self) -> bool {
        self.start == Start::Archive
    }

    /// The home that it begins with, where vault and state lie on disks of their own.
    #[must_use]
    pub fn begins_with_files(&self) -> Start {
        if self.is_of_the_command() { Start::Archive } else { Start::Nothing }
    }

    /// What a person types while it runs: what is asked for, and the answer.
    fn typed(&self, bench: &Bench) -> Option<(&'static str, String)> {
        (self.name == "recover").then(|| ("recovery code (not shown): ", format!("{}\n", bench.code)))
    }

    /// Runs it on a terminal of this home. Gives its status and what was shown.
    ///
    /// # Errors
    /// It does not start, or does not end.
    pub fn run(&self, bench: &Bench, home: &Home, lost: Lost) -> Result<(ExitStatus, String)> {
        let [blue, _] = bench.rig.keys();
        // A key that was lost is not there when another one takes its place; it is afterwards, for a look at what was before.
        if self.name == "recover" {
            blue.pull()?;
        }
        let command = home.command(self.arguments);
        if lost == Lost::Power {
            keep_from_starting_a_daemon(home)?;
        }
        let ended = self.attend(bench, Terminal::start(&command)?);
        blue.plug()?;
        ended
    }

    /// The same on a terminal where it runs already.
    ///
    /// # Errors
    /// It does not end.
    pub fn attend(&self, bench: &Bench, mut screen: Terminal) -> Result<(ExitStatus, String)> {
        if let Some((question, answer)) = self.typed(bench)
            // One that was cut before it asks has ended.
            && screen.expect(question).is_ok()
        {
            screen.type_in(&answer)?;
        }
        Ok(screen.finish()?)
    }

    /// How long the daemon goes on after its answer: a lease's last lines are written together, a second later.
    #[must_use]
    pub fn goes_on_for(&self) -> Duration {
        match self.name {
            "lease" | "merge" => GROUPED_FOR + Duration::from_millis(500),
            _ => Duration::ZERO,
        }
    }
}

/// All of them.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "init",
        calls: 188,
        start: Start::Nothing,
        arguments: &["init", "--key", "blue", "--touch-only", "--scope", "prod"],
    },
    Operation {
        name: "put",
        calls: 130,
        start: Start::OneKey,
        arguments: &["put", "prod/A", "--from-file", "new"],
    },
    Operation {
        name: "edit",
        calls: 130,
        start: Start::OneKey,
        arguments: &["edit", "prod/B", "--max-uses", "3"],
    },
    Operation {
        name: "rm",
        calls: 108,
        start: Start::OneKey,
        arguments: &["rm", "prod/B"],
    },
    Operation {
        name: "lease",
        calls: 57,
        start: Start::OneKey,
        arguments: &["run", "--with", "prod/A", "--", "true"],
    },
    Operation {
        name: "key add",
        calls: 170,
        start: Start::OneKey,
        arguments: &["key", "add", "spare", "--touch-only"],
    },
    Operation {
        name: "key remove",
        calls: 210,
        start: Start::TwoKeys,
        arguments: &["key", "remove", "spare"],
    },
    Operation {
        name: "rotate",
        calls: 210,
        start: Start::TwoKeys,
        arguments: &["rotate", "prod", "--key", "blue"],
    },
    Operation {
        name: "new code",
        calls: 190,
        start: Start::TwoKeys,
        arguments: &["vault", "new-code", "--key", "blue"],
    },
    Operation {
        name: "scope add",
        calls: 154,
        start: Start::OneKey,
        arguments: &["scope", "add", "dev", "--key", "blue"],
    },
    Operation {
        name: "scope rename",
        calls: 104,
        start: Start::OneKey,
        arguments: &["scope", "rename", "prod", "live"],
    },
    Operation {
        name: "scope remove",
        calls: 147,
        start: Start::TwoScopes,
        arguments: &["scope", "remove", "dev"],
    },
    Operation {
        name: "key admit",
        calls: 162,
        start: Start::TwoScopes,
        arguments: &["key", "admit", "spare", "--scope", "dev"],
    },
    Operation {
        name: "recover",
        calls: 220,
        start: Start::OneKey,
        arguments: &["recover", "green", "--lost", "blue", "--touch-only"],
    },
    Operation {
        name: "merge",
        calls: 158,
        start: Start::Heads,
        arguments: &["run", "--with", "prod/A", "--", "true"],
    },
    Operation {
        name: "vault join",
        calls: 136,
        start: Start::Fork,
        arguments: &["vault", "join"],
    },
    Operation {
        name: "backup restore",
        calls: 121,
        start: Start::Archive,
        arguments: &["backup", "restore", ARCHIVE],
    },
];

/// In the working folder of a home.
const ARCHIVE: &str = "archive";

/// Two keys that are always touched, and homes to start from.
pub struct Bench {
    rig: Plugged,
    homes: Vec<(Start, Home)>,
    /// The recovery code of all of them.
    code: String,
}

impl Bench {
    /// Makes the homes.
    ///
    /// # Errors
    /// A key cannot be told; a command fails.
    pub fn new(rig: Plugged) -> Result<Self> {
        for key in rig.keys() {
            key.pull()?;
            key.reset()?;
            key.grant()?;
        }
        let [blue, spare] = rig.keys();
        blue.plug()?;
        let one = home(&rig)?;
        let shown = done(&one, &["init", "--key", "blue", "--touch-only", "--scope", "prod"])?;
        let is_code = |word: &&str| word.split('-').count() == 9 && word.split('-').all(|group| group.len() == 4);
        let code = shown
            .split_whitespace()
            .find(is_code)
            .ok_or("no recovery code is shown")?
            .to_owned();
        let mut bench = Self { rig, homes: vec![], code };
        done(&one, &["put", "prod/A", "--from-file", "old"])?;
        done(&one, &["put", "prod/B", "--from-file", "old"])?;
        done(&one, &["backup", "create", ARCHIVE])?;
        stop(&one)?;
        bench.homes.push((Start::OneKey, one));
        let putting = |name| ["put", name, "--from-file", "old"];
        bench.apart(Start::Heads, &putting("prod/C"), &putting("prod/D"))?;
        let adding = |name| ["scope", "add", name, "--key", "blue"];
        bench.apart(Start::Fork, &adding("one"), &adding("two"))?;
        spare.plug()?;
        bench.follow(Start::TwoKeys, Start::OneKey, &["key", "add", "spare", "--touch-only"])?;
        spare.pull()?;
        bench.follow(Start::TwoScopes, Start::TwoKeys, &["scope", "add", "dev", "--key", "blue"])?;
        Ok(bench)
    }

    fn follow(&mut self, start: Start, from: Start, command: &[&str]) -> Result<()> {
        let home = self.home(from)?;
        done(&home, command)?;
        stop(&home)?;
        self.homes.push((start, home));
        Ok(())
    }

    /// What a plain merge makes of the vaults of two machines: a file is gone where one of them removed it. The memory is the second's.
    fn apart(&mut self, start: Start, one: &[&str], two: &[&str]) -> Result<()> {
        let (before, other, home) = (self.home(Start::OneKey)?, self.home(Start::OneKey)?, self.home(Start::OneKey)?);
        for (home, command) in [(&other, one), (&home, two)] {
            done(home, command)?;
            stop(home)?;
        }
        let [before, theirs, ours] = [&before, &other, &home].map(|home| home.places().map(|places| places.vault));
        let (before, theirs, ours) = (before?, theirs?, ours?);
        for path in files(&before)? {
            if !theirs.join(&path).exists() && ours.join(&path).exists() {
                fs::remove_file(ours.join(&path))?;
            }
        }
        for path in files(&theirs)? {
            if !before.join(&path).exists() {
                fs::create_dir_all(ours.join(&path).parent().ok_or("a file has a folder")?)?;
                fs::copy(theirs.join(&path), ours.join(&path))?;
            }
        }
        self.homes.push((start, home));
        Ok(())
    }

    /// A home as `start` says.
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn home(&self, start: Start) -> Result<Home> {
        let home = home(&self.rig)?;
        let find = |start| self.homes.iter().find(|(found, _)| *found == start).map(|(_, home)| home);
        match start {
            Start::Nothing => {}
            Start::Archive => {
                let from = find(Start::OneKey).ok_or("no archive was made")?;
                fs::copy(from.work().join(ARCHIVE), home.work().join(ARCHIVE))?;
            }
            _ => copy(find(start).ok_or("no such home was made")?, &home)?,
        }
        Ok(home)
    }

    /// Has those keys plugged in that the operation needs: a vault is begun with the only one.
    ///
    /// # Errors
    /// A key cannot be told.
    pub fn plug(&self, operation: &Operation) -> Result<()> {
        let [_, spare] = self.rig.keys();
        match operation.name {
            "key add" | "key admit" | "recover" => spare.plug()?,
            _ => spare.pull()?,
        }
        Ok(())
    }

    /// States before and after an operation that nothing disturbs.
    ///
    /// # Errors
    /// It fails.
    pub fn both(&self, operation: &Operation) -> Result<(State, State)> {
        let home = self.home(operation.start)?;
        let before = State::of(&home)?;
        self.done(operation, &home)?;
        let after = State::of(&home)?;
        stop(&home)?;
        Ok((before, after))
    }

    /// Runs an operation that has to work.
    ///
    /// # Errors
    /// It does not.
    pub fn done(&self, operation: &Operation, home: &Home) -> Result<()> {
        worked(operation.arguments, operation.run(self, home, Lost::Process)?).map(drop)
    }
}

fn home(rig: &Plugged) -> Result<Home> {
    let home = Home::new(rig.program())?;
    fs::write(home.work().join("old"), "old")?;
    fs::write(home.work().join("new"), "new")?;
    Ok(home)
}

fn copy(from: &Home, to: &Home) -> Result<()> {
    let folders = ["data", "state"].map(|name| from.path().join(name));
    let copied = Command::new("cp").arg("-a").args(folders).arg(to.path()).status()?;
    copied.success().then_some(()).ok_or_else(|| "cp failed".into())
}

/// Paths of the files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut left) = (vec![], vec![folder.to_owned()]);
    while let Some(here) = left.pop() {
        for entry in fs::read_dir(here)? {
            let path = entry?.path();
            match path.is_dir() {
                true => left.push(path),
                false => found.push(path.strip_prefix(folder)?.to_owned()),
            }
        }
    }
    Ok(found)
}

/// A command that has to work. Gives what it showed.
///
/// # Errors
/// It does not.
pub fn done(home: &Home, arguments: &[&str]) -> Result<String> {
    worked(arguments, home.terminal(arguments)?.finish()?)
}

fn worked(arguments: &[&str], (status, shown): (ExitStatus, String)) -> Result<String> {
    match status.success() {
        true => Ok(shown),
        false => Err(format!("{arguments:?}: {status}\n{shown}").into()),
    }
}

/// Ends the daemon of this home, at once and without a goodbye.
///
/// # Errors
/// It cannot be told apart from another process.
pub fn stop(home: &Home) -> Result<()> {
    use rustix::process::{Signal, kill_process, test_kill_process};
    if let Ok(stream) = std::os::unix::net::UnixStream::connect(home.places()?.socket()) {
        let daemon = rustix::net::sockopt::socket_peercred(&stream)?.pid;
        kill_process(daemon, Signal::KILL)?;
        while test_kill_process(daemon).is_ok() && !is_zombie(daemon.as_raw_nonzero().get()) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Inside a process-id namespace nobody may reap it.
fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// Where a daemon's output would go: a command that cannot have this starts none.
fn keep_from_starting_a_daemon(home: &Home) -> Result<()> {
    let log = home.path().join(DAEMONS_LOG);
    let _ = fs::remove_file(&log);
    Ok(fs::DirBuilder::new().recursive(true).mode(0o700).create(log)?)
}

/// Lets commands start one again.
///
/// # Errors
/// The folder that stands there cannot be removed.
pub fn let_a_daemon_start(home: &Home) -> Result<()> {
    match fs::remove_dir(home.path().join(DAEMONS_LOG)) {
        // On a disk that has not seen it there is the log of before, or none.
        Err(error) if ![io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => Err(error.into()),
        _ => Ok(()),
    }
}
