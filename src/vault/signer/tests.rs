//! What rules of a signer are, and what are none.
#![allow(clippy::unwrap_used)]
use super::super::rules::Delivery;
use super::*;

/// Ed25519 keys of the seeds 1, 2 and 3.
pub(crate) fn keys() -> [String; 3] {
    [1_u8, 2, 3].map(|seed| {
        let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key();
        PublicKey::from_bytes(Algorithm::EdDsa, key.as_bytes()).unwrap().to_text()
    })
}

/// Rules of a signer of one audience and one subject.
pub(crate) fn rules() -> Rules {
    let [current, next, _] = keys();
    Rules {
        signer: Some(Box::new(Signer {
            access: BTreeSet::new(),
            alg: Algorithm::EdDsa,
            audiences: ["https://registry.example".into()].into(),
            certificates: None,
            claims: [("env".into(), ["prod".into()].into()), ("ref".into(), BTreeSet::new())].into(),
            current,
            force_command: None,
            issuer: "https://id.example/touchlease".into(),
            exchange: None,
            hardware: None,
            namespaces: None,
            next: Some(next),
            previous: None,
            principals: None,
            profiles: BTreeMap::new(),
            source_addresses: BTreeSet::new(),
            subjects: ["deployer".into()].into(),
        })),
        ttl: Some(600),
        uses: Some(3),
        ..Rules::value(&[Delivery::Signer])
    }
}

/// The base point of P-256 (SEC 2, 2.4.2).
pub(crate) const G: &str = "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU";

/// The same in slot 93 of a YubiKey.
pub(crate) fn in_hardware() -> Rules {
    let mut rules = rules();
    let signer = rules.signer.as_mut().unwrap();
    (signer.alg, signer.current, signer.next) = (Algorithm::Es256, G.into(), None);
    signer.hardware = Some(Hardware {
        firmware: [5, 7, 1],
        pin: Always::Always,
        seen: Seen::Metadata,
        serial: 24_000_001,
        slot: Retired::all().find(|slot| slot.reference() == 0x93).unwrap(),
        touch: Always::Always,
    });
    rules.uses = Some(1);
    rules
}

fn with(change: impl FnOnce(&mut Signer)) -> bool {
    let mut rules = rules();
    change(rules.signer.as_mut().unwrap());
    rules.check().is_ok()
}

#[test]
fn t28_rules_of_a_signer_without_audience_subject_or_end_are_refused() {
    rules().check().unwrap();
    assert!(with(|_| {}));
    assert!(!with(|signer| signer.audiences.clear()));
    assert!(!with(|signer| signer.subjects.clear()));
    assert!(!with(|signer| signer.audiences = [String::new()].into()));
    assert!(!with(|signer| signer.audiences = ["a\u{202e}b".into()].into()));
    for (ttl, uses) in [
        (None, Some(1)),
        (Some(3601), Some(1)),
        (Some(60), None),
        (Some(60), Some(101)),
        (Some(0), Some(1)),
    ] {
        assert!(Rules { ttl, uses, ..rules() }.check().is_err(), "{ttl:?} {uses:?}");
    }
}

#[test]
fn only_a_sealed_signer_for_ssh_may_leave_it_to_time_how_often_it_signs() {
    let for_ssh = |change: fn(&mut Signer)| {
        let mut rules = rules();
        let signer = rules.signer.as_mut().unwrap();
        (signer.audiences, signer.subjects) = Default::default();
        signer.claims.clear();
        signer.issuer.clear();
        change(signer);
        rules
    };
    let ca = for_ssh(|signer| signer.principals = Some(["deploy".into()].into()));
    let git = for_ssh(|signer| signer.namespaces = Some(["git".into()].into()));
    for rules in [&ca, &git] {
        for (uses, may) in [
            (None, true),
            (Some(1), true),
            (Some(100), true),
            (Some(101), false),
            (Some(0), false),
        ] {
            let rules = Rules { uses, ..rules.clone() };
            assert_eq!(rules.check().is_ok(), may, "{uses:?}");
        }
        // Its time has an end all the same.
        assert!(
            Rules {
                uses: None,
                ttl: None,
                ..rules.clone()
            }
            .check()
            .is_err()
        );
    }
    let mut card = in_hardware();
    let signer = card.signer.as_mut().unwrap();
    (signer.audiences, signer.subjects, signer.claims) = Default::default();
    signer.issuer.clear();
    signer.principals = Some(["deploy".into()].into());
    card.check().unwrap();
    for rules in [card, in_hardware(), rules()] {
        assert!(Rules { uses: None, ..rules }.check().is_err());
    }
}

