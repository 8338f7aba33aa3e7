//! SSH certificates and signatures with emulated keys; what Debian's sshd says of them is in `servers`.

mod agent;
mod lent;
mod logins;
mod openssh;
mod servers;
mod signatures;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use data_encoding::BASE64;
use hw_tests::key::KeyHandle;
use serde_json::{Value, json};
use touchlease::lease::text::{LeaseText, Text};

use crate::lab::{Lab, error_of};

/// A signer of another kind, `prod/tokens`.
#[rustfmt::skip]
const ADD_TOKENS: [&str; 9] = [
    "signer", "add", "tokens", "--scope", "prod", "--issuer", "https://id.example", "--aud", "https://a.example",
];

/// A lab with the signer `prod/ca`, which lets in as these users, and a key of the person's own.
fn lab(alg: &str, principals: &[&str], more: &[&str]) -> (Lab, PathBuf) {
    let lab = Lab::new();
    let mut add = vec!["signer", "add", "ca", "--scope", "prod", "--alg", alg];
    principals.iter().for_each(|principal| add.extend(["--principal", principal]));
    lab.person(&[&add, more].concat());
    let key = lab.home.work().join("id");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "me", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    (lab, key)
}

/// What an agent's child prints for one certificate.
fn certificate(lab: &Lab, more: &[&str]) -> String {
    let printed = lab.prints(&[&["ssh", "cert", "prod/ca", "--key", "id.pub"], more].concat());
    let line = printed.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{printed:?}");
    line.to_owned()
}

fn refused(lab: &Lab, arguments: &[&str]) -> (i32, String) {
    let (code, error) = error_of(&lab.agent_to_its_end(&[&["--json"], arguments].concat()));
    assert!(error["hint"].is_string(), "{error}");
    (code.unwrap(), error["reason"].as_str().unwrap().to_owned())
}

