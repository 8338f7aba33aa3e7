//! Homes that operations start from, and the keys of all of them.

use std::{
    error::Error,
    fmt::Debug,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use touchlease::{
    clock::{Boot, Clock, Sleep, SystemClock, Wall},
    config::Config,
    device::broker::Processes,
};

use super::{
    operation::{Lost, Operation, Start},
    state::State,
};
use crate::{
    conformance::{Rig, rigs::Plugged},
    harness::Home,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where what a daemon says goes, in a home, when a command started it.
const DAEMONS_LOG: &str = "state/touchlease/daemon.log";
/// In the working folder of a home.
pub(super) const ARCHIVE: &str = "archive";
/// What is imported, in the working folder of a home.
pub(super) const MANY: &str = "many.env";
/// What is exported, from the working folder of a home: beside the vault, where a power cut meets it.
pub(super) const EXPORT: &str = "../data/export.json";

/// Two keys that are always touched, and homes to start from.
pub struct Bench {
    rig: Plugged,
    homes: Vec<(Start, Home)>,
    /// The recovery code of all of them.
    code: String,
    /// The first digits of the record that is kept of [`Start::Contested`].
    kept: String,
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
        let mut bench = Self {
            rig,
            homes: vec![],
            code,
            kept: String::new(),
        };
        done(&one, &["put", "prod/A", "--from-file", "old"])?;
        done(&one, &["put", "prod/B", "--from-file", "old"])?;
        done(&one, &["backup", "create", ARCHIVE])?;
        stop(&one)?;
        bench.homes.push((Start::OneKey, one));
        let putting = |name| ["put", name, "--from-file", "old"];
        bench.apart(Start::Heads, &putting("prod/C"), &putting("prod/D"))?;
        bench.apart(Start::Contested, &putting("prod/A"), &["put", "prod/A", "--from-file", "new"])?;
        bench.kept = bench.first_of_two()?;
        let adding = |name| ["scope", "add", name, "--key", "blue"];
        bench.apart(Start::Fork, &adding("one"), &adding("two"))?;
        bench.older(&[&putting("prod/C"), &adding("dev")])?;
        bench.clock_back()?;
        spare.plug()?;
        bench.follow(Start::TwoKeys, Start::OneKey, &["key", "add", "spare", "--touch-only"])?;
        spare.pull()?;
        bench.follow(Start::TwoScopes, Start::TwoKeys, &["scope", "add", "dev", "--key", "blue"])?;
        Ok(bench)
    }

    /// Keys that are always touched.
    pub(super) fn rig(&self) -> &Plugged {
        &self.rig
    }

    /// The recovery code of all vaults.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// The first digits of the record that a person keeps where two machines wrote one secret.
    pub(super) fn kept(&self) -> &str {
        &self.kept
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

    /// The record that `merge` shows first of a secret that two machines wrote.
    fn first_of_two(&self) -> Result<String> {
        let home = self.home(Start::Contested)?;
        let said: Value = serde_json::from_slice(&home.run(["merge", "--json"])?.stdout)?;
        stop(&home)?;
        let record = said["merges"][0]["contested"][0]["versions"][0]["record"].as_str();
        let digits = record.and_then(|record| record.get(..8));
        Ok(digits.ok_or_else(|| format!("nothing is contested: {said}"))?.to_owned())
    }

    /// The vault of before these commands, on a machine that remembers what they made of it.
    fn older(&mut self, commands: &[&[&str]]) -> Result<()> {
        let (before, home) = (self.home(Start::OneKey)?, self.home(Start::OneKey)?);
        for command in commands {
            done(&home, command)?;
        }
        stop(&home)?;
        fs::remove_dir_all(home.places()?.vault)?;
        copy(&["data"], &before, &home)?;
        self.homes.push((Start::Older, home));
        Ok(())
    }

    /// A machine whose clock was ahead, as a person said that it was right.
    fn clock_back(&mut self) -> Result<()> {
        let home = self.home(Start::OneKey)?;
        let reach = Processes::new(self.rig.program().to_owned());
        let daemon = home.daemon_with(reach, Arc::new(Ahead), Config::default())?;
        done(&home, &["audit", "accept-clock"])?;
        drop(daemon);
        fs::remove_file(home.places()?.socket())?;
        self.homes.push((Start::ClockBack, home));
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
            _ => copy(&["data", "state"], find(start).ok_or("no such home was made")?, &home)?,
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
        worked(&operation.arguments(self), operation.run(self, home, Lost::Process)?).map(drop)
    }
}

/// A clock that is a month ahead.
struct Ahead;

impl Clock for Ahead {
    fn wall(&self) -> Wall {
        SystemClock.wall() + Duration::from_secs(30 * 24 * 3600)
    }

    fn boot(&self) -> Boot {
        SystemClock.boot()
    }

    fn sleep(&self, boot: Boot, wall: Wall) -> Sleep {
        // Nothing that waits here ends by the wall clock first.
        SystemClock.sleep(boot, wall)
    }
}

fn home(rig: &Plugged) -> Result<Home> {
    let home = Home::new(rig.program())?;
    fs::write(home.work().join("old"), "old")?;
    fs::write(home.work().join("new"), "new")?;
    fs::write(home.work().join(MANY), "ONE=first\nTWO=second\nTHREE=third\n")?;
    Ok(home)
}

fn copy(folders: &[&str], from: &Home, to: &Home) -> Result<()> {
    let folders = folders.iter().map(|name| from.path().join(name));
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

fn worked<A: Debug>(arguments: &[A], (status, shown): (ExitStatus, String)) -> Result<String> {
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
    let leader_is_over = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'));
    // Its other thread may be in the middle of a call still, and keep a disk.
    leader_is_over && fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count) <= 1
}

/// Where a daemon's output would go: a command that cannot have this starts none.
pub(super) fn keep_from_starting_a_daemon(home: &Home) -> Result<()> {
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
