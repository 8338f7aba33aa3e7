//! CTAP 2.1 over any transport: what is needed on the lease path, and fingerprints.
//!
//! Parsers are pure functions over bytes; the conversation is [`Session`].

pub mod cbor;
pub mod error;
pub mod fingerprint;
pub mod get_assertion;
pub mod hmac_secret;
pub mod info;
pub mod make_credential;
pub mod pin;

use std::io;
use std::os::fd::BorrowedFd;

pub use error::{CtapError, Status, TransportError};
pub use info::Info;

use cbor::Map;
use fingerprint::Sample;
use pin::{PinProtocol, SharedSecret};

/// Fills a buffer with random bytes.
pub type Random = fn(&mut [u8]) -> io::Result<()>;

/// What the key says while it works (CTAP 2.1, 11.2.9.1.9: CTAPHID_KEEPALIVE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// It computes.
    Processing,
    /// It waits for the touch: only now does a touch count for us.
    UpNeeded,
}

/// Who watches a message under way: gets told, and says when to stop.
pub trait Watch {
    /// The key reports on our own message.
    fn keepalive(&mut self, status: KeepAlive);
    /// Another program's message is under way on the same key: a touch now may be taken by it.
    fn another_program(&mut self);
    /// Whether to cancel. Asked between reads; must not block.
    fn cancelled(&mut self) -> bool;
    /// Becomes readable when [`Watch::cancelled`] is worth asking at once.
    fn wake(&self) -> Option<BorrowedFd<'_>>;
    /// The key took a sample of a finger.
    fn sample(&mut self, _: Sample) {}
}

/// Who hears nothing and stops nothing: for what is sent to end something, which nothing cuts short.
pub(super) struct Deaf;

impl Watch for Deaf {
    fn keepalive(&mut self, _: KeepAlive) {}

    fn another_program(&mut self) {}

    fn cancelled(&mut self) -> bool {
        false
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Frames or APDUs of one transport's life, both ways, keepalives not counted: their number depends on the person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Frames {
    /// To the key.
    pub sent: u32,
    /// From the key.
    pub received: u32,
}

/// A way to exchange CTAP2 messages with one key.
pub trait Transport {
    /// Sends `message` (command byte and CBOR) and waits for the answer (status byte and CBOR), as long as keepalives come.
    ///
    /// When `watch` cancels, the key is told and given half a second; a result that comes all the same is returned as such.
    ///
    /// # Errors
    /// See [`TransportError`].
    fn cbor(&mut self, message: &[u8], watch: &mut dyn Watch) -> Result<Vec<u8>, TransportError>;

    /// What went over the wire so far.
    fn frames(&self) -> Frames;

    /// The CTAPHID channel, for transports that have one: good until the key is pulled out.
    fn channel(&self) -> Option<u32> {
        None
    }
}

/// The commands in use (CTAP 2.1, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    MakeCredential = 0x01,
    GetAssertion = 0x02,
    GetInfo = 0x04,
    ClientPin = 0x06,
    BioEnrollment = 0x09,
    /// Of keys from before CTAP 2.1 (FIDO_2_1_PRE), with the same members.
    BioEnrollmentPreview = 0x40,
}

/// A conversation with one key.
pub struct Session<'a> {
    transport: &'a mut dyn Transport,
    watch: &'a mut dyn Watch,
    random: Random,
    info: Info,
    raw_info: Vec<u8>,
    agreed: Option<SharedSecret>,
}

impl<'a> Session<'a> {
    /// Starts with getInfo, or with its raw answer of the last time.
    ///
    /// # Errors
    /// See [`CtapError`].
    pub fn open(
        transport: &'a mut dyn Transport,
        watch: &'a mut dyn Watch,
        random: Random,
        raw_info: Option<Vec<u8>>,
    ) -> Result<Self, CtapError> {
        let raw_info = match raw_info {
            Some(raw) => raw,
            None => exchange(transport, watch, &[Command::GetInfo as u8])?,
        };
        Ok(Self {
            info: Info::parse(&raw_info)?,
            raw_info,
            transport,
            watch,
            random,
            agreed: None,
        })
    }

    /// What the key says of itself.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The same, as the key sent it.
    #[must_use]
    pub fn raw_info(&self) -> &[u8] {
        &self.raw_info
    }

    /// Asks the key anew what it says of itself, after something that may have changed it.
    ///
    /// # Errors
    /// See [`CtapError`].
    pub fn renew_info(&mut self) -> Result<(), CtapError> {
        self.raw_info = exchange(self.transport, self.watch, &[Command::GetInfo as u8])?;
        self.info = Info::parse(&self.raw_info)?;
        Ok(())
    }

    fn call(&mut self, command: Command, parameters: Map) -> Result<Vec<u8>, CtapError> {
        let mut message = vec![command as u8];
        message.extend(cbor::encode(&parameters.into()));
        if message.len() > self.info.max_msg_size {
            return Err(CtapError::TooLong {
                len: message.len(),
                limit: self.info.max_msg_size,
            });
        }
        exchange(self.transport, self.watch, &message)
    }

    fn protocol(&self) -> Result<PinProtocol, CtapError> {
        // In the order the key prefers (CTAP 2.1, 6.4, pinUvAuthProtocols).
        let known = |n: &u32| PinProtocol::from_number(*n);
        self.info
            .pin_protocols
            .iter()
            .find_map(known)
            .ok_or(CtapError::Lacks("PIN protocol one or two"))
    }

    /// The secret shared with the key, agreed once per session: it serves the PIN and hmac-secret alike (CTAP 2.1, 6.5.4, 12.5).
    ///
    /// Not kept for the next one, though that would save three frames: a key makes a new pair after a wrong PIN, be it another
    /// program's. An agreement that is void then costs a PIN try that nobody made, or a touch: firmware looks at the salts' tag only
    /// after it (fido-authenticator 0.4).
    fn shared(&mut self) -> Result<&SharedSecret, CtapError> {
        let shared = match self.agreed.take() {
            Some(shared) => shared,
            None => self.agree()?,
        };
        Ok(self.agreed.insert(shared))
    }

    fn agree(&mut self) -> Result<SharedSecret, CtapError> {
        let protocol = self.protocol()?;
        let answer = self.call(Command::ClientPin, pin::key_agreement_request(protocol))?;
        SharedSecret::agree(protocol, &pin::parse_key_agreement(&answer)?, self.random)
    }
}

fn exchange(transport: &mut dyn Transport, watch: &mut dyn Watch, message: &[u8]) -> Result<Vec<u8>, CtapError> {
    let mut answer = transport.cbor(message, watch)?;
    match answer.first().copied().map(Status) {
        None => Err(CtapError::Form("an empty answer")),
        Some(Status::OK) => {
            answer.remove(0);
            Ok(answer)
        }
        Some(Status::KEEPALIVE_CANCEL) if watch.cancelled() => Err(TransportError::Cancelled.into()),
        Some(status) => Err(CtapError::Status(status)),
    }
}
