//! `touchlease run -- true` in a live lease, against `env FOO=bar true` and what peers need to get at one secret.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use touchlease::deliver::env::find;

use super::rig::Rig;
use super::table::{Failure, Table, Times, Work, interleaved, millis, one_line};

const ROUNDS: usize = 200;

pub fn rows(table: &mut Table) -> Result<(), Failure> {
    let rig = Rig::new(false, 0)?;
    // Held by this process, so all its children may use it.
    quiet(rig.home.command(["lease", "request", "--with", "prod/TOKEN"]))?;
    let peers = [
        Peer::or_missing("age", age(&rig)),
        Peer::or_missing("pass", pass(&rig)),
        Peer::or_missing("rage", rage(&rig)),
        gopass(),
    ];
    let mut names = vec![];
    let mut works: Vec<Work<'_>> = vec![
        Box::new(|| quiet(environment(&rig, "env", &["FOO=bar", "true"]))),
        Box::new(|| quiet(rig.home.command(["run", "--no-masking", "--with", "prod/TOKEN", "--", "true"]))),
        Box::new(|| quiet(rig.home.command(["run", "--with", "prod/TOKEN", "--", "true"]))),
    ];
    for peer in peers {
        match peer {
            Peer::There(name, version, work) => {
                table.version(name, version);
                names.push(name);
                works.push(work);
            }
            Peer::Missing(name, why) => table.missing(&format!("{name}, one secret, against env"), &why),
        }
    }
    let times = interleaved(ROUNDS, &mut works)?;
    drop(works);
    let asked = rig.own.touches();
    let base = &times[0];
    table.fact("env FOO=bar true, p50", millis(base.median()));
    // Stricter than the goal, whose `env` is started as a person starts it: see `from_a_shell`.
    for (at, what) in [
        (
            1,
            "touchlease run --no-masking --with prod/TOKEN -- true in a live lease, p50 against env",
        ),
        (2, "the same without --no-masking"),
    ] {
        table.fact(what, format!("{:.2}x ({})", times[at].over(base), millis(times[at].median())));
    }
    for (name, times) in names.iter().zip(&times[3..]) {
        let measured = format!("{:.1}x ({})", times.over(base), millis(times.median()));
        table.peer(&format!("{name}, one secret, against env"), measured);
    }
    from_a_shell(&rig, table)?;
    if rig.own.touches() == asked {
        Ok(())
    } else {
        Err("a run asked for a touch of its own".into())
    }
}

/// The rounds of a shell: microseconds of each command, in turn.
const SHELL: &str = r#"
set -e
one() { env FOO=bar true; }
two() { touchlease run --no-masking --with prod/TOKEN -- true; }
three() { touchlease run --with prod/TOKEN -- true; }
for ((round = 0; round <= $1; round++)); do
    for each in one two three; do
        before=$EPOCHREALTIME
        $each < /dev/null > /dev/null
        after=$EPOCHREALTIME
        # The first round fills caches.
        [ $round = 0 ] || echo $each $((${after/./} - ${before/./}))
    done
done
"#;

/// The same as a person or an agent starts it: by a shell, which forks, and finds all three in PATH.
fn from_a_shell(rig: &Rig, table: &mut Table) -> Result<(), Failure> {
    let product = super::rig::product()?;
    let folder = product.parent().ok_or("no folder")?.display().to_string();
    let mut shell = environment(rig, "bash", &["-c", SHELL, "bash", &ROUNDS.to_string()]);
    shell.env("PATH", format!("{folder}:{}", rig.home.variable("PATH")));
    let said = shell.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !said.status.success() {
        return Err("the shell failed".into());
    }
    let mut times = <[Times; 3]>::default();
    for line in String::from_utf8(said.stdout)?.lines() {
        let (each, micros) = line.split_once(' ').ok_or("no time")?;
        let at = ["one", "two", "three"].iter().position(|name| *name == each).ok_or("no command")?;
        times[at].add(Duration::from_micros(micros.parse()?));
    }
    let [base, unmasked, masked] = times;
    table.fact("env FOO=bar true, started by bash, p50", millis(base.median()));
    for (what, times, goal) in [
        (
            "touchlease run --no-masking ... in a live lease, started by bash, p50 against that",
            unmasked,
            1.5,
        ),
        ("the same without --no-masking", masked, 1.8),
    ] {
        let ratio = times.over(&base);
        let measured = format!("{ratio:.2}x ({})", millis(times.median()));
        table.goal(what, measured, &format!("<= {goal}x"), ratio <= goal);
    }
    Ok(())
}

