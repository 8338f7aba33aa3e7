//! Clients that hold a stream open, real ones with real servers: gRPC over HTTP/2, and WebSockets.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use super::{Bench, CANARY};
use crate::{hygiene, lab::until};

/// A server of `hw-tests/clients`, until it is dropped.
pub struct Server {
    child: Child,
    pub port: u16,
    said: BufReader<ChildStdout>,
}

/// Python with the packages of `hw-tests/with-clients`.
pub fn python() -> String {
    std::env::var("CLIENT_PYTHON").unwrap_or_else(|_| panic!("hw-tests/with-clients sets CLIENT_PYTHON"))
}

impl Server {
    pub fn start(bench: &Bench, script: &str) -> Self {
        Self::start_as(bench, script, "localhost")
    }

    /// Under another name.
    pub fn start_as(bench: &Bench, script: &str, name: &str) -> Self {
        let (certificate, key) = bench.authority.files_for(name);
        let mut server = Command::new(python());
        server.arg(format!("{}/clients/{script}", env!("CARGO_MANIFEST_DIR")));
        server.arg(certificate).arg(key).arg(CANARY).stdout(Stdio::piped());
        let mut child = server.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        said.read_line(&mut port).unwrap();
        Self {
            child,
            port: port.trim().parse().unwrap(),
            said,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a Python script with the lease, which has to succeed: what it prints.
fn says(bench: &Bench, script: &str) -> String {
    let file = bench.lab.home.work().join("script.py");
    std::fs::write(&file, script).unwrap();
    bench.says(&[], &format!("{} script.py; cat /proc/self/environ", python()))
}

#[test]
#[ignore = "needs hw-tests/with-clients"]
fn a_grpc_client_calls_and_streams_both_ways_with_a_placeholder() {
    let bench = Bench::new();
    let mut server = Server::start(&bench, "grpc_server.py");
    bench.put(&format!("localhost:{}", server.port), &["--path", "/demo.Demo/*"]);
    let script = format!(
        "import os, grpc
channel = grpc.secure_channel('localhost:{}', grpc.ssl_channel_credentials())
known = [('authorization', 'Bearer ' + os.environ['API'])]
one, call = channel.unary_unary('/demo.Demo/one').with_call(b'hello', metadata=known, timeout=20)
print(one.decode(), dict(call.trailing_metadata())['x-checked'])
print([part.decode() for part in channel.unary_stream('/demo.Demo/many')(b'n', metadata=known, timeout=20)])
print([part.decode() for part in channel.stream_stream('/demo.Demo/talk')(iter([b'a', b'b']), metadata=known, timeout=20)])
for path, metadata in [('/demo.Demo/one', []), ('/other.Other/one', known)]:
    try:
        channel.unary_unary(path)(b'hello', metadata=metadata, timeout=20)
        print('went')
    except grpc.RpcError as error:
        print(error.code().name)
",
        server.port
    );
    let said = says(&bench, &script);
    assert!(
        said.starts_with("HELLO yes\n['n0', 'n1', 'n2']\n['A', 'B']\nUNAUTHENTICATED\nPERMISSION_DENIED\n"),
        "{said}"
    );
    assert_eq!(hygiene::leaks(said.as_bytes(), &hygiene::forms(CANARY)), 0);
    let seen = [(); 4].map(|()| server.line());
    assert_eq!(seen, ["one known", "many known", "talk known", "one unknown"]);
    assert_eq!(bench.log("used").len(), 3);
    until("the log's grouped lines", || bench.log("not_sent").len() == 1);
    println!("client grpcio: 4 of 4 calls, 1 of 1 refused");
}

#[test]
#[ignore = "needs hw-tests/with-clients"]
fn a_websocket_client_talks_with_a_placeholder_and_is_cut_where_the_host_shows_the_value() {
    let bench = Bench::new();
    let mut server = Server::start(&bench, "websocket_server.py");
    bench.put(&format!("localhost:{}", server.port), &[]);
    let script = format!(
        "import os
from websockets.sync.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
known = {{'Authorization': 'Bearer ' + os.environ['API']}}
with connect('wss://localhost:{port}/', additional_headers=known) as connection:
    for word in ['hello', 'x' * 100000]:
        connection.send(word)
        print(connection.recv(timeout=20)[:5])
    connection.send('show')
    try:
        print('got', connection.recv(timeout=20))
    except ConnectionClosed:
        print('cut')
try:
    connect('wss://localhost:{port}/')
except InvalidStatus as error:
    print(error.response.status_code)
",
        port = server.port
    );
    let said = says(&bench, &script);
    assert!(said.starts_with("HELLO\nXXXXX\ncut\n401\n"), "{said}");
    assert_eq!(hygiene::leaks(said.as_bytes(), &hygiene::forms(CANARY)), 0);
    assert_eq!([(); 2].map(|()| server.line()), ["known", "unknown"]);
    assert_eq!(bench.log("used").len(), 1);
    until("the log's grouped lines", || bench.log("echoed").len() == 1);
    println!("client websockets: 2 of 2 connections");
}
