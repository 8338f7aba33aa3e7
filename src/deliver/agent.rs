//! What an agent is kept from, and what it keeps: the [`Walls`] of `touchlease run --agent`.
//!
//! Everything stays as the user has it, but for what is named here. Out of reach are our own folders, the device nodes of keys, pcscd, and
//! what would start a program outside of the walls for whoever asks: the session's bus and service manager, terminal multiplexers, container
//! engines, the graphical screen.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, DirBuilder, FileType};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::paths::Places;
use crate::sys::walls::processes::can_have_proc;
use crate::sys::walls::{Cover, Device, Walls, has_scopes};

/// Entries of `/dev` that go, by the beginning of their names: keys' nodes (hidraw, USB), nodes by which a program can be a keyboard or a key
/// (uhid, uinput), keyboards that could be listened to (input), other ways to the same (char, block, disk), and terminals, which are made anew.
const NO_DEVICES: [&str; 11] = [
    "hidraw", "bus", "usb", "uhid", "uinput", "input", "char", "block", "disk", "pts", "ptmx",
];

/// Sockets of programs that run what they are told outside of the walls, for whoever may connect.
const ENGINES: [&str; 9] = [
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/libvirt/libvirt-sock",
    "/run/incus/unix.socket",
    "/var/lib/incus/unix.socket",
    "/var/lib/lxd/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
];

/// Folders of the terminal multiplexers' and editors' sockets, with the user's number behind the name.
const SERVERS: [&str; 3] = ["tmux-", "emacs", "zellij-"];

/// Variables that name the socket of what runs what it is told: window managers, editors, terminals. A variable of ssh-agent's is none of them:
/// git needs it.
const NAMING: [&str; 10] = [
    "I3SOCK",
    "SWAYSOCK",
    "NIRI_SOCKET",
    "NVIM",
    "NVIM_LISTEN_ADDRESS",
    "EMACS_SOCKET_NAME",
    "VSCODE_IPC_HOOK_CLI",
    "KITTY_LISTEN_ON",
    "ALACRITTY_SOCKET",
    "WEZTERM_UNIX_SOCKET",
];

/// Folders of the users' sessions, by number, and the system's bus.
const SESSIONS: &str = "/run/user";
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// Where programs of the user share memory, and where ours have files when `$XDG_RUNTIME_DIR` is not in memory.
const SHARED_MEMORY: &str = "/dev/shm";
const QUEUES: &str = "mqueue";

/// Where servers of the system listen, and what each of them starts anew.
const RUN: &str = "/run";

/// Where pcscd listens, and the X server's socket.
const PCSCD: &str = "/run/pcscd";
const SCREENS: &str = "/tmp/.X11-unix";

/// What the walls are built from.
pub struct Surroundings<'a> {
    /// Our own places.
    pub places: &'a Places,
    /// The vaults that are known by name.
    pub vaults: Vec<PathBuf>,
    /// The environment.
    pub var: &'a dyn Fn(&str) -> Option<OsString>,
    /// The user.
    pub uid: u32,
    /// The user's home by the table of accounts: what the environment says may be another.
    pub home: Option<PathBuf>,
    /// The folder in which the agent starts.
    pub folder: &'a Path,
    /// `/proc/self/mountinfo`.
    pub mounts: &'a str,
}

