//! Touches stolen for other programs' requests, with the PIN profile.

use std::sync::Arc;

use ciborium::Value;
use hw_tests::{
    conformance::{Machine, rigs::InProcess},
    ctap::Ctap,
    ctaphid::packet::command,
    host::{Host, NewAssertion, NewCredential, Protocol, Token, hid::HidHost, member, permission, text_member},
    key::PIN,
    stubs::recorder::Recorder,
};
use touchlease::encoding::sshsig;

use super::{approvals, overheard, run, witnessed};

const PIN_AUTH: i64 = 6;
const PIN_PROTOCOL: i64 = 7;

/// What a program knows that steals touches: credentials and salts, which lie in the vault's folder, the text of an approved lease,
/// which lies in the log, and what another program sees of a key.
struct Thief {
    key: Arc<Recorder>,
    lease: Vec<u8>,
    which: Vec<u8>,
    /// clientDataHash of an approved lease.
    hash: [u8; 32],
    /// What authorised it by PIN, and by which protocol: sent to the key, which no other program hears.
    authorisation: (Vec<u8>, u64),
}

const SALT: [u8; 32] = [0x5a; 32];

impl Thief {
    fn listening(key: Arc<Recorder>) -> Self {
        let requests = overheard(&key);
        let of = |party: &str| {
            let said = requests
                .iter()
                .rfind(|request| member(request, 1).and_then(Value::as_text) == Some(party))
                .unwrap();
            let allowed = member(said, 3).unwrap().as_array().unwrap();
            let id = text_member(&allowed[0], "id").unwrap().as_bytes().unwrap().clone();
            (said.clone(), id)
        };
        let ((approved, lease), (_, which)) = (of(sshsig::RP_ID), of("touchlease:which"));
        let bytes = |number| member(&approved, number).unwrap().as_bytes().unwrap().clone();
        let protocol = member(&approved, PIN_PROTOCOL).unwrap().as_integer().unwrap();
        Self {
            hash: bytes(2).try_into().unwrap(),
            authorisation: (bytes(PIN_AUTH), protocol.try_into().unwrap()),
            key,
            lease,
            which,
        }
    }

    fn host(&self) -> Host<Arc<dyn Ctap>> {
        Host(self.key.clone())
    }

    /// The request that the product makes, but for the PIN, over what was approved already.
    fn asks(&self, protocol: Protocol, change: impl for<'a> FnOnce(&'a Self, NewAssertion<'a>) -> NewAssertion<'a>) -> Option<Vec<u8>> {
        self.asks_with(protocol, None, change)
    }

    fn asks_with(
        &self,
        protocol: Protocol,
        token: Option<&Token>,
        change: impl for<'a> FnOnce(&'a Self, NewAssertion<'a>) -> NewAssertion<'a>,
    ) -> Option<Vec<u8>> {
        let allow = [&self.lease[..]];
        let plain = NewAssertion {
            rp_id: sshsig::RP_ID,
            client_data_hash: self.hash,
            allow: &allow,
            salts: Some((protocol, &SALT)),
            token,
            ..NewAssertion::default()
        };
        self.host().get_assertion(&change(self, plain)).ok()?.secrets
    }
}

