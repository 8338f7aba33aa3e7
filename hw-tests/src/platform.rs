//! The platform under the firmware: storage, randomness, a clock.
//!
//! `trussed::virt` has one, but it seeds every key with the same constant.

use std::{
    cell::RefCell,
    fs, io,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use trussed::{
    ClientImplementation,
    backend::BackendId,
    pipe::{ServiceEndpoint, TrussedChannel},
    platform::{self, Syscall},
    service::Service,
    types::CoreContext,
    virt::{StorageConfig, Store, StoreConfig},
};
use trussed_staging::{
    StagingContext,
    virt::{BackendIds, Dispatcher},
};

static BACKENDS: &[BackendId<BackendIds>] = &[BackendId::Custom(BackendIds::StagingBackend), BackendId::Core];

/// Where a key keeps what survives unplugging.
#[derive(Debug, Clone, Default)]
pub enum Storage {
    /// In memory: the key is new each time the program starts.
    #[default]
    Ram,
    /// In two image files in this folder, which is made if it is not there.
    Folder(PathBuf),
}

impl Storage {
    pub(crate) fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Ram => Ok(()),
            Self::Folder(folder) => fs::create_dir_all(folder),
        }
    }

    pub(crate) fn open(&self) -> StoreConfig<'static> {
        let mut store = StoreConfig::ram();
        if let Self::Folder(folder) = self {
            store.internal = StorageConfig::filesystem(folder.join("internal.img"));
            store.external = StorageConfig::filesystem(folder.join("external.img"));
        }
        store
    }
}

pub(crate) type Client<'a> = ClientImplementation<'a, Inline<'a>, Dispatcher>;

/// The firmware's operating system, as it is after power-up.
pub(crate) fn boot<'a>(channel: &'a TrussedChannel, store: Store<'a>) -> Option<Client<'a>> {
    let (requester, responder) = channel.split()?;
    let context = CoreContext::new("fido".try_into().ok()?);
    let platform = Platform {
        rng: ChaCha8Rng::from_entropy(),
        store,
        clock: Clock(Instant::now()),
    };
    let kernel = Kernel {
        service: Service::with_dispatch(platform, Dispatcher::default()),
        endpoints: [ServiceEndpoint::new(responder, context, BACKENDS)],
    };
    let inline = Inline(Rc::new(RefCell::new(kernel)));
    Some(ClientImplementation::new(requester, inline, None))
}

pub(crate) struct Kernel<'a> {
    service: Service<Platform<'a>, Dispatcher>,
    endpoints: [ServiceEndpoint<'a, BackendIds, StagingContext>; 1],
}

/// Serves each system call in the caller, as firmware does with an interrupt: no second thread, no polling.
#[derive(Clone)]
pub(crate) struct Inline<'a>(Rc<RefCell<Kernel<'a>>>);

impl Syscall for Inline<'_> {
    fn syscall(&mut self) {
        let Kernel { service, endpoints } = &mut *self.0.borrow_mut();
        service.process(endpoints);
    }
}

pub(crate) struct Platform<'a> {
    rng: ChaCha8Rng,
    store: Store<'a>,
    clock: Clock,
}

/// The time since power-up. Touches do not pass here: see [`crate::finger`].
pub(crate) struct Clock(Instant);

impl platform::UserInterface for Clock {
    fn uptime(&mut self) -> Duration {
        self.0.elapsed()
    }
}

impl<'a> platform::Platform for Platform<'a> {
    type R = ChaCha8Rng;
    type S = Store<'a>;
    type UI = Clock;

    fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    fn store(&self) -> Store<'a> {
        self.store
    }

    fn user_interface(&mut self) -> &mut Clock {
        &mut self.clock
    }
}
