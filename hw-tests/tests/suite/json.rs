//! `--json`: one object from every command that there is.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use hw_tests::{harness::Terminal, key::KeyHandle};
use serde_json::Value;

use crate::{
    docs,
    lab::{Lab, product},
};

/// Which commands have printed their object.
struct Printed<'a> {
    lab: &'a Lab,
    commands: Vec<String>,
    seen: BTreeSet<String>,
}

impl Printed<'_> {
    /// Past the brakes on prompts. Notes which command this line is.
    fn begin(&mut self, line: &str) {
        self.lab.clock.suspend(Duration::from_secs(70));
        let is = |command: &&String| {
            line.split(' ')
                .skip_while(|word| word.starts_with('-') || word.starts_with("../"))
                .eq_by_start(command)
        };
        let command = self.commands.iter().find(is);
        self.seen.insert(command.unwrap_or_else(|| panic!("{line} is no command")).clone());
    }

    /// One object with more in it than its version, and no more.
    fn object(line: &str, printed: &[u8]) -> Value {
        let said: Value =
            serde_json::from_slice(printed).unwrap_or_else(|error| panic!("{line}: {error}: {}", String::from_utf8_lossy(printed)));
        assert_eq!(said["v"], 1, "{line}: {said}");
        assert!(said.as_object().unwrap().len() > 1, "{line}: {said}");
        assert_eq!(printed.iter().filter(|byte| **byte == b'\n').count(), 1, "{line}");
        said
    }

    /// A command of a program without a terminal.
    fn by_an_agent(&mut self, line: &str) -> Value {
        self.begin(line);
        let out = self.lab.agent_to_its_end(&with_json(line));
        let said = Self::object(line, &out.stdout);
        assert!(out.status.success() && said["error"].is_null(), "{line}: {said}");
        said
    }

    /// One that says why not.
    fn refused(&mut self, line: &str) {
        self.begin(line);
        let out = self.lab.agent_to_its_end(&with_json(line));
        let said = Self::object(line, &out.stdout);
        assert!(!out.status.success() && said["error"]["reason"].is_string(), "{line}: {said}");
    }

    /// One at a person's terminal, with what is typed: the prompt is on the terminal, the object on standard output.
    fn by_a_person(&mut self, line: &str, typed: Option<(&str, &str)>) -> Value {
        self.begin(line);
        let file = self.lab.home.work().join("object");
        let environment = self.lab.home.command([""; 0]);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec {} --json {line} > object", product().display())])
            .env_clear()
            .envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(self.lab.home.work());
        let mut screen = Terminal::start(&command).unwrap();
        if let Some((question, answer)) = typed {
            screen.expect(question).unwrap();
            screen.type_in(&format!("{answer}\n")).unwrap();
        }
        let (status, shown) = screen.finish().unwrap();
        assert!(
            status.success(),
            "{line}: {shown}{}",
            String::from_utf8_lossy(&fs::read(&file).unwrap())
        );
        Self::object(line, &fs::read(file).unwrap())
    }
}

/// Whether words begin with those of a command.
trait Begins {
    fn eq_by_start(self, command: &str) -> bool;
}

impl<'a, I: Iterator<Item = &'a str>> Begins for I {
    fn eq_by_start(self, command: &str) -> bool {
        let words = command.split(' ');
        self.take(words.clone().count()).eq(words)
    }
}

fn with_json(line: &str) -> Vec<&str> {
    ["--json"].into_iter().chain(line.split(' ')).collect()
}

