//! What daemon and worker say to each other, in [frames](crate::worker::frame).

use serde::{Deserialize, Serialize};

use super::super::ctap::fingerprint::Sample;
use super::super::ctap::get_assertion::RawAssertion;
use super::super::ctap::{CtapError, Frames, Status, TransportError};
use super::super::enrolled::{Credential, Link, PivSlot, Retired, Text64, base64url};
use super::super::piv::{self, Occupied, References, Setup};
use super::super::place::{Place, Port};
use crate::encoding::sshsig::Point;

/// What is good from the last time, until the key is pulled out: saves INIT and getInfo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    /// The CTAPHID channel.
    pub channel: Option<u32>,
    info: Option<Text64>,
}

impl Warm {
    pub(in crate::device) fn new(channel: Option<u32>, raw_info: &[u8]) -> Self {
        Self {
            channel,
            info: Some(Text64(raw_info.to_vec())),
        }
    }

    /// getInfo's answer as the key sent it.
    #[must_use]
    pub fn raw_info(&self) -> Option<&[u8]> {
        self.info.as_ref().map(|raw| raw.0.as_slice())
    }
}

/// The first frame to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// What to open.
    pub port: Port,
    /// How a key there is reached, as far as the daemon knows: a worker that finds it otherwise does nothing.
    pub link: Link,
    /// From the last time.
    pub warm: Warm,
    /// What to do.
    pub operation: Operation,
}

/// What a worker does.
#[derive(Debug, Serialize, Deserialize)]
pub enum Operation {
    /// getInfo, asked anew, and the PIN's tries.
    Inspect,
    /// Silent assertion: which of these `which` credentials are this key's? Answered by [`Answer::Which`].
    Which {
        /// Credential ids.
        candidates: Vec<Id>,
        /// Signed as clientDataHash.
        challenge: [u8; 32],
    },
    /// One new credential, one touch. A tail is the PIN. Answered by [`Answer::Made`].
    MakeCredential {
        /// Relying party id.
        rp_id: String,
        /// clientDataHash.
        hash: [u8; 32],
        /// User handle, at most 64 bytes.
        user_id: Id,
        /// For the key's own display.
        user_name: String,
        /// Credentials of which the key may have none.
        exclude: Vec<Id>,
        /// Whether the credential gets hmac-secret.
        hmac_secret: bool,
        /// credProtect level, 1 to 3.
        protection: u8,
        /// As in `Assert`: the credential that it made before.
        which: Option<Credential>,
    },
    /// One assertion, one touch. A tail is the PIN. Answered by [`Answer::Asserted`].
    Assert {
        /// The lease credential's id.
        credential: Id,
        /// clientDataHash.
        hash: [u8; 32],
        /// For hmac-secret: one or two.
        salts: Vec<[u8; 32]>,
        /// The device has to prove first, silently, that it has this credential: before any PIN goes to it.
        which: Option<Credential>,
    },
    /// Something for a YubiKey's PIV application, in a reader.
    Piv(PivTask),
    /// What `touchlease key` does with PIN and credentials. The tail holds the PINs.
    Manage {
        /// What to do.
        task: Manage,
        /// As in `Assert`.
        which: Option<Credential>,
    },
    /// What `touchlease key fingerprint` does. The tail is the PIN.
    Fingerprint {
        /// What to do.
        task: Fingerprint,
        /// As in `Assert`.
        which: Option<Credential>,
    },
}

