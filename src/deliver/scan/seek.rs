//! Looking through one file for all values at once.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, SeekFrom, Stat, fstat, seek};
use rustix::io::{Errno, pread};
use zeroize::Zeroizing;

use crate::deliver::mask::{Encoding, Match, Patterns, core};
use crate::secret::Secret;

/// Bytes of one read: it stays in the processor's second cache.
const CHUNK: usize = 128 * 1024;
/// What a file of no length is read up to: some file systems do not say how long theirs are.
const UNSAID: u64 = 1 << 20;

/// All values in all their forms. Wiped when dropped, and in memory that is not locked: there is not as much of that.
pub struct Needles {
    patterns: Patterns,
    /// Numbers of the secrets that have the same value.
    secrets: Vec<Vec<u32>>,
    /// Of secrets that are not looked for.
    too_short: Vec<u32>,
}

impl Needles {
    /// Of values of at least `least` bytes, of those with several lines too: a line is a form as well.
    #[must_use]
    pub fn new(values: &[Secret], least: usize) -> Self {
        let mut order: Vec<u32> = (0..u32::try_from(values.len()).unwrap_or(u32::MAX)).collect();
        let value = |number: u32| core(values[number as usize].expose());
        order.sort_by(|a, b| value(*a).cmp(value(*b)).then(a.cmp(b)));
        let (long, mut too_short): (Vec<u32>, Vec<u32>) = order.into_iter().partition(|number| value(*number).len() >= least);
        too_short.sort_unstable();
        let mut secrets: Vec<Vec<u32>> = Vec::new();
        for number in long {
            match secrets.last_mut().filter(|same| value(same[0]) == value(number)) {
                Some(same) => same.push(number),
                None => secrets.push(vec![number]),
            }
        }
        let patterns = Patterns::of_at_least(secrets.iter().map(|same| value(same[0])), least);
        Self {
            patterns,
            secrets,
            too_short,
        }
    }

    /// Numbers of the values that are not looked for.
    #[must_use]
    pub fn too_short(&self) -> &[u32] {
        &self.too_short
    }

    /// The most bytes that one occurrence takes.
    #[must_use]
    pub fn span(&self) -> usize {
        self.patterns.span()
    }
}

/// One occurrence: where it begins, the secrets with this value, how it is written.
pub struct Found<'a> {
    /// Bytes from the file's beginning.
    pub at: u64,
    /// Numbers of secrets.
    pub secrets: &'a [u32],
    /// How.
    pub encoding: Encoding,
}

/// A buffer, for one file after the other.
pub struct Seeker<'a> {
    needles: &'a Needles,
    buf: Zeroizing<Vec<u8>>,
    found: Vec<Match>,
    /// For each value, where its last occurrence ended.
    covered: HashMap<u32, u64>,
}

impl<'a> Seeker<'a> {
    /// For these values.
    #[must_use]
    pub fn new(needles: &'a Needles) -> Self {
        Self {
            needles,
            buf: Zeroizing::new(vec![0; CHUNK + needles.span()]),
            found: Vec::new(),
            covered: HashMap::new(),
        }
    }

