//! What a statement of the roster changes, found by comparing it with one that it follows: so no kind of change has to say of itself
//! what it does, and none can keep quiet about it.

use std::fmt;

use super::statement::{ScopeEntry, SlotEntry, Statement};
use crate::device::enrolled::EnrolledKey;

/// One thing that differs. [`fmt::Display`] says it in words, as of the statement: "adds key ...".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A key is enrolled.
    KeyAdded {
        /// Its name.
        key: String,
        /// By what it serves.
        way: &'static str,
        /// The scopes it opens.
        scopes: Vec<String>,
    },
    /// A key is taken out.
    KeyRemoved {
        /// Its name.
        key: String,
    },
    /// A key has another name, profile or recognising credential than before.
    KeyAltered {
        /// Its name before.
        before: String,
        /// Its name now.
        key: String,
        /// By what it serves now.
        way: &'static str,
    },
    /// A key that was there already opens more.
    KeyLetIn {
        /// Its name.
        key: String,
        /// The scopes that it opens now.
        scopes: Vec<String>,
    },
    /// A key that stays opens less.
    KeyShutOut {
        /// Its name.
        key: String,
        /// The scopes that it opened before.
        scopes: Vec<String>,
    },
    /// A slot was replaced by one with a fresh pair and salt.
    SlotRenewed {
        /// The key's name; nothing for the recovery code's slot.
        key: Option<String>,
        /// The scopes.
        scopes: Vec<String>,
    },
    /// A scope is made.
    ScopeAdded {
        /// Its name.
        scope: String,
        /// The keys that open it.
        keys: Vec<String>,
    },
    /// A scope is given up.
    ScopeRemoved {
        /// Its name.
        scope: String,
    },
    /// A scope is called something else.
    ScopeRenamed {
        /// Its name before.
        before: String,
        /// Its name now.
        scope: String,
    },
    /// Scopes get a new key.
    Rekeyed {
        /// Their names.
        scopes: Vec<String>,
    },
    /// Another recovery code.
    RecoveryReplaced,
    /// The vault is called something else.
    VaultRenamed {
        /// Its name now.
        name: String,
    },
}

/// Everything in which `after` differs from `before`: the keys first, then the scopes, then the vault. Its order among keys, scopes and
/// slots says nothing, and neither do the digests that link the statements and the time at which each was made.
#[must_use]
pub fn differences(before: &Statement, after: &Statement) -> Vec<Difference> {
    let mut found = vec![];
    keys(before, after, &mut found);
    scopes(before, after, &mut found);
    if before.recovery != after.recovery {
        found.push(Difference::RecoveryReplaced);
    }
    if before.name != after.name {
        found.push(Difference::VaultRenamed { name: after.name.clone() });
    }
    found
}

fn keys(before: &Statement, after: &Statement, found: &mut Vec<Difference>) {
    for key in enrolled(after) {
        match before.key(key.id()) {
            None => found.push(Difference::KeyAdded {
                key: key.name.clone(),
                way: key.way(),
                scopes: after.opened_by(key),
            }),
            Some(old) if old != key => found.push(Difference::KeyAltered {
                before: old.name.clone(),
                key: key.name.clone(),
                way: key.way(),
            }),
            Some(_) => {}
        }
    }
    for key in enrolled(before).filter(|key| after.key(key.id()).is_none()) {
        found.push(Difference::KeyRemoved { key: key.name.clone() });
    }
    for key in enrolled(after).filter(|key| before.key(key.id()).is_some()) {
        ways_of(key, before, after, found);
    }
}

/// How the ways of a key that stays change, in the scopes that stay.
fn ways_of(key: &EnrolledKey, before: &Statement, after: &Statement, found: &mut Vec<Difference>) {
    let (mut into, mut out, mut renewed) = (vec![], vec![], vec![]);
    for (old, new) in staying(before, after) {
        match (old.slot_of(key.id()), new.slot_of(key.id())) {
            (None, Some(_)) => into.push(new.name.clone()),
            (Some(_), None) => out.push(new.name.clone()),
            (Some(old), Some(slot)) if old != slot => renewed.push(new.name.clone()),
            _ => {}
        }
    }
    let name = || key.name.clone();
    found.extend((!into.is_empty()).then(|| Difference::KeyLetIn { key: name(), scopes: into }));
    found.extend((!out.is_empty()).then(|| Difference::KeyShutOut { key: name(), scopes: out }));
    found.extend((!renewed.is_empty()).then(|| Difference::SlotRenewed {
        key: Some(name()),
        scopes: renewed,
    }));
}