/// Why there are no walls for this.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It would start in a folder that is out of its reach.
    #[error("an agent cannot work in {0}, which is out of its reach")]
    Inside(PathBuf),
    /// A place that cannot be looked at, or a folder of ours that cannot be made.
    #[error("{place}: {error}")]
    Place {
        /// Which.
        place: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// The walls around an agent.
///
/// # Errors
/// See [`AgentError`].
pub fn walls(around: &Surroundings<'_>) -> Result<Walls, AgentError> {
    let folder = real(around.folder)?;
    let mut covers = Covers {
        mounts: mounts(around.mounts),
        all: vec![],
    };
    if let Ok(run) = fs::canonicalize(RUN) {
        // First: what lies over a part of it is laid over that.
        covers.all.push((run, Cover::Still));
    }
    around.empty(&mut covers, &folder);
    for ours in around.ours() {
        let above = ours.parent().unwrap_or(&ours);
        DirBuilder::new().recursive(true).mode(0o700).create(above).map_err(at(above))?;
        covers.add(&real(above)?.join(ours.file_name().unwrap_or_default()), Cover::Closed);
    }
    if is_there(Path::new(PCSCD)) {
        covers.add(&real(Path::new(PCSCD))?, Cover::Closed);
    }
    if let Ok(place) = fs::canonicalize(SHARED_MEMORY) {
        covers.add(&place, Cover::Memory);
    }
    for place in cgroups(around.mounts) {
        covers.add(&place, Cover::ReadOnly);
    }
    let needed = around.needed(&folder);
    for socket in around.listeners().into_iter().chain(around.engines()) {
        let socket = real(&socket)?;
        match own_folder(&socket, &needed) {
            Some(own) => covers.add(own, Cover::Empty(0o700)),
            // There are none.
            None if covers
                .all
                .iter()
                .any(|(place, cover)| *cover == Cover::Still && socket.parent() == Some(place)) => {}
            None => covers.add(&socket, Cover::Nothing),
        }
    }
    // One that is not there yet comes into these.
    let known = ENGINES.iter().chain([&SYSTEM_BUS]);
    for own in known.filter_map(|socket| own_folder(Path::new(socket), &needed)) {
        if let Ok(own) = fs::canonicalize(own) {
            covers.add(&own, Cover::Empty(0o700));
        }
    }
    if covers
        .all
        .iter()
        .any(|(place, cover)| *cover != Cover::Still && folder.starts_with(place))
    {
        return Err(AgentError::Inside(folder));
    }
    Ok(Walls {
        covers: covers.all,
        brought: vec![],
        devices: devices(Path::new("/dev")).map_err(at(Path::new("/dev")))?,
        folder,
        namespaces: true,
        processes: can_have_proc(around.mounts),
        scopes: has_scopes(),
        fence: None,
    })
}

impl Surroundings<'_> {
    /// Our folders: whether they are there or not, nobody else is to make them.
    fn ours(&self) -> Vec<PathBuf> {
        let config = self.places.config.parent().map(Path::to_owned);
        let vaults = self.vaults.iter().filter(|vault| is_there(vault)).cloned();
        // A vault that is not there yet has no folder to be kept from; the default one's is ours by its name.
        let data = self.vaults.iter().filter_map(|vault| vault.parent());
        let data = data
            .filter(|folder| folder.file_name() == Some(OsStr::new("touchlease")))
            .map(Path::to_owned);
        let places = [self.places.state.clone(), self.places.runtime.clone()];
        config.into_iter().chain(data).chain(vaults).chain(places).collect()
    }

    /// Folders that are private and empty in there.
    fn empty(&self, covers: &mut Covers, folder: &Path) {
        let named = |name: &str| (self.var)(name).map(PathBuf::from);
        // Whether a variable names another folder or none: what listens is where it was started, by whatever was set there.
        let temporary: Vec<PathBuf> = ["TMUX_TMPDIR", "TMPDIR"]
            .into_iter()
            .filter_map(named)
            .chain(["/tmp".into()])
            .collect();
        let servers = temporary
            .iter()
            .flat_map(|folder| SERVERS.map(|name| folder.join(format!("{name}{}", self.uid))));
        let servers: Vec<PathBuf> = servers.collect();
        for server in &servers {
            // One that is not there is made, as the server itself makes it: else it would be seen in there once that is started.
            let _ = DirBuilder::new().mode(0o700).create(server);
        }
        let screen =
            (self.var)("USER").map(|user| Path::new("/run/screen").join([OsStr::new("S-"), &user].into_iter().collect::<OsString>()));
        let session = Path::new(SESSIONS).join(self.uid.to_string());
        let homes = self.homes();
        let screens = screen
            .into_iter()
            .chain(named("SCREENDIR"))
            .chain(homes.iter().map(|home| home.join(".screen")));
        for place in named("XDG_RUNTIME_DIR").into_iter().chain([session]).chain(servers).chain(screens) {
            let Ok(place) = fs::canonicalize(place) else { continue };
            // One that the variable names by mistake.
            let needed = homes.iter().chain(&temporary).map(PathBuf::as_path);
            let mut needed = needed.chain([folder]);
            if !needed.any(|needed| needed.starts_with(&place)) {
                covers.add(&place, Cover::Empty(0o700));
            }
        }
        if let Ok(place) = fs::canonicalize(SCREENS) {
            covers.add(&place, Cover::Empty(0o1777));
        }
    }

    /// Folders that stay as they are, by either of their names: those that everybody has things in, and what is needed.
    fn needed(&self, folder: &Path) -> Vec<PathBuf> {
        let everybodys = ["/tmp", "/var/tmp", RUN, "/run/user", "/var/run", "/dev", "/dev/shm"].map(PathBuf::from);
        let named = ["TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"];
        let named = named.into_iter().filter_map(self.var).map(PathBuf::from);
        let homes = self.homes();
        let in_homes = homes
            .iter()
            .flat_map(|home| [".cache", ".config", ".local/share", ".local/state"].map(|name| home.join(name)));
        let needed = everybodys.into_iter().chain(named).chain(in_homes).chain(homes.iter().cloned());
        let mut needed: Vec<PathBuf> = needed.chain([folder.to_owned()]).collect();
        let real: Vec<PathBuf> = needed.iter().filter_map(|place| fs::canonicalize(place).ok()).collect();
        needed.extend(real);
        needed
    }

    fn homes(&self) -> Vec<PathBuf> {
        (self.var)("HOME").map(PathBuf::from).into_iter().chain(self.home.clone()).collect()
    }

    /// Sockets of buses and multiplexers that variables name, wherever they are.
    fn listeners(&self) -> Vec<PathBuf> {
        let buses = ["DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS"]
            .into_iter()
            .filter_map(self.var);
        let tmux = (self.var)("TMUX").and_then(|text| Some(PathBuf::from(text.to_str()?.split(',').next()?)));
        let named = NAMING.into_iter().filter_map(self.var);
        let named = named.map(|name| PathBuf::from(OsStr::from_bytes(name.as_bytes().strip_prefix(b"unix:").unwrap_or(name.as_bytes()))));
        let found = buses.flat_map(|address| bus_sockets(&address)).chain(tmux).chain(named);
        found
            .chain([PathBuf::from(SYSTEM_BUS)])
            .filter(|socket| is_socket(socket))
            .collect()
    }

    /// The engines' sockets that this user may connect to.
    fn engines(&self) -> Vec<PathBuf> {
        let named = (self.var)("DOCKER_HOST").and_then(|host| Some(PathBuf::from(host.to_str()?.strip_prefix("unix://")?)));
        let homes = self.homes();
        let desktop = homes
            .iter()
            .flat_map(|home| [home.join(".docker/run/docker.sock"), home.join(".docker/desktop/docker.sock")]);
        let known = ENGINES.iter().map(PathBuf::from);
        known
            .chain(named)
            .chain(desktop)
            .filter(|socket| access(socket, Access::WRITE_OK).is_ok())
            .collect()
    }
}

