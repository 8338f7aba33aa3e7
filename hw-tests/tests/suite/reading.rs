//! What a person reads: columns that fit the terminal, what matters first, and a log that says who asked for what.

use hw_tests::key::KeyHandle;

use crate::lab::Lab;

/// Lines that a command shows on a terminal, without colours.
fn on_a_terminal(lab: &Lab, arguments: &[&str]) -> Vec<String> {
    let shown = lab.person(arguments).replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
    let lines = shown.lines().map(|line| line.trim_end().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_list_stands_in_columns_that_fit_the_terminal_and_in_a_pipe_as_a_line_each() {
    let lab = Lab::new();
    lab.put("prod/OTHER", b"correct-horse", &["--max-ttl", "10m", "--max-uses", "3"]);
    let expected = "prod/OTHER  1  env or file  at most 10 min; at most 3 uses\nprod/TOKEN  1  env or file\n";
    assert_eq!(lab.prints(&["list"]), expected);
    let lines = on_a_terminal(&lab, &["list"]);
    assert_eq!(lines[0], "SECRET      VERSION  AS           LIMITS");
    assert_eq!(lines[1], "prod/OTHER  1        env or file  at most 10 min; at most 3 uses");
}

#[test]
fn the_log_on_the_screen_says_who_asked_and_no_hash_in_full() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let reason = "to try  secrets=dev/NONE\"";
    lab.prints(&["run", "--with", "prod/TOKEN", "--reason", reason, "--", "true"]);
    let shown = lab.prints(&["audit", "show"]);
    let asked: Vec<_> = shown
        .lines()
        .filter(|line| line.contains("asked  ") && line.contains("prod/TOKEN"))
        .collect();
    assert!(
        asked
            .iter()
            .all(|line| line.contains("claimed=\"touchlease <- ") && line.contains("pid=")),
        "{asked:?}"
    );
    let hex = |word: &str| word.chars().filter(char::is_ascii_hexdigit).count() == word.len() && word.len() > 40;
    let word = shown.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| hex(word));
    assert_eq!(word, None);
    // What stands there is enough to ask for more.
    let approved = shown.lines().find(|line| line.contains("approved")).unwrap();
    for part in [
        "secrets=prod/TOKEN",
        "claimed=\"touchlease <- ",
        "in=\"/",
        "reason=\"to try  secrets=dev/NONE'\"",
    ] {
        assert!(approved.contains(part), "{approved}");
    }
    assert!(!shown.contains("ttl=0"), "{shown}");
    let id = approved.split("id=").nth(1).unwrap().split_whitespace().next().unwrap();
    lab.prints(&["audit", "export", id, "receipt"]);
    let json = lab.json(&["audit", "show"]);
    let full = json["lines"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["event"]["shown"]["asked"].as_str().is_some_and(|asked| asked.len() == 64));
    assert!(full.count() > 0, "{json}");
}

#[test]
fn keys_and_scopes_stand_in_columns_and_in_a_pipe_as_a_line_each() {
    let lab = Lab::new();
    lab.put("dev/OTHER", b"correct-horse", &[]);
    let spare = lab.reach.add().unwrap();
    lab.person(&["key", "add", "spare", "--scope", "prod"]);
    lab.reach.add().unwrap();
    spare.pull().unwrap();
    let expected = [
        "KEY             ASKS FOR             OPENS      NOT YET IN  CONNECTED",
        "blue            touch only (weaker)  prod, dev              Emulated Key, USB, /dev/emulated0",
        "spare           touch only (weaker)  prod       dev         no",
        "(not enrolled)                                              Emulated Key, USB, /dev/emulated2",
    ];
    assert_eq!(on_a_terminal(&lab, &["key", "list"]), expected);
    let piped = lab.prints(&["key", "list"]);
    let rows: Vec<_> = piped.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let expected = expected[1..].iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(rows, expected.collect::<Vec<_>>());
    let expected = [
        "SCOPE  SECRETS  KEY NUMBER  OPENED BY        NOT YET IN",
        "prod   1        1           \"blue\", \"spare\"",
        "dev    1        1           \"blue\"           \"spare\"",
    ];
    assert_eq!(on_a_terminal(&lab, &["scope", "list"]), expected);
    let info = lab.prints(&["key", "info", "blue"]);
    for row in [
        "key             blue\n",
        "asks for        touch only (weaker)\n",
        "PIN tries left  it has no PIN\n",
    ] {
        assert!(info.contains(row), "{info}");
    }
}

