//! A receipt: the exact bytes of a lease or change and the signature of the touch that approved it, as given to somebody else.
//!
//! Three files: `lease.json`, `lease.sig` (armored SSHSIG), for a change `change.json` and `change.sig`, and `allowed_signers` (the key, under its name). A receipt is identified by
//! the digest of the lease's bytes, never by the signature: an ECDSA signature (r, s) has a twin, (r, n - s).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::event::Signed;
use super::read::{Lines, ReadError};
use super::record::LONGEST_LINE;
use super::verify::{SignerKey, check_signature};
use crate::encoding::sshsig::{Assertion, FLAG_UP, FLAG_UV, Namespace, Point, SshsigError, ecdsa, public_key_line};
use crate::encoding::{Digest, jcs, jcs::JcsError, plain, plain::PlainError};
use crate::sys::file::read_text;

/// Text and signature, by what was signed.
const LEASE: [&str; 2] = ["lease.json", "lease.sig"];
const CHANGE: [&str; 2] = ["change.json", "change.sig"];
const SIGNERS: &str = "allowed_signers";
/// The page that says how to verify it, and its text: whoever gets a receipt may have nothing else of ours.
const PAGE: &str = "verify.md";
pub(super) const HOW_TO_VERIFY: &str = include_str!("../../docs/verify.md");

/// Why a receipt is none, or cannot be read or written.
#[derive(Debug, Error)]
pub enum ReceiptError {
    /// The lease's text is not canonical JSON with `asked` and `id`: changed, or made by something else.
    #[error("the lease of the receipt: {0}")]
    Lease(#[from] JcsError),
    /// The signature is not good, or was given without a touch.
    #[error("the signature of the receipt: {0}")]
    Signature(#[from] SshsigError),
    /// A PIV key opened what the lease needed, and signed nothing.
    #[error("this lease was attested by the daemon alone: its key opened the secrets by a touch, and no hardware signature exists")]
    Attested,
    /// A signer's key in hardware signed what the lease gave.
    #[error(
        "this lease is of a signer in hardware: what it signed and gave, a token or a certificate, is the hardware signature, and names the lease"
    )]
    InHardware,
    /// The key's name may not stand in an `allowed_signers` file.
    #[error(transparent)]
    Name(#[from] PlainError),
    /// `allowed_signers` does not name the key that signed, and only it: put there by somebody else.
    #[error("allowed_signers does not name the key that signed")]
    Signers,
    /// A file of it is missing, not a file, too long or not text.
    #[error("{file}: {error}")]
    Io {
        /// Name of the file.
        file: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

/// A receipt whose parts fit together. [`Receipt::check`] says whether its signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    text: String,
    sshsig: String,
    name: String,
    names: LeaseNames,
    point: Point,
    made: Made,
}

/// By what kind of key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Made {
    Fido2(Assertion),
    Piv,
}

/// What the log has to know of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct LeaseNames {
    pub(super) asked: Digest,
    pub(super) id: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    grants: Vec<Value>,
}

/// What a text is, by its own word. One without is a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Lease,
    Change,
    Export,
    Clock,
    Older,
    Scan,
}

impl Kind {
    fn namespace(self) -> Namespace {
        match self {
            Self::Lease | Self::Scan => Namespace::Lease,
            Self::Change | Self::Export | Self::Clock | Self::Older => Namespace::Change,
        }
    }

    fn files(self) -> [&'static str; 2] {
        match self {
            Self::Lease | Self::Scan => LEASE,
            Self::Change | Self::Export | Self::Clock | Self::Older => CHANGE,
        }
    }
}

impl LeaseNames {
    pub(super) fn read(text: &str) -> Result<Self, JcsError> {
        jcs::from_slice::<Value>(text.as_bytes())?;
        Ok(serde_json::from_str(text)?)
    }

    /// The public key of the signer in hardware that a lease is of, if it is of one.
    pub(super) fn signer(&self) -> Option<Point> {
        let [grant] = self.grants.as_slice() else { return None };
        let (said, key) = match &grant["token"] {
            Value::Null => (&grant["certificate"], "ca"),
            token => (token, "key"),
        };
        let key = said[key].as_str().filter(|_| said["class"] == "hardware")?;
        BASE64URL_NOPAD.decode(key.as_bytes()).ok()?.try_into().ok()
    }
}

