//! The reader that believes nothing: chain, order, signatures, touches.
//!
//! One line is in memory at a time; besides, 32 bytes for each question and lease that is open, 16 for each that ended since the daemon began,
//! and 32 for each signature, to find replays.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead};

use super::clock_rule::{self, Moment};
use super::event::{Event, Kind, Profile, Signed};
use super::read::Lines;
use super::receipt::{LeaseNames, Receipt};
use super::record::{Line, NO_LINE};
use super::report::{Newest, Report, Wrong};
use crate::encoding::Digest;
use crate::encoding::sshsig::{Assertion, Namespace, Point, SshsigError, ecdsa};

/// A key as the roster knows it, or knew it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerKey {
    /// Public key of its credential.
    pub point: Point,
    /// What it asks for besides the touch; with [`Profile::Pin`] user verification must be set in what it signed, with [`Profile::Piv`] it
    /// signs plainly.
    pub profile: Profile,
    /// Its name.
    pub name: String,
}

/// Verifies a whole log. `keys` gives the key with an id, also those removed since. `since` is a receipt held elsewhere; its lease
/// has to be in the log, approved by a signature that verifies, so its own signature is not looked at.
///
/// # Errors
/// The log cannot be read. Everything wrong *in* it is in the report.
pub fn verify(reader: impl BufRead, keys: &dyn Fn(&Digest) -> Option<SignerKey>, since: Option<&Receipt>) -> io::Result<Report> {
    let mut lines = Lines::new(reader);
    let mut verifier = Verifier::new(keys, since);
    while let Some(bytes) = lines.next_bytes()? {
        verifier.line(bytes);
    }
    Ok(verifier.finish())
}

struct Verifier<'a> {
    keys: &'a dyn Fn(&Digest) -> Option<SignerKey>,
    since: Option<&'a Receipt>,
    since_approved: bool,
    prev: Digest,
    seq: u64,
    moment: Option<Moment>,
    /// Questions without an answer, and the numbers of their lines.
    asked: HashMap<Digest, u64>,
    /// Leases that have not ended, by the digests of their ids.
    leases: HashSet<Digest>,
    /// Half-digests of the ids of those that ended under this daemon: what was done again of them before is told a moment later.
    over: HashSet<[u8; 16]>,
    /// Half-digests of signed texts and of ids of leases.
    spent: HashSet<[u8; 16]>,
    report: Report,
}

impl<'a> Verifier<'a> {
    fn new(keys: &'a dyn Fn(&Digest) -> Option<SignerKey>, since: Option<&'a Receipt>) -> Self {
        Self {
            keys,
            since,
            since_approved: false,
            prev: NO_LINE,
            seq: 0,
            moment: None,
            asked: HashMap::new(),
            leases: HashSet::new(),
            over: HashSet::new(),
            spent: HashSet::new(),
            report: Report::default(),
        }
    }

    fn line(&mut self, bytes: &[u8]) {
        self.report.lines += 1;
        let hash = Digest::of(bytes);
        match Line::from_bytes(bytes) {
            Ok(line) => {
                self.link(&line);
                if let Err(wrong) = self.event(&line.event, hash) {
                    self.fault(wrong);
                }
            }
            Err(error) => {
                self.seq += 1;
                self.moment = None;
                self.fault(error.into());
            }
        }
        if self.since.is_some_and(|receipt| receipt.asked() == hash) {
            self.report.since = Some(self.report.lines);
        }
        self.prev = hash;
        self.report.tip = Some(hash);
    }

