//! What the attack cases share: a home with a vault in it, clients that are not ours, a clock that can be set.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use hw_tests::harness::{Daemon, EmulatedReach, Home, Terminal, UsbKey};
use serde_json::{Value, json};
use touchlease::{
    clock::{Boot, Clock, Sleep, SystemClock, Wall},
    config::Config,
};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_emukey");
pub const WIRECAT: &str = env!("CARGO_BIN_EXE_wirecat");
/// The value of `prod/TOKEN` in every lab.
pub const CANARY: &str = "correct-horse-battery-7391";
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A home, a key, a daemon in this process, and a vault with `prod/TOKEN`.
pub struct Lab {
    pub daemon: Option<Daemon>,
    pub home: Home,
    pub key: UsbKey,
    pub reach: EmulatedReach,
    pub clock: Arc<TestClock>,
}

pub fn product() -> PathBuf {
    // Cargo gives the paths of this package's programs only; the product's lies beside them.
    Path::new(PROGRAM).with_file_name("touchlease")
}

impl Lab {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        Self::empty(config).founded()
    }

    fn founded(self) -> Self {
        self.person(&["init", "--key", "blue"]);
        self.put("prod/TOKEN", CANARY.as_bytes(), &[]);
        self
    }

    /// The same whose runtime folder is in memory.
    pub fn in_memory(memory: &Path) -> Self {
        let home = Home::new(product()).unwrap();
        let run = home.path().join("run");
        std::fs::remove_dir(&run).unwrap();
        std::os::unix::fs::symlink(memory, &run).unwrap();
        Self::over(home, Config::default()).founded()
    }

    /// The same without a vault.
    pub fn empty(config: Config) -> Self {
        Self::over(Home::new(product()).unwrap(), config)
    }

    fn over(home: Home, config: Config) -> Self {
        let reach = EmulatedReach::default();
        let key = reach.add().unwrap();
        let clock = Arc::new(TestClock::default());
        let daemon = home.daemon_with(reach.clone(), clock.clone(), config).unwrap();
        Self {
            daemon: Some(daemon),
            home,
            key,
            reach,
            clock,
        }
    }

    /// A daemon anew, after `between`.
    pub fn restart(&mut self, between: impl FnOnce(&Self)) {
        drop(self.daemon.take());
        between(self);
        // The socket may have gone with its folder.
        let _ = std::fs::remove_file(self.socket());
        self.daemon = Some(
            self.home
                .daemon_with(self.reach.clone(), self.clock.clone(), Config::default())
                .unwrap(),
        );
    }

    /// Another machine with a copy of this vault and the same key.
    pub fn elsewhere(&self) -> Self {
        let home = Home::new(product()).unwrap();
        for part in ["data", "state"] {
            copy(&self.home.path().join(part), &home.path().join(part));
        }
        let clock = Arc::new(TestClock::default());
        let daemon = home.daemon_with(self.reach.clone(), clock.clone(), Config::default()).unwrap();
        Self {
            daemon: Some(daemon),
            home,
            key: self.key.clone(),
            reach: self.reach.clone(),
            clock,
        }
    }

    pub fn put(&self, secret: &str, value: &[u8], more: &[&str]) {
        let file = self.home.work().join("value");
        std::fs::write(&file, value).unwrap();
        let path = file.display().to_string();
        self.person([&["put", secret, "--from-file", &path], more].concat().as_slice());
        std::fs::remove_file(&file).unwrap();
    }

    /// A command at a person's own terminal, which has to succeed.
    pub fn person(&self, arguments: &[&str]) -> String {
        self.shows(arguments, 0, &[])
    }

    /// The same, which has to end with this code and to show all of these parts.
    pub fn shows(&self, arguments: &[&str], code: i32, parts: &[&str]) -> String {
        shows(&self.home, arguments, code, parts)
    }

    /// What a command as an agent's child prints, which has to succeed.
    pub fn prints(&self, arguments: &[&str]) -> String {
        let out = self.agent_to_its_end(arguments);
        assert!(out.status.success(), "{arguments:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// What a command as an agent's child prints with `--json`, however it ends.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let out = self.agent_to_its_end(&[&["--json"], arguments].concat());
        serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out:?}"))
    }

    /// A command as an agent's child runs it, not waited for.
    pub fn agent(&self, arguments: &[&str]) -> Child {
        let mut command = self.home.detached(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// A command that this process itself runs, in its own session: a lease that it asks for is held by this process.
    pub fn child(&self, arguments: &[&str]) -> Child {
        let mut command = self.home.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// The same as [`Lab::agent`], waited for.
    pub fn agent_to_its_end(&self, arguments: &[&str]) -> Output {
        self.agent(arguments).wait_with_output().unwrap()
    }

    /// A lease that this process holds, for what `asked` names: its id. A screen has to be open.
    pub fn lease(&self, asked: &[&str]) -> String {
        let request = [&["--json", "lease", "request"], asked].concat();
        let out = self.child(&request).wait_with_output().unwrap();
        let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("no JSON: {out:?}"));
        said["lease"]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no lease: {said}"))
            .to_owned()
    }

    pub fn socket(&self) -> String {
        self.home.places().unwrap().socket().display().to_string()
    }

    pub fn vault(&self) -> PathBuf {
        self.home.places().unwrap().vault
    }

    /// Says one line to the daemon from a process of its own.
    pub fn call(&self, call: &Value) -> Caller {
        self.call_by(Command::new(WIRECAT), call)
    }

    /// The same, by a program of the caller's choice that is wirecat.
    pub fn call_by(&self, mut program: Command, call: &Value) -> Caller {
        program.args(["call", &self.socket(), &call.to_string()]);
        Caller::start(program)
    }

    /// A screen that notes down what it is sent; also for requests of this process.
    pub fn recorder(&self) -> Recorder {
        let file = self.home.path().join("recorded");
        let mut command = Command::new(WIRECAT);
        command.args(["watch", &self.socket(), &file.display().to_string()]);
        let mut terminal = Terminal::start(&orphan(&command)).unwrap();
        terminal.expect("watching").unwrap();
        self.until("a screen", || self.status()["screens"].as_u64() > Some(0));
        Recorder { _terminal: terminal, file }
    }

    pub fn status(&self) -> Value {
        status(&self.home)
    }

    pub fn until(&self, what: &str, done: impl FnMut() -> bool) {
        until(what, done);
    }

    /// The events of the audit log: name and members.
    pub fn events(&self) -> Vec<(String, Value)> {
        let log = std::fs::read_to_string(self.home.log().unwrap()).unwrap();
        log.lines().filter_map(event).collect()
    }

    pub fn count(&self, name: &str) -> usize {
        self.events().iter().filter(|(event, _)| event == name).count()
    }
}

/// What the daemon says of itself to this process: whoever waits for something asks again and again, and a command each time is most of
/// what the test then does. Nothing where it hangs up.
pub fn status(home: &Home) -> Value {
    let mut daemon = UnixStream::connect(home.places().unwrap().socket()).unwrap();
    let mut said = String::new();
    // One that has too many to talk to says so at once.
    let _ = writeln!(daemon, "{}", json!({"v": 1, "request": {"do": "status"}}));
    let _ = BufReader::new(daemon).read_line(&mut said);
    serde_json::from_str(&said).unwrap_or_default()
}

/// A command at a person's own terminal, which has to end with this code and to show all of these parts.
pub fn shows(home: &Home, arguments: &[&str], code: i32, parts: &[&str]) -> String {
    let (status, shown) = home.terminal(arguments).unwrap().finish().unwrap();
    assert_eq!(status.code(), Some(code), "{arguments:?}: {shown}");
    for part in parts {
        assert!(shown.contains(part), "{arguments:?}: {part} in {shown}");
    }
    shown
}

/// A command at a terminal, with what is typed when it asks.
pub fn typing(home: &Home, arguments: &[&str], typed: &[(&str, &str)]) -> String {
    let mut terminal = home.terminal(arguments).unwrap();
    for (question, answer) in typed {
        terminal.expect(question).unwrap();
        terminal.type_in(&format!("{answer}\n")).unwrap();
    }
    let (status, shown) = terminal.finish().unwrap();
    assert!(status.success(), "{arguments:?}: {shown}");
    shown
}

/// A daemon in a process of its own, which listens.
pub fn daemon_in(home: &Home) -> Child {
    let mut command = home.command(["daemon"]);
    let daemon = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let socket = home.places().unwrap().socket();
    until("the daemon", || UnixStream::connect(&socket).is_ok());
    daemon
}

/// Its parent is between it and the shell no more when it begins: a screen is looked at as it comes.
const ORPHAN: &str = r#"({
    while read -r _ _ _ parent _ < /proc/self/stat && { read -r _ _ _ above _ < "/proc/$parent/stat"; } 2> /dev/null && [ "$above" = $$ ]; do
        sleep 0.01
    done
    exec "$@"
} &)
exec sleep infinity"#;

