//! What happens, as the log tells it. Secret values have no place in any of it.
//!
//! Fields are declared in the order of their names: serde writes them as declared, and canonical JSON sorts them (RFC 8785, 3.2.3).

use serde::{Deserialize, Serialize};

use crate::encoding::Digest;

/// One thing that happened. In JSON an object with one member, named after the variant in snake case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A daemon opened the log. Every log starts with it; leases and questions of the daemon before are over.
    Opened(Opened),
    /// The log could not be written for a while and now can again, in the same daemon.
    Recovered(Recovered),
    /// Somebody asks for a lease. The hash of this line goes into the lease.
    Asked(Asked),
    /// The prompt stands on a screen.
    Shown(OfAsked),
    /// A touch approved exactly this lease. `text` is the lease; namespace `touchlease-lease`.
    Approved(Signed),
    /// A person said no.
    Denied(OfAsked),
    /// Nobody answered in time.
    TimedOut(OfAsked),
    /// Refused by a rule, before or after the prompt.
    Refused(Refused),
    /// A lease was used, once or several times in the same way.
    Used(Used),
    /// An answer to the proxy had a secret's value in it, and went on masked.
    Echoed(Echoed),
    /// The proxy refused a request that named a secret by its placeholder.
    NotSent(NotSent),
    /// OpenBao gave a token for the one that a lease signed.
    Exchanged(Exchanged),
    /// What became of OpenBao's token at the end of its lease.
    ExchangeEnded(ExchangeEnded),
    /// A lease ended.
    Ended(Ended),
    /// A touch changed the vault's contents. Namespace `touchlease-change`.
    Change(Change),
    /// A touch let every value of a scope out of the vault, in the clear. Namespace `touchlease-change`.
    Exported(Signed),
    /// A person accepted the clock as it now stands, by a touch; namespace `touchlease-change`.
    ClockAccepted(Signed),
    /// A person took an older copy of the vault as it is, by a touch; namespace `touchlease-change`.
    OlderAccepted(Signed),
    /// A statement of the roster was accepted as the newest.
    Roster(Roster),
    /// The recovery code is about to sign a statement of the roster: the one exception to the touch of an enrolled key. Its signature
    /// stands in the roster.
    RecoveryCode(RecoveryCode),
    /// A second key was touched for a lease that another had approved already; its answer was wiped.
    ExtraTouch(ExtraTouch),
    /// A key's signature counter went back: a hint at a copy of the key, no proof.
    CounterBack(CounterBack),
    /// Something went wrong between us and a key.
    Key(KeyTrouble),
}

impl Event {
    /// The text that this line says was signed by a touch, if it says so of any.
    #[must_use]
    pub fn signed(&self) -> Option<&Signed> {
        match self {
            Self::Approved(signed) | Self::Exported(signed) | Self::ClockAccepted(signed) | Self::OlderAccepted(signed) => Some(signed),
            Self::Change(change) => Some(&change.signed),
            Self::Opened(_)
            | Self::Recovered(_)
            | Self::Asked(_)
            | Self::Shown(_)
            | Self::Denied(_)
            | Self::TimedOut(_)
            | Self::Refused(_)
            | Self::Used(_)
            | Self::Echoed(_)
            | Self::NotSent(_)
            | Self::Exchanged(_)
            | Self::ExchangeEnded(_)
            | Self::Ended(_)
            | Self::Roster(_)
            | Self::RecoveryCode(_)
            | Self::ExtraTouch(_)
            | Self::CounterBack(_)
            | Self::Key(_) => None,
        }
    }
}

/// See [`Event::Opened`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// The half-written line that was cut off first. Nothing was ever handed out on the strength of it.
    pub cut: Option<Cut>,
    /// Name and version of the program.
    pub program: String,
    /// The vault whose log this is.
    pub vault: Digest,
}

/// Bytes that were cut off the end of the log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// How many.
    pub bytes: u64,
    /// SHA-256 of them.
    pub digest: Digest,
}

