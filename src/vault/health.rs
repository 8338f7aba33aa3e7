//! How a vault is, without a touch and without changing anything in it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::error::VaultError;
use super::roster::{Roster, set_aside, set_stranger_aside};
use super::slot::{HALF_LEN, SEALED_LEN};
use super::statement::{ScopeEntry, SlotEntry};
use super::store::{Store, Stranger};
use super::{accepted, bytes, journal, listing, marker, scope, tree};
use crate::device::enrolled::EnrolledKey;
use crate::encoding::Digest;
use crate::encoding::plain::count;
use crate::finding::{Finding, Part, quoted};
use crate::sys::disk::free_space;

/// Largest file of an index; larger ones are damaged.
const LARGEST: usize = 1 << 20;

/// Levels of folders below a vault's: `records`, a scope, a shelf.
const FOLDERS_DEEP: u32 = 3;

/// What was found, and who is enrolled.
#[derive(Debug, Default)]
pub struct Health {
    /// The vault's id; nothing when there is none, or none that verifies.
    pub id: Option<Digest>,
    /// The enrolled keys, in the order of their enrolment.
    pub keys: Vec<EnrolledKey>,
    /// Every key that is or was enrolled.
    pub keys_ever: Vec<EnrolledKey>,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// Looks at the vault in `folder`; `states` is as in [`Vault::open`](super::Vault::open).
#[must_use]
pub fn examine(folder: &Path, states: &Path) -> Health {
    let mut health = Health::default();
    if let Err(error) = look(folder, states, &mut health) {
        health.findings.push(refusal(folder, &error));
    }
    health
}

fn look(folder: &Path, states: &Path, health: &mut Health) -> Result<(), VaultError> {
    let store = Store::open(folder)?;
    marker::check(&store)?;
    health.findings.extend(modes(folder));
    // So that no change of another process is seen half.
    let lock = store.lock()?;
    let is_interrupted = !store.list(journal::FOLDER)?.is_empty();
    health.findings.extend(writing(folder, is_interrupted));
    if is_interrupted {
        let what = "a change was interrupted: the next command finishes it or takes it back";
        health.findings.push(Part::Vault.note("unfinished", what, "touchlease list"));
    }
    let roster = Roster::read(&store)?;
    let statement = roster.in_force();
    health.id = Some(statement.vault);
    health.keys = statement.keys.clone();
    health.keys_ever = roster.keys_ever();
    let what = format!(
        "vault \"{}\" in {}: the roster verifies, {}, {}",
        statement.name,
        folder.display(),
        count(statement.keys.len(), "key"),
        count(statement.scopes.len(), "scope")
    );
    health.findings.push(Part::Vault.ok("roster", what));
    if let Err(error) = accepted::look(&states.join(statement.vault.to_string()), &roster) {
        health.findings.push(refusal(folder, &error));
    }
    let look = Look {
        folder,
        store: &store,
        roster: &roster,
    };
    health.findings.extend(look.slots()?);
    look.strangers("", FOLDERS_DEEP, &mut health.findings)?;
    for scope in &statement.scopes {
        health.findings.extend(look.scope(scope));
        health.findings.extend(look.index(scope)?);
    }
    drop(lock);
    health.findings.extend(records(&store, &roster, folder)?);
    Ok(())
}

/// A roster that verified, and the files that it and the heads name.
struct Look<'a> {
    folder: &'a Path,
    store: &'a Store,
    roster: &'a Roster,
}

