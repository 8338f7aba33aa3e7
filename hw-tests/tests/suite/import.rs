//! Secrets come in from other programs' files, by touches that name all of them.

use std::{fs, path::PathBuf};

use hw_tests::key::KeyHandle;
use serde_json::Value;

use crate::lab::{CANARY, Lab, PATIENCE, holds};

/// Two databases with the password `correct horse`: an entry with a note, a protected field, a one-time code and an attachment; one in a
/// group, one without a password, one in the recycle bin. KDBX 3.1 (AES) by keepassxc-cli 2.7.4, KDBX 4 (Argon2) by PyPI pykeepass 4.2.
const KEEPASS: [(&str, &str, &[u8]); 2] = [
    ("prod", "keepass3.kdbx", include_bytes!("import/keepass3.kdbx")),
    ("dev", "keepass4.kdbx", include_bytes!("import/keepass4.kdbx")),
];

fn file(lab: &Lab, name: &str, bytes: &[u8]) -> String {
    let path: PathBuf = lab.home.work().join(name);
    fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

/// What a command gets of a secret that may go into its environment.
fn value_of(lab: &Lab, secret: &str) -> String {
    lab.person(&[
        "run",
        "--no-masking",
        "--with",
        &format!("V={secret}"),
        "--",
        "sh",
        "-c",
        "printf '<%s>' \"$V\"",
    ])
}

fn listed(lab: &Lab) -> Vec<String> {
    let said = lab.json(&["list"]);
    let secrets = said["secrets"].as_array().unwrap();
    secrets.iter().map(|one| one["secret"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_environment_file_is_shown_first_and_sealed_by_one_touch() {
    let lab = Lab::new();
    let path = file(&lab, ".env", b"TOKEN=other-value-1\nAPI_KEY='import-me-4711'\nEMPTY=\n");
    let before = lab.key.counts().unwrap().given;
    let parts = [
        "prod/API_KEY  new, from API_KEY",
        "EMPTY: it is empty",
        "TOKEN: the vault has a secret of this name",
        "1 touch",
    ];
    lab.shows(&["import", &path, "--scope", "prod", "--dry-run"], 0, &parts);
    assert_eq!((lab.key.counts().unwrap().given, listed(&lab).len()), (before, 1));

    let parts = ["1 secret is sealed in prod", "delete it"];
    let shown = lab.shows(&["import", &path, "--scope", "prod"], 0, &parts);
    assert!(
        !holds(shown.as_bytes(), "import-me-4711") && !holds(shown.as_bytes(), "other-value-1"),
        "{shown}"
    );
    assert_eq!(lab.key.counts().unwrap().given, before + 1);
    assert!(value_of(&lab, "prod/API_KEY").contains("<import-me-4711>"));
    assert!(value_of(&lab, "prod/TOKEN").contains(&format!("<{CANARY}>")));

    let shown = lab.person(&["import", &path, "--scope", "prod", "--replace"]);
    assert!(shown.contains("prod/TOKEN  new value, in place of version 1"), "{shown}");
    assert!(value_of(&lab, "prod/TOKEN").contains("<other-value-1>"));
}

#[test]
fn the_signed_text_names_every_secret_of_the_batch() {
    let lab = Lab::new();
    let names: Vec<String> = (0..40).map(|n| format!("IMPORTED_{n}")).collect();
    let text: String = names.iter().map(|name| format!("{name}=value-of-{name}\n")).collect();
    let path = file(&lab, ".env", text.as_bytes());
    let shown = lab.person(&["import", &path, "--scope", "dev"]);
    for name in &names {
        // In the preview and on the card that the touch was given for.
        assert!(shown.matches(&format!("dev/{name}")).count() >= 2, "{name}: {shown}");
    }
    let events = lab.events();
    let (_, change) = events.iter().rev().find(|(name, _)| name == "change").unwrap();
    let signed: Value = serde_json::from_str(change["signed"]["text"].as_str().unwrap()).unwrap();
    assert_eq!(signed["writes"].as_array().unwrap().len(), 40);
    let log = fs::read(lab.home.log().unwrap()).unwrap();
    assert!(!holds(&log, "value-of-"));
}

#[test]
fn a_large_import_is_counted_in_touches_and_each_part_is_whole() {
    let lab = Lab::new();
    let text: String = (0..501).map(|n| format!("N_{n}=v{n}\n")).collect();
    let path = file(&lab, "many.env", text.as_bytes());
    lab.key.never().unwrap();
    let mut import = lab.home.terminal(["import", &path, "--scope", "prod"]).unwrap();
    import.expect("2 touches").unwrap();
    import.expect("touch 1 of 2: 500 secrets, 0 are sealed").unwrap();
    assert!(lab.key.await_asked(PATIENCE).unwrap() && lab.key.press().unwrap());
    import.expect("touch 2 of 2: 1 secret, 500 are sealed").unwrap();
    import.expect("touch \"blue\"").unwrap();
    import.type_in("d").unwrap();
    let (status, shown) = import.finish().unwrap();
    assert_eq!(status.code(), Some(60), "{shown}");
    assert!(
        shown.contains("500 secrets are sealed already") && shown.contains("run the same command again"),
        "{shown}"
    );
    assert_eq!(listed(&lab).len(), 501);
    lab.key.grant().unwrap();
    let shown = lab.person(&["import", &path, "--scope", "prod"]);
    assert!(shown.contains("1 secret is sealed in prod"), "{shown}");
    assert_eq!(listed(&lab).len(), 502);
}

#[test]
fn a_keepass_database_opens_with_its_password_and_the_rest_is_named() {
    let lab = Lab::new();
    for (scope, name, bytes) in KEEPASS {
        let path = file(&lab, name, bytes);
        let import = |password: &str| {
            let mut import = lab.home.terminal(["import", &path, "--scope", scope]).unwrap();
            import.expect("password of").unwrap();
            import.type_in(&format!("{password}\n")).unwrap();
            import.finish().unwrap()
        };
        let (status, shown) = import("wrong");
        assert!(
            status.code() == Some(65) && shown.contains("does not open with this password"),
            "{shown}"
        );
        let (status, shown) = import("correct horse");
        assert!(status.success(), "{shown}");
        for line in [
            &format!("{scope}/My_Bank_old  new, renamed, from My Bank (old)"),
            &format!("{scope}/My_Bank_old_.pin  new, renamed, from My Bank (old): pin"),
            &format!("{scope}/GITHUB_TOKEN  new, from Work / GITHUB_TOKEN"),
            "My Bank (old): scan.pdf: attachments are files",
            "My Bank (old): otp: one-time codes are a second factor",
            "Work / Empty: it has no secret in it",
            "Recycle Bin: it is the recycle bin",
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
        for value in ["pässword-1", "4711-0815", "ghp_work-token", "thrown-away", "correct horse"] {
            assert!(!shown.contains(value), "{shown}");
        }
        assert!(value_of(&lab, &format!("{scope}/My_Bank_old")).contains("<pässword-1>"));
    }
    assert_eq!(listed(&lab).len(), 1 + 2 * 3);
}

/// The same database with another number in the parameters of its key derivation: the name, its type, the length of the value, the value.
fn asking_for(database: &[u8], name: u8, value: u64) -> Vec<u8> {
    let entry = [5, 1, 0, 0, 0, name, 8, 0, 0, 0];
    let at = database.windows(entry.len()).position(|part| part == entry).unwrap() + entry.len();
    let mut changed = database.to_vec();
    changed[at..at + 8].copy_from_slice(&value.to_le_bytes());
    changed
}

/// As 1Password lays one out (1PUX, version 3), by Python's zipfile: a login with a concealed field and a one-time password, an SSH key, an
/// archived login, an attachment.
const ONE_PASSWORD: &[u8] = include_bytes!("import/export.1pux");

#[test]
fn an_export_of_1password_is_sealed_by_one_touch_and_the_rest_is_named() {
    let lab = Lab::new();
    let path = file(&lab, "export.1pux", ONE_PASSWORD);
    let before = lab.key.counts().unwrap().given;
    let parts = [
        "3 secrets are sealed in prod",
        "Private / GitHub: one-time password",
        "Private / Old",
        "files/abc___scan.pdf",
    ];
    let shown = lab.shows(&["import", &path, "--scope", "prod"], 0, &parts);
    assert_eq!(lab.key.counts().unwrap().given, before + 1);
    assert!(
        !shown.contains("hunter2") && !shown.contains("abcd-efgh") && !shown.contains("BEGIN KEY"),
        "{shown}"
    );
    assert_eq!(
        listed(&lab),
        ["prod/Deploy_key", "prod/GitHub", "prod/GitHub.recovery_key", "prod/TOKEN"]
    );
    assert!(value_of(&lab, "prod/GitHub").contains("<hunter2-hunter2>"));
    let script = "tail -n 1 \"$F\"; wc -l < \"$F\"";
    let shown = lab.person(&["run", "--no-masking", "--with-file", "F=prod/Deploy_key", "--", "sh", "-c", script]);
    assert!(shown.contains("-----END KEY-----\r\n3"), "{shown}");
}

#[test]
fn p13_a_keepass_database_that_asks_for_the_whole_machine_is_refused_before_its_password_is_asked_for() {
    let lab = Lab::new();
    let database = KEEPASS[1].2;
    for (name, value, said) in [
        (b'M', 64 << 30, "68719476736 bytes of memory; here it gets 1073741824 at most"),
        (b'I', 1 << 31, "2147483648 iterations; here it gets 10000 at most"),
    ] {
        let path = file(&lab, "hostile.kdbx", &asking_for(database, name, value));
        let out = lab.agent_to_its_end(&["--json", "import", &path, "--scope", "prod"]);
        let (code, error) = crate::lab::error_of(&out);
        assert_eq!((code, &error["reason"]), (Some(65), &"kdbx_cost".into()), "{error}");
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("KeePass"), "{error}");
    }
    // As it was made it gets as far as the question.
    let path = file(&lab, "fine.kdbx", database);
    let out = lab.agent_to_its_end(&["--json", "import", &path, "--scope", "prod"]);
    assert_eq!(crate::lab::error_of(&out).1["reason"], "no_terminal");
}

#[test]
fn an_import_without_a_scope_says_which_there_are() {
    let lab = Lab::new();
    let path = file(&lab, ".env", b"A=1234567\n");
    let out = lab.agent_to_its_end(&["--json", "import", &path]);
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), &said["error"]["reason"]), (Some(64), &"which_scope".into()));
    let out = lab.agent_to_its_end(&["--json", "import", &path, "--scope", "dev", "--dry-run"]);
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&said["secrets"][0]["secret"], &said["touches"]),
        (&"dev/A".into(), &1.into()),
        "{said}"
    );
}
