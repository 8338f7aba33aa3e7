//! One secret out of many: in this process, and by a command against other password stores' commands.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hw_tests::large::LargeVault;
use touchlease::encoding::sshsig::Namespace;

use super::rig::Rig;
use super::run::{self, Peer, environment, quiet, version};
use super::table::{Failure, Table, Work, interleaved, micros, millis};

const MANY: usize = 100_000;
const FEW: usize = 10;
const ROUNDS: usize = 2_000;
const STARTS: usize = 100;
/// Entries of the KeePass database.
const ENTRIES: usize = 1_000;
const PASSWORD: &str = "correct horse battery";

pub fn rows(table: &mut Table) -> Result<(), Failure> {
    in_process(table)?;
    by_command(table)
}

fn in_process(table: &mut Table) -> Result<(), Failure> {
    // Beside the build: a temporary folder may be in memory.
    let within = std::env::current_exe()?.with_file_name("");
    let began = Instant::now();
    let many = LargeVault::new(MANY, within.clone())?;
    table.fact(
        &format!("{MANY} secrets put in batches of 500"),
        format!("{:.1} s", began.elapsed().as_secs_f64()),
    );
    let few = LargeVault::new(FEW, within)?;
    let (large, small) = (many.open()?, few.open()?);
    let (of_large, of_small) = (
        many.touch(&large, "prod", Namespace::Lease)?,
        few.touch(&small, "prod", Namespace::Lease)?,
    );
    let empty = many.touch(&large, "empty", Namespace::Change)?;
    let (mut a, mut b) = (0, 0);
    let mut works: Vec<Work<'_>> = vec![
        Box::new(|| {
            a = (a + 37) % MANY;
            many.get(&large, &of_large.0, &of_large.1, a)
        }),
        Box::new(|| {
            b = (b + 3) % FEW;
            few.get(&small, &of_small.0, &of_small.1, b)
        }),
        Box::new(|| many.unlock(&large, &empty.0, &empty.1)),
        Box::new(|| many.open().map(drop)),
        Box::new(|| few.open().map(drop)),
    ];
    let times = interleaved(ROUNDS, &mut works)?;
    drop(works);
    let ratio = times[0].over(&times[1]);
    table.goal(
        &format!("one secret, vault of {MANY} against vault of {FEW}, in process, p50"),
        format!("{ratio:.2}x ({} against {})", micros(times[0].median()), micros(times[1].median())),
        "<= 2x",
        ratio <= 2.0,
    );
    let own = times[0].median().saturating_sub(times[2].median());
    table.goal(
        "the same without what the touch opens in any vault, an empty scope's key and head",
        micros(own),
        "<= 50 us",
        own <= Duration::from_micros(50),
    );
    table.fact(
        &format!("opening the vault of {MANY} against the one of {FEW}, p50"),
        format!("{:.2}x ({})", times[3].over(&times[4]), micros(times[3].median())),
    );
    one_put(table, &many, &few)
}

fn one_put(table: &mut Table, many: &LargeVault, few: &LargeVault) -> Result<(), Failure> {
    let (large, small) = (many.open()?, few.open()?);
    let mut works: Vec<Work<'_>> = vec![
        Box::new(|| many.put(&large, "SECRET_7", b"value of number 7")),
        Box::new(|| few.put(&small, "SECRET_7", b"value of number 7")),
    ];
    let times = interleaved(STARTS, &mut works)?;
    table.fact(
        &format!("one secret put into the vault of {MANY} against the one of {FEW}, p50"),
        format!("{:.2}x ({})", times[0].over(&times[1]), millis(times[0].median())),
    );
    Ok(())
}

fn by_command(table: &mut Table) -> Result<(), Failure> {
    let rig = Rig::new(false, 0)?;
    // Held by this process, so all its children may use it.
    quiet(rig.home.command(["lease", "request", "--with", "prod/TOKEN"]))?;
    let mut works: Vec<Work<'_>> = vec![Box::new(|| {
        quiet(
            rig.home
                .command(["run", "--no-masking", "--with", "prod/TOKEN", "--", "printenv", "TOKEN"]),
        )
    })];
    let mut against = vec![];
    let others = [
        (Peer::or_missing("pass", run::pass(&rig)), 8.0),
        (run::gopass(), 4.0),
        (Peer::or_missing("keepassxc-cli", keepassxc(&rig)), 40.0),
    ];
    for (peer, goal) in others {
        match peer {
            Peer::There(name, version, work) => {
                table.version(name, version);
                against.push((name, goal));
                works.push(work);
            }
            Peer::Missing(name, why) => table.missing(&format!("{name}, one secret by its command"), &why),
        }
    }
    let times = interleaved(STARTS, &mut works)?;
    drop(works);
    table.fact(
        "touchlease run --no-masking --with prod/TOKEN -- printenv TOKEN in a live lease, p50",
        millis(times[0].median()),
    );
    for ((name, goal), theirs) in against.iter().zip(&times[1..]) {
        let ratio = theirs.over(&times[0]);
        table.goal(
            &format!("one secret by {name}'s command, against that"),
            format!("{ratio:.1}x ({})", millis(theirs.median())),
            &format!(">= {goal}x"),
            ratio >= *goal,
        );
    }
    Ok(())
}

/// `keepassxc-cli show` of one entry of a thousand, in a database whose key derivation takes the least that the program allows (100 ms).
fn keepassxc(rig: &Rig) -> Result<Peer<'_>, Failure> {
    let Some(version) = version("keepassxc-cli", "--version") else {
        return Ok(Peer::Missing("keepassxc-cli", "apt-get install keepassxc".into()));
    };
    let path = |end: &str| rig.home.path().join(end).display().to_string();
    let (xml, database) = (path("entries.xml"), path("entries.kdbx"));
    let entry = |n: usize| {
        format!(
            "<Entry><String><Key>Title</Key><Value>TOKEN_{n}</Value></String><String><Key>Password</Key><Value>ghp_{n:036}</Value></String></Entry>"
        )
    };
    let entries: String = (0..ENTRIES).map(entry).collect();
    let head = "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeePassFile><Meta/><Root><Group><Name>Root</Name>";
    fs::write(&xml, format!("{head}{entries}</Group></Root></KeePassFile>"))?;
    let made = environment(rig, "keepassxc-cli", &["import", "-p", "-t", "100", &xml, &database]);
    typed(made, &format!("{PASSWORD}\n{PASSWORD}\n"))?;
    let work = move || {
        let show = ["show", "-q", "-s", "-a", "Password", &database, "TOKEN_500"];
        typed(environment(rig, "keepassxc-cli", &show), &format!("{PASSWORD}\n"))
    };
    let version = format!("{version}, {ENTRIES} entries, key derivation of 100 ms");
    Ok(Peer::There("keepassxc-cli", version, Box::new(work)))
}

fn typed(mut command: Command, text: &str) -> Result<(), Failure> {
    command.env("QT_QPA_PLATFORM", "offscreen");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().ok_or("no pipe")?.write_all(text.as_bytes())?;
    let ended = child.wait_with_output()?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&ended.stderr)).into())
}
