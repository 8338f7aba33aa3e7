//! T40: hosts that send the credential back. What the client reads never has it, in whatever pieces and encoding it comes.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::host::Host;
use super::*;
use crate::deliver::proxy::decode::Decoder;

const MASK: &str = "<touchlease:prod/TOKEN>";

/// A host whose answers these are, each to `/allowed/NUMBER`.
async fn host_of(answers: Vec<Vec<u8>>) -> Host {
    Host::new(move |seen| answers[seen.target.rsplit('/').next().unwrap().parse::<usize>().unwrap()].clone()).await
}

async fn asked(rig: &Rig, host: &Host, mark: &str, number: usize) -> Answer {
    let line = format!("GET http://localhost:{}/allowed/{number}", host.port);
    rig.ask(
        &line,
        &format!("Authorization: Bearer {mark}\r\nAccept-Encoding: gzip, deflate, br, zstd, compress\r\n"),
        b"",
    )
    .await
}

fn chunked(headers: &str, parts: &[&[u8]], trailers: &str) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{headers}\r\n").into_bytes();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        answer.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        answer.extend_from_slice(part);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    answer
}

#[test]
fn t40_an_echo_is_masked_at_every_split() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let text = format!("before {VALUE} after {} end", BASE64.encode(format!("x:{VALUE}").as_bytes()));
        let answers: Vec<Vec<u8>> = (0..=text.len())
            .map(|cut| {
                let (a, b) = text.as_bytes().split_at(cut);
                chunked("", &[a, b], "")
            })
            .collect();
        let count = answers.len();
        let host = host_of(answers).await;
        let mark = rig.grant(grant(host.port)).await;
        let mut masked = 0;
        for number in 0..count {
            let answer = asked(&rig, &host, &mark, number).await;
            let body = answer.text();
            assert!(
                !body.contains(VALUE) && body.starts_with(&format!("before {MASK} after ")) && body.ends_with(" end"),
                "{number}: {body}"
            );
            assert!(!body.contains(&BASE64.encode(VALUE.as_bytes())[4..40]), "{body}");
            masked += 1;
        }
        rig.settle().await;
        assert_eq!(rig.echoes(), count, "each answer is told of once");
        println!("T40: {masked} of {count} splits of an echo");
    });
}

#[test]
fn t40_a_short_answer_keeps_its_length_where_nothing_of_a_value_is_in_it() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let of_length = |text: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes();
        let texts = [
            ("nothing", "nothing".to_owned()),
            // Beginnings that are too short to be anything's.
            (&VALUE[..7], VALUE[..7].to_owned()),
            (&VALUE[4..], VALUE[4..].to_owned()),
            // And what is long enough.
            (&VALUE[..8], MASK.to_owned()),
            (VALUE, MASK.to_owned()),
        ];
        let host = host_of(texts.iter().map(|(text, _)| of_length(text)).collect()).await;
        let mark = rig.grant(grant(host.port)).await;
        for (number, (text, shown)) in texts.iter().enumerate() {
            let answer = asked(&rig, &host, &mark, number).await;
            assert_eq!(answer.text(), *shown);
            let length = format!("content-length: {}", text.len());
            assert_eq!(
                answer.head.to_ascii_lowercase().contains(&length),
                *text == shown,
                "{}",
                answer.head
            );
        }
    });
}

#[test]
fn t40_an_echo_byte_by_byte_over_the_wire_is_masked() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let text = format!("data: {VALUE}\n\n");
        let parts: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        let host = host_of(vec![chunked("Content-Type: text/event-stream\r\n", &parts, "")]).await;
        let mark = rig.grant(grant(host.port)).await;
        assert_eq!(asked(&rig, &host, &mark, 0).await.text(), format!("data: {MASK}\n\n"));
    });
}

