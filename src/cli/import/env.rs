//! Environment files, as dotenvy reads them.

use zeroize::{Zeroize, Zeroizing};

use super::super::dotenv::{self, Line};
use super::source::{Format, Found, LeftOut, not_read};
use crate::encoding::reference::SCHEME;
use crate::wire::Failure;

/// Stands for `$` while the file is read a second time, so that nothing is put in its place. Private use: no text has a meaning for it.
const NO_DOLLAR: char = '\u{F8FF}';

/// Reads an environment file. A name that comes again replaces the one before, as in a shell.
///
/// # Errors
/// It is no text, or none of its lines is `NAME=value`.
pub fn read(bytes: &[u8]) -> Result<(Vec<Found>, Vec<LeftOut>), Failure> {
    let text = str::from_utf8(bytes).map_err(|_| not_read(Format::Env, "it is not UTF-8"))?;
    let plain = Zeroizing::new(without_references(text));
    let (mut found, mut left_out) = (Vec::<Found>::new(), Vec::new());
    let mut expanded = dotenv::lines(bytes);
    let mut pairs = 0;
    for line in dotenv::lines(plain.as_bytes()) {
        // The same lines in the same order: the two texts differ in what stands for a dollar only.
        let (name, kept, mut value) = match (line, expanded.next()) {
            (Line::Pair { name, value: kept, .. }, Some(Line::Pair { value, .. })) => (name, kept, value),
            (Line::Other { number, why }, _) | (Line::Pair { .. }, Some(Line::Other { number, why })) => {
                // Not the line itself: it may hold a value.
                left_out.push(left(&format!("line {number}"), why));
                continue;
            }
            // Both texts have as many lines.
            (Line::Pair { .. }, None) => continue,
        };
        pairs += 1;
        let kept = Zeroizing::new(kept.replace(NO_DOLLAR, "$"));
        if let Some(at) = found.iter().position(|found| found.name == name) {
            found.remove(at);
            left_out.push(left(&format!("the first {name}"), "it is given again further down"));
        }
        let why = match value.as_str() {
            "" => Some("it is empty"),
            value if value.starts_with(SCHEME) => Some("it is a reference already"),
            value if *value != **kept => Some("it refers to another variable with $: put it in single quotes if the $ is meant"),
            _ => None,
        };
        match why {
            Some(why) => {
                value.zeroize();
                left_out.push(left(&name, why));
            }
            None => found.push(Found {
                place: name.clone(),
                name,
                value: Zeroizing::new(value.into_bytes()),
            }),
        }
    }
    if pairs == 0 {
        return Err(not_read(Format::Env, "none of its lines is NAME=value"));
    }
    Ok((found, left_out))
}

/// `$` that nothing is put in the place of; one behind a backslash is none already.
fn without_references(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 2 * text.matches('$').count());
    let mut escaped = false;
    for c in text.chars() {
        plain.push(if c == '$' && !escaped { NO_DOLLAR } else { c });
        escaped = c == '\\' && !escaped;
    }
    plain
}

fn left(what: &str, why: &'static str) -> LeftOut {
    LeftOut {
        what: what.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn values(text: &str) -> Vec<(String, String)> {
        let (found, _) = read(text.as_bytes()).unwrap();
        let pair = |found: Found| (found.name, String::from_utf8(found.value.to_vec()).unwrap());
        found.into_iter().map(pair).collect()
    }

    #[test]
    fn quotes_exports_and_comments_are_read_as_a_program_would() {
        let text = "# comment\nexport A=1 # more\nB='two words'\nC=\"x\\ny\"\nD=p@ss#word\n";
        let expected = [("A", "1"), ("B", "two words"), ("C", "x\ny"), ("D", "p@ss#word")];
        assert_eq!(values(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_dollar_is_never_replaced_unseen() {
        let text = "HOME_OF=x\nA='pa$HOME_OF'\nB=pa$HOME_OF\nC=\"a\\$b\"\nD=${HOME_OF}y\n";
        let (found, left_out) = read(text.as_bytes()).unwrap();
        let names: Vec<_> = found.iter().map(|found| (found.name.as_str(), found.value.as_slice())).collect();
        assert_eq!(names, [("HOME_OF", &b"x"[..]), ("A", b"pa$HOME_OF"), ("C", b"a$b")]);
        let left: Vec<_> = left_out.iter().map(|left| left.what.as_str()).collect();
        assert_eq!(left, ["B", "D"]);
    }

    #[test]
    fn a_file_without_one_pair_is_no_environment_file_and_is_not_repeated() {
        for text in [
            "",
            "# a comment\n",
            "Dear Anna,\nthe s3cret is under the mat.\n",
            "{\"s3cret\": 1}",
            "it's open s3cret",
        ] {
            let failure = read(text.as_bytes()).unwrap_err();
            assert_eq!(failure.reason, "import_format", "{text:?}");
            assert!(!format!("{failure:?}").contains("s3cret"), "{failure:?}");
        }
    }

    #[test]
    fn what_is_no_secret_is_left_out_and_the_last_of_two_counts() {
        let (found, left_out) = read(b"A=1\nB=\nC=touchlease://prod/C\nnonsense s3cret\nA=2\n").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].value.as_slice(), b"2");
        let whats: Vec<_> = left_out.iter().map(|left| left.what.as_str()).collect();
        assert_eq!(whats, ["B", "C", "line 4", "the first A"]);
        assert!(!format!("{left_out:?}").contains("s3cret"));
    }
}
