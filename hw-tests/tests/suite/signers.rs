//! Sealed signers and their tokens, with emulated keys; what programs that know nothing of this project say of them is in `verifiers`.

pub mod verifiers;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use data_encoding::BASE64URL_NOPAD;
use hw_tests::harness::{Terminal, drawn};
use hw_tests::key::KeyHandle;
use serde_json::{Value, json};
use touchlease::encoding::Digest;
use touchlease::encoding::jwk::Algorithm;
use touchlease::lease::text::{LeaseText, Text};
use touchlease::mint::key;

use crate::hygiene::{CommandLines, forms, forms_of, leaks, left_behind};
use crate::lab::{Lab, error_of, holds};

const ISSUER: &str = "https://id.example/touchlease";
const AUD: &str = "https://registry.example";

/// A lab with the signer `prod/deployer`, of one algorithm.
fn lab(alg: &str, more: &[&str]) -> Lab {
    let lab = Lab::new();
    let add = [
        "signer", "add", "deployer", "--scope", "prod", "--alg", alg, "--issuer", ISSUER, "--aud", AUD,
    ];
    lab.person(&[&add[..], more].concat());
    lab
}

/// Header and payload of a token.
fn read(token: &str) -> (Value, Value) {
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "{token}");
    let json = |part: &str| serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap();
    (json(parts[0]), json(parts[1]))
}

/// Tokens as an agent's child gets them.
fn tokens(lab: &Lab, more: &[&str]) -> Vec<String> {
    let printed = lab.prints(&[&["token", "prod/deployer", "--aud", AUD], more].concat());
    assert!(printed.ends_with('\n') && !printed.contains("\n\n"), "{printed:?}");
    printed.lines().map(str::to_owned).collect()
}

fn refused(lab: &Lab, arguments: &[&str]) -> (i32, String) {
    let (code, error) = error_of(&lab.agent_to_its_end(&[&["--json"], arguments].concat()));
    assert!(error["hint"].is_string(), "{error}");
    (code.unwrap(), error["reason"].as_str().unwrap().to_owned())
}

fn export(lab: &Lab, folder: &Path) -> Output {
    let path = folder.display().to_string();
    let mut command = lab.home.detached(["--json", "issuer", "export", &path]);
    command.stdin(Stdio::null()).output().unwrap()
}

fn kids(folder: &Path) -> BTreeSet<String> {
    let set: Value = serde_json::from_slice(&fs::read(folder.join(".well-known/jwks.json")).unwrap()).unwrap();
    let keys = set["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn t33_a_token_is_all_that_stands_on_standard_output_and_its_text_is_what_was_touched_for() {
    for (alg, name) in [("es256", "ES256"), ("eddsa", "EdDSA")] {
        let lab = lab(alg, &["--claim", "env=prod", "--claim", "ref"]);
        let recorder = lab.recorder();
        let before = lab.key.counts().unwrap().given;
        let out = lab.agent_to_its_end(&[
            "token",
            "prod/deployer",
            "--aud",
            AUD,
            "--claim",
            "env=prod",
            "--claim",
            "ref=refs/heads/main",
            "--ttl",
            "2m",
            "--reason",
            "release",
        ]);
        assert!(out.status.success(), "{out:?}");
        let printed = String::from_utf8(out.stdout).unwrap();
        let token = printed.strip_suffix('\n').unwrap();
        assert!(
            !token.contains(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))),
            "{printed:?}"
        );
        assert_eq!(lab.key.counts().unwrap().given, before + 1);
        let text = recorder.texts().pop().unwrap();
        let lease = LeaseText::decode(&text).unwrap();
        let (header, payload) = read(token);
        let kid = lab.json(&["signer", "show", "prod/deployer"])["signer"]["keys"][0]["kid"].clone();
        assert_eq!(header, json!({"alg": name, "kid": kid, "typ": "JWT"}));
        let iat = payload["iat"].as_u64().unwrap();
        assert_eq!(
            payload,
            json!({
                "iss": ISSUER, "sub": "deployer", "aud": AUD, "iat": iat, "nbf": iat, "exp": iat + 120, "jti": lease.id,
                "lease_sha256": Digest::of(text.as_bytes()).to_string(), "env": "prod", "ref": "refs/heads/main",
            })
        );
        assert!(lease.not_before <= iat && iat + 120 <= lease.not_after, "{lease:?}");
        // One use, in the log before it went out; then the lease is over.
        let used: Vec<_> = lab.events().into_iter().filter(|(name, _)| name == "used").collect();
        assert_eq!(used.len(), 1);
        assert_eq!(
            used[0].1,
            json!({"delivery": "signer", "lease": lease.id, "left": 0, "what": format!("token {} for {AUD}", lease.id)})
        );
        lab.until("the end of the lease", || lab.count("ended") == 1);
    }
}

