#![allow(clippy::unwrap_used)]
use std::thread;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;

/// A key that does what its script says.
struct Script(OwnedFd);

const OURS: u32 = 0x0101_0101;
const THEIRS: u32 = 0x0202_0202;

impl Script {
    fn hear(&self) -> Packet {
        let mut packet = [0; PACKET];
        assert_eq!(rustix::io::read(&self.0, &mut packet).unwrap(), PACKET);
        packet
    }

    fn say(&self, channel: u32, command: u8, data: &[u8]) {
        for packet in frame::packets(channel, command, data).unwrap() {
            // The other side may have had enough.
            let _ = rustix::io::write(&self.0, &packet);
        }
    }

    /// Answers INIT with our channel.
    fn greet(&self) {
        let packet = self.hear();
        assert_eq!((&packet[..4], packet[4]), (&[0xFF; 4][..], INIT | 0x80));
        // Somebody else's INIT at the same time.
        self.say(BROADCAST, INIT, &[&[9; 8][..], &THEIRS.to_be_bytes(), &[2, 5, 7, 1, 5]].concat());
        self.say(BROADCAST, INIT, &[&packet[7..15], &OURS.to_be_bytes(), &[2, 5, 7, 1, 5]].concat());
    }
}

#[derive(Default)]
struct Seen {
    touches: u32,
    others: u32,
    cancel_after_touch: bool,
    cancelled: bool,
}

impl Watch for Seen {
    fn keepalive(&mut self, status: KeepAlive) {
        if status == KeepAlive::UpNeeded {
            self.touches += 1;
            self.cancelled = self.cancel_after_touch;
        }
    }

    fn another_program(&mut self) {
        self.others += 1;
    }

