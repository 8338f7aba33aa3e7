//! Requests as clients write them, and as attackers do.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub fn host() -> Vec<Vec<u8>> {
    texts(&[
        "api.example.com",
        "API.example.com:8443",
        "127.0.0.1:80",
        "[2001:db8::1]:443",
        "[::1]",
        "[::1",
        "[::1]x",
        "xn--bcher-kva.example",
        "user@a.example",
        "a.example.",
        "127.1",
        "0x7f000001",
        "a.example:080",
        "10.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::169.254.169.254",
        "2002:7f00:1::",
        "/https/api.example.com/v1/x?y=/z",
        "/http/127.0.0.1:8080//a/../b%2f",
        "/https/[::1]:443/https/b.example/",
        "/https/a.example@b.example/",
        "/https//a.example",
        "/https/a.example?x",
        "/00112233445566778899aabbccddeeff/https/a.example/x",
        "127.0.0.1:8080",
        "LOCALHOST:8080",
        "https://a.example/x?y",
        "http://a.example:81/",
        "//a.example#x",
        "/x",
        "a=b; Path=/x; Domain=a.example; Secure; HttpOnly",
        "2001::1",
        "fd00:ec2::254",
        "fd12::1",
        "fe80::1",
        "2606:4700::1111",
        "169.254.169.254",
        "127.0.0.1",
        "::1",
        "1.1.1.1",
        "100.100.100.200",
        "::",
    ])
}

pub fn rule() -> Vec<Vec<u8>> {
    texts(&[
        "/client/v4/accounts/*\nGET PUT\nGET\n/client/v4/accounts/7/members",
        "/v1/*/members\n\nPOST\n/v1/7/members",
        "/v1/*/members\n\nPOST\n/v1/7",
        "/*\nGET\nGET\n/a;b=c/%C3%BC",
        "/a/\nGET\nGET\n/a/",
        "/a/*\nGET\nGET\n/a/%2e%2e/b",
        "/a/*\nGET\nGET\n/a/..;/b",
        "/a/*\nGET\nGET\n/a/%252e%252e/b",
        "/a/*\nGET\nGET\n/a/%25252525/b",
        "/a/*\nGET\nGET\n/a//b",
        "/a/*\nGET\nGET\n/a/%ef%bc%8f",
        "/a/*\nGET\nGET\n/a/%zz",
        "/a/*\nGET\nTRACE\n/a/b",
        "/a*\nGET\nGET\n/a",
        "/a/*\nget\nGET\n/a",
        "/a/*\nGET\nGET\nx",
        "/a/*\nGET\nGET\n/b/c",
        "a\n\nGET\n/",
    ])
}