#[test]
fn the_prompt_says_in_words_what_is_signed_by_whom_for_whom_and_how_long() {
    let lab = lab("es256", &["--claim", "env=prod"]);
    let shown = lab.person(&["token", "prod/deployer", "--aud", AUD, "--claim", "env=prod", "--ttl", "90s"]);
    for part in [
        "a token signed by prod/deployer",
        "sealed signer, version 1",
        AUD,
        "deployer, issued by https://id.example/touchlease",
        "env = prod",
        "1 min 30 s from the touch, or 1 use",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn one_touch_is_for_as_many_tokens_as_the_signers_rules_allow_each_with_its_own_id() {
    let lab = lab("es256", &["--max-uses", "3"]);
    let _watch = lab.home.watch().unwrap();
    let before = lab.key.counts().unwrap().given;
    let three = tokens(&lab, &["--uses", "3"]);
    let ids: Vec<String> = three
        .iter()
        .map(|token| read(token).1["jti"].as_str().unwrap().to_owned())
        .collect();
    let lease = ids[0].strip_suffix(".1").unwrap();
    assert_eq!(ids, [1, 2, 3].map(|n| format!("{lease}.{n}")));
    assert_eq!(lab.key.counts().unwrap().given, before + 1);
    let left: Vec<_> = lab
        .events()
        .into_iter()
        .filter(|(name, _)| name == "used")
        .map(|(_, used)| used["left"].as_u64())
        .collect();
    assert_eq!(left, [Some(2), Some(1), Some(0)]);
    assert_eq!(
        refused(&lab, &["token", "prod/deployer", "--aud", AUD, "--uses", "4"]),
        (62, "uses_over_cap".into())
    );
    assert_eq!(lab.key.counts().unwrap().given, before + 1);
    assert_eq!(tokens(&lab, &[]).len(), 1);
}

#[test]
fn t28_what_the_rules_do_not_allow_is_refused_before_anybody_is_asked() {
    let lab = lab("eddsa", &["--claim", "env=prod", "--max-ttl", "5m"]);
    let _watch = lab.home.watch().unwrap();
    let before = (lab.key.counts().unwrap().given, lab.count("asked"));
    let token = ["token", "prod/deployer", "--aud", AUD];
    for (more, code, reason) in [
        (&["--ttl", "6m"][..], 62, "ttl_over_cap"),
        (&["--ttl", "0s"], 64, "usage"),
        (&["--uses", "2"], 62, "uses_over_cap"),
        (&["--sub", "root"], 62, "subject"),
        (&["--claim", "env=dev"], 62, "claim"),
        (&["--claim", "aud=https://other.example"], 62, "claim"),
        (&["--claim", "exp=9999999999"], 62, "claim"),
        (&["--claim", "kid=other"], 62, "claim"),
        (&["--claim", "env=prod", "--claim", "env=prod"], 64, "claim_twice"),
        (&["--aud", "https://other.example"], 64, "usage"),
        (&["--kid", "other"], 64, "usage"),
    ] {
        assert_eq!(refused(&lab, &[&token, more].concat()), (code, reason.to_owned()), "{more:?}");
    }
    for (arguments, code, reason) in [
        (&["token", "prod/deployer", "--aud", "https://other.example"][..], 62, "audience"),
        (&["token", "prod/deployer"], 64, "usage"),
        (&["token", "prod/TOKEN", "--aud", AUD], 62, "no_signer"),
        (&["token", "prod/none", "--aud", AUD], 65, "no_secret"),
        (&["run", "--with", "D=prod/deployer", "--", "true"], 62, "signer_stays"),
        (&["run", "--with-file", "D=prod/deployer", "--", "true"], 62, "signer_stays"),
    ] {
        assert_eq!(refused(&lab, arguments), (code, reason.to_owned()), "{arguments:?}");
    }
    // Nor in the protocol's own words.
    let grant = |token: Value| json!({"v": 1, "request": {"do": "lease", "deliver": true, "with": [{"secret": "prod/deployer", "via": "signer", "token": token}]}});
    for token in [
        json!({"aud": [AUD, "https://other.example"]}),
        json!({"aud": AUD, "kid": "other"}),
        json!({"aud": AUD, "exp": 9_999_999_999_u64}),
        json!({"aud": AUD, "claims": {"env": ["prod"]}}),
    ] {
        let reply = lab.call(&grant(token.clone())).reply().unwrap();
        assert_eq!(reply["reason"], "protocol", "{token}: {reply}");
    }
    let none =
        json!({"v": 1, "request": {"do": "lease", "deliver": true, "with": [{"secret": "prod/deployer", "via": "signer", "env": "T"}]}});
    assert_eq!(lab.call(&none).reply().unwrap()["reason"], "grant");
    assert_eq!((lab.key.counts().unwrap().given, lab.count("asked")), before);
}

#[test]
fn t29_a_signer_has_a_name_that_no_path_shell_or_option_reads_otherwise() {
    let lab = Lab::new();
    for name in ["../x", "a/b/c", "-x", "a;b", "a\nb", "", "a\u{202e}b", ".x"] {
        let signer = format!("prod/{name}");
        let (code, reason) = refused(&lab, &["signer", "add", "--issuer", ISSUER, "--aud", AUD, "--", &signer]);
        assert!(code == 65 && reason == "reference" || code == 64, "{name:?}: {code} {reason}");
    }
    assert_eq!(lab.json(&["signer", "list"])["signers"], json!([]));
}

#[test]
fn a_signers_private_key_leaves_in_no_other_way_and_nothing_is_put_in_its_place() {
    let lab = lab("es256", &[]);
    for (arguments, code, reason) in [
        (&["edit", "prod/deployer", "--max-ttl", "1m"][..], 65, "is_signer"),
        (&["edit", "prod/deployer", "--allow", "env"], 65, "is_signer"),
        (&["signer", "add", "prod/TOKEN", "--issuer", ISSUER, "--aud", AUD], 65, "name_taken"),
        (
            &["signer", "add", "prod/deployer", "--issuer", ISSUER, "--aud", AUD],
            65,
            "name_taken",
        ),
        (&["signer", "rotate", "prod/TOKEN"], 65, "no_such_signer"),
        (&["signer", "remove", "prod/TOKEN"], 65, "no_such_signer"),
        (&["signer", "show", "prod/TOKEN"], 65, "no_such_signer"),
        (
            &[
                "signer",
                "add",
                "x",
                "--scope",
                "prod",
                "--issuer",
                "http://id.example",
                "--aud",
                AUD,
            ],
            65,
            "rules",
        ),
        (&["signer", "add", "x", "--scope", "prod", "--issuer", ISSUER], 64, "no_audience"),
        (
            &[
                "signer",
                "add",
                "x",
                "--scope",
                "prod",
                "--issuer",
                ISSUER,
                "--aud",
                AUD,
                "--max-ttl",
                "2h",
            ],
            65,
            "rules",
        ),
        (
            &[
                "signer", "add", "x", "--scope", "prod", "--issuer", ISSUER, "--aud", AUD, "--claim", "sub=x",
            ],
            65,
            "rules",
        ),
    ] {
        assert_eq!(refused(&lab, arguments), (code, reason.to_owned()), "{arguments:?}");
    }
    fs::write(lab.home.work().join("value"), [7; 64]).unwrap();
    let put = ["put", "prod/deployer", "--from-file", "value"];
    assert_eq!(refused(&lab, &put), (65, "is_signer".into()));
    for rules in [
        json!({"deliveries": ["signer"]}),
        json!({"deliveries": ["env"], "signer": Value::Null}),
    ] {
        let call = json!({"v": 1, "request": {"do": "put", "puts": [{"secret": "prod/NEW", "value": "AAAA", "rules": rules}]}});
        let reply = lab.call(&call).reply().unwrap();
        assert!(reply["reason"] == "signer" || reply["reason"] == "no_screen", "{reply}");
    }
    // Nor does it go out with an export of everything.
    let out = lab.home.work().join("values");
    lab.person(&["export", "--scope", "prod", "--out", &out.display().to_string()]);
    let exported = fs::read_to_string(out).unwrap();
    assert!(exported.contains("TOKEN") && !exported.contains("deployer"), "{exported}");
}

#[test]
fn a_rotation_publishes_the_next_key_ahead_and_keeps_the_one_before_until_it_is_compromised() {
    let lab = lab("es256", &[]);
    let folder = lab.home.work().join("site");
    let before = lab.key.counts().unwrap().given;
    assert!(export(&lab, &folder).status.success());
    assert_eq!(lab.key.counts().unwrap().given, before, "an export needs no touch");
    let first = kids(&folder);
    let keys = |lab: &Lab| -> Vec<(String, String)> {
        let shown = lab.json(&["signer", "show", "prod/deployer"]);
        let keys = shown["signer"]["keys"].as_array().unwrap().clone();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        keys.iter().map(|key| (word(&key["state"]), word(&key["kid"]))).collect()
    };
    let made = keys(&lab);
    assert_eq!(
        made.iter().map(|(state, _)| state.as_str()).collect::<Vec<_>>(),
        ["current", "next"]
    );
    assert_eq!(first, made.iter().map(|(_, kid)| kid.clone()).collect());
    lab.person(&["signer", "rotate", "prod/deployer"]);
    let turned = keys(&lab);
    let states: Vec<&str> = turned.iter().map(|(state, _)| state.as_str()).collect();
    assert_eq!(states, ["current", "next", "previous"]);
    assert_eq!((&turned[0].1, &turned[2].1), (&made[1].1, &made[0].1));
    let _watch = lab.home.watch().unwrap();
    assert_eq!(read(&tokens(&lab, &[])[0]).0["kid"], json!(turned[0].1));
    assert!(export(&lab, &folder).status.success());
    assert!(kids(&folder).is_superset(&first) && kids(&folder).len() == 3);
    lab.person(&[
        "signer",
        "rotate",
        "prod/deployer",
        "--compromised",
        "--aud",
        AUD,
        "--aud",
        "https://other.example",
    ]);
    assert!(export(&lab, &folder).status.success());
    assert!(kids(&folder).is_disjoint(&turned.iter().map(|(_, kid)| kid.clone()).collect()) && kids(&folder).len() == 2);
    assert_eq!(
        lab.json(&["signer", "show", "prod/deployer"])["signer"]["audiences"],
        json!(["https://other.example", AUD])
    );
    lab.person(&["signer", "remove", "prod/deployer"]);
    assert_eq!(lab.json(&["signer", "list"])["signers"], json!([]));
    assert_eq!(error_of(&export(&lab, &folder)).1["reason"], "no_issuer");
}

#[test]
fn t10_the_prompts_for_a_rotation_its_cure_and_a_removal_name_the_keys_that_come_and_go() {
    let lab = lab(
        "es256",
        &["--aud", "https://b.example", "--claim", "env=prod or dev", "--claim", "ref"],
    );
    let has = |shown: &str, parts: &[&str]| {
        // What goes is in bold.
        let plain = shown.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
        let flat = plain.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(flat.contains(part), "{part} in {shown}");
        }
    };
    let kid = |lab: &Lab, at: usize| {
        let shown = lab.json(&["signer", "show", "prod/deployer"]);
        shown["signer"]["keys"][at]["kid"].as_str().unwrap()[..11].to_owned()
    };
    let [made, next] = [0, 1].map(|at| kid(&lab, at));
    let plain = lab.person(&["signer", "rotate", "prod/deployer"]);
    has(
        &plain,
        &[
            "new value, version 2; sealed signer (ES256)",
            &format!("issuer {ISSUER}"),
            &format!("to https://b.example or {AUD}"),
            "as deployer",
            "with env = \"prod or dev\"",
            "with ref = anything",
            &format!("keys {next} signs"),
            "signs next",
            &format!("{made} signed before"),
        ],
    );
    assert!(!plain.contains("drops"), "{plain}");
    let cured = lab.person(&["signer", "rotate", "prod/deployer", "--compromised"]);
    has(
        &cured,
        &[
            &format!("drops key {next} of prod/deployer, which signs now"),
            "which was to sign next",
            &format!("key {made} of prod/deployer, which signed before"),
        ],
    );
    let current = kid(&lab, 0);
    let removed = lab.person(&["signer", "remove", "prod/deployer"]);
    has(
        &removed,
        &[
            &format!("removes prod/deployer, a signer of tokens issued by {ISSUER}"),
            &format!("drops key {current} of prod/deployer, which signs now"),
        ],
    );
}

#[test]
fn t53_whoever_writes_into_the_folder_takes_no_signer_out_of_what_is_exported() {
    let lab = lab("es256", &[]);
    lab.person(&["signer", "add", "other", "--scope", "prod", "--issuer", ISSUER, "--aud", AUD]);
    let folder = lab.home.work().join("site");
    assert!(export(&lab, &folder).status.success());
    let before = kids(&folder);
    assert_eq!(before.len(), 4);
    let (path, bytes) = record_of(&lab.vault(), "\"name\":\"deployer\"");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains(ISSUER));
    let other = "https://id.example/touchleasf";
    let at = bytes.windows(ISSUER.len()).position(|part| part == ISSUER.as_bytes()).unwrap();
    let mut moved = bytes.clone();
    moved[at..at + other.len()].copy_from_slice(other.as_bytes());
    let refused = || {
        let path = folder.display().to_string();
        let out = lab
            .home
            .detached(["--json", "issuer", "export", &path, "--issuer", ISSUER])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (code, error) = error_of(&out);
        assert_eq!((code, error["reason"].as_str()), (Some(71), Some("unreadable")), "{error}");
        assert_eq!(kids(&folder), before, "what was written stays");
    };
    fs::write(&path, &moved).unwrap();
    refused();
    fs::remove_file(&path).unwrap();
    refused();
    fs::write(&path, &bytes).unwrap();
    assert!(export(&lab, &folder).status.success());
    // One that is removed by a touch is missed by nobody.
    lab.person(&["signer", "rotate", "prod/deployer"]);
    lab.person(&["signer", "remove", "prod/other"]);
    assert!(export(&lab, &folder).status.success());
    assert_eq!(kids(&folder).len(), 3);
}

