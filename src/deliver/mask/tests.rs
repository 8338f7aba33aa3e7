#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io;

use super::*;

const VALUES: [&[u8]; 6] = [
    b"hunter2",
    b"s3cr3t-T0ken_for.tests~only",
    b"p\"q\\r/s&t<u>v'w %+x",
    "gr\u{fc}n \u{1f511} key".as_bytes(),
    b"\x00\x01\xfe\xff\x80binary\x1b",
    b"-----BEGIN X-----\nMIIabcdefgh\nijklmnop12\n-----END X-----\n",
];

/// A generator with fixed seeds (xorshift64*), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn take(masker: &mut Masker<&Patterns>, out: &mut Vec<u8>) {
    let done = masker.write_to(|slices| {
        let before = out.len();
        // A writer that takes little at a time.
        for slice in slices {
            out.extend_from_slice(&slice[..slice.len().min(7)]);
            if slice.len() > 7 {
                break;
            }
        }
        io::Result::Ok(out.len() - before)
    });
    assert!(done.unwrap());
}

fn feed(masker: &mut Masker<&Patterns>, bytes: &[u8], out: &mut Vec<u8>) {
    let mut left = bytes;
    while !left.is_empty() {
        let space = masker.space();
        let count = space.len().min(left.len()).min(CHUNK);
        space[..count].copy_from_slice(&left[..count]);
        left = &left[count..];
        masker.filled(count);
        take(masker, out);
    }
}

/// The same where what needs no mask goes past the masker, as bodies of answers do.
fn masked_past(patterns: &Patterns, chunks: &[&[u8]]) -> Vec<u8> {
    let (mut masker, mut out) = (Masker::new(patterns), Vec::new());
    for chunk in chunks {
        let clear = if masker.is_at_rest() { patterns.clear(chunk, 1) } else { 0 };
        out.extend_from_slice(&chunk[..clear]);
        feed(&mut masker, &chunk[clear..], &mut out);
    }
    masker.finish();
    take(&mut masker, &mut out);
    out
}

fn masked_in(patterns: &Patterns, chunks: &[&[u8]]) -> Vec<u8> {
    let (mut masker, mut out) = (Masker::new(patterns), Vec::new());
    for chunk in chunks {
        feed(&mut masker, chunk, &mut out);
    }
    masker.finish();
    take(&mut masker, &mut out);
    out
}

fn masked(patterns: &Patterns, input: &[u8]) -> String {
    String::from_utf8_lossy(&masked_in(patterns, &[input])).into_owned()
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn t46_every_form_is_masked_at_every_split() {
    let (mut masked, mut of) = (0, 0);
    for value in VALUES {
        let patterns = Patterns::new([("prod/X", value)]);
        for form in forms::of(value) {
            let input = [&b"before "[..], &form.bytes, b" after"].concat();
            let whole = masked_in(&patterns, &[&input]);
            assert!(!contains(&whole, &form.bytes), "{:?}", String::from_utf8_lossy(&form.bytes));
            assert!(contains(&whole, b"<touchlease:prod/X>"));
            assert!(whole.starts_with(b"before ") && whole.ends_with(b" after"));
            for at in 0..=input.len() {
                let (head, tail) = input.split_at(at);
                of += 1;
                masked += usize::from(masked_in(&patterns, &[head, tail]) == whole);
            }
            let bytes: Vec<&[u8]> = input.chunks(1).collect();
            of += 1;
            masked += usize::from(masked_in(&patterns, &bytes) == whole);
        }
    }
    println!("P8: {masked} of {of} splits of every form of {} values masked", VALUES.len());
    assert_eq!(masked, of);
}

/// A value, and the forms in which the encoders of Python's standard library write it (`hw-tests/vectors/masking.py`).
#[derive(serde::Deserialize)]
struct Vector {
    value: String,
    /// Each with its encoder's name.
    forms: Vec<(String, String)>,
}

#[test]
fn p8_t46_what_other_encoders_write_is_masked_to_the_last_byte() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("hw-tests/vectors/masking.json");
    let vectors: Vec<Vector> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let bytes = |text: &str| text.chars().map(|byte| u8::try_from(byte).unwrap()).collect::<Vec<u8>>();
    let (mut shown, mut of) = (Vec::new(), 0);
    for Vector { value, forms } in &vectors {
        let patterns = Patterns::new([("prod/X", &bytes(value)[..])]);
        for (encoder, form) in forms {
            let out = masked(&patterns, &[&b"before "[..], &bytes(form), b" after"].concat());
            of += 1;
            if out != "before <touchlease:prod/X> after" {
                shown.push(format!("{encoder}: {form} of {value:?}: {out}"));
            }
        }
    }
    println!("P8 other encoders: {} of {of} forms masked", of - shown.len());
    assert!(shown.is_empty() && of > 300, "{} of {of}:\n{}", shown.len(), shown.join("\n"));
}

