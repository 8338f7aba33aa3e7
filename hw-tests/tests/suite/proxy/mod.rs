//! Delivery by proxy, end to end: a command that has a placeholder, an upstream that gets the value, and everybody in between.

mod again;
mod attacks;
pub mod beyond;
mod clients;
mod ends;
mod names;
mod packages;
mod registries;
mod sessions;
mod streams;
pub mod upstream;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use hw_tests::harness::Terminal;
use serde_json::{Value, json};
use tempfile::TempDir;
use touchlease::{
    config::Config,
    wire::{Reply, codec},
};

pub use crate::lab::CANARY;
use crate::{
    hygiene,
    lab::{Lab, until},
};
use upstream::{Authority, Upstream};

/// A lab whose proxy trusts the upstreams of a test, and a screen on which everything is approved.
pub struct Bench {
    pub lab: Lab,
    pub authority: Authority,
    pub watch: Terminal,
    _folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path());
        let lab = Lab::with(Config {
            proxy_roots: Some(authority.pem.clone()),
            ..config
        });
        let watch = lab.home.watch().unwrap();
        Self {
            lab,
            authority,
            watch,
            _folder: folder,
        }
    }

    pub fn upstream(&self) -> Upstream {
        Upstream::tls(&self.authority, &["localhost"])
    }

    /// Seals the canary as `prod/API` for a host, with more rules.
    pub fn put(&self, host: &str, more: &[&str]) {
        self.lab.put("prod/API", CANARY.as_bytes(), &[&["--host", host], more].concat());
    }

    /// A shell script as an agent's child runs it, with `prod/API` as API, and more options.
    pub fn script(&self, options: &[&str], script: &str) -> Output {
        let run = [&["run", "--with", "API=prod/API"], options, &["--", "sh", "-c", script]].concat();
        self.lab.agent_to_its_end(&run)
    }

    /// The same, which has to succeed: what it prints.
    pub fn says(&self, options: &[&str], script: &str) -> String {
        let out = self.script(options, script);
        assert!(out.status.success(), "{script}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// The members of the log's events of this name.
    pub fn log(&self, name: &str) -> Vec<Value> {
        let events = self.lab.events().into_iter();
        events.filter(|(event, _)| event == name).map(|(_, members)| members).collect()
    }
}

/// How many uses lines of the log tell of.
pub fn uses(used: &[Value]) -> u64 {
    used.iter().map(|used| used["times"].as_u64().unwrap_or(1)).sum()
}

/// A request with the placeholder as a Bearer token, as `curl` makes it: its status and its answer.
pub fn curl(url: &str, more: &str) -> String {
    format!("curl -sS -m 20 -w '%{{http_code}}' -H \"Authorization: Bearer $API\" {more} '{url}'\n")
}

#[test]
fn p7_a_command_has_a_placeholder_and_the_host_gets_the_value() {
    let (bench, memory) = (Bench::new(), Path::new("/proc/self/environ"));
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    let script = format!("cat {}; echo; {}", memory.display(), curl(&upstream.url("/api/x?page=2"), ""));
    let said = bench.says(&[], &script);
    assert!(said.ends_with("fine200"), "{said}");
    assert_eq!(hygiene::leaks(said.as_bytes(), &hygiene::forms(CANARY)), 0, "{said}");
    let seen = upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
    assert_eq!(seen[0].target, "/api/x?page=2");
    assert_eq!(seen[0].header("proxy-authorization"), None);
    let used = bench.log("used");
    assert_eq!(used.len(), 1, "{used:?}");
    assert_eq!(used[0]["delivery"], "proxy");
    assert_eq!(used[0]["what"], format!("GET localhost:{}/api/x", upstream.port));
    until("the end of the lease", || bench.log("ended").len() == 1);
}

#[test]
fn p2_the_prompt_shows_hosts_methods_and_paths_as_they_are_signed() {
    let bench = Bench::new();
    bench.put(
        "xn--bcher-kva.example",
        &[
            "--method",
            "GET,PUT",
            "--path",
            "/client/v4/accounts/*",
            "--send-as",
            "header:x-api-key",
        ],
    );
    let recorder = bench.lab.recorder();
    let shown = bench.lab.person(&["run", "--with", "API=prod/API", "--", "true"]);
    let row = "proxy to xn--bcher-kva.example  GET PUT  /client/v4/accounts/*  as header:x-api-key, placeholder in API";
    let shown = shown.replace("\u{1b}[0m", "").replace("\u{1b}[1m", "");
    let shown: Vec<&str> = shown.split_whitespace().collect();
    let row: Vec<&str> = row.split_whitespace().collect();
    assert!(shown.windows(row.len()).any(|words| words == row), "{shown:?}");
    let text: Value = serde_json::from_str(recorder.texts().last().unwrap()).unwrap();
    let proxy = &text["grants"][0]["proxy"];
    assert_eq!(proxy["hosts"][0], "xn--bcher-kva.example");
    assert_eq!(proxy["methods"], json!(["GET", "PUT"]));
    assert_eq!(proxy["paths"][0], "/client/v4/accounts/*");
}

const TASK: &str = r#"
[task.deploy]
about = "Deploy the docs"
command = ["sh", "-c", "for asked in 'GET accounts/7' 'GET accounts' 'GET users' 'DELETE accounts/7'; do curl -sS -o /dev/null -w '%{http_code} ' -X ${asked% *} -H \"Authorization: Bearer $API\" URL/v4/${asked#* }; done"]

[[task.deploy.grant]]
secret = "prod/API"
via = "proxy"
env = "API"
hosts = ["HOST"]
methods = ["GET"]
paths = ["/v4/accounts/*"]
"#;

#[test]
fn p7_a_task_narrows_the_sealed_rules_and_each_request_is_judged_by_what_it_leaves() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &["--path", "/v4/*"]);
    let task = TASK.replace("HOST", &upstream.host()).replace("URL", &upstream.url(""));
    let file = bench.lab.home.work().join("touchlease.toml");
    fs::write(&file, &task).unwrap();
    assert_eq!(bench.lab.prints(&["run", "--task", "deploy"]), "200 403 403 403 ");
    assert_eq!(upstream.seen().len(), 1);
    until("the log's grouped lines", || bench.log("not_sent").len() == 3);
    let refused = bench.log("not_sent");
    assert_eq!(refused[0]["secret"], "prod/API");
    for (wide, what) in [
        (task.replace("/v4/accounts/*", "/*"), "the path /*"),
        (
            task.replace(&format!("\"{}\"]", upstream.host()), "\"evil.example\"]"),
            "the host evil.example",
        ),
    ] {
        fs::write(&file, wide).unwrap();
        let refused = bench.lab.json(&["run", "--task", "deploy"]);
        assert_eq!(refused["error"]["reason"], "target_forbidden", "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(what), "{refused}");
    }
}

