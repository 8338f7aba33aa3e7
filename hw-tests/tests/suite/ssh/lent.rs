//! Clients of the agent that the daemon serves itself, for as long as they sign in a lease that time alone limits.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use data_encoding::BASE64;
use hw_tests::key::KeyHandle;
use serde_json::{Value, json};
use touchlease::encoding::ssh_signed_data::{Hash, SignedData};

use super::agent::{Agent, Client, FAILURE, Host, SESSION, is_signed, string, userauth};
use super::lab;
use crate::lab::Lab;

/// A lab with `prod/git`, and an agent for that and `prod/ca`.
fn both() -> (Lab, Agent) {
    let (lab, _) = lab("eddsa", &["deploy"], &["--max-uses", "any"]);
    let add = ["signer", "add", "git", "--scope", "prod", "--alg", "es256"];
    let may = ["--namespace", "git", "--namespace", "file", "--max-uses", "any"];
    lab.person(&[&add[..], &may].concat());
    let agent = Agent::of(&lab, "prod/ca", &["prod/git", "--uses", "any", "--ttl", "2m"]);
    (lab, agent)
}

fn data(namespace: &str, byte: u8) -> Vec<u8> {
    let (namespace, digest) = (namespace.to_owned(), vec![byte; 64]);
    let hash = Hash::Sha512;
    SignedData { namespace, hash, digest }.to_blob()
}

/// A client that the daemon serves by now: the first signature takes the touch, the second one lends it.
fn lent(agent: &Agent) -> (Client, Vec<u8>) {
    let mut client = agent.connect();
    let key = client.certificate();
    for byte in 0..2 {
        assert!(is_signed(&client.sign(&key, &data("git", byte))), "{}", agent.said());
    }
    (client, key)
}

#[test]
fn t22_while_a_client_signs_in_its_lease_the_agent_has_no_part_in_it_and_has_all_else_that_it_says() {
    let (lab, agent) = both();
    let _watch = lab.home.watch().unwrap();
    let before = lab.key.counts().unwrap().given;
    let (mut client, key) = lent(&agent);
    let listed = agent.while_stopped(|| {
        for byte in 2..40 {
            assert!(is_signed(&client.sign(&key, &data("git", byte))));
            assert_eq!(
                lab.count("used"),
                usize::from(byte) + 1,
                "each is in the log when its signature is there"
            );
        }
        lab.json(&["lease", "list"])
    });
    assert_eq!(listed["leases"][0]["used"], 40, "{listed}");
    // Another key, another namespace, no signed data, a question, something unknown, half of it known.
    for (other, what) in [
        (&key[..key.len() - 1], data("git", 0)),
        (&key, data("mail", 0)),
        (&key, userauth(&SESSION, "deploy", &key, None)),
        (&key, [&data("git", 0)[..], &[0]].concat()),
    ] {
        assert_eq!(client.sign(other, &what), FAILURE);
        assert!(is_signed(&client.sign(&key, &data("git", 7))));
    }
    assert_eq!(client.certificate(), key);
    assert_eq!(client.ask(&[200, 1, 2]), FAILURE);
    assert_eq!(
        client.ask(&[&[13][..], &string(&key), &string(&data("git", 1)), &[0, 0, 0, 2]].concat()),
        FAILURE
    );
    // One that speaks of a session then is a login's, and signs no such thing.
    let host = Host::new(1);
    assert!(is_signed(&client.sign(&key, &data("git", 1))));
    assert_eq!(client.ask(&host.bind(&SESSION, false)), [6]);
    assert_eq!(client.sign(&key, &data("git", 1)), FAILURE);
    assert_eq!(lab.key.counts().unwrap().given, before + 1);
    lab.prints(&["audit", "verify"]);
}

