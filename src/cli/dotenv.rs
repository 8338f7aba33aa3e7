//! Environment files, as dotenvy reads them, each line with its number.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use dotenvy::Error;
use zeroize::Zeroize;

/// A line that says something.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// `NAME=value`, in full.
    Pair {
        /// The last of the lines that it takes.
        number: usize,
        /// The name.
        name: String,
        /// The value, without quotes and with variables put in.
        value: String,
    },
    /// Something else. What stands there is nobody's business: it may be a value.
    Other {
        /// The first of the lines that it takes: an open quote takes all to the end.
        number: usize,
        /// Why, in words that repeat nothing of it.
        why: &'static str,
    },
}

/// The lines of a file that are neither empty nor comments.
pub fn lines(text: &[u8]) -> impl Iterator<Item = Line> + '_ {
    let handed_out = Rc::new(Cell::new(0));
    let source = LineByLine {
        rest: text,
        handed_out: handed_out.clone(),
    };
    dotenvy::from_read_iter(source).map(move |item| match item {
        Ok((name, value)) => Line::Pair {
            number: handed_out.get(),
            name,
            value,
        },
        Err(Error::LineParse(mut said, _)) => {
            let more = said.trim_end_matches('\n').matches('\n').count();
            said.zeroize();
            let number = handed_out.get() - more;
            Line::Other {
                number,
                why: why(text, number),
            }
        }
        Err(_) => Line::Other {
            number: handed_out.get(),
            why: NO_PAIR,
        },
    })
}

const NO_PAIR: &str = "it is not NAME=value";

/// What keeps line `number` from being `NAME=value`.
fn why(text: &[u8], number: usize) -> &'static str {
    let line = text.split(|byte| *byte == b'\n').nth(number.saturating_sub(1)).unwrap_or_default();
    let line = line.trim_ascii();
    let line = line.strip_prefix(b"export ").map_or(line, <[u8]>::trim_ascii_start);
    let Some(at) = line.iter().position(|byte| *byte == b'=') else {
        return NO_PAIR;
    };
    let (name, value) = (line[..at].trim_ascii_end(), line[at + 1..].trim_ascii_start());
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    let quote = value.first().filter(|byte| matches!(byte, b'"' | b'\''));
    match quote {
        _ if name.is_empty() => "there is no name in front of =",
        _ if name.iter().any(u8::is_ascii_whitespace) => "a blank stands in the name",
        _ if !name.iter().all(of_name) || name[0].is_ascii_digit() => "a name has letters, digits and _, and begins with no digit",
        Some(quote) if !value[1..].contains(quote) => "the quote that begins the value has no end",
        Some(_) => "something stands behind the quote that ends the value, or \\ in front of what it means nothing to",
        None if value.iter().any(u8::is_ascii_whitespace) => "a blank stands in the value: put the value in single quotes",
        None => "the value has a quote or \\ in it: put the value in single quotes",
    }
}

/// Gives one line for each read, so that what was handed out is what was taken: the buffer before it never reads ahead.
struct LineByLine<'a> {
    rest: &'a [u8],
    handed_out: Rc<Cell<usize>>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self
            .rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(self.rest.len(), |at| at + 1);
        let n = line.min(buffer.len());
        buffer[..n].copy_from_slice(&self.rest[..n]);
        self.rest = &self.rest[n..];
        if n > 0 && n == line {
            self.handed_out.set(self.handed_out.get() + 1);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_number_whatever_stands_before_it() {
        let text = format!(
            "# c\n\nA=1\nnonsense s3cret\nB='two\nlines'\nLONG={}\nworse\nC=\"open\nto the end\n",
            "x".repeat(20_000)
        );
        let said: Vec<_> = lines(text.as_bytes())
            .map(|line| match line {
                Line::Pair { number, name, .. } => (number, name),
                Line::Other { number, .. } => (number, String::new()),
            })
            .collect();
        let expected = [(3, "A"), (4, ""), (6, "B"), (7, "LONG"), (8, ""), (9, "")];
        assert_eq!(said, expected.map(|(number, name)| (number, name.to_owned())));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_without_it() {
        for (line, expected) in [
            ("A=two words", "a blank stands in the value: put the value in single quotes"),
            (
                "export A = two words",
                "a blank stands in the value: put the value in single quotes",
            ),
            ("MY NAME=x", "a blank stands in the name"),
            ("MY-NAME=x", "a name has letters, digits and _, and begins with no digit"),
            ("1A=x", "a name has letters, digits and _, and begins with no digit"),
            (" = x", "there is no name in front of ="),
            ("just words", NO_PAIR),
            ("A='open", "the quote that begins the value has no end"),
            (
                "A='x' y",
                "something stands behind the quote that ends the value, or \\ in front of what it means nothing to",
            ),
            ("A=it's", "the value has a quote or \\ in it: put the value in single quotes"),
        ] {
            let text = format!("FIRST=1\n{line}\n");
            let said: Vec<_> = lines(text.as_bytes()).skip(1).collect();
            assert_eq!(said, [Line::Other { number: 2, why: expected }], "{line}");
        }
        let blanks = "A = x  \n  B=y\nexport C=' z '\n";
        let values: Vec<_> = lines(blanks.as_bytes())
            .map(|line| match line {
                Line::Pair { name, value, .. } => (name, value),
                Line::Other { .. } => panic!("{line:?}"),
            })
            .collect();
        let expected = [("A", "x"), ("B", "y"), ("C", " z ")];
        assert_eq!(values, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