#[test]
fn t28_no_two_signers_of_one_issuer_speak_of_the_same_subject() {
    let lab = lab("es256", &[]);
    let add = ["signer", "add", "other", "--scope", "prod", "--aud", AUD, "--issuer"];
    let same = [&add[..], &[ISSUER, "--sub", "deployer"]].concat();
    assert_eq!(refused(&lab, &same), (65, "subject_taken".into()));
    lab.person(&[&add[..], &["https://other.example", "--sub", "deployer"]].concat());
    lab.person(&["signer", "remove", "prod/other"]);
    lab.person(&[&add[..], &[ISSUER]].concat());
    assert_eq!(
        refused(&lab, &["signer", "rotate", "prod/other", "--sub", "other", "--sub", "deployer"]),
        (65, "subject_taken".into())
    );
    assert!(export(&lab, &lab.home.work().join("site")).status.success());
}

#[test]
fn t10_an_audience_that_looks_like_another_is_refused_before_anybody_is_asked() {
    let lab = lab("es256", &[]);
    for aud in [
        "https://r\u{435}gistry.example",
        "https://a.example https://b.example",
        "https://registry.example, as root; key AAAAAAAAAAA",
    ] {
        let (code, error) = error_of(&lab.agent_to_its_end(&["--json", "signer", "rotate", "prod/deployer", "--aud", aud]));
        assert_eq!(code, Some(65), "{error}");
        assert!(error["message"].as_str().unwrap().contains("ASCII"), "{error}");
    }
}

