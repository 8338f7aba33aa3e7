//! Commands of tasks whose credential goes by proxy: the only way out of the fence, and no value on this side of it.

use touchlease::config::Config;

use super::*;
use crate::{
    hygiene::{forms, leaks, left_behind},
    proxy::upstream::{Authority, Upstream},
};

const TASK: &str = r#"[task.deploy]
about = "Deploy the docs"
command = ["./deploy.sh"]
[[task.deploy.grant]]
secret = "prod/API"
via = "proxy"
env = "API"
"#;

/// What the command tries: the host of its lease, which also sends back what it got; another host through the proxy; the same without it.
const SCRIPT: &str = r#"
env > env.out
cat /proc/[0-9]*/environ > processes.out 2> /dev/null
cat "$SSL_CERT_FILE" > memory.out
curl -sS -m 20 -w ' %{http_code}\n' -H "Authorization: Bearer $API" GRANTED/api/x
curl -sS -m 20 -H "Authorization: Bearer $API" GRANTED/echo > echo.out; grep -i ^authorization echo.out
curl -sS -m 20 -o wrong.json -w '%{http_code}\n' -H "Authorization: Bearer $API" http://OTHER/api/x
curl -sS -m 20 -o refused.json -w '%{http_code}\n' http://OTHER/api/x
curl -sS -m 5 --noproxy '*' http://OTHER/api/x 2> /dev/null; echo "direct $?"
curl -sS -m 5 --noproxy '*' --insecure GRANTED/api/x 2> /dev/null; echo "granted, direct $?"
"#;

/// A lab with `prod/API`, which goes to `host` by proxy, and a workspace whose script this is.
fn lab(authority: &Authority, host: &str, script: &str) -> Lab {
    let lab = Lab::with(Config {
        proxy_roots: Some(authority.pem.clone()),
        ..Config::default()
    });
    lab.put("prod/API", CANARY.as_bytes(), &["--host", host]);
    fs::write(lab.home.work().join("touchlease.toml"), TASK).unwrap();
    write_script(&lab, script);
    lab
}

#[test]
fn t42_p7_a_fenced_task_reaches_its_host_by_proxy_and_the_value_is_nowhere_on_its_side() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let (upstream, other) = (Upstream::tls(&authority, &["localhost"]), Upstream::plain());
    let script = SCRIPT.replace("GRANTED", &upstream.url("")).replace("OTHER", &other.host());
    let lab = lab(&authority, &upstream.host(), &script);
    let _watch = lab.home.watch().unwrap();
    for start in [Agent::start, Agent::modern] {
        let before = upstream.seen().len();
        let mut agent = start(&lab);
        let lease = agent.lease(&lab);
        let done = agent.call("run_task", json!({"lease": lease}));
        // curl's 7: the connection was refused, by the fence, since somebody listens there.
        let expected = "fine 200\nauthorization: Bearer <touchlease:prod/API>\n403\n403\ndirect 7\ngranted, direct 7\n";
        assert_eq!(done["output"], expected, "{done}");
        // The proxy has masked the echo; there was no value for the mask of the output.
        assert_eq!(done["masked"], 0, "{done}");
        let seen = upstream.seen();
        assert_eq!((seen.len() - before, other.seen().len()), (2, 0));
        assert_eq!(seen[before].header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
        for (file, reason) in [("wrong.json", "wrong_host"), ("refused.json", "not_granted")] {
            let refused = fs::read_to_string(lab.home.work().join(file)).unwrap();
            assert!(refused.contains(reason), "{refused}");
        }
        let environment = fs::read_to_string(lab.home.work().join("env.out")).unwrap();
        let placeholder = environment.lines().find_map(|line| line.strip_prefix("API=")).unwrap();
        assert!(placeholder.contains("TOUCHLEASE"), "{environment}");
        let certificates = fs::read_to_string(lab.home.work().join("memory.out")).unwrap();
        assert!(certificates.contains("BEGIN CERTIFICATE"));
        let work = left_behind(&lab.home.work());
        let home = work.iter().filter(|file| file.starts_with(lab.home.path()));
        let found: usize = home.map(|file| leaks(&fs::read(file).unwrap(), &forms(CANARY))).sum();
        assert_eq!(found, 0);
        assert_eq!(leaks(agent.hang_up().as_bytes(), &forms(CANARY)), 0);
    }
    assert_eq!(lab.count("used"), 4);
    println!("T42 proxy: 0 hits in results, environment and files of 2 tasks with 4 requests");
}
