//! The task file, `touchlease.toml`: committed, without values. An agent may have edited it, so nothing in it is trusted beyond
//! what the person then sees and touches for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::grant::{AtEnd, Grant, Target, Via};
use crate::config::parse_duration;
use crate::encoding::plain::{PlainError, check_line, check_name, check_variable, visible};
use crate::encoding::{Digest, SecretRef};
use crate::wire::signer::TokenAsk;

/// Largest task file in bytes.
pub const LARGEST_FILE: usize = 256 << 10;
/// Most grants of one task: more do not fit on a screen that a person reads.
pub const MOST_GRANTS: usize = 32;
/// A task file that works, for whoever has none or a wrong one.
pub const EXAMPLE: &str = "\
a task file looks like this:
[task.deploy]
about = \"Deploy the docs\"
command = [\"./deploy.sh\"]
[[task.deploy.grant]]
secret = \"prod/TOKEN\"
via = \"env\"
env = \"TOKEN\"";
/// Longest `about`, in bytes.
pub const LONGEST_ABOUT: usize = 200;

/// Why a task file gives no task.
#[derive(Debug, Error)]
pub enum TaskError {
    /// Not TOML of the known form; says where.
    #[error("touchlease.toml: {0}")]
    Form(#[from] Box<toml::de::Error>),
    /// Over [`LARGEST_FILE`].
    #[error("touchlease.toml has {0} bytes; {LARGEST_FILE} are allowed")]
    Large(usize),
    /// No such task; names those there are.
    #[error("touchlease.toml has no task {name:?}; it has {}", list(.has))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        has: Vec<String>,
    },
    /// A text that a screen would not show as it is, or a name with forbidden characters.
    #[error("task {task:?}: {error}")]
    Text {
        /// Which task.
        task: String,
        /// What is wrong.
        error: PlainError,
    },
    /// Anything else, in words.
    #[error("task {task:?}: {problem}")]
    Task {
        /// Which task.
        task: String,
        /// What is wrong.
        problem: String,
    },
}

/// A task, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// What it is for, in the words of whoever wrote the file.
    pub about: String,
    /// The command that it is for.
    pub command: Vec<String>,
    /// Life of its lease.
    pub ttl: Option<Duration>,
    /// Limit of uses.
    pub uses: Option<u32>,
    /// What happens to a child at the end.
    pub at_end: AtEnd,
    /// What it gets.
    pub grants: Vec<Grant>,
    /// SHA-256 of the file.
    pub digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    task: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    about: String,
    #[serde(default)]
    command: Vec<String>,
    ttl: Option<String>,
    uses: Option<u32>,
    #[serde(default)]
    at_end: AtEnd,
    #[serde(default)]
    grant: Vec<GrantEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantEntry {
    secret: String,
    via: Via,
    env: String,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    audience: Option<String>,
    subject: Option<String>,
    #[serde(default)]
    claims: BTreeMap<String, String>,
    #[serde(default)]
    access: BTreeSet<String>,
}

impl Task {
    /// Reads task `name` out of the file's text.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn parse(text: &str, name: &str) -> Result<Self, TaskError> {
        if text.len() > LARGEST_FILE {
            return Err(TaskError::Large(text.len()));
        }
        let mut file: File = toml::from_str(text).map_err(Box::new)?;
        let entry = file.task.remove(name);
        let entry = entry.ok_or_else(|| TaskError::Unknown {
            name: name.into(),
            has: file.task.into_keys().collect(),
        })?;
        entry.check(name, Digest::of(text.as_bytes()))
    }

    /// Names of the tasks in a file.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn names(text: &str) -> Result<Vec<String>, TaskError> {
        let file: File = toml::from_str(text).map_err(Box::new)?;
        Ok(file.task.into_keys().collect())
    }

    /// What a file says of task `name`, fit for a screen: a line for each member and each grant, by name. Comments, order and other ways to
    /// write the same make no difference. Nothing where there is no such task.
    #[must_use]
    pub fn lines(text: &str, name: &str) -> Option<Vec<String>> {
        let file: toml::Table = toml::from_str(text).ok()?;
        let task = file.get("task")?.get(name)?.as_table()?;
        let said = |(member, value): (&String, &toml::Value)| match value {
            toml::Value::Array(grants) if member == "grant" => grants.iter().map(|grant| format!("grant = {grant}")).collect(),
            value => vec![format!("{member} = {value}")],
        };
        let mut members: Vec<_> = task.iter().collect();
        members.sort_by_key(|(member, _)| *member);
        Some(members.into_iter().flat_map(said).map(|line| visible(&line)).collect())
    }

    /// The tasks of a file that can be used through a proxy, and the hosts that they name. One that is wrong is no task.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn by_proxy(text: &str) -> Result<Vec<(String, Vec<String>)>, TaskError> {
        let tasks = Self::names(text)?.into_iter().filter_map(|name| Self::parse(text, &name).ok());
        let hosts = |task: &Self| -> Vec<String> {
            let proxied = task.grants.iter().filter(|grant| grant.via == Via::Proxy);
            proxied.flat_map(|grant| grant.target.hosts.clone()).collect()
        };
        Ok(tasks
            .map(|task| (task.name.clone(), hosts(&task)))
            .filter(|(_, hosts)| !hosts.is_empty())
            .collect())
    }
}

