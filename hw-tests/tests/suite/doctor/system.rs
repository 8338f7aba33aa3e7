//! What the system keeps from the product: doctor in each of these situations. Needs root, who mounts disks and gives files away.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use hw_tests::harness::Home;
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tempfile::TempDir;
use touchlease::{device::worker, encoding::Digest};

use super::Found;
use crate::{
    disk::SmallDisk,
    isolation::{for_everybody, inside_readers, own},
    lab::{Lab, error_of},
    product,
};

/// An account that nothing else runs as.
const OTHER: u32 = 54_321;

/// What the product finds in this home when `wrapper` runs it, and no daemon does.
fn behind(home: &Home, wrapper: &[&str], program: &Path) -> Found {
    let asked = home.command(["--json", "doctor"]);
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(program).args(asked.get_args()).env_clear();
    command.envs(asked.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Found::of(&command.current_dir("/").output().unwrap())
}

/// The other account, in a home that is its own.
struct Other {
    program: PathBuf,
    as_it: Vec<String>,
    _bin: TempDir,
}

impl Other {
    fn owning(home: &Home) -> Self {
        let (bin, program) = for_everybody(&product());
        own(home.path(), OTHER);
        let id = OTHER.to_string();
        Self {
            program,
            as_it: ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]
                .map(str::to_owned)
                .into(),
            _bin: bin,
        }
    }

    fn finds(&self, home: &Home, wrapper: &[&str]) -> Found {
        let as_it = self.as_it.iter().map(String::as_str);
        behind(home, &as_it.chain(wrapper.iter().copied()).collect::<Vec<_>>(), &self.program)
    }
}

/// Does what a finding says, as root.
fn mend(finding: &Value) {
    let remedy = finding["remedy"].as_str().unwrap().replace("sudo ", "");
    assert!(Command::new("sh").args(["-c", &remedy]).status().unwrap().success(), "{remedy}");
}

/// Closes what a launcher has passed on: a limit counts it too.
const ALONE: [&str; 4] = [
    "bash",
    "-c",
    r#"for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -lt 3 ] || eval "exec $fd>&-"; done; exec "$@""#,
    "--",
];
/// A launcher that passes much on.
const PASSING_ON: [&str; 4] = [
    "bash",
    "-c",
    r#"exec 3</dev/null 4</dev/null 5</dev/null 6</dev/null 12</dev/null; exec "$@""#,
    "--",
];

#[test]
fn a_system_that_gives_no_more_descriptors_or_processes_is_named() {
    let home = Home::new(product()).unwrap();
    for few in ["7", "12", "16"] {
        let few = format!("--nofile={few}");
        for launched in [&[][..], &PASSING_ON] {
            let found = behind(&home, &[launched, &ALONE, &["prlimit", &few]].concat(), &product());
            assert_eq!((found.level("daemon", "no_descriptors"), found.1), ("problem", Some(69)), "{few}");
        }
    }
    let found = behind(&home, &["prlimit", "--nofile=4096"], &product());
    assert!(!found.has("daemon", "no_descriptors") && !found.has("keys", "not_looked_for"));
    let found = Other::owning(&home).finds(&home, &["prlimit", "--nproc=1"]);
    assert_eq!((found.level("keys", "not_looked_for"), found.1), ("problem", Some(63)));
    assert!(found.has("vault", "no_vault"), "the rest is looked at");
}

#[test]
fn a_kernel_that_has_no_secret_memory_is_named() {
    let home = Home::new(product()).unwrap();
    let refusing = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=memfd_secret:error=ENOSYS"];
    let found = behind(&home, &refusing, &product());
    assert_eq!(found.level("memory", "no_secret_memory"), "note");
    assert!(!found.has("memory", "secret_memory"));
}

#[test]
fn a_smart_card_service_that_lets_this_user_not_in_is_named() {
    if !inside_readers("doctor::system::a_smart_card_service_that_lets_this_user_not_in_is_named") {
        return;
    }
    let home = Home::new(product()).unwrap();
    let other = Other::owning(&home);
    assert!(other.finds(&home, &["env", "--"]).has("readers", "pcscd"));
    let open = |mode| fs::set_permissions(worker::SERVICE, fs::Permissions::from_mode(mode)).unwrap();
    open(0o600);
    let found = other.finds(&home, &["env", "--"]);
    assert_eq!(found.level("readers", "pcscd_denied"), "warning");
    mend(found.get("readers", "pcscd_denied"));
    open(0o666);
    assert!(!other.finds(&home, &["env", "--"]).has("readers", "pcscd_denied"));
}

#[test]
fn t52_a_vault_that_another_process_writes_to_is_named() {
    let mut lab = Lab::new();
    // A daemon waits for half a minute before it says so.
    drop(lab.daemon.take());
    let writer = fs::File::open(lab.vault()).unwrap();
    flock(&writer, FlockOperation::LockExclusive).unwrap();
    let found = Found::in_home(&lab.home);
    assert_eq!((found.level("vault", "busy"), found.1), ("warning", Some(0)));
    flock(&writer, FlockOperation::Unlock).unwrap();
    assert!(!Found::in_home(&lab.home).has("vault", "busy"));
}

