//! OpenSSH's own regression tests of agents (Debian's `openssh-tests`), not edited: they run with this agent in the place of `ssh-agent`, or are shown
//! to end where they put a key into it. `hw-tests/openssh` has the programs that stand between.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use hw_tests::key::KeyHandle;

use super::agent::Agent;
use super::lab;
use crate::lab::{Lab, product};

/// Scripts that run to their end and pass.
const PASS: [&str; 4] = ["agent-getpeereid", "agent-ptrace", "agent-subprocess", "sshsig"];
/// Runs a command of root's as one that has no rights but those of its user id (setpriv(1)).
const WITHOUT_RIGHTS: [&str; 3] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
/// Scripts that put keys of their own into the agent, which this one never takes, and what they say then.
const ADD: [(&str, &str); 6] = [
    ("agent", "ssh-add failed exit code"),
    ("agent-pkcs11", "ssh-add -s failed: exit code 1"),
    ("agent-restrict", "FATAL: add key a unrestricted"),
    ("agent-timeout", "ssh-add did succeed exit code 0"),
    ("cert-file", "FATAL: ssh-add did not succeed with exit code 0"),
    ("hostkey-agent", "FATAL: couldn't load key"),
];
/// Scripts that have the word in a comment or as an option of ssh, and start no agent.
const NONE: [&str; 6] = [
    "channel-timeout",
    "conch-ciphers",
    "keygen-convert",
    "percent",
    "sshcfgparse",
    "test-exec",
];

/// The scripts in a folder of their own, and what they are to find.
struct Scripts {
    lab: Lab,
    folder: PathBuf,
}

