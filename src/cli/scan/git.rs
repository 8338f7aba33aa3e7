//! What git has: all its objects, what is staged, what it does not ignore.
//!
//! Git itself is asked, as a child process. It knows every form of a repository (packs, alternates, SHA-256, partial clones), and whoever
//! has a history to look into has git; a library for it (`gix`) is some hundred packages more to trust.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::fs::{MemfdFlags, memfd_create};

use super::channel::{Channel, Item, Name, Origin, Part, breaks_in};
use super::objects::{Head, Staged, staged};
use super::walk::{self, Batch};
use crate::wire::{Failure, Outcome};

/// Bytes that lie in one memory file, as a rule.
const FILE: usize = 4 << 20;
/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;
/// Longest line in front of an object.
const LONGEST_HEAD: u64 = 256;
/// Most bytes of a list of what is staged.
const LONGEST_LIST: u64 = 256 << 20;

/// Variables by which git's hooks name a repository: another one is meant where a folder is named.
const OF_A_HOOK: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
];

/// A repository, by a folder in it.
pub struct Repository {
    folder: PathBuf,
    /// In a hook the variables say which index is meant.
    of_this_commit: bool,
}

impl Repository {
    /// That of a folder.
    ///
    /// # Errors
    /// There is none.
    pub fn at(folder: &Path) -> Result<Self, Failure> {
        Self::new(folder, false)
    }

    /// That of the commit that is being made.
    ///
    /// # Errors
    /// There is none.
    pub fn of_this_commit(folder: &Path) -> Result<Self, Failure> {
        Self::new(folder, true)
    }

