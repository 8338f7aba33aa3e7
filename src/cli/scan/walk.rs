//! All files below a folder, opened by several threads.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use super::channel::{Channel, Item, Name};
use crate::sys::pass;

/// Threads that walk: what they wait for is the kernel.
const MOST_THREADS: usize = 4;

/// File systems whose files are answers of the kernel, without an end in some cases (statfs(2), linux/magic.h): proc, sysfs, cgroup,
/// cgroup2, debugfs, tracefs, securityfs, bpf, devpts, configfs, pstore, efivarfs, fusectl, mqueue.
const PSEUDO: [i64; 14] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x1cd1,
    0x6265_6570,
    0x6165_676c,
    0xde5e_81e4,
    0x6573_5543,
    0x1980_0202,
];

/// Folders to look into, each with the file system above it.
#[derive(Default)]
struct Queue {
    folders: Vec<(PathBuf, Option<u64>)>,
    /// Folders that some thread is in: they may bring more.
    busy: usize,
}

struct Walk<'a> {
    channel: &'a Channel,
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// Sends a file, or all files below a folder. Links below it are not followed.
pub fn tree(path: &Path, channel: &Channel) {
    if !path.is_dir() {
        let mut batch = Batch::new(channel);
        one(path.to_owned(), channel, &mut batch);
        batch.flush();
        return;
    }
    let queue = Queue {
        folders: vec![(path.to_owned(), None)],
        busy: 0,
    };
    let walk = Walk {
        channel,
        queue: Mutex::new(queue),
        changed: Condvar::new(),
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| walk.work());
        }
    });
}

/// Sends one file, by a path that was listed as one.
pub fn file(path: PathBuf, channel: &Channel, batch: &mut Batch<'_>) {
    let kind = fs::symlink_metadata(&path).map(|meta| meta.file_type());
    match kind {
        Ok(kind) if kind.is_file() => one(path, channel, batch),
        Ok(kind) if kind.is_symlink() => channel.pass_over(|over| over.links += 1),
        // A submodule is a folder.
        Ok(kind) if kind.is_dir() => {}
        Ok(_) => channel.pass_over(|over| over.special.push(path.display().to_string())),
        // Listed by git, and not there any more.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => unread(channel, &path, &error),
    }
}

impl Walk<'_> {
    fn work(&self) {
        let mut batch = Batch::new(self.channel);
        while let Some((folder, above)) = self.next(&mut batch) {
            if let Err(error) = self.folder(&folder, above, &mut batch) {
                unread(self.channel, &folder, &error);
            }
            self.queue.lock().unwrap_or_else(PoisonError::into_inner).busy -= 1;
            self.changed.notify_all();
        }
    }

    /// The next folder; nothing once there are none and none can come.
    fn next(&self, batch: &mut Batch<'_>) -> Option<(PathBuf, Option<u64>)> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(folder) = queue.folders.pop() {
                queue.busy += 1;
                return Some(folder);
            }
            if queue.busy == 0 {
                drop(queue);
                batch.flush();
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn folder(&self, folder: &Path, above: Option<u64>, batch: &mut Batch<'_>) -> io::Result<()> {
        let device = fs::symlink_metadata(folder)?.dev();
        if above != Some(device) && is_pseudo(folder) {
            self.channel.pass_over(|over| over.pseudo.push(folder.display().to_string()));
            return Ok(());
        }
        let mut below = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                below.push((entry.path(), Some(device)));
            } else if kind.is_file() {
                one(entry.path(), self.channel, batch);
            } else if kind.is_symlink() {
                self.channel.pass_over(|over| over.links += 1);
            } else {
                self.channel.pass_over(|over| over.special.push(entry.path().display().to_string()));
            }
        }
        if !below.is_empty() {
            self.queue.lock().unwrap_or_else(PoisonError::into_inner).folders.append(&mut below);
            self.changed.notify_all();
        }
        Ok(())
    }
}

/// Files for one packet.
pub struct Batch<'a> {
    channel: &'a Channel,
    items: Vec<Item>,
}

impl<'a> Batch<'a> {
    pub fn new(channel: &'a Channel) -> Self {
        Self { channel, items: vec![] }
    }

    pub fn push(&mut self, item: Item) {
        self.items.push(item);
        if self.items.len() == pass::MOST {
            self.flush();
        }
    }

    /// To a worker that is gone nothing goes; who waits for its reply is told why.
    pub fn flush(&mut self) {
        self.channel.send(std::mem::take(&mut self.items));
    }
}

fn one(path: PathBuf, channel: &Channel, batch: &mut Batch<'_>) {
    match open(&path) {
        Ok(file) => batch.push(Item {
            name: Name::File(path),
            file,
        }),
        // A link, or another thing, has taken its place.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => channel.pass_over(|over| over.links += 1),
        Err(error) => unread(channel, &path, &error),
    }
}

/// Does not wait, whatever it is: the worker looks whether it is a regular file.
fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn unread(channel: &Channel, path: &Path, error: &io::Error) {
    let why = std::io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO)).to_string();
    channel.pass_over(|over| over.unread.push((path.display().to_string(), why)));
}

fn is_pseudo(folder: &Path) -> bool {
    // As wide as it has to be on every machine.
    #[allow(clippy::unnecessary_cast, reason = "its type is not the same everywhere")]
    rustix::fs::statfs(folder).is_ok_and(|system| PSEUDO.contains(&(system.f_type as i64 & 0xffff_ffff)))
}
