//! Finding any of several thousand byte strings in a stream at memory speed.
//!
//! A string of `m` bytes holds `m - w + 1` windows of `w` bytes. When the first `step = m - w + 1` windows of every string
//! are in a table, looking at one window in every `step` bytes of the stream finds each occurrence: one of its windows lies on
//! a multiple of `step`. So the cost falls with the length of the shortest string and hardly depends on how many there are.
//! Strings shorter than [`LONG`] get a table of their own with narrow windows, so that they do not slow down the others.

use zeroize::{DefaultIsZeroes, Zeroize, Zeroizing};

use super::forms::{Encoding, Form};

/// Strings of at least this many bytes are found by windows of eight bytes, shorter ones by windows of four.
const LONG: usize = 16;
/// The largest distance of two probes. A wrapped line of 60 characters or more (`xxd -p`) then holds, before or after its first
/// line break, `step` whole windows of the string.
const STRIDE: usize = 23;
/// Characters of a wrapping form that stand together before a line break may follow.
const HEAD: usize = 8;
/// The same for every later line: no tool wraps narrower.
const LINE: usize = 16;
/// Width of the windows that tell whether a string may begin at a place.
const BEGIN: usize = 4;

/// The outcome of comparing a string with the bytes at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// It stands there and takes this many bytes, line breaks included.
    Whole(usize),
    /// All bytes there are agree, and it would go on.
    Begun,
    /// It does not stand there.
    No,
}

/// One string to find.
struct Pattern {
    /// Where its bytes are in the arena.
    start: usize,
    len: usize,
    /// Index of the secret it is a form of.
    secret: u32,
    encoding: Encoding,
    wraps: bool,
    /// The patterns that begin with this one follow it directly, up to this index.
    group: u32,
}

/// The bytes of `forms`, which are sorted, behind each other, and where each one is.
///
/// Each form is wiped once it is copied, so that those of a large value are not there twice; one that the next begins with is there
/// already.
fn laid_out(forms: Vec<(Form, u32)>) -> (Zeroizing<Vec<u8>>, Vec<Pattern>) {
    // Sized at once: growing would leave unwiped copies behind.
    let size = forms.iter().map(|(form, _)| form.bytes.len()).sum();
    let mut arena: Zeroizing<Vec<u8>> = Zeroizing::new(Vec::with_capacity(size));
    let mut patterns: Vec<Pattern> = Vec::with_capacity(forms.len());
    for (form, secret) in forms.into_iter().rev() {
        let shared = patterns
            .last()
            .map(|next| next.start)
            .filter(|start| arena[*start..].starts_with(&form.bytes));
        let start = shared.unwrap_or(arena.len());
        if shared.is_none() {
            arena.extend_from_slice(&form.bytes);
        }
        patterns.push(Pattern {
            start,
            len: form.bytes.len(),
            secret,
            encoding: form.encoding,
            wraps: form.wraps,
            group: 0,
        });
    }
    patterns.reverse();
    (arena, patterns)
}

/// One occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match {
    /// Its first byte.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
    /// Whose it is: the place in what [`super::Patterns::new`] took.
    pub secret: u32,
    /// How it is written.
    pub encoding: Encoding,
}

/// The strings, sorted, and the tables that find them.
pub(super) struct Index {
    arena: Zeroizing<Vec<u8>>,
    patterns: Vec<Pattern>,
    short: Option<Table<4>>,
    long: Option<Table<8>>,
    begin: Bits,
    pairs: Pairs,
    /// The most bytes of a stream that one occurrence takes.
    span: usize,
}

impl Index {
    /// Builds the tables for `forms`, each with its secret's number.
    pub fn new(mut forms: Vec<(Form, u32)>) -> Self {
        forms.sort_unstable_by(|(a, one), (b, other)| {
            (a.bytes.as_slice(), !a.wraps, one, a.encoding).cmp(&(b.bytes.as_slice(), !b.wraps, other, b.encoding))
        });
        // The encoding that is named is the first that comes to these bytes, whether or not that one may be wrapped.
        forms.dedup_by(|(a, one), (b, other)| {
            let same = a.bytes == b.bytes;
            if same && one == other {
                b.encoding = b.encoding.min(a.encoding);
            }
            same
        });
        let (arena, patterns) = laid_out(forms);
        let mut index = Self {
            arena,
            patterns,
            short: None,
            long: None,
            begin: Bits::default(),
            pairs: Pairs::default(),
            span: 0,
        };
        index.build();
        index
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Bytes of all strings.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.arena.len()
    }

