//! The operations that are cut, and what they start from.

use std::{error::Error, process::ExitStatus, time::Duration};

use touchlease::audit::log::GROUPED_FOR;

use super::bench::{ARCHIVE, Bench, EXPORT, MANY, keep_from_starting_a_daemon};
use crate::{
    conformance::Rig,
    harness::{Home, Terminal},
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
    /// The same with the empty scope `dev`, into which "spare" was not let.
    TwoScopes,
    /// [`Start::OneKey`], and the secrets C and D that two machines put apart from each other, merged and not joined.
    Heads,
    /// [`Start::OneKey`], and two values of A that two machines wrote apart from each other, merged and not joined.
    Contested,
    /// [`Start::OneKey`], and a roster of two ends: two machines made a scope each.
    Fork,
    /// [`Start::OneKey`], where this machine has seen another secret and another scope in it.
    Older,
    /// [`Start::OneKey`], and a log whose last line was written by a clock that has been set back since.
    ClockBack,
    /// No vault, but the archive of one.
    Archive,
}

impl Start {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Nothing,
        Self::OneKey,
        Self::TwoKeys,
        Self::TwoScopes,
        Self::Heads,
        Self::Contested,
        Self::Fork,
        Self::Older,
        Self::ClockBack,
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
    /// The command line, but for what only a bench knows.
    arguments: &'static [&'static str],
}

impl Operation {
    /// Whether the calls that are cut are the command line's, and not the daemon's.
    #[must_use]
    pub fn is_of_the_command(&self) -> bool {
        self.needs_no_daemon() || self.name == WRITTEN
    }

    /// Whether the command line does it alone.
    fn needs_no_daemon(&self) -> bool {
        self.start == Start::Archive
    }

    /// The home that it begins with, where vault and state lie on disks of their own.
    #[must_use]
    pub fn begins_with_files(&self) -> Start {
        if self.needs_no_daemon() { Start::Archive } else { Start::Nothing }
    }

    /// The command line.
    #[must_use]
    pub fn arguments(&self, bench: &Bench) -> Vec<String> {
        self.arguments.iter().map(|argument| argument.replace(KEPT, bench.kept())).collect()
    }

    /// What a person types while it runs: what is asked for, and the answer.
    fn typed(&self, bench: &Bench) -> Option<(&'static str, String)> {
        (self.name == "recover").then(|| ("recovery code (not shown): ", format!("{}\n", bench.code())))
    }

    /// Runs it on a terminal of this home. Gives its status and what was shown.
    ///
    /// # Errors
    /// It does not start, or does not end.
    pub fn run(&self, bench: &Bench, home: &Home, lost: Lost) -> Result<(ExitStatus, String)> {
        let [blue, _] = bench.rig().keys();
        // A key that was lost is not there when another one takes its place; it is afterwards, for a look at what was before.
        if self.name == "recover" {
            blue.pull()?;
        }
        let command = home.command(self.arguments(bench));
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

/// Stands in a command line for the record that a person keeps.
const KEPT: &str = "RECORD";

/// The command's half of an export: it writes what the daemon gives out.
const WRITTEN: &str = "export, written";

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
        name: "import",
        calls: 160,
        start: Start::OneKey,
        arguments: &["import", MANY],
    },
    Operation {
        name: "export",
        calls: 70,
        start: Start::OneKey,
        arguments: &["export", "--scope", "prod", "--out", EXPORT],
    },
    Operation {
        name: WRITTEN,
        calls: 12,
        start: Start::OneKey,
        arguments: &["export", "--scope", "prod", "--out", EXPORT],
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
        calls: 160,
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
        name: "merge --keep",
        calls: 180,
        start: Start::Contested,
        arguments: &["merge", "--keep", "prod/A=RECORD"],
    },
    Operation {
        name: "vault join",
        calls: 136,
        start: Start::Fork,
        arguments: &["vault", "join"],
    },
    Operation {
        name: "vault accept-older",
        calls: 80,
        start: Start::Older,
        arguments: &["vault", "accept-older"],
    },
    Operation {
        name: "audit accept-clock",
        calls: 42,
        start: Start::ClockBack,
        arguments: &["audit", "accept-clock"],
    },
    Operation {
        name: "backup restore",
        calls: 121,
        start: Start::Archive,
        arguments: &["backup", "restore", ARCHIVE],
    },
];
