//! The forms in which a program may print a value: what the masker looks for.
//!
//! Every function returns whole byte strings. Most values of everyday use (letters, digits, `-`, `_`) have many equal forms;
//! the index removes the doubles.

use data_encoding::{BASE32, BASE32_NOPAD, BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, Encoding as Alphabet, HEXLOWER, HEXUPPER};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How a form is made of its value. The first of two that come to the same bytes is the one that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As it is, or with the line ends of a terminal.
    Plain,
    /// One line of a value that has several.
    Line,
    /// Base64 (RFC 4648, section 4).
    Base64,
    /// Base64url (section 5).
    Base64url,
    /// Base32 (section 6).
    Base32,
    /// Hexadecimal.
    Hex,
    /// Percent-encoded.
    Url,
    /// Percent-encoded, twice.
    UrlTwice,
    /// In a string of JSON.
    Json,
    /// In a string of JSON that is itself in one.
    JsonTwice,
    /// `\u` for every character.
    Unicode,
    /// With the character references of HTML.
    Html,
}

/// Longest value in bytes that is looked for in JSON within JSON, too: its forms are kept whole, and one of a megabyte with every byte in it
/// would take some hundred megabytes more.
const LONGEST_NESTED: usize = 64 << 10;

/// One byte string to look for.
pub(super) struct Form {
    /// The bytes, at least [`super::SHORTEST`] of them.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Whether a line break may stand inside it: `base64`, `base32` and `xxd -p` break their output into lines.
    pub wraps: bool,
    /// How it is made.
    pub encoding: Encoding,
}

/// The part of `value` that has to be at least [`super::SHORTEST`] bytes long: line breaks at its end are how it was
/// stored, not what is secret (`$(...)` in a shell drops them, and so do most readers of files).
pub(super) fn core(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
    &value[..end.map_or(0, |last| last + 1)]
}

/// Every form of `value` that is long enough to be masked.
pub(super) fn of(value: &[u8]) -> Vec<Form> {
    let value = core(value);
    let mut forms = Forms {
        list: Vec::new(),
        encoding: Encoding::Plain,
    };
    if value.len() < super::SHORTEST {
        return forms.list;
    }
    raw(value, &mut forms);
    bits(value, &mut forms);
    percent(value, &mut forms);
    backslash(value, &mut forms);
    entities(value, &mut forms);
    forms.list
}

struct Forms {
    list: Vec<Form>,
    /// Of those that are added next.
    encoding: Encoding,
}

impl Forms {
    fn add(&mut self, bytes: Vec<u8>) {
        self.push(bytes, false);
    }

    fn add_wrapping(&mut self, bytes: Vec<u8>) {
        self.push(bytes, true);
    }

    fn push(&mut self, bytes: Vec<u8>, wraps: bool) {
        let bytes = Zeroizing::new(bytes);
        if bytes.len() >= super::SHORTEST {
            let encoding = self.encoding;
            self.list.push(Form { bytes, wraps, encoding });
        }
    }
}

/// The value, the value as a terminal prints it (ONLCR: `\n` becomes `\r\n`), and each of its lines: what indents,
/// quotes or greps a key file prints lines. The armour lines of PEM are the same in every key file and stay readable.
fn raw(value: &[u8], forms: &mut Forms) {
    forms.add(value.to_vec());
    if !value.contains(&b'\n') {
        return;
    }
    forms.add(each(value, |byte, out| match byte {
        b'\n' => out.extend_from_slice(b"\r\n"),
        _ => out.push(byte),
    }));
    forms.encoding = Encoding::Line;
    for line in value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        if !line.starts_with(b"-----BEGIN ") && !line.starts_with(b"-----END ") {
            forms.add(line.to_vec());
        }
    }
}

