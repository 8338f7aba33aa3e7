//! What is plugged in and why it is not usable: for a person who asks. No touch, no PIN.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::super::ctap::Info;
use super::super::enrolled::{EnrolledKey, Link, Piv, Profile, UNVERIFIED};
use super::super::error::{DeviceError, release};
use super::super::eucleak;
use super::super::place::{Place, Port};
use super::{Broker, CardSeen, KeyInfo, Seen};
use crate::encoding::plain::count;
use crate::finding::{Finding, Part};

/// As udev/README.md explains them, with the rule of udev/70-touchlease.rules in one line: nobody who installed the program has the file.
const UDEV: &str = "sudo groupadd --system touchlease; sudo usermod --append --groups touchlease \"$USER\"; \
    echo 'ACTION!=\"remove\", SUBSYSTEM==\"hidraw\", ENV{ID_FIDO_TOKEN}==\"1\", GROUP=\"touchlease\", MODE=\"0660\"' | \
    sudo tee /etc/udev/rules.d/70-touchlease.rules; sudo udevadm control --reload; \
    sudo udevadm trigger --action=change --subsystem-match=hidraw (then log in again)";
const ENROL: &str = "touchlease key add NAME (the first one: touchlease init --key NAME)";
/// How a YubiKey is enrolled by its PIV application.
pub const ENROL_PIV: &str = "touchlease key add NAME --piv (the first one: touchlease init --key NAME --piv)";
const ANOTHER: &str = "plug in another key, then: touchlease key list";

impl Broker {
    /// Every key that is there, what keeps it from serving, and which of `keys` are away.
    pub async fn examine(&self, keys: &[EnrolledKey]) -> Vec<Finding> {
        let seen = match self.seen(keys).await {
            Ok(seen) => seen,
            Err(error) => {
                let what = format!("keys cannot be looked for: {error}");
                return vec![Part::Keys.problem("not_looked_for", what, "touchlease daemon (in a terminal, to see what it says)")];
            }
        };
        let mut findings = Vec::new();
        for one in &seen {
            let key = keys.iter().find(|key| Some(key.id()) == one.key);
            if let Some((key, piv)) = key.and_then(|key| Some((key, key.piv()?))) {
                findings.extend(judge_card(one, key, piv, &self.card(&one.port).await));
                continue;
            }
            let said = match &one.problem {
                Some(problem) => Err(problem.clone()),
                None => self.info(&one.port).await,
            };
            let card = match said {
                Err(DeviceError::NotFido) => self.card(&one.port).await,
                _ => Err(DeviceError::NotPiv),
            };
            findings.extend(match card {
                Ok(card) => judge_new_card(one, &card),
                Err(error @ DeviceError::TooOld { .. }) => judge(one, key, &Err(error)),
                Err(_) => judge(one, key, &said),
            });
        }
        let away = keys.iter().filter(|key| !seen.iter().any(|one| one.key == Some(key.id())));
        findings.extend(away.map(|key| Part::Keys.note("away", format!("\"{}\" is not connected", key.name), "touchlease key list")));
        if seen.is_empty() {
            let what = "no security key is connected, or none that the system shows";
            findings.push(Part::Keys.warning("no_key", what, "touchlease key list (after plugging one in)"));
        }
        findings
    }

