//! Everything that the lease path works with, lent for one request.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use tokio::sync::mpsc::UnboundedSender;

use super::collapse::Questions;
use super::failure::{IntoFailure, internal};
use super::ledger::Ledger;
use super::making::make;
use super::record::{self, AskedLine, Journal};
use super::requester::Requester;
use super::task_files::TaskFiles;
use super::text::{Fixed, JoinText, Origin, RequesterText, VaultState, names_all};
use super::writer::Writer;
use crate::clock::Clock;
use crate::config::Limits;
use crate::device::Proof;
use crate::device::broker::{Broker, Candidate};
use crate::encoding::plain::count;
use crate::presence::{Desk, Prompt, Showing, Turn, Whose};
use crate::vault::{Material, Random, Standing, Vault, Wanted};
use crate::wire::{Event, Failure, Outcome};

/// What every question to a person needs, with or without a vault.
pub struct Lobby<'a> {
    /// Screens and the queue.
    pub desk: &'a Desk,
    /// Keys.
    pub broker: &'a Broker,
    /// The log; nothing before there is a vault.
    pub log: Option<&'a Rc<Journal>>,
    /// Where the vault lies, for the screen.
    pub vault_path: &'a str,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Randomness.
    pub random: &'a RefCell<Box<Random>>,
    /// Does what takes long.
    pub writer: &'a Writer,
    /// Limits, as they were when the call came.
    pub limits: Limits,
}

/// The rooms below, for one vault.
pub struct Office<'a> {
    /// What needs no vault.
    pub lobby: Lobby<'a>,
    /// Live leases.
    pub ledger: &'a Ledger,
    /// Questions that stand before a person.
    pub questions: &'a Questions,
    /// The vault.
    pub vault: &'a RefCell<Arc<Vault>>,
    /// Its log.
    pub log: &'a Rc<Journal>,
    /// The task files that were approved.
    pub task_files: &'a TaskFiles,
    /// This boot.
    pub boot_id: &'a str,
}

/// Who asks, and where to tell him how it goes.
pub struct Asker {
    /// Who.
    pub requester: Requester,
    /// His feed.
    pub tell: UnboundedSender<Event>,
}

impl Lobby<'_> {
    /// 128 fresh random bits, in hexadecimal.
    #[must_use]
    pub fn random_id(&self) -> String {
        let mut bytes = [0; 16];
        self.random.borrow_mut().fill_bytes(&mut bytes);
        HEXLOWER.encode(&bytes)
    }

    /// Waits until the asker's question may be put before a person.
    ///
    /// # Errors
    /// No screen that the asker does not own; too many prompts.
    pub async fn turn(&self, asker: &Asker) -> Result<Turn<'_>, Failure> {
        self.desk.turn(asker.whose(), &asker.tell).await.map_err(IntoFailure::failure)
    }

    /// Puts a text on the screen.
    ///
    /// # Errors
    /// The screen went away.
    pub async fn show<'a>(
        &self,
        turn: Turn<'a>,
        fixed: &Fixed,
        keys: Vec<String>,
        open_for: Duration,
        asker: &Asker,
    ) -> Result<Prompt<'a>, Failure> {
        let showing = Showing {
            text: fixed.text(),
            beside: fixed.beside(),
            id: fixed.id(),
            words: fixed.words(),
            keys,
            vault: self.vault_path.to_owned(),
            by: asker.requester.claimed.in_short(),
            open_for,
        };
        turn.show(showing, asker.whose(), asker.tell.clone())
            .await
            .map_err(IntoFailure::failure)
    }
}

impl Asker {
    fn whose(&self) -> Whose<'_> {
        Whose {
            whereabouts: &self.requester.whereabouts,
            own: self.requester.own_screen,
        }
    }
}

