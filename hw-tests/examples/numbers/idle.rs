//! The daemon with nothing to do, against ssh-agent.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hw_tests::harness::Home;

use super::rig::product;
use super::run::version;
use super::table::{Failure, Table, Work, interleaved, millis};

const ROUNDS: usize = 50;
/// How long nothing may happen.
const QUIET: Duration = Duration::from_secs(10);
/// The log's grouped lines are synced within a second; then there is nothing left to do.
const SETTLED: Duration = Duration::from_secs(2);

pub fn rows(table: &mut Table) -> Result<(), Failure> {
    let home = Home::new(product()?)?;
    let ours = home.places()?.socket();
    let theirs = home.path().join("agent");
    let mut works: Vec<Work<'_>> = vec![
        Box::new(|| started(&mut daemon(&home), &ours).map(drop)),
        Box::new(|| started(&mut agent(&theirs), &theirs).map(drop)),
    ];
    let times = interleaved(ROUNDS, &mut works)?;
    drop(works);
    let ratio = times[0].over(&times[1]);
    table.fact("ssh-agent, from exec to listening, p50", millis(times[1].median()));
    let measured = format!("{ratio:.2}x ({})", millis(times[0].median()));
    table.goal("daemon, from exec to listening, against that", measured, "<= 0.8x", ratio <= 0.8);

    let (daemon, agent) = (started(&mut daemon(&home), &ours)?, started(&mut agent(&theirs), &theirs)?);
    thread::sleep(SETTLED);
    let (mine, other) = (resident(daemon.pid())?, resident(agent.pid())?);
    table.fact("ssh-agent, idle, resident", format!("{other} KiB"));
    table.goal(
        "daemon, idle, its proxy never used, resident",
        format!("{mine} KiB"),
        "<= ssh-agent's",
        mine <= other,
    );
    let (mine, other) = (own(daemon.pid())?, own(agent.pid())?);
    table.fact("of these its own, no pages of files: ssh-agent", format!("{other} KiB"));
    table.fact("the same of the daemon", format!("{mine} KiB"));
    let wakes = wakes(&[daemon.pid()])?;
    table.goal("daemon, idle, wake-ups in 10 s", wakes.to_string(), "0", wakes == 0);
    table.version("ssh-agent", version("ssh", "-V").unwrap_or_default());
    Ok(())
}

/// This process holds the daemon and is the ancestor of its workers; only its main thread has something to do.
pub fn with_pin(table: &mut Table) -> Result<(), Failure> {
    thread::sleep(SETTLED);
    let mut family = vec![std::process::id()];
    family.extend(children(std::process::id()));
    let wakes = wakes(&family)?;
    let what = "daemon with a kept PIN, its workers and one open screen, wake-ups in 10 s";
    table.goal(what, wakes.to_string(), "0", wakes == 0);
    Ok(())
}

/// Ended when dropped.
struct Running(Child);

impl Running {
    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn daemon(home: &Home) -> Command {
    home.command(["daemon"])
}

fn agent(socket: &Path) -> Command {
    let mut command = Command::new("ssh-agent");
    command.arg("-D").arg("-a").arg(socket);
    command
}

/// Started, and taking connections.
fn started(command: &mut Command, socket: &Path) -> Result<Running, Failure> {
    // A socket left by one that was killed.
    let _ = fs::remove_file(socket);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let running = Running(child);
    let since = Instant::now();
    while UnixStream::connect(socket).is_err() {
        if since.elapsed() > Duration::from_secs(10) {
            return Err(format!("{command:?} does not listen").into());
        }
        thread::sleep(Duration::from_micros(50));
    }
    Ok(running)
}

pub fn resident(pid: u32) -> Result<u64, Failure> {
    field(Path::new(&format!("/proc/{pid}/status")), "VmRSS:")
}

/// What it has written to, and nobody shares with it: pages of files are there once for all who map them, and count for as many as the kernel
/// happened to map around those that were touched.
fn own(pid: u32) -> Result<u64, Failure> {
    field(Path::new(&format!("/proc/{pid}/status")), "RssAnon:")
}

/// How often any thread of these processes got a core in 10 s, but for the one that counts.
fn wakes(pids: &[u32]) -> Result<u64, Failure> {
    let before = switches(pids)?;
    thread::sleep(QUIET);
    Ok(switches(pids)?.saturating_sub(before))
}

fn switches(pids: &[u32]) -> Result<u64, Failure> {
    let mut all = 0;
    for task in pids.iter().flat_map(|pid| tasks(*pid)) {
        // Each wait ends in one voluntary switch, so one wake-up is one switch.
        all += field(&task.join("status"), "voluntary_ctxt_switches:")?;
    }
    Ok(all)
}

fn tasks(pid: u32) -> Vec<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let own = std::process::id().to_string();
    // The main thread of this process has its process's number.
    tasks.filter(|task| *task.file_name() != *own).map(|task| task.path()).collect()
}

/// All processes below this one.
pub fn children(pid: u32) -> Vec<u32> {
    let mut found = vec![];
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for child in processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        let parent = field(Path::new(&format!("/proc/{child}/status")), "PPid:");
        if parent.is_ok_and(|parent| parent == u64::from(pid)) {
            found.push(child);
            found.extend(children(child));
        }
    }
    found
}

fn field(status: &Path, name: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(status)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .ok_or_else(|| format!("no {name}"))?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}
