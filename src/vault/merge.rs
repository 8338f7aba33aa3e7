//! What a merge left: what a person is shown of it before the touch, and what the touch then has to find.
//!
//! Before the touch heads are sealed, but the clear parts of records are not: those that this machine has not accepted before are
//! what came from elsewhere, as a claim of the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use crate::encoding::Digest;

use super::accepted::{Accepted, remember_made};
use super::bytes::Id;
use super::error::VaultError;
use super::index::{Entry, head_path};
use super::journal::{self, Change};
use super::listing::{Listed, list_one};
use super::material::Join;
use super::random::Random;
use super::record::{Clear, LARGEST_RECORD, Record, path, shelf};
use super::scope::Ring;
use super::tree::{Index, Trust};
use super::{ScopeEntry, Standing, Vault};

/// Beyond this many names the index is read as a whole instead of one path for each.
const MANY: usize = 64;

/// A record that lies in the folder and was not accepted on this machine before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// As it is listed.
    pub listed: Listed,
    /// Id of the record.
    pub record: Id,
    /// Digest of its clear part.
    pub clear: Digest,
    /// Whether it is sealed under a key of its scope that is not in force any more.
    pub earlier_key: bool,
}

impl Claim {
    /// Its place among others: first what somebody who was removed can have written, where no screen leaves it out.
    pub(super) fn rank(&self) -> (bool, &str, &str, Id) {
        (!self.earlier_key, &self.listed.scope, &self.listed.name, self.record)
    }
}

/// A name with several records in the folder: written apart from each other, or one of them is the leftover of an older version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// The records, by version and id.
    pub records: Vec<Claim>,
}

/// What there is to join in a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Name of the scope.
    pub scope: String,
    /// Its heads.
    pub heads: Vec<Digest>,
    /// What came from elsewhere.
    pub claims: Vec<Claim>,
    /// Names with several records.
    pub contests: Vec<Contest>,
}

impl Merge {
    /// A scope in which there is nothing to join.
    #[must_use]
    pub fn nothing(scope: &str) -> Self {
        Self {
            scope: scope.to_owned(),
            heads: Vec::new(),
            claims: Vec::new(),
            contests: Vec::new(),
        }
    }
}

impl Vault {
    /// Scopes that have several heads or names with several records, as the folder shows them; no touch.
    ///
    /// # Errors
    /// The folder cannot be listed; a damaged head.
    pub fn merges(&self) -> Result<Vec<Merge>, VaultError> {
        let mut merges = Vec::new();
        for scope in &self.roster.in_force().scopes {
            let heads = self.heads(scope)?;
            let claims = if heads.len() > 1 {
                self.claims(scope, &self.roster.trust(scope))?
            } else {
                Vec::new()
            };
            let contests = self.contests(scope)?;
            if heads.len() > 1 || !contests.is_empty() {
                merges.push(Merge {
                    scope: scope.name.clone(),
                    heads,
                    claims,
                    contests,
                });
            }
        }
        Ok(merges)
    }

    /// The records that the folder has of one name: of a name that was written apart, what there is to keep.
    ///
    /// # Errors
    /// [`VaultError::NoScope`]; the folder cannot be listed.
    pub fn records_of(&self, scope: &str, name: &str) -> Result<Contest, VaultError> {
        let scope = self.scope(scope)?;
        let (shelf, start) = shelf(scope.id, name);
        let tag = format!("{shelf}/{}", start.trim_end_matches('-'));
        let ids = self.record_ids(scope)?.into_iter().filter(|(of, _)| *of == tag);
        let ids: BTreeSet<Id> = ids.map(|(_, id)| id).collect();
        let mut records = self.records(scope, &self.roster.trust(scope), |id| ids.contains(&id))?;
        records.retain(|claim| claim.listed.name == name);
        records.sort_by_key(|claim| (claim.listed.version, claim.record));
        Ok(Contest { records })
    }

    /// The exact bytes of the clear part of a record that was shown.
    ///
    /// # Errors
    /// [`VaultError::Deleted`], [`VaultError::RulesChanged`] when it is another one meanwhile.
    pub fn clear_part(&self, claim: &Claim) -> Result<Vec<u8>, VaultError> {
        let (scope, name) = (claim.listed.scope.clone(), claim.listed.name.clone());
        let parts = self.clear_parts(self.scope(&scope)?, |id| id == claim.record)?;
        match parts.into_iter().next() {
            Some((_, clear)) if Digest::of(&clear) == claim.clear => Ok(clear),
            Some(_) => Err(VaultError::RulesChanged { scope, name }),
            None => Err(VaultError::Deleted { scope, name }),
        }
    }

