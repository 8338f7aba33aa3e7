//! What stands on the agents' own terminals while a touch is wanted: the four words, and perhaps a question, whose answer approves nothing.

use std::{
    thread,
    time::{Duration, Instant},
};

use hw_tests::key::KeyHandle;

use super::*;
use crate::{
    lab::{PATIENCE, until},
    screen::Tmux,
};

/// What the server says to the person, of which every client shows at least this.
const SAID: &str = "approved by a touch of your security key, and by nothing else";

impl Desk {
    /// The agent in a terminal, told to deploy, past what it asks a newcomer.
    fn interactive(&self, model: &Model) -> Tmux {
        let (home, work) = (self.home(), self.bench.lab.home.work());
        fs::create_dir_all(home.join("tmp")).unwrap();
        if self.client == Client::Claude {
            let settings = home.join(".claude.json");
            let mut known: Value = serde_json::from_slice(&fs::read(&settings).unwrap()).unwrap();
            known["hasCompletedOnboarding"] = json!(true);
            known["theme"] = json!("dark");
            known["customApiKeyResponses"] = json!({"approved": ["x"], "rejected": []});
            known["projects"] = json!({work.canonicalize().unwrap().display().to_string(): {"hasTrustDialogAccepted": true}});
            fs::write(settings, known.to_string()).unwrap();
        }
        let agent = self.agent(model, &[]);
        let mut words: Vec<String> = vec!["env".into(), "TERM=screen-256color".into()];
        let variables = agent.get_envs().filter_map(|(name, value)| Some((name, value?)));
        words.extend(variables.map(|(name, value)| format!("{}={}", name.display(), value.display())));
        let arguments: Vec<String> = agent.get_args().map(|word| word.display().to_string()).collect();
        match self.client {
            // The same settings, without what makes it one that asks nobody.
            Client::Codex => {
                words.push(arguments[1].clone());
                words.extend(
                    arguments
                        .iter()
                        .filter(|word| !["exec", "--json", "--skip-git-repo-check"].contains(&word.as_str()))
                        .skip(2)
                        .cloned(),
                );
                let trusted = format!(
                    "projects={{ \"{}\" = {{ trust_level = \"trusted\" }} }}",
                    work.canonicalize().unwrap().display()
                );
                words.extend(["--no-daemon", "--no-alt-screen", "--dangerously-bypass-hook-trust", "-c", &trusted].map(String::from));
            }
            Client::Claude => words.extend([
                rig("AGENT_CLAUDE"),
                "deploy the docs".into(),
                "--allowedTools".into(),
                "mcp__touchlease".into(),
            ]),
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Tmux::sized(&self.bench.lab, (120, 40), &words)
    }
}

/// What stands on a screen, without how it is wrapped.
fn shown(terminal: &Tmux) -> String {
    terminal
        .visible()
        .iter()
        .flat_map(|line| line.split_whitespace())
        .collect::<Vec<_>>()
        .join(" ")
}

fn steps() -> Vec<Step> {
    vec![
        Step::Lease("request_lease", json!({"task": "deploy", "reason": "the docs are ready"})),
        Step::Lease("wait_lease", json!({"lease": "L1"})),
        Step::Say("done"),
    ]
}

fn asked(desk: &Desk, terminal: &Tmux, said: &str) {
    let since = Instant::now();
    while !shown(terminal).contains(said) {
        assert!(
            since.elapsed() < PATIENCE,
            "no {said:?} on the agent's terminal: {}",
            shown(terminal)
        );
        thread::sleep(Duration::from_millis(50));
    }
    assert!(desk.bench.lab.key.await_asked(PATIENCE).unwrap(), "the key is asked");
    assert_eq!(desk.bench.lab.status()["prompts"], 1);
}

/// The touch is what approves, and the agent learns of it.
fn touched(desk: &Desk, model: &Model) {
    let before = desk.bench.lab.count("approved");
    assert!(desk.bench.lab.key.press().unwrap());
    until("the lease", || model.results().len() == 2);
    assert!(model.results()[1].contains("live"), "{:?}", model.results());
    assert_eq!(desk.bench.lab.count("approved"), before + 1);
}

#[test]
#[ignore = "needs hw-tests/with-agents"]
fn t42_what_codex_asks_at_its_own_terminal_approves_nothing_and_is_taken_back_by_the_touch() {
    let desk = Desk::new(Client::Codex);
    let lab = &desk.bench.lab;
    lab.key.never().unwrap();
    // To accept, which is the first choice, gives nothing; the touch does, and takes the question away where it still stands.
    for accepts in [true, false] {
        let model = Model::start(steps());
        let terminal = desk.interactive(&model);
        asked(&desk, &terminal, SAID);
        if accepts {
            terminal.run(&["send-keys", "Enter"]);
            until("the end of the question", || !shown(&terminal).contains(SAID));
            thread::sleep(Duration::from_millis(500));
            assert_eq!((lab.status()["prompts"].clone(), lab.count("approved")), (json!(1), 0));
        }
        touched(&desk, &model);
        until("the end of the question", || !shown(&terminal).contains(SAID));
    }
    // Who has read it and cancels has said no.
    let model = Model::start(steps());
    let terminal = desk.interactive(&model);
    asked(&desk, &terminal, SAID);
    thread::sleep(Duration::from_millis(1100));
    terminal.run(&["send-keys", "Escape"]);
    until("the end of the prompt", || lab.status()["prompts"] == 0);
    until("the answer", || model.results().len() == 2);
    assert!(model.results()[1].contains("withdrawn"), "{:?}", model.results());
    assert_eq!(lab.count("approved"), 2);
    println!("agent Codex: 3 of 3 answers at its own terminal approved nothing");
}

/// It speaks the generation of the protocol in which a server asks nothing, and shows progress.
#[test]
#[ignore = "needs hw-tests/with-agents"]
fn t42_claude_code_shows_the_words_at_its_own_terminal_asks_nothing_there_and_goes_on_after_the_touch() {
    let desk = Desk::new(Client::Claude);
    let lab = &desk.bench.lab;
    lab.key.never().unwrap();
    let model = Model::start(steps());
    let terminal = desk.interactive(&model);
    asked(&desk, &terminal, "touch it if the words are the same");
    let recorded: Value = serde_json::from_str(&model.results()[0]).unwrap();
    let words: Vec<&str> = recorded["words"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    assert!(shown(&terminal).contains(&words.join(" ")), "{}", shown(&terminal));
    touched(&desk, &model);
    // To interrupt it takes its call back, and with it the request.
    let model = Model::start(steps());
    drop(terminal);
    let terminal = desk.interactive(&model);
    asked(&desk, &terminal, "touch it if the words are the same");
    terminal.run(&["send-keys", "Escape"]);
    until("the interruption", || shown(&terminal).contains("Interrupted"));
    until("the end of the prompt", || lab.status()["prompts"] == 0);
    assert_eq!(lab.count("approved"), 1);
}