fn scopes(before: &Statement, after: &Statement, found: &mut Vec<Difference>) {
    for scope in after.scopes.iter().filter(|scope| !has(before, scope)) {
        let opens = |key: &&EnrolledKey| scope.slot_of(key.id()).is_some();
        found.push(Difference::ScopeAdded {
            scope: scope.name.clone(),
            keys: enrolled(after).filter(opens).map(|key| key.name.clone()).collect(),
        });
    }
    for scope in before.scopes.iter().filter(|scope| !has(after, scope)) {
        found.push(Difference::ScopeRemoved { scope: scope.name.clone() });
    }
    let (mut rekeyed, mut recovery) = (vec![], vec![]);
    for (old, new) in staying(before, after) {
        if old.name != new.name {
            found.push(Difference::ScopeRenamed {
                before: old.name.clone(),
                scope: new.name.clone(),
            });
        }
        if (old.epoch, old.commitment) != (new.epoch, new.commitment) {
            rekeyed.push(new.name.clone());
        }
        if recovery_slot(old) != recovery_slot(new) {
            recovery.push(new.name.clone());
        }
    }
    found.extend((!rekeyed.is_empty()).then_some(Difference::Rekeyed { scopes: rekeyed }));
    found.extend((!recovery.is_empty()).then_some(Difference::SlotRenewed {
        key: None,
        scopes: recovery,
    }));
}

fn enrolled(statement: &Statement) -> impl Iterator<Item = &EnrolledKey> {
    statement.keys.iter()
}

fn has(statement: &Statement, scope: &ScopeEntry) -> bool {
    statement.scopes.iter().any(|other| other.id == scope.id)
}

/// Scopes that both have, in the order of the later one.
fn staying<'a>(before: &'a Statement, after: &'a Statement) -> impl Iterator<Item = (&'a ScopeEntry, &'a ScopeEntry)> {
    let old = |new: &ScopeEntry| before.scopes.iter().find(|old| old.id == new.id);
    after.scopes.iter().filter_map(move |new| Some((old(new)?, new)))
}

fn recovery_slot(scope: &ScopeEntry) -> Option<&SlotEntry> {
    scope.slots.iter().find(|slot| matches!(slot, SlotEntry::Recovery { .. }))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyAdded { key, way, scopes } => write!(f, "adds key \"{key}\" ({way}) to {}", listed(scopes)),
            Self::KeyRemoved { key } => write!(f, "removes key \"{key}\""),
            Self::KeyAltered { before, key, way } => write!(f, "replaces what is known of key \"{before}\": \"{key}\" ({way})"),
            Self::KeyLetIn { key, scopes } => write!(f, "lets key \"{key}\" into {}", listed(scopes)),
            Self::KeyShutOut { key, scopes } => write!(f, "shuts key \"{key}\" out of {}", listed(scopes)),
            Self::SlotRenewed { key: Some(key), scopes } => write!(f, "renews the slot of key \"{key}\" in {}", listed(scopes)),
            Self::SlotRenewed { key: None, scopes } => write!(f, "renews the slot of the recovery code in {}", listed(scopes)),
            Self::ScopeAdded { scope, keys } => write!(f, "adds scope {scope}, opened by {}", listed(&quoted(keys))),
            Self::ScopeRemoved { scope } => write!(f, "removes scope {scope}"),
            Self::ScopeRenamed { before, scope } => write!(f, "calls scope {before} {scope} from now on"),
            Self::Rekeyed { scopes } => write!(f, "re-keys {}", listed(scopes)),
            Self::RecoveryReplaced => f.write_str("replaces the recovery code"),
            Self::VaultRenamed { name } => write!(f, "calls the vault {name} from now on"),
        }
    }
}

