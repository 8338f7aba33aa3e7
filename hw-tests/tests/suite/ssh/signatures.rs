//! Git's signatures and `ssh-keygen -Y sign` through the agent, with Debian's programs and frame by frame.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use hw_tests::key::KeyHandle;
use touchlease::encoding::ssh_key::SshKey;
use touchlease::encoding::ssh_signed_data::{Hash, SignedData};
use touchlease::lease::requester::SSH_COMMAND;
use touchlease::lease::text::{LeaseText, Text};

use super::agent::{Agent, FAILURE, Host, SESSION, string, userauth};
use super::{ADD_TOKENS, refused};
use crate::lab::Lab;

/// A lab with the signer `prod/git`, its key in a file and as an allowed signer, and an agent for it.
struct Signing {
    lab: Lab,
    agent: Agent,
    key: PathBuf,
    allowed: PathBuf,
}

impl Signing {
    fn new(alg: &str, more: &[&str], agent: &[&str]) -> Self {
        let lab = Lab::new();
        let add = ["signer", "add", "git", "--scope", "prod", "--alg", alg];
        let namespaces = ["--namespace", "git", "--namespace", "file"];
        let shown = lab.person(&[&add[..], &namespaces, more].concat());
        assert!(shown.contains("signs in  file or git"), "{shown}");
        let agent = Agent::of(&lab, "prod/git", agent);
        let (key, allowed) = (lab.home.work().join("git.pub"), lab.home.work().join("allowed"));
        let listed = Command::new("ssh-add")
            .arg("-L")
            .env("SSH_AUTH_SOCK", &agent.socket)
            .output()
            .unwrap();
        assert!(listed.status.success(), "{listed:?} {}", agent.said());
        fs::write(&key, &listed.stdout).unwrap();
        let lines = lab.prints(&["ssh", "allowed-signers", "prod/git", "--principal", "anna@example.com"]);
        fs::write(&allowed, lines).unwrap();
        Self { lab, agent, key, allowed }
    }

    fn touches(&self) -> u64 {
        self.lab.key.counts().unwrap().given
    }

    fn git(&self, arguments: &[&str]) -> Output {
        let mut git = Command::new("git");
        let set = |name: &str, value: &str| format!("{name}={value}");
        for (name, value) in [
            ("user.name", "Anna"),
            ("user.email", "anna@example.com"),
            ("gpg.format", "ssh"),
            ("user.signingKey", &self.key.display().to_string()),
            ("gpg.ssh.allowedSignersFile", &self.allowed.display().to_string()),
        ] {
            git.args(["-c", &set(name, value)]);
        }
        git.arg("-C").arg(self.lab.home.work().join("repo")).args(arguments);
        git.env("SSH_AUTH_SOCK", &self.agent.socket).env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.stdin(Stdio::null()).output().unwrap()
    }

    fn commit(&self, message: &str) -> Output {
        self.git(&["commit", "-q", "--allow-empty", "-S", "-m", message])
    }

    /// Signs a file; where the signature is.
    fn sign(&self, namespace: &str, content: &str) -> Result<PathBuf, String> {
        let file = self.lab.home.work().join("signed");
        fs::write(&file, content).unwrap();
        let signature = file.with_extension("sig");
        let _ = fs::remove_file(&signature);
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-Y", "sign", "-n", namespace, "-f"]).arg(&self.key).arg(&file);
        let out = keygen
            .env("SSH_AUTH_SOCK", &self.agent.socket)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        match out.status.success() {
            true => Ok(signature),
            false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
        }
    }

    fn verifies(&self, namespace: &str, content: &str) -> bool {
        let file = self.lab.home.work().join("signed");
        fs::write(&file, content).unwrap();
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-Y", "verify", "-I", "anna@example.com", "-n", namespace, "-f"]);
        keygen.arg(&self.allowed).arg("-s").arg(file.with_extension("sig"));
        keygen.stdin(fs::File::open(&file).unwrap()).output().unwrap().status.success()
    }

    /// The wire form of the key that is listed.
    fn blob(&self) -> Vec<u8> {
        SshKey::from_line(&fs::read_to_string(&self.key).unwrap()).unwrap().to_blob()
    }
}

