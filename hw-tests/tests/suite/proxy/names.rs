//! Which names the proxy looks up, by a name server of the test's in a network of its own.

use std::{
    fs,
    net::UdpSocket,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use super::{Bench, curl};
use crate::isolation::inside_readers;

/// What is only there with a domain of the search list behind it, and where that is: nobody's (RFC 5737).
const COMPLETED: [&str; 2] = ["api.example.com.corp.example", "intranet.corp.example"];
const ADDRESS: [u8; 4] = [203, 0, 113, 9];

/// A name server that knows these and nothing else (RFC 1035): what it was asked for.
fn name_server() -> Arc<Mutex<Vec<String>>> {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let (seen, socket) = (asked.clone(), UdpSocket::bind("127.0.0.1:53").unwrap());
    // It ends with the test's process.
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let question = &packet[12..length];
            let (mut name, mut at) = (vec![], 0);
            while question[at] != 0 {
                let label = usize::from(question[at]);
                name.push(String::from_utf8_lossy(&question[at + 1..=at + label]).into_owned());
                at += label + 1;
            }
            let (name, is_a) = (name.join("."), question[at + 2] == 1);
            let known = COMPLETED.contains(&name.as_str());
            seen.lock().unwrap().push(name);
            let answers = u8::from(known && is_a);
            let mut answer = packet[..2].to_vec();
            answer.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, answers, 0, 0, 0, 0]);
            answer.extend(&question[..at + 5]);
            if answers == 1 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(ADDRESS);
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    asked
}

/// In place of a file of the system's. The mount namespace is the test's own: see [`inside_readers`].
fn in_place_of(folder: &Path, file: &str, text: &str) {
    let ours = folder.join(file.rsplit('/').next().unwrap());
    fs::write(&ours, text).unwrap();
    assert!(Command::new("mount").arg("--bind").arg(ours).arg(file).status().unwrap().success());
}

#[test]
fn t31_a_granted_name_is_completed_to_no_other_host_by_the_systems_search_list() {
    if !inside_readers("proxy::names::t31_a_granted_name_is_completed_to_no_other_host_by_the_systems_search_list") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // As in a cluster: whatever has fewer than five dots is completed first.
    let resolv = "nameserver 127.0.0.1\nsearch corp.example\noptions ndots:5 timeout:1 attempts:1\n";
    in_place_of(folder.path(), "/etc/resolv.conf", resolv);
    in_place_of(folder.path(), "/etc/nsswitch.conf", "hosts: files dns\n");
    in_place_of(folder.path(), "/etc/hosts", "127.0.0.1 localhost\n203.0.113.9 listed.example.com\n");
    let asked = name_server();
    let names = || std::mem::take(&mut *asked.lock().unwrap());
    // The system itself does.
    let found = Command::new("getent").args(["ahosts", "api.example.com"]).output().unwrap();
    assert!(String::from_utf8_lossy(&found.stdout).contains("203.0.113.9"), "{found:?}");
    assert!(names().contains(&COMPLETED[0].to_owned()));

    let bench = Bench::new();
    let hosts = ["http://api.example.com:80", "http://listed.example.com:80"];
    bench.put(hosts[0], &["--host", hosts[1]]);
    let reason = |url: &str| {
        let said = bench.says(&["--network", "open"], &curl(url, ""));
        let body: serde_json::Value = serde_json::from_str(&said[..said.len() - 3]).unwrap_or_else(|_| panic!("{said}"));
        body["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason("http://api.example.com/x"), "upstream_unknown");
    let looked_up = names();
    assert!(
        !looked_up.is_empty() && looked_up.iter().all(|name| name == "api.example.com"),
        "{looked_up:?}"
    );
    // What the table of hosts has is found, and nobody is asked for it. Nothing leads there.
    assert_eq!(reason("http://listed.example.com/x"), "upstream_unreachable");
    assert_eq!(names(), Vec::<String>::new());
    // A host that no lease names is what the system takes it for: no credential goes there.
    let said = bench.says(&["--network", "open"], "curl -sS -m 20 http://intranet/ || true");
    assert!(said.contains("upstream_unreachable"), "{said}");
    assert!(names().contains(&COMPLETED[1].to_owned()));
    println!("T31 completion: 0 of 1 granted names completed");
}
