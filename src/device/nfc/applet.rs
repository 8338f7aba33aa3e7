//! The FIDO applet behind APDUs (CTAP 2.1, 11.3; ISO 7816-4): chaining, answers in parts, keepalives. Knows nothing of readers.

use std::time::Duration;

use crate::device::ctap::{Frames, KeepAlive, Transport, TransportError, Watch};
use crate::device::enrolled::Link;

/// SELECT of the FIDO applet, A0000006472F0001 (11.3.3).
const SELECT: &[u8] = &[0x00, 0xA4, 0x04, 0x00, 0x08, 0xA0, 0x00, 0x00, 0x06, 0x47, 0x2F, 0x00, 0x01, 0x00];
/// NFCCTAP_MSG (11.3.7.1); P1 0x80 says that we understand NFCCTAP_GETRESPONSE.
const MSG: [u8; 4] = [0x80, 0x10, 0x80, 0x00];
/// NFCCTAP_GETRESPONSE (11.3.7.2).
const GET_KEEPALIVE: &[u8] = &[0x80, 0x11, 0x00, 0x00, 0x00];
/// The same with P1 0x11: cancel.
const CANCEL: &[u8] = &[0x80, 0x11, 0x11, 0x00, 0x00];
/// Payload of a short command APDU, a little under the 255 that are allowed: some readers count their own bytes in.
const SHARE: usize = 240;
/// Longest answer put together: as long as a CTAPHID message.
const LONGEST: usize = 7609;
/// Pause between looks at a card that is still working.
const PAUSE: Duration = Duration::from_millis(50);
/// How many of these a cancelled card may take to stop: half a second.
const DRAIN: u32 = 10;

const OK: u16 = 0x9000;
const WORKING: u16 = 0x9100;
/// Chaining is not supported (ISO 7816-4, 5.6), last command of a chain expected, or the class is not known.
const NO_CHAINING: [u16; 3] = [0x6884, 0x6883, 0x6E00];

/// How a card is reached, which decides what counts as a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// In a slot, or a key's own smart-card interface on USB: the touch is a real one.
    Slot,
    /// In a field: presence is a power-up.
    Field,
}

impl From<Contact> for Link {
    fn from(contact: Contact) -> Self {
        match contact {
            Contact::Slot => Self::Contact,
            Contact::Field => Self::Contactless,
        }
    }
}

/// Exchanges one APDU.
pub trait Apdu {
    /// Sends a command APDU and returns the response APDU.
    ///
    /// # Errors
    /// `PulledOut` and whatever PC/SC says.
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, TransportError>;
}

/// One FIDO applet behind APDUs.
pub struct Nfc<C> {
    card: C,
    /// In a slot nothing else says when the touch is waited for: many cards send no keepalives there.
    announces_touch: bool,
    extended: bool,
    frames: Frames,
    pause: Duration,
}

impl<C: Apdu> Nfc<C> {
    /// Selects the FIDO applet.
    ///
    /// # Errors
    /// `NotFido` when there is none.
    pub fn select(card: C, contact: Contact) -> Result<Self, TransportError> {
        let mut nfc = Self {
            card,
            announces_touch: contact == Contact::Slot,
            extended: false,
            frames: Frames::default(),
            pause: PAUSE,
        };
        let (version, status) = nfc.whole(SELECT)?;
        if status == OK && [&b"U2F_V2"[..], b"FIDO_2_0"].contains(&version.as_slice()) {
            Ok(nfc)
        } else {
            Err(TransportError::NotFido)
        }
    }

