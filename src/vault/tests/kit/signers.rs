//! Records of signers: sound ones, and ones that only somebody who has the scope's key could have sealed.

use crate::encoding::Digest;
use crate::encoding::jwk::Algorithm;
use crate::mint::{key, self_signed};
use crate::vault::bytes::put_field;
use crate::vault::index::{Head, Node};
use crate::vault::record::{self, Clear, Record};
use crate::vault::signer::NO_PRIVATE;
use crate::vault::signer::tests::{G, in_hardware, rules};
use crate::vault::{Rules, crypto};

use super::bad::{Kit, replace_head};
use super::base::Stream;
use super::good::vault;

/// Twice the base point of P-256 (SEC 2, 2.4.2): a point that anybody can look up, as the base point itself.
const TWO_G: &str = "BHzyexiNA09-ilI4AwS1GsPAiWnid_IbNaYLSPxHZpl4B3dVENuO0EApPZrGn3Qw27p9reY86YIpngS3nSJ4c9E";

pub fn add(kit: &mut Kit<'_>) {
    let sealed = |clear: &str, value: &[u8]| sealed(kit, clear, value);
    let value = [[1; 32], [2; 32]].concat();
    let good = clear(kit, rules());
    let text = String::from_utf8(value.clone()).unwrap();
    let read = [("prod/TOKEN", text.as_str())];
    let mut made = vec![
        (
            "eddsa".to_owned(),
            "A signer of Ed25519 in the place of a secret: to be read.".to_owned(),
            "fine",
            sealed(&good, &value),
        ),
        (
            "es256".to_owned(),
            "A signer of P-256 in the place of a secret: to be read.".to_owned(),
            "fine",
            sealed(&of_p_256(&good), &value),
        ),
    ];
    let ca = of_ssh(kit);
    let about = "A signer of SSH certificates in the place of a secret: to be read.".to_owned();
    made.push(("ssh".to_owned(), about, "fine", sealed(&ca, &value)));
    let limited = of_ssh_limited(kit);
    let about = "A signer of SSH certificates with a command and addresses in the place of a secret: to be read.".to_owned();
    made.push(("ssh-limited".to_owned(), about, "fine", sealed(&limited, &value)));
    for (name, about, from, to) in WRONG_LIMITS {
        let changed = limited.replacen(from, to, 1);
        assert_ne!(changed, limited, "{name}");
        let about = format!("A signer of SSH certificates that somebody who has the scope's key sealed: {about}.");
        made.push((
            format!("ssh-limited-{name}"),
            about,
            "secret prod/TOKEN damaged",
            sealed(&changed, &value),
        ));
    }
    let signatures = of_signatures(kit);
    let about = "A signer of SSH signatures in the place of a secret: to be read.".to_owned();
    made.push(("namespaces".to_owned(), about, "fine", sealed(&signatures, &value)));
    for (name, what, clear) in [("ssh-any", "certificates", &ca), ("namespaces-any", "signatures", &signatures)] {
        let any = clear.replacen("\"uses\":3", "\"uses\":null", 1);
        assert_ne!(any, *clear);
        let about = format!("A signer of SSH {what} without a limit of uses in the place of a secret: to be read.");
        made.push((name.to_owned(), about, "fine", sealed(&any, &value)));
    }
    for (name, about, from, to) in WRONG_NAMESPACES {
        let changed = signatures.replacen(from, to, 1);
        assert_ne!(changed, signatures, "{name}");
        let about = format!("A signer of SSH signatures that somebody who has the scope's key sealed: {about}.");
        made.push((
            format!("namespaces-{name}"),
            about,
            "secret prod/TOKEN damaged",
            sealed(&changed, &value),
        ));
    }
    for (name, about, text) in with_profiles(&good) {
        made.push((name.to_owned(), about.to_owned(), "fine", sealed(&text, &value)));
    }
    for (name, about, text) in wrong_profiles(&good) {
        let about = format!("A signer that somebody who has the scope's key sealed: {about}.");
        made.push((name.to_owned(), about, "secret prod/TOKEN damaged", sealed(&text, &value)));
    }
    let exchange = exchanged(&good);
    let about = "A signer whose tokens are exchanged in the place of a secret: to be read.".to_owned();
    made.push(("exchange".to_owned(), about, "fine", sealed(&exchange, &value)));
    for (name, about, from, to) in WRONG_EXCHANGES {
        let changed = exchange.replacen(from, to, 1);
        assert_ne!(changed, exchange, "{name}");
        let about = format!("A signer whose tokens are exchanged, that somebody who has the scope's key sealed: {about}.");
        made.push((
            format!("exchange-{name}"),
            about,
            "secret prod/TOKEN damaged",
            sealed(&changed, &value),
        ));
    }
    for (name, about, from, to) in WRONG_CAS {
        let changed = ca.replacen(from, to, 1);
        assert_ne!(changed, ca, "{name}");
        let about = format!("A signer of SSH certificates that somebody who has the scope's key sealed: {about}.");
        made.push((format!("ssh-{name}"), about, "secret prod/TOKEN damaged", sealed(&changed, &value)));
    }
    let card = of_card(kit);
    let about = "A signer in hardware in the place of a secret: to be read.".to_owned();
    made.push(("hardware".to_owned(), about, "fine", sealed(&card, &NO_PRIVATE)));
    for (name, about, from, to) in WRONG_CARDS {
        let changed = card.replacen(from, to, 1);
        assert_ne!(changed, card, "{name}");
        let about = format!("A signer in hardware that somebody who has the scope's key sealed: {about}.");
        made.push((
            format!("hardware-{name}"),
            about,
            "secret prod/TOKEN damaged",
            sealed(&changed, &NO_PRIVATE),
        ));
    }
    for (name, about, from, to) in WRONG {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{name}");
        let about = format!("A signer that somebody who has the scope's key sealed: {about}.");
        made.push(((*name).to_owned(), about, "secret prod/TOKEN damaged", sealed(&changed, &value)));
    }
    let next = format!("\"next\":\"{}\",", crate::vault::signer::tests::keys()[1]);
    let about = "A signer that somebody who has the scope's key sealed: a sealed one without a key that signs next.".to_owned();
    let without = good.replacen(&next, "", 1);
    made.push(("next-none".to_owned(), about, "secret prod/TOKEN damaged", sealed(&without, &value)));
    let off = of_p_256(&good).replacen(&TWO_G[80..], &TWO_G[80..].chars().rev().collect::<String>(), 1);
    let about = "A signer that somebody who has the scope's key sealed: a key that is no point of the curve.".to_owned();
    made.push(("point".to_owned(), about, "secret prod/TOKEN damaged", sealed(&off, &value)));
    for (name, about, expect, files) in made {
        let of_card = [("prod/TOKEN", "\0")];
        let read = if name == "hardware" { &of_card } else { &read };
        vault(
            kit,
            &format!("signer-{name}"),
            &about,
            expect,
            files,
            if expect == "fine" { read } else { &[] },
        );
    }
}

