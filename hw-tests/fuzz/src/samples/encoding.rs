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

/// Rules of an exchange, and what is wanted of one.
pub fn exchange() -> Vec<Vec<u8>> {
    let rule = super::vault::exchange();
    let mut samples = vec![crate::encoding::jcs::to_vec(&rule).expect("rules")];
    let wanted = [
        "{}",
        "{\"uses\":2}",
        "{\"fetch\":[{\"name\":\"DB\",\"path\":\"database/creds/app\"},{\"name\":\"SSH\",\"path\":\"ssh/issue/deploy\",\"with\":{\"key_type\":\"ec\"}}],\"files\":true}",
        "{\"fetch\":[{\"name\":\"DB\",\"path\":\"Auth/token/create\"}]}",
        "{\"fetch\":[{\"name\":\"1\",\"path\":\"a\"}],\"uses\":1}",
        "{\"files\":true}",
    ];
    samples.extend(wanted.map(|text| text.as_bytes().to_vec()));
    samples
}

/// Bodies of a token and of a certificate, behind the digest that they name and behind another one.
pub fn naming() -> Vec<Vec<u8>> {
    let digest = crate::encoding::Digest([7; 32]);
    let claims = format!("{{\"aud\":\"https://a.example\",\"lease_sha256\":\"{digest}\"}}");
    let token = format!("e30.{}", data_encoding::BASE64URL_NOPAD.encode(claims.as_bytes()));
    let field = |field: &[u8]| [&(field.len() as u32).to_be_bytes()[..], field].concat();
    let body = [field(b"ssh-ed25519-cert-v01@openssh.com"), field(&digest.0), field(&[1; 32])].concat();
    let mut samples = vec![];
    for message in [token.as_bytes(), &body, &body[..50], b"e30.e30", b"e30.!", b""] {
        samples.push([&digest.0[..], message].concat());
        samples.push([&[8; 32][..], message].concat());
    }
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
        "PATH",
        "9LIVES",
        "it's\u{7}",
        "",
        "prod/u\u{308}ber",
        "two words",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into_iter()
    .chain([b"a/".repeat(90), vec![b'a'; 900]])
    .collect()
}

/// Lines of `ssh-keygen`, and addresses.
pub fn ssh_key() -> Vec<Vec<u8>> {
    let blob = |fields: &[&[u8]]| -> Vec<u8> {
        let field = |field: &&[u8]| [&(field.len() as u32).to_be_bytes()[..], field].concat();
        fields.iter().flat_map(field).collect()
    };
    // The base point of Ed25519 (RFC 8032, 5.1), a point of P-256, and an odd number of 2,048 bits.
    let base = [&[0x58][..], &[0x66; 31]].concat();
    let point = *key().enrolled().signer();
    let modulus = [&[0, 0x80][..], &[7; 255]].concat();
    let keys = [
        ("ssh-ed25519", blob(&[b"ssh-ed25519", &base])),
        ("ssh-rsa", blob(&[b"ssh-rsa", &[1, 0, 1], &modulus])),
        ("ecdsa-sha2-nistp256", blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &point])),
        ("sk-ssh-ed25519@openssh.com", blob(&[b"sk-ssh-ed25519@openssh.com", &base, b"ssh:"])),
    ];
    let lines = keys.map(|(name, blob)| format!("{name} {} anna@laptop\n", data_encoding::BASE64.encode(&blob)).into_bytes());
    let addresses = ["192.0.2.0/24", "2001:db8::/32", "::1"].map(|text| text.as_bytes().to_vec());
    lines.into_iter().chain(addresses).collect()
}

/// As `put --host`, `--method`, `--path` and `--send-as` take them, and what they refuse.
pub fn target() -> Vec<Vec<u8>> {
    [
        "api.example.com",
        "api.example.com:8443",
        "http://localhost:8080",
        "http://api.example.com",
        "[2001:db8::1]:443",
        "[2001:db8::1",
        "[0:0::1]",
        "192.0.2.7",
        "192.0.2.07",
        "a..b",
        "A.example",
        "a.example.",
        "u@a.example",
        "a.example:0",
        "GET",
        "get",
        "CONNECT",
        "/v4/accounts/* /v4/accounts/7/members",
        "/v4/*/members /v4/7/members",
        "/v4/* /v4/*/x",
        "/v4/*/x /v4/7/8/x",
        "/* /",
        "/a%2fb",
        "/a%20b",
        "/a/../b",
        "/a//b",
        "/a*",
        "/a;x",
        "/%",
        "/%c3%a4",
        "x",
        "bearer",
        "basic",
        "basic:anna",
        "basic:",
        "header:x-api-key",
        "header:authorization:token ",
        "header:Host",
        "header:",
        "query:key",
        "query:a b",
        "cookie:session",
        "cookie:a=b",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// One of each algorithm (RFC 8037, appendix A.2; RFC 7515, appendix A.3), and what is none.
pub fn public_key() -> Vec<Vec<u8>> {
    let p256 = [
        &[4][..],
        &data_encoding::BASE64URL_NOPAD
            .decode(b"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")
            .expect("base64"),
        &data_encoding::BASE64URL_NOPAD
            .decode(b"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
            .expect("base64"),
    ]
    .concat();
    let texts = [p256, vec![4; 65], vec![0; 32], vec![1; 31]].map(|bytes| data_encoding::BASE64URL_NOPAD.encode(&bytes).into_bytes());
    let ed25519 = b"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_vec();
    texts.into_iter().chain([ed25519, b"not base64!".to_vec()]).collect()
}
