//! The management key: four algorithms, and the two ways to show that one has it (Yubico SDK manual, PIV APDUs, "Authenticate:
//! management key").

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

use super::tlv::{find, tlv};

/// Triple DES (NIST SP 800-78-4, table 6-2), the factory's before firmware 5.7.
pub(super) const TRIPLE_DES: u8 = 0x03;
/// AES with keys of 128, 192 and 256 bits.
const AES_128: u8 = 0x08;
/// The factory's since firmware 5.7.
pub(super) const AES_192: u8 = 0x0a;
const AES_256: u8 = 0x0c;

const WITNESS: u8 = 0x80;
const CHALLENGE: u8 = 0x81;
const RESPONSE: u8 = 0x82;

/// A management key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ManagementKey {
    algorithm: u8,
    key: Vec<u8>,
}

/// What the card asked the host to decrypt, or to encrypt.
pub(super) enum Asked {
    Witness(Vec<u8>),
    Challenge(Vec<u8>),
}

/// One step of the exchange.
pub(super) enum Step {
    /// The card asks; this is the answer to send.
    Asks(Asked, Vec<u8>),
    /// The host has the key; this is the answer to send.
    Shown(Vec<u8>),
    /// It has not.
    NotShown,
    /// The template is none of the four that there are.
    Malformed,
}

impl ManagementKey {
    /// A key for this algorithm; `None` if the length is not the algorithm's.
    pub(super) fn new(algorithm: u8, key: &[u8]) -> Option<Self> {
        let length = match algorithm {
            TRIPLE_DES | AES_192 => 24,
            AES_128 => 16,
            AES_256 => 32,
            _ => return None,
        };
        let key = key.to_vec();
        (key.len() == length).then_some(Self { algorithm, key })
    }

    /// The one that every YubiKey has when it is new: 01 to 08, three times.
    pub(super) fn factory(algorithm: u8) -> Self {
        let key = [1, 2, 3, 4, 5, 6, 7, 8].repeat(3);
        Self { algorithm, key }
    }

    /// The algorithm's number.
    pub(super) fn algorithm(&self) -> u8 {
        self.algorithm
    }

    /// One block, encrypted; empty if it is none.
    pub(super) fn encrypt(&self, block: &[u8]) -> Vec<u8> {
        let encrypted = match self.algorithm {
            TRIPLE_DES => encrypt::<des::TdesEde3>(&self.key, block),
            AES_128 => encrypt::<aes::Aes128>(&self.key, block),
            AES_192 => encrypt::<aes::Aes192>(&self.key, block),
            _ => encrypt::<aes::Aes256>(&self.key, block),
        };
        encrypted.unwrap_or_default()
    }

    /// Goes one step, after what was asked before. Mutual: the host decrypts a witness, then has a challenge of its own encrypted.
    /// Single: the host encrypts a challenge.
    pub(super) fn step(&self, template: &[u8], asked: Option<Asked>, random: impl Fn(usize) -> Vec<u8>) -> Step {
        let Some(body) = find(template, 0x7c) else {
            return Step::Malformed;
        };
        let block = if self.algorithm == TRIPLE_DES { 8 } else { 16 };
        match (find(body, WITNESS), find(body, CHALLENGE), find(body, RESPONSE), asked) {
            (Some([]), None, None, _) => {
                let witness = random(block);
                let answer = tlv(0x7c, &tlv(WITNESS, &self.encrypt(&witness)));
                Step::Asks(Asked::Witness(witness), answer)
            }
            (None, Some([]), None, _) => {
                let challenge = random(block);
                let answer = tlv(0x7c, &tlv(CHALLENGE, &challenge));
                Step::Asks(Asked::Challenge(challenge), answer)
            }
            (Some(witness), Some(challenge), _, Some(Asked::Witness(wanted))) if challenge.len() == block => match witness == wanted {
                true => Step::Shown(tlv(0x7c, &tlv(RESPONSE, &self.encrypt(challenge)))),
                false => Step::NotShown,
            },
            (None, None, Some(response), Some(Asked::Challenge(challenge))) => match response == self.encrypt(&challenge) {
                true => Step::Shown(vec![]),
                false => Step::NotShown,
            },
            (Some(_), Some(_), ..) | (None, None, Some(_), _) => Step::NotShown,
            _ => Step::Malformed,
        }
    }
}

fn encrypt<C: BlockCipherEncrypt + KeyInit>(key: &[u8], block: &[u8]) -> Option<Vec<u8>> {
    let mut block = Array::try_from(block).ok()?;
    C::new_from_slice(key).ok()?.encrypt_block(&mut block);
    Some(block.to_vec())
}
