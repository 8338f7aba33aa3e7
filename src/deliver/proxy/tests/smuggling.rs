//! T38: what reaches a host is one well-formed request, or nothing.

use std::collections::BTreeMap;
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

#[test]
fn t38_what_reaches_a_host_is_one_well_formed_request_or_nothing() {
    let file: File = serde_json::from_str(VECTORS).unwrap();
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let mut found = BTreeMap::new();
        for (number, vector) in file.vectors.iter().enumerate() {
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
            let mut heard = Vec::new();
            let mut piece = [0; 4096];
            while let Ok(Ok(count @ 1..)) = timeout(Duration::from_millis(60), client.read(&mut piece)).await {
                heard.extend_from_slice(&piece[..count]);
            }
            let seen = host.requests();
            let heard = String::from_utf8_lossy(&heard).into_owned();
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