#[test]
fn t53_a_public_key_that_somebody_put_into_the_folder_is_neither_exported_nor_signed_for() {
    let lab = lab("es256", &[]);
    let folder = lab.home.work().join("site");
    assert!(export(&lab, &folder).status.success());
    let before = kids(&folder);
    let (path, bytes) = record_of(&lab.vault(), "\"signer\":");
    // The next key in the place of the current one, and the other way round: whoever holds neither can do no more.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let public = |name: &str| {
        text.split_once(&format!("\"{name}\":\""))
            .unwrap()
            .1
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    let (current, next) = (public("current"), public("next"));
    let swapped = swap(&bytes, &current, &next);
    fs::write(&path, &swapped).unwrap();
    let (code, error) = error_of(&export(&lab, &folder));
    assert_eq!((code, error["reason"].as_str()), (Some(71), Some("not_vouched")), "{error}");
    assert_eq!(kids(&folder), before, "what was written stays");
    assert_eq!(lab.json(&["signer", "show", "prod/deployer"])["signer"]["vouched"], json!(false));
    let _watch = lab.home.watch().unwrap();
    let (code, reason) = refused(&lab, &["token", "prod/deployer", "--aud", AUD]);
    assert!(code == 71, "{code} {reason}");
    fs::write(&path, bytes).unwrap();
    assert_eq!(tokens(&lab, &[]).len(), 1);
    assert!(export(&lab, &folder).status.success());
}

