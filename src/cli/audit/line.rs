//! A line of the log as a person reads it: the event's name, then what it is about, each as `name=text`.
//!
//! Nothing that somebody else wrote passes for what stands beside it: a text with a blank or a quote in it stands in quotes, of which there
//! are none inside.

use std::collections::HashMap;

use serde_json::Value;

use crate::audit::Line;
use crate::audit::event::{Asked, Event, Requester};
use crate::cli::card::duration;
use crate::cli::columns::fit;
use crate::encoding::plain::visible;

/// Digits in which no two digests of a log of any size agree by chance.
pub const FEWEST_DIGITS: usize = 12;
/// Columns of somebody's words, and names of secrets, that a line shows.
const WORDS: usize = 64;
const NAMED: usize = 8;

/// The event, in one line.
pub fn said(event: &Event, digests: &Digests) -> String {
    let (name, members) = taken_apart(event);
    let parts = match event {
        Event::Asked(asked) => of_question(asked),
        _ => of_others(&members, digests),
    };
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
    let parts = parts.map(|(name, text)| format!("{name}={text}"));
    let parts: Vec<_> = std::iter::once(name).chain(parts).map(|part| visible(&part)).collect();
    parts.join("  ")
}

type Parts = Vec<(String, String)>;

/// What is asked for, how long, who asks, and why. A change has no time; its reason is the daemon's word for it.
fn of_question(asked: &Asked) -> Parts {
    let reason = words(asked.reason.as_deref().unwrap_or_default());
    let (what, ttl, reason) = match asked.ttl {
        0 => (reason, String::new(), String::new()),
        ttl => (String::new(), words(&duration(ttl.into())), reason),
    };
    let Requester {
        ancestors,
        exe,
        folder,
        pid,
        uid,
    } = &asked.requester;
    let parts = [
        ("what", what),
        ("secrets", some(asked.secrets.iter().map(String::as_str))),
        ("task", text(asked.task.as_deref().unwrap_or_default())),
        ("for", ttl),
        ("uses", asked.uses.map(|uses| uses.to_string()).unwrap_or_default()),
        ("claimed", claimed(exe, ancestors.iter().map(String::as_str))),
        ("in", words(folder)),
        ("pid", pid.to_string()),
        ("uid", uid.to_string()),
        ("reason", reason),
    ];
    parts.map(|(name, text)| (name.to_owned(), text)).into()
}

