//! WebSockets (RFC 6455): the credential goes into the handshake, and what follows are bytes, both ways, until an end of the lease cuts them.
//!
//! What the host sends is looked through for values. Frames have their lengths in front, so that nothing can be masked in them: a value ends
//! the connection before it is whole at the client, and is recorded. For that the handshake asks for no extensions, of which compression is
//! the one in use. A host that sends a value in pieces of several frames is not seen through.

use std::io;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::time::timeout;

use super::answer::Lookout;
use crate::deliver::mask::{BEGUN, Masker};

/// As in an answer: how long a host pauses before what is held without need goes on.
const PAUSE: Duration = Duration::from_millis(1);

/// Carries what follows the handshake, until either end is done or the host sends a value.
pub async fn carry(client: OnUpgrade, host: OnUpgrade, lookout: Lookout) {
    let (Ok(client), Ok(host)) = tokio::join!(client, host) else {
        return;
    };
    let (mut from_client, to_client) = split(TokioIo::new(client));
    let (from_host, mut to_host) = split(TokioIo::new(host));
    let up = async {
        copy(&mut from_client, &mut to_host).await?;
        to_host.shutdown().await
    };
    // What breaks is seen by those at its ends, both of which end with this.
    let _ = tokio::try_join!(up, down(from_host, to_client, lookout));
}

async fn down(mut host: impl AsyncRead + Unpin, mut client: impl AsyncWrite + Unpin, mut lookout: Lookout) -> io::Result<()> {
    let mut masker = Masker::new(lookout.patterns());
    let (mut out, mut over) = (Vec::new(), false);
    loop {
        if masker.has_output() {
            out.clear();
            masker.take(&mut out);
            if masker.masked() > 0 {
                lookout.tell(masker.secrets());
                return Err(io::ErrorKind::InvalidData.into());
            }
            client.write_all(&out).await?;
        }
        if over {
            return client.shutdown().await;
        }
        let held = masker.is_unsettled();
        let read = host.read(masker.space());
        let count = if held {
            match timeout(PAUSE, read).await {
                Ok(count) => count?,
                Err(_) => {
                    masker.settle();
                    continue;
                }
            }
        } else {
            read.await?
        };
        if count == 0 {
            masker.finish_cut(BEGUN);
            over = true;
        } else {
            masker.filled(count);
        }
    }
}
