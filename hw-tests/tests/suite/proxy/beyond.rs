//! A proxy behind the proxy, as a company has one.

use std::{
    io::{Read, Write, copy},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use touchlease::config::Config;

use super::{Bench, CANARY, Upstream, curl};

pub const NAME: &str = "api.company.example";

/// A proxy that leads to this port of this machine, whatever it is asked for: where it listens, and what it was asked for.
pub fn leading_to(to: Arc<Mutex<u16>>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let seen = asked.clone();
    // It ends with the test's process.
    thread::spawn(move || {
        for client in listener.incoming() {
            let (seen, to, mut client) = (seen.clone(), *to.lock().unwrap(), client.unwrap());
            thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") {
                    client.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                seen.lock().unwrap().push(head.lines().next().unwrap().to_owned());
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
                let mut host = TcpStream::connect(("127.0.0.1", to)).unwrap();
                let (mut from, mut back) = (client.try_clone().unwrap(), host.try_clone().unwrap());
                thread::spawn(move || copy(&mut from, &mut back));
                let _ = copy(&mut host, &mut client);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (port, asked)
}

#[test]
fn t21_the_proxy_of_the_configuration_is_asked_for_hosts_and_none_that_the_command_names() {
    let to = Arc::<Mutex<u16>>::default();
    let (named, asked) = leading_to(to.clone());
    let (other, never) = leading_to(to.clone());
    let bench = Bench::with(Config {
        proxy_upstream: Some(format!("http://localhost:{named}").parse().unwrap()),
        ..Config::default()
    });
    let upstream = Upstream::tls(&bench.authority, &[NAME]);
    *to.lock().unwrap() = upstream.port;
    bench.put(NAME, &[]);
    let script = curl(&format!("https://{NAME}/a"), "");
    let mut run = bench
        .lab
        .home
        .detached(["run", "--with", "API=prod/API", "--", "sh", "-c", &script]);
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        run.env(name, format!("http://localhost:{other}"));
    }
    let out = run.output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(said, "fine200", "{out:?}");
    assert!(upstream.has_seen(CANARY));
    assert_eq!(*asked.lock().unwrap(), [format!("CONNECT {NAME}:443 HTTP/1.1")]);
    assert!(never.lock().unwrap().is_empty());
}
