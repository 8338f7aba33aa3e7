//! What is left in memory, in core files, logs and files.

use super::*;

#[test]
fn t47_no_core_of_daemon_worker_or_command() {
    if !inside("memory::t47_no_core_of_daemon_worker_or_command") {
        return;
    }
    // The machine can write cores at all.
    let wrapper = ["sh", "-c", "ulimit -c unlimited; exec \"$0\" \"$@\""];
    let control = Command::new("sh")
        .args(["-c", "ulimit -c unlimited; kill -SEGV $$"])
        .current_dir("/tmp")
        .status()
        .unwrap();
    assert!(control.core_dumped(), "this machine writes no cores: {control:?}");
    let mut rigged = Rigged::new(0, Some(&wrapper));
    let _watch = rigged.home.watch().unwrap();
    rigged.key.never().unwrap();
    let asks = rigged.background(&["--json", "run", "--with", "prod/TOKEN", "--", "true"]);
    assert!(rigged.key.await_asked(PATIENCE).unwrap());
    // A worker that dies takes its request with it, or is replaced; in no case is there a core.
    signal(child(rigged.daemon_pid(), "key-worker"), "SEGV");
    std::thread::sleep(Duration::from_millis(300));
    // Its command is to have the caller's limit again, so `run` keeps the hard one.
    let falls = rigged.background(&["--json", "run", "--with", "prod/TOKEN", "--", "true"]);
    std::thread::sleep(Duration::from_millis(300));
    let limit = ["--core=unlimited:unlimited", "--pid", &falls.id().to_string()];
    assert!(Command::new("prlimit").args(limit).status().unwrap().success());
    falls_without_core(falls);
    rigged.fall();
    let out = asks.wait_with_output().unwrap();
    assert!(!out.status.success());
    let cores = ["/", "/tmp"].map(PathBuf::from).into_iter().chain([rigged.home.work()]);
    let young = |entry: &fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name == "core" || name.starts_with("core.")) && entry.path().parent() != Some(Path::new("/tmp"))
    };
    let found: Vec<_> = cores
        .flat_map(|folder| fs::read_dir(folder).unwrap().flatten())
        .filter(young)
        .map(|entry| entry.path())
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn t45_a_worker_has_its_socket_and_neither_argument_nor_environment_nor_output() {
    if !inside("memory::t45_a_worker_has_its_socket_and_neither_argument_nor_environment_nor_output") {
        return;
    }
    let rigged = Rigged::new(0, None);
    let _watch = rigged.home.watch().unwrap();
    rigged.key.never().unwrap();
    let asks = rigged.background(&["run", "--with", "prod/TOKEN", "--", "true"]);
    assert!(rigged.key.await_asked(PATIENCE).unwrap());
    for what in ["key-worker", "key-watch"] {
        let pid = child(rigged.daemon_pid(), what);
        let of = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap();
        let (line, environment) = (of("cmdline"), of("environ"));
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        assert!(words.len() == 3 && words[1] == what.as_bytes() && words[2].is_empty(), "{words:?}");
        assert!(environment.is_empty(), "{what}: {}", String::from_utf8_lossy(&environment));
        let open = [0, 1, 2].map(|number| fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap());
        assert!(open[0].to_string_lossy().starts_with("socket:"), "{what}: {open:?}");
        assert!(open[1..].iter().all(|path| path == Path::new("/dev/null")), "{what}: {open:?}");
    }
    rigged.key.press().unwrap();
    assert!(asks.wait_with_output().unwrap().status.success());
}

/// How often `part` is in the memory of a process.
fn in_memory(pid: u32, part: &str) -> usize {
    use std::os::unix::fs::FileExt;
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut found = 0;
    for line in maps
        .lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with('r')) && !line.contains("[vvar"))
    {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // A part that cannot be read holds nothing for anybody.
        let read = memory.read_at(&mut bytes, from).unwrap_or(0);
        found += memchr::memmem::find_iter(&bytes[..read], part).count();
    }
    found
}

#[test]
fn p5_the_leader_of_a_commands_session_keeps_nothing_of_its_environment() {
    if !inside("memory::p5_the_leader_of_a_commands_session_keeps_nothing_of_its_environment") {
        return;
    }
    let rigged = Rigged::new(0, None);
    rigged.key.grant().unwrap();
    let command = [
        "run",
        "--with",
        "TOKEN=prod/TOKEN",
        "--",
        "sh",
        "-c",
        "echo it be\"\"gins; read line",
    ];
    let mut screen = rigged.home.terminal(command).unwrap();
    screen.expect("it begins").unwrap();
    let monitor = child(screen.pid(), "touchlease");
    let command = child(monitor, "read line");
    // Its copy of what is masked stays: it is this process's memory of its start.
    let variable = format!("TOKEN={CANARY}");
    assert!(in_memory(command, &variable) > 0, "it is not looked for where it is");
    assert_eq!(in_memory(monitor, &variable), 0);
    screen.type_in("\n").unwrap();
    assert!(screen.finish().unwrap().0.success());
}

