//! `config.toml`: limits that a person sets. It can make things stricter; it cannot replace a touch.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use crate::encoding::target::Host;
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
    #[error("{name} is not an absolute path: {path:?}")]
    Relative {
        /// The setting.
        name: &'static str,
        /// What it says.
        path: PathBuf,
    },
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
    /// A file of certificates in PEM, such as a company's, that the proxy trusts at hosts beside the system's.
    pub proxy_roots: Option<PathBuf>,
    /// An HTTP proxy through which the proxy reaches hosts, as `http://HOST:PORT`; none.
    #[serde(deserialize_with = "http_proxy")]
    pub proxy_upstream: Option<Host>,
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
    /// What a lease's receipt has to be; any.
    pub receipts: Receipts,
    /// The oldest firmware of a YubiKey that is enrolled, as `5.7`; any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_firmware: Option<Firmware>,
    /// A file of certificates in PEM form: a YubiKey is enrolled by its PIV application only if it is attested under one of them; any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub piv_attestation_roots: Option<PathBuf>,
}

/// A firmware's number, written as `5`, `5.7` or `5.7.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Firmware(pub [u8; 3]);

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl From<Firmware> for String {
    fn from(firmware: Firmware) -> Self {
        firmware.to_string()
    }
}

impl TryFrom<String> for Firmware {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let numbers: Option<Vec<u8>> = text.split('.').map(|number| number.parse().ok()).collect();
        let numbers = numbers.filter(|numbers| (1..=3).contains(&numbers.len()));
        let numbers = numbers.ok_or_else(|| format!("{text:?} is no firmware; write 5.7 or 5.7.1"))?;
        let mut all = [0; 3];
        all[..numbers.len()].copy_from_slice(&numbers);
        Ok(Self(all))
    }
}

/// What a lease's receipt has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Receipts {
    /// The key's signature, or for a PIV key, which opens without one, the daemon's word.
    #[default]
    Any,
    /// The key's signature: a PIV key is touched once more.
    Hardware,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            prompt: Duration::from_secs(60),
            ttl: Duration::from_secs(15 * 60),
            longest_ttl: LONGEST_TTL,
            pin: Duration::from_secs(3600),
            end_when_unplugged: false,
            receipts: Receipts::default(),
            min_firmware: None,
            piv_attestation_roots: None,
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
        let limits = &config.limits;
        absolute("vault", config.vault.as_ref())?;
        absolute("proxy_roots", config.proxy_roots.as_ref())?;
        absolute("limits.piv_attestation_roots", limits.piv_attestation_roots.as_ref())?;
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
    /// None in practice: the members are whole numbers of seconds, yes or no, and words.
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

fn absolute(name: &'static str, path: Option<&PathBuf>) -> Result<(), ConfigError> {
    match path.filter(|path| !path.is_absolute()) {
        Some(path) => Err(ConfigError::Relative { name, path: path.clone() }),
        None => Ok(()),
    }
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

fn http_proxy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Host>, D::Error> {
    let host: Option<Host> = String::deserialize(deserializer)?.parse().ok();
    let host = host.filter(|host| host.plain);
    host.map(Some)
        .ok_or_else(|| de::Error::custom("proxy_upstream is http://HOST:PORT, without user and password"))
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
    fn a_proxy_behind_the_proxy_is_named_with_its_port() {
        let config = Config::parse("proxy_upstream = \"http://proxy.example:3128\"").unwrap();
        assert_eq!(config.proxy_upstream.unwrap().to_string(), "http://proxy.example:3128");
    }

    #[test]
    fn firmware_is_written_with_one_to_three_numbers() {
        for (text, firmware) in [("5", [5, 0, 0]), ("5.7", [5, 7, 0]), ("5.7.1", [5, 7, 1])] {
            let config = Config::parse(&format!("[limits]\nmin_firmware = \"{text}\"")).unwrap();
            assert_eq!(config.limits.min_firmware, Some(Firmware(firmware)));
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
            "proxy_upstream = \"proxy.example:3128\"",
            "proxy_upstream = \"https://proxy.example:3128\"",
            "proxy_upstream = \"http://me:pw@proxy.example:3128\"",
            "proxy_upstream = \"http://proxy.example\"",
            "proxy_upstream = \"http://proxy.example:3128/\"",
            "[limits]\npiv_attestation_roots = \"roots.pem\"",
            "[limits]\nreceipts = \"paper\"",
            "[limits]\nmin_firmware = \"5.7.1.0\"",
            "[limits]\nmin_firmware = \"new\"",
        ] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
    }
}
