//! USB keys and a daemon in this process; the command line is the real one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use touchlease::{clock::SystemClock, config::Config};

use crate::{
    authenticator::Settings,
    conformance::{Link, Rig},
    harness::{Daemon, EmulatedReach, Home, UsbKey},
    hid_socket::HidSocket,
    key::{Key, KeyHandle},
};

/// See the module.
pub struct InProcess {
    program: PathBuf,
    reach: EmulatedReach,
    keys: [UsbKey; 2],
}

impl InProcess {
    /// Two emulated keys for this product.
    ///
    /// # Errors
    /// The emulators do not start.
    pub fn new(program: impl Into<PathBuf>) -> io::Result<Self> {
        let key = || Key::<HidSocket>::start(Settings::default());
        Self::with_keys(program, [key()?, key()?])
    }

    /// Two keys that were made elsewhere: ill-behaved ones.
    ///
    /// # Errors
    /// They cannot be plugged in.
    pub fn with_keys(program: impl Into<PathBuf>, keys: [Key<HidSocket>; 2]) -> io::Result<Self> {
        let reach = EmulatedReach::default();
        let [first, second] = keys;
        let keys = [reach.add_key(first)?, reach.add_key(second)?];
        Ok(Self {
            program: program.into(),
            reach,
            keys,
        })
    }

    /// The USB ports, for more keys.
    #[must_use]
    pub fn ports(&self) -> &EmulatedReach {
        &self.reach
    }

    /// The keys, as what they are.
    #[must_use]
    pub fn usb_keys(&self) -> &[UsbKey; 2] {
        &self.keys
    }
}

impl Rig for InProcess {
    fn name(&self) -> &str {
        "in-process"
    }

    fn link(&self) -> Link {
        Link::Usb
    }

    fn has_nodes(&self) -> bool {
        false
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn keys(&self) -> [Arc<dyn KeyHandle>; 2] {
        self.keys.clone().map(|key| Arc::new(key) as Arc<dyn KeyHandle>)
    }

    fn daemon(&self, home: &Home) -> io::Result<Option<Daemon>> {
        let config = match fs::read_to_string(home.places()?.config) {
            Ok(text) => Config::parse(&text).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Config::default(),
            Err(error) => return Err(error),
        };
        home.daemon_with(self.reach.clone(), Arc::new(SystemClock), config).map(Some)
    }
}