#[test]
fn t53_another_machine_exports_and_rotates_a_signer_once_a_token_was_signed_there() {
    let lab = lab("es256", &[]);
    let elsewhere = lab.elsewhere();
    // It comes with the vault, and without what this machine remembers.
    for entry in fs::read_dir(elsewhere.home.path().join("state/touchlease")).unwrap() {
        let state = entry.unwrap().path();
        for file in fs::read_dir(&state).unwrap().map(|file| file.unwrap().path()) {
            if file.file_name().unwrap().to_string_lossy().starts_with("signers-") {
                fs::remove_file(file).unwrap();
            }
        }
    }
    let folder = elsewhere.home.work().join("site");
    assert_eq!(error_of(&export(&elsewhere, &folder)).1["reason"], "not_vouched");
    assert!(!folder.exists());
    // Nor does a rotation keep and publish keys that may be anybody's.
    let (code, error) = error_of(&elsewhere.agent_to_its_end(&["--json", "signer", "rotate", "prod/deployer"]));
    assert_eq!((code, error["reason"].as_str()), (Some(71), Some("not_vouched")), "{error}");
    assert!(
        error["hint"].as_str().unwrap().contains("touchlease signer remove prod/deployer"),
        "{error}"
    );
    let _watch = elsewhere.home.watch().unwrap();
    tokens(&elsewhere, &[]);
    assert!(export(&elsewhere, &folder).status.success());
}

