//! Touches that come, come late, come twice, or do not come.

use std::{thread, time::Duration};

use super::{ended, ensure, eventually, within};
use crate::conformance::{
    Case, Link, Machine, Verdict,
    machine::{LIMIT, Request, runs, said},
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a request that is denied on the screen ends with 60",
        run: denied_on_screen,
    },
    Case {
        name: "a key serves the next request after one that was denied, and where it waits on for that, it is said",
        run: denied_and_asked_again,
    },
    Case {
        name: "a request that is denied on the key ends with 60",
        run: denied_on_key,
    },
    Case {
        name: "a request that nobody touches for ends at its deadline",
        run: timed_out,
    },
    Case {
        name: "a key that gives up is asked again, and a tap serves once",
        run: given_up,
    },
    Case {
        name: "a request whose program goes away leaves no key blinking",
        run: abandoned,
    },
    Case {
        name: "a daemon that is killed leaves no key blinking and no process behind",
        run: daemon_killed,
    },
    Case {
        name: "a key pulled out while it blinks is said, and serves when it is back",
        run: pulled_while_blinking,
    },
    Case {
        name: "a key pulled out before the request serves when it is plugged in late",
        run: plugged_in_late,
    },
    Case {
        name: "two keys are asked, one is touched, and the other is left alone",
        run: two_keys,
    },
    Case {
        name: "a second touch opens nothing and is recorded",
        run: extra_touch,
    },
];

/// Well before a key gives up by itself, at about 30 s.
const SOON: Duration = Duration::from_secs(15);
/// How often two fingers try to touch at once.
const TRIES: usize = 5;
const RUN: &[&str] = &["run", "--with", "prod/TOKEN", "--", "sh", "-c", "echo done"];

fn waiting(machine: &Machine<'_>) -> Result<Request, Box<dyn std::error::Error>> {
    let mut request = machine.request(RUN)?;
    request.watch.expect_within("prod/TOKEN", LIMIT)?;
    Ok(request)
}

fn denied_on_screen(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let mut request = waiting(machine)?;
    if !machine.is_contactless() {
        machine.blinks(0)?;
    }
    request.watch.type_in("d")?;
    ended(&request.finish()?, 60, "a person denied this request")?;
    stops_blinking(machine, 0)
}

fn denied_and_asked_again(machine: &Machine<'_>) -> Verdict {
    const OVER: &str = "still waits for the touch of a request that is over: touch it once, or pull it out";
    machine.vault()?;
    let mut denied = waiting(machine)?;
    if !machine.is_contactless() {
        machine.blinks(0)?;
    }
    denied.watch.type_in("d")?;
    ended(&denied.finish()?, 60, "a person denied this request")?;
    let mut request = waiting(machine)?;
    if machine.rig.link() == Link::Contact {
        // pcscd does not let go of a card in the middle of a transmission, whoever asked for it has ended.
        request.watch.expect_within(&format!("\"blue\" {OVER}"), LIMIT)?;
        request
            .watch
            .expect_within("touch \"blue\" once, for the request that is over", LIMIT)?;
        machine.keys[0].press()?;
        request.watch.expect_within("now: it blinks", LIMIT)?;
    }
    let approved = machine.events("approved")?.len();
    if machine.is_contactless() {
        machine.approve(&mut request)?;
    } else {
        machine.touch(0, &mut request.watch)?;
    }
    let seen = request.watch.output();
    ended(&request.finish()?, 0, "done")?;
    ensure!(machine.events("approved")?.len() == approved + 1, "not one approval");
    ensure!(seen.contains(OVER) == (machine.rig.link() == Link::Contact), "{seen}");
    ensure!(!seen.contains("another program"), "{seen}");
    Ok(())
}

fn denied_on_key(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let mut request = waiting(machine)?;
    if machine.is_contactless() {
        // A card declines as it is tapped. Lifted because the prompt says so, it does not take its PIN with it.
        request.watch.expect_within("take the card off", LIMIT)?;
        machine.keys[0].deny()?;
        machine.keys[0].pull()?;
        request.watch.expect_within("tap the key on", LIMIT)?;
        machine.keys[0].plug()?;
    } else {
        machine.blinks(0)?;
        if !machine.keys[0].refuse()? {
            // No button of this key says no.
            request.watch.type_in("d")?;
            return ended(&request.finish()?, 60, "denied");
        }
    }
    ended(&request.finish()?, 60, "denied on the key")
}

fn timed_out(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.restart("[limits]\nprompt = \"5s\"\n")?;
    let mut request = machine.request(RUN)?;
    let (code, sentence) = if machine.is_contactless() {
        machine.keys[0].pull()?; // the reader is empty, and stays so
        (63, "no security key is connected")
    } else {
        request.watch.expect_within(": ", LIMIT)?;
        request.watch.type_in(&format!("{}\n", crate::key::PIN))?;
        machine.blinks(0)?;
        (61, "nobody touched the key in time")
    };
    ended(&request.finish()?, code, sentence)?;
    stops_blinking(machine, 0)
}

fn given_up(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let mut request = waiting(machine)?;
    if machine.is_contactless() {
        machine.touch(0, &mut request.watch)?;
        ended(&request.finish()?, 0, "done")?;
        // The card still lies there: it serves nobody until it was lifted.
        let mut second = waiting(machine)?;
        second.watch.expect_within("then tap it again", LIMIT)?;
        second.watch.type_in("d")?;
        return ended(&second.finish()?, 60, "denied");
    }
    machine.blinks(0)?;
    let asked = machine.keys[0].counts()?.asked;
    machine.keys[0].expire()?;
    while machine.keys[0].counts()?.asked == asked {
        thread::sleep(Duration::from_millis(10));
    }
    machine.touch(0, &mut request.watch)?;
    ended(&request.finish()?, 0, "done")
}

