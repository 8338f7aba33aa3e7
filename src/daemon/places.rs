//! Whether this daemon keeps its things where its client thinks.

use std::path::Path;

use crate::encoding::plain::visible;
use crate::paths::Places;
use crate::wire::{Call, Failure, Outcome};

/// Whoever started this daemon chose its log, its memory of vaults and its limits: that may have been a program, with an environment of
/// its own (T21). So nothing is done for a client with another, before anybody is asked; but for what ends leases.
pub(super) fn check(ours: &Places, call: &Call) -> Result<(), Failure> {
    let Some(theirs) = call.places.as_ref().filter(|_| !call.request.ends_leases()) else {
        return Ok(());
    };
    let vault = call.vault.is_none().then_some(("vault", &ours.vault, &theirs.vault));
    let places = [
        ("log and memory", &ours.state, &theirs.state),
        ("configuration", &ours.config, &theirs.config),
    ];
    match places.into_iter().chain(vault).find(|(_, ours, theirs)| !is_at(ours, theirs)) {
        Some((what, ours, theirs)) => Err(other_places(what, ours, theirs)),
        None => Ok(()),
    }
}

/// The same words, or where links lead from ours. Nothing is looked up that the client names.
fn is_at(ours: &Path, theirs: &str) -> bool {
    ours.to_string_lossy() == theirs || ours.canonicalize().is_ok_and(|ours| ours.to_string_lossy() == theirs)
}

fn other_places(what: &str, ours: &Path, theirs: &str) -> Failure {
    let pid = std::process::id();
    let message = format!(
        "the daemon that runs (pid {pid}) has its {what} at {}, and your environment says {}",
        ours.display(),
        visible(theirs)
    );
    Failure::new(Outcome::NoDaemon, "other_places", message).hint(format!(
        "stop it, which ends its leases: kill {pid} (the next command starts one with your places); or set HOME and the XDG variables as it has them"
    ))
}
