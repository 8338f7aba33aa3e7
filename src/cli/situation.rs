//! What a person can do about a prompt now, in one line.

use super::ui::Tone;
use crate::device::error::release;
use crate::encoding::plain::count;
use crate::wire::TouchState;

/// What is said where others write to the vault before what was touched for is begun.
pub const TOUCHED: &str = "touched; it is written once others have written to the vault";

/// Where all keys stand, as far as it was told.
#[derive(Debug, Default)]
pub struct Situation {
    touching: Vec<(String, String)>,
    /// The card that was tapped, and must not be lifted yet.
    held: Option<String>,
    pins: Vec<String>,
    /// A key is to be enrolled and none is there, or several at these places.
    which: Option<Vec<String>>,
    /// The one told last stands last.
    taps: Vec<Tap>,
    /// The key that was not let go of when the last request ended.
    unfinished: Option<String>,
    foreign: Option<String>,
    /// It was touched; and what was touched for is being written.
    touched: Option<Writing>,
    said: Vec<String>,
    /// Places where it is not known yet which key is there.
    looking: u32,
}

/// Where what was touched for stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Waits,
    Begun,
}

/// A reader that waits for a key.
#[derive(Debug)]
struct Tap {
    reader: String,
    insert: bool,
    lift_first: bool,
    /// Its card was just lifted, so that is the key to use.
    lifted: bool,
}

impl Situation {
    /// Takes what was told. Gives a line to be left standing, for what is worth knowing once.
    pub fn update(&mut self, state: &TouchState) -> Option<String> {
        if !matches!(state, TouchState::Waiting) {
            // Whatever else is told, it is of the key that was found.
            self.which = None;
        }
        match state {
            TouchState::Waiting => None,
            TouchState::WhichToEnrol { at } => {
                self.which = Some(at.clone());
                None
            }
            TouchState::TouchNow { key, link, hold } => {
                self.foreign = None;
                self.unfinished.take_if(|name| name == key);
                self.pins.retain(|name| name != key);
                if *hold {
                    self.held = Some(key.clone());
                } else if !self.touching.iter().any(|(name, _)| name == key) {
                    self.touching.push((key.clone(), link.clone()));
                }
                None
            }
            TouchState::TapNow {
                reader,
                insert,
                lift_first,
            } => {
                self.held = None;
                let before = self
                    .taps
                    .iter()
                    .position(|tap| tap.reader == *reader)
                    .map(|at| self.taps.remove(at));
                self.taps.push(Tap {
                    lifted: before.is_some_and(|tap| tap.lift_first),
                    reader: reader.clone(),
                    insert: *insert,
                    lift_first: *lift_first,
                });
                None
            }
            TouchState::PinNeeded { key, .. } => {
                self.pins.push(key.clone());
                None
            }
            TouchState::AnotherProgram { key } => {
                self.foreign = Some(key.clone());
                None
            }
            TouchState::Gone { key } => {
                self.held.take_if(|name| name == key);
                self.unfinished.take_if(|name| name == key);
                self.touching.retain(|(name, _)| name != key);
                self.pins.retain(|name| name != key);
                self.once(format!("\"{key}\" was pulled out"))
            }
            TouchState::Busy { key, by } => {
                let remedy = release(by.as_deref()).map_or_else(String::new, |remedy| format!(": {remedy}"));
                let by = by.as_deref().unwrap_or("another program");
                self.once(format!("\"{key}\" is in use by {by}{remedy}"))
            }
            TouchState::Unfinished { key } => {
                self.unfinished = Some(key.clone());
                self.once(format!(
                    "\"{key}\" still waits for the touch of a request that is over: touch it once, or pull it out"
                ))
            }
            TouchState::Problem { what } => self.once(what.clone()),
            TouchState::Touches { key, touches } => self.once(format!(
                "\"{key}\" is touched {} for this, one after the other",
                count(*touches, "time")
            )),
            TouchState::Looking { places } => {
                self.looking = *places;
                None
            }
            TouchState::StillWaits { key } => {
                self.held.take_if(|name| name == key);
                self.touching.retain(|(name, _)| name != key);
                Some(format!(
                    "do not touch \"{key}\" for 15 s: it cannot be told that nobody waits any more"
                ))
            }
            TouchState::ExtraTouch { key } => Some(format!("\"{key}\" was touched as well; what it gave was wiped")),
            TouchState::CounterBack { key, before, now } => Some(format!(
                "the counter of \"{key}\" went back from {before} to {now}: is there a copy of the key?"
            )),
            TouchState::Touched => {
                self.touched = Some(Writing::Waits);
                None
            }
            TouchState::BeingWritten => {
                self.touched = Some(Writing::Begun);
                None
            }
        }
    }

