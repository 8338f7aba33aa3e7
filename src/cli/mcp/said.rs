//! Results: an object for the client, and the same in a few words for the model. No value is in any of them (T42): what they are made of
//! has none.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Map, Value, json};

use super::lease::{Entry, State};
use super::run::{Ended, Standing};
use super::workspace::TaskFile;
use crate::clock::{Clock, SystemClock};
use crate::lease::task::Task;
use crate::wire::reply::{LeaseView, Placeholder};
use crate::wire::{Failure, Outcome};

/// A result of both forms.
pub fn done(members: Value, text: String) -> CallToolResult {
    let mut result = CallToolResult::structured(members);
    result.content = vec![ContentBlock::text(text)];
    result
}

/// A failure: what the model can act on.
pub fn failed(failure: &Failure) -> CallToolResult {
    let members = json!({"state": "failed", "error": failure});
    let mut result = CallToolResult::structured_error(members);
    result.content = vec![ContentBlock::text(in_words(failure))];
    result
}

fn in_words(failure: &Failure) -> String {
    let hint = failure.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{} ({}): {}{hint}", outcome(failure.outcome), failure.reason, failure.message)
}

/// As it stands in JSON.
fn outcome(outcome: Outcome) -> String {
    match serde_json::to_value(outcome) {
        Ok(Value::String(word)) => word,
        _ => "failed".into(),
    }
}

/// The tasks of a file.
///
/// # Errors
/// It is no task file.
pub fn tasks(file: &TaskFile) -> Result<CallToolResult, Failure> {
    let (mut members, mut lines) = (vec![], vec![]);
    for name in file.names()? {
        match file.task(&name) {
            Ok(task) => {
                lines.push(task_line(&task));
                members.push(task_members(&task));
            }
            Err(failure) => {
                lines.push(format!("{name:?} cannot be asked for: {}", failure.message));
                members.push(json!({"name": name, "problem": failure.message}));
            }
        }
    }
    if lines.is_empty() {
        lines.push("touchlease.toml has no tasks".into());
    }
    Ok(done(json!({"tasks": members}), lines.join("\n")))
}

fn task_members(task: &Task) -> Value {
    let grants: Vec<Value> = task
        .grants
        .iter()
        .map(|grant| json!({"secret": grant.secret.to_string(), "via": grant.via.to_string(), "env": grant.env}))
        .collect();
    json!({
        "name": task.name,
        "about": task.about,
        "command": task.command,
        "seconds": task.ttl.map(|ttl| ttl.as_secs()),
        "uses": task.uses,
        "grants": grants,
    })
}

fn task_line(task: &Task) -> String {
    let grants: Vec<String> = task
        .grants
        .iter()
        .map(|grant| match &grant.env {
            Some(name) => format!("{} as {name}", grant.secret),
            None => grant.secret.to_string(),
        })
        .collect();
    let command = if task.command.is_empty() {
        "no command, so run_task cannot run it".into()
    } else {
        format!("runs {}", crate::lease::requester::command_line(&task.command))
    };
    format!("{}: {}; {command}; gets {}", task.name, task.about, grants.join(", "))
}

/// Where a lease stands; `fresh` is what the daemon says of it now, `before` whether it was asked for before.
pub fn lease(entry: &Entry, fresh: Option<&LeaseView>, before: bool) -> CallToolResult {
    let name = &entry.name;
    let (stands, text) = match entry.state() {
        State::Asking { ahead } => (
            json!({"state": "asking", "ahead": ahead}),
            format!("{name} is asked for; {ahead} other requests come first. Call wait_lease."),
        ),
        State::Pending { id, words, until, now } => pending(name, &id, &words, until.since(SystemClock.boot()).as_secs(), &now),
        State::Live { view, since, placeholders } => {
            let age = SystemClock.boot().since(since).as_secs();
            in_session(live(name, &view, fresh, age), &placeholders)
        }
        State::Refused(failure) => {
            let mut result = failed(&failure);
            let stands = json!({"state": "refused", "error": failure});
            result.structured_content = Some(joined(entry, before, stands));
            return result;
        }
        State::Ended { id, why } => (
            json!({"state": "ended", "id": id, "why": why}),
            format!("{name} is over ({why}). Ask for a new lease with request_lease if the task still needs one."),
        ),
    };
    done(joined(entry, before, stands), text)
}

