//! A HID device made in the kernel through `/dev/uhid`, seen by every program as a real hidraw node.
//!
//! Layouts: `linux/uhid.h`, whose structures are packed. There is no USB parent under it, so udev rules on USB
//! attributes do not match.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
};

use crate::{
    bus::report,
    ctaphid::packet::{Packet, SIZE},
};

const DESTROY: u32 = 1;
const OUTPUT: u32 = 6;
const GET_REPORT: u32 = 9;
const CREATE2: u32 = 11;
const INPUT2: u32 = 12;
const SET_REPORT: u32 = 13;

const BUS_USB: u16 = 3;
const EIO: u16 = 5;

/// The event type, and the largest of the structures that follow it (create2: 276 bytes and 4096 of descriptor).
const EVENT: usize = 4 + 276 + 4096;
const OUTPUT_DATA: usize = 4;
const OUTPUT_SIZE: usize = 4 + 4096;

/// Usage page 0xF1D0, usage 1: 64 bytes in, 64 bytes out, no report ids (CTAP 2.1, 11.2.8.2).
pub const REPORT_DESCRIPTOR: [u8; 34] = [
    0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x81, 0x02, 0x09, 0x21,
    0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xc0,
];

/// How the device names itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The product, at most 127 bytes.
    pub name: String,
    /// Where it is plugged in, at most 63 bytes.
    pub port: String,
    /// USB vendor and product.
    pub ids: (u16, u16),
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            name: "Emulated FIDO2 key".into(),
            port: "emukey/0".into(),
            ids: (0x20a0, 0x42b2),
        }
    }
}

/// Makes the device.
pub(crate) fn create(identity: &Identity) -> io::Result<File> {
    let mut node = OpenOptions::new().read(true).write(true).open("/dev/uhid")?;
    let mut event = vec![0; EVENT];
    let mut put = |at: usize, bytes: &[u8]| event[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &CREATE2.to_ne_bytes());
    put(4, truncated(&identity.name, 127));
    put(132, truncated(&identity.port, 63));
    put(260, &(REPORT_DESCRIPTOR.len() as u16).to_ne_bytes());
    put(262, &BUS_USB.to_ne_bytes());
    put(264, &u32::from(identity.ids.0).to_ne_bytes());
    put(268, &u32::from(identity.ids.1).to_ne_bytes());
    put(280, &REPORT_DESCRIPTOR);
    node.write_all(&event)?;
    Ok(node)
}

/// Takes it away, as a pulled plug does.
pub(crate) fn destroy(mut node: File) {
    let _ = node.write_all(&DESTROY.to_ne_bytes()); // closing it does the same
}

/// The event that delivers a report to the hosts.
pub(crate) fn input(report: &[u8]) -> Vec<u8> {
    let mut event = INPUT2.to_ne_bytes().to_vec();
    event.extend((report.len() as u16).to_ne_bytes());
    event.extend(report);
    event
}

/// Hands over what hosts write until the device is gone or `sink` has had enough.
pub(crate) fn read(mut node: File, mut sink: impl FnMut(Packet) -> bool) {
    let mut event = vec![0; EVENT];
    while let Ok(4..) = node.read(&mut event) {
        match number(&event, 0) {
            OUTPUT => {
                let size = usize::from(u16::from_ne_bytes([event[OUTPUT_SIZE], event[OUTPUT_SIZE + 1]])).min(SIZE + 1);
                let Some(report) = report(&event[OUTPUT_DATA..][..size]) else {
                    continue;
                };
                if !sink(report) {
                    return;
                }
            }
            kind @ (GET_REPORT | SET_REPORT) => {
                // Unanswered, the host's ioctl would wait for five seconds.
                let mut refusal = (kind + 1).to_ne_bytes().to_vec();
                refusal.extend(number(&event, 4).to_ne_bytes());
                refusal.extend(EIO.to_ne_bytes());
                if node.write_all(&refusal).is_err() {
                    return;
                }
            }
            _ => {} // start, stop, open, close
        }
    }
}

fn number(event: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([event[at], event[at + 1], event[at + 2], event[at + 3]])
}

fn truncated(text: &str, limit: usize) -> &[u8] {
    &text.as_bytes()[..text.len().min(limit)]
}
