//! Who asks, on a card.

use super::{Need, Row, must, push, spare};
use crate::cli::ui::Tone;
use crate::lease::requester::{Claimed, SSH_COMMAND, UNMASKED};
use crate::lease::text::RequesterText;

/// The kernel's word for it, and what the requester says of itself.
pub(super) fn requester_rows(rows: &mut Vec<Row>, requester: &RequesterText, verb: &str) {
    let claimed = &requester.claimed;
    let who = claimed
        .label()
        .map_or_else(|| claimed.in_short(), |label| format!("{} ({label})", claimed.in_short()));
    rows.push(Row {
        short: Some(format!("{} {verb}", claimed.program())),
        ..Row::new("who", format!("{who} {verb}"), Tone::Strong, Need::Must)
    });
    push(
        rows,
        "",
        format!("as claimed; the kernel says pid {}, uid {}", requester.pid, requester.uid),
    );
    if let Some(agent) = agent(claimed) {
        push(rows, "agent", agent);
    }
    if let Some(client) = claimed.ssh_client() {
        must(rows, "asked by", format!("{client} (claimed)"));
    }
    if let Some(command) = claimed.labels.get(SSH_COMMAND) {
        spare(rows, "", command.clone());
    }
    if claimed.labels.contains_key(UNMASKED) {
        must(
            rows,
            "output",
            "not masked: a value that the command prints is to be seen (claimed)".into(),
        );
    }
    if claimed.labels.contains_key("mcp_proxy") {
        must(
            rows,
            "used by",
            "whatever the agent runs too, through the proxy that it is behind".into(),
        );
    }
    if !claimed.folder.is_empty() {
        spare(rows, "in", claimed.folder.clone());
    }
}

/// What an agent's client says of itself over MCP.
fn agent(claimed: &Claimed) -> Option<String> {
    let client = claimed.labels.get("mcp_client")?;
    let told = [("mcp_session", "session"), ("mcp_turn", "turn"), ("mcp_call", "call")];
    let told = told
        .into_iter()
        .filter_map(|(label, word)| Some(format!(", {word} {}", claimed.labels.get(label)?)));
    let place = claimed.labels.get("mcp_workspace").map(|folder| format!(", in {folder}"));
    Some(format!(
        "{client}{}{} (claimed)",
        told.collect::<String>(),
        place.unwrap_or_default()
    ))
}

/// A requester's own terminal is not believed to have a person before it.
pub(super) fn asked_at(terminal: &str) -> Row {
    let whole = format!("another terminal, {terminal}, where it can be answered too; if you did not ask there, d");
    Row {
        short: Some(format!("another terminal, {terminal}")),
        ..Row::new("asked at", whole, Tone::Bad, Need::Must)
    }
}
