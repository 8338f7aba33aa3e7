//! PINs that are asked for while a prompt stands: typed one after the other, in the order in which they were asked for.

use std::collections::VecDeque;

use super::tty::{HiddenLine, Typed};
use crate::device::pin_form::checked;
use crate::secret::Secret;

/// What spends the last try of a key. A PIN that was typed in its place spends none.
const YES: &[u8] = b"yes";

/// The PIN that is being typed, and those behind it.
#[derive(Default)]
pub struct Entries(VecDeque<Entry>);

struct Entry {
    key: String,
    question: String,
    /// The same behind what was wrong with what was typed for it: with the next question that is gone.
    after: Option<String>,
    /// To be answered first.
    warning: Option<String>,
    line: HiddenLine,
}

/// What the keys came to.
pub enum Entered {
    /// A PIN is not done yet.
    More,
    /// The last try may be spent: the question is the one for the PIN now.
    Yes,
    /// A person says no, or the terminal is gone.
    Denied,
    /// The PIN of this key.
    Pin(String, Secret),
    /// What was typed is no PIN, and went nowhere: it is asked for again, and the question says why.
    NoPin,
}

impl Entries {
    /// Asks for the PIN of `key`. Where that is asked already, as for a card that was lifted and tapped again, the question is the
    /// new one and what was typed stays: a PIN cut in two would cost the key a try that nobody made (P11).
    ///
    /// A `warning` stands first: the PIN is asked for once somebody has answered it with `yes`.
    pub fn ask(&mut self, key: &str, question: String, warning: Option<String>) {
        match self.0.iter_mut().find(|entry| entry.key == key) {
            Some(entry) if entry.warning.is_some() == warning.is_some() => {
                entry.question = question;
                entry.after = None;
            }
            Some(entry) => *entry = Entry::new(key, question, warning),
            None => self.0.push_back(Entry::new(key, question, warning)),
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

    /// Takes back everything: a key was touched, and no PIN is wanted any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The question that stands.
    #[must_use]
    pub fn question(&self) -> Option<&str> {
        self.0
            .front()
            .map(|entry| entry.warning.as_ref().or(entry.after.as_ref()).unwrap_or(&entry.question).as_str())
    }

    /// Takes keys; nothing when no PIN is being typed.
    pub fn push(&mut self, keys: &[u8]) -> Option<Entered> {
        let entry = self.0.front_mut()?;
        let typed = match entry.line.push(keys) {
            Typed::More if !keys.is_empty() => return Some(Entered::More),
            Typed::More | Typed::Stopped => None,
            Typed::Done(typed) => typed.ok(),
        };
        entry.line = HiddenLine::default();
        let entered = match typed {
            None => Entered::Denied,
            Some(typed) if entry.warning.is_some() => {
                if typed.expose() == YES {
                    entry.warning = None;
                    return Some(Entered::Yes);
                }
                Entered::Denied
            }
            Some(typed) => match checked(typed) {
                Ok(pin) => Entered::Pin(entry.key.clone(), pin),
                Err(form) => {
                    // In short: question and all stand in one line.
                    let why = form.to_string();
                    let why = why.split(": ").next().unwrap_or(&why);
                    entry.after = Some(format!("{why}; {}", entry.question));
                    return Some(Entered::NoPin);
                }
            },
        };
        self.0.pop_front();
        Some(entered)
    }
}

impl Entry {
    fn new(key: &str, question: String, warning: Option<String>) -> Self {
        Self {
            key: key.to_owned(),
            question,
            after: None,
            warning,
            line: HiddenLine::default(),
        }
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
        entries.ask("blue", "8 tries: ".into(), None);
        entries.push(b"12");
        entries.gone("blue");
        entries.ask("blue", "7 tries: ".into(), None);
        assert_eq!(entries.question(), Some("7 tries: "));
        assert_eq!(pin(entries.push(b"34\n")), Some(("blue".into(), b"1234".to_vec())));
        assert!(entries.question().is_none() && entries.push(b"d").is_none());
    }

    #[test]
    fn t57_a_second_keys_question_waits_until_the_first_is_answered() {
        let mut entries = Entries::default();
        entries.ask("blue", "blue: ".into(), None);
        entries.push(b"12");
        entries.ask("spare", "spare: ".into(), None);
        entries.ask("third", "third: ".into(), None);
        entries.gone("spare");
        assert_eq!(pin(entries.push(b"34\n")), Some(("blue".into(), b"1234".to_vec())));
        assert_eq!(entries.question(), Some("third: "));
        assert!(matches!(entries.push(b"\x03"), Some(Entered::Denied)));
        assert!(entries.question().is_none());
    }

    #[test]
    fn a_pin_that_was_typed_on_another_screen_is_not_asked_for_any_more() {
        let mut entries = Entries::default();
        entries.ask("blue", "blue: ".into(), None);
        entries.push(b"12");
        entries.ask("spare", "spare: ".into(), None);
        entries.given("blue");
        assert_eq!(entries.question(), Some("spare: "));
    }

    #[test]
    fn t57_what_is_no_pin_is_asked_for_again_and_goes_nowhere() {
        let mut entries = Entries::default();
        entries.ask("blue", "blue: ".into(), None);
        for (typed, why) in [("\n", "no PIN was typed"), ("123\n", "a PIN has 4 characters or more")] {
            assert!(matches!(entries.push(typed.as_bytes()), Some(Entered::NoPin)));
            assert_eq!(entries.question(), Some(format!("{why}; blue: ").as_str()));
        }
        // What stands there is about what was typed last, and nothing of it stays.
        entries.ask("blue", "wrong PIN; blue: ".into(), None);
        assert_eq!(entries.question(), Some("wrong PIN; blue: "));
        assert_eq!(pin(entries.push(b"1234\n")), Some(("blue".into(), b"1234".to_vec())));
    }

    #[test]
    fn a_terminal_that_is_gone_is_a_no() {
        let mut entries = Entries::default();
        entries.ask("blue", "blue: ".into(), None);
        assert!(matches!(entries.push(b""), Some(Entered::Denied)));
    }

    #[test]
    fn t57_the_last_try_is_spent_by_a_yes_and_not_by_a_pin_typed_in_its_place() {
        let mut entries = Entries::default();
        entries.ask("blue", "blue: ".into(), Some("the last? ".into()));
        assert_eq!(entries.question(), Some("the last? "));
        assert!(matches!(entries.push(b"1234\n"), Some(Entered::Denied)));
        assert_eq!(entries.question(), None);
        entries.ask("blue", "blue: ".into(), Some("the last? ".into()));
        assert!(matches!(entries.push(b"yes\n"), Some(Entered::Yes)));
        assert_eq!(entries.question(), Some("blue: "));
        assert_eq!(pin(entries.push(b"1234\n")), Some(("blue".into(), b"1234".to_vec())));
    }

    #[test]
    fn t57_what_is_typed_while_the_tries_run_down_to_the_last_answers_nothing() {
        let mut entries = Entries::default();
        entries.ask("blue", "2 tries: ".into(), None);
        entries.push(b"ye");
        entries.ask("blue", "1 try: ".into(), Some("the last? ".into()));
        assert!(matches!(entries.push(b"s\n"), Some(Entered::Denied)));
    }
}
