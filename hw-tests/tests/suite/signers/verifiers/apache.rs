//! Apache: as the static web server of an issuer, over TLS, with mod_auth_openidc as a verifier that reads the keys from there, and with mod_oauth2.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{AUD, ISSUER, export, lab, tokens};
use super::{certificates, flipped};
use crate::lab::{Lab, until};

/// Where Debian has its modules (`apache2-bin`, `libapache2-mod-auth-openidc`, `libapache2-mod-oauth2`).
const MODULES: &str = "/usr/lib/apache2/modules";

/// What `docs/signers.md` shows, of each module.
fn shown(module: usize) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/signers.md")).unwrap();
    page.split("```apache\n")
        .nth(module)
        .unwrap()
        .split("```")
        .next()
        .unwrap()
        .to_owned()
}

/// A server on loopback that has `site` below it, and nothing else but what `more` says.
pub(super) struct Apache {
    child: Child,
    port: u16,
    /// World-readable: as root the server reads with an account of its own.
    folder: tempfile::TempDir,
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Apache {
    pub(super) fn start(port: u16, site: &Path, more: &str) -> Self {
        let folder = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        certificates(folder.path(), "localhost", "site");
        let modules = [
            "mpm_event",
            "authz_core",
            "authn_core",
            "authz_user",
            "socache_shmcb",
            "alias",
            "ssl",
            "auth_openidc",
            "oauth2",
        ];
        let load: String = modules
            .map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n"))
            .concat();
        let own = folder.path().display();
        let config = format!(
            "ServerName localhost\nListen 127.0.0.1:{port}\n{load}DefaultRuntimeDir {own}\nPidFile {own}/pid\nMutex file:{own}\nErrorLog {own}/log\n\
             User www-data\nGroup www-data\nSSLEngine on\nSSLCertificateFile {own}/site.pem\nSSLCertificateKeyFile {own}/site.key\n\
             DocumentRoot {site}\n<Directory {site}>\nRequire all granted\n</Directory>\n{more}",
            site = site.display(),
            more = more.replace("/etc/ssl/company.pem", &at("ca.pem")),
        );
        fs::write(at("config"), config).unwrap();
        let mut apache = Command::new("/usr/sbin/apache2");
        apache
            .args(["-DFOREGROUND", "-f", &at("config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let server = Self {
            child: apache.spawn().unwrap(),
            port,
            folder,
        };
        until("Apache", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The status of its answer to `token`.
    fn ask(&self, token: &str) -> String {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert"])
            .arg(self.ca());
        if !token.is_empty() {
            curl.arg("--header").arg(format!("Authorization: Bearer {token}"));
        }
        let out = curl.arg(format!("https://localhost:{}/deploy/page", self.port)).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn end(&mut self) {
        // Its number may be another's once it has ended. Its workers end with it only where it is asked to.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        let _ = self.child.wait();
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        self.end();
    }
}

/// A folder that an account of the server's own can read.
pub(super) fn site() -> tempfile::TempDir {
    tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap()
}

#[test]
#[ignore = "needs hw-tests/with-verifiers"]
fn t28_mod_auth_openidc_lets_a_token_in_and_refuses_it_after_its_end_for_another_audience_and_by_a_key_that_was_rotated_out() {
    let lab = lab("es256", &["--aud", "https://other.example"]);
    let site = site();
    fs::create_dir(site.path().join("deploy")).unwrap();
    fs::write(site.path().join("deploy/page"), "in\n").unwrap();
    let port = free_port();
    let serve = || {
        assert!(export(&lab, site.path()).status.success());
        let config = shown(1)
            .replace(
                "https://id.example.com/.well-known",
                &format!("https://localhost:{port}/.well-known"),
            )
            .replace("https://id.example.com", ISSUER)
            .replace("https://registry.example.com", AUD);
        Apache::start(port, site.path(), &config)
    };
    let _watch = lab.home.watch().unwrap();
    takes_its_tokens_alone(&lab, serve);
}

/// A server lets in with tokens for it, to their end, and with no others; it reads the keys when it starts.
fn takes_its_tokens_alone(lab: &Lab, serve: impl Fn() -> Apache) {
    let apache = serve();
    let token = tokens(lab, &[]).remove(0);
    assert_eq!(apache.ask(&token), "200", "{}", apache.said());
    assert_eq!(apache.ask(&flipped(&token)), "401");
    assert_eq!(apache.ask(""), "401");
    let other = lab.prints(&["token", "prod/deployer", "--aud", "https://other.example"]);
    assert_eq!(apache.ask(other.trim_end()), "401");
    let short = tokens(lab, &["--ttl", "2s"]).remove(0);
    assert_eq!(apache.ask(&short), "200", "{}", apache.said());
    // The second of its end still counts.
    thread::sleep(Duration::from_millis(3100));
    assert_eq!(apache.ask(&short), "401");
    lab.person(&["signer", "rotate", "prod/deployer"]);
    // Which knew the next key before it signed.
    assert_eq!(apache.ask(&tokens(lab, &[])[0]), "200", "{}", apache.said());
    drop(apache);
    lab.person(&["signer", "rotate", "prod/deployer", "--compromised"]);
    let apache = serve();
    assert_eq!(apache.ask(&token), "401");
    assert_eq!(apache.ask(&tokens(lab, &[])[0]), "200", "{}", apache.said());
}

/// Each published key as a line of mod_oauth2's.
fn by_keys(config: &str, site: &Path) -> String {
    let set: Value = serde_json::from_slice(&fs::read(site.join(".well-known/jwks.json")).unwrap()).unwrap();
    let line = config.lines().find(|line| line.contains("OAuth2TokenVerify")).unwrap();
    let start = line.find("'{").unwrap() + 1;
    let end = line.find("}'").unwrap() + 1;
    let each = set["keys"].as_array().unwrap().iter();
    let lines: String = each.map(|key| format!("{}{key}{}\n", &line[..start], &line[end..])).collect();
    config.replace(&format!("{line}\n"), &lines)
}

#[test]
#[ignore = "needs hw-tests/with-verifiers"]
fn t28_mod_oauth2_lets_a_token_in_and_refuses_it_after_its_end_for_another_audience_and_by_a_key_that_was_rotated_out() {
    let lab = lab("es256", &["--aud", "https://other.example"]);
    let site = site();
    fs::create_dir(site.path().join("deploy")).unwrap();
    fs::write(site.path().join("deploy/page"), "in\n").unwrap();
    let serve = || {
        assert!(export(&lab, site.path()).status.success());
        let config = shown(2)
            .replace("https://id.example.com", ISSUER)
            .replace("https://registry.example.com", AUD);
        Apache::start(free_port(), site.path(), &by_keys(&config, site.path()))
    };
    let _watch = lab.home.watch().unwrap();
    takes_its_tokens_alone(&lab, serve);
}

/// What `issuer check` says: its exit code, and what differs.
fn checked(lab: &Lab, place: &str, more: &[&str]) -> (i32, Vec<String>) {
    let out = check(lab, place, more);
    let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
    let reasons = said["differences"].as_array().unwrap_or_else(|| panic!("{said}")).iter();
    (
        out.status.code().unwrap(),
        reasons.map(|one| one["reason"].as_str().unwrap().to_owned()).collect(),
    )
}

fn check(lab: &Lab, place: &str, more: &[&str]) -> Output {
    let arguments = [&["--json", "issuer", "check", place][..], more].concat();
    lab.home.detached(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
#[ignore = "needs hw-tests/with-verifiers"]
fn issuer_check_says_each_difference_of_what_a_server_has_over_tls_and_follows_nobody_elsewhere() {
    let (lab, site, port) = (Lab::new(), site(), free_port());
    let issuer = format!("https://localhost:{port}");
    lab.person(&["signer", "add", "prod/deployer", "--issuer", &issuer, "--aud", AUD]);
    assert!(export(&lab, site.path()).status.success());
    let more = format!(
        "Redirect 302 /moved/.well-known/openid-configuration {issuer}/.well-known/openid-configuration\n\
         Redirect 301 /moved/.well-known/jwks.json https://elsewhere.invalid/keys\nAlias /below {}\n",
        site.path().display()
    );
    let mut apache = Apache::start(port, site.path(), &more);
    let ca = apache.ca().display().to_string();
    let trusted = |place: &str| checked(&lab, place, &["--ca", &ca]);
    let is = |code: i32, reasons: &[&str]| (code, reasons.iter().map(|reason| (*reason).to_owned()).collect::<Vec<_>>());
    assert_eq!(trusted(&issuer), is(0, &[]));
    assert_eq!(trusted(&format!("{issuer}/")), is(0, &[]));
    assert_eq!(checked(&lab, &site.path().display().to_string(), &[]), is(0, &[]));
    // Nobody who is not named is trusted, and nothing is asked for without TLS.
    assert_eq!(checked(&lab, &issuer, &[]), is(65, &["not_read", "not_read"]));
    assert_eq!(check(&lab, &format!("http://localhost:{port}"), &[]).status.code(), Some(65));
    assert_eq!(trusted(&format!("{issuer}/moved")), is(65, &["not_read", "not_read", "place"]));
    assert_eq!(trusted(&format!("{issuer}/nothing")), is(65, &["not_read", "not_read", "place"]));
    assert_eq!(trusted(&format!("{issuer}/below")), is(65, &["place"]));
    assert_eq!(
        checked(&lab, &format!("{issuer}/below"), &["--ca", &ca, "--issuer", &issuer]),
        is(0, &[])
    );
    // A rotation that was not published.
    lab.person(&["signer", "rotate", "prod/deployer"]);
    assert_eq!(trusted(&issuer), is(65, &["key_missing"]));
    lab.person(&["signer", "rotate", "prod/deployer", "--compromised"]);
    assert_eq!(
        trusted(&issuer),
        is(65, &["key_missing", "key_missing", "key_strange", "key_strange"])
    );
    assert!(export(&lab, site.path()).status.success());
    assert_eq!(trusted(&issuer), is(0, &[]));
    // What somebody changed on the server.
    let path = site.path().join(".well-known/jwks.json");
    let good = fs::read(&path).unwrap();
    let changed = |change: fn(&mut Value)| {
        let mut set: Value = serde_json::from_slice(&good).unwrap();
        change(&mut set);
        fs::write(&path, set.to_string()).unwrap();
        trusted(&issuer)
    };
    assert_eq!(changed(|set| set["keys"][0]["d"] = json!("AAAA")), is(65, &["private_key"]));
    assert_eq!(
        changed(|set| set["keys"][0]["x"] = set["keys"][1]["x"].clone()),
        is(65, &["key_other"])
    );
    fs::write(&path, vec![b' '; 300 << 10]).unwrap();
    assert_eq!(trusted(&issuer), is(65, &["not_read"]));
    fs::write(&path, &good).unwrap();
    let path = site.path().join(".well-known/openid-configuration");
    let said = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        said.replace(&format!("\"issuer\": \"{issuer}\""), "\"issuer\": \"https://localhost\""),
    )
    .unwrap();
    assert_eq!(trusted(&issuer), is(65, &["issuer"]));
    apache.end();
    assert_eq!(trusted(&issuer), is(65, &["not_read", "not_read"]));
}
