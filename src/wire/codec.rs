//! Lines of JSON, in buffers that are wiped.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use zeroize::Zeroizing;

/// Why a line is not a message.
#[derive(Debug, Error)]
pub enum CodecError {
    /// Longer than this side reads.
    #[error("a line of more than {limit} bytes")]
    Long {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not JSON of the expected form.
    #[error("not a message of this protocol: {0}")]
    Form(#[from] serde_json::Error),
}

/// One message as a line, newline included.
///
/// # Errors
/// [`CodecError::Form`] for a type that JSON cannot hold.
pub fn encode<T: Serialize>(message: &T) -> Result<Zeroizing<Vec<u8>>, CodecError> {
    // Measured first, so that the buffer never grows: growing would leave an unwiped copy of a value behind.
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, message)?;
    let mut line = Zeroizing::new(Vec::with_capacity(counter.0 + 1));
    serde_json::to_writer(&mut *line, message)?;
    line.push(b'\n');
    Ok(line)
}

/// Several messages as lines, one after the other; nothing of none.
///
/// # Errors
/// As [`encode`].
pub fn encode_all<T: Serialize>(messages: impl Iterator<Item = T>) -> Result<Zeroizing<Vec<u8>>, CodecError> {
    let mut lines = messages.map(|message| encode(&message)).collect::<Result<Vec<_>, _>>()?;
    if lines.len() <= 1 {
        return Ok(lines.pop().unwrap_or_default());
    }
    // Made once in its size, so that nothing is left behind that is not wiped.
    Ok(Zeroizing::new(lines.iter().map(|line| &line[..]).collect::<Vec<_>>().concat()))
}

/// Reads one line, with or without its newline.
///
/// # Errors
/// See [`CodecError`].
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, CodecError> {
    Ok(serde_json::from_slice(line)?)
}

struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0 += buf.len();
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Collects bytes into lines; holds at most one line and wipes what it held.
pub struct LineBuffer {
    held: Zeroizing<Vec<u8>>,
    limit: usize,
}

impl LineBuffer {
    /// A buffer for lines of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            held: Zeroizing::default(),
            limit,
        }
    }

    /// Takes what was read, and calls `line` for every complete line, newline excluded.
    ///
    /// # Errors
    /// [`CodecError::Long`] when a line does not end; the buffer is empty afterwards.
    pub fn push(&mut self, read: &[u8], mut line: impl FnMut(Zeroizing<Vec<u8>>)) -> Result<(), CodecError> {
        let mut rest = read;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            if self.held.is_empty() && end <= self.limit {
                // No larger than it is: all of it is wiped.
                line(Zeroizing::new(rest[..end].to_vec()));
            } else {
                self.extend(&rest[..end])?;
                line(std::mem::take(&mut self.held));
            }
            rest = &rest[end + 1..];
        }
        self.extend(rest)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        if self.held.len() + bytes.len() > self.limit {
            self.held = Zeroizing::default();
            return Err(CodecError::Long { limit: self.limit });
        }
        if self.held.len() + bytes.len() > self.held.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(((self.held.len() + bytes.len()) * 2).max(4096)));
            larger.extend_from_slice(&self.held);
            self.held = larger;
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMIT: usize = 2 << 20;

    #[test]
    fn lines_come_out_whole_however_they_are_cut() {
        let text = b"{\"a\":1}\n\n{\"b\":2}\nrest";
        for cut in 0..text.len() {
            let mut lines = Vec::new();
            let mut buffer = LineBuffer::new(LIMIT);
            for part in [&text[..cut], &text[cut..]] {
                buffer.push(part, |line| lines.push(line.to_vec())).unwrap();
            }
            assert_eq!(lines, [b"{\"a\":1}".to_vec(), b"".to_vec(), b"{\"b\":2}".to_vec()]);
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused_at_the_limit() {
        let mut buffer = LineBuffer::new(LIMIT);
        let part = vec![b'x'; 1 << 20];
        assert!(buffer.push(&part, |_| {}).is_ok());
        assert!(buffer.push(&part, |_| {}).is_ok());
        assert!(matches!(buffer.push(&part, |_| {}), Err(CodecError::Long { .. })));
    }
}
