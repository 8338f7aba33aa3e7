//! A vault of many secrets behind a daemon: what it needs does not grow with them.

use std::{
    fmt::Write as _,
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::lab::Lab;

const FEW: usize = 10;
/// Secrets of one import: fewer touches than a terminal may ask for in ten minutes.
const IMPORT: usize = 25_000;
const PATIENCE: Duration = Duration::from_secs(3600);
/// What the allocator may keep of a list's last part, and of its own: the peak is in pages of a process that does other things as well.
const SLACK_KB: u64 = 6 << 10;

/// What one operation took: wall time, and how far the daemon's process grew above what it held before (proc(5): VmHWM, clear_refs).
struct Took {
    time: Duration,
    grown_kb: u64,
}

fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// The daemon is a thread of this process; the commands are processes of their own.
fn took(work: impl FnOnce()) -> Took {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, start) = (status("VmRSS"), Instant::now());
    work();
    Took {
        time: start.elapsed(),
        grown_kb: status("VmHWM").saturating_sub(before),
    }
}

fn import(lab: &Lab, first: usize, count: usize) {
    let path = lab.home.work().join("many.env");
    let text = (first..first + count).fold(String::new(), |mut text, n| {
        writeln!(text, "SECRET_{n}=value-of-number-{n}").unwrap();
        text
    });
    fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    let import = lab.home.terminal(["--json", "import", &path, "--scope", "prod"]).unwrap();
    let (status, shown) = import.finish_within(PATIENCE).unwrap();
    assert!(status.success(), "{}", shown.lines().last().unwrap_or_default());
    // The brake on prompts is not what is measured.
    lab.clock.suspend(Duration::from_secs(660));
}

/// Lists into a file: what this process read of it would count as the daemon's.
fn list(lab: &Lab) {
    let mut list = lab.home.detached(["list", "prod"]);
    let file = fs::File::create(lab.home.work().join("list")).unwrap();
    assert!(list.stdin(Stdio::null()).stdout(file).status().unwrap().success());
}

/// How many secrets were listed, each once and in the order of their names.
fn listed(lab: &Lab) -> usize {
    let text = fs::read_to_string(lab.home.work().join("list")).unwrap();
    let names: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(names.windows(2).all(|two| two[0] < two[1]));
    names.len()
}

/// Opens, lists, leases, puts and imports, each with what it took.
fn operations(lab: &mut Lab, count: usize) -> Vec<(&'static str, Took)> {
    let name = |n: usize| format!("prod/SECRET_{n}");
    lab.restart(|_| {});
    let mut done = vec![("open", took(|| assert!(lab.status()["vault"].is_string())))];
    done.push(("list", took(|| list(lab))));
    assert_eq!(listed(lab), count + 1);
    done.push((
        "lease",
        took(|| {
            let with = format!("V={}", name(7));
            let shown = lab.person(&["run", "--no-masking", "--with", &with, "--", "sh", "-c", "printf '<%s>' \"$V\""]);
            assert!(shown.contains("<value-of-number-7>"), "{shown}");
        }),
    ));
    done.push(("put", took(|| lab.put(&name(8), b"another-value", &[]))));
    done.push(("import of 500", took(|| import(lab, count, 500))));
    done
}

fn filled(count: usize) -> Lab {
    let lab = Lab::new();
    let mut first = 0;
    while first < count {
        let part = IMPORT.min(count - first);
        import(&lab, first, part);
        first += part;
    }
    lab
}

fn compare(count: usize) {
    let few = operations(&mut filled(FEW), FEW);
    let built = Instant::now();
    let mut lab = filled(count);
    println!("{count} secrets imported in {:.1} s", built.elapsed().as_secs_f64());
    let many = operations(&mut lab, count);
    for ((what, small), (_, large)) in few.iter().zip(&many) {
        println!(
            "{what:15} {FEW:>8}: {:>7.1} ms, +{} kB   {count:>8}: {:>7.1} ms, +{} kB",
            small.time.as_secs_f64() * 1e3,
            small.grown_kb,
            large.time.as_secs_f64() * 1e3,
            large.grown_kb
        );
        assert!(large.grown_kb <= small.grown_kb + SLACK_KB, "{what} holds more than its part");
    }
}

#[test]
fn a_thousand_secrets_are_imported_listed_and_lent_in_the_memory_of_ten() {
    compare(1_000);
    println!("1000 of 100000 secrets");
}

#[test]
#[ignore = "long"]
fn a_hundred_thousand_secrets_are_imported_listed_and_lent_in_the_memory_of_ten() {
    compare(100_000);
}
