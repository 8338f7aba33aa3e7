//! The PIV application of a YubiKey, command by command.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{
    Settings,
    attestation::Attestor,
    firmware::Firmware,
    management_key::{Asked, ManagementKey, Step},
    memory::{Memory, P256, P384, PinPolicy, SlotKey, TouchPolicy},
    tlv::{find, first, tlv},
};
use crate::{
    apdu::{self, Command, Status},
    finger::{Finger, Outcome},
};

/// Wrong management key, missing PIN, missing touch (SP 800-73-4 part 2, 2.4 and 3).
const SECURITY_STATUS: Status = 0x6982;
/// No try is left.
const BLOCKED: Status = 0x6983;
/// A wrong PIN; the low digit says how many tries are left.
const TRIES_LEFT: Status = 0x63c0;
/// The data cannot be taken.
const WRONG_DATA: Status = 0x6a80;
/// The object is too large.
const NO_MEMORY: Status = 0x6a84;
/// No key of this name.
const NO_SUCH_REFERENCE: Status = 0x6a88;

// SP 800-73-4 part 2, 3.
const VERIFY: u8 = 0x20;
const CHANGE_REFERENCE: u8 = 0x24;
const RESET_RETRY: u8 = 0x2c;
const GENERATE_ASYMMETRIC: u8 = 0x47;
const GENERAL_AUTHENTICATE: u8 = 0x87;
const GET_DATA: u8 = 0xcb;
const PUT_DATA: u8 = 0xdb;

// Developers' page "Yubico extensions" of PIV.
const GET_METADATA: u8 = 0xf7;
const GET_SERIAL: u8 = 0xf8;
const ATTEST: u8 = 0xf9;
const SET_PIN_RETRIES: u8 = 0xfa;
const RESET: u8 = 0xfb;
const GET_VERSION: u8 = 0xfd;
const SET_MANAGEMENT_KEY: u8 = 0xff;

const PIN: u8 = 0x80;
const PUK: u8 = 0x81;
const SIGNATURE: u8 = 0x9c;
const CARD_AUTHENTICATION: u8 = 0x9e;
const MANAGEMENT: u8 = 0x9b;

/// How long a touch counts for a key with [`TouchPolicy::Cached`].
const CACHED_FOR: Duration = Duration::from_secs(15);
/// The largest data object (Yubico SDK manual, "Put data").
const LARGEST_OBJECT: usize = 3052;
/// The firmware that first answers GET METADATA.
const METADATA_SINCE: [u8; 3] = [5, 3, 0];

/// The objects that are read with the PIN only (SP 800-73-4 part 1, 3.5): fingerprints, printed information, facial image, iris.
const READ_WITH_PIN: [[u8; 3]; 4] = [[0x5f, 0xc1, 0x03], [0x5f, 0xc1, 0x09], [0x5f, 0xc1, 0x08], [0x5f, 0xc1, 0x21]];
/// The discovery object (SP 800-73-4 part 1, 3.3.2): the PIN of this application, and no other, opens it.
const DISCOVERY: [u8; 20] = [
    0x7e, 0x12, 0x4f, 0x0b, 0xa0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00, 0x5f, 0x2f, 0x02, 0x40, 0x00,
];

type Answer = Result<Vec<u8>, Status>;

/// What the application answers to SELECT (SP 800-73-4 part 2, 3.1.1).
pub(super) fn property_template() -> Vec<u8> {
    let version = tlv(0x4f, &[0x00, 0x00, 0x10, 0x00, 0x01, 0x00]);
    let authority = tlv(0x79, &tlv(0x4f, &super::PIV_AID));
    tlv(0x61, &[version, authority].concat())
}

/// What the application needs of the key around it.
pub(super) struct Surroundings<'a> {
    pub(super) settings: &'a Settings,
    pub(super) finger: &'a Finger,
    pub(super) attestor: &'a Attestor,
}

pub(super) struct Applet {
    firmware: Firmware,
    memory: Memory,
    session: Session,
}

/// What the application forgets when another one is selected, or the power goes.
#[derive(Default)]
struct Session {
    verified: bool,
    /// Whether the command before this one showed the PIN.
    just_verified: bool,
    administrator: bool,
    asked: Option<Asked>,
    touched: Option<Instant>,
}

impl Applet {
    /// As from the factory.
    pub(super) fn new(settings: &Settings, attestor: &Attestor) -> io::Result<Self> {
        Ok(Self {
            firmware: Firmware::start()?,
            memory: Memory::new(settings, attestor),
            session: Session::default(),
        })
    }

