//! A proxy that outlives leases: a command runs behind it, and leases that it asks for come to it, and go.

use std::fs;

use super::{Bench, CANARY, curl};
use crate::{
    hygiene,
    lab::{error_of, product, until},
};

const TASK: &str = r#"
[task.deploy]
about = "Deploy the docs"

[[task.deploy.grant]]
secret = "prod/API"
via = "proxy"
env = "API"
hosts = ["HOST"]
paths = ["/v4/*"]
"#;

/// A bench whose folder has a task for this host, and the words of a command behind a proxy without a lease.
fn with_task(bench: &Bench, host: &str) {
    fs::write(bench.lab.home.work().join("touchlease.toml"), TASK.replace("HOST", host)).unwrap();
}

fn behind(bench: &Bench, network: &str, script: &str) -> std::process::Output {
    bench
        .lab
        .agent_to_its_end(&["run", "--proxy", "--network", network, "--", "sh", "-c", script])
}

#[test]
fn a_command_that_runs_already_asks_for_a_lease_and_its_next_request_carries_the_credential() {
    let bench = Bench::new();
    let (upstream, other) = (bench.upstream(), bench.upstream());
    bench.put(&upstream.host(), &[]);
    with_task(&bench, &upstream.host());
    let touchlease = product().display().to_string();
    let body = "-o answer.json";
    let script = [
        curl(&upstream.url("/v4/a"), body),
        "echo; cat answer.json\n".into(),
        format!("curl -sS -o /dev/null {} 2>&1\n", other.url("/v4/a")),
        format!("{touchlease} lease request --to-proxy --task deploy > marks && cat marks && . ./marks\n"),
        curl(&upstream.url("/v4/a"), ""),
        curl(&upstream.url("/other"), "-o /dev/null"),
        format!("{touchlease} lease request --to-proxy --task deploy | cmp marks - && echo same\n"),
        format!("{touchlease} lease revoke --all > /dev/null\n"),
        curl(&upstream.url("/v4/a"), body),
        "echo; cat answer.json /proc/self/environ\n".into(),
    ]
    .concat();
    let out = behind(&bench, "granted-only", &script);
    let said = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(lines[0], "403", "{said}");
    let refused = json(lines[1]);
    assert_eq!(
        (&refused["reason"], &refused["task"]),
        (&"lease_needed".into(), &"deploy".into()),
        "{said}"
    );
    assert!(lines[2].contains("403"), "a host of no task has no tunnel: {said}");
    assert!(lines[3].starts_with("export API='") && lines[3].contains("TOUCHLEASE"), "{said}");
    assert_eq!(&lines[4..6], ["fine200403same", "403"], "{said}");
    let ended = json(lines[6]);
    assert_eq!(
        (&ended["reason"], &ended["task"]),
        (&"lease_ended".into(), &"deploy".into()),
        "{said}"
    );
    assert_eq!(hygiene::leaks(said.as_bytes(), &hygiene::forms(CANARY)), 0);
    assert_eq!((upstream.seen().len(), other.seen().len()), (1, 0));
    assert!(upstream.has_seen(CANARY));
    assert_eq!(bench.log("used").len(), 1);
    assert_eq!(bench.log("approved").len(), 1, "the same request is the same lease");
}

#[test]
fn a_lease_that_is_asked_for_by_a_shell_ends_with_that_shell_and_the_proxy_goes_on() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    with_task(&bench, &upstream.host());
    let request = format!("{} lease request --to-proxy --task deploy", product().display());
    let script = format!(
        "sh -c '{request} > marks; . ./marks; {}'; . ./marks; sleep 0.5; {}{request} > marks; . ./marks; {}",
        curl(&upstream.url("/v4/a"), "").trim().replace('\'', "\""),
        curl(&upstream.url("/v4/a"), "-o /dev/null"),
        curl(&upstream.url("/v4/a"), ""),
    );
    let out = behind(&bench, "open", &script);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "fine200403fine200", "{out:?}");
    until("the ends of both leases", || bench.log("ended").len() == 2);
}

#[test]
fn t20_a_session_is_named_by_who_knows_its_password_and_nobody_is_asked_for_one_that_is_not_there() {
    let bench = Bench::new();
    bench.put("a.example", &[]);
    for proxy in [
        "",
        "http://proxy.example:3128",
        "http://x:00000000000000000000000000000000@127.0.0.1:1",
    ] {
        let script = format!(
            "HTTPS_PROXY={proxy} {} --json lease request --to-proxy --with-proxy prod/API",
            product().display()
        );
        let out = bench.lab.agent_to_its_end(&["run", "--proxy", "--", "sh", "-c", &script]);
        let (code, error) = error_of(&out);
        assert_eq!(error["reason"], "no_session", "{code:?} {error}");
    }
    assert_eq!(bench.log("approved").len(), 0);
}
