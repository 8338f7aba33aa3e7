//! `touchlease exchange openbao` with a cluster of which nodes are killed: what a command gets, what limits it has, and that it is over with the lease.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use touchlease::deliver::openbao::protocol::{Login, Order, Report, SUBCOMMAND};
use touchlease::encoding::exchange::Wanted;
use touchlease::worker::inbox::Inbox;
use touchlease::worker::start_lasting;

use super::super::{ISSUER, export};
use super::cluster::{Cluster, Postgres};
use super::pem_files;
use crate::hygiene::{forms, leaks, left_behind};
use crate::lab::{Lab, PATIENCE, error_of, holds, product, until};

const BAO: &str = "https://bao.example";
const PASSWORD: &str = "kv-hunter22-hunter22";

/// A lab with the signer `prod/bao`, and the cluster that its rules name, set up as `docs/signers.md` has it.
struct Bench {
    lab: Lab,
    cluster: Cluster,
}

impl Bench {
    fn new() -> Self {
        let (lab, cluster) = (Lab::new(), Cluster::start());
        let ca = cluster.ca().display().to_string();
        add(&lab, "prod/bao", &cluster.addresses(), &["--exchange-ca", &ca]);
        let site = lab.home.work().join("site");
        assert!(export(&lab, &site).status.success());
        let keys: Vec<String> = pem_files(&site, lab.home.path())
            .iter()
            .map(|file| fs::read_to_string(file).unwrap())
            .collect();
        assert!(cluster.operator(&["auth", "enable", "jwt"], "").status.success());
        cluster.write(
            "auth/jwt/config",
            &json!({ "bound_issuer": ISSUER, "jwt_validation_pubkeys": keys }),
        );
        let policy = |path: &str, may: &str| format!("path \"{path}\" {{ capabilities = [\"{may}\"] }}\n");
        let app = [
            policy("secret/data/app", "read"),
            policy("database/creds/app", "read"),
            policy("ssh/issue/deploy", "update"),
        ];
        cluster.write("sys/policies/acl/app", &json!({ "policy": app.concat() }));
        cluster.write(
            "sys/policies/acl/narrow",
            &json!({ "policy": policy("auth/token/create", "update") }),
        );
        cluster.write("auth/jwt/role/deploy", &role());
        assert!(
            cluster
                .operator(&["secrets", "enable", "-path=secret", "-version=2", "kv"], "")
                .status
                .success()
        );
        until("KV, upgraded", || {
            let kept = json!({ "data": { "password": PASSWORD, "user name": "app-kv-user" } }).to_string();
            cluster.operator(&["write", "secret/data/app", "-"], &kept).status.success()
        });
        Self { lab, cluster }
    }

    fn exchange(&self, more: &[&str], script: &str) -> Child {
        self.lab
            .agent(&[&["exchange", "openbao", "prod/bao"], more, &["--", "sh", "-c", script]].concat())
    }

    fn exchanged(&self, more: &[&str], script: &str) -> Output {
        let out = self.exchange(more, script).wait_with_output().unwrap();
        assert!(out.status.success(), "{out:?}");
        out
    }

    /// Lines of the log with this name.
    fn log(&self, name: &str) -> Vec<Value> {
        let events = self.lab.events().into_iter();
        events.filter_map(|(event, line)| (event == name).then_some(line)).collect()
    }

    /// The newest line of an exchange.
    fn newest(&self, name: &str) -> Value {
        self.log(name).pop().unwrap_or_default()
    }

    /// The exchange that began last: `what` became of it, and nothing of it is known to OpenBao.
    fn is_revoked(&self, what: &str) {
        let began = self.newest("exchanged");
        let accessor = began["accessor"].as_str().unwrap();
        self.lab
            .until("the log", || self.newest("exchange_ended")["accessor"] == began["accessor"]);
        self.lab
            .until("the log's last line of it", || self.newest("exchange_ended")["what"] == json!(what));
        assert!(self.cluster.token(accessor).is_none());
        assert!(self.cluster.token(began["token"].as_str().unwrap()).is_none());
    }
}

