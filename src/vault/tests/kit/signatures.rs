//! Statements that are well-formed and that nobody signed who may, and chains that do not hold.

use crate::device::enrolled::Profile;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::ecdsa;
use crate::encoding::sshsig::{Assertion, FLAG_UP, FLAG_UV, Namespace};
use crate::vault::RecoveryCode;
use crate::vault::roster::{signature_path, statement_path};
use crate::vault::slot::Private;

use super::bad::{Kit, cut, flip, follow, next, signed};
use super::patch::Files;

const SIGNER: &str = "vault statement-signer";
const SIGNATURE: &str = "vault statement-signature";
const UNSIGNED: &str = "vault statement-unsigned";

pub fn add(kit: &mut Kit<'_>) {
    signers(kit);
    forms(kit);
    flags(kit);
    chains(kit);
}

fn signers(kit: &mut Kit<'_>) {
    let base = kit.base;
    let bytes = next(base, |_| {});
    let mut add = |name: &str, about: &str, expect: &str, signature: Option<String>| {
        kit.add(name, about, expect, |files| follow(files, &bytes, signature));
    };
    let mallory = SoftKey::new("blue", Profile::Pin, 66);
    let victim = *base.blue.enrolled().signer();
    let touch = |key: &SoftKey, namespace, text: &[u8]| key.touch(namespace, text, &[]).assertion().unwrap().clone();
    add(
        "signed",
        "A statement that follows, signed as it should be: to be read.",
        "fine",
        Some(signed(&base.blue, &bytes)),
    );
    add("unsigned", "Nobody signed it.", UNSIGNED, None);
    add("signature-empty", "Its signature file is empty.", UNSIGNED, Some(String::new()));
    add(
        "signer-stranger",
        "A key signed it that no statement names.",
        SIGNER,
        Some(signed(&mallory, &bytes)),
    );
    add(
        "signer-removed",
        "A key signed it that the statement before removed.",
        SIGNER,
        Some(signed(&base.spare, &bytes)),
    );
    let forged = touch(&mallory, Namespace::Vault, &bytes).to_sshsig(&victim, Namespace::Vault, &bytes);
    add(
        "signer-forged",
        "A stranger signed it and wrote the enrolled key's name on it.",
        SIGNATURE,
        Some(forged),
    );
    let lease = touch(&base.blue, Namespace::Lease, &bytes);
    let named = lease.to_sshsig(&victim, Namespace::Lease, &bytes);
    add("namespace-lease", "It was signed as a lease.", UNSIGNED, Some(named));
    add(
        "namespace-renamed",
        "It was signed as a lease, and the signature says vault.",
        SIGNATURE,
        Some(lease.to_sshsig(&victim, Namespace::Vault, &bytes)),
    );
    let other = touch(&base.blue, Namespace::Vault, b"{}");
    add(
        "text-other",
        "The key signed another text.",
        UNSIGNED,
        Some(other.to_sshsig(&victim, Namespace::Vault, b"{}")),
    );
    add(
        "text-renamed",
        "The key signed another text, and the signature says this one.",
        SIGNATURE,
        Some(other.to_sshsig(&victim, Namespace::Vault, &bytes)),
    );
    let old = base.files[&signature_path(&base.end().0)].clone();
    add(
        "text-before",
        "The signature of the statement before.",
        UNSIGNED,
        Some(String::from_utf8(old).unwrap()),
    );
    let code = RecoveryCode::parse(&base.code).unwrap();
    let (private, point) = code.key_pair(&base.end().1.vault);
    let by_code = ecdsa::sign(private.scalar(), &point, Namespace::Vault, &bytes).unwrap();
    add(
        "signed-recovery",
        "A statement that follows, signed with the recovery code: to be read.",
        "fine",
        Some(by_code.clone()),
    );
    let (stranger, stranger_point) = Private::derive(b"a recovery code of the kit, of another vault");
    let foreign = ecdsa::sign(stranger.scalar(), &stranger_point, Namespace::Vault, &bytes).unwrap();
    add(
        "recovery-stranger",
        "Another vault's recovery code signed it.",
        SIGNER,
        Some(foreign),
    );
    let forged = ecdsa::sign(stranger.scalar(), &point, Namespace::Vault, &bytes).unwrap();
    add(
        "recovery-forged",
        "Another vault's recovery code signed it, and the signature names this one's.",
        SIGNATURE,
        Some(forged),
    );
    let lease = ecdsa::sign(private.scalar(), &point, Namespace::Lease, &bytes).unwrap();
    add("recovery-lease", "The recovery code signed it as a lease.", SIGNATURE, Some(lease));
    add(
        "recovery-armor",
        "The recovery code's signature with another line end.",
        UNSIGNED,
        Some(by_code.replacen('\n', "\r\n", 1)),
    );
}