#[test]
#[ignore = "long"]
fn p8_t46_every_form_is_masked_at_every_two_splits_and_in_10_000_streams() {
    let (mut masked, mut of) = (0, 0);
    for value in VALUES {
        let patterns = Patterns::new([("prod/X", value)]);
        for form in forms::of(value) {
            let input = [&b"before "[..], &form.bytes, b" after"].concat();
            let whole = masked_in(&patterns, &[&input]);
            for first in 0..=input.len() {
                for second in first..=input.len() {
                    of += 1;
                    masked += usize::from(masked_in(&patterns, &[&input[..first], &input[first..second], &input[second..]]) == whole);
                }
            }
        }
    }
    println!("P8: {masked} of {of} ways to cut a form in three masked");
    assert_eq!(masked, of);
    streams_are_masked(10_000);
}

#[test]
fn t46_random_streams_come_out_the_same_in_any_chunks() {
    streams_are_masked(40);
}

fn streams_are_masked(of: u64) {
    let patterns = Patterns::new(VALUES.iter().map(|value| ("a/b", *value)));
    let all: Vec<_> = VALUES
        .iter()
        .flat_map(|value| forms::of(value))
        .map(|form| form.bytes.to_vec())
        .collect();
    let same = (1..=of).filter(|seed| stream_is_masked(*seed, &patterns, &all)).count();
    println!("P8 streams: {same} of {of} masked in any chunks");
    assert_eq!(same as u64, of);
}

/// Whether a random stream of forms, whole and in part, and other bytes comes out without any form, and the same in any chunks.
fn stream_is_masked(seed: u64, patterns: &Patterns, all: &[Vec<u8>]) -> bool {
    let (mut random, mut input) = (Random(seed * 0x9E37_79B9), Vec::new());
    for _ in 0..60 {
        let form = &all[random.below(all.len())];
        match random.below(4) {
            0 => input.extend((0..random.below(90)).map(|_| random.next() as u8)),
            1 => input.extend_from_slice(&form[..random.below(form.len())]),
            2 => input.extend_from_slice(&form[random.below(form.len())..]),
            _ => input.extend_from_slice(form),
        }
    }
    let whole = masked_in(patterns, &[&input]);
    let mut in_chunks = |way: fn(&Patterns, &[&[u8]]) -> Vec<u8>| {
        let (mut chunks, mut rest) = (Vec::new(), &input[..]);
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(1 + random.below(50)));
            chunks.push(head);
            rest = tail;
        }
        way(patterns, &chunks)
    };
    all.iter().all(|form| !contains(&whole, form)) && (0..6).all(|_| in_chunks(masked_in) == whole && in_chunks(masked_past) == whole)
}

