//! Texts that a prompt shows, and files that people write.

use crate::encoding::Digest;
use crate::lease::task::MOST_GRANTS;
use crate::lease::text::ExportText;
use crate::vault::statement::Statement;

use super::blocks;
use super::wire::prompts;

const DIGEST: &str = "0101010101010101010101010101010101010101010101010101010101010101";

/// What every text carries: one head, or several that the touch joins.
fn origin(joins: &str) -> String {
    let requester =
        r#"{"claimed":{"ancestors":["sh"],"command":["touchlease"],"executable":"/bin/touchlease","folder":"/home"},"pid":27594,"uid":0}"#;
    let vault = format!(r#"{{"heads":{{"prod":["{DIGEST}"]}},"id":"{DIGEST}",{joins}"roster":"{DIGEST}"}}"#);
    format!(r#""origin":{{"boot":"486e","nonce":"1143","requester":{requester},"vault":{vault}}}"#)
}

pub fn lease_text() -> Vec<Vec<u8>> {
    let joins = format!(
        r#""joins":{{"count":2,"judged":"{DIGEST}","secrets":[{{"changed":1800000000,"earlier_key":true,"secret":"prod/A","version":2}},{{"changed":1800000000,"issuer":"","secret":"prod/git","signs":"signatures","version":1}}]}},"#
    );
    let grant = format!(r#"{{"env":"TOKEN","judged":"{DIGEST}","secret":"prod/TOKEN","version":3,"via":"env"}}"#);
    let proxy = r#"{"form":"header:x-api-key","hosts":["api.example.com"],"methods":["GET"],"paths":["/v4/*"]}"#;
    let grant = format!(r#"{grant},{{"env":"API","judged":"{DIGEST}","proxy":{proxy},"secret":"prod/API","version":1,"via":"proxy"}}"#);
    let lease = |joins: &str, holder: &str, tail: &str| {
        let origin = origin(joins);
        format!(
            r#"{{"asked":"{DIGEST}","at_end":"terminate","command":["make"],"grants":[{grant}],"holder":{holder},"id":"0f0f","kind":"lease","not_after":1800000900,"not_before":1800000000,{origin},"policy":"{DIGEST}",{tail}"ttl":900,"uses":20,"v":1}}"#
        )
    };
    let task = format!(r#""reason":"release","task":{{"about":"Deploy","digest":"{DIGEST}","name":"deploy"}},"#);
    let differs = format!(r#""from":"{DIGEST}","lines":["- uses = 1","+ uses = 2"],"more":3"#);
    let changed = |how: &str| task.replace(r#""digest""#, &format!(r#""changed":{{{how}}},"digest""#));
    let key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let token = format!(
        r#""token":{{"alg":"EdDSA","aud":"https://a.example","claims":{{"env":"prod"}},"class":"sealed","iss":"https://id.example","key":"{key}","sub":"deployer"}}"#
    );
    let signed = format!(r#"{{"judged":"{DIGEST}","secret":"prod/deployer",{token},"version":3,"via":"signer"}}"#);
    let certificate = format!(
        r#"{{"certificate":{{"alg":"EdDSA","ca":"{key}","class":"sealed","force_command":"uptime","key":"ssh-ed25519 AAAA","principal":"deploy","pty":true,"source_addresses":["192.0.2.0/24","::1/128"]}},"judged":"{DIGEST}","secret":"prod/ca","version":3,"via":"signer"}}"#
    );
    let texts = [
        lease("", r#"{"by":"connection"}"#, ""),
        lease("", r#"{"by":"connection"}"#, "").replace(&grant, &certificate),
        lease("", r#"{"by":"connection"}"#, "").replace(&grant, &signed),
        lease(&joins, r#"{"by":"process","name":"make","pid":7}"#, &task),
        lease("", r#"{"by":"connection"}"#, &changed("")),
        lease("", r#"{"by":"connection"}"#, &changed(&differs)),
    ];
    texts.map(String::into_bytes).into_iter().chain(prompts()).collect()
}

pub fn change_text() -> Vec<Vec<u8>> {
    let origin = origin("");
    let version = |record: &str| format!(r#"{{"changed":1800000000,"record":"{record}","version":2}}"#);
    let keeps = format!(
        r#""keeps":[{{"drops":[{}],"keeps":{},"rules":{{"deliveries":["env"]}},"secret":"prod/A","version":3}}],"#,
        version("0a"),
        version("0b")
    );
    let change = |keeps: &str| {
        format!(
            r#"{{"asked":"{DIGEST}","at":1800000000,"id":"0f0f",{keeps}"kind":"change",{origin},"removes":["prod/OLD"],"v":1,"writes":[{{"rules":{{"deliveries":["env"],"ttl":600,"uses":3}},"secret":"prod/TOKEN","value":true,"version":2}}]}}"#
        )
    };
    let key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let signer = format!(
        r#"{{"deliveries":["signer"],"signer":{{"alg":"EdDSA","audiences":["https://a.example"],"claims":{{"env":["prod"]}},"current":"{key}","issuer":"https://id.example","next":"{key}","subjects":["deployer"]}},"ttl":600,"uses":3}}"#
    );
    let rules = r#"{"deliveries":["env"],"ttl":600,"uses":3}"#;
    let drops = format!(
        r#""at":1800000000,"drops":[{{"alg":"EdDSA","issuer":"https://id.example","public":"{key}","secret":"prod/OLD","was":"previous"}}],"#
    );
    let turned = change("").replace(rules, &signer).replace(
        r#"{"rules":"#,
        r#"{"before":{"audiences":["https://b.example"],"claims":{},"subjects":["robot"],"ttl":60,"uses":1},"rules":"#,
    );
    let dropping = change("").replace(r#""at":1800000000,"#, &drops);
    let issued = r#""issuer":"https://id.example","public""#;
    let for_ssh = dropping.replace(issued, r#""issuer":"","public""#);
    let of_certificates = for_ssh.replace(r#""was""#, r#""signs":"certificates","was""#);
    [
        change(""),
        change(&keeps),
        change("").replace(rules, &signer),
        turned,
        dropping,
        for_ssh,
        of_certificates,
    ]
    .map(String::into_bytes)
    .into()
}

pub fn clock_text() -> Vec<Vec<u8>> {
    let origin = origin("");
    vec![
        format!(r#"{{"asked":"{DIGEST}","id":"0f0f","kind":"clock","moved":"an hour ahead","now":1800000000,{origin},"v":1}}"#)
            .into_bytes(),
    ]
}

pub fn older_text() -> Vec<Vec<u8>> {
    let origin = origin("");
    let older = |instead: &str, roster: &str| {
        let lost = r#"{"at":1800000000,"names":["prod/A","prod/B"]}"#;
        let scope = format!(r#"{{"gone":1,"remembered":"{DIGEST}","scope":"prod"}}"#);
        format!(
            r#"{{"asked":"{DIGEST}","count":1,"id":"0f0f",{instead}"kind":"older","lost":[{lost}],{origin},{roster}"scopes":[{scope}],"v":1}}"#
        )
    };
    let roster = format!(r#""roster":{{"missing":2,"remembered":"{DIGEST}"}},"#);
    let instead = format!(r#""instead":{{"name":"laptop","vault":"{DIGEST}"}},"#);
    [older("", ""), older("", &roster), older(&instead, "")]
        .map(String::into_bytes)
        .into()
}

pub fn export_text() -> Vec<Vec<u8>> {
    let (origin, words) = (origin(""), ExportText::words("prod"));
    let text = format!(
        r#"{{"asked":"{DIGEST}","at":1800000000,"id":"0f0f","kind":"export","left_out":1,{origin},"scope":"prod","secrets":2,"to":"/home/out.json","v":1,"warning":"{words}"}}"#
    );
    vec![text.into_bytes()]
}

const REQUESTER: &str = r#""requester":{"claimed":{"ancestors":["sh"],"command":["touchlease"],"executable":"/bin/touchlease","folder":"/home","labels":{"CLAUDECODE":"1"}},"pid":27594,"uid":0}"#;

pub fn enrol_text() -> Vec<Vec<u8>> {
    let enrol = |card: &str, recovers: &str| {
        format!(r#"{{{card}"id":"0f0f","key":"blue","kind":"enrol",{recovers}{REQUESTER},"scopes":["prod","dev"],"touches":4,"v":1}}"#)
            .into_bytes()
    };
    let card = r#""card":{"factory":["pin","puk","management-key"],"open":"95","overwrites":["95"],"serial":24036003,"sign":"94"},"#;
    vec![
        enrol("", ""),
        enrol("", r#""recovers":{"keeps":["spare"],"removes":["lost"]},"#),
        enrol(card, ""),
    ]
}

pub fn unlock_text() -> Vec<Vec<u8>> {
    vec![format!(r#"{{"id":"0f0f","keep":3600,"key":"blue","kind":"unlock",{REQUESTER},"v":1}}"#).into_bytes()]
}

pub fn roster_beside() -> Vec<Vec<u8>> {
    let statements = super::vault::statement();
    let first = &statements[0];
    let mut second = Statement::from_bytes(&statements[1]).expect("a statement");
    second.previous = vec![Digest::of(first)];
    let second = &second.to_bytes().expect("a statement");
    let requester = r#""requester":{"claimed":{"ancestors":["sh"],"command":["touchlease"],"executable":"/bin/touchlease","folder":"/home"},"pid":27594,"uid":0}"#;
    let beside = |statement: &[u8], before: &[&[u8]]| {
        let before: Vec<_> = before.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
        let before = serde_json::to_string(&before).expect("texts");
        let mut sample = u32::try_from(statement.len()).expect("a short one").to_be_bytes().to_vec();
        sample.extend(statement);
        sample.extend(format!(r#"{{"before":{before},{requester},"v":1}}"#).bytes());
        sample
    };
    vec![beside(first, &[]), beside(second, &[first]), beside(second, &[])]
}

pub fn task_file() -> Vec<Vec<u8>> {
    let page = blocks(include_str!("../../../../docs/tasks.md"), "toml")
        .into_iter()
        .map(|block| block.as_bytes().to_vec());
    let two = "[task.a]\nabout = \"\"\nat_end = \"kill\"\n[[task.a.grant]]\nsecret = \"prod/A\"\nvia = \"file\"\nenv = \"A\"\n[task.b]\nabout = \"x\"\n";
    let proxy = "[task.a]\nabout = \"\"\n[[task.a.grant]]\nsecret = \"prod/A\"\nvia = \"proxy\"\nenv = \"A\"\nhosts = [\"[::1]:8443\", \"http://a.example:80\", \"127.0.0.1\"]\nmethods = [\"GET\"]\npaths = [\"/v4/*/pages/*\"]\n";
    let token = "[task.a]\nabout = \"\"\n[[task.a.grant]]\nsecret = \"prod/A\"\nvia = \"signer\"\nenv = \"A\"\naudience = \"a\"\nsubject = \"b\"\nclaims = { c = \"d\" }\n";
    let grants = |more: &str| format!("[task.a]\nabout = \"\"\n{more}");
    let grant = |more: &str| grants(&format!("[[task.a.grant]]\nsecret = \"prod/A\"\nenv = \"A\"\n{more}"));
    let wrong = [
        format!(
            "uses = 0\n{}",
            "[[task.a.grant]]\nsecret = \"prod/A\"\nvia = \"env\"\nenv = \"A\"\n"
        ),
        "[[task.a.grant]]\nsecret = \"prod/A\"\nvia = \"env\"\nenv = \"A\"\n".repeat(2),
        "[[task.a.grant]]\nsecret = \"prod/A\"\nvia = \"env\"\nenv = \"A\"\n".repeat(MOST_GRANTS + 1),
    ];
    let wrong = wrong.iter().map(|more| grants(more)).chain([
        grant("via = \"env\"\nhosts = [\"a.example\"]\n"),
        grant("via = \"env\"\naudience = \"a\"\n"),
        grant("via = \"signer\"\n"),
    ]);
    let again = token.replace("[task.a]\nabout = \"\"\n", "");
    let twice = format!("{token}{}", again.replace("env = \"A\"", "env = \"B\""));
    page.chain([two, proxy, token, &twice].map(|text| text.as_bytes().to_vec()))
        .chain(wrong.map(String::into_bytes))
        .collect()
}

pub fn configuration() -> Vec<Vec<u8>> {
    let page = blocks(include_str!("../../../../docs/daemon.md"), "toml")
        .into_iter()
        .map(|block| block.as_bytes().to_vec());
    let others = [
        "90s",
        "1h30m",
        "1h 30m",
        "vault = \"/x\"\nproxy_roots = \"/etc/ssl/company.pem\"\nproxy_upstream = \"http://proxy.example:3128\"\n[limits]\nttl = \"1h30m\"\nlongest_ttl = \"2h\"\n",
        "[limits]\nprompt = \"6m\"\n",
        "[limits]\nmin_firmware = \"5.x\"\n",
        "[limits]\nmin_firmware = \"5.7.1\"\nprompt = \"6m\"\n",
        "[limits]\npiv_attestation_roots = \"roots.pem\"\n",
        "vault = \"vault\"\n",
    ];
    page.chain(others.map(|text| text.as_bytes().to_vec())).collect()
}