/// See [`Event::Recovered`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recovered {
    /// What was cut off: lines that were refused, and grouped lines that follow again right after.
    pub cut: Option<Cut>,
    /// Events that could not be recorded meanwhile. None of them handed anything out; what was done again in the last moments before is told
    /// again, unless its session ended meanwhile.
    pub missed: u64,
}

/// See [`Event::Asked`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Why, in the requester's words; of a change, which has no `ttl`, what it is.
    pub reason: Option<String>,
    /// Who asks.
    pub requester: Requester,
    /// Names of the secrets, `scope/NAME`.
    pub secrets: Vec<String>,
    /// Name of the task.
    pub task: Option<String>,
    /// How long, in seconds.
    pub ttl: u32,
    /// How many uses; none for no limit.
    pub uses: Option<u32>,
}

/// Who asks: `pid` and `uid` from the kernel, the rest as claimed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Requester {
    /// Names of parent, grandparent, and so on, as claimed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<String>,
    /// Executable, as claimed.
    pub exe: String,
    /// Working directory, as claimed.
    pub folder: String,
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
}

/// Something about one question.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OfAsked {
    /// Hash of the `asked` line.
    pub asked: Digest,
}

/// A text and the touch that signed it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// Id of the key that was touched, as the roster has it.
    pub key: Digest,
    /// What happened at the key.
    pub kind: Kind,
    /// Name of the key, as the roster had it then.
    pub name: String,
    /// The key's profile, as the roster has it.
    pub profile: Profile,
    /// Armored SSHSIG over `text`; null where nothing was signed.
    pub sshsig: Option<String>,
    /// Exactly the bytes that were signed, or that the touch was for: canonical JSON.
    pub text: String,
    /// How the key was reached.
    pub transport: Transport,
}

/// What shows the touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The key's own word in the signed data.
    Touch,
    /// A signature by a PIV slot, whose touch policy was seen at enrolment.
    Policy,
    /// What is sealed to a PIV slot opened, whose touch policy was seen at enrolment: attested by the daemon, which alone says what for. No
    /// hardware signature exists.
    Attested,
    /// A signer's key in hardware signed the token, or the certificate, that the lease is of: by it the lease is proved, and it is not here, since
    /// whoever has it can use it. `key` is the digest of the signer's public key.
    Signer,
}

/// What a key asks for besides the touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Its PIN (or what the key takes for it).
    Pin,
    /// Nothing: whoever holds the key can use it.
    TouchOnly,
    /// Its PIN, by the policies of its slots: its signatures say nothing of it, nor of the touch.
    Piv,
}

/// How a key was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// USB HID.
    Usb,
    /// A contactless reader; presence is a tap.
    Nfc,
    /// A contact reader.
    Contact,
}

/// See [`Event::Refused`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Hash of the `asked` line, if it came that far.
    pub asked: Option<Digest>,
    /// For a person: one sentence.
    pub detail: String,
    /// For a program: the outcome's name.
    pub reason: String,
}

/// See [`Event::Used`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Used {
    /// The form in which the lease was used: `env`, `file`, `proxy`, ...
    pub delivery: String,
    /// Id of the lease.
    pub lease: String,
    /// Uses left; none when they are not limited.
    pub left: Option<u32>,
    /// How often it was done again, after a line of the same without this number, and told together within a second: such a line may follow the
    /// end of its lease. Absent: it was done once, and the line was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// What for: the command's name, or method, host and path.
    pub what: String,
}

/// See [`Event::Echoed`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Echoed {
    /// The host that sent it.
    pub host: String,
    /// Id of the lease.
    pub lease: String,
    /// How many such events of this lease have no line, since the one before: there are 20 in a second.
    pub left_out: u64,
    /// The secret, `scope/NAME`.
    pub secret: String,
}

/// See [`Event::NotSent`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NotSent {
    /// Id of the lease.
    pub lease: String,
    /// As in [`Echoed`].
    pub left_out: u64,
    /// Why, in a word.
    pub reason: String,
    /// The secret, `scope/NAME`, where it is known which.
    pub secret: Option<String>,
    /// Method and host.
    pub what: String,
}

