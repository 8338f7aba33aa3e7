//! The end of what goes through the proxy: of its lease, its worker, its command, its daemon.

use std::{
    fs,
    process::Child,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Bench, Upstream};
use crate::lab::until;

/// The figure of P4.
const WITHIN: Duration = Duration::from_secs(1);
/// A stream that a command reads, which does not end by being told to.
const STREAM: &str = "trap '' TERM; curl -sS -N -H \"Authorization: Bearer $API\" URL > stream; echo ended > ended";
/// One that goes on without it, until it is killed.
const GOES_ON: &str = "; sleep 20";

fn streaming(bench: &Bench, upstream: &Upstream, options: &[&str], then: &str) -> Child {
    bench.put(&upstream.host(), &[]);
    let script = STREAM.replace("URL", &upstream.url("/stream")) + then;
    let run = [&["run", "--with", "API=prod/API"], options, &["--", "sh", "-c", &script]].concat();
    let child = bench.lab.agent(&run);
    until("the stream", || {
        fs::read(bench.lab.home.work().join("stream")).is_ok_and(|text| text.len() > 100)
    });
    assert_eq!(upstream.streaming(), 1);
    child
}

/// That the client's and the upstream's ends of the stream are cut in time.
fn cut(bench: &Bench, upstream: &Upstream, since: Instant) {
    let ended = bench.lab.home.work().join("ended");
    until("the end of the stream", || upstream.streaming() == 0 && ended.exists());
    let took = since.elapsed();
    assert!(took < WITHIN, "{took:?}");
    println!("P4 proxy: 1 of 1 streams cut, {} ms after the end", took.as_millis());
}

/// The workers of the daemon in this process.
fn workers() -> Vec<Pid> {
    let ours = std::process::id().to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_worker = |pid: &i32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).map(str::to_owned);
        line.contains("proxy-worker") && parent.as_deref() == Some(&ours)
    };
    pids.filter(is_worker).filter_map(Pid::from_raw).collect()
}

#[test]
fn t16_the_end_of_a_leases_time_cuts_a_stream_within_a_second() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    let mut child = streaming(&bench, &upstream, &["--ttl", "10m"], "");
    let since = Instant::now();
    bench.lab.clock.suspend(Duration::from_secs(601));
    cut(&bench, &upstream, since);
    assert_eq!(bench.log("ended")[0]["why"], "time");
    until("the command", || child.try_wait().unwrap().is_some());
    until("the worker's end", || workers().is_empty());
}

#[test]
fn p4_a_lease_that_is_revoked_or_locked_away_is_cut_within_a_second() {
    for end in [&["lease", "revoke", "--all"][..], &["lock"]] {
        let bench = Bench::new();
        let upstream = bench.upstream();
        let mut child = streaming(&bench, &upstream, &[], "");
        let since = Instant::now();
        bench.lab.prints(end);
        cut(&bench, &upstream, since);
        until("the command", || child.try_wait().unwrap().is_some());
    }
}

#[test]
fn p4_a_lease_that_a_shell_holds_is_cut_from_a_command_that_joined_it() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    let id = bench.lab.lease(&["--with", "API=prod/API"]);
    let script = STREAM.replace("URL", &upstream.url("/stream"));
    let mut child = bench.lab.child(&["run", "--with", "API=prod/API", "--", "sh", "-c", &script]);
    until("the stream", || upstream.streaming() == 1);
    assert_eq!(bench.log("approved").len(), 1);
    let since = Instant::now();
    bench.lab.prints(&["lease", "end", &id]);
    cut(&bench, &upstream, since);
    until("the command", || child.try_wait().unwrap().is_some());
}

#[test]
fn a_worker_that_ends_by_itself_ends_the_lease_and_the_command_hears_it() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    let child = streaming(&bench, &upstream, &[], GOES_ON);
    let workers = workers();
    assert_eq!(workers.len(), 1);
    kill_process(workers[0], Signal::KILL).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("the lease is over (not_delivered)"), "{said}");
    assert_eq!(bench.log("ended")[0]["why"], "not_delivered");
}

#[test]
fn the_worker_ends_with_its_command_and_with_its_daemon() {
    let mut bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    assert_eq!(bench.says(&[], &super::curl(&upstream.url("/a"), "")), "fine200");
    until("the worker's end", || workers().is_empty());
    let mut child = streaming(&bench, &upstream, &[], GOES_ON);
    assert_eq!(workers().len(), 1);
    drop(bench.lab.daemon.take());
    until("the worker's end", || workers().is_empty());
    until("the end of the stream", || upstream.streaming() == 0);
    until("the command", || child.try_wait().unwrap().is_some());
}

/// Requests without a pause on four connections: those that are sent, each with its line on the disk, and those that are refused.
const FLOOD: &str = r#"
import base64, os, re, socket, threading
url = os.environ['HTTP_PROXY']
password, port = re.fullmatch(r'http://(x:\w+)@127\.0\.0\.1:(\d+)', url).groups()
login = base64.b64encode(password.encode()).decode()

def flood(path, header):
    request = f'GET http://HOST{path} HTTP/1.1\r\nHost: HOST\r\nProxy-Authorization: Basic {login}\r\n{header}\r\n\r\n'.encode()
    while True:
        stream = socket.create_connection(('127.0.0.1', int(port)))
        answers = stream.makefile('rb')
        for _ in range(10_000):
            stream.sendall(request)
            length = 0
            while (line := answers.readline()) not in (b'\r\n', b''):
                if line.lower().startswith(b'content-length:'):
                    length = int(line.split(b':')[1])
            answers.read(length)
            if not line:
                break

for header in ['Authorization: Bearer ' + os.environ['API'], 'X-Other: ' + os.environ['API']] * 2:
    threading.Thread(target=flood, args=('/a', header)).start()
"#;

#[test]
fn p4_t12_a_flood_of_requests_through_the_proxy_keeps_nobody_from_locking() {
    let bench = Bench::new();
    let upstream = Upstream::plain();
    bench.put(&format!("http://{}", upstream.host()), &[]);
    fs::write(bench.lab.home.work().join("flood.py"), FLOOD.replace("HOST", &upstream.host())).unwrap();
    let mut child = bench
        .lab
        .agent(&["run", "--uses", "1000000", "--with", "API=prod/API", "--", "python3", "flood.py"]);
    until("the flood", || bench.log("not_sent").len() >= 20 && bench.log("used").len() > 200);
    let since = Instant::now();
    bench.lab.prints(&["lock"]);
    let took = since.elapsed();
    until("the command", || child.try_wait().unwrap().is_some());
    assert!(took < WITHIN, "{took:?}");
    let (used, refused) = (bench.log("used").len(), bench.log("not_sent"));
    let left_out: u64 = refused.iter().filter_map(|line| line["left_out"].as_u64()).sum();
    println!(
        "P4 proxy flood: 1 of 1 locks done, after {} ms; {used} uses, {} lines of refusals, {left_out} left out",
        took.as_millis(),
        refused.len()
    );
    assert_eq!(bench.lab.json(&["audit", "verify"])["error"], serde_json::Value::Null);
}
