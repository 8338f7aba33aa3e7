//! The daemon's own log: what happened, and nothing that anybody could use.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use hw_tests::key::{KeyHandle, PIN};
use touchlease::config::Config;

use crate::{
    hygiene::{forms, leaks},
    lab::{CANARY, Lab, holds, typing},
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn t45_the_log_at_trace_tells_the_steps_of_a_lease_and_no_secret_pin_or_recovery_code() {
    const WRONG: &str = "no-such-pin-4471";
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let lab = Lab::empty(Config::default());
    lab.key.set_pin().unwrap();
    let shown = typing(&lab.home, &["init", "--key", "blue"], &[("tries left): ", PIN)]);
    let code = shown
        .split_whitespace()
        .find(|word| word.split('-').count() == 9)
        .unwrap()
        .to_owned();
    typing(&lab.home, &["put", "prod/TOKEN"], &[("value of prod/TOKEN", CANARY)]);
    lab.person(&["lock"]);
    let run = ["run", "--with", "prod/TOKEN", "--", "true"];
    typing(&lab.home, &run, &[("tries left): ", WRONG), ("tries left): ", PIN)]);
    lab.key.pull().unwrap();
    let green = lab.reach.add().unwrap();
    let recover = ["recover", "green", "--lost", "blue"];
    let shown = typing(&lab.home, &recover, &[("recovery code (not shown): ", &code)]);
    let new = shown
        .split_whitespace()
        .find(|word| word.split('-').count() == 9)
        .unwrap()
        .to_owned();
    lab.until("the end", || lab.status()["leases"] == 0);
    let log = log.0.lock().unwrap().clone();
    let text = String::from_utf8(log.clone()).unwrap();
    let lease = &text[text.find("900 s").unwrap()..];
    let mut from = 0;
    for step in ["shown: ", "PinNeeded", "touched: \"blue\"", "delivered: lease ", "ended: lease "] {
        let at = lease[from..].find(step);
        from += at.unwrap_or_else(|| panic!("{step:?} does not come in its turn in\n{text}"));
    }
    assert_eq!(leaks(&log, &forms(CANARY)), 0, "{text}");
    for secret in [WRONG, &code, &new] {
        let encoded = [BASE64.encode(secret.as_bytes()), BASE64URL_NOPAD.encode(secret.as_bytes())];
        let plain = secret.replace('-', "");
        let shapes = [secret, &plain, &secret.to_lowercase(), &encoded[0], &encoded[1]];
        assert!(shapes.iter().all(|shape| !holds(&log, shape)), "{secret} in\n{text}");
    }
    // Six digits may stand in a hash: as a word of its own they must not.
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    assert!(!words.any(|word| word == PIN || word == BASE64.encode(PIN.as_bytes())), "{text}");
    assert!(!text.contains("prod/TOKEN"), "{text}");
    println!("T45: {} lines of the daemon's log at trace, 0 hits", text.lines().count());
    drop(green);
}