    /// Does the line follow from the one before? After a fault the next line is held against this one, so each is told once.
    fn link(&mut self, line: &Line) {
        if line.prev != self.prev {
            self.fault(Wrong::Chain);
        }
        if line.seq != self.seq + 1 {
            self.fault(Wrong::Sequence);
        }
        self.seq = line.seq;
        let now = Moment {
            wall: line.wall(),
            boot: line.boottime(),
            boot_id: line.boot_id.clone().into_owned(),
        };
        // After a line that cannot be read nothing is known of its clock.
        let known = self.moment.is_some() || self.report.lines == 1;
        if known && line.skew != clock_rule::skew(self.moment.as_ref(), &now, &line.event) {
            self.fault(Wrong::Skew);
        }
        self.report.skewed += u64::from(line.skew != 0);
        self.moment = Some(Moment::of(line));
        let opened = matches!(*line.event, Event::Opened(_));
        if self.report.lines == 1 && !opened {
            self.fault(Wrong::Vault);
        }
    }

    fn event(&mut self, event: &Event, hash: Digest) -> Result<(), Wrong> {
        match event {
            Event::Opened(opened) => {
                self.asked.clear();
                self.leases.clear();
                self.over.clear();
                same(*self.report.vault.get_or_insert(opened.vault) == opened.vault, Wrong::Vault)
            }
            Event::Asked(_) => {
                self.asked.insert(hash, self.report.lines);
                Ok(())
            }
            Event::Shown(of) => same(self.asked.contains_key(&of.asked), Wrong::NotAsked),
            Event::Denied(of) | Event::TimedOut(of) => same(self.asked.remove(&of.asked).is_some(), Wrong::NotAsked),
            Event::Refused(refused) => {
                let open = refused.asked.is_none_or(|asked| self.asked.remove(&asked).is_some());
                same(open, Wrong::NotAsked)
            }
            Event::Approved(signed) => self.approved(signed),
            Event::Used(used) => {
                let id = id_digest(&used.lease);
                let told_later = used.times.is_some() && self.over.contains(&half(&id));
                same(told_later || self.leases.contains(&id), Wrong::UnknownLease)
            }
            Event::Ended(ended) => {
                let id = id_digest(&ended.lease);
                same(self.leases.remove(&id), Wrong::UnknownLease)?;
                self.over.insert(half(&id));
                Ok(())
            }
            Event::RecoveryCode(used) => same(self.asked.remove(&used.asked).is_some(), Wrong::NotAsked),
            Event::Change(change) => self.changed(&change.signed),
            Event::ClockAccepted(signed) | Event::OlderAccepted(signed) | Event::Exported(signed) => self.changed(signed),
            Event::Exchanged(exchanged) => same(self.leases.contains(&id_digest(&exchanged.lease)), Wrong::UnknownLease),
            // They give nothing, and one may be on its way while its lease ends.
            Event::Echoed(_) | Event::NotSent(_) | Event::ExchangeEnded(_) => Ok(()),
            Event::Recovered(_) | Event::Roster(_) | Event::ExtraTouch(_) | Event::CounterBack(_) | Event::Key(_) => Ok(()),
        }
    }

    fn approved(&mut self, signed: &Signed) -> Result<(), Wrong> {
        match signed.kind {
            Kind::Attested => return self.attested(signed),
            Kind::Signer => return self.in_hardware(signed),
            Kind::Touch | Kind::Policy => {}
        }
        let names = LeaseNames::read(&signed.text)?;
        let asked = self.asked.remove(&names.asked).ok_or(Wrong::NotAsked)?;
        let id = id_digest(&names.id);
        self.spend(&id)?;
        self.signature(signed, Namespace::Lease)?;
        self.leases.insert(id);
        self.report.receipts += 1;
        self.report.newest = Some(Newest {
            lease: names.id,
            asked,
            approved: self.report.lines,
        });
        self.since_approved |= self.since.is_some_and(|receipt| receipt.text() == signed.text);
        Ok(())
    }

    /// A lease that a PIV key opened and did not sign. It is live as any other, and vouches for nothing.
    fn attested(&mut self, signed: &Signed) -> Result<(), Wrong> {
        let names = LeaseNames::read(&signed.text)?;
        self.asked.remove(&names.asked).ok_or(Wrong::NotAsked)?;
        let id = id_digest(&names.id);
        self.spend(&id)?;
        self.spend(&Digest::of(signed.text.as_bytes()))?;
        let key = (self.keys)(&signed.key).ok_or(Wrong::UnknownKey(signed.key))?;
        same(key.profile == signed.profile, Wrong::Profile)?;
        same(key.profile == Profile::Piv && signed.sshsig.is_none(), Wrong::Evidence)?;
        self.leases.insert(id);
        self.report.attested += 1;
        Ok(())
    }

