//! Files of the vault: read with limits and without following links, written so that a power cut leaves the old file or the new one.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::error::VaultError;

/// Files and folders of one change that are synced each by itself; for more, syncfs(2) is faster, whatever else waits for the disk.
const SYNCED_ONE_BY_ONE: usize = 64;

/// Bytes for names of a folder at a time: most folders fit.
const LISTED: usize = 4096;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// `NONBLOCK`: opening a FIFO that somebody put there must not wait for its other end.
const FILE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
const READ: OFlags = OFlags::RDONLY.union(FILE);
/// No time of access: it would be a write to the disk for each file that is looked at. For the owner only (open(2)).
const UNNOTED: OFlags = OFlags::NOATIME;
const WITHIN: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// A folder, reached by descriptor: what is opened lies in it, whatever links are put into it meanwhile.
pub struct Store {
    root: OwnedFd,
    folder: PathBuf,
    #[cfg(test)]
    pub(super) faults: super::faults::Faults,
}

/// A folder of the vault, held open: its files are read without walking down to it for each.
pub struct Folder {
    dir: OwnedFd,
    path: String,
}

/// Something in a vault's folder with a name outside UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stranger {
    /// Where, below the vault's folder: bytes outside ASCII as `\xNN`.
    pub path: String,
    /// By what find(1) finds it, whatever its name is.
    pub inode: u64,
}

/// The only writer, until dropped.
pub struct Lock<'a> {
    store: &'a Store,
    _flock: OwnedFd,
}

/// No writer, until dropped.
pub struct Shared {
    _flock: OwnedFd,
}

