//! Logins of a lease: with a key that is the daemon's, at the server whose host key was shown, as the user that was shown, and nothing else.

use data_encoding::BASE64;

use super::failure::internal;
use super::text::{LeaseText, LoginText};
use crate::encoding::ssh_key::SshKey;
use crate::encoding::ssh_session::SshSession;
use crate::encoding::ssh_userauth::UserAuth;
use crate::mint::LoginKey;
use crate::vault::signer::is_principal;
use crate::wire::signer::{LoginAsk, SessionAsk};
use crate::wire::{Failure, Outcome, Unhinted};

/// A request of SSH that may be signed: made by [`permit`] alone.
#[derive(Debug)]
pub struct Permitted {
    request: UserAuth,
    what: String,
}

impl Permitted {
    /// What it is for, in the log.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The signature, in SSH's form, by the key of the lease.
    ///
    /// # Errors
    /// The key is none, which nobody can make it.
    pub fn sign(&self, key: &LoginKey) -> Result<Vec<u8>, Failure> {
        key.sign(&self.request)
            .ok_or_else(|| internal("login", "the key of the lease signs nothing"))
    }
}

/// Holds what is asked for against itself: the host key signed the session, the user is one. Pure.
///
/// # Errors
/// It is not known where the session ends; a user with a name that is none.
pub fn check(asked: &LoginAsk) -> Result<(), Failure> {
    session(&asked.session)?;
    match asked.user.as_deref().is_none_or(is_principal) {
        true => Ok(()),
        false => Err(Failure::new(
            Outcome::BadInput,
            "user",
            "a user is up to 64 letters, digits and . _ - @ +, beginning with a letter, a digit or _",
        )
        .hint("name the user of the server: --user deploy")),
    }
}

/// What is shown of it.
pub(super) fn text(asked: &LoginAsk, principal: &str) -> Option<LoginText> {
    Some(LoginText {
        host_key: session(&asked.session).ok()?.host().to_line(),
        old_server: asked.old_server,
        user: asked.user.as_deref().unwrap_or(principal).to_owned(),
    })
}

/// Where a session ends, as far as its host key says.
///
/// # Errors
/// It is not in its form; the host key did not sign it.
pub fn session(asked: &SessionAsk) -> Result<SshSession, Failure> {
    let bytes = |text: &str| BASE64.decode(text.as_bytes()).map_err(|_| unbound("it is not base64"));
    let (key, id, signature) = (bytes(&asked.host_key)?, bytes(&asked.id)?, bytes(&asked.signature)?);
    SshSession::check(&key, &id, &signature).map_err(|error| unbound(&error.to_string()))
}

/// Whether what was shown for this lease is logins in this session, as far as its host key says.
#[must_use]
pub fn is_for(text: &LeaseText, session: &SshSession) -> bool {
    shown(text).is_some_and(|login| login.host_key == session.host().to_line())
}

/// What stands beside the certificate of a lease in the list of keys.
#[must_use]
pub fn comment(lease: &str) -> String {
    format!("touchlease {lease}")
}

fn shown(text: &LeaseText) -> Option<&LoginText> {
    text.certificate().and_then(|(_, says)| says.login.as_ref())
}

/// Reads what is to be signed, and holds it against what was shown for this lease: the session is with the server whose host key stands there,
/// the request is of this session, for this user, with this `certificate`, which is for `key`, and no other one. Pure.
///
/// # Errors
/// It is anything else.
pub fn permit(text: &LeaseText, key: &SshKey, certificate: &[u8], session: &SshSession, blob: &[u8]) -> Result<Permitted, Failure> {
    let login = shown(text).ok_or_else(|| internal("login", "the lease is for no login"))?;
    let request = UserAuth::read(blob).map_err(|error| refuse("no_login", error.to_string()).hint("use it with ssh, as SSH_AUTH_SOCK"))?;
    if !is_for(text, session) {
        let message = format!(
            "the session is with the host key {}, not with the one that was touched for",
            session.host().fingerprint()
        );
        return Err(refuse("other_host", message).hint("each server takes a touch of its own: ssh to it again"));
    }
    // Whoever asks could sign the session of any server with a host key of his own: only the server itself can tell, by the host key in the request.
    if request.host.is_none() && !login.old_server {
        let message = "the server does not want its host key in what is signed, so it may be another one than was touched for";
        return Err(refuse("no_host", message.into())
            .hint("OpenSSH 8.9 and newer wants it; for an older server say so: touchlease ssh agent prod/ca --old-server"));
    }
    let wrong = if request.session != session.id() {
        Some(refuse(
            "other_session",
            "it is for another session than the one that its server signed".into(),
        ))
    } else if request.host.as_deref().is_some_and(|host| host != session.blob()) {
        Some(refuse("other_host", "it names another host key than the session's".into()))
    } else if request.key != certificate || request.algorithm != key.certificate_type() {
        Some(refuse("other_key", "it is with another key than the lease's certificate".into()))
    } else {
        None
    };
    if let Some(wrong) = wrong {
        return Err(wrong.hint("use it with ssh, as SSH_AUTH_SOCK"));
    }
    if request.user != login.user {
        let shown = crate::encoding::plain::visible(&request.user);
        let message = format!("the touch was for logins as {}, and this one is as {shown:?}", login.user);
        return Err(refuse("other_user", message).hint("say as whom: touchlease ssh agent prod/ca --user NAME"));
    }
    Ok(Permitted {
        what: format!(
            "login as {} at {} with certificate {}",
            login.user,
            session.host().fingerprint(),
            text.id
        ),
        request,
    })
}

fn unbound(why: &str) -> Failure {
    refuse("unbound", format!("it is not known with which server the session is: {why}"))
        .hint("OpenSSH 8.9 and newer says it; connect with one, and not over a forwarded agent")
}

fn refuse(reason: &str, message: String) -> Unhinted {
    Failure::new(Outcome::Refused, reason, message)
}
