//! A model on loopback that does what a test says: OpenAI's Responses and Anthropic's Messages, streamed as these agents read them.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

/// What the model does in a turn.
#[derive(Clone, Debug)]
pub enum Step {
    /// Calls a tool of the touchlease server.
    Lease(&'static str, Value),
    /// Runs a command with the agent's own shell tool; [`PLACEHOLDER`] in it stands for the last that the agent was given.
    Shell(String),
    /// Says something, and is done.
    Say(&'static str),
}

/// See [`Step::Shell`].
pub const PLACEHOLDER: &str = "@PLACEHOLDER@";

/// The model, until the test ends.
pub struct Model {
    pub port: u16,
    shared: Arc<Mutex<Turns>>,
}

struct Turns {
    steps: Vec<Step>,
    next: usize,
    /// Bodies of all that the agent sent.
    heard: Vec<Value>,
}

impl Model {
    pub fn start(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Mutex::new(Turns {
            steps,
            next: 0,
            heard: vec![],
        }));
        let turns = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let turns = turns.clone();
                // Whoever goes away in the middle has gone.
                thread::spawn(move || drop(serve(&stream, &turns)));
            }
        });
        Self { port, shared }
    }

    /// All that the agent told it, which is all that a model's owner gets to see.
    pub fn heard(&self) -> String {
        Value::from(self.shared.lock().unwrap().heard.clone()).to_string()
    }

    /// What the agent's tools answered, in the order of the steps.
    pub fn results(&self) -> Vec<String> {
        let turns = self.shared.lock().unwrap();
        // The last message has all of the conversation in it.
        let longest = turns.heard.iter().max_by_key(|body| body.to_string().len());
        longest.map(results).unwrap_or_default()
    }
}

/// What tools answered in a conversation.
fn results(conversation: &Value) -> Vec<String> {
    let openai = conversation["input"].as_array().into_iter().flatten();
    let openai = openai
        .filter(|item| item["type"] == "function_call_output")
        .map(|item| said(&item["output"]));
    let anthropic = conversation["messages"].as_array().into_iter().flatten();
    let anthropic = anthropic.flat_map(|message| message["content"].as_array().cloned().unwrap_or_default());
    let anthropic = anthropic
        .filter(|part| part["type"] == "tool_result")
        .map(|part| said(&part["content"]));
    openai.chain(anthropic).collect()
}

/// The last placeholder that tools have answered with.
fn placeholder(conversation: &Value) -> String {
    let said = results(conversation).concat().replace('\\', "");
    let from = said.rfind("\"placeholder\":\"").map(|at| at + 15);
    let from = from.or_else(|| said.rfind("export API='").map(|at| at + 12));
    let given = said[from.unwrap_or(said.len())..].split(['"', '\'']).next();
    given.unwrap_or_default().to_owned()
}

fn said(content: &Value) -> String {
    content.as_str().map_or_else(|| content.to_string(), str::to_owned)
}

fn serve(stream: &TcpStream, turns: &Mutex<Turns>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream.try_clone()?;
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            match header.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().unwrap_or(0),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let (kind, answer) = answer(&target, body, turns);
        write!(
            writer,
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

fn answer(target: &str, body: Value, turns: &Mutex<Turns>) -> (&'static str, String) {
    let mut turns = turns.lock().unwrap();
    // Both ask for more than turns: how long a text is, a title for the conversation.
    let is_turn = body["tools"].as_array().is_some_and(|tools| !tools.is_empty()) && !target.contains("count_tokens");
    let step = match turns.steps.get(turns.next) {
        Some(Step::Shell(command)) if is_turn => Step::Shell(command.replace(PLACEHOLDER, &placeholder(&body))),
        Some(step) if is_turn => step.clone(),
        _ => Step::Say("done"),
    };
    turns.next += usize::from(is_turn);
    let number = turns.next;
    let events = match () {
        () if target.contains("/responses") => responses(&step, number),
        () if target.contains("/messages") && !target.contains("count_tokens") => messages(&step, number),
        () => return ("application/json", json!({"input_tokens": 1, "data": [], "models": []}).to_string()),
    };
    turns.heard.push(body);
    let event = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    ("text/event-stream", events.iter().map(event).collect())
}

/// OpenAI's form, as Codex reads it.
fn responses(step: &Step, number: usize) -> Vec<Value> {
    let id = format!("resp_{number}");
    let call = |name: &str, arguments: &Value| json!({"type": "function_call", "id": format!("fc_{number}"), "call_id": format!("call_{number}"), "name": name, "arguments": arguments.to_string()});
    let item = match step {
        Step::Lease(tool, arguments) => {
            let mut item = call(tool, arguments);
            item["namespace"] = json!("mcp__touchlease");
            item
        }
        Step::Shell(command) => call("exec_command", &json!({"cmd": command})),
        Step::Say(text) => {
            json!({"type": "message", "role": "assistant", "id": format!("msg_{number}"), "content": [{"type": "output_text", "text": text}]})
        }
    };
    let usage =
        json!({"input_tokens": 1, "input_tokens_details": null, "output_tokens": 1, "output_tokens_details": null, "total_tokens": 2});
    vec![
        json!({"type": "response.created", "response": {"id": id}}),
        json!({"type": "response.output_item.done", "item": item}),
        json!({"type": "response.completed", "response": {"id": id, "usage": usage}}),
    ]
}

/// Anthropic's form, as Claude Code reads it.
fn messages(step: &Step, number: usize) -> Vec<Value> {
    let message = json!({
        "id": format!("msg_{number}"), "type": "message", "role": "assistant", "model": "mock", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1},
    });
    let call = |name: String, arguments: &Value| {
        let block = json!({"type": "tool_use", "id": format!("toolu_{number}"), "name": name, "input": {}});
        let delta = json!({"type": "input_json_delta", "partial_json": arguments.to_string()});
        (block, delta, "tool_use")
    };
    let (block, delta, stop) = match step {
        Step::Lease(tool, arguments) => call(format!("mcp__touchlease__{tool}"), arguments),
        Step::Shell(command) => call("Bash".into(), &json!({"command": command})),
        Step::Say(text) => (
            json!({"type": "text", "text": ""}),
            json!({"type": "text_delta", "text": text}),
            "end_turn",
        ),
    };
    vec![
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": 1}}),
        json!({"type": "message_stop"}),
    ]
}
