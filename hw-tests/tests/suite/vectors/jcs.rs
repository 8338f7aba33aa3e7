//! Everything that is signed is canonical JSON.

use serde::Deserialize;
use serde_json::Value;
use touchlease::encoding::jcs::{JcsError, from_slice, to_vec};

use super::Tally;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    input: String,
    output: String,
}

#[test]
fn t59_rfc_8785_texts_are_written_in_their_canonical_form_or_refused() {
    let file: File = serde_json::from_str(include_str!("../../../vectors/rfc8785.json")).unwrap();
    let (mut writes, mut reads) = (Tally::new("RFC 8785, written"), Tally::new("RFC 8785, read"));
    for vector in &file.vectors {
        let written = to_vec(&serde_json::from_str::<Value>(&vector.input).unwrap());
        if writes.applies(written.is_ok()) {
            assert_eq!(String::from_utf8(written.unwrap()).unwrap(), vector.output, "{}", vector.name);
        } else {
            assert!(matches!(written, Err(JcsError::Number | JcsError::Name)), "{}", vector.name);
        }
        let read = from_slice::<Value>(vector.output.as_bytes());
        if reads.applies(read.is_ok()) {
            assert_eq!(read.unwrap(), serde_json::from_str::<Value>(&vector.output).unwrap());
        } else {
            assert!(matches!(read, Err(JcsError::Number | JcsError::Name)), "{}", vector.name);
        }
        let other = from_slice::<Value>(vector.input.as_bytes());
        assert!(other.is_err(), "{}: another form was read", vector.name);
    }
    let why = "fractions and names outside ASCII, which no text of ours has: they are refused by name";
    writes.is(2, 6, why);
    reads.is(3, 6, why);
}
