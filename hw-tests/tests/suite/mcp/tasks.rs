//! Commands of tasks, run for an agent.

use std::time::{Duration, Instant};

use super::*;

/// Until a file of the workspace is there.
fn until_written(lab: &Lab, name: &str) {
    let file = lab.home.work().join(name);
    lab.until(name, || file.exists());
}

/// A process whose number a script wrote into a file.
fn pid_in(lab: &Lab, name: &str) -> i32 {
    until_written(lab, name);
    let file = lab.home.work().join(name);
    let mut pid = None;
    lab.until(name, || {
        pid = fs::read_to_string(&file).unwrap().trim().parse().ok();
        pid.is_some()
    });
    pid.unwrap()
}

/// Masked in every form that the mask knows; the test's own drop looks for the value as it is.
#[test]
fn t42_a_task_runs_with_its_credential_and_no_form_of_it_comes_back() {
    let lab = Lab::new();
    workspace(
        &lab,
        "echo \"token is $TOKEN\"; printf %s \"$TOKEN\" | base64; printf %s \"$TOKEN\" | od -An -tx1 | tr -d ' \\n'; echo >&2 \"$TOKEN again\"; exit 3",
    );
    for start in [Agent::start, Agent::modern] {
        let _watch = lab.home.watch().unwrap();
        let mut agent = start(&lab);
        let lease = agent.lease(&lab);
        let done = agent.call("run_task", json!({"lease": lease}));
        assert_eq!((&done["state"], &done["exit_code"]), (&json!("done"), &json!(3)), "{done}");
        let output = done["output"].as_str().unwrap();
        assert!(
            output.contains("token is <touchlease:prod/TOKEN>") && output.contains("again"),
            "{output}"
        );
        assert!(done["masked"].as_u64().unwrap() >= 4, "{done}");
        let said = agent.hang_up();
        for form in [
            data_encoding::BASE64.encode(CANARY.as_bytes()),
            data_encoding::HEXLOWER.encode(CANARY.as_bytes()),
            CANARY.to_owned(),
        ] {
            assert!(!said.contains(&form), "{form}");
        }
    }
    assert_eq!(lab.count("used"), 2);
}

#[test]
fn the_command_is_the_one_that_was_approved_and_a_changed_file_is_asked_for_anew() {
    let lab = Lab::new();
    workspace(&lab, "echo first");
    let _watch = lab.home.watch().unwrap();
    let mut agent = Agent::start(&lab);
    let lease = agent.lease(&lab);
    let file = lab.home.work().join("touchlease.toml");
    fs::write(&file, TASKS.replace("[\"./deploy.sh\"]", "[\"env\"]")).unwrap();
    let refused = agent.call("run_task", json!({"lease": lease}));
    assert_eq!(refused["error"]["reason"], "task_changed", "{refused}");
    assert_eq!(lab.count("used"), 0);
    // What it says now is another lease, and another touch.
    let before = lab.key.counts().unwrap().given;
    let other = agent.lease(&lab);
    assert_eq!((other != lease, lab.key.counts().unwrap().given), (true, before + 1));
}

#[test]
fn each_start_is_one_use_and_a_lease_that_is_used_up_is_over() {
    let lab = Lab::new();
    workspace(&lab, "echo \"home is $HOME\"; test -n \"$TOKEN\"");
    let file = lab.home.work().join("touchlease.toml");
    fs::write(&file, TASKS.replace("ttl = \"15m\"", "uses = 2")).unwrap();
    let _watch = lab.home.watch().unwrap();
    let mut agent = Agent::start(&lab);
    let lease = agent.lease(&lab);
    for left in [1, 0] {
        let done = agent.call("run_task", json!({"lease": lease}));
        assert_eq!((&done["exit_code"], &done["uses_left"]), (&json!(0), &json!(left)), "{done}");
        // The home is not the user's.
        assert!(
            !done["output"].as_str().unwrap().contains(&lab.home.path().display().to_string()),
            "{done}"
        );
    }
    lab.until("the end", || {
        agent.call("lease_status", json!({"lease": lease}))["why"] == "used_up"
    });
    let refused = agent.call("run_task", json!({"lease": lease}));
    assert_eq!(refused["error"]["reason"], "not_live", "{refused}");
}

