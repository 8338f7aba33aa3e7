//! The path of a scan: a lease of every value of some scopes, which nobody gets but a worker of the daemon's. One touch, one scan.

use std::rc::Rc;
use std::time::Duration;

use super::failure::IntoFailure;
use super::ledger::{Over, Why};
use super::office::{Asker, Office};
use super::record::{self, Journal, Question};
use super::request::LONGEST_REASON;
use super::text::{ScanKind, ScanText, Text, VERSION};
use super::touch::touch;
use crate::clock::Boot;
use crate::encoding::Digest;
use crate::encoding::plain::{check_line, count};
use crate::vault::{OpenScope, VaultError};
use crate::wire::{Failure, Outcome};

/// Longest place that is shown, in bytes.
const LONGEST_PLACE: usize = 512;
/// Most places that are shown.
pub const MOST_PLACES: usize = 8;
/// In the log: how a scan reaches whoever asked.
const DELIVERY: &str = "scan";

/// What is asked for.
pub struct Scan<'a> {
    /// The scopes, one or two.
    pub scopes: Vec<&'a str>,
    /// How many secrets they have, by the folder's account.
    pub secrets: u64,
    /// Where is looked, as claimed.
    pub places: &'a [String],
    /// Values under so many bytes are not looked for.
    pub least: usize,
    /// How long it may take.
    pub ttl: Option<u64>,
    /// Why.
    pub reason: Option<&'a str>,
}

/// A scan that was touched for, on record until it is dropped. Made by [`scan`] alone.
pub struct Allowed {
    log: Rc<Journal>,
    id: String,
    /// The vault.
    vault: Digest,
    /// The scopes, open.
    pub opened: Vec<OpenScope>,
    /// Values under so many bytes are not looked for.
    pub least: usize,
    /// When it is over.
    pub deadline: Boot,
    /// [`super::ledger::Ledger::sweeps`] when it was touched for: when all leases are ended, so is it.
    pub sweeps: u64,
    why: Why,
}

impl Allowed {
    /// Writes what the values are for, before any is unsealed.
    ///
    /// # Errors
    /// The log cannot be written: then nothing is looked for.
    pub fn begins(&self, secrets: usize) -> Result<(), Failure> {
        self.used(&format!("looks for {}", count(secrets, "secret")))?;
        self.log.sync().map_err(IntoFailure::failure)
    }

    /// Writes what came of it.
    ///
    /// # Errors
    /// As [`Allowed::begins`].
    pub fn done(&mut self, files: u64, bytes: u64, found: u64) -> Result<(), Failure> {
        self.why = Why::Ended;
        let what = format!(
            "looked into {} of {bytes} bytes: found {}",
            count(files, "file"),
            count(found, "place")
        );
        self.used(&what)
    }

    /// Why it ends before it is done.
    pub fn ends(&mut self, why: Why) {
        self.why = why;
    }

    fn used(&self, what: &str) -> Result<(), Failure> {
        record::used(&self.log, &self.id, DELIVERY, what, None)
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        let over = Over {
            vault: self.vault,
            id: self.id.clone(),
            why: self.why,
        };
        record::over(&self.log, &[over]);
    }
}

