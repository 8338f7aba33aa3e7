//! What the daemon, or a command where none runs, finds when it looks at everything.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::getuid;
use rustix::system::uname;
use tokio::task::spawn_blocking;

use super::boot::read_config;
use super::house::{House, LOG_FILE};
use super::{keys, peer};
use crate::audit::clock_rule::Moment;
use crate::audit::event::Profile as SignerProfile;
use crate::audit::{self, SignerKey};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::device::broker::{Broker, Processes};
use crate::device::enrolled::EnrolledKey;
use crate::device::enrolled::Kind;
use crate::device::{Profile, worker};
use crate::encoding::Digest;
use crate::finding::{Finding, Part, quoted};
use crate::paths::Places;
use crate::vault::{self, health::Health};
use crate::wire::{Failure, Reply};

/// Descriptors that are looked for before anything else: a runtime that has one and gets no second one ends the process.
const DESCRIPTORS: usize = 32;

/// Who is enrolled, and what was found on disks.
type Stored = (Vec<EnrolledKey>, Vec<Finding>);

/// Looks at everything. The daemon goes on meanwhile.
pub(super) async fn serve(house: &House, path: &Path) -> Reply {
    let unwritten = house.opened().iter().any(|open| open.log.sync().is_err());
    let (path, states, now) = (path.to_owned(), house.places.state.clone(), now(house.clock.clone()));
    let stored = async { spawn_blocking(move || stored(&path, &states, &now)).await.unwrap_or_default() };
    let mut findings = examine(&house.broker, &house.places, stored).await;
    if unwritten {
        let what = "the audit log could not be written: no lease is given until it can";
        findings.push(Part::Log.problem("log_not_written", what, format!("df -h {}", quoted(&house.places.state))));
    }
    findings.extend(house.config_fault().map(|failure| config(failure, &house.places)));
    findings.extend(unreadable_roots(&house.config()));
    Reply::Findings { findings }
}

fn config(failure: Failure, places: &Places) -> Finding {
    Part::Daemon.problem("config", failure.message, format!("mv {0} {0}.old", quoted(&places.config)))
}

/// Roots of makers that the configuration names, and nobody can read: no YubiKey is enrolled by PIV then.
fn unreadable_roots(config: &Config) -> Option<Finding> {
    let path = config.limits.piv_attestation_roots.as_deref()?;
    let failure = keys::roots(path).err()?;
    Some(Part::Daemon.problem("attestation_roots", failure.message, format!("ls -l {}", quoted(path))))
}

/// The same in a process that is no daemon. `named` is the vault that the command line names.
#[must_use]
pub fn alone(places: &Places, named: Option<&Path>) -> Vec<Finding> {
    let build = || tokio::runtime::Builder::new_current_thread().enable_all().build().ok();
    let Some(runtime) = has_descriptors().then(build).flatten() else {
        let what = "the system gives no more descriptors";
        return vec![Part::Daemon.problem("no_descriptors", what, "ulimit -n 4096")];
    };
    let mut findings = Vec::new();
    let configured = match read_config(&places.config) {
        Ok(config) => {
            findings.extend(unreadable_roots(&config));
            config.vault
        }
        Err(failure) => {
            findings.push(config(failure, places));
            None
        }
    };
    let path = named.map(Path::to_owned).or(configured).unwrap_or_else(|| places.vault.clone());
    let clock = Arc::new(SystemClock);
    // Here and now: where the system gives no more processes it gives no thread either.
    let stored = stored(&path, &places.state, &now(clock.clone()));
    findings.extend(runtime.block_on(async {
        let broker = Broker::new(Processes::new("/proc/self/exe".into()), clock);
        examine(&broker, places, std::future::ready(stored)).await
    }));
    findings
}

/// Whether there are as many as it takes to look, with some to spare.
fn has_descriptors() -> bool {
    let Ok(null) = fs::File::open("/dev/null") else { return false };
    let some: Result<Vec<_>, _> = (0..DESCRIPTORS).map(|_| null.try_clone()).collect();
    some.is_ok()
}

