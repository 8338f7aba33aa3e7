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
/// How long a tapped card is left to answer.
const TAP: Duration = Duration::from_secs(10);
/// What the screen says of a reader once its card is off, and once the tapped card works.
const TAP_NOW: &str = "tap the key on ";
const HOLD: &str = "hold \"";
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

/// Takes the card off its reader and taps it when the screen says so; a PIN is asked for if none is kept.
/// Holds it there until it has answered.
pub(super) fn tap(key: &dyn KeyHandle, screen: &mut Terminal, pin: &str) -> Result<(), Box<dyn Error>> {
    let before = given(key)?;
    retap(key, screen)?;
    let mut since = Instant::now();
    let done = |screen: &Terminal| Ok::<_, ControlError>(screen.unseen().contains(HOLD) && given(key)? != before);
    while !done(screen)? && since.elapsed() < TAP && !screen.has_ended() {
        if asks_for_pin(&screen.unseen()) {
            screen.skip();
            screen.type_in(&format!("{pin}\n"))?;
            since = Instant::now();
        }
        thread::sleep(LOOK);
    }
    screen.skip();
    Ok(())
}

/// Lifts the card, and puts it back when the screen has seen it go.
pub(super) fn retap(key: &dyn KeyHandle, screen: &mut Terminal) -> Result<(), Box<dyn Error>> {
    key.tap()?;
    screen.skip();
    key.pull()?;
    let since = Instant::now();
    while !screen.unseen().contains(TAP_NOW) && since.elapsed() < TAP && !screen.has_ended() {
        thread::sleep(LOOK);
    }
    screen.skip();
    key.plug()?;
    Ok(())
}

fn given(key: &dyn KeyHandle) -> Result<u64, ControlError> {
    Ok(key.counts()?.given)
}

/// The question is the last thing on the screen: nothing is drawn over it.
fn asks_for_pin(text: &str) -> bool {
    text.contains("PIN of \"") && text.ends_with(": ")
}

/// Which key is to be lifted and tapped: the one on the reader that was named last, unless that was done meanwhile. A reader that is
/// empty is named too; a card that lies on its own is what the cases have.
pub(super) fn wanted(text: &str) -> Option<usize> {
    let readers = [rig::CONTACTLESS_READER.name, rig::SECOND_CONTACTLESS_READER.name];
    let last = |what: &str| text.rfind(what);
    let asked = |name: &str| {
        let asked = last(&format!("take the card off {name}"))?;
        (Some(asked) > last(&format!("{TAP_NOW}{name}")) && Some(asked) > last(HOLD)).then_some(asked)
    };
    let asked = readers.map(asked);
    (0..asked.len())
        .filter(|which| asked[*which].is_some())
        .max_by_key(|which| asked[*which])
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
        assert_eq!(wanted(&format!("{line}\rtap the key on Emulated Contactless Reader 00 00")), None);
        assert_eq!(wanted(&format!("{line}\rhold \"blue\" on the reader")), None);
        assert_eq!(wanted(&format!("hold \"blue\" on the reader\r{line}")), Some(0));
    }
}