pub(super) fn quoted(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("\"{name}\"")).collect()
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".into();
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::super::bytes::Hex;
    use super::super::random;
    use super::super::slot::Private;
    use super::*;
    use crate::device::enrolled::Profile;
    use crate::device::soft::SoftKey;
    use crate::encoding::Digest;

    fn key(name: &str, profile: Profile, seed: u8) -> EnrolledKey {
        SoftKey::new(name, profile, seed).enrolled()
    }

    fn slot(key: &EnrolledKey, id: u8) -> SlotEntry {
        SlotEntry::Fido2 {
            half: None,
            id: Hex([id; 16]),
            key: key.id().0,
            public: Private::generate(&mut random::system()).1,
            salt: Hex([id; 32]),
        }
    }

    fn scope(name: &str, id: u8, slots: Vec<SlotEntry>) -> ScopeEntry {
        ScopeEntry {
            commitment: Digest([id; 32]),
            epoch: 1,
            id: Hex([id; 16]),
            name: name.into(),
            slots: slots.into_iter().chain([SlotEntry::Recovery { id: Hex([id; 16]) }]).collect(),
        }
    }

    /// Two scopes, opened by "blue"; "spare" opens one of them.
    fn statement() -> Statement {
        let (blue, spare) = (key("blue", Profile::Pin, 1), key("spare", Profile::TouchOnly, 2));
        Statement {
            at: 1_790_000_000,
            name: "laptop".into(),
            scopes: vec![
                scope("prod", 50, vec![slot(&blue, 10), slot(&spare, 11)]),
                scope("dev", 60, vec![slot(&blue, 12)]),
            ],
            keys: vec![blue, spare],
            previous: vec![Digest([1; 32])],
            random: None,
            recovery: Private::generate(&mut random::system()).1,
            v: super::super::statement::FORMAT,
            vault: Digest([6; 32]),
        }
    }

    fn words(change: impl FnOnce(&mut Statement)) -> Vec<String> {
        let before = statement();
        let mut after = before.clone();
        change(&mut after);
        differences(&before, &after).iter().map(ToString::to_string).collect()
    }

    fn rekey(scope: &mut ScopeEntry) {
        scope.epoch += 1;
        scope.commitment = Digest([99; 32]);
    }

    #[test]
    fn a_key_that_is_added_is_named_with_its_profile_and_what_it_opens() {
        let said = words(|after| {
            let third = key("third", Profile::Pin, 3);
            after.scopes[0].slots.push(slot(&third, 20));
            after.scopes[1].slots.push(slot(&third, 21));
            after.keys.push(third);
        });
        assert_eq!(said, ["adds key \"third\" (PIN and touch) to prod, dev"]);
        let said = words(|after| {
            let card = SoftKey::piv("card", 3).enrolled();
            let (id, key) = (Hex([20; 16]), card.id().0);
            after.scopes[0].slots.push(SlotEntry::Piv { id, key });
            after.keys.push(card);
        });
        assert_eq!(said, ["adds key \"card\" (by PIV) to prod"]);
    }

    #[test]
    fn a_key_that_is_removed_is_named_with_what_is_rekeyed_for_it() {
        let said = words(|after| {
            after.keys.pop();
            after.scopes[0].slots.remove(1);
            rekey(&mut after.scopes[0]);
        });
        assert_eq!(said, ["removes key \"spare\"", "re-keys prod"]);
    }

    #[test]
    fn every_other_change_has_its_words() {
        let said = words(|after| {
            let (blue, spare) = (key("blue", Profile::Pin, 1), key("spare", Profile::TouchOnly, 2));
            after.name = "desk".into();
            after.recovery = Private::generate(&mut random::system()).1;
            after.scopes[0].slots[0] = slot(&blue, 30);
            after.scopes[0].slots.remove(1);
            after.scopes[0].slots[1] = SlotEntry::Recovery { id: Hex([31; 16]) };
            after.scopes[1].slots.push(slot(&spare, 32));
            after.scopes[1].name = "stage".into();
            rekey(&mut after.scopes[1]);
            after.scopes.push(scope("web", 70, vec![slot(&blue, 33), slot(&spare, 34)]));
            after.scopes.push(scope("lone", 80, vec![]));
            let key = &mut after.keys[1];
            key.name = "green".into();
        });
        assert_eq!(
            said,
            [
                "replaces what is known of key \"spare\": \"green\" (touch only)",
                "renews the slot of key \"blue\" in prod",
                "lets key \"green\" into stage",
                "shuts key \"green\" out of prod",
                "adds scope web, opened by \"blue\", \"green\"",
                "adds scope lone, opened by nothing",
                "calls scope dev stage from now on",
                "re-keys stage",
                "renews the slot of the recovery code in prod",
                "replaces the recovery code",
                "calls the vault desk from now on",
            ]
        );
        assert_eq!(
            words(|after| {
                after.scopes.remove(0);
            }),
            ["removes scope prod"]
        );
    }

    /// Whatever the statement says of keys, slots and scopes: a touch that changes it shows that it does.
    #[test]
    fn no_member_can_change_without_a_word() {
        let before = statement();
        let tree = serde_json::to_value(&before).unwrap();
        let mut tried = 0;
        for path in leaves(&tree, "") {
            if ["/at", "/previous", "/random", "/v", "/vault"]
                .iter()
                .any(|apart| path.starts_with(apart))
            {
                continue;
            }
            let mut changed = tree.clone();
            let leaf = changed.pointer_mut(&path).unwrap();
            *leaf = another(leaf);
            // What cannot be read cannot be signed either.
            let Ok(after) = serde_json::from_value::<Statement>(changed) else {
                continue;
            };
            tried += 1;
            assert_ne!(differences(&before, &after), [], "{path}");
        }
        assert!(tried >= 30, "{tried}");
        assert_eq!(differences(&before, &before), []);
    }

    fn leaves(value: &Value, path: &str) -> Vec<String> {
        match value {
            Value::Object(members) => members
                .iter()
                .flat_map(|(name, of)| leaves(of, &format!("{path}/{name}")))
                .collect(),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .flat_map(|(n, of)| leaves(of, &format!("{path}/{n}")))
                .collect(),
            _ => vec![path.to_owned()],
        }
    }

    fn another(leaf: &Value) -> Value {
        match leaf {
            Value::Number(n) => (n.as_u64().unwrap() + 1).into(),
            Value::String(text) if text == "pin" => "touch-only".into(),
            Value::String(text) if text == "touch-only" => "pin".into(),
            Value::String(text) => {
                let flipped = if text.starts_with('0') { "1" } else { "0" };
                format!("{flipped}{}", &text[1..]).into()
            }
            // A half that was to be made by the touch is there all of a sudden.
            Value::Null => "0".repeat(64).into(),
            other => other.clone(),
        }
    }
}