#[test]
fn a_limit_of_uses_counts_requests_and_not_the_commands_start() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &["--max-uses", "2"]);
    let requests = curl(&upstream.url("/a"), "-o /dev/null").repeat(3);
    assert_eq!(bench.says(&[], &requests), "200200403");
    assert_eq!(upstream.seen().len(), 2);
    let left: Vec<Value> = bench.log("used").iter().map(|used| used["left"].clone()).collect();
    assert_eq!(left, [1, 0]);
}

#[test]
fn one_lease_gives_one_secret_in_the_environment_and_another_by_proxy() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.lab.put(
        "prod/API",
        b"tok-of-its-own-4711",
        &["--host", &upstream.host(), "--send-as", "header:x-api-key"],
    );
    let script = format!("echo \"$TOKEN\"; curl -sS -H \"X-Api-Key: $API\" {}", upstream.url("/a"));
    let said = bench.says(&["--with", "prod/TOKEN"], &script);
    assert_eq!(said, "<touchlease:prod/TOKEN>\nfine");
    assert_eq!(upstream.seen()[0].header("x-api-key"), Some("tok-of-its-own-4711"));
    let used: Vec<Value> = bench.log("used").iter().map(|used| used["delivery"].clone()).collect();
    assert_eq!(used, ["env", "proxy"]);
}

