#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use zeroize::{Zeroize, Zeroizing};

use super::*;
use crate::encoding::es256;
use crate::secret::Secret;
use crate::sys::stack::REACH;
use crate::sys::stack::tests::{depth, left_by};

const BOTH: [Algorithm; 2] = [Algorithm::Es256, Algorithm::EdDsa];

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
}

fn loaded(algorithm: Algorithm) -> SigningKey {
    SigningKey::load(&[7; 32], &public_of(algorithm, &[7; 32]).unwrap()).unwrap()
}

#[test]
fn t59_the_signature_of_rfc_8037_appendix_a_4() {
    let private = BASE64URL_NOPAD.decode(b"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let public = PublicKey::from_text(Algorithm::EdDsa, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = SigningKey::load(&private, &public).unwrap().sign(message.as_bytes()).unwrap();
    let wanted = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(BASE64URL_NOPAD.encode(&signature), wanted);
}

/// The private key and the point that stand next to each other in RFC 6979, A.2.5, and in RFC 7515, A.3.1; the scalars 1 and n - 1, whose points are the
/// generator (SEC 2, 2.4.2) and its negative.
#[test]
fn t59_published_p_256_keys_load_with_the_public_halves_that_stand_beside_them_and_with_no_others() {
    let pairs = [
        (
            "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
            "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6",
            "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
        ),
        (
            "8e9b109e719098bf980487df1f5d77e9cb29606ebed2263b5f57c213df84f4b2",
            "7fcdce2770f6c45d4183cbee6fdb4b7b580733357be9ef13bacf6e3c7bd15445",
            "c7f144cd1bbd9b7e872cdfedb9eeb9f4b3695d6ea90b24ad8a4623288588e5ad",
        ),
        (
            "0000000000000000000000000000000000000000000000000000000000000001",
            "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        ),
        (
            "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550",
            "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "b01cbd1c01e58065711814b583f061e9d431cca994cea1313449bf97c840ae0a",
        ),
    ];
    let points = pairs.map(|(_, x, y)| PublicKey::from_bytes(Algorithm::Es256, &[vec![4], hex(x), hex(y)].concat()).unwrap());
    for (at, (private, _, _)) in pairs.iter().enumerate() {
        for (other, point) in points.iter().enumerate() {
            let key = SigningKey::load(&hex(private), point);
            assert_eq!(key.as_ref().err(), (at != other).then_some(&LoadError::OtherKey), "{at} {other}");
            let Ok(key) = key else { continue };
            let signature = key.sign(b"sample").unwrap();
            assert!(second_opinion(point, b"sample", &signature));
        }
    }
}

/// What `p256` and `ed25519-dalek` say of a signature.
fn second_opinion(public: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    use p256::ecdsa::signature::Verifier;
    match public.algorithm() {
        Algorithm::Es256 => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(public.as_bytes()).unwrap();
            let signature = p256::ecdsa::Signature::from_slice(signature);
            signature.is_ok_and(|signature| key.verify(message, &signature).is_ok())
        }
        Algorithm::EdDsa => {
            let key = ed25519_dalek::VerifyingKey::from_bytes(public.as_bytes().try_into().unwrap()).unwrap();
            key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
        }
    }
}

#[test]
fn t59_what_a_loaded_key_signs_an_independent_library_verifies_and_no_other_message() {
    for algorithm in BOTH {
        let key = loaded(algorithm);
        for len in [0, 1, 55, 56, 64, 130, 5000] {
            let message = vec![3; len];
            let mut signature = key.sign(&message).unwrap();
            assert!(second_opinion(key.public(), &message, &signature), "{algorithm:?} {len}");
            assert!(!second_opinion(key.public(), &[&message[..], b"x"].concat(), &signature));
            signature[len % 64] ^= 1;
            assert!(!second_opinion(key.public(), &message, &signature));
        }
    }
}

/// A nonce that comes twice gives the key away.
#[test]
fn no_two_p_256_signatures_of_one_message_have_the_same_nonce() {
    let key = loaded(Algorithm::Es256);
    let firsts: BTreeSet<[u8; 32]> = (0..1000).map(|_| key.sign(b"one").unwrap()[..32].try_into().unwrap()).collect();
    assert_eq!(firsts.len(), 1000);
    let ed25519 = loaded(Algorithm::EdDsa);
    assert_eq!(ed25519.sign(b"one"), ed25519.sign(b"one"));
}

#[test]
fn a_key_with_another_public_half_is_not_loaded_nor_are_bytes_that_are_no_key() {
    for algorithm in BOTH {
        let (own, other) = (public_of(algorithm, &[7; 32]).unwrap(), public_of(algorithm, &[8; 32]).unwrap());
        assert_eq!(SigningKey::load(&[7; 32], &own).unwrap().public(), &own);
        assert_eq!(SigningKey::load(&[7; 32], &other).err(), Some(LoadError::OtherKey));
        for len in [0, 31, 33, 64] {
            assert_eq!(SigningKey::load(&vec![7; len], &own).err(), Some(LoadError::OtherKey), "{len}");
            assert_eq!(public_of(algorithm, &vec![7; len]), None);
        }
    }
    let own = public_of(Algorithm::Es256, &[7; 32]).unwrap();
    let order = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    for private in [&[0; 32][..], &order, &[0xff; 32]] {
        assert_eq!(SigningKey::load(private, &own).err(), Some(LoadError::OtherKey));
        assert_eq!(public_of(Algorithm::Es256, private), None);
    }
}

#[test]
fn debug_output_shows_the_public_half_alone() {
    let key = loaded(Algorithm::EdDsa);
    assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public().thumbprint()));
}