#[test]
fn a_private_file_is_read_by_the_command_and_gone_afterwards() {
    let lab = Lab::new();
    workspace(&lab, "wc -c < \"$TOKEN\"; echo \"$TOKEN\" > place; cat \"$TOKEN\"");
    let file = lab.home.work().join("touchlease.toml");
    fs::write(&file, TASKS.replace("via = \"env\"", "via = \"file\"")).unwrap();
    let _watch = lab.home.watch().unwrap();
    let mut agent = Agent::start(&lab);
    let lease = agent.lease(&lab);
    let done = agent.call("run_task", json!({"lease": lease}));
    let output = done["output"].as_str().unwrap();
    assert!(
        output.starts_with(&format!("{}\n", CANARY.len())) && output.contains("<touchlease:prod/TOKEN>"),
        "{done}"
    );
    let place = fs::read_to_string(lab.home.work().join("place")).unwrap();
    assert!(!std::path::Path::new(place.trim()).exists(), "{place}");
}

#[test]
fn long_output_comes_without_its_middle_and_steers_no_terminal() {
    let lab = Lab::new();
    workspace(
        &lab,
        "printf 'begin\\033[2J\\n'; head -c 3000000 /dev/zero | tr '\\0' x; printf '\\nend\\n'",
    );
    let _watch = lab.home.watch().unwrap();
    let mut agent = Agent::start(&lab);
    let lease = agent.lease(&lab);
    let done = agent.call("run_task", json!({"lease": lease}));
    let output = done["output"].as_str().unwrap();
    assert!(
        output.starts_with("begin<U+001B>[2J\n") && output.ends_with("\nend\n"),
        "{}",
        &output[..99]
    );
    assert!(
        output.len() < 40_000 && done["output_left_out"].as_u64().unwrap() > 2_900_000,
        "{}",
        output.len()
    );
}

#[test]
fn a_command_that_takes_long_is_waited_for_again_and_started_once() {
    let lab = Lab::new();
    workspace(&lab, "echo begun; while [ ! -e go ]; do sleep 0.05; done; echo gone on");
    let _watch = lab.home.watch().unwrap();
    let mut agent = Agent::start(&lab);
    let lease = agent.lease(&lab);
    let running = agent.call("run_task", json!({"lease": lease, "seconds": 1}));
    assert_eq!(
        (&running["state"], &running["output"]),
        (&json!("running"), &json!("begun\n")),
        "{running}"
    );
    let told = |agent: &Agent| {
        agent
            .aside
            .iter()
            .any(|told| told["params"]["message"].as_str().is_some_and(|text| text.contains("begun")))
    };
    assert!(told(&agent), "{:?}", agent.aside);
    fs::write(lab.home.work().join("go"), "").unwrap();
    let done = agent.call("run_task", json!({"lease": lease}));
    assert_eq!(
        (&done["state"], &done["output"]),
        (&json!("done"), &json!("begun\ngone on\n")),
        "{done}"
    );
    assert_eq!(lab.count("used"), 1);
}

#[test]
fn p4_the_command_ends_with_the_lease_with_a_cancelled_call_and_with_its_agent() {
    let lab = Lab::new();
    // It knows its number in there alone; outside it is found by its words.
    let seconds = (600_000 + std::process::id()).to_string();
    let begin = format!("echo $TMPDIR > temp; echo $$ > pid.new; mv pid.new pid; echo begun; exec sleep {seconds}");
    workspace(&lab, &begin);
    let words = format!("sleep\0{seconds}\0");
    let running = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let is_it = |process: &fs::DirEntry| fs::read(process.path().join("cmdline")).is_ok_and(|line| line == words.as_bytes());
        processes.filter(is_it).count()
    };
    let _watch = lab.home.watch().unwrap();
    let ends: [fn(&Lab, &mut Agent, &str, u64); 4] = [
        |_, agent, lease, runs| {
            assert_eq!(agent.call("end_lease", json!({"lease": lease}))["state"], "ended");
            let done = agent.outcome(runs);
            assert!(
                done["ended_because"].as_str().is_some_and(|why| why.contains("the lease is over")),
                "{done}"
            );
        },
        |_, agent, _, runs| agent.say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": runs}})),
        |_, agent, _, _| drop(agent.to.take()),
        |_, agent, _, _| agent.server.kill().unwrap(),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let mut agent = Agent::start(&lab);
        let lease = agent.lease(&lab);
        let _ = fs::remove_file(lab.home.work().join("pid"));
        let runs = agent.begin("run_task", json!({"lease": lease}));
        assert_eq!(pid_in(&lab, "pid"), 2, "the second in a namespace of its own");
        lab.until("the command", || running() == 1);
        let now = Instant::now();
        end(&lab, &mut agent, &lease, runs);
        lab.until("the end of the command", || running() == 0);
        assert!(now.elapsed() < Duration::from_secs(3), "end {number} took {:?}", now.elapsed());
        drop(agent);
        lab.until("the lease is given back", || lab.status()["leases"] == 0);
        let temp = fs::read_to_string(lab.home.work().join("temp")).unwrap();
        lab.until("no folder is left", || !std::path::Path::new(temp.trim()).exists());
    }
}

