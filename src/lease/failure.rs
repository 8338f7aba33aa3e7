//! What the rooms below say, as an outcome that a person or a program can act on.

use std::path::Path;

use crate::audit::{AuditError, ClockError};
use crate::device::DeviceError;
use crate::encoding::jcs::JcsError;
use crate::finding::quoted;
use crate::presence::PromptError;
use crate::vault::VaultError;
use crate::vault::roster::{set_aside, set_stranger_aside};
use crate::wire::{Failure, Outcome};

pub(super) const MORE_MEMORY: &str = "raise the limit: ulimit -l 65536, or LimitMEMLOCK= in the service file";

/// A room's error as an outcome.
pub trait IntoFailure {
    /// The outcome, the sentence, the hint.
    fn failure(self) -> Failure;
}

impl IntoFailure for PromptError {
    fn failure(self) -> Failure {
        let message = self.to_string();
        match self {
            Self::NoScreen => Failure::new(Outcome::NoScreen, "no_screen", message)
                .hint("a person runs `touchlease watch` in a terminal of his own and leaves it open; then ask again"),
            Self::OwnWatch => Failure::new(Outcome::NoScreen, "no_screen", message)
                .hint("open another terminal window and run `touchlease watch` there; then ask again"),
            Self::ScreenGone => {
                Failure::new(Outcome::NoScreen, "screen_gone", message).hint("run `touchlease watch` in another terminal, and ask again")
            }
            Self::TooSmall(_) => Failure::new(Outcome::NoScreen, "screen_small", message)
                .hint("enlarge the terminal in which it is to be seen, that of `touchlease watch` where one runs, and ask again"),
            Self::NotOnWatch => Failure::new(Outcome::NoScreen, "not_on_watch", message)
                .hint("enlarge the terminal in which `touchlease watch` runs, or end it there with q, and ask again"),
            Self::TooMany { .. } => Failure::new(Outcome::Refused, "too_many_prompts", message).hint(
                "wait that long; from then on ask once for several commands: touchlease lease request --with prod/ONE --with prod/OTHER",
            ),
            Self::QueueLimit => Failure::new(Outcome::TimedOut, "queue", message).hint("ask again later"),
        }
    }
}

impl IntoFailure for AuditError {
    fn failure(self) -> Failure {
        let hint = match &self {
            Self::Unsafe { path, why } => &*format!("look who could do that, then: {}", why.remedy(path)),
            Self::Full => "free some space on the file system of the log, then ask again",
            Self::ReadOnly | Self::Gone => {
                "make the log's folder writable again, then ask again; no lease is given without a line in the log"
            }
            Self::Locked => "another daemon serves this vault: stop one of them",
            Self::Damaged(_) | Self::OtherVault(_) | Self::Changed => {
                "look at it with `touchlease audit verify`; move it aside to begin a new one"
            }
            _ => "look at `touchlease audit verify`, then ask again",
        };
        Failure::new(Outcome::LogRefused, "log", self.to_string()).hint(hint)
    }
}

impl IntoFailure for ClockError {
    fn failure(self) -> Failure {
        Failure::new(Outcome::Refused, "clock", self.to_string())
            .hint("set the clock right, then ask again; if it is right, say so by a touch: touchlease audit accept-clock")
    }
}

impl IntoFailure for JcsError {
    fn failure(self) -> Failure {
        Failure::new(Outcome::Internal, "canonical_json", self.to_string()).ours()
    }
}

/// A failure that is nobody's doing but ours.
pub(crate) fn internal(reason: &str, message: impl std::fmt::Display) -> Failure {
    Failure::new(Outcome::Internal, reason, message.to_string()).ours()
}

/// No more memory can be locked.
pub fn locked_memory(error: impl std::fmt::Display) -> Failure {
    Failure::new(Outcome::Internal, "locked_memory", format!("no more memory can be locked: {error}")).hint(MORE_MEMORY)
}

fn vault_outcome(error: &VaultError) -> (Outcome, &'static str) {
    match error {
        VaultError::NoVault { .. } => (Outcome::BadInput, "no_vault"),
        VaultError::NotEmpty { .. } => (Outcome::BadInput, "not_empty"),
        VaultError::Newer { .. } => (Outcome::VaultRefused, "newer_format"),
        VaultError::NoScope(_) => (Outcome::BadInput, "no_scope"),
        VaultError::NoSecret { .. } => (Outcome::BadInput, "no_secret"),
        VaultError::Name(_) => (Outcome::BadInput, "name"),
        VaultError::Rules(_) => (Outcome::BadInput, "rules"),
        VaultError::ValueSize(_) => (Outcome::BadInput, "value_size"),
        VaultError::Twice(_) => (Outcome::BadInput, "twice"),
        VaultError::Nothing => (Outcome::BadInput, "nothing"),
        VaultError::NoKey(_) => (Outcome::BadInput, "no_such_key"),
        VaultError::WrongCode => (Outcome::BadInput, "wrong_code"),
        VaultError::AlreadyIn { .. } => (Outcome::BadInput, "already_in"),
        VaultError::NotEmptyScope { .. } => (Outcome::Refused, "scope_not_empty"),
        VaultError::LastScope(_) => (Outcome::Refused, "last_scope"),
        VaultError::NoSlot { .. } => (Outcome::Refused, "not_in"),
        VaultError::NoneIn(_) => (Outcome::Refused, "none_in"),
        VaultError::NoneJoins { .. } => (Outcome::Refused, "none_joins"),
        VaultError::LastKey(_) => (Outcome::Refused, "last_key"),
        VaultError::TooManyScopes { .. } => (Outcome::Refused, "too_many_scopes"),
        VaultError::Memory(_) => (Outcome::Internal, "locked_memory"),
        VaultError::ReadOnly { .. } | VaultError::Full { .. } | VaultError::Busy | VaultError::Io { .. } => {
            (Outcome::Internal, "vault_folder")
        }
        VaultError::RulesChanged { .. } => (Outcome::VaultRefused, "rules_changed"),
        VaultError::Fork { .. } => (Outcome::VaultRefused, "roster_fork"),
        VaultError::ShutOut => (Outcome::VaultRefused, "all_shut_out"),
        VaultError::OtherKey(_) => (Outcome::VaultRefused, "other_key"),
        VaultError::NoneVouched(_) => (Outcome::VaultRefused, "none_vouched"),
        VaultError::Older { .. } => (Outcome::VaultRefused, "older"),
        VaultError::Contested { .. } => (Outcome::VaultRefused, "contested"),
        VaultError::NotJoined(_) => (Outcome::VaultRefused, "not_joined"),
        VaultError::NotContested { .. } => (Outcome::BadInput, "no_such_version"),
        VaultError::Aside { .. } => (Outcome::VaultRefused, "left_aside"),
        VaultError::NotShown { .. } => (Outcome::VaultRefused, "not_shown"),
        VaultError::Changed => (Outcome::VaultRefused, "vault_changed"),
        _ => (Outcome::VaultRefused, "vault"),
    }
}