    /// The most bytes of a stream that one occurrence takes.
    pub fn span(&self) -> usize {
        self.span
    }

    /// Every occurrence in `hay` from `from` on, sorted by where it begins, then by where it ends, without doubles.
    pub fn find(&self, hay: &[u8], from: usize, found: &mut Vec<Match>) {
        found.clear();
        if let Some(table) = &self.long {
            table.probe(hay, from, |at, pattern, offset| self.verify(hay, from, at, pattern, offset, found));
        }
        if let Some(table) = &self.short {
            table.probe(hay, from, |at, pattern, offset| self.verify(hay, from, at, pattern, offset, found));
        }
        found.sort_unstable();
        found.dedup();
    }

    /// The first place from `from` on where the rest of `hay`, of at least `least` bytes, is the beginning of a string, else the end.
    pub fn first_begun(&self, hay: &[u8], from: usize, least: usize) -> usize {
        let from = from.max(hay.len().saturating_sub(self.span.saturating_sub(1)));
        let end = (hay.len() + 1).saturating_sub(least);
        let begun = |at: usize| self.may_begin(&hay[at..]) && self.is_begun(&hay[at..]);
        // One byte is no pair.
        let last = hay.len().saturating_sub(1);
        for (at, pair) in (from..end).zip(hay.get(from..).unwrap_or_default().windows(2)) {
            if self.pairs.has(pair[0], pair[1]) && begun(at) {
                return at;
            }
        }
        (from.max(last)..end).find(|at| begun(*at)).unwrap_or(hay.len())
    }

    /// Of a place whose first two bytes a string begins with.
    #[inline]
    fn may_begin(&self, tail: &[u8]) -> bool {
        tail.first_chunk::<BEGIN>().is_none_or(|window| self.begin.has(hash4(window)))
    }

    /// The secret whose string `tail` is the beginning of, if it is one's.
    pub fn begun(&self, tail: &[u8]) -> Option<u32> {
        let straight = self.starting_with(tail).next();
        let wrapped = || {
            let head = tail.get(..HEAD)?;
            self.starting_with(head)
                .find(|pattern| pattern.wraps && fit_wrapped(tail, self.bytes(pattern)) == Fit::Begun)
        };
        straight.or_else(wrapped).map(|pattern| pattern.secret)
    }

    fn bytes(&self, pattern: &Pattern) -> &[u8] {
        &self.arena[pattern.start..pattern.start + pattern.len]
    }

    fn build(&mut self) {
        let mut leaders = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for at in 0..self.patterns.len() {
            let bytes = &self.arena[self.patterns[at].start..self.patterns[at].start + self.patterns[at].len];
            while let Some(last) = open.last().copied() {
                let head = &self.patterns[last];
                if bytes.starts_with(&self.arena[head.start..head.start + head.len]) {
                    break;
                }
                self.patterns[last].group = number(at);
                open.pop();
            }
            // Found through the string it begins with, unless a line break may stand where that one allows none.
            let covered = open.iter().any(|head| self.patterns[*head].wraps || !self.patterns[at].wraps);
            if !covered {
                leaders.push(at);
            }
            open.push(at);
        }
        for at in open {
            self.patterns[at].group = number(self.patterns.len());
        }
        self.span = self.patterns.iter().map(Pattern::span).max().unwrap_or(0);
        self.begin = Bits::for_entries(self.patterns.len());
        for pattern in &self.patterns {
            if let Some(window) = self.arena[pattern.start..].first_chunk::<BEGIN>() {
                self.begin.set(hash4(window));
                self.pairs.set(window[0], window[1]);
            }
        }
        let (long, short): (Vec<_>, Vec<_>) = leaders.into_iter().partition(|at| self.patterns[*at].len >= LONG);
        self.long = Table::new(self, &long);
        self.short = Table::new(self, &short);
    }

    /// A window of `pattern` at `offset` was seen at `at`: adds the occurrence, if it is one, and the longer ones with it.
    fn verify(&self, hay: &[u8], from: usize, at: usize, pattern: u32, offset: u32, found: &mut Vec<Match>) {
        let (leader, offset) = (pattern as usize, offset as usize);
        let Some(start) = self.begins(hay, from, at, &self.patterns[leader], offset) else {
            return;
        };
        for pattern in &self.patterns[leader..self.patterns[leader].group as usize] {
            if let Fit::Whole(len) = self.fit(&hay[start..], pattern) {
                found.push(Match {
                    start,
                    end: start + len,
                    secret: pattern.secret,
                    encoding: pattern.encoding,
                });
            }
        }
    }

