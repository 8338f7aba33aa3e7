//! What has changed of a task since it was last approved, as a person reads it.

use super::super::ui::Tone;
use super::{Need, Row, push};
use crate::encoding::plain::count;
use crate::lease::text::TaskChange;

/// The lines are an agent's own words, made visible; that there are some has to be seen.
pub(super) fn rows(rows: &mut Vec<Row>, changed: &TaskChange) {
    let lines = changed.lines.len() + usize::try_from(changed.more).unwrap_or(usize::MAX);
    let (label, said, short) = match (&changed.from, lines) {
        (None, _) => (
            "new",
            "not approved in this folder before, as far as is known".to_owned(),
            "not approved here before".to_owned(),
        ),
        (Some(_), 0) => (
            "changed",
            "touchlease.toml, but not this task, since that was last approved here".to_owned(),
            "elsewhere in touchlease.toml".to_owned(),
        ),
        (Some(_), lines) => (
            "changed",
            format!("this task, in {} since it was last approved here:", count(lines, "line")),
            format!("this task, in {}", count(lines, "line")),
        ),
    };
    rows.push(Row {
        short: Some(short),
        ..Row::new(label, said, Tone::Strong, Need::Must)
    });
    // The sign stands before the column of texts: what is wrapped cannot look like another line.
    for line in &changed.lines {
        let (label, text) = match line.split_at_checked(2) {
            Some(("- ", gone)) => ("       -", gone),
            Some(("+ ", came)) => ("       +", came),
            _ => ("", line.as_str()),
        };
        push(rows, label, text.to_owned());
    }
    if changed.more > 0 {
        push(rows, "", format!("and {} more", count(changed.more, "line")));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::NARROWEST;
    use super::super::tests::{lease_card, plain_screen};
    use super::*;
    use crate::encoding::Digest;
    use crate::lease::text::tests::sample;

    #[test]
    fn t10_that_a_task_is_new_or_has_changed_is_seen_on_the_smallest_screen_too() {
        let shown = |changed: Option<TaskChange>, width: usize| {
            let mut lease = sample();
            lease.task.as_mut().unwrap().changed = changed.map(Box::new);
            let card = lease_card(&lease);
            let height = if width == NARROWEST {
                card.least_height(width, plain_screen())
            } else {
                60
            };
            card.lines(width, height, plain_screen()).unwrap().join("\n")
        };
        let from = Some(Digest([1; 32]));
        let lines = vec!["- uses = 1".to_owned(), "+ uses = 2".to_owned()];
        for (changed, whole, least) in [
            (None, "", ""),
            (
                Some(TaskChange::default()),
                "new      not approved in this folder before, as far as is known",
                "new      not approved here before",
            ),
            (
                Some(TaskChange {
                    from,
                    ..TaskChange::default()
                }),
                "changed  touchlease.toml, but not this task, since that was last approved here",
                "changed  elsewhere in touchlease.toml",
            ),
            (
                Some(TaskChange { from, lines, more: 1 }),
                "changed  this task, in 3 lines since it was last approved here:\n        - uses = 1\n        + uses = 2\n          and 1 line more",
                "changed  this task, in 3 lines",
            ),
        ] {
            let said = [shown(changed.clone(), 120), shown(changed.clone(), NARROWEST)];
            assert!(said[0].contains(whole) && said[1].contains(least), "{said:?}");
            assert!(changed.is_some() || !said.concat().contains("approved"), "{said:?}");
        }
    }
}