#[test]
fn t40_compressed_echoes_are_masked() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let text = format!("{} {VALUE} {}", "x".repeat(70_000), "y".repeat(70_000)).into_bytes();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(&text).unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(&text[..], ruzstd::encoding::CompressionLevel::Fastest);
        let two = [gzip.clone(), gzip.clone()].concat();
        let encoded = [
            ("gzip", gzip),
            ("x-gzip", two),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", raw.finish().unwrap()),
            ("zstd", zstd),
            ("br", brotli(&text)),
        ];
        let mut answers = Vec::new();
        for (name, bytes) in &encoded {
            for step in [1, 7, bytes.len()] {
                // The first thousand bytes of a long one in small steps.
                let (fine, coarse) = bytes.split_at(bytes.len().min(1000));
                let mut parts: Vec<&[u8]> = fine.chunks(step).collect();
                parts.push(coarse);
                answers.push((*name, chunked(&format!("Content-Encoding: {name}\r\n"), &parts, "")));
            }
        }
        let host = host_of(answers.iter().map(|(_, answer)| answer.clone()).collect()).await;
        let mark = rig.grant(grant(host.port)).await;
        for (number, (name, _)) in answers.iter().enumerate() {
            let answer = asked(&rig, &host, &mark, number).await;
            let body = answer.text();
            let once = if *name == "x-gzip" { 2 } else { 1 };
            assert_eq!((body.matches(MASK).count(), body.matches(VALUE).count()), (once, 0), "{name}");
            assert_eq!(body.len(), once * (text.len() - VALUE.len() + MASK.len()), "{name}");
            assert!(!answer.head.to_lowercase().contains("content-encoding"));
        }
        println!("T40: {} of {} compressed answers", answers.len(), answers.len());
    });
}

/// Brotli of stored pieces (RFC 7932, 9.2): a window of 16 bits, uncompressed meta-blocks, an empty last one.
fn brotli(text: &[u8]) -> Vec<u8> {
    struct Bits(Vec<u8>, usize);
    impl Bits {
        fn put(&mut self, value: usize, count: usize) {
            for bit in 0..count {
                if self.1.is_multiple_of(8) {
                    self.0.push(0);
                }
                *self.0.last_mut().unwrap() |= (u8::try_from(value >> bit & 1).unwrap()) << (self.1 % 8);
                self.1 += 1;
            }
        }
    }
    let mut bits = Bits(Vec::new(), 0);
    bits.put(0, 1);
    for piece in text.chunks(60_000) {
        bits.put(0, 1);
        bits.put(0, 2);
        bits.put(piece.len() - 1, 16);
        bits.put(1, 1);
        bits.1 = bits.1.div_ceil(8) * 8;
        bits.0.extend_from_slice(piece);
        bits.1 += 8 * piece.len();
    }
    bits.put(3, 2);
    bits.0
}

#[test]
fn t40_heads_and_trailers_that_echo_are_masked() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let basic = BASE64.encode(format!("user:{VALUE}").as_bytes());
        let headers = format!("X-Echo: a {VALUE} b\r\nSet-Cookie: t={VALUE}\r\nX-{VALUE}: 1\r\nX-Basic: {basic}\r\nTrailer: X-End\r\n");
        let plain = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n".to_owned();
        let host = host_of(vec![
            chunked(&headers, &[b"x"], &format!("X-End: {VALUE}\r\n")),
            format!("{plain}{}\r\n", headers.replace("Trailer: X-End\r\n", "")).into_bytes(),
        ])
        .await;
        let mark = rig.grant(grant(host.port)).await;
        for number in 0..2 {
            let mut client = rig.dial().await;
            let head = rig.head(
                &format!("GET http://localhost:{}/allowed/{number}", host.port),
                &format!("Authorization: Bearer {mark}\r\nTE: trailers\r\n"),
            );
            client.write_all(head.as_bytes()).await.unwrap();
            let mut bytes = Vec::new();
            client.read_to_end(&mut bytes).await.unwrap();
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            assert!(
                !text.contains(&VALUE.to_lowercase()) && !text.contains(&basic[8..40].to_lowercase()),
                "{text}"
            );
            assert!(text.contains(&format!("x-echo: a {MASK} b").to_lowercase()), "{text}");
            assert_eq!(text.contains(&format!("x-end: {MASK}").to_lowercase()), number == 0, "{text}");
        }
    });
}

#[test]
fn t40_a_value_in_the_hosts_words_for_the_status_goes_no_further() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let says = |status: &str| format!("HTTP/1.1 {status} for {VALUE}\r\nContent-Length: 4\r\n\r\nbody").into_bytes();
        let host = host_of(vec![says("200 OK"), says("404 Nothing"), says("299 Odd")]).await;
        let mark = rig.grant(grant(host.port)).await;
        for (number, status) in [(0, 200), (1, 404), (2, 299)] {
            let answer = asked(&rig, &host, &mark, number).await;
            assert_eq!((answer.status, answer.text()), (status, "body".into()));
            assert!(!answer.head.contains(VALUE) && !answer.head.contains(" for "), "{}", answer.head);
        }
        rig.revoke("L").await;
        let answer = rig.ask(&format!("GET http://localhost:{}/allowed/0", host.port), "", b"").await;
        assert!(!answer.head.contains(VALUE), "nor when no lease is in force: {}", answer.head);
    });
}

