//! What `connect` writes is what the agents read.

use super::*;

/// A model that would look into the vault, and does other things too.
fn curious(desk: &Desk) -> Model {
    let vault = desk.bench.lab.vault();
    Model::start(vec![
        Step::Shell(format!("ls {}", vault.display())),
        Step::Shell("touchlease export prod".into()),
        Step::Shell("echo harmless $((6 * 7))".into()),
        Step::Say("done"),
    ])
}

fn refused_by_the_hook(results: &[String]) {
    assert_eq!(results.len(), 3, "{results:?}");
    for result in &results[..2] {
        assert!(result.contains("touchlease"), "{result}");
        assert!(!result.contains("roster"), "it was read: {result}");
    }
    assert!(results[0].contains("touchlease's own"), "{results:?}");
    assert!(results[1].contains("for the person"), "{results:?}");
    assert!(results[2].contains("harmless 42"), "{results:?}");
}

#[test]
#[ignore = "needs hw-tests/with-agents"]
fn t24_claude_codes_hook_stops_a_model_that_looks_into_the_vault() {
    let desk = Desk::new(Client::Claude);
    let model = curious(&desk);
    desk.run(&model, &[]);
    refused_by_the_hook(&model.results());
}

#[test]
#[ignore = "needs hw-tests/with-agents"]
fn t24_codexs_hook_stops_a_model_once_it_is_trusted_and_doctor_says_that_it_is_not() {
    let desk = Desk::new(Client::Codex);
    let model = curious(&desk);
    let finding = || {
        let said = desk.bench.lab.json(&["doctor"]);
        let findings = said["findings"].as_array().unwrap().clone();
        let found = findings
            .into_iter()
            .find(|finding| finding["part"] == "agents" && finding["what"].to_string().contains("Codex"));
        found.unwrap_or_else(|| panic!("{said}"))
    };
    // Nobody trusted it: it is not run, and nothing of Codex says so.
    desk.run(&model, &[]);
    let results = model.results();
    assert!(results[0].contains("roster"), "{results:?}");
    assert_eq!(finding()["reason"], "hook_not_run", "{}", finding());
    let model = curious(&desk);
    desk.run(&model, &["--dangerously-bypass-hook-trust"]);
    refused_by_the_hook(&model.results());
    assert_eq!(finding()["reason"], "connected", "{}", finding());
}
