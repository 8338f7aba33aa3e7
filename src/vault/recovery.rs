//! The recovery code: 160 bits on paper, which open every scope when no key is left.

use std::collections::BTreeSet;

use data_encoding::{Encoding, Specification};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::encoding::{Digest, sshsig::Point};

use super::bytes::Hex;
use super::crypto::{derive, label};
use super::random::Random;
use super::slot::Private;

/// Bytes of the code: 160 bits.
const LEN: usize = 20;
/// Crockford's base32 without the letters that look like digits, or like each other.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of the code without its checksum, and those of the checksum: 20 bits, one typo in a million is missed.
const BODY: usize = LEN * 8 / 5;
const CHECK: usize = 4;
/// Characters in a group: 36 characters make nine groups of four.
const GROUP: usize = 4;

/// The recovery code of a vault, wiped when dropped. Printed once, kept by nobody but the person. It lies in one place, whoever holds it: a
/// move of the bytes themselves would leave them behind.
pub struct RecoveryCode(Box<Zeroizing<[u8; LEN]>>);

/// Why a text is not a recovery code. Groups count from 1.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CodeError {
    /// Characters are missing or too many.
    #[error("a recovery code has {expected} letters and digits; this one has {found}{}", wrong_group(*.group), expected = BODY + CHECK)]
    Length {
        /// How many there are.
        found: usize,
        /// The first group that is not four long, where the text has groups.
        group: Option<usize>,
    },
    /// A character that no code has.
    #[error("{character:?} in group {group} is in no recovery code")]
    Character {
        /// The character.
        character: char,
        /// Its group.
        group: usize,
    },
    /// The checksum is another one: a character was misread or mistyped.
    #[error("the recovery code has a typo in it: its checksum does not fit{}", likely_group(*.group))]
    Typo {
        /// The only group in which one wrong character, or two swapped, would explain it.
        group: Option<usize>,
    },
}

fn wrong_group(group: Option<usize>) -> String {
    group.map_or_else(String::new, |group| format!("; look at group {group}, each has four"))
}

fn likely_group(group: Option<usize>) -> String {
    group.map_or_else(String::new, |group| format!("; look at group {group}"))
}

impl RecoveryCode {
    /// A fresh code.
    pub fn generate(random: &mut Random) -> Self {
        let mut code = Box::<Zeroizing<[u8; LEN]>>::default();
        random.fill_bytes(code.as_mut_slice());
        Self(code)
    }

    /// As it is printed: nine groups of four characters, the last group the checksum.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let (base32, check) = (base32(), checksum(&self.0));
        let mut plain = Zeroizing::new(String::with_capacity(BODY + CHECK));
        base32.encode_append(self.0.as_slice(), &mut plain);
        plain.extend(check);
        let mut text = Zeroizing::new(String::with_capacity(2 * (BODY + CHECK)));
        for (i, c) in plain.chars().enumerate() {
            if i > 0 && i % GROUP == 0 {
                text.push('-');
            }
            text.push(c);
        }
        text
    }

    /// Reads a code as people write it: any case, O for 0, I and L for 1, hyphens and blanks anywhere.
    ///
    /// # Errors
    /// See [`CodeError`].
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let mut plain = Zeroizing::new(String::with_capacity(text.len()));
        let groups = || {
            text.split(|c: char| c == '-' || c.is_whitespace())
                .filter(|group| !group.is_empty())
        };
        let separated = groups().count() > 1;
        for (n, group) in groups().enumerate() {
            for character in group.chars() {
                let group = if separated { n } else { plain.len() / GROUP } + 1;
                plain.push(read(character).ok_or(CodeError::Character { character, group })?);
            }
        }
        if plain.len() != BODY + CHECK {
            let group = groups().position(|group| group.chars().count() != GROUP).filter(|_| separated);
            return Err(CodeError::Length {
                found: plain.len(),
                group: group.map(|n| n + 1),
            });
        }
        let typo = |plain: &str| CodeError::Typo { group: likely_typo(plain) };
        decode(&plain).map(Self).ok_or_else(|| typo(&plain))
    }

    /// The pair that the code stands for in `vault`: RFC 9180, 7.1.3, DeriveKeyPair over HKDF(code, vault id, "touchlease v1 recovery").
    #[must_use]
    pub fn key_pair(&self, vault: &Digest) -> (Private, Point) {
        let ikm = derive(self.0.as_slice(), &vault.0, &label("recovery", &[&vault.0]));
        Private::derive(ikm.as_slice())
    }
}

/// The code in these characters, if its checksum fits.
fn decode(plain: &str) -> Option<Box<Zeroizing<[u8; LEN]>>> {
    let (body, check) = plain.split_at_checked(BODY)?;
    let mut code = Box::<Zeroizing<[u8; LEN]>>::default();
    base32().decode_mut(body.as_bytes(), code.as_mut_slice()).ok()?;
    checksum(&code).into_iter().eq(check.chars()).then_some(code)
}