/// What a worker does with a YubiKey's PIV application. But for the look, only with the one of this serial number; where a PIN is needed,
/// the tail is it.
#[derive(Debug, Serialize, Deserialize)]
pub enum PivTask {
    /// Which is there? Answered by [`Answer::Card`].
    Look,
    /// PIN tries. Answered by [`Answer::Inspected`].
    Tries {
        /// Of which card.
        serial: u32,
        /// What was made in its slots: one that was reset is asked for no PIN.
        held: Vec<SlotKey>,
    },
    /// What of it is as it came from the factory, and which slots are occupied. Answered by [`Answer::CardState`].
    Inspect {
        /// Which card.
        serial: u32,
    },
    /// One ECDH, one touch. Answered by [`Answer::Agreed`].
    Agree {
        /// Of which card.
        serial: u32,
        /// By which of its keys.
        by: SlotKey,
        /// With this point, uncompressed and on the curve.
        point: Id,
    },
    /// One signature, one touch. Answered by [`Answer::Signed`].
    Sign {
        /// Of which card.
        serial: u32,
        /// By which of its keys.
        by: SlotKey,
        /// SHA-256 of what is signed.
        digest: [u8; 32],
    },
    /// The certificate in slot F9, and what it attests of these slots. Answered by [`Answer::Attested`].
    Attest {
        /// Which card.
        serial: u32,
        /// Of which slots.
        slots: Vec<Retired>,
    },
    /// Makes keys. The tail is the PIN, a new one and a new PUK. Answered by [`Answer::CardMade`].
    Make {
        /// On which card.
        serial: u32,
        /// What is made.
        task: Setup,
        /// Bytes of the PIN.
        pin_len: usize,
        /// Bytes of the new one; none where it stays.
        new_pin_len: usize,
    },
}

/// A key that was made in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotKey {
    /// Where.
    pub slot: Retired,
    /// Its public half.
    #[serde(with = "base64url")]
    pub public_key: Point,
}

impl From<&PivSlot> for SlotKey {
    fn from(made: &PivSlot) -> Self {
        Self {
            slot: made.slot,
            public_key: made.public_key,
        }
    }
}

/// A credential id, or the like, as base64url text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(#[serde(with = "base64url")] pub Vec<u8>);

/// Care for a key. `ctap-hid-fido2` does it: over USB only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Manage {
    /// The tail is the new PIN.
    SetPin,
    /// The tail is the old PIN, of this many bytes, and the new one.
    ChangePin {
        /// Bytes of the old PIN.
        old_len: usize,
    },
    /// Discoverable credentials (ours are not). The tail is the PIN.
    Credentials,
    /// Deletes one. The tail is the PIN.
    DeleteCredential {
        /// Its id.
        id: Id,
    },
}

/// Care for a key's fingerprints, over USB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fingerprint {
    /// Lists them.
    List,
    /// Adds one, with several touches of the sensor.
    Add {
        /// The person's name for it.
        name: String,
    },
    /// Gives one another name.
    Rename {
        /// Its id.
        id: Id,
        /// The new name.
        name: String,
    },
    /// Removes one.
    Remove {
        /// Its id.
        id: Id,
    },
}

/// A discoverable credential, or a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Relying party id; empty for fingerprints.
    pub rp_id: String,
    /// User, or the fingerprint's name; empty where it has none.
    pub name: String,
    /// Credential or template id.
    pub id: Id,
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The key waits for the touch: now.
    TouchNow,
    /// Another program is using the key: not now.
    AnotherProgram,
    /// The key took a sample of a finger.
    Sample(Sample),
    /// The places, now. Only from the worker that watches.
    Places(Vec<Place>),
    /// The last word: done. Hmac-secret outputs are in the tail.
    Done {
        /// The result.
        answer: Answer,
        /// For the next time.
        warm: Warm,
        /// What went over the wire.
        frames: Frames,
    },
    /// The last word: not done.
    Failed(Failure),
}

/// A result, unchecked: the daemon judges it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// See [`Operation::Inspect`].
    Inspected {
        /// PIN tries left, for a key with a PIN.
        tries: Option<u32>,
        /// Three were wrong since power-up.
        power_cycle: bool,
    },
    /// See [`Operation::Which`]; nothing when the key has none of them.
    Which(Option<Raw>),
    /// Authenticator data.
    Made(Id),
    /// See [`Operation::Assert`].
    Asserted(Raw),
    /// A change was made.
    Managed,
    /// A list.
    List(Vec<Listed>),
    /// See [`PivTask::Look`]; nothing where the card is no YubiKey with a PIV application.
    Card(Option<piv::Seen>),
    /// See [`PivTask::Inspect`].
    CardState {
        /// What is the factory's.
        factory: References,
        /// Slots for retired keys that hold one.
        occupied: Vec<Occupied>,
    },
    /// See [`PivTask::Agree`]: the x coordinate is in the tail.
    Agreed,
    /// See [`PivTask::Sign`]: in DER.
    Signed(Id),
    /// See [`PivTask::Attest`]: certificates in DER.
    Attested {
        /// Slot F9's; empty where there is none.
        authority: Id,
        /// One for each slot, in their order.
        statements: Vec<Id>,
    },
    /// See [`PivTask::Make`]: what was made, in the order of the slots.
    CardMade(Vec<SlotKey>),
}