#[test]
fn t22_a_login_in_a_live_lease_is_the_daemons_and_a_session_that_is_forwarded_or_not_proven_is_refused_as_ever() {
    let (lab, agent) = both();
    let _watch = lab.home.watch().unwrap();
    let (host, wrong) = (Host::new(1), Host::new(2));
    let mut first = agent.connect();
    assert_eq!(first.ask(&host.bind(&SESSION, false)), [6]);
    let certificate = first.certificate();
    let login = userauth(&SESSION, "deploy", &certificate, Some(&host.key()));
    let mut second = agent.connect();
    assert_eq!(second.ask(&host.bind(&SESSION, false)), [6]);
    agent.while_stopped(|| {
        assert_eq!(second.certificate(), certificate);
        assert!(is_signed(&second.sign(&certificate, &login)));
    });
    // What the lease is not for goes back, with the session, and is refused there; then it is as good as before.
    for data in [
        userauth(&SESSION, "root", &certificate, Some(&host.key())),
        userauth(&[8; 32], "deploy", &certificate, Some(&host.key())),
        userauth(&SESSION, "deploy", &certificate, Some(&wrong.key())),
        userauth(&SESSION, "deploy", &certificate, None),
        data("git", 1),
    ] {
        assert_eq!(second.sign(&certificate, &data), FAILURE);
        assert!(is_signed(&second.sign(&certificate, &login)));
    }
    assert_eq!(second.ask(&wrong.bind(&SESSION, false)), FAILURE, "a second session");
    assert_eq!(second.sign(&certificate, &login), FAILURE);
    let used = lab.count("used");
    for (bind, said) in [
        (host.bind(&SESSION, true), "was forwarded"),
        (host.bind_by(&wrong, &SESSION), "not proven with which server"),
        (host.bind_by(&host, &[8; 32])[..90].to_vec(), ""),
    ] {
        let mut client = agent.connect();
        assert_eq!(client.ask(&bind), FAILURE);
        assert_eq!(client.sign(&certificate, &login), FAILURE);
        lab.until(said, || agent.said().contains(said));
    }
    assert_eq!(lab.count("used"), used);
}

#[test]
fn t16_p4_a_lease_that_ends_in_a_flood_signs_nothing_after_and_half_a_frame_is_gone_on_with_by_the_agent() {
    let (lab, agent) = both();
    let watch = lab.home.watch().unwrap();
    let host = Host::new(1);
    let mut first = agent.connect();
    first.ask(&host.bind(&SESSION, false));
    let certificate = first.certificate();
    let login = userauth(&SESSION, "deploy", &certificate, Some(&host.key()));
    let signed = AtomicUsize::new(0);
    let (mut half, key) = lent(&agent);
    let frame = string(&[&[13][..], &string(&key), &string(&data("git", 9)), &[0; 4]].concat());
    half.0.write_all(&frame[..50]).unwrap();
    thread::scope(|scope| {
        let flood = || {
            let mut client = agent.connect();
            client.ask(&host.bind(&SESSION, false));
            while is_signed(&client.sign(&certificate, &login)) {
                signed.fetch_add(1, Ordering::SeqCst);
            }
            // Refused from there on.
            assert_eq!(client.sign(&certificate, &login), FAILURE);
        };
        let clients = [flood; 3].map(|flood| scope.spawn(flood));
        lab.until("a flood", || signed.load(Ordering::SeqCst) > 60);
        lab.prints(&["lease", "revoke", "--all"]);
        for client in clients {
            client.join().unwrap();
        }
    });
    assert_eq!(lab.count("used"), signed.load(Ordering::SeqCst) + 2);
    let before = lab.key.counts().unwrap().given;
    half.0.write_all(&frame[50..]).unwrap();
    assert!(is_signed(&half.answer()), "{}", agent.said());
    assert_eq!(lab.key.counts().unwrap().given, before + 1, "for a touch of its own");
    drop(watch);
    lab.prints(&["audit", "verify"]);
}

#[test]
fn t12_64_clients_are_served_at_a_time_and_the_next_one_too() {
    let (lab, agent) = both();
    let _watch = lab.home.watch().unwrap();
    let (first, key) = lent(&agent);
    let mut clients = vec![first];
    for _ in 1..64 {
        let mut client = agent.connect();
        assert!(is_signed(&client.sign(&key, &data("git", 2))));
        clients.push(client);
    }
    agent.while_stopped(|| {
        for client in &mut clients {
            assert!(is_signed(&client.sign(&key, &data("git", 3))));
        }
    });
    // The oldest gives way.
    assert!(is_signed(&agent.connect().sign(&key, &data("git", 4))));
    assert!(clients.remove(0).is_hung_up_on(&[11]));
    for client in &mut clients {
        assert!(is_signed(&client.sign(&key, &data("git", 5))));
    }
}

/// A connection that holds a lease of `prod/git`, in the daemon's own protocol.
struct Holder {
    socket: UnixStream,
    lines: BufReader<UnixStream>,
    asks: Child,
    /// It ends with this.
    _ours: UnixStream,
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.asks.kill();
        let _ = self.asks.wait();
    }
}

