//! Four words by which a person matches what a requester printed with what a prompt shows.

use bip39::Language;

use super::Digest;

/// Four words of the BIP-39 English list: the first 44 bits of `digest`, eleven a word.
///
/// They are no defence against the requester, who can print what he likes.
#[must_use]
pub fn four_words(digest: &Digest) -> [&'static str; 4] {
    let list = Language::English.word_list();
    let bits = digest.0[..6].iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    // 48 bits were read; word k is bits 11k to 11k+10 from the top.
    std::array::from_fn(|k| list[(bits >> (48 - 11 * (k + 1)) & 0x7ff) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

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
