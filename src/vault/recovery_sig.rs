//! Signatures by the recovery key: an ordinary SSHSIG of type `ecdsa-sha2-nistp256`, which stock `ssh-keygen -Y verify` reads.

use data_encoding::BASE64;

use crate::encoding::es256::{self, Point};
use crate::encoding::sshsig::{Namespace, signed_blob};

use super::bytes::{Bytes, put_field};
use super::slot::Private;

const KEY_TYPE: &[u8] = b"ecdsa-sha2-nistp256";
const CURVE: &[u8] = b"nistp256";
const HASH: &[u8] = b"sha512";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "-----END SSH SIGNATURE-----\n";
const LINE: usize = 70;

/// The armored signature of `text` by the recovery key. `None` only for a scalar outside the curve's order.
#[must_use]
pub fn sign(private: &Private, point: &Point, namespace: Namespace, text: &[u8]) -> Option<String> {
    let signature = es256::sign(private.scalar(), &signed_blob(namespace, text))?;
    Some(armored(point, namespace, &signature))
}

/// The public key that an armored signature of this type names.
#[must_use]
pub fn signer(armored: &str) -> Option<Point> {
    parse(armored).map(|(point, _)| point)
}

/// Whether `armored` is `point`'s signature of `text`, in the one form that [`sign`] writes.
#[must_use]
pub fn verify(armored: &str, point: &Point, namespace: Namespace, text: &[u8]) -> bool {
    let check = || {
        let (_, scalars) = parse(armored)?;
        // Strict by re-encoding: namespace, hash, mpints and armor have one form each.
        (self::armored(point, namespace, &scalars) == armored).then_some(())?;
        es256::verify(point, &signed_blob(namespace, text), &scalars).ok()
    };
    check().is_some()
}

fn armored(point: &Point, namespace: Namespace, scalars: &[u8; 64]) -> String {
    let (mut key, mut numbers, mut signature) = (Vec::new(), Vec::new(), Vec::new());
    for field in [KEY_TYPE, CURVE, point] {
        put_field(&mut key, field);
    }
    for number in scalars.chunks_exact(32) {
        put_field(&mut numbers, &mpint(number));
    }
    put_field(&mut signature, KEY_TYPE);
    put_field(&mut signature, &numbers);
    let mut body = b"SSHSIG\0\0\0\x01".to_vec();
    for field in [&key, namespace.as_str().as_bytes(), b"", HASH, &signature] {
        put_field(&mut body, field);
    }
    let text = BASE64.encode(&body);
    let mut out = BEGIN.to_owned();
    for start in (0..text.len()).step_by(LINE) {
        out.push_str(&text[start..text.len().min(start + LINE)]);
        out.push('\n');
    }
    out + END
}

/// Public key, and r and s. Only as strict as it must be to find them.
fn parse(armored: &str) -> Option<(Point, [u8; 64])> {
    let inner = armored.strip_prefix(BEGIN)?.strip_suffix(END)?;
    let body = BASE64.decode(inner.replace('\n', "").as_bytes()).ok()?;
    let mut body = Bytes::new(body.strip_prefix(b"SSHSIG\0\0\0\x01")?);
    let mut key = Bytes::new(body.field()?);
    (key.field()? == KEY_TYPE && key.field()? == CURVE).then_some(())?;
    let point = key.field()?.try_into().ok()?;
    for _ in 0..3 {
        body.field()?;
    }
    let mut signature = Bytes::new(body.field()?);
    signature.field()?;
    let mut numbers = Bytes::new(signature.field()?);
    let mut scalars = [0; 64];
    for half in scalars.chunks_exact_mut(32) {
        let number = numbers.field()?;
        let digits = number.strip_prefix(&[0]).unwrap_or(number);
        half.get_mut(32_usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    }
    Some((point, scalars))
}

/// RFC 4251, 5.
fn mpint(number: &[u8]) -> Vec<u8> {
    let digits = &number[number.iter().take_while(|b| **b == 0).count()..];
    let sign = digits.first().filter(|b| **b & 0x80 != 0).map(|_| 0);
    sign.into_iter().chain(digits.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::random;
    use super::super::testing::Folder;
    use super::*;

    const TEXT: &[u8] = b"{\"v\":1}";

    #[test]
    fn a_signature_verifies_and_every_flipped_byte_of_it_does_not() {
        let (private, point) = Private::generate(&mut random::system());
        let text = sign(&private, &point, Namespace::Vault, TEXT).unwrap();
        assert_eq!(signer(&text), Some(point));
        assert!(verify(&text, &point, Namespace::Vault, TEXT));
        assert!(!verify(&text, &point, Namespace::Lease, TEXT));
        assert!(!verify(&text, &point, Namespace::Vault, b"{}"));
        for i in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[i] ^= 1;
            let bad = String::from_utf8(bad).unwrap();
            assert!(!verify(&bad, &point, Namespace::Vault, TEXT), "{i}");
        }
    }

    #[test]
    fn stock_ssh_keygen_accepts_it() {
        let folder = Folder::new();
        let (private, point) = Private::generate(&mut random::system());
        let mut key = Vec::new();
        for field in [KEY_TYPE, CURVE, &point] {
            put_field(&mut key, field);
        }
        let line = format!("paper ecdsa-sha2-nistp256 {}\n", BASE64.encode(&key));
        std::fs::write(folder.join("signers"), line).unwrap();
        std::fs::write(folder.join("text"), TEXT).unwrap();
        std::fs::write(folder.join("sig"), sign(&private, &point, Namespace::Vault, TEXT).unwrap()).unwrap();
        let verify = std::process::Command::new("ssh-keygen")
            .args([
                "-Y",
                "verify",
                "-n",
                "touchlease-vault",
                "-I",
                "paper",
                "-f",
                "signers",
                "-s",
                "sig",
            ])
            .current_dir(&*folder)
            .stdin(std::fs::File::open(folder.join("text")).unwrap())
            .output()
            .unwrap();
        assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    }
}