/// The folder that a socket has for itself and its server: neither what is needed, nor above that.
fn own_folder<'a>(socket: &'a Path, needed: &[PathBuf]) -> Option<&'a Path> {
    let own = socket.parent()?;
    (!needed.iter().any(|needed| needed.starts_with(own))).then_some(own)
}

/// What is covered so far.
struct Covers {
    mounts: Vec<Mount>,
    all: Vec<(PathBuf, Cover)>,
}

impl Covers {
    /// Covers a place, wherever else it is mounted too. What is below a place that is covered is gone with it, but for the closed ones: they
    /// are closed in an empty folder too, so that nobody takes it for a place where nothing is yet.
    fn add(&mut self, place: &Path, cover: Cover) {
        let within = |all: &[(PathBuf, Cover)], place: &Path| {
            let above = |(above, laid): &(PathBuf, Cover)| {
                let within = place.starts_with(above) && *laid != Cover::Still;
                within && (cover != Cover::Closed || *laid == Cover::Closed || place == above)
            };
            all.iter().any(above)
        };
        for place in [place.to_owned()].into_iter().chain(elsewhere(place, &self.mounts, &same)) {
            if !within(&self.all, &place) {
                self.all.push((place, cover));
            }
        }
    }
}

/// One line of mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug)]
struct Mount {
    device: String,
    /// Which folder of the file system is mounted.
    root: PathBuf,
    place: PathBuf,
}

