//! Another program at a card: commands of its own, over PC/SC.

use std::{error::Error, ffi::CString};

use pcsc::{Context, Disposition, Protocols, Scope, ShareMode};

use crate::rig::Reader;

/// The status of a command that was done.
const DONE: [u8; 2] = [0x90, 0x00];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A connection to the PIV application of the card in a reader; the card is left as it is when it ends.
pub struct Card(Option<pcsc::Card>);

impl Card {
    /// Beside others.
    ///
    /// # Errors
    /// No such reader, no card, no PIV application.
    pub fn connect(reader: Reader) -> Result<Self> {
        let mut card = Self::open(reader, ShareMode::Shared)?;
        card.tell(&[0x00, 0xa4, 0x04, 0x00, 0x05, 0xa0, 0x00, 0x00, 0x03, 0x08])?;
        Ok(card)
    }

    /// For nobody else, as long as it lasts.
    ///
    /// # Errors
    /// No such reader, no card, somebody else has it.
    pub fn hold(reader: Reader) -> Result<Self> {
        Self::open(reader, ShareMode::Exclusive)
    }

    fn open(reader: Reader, mode: ShareMode) -> Result<Self> {
        let context = Context::establish(Scope::User)?;
        let names = context.list_readers_owned()?;
        let is_it = |name: &&CString| name.to_bytes().starts_with(reader.name.as_bytes());
        let name = names.iter().find(is_it).ok_or("no such reader")?;
        Ok(Self(Some(context.connect(name, mode, Protocols::ANY)?)))
    }

    /// CHANGE REFERENCE DATA of the PIN (SP 800-73-4 part 2, 3.2.2).
    ///
    /// # Errors
    /// The old one is wrong.
    pub fn change_pin(&mut self, old: &str, new: &str) -> Result<()> {
        let data = [padded(old.as_bytes()), padded(new.as_bytes())].concat();
        self.tell(&[&[0x00, 0x24, 0x00, 0x80, 16][..], &data].concat()).map(drop)
    }

    /// VERIFY (SP 800-73-4 part 2, 3.2.1).
    ///
    /// # Errors
    /// The PIN is wrong.
    pub fn verify(&mut self, pin: &[u8]) -> Result<()> {
        self.tell(&[&[0x00, 0x20, 0x00, 0x80, 8][..], &padded(pin)].concat()).map(drop)
    }

    /// The management key where the PIN gives it out: tag 89 in 88 of Yubico's object 5FC109, which other cards keep for what is printed on them.
    ///
    /// # Errors
    /// The PIN is wrong; it does not lie there.
    pub fn management_key(&mut self, pin: &str) -> Result<Vec<u8>> {
        self.verify(pin.as_bytes())?;
        let object = self.tell(&[0x00, 0xcb, 0x3f, 0xff, 0x05, 0x5c, 0x03, 0x5f, 0xc1, 0x09])?;
        match object.as_slice() {
            [0x53, _, 0x88, _, 0x89, length, key @ ..] if key.len() == usize::from(*length) => Ok(key.to_vec()),
            _ => Err("no management key there".into()),
        }
    }

    fn tell(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        let mut buffer = [0; 300];
        let card = self.0.as_ref().ok_or("closed")?;
        let answer = card.transmit(command, &mut buffer)?;
        match answer.split_last_chunk() {
            Some((data, status)) if *status == DONE => Ok(data.to_vec()),
            _ => Err(format!("the card says {answer:02x?}").into()),
        }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if let Some(card) = self.0.take() {
            let _ = card.disconnect(Disposition::LeaveCard);
        }
    }
}

/// A PIN as the card takes it (SP 800-73-4 part 1, 2.4.3).
fn padded(pin: &[u8]) -> [u8; 8] {
    let mut padded = [0xff; 8];
    padded.iter_mut().zip(pin).for_each(|(to, from)| *to = *from);
    padded
}
