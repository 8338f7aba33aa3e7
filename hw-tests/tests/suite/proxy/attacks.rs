//! Who has a placeholder and the proxy, and wants the value, or wants it elsewhere.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::{Bench, CANARY, Upstream, curl};
use crate::{
    hygiene::{self, CommandLines, forms, leaks},
    lab::until,
};

#[test]
fn t34_no_redirect_carries_the_value_to_another_host() {
    let bench = Bench::new();
    let (upstream, other) = (bench.upstream(), Upstream::plain());
    bench.put(&upstream.host(), &[]);
    let to = format!("http://{}/taken", other.host());
    let script = format!(
        "curl -sS -o /dev/null -w '%{{http_code}} ' -L --location-trusted -H \"Authorization: Bearer $API\" '{}'",
        upstream.url(&format!("/redirect?to={to}"))
    );
    // The client follows it with the placeholder, for which that host has no grant.
    let said = bench.says(&[], &script);
    assert_eq!(said, "403 ");
    assert!(upstream.has_seen(CANARY));
    assert_eq!(other.seen().len(), 0);
    assert_eq!(bench.log("used").len(), 1);
}

#[test]
fn t35_what_carried_one_secret_is_not_used_for_another_host() {
    let bench = Bench::new();
    let (one, two) = (bench.upstream(), bench.upstream());
    bench.put(&one.host(), &[]);
    let second = "tok-of-the-second-4711";
    bench.lab.put("prod/SECOND", second.as_bytes(), &["--host", &two.host()]);
    let request = |variable: &str, upstream: &Upstream| {
        format!(
            "--next -sS -o /dev/null -w '%{{http_code}} ' -H \"Authorization: Bearer ${variable}\" '{}' ",
            upstream.url("/a")
        )
    };
    // One process of curl, which keeps its connections.
    let requests = [
        request("API", &one),
        request("SECOND", &two),
        request("SECOND", &one),
        request("API", &two),
        request("API", &one),
    ];
    let script = format!("curl -sS {}", requests.concat().trim_start_matches("--next "));
    let said = bench.says(&["--with", "SECOND=prod/SECOND"], &script);
    assert_eq!(said, "200 200 403 403 200 ");
    assert!(one.has_seen(CANARY) && !one.has_seen(second));
    assert!(two.has_seen(second) && !two.has_seen(CANARY));
}

#[test]
fn t36_a_request_with_a_credential_of_its_own_beside_the_placeholder_is_refused() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &["--send-as", "header:x-api-key"]);
    let script = format!(
        "curl -sS -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer of-my-own' -H \"X-Api-Key: $API\" {}",
        upstream.url("/a")
    );
    assert_eq!(bench.says(&[], &script), "403");
    assert_eq!(upstream.seen().len(), 0);
}

#[test]
fn t37_a_host_that_disagrees_with_the_tunnel_is_refused() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    let said = bench.script(&[], &curl(&upstream.url("/a"), "-o /dev/null -H 'Host: evil.example'"));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.starts_with('4'), "{said}");
    assert_eq!(upstream.seen().len(), 0);
}

#[test]
fn t39_neither_metadata_nor_this_machine_is_reached_through_the_proxy() {
    let bench = Bench::new();
    let (upstream, here) = (bench.upstream(), Upstream::plain());
    bench.put(&upstream.host(), &[]);
    // The variable would keep this machine's own addresses from the proxy.
    let script: String = [
        format!("http://127.0.0.1:{}/a", here.port),
        format!("http://[::ffff:127.0.0.1]:{}/a", here.port),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://0.0.0.0:80/".into(),
        "http://[fd00:ec2::254]/".into(),
    ]
    .iter()
    .map(|url| format!("curl -g -sS -m 20 -o /dev/null -w '%{{http_code}} ' '{url}';"))
    .collect();
    let said = bench.says(&[], &format!("export NO_PROXY= no_proxy=; {script}"));
    assert_eq!(said, "403 ".repeat(5));
    assert_eq!(here.seen().len(), 0);
}

