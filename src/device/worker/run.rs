//! Doing what the request says.

use zeroize::Zeroizing;

use super::line::Line;
use super::protocol::{Answer, Failure, Fingerprint, Id, Listed, Manage, Operation, PivTask, Report, Request, SlotKey, Warm};
use super::{Ways, failed, manage, random};
use crate::device::ctap::get_assertion::{GetAssertion, RawAssertion};
use crate::device::ctap::make_credential::MakeCredential;
use crate::device::ctap::pin::{Permission, PinToken};
use crate::device::ctap::{CtapError, Frames, Session, Status, Transport};
use crate::device::enrolled::{Credential, Retired};
use crate::device::piv::{Occupied, PivCard, Secrets};
use crate::device::place::Port;
use crate::device::which;
use crate::encoding::hpke::is_public_key;
use crate::encoding::sshsig::RP_ID;
use crate::secret::Secret;

type Tail = Option<Zeroizing<Vec<u8>>>;

/// Performs one request; the last report and its tail.
pub(super) fn perform(request: Request, secret: Secret, ways: Ways<'_>, line: &mut Line) -> (Report, Tail) {
    let Request {
        port,
        link,
        warm,
        operation,
    } = request;
    if matches!(
        (&port, &operation),
        (Port::Reader(_), Operation::Manage { .. } | Operation::Fingerprint { .. })
    ) {
        return (Report::Failed(Failure::OverUsbOnly), None);
    }
    let operation = match operation {
        Operation::Piv(task) => return piv(&port, &task, &secret, ways, line),
        operation => operation,
    };
    let mut transport = match (ways.fido2)(&port, link, warm.channel) {
        Ok(transport) => transport,
        Err(error) => return (failed(error), None),
    };
    match operation {
        Operation::Manage { task, which } => (care(&port, &task, which, &secret, transport, &warm, line), None),
        operation => match converse(transport.as_mut(), line, &warm, operation, &secret) {
            Ok((answer, tail, raw_info)) => {
                let warm = Warm::new(transport.channel(), &raw_info);
                let frames = transport.frames();
                (Report::Done { answer, warm, frames }, tail)
            }
            Err(failure) => (Report::Failed(failure), None),
        },
    }
}

fn converse(
    transport: &mut dyn Transport,
    line: &mut Line,
    warm: &Warm,
    operation: Operation,
    secret: &Secret,
) -> Result<(Answer, Tail, Vec<u8>), Failure> {
    // Whoever inspects a key wants to know what it is now: a PIN may have been set since it was plugged in.
    let kept = warm.raw_info().filter(|_| !matches!(operation, Operation::Inspect));
    let mut session = Session::open(transport, line, random, kept.map(<[u8]>::to_vec))?;
    let pin = (!secret.is_empty()).then(|| secret.expose());
    let (answer, tail) = match operation {
        Operation::Inspect => (inspect(&mut session)?, None),
        Operation::Which { candidates, challenge } => (
            Answer::Which(silent(&mut session, &ids(candidates), challenge)?.map(Into::into)),
            None,
        ),
        Operation::MakeCredential {
            rp_id,
            hash,
            user_id,
            user_name,
            exclude,
            hmac_secret,
            protection,
            which,
        } => {
            recognise(&mut session, which.as_ref())?;
            let token = token(&mut session, pin, Permission::MakeCredential, Some(&rp_id))?;
            let made = session.make_credential(&MakeCredential {
                rp_id: &rp_id,
                client_data_hash: hash,
                user_id: &user_id.0,
                user_name: &user_name,
                exclude: &ids(exclude),
                hmac_secret,
                protection,
                token: token.as_ref(),
            })?;
            (Answer::Made(Id(made)), None)
        }
        Operation::Assert {
            credential,
            hash,
            salts,
            which,
        } => {
            recognise(&mut session, which.as_ref())?;
            let token = token(&mut session, pin, Permission::GetAssertion, Some(RP_ID))?;
            let (raw, outputs) = session.get_assertion(&GetAssertion {
                rp_id: RP_ID,
                client_data_hash: hash,
                allow: &[credential.0],
                salts: &salts,
                touch: true,
                token: token.as_ref(),
            })?;
            (Answer::Asserted(raw.into()), Some(outputs))
        }
        Operation::Fingerprint { task, which } => {
            recognise(&mut session, which.as_ref())?;
            (fingerprint(&mut session, pin, task)?, None)
        }
        Operation::Piv(_) => return Err(Failure::NotPiv),
        Operation::Manage { .. } => return Err(Failure::OverUsbOnly),
    };
    Ok((answer, tail, session.raw_info().to_vec()))
}

