//! What a touch joins, on a card: secrets that came from another machine, and which of two versions stays.

use jiff::tz::TimeZone;

use super::{Row, clock_time, rules, strong};
use crate::lease::text::{JoinedText, KeepText, VaultState, VersionText};

/// Rows about the states that are joined; none where there is one.
pub(super) fn rows(rows: &mut Vec<Row>, vault: &VaultState, zone: &TimeZone) {
    let Some(joins) = &vault.joins else { return };
    let scopes = vault.heads.iter().filter(|(_, heads)| heads.len() > 1);
    let said = scopes
        .map(|(scope, heads)| format!("{} states of {scope}", heads.len()))
        .collect::<Vec<_>>();
    strong(rows, "joins", format!("{} that were made apart", said.join(", ")));
    for (i, secret) in joins.secrets.iter().enumerate() {
        strong(rows, if i == 0 { "takes in" } else { "" }, taken(secret, zone));
    }
    let more = joins.count.saturating_sub(joins.secrets.len() as u64);
    if more > 0 {
        strong(rows, "", format!("and {more} more"));
    }
}

/// Rows about the versions that stay.
pub(super) fn kept(rows: &mut Vec<Row>, keeps: &[KeepText], zone: &TimeZone) {
    for keep in keeps {
        strong(
            rows,
            "keeps",
            format!(
                "{}  {}, as version {}; {}",
                keep.secret,
                version(&keep.keeps, zone),
                keep.version,
                rules(&keep.rules)
            ),
        );
        for drop in &keep.drops {
            strong(rows, "drops", version(drop, zone));
        }
    }
}

fn taken(secret: &JoinedText, zone: &TimeZone) -> String {
    let earlier = if secret.earlier_key { ", under an earlier key" } else { "" };
    let changed = clock_time(secret.changed, zone);
    format!("{}  version {} of {changed}{earlier}", secret.secret, secret.version)
}

fn version(version: &VersionText, zone: &TimeZone) -> String {
    format!("version {} of {}", version.version, clock_time(version.changed, zone))
}
