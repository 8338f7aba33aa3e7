//! Finding keys among the Linux hidraw nodes, and who holds one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::encoding::plain::visible;

/// Usage page of FIDO authenticators (CTAP 2.1, 11.2.8.2).
const FIDO_USAGE_PAGE: u32 = 0xF1D0;

/// A hidraw node that carries CTAPHID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The device node.
    pub path: PathBuf,
    /// Tells one plugging-in from the next: sysfs numbers its inodes anew each time.
    pub plug: u64,
    /// What the device calls itself, fit to be shown.
    pub name: String,
    /// The port it is plugged into, the same after a replug.
    pub port: String,
}

/// All FIDO nodes below `sys_root/class/hidraw` (`/sys`), with their device nodes in `dev_root` (`/dev`), in order.
///
/// Any vendor's: the report descriptor says what a device is. What cannot be read is left out; a machine without hidraw has none.
#[must_use]
pub fn nodes(sys_root: &Path, dev_root: &Path) -> Vec<Node> {
    let Ok(entries) = fs::read_dir(sys_root.join("class/hidraw")) else {
        return Vec::new();
    };
    let mut nodes: Vec<_> = entries.flatten().filter_map(|entry| node(&entry.path(), dev_root)).collect();
    nodes.sort_by(|a, b| a.path.cmp(&b.path));
    nodes
}

fn node(entry: &Path, dev_root: &Path) -> Option<Node> {
    let device = entry.join("device");
    if !is_fido(&fs::read(device.join("report_descriptor")).ok()?) {
        return None;
    }
    let uevent = fs::read_to_string(device.join("uevent")).unwrap_or_default();
    let field = |name: &str| uevent.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Some(Node {
        path: dev_root.join(entry.file_name()?),
        plug: fs::metadata(entry).ok()?.ino(),
        name: visible(field("HID_NAME").unwrap_or("FIDO key")),
        port: visible(field("HID_PHYS").unwrap_or_default()),
    })
}

/// Whether a HID report descriptor (HID 1.11, 6.2.2) opens a collection on the FIDO usage page.
#[must_use]
pub fn is_fido(mut descriptor: &[u8]) -> bool {
    let mut page = 0;
    while let Some((&prefix, rest)) = descriptor.split_first() {
        // Long items (6.2.2.3) carry their length in the next byte; nobody uses them.
        let len = match prefix {
            0xFE => rest.first().map_or(0, |n| usize::from(*n) + 2),
            _ => [0, 1, 2, 4][usize::from(prefix & 3)],
        };
        let Some((data, rest)) = rest.split_at_checked(len) else {
            return false;
        };
        let value = || data.iter().rev().fold(0u32, |n, b| n << 8 | u32::from(*b));
        match prefix & 0xFC {
            0x04 => page = value(),
            // Collection.
            0xA0 if page == FIDO_USAGE_PAGE => return true,
            _ => {}
        }
        descriptor = rest;
    }
    false
}

/// The program, other than this one, that has `node` open, as far as `proc_root` (`/proc`) shows it to this user.
#[must_use]
pub fn holder(proc_root: &Path, node: &Path) -> Option<String> {
    let node = fs::canonicalize(node).ok()?;
    processes(proc_root)
        .find(|process| holds(process, &node))
        .and_then(|process| name(&process))
}

/// The first running program of one of these names, with its process id.
#[must_use]
pub fn running(proc_root: &Path, names: &[&str]) -> Option<String> {
    processes(proc_root).filter_map(|process| name(&process)).find(|name| {
        names
            .iter()
            .any(|wanted| name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(' ')))
    })
}

fn processes(proc_root: &Path) -> impl Iterator<Item = PathBuf> {
    let own = std::process::id().to_string();
    let is_other = move |path: &PathBuf| {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        name.bytes().all(|b| b.is_ascii_digit()) && name != own
    };
    fs::read_dir(proc_root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(is_other)
}

fn holds(process: &Path, node: &Path) -> bool {
    let links = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    links
        .filter_map(|link| fs::read_link(link.path()).ok())
        .any(|target| target == node)
}

fn name(process: &Path) -> Option<String> {
    let name = fs::read_to_string(process.join("comm")).ok()?;
    let pid = process.file_name()?.to_string_lossy().into_owned();
    Some(format!("{} (pid {pid})", visible(name.trim_end())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// As in CTAP 2.1, 11.2.8.2.
    const FIDO: &[u8] = &[
        0x06, 0xD0, 0xF1, 0x09, 0x01, 0xA1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x40, 0x81, 0x02, 0xC0,
    ];
    const KEYBOARD: &[u8] = &[0x05, 0x01, 0x09, 0x06, 0xA1, 0x01, 0x05, 0x07, 0xC0];

    fn plug(sys: &Path, name: &str, descriptor: &[u8]) {
        let device = sys.join("class/hidraw").join(name).join("device");
        fs::create_dir_all(&device).unwrap();
        fs::write(device.join("report_descriptor"), descriptor).unwrap();
        fs::write(device.join("uevent"), "HID_NAME=Some\u{202E}Key\nHID_PHYS=usb-1/input0\n").unwrap();
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("touchlease-find-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn only_nodes_with_the_fido_usage_page_are_keys_whatever_their_vendor() {
        let sys = folder("nodes");
        plug(&sys, "hidraw0", KEYBOARD);
        plug(&sys, "hidraw1", FIDO);
        plug(&sys, "hidraw2", &[]);
        let found = nodes(&sys, Path::new("/dev"));
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].path.as_path(), found[0].port.as_str()),
            (Path::new("/dev/hidraw1"), "usb-1/input0")
        );
        assert_eq!(found[0].name, "Some<U+202E>Key");
        assert_eq!(nodes(&sys.join("nothing"), Path::new("/dev")), []);
        fs::remove_dir_all(sys).unwrap();
    }

    #[test]
    fn t58_no_report_descriptor_however_cut_confuses_the_reader() {
        assert!(is_fido(FIDO));
        for end in 0..6 {
            assert!(!is_fido(&FIDO[..end]));
        }
        assert!(!is_fido(&[0xFE]));
        assert!(!is_fido(&[0xFE, 0xFF, 0x00, 0xD0]));
    }

    #[test]
    fn the_program_that_has_a_node_open_is_named() {
        let proc = folder("proc");
        let node = proc.join("hidraw0");
        fs::write(&node, "").unwrap();
        fs::create_dir_all(proc.join("4711/fd")).unwrap();
        fs::write(proc.join("4711/comm"), "chrome\n").unwrap();
        assert_eq!(holder(&proc, &node), None);
        std::os::unix::fs::symlink(fs::canonicalize(&node).unwrap(), proc.join("4711/fd/3")).unwrap();
        assert_eq!(holder(&proc, &node).as_deref(), Some("chrome (pid 4711)"));
        assert_eq!(running(&proc, &["chrome"]).as_deref(), Some("chrome (pid 4711)"));
        assert_eq!(running(&proc, &["chro", "scdaemon"]), None);
        fs::remove_dir_all(proc).unwrap();
    }
}
