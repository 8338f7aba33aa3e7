//! The operations that are cut, and what they start from.

use std::{error::Error, fs, process::Command, thread, time::Duration};

use touchlease::audit::log::GROUPED_FOR;

use super::state::State;
use crate::{
    conformance::{Rig, rigs::Plugged},
    harness::Home,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What an operation starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// No vault.
    Nothing,
    /// A vault with the key "blue", and the secrets A and B.
    OneKey,
    /// The same with the key "spare".
    TwoKeys,
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
    /// Waits until the daemon has done what it does after its answer: a lease's last lines are written together, a second later.
    pub fn linger(&self) {
        if self.name == "lease" {
            thread::sleep(GROUPED_FOR + Duration::from_millis(500));
        }
    }
}

/// All of them.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "init",
        calls: 180,
        start: Start::Nothing,
        arguments: &["init", "--key", "blue", "--touch-only", "--scope", "prod"],
    },
    Operation {
        name: "put",
        calls: 140,
        start: Start::OneKey,
        arguments: &["put", "prod/A", "--from-file", "new"],
    },
    Operation {
        name: "edit",
        calls: 150,
        start: Start::OneKey,
        arguments: &["edit", "prod/B", "--max-uses", "3"],
    },
    Operation {
        name: "rm",
        calls: 115,
        start: Start::OneKey,
        arguments: &["rm", "prod/B"],
    },
    Operation {
        name: "lease",
        calls: 60,
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
        calls: 100,
        start: Start::TwoKeys,
        arguments: &["rotate", "prod", "--key", "blue"],
    },
    Operation {
        name: "scope add",
        calls: 100,
        start: Start::OneKey,
        arguments: &["scope", "add", "dev", "--key", "blue"],
    },
];

/// Two keys that are always touched, and homes to start from.
pub struct Bench {
    rig: Plugged,
    one: Home,
    two: Home,
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
        for command in [
            &["init", "--key", "blue", "--touch-only", "--scope", "prod"][..],
            &["put", "prod/A", "--from-file", "old"],
            &["put", "prod/B", "--from-file", "old"],
        ] {
            done(&one, command)?;
        }
        stop(&one)?;
        let two = home(&rig)?;
        copy(&one, &two)?;
        spare.plug()?;
        done(&two, &["key", "add", "spare", "--touch-only"])?;
        stop(&two)?;
        Ok(Self { rig, one, two })
    }

    /// A home as `start` says.
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn home(&self, start: Start) -> Result<Home> {
        let home = home(&self.rig)?;
        match start {
            Start::Nothing => {}
            Start::OneKey => copy(&self.one, &home)?,
            Start::TwoKeys => copy(&self.two, &home)?,
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
            "key add" => spare.plug()?,
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
        done(&home, operation.arguments)?;
        let after = State::of(&home)?;
        stop(&home)?;
        Ok((before, after))
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

/// A command that has to work.
///
/// # Errors
/// It does not.
pub fn done(home: &Home, arguments: &[&str]) -> Result<()> {
    let (status, shown) = home.terminal(arguments)?.finish()?;
    match status.success() {
        true => Ok(()),
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
