//! The commands of `docs/emulated-keys.md` do what the page says.

use std::{path::Path, process::Command};

use hw_tests::harness::Terminal;

use super::{blocks, page, repository};
use crate::{isolation::inside_readers, lab::product};

#[test]
fn the_page_on_emulated_keys_makes_a_vault_runs_a_command_and_touches_by_hand() {
    if !inside_readers("docs::emulated_keys::the_page_on_emulated_keys_makes_a_vault_runs_a_command_and_touches_by_hand") {
        return;
    }
    let commands = blocks(&page("emulated-keys.md"), "sh");
    let [build, typed @ ..] = commands.as_slice() else {
        panic!("no commands")
    };
    // What opens this shell; the programs are built already.
    assert!(build.ends_with("hw-tests/with-readers bash\n"), "{build}");
    assert_eq!(typed.len(), 2);
    let folder = tempfile::tempdir().unwrap();
    let targets = product().parent().and_then(Path::parent).unwrap().to_owned();
    let mut shell = Command::new("sh");
    shell.args(["-ec", &typed.concat()]).current_dir(repository());
    shell
        .envs(std::env::vars_os())
        .env("TMPDIR", folder.path())
        .env("CARGO_TARGET_DIR", targets);
    let (status, shown) = Terminal::start(&shell).unwrap().finish().unwrap();
    assert!(status.success(), "{shown}");
    for part in ["it got <touchlease:prod/TOKEN>", "\r\ntouched\r\n", "what=\"write 1 secret\""] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("only-a-test\r\n"), "{shown}");
}
