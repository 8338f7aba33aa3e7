//! The audit log and what is exported from it.

use crate::audit::read::Lines;
use crate::audit::record::Line;
use crate::audit::{Receipt, verify};
use crate::encoding::Digest;
use crate::samples::audit::signer;

/// One line.
pub fn line(data: &[u8]) {
    if let Ok(line) = Line::from_bytes(data) {
        assert_eq!(line.to_bytes().expect("what was read can be written"), data);
    }
}

/// A whole log, and what the verifier makes of it.
pub fn log(data: &[u8]) {
    let keys = |id: &Digest| signer(id);
    let report = verify(data, &keys, None).expect("memory can be read");
    let lines = data.split_inclusive(|b| *b == b'\n').count();
    assert_eq!(report.lines as usize, lines);
    assert_eq!(Lines::new(data).count(), lines);
    assert!(report.is_good() || !report.faults.is_empty() || data.is_empty());
    for receipt in log_receipts(data) {
        let since = verify(data, &keys, Some(&receipt)).expect("memory can be read");
        assert!(!since.is_good() || report.is_good() && since.since.is_some());
    }
    for fault in &report.faults {
        assert!(fault.line >= 1 && !fault.wrong.to_string().is_empty());
    }
}

/// The first two receipts of a log.
fn log_receipts(data: &[u8]) -> Vec<Receipt> {
    let lines = Lines::new(data).map_while(Result::ok);
    lines.filter_map(|line| Receipt::of(line.event.signed()?).ok()).take(2).collect()
}

/// The parts of a receipt: text, signature and name, with a zero byte between.
pub fn receipt(data: &[u8]) {
    let mut parts = data.splitn(3, |b| *b == 0).map(|part| String::from_utf8(part.to_vec()));
    if let (Some(Ok(text)), Some(Ok(sshsig)), Some(Ok(name))) = (parts.next(), parts.next(), parts.next())
        && let Ok(receipt) = Receipt::new(text.clone(), sshsig.clone(), name.clone())
    {
        assert_eq!((receipt.text(), receipt.sshsig(), receipt.name()), (&*text, &*sshsig, &*name));
        assert_eq!(receipt.allowed_signers().lines().count(), 1);
        if let Some(key) = signer(&Digest::of(receipt.point())) {
            let good = receipt.check(&key).is_ok();
            assert!(!good || receipt.touched() && receipt.pin());
        }
    }
}
