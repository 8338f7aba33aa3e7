//! What only a client that writes its own frames can do: heads that no library would send (T38), and floods.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokio_rustls::client::TlsStream;

use super::tls::{tls_grant, with_tls, within_for};
use super::*;

const VECTORS: &str = include_str!("../../../../hw-tests/vectors/proxy-http2.json");
/// RFC 9113, 6: types and flags of frames, and codes of errors.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    reaches: usize,
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: Vec<String>,
    #[serde(default)]
    trailers: Vec<(String, String)>,
}

/// A client's connection.
struct Raw(TlsStream<TcpStream>);

/// What came: kinds and flags of frames, and what is in them.
type Heard = Vec<(u8, u8, Vec<u8>)>;

impl Raw {
    async fn new(rig: &Rig, port: u16) -> Self {
        let to = format!("localhost:{port}");
        let tls = within_for(rig, &to, "localhost", &rig.ca_pem, &["h2"]).await.unwrap();
        let mut raw = Self(tls);
        raw.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        raw.send(SETTINGS, 0, 0, &[]).await;
        raw
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        // A connection that was cut off is what some tests wait for.
        let _ = self.0.write_all(&frame(kind, flags, stream, payload)).await;
        let _ = self.0.flush().await;
    }

    /// Frames until stream 1 is answered, nothing comes for a while, or the connection ends, which is said.
    async fn hear(&mut self) -> (Heard, bool) {
        let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let frames = frames(&bytes);
            if frames.iter().any(|(kind, flags, ..)| *kind <= HEADERS && flags & END_STREAM != 0) {
                return (frames, false);
            }
            match timeout(Duration::from_millis(400), self.0.read(&mut piece)).await {
                Ok(Ok(0) | Err(_)) => return (frames, true),
                Ok(Ok(count)) => bytes.extend_from_slice(&piece[..count]),
                Err(_) => return (frames, false),
            }
        }
    }
}

fn frames(mut bytes: &[u8]) -> Heard {
    let mut frames = Vec::new();
    while let Some((head, more)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, next)) = more.split_at_checked(length) else {
            break;
        };
        frames.push((head[3], head[4], payload.to_vec()));
        bytes = next;
    }
    frames
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literal fields with new names, never indexed (RFC 7541, 6.2.3), each of fewer than 127 bytes or with a longer length in two bytes.
fn fields(fields: &[(String, String)]) -> Vec<u8> {
    let text = |text: &str| {
        // Each character one byte, also those that are none in ASCII.
        let bytes: Vec<u8> = text.chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect();
        let length = match bytes.len() {
            short @ 0..127 => vec![short as u8],
            long => vec![127, ((long - 127) % 128) as u8 | 128, ((long - 127) / 128) as u8],
        };
        [length, bytes].concat()
    };
    fields
        .iter()
        .flat_map(|(name, value)| [vec![0x10], text(name), text(value)].concat())
        .collect()
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The pseudo headers of a request to the rig's host, and the placeholder.
fn usual(port: u16, mark: &str) -> Vec<(String, String)> {
    let authority = format!("localhost:{port}");
    let pseudo = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", &authority),
        (":path", "/allowed/x"),
    ];
    let mut all: Vec<_> = pseudo.into_iter().map(|(name, value)| field(name, value)).collect();
    all.push(field("authorization", &format!("Bearer {mark}")));
    all
}

fn code(payload: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(payload[at..at + 4].try_into().unwrap())
}

