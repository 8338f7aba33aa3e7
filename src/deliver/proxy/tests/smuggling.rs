//! T38: what reaches a host is one well-formed request, or nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::host::{Host, ok};
use super::*;

const VECTORS: &str = include_str!("../../../../hw-tests/vectors/proxy-smuggling.json");

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    reaches: usize,
    request: String,
}

/// Each character one byte; those that are none in UTF-8.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for char in text.chars() {
        match u8::try_from(u32::from(char)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// Sends a vector's request, with a lease of its own: the host that it is for, and what the client heard.
async fn sent(rig: &Rig, number: usize, vector: &Vector) -> (Host, String) {
    let host = Host::new(|_| ok("done")).await;
    let placeholder = rig.grants(&format!("L{number}"), vec![grant(host.port)]).await.remove(0);
    let request = vector
        .request
        .replace("{host}", &format!("localhost:{}", host.port))
        .replace("{auth}", &rig.auth());
    let mut client = rig.dial().await;
    client
        .write_all(&bytes(&request.replace("{placeholder}", &placeholder)))
        .await
        .unwrap();
    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
    // What reaches a host has an answer, however busy the machine is. Of the others some have none.
    let mut patience = Duration::from_millis(if vector.reaches > 0 { 1000 } else { 60 });
    while let Ok(Ok(count @ 1..)) = timeout(patience, client.read(&mut piece)).await {
        heard.extend_from_slice(&piece[..count]);
        patience = Duration::from_millis(60);
    }
    (host, String::from_utf8_lossy(&heard).into_owned())
}

#[test]
fn t38_what_reaches_a_host_is_one_well_formed_request_or_nothing() {
    let file: File = serde_json::from_str(VECTORS).unwrap();
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let mut found = BTreeMap::new();
        for (number, vector) in file.vectors.iter().enumerate() {
            let (host, heard) = sent(&rig, number, vector).await;
            let seen = host.requests();
            assert!(seen.len() <= 1, "{}: {seen:?}", vector.name);
            assert!(!host.has_seen("/forbidden") || seen[0].target == "/allowed/x", "{}", vector.name);
            for request in &seen {
                // A header that the client itself keeps from the host goes no further, placeholder and all.
                let credential = (vector.name != "connection names authorization").then(|| format!("Bearer {VALUE}"));
                let got = (request.target.as_str(), request.header("authorization"));
                assert_eq!(got, ("/allowed/x", credential.as_deref()), "{}", vector.name);
                assert!(!String::from_utf8_lossy(&request.body).contains(VALUE));
            }
            // What never became whole is bytes of one request that was broken off: it has one head.
            let heads: usize = host
                .bytes
                .borrow()
                .iter()
                .map(|bytes| bytes.windows(9).filter(|end| end == b" HTTP/1.1").count())
                .sum();
            assert!(
                heads <= 1
                    || seen
                        .iter()
                        .any(|request| String::from_utf8_lossy(&request.body).contains(" HTTP/1.1")),
                "{}",
                vector.name
            );
            assert!(!heard.contains(VALUE), "{}", vector.name);
            found.insert(
                vector.name.clone(),
                (seen.len(), heard.lines().next().unwrap_or_default().to_owned()),
            );
        }
        let expected: BTreeMap<_, _> = file.vectors.iter().map(|vector| (vector.name.clone(), vector.reaches)).collect();
        let differ: Vec<_> = found.iter().filter(|(name, (count, _))| expected[*name] != *count).collect();
        assert!(differ.is_empty(), "{differ:#?}");
        assert!(found.len() >= 40 && found.len() == file.vectors.len());
        println!("T38: {} of {} requests", found.len(), file.vectors.len());
    });
}

/// Reads connections with h11, which has no code of hyper's: a line of Base64 for each; it says what requests it found, and panics at what is
/// none.
const H11: &str = "
import base64, h11, json, sys
for line in sys.stdin:
    reader, found, event = h11.Connection(h11.SERVER), [], None
    reader.receive_data(base64.b64decode(line))
    # A connection without a byte is one that was closed.
    while (event := reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED, h11.ConnectionClosed()):
        if isinstance(event, h11.Request):
            headers = [[name.decode(), value.decode()] for name, value in event.headers]
            found.append([event.method.decode(), event.target.decode(), headers, ''])
        elif isinstance(event, h11.Data):
            found[-1][3] += base64.b16encode(event.data).decode()
        elif isinstance(event, h11.EndOfMessage):
            found[-1].append('whole')
            answer = h11.Response(status_code=200, headers=[('content-length', '0')])
            reader.send(answer), reader.send(h11.EndOfMessage())
            if reader.our_state is h11.DONE and reader.their_state is h11.DONE:
                reader.start_next_cycle()
    print(json.dumps([request[:4] for request in found if request[-1] == 'whole']), flush=True)
";

/// Method, target, headers, and the body in hexadecimal.
type Read = (String, String, Vec<(String, String)>, String);

#[test]
#[ignore = "needs hw-tests/with-clients"]
fn t38_another_parser_finds_the_same_requests_in_what_reaches_a_host() {
    let python = std::env::var("CLIENT_PYTHON").expect("hw-tests/with-clients sets CLIENT_PYTHON");
    let file: File = serde_json::from_str(VECTORS).unwrap();
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let mut h11 = Command::new(python);
        let mut h11 = h11.args(["-c", H11]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut ask, mut said) = (h11.stdin.take().unwrap(), BufReader::new(h11.stdout.take().unwrap()));
        let (mut connections, mut requests) = (0, 0);
        for (number, vector) in file.vectors.iter().enumerate() {
            let (host, _) = sent(&rig, number, vector).await;
            let ours = host.requests();
            for (number, bytes) in host.bytes.borrow().iter().enumerate() {
                writeln!(ask, "{}", BASE64.encode(bytes)).unwrap();
                let mut line = String::new();
                said.read_line(&mut line).unwrap();
                let theirs: Vec<Read> = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{}: {line}", vector.name));
                let ours: Vec<_> = ours
                    .iter()
                    .filter(|seen| seen.connection == number)
                    .map(|seen| {
                        let body = data_encoding::HEXUPPER.encode(&seen.body);
                        (seen.method.clone(), seen.target.clone(), seen.headers.clone(), body)
                    })
                    .collect();
                assert_eq!(theirs, ours, "{}", vector.name);
                connections += 1;
                requests += theirs.len();
            }
        }
        drop(ask);
        assert!(h11.wait().unwrap().success());
        assert!(requests >= 20, "{requests}");
        println!("T38, h11: {requests} requests of {connections} connections, the same by both parsers");
    });
}