impl Receipt {
    /// Puts a receipt together: the lease's exact text, the armored SSHSIG, the name of the key.
    ///
    /// # Errors
    /// The parts are not a lease, a signature in our form over it, and a name.
    pub fn new(text: String, sshsig: String, name: String) -> Result<Self, ReceiptError> {
        plain::check_name("the key's name", &name)?;
        let names = LeaseNames::read(&text)?;
        let (point, made) = match ecdsa::signer(&sshsig) {
            Some(point) if ecdsa::verify(&sshsig, &point, names.kind.namespace(), text.as_bytes()) => (point, Made::Piv),
            Some(_) => return Err(SshsigError::Signature.into()),
            None => {
                let (point, assertion) = Assertion::from_sshsig(&sshsig, names.kind.namespace(), text.as_bytes())?;
                (point, Made::Fido2(assertion))
            }
        };
        Ok(Self {
            text,
            sshsig,
            name,
            names,
            point,
            made,
        })
    }

    /// The receipt of an `approved` line, or of one about a change.
    ///
    /// # Errors
    /// As for [`Receipt::new`]; [`ReceiptError::Attested`].
    pub fn of(signed: &Signed) -> Result<Self, ReceiptError> {
        if signed.kind == super::event::Kind::Signer {
            return Err(ReceiptError::InHardware);
        }
        let sshsig = signed.sshsig.clone().ok_or(ReceiptError::Attested)?;
        Self::new(signed.text.clone(), sshsig, signed.name.clone())
    }

