//! Keys into a vault, and out of it.

use super::ensure;
use crate::conformance::{Case, Link, Machine, Verdict};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a vault is made with a key and its PIN",
        run: init_with_pin,
    },
    Case {
        name: "a key is enrolled for touch only, but not in a field",
        run: init_touch_only,
    },
    Case {
        name: "a second key is added, and either opens alone",
        run: second_key,
    },
    Case {
        name: "a key is not enrolled twice",
        run: enrolled_twice,
    },
    Case {
        name: "a removed key opens nothing any more",
        run: removed,
    },
    Case {
        name: "a scope gets a new key by one touch, and a key that is not there stays in",
        run: rotated,
    },
    Case {
        name: "a key that is not enrolled opens nothing",
        run: not_enrolled,
    },
    Case {
        name: "a key that was reset since it was enrolled opens nothing",
        run: reset,
    },
    Case {
        name: "keys are listed and described without a touch",
        run: described,
    },
    Case {
        name: "a PIN is set and changed over USB, and nowhere else",
        run: pin_set,
    },
];

fn init_with_pin(machine: &Machine<'_>) -> Verdict {
    let shown = machine.done(&["init", "--key", "blue", "--scope", "prod"])?;
    ensure!(shown.contains("Recovery code"), "no recovery code: {shown}");
    ensure!(!shown.contains("touch-only"), "not the PIN profile: {shown}");
    ensure!(!shown.contains(crate::key::PIN), "the PIN was echoed");
    let keys = machine.json(&["key", "list"])?;
    ensure!(keys["keys"][0]["profile"] == "pin", "{keys}");
    let again = machine.person(&["init", "--key", "again", "--scope", "prod"])?;
    ensure!(again.0.code() == Some(65), "a second vault in the same folder: {}", again.1);
    Ok(())
}

fn init_touch_only(machine: &Machine<'_>) -> Verdict {
    let (status, shown) = machine.person(&["init", "--key", "blue", "--scope", "prod", "--touch-only"])?;
    if machine.is_contactless() {
        ensure!(status.code() == Some(62), "{status} {shown}");
        ensure!(shown.contains("cannot be used over NFC"), "{shown}");
        ensure!(!machine.home.places()?.vault.exists(), "it left a vault");
        return Ok(());
    }
    ensure!(status.success() && shown.contains("this key is touch-only"), "{status} {shown}");
    machine.put("TOKEN", "correct-horse-battery")?;
    machine.json(&["lock"])?;
    let output = machine.approved(&["run", "--with", "prod/TOKEN", "--", "sh", "-c", "test ${#TOKEN} = 21"])?;
    ensure!(output.status.success(), "it does not open without PIN: {output:?}");
    Ok(())
}

fn second_key(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.spare()?;
    for alone in [1, 0] {
        machine.keys[1 - alone].pull()?;
        machine.keys[alone].plug()?;
        let output = machine.approved(&["run", "--with", "prod/TOKEN", "--", "sh", "-c", "echo $TOKEN"])?;
        ensure!(
            output.status.success(),
            "key {alone}: {}",
            crate::conformance::machine::said(&output)
        );
    }
    let approved = machine.events("approved")?.len();
    ensure!(approved >= 2, "{approved} approvals");
    Ok(())
}

fn enrolled_twice(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let mut screen = machine.home.terminal(["key", "add", "again"])?;
    screen.expect("plug in the key to enrol")?;
    screen.type_in("d")?;
    let (status, shown) = screen.finish()?;
    ensure!(status.code() == Some(60), "{status} {shown}");
    let keys = machine.json(&["key", "list"])?;
    ensure!(keys["keys"].as_array().map(Vec::len) == Some(1), "{keys}");
    Ok(())
}

fn removed(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.spare()?;
    machine.keys[1].pull()?;
    let shown = machine.done(&["key", "remove", "spare"])?;
    ensure!(shown.contains("prod/TOKEN"), "it does not say what the key could read: {shown}");
    machine.keys[0].pull()?;
    machine.keys[1].plug()?;
    refuses(machine, "not enrolled")
}