    /// Writes the join of the scopes of `standing` that have several heads, as the material has them that the touch unsealed.
    ///
    /// # Errors
    /// [`VaultError::Busy`], with which nothing has begun and it can be tried again; [`VaultError::Changed`]; a full disk, a read-only
    /// folder.
    pub fn join(&self, joins: &[Join], standing: &Standing, random: &mut Random) -> Result<(), VaultError> {
        if joins.is_empty() {
            return Ok(());
        }
        let lock = self.store.lock()?;
        journal::settle_locked(&lock)?;
        let accepted = self.check_standing(standing)?;
        for Join { scope, ring } in joins {
            let index = self.index(scope, ring, standing, &accepted)?;
            let mut change = Change::default();
            let (digest, bytes) = index.next(ring, Vec::new(), &mut change, random)?;
            change.commit(&lock, &head_path(scope.id, &digest), &bytes)?.sure()?;
            remember_made(|| {
                self.memory.learn_anew(scope.id, index.records().into_iter())?;
                self.memory.remember(scope.id, accepted.head(scope.id), digest)
            });
        }
        Ok(())
    }

    /// Records of `scope` that this machine has not accepted before.
    pub(super) fn claims(&self, scope: &ScopeEntry, trust: &Trust) -> Result<Vec<Claim>, VaultError> {
        let known = self.memory.known(scope.id)?;
        let mut claims = self.records(scope, trust, |id| !known.contains(&id))?;
        claims.sort_by(|a, b| a.rank().cmp(&b.rank()));
        Ok(claims)
    }

    fn contests(&self, scope: &ScopeEntry) -> Result<Vec<Contest>, VaultError> {
        let mut by_name: BTreeMap<String, Vec<Claim>> = BTreeMap::new();
        // Only shelves with two files of one name's tag are read.
        let twice = self.ids_of_one_tag(scope)?;
        for claim in self.records(scope, &self.roster.trust(scope), |id| twice.contains(&id))? {
            by_name.entry(claim.listed.name.clone()).or_default().push(claim);
        }
        let several = by_name.into_values().filter(|records| records.len() > 1);
        Ok(several
            .map(|mut records| {
                records.sort_by_key(|claim| (claim.listed.version, claim.record));
                Contest { records }
            })
            .collect())
    }

    fn records(&self, scope: &ScopeEntry, trust: &Trust, wanted: impl Fn(Id) -> bool) -> Result<Vec<Claim>, VaultError> {
        let claim = |(clear, bytes): (Clear, Vec<u8>)| Claim {
            record: clear.id,
            clear: Digest::of(&bytes),
            earlier_key: !trust.in_force.contains(&clear.key),
            listed: list_one(scope, clear),
        };
        Ok(self.clear_parts(scope, wanted)?.into_iter().map(claim).collect())
    }

    /// Ids of the records whose files begin alike: those of one name are among them.
    fn ids_of_one_tag(&self, scope: &ScopeEntry) -> Result<BTreeSet<Id>, VaultError> {
        let mut by_tag: BTreeMap<String, Vec<Id>> = BTreeMap::new();
        for (tag, id) in self.record_ids(scope)? {
            by_tag.entry(tag).or_default().push(id);
        }
        Ok(by_tag.into_values().filter(|ids| ids.len() > 1).flatten().collect())
    }

