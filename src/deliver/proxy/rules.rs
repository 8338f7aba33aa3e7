//! Whether a credential may go with a request: a pure function of the rules, the method, the scheme, the host, the port and the raw path.
//!
//! **Patterns of paths.** A pattern is a path whose segments stand for themselves, byte for byte, or are `*`: exactly one segment, which is
//! not empty. As the last segment, `*` is everything below: at least one character, over any number of segments. So `/v4/accounts/*` is
//! `/v4/accounts/7` and `/v4/accounts/7/members`, and neither `/v4/accounts` nor `/v4/accounts/`; `/v4/*/members` is `/v4/7/members` alone.
//!
//! **Paths.** They are compared as they are sent. A host may take a path for another one than its letters say, so a path that any server is
//! known to rewrite goes with no credential: segments that begin with `..`, with a dot that no letter, digit, `-` or `_` follows, or are empty (but for one at the end), `\`, controls,
//! and all of these, `?` and `#` as escapes, escaped twice, as overlong UTF-8, or as characters that compatibility folding makes into them.

use unicode_normalization::UnicodeNormalization;

use super::hosts::canonical;
use super::protocol::{GrantSpec, Scheme, Target};

/// Escapes within escapes that are looked into; a path with more is refused.
const DEEPEST: usize = 3;
const LONGEST_PATTERN: usize = 1024;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// How the host is spoken to.
    pub scheme: Scheme,
    /// The host in its one form.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// As sent: methods have a case (RFC 9110, 9.1).
    pub method: &'a str,
    /// As sent, without the query.
    pub path: &'a str,
}

/// Why a credential does not go with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Scheme, host or port are not in the rules.
    #[error("the credential is not for this host")]
    Host,
    /// The method is not.
    #[error("the credential is not for this method")]
    Method,
    /// The path matches no pattern.
    #[error("the credential is not for this path")]
    Path,
    /// The path could be taken for another one.
    #[error("the path has a form that some hosts take for another path")]
    PathForm,
}

impl Fault {
    /// Its code in answers and in the log.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Host => "wrong_host",
            Self::Method => "wrong_method",
            Self::Path => "wrong_path",
            Self::PathForm => "path_form",
        }
    }
}

/// Where one credential may go.
#[derive(Clone, Debug)]
pub struct Rule {
    targets: Vec<Target>,
    methods: Vec<String>,
    paths: Vec<Pattern>,
}

/// A pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    segments: Vec<Segment>,
    below: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    This(String),
    Any,
}

impl Rule {
    /// Takes the rules of a grant.
    ///
    /// # Errors
    /// A sentence about what is not in its one form.
    pub fn new(spec: &GrantSpec) -> Result<Self, String> {
        if spec.targets.is_empty() {
            return Err("a credential for a proxy needs a host".into());
        }
        for Target { host, port, .. } in &spec.targets {
            if canonical(host).as_deref() != Some(host) || *port == 0 {
                return Err(format!("{host}:{port} is not a host in its one form"));
            }
        }
        if let Some(method) = spec.methods.iter().find(|method| !is_method(method)) {
            return Err(format!("{method:?} is not a method that takes a credential"));
        }
        let pattern = |text: &String| Pattern::parse(text).ok_or_else(|| format!("{text:?} is not a pattern of paths"));
        Ok(Self {
            targets: spec.targets.clone(),
            methods: spec.methods.clone(),
            paths: spec.paths.iter().map(pattern).collect::<Result<_, _>>()?,
        })
    }

    /// The hosts.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Whether some methods are not in them.
    #[must_use]
    pub fn limits_methods(&self) -> bool {
        !self.methods.is_empty()
    }

    /// Whether the credential may go with what is asked.
    ///
    /// # Errors
    /// The first of the reasons why not: host, method, form of the path, path.
    pub fn judge(&self, asked: Asked<'_>) -> Result<(), Fault> {
        let here = |target: &Target| target.scheme == asked.scheme && target.host == asked.host && target.port == asked.port;
        if !self.targets.iter().any(here) {
            return Err(Fault::Host);
        }
        let method = self.methods.is_empty() || self.methods.iter().any(|method| method == asked.method);
        if !method || !is_method(asked.method) {
            return Err(Fault::Method);
        }
        if !is_plain_path(asked.path) {
            return Err(Fault::PathForm);
        }
        if self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.matches(asked.path)) {
            Ok(())
        } else {
            Err(Fault::Path)
        }
    }
}