#[test]
fn t28_one_touch_gives_no_more_tokens_than_the_rules_allow_however_often_the_signer_is_named() {
    let lab = lab("es256", &["--sub", "deployer", "--sub", "other", "--max-uses", "2"]);
    let _watch = lab.home.watch().unwrap();
    let before = lab.key.counts().unwrap().given;
    let grant = |sub: &str| json!({"secret": "prod/deployer", "via": "signer", "token": {"aud": AUD, "sub": sub}});
    let ask = |uses: u32, grants: &[Value]| {
        let call = json!({"v": 1, "request": {"do": "lease", "deliver": true, "uses": uses, "with": grants}});
        lab.call(&call).reply().unwrap()
    };
    for (uses, grants) in [(1, vec![grant("other"); 2]), (2, vec![grant("deployer"), grant("other")])] {
        let reply = ask(uses, &grants);
        assert!(reply["values"].is_null() && !reply.to_string().contains("eyJ"), "{reply}");
    }
    assert_eq!(lab.key.counts().unwrap().given, before, "nobody was asked");
    let reply = ask(1, &[grant("deployer"), grant("other")]);
    assert_eq!(reply["values"].as_array().map(Vec::len), Some(2), "{reply}");
    assert_eq!(lab.key.counts().unwrap().given, before + 1);
}

#[test]
fn t28_a_lease_that_signs_with_a_compromised_key_ends_with_the_rotation() {
    let lab = lab("es256", &["--max-uses", "3", "--max-ttl", "1h"]);
    let task = format!(
        "[task.t]\nabout = \"t\"\nuses = 3\nttl = \"1h\"\n[[task.t.grant]]\nsecret = \"prod/deployer\"\nvia = \"signer\"\nenv = \"T\"\naudience = \"{AUD}\"\n"
    );
    fs::write(lab.home.work().join("touchlease.toml"), task).unwrap();
    for last in [
        &["signer", "rotate", "prod/deployer", "--compromised"][..],
        &["signer", "remove", "prod/deployer"],
    ] {
        let watch = lab.home.watch().unwrap();
        let id = lab.lease(&["--task", "t"]);
        drop(watch);
        assert!(lab.json(&["lease", "list"]).to_string().contains(&id));
        lab.person(last);
        assert!(!lab.json(&["lease", "list"]).to_string().contains(&id));
    }
}

#[test]
fn t28_a_token_that_is_signed_late_in_a_lease_ends_with_it() {
    let lab = lab("es256", &["--max-uses", "3"]);
    let task = format!(
        "[task.t]\nabout = \"t\"\nuses = 3\nttl = \"1m\"\n[[task.t.grant]]\nsecret = \"prod/deployer\"\nvia = \"signer\"\nenv = \"T\"\naudience = \"{AUD}\"\n"
    );
    fs::write(lab.home.work().join("touchlease.toml"), task).unwrap();
    let _watch = lab.home.watch().unwrap();
    let end = |lab: &Lab| {
        let out = lab
            .child(&["run", "--no-masking", "--task", "t", "--", "sh", "-c", "echo $T"])
            .wait_with_output()
            .unwrap();
        let payload = read(String::from_utf8(out.stdout).unwrap().trim()).1;
        let time = |name: &str| payload[name].as_u64().unwrap();
        (time("iat"), time("exp"))
    };
    lab.lease(&["--task", "t"]);
    let (began, over) = end(&lab);
    std::thread::sleep(std::time::Duration::from_secs(5));
    let (iat, exp) = end(&lab);
    assert!(iat >= began + 5 && exp <= over + 1 && exp < iat + 60, "{began} {over}, {iat} {exp}");
}

#[test]
fn t14_no_token_is_signed_when_the_clock_was_set_ahead_since_the_last_line_of_the_log() {
    let lab = lab("es256", &[]);
    let _watch = lab.home.watch().unwrap();
    tokens(&lab, &[]);
    lab.clock.set_by(3_600_000);
    assert_eq!(refused(&lab, &["token", "prod/deployer", "--aud", AUD]), (62, "clock".into()));
    lab.clock.set_by(-3_600_000);
    tokens(&lab, &[]);
}