/// One way to use a stolen touch: the secrets it got for [`SALT`], if any.
type Hijack = (&'static str, fn(&Thief, Protocol) -> Option<Vec<u8>>);

const HIJACKS: [Hijack; 9] = [
    ("the lease's request without the PIN", |thief, protocol| {
        thief.asks(protocol, |_, plain| plain)
    }),
    ("without a touch as well", |thief, protocol| {
        thief.asks(protocol, |_, plain| NewAssertion { silent: true, ..plain })
    }),
    ("with user verification by the key itself", |thief, protocol| {
        thief.asks(protocol, |_, plain| NewAssertion { uv: true, ..plain })
    }),
    ("with an authorisation made up", |thief, protocol| {
        thief.asks(protocol, |_, plain| NewAssertion {
            overheard: Some((&[0x11; 32], 2)),
            ..plain
        })
    }),
    ("with an empty authorisation", |thief, protocol| {
        thief.asks(protocol, |_, plain| NewAssertion {
            overheard: Some((&[], 1)),
            ..plain
        })
    }),
    ("for a web site", |thief, protocol| {
        thief.asks(protocol, |_, plain| NewAssertion {
            rp_id: "a.example",
            ..plain
        })
    }),
    ("without naming a credential", |thief, protocol| {
        thief.asks(protocol, |_, plain| NewAssertion { allow: &[], ..plain })
    }),
    ("by the credential that answers in silence", |thief, protocol| {
        let allow = [&thief.which[..]];
        let ask = NewAssertion {
            rp_id: "touchlease:which",
            client_data_hash: thief.hash,
            allow: &allow,
            salts: Some((protocol, &SALT)),
            ..NewAssertion::default()
        };
        thief.host().get_assertion(&ask).ok()?.secrets
    }),
    ("by a credential of the thief's own for the same party", |thief, protocol| {
        let made = thief
            .host()
            .make_credential(&NewCredential {
                rp_id: sshsig::RP_ID,
                client_data_hash: thief.hash,
                hmac_secret: true,
                ..NewCredential::default()
            })
            .ok()?;
        let allow = [&made.id[..], &thief.lease];
        let ask = NewAssertion {
            rp_id: sshsig::RP_ID,
            client_data_hash: thief.hash,
            allow: &allow,
            salts: Some((protocol, &SALT)),
            ..NewAssertion::default()
        };
        thief.host().get_assertion(&ask).ok()?.secrets
    }),
];

/// What opens the vault: the secret of this salt under the PIN.
fn genuine(machine: &Machine<'_>, thief: &Thief, protocol: Protocol) -> Vec<u8> {
    let token = thief.host().token(protocol, PIN, permission::GET_ASSERTION, sshsig::RP_ID).unwrap();
    machine.keys[0].grant().unwrap();
    let genuine = thief.asks_with(protocol, Some(&token), |_, plain| plain);
    machine.keys[0].never().unwrap();
    genuine.expect("with the PIN it opens")
}

/// Whether the touch of somebody who looks at our prompt approves it when another program's question is in front.
fn misled_touch_approves(rig: &InProcess, machine: &Machine<'_>) -> bool {
    let before = approvals(machine);
    let other = HidHost::connect(rig.usb_keys()[0].key().open().unwrap()).unwrap();
    // authenticatorSelection (CTAP 2.1, 6.9): nothing but a touch.
    other.send(command::CBOR, &[0x0b]).unwrap();
    machine.blinks(0).unwrap();
    let mut request = machine.request(&["run", "--with", "prod/TOKEN", "--", "true"]).unwrap();
    request.watch.expect("do not touch it").unwrap();
    machine.keys[0].press().unwrap();
    request.watch.expect("it blinks").unwrap();
    request.abandon().unwrap();
    approvals(machine) != before
}

#[test]
fn p3_a_touch_stolen_for_another_programs_request_opens_nothing() {
    let (rig, witness) = witnessed();
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    assert!(run(&machine).2);
    let thief = Thief::listening(witness);
    let (mut tried, mut opened) = (0, vec![]);
    for protocol in [Protocol::One, Protocol::Two] {
        let genuine = genuine(&machine, &thief, protocol);
        machine.keys[0].grant().unwrap();
        for (name, hijack) in HIJACKS {
            tried += 1;
            if hijack(&thief, protocol).is_some_and(|secrets| secrets == genuine) {
                opened.push(name);
            }
        }
        machine.keys[0].never().unwrap();
    }
    tried += 1;
    if misled_touch_approves(&rig, &machine) {
        opened.push("the touch of a prompt");
    }
    let of = 2 * HIJACKS.len() + 1;
    println!("P3: {tried} of {of} hijacks tried, {} opened something", opened.len());
    assert_eq!((tried, opened), (of, vec![]));
}

/// CTAP 2.1, 6.5.2.1: a PIN token has no permissions left after a touch. This firmware leaves it as it is, and so do keys that know
/// CTAP 2.0 alone. What authorised a lease is then good for another request, for whoever hears what is *sent* to a key: root, or a
/// device on the cable.
#[test]
fn an_authorisation_that_was_heard_on_the_wire_is_good_once_more_on_a_key_that_does_not_end_it() {
    let (rig, witness) = witnessed();
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    assert!(run(&machine).2);
    let genuine = genuine(&machine, &Thief::listening(witness.clone()), Protocol::Two);
    assert!(run(&machine).2);
    let thief = Thief::listening(witness);
    let heard = || {
        thief.asks(Protocol::Two, |thief, plain| NewAssertion {
            overheard: Some((&thief.authorisation.0, thief.authorisation.1)),
            ..plain
        })
    };
    machine.keys[0].grant().unwrap();
    assert_eq!(heard(), Some(genuine));
    // With the next token it is over.
    thief
        .host()
        .token(Protocol::Two, PIN, permission::GET_ASSERTION, sshsig::RP_ID)
        .unwrap();
    assert_eq!(heard(), None);
}
