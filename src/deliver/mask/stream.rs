//! One stream on its way through the mask.

use std::io::{self, IoSlice};
use std::ops::{Deref, Range};

use zeroize::Zeroize;

use super::Patterns;
use super::index::Match;

/// The most that one read may bring: what a pipe holds.
pub const CHUNK: usize = 64 * 1024;
/// What the first reads may bring. Most commands write little, and each page that is never used is one that the kernel never maps.
const FIRST: usize = 4096;
/// A shorter beginning of a form is let go when the stream pauses. See the module's page.
pub const HELD: usize = 4;
/// Slices of one `writev`.
const SLICES: usize = 64;

/// Masks one stream: read into [`Masker::space`], tell [`Masker::filled`], then [`Masker::write_to`] until all is out.
///
/// The patterns are borrowed, or shared where the stream outlives whoever made it. Its memory is at most [`CHUNK`] bytes plus the longest form, and what was used of it is wiped when it is dropped.
pub struct Masker<P: Deref<Target = Patterns>> {
    patterns: P,
    /// Wiped by this type itself: `Zeroizing` would write over all of its capacity.
    buf: Vec<u8>,
    /// End of the bytes in `buf`.
    end: usize,
    /// The most of `buf` that was ever used, and so has to be wiped.
    used: usize,
    /// First byte whose fate is open: from here on a form may have begun.
    open: usize,
    /// The last read took all the room there was.
    filled_up: bool,
    /// First byte not yet sent out or masked; after a pause it may be past `open`.
    sent: usize,
    /// End of the occurrences so far: bytes before it are masked.
    covered: usize,
    found: Vec<Match>,
    output: Vec<Piece>,
    /// Pieces, and bytes of the first open piece, that are written.
    written: (usize, usize),
    masked: u64,
    /// The secrets that were, by number, each once.
    secrets: Vec<u32>,
}

/// A piece of output: bytes of the buffer, or the mask of a secret.
enum Piece {
    Bytes(Range<usize>),
    Mask(u32),
}

impl<P: Deref<Target = Patterns>> Masker<P> {
    /// A masker at the start of a stream.
    #[must_use]
    pub fn new(patterns: P) -> Self {
        Self {
            buf: Vec::new(),
            patterns,
            end: 0,
            used: 0,
            open: 0,
            filled_up: false,
            sent: 0,
            covered: 0,
            found: Vec::new(),
            output: Vec::new(),
            written: (0, 0),
            masked: 0,
            secrets: Vec::new(),
        }
    }

    /// How many times a mask was put in.
    #[must_use]
    pub fn masked(&self) -> u64 {
        self.masked
    }

    /// The secrets that a mask was put in for, by their places in what [`Patterns::new`] took, each once.
    #[must_use]
    pub fn secrets(&self) -> &[u32] {
        &self.secrets
    }