/// A private key and what libraries make of it, each byte changed by [`MASK`]: whoever looks for them has none of them in memory. By Python's `hashlib` and
/// its integers.
const MASK: u8 = 0x5a;
const PRIVATE: &str = "49fcb71f6d07d507679a9939f7163a8f38bbaff1ed05b1e9030717f45eead311";
const FORMS: [&str; 7] = [
    PRIVATE,
    // Its words as this machine has them: the private scalar of P-256; times 2^256 modulo the order, as `ring` keeps it.
    "11d3ea5ef4170703e9b105edf1afbb388f3a16f739999a6707d5076d1fb7fc49",
    "853c6471be3fce3100265eafe97bcab7d00a9412b5f2f760d6682934a6542de2",
    // SHA-512 of it (RFC 8032, 5.1.5): its first half, as a scalar, and modulo the order; its second half.
    "67050d6a5038ba516e99de4656f293f17b536657456aa168d46b56abc0734fda",
    "62050d6a5038ba516e99de4656f293f17b536657456aa168d46b56abc0734f1a",
    "de55dae6fa8fccf18015fccacb9a17027b536657456aa168d46b56abc0734f5a",
    "84550d2ed96ed0e90107674af302a41563625c6b88510dca878b604c40fb7e03",
];

fn masked() -> Vec<Vec<u8>> {
    FORMS.iter().map(|form| hex(form)).collect()
}

/// The private key, in locked memory alone.
fn private() -> Secret {
    let mut secret = Secret::zeroed(32).unwrap();
    let masked = hex(PRIVATE);
    secret
        .expose_mut()
        .iter_mut()
        .zip(masked)
        .for_each(|(byte, masked)| *byte = masked ^ MASK);
    secret
}

/// How often half of any form lies in `bytes`.
fn count(bytes: &[u8], masked: &[Vec<u8>]) -> usize {
    let halves: Vec<&[u8]> = masked.iter().flat_map(|form| form.chunks(16)).collect();
    let mut begins = [false; 256];
    halves.iter().for_each(|half| begins[usize::from(half[0] ^ MASK)] = true);
    let is = |at: usize, half: &[u8]| {
        let there = bytes.get(at..at + half.len());
        there.is_some_and(|there| there.iter().zip(half).all(|(byte, masked)| byte ^ MASK == *masked))
    };
    let mut found = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if begins[usize::from(*byte)] {
            found += halves.iter().filter(|half| is(at, half)).count();
        }
    }
    found
}

/// How often it lies in what anybody can read of this process's memory.
fn in_memory(masked: &[Vec<u8>]) -> usize {
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = Zeroizing::new(vec![0; usize::try_from(to - from).unwrap()]);
        // Guard pages, and memory that is secret from the kernel too, cannot be read.
        let read = memory.read_at(&mut bytes, from).unwrap_or(0);
        found += count(&bytes[..read], masked);
    }
    found
}

/// Loads and signs, as a lease does.
fn used(algorithm: Algorithm) -> SigningKey {
    let private = private();
    let public = public_of(algorithm, private.expose()).unwrap();
    let key = SigningKey::load(private.expose(), &public).unwrap();
    for message in [&b"one"[..], &[3; 130]] {
        assert!(second_opinion(&public, message, &key.sign(message).unwrap()));
    }
    key
}

#[test]
fn t45_a_key_that_signs_leaves_nothing_of_itself_on_the_stack_which_the_libraries_do() {
    let masked = masked();
    for algorithm in BOTH {
        let left = left_by(|| drop(used(algorithm)));
        assert_eq!(count(&left, &masked), 0, "{algorithm:?}");
    }
    let private = private();
    let public = public_of(Algorithm::Es256, private.expose()).unwrap();
    let left = left_by(|| drop(es256(private.expose(), &public)));
    assert!(count(&left, &masked) > 0, "it is not looked for where it is");
}

#[test]
fn t45_a_key_that_signed_is_nowhere_in_memory_once_it_is_dropped() {
    let masked = masked();
    let mut copy = Zeroizing::new(private().expose().to_vec());
    assert!(in_memory(&masked) > 0, "it is not looked for where it is");
    copy.zeroize();
    drop(copy);
    for algorithm in BOTH {
        let key = used(algorithm);
        // Where it lies the kernel lets nobody look, if it has such memory.
        let locked = if crate::sys::memory::has_secret_memory() { 0 } else { usize::MAX };
        let found = in_memory(&masked);
        assert!(found <= locked, "{algorithm:?}: {found}");
        drop(key);
        assert_eq!(in_memory(&masked), 0, "{algorithm:?}");
    }
}

#[test]
fn t45_loading_and_signing_stay_within_the_stack_that_is_overwritten() {
    for algorithm in BOTH {
        let public = public_of(algorithm, &[7; 32]).unwrap();
        let key = SigningKey::load(&[7; 32], &public).unwrap();
        // Through `scrubbed` everything would be written to its end.
        let raw = depth(|| match &key.pair {
            Pair::Es256(pair) => {
                drop(es256(&[7; 32], &public));
                assert!(pair.get().sign(&SystemRandom::new(), &[3; 130]).is_ok());
            }
            Pair::EdDsa(pair) => {
                drop(eddsa(&[7; 32], &public));
                assert!(pair.get().try_sign(&[3; 130]).is_ok());
            }
        });
        assert!((512..REACH * 9 / 10).contains(&raw), "{algorithm:?}: {raw}");
    }
    let raw = depth(|| drop(p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap()));
    assert!(raw < REACH * 9 / 10, "the public half of a new key: {raw}");
    let raw = depth(|| assert!(es256::sign(&[7; 32], &[3; 130]).is_some()));
    assert!(raw < REACH * 9 / 10, "a certificate of a new key: {raw}");
}
