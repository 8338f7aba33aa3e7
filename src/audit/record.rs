//! A line of the log and its bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::event::Event;
use crate::clock::{Boot, Wall};
use crate::encoding::Digest;

/// Version of the form of a line.
pub const VERSION: u32 = 1;
/// Longest line, in bytes, newline included: what a reader has to hold at once.
pub const LONGEST_LINE: usize = 4 << 20;
/// What the first line holds in place of the hash of the line before.
pub const NO_LINE: Digest = Digest([0; 32]);
/// Largest integer that every JSON reader keeps exact (RFC 7493, 2.2).
const LARGEST_INTEGER: u64 = (1 << 53) - 1;

/// Why bytes are not a line of the log.
#[derive(Debug, Error)]
pub enum LineError {
    /// Not JSON of this form: a damaged line, or one of a later version.
    #[error("not a line of this version, from its character {} on", .0.column())]
    Form(#[from] serde_json::Error),
    /// The same line has another canonical form: somebody rewrote it with another program.
    #[error("not in canonical form (RFC 8785)")]
    NotCanonical,
    /// No newline at the end: the power went while it was written, or the file was cut.
    #[error("cut off in the middle")]
    Torn,
    /// Longer than any line that is ever written.
    #[error("longer than {LONGEST_LINE} bytes")]
    Long,
}

/// One line. Its bytes are its canonical JSON (RFC 8785) and a newline; its hash is SHA-256 of these bytes, newline included, so
/// that `sed -n 7p | sha256sum` prints it.
///
/// Fields are in the order of their names, as in [`event`](super::event).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Line<'a> {
    /// Wall clock, milliseconds since 1970-01-01T00:00:00Z, as it stood.
    pub at: u64,
    /// `CLOCK_BOOTTIME`, milliseconds.
    pub boot: u64,
    /// The kernel's id of this boot.
    pub boot_id: Cow<'a, str>,
    /// What happened.
    pub event: Cow<'a, Event>,
    /// Hash of the line before; 64 zeros in the first line.
    pub prev: Digest,
    /// Number of the line in its file, from 1.
    pub seq: u64,
    /// Milliseconds by which `at` departs from what the lines before vouch for, when it breaks the rule of
    /// [`clock_rule`](super::clock_rule); else 0.
    pub skew: i64,
    /// [`VERSION`].
    pub v: u32,
}

impl Line<'_> {
    /// Canonical bytes, newline included.
    ///
    /// # Errors
    /// [`LineError::Long`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, LineError> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        if bytes.len() > LONGEST_LINE {
            return Err(LineError::Long);
        }
        Ok(bytes)
    }

    /// Reads one line, newline included.
    ///
    /// # Errors
    /// See [`LineError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Line<'static>, LineError> {
        if bytes.len() > LONGEST_LINE {
            return Err(LineError::Long);
        }
        let text = bytes.strip_suffix(b"\n").ok_or(LineError::Torn)?;
        let line: Line<'static> = serde_json::from_slice(text)?;
        let exact = [line.at, line.boot, line.seq, line.skew.unsigned_abs()];
        // Every struct declares its fields in canonical order, so what serde writes is the one canonical form.
        if line.v == VERSION && exact.iter().all(|n| *n <= LARGEST_INTEGER) && serde_json::to_vec(&line)? == text {
            Ok(line)
        } else {
            Err(LineError::NotCanonical)
        }
    }

    /// Wall clock as it stood.
    #[must_use]
    pub fn wall(&self) -> Wall {
        Wall(self.at)
    }

    /// Time since boot.
    #[must_use]
    pub fn boottime(&self) -> Boot {
        Boot(self.boot)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::audit::testing::every_event;
    use crate::encoding::jcs;

    fn line(event: &Event) -> Line<'_> {
        Line {
            at: 1_700_000_000_123,
            boot: 5_000,
            boot_id: "b0".into(),
            event: Cow::Borrowed(event),
            prev: NO_LINE,
            seq: 1,
            skew: -3,
            v: VERSION,
        }
    }

    #[test]
    fn every_event_is_written_in_canonical_form_and_read_back() {
        for event in every_event() {
            let bytes = line(&event).to_bytes().unwrap();
            assert_eq!(bytes[..bytes.len() - 1], jcs::to_vec(&line(&event)).unwrap(), "{event:?}");
            assert_eq!(Line::from_bytes(&bytes).unwrap(), line(&event));
        }
    }

    #[test]
    fn other_forms_of_the_same_line_are_refused() {
        let text = String::from_utf8(line(&every_event()[0]).to_bytes().unwrap()).unwrap();
        let others = [
            text.replacen(':', ": ", 1),
            text.replace("\"v\":1}", "\"v\":1,\"w\":2}"),
            text.replace("\"v\":1}", "\"v\":1,\"v\":1}"),
            text.replace("\"v\":1}", "\"v\":2}"),
            text.replace("1700000000123", "1700000000123.0"),
            text.replace("1700000000123", "9007199254740992"),
            text.replace("b0", "b\\u0030"),
            text.replace('\n', "\r\n"),
            text.replace('\n', ""),
            text.clone() + "\n",
            String::from("\n"),
        ];
        for other in others {
            assert_ne!(other, text);
            assert!(Line::from_bytes(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn t43_control_characters_never_break_a_line_in_two() {
        let mut bytes = Vec::new();
        for c in ['\n', '\r', '\0', '\u{1b}', '\u{2028}', '\u{85}', '"', '\\'] {
            let event = Event::Refused(crate::audit::event::Refused {
                asked: None,
                detail: format!("a{c}b"),
                reason: "r".into(),
            });
            bytes.extend(line(&event).to_bytes().unwrap());
        }
        assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 8);
        assert!(!bytes.iter().any(|b| *b < 0x20 && *b != b'\n'));
    }
}
