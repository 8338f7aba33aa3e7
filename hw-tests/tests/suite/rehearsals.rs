//! What happens to keys in a life, from end to end: lost, stolen, reset, two PINs, a third one while the first is away, two machines.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use hw_tests::{
    conformance::{Machine, machine::said, rigs::InProcess},
    finger::Counts,
    harness::Terminal,
    host::{Host, Protocol},
    key::{KeyHandle, PIN},
};

use crate::lab::{Lab, error_of};

const RUN: &[&str] = &["run", "--with", "prod/TOKEN", "--", "sh", "-c", "test ${#TOKEN} = 21"];

fn rig() -> InProcess {
    InProcess::new(crate::product()).unwrap()
}

/// The recovery code that a terminal shows.
fn code(shown: &str) -> String {
    let is_code = |word: &&str| word.split('-').count() == 9 && word.split('-').all(|group| group.len() == 4);
    shown.split_whitespace().find(is_code).expect("a recovery code is shown").to_owned()
}

/// Makes a vault with "blue". Gives its recovery code.
fn vault(machine: &Machine<'_>) -> String {
    let shown = machine.done(&["init", "--key", "blue", "--scope", "prod"]).unwrap();
    machine.put("TOKEN", "correct-horse-battery").unwrap();
    code(&shown)
}