/// Leases of the everyday run, and of the long one.
const LEASES: usize = 12;
const LONG: usize = 1000;
/// A person's terminal is asked at most 60 times in ten minutes, by one daemon.
const BY_ONE_DAEMON: usize = 50;
/// A value of this case alone: others keep theirs in memory folders meanwhile.
const TRACED: &str = "incorrect-mule-capacitor-1937";

#[test]
fn t45_the_canary_is_in_no_memory_of_the_daemon_after_the_lease_and_in_no_log_at_trace() {
    if inside("memory::t45_the_canary_is_in_no_memory_of_the_daemon_after_the_lease_and_in_no_log_at_trace") {
        leaves_nothing(LEASES, 1);
    }
}

#[test]
#[ignore = "long"]
fn t45_the_canary_is_nowhere_after_1000_leases_at_trace() {
    if inside("memory::t45_the_canary_is_nowhere_after_1000_leases_at_trace") {
        leaves_nothing(LONG, 20);
    }
}

/// The product at trace level, allowed to dump core, on a real smart-card stack: leases of every delivery, and then a look for what
/// they left in files, logs, command lines, messages, and at every so many'th in the daemon's memory.
fn leaves_nothing(of: usize, look_at_every: usize) {
    let forms = forms(TRACED);
    let wrapper = ["env", "TOUCHLEASE_LOG=trace", "sh", "-c", "ulimit -c unlimited; exec \"$0\" \"$@\""];
    let mut rigged = Rigged::new(0, Some(&wrapper));
    rigged.put("prod/TRACED", TRACED);
    let scripts = [
        "echo got-$TRACED; echo $TRACED | base64",
        "cat $TRACED; echo; od -An -tx1 $TRACED | tr -d ' \\n'; echo got-",
        "echo got-; printf 'x%s' $TRACED | base32 >&2",
        "echo got-; kill -9 $$",
    ];
    let command_lines = CommandLines::watch(TRACED);
    let (mut clean, mut looks, mut live) = (0, 0, 0);
    for k in 0..of {
        if k % BY_ONE_DAEMON == BY_ONE_DAEMON - 1 {
            rigged.renew(&wrapper);
        }
        let daemon = rigged.daemon_pid();
        let with = if k % 4 == 1 { "--with-file" } else { "--with" };
        // It stays until it is read from, so that there is a moment to look in.
        let script = format!("{}; read -r line", scripts[k % 4]);
        let run = ["run", with, "prod/TRACED", "--", "sh", "-c", &script];
        let mut terminal = rigged.home.terminal(run).unwrap();
        // The prompt shows the command too.
        terminal.expect("approved").unwrap();
        terminal.expect("got-").unwrap();
        let look = k % look_at_every == 0;
        // Its one place is memory that not even root can look into, where the kernel has memfd_secret(2).
        live += if look { in_memory(daemon, TRACED) } else { 0 };
        // The fourth has ended by now.
        let _ = terminal.type_in("\n");
        let (status, shown) = terminal.finish().unwrap();
        assert_eq!(status.success(), k % 4 != 3, "{shown}");
        assert_eq!(leaks(shown.as_bytes(), &forms), 0, "{shown}");
        until("the end", || rigged.status()["leases"] == 0);
        if look {
            let after: usize = [TRACED, &data_encoding::BASE64.encode(TRACED.as_bytes())]
                .iter()
                .map(|form| in_memory(daemon, form))
                .sum();
            assert_eq!(after, 0, "in memory after lease {k} of {of}");
            looks += 1;
        }
        clean += 1;
    }
    let (lines, hits) = command_lines.seen();
    assert!(hits == 0 && lines > of, "{hits} of {lines} command lines");
    // With a lease alive it is made to fall.
    let _watch = rigged.home.watch().unwrap();
    let holder = rigged.holding(&["--with", "prod/TRACED"]);
    assert!(
        in_memory(rigged.daemon_pid(), "touchlease:lease") > 0,
        "the search finds what there is"
    );
    rigged.fall();
    drop(holder);
    let files = left_behind(rigged.home.path());
    assert!(
        !files
            .iter()
            .any(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")))
    );
    let dirty: Vec<_> = files
        .iter()
        .filter(|file| leaks(&fs::read(file).unwrap_or_default(), &forms) > 0)
        .collect();
    assert!(dirty.is_empty(), "{dirty:?}");
    let log = fs::read(rigged.home.path().join("daemon.out")).unwrap();
    assert!(holds(&log, "listening"), "{}", String::from_utf8_lossy(&log));
    println!(
        "T45 trace: {clean} of {of} leases, 0 hits in {} files, {lines} command lines, {looks} looks into the daemon's memory ({live} while leases lived), {} bytes of log",
        files.len(),
        log.len()
    );
}