impl IntoFailure for VaultError {
    fn failure(self) -> Failure {
        (&self).failure()
    }
}

impl IntoFailure for &VaultError {
    fn failure(self) -> Failure {
        let (outcome, reason) = vault_outcome(self);
        let failure = Failure::new(outcome, reason, self.to_string());
        match self {
            VaultError::Aside { path, why } if let VaultError::NotShown { scope, .. } = &**why => {
                let again =
                    format!("touchlease merge {scope}; if it is said again, bring the file back, or in the vault's folder: rm {path}");
                return failure.hint(again);
            }
            VaultError::Aside { path, .. } => {
                return failure.hint(format!("in the vault's folder: rm {path}; or bring back what it needs"));
            }
            VaultError::Roster { statement, folder, .. } if !folder.as_os_str().is_empty() => {
                let aside = set_aside(folder, statement);
                return failure.hint(format!(
                    "if none of your machines wrote it, set it aside: {aside}; else bring it back from a backup or from git"
                ));
            }
            VaultError::Stranger { folder, path } => return failure.hint(set_stranger_aside(folder, path)),
            VaultError::NotJoined(scope) => return failure.hint(format!("touchlease merge {scope}")),
            VaultError::NoneJoins { can, .. } if !can.is_empty() => {
                return failure.hint(format!("touchlease vault join --key {}", quoted(Path::new(&can[0]))));
            }
            _ => {}
        }
        failure.hint(vault_hint(reason))
    }
}

fn vault_hint(reason: &str) -> &'static str {
    match reason {
        "no_vault" => "make one: touchlease init; or name another folder with --vault",
        "not_empty" => "name another folder with --vault, or add a key: touchlease key add NAME",
        "no_scope" => "touchlease scope list shows what there is; touchlease scope add NAME makes one",
        "no_secret" => "touchlease list shows what there is; touchlease put SECRET adds one",
        "name" => "names have letters, digits and _ - . + @ =",
        "rules" => "touchlease edit --help names the deliveries and what goes with each",
        "value_size" => "a value has 1 byte to 1 MiB",
        "last_key" => "add another key first: touchlease key add NAME",
        "no_such_key" => "touchlease key list",
        "roster_fork" => "touchlease vault join shows both, and joins them by a touch, or says what to do where no key can",
        "wrong_code" => "look for the newest code; each recovery prints a new one and ends the one before",
        "already_in" => "touchlease scope list",
        "scope_not_empty" => "touchlease list shows them; touchlease rm SECRET removes them",
        "last_scope" => "add another one first: touchlease scope add NAME",
        "not_in" | "none_in" => "touchlease key list shows which key opens what; name one with --key",
        "too_many_scopes" => "ask twice, each time for two scopes at most",
        "locked_memory" => MORE_MEMORY,
        "vault_folder" => "mend the folder, then try again; nothing was lost",
        "rules_changed" => "the vault changed while it was asked for: ask again, and look at what is shown",
        "older" => {
            "somebody put an old copy of the vault in its place: bring the newer one back; to go on with the old one: touchlease vault accept-older"
        }
        "none_vouched" => "bring back the state that this machine had, or join on one that wrote to this scope last: touchlease vault join",
        "contested" => "touchlease merge shows them; touchlease merge --keep SECRET=RECORD keeps one",
        "no_such_version" => "touchlease merge shows the secrets that were written apart, and their records",
        "not_shown" => "look at what the merge brought: touchlease merge; then ask again",
        "vault_changed" => "the vault changed meanwhile: ask again",
        "newer_format" => "install a newer touchlease",
        "twice" => "name each once; touchlease list, touchlease scope list and touchlease key list show what there is",
        "nothing" => "nothing is there to be done; touchlease list shows what there is",
        "none_joins" | "all_shut_out" | "other_key" => "touchlease vault join shows both sides, and what to do where no key can join them",
        // `vault`, and what carries the words for it along.
        _ => "nothing was handed out; compare the folder with a backup",
    }
}

impl IntoFailure for DeviceError {
    fn failure(self) -> Failure {
        super::key_failure::of(&self)
    }
}