fn role() -> Value {
    json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": [BAO], "bound_subject": "bao", "token_policies": ["app", "narrow"],
        "token_ttl": "30m", "clock_skew_leeway": -1,
    })
}

fn add(lab: &Lab, name: &str, addresses: &[String], more: &[&str]) {
    let subject = name.split('/').next_back().unwrap();
    let mut arguments = vec![
        "signer",
        "add",
        name,
        "--issuer",
        ISSUER,
        "--aud",
        BAO,
        "--sub",
        subject,
        "--exchange-role",
        "deploy",
        "--exchange-policy",
        "app",
        "--exchange-path",
        "secret/data/app",
        "--exchange-path",
        "database/creds/app",
        "--exchange-path",
        "ssh/issue/deploy",
        "--exchange-path",
        "secret/data/none",
        "--exchange-uses",
        "3",
    ];
    addresses
        .iter()
        .for_each(|address| arguments.extend(["--exchange", address.as_str()]));
    lab.person(&[&arguments[..], more].concat());
}

/// What the command that was started wrote there.
fn started(command: &mut Child, file: &Path) -> String {
    until("the command", || {
        let there = fs::read_to_string(file).is_ok_and(|text| text.ends_with('\n'));
        if !there && command.try_wait().unwrap().is_some() {
            let mut said = String::new();
            command.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
            panic!("{said}");
        }
        there
    });
    fs::read_to_string(file).unwrap().trim_end().to_owned()
}