fn now(clock: Arc<dyn Clock>) -> impl Fn() -> Moment {
    move || Moment {
        wall: clock.wall(),
        boot: clock.boot(),
        boot_id: peer::boot_id().unwrap_or_default(),
    }
}

async fn examine(broker: &Broker, places: &Places, stored: impl Future<Output = Stored>) -> Vec<Finding> {
    let mut findings = vec![versions()];
    findings.extend(socket(places));
    findings.extend(crate::sys::health::locking());
    findings.extend(crate::sys::health::swap(Path::new("/proc"), Path::new("/sys")));
    let (keys, stored) = stored.await;
    findings.extend(broker.examine(&keys).await);
    findings.extend(broker.examine_readers(Path::new(worker::SERVICE)).await);
    findings.extend(stored);
    findings
}

/// What lies on disks: the vault, and its log.
fn stored(path: &Path, states: &Path, now: &dyn Fn() -> Moment) -> Stored {
    let Health {
        id,
        keys,
        keys_ever,
        mut findings,
    } = vault::health::examine(path, states);
    if let Some(id) = id {
        let log: PathBuf = states.join(id.to_string()).join(LOG_FILE);
        let signer = |id: &Digest| keys_ever.iter().find(|key| key.id().0 == *id).map(signer);
        findings.extend(audit::health::examine(&log, &signer, now));
        findings.extend([states, &states.join(id.to_string())].into_iter().filter_map(state));
    }
    (keys, findings)
}

/// Whoever else can write where log and memory of a vault lie can take them away, or put older ones there (T54).
fn state(folder: &Path) -> Option<Finding> {
    let meta = fs::symlink_metadata(folder).ok()?;
    let (shown, mode) = (quoted(folder), meta.mode() & 0o777);
    if meta.uid() != getuid().as_raw() {
        let what = format!("{} belongs to uid {}, not to you", folder.display(), meta.uid());
        return Some(Part::Log.problem("state_not_ours", what, format!("sudo chown -R \"$(id -u)\" {shown}")));
    }
    let (what, remedy) = (
        format!("{} is open to others: mode {mode:o}", folder.display()),
        format!("chmod 700 {shown}"),
    );
    match mode & 0o077 {
        0 => None,
        open if open & 0o022 != 0 => Some(Part::Log.warning("state_open", what, remedy)),
        _ => Some(Part::Log.note("state_open", what, remedy)),
    }
}

fn signer(key: &EnrolledKey) -> SignerKey {
    SignerKey {
        point: *key.signer(),
        profile: match (&key.kind, key.profile) {
            (Kind::Piv(_), _) => SignerProfile::Piv,
            (Kind::Fido2(_), Profile::Pin) => SignerProfile::Pin,
            (Kind::Fido2(_), Profile::TouchOnly) => SignerProfile::TouchOnly,
        },
        name: key.name.clone(),
    }
}

fn versions() -> Finding {
    let system = uname();
    let kernel = format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy());
    let formats = format!("protocol {}, vault format {}", crate::wire::VERSION, vault::statement::NEWEST);
    let what = format!("touchlease {}, {formats}, {kernel}", env!("CARGO_PKG_VERSION"));
    Part::Versions.ok("versions", what)
}

/// Whoever else can reach the socket's folder could stand in for the daemon (T25).
fn socket(places: &Places) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, allowed) in [(places.runtime.clone(), 0o700), (places.socket(), 0o600)] {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let shown = quoted(&path);
        if meta.uid() != getuid().as_raw() {
            let what = format!("{} belongs to uid {}, not to you", path.display(), meta.uid());
            findings.push(Part::Daemon.problem("socket_not_ours", what, format!("sudo rm -r {shown}")));
        } else if meta.mode() & 0o777 & !allowed != 0 {
            let what = format!("{} can be reached by others: mode {:o}", path.display(), meta.mode() & 0o777);
            findings.push(Part::Daemon.problem("socket_open", what, format!("chmod {allowed:o} {shown}")));
        }
    }
    if findings.is_empty() {
        findings.push(Part::Daemon.ok("socket", "the socket is yours alone"));
    }
    findings
}
