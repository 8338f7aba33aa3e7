//! Clients of package indexes with a real one: what they need a password for, they get with a placeholder.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use super::{Bench, CANARY, streams::python};
use crate::{hygiene, lab::until};

/// pypiserver, which wants a password for everything, until it is dropped.
struct Index {
    child: Child,
    port: u16,
    packages: tempfile::TempDir,
}

impl Index {
    fn start() -> Self {
        let packages = tempfile::tempdir().unwrap();
        let passwords = packages.path().join("passwords");
        let hashed = "import sys; from passlib.hash import sha256_crypt; print('me:' + sha256_crypt.hash(sys.argv[1]))";
        let line = Command::new(python()).args(["-c", hashed, CANARY]).output().unwrap();
        assert!(line.status.success(), "{line:?}");
        std::fs::write(&passwords, line.stdout).unwrap();
        // Free when it was looked at.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new(python());
        server.args(["-m", "pypiserver", "run", "--interface", "127.0.0.1", "--port", &port.to_string()]);
        server
            .arg("--passwords")
            .arg(&passwords)
            .args(["--authenticate", "update,download,list", "--disable-fallback"]);
        let folder = packages.path().join("packages");
        std::fs::create_dir(&folder).unwrap();
        let child = server.arg(folder).spawn().unwrap();
        until("the index", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port, packages }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A wheel of nothing, made with what Python has.
const WHEEL: &str = "import zipfile
name = 'nothing-1.0.dist-info/'
with zipfile.ZipFile('nothing-1.0-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('nothing.py', '')
    wheel.writestr(name + 'METADATA', 'Metadata-Version: 2.1\\nName: nothing\\nVersion: 1.0\\n')
    wheel.writestr(name + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: by hand\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(name + 'RECORD', '')
";

#[test]
#[ignore = "needs hw-tests/with-clients"]
fn twine_uploads_and_pip_downloads_with_a_placeholder_for_the_password() {
    let (bench, index) = (Bench::new(), Index::start());
    let host = format!("localhost:{}", index.port);
    bench.put(&format!("http://{host}"), &["--send-as", "basic:me"]);
    std::fs::write(bench.lab.home.work().join("wheel.py"), WHEEL).unwrap();
    let pip = format!(
        "{} -m pip download --quiet --disable-pip-version-check --no-deps --no-cache-dir --no-input --isolated",
        python()
    );
    let script = format!(
        "set -e
        {python} wheel.py
        {python} -m twine upload --non-interactive --disable-progress-bar --repository-url http://{host}/ --username me --password \"$API\" *.whl > /dev/null
        {pip} --dest got --index-url http://me:$API@{host}/simple/ nothing
        ls got
        {pip} --dest not --index-url http://me:wrong@{host}/simple/ nothing 2> /dev/null || echo refused
        cat /proc/self/environ",
        python = python()
    );
    let said = bench.says(&[], &script);
    assert!(said.starts_with("nothing-1.0-py3-none-any.whl\nrefused\n"), "{said}");
    assert!(index.packages.path().join("packages/nothing-1.0-py3-none-any.whl").is_file());
    assert_eq!(hygiene::leaks(said.as_bytes(), &hygiene::forms(CANARY)), 0);
    let files = hygiene::left_behind(bench.lab.home.path());
    let leaking = files
        .iter()
        .filter(|file| hygiene::leaks(&std::fs::read(file).unwrap_or_default(), &hygiene::forms(CANARY)) > 0);
    assert_eq!(leaking.count(), 0);
    println!("clients twine and pip: 2 of 2 with the lease, 1 of 1 refused without");
}
