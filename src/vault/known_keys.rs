//! What statements say of keys: an id is one key, in all that leads to a statement. Whoever once had a key or a code could write a side
//! of a fork in which another's key asks for its PIN by another device's credential, or without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::device::enrolled::{EnrolledKey, KeyId};
use crate::encoding::Digest;

use super::statement::Statement;

/// Keys by their ids, as they were enrolled; their names may change.
type Keys = BTreeMap<KeyId, EnrolledKey>;

/// For each statement, the keys of it and of all that it follows.
#[derive(Clone, Debug, Default)]
pub struct KnownKeys(BTreeMap<Digest, Arc<Keys>>);

impl KnownKeys {
    /// The keys of `statement` and of those before it, which are known.
    ///
    /// # Errors
    /// The name of a key that is not everywhere the same.
    pub fn of(&self, statement: &Statement) -> Result<Arc<Keys>, String> {
        let mut keys = self.behind(&statement.previous)?;
        for key in &statement.keys {
            take(&mut keys, key)?;
        }
        Ok(keys)
    }

    /// Knows those of the statement `digest` too.
    ///
    /// # Errors
    /// As [`KnownKeys::of`].
    pub fn learn(&mut self, digest: Digest, statement: &Statement) -> Result<(), String> {
        let keys = self.of(statement)?;
        self.0.insert(digest, keys);
        Ok(())
    }

    /// Those of these statements and of all that they follow.
    ///
    /// # Errors
    /// As [`KnownKeys::of`].
    pub fn behind(&self, statements: &[Digest]) -> Result<Arc<Keys>, String> {
        let mut known = statements.iter().filter_map(|digest| self.0.get(digest));
        let mut keys = known.next().cloned().unwrap_or_default();
        for others in known {
            for key in others.values() {
                take(&mut keys, key)?;
            }
        }
        Ok(keys)
    }
}

fn take(keys: &mut Arc<Keys>, key: &EnrolledKey) -> Result<(), String> {
    match keys.get(&key.id()) {
        Some(known) if known.is_enrolled_as(key) => Ok(()),
        Some(known) => Err(known.name.clone()),
        // Most statements bring no key, and share what is known.
        None => {
            Arc::make_mut(keys).insert(key.id(), key.clone());
            Ok(())
        }
    }
}