#[test]
fn t38_what_reaches_a_host_of_an_http2_request_is_one_well_formed_request_or_nothing() {
    let file: File = serde_json::from_str(VECTORS).unwrap();
    with_tls(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let mut found = BTreeMap::new();
        for vector in &file.vectors {
            let before = host.requests().len();
            let (mut raw, to) = (Raw::new(&rig, host.port).await, format!("localhost:{}", host.port));
            let filled = |list: &[(String, String)]| -> Vec<(String, String)> {
                let fill = |text: &String| text.replace("{host}", &to).replace("{placeholder}", &mark);
                list.iter().map(|(name, value)| (fill(name), fill(value))).collect()
            };
            let ends = |last: bool| if last { END_STREAM } else { 0 };
            let (bodies, trailers) = (vector.body.len(), !vector.trailers.is_empty());
            raw.send(
                HEADERS,
                END_HEADERS | ends(bodies == 0 && !trailers),
                1,
                &fields(&filled(&vector.headers)),
            )
            .await;
            for (number, piece) in vector.body.iter().enumerate() {
                raw.send(
                    DATA,
                    ends(number + 1 == bodies && !trailers),
                    1,
                    piece.replace("{placeholder}", &mark).as_bytes(),
                )
                .await;
            }
            if trailers {
                raw.send(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&filled(&vector.trailers)))
                    .await;
            }
            let (frames, _) = raw.hear().await;
            let heard: Vec<u8> = frames.iter().flat_map(|(_, _, payload)| payload.clone()).collect();
            assert!(!String::from_utf8_lossy(&heard).contains(VALUE), "{}", vector.name);
            let seen = host.requests().split_off(before);
            for request in &seen {
                assert!(request.target == "/allowed/x", "{}: {request:?}", vector.name);
                assert_eq!(
                    request.header("authorization"),
                    Some(&*format!("Bearer {VALUE}")),
                    "{}",
                    vector.name
                );
            }
            let kinds: Vec<u8> = frames
                .iter()
                .map(|(kind, ..)| *kind)
                .filter(|kind| ![SETTINGS, 8, 6].contains(kind))
                .collect();
            let said = String::from_utf8_lossy(&heard)
                .chars()
                .filter(|char| char.is_ascii_graphic())
                .collect::<String>();
            found.insert(vector.name.clone(), (seen.len(), kinds, said));
        }
        let expected: BTreeMap<_, _> = file.vectors.iter().map(|vector| (vector.name.clone(), vector.reaches)).collect();
        let differ: Vec<_> = found.iter().filter(|(name, (count, ..))| expected[*name] != *count).collect();
        assert!(differ.is_empty(), "{differ:#?}");
        assert!(found.len() >= 40 && found.len() == file.vectors.len(), "{}", found.len());
        assert!(!host.has_seen("/forbidden"));
        println!("T38 HTTP/2: {} of {} requests", found.len(), file.vectors.len());
    });
}

/// What is heard after 2,000 requests in one go, each with this frame (kind, payload) of its stream behind it.
async fn flooded(rig: &Rig, port: u16, mark: &str, (kind, payload): (u8, &[u8])) -> (Heard, bool) {
    let mut raw = Raw::new(rig, port).await;
    let head = fields(&usual(port, mark));
    let mut flood = Vec::new();
    for number in 0..2000_u32 {
        let stream = 2 * number + 1;
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head));
        flood.extend(frame(kind, 0, stream, payload));
    }
    // It may be cut off on the way.
    let _ = raw.0.write_all(&flood).await;
    raw.hear().await
}

#[test]
fn t38_a_client_that_resets_its_streams_faster_than_they_are_taken_is_cut_off() {
    with_tls(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let (frames, over) = flooded(&rig, host.port, &mark, (RST_STREAM, &CANCEL.to_be_bytes())).await;
        let away = frames
            .iter()
            .find(|(kind, ..)| *kind == GOAWAY)
            .map(|(_, _, payload)| code(payload, 4));
        assert_eq!((away, over), (Some(ENHANCE_YOUR_CALM), true));
        assert!(host.requests().len() < 200, "{} requests of 2000 went out", host.requests().len());
        println!(
            "T38 rapid reset: {} of 2000 went out, {} were counted",
            host.requests().len(),
            rig.uses()
        );
    });
}

