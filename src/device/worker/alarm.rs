//! Hearing from the kernel that something may have been plugged in, so that nobody has to look four times a second.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// Pause before a look, and between looks, when something has changed.
const PAUSE: Duration = Duration::from_millis(250);
/// Looks after a change: udev sets a new node's permissions after it has appeared, sysfs goes after the node.
const LOOKS: u32 = 4;

/// Tells when names appear in folders or go.
pub(super) struct Alarm {
    folders: Vec<PathBuf>,
    /// None when the system has no more of them: then every pause ends in a look.
    inotify: Option<OwnedFd>,
    looks: u32,
}

impl Alarm {
    /// Of these folders those that exist; one that comes to be below another is found then.
    pub fn new(folders: &[&Path]) -> Self {
        let mut alarm = Self {
            folders: folders.iter().map(|folder| folder.to_path_buf()).collect(),
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok(),
            looks: 0,
        };
        alarm.watch();
        alarm
    }

    /// Waits until it is worth looking, which is true, or one of `others` is readable.
    pub fn wait(&mut self, others: [&dyn AsFd; 2]) -> bool {
        loop {
            let pausing = self.looks > 0 || self.inotify.is_none();
            let mut fds: Vec<_> = others
                .iter()
                .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN))
                .collect();
            if let Some(inotify) = self.inotify.as_ref().filter(|_| !pausing) {
                fds.push(PollFd::new(inotify, PollFlags::IN));
            }
            let limit = pausing.then_some(PAUSE).and_then(|pause| Timespec::try_from(pause).ok());
            let ready = poll(&mut fds, limit.as_ref());
            let other = fds[..others.len()].iter().any(|fd| !fd.revents().is_empty());
            drop(fds);
            if self.heard() {
                self.looks = LOOKS;
                self.watch();
            } else if ready == Ok(0) {
                self.looks = self.looks.saturating_sub(1);
            }
            if other || ready == Ok(0) || ready.is_err() {
                return !other;
            }
        }
    }

    /// Folders that are watched already are no harm.
    fn watch(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
        let watched = self.folders.iter().map(|folder| inotify::add_watch(inotify, folder, names).is_ok());
        // The first is the one that must not be missed.
        if watched.collect::<Vec<_>>().first() == Some(&false) {
            self.inotify = None;
        }
    }

    /// Whether anything happened; which name it was does not matter.
    fn heard(&self) -> bool {
        let mut events = [0; 4096];
        let mut heard = false;
        while let Some(Ok(1..)) = self.inotify.as_ref().map(|inotify| rustix::io::read(inotify, &mut events)) {
            heard = true;
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_new_name_is_followed_by_some_looks_and_then_by_silence_until_somebody_calls() {
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("later");
        let mut alarm = Alarm::new(&[folder.path(), &later]);
        let (ours, theirs) = UnixStream::pair().unwrap();
        fs::create_dir(&later).unwrap();
        for left in (0..LOOKS).rev() {
            assert!(alarm.wait([&ours, &ours]));
            assert_eq!(alarm.looks, left);
        }
        fs::write(later.join("socket"), "").unwrap();
        assert!(alarm.wait([&ours, &ours]));
        assert_eq!(alarm.looks, LOOKS - 1, "a folder that came later is watched too");
        alarm.looks = 0;
        drop(theirs);
        assert!(!alarm.wait([&ours, &ours]));
    }

    #[test]
    fn without_its_first_folder_every_pause_ends_in_a_look() {
        let mut alarm = Alarm::new(&[Path::new("/nowhere")]);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(alarm.wait([&ours, &ours]) && alarm.wait([&ours, &ours]));
    }
}
