//! What the daemon opens and runs: nothing that a client names.

use super::*;

/// Paths that a traced process opened or ran.
fn opened(trace: &Path) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(&fs::read(trace).unwrap()).into_owned();
    let calls = text.lines().filter(|line| line.contains("open") || line.contains("exec"));
    calls.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

#[test]
fn t21_nothing_that_a_client_names_is_loaded_or_read() {
    if !inside("loading::t21_nothing_that_a_client_names_is_loaded_or_read") {
        return;
    }
    let trace = tempfile::tempdir().unwrap();
    let file = trace.path().join("trace");
    let path = file.display().to_string();
    let rigged = Rigged::new(
        0,
        Some(&[
            "strace",
            "-f",
            "-qq",
            "-s",
            "4096",
            "-e",
            "trace=open,openat,openat2,execve,execveat",
            "-o",
            &path,
        ]),
    );
    let _watch = rigged.home.watch().unwrap();
    let evil = rigged.home.path().join("evil");
    fs::create_dir(&evil).unwrap();
    let below = |name: &str| evil.join(name).display().to_string();
    fs::write(evil.join("lib.so"), "").unwrap();
    fs::write(
        rigged.home.work().join("touchlease.toml"),
        "[task.job]\nabout = \"x\"\n[[task.job.grant]]\nsecret = \"prod/TOKEN\"\nvia = \"env\"\nenv = \"TOKEN\"\n",
    )
    .unwrap();
    let run = || {
        let mut run = rigged.home.detached(["run", "--task", "job", "--", "true"]);
        run.envs([
            ("LD_PRELOAD", below("lib.so")),
            ("LD_LIBRARY_PATH", below("lib")),
            ("TOUCHLEASE_LOG", below("log")),
            ("SSH_ASKPASS", below("askpass")),
            ("PINENTRY_USER_DATA", below("pinentry")),
            ("PCSCLITE_CSOCK_NAME", below("pcscd")),
            ("TMPDIR", below("tmp")),
        ]);
        run.env("TOUCHLEASE_VAULT", rigged.home.places().unwrap().vault)
            .stdin(Stdio::null());
        run
    };
    let out = run().output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    // Other places are other daemons': this one does nothing for the client, and looks at none of them.
    for (variable, name) in [("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state")] {
        let out = run().env(variable, below(name)).output().unwrap();
        assert_eq!(out.status.code(), Some(69), "{out:?}");
    }
    // Names on the wire open nothing either.
    let hostile = below("named");
    let mut call = lease_call(json!({"reason": hostile, "command": [hostile], "labels": {"AI_AGENT": hostile}}));
    call["request"]["task"] = json!({"name": "x", "file": format!("about = \"{hostile}\"")});
    let mut command = Command::new(WIRECAT);
    command.args([
        "call",
        &rigged.home.places().unwrap().socket().display().to_string(),
        &call.to_string(),
    ]);
    assert_eq!(Caller::start(command).reply().unwrap()["reply"], "failed");
    let paths = opened(&file);
    assert!(
        paths.len() > 20 && paths.iter().any(|path| path.contains("pcsc")),
        "the trace holds workers too: {paths:?}"
    );
    let named: Vec<_> = paths
        .iter()
        .filter(|path| path.contains("/evil") || path.ends_with("touchlease.toml"))
        .collect();
    assert!(named.is_empty(), "{named:?}");
    println!("T21: {} paths, none that the client named", paths.len());
}

/// ld.so(8): with this variable the loader names what it would load, and starts nothing.
#[test]
fn no_command_starts_by_loading_what_only_workers_call() {
    let said = Command::new(product()).env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap();
    let libraries = String::from_utf8(said.stdout).unwrap();
    assert!(libraries.contains("libc.so"), "{libraries}");
    for late in ["libpcsclite", "libudev"] {
        assert!(!libraries.contains(late), "{libraries}");
    }
}

