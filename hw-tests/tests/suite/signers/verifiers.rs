//! Programs that know nothing of this project accept a token and refuse it after its end, for another audience, and by a key that is not
//! published any more.

mod apache;
mod cluster;
mod exchange;
mod openbao;
pub mod registry;

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;

use super::{AUD, ISSUER, export, lab, read, tokens};
use crate::lab::until;

/// PyJWT as an OpenID Connect relying party over what `issuer export` wrote: the claims, or why it refuses.
fn relying_party(folder: &Path, audience: &str, token: &str) -> Result<Value, String> {
    let python = env::var_os("VERIFIER").expect("hw-tests/with-verifiers sets VERIFIER");
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("verifiers/relying-party.py");
    let mut party = Command::new(python);
    party.arg("-B").arg(program).arg(folder).args([ISSUER, audience]);
    let out = fed(party, token);
    let said = String::from_utf8(out.stdout.clone()).unwrap();
    match out.status.code() {
        Some(0) => Ok(serde_json::from_str(&said).unwrap()),
        Some(1) if !said.is_empty() => Err(said.trim_end().to_owned()),
        _ => panic!("{out:?}"),
    }
}

fn fed(mut command: Command, text: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{text}").unwrap();
    child.wait_with_output().unwrap()
}

fn flipped(token: &str) -> String {
    let at = token.len() - 10;
    let other = if &token[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}

/// An authority, `ca.pem`, and its certificate for `host` with the key, `NAME.pem` and `NAME.key`.
fn certificates(folder: &Path, host: &str, name: &str) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(vec![]).unwrap();
    // OpenSSL takes one with its issuer's name for one that signed itself.
    ca.distinguished_name.push(DnType::CommonName, "a test");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    fs::write(folder.join("ca.pem"), root.pem()).unwrap();
    fs::write(folder.join(format!("{name}.pem")), leaf.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

#[test]
#[ignore = "needs hw-tests/with-verifiers"]
fn t59_pyjwt_accepts_a_token_and_refuses_it_after_its_end_for_another_audience_and_by_a_key_that_was_rotated_out() {
    let mut accepted = 0;
    for alg in ["es256", "eddsa"] {
        let lab = lab(alg, &["--claim", "env", "--max-uses", "2"]);
        let folder = lab.home.work().join("site");
        assert!(export(&lab, &folder).status.success());
        let _watch = lab.home.watch().unwrap();
        let token = tokens(&lab, &["--claim", "env=prod"]).remove(0);
        let claims = relying_party(&folder, AUD, &token).unwrap();
        assert_eq!((&claims, claims["env"].as_str()), (&read(&token).1, Some("prod")));
        assert_eq!(
            relying_party(&folder, "https://other.example", &token),
            Err("InvalidAudienceError".into())
        );
        assert_eq!(relying_party(&folder, AUD, &flipped(&token)), Err("InvalidSignatureError".into()));
        let short = tokens(&lab, &["--ttl", "2s", "--uses", "2"]);
        for token in &short {
            relying_party(&folder, AUD, token).unwrap();
        }
        thread::sleep(Duration::from_millis(2100));
        for token in &short {
            assert_eq!(relying_party(&folder, AUD, token), Err("ExpiredSignatureError".into()));
        }
        // A verifier that has read the keys before a rotation knows the key that signs after it; what was signed before is good to its end.
        lab.person(&["signer", "rotate", "prod/deployer"]);
        let rotated = tokens(&lab, &[]).remove(0);
        relying_party(&folder, AUD, &rotated).unwrap();
        assert!(export(&lab, &folder).status.success());
        relying_party(&folder, AUD, &token).unwrap();
        // After the second rotation the first key is not published any more.
        lab.person(&["signer", "rotate", "prod/deployer"]);
        assert!(export(&lab, &folder).status.success());
        assert_eq!(relying_party(&folder, AUD, &token), Err("KeyError".into()));
        relying_party(&folder, AUD, &rotated).unwrap();
        lab.person(&["signer", "rotate", "prod/deployer", "--compromised"]);
        assert!(export(&lab, &folder).status.success());
        assert_eq!(relying_party(&folder, AUD, &rotated), Err("KeyError".into()));
        relying_party(&folder, AUD, &tokens(&lab, &[]).remove(0)).unwrap();
        accepted += 1;
    }
    println!("PyJWT: {accepted} of 2 algorithms");
}

/// What stands before a point of P-256 in a public key (RFC 5480, 2; RFC 5280, 4.1).
const P_256_IN_DER: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

/// The keys that `issuer export` wrote, each as a file for HAProxy, which reads no key sets.
fn pem_files(site: &Path, into: &Path) -> Vec<PathBuf> {
    let set: Value = serde_json::from_slice(&fs::read(site.join(".well-known/jwks.json")).unwrap()).unwrap();
    let file = |key: &Value| {
        let part = |name: &str| BASE64URL_NOPAD.decode(key[name].as_str().unwrap().as_bytes()).unwrap();
        let der = [HEXLOWER.decode(P_256_IN_DER.as_bytes()).unwrap(), vec![4], part("x"), part("y")].concat();
        let path = into.join(format!("{}.pem", key["kid"].as_str().unwrap()));
        let text = BASE64.encode(&der);
        let lines = [&text[..64], &text[64..]].join("\n");
        fs::write(&path, format!("-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n")).unwrap();
        path
    };
    set["keys"].as_array().unwrap().iter().map(file).collect()
}

/// HAProxy as `docs/signers.md` sets it up, in front of nothing.
struct Proxy {
    child: Child,
    socket: PathBuf,
}

impl Proxy {
    fn start(folder: &Path, keys: &[PathBuf]) -> Self {
        let socket = folder.join("p");
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/signers.md")).unwrap();
        let shown = page.split("```haproxy\n").nth(1).unwrap().split("```").next().unwrap();
        let good = "    acl signed var(txn.token),jwt_verify(txn.alg,\"/etc/haproxy/deployer.pem\") -m int 1\n";
        assert!(shown.contains(good), "{shown}");
        let every: String = keys
            .iter()
            .map(|key| good.replace("/etc/haproxy/deployer.pem", &key.display().to_string()))
            .collect();
        let config = shown
            .replace(good, &every)
            .replace("bind :8443 ssl crt /etc/haproxy/site.pem", &format!("bind {}", socket.display()))
            .replace("https://id.example.com", ISSUER)
            .replace("https://registry.example.com", AUD)
            .replace("    default_backend registry\n", "    http-request return status 200\n");
        let path = folder.join("haproxy.cfg");
        let times = "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 5s\n";
        fs::write(&path, format!("{times}{config}")).unwrap();
        let mut haproxy = Command::new("haproxy");
        haproxy
            .arg("-db")
            .arg("-f")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let proxy = Self {
            child: haproxy.spawn().unwrap(),
            socket,
        };
        until("HAProxy", || UnixStream::connect(&proxy.socket).is_ok());
        proxy
    }

    /// The status of its answer.
    fn ask(&self, token: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs hw-tests/with-verifiers"]
fn haproxy_lets_a_token_in_and_refuses_it_after_its_end_for_another_audience_and_by_a_key_that_was_rotated_out() {
    let lab = lab("es256", &["--aud", "https://other.example"]);
    let (site, work) = (lab.home.work().join("site"), lab.home.path().to_owned());
    let serve = || {
        assert!(export(&lab, &site).status.success());
        Proxy::start(&work, &pem_files(&site, &work))
    };
    let _watch = lab.home.watch().unwrap();
    let proxy = serve();
    let token = tokens(&lab, &[]).remove(0);
    assert_eq!(proxy.ask(&token), "200");
    assert_eq!(proxy.ask(&flipped(&token)), "401");
    assert_eq!(proxy.ask(""), "401");
    let other = lab.prints(&["token", "prod/deployer", "--aud", "https://other.example"]);
    assert_eq!(proxy.ask(other.trim_end()), "401");
    let short = tokens(&lab, &["--ttl", "2s"]).remove(0);
    assert_eq!(proxy.ask(&short), "200");
    thread::sleep(Duration::from_millis(2100));
    assert_eq!(proxy.ask(&short), "401");
    lab.person(&["signer", "rotate", "prod/deployer"]);
    // Which knew the next key before it signed.
    assert_eq!(proxy.ask(&tokens(&lab, &[])[0]), "200");
    drop(proxy);
    lab.person(&["signer", "rotate", "prod/deployer", "--compromised"]);
    let proxy = serve();
    assert_eq!(proxy.ask(&token), "401");
    assert_eq!(proxy.ask(&tokens(&lab, &[])[0]), "200");
}