    fn new(folder: &Path, of_this_commit: bool) -> Result<Self, Failure> {
        let repository = Self {
            folder: folder.to_owned(),
            of_this_commit,
        };
        let output = repository.git(&["rev-parse", "--git-dir"]).stderr(Stdio::piped()).output();
        match output {
            Ok(output) if output.status.success() => Ok(repository),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.lines().next().unwrap_or_default().trim_start_matches("fatal: ");
                Err(
                    Failure::new(Outcome::BadInput, "no_repository", format!("{}: {said}", folder.display()))
                        .hint("name a folder of a git repository: touchlease scan --git FOLDER"),
                )
            }
            Err(error) => Err(not_run(&error)),
        }
    }

    /// Git, in a state in which it asks nobody, fetches nothing and runs nothing that the repository names.
    fn git(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-pager"]);
        command.arg("-C").arg(&self.folder).args(args);
        if !self.of_this_commit {
            for name in OF_A_HOOK {
                command.env_remove(name);
            }
        }
        for (name, value) in [
            ("GIT_NO_LAZY_FETCH", "1"),
            // A git that does not know that one (before 2.45, and 2.39.4 of the older ones) has no way to fetch: `none` is no protocol.
            ("GIT_ALLOW_PROTOCOL", "none"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("LC_ALL", "C"),
        ] {
            command.env(name, value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    /// What is staged and has contents.
    ///
    /// # Errors
    /// Git does not run, or does not say so in its form.
    pub fn what_is_staged(&self) -> Result<Vec<Staged>, Failure> {
        let args = [
            "diff",
            "--cached",
            "--raw",
            "-z",
            "--no-abbrev",
            "--no-renames",
            "--no-ext-diff",
            "--ignore-submodules",
            "--diff-filter=ACMRT",
        ];
        let list = self.output(&args)?;
        staged(&list).ok_or_else(|| not_understood("diff --cached"))
    }

    /// Sends what is staged to the worker.
    ///
    /// # Errors
    /// Git does not run, or does not give it.
    pub fn staged(&self, staged: &[Staged], channel: &Channel) -> Result<(), Failure> {
        let mut child = self
            .git(&["cat-file", "--batch", "--buffer"])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| not_run(&error))?;
        let mut asks = child.stdin.take();
        let mut origins = staged.iter().map(|staged| Origin::Staged(staged.path.clone()));
        thread::scope(|scope| {
            scope.spawn(move || {
                for staged in staged {
                    // A git that ended is seen where it is read.
                    let _ = asks.as_mut().map(|asks| asks.write_all(format!("{}\n", staged.oid).as_bytes()));
                }
            });
            let sent = send_all(&mut child, channel, &mut |_| origins.next());
            ended(child, sent, "cat-file --batch")
        })
    }

    /// Sends every object to the worker, whether or not a branch has it.
    ///
    /// # Errors
    /// Git does not run, or does not give them.
    pub fn objects(&self, channel: &Channel) -> Result<(), Failure> {
        let args = ["cat-file", "--batch-all-objects", "--unordered", "--batch", "--buffer"];
        let mut child = self.git(&args).spawn().map_err(|error| not_run(&error))?;
        let sent = send_all(&mut child, channel, &mut |head| {
            Some(Origin::Object {
                oid: head.oid.clone(),
                kind: head.kind.clone(),
            })
        });
        ended(child, sent, "cat-file --batch-all-objects")
    }

    /// Sends the files of the folder that git does not ignore.
    ///
    /// # Errors
    /// Git does not run.
    pub fn listed(&self, channel: &Channel) -> Result<(), Failure> {
        let list = self.output(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
        let mut batch = Batch::new(channel);
        for path in list.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
            walk::file(self.folder.join(OsStr::from_bytes(path)), channel, &mut batch);
        }
        batch.flush();
        Ok(())
    }

    /// Where these objects stand in trees that a branch, a tag or a stash leads to: one path of each.
    pub fn paths_of(&self, wanted: &HashSet<String>) -> HashMap<String, String> {
        let mut paths = HashMap::new();
        let Ok(mut child) = self.git(&["rev-list", "--objects", "--all", "--reflog"]).spawn() else {
            return paths;
        };
        if let Some(out) = child.stdout.take() {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                if let Some((oid, path)) = line.split_once(' ').filter(|(oid, _)| wanted.contains(*oid)) {
                    paths.insert(oid.to_owned(), path.to_owned());
                }
            }
        }
        // What it did not say is left out.
        let _ = child.wait();
        paths
    }

    fn output(&self, args: &[&str]) -> Result<Vec<u8>, Failure> {
        let mut child = self.git(args).spawn().map_err(|error| not_run(&error))?;
        let mut list = Vec::new();
        let read = match child.stdout.take() {
            Some(out) => out.take(LONGEST_LIST).read_to_end(&mut list).map(drop),
            None => Ok(()),
        };
        ended(child, read, args[0]).map(|()| list)
    }
}

/// Reads objects until there are no more, and sends them in memory files.
fn send_all(child: &mut Child, channel: &Channel, origin: &mut dyn FnMut(&Head) -> Option<Origin>) -> io::Result<()> {
    let out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut out = BufReader::with_capacity(CHUNK, out);
    let mut parts = Parts::new(channel);
    let mut line = Vec::new();
    loop {
        line.clear();
        if out.by_ref().take(LONGEST_HEAD).read_until(b'\n', &mut line)? == 0 {
            return parts.send();
        }
        let head = line.strip_suffix(b"\n").and_then(Head::parse).ok_or(io::ErrorKind::InvalidData)?;
        parts.begin(origin(&head).ok_or(io::ErrorKind::InvalidData)?);
        let mut left = head.size;
        while left > 0 {
            let chunk = out.fill_buf()?;
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            parts.push(&chunk[..count])?;
            out.consume(count);
            left -= count as u64;
        }
        let mut end = [0];
        out.read_exact(&mut end)?;
        if end != *b"\n" {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if !parts.end()? {
            // The worker is gone: its end is told by the daemon.
            return Ok(());
        }
    }
}

/// Objects on their way into memory files: several in one, and a large one in several, each of which begins with so much of the one before
/// that nothing is missed at the edge.
struct Parts<'a> {
    channel: &'a Channel,
    bytes: Vec<u8>,
    parts: Vec<Part>,
    /// Bytes and line breaks of the object so far.
    so_far: (u64, u64),
    alive: bool,
}

impl<'a> Parts<'a> {
    fn new(channel: &'a Channel) -> Self {
        Self {
            channel,
            bytes: Vec::new(),
            parts: Vec::new(),
            so_far: (0, 0),
            alive: true,
        }
    }

    fn begin(&mut self, of: Origin) {
        self.so_far = (0, 0);
        self.parts.push(Part {
            of: Arc::new(of),
            start: self.bytes.len() as u64,
            before: (0, 0),
        });
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        self.so_far.0 += bytes.len() as u64;
        self.so_far.1 += breaks_in(bytes);
        let kept = usize::try_from(self.channel.span.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(part) = self.parts.last().cloned() else { return Ok(()) };
        if self.bytes.len() < FILE.max(kept.saturating_mul(2)) {
            return Ok(());
        }
        // No more than there is of this object.
        let from = self.bytes.len() - kept.min(self.bytes.len() - usize::try_from(part.start).unwrap_or_default());
        let again = self.bytes[from..].to_vec();
        self.send()?;
        self.parts.push(Part {
            of: part.of,
            start: 0,
            before: (self.so_far.0 - again.len() as u64, self.so_far.1 - breaks_in(&again)),
        });
        self.bytes = again;
        Ok(())
    }

    /// The object is whole. False when nobody looks any more.
    fn end(&mut self) -> io::Result<bool> {
        // No occurrence reaches over it into the next object.
        self.bytes.push(0);
        if self.bytes.len() >= FILE {
            self.send()?;
        }
        Ok(self.alive)
    }

    fn send(&mut self) -> io::Result<()> {
        let parts = std::mem::take(&mut self.parts);
        if parts.is_empty() {
            return Ok(());
        }
        let mut file = File::from(memfd_create("scan", MemfdFlags::CLOEXEC)?);
        file.write_all(&self.bytes)?;
        self.bytes.clear();
        let name = Name::Parts(parts);
        self.alive &= self.channel.send(vec![Item { name, file }]);
        Ok(())
    }
}

/// Waits for git. What it says of itself counts where it gave all that was asked for.
fn ended(mut child: Child, read: io::Result<()>, what: &str) -> Result<(), Failure> {
    // What nobody reads any more it need not write.
    drop(child.stdout.take());
    if read.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| not_run(&error))?;
    match read {
        Ok(()) if status.success() || status.code().is_none() => Ok(()),
        Ok(()) => Err(not_understood(what)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(not_understood(what)),
        Err(error) => Err(not_run(&error)),
    }
}

fn not_run(error: &io::Error) -> Failure {
    Failure::new(Outcome::BadInput, "git", format!("git does not run: {error}"))
        .hint("install git, and look whether `git status` works there")
}

fn not_understood(what: &str) -> Failure {
    Failure::new(
        Outcome::BadInput,
        "git",
        format!("git {what} fails, or says what is not understood"),
    )
    .hint("look whether the repository is whole: git fsck")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A partial clone without the tree of its only commit, with a program of its own wherever git's settings may name one. Each leaves a file in the
    /// folder that is given too.
    fn hostile(folder: &Path) -> (PathBuf, PathBuf) {
        let (repository, ran) = (folder.join("repository"), folder.join("ran"));
        fs::create_dir(&ran).unwrap();
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            let output = command.arg("-C").arg(folder).args(args).output().unwrap();
            assert!(output.status.success(), "{args:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let inside = |args: &[&str]| git(&[&["-C", "repository", "-c", "user.name=a", "-c", "user.email=a@b"], args].concat());
        git(&["init", "-q", "repository"]);
        fs::write(repository.join("file"), "text").unwrap();
        inside(&["add", "file"]);
        inside(&["commit", "-q", "-m", "one"]);
        let tree = inside(&["rev-parse", "HEAD^{tree}"]);
        fs::remove_file(repository.join(".git/objects").join(&tree[..2]).join(&tree[2..])).unwrap();
        let program = |name: &str| {
            let path = folder.join(name);
            fs::write(&path, format!("#!/bin/sh\ntouch '{}'\n", ran.join(name).display())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path.display().to_string()
        };
        for setting in [
            "core.fsmonitor",
            "core.pager",
            "core.sshCommand",
            "core.askPass",
            "core.gitProxy",
            "core.alternateRefsCommand",
            "credential.helper",
            "diff.external",
            "diff.x.command",
            "diff.x.textconv",
            "filter.x.clean",
            "filter.x.process",
            "gpg.program",
            "uploadpack.packObjectsHook",
        ] {
            inside(&["config", setting, &program(setting)]);
        }
        for hook in ["post-index-change", "reference-transaction", "pre-auto-gc"] {
            fs::copy(program(hook), repository.join(".git/hooks").join(hook)).unwrap();
        }
        fs::write(repository.join(".git/info/attributes"), "* filter=x diff=x\n").unwrap();
        for (name, value) in [
            ("core.repositoryFormatVersion", "1"),
            ("extensions.partialClone", "origin"),
            ("protocol.allow", "always"),
            ("protocol.ext.allow", "always"),
            ("remote.origin.promisor", "true"),
            ("remote.origin.url", &format!("ext::{} %S", program("fetch"))),
        ] {
            inside(&["config", name, value]);
        }
        (repository, ran)
    }

    #[test]
    fn t21_git_runs_nothing_that_a_repository_names_whether_or_not_it_knows_how_not_to_fetch() {
        let folder = tempfile::tempdir().unwrap();
        let (place, ran) = hostile(folder.path());
        let repository = Repository::at(&place).unwrap();
        let all = [
            &["rev-parse", "--git-dir"][..],
            &["diff", "--cached", "--raw", "-z", "--no-ext-diff", "--ignore-submodules"],
            &["cat-file", "--batch-all-objects", "--unordered", "--batch", "--buffer"],
            &["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            &["rev-list", "--objects", "--all", "--reflog"],
        ];
        let ran_without = |unset: &[&str]| {
            for args in all {
                let mut command = repository.git(args);
                for name in unset {
                    command.env_remove(name);
                }
                // What they come to in such a repository does not matter.
                command.output().unwrap();
            }
            let names = fs::read_dir(&ran).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<Vec<_>>()
        };
        assert!(ran_without(&[]).is_empty());
        // An older git.
        assert!(ran_without(&["GIT_NO_LAZY_FETCH"]).is_empty());
        let neither = ran_without(&["GIT_NO_LAZY_FETCH", "GIT_ALLOW_PROTOCOL"]);
        assert_eq!(neither, ["fetch"], "else nothing was tried");
    }
}