#[test]
fn t46_a_pause_anywhere_shows_at_most_three_bytes_of_a_form() {
    for value in VALUES {
        let patterns = Patterns::new([("prod/X", value)]);
        for form in forms::of(value) {
            for at in 1..form.bytes.len() {
                let (mut masker, mut out) = (Masker::new(&patterns), Vec::new());
                let (head, tail) = form.bytes.split_at(at);
                feed(&mut masker, head, &mut out);
                masker.settle();
                take(&mut masker, &mut out);
                assert!(
                    at >= HELD || out == head || out.is_empty() || out.starts_with(b"<"),
                    "a short beginning waits"
                );
                feed(&mut masker, tail, &mut out);
                masker.finish();
                take(&mut masker, &mut out);
                let mask = out.iter().position(|byte| *byte == b'<').unwrap();
                assert!(
                    mask < HELD,
                    "{:?} at {at}: {:?}",
                    String::from_utf8_lossy(&form.bytes),
                    String::from_utf8_lossy(&out)
                );
            }
        }
    }
}

#[test]
fn overlapping_secrets_leave_no_byte_of_either() {
    let patterns = Patterns::new([("a", &b"abcdefgh"[..]), ("b", b"efghijkl"), ("c", b"abcdefghijklmnop")]);
    assert_eq!(masked(&patterns, b"-abcdefghijkl-"), "-<touchlease:a>-");
    assert_eq!(masked(&patterns, b"-abcdefghijklmnop-"), "-<touchlease:c>-");
    assert_eq!(masked(&patterns, b"abcdefghabcdefgh"), "<touchlease:a><touchlease:a>");
}

#[test]
fn what_holds_no_secret_passes_unchanged_and_at_once() {
    let patterns = Patterns::new(VALUES.iter().map(|value| ("x", *value)));
    let mut random = Random(7);
    let (mut masker, mut out, mut input) = (Masker::new(&patterns), Vec::new(), Vec::new());
    for _ in 0..2000 {
        let line: Vec<u8> = (0..random.below(80))
            .map(|_| b'A' + (random.next() % 20) as u8)
            .chain(*b"\x1b[0m\r\n")
            .collect();
        feed(&mut masker, &line, &mut out);
        input.extend_from_slice(&line);
        assert_eq!(out.len(), input.len(), "a line is held though nothing can match");
    }
    assert_eq!(out, input);
    assert_eq!(masker.masked(), 0);
}

#[test]
fn a_prompt_is_shown_at_the_first_pause_though_a_secret_begins_like_its_end() {
    let patterns = Patterns::new([("x", &b"abcdefgh"[..])]);
    let (mut masker, mut out) = (Masker::new(&patterns), Vec::new());
    feed(&mut masker, b"Password: a", &mut out);
    assert_eq!(out, b"Password: ");
    assert!(masker.is_unsettled());
    masker.settle();
    take(&mut masker, &mut out);
    assert_eq!(out, b"Password: a");
    assert!(!masker.is_unsettled());
    feed(&mut masker, b"bcdefgh!", &mut out);
    assert_eq!(out, b"Password: a<touchlease:x>!");
}

#[test]
fn a_whole_secret_is_masked_at_the_first_pause_though_a_longer_one_may_follow() {
    let patterns = Patterns::new([("a", &b"hunter2"[..]), ("b", b"hunter2-and-more")]);
    let (mut masker, mut out) = (Masker::new(&patterns), Vec::new());
    feed(&mut masker, b"hunter2", &mut out);
    assert_eq!(out, b"");
    masker.settle();
    take(&mut masker, &mut out);
    assert_eq!(out, b"<touchlease:a>");
    feed(&mut masker, b"-and-more.", &mut out);
    assert_eq!(out, b"<touchlease:a>.");
    assert_eq!(masker.masked(), 1);
}

#[test]
fn a_truncated_secret_comes_out_whole_at_the_end() {
    let patterns = Patterns::new([("x", &b"abcdefgh"[..])]);
    assert_eq!(masked(&patterns, b"tail abcdefg"), "tail abcdefg");
}