impl Look<'_> {
    /// Files of slots that no touch signed.
    fn slots(&self) -> Result<Vec<Finding>, VaultError> {
        let unsigned = unsigned(self.store, self.roster)?;
        let finding = |path: String| {
            let what = format!("no touch signed {path}: somebody put it there, and nothing is sealed to it");
            Part::Vault.warning("unsigned_slot", what, format!("rm {}", quoted(&self.folder.join(path))))
        };
        Ok(unsigned.into_iter().map(finding).collect())
    }

    /// What nobody of ours put there, and nobody reads.
    fn strangers(&self, path: &str, deep: u32, findings: &mut Vec<Finding>) -> Result<(), VaultError> {
        let (names, strangers) = match self.store.entries(path) {
            // A file, or a link.
            Err(VaultError::NotPlain { .. }) => return Ok(()),
            entries => entries?,
        };
        findings.extend(strangers.into_iter().map(|Stranger { path, inode }| {
            let what = format!("{path} is no file of a vault: its name is not UTF-8, and it is left out");
            let remedy = format!("find {} -inum {inode} -exec rm -r {{}} +", quoted(self.folder));
            Part::Vault.warning("stranger", what, remedy)
        }));
        for name in names.iter().filter(|_| deep > 0) {
            let below = format!("{path}/{name}");
            self.strangers(below.trim_start_matches('/'), deep - 1, findings)?;
        }
        Ok(())
    }

    /// Who opens a scope.
    fn scope(&self, scope: &ScopeEntry) -> Vec<Finding> {
        let name = &scope.name;
        let keys = self.roster.in_force().keys.iter();
        let (into, out): (Vec<&EnrolledKey>, Vec<&EnrolledKey>) = keys.partition(|key| scope.slot_of(key.id()).is_some());
        let mut findings = Vec::new();
        match into.as_slice() {
            [] => findings.push(Part::Vault.warning(
                "no_key_opens",
                format!("only the recovery code opens scope {name}"),
                "touchlease key add NAME",
            )),
            [one] => findings.push(Part::Vault.warning(
                "one_key_opens",
                format!("only \"{}\" opens scope {name}, besides the recovery code", one.name),
                "touchlease key add NAME",
            )),
            several => findings.push(Part::Vault.ok("keys_open", format!("{} keys open scope {name}", several.len()))),
        }
        for key in out {
            findings.push(Part::Vault.note(
                "not_yet_in",
                format!("\"{}\" is not yet in scope {name}", key.name),
                format!("touchlease key admit {} --scope {name}", key.name),
            ));
        }
        for key in into.into_iter().filter(|key| self.is_old(scope, key)) {
            findings.push(Part::Vault.note(
                "old_slot",
                format!(
                    "the slot of \"{}\" in scope {name} is older than the last removal of a key",
                    key.name
                ),
                format!("touchlease rotate {name} --key {}", key.name),
            ));
        }
        findings
    }

    fn is_old(&self, scope: &ScopeEntry, key: &EnrolledKey) -> bool {
        let slot = scope.slot_of(key.id()).map(SlotEntry::id);
        slot.is_some_and(|slot| self.roster.slots_before_a_removal().contains(&slot))
    }

    /// The files that a scope's entry names, and those of its index.
    fn index(&self, scope: &ScopeEntry) -> Result<Vec<Finding>, VaultError> {
        let mut findings = Vec::new();
        let mut damaged = |found: Result<(), VaultError>| {
            if let Err(error) = found {
                findings.push(refusal(self.folder, &error));
            }
        };
        for slot in &scope.slots {
            damaged(self.slot(scope, slot));
        }
        if scope.epoch > 1 {
            let path = scope::carry_path(scope.id, &scope.commitment);
            damaged(self.store.read(&path, LARGEST).map(drop));
        }
        let heads = tree::heads(self.store, scope.id, &scope.name, &self.roster.trust(scope), None);
        let several = heads.as_ref().is_ok_and(|heads| heads.len() > 1);
        damaged(heads.map(drop));
        let (heads, index) = (format!("heads/{}", scope.id), format!("index/{}", scope.id));
        let shelves = self.store.list(&index)?.into_iter().map(|shelf| format!("{index}/{shelf}"));
        for folder in [heads].into_iter().chain(shelves) {
            for name in self.store.list(&folder)? {
                damaged(self.digest(&format!("{folder}/{name}"), &name));
            }
        }
        if several {
            let what = format!("scope {} was changed in two places: the next touch for it joins them", scope.name);
            let remedy = format!("touchlease merge {}", scope.name);
            findings.push(Part::Vault.note("two_heads", what, remedy));
        }
        Ok(findings)
    }

    fn slot(&self, scope: &ScopeEntry, slot: &SlotEntry) -> Result<(), VaultError> {
        if let SlotEntry::Fido2 { half, id, .. } = slot {
            let path = scope::half_path(*id);
            let file = self.store.read(&path, HALF_LEN)?;
            if file.len() != HALF_LEN || half.is_some_and(|digest| digest != Digest::of(&file)) {
                return Err(VaultError::damaged(path, "not the private half that the roster names"));
            }
        }
        let path = scope::sealed_path(slot.id(), &scope.commitment);
        match self.store.read(&path, SEALED_LEN)?.len() {
            SEALED_LEN => Ok(()),
            _ => Err(VaultError::damaged(path, "it is too short")),
        }
    }

    fn digest(&self, path: &str, name: &str) -> Result<(), VaultError> {
        match Digest::from_hex(name) {
            Some(digest) if Digest::of(&self.store.read(path, LARGEST)?) == digest => Ok(()),
            _ => Err(VaultError::damaged(path, "its name is not the digest of its bytes")),
        }
    }
}

/// Files of slots that no statement names.
pub(super) fn unsigned(store: &Store, roster: &Roster) -> Result<Vec<String>, VaultError> {
    let signed = roster.slots();
    let is_signed = |name: &str| {
        let id = name.split_once('.').and_then(|(id, _)| bytes::Hex::from_text(id));
        id.is_some_and(|id| signed.contains(&id))
    };
    let names = store.list("slots")?.into_iter();
    Ok(names.filter(|name| !is_signed(name)).map(|name| format!("slots/{name}")).collect())
}