const ACCESS: &str = "\"access\":[\"registry:catalog:*\",\"repository:team/app:pull,push\"],";
const PROFILES: &str = "\"profiles\":{\"https://registry.example\":\"libtrust\"},";

/// The clear part of a signer of P-256 with scopes of a registry, a profile, and the certificates for it.
fn profiled(good: &str) -> String {
    of_p_256(good)
        .replacen("\"signer\":{", &format!("\"signer\":{{{ACCESS}"), 1)
        .replacen("\"claims\":", &format!("{},\"claims\":", certificates()), 1)
        .replacen("\"subjects\":", &format!("{PROFILES}\"subjects\":"), 1)
}

/// Of the base point and of twice that, whose private keys are 1 and 2.
fn certificates() -> String {
    let [current, next] = [1, 2].map(certificate);
    format!("\"certificates\":{{\"current\":\"{current}\",\"next\":\"{next}\"}}")
}

fn certificate(private: u8) -> String {
    let mut scalar = [0; 32];
    scalar[31] = private;
    let public = key::public_of(Algorithm::Es256, &scalar).unwrap();
    self_signed::certificate(&scalar, &public).unwrap()
}

fn with_profiles(good: &str) -> [(&'static str, &'static str, String); 2] {
    let access = good.replacen("\"signer\":{", &format!("\"signer\":{{{ACCESS}"), 1);
    [
        (
            "access",
            "A signer with scopes of a registry in the place of a secret: to be read.",
            access,
        ),
        (
            "profiles",
            "A signer with a profile and certificates of its keys in the place of a secret: to be read.",
            profiled(good),
        ),
    ]
}