impl Holder {
    fn new(lab: &Lab, uses: Value) -> Self {
        // Another process asks: the screen is somebody else's to it.
        let (ours, theirs) = UnixStream::pair().unwrap();
        let connect = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                       o = socket.socket(fileno=0)\nsocket.send_fds(o, [b'x'], [s.fileno()])\ns.close()\no.recv(1)";
        let asks = Command::new("python3")
            .args(["-c", connect, &lab.socket()])
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .unwrap();
        let (_, connected) = touchlease::sys::pass::receive(&ours, &mut [0]).unwrap();
        let socket = UnixStream::from(connected.into_iter().next().unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let lines = BufReader::new(socket.try_clone().unwrap());
        let mut holder = Self {
            socket,
            lines,
            asks,
            _ours: ours,
        };
        let signature = json!({"digest": "07".repeat(64), "hash": "sha512", "namespace": "git"});
        let grant = json!({"secret": "prod/git", "via": "signer", "signature": signature});
        let request = json!({"do": "lease", "deliver": true, "with": [grant], "uses": uses});
        holder.say(&json!({"v": 1, "request": request}));
        let reply = holder.hear("reply");
        assert_eq!(reply["reply"], "granted", "{reply}");
        holder
    }

    fn say(&mut self, line: &Value) {
        writeln!(self.socket, "{line}").unwrap();
    }

    fn lend(&mut self, id: u64, said: &[u8], beside: &[BorrowedFd<'_>]) {
        let line = json!({"answer": "lend", "id": id, "frames": BASE64.encode(said)});
        let line = format!("{line}\n");
        assert_eq!(
            touchlease::sys::pass::send(&self.socket, line.as_bytes(), beside).unwrap(),
            line.len()
        );
    }

    fn hear(&mut self, member: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the daemon hung up");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line.get(member).is_some() {
                return line;
            }
        }
    }
}

#[test]
fn t19_what_is_lent_is_a_connected_stream_socket_of_the_user_and_of_a_lease_with_a_limit_none_is() {
    let (lab, agent) = both();
    let _watch = lab.home.watch().unwrap();
    let key = agent.connect().certificate();
    let frame = string(&[&[13][..], &string(&key), &string(&data("git", 7)), &[0; 4]].concat());
    let mut holder = Holder::new(&lab, json!("any"));
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let listens = UnixListener::bind(folder.path().join("s")).unwrap();
    let garbage: [OwnedFd; 4] = [
        std::fs::File::open("/proc/self/comm").unwrap().into(),
        std::io::pipe().unwrap().0.into(),
        connected.into(),
        listens.into(),
    ];
    let same = |id: u64| json!({"event": "back", "id": id, "frames": BASE64.encode(&frame)});
    for (id, fd) in (1..).zip(&garbage) {
        holder.lend(id, &frame, &[fd.as_fd()]);
        assert_eq!(holder.hear("event"), same(id));
    }
    holder.lend(9, &frame, &[]);
    assert_eq!(holder.hear("event"), same(9), "none came");
    // A good one is served, gone on with, and given back with what is not the lease's matter.
    let (mut client, daemon) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    holder.lend(10, &[&frame[..], &frame[..9]].concat(), &[daemon.as_fd()]);
    drop(daemon);
    let mut signed = Client(client.try_clone().unwrap());
    assert!(is_signed(&signed.answer()));
    client.write_all(&frame[9..]).unwrap();
    assert!(is_signed(&signed.answer()));
    client.write_all(&[0, 0, 0, 1, 11, 0, 0]).unwrap();
    assert_eq!(
        holder.hear("event"),
        json!({"event": "back", "id": 10, "frames": BASE64.encode(&[0, 0, 0, 1, 11, 0, 0])})
    );
    // One that hangs up, or says a frame that is none, is closed.
    for (id, last) in [(11, None), (12, Some([0; 4]))] {
        let (mut client, daemon) = UnixStream::pair().unwrap();
        holder.lend(id, &[], &[daemon.as_fd()]);
        if let Some(last) = last {
            client.write_all(&last).unwrap();
        }
        drop(client);
        assert_eq!(holder.hear("event"), json!({"event": "back", "id": id, "closed": true}));
    }
    // What cannot be read has an answer of its own, in its order.
    holder.say(&json!({"answer": "sign"}));
    holder.say(&json!({"answer": "sign", "data": BASE64.encode(&data("git", 7))}));
    assert_eq!(holder.hear("event")["refused"]["reason"], "protocol");
    assert!(holder.hear("event")["signature"].is_string());
    // At the end of the lease all that are lent come back before it is said.
    let (client, daemon) = UnixStream::pair().unwrap();
    holder.lend(13, &frame[..20], &[daemon.as_fd()]);
    lab.until("the client", || lab.json(&["lease", "list"])["leases"][0]["used"] == 3);
    lab.prints(&["lease", "revoke", "--all"]);
    assert_eq!(
        holder.hear("event"),
        json!({"event": "back", "id": 13, "frames": BASE64.encode(&frame[..20])})
    );
    assert_eq!(holder.hear("event")["event"], "ended");
    drop(client);
    let mut limited = Holder::new(&lab, json!(3));
    let (_client, daemon) = UnixStream::pair().unwrap();
    limited.lend(1, &frame, &[daemon.as_fd()]);
    assert_eq!(limited.hear("event"), same(1));
}
