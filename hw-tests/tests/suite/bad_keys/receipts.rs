//! Receipts that nobody touched for, and old ones offered again: what `audit verify` makes of a log with them in it.

use std::{
    borrow::Cow,
    fs,
    process::{Command, Stdio},
    sync::Arc,
};

use ciborium::Value;
use hw_tests::{
    conformance::Machine,
    ctap::Ctap,
    host::{self, Host, NewAssertion, Protocol, permission},
    key::PIN,
    stubs::recorder::Recorder,
};
use touchlease::{
    audit::{
        Event, Line,
        event::{Asked, OfAsked, Signed},
    },
    encoding::{
        Digest,
        sshsig::{self, Namespace, Point},
    },
};

use super::{approvals, honest, overheard, rig, run, witnessed};

/// A log in the hands of somebody who can write the file: the chain holds again after whatever he does to it.
struct Forger(Vec<Line<'static>>);

impl Forger {
    fn take(machine: &Machine<'_>) -> Self {
        let bytes = fs::read(machine.home.log().unwrap()).unwrap();
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        Self(lines.map(|line| Line::from_bytes(line).unwrap()).collect())
    }

    fn add(&mut self, event: Event) -> Digest {
        let last = self.0.last().unwrap();
        let line = Line {
            prev: Digest::of(&last.to_bytes().unwrap()),
            seq: last.seq + 1,
            event: Cow::Owned(event),
            ..last.clone()
        };
        let hash = Digest::of(&line.to_bytes().unwrap());
        self.0.push(line);
        hash
    }

    /// The newest question once more, word for word, and an answer to it.
    fn ask_again(&mut self, answer: impl FnOnce(Digest) -> Signed) {
        let asked = self.add(Event::Asked(self.last_asked()));
        self.add(Event::Shown(OfAsked { asked }));
        self.add(Event::Approved(answer(asked)));
    }

    fn last_asked(&self) -> Asked {
        let asked = |line: &Line<'_>| match line.event.as_ref() {
            Event::Asked(asked) => Some(asked.clone()),
            _ => None,
        };
        self.0.iter().rev().find_map(asked).unwrap()
    }

    fn last_approved(&self) -> Signed {
        let approved = |line: &Line<'_>| match line.event.as_ref() {
            Event::Approved(signed) => Some(signed.clone()),
            _ => None,
        };
        self.0.iter().rev().find_map(approved).unwrap()
    }

    /// Puts the log back, for a daemon that starts on it.
    fn give_back(&self, machine: &Machine<'_>) {
        let bytes: Vec<u8> = self.0.iter().flat_map(|line| line.to_bytes().unwrap()).collect();
        fs::write(machine.home.log().unwrap(), bytes).unwrap();
        machine.restart("").unwrap();
    }
}

const ANOTHER_ID: &str = "0123456789abcdef0123456789abcdef";

/// What somebody does with an old receipt.
type Forgery = fn(&mut Forger, &Signed);

/// A lease like this one that answers another question, under the same signature.
fn about(old: &Signed, asked: Digest, id: Option<&str>) -> Signed {
    let mut text: serde_json::Value = serde_json::from_str(&old.text).unwrap();
    text["asked"] = serde_json::to_value(asked).unwrap();
    if let Some(id) = id {
        text["id"] = id.into();
    }
    Signed {
        text: text.to_string(),
        ..old.clone()
    }
}

/// What `audit verify` says: exit code, and its faults in one text.
fn verified(machine: &Machine<'_>) -> (Option<i32>, String) {
    let out = machine.home.run(["audit", "verify", "--json"]).unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    (out.status.code(), said)
}

/// Steps 1 and 2 of `docs/verify.md` with stock tools: what ssh-keygen says, after `audit export`.
fn stock_ssh_keygen(machine: &Machine<'_>, id: &str) -> String {
    let folder = machine.home.work().join("receipt");
    let exported = machine.home.run(["audit", "export", id, "receipt"]).unwrap();
    assert!(exported.status.success(), "{exported:?}");
    let verify =
        "ssh-keygen -Y verify -n touchlease-lease -I \"$(cut -d ' ' -f 1 allowed_signers)\" -f allowed_signers -s lease.sig < lease.json";
    let out = Command::new("sh")
        .args(["-c", verify])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}