/// See [`Event::Exchanged`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Exchanged {
    /// Accessor of the login's token, by which an operator of OpenBao can end everything that was had: nothing can be had with it.
    pub accessor: String,
    /// What was fetched: paths. None where the command has the token.
    pub fetched: Vec<String>,
    /// Id of the lease.
    pub lease: String,
    /// The policies that it has.
    pub policies: Vec<String>,
    /// The node that gave it.
    pub server: String,
    /// Accessor of the token that the command has, or with which things were fetched.
    pub token: String,
    /// Its life in seconds.
    pub ttl: u64,
    /// For how many requests it is good; none for no limit.
    pub uses: Option<u32>,
}

/// See [`Event::ExchangeEnded`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeEnded {
    /// As in [`Exchanged`].
    pub accessor: String,
    /// Id of the lease.
    pub lease: String,
    /// What became of it.
    pub what: Revoked,
    /// Why it is not revoked, where it is not.
    pub why: Option<String>,
}

/// What became of a token of OpenBao's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Revoked {
    /// OpenBao says that it is revoked.
    Revoked,
    /// OpenBao knows it no more.
    OverBefore,
    /// Not yet: it is tried on, as long as it lives.
    NotRevoked,
    /// It was never revoked, and its time is over.
    RanOut,
    /// Nobody tries on, and nobody knows.
    Unknown,
}

/// See [`Event::Ended`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// Id of the lease.
    pub lease: String,
    /// Why.
    pub why: Why,
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its time was over.
    Time,
    /// Its uses were spent.
    Uses,
    /// The requester gave it back.
    Returned,
    /// The requester went away.
    RequesterGone,
    /// A person revoked it.
    Revoked,
    /// Everything was locked.
    Locked,
    /// The machine went to sleep.
    Suspend,
    /// The screen was locked.
    ScreenLock,
    /// The key was pulled out.
    KeyRemoved,
    /// It could not be delivered.
    NotDelivered,
    /// The daemon ended.
    DaemonEnd,
}

/// See [`Event::Change`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Every name that it writes.
    pub names: Vec<String>,
    /// The text and the touch.
    pub signed: Signed,
}

/// See [`Event::Roster`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// Digest of the statement.
    pub statement: Digest,
}

/// See [`Event::RecoveryCode`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryCode {
    /// Hash of the `asked` line.
    pub asked: Digest,
    /// Name of the key that it lets in.
    pub key: String,
    /// Names of the keys that it takes out.
    pub removes: Vec<String>,
    /// Digest of the statement.
    pub statement: Digest,
}

/// See [`Event::ExtraTouch`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraTouch {
    /// Hash of the `asked` line.
    pub asked: Option<Digest>,
    /// Id of the key.
    pub key: Digest,
    /// Its name.
    pub name: String,
}

/// See [`Event::CounterBack`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CounterBack {
    /// Highest counter seen before.
    pub before: u32,
    /// Id of the key.
    pub key: Digest,
    /// Its name.
    pub name: String,
    /// The counter now.
    pub now: u32,
}

/// See [`Event::Key`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyTrouble {
    /// Hash of the `asked` line that was being answered.
    pub asked: Option<Digest>,
    /// For a person: one sentence.
    pub detail: String,
    /// Id of the key, when it is known which.
    pub key: Option<Digest>,
    /// Its name, or what the system calls the device.
    pub name: Option<String>,
    /// What happened.
    pub what: Trouble,
}

/// What can happen between us and a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Another program cancelled our operation.
    CancelledElsewhere,
    /// Another program is using the key.
    Busy,
    /// A device asked for the PIN of a key that it could not show to be.
    Impostor,
    /// The key's answer did not verify: no touch, no PIN, another relying party, a foreign signature.
    BadAnswer,
    /// Pulled out in the middle.
    Removed,
    /// The PIN was wrong.
    PinWrong,
    /// The PIN is blocked.
    PinBlocked,
    /// The key was reset since it was enrolled.
    Reset,
}
