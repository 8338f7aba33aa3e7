//! Text that a person is asked to trust: what may stand in it.

use thiserror::Error;
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

/// Accepts a name: letters, digits and marks of any script, and `_ - . + @ =` except in front.
///
/// # Errors
/// See [`PlainError`].
pub fn check_name(what: &'static str, name: &str) -> Result<(), PlainError> {
    check_line(what, name, LONGEST_NAME)?;
    let first = name.chars().next().ok_or(PlainError::Empty { what })?;
    // A leading dash is an option to a program, a leading dot a hidden file or a way up.
    if !is_word(first) {
        return Err(PlainError::Character { what, character: first });
    }
    match name.chars().find(|c| !is_word(*c) && !"-.+@=".contains(*c)) {
        Some(character) => Err(PlainError::Character { what, character }),
        None => Ok(()),
    }
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

fn is_invisible(c: char) -> bool {
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
    c == '_' || c.is_alphanumeric() || c.general_category_group() == GeneralCategoryGroup::Mark
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn variables_are_posix_names() {
        assert!(check_variable("A_1").is_ok());
        for name in ["1A", "A-B", "A=B", "é", ""] {
            assert!(check_variable(name).is_err(), "{name:?}");
        }
    }
}
