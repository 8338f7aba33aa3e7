//! Debian's sshd lets in with a certificate exactly whom it names, for what, from where and until when.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{certificate, lab};
use crate::lab::Lab;

/// A server on loopback that trusts the signer `prod/ca` of a lab, and nothing else.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    pub(super) folder: PathBuf,
}

impl Server {
    /// Lets in as whoever runs this, with a certificate for one of `principals`.
    pub(super) fn start(lab: &Lab, principals: &[&str]) -> Self {
        Self::named(lab, "sshd", principals, "")
    }

    /// One of several, with more lines of configuration.
    pub(super) fn named(lab: &Lab, name: &str, principals: &[&str], more: &str) -> Self {
        let folder = lab.home.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let host = folder.join("host");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&host)
            .status()
            .unwrap();
        assert!(made.success());
        fs::write(folder.join("ca"), lab.prints(&["ssh", "ca", "prod/ca"])).unwrap();
        fs::write(folder.join("principals"), principals.join("\n") + "\n").unwrap();
        // Empty: nothing is taken back yet (ssh-keygen(1), KEY REVOCATION LISTS).
        fs::write(folder.join("krl"), "").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "{more}ListenAddress 127.0.0.1:{port}\nHostKey {}\nTrustedUserCAKeys {}\nAuthorizedPrincipalsFile {}\nRevokedKeys {}\n\
             AuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\n\
             PermitRootLogin yes\nPidFile none\nLogLevel VERBOSE\n",
            at("host"),
            at("ca"),
            at("principals"),
            at("krl"),
        );
        fs::write(folder.join("config"), config).unwrap();
        let sshd = env::var_os("SSHD").expect("hw-tests/with-sshd sets SSHD");
        let mut child = Command::new(sshd)
            .args(["-D", "-e", "-f"])
            .arg(folder.join("config"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "sshd ended");
        }
        let file = folder.join("log");
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let before = fs::read_to_string(&file).unwrap_or_default();
                let _ = fs::write(&file, before + &line + "\n");
            }
        });
        Self { child, port, folder }
    }

    /// Runs a command there with the lab's key and this certificate.
    fn login(&self, lab: &Lab, certificate: &str, more: &[&str]) -> Output {
        let key = lab.home.work().join("id");
        let cert = lab.home.work().join("login-cert.pub");
        fs::write(&cert, format!("{certificate}\n")).unwrap();
        let user = user();
        let known = self.folder.join("known").display().to_string();
        Command::new("ssh")
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "IdentitiesOnly=yes",
            ])
            .args(["-o", &format!("UserKnownHostsFile={known}"), "-o", "IdentityAgent=none"])
            .arg("-o")
            .arg(format!("CertificateFile={}", cert.display()))
            .arg("-i")
            .arg(key)
            .args(["-p", &self.port.to_string(), "-l", &user, "127.0.0.1"])
            .args(more)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn lets_in(&self, lab: &Lab, certificate: &str) -> bool {
        let out = self.login(lab, certificate, &["echo", "in"]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        match out.status.success() {
            true => {
                assert_eq!(out.stdout, b"in\n", "{said}");
                true
            }
            false => {
                assert!(said.contains("Permission denied"), "{out:?}\n{}", self.log());
                false
            }
        }
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Its log has this, by and by.
    pub(super) fn logs(&self, part: &str) -> bool {
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(20) {
            if self.log().contains(part) {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who runs this: the one as whom a server that it starts can let in.
pub(super) fn user() -> String {
    let user = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(user.stdout).unwrap().trim().to_owned()
}

/// The key id of a certificate, which is the lease's: the comment of its line.
fn id(certificate: &str) -> &str {
    certificate.split(' ').nth(2).unwrap()
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn t27_sshd_lets_in_with_a_certificate_whom_it_names_and_nobody_else() {
    for alg in ["es256", "eddsa"] {
        let (lab, _) = lab(alg, &["deploy", "backup"], &[]);
        let server = Server::start(&lab, &["deploy"]);
        let _watch = lab.home.watch().unwrap();
        let good = certificate(&lab, &["--principal", "deploy"]);
        assert!(server.lets_in(&lab, &good));
        assert!(
            server.logs(&format!("ID {}", id(&good))),
            "the log names the lease: {}",
            server.log()
        );
        assert!(
            !server.lets_in(&lab, &certificate(&lab, &["--principal", "backup"])),
            "another user"
        );
        // One bit of it, and a certificate of another signer.
        let at = good.find(' ').unwrap() + 200;
        let other = if good.as_bytes()[at] == b'A' { "B" } else { "A" };
        assert!(!server.lets_in(&lab, &format!("{}{other}{}", &good[..at], &good[at + 1..])));
        lab.person(&["signer", "add", "other", "--scope", "prod", "--principal", "deploy"]);
        let printed = lab.prints(&["ssh", "cert", "prod/other", "--key", "id.pub"]);
        assert!(!server.lets_in(&lab, printed.trim_end()), "another signer");
        // The key that signs next is trusted before it signs.
        lab.person(&["signer", "rotate", "prod/ca"]);
        assert!(server.lets_in(&lab, &certificate(&lab, &["--principal", "deploy"])));
    }
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn t27_sshd_refuses_a_certificate_after_its_end() {
    let (lab, _) = lab("eddsa", &["deploy"], &[]);
    let server = Server::start(&lab, &["deploy"]);
    let _watch = lab.home.watch().unwrap();
    let short = certificate(&lab, &["--ttl", "5s"]);
    assert!(server.lets_in(&lab, &short));
    thread::sleep(Duration::from_secs(6));
    assert!(!server.lets_in(&lab, &short));
    assert!(server.logs("expired"), "{}", server.log());
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn sshd_runs_the_forced_command_whatever_is_asked_for_and_gives_a_terminal_only_where_it_is_permitted() {
    let (lab, _) = lab("es256", &["deploy"], &[]);
    let server = Server::start(&lab, &["deploy"]);
    let _watch = lab.home.watch().unwrap();
    let forced = certificate(&lab, &["--force-command", "echo \"asked: $SSH_ORIGINAL_COMMAND\""]);
    let out = server.login(&lab, &forced, &["rm", "-rf", "/tmp/nothing"]);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "asked: rm -rf /tmp/nothing\n", "{out:?}");
    let tty = |certificate: &str| {
        let out = server.login(&lab, certificate, &["-tt", "tty"]);
        String::from_utf8_lossy(&out.stdout).contains("/dev/pts/")
    };
    assert!(!tty(&certificate(&lab, &[])));
    assert!(tty(&certificate(&lab, &["--pty"])));
    // No forwarding is permitted at all: of a connection, as of everything else.
    let out = server.login(&lab, &certificate(&lab, &["--pty"]), &["-W", "127.0.0.1:9"]);
    assert!(!out.status.success());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("administratively prohibited"), "{said}");
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn t27_sshd_runs_the_command_and_keeps_to_the_addresses_that_are_sealed_with_the_signer() {
    let sealed = ["--force-command", "echo sealed", "--source-address", "127.0.0.0/8"];
    let (lab, _) = lab("eddsa", &["deploy"], &sealed);
    let server = Server::start(&lab, &["deploy"]);
    let watch = lab.home.watch().unwrap();
    let asked = |more: &[&str]| {
        let out = server.login(&lab, &certificate(&lab, more), &["id"]);
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    for more in [&[][..], &["--force-command", "echo sealed"], &["--source-address", "127.0.0.1"]] {
        assert_eq!(asked(more), "sealed\n", "{more:?} {}", server.log());
    }
    drop(watch);
    lab.person(&["signer", "rotate", "prod/ca", "--keep-keys", "--source-address", "192.0.2.0/24"]);
    let _watch = lab.home.watch().unwrap();
    assert_eq!(asked(&[]), "", "from elsewhere");
    assert!(server.logs("not from"), "{}", server.log());
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn sshd_lets_in_from_the_addresses_of_a_certificate_alone() {
    let (lab, _) = lab("eddsa", &["deploy"], &[]);
    let server = Server::start(&lab, &["deploy"]);
    let _watch = lab.home.watch().unwrap();
    for (address, lets_in) in [("127.0.0.0/8", true), ("127.0.0.1", true), ("192.0.2.0/24", false), ("::1", false)] {
        let made = certificate(&lab, &["--source-address", address]);
        assert_eq!(server.lets_in(&lab, &made), lets_in, "{address}");
    }
    let both = certificate(&lab, &["--source-address", "192.0.2.0/24", "--source-address", "127.0.0.1"]);
    assert!(server.lets_in(&lab, &both));
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn sshd_refuses_what_the_list_takes_back_at_the_next_login_and_lets_in_with_the_others() {
    let (lab, _) = lab("es256", &["deploy"], &[]);
    let server = Server::start(&lab, &["deploy"]);
    let _watch = lab.home.watch().unwrap();
    let (taken, kept) = (certificate(&lab, &[]), certificate(&lab, &[]));
    assert!(server.lets_in(&lab, &taken) && server.lets_in(&lab, &kept));
    let file = server.folder.join("krl").display().to_string();
    lab.prints(&["ssh", "krl", &file, "--lease", id(&taken)]);
    assert!(!server.lets_in(&lab, &taken));
    assert!(server.lets_in(&lab, &kept));
    // After a rotation the key that signed it is the one before, and it stays taken back.
    lab.person(&["signer", "rotate", "prod/ca"]);
    lab.prints(&["ssh", "krl", &file, "--lease", id(&taken), "--lease", id(&kept)]);
    assert!(!server.lets_in(&lab, &taken) && !server.lets_in(&lab, &kept));
    assert!(server.lets_in(&lab, &certificate(&lab, &[])));
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn t27_sshd_refuses_what_was_taken_back_whatever_became_of_the_key_that_signed_it() {
    let (lab, _) = lab("es256", &["deploy"], &["--max-ttl", "1h"]);
    let server = Server::start(&lab, &["deploy"]);
    let _watch = lab.home.watch().unwrap();
    let [krl, ca] = ["krl", "ca"].map(|name| server.folder.join(name));
    // Rotated out, given up, and removed: the server trusts it as before, for nobody has been there yet.
    for commands in [
        &[&["signer", "rotate", "prod/ca"][..], &["signer", "rotate", "prod/ca"]][..],
        &[&["signer", "rotate", "prod/ca", "--compromised"]],
        &[&["signer", "remove", "prod/ca"]],
    ] {
        fs::write(&krl, "").unwrap();
        fs::write(&ca, lab.prints(&["ssh", "ca", "prod/ca"])).unwrap();
        let made = certificate(&lab, &["--ttl", "50m"]);
        commands.iter().for_each(|command| drop(lab.person(command)));
        assert!(server.lets_in(&lab, &made), "{commands:?}");
        lab.prints(&["ssh", "krl", &krl.display().to_string(), "--lease", id(&made)]);
        assert!(!server.lets_in(&lab, &made), "{commands:?}");
    }
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn a_list_of_all_takes_back_every_certificate_until_the_signer_is_rotated() {
    let (lab, _) = lab("eddsa", &["deploy"], &[]);
    let server = Server::start(&lab, &["deploy"]);
    let _watch = lab.home.watch().unwrap();
    let before = certificate(&lab, &[]);
    lab.person(&["signer", "rotate", "prod/ca"]);
    // The server hears of the key that signs next, as after each rotation.
    fs::write(server.folder.join("ca"), lab.prints(&["ssh", "ca", "prod/ca"])).unwrap();
    let now = certificate(&lab, &[]);
    let file = server.folder.join("krl").display().to_string();
    lab.prints(&["ssh", "krl", &file, "--all", "prod/ca"]);
    assert!(!server.lets_in(&lab, &before) && !server.lets_in(&lab, &now) && !server.lets_in(&lab, &certificate(&lab, &[])));
    assert!(server.logs("revoked"), "{}", server.log());
    lab.person(&["signer", "rotate", "prod/ca"]);
    assert!(server.lets_in(&lab, &certificate(&lab, &[])));
}
