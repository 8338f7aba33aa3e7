//! What an import would do, before it does it. Values have no place here.

use std::path::Path;

use serde_json::{Value, json};

use super::super::change::unmaskable;
use super::super::session::Session;
use super::super::ui::Tone;
use super::left_out_json;
use super::plan::{Entry, Plan};
use crate::encoding::plain::count;

/// Prints it, for a person.
pub fn show(session: &Session, file: &Path, plan: &Plan, touches: usize) {
    let ui = session.ui;
    ui.line(&format!(
        "{}: {}, {} for scope {}; {}",
        file.display(),
        plan.format.name(),
        count(plan.entries.len(), "secret"),
        plan.scope,
        plan.rules.deliveries.join(" or ")
    ));
    if !plan.entries.is_empty() {
        ui.line(&plan.entries.iter().map(line).collect::<Vec<_>>().join("\n"));
    }
    if !plan.left_out.is_empty() {
        ui.line("left out:");
        let lines = plan.left_out.iter().map(|left| format!("  {}: {}", left.what, left.why));
        ui.line(&lines.collect::<Vec<_>>().join("\n"));
    }
    for secret in plan.unmaskable() {
        ui.note(Tone::Bad, &unmaskable(secret));
    }
    let needed = match touches {
        0 => "nothing to put".to_owned(),
        1 => "1 touch".to_owned(),
        touches => format!("{touches} touches, each for a part that is put whole or not at all"),
    };
    ui.note(Tone::Strong, &needed);
}

/// The same for a program; `done` of the secrets are in the vault.
pub fn json(plan: &Plan, touches: usize, done: usize) -> Value {
    let entry = |entry: &Entry| {
        json!({
            "secret": entry.secret,
            "from": entry.place,
            "renamed_from": entry.renamed,
            "replaces_version": entry.version,
        })
    };
    json!({
        "format": plan.format.name(),
        "scope": plan.scope,
        "secrets": plan.entries.iter().map(entry).collect::<Vec<_>>(),
        "left_out": plan.left_out.iter().map(|left| left_out_json(&left.what, left.why)).collect::<Vec<_>>(),
        "unmaskable": plan.unmaskable().collect::<Vec<_>>(),
        "touches": touches,
        "sealed": done,
    })
}

fn line(entry: &Entry) -> String {
    let what = match entry.version {
        Some(version) => format!("new value, in place of version {version}"),
        None => "new".to_owned(),
    };
    let renamed = if entry.renamed.is_some() { ", renamed" } else { "" };
    format!("  {}  {what}{renamed}, from {}", entry.secret, entry.place)
}
