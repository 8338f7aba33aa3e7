//! Calls about keys.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::house::{House, OpenVault};
use super::vaults::{profile_said, unsigned};
use crate::config::LONGEST_PIN;
use crate::device::broker::{CardSeen, Care, Cared, ENROL_PIV, Event as KeyEvent, Feed, Seen};
use crate::device::enrolled::{Piv, Retired, UNVERIFIED};
use crate::device::piv::attestation::{LONGEST_ROOTS, Roots};
use crate::device::worker::protocol::{Fingerprint, Id, Listed, Manage as Task};
use crate::device::{DeviceError, EnrolledKey, Link, Port, eucleak, pin_form};
use crate::encoding::plain::{self, PlainError};
use crate::lease::card::{CardPlan, Survey};
use crate::lease::enrol::{self, Candidacy, Known};
use crate::lease::failure::{IntoFailure, locked_memory};
use crate::lease::office::{Asker, Lobby};
use crate::lease::recover::{Newcomer, recover as recover_with};
use crate::lease::roster;
use crate::lease::unlock::unlock as ask_pin;
use crate::secret::Secret;
use crate::sys::file::read_plain;
use crate::vault::RecoveryCode;
use crate::wire::reply::{CardView, KeyDetail, KeyView};
use crate::wire::request::{CardAsk, KeyAddAsk, KeyRemoveAsk, Manage, RecoverAsk};
use crate::wire::{Event, Failure, Outcome, Reply, Value};

/// Longest care for a key: adding a fingerprint takes several touches.
const CARE: Duration = Duration::from_secs(120);

/// # Errors
/// The system refuses to look.
pub(super) async fn list(house: &Rc<House>, path: &Path) -> Result<Reply, Failure> {
    let open = optional(house, path)?;
    let enrolled = open.as_ref().map(|open| open.vault.borrow().keys()).unwrap_or_default();
    let seen = house.broker.seen(&enrolled).await.map_err(IntoFailure::failure)?;
    let here = |key: &EnrolledKey| seen.iter().find(|seen| seen.key == Some(key.id()));
    let of_roster = enrolled.iter().map(|key| view(open.as_deref(), Some(key), here(key)));
    let others = seen
        .iter()
        .filter(|seen| seen.key.is_none())
        .map(|seen| view(None, None, Some(seen)));
    Ok(Reply::Keys {
        keys: of_roster.chain(others).collect(),
        unsigned: open.as_ref().map(|open| unsigned(&open.vault.borrow())).unwrap_or_default(),
    })
}

/// # Errors
/// No such key; what it says.
pub(super) async fn info(house: &Rc<House>, path: &Path, key: Option<&str>) -> Result<Reply, Failure> {
    let open = optional(house, path)?;
    let (seen, enrolled) = find(house, open.as_deref(), key).await?;
    if let Some(piv) = enrolled.as_ref().and_then(EnrolledKey::piv) {
        let card = house.broker.card(&seen.port).await.map_err(|error| refused(house, error))?;
        return Ok(Reply::Key(KeyDetail {
            rows: card_rows(Some(piv), &card),
            pin_tries: card.tries,
            key: view(open.as_deref(), enrolled.as_ref(), Some(&seen)),
        }));
    }
    let info = match house.broker.info(&seen.port).await {
        Err(DeviceError::NotFido) => match house.broker.card(&seen.port).await {
            Ok(card) => {
                return Ok(Reply::Key(KeyDetail {
                    rows: card_rows(None, &card),
                    pin_tries: card.tries,
                    key: view(None, None, Some(&seen)),
                }));
            }
            Err(error @ DeviceError::TooOld { .. }) => Err(error),
            Err(_) => Err(DeviceError::NotFido),
        },
        said => said,
    };
    let info = info.map_err(|error| refused(house, error))?;
    let row = |name: &str, value: String| (name.to_owned(), value);
    let mut rows = vec![
        row("versions", info.info.versions.join(", ")),
        row("AAGUID", data_encoding::HEXLOWER.encode(&info.info.aaguid)),
        row("extensions", info.info.extensions.join(", ")),
    ];
    if let Some(firmware) = info.info.firmware_version {
        rows.push(row("firmware", firmware.to_string()));
    }
    if let Some(firmware) = eucleak::exposed(&seen.model, &info.info) {
        rows.push(row("note", eucleak::note(&seen.model, firmware)));
    }
    let options = info
        .info
        .options()
        .map(|(name, on)| format!("{name}={}", if on { "yes" } else { "no" }));
    rows.push(row("options", options.collect::<Vec<_>>().join(" ")));
    if info.power_cycle {
        rows.push(row("PIN", "no more tries until the key is pulled out and plugged in again".into()));
    }
    Ok(Reply::Key(KeyDetail {
        key: view(open.as_deref(), enrolled.as_ref(), Some(&seen)),
        rows,
        pin_tries: info.tries,
    }))
}