    /// Forgets who showed what.
    pub(super) fn forget(&mut self) {
        self.session = Session::default();
    }

    /// Answers one command.
    pub(super) fn execute(&mut self, command: &Command<'_>, around: &Surroundings<'_>) -> (Vec<u8>, Status) {
        match self.answer(command, around) {
            Ok(answer) => (answer, apdu::OK),
            Err(status) => (vec![], status),
        }
    }

    fn answer(&mut self, command: &Command<'_>, around: &Surroundings<'_>) -> Answer {
        let just_verified = std::mem::take(&mut self.session.just_verified);
        let settings = around.settings;
        match (command.instruction, command.p1, command.p2) {
            (VERIFY, p1, PIN) => self.verify(p1, command.data),
            (CHANGE_REFERENCE, 0, which) => self.change_reference(which, command.data),
            (RESET_RETRY, 0, PIN) => self.reset_retry(command.data),
            (GENERAL_AUTHENTICATE, algorithm, MANAGEMENT) => self.administer(algorithm, command.data, around),
            (GENERAL_AUTHENTICATE, algorithm, slot) => self.use_key(algorithm, slot, command.data, just_verified, around),
            (GENERATE_ASYMMETRIC, 0, slot) => self.generate(slot, command.data),
            (GET_DATA, 0x3f, 0xff) => self.object(command.data),
            (PUT_DATA, 0x3f, 0xff) => self.put_object(command.data),
            (GET_METADATA, 0, slot) if settings.version >= METADATA_SINCE => self.metadata(slot, settings),
            (GET_SERIAL, 0, 0) => Ok(settings.serial.to_be_bytes().to_vec()),
            (GET_VERSION, 0, 0) => Ok(settings.version.to_vec()),
            (ATTEST, slot, 0) => self.attest(slot, around),
            (SET_PIN_RETRIES, pin, puk) => self.set_retries(pin, puk),
            (RESET, 0, 0) => self.reset(around),
            (SET_MANAGEMENT_KEY, 0xff, touch) => self.set_management_key(touch, command.data),
            _ => Err(apdu::UNKNOWN_INSTRUCTION),
        }
    }

    /// VERIFY (SP 800-73-4 part 2, 3.2.1): with data it shows the PIN, without it asks, with P1 = FF it takes the PIN back.
    fn verify(&mut self, p1: u8, given: &[u8]) -> Answer {
        match (p1, given) {
            (0xff, []) => self.session.verified = false,
            (0, []) if self.session.verified => {}
            (0, []) => return Err(left(self.memory.pin.left)),
            (0, given) => {
                self.session.verified = self.memory.pin.check(given);
                self.session.just_verified = self.session.verified;
                if !self.session.verified {
                    return Err(left(self.memory.pin.left));
                }
            }
            _ => return Err(apdu::WRONG_P1_P2),
        }
        Ok(vec![])
    }

    /// CHANGE REFERENCE DATA (SP 800-73-4 part 2, 3.2.2): the old one, then the new one.
    fn change_reference(&mut self, which: u8, data: &[u8]) -> Answer {
        let reference = match which {
            PIN => &mut self.memory.pin,
            PUK => &mut self.memory.puk,
            _ => return Err(NO_SUCH_REFERENCE),
        };
        let (old, new) = data.split_at_checked(8).ok_or(WRONG_DATA)?;
        if !reference.check(old) {
            return Err(left(reference.left));
        }
        if !reference.set(new) {
            return Err(WRONG_DATA);
        }
        Ok(vec![])
    }

    /// RESET RETRY COUNTER (SP 800-73-4 part 2, 3.2.3): the PUK, then a new PIN.
    fn reset_retry(&mut self, data: &[u8]) -> Answer {
        let (puk, pin) = data.split_at_checked(8).ok_or(WRONG_DATA)?;
        if !self.memory.puk.check(puk) {
            return Err(left(self.memory.puk.left));
        }
        if !self.memory.pin.set(pin) {
            return Err(WRONG_DATA);
        }
        Ok(vec![])
    }