#[test]
fn every_command_prints_one_json_object_and_nothing_else() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    fs::write(lab.home.work().join("value"), "0123456789").unwrap();
    fs::write(lab.home.work().join("x.env"), "IMPORTED=0123456789\n").unwrap();
    let mut printed = Printed {
        lab: &lab,
        commands: docs::cli::commands(),
        seen: BTreeSet::new(),
    };
    for line in [
        "put prod/NEW --from-file value",
        "edit prod/NEW --max-ttl 1m",
        "list",
        "rm prod/NEW",
        "import x.env --scope prod",
        "merge",
        "key list",
        "key info",
        "scope list",
        "status",
        "doctor",
        "audit show",
        "audit verify",
        "audit accept-clock",
        "backup create archive",
        "backup verify archive",
        "--vault ../restored backup restore archive",
        "completions bash",
        "connect codex --yes",
        "connect claude --remove --yes",
    ] {
        printed.by_an_agent(line);
    }
    // A lease needs somebody in its own session to hold it.
    printed.begin("lease request");
    let requested = lab.child(&["--json", "lease", "request", "--with", "prod/TOKEN"]);
    let granted = Printed::object("lease request", &requested.wait_with_output().unwrap().stdout);
    let id = granted["lease"]["id"].as_str().unwrap();
    for line in [
        "lease list",
        "lease show ID",
        "audit export ID receipt",
        "lease end ID",
        "lease revoke --all",
        "lock",
    ] {
        printed.by_an_agent(&line.replace("ID", id));
    }
    printed.by_a_person("--vault ../other init", None);
    let id = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOpKbEo/mkoQkCzLnDsdEBr+0sBNxgVuJQnW82hYPV4n";
    std::fs::write(lab.home.work().join("id.pub"), id).unwrap();
    std::fs::create_dir(lab.home.work().join("bare")).unwrap();
    lab.reach.add().unwrap();
    for line in [
        "export --scope prod --out values",
        "key add spare",
        "scope add web --key blue",
        "key admit spare --scope web",
        "scope rename web pages",
        "scope remove pages",
        "rotate prod --key blue",
        "key remove spare --key blue",
        "vault join",
        "vault accept-older",
        "signer add deployer --scope prod --issuer https://id.example --aud https://registry.example",
        "token prod/deployer --aud https://registry.example",
        "signer rotate prod/deployer",
        "signer add ca --scope prod --principal deploy",
        "ssh cert prod/ca --key id.pub",
        "signer add git --scope prod --namespace git",
        "scan bare",
    ] {
        printed.by_a_person(line, None);
    }
    let revoked = "ssh krl krl --anyway --lease 0123456789abcdef0123456789abcdef";
    for line in [
        "signer list",
        "signer show prod/deployer",
        "issuer export site",
        "issuer check site",
        "ssh ca prod/ca",
        "ssh allowed-signers prod/git",
        revoked,
    ] {
        printed.by_an_agent(line);
    }
    printed.by_a_person("signer remove prod/deployer", None);
    let code = printed.by_a_person("vault new-code", None)["recovery_code"]
        .as_str()
        .unwrap()
        .to_owned();
    lab.key.pull().unwrap();
    let recover = "recover green --lost blue --touch-only";
    let recovered = printed.by_a_person(recover, Some(("recovery code (not shown): ", &code)));
    assert_ne!(recovered["recovery_code"], code.as_str());
    // What stands on the standard output of `mcp` is for the agent's client alone (T33).
    printed.begin("mcp");
    let out = lab.agent_to_its_end(&with_json("mcp --workspace nowhere"));
    assert!(!out.status.success() && out.stdout.is_empty() && !out.stderr.is_empty(), "{out:?}");
    // The same of `hook`, which says all that it has to say by its exit code and in words: nothing came, so nothing is let through.
    printed.begin("hook");
    let out = lab.agent_to_its_end(&with_json("hook codex"));
    assert!(
        out.status.code() == Some(2) && out.stdout.is_empty() && !out.stderr.is_empty(),
        "{out:?}"
    );
    // `run` prints what its command prints, `watch` goes on; PINs and fingerprints are typed and felt. All of them fail alike.
    for line in [
        "run --with prod/NONE -- true",
        "ssh agent prod/NONE",
        "exchange openbao prod/NONE -- true",
        "watch",
        "unlock",
        "key pin set",
        "key pin change",
        "key credentials",
        "key fingerprint list",
        "key fingerprint add thumb",
        "key fingerprint rename 00 thumb",
        "key fingerprint remove 00",
    ] {
        printed.refused(line);
    }
    // It serves until it is ended, and prints nothing.
    printed.seen.insert("daemon".into());
    let missing: Vec<_> = printed.commands.iter().filter(|command| !printed.seen.contains(*command)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