/// What OpenSSH reads out of a certificate.
fn read_by_openssh(lab: &Lab, line: &str) -> String {
    let file = lab.home.work().join("read.pub");
    fs::write(&file, format!("{line}\n")).unwrap();
    let out = Command::new("ssh-keygen").arg("-Lf").arg(&file).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn t33_a_certificate_is_all_that_stands_on_standard_output_and_its_text_is_what_was_touched_for() {
    for alg in ["es256", "eddsa"] {
        let (lab, _) = lab(alg, &["deploy"], &[]);
        let recorder = lab.recorder();
        let before = lab.key.counts().unwrap().given;
        let line = certificate(
            &lab,
            &[
                "--force-command",
                "/usr/bin/deploy now",
                "--source-address",
                "192.0.2.0/24",
                "--source-address",
                "::1",
                "--ttl",
                "2m",
            ],
        );
        assert_eq!(lab.key.counts().unwrap().given, before + 1);
        let text = recorder.texts().pop().unwrap();
        let lease = LeaseText::decode(&text).unwrap();
        let said = read_by_openssh(&lab, &line);
        for part in [
            &format!("Key ID: \"{}\"", lease.id),
            &format!("Serial: {}", lease.serial().unwrap()),
            "Principals: \n                deploy\n",
            "force-command /usr/bin/deploy now",
            "source-address 192.0.2.0/24,::1/128",
            "Extensions: (none)",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        let (_, shown) = lease.certificate().unwrap();
        let id = fs::read_to_string(lab.home.work().join("id.pub")).unwrap();
        assert_eq!(format!("{} me\n", shown.key), id, "the prompt has the key that was named");
        assert_eq!(
            (shown.principal.as_str(), shown.pty, lease.ttl, lease.uses),
            ("deploy", false, 120, Some(1))
        );
        let used: Vec<_> = lab.events().into_iter().filter(|(name, _)| name == "used").collect();
        let what = format!("certificate {} by prod/ca for deploy", lease.id);
        assert_eq!(used.len(), 1);
        assert_eq!(used[0].1, json!({"delivery": "signer", "lease": lease.id, "left": 0, "what": what}));
        lab.until("the end of the lease", || lab.count("ended") == 1);
    }
}

#[test]
fn the_prompt_says_who_is_let_in_with_which_key_for_what_and_from_where() {
    let (lab, key) = lab("eddsa", &["deploy"], &[]);
    let print = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(key.with_extension("pub"))
        .output()
        .unwrap();
    let print = String::from_utf8(print.stdout).unwrap();
    let print = print.split(' ').nth(1).unwrap();
    let shown = lab.person(&[
        "ssh",
        "cert",
        "prod/ca",
        "--key",
        "id.pub",
        "--source-address",
        "192.0.2.7",
        "--pty",
        "--ttl",
        "90s",
    ]);
    for part in [
        "an SSH certificate signed by prod/ca",
        "sealed signer, version 1",
        "user deploy",
        print,
        "anything, with a terminal",
        "192.0.2.7/32",
        "1 min 30 s from the touch, or 1 use",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let shown = lab.person(&["ssh", "cert", "prod/ca", "--key", "id.pub", "--force-command", "uptime"]);
    for part in ["only uptime, without a terminal", "everywhere"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn t27_what_the_rules_do_not_allow_or_sshd_would_take_for_more_is_refused_before_anybody_is_asked() {
    let (lab, key) = lab("es256", &["deploy", "backup"], &["--max-ttl", "5m"]);
    lab.person(&ADD_TOKENS);
    fs::write(lab.home.work().join("none.pub"), "ssh-ed25519 AAAA me\n").unwrap();
    let _watch = lab.home.watch().unwrap();
    let before = (lab.key.counts().unwrap().given, lab.count("asked"));
    let cert = ["ssh", "cert", "prod/ca", "--key", "id.pub", "--principal", "deploy"];
    for (more, code, reason) in [
        (&["--ttl", "6m"][..], 62, "ttl_over_cap"),
        (&["--ttl", "0s"], 64, "usage"),
        (&["--force-command", ""], 65, "certificate"),
        (&["--force-command", "a\u{202e}b"], 65, "certificate"),
        (&["--source-address", "0.0.0.0/0"], 65, "certificate"),
        (
            &["--source-address", "0.0.0.0/1", "--source-address", "128.0.0.0/1"],
            65,
            "certificate",
        ),
        (&["--source-address", "::ffff:127.0.0.1"], 65, "certificate"),
        (&["--source-address", "10.0.0.1/8"], 65, "certificate"),
        (&["--source-address", "*"], 65, "certificate"),
    ] {
        assert_eq!(refused(&lab, &[&cert, more].concat()), (code, reason.to_owned()), "{more:?}");
    }
    for principal in ["", "*", "root", "deploy,root", "deploy backup"] {
        let principal = format!("--principal={principal}");
        let cert = ["ssh", "cert", "prod/ca", "--key", "id.pub", &principal];
        assert_eq!(refused(&lab, &cert), (62, "principal".to_owned()), "{principal}");
    }
    let private = key.display().to_string();
    for (arguments, code, reason) in [
        (&["ssh", "cert", "prod/ca", "--key", "id.pub"][..], 65, "which_principal"),
        (
            &["ssh", "cert", "prod/ca", "--key", &private, "--principal", "deploy"],
            65,
            "ssh_key",
        ),
        (
            &["ssh", "cert", "prod/ca", "--key", "none.pub", "--principal", "deploy"],
            65,
            "ssh_key",
        ),
        (&["ssh", "cert", "prod/tokens", "--key", "id.pub"], 62, "no_ca"),
        (&["ssh", "cert", "prod/TOKEN", "--key", "id.pub"], 62, "no_ca"),
        (&["token", "prod/ca", "--aud", "https://a.example"], 62, "signs_certificates"),
        (&["ssh", "ca", "prod/tokens"], 65, "no_ca"),
        (&["ssh", "krl", "krl", "--lease", "0123"], 64, "usage"),
        (&["run", "--with", "D=prod/ca", "--", "true"], 62, "signer_stays"),
        (&["signer", "add", "x", "--scope", "prod", "--principal", "a,b"], 65, "rules"),
        (&["signer", "add", "x", "--scope", "prod", "--principal", "*"], 65, "rules"),
        (
            &[
                "signer",
                "add",
                "x",
                "--scope",
                "prod",
                "--principal",
                "a",
                "--issuer",
                "https://id.example",
            ],
            64,
            "usage",
        ),
        (
            &["signer", "add", "x", "--scope", "prod", "--principal", "a", "--max-ttl", "2h"],
            65,
            "rules",
        ),
    ] {
        assert_eq!(refused(&lab, arguments), (code, reason.to_owned()), "{arguments:?}");
    }
    // Nor in the protocol's own words.
    let id = fs::read_to_string(lab.home.work().join("id.pub")).unwrap();
    let asked = |certificate: Value, more: Value| {
        let mut grant = json!({"secret": "prod/ca", "via": "signer", "certificate": certificate});
        grant.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let call = json!({"v": 1, "request": {"do": "lease", "deliver": true, "with": [grant], "uses": 1}});
        lab.call(&call).reply().unwrap()["reason"].as_str().unwrap().to_owned()
    };
    let good = json!({"key": id, "principal": "deploy"});
    assert_eq!(asked(good.clone(), json!({"env": "CERT"})), "grant");
    assert_eq!(asked(good, json!({"token": {"aud": "x"}})), "grant");
    for bad in [
        json!({"key": id, "principal": ["deploy", "backup"]}),
        json!({"key": id, "principal": "deploy", "serial": 1}),
        json!({"key": id, "principal": "deploy", "valid_before": 9_999_999_999_u64}),
    ] {
        assert_eq!(asked(bad.clone(), json!({})), "protocol", "{bad}");
    }
    assert_eq!((lab.key.counts().unwrap().given, lab.count("asked")), before);
}

#[test]
fn t27_a_sealed_command_and_sealed_addresses_are_in_each_certificate_and_shown_where_they_change() {
    let limits = [
        "--force-command",
        "/usr/bin/deploy now",
        "--source-address",
        "192.0.2.0/24",
        "--source-address",
        "127.0.0.1",
    ];
    let (lab, _) = lab("eddsa", &["deploy"], &limits);
    let watch = lab.home.watch().unwrap();
    let limited = |line: &str, from: &str| {
        let said = read_by_openssh(&lab, line);
        for part in ["force-command /usr/bin/deploy now", &format!("source-address {from}\n")] {
            assert!(said.contains(part), "{part} in {said}");
        }
    };
    limited(&certificate(&lab, &[]), "127.0.0.1/32,192.0.2.0/24");
    let same = ["--force-command", "/usr/bin/deploy now", "--source-address", "192.0.2.7", "--pty"];
    limited(&certificate(&lab, &same), "192.0.2.7/32");
    let before = (lab.key.counts().unwrap().given, lab.count("asked"));
    let cert = ["ssh", "cert", "prod/ca", "--key", "id.pub"];
    for (more, reason) in [
        (["--force-command", "/usr/bin/deploy now; sh"], "force_command"),
        (["--source-address", "192.0.2.0/23"], "source_address"),
        (["--source-address", "::1"], "source_address"),
    ] {
        assert_eq!(refused(&lab, &[&cert[..], &more].concat()), (62, reason.to_owned()), "{more:?}");
    }
    assert_eq!((lab.key.counts().unwrap().given, lab.count("asked")), before, "nobody was asked");
    // Nor by the agent, whose certificate is shown with them.
    let agent = agent::Agent::start(&lab, &[]);
    let mut ssh = agent.connect();
    ssh.ask(&agent::Host::new(1).bind(&agent::SESSION, false));
    let made = ssh.certificate();
    limited(
        &format!("ssh-ed25519-cert-v01@openssh.com {}", BASE64.encode(&made)),
        "127.0.0.1/32,192.0.2.0/24",
    );
    let other = agent::Agent::start(&lab, &["--force-command", "sh"]);
    let mut ssh = other.connect();
    ssh.ask(&agent::Host::new(1).bind(&agent::SESSION, false));
    assert_eq!(ssh.ask(&[11]), agent::FAILURE);
    drop(watch);
    // What they were stands beside them, and a rotation of keys alone leaves them as they are.
    let rotate = ["signer", "rotate", "prod/ca", "--keep-keys"];
    let shown = lab.person(&[&rotate[..], &["--no-force-command", "--source-address", "127.0.0.1"]].concat());
    // Row by row: a terminal may draw between two of them.
    for part in ["anything", "only /usr/bin/deploy now", "before", "127.0.0.1/32 or 192.0.2.0/24"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    lab.person(&["signer", "rotate", "prod/ca"]);
    let listed = lab.json(&["signer", "show", "prod/ca"]);
    let signer = &listed["signer"];
    assert_eq!(
        (&signer["force_command"], &signer["source_addresses"]),
        (&Value::Null, &json!(["127.0.0.1/32"]))
    );
    for (more, code, reason) in [
        (&["--principal", "a", "--source-address", "0.0.0.0/0"][..], 65, "rules"),
        (&["--principal", "a", "--force-command", ""], 65, "rules"),
        (&["--namespace", "git", "--force-command", "sh"], 64, "usage"),
    ] {
        let add = ["signer", "add", "x", "--scope", "prod"];
        assert_eq!(refused(&lab, &[&add[..], more].concat()), (code, reason.to_owned()), "{more:?}");
    }
}

#[test]
fn a_rotation_keeps_servers_letting_in_and_says_what_they_trust_after_it() {
    let (lab, _) = lab("eddsa", &["deploy"], &[]);
    let lines = |lab: &Lab| -> Vec<String> { lab.prints(&["ssh", "ca", "prod/ca"]).lines().map(str::to_owned).collect() };
    let before = lab.key.counts().unwrap().given;
    let made = lines(&lab);
    assert_eq!(lab.key.counts().unwrap().given, before, "they are public");
    assert!(
        made[0].ends_with(" touchlease:prod/ca:current") && made[1].ends_with(" touchlease:prod/ca:next"),
        "{made:?}"
    );
    lab.person(&["signer", "rotate", "prod/ca"]);
    let turned = lines(&lab);
    let key = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(key(&turned[0]), key(&made[1]));
    // Of an issuer of tokens there is nothing.
    assert_eq!(refused(&lab, &["issuer", "export", "site"]).1, "no_issuer");
    let listed = lab.json(&["signer", "list"]);
    assert_eq!(listed["signers"][0]["principals"], json!(["deploy"]));
}

/// What ssh-keygen says of a certificate by the list `krl`.
fn is_revoked(lab: &Lab, certificate: &str) -> bool {
    let file = lab.home.work().join("asked-cert.pub");
    fs::write(&file, format!("{certificate}\n")).unwrap();
    let list = lab.home.work().join("krl");
    let out = Command::new("ssh-keygen").arg("-Qf").args([&list, &file]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.success(), !said.contains("REVOKED"), "{out:?}");
    !out.status.success()
}

#[test]
fn t27_nothing_is_said_to_be_taken_back_of_which_the_log_knows_no_certificate_and_of_the_rest_no_signer_is_needed() {
    let (lab, _) = lab("eddsa", &["deploy"], &[]);
    let watch = lab.home.watch().unwrap();
    let (taken, kept) = (certificate(&lab, &[]), certificate(&lab, &[]));
    let id = taken.split(' ').nth(2).unwrap();
    let other = lab.lease(&["--with", "prod/TOKEN", "--ttl", "1m"]);
    let none = "0123456789abcdef0123456789abcdef";
    for ids in [&["--lease", none][..], &["--lease", id, "--lease", none], &["--lease", &other]] {
        let said = refused(&lab, &[&["ssh", "krl", "krl"], ids].concat());
        assert_eq!(said, (65, "no_certificate".to_owned()), "{ids:?}");
        assert!(!lab.home.work().join("krl").exists(), "{ids:?}");
    }
    drop(watch);
    // Its signer has other keys, and then is none.
    lab.person(&["signer", "rotate", "prod/ca", "--compromised"]);
    lab.prints(&["ssh", "krl", "krl", "--lease", id]);
    assert!(is_revoked(&lab, &taken) && !is_revoked(&lab, &kept));
    lab.person(&["signer", "remove", "prod/ca"]);
    fs::remove_file(lab.home.work().join("krl")).unwrap();
    lab.prints(&["ssh", "krl", "krl", "--lease", id]);
    assert!(is_revoked(&lab, &taken) && !is_revoked(&lab, &kept));
    // On the word of whoever says so.
    let shown = lab.json(&["ssh", "krl", "krl", "--anyway", "--lease", none]);
    assert_eq!(shown["revoked"], json!([none]));
    assert!(!is_revoked(&lab, &taken));
}

#[test]
fn t27_a_rotation_shows_whom_the_signer_let_in_until_now_and_a_signer_of_the_one_stays_none_of_the_other() {
    let (lab, _) = lab("eddsa", &["deploy"], &["--max-ttl", "10m"]);
    let flat = |shown: &str| {
        let plain = shown.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
        plain.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    };
    let turned = flat(&lab.person(&["signer", "rotate", "prod/ca"]));
    assert!(turned.contains("lets in as user deploy keys"), "{turned}");
    let turned = flat(&lab.person(&["signer", "rotate", "prod/ca", "--principal", "root", "--max-ttl", "1h"]));
    for part in ["lets in as user root (until now: deploy)", "at most 1 h", "before at most 10 min"] {
        assert!(turned.contains(part), "{part} in {turned}");
    }
    let shown = lab.prints(&["signer", "show", "prod/ca"]);
    assert!(shown.contains("lets in   as root\n"), "{shown}");
    lab.person(&ADD_TOKENS);
    for (arguments, way) in [
        (["signer", "rotate", "prod/ca", "--aud", "https://b.example"], "--issuer"),
        (["signer", "rotate", "prod/tokens", "--principal", "root"], "--principal"),
    ] {
        let (code, error) = error_of(&lab.agent_to_its_end(&[&["--json"], &arguments[..]].concat()));
        assert_eq!((code, &error["reason"]), (Some(65), &json!("rules")), "{error}");
        let hint = error["hint"].as_str().unwrap();
        assert!(hint.contains("touchlease signer add NAME") && hint.contains(way), "{error}");
    }
}

#[test]
fn t27_an_rsa_key_that_is_shorter_than_it_looks_gets_no_certificate() {
    let (lab, _) = lab("eddsa", &["deploy"], &[]);
    let work = lab.home.work();
    for bits in ["1024", "3072"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "rsa", "-b", bits, "-N", "", "-f"])
            .arg(work.join(bits))
            .status();
        assert!(made.unwrap().success());
    }
    // The modulus is the last field: with zeros before it has 2,056 bits.
    let line = fs::read_to_string(work.join("1024.pub")).unwrap();
    let short = BASE64.decode(line.split(' ').nth(1).unwrap().as_bytes()).unwrap();
    let (front, modulus) = short.split_at(short.len() - 129);
    let padded = [&front[..front.len() - 4], &257_u32.to_be_bytes(), &[0; 128], modulus].concat();
    fs::write(work.join("padded.pub"), format!("ssh-rsa {}\n", BASE64.encode(&padded))).unwrap();
    let watch = lab.home.watch().unwrap();
    let before = lab.key.counts().unwrap().given;
    for file in ["1024.pub", "padded.pub"] {
        let said = refused(&lab, &["ssh", "cert", "prod/ca", "--key", file]);
        assert_eq!(said, (65, "ssh_key".to_owned()), "{file}");
    }
    assert_eq!(lab.key.counts().unwrap().given, before);
    lab.prints(&["ssh", "cert", "prod/ca", "--key", "3072.pub"]);
    drop(watch);
}