/// Base64, base64url (RFC 4648, sections 4 and 5) at three byte offsets, base32 (section 6) at five, hex in both cases.
fn bits(value: &[u8], forms: &mut Forms) {
    for (padded, bare, encoding) in [
        (BASE64, BASE64_NOPAD, Encoding::Base64),
        (BASE64URL, BASE64URL_NOPAD, Encoding::Base64url),
    ] {
        forms.encoding = encoding;
        for offset in 0..3 {
            shifted(value, offset, 6, &padded, &bare, forms);
        }
    }
    forms.encoding = Encoding::Base32;
    for offset in 0..5 {
        shifted(value, offset, 5, &BASE32, &BASE32_NOPAD, forms);
    }
    forms.encoding = Encoding::Hex;
    forms.add_wrapping(HEXLOWER.encode(value).into_bytes());
    forms.add_wrapping(HEXUPPER.encode(value).into_bytes());
}

/// The characters that `value` determines when `offset` other bytes stand before it. A character that also holds bits of
/// a neighbour is unknown and left out; at the very end of an encoding those bits are zero, so there the last character
/// and the padding are known too.
fn shifted(value: &[u8], offset: usize, width: usize, padded: &Alphabet, bare: &Alphabet, forms: &mut Forms) {
    let mut bytes = Zeroizing::new(vec![0; offset]);
    bytes.extend_from_slice(value);
    let first = (offset * 8).div_ceil(width);
    let last = bytes.len() * 8 / width;
    let whole = Zeroizing::new(padded.encode(&bytes));
    let unpadded = bare.encode_len(bytes.len());
    for end in [last, unpadded, whole.len()] {
        forms.add_wrapping(whole.as_bytes()[first..end].to_vec());
    }
}

/// Which bytes an encoder of URLs leaves as they are, beside letters and digits.
const SAFE: [&[u8]; 5] = [
    b"-_.~",                 // RFC 3986, section 2.3; Go, Python's quote(safe='')
    b"-_.~/",                // Python's quote
    b"-_.~!*'()",            // ECMAScript's encodeURIComponent
    b"-_.~!*'();/?:@&=+$,#", // ECMAScript's encodeURI
    b"-_.* ",                // application/x-www-form-urlencoded (WHATWG URL, section 5): the space becomes a plus
];

/// Percent-encoding (RFC 3986, section 2.1) of the unsafe bytes and of all, in both cases, and the same encoded again.
fn percent(value: &[u8], forms: &mut Forms) {
    for hex in [b"0123456789ABCDEF", b"0123456789abcdef"] {
        let escape = |byte: u8, sign: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(sign);
            out.push(hex[usize::from(byte >> 4)]);
            out.push(hex[usize::from(byte & 15)]);
        };
        for (sign, twice) in [(&b"%"[..], false), (b"%25", true)] {
            forms.encoding = if twice { Encoding::UrlTwice } else { Encoding::Url };
            forms.add(each(value, |byte, out| escape(byte, sign, out)));
            for safe in SAFE {
                forms.add(each(value, |byte, out| match byte {
                    // The second time it is the plus that is not safe.
                    b' ' if twice && safe.contains(&b' ') => escape(b'+', b"%", out),
                    b' ' if safe.contains(&b' ') => out.push(b'+'),
                    _ if byte.is_ascii_alphanumeric() || safe.contains(&byte) => out.push(byte),
                    _ => escape(byte, sign, out),
                }));
            }
        }
    }
}

/// Strings of JSON (RFC 8259, section 7) as the encoders in use write them, and `\u` for every character.
fn backslash(value: &[u8], forms: &mut Forms) {
    for upper in [false, true] {
        let unit = |unit: u16, out: &mut Vec<u8>| {
            let text = if upper {
                format!("\\u{unit:04X}")
            } else {
                format!("\\u{unit:04x}")
            };
            out.extend_from_slice(text.as_bytes());
        };
        // PHP and some JavaScript escape the slash; Python and PHP all that is not ASCII; Go <, > and &.
        for (slash, ascii, html) in [
            (false, false, false),
            (true, false, false),
            (false, true, false),
            (true, true, false),
            (false, false, true),
        ] {
            let json = Zeroizing::new(json_string(value, slash, ascii, html, unit));
            if value.len() <= LONGEST_NESTED {
                forms.encoding = Encoding::JsonTwice;
                forms.add(nested(&json, slash));
            }
            forms.encoding = Encoding::Json;
            forms.add(json.to_vec());
        }
        forms.encoding = Encoding::Unicode;
        forms.add(characters(value, |character, out| units(character, unit, out)));
    }
}

