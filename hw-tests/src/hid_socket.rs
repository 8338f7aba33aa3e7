//! Where a HID key is plugged in: packet sockets of this process, and the kernel's uhid if wanted.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    bus::{Bus, Device},
    ctap::Ctap,
    ctaphid::{CtapHid, Keepalive},
    key::Attachment,
    sync::lock,
    uhid::Identity,
};

/// Makes the device that is plugged in from the honest one.
pub type Disguise = Box<dyn Fn(CtapHid) -> Box<dyn Device> + Send + Sync>;

/// A USB port for one key.
pub struct HidSocket {
    ctap: Arc<dyn Ctap>,
    keepalive: Keepalive,
    uhid: Option<Identity>,
    disguise: Option<Disguise>,
    bus: Mutex<Option<Bus>>,
}

impl HidSocket {
    /// A port for what answers these messages.
    pub fn new(ctap: Arc<dyn Ctap>) -> Self {
        Self {
            ctap,
            keepalive: Keepalive::default(),
            uhid: None,
            disguise: None,
            bus: Mutex::new(None),
        }
    }

    /// Also makes it a hidraw node of this machine.
    #[must_use]
    pub fn with_uhid(self, identity: Identity) -> Self {
        Self {
            uhid: Some(identity),
            ..self
        }
    }

    /// Puts somebody between the device and the bus: see [`crate::stubs::noise`].
    #[must_use]
    pub fn with_disguise(self, disguise: Disguise) -> Self {
        Self {
            disguise: Some(disguise),
            ..self
        }
    }

    /// Opens the device: see [`Bus::open`].
    ///
    /// # Errors
    /// `NotFound` while it is pulled.
    pub fn open(&self) -> io::Result<OwnedFd> {
        lock(&self.bus).as_ref().ok_or(io::ErrorKind::NotFound)?.open()
    }
}

impl Attachment for HidSocket {
    fn plug(&self) -> io::Result<()> {
        let mut bus = lock(&self.bus);
        if bus.is_some() {
            return Ok(());
        }
        self.ctap.power_cycle();
        let honest = CtapHid::new(self.ctap.clone(), self.keepalive.clone());
        let plugged = Bus::plug(match &self.disguise {
            Some(disguise) => disguise(honest),
            None => Box::new(honest),
        });
        if let Some(identity) = &self.uhid {
            plugged.attach_uhid(identity)?;
        }
        *bus = Some(plugged);
        Ok(())
    }

    fn pull(&self) {
        lock(&self.bus).take();
        self.ctap.cancel();
    }

    fn keepalive(&self, interval: Duration) {
        self.keepalive.set(interval);
    }
}

#[cfg(test)]
mod tests;
