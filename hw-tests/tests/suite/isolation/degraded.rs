//! `run --agent` where the kernel's Landlock is older than ABI 6, switched off, or not there: what is said, what holds all the same, and what
//! does not, as it is said.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::*;

/// What such kernels answer to the question for the ABI (landlock_create_ruleset(2)), as strace puts it in place of this one's answer. ABI 1
/// is Linux 5.13's, 5 that of 6.10; 6 brought the scopes.
const ANSWERS: [&str; 7] = [
    "error=ENOSYS",
    "error=EOPNOTSUPP",
    "retval=1",
    "retval=2",
    "retval=3",
    "retval=4",
    "retval=5",
];

/// Runs a command on such a kernel. Whatever the command asks of Landlock beside its ABI would be in the file.
fn behind_older(answer: &str, calls: &Path, command: &Command) -> Output {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-e", "trace=landlock_create_ruleset", "-e"])
        .arg(format!("inject=landlock_create_ruleset:{answer}"))
        .arg("-o")
        .arg(calls)
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    let out = strace.stdin(Stdio::null()).output().unwrap();
    let calls = fs::read_to_string(calls).unwrap();
    let asked = calls.lines().filter(|line| line.contains("landlock_create_ruleset(NULL, 0, "));
    assert!(asked.count() >= 1, "{calls}");
    assert!(
        calls.lines().all(|line| !line.contains("landlock_create_ruleset({")),
        "what this kernel lacks is asked of it: {calls}"
    );
    out
}

/// What the probe reports as open, and how many lines it has.
fn open(said: &str) -> (Vec<&str>, usize) {
    let open = said.lines().filter_map(|line| line.strip_suffix(" open"));
    (open.collect(), said.lines().count())
}

#[test]
fn t24_on_an_older_landlock_the_walls_stand_but_for_abstract_sockets_and_that_is_said() {
    if !inside("degraded::t24_on_an_older_landlock_the_walls_stand_but_for_abstract_sockets_and_that_is_said") {
        return;
    }
    let rigged = Rigged::new(NOBODY, None);
    let places = rigged.home.places().unwrap();
    let daemon = rigged.daemon_pid();
    let mut book = Command::new("sleep").arg("120").uid(NOBODY).gid(NOBODY).spawn().unwrap();
    let name = format!("@touchlease-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name[1..]).unwrap()).unwrap();
    let (_folder, probe) = for_everybody(Path::new(PROBE));
    let closed = [
        places.vault.display().to_string(),
        places.state.display().to_string(),
        places.socket().display().to_string(),
        format!("signal:{}", book.id()),
    ];
    let probed = |pid: u32| format!("{} {pid} {}", probe.display(), closed.join(" "));
    let script = format!("{} {name}; {}", probed(daemon), probed(book.id()));
    let command = rigged.home.detached(["run", "--agent", "--", "sh", "-c", &script]);
    let calls = rigged.home.path().join("calls");
    for answer in ANSWERS {
        let out = behind_older(answer, &calls, &command);
        let said = String::from_utf8(out.stdout.clone()).unwrap();
        let (reached, of) = open(&said);
        println!("T24 {answer}: {} of {of} in reach, and it is said", reached.len());
        assert_eq!((reached, of), (vec![name.as_str()], 23), "{answer} {out:?}");
        let told = String::from_utf8(out.stderr.clone()).unwrap();
        assert!(out.status.success() && told.lines().count() == 1, "{answer} {told}");
        assert!(
            told.contains("Landlock") && told.contains("abstract sockets") && told.contains("6.12"),
            "{told}"
        );
        assert!(!told.contains("signal"), "signals are held by the PID namespace: {told}");
    }
    // Here, with this kernel's own Landlock, nothing is to be said, and it is closed.
    let mut as_it_is = rigged.home.detached(["run", "--agent", "--", "sh", "-c", &script]);
    let out = as_it_is.stdin(Stdio::null()).output().unwrap();
    assert_eq!(open(&String::from_utf8(out.stdout.clone()).unwrap()), (vec![], 23), "{out:?}");
    assert!(out.stderr.is_empty(), "{out:?}");
    book.kill().unwrap();
    book.wait().unwrap();
}

#[test]
fn t24_where_there_are_neither_namespaces_nor_scopes_nothing_holds_and_that_is_said() {
    if !inside("degraded::t24_where_there_are_neither_namespaces_nor_scopes_nothing_holds_and_that_is_said") {
        return;
    }
    let rigged = Rigged::without_vault(NOBODY, None);
    let mut book = Command::new("sleep").arg("60").uid(NOBODY).gid(NOBODY).spawn().unwrap();
    // No user namespace is made from a changed root (user_namespaces(7)).
    let root = tempfile::tempdir().unwrap();
    let bound = Command::new("mount").args(["--rbind", "/"]).arg(root.path()).status().unwrap();
    assert!(bound.success());
    let calls = rigged.home.path().join("calls");
    let (_folder, program) = for_everybody(&product());
    let in_root = |words: &[&str]| {
        let mut command = rigged.home.command([""; 0]);
        let variables: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command = Command::new("chroot");
        command
            .arg(format!("--userspec={NOBODY}:{NOBODY}"))
            .args([root.path(), &program])
            .args(words)
            .env_clear()
            .envs(variables)
            .current_dir("/");
        command
    };
    let signals = format!("kill -0 {} && echo signalled; echo ran", book.id());
    for answer in ["error=EOPNOTSUPP", "retval=5"] {
        let out = behind_older(
            answer,
            &calls,
            &in_root(&["--json", "run", "--agent", "--", "touch", "/tmp/touchlease-ran"]),
        );
        assert_eq!(out.status.code(), Some(62), "{answer} {out:?}");
        assert!(
            holds(&out.stdout, "no_walls") && !Path::new("/tmp/touchlease-ran").exists(),
            "{out:?}"
        );
        let out = behind_older(
            answer,
            &calls,
            &in_root(&["run", "--agent=best-effort", "--", "sh", "-c", &signals]),
        );
        assert_eq!(
            (out.status.code(), out.stdout.as_slice()),
            (Some(0), &b"signalled\nran\n"[..]),
            "{answer} {out:?}"
        );
        for told in [
            "within the agent's reach",
            "nothing holds this agent",
            "can signal your other programs",
        ] {
            assert!(holds(&out.stderr, told), "{answer} {told} {out:?}");
        }
    }
    let unbound = Command::new("umount")
        .args(["--recursive", "--lazy"])
        .arg(root.path())
        .status()
        .unwrap();
    assert!(unbound.success());
    book.kill().unwrap();
    book.wait().unwrap();
}