#[test]
fn t28_claims_that_every_token_has_cannot_be_allowed_to_anybody() {
    for name in OUR_CLAIMS {
        assert!(!with(|signer| drop(signer.claims.insert(name.into(), BTreeSet::new()))), "{name}");
    }
    for name in ["", "a b", "a\"", "ü", "a\0", &"a".repeat(65)] {
        assert!(!with(|signer| drop(signer.claims.insert(name.into(), BTreeSet::new()))), "{name:?}");
    }
    assert!(with(|signer| drop(
        signer.claims.insert("https://x.example/role".into(), BTreeSet::new())
    )));
}

#[test]
fn t10_an_audience_or_a_subject_looks_like_no_other_and_a_list_of_them_like_no_other_list() {
    for aud in [
        "https://r\u{435}gistry.example",
        "e\u{301}",
        "https://a.example https://b.example",
        "https://a.example,https://b.example",
        "https://a.example;b",
        "https://registry.example, as root; key AAAAAAAAAAA",
        "\"a\"",
        "'a'",
        "a\u{a0}b",
    ] {
        assert!(!with(|signer| signer.audiences = [aud.into()].into()), "{aud:?}");
        assert!(!with(|signer| signer.subjects = [aud.into()].into()), "{aud:?}");
    }
    for aud in [
        "https://",
        "https://A.example",
        "https://u@a.example",
        "https://a.example:0",
        "https://a\\b",
    ] {
        assert!(!with(|signer| signer.audiences = [aud.into()].into()), "{aud:?}");
    }
    for aud in [
        "https://xn--rgistry-9of.example:8443/a?b#c",
        "spiffe://a.example/x",
        "sts.amazonaws.com",
        "repo:o/r:ref:refs/heads/main",
    ] {
        assert!(with(|signer| signer.audiences = [aud.into()].into()), "{aud:?}");
        assert!(with(|signer| signer.subjects = [aud.into()].into()), "{aud:?}");
    }
}

#[test]
fn t28_a_claim_in_another_case_is_the_same_claim_to_some_verifiers_and_is_refused() {
    for name in ["Sub", "AUD", "Exp", "ISS", "nBf", "Task", "Lease_sha256"] {
        assert!(!with(|signer| drop(signer.claims.insert(name.into(), BTreeSet::new()))), "{name}");
    }
    // Rules of `env` name its values, and say nothing of `Env`.
    assert!(!with(|signer| drop(signer.claims.insert("Env".into(), BTreeSet::new()))));
    assert!(with(|signer| drop(signer.claims.insert("subject".into(), BTreeSet::new()))));
}

/// A signer of P-256 keys, with an audience that knows keys by `profile`.
fn certified(profile: Profile, change: impl FnOnce(&mut Signer, &mut Certificates)) -> bool {
    use crate::mint::{key::public_of, self_signed::certificate};
    let public = |seed: u8| public_of(Algorithm::Es256, &[seed; 32]).unwrap();
    let of = |seed: u8| certificate(&[seed; 32], &public(seed)).unwrap();
    with(|signer| {
        signer.alg = Algorithm::Es256;
        (signer.current, signer.next) = (public(1).to_text(), Some(public(2).to_text()));
        signer.profiles = [("https://registry.example".to_owned(), profile)].into();
        let mut certificates = Certificates {
            current: of(1),
            next: of(2),
            previous: None,
        };
        change(signer, &mut certificates);
        signer.certificates = Some(certificates);
    })
}

#[test]
fn t28_a_profile_is_of_an_audience_of_the_signer_and_each_key_has_a_certificate_of_its_own() {
    let previous = |signer: &mut Signer, certificates: &mut Certificates, own: bool| {
        signer.previous = Some(crate::mint::key::public_of(Algorithm::Es256, &[3; 32]).unwrap().to_text());
        let key = crate::mint::key::public_of(Algorithm::Es256, &[3; 32]).unwrap();
        let own_one = crate::mint::self_signed::certificate(&[3; 32], &key).unwrap();
        certificates.previous = Some(if own { own_one } else { certificates.next.clone() });
    };
    for profile in [Profile::Libtrust, Profile::X5c] {
        assert!(certified(profile, |_, _| {}), "{profile:?}");
        assert!(certified(profile, |signer, certificates| previous(signer, certificates, true)));
    }
    assert!(!certified(Profile::Thumbprint, |_, _| {}));
    assert!(!certified(Profile::X5c, |signer, _| {
        signer.profiles.insert("https://other.example".into(), Profile::X5c);
    }));
    assert!(!certified(Profile::X5c, |signer, _| signer.profiles.clear()), "nobody needs them");
    assert!(!certified(Profile::X5c, |_, certificates| certificates.current = certificates.next.clone()));
    assert!(!certified(Profile::X5c, |_, certificates| certificates.next.clear()));
    assert!(!certified(Profile::X5c, |signer, certificates| previous(
        signer,
        certificates,
        false
    )));
    assert!(!certified(Profile::X5c, |_, certificates| certificates.previous =
        Some(certificates.next.clone())));
    let eddsa = |signer: &mut Signer| signer.profiles = [("https://registry.example".to_owned(), Profile::X5c)].into();
    assert!(!with(eddsa));
}