#[test]
fn t40_a_host_cannot_hide_how_its_answer_is_coded() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(format!("here: {VALUE}").as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let twice = chunked("Transfer-Encoding: gzip\r\n", &[&gzip], "");
        let transfer = |coding: &str| {
            let answer = String::from("HTTP/1.1 200 OK\r\nTransfer-Encoding: ") + coding + "\r\n\r\n";
            let length = format!("{:x}\r\n", gzip.len());
            [answer.as_bytes(), length.as_bytes(), &gzip, b"\r\n0\r\n\r\n"].concat()
        };
        let host = host_of(vec![
            chunked("Connection: content-encoding\r\nContent-Encoding: gzip\r\n", &[&gzip], ""),
            transfer("gzip, chunked"),
            twice,
        ])
        .await;
        let mark = rig.grant(grant(host.port)).await;
        let answer = asked(&rig, &host, &mark, 0).await;
        assert_eq!((answer.status, answer.text()), (200, format!("here: {MASK}")));
        for number in 1..3 {
            let answer = asked(&rig, &host, &mark, number).await;
            assert_eq!(answer.status, 502, "{number}");
            assert!(!answer.body.windows(4).any(|window| window == &gzip[..4]), "{number}");
        }
    });
}

#[test]
fn t40_a_request_with_a_credential_asks_for_no_part_of_an_answer() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = Host::new(|seen| match seen.header("range") {
            Some(_) => chunked("", &[&VALUE.as_bytes()[..5]], ""),
            None => chunked("", &[VALUE.as_bytes()], ""),
        })
        .await;
        let mark = rig.grant(grant(host.port)).await;
        let line = format!("GET http://localhost:{}/allowed/0", host.port);
        let part = "Range: bytes=0-4\r\nIf-Range: \"x\"\r\n";
        let answer = rig.ask(&line, &format!("Authorization: Bearer {mark}\r\n{part}"), b"").await;
        assert_eq!(answer.text(), MASK);
        let seen = host.requests().remove(0);
        assert_eq!((seen.header("range"), seen.header("if-range")), (None, None));
        rig.ask(&line, part, b"").await;
        assert_eq!(
            host.requests()[1].header("range"),
            Some("bytes=0-4"),
            "without one it is the client's affair"
        );
    });
}

#[test]
fn t40_a_value_that_an_answer_ends_in_the_middle_of_is_masked_and_told() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let coded = BASE64.encode(format!("user:{VALUE}").as_bytes());
        let mut answers: Vec<Vec<u8>> = (1..=VALUE.len())
            .map(|len| chunked("", &[b"so: ", &VALUE.as_bytes()[..len]], ""))
            .collect();
        answers.push(chunked("", &[b"so: ", &coded.as_bytes()[..coded.len() - 3]], ""));
        answers.push(
            format!(
                "HTTP/1.1 200 OK\r\nX-End: so: {}\r\nContent-Length: 0\r\n\r\n",
                &VALUE[..VALUE.len() - 1]
            )
            .into_bytes(),
        );
        let host = host_of(answers).await;
        let mark = rig.grant(grant(host.port)).await;
        for len in 1..=VALUE.len() {
            let answer = asked(&rig, &host, &mark, len - 1).await;
            let expected = if len < 8 { &VALUE[..len] } else { MASK };
            assert_eq!(answer.text(), format!("so: {expected}"), "{len}");
        }
        let answer = asked(&rig, &host, &mark, VALUE.len()).await;
        assert!(
            answer.text().ends_with(MASK) && answer.text().len() < 4 + 16 + MASK.len(),
            "{}",
            answer.text()
        );
        let answer = asked(&rig, &host, &mark, VALUE.len() + 1).await;
        assert!(answer.head.contains(&format!("so: {MASK}")), "{}", answer.head);
        rig.settle().await;
        assert_eq!(rig.echoes(), VALUE.len() - 7 + 2);
    });
}