    /// Looks through a regular file up to the length that it had at the beginning. Its offset may be changed, its holes are passed over.
    /// Gives how many bytes were read.
    ///
    /// # Errors
    /// It is no regular file (`EINVAL`), is not open for reading, or cannot be read.
    pub fn file(&mut self, file: BorrowedFd<'_>, found: &mut impl FnMut(Found<'_>)) -> io::Result<u64> {
        let stat = fstat(file)?;
        // Anything else could keep us waiting, and is nobody's text.
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL.into());
        }
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let end = if size == 0 { UNSAID } else { size };
        self.covered.clear();
        let (mut at, mut kept, mut bytes) = (0_u64, 0, 0);
        while at < end {
            if has_holes(&stat) {
                let data = match seek(file, SeekFrom::Data(at)) {
                    // Nothing but a hole is left.
                    Err(Errno::NXIO) => break,
                    // A file system without holes to tell of.
                    Err(_) => at,
                    Ok(data) => data,
                };
                if data > at {
                    self.look(kept, kept, at - kept as u64, found);
                    (at, kept) = (data, 0);
                }
            }
            let room = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(CHUNK);
            let read = match pread(file, &mut self.buf[kept..kept + room], at) {
                Err(Errno::INTR) => continue,
                read => read?,
            };
            if read == 0 {
                break;
            }
            (at, bytes) = (at + read as u64, bytes + read as u64);
            let filled = kept + read;
            // What begins in the part that is kept is decided when what follows it is there.
            kept = if at < end {
                filled.min(self.needles.span().saturating_sub(1))
            } else {
                0
            };
            self.look(filled, filled - kept, at - filled as u64, found);
            self.buf.copy_within(filled - kept..filled, 0);
        }
        // It was shorter than it said.
        self.look(kept, kept, at - kept as u64, found);
        Ok(bytes)
    }

    /// Tells of what begins in `buf[..open]` and ends in `buf[..filled]`, the first byte of which is number `base` of the file.
    fn look(&mut self, filled: usize, open: usize, base: u64, found: &mut impl FnMut(Found<'_>)) {
        self.needles.patterns.find(&self.buf[..filled], &mut self.found);
        // The longest of those that begin at a place says what it is.
        self.found.sort_unstable_by_key(|one| (one.start, std::cmp::Reverse(one.end)));
        for one in self.found.iter().filter(|one| one.start < open) {
            let (start, end) = (base + one.start as u64, base + one.end as u64);
            let covered = self.covered.entry(one.secret).or_default();
            if start >= *covered {
                found(Found {
                    at: start,
                    secrets: &self.needles.secrets[one.secret as usize],
                    encoding: one.encoding,
                });
            }
            *covered = end.max(*covered);
        }
    }
}