#[test]
fn t42_a_value_that_is_too_short_to_be_masked_is_not_given_to_an_agents_command() {
    let lab = Lab::new();
    lab.put("prod/PIN", b"4711", &[]);
    workspace(&lab, "echo \"$TOKEN\"; touch ran");
    let file = lab.home.work().join("touchlease.toml");
    fs::write(&file, TASKS.replace("prod/TOKEN", "prod/PIN")).unwrap();
    let _watch = lab.home.watch().unwrap();
    let mut agent = Agent::start(&lab);
    let lease = agent.lease(&lab);
    let refused = agent.call("run_task", json!({"lease": lease}));
    assert_eq!(refused["error"]["reason"], "not_masked", "{refused}");
    assert!(!lab.home.work().join("ran").exists());
    assert!(!agent.hang_up().contains("4711"));
}

#[test]
fn what_cannot_be_started_is_said_before_a_use_is_taken() {
    let lab = Lab::new();
    workspace(&lab, "true");
    fs::remove_file(lab.home.work().join("deploy.sh")).unwrap();
    let _watch = lab.home.watch().unwrap();
    let mut agent = Agent::start(&lab);
    let lease = agent.lease(&lab);
    let refused = agent.call("run_task", json!({"lease": lease}));
    assert_eq!(refused["error"]["reason"], "start", "{refused}");
    assert_eq!(lab.count("used"), 0);
}

/// A port's number says nothing of whose port it is: the rule of a domain would let this one through.
#[test]
fn p7_a_task_reaches_the_host_of_its_grant_through_its_leases_proxy_and_nothing_else_by_the_same_port() {
    let bench = crate::proxy::Bench::new();
    let lab = &bench.lab;
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    let elsewhere = "import os, socket, urllib.parse
port = urllib.parse.urlparse(os.environ['HTTPS_PROXY']).port
for host in ('127.0.0.2', '192.0.2.1', '::1'):
    try:
        socket.create_connection((host, port), 2)
        print(host, 'reached')
    except OSError as error:
        print(host, 'not reached')";
    let asks = crate::proxy::curl(&upstream.url("/api/x"), "");
    workspace(
        lab,
        &format!("{asks}\necho; echo \"$API\" | head -c 3; echo\n/usr/bin/python3 -c \"{elsewhere}\""),
    );
    let tasks = TASKS
        .replace("prod/TOKEN", "prod/API")
        .replace("via = \"env\"", "via = \"proxy\"")
        .replace("\"TOKEN\"", "\"API\"");
    fs::write(lab.home.work().join("touchlease.toml"), tasks).unwrap();
    // On the port of the proxy at another address, which the loopback of the machine has too.
    let mut agent = Agent::start(lab);
    let lease = agent.lease(lab);
    let done = agent.call("run_task", json!({"lease": lease}));
    let output = done["output"].as_str().unwrap_or_else(|| panic!("{done}"));
    assert!(
        output.contains("fine200") && !output.contains(" reached\n127") && output.matches("not reached").count() == 3,
        "{done}"
    );
    assert_eq!(
        upstream.seen()[0].header("authorization"),
        Some(format!("Bearer {CANARY}").as_str())
    );
}
