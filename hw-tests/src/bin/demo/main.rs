//! The main job, before somebody's eyes: `hw-tests/demo` runs this inside `with-readers`, or alone with `--real`.
#![allow(clippy::disallowed_methods, reason = "a show runs in real time")]

mod hand;
mod receipt;
mod server;
mod stage;

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::{self, Child, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use hand::Hand;
use hw_tests::{
    harness::{Home, Terminal},
    key::KeyHandle,
};
use server::Server;
use stage::Stage;

type Failure = Box<dyn std::error::Error>;

/// Longer than any prompt stays open.
const PATIENCE: Duration = Duration::from_secs(400);
const PIN: &str = "123456";
const TOKEN: &str = "prod/API_TOKEN";
const TTL: &str = "5s";

/// What the agent runs. It is careless with its token, on purpose.
const RELEASE: &str = "\
#!/bin/sh
echo \"my token is $API_TOKEN\"
echo \"and in base64: $(printf %s \"$API_TOKEN\" | base64)\"
curl --silent --header \"Authorization: Bearer $API_TOKEN\" \"$1\"
echo \"waiting for the next release\"
sleep 600
";

fn main() -> ExitCode {
    let real = env::args().nth(1).as_deref() == Some("--real");
    match Demo::new(real).and_then(Demo::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\r\ndemo: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Demo {
    stage: Stage,
    hand: Hand,
    home: Home,
}

impl Demo {
    fn new(real: bool) -> Result<Self, Failure> {
        // The product lies beside this program.
        let home = Home::new(env::current_exe()?.with_file_name("touchlease"))?;
        let socket = home.places()?.socket();
        let hand = Hand::new(real, move || {
            end_daemon(&socket);
            process::exit(130);
        })?;
        Ok(Self {
            stage: Stage::new(),
            hand,
            home,
        })
    }

    fn run(mut self) -> Result<(), Failure> {
        self.welcome();
        let token = format!("tok_{}", random()?);
        let server = Server::start(token.clone())?;
        self.make_vault()?;
        self.add_key()?;
        self.put(&token)?;
        self.lend(&server, &token)?;
        self.refuse(&server)?;
        self.verify()?;
        self.stage.end();
        Ok(())
    }

    fn welcome(&self) {
        let stage = &self.stage;
        stage.say("touchlease: borrow a secret by touching a security key, don't keep it.");
        match (self.hand.keys(), self.hand.is_person()) {
            (None, _) => stage
                .say("The keys are yours, and so are the touches and PINs. Nothing is stored on them, and nothing they hold is changed."),
            (Some(_), true) => {
                stage.say(
                    "The keys are emulated: the firmware of real ones, as smart cards behind pcscd. All else is as it will be for you.",
                );
                stage.say("Enter touches the key when it blinks. PINs are typed for you.");
            }
            (Some(_), false) => {
                stage.say(
                    "The keys are emulated: the firmware of real ones, as smart cards behind pcscd. All else is as it will be for you.",
                );
                stage.say("There is no terminal here, so the demo touches the keys and types their PINs by itself.");
            }
        }
    }

    fn make_vault(&mut self) -> Result<(), Failure> {
        self.stage.step("A vault that opens with a touch on the key \"blue\"");
        if let Some(keys) = self.hand.keys() {
            keys.contactless.pull()?;
        }
        self.hand.ready()?;
        self.on_terminal(&["init", "--key", "blue"], &[])?;
        Ok(())
    }

    fn add_key(&mut self) -> Result<(), Failure> {
        self.stage.step("A second key, so that losing one locks nobody out");
        let Some(keys) = self.hand.keys() else {
            self.stage
                .say("Plug in the second key too. With only one, press d: the demo goes on without.");
            let (status, _) = self.show(&["key", "add", "spare"], &[])?;
            let said = if status.success() {
                "Put it away again."
            } else {
                "So it stays at one."
            };
            self.stage.say(said);
            return Ok(());
        };
        keys.second.plug()?;
        self.on_terminal(&["key", "add", "spare"], &[])?;
        keys.second.pull()?;
        self.stage.say("The spare goes back into its drawer.");
        // pcscd looks every 400 ms, and the next prompt would tell of the removal.
        thread::sleep(Duration::from_millis(800));
        Ok(())
    }

    fn put(&mut self, token: &str) -> Result<(), Failure> {
        self.stage.step("Two secrets, sealed with one touch");
        self.stage
            .say("The demo types the values: a token that a web server will ask for, and a password.");
        let password = random()?;
        let typed = [("value of prod/API_TOKEN", token), ("value of prod/DB_PASSWORD", &password)];
        self.on_terminal(&["put", TOKEN, "prod/DB_PASSWORD"], &typed)?;
        self.on_terminal(&["list"], &[])?;
        Ok(())
    }

    /// An agent asks, a person touches, the program runs, the lease ends.
    fn lend(&mut self, server: &Server, token: &str) -> Result<(), Failure> {
        self.stage.step("An agent borrows the token for 5 seconds, to run this");
        let script = self.home.work().join("release.sh");
        fs::write(&script, RELEASE)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        self.stage.lines(RELEASE);
        self.stage.say("Its side, without a terminal:");
        let (mut watch, mut agent) = self.ask(server)?;
        self.stage.say("Yours, in another terminal, where `touchlease watch` is open:");
        self.stage.release();
        watch.expect_within("approved", PATIENCE)?;
        self.stage
            .say("Touched, so the program runs. Its output is masked, the server's answer too:");
        drop(watch);
        let said = agent.rest(&self.stage)?;
        let status = agent.child.wait()?;
        let masked = "<touchlease:prod/API_TOKEN>";
        holds(server.let_in() == 1, "the server saw the token once")?;
        holds(said.contains(&format!("my token is {masked}")), "the token is masked")?;
        holds(said.contains(&format!("Bearer {masked}")), "the server's echo is masked")?;
        holds(!said.contains(token), "the token is nowhere in the output")?;
        holds(
            said.contains("the lease is over") && !status.success(),
            "the program is ended with the lease",
        )?;
        self.stage
            .say("The server got the real token. Then the 5 seconds were over, and the program with them.");
        Ok(())
    }

    fn refuse(&mut self, server: &Server) -> Result<(), Failure> {
        self.stage.step("The agent asks again, and nobody touches the key");
        self.hand.away()?;
        let (mut watch, mut agent) = self.ask(server)?;
        if self.hand.is_person() {
            self.stage
                .say("Press d, which denies it; or wait for a minute, until nobody has touched it in time.");
        } else {
            self.stage.say("The demo presses d, which denies it.");
        }
        self.stage.release();
        watch.expect_within("d deny", PATIENCE)?;
        if !self.hand.is_person() {
            watch.type_in("d")?;
        }
        let status = agent.child.wait()?;
        // Both are an honest no, and which one it is is the person's choice.
        let (on_screen, said) = match status.code() {
            Some(61) if self.hand.is_person() => ("in time", "Exit code 61: nobody touched the key in time. Nothing was handed out."),
            _ => ("denied", "Exit code 60: denied. Nothing was handed out."),
        };
        holds(
            matches!(status.code(), Some(60 | 61)),
            "the agent is told: denied (exit code 60) or timed out (61)",
        )?;
        watch.expect(on_screen)?;
        drop(watch);
        agent.rest(&self.stage)?;
        holds(server.let_in() == 1, "the server saw no second request")?;
        self.stage.say(said);
        Ok(())
    }

    fn verify(&mut self) -> Result<(), Failure> {
        self.stage
            .step("The receipt, verified with stock tools: the steps of docs/verify.md");
        let log = self.home.run(["audit", "show", "--json"])?;
        let id = receipt::last_lease(&log.stdout)?;
        let folder = self.home.work().join("receipt");
        self.on_terminal(&["audit", "export", &id, "receipt"], &[])?;
        let found = receipt::verify(&folder)?;
        self.stage.lines(&found);
        holds(found.contains("Good \"touchlease-lease\" signature"), "ssh-keygen says Good")?;
        holds(found.contains("touch: yes"), "the flags byte says touched")?;
        holds(self.hand.keys().is_none() || found.contains("PIN: yes"), "the flags byte says PIN")?;
        holds(found.contains("client data: exact"), "the client data is ours")?;
        self.stage
            .say("The flags byte is part of what the key signed: 0x01 it was touched, 0x04 it had checked the PIN.");
        self.on_terminal(&["audit", "verify", "--since", "receipt"], &[])?;
        Ok(())
    }

    /// Opens a watch, whose output is held, and lets the agent ask.
    fn ask(&self, server: &Server) -> Result<(Terminal, Agent), Failure> {
        self.stage.hold();
        let mut watch = self.terminal(&["watch"])?;
        watch.expect("requests appear here")?;
        self.hand.attend(&watch)?;
        let with = format!("API_TOKEN={TOKEN}");
        let url = server.url();
        let command = [
            "run",
            "--with",
            &with,
            "--ttl",
            TTL,
            "--reason",
            "release 1.4",
            "--",
            "./release.sh",
            &url,
        ];
        self.stage.command(&format!(
            "touchlease run --with {TOKEN} --ttl {TTL} --reason \"release 1.4\" -- ./release.sh URL"
        ));
        let mut agent = Agent::start(
            self.home
                .detached(command)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?,
        )?;
        agent.first(&self.stage);
        Ok((watch, agent))
    }

    /// Shows a command of the product that has to succeed.
    fn on_terminal(&self, arguments: &[&str], typed: &[(&str, &str)]) -> Result<String, Failure> {
        let (status, shown) = self.show(arguments, typed)?;
        if status.success() {
            Ok(shown)
        } else {
            Err(format!("touchlease {} failed ({status})", arguments.join(" ")).into())
        }
    }

    /// Runs the product on a terminal that is shown, types what is asked for, and the PIN of an emulated key.
    fn show(&self, arguments: &[&str], typed: &[(&str, &str)]) -> Result<(process::ExitStatus, String), Failure> {
        self.stage.command(&format!("touchlease {}", arguments.join(" ")));
        let mut terminal = self.terminal(arguments)?;
        self.hand.attend(&terminal)?;
        for (prompt, answer) in typed {
            terminal.expect(prompt)?;
            terminal.type_in(&format!("{answer}\n"))?;
        }
        if self.hand.keys().is_some() {
            while terminal.expect_within("tries left): ", PATIENCE).is_ok() {
                terminal.type_in(&format!("{PIN}\n"))?;
            }
        }
        Ok(terminal.finish_within(PATIENCE)?)
    }

    fn terminal(&self, arguments: &[&str]) -> io::Result<Terminal> {
        let terminal = Terminal::start_with(&self.home.command(arguments), self.stage.echo())?;
        terminal.resize(self.stage.columns(), hw_tests::harness::ROWS)?;
        Ok(terminal)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Ok(places) = self.home.places() {
            end_daemon(&places.socket());
        }
    }
}

/// A program without a terminal, and what it says.
struct Agent {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Agent {
    fn start(mut child: Child) -> Result<Self, Failure> {
        let (sender, lines) = mpsc::channel();
        let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        for pipe in [stdout, stderr].into_iter().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let _ = sender.send(line); // the show was broken off
                }
            });
        }
        Ok(Self { child, lines })
    }

    /// Shows what it says at once: that it waits for a touch.
    fn first(&mut self, stage: &Stage) {
        let mut patience = Duration::from_secs(5);
        while let Ok(line) = self.lines.recv_timeout(patience) {
            stage.lines(&line);
            patience = Duration::from_millis(300);
        }
    }

    /// Shows and gives the rest, to its end.
    fn rest(&mut self, stage: &Stage) -> Result<String, Failure> {
        let mut all = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    stage.lines(&line);
                    all += &line;
                    all.push('\n');
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(all),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn holds(fact: bool, what: &str) -> Result<(), Failure> {
    if fact {
        Ok(())
    } else {
        Err(format!("this did not hold: {what}").into())
    }
}

fn random() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The daemon that the first command started is in nobody's way, but its home is about to go.
fn end_daemon(socket: &PathBuf) {
    let peer = UnixStream::connect(socket).and_then(|socket| Ok(rustix::net::sockopt::socket_peercred(&socket)?));
    if let Ok(peer) = peer {
        let _ = rustix::process::kill_process(peer.pid, rustix::process::Signal::TERM); // it has just ended by itself
    }
}