    /// Whether a key was touched: nothing runs out any more.
    pub fn is_touched(&self) -> bool {
        self.touched.is_some()
    }

    /// Whether what was touched for is being written: nobody can stop it.
    pub fn is_being_written(&self) -> bool {
        self.touched == Some(Writing::Begun)
    }

    /// The PIN of `key` was typed. A card that is tapped answers at once, so nothing else says that it is not asked for any more.
    pub fn pin_typed(&mut self, key: &str) {
        self.pins.retain(|name| name != key);
    }

    /// What to do now; `keys` are those that can serve.
    pub fn line(&self, keys: &[String]) -> (Tone, String) {
        match self.touched {
            Some(Writing::Waits) => return (Tone::Plain, TOUCHED.into()),
            Some(Writing::Begun) => return (Tone::Plain, "touched, being written".into()),
            None => {}
        }
        if let Some(at) = &self.which {
            return (Tone::Act, which_to_enrol(at));
        }
        if let Some(key) = &self.foreign {
            return (Tone::Bad, format!("another program is using \"{key}\": do not touch it"));
        }
        if let Some(key) = &self.held {
            return (Tone::Act, format!("hold \"{key}\" on the reader"));
        }
        match (self.touching.as_slice(), self.pins.first(), self.taps.as_slice()) {
            ([], None, _) if let Some(key) = &self.unfinished => (Tone::Act, format!("touch \"{key}\" once, for the request that is over")),
            ([], Some(key), _) => (Tone::Act, format!("type the PIN of \"{key}\"")),
            ([], None, _) if self.looking > 0 => (Tone::Plain, "looking at what is connected".into()),
            ([], None, []) => (Tone::Plain, format!("plug in {}", quoted(keys))),
            ([], None, taps) => (Tone::Act, invitation(taps, keys)),
            (touching, _, taps) => {
                let names = touching
                    .iter()
                    .map(|(key, link)| format!("\"{key}\" ({link})"))
                    .collect::<Vec<_>>()
                    .join(" or ");
                // Where all that can serve blink already, nothing else is of use.
                let all = keys.iter().all(|key| touching.iter().any(|(name, _)| name == key));
                let tap = if taps.is_empty() || all {
                    ""
                } else {
                    ", or use another key at a reader"
                };
                (Tone::Act, format!("touch {names} now: it blinks{tap}"))
            }
        }
    }

    /// What there is to do, or to leave alone, while a PIN is typed: the key that it is asked for is not the only one.
    pub fn beside_a_pin(&self) -> Option<(Tone, String)> {
        if self.foreign.is_some() || self.held.is_some() {
            return Some(self.line(&[]));
        }
        let names: Vec<_> = self.touching.iter().map(|(key, _)| format!("\"{key}\" (armed)")).collect();
        (!names.is_empty()).then(|| (Tone::Act, format!("touch {}, or type:", names.join(" or "))))
    }

    fn once(&mut self, line: String) -> Option<String> {
        if self.said.contains(&line) {
            return None;
        }
        self.said.push(line.clone());
        Some(line)
    }
}

/// What makes plain which key is to be enrolled.
fn which_to_enrol(at: &[String]) -> String {
    match at {
        [] => "plug in the key to enrol, or put it on a reader".into(),
        several => format!(
            "{} that are not enrolled: leave the one to enrol, take the others away",
            count(several.len(), "key")
        ),
    }
}

/// At the reader where a card lies, or lay; else an empty reader does not say that the key belongs there.
fn invitation(taps: &[Tap], keys: &[String]) -> String {
    if let Some(tap) = taps.iter().rev().find(|tap| tap.lift_first || tap.lifted) {
        return tap.line();
    }
    let here = match taps {
        [only] => only.line(),
        several if several.iter().all(|tap| tap.insert) => "insert the key into a reader".into(),
        several if !several.iter().any(|tap| tap.insert) => "tap the key on a reader".into(),
        _ => "insert the key into a reader, or tap it on one".into(),
    };
    if keys.is_empty() {
        here
    } else {
        format!("{here}, or plug in {}", quoted(keys))
    }
}