#[test]
fn t28_scopes_of_a_registry_have_one_form_and_the_claim_has_one_rule() {
    let scopes = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
    assert!(with(
        |signer| signer.access = scopes(&["registry:catalog:*", "repository:team/app:pull,push"])
    ));
    for text in [
        "",
        "repository:app:push,pull",
        "repository:*:pull",
        "a:b:c d",
        "repository:app:pull\u{202e}",
    ] {
        assert!(!with(|signer| signer.access = scopes(&[text])), "{text:?}");
    }
    for name in ["access", "Access"] {
        assert!(with(|signer| drop(signer.claims.insert(name.into(), BTreeSet::new()))));
        assert!(!with(|signer| {
            signer.access = scopes(&["repository:app:pull"]);
            signer.claims.insert(name.into(), BTreeSet::new());
        }));
    }
}

#[test]
fn t27_a_signer_of_certificates_names_users_one_by_one_and_signs_no_tokens() {
    let of_ssh = |signer: &mut Signer, names: &[&str]| {
        signer.audiences.clear();
        signer.claims.clear();
        signer.issuer.clear();
        signer.subjects.clear();
        signer.principals = Some(names.iter().map(|name| (*name).to_owned()).collect());
    };
    assert!(with(|signer| of_ssh(signer, &["deploy", "root"])));
    for names in [&[][..], &[""], &["*"], &["deploy", "a,b"], &["a b"], &["-x"], &["."], &["a\n"]] {
        assert!(!with(|signer| of_ssh(signer, names)), "{names:?}");
    }
    assert!(!with(|signer| signer.principals = Some(["deploy".into()].into())), "tokens besides");
    assert!(!with(|signer| {
        of_ssh(signer, &["deploy"]);
        signer.issuer = "https://id.example".into();
    }));
}

#[test]
fn t27_a_sealed_command_and_sealed_addresses_are_what_sshd_reads_and_of_certificates_alone() {
    let of_ssh = |signer: &mut Signer| {
        signer.audiences.clear();
        signer.claims.clear();
        signer.issuer.clear();
        signer.subjects.clear();
        signer.principals = Some(["deploy".into()].into());
    };
    let command = |signer: &mut Signer, command: &str| signer.force_command = Some(command.into());
    let from = |signer: &mut Signer, from: &[&str]| signer.source_addresses = from.iter().map(|text| (*text).into()).collect();
    assert!(with(|signer| {
        of_ssh(signer);
        command(signer, "/usr/bin/deploy --now");
        from(signer, &["192.0.2.0/24", "2001:db8::/32"]);
    }));
    for text in ["", " ", " a", "a\nb", "a\u{202e}b", &"a".repeat(513)] {
        assert!(
            !with(|signer| {
                of_ssh(signer);
                command(signer, text);
            }),
            "{text:?}"
        );
    }
    for text in [
        "",
        "*",
        "0.0.0.0/0",
        "10.0.0.1/8",
        "192.0.2.1",
        "2001:DB8::/32",
        "::ffff:192.0.2.1/128",
    ] {
        assert!(
            !with(|signer| {
                of_ssh(signer);
                from(signer, &[text]);
            }),
            "{text:?}"
        );
    }
    assert!(!with(|signer| command(signer, "uptime")), "of tokens");
    assert!(!with(|signer| from(signer, &["192.0.2.0/24"])), "of tokens");
}