/// Others of this machine: names and rules are readable, and whoever writes can take the vault away.
fn modes(folder: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(folder).ok()?.mode();
    let remedy = format!("chmod go-rwx {}", quoted(folder));
    match mode & 0o077 {
        0 => None,
        open if open & 0o022 != 0 => {
            let what = format!(
                "others may write to {}: they cannot open the vault, and can destroy it",
                folder.display()
            );
            Some(Part::Vault.warning("others_write", what, remedy))
        }
        _ => {
            let what = format!("others may read names and rules in {}", folder.display());
            Some(Part::Vault.note("others_read", what, remedy))
        }
    }
}

/// What keeps anything from being written. Before an interrupted change is finished or taken back, nothing is read either.
fn writing(folder: &Path, is_interrupted: bool) -> Option<Finding> {
    let shown = quoted(folder);
    if let Err(error) = access(folder, Access::WRITE_OK) {
        let remedy = match error {
            Errno::ROFS => format!("sudo mount -o remount,rw \"$(findmnt -n -o TARGET -T {shown})\""),
            _ => format!("chmod -R u+rwX {shown}"),
        };
        let cannot = format!("{} cannot be written ({})", folder.display(), std::io::Error::from(error));
        return Some(match is_interrupted {
            true => Part::Vault.problem(
                "read_only",
                format!("{cannot}, and a change was interrupted: nothing is read"),
                remedy,
            ),
            false => Part::Vault.warning("read_only", format!("{cannot}: nothing can be put or changed"), remedy),
        });
    }
    let what = format!("no space is left where {} lies: nothing can be put or changed", folder.display());
    (free_space(folder) == Some(0)).then(|| Part::Vault.problem("full", what, format!("df -h {shown}")))
}

fn records(store: &Store, roster: &Roster, folder: &Path) -> Result<Vec<Finding>, VaultError> {
    // One that is gone by now was replaced meanwhile.
    let still = |path: &str| store.exists(path).unwrap_or(true);
    let (mut readable, mut findings) = (0, Vec::new());
    for scope in &roster.in_force().scopes {
        for shelf in listing::shelves(store, scope)? {
            let (listed, unreadable) = listing::list_shelf(store, scope, &shelf)?;
            readable += listed.len();
            let unreadable = unreadable
                .into_iter()
                .filter(|file| file.why != listing::STRANGER && still(&file.path));
            findings.extend(unreadable.map(|file| refusal(folder, &VaultError::damaged(file.path, file.why))));
        }
    }
    findings.push(Part::Vault.ok(
        "records",
        format!("{} can be read as far as no touch is needed", count(readable, "secret")),
    ));
    Ok(findings)
}

/// What a refusal means for the person.
fn refusal(folder: &Path, error: &VaultError) -> Finding {
    let shown = quoted(folder);
    let what = error.to_string();
    let problem = |reason: &str, remedy: String| Part::Vault.problem(reason, what.clone(), remedy);
    match error {
        VaultError::NoVault { .. } => Part::Vault.note("no_vault", what, "touchlease init"),
        VaultError::Newer { .. } => problem(
            "newer_format",
            "cargo install --locked --path . (in a newer touchlease's folder)".into(),
        ),
        VaultError::NotOurs { .. } => problem("not_ours", format!("sudo chown -R \"$(id -u)\" {shown}")),
        VaultError::Busy => Part::Vault.warning("busy", what, "touchlease doctor (again, when the other writer is done)"),
        VaultError::Fork { .. } => problem("forked_roster", "touchlease vault join".into()),
        VaultError::Older { .. } => problem("older", restore(folder)),
        VaultError::State { path, .. } => problem("remembered_state", format!("mv {0} {0}.damaged", quoted(Path::new(path)))),
        VaultError::Roster { statement, .. } => problem("roster", either(set_aside(folder, statement), folder)),
        VaultError::Stranger { path, .. } => problem("roster", set_stranger_aside(folder, path)),
        VaultError::Missing { .. } => problem("missing", restore(folder)),
        VaultError::Damaged { .. } | VaultError::NotPlain { .. } => problem("damaged", restore(folder)),
        _ => problem("unreadable", format!("ls -la {shown}")),
    }
}

/// What nobody of ours wrote goes; what was damaged comes back.
fn either(aside: String, folder: &Path) -> String {
    format!("{aside} (if none of your machines wrote it; else: {})", restore(folder))
}

/// Whence good files come back: from git where the vault is kept in it.
fn restore(folder: &Path) -> String {
    match folder.ancestors().any(|above| above.join(".git").exists()) {
        true => format!("git -C {0} status . && git -C {0} restore .", quoted(folder)),
        false => format!("cp -a BACKUP/. {}/", quoted(folder)),
    }
}