fn wrong_profiles(good: &str) -> Vec<(&'static str, &'static str, String)> {
    let profiled = profiled(good);
    let [current, next] = [1, 2].map(certificate);
    let changed = |from: &str, to: &str| {
        let text = profiled.replacen(from, to, 1);
        assert_ne!(text, profiled, "{from}");
        text
    };
    let middle = current.len() - 20;
    let other = if current[middle..=middle] == *"A" { "B" } else { "A" };
    let broken = format!("{}{other}{}", &current[..middle], &current[middle + 1..]);
    let eddsa = good.replacen("\"subjects\":", &format!("{PROFILES}\"subjects\":"), 1);
    vec![
        (
            "access-none",
            "scopes of a registry, and none of them",
            changed(ACCESS, "\"access\":[],"),
        ),
        ("access-order", "actions in another order", changed("pull,push", "push,pull")),
        ("access-wild", "a scope of every repository", changed("team/app", "*")),
        ("access-claim", "the claim access besides", changed("\"env\":", "\"Access\":")),
        ("profile-alg", "a profile of Ed25519 keys", eddsa),
        (
            "profile-audience",
            "a profile of an audience that is none",
            changed(
                "\"profiles\":{\"https://registry.example\"",
                "\"profiles\":{\"https://other.example\"",
            ),
        ),
        ("profile-usual", "a profile that all have", changed("libtrust", "thumbprint")),
        ("profile-unknown", "an unknown profile", changed("libtrust", "jwk")),
        (
            "certificates-none",
            "a profile without certificates",
            changed(&format!("{},", certificates()), ""),
        ),
        ("certificates-idle", "certificates without a profile", changed(PROFILES, "")),
        ("certificates-other", "a certificate of another key", changed(&current, &next)),
        (
            "certificates-signature",
            "a certificate that its key did not sign",
            changed(&current, &broken),
        ),
        (
            "certificates-previous",
            "a certificate of a previous key that there is not",
            changed(
                &format!("\"next\":\"{next}\""),
                &format!("\"next\":\"{next}\",\"previous\":\"{next}\""),
            ),
        ),
    ]
}

/// The clear part of a signer whose tokens are exchanged.
fn exchanged(good: &str) -> String {
    let exchange = format!(
        "\"exchange\":{{\"addresses\":[\"https://127.0.0.1:8200\",\"https://bao.example\"],\"ca\":[\"{}\"],\"mount\":\"team/jwt\",\
         \"paths\":[\"database/creds/app\",\"secret/data/app\"],\"policies\":[\"app\",\"db\"],\"role\":\"deploy\",\"token_uses\":2}},\"issuer\":",
        certificate(1)
    );
    let text = good.replacen("\"issuer\":", &exchange, 1).replacen("\"uses\":3", "\"uses\":1", 1);
    assert!(text.contains("\"uses\":1}") && text.contains("\"exchange\""), "{text}");
    text
}

const WRONG_EXCHANGES: &[(&str, &str, &str, &str)] = &[
    ("plain", "an address without TLS", "https://bao.example", "http://bao.example:8200"),
    (
        "form",
        "an address in another form",
        "https://bao.example",
        "https://bao.example:443",
    ),
    (
        "path-of-url",
        "an address with a path",
        "https://bao.example",
        "https://bao.example/v1",
    ),
    (
        "order",
        "addresses in another order",
        "\"https://127.0.0.1:8200\",\"https://bao.example\"",
        "\"https://bao.example\",\"https://127.0.0.1:8200\"",
    ),
    ("none", "no address", "[\"https://127.0.0.1:8200\",\"https://bao.example\"]", "[]"),
    ("ca", "a certificate that is none", "\"ca\":[\"", "\"ca\":[\"AA"),
    ("root", "the policy of everything", "\"app\",\"db\"", "\"app\",\"root\""),
    ("policies", "no policy", "[\"app\",\"db\"]", "[]"),
    ("auth", "a path below auth", "database/creds/app", "auth/token/create"),
    ("sys", "a path below sys in another case", "database/creds/app", "Sys/policies"),
    ("up", "a path that goes up", "database/creds/app", "database/../sys"),
    ("role", "a role with a slash", "\"deploy\",\"token", "\"de/ploy\",\"token"),
    ("uses", "a token for no request", "\"token_uses\":2", "\"token_uses\":0"),
    ("touch", "several tokens of one touch", "\"uses\":1}", "\"uses\":2}"),
    ("member", "an unknown member", "\"role\":", "\"roles\":"),
];

const WRONG_CAS: &[(&str, &str, &str, &str)] = &[
    ("none", "no principal", "\"principals\":[\"deploy\",\"root\"]", "\"principals\":[]"),
    (
        "null",
        "principals that are null",
        "\"principals\":[\"deploy\",\"root\"]",
        "\"principals\":null",
    ),
    ("wild", "every principal", "\"deploy\",", "\"*\","),
    ("comma", "two principals in one", "\"deploy\",\"root\"", "\"deploy,root\""),
    ("order", "principals in another order", "\"deploy\",\"root\"", "\"root\",\"deploy\""),
    ("tokens", "an audience besides", "\"audiences\":[]", "\"audiences\":[\"a\"]"),
    (
        "issuer",
        "an issuer besides",
        "\"issuer\":\"\"",
        "\"issuer\":\"https://id.example\"",
    ),
    ("ttl", "certificates of over an hour", "\"ttl\":600", "\"ttl\":3601"),
];

