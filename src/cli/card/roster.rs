//! A statement of the roster, as a person reads it: who asks, what it changes, and what holds from then on.

use jiff::tz::TimeZone;

use super::{Row, joins, must, push, requester_rows, strong};
use crate::device::Profile;
use crate::lease::text::RosterBeside;
use crate::vault::Statement;
use crate::vault::difference::differences;

/// Hexadecimal digits by which one of several statements is told apart.
const DIGEST: usize = 8;

/// Nothing when `beside` is missing or belongs to another statement: what changes cannot be said then.
pub(super) fn rows(rows: &mut Vec<Row>, statement: &Statement, beside: Option<&str>, zone: &TimeZone) -> Option<()> {
    let (beside, before) = RosterBeside::decode(beside?, statement)?;
    let requester = &beside.requester;
    match before.as_slice() {
        [] => {
            requester_rows(rows, requester, "makes a vault");
            strong(rows, "makes", format!("the vault \"{}\"", statement.name));
            holds(rows, "", statement);
        }
        [before] => {
            requester_rows(rows, requester, "changes who may open the vault");
            changes(rows, before, statement);
            holds(rows, "then", statement);
        }
        several => {
            requester_rows(rows, requester, "joins two histories of the vault");
            for (before, digest) in several.iter().zip(&statement.previous) {
                must(rows, "", format!("in the one that ends with {}:", &digest.to_string()[..DIGEST]));
                changes(rows, before, statement);
            }
            holds(rows, "then", statement);
        }
    }
    joins::states(rows, beside.joins.as_ref(), zone);
    Some(())
}

fn changes(rows: &mut Vec<Row>, before: &Statement, after: &Statement) {
    let found = differences(before, after);
    for (n, difference) in found.iter().enumerate() {
        strong(rows, if n == 0 { "changes" } else { "" }, difference.to_string());
    }
    if found.is_empty() {
        strong(rows, "changes", "nothing".into());
    }
}

