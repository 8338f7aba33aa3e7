//! What a secret must not leave behind, what a stranger must not hear, and a daemon that is talked to in bad frames.

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use data_encoding::{BASE32, BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use hw_tests::key::KeyHandle;
use serde_json::{Value, json};

use crate::lab::{CANARY, Lab, PATIENCE, WIRECAT, holds, lease_call};

/// The encodings of a value that masking knows: raw, base64 and base32 at every offset, hexadecimal, URL, backslash-u.
pub fn forms(value: &str) -> Vec<Vec<u8>> {
    forms_of(value.as_bytes())
}

/// The same of bytes that are no text.
pub fn forms_of(raw: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![raw.to_vec(), HEXLOWER.encode(raw).into_bytes(), HEXUPPER.encode(raw).into_bytes()];
    let inner = |text: String, from: usize| text.trim_end_matches('=').as_bytes()[from..text.trim_end_matches('=').len() - 2].to_vec();
    for offset in 0..5 {
        let shifted = [&vec![b'x'; offset][..], raw].concat();
        forms.push(inner(BASE64.encode(&shifted), 8));
        forms.push(inner(BASE64URL_NOPAD.encode(&shifted), 8));
        forms.push(inner(BASE32.encode(&shifted), 8));
    }
    forms.push(raw.iter().flat_map(|b| format!("%{b:02x}").into_bytes()).collect());
    forms.push(raw.iter().flat_map(|b| format!("\\u{b:04x}").into_bytes()).collect());
    forms
}

pub fn leaks(bytes: &[u8], forms: &[Vec<u8>]) -> usize {
    forms.iter().filter(|form| memchr::memmem::find(bytes, form).is_some()).count()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![];
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => all.extend(files(&path)),
            Ok(meta) if meta.is_file() => all.push(path),
            _ => {}
        }
    }
    all
}

/// What a home left behind: its files, and private files in memory.
pub fn left_behind(home: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.path());
    let private = folders.filter(|path| path.to_string_lossy().contains("touchlease-run-"));
    private.flat_map(|folder| files(&folder)).chain(files(home)).collect()
}

/// Looks at what every process of the machine was started with until asked what it saw.
pub struct CommandLines {
    stop: Arc<AtomicBool>,
    looking: thread::JoinHandle<(usize, usize)>,
}

impl CommandLines {
    /// At command lines, for a value.
    pub fn watch(value: &str) -> Self {
        Self::watch_for(forms(value), &["cmdline"])
    }

    /// At these files of processes (proc(5)), for these texts.
    pub fn watch_for(forms: Vec<Vec<u8>>, files: &'static [&'static str]) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let looking = thread::spawn(move || {
            let (mut looks, mut hits) = (0, 0);
            // Whoever was there at the beginning is seen, however soon the end is.
            loop {
                let last = stopped.load(Ordering::Relaxed);
                for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                    for file in files {
                        let line = std::fs::read(entry.path().join(file)).unwrap_or_default();
                        looks += usize::from(!line.is_empty());
                        hits += leaks(&line, &forms);
                    }
                }
                if last {
                    return (looks, hits);
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, looking }
    }

    /// How many were looked at, and how often the value stood in one.
    pub fn seen(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.looking.join().unwrap()
    }
}

/// A value that no other test has, nor this one in another process.
fn a_canary() -> String {
    format!("correct-horse-{}-of-its-own", std::process::id())
}

/// A process with this on its command line.
fn holding(word: &str) -> Child {
    Command::new("sleep").arg0(word).arg("60").spawn().unwrap()
}

#[test]
fn t45_a_canary_on_a_command_line_is_seen_there() {
    let canary = a_canary();
    let mut holder = holding(&canary);
    let (_, hits) = CommandLines::watch(&canary).seen();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(hits > 0);
}

