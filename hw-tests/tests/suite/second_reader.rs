//! A reader that was written from `docs/format.md` alone reads what the product writes.

use std::{
    collections::BTreeMap,
    env,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use hw_tests::conformance::{Machine, machine::said, rigs::InProcess};

/// One of the programs of `second-reader` over a vault.
fn read(program: &str, vault: &Path, code: &str, secret: Option<&str>) -> Output {
    let python = env::var_os("SECOND_READER").expect("hw-tests/with-second-reader sets SECOND_READER");
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("second-reader").join(program);
    let mut reader = Command::new(python)
        .args(["-B".as_ref(), program.as_os_str(), vault.as_os_str()])
        .args(secret)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(reader.stdin.take().unwrap(), "{code}").unwrap();
    reader.wait_with_output().unwrap()
}

/// The recovery code that `init` shows.
fn code(shown: &str) -> &str {
    let is_code = |word: &&str| word.split('-').count() == 9 && word.split('-').all(|group| group.len() == 4);
    shown.split_whitespace().find(is_code).expect("a recovery code is shown")
}

fn put(machine: &Machine<'_>, secrets: &mut BTreeMap<String, String>, secret: &str, value: &str) {
    std::fs::write(machine.home.work().join("value"), value).unwrap();
    machine.done(&["put", secret, "--from-file", "value"]).unwrap();
    secrets.insert(secret.to_owned(), value.to_owned());
}

#[test]
#[ignore = "needs hw-tests/with-second-reader"]
fn a_reader_from_the_formats_page_reads_what_the_product_wrote_with_the_recovery_code() {
    let rig = InProcess::new(crate::product()).unwrap();
    let machine = Machine::new(&rig).unwrap();
    let shown = machine.done(&["init", "--key", "blue", "--scope", "prod"]).unwrap();
    let (code, mut secrets) = (code(&shown), BTreeMap::new());
    put(&machine, &mut secrets, "prod/TOKEN", "first");
    put(&machine, &mut secrets, "prod/OLD", "under the first key of the scope");
    machine.done(&["scope", "add", "dev", "--key", "blue"]).unwrap();
    put(&machine, &mut secrets, "dev/MOTTO", "Größe ist kein Maß\nzweite Zeile");
    put(&machine, &mut secrets, "dev/LONG", &"long ".repeat(3_000));
    machine.spare().unwrap();
    put(&machine, &mut secrets, "prod/TOKEN", "second");
    machine.keys[1].pull().unwrap();
    machine.done(&["key", "remove", "spare"]).unwrap();
    machine.done(&["rotate", "prod", "--key", "blue"]).unwrap();
    put(&machine, &mut secrets, "prod/GONE", "removed");
    machine.done(&["rm", "prod/GONE"]).unwrap();
    secrets.remove("prod/GONE");
    put(&machine, &mut secrets, "prod/NEW", "under the third key of the scope");
    let vault = machine.home.places().unwrap().vault;
    for program in ["reader.py", "refuse.py"] {
        let list = read(program, &vault, code, None);
        assert!(list.status.success(), "{}", said(&list));
        let listed = String::from_utf8(list.stdout).unwrap();
        let listed: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(listed, secrets.keys().collect::<Vec<_>>());
    }
    for (secret, value) in &secrets {
        let found = read("refuse.py", &vault, code, Some(secret));
        assert_eq!(
            String::from_utf8_lossy(&found.stdout),
            format!("{value}\n"),
            "{secret}: {}",
            said(&found)
        );
    }
    println!("second reader: {0} of {0} secrets of the product's vault", secrets.len());
    let other = if code.starts_with('7') { "8" } else { "7" };
    let refused = read("reader.py", &vault, &format!("{other}{}", &code[1..]), None);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{}", said(&refused));
    let gone = read("reader.py", &vault, code, Some("prod/GONE"));
    assert_eq!((gone.status.code(), gone.stdout.len()), (Some(1), 0), "{}", said(&gone));
}