    /// Opens the index of `scope` from `heads`, of which `claims` were shown. Checks that it is no older than what was `accepted`.
    ///
    /// What joining takes in must have been shown, and be there byte for byte. A head under an earlier key that would have it otherwise is
    /// left aside.
    pub(super) fn joined<'a>(
        &'a self,
        scope: &ScopeEntry,
        ring: &'a Ring,
        heads: &[Digest],
        trust: &Trust,
        claims: &[&Claim],
        accepted: &Accepted,
    ) -> Result<Index<'a>, VaultError> {
        let own = accepted.head(scope.id);
        let known = match heads.len() {
            0 | 1 => BTreeSet::new(),
            _ => self.memory.known(scope.id)?,
        };
        let may_bring = |brought: &[Entry]| self.check_brought(scope, brought, claims, &known);
        let index = Index::open(&self.store, ring, heads, trust, own, may_bring)?;
        accepted.check(scope.id, &scope.name, &index)?;
        for (head, why) in index.aside() {
            // The names in `why` are of whoever made the head.
            let why = reason(why);
            tracing::warn!(scope = %scope.name, %head, why, "a head under an earlier key is left aside");
        }
        if index.is_joined() {
            Self::check_news(scope, &index.news(&index.known(own)?)?, claims, &known)?;
            self.check_claims(scope, &index, claims)?;
        }
        Ok(index)
    }

    /// What a head under an earlier key brings must have been shown, as what it is, whatever was accepted before.
    fn check_brought(&self, scope: &ScopeEntry, brought: &[Entry], claims: &[&Claim], accepted: &BTreeSet<Id>) -> Result<(), VaultError> {
        let claims: BTreeMap<(Id, &str), &Claim> = claims
            .iter()
            .map(|claim| ((claim.record, claim.listed.name.as_str()), *claim))
            .collect();
        let shown = |entry: &Entry, id| claims.get(&(id, entry.name.as_str())).copied();
        let records = || brought.iter().flat_map(|entry| entry.records().map(move |(id, _)| (entry, id)));
        if let Some((entry, _)) = records().find(|(entry, id)| shown(entry, *id).is_none()) {
            let mut hidden = records().map(|(_, id)| id).filter(|id| accepted.contains(id)).peekable();
            if hidden.peek().is_some() {
                // The next prompt shows them.
                self.memory.learn(scope.id, iter::empty(), hidden)?;
            }
            return Err(not_shown(scope, &entry.name));
        }
        for (entry, id) in records() {
            match shown(entry, id) {
                Some(claim) if claim.earlier_key => self.check_claim(scope, entry, claim)?,
                // A copy of what the owner had since: nobody who has not heard of the key in force seals under it.
                _ => return Err(VaultError::damaged(path(scope.id, &entry.name, id), "it is under the key in force")),
            }
        }
        Ok(())
    }

    /// What is new here must have been shown.
    fn check_news(scope: &ScopeEntry, news: &[Entry], claims: &[&Claim], accepted: &BTreeSet<Id>) -> Result<(), VaultError> {
        let shown: BTreeSet<Id> = claims.iter().map(|claim| claim.record).collect();
        let is_seen = |id: &Id| shown.contains(id) || accepted.contains(id);
        let unseen = news.iter().find(|entry| entry.records().any(|(id, _)| !is_seen(&id)));
        unseen.map_or(Ok(()), |entry| Err(not_shown(scope, &entry.name)))
    }

    fn check_claims(&self, scope: &ScopeEntry, index: &Index<'_>, claims: &[&Claim]) -> Result<(), VaultError> {
        let entries = entries(index, claims)?;
        for claim in claims {
            match entries.get(&claim.listed.name) {
                Some(entry) if entry.records().any(|(id, _)| id == claim.record) => self.check_claim(scope, entry, claim)?,
                // Of a version that was replaced, of a head that is left aside or has its turn later, or somebody's who put the file there.
                _ => tracing::warn!(scope = %scope.name, record = %claim.record, "no state names this record: it is not taken in"),
            }
        }
        Ok(())
    }

    /// What `entry` has of the record that was shown must be there, byte for byte.
    fn check_claim(&self, scope: &ScopeEntry, entry: &Entry, claim: &Claim) -> Result<(), VaultError> {
        let (scope_name, name) = (scope.name.clone(), claim.listed.name.clone());
        let path = path(scope.id, &name, claim.record);
        let file = self.store.read(&path, LARGEST_RECORD)?;
        if entry.records().all(|record| record != (claim.record, Digest::of(&file))) {
            return Err(VaultError::Swapped { scope: scope_name, name });
        }
        let record = Record::parse(&file).map_err(|why| VaultError::damaged(&path, why))?;
        if Digest::of(record.clear_bytes) != claim.clear {
            return Err(VaultError::RulesChanged { scope: scope_name, name });
        }
        Ok(())
    }
}

fn not_shown(scope: &ScopeEntry, name: &str) -> VaultError {
    VaultError::NotShown {
        scope: scope.name.clone(),
        name: name.to_owned(),
    }
}

/// Why a head is left aside, without a name that its maker chose.
fn reason(why: &VaultError) -> &'static str {
    match why {
        VaultError::NotShown { .. } => "not_shown",
        VaultError::Missing { .. } => "missing",
        VaultError::Swapped { .. } | VaultError::RulesChanged { .. } => "swapped",
        VaultError::Damaged { .. } => "damaged",
        _ => "other",
    }
}

/// The index's entries of the names that are claimed.
fn entries(index: &Index<'_>, claims: &[&Claim]) -> Result<BTreeMap<String, Entry>, VaultError> {
    let found = if claims.len() > MANY {
        index.entries()?
    } else {
        let find = |claim: &&Claim| index.find(&claim.listed.name).transpose();
        claims.iter().filter_map(find).collect::<Result<_, _>>()?
    };
    Ok(found.into_iter().map(|entry| (entry.name.clone(), entry)).collect())
}
