//! What a token lets do at a registry: an item of the claim `access`, in the form in which clients of registries ask for it
//! (distribution, "Token Scope Documentation"): `repository:team/app:pull,push`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

/// Every action on a thing.
const EVERY: &str = "*";
const LONGEST: usize = 256;
const LONGEST_WORD: usize = 32;

/// A text that is no scope of a registry, or not in its one form.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a registry's scope is TYPE:NAME:ACTION, as repository:team/app:pull,push: lower case, the actions ascending and each once")]
pub struct AccessError;

/// One thing at a registry, and what may be done with it. As JSON it is an item of the claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Access {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: BTreeSet<String>,
}

impl Access {
    /// Whether it is of the same thing as `rule`, and lets do nothing that `rule` does not.
    #[must_use]
    pub fn is_within(&self, rule: &Self) -> bool {
        (&self.kind, &self.name) == (&rule.kind, &rule.name) && (rule.actions.contains(EVERY) || self.actions.is_subset(&rule.actions))
    }

    /// In words: `pull, push of repository team/app`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let actions: Vec<&str> = self.actions.iter().map(String::as_str).collect();
        let actions = match self.actions.contains(EVERY) {
            true => "anything".to_owned(),
            false => actions.join(", "),
        };
        format!("{actions} of {} {}", self.kind, self.name)
    }
}

impl FromStr for Access {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        let (kind, rest) = text.split_once(':').ok_or(AccessError)?;
        let (name, listed) = rest.split_once(':').ok_or(AccessError)?;
        let word = |text: &str, digits: bool| {
            let plain = |c: u8| c.is_ascii_lowercase() || (digits && c.is_ascii_digit());
            (1..=LONGEST_WORD).contains(&text.len()) && text.bytes().all(plain)
        };
        let actions: BTreeSet<String> = listed.split(',').map(str::to_owned).collect();
        let fine = text.len() <= LONGEST
            && word(kind, true)
            && name.split('/').all(is_component)
            && actions.iter().all(|action| action == EVERY || word(action, false));
        let access = Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            actions,
        };
        // One form: two texts are never the same access (T10).
        match fine && access.to_string() == text {
            true => Ok(access),
            false => Err(AccessError),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<&str> = self.actions.iter().map(String::as_str).collect();
        write!(f, "{}:{}:{}", self.kind, self.name, actions.join(","))
    }
}

/// A component of a repository's name: letters and digits, with single dots, underscores and hyphens between them (two underscores, and any
/// number of hyphens, count as one; distribution's `reference`).
fn is_component(text: &str) -> bool {
    let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = text.as_bytes();
    let plain = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(c);
    let separated = ["..", "._", "_.", ".-", "-.", "_-", "-_", "___"];
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(plain) && !separated.iter().any(|wrong| text.contains(wrong))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t10_a_scope_of_a_registry_has_one_form() {
        for text in [
            "repository:app:pull",
            "repository:team/app_1.x__y--z:pull,push",
            "repository:team/app:*",
            "registry:catalog:*",
        ] {
            assert_eq!(text.parse::<Access>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "repository",
            "repository:app",
            "repository:app:",
            "repository::pull",
            ":app:pull",
            "Repository:app:pull",
            "repository:App:pull",
            "repository:/app:pull",
            "repository:app/:pull",
            "repository:a//b:pull",
            "repository:../app:pull",
            "repository:a..b:pull",
            "repository:a___b:pull",
            "repository:-a:pull",
            "repository:app:push,pull",
            "repository:app:pull,pull",
            "repository:app:pull,",
            "repository:app:pull push",
            "repository:app:PULL",
            "repository:app:pull:push",
            "repository:*:pull",
            "repository:host:5000/app:pull",
            "repository:app:pull repository:b:push",
            "repository:аpp:pull",
            "repository(plugin):app:pull",
        ] {
            assert_eq!(text.parse::<Access>(), Err(AccessError), "{text:?}");
        }
        assert!(format!("repository:{}:pull", "a".repeat(256)).parse::<Access>().is_err());
    }

    #[test]
    fn t28_what_is_asked_of_a_registry_can_only_narrow_a_rule() {
        let within = |asked: &str, rule: &str| asked.parse::<Access>().unwrap().is_within(&rule.parse().unwrap());
        assert!(within("repository:app:pull", "repository:app:pull,push"));
        assert!(within("repository:app:pull,push", "repository:app:pull,push"));
        assert!(within("repository:app:delete", "repository:app:*"));
        assert!(within("repository:app:*", "repository:app:*"));
        assert!(!within("repository:app:*", "repository:app:pull,push"));
        assert!(!within("repository:app:delete,pull", "repository:app:pull,push"));
        assert!(!within("repository:app2:pull", "repository:app:*"));
        assert!(!within("repository:app/b:pull", "repository:app:*"));
        assert!(!within("registry:app:pull", "repository:app:*"));
    }

    #[test]
    fn it_is_written_as_registries_read_it_and_said_in_words() {
        let access: Access = "repository:team/app:pull,push".parse().unwrap();
        let wanted = serde_json::json!({ "type": "repository", "name": "team/app", "actions": ["pull", "push"] });
        assert_eq!(serde_json::to_value(&access).unwrap(), wanted);
        assert_eq!(access.in_words(), "pull, push of repository team/app");
        assert_eq!(
            "registry:catalog:*".parse::<Access>().unwrap().in_words(),
            "anything of registry catalog"
        );
    }
}