fn forms(kit: &mut Kit<'_>) {
    let base = kit.base;
    let bytes = next(base, |_| {});
    let good = signed(&base.blue, &bytes);
    for (name, about, text) in [
        ("armor-line-ends", "CR LF at the ends of its lines", good.replace('\n', "\r\n")),
        ("armor-last-line", "no line feed at its end", good.trim_end().to_owned()),
        ("armor-more", "a blank line behind it", format!("{good}\n")),
        ("armor-width", "lines of another width", good.replacen("U1NIU0lH", "U1NI\nU0lH", 1)),
        (
            "armor-cut",
            "its last line is missing",
            good.replace("-----END SSH SIGNATURE-----\n", ""),
        ),
        ("armor-letters", "a character that is not base64", good.replacen("U1NI", "U1N!", 1)),
        ("armor-two", "two signatures in one file", good.repeat(2)),
    ] {
        assert_ne!(text, good);
        let about = format!("Its signature in another form: {about}.");
        kit.add(name, &about, UNSIGNED, |files| follow(files, &bytes, Some(text)));
    }
}

fn flags(kit: &mut Kit<'_>) {
    use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};
    use sha2::{Digest as _, Sha256};
    let base = kit.base;
    let bytes = next(base, |_| {});
    let victim = *base.blue.enrolled().signer();
    // The soft key's scalar: SHA-256("lease", seed).
    let scalar = Sha256::new_with_prefix("lease").chain_update([1]).finalize();
    let sign = |flags: u8, extensions: &[u8]| {
        let mut assertion = Assertion {
            flags,
            counter: 9,
            extensions: extensions.to_vec(),
            signature: [0; 64],
        };
        let hash = crate::encoding::sshsig::client_data_hash(Namespace::Vault, &bytes);
        let digest = Sha256::digest([&assertion.auth_data()[..], &hash.0].concat());
        let signature: Signature = SigningKey::from_slice(&scalar).unwrap().sign_prehash(&digest).unwrap();
        assertion.signature = signature.to_bytes().into();
        assertion
    };
    let twin = |mut assertion: Assertion| {
        let signature = Signature::from_slice(&assertion.signature).unwrap();
        let (r, s) = signature.split_scalars();
        assertion.signature = Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap().to_bytes().into();
        assertion
    };
    let zero = |mut assertion: Assertion| {
        assertion.signature = [0; 64];
        assertion
    };
    for (name, about, expect, assertion) in [
        (
            "flags-plain",
            "Signed with touch and PIN, without extensions: to be read.",
            "fine",
            sign(FLAG_UP | FLAG_UV, &[]),
        ),
        (
            "flags-no-touch",
            "The key says that nobody touched it; stock ssh-keygen calls the signature good.",
            SIGNATURE,
            sign(FLAG_UV, &[]),
        ),
        (
            "flags-no-pin",
            "The key says that no PIN was asked for, and it was enrolled with one.",
            SIGNATURE,
            sign(FLAG_UP, &[]),
        ),
        ("flags-nothing", "Neither touch nor PIN.", SIGNATURE, sign(0, &[])),
        (
            "flags-attested",
            "Attested data are claimed in an assertion.",
            UNSIGNED,
            sign(FLAG_UP | FLAG_UV | 0x40, &[]),
        ),
        (
            "flags-extensions",
            "Extensions are claimed, and there are none.",
            UNSIGNED,
            sign(FLAG_UP | FLAG_UV | 0x80, &[]),
        ),
        (
            "flags-no-extensions",
            "Extensions that the flags do not claim.",
            UNSIGNED,
            sign(FLAG_UP | FLAG_UV, &[0xa0]),
        ),
        (
            "signature-twin",
            "(r, n - s) instead of (r, s), which is as good: to be read.",
            "fine",
            twin(sign(FLAG_UP | FLAG_UV, &[])),
        ),
        ("signature-zero", "r and s are zero.", SIGNATURE, zero(sign(FLAG_UP | FLAG_UV, &[]))),
    ] {
        let text = assertion.to_sshsig(&victim, Namespace::Vault, &bytes);
        kit.add(name, about, expect, |files| follow(files, &bytes, Some(text)));
    }
}