    /// A lease of a signer in hardware, which names the public key that signed what it gave. It is live as any other, and vouches for nothing here.
    fn in_hardware(&mut self, signed: &Signed) -> Result<(), Wrong> {
        let names = LeaseNames::read(&signed.text)?;
        self.asked.remove(&names.asked).ok_or(Wrong::NotAsked)?;
        let id = id_digest(&names.id);
        self.spend(&id)?;
        self.spend(&Digest::of(signed.text.as_bytes()))?;
        let point = names.signer().ok_or(Wrong::Evidence)?;
        same(Digest::of(&point) == signed.key, Wrong::UnknownKey(signed.key))?;
        same(signed.profile == Profile::Piv && signed.sshsig.is_none(), Wrong::Evidence)?;
        self.leases.insert(id);
        self.report.in_hardware += 1;
        Ok(())
    }

    fn changed(&mut self, signed: &Signed) -> Result<(), Wrong> {
        self.signature(signed, Namespace::Change)?;
        self.report.changes += 1;
        self.since_approved |= self.since.is_some_and(|receipt| receipt.text() == signed.text);
        Ok(())
    }

    fn signature(&mut self, signed: &Signed, namespace: Namespace) -> Result<(), Wrong> {
        let text = signed.text.as_bytes();
        self.spend(&Digest::of(text))?;
        let key = (self.keys)(&signed.key).ok_or(Wrong::UnknownKey(signed.key))?;
        same(key.profile == signed.profile, Wrong::Profile)?;
        let wanted = if key.profile == Profile::Piv { Kind::Policy } else { Kind::Touch };
        let sshsig = signed.sshsig.as_ref().filter(|_| signed.kind == wanted).ok_or(Wrong::Evidence)?;
        check_signature(&key, namespace, text, sshsig)?;
        Ok(())
    }

    /// Half a digest is enough to tell a billion of them apart.
    fn spend(&mut self, digest: &Digest) -> Result<(), Wrong> {
        same(self.spent.insert(half(digest)), Wrong::Replay)
    }

    fn fault(&mut self, wrong: Wrong) {
        self.report.fault(self.report.lines, wrong);
    }

    fn finish(mut self) -> Report {
        let end = self.report.lines + 1;
        if self.since.is_some() && self.report.since.is_none() {
            self.report.fault(end, Wrong::SinceAsked);
        } else if self.since.is_some() && !self.since_approved {
            self.report.fault(end, Wrong::SinceApproved);
        }
        self.report
    }
}

/// Everything that stock `ssh-keygen -Y verify` checks, and what it does not: touch, PIN, origin, hash, exact clientDataJSON. In a PIV key's
/// signature there is nothing of these to check.
pub(super) fn check_signature(key: &SignerKey, namespace: Namespace, text: &[u8], armored: &str) -> Result<(), SshsigError> {
    if key.profile == Profile::Piv {
        let point = ecdsa::signer(armored).ok_or(SshsigError::Form)?;
        return match ecdsa::verify(armored, &key.point, namespace, text) {
            _ if point != key.point => Err(SshsigError::Key),
            true => Ok(()),
            false => Err(SshsigError::Signature),
        };
    }
    let (point, assertion) = Assertion::from_sshsig(armored, namespace, text)?;
    if point != key.point {
        return Err(SshsigError::Key);
    }
    assertion.verify(&key.point, namespace, text, key.profile == Profile::Pin)
}

fn half(digest: &Digest) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest.0[..16]);
    half
}

fn id_digest(id: &str) -> Digest {
    Digest::of(id.as_bytes())
}

fn same(holds: bool, wrong: Wrong) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(wrong) }
}

#[cfg(test)]
mod tests;
