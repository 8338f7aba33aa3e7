//! Power cuts: what lies on a disk that loses its power at a call of the daemon.
//!
//! Vault and state are each on a file system of their own, in an image that is mounted. The daemon is killed at the call and the
//! image is copied while it is mounted: what was written and not synced is in no copy. A file system that shared its journal with
//! the other folder would make durable what nobody synced.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{
    cut::{Both, Ended, fresh, traced},
    operation::{Bench, Operation, Start, stop},
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

/// Images of one kind to start from, for each start.
pub struct Disks<'a> {
    bench: &'a Bench,
    folder: TempDir,
}

/// Disks that are mounted in a home; taken out when dropped.
struct Mounted<'a> {
    home: &'a Home,
    images: [PathBuf; 2],
}

impl<'a> Disks<'a> {
    /// Makes them.
    ///
    /// # Errors
    /// No such file system here, or no right to mount one.
    pub fn new(bench: &'a Bench, kind: Kind) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("touchlease-disks-").tempdir()?;
        for start in Start::ALL {
            let home = bench.home(start)?;
            for disk in DISKS {
                let image = folder.path().join(format!("{start:?}-{disk}"));
                fs::File::create(&image)?.set_len(kind.megabytes << 20)?;
                run(Command::new(kind.make[0]).args(&kind.make[1..]).arg(&image))?;
                let (from, at) = (home.path().join(disk), folder.path().join("at"));
                fs::create_dir_all(&from)?;
                fs::create_dir_all(&at)?;
                mount(&image, &at)?;
                run(Command::new("cp").arg("-aT").args([&from, &at]))?;
                run(Command::new("umount").arg(&at))?;
            }
        }
        Ok(Self { bench, folder })
    }

    /// Runs the operation and takes the power away: at this call, or right after the client was told that it is done. Looks what is
    /// found when the power is back.
    ///
    /// # Errors
    /// A third state; something acknowledged that is lost.
    pub fn cut(&self, operation: &Operation, both: &Both, call: Option<&Call>) -> Result<Ended> {
        let home = self.bench.home(operation.begins_with_files())?;
        let disks = self.mount(&home, operation.start)?;
        let copied = || disks.copy(self.folder.path());
        let linger = call.is_some();
        let ((status, shown), calls, copies) = traced(self.bench, operation, &home, call.map(|call| (call, Fault::Kill)), linger, copied)?;
        drop(disks);
        let found = self.bench.home(operation.begins_with_files())?;
        for (copy, disk) in copies.iter().zip(DISKS) {
            let at = self.folder.path().join("at");
            mount(copy, &at)?;
            let copied = run(Command::new("cp").arg("-aT").args([&at, &found.path().join(disk)]));
            run(Command::new("umount").arg(&at))?;
            copied?;
        }
        let ended = fresh(self.bench, operation, &found, both, status.success());
        stop(&found)?;
        let ended = ended.map_err(|error| format!("{error}\nthe command: {status}\n{shown}"))?;
        let hit = call.is_none_or(|call| calls.iter().any(|made| made.cut && made.name == call.name && made.nth == call.nth));
        Ok(if hit { ended } else { Ended::Missed })
    }

    fn mount<'h>(&self, home: &'h Home, start: Start) -> Result<Mounted<'h>> {
        let images = DISKS.map(|disk| self.folder.path().join(format!("now-{disk}")));
        for (image, disk) in images.iter().zip(DISKS) {
            let from = self.folder.path().join(format!("{start:?}-{disk}"));
            run(Command::new("cp").arg("--sparse=always").args([&from, image]))?;
        }
        let mounted = Mounted { home, images };
        for (image, disk) in mounted.images.iter().zip(DISKS) {
            let at = home.path().join(disk);
            fs::create_dir_all(&at)?;
            mount(image, &at)?;
        }
        Ok(mounted)
    }
}

impl Mounted<'_> {
    /// The images as they are at this moment.
    fn copy(&self, folder: &Path) -> Result<[PathBuf; 2]> {
        let copies = DISKS.map(|disk| folder.join(format!("cut-{disk}")));
        for (image, copy) in self.images.iter().zip(&copies) {
            run(Command::new("cp").arg("--sparse=always").args([image, copy]))?;
        }
        Ok(copies)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        for disk in DISKS {
            // It may not have come to be mounted.
            let _ = Command::new("umount")
                .arg(self.home.path().join(disk))
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn mount(image: &Path, at: &Path) -> Result<()> {
    run(Command::new("mount").args(["-o", "loop"]).args([image, at]))
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