#[test]
#[ignore = "needs hw-tests/with-verifiers"]
fn p4_a_command_has_openbaos_token_with_the_leases_limits_and_it_is_revoked_when_the_command_or_the_lease_ends() {
    let mut bench = Bench::new();
    let _watch = bench.lab.home.watch().unwrap();
    let work = bench.lab.home.work();
    let bao = format!(
        "BAO_CACERT={} HOME={} {}",
        bench.cluster.ca().display(),
        work.display(),
        bench.cluster.program().display()
    );
    // What the command has, what it may do with it, and how often.
    let script = format!(
        "printf '%s\\n' \"$VAULT_TOKEN\" > {0}/token; {bao} read -field=data secret/data/app && {bao} read secret/data/other; \
         {bao} read secret/data/app > /dev/null; {bao} read secret/data/app > /dev/null; echo \"$?\"; touch {0}/read; while [ ! -e {0}/go ]; do sleep 0.1; done; echo $BAO_TOKEN",
        work.display()
    );
    let mut command = bench.exchange(&["--ttl", "2m", "--uses", "3"], &script);
    let token = started(&mut command, &work.join("token"));
    let began = bench.newest("exchanged");
    let seen = bench.cluster.token(began["token"].as_str().unwrap()).expect("a token");
    assert_eq!(
        (&seen["policies"], &seen["renewable"], &seen["orphan"]),
        (&json!(["app"]), &json!(false), &json!(false))
    );
    assert_eq!((&seen["meta"]["lease"], &began["uses"]), (&began["lease"], &json!(3)));
    let ttl = seen["explicit_max_ttl"].as_u64().unwrap();
    assert!((1..=120).contains(&ttl) && began["ttl"].as_u64().unwrap() <= 120, "{seen}");
    until("its requests", || work.join("read").exists());
    fs::write(work.join("go"), "").unwrap();
    let out = command.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let said = String::from_utf8(out.stdout.clone()).unwrap();
    // Three requests were good, of which one was refused: what is refused counts as well.
    assert!(said.contains("password") && said.contains("]2\n"), "{said}");
    assert!(!holds(&out.stdout, &token) && !holds(&out.stderr, &token), "{out:?}");
    assert_eq!(String::from_utf8(out.stderr).unwrap().matches("NOT revoked").count(), 0);
    // The command's own files have it, and none of ours (T45).
    let ours = left_behind(bench.lab.home.path())
        .into_iter()
        .filter(|file| !file.starts_with(&work));
    let ours: Vec<_> = ours.map(|file| fs::read(file).unwrap_or_default()).collect();
    assert!(ours.len() > 10 && ours.iter().all(|bytes| leaks(bytes, &forms(&token)) == 0));
    bench.is_revoked("revoked");
    assert!(!bench.cluster.run(&token, &["token", "lookup"], "").status.success());
    // The lease ends first: the command is ended, and the token refused, within a second.
    let hold = format!("printf '%s\\n' \"$BAO_TOKEN\" > {0}/held; exec sleep 60", work.display());
    let mut command = bench.exchange(&[], &hold);
    let token = started(&mut command, &work.join("held"));
    assert!(bench.cluster.run(&token, &["read", "secret/data/app"], "").status.success());
    let id = bench.newest("exchanged")["lease"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    bench.lab.prints(&["lease", "revoke", &id]);
    until("the token's end", || {
        !bench.cluster.run(&token, &["read", "secret/data/app"], "").status.success()
    });
    println!(
        "OpenBao's token refused {} ms after its lease was revoked",
        begun.elapsed().as_millis()
    );
    assert!(!command.wait_with_output().unwrap().status.success());
    bench.is_revoked("revoked");
    // Its time is over.
    let _ = fs::remove_file(work.join("held"));
    let mut command = bench.exchange(&["--ttl", "3s"], &hold);
    let token = started(&mut command, &work.join("held"));
    assert!(!command.wait_with_output().unwrap().status.success());
    assert!(!bench.cluster.run(&token, &["token", "lookup"], "").status.success());
    bench.is_revoked("revoked");
    // The daemon stops.
    fs::remove_file(work.join("held")).unwrap();
    let mut command = bench.exchange(&[], &hold);
    let token = started(&mut command, &work.join("held"));
    bench.lab.restart(|_| {});
    assert!(!command.wait_with_output().unwrap().status.success());
    assert!(!bench.cluster.run(&token, &["token", "lookup"], "").status.success());
    bench.is_revoked("revoked");
    survives(&bench);
}

/// A worker whose daemon is killed: its socket is closed, and nobody says anything.
fn survives(bench: &Bench) {
    // A screen ended with the daemon before.
    let _watch = bench.lab.home.watch().unwrap();
    add_plain(&bench.lab);
    let mut role = role();
    role["bound_subject"] = json!("plain");
    let site = bench.lab.home.work().join("site");
    assert!(export(&bench.lab, &site).status.success());
    let keys: Vec<String> = pem_files(&site, bench.lab.home.path())
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    bench.cluster.write(
        "auth/jwt/config",
        &json!({ "bound_issuer": ISSUER, "jwt_validation_pubkeys": keys }),
    );
    bench.cluster.write("auth/jwt/role/deploy", &role);
    let jwt = bench.lab.prints(&["token", "prod/plain", "--aud", BAO]);
    let view = bench.lab.json(&["signer", "show", "prod/bao"]);
    let login = Login {
        exchange: serde_json::from_value(view["signer"]["exchange"].clone()).unwrap(),
        wanted: Wanted::default(),
        lease: "ab".into(),
        left_ms: 60_000,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let attempt = async || {
        let (socket, worker) = start_lasting(&product(), SUBCOMMAND).unwrap();
        let mut inbox = Inbox::new(socket).unwrap();
        inbox
            .send(&Order::Login(Box::new(login.clone())), jwt.trim_end().as_bytes())
            .await
            .unwrap();
        let (report, _) = inbox.next::<Report>().await.unwrap();
        (report, inbox, worker)
    };
    // A node that follows the leader may know the role as it was, for a moment.
    let late = Instant::now() + PATIENCE;
    let (accessor, mut worker) = loop {
        match runtime.block_on(attempt()) {
            (Report::Given { accessor, token, .. }, inbox, worker) => {
                assert!(bench.cluster.token(&token).is_some());
                drop(inbox);
                break (accessor, worker);
            }
            (Report::NotGiven { reason, why, .. }, ..) if reason == "login" && why.contains("invalid subject") && Instant::now() < late => {
                std::thread::sleep(Duration::from_millis(100));
            }
            (report, ..) => panic!("{report:?}"),
        }
    };
    until("the token's end", || bench.cluster.token(&accessor).is_none());
    runtime.block_on(async { assert!(worker.wait().await.unwrap().success()) });
}

fn add_plain(lab: &Lab) {
    lab.person(&["signer", "add", "prod/plain", "--issuer", ISSUER, "--aud", BAO, "--sub", "plain"]);
}

#[test]
#[ignore = "needs hw-tests/with-verifiers"]
fn p4_credentials_of_three_engines_come_through_an_exchange_while_a_node_is_killed_and_end_with_their_lease() {
    let mut bench = Bench::new();
    let postgres = Postgres::start();
    let cluster = &bench.cluster;
    assert!(cluster.operator(&["secrets", "enable", "database"], "").status.success());
    let connection = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "app", "username": "operator", "password": "op-password",
        "connection_url": format!("postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode=disable", postgres.port),
    });
    cluster.write("database/config/pg", &connection);
    let create = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';";
    let creates = json!({ "db_name": "pg", "default_ttl": "1h", "max_ttl": "1h", "creation_statements": [create] });
    cluster.write("database/roles/app", &creates);
    assert!(cluster.operator(&["secrets", "enable", "ssh"], "").status.success());
    cluster.write(
        "ssh/config/ca",
        &json!({ "generate_signing_key": true, "key_type": "ec", "key_bits": 256 }),
    );
    let deploy = json!({
        "key_type": "ca", "allow_user_certificates": true, "allowed_users": "deploy", "default_user": "deploy", "ttl": "5m",
    });
    cluster.write("ssh/roles/deploy", &deploy);
    let _watch = bench.lab.home.watch().unwrap();
    let work = bench.lab.home.work();
    bench.cluster.kill_leader();
    // The others have a new leader within seconds, and whoever asks meanwhile waits.
    let fetch = [
        "--read",
        "APP=secret/data/app",
        "--read",
        "DB=database/creds/app",
        "--write",
        "SSH=ssh/issue/deploy?key_type=ec&key_bits=256&valid_principals=deploy",
    ];
    let keep = format!(
        "umask 077; printf '%s' \"$DB_USERNAME\" > {0}/user; printf '%s' \"$DB_PASSWORD\" > {0}/password; printf '%s' \"$SSH_SIGNED_KEY\" > {0}/cert.pub; \
         printf '%s' \"$SSH_PRIVATE_KEY\" > {0}/key; echo \"$APP_PASSWORD $APP_USER_NAME $DB_PASSWORD ${{BAO_TOKEN-none}}\"; echo > {0}/has; \
         while [ ! -e {0}/go ]; do sleep 0.1; done",
        work.display()
    );
    let begun = Instant::now();
    let mut command = bench.exchange(&fetch, &keep);
    started(&mut command, &work.join("has"));
    println!(
        "credentials of three engines {} ms after the leader was killed",
        begun.elapsed().as_millis()
    );
    let [user, password] = ["user", "password"].map(|name| fs::read_to_string(work.join(name)).unwrap());
    assert_eq!(
        postgres.says(&user, &password, "select current_user").as_deref(),
        Some(user.as_str())
    );
    let listed = Command::new("ssh-keygen")
        .arg("-L")
        .arg("-f")
        .arg(work.join("cert.pub"))
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("user certificate") && listed.contains("                deploy\n"),
        "{listed}"
    );
    // The private key is the certificate's.
    let of_key = Command::new("ssh-keygen")
        .arg("-y")
        .arg("-f")
        .arg(work.join("key"))
        .output()
        .unwrap();
    assert!(of_key.status.success(), "{of_key:?}");
    let began = bench.newest("exchanged");
    assert_eq!(
        began["fetched"],
        json!(["secret/data/app", "database/creds/app", "ssh/issue/deploy"])
    );
    assert_eq!(bench.cluster.token(began["token"].as_str().unwrap()).unwrap()["num_uses"], json!(0));
    fs::write(work.join("go"), "").unwrap();
    let out = command.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(
        said.trim_end().ends_with("none") && !said.contains(PASSWORD) && !said.contains(&password),
        "{said}"
    );
    bench.is_revoked("revoked");
    // What OpenBao made in the database, it takes back itself, right after.
    until("the database's role to be gone", || {
        postgres.says(&user, &password, "select 1").is_none()
    });
    // As files, of a cluster with all of its nodes again.
    bench.cluster.revive();
    let out = bench.exchanged(
        &["--files", "--read", "APP=secret/data/app"],
        "cat \"$APP_PASSWORD\"; stat -c %a \"$APP_PASSWORD\"",
    );
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(said.contains("600") && !said.contains(PASSWORD), "{said}");
    bench.is_revoked("revoked");
    // Nothing there, nothing given, and nothing left.
    let refused = |bench: &Bench, more: &[&str]| {
        let command = [&["--json", "exchange", "openbao", "prod/bao"], more, &["--", "touch", "started"]].concat();
        let (code, error) = error_of(&bench.lab.agent_to_its_end(&command));
        (
            code,
            error["reason"].as_str().unwrap().to_owned(),
            error["message"].as_str().unwrap().to_owned(),
        )
    };
    let (code, reason, message) = refused(&bench, &["--read", "NO=secret/data/none"]);
    assert_eq!((code, reason.as_str()), (Some(62), "exchange_fetch"), "{message}");
    assert_eq!(refused(&bench, &["--read", "X=secret/data/other"]).1, "path_forbidden");
    assert_eq!(refused(&bench, &["--uses", "4"]).1, "uses_over_cap");
    // A role that would end what it gives before the lease does, or that lets nothing be made narrower.
    let with = |change: Value| {
        let mut role = role();
        role.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        bench.cluster.write("auth/jwt/role/deploy", &role);
    };
    with(json!({ "token_num_uses": 5 }));
    assert_eq!(refused(&bench, &[]).1, "exchange_role_uses");
    with(json!({ "token_num_uses": 0, "token_policies": ["app"] }));
    assert_eq!(refused(&bench, &[]).1, "exchange_limits");
    with(json!({ "token_policies": ["app", "narrow"], "token_no_default_policy": true }));
    assert_eq!(refused(&bench, &[]).1, "exchange_not_revocable");
    with(json!({ "token_policies": ["narrow"], "token_no_default_policy": false }));
    assert_eq!(refused(&bench, &[]).1, "exchange_limits");
    with(json!({ "token_policies": ["app", "narrow"], "bound_subject": "somebody" }));
    assert_eq!(refused(&bench, &[]).1, "exchange_login");
    with(json!({}));
    // Nobody is trusted whom the rules do not name.
    add(&bench.lab, "prod/strange", &bench.cluster.addresses(), &[]);
    let (code, error) = error_of(
        &bench
            .lab
            .agent_to_its_end(&["--json", "exchange", "openbao", "prod/strange", "--", "true"]),
    );
    assert_eq!((code, error["reason"].as_str()), (Some(62), Some("exchange_login")));
    assert!(error["message"].as_str().unwrap().contains("TLS"), "{error}");
    assert!(!bench.lab.home.work().join("started").exists());
}