#[test]
fn t21_a_daemon_that_a_client_starts_inherits_nothing_of_its_environment() {
    if !inside("loading::t21_a_daemon_that_a_client_starts_inherits_nothing_of_its_environment") {
        return;
    }
    let rigged = Rigged::without_vault(0, None);
    let mut command = rigged.home.detached(["--json", "status"]);
    let hostile = [
        ("LD_PRELOAD", "/nope/lib.so"),
        ("LD_AUDIT", "/nope/audit.so"),
        ("PCSCLITE_CSOCK_NAME", "/nope/pcscd"),
        ("RUST_BACKTRACE", "1"),
    ];
    let out = command
        .envs(hostile)
        .env("PATH", "/nope:/usr/bin:/bin")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let status: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
    let environment = fs::read(format!("/proc/{}/environ", status["pid"])).unwrap();
    let names: BTreeSet<_> = environment
        .split(|b| *b == 0)
        .filter_map(|pair| pair.split(|b| *b == b'=').next())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let allowed = [
        "",
        "HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "XDG_RUNTIME_DIR",
        "TOUCHLEASE_LOG",
    ];
    assert!(
        names.contains("HOME") && names.iter().all(|name| allowed.contains(&name.as_str())),
        "{names:?}"
    );
    assert!(!holds(&environment, "/nope"));
}

/// Processes of `trace` that descend from `first`, itself included.
fn family(trace: &str, first: &str) -> std::collections::BTreeSet<String> {
    let mut family = std::collections::BTreeSet::from([first.to_owned()]);
    for line in trace.lines() {
        let (pid, call) = line.split_once(' ').unwrap_or_default();
        let started = ["clone", "fork"].iter().any(|word| call.contains(word));
        if let (true, Some((_, child))) = (started && family.contains(pid), call.rsplit_once("= ")) {
            family.insert(child.trim().to_owned());
        }
    }
    family
}

#[test]
fn t21_the_daemon_opens_no_file_that_a_client_or_its_environment_names() {
    let home = Home::new(product()).unwrap();
    // Everything that a client can name is called canary, and is there to be opened.
    let canary = home.path().join("canary");
    fs::create_dir(&canary).unwrap();
    let named = |name: &str| {
        let file = canary.join(name);
        fs::write(&file, "[task.canary]\nabout = \"x\"\ncommand = [\"/canary\"]\n").unwrap();
        file.display().to_string()
    };
    let library = named("canary.so");
    let poison = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "GCONV_PATH",
        "SSH_SK_PROVIDER",
        "PCSCLITE_CSOCK_NAME",
        "OPENSSL_CONF",
        "RUST_LOG",
    ];
    let poison = poison.map(|name| (name, library.clone()));
    let trace = home.path().join("trace");
    let start = home.command(["--json", "status"]);
    let mut traced = Command::new("strace");
    traced
        .args([
            "-f",
            "-q",
            "-s",
            "512",
            "-e",
            "trace=execve,open,openat,openat2,clone,clone3,fork,vfork",
            "-o",
        ])
        .arg(&trace)
        .args(["env", "-C"])
        .arg(&canary)
        .args(poison.iter().map(|(name, value)| format!("{name}={value}")))
        .arg(product())
        .args(["--json", "status"])
        .env_clear()
        .envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // It stays with the daemon that the client starts, until that ends.
    let mut traced = traced
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(traced.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let daemon = serde_json::from_str::<Value>(&said).unwrap()["pid"].to_string();
    let env_file = named("canary.env");
    let vault = canary.display().to_string();
    for arguments in [
        &["run", "--task", "canary", "--", "/canary/program"][..],
        &["run", "--env-file", &env_file, "--with", "prod/CANARY", "--", "/canary/program"],
        &["put", "prod/CANARY", "--from-file", &library],
        &["key", "list"],
        &["--vault", &vault, "list"],
    ] {
        let mut client = home.command(arguments);
        client
            .envs(poison.clone())
            .current_dir(&canary)
            .stdin(Stdio::null())
            .output()
            .unwrap();
    }
    signal(daemon.parse().unwrap(), "TERM");
    traced.wait().unwrap();
    let trace = fs::read_to_string(&trace).unwrap();
    let family = family(&trace, &daemon);
    let opened: Vec<&str> = trace
        .lines()
        .filter(|line| {
            line.split_once(' ')
                .is_some_and(|(pid, call)| family.contains(pid) && call.contains("open"))
        })
        .collect();
    println!("T21: {} files opened by {} processes", opened.len(), family.len());
    // The trace sees what there is to see: the daemon's own files, and that the client did load what its environment names.
    assert!(opened.iter().any(|line| line.contains("touchlease/config.toml")), "{opened:?}");
    assert!(family.len() > 1 && trace.contains("canary.so\", O_RDONLY"), "{trace}");
    // A vault that a client names is looked at as a folder, never as a program or library.
    let of_clients = opened
        .iter()
        .filter(|line| line.contains("canary") && !line.contains("O_DIRECTORY"));
    assert_eq!(of_clients.collect::<Vec<_>>(), Vec::<&&str>::new());
}
