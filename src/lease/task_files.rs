//! The task files that were approved, the last one of each task and folder: what has changed since is shown before the next touch.
//!
//! A task is compared with itself alone. So nothing that is written elsewhere in the file, and approved with another task, takes a change
//! of this one along, and no number of lines elsewhere hides it. What is compared is what the file says, not how it says it.
//!
//! They lie in the state folder, beside the log. Whoever can write there could hide a change, as he could cut the log. The folder is the
//! requester's, as the kernel tells it when he asks; where nothing was approved, the nearest above counts, as for the file itself. Whoever goes
//! where nothing was approved at all is shown as new.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::task::{LARGEST_FILE, Task};
use super::text::TaskChange;
use crate::encoding::Digest;
use crate::encoding::lines::{Change, compare};
use crate::sys::file::read_text;

/// Most lines that are shown one by one.
const MOST_LINES: usize = 16;
/// Most characters of one that are, and how many of them stand before the first that differs.
const LONGEST_LINE: usize = 160;
const LEAD: usize = 40;

/// See the module.
pub struct TaskFiles {
    folder: PathBuf,
}

impl TaskFiles {
    /// Those of a vault, by its state folder.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self {
            folder: state.join("tasks"),
        }
    }

    /// How `task` of `file` differs from what was last approved of it in `place` or the nearest folder above; nothing where the whole file is
    /// the same.
    #[must_use]
    pub fn change(&self, place: &str, task: &str, file: &str) -> Option<TaskChange> {
        // What cannot be read, or has no such task in it, is not what was kept.
        let before = self.approved(place, task);
        let Some((before, lines)) = before.and_then(|before| Task::lines(&before, task).map(|lines| (before, lines))) else {
            return Some(TaskChange::default());
        };
        if before == file {
            return None;
        }
        let (lines, more) = difference(&lines, &Task::lines(file, task).unwrap_or_default());
        Some(TaskChange {
            from: Some(Digest::of(before.as_bytes())),
            lines,
            more,
        })
    }

    /// `file` was approved with `task` in `place`.
    ///
    /// # Errors
    /// It cannot be written. What was approved before is there as before.
    pub fn keep(&self, place: &str, task: &str, file: &str) -> io::Result<()> {
        let path = self.path(Path::new(place), task);
        if read_text(&path, LARGEST_FILE).is_ok_and(|kept| kept == file) {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let new = path.with_extension("new");
        let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        written.write_all(file.as_bytes())?;
        written.sync_all()?;
        fs::rename(new, path)
    }

    fn approved(&self, place: &str, task: &str) -> Option<String> {
        for folder in Path::new(place).ancestors() {
            match read_text(&self.path(folder, task), LARGEST_FILE) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                read => return read.ok(),
            }
        }
        None
    }

    fn path(&self, place: &Path, task: &str) -> PathBuf {
        let named = [place.as_os_str().as_encoded_bytes(), task.as_bytes()].join(&0);
        self.folder.join(format!("{}.toml", Digest::of(&named)))
    }
}

/// The first lines that differ, and how many there are besides.
fn difference(before: &[String], after: &[String]) -> (Vec<String>, u32) {
    let [before, after] = [before, after].map(|lines| lines.iter().map(String::as_str).collect::<Vec<_>>());
    let mut lines: Vec<String> = compare(&before, &after).iter().flat_map(shown).collect();
    let more = lines.len().saturating_sub(MOST_LINES);
    lines.truncate(MOST_LINES);
    (lines, u32::try_from(more).unwrap_or(u32::MAX))
}

fn shown(change: &Change<'_>) -> Vec<String> {
    let differs_at = |i: usize| match (change.gone.get(i), change.came.get(i)) {
        (Some(gone), Some(came)) => gone.chars().zip(came.chars()).take_while(|(a, b)| a == b).count(),
        _ => 0,
    };
    let signed = |sign, lines: &[&str]| -> Vec<String> {
        let cut = |(i, line): (usize, &&str)| format!("{sign} {}", cut(line, differs_at(i)));
        lines.iter().enumerate().map(cut).collect()
    };
    [signed('-', &change.gone), signed('+', &change.came)].concat()
}

