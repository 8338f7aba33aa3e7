//! In a fork of the roster: who and what was taken away on a side, by whose hand, and which scope keys somebody knows who has to go.

use std::collections::BTreeSet;

use crate::encoding::Digest;
use crate::encoding::sshsig::Point;

use super::bytes::Id;
use super::roster::Chain;
use super::statement::{SlotEntry, Statement};

/// The statements that count for what the sides did: all of them, but those that somebody signed who is shut out.
#[derive(Clone, Copy)]
pub(super) struct Honest<'a> {
    pub chain: &'a Chain,
    /// Statements behind each side, its end among them.
    pub behind: &'a [BTreeSet<Digest>],
    /// Statements by the hand of those who are shut out.
    pub shut_out: &'a BTreeSet<Digest>,
}

impl Honest<'_> {
    /// Whether side `by` took away what `has` finds, in a statement that is not among `heard`, and has not given it back since. What
    /// somebody did who is shut out is neither.
    pub fn took(&self, by: usize, heard: &BTreeSet<Digest>, has: &impl Fn(&Statement) -> bool) -> bool {
        let there = |digest: &Digest| self.chain.statement(digest).is_some_and(has);
        let before = |digest: &Digest| self.chain.statement(digest).map_or(&[][..], |statement| &statement.previous);
        let known = |digest: &Digest| self.chain.of(&self.chain.behind(*digest)).any(has);
        let takes = |digest: &Digest| {
            let before = before(digest);
            !there(digest) && before.iter().any(there) && before.iter().all(|old| there(old) || !known(old))
        };
        let gives = |digest: &Digest| there(digest) && !before(digest).iter().any(there);
        let honest = || {
            self.behind
                .get(by)
                .into_iter()
                .flatten()
                .filter(|digest| !self.shut_out.contains(digest))
        };
        let taken = honest().filter(|digest| !heard.contains(digest) && takes(digest));
        let mut for_good = taken.filter(|taken| !honest().any(|given| gives(given) && self.chain.behind(*given).contains(taken)));
        for_good.next().is_some()
    }

    /// Whether somebody knows the key of scope `id` with this commitment whom a join that leaves `keys` takes out, or who has a recovery
    /// code that a side replaced: he was in the scope when it had this key, or one that carries it.
    pub fn is_known_outside(&self, id: Id, commitment: &Digest, keys: &BTreeSet<Digest>) -> bool {
        let all: BTreeSet<Digest> = self.behind.iter().flatten().copied().collect();
        let mut honest = all.difference(self.shut_out);
        honest.any(|digest| {
            let statement = self.chain.statement(digest);
            let scope = statement.and_then(|statement| statement.scopes.iter().find(|scope| scope.id == id));
            let (Some(statement), Some(scope)) = (statement, scope) else {
                return false;
            };
            let is_gone = |slot: &SlotEntry| match slot {
                SlotEntry::Fido2 { key, .. } | SlotEntry::Piv { key, .. } => !keys.contains(key),
                SlotEntry::Recovery { .. } => self.is_replaced(&statement.recovery),
            };
            let carries = || {
                let behind = self.chain.behind(*digest);
                let mut scopes = self.chain.of(&behind).flat_map(|statement| &statement.scopes);
                scopes.any(|scope| scope.id == id && scope.commitment == *commitment)
            };
            scope.slots.iter().any(is_gone) && carries()
        })
    }

    fn is_replaced(&self, recovery: &Point) -> bool {
        let has = |statement: &Statement| statement.recovery == *recovery;
        (0..self.behind.len()).any(|side| self.took(side, &BTreeSet::new(), &has))
    }
}

/// Whether a side that has the statements `theirs` took away what `has` finds, in a statement that who has `heard` does not know: what it
/// became afterwards does not matter.
pub(super) fn took_unheard(chain: &Chain, theirs: &BTreeSet<Digest>, heard: &BTreeSet<Digest>, has: impl Fn(&Statement) -> bool) -> bool {
    let mut unheard = theirs.difference(heard);
    unheard.any(|digest| {
        let there = chain.statement(digest).is_some_and(&has);
        !there && chain.of(&chain.behind(*digest)).any(&has)
    })
}
