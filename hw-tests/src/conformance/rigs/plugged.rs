//! Emulated keys that the kernel or `pcscd` shows to an unmodified product, which starts its own daemon.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    conformance::{Link, Rig},
    control::Control,
    harness::{Daemon, Home},
    key::KeyHandle,
    rig,
};

/// See the module.
pub struct Plugged {
    name: String,
    link: Link,
    program: PathBuf,
    keys: [Control; 2],
}

impl Plugged {
    /// The rig of this name (`contact`, `contactless`, `hidraw`), if its launcher started this process; all keys of the
    /// launcher's that are not of this rig are pulled out. `variable` looks up the environment.
    ///
    /// # Errors
    /// No such rig; it is not there; a key cannot be pulled.
    pub fn find(name: &str, program: impl Into<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> io::Result<Self> {
        let (link, ours) = match name {
            "contact" => (Link::Contact, rig::CONTACT),
            "contactless" => (Link::Contactless, rig::CONTACTLESS),
            "hidraw" => (Link::Usb, rig::HIDRAW),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no rig {name}"))),
        };
        let second = |first: &str| format!("{first}{}", rig::SECOND);
        let found = |name: &str| {
            let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{name} is not set: see hw-tests/src/rig.rs"));
            rig::key(name, &variable).ok_or_else(missing)
        };
        let keys = [found(ours)?, found(&second(ours))?];
        for other in [rig::CONTACT, rig::CONTACTLESS, rig::HIDRAW]
            .into_iter()
            .filter(|name| *name != ours)
        {
            for name in [other.to_owned(), second(other)] {
                rig::key(&name, &variable)
                    .map_or(Ok(()), |key| key.pull())
                    .map_err(io::Error::other)?;
            }
        }
        Ok(Self {
            name: name.into(),
            link,
            program: program.into(),
            keys,
        })
    }
}

impl Rig for Plugged {
    fn name(&self) -> &str {
        &self.name
    }

    fn link(&self) -> Link {
        self.link
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn keys(&self) -> [Arc<dyn KeyHandle>; 2] {
        self.keys.clone().map(|key| Arc::new(key) as Arc<dyn KeyHandle>)
    }

    fn daemon(&self, _: &Home) -> io::Result<Option<Daemon>> {
        Ok(None)
    }
}
