//! A home of its own for each test: nothing of the caller's environment, files or daemons is in it.

use std::{
    ffi::OsStr,
    io,
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
};

use tempfile::TempDir;
use tokio::{sync::oneshot, task::LocalSet};
use touchlease::{
    clock::{Clock, SystemClock},
    config::Config,
    daemon::{
        boot,
        house::{House, Outside, Settings},
        peer, serve,
    },
    device::broker::{Broker, Reach},
    paths::Places,
};

use super::drawn;
use super::terminal::Terminal;

/// The program that is an agent to a [`Daemon`]: a test that an agent runs must not be one itself.
pub const AGENT: &str = "an-agent";

/// A home, and the product that is tested in it.
pub struct Home {
    folder: TempDir,
    program: PathBuf,
}

/// A daemon on a thread of this process; it ends when dropped.
pub struct Daemon {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Home {
    /// An empty home for `program`.
    ///
    /// # Errors
    /// No temporary folder.
    pub fn new(program: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("touchlease-home-").tempdir()?;
        for name in ["run", "work"] {
            std::fs::DirBuilder::new().mode(0o700).create(folder.path().join(name))?;
        }
        Ok(Self {
            folder,
            program: program.into(),
        })
    }

    /// The home.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The working folder of commands.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    /// Where things lie in it.
    ///
    /// # Errors
    /// None in practice: all variables are absolute.
    pub fn places(&self) -> io::Result<Places> {
        let environment = self.environment();
        Places::from_env(&|name| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.clone().into())
        })
        .map_err(io::Error::other)
    }

    /// The audit log, once there is one.
    ///
    /// # Errors
    /// There is no state folder yet.
    pub fn log(&self) -> io::Result<PathBuf> {
        let state = self.places()?.state;
        let folders = std::fs::read_dir(&state)?
            .filter_map(Result::ok)
            .map(|entry| entry.path().join("audit.jsonl"));
        folders
            .into_iter()
            .find(|file| file.is_file())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A variable as every command in this home has it; empty when it has not.
    #[must_use]
    pub fn variable(&self, name: &str) -> String {
        let environment = self.environment();
        let found = environment.into_iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value).unwrap_or_default()
    }

    /// The product with these arguments, in this home.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment())
            .current_dir(self.work());
        command
    }

    /// Runs the product without a terminal, in a session of its own, as an agent's child would be.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> io::Result<Output> {
        self.detached(arguments).stdin(Stdio::null()).output()
    }

    /// The command of [`Home::run`], not started.
    pub fn detached<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new("setsid");
        command
            .arg("--wait")
            .arg(&self.program)
            .args(arguments)
            .env_clear()
            .envs(self.environment())
            .current_dir(self.work());
        command
    }

    /// Runs the product on a terminal, as a person would.
    ///
    /// # Errors
    /// No terminal, or it cannot be started.
    pub fn terminal<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> io::Result<Terminal> {
        Terminal::start(&self.command(arguments))
    }

    /// Opens `touchlease watch` on a terminal of its own.
    ///
    /// # Errors
    /// As [`Home::terminal`]; it does not come up.
    pub fn watch(&self) -> io::Result<Terminal> {
        let mut watch = self.terminal(["watch"])?;
        watch.expect("requests appear here")?;
        Ok(watch)
    }

    /// Runs a daemon in this process, over these keys, by the kernel's clock.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn daemon(&self, reach: impl Reach) -> io::Result<Daemon> {
        self.daemon_with(reach, Arc::new(SystemClock), Config::default())
    }

    /// The same with another clock and configuration.
    ///
    /// # Errors
    /// As [`Home::daemon`].
    pub fn daemon_with(&self, reach: impl Reach, clock: Arc<dyn Clock>, config: Config) -> io::Result<Daemon> {
        self.daemon_over(Broker::new(reach, clock.clone()), clock, config)
    }

    /// The same with the configuration that lies in this home, as the product reads it.
    ///
    /// # Errors
    /// As [`Home::daemon`].
    pub fn daemon_configured(&self, reach: impl Reach, clock: Arc<dyn Clock>) -> io::Result<Daemon> {
        let file = self.places()?.config;
        self.daemon_of(Broker::new(reach, clock.clone()), clock, Box::new(move || boot::read_config(&file)))
    }

    /// The same over a broker of the caller's, who can ask it things.
    ///
    /// # Errors
    /// As [`Home::daemon`].
    pub fn daemon_over(&self, broker: Broker, clock: Arc<dyn Clock>, config: Config) -> io::Result<Daemon> {
        self.daemon_of(broker, clock, Box::new(move || Ok(config.clone())))
    }

    fn daemon_of(&self, broker: Broker, clock: Arc<dyn Clock>, settings: Box<Settings>) -> io::Result<Daemon> {
        let places = self.places()?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&places.runtime)?;
        let listener = UnixListener::bind(places.socket())?;
        std::fs::set_permissions(places.socket(), std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let boot_id = peer::boot_id()?;
        let uid = rustix::process::getuid().as_raw();
        let program = self.program.clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            LocalSet::new().block_on(&runtime, async move {
                let outside = Outside {
                    places,
                    settings,
                    clock,
                    random: drawn::source,
                    broker,
                    boot_id,
                    uid,
                    agents: &[AGENT],
                    program,
                };
                let house = std::rc::Rc::new(House::new(outside).expect("a thread"));
                let listener = tokio::net::UnixListener::from_std(listener).expect("the runtime takes the socket");
                serve::run(house, listener, async { drop(stopped.await) }).await;
            });
        });
        Ok(Daemon {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let below = |name: &str| self.path().join(name).display().to_string();
        vec![
            ("HOME", self.path().display().to_string()),
            ("XDG_RUNTIME_DIR", below("run")),
            ("XDG_STATE_HOME", below("state")),
            ("XDG_DATA_HOME", below("data")),
            ("XDG_CONFIG_HOME", below("config")),
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("TERM", "xterm-256color".into()),
            ("LANG", "C.UTF-8".into()),
            ("TZ", "UTC".into()),
        ]
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A daemon that panicked has said so.
            let _ = thread.join();
        }
    }
}
