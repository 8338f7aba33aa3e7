//! The same request again: asked of the daemon once, counted, and each of them in the log (T16, T55, P4).

use std::{fs, process::Child, time::Instant};

use serde_json::Value;

use super::{Bench, Upstream, uses};
use crate::lab::until;

/// The same request without a pause, ROUNDS times or until there is a file `stop`. Says each status as it changes, and at the end how many went out.
const REQUESTS: &str = r#"
import base64, http.client, os, re, time
password, port = re.fullmatch(r'http://(x:\w+)@127\.0\.0\.1:(\d+)', os.environ['HTTP_PROXY']).groups()
headers = {
    'Proxy-Authorization': 'Basic ' + base64.b64encode(password.encode()).decode(),
    'Authorization': 'Bearer ' + os.environ['API'],
}
proxy = http.client.HTTPConnection('127.0.0.1', int(port))
said = open('said', 'a', buffering=1)
count = sent = last = 0
while count < ROUNDS and not os.path.exists('stop'):
    proxy.request('GET', 'http://HOST/a', headers=headers)
    answer = proxy.getresponse()
    body = answer.read()
    count += 1
    sent += answer.status == 200
    if answer.status != last:
        said.write(f'{answer.status} {body[:200].decode()}\n')
        last = answer.status
    if answer.status != 200:
        time.sleep(0.05)
said.write(f'sent {sent}\n')
"#;

fn asking(bench: &Bench, upstream: &Upstream, rounds: &str, options: &[&str]) -> Child {
    bench.put(&format!("http://{}", upstream.host()), &[]);
    let program = REQUESTS.replace("HOST", &upstream.host()).replace("ROUNDS", rounds);
    fs::write(bench.lab.home.work().join("requests.py"), program).unwrap();
    let run = ["run", "--with", "API=prod/API"];
    bench.lab.agent(&[&run, options, &["--", "python3", "requests.py"]].concat())
}

fn said(bench: &Bench) -> String {
    fs::read_to_string(bench.lab.home.work().join("said")).unwrap_or_default()
}

fn verifies(bench: &Bench) {
    assert_eq!(bench.lab.json(&["audit", "verify"])["error"], Value::Null);
}

#[test]
fn each_of_many_requests_that_are_the_same_is_in_the_log_also_those_right_before_the_end() {
    let bench = Bench::new();
    let upstream = Upstream::plain();
    let out = asking(&bench, &upstream, "300", &[]).wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    assert_eq!(upstream.seen().len(), 300);
    until("the last of them", || uses(&bench.log("used")) == 300);
    let used = bench.log("used");
    assert!(used.len() < 100 && used[0]["times"].is_null(), "{used:?}");
    let what = Value::from(format!("GET {}/a", upstream.host()));
    assert!(
        used.iter().all(|line| line["what"] == what && line["delivery"] == "proxy"),
        "{used:?}"
    );
    verifies(&bench);
    let shown = bench.lab.prints(&["audit", "show"]);
    assert!(shown.contains("times="), "{shown}");
    println!("proxy again: 300 of 300 uses in {} lines", used.len());
}

#[test]
fn t16_what_was_done_again_is_counted_to_the_last_when_its_lease_is_revoked_and_when_the_daemon_stops() {
    let mut bench = Bench::new();
    let upstream = Upstream::plain();
    // One that was on its way when it was cut is counted, and may have come to nothing.
    let are_counted = |bench: &Bench| {
        let (counted, seen) = (uses(&bench.log("used")), upstream.seen().len() as u64);
        (seen..=seen + 2).contains(&counted)
    };
    for stops in [false, true] {
        let before = upstream.seen().len();
        let mut child = asking(&bench, &upstream, "10**9", &[]);
        until("requests", || upstream.seen().len() > before + 50);
        if stops {
            drop(bench.lab.daemon.take());
            until("the command", || child.try_wait().unwrap().is_some());
            assert!(are_counted(&bench), "{:?}", bench.log("used"));
        } else {
            bench.lab.prints(&["lease", "revoke", "--all"]);
            until("the command", || child.try_wait().unwrap().is_some());
            until("the last of them", || are_counted(&bench));
            verifies(&bench);
        }
    }
}

#[test]
fn t55_p4_without_its_log_the_proxy_refuses_what_it_let_go_on_within_a_second_and_writes_it_down_later() {
    let bench = Bench::new();
    let upstream = Upstream::plain();
    let mut child = asking(&bench, &upstream, "10**9", &[]);
    until("requests", || upstream.seen().len() > 50);
    let log = bench.lab.home.log().unwrap();
    let away = log.with_extension("away");
    fs::rename(&log, &away).unwrap();
    let since = Instant::now();
    until("a refusal", || said(&bench).contains("not_recorded"));
    let took = since.elapsed();
    assert!(took.as_millis() < 1000, "{took:?}");
    fs::rename(&away, &log).unwrap();
    until("requests again", || said(&bench).matches("\n200").count() > 0);
    fs::write(bench.lab.home.work().join("stop"), "").unwrap();
    until("the command", || child.try_wait().unwrap().is_some());
    let sent: u64 = said(&bench)
        .lines()
        .find_map(|line| line.strip_prefix("sent ")?.parse().ok())
        .unwrap();
    until("the last of them", || uses(&bench.log("used")) == sent);
    verifies(&bench);
    println!("P4 proxy log: 1 of 1 refused, {} ms after the log was gone", took.as_millis());
}

#[test]
fn a_limit_of_uses_has_a_line_for_each_request_that_is_the_same() {
    let bench = Bench::new();
    let upstream = Upstream::plain();
    let out = asking(&bench, &upstream, "6", &["--uses", "4"]).wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let used = bench.log("used");
    let left: Vec<&Value> = used.iter().map(|used| &used["left"]).collect();
    assert_eq!((left, upstream.seen().len()), (vec![&3.into(), &2.into(), &1.into(), &0.into()], 4));
    assert!(used.iter().all(|used| used["times"].is_null()), "{used:?}");
}
