//! Commands in the agents' own sandboxes, whose way out is the lease's proxy.

use std::{
    io,
    net::{IpAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex},
    thread,
};

use super::{model::PLACEHOLDER, *};
use crate::proxy::beyond::{NAME, leading_to};
use touchlease::config::Config;

/// An address of this machine that is no loopback: sandboxes take those for their own. Nothing is sent for it.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket
        .connect("192.0.2.1:9")
        .expect("an address of this machine that is no loopback");
    socket.local_addr().unwrap().ip()
}

/// The same server under that address: its port.
fn relay(address: IpAddr, to: u16) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for one in listener.incoming().map_while(Result::ok) {
            let other = TcpStream::connect(("127.0.0.1", to)).unwrap();
            for (mut from, mut to) in [(one.try_clone().unwrap(), other.try_clone().unwrap()), (other, one)] {
                // Whoever goes away in the middle has gone.
                thread::spawn(move || drop(io::copy(&mut from, &mut to).and_then(|_| to.shutdown(std::net::Shutdown::Write))));
            }
        }
    });
    port
}

/// Starts a command where the runtime folder is in memory, as a login makes `/run/user/1000`: the file of certificates is in it then, and
/// not in `/dev/shm`, which both sandboxes replace. In a mount namespace of its own, where names may stand for other addresses.
const LOGGED_IN: &str = r#"set -e
[ -z "$HOSTS" ] || mount --bind "$HOSTS" /etc/hosts
mount -t tmpfs -o mode=700 tmpfs "$MEMORY"
mkdir -m 700 "$MEMORY/touchlease"
mount --bind "$XDG_RUNTIME_DIR/touchlease" "$MEMORY/touchlease"
export XDG_RUNTIME_DIR="$MEMORY"
exec "$@""#;

struct Place {
    desk: Desk,
    upstream: Upstream,
    address: IpAddr,
    host: String,
}

impl Place {
    fn new(client: Client) -> Self {
        let desk = Desk::new(client);
        let address = own_address();
        let upstream = Upstream::tls(&desk.bench.authority, &[&address.to_string()]);
        let host = format!("{address}:{}", relay(address, upstream.port));
        desk.bench.lab.put("prod/OUT", CANARY.as_bytes(), &["--host", &host]);
        Self {
            desk,
            upstream,
            address,
            host,
        }
    }

    /// With the credential, and around the proxy.
    fn script(&self) -> String {
        let url = format!("https://{}/api/x", self.host);
        format!(
            "curl -sS -m 20 --noproxy '' -w ' %{{http_code}}\\n' -H \"Authorization: Bearer $OUT\" {url}; curl -sS -k -m 5 --noproxy '*' -o /dev/null {url}; echo direct $?"
        )
    }

    /// The value arrived, once, and what the sandbox said has nothing of it.
    fn arrived(&self, said: &str) {
        assert!(said.contains("fine 200"), "{said}");
        assert!(
            said.contains("direct") && !said.contains("direct 0"),
            "the sandbox has another way out: {said}"
        );
        assert!(!said.contains(CANARY), "{said}");
        let seen = self.upstream.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
    }
}

/// The same command behind a proxy of ours, by `run`, as an agent's client is started in a terminal.
fn behind(desk: &Desk, run: &[&str], hosts: &str, command: &Command) -> Command {
    let home = &desk.bench.lab.home;
    let memory = home.path().join("memory");
    fs::create_dir(&memory).unwrap();
    let run = home.detached([&["run"], run, &["--"]].concat());
    let mut there = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        there.arg("--map-root-user");
    }
    there.args(["--mount", "--propagation", "private", "sh", "-c", LOGGED_IN, "sh"]);
    there.arg(run.get_program()).args(run.get_args());
    there.arg(command.get_program()).args(command.get_args());
    there
        .env_clear()
        .current_dir(home.work())
        .env("MEMORY", &memory)
        .env("HOSTS", hosts);
    for set in [run.get_envs(), command.get_envs()] {
        there.envs(set.filter_map(|(name, value)| Some((name, value?))));
    }
    there.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    there
}

#[test]
#[ignore = "needs hw-tests/with-agents"]
fn p7_a_command_in_sandbox_runtime_uses_a_credential_through_its_proxy_and_ours() {
    let place = Place::new(Client::Claude);
    let settings = place.desk.home().join("srt.json");
    let network = json!({"allowedDomains": [place.address.to_string()], "deniedDomains": []});
    let files = json!({"denyRead": [], "allowWrite": ["."], "denyWrite": []});
    fs::write(&settings, json!({"network": network, "filesystem": files}).to_string()).unwrap();
    let mut srt = Command::new(rig("CLIENT_NODE"));
    srt.arg(rig("AGENT_SRT"))
        .args(["--settings", &settings.display().to_string(), "-c", &place.script()]);
    let run = ["--network", "open", "--with", "OUT=prod/OUT"];
    let out = behind(&place.desk, &run, "", &srt).output().unwrap();
    place.arrived(&format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    ));
    println!("sandbox-runtime: 1 of 1 requests");
}

