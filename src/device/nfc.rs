//! CTAP2 over ISO 7816 (CTAP 2.1, 11.3): NFC readers and contact slots alike, through PC/SC.

pub mod applet;

use std::ffi::{CStr, CString};
use std::path::Path;
use std::time::Duration;

use pcsc::{Attribute, Card, Context, Disposition, Error, Protocols, Scope, ShareMode};

pub use applet::{Apdu, Contact, Nfc, contact, contact_by_name};

use super::ctap::TransportError;
use super::find;

/// Programs that connect to a card and stay, so that the person is told whom to ask (`pcsc-shared` in scdaemon.conf).
const CARD_PROGRAMS: &[&str] = &[
    "scdaemon",
    "pkcs11-helper",
    "yubikey-agent",
    "opensc",
    "firefox",
    "gnome-keyring-d",
    "ykman",
];

/// A card that nobody else can use meanwhile.
pub struct PcscCard {
    card: Option<Card>,
    contact: Contact,
}

impl PcscCard {
    /// Connects to the card in `reader`, alone.
    ///
    /// # Errors
    /// `Busy` when another program is connected, `PulledOut` without a card, `NoService` without pcscd.
    pub fn connect(reader: &str, proc_root: &Path) -> Result<Self, TransportError> {
        Self::open(reader, ShareMode::Exclusive, proc_root)
    }

    fn open(reader: &str, share: ShareMode, proc_root: &Path) -> Result<Self, TransportError> {
        let context = Context::establish(Scope::User).map_err(|e| error(e, proc_root))?;
        let name = CString::new(reader).map_err(|_| TransportError::PulledOut)?;
        let card = context.connect(&name, share, Protocols::ANY).map_err(|e| error(e, proc_root))?;
        let status = card.status2_owned().map_err(|e| error(e, proc_root))?;
        let kind = card.get_attribute_owned(Attribute::IccTypePerAtr).ok();
        let contact = contact(status.atr(), kind.as_deref());
        Ok(Self { card: Some(card), contact })
    }

    /// How the card in `reader` is reached. Others may be at work on it, and are not disturbed.
    ///
    /// # Errors
    /// As [`PcscCard::connect`].
    pub fn contact_in(reader: &str, proc_root: &Path) -> Result<Contact, TransportError> {
        Self::open(reader, ShareMode::Shared, proc_root).map(|card| card.contact)
    }

    /// How the card is reached.
    #[must_use]
    pub fn contact(&self) -> Contact {
        self.contact
    }
}

impl Apdu for PcscCard {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, TransportError> {
        let card = self.card.as_ref().ok_or(TransportError::PulledOut)?;
        let mut buffer = vec![0; pcsc::MAX_BUFFER_SIZE_EXTENDED];
        let answer = card.transmit(command, &mut buffer).map_err(|e| error(e, Path::new("/proc")))?;
        Ok(answer.to_vec())
    }
}

impl Drop for PcscCard {
    fn drop(&mut self) {
        // The default resets the card, which would make the next program's user type a PIN again.
        if let Some(card) = self.card.take() {
            let _ = card.disconnect(Disposition::LeaveCard);
        }
    }
}

pub(super) fn error(error: Error, proc_root: &Path) -> TransportError {
    match error {
        Error::SharingViolation => TransportError::Busy {
            by: find::running(proc_root, CARD_PROGRAMS),
        },
        // NotTransacted: what a reader says of a card that went away in the middle of an APDU.
        Error::NotTransacted
        | Error::CommDataLost
        | Error::NoSmartcard
        | Error::RemovedCard
        | Error::ResetCard
        | Error::UnpoweredCard
        | Error::UnresponsiveCard
        | Error::UnknownReader
        | Error::ReaderUnavailable
        | Error::NoReadersAvailable => TransportError::PulledOut,
        Error::NoService | Error::ServiceStopped | Error::CommError | Error::NoAccess | Error::SecurityViolation => {
            TransportError::NoService
        }
        Error::Timeout => TransportError::Silent,
        _ => TransportError::Protocol("the smart-card service refuses"),
    }
}

/// A reader as PC/SC sees it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// PC/SC's name for it.
    pub name: String,
    /// Counts insertions and removals: a reset does not change it.
    pub events: u32,
    /// How its card is reached, when there is one.
    pub card: Option<Contact>,
}

/// All readers; none when there is no PC/SC service.
///
/// # Errors
/// PC/SC's, except that it does not run.
pub fn readers(context: &Context) -> Result<Vec<Reader>, Error> {
    let names = match context.list_readers_owned() {
        Ok(names) => names,
        Err(Error::NoReadersAvailable) => Vec::new(),
        Err(error) => return Err(error),
    };
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut states = states(&names);
    context.get_status_change(Duration::ZERO, &mut states)?;
    Ok(states.iter().map(reader).collect())
}

/// Waits until something changes about `known` or about the list of readers itself, for ever without a limit.
///
/// # Errors
/// `Timeout` after `limit`; PC/SC's.
pub fn wait_for_change(context: &Context, known: &[Reader], limit: Option<Duration>) -> Result<(), Error> {
    let names: Vec<_> = known.iter().filter_map(|r| CString::new(r.name.as_str()).ok()).collect();
    let mut states = states(&names);
    if !states.is_empty() {
        context.get_status_change(Duration::ZERO, &mut states)?;
        if states.iter().map(reader).ne(known.iter().cloned()) {
            return Ok(());
        }
    }
    states.iter_mut().for_each(pcsc::ReaderState::sync_current_state);
    states.push(pcsc::ReaderState::new(pnp(), pcsc::State::UNAWARE));
    context.get_status_change(limit, &mut states)
}

fn pnp() -> &'static CStr {
    pcsc::PNP_NOTIFICATION()
}

fn states(names: &[CString]) -> Vec<pcsc::ReaderState> {
    let state = |name: &CString| pcsc::ReaderState::new(name.clone(), pcsc::State::UNAWARE);
    names.iter().map(state).collect()
}

fn reader(state: &pcsc::ReaderState) -> Reader {
    let present = state.event_state().contains(pcsc::State::PRESENT) && !state.event_state().contains(pcsc::State::MUTE);
    Reader {
        name: state.name().to_string_lossy().into_owned(),
        events: state.event_count(),
        card: present.then(|| contact(state.atr(), None)),
    }
}