/// What the text that was signed says, then the event's members.
fn of_others(members: &serde_json::Map<String, Value>, digests: &Digests) -> Parts {
    let signed = members.get("signed").and_then(Value::as_object).unwrap_or(members);
    let mut parts = signed.get("text").and_then(Value::as_str).map(of_text).unwrap_or_default();
    let of_text: Vec<String> = parts.iter().map(|(name, _)| name.clone()).collect();
    let has_name = signed.get("name").is_some_and(Value::is_string);
    let of_signer = signed
        .iter()
        .filter(|(name, _)| ["name", "profile", "transport"].contains(&name.as_str()));
    for (name, value) in members.iter().chain(of_signer) {
        let shown = match value {
            Value::String(_) if name == "key" && has_name => continue,
            // The text has them too.
            Value::Array(_) if name == "names" && of_text.iter().any(|name| name == "secrets") => continue,
            Value::String(_) if matches!(name.as_str(), "text" | "sshsig" | "kind") => continue,
            Value::String(digest) if digests.line_of(digest).is_some() => {
                digests.line_of(digest).map(|seq| format!("line {seq}")).unwrap_or_default()
            }
            Value::String(said) if is_digest(said) => digests.short(said).to_owned(),
            Value::String(said) => text(said),
            Value::Number(number) => number.to_string(),
            Value::Array(items) => some(items.iter().filter_map(Value::as_str)),
            Value::Object(cut) if name == "cut" => format!("{} bytes", cut["bytes"]),
            _ => continue,
        };
        let part = (if name == "name" { "key".to_owned() } else { name.clone() }, shown);
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}

/// What a text that was signed says first: its id, the secrets, its task, who asked as claimed, where, and why.
fn of_text(signed: &str) -> Parts {
    let Ok(signed) = serde_json::from_str::<Value>(signed) else {
        return vec![];
    };
    let requester = &signed["origin"]["requester"]["claimed"];
    let secrets = ["grants", "writes"].iter().filter_map(|list| signed[*list].as_array()).flatten();
    let secrets = secrets.filter_map(|part| part["secret"].as_str());
    let removed = strings(&signed["removes"]);
    let ancestors = strings(&requester["ancestors"]);
    let parts = [
        ("id", text(of(&signed["id"]))),
        ("secrets", some(secrets)),
        ("scopes", some(strings(&signed["scopes"]))),
        ("places", some(strings(&signed["places"]))),
        ("removes", some(removed)),
        ("task", text(of(&signed["task"]["name"]))),
        ("claimed", claimed(of(&requester["executable"]), ancestors)),
        ("in", words(of(&requester["folder"]))),
        ("reason", words(of(&signed["reason"]))),
    ];
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
    parts.map(|(name, text)| (name.to_owned(), text)).collect()
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The program and those that started it.
fn claimed<'a>(executable: &'a str, ancestors: impl Iterator<Item = &'a str>) -> String {
    let program = executable.rsplit('/').next().unwrap_or_default();
    let program = if program.is_empty() { "a program that is gone" } else { program };
    words(&std::iter::once(program).chain(ancestors).collect::<Vec<_>>().join(" <- "))
}

/// A text of which nobody knows who wrote it: as it is where it is one word.
fn text(said: &str) -> String {
    let is_word = !said.contains(|c: char| c.is_whitespace() || c == '"') && visible(said) == said;
    if is_word && said.len() <= WORDS {
        said.to_owned()
    } else {
        words(said)
    }
}

/// Somebody's own words, in quotes of which there are none inside.
fn words(text: &str) -> String {
    match fit(text, WORDS) {
        text if text.is_empty() => text,
        text => format!("\"{}\"", text.replace('"', "'")),
    }
}

/// The first of many names, and how many more there are.
fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(text).collect();
    let (first, more) = names.split_at(names.len().min(NAMED));
    let more = if more.is_empty() {
        String::new()
    } else {
        format!(" and {} more", more.len())
    };
    format!("{}{more}", first.join(","))
}

/// The event's name, and its members.
fn taken_apart(event: &Event) -> (String, serde_json::Map<String, Value>) {
    let Ok(Value::Object(event)) = serde_json::to_value(event) else {
        return Default::default();
    };
    match event.into_iter().next() {
        Some((name, Value::Object(members))) => (name, members),
        _ => Default::default(),
    }
}

/// The digests of a log, for a screen: those of its lines by the lines' numbers, others by as many digits as tell them apart.
pub struct Digests {
    lines: HashMap<String, u64>,
    digits: usize,
}

impl Digests {
    /// Those of these lines.
    pub fn of(log: &[&str]) -> Self {
        let mut lines = HashMap::new();
        let mut all: Vec<&str> = Vec::new();
        for line in log {
            all.extend(line.split('"').filter(|part| is_digest(part)));
            // Each line names the one before it by its hash.
            if let Ok(line) = Line::from_bytes(format!("{line}\n").as_bytes()) {
                lines.insert(line.prev.to_string(), line.seq.saturating_sub(1));
            }
        }
        all.sort_unstable();
        all.dedup();
        let agree = |pair: &[&str]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
        let needed = all.windows(2).map(|pair| agree(pair) + 1).max().unwrap_or_default();
        Self {
            lines,
            digits: needed.max(FEWEST_DIGITS),
        }
    }

    fn line_of(&self, text: &str) -> Option<u64> {
        self.lines.get(text).copied()
    }

    fn short<'a>(&self, text: &'a str) -> &'a str {
        &text[..self.digits.min(text.len())]
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