fn piv(port: &Port, task: &PivTask, secret: &Secret, ways: Ways<'_>, line: &mut Line) -> (Report, Tail) {
    let opened = match port {
        Port::Reader(reader) => (ways.piv)(reader),
        Port::Node(_) => Err(Failure::NotPiv),
    };
    let done = match (opened, task) {
        (Err(Failure::NotPiv), PivTask::Look) => Ok((Answer::Card(None), None)),
        (opened, task) => opened.and_then(|mut card| on_card(card.as_mut(), task, secret.expose(), line)),
    };
    match done {
        Ok((answer, tail)) => (
            Report::Done {
                answer,
                warm: Warm::default(),
                frames: Frames::default(),
            },
            tail,
        ),
        Err(failure) => (Report::Failed(failure), None),
    }
}

/// The serial number is looked at before any PIN goes to the card.
fn on_card(card: &mut dyn PivCard, task: &PivTask, secret: &[u8], line: &mut Line) -> Result<(Answer, Tail), Failure> {
    let asked = match task {
        PivTask::Look => card.seen().serial,
        PivTask::Tries { serial, .. }
        | PivTask::Inspect { serial }
        | PivTask::Agree { serial, .. }
        | PivTask::Sign { serial, .. }
        | PivTask::Attest { serial, .. }
        | PivTask::Make { serial, .. } => *serial,
    };
    if asked != card.seen().serial {
        return Err(Failure::OtherCard);
    }
    Ok(match task {
        PivTask::Look => (Answer::Card(Some(card.seen())), None),
        PivTask::Tries { held, .. } => {
            held.iter().try_for_each(|key| holds(card, key))?;
            let (tries, power_cycle) = (Some(card.tries()?), false);
            (Answer::Inspected { tries, power_cycle }, None)
        }
        PivTask::Inspect { .. } => {
            let factory = card.references()?;
            let mut occupied = Vec::new();
            for slot in Retired::all() {
                occupied.extend(card.held(slot)?.map(|held| Occupied::new(slot, held.public_key)));
            }
            (Answer::CardState { factory, occupied }, None)
        }
        PivTask::Agree { by, point, .. } => {
            holds(card, by)?;
            let point = point.0.as_slice().try_into().ok().filter(is_public_key);
            let point = point.ok_or(Failure::Malformed("a point that is not on the curve".into()))?;
            let agreed = card.agree(by.slot, secret, &point, line)?;
            (Answer::Agreed, Some(Zeroizing::new(agreed.to_vec())))
        }
        PivTask::Sign { by, digest, .. } => {
            holds(card, by)?;
            (Answer::Signed(Id(card.sign(by.slot, secret, digest, line)?)), None)
        }
        PivTask::Attest { slots, .. } => {
            let authority = Id(card.attestor()?);
            let statements = slots.iter().map(|slot| card.attest(*slot).map(Id)).collect::<Result<_, _>>()?;
            (Answer::Attested { authority, statements }, None)
        }
        PivTask::Make {
            task,
            pin_len,
            new_pin_len,
            ..
        } => {
            let (pin, rest) = secret.split_at_checked(*pin_len).ok_or(Failure::PinUnfit)?;
            let (new_pin, new_puk) = rest.split_at_checked(*new_pin_len).ok_or(Failure::PinUnfit)?;
            (Answer::CardMade(card.make(task, &Secrets { pin, new_pin, new_puk })?), None)
        }
    })
}

/// A card that was reset has the factory's PIN: what a person typed would be a wrong one. And what signs or opens without PIN and touch shows
/// neither.
fn holds(card: &mut dyn PivCard, key: &SlotKey) -> Result<(), Failure> {
    match card.held(key.slot)? {
        Some(held) if held.public_key != Some(key.public_key) => Err(Failure::OtherKey),
        Some(held) if !held.is_for_each_use() => Err(Failure::Policy(key.slot)),
        Some(_) => Ok(()),
        None => Err(Failure::OtherKey),
    }
}

