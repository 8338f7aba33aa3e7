//! Doing what the request says.

use zeroize::Zeroizing;

use super::line::Line;
use super::protocol::{Answer, Failure, Fingerprint, Id, Listed, Manage, Operation, Report, Request, Warm};
use super::{Open, failed, manage, random};
use crate::device::ctap::get_assertion::{GetAssertion, RawAssertion};
use crate::device::ctap::make_credential::MakeCredential;
use crate::device::ctap::pin::{Permission, PinToken};
use crate::device::ctap::{CtapError, Frames, Session, Status, Transport};
use crate::device::enrolled::Credential;
use crate::device::place::Port;
use crate::device::which;
use crate::encoding::sshsig::RP_ID;
use crate::secret::Secret;

type Tail = Option<Zeroizing<Vec<u8>>>;

/// Performs one request; the last report and its tail.
pub(super) fn perform(request: Request, secret: Secret, open: &Open<'_>, line: &mut Line) -> (Report, Tail) {
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
    let mut transport = match open(&port, link, warm.channel) {
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
        Operation::Manage { .. } => return Err(Failure::OverUsbOnly),
    };
    Ok((answer, tail, session.raw_info().to_vec()))
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
