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
    backend::{BackendId, Dispatch},
    pipe::{ServiceEndpoint, TrussedChannel},
    platform::{self, Syscall},
    service::Service,
    types::CoreContext,
    virt::{StorageConfig, Store, StoreConfig},
};
use trussed_auth::AuthExtension;
use trussed_auth_backend::{AuthBackend, FilesystemLayout};
use trussed_chunked::ChunkedExtension;
use trussed_core::types::Location;
use trussed_derive::{ExtensionDispatch, ExtensionId};
use trussed_fs_info::FsInfoExtension;
use trussed_hkdf::HkdfExtension;
use trussed_hpke::HpkeExtension;
use trussed_staging::StagingBackend;
use trussed_wrap_key_to_file::WrapKeyToFileExtension;

static BACKENDS: &[BackendId<Backend>] = &[
    BackendId::Custom(Backend::Staging),
    BackendId::Custom(Backend::Auth),
    BackendId::Core,
];

/// What the platform has beyond its core.
pub(crate) enum Backend {
    Staging,
    Auth,
}

#[derive(ExtensionId)]
pub(crate) enum Extension {
    Chunked = 0,
    Hkdf = 1,
    FsInfo = 2,
    Hpke = 3,
    WrapKeyToFile = 4,
    Auth = 5,
}

/// The extensions that the authenticators of [`crate::authenticator`] and [`crate::piv`] call.
#[derive(ExtensionDispatch)]
#[dispatch(backend_id = "Backend", extension_id = "Extension")]
#[extensions(
    Chunked = "ChunkedExtension",
    Hkdf = "HkdfExtension",
    FsInfo = "FsInfoExtension",
    Hpke = "HpkeExtension",
    WrapKeyToFile = "WrapKeyToFileExtension",
    Auth = "AuthExtension"
)]
pub(crate) struct Extensions {
    #[extensions("Chunked", "Hkdf", "FsInfo", "Hpke", "WrapKeyToFile")]
    staging: StagingBackend,
    #[extensions("Auth")]
    auth: AuthBackend,
}

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

pub(crate) type Client<'a> = ClientImplementation<'a, Inline<'a>, Extensions>;

/// The firmware's operating system, as it is after power-up, for an application of this name.
pub(crate) fn boot<'a>(application: &str, channel: &'a TrussedChannel, store: Store<'a>) -> Option<Client<'a>> {
    let (requester, responder) = channel.split()?;
    let context = CoreContext::new(application.try_into().ok()?);
    let platform = Platform {
        rng: ChaCha8Rng::from_entropy(),
        store,
        clock: Clock(Instant::now()),
    };
    let extensions = Extensions {
        staging: StagingBackend::default(),
        auth: AuthBackend::new(Location::Internal, FilesystemLayout::V0),
    };
    let kernel = Kernel {
        service: Service::with_dispatch(platform, extensions),
        endpoints: [ServiceEndpoint::new(responder, context, BACKENDS)],
    };
    let inline = Inline(Rc::new(RefCell::new(kernel)));
    Some(ClientImplementation::new(requester, inline, None))
}

pub(crate) struct Kernel<'a> {
    service: Service<Platform<'a>, Extensions>,
    endpoints: [ServiceEndpoint<'a, Backend, <Extensions as Dispatch>::Context>; 1],
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