impl Scripts {
    /// In a lab with the signer `prod/ca`.
    fn new() -> Self {
        let (lab, _) = lab("eddsa", &["deploy"], &[]);
        let folder = lab.home.path().join("regress");
        let copied = Command::new("cp").arg("-a").arg(regress()).arg(&folder).status().unwrap();
        assert!(copied.success());
        Self { lab, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A script whose process is there already and waits for a line before it begins, so that its id is known. `by` runs it.
    fn waiting(&self, by: &[&str], script: &str, agent: &str) -> Command {
        let words = [by, &["sh", "-c", "read -r go && exec sh \"$@\"", "sh"]].concat();
        let mut sh = Command::new(words[0]);
        sh.args(&words[1..]);
        sh.arg(self.file("test-exec.sh"))
            .arg(&self.folder)
            .arg(self.file(&format!("{script}.sh")));
        let home = self.lab.home.command([""; 0]);
        let environment = home
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        sh.env_clear().envs(environment).current_dir(&self.folder);
        for (name, program) in [
            ("TEST_SSH_SSHAGENT", wrapper("ssh-agent")),
            ("TEST_SSH_SSHADD", wrapper("ssh-add")),
            ("TEST_SSH_SSHKEYGEN", wrapper("ssh-keygen")),
            ("TEST_SSH_SSHD", env::var_os("SSHD").expect("hw-tests/with-sshd sets SSHD").into()),
            ("TOUCHLEASE", product()),
            ("AGENT_SAID", self.file("agent.said")),
            ("ADDED", self.file("added")),
            ("BUILDDIR", self.folder.clone()),
        ] {
            sh.env(name, program);
        }
        sh.env("AGENT", agent)
            .env("TEST_SHELL", "sh")
            .env("TEST_SSH_UNSAFE_PERMISSIONS", "1");
        // What it starts ends with it.
        sh.process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        sh
    }

    fn run(&self, script: &str, set: impl FnOnce(&mut Command)) -> Output {
        let mut sh = self.waiting(&[], script, "prod/ca");
        set(&mut sh);
        end(sh.spawn().unwrap())
    }

    fn added(&self) -> String {
        fs::read_to_string(self.file("added")).unwrap_or_default()
    }
}

fn regress() -> PathBuf {
    env::var_os("REGRESS").expect("hw-tests/with-sshd sets REGRESS").into()
}

fn wrapper(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("openssh").join(name)
}

/// Lets it begin, and what came of it; nothing of it is left.
fn end(mut script: Child) -> Output {
    script.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let group = format!("-{}", script.id());
    let out = script.wait_with_output().unwrap();
    // Mostly there is none any more.
    let _ = Command::new("kill").args(["-TERM", "--", &group]).stderr(Stdio::null()).status();
    out
}

fn passes(out: &Output) {
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.contains("ok "), "{out:?}");
    assert!(!said.to_lowercase().contains("skipped"), "{said}");
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn t20_t22_t23_openssh_s_own_tests_of_an_agent_pass_where_they_put_no_key_into_it() {
    let scripts = Scripts::new();
    passes(&scripts.run("agent-subprocess", |_| {}));
    // Where root runs this, the scripts are told of another user; who is to be kept out is one.
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let not_root = |sh: &mut Command| {
        if is_root {
            let path = env::var("PATH").unwrap();
            sh.env("PATH", format!("{}:{path}", wrapper("as-root").display()));
        }
    };
    passes(&scripts.run("agent-getpeereid", |sh| {
        not_root(sh);
        sh.env("SUDO", "sudo");
    }));
    let log = fs::read_to_string(scripts.file("ssh-add.log")).unwrap();
    assert!(log.contains("Could not open a connection"), "{log}");
    ptrace(&scripts, if is_root { &WITHOUT_RIGHTS } else { &[] }, not_root);
    sshsig(&scripts);
    println!("T22 openssh-tests: {} of {} scripts of agents", PASS.len(), PASS.len() + ADD.len());
}

/// Neither the agent nor gdb has more rights than a user, nor has the process to which gdb does attach.
fn ptrace(scripts: &Scripts, by: &[&str], set: impl FnOnce(&mut Command)) {
    // It is to be a file that can change its owner.
    let own = scripts.file("ssh-agent");
    fs::copy(wrapper("ssh-agent"), &own).unwrap();
    let mut sh = scripts.waiting(by, "agent-ptrace", "prod/ca");
    set(&mut sh);
    // Without rights nothing is to be had by sudo: the file is its own already.
    sh.env("TEST_SSH_SSHAGENT", &own)
        .env("SUDO", if by.is_empty() { "sudo" } else { "env" });
    passes(&end(sh.spawn().unwrap()));
    let words = [by, &["sh", "-c", "sleep 60 & gdb -batch -p $! 2>&1; kill $!"]].concat();
    let attached = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let attached = String::from_utf8_lossy(&attached.stdout).into_owned();
    // Yama lets nobody attach to what he has not started (Documentation/admin-guide/LSM/Yama.rst).
    let yama = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    assert!(
        !attached.contains("not permitted") || !["", "0\n"].contains(&yama.as_str()),
        "gdb attaches to nothing here: {attached}"
    );
}

/// Each key that the script wants to add is refused, and its place is taken by one that the vault has, in the script's own namespace.
fn sshsig(scripts: &Scripts) {
    let (lab, key) = (&scripts.lab, scripts.file("vault.pub"));
    let script = |sh: &mut Command| {
        sh.env("STAND_IN", &key);
    };
    let mut sh = scripts.waiting(&[], "sshsig", "prod/sig --uses 40");
    script(&mut sh);
    let child = sh.spawn().unwrap();
    let namespace = format!("test-{}", child.id());
    lab.person(&[
        "signer",
        "add",
        "sig",
        "--scope",
        "prod",
        "--namespace",
        &namespace,
        "--max-uses",
        "40",
    ]);
    let allowed = scripts.file("vault.allowed");
    let line = lab.prints(&["ssh", "allowed-signers", "prod/sig", "--principal", "anna@example.com"]);
    fs::write(&allowed, line).unwrap();
    let agent = Agent::of(lab, "prod/sig", &[]);
    let listed = Command::new("ssh-add")
        .arg("-L")
        .env("SSH_AUTH_SOCK", &agent.socket)
        .output()
        .unwrap();
    fs::write(&key, listed.stdout).unwrap();
    agent.interrupt();
    let _watch = lab.home.watch().unwrap();
    let before = lab.key.counts().unwrap().given;
    let _ = fs::remove_file(scripts.file("added"));
    passes(&end(child));
    assert_eq!(lab.key.counts().unwrap().given, before + 1, "one touch for all in its namespace");
    // Every signature that it had the agent make is by the vault's key.
    let made = fs::read_dir(&scripts.folder).unwrap().map(|entry| entry.unwrap().path());
    let made: Vec<_> = made
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("sshsig-agent-"))
        })
        .collect();
    for signature in &made {
        let out = Command::new("ssh-keygen")
            .args(["-Y", "verify", "-I", "anna@example.com", "-n", &namespace, "-f"])
            .arg(&allowed)
            .arg("-s")
            .arg(signature)
            .stdin(fs::File::open(scripts.file("data")).unwrap())
            .output()
            .unwrap();
        assert!(out.status.success(), "{signature:?}: {out:?}");
    }
    let added = scripts.added();
    let refused = added
        .lines()
        .filter(|line| line.starts_with("1 ") && line.contains("agent refused operation") && !line.starts_with("1 -D"));
    assert!(made.len() >= 8, "{made:?}");
    assert_eq!((refused.count(), lab.count("used")), (made.len(), made.len()), "{added}");
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn t22_openssh_s_other_tests_of_an_agent_end_where_they_put_a_key_into_it_which_is_refused() {
    let scripts = Scripts::new();
    let before = (scripts.lab.key.counts().unwrap().given, scripts.lab.count("asked"));
    for (script, says) in ADD {
        let _ = fs::remove_file(scripts.file("added"));
        let out = scripts.run(script, |sh| {
            sh.env("TEST_SSH_FAIL_FATAL", "1");
        });
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(!out.status.success() && said.contains(says), "{script}: {out:?}");
        let added = scripts.added();
        let last = added.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("1 ") && last.contains("agent refused operation"),
            "{script}: {added}"
        );
    }
    assert_eq!((scripts.lab.key.counts().unwrap().given, scripts.lab.count("asked")), before);
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn every_script_of_openssh_that_mentions_an_agent_is_known_here_and_in_the_docs() {
    let scripts = fs::read_dir(regress()).unwrap().map(|entry| entry.unwrap().path());
    let mentions = |path: &PathBuf| {
        fs::read_to_string(path).is_ok_and(|text| {
            ["agent", "ssh_auth_sock", "ssh-add"]
                .iter()
                .any(|word| text.to_lowercase().contains(word))
        })
    };
    let found: BTreeSet<_> = scripts
        .filter(|path| path.extension().is_some_and(|extension| extension == "sh") && mentions(path))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let known = PASS.into_iter().chain(ADD.map(|(name, _)| name)).chain(NONE);
    assert_eq!(found, known.clone().map(str::to_owned).collect());
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ssh.md")).unwrap();
    for name in known {
        assert!(docs.contains(&format!("`{name}`")), "docs/ssh.md: {name}");
    }
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn t20_t25_another_user_who_reaches_the_agents_socket_is_told_nothing() {
    let (lab, _) = lab("eddsa", &["deploy"], &[]);
    let agent = Agent::start(&lab, &[]);
    // Somebody opened every folder on the way.
    let way = agent.socket.ancestors().take_while(|path| path.starts_with(lab.home.path()));
    way.for_each(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap());
    let lists = |program: &str, arguments: &[&str]| {
        let mut list = Command::new(program);
        let socket = format!("SSH_AUTH_SOCK={}", agent.socket.display());
        // Who writes to a connection that was ended meanwhile says so, and is not killed for it.
        let out = list
            .args(arguments)
            .arg("--ignore-signal=PIPE")
            .arg(socket)
            .args(["ssh-add", "-L"])
            .output()
            .unwrap();
        assert!(out.stdout.is_empty() || out.stdout == b"The agent has no identities.\n", "{out:?}");
        (out.stdout.is_empty(), String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(lists("env", &[]), (false, String::new()), "its own user is answered");
    let (is_told_nothing, said) = lists("sudo", &["-n", "-u", "nobody", "env"]);
    assert!(
        is_told_nothing && said.contains("error fetching identities"),
        "it was reached: {said}"
    );
}
