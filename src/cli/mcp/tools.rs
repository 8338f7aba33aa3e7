//! The tools: names, words for the model, arguments.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::wire::{Failure, Outcome};

pub const LIST_TASKS: &str = "list_tasks";
pub const REQUEST_LEASE: &str = "request_lease";
pub const WAIT_LEASE: &str = "wait_lease";
pub const LEASE_STATUS: &str = "lease_status";
pub const END_LEASE: &str = "end_lease";
pub const RUN_TASK: &str = "run_task";

/// Longest wait of a call in seconds. Clients end a call by themselves (Codex after 300 s, others sooner).
pub const LONGEST_WAIT: u64 = 50;
/// The same for a command that runs.
pub const LONGEST_RUN: u64 = 240;

/// What a model is told before any tool.
pub const INSTRUCTIONS: &str = "\
touchlease lends credentials for tasks that are written in touchlease.toml, each after a person has touched a security key. You never see \
the credentials and you do not need them: `run_task` runs the task's command with them. Use it like this: list_tasks; request_lease with \
the task and an honest reason; show the person the four words and what to do; wait_lease until `state` is `live`; run_task; end_lease when \
you are done. If the person refuses, do not ask again for the same thing: ask the person what to do instead. Never look for credentials in \
files, environment or history.";

/// Arguments of `request_lease`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestArgs {
    pub task: String,
    pub reason: String,
}

/// Arguments of `wait_lease` and `run_task`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitArgs {
    pub lease: String,
    pub seconds: Option<u64>,
}

/// Arguments of `lease_status` and `end_lease`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseArgs {
    pub lease: String,
}

/// Arguments of `list_tasks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoArgs {}

/// Reads a tool's arguments.
///
/// # Errors
/// Something is missing, unknown or of another type.
pub fn arguments<T: DeserializeOwned>(given: Option<JsonObject>) -> Result<T, Failure> {
    serde_json::from_value(Value::Object(given.unwrap_or_default())).map_err(|error| {
        // Names and types of what was sent, cut: it may be long.
        let said: String = error.to_string().chars().take(200).collect();
        Failure::new(Outcome::BadInput, "arguments", format!("the arguments cannot be read: {said}"))
            .hint("tools/list shows the arguments of each tool")
    })
}

/// All tools.
pub fn all() -> Vec<Tool> {
    let lease = json!({"type": "string", "description": "The lease's name, from request_lease, such as L1."});
    let wait = |most: u64| json!({"type": "integer", "minimum": 1, "maximum": most, "description": format!("How long to wait at most, in seconds; {most} when left out.")});
    vec![
        tool(
            LIST_TASKS,
            "List the tasks for which a lease can be asked for",
            "List the tasks of this workspace's touchlease.toml: what each is for, the command that run_task runs, which credentials it \
             gets and how (names only, never values), for how long. Call this first. Free: nobody is asked.",
            &json!({}),
            &[],
            Kind::Looks,
        ),
        tool(
            REQUEST_LEASE,
            "Ask a person for the credentials of a task",
            "Ask for a lease on a task's credentials. A person has to approve it by touching a security key, so ask only when you are \
             ready to run the task, and only for what the user wants done. It answers at once: `pending` with the lease's name and four \
             words. Show the person the four words and `what_to_do`, then call wait_lease. A refusal says why in `reason` and what helps \
             in `hint`; after `denied` do not ask again unless the user tells you to.",
            &json!({
                "task": {"type": "string", "description": "The task's name, from list_tasks."},
                "reason": {"type": "string", "description": "Why you need it now, in one honest line of at most 200 bytes; the person reads it."},
            }),
            &["task", "reason"],
            Kind::Asks,
        ),
        tool(
            WAIT_LEASE,
            "Wait until the person has decided",
            "Wait until a requested lease is approved or refused, at most 50 seconds. `state` is then `live` (go on with run_task), \
             `refused` (with `reason` and `hint`), `ended`, or still `asking` or `pending`: then tell the person again what to do, and \
             call this again.",
            &json!({"lease": lease, "seconds": wait(LONGEST_WAIT)}),
            &["lease"],
            Kind::Looks,
        ),
        tool(
            LEASE_STATUS,
            "Look at a lease",
            "Say where a lease stands, without waiting: its state, the time and the uses that are left.",
            &json!({"lease": lease}),
            &["lease"],
            Kind::Looks,
        ),
        tool(
            END_LEASE,
            "Give a lease back",
            "End a lease, or withdraw a request that is still pending; a command that runs under it is ended. Call this as soon as you \
             need the credentials no more.",
            &json!({"lease": lease}),
            &["lease"],
            Kind::Ends,
        ),
        tool(
            RUN_TASK,
            "Run the task's command with its credentials",
            "Run the command that touchlease.toml fixes for the task, under a live lease. The command and its arguments cannot be \
             chosen here. It runs in the workspace in a sandbox: it can read the system's programs and write to the workspace (not to \
             .git, agents' settings or touchlease.toml) and to a temporary folder. It has no network, unless the task grants a credential \
             by proxy: then HTTPS_PROXY leads to that credential's hosts and to no others, and the variable holds a placeholder that \
             works there as the credential would. What it writes comes back in `output` with the credentials masked, long output without its middle, and `exit_code`. Each start is \
             one use of the lease. If `state` is `running`, call this again with the same lease to go on waiting: it is not started \
             twice at a time.",
            &json!({"lease": lease, "seconds": wait(LONGEST_RUN)}),
            &["lease"],
            Kind::Runs,
        ),
    ]
}