impl Entry {
    fn check(self, name: &str, digest: Digest) -> Result<Task, TaskError> {
        let plain = |error| TaskError::Text { task: name.into(), error };
        let wrong = |problem| TaskError::Task {
            task: name.into(),
            problem,
        };
        check_name("the task's name", name).map_err(plain)?;
        check_line("about", &self.about, LONGEST_ABOUT).map_err(plain)?;
        for word in &self.command {
            check_line("the command", word, 4096).map_err(plain)?;
        }
        let ttl = self.ttl.as_deref().map(parse_duration).transpose().map_err(wrong)?;
        if self.uses == Some(0) {
            return Err(wrong("uses is 0; leave it out for no limit".into()));
        }
        let grants = self
            .grant
            .into_iter()
            .map(GrantEntry::check)
            .collect::<Result<Vec<_>, _>>()
            .map_err(wrong)?;
        check_grants(&grants).map_err(|error| wrong(error.to_string()))?;
        Ok(Task {
            name: name.into(),
            about: self.about,
            command: self.command,
            ttl,
            uses: self.uses,
            at_end: self.at_end,
            grants,
            digest,
        })
    }
}

impl GrantEntry {
    fn check(self) -> Result<Grant, String> {
        let secret: SecretRef = self.secret.parse().map_err(|error| format!("{:?}: {error}", self.secret))?;
        check_variable(&self.env).map_err(|error| error.to_string())?;
        let target = Target::new(self.hosts, self.methods, self.paths)?;
        if self.via != Via::Proxy && !target.is_empty() {
            return Err(format!("{secret}: hosts, methods and paths are for via = \"proxy\""));
        }
        let token = match (self.via, self.audience) {
            (Via::Signer, Some(aud)) => Some(TokenAsk {
                access: self.access,
                aud,
                claims: self.claims,
                exchange: None,
                sub: self.subject,
            }),
            (Via::Signer, None) => return Err(format!("{secret} is to sign a token: say for whom, audience = \"https://...\"")),
            (_, None) if self.subject.is_none() && self.claims.is_empty() && self.access.is_empty() => None,
            _ => return Err(format!("{secret}: audience, subject, claims and access are for via = \"signer\"")),
        };
        Ok(Grant {
            secret,
            via: self.via,
            env: Some(self.env),
            token,
            certificate: None,
            signature: None,
            target,
        })
    }
}

/// What is wrong with a set of grants.
#[derive(Debug, Error)]
pub(super) enum GrantsError {
    /// There is none.
    #[error("it has no grant, so there is nothing to touch for")]
    None,
    /// More than one request may have.
    #[error("it has {0} grants; {MOST_GRANTS} are allowed")]
    Many(usize),
    /// Each grant of a signer is a token of every use: two alike say nothing more, and only count.
    #[error("the same token of {0} is asked for twice; more of them are more uses")]
    Token(SecretRef),
    /// Two grants for one variable.
    #[error("the variable {env} is given twice")]
    Variable {
        /// The variable.
        env: String,
        /// The second one that is to stand in it.
        secret: SecretRef,
        /// And how.
        via: Via,
    },
}

