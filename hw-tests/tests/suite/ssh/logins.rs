//! Debian's ssh and sshd with the agent: who is let in, and who is not.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use hw_tests::key::KeyHandle;

use super::agent::Agent;
use super::lab;
use super::servers::{Server, user};
use crate::lab::Lab;

/// ssh with nothing but the agent.
fn ssh(server: &Server, agent: &Path, more: &[&str]) -> Command {
    let mut ssh = Command::new("ssh");
    let known = server.folder.join("known").display().to_string();
    // ssh takes the first that it is told.
    ssh.args(more)
        .args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "IdentityFile=none",
        ])
        .args(["-o", &format!("UserKnownHostsFile={known}")])
        .args(["-p", &server.port.to_string(), "-l", &user()])
        .env("SSH_AUTH_SOCK", agent)
        .stdin(Stdio::null());
    ssh
}

fn login(server: &Server, agent: &Path, command: &[&str]) -> Output {
    ssh(server, agent, &[]).arg("127.0.0.1").args(command).output().unwrap()
}

fn is_in(out: &Output) -> bool {
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() || said.contains("Permission denied"), "{out:?}");
    out.status.success()
}

fn touches(lab: &Lab) -> u64 {
    lab.key.counts().unwrap().given
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn t22_ssh_gets_in_by_the_agent_at_each_server_with_a_touch_of_its_own_until_uses_or_time_are_over() {
    let (lab, _) = lab("es256", &["deploy"], &["--max-uses", "2"]);
    let (one, two) = (
        Server::named(&lab, "one", &["deploy"], ""),
        Server::named(&lab, "two", &["deploy"], ""),
    );
    let _watch = lab.home.watch().unwrap();
    let before = touches(&lab);
    let agent = Agent::start(&lab, &["--user", &user(), "--uses", "2", "--ttl", "25s"]);
    let out = login(&one, &agent.socket, &["echo", "in"]);
    assert_eq!(out.stdout, b"in\n", "{out:?}\n{}\n{}", one.log(), agent.said());
    assert!(is_in(&login(&one, &agent.socket, &["true"])));
    assert_eq!(touches(&lab), before + 1, "two logins at one server");
    assert!(is_in(&login(&two, &agent.socket, &["true"])));
    assert_eq!(touches(&lab), before + 2, "another server");
    assert!(is_in(&login(&one, &agent.socket, &["true"])));
    assert_eq!(touches(&lab), before + 3, "the two logins were used");
    // sshd writes down which lease it was.
    let used = lab.events().into_iter().filter(|(name, _)| name == "used").collect::<Vec<_>>();
    let id = used[0].1["lease"].as_str().unwrap().to_owned();
    assert!(one.logs(&format!("ID {id}")), "{}", one.log());
    // The clock of the daemon goes on, and the lease is over although a login is left.
    lab.clock.suspend(std::time::Duration::from_secs(26));
    lab.until("the end of the leases", || lab.count("ended") >= 3);
    assert!(is_in(&login(&two, &agent.socket, &["true"])));
    assert_eq!(touches(&lab), before + 4);
    agent.interrupt();
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn t22_from_a_host_to_which_the_agent_was_forwarded_nobody_gets_on() {
    let (lab, key) = lab("eddsa", &["deploy"], &["--max-uses", "9"]);
    let next = Server::named(&lab, "next", &["deploy"], "");
    // The first server lets in with a key of its own, which may forward.
    let keys = lab.home.path().join("authorized");
    fs::copy(key.with_extension("pub"), &keys).unwrap();
    let first = Server::named(&lab, "first", &["deploy"], &format!("AuthorizedKeysFile {}\n", keys.display()));
    let _watch = lab.home.watch().unwrap();
    let agent = Agent::start(&lab, &["--user", &user(), "--uses", "9"]);
    // A live lease for the next server makes it no better.
    assert!(is_in(&login(&next, &agent.socket, &["true"])));
    let before = (touches(&lab) + 1, lab.count("asked") + 1, lab.count("used"));
    let known = next.folder.join("known").display().to_string();
    let hop = format!(
        "test -S \"$SSH_AUTH_SOCK\" || exit 9; ssh-add -l; \
         ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o IdentityFile=none -o UserKnownHostsFile={known} -p {} -l {} 127.0.0.1 echo in",
        next.port,
        user()
    );
    // ssh looks into the agent all the same, and nothing is signed there.
    let out = ssh(
        &first,
        &agent.socket,
        &["-A", "-o", "IdentitiesOnly=yes", "-i", &key.display().to_string()],
    )
    .args(["127.0.0.1", &hop])
    .output()
    .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(255), "{said}");
    assert!(said.contains("Permission denied") && !said.contains("in\n"), "{said}");
    assert!(agent.said().contains("forwarded to another machine"), "{}", agent.said());
    assert_eq!((touches(&lab), lab.count("asked"), lab.count("used")), before);
    // A certificate of ours permits no forwarding in the first place.
    let out = ssh(&next, &agent.socket, &["-A"])
        .args(["127.0.0.1", "echo sock=$SSH_AUTH_SOCK"])
        .output()
        .unwrap();
    assert_eq!(out.stdout, b"sock=\n", "{out:?}");
    agent.interrupt();
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn t22_a_list_takes_back_what_the_agent_was_given_and_a_server_with_another_host_key_is_another_one() {
    let (lab, _) = lab("eddsa", &["deploy"], &["--max-uses", "9"]);
    let server = Server::start(&lab, &["deploy"]);
    let _watch = lab.home.watch().unwrap();
    let agent = Agent::start(&lab, &["--user", &user(), "--uses", "9"]);
    assert!(is_in(&login(&server, &agent.socket, &["true"])));
    let (_, used) = lab.events().into_iter().rfind(|(name, _)| name == "used").unwrap();
    let file = server.folder.join("krl").display().to_string();
    lab.prints(&["ssh", "krl", &file, "--lease", used["lease"].as_str().unwrap()]);
    assert!(!is_in(&login(&server, &agent.socket, &["true"])));
    // ssh does not ask for a key at a server whose host key it does not know: it has gone before.
    let before = (touches(&lab), lab.count("asked"));
    let other = Server::named(&lab, "other", &["deploy"], "");
    let known = fs::read_to_string(server.folder.join("known")).unwrap();
    fs::write(
        other.folder.join("known"),
        known.replace(&format!("]:{}", server.port), &format!("]:{}", other.port)),
    )
    .unwrap();
    let out = ssh(&other, &agent.socket, &["-o", "StrictHostKeyChecking=yes"])
        .args(["127.0.0.1", "true"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("Host key verification failed"),
        "{out:?}"
    );
    assert_eq!((touches(&lab), lab.count("asked")), before);
    agent.interrupt();
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn git_pushes_over_ssh_with_a_touch() {
    let (lab, _) = lab("es256", &["git"], &[]);
    let server = Server::start(&lab, &["git"]);
    let _watch = lab.home.watch().unwrap();
    let folder = lab.home.path().join("git");
    let git = |arguments: &[&str]| {
        let out = Command::new("git")
            .args([
                "-c",
                "user.name=me",
                "-c",
                "user.email=me@example.com",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(arguments)
            .current_dir(&folder)
            .env("HOME", &folder)
            .output()
            .unwrap();
        assert!(out.status.success(), "{arguments:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    fs::create_dir(&folder).unwrap();
    git(&["init", "-q", "--bare", "there.git"]);
    git(&["init", "-q", "here"]);
    git(&["-C", "here", "commit", "-q", "--allow-empty", "-m", "one"]);
    let known = server.folder.join("known").display().to_string();
    let ssh = format!("ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o IdentityFile=none -o UserKnownHostsFile={known}");
    let url = format!("ssh://{}@127.0.0.1:{}{}", user(), server.port, folder.join("there.git").display());
    let before = touches(&lab);
    let (user, here) = (user(), folder.join("here").display().to_string());
    let out = lab
        .home
        .detached([
            "ssh",
            "agent",
            "prod/ca",
            "--user",
            &user,
            "--",
            "git",
            "-C",
            &here,
            "push",
            "-q",
            &url,
            "HEAD:refs/heads/main",
        ])
        .env("GIT_SSH_COMMAND", ssh)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    assert_eq!(touches(&lab), before + 1);
    assert_eq!(
        git(&["-C", "there.git", "rev-parse", "main"]),
        git(&["-C", "here", "rev-parse", "HEAD"])
    );
}

#[test]
#[ignore = "needs hw-tests/with-sshd"]
fn t22_a_server_that_does_not_want_its_host_key_in_what_is_signed_is_let_alone_unless_it_is_said_to_be_old() {
    let (lab, _) = lab("eddsa", &["deploy"], &[]);
    let server = Server::start(&lab, &["deploy"]);
    let _watch = lab.home.watch().unwrap();
    // ssh itself can leave it out, as for an old server.
    let login = |agent: &Agent| {
        let mut ssh = ssh(&server, &agent.socket, &["-o", "PubkeyAuthentication=unbound"]);
        is_in(&ssh.args(["127.0.0.1", "true"]).output().unwrap())
    };
    let agent = Agent::start(&lab, &["--user", &user()]);
    assert!(!login(&agent));
    assert!(agent.said().contains("--old-server"), "{}", agent.said());
    drop(agent);
    assert!(login(&Agent::start(&lab, &["--user", &user(), "--old-server"])));
}
