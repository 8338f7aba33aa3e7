//! `touchlease merge`: what was changed on two machines apart from each other, and which of two versions stays.

use jiff::tz::TimeZone;
use serde_json::json;

use super::card::joins::digits;
use super::card::{clock_time, rules};
use super::init::unexpected;
use super::session::Session;
use super::ui::Tone;
use crate::encoding::SecretRef;
use crate::wire::reply::{ContestView, MergeView, VersionView};
use crate::wire::request::KeepAsk;
use crate::wire::{Failure, Reply, Request};

/// Show what two machines changed apart from each other, or join it.
///
/// After a `git merge` a scope may have states of two machines. The next touch that opens it joins them: it takes in what only one side
/// knew. Where both wrote the same secret, both versions stay until a person says which it is. Without arguments nothing is touched.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Join the states of this scope now, with a touch.
    #[arg(value_name = "SCOPE")]
    scope: Option<String>,
    /// Keep this one of several versions, named by the first digits of its record as `merge` shows them. Repeat for more.
    #[arg(long, value_name = "SECRET=RECORD", value_parser = keep)]
    keep: Vec<(SecretRef, String)>,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: Args) -> Result<(), Failure> {
    if args.scope.is_none() && args.keep.is_empty() {
        return show(session);
    }
    let ask = |(secret, record): (SecretRef, String)| KeepAsk {
        secret: secret.to_string(),
        record,
    };
    let request = Request::Merge {
        scope: args.scope,
        keep: args.keep.into_iter().map(ask).collect(),
    };
    let Reply::Merged { scope, joined, kept } = session.ask(request)? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "scope": scope, "joined": joined, "kept": kept }));
    match joined {
        0 if kept.is_empty() => session.ui.line(&format!("nothing to join in {scope}")),
        0 => {}
        _ => session.ui.line(&format!("{scope}: {joined} states joined")),
    }
    for secret in kept {
        session.ui.line(&format!("{secret} kept"));
    }
    Ok(())
}

fn show(session: &Session) -> Result<(), Failure> {
    let Reply::Merges { merges } = session.ask(Request::Merges)? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "merges": merges }));
    let zone = TimeZone::system();
    if merges.is_empty() {
        session.ui.line("nothing to merge");
    }
    for merge in &merges {
        show_one(session, merge, &zone);
    }
    if let Some(version) = merges
        .iter()
        .flat_map(|merge| &merge.contested)
        .flat_map(|contest| &contest.versions)
        .next()
    {
        let hint = format!("hint: touchlease merge --keep {}={}", version.secret, digits(&version.record));
        session.ui.note(Tone::Strong, &hint);
    }
    Ok(())
}

fn show_one(session: &Session, merge: &MergeView, zone: &TimeZone) {
    if merge.heads > 1 {
        let text = format!(
            "{}: {} states from machines that did not know of each other; the next touch joins them",
            merge.scope, merge.heads
        );
        session.ui.hanging(&text, 4);
    }
    for version in &merge.secrets {
        let text = format!("  takes in  {}  {}", version.secret, said(version, zone));
        session.ui.hanging(&text, 4);
    }
    for ContestView { secret, versions } in &merge.contested {
        session.ui.line(&format!("{secret} was written on several machines: keep one"));
        for version in versions {
            let text = format!("  {}  {}; {}", digits(&version.record), said(version, zone), rules(&version.rules));
            session.ui.hanging(&text, 4);
        }
    }
}

fn said(version: &VersionView, zone: &TimeZone) -> String {
    let earlier = if version.earlier_key { ", under an earlier key" } else { "" };
    format!("version {} of {}{earlier}", version.version, clock_time(version.changed, zone))
}

fn keep(text: &str) -> Result<(SecretRef, String), String> {
    let (secret, record) = text.rsplit_once('=').ok_or("not of the form SECRET=RECORD")?;
    Ok((secret.parse().map_err(|error| format!("{error}"))?, record.to_owned()))
}