const WRONG_LIMITS: &[(&str, &str, &str, &str)] = &[
    ("empty", "a command that is empty", "\"/usr/bin/deploy now\"", "\"\""),
    ("null", "a command that is null", "\"/usr/bin/deploy now\"", "null"),
    (
        "blank",
        "a command with a blank in front",
        "\"/usr/bin/deploy now\"",
        "\" /usr/bin/deploy now\"",
    ),
    ("none", "addresses, and none of them", "[\"10.0.0.0/8\",\"2001:db8::/32\"]", "[]"),
    ("everywhere", "every address", "\"10.0.0.0/8\"", "\"0.0.0.0/0\""),
    ("mask", "an address with bits behind the mask", "\"10.0.0.0/8\"", "\"10.0.0.1/8\""),
    ("plain", "an address without its mask", "\"10.0.0.0/8\"", "\"10.0.0.1\""),
    (
        "order",
        "addresses in another order",
        "\"10.0.0.0/8\",\"2001:db8::/32\"",
        "\"2001:db8::/32\",\"10.0.0.0/8\"",
    ),
    ("case", "an address in upper case", "2001:db8::/32", "2001:DB8::/32"),
    ("mapped", "an IPv4 address as one of IPv6", "2001:db8::/32", "::ffff:192.0.2.1/128"),
    (
        "signatures",
        "namespaces in the place of principals",
        "\"previous\":null,\"principals\":[\"deploy\",\"root\"]",
        "\"namespaces\":[\"git\"],\"previous\":null",
    ),
];

const WRONG_NAMESPACES: &[(&str, &str, &str, &str)] = &[
    ("none", "no namespace", "[\"file\",\"git\"]", "[]"),
    ("null", "namespaces that are null", "[\"file\",\"git\"]", "null"),
    ("wild", "every namespace", "\"git\"]", "\"git*\"]"),
    ("order", "namespaces in another order", "\"file\",\"git\"", "\"git\",\"file\""),
    ("ours", "a namespace of receipts", "\"git\"]", "\"touchlease-lease\"]"),
    ("tokens", "an audience besides", "\"audiences\":[]", "\"audiences\":[\"a\"]"),
    (
        "principals",
        "principals besides",
        "\"previous\":null",
        "\"previous\":null,\"principals\":[\"deploy\"]",
    ),
];

const WRONG_CARDS: &[(&str, &str, &str, &str)] = &[
    ("uses", "of two tokens of one touch", "\"uses\":1", "\"uses\":2"),
    ("uses-none", "of any number of tokens of one touch", "\"uses\":1", "\"uses\":null"),
    (
        "next",
        "with a key that signs next",
        "\"previous\":null",
        "\"next\":\"BHzyexiNA09-ilI4AwS1GsPAiWnid_IbNaYLSPxHZpl4B3dVENuO0EApPZrGn3Qw27p9reY86YIpngS3nSJ4c9E\",\"previous\":null",
    ),
    (
        "slot",
        "in a slot that is none for retired keys",
        "\"slot\":\"93\"",
        "\"slot\":\"9a\"",
    ),
    (
        "touch",
        "that does not want a touch each time",
        "\"touch\":\"always\"",
        "\"touch\":\"cached\"",
    ),
    ("pin", "that wants its PIN once", "\"pin\":\"always\"", "\"pin\":\"once\""),
    ("null", "in hardware that is nowhere", "\"seen\":\"metadata\"", "\"seen\":null"),
];

