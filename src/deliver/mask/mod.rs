//! The mask over a child's output.
//!
//! **What is masked.** A value of at least [`SHORTEST`] bytes, in each of these forms: as it is (also with `\r\n` for `\n`, as a
//! terminal prints it, and each line of it that is long enough); base64 and base64url at three byte offsets, base32 at five, padded or
//! not; hex in both cases; percent-encoded once or twice, all bytes or the unsafe ones, in both cases; as a JSON string, also
//! one in another, and with `\u` for every character; with HTML's character references. The output of `base64`, `base32` and `xxd -p` is found across their line
//! breaks too. What an encoding mixes with its neighbours is not determined by the value: at the unaligned ends of base64 and
//! base32 up to one character stays.
//!
//! **What is not.** Values under [`SHORTEST`] bytes ([`Patterns::too_short`] names them), other encodings, compression,
//! a value that the program takes apart. The mask keeps a secret out of a log by accident; it does not hold a program that means to
//! show it.
//!
//! **What comes out.** Every byte that belongs to an occurrence of a form is replaced; a run of overlapping occurrences becomes one
//! `<touchlease:prod/TOKEN>`. All other bytes pass unchanged, escape sequences and binary data included. The output is a function of the
//! input alone: how the input is cut into reads makes no difference.
//!
//! **What waits, and how long.** Bytes go out as soon as no form can have begun in them. What is held is the longest end of the
//! input that is the beginning of a form, and nothing else; it goes out, or is masked, with the bytes that decide. When the
//! stream pauses instead ([`Masker::settle`], after half a millisecond without input), a held beginning of fewer than
//! [`HELD`] bytes goes out, so that a prompt like `Password: a` or a typed letter is seen at once, and a form that is complete is
//! masked at once though a longer one might follow. The matching goes on over what was let go: if the form is completed later,
//! the rest of it is masked. So a program that pauses inside a secret shows at most three bytes of a form. A longer
//! beginning stays held through any pause, as a program with a full output buffer may pause anywhere in a secret; a prompt that ends in
//! the first four bytes of a secret shows without them until the program goes on. At the end of the stream everything
//! held goes out: a truncated secret is none of the forms.

mod forms;
mod index;
mod stream;
#[cfg(test)]
mod tests;

pub use forms::Encoding;
pub use index::Match;
pub use stream::{BEGUN, CHUNK, HELD, Masker, masked};

/// The fewest bytes of a value that are masked: shorter ones stand in ordinary text all the time.
pub const SHORTEST: usize = 6;
/// What stands for a secret whose full mask would itself contain a form.
const PLAIN_MASK: &[u8] = b"***";
/// The most characters of a name in its mask.
const NAME: usize = 64;

/// Whether `value` is too short to be masked.
#[must_use]
pub fn is_too_short(value: &[u8]) -> bool {
    core(value).len() < SHORTEST
}

/// The part of a value whose length counts, and by which two values are the same: all but the line breaks at its end.
#[must_use]
pub fn core(value: &[u8]) -> &[u8] {
    forms::core(value)
}

/// The forms of all secrets of a lease, ready for any number of [`Masker`]s. Wiped when dropped.
///
/// Its size is about 65 times that of a large text, up to 200 times that of large values with every byte in them, and some 17 KiB for one
/// of 40 bytes. While it is made it takes hardly more.
pub struct Patterns {
    index: index::Index,
    masks: Vec<Vec<u8>>,
    too_short: Vec<String>,
}

impl Patterns {
    /// Takes names, as they shall stand in the mask, and values.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let (mut strings, mut masks, mut too_short) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (name, value)) in (0_u32..).zip(secrets) {
            if is_too_short(value) {
                too_short.push(name.to_owned());
            }
            strings.extend(forms::of(value).into_iter().map(|form| (form, number)));
            masks.push(mask_of(name));
        }
        let index = index::Index::new(strings);
        let mut found = Vec::new();
        for mask in &mut masks {
            index.find(mask, 0, &mut found);
            if !found.is_empty() {
                *mask = PLAIN_MASK.to_vec();
            }
        }
        Self { index, masks, too_short }
    }

    /// The same for who looks for values and masks nothing, without lines of fewer than `least` bytes.
    #[must_use]
    pub fn of_at_least<'a>(values: impl IntoIterator<Item = &'a [u8]>, least: usize) -> Self {
        let is_long = |form: &forms::Form| form.encoding != Encoding::Line || form.bytes.len() >= least;
        let of_one = |(number, value)| forms::of(value).into_iter().filter(is_long).map(move |form| (form, number));
        Self {
            index: index::Index::new((0_u32..).zip(values).flat_map(of_one).collect()),
            masks: vec![],
            too_short: vec![],
        }
    }

    /// Names whose values are too short to be masked.
    #[must_use]
    pub fn too_short(&self) -> &[String] {
        &self.too_short
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Every occurrence of a form that is whole in `hay`, sorted by where it begins, then by where it ends.
    pub fn find(&self, hay: &[u8], found: &mut Vec<Match>) {
        self.index.find(hay, 0, found);
    }

    /// How many bytes at the front of `hay` no form has a part in, where nothing of one came before: up to the first that is whole, or of which
    /// at least `least` bytes (not none) are begun at the end.
    #[must_use]
    pub fn clear(&self, hay: &[u8], least: usize) -> usize {
        let mut found = Vec::new();
        self.index.find(hay, 0, &mut found);
        let begun = self.index.first_begun(hay, 0, least);
        found.first().map_or(begun, |first| begun.min(first.start))
    }

    /// The most bytes that one occurrence takes.
    #[must_use]
    pub fn span(&self) -> usize {
        self.index.span()
    }

    fn mask(&self, secret: u32) -> &[u8] {
        self.masks.get(secret as usize).map_or(PLAIN_MASK, Vec::as_slice)
    }
}

/// `<touchlease:NAME>`, with only those characters of a name that no terminal, shell or markup acts upon.
fn mask_of(name: &str) -> Vec<u8> {
    let name: String = name
        .chars()
        .take(NAME)
        .map(|c| if c.is_ascii_alphanumeric() || "-_./".contains(c) { c } else { '_' })
        .collect();
    format!("<touchlease:{name}>").into_bytes()
}