fn has_holes(stat: &Stat) -> bool {
    stat.st_blocks.saturating_mul(512) < stat.st_size
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;
    use std::io::{Seek, Write};
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    use data_encoding::{BASE32, BASE64, BASE64URL_NOPAD, HEXUPPER};

    use super::*;

    fn needles(values: &[&[u8]], least: usize) -> Needles {
        let values: Vec<_> = values
            .iter()
            .map(|value| Secret::from_slice_wiping(&mut value.to_vec()).unwrap())
            .collect();
        Needles::new(&values, least)
    }

    fn seek_in(needles: &Needles, file: &File) -> Vec<(u64, Vec<u32>, Encoding)> {
        let mut found = Vec::new();
        let mut seeker = Seeker::new(needles);
        let bytes = seeker.file(file.as_fd(), &mut |one| found.push((one.at, one.secrets.to_vec(), one.encoding)));
        bytes.unwrap();
        found
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    const VALUE: &[u8] = b"???s3cr3t\"T0ken/for<tests>\\only&";

    #[test]
    fn p8_every_encoding_is_found_and_named() {
        let needles = needles(&[VALUE], 6);
        let json = serde_json::to_string(str::from_utf8(VALUE).unwrap()).unwrap();
        let twice = serde_json::to_string(&json).unwrap();
        let percent: String = VALUE.iter().map(|byte| format!("%{byte:02x}")).collect();
        let cases: [(Vec<u8>, Encoding); 11] = [
            (VALUE.to_vec(), Encoding::Plain),
            (BASE64.encode(VALUE).into(), Encoding::Base64),
            (BASE64URL_NOPAD.encode(VALUE).into(), Encoding::Base64url),
            (BASE32.encode(VALUE).into(), Encoding::Base32),
            (HEXUPPER.encode(VALUE).into(), Encoding::Hex),
            (percent.clone().into(), Encoding::Url),
            (percent.replace('%', "%25").into(), Encoding::UrlTwice),
            (json.into(), Encoding::Json),
            (twice.into(), Encoding::JsonTwice),
            (
                VALUE.iter().map(|byte| format!("\\u{byte:04x}")).collect::<String>().into(),
                Encoding::Unicode,
            ),
            (
                VALUE.iter().map(|byte| format!("&#{byte};")).collect::<String>().into(),
                Encoding::Html,
            ),
        ];
        for (text, encoding) in cases {
            let found = seek_in(&needles, &file_of(&[b"before ", &text[..], b" after"].concat()));
            let [(at, secrets, named)] = &found[..] else {
                panic!("{encoding:?}: {found:?}")
            };
            // Behind the quotes that a string of JSON begins with: one, or within another three bytes.
            assert!((7..=10).contains(at), "{encoding:?} at {at}");
            assert_eq!((secrets, *named), (&vec![0], encoding));
        }
    }

    #[test]
    fn t46_a_value_at_every_place_across_the_edge_of_a_read_is_found_once() {
        let needles = needles(&[VALUE, b"another-value-that-is-not-there"], 6);
        for form in [VALUE.to_vec(), BASE64.encode(VALUE).into_bytes()] {
            for at in CHUNK - form.len() - 2..CHUNK + 2 {
                let file = file_of(&[&vec![b'.'; at][..], &form, &vec![b'.'; CHUNK]].concat());
                let found = seek_in(&needles, &file);
                assert_eq!(found.len(), 1, "at {at}");
                assert_eq!(found[0].0, at as u64);
            }
        }
    }

    #[test]
    fn a_value_of_several_lines_is_one_place_where_it_is_whole_and_its_lines_elsewhere() {
        let key = b"-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nQ2xvdWRmbGFyZSBpcyBub3QgYSBrZXkh\n-----END KEY-----\n";
        let needles = needles(&[key], 6);
        let whole = seek_in(&needles, &file_of(&[&[b'.'; 90][..], key].concat()));
        assert_eq!(whole.len(), 1, "{whole:?}");
        assert_eq!(whole[0].2, Encoding::Plain);
        let indented = String::from_utf8_lossy(key).replace('\n', "\n    ");
        let lines = seek_in(&needles, &file_of(indented.as_bytes()));
        assert_eq!(lines.iter().map(|one| one.2).collect::<Vec<_>>(), [Encoding::Line; 2]);
    }

    #[test]
    fn secrets_with_the_same_value_are_all_named_and_short_ones_are_not_looked_for() {
        let needles = needles(&[b"12345\n", VALUE, b"1234567890", &[VALUE, b"\n"].concat()], 16);
        assert_eq!(needles.too_short(), [0, 2]);
        let found = seek_in(&needles, &file_of(&[b"12345 1234567890 ", VALUE].concat()));
        assert_eq!(found, [(17, vec![1, 3], Encoding::Plain)]);
    }

    #[test]
    fn lines_that_are_too_short_are_no_help_to_who_guesses() {
        let value = b"user=anna\npassword-of-many-characters\n";
        let seen = |least| seek_in(&needles(&[value], least), &file_of(b"user=anna password-of-many-characters"));
        assert_eq!(seen(6).len(), 2);
        assert_eq!(seen(16).len(), 1);
    }

    #[test]
    fn a_hole_of_a_terabyte_is_passed_over() {
        let file = file_of(VALUE);
        file.write_all_at(VALUE, 1 << 40).unwrap();
        let found = seek_in(&needles(&[VALUE], 6), &file);
        assert_eq!(found.iter().map(|one| one.0).collect::<Vec<_>>(), [0, 1 << 40]);
    }

    #[test]
    fn t19_what_is_no_regular_file_or_not_open_for_reading_is_refused_and_does_not_wait() {
        let needles = needles(&[VALUE], 6);
        let (pipe, _writer) = rustix::pipe::pipe().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let only_writing = File::create(folder.path().join("x")).unwrap();
        let device = File::open("/dev/zero").unwrap();
        for fd in [
            pipe.as_fd(),
            File::open(folder.path()).unwrap().as_fd(),
            device.as_fd(),
            only_writing.as_fd(),
        ] {
            assert!(Seeker::new(&needles).file(fd, &mut |_| panic!("found")).is_err());
        }
    }

    #[test]
    fn an_offset_that_somebody_moved_hides_nothing() {
        let mut file = file_of(VALUE);
        file.seek(io::SeekFrom::End(0)).unwrap();
        assert_eq!(seek_in(&needles(&[VALUE], 6), &file).len(), 1);
    }
}