/// What is too long is shown from where it differs on: what came behind is what is to be seen.
fn cut(line: &str, differs_at: usize) -> String {
    let len = line.chars().count();
    if len <= LONGEST_LINE {
        return line.to_owned();
    }
    let from = differs_at.saturating_sub(LEAD).min(len - LONGEST_LINE);
    let part: String = line.chars().skip(from).take(LONGEST_LINE).collect();
    let front = if from > 0 { "[...] " } else { "" };
    let end = if from + LONGEST_LINE < len { " [...]" } else { "" };
    format!("{front}{part}{end}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FILE: &str = "[task.deploy]\nabout = \"Deploy\"\ncommand = [\"./deploy.sh\"]\n";

    fn files() -> (tempfile::TempDir, TaskFiles) {
        let state = tempfile::tempdir().unwrap();
        let files = TaskFiles::new(state.path());
        (state, files)
    }

    fn unknown() -> Option<TaskChange> {
        Some(TaskChange::default())
    }

    #[test]
    fn a_task_differs_from_what_was_last_approved_of_it_in_its_folder_and_is_new_elsewhere() {
        let (_state, files) = files();
        assert_eq!(files.change("/a", "deploy", FILE), unknown());
        files.keep("/a", "deploy", FILE).unwrap();
        assert_eq!(files.change("/a", "deploy", FILE), None);
        let changed = FILE.replace("./deploy.sh", "./other.sh");
        let said = TaskChange {
            from: Some(Digest::of(FILE.as_bytes())),
            lines: vec!["- command = [\"./deploy.sh\"]".into(), "+ command = [\"./other.sh\"]".into()],
            more: 0,
        };
        assert_eq!(files.change("/a", "deploy", &changed), Some(said.clone()));
        // As long as nobody approves it.
        assert_eq!(files.change("/a", "deploy", &changed), Some(said.clone()));
        // The file of a folder counts below it, as where it is looked for, until one below was approved.
        assert_eq!(files.change("/a/b/c", "deploy", &changed), Some(said));
        assert_eq!(files.change("/ab", "deploy", &changed), unknown());
        files.keep("/a/b", "deploy", &changed).unwrap();
        assert_eq!(files.change("/a/b/c", "deploy", &changed), None);
        assert!(files.change("/a", "deploy", &changed).is_some());
        files.keep("/a", "deploy", &changed).unwrap();
        assert_eq!(files.change("/a", "deploy", &changed), None);
        assert_eq!(files.change("/a", "deploy", FILE).unwrap().lines.len(), 2);
    }

    #[test]
    fn t10_a_change_is_not_approved_with_another_task_nor_hidden_behind_other_lines() {
        let (_state, files) = files();
        files.keep("/a", "deploy", FILE).unwrap();
        let others: String = (0..40).map(|n| format!("# {n}\n[task.a{n}]\nabout = \"x\"\n")).collect();
        let changed = format!("{others}{}", FILE.replace("./deploy.sh", "./other.sh"));
        // Approved with another task of the same file.
        assert_eq!(files.change("/a", "a7", &changed), unknown());
        files.keep("/a", "a7", &changed).unwrap();
        let change = files.change("/a", "deploy", &changed).unwrap();
        assert_eq!(change.lines, ["- command = [\"./deploy.sh\"]", "+ command = [\"./other.sh\"]"]);
        // What is somewhere else is no line of this task.
        let elsewhere = files.change("/a", "deploy", &format!("{others}{FILE}")).unwrap();
        assert_eq!((elsewhere.from, elsewhere.lines.len(), elsewhere.more), (change.from, 0, 0));
    }

    #[test]
    fn t10_lines_that_are_long_many_or_not_to_be_seen_are_cut_counted_and_made_visible() {
        let (_state, files) = files();
        let long = |end: &str| FILE.replace("./deploy.sh", &format!("\\u001b[2J{}\\u202e{end}", "x".repeat(300)));
        files.keep("/a", "deploy", &long("good")).unwrap();
        let TaskChange { lines, .. } = files.change("/a", "deploy", &long("bad")).unwrap();
        let [gone, came] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(gone.starts_with("- [...] x") && gone.ends_with("x<U+202E>good\"]"), "{gone}");
        assert!(came.starts_with("+ [...] x") && came.ends_with("x<U+202E>bad\"]"), "{came}");
        assert!(lines.iter().all(|line| line.chars().count() <= LONGEST_LINE + 14));
        // The start of one that came alone.
        let grant = |n: usize| format!("[[task.deploy.grant]]\nenv = \"E{n}\"\nsecret = \"{}\"\n", "s".repeat(300));
        let many: String = (0..20).map(grant).collect();
        let TaskChange { lines, more, .. } = files.change("/a", "deploy", &format!("{}{many}", long("good"))).unwrap();
        assert_eq!((lines.len(), more), (MOST_LINES, 20 - 16));
        assert!(lines[0].starts_with("+ grant = { env = \"E0\", secret = \"sss"), "{}", lines[0]);
        assert!(lines[0].ends_with("s [...]"), "{}", lines[0]);
    }

    #[test]
    fn what_was_approved_and_cannot_be_read_any_more_makes_the_task_new_until_it_is_kept_again() {
        let (state, files) = files();
        files.keep("/a", "deploy", FILE).unwrap();
        let kept = fs::read_dir(state.path().join("tasks")).unwrap().next().unwrap().unwrap().path();
        for damaged in [&b"\xff\xfe"[..], b"", b"task = 7", FILE.replace("deploy", "release").as_bytes()] {
            fs::write(&kept, damaged).unwrap();
            assert_eq!(files.change("/a", "deploy", FILE), unknown());
        }
        fs::remove_file(&kept).unwrap();
        fs::create_dir(&kept).unwrap();
        assert!(files.keep("/a", "deploy", FILE).is_err());
        assert_eq!(files.change("/a", "deploy", FILE), unknown());
        fs::remove_dir(&kept).unwrap();
        files.keep("/a", "deploy", FILE).unwrap();
        assert_eq!(files.change("/a", "deploy", FILE), None);
    }

    #[test]
    fn what_cannot_be_kept_leaves_what_was_approved_before() {
        let (state, files) = files();
        files.keep("/a", "deploy", FILE).unwrap();
        let kept = files.path(Path::new("/a"), "deploy");
        fs::create_dir(kept.with_extension("new")).unwrap();
        let changed = FILE.replace("./deploy.sh", "./other.sh");
        assert!(files.keep("/a", "deploy", &changed).is_err());
        assert_eq!(files.change("/a", "deploy", FILE), None);
        assert_eq!(files.change("/a", "deploy", &changed).unwrap().lines.len(), 2);
        drop(state);
    }
}