/// What a YubiKey's PIV application says of itself, and what it does for the vault, if it is enrolled.
fn card_rows(piv: Option<&Piv>, card: &CardSeen) -> Vec<(String, String)> {
    let row = |name: &str, value: String| (name.to_owned(), value);
    let [major, minor, patch] = card.seen.firmware;
    let mut rows = vec![
        row("serial number", card.seen.serial.to_string()),
        row("firmware", format!("{major}.{minor}.{patch}")),
    ];
    match piv {
        Some(piv) => rows.extend([
            row("opens by", format!("slot {}, PIN and touch each time", piv.open.slot)),
            row("signs by", format!("slot {}, PIN and touch each time", piv.sign.slot)),
            row("attested", attested(piv).into()),
        ]),
        None => rows.push(row("enrol it", ENROL_PIV.into())),
    }
    let factory = [
        (card.factory.pin, "PIN"),
        (card.factory.puk, "PUK"),
        (card.factory.management, "management key"),
    ];
    let factory: Vec<&str> = factory.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
    if !factory.is_empty() {
        rows.push(row("the factory's", factory.join(", ")));
    }
    if !card.occupied.is_empty() {
        let occupied: Vec<String> = card.occupied.iter().map(|occupied| occupied.slot.to_string()).collect();
        rows.push(row("slots in use", occupied.join(", ")));
    }
    if card.seen.firmware < eucleak::FIXED {
        rows.push(row("note", eucleak::note("it", card.seen.firmware)));
    }
    rows
}

/// By whose word its slots are what they are.
fn attested(piv: &Piv) -> &'static str {
    match piv.is_attested() {
        true => "under a maker's root, when it was enrolled",
        false => UNVERIFIED,
    }
}

/// # Errors
/// What the key says.
pub(super) async fn manage(house: &Rc<House>, path: &Path, key: Option<&str>, what: Manage, asker: &Asker) -> Result<Reply, Failure> {
    // A PIN goes to the key: only a person who is there may type one (P11).
    enrol::own_screen(asker)?;
    let open = optional(house, path)?;
    let (seen, enrolled) = find(house, open.as_deref(), key).await?;
    let (task, pin) = task(what)?;
    let deadline = house.clock.boot() + CARE;
    let feed = progress(asker);
    let cared = house.broker.manage(&seen.port, task, pin, enrolled.as_ref(), deadline, feed).await;
    Ok(match cared.map_err(|error| refused(house, error))? {
        Cared::Done => Reply::Managed {
            rows: vec![("done".into(), seen.model)],
        },
        Cared::List(listed) => Reply::Managed {
            rows: listed.iter().map(listed_row).collect(),
        },
    })
}

/// What it is, in the words of the device, and its id.
fn listed_row(one: &Listed) -> (String, String) {
    let words = [one.rp_id.as_str(), &one.name].map(plain::visible);
    let named: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let named = if named.is_empty() { "(no name)".into() } else { named.join(" ") };
    (named, data_encoding::HEXLOWER.encode(&one.id.0))
}

/// # Errors
/// What keeps the readers from being looked at.
pub(super) async fn cards(house: &Rc<House>) -> Result<Reply, Failure> {
    let cards = house.broker.cards().await.map_err(IntoFailure::failure)?;
    let view = |(port, card): (Port, CardSeen)| CardView {
        serial: card.seen.serial,
        firmware: card.seen.firmware,
        reader: port.to_string(),
        factory_pin: card.factory.pin,
        factory_puk: card.factory.puk,
        factory_management_key: card.factory.management,
        occupied: card.occupied.iter().map(|occupied| occupied.slot.to_string()).collect(),
    };
    Ok(Reply::Cards {
        cards: cards.into_iter().map(view).collect(),
    })
}