impl Tap {
    fn line(&self) -> String {
        let reader = &self.reader;
        match (self.insert, self.lift_first) {
            (true, _) => format!("insert the key into {reader}"),
            (false, true) => format!("take the card off {reader}, then tap it again"),
            (false, false) => format!("tap the key on {reader}"),
        }
    }
}

fn quoted(keys: &[String]) -> String {
    keys.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch_now(key: &str) -> TouchState {
        TouchState::TouchNow {
            key: key.into(),
            link: "USB".into(),
            hold: false,
        }
    }

    #[test]
    fn every_key_that_blinks_is_named() {
        let mut now = Situation::default();
        assert_eq!(now.line(&["blue".into(), "spare".into()]).1, "plug in \"blue\" or \"spare\"");
        now.update(&touch_now("blue"));
        now.update(&touch_now("spare"));
        now.update(&touch_now("spare"));
        assert_eq!(now.line(&[]).1, "touch \"blue\" (USB) or \"spare\" (USB) now: it blinks");
        assert_eq!(
            now.update(&TouchState::Gone { key: "blue".into() }),
            Some("\"blue\" was pulled out".into())
        );
        assert_eq!(now.line(&[]).1, "touch \"spare\" (USB) now: it blinks");
    }

    #[test]
    fn t04_another_programs_request_comes_before_everything() {
        let mut now = Situation::default();
        now.update(&touch_now("blue"));
        now.update(&TouchState::AnotherProgram { key: "blue".into() });
        assert_eq!(
            now.line(&[]),
            (Tone::Bad, "another program is using \"blue\": do not touch it".into())
        );
        now.update(&touch_now("blue"));
        assert_eq!(now.line(&[]).0, Tone::Act);
    }

    #[test]
    fn a_pin_that_was_typed_hides_no_invitation_to_tap() {
        let mut now = Situation::default();
        now.update(&TouchState::PinNeeded {
            key: "blue".into(),
            tries: Some(8),
            wrong: false,
        });
        now.update(&TouchState::TapNow {
            reader: "a reader".into(),
            insert: false,
            lift_first: true,
        });
        assert_eq!(now.line(&[]).1, "type the PIN of \"blue\"");
        now.pin_typed("blue");
        assert_eq!(now.line(&[]).1, "take the card off a reader, then tap it again");
    }

    #[test]
    fn a_key_is_put_into_a_slot_and_tapped_on_a_field() {
        let mut now = Situation::default();
        let mut told = |reader: &str, insert, lift_first| {
            now.update(&TouchState::TapNow {
                reader: reader.into(),
                insert,
                lift_first,
            });
            now.line(&["blue".into()]).1
        };
        assert_eq!(told("R", true, false), "insert the key into R, or plug in \"blue\"");
        assert_eq!(told("R", false, false), "tap the key on R, or plug in \"blue\"");
        assert_eq!(
            told("S", true, false),
            "insert the key into a reader, or tap it on one, or plug in \"blue\""
        );
        assert_eq!(told("R", true, false), "insert the key into a reader, or plug in \"blue\"");
        // A card that lies somewhere is the key that is meant.
        assert_eq!(told("R", false, true), "take the card off R, then tap it again");
        assert_eq!(told("S", true, false), "take the card off R, then tap it again");
        assert_eq!(told("R", false, false), "tap the key on R");
    }

    #[test]
    fn a_card_that_was_tapped_is_to_be_held_until_the_next_tap_is_asked_for() {
        let mut now = Situation::default();
        let tap = |lift_first| TouchState::TapNow {
            reader: "R".into(),
            insert: false,
            lift_first,
        };
        let held = TouchState::TouchNow {
            key: "blue".into(),
            link: "NFC".into(),
            hold: true,
        };
        now.update(&tap(true));
        now.update(&tap(false));
        now.update(&held);
        assert_eq!(now.line(&[]).1, "hold \"blue\" on the reader");
        now.update(&tap(true));
        assert_eq!(now.line(&[]).1, "take the card off R, then tap it again");
        now.update(&held);
        now.update(&TouchState::Gone { key: "blue".into() });
        assert_eq!(now.line(&[]).1, "take the card off R, then tap it again");
    }

    #[test]
    fn what_was_touched_for_is_all_there_is_to_say_from_then_on() {
        let mut now = Situation::default();
        now.update(&touch_now("blue"));
        now.update(&TouchState::Touched);
        assert_eq!((now.line(&[]).1.as_str(), now.is_being_written()), (TOUCHED, false));
        now.update(&TouchState::BeingWritten);
        assert_eq!((now.line(&[]).1.as_str(), now.is_being_written()), ("touched, being written", true));
    }

    #[test]
    fn a_key_that_is_armed_is_named_while_the_pin_of_another_is_typed() {
        let mut now = Situation::default();
        now.update(&TouchState::PinNeeded {
            key: "spare".into(),
            tries: Some(8),
            wrong: false,
        });
        assert_eq!(now.beside_a_pin(), None);
        now.update(&touch_now("blue"));
        assert_eq!(now.beside_a_pin(), Some((Tone::Act, "touch \"blue\" (armed), or type:".into())));
        // T04: and never while another program asks it.
        now.update(&TouchState::AnotherProgram { key: "blue".into() });
        assert_eq!(
            now.beside_a_pin(),
            Some((Tone::Bad, "another program is using \"blue\": do not touch it".into()))
        );
        now.update(&TouchState::Gone { key: "blue".into() });
        now.update(&touch_now("spare"));
        assert_eq!(
            now.beside_a_pin().map(|(_, todo)| todo),
            Some("touch \"spare\" (armed), or type:".into())
        );
    }

    #[test]
    fn a_key_that_waits_for_a_request_that_is_over_is_to_be_touched_once() {
        let mut now = Situation::default();
        let over = TouchState::Unfinished { key: "blue".into() };
        let said = "\"blue\" still waits for the touch of a request that is over: touch it once, or pull it out";
        assert_eq!(now.update(&over).as_deref(), Some(said));
        assert_eq!(now.update(&over), None);
        assert_eq!(now.line(&["blue".into()]).1, "touch \"blue\" once, for the request that is over");
        now.update(&touch_now("blue"));
        assert_eq!(now.line(&[]).1, "touch \"blue\" (USB) now: it blinks");
        now.update(&TouchState::Gone { key: "blue".into() });
        assert_eq!(now.line(&["blue".into()]).1, "plug in \"blue\"");
    }

    #[test]
    fn which_key_is_to_be_enrolled_is_said_until_it_is_plain() {
        let mut now = Situation::default();
        let keys = ["spare".to_owned()];
        now.update(&TouchState::WhichToEnrol { at: vec![] });
        assert_eq!(now.line(&keys).1, "plug in the key to enrol, or put it on a reader");
        now.update(&TouchState::WhichToEnrol {
            at: vec!["/dev/hidraw0".into(), "/dev/hidraw1".into()],
        });
        assert_eq!(
            now.line(&keys).1,
            "2 keys that are not enrolled: leave the one to enrol, take the others away"
        );
        now.update(&touch_now("spare"));
        assert_eq!(now.line(&keys).1, "touch \"spare\" (USB) now: it blinks");
    }

    #[test]
    fn nobody_is_told_to_plug_in_what_may_be_there_already() {
        let mut now = Situation::default();
        now.update(&TouchState::Looking { places: 2 });
        now.update(&TouchState::TapNow {
            reader: "R".into(),
            insert: true,
            lift_first: false,
        });
        assert_eq!(now.line(&["blue".into()]).1, "looking at what is connected");
        now.update(&TouchState::Looking { places: 0 });
        assert_eq!(now.line(&["blue".into()]).1, "insert the key into R, or plug in \"blue\"");
        now.update(&TouchState::Looking { places: 1 });
        now.update(&touch_now("blue"));
        assert!(now.line(&[]).1.starts_with("touch \"blue\" (USB) now"));
    }

    #[test]
    fn a_problem_is_told_once() {
        let mut now = Situation::default();
        let busy = TouchState::Busy {
            key: "blue".into(),
            by: Some("scdaemon".into()),
        };
        let told = now.update(&busy).unwrap_or_default();
        assert!(
            told.starts_with("\"blue\" is in use by scdaemon: gpgconf --kill scdaemon "),
            "{told}"
        );
        assert_eq!(now.update(&busy), None);
        let other = TouchState::Busy {
            key: "blue".into(),
            by: None,
        };
        assert_eq!(now.update(&other), Some("\"blue\" is in use by another program".into()));
    }
}
