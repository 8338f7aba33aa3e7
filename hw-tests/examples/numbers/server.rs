//! Programs that serve while something is measured.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::table::Failure;

/// How long it may take until one serves.
const READY: Duration = Duration::from_secs(30);
/// How long one may take to end by itself.
const ENDING: Duration = Duration::from_secs(5);

/// Asked to end when dropped, and its own processes with it.
pub struct Server(Child);

impl Server {
    pub fn start(command: &mut Command) -> Result<Self, Failure> {
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Self(child))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn output(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Waits for something that it does.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Failure> {
        let since = Instant::now();
        while !is_so() {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("{what}: the program has ended with {status}").into());
            }
            if since.elapsed() > READY {
                return Err(format!("{what}: not after {READY:?}").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub fn listens(&mut self, port: u16) -> Result<(), Failure> {
        self.until("a listening port", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        // It may have ended by itself.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let since = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && since.elapsed() < ENDING {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port at which nobody listens.
pub fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
