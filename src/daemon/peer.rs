//! Who is at the other end of a socket: the kernel's facts, and what the process says of itself.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::{fs, iter};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use thiserror::Error;

use crate::lease::requester::{Claimed, Kin, Late, Lineage, Parent, ProcessId, Requester};
use crate::presence::Whereabouts;
use crate::sys::process::peer_pidfd;
use crate::sys::wait::is_readable;

/// Deepest chain of ancestors that is followed.
const DEEPEST: usize = 64;
/// Bytes that the kernel gives of a file of `/proc` at a time.
const PAGE: usize = 4096;

/// Why a peer is not served.
#[derive(Debug, Error)]
pub enum PeerError {
    /// Another uid, or no credentials.
    #[error("only uid {0} is served here")]
    Stranger(u32),
    /// The process that connected is gone, or its pid belongs to another by now.
    #[error("the process that connected is gone")]
    Gone,
}

/// The other end of a connection, as far as it is looked at for every call.
pub struct Peer {
    /// From SO_PEERCRED.
    uid: u32,
    head: Stat,
    lineage: Rc<Lineage>,
    parent: Option<Parent>,
    /// Without ancestors and labels.
    claimed: Claimed,
    /// The process itself: readable when it ends, never another one.
    pidfd: OwnedFd,
}

impl Peer {
    /// Whether `uid`, as SO_PEERCRED gave it, is the one that is served.
    ///
    /// # Errors
    /// [`PeerError::Stranger`].
    pub fn admit(uid: u32, served: u32) -> Result<(), PeerError> {
        if uid == served { Ok(()) } else { Err(PeerError::Stranger(served)) }
    }

    /// Looks at the process of this handle ([`connected`]), whose `pid` and `uid` SO_PEERCRED gave.
    ///
    /// # Errors
    /// [`PeerError::Gone`].
    pub fn look(pidfd: OwnedFd, pid: i32, uid: u32) -> Result<Self, PeerError> {
        let head = Stat::read(pid.unsigned_abs()).ok_or(PeerError::Gone)?;
        let above = head.above();
        let lineage = lineage(head.clone(), above.clone());
        let claimed = claims(&lineage);
        // Read while the process of the handle, which had this pid from the start, had not ended: all of it is of that one (T19). What is
        // read of its ancestors later starts from here.
        if is_ended(&pidfd) {
            return Err(PeerError::Gone);
        }
        Ok(Self {
            uid,
            parent: above.as_ref().and_then(parent),
            lineage: lineage.into(),
            head,
            claimed,
            pidfd,
        })
    }

    /// Who asks, by these labels of its environment, and the handle on it.
    #[must_use]
    pub fn requester(self, labels: BTreeMap<String, String>) -> (Requester, OwnedFd) {
        let Self {
            uid,
            head,
            lineage,
            parent,
            mut claimed,
            pidfd,
        } = self;
        let process = head.id;
        let (of_pids, of_names) = (lineage.clone(), lineage.clone());
        let whereabouts = move || Whereabouts {
            pid: head.id.pid,
            session: head.session,
            terminal: (head.terminal != 0).then_some(head.terminal),
            foreground: head.group == head.foreground_group,
            ancestors: of_pids.iter().skip(1).map(|kin| kin.process.pid).collect(),
        };
        let claimed = move || {
            claimed.ancestors = of_names.iter().skip(1).map(|kin| kin.name).collect();
            claimed.labels = labels;
            claimed
        };
        let requester = Requester {
            uid,
            process,
            lineage,
            parent,
            whereabouts: Late::new(Box::new(whereabouts)),
            own_screen: None,
            claimed: Late::new(Box::new(claimed)),
        };
        (requester, pidfd)
    }
}

