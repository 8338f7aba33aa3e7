//! A disk of a test's own, which can be full or read-only.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::lab::Lab;

/// A small file system over a folder, with the folder's files in it; gone when dropped. Needs root.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn over(folder: &Path, size: &str) -> Self {
        let aside = folder.with_extension("aside");
        crate::lab::copy(folder, &aside);
        let options = format!("size={size},mode=700");
        assert!(
            mount(&["-t", "tmpfs", "-o", &options, "touchlease-test", &folder.display().to_string()]),
            "this case needs root"
        );
        crate::lab::copy(&aside, folder);
        Self(folder.to_owned())
    }

    /// The same under a daemon that starts afterwards: one that ran before holds the folders that it opened.
    pub fn under(lab: &mut Lab, folder: &Path, size: &str) -> Self {
        let mut disk = None;
        lab.restart(|_| disk = Some(Self::over(folder, size)));
        disk.unwrap()
    }

    /// One that is mounted there already.
    pub fn there(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut fill = std::fs::File::create(self.0.join(".fill")).unwrap();
        while std::io::Write::write(&mut fill, &[0; 4096]).is_ok_and(|n| n > 0) {}
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.0.join(".fill")).unwrap();
    }

    pub fn writable(&self, yes: bool) {
        let options = if yes { "remount,rw" } else { "remount,ro" };
        assert!(mount(&["-o", options, &self.0.display().to_string()]));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub fn mount(arguments: &[&str]) -> bool {
    Command::new("mount").args(arguments).status().is_ok_and(|status| status.success())
}