/// TRACE has the host send the request back, CONNECT has no path.
fn is_method(method: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
    (1..=32).contains(&method.len()) && method.bytes().all(token) && !matches!(method, "TRACE" | "TRACK" | "CONNECT")
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let rest = text
            .strip_prefix('/')
            .filter(|_| text.len() <= LONGEST_PATTERN && is_plain_path(text))?;
        let mut segments = Vec::new();
        for segment in rest.split('/') {
            segments.push(match segment {
                "*" => Segment::Any,
                // A `*` beside other characters would be read in two ways.
                starred if starred.contains('*') => return None,
                plain => Segment::This(plain.to_owned()),
            });
        }
        let below = segments.pop_if(|last| *last == Segment::Any).is_some();
        Some(Self { segments, below })
    }

    fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        let mut sent = rest.split('/');
        for segment in &self.segments {
            let fits = match (segment, sent.next()) {
                (Segment::This(this), Some(sent)) => this == sent,
                (Segment::Any, Some(sent)) => !sent.is_empty(),
                (_, None) => false,
            };
            if !fits {
                return false;
            }
        }
        match sent.next() {
            None => !self.below,
            Some(next) => self.below && !next.is_empty(),
        }
    }
}

/// Whether a path, as sent, can be taken for no other one.
#[must_use]
pub fn is_plain_path(path: &str) -> bool {
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\?#".contains(&byte)) {
        return false;
    }
    if !path.contains('%') {
        // As most are: there is nothing to undo in it.
        return has_plain_segments(path.as_bytes());
    }
    let mut path = path.as_bytes().to_vec();
    let mut slashes = has_plain_segments(&path).then(|| count(&path));
    for _ in 0..DEEPEST {
        match decoded(&path) {
            // A path without an escape is all that was to be looked at.
            Some(same) if same == path => return slashes.is_some(),
            Some(next) => {
                slashes = slashes.filter(|known| is_harmless(&next) && has_plain_segments(&next) && count(&next) == *known);
                path = next;
            }
            None => return false,
        }
        if slashes.is_none() {
            return false;
        }
    }
    false
}

fn count(path: &[u8]) -> usize {
    path.iter().filter(|byte| **byte == b'/').count()
}

/// With its escapes undone once; nothing where one is malformed.
fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = path.iter();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(*bytes.next()?)? << 4 | digit(*bytes.next()?)?,
            other => other,
        });
    }
    Some(decoded)
}

/// No controls, no other slash, dot, `?` or `#`, no broken UTF-8, in a path with its escapes undone.
fn is_harmless(path: &[u8]) -> bool {
    let folds = |char: char| {
        !char.is_ascii()
            && std::iter::once(char)
                .nfkc()
                .any(|folded| matches!(folded, '.' | '/' | '\\' | '%' | ';' | '?' | '#' | '&'))
    };
    // A host that undoes escapes and reads what comes of it again would end the path at a `?` or `#`.
    let parts = |char: char| matches!(char, '\\' | '?' | '#');
    std::str::from_utf8(path).is_ok_and(|path| !path.chars().any(|char| char.is_control() || parts(char) || folds(char)))
}

/// No segment is empty but the last, none is dots for any server: each reads the end of a segment's name in its own way (`;` before
/// parameters in Java, blanks and what is not ASCII elsewhere), so that none begins with `..`, and what follows one dot is a name.
fn has_plain_segments(path: &[u8]) -> bool {
    let rest = path.get(1..).unwrap_or_default();
    let last = rest.iter().filter(|byte| **byte == b'/').count();
    let names = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    rest.split(|byte| *byte == b'/').enumerate().all(|(at, segment)| match segment {
        [] => at == last,
        [b';', ..] => false,
        [b'.'] => false,
        [b'.', next, ..] => names(*next),
        _ => true,
    })
}