    /// The same with another pause between looks at a card that is still working.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    fn transmit(&mut self, command: &[u8]) -> Result<(Vec<u8>, u16), TransportError> {
        self.frames.sent += 1;
        let mut answer = self.card.transmit(command)?;
        self.frames.received += 1;
        // A card pulled out in the middle gives success and nothing.
        let Some((data, status)) = answer.split_last_chunk() else {
            return Err(TransportError::PulledOut);
        };
        let (len, status) = (data.len(), u16::from_be_bytes(*status));
        answer.truncate(len);
        Ok((answer, status))
    }

    /// Sends one APDU and collects its answer over GET RESPONSE (ISO 7816-4, 5.3.4).
    fn whole(&mut self, command: &[u8]) -> Result<(Vec<u8>, u16), TransportError> {
        let (mut data, mut status) = self.transmit(command)?;
        while let [0x61, more] = status.to_be_bytes() {
            let (next, last) = self.transmit(&[command[0] & !0x10, 0xC0, 0x00, 0x00, more])?;
            if next.is_empty() && last.to_be_bytes()[0] == 0x61 || data.len() + next.len() > LONGEST {
                return Err(TransportError::Protocol("an answer without an end"));
            }
            data.extend(next);
            status = last;
        }
        Ok((data, status))
    }

    fn send(&mut self, message: &[u8]) -> Result<(Vec<u8>, u16), TransportError> {
        if self.extended {
            return self.whole(&extended(message)?);
        }
        // Short APDUs, chained: every reader passes them; extended ones stop at many.
        let shares: Vec<_> = message.chunks(SHARE).collect();
        let Some((last, chained)) = shares.split_last() else {
            return Err(TransportError::Protocol("an empty message"));
        };
        for share in chained {
            let (_, status) = self.transmit(&short(share, true))?;
            if NO_CHAINING.contains(&status) {
                self.extended = true;
                return self.whole(&extended(message)?);
            }
            if status != OK {
                return Err(TransportError::Protocol("a chained command was refused"));
            }
        }
        self.whole(&short(last, false))
    }
}

impl<C: Apdu> Transport for Nfc<C> {
    fn cbor(&mut self, message: &[u8], watch: &mut dyn Watch) -> Result<Vec<u8>, TransportError> {
        if watch.cancelled() {
            return Err(TransportError::Cancelled);
        }
        if self.announces_touch && waits_for_touch(message) {
            watch.keepalive(KeepAlive::UpNeeded);
        }
        let (mut data, mut status) = self.send(message)?;
        let mut drained = 0;
        while status == WORKING {
            watch.keepalive(match data.first() {
                Some(2) => KeepAlive::UpNeeded,
                _ => KeepAlive::Processing,
            });
            std::thread::sleep(self.pause);
            let command = if drained > 0 || watch.cancelled() {
                drained += 1;
                if drained == 1 { CANCEL } else { GET_KEEPALIVE }
            } else {
                GET_KEEPALIVE
            };
            if drained > DRAIN {
                return Err(TransportError::Cancelled);
            }
            (data, status) = self.whole(command)?;
        }
        if status == OK {
            Ok(data)
        } else {
            Err(TransportError::Protocol("the card answers with an error status"))
        }
    }

    fn frames(&self) -> Frames {
        self.frames
    }
}

/// Tells a card in a field by its ATR, which the reader makes up: 3B 8n 80 01 (PC/SC part 3, 3.1.3.2.3), or by the reader's own word
/// (type 5 and up are fields; PC/SC part 3, SCARD_ATTR_ICC_TYPE_PER_ATR).
#[must_use]
pub fn contact(atr: &[u8], kind: Option<&[u8]>) -> Contact {
    let by_atr = matches!(atr, [0x3B, n, 0x80, 0x01, ..] if n & 0xF0 == 0x80);
    let by_reader = matches!(kind, Some([5..=7, ..]));
    if by_atr || by_reader { Contact::Field } else { Contact::Slot }
}

/// What an empty reader is for, by its name: PC/SC does not say before there is a card. Good for words only.
#[must_use]
pub fn contact_by_name(reader: &str) -> Contact {
    let name = reader.to_lowercase();
    let words = ["contactless", "picc", "nfc", "rfid", "felica", "pasori"];
    let is_field = words.iter().any(|word| name.contains(word)) || name.split([' ', '-']).any(|word| word == "cl");
    if is_field { Contact::Field } else { Contact::Slot }
}