fn abandoned(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let mut watch = machine.home.watch()?;
    let mut program = machine.home.terminal(["rm", "prod/TOKEN"])?;
    program.expect("removes")?;
    if !machine.is_contactless() {
        machine.blinks(0)?;
    }
    drop(program);
    stops_blinking(machine, 0)?;
    // The next one is asked as if nothing had been.
    let output = machine.home.run(["list", "--json"])?;
    ensure!(said(&output).contains("prod/TOKEN"), "{}", said(&output));
    watch.skip();
    Ok(())
}

fn daemon_killed(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let request = waiting(machine)?;
    if !machine.is_contactless() {
        machine.blinks(0)?;
    }
    let left_behind = machine.kill_daemon()?;
    ended(&request.finish()?, 69, "the daemon stopped")?;
    within(SOON, "a worker outlived its daemon", || {
        Ok(!left_behind.iter().any(|pid| runs(*pid)))
    })?;
    stops_blinking(machine, 0)?;
    machine.start_daemon()?;
    ended(&machine.approved(RUN)?, 0, "done")
}

fn pulled_while_blinking(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let mut request = waiting(machine)?;
    if machine.is_contactless() {
        request.watch.expect_within("then tap it again", LIMIT)?;
    } else {
        machine.blinks(0)?;
    }
    machine.keys[0].pull()?;
    let said_so = if machine.is_contactless() {
        "tap the key on"
    } else {
        "was pulled out"
    };
    request.watch.expect_within(said_so, LIMIT)?;
    machine.keys[0].plug()?;
    machine.approve(&mut request)?;
    ended(&request.finish()?, 0, "done")
}

fn plugged_in_late(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.keys[0].pull()?;
    machine.is_gone("blue")?;
    let mut request = waiting(machine)?;
    let invitation = match machine.rig.link() {
        Link::Usb => "plug in",
        Link::Contact => "insert the key into a reader",
        Link::Contactless => "tap it on one",
    };
    request.watch.expect_within(invitation, LIMIT)?;
    if machine.is_contactless() {
        machine.keys[0].tap()?;
    }
    machine.keys[0].plug()?;
    machine.approve(&mut request)?;
    ended(&request.finish()?, 0, "done")
}

fn two_keys(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.spare()?;
    let mut request = waiting(machine)?;
    if machine.is_contactless() {
        request.watch.expect_within("then tap it again", LIMIT)?;
    } else {
        machine.blinks(0)?;
        machine.blinks(1)?;
    }
    let before = machine.keys[0].counts()?;
    machine.touch(1, &mut request.watch)?;
    ended(&request.finish()?, 0, "done")?;
    stops_blinking(machine, 0)?;
    ensure!(machine.keys[0].counts()?.given == before.given, "the other key gave a touch");
    let approved = machine.events("approved")?;
    ensure!(
        approved.last().is_some_and(|event| event.to_string().contains("spare")),
        "{approved:?}"
    );
    Ok(())
}

fn extra_touch(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.spare()?;
    if machine.is_contactless() {
        return second_tap(machine);
    }
    // Two fingers at once: where the second is too late, the key was told so before, and it is tried again.
    for _ in 0..TRIES {
        let before = [machine.keys[0].counts()?.given, machine.keys[1].counts()?.given];
        let approved = machine.events("approved")?.len();
        let request = waiting(machine)?;
        machine.blinks(0)?;
        machine.blinks(1)?;
        let [first, second] = machine.keys.clone();
        let finger = thread::spawn(move || first.press().is_ok());
        second.press()?;
        ensure!(finger.join().unwrap_or(false), "the key cannot be told");
        ended(&request.finish()?, 0, "done")?;
        ensure!(machine.events("approved")?.len() == approved + 1, "not one approval");
        stops_blinking(machine, 0)?;
        stops_blinking(machine, 1)?;
        if [machine.keys[0].counts()?.given, machine.keys[1].counts()?.given] == before.map(|given| given + 1) {
            return eventually("no extra touch in the log", || Ok(machine.events("extra_touch")?.len() == 1));
        }
    }
    Err(format!("in {TRIES} tries never two touches at once").into())
}

/// A card that comes second finds nobody who asks.
fn second_tap(machine: &Machine<'_>) -> Verdict {
    let before = machine.events("approved")?.len();
    let mut request = waiting(machine)?;
    machine.touch(1, &mut request.watch)?;
    ended(&request.finish()?, 0, "done")?;
    machine.keys[0].tap()?;
    machine.keys[0].pull()?;
    machine.keys[0].plug()?;
    ensure!(machine.events("approved")?.len() == before + 1, "not one approval");
    ensure!(machine.events("extra_touch")?.is_empty(), "a touch that no key gave");
    Ok(())
}

/// A key that waits on after its request ended would spend a touch on nothing. Over USB it is told; a wait in PC/SC is one that no call
/// ends, so there it ends when the key gives up.
fn stops_blinking(machine: &Machine<'_>, which: usize) -> Verdict {
    let limit = if machine.rig.link() == Link::Usb { SOON } else { LIMIT };
    within(limit, "the key blinks on", || Ok(!machine.keys[which].counts()?.waiting))
}