#[test]
fn a_task_gives_a_command_a_token_in_its_environment_and_its_output_is_masked() {
    let lab = lab("eddsa", &["--max-uses", "2"]);
    fs::write(
        lab.home.work().join("touchlease.toml"),
        format!(
            "[task.deploy]\nabout = \"Deploy\"\ncommand = [\"sh\", \"-c\", \"echo $ID_TOKEN; echo $ID_TOKEN > token\"]\nuses = 2\n\
             [[task.deploy.grant]]\nsecret = \"prod/deployer\"\nvia = \"signer\"\nenv = \"ID_TOKEN\"\naudience = \"{AUD}\"\n"
        ),
    )
    .unwrap();
    let _watch = lab.home.watch().unwrap();
    assert_eq!(lab.prints(&["run", "--task", "deploy"]), "<touchlease:prod/deployer>\n");
    let token = fs::read_to_string(lab.home.work().join("token")).unwrap();
    let (_, payload) = read(token.trim_end());
    assert_eq!(payload["task"], "deploy");
    assert!(payload["jti"].as_str().unwrap().ends_with(".1"), "{payload}");
    let used = lab.events().into_iter().find(|(name, _)| name == "used").unwrap().1;
    assert_eq!(used["what"], format!("sh, token {} for {AUD}", payload["jti"].as_str().unwrap()));
}

#[test]
fn p5_no_private_key_lies_in_the_folder_the_log_or_what_is_printed() {
    let lab = lab("es256", &[]);
    let _watch = lab.home.watch().unwrap();
    let token = tokens(&lab, &[]).remove(0);
    let log = fs::read(lab.home.log().unwrap()).unwrap();
    assert!(holds(&log, "deployer") && !holds(&log, &token), "a token is a credential");
    let shown = lab.prints(&["--json", "signer", "list"]);
    assert!(!shown.contains("\"d\":"), "{shown}");
    let folder = lab.home.work().join("site");
    export(&lab, &folder);
    assert!(!holds(&fs::read(folder.join(".well-known/jwks.json")).unwrap(), "\"d\""));
}

#[test]
fn an_export_is_for_everybody_to_read_and_leaves_nothing_half_written() {
    use std::os::unix::fs::PermissionsExt;
    let lab = lab("es256", &[]);
    let folder = lab.home.work().join("site");
    let out = export(&lab, &folder);
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&said["issuer"], &said["signers"]), (&json!(ISSUER), &json!(["prod/deployer"])));
    let names: BTreeSet<_> = fs::read_dir(folder.join(".well-known"))
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(names, ["jwks.json".into(), "openid-configuration".into()].into());
    for file in said["files"].as_array().unwrap() {
        assert_eq!(fs::metadata(file.as_str().unwrap()).unwrap().permissions().mode() & 0o777, 0o644);
    }
    let document: Value = serde_json::from_slice(&fs::read(folder.join(".well-known/openid-configuration")).unwrap()).unwrap();
    assert_eq!(document["issuer"], ISSUER);
    assert_eq!(document["jwks_uri"], format!("{ISSUER}/.well-known/jwks.json"));
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256"]));
    assert_eq!(
        refused(&lab, &["issuer", "export", "site", "--issuer", "https://other.example"]),
        (65, "no_issuer".into())
    );
}

/// The file of the vault that has this in it.
fn record_of(vault: &Path, part: &str) -> (std::path::PathBuf, Vec<u8>) {
    let mut folders = vec![vault.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let bytes = fs::read(&entry).unwrap();
            if holds(&bytes, part) {
                return (entry, bytes);
            }
        }
    }
    panic!("no file has {part}");
}

/// Two parts of the same length, each in the place of the other.
fn swap(bytes: &[u8], one: &str, other: &str) -> Vec<u8> {
    assert_eq!(one.len(), other.len());
    let at = |part: &str| memchr::memmem::find(bytes, part.as_bytes()).unwrap();
    let mut swapped = bytes.to_vec();
    for (place, text) in [(at(one), other), (at(other), one)] {
        swapped[place..place + text.len()].copy_from_slice(text.as_bytes());
    }
    swapped
}

