//! The narrowest walls: for a command that an agent has run, and that must get nowhere where the agent does not get by itself.
//!
//! What may be read and written is named; all else is out of reach, whatever it is. The network is a namespace's of its own, with nothing in
//! it but the way to one port. For the rest there are three layers, each of which holds without the others:
//! mounts are read-only but for the folders to write in, so that nothing else can be changed, not even a mode or an attribute, which
//! Landlock does not handle; a Landlock domain opens no file that is not named, connects to one TCP port or none, and sends no signal to
//! anybody outside; and a filter of system calls (seccomp(2)) leaves no sockets but TCP's, since a domain does not handle Unix sockets
//! before ABI 9, nor UDP, MPTCP or a fast open, and nothing that the kernel keeps for a user beside files (keyrings, io_uring's sockets).

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::{Fault, bridge, filter, put};

/// What every program may read and execute: the system's.
const SYSTEM: [&str; 12] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/proc",
    "/sys/devices/system",
];
/// What every program may read from and write to.
const NODES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// The Landlock whose parts are all needed: files with truncation and device commands, TCP, signals and abstract sockets (Linux 6.12).
const NEEDED: ABI = ABI::V6;
/// Capabilities there may be (capabilities(7)); numbers that this kernel does not know are an error that changes nothing.
const CAPABILITIES: u32 = 64;

/// What a command may do, beside running the system's programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// Folders to write in. Paths without links, from / on.
    pub writable: Vec<PathBuf>,
    /// What is in them and is not to be changed.
    pub kept: Vec<PathBuf>,
    /// Files and folders to read, beside the system's.
    pub readable: Vec<PathBuf>,
    /// The port of this machine's loopback to connect to; none for no network at all.
    pub port: Option<u16>,
    /// Who carries what is sent to the port: [`Bridge::descriptor`](super::bridge::Bridge::descriptor).
    pub bridge: Option<std::os::fd::RawFd>,
}

impl Fence {
    /// Makes everything read-only but what may be written. In a mount namespace of our own.
    pub(super) fn mount(&self) -> Result<(), Fault> {
        let mut trees = vec![];
        for folder in &self.writable {
            let tree = copy(folder).map_err(Fault::at(folder.display().to_string()))?;
            trees.push((folder, tree));
        }
        read_only(CWD.as_fd(), c"/", 0).map_err(Fault::at("read-only mounts"))?;
        for (folder, tree) in &trees {
            put(folder, tree).map_err(Fault::at(folder.display().to_string()))?;
        }
        for path in self.kept.iter().filter(|path| fs::symlink_metadata(path).is_ok()) {
            let kept = || -> io::Result<()> {
                let tree = copy(path)?;
                read_only(tree.as_fd(), c"", libc::AT_EMPTY_PATH)?;
                put(path, &tree)
            };
            kept().map_err(Fault::at(path.display().to_string()))?;
        }
        Ok(())
    }

    /// Opens the port in the network that is behind the fence, where there is nothing else.
    pub(super) fn connect(&self) -> Result<(), Fault> {
        let (Some(port), Some(bridge)) = (self.port, self.bridge) else {
            return Ok(());
        };
        bridge::open_port(port, bridge).map_err(Fault::at("a way to the proxy"))
    }

    /// Closes the rest. `no_new_privs` is set.
    pub(super) fn close(&self) -> Result<(), Fault> {
        drop_capabilities().map_err(Fault::at("capabilities"))?;
        let status = self
            .domain()
            .map_err(|error| Fault::at("a Landlock domain")(io::Error::other(error)))?;
        if status != RulesetStatus::FullyEnforced {
            return Err(Fault::at("a Landlock domain")(io::Error::from(io::ErrorKind::Unsupported)));
        }
        filter::install(self.port.is_some()).map_err(Fault::at("a filter of system calls"))
    }

    fn domain(&self) -> Result<RulesetStatus, RulesetError> {
        let read = AccessFs::from_read(NEEDED);
        // Nobody makes a device node, nor commands one.
        let write = AccessFs::from_all(NEEDED) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
        let node = AccessFs::ReadFile | AccessFs::WriteFile;
        let readable = SYSTEM.iter().map(Path::new).chain(self.readable.iter().map(PathBuf::as_path));
        let rules = readable
            .map(|path| (path, read))
            .chain(NODES.iter().map(|path| (Path::new(path), node)))
            .chain(self.writable.iter().map(|path| (path.as_path(), write)));
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(NEEDED))?
            .handle_access(AccessNet::from_all(NEEDED))?
            .scope(Scope::from_all(NEEDED))?
            .create()?;
        for (path, access) in rules {
            // What is not there is not allowed.
            let Ok(handle) = PathFd::new(path) else { continue };
            ruleset = ruleset.add_rule(PathBeneath::new(handle, fitting(path, access)))?;
        }
        if let Some(port) = self.port {
            ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
        Ok(ruleset.restrict_self()?.ruleset)
    }
}

/// Whether this kernel's Landlock has all that a fence needs.
#[must_use]
pub fn has_all() -> bool {
    let made = || -> Result<(), RulesetError> {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(NEEDED))?
            .handle_access(AccessNet::from_all(NEEDED))?
            .scope(Scope::from_all(NEEDED))?
            .create()
            .map(drop)
    };
    made().is_ok()
}

/// Of a file only what can be done with a file.
fn fitting(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(NEEDED)
    }
}

fn copy(path: &Path) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, path, flags)?)
}

/// The argument of mount_setattr(2).
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// A mount and all below it (Linux 5.12).
fn read_only(at: std::os::fd::BorrowedFd<'_>, path: &std::ffi::CStr, flags: libc::c_int) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    const MOUNT_ATTR_RDONLY: u64 = 1;
    const AT_RECURSIVE: libc::c_int = 0x8000;
    let attributes = Attributes {
        set: MOUNT_ATTR_RDONLY,
        clear: 0,
        propagation: 0,
        userns: 0,
    };
    // SAFETY: the path is a C string, and the structure has the size that is told.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at.as_raw_fd(),
            path.as_ptr(),
            flags | AT_RECURSIVE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