fn chains(kit: &mut Kit<'_>) {
    let base = kit.base;
    let digests: Vec<Digest> = base.statements.iter().map(|(digest, _)| *digest).collect();
    let (first, middle, last) = (digests[0], digests[1], digests[2]);
    let remove = |files: &mut Files, digest: &Digest| {
        files.remove(&statement_path(digest));
        files.remove(&signature_path(digest));
    };
    kit.add(
        "chain-first-missing",
        "The first statement is missing.",
        "vault statement-unconnected",
        |files| remove(files, &first),
    );
    kit.add(
        "chain-middle-missing",
        "A statement in the middle is missing.",
        "vault statement-gap",
        |files| remove(files, &middle),
    );
    kit.add("chain-empty", "The roster is empty.", "vault no-vault", |files| {
        digests.iter().for_each(|digest| remove(files, digest));
    });
    kit.add(
        "chain-signature-missing",
        "The first statement's signature is missing.",
        UNSIGNED,
        |files| {
            files.remove(&signature_path(&first));
        },
    );
    kit.add(
        "chain-signature-alone",
        "A signature without its statement: half of a copy, of no account.",
        "fine",
        |files| {
            let signature = files[&signature_path(&last)].clone();
            files.insert(signature_path(&Digest::of(b"nothing")), signature);
        },
    );
    kit.add(
        "chain-signatures-swapped",
        "Two statements with each other's signatures.",
        UNSIGNED,
        |files| {
            let (a, b) = (files[&signature_path(&first)].clone(), files[&signature_path(&last)].clone());
            files.insert(signature_path(&first), b);
            files.insert(signature_path(&last), a);
        },
    );
    for (name, digest) in [("first", first), ("middle", middle), ("last", last)] {
        kit.add(
            &format!("chain-{name}-flipped"),
            "One bit of a statement is another one.",
            "vault statement-digest",
            |files| flip(files, &statement_path(&digest), 60),
        );
        kit.add(
            &format!("chain-{name}-cut"),
            "The end of a statement is missing.",
            "vault statement-digest",
            |files| cut(files, &statement_path(&digest), 100),
        );
        kit.add(
            &format!("chain-{name}-signature-flipped"),
            "One bit of a signature is another one.",
            "vault statement-signature",
            |files| flip_number(files, &signature_path(&digest)),
        );
    }
    kit.add(
        "chain-renamed",
        "A statement under another name than its digest.",
        "vault statement-digest",
        |files| {
            let bytes = files.remove(&statement_path(&last)).unwrap();
            files.insert(statement_path(&Digest::of(b"another")), bytes);
        },
    );
    kit.add("chain-upper-case", "A statement's name in upper case.", "vault damaged", |files| {
        let bytes = files.remove(&statement_path(&last)).unwrap();
        files.insert(
            statement_path(&last)
                .to_uppercase()
                .replace("ROSTER", "roster")
                .replace(".JSON", ".json"),
            bytes,
        );
    });
    kit.add(
        "chain-stray",
        "A file in the roster's folder that is none of it.",
        "vault damaged",
        |files| {
            files.insert("roster/notes.txt".into(), b"x".to_vec());
        },
    );
    kit.add(
        "chain-older",
        "An older end of the roster, whole: on a machine that has seen no other it is read as it was, without the newer epoch's files.",
        "vault fork",
        |files| {
            let bytes = next(base, |s| s["previous"] = serde_json::json!([middle]));
            let mut old = base.statements[1].1.clone();
            old.previous = vec![middle];
            old.random = None;
            drop(bytes);
            let bytes = old.to_bytes().unwrap();
            follow(files, &bytes, Some(signed(&base.blue, &bytes)));
        },
    );
    kit.add(
        "chain-unknown-before",
        "It follows a statement that is not there.",
        "vault statement-gap",
        |files| {
            let bytes = next(base, |s| s["previous"] = serde_json::json!(["0".repeat(64)]));
            follow(files, &bytes, Some(signed(&base.blue, &bytes)));
        },
    );
    kit.add(
        "chain-second-first",
        "A second first statement, by a key of somebody's own, and a vault id that fits it.",
        "vault fork",
        |files| {
            let mallory = SoftKey::new("blue", Profile::Pin, 66);
            let mut own = base.statements[0].1.clone();
            own.keys = vec![mallory.enrolled()];
            own.scopes.clear();
            own.vault = crate::vault::Statement::vault_id(&own.random.unwrap(), mallory.enrolled().signer());
            let bytes = own.to_bytes().unwrap();
            follow(files, &bytes, Some(signed(&mallory, &bytes)));
        },
    );
    kit.add(
        "chain-first-remade",
        "A first statement remade around the victim's key, whose signature stays.",
        UNSIGNED,
        |files| {
            let mut own = base.statements[0].1.clone();
            own.recovery = Private::derive(b"a recovery code of the kit, of another vault").1;
            let bytes = own.to_bytes().unwrap();
            let signature = String::from_utf8(files[&signature_path(&first)].clone()).unwrap();
            digests.iter().for_each(|digest| remove(files, digest));
            follow(files, &bytes, Some(signature));
        },
    );
    kit.add(
        "chain-first-vault",
        "A first statement whose vault id is not made of its random bytes and key.",
        "vault statement-vault",
        |files| {
            let mut own = base.statements[0].1.clone();
            own.vault = Digest::of(b"mine");
            let bytes = own.to_bytes().unwrap();
            digests.iter().for_each(|digest| remove(files, digest));
            follow(files, &bytes, Some(signed(&base.blue, &bytes)));
        },
    );
    kit.add(
        "chain-first-by-second-key",
        "A first statement signed by its second key.",
        SIGNER,
        |files| {
            let mut own = base.statements[0].1.clone();
            own.keys = base.statements[1].1.keys.clone();
            let bytes = own.to_bytes().unwrap();
            digests.iter().for_each(|digest| remove(files, digest));
            follow(files, &bytes, Some(signed(&base.spare, &bytes)));
        },
    );
}

/// Changes a letter inside the numbers of a signature, which keeps its form.
fn flip_number(files: &mut Files, path: &str) {
    let text = String::from_utf8(files[path].clone()).unwrap();
    let at = text.match_indices('\n').nth(5).unwrap().0 + 20;
    let file = files.get_mut(path).unwrap();
    file[at] = if file[at] == b'A' { b'B' } else { b'A' };
}
