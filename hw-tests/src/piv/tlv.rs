//! BER-TLV as PIV commands use it: tags of one byte (NIST SP 800-73-4 part 2, 3).

/// An object with this tag.
pub(super) fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len();
    let head = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, value.to_vec()].concat()
}

/// The value of the first object with this tag.
pub(super) fn find(objects: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = objects;
    loop {
        let (tag, value, behind) = first(rest)?;
        if tag == wanted {
            return Some(value);
        }
        rest = behind;
    }
}

/// The first object's tag and value, and what is behind it.
pub(super) fn first(objects: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, body) = match *objects {
        [_, 0x82, high, low, ref body @ ..] => (u16::from_be_bytes([high, low]).into(), body),
        [_, 0x81, length, ref body @ ..] => (usize::from(length), body),
        [_, length @ 0..=0x7f, ref body @ ..] => (usize::from(length), body),
        _ => return None,
    };
    let (value, behind) = body.split_at_checked(length)?;
    Some((objects[0], value, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_every_length_are_found_again_and_cut_ones_are_not() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 3000] {
            let value = vec![7; length];
            let objects = [tlv(0x80, &[1]), tlv(0x81, &value)].concat();
            assert_eq!(find(&objects, 0x81), Some(&value[..]));
            assert_eq!(find(&objects, 0x82), None);
            assert_eq!(find(&objects[..objects.len() - 1], 0x81), None);
        }
    }
}
