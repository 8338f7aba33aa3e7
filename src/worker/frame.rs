//! What a worker and its daemon send each other: length-prefixed JSON, with secrets beside it in a tail of their own, so that no
//! serializer ever holds a copy of one.
//!
//! A frame is: length of the JSON (u32, big-endian), length of the tail (u32), JSON, tail.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroize;

use crate::secret::Secret;

/// Longest JSON in a frame; a list of some hundred credentials fits.
pub const LONGEST_JSON: usize = 48 * 1024;
/// Longest tail in a frame: two PINs, two outputs, or the values that a lease gives to a proxy.
pub const LONGEST_TAIL: usize = 64 * 1024;
/// Bytes in front of a frame.
pub const HEAD: usize = 8;

/// Writes a frame.
///
/// # Errors
/// The other end is gone, or the frame is too long.
pub fn write_frame(mut to: impl Write, message: &impl Serialize, tail: &[u8]) -> io::Result<()> {
    let (head, json) = head_and_json(message, tail.len())?;
    to.write_all(&head)?;
    to.write_all(&json)?;
    to.write_all(tail)
}

/// The parts of a frame but its tail.
///
/// # Errors
/// The frame is too long.
pub fn head_and_json(message: &impl Serialize, tail: usize) -> io::Result<([u8; HEAD], Vec<u8>)> {
    let json = serde_json::to_vec(message)?;
    if json.len() > LONGEST_JSON || tail > LONGEST_TAIL {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut head = [0; HEAD];
    // Both fit: checked above.
    head[..4].copy_from_slice(&(json.len() as u32).to_be_bytes());
    head[4..].copy_from_slice(&(tail as u32).to_be_bytes());
    Ok((head, json))
}

/// Lengths of JSON and tail.
///
/// # Errors
/// Longer than allowed.
pub fn lengths(head: [u8; HEAD]) -> io::Result<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = head;
    let (json, tail) = (u32::from_be_bytes([a, b, c, d]) as usize, u32::from_be_bytes([e, f, g, h]) as usize);
    if json > LONGEST_JSON || tail > LONGEST_TAIL {
        Err(io::ErrorKind::InvalidData.into())
    } else {
        Ok((json, tail))
    }
}

/// Reads a frame; its tail goes straight into locked memory.
///
/// # Errors
/// The other end is gone, the frame is malformed, or there is no locked memory.
pub fn read_frame<T: DeserializeOwned>(mut from: impl Read) -> io::Result<(T, Secret)> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head)?;
    let (json_len, tail_len) = lengths(head)?;
    let mut json = vec![0; json_len];
    from.read_exact(&mut json)?;
    let mut tail = Secret::zeroed(tail_len)?;
    from.read_exact(tail.expose_mut())?;
    Ok((serde_json::from_slice(&json)?, tail))
}

/// Cuts a frame off the front of `buffer[..filled]`, once it is whole, and wipes where it was.
///
/// # Errors
/// Malformed, too long, or no locked memory.
pub fn cut_frame<T: DeserializeOwned>(buffer: &mut [u8], filled: &mut usize) -> io::Result<Option<(T, Secret)>> {
    let Some((head, rest)) = buffer[..*filled].split_first_chunk_mut::<HEAD>() else {
        return Ok(None);
    };
    let (json_len, tail_len) = lengths(*head)?;
    if rest.len() < json_len + tail_len {
        return Ok(None);
    }
    let (json, rest) = rest.split_at_mut(json_len);
    let tail = Secret::from_slice_wiping(&mut rest[..tail_len])?;
    let message = serde_json::from_slice(json)?;
    let len = HEAD + json_len + tail_len;
    buffer.copy_within(len..*filled, 0);
    buffer[*filled - len..*filled].zeroize();
    *filled -= len;
    Ok(Some((message, tail)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize)]
    enum Word {
        TouchNow,
        AnotherProgram,
    }

    #[test]
    fn a_frame_carries_its_secrets_beside_the_json() {
        let mut wire = Vec::new();
        write_frame(&mut wire, &Word::TouchNow, b"1234").unwrap();
        assert_eq!(wire, b"\0\0\0\x0a\0\0\0\x04\"TouchNow\"1234");
        let (word, tail): (Word, _) = read_frame(&wire[..]).unwrap();
        assert!(matches!(word, Word::TouchNow));
        assert_eq!(tail.expose(), b"1234");
    }

    #[test]
    fn frames_are_cut_off_a_buffer_in_whatever_pieces_they_come_and_leave_nothing_behind() {
        let mut wire = Vec::new();
        write_frame(&mut wire, &Word::TouchNow, b"1234").unwrap();
        write_frame(&mut wire, &Word::AnotherProgram, b"").unwrap();
        let (mut buffer, mut filled, mut seen) = ([0; 64], 0, 0);
        for byte in wire {
            buffer[filled] = byte;
            filled += 1;
            if cut_frame::<Word>(&mut buffer, &mut filled).unwrap().is_some() {
                seen += 1;
            }
        }
        assert_eq!((seen, filled, buffer), (2, 0, [0; 64]));
    }

    #[test]
    fn t58_frames_that_claim_too_much_or_hold_nonsense_are_errors() {
        assert!(read_frame::<Word>(&b"\xff\xff\xff\xff\0\0\0\0"[..]).is_err());
        assert!(read_frame::<Word>(&b"\0\0\0\x02\xff\xff\xff\xff{}"[..]).is_err());
        assert!(read_frame::<Word>(&b"\0\0\0\x02\0\0\0\0{}"[..]).is_err());
        assert!(read_frame::<Word>(&b"\0\0\0\x0a\0\0\0\0\"Touch"[..]).is_err());
        assert!(write_frame(Vec::new(), &Word::TouchNow, &[0; LONGEST_TAIL + 1]).is_err());
    }
}
