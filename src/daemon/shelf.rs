//! The vaults that are open, and which one lay where: whoever can write to a place could put another vault there, and what is sealed next
//! would go into it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::house::OpenVault;
use crate::encoding::Digest;
use crate::lease::failure::IntoFailure;
use crate::lease::text::InsteadText;
use crate::vault::Vault;
use crate::wire::{Failure, Outcome};

/// Device and inode of a vault's folder: several paths lead to one vault (links, mounts), and it is served as one.
type Place = (u64, u64);

/// See the module. It is remembered for as long as the daemon runs.
#[derive(Default)]
pub(super) struct Shelf {
    vaults: RefCell<HashMap<Place, Rc<OpenVault>>>,
    /// Which vault was opened or made last at a path.
    placed: RefCell<HashMap<PathBuf, InsteadText>>,
}

impl Shelf {
    /// The vault at `path`, if it is open, as it was read.
    pub(super) fn at(&self, path: &Path) -> Option<Rc<OpenVault>> {
        let folder = fs::metadata(path).ok()?;
        self.vaults.borrow().get(&(folder.dev(), folder.ino())).cloned()
    }

    /// All that are open.
    pub(super) fn all(&self) -> Vec<Rc<OpenVault>> {
        self.vaults.borrow().values().cloned().collect()
    }

    /// Puts a vault in its place; gives the one that stood there.
    ///
    /// # Errors
    /// Its folder cannot be looked at.
    pub(super) fn put(&self, path: &Path, open: &Rc<OpenVault>) -> Result<Option<Rc<OpenVault>>, Failure> {
        let vault = open.vault.borrow();
        let place = vault.place().map_err(IntoFailure::failure)?;
        self.note(path, &vault);
        Ok(self.vaults.borrow_mut().insert(place, open.clone()))
    }

    /// Remembers that this vault lies at `path`.
    pub(super) fn note(&self, path: &Path, vault: &Vault) {
        let mut placed = self.placed.borrow_mut();
        if placed.get(path).is_none_or(|known| known.vault != vault.id()) {
            placed.insert(path.to_owned(), instead(vault));
        }
    }

    /// What lay at `path` until now, where that is another vault than `id`: by this path, or by another one to the same folder.
    pub(super) fn instead_of(&self, path: &Path, id: Digest) -> Option<InsteadText> {
        let by_path = self.placed.borrow().get(path).cloned();
        let before = by_path.or_else(|| self.at(path).map(|open| instead(&open.vault.borrow())));
        before.filter(|before| before.vault != id)
    }

    /// # Errors
    /// Another vault than this one lay at `path`, and nobody has said that this one is meant. `way_on` is what a person does who means it.
    pub(super) fn expect(&self, path: &Path, id: Digest, way_on: &str) -> Result<(), Failure> {
        match self.instead_of(path, id) {
            None => Ok(()),
            Some(before) => Err(other_vault(path, &before, id, way_on)),
        }
    }
}

fn instead(vault: &Vault) -> InsteadText {
    InsteadText {
        name: vault.name().to_owned(),
        vault: vault.id(),
    }
}

fn other_vault(path: &Path, before: &InsteadText, id: Digest, way_on: &str) -> Failure {
    let (name, before, now) = (&before.name, digits(before.vault), digits(id));
    let message = format!(
        "{} was the vault \"{name}\" ({before}) until now, and another one lies there ({now})",
        path.display()
    );
    Failure::new(Outcome::VaultRefused, "other_vault", message).hint(format!(
        "somebody put another vault in its place: bring the one of before back; to go on with this one: {way_on}"
    ))
}

/// As many of an id's digits as a person compares.
pub(super) fn digits(id: Digest) -> String {
    id.to_string().chars().take(8).collect()
}