fn opens(machine: &Machine<'_>) {
    let output = machine.approved(RUN).unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// The keys whose PINs the daemon keeps, as it knows them already: it is asked about another vault.
fn unlocked(machine: &Machine<'_>) -> Vec<String> {
    let status = machine.json(&["--vault", "/nowhere/vault", "status"]).unwrap();
    let names = status["unlocked"].as_array().unwrap().iter();
    let mut names: Vec<_> = names.map(|entry| entry[0].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Waits until the terminal's program ends, touching every key and typing each key's own PIN.
fn attend(keys: &[&dyn KeyHandle], mut screen: Terminal, pins: &[(&str, &str)]) -> (std::process::ExitStatus, String) {
    keys.iter().for_each(|key| key.grant().unwrap());
    let since = Instant::now();
    while !screen.has_ended() {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", screen.output());
        let text = screen.unseen();
        let asked = pins.iter().find(|(name, _)| {
            text.rfind(&format!("PIN of \"{name}\" ("))
                .is_some_and(|at| text[at..].ends_with(": "))
        });
        if let Some((_, pin)) = asked {
            screen.skip();
            screen.type_in(&format!("{pin}\n")).unwrap();
        }
        thread::sleep(Duration::from_millis(10));
    }
    keys.iter().for_each(|key| key.never().unwrap());
    screen.finish().unwrap()
}

#[test]
fn the_only_key_is_lost_and_the_recovery_code_lets_another_in() {
    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    let paper = vault(&machine);
    machine.keys[0].pull().unwrap();
    machine.keys[1].plug().unwrap();
    let mut screen = machine.home.terminal(["recover", "green"]).unwrap();
    screen.expect("key \"blue\": is it lost or stolen?").unwrap();
    screen.type_in("maybe\n").unwrap();
    screen.expect("type y or n").unwrap();
    screen.type_in("\n").unwrap();
    screen.expect("recovery code (not shown): ").unwrap();
    // One character is misread: the group is named, and nothing is tried.
    let other = if paper.as_bytes()[11] == b'7' { "8" } else { "7" };
    screen.type_in(&format!("{}{other}{}\n", &paper[..11], &paper[12..])).unwrap();
    screen.expect("look at group 3").unwrap();
    screen.expect("recovery code (not shown): ").unwrap();
    screen.type_in(&format!("{}\n", paper.to_lowercase())).unwrap();
    machine.attend(&mut screen, PIN, &mut || false).unwrap();
    let (status, shown) = screen.finish().unwrap();
    assert!(status.success(), "{shown}");
    for part in [
        "recovers the vault with its code",
        "key \"blue\" is out",
        "Change them at their issuers",
        "prod/TOKEN",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(
        !shown.contains(&paper) && !shown.contains(&paper.to_lowercase()),
        "the code was echoed"
    );
    let fresh = code(shown.split("is enrolled").nth(1).unwrap());
    assert_ne!(fresh, paper);
    assert_eq!(unlocked(&machine), ["green"], "the daemon goes by the roster before");
    opens(&machine);
    let used = machine.events("recovery_code").unwrap();
    assert_eq!(
        (used.len(), &used[0]["key"], &used[0]["removes"][0]),
        (1, &"green".into(), &"blue".into())
    );
    // The old code is void, and says so before anybody touches anything.
    let mut screen = machine.home.terminal(["recover", "red", "--keep", "green"]).unwrap();
    screen.expect("recovery code (not shown): ").unwrap();
    screen.type_in(&format!("{paper}\n")).unwrap();
    let (status, shown) = screen.finish().unwrap();
    assert!(status.code() == Some(65) && shown.contains("replaced by a newer one"), "{shown}");
}

#[test]
fn a_name_that_a_key_keeps_is_refused_before_anybody_types_a_code() {
    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    let before = machine.json(&["audit", "show"]).unwrap()["lines"].as_array().unwrap().len();
    let refused = |mut screen: Terminal, answer: &str, code: i32, words: &str| {
        if !answer.is_empty() {
            screen.expect("key \"blue\": is it lost or stolen?").unwrap();
            screen.type_in(answer).unwrap();
        }
        let (status, shown) = screen.finish().unwrap();
        assert!(
            status.code() == Some(code) && shown.contains(words) && !shown.contains("recovery code (not shown)"),
            "{status} {shown}"
        );
    };
    let taken = "a key that stays is called \"blue\" already";
    let recover = |arguments: &[&str]| machine.home.terminal([&["recover"], arguments].concat()).unwrap();
    refused(recover(&["blue"]), "n\n", 65, taken);
    refused(recover(&["blue", "--keep", "blue"]), "", 65, taken);
    refused(recover(&["no name"]), "", 65, "the key's name");
    refused(recover(&["green", "--lost", "red"]), "", 65, "no enrolled key is called \"red\"");
    assert_eq!(machine.json(&["audit", "show"]).unwrap()["lines"].as_array().unwrap().len(), before);
    // The name of one that goes is free.
    let mut screen = recover(&["blue", "--lost", "blue"]);
    screen.expect("recovery code (not shown): ").unwrap();
    screen.type_in("\u{3}").unwrap();
    assert_eq!(screen.finish().unwrap().0.code(), Some(60));
}

/// Waits until a key has asked for a touch so many times since it was made.
fn asked(key: &dyn KeyHandle, times: u64) {
    until(key, |counts| counts.asked >= times);
}

fn until(key: &dyn KeyHandle, reached: impl Fn(&Counts) -> bool) {
    let since = Instant::now();
    while !reached(&key.counts().unwrap()) {
        assert!(since.elapsed() < Duration::from_secs(20), "{:?}", key.counts());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_key_that_gives_up_while_it_is_enrolled_is_asked_again_until_the_prompt_ends() {
    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    let started = |key: usize, command: &[&str]| {
        machine.keys[key].never().unwrap();
        let mut screen = machine.home.terminal(command).unwrap();
        screen.expect(": ").unwrap();
        screen.type_in(&format!("{PIN}\n")).unwrap();
        screen
    };
    let (blue, mut screen) = (&*machine.keys[0], started(0, &["init", "--key", "blue", "--scope", "prod"]));
    // It gives up once before each touch; the person is told of four touches, not of eight.
    for number in 1..=4 {
        asked(blue, 2 * number - 1);
        screen.expect(&format!("touch {number} of 4: ")).unwrap();
        assert!(blue.expire().unwrap());
        asked(blue, 2 * number);
        assert!(blue.press().unwrap());
    }
    let (status, shown) = screen.finish().unwrap();
    assert!(status.success(), "{shown}");
    for number in 1..=4 {
        assert_eq!(shown.matches(&format!("touch {number} of 4: ")).count(), 1, "{shown}");
    }
    // What ends it is the person's word, as with any prompt.
    machine.keys[1].plug().unwrap();
    let (spare, mut screen) = (&*machine.keys[1], started(1, &["key", "add", "spare"]));
    asked(spare, 1);
    assert!(spare.expire().unwrap());
    asked(spare, 2);
    screen.type_in("d").unwrap();
    let (status, shown) = screen.finish().unwrap();
    assert_eq!(status.code(), Some(60), "{shown}");
    until(spare, |counts| !counts.waiting);
}

#[test]
fn the_paper_is_lost_and_a_touch_makes_a_new_code() {
    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    let paper = vault(&machine);
    let shown = machine.done(&["vault", "new-code"]).unwrap();
    for part in [
        "changes who may open the vault",
        "replaces the recovery code",
        "re-keys prod",
        "shown once",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let fresh = code(&shown);
    assert_ne!(fresh, paper);
    opens(&machine);
    // It stands in the log as every change of who may open the vault does, and nobody's paper was needed for it.
    assert!(machine.events("recovery_code").unwrap().is_empty());
    assert!(
        machine
            .events("asked")
            .unwrap()
            .iter()
            .any(|asked| asked["reason"] == "vault new-code")
    );
    machine.keys[0].pull().unwrap();
    machine.keys[1].plug().unwrap();
    for (typed, opens) in [(&paper, false), (&fresh, true)] {
        let mut screen = machine.home.terminal(["recover", "green", "--lost", "blue"]).unwrap();
        screen.expect("recovery code (not shown): ").unwrap();
        screen.type_in(&format!("{typed}\n")).unwrap();
        machine.attend(&mut screen, PIN, &mut || false).unwrap();
        let (status, shown) = screen.finish().unwrap();
        assert_eq!(status.success(), opens, "{shown}");
        assert_eq!(shown.contains("replaced by a newer one"), !opens, "{shown}");
    }
}

#[test]
fn a_recovery_waits_for_another_writer_of_the_vault() {
    use rustix::fs::{FlockOperation, flock};

    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    let paper = vault(&machine);
    machine.keys[0].pull().unwrap();
    machine.keys[1].plug().unwrap();
    let mut screen = machine.home.terminal(["recover", "green", "--lost", "blue"]).unwrap();
    screen.expect("recovery code (not shown): ").unwrap();
    screen.type_in(&format!("{paper}\n")).unwrap();
    screen.expect("recovers the vault with its code").unwrap();
    let writer = fs::File::open(machine.home.places().unwrap().vault).unwrap();
    flock(&writer, FlockOperation::LockExclusive).unwrap();
    let held = || machine.events("recovery_code").unwrap().len() == 1;
    machine.attend(&mut screen, PIN, &mut || held()).unwrap();
    // It stands in the log: from here on the vault is written, if nobody else does.
    thread::sleep(Duration::from_millis(300));
    assert!(!screen.has_ended(), "{}", screen.output());
    flock(&writer, FlockOperation::Unlock).unwrap();
    machine.attend(&mut screen, PIN, &mut || false).unwrap();
    let (status, shown) = screen.finish().unwrap();
    assert!(status.success(), "{shown}");
    opens(&machine);
}

#[test]
fn a_stolen_key_is_removed_what_it_could_read_is_listed_and_a_rotation_follows() {
    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    vault(&machine);
    machine.spare().unwrap();
    machine.keys[1].pull().unwrap();
    let shown = machine.done(&["key", "remove", "spare", "--json"]).unwrap();
    let line = shown
        .lines()
        .find(|line| line.contains("change_at_issuer"))
        .expect("a line of JSON");
    let told: serde_json::Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    assert_eq!(told["change_at_issuer"], serde_json::json!(["prod/TOKEN"]));
    let given = machine.keys[0].counts().unwrap().given;
    machine.done(&["rotate"]).unwrap();
    assert_eq!(machine.keys[0].counts().unwrap().given, given + 1);
    let scopes = machine.json(&["scope", "list"]).unwrap();
    assert_eq!(scopes["scopes"][0]["epoch"], 3, "{scopes}");
    opens(&machine);
    machine.keys[0].pull().unwrap();
    machine.keys[1].plug().unwrap();
    machine.is_gone("blue").unwrap();
    let mut request = machine.request(RUN).unwrap();
    request.watch.expect("not enrolled").unwrap();
    request.watch.type_in("d").unwrap();
    assert_eq!(request.finish().unwrap().status.code(), Some(60));
}

#[test]
fn a_key_that_was_reset_says_so_and_is_enrolled_again_by_another() {
    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    vault(&machine);
    machine.spare().unwrap();
    machine.keys[1].pull().unwrap();
    machine.keys[0].pull().unwrap();
    machine.is_gone("blue").unwrap();
    machine.keys[0].reset().unwrap();
    machine.keys[0].set_pin().unwrap();
    machine.keys[0].plug().unwrap();
    let mut request = machine.request(RUN).unwrap();
    request.watch.expect("reset since").unwrap();
    request.watch.type_in("d").unwrap();
    assert_eq!(request.finish().unwrap().status.code(), Some(60));
    machine.keys[1].plug().unwrap();
    machine.done(&["key", "remove", "blue", "--key", "spare"]).unwrap();
    machine.done(&["key", "add", "blue"]).unwrap();
    machine.keys[1].pull().unwrap();
    machine.is_gone("spare").unwrap();
    opens(&machine);
}

#[test]
fn two_keys_have_different_pins_and_each_is_asked_for_its_own() {
    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    vault(&machine);
    let mut host = Host(rig.usb_keys()[1].key().ctap().clone());
    host.change_pin(Protocol::Two, PIN, "another pin").unwrap();
    machine.keys[1].plug().unwrap();
    machine.json(&["lock"]).unwrap();
    let keys: Vec<&dyn KeyHandle> = machine.keys.iter().map(|key| &**key).collect();
    let pins = [("blue", PIN), ("spare", "another pin")];
    let screen = machine.home.terminal(["key", "add", "spare"]).unwrap();
    let (status, shown) = attend(&keys, screen, &pins);
    assert!(status.success(), "{shown}");
    for (alone, pin) in [(1, "another pin"), (0, PIN)] {
        machine.json(&["lock"]).unwrap();
        machine.keys[1 - alone].pull().unwrap();
        machine.keys[alone].plug().unwrap();
        let screen = machine.home.terminal(["rotate", "--key", ["blue", "spare"][alone]]).unwrap();
        let (status, shown) = attend(&keys, screen, &pins);
        assert!(status.success(), "{pin}: {shown}");
        assert_eq!(machine.json(&["key", "info"]).unwrap()["pin_tries"], 8);
    }
}

#[test]
fn the_pin_of_a_key_that_is_removed_is_forgotten_with_it() {
    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    vault(&machine);
    machine.spare().unwrap();
    machine.json(&["lock"]).unwrap();
    let keys: Vec<&dyn KeyHandle> = machine.keys.iter().map(|key| &**key).collect();
    let pins = [("blue", PIN), ("spare", PIN)];
    for name in ["blue", "spare"] {
        let mut screen = machine.home.terminal(["unlock", name]).unwrap();
        screen.expect(&format!("PIN of \"{name}\": ")).unwrap();
        screen.type_in(&format!("{PIN}\n")).unwrap();
        let (status, shown) = screen.finish().unwrap();
        assert!(status.success(), "{shown}");
    }
    assert_eq!(unlocked(&machine), ["blue", "spare"]);
    let remove = machine.home.terminal(["key", "remove", "spare", "--key", "blue"]).unwrap();
    let (status, shown) = attend(&keys, remove, &pins);
    assert!(status.success(), "{shown}");
    assert_eq!(unlocked(&machine), ["blue"]);
}

#[test]
fn unlock_waits_for_a_key_and_asks_which_of_several_is_meant() {
    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    vault(&machine);
    machine.spare().unwrap();
    let unlock = |arguments: &[&str]| machine.home.terminal([&["unlock"], arguments].concat()).unwrap();
    let typed = |mut screen: Terminal, name: &str| {
        screen.expect(&format!("PIN of \"{name}\": ")).unwrap();
        screen.type_in(&format!("{PIN}\n")).unwrap();
        let (status, shown) = screen.finish().unwrap();
        assert!(status.success(), "{shown}");
        let status = machine.json(&["status"]).unwrap();
        assert_eq!(status["unlocked"][0][0], name, "{status}");
        machine.json(&["lock"]).unwrap();
        shown
    };
    machine.json(&["lock"]).unwrap();
    let mut screen = unlock(&["--json"]);
    screen
        .expect("several keys are connected: \"blue\", \"spare\"; which one? ")
        .unwrap();
    screen.type_in("spare\n").unwrap();
    let shown = typed(screen, "spare");
    assert!(shown.contains("{\"keep\":3600,\"key\":\"spare\",\"v\":1}"), "{shown}");
    // Whoever has no terminal cannot be asked.
    let several = machine.json(&["unlock"]).unwrap();
    assert_eq!(several["error"]["reason"], "which_key", "{several}");
    machine.keys.iter().for_each(|key| key.pull().unwrap());
    let mut screen = unlock(&[]);
    screen.expect("plug in \"blue\" or \"spare\"").unwrap();
    machine.keys[0].plug().unwrap();
    typed(screen, "blue");
    // It ends as a prompt does that nobody answers.
    machine.keys[0].pull().unwrap();
    machine.restart("[limits]\nprompt = \"1s\"\n").unwrap();
    let none = machine.json(&["unlock"]).unwrap();
    assert_eq!(none["error"]["reason"], "no_key", "{none}");
}

#[test]
fn a_program_without_a_terminal_is_told_how_its_request_stands() {
    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    vault(&machine);
    machine.json(&["lock"]).unwrap();
    let mut request = machine.request(RUN).unwrap();
    request.watch.expect("tries left): ").unwrap();
    request.watch.type_in(&format!("{PIN}\n")).unwrap();
    request.watch.expect("it blinks").unwrap();
    machine.keys[0].pull().unwrap();
    request.watch.expect("was pulled out").unwrap();
    request.watch.type_in("d").unwrap();
    let output = request.finish().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let mut rest = told.as_str();
    for part in [
        "waiting for a touch: ",
        "the PIN of \"blue\" is typed in `touchlease watch`",
        "key \"blue\" blinks",
        "\"blue\" was pulled out",
        "a person denied this request",
    ] {
        rest = rest
            .split_once(part)
            .unwrap_or_else(|| panic!("{part:?} does not come in its turn in\n{told}"))
            .1;
    }
}

#[test]
fn a_third_key_is_added_while_the_first_is_away_which_opens_all_the_same_afterwards() {
    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    vault(&machine);
    machine.spare().unwrap();
    machine.keys[0].pull().unwrap();
    machine.is_gone("blue").unwrap();
    let third = rig.ports().add().unwrap();
    third.set_pin().unwrap();
    let keys: [&dyn KeyHandle; 2] = [&*machine.keys[1], &third];
    let pins = [("spare", PIN), ("third", PIN)];
    for command in [&["key", "add", "third"][..], &["rotate", "--key", "third"]] {
        let (status, shown) = attend(&keys, machine.home.terminal(command).unwrap(), &pins);
        assert!(status.success(), "{command:?} {shown}");
    }
    machine.keys[1].pull().unwrap();
    third.pull().unwrap();
    machine.keys[0].plug().unwrap();
    opens(&machine);
}

#[test]
fn a_scope_lists_the_keys_that_are_not_yet_in_and_lets_them_in() {
    let rig = rig();
    let machine = Machine::new(&rig).unwrap();
    vault(&machine);
    machine.spare().unwrap();
    let shown = machine.done(&["scope", "add", "staging", "--key", "blue"]).unwrap();
    assert!(
        shown.contains("\"spare\" is not yet in: touchlease key admit spare --scope staging"),
        "{shown}"
    );
    let status = machine.json(&["status"]).unwrap();
    assert_eq!(status["not_in"], serde_json::json!([["staging", ["spare"]]]), "{status}");
    let keys = machine.json(&["key", "list"]).unwrap();
    assert_eq!(keys["keys"][1]["not_in"], serde_json::json!(["staging"]), "{keys}");
    machine.done(&["key", "admit", "spare", "--scope", "staging"]).unwrap();
    let scopes = machine.json(&["scope", "list"]).unwrap();
    assert_eq!(scopes["scopes"][1]["keys"], serde_json::json!(["blue", "spare"]), "{scopes}");
    machine.done(&["scope", "rename", "staging", "test"]).unwrap();
    machine.done(&["scope", "remove", "test"]).unwrap();
    let (status, shown) = machine.person(&["scope", "remove", "prod"]).unwrap();
    assert!(
        status.code() == Some(62) && shown.contains("touchlease rm SECRET removes them"),
        "{shown}"
    );
}

#[test]
fn two_machines_that_added_a_key_each_are_joined_by_a_touch_and_nothing_is_read_before() {
    let here = Lab::new();
    let there = here.elsewhere();
    for (lab, name) in [(&here, "one"), (&there, "two")] {
        let new = here.reach.add().unwrap();
        lab.person(&["key", "add", name, "--touch-only"]);
        new.pull().unwrap();
    }
    let folder = here.home.places().unwrap().vault;
    for (path, bytes) in files(&there.home.places().unwrap().vault) {
        fs::write(folder.join(path), bytes).unwrap();
    }
    let (code, told) = error_of(&here.agent_to_its_end(&["list", "--json"]));
    assert_eq!((code, &told["reason"]), (Some(71), &"roster_fork".into()), "{told}");
    assert!(told["hint"].as_str().unwrap().contains("touchlease vault join"), "{told}");
    let parts = [
        "side 1",
        "side 2",
        "signed by \"blue\"",
        "adds key \"one\"",
        "adds key \"two\"",
        "joins two histories",
    ];
    here.shows(&["vault", "join"], 0, &parts);
    let keys = here.json(&["key", "list"]);
    let names: Vec<_> = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|key| key["name"].as_str())
        .collect();
    assert_eq!(names.len(), 3, "{keys}");
    assert_eq!(here.json(&["vault", "join"])["joined"], false);
}

#[test]
fn t53_a_roster_that_the_folder_keeps_from_being_joined_says_what_to_take_out_and_is_read_without_it() {
    let here = Lab::new();
    let there = here.elsewhere();
    for lab in [&here, &there] {
        lab.person(&["rotate"]);
    }
    let (folder, ours) = (here.vault(), files(&here.vault()));
    for (path, bytes) in files(&there.vault()).into_iter().filter(|(path, _)| !ours.contains_key(path)) {
        let is_sealed_key = path.starts_with("slots") && path.extension().is_some_and(|end| end != "half");
        let bytes = if is_sealed_key { b"junk".to_vec() } else { bytes };
        fs::create_dir_all(folder.join(&path).parent().unwrap()).unwrap();
        fs::write(folder.join(path), bytes).unwrap();
    }
    let shown = here.shows(&["vault", "join", "--json"], 71, &[]);
    let line = shown.lines().find(|line| line.contains("\"hint\"")).expect("a line of JSON");
    let told: serde_json::Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    let hint = told["error"]["hint"].as_str().unwrap();
    for side in hint.split(" of side ").skip(1) {
        let words = side.split_whitespace().map(|word| word.trim_end_matches(';'));
        let named: Vec<&str> = words.filter(|word| word.starts_with("roster/")).collect();
        assert_eq!(named.len(), 2, "{hint}");
        if named.iter().any(|path| ours.contains_key(Path::new(path))) {
            continue;
        }
        named.iter().for_each(|path| fs::remove_file(folder.join(path)).unwrap());
        here.person(&["run", "--with", "prod/TOKEN", "--", "true"]);
        return;
    }
    panic!("the side that does not open is not named: {hint}");
}

#[test]
fn t53_the_join_of_a_roster_says_what_it_leaves_under_an_earlier_key_and_the_next_touch_takes_it_in() {
    let here = Lab::new();
    let (there, third) = (here.elsewhere(), here.elsewhere());
    let before = files(&here.vault());
    third.put("prod/LATE", b"late", &[]);
    for lab in [&here, &there] {
        lab.person(&["rotate"]);
    }
    let folder = here.vault();
    for (path, bytes) in [&there, &third].into_iter().flat_map(|lab| files(&lab.vault())) {
        if !before.contains_key(&path) {
            fs::create_dir_all(folder.join(&path).parent().unwrap()).unwrap();
            fs::write(folder.join(path), bytes).unwrap();
        }
    }
    let shown = here.person(&["vault", "join"]);
    assert!(shown.contains("scope prod has a state under an earlier key"), "{shown}");
    let shown = here.person(&["run", "--with", "prod/LATE", "--", "true"]);
    assert!(shown.contains("joins"), "{shown}");
    let merges = here.agent_to_its_end(&["merge"]);
    assert!(!String::from_utf8_lossy(&merges.stdout).contains("LATE"), "{merges:?}");
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}
