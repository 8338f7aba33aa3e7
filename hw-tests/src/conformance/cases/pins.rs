//! PINs: typed, wrong, kept, forgotten.

use super::{ended, ensure};
use crate::{
    conformance::{
        Case, Machine, Verdict,
        machine::{LIMIT, said},
    },
    key::PIN,
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a wrong PIN at enrolment is asked for again, and costs the key one try",
        run: wrong_at_enrolment,
    },
    Case {
        name: "a wrong PIN is asked for again, and costs the key one try",
        run: wrong,
    },
    Case {
        name: "a prompt without its PIN ends with 66",
        run: not_typed,
    },
    Case {
        name: "three wrong PINs block a key until it is pulled out",
        run: blocked,
    },
    Case {
        name: "a PIN typed ahead is kept until everything is locked",
        run: kept,
    },
];

const RUN: &[&str] = &["run", "--with", "prod/TOKEN", "--", "sh", "-c", "echo done"];

fn tries(machine: &Machine<'_>) -> Result<u64, Box<dyn std::error::Error>> {
    let info = machine.json(&["key", "info"])?;
    info["pin_tries"].as_u64().ok_or_else(|| format!("no tries: {info}").into())
}

fn wrong_at_enrolment(machine: &Machine<'_>) -> Verdict {
    let mut init = machine.home.terminal(["init", "--key", "blue", "--scope", "prod"])?;
    init.expect_within("PIN of \"blue\" (8 tries left): ", LIMIT)?;
    init.type_in("not the PIN\n")?;
    init.expect_within("wrong PIN; PIN of \"blue\" (7 tries left): ", LIMIT)?;
    ensure!(tries(machine)? == 7, "{} tries left after one entry", tries(machine)?);
    init.type_in(&format!("{PIN}\n"))?;
    machine.attend(&mut init, PIN, &mut || false)?;
    let (status, shown) = init.finish()?;
    ensure!(status.success(), "{status} {shown}");
    Ok(())
}

fn wrong(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.json(&["lock"])?;
    let mut request = machine.request(RUN)?;
    asked_for(machine, &mut request.watch, "(8 tries left): ")?;
    request.watch.type_in("not the PIN\n")?;
    asked_for(machine, &mut request.watch, "(7 tries left): ")?;
    ensure!(
        request.watch.output().contains("rong PIN"),
        "it is not said: {}",
        request.watch.output()
    );
    ensure!(tries(machine)? == 7, "{} tries left after one entry", tries(machine)?);
    request.watch.type_in(&format!("{PIN}\n"))?;
    machine.approve(&mut request)?;
    ended(&request.finish()?, 0, "done")?;
    ensure!(tries(machine)? == 8, "the right PIN gives all tries back");
    Ok(())
}

/// Waits for the question; in a field a card has to be tapped to be asked for its PIN.
fn asked_for(machine: &Machine<'_>, watch: &mut crate::harness::Terminal, question: &str) -> Verdict {
    if machine.is_contactless() {
        let since = std::time::Instant::now();
        while !watch.unseen().contains(question) {
            ensure!(since.elapsed() < LIMIT, "no {question:?}: {}", watch.output());
            if machine.wants_tap(watch) {
                machine.retap(0, watch)?;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    watch.expect_within(question, LIMIT)?;
    Ok(())
}

fn not_typed(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    // pcscd takes seconds to see a card that comes back.
    let open = if machine.is_contactless() { "15s" } else { "6s" };
    machine.restart(&format!("[limits]\nprompt = \"{open}\"\n"))?;
    if machine.is_contactless() {
        machine.keys[0].pull()?;
        machine.is_gone("blue")?;
    }
    let mut request = machine.request(RUN)?;
    if machine.is_contactless() {
        request.watch.expect_within("tap it on one", LIMIT)?;
        machine.keys[0].plug()?;
    }
    request.watch.expect_within("tries left): ", LIMIT)?;
    ended(&request.finish()?, 66, "PIN is needed")?;
    ensure!(tries(machine)? == 8, "a try was used");
    Ok(())
}

fn blocked(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.json(&["lock"])?;
    let mut request = machine.request(RUN)?;
    for left in [8, 7, 6] {
        asked_for(machine, &mut request.watch, &format!("({left} tries left): "))?;
        request.watch.type_in("not the PIN\n")?;
    }
    if machine.is_contactless() {
        // Each tap is a power-up, after which a key takes three more (CTAP 2.1, 6.5.5.6).
        asked_for(machine, &mut request.watch, "(5 tries left): ")?;
        request.watch.type_in(&format!("{PIN}\n"))?;
        machine.approve(&mut request)?;
        return ended(&request.finish()?, 0, "done");
    }
    ended(&request.finish()?, 66, "until it is pulled out")?;
    ensure!(tries(machine)? == 5, "{} tries left after three entries", tries(machine)?);
    machine.keys[0].pull()?;
    machine.keys[0].plug()?;
    let output = machine.approved(RUN)?;
    ended(&output, 0, "done")
}

fn kept(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.json(&["lock"])?;
    let mut screen = machine.home.terminal(["unlock", "blue", "--keep", "10m"])?;
    screen.expect_within(": ", LIMIT)?;
    screen.type_in(&format!("{PIN}\n"))?;
    let (status, shown) = screen.finish()?;
    ensure!(status.success() && shown.contains("kept for 10 min"), "{status} {shown}");

    let mut request = machine.request(RUN)?;
    machine.approve(&mut request)?;
    let seen = request.watch.output();
    // Also where the card has to be lifted and tapped: that is what the prompt asked for.
    ensure!(!seen.contains("PIN of"), "it asked for the PIN: {seen}");
    ended(&request.finish()?, 0, "done")?;

    machine.json(&["lock"])?;
    let mut request = machine.request(RUN)?;
    asked_for(machine, &mut request.watch, "tries left): ")?;
    request.watch.type_in("\u{3}")?;
    let output = request.finish()?;
    ensure!(output.status.code() == Some(60), "{}", said(&output));
    Ok(())
}