/// makeCredential, and getAssertion without `up: false`, which is the only option ever sent: A1 62 'u' 'p' F4.
fn waits_for_touch(message: &[u8]) -> bool {
    const SILENT: &[u8] = &[0x05, 0xA1, 0x62, b'u', b'p', 0xF4];
    match message.first() {
        Some(1) => true,
        Some(2) => !message.windows(SILENT.len()).any(|w| w == SILENT),
        _ => false,
    }
}

fn short(share: &[u8], chained: bool) -> Vec<u8> {
    let mut apdu = MSG.to_vec();
    apdu[0] |= if chained { 0x10 } else { 0 };
    // Fits: a share has at most 240 bytes.
    apdu.push(share.len().to_le_bytes()[0]);
    apdu.extend(share);
    if !chained {
        apdu.push(0);
    }
    apdu
}

fn extended(message: &[u8]) -> Result<Vec<u8>, TransportError> {
    let len = u16::try_from(message.len()).map_err(|_| TransportError::Protocol("a message too long to send"))?;
    let mut apdu = MSG.to_vec();
    apdu.push(0);
    apdu.extend(len.to_be_bytes());
    apdu.extend(message);
    apdu.extend([0, 0]);
    Ok(apdu)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::VecDeque;
    use std::os::fd::BorrowedFd;

    use super::*;

    /// A card that answers one thing after the other, and keeps what it was sent.
    #[derive(Default)]
    struct Script {
        answers: VecDeque<Vec<u8>>,
        heard: Vec<Vec<u8>>,
    }

    impl Apdu for Script {
        fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, TransportError> {
            self.heard.push(command.to_vec());
            self.answers.pop_front().ok_or(TransportError::Silent)
        }
    }

    #[derive(Default)]
    struct Seen {
        touches: u32,
        cancel: bool,
    }

    impl Watch for Seen {
        fn keepalive(&mut self, status: KeepAlive) {
            self.touches += u32::from(status == KeepAlive::UpNeeded);
        }

        fn another_program(&mut self) {}

        fn cancelled(&mut self) -> bool {
            self.cancel && self.touches > 0
        }

        fn wake(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }

    fn nfc(answers: &[&[u8]]) -> Nfc<Script> {
        let select: &[u8] = b"FIDO_2_0\x90\x00";
        let answers = [&[select], answers].concat().iter().map(|a| a.to_vec()).collect();
        Nfc::select(Script { answers, heard: vec![] }, Contact::Field).unwrap()
    }

    #[test]
    fn a_short_message_is_one_apdu_and_its_long_answer_is_collected() {
        let mut nfc = nfc(&[&[0, 1, 2, 0x61, 0x02], &[3, 4, 0x90, 0]]);
        assert_eq!(nfc.cbor(&[4], &mut Seen::default()).unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(nfc.card.heard[1], [0x80, 0x10, 0x80, 0, 1, 4, 0]);
        assert_eq!(nfc.card.heard[2], [0x80, 0xC0, 0, 0, 2]);
        assert_eq!(nfc.frames(), Frames { sent: 3, received: 3 });
    }

    #[test]
    fn a_long_message_is_chained_and_extended_where_the_card_cannot_chain() {
        let message = [2; 500];
        let mut chains = nfc(&[&[0x90, 0], &[0x90, 0], &[0, 0x90, 0]]);
        assert_eq!(chains.cbor(&message, &mut Seen::default()).unwrap(), [0]);
        let heads: Vec<_> = chains.card.heard[1..].iter().map(|a| (a[0], usize::from(a[4]))).collect();
        assert_eq!(heads, [(0x90, 240), (0x90, 240), (0x80, 20)]);
        let mut plain = nfc(&[&[0x68, 0x84], &[0, 0x90, 0]]);
        assert_eq!(plain.cbor(&message, &mut Seen::default()).unwrap(), [0]);
        assert_eq!(plain.card.heard[2][..7], [0x80, 0x10, 0x80, 0, 0, 1, 244]);
        assert_eq!(plain.card.heard[2].len(), 7 + 500 + 2);
    }

    #[test]
    fn keepalives_are_reported_and_the_last_answer_counts() {
        let mut nfc = nfc(&[&[2, 0x91, 0], &[1, 0x91, 0], &[2, 0x91, 0], &[0, 9, 0x90, 0]]);
        let mut seen = Seen::default();
        assert_eq!(nfc.cbor(&[2], &mut seen).unwrap(), [0, 9]);
        assert_eq!(seen.touches, 2);
        assert_eq!(nfc.card.heard[2], GET_KEEPALIVE);
    }

    #[test]
    fn a_working_card_is_told_to_cancel_and_left_after_half_a_second() {
        let mut seen = Seen {
            cancel: true,
            ..Seen::default()
        };
        let mut stops = nfc(&[&[2, 0x91, 0], &[0x2D, 0x90, 0]]);
        assert_eq!(stops.cbor(&[2], &mut seen).unwrap(), [0x2D]);
        assert_eq!(stops.card.heard[2], CANCEL);
        let on_and_on: Vec<&[u8]> = vec![&[2, 0x91, 0]; 30];
        let mut seen = Seen {
            cancel: true,
            ..Seen::default()
        };
        assert_eq!(nfc(&on_and_on).cbor(&[2], &mut seen), Err(TransportError::Cancelled));
    }

    #[test]
    fn t56_an_empty_or_cut_response_is_a_card_pulled_out() {
        for answer in [&[][..], &[0x90]] {
            assert_eq!(nfc(&[answer]).cbor(&[4], &mut Seen::default()), Err(TransportError::PulledOut));
        }
        assert_eq!(
            nfc(&[&[1, 0x61, 9], &[]]).cbor(&[4], &mut Seen::default()),
            Err(TransportError::PulledOut)
        );
    }

    #[test]
    fn t58_an_answer_without_an_end_is_an_error() {
        let endless: Vec<&[u8]> = vec![&[0x61, 0]; 3];
        assert!(matches!(
            nfc(&endless).cbor(&[4], &mut Seen::default()),
            Err(TransportError::Protocol(_))
        ));
        let mut chunk = vec![0; 256];
        chunk.extend([0x61, 0]);
        let long: Vec<&[u8]> = vec![&chunk; 40];
        assert!(matches!(
            nfc(&long).cbor(&[4], &mut Seen::default()),
            Err(TransportError::Protocol(_))
        ));
    }

    #[test]
    fn a_card_without_the_applet_is_no_fido_key() {
        let script = Script {
            answers: VecDeque::from([vec![0x6A, 0x82]]),
            heard: vec![],
        };
        assert_eq!(Nfc::select(script, Contact::Slot).err(), Some(TransportError::NotFido));
    }

    #[test]
    fn fields_are_told_from_slots_by_the_atr_and_the_reader() {
        let yubikey_nfc = [0x3B, 0x8D, 0x80, 0x01, 0x80, 0x73, 0xC0];
        let yubikey_usb = [0x3B, 0xFD, 0x13, 0x00, 0x00, 0x81, 0x31, 0xFE];
        assert_eq!(contact(&yubikey_nfc, None), Contact::Field);
        assert_eq!(contact(&yubikey_usb, None), Contact::Slot);
        assert_eq!(contact(&yubikey_usb, Some(&[5])), Contact::Field);
        assert_eq!(contact(&[], Some(&[1])), Contact::Slot);
    }

    #[test]
    fn in_a_slot_the_touch_is_announced_for_what_waits_for_one() {
        assert!(waits_for_touch(&[1]));
        assert!(waits_for_touch(&[2, 0xA0]));
        assert!(!waits_for_touch(&[2, 0xA1, 5, 0xA1, 0x62, b'u', b'p', 0xF4]));
        assert!(!waits_for_touch(&[6]));
    }
}
