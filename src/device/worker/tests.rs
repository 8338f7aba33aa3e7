#![allow(clippy::unwrap_used)]
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest as _, Sha256};

use super::protocol::{Failure, Id, Operation, Warm};
use super::*;
use crate::device::ctap::cbor::{self, Map, Value};
use crate::device::ctap::{Frames, KeepAlive, Status, Watch};
use crate::device::enrolled::Credential;
use crate::device::which;
use crate::worker::frame::write_frame;

/// How a device answers a silent look for the `which` credential.
#[derive(Clone, Copy)]
enum Recognition {
    Unknown,
    Signs(u8),
}

/// A device that notes what it is sent.
struct Device {
    recognition: Recognition,
    heard: Arc<Mutex<Vec<u8>>>,
}

const KEY: u8 = 7;

fn signing(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn credential() -> Credential {
    let point = signing(KEY).verifying_key().to_sec1_point(false);
    Credential {
        id: vec![1, 2, 3],
        public_key: point.as_bytes().try_into().unwrap(),
    }
}

fn ok(map: Map) -> Vec<u8> {
    [vec![0], cbor::encode(&map.into())].concat()
}

impl Transport for Device {
    fn cbor(&mut self, message: &[u8], watch: &mut dyn Watch) -> Result<Vec<u8>, TransportError> {
        self.heard.lock().unwrap().push(message[0]);
        match (message[0], self.recognition) {
            (4, _) => Ok(ok(Map::new().with(1, vec![Value::from("FIDO_2_1")]).with(3, vec![0u8; 16]))),
            (2, Recognition::Signs(seed)) => {
                let request = cbor::decode_map(&message[1..]).unwrap();
                let mut auth_data = Sha256::digest(which::RP_ID).to_vec();
                auth_data.extend([0; 5]);
                let signed = Sha256::digest([&auth_data[..], request.bytes(2).unwrap()].concat());
                let signature: Signature = signing(seed).sign_prehash(&signed).unwrap();
                Ok(ok(Map::new().with(2, auth_data).with(3, signature.to_der().as_bytes())))
            }
            (2, Recognition::Unknown) => Ok(vec![Status::NO_CREDENTIALS.0]),
            (1, _) => {
                watch.keepalive(KeepAlive::UpNeeded);
                while !watch.cancelled() {
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(vec![Status::KEEPALIVE_CANCEL.0])
            }
            _ => Ok(vec![Status::PIN_AUTH_BLOCKED.0]),
        }
    }

    fn frames(&self) -> Frames {
        Frames::default()
    }
}

fn start(recognition: Recognition, operation: Operation, pin: &[u8]) -> (UnixStream, Arc<Mutex<Vec<u8>>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = heard.clone();
    thread::spawn(move || {
        let open = |_: &Port, _: Link, _: Option<u32>| -> Result<Box<dyn Transport>, TransportError> {
            Ok(Box::new(Device {
                recognition,
                heard: kept.clone(),
            }))
        };
        let _ = serve(
            theirs,
            Ways {
                fido2: &open,
                piv: &|_| Err(Failure::NotPiv),
            },
        );
    });
    let request = Request {
        port: Port::Node("key".into()),
        link: Link::Usb,
        warm: Warm::default(),
        operation,
    };
    write_frame(&ours, &request, pin).unwrap();
    (ours, heard)
}

fn assert_with_pin(recognition: Recognition) -> (Report, Vec<u8>) {
    let operation = Operation::Assert {
        credential: Id(vec![9]),
        hash: [0; 32],
        salts: vec![[0; 32]],
        which: Some(credential()),
    };
    let (socket, heard) = start(recognition, operation, b"1234");
    let (report, _) = read_frame(&socket).unwrap();
    let heard = heard.lock().unwrap().clone();
    (report, heard)
}

#[test]
fn t13_nothing_about_a_pin_is_said_to_a_device_that_does_not_know_the_credential() {
    let (report, heard) = assert_with_pin(Recognition::Unknown);
    assert!(matches!(report, Report::Failed(Failure::Impostor)));
    assert_eq!(heard, [4, 2]);
}

#[test]
fn t13_nothing_about_a_pin_is_said_to_a_device_that_signs_with_another_key() {
    let (report, heard) = assert_with_pin(Recognition::Signs(KEY + 1));
    assert!(matches!(report, Report::Failed(Failure::Impostor)));
    assert_eq!(heard, [4, 2]);
}

#[test]
fn t13_nothing_about_a_pin_is_said_to_another_key_that_is_to_make_the_second_credential() {
    for (recognition, heard_of) in [(Recognition::Unknown, &[4, 2][..]), (Recognition::Signs(KEY), &[4, 2, 6])] {
        let (socket, heard) = start(recognition, make(Some(credential())), b"1234");
        let _: (Report, Secret) = read_frame(&socket).unwrap();
        assert_eq!(*heard.lock().unwrap(), heard_of);
    }
}

#[test]
fn a_device_that_proves_itself_is_asked_for_its_side_of_the_pin_protocol() {
    let (report, heard) = assert_with_pin(Recognition::Signs(KEY));
    assert!(matches!(report, Report::Failed(Failure::Status(0x34))));
    assert_eq!(heard, [4, 2, 6]);
}

fn make(which: Option<Credential>) -> Operation {
    Operation::MakeCredential {
        rp_id: which::RP_ID.into(),
        hash: [0; 32],
        user_id: Id(vec![1]),
        user_name: "me".into(),
        exclude: vec![],
        hmac_secret: false,
        protection: 1,
        which,
    }
}

#[test]
fn a_touch_is_announced_and_a_cancel_is_heard() {
    let (mut socket, _) = start(Recognition::Unknown, make(None), b"");
    let (report, _) = read_frame(&socket).unwrap();
    assert!(matches!(report, Report::TouchNow));
    io::Write::write_all(&mut socket, &[0]).unwrap();
    let (report, _) = read_frame(&socket).unwrap();
    assert!(matches!(report, Report::Failed(Failure::Cancelled)));
}

#[test]
fn a_daemon_that_dies_means_cancel_so_that_no_key_is_left_blinking() {
    let (socket, heard) = start(Recognition::Unknown, make(None), b"");
    let _: (Report, Secret) = read_frame(&socket).unwrap();
    drop(socket);
    // The device's loop ends only by the cancel; then it is dropped with its copy of the list.
    for _ in 0..200 {
        if Arc::strong_count(&heard) == 1 {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the worker went on");
}

#[test]
fn cards_are_not_cared_for() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let request = Request {
        port: Port::Reader("r".into()),
        link: Link::Contact,
        warm: Warm::default(),
        operation: Operation::Manage {
            task: protocol::Manage::SetPin,
            which: None,
        },
    };
    write_frame(&ours, &request, b"1234").unwrap();
    let ways = Ways {
        fido2: &|_, _, _| Err(TransportError::NotFido),
        piv: &|_| Err(Failure::NotPiv),
    };
    serve(theirs, ways).unwrap();
    let (report, _) = read_frame(&ours).unwrap();
    assert!(matches!(report, Report::Failed(Failure::OverUsbOnly)));
}
