//! What an import will do: the names under which values go into the vault, and the batches that each need one touch.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use zeroize::Zeroizing;

use super::source::{Format, Found, LeftOut, Source};
use crate::deliver::mask::is_too_short;
use crate::encoding::SecretRef;
use crate::encoding::plain::{LONGEST_NAME, nearest_name};
use crate::vault::LARGEST_VALUE;
use crate::wire::request::RulesAsk;
use crate::wire::{Failure, MOST_PUT_BYTES, MOST_PUTS, Outcome};

/// A secret that will be put.
#[derive(Debug)]
pub struct Entry {
    /// `scope/NAME`.
    pub secret: String,
    /// Where it comes from.
    pub place: String,
    /// What it was called there, when it has to be called otherwise.
    pub renamed: Option<String>,
    /// The version that it replaces.
    pub version: Option<u64>,
    /// Its value.
    pub value: Zeroizing<Vec<u8>>,
}

/// All that an import will do.
#[derive(Debug)]
pub struct Plan {
    /// The scope.
    pub scope: String,
    /// As what the file was read.
    pub format: Format,
    /// The rules that go with them.
    pub rules: RulesAsk,
    /// What will be put, in the file's order.
    pub entries: Vec<Entry>,
    /// What stays behind.
    pub left_out: Vec<LeftOut>,
}

impl Plan {
    /// Names what the file holds.
    ///
    /// # Errors
    /// The scope's name is none.
    pub fn of(source: Source, scope: &str, rules: &RulesAsk) -> Result<Self, Failure> {
        let checked: Result<SecretRef, _> = format!("{scope}/x").parse();
        checked.map_err(|error| Failure::new(Outcome::BadInput, "reference", error.to_string()).hint("touchlease scope list"))?;
        let mut plan = Self {
            scope: scope.to_owned(),
            format: source.format,
            rules: rules.clone(),
            entries: Vec::new(),
            left_out: source.left_out,
        };
        let mut taken = BTreeSet::new();
        for found in source.found {
            plan.take(found, &mut taken);
        }
        Ok(plan)
    }

    fn take(&mut self, found: Found, taken: &mut BTreeSet<String>) {
        let proxied = self.rules.deliveries.iter().any(|delivery| delivery == "proxy");
        let broken = found.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        let why = match found.value.len() {
            0 => Some("it is empty"),
            len if len > LARGEST_VALUE => Some("it has more than 1 MiB"),
            _ if proxied && broken => Some("it has a line break in it, which a proxy cannot send"),
            _ => None,
        };
        let name = nearest_name(&found.name).map(|name| free(name, taken));
        match (why, name) {
            (None, Some(name)) => {
                let renamed = (name != found.name).then_some(found.name);
                self.entries.push(Entry {
                    secret: format!("{}/{name}", self.scope),
                    place: found.place,
                    renamed,
                    version: None,
                    value: found.value,
                });
                taken.insert(name);
            }
            (Some(why), _) => self.leave(found.place, why),
            (None, None) => self.leave(found.place, "its name has no letter or digit in it"),
        }
    }

    /// Takes what the vault has: those are replaced, or left out.
    pub fn meet(&mut self, existing: Vec<(String, u64)>, replace: bool) {
        let existing: BTreeMap<String, u64> = existing.into_iter().collect();
        for mut entry in std::mem::take(&mut self.entries) {
            entry.version = existing.get(&entry.secret).copied();
            if entry.version.is_some() && !replace {
                self.leave(entry.place, "the vault has a secret of this name; --replace writes a new version");
            } else {
                self.entries.push(entry);
            }
        }
    }

    /// The secrets whose values cannot be masked in output.
    pub fn unmaskable(&self) -> impl Iterator<Item = &str> {
        let entries = self.entries.iter().filter(|entry| is_too_short(&entry.value));
        entries.map(|entry| entry.secret.as_str())
    }

