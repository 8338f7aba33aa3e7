//! Walls around a program of the user's: namespaces and a Landlock domain, which it is started in and cannot leave.
//!
//! The user namespace is there for the mount namespace, and is a wall itself: a process in it has no ptrace access to one outside of it
//! (`cap_ptrace_access_check` in the kernel), and so neither memory, environment nor descriptors. What is mounted here lies over folders; a
//! namespace that the program makes for itself gets these mounts locked (mount_namespaces(7), "Restrictions"). The Landlock domain handles
//! no access to files: one that does forbids all mounting, and with it the sandboxes that agents bring (bubblewrap).
#![allow(unsafe_code)]

pub mod bridge;
pub mod fence;
mod filter;
pub mod processes;
mod still;

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use landlock::{CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError, Scope};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind, mount_remount, move_mount, open_tree};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, WaitOptions, getgid, getuid, set_dumpable_behavior, waitpid};
use rustix::thread::{UnshareFlags, set_no_new_privs, unshare_unsafe};

use self::fence::Fence;
use super::child::fork;

/// How the table of mounts names what is mounted here.
const SOURCE: &str = "touchlease";
const DEV: &str = "/dev";
const PROC: &str = "/proc";
const FILTER: &str = "a filter of system calls";
/// Capabilities there may be (capabilities(7)); numbers that this kernel does not know are an error that changes nothing.
const CAPABILITIES: u32 = 64;

/// What lies over a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// A folder that nobody enters. One that is not there is made, so that nobody makes another.
    Closed,
    /// An empty folder of these permissions, to write in.
    Empty(u32),
    /// An empty folder for shared memory, as large as everywhere: half of the machine's memory (tmpfs(5)).
    Memory,
    /// What is there, to read only.
    ReadOnly,
    /// What is there now, without sockets, and nothing that comes later: see `still`.
    Still,
    /// Nothing that could be connected to: for a socket, until its server starts anew.
    Nothing,
}

/// An entry of `/dev` that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A node, by its name.
    Node(CString),
    /// A folder with all that is in it.
    Folder(CString),
    /// A folder of message queues, which are its own (mq_overview(7)).
    Queues(CString),
    /// A symbolic link and where it leads.
    Link(CString, CString),
}

/// A folder of ours that the program has to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// Where it is.
    pub from: PathBuf,
    /// Where it is seen in there.
    pub to: PathBuf,
}

/// What a program is started behind.
#[derive(Clone, Debug, Default)]
pub struct Walls {
    /// What lies over which place, in the order in which it is put there. Paths without links, from / on.
    pub covers: Vec<(PathBuf, Cover)>,
    /// Folders that are seen in there all the same, to read only, where something lies over what they are in.
    pub brought: Vec<Brought>,
    /// What is left of `/dev`. Whatever else is there, or comes later, is not; terminals are the program's own.
    pub devices: Vec<Device>,
    /// The folder in which the program starts.
    pub folder: PathBuf,
    /// Whether there are namespaces for all of this. Without, the covers and devices are not.
    pub namespaces: bool,
    /// Whether there is a PID namespace, with a `/proc` of its own. Without, a filter of system calls keeps it from setting limits and
    /// priorities of others (see [`processes`]).
    pub processes: bool,
    /// Whether signals and abstract sockets end at the domain (Landlock ABI 6, Linux 6.12).
    pub scopes: bool,
    /// For a command that gets nowhere but where it is told: in place of all that is above but the folder.
    pub fence: Option<Fence>,
}

/// A wall that could not be raised.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub struct Fault {
    /// Which.
    pub what: String,
    /// What the kernel said.
    #[source]
    pub error: io::Error,
}

impl Fault {
    fn at<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |error| Self {
            what: what.into(),
            error: error.into(),
        }
    }
}

/// Whether the kernel's Landlock ends signals and abstract sockets at a domain.
#[must_use]
pub fn has_scopes() -> bool {
    scopes().and_then(Ruleset::create).is_ok()
}

