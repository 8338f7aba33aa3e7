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
            Line::Other {
                number: handed_out.get() - more,
            }
        }
        Err(_) => Line::Other { number: handed_out.get() },
    })
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
                Line::Other { number } => (number, String::new()),
            })
            .collect();
        let expected = [(3, "A"), (4, ""), (6, "B"), (7, "LONG"), (8, ""), (9, "")];
        assert_eq!(said, expected.map(|(number, name)| (number, name.to_owned())));
    }
}
