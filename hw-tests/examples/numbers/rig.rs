//! A home with a vault, a daemon in this process, and an emulated key whose own time is measured.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hw_tests::authenticator::{Authenticator, Settings};
use hw_tests::ctap::{Ctap, Done, Front};
use hw_tests::finger::{Finger, Mode};
use hw_tests::harness::{Daemon, Home, Terminal};
use hw_tests::hid_socket::HidSocket;
use hw_tests::host::{Host, Protocol};
use hw_tests::key::{Attachment as _, Key};
use touchlease::clock::{Boot, Clock, Sleep, SystemClock, Wall};
use touchlease::config::Config;
use touchlease::device::Broker;
use touchlease::device::broker::Processes;

use super::table::Failure;
use super::worker;

const PIN: &str = "1234";
/// Of the tokens of the signer `prod/deployer`.
pub const AUDIENCE: &str = "https://registry.example";

pub struct Rig {
    pub home: Home,
    pub broker: Broker,
    pub clock: Arc<Ahead>,
    pub own: Arc<Stopwatch>,
    _watch: Terminal,
    // Last: the terminal hangs up first.
    _daemon: Daemon,
}

impl Rig {
    /// A vault with `prod/TOKEN` and this many more secrets, on a key with or without a PIN.
    pub fn new(pin: bool, more: usize) -> Result<Self, Failure> {
        Self::with(pin, more, Config::default())
    }

    /// The same, where a person has configured something.
    pub fn with(pin: bool, more: usize, config: Config) -> Result<Self, Failure> {
        let own = Arc::new(Stopwatch::start(pin)?);
        let socket = HidSocket::new(own.clone());
        socket.plug()?;
        worker::hand_out(Arc::new(Key::new(own.finger.clone(), own.clone(), socket)))?;
        let home = Home::new(product()?)?;
        let clock = Arc::new(Ahead::default());
        let broker = Broker::new(Processes::new("/proc/self/exe".into()), clock.clone());
        let daemon = home.daemon_over(broker.clone(), clock.clone(), config)?;
        let mut init = vec!["init", "--key", "blue"];
        init.extend((!pin).then_some("--touch-only"));
        asked(home.terminal(init)?, pin)?;
        let value = home.work().join("value");
        std::fs::write(&value, "ghp_0123456789abcdefghijklmnopqrstuvwxyz")?;
        for name in (0..=more).map(|n| if n == 0 { "prod/TOKEN".into() } else { format!("prod/MORE_{n}") }) {
            let from = value.display().to_string();
            // The PIN is kept from `init` on.
            asked(home.terminal(["put", &name, "--from-file", &from])?, false)?;
            clock.go_on();
        }
        let signer = [
            "signer",
            "add",
            "deployer",
            "--scope",
            "prod",
            "--issuer",
            "https://id.example",
            "--aud",
            AUDIENCE,
        ];
        asked(home.terminal(signer)?, false)?;
        clock.go_on();
        let watch = home.watch()?;
        Ok(Self {
            home,
            broker,
            clock,
            own,
            _watch: watch,
            _daemon: daemon,
        })
    }
}

/// A command at a terminal, to its end.
pub fn asked(mut terminal: Terminal, pin: bool) -> Result<(), Failure> {
    if pin {
        terminal.expect("PIN of")?;
        terminal.type_in(&format!("{PIN}\n"))?;
    }
    let (status, shown) = terminal.finish()?;
    if status.success() { Ok(()) } else { Err(shown.into()) }
}

/// The product's binary, of the same build.
pub fn product() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("../touchlease");
    path.canonicalize()
}

/// The kernel's clocks, moved on between measurements: the brake on prompts is not what is measured.
#[derive(Default)]
pub struct Ahead(AtomicU64);

impl Ahead {
    /// Ten more prompts may stand in the next ten minutes: one a minute.
    pub fn go_on(&self) {
        self.0.fetch_add(61_000, Ordering::Relaxed);
    }

    fn ahead(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl Clock for Ahead {
    fn wall(&self) -> Wall {
        SystemClock.wall() + self.ahead()
    }

    fn boot(&self) -> Boot {
        SystemClock.boot() + self.ahead()
    }

    fn sleep(&self, boot: Boot, wall: Wall) -> Sleep {
        let behind = |at: u64| at.saturating_sub(self.0.load(Ordering::Relaxed));
        SystemClock.sleep(Boot(behind(boot.0)), Wall(behind(wall.0)))
    }
}

/// The authenticator, and how long it worked: that time is the key's, not ours.
pub struct Stopwatch {
    finger: Arc<Finger>,
    inner: Authenticator,
    worked: Arc<Mutex<Duration>>,
    last: Arc<Mutex<Exchange>>,
}

/// Bytes of a message to the key, of its answer, and of the credential id that stands in both.
#[derive(Clone, Copy, Default)]
pub struct Exchange {
    pub request: usize,
    pub answer: usize,
    pub credential: usize,
}

/// The length of the id in a credential descriptor: CBOR of `"id"`, and a byte string of 24 to 255 bytes.
fn credential(request: &[u8]) -> usize {
    let mut places = request.windows(5);
    let found = places.find_map(|window| window.strip_prefix(b"\x62id\x58").map(|length| length[0]));
    found.unwrap_or_default().into()
}

impl Stopwatch {
    fn start(pin: bool) -> Result<Self, Failure> {
        let finger = Arc::new(Finger::new(Mode::Grant));
        let this = Self {
            inner: Authenticator::start(Settings::default(), finger.clone())?,
            finger,
            worked: Arc::default(),
            last: Arc::default(),
        };
        let this = Arc::new(this);
        if pin {
            let ctap: Arc<dyn Ctap> = this.clone();
            Host(ctap).set_pin(Protocol::Two, PIN)?;
        }
        Arc::into_inner(this).ok_or_else(|| "the key is still in use".into())
    }

    /// Touches given so far.
    pub fn touches(&self) -> u64 {
        self.finger.counts().given
    }

    /// The last message: in a lease, the assertion.
    pub fn last(&self) -> Exchange {
        *lock(&self.last)
    }

    /// How long it worked since the last time this was asked.
    pub fn take(&self) -> Duration {
        std::mem::take(&mut lock(&self.worked))
    }
}

impl Front for Stopwatch {
    fn behind(&self) -> &dyn Ctap {
        &self.inner
    }

    fn answer(&self, request: Vec<u8>, done: Done) {
        let (start, request_len, credential) = (Instant::now(), request.len(), credential(&request));
        let (worked, last) = (self.worked.clone(), self.last.clone());
        let stop = move |answer: Vec<u8>| {
            *lock(&worked) += start.elapsed();
            *lock(&last) = Exchange {
                request: request_len,
                answer: answer.len(),
                credential,
            };
            done(answer);
        };
        self.inner.submit(request, Box::new(stop));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
