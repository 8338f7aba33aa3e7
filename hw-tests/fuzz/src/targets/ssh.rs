//! What ssh says to its agent, and what it wants signed.

use crate::deliver::ssh_agent::frame::{FAILURE, LONGEST, Message};
use crate::deliver::ssh_agent::{Connection, Step, frame};
use crate::encoding::ssh_session::{SshSession, is_signed};
use crate::encoding::ssh_signed_data::SignedData;
use crate::encoding::ssh_userauth::UserAuth;

/// Frames of one connection, each behind its length in two bytes: nothing is listed or signed before a session is proven, and nothing after
/// a second one was named.
pub fn agent(data: &[u8]) {
    let mut connection = Connection::default();
    let (mut rest, mut binds, mut proven) = (data, 0, None);
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (body, behind) = behind.split_at(length);
        rest = behind;
        assert!(body.len() <= LONGEST);
        let message = Message::read(body);
        let step = connection.take(body);
        if let Message::Bind(bind) = &message {
            binds += 1;
            proven = SshSession::check(&bind.host_key, &bind.session, &bind.signature)
                .ok()
                .filter(|_| binds == 1 && !bind.is_forwarding);
        }
        match step {
            Step::List(session) => {
                assert_eq!(Some(&session.checked), proven.as_ref());
                listed(&session.checked);
            }
            Step::Sign { session, key, data } => {
                assert_eq!(Some(&session.checked), proven.as_ref());
                assert_eq!(message, Message::Sign { key, data, flags: 0 });
            }
            // Keys of signatures are for whoever never spoke of a session.
            Step::ListKeys => assert_eq!((binds, message), (0, Message::List)),
            Step::SignData { key, data } => {
                assert_eq!(binds, 0);
                let data = data.to_blob();
                assert!(UserAuth::read(&data).is_err());
                assert_eq!(message, Message::Sign { key, data, flags: 0 });
            }
            Step::Bound => assert!(matches!(message, Message::Bind(_)) && proven.is_some()),
            Step::Answer(answer) => {
                let nothing = frame::identities(&[]);
                let refused = message == Message::List && binds > 0 && proven.is_none() && answer == nothing;
                assert!(answer == FAILURE || refused);
            }
            Step::Refuse(why) => assert!(!why.is_empty() && message != Message::List && message != Message::Other),
        }
    }
}

/// What is answered for a session is in the form in which it is asked for: a key with its comment, and a signature.
fn listed(session: &SshSession) {
    let list = frame::identities(&[(session.blob(), "a key")]);
    assert!(list.windows(session.blob().len()).any(|window| window == session.blob()));
    assert!(frame::signature(session.id()).ends_with(session.id()));
    assert!(
        !is_signed(session.host(), session.blob(), session.id()),
        "a host key signs no host key"
    );
}

/// A request to be let in, or the signed data of a signature, and never both: what is read is what is signed, byte for byte.
pub fn login(data: &[u8]) {
    if let Ok(signed) = SignedData::read(data) {
        assert_eq!(signed.to_blob(), data);
        assert!(UserAuth::read(data).is_err());
        assert_eq!(signed.digest.len(), signed.hash.length());
        let mut other = signed.clone();
        other.namespace.push('x');
        assert_ne!(other.to_blob(), data);
    }
    if let Ok(request) = UserAuth::read(data) {
        assert_eq!(request.to_blob(), data);
        assert!(!data.starts_with(b"SSHSIG"), "a request is a signature of a file too");
        let mut other = request.clone();
        other.user.push('x');
        assert_ne!(other.to_blob(), data);
    }
}
