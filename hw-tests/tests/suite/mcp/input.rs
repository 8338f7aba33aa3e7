//! Bad input: nothing of it ends the session, and nothing is told that is none of the agent's.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn p13_unknown_tools_wrong_types_and_junk_are_refused_and_the_session_goes_on() {
    let lab = Lab::new();
    workspace(&lab, "true");
    let mut agent = Agent::start(&lab);
    let unknown = agent.request("tools/call", json!({"name": "danger", "arguments": {}}));
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    for (tool, arguments) in [
        ("request_lease", json!({})),
        ("request_lease", json!({"task": 7, "reason": "x"})),
        ("request_lease", json!({"task": "deploy", "reason": "x", "command": ["rm"]})),
        ("run_task", json!({"lease": ["L1"]})),
        ("wait_lease", json!({"lease": "L1", "seconds": "long"})),
        ("list_tasks", json!({"folder": "/etc"})),
    ] {
        let refused = agent.call(tool, arguments);
        assert_eq!(refused["error"]["reason"], "arguments", "{tool}: {refused}");
    }
    for (task, reason) in [
        ("deploy", "two\nlines"),
        ("deploy", "\u{202e}txt"),
        ("deploy", &"long ".repeat(99)),
        ("depoly", "typed wrong"),
    ] {
        let refused = agent.call("request_lease", json!({"task": task, "reason": reason}));
        assert!(refused["error"]["outcome"] == "bad_input", "{refused}");
    }
    for junk in [
        &b"\n"[..],
        b"not json\n",
        b"{\"jsonrpc\":\"2.0\"}\n",
        b"[1,2]\n",
        b"\xff\xfe\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1}\n",
    ] {
        agent.say_raw(junk);
    }
    // JSON-RPC 2.0, 5.1: what is no JSON, and what is no request; of an empty line nothing is said.
    let codes: Vec<Value> = (0..5).map(|_| agent.fault()["error"]["code"].clone()).collect();
    assert_eq!(codes.iter().filter(|code| **code == -32700).count(), 2, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == -32600).count(), 3, "{codes:?}");
    let unknown = agent.request("tools/never", json!({}));
    assert_eq!(unknown["error"]["code"], -32601, "{unknown}");
    assert_eq!(agent.call("list_tasks", json!({}))["tasks"][0]["name"], "deploy");
    let tools = agent.request("tools/list", json!({}));
    assert_eq!(tools["result"]["tools"].as_array().unwrap().len(), 6, "{tools}");
    agent.hang_up();
}

#[test]
fn p13_a_message_without_an_end_costs_no_memory_and_not_the_session() {
    let lab = Lab::new();
    workspace(&lab, "true");
    let mut agent = Agent::start(&lab);
    agent.call("list_tasks", json!({}));
    let resident = |agent: &Agent| {
        let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = resident(&agent);
    let part = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        agent.say_raw(&part);
    }
    agent.say_raw(b"\n");
    assert_eq!(agent.fault()["error"]["code"], -32700);
    assert_eq!(agent.call("list_tasks", json!({}))["tasks"][0]["name"], "deploy");
    let grown = resident(&agent).saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB more after 64 MiB");
}

#[test]
fn t42_a_link_in_the_place_of_the_task_file_reads_nothing_out() {
    let lab = Lab::new();
    workspace(&lab, "true");
    let file = lab.home.work().join("touchlease.toml");
    let secret = lab.home.path().join("id_ed25519");
    fs::write(&secret, format!("KEY = [{CANARY}")).unwrap();
    let mut agent = Agent::start(&lab);
    for place in [symlink as fn(_, _) -> _, |from: &std::path::PathBuf, to: &std::path::PathBuf| {
        fs::hard_link(from, to)
    }] {
        fs::remove_file(&file).unwrap();
        place(&secret, &file).unwrap();
        for refused in [
            agent.call("list_tasks", json!({})),
            agent.call("request_lease", json!({"task": "deploy", "reason": "x"})),
        ] {
            assert_eq!(refused["error"]["outcome"], "bad_input", "{refused}");
        }
    }
}

#[test]
fn t44_an_agent_learns_of_no_secret_that_its_task_file_does_not_name() {
    let lab = Lab::new();
    lab.put("prod/OTHER_SECRET", b"another-value", &[]);
    workspace(&lab, "true");
    let _watch = lab.home.watch().unwrap();
    let file = lab.home.work().join("touchlease.toml");
    let mut agent = Agent::start(&lab);
    for wrong in ["prod/TOKE", "prod/OTHER_SECRE", "dev/TOKEN", "prod/OTHER"] {
        fs::write(&file, TASKS.replace("prod/TOKEN", wrong)).unwrap();
        let refused = agent.call("request_lease", json!({"task": "deploy", "reason": "x"}));
        assert_eq!(refused["state"], "refused", "{refused}");
    }
    let said = agent.hang_up();
    assert!(!said.contains("OTHER_SECRET") && !said.contains("prod/TOKEN"), "{said}");
}

#[test]
fn a_session_that_never_begins_ends_without_a_word() {
    let lab = Lab::new();
    let said = Agent::silent(&lab, LEGACY).hang_up();
    assert_eq!(said, "");
}
