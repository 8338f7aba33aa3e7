//! The recovery code: 160 bits on paper, which open every scope when no key is left.

use data_encoding::{Encoding, Specification};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::encoding::{Digest, sshsig::Point};

use super::bytes::Hex;
use super::crypto::{derive, label};
use super::random::{self, Random};
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

/// The recovery code of a vault, wiped when dropped. Printed once, kept by nobody but the person.
pub struct RecoveryCode(Zeroizing<[u8; LEN]>);

/// Why a text is not a recovery code.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CodeError {
    /// Characters are missing or too many.
    #[error("a recovery code has {expected} letters and digits; this one has {found}", expected = BODY + CHECK)]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A character that no code has.
    #[error("{0:?} is in no recovery code")]
    Character(char),
    /// The checksum is another one: a character was misread or mistyped.
    #[error("the recovery code has a typo in it: its checksum does not fit")]
    Typo,
}

impl RecoveryCode {
    /// A fresh code.
    pub fn generate(random: &mut Random) -> Self {
        Self(Zeroizing::new(random::bytes(random)))
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
        for c in text.chars().filter(|c| *c != '-' && !c.is_whitespace()) {
            plain.push(read(c).ok_or(CodeError::Character(c))?);
        }
        if plain.len() != BODY + CHECK {
            return Err(CodeError::Length { found: plain.len() });
        }
        let (body, check) = plain.split_at(BODY);
        let mut code = Zeroizing::new([0; LEN]);
        base32()
            .decode_mut(body.as_bytes(), code.as_mut_slice())
            .map_err(|_| CodeError::Typo)?;
        if checksum(&code).into_iter().eq(check.chars()) {
            Ok(Self(code))
        } else {
            Err(CodeError::Typo)
        }
    }

    /// The pair that the code stands for in `vault`: RFC 9180, 7.1.3, DeriveKeyPair over HKDF(code, vault id, "touchlease v1 recovery").
    #[must_use]
    pub fn key_pair(&self, vault: &Digest) -> (Private, Point) {
        let ikm = derive(self.0.as_slice(), &vault.0, &label("recovery", &[&vault.0]));
        Private::derive(ikm.as_slice())
    }
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
        RecoveryCode(Zeroizing::new(std::array::from_fn(|i| i as u8 * 13)))
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
    fn every_single_wrong_character_and_every_swap_of_neighbours_is_noticed() {
        let text: Vec<char> = code().to_text().replace('-', "").chars().collect();
        for i in 0..text.len() {
            for c in ALPHABET.iter().map(|b| char::from(*b)).filter(|c| *c != text[i]) {
                let mut wrong = text.clone();
                wrong[i] = c;
                let wrong: String = wrong.into_iter().collect();
                assert_eq!(RecoveryCode::parse(&wrong).err(), Some(CodeError::Typo), "{i} {c}");
            }
            if i > 0 && text[i] != text[i - 1] {
                let mut wrong = text.clone();
                wrong.swap(i, i - 1);
                assert_eq!(
                    RecoveryCode::parse(&wrong.into_iter().collect::<String>()).err(),
                    Some(CodeError::Typo)
                );
            }
        }
    }

    #[test]
    fn missing_characters_and_foreign_ones_are_named() {
        assert_eq!(RecoveryCode::parse("ABCD-EFGH").err(), Some(CodeError::Length { found: 8 }));
        assert_eq!(RecoveryCode::parse("ABCD-UFGH").err(), Some(CodeError::Character('U')));
        assert_eq!(RecoveryCode::parse("").err(), Some(CodeError::Length { found: 0 }));
    }

    #[test]
    fn the_pair_depends_on_code_and_vault() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(code().key_pair(&a).1, code().key_pair(&a).1);
        assert_ne!(code().key_pair(&a).1, code().key_pair(&b).1);
    }
}