impl Office<'_> {
    /// Where a text for these scopes comes from: who, which boot, which state of the vault.
    #[must_use]
    pub fn origin(&self, requester: &Requester, standing: &Standing) -> Origin {
        Origin {
            boot: self.boot_id.to_owned(),
            nonce: self.lobby.random_id(),
            requester: RequesterText::of(requester),
            vault: VaultState {
                id: self.vault.borrow().id(),
                roster: standing.roster(),
                heads: standing.heads().iter().cloned().collect(),
                joins: JoinText::of(standing),
            },
        }
    }

    /// The vault as it is open now, for work that goes on beside whatever opens it anew.
    #[must_use]
    pub fn vault_now(&self) -> Arc<Vault> {
        self.vault.borrow().clone()
    }

    /// What the vault stands at, for these scopes.
    ///
    /// # Errors
    /// What the vault says.
    pub fn standing(&self, scopes: &[&str]) -> Result<Standing, Failure> {
        self.vault.borrow().standing(scopes).map_err(IntoFailure::failure)
    }

    /// The same for a text about something else than joining them, which has to name all that it takes in on the way.
    ///
    /// # Errors
    /// As [`Office::standing`]; more than a text names from heads that somebody who was removed may have made.
    pub fn standing_named(&self, scopes: &[&str]) -> Result<Standing, Failure> {
        let standing = self.standing(scopes)?;
        if names_all(&standing) {
            return Ok(standing);
        }
        let scope = standing
            .heads()
            .iter()
            .find(|(_, heads)| heads.len() > 1)
            .map_or("", |(scope, _)| scope);
        let message = format!(
            "joining scope {scope} would take in {}, some of them from a state under an earlier key: more than a prompt can name",
            count(standing.claims().len(), "secret")
        );
        Err(Failure::new(Outcome::VaultRefused, "too_many_joined", message)
            .hint(format!("look at all of them, then join them by a touch: touchlease merge {scope}")))
    }

    /// Writes a refusal for which nobody was asked.
    pub fn refused(&self, refusal: &Failure) {
        record::refused(self.log, refusal, self.lobby.clock.boot());
    }

    /// The keys that can serve. Whoever asks is told which one is left out for what is wrong with its file.
    ///
    /// # Errors
    /// What the vault says; no key opens all of it.
    pub fn candidates(&self, standing: &Standing, asker: &Asker) -> Result<Vec<Candidate>, Failure> {
        let vault = self.vault.borrow();
        let candidates = vault.candidates(standing).map_err(IntoFailure::failure)?;
        for (key, wrong) in vault.left_out(standing).map_err(IntoFailure::failure)? {
            // Whoever asked may have gone; what he asked for ends with his connection.
            let _ = asker.tell.send(Event::Note {
                what: format!("\"{key}\" is not asked: {wrong}"),
            });
        }
        if candidates.is_empty() {
            return Err(internal("no_slots", "no enrolled key opens all of these scopes with one touch").hint("touchlease key list"));
        }
        Ok(candidates)
    }

    /// Puts a text on the screen for as long as a prompt stands.
    ///
    /// # Errors
    /// The screen went away.
    pub async fn show<'a>(&self, turn: Turn<'a>, fixed: &Fixed, candidates: &[Candidate], asker: &Asker) -> Result<Prompt<'a>, Failure> {
        self.lobby
            .show(turn, fixed, names(candidates), self.lobby.limits.prompt, asker)
            .await
    }

    /// Writes the join of the heads that the touch approved, where a scope had several.
    ///
    /// # Errors
    /// Denied, before it was begun; what the vault says. Then nothing is handed out.
    pub async fn join(
        &self,
        mut material: Material,
        standing: &Standing,
        asked: &Rc<AskedLine>,
        prompt: &Prompt<'_>,
    ) -> Result<Material, Failure> {
        let joins = material.take_joins();
        if !joins.is_empty() {
            let (vault, standing) = (self.vault_now(), standing.clone());
            let join = move |random: &mut Random| vault.join(&joins, &standing, random);
            make(self.lobby.writer, asked, Some(prompt), join).await?;
        }
        Ok(material)
    }

    /// Unseals what the lease names with the touch that signed it.
    ///
    /// # Errors
    /// What the vault says.
    pub fn unseal(&self, proof: &Proof, fixed: &Fixed, standing: &Standing, wanted: &[Wanted]) -> Result<Material, Failure> {
        self.vault
            .borrow()
            .unseal(proof, fixed.digest(), standing, wanted)
            .map_err(IntoFailure::failure)
    }
}

/// Names of keys, for the screen.
#[must_use]
pub fn names(candidates: &[Candidate]) -> Vec<String> {
    candidates.iter().map(|candidate| candidate.key.name.clone()).collect()
}