/// The inside of a string of JSON: with the slash escaped, with all that is not ASCII, with what HTML acts upon.
fn json_string(value: &[u8], slash: bool, ascii: bool, html: bool, unit: impl Fn(u16, &mut Vec<u8>) + Copy) -> Vec<u8> {
    characters(value, |character, out| match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        '/' if slash => out.extend_from_slice(b"\\/"),
        '<' | '>' | '&' if html => unit(character as u16, out),
        '\0'..='\u{1f}' => unit(character as u16, out),
        _ if ascii && !character.is_ascii() => units(character, unit, out),
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    })
}

/// The inside of a string of JSON in another one: a program's output in a message, in a file of messages, as agents' transcripts are.
fn nested(json: &[u8], slash: bool) -> Vec<u8> {
    let mut twice = Vec::with_capacity(json.len() * 2);
    for byte in json {
        if matches!(byte, b'"' | b'\\') || slash && *byte == b'/' {
            twice.push(b'\\');
        }
        twice.push(*byte);
    }
    twice
}

/// A character as its UTF-16 code units, which is what `\u` counts in.
fn units(character: char, unit: impl Fn(u16, &mut Vec<u8>), out: &mut Vec<u8>) {
    for code in character.encode_utf16(&mut [0; 2]) {
        unit(*code, out);
    }
}

/// How an encoder of HTML writes an apostrophe and a double quote, when it touches them.
const QUOTES: [(&str, &str); 6] = [
    ("&#39;", "&quot;"),
    ("&#039;", "&quot;"), // PHP's htmlspecialchars
    ("&#x27;", "&quot;"),
    ("&apos;", "&quot;"),
    ("&#39;", "&#34;"),
    ("'", "\""),
];

/// Character references of HTML (WHATWG HTML, section 13.5): named, decimal and hexadecimal.
fn entities(value: &[u8], forms: &mut Forms) {
    forms.encoding = Encoding::Html;
    for (apostrophe, quote) in QUOTES {
        forms.add(each(value, |byte, out| match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'"' => out.extend_from_slice(quote.as_bytes()),
            b'\'' => out.extend_from_slice(apostrophe.as_bytes()),
            _ => out.push(byte),
        }));
    }
    let decimal = |code: u32| format!("&#{code};");
    let lower = |code: u32| format!("&#x{code:x};");
    let upper = |code: u32| format!("&#x{code:X};");
    let capital = |code: u32| format!("&#X{code:X};");
    for write in [&decimal as &dyn Fn(u32) -> String, &lower, &upper, &capital] {
        forms.add(characters(value, |character, out| {
            out.extend_from_slice(write(character as u32).as_bytes());
        }));
        forms.add(characters(value, |character, out| match character {
            '&' | '<' | '>' | '"' | '\'' => out.extend_from_slice(write(character as u32).as_bytes()),
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }));
    }
}

/// `value` with each byte written by `write`. The capacity is the widest form's, so that no growth leaves a copy behind.
fn each(value: &[u8], mut write: impl FnMut(u8, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * WIDEST);
    for byte in value {
        write(*byte, &mut out);
    }
    out
}

/// `value` with each character written by `write`; bytes that are not UTF-8 stand for the characters of the same number.
fn characters(value: &[u8], mut write: impl FnMut(char, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * WIDEST);
    match std::str::from_utf8(value) {
        Ok(text) => text.chars().for_each(|character| write(character, &mut out)),
        Err(_) => value.iter().for_each(|byte| write(char::from(*byte), &mut out)),
    }
    out
}

/// The most bytes that one byte of a value becomes (`&#x7f;`, `&quot;`, `\u007f`).
const WIDEST: usize = 6;
