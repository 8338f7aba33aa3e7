//! What a touch joins, on a card: secrets that came from another machine, and which of two versions stays.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::{Row, clock_time, rules_of_row, signers, strong};
use crate::encoding::Digest;
use crate::lease::text::{JoinText, JoinedText, KeepText, StatesText, VaultState, VersionText};

/// Digits of a record's id that are shown.
const DIGITS: usize = 8;

/// Rows about the states that a text notarises and its touch joins; none where there is one.
pub(super) fn rows(rows: &mut Vec<Row>, vault: &VaultState, zone: &TimeZone) {
    if let Some(joins) = &vault.joins {
        joined(rows, &vault.heads, joins, zone);
    }
}

/// Rows about the states that are joined besides what a text says.
pub(super) fn states(rows: &mut Vec<Row>, states: Option<&StatesText>, zone: &TimeZone) {
    if let Some(states) = states {
        joined(rows, &states.heads, &states.takes, zone);
    }
}

fn joined(rows: &mut Vec<Row>, heads: &BTreeMap<String, Vec<Digest>>, joins: &JoinText, zone: &TimeZone) {
    let scopes = heads.iter().filter(|(_, heads)| heads.len() > 1);
    let said = scopes
        .map(|(scope, heads)| format!("{} states of {scope}", heads.len()))
        .collect::<Vec<_>>();
    strong(
        rows,
        "joins",
        format!("{}, from machines that did not know of each other", said.join(", ")),
    );
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
                "{}  {}; it becomes version {}; {}",
                keep.secret,
                version(&keep.keeps, zone),
                keep.version,
                rules_of_row(&keep.rules)
            ),
        );
        if let Some(signer) = &keep.rules.signer {
            signers::rows(rows, signer, None);
        }
        for drop in &keep.drops {
            strong(rows, "drops", format!("{}  {}", keep.secret, version(drop, zone)));
        }
    }
}

fn taken(secret: &JoinedText, zone: &TimeZone) -> String {
    let earlier = if secret.earlier_key { ", under an earlier key" } else { "" };
    let changed = clock_time(secret.changed, zone);
    let signer = secret.issuer.as_ref();
    let signer = signer.map(|issuer| format!("; {}", signers::of_what(issuer, secret.signs)));
    let signer = signer.unwrap_or_default();
    format!("{}  version {} of {changed}{earlier}{signer}", secret.secret, secret.version)
}

/// Versions of one number and second are told apart by their records, as `touchlease merge --keep` is.
fn version(version: &VersionText, zone: &TimeZone) -> String {
    let (record, changed) = (digits(&version.record), clock_time(version.changed, zone));
    format!("{record}, version {} of {changed}", version.version)
}

/// As much of a record's id as is shown.
pub fn digits(record: &str) -> &str {
    record.get(..DIGITS).unwrap_or(record)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{plain_screen, view};
    use super::super::{Card, NARROWEST};
    use super::*;
    use crate::lease::requester::Claimed;
    use crate::lease::text::{EnrolKind, EnrolText, RecoversText, RequesterText, Text as _, VERSION};

    pub(in crate::cli::card) fn states() -> StatesText {
        StatesText {
            heads: [("prod".into(), vec![Digest([1; 32]), Digest([2; 32])])].into(),
            takes: JoinText {
                count: 42,
                secrets: vec![JoinedText {
                    secret: "prod/THEIRS".parse().unwrap(),
                    version: 3,
                    changed: 1_790_000_000,
                    earlier_key: true,
                    issuer: Some("https://id.example".into()),
                    signs: None,
                }],
                judged: Digest([3; 32]),
            },
        }
    }

    pub(in crate::cli::card) const SAID: [&str; 5] = [
        "2 states of prod, from machines that did not know of each other",
        "prod/THEIRS  version 3 of 2026-09-21",
        "earlier",
        "a signer of tokens issued by https://id.example",
        "and 41 more",
    ];

    #[test]
    fn t53_a_recovery_says_what_it_takes_in_and_which_of_it_signs_tokens_on_the_smallest_screen_too() {
        let text = EnrolText {
            v: VERSION,
            kind: EnrolKind::Enrol,
            id: "0f".repeat(16),
            requester: RequesterText {
                uid: 1000,
                pid: 4711,
                claimed: Claimed::default(),
            },
            key: "green".into(),
            scopes: vec!["prod".into()],
            touches: 3,
            recovers: Some(RecoversText {
                removes: vec!["blue".into()],
                keeps: vec![],
                joins: Some(states()),
            }),
            card: None,
            signer: None,
        };
        let card = Card::of(&view(text.fix().unwrap().text()), &TimeZone::UTC).unwrap();
        for width in [100, NARROWEST] {
            let shown = card
                .lines(width, card.least_height(width, plain_screen()), plain_screen())
                .unwrap()
                .join(" ");
            let flat = |text: &str| text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            for part in SAID {
                assert!(flat(&shown).contains(&flat(part)), "{part} in {shown}");
            }
        }
    }
}
