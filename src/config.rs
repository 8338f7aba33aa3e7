//! `config.toml`: limits that a person sets. It can make things stricter; it cannot replace a touch.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use crate::encoding::{Digest, jcs};

/// Longest life of any lease.
pub const LONGEST_TTL: Duration = Duration::from_secs(8 * 3600);
/// Longest time that a prompt stays open.
pub const LONGEST_PROMPT: Duration = Duration::from_secs(300);
/// Longest time that a PIN is kept.
pub const LONGEST_PIN: Duration = Duration::from_secs(12 * 3600);

/// Why a configuration is not used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not TOML of the known form; says where.
    #[error("{0}")]
    Form(#[from] Box<toml::de::Error>),
    /// It would lead from wherever the daemon was started.
    #[error("vault is not an absolute path: {0:?}")]
    RelativeVault(PathBuf),
    /// Over what any configuration may allow.
    #[error("{name} is {asked} s; at most {most} s are possible")]
    Cap {
        /// The setting.
        name: &'static str,
        /// Seconds set.
        asked: u64,
        /// Seconds possible.
        most: u64,
    },
}

/// The file in full; every member may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The vault when nobody names another.
    pub vault: Option<PathBuf>,
    /// Limits.
    pub limits: Limits,
}

/// Limits, most of them of time: written as `90s`, `15m`, `1h 30m`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How long a prompt stays open; 60 s.
    #[serde(deserialize_with = "duration", serialize_with = "seconds")]
    pub prompt: Duration,
    /// Life of a lease when nobody asks for another; 15 min.
    #[serde(deserialize_with = "duration", serialize_with = "seconds")]
    pub ttl: Duration,
    /// Longest life of a lease; 8 h.
    #[serde(deserialize_with = "duration", serialize_with = "seconds")]
    pub longest_ttl: Duration,
    /// How long a PIN is kept; 1 h.
    #[serde(deserialize_with = "duration", serialize_with = "seconds")]
    pub pin: Duration,
    /// Whether a lease ends when the key that approved it is pulled out; not.
    pub end_when_unplugged: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            prompt: Duration::from_secs(60),
            ttl: Duration::from_secs(15 * 60),
            longest_ttl: LONGEST_TTL,
            pin: Duration::from_secs(3600),
            end_when_unplugged: false,
        }
    }
}

impl Config {
    /// Reads the file's text.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(Box::new)?;
        if let Some(vault) = config.vault.as_ref().filter(|vault| !vault.is_absolute()) {
            return Err(ConfigError::RelativeVault(vault.clone()));
        }
        let limits = &config.limits;
        cap("limits.prompt", limits.prompt, LONGEST_PROMPT)?;
        cap("limits.longest_ttl", limits.longest_ttl, LONGEST_TTL)?;
        cap("limits.ttl", limits.ttl, limits.longest_ttl)?;
        cap("limits.pin", limits.pin, LONGEST_PIN)?;
        Ok(config)
    }
}

impl Limits {
    /// Digest of the limits in canonical JSON: each lease names the policy under which it was judged.
    ///
    /// # Errors
    /// None in practice: the members are whole numbers of seconds, yes or no.
    pub fn digest(&self) -> Result<Digest, jcs::JcsError> {
        Ok(Digest::of(&jcs::to_vec(self)?))
    }
}

/// Reads `90s`, `15m`, `1h 30m`.
///
/// # Errors
/// A sentence that names the form.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write 90s, 15m or 1h30m");
    let parsed: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(parsed)
        .ok()
        .filter(|d| d.as_secs() > 0 && d.subsec_nanos() == 0)
        .ok_or_else(wrong)
}

fn cap(name: &'static str, asked: Duration, most: Duration) -> Result<(), ConfigError> {
    if asked <= most {
        Ok(())
    } else {
        Err(ConfigError::Cap {
            name,
            asked: asked.as_secs(),
            most: most.as_secs(),
        })
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        let config = Config::parse("[limits]\nttl = \"1h30m\"\nprompt = \"90s\"").unwrap();
        assert_eq!((config.limits.ttl.as_secs(), config.limits.prompt.as_secs()), (5400, 90));
        for text in ["", "15", "-5m", "0s", "1.5h 3x", "1500ms"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_members_and_limits_over_the_possible_are_refused() {
        for text in [
            "x = 1",
            "[limits]\nttl = \"9h\"",
            "[limits]\nprompt = \"6m\"",
            "[limits]\npin = \"13h\"",
            "[limits]\nlongest_ttl = \"10m\"",
            "vault = \"vault\"",
        ] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
    }
}