/// A handle on the process that connected `socket`'s other end, whose `pid` SO_PEERCRED gave. Before Linux 6.5 it is on whoever has its pid now: another, if it ended meanwhile and the pid
/// was used again (docs/security.md).
///
/// # Errors
/// [`PeerError::Gone`].
pub fn connected(socket: BorrowedFd<'_>, pid: i32) -> Result<OwnedFd, PeerError> {
    let handle = match peer_pidfd(socket) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            let pid = Pid::from_raw(pid).ok_or(PeerError::Gone)?;
            pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)
        }
        handle => handle,
    };
    handle.map_err(|_| PeerError::Gone)
}

/// The lines of `/proc/PID/stat` that matter (proc(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    id: ProcessId,
    name: String,
    parent: u32,
    group: u32,
    session: u32,
    terminal: u32,
    foreground_group: u32,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&read_at_once(&format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name is in parentheses and may hold any bytes, parentheses and newlines too: the last one ends it.
    fn parse(stat: &[u8]) -> Option<Self> {
        let stat = String::from_utf8_lossy(stat);
        let (head, rest) = stat.rsplit_once(')')?;
        let (pid, name) = head.split_once('(')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Fields are numbered from 1 in proc(5); the name is 2, so field n is at n - 3.
        let field = |n: usize| fields.get(n - 3).copied();
        // Terminal and foreground group are signed there: -1 is "none".
        let signed = |n| {
            field(n)
                .and_then(|text| text.parse::<i64>().ok())
                .map(|n| u32::try_from(n).unwrap_or(0))
        };
        Some(Self {
            id: ProcessId {
                pid: pid.trim().parse().ok()?,
                started: field(22)?.parse().ok()?,
            },
            name: name.to_owned(),
            parent: field(4)?.parse().ok()?,
            group: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            terminal: signed(7)?,
            foreground_group: signed(8)?,
        })
    }

    /// Its parent, if that is not the system's first process.
    fn above(&self) -> Option<Self> {
        // A parent that began after its child is none: the pid was used again meanwhile.
        let older = |parent: &Self| parent.id.started <= self.id.started;
        (self.parent > 1).then(|| Self::read(self.parent)).flatten().filter(older)
    }
}

fn lineage(first: Stat, above: Option<Stat>) -> Lineage {
    let stats = iter::once(first).chain(iter::successors(above, Stat::above)).take(DEEPEST);
    Lineage::new(stats.map(|stat| Kin {
        process: stat.id,
        name: stat.name,
    }))
}

/// Nothing when it is gone meanwhile.
fn parent(stat: &Stat) -> Option<Parent> {
    Some(Parent {
        process: stat.id,
        name: stat.name.clone(),
        uid: real_uid(stat.id.pid)?,
        session: stat.session,
    })
}

