//! The narrowest walls: for a command that an agent has run, and that must get nowhere where the agent does not get by itself.
//!
//! What may be read and written is named; all else is out of reach, whatever it is. The network is a namespace's of its own, with nothing in
//! it but the way to one port. For the rest there are three layers, each of which holds without the others:
//! mounts are read-only but for the folders to write in, so that nothing else can be changed, not even a mode or an attribute, which
//! Landlock does not handle; a Landlock domain opens no file that is not named, connects to one TCP port or none, and sends no signal to
//! anybody outside; and a filter of system calls (seccomp(2)) leaves no sockets but TCP's, since a domain does not handle Unix sockets
//! before ABI 9, nor UDP, MPTCP or a fast open, and nothing that the kernel keeps for a user beside files (keyrings, io_uring's sockets).

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{CWD, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::{Fault, bridge, filter, put, tmpfs};

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
/// How many links may lead from one to the next (path_resolution(7)).
const LONGEST_CHAIN: usize = 40;

/// Where its temporary files are, in memory, and how much of it.
pub const TEMPORARY: &str = "/tmp/touchlease-task";
const TEMPORARY_SIZE: &CStr = c"mode=700,size=1g,nr_inodes=200k";
/// A folder in which there is nothing but what is put there.
const BARE: &CStr = c"mode=755,size=1m";
const DEV: &str = "/dev";

/// What a command may do, beside running the system's programs.
#[derive(Clone, Debug)]
pub struct Fence {
    /// The folder to write in, without links, from / on: where it is seen.
    pub workspace: PathBuf,
    /// The same folder: a name may lead elsewhere by now.
    pub handle: Arc<OwnedFd>,
    /// What is in it and is not to be changed, by name in that folder.
    pub kept: Vec<CString>,
    /// Files and folders to read, beside the system's.
    pub readable: Vec<PathBuf>,
    /// Folders that are empty but for what is named here. Those within others come later.
    pub covered: Vec<PathBuf>,
    /// The port of this machine's loopback to connect to; none for no network at all.
    pub port: Option<u16>,
    /// Who carries what is sent to the port: [`Bridge::descriptor`](super::bridge::Bridge::descriptor).
    pub bridge: Option<RawFd>,
}

/// A mount that is to be put at a place, where there is a folder or a file for it.
struct Tree {
    place: PathBuf,
    tree: OwnedFd,
    is_folder: bool,
}

impl Tree {
    fn of(place: &Path) -> io::Result<Self> {
        Ok(Self {
            place: place.to_owned(),
            tree: copy(CWD.as_fd(), place, OpenTreeFlags::empty())?,
            is_folder: place.is_dir(),
        })
    }

    /// Makes the place, where it is in a folder that is covered.
    fn make_place(&self) -> io::Result<()> {
        if self.is_folder {
            return fs::create_dir_all(&self.place);
        }
        fs::create_dir_all(self.place.parent().unwrap_or(Path::new("/")))?;
        File::options().create(true).append(true).open(&self.place).map(drop)
    }
}

impl Fence {
    /// The descriptor that a copy of this process needs.
    pub(super) fn handle(fence: &Self) -> Option<RawFd> {
        Some(fence.handle.as_raw_fd())
    }

    /// The workspace as a mount of its own. The descriptor that we have is of a mount of another namespace, which none here can be made of:
    /// so it is opened anew, and is the same folder or is refused.
    fn open_workspace(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&self.workspace, flags, Mode::empty())?;
        let (named, held) = (fstat(&opened)?, fstat(&self.handle)?);
        if (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino) {
            return Err(Errno::STALE.into());
        }
        copy(opened.as_fd(), Path::new(""), OpenTreeFlags::AT_EMPTY_PATH)
    }

    /// Leaves nothing but what is named, and makes everything read-only but what may be written. In a mount namespace of our own. Gives the
    /// workspace as it is seen in there.
    pub(super) fn mount(&self) -> Result<OwnedFd, Fault> {
        let at = |path: &Path| Fault::at::<io::Error>(path.display().to_string());
        let links = ["fd", "stdin", "stdout", "stderr"].map(|name| (Path::new(DEV).join(name), fs::read_link(Path::new(DEV).join(name))));
        let workspace = self.open_workspace().map_err(at(&self.workspace))?;
        let mut trees = vec![];
        // Of the system's nodes some may be missing; of what is to be read nothing is.
        for node in NODES.map(Path::new).into_iter().filter(|node| node.exists()) {
            trees.push(Tree::of(node).map_err(at(node))?);
        }
        for path in &self.readable {
            trees.push(Tree::of(path).map_err(at(path))?);
        }
        for tree in &trees {
            read_only(tree.tree.as_fd(), c"", libc::AT_EMPTY_PATH).map_err(at(&tree.place))?;
        }
        trees.push(Tree {
            place: self.workspace.clone(),
            tree: workspace,
            is_folder: true,
        });
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        for place in self.covered.iter().map(PathBuf::as_path).chain([Path::new(DEV)]) {
            tmpfs(place, flags, BARE).map_err(at(place))?;
        }
        for (link, target) in links {
            if let Ok(target) = target {
                std::os::unix::fs::symlink(target, &link).map_err(at(&link))?;
            }
        }
        let temporary = Path::new(TEMPORARY);
        fs::create_dir_all(temporary).map_err(at(temporary))?;
        for tree in &trees {
            tree.make_place().map_err(at(&tree.place))?;
        }
        read_only(CWD.as_fd(), c"/", 0).map_err(Fault::at("read-only mounts"))?;
        for tree in &trees {
            put(&tree.place, &tree.tree).map_err(at(&tree.place))?;
        }
        tmpfs(temporary, MountFlags::NOSUID | MountFlags::NODEV, TEMPORARY_SIZE).map_err(at(temporary))?;
        DirBuilder::new().mode(0o700).create(home()).map_err(at(temporary))?;
        let workspace = trees
            .pop()
            .map(|tree| tree.tree)
            .ok_or(io::ErrorKind::NotFound)
            .map_err(Fault::at("a workspace"))?;
        for name in &self.kept {
            keep(&workspace, name).map_err(Fault::at(format!("{} in the workspace", name.to_string_lossy())))?;
        }
        Ok(workspace)
    }

    /// Opens the port in the network that is behind the fence, where there is nothing else.
    pub(super) fn connect(&self) -> Result<(), Fault> {
        let (Some(port), Some(bridge)) = (self.port, self.bridge) else {
            return Ok(());
        };
        bridge::open_port(port, bridge).map_err(Fault::at("a way to the proxy"))
    }

    /// Closes the rest. `no_new_privs` is set.
    pub(super) fn close(&self, workspace: &OwnedFd) -> Result<(), Fault> {
        super::drop_capabilities().map_err(Fault::at("capabilities"))?;
        let status = self
            .domain(workspace)
            .map_err(|error| Fault::at("a Landlock domain")(io::Error::other(error)))?;
        if status != RulesetStatus::FullyEnforced {
            return Err(Fault::at("a Landlock domain")(io::Error::from(io::ErrorKind::Unsupported)));
        }
        let kind = if self.port.is_some() {
            filter::Kind::Tcp
        } else {
            filter::Kind::NoSockets
        };
        filter::install(kind).map_err(Fault::at(super::FILTER))
    }

    fn domain(&self, workspace: &OwnedFd) -> Result<RulesetStatus, RulesetError> {
        let read = AccessFs::from_read(NEEDED);
        // Nobody makes a device node, nor commands one.
        let write = AccessFs::from_all(NEEDED) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
        let node = AccessFs::ReadFile | AccessFs::WriteFile;
        let readable = SYSTEM.iter().map(Path::new).chain(self.readable.iter().map(PathBuf::as_path));
        let rules = readable
            .map(|path| (path, read))
            .chain(NODES.iter().map(|path| (Path::new(path), node)))
            .chain([(Path::new(TEMPORARY), write)]);
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
        ruleset = ruleset.add_rule(PathBeneath::new(workspace, write))?;
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

/// In place of the home: in the temporary folder.
#[must_use]
pub fn home() -> PathBuf {
    Path::new(TEMPORARY).join("home")
}

/// Makes what is called so in the workspace read-only, if it is there: nobody can then rename it either. Of a link that is the link itself,
/// whose own mount keeps it in its place, and beside it whatever in the workspace it leads through.
fn keep(workspace: &OwnedFd, name: &CStr) -> io::Result<()> {
    let mut todo = vec![name.to_owned()];
    let mut kept: Vec<CString> = vec![];
    while let Some(name) = todo.pop() {
        if kept.contains(&name) {
            continue;
        }
        let tree = match copy(workspace.as_fd(), path(&name), OpenTreeFlags::AT_SYMLINK_NOFOLLOW) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            tree => tree?,
        };
        read_only(tree.as_fd(), c"", libc::AT_EMPTY_PATH)?;
        move_mount(&tree, "", workspace, &*name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        todo.extend(first_steps(workspace, path(&name))?);
        kept.push(name);
    }
    Ok(())
}

/// Where a link in the workspace leads, by each name in the workspace itself that is on the way: who replaced one of those would lead it
/// elsewhere. What is on the way outside of it is read-only as it is.
fn first_steps(workspace: &OwnedFd, name: &Path) -> io::Result<Vec<CString>> {
    let seen = proc_path(workspace);
    let root = fs::read_link(&seen)?;
    let mut found = vec![];
    let mut place = root.join(name);
    for _ in 0..LONGEST_CHAIN {
        // Up to the first link on the way.
        let mut so_far = PathBuf::new();
        let mut steps = place.components();
        let link = loop {
            let Some(step) = steps.next() else { return Ok(found) };
            let above = so_far.clone();
            match step {
                Component::ParentDir => drop(so_far.pop()),
                step => so_far.push(step),
            }
            let below = so_far.strip_prefix(&root).ok().and_then(|below| below.components().next());
            if let Some(Component::Normal(first)) = below {
                found.push(CString::new(first.as_bytes())?);
            }
            if let Ok(target) = fs::read_link(&so_far) {
                break above.join(target);
            }
        };
        place = link.join(steps.as_path());
    }
    // Such a chain leads nowhere (ELOOP).
    Ok(found)
}

fn proc_path(of: &OwnedFd) -> PathBuf {
    Path::new("/proc/self/fd").join(of.as_raw_fd().to_string())
}

fn path(name: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(name.to_bytes()))
}

fn copy(at: BorrowedFd<'_>, path: &Path, more: OpenTreeFlags) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(at, path, flags | more)?)
}

/// The argument of mount_setattr(2).
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Puts what is at a place, and all below it, over itself, read-only.
pub(super) fn hold_still(place: &Path) -> io::Result<()> {
    let tree = copy(CWD.as_fd(), place, OpenTreeFlags::empty())?;
    read_only(tree.as_fd(), c"", libc::AT_EMPTY_PATH)?;
    put(place, &tree)
}

/// A mount and all below it (Linux 5.12).
pub(super) fn read_only(at: BorrowedFd<'_>, path: &CStr, flags: libc::c_int) -> io::Result<()> {
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