    /// What a touch signed under this id, if the log has it. Checks no chain: [`verify`](super::verify()) does.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn find(log: impl BufRead, id: &str) -> Result<Option<Signed>, ReadError> {
        for line in Lines::new(log) {
            let line = line?;
            let Some(signed) = line.event.signed() else { continue };
            if LeaseNames::read(&signed.text).is_ok_and(|names| names.id == id) {
                return Ok(Some(signed.clone()));
            }
        }
        Ok(None)
    }

    /// The names of its files: text, signature, signers, and how to verify them.
    #[must_use]
    pub fn files(&self) -> [&'static str; 4] {
        let [text, signature] = self.names.kind.files();
        [text, signature, SIGNERS, PAGE]
    }

    /// By what it is identified: SHA-256 of the lease's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }

    /// The lease's exact text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The armored SSHSIG.
    #[must_use]
    pub fn sshsig(&self) -> &str {
        &self.sshsig
    }

    /// Id of the lease.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.names.id
    }

    /// Hash of the line of the log up to which it vouches.
    #[must_use]
    pub fn asked(&self) -> Digest {
        self.names.asked
    }

    /// Name of the key, as whoever exported the receipt calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key that it claims.
    #[must_use]
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// Was the key touched? True means something only after [`Receipt::check`], and for a PIV key only by its slot's policy.
    #[must_use]
    pub fn touched(&self) -> bool {
        self.has(FLAG_UP)
    }

    /// Did the key check its PIN? As with [`Receipt::touched`].
    #[must_use]
    pub fn pin(&self) -> bool {
        self.has(FLAG_UV)
    }

    fn has(&self, flag: u8) -> bool {
        match &self.made {
            Made::Fido2(assertion) => assertion.flags & flag != 0,
            Made::Piv => true,
        }
    }

    /// The key's signature counter, if it has one.
    #[must_use]
    pub fn counter(&self) -> Option<u32> {
        match &self.made {
            Made::Fido2(assertion) => Some(assertion.counter),
            Made::Piv => None,
        }
    }

    /// Checks the signature by `key`, which the verifier has from elsewhere, the touch, and the PIN if the key's profile has one.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn check(&self, key: &SignerKey) -> Result<(), ReceiptError> {
        Ok(check_signature(
            key,
            self.names.kind.namespace(),
            self.text.as_bytes(),
            &self.sshsig,
        )?)
    }

    /// The line for `allowed_signers`, newline included.
    #[must_use]
    pub fn allowed_signers(&self) -> String {
        let namespace = self.names.kind.namespace().as_str();
        let line = match self.made {
            Made::Fido2(_) => public_key_line(&self.point),
            Made::Piv => ecdsa::public_key_line(&self.point),
        };
        format!("{} namespaces=\"{namespace}\" {line}\n", self.name)
    }

    /// Writes its files into `folder`, which is made if need be. Overwrites nothing.
    ///
    /// # Errors
    /// [`ReceiptError::Io`]; what was written before stays.
    pub fn export(&self, folder: &Path) -> Result<(), ReceiptError> {
        let failed = |file: &'static str| move |error| ReceiptError::Io { file, error };
        match DirBuilder::new().create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("the folder")(error)),
            _ => {}
        }
        let texts = [&self.text, &self.sshsig, &*self.allowed_signers(), HOW_TO_VERIFY];
        for (file, text) in self.files().into_iter().zip(texts) {
            write_new(&folder.join(file), text.as_bytes()).map_err(failed(file))?;
        }
        File::open(folder).and_then(|f| f.sync_all()).map_err(failed("the folder"))
    }

    /// Reads text, signature and signers from `folder`.
    ///
    /// # Errors
    /// See [`ReceiptError`].
    pub fn read(folder: &Path) -> Result<Self, ReceiptError> {
        let read = |file| read_text(&folder.join(file), LONGEST_LINE).map_err(|error| ReceiptError::Io { file, error });
        let signers = read(SIGNERS)?;
        let name = signers.split(' ').next().unwrap_or_default();
        let [text, signature] = if folder.join(CHANGE[0]).exists() { CHANGE } else { LEASE };
        let receipt = Self::new(read(text)?, read(signature)?, name.to_owned())?;
        if receipt.allowed_signers() == signers {
            Ok(receipt)
        } else {
            Err(ReceiptError::Signers)
        }
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;
    use crate::audit::event::Event;
    use crate::audit::log::Durability;
    use crate::audit::testing::{Folder, TestClock, approved, asked, every_event, key_id, keys, lease, one_lease, open, signed};

    fn receipt() -> Receipt {
        let Event::Approved(signed) = approved(&lease(&Digest([5; 32]), "id-1")) else {
            panic!()
        };
        Receipt::of(&signed).unwrap()
    }

    #[test]
    fn what_is_exported_is_read_back_and_checks() {
        let (folder, receipt) = (Folder::new(), receipt());
        let to = folder.0.join("receipt");
        receipt.export(&to).unwrap();
        let read = Receipt::read(&to).unwrap();
        assert_eq!(read, receipt);
        assert_eq!((read.id(), read.asked(), read.name()), ("id-1", Digest([5; 32]), "blue"));
        assert_eq!((read.touched(), read.pin(), read.counter()), (true, true, Some(7)));
        assert_eq!(fs::read(to.join("lease.json")).unwrap(), receipt.text().as_bytes());
        assert_eq!(read.digest(), Digest::of(receipt.text().as_bytes()));
        read.check(&keys(&key_id()).unwrap()).unwrap();
    }

    #[test]
    fn the_receipt_of_a_change_has_its_own_names_and_namespace() {
        let folder = Folder::new();
        let text = format!("{{\"asked\":\"{}\",\"id\":\"id-2\",\"kind\":\"change\"}}", Digest([5; 32]));
        let receipt = Receipt::of(&crate::audit::testing::signed(&text)).unwrap();
        assert!(receipt.allowed_signers().contains("namespaces=\"touchlease-change\""));
        let to = folder.0.join("receipt");
        receipt.export(&to).unwrap();
        assert_eq!(fs::read_to_string(to.join("change.json")).unwrap(), text);
        let read = Receipt::read(&to).unwrap();
        assert_eq!(read, receipt);
        read.check(&keys(&key_id()).unwrap()).unwrap();
        // A signature that was given for a lease makes no change.
        let lease = text.replace("change", "lease");
        assert!(Receipt::new(lease, receipt.sshsig().to_owned(), "blue".into()).is_err());
    }

    #[test]
    fn every_touch_of_the_log_is_found_by_its_id_and_is_a_receipt() {
        let (folder, mut count) = (Folder::new(), 0);
        let mut log = open(&folder, &TestClock::new());
        let kinds = ["change", "export", "clock", "older"];
        for (n, event) in every_event().into_iter().filter(|event| event.signed().is_some()).enumerate() {
            let asked = log.append(asked("x"), Durability::Grouped).unwrap();
            let id = format!("id-{n}");
            let event = match event {
                Event::Approved(_) => approved(&lease(&asked, &id)),
                other => with_text(
                    other,
                    &format!("{{\"asked\":\"{asked}\",\"id\":\"{id}\",\"kind\":\"{}\"}}", kinds[n - 1]),
                ),
            };
            log.append(event, Durability::Grouped).unwrap();
            let bytes = fs::read(folder.log()).unwrap();
            let found = Receipt::find(&bytes[..], &id).unwrap().unwrap();
            let receipt = Receipt::of(&found).unwrap();
            receipt.check(&keys(&key_id()).unwrap()).unwrap();
            let report = crate::audit::verify(&bytes[..], &keys, Some(&receipt)).unwrap();
            assert!(report.is_good() && report.since.is_some(), "{:?}", report.faults);
            count += 1;
        }
        assert_eq!(count, 1 + kinds.len());
    }

    fn with_text(event: Event, text: &str) -> Event {
        let signed = signed(text);
        match event {
            Event::Change(change) => Event::Change(crate::audit::event::Change { signed, ..change }),
            Event::Exported(_) => Event::Exported(signed),
            Event::ClockAccepted(_) => Event::ClockAccepted(signed),
            Event::OlderAccepted(_) => Event::OlderAccepted(signed),
            other => panic!("no touch is known of {other:?}"),
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let (folder, receipt) = (Folder::new(), receipt());
        receipt.export(&folder.0).unwrap();
        assert!(matches!(
            receipt.export(&folder.0),
            Err(ReceiptError::Io { file: "lease.json", .. })
        ));
    }

    #[test]
    fn a_receipt_by_another_key_is_refused() {
        let mut key = keys(&key_id()).unwrap();
        let other = p256::ecdsa::SigningKey::from_slice(&[8; 32]).unwrap();
        key.point = other.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
        assert!(matches!(receipt().check(&key), Err(ReceiptError::Signature(SshsigError::Key))));
    }

    #[test]
    fn changed_and_missing_files_are_refused() {
        for (file, from, to) in [
            ("lease.json", "deploy", "destroy"),
            ("lease.json", "}", "}\n"),
            ("lease.json", "asked", "askew"),
            ("lease.sig", "U1NIU0lH", "U1NIU0lI"),
            ("allowed_signers", "blue ", "blue cert-authority "),
            ("allowed_signers", "blue ", "* "),
            ("allowed_signers", "blue ", "blue,mallory "),
            ("allowed_signers", "\n", "\nmallory sk-ecdsa-sha2-nistp256@openssh.com AAAA\n"),
        ] {
            let folder = Folder::new();
            receipt().export(&folder.0).unwrap();
            let path = folder.0.join(file);
            let text = fs::read_to_string(&path).unwrap();
            assert_ne!(text, text.replace(from, to));
            fs::write(&path, text.replace(from, to)).unwrap();
            assert!(Receipt::read(&folder.0).is_err(), "{file} {to}");
            fs::remove_file(&path).unwrap();
            assert!(matches!(Receipt::read(&folder.0), Err(ReceiptError::Io { .. })));
            fs::create_dir(&path).unwrap();
            assert!(matches!(Receipt::read(&folder.0), Err(ReceiptError::Io { .. })));
        }
    }

    #[test]
    fn the_receipt_of_a_lease_is_found_in_the_log() {
        let folder = Folder::new();
        let mut log = open(&folder, &TestClock::new());
        one_lease(&mut log, "1");
        let text = one_lease(&mut log, "2");
        let bytes = fs::read(folder.log()).unwrap();
        let signed = Receipt::find(&bytes[..], "2").unwrap().unwrap();
        assert_eq!(signed.text, text);
        assert_eq!(Receipt::find(&bytes[..], "3").unwrap(), None);
    }
}
