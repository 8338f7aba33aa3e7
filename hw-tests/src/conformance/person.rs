//! The person of the cases: does what the screen says.

use std::{
    error::Error,
    thread,
    time::{Duration, Instant},
};

use super::machine::Machine;
use crate::{
    harness::Terminal,
    key::{ControlError, KeyHandle},
    rig,
};

/// Longest ceremony: several taps of a card, each of which pcscd takes seconds to notice.
const LIMIT: Duration = Duration::from_secs(120);
/// The screen redraws a standing invitation every second; one that is drawn after this is meant for the next tap.
const SETTLE: Duration = Duration::from_millis(150);
/// How long a tapped card is left to answer.
const TAP: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

pub(super) fn attend(
    machine: &Machine<'_>,
    screen: &mut Terminal,
    pin: &str,
    enough: &mut dyn FnMut() -> bool,
) -> Result<(), Box<dyn Error>> {
    let finger = |key: &std::sync::Arc<dyn KeyHandle>| if machine.is_contactless() { key.tap() } else { key.grant() };
    machine.keys.iter().try_for_each(finger)?;
    let since = Instant::now();
    while !screen.has_ended() && !enough() {
        if since.elapsed() > LIMIT {
            return Err(format!("it took too long; the screen shows\n{}", screen.output()).into());
        }
        let text = screen.unseen();
        if asks_for_pin(&text) {
            screen.skip();
            screen.type_in(&format!("{pin}\n"))?;
        } else if let Some(which) = wanted(&text).filter(|_| machine.is_contactless()) {
            tap(&*machine.keys[which], screen, pin)?;
        } else {
            thread::sleep(LOOK);
        }
    }
    machine.keys.iter().try_for_each(|key| key.never())?;
    Ok(())
}

/// Takes the card off its reader and taps it; a PIN is forgotten with the card's removal, and asked for again.
pub(super) fn tap(key: &dyn KeyHandle, screen: &mut Terminal, pin: &str) -> Result<(), Box<dyn Error>> {
    let before = given(key)?;
    key.tap()?;
    key.pull()?;
    screen.skip();
    key.plug()?;
    let mut since = Instant::now();
    while given(key)? == before && since.elapsed() < TAP && !screen.has_ended() {
        if asks_for_pin(&screen.unseen()) {
            screen.skip();
            screen.type_in(&format!("{pin}\n"))?;
            since = Instant::now();
        }
        thread::sleep(LOOK);
    }
    thread::sleep(SETTLE);
    screen.skip();
    Ok(())
}

fn given(key: &dyn KeyHandle) -> Result<u64, ControlError> {
    Ok(key.counts()?.given)
}

/// The question is the last thing on the screen: nothing is drawn over it.
fn asks_for_pin(text: &str) -> bool {
    text.contains("PIN of \"") && text.ends_with(": ")
}

/// Which key is to be lifted and tapped: the one on the reader that was named last. A reader that is empty is named too; a card
/// that lies on its own is what the cases have.
fn wanted(text: &str) -> Option<usize> {
    let last = |name: &str| text.rfind(&format!("take the card off {name}"));
    match (last(rig::CONTACTLESS_READER.name), last(rig::SECOND_CONTACTLESS_READER.name)) {
        (None, None) => None,
        (first, second) => Some(usize::from(second > first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_types_a_pin_when_asked_and_taps_the_reader_that_is_named() {
        assert!(asks_for_pin("\u{1b}[2KPIN of \"blue\" (8 tries left): "));
        assert!(!asks_for_pin("type the PIN of \"blue\"\r\n 59 s left   d deny"));
        let line = "take the card off Emulated Contactless Reader 00 00, then tap it again";
        assert_eq!(wanted(line), Some(0));
        assert_eq!(
            wanted(&format!("{line}\rtap the key on Second Contactless Reader 00 00 now")),
            Some(0)
        );
        assert_eq!(wanted(&line.replace("Emulated", "Second")), Some(1));
        assert_eq!(wanted("tap the key on Second Contactless Reader 00 00 now"), None);
    }
}