/// Another program.
pub enum Peer<'a> {
    There(&'static str, String, Work<'a>),
    Missing(&'static str, String),
}

impl<'a> Peer<'a> {
    /// One that cannot be set up is missing, and why is in its row.
    pub fn or_missing(name: &'static str, made: Result<Self, Failure>) -> Self {
        made.unwrap_or_else(|failure| Self::Missing(name, one_line(&failure)))
    }
}

/// A file for one X25519 identity, decrypted.
fn age(rig: &Rig) -> Result<Peer<'_>, Failure> {
    age_like(rig, "age", "age-keygen", "apt-get install age")
}

fn rage(rig: &Rig) -> Result<Peer<'_>, Failure> {
    age_like(rig, "rage", "rage-keygen", "not built here")
}

fn age_like<'a>(rig: &'a Rig, name: &'static str, keygen: &str, missing: &'static str) -> Result<Peer<'a>, Failure> {
    let Some(version) = version(name, "--version") else {
        return Ok(Peer::Missing(name, missing.into()));
    };
    let path = |end: &str| rig.home.path().join(format!("{name}-{end}")).display().to_string();
    let (identity, secret, sealed) = (path("identity"), path("secret"), path("sealed"));
    quiet(environment(rig, keygen, &["-o", &identity]))?;
    let text = fs::read_to_string(&identity)?;
    let recipient = text
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "))
        .ok_or("no recipient")?;
    fs::write(&secret, "ghp_0123456789abcdefghijklmnopqrstuvwxyz")?;
    quiet(environment(rig, name, &["-r", recipient, "-o", &sealed, &secret]))?;
    let work = move || quiet(environment(rig, name, &["-d", "-i", &identity, &sealed]));
    Ok(Peer::There(name, version, Box::new(work)))
}

/// `pass show`, with an OpenPGP key of the default kind, without a passphrase, and its agent running.
pub fn pass(rig: &Rig) -> Result<Peer<'_>, Failure> {
    let (Some(gpg), true) = (version("gpg", "--version"), exists("pass")) else {
        return Ok(Peer::Missing("pass", "apt-get install pass gnupg".into()));
    };
    let gnupg = rig.home.path().join(".gnupg");
    std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(&gnupg)?;
    let generate = [
        "--batch",
        "--quiet",
        "--passphrase",
        "",
        "--quick-gen-key",
        "numbers@localhost",
        "default",
        "default",
        "never",
    ];
    quiet(environment(rig, "gpg", &generate))?;
    quiet(environment(rig, "pass", &["init", "numbers@localhost"]))?;
    let insert = "echo ghp_0123456789abcdefghijklmnopqrstuvwxyz | pass insert --echo TOKEN";
    quiet(environment(rig, "sh", &["-c", insert]))?;
    let shown = environment(rig, "pass", &["version"]).output()?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let number = shown.split_whitespace().find(|word| word.starts_with("v1")).unwrap_or("?");
    let work = || quiet(environment(rig, "pass", &["show", "TOKEN"]));
    Ok(Peer::There("pass", format!("{number}, {gpg}"), Box::new(work)))
}

/// Debian 12's package of this name is another program.
pub fn gopass() -> Peer<'static> {
    Peer::Missing("gopass", "not in Debian 12 (its package gopass is another program)".into())
}

pub fn environment(rig: &Rig, program: &str, arguments: &[&str]) -> Command {
    // The home's environment, without the product.
    let like = rig.home.command([] as [&str; 0]);
    let path = rig.home.variable("PATH");
    // By its file, as the product: the standard library forks for what it has to look for in another PATH than its own, and copies this
    // process's page tables, where it would use vfork.
    let file = find(program.as_ref(), Some(path.as_ref())).unwrap_or_else(|| program.into());
    let mut command = Command::new(file);
    command.arg0(program).args(arguments).env_clear().current_dir(rig.home.work());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

pub fn quiet(mut command: Command) -> Result<(), Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let ended = command.stderr(Stdio::piped()).spawn()?.wait_with_output()?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&ended.stderr)).into())
}

/// The first line of what a program says of itself.
pub fn version(program: &str, option: &str) -> Option<String> {
    let said = Command::new(program).arg(option).stdin(Stdio::null()).output().ok()?;
    let text = [said.stdout, said.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().map(str::to_owned)
}

fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder: std::path::PathBuf| Path::new(&folder).join(program).is_file())
}