#[test]
fn t40_a_placeholder_elsewhere_is_refused_and_recorded() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    let url = upstream.url("/a");
    let code = "curl -sS -m 20 -o /dev/null -w '%{http_code} '";
    let script = [
        format!("{code} \"{url}?token=$API\""),
        format!("{code} \"{url}/$API\""),
        format!("{code} -d \"token=$API\" {url}"),
        format!("{code} -H \"X-Other: $API\" {url}"),
        format!("{code} -H \"Cookie: a=$API\" {url}"),
    ];
    assert_eq!(bench.says(&[], &script.join(";")), "403 ".repeat(5));
    assert_eq!(upstream.seen().len(), 0);
    std::thread::sleep(Duration::from_secs(2));
    let refused: Vec<_> = bench.log("not_sent").iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(
        refused,
        [
            "placeholder_in_query",
            "placeholder_in_path",
            "placeholder_in_body",
            "placeholder_in_header",
            "placeholder_in_cookie"
        ]
    );
    assert_eq!(bench.log("used").len(), 0);
}

#[test]
fn t40_a_value_that_a_host_sends_back_is_masked_and_recorded() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    let said = bench.says(
        &[],
        &[curl(&upstream.url("/echo"), ""), curl(&upstream.url("/echo64"), "")].concat(),
    );
    assert_eq!(said.matches("200").count(), 2, "{said}");
    assert_eq!(leaks(said.as_bytes(), &forms(CANARY)), 0, "{said}");
    until("the log's grouped lines", || bench.log("echoed").len() == 2);
    let echoed = bench.log("echoed");
    assert_eq!(
        (&echoed[0]["secret"], &echoed[0]["host"]),
        (&"prod/API".into(), &upstream.host().into())
    );
}

#[test]
fn t41_whoever_does_not_know_the_sessions_password_gets_nothing_and_learns_nothing() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    let command = "echo \"$HTTPS_PROXY $API\" > address; while [ ! -e done ]; do sleep 0.05; done";
    let mut child = bench.lab.agent(&["run", "--with", "API=prod/API", "--", "sh", "-c", command]);
    let address = bench.lab.home.work().join("address");
    until("the command", || {
        fs::read_to_string(&address).is_ok_and(|text| text.ends_with('\n'))
    });
    let address = fs::read_to_string(&address).unwrap();
    let (url, placeholder) = address.trim().split_once(' ').unwrap();
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let host = upstream.host();
    let wrong = data_encoding::BASE64.encode(format!("x:{}", "0".repeat(32)).as_bytes());
    let bearer = format!("Authorization: Bearer {placeholder}");
    for request in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: evil.example\r\nOrigin: https://evil.example\r\n\r\n".to_owned(),
        format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic {wrong}\r\n\r\n"),
        format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{bearer}\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(
            answer.starts_with("HTTP/1.1 407") || answer.starts_with("HTTP/1.1 400"),
            "{request}: {answer}"
        );
        for word in ["prod/API", "localhost:", placeholder, CANARY] {
            assert!(!answer.contains(word), "{request}: {answer}");
        }
    }
    assert_eq!(upstream.seen().len(), 0);
    fs::write(bench.lab.home.work().join("done"), "").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn p5_the_value_is_in_no_file_no_command_line_no_environment_and_no_message() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    let looking = CommandLines::watch_for(forms(CANARY), &["cmdline", "environ"]);
    let requests = [
        curl(&upstream.url("/a"), "").repeat(20),
        curl(&upstream.url("/echo"), ""),
        curl("https://evil.example/", ""),
        format!("cat /proc/self/environ $SSL_CERT_FILE; curl -sS \"{}?x=$API\"", upstream.url("/a")),
    ];
    let out = bench.script(&["--network", "granted-only", "--no-masking"], &requests.join("\n"));
    let (looks, hits) = looking.seen();
    assert!(looks > 0 && upstream.seen().len() == 21, "{looks} looks, {out:?}");
    assert_eq!(hits, 0);
    let forms = forms(CANARY);
    assert_eq!(leaks(&out.stdout, &forms) + leaks(&out.stderr, &forms), 0, "{out:?}");
    let files = hygiene::left_behind(bench.lab.home.path());
    let leaking: Vec<_> = files
        .iter()
        .filter(|file| leaks(&fs::read(file).unwrap_or_default(), &forms) > 0)
        .collect();
    assert!(files.len() > 5 && leaking.is_empty(), "{leaking:?}");
    println!(
        "P5 proxy: 0 of {} files, {looks} command lines and environments, and 2 streams with 20 requests by proxy",
        files.len()
    );
}
