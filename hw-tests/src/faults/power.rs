//! Power cuts: what lies on a disk that loses its power at a call of the daemon.
//!
//! Vault and state are each on a file system of their own, in an image that is mounted. A file system that shared its journal with
//! the other folder would make durable what nobody synced. The daemon is killed at the call, no other one starts, and then each image
//! is cloned while it is mounted.
//!
//! A clone is one moment of its image, whatever the kernel writes just then (`ioctl_ficlonerange(2)`, "clones are atomic with regards
//! to concurrent writes"); a copy, which takes its time, would be a mixture of several that no disk ever had. So it holds what the file
//! system had sent to its disk by then, each request whole, and nothing of what stood in memory only. That is a disk that takes
//! requests in their order and loses none that it took. One with a cache of its own may besides lose any that came after the last
//! flush: this is not tried.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{
    bench::{Bench, let_a_daemon_start, stop},
    cut::{Both, Ended, aimed, fresh, points, traced},
    operation::{Lost, Operation, Start},
    strace::{Call, Fault},
};
use crate::harness::Home;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The folders of a home that are disks.
const DISKS: [&str; 2] = ["data", "state"];

/// A kind of file system: how it is made, and the smallest image that it takes.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    make: &'static [&'static str],
    megabytes: u64,
}

/// All that are tried.
pub const KINDS: [Kind; 3] = [
    Kind {
        name: "ext4",
        make: &["mkfs.ext4", "-q", "-F"],
        megabytes: 64,
    },
    Kind {
        name: "btrfs",
        make: &["mkfs.btrfs", "-q", "-f"],
        megabytes: 128,
    },
    Kind {
        name: "xfs",
        make: &["mkfs.xfs", "-q", "-f"],
        megabytes: 320,
    },
];

/// Room for all images; only what is written takes any.
const POOL: u64 = 16 << 30;

/// Images of one kind to start from, for each start.
pub struct Disks<'a> {
    bench: &'a Bench,
    pool: Pool,
}

/// A file system in an image of its own that can clone files: XFS, because ext4 cannot.
struct Pool {
    mounted: Mounted,
    folder: TempDir,
}

/// An image that is mounted; taken out when dropped.
struct Mounted {
    at: PathBuf,
    taken_out: bool,
}

impl<'a> Disks<'a> {
    /// Makes them.
    ///
    /// # Errors
    /// No such file system here, or no right to mount one.
    pub fn new(bench: &'a Bench, kind: Kind) -> Result<Self> {
        let pool = Pool::new()?;
        for start in Start::ALL {
            let home = bench.home(start)?;
            for disk in DISKS {
                let image = pool.path().join(format!("{start:?}-{disk}"));
                make(kind.make, &image, kind.megabytes << 20)?;
                let from = home.path().join(disk);
                fs::create_dir_all(&from)?;
                let mounted = Mounted::new(&image, &pool.aside())?;
                run(Command::new("cp").arg("-aT").args([&from, &mounted.at]))?;
                mounted.end()?;
            }
        }
        Ok(Self { bench, pool })
    }

    /// The calls that an undisturbed run makes on these disks.
    ///
    /// # Errors
    /// The operation fails.
    pub fn points(&self, operation: &Operation) -> Result<Vec<Call>> {
        let (home, _images, disks) = self.begin(operation)?;
        let points = points(self.bench, operation, &home)?;
        for disk in disks {
            disk.end()?;
        }
        Ok(points)
    }

    /// Runs the operation and takes the power away: at this call, or right after the client was told that it is done. Looks what is
    /// found when the power is back.
    ///
    /// # Errors
    /// A third state; something acknowledged that is lost.
    pub fn cut(&self, operation: &Operation, both: &Both, call: Option<&Call>) -> Result<Ended> {
        match call {
            Some(call) => aimed(call, |call| self.once(operation, both, Some(call))),
            None => Ok(self.once(operation, both, None)?.0),
        }
    }