fn rotated(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.spare()?;
    machine.keys[1].pull()?;
    let given = machine.keys[0].counts()?.given;
    let shown = machine.done(&["rotate", "prod"])?;
    ensure!(shown.contains("prod has a new key"), "{shown}");
    let touches = machine.keys[0].counts()?.given - given;
    ensure!(touches == 1, "{touches} touches");
    for alone in [0, 1] {
        machine.keys[1 - alone].pull()?;
        machine.keys[alone].plug()?;
        let output = machine.approved(&["run", "--with", "prod/TOKEN", "--", "sh", "-c", "test ${#TOKEN} = 21"])?;
        ensure!(
            output.status.success(),
            "key {alone}: {}",
            crate::conformance::machine::said(&output)
        );
    }
    Ok(())
}

fn not_enrolled(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.keys[0].pull()?;
    machine.keys[1].plug()?;
    refuses(machine, "not enrolled")
}

fn reset(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.keys[0].pull()?;
    machine.keys[0].reset()?;
    machine.keys[0].plug()?;
    refuses(machine, "reset since")
}

/// A request on the watch shows why the key cannot serve, and ends at its deadline with 63.
fn refuses(machine: &Machine<'_>, why: &str) -> Verdict {
    let before = machine.events("approved")?.len();
    machine.is_gone("blue")?;
    let mut request = machine.request(&["run", "--with", "prod/TOKEN", "--", "true"])?;
    request.watch.expect_within(why, crate::conformance::machine::LIMIT)?;
    request.watch.type_in("d")?;
    super::ended(&request.finish()?, 60, "denied")?;
    ensure!(machine.events("approved")?.len() == before, "something was approved");
    Ok(())
}

fn described(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let given = machine.keys[0].counts()?.given;
    let keys = machine.json(&["key", "list"])?;
    ensure!(
        keys["keys"][0]["name"] == "blue" && keys["keys"][0]["scopes"][0] == "prod",
        "{keys}"
    );
    let info = machine.json(&["key", "info", "blue"])?;
    ensure!(info["pin_tries"] == 8, "{info}");
    ensure!(info["key"]["transport"] == keys["keys"][0]["transport"], "{info}");
    ensure!(info["details"].as_array().is_some_and(|rows| rows.len() > 3), "{info}");
    machine.keys[0].pull()?;
    machine.is_gone("blue")?;
    ensure!(machine.keys[0].counts()?.given == given, "it took a touch");
    Ok(())
}

fn pin_set(machine: &Machine<'_>) -> Verdict {
    machine.keys[0].pull()?;
    machine.keys[0].reset()?;
    machine.keys[0].plug()?;
    // A node belongs to root until udev has looked at it.
    super::eventually("the key cannot serve", || {
        let keys = machine.json(&["key", "list"])?;
        Ok(keys["keys"].as_array().is_some_and(|keys| keys.len() == 1) && keys["keys"][0]["problem"].is_null())
    })?;
    // The library that cares for keys opens a node: where there is none no PIN comes to be set, and none can be changed.
    let (set, change) = match machine.rig.link() {
        Link::Usb if machine.rig.has_nodes() => ((0, ""), (0, "")),
        Link::Usb => ((63, "pulled out"), (66, "the key has no PIN")),
        _ => ((62, "over USB only"), (62, "over USB only")),
    };
    for (questions, arguments, (code, sentence)) in [
        (&["new PIN: ", "the same again: "][..], ["key", "pin", "set"], set),
        (
            &["present PIN: ", "new PIN: ", "the same again: "],
            ["key", "pin", "change"],
            change,
        ),
    ] {
        let mut screen = machine.home.terminal(arguments)?;
        // Nobody types a PIN that is of no use.
        let asked = if matches!(code, 0 | 63) { questions } else { &[] };
        for question in asked {
            screen.expect(question)?;
            screen.type_in("first-pin\n")?;
        }
        let (status, shown) = screen.finish()?;
        ensure!(
            status.code() == Some(code) && shown.contains(sentence),
            "{arguments:?}: {status} {shown}"
        );
        ensure!(!shown.contains("first-pin"), "the PIN was echoed");
    }
    let tries = machine.json(&["key", "info"])?["pin_tries"].clone();
    let wanted = if machine.rig.has_nodes() {
        serde_json::json!(8)
    } else {
        serde_json::Value::Null
    };
    ensure!(tries == wanted, "tries: {tries}");
    Ok(())
}
