//! Placeholders: what a client has in place of a credential.

use data_encoding::BASE32_NOPAD;

/// In every placeholder.
pub const MARK: &str = "TOUCHLEASE";
/// Random characters behind the mark, at least: 80 bits.
const RANDOM: usize = 16;
/// Beginnings that issuers give to all their tokens, and that client programs look for. They say nothing about a value.
const PREFIXES: &[&str] = &[
    "github_pat_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "glpat-",
    "gldt-",
    "sk-ant-api03-",
    "sk-ant-",
    "sk-proj-",
    "sk-",
    "pk-lf-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "npm_",
    "pypi-",
    "hf_",
    "dop_v1_",
    "dckr_pat_",
    "lin_api_",
    "shpat_",
    "SG.",
    "AIza",
    "ya29.",
    "tskey-",
    "hvs.",
    "atlasv1.",
    "figd_",
    "secret_",
    "ntn_",
    "nvapi-",
    "gsk_",
    "r8_",
    "pat-",
    "vcp_",
];

/// A placeholder for `value`: its publicly known prefix, the mark, random characters up to its length, and at least so many that nobody
/// comes upon it.
///
/// # Errors
/// No randomness.
pub fn make<E>(value: &[u8], random: impl Fn(&mut [u8]) -> Result<(), E>) -> Result<String, E> {
    let prefix = PREFIXES
        .iter()
        .filter(|prefix| value.starts_with(prefix.as_bytes()))
        .max_by_key(|prefix| prefix.len());
    let prefix = prefix.copied().unwrap_or_default();
    let rest = value.len().saturating_sub(prefix.len() + MARK.len()).max(RANDOM);
    let mut bytes = vec![0; rest.div_ceil(8) * 5];
    random(&mut bytes)?;
    let mut text = BASE32_NOPAD.encode(&bytes);
    text.truncate(rest);
    Ok(format!("{prefix}{MARK}{text}"))
}

/// Where in `text` something with the look of a placeholder's inside begins: the mark and as many characters as ours have behind it.
#[must_use]
pub fn find(text: &[u8]) -> Option<usize> {
    let mark = MARK.as_bytes();
    let is_inside = |byte: &u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(byte);
    let mut at = 0;
    while let Some(window) = text.get(at..at + MARK.len() + RANDOM) {
        at += match window.iter().rposition(|byte| !is_inside(byte)) {
            // It is of one alphabet: nowhere before this character's end.
            Some(other) => other + 1,
            None if window.starts_with(mark) => return Some(at),
            None => {
                let next = window[1..].iter().position(|byte| *byte == mark[0]);
                next.map_or(window.len(), |next| 1 + next)
            }
        };
    }
    None
}

/// Bytes that have to be kept of a stream so that [`find`] misses nothing between two pieces of it.
pub const OVERLAP: usize = MARK.len() + RANDOM - 1;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t40_a_placeholder_is_found_wherever_it_stands_and_nothing_else_is() {
        let naive = |text: &[u8]| {
            let inside = |byte: &u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(byte);
            text.windows(OVERLAP + 1)
                .position(|window| window.starts_with(MARK.as_bytes()) && window[MARK.len()..].iter().all(inside))
        };
        let pieces = [
            "TOUCHLEASE",
            "TOUCH",
            "T",
            "ABCDEFGH",
            "234567",
            "x",
            "TTTT",
            "OUCHLEASE",
            "ABCDEFGHIJKLMNOP",
            "1",
        ];
        let mut seed = 1_u64;
        let (mut some, mut none) = (0, 0);
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
            }
            let found = find(text.as_bytes());
            assert_eq!(found, naive(text.as_bytes()), "{text}");
            *(if found.is_some() { &mut some } else { &mut none }) += 1;
        }
        assert!(some > 500 && none > 500, "{some} {none}");
    }

    fn random(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
        getrandom::fill(bytes)
    }

    #[test]
    fn t40_a_placeholder_keeps_length_and_known_prefix_and_nothing_else_of_the_value() {
        for (value, prefix) in [
            ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_"),
            ("sk-ant-api03-0123456789abcdef0123456789abcdef", "sk-ant-api03-"),
            ("my-password-is-this-long-sentence-of-mine", ""),
        ] {
            let made = make(value.as_bytes(), random).unwrap();
            assert_eq!((made.len(), made.starts_with(prefix)), (value.len(), true), "{made}");
            assert!(made[prefix.len()..].starts_with(MARK) && find(made.as_bytes()) == Some(prefix.len()));
            assert_ne!(made, make(value.as_bytes(), random).unwrap());
            let rest = &value[prefix.len()..];
            assert!(!(4..rest.len()).any(|end| made.contains(&rest[end - 4..end])));
        }
    }

    #[test]
    fn a_placeholder_of_a_short_value_is_longer_so_that_nobody_comes_upon_it() {
        assert_eq!(make(b"hunter2", random).unwrap().len(), MARK.len() + RANDOM);
        assert_eq!(make(b"", random).unwrap().len(), MARK.len() + RANDOM);
        assert!(make(b"x", |_| Err(())).is_err());
    }

    #[test]
    fn text_that_only_speaks_of_touchlease_is_no_placeholder() {
        for text in [
            "",
            "TOUCHLEASE",
            "touchlease/1.0",
            "export TOUCHLEASE_VAULT=/home/me/vaults",
            "TOUCHLEASE is a program that lends",
        ] {
            assert_eq!(find(text.as_bytes()), None, "{text}");
        }
        assert_eq!(find(b"x TOUCHLEASEABCDEFGHIJKLMNOP y"), Some(2));
        assert_eq!(find(b"TOUCHLEASEABCDEFGHIJKLMNO"), None);
    }
}