    fn once(&self, operation: &Operation, both: &Both, call: Option<&Call>) -> Result<(Ended, Vec<Call>)> {
        let (home, images, disks) = self.begin(operation)?;
        let fault = call.map(|call| (call, Fault::Kill));
        let ((status, shown), calls, ()) = traced(self.bench, operation, &home, fault, Lost::Power, || Ok(()))?;
        // The one that a command started which is cut itself.
        stop(&home)?;
        for disk in DISKS {
            clone(&images.path().join(disk), &images.path().join(format!("{disk}-cut")))?;
        }
        for disk in disks {
            disk.end()?;
        }
        let found = self.bench.home(operation.begins_with_files())?;
        for disk in DISKS {
            let cut = Mounted::new(&images.path().join(format!("{disk}-cut")), &self.pool.aside())?;
            run(Command::new("cp").arg("-aT").args([&cut.at, &found.path().join(disk)]))?;
            cut.end()?;
        }
        let_a_daemon_start(&found)?;
        let ended = fresh(self.bench, operation, &found, both, status.success());
        stop(&found)?;
        let ended = ended.map_err(|error| format!("{error}\nthe command: {status}\n{shown}"))?;
        Ok((ended, calls))
    }

    /// A home with the disks that the operation starts from, and the folder of their images.
    fn begin(&self, operation: &Operation) -> Result<(Home, TempDir, Vec<Mounted>)> {
        let home = self.bench.home(operation.begins_with_files())?;
        // Images of its own: a disk that could not be taken out would go on writing to them.
        let images = tempfile::tempdir_in(self.pool.path())?;
        let insert = |disk| self.insert(&home, operation.start, disk, images.path());
        let disks = DISKS.map(insert).into_iter().collect::<Result<_>>()?;
        Ok((home, images, disks))
    }

    /// Mounts a disk with what it holds at this start in a home; its image is made in `images`.
    fn insert(&self, home: &Home, start: Start, disk: &str, images: &Path) -> Result<Mounted> {
        let image = images.join(disk);
        clone(&self.pool.path().join(format!("{start:?}-{disk}")), &image)?;
        let at = home.path().join(disk);
        fs::create_dir_all(&at)?;
        Mounted::new(&image, &at)
    }
}

impl Pool {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("touchlease-disks-").tempdir()?;
        let (image, at) = (folder.path().join("image"), folder.path().join("at"));
        make(&["mkfs.xfs", "-q", "-f", "-m", "reflink=1"], &image, POOL)?;
        for name in ["at", "aside"] {
            fs::create_dir(folder.path().join(name))?;
        }
        Ok(Self {
            mounted: Mounted::new(&image, &at)?,
            folder,
        })
    }

    /// Where its files lie.
    fn path(&self) -> &Path {
        &self.mounted.at
    }

    /// Where an image can be mounted to look into it.
    fn aside(&self) -> PathBuf {
        self.folder.path().join("aside")
    }
}

impl Mounted {
    fn new(image: &Path, at: &Path) -> Result<Self> {
        run(Command::new("mount").args(["-o", "loop"]).args([image, at]))?;
        Ok(Self {
            at: at.to_owned(),
            taken_out: false,
        })
    }

    /// Takes it out.
    ///
    /// # Errors
    /// Somebody has a file of it open: a process that should be gone.
    fn end(mut self) -> Result<()> {
        self.taken_out = true;
        run(Command::new("umount").arg(&self.at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.taken_out {
            // An error is under way, or this is the pool.
            let _ = run(Command::new("umount").arg(&self.at));
        }
    }
}

fn make(kind: &[&str], image: &Path, size: u64) -> Result<()> {
    fs::File::create(image)?.set_len(size)?;
    run(Command::new(kind[0]).args(&kind[1..]).arg(image))
}

/// Makes `copy` what `image` is at this moment.
fn clone(image: &Path, copy: &Path) -> Result<()> {
    run(Command::new("cp").arg("--reflink=always").args([image, copy]))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}