#[test]
fn t45_the_canary_is_in_no_file_no_command_line_and_no_message() {
    const N: usize = 24;
    let canary = a_canary();
    let forms = forms(&canary);
    assert!(leaks(format!("x{canary}").as_bytes(), &forms) > 0 && leaks(BASE64.encode(canary.as_bytes()).as_bytes(), &forms) > 0);
    let lab = Lab::new();
    lab.put("prod/TOKEN", canary.as_bytes(), &[]);
    let watch = lab.home.watch().unwrap();
    // What another test does meanwhile.
    let mut other = holding(CANARY);
    let command_lines = CommandLines::watch(&canary);
    let mut clean = 0;
    for k in 0..N {
        lab.clock.suspend(Duration::from_secs(70));
        let child = match k % 4 {
            0 => vec![
                "run",
                "--with",
                "prod/TOKEN",
                "--",
                "sh",
                "-c",
                "echo $TOKEN; echo $TOKEN | base64 >&2",
            ],
            1 => vec![
                "run",
                "--with-file",
                "F=prod/TOKEN",
                "--",
                "sh",
                "-c",
                "cat $F; od -An -tx1 $F | tr -d ' \\n'",
            ],
            2 => vec!["--json", "run", "--with", "prod/TOKEN", "--", "no-such-program"],
            _ => vec![
                "run",
                "--with",
                "prod/TOKEN",
                "--",
                "sh",
                "-c",
                "printf 'x%s' $TOKEN | base32; kill -9 $$",
            ],
        };
        let out = lab.agent_to_its_end(&child);
        let found = leaks(&out.stdout, &forms) + leaks(&out.stderr, &forms);
        assert_eq!(
            found,
            0,
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        clean += 1;
    }
    let (looks, hits) = command_lines.seen();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(hits, 0, "on a command line");
    assert!(looks > N);
    let files = left_behind(lab.home.path());
    let dirty: Vec<_> = files
        .iter()
        .filter(|file| leaks(&std::fs::read(file).unwrap_or_default(), &forms) > 0)
        .collect();
    assert!(dirty.is_empty(), "{dirty:?}");
    assert_eq!(leaks(watch.output().as_bytes(), &forms), 0);
    println!(
        "T45: {clean} of {N} leases, 0 hits in {} files, {looks} command lines, {} forms",
        files.len(),
        forms.len()
    );
}

#[test]
fn t46_output_is_masked_through_a_pipe_and_through_a_terminal() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let script = "echo $TOKEN; echo -n $TOKEN | base64; echo -n $TOKEN | od -An -tx1 | tr -d ' \\n'; echo; for c in $(echo $TOKEN | fold -w1); do printf %s $c; sleep 0.002; done; echo; echo $TOKEN >&2";
    let out = lab.agent_to_its_end(&["run", "--with", "prod/TOKEN", "--", "sh", "-c", script]);
    let piped = [out.stdout, out.stderr].concat();
    let shown = lab.person(&["run", "--with", "prod/TOKEN", "--", "sh", "-c", script]);
    for (how, output) in [("pipe", piped), ("terminal", shown.into_bytes())] {
        let text = String::from_utf8_lossy(&output);
        assert_eq!(leaks(&output, &forms(CANARY)), 0, "{how}: {text}");
        assert_eq!(text.matches("<touchlease:prod/TOKEN").count(), 5, "{how}: {text}");
    }
}