const WRONG: &[(&str, &str, &str, &str)] = &[
    ("format", "of the format of a secret", "\"v\":2,", "\"v\":1,"),
    ("null", "without what may be signed", "\"alg\":\"EdDSA\"", "\"alg\":null"),
    ("unknown", "an unknown member", "\"signer\":{", "\"signer\":{\"aa\":1,"),
    ("alg", "an unknown algorithm", "\"alg\":\"EdDSA\"", "\"alg\":\"HS256\""),
    (
        "audiences",
        "no audience",
        "\"audiences\":[\"https://registry.example\"]",
        "\"audiences\":[]",
    ),
    (
        "audiences-twice",
        "one audience twice",
        "\"audiences\":[",
        "\"audiences\":[\"https://registry.example\",",
    ),
    ("subjects", "no subject", "\"subjects\":[\"deployer\"]", "\"subjects\":[]"),
    ("claim-ours", "a claim that every token has", "\"env\":", "\"exp\":"),
    ("claim-name", "a claim with a blank in its name", "\"env\":", "\"e v\":"),
    ("issuer", "an issuer that is not https", "\"issuer\":\"https:", "\"issuer\":\"http:"),
    (
        "delivery",
        "delivery in an environment besides",
        "\"deliveries\":[\"signer\"]",
        "\"deliveries\":[\"env\",\"signer\"]",
    ),
    ("ttl", "tokens of over an hour", "\"ttl\":600", "\"ttl\":3601"),
    ("ttl-none", "tokens of any life", "\"ttl\":600", "\"ttl\":null"),
    ("uses-none", "any number of tokens", "\"uses\":3", "\"uses\":null"),
    ("uses", "over a hundred tokens", "\"uses\":3", "\"uses\":101"),
    ("line", "of one line", "\"single_line\":false", "\"single_line\":true"),
    ("key-length", "a key of another length", "\"current\":\"", "\"current\":\"AAAA"),
    ("previous", "a previous key that is none", "\"previous\":null", "\"previous\":\"\""),
];

/// The clear part of a signer of SSH certificates.
fn of_ssh(kit: &Kit<'_>) -> String {
    let mut rules = rules();
    if let Some(signer) = &mut rules.signer {
        (signer.audiences, signer.subjects) = Default::default();
        signer.claims.clear();
        signer.issuer.clear();
        signer.principals = Some(["deploy".into(), "root".into()].into());
    }
    clear(kit, rules)
}

/// The same with a command and addresses that each certificate has.
fn of_ssh_limited(kit: &Kit<'_>) -> String {
    let addresses = "\"source_addresses\":[\"10.0.0.0/8\",\"2001:db8::/32\"],\"subjects\"";
    let command = "\"force_command\":\"/usr/bin/deploy now\",\"issuer\"";
    of_ssh(kit)
        .replacen("\"subjects\"", addresses, 1)
        .replacen("\"issuer\"", command, 1)
}

/// The clear part of a signer of SSH signatures.
fn of_signatures(kit: &Kit<'_>) -> String {
    let mut rules = rules();
    if let Some(signer) = &mut rules.signer {
        (signer.audiences, signer.subjects) = Default::default();
        signer.claims.clear();
        signer.issuer.clear();
        signer.namespaces = Some(["file".into(), "git".into()].into());
    }
    clear(kit, rules)
}

/// The clear part of a signer in hardware.
fn of_card(kit: &Kit<'_>) -> String {
    clear(kit, in_hardware())
}

fn of_p_256(good: &str) -> String {
    let [current, next, _] = crate::vault::signer::tests::keys();
    good.replacen(&current, G, 1)
        .replacen(&next, TWO_G, 1)
        .replacen("EdDSA", "ES256", 1)
}

/// The clear part of the secret TOKEN with these rules.
fn clear(kit: &Kit<'_>, rules: Rules) -> String {
    let (id, _) = kit.base.entry("TOKEN").records().next().unwrap();
    let record = Record::parse(&kit.base.files[&record::path(kit.base.prod.scope, "TOKEN", id)]).unwrap();
    let clear = Clear {
        rules,
        v: 2,
        ..record.clear
    };
    String::from_utf8(crate::encoding::jcs::to_vec(&clear).unwrap()).unwrap()
}

/// The base with a record of TOKEN that has this clear part and value, and is named by the index.
fn sealed(kit: &Kit<'_>, clear: &str, value: &[u8]) -> super::patch::Files {
    let base = kit.base;
    let (id, _) = base.entry("TOKEN").records().next().unwrap();
    let mut front = b"TL1reco\n".to_vec();
    put_field(&mut front, clear.as_bytes());
    let mut plain = u32::try_from(value.len()).unwrap().to_be_bytes().to_vec();
    plain.extend(value);
    plain.resize(4 + clear.len().max(256), 0);
    let key = base.prod.derive(&base.prod.current(), "record", &[&id.0]).unwrap();
    let mut file = front.clone();
    crypto::seal(&mut file, &key, &front, &plain, &mut Stream::new("a signer of the kit")).unwrap();
    let mut files = base.files.clone();
    replace_head(&mut files, base, "prod", |head: &mut Head| {
        let Node::Leaf(entries) = &mut head.root else {
            panic!("prod is one leaf")
        };
        entries.get_mut("TOKEN").unwrap().versions[0].record = Some((id, Digest::of(&file)));
    });
    files.insert(record::path(base.prod.scope, "TOKEN", id), file);
    files
}