/// The same command in a process that this one is no ancestor of: to what is asked from here its screen is somebody else's.
pub fn orphan(command: &Command) -> Command {
    let mut sh = Command::new("sh");
    sh.args(["-c", ORPHAN, "sh"]);
    sh.arg(command.get_program()).args(command.get_args());
    sh.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    sh.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    sh
}

/// A generator that makes the same run from the same seed (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = usize::try_from(self.roll(from.len() as u64)).unwrap();
        &from[at]
    }

    pub fn millis(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.roll(most * 1000))
    }
}

pub fn event(line: &str) -> Option<(String, Value)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let (name, members) = line["event"].as_object()?.iter().next()?;
    Some((name.clone(), members.clone()))
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let copied = Command::new("cp").arg("-aT").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// A lease for `prod/TOKEN`, with its value.
pub fn lease_call(more: Value) -> Value {
    let mut request = json!({"do": "lease", "deliver": true, "with": [{"secret": "prod/TOKEN", "via": "env", "env": "TOKEN"}]});
    let mut call = json!({"v": 1});
    for (name, value) in more.as_object().unwrap() {
        let part = if name == "labels" { &mut call } else { &mut request };
        part[name] = value.clone();
    }
    call["request"] = request;
    call
}

/// A process at the other end of a socket.
pub struct Caller {
    child: Child,
    lines: mpsc::Receiver<String>,
    pub heard: Vec<Value>,
}

