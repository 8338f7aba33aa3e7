//! `touchlease run --agent --proxy -- true` against `touchlease run --proxy -- true`, the same without walls: both start a proxy of their own, in which
//! there is no lease, so nobody touches anything.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hw_tests::harness::Home;

use super::rig::product;
use super::run::quiet;
use super::server::Server;
use super::table::{Failure, Table, interleaved, millis};

const ROUNDS: usize = 100;
/// No walls hold root: where that measures, this user does what is measured.
const NOBODY: u32 = 65534;

pub fn rows(table: &mut Table) -> Result<(), Failure> {
    // A program and a home that the other user reaches, wherever they were built.
    let folder = tempfile::Builder::new().prefix("touchlease-agent-").tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let program = folder.path().join("touchlease");
    fs::copy(product()?, &program)?;
    let home = Home::new(&program)?;
    let user = rustix::process::geteuid().is_root().then_some(NOBODY);
    if let Some(user) = user {
        own(home.path(), user)?;
    }
    let command = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command
    };
    let mut daemon = command(&["daemon"]);
    daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = Server::start(&mut daemon)?;
    let socket = home.places()?.socket();
    daemon.until("the daemon's socket", || UnixStream::connect(&socket).is_ok())?;
    let times = interleaved(
        ROUNDS,
        &mut [
            Box::new(|| quiet(command(&["run", "--proxy", "--", "true"]))),
            Box::new(|| quiet(command(&["run", "--agent", "--proxy", "--", "true"]))),
            Box::new(|| quiet(command(&["run", "--agent", "--", "true"]))),
        ],
    )?;
    let (plain, agent) = (times[0].median(), times[1].median());
    table.fact("touchlease run --proxy -- true, p50", millis(plain));
    let added = agent.saturating_sub(plain);
    let measured = format!("{} ({})", millis(added), millis(agent));
    table.goal(
        "touchlease run --agent --proxy -- true, the same behind walls, added",
        measured,
        "<= 5 ms",
        added <= Duration::from_millis(5),
    );
    table.fact(
        "touchlease run --agent -- true, behind walls and without a proxy, p50",
        millis(times[2].median()),
    );
    Ok(())
}

/// Gives a home, and what is in it, to a user.
fn own(path: &Path, user: u32) -> Result<(), Failure> {
    chown(path, Some(user), Some(user))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), user)?;
        }
    }
    Ok(())
}