#[test]
fn t25_a_vault_and_a_state_folder_of_another_user_are_named_with_the_command_that_takes_them_back() {
    let lab = Lab::new();
    let state = lab.home.places().unwrap().state;
    for (part, reason, folder, code) in [("vault", "not_ours", lab.vault(), 71), ("log", "state_not_ours", state, 72)] {
        std::os::unix::fs::chown(&folder, Some(OTHER), None).unwrap();
        let found = Found::in_home(&lab.home);
        assert_eq!((found.level(part, reason), found.1), ("problem", Some(code)), "{reason}");
        mend(found.get(part, reason));
        let found = Found::in_home(&lab.home);
        assert!(!found.has(part, reason) && found.1 == Some(0), "{reason}");
    }
}

#[test]
fn a_vault_that_the_system_does_not_let_us_read_or_write_is_named_with_the_command_that_opens_it() {
    let mut lab = Lab::new();
    drop(lab.daemon.take());
    let other = Other::owning(&lab.home);
    let look = || other.finds(&lab.home, &["env", "--"]);
    assert_eq!(look().1, Some(0));
    fs::set_permissions(lab.vault().join("roster"), fs::Permissions::from_mode(0o000)).unwrap();
    let found = look();
    assert_eq!((found.level("vault", "unreadable"), found.1), ("problem", Some(71)));
    mend(found.get("vault", "unreadable"));
    fs::set_permissions(lab.vault().join("roster"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(lab.vault(), fs::Permissions::from_mode(0o500)).unwrap();
    let found = look();
    assert_eq!((found.level("vault", "read_only"), found.1), ("warning", Some(0)));
    mend(found.get("vault", "read_only"));
    assert!(!look().has("vault", "read_only"));
}

#[test]
fn a_vault_on_a_disk_that_is_full_or_read_only_is_named() {
    let mut lab = Lab::new();
    let vault = lab.vault();
    let disk = SmallDisk::under(&mut lab, &vault, "256k");
    assert_eq!(Found::in_home(&lab.home).1, Some(0));
    disk.writable(false);
    let found = Found::in_home(&lab.home);
    assert_eq!((found.level("vault", "read_only"), found.1), ("warning", Some(0)));
    mend(found.get("vault", "read_only"));
    assert!(!Found::in_home(&lab.home).has("vault", "read_only"));
    disk.fill();
    let found = Found::in_home(&lab.home);
    assert_eq!((found.level("vault", "full"), found.1), ("problem", Some(71)));
    mend(found.get("vault", "full"));
    disk.make_room();
    assert_eq!(Found::in_home(&lab.home).1, Some(0));
    // What a change that was cut left, before any of what it was about to write.
    let list = format!("touchlease change 1\n= roster/{}.json\n", "f".repeat(64));
    fs::create_dir_all(lab.vault().join("pending")).unwrap();
    fs::write(lab.vault().join("pending").join(Digest::of(list.as_bytes()).to_string()), list).unwrap();
    disk.writable(false);
    let found = Found::in_home(&lab.home);
    assert_eq!((found.level("vault", "read_only"), found.1), ("problem", Some(71)));
    assert_eq!(found.level("vault", "unfinished"), "note");
    lab.restart(|_| {});
    let (code, error) = error_of(&lab.agent_to_its_end(&["--json", "list"]));
    assert_eq!(code, Some(71), "nothing is read: {error}");
    mend(found.get("vault", "read_only"));
    assert!(lab.agent_to_its_end(&["list"]).status.success());
    let found = Found::in_home(&lab.home);
    assert!(!found.has("vault", "unfinished") && found.1 == Some(0));
}

#[test]
fn t55_a_log_that_has_little_space_or_none_or_was_not_written_is_named() {
    let mut lab = Lab::new();
    let state = lab.home.places().unwrap().state;
    let disk = SmallDisk::under(&mut lab, &state, "512k");
    let found = Found::in_home(&lab.home);
    assert_eq!((found.level("log", "little_space"), found.1), ("warning", Some(0)));
    disk.fill();
    let found = Found::in_home(&lab.home);
    assert_eq!((found.level("log", "log_full"), found.1), ("problem", Some(72)));
    assert!(!found.has("log", "log_not_written"), "nothing had to be written yet");
    let _watch = lab.home.watch().unwrap();
    let run = ["--json", "run", "--with", "prod/TOKEN", "--", "true"];
    // The last page of the log has room for the lines of a lease or two.
    let refused = (0..6).find_map(|_| error_of_refused(&lab, &run));
    assert_eq!(refused, Some(72), "the disk has room");
    let found = Found::in_home(&lab.home);
    assert_eq!(found.level("log", "log_not_written"), "problem");
    mend(found.get("log", "log_not_written"));
    disk.make_room();
    let found = Found::in_home(&lab.home);
    assert!(!found.has("log", "log_not_written") && !found.has("log", "log_full") && found.1 == Some(0));
    assert!(lab.agent_to_its_end(&run).status.success());
}

/// The exit code of a lease that was refused.
fn error_of_refused(lab: &Lab, run: &[&str]) -> Option<i32> {
    let out = lab.agent_to_its_end(run);
    (!out.status.success()).then(|| error_of(&out).0).flatten()
}