fn mounts(text: &str) -> Vec<Mount> {
    let parsed = text.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(2);
        Some(Mount {
            device: words.next()?.to_owned(),
            root: unescaped(words.next()?),
            place: unescaped(words.next()?),
        })
    });
    parsed.collect()
}

/// Blanks and the like stand there as `\040`.
fn unescaped(text: &str) -> PathBuf {
    let (mut bytes, mut rest) = (vec![], text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes).into()
}

/// Where else the same folder is to be seen, or a part of it.
fn elsewhere(place: &Path, mounts: &[Mount], same: &dyn Fn(&Path, &Path) -> bool) -> Vec<PathBuf> {
    let holds = mounts.iter().filter(|mount| place.starts_with(&mount.place));
    // Of several at one place the last one is on top, and is the one that is found.
    let own = holds.max_by_key(|mount| mount.place.as_os_str().len());
    let Some((own, below)) = own.and_then(|own| Some((own, place.strip_prefix(&own.place).ok()?))) else {
        return vec![];
    };
    let at = own.root.join(below);
    let others = mounts.iter().filter(|mount| mount.device == own.device).filter_map(|mount| {
        let (here, there) = match (at.strip_prefix(&mount.root), mount.root.strip_prefix(&at)) {
            (Ok(below), _) => (place.to_owned(), mount.place.join(below)),
            (_, Ok(below)) => (place.join(below), mount.place.clone()),
            _ => return None,
        };
        // `join` of nothing ends with a slash. What is mounted over is not to be seen.
        let there: PathBuf = there.components().collect();
        (!there.starts_with(place) && same(&here, &there)).then_some(there)
    });
    others.collect()
}

fn same(one: &Path, other: &Path) -> bool {
    let seen = |path| fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((seen(one), seen(other)), (Ok(one), Ok(other)) if one == other)
}

/// What stays of a `/dev`: what this user may open at all, and is none of [`NO_DEVICES`].
fn devices(dev: &Path) -> io::Result<Vec<Device>> {
    let mut kept = vec![];
    for entry in fs::read_dir(dev)? {
        let entry = entry?;
        let name = entry.file_name();
        let path = entry.path();
        if NO_DEVICES.iter().any(|start| name.as_bytes().starts_with(start.as_bytes())) {
            continue;
        }
        let kind = entry.file_type()?;
        let c_name = CString::new(name.as_bytes())?;
        if kind.is_symlink() {
            kept.push(Device::Link(
                c_name,
                CString::new(fs::read_link(&path)?.into_os_string().into_vec())?,
            ));
        } else if may_open(&path, kind) {
            kept.push(match kind.is_dir() {
                true if name == QUEUES => Device::Queues(c_name),
                true => Device::Folder(c_name),
                false => Device::Node(c_name),
            });
        }
    }
    Ok(kept)
}