/// A file of `/proc`, by one read where it fits a page: it tells no size, so `fs::read` would ask six times, and every connection asks
/// for each of its ancestors.
fn read_at_once(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; PAGE];
    let mut file = fs::File::open(path)?;
    let count = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut bytes))?;
    bytes.truncate(count);
    if count == PAGE {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Not the owner of `/proc/PID`, which is root where a process is not dumpable (proc(5)).
fn real_uid(pid: u32) -> Option<u32> {
    let status = read_at_once(&format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Without ancestors, which are read when somebody wants them, and labels.
fn claims(lineage: &Lineage) -> Claimed {
    let link =
        |kin: &Kin, name: &str| fs::read_link(format!("/proc/{}/{name}", kin.process.pid)).map(|path| path.to_string_lossy().into_owned());
    let Some(head) = lineage.iter().next() else {
        return Claimed::default();
    };
    let command = read_at_once(&format!("/proc/{}/cmdline", head.process.pid)).unwrap_or_default();
    let words = command.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let mut command: Vec<_> = words.collect();
    // The last word ends with a NUL too.
    command.pop();
    Claimed {
        // Our own client is not dumpable, and so its links are root's alone (proc(5)): its name it cannot hide, and its folder is
        // most often that of the process that started it.
        executable: link(&head, "exe").unwrap_or(head.name),
        command,
        folder: lineage.iter().find_map(|kin| link(&kin, "cwd").ok()).unwrap_or_default(),
        ..Claimed::default()
    }
}

/// A process that cannot be looked at counts as ended.
fn is_ended(pidfd: &OwnedFd) -> bool {
    is_readable(pidfd).unwrap_or(true)
}

/// A handle on a process, if it still is the one that was meant (T19).
#[must_use]
pub fn open(process: ProcessId) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(process.pid).ok()?)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Looked at after the handle was opened: if it started when it should, the handle is on it.
    (Stat::read(process.pid)?.id == process).then_some(pidfd)
}

/// The process's boot: deadlines mean nothing on another.
///
/// # Errors
/// `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_name_with_parentheses_and_newlines_does_not_shift_the_fields() {
        let stat = b"77 (a) (b\n) R 5 6 7 34816 6 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 0 0\n";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!((stat.id, stat.name.as_str()), (ProcessId { pid: 77, started: 12345 }, "a) (b\n"));
        assert_eq!(
            (stat.parent, stat.group, stat.session, stat.terminal, stat.foreground_group),
            (5, 6, 7, 34816, 6)
        );
    }

    #[test]
    fn a_process_without_a_terminal_has_none() {
        let stat = b"77 (x) S 5 6 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 0 0\n";
        assert_eq!(Stat::parse(stat).unwrap().terminal, 0);
        assert_eq!(Stat::parse(b"77 (x) S 5"), None);
    }

    #[test]
    fn this_process_is_found_with_its_parents() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let uid = rustix::process::getuid().as_raw();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::look(connected(ours.as_fd(), pid).unwrap(), pid, uid).unwrap();
        let labels = BTreeMap::from([("AGENT".to_owned(), "yes".to_owned())]);
        let (requester, _) = peer.requester(labels.clone());
        assert_eq!(requester.process.pid, std::process::id());
        let above: Vec<_> = requester.lineage.iter().skip(1).collect();
        let parent = requester.parent.as_ref().unwrap();
        assert_eq!((above[0].process, &above[0].name), (parent.process, &parent.name));
        assert_eq!(
            requester.claimed.ancestors,
            Vec::from_iter(above.iter().map(|kin| kin.name.clone()))
        );
        assert_eq!(
            requester.whereabouts.ancestors,
            Vec::from_iter(above.iter().map(|kin| kin.process.pid))
        );
        assert_eq!(requester.claimed.labels, labels);
        assert!(!requester.claimed.command.is_empty());
    }

    #[test]
    fn a_process_that_cannot_be_looked_into_has_its_name_and_its_parents_folder() {
        let own = Stat::read(std::process::id()).unwrap();
        let mut hidden = own.clone();
        // No process has this id, so its links cannot be read either.
        hidden.id.pid = u32::MAX;
        hidden.name = "touchlease".into();
        let claimed = claims(&lineage(hidden, Some(own)));
        assert_eq!(claimed.executable, "touchlease");
        assert_eq!(claimed.folder, std::env::current_dir().unwrap().to_string_lossy());
    }

    #[test]
    fn t19_a_peer_that_is_gone_or_of_another_uid_is_refused() {
        let uid = rustix::process::getuid().as_raw();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let seen = connected(ours.as_fd(), pid).and_then(|handle| Peer::look(handle, pid, uid));
        assert!(matches!(seen, Err(PeerError::Gone)));
        assert!(matches!(Peer::admit(uid + 1, uid), Err(PeerError::Stranger(_))));
    }

    #[test]
    fn t19_a_process_that_started_at_another_time_than_was_meant_is_another_one() {
        let meant = Stat::read(std::process::id()).unwrap().id;
        assert!(open(meant).is_some());
        for started in [meant.started - 1, meant.started + 1] {
            assert!(open(ProcessId { started, ..meant }).is_none());
        }
    }
}