/// Asks for the touch, and opens the scopes. The receipt stands in the log before any value is unsealed.
///
/// # Errors
/// Every way in which a request can end without it.
pub async fn scan(office: &Office<'_>, scan: &Scan<'_>, asker: &Asker) -> Result<Allowed, Failure> {
    check(scan)?;
    let ttl = life(office, scan.ttl).inspect_err(|refusal| office.refused(refusal))?;
    let turn = office.lobby.turn(asker).await.inspect_err(|refusal| office.refused(refusal))?;
    let standing = office.standing(&scan.scopes)?;
    // The text names what is looked for by one head of each scope.
    if let Some((scope, _)) = standing.heads().iter().find(|(_, heads)| heads.len() > 1) {
        return Err(VaultError::NotJoined(scope.clone()).failure());
    }
    let candidates = office.candidates(&standing, asker)?;
    let question = Question {
        requester: &asker.requester,
        // No name has an asterisk in it: every secret of the scope.
        secrets: scan.scopes.iter().map(|scope| format!("{scope}/*")).collect(),
        task: None,
        reason: scan.reason,
        ttl: ttl.as_secs(),
        uses: None,
    };
    let asked = record::asked(office.log, &question)?;
    let path = async {
        office.log.check_clock()?;
        let text = ScanText {
            v: VERSION,
            kind: ScanKind::Scan,
            id: office.lobby.random_id(),
            asked: asked.hash(),
            origin: office.origin(&asker.requester, &standing),
            reason: scan.reason.map(str::to_owned),
            scopes: standing.heads().iter().map(|(scope, _)| scope.clone()).collect(),
            secrets: scan.secrets,
            least: scan.least as u64,
            places: scan.places.to_vec(),
            at: office.lobby.clock.wall().seconds(),
            ttl: ttl.as_secs(),
            policy: office.lobby.limits.digest().map_err(IntoFailure::failure)?,
        };
        let fixed = text.fix().map_err(IntoFailure::failure)?;
        let prompt = office.show(turn, &fixed, &candidates, asker).await?;
        asked.shown()?;
        let proof = touch(&office.lobby, &prompt, &fixed, candidates).await?;
        let sweeps = office.ledger.sweeps();
        let opened = office.vault.borrow().open_for_scan(&proof, fixed.digest(), &standing);
        let opened = opened.map_err(IntoFailure::failure)?;
        asked.approved(&proof, &fixed)?;
        let allowed = Allowed {
            log: office.log.clone(),
            id: text.id,
            vault: text.origin.vault.id,
            opened,
            least: scan.least,
            deadline: office.lobby.clock.boot() + ttl,
            sweeps,
            why: Why::RequesterGone,
        };
        prompt.approved();
        Ok(allowed)
    };
    path.await.inspect_err(|failure| asked.failed(failure))
}

/// What is said of it has to be fit for a screen.
fn check(scan: &Scan<'_>) -> Result<(), Failure> {
    if scan.places.is_empty() || scan.places.len() > MOST_PLACES {
        let message = format!(
            "a scan looks into 1 to {MOST_PLACES} places, which a person can read; {} were named",
            scan.places.len()
        );
        return Err(
            Failure::new(Outcome::BadInput, "places", message).hint("name a folder that has them in it, or scan them one after the other")
        );
    }
    for place in scan.places {
        check_line("a place", place, LONGEST_PLACE)
            .map_err(|error| Failure::new(Outcome::BadInput, "place", error.to_string()).hint("scan the folder that it lies in"))?;
    }
    if let Some(reason) = scan.reason {
        check_line("the reason", reason, LONGEST_REASON)
            .map_err(|error| Failure::new(Outcome::BadInput, "text", error.to_string()).hint("say it in one short line of plain text"))?;
    }
    Ok(())
}

/// How long it may take: as long as a lease, and no secret's own rule shortens it, as nobody gets the secret.
fn life(office: &Office<'_>, asked: Option<u64>) -> Result<Duration, Failure> {
    let limits = &office.lobby.limits;
    let ttl = asked.map_or(limits.ttl, Duration::from_secs);
    if ttl.is_zero() {
        return Err(Failure::new(Outcome::Refused, "ttl", "a scan of no time finds nothing").hint("ask for some: --ttl 15m"));
    }
    if ttl > limits.longest_ttl {
        let longest = limits.longest_ttl.as_secs();
        let message = format!(
            "{} s were asked for; limits.longest_ttl of the configuration allows {longest} s",
            ttl.as_secs()
        );
        return Err(Failure::new(Outcome::Refused, "ttl_over_cap", message).hint(format!("ask for less: --ttl {longest}s")));
    }
    Ok(ttl)
}