#[test]
fn encoded_neighbours_hide_all_but_the_characters_they_share() {
    let value = b"s3cr3t-T0ken_for.tests~only";
    let patterns = Patterns::new([("x", &value[..])]);
    for (before, after) in [("", ""), ("a", ""), ("ab", "z"), ("abc", "zz"), ("abcd", "zzz")] {
        let text = [before.as_bytes(), value, after.as_bytes()].concat();
        for encoding in [data_encoding::BASE64, data_encoding::BASE64URL, data_encoding::BASE32] {
            let encoded = encoding.encode(&text);
            let out = masked(&patterns, encoded.as_bytes());
            let rest: usize = out.replace("<touchlease:x>", "").len();
            assert!(out.contains("<touchlease:x>"), "{encoded}: {out}");
            assert!(rest <= (before.len() + after.len()) * 2 + 10, "{encoded}: {out}");
        }
    }
}

#[test]
fn the_line_breaks_of_base64_and_xxd_hide_nothing() {
    let value: Vec<u8> = (0..300_u32).map(|n| b'!' + (n * n * 7 % 90) as u8).collect();
    let patterns = Patterns::new([("x", &value[..]), ("y", b"another-one-of-length")]);
    for encoded in [
        data_encoding::BASE64.encode(&value),
        data_encoding::BASE32.encode(&value),
        data_encoding::HEXLOWER.encode(&value),
    ] {
        for width in [60, 64, 76] {
            for line in ["\n", "\r\n"] {
                let lines: Vec<_> = encoded
                    .as_bytes()
                    .chunks(width)
                    .map(|l| String::from_utf8(l.to_vec()).unwrap())
                    .collect();
                let input = format!("head {} tail{line}", lines.join(line));
                let whole = masked(&patterns, input.as_bytes());
                assert_eq!(whole, format!("head <touchlease:x> tail{line}"));
                for at in 0..input.len() {
                    let (head, tail) = input.as_bytes().split_at(at);
                    assert_eq!(masked_in(&patterns, &[head, tail]), whole.as_bytes());
                }
            }
        }
    }
}

#[test]
fn short_values_are_named_and_left_alone() {
    let patterns = Patterns::new([("dev/PIN", &b"12345\n"[..]), ("dev/OK", b"123456\n")]);
    assert_eq!(patterns.too_short(), ["dev/PIN"]);
    assert_eq!(masked(&patterns, b"12345 123456"), "12345 <touchlease:dev/OK>");
    assert!(Patterns::new([("a", &b""[..])]).is_empty());
}

#[test]
fn a_mask_never_carries_a_secret_or_a_control_character() {
    let patterns = Patterns::new([("a/touchlease", &b"touchlease"[..]), ("n\x1b[1m\u{202e}", b"othersecret")]);
    assert_eq!(masked(&patterns, b"touchlease othersecret"), "*** ***");
    let patterns = Patterns::new([("n\x1b[1m\u{202e}", &b"othersecret"[..])]);
    assert_eq!(masked(&patterns, b"othersecret"), "<touchlease:n__1m_>");
}

#[test]
fn a_value_longer_than_a_read_is_masked() {
    let mut random = Random(3);
    let value: Vec<u8> = (0..100_000).map(|_| random.next() as u8).collect();
    let patterns = Patterns::new([("big", &value[..])]);
    let input = [b"<", &value[..], b">"].concat();
    assert_eq!(masked(&patterns, &input), "<<touchlease:big>>");
    let hex = data_encoding::HEXLOWER.encode(&value);
    assert_eq!(masked(&patterns, hex.as_bytes()), "<touchlease:big>");
}

/// The most memory that this process ever had, in bytes (proc(5), `VmHWM`).
fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    1024 * line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap()
}

#[test]
fn the_largest_value_of_all_bytes_takes_at_most_240_times_its_size_while_its_forms_are_made() {
    let value: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_le_bytes()[0]).collect();
    crate::sys::memory::give_back_large_pieces();
    let before = most_memory();
    let patterns = Patterns::new([("A", value.as_slice())]);
    let taken = most_memory() - before;
    println!("{} times", taken / value.len());
    assert!(taken <= 240 * value.len(), "{taken}");
    assert!(patterns.index.size() <= 200 * value.len(), "{}", patterns.index.size());
}