/// What the key signs for another program that asks it not to wait for a touch, as a receipt over `text`.
fn untouched(key: &Arc<Recorder>, pin: bool, point: &Point, text: &str) -> (u8, String) {
    let requests = overheard(key);
    let lease = requests
        .iter()
        .rfind(|request| host::member(request, 1).and_then(Value::as_text) == Some(sshsig::RP_ID))
        .unwrap();
    let allowed = host::member(lease, 3).unwrap().as_array().unwrap();
    let id = host::text_member(&allowed[0], "id").unwrap().as_bytes().unwrap();
    let mut program = Host(key.clone() as Arc<dyn Ctap>);
    let token = pin.then(|| program.token(Protocol::Two, PIN, permission::GET_ASSERTION, sshsig::RP_ID).unwrap());
    let got = program
        .get_assertion(&NewAssertion {
            rp_id: sshsig::RP_ID,
            client_data_hash: sshsig::client_data_hash(Namespace::Lease, text.as_bytes()).0,
            allow: &[id],
            silent: true,
            token: token.as_ref(),
            ..NewAssertion::default()
        })
        .unwrap();
    let signature = p256::ecdsa::Signature::from_der(&got.signature).unwrap();
    let assertion = sshsig::Assertion {
        flags: got.flags(),
        counter: got.counter(),
        extensions: got.auth_data[37..].to_vec(),
        signature: signature.to_bytes().into(),
    };
    (got.flags(), assertion.to_sshsig(point, Namespace::Lease, text.as_bytes()))
}

#[test]
fn t02_a_receipt_that_nobody_touched_for_is_good_to_ssh_keygen_and_refused_by_audit_verify() {
    for (pin, flags) in [(false, 0x00), (true, 0x04)] {
        let (rig, witness) = witnessed();
        let machine = Machine::new(&rig).unwrap();
        let mut init = vec!["init", "--key", "blue", "--scope", "prod"];
        init.extend((!pin).then_some("--touch-only"));
        machine.done(&init).unwrap();
        machine.put("TOKEN", "correct-horse-battery").unwrap();
        assert_eq!(run(&machine).0, Some(0));
        let (code, said) = verified(&machine);
        assert_eq!(code, Some(0), "{said}");

        // A lease for which the key is asked in silence, in a log whose chain holds.
        let touches = machine.keys[0].counts().unwrap().given;
        let mut log = Forger::take(&machine);
        let old = log.last_approved();
        let (point, _) = sshsig::Assertion::from_sshsig(old.sshsig.as_ref().unwrap(), Namespace::Lease, old.text.as_bytes()).unwrap();
        log.ask_again(|asked| {
            let forged = about(&old, asked, Some(ANOTHER_ID));
            let (signed_flags, sshsig) = untouched(&witness, pin, &point, &forged.text);
            assert_eq!(signed_flags, flags);
            Signed {
                sshsig: Some(sshsig),
                ..forged
            }
        });
        log.give_back(&machine);
        assert_eq!(machine.keys[0].counts().unwrap().given, touches, "nobody touched the key");

        let stock = stock_ssh_keygen(&machine, ANOTHER_ID);
        assert!(stock.starts_with("Good \"touchlease-lease\" signature for blue"), "{stock}");
        let (code, said) = verified(&machine);
        assert_eq!(code, Some(72), "{said}");
        assert!(said.contains("no touch") && said.matches("\"line\":").count() == 1, "{said}");
    }
}

#[test]
fn t11_an_old_receipt_copied_into_the_log_is_refused_by_audit_verify() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    for _ in 0..2 {
        assert_eq!(run(&machine).0, Some(0));
    }
    let good = Forger::take(&machine);
    let (code, said) = verified(&machine);
    assert_eq!((code, approvals(&machine)), (Some(0), 2), "{said}");
    let old = good.last_approved();
    let forgeries: [(Forgery, &str); 4] = [
        (|log, old| _ = log.add(Event::Approved(old.clone())), "no open question"),
        (|log, old| log.ask_again(|_| old.clone()), "no open question"),
        (|log, old| log.ask_again(|asked| about(old, asked, None)), "used before"),
        (
            |log, old| log.ask_again(|asked| about(old, asked, Some(ANOTHER_ID))),
            "another text",
        ),
    ];
    for (forge, sentence) in forgeries {
        let mut log = Forger(good.0.clone());
        forge(&mut log, &old);
        log.give_back(&machine);
        let (code, said) = verified(&machine);
        assert_eq!(code, Some(72), "{said}");
        assert!(said.contains(sentence), "{sentence:?} is not in {said}");
    }
}