    fn cancelled(&mut self) -> bool {
        self.cancelled
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

fn seven(bytes: &mut [u8]) -> io::Result<()> {
    bytes.fill(7);
    Ok(())
}

fn run(channel: Option<u32>, seen: &mut Seen, script: impl FnOnce(Script) + Send + 'static) -> (Result<Vec<u8>, TransportError>, Frames) {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let key = thread::spawn(move || script(Script(theirs)));
    let mut hid = Hid::from_fd(ours, channel, seven).with_silence(Duration::from_millis(300));
    let answer = hid.cbor(&[4], seen);
    let frames = hid.frames();
    drop(hid);
    key.join().unwrap();
    (answer, frames)
}

#[test]
fn a_message_goes_out_and_its_answer_comes_back_after_one_init() {
    let (answer, frames) = run(None, &mut Seen::default(), |key| {
        key.greet();
        assert_eq!(key.hear()[..8], [1, 1, 1, 1, CBOR | 0x80, 0, 1, 4]);
        key.say(OURS, CBOR, &[0; 100]);
    });
    assert_eq!(answer.unwrap(), [0; 100]);
    assert_eq!(frames, Frames { sent: 2, received: 2 });
}

#[test]
fn a_channel_of_the_last_time_saves_the_init() {
    let (answer, frames) = run(Some(OURS), &mut Seen::default(), |key| {
        key.hear();
        key.say(OURS, CBOR, &[0]);
    });
    assert_eq!((answer.unwrap(), frames), (vec![0], Frames { sent: 1, received: 1 }));
}

#[test]
fn a_channel_that_the_key_has_forgotten_is_renewed_once() {
    let (answer, _) = run(Some(THEIRS), &mut Seen::default(), |key| {
        key.hear();
        key.say(THEIRS, ERROR, &[ERR_INVALID_CHANNEL]);
        key.greet();
        key.hear();
        key.say(OURS, CBOR, &[0]);
    });
    assert_eq!(answer.unwrap(), [0]);
    let (answer, _) = run(None, &mut Seen::default(), |key| {
        key.greet();
        key.hear();
        key.say(OURS, ERROR, &[ERR_INVALID_CHANNEL]);
    });
    assert!(matches!(answer, Err(TransportError::Protocol(_))));
}

#[test]
fn t03_answers_keepalives_and_continuations_on_a_foreign_channel_are_never_ours() {
    let mut seen = Seen::default();
    let (answer, _) = run(None, &mut seen, |key| {
        key.greet();
        key.hear();
        key.say(THEIRS, CBOR, &[0xEE; 200]);
        key.say(THEIRS, KEEPALIVE, &[2]);
        key.say(OURS, CBOR, &[0; 60]);
    });
    assert_eq!(answer.unwrap(), [0; 60]);
    assert_eq!(seen.touches, 0, "a foreign 'touch me' is not ours");
    assert_eq!(seen.others, 2, "T04: the other program is noticed");
}

#[test]
fn t03_packets_with_a_wrong_sequence_are_ignored() {
    let (answer, _) = run(Some(OURS), &mut Seen::default(), |key| {
        key.hear();
        let packets = frame::packets(OURS, CBOR, &[5; 150]).unwrap();
        for packet in [&packets[1], &packets[0], &packets[2], &packets[1], &packets[1], &packets[2]] {
            rustix::io::write(&key.0, packet).unwrap();
        }
    });
    assert_eq!(answer.unwrap(), [5; 150]);
    let (answer, _) = run(Some(OURS), &mut Seen::default(), |key| {
        key.hear();
        let packets = frame::packets(OURS, CBOR, &[5; 150]).unwrap();
        rustix::io::write(&key.0, &packets[0]).unwrap();
        rustix::io::write(&key.0, &packets[2]).unwrap();
        thread::sleep(Duration::from_millis(400));
    });
    assert_eq!(answer, Err(TransportError::Silent));
}

#[test]
fn t04_a_key_that_another_program_occupies_is_asked_again_and_the_person_is_told() {
    let mut seen = Seen::default();
    let (answer, _) = run(Some(OURS), &mut seen, |key| {
        key.hear();
        key.say(OURS, ERROR, &[ERR_CHANNEL_BUSY]);
        key.say(THEIRS, KEEPALIVE, &[2]);
        key.hear();
        key.say(OURS, CBOR, &[0]);
    });
    assert_eq!(answer.unwrap(), [0]);
    assert_eq!((seen.others, seen.touches), (2, 0));
}

#[test]
fn keepalives_ask_for_the_touch_and_keep_a_slow_key_from_timing_out() {
    let mut seen = Seen::default();
    let (answer, frames) = run(Some(OURS), &mut seen, |key| {
        key.hear();
        for _ in 0..10 {
            key.say(OURS, KEEPALIVE, &[2]);
            thread::sleep(Duration::from_millis(50));
        }
        key.say(OURS, CBOR, &[0]);
    });
    assert_eq!(answer.unwrap(), [0]);
    assert_eq!((seen.touches, frames.received), (10, 1));
}

#[test]
fn cancelling_tells_the_key_and_takes_its_last_word() {
    let mut seen = Seen {
        cancel_after_touch: true,
        ..Seen::default()
    };
    let (answer, _) = run(Some(OURS), &mut seen, |key| {
        key.hear();
        key.say(OURS, KEEPALIVE, &[2]);
        assert_eq!(key.hear()[4], CANCEL | 0x80);
        key.say(OURS, CBOR, &[0x2D]);
    });
    assert_eq!(answer.unwrap(), [0x2D]);
}

#[test]
fn t58_a_key_that_ignores_the_cancel_is_left_after_half_a_second() {
    let mut seen = Seen {
        cancel_after_touch: true,
        ..Seen::default()
    };
    let (answer, _) = run(Some(OURS), &mut seen, |key| {
        key.hear();
        for _ in 0..8 {
            key.say(OURS, KEEPALIVE, &[2]);
            thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(answer, Err(TransportError::Cancelled));
}

#[test]
fn t56_a_key_pulled_out_at_any_packet_is_reported_at_once() {
    for said in 0..3 {
        let (answer, _) = run(None, &mut Seen::default(), move |key| {
            if said > 0 {
                key.greet();
            }
            key.hear();
            if said > 1 {
                rustix::io::write(&key.0, &frame::packets(OURS, CBOR, &[0; 150]).unwrap()[0]).unwrap();
            }
        });
        assert_eq!(answer, Err(TransportError::PulledOut), "after {said}");
    }
}

#[test]
fn t58_a_silent_key_and_one_that_sends_nonsense_are_errors() {
    let (answer, _) = run(None, &mut Seen::default(), |key| {
        key.hear();
        thread::sleep(Duration::from_millis(400));
    });
    assert_eq!(answer, Err(TransportError::Silent));
    let (answer, _) = run(Some(OURS), &mut Seen::default(), |key| {
        key.hear();
        rustix::io::write(&key.0, &[1; 10]).unwrap();
    });
    assert!(matches!(answer, Err(TransportError::Protocol(_))));
    let (answer, _) = run(Some(OURS), &mut Seen::default(), |key| {
        key.hear();
        key.say(OURS, INIT, &[0; 17]);
    });
    assert!(matches!(answer, Err(TransportError::Protocol(_))));
}

#[test]
fn a_node_locked_by_another_program_is_busy() {
    let path = std::env::temp_dir().join(format!("touchlease-hid-lock-{}", std::process::id()));
    let other = std::fs::File::create(&path).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    let busy = Hid::open(&path, None, seven, Path::new("/proc")).err();
    assert_eq!(busy, Some(TransportError::Busy { by: None }));
    drop(other);
    assert!(Hid::open(&path, None, seven, Path::new("/proc")).is_ok());
    std::fs::remove_file(path).unwrap();
    let gone = Hid::open(Path::new("/nonexistent/hidraw9"), None, seven, Path::new("/proc")).err();
    assert_eq!(gone, Some(TransportError::PulledOut));
}

#[test]
fn a_node_that_udev_has_not_given_to_its_user_yet_is_waited_for_and_one_that_stays_forbidden_is_not() {
    let path = std::env::temp_dir().join(format!("touchlease-hid-new-{}", std::process::id()));
    let mut tries = 0;
    let mut third = || {
        tries += 1;
        if tries < 3 { Err(Errno::ACCESS) } else { Ok(()) }
    };
    std::fs::File::create(&path).unwrap();
    assert_eq!(settled(&path, &mut third), Ok(()));
    std::fs::remove_file(&path).unwrap();
    let mut tries = 0;
    let mut never = || {
        tries += 1;
        Err::<(), _>(Errno::ACCESS)
    };
    assert_eq!(settled(Path::new("/bin/sh"), &mut never), Err(Errno::ACCESS));
    assert_eq!(tries, 1);
}