/// A person's terminal with a token on it: what a script would capture is apart from what the person reads.
#[test]
fn t33_a_person_sees_the_prompt_on_the_terminal_and_a_script_captures_the_token_alone() {
    let lab = lab("es256", &[]);
    let file = lab.home.work().join("captured");
    let environment = lab.home.command([""; 0]);
    let mut command = std::process::Command::new("sh");
    let line = format!(
        "exec {} token prod/deployer --aud {AUD} > captured",
        crate::lab::product().display()
    );
    command.args(["-c", &line]).env_clear();
    command
        .envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(lab.home.work());
    let (status, shown) = Terminal::start(&command).unwrap().finish().unwrap();
    assert!(status.success(), "{shown}");
    let captured = fs::read_to_string(file).unwrap();
    assert_eq!(captured.lines().count(), 1);
    read(captured.trim_end());
    assert!(
        shown.contains("a token signed by") && !shown.contains(captured.trim_end()),
        "{shown}"
    );
}

/// The private halves of a signer, from what the daemon drew: nobody else has them.
fn private_keys(lab: &Lab, algorithm: Algorithm) -> Vec<Vec<u8>> {
    let shown = lab.json(&["signer", "show", "prod/deployer"]);
    let keys = shown["signer"]["keys"].as_array().unwrap().iter();
    let publics: BTreeSet<String> = keys.map(|key| key["public"].as_str().unwrap().to_owned()).collect();
    let is_one = |bytes: &Vec<u8>| {
        let public = (bytes.len() == 32).then(|| key::public_of(algorithm, bytes)).flatten();
        public.is_some_and(|public| publics.contains(&public.to_text()))
    };
    let found: Vec<_> = drawn::drawn().into_iter().filter(is_one).collect();
    assert_eq!((found.len(), publics.len()), (3, 3), "current, next and previous");
    found
}

#[test]
fn t45_a_signers_private_keys_and_its_tokens_are_in_no_file_no_command_line_and_no_message() {
    drawn::keep();
    let (mut looks, mut files, mut signed) = (0, 0, 0);
    for (alg, algorithm) in [("es256", Algorithm::Es256), ("eddsa", Algorithm::EdDsa)] {
        let lab = lab(alg, &["--max-uses", "2"]);
        let mut shown = lab.person(&["signer", "rotate", "prod/deployer"]);
        let private: Vec<Vec<u8>> = private_keys(&lab, algorithm).iter().flat_map(|key| forms_of(key)).collect();
        assert!(leaks(&[&b"x"[..], &private[0]].concat(), &private) > 0);
        let watch = lab.home.watch().unwrap();
        // What every token of the key begins with.
        let first = tokens(&lab, &[]).remove(0);
        let begins = first.split('.').next().unwrap().as_bytes().to_vec();
        let command_lines = CommandLines::watch_for([private.clone(), vec![begins]].concat(), &["cmdline"]);
        let outside = tempfile::tempdir().unwrap();
        let kept = outside.path().join("token").display().to_string();
        let file = format!(
            "[task.deploy]\nabout = \"Deploy\"\n\n[[task.deploy.grant]]\nsecret = \"prod/deployer\"\nvia = \"signer\"\nenv = \"T\"\naudience = \"{AUD}\"\n"
        );
        fs::write(lab.home.work().join("touchlease.toml"), file).unwrap();
        let mut all = vec![first];
        all.extend(tokens(&lab, &["--uses", "2"]));
        for script in [
            "echo $T; printf 'x%s' $T | base64 >&2",
            "echo $T >&2; printf %s $T | od -An -tx1 | tr -d ' \\n'",
        ] {
            let script = format!("printf %s $T > {kept}; {script}");
            let out = lab.agent_to_its_end(&["run", "--task", "deploy", "--", "sh", "-c", &script]);
            assert!(out.status.success(), "{out:?}");
            let token = fs::read_to_string(&kept).unwrap();
            assert_eq!(
                leaks(&out.stdout, &forms(&token)) + leaks(&out.stderr, &forms(&token)),
                0,
                "{out:?}"
            );
            all.push(token);
        }
        shown += &lab.person(&["signer", "rotate", "prod/deployer", "--compromised"]);
        shown += &lab.prints(&["audit", "show", "--json"]);
        shown += &watch.output();
        let (looked, hits) = command_lines.seen();
        assert_eq!(hits, 0, "on a command line");
        let tokens: Vec<Vec<u8>> = all.iter().flat_map(|token| forms(token)).collect();
        assert_eq!(leaks(shown.as_bytes(), &tokens) + leaks(shown.as_bytes(), &private), 0, "{shown}");
        let left = left_behind(lab.home.path());
        for file in &left {
            let bytes = fs::read(file).unwrap_or_default();
            assert_eq!(leaks(&bytes, &private) + leaks(&bytes, &tokens), 0, "{}", file.display());
        }
        (looks, files, signed) = (looks + looked, files + left.len(), signed + all.len());
    }
    println!("T45 signers: {signed} of 10 tokens, and 6 keys: 0 hits in {files} files, {looks} command lines");
}