fn may_open(path: &Path, kind: FileType) -> bool {
    let may = |how| access(path, how).is_ok();
    match kind {
        kind if kind.is_dir() => may(Access::READ_OK | Access::EXEC_OK),
        kind if kind.is_char_device() || kind.is_block_device() || kind.is_socket() => may(Access::READ_OK) || may(Access::WRITE_OK),
        _ => may(Access::READ_OK),
    }
}

/// The sockets that a bus's addresses name (D-Bus Specification, "Server Addresses"): `unix:path=/run/user/1000/bus,guid=...;...`.
fn bus_sockets(addresses: &OsStr) -> Vec<PathBuf> {
    let addresses = addresses.as_bytes().split(|byte| *byte == b';');
    let members = addresses
        .filter_map(|address| address.strip_prefix(b"unix:"))
        .flat_map(|members| members.split(|byte| *byte == b','));
    let paths = members.filter_map(|member| member.strip_prefix(b"path="));
    paths.map(|path| PathBuf::from(OsString::from_vec(unquoted(path)))).collect()
}

/// Bytes that stand there as `%2C`.
fn unquoted(text: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (vec![], text);
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    bytes
}

/// Where control groups are to be seen: whoever writes there stops and ends all processes of a group, whatever walls are between them.
fn cgroups(mountinfo: &str) -> Vec<PathBuf> {
    let mounted = mountinfo.lines().filter_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let place = fields.split(' ').nth(4).filter(|_| kind.starts_with("cgroup"))?;
        Some(unescaped(place))
    });
    mounted.collect()
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn real(path: &Path) -> Result<PathBuf, AgentError> {
    fs::canonicalize(path).map_err(at(path))
}

