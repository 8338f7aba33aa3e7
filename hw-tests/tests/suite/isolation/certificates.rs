//! `run --agent` behind a proxy: the file of certificates is seen by what the agent starts in a sandbox of its own, and by nobody afterwards.

use super::*;
use crate::proxy::upstream::Upstream;

/// As Codex 0.171 and sandbox-runtime 0.0.83 call bubblewrap where the command keeps its network: all of the machine to read, and a `/dev` of
/// its own.
const SANDBOX: &str =
    "bwrap --new-session --die-with-parent --ro-bind / / --dev /dev --bind \"$PWD\" \"$PWD\" --unshare-user --unshare-pid --proc /proc --";

/// From within that sandbox: the use of the credential; what lies beside the file; what can be changed there.
const LOOKS: &str = r#"
curl -sS -m 20 -w ' %{http_code}\n' -H "Authorization: Bearer $TOKEN" GRANTED/api/x
ls -A "$SSL_CERT_DIR" | wc -l
grep -c 'PRIVATE KEY' "$SSL_CERT_FILE"
ls -A /dev/shm | wc -l
(echo x >> "$SSL_CERT_FILE") 2> /dev/null || echo kept
(rm -rf "$SSL_CERT_DIR") 2> /dev/null || echo kept
echo "$SSL_CERT_FILE"
"#;

/// Folders of runs in memory, by name.
fn in_memory() -> BTreeSet<String> {
    let names = fs::read_dir("/dev/shm").unwrap().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("touchlease-run-")).collect()
}

#[test]
fn t24_p7_a_sandbox_that_an_agent_makes_sees_the_certificates_and_nothing_else_of_ours() {
    if !inside("certificates::t24_p7_a_sandbox_that_an_agent_makes_sees_the_certificates_and_nothing_else_of_ours") {
        return;
    }
    // No other test's.
    emptied("/dev/shm", NOBODY);
    let (folder, _) = for_everybody(Path::new(PROBE));
    let (rigged, authority) = outside::ready(folder.path());
    let upstream = Upstream::tls(&authority, &["localhost"]);
    fs::write(rigged.home.work().join("value"), CANARY).unwrap();
    let put = ["put", "prod/TOKEN", "--from-file", "value", "--host", &upstream.host()];
    shows(&rigged.home, &put, 0, &[]);
    fs::remove_file(rigged.home.work().join("value")).unwrap();
    let _watch = rigged.home.watch().unwrap();
    fs::write(rigged.home.work().join("looks.sh"), LOOKS.replace("GRANTED", &upstream.url(""))).unwrap();
    let script = format!("{SANDBOX} sh looks.sh");
    let out = rigged.agent(&["run", "--agent", "--with", "prod/TOKEN", "--", "sh", "-c", &script]);
    let said = String::from_utf8(out.stdout.clone()).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(out.status.success() && lines.len() == 7, "{out:?}");
    assert_eq!(lines[..6], ["fine 200", "1", "0", "0", "kept", "kept"], "{out:?}");
    assert!(!Path::new(lines[6]).exists() && in_memory().is_empty(), "{said}");
    println!("T24 certificates: a sandbox behind the walls used the credential, and saw 1 file of ours");
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn t45_what_a_killed_run_of_an_agent_left_in_memory_the_next_one_removes() {
    if !inside("certificates::t45_what_a_killed_run_of_an_agent_left_in_memory_the_next_one_removes") {
        return;
    }
    // No other test's.
    emptied("/dev/shm", NOBODY);
    let (folder, _) = for_everybody(Path::new(PROBE));
    let (rigged, _authority) = outside::ready(folder.path());
    let started = rigged.home.work().join("started");
    let script = "echo \"$SSL_CERT_FILE\" > started; exec sleep 60";
    let mut run = rigged.background(&["run", "--agent", "--proxy", "--", "sh", "-c", script]);
    until("the agent", || fs::read(&started).is_ok_and(|text| text.ends_with(b"\n")));
    // The certificates, and the folder of its servers' socket.
    let left = in_memory();
    assert_eq!(left.len(), 2, "{left:?}");
    let seen = fs::read_to_string(&started).unwrap();
    let named = Path::new(seen.trim()).parent().unwrap().file_name().unwrap().to_str().unwrap();
    assert!(left.contains(named), "{seen} {left:?}");
    signal(run.id(), "KILL");
    run.wait().unwrap();
    assert!(in_memory().is_superset(&left), "SIGKILL leaves time for nothing");
    shows(&rigged.home, &["run", "--agent", "--", "true"], 0, &[]);
    assert!(in_memory().is_disjoint(&left), "{:?} of {left:?}", in_memory());
    println!("T45 certificates: 0 folders of a killed run left");
}