    /// Where `pattern` begins when its byte `offset` is at `at`, going back over line breaks.
    fn begins(&self, hay: &[u8], from: usize, at: usize, pattern: &Pattern, offset: usize) -> Option<usize> {
        let straight = at.checked_sub(offset).filter(|start| *start >= from);
        if straight.is_some_and(|start| self.fit(&hay[start..], pattern) != Fit::No) {
            return straight;
        }
        if !pattern.wraps {
            return None;
        }
        let (mut start, mut left) = (at, offset);
        while left > 0 {
            start = start.checked_sub(1).filter(|start| *start >= from)?;
            if !matches!(hay[start], b'\n' | b'\r') {
                left -= 1;
            }
        }
        Some(start)
    }

    /// Compares `pattern` with the bytes at the front of `hay`.
    fn fit(&self, hay: &[u8], pattern: &Pattern) -> Fit {
        let bytes = self.bytes(pattern);
        if hay.len() >= bytes.len() && hay[..bytes.len()] == *bytes {
            return Fit::Whole(bytes.len());
        }
        if pattern.wraps {
            return fit_wrapped(hay, bytes);
        }
        if hay.len() < bytes.len() && bytes.starts_with(hay) {
            Fit::Begun
        } else {
            Fit::No
        }
    }

    /// Whether `tail` is the beginning, and not the whole, of some string.
    fn is_begun(&self, tail: &[u8]) -> bool {
        if self.starting_with(tail).any(|pattern| pattern.len > tail.len()) {
            return true;
        }
        // Across line breaks only the first characters can be looked up; the comparison stops at the first difference.
        let Some((head, rest)) = tail.split_at_checked(HEAD) else {
            return false;
        };
        rest.iter().any(|byte| matches!(byte, b'\n' | b'\r'))
            && self
                .starting_with(head)
                .any(|pattern| pattern.wraps && fit_wrapped(tail, self.bytes(pattern)) == Fit::Begun)
    }

    fn starting_with<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = &'a Pattern> {
        let first = self.patterns.partition_point(|pattern| self.bytes(pattern) < head);
        self.patterns[first..]
            .iter()
            .take_while(move |pattern| self.bytes(pattern).starts_with(head))
    }
}

impl Pattern {
    fn span(&self) -> usize {
        if self.wraps {
            self.len + 2 * (self.len / LINE + 2)
        } else {
            self.len
        }
    }
}

/// Compares with line breaks (`\n` or `\r\n`) allowed after [`HEAD`] characters and then every [`LINE`] or more.
fn fit_wrapped(hay: &[u8], bytes: &[u8]) -> Fit {
    let (mut at, mut together, mut need) = (0, 0, HEAD);
    for byte in bytes {
        if together >= need && matches!(hay.get(at), Some(b'\n' | b'\r')) {
            at += usize::from(hay[at] == b'\r');
            match hay.get(at) {
                Some(b'\n') => at += 1,
                Some(_) => return Fit::No,
                None => return Fit::Begun,
            }
            (together, need) = (0, LINE);
        }
        match hay.get(at) {
            None => return Fit::Begun,
            Some(there) if there == byte => (at, together) = (at + 1, together + 1),
            Some(_) => return Fit::No,
        }
    }
    Fit::Whole(at)
}

/// Windows of `W` bytes, by their hash: which pattern, and where in it.
struct Table<const W: usize> {
    step: usize,
    seen: Bits,
    /// `starts[h]..starts[h + 1]` are the entries of bucket `h`.
    starts: Vec<u32>,
    entries: Vec<Entry>,
}

/// A window of a string. Its hash tells it from a window of the stream that falls into its bucket, without a look at the string.
#[derive(Clone, Copy, Default)]
struct Entry {
    hash: u32,
    pattern: u32,
    offset: u32,
}

impl DefaultIsZeroes for Entry {}