fn is_done(out: &Output) -> bool {
    out.status.success()
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

#[test]
fn t22_git_and_ssh_keygen_sign_by_the_agent_with_a_touch_each_and_stock_verifiers_take_it() {
    for alg in ["es256", "eddsa"] {
        let signing = Signing::new(alg, &[], &[]);
        let lab = &signing.lab;
        let before = signing.touches();
        let recorder = lab.recorder();
        assert!(is_done(
            &Command::new("git")
                .args(["init", "-q"])
                .arg(lab.home.work().join("repo"))
                .output()
                .unwrap()
        ));
        let done = signing.commit("one");
        assert!(is_done(&done), "{done:?} {}", signing.agent.said());
        let lease = LeaseText::decode(&recorder.texts().pop().unwrap()).unwrap();
        let (_, shown) = lease.signature().unwrap();
        assert_eq!((shown.namespace.as_str(), shown.hash, lease.uses), ("git", Hash::Sha512, Some(1)));
        let log = text(&signing.git(&["log", "--show-signature", "-1"]));
        assert!(log.contains("Good \"git\" signature for anna@example.com"), "{log}");
        assert!(is_done(&signing.git(&["tag", "-s", "v1", "-m", "first"])));
        assert!(text(&signing.git(&["verify-tag", "v1"])).contains("Good \"git\" signature"));
        assert_eq!(signing.touches(), before + 2, "keys are listed without one");
        // What was signed is what was shown, as sha512sum says it, and is in the log.
        signing.sign("file", "content").unwrap();
        let lease = LeaseText::decode(&recorder.texts().pop().unwrap()).unwrap();
        let sum = Command::new("sha512sum").arg(lab.home.work().join("signed")).output().unwrap();
        let sum = text(&sum).split(' ').next().unwrap().to_owned();
        assert_eq!(lease.signature().unwrap().1.digest, sum);
        let used = lab.events().into_iter().filter(|(name, _)| name == "used").collect::<Vec<_>>();
        assert_eq!(used[2].1["what"], format!("signature in file over sha512 {sum} by prod/git"));
        assert!(signing.verifies("file", "content"));
        assert!(!signing.verifies("git", "content") && !signing.verifies("file", "Content"));
        lab.until("the end of the leases", || lab.count("ended") == 3);
        // Another namespace than the sealed ones costs nobody a touch.
        let asked = lab.count("asked");
        assert!(signing.sign("email", "content").unwrap_err().contains("agent refused operation"));
        assert!(
            signing.agent.said().contains("signs in file, git, not in"),
            "{}",
            signing.agent.said()
        );
        assert_eq!((signing.touches(), lab.count("asked")), (before + 3, asked));
    }
}

#[test]
fn t22_several_signatures_are_one_touch_in_one_namespace_until_uses_or_time_are_over_or_it_is_taken_back() {
    let signing = Signing::new("eddsa", &["--max-uses", "3"], &["--uses", "3", "--ttl", "2m"]);
    let lab = &signing.lab;
    let watch = lab.home.watch().unwrap();
    let before = signing.touches();
    for content in ["a", "b", "c"] {
        signing.sign("file", content).unwrap();
        assert!(signing.verifies("file", content));
    }
    assert_eq!(signing.touches(), before + 1);
    // At once, before the daemon has said that they are over.
    signing.sign("file", "d").unwrap();
    assert_eq!(signing.touches(), before + 2);
    lab.until("the end of the uses", || lab.count("ended") == 1);
    // Another namespace is another lease.
    signing.sign("git", "d").unwrap();
    assert_eq!(signing.touches(), before + 3);
    lab.clock.suspend(Duration::from_secs(121));
    lab.until("the end of their time", || lab.count("ended") == 3);
    signing.sign("file", "e").unwrap();
    assert_eq!(signing.touches(), before + 4);
    lab.prints(&["lease", "revoke", "--all"]);
    lab.until("the end that was asked for", || lab.count("ended") == 4);
    // Without a touch there is none, and no screen says so at once.
    drop(watch);
    lab.until("no screen", || lab.status()["screens"] == 0);
    signing.sign("file", "f").unwrap_err();
    assert_eq!((signing.touches(), lab.count("used")), (before + 4, 6));
    assert!(
        signing.agent.said().contains("nobody would see this request"),
        "{}",
        signing.agent.said()
    );
    // A rotation: the next key signs at once, and was allowed before.
    lab.person(&["signer", "rotate", "prod/git"]);
    let _watch = lab.home.watch().unwrap();
    signing.sign("file", "g").unwrap_err();
    let listed = Command::new("ssh-add")
        .arg("-L")
        .env("SSH_AUTH_SOCK", &signing.agent.socket)
        .output()
        .unwrap();
    fs::write(&signing.key, &listed.stdout).unwrap();
    signing.sign("file", "g").unwrap();
    assert!(signing.verifies("file", "g"));
}

#[test]
fn t22_t55_without_a_limit_of_uses_one_touch_signs_until_its_time_is_over_and_each_signature_is_in_the_log_when_it_is_there() {
    let signing = Signing::new("eddsa", &["--max-uses", "any"], &["--uses", "any", "--ttl", "2m"]);
    let lab = &signing.lab;
    let shown = text(&lab.agent_to_its_end(&["signer", "show", "prod/git"]));
    assert!(shown.contains("10 min, any number of signatures a touch"), "{shown}");
    let recorder = lab.recorder();
    let before = signing.touches();
    Command::new("git")
        .args(["init", "-q"])
        .arg(lab.home.work().join("repo"))
        .output()
        .unwrap();
    let done = signing.commit("one");
    assert!(is_done(&done), "{done:?} {}", signing.agent.said());
    let touched_for = recorder.texts().pop().unwrap();
    assert!(
        !touched_for.contains("\"uses\""),
        "the text that is signed has no limit in it: {touched_for}"
    );
    let (log, key) = (lab.home.log().unwrap(), signing.blob());
    let public = SshKey::from_blob(&key).unwrap();
    let mut program = signing.agent.connect();
    let mut sign = |n: u8| {
        let data = SignedData {
            namespace: "git".into(),
            hash: Hash::Sha512,
            digest: vec![n; 64],
        };
        let blob = data.to_blob();
        let answer = program.ask(&[&[13][..], &string(&key), &string(&blob), &[0; 4]].concat());
        // Whoever kills the daemon now leaves the line behind: the kernel has it.
        let is_written = fs::read_to_string(&log).is_ok_and(|log| log.contains(&data.hex()));
        let is_signed = answer.len() > 5 && touchlease::encoding::ssh_session::is_signed(&public, &blob, &answer[5..]);
        (is_signed, is_written)
    };
    for n in 1..=110 {
        assert_eq!(sign(n), (true, true), "{n}: {}", signing.agent.said());
    }
    assert!(is_done(&signing.commit("another")));
    assert!(text(&signing.git(&["log", "--show-signature", "-1"])).contains("Good \"git\" signature"));
    assert_eq!((signing.touches(), lab.count("used"), lab.count("ended")), (before + 1, 112, 0));
    let used = lab.events().into_iter().filter(|(name, _)| name == "used").collect::<Vec<_>>();
    assert!(used.iter().all(|(_, members)| members["left"].is_null()), "{used:?}");
    // What cannot be written is not signed, and the lease goes on when it can be.
    let away = log.with_extension("away");
    fs::rename(&log, &away).unwrap();
    assert_eq!(sign(111), (false, false));
    fs::rename(&away, &log).unwrap();
    assert_eq!(sign(112), (true, true));
    assert_eq!(signing.touches(), before + 1);
    // Its end is that of any lease: taken back, it signs nothing from then on.
    drop(recorder);
    lab.prints(&["lease", "revoke", "--all"]);
    assert_eq!(sign(113), (false, false));
    assert_eq!((signing.touches(), lab.count("ended")), (before + 1, 1));
    lab.prints(&["audit", "verify"]);
    let watch = lab.home.watch().unwrap();
    assert_eq!(sign(114), (true, true));
    drop(watch);
    lab.clock.suspend(Duration::from_secs(121));
    assert_eq!(sign(115), (false, false));
    assert_eq!(signing.touches(), before + 2);
}

#[test]
fn t22_any_number_of_uses_is_for_sealed_signers_of_ssh_whose_rules_say_so_and_for_no_others() {
    let signing = Signing::new("eddsa", &["--max-uses", "20"], &["--uses", "any"]);
    let lab = &signing.lab;
    let watch = lab.home.watch().unwrap();
    let before = (signing.touches(), lab.count("asked"));
    signing.sign("file", "content").unwrap_err();
    let said = signing.agent.said();
    assert!(
        said.contains("any number of uses was asked for; the rules of prod/git allow 20"),
        "{said}"
    );
    assert!(
        said.contains("touchlease signer rotate prod/git --keep-keys --max-uses any"),
        "{said}"
    );
    assert_eq!((signing.touches(), lab.count("asked")), before);
    drop(watch);
    // As the hint says; the prompt says what it was.
    let shown = lab.person(&["signer", "rotate", "prod/git", "--keep-keys", "--max-uses", "any"]);
    for part in ["any number of uses", "at most 20 uses", "any number of signatures a touch"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let watch = lab.home.watch().unwrap();
    for content in ["a", "b"] {
        signing.sign("file", content).unwrap();
    }
    // One for the rules, one for the lease.
    assert_eq!(signing.touches(), before.0 + 2);
    drop(watch);
    let shown = lab.person(&["signer", "rotate", "prod/git", "--keep-keys", "--max-uses", "5"]);
    for part in ["at most 5 uses", "any number of uses", "5 signatures a touch"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let any = [&ADD_TOKENS[..], &["--max-uses", "any"]].concat();
    assert_eq!(refused(lab, &any), (65, "any_tokens".into()));
    lab.person(&ADD_TOKENS);
    let any = ["signer", "rotate", "prod/tokens", "--keep-keys", "--max-uses", "any"];
    assert_eq!(refused(lab, &any), (65, "any_tokens".into()));
    assert_eq!(
        refused(lab, &["token", "prod/tokens", "--aud", "https://a.example", "--uses", "any"]),
        (64, "usage".into())
    );
    for word in ["0", "Any", "-1", "many"] {
        assert_eq!(
            refused(lab, &["ssh", "agent", "prod/git", "--uses", word]),
            (64, "usage".into()),
            "{word}"
        );
    }
}

#[test]
fn t22_a_key_of_signatures_signs_nothing_else_and_one_of_logins_no_signature() {
    let signing = Signing::new("eddsa", &["--max-uses", "9"], &["--uses", "9"]);
    let lab = &signing.lab;
    lab.person(&["signer", "add", "ca", "--scope", "prod", "--principal", "deploy", "--max-uses", "9"]);
    let _watch = lab.home.watch().unwrap();
    let both = Agent::of(lab, "prod/ca", &["prod/git", "--uses", "9"]);
    let key = signing.blob();
    let data = |namespace: &str| {
        let data = SignedData {
            namespace: namespace.into(),
            hash: Hash::Sha512,
            digest: vec![7; 64],
        };
        data.to_blob()
    };
    let sign = |key: &[u8], data: &[u8]| [&[13][..], &string(key), &string(data), &[0; 4]].concat();
    let host = Host::new(1);
    let before = (signing.touches(), lab.count("asked"));
    for agent in [&signing.agent, &both] {
        // Bound to a server, or forwarded, there is no such key, and nothing is signed with it.
        for forwarded in [false, true] {
            let mut ssh = agent.connect();
            ssh.ask(&host.bind(&SESSION, forwarded));
            assert_eq!(ssh.ask(&sign(&key, &data("git"))), FAILURE);
            assert_eq!(
                ssh.ask(&sign(&key, &userauth(&SESSION, "deploy", &key, Some(&host.key())))),
                FAILURE
            );
        }
        let mut program = agent.connect();
        let good = data("git");
        for (what, blob) in [
            ("a login", userauth(&SESSION, "deploy", &key, None)),
            ("a login at a host", userauth(&SESSION, "deploy", &key, Some(&host.key()))),
            ("raw bytes", b"anything".to_vec()),
            ("nothing", vec![]),
            ("more behind it", [&good[..], &[0]].concat()),
            ("cut", good[..good.len() - 1].to_vec()),
            ("a whole signature", [&b"SSHSIG\0\0\0\x01"[..], &good[6..]].concat()),
            (
                "a certificate",
                [string(b"ssh-ed25519-cert-v01@openssh.com"), string(&[1; 32])].concat(),
            ),
            ("a lease of ours", data("touchlease-lease")),
            ("another namespace", data("email")),
            ("no namespace", data("")),
            ("a list of namespaces", data("git,file")),
        ] {
            assert_eq!(program.ask(&sign(&key, &blob)), FAILURE, "{what}");
        }
        let other = [string(b"ssh-ed25519"), string(&[9; 32])].concat();
        assert_eq!(program.ask(&sign(&other, &good)), FAILURE);
        for behind in [&[0, 0, 0, 2][..], &[0, 0, 0], &[0, 0, 0, 0, 0], &[0; 260_000]] {
            assert_eq!(program.ask(&[&[13][..], &string(&key), &string(&good), behind].concat()), FAILURE);
        }
        // A frame may be 256 KiB; whoever says more has nobody to talk to.
        let longest = vec![0; (256 << 10) - 13 - key.len()];
        assert_eq!(program.ask(&sign(&key, &longest)), FAILURE);
        let mut too_long = agent.connect();
        assert!(too_long.is_hung_up_on(&sign(&key, &[&longest[..], &[0]].concat())));
    }
    // What a rule refuses is in the log as asked for by nobody: no key blinked.
    assert_eq!((signing.touches(), lab.count("asked")), before);
    // Both in one agent: the session has the certificate alone, and whoever has none the key alone.
    let mut ssh = both.connect();
    ssh.ask(&host.bind(&SESSION, false));
    let certificate = ssh.certificate();
    assert_ne!(certificate, key);
    assert_eq!(ssh.ask(&sign(&certificate, &data("git"))), FAILURE);
    let mut program = both.connect();
    assert_eq!(program.certificate(), key);
    assert_eq!(program.ask(&sign(&certificate, &data("git"))), FAILURE);
    assert_eq!(
        program.ask(&sign(&certificate, &userauth(&SESSION, "deploy", &certificate, None))),
        FAILURE
    );
    assert_eq!(program.ask(&sign(&key, &data("git")))[0], 14);
    assert_eq!(lab.count("used"), 1);
}

#[test]
fn t22_the_prompt_shows_namespace_and_digest_and_is_taken_back_when_whoever_signs_ends() {
    let signing = Signing::new("es256", &["--max-uses", "3"], &["--uses", "3"]);
    let lab = &signing.lab;
    let mut watch = lab.home.watch().unwrap();
    lab.key.never().unwrap();
    fs::write(lab.home.work().join("signed"), "content").unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-Y", "sign", "-n", "git", "-f"])
        .arg(&signing.key)
        .arg(lab.home.work().join("signed"));
    let mut keygen = keygen
        .env("SSH_AUTH_SOCK", &signing.agent.socket)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    watch.expect("s left").unwrap();
    let shown = watch.output();
    for part in [
        "SSH signatures by prod/git",
        "the namespace git",
        "sha512",
        "and 2 MORE in that namespace",
        "SHA256:",
        "asked by ssh-keygen <- ",
        "-Y sign -n git",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    keygen.kill().unwrap();
    keygen.wait().unwrap();
    lab.until("the prompt to be taken back", || lab.status()["prompts"] == 0);
}

#[test]
fn t10_t33_who_asks_through_the_agent_is_in_the_text_and_what_an_agent_started_has_no_screen_of_its_own() {
    let signing = Signing::new("eddsa", &[], &[]);
    let lab = &signing.lab;
    let recorder = lab.recorder();
    signing.sign("file", "content").unwrap();
    let lease = LeaseText::decode(&recorder.texts().pop().unwrap()).unwrap();
    let claimed = &lease.origin.requester.claimed;
    assert!(claimed.ssh_client().unwrap().starts_with("ssh-keygen <- "), "{claimed:?}");
    assert!(claimed.labels[SSH_COMMAND].contains("-Y sign -n file"), "{claimed:?}");
    drop(recorder);
    // At the terminal where a person started the agent he is asked for what he runs, and not for what an agent runs.
    lab.until("no screen", || lab.status()["screens"] == 0);
    let sign = format!("rm -f signed.sig; ssh-keygen -Y sign -n file -f {} signed", signing.key.display());
    let at_a_terminal = |sign: &str, code: i32, parts: &[&str]| {
        let command = ["ssh", "agent", "prod/git", "--", "sh", "-c", sign];
        lab.shows(&command, code, parts)
    };
    at_a_terminal(&sign, 0, &["asked by ssh-keygen <- ", "(claimed)"]);
    let by_an_agent = format!("export CLAUDECODE=1; {sign}");
    let before = signing.touches();
    let shown = at_a_terminal(&by_an_agent, 255, &["nobody would see this request", "touchlease watch"]);
    assert!(!shown.contains("asked by") && signing.touches() == before, "{shown}");
    // With a screen elsewhere it is asked for, and nothing but what the command prints stands on standard output (T33).
    let _watch = lab.home.watch().unwrap();
    let printed = format!(
        "export CLAUDECODE=1; echo content | ssh-keygen -q -Y sign -n file -f {}",
        signing.key.display()
    );
    let printed = lab.prints(&["ssh", "agent", "prod/git", "--", "sh", "-c", &printed]);
    let armor = ("-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n");
    assert!(printed.starts_with(armor.0) && printed.ends_with(armor.1), "{printed}");
    assert_eq!(signing.touches(), before + 1);
}

#[test]
fn t22_in_the_daemons_own_protocol_a_lease_of_signatures_is_held_and_signs_what_was_shown_alone() {
    use serde_json::json;
    let signing = Signing::new("eddsa", &["--max-uses", "2"], &[]);
    let lab = &signing.lab;
    let _watch = lab.home.watch().unwrap();
    let grant = |signature: serde_json::Value| json!({"secret": "prod/git", "via": "signer", "signature": signature});
    let asked = |grant: serde_json::Value, more: serde_json::Value| {
        let mut request = json!({"do": "lease", "deliver": true, "with": [grant]});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        lab.call(&json!({"v": 1, "request": request})).reply().unwrap()["reason"]
            .as_str()
            .unwrap_or("granted")
            .to_owned()
    };
    let good = || json!({"namespace": "git", "hash": "sha512", "digest": "07".repeat(64)});
    let with = |member: &str, value: serde_json::Value| {
        let mut signature = good();
        signature[member] = value;
        grant(signature)
    };
    let before = lab.count("asked");
    assert_eq!(asked(with("namespace", json!("email")), json!({})), "namespace");
    assert_eq!(asked(with("digest", json!("07".repeat(32))), json!({})), "digest");
    assert_eq!(asked(with("hash", json!("md5")), json!({})), "protocol");
    assert_eq!(asked(grant(good()), json!({"uses": 3})), "uses_over_cap");
    for more in [
        json!({"deliver": false}),
        json!({"deliver": false, "hold": true}),
        json!({"join_only": true}),
    ] {
        assert_eq!(asked(grant(good()), more.clone()), "signature_alone", "{more}");
    }
    let mut token = grant(good());
    token["token"] = json!({"aud": "x"});
    assert_eq!(asked(token, json!({})), "grant");
    let mut variable = grant(good());
    variable["env"] = json!("A");
    assert_eq!(asked(variable, json!({})), "grant");
    let only = |member: &str, value: serde_json::Value| json!({"secret": "prod/git", "via": "signer", member: value});
    assert_eq!(asked(only("token", json!({"aud": "x"})), json!({})), "signs_signatures");
    assert_eq!(asked(only("certificate", json!({"key": ""})), json!({})), "no_ca");
    assert_eq!(lab.count("asked"), before, "nobody was asked");
    assert_eq!(asked(grant(good()), json!({})), "granted");
}

#[test]
fn of_another_kind_of_signer_the_commands_say_what_it_signs() {
    let signing = Signing::new("eddsa", &[], &[]);
    let lab = &signing.lab;
    lab.person(&["signer", "add", "ca", "--scope", "prod", "--principal", "deploy"]);
    lab.person(&ADD_TOKENS);
    for (arguments, code, reason) in [
        (&["ssh", "ca", "prod/git"][..], 65, "no_ca"),
        (&["ssh", "allowed-signers", "prod/ca"], 65, "no_signatures"),
        (&["ssh", "allowed-signers", "prod/tokens"], 65, "no_signatures"),
        (&["ssh", "allowed-signers", "prod/git", "--principal", "*"], 65, "principal_name"),
        (&["ssh", "agent", "prod/tokens"], 65, "no_ca"),
        (&["ssh", "agent", "prod/git", "--principal", "deploy"], 64, "no_logins"),
        (&["ssh", "agent", "prod/ca", "prod/ca"], 64, "several_cas"),
        (&["token", "prod/git", "--aud", "a"], 62, "signs_signatures"),
        (&["run", "--with", "D=prod/git", "--", "true"], 62, "signer_stays"),
        (&["signer", "rotate", "prod/git", "--principal", "deploy"], 65, "rules"),
        (&["signer", "rotate", "prod/ca", "--namespace", "git"], 65, "rules"),
        (&["signer", "add", "x", "--scope", "prod", "--namespace", "a,b"], 65, "rules"),
        (
            &["signer", "add", "x", "--scope", "prod", "--namespace", "touchlease-lease"],
            65,
            "rules",
        ),
        (
            &["signer", "add", "x", "--scope", "prod", "--namespace", "git", "--piv"],
            64,
            "usage",
        ),
    ] {
        assert_eq!(refused(lab, arguments), (code, reason.to_owned()), "{arguments:?}");
    }
    let shown = lab.person(&["signer", "rotate", "prod/git", "--keep-keys", "--namespace", "git"]);
    assert!(shown.contains("git (until now: file or git)"), "{shown}");
    let listed = lab.json(&["signer", "list"]);
    let git = listed["signers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|signer| signer["signer"] == "prod/git")
        .unwrap()
        .clone();
    assert_eq!(git["namespaces"], serde_json::json!(["git"]));
}

#[test]
fn t22_programs_that_sign_at_the_same_time_share_a_lease_and_each_signature_is_a_use_in_the_log() {
    let signing = Signing::new("eddsa", &["--max-uses", "9"], &["--uses", "9"]);
    let lab = &signing.lab;
    let _watch = lab.home.watch().unwrap();
    let (key, before) = (signing.blob(), signing.touches());
    let public = SshKey::from_blob(&key).unwrap();
    let data = |digest| SignedData {
        namespace: "file".into(),
        hash: Hash::Sha512,
        digest: vec![digest; 64],
    };
    // Two leases and a half.
    let wanted = 0..22_u8;
    std::thread::scope(|scope| {
        for n in wanted.clone() {
            let (agent, key, public, data) = (&signing.agent, &key, &public, data(n).to_blob());
            scope.spawn(move || {
                let answer = agent.connect().ask(&[&[13][..], &string(key), &string(&data), &[0; 4]].concat());
                assert_eq!(answer.first(), Some(&14), "{}", agent.said());
                // Each has the one that it asked for.
                assert!(touchlease::encoding::ssh_session::is_signed(public, &data, &answer[5..]));
            });
        }
    });
    assert_eq!(signing.touches(), before + 3);
    lab.until("the end of two of them", || lab.count("ended") == 2);
    let used: Vec<_> = lab.events().into_iter().filter(|(name, _)| name == "used").collect();
    let left: Vec<_> = used.iter().map(|(_, members)| members["left"].as_u64().unwrap()).collect();
    let counts = (0..9).rev();
    assert_eq!(left, counts.clone().chain(counts.clone()).chain(counts.take(4)).collect::<Vec<_>>());
    for n in wanted {
        let digest = data(n).hex();
        let lines = used
            .iter()
            .filter(|(_, members)| members["what"].as_str().unwrap().contains(&digest));
        assert_eq!(lines.count(), 1, "{digest}");
    }
}
