//! Conversations of ssh with its agent.

use p256::ecdsa::signature::Signer as _;

use crate::encoding::ssh_signed_data::{Hash, SignedData};
use crate::encoding::ssh_userauth::UserAuth;

const SESSION: &[u8] = &[7; 32];

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// A session, the host key that signed it, and the signature: Ed25519, P-256 and P-384.
fn sessions() -> Vec<[Vec<u8>; 3]> {
    let ed25519 = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let key = [string(b"ssh-ed25519"), string(ed25519.verifying_key().as_bytes())].concat();
    let signature = [string(b"ssh-ed25519"), string(&ed25519.sign(SESSION).to_bytes())].concat();
    let mut sessions = vec![[key.clone(), SESSION.to_vec(), signature.clone()]];
    // The same key with a certificate, of which only this much is looked at.
    let certificate = [
        string(b"ssh-ed25519-cert-v01@openssh.com"),
        string(&[9; 32]),
        string(ed25519.verifying_key().as_bytes()),
        vec![0; 16],
    ];
    sessions.push([certificate.concat(), SESSION.to_vec(), signature]);
    let number = |half: &[u8]| match half[0] & 0x80 {
        0 => string(half),
        _ => string(&[&[0], half].concat()),
    };
    let p256 = p256::ecdsa::SigningKey::from_slice(&[1; 32]).expect("a scalar");
    let point = p256.verifying_key().to_sec1_point(false);
    let signed: p256::ecdsa::Signature = p256.sign(SESSION);
    let halves = signed.to_bytes();
    sessions.push([
        [&b"ecdsa-sha2-nistp256"[..], b"nistp256", point.as_bytes()].map(string).concat(),
        SESSION.to_vec(),
        [
            string(b"ecdsa-sha2-nistp256"),
            string(&[number(&halves[..32]), number(&halves[32..])].concat()),
        ]
        .concat(),
    ]);
    let p384 = p384::ecdsa::SigningKey::from_slice(&[1; 48]).expect("a scalar");
    let point = p384.verifying_key().to_sec1_point(false);
    let signed: p384::ecdsa::Signature = p384.sign(SESSION);
    let halves = signed.to_bytes();
    sessions.push([
        [&b"ecdsa-sha2-nistp384"[..], b"nistp384", point.as_bytes()].map(string).concat(),
        SESSION.to_vec(),
        [
            string(b"ecdsa-sha2-nistp384"),
            string(&[number(&halves[..48]), number(&halves[48..])].concat()),
        ]
        .concat(),
    ]);
    sessions
}

fn frames(frames: &[Vec<u8>]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|frame| [&(frame.len() as u16).to_be_bytes()[..], frame].concat())
        .collect()
}

pub fn agent() -> Vec<Vec<u8>> {
    let bind = |fields: &[Vec<u8>; 3], forwarding: u8| {
        let fields: Vec<u8> = fields.iter().flat_map(|field| string(field)).collect();
        [&[27][..], &string(b"session-bind@openssh.com"), &fields, &[forwarding]].concat()
    };
    let sign = [&[13][..], &string(b"key"), &string(b"data"), &[0; 4]].concat();
    let sessions = sessions();
    let mut samples: Vec<_> = sessions
        .iter()
        .map(|session| frames(&[bind(session, 0), vec![11], sign.clone(), bind(session, 0), vec![11], sign.clone()]))
        .collect();
    let rsa = |modulus: &[u8], algorithm: &[u8]| {
        [
            [string(b"ssh-rsa"), string(&[1, 0, 1]), string(modulus)].concat(),
            SESSION.to_vec(),
            [string(algorithm), string(&[7; 256])].concat(),
        ]
    };
    let (negative, modulus) = ([0xc7; 256], [&[0][..], &[0xc7; 256]].concat());
    let [key, session, signature] = sessions[0].clone();
    let wrong = [
        rsa(&negative, b"rsa-sha2-512"),
        rsa(&modulus, b"rsa-sha2-512"),
        rsa(&modulus, b"rsa-sha2-256"),
        rsa(&modulus, b"ssh-rsa"),
        [key.clone(), vec![7; 3], signature.clone()],
        [key.clone(), vec![8; 32], signature.clone()],
        [key, session, [&signature[..], &[0]].concat()],
    ];
    samples.extend(wrong.iter().map(|session| frames(&[bind(session, 0), vec![11], sign.clone()])));
    samples.extend([
        frames(&[vec![11], sign.clone(), vec![19], [&[27][..], &string(b"query")].concat()]),
        frames(&[bind(&sessions[0], 1), bind(&sessions[2], 0), vec![11], sign.clone()]),
        frames(&[
            vec![11],
            [&[13][..], &string(b"key"), &string(&signed_data(Hash::Sha512)), &[0; 4]].concat(),
        ]),
    ]);
    samples
}

fn signed_data(hash: Hash) -> Vec<u8> {
    let data = SignedData {
        namespace: "git".into(),
        hash,
        digest: vec![7; hash.length()],
    };
    data.to_blob()
}

pub fn login() -> Vec<Vec<u8>> {
    let request = UserAuth {
        session: SESSION.to_vec(),
        user: "deploy".into(),
        algorithm: "ssh-ed25519-cert-v01@openssh.com".into(),
        key: vec![3; 40],
        host: None,
    };
    let bound = UserAuth {
        host: Some(vec![4; 51]),
        ..request.clone()
    };
    let mut samples = vec![request.to_blob(), bound.to_blob(), b"SSHSIG\0\0\0\x03git\0\0\0\0".to_vec()];
    samples.extend([Hash::Sha256, Hash::Sha512].map(signed_data));
    samples
}