#[test]
fn a_secret_goes_where_its_rules_say_in_each_form() {
    for (form, option, expected) in [
        ("basic:oauth2", "-u \"oauth2:$API\"", "authorization"),
        ("header:private-token", "-H \"Private-Token: $API\"", "private-token"),
        ("cookie:session", "-H \"Cookie: theme=dark; session=$API\"", "cookie"),
        ("query:key", "-G --data-urlencode \"key=$API\"", ""),
    ] {
        let bench = Bench::new();
        let upstream = bench.upstream();
        bench.put(&upstream.host(), &["--send-as", form]);
        let said = bench.says(&[], &format!("curl -sS {option} {}", upstream.url("/a")));
        assert_eq!(said, "fine", "{form}");
        let seen = &upstream.seen()[0];
        match expected {
            "" => assert_eq!(seen.target, format!("/a?key={CANARY}")),
            "authorization" => {
                let sent = data_encoding::BASE64.encode(format!("oauth2:{CANARY}").as_bytes());
                assert_eq!(seen.header("authorization"), Some(format!("Basic {sent}").as_str()));
            }
            name => assert!(seen.header(name).unwrap().ends_with(CANARY), "{form}: {seen:?}"),
        }
    }
}

#[test]
fn t31_a_host_without_tls_gets_the_value_where_the_rules_say_so_and_nowhere_else() {
    let bench = Bench::new();
    let (plain, other) = (Upstream::plain(), Upstream::plain());
    bench.put(&format!("http://{}", plain.host()), &[]);
    let requests = [&plain, &other].map(|upstream| curl(&format!("http://{}/a", upstream.host()), "-o /dev/null"));
    assert_eq!(bench.says(&[], &requests.concat()), "200403");
    assert!(plain.has_seen(CANARY));
    assert_eq!(other.seen().len(), 0);
}

#[test]
fn a_network_of_granted_hosts_only_refuses_others_with_a_reason_for_programs() {
    let bench = Bench::new();
    let (upstream, other) = (bench.upstream(), Upstream::plain());
    bench.put(&upstream.host(), &[]);
    let script = format!("curl -sS http://{}/a", other.host());
    let said = bench.says(&["--network", "granted-only"], &script);
    let refused: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(
        (&refused["outcome"], &refused["reason"]),
        (&"refused".into(), &"not_granted".into()),
        "{said}"
    );
    assert_eq!(other.seen().len(), 0);
}

#[test]
fn a_program_that_knows_the_protocol_alone_gets_address_certificates_and_placeholders_and_no_value() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    let with = json!([{ "secret": "prod/API", "via": "proxy", "env": "API" }]);
    let request = json!({ "do": "lease", "deliver": true, "network": "granted-only", "with": with });
    let mut caller = bench.lab.call(&json!({ "v": 1, "request": request }));
    let reply = caller.reply().unwrap();
    let line = codec::encode(&serde_json::from_value::<Reply>(reply.clone()).unwrap()).unwrap();
    println!("{}", String::from_utf8_lossy(&line));
    assert_eq!(hygiene::leaks(&line, &hygiene::forms(CANARY)), 0);
    let proxy = &reply["proxy"];
    let bearer = data_encoding::BASE64.decode(proxy["bearer"].as_str().unwrap().as_bytes()).unwrap();
    let bearer = String::from_utf8(bearer).unwrap();
    assert!(reply.get("values").is_none() && bearer.len() == 32, "{reply}");
    let ca = bench.lab.home.work().join("ca.pem");
    fs::write(&ca, proxy["ca"].as_str().unwrap()).unwrap();
    let curl = |password: &str| {
        let mut curl = Command::new("curl");
        curl.env_clear()
            .args(["-sS", "-m", "20", "--cacert", &ca.display().to_string(), "-x"]);
        curl.arg(format!("http://x:{password}@127.0.0.1:{}", proxy["port"]));
        let placeholder = proxy["placeholders"][0]["placeholder"].as_str().unwrap();
        curl.args(["-H", &format!("Authorization: Bearer {placeholder}"), &upstream.url("/a")]);
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    assert_eq!(curl(&bearer), "fine");
    assert_eq!(curl(&bearer.replace('0', "1").replace('a', "b")), "");
    assert_eq!(upstream.seen().len(), 1);
    // The connection holds lease and proxy.
    drop(caller);
    until("the end of the lease", || bench.log("ended").len() == 1);
    until("the end of the proxy", || curl(&bearer).is_empty());
    assert_eq!(upstream.seen().len(), 1);
}
