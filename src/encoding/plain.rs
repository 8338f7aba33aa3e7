//! Text that a person is asked to trust: what may stand in it.

use std::fmt::Display;

use thiserror::Error;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Longest name of a scope, secret, task or key, in bytes.
pub const LONGEST_NAME: usize = 128;

/// Why a text is refused. Refused, never repaired: what is shown must be what was asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PlainError {
    /// Nothing there.
    #[error("{what} is empty")]
    Empty {
        /// What the text is for.
        what: &'static str,
    },
    /// Longer than a screen can show honestly.
    #[error("{what} has {len} bytes; {limit} are allowed")]
    Long {
        /// What the text is for.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Control, bidirectional, zero-width and other invisible characters: they make a screen show what is not there.
    #[error("{what} has the character U+{code:04X} in it, which a screen would not show as it is")]
    Invisible {
        /// What the text is for.
        what: &'static str,
        /// The code point.
        code: u32,
    },
    /// A character that means something to a path, a shell or a reference.
    #[error("{what} may not have {character:?} there")]
    Character {
        /// What the text is for.
        what: &'static str,
        /// The character.
        character: char,
    },
    /// Not in Unicode's Normalization Form C (UAX #15): two names that look the same would be two.
    #[error("{what} is spelled in a way that looks like another name; in composed form (Unicode NFC) it is {composed}")]
    Decomposed {
        /// What the text is for.
        what: &'static str,
        /// The same name in the form that is accepted.
        composed: String,
    },
}

/// `1 secret`, `3 secrets`, `2 tries`.
#[must_use]
pub fn count<N: Display + PartialEq + From<u8>>(n: N, one: &str) -> String {
    match one.strip_suffix('y') {
        _ if n == N::from(1) => format!("{n} {one}"),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{n} {stem}ies"),
        _ => format!("{n} {one}s"),
    }
}

/// Accepts one line of visible text of at most `limit` bytes.
///
/// # Errors
/// See [`PlainError`].
pub fn check_line(what: &'static str, text: &str, limit: usize) -> Result<(), PlainError> {
    if text.len() > limit {
        return Err(PlainError::Long {
            what,
            len: text.len(),
            limit,
        });
    }
    match text.chars().find(|c| is_invisible(*c)) {
        Some(c) => Err(PlainError::Invisible { what, code: u32::from(c) }),
        None => Ok(()),
    }
}

/// Accepts a name: letters, digits and marks of any script, and `_ - . + @ =`, in Normalization Form C. In front only letters,
/// digits and `_`.
///
/// # Errors
/// See [`PlainError`].
pub fn check_name(what: &'static str, name: &str) -> Result<(), PlainError> {
    check_line(what, name, LONGEST_NAME)?;
    let first = name.chars().next().ok_or(PlainError::Empty { what })?;
    // A leading dash is an option to a program, a leading dot a hidden file or a way up; a leading mark would stand on the slash.
    if !is_word(first) || is_mark(first) {
        return Err(PlainError::Character { what, character: first });
    }
    if let Some(character) = name.chars().find(|c| !is_in_names(*c)) {
        return Err(PlainError::Character { what, character });
    }
    if is_nfc(name) {
        return Ok(());
    }
    let composed = name.nfc().collect();
    Err(PlainError::Decomposed { what, composed })
}

/// A name near to `text` that [`check_name`] accepts, where there is one: composed, and with `_` for each run of characters that
/// names may not have.
#[must_use]
pub fn nearest_name(text: &str) -> Option<String> {
    if check_name("the name", text).is_ok() {
        return Some(text.to_owned());
    }
    let mut name = String::new();
    for c in text.nfc().skip_while(|c| !is_word(*c) || is_mark(*c)) {
        match c {
            c if is_in_names(c) && !is_invisible(c) => name.push(c),
            _ if name.ends_with('_') => {}
            _ => name.push('_'),
        }
    }
    while name.len() > LONGEST_NAME {
        name.pop();
    }
    let name: String = name.trim_end_matches('_').nfc().collect();
    check_name("the name", &name).is_ok().then_some(name)
}

/// Accepts the name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*` (POSIX, Base Definitions, 8.1).
///
/// # Errors
/// See [`PlainError`].
pub fn check_variable(name: &str) -> Result<(), PlainError> {
    let what = "the variable's name";
    check_name(what, name)?;
    let bad = |(i, c): (usize, char)| (!c.is_ascii_alphanumeric() && c != '_' || i == 0 && c.is_ascii_digit()).then_some(c);
    match name.chars().enumerate().find_map(bad) {
        Some(character) => Err(PlainError::Character { what, character }),
        None => Ok(()),
    }
}

/// Replaces what may not be shown by `U+XXXX` in angle brackets, for texts that come from the kernel or a device.
#[must_use]
pub fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if is_invisible(c) {
            shown.push_str(&format!("<U+{:04X}>", u32::from(c)));
        } else {
            shown.push(c);
        }
        shown
    })
}