    /// The entries in parts that are put with one touch each.
    #[must_use]
    pub fn batches(&self) -> Vec<Range<usize>> {
        let (mut batches, mut start, mut bytes) = (Vec::new(), 0, 0);
        for (at, entry) in self.entries.iter().enumerate() {
            if at - start == MOST_PUTS || at > start && bytes + entry.value.len() > MOST_PUT_BYTES {
                batches.push(start..at);
                (start, bytes) = (at, 0);
            }
            bytes += entry.value.len();
        }
        if start < self.entries.len() {
            batches.push(start..self.entries.len());
        }
        batches
    }

    fn leave(&mut self, what: String, why: &'static str) {
        self.left_out.push(LeftOut { what, why });
    }
}

/// `name`, or with a number behind it when that name is taken.
fn free(name: String, taken: &BTreeSet<String>) -> String {
    if !taken.contains(&name) {
        return name;
    }
    let numbered = |number: u32| {
        let end = format!(".{number}");
        let mut front = name.clone();
        while front.len() + end.len() > LONGEST_NAME {
            front.pop();
        }
        front + &end
    };
    (2..).map(numbered).find(|name| !taken.contains(name)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(names: &[(&str, &[u8])]) -> Plan {
        let found = names.iter().map(|(name, value)| Found {
            place: format!("file / {name}"),
            name: (*name).to_owned(),
            value: Zeroizing::new(value.to_vec()),
        });
        let source = Source {
            format: Format::Env,
            found: found.collect(),
            left_out: vec![],
        };
        let rules = RulesAsk {
            deliveries: vec!["env".into()],
            ..RulesAsk::default()
        };
        Plan::of(source, "prod", &rules).unwrap()
    }

    #[test]
    fn names_become_names_and_two_of_one_name_are_told_apart() {
        let plan = plan(&[
            ("My Bank", b"1"),
            ("My  Bank", b"2"),
            ("My_Bank.2", b"3"),
            ("e\u{301}", b"4"),
            ("!!!", b"5"),
            ("OK", b"6"),
        ]);
        let named: Vec<_> = plan
            .entries
            .iter()
            .map(|entry| (entry.secret.as_str(), entry.renamed.is_some()))
            .collect();
        let expected = [
            ("prod/My_Bank", true),
            ("prod/My_Bank.2", true),
            ("prod/My_Bank.2.2", true),
            ("prod/é", true),
            ("prod/OK", false),
        ];
        assert_eq!(named, expected);
        assert_eq!(plan.left_out[0].what, "file / !!!");
    }

    #[test]
    fn what_the_vault_has_is_left_out_or_replaced() {
        let known = || vec![("prod/A".to_owned(), 3)];
        let mut kept = plan(&[("A", b"1"), ("B", b"2")]);
        kept.meet(known(), false);
        assert_eq!((kept.entries.len(), kept.left_out.len()), (1, 1));
        let mut replaced = plan(&[("A", b"1"), ("B", b"2")]);
        replaced.meet(known(), true);
        let versions: Vec<_> = replaced.entries.iter().map(|entry| entry.version).collect();
        assert_eq!(versions, [Some(3), None]);
    }

    #[test]
    fn batches_hold_500_secrets_or_2_mib() {
        let names: Vec<String> = (0..1201).map(|n| format!("N{n}")).collect();
        let small: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        assert_eq!(plan(&small).batches(), [0..500, 500..1000, 1000..1201]);
        let big = vec![b'x'; LARGEST_VALUE];
        assert_eq!(plan(&[("A", &big), ("B", &big), ("C", &big)]).batches(), [0..2, 2..3]);
        assert!(plan(&[]).batches().is_empty());
    }

    #[test]
    fn a_value_that_no_batch_can_hold_is_left_out() {
        let huge = vec![b'x'; LARGEST_VALUE + 1];
        let plan = plan(&[("A", &huge), ("B", b"")]);
        assert!(plan.entries.is_empty() && plan.left_out.len() == 2);
    }
}