impl<const W: usize> Table<W> {
    fn new(index: &Index, leaders: &[usize]) -> Option<Self> {
        let shortest = leaders.iter().map(|at| index.patterns[*at].len).min()?;
        let step = (shortest + 1 - W).min(STRIDE);
        // Sized at once: growing would leave unwiped copies behind.
        let mut windows = Zeroizing::new(Vec::with_capacity(leaders.len() * (2 * step + W - 1)));
        for at in leaders {
            let pattern = &index.patterns[*at];
            let again = pattern.wraps && pattern.len >= 2 * (step + W - 1);
            let count = if again { 2 * step + W - 1 } else { step };
            for (offset, window) in index.bytes(pattern).windows(W).take(count).enumerate() {
                if let Some(window) = window.first_chunk::<W>() {
                    windows.push(Entry {
                        hash: hash(window),
                        pattern: number(*at),
                        offset: number(offset),
                    });
                }
            }
        }
        Some(Self::fill(step, &windows))
    }

    fn fill(step: usize, windows: &[Entry]) -> Self {
        let mut table = Self {
            step,
            seen: Bits::for_entries(windows.len()),
            starts: vec![0; windows.len().next_power_of_two() + 1],
            entries: vec![Entry::default(); windows.len()],
        };
        for window in windows {
            table.seen.set(window.hash);
            let bucket = table.bucket(window.hash);
            table.starts[bucket + 1] += 1;
        }
        for at in 1..table.starts.len() {
            table.starts[at] += table.starts[at - 1];
        }
        let mut next = table.starts.clone();
        for window in windows {
            let bucket = table.bucket(window.hash);
            table.entries[next[bucket] as usize] = *window;
            next[bucket] += 1;
        }
        table
    }

    fn bucket(&self, hash: u32) -> usize {
        hash as usize & (self.starts.len() - 2)
    }

    fn probe(&self, hay: &[u8], from: usize, mut hit: impl FnMut(usize, u32, u32)) {
        let mut at = from;
        while let Some(window) = hay.get(at..).and_then(<[u8]>::first_chunk::<W>) {
            let hash = hash(window);
            if self.seen.has(hash) {
                let bucket = self.bucket(hash);
                let range = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
                for entry in self.entries[range].iter().filter(|entry| entry.hash == hash) {
                    hit(at, entry.pattern, entry.offset);
                }
            }
            at += self.step;
        }
    }
}

impl<const W: usize> Drop for Table<W> {
    fn drop(&mut self) {
        self.starts.zeroize();
        self.entries.zeroize();
    }
}

/// A set of hashes, which says yes for about one in sixty that is not in it: a Bloom filter whose two bits for a hash lie in one word,
/// so that a look costs one load.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    /// At most four hashes for a word.
    fn for_entries(entries: usize) -> Self {
        Self(vec![0; (entries / 4).next_power_of_two().max(64)])
    }

    fn place(&self, hash: u32) -> usize {
        (hash >> 12) as usize & (self.0.len() - 1)
    }

    fn set(&mut self, hash: u32) {
        let place = self.place(hash);
        self.0[place] |= bits(hash);
    }

    #[inline]
    fn has(&self, hash: u32) -> bool {
        let bits = bits(hash);
        self.0[self.place(hash)] & bits == bits
    }
}

/// The two bytes that strings begin with: of most places in a text they tell that none does, for less than a hash costs.
struct Pairs(Box<[u64; 1024]>);

impl Default for Pairs {
    fn default() -> Self {
        Self(Box::new([0; 1024]))
    }
}

impl Pairs {
    fn set(&mut self, first: u8, second: u8) {
        self.0[usize::from(first) << 2 | usize::from(second >> 6)] |= 1 << (second & 63);
    }

    #[inline]
    fn has(&self, first: u8, second: u8) -> bool {
        self.0[usize::from(first) << 2 | usize::from(second >> 6)] >> (second & 63) & 1 == 1
    }
}

impl Drop for Pairs {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[inline]
fn bits(hash: u32) -> u64 {
    1 << (hash & 63) | 1 << (hash >> 6 & 63)
}

impl Drop for Bits {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The upper half of a product with an odd constant (the golden ratio): every bit of the window reaches it.
#[inline]
fn hash<const W: usize>(window: &[u8; W]) -> u32 {
    let mut word = [0; 8];
    word[..W].copy_from_slice(window);
    (u64::from_le_bytes(word).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}

#[inline]
fn hash4(window: &[u8; BEGIN]) -> u32 {
    hash(window)
}

/// Patterns and offsets are counted in 32 bits to keep the tables small; a value of 1 MiB has some 10^7 window bytes at most.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