    /// Whether something waits for [`Masker::write_to`].
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether [`Masker::settle`] has something to let go.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.sent < self.end && (self.end - self.open < HELD || self.match_at_open().is_some())
    }

    /// Whether nothing is held, and nothing waits to go out: what comes next is as at the start of a stream.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.open == self.end && self.output.is_empty()
    }

    /// Room for the next bytes of the stream: little at first, at least [`CHUNK`] once a read has filled it; only after all output
    /// was written.
    pub fn space(&mut self) -> &mut [u8] {
        debug_assert!(self.output.is_empty(), "the buffer is still being written out");
        self.buf.copy_within(self.open..self.end, 0);
        self.end -= self.open;
        self.sent -= self.open;
        self.covered = self.covered.saturating_sub(self.open);
        self.found.clear();
        self.open = 0;
        self.grow(if self.filled_up { CHUNK } else { FIRST });
        &mut self.buf[self.end..]
    }

    /// To this size and what may be held, once.
    fn grow(&mut self, size: usize) {
        let full = size + self.patterns.index.span();
        if self.buf.len() < full {
            let mut larger = vec![0; full];
            larger[..self.end].copy_from_slice(&self.buf[..self.end]);
            self.buf.zeroize();
            self.buf = larger;
            self.used = self.end;
        }
    }

    /// The first `count` bytes of [`Masker::space`] are now of the stream: everything decided goes to the output.
    pub fn filled(&mut self, count: usize) {
        self.end = self.buf.len().min(self.end + count);
        self.filled_up = self.end == self.buf.len();
        self.used = self.used.max(self.end);
        let hay = &self.buf[..self.end];
        self.patterns.index.find(hay, self.open, &mut self.found);
        self.open = self.patterns.index.first_begun(hay, self.open, 1);
        self.release(self.open);
    }

    /// The stream pauses: lets go of what is known to be a secret, and of a beginning too short to tell anything.
    pub fn settle(&mut self) {
        if let Some(found) = self.match_at_open() {
            self.cover(found);
        }
        if self.end - self.open < HELD {
            self.send(self.end);
        }
    }

    /// The stream ended: a form that was only begun is none.
    pub fn finish(&mut self) {
        self.open = self.end;
        self.release(self.end);
    }

    /// The stream ended, at a place that its reader may have chosen: a form of which at least `least` bytes were begun is masked as a whole one.
    pub fn finish_cut(&mut self, least: usize) {
        let held = &self.buf[self.open..self.end];
        if held.len() >= least
            && let Some(secret) = self.patterns.index.begun(held)
        {
            self.cover(Match {
                start: self.open,
                end: self.end,
                secret,
                encoding: super::Encoding::Plain,
            });
        }
        self.finish();
    }

    /// Nobody reads any more: forgets the output and what is held.
    pub fn discard(&mut self) {
        self.output.clear();
        self.written = (0, 0);
        (self.open, self.sent) = (self.end, self.end);
    }

    /// Moves the output to the end of `out`.
    pub fn take(&mut self, out: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        let _ = self.write_to(|slices| {
            slices.iter().for_each(|slice| out.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
    }

    /// Writes output with `write`, which takes slices and answers like `writev`. True when all is out.
    ///
    /// # Errors
    /// What `write` answers; the output stays where it was, so that the call can be made again.
    pub fn write_to(&mut self, mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<bool> {
        while self.written.0 < self.output.len() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slot, piece) in slices.iter_mut().zip(&self.output[self.written.0..]) {
                let skip = if count == 0 { self.written.1 } else { 0 };
                *slot = IoSlice::new(&self.bytes(piece)[skip..]);
                count += 1;
            }
            let wrote = write(&slices[..count])?;
            if wrote == 0 {
                return Ok(false);
            }
            self.advance(wrote);
        }
        self.output.clear();
        self.written = (0, 0);
        Ok(true)
    }

    fn bytes(&self, piece: &Piece) -> &[u8] {
        match piece {
            Piece::Bytes(range) => &self.buf[range.clone()],
            Piece::Mask(secret) => self.patterns.mask(*secret),
        }
    }

    fn advance(&mut self, mut wrote: usize) {
        while let Some(piece) = self.output.get(self.written.0) {
            let left = self.bytes(piece).len() - self.written.1;
            if wrote < left {
                self.written.1 += wrote;
                return;
            }
            wrote -= left;
            self.written = (self.written.0 + 1, 0);
        }
    }

    /// Sends out everything before `limit`, with the occurrences that begin there masked.
    fn release(&mut self, limit: usize) {
        for at in 0..self.found.len() {
            let found = self.longest(at);
            if found.start >= limit {
                break;
            }
            self.cover(found);
        }
        self.send(limit);
    }

    /// The longest of the occurrences that begin where `found[at]` does. They are sorted by end.
    fn longest(&self, at: usize) -> Match {
        let start = self.found[at].start;
        let same = self.found[at..].iter().take_while(|next| next.start == start);
        same.last().copied().unwrap_or(self.found[at])
    }

    fn match_at_open(&self) -> Option<Match> {
        let at = self.found.iter().position(|found| found.start == self.open)?;
        Some(self.longest(at)).filter(|found| found.end > self.sent)
    }

    /// Masks an occurrence: what overlaps the one before lengthens it, anything else gets a mask of its own.
    fn cover(&mut self, found: Match) {
        if found.end <= self.covered {
            return;
        }
        if found.start >= self.covered {
            self.send(found.start);
            self.output.push(Piece::Mask(found.secret));
            self.masked += 1;
            if !self.secrets.contains(&found.secret) {
                self.secrets.push(found.secret);
            }
        }
        self.covered = found.end;
        self.sent = self.sent.max(found.end);
    }

    /// Sends the bytes up to `limit` as they are.
    fn send(&mut self, limit: usize) {
        if self.sent >= limit {
            return;
        }
        let range = self.sent..limit;
        self.sent = limit;
        match self.output.last_mut() {
            Some(Piece::Bytes(last)) if last.end == range.start => last.end = range.end,
            _ => self.output.push(Piece::Bytes(range)),
        }
    }
}

impl<P: Deref<Target = Patterns>> Drop for Masker<P> {
    /// Wipes what was used: wiping the rest would only make the kernel map pages that were never touched.
    fn drop(&mut self) {
        self.buf[..self.used].zeroize();
    }
}

/// Bytes of a value at the end of a text that are masked like all of it: who asks for a text often says where it ends (`?limit=`).
pub const BEGUN: usize = 8;

/// A whole text with masks in it, and the secrets that one was put in for, as [`Masker::secrets`] has them.
#[must_use]
pub fn masked(patterns: &Patterns, text: &[u8]) -> (Vec<u8>, Vec<u32>) {
    let mut masker = Masker::new(patterns);
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while !rest.is_empty() {
        let space = masker.space();
        let count = rest.len().min(space.len());
        space[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        masker.filled(count);
        if rest.is_empty() {
            masker.finish_cut(BEGUN);
        }
        masker.take(&mut out);
    }
    (out, masker.secrets().to_vec())
}