/// Talks to the daemon as another user would.
fn as_nobody(lab: &Lab, call: &Value) -> std::process::Output {
    // The folders are closed to others; what is tested here is what stands behind that.
    for folder in [
        lab.home.path().to_owned(),
        lab.home.path().join("run"),
        lab.home.places().unwrap().runtime,
    ] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::set_permissions(lab.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let program = lab.home.path().join("wirecat");
    std::fs::copy(WIRECAT, &program).unwrap();
    let mut command = Command::new(program);
    command
        .args(["call", &lab.socket(), &call.to_string()])
        .uid(65534)
        .gid(65534)
        .current_dir("/");
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn t44_another_user_hears_only_that_he_is_one() {
    let lab = Lab::new();
    let there = as_nobody(&lab, &lease_call(json!({})));
    let said: Value = serde_json::from_slice(&there.stdout).unwrap_or_else(|_| panic!("{there:?}"));
    assert_eq!(
        (said["outcome"].as_str(), said["reason"].as_str()),
        (Some("refused"), Some("peer")),
        "{said}"
    );
    let mut absent = lease_call(json!({}));
    absent["request"]["with"][0]["secret"] = json!("prod/NOT_THERE");
    let calls = [
        absent,
        json!({"v": 1, "request": {"do": "list"}}),
        json!({"v": 1, "vault": "/nope", "request": {"do": "status"}}),
        json!("nonsense"),
    ];
    for call in calls {
        let answer = as_nobody(&lab, &call);
        assert_eq!(answer.stdout, there.stdout, "{call}: another answer tells something");
    }
    assert!(!holds(&there.stdout, "TOKEN") && !holds(&there.stdout, "vault"), "{said}");
    assert_eq!(
        lab.count("asked"),
        lab.count("change"),
        "nothing that a stranger says is written down"
    );
}

#[test]
fn t25_a_socket_or_folder_that_is_not_ours_alone_is_not_used() {
    let mut lab = Lab::new();
    drop(lab.daemon.take());
    let runtime = lab.home.places().unwrap().runtime;
    let list = || {
        let out = lab.agent_to_its_end(&["--json", "list"]);
        let (code, error) = crate::lab::error_of(&out);
        assert!(!error["hint"].as_str().unwrap_or_default().is_empty(), "{error}");
        (code, error["reason"].as_str().unwrap().to_owned())
    };
    let _ = std::fs::remove_file(lab.socket());
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o770)).unwrap();
    assert_eq!(list(), (Some(62), "socket_folder_open".into()));
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&runtime, Some(65534), None).unwrap();
    assert_eq!(list(), (Some(62), "socket_not_ours".into()));
    std::fs::remove_dir_all(&runtime).unwrap();
    std::fs::create_dir(lab.home.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(lab.home.path().join("elsewhere"), &runtime).unwrap();
    assert_eq!(list(), (Some(62), "socket_folder".into()));
    // A socket of somebody else's process in a folder of ours.
    std::fs::remove_file(&runtime).unwrap();
    std::fs::create_dir(&runtime).unwrap();
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(lab.home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(lab.home.path().join("run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let squat = format!(
        "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un('{}')) or die; listen(S, 9); print \"up\\n\"; close STDOUT; while (accept(C, S)) {{ close C }}",
        lab.socket()
    );
    let mut squatter = Command::new("perl")
        .args(["-e", &squat])
        .uid(65534)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = String::new();
    squatter.stdout.take().unwrap().read_to_string(&mut up).unwrap();
    assert_eq!(up, "up\n");
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(list(), (Some(62), "socket_not_ours".into()));
    squatter.kill().unwrap();
    squatter.wait().unwrap();
}

/// A small generator: the same frames each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.roll() % most).map(|_| (self.roll() >> 32) as u8).collect()
    }
}

fn bad_frame(dice: &mut Dice) -> Vec<u8> {
    let valid = r#"{"v":1,"request":{"do":"status"}}"#;
    match dice.roll() % 10 {
        0 => dice.bytes(200),
        1 => [dice.bytes(100), vec![b'\n'], dice.bytes(100)].concat(),
        2 => valid.as_bytes()[..(dice.roll() % valid.len() as u64) as usize].to_vec(),
        3 => [&"[".repeat((dice.roll() % 3000) as usize), "\n"].concat().into_bytes(),
        4 => [&"{\"request\":".repeat((dice.roll() % 3000) as usize), "\n"].concat().into_bytes(),
        5 => [valid.as_bytes(), b"\n", &dice.bytes(100)].concat(),
        6 => format!("{{\"v\":{},\"request\":{{\"do\":\"status\"}}}}\n", dice.roll()).into_bytes(),
        7 => b"{\"v\":1,\"request\":{\"do\":\"put\",\"puts\":[{\"secret\":7,\"value\":[]}]}}\n".to_vec(),
        8 => b"{\"v\":1,\"screen\":true,\"request\":{\"do\":\"watch\"}}\n{\"answer\":\"shown\",\"prompt\":18446744073709551615}\n{\"answer\":\"pin\",\"prompt\":1,\"key\":\"blue\",\"pin\":\"!\"}\n".to_vec(),
        _ => vec![b'\n'; (dice.roll() % 50) as usize],
    }
}

