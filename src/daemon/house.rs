//! Everything that the daemon holds, for as long as it runs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{Access, access};
use tokio::sync::Notify;

use super::exchanges::Exchanges;
use super::proxies::Sessions;
use super::shelf::{Shelf, digits};
use super::signers::hardware;
use super::turns::Turns;
use crate::audit::Log;
use crate::audit::log::Owner;
use crate::clock::Clock;
use crate::config::Config;
use crate::device::broker::Broker;
use crate::device::{EnrolledKey, KeyId};
use crate::encoding::Digest;
use crate::finding::quoted;
use crate::lease::collapse::Questions;
use crate::lease::enrol::Known;
use crate::lease::failure::IntoFailure;
use crate::lease::ledger::{Ledger, Over};
use crate::lease::office::{Lobby, Office};
use crate::lease::record::{self, Journal};
use crate::lease::task_files::TaskFiles;
use crate::lease::text::InsteadText;
use crate::lease::writer::Writer;
use crate::paths::Places;
use crate::presence::Desk;
use crate::vault::{Fork, Random, Vault, VaultError};
use crate::wire::{Failure, Outcome};

/// Name and version in the log.
const PROGRAM: &str = concat!("touchlease ", env!("CARGO_PKG_VERSION"));
/// What a person types who means the vault that lies in the place of another one.
const ACCEPT: &str = "touchlease vault accept-older";
/// The same where its roster is forked: it is joined first, and where nobody takes it for the one of before.
const JOIN_ELSEWHERE: &str = "move it to a folder of its own, and join it there: touchlease --vault FOLDER vault join";
/// The log of a vault, in its state folder.
pub const LOG_FILE: &str = "audit.jsonl";

/// Reads the configuration as it is now, or says what is wrong with it.
pub type Settings = dyn Fn() -> Result<Config, Failure> + Send;

/// What comes from outside: places, time, randomness, keys. Tests bring their own.
pub struct Outside {
    /// Where things lie.
    pub places: Places,
    /// Limits, read anew for each call: a person changes them while the daemon runs.
    pub settings: Box<Settings>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, a source for each thread.
    pub random: fn() -> Box<Random>,
    /// Keys.
    pub broker: Broker,
    /// This boot.
    pub boot_id: String,
    /// The uid that is served.
    pub uid: u32,
    /// Programs that are agents.
    pub agents: &'static [&'static str],
    /// This program, which is started anew as the proxy's worker.
    pub program: PathBuf,
}

/// The daemon's rooms.
pub struct House {
    pub(super) places: Places,
    settings: Box<Settings>,
    /// The last one that was good, and what is wrong with the one that stands there now.
    config: RefCell<(Rc<Config>, Option<Failure>)>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: RefCell<Box<Random>>,
    pub(super) writer: Writer,
    pub(super) turns: Turns,
    pub(super) broker: Broker,
    pub(super) boot_id: String,
    pub(super) uid: u32,
    pub(super) agents: &'static [&'static str],
    pub(super) program: PathBuf,
    pub(super) desk: Desk,
    pub(super) ledger: Ledger,
    pub(super) questions: Questions,
    /// Told when a line was written that may wait for the disk.
    pub(super) log_written: Rc<Notify>,
    shelf: Shelf,
    /// The proxies that run.
    pub(super) sessions: Rc<Sessions>,
    /// What OpenBao gave and has not taken back.
    pub(super) exchanges: Exchanges,
    /// One for each vault id: copies of one vault share what was asked and approved for it.
    logs: RefCell<HashMap<Digest, Rc<Journal>>>,
}

/// A vault with its log.
pub struct OpenVault {
    /// Its folder, for a screen.
    pub shown: String,
    /// The vault.
    pub vault: RefCell<Arc<Vault>>,
    /// Its log.
    pub log: Rc<Journal>,
    /// The task files that were approved.
    pub task_files: TaskFiles,
}

