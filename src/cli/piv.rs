//! `--piv`: a YubiKey enrolled by its PIV application, and what of it is still the factory's.

use super::init::unexpected;
use super::key::{SecretKind, new_secret};
use super::session::Session;
use super::ui::Tone;
use crate::device::enrolled::Retired;
use crate::device::eucleak;
use crate::wire::reply::CardView;
use crate::wire::request::CardAsk;
use crate::wire::signer::HardwareAsk;
use crate::wire::{Failure, Outcome, Reply, Request, Value};

/// Enrol by the PIV application.
#[derive(Debug, clap::Args)]
pub struct PivArgs {
    /// Enrol a YubiKey by its PIV application, with two new keys in its retired slots: one opens, one signs.
    ///
    /// Each use takes PIN and touch. A lease takes one touch, and is attested by the daemon alone; a change takes two.
    #[arg(long, conflicts_with = "touch_only")]
    piv: bool,
    /// Enrol the YubiKey with this serial number [default: the only one that is connected].
    #[arg(long, requires = "piv", value_name = "NUMBER")]
    serial: Option<u32>,
    /// Make the key that opens in this slot, 82 to 95 [default: the last that is free].
    #[arg(long, requires = "piv", value_name = "SLOT", value_parser = slot)]
    open_slot: Option<String>,
    /// Make the key that signs in this slot, 82 to 95 [default: the last but one that is free].
    #[arg(long, requires = "piv", value_name = "SLOT", value_parser = slot)]
    sign_slot: Option<String>,
    /// Lose the keys that are in these slots.
    #[arg(long, requires = "piv")]
    danger_overwrite_slot: bool,
}

/// What is asked for; nothing without `--piv`. A person types what goes in the place of the factory's PIN and PUK.
///
/// # Errors
/// No such YubiKey, or several; no terminal.
pub fn ask(session: &Session, args: PivArgs) -> Result<Option<CardAsk>, Failure> {
    if !args.piv {
        return Ok(None);
    }
    let card = look(session, args.serial)?;
    let ui = session.ui;
    let mut free = free(&card.occupied);
    let mut slot = |named: Option<String>| named.or_else(|| free.pop()).ok_or_else(no_slot);
    let (open, sign) = (slot(args.open_slot)?, slot(args.sign_slot)?);
    ui.note(Tone::Dim, &format!("its slot {open} opens, its slot {sign} signs"));
    let (new_pin, new_puk) = replace_the_factorys(session, &card)?;
    Ok(Some(CardAsk {
        serial: card.serial,
        open,
        sign,
        danger_overwrite: args.danger_overwrite_slot,
        new_pin,
        new_puk,
    }))
}

/// Make the key of a signer in hardware.
#[derive(Debug, clap::Args)]
pub struct SignerPivArgs {
    /// Make its key in a slot of a YubiKey, which it never leaves: each signature takes PIN and touch.
    #[arg(long)]
    piv: bool,
    /// Make it on the YubiKey with this serial number [default: the only one that is connected].
    #[arg(long, requires = "piv", value_name = "NUMBER")]
    serial: Option<u32>,
    /// Make it in this slot, 82 to 95 [default: the last that is free].
    #[arg(long, requires = "piv", value_name = "SLOT", value_parser = slot)]
    slot: Option<String>,
    /// Lose the key that is in this slot.
    #[arg(long, requires = "piv")]
    danger_overwrite_slot: bool,
}

/// The same for a signer's key.
///
/// # Errors
/// As [`ask`].
pub fn ask_for_signer(session: &Session, args: SignerPivArgs) -> Result<Option<HardwareAsk>, Failure> {
    if !args.piv {
        return Ok(None);
    }
    let card = look(session, args.serial)?;
    let slot = args.slot.or_else(|| free(&card.occupied).pop()).ok_or_else(no_slot)?;
    session.ui.note(Tone::Dim, &format!("its slot {slot} signs"));
    let (new_pin, new_puk) = replace_the_factorys(session, &card)?;
    Ok(Some(HardwareAsk {
        serial: card.serial,
        slot,
        danger_overwrite: args.danger_overwrite_slot,
        new_pin,
        new_puk,
    }))
}

/// The YubiKey that is meant, and what it is.
fn look(session: &Session, serial: Option<u32>) -> Result<CardView, Failure> {
    let Reply::Cards { cards } = session.ask(Request::Cards)? else {
        return Err(unexpected());
    };
    let card = choose(cards, serial)?;
    let ui = session.ui;
    let [major, minor, patch] = card.firmware;
    ui.note(
        Tone::Strong,
        &format!("YubiKey {} at {}, firmware {major}.{minor}.{patch}", card.serial, card.reader),
    );
    if card.firmware < eucleak::FIXED {
        ui.note(Tone::Bad, &eucleak::note("it", card.firmware));
    }
    Ok(card)
}

/// PIN and PUK in the place of the factory's, where it has these.
fn replace_the_factorys(session: &Session, card: &CardView) -> Result<(Option<Value>, Option<Value>), Failure> {
    let ui = session.ui;
    let new_pin = card
        .factory_pin
        .then(|| {
            ui.note(
                Tone::Act,
                "Its PIN is still the factory's, 123456: type another one, of 6 to 8 characters.",
            );
            new_secret(SecretKind::Pin)
        })
        .transpose()?;
    let new_puk = card
        .factory_puk
        .then(|| {
            ui.note(
                Tone::Act,
                "Its PUK, which sets a new PIN when one was forgotten, is still the factory's, 12345678: type another one, of 6 to 8 characters, and keep it.",
            );
            new_secret(SecretKind::Puk)
        })
        .transpose()?;
    if card.factory_management_key {
        ui.note(
            Tone::Act,
            "Its management key is still the factory's: it gets a random one, which lies on the card under the PIN, as `ykman` puts it there.",
        );
    }
    Ok((new_pin, new_puk))
}

fn choose(cards: Vec<CardView>, serial: Option<u32>) -> Result<CardView, Failure> {
    let mut fitting: Vec<CardView> = cards
        .into_iter()
        .filter(|card| serial.is_none_or(|serial| card.serial == serial))
        .collect();
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 => Err(
            Failure::new(Outcome::NoKey, "not_piv", "there is no YubiKey with a PIV application")
                .hint("plug one in; `ykman config usb --enable PIV` switches its PIV application on"),
        ),
        _ => {
            let serials: Vec<String> = fitting.iter().map(|card| card.serial.to_string()).collect();
            Err(Failure::new(
                Outcome::BadInput,
                "which_key",
                format!("several YubiKeys are connected: {}", serials.join(", ")),
            )
            .hint(format!("say which one: --serial {}", serials[0])))
        }
    }
}

fn slot(text: &str) -> Result<String, &'static str> {
    Retired::try_from(text.to_owned()).map(String::from)
}

/// Slots for retired keys that hold none, the last one last.
fn free(occupied: &[String]) -> Vec<String> {
    let all = (0x82..=0x95).map(|slot| format!("{slot:02x}"));
    all.filter(|slot| !occupied.contains(slot)).collect()
}

fn no_slot() -> Failure {
    Failure::new(
        Outcome::Refused,
        "slot_occupied",
        "every slot for retired keys of the YubiKey holds one",
    )
    .hint("ykman piv info shows what is there; name slots, and --danger-overwrite-slot to lose what they hold")
}
