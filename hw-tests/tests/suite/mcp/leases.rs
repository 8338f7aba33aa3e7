//! Asking, waiting, being refused, giving back.

use std::time::Instant;

use super::*;

#[test]
fn an_agent_asks_is_pending_is_touched_and_gives_back_in_both_generations_of_the_protocol() {
    let lab = Lab::new();
    workspace(&lab, "true");
    for start in [Agent::start, Agent::modern] {
        let _watch = lab.home.watch().unwrap();
        lab.key.never().unwrap();
        let mut agent = start(&lab);
        let listed = agent.call("list_tasks", json!({}));
        assert_eq!(listed["tasks"][0]["name"], "deploy", "{listed}");
        assert_eq!(
            listed["tasks"][0]["grants"][0],
            json!({"secret": "prod/TOKEN", "via": "env", "env": "TOKEN"})
        );
        let asked = Instant::now();
        let pending = agent.call("request_lease", json!({"task": "deploy", "reason": "the docs are ready"}));
        assert!(asked.elapsed() < PATIENCE / 4, "it did not answer at once");
        assert_eq!(pending["state"], "pending", "{pending}");
        let words: Vec<_> = pending["words"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap())
            .collect();
        assert!(
            words.len() == 4 && pending["what_to_do"].as_str().unwrap().contains(&words.join(" ")),
            "{pending}"
        );
        // Asked twice it is the same.
        let again = agent.call("request_lease", json!({"task": "deploy", "reason": "once more"}));
        assert_eq!((&again["id"], &again["asked_before"]), (&pending["id"], &json!(true)));
        let lease = pending["lease"].clone();
        let waits = agent.begin("wait_lease", json!({"lease": lease}));
        agent.told("notifications/progress");
        assert!(lab.key.await_asked(PATIENCE).unwrap());
        lab.key.press().unwrap();
        let live = agent.outcome(waits);
        assert_eq!((&live["state"], &live["id"]), (&json!("live"), &pending["id"]), "{live}");
        let status = agent.call("lease_status", json!({"lease": lease}));
        assert!(
            status["state"] == "live" && status["seconds_left"].as_u64().unwrap() > 800,
            "{status}"
        );
        assert_eq!(lab.status()["leases"], 1);
        let ended = agent.call("end_lease", json!({"lease": lease}));
        assert_eq!((&ended["state"], &ended["why"]), (&json!("ended"), &json!("ended")), "{ended}");
        assert_eq!(lab.status()["leases"], 0);
        let refused = agent.call("run_task", json!({"lease": lease}));
        assert_eq!(refused["error"]["reason"], "not_live", "{refused}");
        agent.hang_up();
    }
}

