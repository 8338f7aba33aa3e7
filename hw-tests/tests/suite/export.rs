//! Everything of a scope goes out, by a touch over words that say so.

use std::{fs, os::unix::fs::PermissionsExt};

use hw_tests::key::KeyHandle;
use serde_json::Value;

use crate::lab::{CANARY, Lab, error_of, holds};

fn out(lab: &Lab, name: &str) -> String {
    lab.home.work().join(name).display().to_string()
}

#[test]
fn an_export_is_signed_in_words_recorded_and_written_to_a_private_file() {
    let lab = Lab::new();
    lab.put("prod/BINARY", b"\xff\x00\x01binary", &[]);
    lab.put("prod/PROXIED", b"for-the-proxy-only", &["--host", "api.example.com"]);
    lab.put("dev/OTHER", b"of-another-scope", &[]);
    let path = out(&lab, "out.json");
    let before = lab.key.counts().unwrap().given;
    let parts = [
        "ALL values of scope prod leave the vault in the clear",
        "2 secrets of prod; 1 stays",
        "prod/PROXIED stays: its rules allow neither env nor file",
        "2 secrets of prod left the vault",
    ];
    let shown = lab.shows(&["export", "--scope", "prod", "--out", &path], 0, &parts);
    assert_eq!(lab.key.counts().unwrap().given, before + 1);
    assert!(!shown.contains(CANARY), "{shown}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let expected = serde_json::json!({
        "v": 1, "scope": "prod",
        "secrets": [{ "name": "BINARY", "base64": "/wABYmluYXJ5" }, { "name": "TOKEN", "value": CANARY }],
    });
    assert_eq!(written, expected);

    let events = lab.events();
    let (_, exported) = events.iter().rev().find(|(name, _)| name == "exported").unwrap();
    let text: Value = serde_json::from_str(exported["text"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&text["kind"], &text["secrets"], &text["left_out"]),
        (&"export".into(), &2.into(), &1.into())
    );
    assert!(text["origin"]["vault"]["heads"]["prod"][0].is_string(), "{text}");
    let log = fs::read(lab.home.log().unwrap()).unwrap();
    assert!(!holds(&log, CANARY));
    lab.prints(&["audit", "verify"]);

    lab.shows(&["export", "--scope", "prod", "--out", &path], 65, &["exists already"]);
    assert_eq!(lab.key.counts().unwrap().given, before + 1);
}

#[test]
fn an_exported_environment_file_is_imported_as_it_was() {
    let lab = Lab::new();
    let values = ["it's", "a\"b$HOME`d\\e", "two\nlines", "plain"];
    for (n, value) in values.iter().enumerate() {
        lab.put(&format!("prod/V{n}"), value.as_bytes(), &[]);
    }
    let path = out(&lab, "out.env");
    lab.person(&["export", "--scope", "prod", "--format", "env", "--out", &path]);
    lab.person(&["import", &path, "--scope", "dev"]);
    for (n, value) in values.iter().enumerate() {
        let shown = lab.person(&[
            "run",
            "--no-masking",
            "--with",
            &format!("V=dev/V{n}"),
            "--",
            "sh",
            "-c",
            "printf '<%s>' \"$V\" | tr '\\n' '~'",
        ]);
        assert!(shown.contains(&format!("<{}>", value.replace('\n', "~"))), "{value:?}\n{shown}");
    }
}

#[test]
fn an_export_that_nobody_approves_leaves_no_file() {
    let lab = Lab::new();
    let path = out(&lab, "out.json");
    lab.key.never().unwrap();
    let mut export = lab.home.terminal(["export", "--scope", "prod", "--out", &path]).unwrap();
    export.expect("touch \"blue\"").unwrap();
    export.type_in("d").unwrap();
    assert_eq!(export.finish().unwrap().0.code(), Some(60));
    assert!(!fs::exists(&path).unwrap());
    assert_eq!(lab.count("exported"), 0);
}

#[test]
fn an_export_that_no_person_asks_for_is_on_no_screen() {
    let lab = Lab::new();
    let recorder = lab.recorder();
    let before = lab.key.counts().unwrap().given;
    let path = out(&lab, "out.json");
    let (code, error) = error_of(&lab.agent_to_its_end(&["--json", "export", "--scope", "prod", "--out", &path]));
    assert_eq!((code, &error["reason"]), (Some(67), &"no_terminal".into()));
    assert!(recorder.texts().is_empty() && !fs::exists(&path).unwrap());
    assert_eq!(lab.key.counts().unwrap().given, before);
}

#[test]
fn standard_output_is_asked_for_by_name_and_names_that_are_no_variables_cost_no_touch() {
    let lab = Lab::new();
    lab.put("prod/a-b", b"seven-letters", &[]);
    let before = lab.key.counts().unwrap().given;
    assert_eq!(lab.agent_to_its_end(&["export", "--scope", "prod"]).status.code(), Some(64));
    let path = out(&lab, "out.env");
    let refused = lab.agent_to_its_end(&["--json", "export", "--scope", "prod", "--format", "env", "--out", &path]);
    let (code, error) = error_of(&refused);
    assert_eq!((code, &error["reason"]), (Some(65), &"variable".into()));
    assert!(!fs::exists(&path).unwrap());
    assert_eq!(lab.key.counts().unwrap().given, before);
    let shown = lab.person(&["export", "--scope", "prod", "--danger-stdout"]);
    assert!(shown.contains("\"name\":\"TOKEN\"") && shown.contains("seven-letters"), "{shown}");
}