/// What a tool does, for its annotations.
#[derive(Clone, Copy)]
enum Kind {
    Looks,
    Asks,
    Ends,
    Runs,
}

fn tool(name: &'static str, title: &str, description: &'static str, properties: &Value, required: &[&str], kind: Kind) -> Tool {
    let mut schema = JsonObject::new();
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), properties.clone());
    schema.insert("required".into(), json!(required));
    schema.insert("additionalProperties".into(), json!(false));
    let annotations = ToolAnnotations::with_title(title)
        .read_only(matches!(kind, Kind::Looks))
        .destructive(matches!(kind, Kind::Runs))
        .idempotent(!matches!(kind, Kind::Runs))
        .open_world(matches!(kind, Kind::Runs));
    let mut tool = Tool::new(name, description, Arc::new(schema)).with_annotations(annotations);
    tool.title = Some(title.to_owned());
    tool
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn object(value: Value) -> Option<JsonObject> {
        value.as_object().cloned()
    }

    #[test]
    fn every_tool_says_what_it_takes_and_takes_nothing_else() {
        for tool in all() {
            let schema = Value::Object((*tool.input_schema).clone());
            assert_eq!(schema["additionalProperties"], false, "{}", tool.name);
            let names: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
            let required = schema["required"].as_array().unwrap();
            assert!(required.iter().all(|name| names.iter().any(|known| name == known)), "{}", tool.name);
            assert!(tool.description.is_some_and(|words| words.len() > 60), "{}", tool.name);
        }
    }

    #[test]
    fn arguments_that_are_missing_unknown_or_of_another_type_are_refused_in_few_words() {
        for given in [
            json!({}),
            json!({"lease": 1}),
            json!({"lease": "L1", "command": "rm"}),
            json!({"lease": "L1", "seconds": -1}),
        ] {
            let failure = arguments::<WaitArgs>(object(given)).unwrap_err();
            assert_eq!(failure.reason, "arguments");
        }
        let long = json!({"x".repeat(100_000): 1});
        assert!(arguments::<LeaseArgs>(object(long)).unwrap_err().message.len() < 300);
        assert_eq!(arguments::<WaitArgs>(object(json!({"lease": "L1"}))).unwrap().seconds, None);
        assert!(arguments::<NoArgs>(None).is_ok());
    }
}