#[test]
fn what_the_client_says_of_itself_stands_in_the_lease_and_on_the_screen_as_claimed() {
    let lab = Lab::new();
    workspace(&lab, "true");
    let recorder = lab.recorder();
    let mut watch = lab.home.watch().unwrap();
    lab.key.never().unwrap();
    let mut agent = Agent::start(&lab);
    let meta = json!({"x-codex-turn-metadata": {"session_id": "session-7", "turn_id": "turn-9"}});
    let arguments = json!({"task": "deploy", "reason": "the docs are ready"});
    let asked = agent.request(
        "tools/call",
        json!({"name": "request_lease", "arguments": arguments, "_meta": meta}),
    );
    assert_eq!(asked["result"]["structuredContent"]["state"], "pending", "{asked}");
    let shown = watch.expect("s left   d deny").unwrap();
    for part in [
        "test-agent 1.5",
        "session-7",
        "turn-9",
        "claimed",
        "./deploy.sh",
        "the docs are ready",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    lab.until("the text at the other screen", || !recorder.texts().is_empty());
    let text: Value = serde_json::from_str(&recorder.texts()[0]).unwrap();
    let labels = &text["origin"]["requester"]["claimed"]["labels"];
    assert_eq!(labels["mcp_client"], "test-agent 1.5", "{text}");
    assert_eq!(
        (&labels["mcp_session"], &labels["mcp_turn"]),
        (&json!("session-7"), &json!("turn-9"))
    );
    let work = lab.home.work().canonicalize().unwrap().display().to_string();
    assert_eq!(labels["mcp_workspace"], json!(work));
    assert_eq!(
        (&text["command"], &text["holder"]["by"]),
        (&json!(["./deploy.sh"]), &json!("connection"))
    );
    assert_eq!(text["task"]["digest"].as_str().unwrap().len(), 64);
}

#[test]
fn without_a_screen_and_when_a_person_denies_the_agent_is_told_what_and_what_helps() {
    let lab = Lab::new();
    workspace(&lab, "true");
    lab.key.never().unwrap();
    let mut agent = Agent::start(&lab);
    let ask = json!({"task": "deploy", "reason": "the docs are ready"});
    let refused = agent.call("request_lease", ask.clone());
    assert_eq!(
        (&refused["state"], &refused["error"]["outcome"]),
        (&json!("refused"), &json!("no_screen")),
        "{refused}"
    );
    assert!(refused["error"]["hint"].as_str().unwrap().contains("touchlease watch"), "{refused}");
    let mut watch = lab.home.watch().unwrap();
    let asked = agent.call("request_lease", ask.clone());
    let waits = agent.begin("wait_lease", json!({"lease": asked["lease"]}));
    watch.expect("s left   d deny").unwrap();
    watch.type_in("d").unwrap();
    let denied = agent.outcome(waits);
    assert_eq!(
        (&denied["state"], &denied["error"]["outcome"]),
        (&json!("refused"), &json!("denied")),
        "{denied}"
    );
    assert_eq!((lab.count("approved"), lab.count("denied")), (0, 1));
    // It goes on, and may ask anew when it has waited.
    assert_eq!(agent.call("list_tasks", json!({}))["tasks"][0]["name"], "deploy");
    lab.clock.suspend(std::time::Duration::from_secs(60));
    let again = agent.call("request_lease", ask);
    assert_eq!((&again["state"], &again["lease"]), (&json!("pending"), &json!("L3")), "{again}");
    assert!(lab.key.await_asked(PATIENCE).unwrap());
    lab.key.press().unwrap();
    let live = agent.call("wait_lease", json!({"lease": again["lease"]}));
    assert_eq!(live["state"], "live", "{live}");
}

#[test]
fn an_agent_that_goes_away_while_it_waits_takes_its_prompt_with_it() {
    let lab = Lab::new();
    workspace(&lab, "true");
    let _watch = lab.home.watch().unwrap();
    lab.key.never().unwrap();
    let mut agent = Agent::start(&lab);
    let asked = agent.call("request_lease", json!({"task": "deploy", "reason": "the docs are ready"}));
    agent.begin("wait_lease", json!({"lease": asked["lease"]}));
    assert!(lab.key.await_asked(PATIENCE).unwrap());
    let left = Instant::now();
    agent.hang_up();
    assert!(left.elapsed() < PATIENCE / 5, "the server waited for nobody");
    lab.until("the end of the prompt", || lab.status()["prompts"] == 0);
}

#[test]
fn a_client_that_stops_waiting_takes_the_prompt_away_and_one_whose_time_is_over_leaves_it() {
    let lab = Lab::new();
    workspace(&lab, "true");
    let _watch = lab.home.watch().unwrap();
    let ask = json!({"task": "deploy", "reason": "the docs are ready"});
    for start in [Agent::start, Agent::modern] {
        lab.clock.suspend(std::time::Duration::from_secs(700));
        lab.key.never().unwrap();
        let mut agent = start(&lab);
        let asked = agent.call("request_lease", ask.clone());
        let waits = agent.begin("wait_lease", json!({"lease": asked["lease"]}));
        agent.told("notifications/progress");
        let cancel = |agent: &mut Agent, id: u64, reason: &str| {
            agent.say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id, "reason": reason}}));
        };
        cancel(&mut agent, waits, "McpError: MCP error -32001: Request timed out");
        let state = agent.call("wait_lease", json!({"lease": asked["lease"], "seconds": 1}));
        assert_eq!(
            (&state["state"], &lab.status()["prompts"]),
            (&json!("pending"), &json!(1)),
            "{state}"
        );
        let waits = agent.begin("wait_lease", json!({"lease": asked["lease"]}));
        agent.told("notifications/progress");
        cancel(&mut agent, waits, "AbortError: This operation was aborted");
        lab.until("the end of the prompt", || lab.status()["prompts"] == 0);
        let state = agent.call("wait_lease", json!({"lease": asked["lease"]}));
        assert_eq!((&state["state"], &state["why"]), (&json!("ended"), &json!("withdrawn")), "{state}");
        // A lease that was approved is none that waits.
        lab.key.delay(std::time::Duration::ZERO).unwrap();
        let lease = agent.lease(&lab);
        let over = agent.asked;
        cancel(&mut agent, over, "AbortError");
        assert_eq!(agent.call("lease_status", json!({"lease": lease}))["state"], "live");
        agent.hang_up();
    }
}

#[test]
fn p4_whatever_ends_a_lease_is_seen_by_the_agent_at_once() {
    let lab = Lab::new();
    workspace(&lab, "true");
    let _watch = lab.home.watch().unwrap();
    let mut agent = Agent::start(&lab);
    let lease = agent.lease(&lab);
    lab.prints(&["lease", "revoke", "--all"]);
    lab.until("the end", || {
        agent.call("lease_status", json!({"lease": lease}))["state"] == "ended"
    });
    assert_eq!(agent.call("lease_status", json!({"lease": lease}))["why"], "revoked");
    // The session goes on.
    let other = agent.lease(&lab);
    assert_ne!(other, lease);
    let said = agent.hang_up();
    assert!(said.contains("\"revoked\""));
    lab.until("the lease is given back", || lab.status()["leases"] == 0);
}