fn joined(entry: &Entry, before: bool, stands: Value) -> Value {
    let mut members = Map::new();
    members.insert("lease".into(), json!(entry.name));
    members.insert("task".into(), json!(entry.task.name));
    if before {
        members.insert("asked_before".into(), json!(true));
    }
    if let Value::Object(stands) = stands {
        members.extend(stands);
    }
    Value::Object(members)
}

fn pending(name: &str, id: &str, words: &[String; 4], left: u64, now: &str) -> (Value, String) {
    let what_to_do = format!("{now}. The words: {}. {left} s left.", words.join(" "));
    let members = json!({
        "state": "pending",
        "id": id,
        "words": words,
        "seconds_left": left,
        "what_to_do": what_to_do,
    });
    (
        members,
        format!("{name} waits for a person. Tell the person: {what_to_do} Then call wait_lease with {name}."),
    )
}

fn live(name: &str, view: &LeaseView, fresh: Option<&LeaseView>, age: u64) -> (Value, String) {
    let (left, uses) = match fresh {
        Some(fresh) => (fresh.left, fresh.uses_left),
        None => (view.left.saturating_sub(age), view.uses_left),
    };
    let members = json!({
        "state": "live",
        "id": view.id,
        "words": view.words,
        "seconds_left": left,
        "uses_left": uses,
        "secrets": view.secrets,
        "key": view.key,
    });
    let uses = uses.map(|uses| format!(" and {uses} uses")).unwrap_or_default();
    (
        members,
        format!("{name} is live: {left} s{uses} left. Call run_task with {name}, and end_lease when the credentials are needed no more."),
    )
}

/// What the agent's own programs can use, where the lease came to the proxy that they are behind. A placeholder is no value.
fn in_session((mut members, mut text): (Value, String), placeholders: &[Placeholder]) -> (Value, String) {
    if placeholders.is_empty() {
        return (members, text);
    }
    let exports: Vec<String> = placeholders
        .iter()
        .map(|given| format!("export {}='{}'", given.env, given.placeholder))
        .collect();
    members["placeholders"] = json!(placeholders);
    text.push_str(" Commands of your own can use the credentials too, in requests to their hosts through HTTPS_PROXY as it is set, with: ");
    text.push_str(&exports.join("; "));
    (members, text)
}

/// How a command goes, or went.
pub fn run(entry: &Entry, standing: &Standing) -> CallToolResult {
    let output = &standing.output;
    let mut members = json!({
        "lease": entry.name,
        "task": entry.task.name,
        "output": output,
        "output_left_out": standing.left_out,
        "uses_left": standing.uses_left,
    });
    let (stands, text, failed) = match &standing.ended {
        None => (
            json!({"state": "running"}),
            "it runs still: call run_task again to go on waiting".to_owned(),
            false,
        ),
        Some(ended) => ended_members(ended),
    };
    if let (Some(members), Value::Object(stands)) = (members.as_object_mut(), stands) {
        members.extend(stands);
    }
    let mut result = done(members, format!("{text}\n{output}"));
    result.is_error = Some(failed);
    result
}

fn ended_members(ended: &Ended) -> (Value, String, bool) {
    let how = match (ended.code, ended.signal) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, signal) => format!("it was ended by signal {}", signal.unwrap_or_default()),
    };
    let why = ended.why.as_ref().map(|why| format!(", because {why}")).unwrap_or_default();
    let members = json!({
        "state": "done",
        "exit_code": ended.code,
        "signal": ended.signal,
        "ended_because": ended.why,
        "masked": ended.masked,
        "left_running": ended.left_running,
    });
    (members, format!("{how}{why}"), ended.code != Some(0))
}

/// One line for whoever waits.
pub fn in_short(entry: &Entry) -> String {
    match entry.state() {
        State::Asking { ahead } => format!("{ahead} other requests come first"),
        State::Pending { words, until, now, .. } => {
            let left = until.since(SystemClock.boot()).as_secs();
            format!("{now}: {}; {left} s left", words.join(" "))
        }
        State::Live { .. } => "live".into(),
        State::Refused(failure) => failure.message,
        State::Ended { why, .. } => format!("over: {why}"),
    }
}