/// What has to hold for any set of grants, from a file or ad hoc.
pub(super) fn check_grants(grants: &[Grant]) -> Result<(), GrantsError> {
    if grants.is_empty() {
        return Err(GrantsError::None);
    }
    if grants.len() > MOST_GRANTS {
        return Err(GrantsError::Many(grants.len()));
    }
    for (i, grant) in grants.iter().enumerate() {
        // A certificate is the only grant of its lease anyway.
        let alike = |other: &Grant| (&other.secret, &other.token) == (&grant.secret, &grant.token);
        if grant.token.is_some() && grants[..i].iter().any(alike) {
            return Err(GrantsError::Token(grant.secret.clone()));
        }
        let Some(env) = &grant.env else { continue };
        if grants[..i].iter().any(|other| other.env.as_ref() == Some(env)) {
            return Err(GrantsError::Variable {
                env: env.clone(),
                secret: grant.secret.clone(),
                via: grant.via,
            });
        }
    }
    Ok(())
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DEPLOY: &str = r#"
[task.deploy]
about = "Deploy the docs"
command = ["./deploy.sh"]
ttl = "15m"
uses = 20

[[task.deploy.grant]]
secret = "prod/CLOUDFLARE_TOKEN"
via = "env"
env = "CLOUDFLARE_API_TOKEN"
"#;

    #[test]
    fn the_task_file_that_hints_show_gives_a_task() {
        let (_, file) = EXAMPLE.split_once('\n').unwrap();
        let task = Task::parse(file, "deploy").unwrap();
        assert_eq!((task.command.len(), task.grants.len()), (1, 1));
    }

    #[test]
    fn a_task_is_read_with_the_digest_of_its_file() {
        let task = Task::parse(DEPLOY, "deploy").unwrap();
        assert_eq!(task.digest, Digest::of(DEPLOY.as_bytes()));
        assert_eq!(
            (task.ttl.unwrap().as_secs(), task.uses, task.at_end),
            (900, Some(20), AtEnd::Terminate)
        );
        assert_eq!(task.grants[0].secret.to_string(), "prod/CLOUDFLARE_TOKEN");
    }

    #[test]
    fn t10_what_a_file_says_of_a_task_is_the_same_in_whatever_way_it_is_written() {
        let said = [
            "about = \"Deploy the docs\"",
            "command = [\"./deploy.sh\"]",
            "grant = { env = \"CLOUDFLARE_API_TOKEN\", secret = \"prod/CLOUDFLARE_TOKEN\", via = \"env\" }",
            "ttl = \"15m\"",
            "uses = 20",
        ];
        let other = r#"
[task . "deploy"]
uses = 0x14 # command = ["other"]
"about" = "\u0044eploy the docs"
ttl = '15m'
command = ["./deploy.\u0073h"]
grant = [{ via = "env", secret = """\
     prod/CLOUDFLARE_TOKEN""", env = "CLOUDFLARE_API_TOKEN" }]
"#;
        for file in [DEPLOY, other] {
            assert_eq!(Task::lines(file, "deploy").unwrap(), said, "{file}");
        }
        assert_eq!(
            Task::parse(DEPLOY, "deploy").unwrap().grants,
            Task::parse(other, "deploy").unwrap().grants
        );
        assert_eq!(Task::lines(DEPLOY, "none"), None);
        // A text of several lines is one line, and what is in it is none.
        let hidden = DEPLOY.replace("\"./deploy.sh\"", "\"\"\"x\nttl = \"1m\"\u{202e}\"\"\"");
        let lines = Task::lines(&hidden, "deploy").unwrap();
        assert_eq!(lines.len(), said.len());
        assert!(lines[1].starts_with("command = [") && lines[1].contains("<U+202E>"), "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{lines:?}");
    }

    #[test]
    fn an_unknown_task_names_those_there_are() {
        let error = Task::parse(DEPLOY, "depoly").unwrap_err().to_string();
        assert!(error.contains("deploy"), "{error}");
    }

    #[test]
    fn t10_escape_sequences_and_bidi_in_a_task_are_refused() {
        for text in ["\\u001b[2J", "\\u202e", "\\u200b"] {
            let file = DEPLOY.replace("Deploy the docs", text);
            assert!(matches!(Task::parse(&file, "deploy"), Err(TaskError::Text { .. })), "{text}");
        }
    }

    #[test]
    fn unknown_members_no_grants_twice_the_same_variable_and_zero_uses_are_refused() {
        let grant = "[[task.deploy.grant]]\nsecret = \"prod/A\"\nvia = \"env\"\nenv = \"CLOUDFLARE_API_TOKEN\"\n";
        for file in [
            DEPLOY.replace("uses = 20", "users = 20"),
            DEPLOY.replace("uses = 20", "uses = 0"),
            DEPLOY.replace("ttl = \"15m\"", "ttl = \"15\""),
            DEPLOY.split("[[").next().unwrap().to_owned(),
            format!("{DEPLOY}{grant}"),
            DEPLOY.replace("prod/CLOUDFLARE_TOKEN", "../x"),
            DEPLOY.replace("via = \"env\"", "via = \"fifo\""),
            DEPLOY.replace("via = \"env\"", "via = \"env\"\nhosts = [\"api.example.com\"]"),
            DEPLOY.replace("via = \"env\"", "via = \"proxy\"\nhosts = [\"*.example.com\"]"),
            DEPLOY.replace("via = \"env\"", "via = \"proxy\"\nmethods = [\"get\"]"),
            DEPLOY.replace("via = \"env\"", "via = \"proxy\"\npaths = [\"/a/../b\"]"),
            "x".repeat(LARGEST_FILE + 1),
        ] {
            assert!(Task::parse(&file, "deploy").is_err(), "{file}");
        }
    }
}
