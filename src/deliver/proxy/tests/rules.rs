//! P7: exactly the approved scheme, host, port, method and path.

use serde::Deserialize;

use crate::deliver::proxy::protocol::{GrantSpec, Place, Scheme, Target};
use crate::deliver::proxy::rules::{Asked, Fault, Rule};

const VECTORS: &str = include_str!("../../../../hw-tests/vectors/proxy-rules.json");

#[derive(Deserialize)]
struct File {
    rules: std::collections::BTreeMap<String, Narrow>,
    vectors: Vec<Vector>,
    not_patterns: Vec<String>,
}

#[derive(Deserialize)]
struct Narrow {
    targets: Vec<Target>,
    methods: Vec<String>,
    paths: Vec<String>,
}

#[derive(Deserialize)]
struct Vector {
    rule: String,
    scheme: Scheme,
    host: String,
    port: u16,
    method: String,
    path: String,
    verdict: String,
}

fn spec(narrow: &Narrow) -> GrantSpec {
    GrantSpec {
        secret: "prod/X".into(),
        value_len: 1,
        targets: narrow.targets.clone(),
        place: Place::Basic { user: None },
        methods: narrow.methods.clone(),
        paths: narrow.paths.clone(),
        allow_private: false,
    }
}

fn file() -> File {
    serde_json::from_str(VECTORS).unwrap()
}

#[test]
fn p7_a_credential_goes_with_exactly_what_the_rules_say() {
    let file = file();
    let mut agreed = 0;
    for vector in &file.vectors {
        let rule = Rule::new(&spec(&file.rules[&vector.rule])).unwrap();
        let asked = Asked {
            scheme: vector.scheme,
            host: &vector.host,
            port: vector.port,
            method: &vector.method,
            path: &vector.path,
        };
        let verdict = match rule.judge(asked) {
            Ok(()) => "go",
            Err(Fault::Host) => "host",
            Err(Fault::Method) => "method",
            Err(Fault::Path) => "path",
            Err(Fault::PathForm) => "path_form",
        };
        assert_eq!(
            verdict, vector.verdict,
            "{} {:?} {:?} {:?}",
            vector.rule, vector.host, vector.method, vector.path
        );
        agreed += 1;
    }
    assert!(agreed >= 100, "there are {agreed} vectors");
    println!("P7: {agreed} of {} vectors of the proxy's rules", file.vectors.len());
}

#[test]
fn p7_what_is_not_in_one_form_is_no_rule() {
    let file = file();
    let good = spec(&file.rules["cloudflare"]);
    for pattern in &file.not_patterns {
        let paths = vec![pattern.clone()];
        assert!(Rule::new(&GrantSpec { paths, ..good.clone() }).is_err(), "{pattern:?}");
    }
    for method in ["", "get", "TRACE", "CONNECT", "G T"] {
        let methods = vec![method.to_owned()];
        assert!(Rule::new(&GrantSpec { methods, ..good.clone() }).is_err(), "{method:?}");
    }
    assert!(
        Rule::new(&GrantSpec {
            targets: vec![],
            ..good.clone()
        })
        .is_err()
    );
    for (host, port) in [
        ("A.example", 443),
        ("a.example.", 443),
        ("a.example:443", 443),
        ("::1", 443),
        ("bücher.example", 443),
        ("a.example", 0),
    ] {
        let target = Target {
            scheme: Scheme::Https,
            host: host.into(),
            port,
        };
        assert!(
            Rule::new(&GrantSpec {
                targets: vec![target],
                ..good.clone()
            })
            .is_err(),
            "{host}:{port}"
        );
    }
}