#[test]
#[ignore = "needs hw-tests/with-agents"]
fn a_command_of_ours_in_codexs_sandbox_says_what_keeps_it_and_which_setting_helps() {
    let desk = Desk::new(Client::Codex);
    let program = crate::product().display().to_string();
    let model = Model::start(vec![Step::Shell(format!("{program} status; echo exit $?")), Step::Say("done")]);
    desk.run(&model, &["--sandbox", "workspace-write"]);
    let results = model.results();
    assert_eq!(results.len(), 1, "{results:?}");
    for part in [
        "a sandbox keeps this command",
        "touchlease connect codex",
        "network_access = true",
        "exit 69",
    ] {
        assert!(results[0].contains(part), "{part} in {results:?}");
    }
    // With the setting that is named, it does.
    let model = Model::start(vec![Step::Shell(format!("{program} status; echo exit $?")), Step::Say("done")]);
    desk.run(
        &model,
        &["--sandbox", "workspace-write", "-c", "sandbox_workspace_write.network_access=true"],
    );
    assert!(model.results()[0].contains("exit 0"), "{:?}", model.results());
}

/// What a company's settings of Codex have, so that what its commands send goes through the proxy above its own.
fn lease_profile(name: &str) -> String {
    let page = include_str!("../../../../docs/agents.md");
    let (_, profile) = page
        .split_once("```toml\n# ~/.codex/config.toml\n")
        .expect("the page has the profile");
    let (profile, _) = profile.split_once("```").unwrap();
    assert_eq!(profile.matches("api.example.com").count(), 1, "{profile}");
    profile.replace("api.example.com", name)
}

/// Codex's proxy goes itself to what is of this machine or a private network, and asks the one above it for the rest. So the host's name stands
/// for an address of the Internet where Codex looks, the daemon does not know it, and a proxy beyond ours leads to the host.
#[test]
#[ignore = "needs hw-tests/with-agents"]
fn p7_a_command_in_codexs_default_sandbox_uses_a_lease_through_its_proxy_and_ours_and_is_refused_afterwards() {
    let to = Arc::<Mutex<u16>>::default();
    let (beyond, asked) = leading_to(to.clone());
    let bench = Bench::with(Config {
        proxy_upstream: Some(format!("http://localhost:{beyond}").parse().unwrap()),
        ..Config::default()
    });
    let upstream = Upstream::tls(&bench.authority, &[NAME]);
    *to.lock().unwrap() = upstream.port;
    let desk = Desk::over(Client::Codex, bench, upstream, NAME);
    let tasks = desk.bench.lab.home.work().join("touchlease.toml");
    let named = fs::read_to_string(&tasks).unwrap() + &format!("hosts = [\"{NAME}\"]\n");
    fs::write(&tasks, named).unwrap();
    let settings = desk.home().join(".codex/config.toml");
    let own = fs::read_to_string(&settings).unwrap();
    // What stands alone has to stand in front.
    let (alone, tables) = own.split_at(own.find("\n[").unwrap());
    let profile = lease_profile(NAME);
    let (default, profile) = profile.split_once("\n\n").unwrap();
    fs::write(&settings, format!("{alone}\n{default}\n{tables}\n{profile}")).unwrap();
    let hosts = desk.home().join("hosts");
    let others = fs::read_to_string("/etc/hosts").unwrap_or_default();
    fs::write(&hosts, format!("{others}\n93.184.215.14 {NAME}\n")).unwrap();
    let url = format!("https://{NAME}/api/x");
    let with = |token: &str| {
        Step::Shell(format!(
            "curl -sS -m 20 -w ' %{{http_code}}\\n' -H 'Authorization: Bearer {token}' {url}"
        ))
    };
    let lease = || json!({"lease": "L1"});
    let model = Model::start(vec![
        with("none"),
        Step::Lease("request_lease", json!({"task": "deploy", "reason": "the docs are ready"})),
        Step::Lease("wait_lease", lease()),
        with(PLACEHOLDER),
        Step::Shell(format!("curl -sS -k -m 5 --noproxy '*' -o /dev/null {url}; echo direct $?")),
        Step::Lease("end_lease", lease()),
        with(PLACEHOLDER),
        Step::Say("done"),
    ]);
    fs::create_dir_all(desk.home().join("tmp")).unwrap();
    let codex = desk.agent(&model, &[]);
    let run = ["--proxy", "--network", "granted-only"];
    let out = behind(&desk, &run, &hosts.display().to_string(), &codex).output().unwrap();
    let results = model.results();
    assert!(out.status.success() && results.len() == 7, "{results:?} {out:?}");
    for (result, part) in results
        .iter()
        .zip(["lease_needed", "pending", "live", "fine 200", "direct ", "ended", "lease_ended"])
    {
        assert!(result.contains(part), "{part} in {results:?}");
    }
    assert!(!results[4].contains("direct 0"), "the sandbox has another way out: {results:?}");
    let seen = desk.upstream.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
    assert!(!model.heard().contains(CANARY) && !format!("{out:?}").contains(CANARY));
    let asked = asked.lock().unwrap();
    assert!(asked.contains(&format!("CONNECT {NAME}:443 HTTP/1.1")), "{asked:?}");
    println!("Codex's sandbox: 1 of 1 requests, and 2 of 2 without a lease refused");
}
