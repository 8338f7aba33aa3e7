//! USB keys and a daemon in this process; the command line is the real one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use touchlease::{clock::SystemClock, config::Config};

use crate::{
    conformance::{Link, Rig},
    harness::{Daemon, EmulatedReach, Home, UsbKey},
    key::KeyHandle,
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
        let reach = EmulatedReach::default();
        let keys = [reach.add()?, reach.add()?];
        Ok(Self {
            program: program.into(),
            reach,
            keys,
        })
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
