//! Signatures and references.

use super::device::key;
use super::text::SIGNED;
use crate::encoding::sshsig::Namespace;

pub fn sshsig() -> Vec<Vec<u8>> {
    let key = key();
    let point = *key.enrolled().signer();
    let of = |namespace| {
        key.touch(namespace, SIGNED, &[])
            .assertion()
            .expect("a FIDO2 key")
            .to_sshsig(&point, namespace, SIGNED)
            .into_bytes()
    };
    let mut samples = vec![of(Namespace::Lease), of(Namespace::Vault), of(Namespace::Change)];
    let mut plain = key.touch(Namespace::Lease, SIGNED, &[]).assertion().expect("a FIDO2 key").clone();
    plain.flags = 0;
    plain.extensions.clear();
    samples.push(plain.to_sshsig(&point, Namespace::Lease, SIGNED).into_bytes());
    samples
}

pub fn reference() -> Vec<Vec<u8>> {
    [
        "prod/TOKEN",
        "touchlease://prod/TOKEN",
        "dev/東京",
        "a/b/c",
        "../x",
        "prod/a\u{202e}b",
        "-x/y",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
