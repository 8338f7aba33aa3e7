//! Ask, be pending, be touched, use the credential through the proxy, give back, be refused.

use std::{thread, time::Duration};

use hw_tests::key::KeyHandle;

use super::*;
use crate::{
    hygiene::{forms, leaks, left_behind},
    lab::PATIENCE,
};

/// What a model does that was told to deploy.
fn steps() -> Vec<Step> {
    let lease = || json!({"lease": "L1"});
    vec![
        Step::Lease("list_tasks", json!({})),
        Step::Lease("request_lease", json!({"task": "deploy", "reason": "the docs are ready"})),
        Step::Lease("wait_lease", lease()),
        Step::Lease("run_task", lease()),
        Step::Lease("end_lease", lease()),
        Step::Lease("run_task", lease()),
        Step::Say("deployed"),
    ]
}

fn from_request_to_refusal(client: Client, more: &[&str]) {
    let desk = Desk::new(client);
    let model = Model::start(steps());
    let lab = &desk.bench.lab;
    lab.key.never().unwrap();
    let recorder = lab.recorder();
    let agent = desk.start(&model, more);
    if !lab.key.await_asked(PATIENCE).unwrap() {
        panic!("nobody was asked: {:?}; {:?}", agent.wait_with_output(), model.results());
    }
    assert_eq!(desk.upstream.seen().len(), 0, "before the touch");
    lab.key.press().unwrap();
    let out = agent.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let results = model.results();
    let expected = [
        "deploy",
        "\"state\":\"pending\"",
        "\"state\":\"live\"",
        "fine 200",
        "\"state\":\"ended\"",
        "not_live",
    ];
    assert_eq!(results.len(), expected.len(), "{results:?}");
    for (result, part) in results.iter().zip(expected) {
        assert!(result.contains(part), "{part} in {result}");
    }
    // What the credential was used for, once, and where it is: at the host, and with nobody else.
    let seen = desk.upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
    assert_eq!(lab.count("used"), 1);
    let forms = forms(CANARY);
    assert_eq!(leaks(model.heard().as_bytes(), &forms), 0, "the model has it");
    assert_eq!(
        leaks(&out.stdout, &forms) + leaks(&out.stderr, &forms),
        0,
        "the agent's output has it"
    );
    let files = left_behind(lab.home.path());
    assert!(files.len() > 10, "the agent wrote its transcripts elsewhere: {files:?}");
    let found: usize = files.iter().map(|file| leaks(&fs::read(file).unwrap_or_default(), &forms)).sum();
    assert_eq!(found, 0, "a file of the agent's has it");
    // The person sees who asks, as claimed.
    let text = recorder.texts().join("\n");
    assert!(text.contains("mcp_client") && text.contains("the docs are ready"), "{text}");
    let named = match client {
        Client::Codex => "codex",
        Client::Claude => "claude",
    };
    assert!(text.to_lowercase().contains(named), "{text}");
    println!("agent {client:?}: 6 of 6 steps");
}

#[test]
#[ignore = "needs hw-tests/with-agents"]
fn t42_p7_codex_asks_is_touched_uses_the_proxy_gives_back_and_is_refused() {
    from_request_to_refusal(Client::Codex, &["--sandbox", "workspace-write"]);
}

#[test]
#[ignore = "needs hw-tests/with-agents"]
fn t42_p7_claude_code_asks_is_touched_uses_the_proxy_gives_back_and_is_refused() {
    from_request_to_refusal(Client::Claude, &[]);
}

/// A person who reads first and then says no: what the agent's client has answered by then, having nobody to ask, ended nothing.
fn denied_after_reading(client: Client, more: &[&str]) {
    let mut desk = Desk::new(client);
    let model = Model::start(vec![
        Step::Lease("request_lease", json!({"task": "deploy", "reason": "the docs are ready"})),
        Step::Lease("wait_lease", json!({"lease": "L1"})),
        Step::Lease("lease_status", json!({"lease": "L1"})),
        Step::Lease("run_task", json!({"lease": "L1"})),
        Step::Lease("list_tasks", json!({})),
        Step::Say("it was denied"),
    ]);
    desk.bench.lab.key.never().unwrap();
    let agent = desk.start(&model, more);
    if !desk.bench.lab.key.await_asked(PATIENCE).unwrap() {
        panic!("nobody was asked: {:?}; {:?}", agent.wait_with_output(), model.results());
    }
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(desk.bench.lab.status()["prompts"], 1, "nobody withdrew it");
    desk.bench.watch.type_in("d").unwrap();
    let out = agent.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let results = model.results();
    let expected = ["pending", "a person denied", "a person denied", "not_live", "Deploy the docs"];
    assert_eq!(results.len(), expected.len(), "{results:?}");
    for (result, part) in results.iter().zip(expected) {
        assert!(result.contains(part), "{part} in {result}");
    }
    let lab = &desk.bench.lab;
    assert_eq!((lab.count("denied"), lab.count("approved"), desk.upstream.seen().len()), (1, 0, 0));
    println!("agent {client:?}: went on after 1 of 1 denials");
}

#[test]
#[ignore = "needs hw-tests/with-agents"]
fn codex_goes_on_when_a_person_denies_and_its_own_answer_to_the_question_ends_nothing() {
    denied_after_reading(Client::Codex, &["--sandbox", "workspace-write"]);
}

#[test]
#[ignore = "needs hw-tests/with-agents"]
fn claude_code_goes_on_when_a_person_denies() {
    denied_after_reading(Client::Claude, &[]);
}