fn inspect(session: &mut Session<'_>) -> Result<Answer, Failure> {
    let retries = match session.info().pin_is_set() {
        true => Some(session.pin_retries()?),
        false => None,
    };
    Ok(Answer::Inspected {
        tries: retries.map(|r| r.left),
        power_cycle: retries.is_some_and(|r| r.power_cycle),
    })
}

/// Asks silently for a signature by any of `ids`, as many at a time as the key takes.
fn silent(session: &mut Session<'_>, ids: &[Vec<u8>], hash: [u8; 32]) -> Result<Option<RawAssertion>, Failure> {
    for some in ids.chunks(session.info().max_credentials_in_list) {
        let ask = GetAssertion {
            rp_id: which::RP_ID,
            client_data_hash: hash,
            allow: some,
            salts: &[],
            touch: false,
            token: None,
        };
        match session.get_assertion(&ask) {
            Ok((mut raw, _)) => {
                // With one candidate a key may leave out which it was.
                if let ([only], None) = (some, &raw.credential) {
                    raw.credential = Some(only.clone());
                }
                return Ok(Some(raw));
            }
            Err(CtapError::Status(Status::NO_CREDENTIALS)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// The device proves that it has the `which` credential, over bytes drawn now. Everything else is an impostor, or another key (T13).
fn recognise(session: &mut Session<'_>, credential: Option<&Credential>) -> Result<(), Failure> {
    let Some(credential) = credential else { return Ok(()) };
    let mut challenge = [0; 32];
    random(&mut challenge).map_err(|e| Failure::System(e.to_string()))?;
    match silent(session, std::slice::from_ref(&credential.id), challenge)? {
        Some(raw) if which::answers(&raw, credential, &challenge) => Ok(()),
        _ => Err(Failure::Impostor),
    }
}

fn token(session: &mut Session<'_>, pin: Option<&[u8]>, permission: Permission, rp_id: Option<&str>) -> Result<Option<PinToken>, Failure> {
    let Some(pin) = pin else { return Ok(None) };
    match session.pin_token(pin, permission, rp_id) {
        Ok(token) => Ok(Some(token)),
        Err(CtapError::Status(Status::PIN_INVALID)) => Err(Failure::PinWrong(session.pin_retries().ok().map(|r| r.left))),
        Err(error) => Err(error.into()),
    }
}

fn fingerprint(session: &mut Session<'_>, pin: Option<&[u8]>, task: Fingerprint) -> Result<Answer, Failure> {
    session.has_sensor()?;
    let token = token(session, pin, Permission::BioEnrollment, None)?.ok_or(Failure::Status(Status::PIN_REQUIRED.0))?;
    let done = match task {
        Fingerprint::List => {
            let listed = session.fingerprints(&token)?.into_iter().map(|template| Listed {
                rp_id: String::new(),
                name: template.name.unwrap_or_default(),
                id: Id(template.id),
            });
            return Ok(Answer::List(listed.collect()));
        }
        Fingerprint::Add { name } => session.add_fingerprint(&token, &name),
        Fingerprint::Rename { id, name } => session.rename_fingerprint(&token, &id.0, &name),
        Fingerprint::Remove { id } => session.remove_fingerprint(&token, &id.0),
    };
    done.map_err(|error| match error {
        // What else it says with this status, a request without options cannot mean.
        CtapError::Status(Status::INVALID_OPTION) => Failure::NoSuchFingerprint,
        error => error.into(),
    })?;
    // With the first one, or without the last one, the key says something else of itself.
    session.renew_info()?;
    Ok(Answer::Managed)
}

fn care(
    port: &Port,
    task: &Manage,
    which: Option<Credential>,
    secret: &Secret,
    mut transport: Box<dyn Transport>,
    warm: &Warm,
    line: &mut Line,
) -> Report {
    let Port::Node(node) = port else {
        return Report::Failed(Failure::OverUsbOnly);
    };
    let recognised = Session::open(transport.as_mut(), line, random, warm.raw_info().map(<[u8]>::to_vec))
        .map_err(Failure::from)
        .and_then(|mut session| recognise(&mut session, which.as_ref()));
    // `transport` lives on: it holds the lock on the node.
    match recognised.and_then(|()| manage::run(node, task, secret)) {
        Ok(answer) => Report::Done {
            answer,
            warm: Warm::default(),
            frames: Frames::default(),
        },
        Err(failure) => Report::Failed(failure),
    }
}

fn ids(list: Vec<Id>) -> Vec<Vec<u8>> {
    list.into_iter().map(|id| id.0).collect()
}
