//! Everything that the daemon holds, for as long as it runs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::audit::log::Owner;
use crate::audit::{Event as AuditEvent, Log, event};
use crate::clock::Clock;
use crate::config::Config;
use crate::device::broker::Broker;
use crate::lease::collapse::Questions;
use crate::lease::failure::IntoFailure;
use crate::lease::ledger::{Ledger, Over};
use crate::lease::office::{Lobby, Office};
use crate::lease::record::{self, Journal};
use crate::paths::Places;
use crate::presence::Desk;
use crate::vault::{Random, Vault};
use crate::wire::{Failure, Outcome};

/// Name and version in the log.
const PROGRAM: &str = concat!("touchlease ", env!("CARGO_PKG_VERSION"));
/// The log of a vault, in its state folder.
pub const LOG_FILE: &str = "audit.jsonl";

/// What comes from outside: places, time, randomness, keys. Tests bring their own.
pub struct Outside {
    /// Where things lie.
    pub places: Places,
    /// Limits.
    pub config: Config,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Box<Random>,
    /// Keys.
    pub broker: Broker,
    /// This boot.
    pub boot_id: String,
    /// The uid that is served.
    pub uid: u32,
}

/// The daemon's rooms.
pub struct House {
    pub(super) places: Places,
    pub(super) config: Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: RefCell<Box<Random>>,
    pub(super) broker: Broker,
    pub(super) boot_id: String,
    pub(super) uid: u32,
    pub(super) desk: Desk,
    pub(super) ledger: Ledger,
    pub(super) questions: Questions,
    /// Told when a line was written that may wait for the disk.
    pub(super) log_written: Rc<Notify>,
    vaults: RefCell<HashMap<PathBuf, Rc<OpenVault>>>,
}

/// A vault with its log.
pub struct OpenVault {
    /// Its folder.
    pub path: PathBuf,
    /// The same, for a screen.
    pub shown: String,
    /// The vault.
    pub vault: RefCell<Vault>,
    /// Its log.
    pub log: Rc<Journal>,
}

impl House {
    /// A house that serves `outside.uid`.
    #[must_use]
    pub fn new(outside: Outside) -> Self {
        let Outside {
            places,
            config,
            clock,
            random,
            broker,
            boot_id,
            uid,
        } = outside;
        let (desk, ledger) = (Desk::new(clock.clone()), Ledger::new(clock.clone()));
        Self {
            places,
            config,
            desk,
            clock,
            random: RefCell::new(random),
            broker,
            boot_id,
            uid,
            ledger,
            questions: Questions::default(),
            log_written: Rc::default(),
            vaults: RefCell::default(),
        }
    }

    /// The vault that a call names, or the configured one, or the usual one.
    #[must_use]
    pub fn vault_path(&self, named: Option<&Path>) -> PathBuf {
        let configured = self.config.vault.as_deref();
        named.or(configured).unwrap_or(&self.places.vault).to_path_buf()
    }

    /// Opens the vault at `path`, verified anew when its roster changed on the disk since.
    ///
    /// # Errors
    /// What vault and log say.
    pub fn open(&self, path: &Path) -> Result<Rc<OpenVault>, Failure> {
        let known = self.vaults.borrow().get(path).cloned();
        let Some(known) = known else { return self.open_first(path) };
        let current = known.vault.borrow().is_current().map_err(IntoFailure::failure)?;
        if !current {
            let vault = self.read(path)?;
            if vault.id() != known.vault.borrow().id() {
                self.vaults.borrow_mut().remove(path);
                return self.open_first(path);
            }
            self.adopt(&known, vault);
        }
        Ok(known)
    }

    /// Takes a vault that was just made or changed.
    ///
    /// # Errors
    /// What the log says.
    pub fn keep(&self, path: &Path, vault: Vault) -> Result<Rc<OpenVault>, Failure> {
        let log = self.open_log(&vault)?;
        let shown = path.display().to_string();
        let open = Rc::new(OpenVault {
            path: path.to_owned(),
            shown,
            vault: RefCell::new(vault),
            log: Rc::new(log),
        });
        let statement = open.vault.borrow().roster_digest();
        record::best_effort(&open.log, AuditEvent::Roster(event::Roster { statement }));
        self.vaults.borrow_mut().insert(path.to_owned(), open.clone());
        Ok(open)
    }

    /// The lease path's view of the house.
    #[must_use]
    pub fn office<'a>(&'a self, open: &'a OpenVault) -> Office<'a> {
        Office {
            lobby: self.lobby(&open.shown, Some(&open.log)),
            ledger: &self.ledger,
            questions: &self.questions,
            vault: &open.vault,
            log: &open.log,
            boot_id: &self.boot_id,
        }
    }

    /// What questions need before there is a vault.
    pub fn lobby<'a>(&'a self, vault_path: &'a str, log: Option<&'a Rc<Journal>>) -> Lobby<'a> {
        Lobby {
            desk: &self.desk,
            broker: &self.broker,
            log,
            vault_path,
            clock: &*self.clock,
            random: &self.random,
            limits: &self.config.limits,
        }
    }

    /// Vaults that are open.
    #[must_use]
    pub fn opened(&self) -> Vec<Rc<OpenVault>> {
        self.vaults.borrow().values().cloned().collect()
    }

    /// Writes the ends of leases into the logs of their vaults.
    pub fn record_over(&self, ended: &[Over]) {
        for open in self.opened() {
            let id = open.vault.borrow().id();
            let of_vault: Vec<_> = ended.iter().filter(|over| over.vault == id).cloned().collect();
            record::over(&open.log, &of_vault);
        }
    }

    fn open_first(&self, path: &Path) -> Result<Rc<OpenVault>, Failure> {
        let vault = self.read(path)?;
        self.keep(path, vault)
    }

    fn read(&self, path: &Path) -> Result<Vault, Failure> {
        Vault::open(path, &self.places.state).map_err(IntoFailure::failure)
    }

    fn adopt(&self, open: &OpenVault, vault: Vault) {
        let statement = vault.roster_digest();
        open.vault.replace(vault);
        record::best_effort(&open.log, AuditEvent::Roster(event::Roster { statement }));
    }

    fn open_log(&self, vault: &Vault) -> Result<Journal, Failure> {
        let folder = self.places.state_of(&vault.id().to_string());
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| {
            Failure::new(
                Outcome::LogRefused,
                "state_folder",
                format!("{} cannot be made: {error}", folder.display()),
            )
            .hint("the audit log lives there; make the folder above it writable")
        })?;
        let owner = Owner {
            vault: vault.id(),
            boot_id: self.boot_id.clone(),
            program: PROGRAM.into(),
        };
        let log = Log::open(&folder.join(LOG_FILE), owner, self.clock.clone()).map_err(IntoFailure::failure)?;
        Ok(Journal::new(log, self.log_written.clone()))
    }
}