/// What was named in place of a vault: a file in one, or one that came out of it.
fn no_folder(file: &Path) -> Failure {
    let above = file.ancestors().skip(1).find(|folder| folder.join("roster").is_dir());
    let hint = match above {
        Some(vault) => format!("name the folder of the vault: --vault {}", quoted(vault)),
        None => format!(
            "name the vault's folder; if the file is a backup, put it back into a new folder: touchlease --vault FOLDER backup restore {}",
            quoted(file)
        ),
    };
    let message = format!("{} is a file, and a vault is a folder", file.display());
    Failure::new(Outcome::BadInput, "vault_path", message).hint(hint)
}

impl House {
    /// A house that serves `outside.uid`.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(outside: Outside) -> io::Result<Self> {
        let Outside {
            places,
            settings,
            clock,
            random,
            broker,
            boot_id,
            uid,
            agents,
            program,
        } = outside;
        let (desk, ledger) = (Desk::new(clock.clone()), Ledger::new(clock.clone()));
        Ok(Self {
            places,
            settings,
            config: RefCell::default(),
            desk,
            clock,
            random: RefCell::new(random()),
            writer: Writer::start(random)?,
            turns: Turns::default(),
            broker,
            boot_id,
            uid,
            agents,
            program,
            ledger,
            questions: Questions::default(),
            log_written: Rc::default(),
            shelf: Shelf::default(),
            sessions: Rc::default(),
            exchanges: Exchanges::default(),
            logs: RefCell::default(),
        })
    }

    /// Reads the configuration anew.
    ///
    /// # Errors
    /// What is wrong with it; the last good one is kept for what has to go on.
    pub fn configure(&self) -> Result<(), Failure> {
        let read = (self.settings)();
        let mut config = self.config.borrow_mut();
        config.1 = read.as_ref().err().cloned();
        read.map(|read| config.0 = Rc::new(read))
    }

    /// The configuration that was good last.
    #[must_use]
    pub fn config(&self) -> Rc<Config> {
        self.config.borrow().0.clone()
    }

    /// What is wrong with the configuration that stands there now.
    #[must_use]
    pub fn config_fault(&self) -> Option<Failure> {
        self.config.borrow().1.clone()
    }

    /// The vault that a call names, or the configured one, or the usual one; links on the way are followed here and nowhere later.
    ///
    /// # Errors
    /// A path that is not absolute: it would lead from wherever the daemon was started. A file.
    pub fn vault_path(&self, named: Option<&Path>) -> Result<PathBuf, Failure> {
        let config = self.config();
        let path = named.or(config.vault.as_deref()).unwrap_or(&self.places.vault);
        if !path.is_absolute() {
            return Err(Failure::new(
                Outcome::BadInput,
                "vault_path",
                format!("the vault's path is not absolute: {:?}", path.display().to_string()),
            )
            .hint("name the folder from / on"));
        }
        // Where there is no vault yet there is nothing to follow.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if path.is_file() { Err(no_folder(&path)) } else { Ok(path) }
    }

    /// Waits while another process is in the middle of a change there, so that opening it does not find a half.
    pub async fn wait_for_writer(&self, path: &Path) {
        // Of a vault that is open its folder is at hand.
        if self.shelf.at(path).is_some_and(|open| open.vault.borrow().is_settled()) {
            return;
        }
        // Anything but a writer is told by whoever opens the vault.
        let path = path.to_owned();
        let _ = self.writer.when_free(move |_| Vault::settle(&path)).await;
    }

    /// Opens the vault at `path`, verified anew when its roster changed on the disk since.
    ///
    /// # Errors
    /// What vault and log say; another vault lies there than before, which a person has to say is meant.
    pub fn open(&self, path: &Path) -> Result<Rc<OpenVault>, Failure> {
        let Some(known) = self.shelf.at(path) else {
            return self.keep_meant(path, self.read(path).map_err(IntoFailure::failure)?);
        };
        let id = known.vault.borrow().id();
        match self.changed(path, &known)? {
            Some(other) if other.id() != id => self.keep_meant(path, other),
            changed => {
                self.shelf.expect(path, id, ACCEPT)?;
                if let Some(vault) = changed {
                    self.adopt(&known, vault);
                }
                self.shelf.note(path, &known.vault.borrow());
                Ok(known)
            }
        }
    }

    /// What lies at `path` by now, where that is not what is open; nothing while another process is in the middle of a change there. Whoever
    /// goes by what was in force before it began is told that it changed, and what ends leases does not wait (P4).
    fn changed(&self, path: &Path, known: &OpenVault) -> Result<Option<Vault>, Failure> {
        if known.vault.borrow().is_current().map_err(IntoFailure::failure)? {
            return Ok(None);
        }
        match self.read(path) {
            Err(VaultError::Busy) => Ok(None),
            read => read.map(Some).map_err(IntoFailure::failure),
        }
    }

    /// Takes a vault that was found at `path`.
    ///
    /// # Errors
    /// What the log says; another vault lay there.
    fn keep_meant(&self, path: &Path, vault: Vault) -> Result<Rc<OpenVault>, Failure> {
        self.shelf.expect(path, vault.id(), ACCEPT)?;
        self.keep(path, vault)
    }

    /// What lay at `path` until now, where that is another vault than `id`.
    pub fn instead_of(&self, path: &Path, id: Digest) -> Option<InsteadText> {
        self.shelf.instead_of(path, id)
    }

    /// The vault at `path`, if it is open, as it was read.
    pub fn known(&self, path: &Path) -> Option<Rc<OpenVault>> {
        self.shelf.at(path)
    }

    /// The vault at `path` as it is, though it may be older than what was seen: to ask a person about it, and for nothing else.
    ///
    /// # Errors
    /// As [`House::open`].
    pub fn open_as_is(&self, path: &Path) -> Result<Rc<OpenVault>, Failure> {
        let vault = Vault::open_as_is(path, &self.places.state).map_err(IntoFailure::failure)?;
        let log = self.log_of(vault.id())?;
        let task_files = TaskFiles::new(&self.places.state_of(&vault.id().to_string()));
        Ok(Rc::new(OpenVault {
            shown: path.display().to_string(),
            vault: RefCell::new(Arc::new(vault)),
            log,
            task_files,
        }))
    }

    /// Opens the vault at `path` anew, after a touch made it or changed what this machine remembers of it: the one with the id `touched`.
    ///
    /// # Errors
    /// As [`House::open`]; while the touch was waited for, another vault was put there.
    pub fn open_anew(&self, path: &Path, touched: Digest) -> Result<Rc<OpenVault>, Failure> {
        let vault = self.read(path).map_err(IntoFailure::failure)?;
        if vault.id() == touched {
            self.keep(path, vault)
        } else {
            Err(swapped(path, touched, vault.id()))
        }
    }

    /// Takes a vault that was just made or changed.
    ///
    /// # Errors
    /// What the log says.
    pub fn keep(&self, path: &Path, vault: Vault) -> Result<Rc<OpenVault>, Failure> {
        let log = self.log_of(vault.id())?;
        let statement = vault.roster_digest();
        let task_files = TaskFiles::new(&self.places.state_of(&vault.id().to_string()));
        let open = Rc::new(OpenVault {
            shown: path.display().to_string(),
            vault: RefCell::new(Arc::new(vault)),
            log,
            task_files,
        });
        let before = self.shelf.put(path, &open)?;
        record::roster(&open.log, statement);
        if let Some(before) = before {
            self.forget_pins(&before.vault.borrow(), &open.vault.borrow());
        }
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
            task_files: &open.task_files,
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
            writer: &self.writer,
            limits: self.config().limits.clone(),
        }
    }

    /// Vaults that are open.
    #[must_use]
    pub fn opened(&self) -> Vec<Rc<OpenVault>> {
        self.shelf.all()
    }

    /// Keys of the vaults that are open, and of the usual one; with `signers` those of signers in hardware too, for which whole vaults are listed.
    #[must_use]
    pub fn known_keys(&self, signers: bool) -> Vec<Known> {
        // One that cannot be opened now is not known.
        let _ = self.vault_path(None).and_then(|path| self.open(&path));
        let of_one = |open: Rc<OpenVault>| {
            let keys = open.vault.borrow().keys();
            let keys = keys.into_iter().map(|key| Known {
                vault: open.shown.clone(),
                key,
            });
            let signers = signers.then(|| hardware::known(&open.vault.borrow(), &open.shown));
            keys.chain(signers.into_iter().flatten()).collect::<Vec<_>>()
        };
        self.opened().into_iter().flat_map(of_one).collect()
    }

    /// Logs that are open.
    #[must_use]
    pub fn logs(&self) -> Vec<Rc<Journal>> {
        self.logs.borrow().values().cloned().collect()
    }

    /// Writes the ends of leases into the logs of their vaults.
    pub fn record_over(&self, ended: &[Over]) {
        for (id, log) in &*self.logs.borrow() {
            let of_vault: Vec<_> = ended.iter().filter(|over| over.vault == *id).cloned().collect();
            record::over(log, &of_vault);
        }
    }

    /// The fork of the roster of the vault at `path`, and the vault's log; nothing when there is no fork.
    ///
    /// # Errors
    /// What vault and log say; another vault lies there than before.
    pub fn fork(&self, path: &Path) -> Result<Option<(Fork, Rc<Journal>)>, Failure> {
        let Some(fork) = Fork::open(path, &self.places.state).map_err(IntoFailure::failure)? else {
            return Ok(None);
        };
        let id = fork.id().ok_or_else(|| VaultError::Nothing.failure())?;
        self.shelf.expect(path, id, JOIN_ELSEWHERE)?;
        let log = self.log_of(id)?;
        Ok(Some((fork, log)))
    }

    /// Makes a folder for state, and sees that it can be written.
    ///
    /// # Errors
    /// It cannot.
    pub(super) fn make_state(&self, folder: &Path) -> Result<(), Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        let writable = made.and_then(|()| Ok(access(folder, Access::WRITE_OK)?));
        writable.map_err(|error| {
            Failure::new(
                Outcome::LogRefused,
                "state_folder",
                format!("{} cannot be made or written: {error}", folder.display()),
            )
            .hint("the audit log lives there; make the folder above it writable")
        })
    }

    /// Drops the log and the memory of a vault that did not come to be.
    pub(super) fn forget(&self, vault: Digest) {
        self.logs.borrow_mut().remove(&vault);
        // What stays is a log in which nothing was asked.
        let _ = fs::remove_dir_all(self.places.state_of(&vault.to_string()));
    }

    /// The vault at `path` as it lies there, without its log.
    ///
    /// # Errors
    /// What the vault says.
    pub(super) fn read(&self, path: &Path) -> Result<Vault, VaultError> {
        Vault::open(path, &self.places.state)
    }

    fn adopt(&self, open: &OpenVault, vault: Vault) {
        let statement = vault.roster_digest();
        let before = open.vault.replace(Arc::new(vault));
        self.forget_pins(&before, &open.vault.borrow());
        record::roster(&open.log, statement);
    }

    /// A key that is out, by whatever change of the roster, has no use for its PIN here.
    fn forget_pins(&self, before: &Vault, now: &Vault) {
        let stay: Vec<KeyId> = now.keys().iter().map(EnrolledKey::id).collect();
        for key in before.keys().iter().map(EnrolledKey::id).filter(|key| !stay.contains(key)) {
            self.broker.forget_pin(key);
        }
    }

    /// The log of the vault with this id, opened or begun.
    ///
    /// # Errors
    /// The state folder cannot be made; what the log says.
    pub(super) fn log_of(&self, vault: Digest) -> Result<Rc<Journal>, Failure> {
        if let Some(log) = self.logs.borrow().get(&vault) {
            return Ok(log.clone());
        }
        let folder = self.places.state_of(&vault.to_string());
        self.make_state(&folder)?;
        let owner = Owner {
            vault,
            boot_id: self.boot_id.clone(),
            program: PROGRAM.into(),
        };
        let log = Log::open(&folder.join(LOG_FILE), owner, self.clock.clone()).map_err(IntoFailure::failure)?;
        let log = Rc::new(Journal::new(log, self.log_written.clone()));
        self.logs.borrow_mut().insert(vault, log.clone());
        Ok(log)
    }
}

fn swapped(path: &Path, touched: Digest, id: Digest) -> Failure {
    let (touched, now, shown) = (digits(touched), digits(id), path.display());
    let message = format!("the touch was for the vault {touched} in {shown}, and another one lies there by now ({now})");
    Failure::new(Outcome::VaultRefused, "other_vault", message)
        .hint("somebody put another vault in its place meanwhile: bring the one that was touched for back")
}
