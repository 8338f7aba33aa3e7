//! PINs that are asked for while a prompt stands: typed one after the other, in the order in which they were asked for.

use std::collections::VecDeque;

use super::tty::{HiddenLine, Typed};
use crate::secret::Secret;

/// The PIN that is being typed, and those behind it.
#[derive(Default)]
pub struct Entries(VecDeque<Entry>);

struct Entry {
    key: String,
    question: String,
    line: HiddenLine,
}

/// What the keys came to.
pub enum Entered {
    /// A PIN is not done yet.
    More,
    /// A person says no, or the terminal is gone.
    Denied,
    /// The PIN of this key.
    Pin(String, Secret),
}

impl Entries {
    /// Asks for the PIN of `key`. Where that is asked already, as for a card that was lifted and tapped again, the question is the
    /// new one and what was typed stays: a PIN cut in two would cost the key a try that nobody made (P11).
    pub fn ask(&mut self, key: &str, question: String) {
        match self.0.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.question = question,
            None => self.0.push_back(Entry {
                key: key.to_owned(),
                question,
                line: HiddenLine::default(),
            }),
        }
    }

    /// Takes back what is asked for a key that went away, but for the question that stands: it may be half answered, and the rest
    /// must not go to another key (T57).
    pub fn gone(&mut self, key: &str) {
        let mut stands = true;
        self.0.retain(|entry| std::mem::take(&mut stands) || entry.key != key);
    }

    /// Takes back what is asked for a key that has its PIN by now: what was typed of it here is wiped.
    pub fn given(&mut self, key: &str) {
        self.0.retain(|entry| entry.key != key);
    }

    /// The question that stands.
    #[must_use]
    pub fn question(&self) -> Option<&str> {
        self.0.front().map(|entry| entry.question.as_str())
    }

    /// Takes keys; nothing when no PIN is being typed.
    pub fn push(&mut self, keys: &[u8]) -> Option<Entered> {
        let typed = match self.0.front_mut()?.line.push(keys) {
            Typed::More if !keys.is_empty() => return Some(Entered::More),
            Typed::More | Typed::Stopped => None,
            Typed::Done(secret) => secret.ok().filter(|pin| !pin.is_empty()),
        };
        let entry = self.0.pop_front()?;
        Some(typed.map_or(Entered::Denied, |pin| Entered::Pin(entry.key, pin)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(entered: Option<Entered>) -> Option<(String, Vec<u8>)> {
        match entered {
            Some(Entered::Pin(key, pin)) => Some((key, pin.expose().to_vec())),
            _ => None,
        }
    }

    #[test]
    fn t57_a_pin_asked_for_again_while_it_is_typed_is_typed_on() {
        let mut entries = Entries::default();
        entries.ask("blue", "8 tries: ".into());
        entries.push(b"12");
        entries.gone("blue");
        entries.ask("blue", "7 tries: ".into());
        assert_eq!(entries.question(), Some("7 tries: "));
        assert_eq!(pin(entries.push(b"34\n")), Some(("blue".into(), b"1234".to_vec())));
        assert!(entries.question().is_none() && entries.push(b"d").is_none());
    }

    #[test]
    fn t57_a_second_keys_question_waits_until_the_first_is_answered() {
        let mut entries = Entries::default();
        entries.ask("blue", "blue: ".into());
        entries.push(b"12");
        entries.ask("spare", "spare: ".into());
        entries.ask("third", "third: ".into());
        entries.gone("spare");
        assert_eq!(pin(entries.push(b"34\n")), Some(("blue".into(), b"1234".to_vec())));
        assert_eq!(entries.question(), Some("third: "));
        assert!(matches!(entries.push(b"\x03"), Some(Entered::Denied)));
        assert!(entries.question().is_none());
    }

    #[test]
    fn a_pin_that_was_typed_on_another_screen_is_not_asked_for_any_more() {
        let mut entries = Entries::default();
        entries.ask("blue", "blue: ".into());
        entries.push(b"12");
        entries.ask("spare", "spare: ".into());
        entries.given("blue");
        assert_eq!(entries.question(), Some("spare: "));
    }

    #[test]
    fn no_pin_at_all_and_a_terminal_that_is_gone_are_a_no() {
        for keys in [&b"\n"[..], b""] {
            let mut entries = Entries::default();
            entries.ask("blue", "blue: ".into());
            assert!(matches!(entries.push(keys), Some(Entered::Denied)));
        }
    }
}