/// Keeps folders that whoever started this process left open from what it starts: they lead past everything that is mounted later.
///
/// # Errors
/// There is no `/proc`.
pub fn keep_folders() -> io::Result<()> {
    let open: Vec<_> = fs::read_dir("/proc/self/fd")?.flatten().collect();
    for number in open.iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        // SAFETY: two calls that take a number; one that is no descriptor any more is an error of theirs.
        unsafe {
            let mut status: libc::stat = std::mem::zeroed();
            if libc::fstat(number, &raw mut status) == 0 && status.st_mode & libc::S_IFMT == libc::S_IFDIR {
                libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
    Ok(())
}

impl Walls {
    /// Raises them around a copy of this process that ends at once, to know whether they can be: what does not hold is to be said before
    /// the program has the terminal.
    ///
    /// The process must have one thread (see [`fork`]).
    ///
    /// # Errors
    /// The first wall that cannot be raised.
    pub fn try_out(&self) -> Result<(), Fault> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(Fault::at("a pipe"))?;
        let told = |tried: Result<(), Fault>| {
            let Err(fault) = tried else { return 0 };
            let errno = fault.error.raw_os_error().unwrap_or(libc::EIO);
            let told = [&errno.to_ne_bytes(), fault.what.as_bytes()].concat();
            // Less than a pipe holds. Who does not get it knows by our status.
            let _ = rustix::io::write(&write, &told);
            1
        };
        let handle = self.fence.as_ref().and_then(Fence::handle);
        let keep: Vec<_> = [Some(write.as_raw_fd()), handle].into_iter().flatten().collect();
        let copy = fork(&keep, || match self.enter() {
            Ok(()) if self.processes => {
                let inner = fork(&keep, || told(self.raise()));
                let ended = inner.map_err(Fault::at("a process")).and_then(|inner| {
                    let ended = waitpid(Some(inner), WaitOptions::empty());
                    ended.map_err(Fault::at("a process"))
                });
                ended.map_or_else(
                    |fault| told(Err(fault)),
                    |ended| ended.and_then(|(_, status)| status.exit_status()).unwrap_or(1),
                )
            }
            entered => told(entered.and_then(|()| self.raise())),
        });
        let copy = copy.map_err(Fault::at("a process"))?;
        drop(write);
        let mut said = vec![];
        // What cannot be read was not written, and its end tells.
        let _ = fs::File::from(read).read_to_end(&mut said);
        let ended = waitpid(Some(copy), WaitOptions::empty()).map_err(Fault::at("a process"))?;
        if ended.is_some_and(|(_, status)| status.exit_status() == Some(0)) {
            return Ok(());
        }
        let (errno, what) = said.split_first_chunk().unwrap_or((&[0; 4], b"a process"));
        Err(Fault {
            what: String::from_utf8_lossy(what).into_owned(),
            error: io::Error::from_raw_os_error(i32::from_ne_bytes(*errno)),
        })
    }

    /// The namespaces of this process, which is a copy on its way to become the program. With [`Walls::processes`] it is its next child that
    /// is in all of them ([`processes::divide`]), and that raises the walls.
    ///
    /// # Errors
    /// The kernel forbids them.
    pub(super) fn enter(&self) -> Result<(), Fault> {
        let more = match &self.fence {
            Some(_) => UnshareFlags::NEWIPC | UnshareFlags::NEWNET,
            // Whatever programs share by a number is theirs (ipc_namespaces(7)).
            None if self.namespaces => UnshareFlags::NEWIPC,
            None => return Ok(()),
        };
        enter(if self.processes { more | UnshareFlags::NEWPID } else { more })
    }

    /// Raises them around this process, which is a copy that is about to become the program: its standard streams are the program's, its
    /// namespaces those of [`Walls::enter`].
    ///
    /// # Errors
    /// The first wall that cannot be raised; those before it stand.
    pub(super) fn raise(&self) -> Result<(), Fault> {
        if self.processes {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount(SOURCE, PROC, "proc", flags, None).map_err(Fault::at(PROC))?;
        }
        if let Some(fence) = &self.fence {
            return self.raise_fence(fence);
        }
        if self.namespaces {
            self.lay_covers()?;
            self.replace_devices().map_err(Fault::at(DEV))?;
            self.go_in()?;
        }
        set_no_new_privs(true).map_err(Fault::at("no_new_privs"))?;
        if self.scopes {
            let domain = scopes().and_then(Ruleset::create).and_then(landlock::RulesetCreated::restrict_self);
            domain.map_err(|error| Fault::at("a Landlock domain")(io::Error::other(error)))?;
        }
        if self.processes {
            return Ok(());
        }
        filter::install(filter::Kind::OthersAlone).map_err(Fault::at(FILTER))
    }

    fn lay_covers(&self) -> Result<(), Fault> {
        let at = |path: &Path| Fault::at::<io::Error>(path.display().to_string());
        let trees = self
            .brought
            .iter()
            .map(|Brought { from, to }| Ok((to, copy(from).map_err(at(from))?)));
        let trees: Vec<_> = trees.collect::<Result<_, _>>()?;
        for (place, cover) in &self.covers {
            match cover {
                // Nobody makes a folder in there afterwards.
                Cover::Still => still::hold(
                    place,
                    trees
                        .iter()
                        .filter_map(|(to, _)| (to.parent() == Some(place)).then(|| to.file_name())?),
                ),
                cover => cover.lay(place),
            }
            .map_err(at(place))?;
        }
        for (folder, tree) in &trees {
            bring(folder, tree).map_err(at(folder))?;
        }
        Ok(())
    }

    /// Where a folder of ours is to be seen in there by what the program starts in sandboxes of its own, too: these put a `/dev` of their own in
    /// the place of this one, and with it what is in `/dev/shm`; `/run` they leave (bubblewrap as Codex and sandbox-runtime call it).
    #[must_use]
    pub fn within(&self, folder: &Path) -> PathBuf {
        let mut still = self.covers.iter().filter(|(_, cover)| self.namespaces && *cover == Cover::Still);
        match (still.next(), folder.file_name()) {
            (Some((place, _)), Some(name)) => place.join(name),
            _ => folder.to_owned(),
        }
    }

    fn raise_fence(&self, fence: &Fence) -> Result<(), Fault> {
        let workspace = fence.mount()?;
        fence.connect()?;
        rustix::process::fchdir(&workspace).map_err(Fault::at("the workspace"))?;
        set_no_new_privs(true).map_err(Fault::at("no_new_privs"))?;
        fence.close(&workspace)
    }

    /// Where it stands is still what was there before.
    fn go_in(&self) -> Result<(), Fault> {
        let folder = || self.folder.display().to_string();
        rustix::process::chdir(&self.folder).map_err(|error| Fault::at(folder())(error))
    }

    /// In place of `/dev` a folder with what stays of it, and terminals that are the program's own: in those of others it could read what is
    /// typed, and write what looks like a prompt.
    fn replace_devices(&self) -> io::Result<()> {
        let dev = Path::new(DEV);
        let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        let terminal = streams.into_iter().find_map(|stream| rustix::termios::ttyname(stream, vec![]).ok());
        let terminal = terminal
            .map(|name| copy(Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()))))
            .transpose()?;
        let mut kept = vec![];
        for device in &self.devices {
            match device {
                Device::Link(..) | Device::Queues(_) => {}
                Device::Node(name) | Device::Folder(name) => match copy(&dev.join(text(name))) {
                    Ok(tree) => kept.push((device, tree)),
                    // It was unplugged.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                },
            }
        }
        tmpfs(dev, MountFlags::NOSUID | MountFlags::NOEXEC, c"mode=755,size=64k")?;
        for (device, tree) in &kept {
            match device {
                Device::Node(name) => put_node(&dev.join(text(name)), tree)?,
                Device::Folder(name) => {
                    let place = dev.join(text(name));
                    rustix::fs::mkdir(&place, Mode::from_raw_mode(0o755))?;
                    put(&place, tree)?;
                }
                Device::Link(..) | Device::Queues(_) => {}
            }
        }
        for device in &self.devices {
            match device {
                Device::Link(name, target) => rustix::fs::symlink(target.as_c_str(), dev.join(text(name)))?,
                Device::Queues(name) => {
                    let place = dev.join(text(name));
                    rustix::fs::mkdir(&place, Mode::from_raw_mode(0o755))?;
                    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                    mount(SOURCE, &place, "mqueue", flags, None)?;
                }
                Device::Node(_) | Device::Folder(_) => {}
            }
        }
        let terminals = dev.join("pts");
        rustix::fs::mkdir(&terminals, Mode::from_raw_mode(0o755))?;
        let options = c"newinstance,ptmxmode=0666,mode=620";
        mount(SOURCE, &terminals, "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, options)?;
        rustix::fs::symlink("pts/ptmx", dev.join("ptmx"))?;
        // Its own terminal is one of outside, and is found by that name (ttyname(3) looks through /dev).
        if let Some(terminal) = &terminal {
            put_node(&dev.join("console"), terminal)?;
        }
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC;
        Ok(mount_remount(dev, flags, "")?)
    }
}

impl Cover {
    fn lay(self, place: &Path) -> io::Result<()> {
        match self {
            Self::Closed => {
                match rustix::fs::mkdir(place, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                tmpfs(place, flags, c"mode=000,size=4k")
            }
            Self::Empty(mode) => {
                let options = CString::new(format!("mode={mode:o},size=10%"))?;
                tmpfs(place, MountFlags::NOSUID | MountFlags::NODEV, &options)
            }
            Self::Memory => tmpfs(place, MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777"),
            Self::ReadOnly => fence::hold_still(place),
            Self::Still => still::hold(place, []),
            Self::Nothing => Ok(mount_bind("/dev/null", place)?),
        }
    }
}

/// A user namespace in which we are who we are, for the mount namespace that comes with it, and more.
fn enter(more: UnshareFlags) -> Result<(), Fault> {
    let refused = "a mount namespace of its own";
    // Before: in a namespace without a mapping everybody is nobody.
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    // SAFETY: descriptors stay shared; the process has one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS | more) }.map_err(Fault::at(refused))?;
    // Of a process that is not dumpable these files are root's. This copy has nothing that the program will not have.
    set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(Fault::at(refused))?;
    let same = |id: u32| format!("{id} {id} 1");
    for (file, text) in [("setgroups", "deny".to_owned()), ("uid_map", same(uid)), ("gid_map", same(gid))] {
        fs::write(format!("/proc/self/{file}"), text).map_err(Fault::at(refused))?;
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Fault::at(refused))
}

/// A domain that signals do not leave, nor connections to abstract sockets.
fn scopes() -> Result<Ruleset, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .scope(Scope::AbstractUnixSocket | Scope::Signal)
}

fn tmpfs(place: &Path, flags: MountFlags, options: &std::ffi::CStr) -> io::Result<()> {
    Ok(mount(SOURCE, place, "tmpfs", flags, options)?)
}

/// A folder and all that is mounted in it, as a mount that is nowhere yet.
fn copy(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, path, flags)?)
}

/// Puts a folder back where it was, to read only.
fn bring(folder: &Path, tree: &OwnedFd) -> io::Result<()> {
    match rustix::fs::mkdir(folder, Mode::from_raw_mode(0o700)) {
        // It lies where nothing was laid over it.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    fence::read_only(tree.as_fd(), c"", libc::AT_EMPTY_PATH)?;
    put(folder, tree)
}

fn put(place: &Path, tree: &OwnedFd) -> io::Result<()> {
    Ok(move_mount(tree.as_fd(), "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn put_node(place: &Path, tree: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    drop(rustix::fs::open(place, flags, Mode::from_raw_mode(0o600))?);
    put(place, tree)
}

fn text(name: &CString) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()))
}

/// Of a user namespace in which we are root there would be all.
fn drop_capabilities() -> io::Result<()> {
    for number in 0..CAPABILITIES {
        // SAFETY: a number; one that is none is an error.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
    }
    // SAFETY: numbers only.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    let none = rustix::thread::CapabilitySets {
        effective: rustix::thread::CapabilitySet::empty(),
        permitted: rustix::thread::CapabilitySet::empty(),
        inheritable: rustix::thread::CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, none)?)
}
