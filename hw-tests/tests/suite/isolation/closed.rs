//! A program whose file its user cannot read: closed to others of that user before it has done anything.

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

/// A process of `program` as `nobody`, held by the dynamic loader in front of the program's first instruction.
fn held(program: &Path, fifo: &Path) -> Child {
    let child = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "env"])
        .arg(format!("LD_PRELOAD={}", fifo.display()))
        .args([program.as_os_str(), "status".as_ref()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let exe = format!("/proc/{}/exe", child.id());
    until("the program", || fs::read_link(&exe).is_ok_and(|exe| exe == program));
    child
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn t23_a_program_that_cannot_be_read_is_closed_before_its_first_act_and_lends_as_ever() {
    if !inside("closed::t23_a_program_that_cannot_be_read_is_closed_before_its_first_act_and_lends_as_ever") {
        return;
    }
    let rigged = Rigged::without_vault(NOBODY, None);
    let program = rigged._bin.path().join("touchlease");
    let fifo = rigged._bin.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    for (bits, is_open) in [(0o755, true), (0o711, false)] {
        mode(&program, bits);
        let mut child = held(&program, &fifo);
        let open = ways_into(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        println!("T23 mode {bits:o}, before the first act: {} of 7 ways in", open.len());
        assert_eq!(open.len() >= 6, is_open, "{open:?}");
        assert!(is_open || open.is_empty(), "{open:?}");
    }
    shows(&rigged.home, &["init", "--key", "blue"], 0, &[]);
    rigged.put("prod/TOKEN", CANARY);
    let _watch = rigged.home.watch().unwrap();
    let out = rigged.agent(&["run", "--no-masking", "--with", "prod/TOKEN", "--", "printenv", "TOKEN"]);
    assert!(holds(&out.stdout, CANARY) && out.status.success(), "{out:?}");
}

#[test]
fn t23_doctor_says_whether_other_programs_can_read_or_replace_the_program() {
    if !inside("closed::t23_doctor_says_whether_other_programs_can_read_or_replace_the_program") {
        return;
    }
    let rigged = Rigged::without_vault(NOBODY, None);
    let folder = rigged._bin.path();
    let program = folder.join("touchlease");
    let found = || {
        let out = rigged.agent(&["--json", "doctor"]);
        let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
        let findings = said["findings"].as_array().unwrap().clone();
        let of_program = findings
            .into_iter()
            .find(|finding| finding["reason"].as_str().unwrap().starts_with("program_"));
        let finding = of_program.unwrap();
        let text = |member: &str| finding[member].as_str().unwrap_or_default().to_owned();
        (text("reason"), text("what"), text("remedy"))
    };
    // Root's, in a folder of root's within one where everybody may write and nobody may rename what is another's.
    let (reason, what, remedy) = found();
    assert_eq!(reason, "program_open");
    assert!(
        what.contains("look into a process") && remedy.starts_with("sudo install -m 0711 "),
        "{what}: {remedy}"
    );
    mode(&program, 0o711);
    assert_eq!(found().0, "program_closed");
    own(folder, NOBODY);
    assert!(found().1.contains("another program in its place"));
    own(folder, 0);
    own(&program, NOBODY);
    assert!(found().1.contains("another program in its place"));
}