/// A card, and what is to be made on it, before anything is.
///
/// # Errors
/// Nobody is there who could agree; slots that are none; see [`Survey::begin`].
pub(super) async fn survey(
    lobby: &Lobby<'_>,
    ask: Option<CardAsk>,
    enrolled: &[EnrolledKey],
    known: &[Known],
    asker: &Asker,
) -> Result<Option<Survey>, Failure> {
    enrol::own_screen(asker)?;
    match ask {
        Some(ask) => {
            let roots = lobby.limits.piv_attestation_roots.as_deref().map(roots).transpose()?;
            Ok(Some(Survey::begin(lobby, plan(ask)?, roots, enrolled, known).await?))
        }
        None => Ok(None),
    }
}

/// The certificates that the configuration trusts, as they stand in their file now.
///
/// # Errors
/// The file is not there, or has none.
pub(super) fn roots(path: &Path) -> Result<Roots, Failure> {
    let wrong = |why: String| {
        let message = format!(
            "the roots of limits.piv_attestation_roots cannot be read: {}: {why}",
            path.display()
        );
        Failure::new(Outcome::Refused, "attestation_roots", message)
            .hint("put the maker's certificates there in PEM form, or take the line out of config.toml")
    };
    let text = read_plain(path, LONGEST_ROOTS).map_err(|error| wrong(error.to_string()))?;
    Roots::from_pem(&text).map_err(|error| wrong(error.to_string()))
}

/// # Errors
/// It is none.
pub(super) fn slot(text: String) -> Result<Retired, Failure> {
    Retired::try_from(text)
        .map_err(|error| Failure::new(Outcome::BadInput, "slot", error).hint("name slots from 82 to 95, as `ykman` does"))
}