#[test]
fn the_daemon_survives_10_000_bad_frames_and_serves_on() {
    const N: usize = 10_000;
    let lab = Lab::new();
    let socket = lab.socket();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut sent, mut answered) = (0, 0);
    for k in 0..N {
        let frame = bad_frame(&mut dice);
        let mut stream = UnixStream::connect(&socket).unwrap();
        // It may hang up before it has read everything.
        let _ = stream.write_all(&frame);
        sent += 1;
        if k % 16 == 0 {
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = vec![];
            let _ = stream.read_to_end(&mut answer);
            answered += usize::from(!answer.is_empty());
        }
    }
    // A line that never ends.
    let mut stream = UnixStream::connect(&socket).unwrap();
    let written = (0..64).take_while(|_| stream.write_all(&[b'x'; 1 << 16]).is_ok()).count();
    assert!(written < 64, "4 MiB without a newline were taken");
    lab.until("an answer", || lab.status()["pid"] == std::process::id());
    let _watch = lab.home.watch().unwrap();
    assert_eq!(lab.call(&lease_call(json!({}))).reply().unwrap()["reply"], "granted");
    println!("P13 frames: {sent} of {N}, {answered} answers among every sixteenth");
    assert!(answered > 0);
}

#[test]
fn t19_the_end_of_the_process_that_connected_is_the_end_of_what_it_asked_for() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let call = lease_call(json!({})).to_string();
    // It connects, asks, and leaves the descriptor to a child.
    lab.key.never().unwrap();
    let mut passer = Command::new(WIRECAT);
    let heard = lab.home.work().join("heard");
    let keep = format!(
        "cat > '{}' & echo > '{}.ready'; sleep 0.2; exit 0",
        heard.display(),
        heard.display()
    );
    passer.args(["exec", &lab.socket(), &call, "sh", "-c", &keep]);
    let mut passer = passer.spawn().unwrap();
    assert!(lab.key.await_asked(PATIENCE).unwrap());
    passer.wait().unwrap();
    lab.until("the end of the prompt", || lab.status()["prompts"] == 0);
    // A touch while the key is told to stop comes to nothing too.
    lab.until("the key to wait no more", || !lab.key.press().unwrap());
    assert!(!holds(&std::fs::read(&heard).unwrap_or_default(), "granted"));
    assert_eq!(lab.status()["leases"], 0);
}

#[test]
fn t19_a_program_that_takes_the_place_of_the_one_that_asked_is_still_that_process() {
    let lab = Lab::new();
    let recorder = lab.recorder();
    let call = lease_call(json!({})).to_string();
    let heard = lab.home.work().join("heard");
    let mut asker = Command::new(WIRECAT);
    asker.args([
        "exec",
        &lab.socket(),
        &call,
        "sh",
        "-c",
        &format!("exec cat > '{}'", heard.display()),
    ]);
    let mut asker = asker.spawn().unwrap();
    lab.until("the lease", || holds(&std::fs::read(&heard).unwrap_or_default(), "granted"));
    let shown: Value = serde_json::from_str(&recorder.texts()[0]).unwrap();
    assert_eq!(shown["origin"]["requester"]["pid"], asker.id());
    assert_eq!(lab.status()["leases"], 1);
    asker.kill().unwrap();
    asker.wait().unwrap();
    lab.until("the end", || lab.status()["leases"] == 0);
}

#[test]
fn t43_the_log_is_shown_without_the_characters_that_somebody_wrote_into_it() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let folder = lab.home.work().join("\u{1b}]0;x\u{7}\u{202e}");
    std::fs::create_dir(&folder).unwrap();
    let mut command = Command::new(WIRECAT);
    command.current_dir(&folder);
    assert_eq!(lab.call_by(command, &lease_call(json!({}))).reply().unwrap()["reply"], "granted");
    for arguments in [["audit", "show"], ["lease", "list"]] {
        let out = lab.agent_to_its_end(&arguments);
        let shown = String::from_utf8_lossy(&out.stdout);
        assert!(
            out.status.success() && !shown.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'),
            "{shown:?}"
        );
    }
    let json = lab.agent_to_its_end(&["--json", "audit", "show"]);
    assert!(!json.stdout.contains(&0x1b) && !holds(&json.stdout, "\u{202e}"));
}
