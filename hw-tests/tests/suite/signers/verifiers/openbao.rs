//! OpenBao's `auth/jwt`: a token that a touch signed becomes a token of OpenBao's with the limits of a role.

use std::env;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{AUD, ISSUER, export, lab, tokens};
use super::apache::{Apache, free_port, site};
use super::{fed, flipped};
use crate::lab::until;

/// A server in memory on loopback, as `bao server -dev` makes it: everything is gone with it.
struct OpenBao {
    child: Child,
    program: PathBuf,
    address: String,
    home: PathBuf,
}

impl OpenBao {
    fn start(home: &Path) -> Self {
        let program = PathBuf::from(env::var_os("OPENBAO").expect("hw-tests/with-verifiers sets OPENBAO"));
        let port = free_port();
        let mut server = Command::new(&program);
        server.args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"]);
        server.arg(format!("-dev-listen-address=127.0.0.1:{port}"));
        server
            .env("HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let bao = Self {
            child: server.spawn().unwrap(),
            program,
            address: format!("http://127.0.0.1:{port}"),
            home: home.to_owned(),
        };
        until("OpenBao", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        until("OpenBao, unsealed", || bao.run("root", &["status"], "").status.success());
        bao
    }

    fn run(&self, token: &str, arguments: &[&str], input: &str) -> Output {
        let mut bao = Command::new(&self.program);
        bao.args(arguments)
            .env("BAO_ADDR", &self.address)
            .env("BAO_TOKEN", token)
            .env("HOME", &self.home);
        fed(bao, input)
    }

    /// As its operator, who gives it JSON.
    fn write(&self, path: &str, value: &Value) {
        let out = self.run("root", &["write", path, "-"], &value.to_string());
        assert!(out.status.success(), "{out:?}");
    }

    /// As `docs/signers.md` shows it: its answer, or why it refuses.
    fn login(&self, token: &str) -> Result<Value, String> {
        let out = self.run("", &["write", "-format=json", "auth/jwt/login", "role=deploy", "jwt=-"], token);
        match out.status.success() {
            true => Ok(serde_json::from_slice::<Value>(&out.stdout).unwrap()["auth"].take()),
            false => Err(String::from_utf8(out.stderr).unwrap()),
        }
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs hw-tests/with-verifiers"]
fn t28_openbao_exchanges_a_token_for_one_of_its_own_with_a_roles_limits_and_refuses_it_after_its_end_and_by_a_rotated_key() {
    let lab = lab("es256", &["--aud", "https://other.example"]);
    let (site, port) = (site(), free_port());
    assert!(export(&lab, site.path()).status.success());
    let apache = Apache::start(port, site.path(), "");
    let bao = OpenBao::start(lab.home.path());
    assert!(bao.run("root", &["auth", "enable", "jwt"], "").status.success());
    let config = json!({
        "bound_issuer": ISSUER,
        "jwks_url": format!("https://localhost:{port}/.well-known/jwks.json"),
        "jwks_ca_pem": fs::read_to_string(apache.ca()).unwrap(),
    });
    bao.write("auth/jwt/config", &config);
    let role = json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": [AUD], "bound_subject": "deployer", "token_policies": ["deploy"],
        "token_ttl": "5m", "token_num_uses": 2, "clock_skew_leeway": -1,
    });
    bao.write("auth/jwt/role/deploy", &role);
    bao.write(
        "sys/policies/acl/deploy",
        &json!({ "policy": "path \"secret/data/app\" { capabilities = [\"read\"] }" }),
    );
    bao.write("secret/data/app", &json!({ "data": { "password": "hunter22" } }));
    let _watch = lab.home.watch().unwrap();
    let token = tokens(&lab, &[]).remove(0);
    let auth = bao.login(&token).unwrap();
    assert_eq!(
        (&auth["lease_duration"], &auth["metadata"]["role"]),
        (&json!(300), &json!("deploy"))
    );
    // What the role's policy says, as often as it says: what is refused counts as well.
    let theirs = auth["client_token"].as_str().unwrap();
    let reads = || bao.run(theirs, &["read", "-field=data", "secret/data/app"], "").status.success();
    assert!(!bao.run(theirs, &["read", "secret/data/other"], "").status.success());
    assert_eq!([reads(), reads()], [true, false]);
    bao.login(&flipped(&token)).unwrap_err();
    let other = lab.prints(&["token", "prod/deployer", "--aud", "https://other.example"]);
    assert!(bao.login(other.trim_end()).unwrap_err().contains("audience"));
    let short = tokens(&lab, &["--ttl", "2s"]).remove(0);
    bao.login(&short).unwrap();
    thread::sleep(Duration::from_millis(2100));
    assert!(bao.login(&short).unwrap_err().contains("expired"));
    lab.person(&["signer", "rotate", "prod/deployer"]);
    bao.login(&tokens(&lab, &[])[0]).unwrap();
    lab.person(&["signer", "rotate", "prod/deployer", "--compromised"]);
    assert!(export(&lab, site.path()).status.success());
    // A key that it does not know makes it read the keys anew, and forget the others.
    bao.login(&tokens(&lab, &[])[0]).unwrap();
    bao.login(&token).unwrap_err();
}