/// What is to be made on a card.
///
/// # Errors
/// Slots that are none.
fn plan(ask: CardAsk) -> Result<CardPlan, Failure> {
    let (open, sign) = (slot(ask.open)?, slot(ask.sign)?);
    if open == sign {
        return Err(Failure::new(Outcome::BadInput, "one_slot", "one slot cannot open and sign").hint("name two slots"));
    }
    Ok(CardPlan {
        serial: ask.serial,
        slots: vec![open, sign],
        danger_overwrite: ask.danger_overwrite,
        new_pin: ask.new_pin.map(|pin| pin.0),
        new_puk: ask.new_puk.map(|puk| puk.0),
    })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn add(house: &Rc<House>, path: &Path, ask: KeyAddAsk, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let all = || open.vault.borrow().scopes().into_iter().map(str::to_owned).collect();
    let scopes: Vec<String> = if ask.scopes.is_empty() { all() } else { ask.scopes };
    let (office, known) = (house.office(&open), house.known_keys(ask.card.is_some()));
    let enrolled = open.vault.borrow().keys();
    let card = survey(&office.lobby, ask.card, &enrolled, &known, asker).await?;
    let candidacy = Candidacy {
        name: &ask.name,
        touch_only: ask.touch_only,
        scopes: &scopes,
        recovers: None,
        card: card.as_ref(),
        known: &known,
    };
    let new = enrol::add(&office, &candidacy, asker).await?;
    house.open(path)?;
    Ok(Reply::KeyAdded {
        name: ask.name,
        profile: profile_said(&new.key).into(),
        built_in_uv: new.built_in_uv,
        scopes,
    })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn remove(house: &Rc<House>, path: &Path, ask: KeyRemoveAsk, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let change = roster::remove(&house.office(&open), &ask.name, ask.key.as_deref(), asker).await?;
    house.open(path)?;
    Ok(Reply::KeyRemoved { name: ask.name, change })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn admit(house: &Rc<House>, path: &Path, name: String, scopes: &[String], asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let scopes = roster::admit(&house.office(&open), &name, scopes, asker).await?;
    house.open(path)?;
    Ok(Reply::KeyAdmitted { name, scopes })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn recover(house: &Rc<House>, path: &Path, ask: RecoverAsk, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let RecoverAsk {
        name,
        touch_only,
        code,
        lost,
        card,
    } = ask;
    let code = str::from_utf8(code.0.expose()).map(RecoveryCode::parse);
    let code = code
        .map_err(|error| error.to_string())
        .and_then(|code| code.map_err(|error| error.to_string()));
    let code =
        code.map_err(|error| Failure::new(Outcome::BadInput, "recovery_code", error).hint("type it again, as it stands on the paper"))?;
    let (office, known) = (house.office(&open), house.known_keys(card.is_some()));
    // A key that is lost may be the same YubiKey, reset.
    let mut stays = open.vault.borrow().keys();
    stays.retain(|key| !lost.contains(&key.name));
    let card = survey(&office.lobby, card, &stays, &known, asker).await?;
    let newcomer = Newcomer {
        name: &name,
        touch_only,
        card: card.as_ref(),
    };
    let recovered = recover_with(&office, newcomer, code, &lost, &known, asker).await?;
    // What is kept for the lost keys goes with them. The code is told whatever else happens: it is in force already.
    let _ = house.open(path);
    Ok(Reply::Recovered {
        name,
        profile: profile_said(&recovered.new.key).into(),
        built_in_uv: recovered.new.built_in_uv,
        scopes: recovered.scopes,
        recovery_code: Value(recovered.code),
        removed: lost,
        change: recovered.exposed,
        trouble: recovered.trouble.map(|error| error.to_string()),
    })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn new_code(house: &Rc<House>, path: &Path, key: Option<&str>, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let made = roster::new_code(&house.office(&open), key, asker).await?;
    Ok(Reply::NewCode {
        recovery_code: Value(made.code),
        trouble: made.trouble.map(|error| error.to_string()),
    })
}

/// # Errors
/// No such key; nobody typed a PIN.
pub(super) async fn unlock(
    house: &Rc<House>,
    path: &Path,
    key: Option<String>,
    keep: Option<u64>,
    asker: &Asker,
) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let keep = keep.map_or(house.config().limits.pin, Duration::from_secs);
    if keep > LONGEST_PIN || keep.is_zero() {
        return Err(Failure::new(
            Outcome::BadInput,
            "keep",
            format!("a PIN is kept for {} h at most", LONGEST_PIN.as_secs() / 3600),
        )
        .hint("touchlease unlock --keep 1h"));
    }
    let office = house.office(&open);
    let key = ask_pin(&office, key.as_deref(), keep, asker).await?;
    Ok(Reply::Unlocked { key, keep: keep.as_secs() })
}

/// What the person has to do meanwhile, as it comes.
fn progress(asker: &Asker) -> Feed {
    let tell = asker.tell.clone();
    Arc::new(move |event| {
        let what = match event {
            KeyEvent::TouchNow { .. } => "touch the key now: it blinks".to_owned(),
            KeyEvent::Sample(sample) => sample.to_string(),
            _ => return,
        };
        // Whoever asked may have gone.
        let _ = tell.send(Event::Note { what });
    })
}

/// A vault, if there is one: keys can be looked at without.
fn optional(house: &Rc<House>, path: &Path) -> Result<Option<Rc<OpenVault>>, Failure> {
    match house.open(path) {
        Ok(open) => Ok(Some(open)),
        Err(failure) if failure.reason == "no_vault" => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The connected key of this name or at this place; the only one when nothing is said.
async fn find(house: &Rc<House>, open: Option<&OpenVault>, named: Option<&str>) -> Result<(Seen, Option<EnrolledKey>), Failure> {
    let enrolled = open.map(|open| open.vault.borrow().keys()).unwrap_or_default();
    let seen = house.broker.seen(&enrolled).await.map_err(IntoFailure::failure)?;
    let of = |seen: &Seen| enrolled.iter().find(|key| seen.key == Some(key.id())).cloned();
    let mut matching = seen
        .iter()
        .filter(|seen| named.is_none_or(|named| seen.port.to_string() == named || of(seen).is_some_and(|key| key.name == named)));
    match (matching.next(), matching.next()) {
        (Some(one), None) => Ok((one.clone(), of(one))),
        (None, _) if named.is_some() && !seen.is_empty() => {
            Err(Failure::new(Outcome::NoKey, "no_such_key", "no connected key has this name or place").hint("touchlease key list"))
        }
        (None, _) => Err(DeviceError::NoKey.failure()),
        (Some(_), Some(_)) => Err(
            Failure::new(Outcome::BadInput, "which_key", "several keys are connected: say which")
                .hint("touchlease key list shows names and places"),
        ),
    }
}

/// What a key refuses. One that waits for a touch says for whom: a screen shows one request at a time.
fn refused(house: &House, error: DeviceError) -> Failure {
    let asks = house.desk.asking().filter(|_| error == DeviceError::Asked);
    let failure = error.failure();
    match asks {
        Some(by) => Failure {
            message: format!("the key waits for a touch, for the request of {by} that stands on the screen"),
            ..failure
        },
        None => failure,
    }
}

fn view(open: Option<&OpenVault>, key: Option<&EnrolledKey>, seen: Option<&Seen>) -> KeyView {
    let opens = |key: &EnrolledKey| open.map(|open| open.vault.borrow().scopes_of(key)).unwrap_or_default();
    let scopes = key.map(opens).unwrap_or_default();
    KeyView {
        name: key.map(|key| key.name.clone()),
        profile: key.map(|key| profile_said(key).into()),
        built_in_uv: seen.is_some_and(|seen| seen.built_in_uv),
        not_in: key
            .and(open)
            .map(|open| without(&open.vault.borrow().scopes(), &scopes))
            .unwrap_or_default(),
        scopes,
        transport: seen.map(|seen| transport(seen.link).into()),
        model: seen.map(|seen| seen.model.clone()),
        place: seen.map(|seen| seen.port.to_string()),
        problem: seen.and_then(|seen| seen.problem.as_ref()).map(ToString::to_string),
    }
}

fn without(all: &[&str], some: &[String]) -> Vec<String> {
    let rest = all.iter().filter(|one| !some.iter().any(|other| other == *one));
    rest.map(|one| (*one).to_owned()).collect()
}

/// The word of the protocol; what a person reads is the client's.
fn transport(link: Link) -> &'static str {
    match link {
        Link::Usb => "usb",
        Link::Contact => "contact",
        Link::Contactless => "nfc",
    }
}

/// The worker's task, and the PIN or PINs for it.
fn task(what: Manage) -> Result<(Care, Secret), Failure> {
    let pin_of = |typed: Value| pin_form::checked(typed.0).map_err(|form| DeviceError::from(form).failure());
    Ok(match what {
        Manage::PinSet { pin } => (Care::Key(Task::SetPin), pin_of(pin)?),
        Manage::PinChange { old, new } => {
            let (old, new) = (pin_of(old)?, pin_of(new)?);
            (Care::Key(Task::ChangePin { old_len: old.len() }), joined(&old, &new)?)
        }
        Manage::Credentials { pin } => (Care::Key(Task::Credentials), pin_of(pin)?),
        Manage::FingerprintList { pin } => (Care::Fingerprint(Fingerprint::List), pin_of(pin)?),
        Manage::FingerprintAdd { pin, name } => {
            fingerprint_name(&name)?;
            (Care::Fingerprint(Fingerprint::Add { name }), pin_of(pin)?)
        }
        Manage::FingerprintRename { pin, id, name } => {
            fingerprint_name(&name)?;
            let id = fingerprint_id(&id)?;
            (Care::Fingerprint(Fingerprint::Rename { id, name }), pin_of(pin)?)
        }
        Manage::FingerprintRemove { pin, id } => {
            let id = fingerprint_id(&id)?;
            (Care::Fingerprint(Fingerprint::Remove { id }), pin_of(pin)?)
        }
    })
}

/// What the key keeps beside the fingerprint: words for a person, and nothing else is made of them.
fn fingerprint_name(name: &str) -> Result<(), Failure> {
    let what = "the fingerprint's name";
    let visible = match name.trim() {
        "" => Err(PlainError::Empty { what }),
        _ => plain::check_line(what, name, plain::LONGEST_NAME),
    };
    visible.map_err(|error| {
        Failure::new(Outcome::BadInput, "name", error.to_string())
            .hint("touchlease key fingerprint add NAME, with letters, digits and blanks")
    })
}

fn fingerprint_id(id: &str) -> Result<Id, Failure> {
    let id = data_encoding::HEXLOWER_PERMISSIVE.decode(id.as_bytes());
    id.map(Id).map_err(|_| {
        Failure::new(Outcome::BadInput, "id", "a fingerprint's id is hexadecimal").hint("touchlease key fingerprint list shows the ids")
    })
}

fn joined(old: &Secret, new: &Secret) -> Result<Secret, Failure> {
    let both = Secret::zeroed(old.len() + new.len()).map(|mut both| {
        both.expose_mut()[..old.len()].copy_from_slice(old.expose());
        both.expose_mut()[old.len()..].copy_from_slice(new.expose());
        both
    });
    both.map_err(locked_memory)
}