#[test]
fn t38_a_client_that_has_its_streams_reset_by_what_it_does_wrong_is_cut_off() {
    with_tls(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        // By nothing, which is an error of the stream (RFC 9113, 6.9).
        let (frames, over) = flooded(&rig, host.port, &mark, (WINDOW_UPDATE, &[0; 4])).await;
        assert!(over && frames.iter().any(|(kind, ..)| *kind == GOAWAY), "{frames:?}");
        let sent = host.requests().len();
        assert!(sent < 300, "{sent} requests of 2000 went out");
        println!("T38 made resets: {sent} of 2000 went out");
    });
}

/// A field of 4,000 bytes that is indexed once and then named by a byte (RFC 7541, 6.1): a head of 44 MB in 15 KB.
#[test]
fn t38_a_head_that_is_small_on_the_way_and_large_here_is_refused() {
    with_tls(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let mut raw = Raw::new(&rig, host.port).await;
        let mut head = fields(&usual(host.port, &mark));
        // With incremental indexing, by a new name (6.2.1): 62 from then on.
        let mut large = fields(&[field("x-large", &"x".repeat(4000))]);
        large[0] = 0x40;
        head.extend(large);
        head.extend([0x80 | 62; 11_000]);
        raw.send(HEADERS, END_HEADERS | END_STREAM, 1, &head).await;
        let (frames, over) = raw.hear().await;
        // 431 or the end of it: whichever, nothing goes on.
        let refused = frames.iter().any(|(kind, ..)| matches!(*kind, HEADERS | RST_STREAM | GOAWAY));
        assert!(over || refused, "{frames:?}");
        assert!(host.requests().is_empty());
        // And the next connection serves who behaves.
        let mut raw = Raw::new(&rig, host.port).await;
        raw.send(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&usual(host.port, &mark)))
            .await;
        raw.hear().await;
        assert_eq!(host.requests().len(), 1);
    });
}

#[test]
fn t38_a_head_without_end_is_cut_off_and_costs_no_memory() {
    with_tls(async |rig, host| {
        rig.grant(tls_grant(host.port)).await;
        let mut raw = Raw::new(&rig, host.port).await;
        raw.send(HEADERS, END_STREAM, 1, &fields(&usual(host.port, "x"))).await;
        let more = fields(&[field("x-long", &"x".repeat(8000))]);
        let mut sent = 0;
        for _ in 0..4000 {
            if raw.0.write_all(&frame(CONTINUATION, 0, 1, &more)).await.is_err() {
                break;
            }
            sent += more.len();
        }
        let (_, over) = raw.hear().await;
        assert!(over && sent < 8 << 20, "{sent} bytes of one head were taken");
        assert!(host.requests().is_empty());
    });
}

#[test]
fn t38_more_streams_at_one_time_than_a_connection_may_have_are_refused() {
    with_tls(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let mut raw = Raw::new(&rig, host.port).await;
        let mut head = usual(host.port, &mark);
        head[0].1 = "POST".into();
        let head = fields(&head);
        // Heads alone: the bodies are never sent.
        for number in 0..300_u32 {
            raw.send(HEADERS, END_HEADERS, 2 * number + 1, &head).await;
        }
        let mut refused = 0;
        // A hundred ways to the host are made meanwhile, by the same thread.
        for _ in 0..50 {
            let (frames, over) = raw.hear().await;
            let one = |(kind, _, payload): &&(u8, u8, Vec<u8>)| *kind == RST_STREAM && code(payload, 0) == REFUSED_STREAM;
            refused += frames.iter().filter(one).count();
            assert!(!over, "{refused} streams were refused, and then the connection ended");
            if refused >= 200 {
                break;
            }
        }
        assert_eq!(refused, 200);
        assert!(rig.uses() <= super::super::h2::MOST_STREAMS as usize, "{} uses", rig.uses());
        println!("T38 streams: {refused} of 300 refused");
    });
}
