//! SSHSIG of type `ecdsa-sha2-nistp256`, by the recovery key and by PIV keys. It says nothing of a touch: what is known of the key has to.

use super::{CURVE, HASH, MAGIC, Namespace, Point, VERSION, armor, dearmor, mpint, parse_scalars, put, signed_blob, take};
use crate::encoding::es256::{self, Signature};

const KEY_TYPE: &[u8] = b"ecdsa-sha2-nistp256";

/// The armored signature of `text` by the key with this private scalar. `None` only for one outside the curve's order.
#[must_use]
pub fn sign(scalar: &[u8; 32], point: &Point, namespace: Namespace, text: &[u8]) -> Option<String> {
    let signature = es256::sign(scalar, &signed_blob(namespace, text))?;
    Some(armored(point, namespace, &signature))
}

/// The public key that an armored signature of this type names.
#[must_use]
pub fn signer(armored: &str) -> Option<Point> {
    parse(armored).map(|(point, _)| point)
}

/// Whether `armored` is `point`'s signature of `text`, in the one form that [`armored`] writes.
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

/// The armored form of a signature by `point`.
#[must_use]
pub fn armored(point: &Point, namespace: Namespace, signature: &Signature) -> String {
    let (mut numbers, mut signed) = (Vec::new(), Vec::new());
    for number in signature.chunks_exact(32) {
        put(&mut numbers, &mpint(number));
    }
    put(&mut signed, KEY_TYPE);
    put(&mut signed, &numbers);
    let mut body = MAGIC.to_vec();
    body.extend(VERSION.to_be_bytes());
    for field in [&key_blob(point)[..], namespace.as_str().as_bytes(), b"", HASH.as_bytes(), &signed] {
        put(&mut body, field);
    }
    armor(&body)
}

/// The key in the form of `authorized_keys` and `allowed_signers`: type and base64 blob.
#[must_use]
pub fn public_key_line(point: &Point) -> String {
    format!("ecdsa-sha2-nistp256 {}", data_encoding::BASE64.encode(&key_blob(point)))
}

fn key_blob(point: &Point) -> Vec<u8> {
    let mut key = Vec::new();
    for field in [KEY_TYPE, CURVE.as_bytes(), point] {
        put(&mut key, field);
    }
    key
}

/// Public key, and r and s. Only as strict as it must be to find them.
fn parse(armored: &str) -> Option<(Point, Signature)> {
    let body = dearmor(armored).ok()?;
    let mut body = body.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_be_bytes())?;
    let key = take(&mut body).ok()?;
    let mut key = key.as_slice();
    (take(&mut key).ok()? == KEY_TYPE && take(&mut key).ok()? == CURVE.as_bytes()).then_some(())?;
    let point = take(&mut key).ok()?.try_into().ok()?;
    for _ in 0..3 {
        take(&mut body).ok()?;
    }
    let signed = take(&mut body).ok()?;
    let mut signed = signed.as_slice();
    take(&mut signed).ok()?;
    Some((point, parse_scalars(&take(&mut signed).ok()?).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A private scalar and its point.
    fn pair() -> ([u8; 32], Point) {
        let scalar = [7; 32];
        let key = p256::ecdsa::SigningKey::from_slice(&scalar).unwrap();
        (scalar, key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap())
    }

    const TEXT: &[u8] = b"{\"v\":1}";

    #[test]
    fn a_signature_verifies_and_every_flipped_byte_of_it_does_not() {
        let (private, point) = pair();
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
        let folder = tempfile::tempdir().unwrap();
        let (private, point) = pair();
        let line = format!("paper {}\n", public_key_line(&point));
        std::fs::write(folder.path().join("signers"), line).unwrap();
        std::fs::write(folder.path().join("text"), TEXT).unwrap();
        std::fs::write(folder.path().join("sig"), sign(&private, &point, Namespace::Vault, TEXT).unwrap()).unwrap();
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
            .current_dir(folder.path())
            .stdin(std::fs::File::open(folder.path().join("text")).unwrap())
            .output()
            .unwrap();
        assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    }
}
