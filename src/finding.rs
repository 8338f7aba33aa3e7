//! What a look at the machine found. Every room looks at its own things, `touchlease doctor` only collects.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::encoding::plain::shell_word;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing has to be done.
    Note,
    /// It works, and somebody should do something.
    Warning,
    /// Something does not work.
    Problem,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Programs and kernel.
    Versions,
    /// The daemon, its socket, its configuration.
    Daemon,
    /// Screens on which prompts appear.
    Screen,
    /// Locked memory, swap, hibernation.
    Memory,
    /// Security keys.
    Keys,
    /// The smart-card service and its readers.
    Readers,
    /// The vault and its roster.
    Vault,
    /// The audit log.
    Log,
    /// The wall clock.
    Clock,
    /// Clients of agents, their settings and sandboxes.
    Agents,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub part: Part,
    /// How bad it is.
    pub level: Level,
    /// The exact case, in snake_case; stable.
    pub reason: String,
    /// One sentence.
    pub what: String,
    /// What to do: a command where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Part {
    /// The word for it, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Versions => "versions",
            Self::Daemon => "daemon",
            Self::Screen => "screen",
            Self::Memory => "memory",
            Self::Keys => "keys",
            Self::Readers => "readers",
            Self::Vault => "vault",
            Self::Log => "log",
            Self::Clock => "clock",
            Self::Agents => "agents",
        }
    }

    /// As it should be.
    pub fn ok(self, reason: &str, what: impl Into<String>) -> Finding {
        self.finding(Level::Ok, reason, what, None)
    }

    /// Worth knowing.
    pub fn note(self, reason: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Level::Note, reason, what, Some(remedy.into()))
    }

    /// Somebody should do something.
    pub fn warning(self, reason: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Level::Warning, reason, what, Some(remedy.into()))
    }

    /// It does not work.
    pub fn problem(self, reason: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Level::Problem, reason, what, Some(remedy.into()))
    }

    fn finding(self, level: Level, reason: &str, what: impl Into<String>, remedy: Option<String>) -> Finding {
        Finding {
            part: self,
            level,
            reason: reason.into(),
            what: what.into(),
            remedy,
        }
    }
}

/// A path as a shell takes it for one word.
#[must_use]
pub fn quoted(path: &Path) -> String {
    shell_word(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/home/a/v.1")), "/home/a/v.1");
        assert_eq!(quoted(Path::new("/my vault/it's")), r"'/my vault/it'\''s'");
    }

    #[test]
    fn a_problem_is_worse_than_a_warning() {
        assert!(Level::Problem > Level::Warning && Level::Warning > Level::Note && Level::Note > Level::Ok);
    }
}
