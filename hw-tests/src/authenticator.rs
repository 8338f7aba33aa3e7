//! A FIDO2 authenticator: firmware that ships on real keys, on a thread of its own.

use std::{
    io,
    ops::ControlFlow,
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use ctaphid_app::{App, Command};
use fido_authenticator::{Authenticator as Firmware, Config, Error, TrussedRequirements, UserPresence};
use heapless_bytes::Bytes;
use trussed::{
    pipe::TrussedChannel,
    virt::{StorageConfig, Store, StoreConfig},
};

pub use crate::platform::Storage;
use crate::{
    ctap::{Ctap, Done, OTHER},
    finger::{Finger, Outcome},
    platform,
    sync::lock,
};

/// The largest message over CTAPHID: 57 bytes in the first packet, 59 in each of 128 more (CTAP 2.1, 11.2.4).
pub const MAX_MESSAGE: usize = 57 + 128 * 59;

/// The firmware keeps its buffers on the stack.
const STACK: usize = 16 << 20;

/// How a key is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its credentials are.
    pub storage: Storage,
    /// How long it waits for a touch; real keys about 30 s.
    pub patience: Duration,
    /// The firmware's number in getInfo.
    pub firmware: usize,
    /// Whether getInfo names NFC among the transports.
    pub nfc: bool,
    /// Whether getInfo names contact cards among the transports.
    pub smart_card: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            storage: Storage::Ram,
            patience: Duration::from_secs(30),
            firmware: 1,
            nfc: false,
            smart_card: false,
        }
    }
}

/// A running authenticator; dropping it ends its thread.
///
/// Attestation is self-attestation (`packed` without `x5c`), so no key has a certificate to keep.
#[derive(Debug)]
pub struct Authenticator {
    finger: Arc<Finger>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    Message { operation: u64, request: Vec<u8>, done: Done },
    PowerCycle { wipe: bool, done: mpsc::Sender<()> },
}

impl Authenticator {
    /// Starts a key under this finger.
    ///
    /// # Errors
    /// The storage folder or the thread cannot be made.
    pub fn start(settings: Settings, finger: Arc<Finger>) -> io::Result<Self> {
        settings.storage.prepare()?;
        let (jobs, inbox) = mpsc::channel();
        let thread = thread::Builder::new().name("authenticator".into()).stack_size(STACK).spawn({
            let finger = finger.clone();
            // Opened by the thread that uses it: the drivers are not `Send`.
            move || run(settings.storage.open(), &settings, &finger, &inbox)
        })?;
        Ok(Self {
            finger,
            jobs: Mutex::new(Some(jobs)),
            thread: Some(thread),
        })
    }

    /// The finger over this key.
    pub fn finger(&self) -> &Arc<Finger> {
        &self.finger
    }

    fn send(&self, job: Job) -> Result<(), Job> {
        match &*lock(&self.jobs) {
            Some(jobs) => jobs.send(job).map_err(|unsent| unsent.0),
            None => Err(job),
        }
    }

    fn restart(&self, wipe: bool) {
        self.finger.cancel();
        let (done, finished) = mpsc::channel();
        if self.send(Job::PowerCycle { wipe, done }).is_ok() {
            let _ = finished.recv(); // an error means that the thread ended, and with it the power
        }
    }
}

impl Ctap for Authenticator {
    fn submit(&self, request: Vec<u8>, done: Done) {
        let operation = self.finger.submit();
        if let Err(Job::Message { done, .. }) = self.send(Job::Message { operation, request, done }) {
            done(vec![OTHER]);
        }
    }

    fn cancel(&self) {
        self.finger.cancel();
    }

    fn waiting(&self) -> bool {
        self.finger.counts().waiting
    }

    fn power_cycle(&self) {
        self.restart(false);
    }

    fn wipe(&self) {
        self.restart(true);
    }
}

impl Drop for Authenticator {
    fn drop(&mut self) {
        self.finger.cancel();
        lock(&self.jobs).take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic of the firmware has been printed by its thread
        }
    }
}

fn run(mut stores: StoreConfig<'_>, settings: &Settings, finger: &Finger, inbox: &mpsc::Receiver<Job>) {
    loop {
        let next = stores.with_store(|store| powered(store, settings, finger, inbox));
        let ControlFlow::Continue((wipe, done)) = next else {
            return;
        };
        stores.internal.format = wipe;
        stores.external.format = wipe;
        stores.volatile = StorageConfig::ram();
        let _ = done.send(()); // whoever asked may have stopped waiting
    }
}

/// From power-up to power-down; says what comes next.
fn powered(
    store: Store<'_>,
    settings: &Settings,
    finger: &Finger,
    inbox: &mpsc::Receiver<Job>,
) -> ControlFlow<(), (bool, mpsc::Sender<()>)> {
    let channel = TrussedChannel::new();
    let Some(client) = platform::boot("fido", &channel, store) else {
        return ControlFlow::Break(());
    };
    let mut firmware = Firmware::new(client, Touch(finger), config(settings));
    while let Ok(job) = inbox.recv() {
        match job {
            Job::Message { operation, request, done } => {
                finger.begin(operation);
                done(answer(&mut firmware, &request));
            }
            Job::PowerCycle { wipe, done } => return ControlFlow::Continue((wipe, done)),
        }
    }
    ControlFlow::Break(())
}

fn answer(firmware: &mut impl App<'static>, request: &[u8]) -> Vec<u8> {
    let mut response = Bytes::<MAX_MESSAGE>::new();
    match firmware.call(Command::Cbor, request, response.as_mut_view()) {
        Ok(()) => response.to_vec(),
        Err(_) => vec![OTHER],
    }
}

fn config(settings: &Settings) -> Config {
    let mut config = Config::new(MAX_MESSAGE);
    config.max_resident_credential_count = Some(50);
    config.firmware_version = Some(settings.firmware.into());
    config.nfc_transport = settings.nfc;
    config.ccid_transport = settings.smart_card;
    config.fido2_up_timeout = u32::try_from(settings.patience.as_millis()).ok();
    config
}

/// The firmware's question for a touch, put to the test's finger.
#[derive(Clone, Copy)]
struct Touch<'a>(&'a Finger);

impl UserPresence for Touch<'_> {
    fn user_present<T: TrussedRequirements>(self, _: &mut T, timeout_ms: u32) -> fido_authenticator::Result<()> {
        match self.0.ask(Duration::from_millis(timeout_ms.into())) {
            Outcome::Touched => Ok(()),
            Outcome::Denied => Err(Error::OperationDenied),
            Outcome::TimedOut => Err(Error::UserActionTimeout),
            Outcome::Cancelled => Err(Error::KeepaliveCancel),
        }
    }
}
