//! What is lost with an older copy of the vault, on a card.

use jiff::tz::TimeZone;

use super::joins::digits;
use super::{Need, Row, clock_time};
use crate::cli::ui::Tone;
use crate::encoding::plain::count;
use crate::lease::text::OlderText;

/// What is asked for.
pub(super) fn asks(text: &OlderText) -> &'static str {
    match text.instead {
        Some(_) => "asks to accept another vault",
        None => "asks to accept an older vault",
    }
}

/// Rows about what this machine has seen and the folder has not.
pub(super) fn rows(rows: &mut Vec<Row>, text: &OlderText, zone: &TimeZone) {
    if let Some(before) = &text.instead {
        let (name, before, now) = (&before.name, before.vault.to_string(), text.origin.vault.id.to_string());
        push(
            rows,
            "before",
            format!(
                "the vault \"{name}\" ({}), which lay there until now; this is {}",
                digits(&before),
                digits(&now)
            ),
        );
    }
    if let Some(roster) = &text.roster {
        push(
            rows,
            "older",
            "who may open the vault is as it was before a change that was seen here".into(),
        );
        push(
            rows,
            "",
            format!(
                "a key that was removed since opens it again; missing: {}",
                count(roster.missing, "statement")
            ),
        );
    }
    for scope in &text.scopes {
        push(
            rows,
            "older",
            format!("{} is not as it was seen last; gone: {}", scope.scope, count(scope.gone, "record")),
        );
    }
    for (i, lost) in text.lost.iter().enumerate() {
        push(
            rows,
            if i == 0 { "loses" } else { "" },
            format!("{}  {}", clock_time(lost.at, zone), lost.names.join(", ")),
        );
    }
    let more = text.count.saturating_sub(text.lost.len() as u64);
    if more > 0 {
        push(rows, "", format!("and {} before these", count(more, "change")));
    }
    if text.count == 0 && !text.scopes.is_empty() {
        push(rows, "loses", "what it is, the log of this machine does not say".into());
    }
}

fn push(rows: &mut Vec<Row>, label: &'static str, text: String) {
    rows.push(Row::new(label, text, Tone::Bad, Need::Must));
}