    /// GENERAL AUTHENTICATE with the management key (SP 800-73-4 part 2, 3.2.4 and A.1).
    fn administer(&mut self, algorithm: u8, template: &[u8], around: &Surroundings<'_>) -> Answer {
        let key = &self.memory.management_key;
        if algorithm != key.algorithm() {
            return Err(apdu::WRONG_P1_P2);
        }
        match key.step(template, self.session.asked.take(), random) {
            Step::Asks(asked, answer) => {
                self.session.asked = Some(asked);
                Ok(answer)
            }
            Step::Shown(answer) => {
                if self.memory.management_touch && !touched(around) {
                    return Err(SECURITY_STATUS);
                }
                self.session.administrator = true;
                Ok(answer)
            }
            Step::NotShown => Err(SECURITY_STATUS),
            Step::Malformed => Err(WRONG_DATA),
        }
    }

    /// GENERAL AUTHENTICATE with a slot's key. Without the PIN the key does not ask for the touch; and both are the same status.
    fn use_key(&mut self, algorithm: u8, slot: u8, template: &[u8], just_verified: bool, around: &Surroundings<'_>) -> Answer {
        let key = self.memory.keys.get(&slot).ok_or(apdu::WRONG_P1_P2)?;
        if key.algorithm != algorithm {
            return Err(apdu::WRONG_P1_P2);
        }
        let pin = match key.pin_policy {
            PinPolicy::Never => true,
            PinPolicy::Once => self.session.verified,
            PinPolicy::Always => just_verified,
        };
        let recently = |since: Instant| since.elapsed() < CACHED_FOR;
        let touch = pin
            && match key.touch_policy {
                TouchPolicy::Never => true,
                TouchPolicy::Cached if self.session.touched.is_some_and(recently) => true,
                TouchPolicy::Cached | TouchPolicy::Always => {
                    let touched = touched(around);
                    self.session.touched = touched.then(Instant::now);
                    touched
                }
            };
        match touch {
            true => whole(self.firmware.authenticate(algorithm, slot, template)),
            false => Err(SECURITY_STATUS),
        }
    }

    /// GENERATE ASYMMETRIC KEY PAIR (SP 800-73-4 part 2, 3.3.2), with Yubico's tags AA and AB for the policies.
    fn generate(&mut self, slot: u8, template: &[u8]) -> Answer {
        self.administrator()?;
        let body = find(template, 0xac).ok_or(WRONG_DATA)?;
        let number = |tag| find(body, tag).and_then(|value| value.first().copied());
        let algorithm = number(0x80)
            .filter(|algorithm| [P256, P384].contains(algorithm))
            .ok_or(WRONG_DATA)?;
        let pin_policy = match number(0xaa) {
            None | Some(0) if slot == SIGNATURE => PinPolicy::Always,
            None | Some(0) if slot == CARD_AUTHENTICATION => PinPolicy::Never,
            None | Some(0 | 2) => PinPolicy::Once,
            Some(1) => PinPolicy::Never,
            Some(3) => PinPolicy::Always,
            Some(_) => return Err(WRONG_DATA),
        };
        let touch_policy = match number(0xab) {
            None | Some(0 | 1) => TouchPolicy::Never,
            Some(2) => TouchPolicy::Always,
            Some(3) => TouchPolicy::Cached,
            Some(_) => return Err(WRONG_DATA),
        };
        let answer = whole(self.firmware.generate(slot, algorithm))?;
        // The public key: 7F49, the one tag of two bytes, with the point in it.
        let body = answer.get(1..).and_then(|rest| find(rest, 0x49)).unwrap_or_default();
        let point = find(body, 0x86).ok_or(apdu::CONDITIONS_NOT_SATISFIED)?.to_vec();
        let key = SlotKey {
            algorithm,
            pin_policy,
            touch_policy,
            point,
        };
        self.memory.keys.insert(slot, key);
        Ok(answer)
    }

    /// GET DATA (SP 800-73-4 part 2, 3.1.2).
    fn object(&self, data: &[u8]) -> Answer {
        let tag = find(data, 0x5c).ok_or(WRONG_DATA)?;
        if tag == [0x7e] {
            return Ok(DISCOVERY.to_vec());
        }
        if READ_WITH_PIN.iter().any(|guarded| tag == guarded) && !self.session.verified {
            return Err(SECURITY_STATUS);
        }
        let object = self.memory.objects.get(tag).ok_or(apdu::NOT_FOUND)?;
        Ok(tlv(0x53, object))
    }

