//! YubiKeys by their PIV application: a sample of what they and the product do, and what their secrets leave behind.

use std::io::stdout;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use hw_tests::conformance::piv::{self, YubiKeys, outside};

use super::*;
use crate::lab::typing;

/// Every so many of the cases is in the sample; `hw-tests/check` runs all.
const EVERY: usize = 8;
const PIN: &str = "kV7xQ2zp";
const PUK: &str = "Zq8wN4rt";
const WRONG: &str = "Xc3bT9ms";

#[test]
fn a_sample_of_what_yubikeys_by_piv_do() {
    if !inside("cards::a_sample_of_what_yubikeys_by_piv_do") {
        return;
    }
    let all = piv::all();
    let sample: Vec<_> = all.iter().copied().step_by(EVERY).collect();
    let rig = YubiKeys::find(product(), |name| std::env::var_os(name)).unwrap();
    let tally = piv::run(&rig, &sample, &mut stdout()).unwrap();
    assert!(tally.is_full());
    println!("T57 PIV sample: {} of {}", tally.held, all.len());
}

/// How programs write bytes down: as they are, in hexadecimal, in base64, and as Rust's `Debug` does.
fn shapes(secret: &[u8]) -> Vec<Vec<u8>> {
    let listed = |each: &dyn Fn(&u8) -> String| secret.iter().map(each).collect::<Vec<_>>().join(", ");
    let texts = [
        HEXLOWER.encode(secret),
        HEXUPPER.encode(secret),
        BASE64_NOPAD.encode(secret),
        BASE64URL_NOPAD.encode(secret),
        listed(&|byte| byte.to_string()),
        listed(&|byte| format!("{byte:02x}")),
        listed(&|byte| format!("{byte:02X}")),
    ];
    texts.into_iter().map(String::into_bytes).chain([secret.to_vec()]).collect()
}

/// As strace writes bytes with `-xx`.
fn traced(value: &[u8]) -> Vec<u8> {
    value.iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).collect()
}

/// Lines of a trace in which something is written to a file that has a path, beginning with a slash in the same form: not to a socket, an eventfd, a memfd.
fn to_files(trace: &[u8]) -> Vec<&[u8]> {
    let lines = trace.split(|byte| *byte == b'\n');
    lines
        .filter(|line| memchr::memmem::find(line, b"write").is_some() && memchr::memmem::find(line, b"<\\x2f").is_some())
        .collect()
}

#[test]
fn t45_pin_puk_and_management_key_of_a_card_are_in_no_log_file_environment_and_on_no_command_line() {
    if !inside("cards::t45_pin_puk_and_management_key_of_a_card_are_in_no_log_file_environment_and_on_no_command_line") {
        return;
    }
    for name in [rig::CONTACT, rig::CONTACTLESS] {
        rig::key(name, |name| std::env::var_os(name)).unwrap().pull().unwrap();
    }
    let key = rig::key(rig::YUBIKEY, |name| std::env::var_os(name)).unwrap();
    key.reset().unwrap();
    key.grant().unwrap();
    key.plug().unwrap();
    let home = Home::new(product()).unwrap();
    let trace = tempfile::tempdir().unwrap();
    let (calls, log) = (trace.path().join("calls"), trace.path().join("log"));
    // Written as Rust's log and tracing have it, for whatever of them there is in the program.
    let daemon = home.command(["daemon"]);
    let mut daemon = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-y",
            "-xx",
            "-s",
            "4096",
            "-e",
            "trace=write,writev,pwrite64,sendto,sendmsg",
            "-o",
        ])
        .arg(&calls)
        .arg(product())
        .arg("daemon")
        .env_clear()
        .envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .envs([("TOUCHLEASE_LOG", "trace"), ("RUST_LOG", "trace")])
        .current_dir(home.work())
        .stdin(Stdio::null())
        .stdout(fs::File::create(trace.path().join("out")).unwrap())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    until("the daemon", || home.places().unwrap().socket().exists());

    let mut secrets: Vec<Vec<u8>> = [PIN, PUK, WRONG].map(|text| text.as_bytes().to_vec()).into();
    let typed: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| shapes(secret)).collect();
    let started_with = CommandLines::watch_for(typed, &["cmdline", "environ"]);
    let again = "the same again: ";
    typing(
        &home,
        &["init", "--piv", "--key", "blue", "--scope", "prod"],
        &[
            ("new PIN: ", PIN),
            (again, PIN),
            ("new PUK: ", PUK),
            (again, PUK),
            ("PIN of \"blue\": ", PIN),
        ],
    );
    fs::write(home.work().join("value"), CANARY).unwrap();
    typing(&home, &["put", "prod/TOKEN", "--from-file", "value"], &[]);
    fs::remove_file(home.work().join("value")).unwrap();
    typing(&home, &["lock"], &[]);
    let run = ["run", "--with", "prod/TOKEN", "--", "true"];
    typing(&home, &run, &[("tries left): ", WRONG), ("tries left): ", PIN)]);
    let (looks, hits) = started_with.seen();
    assert!(looks > 20 && hits == 0, "{hits} hits in {looks} command lines and environments");

    let management_key = outside::Card::connect(rig::YUBIKEY_READER).unwrap().management_key(PIN).unwrap();
    assert_eq!(management_key.len(), 24, "AES-192, as firmware 5.7 has it");
    secrets.push(management_key);
    let status: Value = serde_json::from_slice(&home.run(["--json", "status"]).unwrap().stdout).unwrap();
    signal(u32::try_from(status["pid"].as_u64().unwrap()).unwrap(), "TERM");
    // strace ends with it.
    daemon.wait().unwrap();
    key.pull().unwrap();

    let forms: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| shapes(secret)).collect();
    let (calls, log) = (fs::read(&calls).unwrap(), fs::read(&log).unwrap());
    assert!(
        holds(&log, "DEBUG") && holds(&log, "PinNeeded"),
        "{}",
        String::from_utf8_lossy(&log)
    );
    assert_eq!(leaks(&log, &forms), 0, "{}", String::from_utf8_lossy(&log));
    let seen: Vec<usize> = secrets.iter().map(|secret| leaks(&calls, &[traced(secret)])).collect();
    assert_eq!(
        seen[..3],
        [1, 1, 1],
        "what goes to the worker over its socket is seen, so the trace shows what there is"
    );
    let written = to_files(&calls);
    assert!(written.len() > 20, "{} writes", written.len());
    let traces: Vec<Vec<u8>> = forms.iter().map(|form| traced(form)).collect();
    let dirty: Vec<_> = written.iter().filter(|line| leaks(line, &traces) > 0).collect();
    assert!(dirty.is_empty(), "{} writes", dirty.len());
    let files = left_behind(home.path());
    let dirty: Vec<_> = files
        .iter()
        .filter(|file| leaks(&fs::read(file).unwrap_or_default(), &forms) > 0)
        .collect();
    assert!(dirty.is_empty(), "{dirty:?}");
    println!(
        "T45 PIV: 0 of {} files, {} writes, {looks} command lines and environments, {} lines of log",
        files.len(),
        written.len(),
        log.split(|byte| *byte == b'\n').count()
    );
}