/// A text as a shell takes it for one word: quoted where it needs to be.
#[must_use]
pub fn shell_word(text: &str) -> String {
    if !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "/._-+=@:%,".contains(c)) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn is_invisible(c: char) -> bool {
    // Every name of the index is looked at, and most are ASCII, where the tables say this.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    by_category(c)
}

fn by_category(c: char) -> bool {
    // "Other" holds control, format (bidi, zero-width, tags), surrogate, private-use and unassigned characters. The rest that
    // draws nothing is named: variation selectors, the Hangul and Braille blanks, and every space but U+0020.
    c.general_category_group() == GeneralCategoryGroup::Other
        || c.general_category_group() == GeneralCategoryGroup::Separator && c != ' '
        || matches!(
            c,
            '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}' | '\u{2800}' | '\u{3164}' | '\u{FFA0}'
        )
        || matches!(c, '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric() || is_mark(c)
}

fn is_mark(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Mark
}

fn is_in_names(c: char) -> bool {
    is_word(c) || "-.+@=".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t10_ascii_is_shown_or_not_as_its_categories_say() {
        assert!(('\0'..='\u{7f}').all(|c| is_invisible(c) == by_category(c)));
    }

    #[test]
    fn one_of_something_is_not_several() {
        let said = [
            count(1_u32, "secret"),
            count(0_usize, "secret"),
            count(2_u64, "try"),
            count(1_u32, "try"),
            count(3_usize, "way"),
        ];
        assert_eq!(said, ["1 secret", "0 secrets", "2 tries", "1 try", "3 ways"]);
    }

    #[test]
    fn t10_bidi_zero_width_and_escape_characters_are_refused_by_code_point() {
        for c in [
            '\u{202E}',
            '\u{2066}',
            '\u{200B}',
            '\u{200D}',
            '\u{FEFF}',
            '\u{1b}',
            '\0',
            '\u{7f}',
            '\u{9b}',
            '\n',
            '\u{E0041}',
            '\u{2028}',
            '\u{A0}',
            '\u{3164}',
        ] {
            let text = format!("a{c}b");
            assert_eq!(
                check_line("the reason", &text, 100),
                Err(PlainError::Invisible {
                    what: "the reason",
                    code: u32::from(c)
                })
            );
            assert!(!visible(&text).contains(c));
        }
        assert_eq!(check_line("the reason", "Déployer la doc, 你好 (v1.2)", 100), Ok(()));
    }

    #[test]
    fn t10_a_reason_of_10_kb_is_refused() {
        assert!(matches!(
            check_line("the reason", &"a".repeat(10_000), 400),
            Err(PlainError::Long {
                len: 10_000,
                limit: 400,
                ..
            })
        ));
    }

    #[test]
    fn t29_names_with_a_slash_dots_nul_leading_dash_or_semicolon_are_refused() {
        for name in [
            "", "a/b", "..", ".", "../x", "a\0b", "-rf", ".git", "a;b", "a b", "a\\b", "$x", "a*", "a\"b", "~", "%2f", "a:b",
        ] {
            assert!(check_name("the name", name).is_err(), "{name:?}");
        }
        for name in ["prod", "CLOUDFLARE_TOKEN", "a-b.c", "_x", "naïve", "東京", "a@b"] {
            assert_eq!(check_name("the name", name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn two_spellings_of_one_name_are_never_two_names() {
        // Composed and decomposed, the Angstrom sign, Hangul in syllables and in letters, marks in another order.
        for (kept, other) in [
            ("é", "e\u{301}"),
            ("Å", "\u{212B}"),
            ("한", "\u{1112}\u{1161}\u{11AB}"),
            ("q\u{323}\u{307}", "q\u{307}\u{323}"),
        ] {
            assert_eq!(check_name("the name", kept), Ok(()), "{kept:?}");
            let composed = kept.to_owned();
            assert_eq!(
                check_name("the name", other),
                Err(PlainError::Decomposed {
                    what: "the name",
                    composed
                }),
                "{other:?}"
            );
        }
        assert!(check_name("the name", "\u{301}e").is_err());
    }

    #[test]
    fn the_nearest_name_is_one_and_a_name_is_its_own_nearest() {
        for (text, name) in [
            ("e\u{301}cole", "école"),
            ("My Bank (old)", "My_Bank_old"),
            ("  -- GitHub: token!! ", "GitHub_token"),
            ("../../etc", "etc"),
            ("a\u{202e}b", "a_b"),
            ("東京 / 鍵", "東京_鍵"),
            ("CLOUDFLARE_TOKEN", "CLOUDFLARE_TOKEN"),
            ("_x-1.2", "_x-1.2"),
        ] {
            assert_eq!(nearest_name(text).as_deref(), Some(name), "{text:?}");
        }
        assert_eq!(nearest_name("...///"), None);
        assert_eq!(nearest_name(&"é".repeat(100)).map(|name| name.len()), Some(LONGEST_NAME));
    }

    #[test]
    fn variables_are_posix_names() {
        assert!(check_variable("A_1").is_ok());
        for name in ["1A", "A-B", "A=B", "é", ""] {
            assert!(check_variable(name).is_err(), "{name:?}");
        }
    }
}
