//! What is left in memory, in core files, logs and files.

use touchlease::vault::{RecoveryCode, Vault};

use super::*;
use crate::lab;

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
    any_in_memory(pid, &[part])
}

/// How often any of `parts` is.
fn any_in_memory<P: AsRef<[u8]>>(pid: u32, parts: &[P]) -> usize {
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
        let times = |part: &P| memchr::memmem::find_iter(&bytes[..read], part.as_ref()).count();
        found += parts.iter().map(times).sum::<usize>();
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
/// A private key as it is in memory, each form in halves: its bytes, its words, and its words as `ring` has a P-256 scalar (times 2^256 modulo the order).
fn forms_of_key(private: &[u8]) -> Vec<Vec<u8>> {
    const ORDER: (u128, u128) = (0xffff_ffff_0000_0000_ffff_ffff_ffff_ffff, 0xbce6_faad_a717_9e84_f3b9_cac2_fc63_2551);
    let half = |at: usize| u128::from_be_bytes(private[at..at + 16].try_into().unwrap());
    let (mut high, mut low) = (half(0), half(16));
    let words = |high: u128, low: u128| [low.to_le_bytes(), high.to_le_bytes()].map(|half| half.to_vec());
    let mut forms = words(high, low).to_vec();
    for _ in 0..256 {
        let carried = high >> 127 == 1;
        (high, low) = (high << 1 | low >> 127, low << 1);
        if carried || (high, low) >= ORDER {
            let (rest, borrowed) = low.overflowing_sub(ORDER.1);
            (high, low) = (high.wrapping_sub(ORDER.0).wrapping_sub(u128::from(borrowed)), rest);
        }
    }
    forms.extend(words(high, low));
    forms.extend(private.chunks(16).map(<[u8]>::to_vec));
    forms
}

/// The keys are known here by the recovery code: nobody else gets at them.
#[test]
fn t45_a_sealed_signers_keys_are_in_no_memory_of_the_daemon_after_a_lease() {
    if !inside("memory::t45_a_sealed_signers_keys_are_in_no_memory_of_the_daemon_after_a_lease") {
        return;
    }
    const AUD: &str = "https://registry.example.com";
    let rigged = Rigged::without_vault(0, None);
    let shown = shows(&rigged.home, &["init", "--key", "blue"], 0, &[]);
    let is_code = |word: &&str| word.split('-').count() == 9 && word.split('-').all(|group| group.len() == 4);
    let code = RecoveryCode::parse(shown.split_whitespace().find(is_code).unwrap()).unwrap();
    let places = rigged.home.places().unwrap();
    let (mut forms, mut found) = (vec![], 0);
    for alg in ["es256", "eddsa"] {
        let add = [
            "signer",
            "add",
            alg,
            "--scope",
            "prod",
            "--alg",
            alg,
            "--issuer",
            "https://id.example.com",
            "--aud",
            AUD,
            "--max-uses",
            "3",
        ];
        shows(&rigged.home, &add, 0, &[]);
        let vault = Vault::open(&places.vault, &places.state).unwrap();
        let keys = vault.unseal_with_recovery(&code, "prod", alg).unwrap();
        forms.extend(keys.expose().chunks(32).flat_map(forms_of_key));
    }
    let daemon = rigged.daemon_pid();
    for alg in ["es256", "eddsa"] {
        let name = format!("prod/{alg}");
        shows(&rigged.home, &["token", &name, "--aud", AUD, "--uses", "3"], 0, &[]);
        until("the end", || lab::status(&rigged.home)["leases"] == 0);
        found += any_in_memory(daemon, &forms);
    }
    assert!(in_memory(daemon, "touchlease:lease") > 0, "the search finds what there is");
    assert_eq!(found, 0);
    println!(
        "T45 signers in memory: {found} hits of {} forms of 4 keys, after 6 tokens",
        forms.len()
    );
}

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
        until("the end", || lab::status(&rigged.home)["leases"] == 0);
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