#[test]
fn t20_a_lease_of_one_session_is_none_of_another_and_no_process_beside_it_joins_it() {
    let lab = Lab::new();
    workspace(&lab, "true");
    let _watch = lab.home.watch().unwrap();
    let (mut one, mut other) = (Agent::start(&lab), Agent::start(&lab));
    let lease = one.lease(&lab);
    for tool in ["lease_status", "wait_lease", "run_task", "end_lease"] {
        let refused = other.call(tool, json!({"lease": lease}));
        assert_eq!(refused["error"]["reason"], "no_lease", "{tool}: {refused}");
    }
    let asked = lab.key.counts().unwrap().given;
    other.lease(&lab);
    assert_eq!(lab.key.counts().unwrap().given, asked + 1, "each session is touched for by itself");
    // Nor is the lease listed with anything by which it could be used.
    let mut command = lab.home.detached(["--json", "run", "--task", "deploy", "--", "true"]);
    lab.key.never().unwrap();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    assert!(
        lab.key.await_asked(PATIENCE).unwrap(),
        "a process beside the server joined its lease"
    );
    drop(child);
}

/// An answer to what the server put to the person.
fn answered(agent: &mut Agent, question: &Value, action: &str) {
    agent.say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": action}}));
}

#[test]
fn t42_a_client_that_can_ask_its_person_shows_the_words_and_no_answer_approves_and_cancel_withdraws() {
    let lab = Lab::new();
    workspace(&lab, "true");
    let _watch = lab.home.watch().unwrap();
    let mut agent = Agent::silent(&lab, LEGACY);
    agent.initialize_as(&json!({"elicitation": {"form": {}}}));
    let ask = |agent: &mut Agent| {
        lab.key.never().unwrap();
        let asked = agent.call("request_lease", json!({"task": "deploy", "reason": "the docs are ready"}));
        assert!(lab.key.await_asked(PATIENCE).unwrap());
        asked
    };
    let asked = ask(&mut agent);
    let wait = |lease: &Value, seconds| json!({"lease": lease["lease"], "seconds": seconds});
    let waiting = agent.begin("wait_lease", wait(&asked, 40));
    let question = agent.told("elicitation/create");
    let said = question["params"]["message"].as_str().unwrap();
    let words: Vec<&str> = asked["words"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    assert!(said.contains(&words.join(" ")) && said.contains("prod/TOKEN"), "{said}");
    assert_eq!(
        question["params"]["requestedSchema"]["properties"],
        json!({}),
        "it asks for nothing"
    );
    answered(&mut agent, &question, "accept");
    let state = agent.call("lease_status", json!({"lease": asked["lease"]}));
    assert_eq!(state["state"], "pending", "{state}");
    lab.key.press().unwrap();
    assert_eq!(agent.outcome(waiting)["state"], "live");
    agent.call("end_lease", json!({"lease": asked["lease"]}));

    // Before anybody can have read it, it is the client's own answer.
    let asked = ask(&mut agent);
    let waiting = agent.begin("wait_lease", wait(&asked, 2));
    let question = agent.told("elicitation/create");
    answered(&mut agent, &question, "cancel");
    assert_eq!(agent.outcome(waiting)["state"], "pending");
    let waiting = agent.begin("wait_lease", wait(&asked, 40));
    let question = agent.told("elicitation/create");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    answered(&mut agent, &question, "cancel");
    let over = agent.outcome(waiting);
    assert_eq!((&over["state"], &over["why"]), (&json!("ended"), &json!("withdrawn")), "{over}");
    lab.until("the end of the prompt", || lab.status()["prompts"] == 0);

    // What is decided is taken back.
    let asked = ask(&mut agent);
    let waiting = agent.begin("wait_lease", wait(&asked, 40));
    let question = agent.told("elicitation/create");
    lab.key.press().unwrap();
    assert_eq!(agent.outcome(waiting)["state"], "live");
    assert_eq!(agent.told("notifications/cancelled")["params"]["requestId"], question["id"]);

    // One that cannot is asked nothing.
    let mut other = Agent::start(&lab);
    let asked = ask(&mut other);
    let waiting = other.begin("wait_lease", wait(&asked, 2));
    assert_eq!(other.outcome(waiting)["state"], "pending");
    assert!(!other.said().contains("elicitation/create"));
    assert_eq!(lab.count("approved"), 2);
}
