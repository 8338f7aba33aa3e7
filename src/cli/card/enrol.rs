//! A key that is enrolled, and what becomes of the card that it is on.

use jiff::tz::TimeZone;

use super::super::ui::Tone;
use super::{Need, Row, joins, must, push, requester_rows, strong};
use crate::encoding::plain::count;
use crate::lease::text::{CardText, EnrolText, FactoryText};
use crate::vault::SCOPES_PER_TOUCH;

pub(super) fn rows(rows: &mut Vec<Row>, enrol: &EnrolText, zone: &TimeZone) {
    if let Some(signer) = &enrol.signer {
        requester_rows(rows, &enrol.requester, "makes a signer's key in hardware");
        strong(rows, "signer", format!("{signer}, which signs with this key alone"));
        if let Some(card) = &enrol.card {
            slots_rows(rows, card);
        }
        push(
            rows,
            "",
            "then an enrolled key is touched for the signer, whose rules are shown then".to_owned(),
        );
        return;
    }
    let verb = if enrol.recovers.is_some() {
        "recovers the vault with its code"
    } else {
        "enrols a key"
    };
    requester_rows(rows, &enrol.requester, verb);
    strong(rows, "key", format!("\"{}\", to open {}", enrol.key, enrol.scopes.join(", ")));
    if let Some(card) = &enrol.card {
        slots_rows(rows, card);
    }
    let touches = format!("touch it {}, each time it blinks", count(enrol.touches, "time"));
    let Some(recovers) = &enrol.recovers else {
        // Of more scopes each two need a touch of their own, but not where a vault is made.
        let then = match enrol.scopes.len() {
            ..=SCOPES_PER_TOUCH => format!(
                "1 more is for what changes, which is shown then ({} in all)",
                enrol.touches.saturating_add(1)
            ),
            _ => "more are for what changes, which is shown then".to_owned(),
        };
        push(rows, "", format!("{touches}; {then}"));
        return;
    };
    push(rows, "", touches);
    let quoted = |names: &[String]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    for (label, names) in [("removes", &recovers.removes), ("keeps", &recovers.keeps)] {
        if !names.is_empty() {
            strong(rows, label, quoted(names));
        }
    }
    must(
        rows,
        "then",
        "every scope has a new key, and a new recovery code is shown once".into(),
    );
    joins::states(rows, recovers.joins.as_ref(), zone);
}

/// What becomes of a card.
fn slots_rows(rows: &mut Vec<Row>, card: &CardText) {
    let serial = card.serial;
    let made = match card.slots.as_slice() {
        [open, sign] => format!("YubiKey {serial}: a new key in its slot {open}, to open, and one in its slot {sign}, to sign"),
        slots => {
            let slots: Vec<String> = slots.iter().map(ToString::to_string).collect();
            format!("YubiKey {serial}: a new key in its slot {}", slots.join(" and "))
        }
    };
    strong(rows, "card", made);
    if !card.overwrites.is_empty() {
        let slots: Vec<String> = card.overwrites.iter().map(ToString::to_string).collect();
        let lost = format!(
            "the key that is in its slot {}, with what it opens{}",
            slots.join(", and the one in its slot "),
            if card.slots.len() == 1 { " or signs" } else { "" }
        );
        rows.push(Row::new("LOSES", lost, Tone::Bad, Need::Must));
    }
    let said = |part: &FactoryText| match part {
        FactoryText::Pin => "PIN",
        FactoryText::Puk => "PUK",
        FactoryText::ManagementKey => "management key",
    };
    let factory: Vec<&str> = card.factory.iter().map(said).collect();
    if !factory.is_empty() {
        must(
            rows,
            "changes",
            format!("what is still the factory's: its {}", factory.join(", its ")),
        );
    }
    let pin = if card.factory.contains(&FactoryText::Pin) {
        "its new PIN"
    } else {
        "its PIN"
    };
    must(rows, "agree", format!("by typing {pin}; nothing on it is changed before"));
}
