//! What a person finds in a vault: keys, secrets with their rules, values.

use std::{collections::BTreeMap, error::Error, fs};

use serde_json::Value;

use crate::harness::Home;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// All of it; empty without a vault.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Names of the enrolled keys, in their order.
    keys: Vec<String>,
    /// Scopes: number of the key, and who is in, by name.
    scopes: BTreeMap<String, String>,
    /// Secrets: version and rules by name.
    secrets: BTreeMap<String, String>,
    /// Values by name.
    values: BTreeMap<String, String>,
    /// What waits to be joined: heads of each scope, and whether the roster has two ends; then nothing else can be seen.
    unjoined: (String, bool),
}

impl State {
    /// Looks, by the product's own commands; one touch, if there is a secret. Starts a daemon where none runs.
    ///
    /// # Errors
    /// A command fails; a value does not come; vault or log are not as they should be.
    pub fn of(home: &Home) -> Result<Self> {
        let mut state = Self::without_values(home)?;
        let names: Vec<String> = state.secrets.keys().cloned().collect();
        if !names.is_empty() {
            state.values = values(home, &names)?;
        }
        if !state.unjoined.1 {
            healthy(home)?;
        }
        Ok(state)
    }

    /// The same without a touch, and without a judgement of vault and log.
    ///
    /// # Errors
    /// A command fails.
    pub fn without_values(home: &Home) -> Result<Self> {
        let keys = match json(home, &["key", "list"]) {
            Err(error) if error.to_string().contains("roster_fork") => {
                return Ok(Self {
                    unjoined: (String::new(), true),
                    ..Self::default()
                });
            }
            keys => keys?,
        };
        let keys = keys["keys"].as_array().into_iter().flatten().filter_map(|key| key["name"].as_str());
        let keys: Vec<String> = keys.map(str::to_owned).collect();
        if keys.is_empty() {
            return Ok(Self::default());
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
        let secrets = list["secrets"].as_array().into_iter().flatten().map(|secret| {
            let name = secret["secret"].as_str().unwrap_or_default().to_owned();
            (name, format!("version {} {}", secret["version"], secret["rules"]))
        });
        let merges = json(home, &["merge"])?;
        let heads = |merge: &Value| format!("{} {};", merge["scope"], merge["heads"]);
        let unjoined = merges["merges"].as_array().into_iter().flatten().map(heads).collect();
        Ok(Self {
            unjoined: (unjoined, false),
            keys,
            scopes: scopes.collect(),
            secrets: secrets.collect(),
            values: BTreeMap::new(),
        })
    }

    /// The same without its values.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self {
            values: BTreeMap::new(),
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

/// Neither vault nor log has a problem, and nothing is left of an interrupted change.
fn healthy(home: &Home) -> Result<()> {
    let found = json(home, &["doctor"])?;
    let bad = |finding: &&Value| {
        let part = finding["part"].as_str().unwrap_or_default();
        ["vault", "log", "clock"].contains(&part) && (finding["level"] == "problem" || finding["reason"] == "unfinished")
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