impl Store {
    /// Opens the folder of an existing vault.
    ///
    /// # Errors
    /// [`VaultError::NoVault`], [`VaultError::NotOurs`], a link in the last component.
    pub fn open(folder: &Path) -> Result<Self, VaultError> {
        let shown = folder.display().to_string();
        let root = match fs::open(folder, DIRECTORY, Mode::empty()) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Err(VaultError::NoVault { folder: shown }),
            Err(e) => return Err(VaultError::read(&shown, e.into())),
        };
        let stat = fs::fstat(&root).map_err(|e| VaultError::read(&shown, e.into()))?;
        check_owner(&stat, &shown)?;
        Ok(Self {
            root,
            folder: folder.to_owned(),
            #[cfg(test)]
            faults: super::faults::Faults::default(),
        })
    }

    /// Makes the folder (mode 0700, with its parents) where there is none, and opens it.
    ///
    /// # Errors
    /// As [`Store::open`]; a parent that cannot be written.
    pub fn create(folder: &Path) -> Result<Self, VaultError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|e| VaultError::write(&folder.display().to_string(), e))?;
        Self::open(folder)
    }

    /// The folder's path, for messages.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All of a file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`VaultError::Missing`]; a link, device or folder; a larger file; a file of another user.
    pub fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, VaultError> {
        split(path)?;
        let (file, size) = plain(self.open_at(path, READ)?, path, limit)?;
        read_start(&file, size).map_err(|e| VaultError::read(path, e))
    }

    /// As [`Store::read`], `None` for a file that is not there.
    ///
    /// # Errors
    /// As [`Store::read`], but for [`VaultError::Missing`].
    pub fn read_if_there(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, VaultError> {
        match self.read(path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(VaultError::Missing { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether something lies at `path`.
    ///
    /// # Errors
    /// A system call that failed for another reason than that nothing is there.
    pub fn exists(&self, path: &str) -> Result<bool, VaultError> {
        let (dir, name) = match self.parent(path) {
            Ok(found) => found,
            Err(VaultError::Missing { .. }) => return Ok(false),
            Err(e) => return Err(e),
        };
        match fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(VaultError::read(path, e.into())),
        }
    }

    /// Names in the folder `path` (empty for the vault's own), sorted, without those that begin with a dot, and without strangers
    /// ([`Folder::entries`]). None when there is no such folder.
    ///
    /// # Errors
    /// A system call that failed.
    pub fn list(&self, path: &str) -> Result<Vec<String>, VaultError> {
        self.folder_at(path)?.map_or_else(|| Ok(Vec::new()), |folder| folder.names())
    }

    /// See [`Folder::entries`]; nothing when there is no such folder.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn entries(&self, path: &str) -> Result<(Vec<String>, Vec<Stranger>), VaultError> {
        self.folder_at(path)?
            .map_or_else(|| Ok(Default::default()), |folder| folder.entries())
    }

    /// The folder `path`, to read several of its files; nothing when there is no such folder.
    ///
    /// # Errors
    /// A link on the way; a system call that failed.
    pub fn folder_at(&self, path: &str) -> Result<Option<Folder>, VaultError> {
        let path = path.to_owned();
        match self.directory(&path) {
            Ok(dir) => Ok(Some(Folder { dir, path })),
            Err(VaultError::Missing { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Paths of all files below the folder `path`, at most one folder deep.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn list_below(&self, path: &str) -> Result<Vec<String>, VaultError> {
        let mut paths = Vec::new();
        for name in self.list(path)? {
            let path = format!("{path}/{name}");
            match self.list(&path) {
                Ok(names) => paths.extend(names.into_iter().map(|name| format!("{path}/{name}"))),
                Err(VaultError::NotPlain { .. }) => paths.push(path),
                Err(e) => return Err(e),
            }
        }
        Ok(paths)
    }

    /// Becomes the only writer, or says at once that there is another one: nobody is kept waiting by a wait for it.
    ///
    /// The folder itself is locked (`flock(2)`), so that no lock file can be left behind or land in git.
    ///
    /// # Errors
    /// [`VaultError::Busy`].
    pub fn lock(&self) -> Result<Lock<'_>, VaultError> {
        let _flock = self.flock(FlockOperation::NonBlockingLockExclusive)?;
        Ok(Lock { store: self, _flock })
    }

    /// Keeps writers out until what is given is dropped, or says at once that there is one.
    ///
    /// # Errors
    /// [`VaultError::Busy`].
    pub fn lock_shared(&self) -> Result<Shared, VaultError> {
        let _flock = self.flock(FlockOperation::NonBlockingLockShared)?;
        Ok(Shared { _flock })
    }

    fn flock(&self, operation: FlockOperation) -> Result<OwnedFd, VaultError> {
        // A descriptor of its own: a second lock through the same one would always succeed.
        let flock = fs::openat(&self.root, ".", DIRECTORY, Mode::empty()).map_err(|e| VaultError::read(".", e.into()))?;
        loop {
            match fs::flock(&flock, operation) {
                Ok(()) => return Ok(flock),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Err(VaultError::Busy),
                Err(e) => return Err(VaultError::read(".", e.into())),
            }
        }
    }

    /// Device and inode of the folder: the same for every path that leads to it.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn place(&self) -> Result<(u64, u64), VaultError> {
        let stat = fs::fstat(&self.root).map_err(|e| VaultError::read(".", e.into()))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), VaultError> {
        let (folder, name) = split(path)?;
        Ok((self.directory(folder)?, name))
    }

    fn directory(&self, path: &str) -> Result<OwnedFd, VaultError> {
        parts(path)?;
        self.open_at(if path.is_empty() { "." } else { path }, DIRECTORY)
    }

    /// A link anywhere on the way is refused, not only in the last place.
    fn open_at(&self, path: &str, flags: OFlags) -> Result<OwnedFd, VaultError> {
        let opened = match fs::openat2(&self.root, path, flags | UNNOTED, Mode::empty(), WITHIN) {
            // Before Linux 5.6, where a filter of system calls is older than this one, and what is another user's.
            Err(Errno::NOSYS | Errno::PERM) => self.walk(path, flags),
            opened => opened,
        };
        opened.map_err(|e| VaultError::read(path, e.into()))
    }

    /// What `openat2` does, in a system call for each part.
    fn walk(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let (above, last) = path.rsplit_once('/').unwrap_or((".", path));
        let mut dir = fs::openat(&self.root, ".", DIRECTORY, Mode::empty())?;
        for part in above.split('/') {
            dir = fs::openat(&dir, part, DIRECTORY, Mode::empty())?;
        }
        open_in(&dir, last, flags)
    }

    #[cfg(test)]
    fn step(&self, path: &str) -> Result<(), VaultError> {
        self.faults.step().map_err(|e| VaultError::write(path, e))
    }

    /// Before each call that changes something: where tests cut.
    #[cfg(not(test))]
    #[allow(clippy::unnecessary_wraps, clippy::unused_self)]
    fn step(&self, _path: &str) -> Result<(), VaultError> {
        Ok(())
    }
}

impl Folder {
    /// Names of its files and folders, sorted, without those that begin with a dot, and without strangers.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn names(&self) -> Result<Vec<String>, VaultError> {
        Ok(self.entries()?.0)
    }

    /// Names as [`Folder::names`] gives them, and what has a name that nothing in a vault has: it is none of ours, and costs nobody
    /// but itself.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn entries(&self) -> Result<(Vec<String>, Vec<Stranger>), VaultError> {
        let (mut names, mut strangers) = (Vec::new(), Vec::new());
        self.each(|name, inode| match str::from_utf8(name) {
            Ok(name) => names.push(name.to_owned()),
            Err(_) => strangers.push(Stranger {
                path: format!("{}/{}", self.path, name.escape_ascii()).trim_start_matches('/').to_owned(),
                inode,
            }),
        })?;
        names.sort_unstable();
        strangers.sort_unstable();
        Ok((names, strangers))
    }

    /// Those of [`Folder::names`] that begin with `start`.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn names_with(&self, start: &str) -> Result<Vec<String>, VaultError> {
        let mut names = Vec::new();
        self.each(|name, _| {
            let found = name.starts_with(start.as_bytes()).then(|| str::from_utf8(name));
            names.extend(found.and_then(Result::ok).map(str::to_owned));
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Gives `look` each name that does not begin with a dot, and its inode, in no order.
    fn each(&self, mut look: impl FnMut(&[u8], u64)) -> Result<(), VaultError> {
        let failed = |e: Errno| VaultError::read(&self.path, e.into());
        let mut buffer = [MaybeUninit::uninit(); LISTED];
        fs::seek(&self.dir, SeekFrom::Start(0)).map_err(failed)?;
        let mut entries = RawDir::new(&self.dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if !name.starts_with(b".") {
                look(name, entry.ino());
            }
        }
        Ok(())
    }

    /// The first `len` bytes of a file of at most `limit` bytes, or all of a shorter one.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_front(&self, name: &str, len: usize, limit: usize) -> Result<Vec<u8>, VaultError> {
        let path = format!("{}/{name}", self.path);
        let file = open_in(&self.dir, name, READ).map_err(|e| VaultError::read(&path, e.into()))?;
        let (file, size) = plain(file, &path, limit)?;
        read_start(&file, size.min(len)).map_err(|e| VaultError::read(&path, e))
    }
}

impl Lock<'_> {
    /// The folder that is locked.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store
    }

    /// Writes a file (mode 0600) so that after a power cut it is there whole, or not at all, or as it was: temporary file in the
    /// same folder, fsync, rename, fsync of the folder.
    ///
    /// # Errors
    /// A full disk, a read-only folder, any other failure; the file is then as it was.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let written = self.write_all(&[(path, bytes)]);
        if written.is_err()
            && let Ok((dir, name)) = self.store.parent(path)
        {
            // Best effort: the next writer removes it in any case.
            let _ = fs::unlinkat(&dir, format!(".tmp-{name}"), AtFlags::empty());
        }
        written
    }

    /// Writes files as [`Lock::write`] does; many of them are synced with their whole file system, which is one wait for the disk
    /// in place of thousands. When this returns all of them are durable; when it fails, any of them may be there.
    ///
    /// # Errors
    /// As [`Lock::write`]; temporary files may be left behind.
    pub fn write_all<B: AsRef<[u8]>>(&self, files: &[(impl AsRef<str>, B)]) -> Result<(), VaultError> {
        let mut touched = BTreeSet::new();
        let one_by_one = files.len() <= SYNCED_ONE_BY_ONE;
        for (path, bytes) in files {
            let file = self.write_temporary(path.as_ref(), bytes.as_ref(), &mut touched)?;
            if one_by_one {
                self.store.step(path.as_ref())?;
                file.sync_all().map_err(|e| VaultError::write(path.as_ref(), e))?;
            }
        }
        if !one_by_one {
            self.sync_file_system()?;
        }
        for (path, _) in files {
            let path = path.as_ref();
            let (dir, name) = self.store.parent(path)?;
            self.store.step(path)?;
            fs::renameat(&dir, format!(".tmp-{name}"), &dir, name).map_err(|e| VaultError::write(path, e.into()))?;
        }
        self.sync_folders(&touched)
    }

    fn write_temporary(&self, path: &str, bytes: &[u8], touched: &mut BTreeSet<String>) -> Result<File, VaultError> {
        let failed = |e: Errno| VaultError::write(path, e.into());
        let dir = self.make_directories(path, touched)?;
        let temporary = format!(".tmp-{}", path.rsplit('/').next().unwrap_or(path));
        self.store.step(path)?;
        // One that an interrupted writer left; the lock says nobody is at work on it.
        match fs::unlinkat(&dir, &temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(failed(e)),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | FILE;
        let mut file = File::from(fs::openat(&dir, &temporary, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?);
        self.store.step(path)?;
        file.write_all(bytes).map_err(|e| VaultError::write(path, e))?;
        Ok(file)
    }

    /// Adds to the end of a file that is a hint only (mode 0600, made where it is missing, in a folder that is there): not synced, and after a power cut its end
    /// may be missing.
    ///
    /// # Errors
    /// As [`Lock::write`].
    pub fn append(&self, path: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let (dir, name) = self.store.parent(path)?;
        self.store.step(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | FILE;
        let opened = fs::openat(&dir, name, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(opened.map_err(|e| VaultError::write(path, e.into()))?);
        file.write_all(bytes).map_err(|e| VaultError::write(path, e))
    }

    /// Removes files and what interrupted writes of them left; nothing there is fine.
    ///
    /// # Errors
    /// A read-only folder, any other failure.
    pub fn remove_all(&self, paths: &[String]) -> Result<(), VaultError> {
        let mut touched = BTreeSet::new();
        for path in paths {
            let (dir, name) = match self.store.parent(path) {
                Ok(found) => found,
                Err(VaultError::Missing { .. }) => continue,
                Err(e) => return Err(e),
            };
            for name in [name, &format!(".tmp-{name}")] {
                self.store.step(path)?;
                match fs::unlinkat(&dir, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(e) => return Err(VaultError::write(path, e.into())),
                }
            }
            touched.insert(folder_of(path).to_owned());
        }
        self.sync_folders(&touched)
    }

    /// Makes it durable that the file `path` is there, which an interrupted writer left: its folder is synced, and those above, which
    /// may be as new.
    ///
    /// # Errors
    /// As [`Lock::write`].
    pub fn sync_place(&self, path: &str) -> Result<(), VaultError> {
        let above = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
        self.sync_folders(&above.chain([String::new()]).collect())
    }

    fn sync_folders(&self, folders: &BTreeSet<String>) -> Result<(), VaultError> {
        if folders.len() > SYNCED_ONE_BY_ONE {
            return self.sync_file_system();
        }
        for folder in folders {
            self.store.step(folder)?;
            let dir = self.store.directory(folder)?;
            fs::fsync(&dir).map_err(|e| VaultError::write(folder, e.into()))?;
        }
        Ok(())
    }

    fn sync_file_system(&self) -> Result<(), VaultError> {
        self.store.step(".")?;
        fs::syncfs(&self.store.root).map_err(|e| VaultError::write(".", e.into()))
    }

    /// The folder of `path`, made where it is missing; `touched` gets the folders in which there is something new to be synced.
    fn make_directories(&self, path: &str, touched: &mut BTreeSet<String>) -> Result<OwnedFd, VaultError> {
        let folder = folder_of(path);
        let failed = |e: Errno| VaultError::write(path, e.into());
        let mut dir = self
            .store
            .root
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| VaultError::write(path, e))?;
        let mut above = String::new();
        for part in parts(folder)? {
            match fs::mkdirat(&dir, part, Mode::RWXU) {
                Ok(()) => {
                    self.store.step(path)?;
                    touched.insert(above.clone());
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(failed(e)),
            }
            dir = fs::openat(&dir, part, DIRECTORY, Mode::empty()).map_err(failed)?;
            above = if above.is_empty() {
                part.to_owned()
            } else {
                format!("{above}/{part}")
            };
        }
        touched.insert(above);
        Ok(dir)
    }
}

/// Folder and name of a file; no folder is hidden, and neither leads out of the vault's.
fn split(path: &str) -> Result<(&str, &str), VaultError> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if matches!(name, "" | "." | "..") {
        return Err(leads_out(path));
    }
    parts(folder)?;
    Ok((folder, name))
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Components of a path below the vault's folder; nothing that leads out of it, nothing hidden.
fn parts(path: &str) -> Result<Vec<&str>, VaultError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if path.starts_with('/') || parts.iter().any(|part| part.starts_with('.')) {
        return Err(leads_out(path));
    }
    Ok(parts)
}

/// Something in `dir` itself. What is another user's is opened too: whoever looks at it next says whose it is.
fn open_in(dir: &OwnedFd, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    match fs::openat(dir, name, flags | UNNOTED, Mode::empty()) {
        Err(Errno::PERM) => fs::openat(dir, name, flags, Mode::empty()),
        opened => opened,
    }
}

fn leads_out(path: &str) -> VaultError {
    VaultError::damaged(path, "a path that leads out of the vault")
}

/// A regular file of ours, and its size in bytes: at most `limit`.
fn plain(fd: OwnedFd, path: &str, limit: usize) -> Result<(File, usize), VaultError> {
    let stat = fs::fstat(&fd).map_err(|e| VaultError::read(path, e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(VaultError::NotPlain { path: path.to_owned() });
    }
    check_owner(&stat, path)?;
    let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
    if size > limit {
        return Err(VaultError::damaged(path, "larger than any file of its kind"));
    }
    Ok((File::from(fd), size))
}

/// The first `len` bytes of a file, or all of a shorter one: what is written to it meanwhile is no part of any file of ours.
fn read_start(mut file: &File, len: usize) -> io::Result<Vec<u8>> {
    let (mut bytes, mut filled) = (vec![0; len], 0);
    while filled < len {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn check_owner(stat: &Stat, path: &str) -> Result<(), VaultError> {
    let us = rustix::process::geteuid().as_raw();
    if stat.st_uid == us {
        Ok(())
    } else {
        Err(VaultError::NotOurs {
            path: path.to_owned(),
            owner: stat.st_uid,
            us,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::{Timespec, Timestamps};

    use super::super::testing::Folder;
    use super::*;

    #[test]
    fn what_is_written_is_read_back_with_private_modes() {
        let folder = Folder::new();
        let store = Store::create(&folder.join("v")).unwrap();
        store.lock().unwrap().write("a/b/c", b"text").unwrap();
        assert_eq!(store.read("a/b/c", 4).unwrap(), b"text");
        let mode = |path: &str| std::fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("v"), mode("v/a/b"), mode("v/a/b/c")), (0o700, 0o700, 0o600));
        assert_eq!(store.list("a/b").unwrap(), ["c"]);
        assert!(store.list("nothing").unwrap().is_empty());
    }

    #[test]
    fn a_name_outside_utf_8_is_a_stranger_and_the_others_are_listed() {
        use std::os::unix::ffi::OsStrExt;
        let folder = Folder::new();
        let store = Store::open(&folder).unwrap();
        std::fs::create_dir(folder.join("a")).unwrap();
        std::fs::write(folder.join("a/ours"), b"x").unwrap();
        let stranger = folder.join("a").join(std::ffi::OsStr::from_bytes(b"\xff\x1b[2J"));
        std::fs::write(&stranger, b"x").unwrap();
        let (names, strangers) = store.entries("a").unwrap();
        assert_eq!((names, strangers.len()), (vec!["ours".to_owned()], 1));
        assert_eq!(strangers[0].path, "a/\\xff\\x1b[2J");
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&stranger).unwrap());
        assert_eq!(strangers[0].inode, inode);
    }

    #[test]
    fn a_look_at_files_and_folders_leaves_no_time_of_access() {
        let folder = Folder::new();
        let store = Store::open(&folder).unwrap();
        store.lock().unwrap().write("a/file", b"x").unwrap();
        let long_ago = Timespec { tv_sec: 1, tv_nsec: 0 };
        let times = Timestamps {
            last_access: long_ago,
            last_modification: long_ago,
        };
        for path in ["a/file", "a"] {
            fs::utimensat(&store.root, path, &times, AtFlags::empty()).unwrap();
        }
        assert_eq!(store.read("a/file", 9).unwrap(), b"x");
        let within = store.folder_at("a").unwrap().unwrap();
        assert_eq!(within.read_front("file", 9, 9).unwrap(), b"x");
        assert_eq!(
            (within.names_with("fi").unwrap().len(), within.names_with("x").unwrap().len()),
            (1, 0)
        );
        for path in ["a/file", "a"] {
            assert_eq!(fs::statat(&store.root, path, AtFlags::empty()).unwrap().st_atime, 1, "{path}");
        }
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let folder = Folder::new();
        let store = Store::open(&folder).unwrap();
        std::fs::write(folder.join("big"), [0; 11]).unwrap();
        assert!(matches!(store.read("big", 10), Err(VaultError::Damaged { .. })));
    }

    #[test]
    fn t25_links_devices_and_paths_that_lead_out_are_refused() {
        let folder = Folder::new();
        std::fs::create_dir(folder.join("v")).unwrap();
        std::fs::write(folder.join("outside"), b"x").unwrap();
        std::fs::create_dir(folder.join("dir")).unwrap();
        std::fs::write(folder.join("dir/file"), b"x").unwrap();
        symlink("../outside", folder.join("v/link")).unwrap();
        symlink("../dir", folder.join("v/dir")).unwrap();
        let store = Store::open(&folder.join("v")).unwrap();
        assert!(matches!(store.read("link", 9), Err(VaultError::NotPlain { .. })));
        assert!(matches!(store.read("dir/file", 9), Err(VaultError::NotPlain { .. })));
        assert!(matches!(
            store.lock().unwrap().write("dir/new", b""),
            Err(VaultError::NotPlain { .. })
        ));
        assert!(matches!(store.read("../outside", 9), Err(VaultError::Damaged { .. })));
        // As kernels without openat2(2) do it.
        for (path, refused) in [("link", Errno::LOOP), ("dir/file", Errno::NOTDIR)] {
            assert_eq!(store.walk(path, READ).unwrap_err(), refused);
        }
        std::fs::create_dir(folder.join("v/plain")).unwrap();
        std::fs::write(folder.join("v/plain/file"), b"x").unwrap();
        store.walk("plain/file", READ).unwrap();
        store.walk(".", DIRECTORY).unwrap();
        let fifo = std::ffi::CString::new(folder.join("v/fifo").to_str().unwrap()).unwrap();
        fs::mknodat(fs::CWD, fifo.as_c_str(), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(store.read("fifo", 9), Err(VaultError::NotPlain { .. })));
        symlink(folder.join("v"), folder.join("w")).unwrap();
        assert!(matches!(Store::open(&folder.join("w")), Err(VaultError::NotPlain { .. })));
    }

    #[test]
    fn t25_a_folder_of_another_user_is_no_vault() {
        use std::os::unix::fs::{MetadataExt, chown};
        let (us, folder) = (rustix::process::geteuid().as_raw(), Folder::new());
        let mut theirs = PathBuf::from("/");
        if std::fs::metadata(&theirs).unwrap().uid() == us {
            theirs = folder.join("v");
            std::fs::create_dir(&theirs).unwrap();
            chown(&theirs, Some(us + 1), None).unwrap();
        }
        let owner = std::fs::metadata(&theirs).unwrap().uid();
        let Err(refused) = Store::open(&theirs) else {
            panic!("{theirs:?} was opened")
        };
        let expected = (theirs.display().to_string(), owner, us);
        assert!(matches!(refused, VaultError::NotOurs { path, owner, us } if (path.clone(), owner, us) == expected));
    }

    #[test]
    fn t52_two_writers_exclude_each_other() {
        let folder = Folder::new();
        let (one, two) = (Store::open(&folder).unwrap(), Store::open(&folder).unwrap());
        let held = one.lock().unwrap();
        assert!(matches!(two.lock(), Err(VaultError::Busy)));
        drop(held);
        two.lock().unwrap();
    }

    #[test]
    fn a_place_without_a_vault_is_named() {
        let folder = Folder::new();
        assert!(matches!(Store::open(&folder.join("none")), Err(VaultError::NoVault { .. })));
    }
}