#[test]
fn a_lease_is_shown_with_who_has_what_for_how_long_before_the_text_that_was_signed() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let id = lab.lease(&["--with", "prod/TOKEN", "--uses", "3", "--reason", "to try"]);
    let shown = lab.prints(&["lease", "show", &id[..8]]);
    let (summary, signed) = shown.split_once("\n\n").unwrap();
    let rows: Vec<&str> = summary.lines().collect();
    assert_eq!(rows[0], format!("lease     {id}"));
    for (row, says) in [
        ("who       ", "asked for it"),
        ("          ", "as claimed; the kernel says pid "),
        ("reason    ", "\"to try\" (their words)"),
        ("gets      ", "prod/TOKEN  version 1, in its environment as TOKEN"),
        ("for       ", "15 min from the touch, or 3 uses, whichever ends first"),
        ("held by   ", "and what it starts; ends with it"),
        ("state     live: 14 min ", "and 3 uses left, until "),
        ("key       ", "\"blue\" was touched for it"),
    ] {
        assert!(
            rows.iter().any(|line| line.starts_with(row) && line.contains(says)),
            "{row}{says}\n{summary}"
        );
    }
    let receipt = rows.iter().find(|line| line.starts_with("receipt   ")).unwrap();
    let command = receipt["receipt   ".len()..].split("  ").next().unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    lab.prints(&words);
    assert!(lab.home.work().join(words.last().unwrap()).join("lease.sig").is_file());
    assert!(
        signed.starts_with("The text that was signed") && signed.contains("-----BEGIN SSH SIGNATURE-----"),
        "{signed}"
    );
    assert!(!summary.contains('{'), "{summary}");
}

#[test]
fn an_asked_line_says_what_was_asked_by_whom_and_each_statement_of_the_roster_is_named_once() {
    let mut lab = Lab::new();
    let _spare = lab.reach.add().unwrap();
    lab.person(&["key", "add", "spare"]);
    lab.person(&["edit", "prod/TOKEN", "--max-uses", "9"]);
    let watch = lab.home.watch().unwrap();
    lab.prints(&[
        "run",
        "--with",
        "prod/TOKEN",
        "--ttl",
        "5m",
        "--uses",
        "2",
        "--reason",
        "why",
        "--",
        "true",
    ]);
    drop(watch);
    lab.person(&["rm", "prod/TOKEN"]);
    let shown = lab.prints(&["audit", "show"]);
    let asked: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.split_once("  asked  "))
        .map(|(_, said)| said)
        .collect();
    for (line, begins) in asked.iter().zip([
        "what=\"write 1 secret\"  secrets=prod/TOKEN  claimed=\"touchlease <- ",
        "what=\"key add spare\"  claimed=\"touchlease <- ",
        "what=\"change the rules of 1 secret\"  secrets=prod/TOKEN  claimed=\"touchlease <- ",
        "secrets=prod/TOKEN  for=\"5 min\"  uses=2  claimed=\"touchlease <- ",
        "what=\"remove 1 secret\"  secrets=prod/TOKEN  claimed=\"touchlease <- ",
    ]) {
        assert!(line.starts_with(begins), "{begins}\n{line}");
        assert!(
            line.contains("  in=\"/") && line.contains("  pid=") && line.contains("  uid="),
            "{line}"
        );
    }
    assert!(asked.len() == 5 && asked[3].ends_with("  reason=\"why\""), "{asked:?}");
    let statements = |shown: &str| -> Vec<String> {
        let roster = shown.lines().filter_map(|line| line.split_once("  roster  statement="));
        roster.map(|(_, statement)| statement.to_owned()).collect()
    };
    let once = statements(&shown);
    assert!(once.len() == 2 && once[0] != once[1], "{shown}");
    // A daemon that starts says which one it finds.
    lab.restart(|_| {});
    let again = statements(&lab.prints(&["audit", "show"]));
    assert_eq!(again, [&once[..], &once[1..]].concat());
    lab.person(&["audit", "verify"]);
}

#[test]
fn t43_what_a_program_is_called_passes_for_no_field_of_the_log() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let program = "true  why=revoked\"  key=blue";
    std::os::unix::fs::symlink("/bin/true", lab.home.work().join(program)).unwrap();
    lab.prints(&["run", "--with", "prod/TOKEN", "--", &format!("./{program}")]);
    let shown = lab.prints(&["audit", "show"]);
    let used = shown.lines().find(|line| line.contains("  used  ")).unwrap();
    assert!(used.ends_with("what=\"./true  why=revoked'  key=blue\""), "{used}");
}
