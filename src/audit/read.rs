//! Reading a log from its start, one line in memory at a time.

use std::io::{self, BufRead, Read};

use thiserror::Error;

use super::record::{LONGEST_LINE, Line, LineError};

/// Why a log cannot be read on.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is not one of ours; what follows can still be read.
    #[error(transparent)]
    Line(#[from] LineError),
}

/// The lines of a log. As an iterator it gives what they say and checks nothing but their form; [`verify`](super::verify()) checks.
pub struct Lines<R> {
    reader: R,
    bytes: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Starts at the first line.
    pub fn new(reader: R) -> Self {
        Self { reader, bytes: Vec::new() }
    }

    /// The bytes of the next line, newline included. Of a line that is too long, one byte more than [`LONGEST_LINE`].
    ///
    /// # Errors
    /// The system's.
    pub fn next_bytes(&mut self) -> io::Result<Option<&[u8]>> {
        self.bytes.clear();
        let limit = LONGEST_LINE as u64 + 1;
        (&mut self.reader).take(limit).read_until(b'\n', &mut self.bytes)?;
        if self.bytes.len() > LONGEST_LINE && !self.bytes.ends_with(b"\n") {
            self.reader.skip_until(b'\n')?;
        }
        Ok((!self.bytes.is_empty()).then_some(&self.bytes))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line<'static>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_bytes() {
            Ok(Some(bytes)) => Some(Line::from_bytes(bytes).map_err(ReadError::Line)),
            Ok(None) => None,
            Err(error) => Some(Err(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::audit::testing::{Folder, TestClock, one_lease, open};

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_is_read() {
        let folder = Folder::new();
        one_lease(&mut open(&folder, &TestClock::new()), "1");
        let log = std::fs::read(folder.log()).unwrap();
        let long = vec![b'x'; LONGEST_LINE + 100_000];
        let bytes = [&log[..], &long, b"\n", &log].concat();
        let lines: Vec<_> = Lines::new(&bytes[..]).collect();
        assert_eq!(lines.len(), 13);
        assert!(matches!(lines[6], Err(ReadError::Line(LineError::Long))));
        assert_eq!(lines.iter().filter(|l| l.is_ok()).count(), 12);
    }
}
