//! Signatures and references.

use crate::encoding::addresses::Addresses;
use crate::encoding::exchange::{Exchange, Wanted, host_of};
use crate::encoding::jwk::{Algorithm, PublicKey};
use crate::encoding::naming::{LEASE_CLAIM, names};
use crate::encoding::plain::{check_line, check_name, check_variable, nearest_name, shell_word, visible};
use crate::encoding::reference::SCHEME;
use crate::encoding::ssh_key::SshKey;
use crate::encoding::sshsig::{Assertion, Namespace};
use crate::encoding::target::{Host, check_method, check_pattern, covers};
use crate::encoding::{Digest, SecretRef, words};
use crate::samples::text;
use crate::vault::Form;

/// An armored signature over a text that the samples sign too.
pub fn sshsig(data: &[u8]) {
    let Ok(armored) = str::from_utf8(data) else { return };
    for namespace in [Namespace::Lease, Namespace::Vault] {
        if let Ok((point, assertion)) = Assertion::from_sshsig(armored, namespace, text::SIGNED) {
            assert_eq!(assertion.to_sshsig(&point, namespace, text::SIGNED), armored);
            let good = assertion.verify(&point, namespace, text::SIGNED, false).is_ok();
            let with_pin = assertion.verify(&point, namespace, text::SIGNED, true).is_ok();
            assert!(good || !with_pin, "a PIN without a touch");
        }
    }
}

/// Where tokens are exchanged, and for what: what is sound names hosts that are spoken to with TLS, and nothing by which tokens are made.
pub fn exchange(data: &[u8]) {
    let makes_tokens = |path: &str| ["auth", "sys"].contains(&path.split('/').next().unwrap_or_default().to_ascii_lowercase().as_str());
    if let Ok(rule) = crate::encoding::jcs::from_slice::<Exchange>(data)
        && rule.fault().is_none()
    {
        assert!(
            rule.addresses
                .iter()
                .all(|address| host_of(address).is_some_and(|host| !host.plain))
        );
        assert_eq!(rule.roots().len(), rule.ca.len());
        assert!(!rule.paths.iter().any(|path| makes_tokens(path)) && !rule.policies.contains("root"));
    }
    if let Ok(wanted) = serde_json::from_slice::<Wanted>(data)
        && wanted.fault().is_none()
    {
        for fetch in &wanted.fetch {
            assert!(!makes_tokens(&fetch.path) && !fetch.path.contains("..") && fetch.writes() != fetch.with.is_empty());
            assert_eq!(check_variable(&fetch.name), Ok(()));
        }
        assert!(wanted.uses.is_none() || wanted.fetch.is_empty());
    }
}

/// A digest in 32 bytes, and what is signed in the place of the text that has it: it names that text by its nonce or its claim, and no other one.
pub fn naming(data: &[u8]) {
    let Some((digest, message)) = data.split_first_chunk::<32>() else {
        return;
    };
    let digest = Digest(*digest);
    if names(message, &digest) {
        for at in [0, 31] {
            let mut other = digest;
            other.0[at] ^= 1;
            assert!(!names(message, &other), "it names two texts");
        }
        let payload = str::from_utf8(message)
            .ok()
            .and_then(|text| text.split_once('.'))
            .map(|(_, payload)| payload);
        let claims = payload.and_then(|payload| data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).ok());
        let by_nonce = message.windows(32).any(|window| window == digest.0);
        let claim = LEASE_CLAIM.as_bytes();
        // In JSON any letter may stand as an escape.
        let by_claim = claims.is_some_and(|claims| claims.contains(&b'\\') || claims.windows(claim.len()).any(|window| window == claim));
        assert!(by_nonce || by_claim, "it names what is not in it");
    }
}

/// `scope/NAME`, as on command lines, in tasks and in environment files.
pub fn reference(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let shown = visible(text);
    assert_eq!(check_line("the text", &shown, shown.len()), Ok(()));
    if let Some(name) = nearest_name(text) {
        assert_eq!(check_name("the name", &name), Ok(()));
    }
    if check_variable(text).is_ok() {
        assert_eq!(shell_word(text), text);
        assert_eq!(check_name("the name", text), Ok(()), "a variable has a name");
    } else {
        assert!(!text.contains(' ') || shell_word(text).starts_with('\''));
    }
    if let Ok(secret) = text.parse::<SecretRef>() {
        assert_eq!(secret.to_string(), text.strip_prefix(SCHEME).unwrap_or(text));
        assert_eq!(check_name("the name", &secret.name), Ok(()));
        assert_eq!(check_line("the text", text, text.len()), Ok(()), "what is a reference can be shown");
    }
    assert!(
        words::four_words(&Digest::of(data))
            .iter()
            .all(|word| (3..=8).contains(&word.len()))
    );
}

/// A line of a public key of SSH: what is read is written back as the line begins.
pub fn ssh_key(data: &[u8]) {
    let Ok(line) = str::from_utf8(data) else { return };
    if let Ok(key) = SshKey::from_line(line) {
        let written = key.to_line();
        let mut words = line.split_ascii_whitespace();
        let [name, base64] = [words.next(), words.next()].map(Option::unwrap_or_default);
        assert_eq!(written, format!("{name} {base64}"));
        assert!(key.fingerprint().starts_with("SHA256:") && key.certificate_type().contains("-cert-v01@"));
        assert_eq!(key.name(), name);
        assert_eq!(SshKey::from_blob(&key.to_blob()), Ok(key));
    }
    if let Ok(addresses) = line.parse::<Addresses>() {
        assert_eq!(addresses.to_string().parse(), Ok(addresses));
    }
}

/// What sealed rules and tasks name: a host, a method, a pattern of paths and one that has to be within it, a place in a request.
pub fn target(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(host) = text.parse::<Host>() {
        assert!(host.port > 0 && !host.name.is_empty());
    }
    if check_method(text).is_ok() {
        assert_eq!(text, text.to_ascii_uppercase());
    }
    let (wide, narrow) = text.split_once(' ').unwrap_or((text, text));
    if check_pattern(wide).is_ok() {
        assert!(covers(wide, wide), "a pattern covers itself");
        if check_pattern(narrow).is_ok() && covers(wide, narrow) && covers(narrow, wide) {
            assert_eq!(wide.split('/').count(), narrow.split('/').count());
        }
    }
    if let Ok(form) = text.parse::<Form>() {
        assert_eq!(text.parse::<Form>().ok(), Some(form));
    }
}

/// A signer's public key: its bytes, its text, its JSON Web Key and what SSH makes of it.
pub fn public_key(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let Ok(key) = PublicKey::from_text(algorithm, text) else { continue };
        assert_eq!((key.to_text().as_str(), key.algorithm()), (text, algorithm));
        assert_eq!(PublicKey::from_bytes(algorithm, key.as_bytes()).as_ref(), Ok(&key));
        assert_eq!(key.jwk().y.is_some(), algorithm.as_str() == "ES256");
        assert_eq!(key.thumbprint().len(), 43);
        if let Ok(of_ssh) = SshKey::of(&key) {
            assert_eq!(SshKey::from_line(&of_ssh.to_line()), Ok(of_ssh));
        }
    }
}
