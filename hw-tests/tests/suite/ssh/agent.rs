//! The agent for ssh, spoken to frame by frame: what it signs, and everything else that it is asked.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use hw_tests::key::KeyHandle;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use touchlease::lease::text::{LeaseText, Text};

use super::lab;
use crate::lab::Lab;

/// `touchlease ssh agent prod/ca`, and where it listens.
pub(super) struct Agent {
    child: Child,
    pub(super) socket: PathBuf,
    said: PathBuf,
}

impl Agent {
    pub(super) fn start(lab: &Lab, more: &[&str]) -> Self {
        Self::of(lab, "prod/ca", more)
    }

    pub(super) fn of(lab: &Lab, signer: &str, more: &[&str]) -> Self {
        let said = lab.home.path().join("agent.said");
        let mut child = lab
            .home
            .command([&["ssh", "agent", signer], more].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let path = line
            .strip_prefix("SSH_AUTH_SOCK=")
            .and_then(|line| line.strip_suffix("; export SSH_AUTH_SOCK;\n"));
        let socket = PathBuf::from(path.unwrap_or_else(|| panic!("{line:?}: {}", fs::read_to_string(&said).unwrap())));
        Self { child, socket, said }
    }

    pub(super) fn connect(&self) -> Client {
        Client(UnixStream::connect(&self.socket).unwrap())
    }

    /// What it says on standard error.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    /// Does something while its process stands still.
    pub(super) fn while_stopped<T>(&self, work: impl FnOnce() -> T) -> T {
        let signal = |name: &str| {
            let kill = std::process::Command::new("kill")
                .args([name, &self.child.id().to_string()])
                .status();
            assert!(kill.unwrap().success());
        };
        signal("-STOP");
        let done = work();
        signal("-CONT");
        done
    }

    /// Ends it as Ctrl-C does.
    pub(super) fn interrupt(mut self) {
        let kill = std::process::Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        assert!(!self.socket.exists() && !self.socket.parent().unwrap().exists());
        let said = self.said();
        assert!(
            said.contains("stopped by Ctrl-C: nothing is signed at this socket any more"),
            "{said}"
        );
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that speaks to it.
pub(super) struct Client(pub(super) UnixStream);

impl Client {
    pub(super) fn ask(&mut self, body: &[u8]) -> Vec<u8> {
        self.0
            .write_all(&[&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat())
            .unwrap();
        self.answer()
    }

    /// What it is told next.
    pub(super) fn answer(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.0.read_exact(&mut answer).unwrap();
        answer
    }

    /// Whether the agent ends the connection instead of an answer.
    pub(super) fn is_hung_up_on(&mut self, body: &[u8]) -> bool {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        // It may be gone before all of it was said.
        let _ = self.0.write_all(&[&length[..], body].concat());
        !matches!(self.0.read(&mut [0]), Ok(1..))
    }

    /// The only certificate that is listed.
    pub(super) fn certificate(&mut self) -> Vec<u8> {
        let answer = self.ask(&[11]);
        assert_eq!(answer[..5], [12, 0, 0, 0, 1], "{answer:?}");
        take(&mut &answer[5..])
    }

    fn lists_nothing(&mut self) -> bool {
        let answer = self.ask(&[11]);
        answer == [12, 0, 0, 0, 0] || answer == FAILURE
    }

    pub(super) fn sign(&mut self, key: &[u8], data: &[u8]) -> Vec<u8> {
        self.ask(&[&[13][..], &string(key), &string(data), &[0; 4]].concat())
    }
}

pub(super) const FAILURE: &[u8] = &[5];
const SUCCESS: &[u8] = &[6];

pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn take(rest: &mut &[u8]) -> Vec<u8> {
    let (length, behind) = rest.split_first_chunk().unwrap();
    let (field, behind) = behind.split_at(usize::try_from(u32::from_be_bytes(*length)).unwrap());
    *rest = behind;
    field.to_vec()
}

/// A server's host key, and a session that it signed.
pub(super) struct Host(SigningKey);

impl Host {
    pub(super) fn new(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub(super) fn key(&self) -> Vec<u8> {
        let point = self.0.verifying_key().to_sec1_point(false);
        [&b"ecdsa-sha2-nistp256"[..], b"nistp256", point.as_bytes()].map(string).concat()
    }

    fn signature(&self, session: &[u8]) -> Vec<u8> {
        let signature: Signature = self.0.sign(session);
        let number = |half: &[u8]| {
            let digits = &half[half.iter().take_while(|b| **b == 0).count()..];
            let sign = if digits[0] & 0x80 != 0 { &[0][..] } else { &[] };
            string(&[sign, digits].concat())
        };
        let bytes = signature.to_bytes();
        let numbers = [number(&bytes[..32]), number(&bytes[32..])].concat();
        [string(b"ecdsa-sha2-nistp256"), string(&numbers)].concat()
    }

    /// The same where `other` signed it.
    pub(super) fn bind_by(&self, other: &Self, session: &[u8]) -> Vec<u8> {
        bind(&self.key(), session, &other.signature(session), false)
    }

    /// What ssh says of a session with it.
    pub(super) fn bind(&self, session: &[u8], forwarding: bool) -> Vec<u8> {
        bind(&self.key(), session, &self.signature(session), forwarding)
    }
}

fn bind(key: &[u8], session: &[u8], signature: &[u8], forwarding: bool) -> Vec<u8> {
    let fields = [&b"session-bind@openssh.com"[..], key, session, signature].map(string).concat();
    [&[27][..], &fields, &[u8::from(forwarding)]].concat()
}

/// A request to be let in; `host` as in `publickey-hostbound-v00@openssh.com`.
pub(super) fn userauth(session: &[u8], user: &str, key: &[u8], host: Option<&[u8]>) -> Vec<u8> {
    let method = if host.is_some() {
        "publickey-hostbound-v00@openssh.com"
    } else {
        "publickey"
    };
    [
        string(session),
        vec![50],
        string(user.as_bytes()),
        string(b"ssh-connection"),
        string(method.as_bytes()),
        vec![1],
        string(b"ssh-ed25519-cert-v01@openssh.com"),
        string(key),
        host.map(string).unwrap_or_default(),
    ]
    .concat()
}

pub(super) const SESSION: [u8; 32] = [7; 32];

pub(super) fn is_signed(answer: &[u8]) -> bool {
    answer.first() == Some(&14)
}

#[test]
fn t22_the_agent_signs_a_login_at_the_server_that_was_shown_and_each_costs_a_use() {
    let (lab, _) = lab("eddsa", &["deploy"], &["--max-uses", "3"]);
    let recorder = lab.recorder();
    let agent = Agent::start(&lab, &["--uses", "3", "--ttl", "2m", "--old-server"]);
    let host = Host::new(1);
    let mut ssh = agent.connect();
    assert_eq!(ssh.ask(&host.bind(&SESSION, false)), SUCCESS);
    let before = lab.key.counts().unwrap().given;
    let certificate = ssh.certificate();
    assert_eq!(
        (ssh.certificate(), lab.key.counts().unwrap().given),
        (certificate.clone(), before + 1),
        "one touch"
    );
    let text = LeaseText::decode(&recorder.texts().pop().unwrap()).unwrap();
    let (_, shown) = text.certificate().unwrap();
    let login = shown.login.as_ref().unwrap();
    let said = touchlease::encoding::ssh_key::SshKey::from_line(&login.host_key).unwrap();
    assert_eq!(
        (said.to_blob(), login.user.as_str(), text.uses, text.ttl),
        (host.key(), "deploy", Some(3), 120)
    );
    assert_eq!(lab.count("used"), 0, "to have a key is no login");
    // Both forms, and over another connection for another session with the same server.
    assert!(is_signed(
        &ssh.sign(&certificate, &userauth(&SESSION, "deploy", &certificate, None))
    ));
    assert!(is_signed(
        &ssh.sign(&certificate, &userauth(&SESSION, "deploy", &certificate, Some(&host.key())))
    ));
    let mut other = agent.connect();
    other.ask(&host.bind(&[8; 32], false));
    assert_eq!(other.certificate(), certificate);
    assert!(is_signed(
        &other.sign(&certificate, &userauth(&[8; 32], "deploy", &certificate, None))
    ));
    let used: Vec<_> = lab.events().into_iter().filter(|(name, _)| name == "used").collect();
    let what = format!("login as deploy at {} with certificate {}", said.fingerprint(), text.id);
    assert_eq!(used.len(), 3);
    assert_eq!((&used[2].1["what"], &used[2].1["left"]), (&what.into(), &0.into()));
    lab.until("the end of the lease", || lab.count("ended") == 1);
    // The fourth is with another key, for another touch.
    assert_eq!(other.sign(&certificate, &userauth(&[8; 32], "deploy", &certificate, None)), FAILURE);
    assert_ne!(other.certificate(), certificate);
    assert_eq!(lab.key.counts().unwrap().given, before + 2);
    agent.interrupt();
    lab.until("the end of the lease with its agent", || lab.count("ended") == 2);
}

#[test]
fn t22_without_a_limit_of_uses_one_touch_logs_in_at_its_server_and_no_other_until_time_is_over_or_it_is_taken_back() {
    let (lab, _) = lab("eddsa", &["deploy"], &["--max-uses", "any"]);
    let recorder = lab.recorder();
    let agent = Agent::start(&lab, &["--uses", "any", "--ttl", "2m"]);
    let (host, other) = (Host::new(1), Host::new(2));
    let before = lab.key.counts().unwrap().given;
    let mut ssh = agent.connect();
    ssh.ask(&host.bind(&SESSION, false));
    let certificate = ssh.certificate();
    let text = LeaseText::decode(&recorder.texts().pop().unwrap()).unwrap();
    assert_eq!((text.uses, text.ttl, lab.count("used")), (None, 120, 0));
    let login = userauth(&SESSION, "deploy", &certificate, Some(&host.key()));
    for n in 1..=12 {
        assert!(is_signed(&ssh.sign(&certificate, &login)), "{}", agent.said());
        assert_eq!(lab.count("used"), n, "each is in the log when its signature is there");
    }
    assert_eq!((lab.key.counts().unwrap().given, lab.count("ended")), (before + 1, 0));
    // What it is for is as narrow as ever.
    drop(recorder);
    assert_eq!(
        ssh.sign(&certificate, &userauth(&SESSION, "root", &certificate, Some(&host.key()))),
        FAILURE
    );
    let mut elsewhere = agent.connect();
    elsewhere.ask(&other.bind(&SESSION, false));
    assert!(elsewhere.lists_nothing());
    assert_eq!(elsewhere.sign(&certificate, &login), FAILURE);
    let used = lab.events().into_iter().filter(|(name, _)| name == "used").collect::<Vec<_>>();
    assert!(used.iter().all(|(_, members)| members["left"].is_null()), "{used:?}");
    // One certificate for a key of one's own is one all the same.
    let _watch = lab.home.watch().unwrap();
    super::certificate(&lab, &[]);
    lab.prints(&["lease", "revoke", "--all"]);
    assert_eq!(ssh.sign(&certificate, &login), FAILURE);
    assert_eq!(lab.count("used"), 13);
    lab.prints(&["audit", "verify"]);
}

#[test]
fn t22_without_a_proven_session_there_is_no_key_and_nothing_is_signed_and_nobody_is_asked() {
    let (lab, _) = lab("es256", &["deploy"], &["--max-uses", "9"]);
    let _watch = lab.home.watch().unwrap();
    let agent = Agent::start(&lab, &["--uses", "9"]);
    let (host, wrong) = (Host::new(1), Host::new(2));
    let mut good = agent.connect();
    good.ask(&host.bind(&SESSION, false));
    let certificate = good.certificate();
    let login = userauth(&SESSION, "deploy", &certificate, None);
    let before = (lab.key.counts().unwrap().given, lab.count("asked"), lab.count("used"));
    let refuses = |binds: &[Vec<u8>], answers: &[&[u8]]| {
        let mut client = agent.connect();
        for (bind, answer) in binds.iter().zip(answers) {
            assert_eq!(client.ask(bind), *answer);
        }
        assert!(client.lists_nothing());
        assert_eq!(client.sign(&certificate, &login), FAILURE);
    };
    // Nothing is said of the session.
    refuses(&[], &[]);
    // It was forwarded, and then bound again by whoever it was forwarded to.
    refuses(&[host.bind(&SESSION, true)], &[FAILURE]);
    refuses(&[host.bind(&SESSION, true), wrong.bind(&[8; 32], false)], &[FAILURE, FAILURE]);
    refuses(&[host.bind(&SESSION, false), host.bind(&SESSION, true)], &[SUCCESS, FAILURE]);
    refuses(&[host.bind(&SESSION, false), wrong.bind(&[8; 32], false)], &[SUCCESS, FAILURE]);
    // Another key signed it, or another session; or what came is damaged.
    refuses(&[bind(&host.key(), &SESSION, &wrong.signature(&SESSION), false)], &[FAILURE]);
    refuses(&[bind(&wrong.key(), &SESSION, &host.signature(&SESSION), false)], &[FAILURE]);
    refuses(&[bind(&host.key(), &SESSION, &host.signature(&[8; 32]), false)], &[FAILURE]);
    refuses(&[[host.bind(&SESSION, false), vec![0]].concat()], &[FAILURE]);
    refuses(&[host.bind(&SESSION, false)[..80].to_vec()], &[FAILURE]);
    refuses(&[host.bind(&[7; 8], false)], &[FAILURE]);
    assert_eq!((lab.key.counts().unwrap().given, lab.count("asked"), lab.count("used")), before);
    assert!(agent.said().contains("forwarded"), "{}", agent.said());
}

#[test]
fn t12_t22_whoever_has_a_forwarded_connection_keeps_nobody_from_the_agent_and_no_prompt_from_the_screen() {
    let (lab, _) = lab("eddsa", &["deploy"], &[]);
    let _watch = lab.home.watch().unwrap();
    let agent = Agent::start(&lab, &[]);
    let host = Host::new(1);
    // ssh says of each connection that comes from over there that it is forwarded; then it is the far end's.
    let _theirs: Vec<_> = (0..200)
        .map(|_| {
            let mut client = agent.connect();
            assert_eq!(client.ask(&host.bind(&SESSION, true)), FAILURE);
            client
        })
        .collect();
    // Nor do those that say nothing at all.
    let _silent: Vec<_> = (0..100).map(|_| agent.connect()).collect();
    let mut ssh = agent.connect();
    assert_eq!(ssh.ask(&host.bind(&SESSION, false)), SUCCESS);
    let certificate = ssh.certificate();
    let _more: Vec<_> = (0..100).map(|_| agent.connect()).collect();
    assert!(is_signed(
        &ssh.sign(&certificate, &userauth(&SESSION, "deploy", &certificate, Some(&host.key())))
    ));
    assert_eq!(agent.said().matches("was forwarded").count(), 1, "{}", agent.said());
}

#[test]
fn t22_what_is_no_login_at_the_server_that_was_shown_is_not_signed() {
    let (lab, _) = lab("eddsa", &["deploy"], &["--max-uses", "9"]);
    let _watch = lab.home.watch().unwrap();
    let agent = Agent::start(&lab, &["--uses", "9"]);
    let (host, wrong) = (Host::new(1), Host::new(2));
    let mut ssh = agent.connect();
    ssh.ask(&host.bind(&SESSION, false));
    let key = ssh.certificate();
    let good = userauth(&SESSION, "deploy", &key, Some(&host.key()));
    let text = |part: &str| string(part.as_bytes());
    let replaced = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        [&good[..at], to, &good[at + from.len()..]].concat()
    };
    let plain = {
        // The key without its certificate.
        let mut rest = &key[..];
        let (_, _) = (take(&mut rest), take(&mut rest));
        [text("ssh-ed25519"), string(&take(&mut rest))].concat()
    };
    for (what, data) in [
        ("raw bytes", b"anything".to_vec()),
        ("nothing", vec![]),
        ("another session", userauth(&[8; 32], "deploy", &key, Some(&host.key()))),
        ("another user", userauth(&SESSION, "root", &key, Some(&host.key()))),
        ("no user", userauth(&SESSION, "", &key, Some(&host.key()))),
        ("no host", userauth(&SESSION, "deploy", &key, None)),
        ("another host", userauth(&SESSION, "deploy", &key, Some(&wrong.key()))),
        ("the key alone", userauth(&SESSION, "deploy", &plain, Some(&host.key()))),
        ("another message", replaced(&[50], &[51])),
        ("another service", replaced(&text("ssh-connection"), &text("ssh-userauth"))),
        (
            "host-based",
            replaced(&text("publickey-hostbound-v00@openssh.com"), &text("hostbased")),
        ),
        (
            "no signature",
            replaced(
                &[&text("publickey-hostbound-v00@openssh.com")[..], &[1]].concat(),
                &[&text("publickey-hostbound-v00@openssh.com")[..], &[0]].concat(),
            ),
        ),
        (
            "true that is 2",
            replaced(
                &[&text("publickey-hostbound-v00@openssh.com")[..], &[1]].concat(),
                &[&text("publickey-hostbound-v00@openssh.com")[..], &[2]].concat(),
            ),
        ),
        (
            "another algorithm",
            replaced(&text("ssh-ed25519-cert-v01@openssh.com"), &text("ssh-ed25519")),
        ),
        ("another host key behind it", [good.clone(), string(&host.key())].concat()),
        ("more behind it", [&good[..], &[0]].concat()),
        ("cut", good[..good.len() - 1].to_vec()),
        (
            "a certificate",
            [text("ssh-ed25519-cert-v01@openssh.com"), string(&[1; 32])].concat(),
        ),
        (
            "a signature of a file",
            [&b"SSHSIG"[..], &text("git"), &text(""), &text("sha512"), &string(&[1; 64])].concat(),
        ),
        ("a challenge of WebAuthn", [vec![9; 32], vec![1, 0, 0, 0, 0], vec![9; 32]].concat()),
    ] {
        assert_eq!(ssh.sign(&key, &data), FAILURE, "{what}");
    }
    // Of a live lease for one server nothing is signed for another, nor with flags, nor by a key that is not there.
    let mut other = agent.connect();
    other.ask(&wrong.bind(&SESSION, false));
    assert_eq!(other.sign(&key, &good), FAILURE);
    assert_eq!(ssh.sign(&plain, &good), FAILURE);
    assert_eq!(
        ssh.ask(&[&[13][..], &string(&key), &string(&good), &[0, 0, 0, 2]].concat()),
        FAILURE
    );
    // Every other message of the protocol, and those that there are not.
    for number in (0..=255).filter(|number| ![11, 13].contains(number)) {
        assert_eq!(ssh.ask(&[number]), FAILURE, "message {number}");
        assert_eq!(ssh.ask(&[&[number][..], &text("query")].concat()), FAILURE, "message {number}");
    }
    assert_eq!(
        ssh.ask(&[&[27][..], &text("restrict-destination-v00@openssh.com")].concat()),
        FAILURE
    );
    assert_eq!(lab.count("used"), 0, "and none of it cost a use");
    assert!(is_signed(&ssh.sign(&key, &good)));
}

#[test]
fn t22_a_session_of_another_server_behind_a_host_key_of_the_requesters_own_gets_in_nowhere() {
    let (lab, _) = lab("eddsa", &["deploy"], &[]);
    let _watch = lab.home.watch().unwrap();
    let agent = Agent::start(&lab, &[]);
    let (server, own) = (Host::new(1), Host::new(2));
    let mut program = agent.connect();
    assert_eq!(program.ask(&own.bind(&SESSION, false)), SUCCESS);
    let key = program.certificate();
    for host in [None, Some(server.key())] {
        assert_eq!(program.sign(&key, &userauth(&SESSION, "deploy", &key, host.as_deref())), FAILURE);
    }
    // What it gets has its own host key in it, which no server takes for its own.
    assert!(is_signed(
        &program.sign(&key, &userauth(&SESSION, "deploy", &key, Some(&own.key())))
    ));
}

#[test]
fn t22_in_the_daemons_own_protocol_the_lease_of_one_server_signs_for_no_other_and_takes_no_key_of_the_requesters() {
    use data_encoding::BASE64;
    use serde_json::json;
    let (lab, _) = lab("eddsa", &["deploy"], &["--max-uses", "9"]);
    let _watch = lab.home.watch().unwrap();
    let (host, wrong) = (Host::new(1), Host::new(2));
    let session = |host: &Host, key: &Host| json!({"host_key": BASE64.encode(&host.key()), "id": BASE64.encode(&SESSION), "signature": BASE64.encode(&key.signature(&SESSION))});
    let asked = |certificate: serde_json::Value, more: serde_json::Value| {
        let grant = json!({"secret": "prod/ca", "via": "signer", "certificate": certificate});
        let mut request = json!({"do": "lease", "deliver": true, "with": [grant], "uses": 2});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        lab.call(&json!({"v": 1, "request": request})).reply().unwrap()["reason"]
            .as_str()
            .unwrap_or("granted")
            .to_owned()
    };
    let id = fs::read_to_string(lab.home.work().join("id.pub")).unwrap();
    let good = || json!({"login": {"session": session(&host, &host)}});
    let before = lab.count("asked");
    let with = |member: &str, value: serde_json::Value| {
        let mut certificate = good();
        certificate[member] = value;
        certificate
    };
    assert_eq!(asked(with("key", json!(id)), json!({})), "login_key");
    assert_eq!(asked(json!({"login": {"session": session(&host, &wrong)}}), json!({})), "unbound");
    assert_eq!(
        asked(json!({"login": {"session": session(&host, &host), "user": "a b"}}), json!({})),
        "user"
    );
    assert_eq!(asked(with("principal", json!("root")), json!({})), "principal");
    assert_eq!(asked(good(), json!({"uses": 10})), "uses_over_cap");
    for more in [
        json!({"deliver": false}),
        json!({"deliver": false, "hold": true}),
        json!({"join_only": true}),
    ] {
        assert_eq!(asked(good(), more.clone()), "login_alone", "{more}");
    }
    assert_eq!(asked(json!({}), json!({})), "ssh_key");
    assert_eq!(lab.count("asked"), before, "nobody was asked");
    assert_eq!(asked(good(), json!({})), "granted");
}

#[test]
fn the_agents_prompt_shows_the_servers_host_key_and_is_taken_back_when_ssh_ends() {
    let (lab, _) = lab("eddsa", &["deploy"], &[]);
    let mut watch = lab.home.watch().unwrap();
    lab.key.never().unwrap();
    let agent = Agent::start(&lab, &["--user", "anna", "--old-server", "--force-command", "uptime"]);
    let host = Host::new(1);
    let mut ssh = agent.connect();
    ssh.ask(&host.bind(&SESSION, false));
    ssh.0.write_all(&[0, 0, 0, 1, 11]).unwrap();
    let key = touchlease::encoding::ssh_key::SshKey::from_blob(&host.key()).unwrap();
    watch.expect(&key.fingerprint()).unwrap();
    watch.expect("s left").unwrap();
    let shown = watch.output();
    for part in [
        "logins by SSH",
        "OLD SERVER",
        &key.fingerprint(),
        "as anna",
        "user deploy",
        "only uptime",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(lab.status()["prompts"], 1);
    let since = Instant::now();
    drop(ssh);
    lab.until("the prompt to be taken back", || lab.status()["prompts"] == 0);
    assert!(since.elapsed() < Duration::from_secs(5));
    agent.interrupt();
}

#[test]
fn t25_the_agents_socket_lies_in_a_folder_of_its_own_and_goes_with_it_and_so_does_one_that_was_killed() {
    let (lab, _) = lab("eddsa", &["deploy"], &[]);
    let killed = Agent::start(&lab, &[]);
    let (left, folder) = (killed.socket.clone(), killed.socket.parent().unwrap().to_owned());
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    drop(killed);
    assert!(left.exists(), "nothing runs on SIGKILL");
    let next = Agent::start(&lab, &[]);
    assert!(!left.exists() && !folder.exists());
    next.interrupt();
    // With a command it is that one's, status and all.
    let out = lab.agent_to_its_end(&[
        "ssh",
        "agent",
        "prod/ca",
        "--",
        "sh",
        "-c",
        "test -S \"$SSH_AUTH_SOCK\" && echo $SSH_AUTH_SOCK && exit 7",
    ]);
    assert_eq!(out.status.code(), Some(7), "{out:?}");
    let path = String::from_utf8(out.stdout).unwrap();
    assert!(!PathBuf::from(path.trim()).exists());
    assert_eq!(
        super::refused(&lab, &["ssh", "agent", "prod/none"]),
        (65, "no_such_signer".to_owned())
    );
    assert_eq!(
        super::refused(&lab, &["ssh", "agent", "prod/ca", "--", "./no-such-program"]),
        (65, "command".to_owned())
    );
}