fn at(place: &Path) -> impl FnOnce(io::Error) -> AgentError {
    let place = place.to_owned();
    move |error| AgentError::Place { place, error }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t24_a_folder_that_is_mounted_elsewhere_too_is_covered_there() {
        let table = mounts(
            "20 1 8:1 / / rw shared:1 - ext4 /dev/a rw\n\
             21 20 8:2 / /data rw - ext4 /dev/b rw\n\
             22 20 8:2 /homes /home rw - ext4 /dev/b rw\n\
             23 20 8:2 /homes/a/vault/deep /mnt/with\\040blank rw - ext4 /dev/b rw\n\
             24 20 8:3 /homes /other rw - ext4 /dev/c rw\n",
        );
        let found = |place, same| elsewhere(Path::new(place), &table, &|_, _| same);
        let both = ["/data/homes/a/vault", "/mnt/with blank"].map(PathBuf::from);
        assert_eq!(found("/home/a/vault", true), both);
        assert_eq!(
            found("/home/a/vault/deep/er", true),
            ["/data/homes/a/vault/deep/er", "/mnt/with blank/er"].map(PathBuf::from)
        );
        assert!(found("/home/a/vault", false).is_empty(), "something else is mounted over it");
        assert!(found("/srv", true).is_empty());
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::create_dir(&one).unwrap();
        std::os::unix::fs::symlink(&one, &two).unwrap();
        assert!(!same(&one, &two) && same(&one, &one));
    }

    #[test]
    fn t24_nodes_of_keys_and_what_could_be_one_are_not_kept_and_others_are() {
        let dev = tempfile::tempdir().unwrap();
        for node in ["null", "hidraw0", "hidraw17", "uhid", "uinput", "kvm"] {
            fs::write(dev.path().join(node), "").unwrap();
        }
        for folder in ["bus", "usb", "input", "char", "pts", "shm", "mqueue"] {
            fs::create_dir(dev.path().join(folder)).unwrap();
        }
        std::os::unix::fs::symlink("/proc/self/fd", dev.path().join("fd")).unwrap();
        let mut kept = devices(dev.path()).unwrap();
        kept.sort_by_key(|device| format!("{device:?}"));
        let name = |text: &str| CString::new(text).unwrap();
        let wanted = [
            Device::Folder(name("shm")),
            Device::Link(name("fd"), name("/proc/self/fd")),
            Device::Node(name("kvm")),
            Device::Node(name("null")),
            Device::Queues(name("mqueue")),
        ];
        assert_eq!(kept, wanted);
    }

    #[test]
    fn t24_sockets_of_a_bus_and_folders_of_control_groups_are_found_by_what_names_them() {
        let found = |text: &str| bus_sockets(OsStr::new(text));
        assert_eq!(found("unix:path=/tmp/dbus-a%2Cb,guid=00"), [PathBuf::from("/tmp/dbus-a,b")]);
        assert_eq!(
            found("tcp:host=a;unix:guid=1,path=/run/a;unix:abstract=/b"),
            [PathBuf::from("/run/a")]
        );
        let table = "28 25 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                     29 25 0:24 / /mnt/a\\040b rw shared:7 - cgroup c rw\n\
                     30 25 0:25 / /tmp rw - tmpfs t rw\n";
        assert_eq!(cgroups(table), ["/sys/fs/cgroup", "/mnt/a b"].map(PathBuf::from));
    }

    #[test]
    fn t24_sessions_and_multiplexers_are_covered_whatever_folder_a_variable_names() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::from_env(&|name| (name == "HOME").then(|| root.path().into())).unwrap();
        let uid = 4_000_000_001;
        let elsewhere = root.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let socket = root.path().join("dbus");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let (terminal, screens) = (root.path().join("kitty"), root.path().join("screens"));
        let _terminal = std::os::unix::net::UnixListener::bind(&terminal).unwrap();
        fs::create_dir(&screens).unwrap();
        let var = |name: &str| match name {
            "TMUX_TMPDIR" => Some(elsewhere.clone().into_os_string()),
            "KITTY_LISTEN_ON" => Some(format!("unix:{}", terminal.display()).into()),
            "SCREENDIR" => Some(screens.clone().into_os_string()),
            "DBUS_SESSION_BUS_ADDRESS" => Some(format!("unix:path={}", socket.display()).into()),
            _ => None,
        };
        let around = Surroundings {
            places: &places,
            vaults: vec![],
            var: &var,
            uid,
            home: None,
            folder: root.path(),
            mounts: "",
        };
        let covers = walls(&around).unwrap().covers;
        for folder in [Path::new("/tmp"), &elsewhere] {
            for name in SERVERS {
                let place = folder.join(format!("{name}{uid}"));
                assert!(covers.contains(&(place.clone(), Cover::Empty(0o700))), "{place:?} in {covers:?}");
                fs::remove_dir(place).unwrap();
            }
        }
        for socket in [&socket, &terminal] {
            assert!(covers.contains(&(socket.canonicalize().unwrap(), Cover::Nothing)), "{socket:?}");
        }
        assert!(covers.contains(&(screens.canonicalize().unwrap(), Cover::Empty(0o700))));
    }

    #[test]
    fn what_is_below_a_closed_folder_is_not_closed_again_and_what_is_below_an_empty_one_is() {
        let mut covers = Covers {
            mounts: vec![],
            all: vec![],
        };
        for (place, cover) in [
            ("/run/user/1", Cover::Empty(0o700)),
            ("/run/user/1/touchlease", Cover::Closed),
            ("/run/user/1/tmux-1", Cover::Empty(0o700)),
            ("/home/a/state", Cover::Closed),
            ("/home/a/state/run", Cover::Closed),
        ] {
            covers.add(Path::new(place), cover);
        }
        let places: Vec<_> = covers.all.iter().map(|(place, _)| place.to_str().unwrap()).collect();
        assert_eq!(places, ["/run/user/1", "/run/user/1/touchlease", "/home/a/state"]);
    }
}
