//! A YubiKey as a smart card: its PIV application, and the one that says what the key is.
//!
//! The keys are made and used by firmware that ships on real keys (`firmware`). What a YubiKey adds to the standard, and what that
//! firmware does otherwise than a YubiKey, is in `applet`: policies for PIN and touch, metadata, attestation, management keys for
//! AES, serial number and version. Not there: RSA, Ed25519 and X25519, import, moving and deleting of keys, biometrics, secure
//! channels. What is kept is kept in memory: a program that starts anew has a new key.

mod applet;
mod attestation;
mod between;
mod firmware;
mod management_key;
mod memory;
#[cfg(test)]
mod tests;
mod tlv;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

pub use between::Between;
pub use memory::{PinPolicy, TouchPolicy};

use crate::{
    apdu::{self, Chaining, Command, Status},
    card::{Interface, SmartCard},
    finger::Finger,
    key::{ControlError, Inside},
    sync::lock,
};
use applet::Applet;
use attestation::{Attestor, KEYCHAIN};
use tlv::tlv;

/// The PIV application (SP 800-73-4 part 1, 2.2), as far as its name has to be given.
const PIV_AID: [u8; 5] = [0xa0, 0x00, 0x00, 0x03, 0x08];
/// Yubico's management application (Yubico SDK manual, "Management").
const MANAGEMENT_AID: [u8; 8] = [0xa0, 0x00, 0x00, 0x05, 0x27, 0x47, 0x11, 0x17];

/// The PIN of every new YubiKey: 123456.
pub const FACTORY_PIN: [u8; 8] = *b"123456\xff\xff";
/// Its PUK.
pub const FACTORY_PUK: [u8; 8] = *b"12345678";

const SELECT: u8 = 0xa4;
const READ_CONFIG: u8 = 0x1d;

/// What kind of YubiKey.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its firmware.
    pub version: [u8; 3],
    /// Its serial number.
    pub serial: u32,
    /// How long it waits for a touch.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: [5, 7, 1],
            serial: 24_117_248,
            patience: Duration::from_secs(15),
        }
    }
}

/// The inside of a YubiKey, which keeps what it keeps while it is out of its reader.
pub struct YubiKey {
    settings: Settings,
    finger: Arc<Finger>,
    attestor: Attestor,
    applet: Mutex<Applet>,
}

impl YubiKey {
    /// A new one, under this finger.
    ///
    /// # Errors
    /// Its firmware's thread, or its attestation key, cannot be made.
    pub fn start(settings: Settings, finger: Arc<Finger>) -> io::Result<Self> {
        let attestor = Attestor::new(settings.version).map_err(io::Error::other)?;
        let applet = Applet::new(&settings, &attestor)?;
        Ok(Self {
            settings,
            finger,
            attestor,
            applet: Mutex::new(applet),
        })
    }

    /// The certificate of the root under which its keys are attested, in PEM.
    pub fn root(&self) -> &str {
        &self.attestor.root
    }

    /// Which key it is (Yubico SDK manual, "Device info"): one page of tagged values behind its length.
    fn device_info(&self) -> Vec<u8> {
        const PIV: [u8; 2] = [0x00, 0x10];
        let values = [
            tlv(0x01, &PIV), // supported over USB
            tlv(0x02, &self.settings.serial.to_be_bytes()),
            tlv(0x03, &PIV), // enabled over USB
            tlv(0x04, &[KEYCHAIN]),
            tlv(0x05, &self.settings.version),
            tlv(0x0a, &[0]), // the configuration is not locked
        ]
        .concat();
        [&[values.len() as u8], &values[..]].concat()
    }
}

impl Inside for YubiKey {
    fn wipe(&self) {
        self.finger.cancel();
        if let Ok(new) = Applet::new(&self.settings, &self.attestor) {
            *lock(&self.applet) = new;
        }
    }

    fn set_pin(self: &Arc<Self>) -> Result<(), ControlError> {
        Ok(()) // it has one from the factory
    }
}

/// A YubiKey in a reader with contacts: what USB shows of one.
pub struct YubiKeyCard {
    inside: Arc<YubiKey>,
    session: Session,
}

#[derive(Default)]
struct Session {
    selected: Option<Application>,
    chaining: Chaining,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Application {
    Piv,
    Management,
}

impl YubiKeyCard {
    /// A card with this inside.
    pub fn new(inside: Arc<YubiKey>) -> Self {
        let session = Session::default();
        Self { inside, session }
    }

    fn execute(&mut self, command: &Command<'_>) -> (Vec<u8>, Status) {
        match (command.instruction, self.session.selected) {
            (SELECT, _) if command.p1 == 4 => self.select(command.data),
            (_, Some(Application::Piv)) => {
                let YubiKey {
                    settings,
                    finger,
                    attestor,
                    applet,
                } = &*self.inside;
                lock(applet).execute(
                    command,
                    &applet::Surroundings {
                        settings,
                        finger,
                        attestor,
                    },
                )
            }
            (READ_CONFIG, Some(Application::Management)) if command.p1 == 0 => (self.inside.device_info(), apdu::OK),
            (_, Some(Application::Management)) => (vec![], apdu::UNKNOWN_INSTRUCTION),
            (_, None) => (vec![], apdu::CONDITIONS_NOT_SATISFIED),
        }
    }

    /// Whoever selects the application that is selected changes nothing; another one makes this one forget who showed what (SP
    /// 800-73-5 part 2, 3.1.1). A name that no application has leaves the selected one.
    fn select(&mut self, aid: &[u8]) -> (Vec<u8>, Status) {
        let application = match aid {
            _ if aid.starts_with(&PIV_AID) => Application::Piv,
            _ if aid == MANAGEMENT_AID => Application::Management,
            _ => return (vec![], apdu::NOT_FOUND),
        };
        if self.session.selected.replace(application) != Some(application) {
            lock(&self.inside.applet).forget();
        }
        match application {
            Application::Piv => (applet::property_template(), apdu::OK),
            Application::Management => {
                let [major, minor, patch] = self.inside.settings.version;
                let greeting = format!("Virtual mgr - FW version {major}.{minor}.{patch}");
                (greeting.into_bytes(), apdu::OK)
            }
        }
    }
}

impl SmartCard for YubiKeyCard {
    fn atr(&self) -> Vec<u8> {
        Interface::Contact.atr().to_vec()
    }

    fn power_up(&mut self) {
        self.session = Session::default();
        lock(&self.inside.applet).forget();
        self.inside.finger.power(true);
    }

    fn power_down(&mut self) {
        self.session = Session::default();
        lock(&self.inside.applet).forget();
        self.inside.finger.power(false);
    }

    fn transmit(&mut self, apdu: &[u8]) -> Vec<u8> {
        let mut chaining = std::mem::take(&mut self.session.chaining);
        let answer = chaining.transmit(apdu, |command| self.execute(command));
        self.session.chaining = chaining;
        answer
    }
}
