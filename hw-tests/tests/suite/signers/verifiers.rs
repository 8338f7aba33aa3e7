//! Programs that know nothing of this project accept a token and refuse it after its end, for another audience, and by a key that is not
//! published any more.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{AUD, ISSUER, export, lab, read, tokens};

/// PyJWT as an OpenID Connect relying party over what `issuer export` wrote: the claims, or why it refuses.
fn relying_party(folder: &Path, audience: &str, token: &str) -> Result<Value, String> {
    let python = env::var_os("VERIFIER").expect("hw-tests/with-verifiers sets VERIFIER");
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("verifiers/relying-party.py");
    let mut party = Command::new(python);
    party.arg("-B").arg(program).arg(folder).args([ISSUER, audience]);
    let out = fed(party, token);
    let said = String::from_utf8(out.stdout.clone()).unwrap();
    match out.status.code() {
        Some(0) => Ok(serde_json::from_str(&said).unwrap()),
        Some(1) if !said.is_empty() => Err(said.trim_end().to_owned()),
        _ => panic!("{out:?}"),
    }
}

fn fed(mut command: Command, text: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{text}").unwrap();
    child.wait_with_output().unwrap()
}

fn flipped(token: &str) -> String {
    let at = token.len() - 10;
    let other = if &token[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}

#[test]
#[ignore = "needs hw-tests/with-verifiers"]
fn t59_pyjwt_accepts_a_token_and_refuses_it_after_its_end_for_another_audience_and_by_a_key_that_was_rotated_out() {
    let mut accepted = 0;
    for alg in ["es256", "eddsa"] {
        let lab = lab(alg, &["--claim", "env", "--max-uses", "2"]);
        let folder = lab.home.work().join("site");
        assert!(export(&lab, &folder).status.success());
        let _watch = lab.home.watch().unwrap();
        let token = tokens(&lab, &["--claim", "env=prod"]).remove(0);
        let claims = relying_party(&folder, AUD, &token).unwrap();
        assert_eq!((&claims, claims["env"].as_str()), (&read(&token).1, Some("prod")));
        assert_eq!(
            relying_party(&folder, "https://other.example", &token),
            Err("InvalidAudienceError".into())
        );
        assert_eq!(relying_party(&folder, AUD, &flipped(&token)), Err("InvalidSignatureError".into()));
        let short = tokens(&lab, &["--ttl", "2s", "--uses", "2"]);
        for token in &short {
            relying_party(&folder, AUD, token).unwrap();
        }
        thread::sleep(Duration::from_millis(2100));
        for token in &short {
            assert_eq!(relying_party(&folder, AUD, token), Err("ExpiredSignatureError".into()));
        }
        // A verifier that has read the keys before a rotation knows the key that signs after it; what was signed before is good to its end.
        lab.person(&["signer", "rotate", "prod/deployer"]);
        let rotated = tokens(&lab, &[]).remove(0);
        relying_party(&folder, AUD, &rotated).unwrap();
        assert!(export(&lab, &folder).status.success());
        relying_party(&folder, AUD, &token).unwrap();
        // After the second rotation the first key is not published any more.
        lab.person(&["signer", "rotate", "prod/deployer"]);
        assert!(export(&lab, &folder).status.success());
        assert_eq!(relying_party(&folder, AUD, &token), Err("KeyError".into()));
        relying_party(&folder, AUD, &rotated).unwrap();
        lab.person(&["signer", "rotate", "prod/deployer", "--compromised"]);
        assert!(export(&lab, &folder).status.success());
        assert_eq!(relying_party(&folder, AUD, &rotated), Err("KeyError".into()));
        relying_party(&folder, AUD, &tokens(&lab, &[]).remove(0)).unwrap();
        accepted += 1;
    }
    println!("PyJWT: {accepted} of 2 algorithms");
}
