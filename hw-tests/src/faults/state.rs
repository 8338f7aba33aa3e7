//! What a person finds in a vault: keys, secrets with their rules, values.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs, io,
};

use serde_json::Value;

use super::bench::EXPORT;
use crate::harness::Home;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What nothing is given out before, until a person has decided about it: why the product refuses, and how its doctor names it.
const DECISIONS: [(&str, &str); 3] = [("roster_fork", "forked_roster"), ("older", "older"), ("clock", "clock")];

/// All of it; empty without a vault.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Names of the enrolled keys, in their order.
    keys: Vec<String>,
    /// Scopes: number of the key, and who is in, by name.
    scopes: BTreeMap<String, String>,
    /// Secrets: version and rules by name; several versions of one that was written apart.
    secrets: BTreeMap<String, String>,
    /// Values by name.
    values: BTreeMap<String, String>,
    /// What waits to be joined: heads of each scope.
    heads: String,
    /// What a person has to decide about first. Before a fork or an older vault is decided about, nothing else can be seen.
    undecided: Option<&'static str>,
    /// What an export wrote.
    exported: Option<String>,
}

impl State {
    /// Looks, by the product's own commands; one touch, if there is a secret. Starts a daemon where none runs.
    ///
    /// # Errors
    /// A command fails; a value does not come; vault or log are not as they should be; values left the vault without a line in its log.
    pub fn of(home: &Home) -> Result<Self> {
        let (mut state, contested) = Self::seen(home)?;
        let names: Vec<String> = state.secrets.keys().filter(|name| !contested.contains(*name)).cloned().collect();
        if !names.is_empty() && state.undecided.is_none() {
            state.values = values(home, &names)?;
        }
        state.exported = exported(home)?;
        healthy(home, state.undecided)?;
        Ok(state)
    }

    /// The same without a touch, and without a judgement of vault and log.
    ///
    /// # Errors
    /// A command fails.
    pub fn without_values(home: &Home) -> Result<Self> {
        Self::seen(home).map(|(state, _)| state)
    }

    /// The same, and the secrets of which one has to be kept.
    fn seen(home: &Home) -> Result<(Self, BTreeSet<String>)> {
        let keys = match json(home, &["key", "list"]) {
            Err(error) => {
                let undecided = DECISIONS.iter().map(|(refused, _)| *refused);
                let undecided = undecided
                    .into_iter()
                    .find(|refused| error.to_string().contains(&format!("{refused:?}")));
                let undecided = Some(undecided.ok_or(error)?);
                return Ok((
                    Self {
                        undecided,
                        ..Self::default()
                    },
                    BTreeSet::new(),
                ));
            }
            keys => keys?,
        };
        let keys = keys["keys"].as_array().into_iter().flatten().filter_map(|key| key["name"].as_str());
        let keys: Vec<String> = keys.map(str::to_owned).collect();
        if keys.is_empty() {
            return Ok(Default::default());
        }
        let scopes = json(home, &["scope", "list"])?;
        let scopes = scopes["scopes"].as_array().into_iter().flatten().map(|scope| {
            let name = scope["name"].as_str().unwrap_or_default().to_owned();
            (name, format!("key {} {}", scope["epoch"], scope["keys"]))
        });
        let list = json(home, &["list"])?;
        if list["unreadable"].as_array().is_some_and(|files| !files.is_empty()) {
            return Err(format!("unreadable: {list}").into());
        }
        let mut secrets: BTreeMap<String, String> = BTreeMap::new();
        for secret in list["secrets"].as_array().into_iter().flatten() {
            let name = secret["secret"].as_str().unwrap_or_default().to_owned();
            *secrets.entry(name).or_default() += &format!("version {} {};", secret["version"], secret["rules"]);
        }
        let merges = json(home, &["merge"])?;
        let merges = merges["merges"].as_array().map(Vec::as_slice).unwrap_or_default();
        let contested = merges.iter().flat_map(|merge| merge["contested"].as_array().into_iter().flatten());
        let contested = contested
            .filter_map(|contest| contest["secret"].as_str())
            .map(str::to_owned)
            .collect();
        let state = Self {
            keys,
            scopes: scopes.collect(),
            secrets,
            heads: merges
                .iter()
                .map(|merge| format!("{} {};", merge["scope"], merge["heads"]))
                .collect(),
            undecided: clock_is_refused(home)?.then_some("clock"),
            ..Self::default()
        };
        Ok((state, contested))
    }

    /// The same without its values and what an export wrote.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self {
            values: BTreeMap::new(),
            exported: None,
            ..self.clone()
        }
    }
}

fn values(home: &Home, names: &[String]) -> Result<BTreeMap<String, String>> {
    let mut arguments = vec!["run".to_owned()];
    let mut script = "true".to_owned();
    for (n, name) in names.iter().enumerate() {
        arguments.extend(["--with".to_owned(), format!("V{n}={name}")]);
        script += &format!("; printf %s \"$V{n}\" > value{n}");
    }
    arguments.extend(["--", "sh", "-c", &script].map(str::to_owned));
    let (status, shown) = home.terminal(&arguments)?.finish()?;
    if !status.success() {
        return Err(format!("{arguments:?}: {status}\n{shown}").into());
    }
    let value = |(n, name): (usize, &String)| Ok((name.clone(), fs::read_to_string(home.work().join(format!("value{n}")))?));
    names.iter().enumerate().map(value).collect()
}

/// What an export wrote, which the log has to tell of: the line is written before a value leaves.
fn exported(home: &Home) -> Result<Option<String>> {
    let written = match fs::read_to_string(home.work().join(EXPORT)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        written => written?,
    };
    match fs::read_to_string(home.log()?)?.contains("\"exported\":") {
        true => Ok(Some(written)),
        false => Err("an export of which the log does not tell".into()),
    }
}

/// Whether no lease is given because of the clock.
fn clock_is_refused(home: &Home) -> Result<bool> {
    let found = json(home, &["doctor"])?;
    let mut findings = found["findings"].as_array().into_iter().flatten();
    Ok(findings.any(|finding| finding["part"] == "clock" && finding["level"] == "problem"))
}

/// Neither vault nor log has a problem but for what is undecided, and nothing is left of an interrupted change.
fn healthy(home: &Home, undecided: Option<&str>) -> Result<()> {
    let found = json(home, &["doctor"])?;
    let expected = DECISIONS
        .iter()
        .find(|(refused, _)| undecided == Some(refused))
        .map(|(_, named)| *named);
    let bad = |finding: &&Value| {
        let part = finding["part"].as_str().unwrap_or_default();
        let counts = finding["level"] == "problem" && finding["reason"].as_str() != expected;
        ["vault", "log", "clock"].contains(&part) && (counts || finding["reason"] == "unfinished")
    };
    match found["findings"].as_array().into_iter().flatten().find(bad) {
        Some(finding) => Err(format!("doctor: {finding}").into()),
        None => Ok(()),
    }
}

fn json(home: &Home, arguments: &[&str]) -> Result<Value> {
    let output = home.run([arguments, &["--json"]].concat())?;
    let said: Value = serde_json::from_slice(&output.stdout)?;
    match &said["error"] {
        Value::Null => Ok(said),
        error => Err(format!("{arguments:?}: {error}").into()),
    }
}