    /// Whether the smart-card service at `socket` can be reached, and its readers.
    pub async fn examine_readers(&self, socket: &Path) -> Vec<Finding> {
        let mut findings = vec![service(socket)];
        let places = match self.inner.outlook() {
            Ok(outlook) => self.inner.places(&outlook).await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        findings.extend(readers(&places));
        findings
    }
}

fn service(socket: &Path) -> Finding {
    const START: &str = "sudo systemctl enable --now pcscd.socket";
    match UnixStream::connect(socket) {
        Ok(_) => Part::Readers.ok("pcscd", "the smart-card service answers"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Part::Readers.warning(
            "pcscd_denied",
            "the smart-card service does not let this user in: no card is seen",
            format!("ls -l {}", socket.display()),
        ),
        Err(_) => Part::Readers.note(
            "no_pcscd",
            "the smart-card service does not run: no card is seen, neither over NFC nor in a slot",
            START,
        ),
    }
}

/// Each reader that holds a card, and the empty ones together: a machine may have many slots.
fn readers(places: &[Place]) -> Vec<Finding> {
    let readers = places.iter().filter(|place| matches!(place.port, Port::Reader(_)));
    let (empty, holding): (Vec<_>, Vec<_>) = readers.partition(|place| place.empty);
    let holds = |place: &&Place| {
        let on = if place.link == Link::Contactless { "on" } else { "in" };
        Part::Readers.ok("reader", format!("{} has a card {on} it", place.model))
    };
    let mut findings: Vec<_> = holding.iter().map(holds).collect();
    let names: Vec<_> = empty.iter().map(|place| place.model.as_str()).collect();
    let what = match names.as_slice() {
        [] => return findings,
        [one] => format!("{one} is empty"),
        many => format!("{} are empty: {}", count(many.len(), "reader"), many.join(", ")),
    };
    findings.push(Part::Readers.ok("empty_readers", what));
    findings
}

/// What one key is good for. `said` is what it says of itself, or why it says nothing.
fn judge(seen: &Seen, key: Option<&EnrolledKey>, said: &Result<KeyInfo, DeviceError>) -> Vec<Finding> {
    let place = seen.port.to_string();
    // A reader stands for the key in it, which has no name of its own.
    let place = Some(place).filter(|place| *place != seen.model);
    let name = match (key, place) {
        (Some(key), Some(place)) => format!("\"{}\" ({}, {place})", key.name, seen.model),
        (Some(key), None) => format!("\"{}\" ({})", key.name, seen.model),
        (None, Some(place)) => format!("{} ({place})", seen.model),
        (None, None) => format!("the key in {}", seen.model),
    };
    let said = match said {
        Ok(said) => said,
        Err(error) => return vec![refusal(&name, error)],
    };
    let mut findings = lacks(&name, key, &said.info);
    findings.extend(pin(&name, key, said));
    findings.extend(profile(&name, seen.link, key, &said.info));
    if findings.is_empty() {
        findings.push(Part::Keys.ok("usable", format!("{name} can serve")));
    }
    findings.extend(signs_exposed(&name, key, &seen.model, &said.info));
    findings
}

/// What a YubiKey is that shows its PIV application alone, and is not enrolled.
fn judge_new_card(seen: &Seen, card: &CardSeen) -> Vec<Finding> {
    let name = format!("the YubiKey {} at {}", card.seen.serial, seen.port);
    let what = format!("{name} is not enrolled in this vault; it has a PIV application");
    let mut findings = vec![Part::Keys.note("not_enrolled", what, ENROL_PIV)];
    if card.seen.firmware < eucleak::FIXED {
        findings.push(Part::Keys.note("eucleak", eucleak::note(&name, card.seen.firmware), ANOTHER));
    }
    findings
}

/// What an enrolled card is good for.
fn judge_card(seen: &Seen, key: &EnrolledKey, piv: &Piv, said: &Result<CardSeen, DeviceError>) -> Vec<Finding> {
    let name = format!("\"{}\" ({}, PIV)", key.name, seen.port);
    let card = match said {
        Ok(card) => card,
        Err(error) => return vec![refusal(&name, error)],
    };
    let (keys, mut findings) = (Part::Keys, Vec::new());
    if let Some(made) = [&piv.open, &piv.sign].into_iter().find(|made| !card.holds(made)) {
        let how = match card.is_occupied(made.slot) {
            true => "another key is in its place",
            false => "its PIV application was reset",
        };
        let what = format!("{name} has lost the key in its slot {}: {how}", made.slot);
        findings.push(keys.problem("reset_since_enrolment", what, again(&key.name, "")));
    }
    match card.tries {
        Some(0) => findings.push(keys.problem(
            "piv_pin_blocked",
            format!("the PIN of {name} is blocked"),
            "ykman piv access unblock-pin",
        )),
        Some(1) => findings.push(keys.warning(
            "last_pin_try",
            format!("{name} takes one more wrong PIN before it blocks"),
            "ykman piv access change-pin",
        )),
        _ => {}
    }
    if findings.is_empty() {
        findings.push(keys.ok("usable", format!("{name} can serve")));
    }
    if !piv.is_attested() {
        let what = format!("the slots of {name} are {UNVERIFIED}: that they want a touch is its own word");
        let remedy = format!(
            "touchlease key remove {0}; then, with the root in the file of limits.piv_attestation_roots in config.toml: touchlease key add {0} --piv",
            key.name
        );
        findings.push(keys.note("not_attested", what, remedy));
    }
    if piv.firmware < eucleak::FIXED {
        let remedy = format!("touchlease key remove {} (if it is lost, or was out of your hands)", key.name);
        findings.push(keys.note("eucleak", eucleak::note(&name, piv.firmware), remedy));
    }
    findings
}

/// A key that is lost has to be removed before it is in a laboratory for hours.
fn signs_exposed(name: &str, key: Option<&EnrolledKey>, model: &str, info: &Info) -> Option<Finding> {
    let firmware = eucleak::exposed(model, info)?;
    let remedy = match key {
        Some(key) => format!("touchlease key remove {} (if it is lost, or was out of your hands)", key.name),
        None => ANOTHER.to_owned(),
    };
    Some(Part::Keys.note("eucleak", eucleak::note(name, firmware), remedy))
}

fn refusal(name: &str, error: &DeviceError) -> Finding {
    let keys = Part::Keys;
    let what = format!("{name}: {error}");
    match error {
        DeviceError::Permission => keys.problem("permission", what, UDEV),
        DeviceError::Busy { by } => {
            let holder = by.as_deref().and_then(|by| by.rsplit_once("(pid ")?.1.strip_suffix(')'));
            let remedy = match (release(by.as_deref()), holder) {
                (Some(remedy), _) => remedy.to_owned(),
                (None, Some(pid)) => format!("kill {pid} (or end it by its own means)"),
                (None, None) => ANOTHER.to_owned(),
            };
            keys.problem("key_busy", what, remedy)
        }
        DeviceError::Unfinished => keys.note("key_unfinished", what, "touch it once, or pull it out"),
        DeviceError::ResetSinceEnrolment { name } => keys.problem("reset_since_enrolment", what, again(name, "")),
        DeviceError::Impostor => keys.problem("impostor", what, "unplug it, then: touchlease key list"),
        DeviceError::TooOld { .. } => keys.warning("too_old", what, ANOTHER),
        DeviceError::NotFido => keys.note("not_fido", what, "touchlease key list"),
        DeviceError::Asked | DeviceError::TimedOut => {
            keys.note("in_use", format!("{name} is being asked for a touch"), "touchlease status")
        }
        DeviceError::PulledOut => keys.note("pulled_out", what, "touchlease key list"),
        _ => keys.problem("key_misbehaves", what, "pull it out and plug it in, then: touchlease key info"),
    }
}

fn lacks(name: &str, key: Option<&EnrolledKey>, info: &Info) -> Vec<Finding> {
    let keys = Part::Keys;
    if !info.is_ctap2() {
        return vec![keys.warning("too_old", format!("{name} does not speak FIDO2: it cannot be enrolled"), ANOTHER)];
    }
    if !info.extension("hmac-secret") {
        return vec![keys.warning(
            "no_hmac_secret",
            format!("{name} has no hmac-secret: it cannot be enrolled"),
            ANOTHER,
        )];
    }
    if key.is_some() {
        return Vec::new();
    }
    let mut findings = vec![keys.note("not_enrolled", format!("{name} is not enrolled in this vault"), ENROL)];
    if !info.extension("credProtect") {
        let what = format!("{name} cannot protect credentials by its PIN: it can be enrolled for touch only");
        findings.push(keys.note("no_cred_protect", what, "touchlease key add NAME --touch-only"));
    }
    findings
}

fn pin(name: &str, key: Option<&EnrolledKey>, said: &KeyInfo) -> Vec<Finding> {
    let keys = Part::Keys;
    if !said.info.pin_is_set() {
        let what = format!("{name} has no PIN");
        return match key.map(|key| key.profile) {
            Some(Profile::TouchOnly) => Vec::new(),
            Some(Profile::Pin) => vec![keys.problem("no_pin", format!("{what}, and is enrolled with one"), "touchlease key info")],
            None => vec![keys.note("no_pin", what, "touchlease key pin set")],
        };
    }
    let mut findings = Vec::new();
    match said.tries {
        Some(0) => findings.push(keys.problem(
            "pin_blocked",
            format!("the PIN of {name} is blocked: only a reset makes it usable, and destroys its credentials"),
            ANOTHER,
        )),
        Some(1) => findings.push(keys.warning(
            "last_pin_try",
            format!("{name} takes one more wrong PIN before it has to be reset"),
            "touchlease key info",
        )),
        _ if said.power_cycle => findings.push(keys.warning(
            "pin_blocked_until_replug",
            format!("{name} takes no PIN until it is pulled out and plugged in again"),
            "touchlease key info (after that)",
        )),
        _ => {}
    }
    if said.info.force_pin_change {
        let what = format!("{name} wants its PIN changed before anything else");
        findings.push(keys.problem("pin_refused", what, "touchlease key pin change"));
    }
    findings
}

/// How a key is enrolled anew after `between`. Another one has to be there first: the last key is not removed, nor does a removed one
/// let itself in again.
fn again(name: &str, between: &str) -> String {
    format!("touchlease key add NAME (another key, unless there is one); touchlease key remove {name}; {between}touchlease key add {name}")
}

fn profile(name: &str, link: Link, key: Option<&EnrolledKey>, info: &Info) -> Option<Finding> {
    let keys = Part::Keys;
    let key = key?;
    match (key.profile, link) {
        (Profile::TouchOnly, _) if info.always_uv() => Some(keys.problem(
            "always_uv",
            format!("{name} asks for its PIN every time (alwaysUv), and is enrolled for touch only"),
            again(&key.name, ""),
        )),
        (Profile::TouchOnly, Link::Contactless) => Some(keys.problem(
            "touch_only_nfc",
            format!("{name} is enrolled for touch only, which does not count over NFC"),
            "plug it in, then: touchlease key list",
        )),
        (Profile::TouchOnly, _) => Some(keys.note(
            "touch_only",
            format!("{name} can serve, for touch only: whoever holds it and a copy of the vault opens it"),
            again(&key.name, "touchlease key pin set; "),
        )),
        (Profile::Pin, _) if info.built_in_uv() => Some(keys.note(
            "built_in_uv",
            format!("{name} can serve; a fingerprint stands in for its PIN, so a stolen touch counts as PIN"),
            "touchlease key fingerprint list",
        )),
        (Profile::Pin, _) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::super::enrolled::PivSlot;
    use super::super::super::piv::{self, Occupied, References};
    use super::super::super::soft::SoftKey;
    use super::*;
    use crate::finding::Level;

    /// getInfo of a key with these extensions and options (CTAP 2.1, 6.4).
    fn info(extensions: &[&str], options: &[(&str, bool)]) -> Info {
        let text = |text: &str| [&[0x60 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let count = |major: u8, n: usize| vec![major | u8::try_from(n).unwrap()];
        let mut bytes = vec![0xA4, 0x01, 0x81];
        bytes.extend(text("FIDO_2_1"));
        bytes.push(0x02);
        bytes.extend(count(0x80, extensions.len()));
        bytes.extend(extensions.iter().flat_map(|e| text(e)));
        bytes.extend([0x03, 0x50]);
        bytes.extend([7; 16]);
        bytes.push(0x04);
        bytes.extend(count(0xA0, options.len()));
        bytes.extend(
            options
                .iter()
                .flat_map(|(name, on)| [text(name), vec![0xF4 | u8::from(*on)]].concat()),
        );
        Info::parse(&bytes).unwrap()
    }

    fn good() -> KeyInfo {
        KeyInfo {
            link: Link::Usb,
            model: "Key".into(),
            info: info(&["credProtect", "hmac-secret"], &[("clientPin", true)]),
            tries: Some(8),
            power_cycle: false,
        }
    }

    #[test]
    fn the_rule_that_the_remedy_writes_is_that_of_the_file() {
        let file = include_str!("../../../udev/70-touchlease.rules");
        let rule = file.lines().find(|line| line.starts_with("SUBSYSTEM==")).unwrap();
        assert!(file.contains("ACTION==\"remove\", GOTO="), "{file}");
        assert!(UDEV.contains(&format!("echo 'ACTION!=\"remove\", {rule}' |")), "{UDEV}");
    }

    #[test]
    fn readers_with_a_card_are_named_each_and_empty_ones_in_one_line() {
        let place = |name: &str, link, empty| Place {
            port: Port::Reader(name.into()),
            plug: 1,
            link,
            model: name.into(),
            socket: name.into(),
            empty,
        };
        let said = |places: &[Place]| readers(places).into_iter().map(|found| found.what).collect::<Vec<_>>();
        let (a, b) = (place("A", Link::Contact, true), place("B", Link::Contactless, true));
        assert_eq!(said(&[]), Vec::<String>::new());
        assert_eq!(said(std::slice::from_ref(&a)), ["A is empty"]);
        let (c, d) = (place("C", Link::Contact, false), place("D", Link::Contactless, false));
        assert_eq!(
            said(&[a, c, b, d]),
            ["C has a card in it", "D has a card on it", "2 readers are empty: A, B"]
        );
    }

    #[test]
    fn t58_a_card_with_another_key_in_its_slot_is_not_said_to_serve() {
        let key = SoftKey::piv("card", 1).enrolled();
        let piv = key.piv().unwrap();
        let seen = Seen {
            port: Port::Reader("R".into()),
            plug: 1,
            link: Link::Contact,
            model: "R".into(),
            key: Some(key.id()),
            problem: None,
            built_in_uv: false,
        };
        let judged = |occupied: Vec<Occupied>| {
            let factory = References {
                pin: false,
                puk: false,
                management: false,
                protected: true,
            };
            let card = CardSeen {
                plug: 1,
                seen: piv::Seen {
                    serial: piv.serial,
                    firmware: piv.firmware,
                },
                factory,
                occupied,
                tries: Some(3),
            };
            let found = judge_card(&seen, &key, piv, &Ok(card));
            (found[0].reason.clone(), found[0].what.clone())
        };
        let (open, sign) = (&piv.open, &piv.sign);
        let holds = |slot: &PivSlot| Occupied::new(slot.slot, Some(slot.public_key));
        assert_eq!(judged(vec![holds(open), holds(sign)]).0, "usable");
        for other in [None, Some(sign.public_key)] {
            let (id, what) = judged(vec![Occupied::new(open.slot, other), holds(sign)]);
            assert_eq!(id, "reset_since_enrolment");
            assert!(what.contains("slot 82: another key is in its place"), "{what}");
        }
        let (id, what) = judged(vec![holds(open)]);
        assert_eq!(id, "reset_since_enrolment");
        assert!(what.contains("slot 83: its PIV application was reset"), "{what}");
    }

    fn found(link: Link, key: Option<&EnrolledKey>, said: &Result<KeyInfo, DeviceError>) -> Vec<Finding> {
        let seen = Seen {
            port: Port::Node("/dev/hidraw3".into()),
            plug: 1,
            link,
            model: "Key".into(),
            key: key.map(EnrolledKey::id),
            problem: None,
            built_in_uv: false,
        };
        judge(&seen, key, said)
    }

    fn look(link: Link, key: Option<&EnrolledKey>, said: &Result<KeyInfo, DeviceError>) -> Vec<(Level, String)> {
        let found = found(link, key, said);
        assert!(
            found.iter().all(|f| f.what.contains("/dev/hidraw3") && f.what.contains("Key")),
            "{found:?}"
        );
        assert!(found.iter().all(|f| f.level == Level::Ok || f.remedy.is_some()), "{found:?}");
        found.into_iter().map(|finding| (finding.level, finding.reason)).collect()
    }

    fn one(level: Level, reason: &str) -> Vec<(Level, String)> {
        vec![(level, reason.into())]
    }

    #[test]
    fn an_enrolled_key_with_its_pin_can_serve() {
        let key = SoftKey::new("blue", Profile::Pin, 1).enrolled();
        assert_eq!(look(Link::Usb, Some(&key), &Ok(good())), one(Level::Ok, "usable"));
    }

    #[test]
    fn a_reader_is_named_once() {
        let seen = |key: Option<&EnrolledKey>| Seen {
            port: Port::Reader("Some Reader 00 00".into()),
            plug: 1,
            link: Link::Contact,
            model: "Some Reader 00 00".into(),
            key: key.map(EnrolledKey::id),
            problem: None,
            built_in_uv: false,
        };
        let key = SoftKey::new("blue", Profile::Pin, 1).enrolled();
        let said = |key: Option<&EnrolledKey>| judge(&seen(key), key, &Ok(good()))[0].what.clone();
        assert_eq!(said(Some(&key)), "\"blue\" (Some Reader 00 00) can serve");
        assert_eq!(said(None), "the key in Some Reader 00 00 is not enrolled in this vault");
    }

    #[test]
    fn what_a_key_lacks_is_said() {
        let with = |extensions: &[&str], options: &[(&str, bool)]| {
            Ok(KeyInfo {
                info: info(extensions, options),
                ..good()
            })
        };
        let pin = &[("clientPin", true)][..];
        assert_eq!(
            look(Link::Usb, None, &with(&["credProtect"], pin)),
            one(Level::Warning, "no_hmac_secret")
        );
        let found = look(Link::Usb, None, &with(&["hmac-secret"], &[("clientPin", false)]));
        let reasons: Vec<&str> = found.iter().map(|(_, reason)| reason.as_str()).collect();
        assert_eq!(reasons, ["not_enrolled", "no_cred_protect", "no_pin"]);
        let old = KeyInfo {
            info: Info::default(),
            ..good()
        };
        assert_eq!(look(Link::Usb, None, &Ok(old))[0], (Level::Warning, "too_old".into()));
    }

    #[test]
    fn t57_a_pin_that_is_blocked_or_nearly_is_said() {
        let key = SoftKey::new("blue", Profile::Pin, 1).enrolled();
        let tries = |tries, power_cycle| {
            let said = KeyInfo {
                tries: Some(tries),
                power_cycle,
                ..good()
            };
            look(Link::Usb, Some(&key), &Ok(said))
        };
        assert_eq!(tries(0, false), one(Level::Problem, "pin_blocked"));
        assert_eq!(tries(1, false), one(Level::Warning, "last_pin_try"));
        assert_eq!(tries(5, true), one(Level::Warning, "pin_blocked_until_replug"));
        let none = KeyInfo {
            info: info(&["credProtect", "hmac-secret"], &[("clientPin", false)]),
            tries: None,
            ..good()
        };
        assert_eq!(look(Link::Usb, Some(&key), &Ok(none)), one(Level::Problem, "no_pin"));
        let mut change = good();
        change.info.force_pin_change = true;
        assert_eq!(look(Link::Usb, Some(&key), &Ok(change)), one(Level::Problem, "pin_refused"));
    }

    #[test]
    fn t08_a_touch_only_key_is_named_as_the_weaker_one_and_where_it_does_not_serve() {
        let key = SoftKey::new("blue", Profile::TouchOnly, 1).enrolled();
        assert_eq!(look(Link::Usb, Some(&key), &Ok(good())), one(Level::Note, "touch_only"));
        assert_eq!(
            look(Link::Contactless, Some(&key), &Ok(good())),
            one(Level::Problem, "touch_only_nfc")
        );
        let uv = KeyInfo {
            info: info(&["credProtect", "hmac-secret"], &[("clientPin", true), ("alwaysUv", true)]),
            ..good()
        };
        assert_eq!(look(Link::Usb, Some(&key), &Ok(uv)), one(Level::Problem, "always_uv"));
        let sensor = KeyInfo {
            info: info(&["credProtect", "hmac-secret"], &[("uv", true), ("clientPin", true)]),
            ..good()
        };
        let pin = SoftKey::new("blue", Profile::Pin, 1).enrolled();
        assert_eq!(look(Link::Usb, Some(&pin), &Ok(sensor)), one(Level::Note, "built_in_uv"));
    }

    #[test]
    fn t08_a_key_is_enrolled_anew_only_after_another_one_is_there() {
        let key = SoftKey::new("blue", Profile::TouchOnly, 1).enrolled();
        let uv = KeyInfo {
            info: info(&["credProtect", "hmac-secret"], &[("clientPin", true), ("alwaysUv", true)]),
            ..good()
        };
        let reset = DeviceError::ResetSinceEnrolment { name: "blue".into() };
        for said in [Ok(good()), Ok(uv), Err(reset)] {
            let remedy = found(Link::Usb, Some(&key), &said)[0].remedy.clone().unwrap();
            let steps: Vec<&str> = remedy.split("; ").collect();
            assert!(steps[0].starts_with("touchlease key add NAME (another key"), "{remedy}");
            assert_eq!(steps[1], "touchlease key remove blue");
            assert_eq!(steps.last(), Some(&"touchlease key add blue"));
        }
    }

    #[test]
    fn why_a_key_does_not_answer_is_said() {
        let busy = DeviceError::Busy {
            by: Some("chrome (pid 4711)".into()),
        };
        for (error, level, reason) in [
            (DeviceError::Permission, Level::Problem, "permission"),
            (busy, Level::Problem, "key_busy"),
            (DeviceError::Impostor, Level::Problem, "impostor"),
            (DeviceError::NotFido, Level::Note, "not_fido"),
            (DeviceError::TimedOut, Level::Note, "in_use"),
            (DeviceError::Asked, Level::Note, "in_use"),
            (
                DeviceError::ResetSinceEnrolment { name: "blue".into() },
                Level::Problem,
                "reset_since_enrolment",
            ),
            (DeviceError::TooOld { lacks: "FIDO2".into() }, Level::Warning, "too_old"),
            (DeviceError::Protocol { what: "noise".into() }, Level::Problem, "key_misbehaves"),
        ] {
            assert_eq!(look(Link::Usb, None, &Err(error)), one(level, reason));
        }
    }

    #[test]
    fn a_service_that_is_not_there_is_a_note_and_one_that_listens_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("pcscd.comm");
        assert_eq!(service(&socket).reason, "no_pcscd");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(service(&socket).reason, "pcscd");
        drop(listener);
        assert_eq!(service(&socket).reason, "no_pcscd");
    }
}
