//! What a command wrote, as much of it as a model reads: its beginning and its end.

use std::collections::VecDeque;

use crate::encoding::plain;

/// Bytes kept of the beginning and of the end: together less than clients cut a result to (Claude Code: 25,000 tokens).
const HEAD: usize = 8 << 10;
const TAIL: usize = 24 << 10;

/// See the module.
#[derive(Debug, Default)]
pub struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes between the two that were let go.
    left_out: u64,
}

impl Output {
    pub fn push(&mut self, mut bytes: &[u8]) {
        let room = (HEAD - self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        bytes = &bytes[room..];
        self.tail.extend(bytes);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }

    /// Bytes that were let go.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// All that is kept, without what would steer a terminal (T43).
    pub fn text(&self) -> String {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        if self.left_out == 0 {
            return visible(&[&self.head[..], &tail].concat());
        }
        format!("{}\n[{} bytes left out]\n{}", visible(&self.head), self.left_out, visible(&tail))
    }
}

/// As text whose line feeds and tabs are the only characters that no screen shows.
pub fn visible(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = |line: &str| {
        let parts: Vec<String> = line.strip_suffix('\r').unwrap_or(line).split('\t').map(plain::visible).collect();
        parts.join("\t")
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_are_kept_and_what_is_left_out_is_counted() {
        let mut output = Output::default();
        output.push(b"first\n");
        assert_eq!((output.text().as_str(), output.left_out()), ("first\n", 0));
        for _ in 0..1000 {
            output.push(&[b'x'; 1000]);
        }
        output.push(b"\nlast");
        let text = output.text();
        assert!(text.starts_with("first\nxxx") && text.ends_with("xxx\nlast"));
        assert_eq!(output.left_out(), 6 + 1_000_000 + 5 - (HEAD + TAIL) as u64);
        assert!(text.len() < HEAD + TAIL + 100);
    }

    #[test]
    fn t43_what_steers_a_terminal_becomes_visible_and_lines_stay_lines() {
        assert_eq!(visible(b"a\tb\r\nc\x1b[2J\xff"), "a\tb\nc<U+001B>[2J\u{fffd}");
    }
}