/// The group (from 1) in which one other character, or two neighbours swapped, would make the checksum fit, if there is only one. A
/// wrong guess among the thousand tries has one chance in a thousand.
fn likely_typo(plain: &str) -> Option<usize> {
    let fits = |bytes: &[u8]| str::from_utf8(bytes).is_ok_and(|plain| decode(plain).is_some());
    let mut tried = Zeroizing::new(plain.as_bytes().to_vec());
    let mut groups = BTreeSet::new();
    for at in 0..tried.len() {
        let was = tried[at];
        for other in ALPHABET.iter().filter(|other| **other != was) {
            tried[at] = *other;
            groups.extend(fits(&tried).then_some(at / GROUP + 1));
        }
        tried[at] = was;
        if at > 0 {
            tried.swap(at - 1, at);
            groups.extend(fits(&tried).then_some(at / GROUP + 1));
            tried.swap(at - 1, at);
        }
    }
    groups.pop_first().filter(|_| groups.is_empty())
}

fn read(c: char) -> Option<char> {
    let c = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        c => c,
    };
    (c.is_ascii() && ALPHABET.contains(&(c as u8))).then_some(c)
}

/// The first 20 bits of SHA-256 over the label and the code, as four characters.
fn checksum(code: &[u8; LEN]) -> [char; CHECK] {
    let mut text = Zeroizing::new(label("recovery checksum", &[]));
    text.extend(code);
    let digest = Hex(Digest::of(&text).0);
    let bits = u32::from_be_bytes([0, digest.0[0], digest.0[1], digest.0[2]]) >> 4;
    std::array::from_fn(|i| char::from(ALPHABET[(bits >> (15 - 5 * i) & 31) as usize]))
}

fn base32() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str(std::str::from_utf8(ALPHABET).unwrap_or_default());
    // Cannot fail: 32 different ASCII symbols. The fallback has the same length and is caught by every test.
    specification.encoding().unwrap_or(data_encoding::BASE32_NOPAD)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn code() -> RecoveryCode {
        RecoveryCode(Box::new(Zeroizing::new(std::array::from_fn(|i| i as u8 * 13))))
    }

    #[test]
    fn a_code_is_nine_groups_of_four_and_is_read_back() {
        let text = code().to_text();
        assert_eq!(text.split('-').map(str::len).collect::<Vec<_>>(), [4; 9]);
        assert_eq!(RecoveryCode::parse(&text).unwrap().0, code().0);
    }

    #[test]
    fn case_blanks_hyphens_and_look_alikes_are_forgiven() {
        let text = code().to_text();
        let written = format!(" {}\n", text.to_lowercase().replace('0', "o").replace('1', "l").replace('-', " "));
        assert_eq!(RecoveryCode::parse(&written).unwrap().0, code().0);
        assert_eq!(RecoveryCode::parse(&text.replace('1', "I").replace('-', "")).unwrap().0, code().0);
    }

    #[test]
    fn every_wrong_character_and_every_swap_of_neighbours_is_noticed_and_its_group_named() {
        let text: Vec<char> = code().to_text().replace('-', "").chars().collect();
        let (mut tried, mut named) = (0, 0);
        let mut try_one = |wrong: Vec<char>, at: usize| {
            let wrong: String = wrong.into_iter().collect();
            let Some(CodeError::Typo { group }) = RecoveryCode::parse(&wrong).err() else {
                panic!("{wrong} was taken");
            };
            tried += 1;
            // Seldom another group would explain it as well; then none is named, and never a wrong one.
            assert!(group.is_none_or(|group| group == at / GROUP + 1), "{wrong}: {group:?}");
            named += usize::from(group.is_some());
        };
        for at in 0..text.len() {
            // Each is tried with a thousand corrections: a sample of the characters.
            for c in [ALPHABET[at % 32], ALPHABET[(at + 13) % 32]]
                .map(char::from)
                .into_iter()
                .filter(|c| *c != text[at])
            {
                let mut wrong = text.clone();
                wrong[at] = c;
                try_one(wrong, at);
            }
            if at > 0 && text[at] != text[at - 1] {
                let mut wrong = text.clone();
                wrong.swap(at, at - 1);
                try_one(wrong, at);
            }
        }
        assert!(tried > 90 && named * 100 > tried * 95, "{named} of {tried}");
    }

    #[test]
    fn missing_characters_and_foreign_ones_are_named_with_their_group() {
        let length = |found, group| Some(CodeError::Length { found, group });
        assert_eq!(RecoveryCode::parse("ABCD-EFGH").err(), length(8, None));
        assert_eq!(RecoveryCode::parse("").err(), length(0, None));
        let text = code().to_text();
        let short = text.replacen(&text[10..14], &text[10..13], 1);
        assert_eq!(RecoveryCode::parse(&short).err(), length(35, Some(3)));
        let foreign = CodeError::Character { character: 'U', group: 2 };
        assert_eq!(RecoveryCode::parse("ABCD-UFGH").err(), Some(foreign));
        assert_eq!(RecoveryCode::parse("ABCDEUGH").err(), Some(foreign));
        assert_eq!(foreign.to_string(), "'U' in group 2 is in no recovery code");
    }

    #[test]
    fn the_pair_depends_on_code_and_vault() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(code().key_pair(&a).1, code().key_pair(&a).1);
        assert_ne!(code().key_pair(&a).1, code().key_pair(&b).1);
    }
}