impl Caller {
    pub fn start(mut program: Command) -> Self {
        let mut child = program.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tx, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tx.send(line)));
        Self {
            child,
            lines,
            heard: vec![],
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The reply; nothing when the connection ended without one.
    pub fn reply(&mut self) -> Option<Value> {
        self.hear(|line| line.get("reply").is_some())
    }

    pub fn hear(&mut self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        loop {
            let line = match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => line,
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("nothing came after {:?}", self.heard),
            };
            let line: Value = serde_json::from_str(&line).unwrap();
            self.heard.push(line.clone());
            if wanted(&line) {
                return Some(line);
            }
        }
    }

    pub fn kill(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A screen without a person.
pub struct Recorder {
    _terminal: Terminal,
    file: PathBuf,
}

impl Recorder {
    pub fn file(&self) -> PathBuf {
        self.file.clone()
    }

    pub fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The texts that were shown, byte for byte.
    pub fn texts(&self) -> Vec<String> {
        let lines = self.lines();
        let prompts = lines.iter().filter(|line| line["event"] == "prompt");
        prompts.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
    }
}

/// The kernel's clocks, moved.
#[derive(Default)]
pub struct TestClock {
    wall: Arc<AtomicI64>,
    boot: Arc<AtomicI64>,
    sets: Arc<AtomicU64>,
}

impl TestClock {
    /// What a suspend does: both clocks go on.
    pub fn suspend(&self, time: Duration) {
        let ms = i64::try_from(time.as_millis()).unwrap();
        self.boot.fetch_add(ms, Ordering::SeqCst);
        self.wall.fetch_add(ms, Ordering::SeqCst);
    }

    /// What `date -s` does.
    pub fn set_by(&self, ms: i64) {
        self.wall.fetch_add(ms, Ordering::SeqCst);
        self.sets.fetch_add(1, Ordering::SeqCst);
    }

    fn twin(&self) -> Self {
        Self {
            wall: self.wall.clone(),
            boot: self.boot.clone(),
            sets: self.sets.clone(),
        }
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Wall {
        Wall(SystemClock.wall().0.saturating_add_signed(self.wall.load(Ordering::SeqCst)))
    }

    fn boot(&self) -> Boot {
        Boot(SystemClock.boot().0.saturating_add_signed(self.boot.load(Ordering::SeqCst)))
    }

    fn sleep(&self, boot: Boot, wall: Wall) -> Sleep {
        let clock = self.twin();
        Box::pin(async move {
            let sets = clock.sets.load(Ordering::SeqCst);
            while clock.boot() < boot && clock.wall() < wall && clock.sets.load(Ordering::SeqCst) == sets {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        })
    }
}

/// The member `error` of what `--json` printed, and the exit code.
pub fn error_of(out: &Output) -> (Option<i32>, Value) {
    let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("no JSON: {out:?}"));
    (out.status.code(), said["error"].clone())
}

pub fn holds(bytes: &[u8], part: &str) -> bool {
    memchr::memmem::find(bytes, part.as_bytes()).is_some()
}
