//! What a lease gives, and how it ends.

use std::time::{Duration, Instant};

use super::{ended, ensure};
use crate::conformance::{Case, Machine, Verdict, machine::said};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a command gets a secret in its environment, and its output is masked",
        run: environment,
    },
    Case {
        name: "a command gets a secret as a private file that is gone afterwards",
        run: file,
    },
    Case {
        name: "a task of a task file is run with its command",
        run: task,
    },
    Case {
        name: "one lease serves a process as often as its uses say, and not once more",
        run: uses,
    },
    Case {
        name: "an expired lease ends its command",
        run: expiry,
    },
    Case {
        name: "a lease is requested, listed, shown and given back",
        run: given_back,
    },
    Case {
        name: "a revoked lease ends its command",
        run: revoked,
    },
    Case {
        name: "what rules forbid is refused without a prompt",
        run: forbidden,
    },
    Case {
        name: "no key is armed without a screen",
        run: no_screen,
    },
];

fn environment(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let output = machine.approved(&[
        "run",
        "--with",
        "prod/TOKEN",
        "--",
        "sh",
        "-c",
        "echo \"<$TOKEN>\"; echo $TOKEN >&2; exit 7",
    ])?;
    ended(&output, 7, "<<touchlease:prod/TOKEN>>\n")?;
    ensure!(!said(&output).contains("correct-horse"), "not masked: {}", said(&output));
    Ok(())
}

fn file(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let script = "echo $TOKEN > place; stat -c %a \"$TOKEN\" > mode; test \"$(cat $TOKEN)\" = correct-horse-battery";
    let output = machine.approved(&["run", "--with-file", "TOKEN=prod/TOKEN", "--", "sh", "-c", script])?;
    ensure!(output.status.success(), "{}", said(&output));
    let read = |name: &str| std::fs::read_to_string(machine.home.work().join(name));
    ensure!(["400\n", "600\n"].contains(&&*read("mode")?), "mode {}", read("mode")?);
    ensure!(!std::path::Path::new(read("place")?.trim()).exists(), "the file is still there");
    Ok(())
}

fn task(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let text = "[task.deploy]\nabout = \"Deploy\"\ncommand = [\"sh\", \"-c\", \"test ${#KEY} = 21\"]\n\
                [[task.deploy.grant]]\nsecret = \"prod/TOKEN\"\nvia = \"env\"\nenv = \"KEY\"\n";
    std::fs::write(machine.home.work().join("touchlease.toml"), text)?;
    let mut request = machine.request(&["run", "--task", "deploy"])?;
    request.watch.expect("deploy: Deploy")?;
    machine.approve(&mut request)?;
    let output = request.finish()?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}

/// A shell that holds the lease; the product's path is its first argument.
fn shell(machine: &Machine<'_>, script: &str) -> std::process::Command {
    let product = machine.home.command::<&str>([]);
    let mut shell = std::process::Command::new("setsid");
    shell.args(["--wait", "sh", "-c", script, "sh"]).arg(product.get_program());
    shell.env_clear();
    shell.envs(product.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(machine.home.work());
    shell
}

/// Runs the script of [`shell`], with a person who approves.
fn scripted(machine: &Machine<'_>, script: &str) -> Result<std::process::Output, Box<dyn std::error::Error>> {
    use std::process::Stdio;
    let mut watch = machine.home.watch()?;
    let mut child = shell(machine, script)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    machine.attend(&mut watch, crate::key::PIN, &mut || !matches!(child.try_wait(), Ok(None)))?;
    Ok(child.wait_with_output()?)
}

fn uses(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let script = "set -e
        $1 lease request --with prod/TOKEN --uses 2 > /dev/null
        for n in 1 2; do $1 run --with prod/TOKEN -- sh -c 'echo used'; done
        $1 lease list --json
        $1 run --with prod/TOKEN -- sh -c 'echo again'";
    let before = machine.events("approved")?.len();
    let output = scripted(machine, script)?;
    ensure!(output.status.success(), "{}", said(&output));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(printed.matches("used").count() == 2 && printed.contains("again"), "{printed}");
    ensure!(printed.contains("\"leases\":[]"), "a lease without uses is still live: {printed}");
    let approved = machine.events("approved")?.len() - before;
    ensure!(
        approved == 2,
        "{approved} touches: one for two uses and one for the third were expected"
    );
    let used = machine.events("used")?.len();
    ensure!(used == 3, "{used} uses in the log");
    Ok(())
}

fn expiry(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let since = Instant::now();
    let output = machine.approved(&["run", "--ttl", "1s", "--with", "prod/TOKEN", "--", "sleep", "600"])?;
    ensure!(said(&output).contains("the lease is over"), "{}", said(&output));
    ensure!(
        !output.status.success() && since.elapsed() < Duration::from_secs(120),
        "{}",
        said(&output)
    );
    let why = machine.events("ended")?;
    ensure!(why.iter().any(|end| end.to_string().contains("time")), "{why:?}");
    Ok(())
}

fn given_back(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let script = "set -e
        $1 lease request --with prod/TOKEN > /dev/null
        id=$($1 lease list | cut -d ' ' -f 1)
        $1 lease show $id
        $1 lease end $id
        $1 lease list --json";
    let output = scripted(machine, script)?;
    ended(&output, 0, "\"leases\":[]")?;
    let printed = said(&output);
    for part in [
        "prod/TOKEN",
        "words",
        "\"kind\":\"lease\"",
        "-----BEGIN SSH SIGNATURE-----",
        "1 lease ended",
    ] {
        ensure!(printed.contains(part), "no {part:?} in {printed}");
    }
    ensure!(!printed.contains("correct-horse"), "the value is shown");
    Ok(())
}

fn revoked(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let mut request = machine.request(&["run", "--with", "prod/TOKEN", "--", "sh", "-c", "echo > started; exec sleep 600"])?;
    let started = machine.home.work().join("started");
    machine.attend(&mut request.watch, crate::key::PIN, &mut || started.exists())?;
    let ended_now = machine.json(&["lease", "revoke", "--all"])?;
    ensure!(ended_now["ended"].as_array().map(Vec::len) == Some(1), "{ended_now}");
    let output = request.finish()?;
    ensure!(
        !output.status.success() && said(&output).contains("the lease is over"),
        "{}",
        said(&output)
    );
    Ok(())
}

fn forbidden(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.done(&["edit", "prod/TOKEN", "--allow", "file"])?;
    let asked = machine.keys[0].counts()?.asked;
    let _watch = machine.home.watch()?;
    let output = machine.home.run(["run", "--with", "prod/TOKEN", "--", "true"])?;
    ended(&output, 62, "do not allow delivery by env")?;
    ensure!(machine.keys[0].counts()?.asked == asked, "the key was asked");
    Ok(())
}

fn no_screen(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let asked = machine.keys[0].counts()?.asked;
    let output = machine.home.run(["run", "--with", "prod/TOKEN", "--", "true"])?;
    ended(&output, 67, "touchlease watch")?;
    ensure!(machine.keys[0].counts()?.asked == asked, "the key was asked");
    Ok(())
}