pub fn head() -> Vec<Vec<u8>> {
    texts(&[
        "GET /v1/x\nhost: api.example.com\nauthorization: Bearer {0}",
        "GET /v1/x\nhost: api.example.com\nauthorization: {0}",
        "GET /v1/x\nhost: api.example.com\nauthorization: Basic {b0}",
        "GET /v1/x\nhost: api.example.com\nauthorization: Basic {b2}",
        "GET /v1/x\nhost: api.example.com\nauthorization: Basic bWU6bWluZQ== {1}",
        "GET /v1/x\nhost: api.example.com\nauthorization: Basic bWU6bWluZQ==\nx-api-key: {1}",
        "GET /v1/x\nhost: api.example.com\nauthorization: Bearer {0}\nauthorization: Bearer {0}",
        "GET /v1/x\nhost: api.example.com\nx-api-key: {1}\nx-api-key: mine",
        "GET /v1/x\nhost: api.example.com\nx-api-key: {1}\nx-http-method-override: DELETE",
        "GET /v1/x?a=b&key={3}&c\nhost: api.example.com",
        "GET /v1/x?other={3}\nhost: api.example.com",
        "GET /v1/x\nhost: api.example.com\ncookie: a=b; session={4}; c\ncookie: d=e",
        "GET /v1/x\nhost: api.example.com\ncookie: a={4}",
        "GET https://api.example.com/v1/x\ncookie: a=b\ncookie: session={4}\nauthorization: Bearer ",
        "GET /v1/x\nhost: api.example.com\nauthorization: Bearer {0}\nconnection: Upgrade\nupgrade: websocket\n\
         sec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        "GET /v1/x\nhost: api.example.com\nx-other: {?}",
        "GET /v2/x\nhost: api.example.com\nauthorization: Bearer {0}",
        "GET /v1/../x\nhost: api.example.com\nauthorization: Bearer {0}",
        "GET /v1/{0}\nhost: api.example.com",
        "GET /v1/%2554OUCHLEASEABCDEFGHIJKLMNOPQRST\nhost: api.example.com",
        "TRACE /v1/x\nhost: api.example.com\nauthorization: Bearer {0}",
        "!GET /v1/x\nhost: api.example.com\nauthorization: Bearer {0}",
        "GET /v1/x\nhost: other.example\nauthorization: Bearer {0}",
        "GET https://api.example.com/v1/x\nhost: api.example.com\nconnection: x-a, te\nte: trailers\nx-a: b",
        "GET http://a.example/x\nhost: a.example",
        "GET ftp://a.example/x\nhost: a.example",
        "CONNECT api.example.com:443\nhost: api.example.com:443",
        "OPTIONS *\nhost: api.example.com",
        "POST /v1/x\nhost: api.example.com\ncontent-length: 5\ntransfer-encoding: chunked",
        "POST /v1/x\nhost: api.example.com\ntransfer_encoding: chunked",
        "POST /v1/x\nhost: api.example.com\ncontent-length: 5\nexpect: 100-continue",
        "POST /v1/x\nhost: api.example.com\nexpect: 200-ok",
        "GET /v1/x\nhost: api.example.com\nupgrade: websocket",
        "GET x:1\nhost: api.example.com",
        "GET *\nhost: api.example.com",
        "GET /v1/x\nhost: api.example.com\nte: trailers",
        "GET /v1/x?a=b&_method=DELETE\nhost: api.example.com\nx-api-key: {1}",
        "GET /v1/x?a=b&_%256dethod=PUT\nhost: api.example.com\nx-api-key: {1}",
        "POST /v1/x\nhost: api.example.com\nx-api-key: {1}",
        "GET /v1/x\nhost: api.example.com\nauthorization: Basic {b5}",
        "GET /v1/x\nhost: api.example.com\ncookie: a=b\ncookie: c=d",
        "GET /v1/x\nhost: api.example.com\ncookie: a=b\ncookie: c=de",
        "GET /v1/x\nconnection: upgrade\nupgrade: WebSocket",
        "GET /v1/x\nconnection: upgrade\nupgrade: websocket\nsec-websocket-extensions: permessage-deflate",
        "GET /v1/x\ntransfer-encoding: gzip, chunked",
    ])
}

pub fn answer() -> Vec<Vec<u8>> {
    let text = b"words, and words, and the same words again".repeat(4);
    let mut gzip = GzEncoder::new(vec![], Compression::default());
    let mut zlib = ZlibEncoder::new(vec![], Compression::default());
    let mut raw = DeflateEncoder::new(vec![], Compression::default());
    for encoder in [&mut gzip as &mut dyn Write, &mut zlib, &mut raw] {
        encoder.write_all(&text).expect("memory takes all");
    }
    let gzip = gzip.finish().expect("memory takes all");
    let zstd = ruzstd::encoding::compress_to_vec(&text[..], ruzstd::encoding::CompressionLevel::Fastest);
    // Brotli: a window of 16 bits, one uncompressed piece of a byte, the end (RFC 7932, 9.2).
    let brotli = vec![0x00, 0x00, 0x10, b'x', 0x03];
    let with = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    vec![
        with(0, &gzip),
        with(0, &[gzip.clone(), gzip.clone()].concat()),
        with(0, &gzip[..20]),
        with(1, &zlib.finish().expect("memory takes all")),
        with(1, &raw.finish().expect("memory takes all")),
        with(2, &zstd),
        with(2, &zstd[..9]),
        with(3, &brotli),
        with(3, &[0x06]),
        with(3, &[0x06, 0x00]),
        with(4, &text),
        with(1, &[0x78, 0x9c, 0x03, 0, 0, 0, 0, 1, b'x']),
    ]
}
