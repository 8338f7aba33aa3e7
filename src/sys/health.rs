//! What this machine does with memory that holds secrets.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use super::memory::{LockedPages, has_secret_memory};
use crate::finding::{Finding, Part};

/// Locked memory that a batch of large values and a few leases need, in bytes; what systemd gives by default (since version 250).
const ENOUGH: u64 = 8 << 20;
const RAISE: &str = "ulimit -l 65536";

/// Whether secrets can be kept in memory that is never written to a disk.
#[must_use]
pub fn locking() -> Vec<Finding> {
    let limit = getrlimit(Resource::Memlock).current;
    let said = limit.map_or("without limit".to_owned(), |bytes| format!("up to {} KiB", bytes / 1024));
    if let Err(error) = LockedPages::new(1) {
        return vec![Part::Memory.problem(
            "locked_memory",
            format!("no memory can be locked ({error}); the limit is {said}"),
            RAISE,
        )];
    }
    let mut findings = vec![match limit {
        Some(bytes) if bytes < ENOUGH => Part::Memory.warning(
            "little_locked_memory",
            format!("memory can be locked {said} (RLIMIT_MEMLOCK): too little for large values"),
            RAISE,
        ),
        _ => Part::Memory.ok("locked_memory", format!("memory can be locked {said}")),
    }];
    findings.push(if has_secret_memory() {
        Part::Memory.ok(
            "secret_memory",
            "the kernel has memfd_secret: secrets lie where not even it maps them",
        )
    } else {
        Part::Memory.note(
            "no_secret_memory",
            "the kernel gives no memfd_secret: secrets lie in ordinary locked pages",
            "on Linux 5.14 to 6.4 start it with secretmem.enable=1; later ones have it on",
        )
    });
    findings
}

/// Whether memory may reach a disk that is not encrypted: the values that a leased command holds are in ordinary memory.
#[must_use]
pub fn swap(proc_root: &Path, sys_root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let swaps = fs::read_to_string(proc_root.join("swaps")).unwrap_or_default();
    for place in swaps.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next()) {
        let place = Path::new(place);
        if !in_memory(place) && !is_encrypted(place, sys_root) {
            findings.push(Part::Memory.warning(
                "plain_swap",
                format!(
                    "{} is swap that is not known to be encrypted: what a leased command holds may be written there",
                    place.display()
                ),
                format!("sudo swapoff {}", crate::finding::quoted(place)),
            ));
        }
    }
    let resume = fs::read_to_string(sys_root.join("power/resume")).unwrap_or_default();
    let resume = resume.trim();
    let hibernates = fs::read_to_string(sys_root.join("power/state")).is_ok_and(|states| states.split_whitespace().any(|s| s == "disk"));
    if hibernates && !resume.is_empty() && resume != "0:0" && !is_crypt(&sys_root.join("dev/block").join(resume)) {
        findings.push(Part::Memory.warning(
            "plain_hibernation",
            format!("hibernation writes all memory to the device {resume}, which is not known to be encrypted"),
            "sudo systemctl mask hibernate.target hybrid-sleep.target suspend-then-hibernate.target",
        ));
    }
    if findings.is_empty() {
        findings.push(Part::Memory.ok("no_plain_swap", "no swap or hibernation image on a disk that is not encrypted"));
    }
    findings
}

/// Compressed swap in memory never reaches a disk of its own.
fn in_memory(swap: &Path) -> bool {
    swap.file_name().is_some_and(|name| name.to_string_lossy().starts_with("zram"))
}

fn is_encrypted(swap: &Path, sys_root: &Path) -> bool {
    let Ok(meta) = fs::metadata(swap) else { return false };
    // A swap partition is the device; a swap file lies on one.
    let device = if meta.st_rdev() == 0 { meta.st_dev() } else { meta.st_rdev() };
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    is_crypt(&sys_root.join("dev/block").join(format!("{major}:{minor}")))
}

/// Whether a block device is dm-crypt, or all that it lies on is: a logical volume on an encrypted disk.
fn is_crypt(device: &Path) -> bool {
    if fs::read_to_string(device.join("dm/uuid")).is_ok_and(|uuid| uuid.starts_with("CRYPT-")) {
        return true;
    }
    let slaves: Vec<PathBuf> = fs::read_dir(device.join("slaves"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|slave| slave.path())
        .collect();
    !slaves.is_empty() && slaves.iter().all(|slave| is_crypt(slave))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::finding::Level;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(swaps: &str) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            machine.put("proc/swaps", &format!("Filename Type Size Used Priority\n{swaps}"));
            machine
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn reasons(&self) -> Vec<(Level, String)> {
            let found = swap(&self.0.path().join("proc"), &self.0.path().join("sys"));
            found.into_iter().map(|finding| (finding.level, finding.reason)).collect()
        }
    }

    fn warned(reason: &str) -> Vec<(Level, String)> {
        vec![(Level::Warning, reason.into())]
    }

    #[test]
    fn no_swap_and_compressed_memory_are_as_they_should_be() {
        let fine = vec![(Level::Ok, "no_plain_swap".to_owned())];
        assert_eq!(Machine::new("").reasons(), fine);
        assert_eq!(Machine::new("/dev/zram0 partition 1 0 100\n").reasons(), fine);
    }

    #[test]
    fn swap_on_a_disk_is_a_warning_unless_all_below_it_is_encrypted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let machine = Machine::new(&format!("{} file 1 0 -2\n", file.path().display()));
        assert_eq!(machine.reasons(), warned("plain_swap"));
        let device = fs::metadata(file.path()).unwrap().st_dev();
        let device = format!("sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        machine.put(&format!("{device}/dm/uuid"), "LVM-abc\n");
        assert_eq!(machine.reasons(), warned("plain_swap"));
        machine.put(&format!("{device}/slaves/dm-0/dm/uuid"), "CRYPT-LUKS2-abc\n");
        assert_eq!(machine.reasons()[0].0, Level::Ok);
        machine.put(&format!("{device}/slaves/sda1/size"), "1\n");
        assert_eq!(machine.reasons(), warned("plain_swap"));
    }

    #[test]
    fn hibernation_to_a_plain_device_is_a_warning() {
        let machine = Machine::new("");
        machine.put("sys/power/state", "freeze mem disk\n");
        machine.put("sys/power/resume", "0:0\n");
        assert_eq!(machine.reasons()[0].0, Level::Ok);
        machine.put("sys/power/resume", "8:3\n");
        assert_eq!(machine.reasons(), warned("plain_hibernation"));
        machine.put("sys/dev/block/8:3/dm/uuid", "CRYPT-PLAIN-x\n");
        assert_eq!(machine.reasons()[0].0, Level::Ok);
    }

    #[test]
    fn the_memory_of_this_process_can_be_locked_or_the_limit_is_named() {
        let found = locking();
        assert!(
            found.iter().all(|finding| finding.level == Level::Ok || finding.remedy.is_some()),
            "{found:?}"
        );
        assert!(found[0].reason.ends_with("locked_memory"));
    }
}