    /// PUT DATA (SP 800-73-4 part 2, 3.3.1). An empty object is none.
    fn put_object(&mut self, data: &[u8]) -> Answer {
        self.administrator()?;
        let Some((0x5c, tag, rest)) = first(data) else {
            return Err(WRONG_DATA);
        };
        match find(rest, 0x53).ok_or(WRONG_DATA)? {
            [] => self.memory.objects.remove(tag),
            object if object.len() > LARGEST_OBJECT => return Err(NO_MEMORY),
            object => self.memory.objects.insert(tag.to_vec(), object.to_vec()),
        };
        Ok(vec![])
    }

    /// GET METADATA (Yubico SDK manual, PIV APDUs, "Get metadata").
    fn metadata(&self, of: u8, settings: &Settings) -> Answer {
        let reference = |reference: &super::memory::Reference| {
            let factory = tlv(5, &[reference.is_factory().into()]);
            [tlv(1, &[0xff]), factory, tlv(6, &[reference.tries, reference.left])].concat()
        };
        Ok(match of {
            PIN => reference(&self.memory.pin),
            PUK => reference(&self.memory.puk),
            MANAGEMENT => {
                let key = &self.memory.management_key;
                let touch = if self.memory.management_touch {
                    TouchPolicy::Always
                } else {
                    TouchPolicy::Never
                };
                let factory = *key == Memory::factory_key(settings);
                [tlv(1, &[key.algorithm()]), tlv(2, &[0, touch as u8]), tlv(5, &[factory.into()])].concat()
            }
            slot => {
                let key = self.memory.keys.get(&slot).ok_or(NO_SUCH_REFERENCE)?;
                let policies = tlv(2, &[key.pin_policy as u8, key.touch_policy as u8]);
                let made_here = tlv(3, &[1]);
                [tlv(1, &[key.algorithm]), policies, made_here, tlv(4, &tlv(0x86, &key.point))].concat()
            }
        })
    }

    /// ATTEST (Yubico SDK manual, PIV APDUs, "Create attestation statement").
    fn attest(&self, slot: u8, around: &Surroundings<'_>) -> Answer {
        let Surroundings { settings, attestor, .. } = around;
        let key = self.memory.keys.get(&slot).ok_or(NO_SUCH_REFERENCE)?;
        let certificate = attestor.attest(slot, key, settings.version, settings.serial);
        certificate.map_err(|_| apdu::CONDITIONS_NOT_SATISFIED)
    }

    /// SET PIN RETRIES: with management key and PIN; both references are the factory's afterwards.
    fn set_retries(&mut self, pin: u8, puk: u8) -> Answer {
        self.administrator()?;
        if !self.session.verified {
            return Err(SECURITY_STATUS);
        }
        self.memory.pin.restore(pin);
        self.memory.puk.restore(puk);
        Ok(vec![])
    }

    /// RESET: only once PIN and PUK are both blocked. The attestation key stays.
    fn reset(&mut self, around: &Surroundings<'_>) -> Answer {
        if (self.memory.pin.left, self.memory.puk.left) != (0, 0) {
            return Err(apdu::CONDITIONS_NOT_SATISFIED);
        }
        *self = Self::new(around.settings, around.attestor).map_err(|_| apdu::CONDITIONS_NOT_SATISFIED)?;
        Ok(vec![])
    }

    /// SET MANAGEMENT KEY: algorithm, 9B, length, key; P2 = FE asks for a touch as well.
    fn set_management_key(&mut self, touch: u8, data: &[u8]) -> Answer {
        self.administrator()?;
        let &[algorithm, MANAGEMENT, length, ref key @ ..] = data else {
            return Err(WRONG_DATA);
        };
        if key.len() != usize::from(length) {
            return Err(WRONG_DATA);
        }
        self.memory.management_key = ManagementKey::new(algorithm, key).ok_or(WRONG_DATA)?;
        self.memory.management_touch = touch == 0xfe;
        Ok(vec![])
    }

    fn administrator(&self) -> Result<(), Status> {
        if self.session.administrator { Ok(()) } else { Err(SECURITY_STATUS) }
    }
}

/// The key blinks, and waits as long as it waits.
fn touched(around: &Surroundings<'_>) -> bool {
    around.finger.begin(around.finger.submit());
    around.finger.ask(around.settings.patience) == Outcome::Touched
}

fn left(tries: u8) -> Status {
    match tries {
        0 => BLOCKED,
        tries => TRIES_LEFT | Status::from(tries.min(15)),
    }
}

fn whole((answer, status): (Vec<u8>, Status)) -> Answer {
    if status == apdu::OK { Ok(answer) } else { Err(status) }
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, &mut bytes);
    bytes
}
