//! Calls about scopes.

use std::path::Path;
use std::rc::Rc;

use super::house::{House, OpenVault};
use crate::lease::failure::IntoFailure;
use crate::lease::office::Asker;
use crate::lease::roster;
use crate::wire::reply::ScopeView;
use crate::wire::request::RotateAsk;
use crate::wire::{Failure, Reply};

/// # Errors
/// The folder cannot be read.
pub(super) fn list(house: &House, path: &Path) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let names: Vec<String> = open.vault.borrow().scopes().into_iter().map(str::to_owned).collect();
    let scopes = names.iter().map(|name| view(&open, name)).collect::<Result<_, _>>()?;
    Ok(Reply::Scopes { scopes })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn add(house: &Rc<House>, path: &Path, name: &str, keys: &[String], asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    roster::new_scope(&house.office(&open), name, keys, asker).await?;
    let open = house.open(path)?;
    Ok(Reply::ScopeAdded { scope: view(&open, name)? })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn rename(house: &Rc<House>, path: &Path, name: &str, to: &str, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    roster::rename(&house.office(&open), name, to, asker).await?;
    house.open(path).map(|_| Reply::Done)
}

/// # Errors
/// See [`Failure`].
pub(super) async fn remove(house: &Rc<House>, path: &Path, name: &str, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    roster::give_up(&house.office(&open), name, asker).await?;
    house.open(path).map(|_| Reply::Done)
}

/// # Errors
/// See [`Failure`].
pub(super) async fn rotate(house: &Rc<House>, path: &Path, ask: RotateAsk, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let (scopes, key) = roster::rotate(&house.office(&open), &ask.scopes, ask.key.as_deref(), asker).await?;
    house.open(path)?;
    Ok(Reply::Rotated { scopes, key })
}

fn view(open: &OpenVault, name: &str) -> Result<ScopeView, Failure> {
    let vault = open.vault.borrow();
    let not_in = vault.keys_not_in(name).map_err(IntoFailure::failure)?;
    let keys = vault.keys().into_iter().map(|key| key.name);
    Ok(ScopeView {
        name: name.to_owned(),
        epoch: vault.epoch(name).map_err(IntoFailure::failure)?,
        keys: keys.filter(|key| !not_in.contains(key)).collect(),
        not_in,
        secrets: vault.count(name).map_err(IntoFailure::failure)? as u64,
    })
}