#[test]
#[ignore = "needs hw-tests/with-verifiers"]
fn p4_a_revocation_that_fails_is_said_recorded_and_tried_until_it_succeeds() {
    let mut bench = Bench::new();
    let _watch = bench.lab.home.watch().unwrap();
    let work = bench.lab.home.work();
    let mut command = bench.exchange(
        &[],
        &format!(
            "printf '%s\\n' \"$BAO_TOKEN\" > {0}/held; while [ ! -e {0}/go ]; do sleep 0.1; done",
            work.display()
        ),
    );
    let token = started(&mut command, &work.join("held"));
    let began = bench.newest("exchanged");
    bench.cluster.kill_all();
    fs::write(work.join("go"), "").unwrap();
    let out = command.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.contains("NOT revoked yet"), "{said}");
    let ended = bench.newest("exchange_ended");
    assert_eq!((&ended["what"], &ended["accessor"]), (&json!("not_revoked"), &began["accessor"]));
    bench.cluster.revive();
    bench
        .lab
        .until("the log", || bench.newest("exchange_ended")["what"] == json!("revoked"));
    thread::sleep(Duration::from_millis(100));
    assert!(!bench.cluster.run(&token, &["token", "lookup"], "").status.success());
    bench.lab.prints(&["audit", "verify"]);
}