#[test]
fn t40_what_cannot_be_looked_into_is_withheld() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let body: &[&[u8]] = &[b"whatever"];
        let answers = vec![
            chunked("Content-Encoding: compress\r\n", body, ""),
            chunked("Content-Encoding: gzip, br\r\n", body, ""),
            chunked("Content-Encoding:\r\n", body, ""),
            chunked("Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n", body, ""),
            b"HTTP/1.1 206 Partial Content\r\nContent-Encoding: gzip\r\nContent-Range: bytes 0-7/99\r\nContent-Length: 8\r\n\r\nwhatever"
                .to_vec(),
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ];
        let host = host_of(answers).await;
        let mark = rig.grant(grant(host.port)).await;
        for number in 0..6 {
            let answer = asked(&rig, &host, &mark, number).await;
            assert_eq!(answer.status, 502, "{number} {answer:?}");
            assert!(!answer.text().contains("whatever"));
        }
        assert!(
            host.requests()
                .iter()
                .all(|seen| !seen.header("accept-encoding").unwrap().contains("compress"))
        );
    });
}

#[test]
fn t40_an_answer_whose_encoding_breaks_off_never_looks_whole() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all("words and words".repeat(1000).as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let broken = [
            gzip[..gzip.len() - 9].to_vec(),
            [&gzip[..20], &[0xff; 40]].concat(),
            b"no gzip at all".to_vec(),
        ];
        let answers = broken
            .iter()
            .map(|bytes| chunked("Content-Encoding: gzip\r\n", &[bytes], ""))
            .collect();
        let host = host_of(answers).await;
        let mark = rig.grant(grant(host.port)).await;
        for number in 0..broken.len() {
            let mut client = rig.dial().await;
            let head = rig.head(
                &format!("GET http://localhost:{}/allowed/{number}", host.port),
                &format!("Authorization: Bearer {mark}\r\n"),
            );
            client.write_all(head.as_bytes()).await.unwrap();
            let mut bytes = Vec::new();
            let _ = client.read_to_end(&mut bytes).await;
            assert!(!bytes.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&bytes));
        }
    });
}

#[test]
fn t40_an_answer_to_a_request_without_a_credential_is_masked_as_well() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = host_of(vec![chunked("", &[VALUE.as_bytes()], "")]).await;
        rig.grant(grant(host.port)).await;
        let answer = rig.ask(&format!("GET http://localhost:{}/elsewhere/0", host.port), "", b"").await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, MASK.into()),
            "a host may have kept it from an earlier request"
        );
    });
}

#[test]
fn a_little_that_stands_for_much_is_decoded_only_as_far_as_there_is_room() {
    let zeros = vec![0; 64 << 20];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&zeros).unwrap();
    let gzip = gzip.finish().unwrap();
    // zstd: a window of 1 KiB, then blocks of 128 KiB... of one byte each: RLE, 4 bytes of input.
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    for number in 0..512 {
        let header: u32 = u32::from(number == 511) | 1 << 1 | (128 * 1024) << 3;
        zstd.extend_from_slice(&header.to_le_bytes()[..3]);
        zstd.push(0);
    }
    for (name, bytes) in [("gzip", gzip), ("zstd", zstd)] {
        let (mut decoder, mut room, mut rest, mut made) = (Decoder::new(name).unwrap(), vec![1; 8192], &bytes[..], 0);
        loop {
            let (taken, count) = decoder.step(rest, &mut room).unwrap();
            rest = &rest[taken..];
            made += count;
            assert!(room[..count].iter().all(|byte| *byte == 0));
            if taken == 0 && count == 0 {
                break;
            }
        }
        assert_eq!((made, decoder.may_end()), (zeros.len(), true), "{name}");
    }
}

#[test]
fn windows_beyond_the_bound_are_broken_answers() {
    // zstd with a window of 16 MiB, and one of 2 GiB; brotli's large windows.
    for (name, bytes) in [
        ("zstd", &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x70, 0, 0, 0][..]),
        ("zstd", &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0, 0, 0]),
        ("br", &[0x11, 0x1e, 0xff, 0xff]),
    ] {
        let mut decoder = Decoder::new(name).unwrap();
        assert!(decoder.step(bytes, &mut [0; 64]).is_err(), "{name}");
    }
}
