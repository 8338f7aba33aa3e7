//! The ways of asking that `docs/tasks.md` shows work as it says.

use std::{fs, path::Path};

use hw_tests::{
    harness::{EmulatedReach, Home},
    key::KeyHandle,
};

const TASKS: &str = r#"
[task.deploy]
about = "Deploy the docs"
command = ["sh", "-c", "cat \"$KEY_FILE\"; echo \" $TOKEN\""]
uses = 2

[[task.deploy.grant]]
secret = "prod/TOKEN"
via = "env"
env = "TOKEN"

[[task.deploy.grant]]
secret = "prod/SSH_KEY"
via = "file"
env = "KEY_FILE"
"#;

#[test]
fn each_way_of_asking_delivers_and_a_held_lease_needs_one_touch() {
    let reach = EmulatedReach::default();
    let key = reach.add().unwrap();
    // Cargo gives the paths of this package's programs only; the product's lies beside them.
    let product = Path::new(env!("CARGO_BIN_EXE_emukey")).with_file_name("touchlease");
    let home = Home::new(&product).unwrap();
    let _daemon = home.daemon(reach).unwrap();
    home.terminal(["init", "--touch-only"]).unwrap().finish().unwrap();
    for (secret, value) in [("prod/TOKEN", "first-secret"), ("prod/SSH_KEY", "second-secret")] {
        fs::write(home.work().join("value"), value).unwrap();
        let (status, shown) = home.terminal(["put", secret, "--from-file", "value"]).unwrap().finish().unwrap();
        assert!(status.success(), "{shown}");
    }
    fs::write(home.work().join("touchlease.toml"), TASKS).unwrap();
    fs::write(home.work().join(".env"), "PLAIN=plain\nTOKEN=touchlease://prod/TOKEN\n").unwrap();
    fs::create_dir(home.work().join("below")).unwrap();
    let _watch = home.watch().unwrap();
    let both = "<touchlease:prod/SSH_KEY> <touchlease:prod/TOKEN>\n";
    for (arguments, expected) in [
        (vec!["run", "--task", "deploy"], both),
        (
            vec![
                "run",
                "--with",
                "T=prod/TOKEN",
                "--with-file",
                "F=prod/SSH_KEY",
                "--ttl",
                "5m",
                "--reason",
                "release 1.4",
                "--",
                "sh",
                "-c",
                "cat \"$F\"; echo \" $T\"",
            ],
            both,
        ),
        (
            vec!["run", "--env-file", ".env", "--", "sh", "-c", "echo $PLAIN $TOKEN"],
            "plain <touchlease:prod/TOKEN>\n",
        ),
        (
            vec!["run", "--no-masking", "--with", "prod/TOKEN", "--", "sh", "-c", "echo $TOKEN"],
            "first-secret\n",
        ),
    ] {
        let ran = home.run(&arguments).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&ran.stdout),
            expected,
            "{arguments:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    let before = key.counts().unwrap().given;
    let script =
        "cd below; touchlease lease request --task deploy > /dev/null && touchlease run --task deploy && touchlease run --task deploy";
    let mut shell = std::process::Command::new("setsid");
    let environment = home.command([""; 0]);
    shell.args(["--wait", "sh", "-c", script]).env_clear();
    shell.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let path = format!("{}:{}", product.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let ran = shell.env("PATH", path).current_dir(home.work()).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        both.repeat(2),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert_eq!(key.counts().unwrap().given, before + 1);
}
