//! What one case gets: a home, a daemon, two keys as new, and a person.

use std::{
    cell::RefCell,
    error::Error,
    fs,
    io::{self, Read},
    os::unix::net::UnixStream,
    process::{Child, ExitStatus, Output, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use super::{Link, Rig, person};
use crate::{
    harness::{Daemon, Home, Terminal},
    key::{KeyHandle, PIN},
};

/// Time for anything that needs no person.
pub const LIMIT: Duration = Duration::from_secs(60);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// See the module.
pub struct Machine<'a> {
    /// The home.
    pub home: Home,
    /// The rig it is on.
    pub rig: &'a dyn Rig,
    /// "blue", plugged in, and "spare", pulled out; each with the PIN [`PIN`].
    pub keys: [Arc<dyn KeyHandle>; 2],
    daemon: RefCell<Option<Daemon>>,
}

/// A program's request under way, and the screen on which a person sees it.
pub struct Request {
    child: Child,
    /// `touchlease watch`.
    pub watch: Terminal,
}

impl<'a> Machine<'a> {
    /// A fresh machine.
    ///
    /// # Errors
    /// A key cannot be told; no home; no daemon.
    pub fn new(rig: &'a dyn Rig) -> Result<Self> {
        let keys = rig.keys();
        for key in &keys {
            key.pull()?;
            key.never()?;
            key.reset()?;
            key.set_pin()?;
        }
        keys[0].plug()?;
        let home = Home::new(rig.program())?;
        let daemon = RefCell::new(rig.daemon(&home)?);
        Ok(Self { home, rig, keys, daemon })
    }

    /// Whether keys are tapped, not touched.
    #[must_use]
    pub fn is_contactless(&self) -> bool {
        self.rig.link() == Link::Contactless
    }

    /// Makes a vault of the scope `prod` with the first key as "blue", and puts `prod/TOKEN`.
    ///
    /// # Errors
    /// It does not work.
    pub fn vault(&self) -> Result<()> {
        self.done(&["init", "--key", "blue", "--scope", "prod"])?;
        self.put("TOKEN", "correct-horse-battery")
    }

    /// Puts a value into `prod`.
    ///
    /// # Errors
    /// It does not work.
    pub fn put(&self, name: &str, value: &str) -> Result<()> {
        fs::write(self.home.work().join("value"), value)?;
        self.done(&["put", &format!("prod/{name}"), "--from-file", "value"]).map(drop)
    }

    /// Makes the second key known as "spare"; both are plugged in afterwards.
    ///
    /// # Errors
    /// It does not work.
    pub fn spare(&self) -> Result<()> {
        self.keys[1].plug()?;
        self.done(&["key", "add", "spare"]).map(drop)
    }

    /// Runs the product on a person's terminal; the person does what the screen says, with whichever key it wants.
    ///
    /// # Errors
    /// It does not end.
    pub fn person(&self, arguments: &[&str]) -> Result<(ExitStatus, String)> {
        self.person_typing(arguments, PIN)
    }

    /// The same with another PIN.
    ///
    /// # Errors
    /// It does not end.
    pub fn person_typing(&self, arguments: &[&str], pin: &str) -> Result<(ExitStatus, String)> {
        let mut screen = self.home.terminal(arguments)?;
        self.attend(&mut screen, pin, &mut || false)?;
        Ok(screen.finish()?)
    }

    /// The same, and it has to work.
    ///
    /// # Errors
    /// It does not.
    pub fn done(&self, arguments: &[&str]) -> Result<String> {
        match self.person(arguments)? {
            (status, shown) if status.success() => Ok(shown),
            (status, shown) => Err(format!("{arguments:?}: {status}\n{shown}").into()),
        }
    }

    /// Lets a person do what this screen says until the program on it ends or `enough`.
    ///
    /// # Errors
    /// It takes too long; a key cannot be told.
    pub fn attend(&self, screen: &mut Terminal, pin: &str, enough: &mut dyn FnMut() -> bool) -> Result<()> {
        person::attend(self, screen, pin, enough)
    }

    /// Touches this key, or taps it, once the screen says so.
    ///
    /// # Errors
    /// It does not.
    pub fn touch(&self, which: usize, screen: &mut Terminal) -> Result<()> {
        if self.is_contactless() {
            screen.expect_within("tap", LIMIT)?;
            return person::tap(&*self.keys[which], screen, PIN);
        }
        self.blinks(which)?;
        self.keys[which].press()?;
        Ok(())
    }

    /// Whether this screen asks to lift a card and to tap it again.
    #[must_use]
    pub fn wants_tap(&self, screen: &Terminal) -> bool {
        person::wanted(&screen.unseen()).is_some()
    }

    /// Lifts this card and taps it, without waiting for what comes of it.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn retap(&self, which: usize, screen: &mut Terminal) -> Result<()> {
        person::retap(&*self.keys[which], screen)
    }

    /// Waits until this key blinks.
    ///
    /// # Errors
    /// It does not.
    pub fn blinks(&self, which: usize) -> Result<()> {
        match self.keys[which].await_asked(LIMIT)? {
            true => Ok(()),
            false => Err("the key never waited for a touch".into()),
        }
    }

    /// Opens `watch`, and lets a program ask.
    ///
    /// # Errors
    /// Nothing starts.
    pub fn request(&self, arguments: &[&str]) -> Result<Request> {
        let watch = self.home.watch()?;
        let mut command = self.home.detached(arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(Request { child, watch })
    }

    /// The same with a person who approves.
    ///
    /// # Errors
    /// Nothing starts; it does not end.
    pub fn approved(&self, arguments: &[&str]) -> Result<Output> {
        let mut request = self.request(arguments)?;
        self.approve(&mut request)?;
        request.finish()
    }

    /// A person in front of the watch, until the program ends.
    ///
    /// # Errors
    /// It does not end.
    pub fn approve(&self, request: &mut Request) -> Result<()> {
        let Request { child, watch } = request;
        self.attend(watch, PIN, &mut || !matches!(child.try_wait(), Ok(None)))
    }

    /// Runs the product without a terminal and reads the JSON that it prints.
    ///
    /// # Errors
    /// It prints none.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.home.run([arguments, &["--json"]].concat())?;
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{arguments:?}: {error}; {}", said(&output)).into())
    }

    /// Waits until the product has seen that this enrolled key is not there: pcscd looks every 400 ms, and a card that is back
    /// before was never gone.
    ///
    /// # Errors
    /// It stays listed as connected.
    pub fn is_gone(&self, name: &str) -> Result<()> {
        let since = Instant::now();
        while since.elapsed() < LIMIT {
            let keys = self.json(&["key", "list"])?;
            let listed = keys["keys"].as_array().into_iter().flatten().find(|key| key["name"] == name);
            if listed.is_some_and(|key| key["place"].is_null()) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{name:?} is listed as connected still").into())
    }

    /// The lines of the audit log that are this kind of event: their members.
    ///
    /// # Errors
    /// There is no log.
    pub fn events(&self, kind: &str) -> Result<Vec<Value>> {
        let log = self.json(&["audit", "show"])?;
        let lines = log["lines"].as_array().cloned().unwrap_or_default();
        Ok(lines
            .into_iter()
            .map(|line| line["event"][kind].clone())
            .filter(|event| !event.is_null())
            .collect())
    }

    /// Stops the daemon and starts one under this configuration.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&self, config: &str) -> Result<()> {
        self.stop()?;
        let path = self.home.places()?.config;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, config)?;
        self.start_daemon()
    }

    /// Starts a daemon where the product does not start its own.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_daemon(&self) -> Result<()> {
        *self.daemon.borrow_mut() = self.rig.daemon(&self.home)?;
        Ok(())
    }

    /// Kills the daemon (SIGKILL), and gives its children; one in this process is dropped, with what it has started.
    ///
    /// # Errors
    /// There is none.
    pub fn kill_daemon(&self) -> Result<Vec<i32>> {
        if self.daemon.borrow_mut().take().is_some() {
            fs::remove_file(self.home.places()?.socket())?;
            return Ok(vec![]);
        }
        let daemon = self.daemon_pid()?;
        let mut children = vec![];
        for entry in fs::read_dir("/proc")? {
            let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            children.extend(pid.filter(|pid| stat(*pid).is_some_and(|(_, parent)| parent == daemon.as_raw_pid())));
        }
        kill_process(daemon, Signal::KILL)?;
        Ok(children)
    }

    fn daemon_pid(&self) -> Result<Pid> {
        let connection = UnixStream::connect(self.home.places()?.socket())?;
        Ok(rustix::net::sockopt::socket_peercred(&connection)?.pid)
    }

    fn stop(&self) -> Result<()> {
        let socket = self.home.places()?.socket();
        if self.daemon.borrow_mut().take().is_none()
            && let Ok(connection) = UnixStream::connect(&socket)
        {
            let daemon = rustix::net::sockopt::socket_peercred(&connection)?.pid;
            kill_process(daemon, Signal::TERM)?;
            let since = Instant::now();
            // It hangs up as it ends.
            connection.set_read_timeout(Some(LIMIT))?;
            let _ = (&connection).read(&mut [0]);
            while test_kill_process(daemon).is_ok() && since.elapsed() < LIMIT {
                thread::sleep(Duration::from_millis(5));
            }
        }
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()), // a daemon in this process leaves it
        }
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        // The next machine takes the keys from whoever has them.
        let _ = self.stop();
    }
}

impl Request {
    /// The program goes away without an answer; the watch stays.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn abandon(mut self) -> Result<Terminal> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.watch)
    }

    /// Waits for the program's end.
    ///
    /// # Errors
    /// It does not end.
    pub fn finish(mut self) -> Result<Output> {
        let since = Instant::now();
        while self.child.try_wait()?.is_none() {
            if since.elapsed() > LIMIT {
                let _ = self.child.kill();
                return Err(format!("it did not end; the watch shows\n{}", self.watch.output()).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(self.child.wait_with_output()?)
    }
}

/// Whether this process runs; one that only waits to be reaped does not.
#[must_use]
pub fn runs(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// State and parent of a process (proc(5), stat); its name, in brackets before them, may have any characters.
fn stat(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut members = stat.rsplit_once(')')?.1.split_whitespace();
    Some((members.next()?.chars().next()?, members.next()?.parse().ok()?))
}

/// What a program printed, for a message.
#[must_use]
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}
