//! The path of an export: like a change's, one touch over words that say what it does, and the record before the deed.

use super::enrol::own_screen;
use super::failure::IntoFailure;
use super::office::{Asker, Office};
use super::record::{self, Question};
use super::text::{ExportKind, ExportText, Text, VERSION};
use super::touch::touch;
use crate::encoding::plain::check_line;
use crate::vault::{Delivery, OpenScope, Rules, VaultError};
use crate::wire::{Failure, Outcome};

/// Longest place that is shown, in bytes.
const LONGEST_PLACE: usize = 512;

/// What is asked for.
pub struct Export {
    /// The scope.
    pub scope: String,
    /// Where the values go, as claimed.
    pub to: String,
    /// How many secrets leave, by the folder's account.
    pub secrets: u64,
    /// How many stay, by the same.
    pub left_out: u64,
}

/// Whether a secret may leave: its rules let a program have it. What only a proxy or a signer may use was never to be seen by anybody.
#[must_use]
pub fn may_leave(rules: &Rules) -> bool {
    rules.allow(Delivery::Env) || rules.allow(Delivery::File)
}

/// Asks for the touch, and opens the scope. The export stands in the log before anything can be taken out.
///
/// # Errors
/// Every way in which a request can end without it.
pub async fn export(office: &Office<'_>, export: &Export, asker: &Asker) -> Result<OpenScope, Failure> {
    check_line("the place", &export.to, LONGEST_PLACE)
        .map_err(|error| Failure::new(Outcome::BadInput, "place", error.to_string()).hint("name another file with --out"))?;
    // A prompt that comes up on a watch by itself is approved in passing one day: this one is asked for at a terminal, or not at all.
    own_screen(asker).inspect_err(|refusal| office.refused(refusal))?;
    let turn = office.lobby.turn(asker).await.inspect_err(|refusal| office.refused(refusal))?;
    let standing = office.standing(&[&export.scope])?;
    // The text names what leaves by one head; what came from elsewhere has to be seen, and joined, first.
    if standing.heads().iter().any(|(_, heads)| heads.len() > 1) {
        return Err(VaultError::NotJoined(export.scope.clone()).failure());
    }
    let candidates = office.candidates(&standing, asker)?;
    // No name has an asterisk in it: every secret of the scope.
    let everything = vec![format!("{}/*", export.scope)];
    let asked = record::asked(
        office.log,
        &Question::of_change(&asker.requester, everything, "take everything out"),
    )?;
    let path = async {
        office.log.check_clock()?;
        let text = ExportText {
            v: VERSION,
            kind: ExportKind::Export,
            id: office.lobby.random_id(),
            asked: asked.hash(),
            origin: office.origin(&asker.requester, &standing),
            scope: export.scope.clone(),
            warning: ExportText::words(&export.scope),
            secrets: export.secrets,
            left_out: export.left_out,
            to: export.to.clone(),
            at: office.lobby.clock.wall().seconds(),
        };
        let fixed = text.fix().map_err(IntoFailure::failure)?;
        let prompt = office.show(turn, &fixed, &candidates, asker).await?;
        asked.shown()?;
        let proof = touch(&office.lobby, &prompt, &fixed, candidates).await?;
        let opened = office.vault.borrow().open_for_export(&proof, fixed.digest(), &standing);
        let opened = opened.map_err(IntoFailure::failure)?;
        asked.exported(&proof, &fixed)?;
        prompt.approved();
        Ok(opened)
    };
    path.await.inspect_err(|failure| asked.failed(failure))
}
