//! `prod/TOKEN`, and `touchlease://prod/TOKEN` where a file may hold other things than references.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use super::plain::{PlainError, check_name};

/// What a reference begins with in environment files.
pub const SCHEME: &str = "touchlease://";

/// A secret, named: scope and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef {
    /// The scope.
    pub scope: String,
    /// The name within it.
    pub name: String,
}

/// Why a text names no secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Not two parts.
    #[error("a secret is named scope/NAME, as in prod/TOKEN")]
    Form,
    /// One of the parts.
    #[error(transparent)]
    Name(#[from] PlainError),
}

impl FromStr for SecretRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (scope, name) = text
            .strip_prefix(SCHEME)
            .unwrap_or(text)
            .split_once('/')
            .ok_or(ReferenceError::Form)?;
        check_name("the scope's name", scope)?;
        check_name("the secret's name", name)?;
        Ok(Self {
            scope: scope.into(),
            name: name.into(),
        })
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.scope, self.name)
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reference_has_a_scope_and_a_name() {
        let secret: SecretRef = "touchlease://prod/TOKEN".parse().unwrap();
        assert_eq!(secret.to_string(), "prod/TOKEN");
        assert_eq!("prod/TOKEN".parse(), Ok(secret));
        for text in ["TOKEN", "/TOKEN", "prod/", "prod/a/b", "../x", "prod/..", "op://prod/TOKEN"] {
            assert!(text.parse::<SecretRef>().is_err(), "{text}");
        }
    }
}
