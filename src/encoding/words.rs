//! Four words by which a person matches what a requester printed with what a prompt shows.

use super::Digest;

/// The BIP-39 English list, one word a line.
///
/// A table of 2048 references would be 32 KiB for the dynamic linker to fill in at the start of every command.
static LIST: &str = include_str!("words.txt");
/// Where each word begins in [`LIST`], and where the one after the last would.
static BEGINS: [u16; 2049] = begins(LIST.as_bytes());

/// Four words of the BIP-39 English list: the first 44 bits of `digest`, eleven a word.
///
/// They are no defence against the requester, who can print what he likes.
#[must_use]
pub fn four_words(digest: &Digest) -> [&'static str; 4] {
    let bits = digest.0[..6].iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    // 48 bits were read; word k is bits 11k to 11k+10 from the top.
    std::array::from_fn(|k| word((bits >> (48 - 11 * (k + 1)) & 0x7ff) as usize))
}

fn word(at: usize) -> &'static str {
    LIST[BEGINS[at].into()..BEGINS[at + 1].into()].trim_ascii_end()
}

const fn begins(list: &[u8]) -> [u16; 2049] {
    let mut begins = [0; 2049];
    let (mut at, mut word) = (0, 1);
    while at < list.len() {
        if list[at] == b'\n' {
            begins[word] = at as u16 + 1;
            word += 1;
        }
        at += 1;
    }
    assert!(word == begins.len(), "a list of another length");
    begins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_that_of_bip_39() {
        let ours: Vec<&str> = (0..2048).map(word).collect();
        assert_eq!(ours, bip39::Language::English.word_list());
    }

    #[test]
    fn words_are_the_first_44_bits_of_the_digest() {
        assert_eq!(four_words(&Digest([0; 32])), ["abandon"; 4]);
        assert_eq!(four_words(&Digest([0xff; 32])), ["zoo"; 4]);
        let mut bytes = [0; 32];
        // 0x001 0x002 0x003 0x004, eleven bits each, from the top.
        bytes[..6].copy_from_slice(&((1_u64 << 37 | 2 << 26 | 3 << 15 | 4 << 4).to_be_bytes()[2..]));
        assert_eq!(four_words(&Digest(bytes)), ["ability", "able", "about", "above"]);
    }
}
