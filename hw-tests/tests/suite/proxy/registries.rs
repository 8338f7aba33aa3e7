//! Clients of registries with real ones: what they need a token or a password for, they get with a placeholder.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use touchlease::config::Config;

use super::{Bench, CANARY, beyond::leading_to, streams};
use crate::{hygiene, lab::until, signers::verifiers::registry::image};

/// A server of a test, until it is dropped.
struct Server(Child);

impl Server {
    fn start(command: &mut Command, port: u16) -> Self {
        let server = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        until("the server", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Free when it was looked at.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The value is in nothing that the command has, prints or leaves.
fn nowhere(bench: &Bench, value: &str, out: &Output) {
    let forms = hygiene::forms(value);
    assert_eq!(hygiene::leaks(&[&out.stdout[..], &out.stderr].concat(), &forms), 0, "{out:?}");
    let files = hygiene::left_behind(bench.lab.home.path());
    let leaking = files
        .iter()
        .filter(|file| hygiene::leaks(&fs::read(file).unwrap_or_default(), &forms) > 0);
    assert_eq!(leaking.count(), 0);
}

/// Runs a script with the credential, which has to print this.
fn prints(bench: &Bench, value: &str, script: &str, said: &str) {
    let out = bench.script(&[], &format!("set -e\n{script}\ncat /proc/self/environ >&2"));
    assert_eq!(String::from_utf8_lossy(&out.stdout), said, "{out:?}");
    assert!(out.status.success(), "{out:?}");
    nowhere(bench, value, &out);
}

/// Node, and where its npm is.
fn node() -> (String, String) {
    let node = std::env::var("CLIENT_NODE").expect("hw-tests/with-clients sets CLIENT_NODE");
    let npm = Path::new(&node)
        .parent()
        .unwrap()
        .with_file_name("lib/node_modules/npm/bin/npm-cli.js");
    (node.clone(), npm.display().to_string())
}

const VERDACCIO: &str = "storage: STORAGE
auth:
  htpasswd: { file: STORAGE/htpasswd }
packages:
  '**': { access: $authenticated, publish: $authenticated }
log: { type: stdout, format: json, level: error }
";

/// The token that verdaccio gives to a new user.
fn token(port: u16) -> String {
    let user = "{\"name\":\"me\",\"password\":\"a password of the test\"}";
    let url = format!("http://localhost:{port}/-/user/org.couchdb.user:me");
    let out = Command::new("curl")
        .args(["-sS", "-X", "PUT", "-H", "Content-Type: application/json", "-d", user, &url])
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
    said["token"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[test]
#[ignore = "needs hw-tests/with-clients"]
fn npm_publishes_and_installs_with_a_placeholder_for_the_token() {
    let (bench, folder, port, (node, npm)) = (Bench::new(), tempfile::tempdir().unwrap(), port(), node());
    let modules = std::env::var("CLIENT_MODULES").expect("hw-tests/with-clients sets CLIENT_MODULES");
    let config = folder.path().join("config.yaml");
    fs::write(&config, VERDACCIO.replace("STORAGE", &folder.path().display().to_string())).unwrap();
    let mut verdaccio = Command::new(&node);
    verdaccio
        .arg(format!("{modules}/verdaccio/bin/verdaccio"))
        .arg("--config")
        .arg(&config);
    let _server = Server::start(verdaccio.args(["--listen", &format!("127.0.0.1:{port}")]), port);
    let token = token(port);
    bench
        .lab
        .put("prod/API", token.as_bytes(), &["--host", &format!("http://localhost:{port}")]);
    let script = format!(
        "npm() {{ {node} {npm} --registry http://localhost:{port}/ --no-audit --no-fund --loglevel error \"$@\"; }}
        mkdir made used
        echo '{{\"name\":\"nothing\",\"version\":\"1.0.0\"}}' > made/package.json
        echo '//localhost:{port}/:_authToken=${{API}}' | tee made/.npmrc > used/.npmrc
        (cd made && npm publish > /dev/null)
        echo '{{}}' > used/package.json
        (cd used && npm install nothing > /dev/null && ls node_modules && npm whoami)
        echo '//localhost:{port}/:_authToken=wrong' > used/.npmrc
        (cd used && npm view nothing > /dev/null 2>&1) || echo refused"
    );
    prints(&bench, &token, &script, "nothing\nme\nrefused\n");
    println!("client npm with verdaccio: 3 of 3 with the lease, 1 of 1 refused without");
}

#[test]
#[ignore = "needs hw-tests/with-clients"]
fn cargo_publishes_and_fetches_with_a_placeholder_for_the_token() {
    let bench = Bench::new();
    let registry = streams::Server::start(&bench, "cargo_registry.py");
    let port = registry.port;
    bench.put(&format!("localhost:{port}"), &["--send-as", "header:authorization"]);
    let cargo = Path::new(env!("CARGO"));
    let script = format!(
        "export PATH={bin}:$PATH CARGO_REGISTRIES_MINE_INDEX=sparse+https://localhost:{port}/index/ CARGO_REGISTRIES_MINE_TOKEN=$API
        export CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS=cargo:token CARGO_HOME=$PWD/cargo-home
        cargo new --quiet --vcs none --lib made 2> /dev/null
        (cd made && cargo publish --quiet --no-verify --registry mine)
        cargo new --quiet --vcs none --lib used 2> /dev/null
        cd used
        echo 'made = {{ version = \"0.1.0\", registry = \"mine\" }}' >> Cargo.toml
        cargo fetch --quiet
        ls $CARGO_HOME/registry/src/*
        rm -r $CARGO_HOME/registry
        CARGO_REGISTRIES_MINE_TOKEN=wrong cargo fetch --quiet 2> /dev/null || echo refused",
        bin = cargo.parent().unwrap().display()
    );
    prints(&bench, CANARY, &script, "made-0.1.0\nrefused\n");
    println!("client cargo: 2 of 2 with the lease, 1 of 1 refused without");
}

/// Programs in Go use no proxy for this machine: a name that only the proxy behind the proxy knows.
const REGISTRY: &str = "registry.company.example";

#[test]
#[ignore = "needs hw-tests/with-clients"]
fn skopeo_pushes_and_pulls_with_a_placeholder_for_the_password() {
    let to = Arc::<Mutex<u16>>::default();
    let (beyond, asked) = leading_to(to.clone());
    let bench = Bench::with(Config {
        proxy_upstream: Some(format!("http://localhost:{beyond}").parse().unwrap()),
        ..Config::default()
    });
    let (folder, port) = (tempfile::tempdir().unwrap(), port());
    *to.lock().unwrap() = port;
    let (certificate, key) = bench.authority.files_for(REGISTRY);
    let hashed = "import crypt, sys; print('me:' + crypt.crypt(sys.argv[1], crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))";
    // Of the system, whose library knows bcrypt.
    let line = Command::new("python3")
        .args(["-W", "ignore", "-c", hashed, CANARY])
        .output()
        .unwrap();
    assert!(line.status.success(), "{line:?}");
    let passwords = folder.path().join("passwords");
    fs::write(&passwords, line.stdout).unwrap();
    let config = folder.path().join("registry.yml");
    let text = format!(
        "version: 0.1
log: {{ level: error }}
storage: {{ filesystem: {{ rootdirectory: {root} }} }}
http: {{ addr: 127.0.0.1:{port}, tls: {{ certificate: {certificate}, key: {key} }} }}
auth: {{ htpasswd: {{ realm: test, path: {passwords} }} }}
",
        root = folder.path().join("storage").display(),
        certificate = certificate.display(),
        key = key.display(),
        passwords = passwords.display()
    );
    fs::write(&config, text).unwrap();
    let _server = Server::start(Command::new("docker-registry").arg("serve").arg(&config), port);
    bench.put(REGISTRY, &["--send-as", "basic:me"]);
    let image = image(folder.path());
    let script = format!(
        "skopeo --insecure-policy copy --quiet --dest-creds \"me:$API\" oci:{image}:latest docker://{REGISTRY}/app:1
        skopeo --insecure-policy copy --quiet --src-creds \"me:$API\" docker://{REGISTRY}/app:1 dir:got
        ls got/manifest.json
        skopeo inspect --creds me:wrong docker://{REGISTRY}/app:1 > /dev/null 2>&1 || echo refused",
        image = image.display()
    );
    prints(&bench, CANARY, &script, "got/manifest.json\nrefused\n");
    let asked = asked.lock().unwrap();
    assert!(
        !asked.is_empty() && asked.iter().all(|line| *line == format!("CONNECT {REGISTRY}:443 HTTP/1.1")),
        "{asked:?}"
    );
    println!("client skopeo with docker-registry: 2 of 2 with the lease, 1 of 1 refused without");
}

/// Where gh sends what it does at github.com.
const GITHUB: &str = "api.github.com";

#[test]
#[ignore = "needs hw-tests/with-clients"]
fn gh_reads_and_writes_at_github_with_a_placeholder_for_the_token() {
    let to = Arc::<Mutex<u16>>::default();
    let (beyond, asked) = leading_to(to.clone());
    let bench = Bench::with(Config {
        proxy_upstream: Some(format!("http://localhost:{beyond}").parse().unwrap()),
        ..Config::default()
    });
    let api = streams::Server::start_as(&bench, "github_api.py", GITHUB);
    *to.lock().unwrap() = api.port;
    // As gh writes it.
    bench.put(GITHUB, &["--send-as", "header:authorization:token "]);
    let script = "export GH_TOKEN=$API GH_CONFIG_DIR=$PWD/gh GH_PROMPT_DISABLED=1 GH_NO_UPDATE_NOTIFIER=1 NO_COLOR=1
        gh api user --jq .login
        gh api repos/me/app/issues -f title=one --jq .number
        gh issue create --repo me/app --title two --body text
        gh issue list --repo me/app --json number,title --jq '.[] | \"\\(.number) \\(.title)\"'
        gh auth status 2>&1 | grep -o 'Logged in to github.com as me'
        GH_TOKEN=ghp_wrong gh api user > /dev/null 2> wrong || grep -o 'HTTP 401' wrong";
    let said = "me\n1\nhttps://github.com/me/app/issues/2\n1 one\n2 two\nLogged in to github.com as me\nHTTP 401\n";
    prints(&bench, CANARY, script, said);
    let asked = asked.lock().unwrap();
    assert!(
        !asked.is_empty() && asked.iter().all(|line| *line == format!("CONNECT {GITHUB}:443 HTTP/1.1")),
        "{asked:?}"
    );
    println!("client gh with a stand-in for GitHub: 5 of 5 with the lease, 1 of 1 refused without");
}
