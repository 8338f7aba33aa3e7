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

/// Lines of `ssh-keygen`, and addresses.
pub fn ssh_key() -> Vec<Vec<u8>> {
    let blob = |fields: &[&[u8]]| -> Vec<u8> {
        let field = |field: &&[u8]| [&(field.len() as u32).to_be_bytes()[..], field].concat();
        fields.iter().flat_map(field).collect()
    };
    let point = [&[4][..], &[7; 64]].concat();
    let keys = [
        ("ssh-ed25519", blob(&[b"ssh-ed25519", &[1; 32]])),
        ("ssh-rsa", blob(&[b"ssh-rsa", &[1, 0, 1], &[7; 256]])),
        ("ecdsa-sha2-nistp256", blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &point])),
        (
            "sk-ssh-ed25519@openssh.com",
            blob(&[b"sk-ssh-ed25519@openssh.com", &[1; 32], b"ssh:"]),
        ),
    ];
    let lines = keys.map(|(name, blob)| format!("{name} {} anna@laptop\n", data_encoding::BASE64.encode(&blob)).into_bytes());
    let addresses = ["192.0.2.0/24", "2001:db8::/32", "::1"].map(|text| text.as_bytes().to_vec());
    lines.into_iter().chain(addresses).collect()
}
