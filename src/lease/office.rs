//! Everything that the lease path works with, lent for one request.

use std::cell::RefCell;

use data_encoding::HEXLOWER;
use tokio::sync::mpsc::UnboundedSender;

use super::collapse::Questions;
use super::failure::{IntoFailure, internal};
use super::ledger::Ledger;
use super::requester::Requester;
use super::text::{Fixed, Origin, RequesterText, VaultState};
use crate::audit::Log;
use crate::clock::Clock;
use crate::config::Limits;
use crate::device::Proof;
use crate::device::broker::{Broker, Candidate};
use crate::presence::{Desk, Prompt, Showing};
use crate::vault::{Material, Random, Standing, Vault, Wanted};
use crate::wire::{Event, Failure};

/// The rooms below, and what comes from outside: time, randomness, limits.
pub struct Office<'a> {
    /// Screens and the queue.
    pub desk: &'a Desk,
    /// Keys.
    pub broker: &'a Broker,
    /// Live leases.
    pub ledger: &'a Ledger,
    /// Questions that stand before a person.
    pub questions: &'a Questions,
    /// The vault.
    pub vault: &'a RefCell<Vault>,
    /// Where it lies, for the screen.
    pub vault_path: &'a str,
    /// Its log.
    pub log: &'a RefCell<Log>,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Randomness.
    pub random: &'a RefCell<Box<Random>>,
    /// Limits.
    pub limits: &'a Limits,
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

impl Office<'_> {
    /// 128 fresh random bits, in hexadecimal.
    #[must_use]
    pub fn random_id(&self) -> String {
        let mut bytes = [0; 16];
        self.random.borrow_mut().fill_bytes(&mut bytes);
        HEXLOWER.encode(&bytes)
    }

    /// Where a text for these scopes comes from: who, which boot, which state of the vault.
    #[must_use]
    pub fn origin(&self, requester: &Requester, standing: &Standing) -> Origin {
        Origin {
            boot: self.boot_id.to_owned(),
            nonce: self.random_id(),
            requester: RequesterText::of(requester),
            vault: VaultState {
                id: self.vault.borrow().id(),
                roster: standing.roster(),
                heads: standing.heads().iter().cloned().collect(),
            },
        }
    }

    /// What the vault stands at, for these scopes.
    ///
    /// # Errors
    /// What the vault says.
    pub fn standing(&self, scopes: &[&str]) -> Result<Standing, Failure> {
        self.vault.borrow().standing(scopes).map_err(IntoFailure::failure)
    }

    /// The keys that can serve.
    ///
    /// # Errors
    /// What the vault says; no key opens all of it.
    pub fn candidates(&self, standing: &Standing) -> Result<Vec<Candidate>, Failure> {
        let candidates = self.vault.borrow().candidates(standing).map_err(IntoFailure::failure)?;
        if candidates.is_empty() {
            return Err(internal("no_slots", "no enrolled key opens all of these scopes with one touch").hint("touchlease key list"));
        }
        Ok(candidates)
    }

    /// Whether the wall clock may be believed.
    ///
    /// # Errors
    /// It was set: earlier than the last line of the log, or far ahead of it within one boot.
    pub fn check_clock(&self) -> Result<(), Failure> {
        self.log.borrow().check_clock().map_err(IntoFailure::failure)
    }

    /// Puts a text on a screen that the asker does not own.
    ///
    /// # Errors
    /// There is none; too many prompts.
    pub async fn open_prompt(&self, fixed: &Fixed, candidates: &[Candidate], asker: &Asker) -> Result<Prompt<'_>, Failure> {
        let showing = Showing {
            text: fixed.text(),
            id: fixed.id(),
            words: fixed.words(),
            keys: candidates.iter().map(|candidate| candidate.key.name.clone()).collect(),
            vault: self.vault_path.to_owned(),
            open_for: self.limits.prompt,
            requester: &asker.requester.standing,
            own: asker.requester.own_screen,
            tell: asker.tell.clone(),
        };
        self.desk.open(showing).await.map_err(IntoFailure::failure)
    }

    /// Unseals what the lease names with the touch that signed it.
    ///
    /// # Errors
    /// What the vault says.
    pub fn unseal(&self, proof: &Proof, fixed: &Fixed, standing: &Standing, wanted: &[Wanted]) -> Result<Material, Failure> {
        self.vault.borrow().unseal(proof, fixed.digest(), standing, wanted).map_err(IntoFailure::failure)
    }
}