#[test]
fn t22_a_signer_of_signatures_names_its_namespaces_one_by_one_is_sealed_and_signs_nothing_else() {
    let of_signatures = |signer: &mut Signer, names: &[&str]| {
        signer.audiences.clear();
        signer.claims.clear();
        signer.issuer.clear();
        signer.subjects.clear();
        signer.namespaces = Some(names.iter().map(|name| (*name).to_owned()).collect());
    };
    assert!(with(|signer| of_signatures(
        signer,
        &["file", "git", "release@example.com", "team/app.v1"]
    )));
    for name in [
        "",
        "*",
        "gi?",
        "!git",
        "a,b",
        "a b",
        "-x",
        ".",
        "/a",
        "a\n",
        "a\"",
        "\u{433}it",
        "touchlease-lease",
        "TouchLease",
        &"a".repeat(65),
    ] {
        assert!(!with(|signer| of_signatures(signer, &[name])), "{name:?}");
    }
    assert!(!with(|signer| of_signatures(signer, &[])));
    assert!(!with(|signer| signer.namespaces = Some(["git".into()].into())), "tokens besides");
    assert!(!with(|signer| {
        of_signatures(signer, &["git"]);
        signer.principals = Some(["deploy".into()].into());
    }));
    let mut card = in_hardware();
    of_signatures(card.signer.as_mut().unwrap(), &["git"]);
    assert!(card.check().is_err());
}

#[test]
fn an_issuer_has_one_form() {
    for issuer in ["https://id.example", "https://id.example:8443", "https://id.example/a/b-c_~.d"] {
        assert!(with(|signer| signer.issuer = issuer.into()), "{issuer}");
    }
    for issuer in [
        "http://id.example",
        "https://",
        "https://ID.example",
        "https://id.example/",
        "https://id.example/a/",
        "https://id.example/../a",
        "https://id.example//a",
        "https://id.example?x",
        "https://id.example/a#b",
        "https://u@id.example",
        "https://id.example/a b",
        "id.example",
    ] {
        assert!(!with(|signer| signer.issuer = issuer.into()), "{issuer}");
    }
}

#[test]
fn a_signer_goes_out_in_no_other_way() {
    for delivery in [Delivery::Env, Delivery::File, Delivery::Proxy] {
        let mut rules = rules();
        rules.deliveries.insert(delivery);
        assert!(rules.check().is_err(), "{delivery:?}");
    }
}

#[test]
fn keys_are_different_points_of_the_one_curve() {
    let [current, _, third] = keys();
    assert!(with(|signer| signer.previous = Some(third)));
    assert!(!with(|signer| signer.next = Some(current.clone())));
    assert!(!with(|signer| signer.next = None));
    assert!(!with(|signer| signer.previous = Some(current)));
    assert!(!with(|signer| signer.alg = Algorithm::Es256));
    assert!(!with(|signer| signer.current = "AAAA".into()));
}

#[test]
fn t29_a_signer_in_hardware_has_one_key_signs_once_for_each_touch_and_holds_no_private_key() {
    let with = |change: &dyn Fn(&mut Rules)| {
        let mut rules = in_hardware();
        change(&mut rules);
        rules.check().is_ok()
    };
    assert!(with(&|_| {}));
    assert!(!with(&|rules| rules.uses = Some(2)));
    assert!(!with(&|rules| rules.single_line = true));
    assert!(!with(&|rules| rules.signer.as_mut().unwrap().next = Some(G.into())));
    assert!(!with(&|rules| {
        let signer = rules.signer.as_mut().unwrap();
        (signer.alg, signer.current) = (Algorithm::EdDsa, keys()[0].clone());
    }));
    let secret = |bytes: &[u8]| Secret::from_slice_wiping(&mut bytes.to_vec()).unwrap();
    in_hardware().check_value(&secret(&NO_PRIVATE)).unwrap();
    assert!(in_hardware().check_value(&secret(&[1; 64])).is_err());
    let slot = in_hardware().signer.unwrap().slot().unwrap();
    assert_eq!((slot.slot.to_string(), slot.public_key[0]), ("93".into(), 4));
}

#[test]
fn a_rotation_makes_the_next_key_the_one_that_signs() {
    let secret = |bytes: &[u8]| Secret::from_slice_wiping(&mut bytes.to_vec()).unwrap();
    let value = secret(&[[1; 32], [2; 32]].concat());
    let turned = turned(&value, &secret(&[3; 32])).unwrap();
    assert_eq!(split(&turned).unwrap(), (&[2; 32][..], &[3; 32][..]));
    assert!(super::turned(&secret(&[1; 63]), &secret(&[3; 32])).is_err());
    assert!(super::turned(&value, &secret(&[3; 31])).is_err());
    let rules = rules();
    assert!(rules.check_value(&secret(&[1; 63])).is_err() && rules.check_value(&secret(&NO_PRIVATE)).is_err());
}
