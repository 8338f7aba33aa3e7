//! Calls about a roster that two machines changed apart from each other.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::house::House;
use crate::lease::office::Asker;
use crate::lease::roster;
use crate::vault::{Clash, Fork, Side};
use crate::wire::reply::{ClashView, SideView, StepView};
use crate::wire::request::JoinAsk;
use crate::wire::{Failure, Reply};

/// # Errors
/// What the vault says.
pub(super) fn look(house: &House, path: &Path) -> Result<Reply, Failure> {
    let fork = house.fork(path)?.map(|(fork, _)| fork);
    let sides = fork.as_ref().map(Fork::sides).unwrap_or_default();
    Ok(Reply::Fork {
        sides: sides.iter().map(side).collect(),
        clashes: fork
            .as_ref()
            .map(Fork::clashes)
            .unwrap_or_default()
            .into_iter()
            .map(clash)
            .collect(),
    })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn join(house: &Rc<House>, path: &Path, ask: JoinAsk, asker: &Asker) -> Result<Reply, Failure> {
    if let Some((fork, log)) = house.fork(path)? {
        let (fork, shown) = (Arc::new(fork), path.display().to_string());
        let lobby = house.lobby(&shown, Some(&log));
        roster::join(&lobby, &log, &fork, ask.key.as_deref(), &ask.names, asker).await?;
    }
    house.open(path).map(|_| Reply::Done)
}

fn side(side: &Side) -> SideView {
    let step = |step: &crate::vault::fork::Step| StepView {
        statement: step.statement.to_string(),
        signer: step.signer.clone(),
        at: step.at,
        changes: step.changes.clone(),
        shut_out: step.shut_out,
    };
    SideView {
        end: side.end.to_string(),
        steps: side.steps.iter().map(step).collect(),
    }
}

fn clash(clash: Clash) -> ClashView {
    ClashView {
        what: if clash.keys { "key" } else { "scope" }.into(),
        name: clash.name,
        ids: clash.ids,
    }
}