/// A [`RawAssertion`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Raw {
    credential: Option<Id>,
    auth_data: Id,
    signature: Id,
}

impl From<RawAssertion> for Raw {
    fn from(raw: RawAssertion) -> Self {
        Self {
            credential: raw.credential.map(Id),
            auth_data: Id(raw.auth_data),
            signature: Id(raw.signature),
        }
    }
}

impl From<Raw> for RawAssertion {
    fn from(raw: Raw) -> Self {
        Self {
            credential: raw.credential.map(|id| id.0),
            auth_data: raw.auth_data.0,
            signature: raw.signature.0,
        }
    }
}

/// Why a worker has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The key's status code.
    Status(u8),
    /// The PIN was wrong; tries left, where the key still says.
    PinWrong(Option<u32>),
    /// The key does not prove that it is the one that was enrolled. No PIN went to it.
    Impostor,
    /// The key lacks something.
    Lacks(String),
    /// The key's answer is malformed, or breaks the transport's rules.
    Malformed(String),
    /// Pulled out.
    PulledOut,
    /// No answer.
    Silent,
    /// Held by another program.
    Busy(Option<String>),
    /// The key is reached in this way, and not as the request says.
    OtherLink(Link),
    /// Cancelled by us.
    Cancelled,
    /// The node may not be opened.
    Permission,
    /// Not the YubiKey that was asked for. No PIN went to it.
    OtherCard,
    /// The slot is empty, or holds another key than the one that was made there. No PIN went to the card.
    OtherKey,
    /// No YubiKey with a PIV application, or it is switched off.
    NotPiv,
    /// In a field: its touch would be a power-up.
    PivContactless,
    /// Nothing of this name is on the card.
    NotThere,
    /// The card waited for a touch, and there was none.
    NoTouch,
    /// Somebody else used the card between our PIN and our operation, which the card then refused.
    PinLost,
    /// No try of the card's PIN, or of its PUK, is left.
    PivPinBlocked,
    /// A PIN or PUK that is not 6 to 8 bytes.
    PinUnfit,
    /// The card refuses without PIN, management key or touch.
    NotAllowed,
    /// There is a key in the slot.
    Occupied(Retired),
    /// The PIN is the factory's, and none was given for its place.
    FactoryPin,
    /// The PUK is the factory's, and none was given for its place.
    FactoryPuk,
    /// The management key is neither the factory's nor under the PIN.
    ManagementKey,
    /// The key in the slot has other policies than PIN and touch for each use, or was not made there.
    Policy(Retired),
    /// The card refuses with a status that nothing above stands for.
    Refused,
    /// No FIDO2 applet.
    NotFido,
    /// No PC/SC service.
    NoService,
    /// The key has no fingerprint of this id.
    NoSuchFingerprint,
    /// The key takes no name of more bytes than these.
    LongName(u32),
    /// Care for keys works over USB only.
    OverUsbOnly,
    /// The system refuses randomness, memory, or something else.
    System(String),
}

impl From<CtapError> for Failure {
    fn from(error: CtapError) -> Self {
        match error {
            CtapError::Status(Status(code)) => Self::Status(code),
            CtapError::Form(what) => Self::Malformed(what.into()),
            CtapError::TooLong { .. } => Self::Lacks(error.to_string()),
            CtapError::LongName { limit } => Self::LongName(limit),
            CtapError::Lacks(what) => Self::Lacks(what.into()),
            CtapError::System => Self::System(error.to_string()),
            CtapError::Transport(error) => error.into(),
        }
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::PulledOut => Self::PulledOut,
            TransportError::Silent => Self::Silent,
            TransportError::Busy { by } => Self::Busy(by),
            TransportError::OtherLink { found } => Self::OtherLink(found),
            TransportError::Cancelled => Self::Cancelled,
            TransportError::Permission => Self::Permission,
            TransportError::NotFido => Self::NotFido,
            TransportError::NoService => Self::NoService,
            TransportError::Protocol(what) => Self::Malformed(what.into()),
            TransportError::Io(_) => Self::System(error.to_string()),
        }
    }
}