/// Every key with what it opens, so that one too many is seen.
fn holds(rows: &mut Vec<Row>, label: &'static str, statement: &Statement) {
    let keys = statement.keys.iter().map(|key| {
        let full = key.profile == Profile::Pin && key.piv().is_none();
        let way = if full { String::new() } else { format!(" ({})", key.way()) };
        format!("\"{}\"{way} opens {}", key.name, statement.opened_by(key).join(", "))
    });
    for (n, line) in keys.chain(["the recovery code opens everything".to_owned()]).enumerate() {
        push(rows, if n == 0 { label } else { "" }, line);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::tz::TimeZone;

    use super::super::Card;
    use super::super::joins::tests::{SAID, states};
    use super::super::tests::plain_screen;
    use crate::device::enrolled::Profile;
    use crate::device::soft::SoftKey;
    use crate::encoding::{Digest, jcs};
    use crate::lease::requester::Claimed;
    use crate::lease::text::{RequesterText, RosterBeside, StatesText, VERSION};
    use crate::vault::bytes::Hex;
    use crate::vault::statement::{FORMAT, ScopeEntry, SlotEntry, Statement};
    use crate::wire::PromptView;

    fn first() -> Statement {
        let blue = SoftKey::new("blue", Profile::Pin, 1).enrolled();
        let slots = vec![slot(1), SlotEntry::Recovery { id: Hex([2; 16]) }];
        Statement {
            at: 1_790_000_000,
            name: "laptop".into(),
            previous: vec![],
            random: Some(Hex([0; 32])),
            recovery: *SoftKey::new("", Profile::Pin, 9).enrolled().signer(),
            scopes: vec![ScopeEntry {
                commitment: Digest([4; 32]),
                epoch: 1,
                id: Hex([5; 16]),
                name: "prod".into(),
                slots,
            }],
            v: FORMAT,
            vault: Digest([6; 32]),
            keys: vec![blue],
        }
    }

    fn slot(seed: u8) -> SlotEntry {
        let key = SoftKey::new("", Profile::Pin, seed).enrolled();
        SlotEntry::Fido2 {
            half: None,
            id: Hex([10 + seed; 16]),
            key: key.id().0,
            public: *key.signer(),
            salt: Hex([seed; 32]),
        }
    }

    /// The statement after these, in which the key of `seed` is added.
    fn after(before: &[&Statement], name: &str, seed: u8) -> Statement {
        let mut next = before[0].clone();
        next.random = None;
        next.previous = before.iter().map(|before| Digest::of(&before.to_bytes().unwrap())).collect();
        next.previous.sort_unstable();
        let key = SoftKey::new(name, Profile::TouchOnly, seed).enrolled();
        next.keys.push(key);
        next.scopes[0].slots.push(slot(seed));
        next
    }

    fn text(statement: &Statement) -> String {
        String::from_utf8(statement.to_bytes().unwrap()).unwrap()
    }

    fn card(statement: &Statement, before: &[&Statement]) -> Option<String> {
        card_joining(statement, before, None)
    }

    fn card_joining(statement: &Statement, before: &[&Statement], joins: Option<StatesText>) -> Option<String> {
        let mut before: Vec<String> = before.iter().map(|before| text(before)).collect();
        before.sort_unstable_by_key(|text| Digest::of(text.as_bytes()));
        let beside = RosterBeside {
            v: VERSION,
            requester: RequesterText {
                uid: 1000,
                pid: 4711,
                claimed: Claimed {
                    executable: "/usr/bin/touchlease".into(),
                    ancestors: vec!["zsh".into()],
                    ..Claimed::default()
                },
            },
            before,
            joins,
        };
        let view = PromptView {
            prompt: 1,
            text: text(statement),
            beside: Some(String::from_utf8(jcs::to_vec(&beside).unwrap()).unwrap()),
            left_ms: 60_000,
            keys: vec![],
            waiting: 0,
            vault: "/v".into(),
            elsewhere: None,
        };
        let card = Card::of(&view, &TimeZone::UTC)?;
        Some(card.lines(80, 60, plain_screen()).unwrap().join("\n"))
    }

    fn assert_says(shown: &str, parts: &[&str]) {
        for part in parts {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
    }

    #[test]
    fn a_roster_change_says_who_asks_and_what_changes() {
        let first = first();
        let shown = card(&after(&[&first], "spare", 2), &[&first]).unwrap();
        assert_says(
            &shown,
            &[
                "touchlease <- zsh changes who may open the vault",
                "pid 4711, uid 1000",
                "changes  ",
                "adds key \"spare\" (touch only) to prod",
                "then     \"blue\" opens prod",
                "\"spare\" (touch only) opens prod",
                "the recovery code opens everything",
            ],
        );
    }

    #[test]
    fn a_piv_key_is_named_as_one() {
        let first = first();
        let mut next = after(&[&first], "spare", 2);
        let piv = SoftKey::piv("card", 4).enrolled();
        let (id, key) = (Hex([40; 16]), piv.id().0);
        next.scopes[0].slots.push(SlotEntry::Piv { id, key });
        next.keys.push(piv);
        next.v = next.format();
        let shown = card(&next, &[&first]).unwrap();
        assert_says(
            &shown,
            &[
                "adds key \"card\" (by PIV) to prod",
                "\"card\" (by PIV) opens prod",
                "\"blue\" opens prod",
            ],
        );
    }

    #[test]
    fn the_first_statement_says_what_it_makes() {
        let shown = card(&first(), &[]).unwrap();
        assert_says(
            &shown,
            &["touchlease <- zsh makes a vault", "the vault \"laptop\"", "\"blue\" opens prod"],
        );
    }

    #[test]
    fn a_joined_fork_says_what_changes_on_each_side() {
        let first = first();
        let (left, right) = (after(&[&first], "left", 2), after(&[&first], "right", 3));
        let mut joined = after(&[&left, &right], "right", 3);
        joined.keys.truncate(3);
        let shown = card_joining(&joined, &[&left, &right], Some(states())).unwrap();
        assert_says(&shown, &SAID);
        assert_says(
            &shown,
            &[
                "joins two histories of the vault",
                &format!("in the one that ends with {}:", &joined.previous[0].to_string()[..8]),
                &format!("in the one that ends with {}:", &joined.previous[1].to_string()[..8]),
                "adds key \"left\" (touch only) to prod",
                "adds key \"right\" (touch only) to prod",
            ],
        );
    }

    #[test]
    fn p2_a_statement_beside_another_past_than_its_own_has_no_card() {
        let first = first();
        let next = after(&[&first], "spare", 2);
        assert!(card(&next, &[&first]).is_some());
        assert_eq!(card(&next, &[]), None);
        // The past in which "spare" was there already would hide that it comes in.
        assert_eq!(card(&next, &[&next]), None);
        assert_eq!(card(&next, &[&first, &first]), None);
    }
}
