//! A tunnel to a host that no lease names: bytes go through as they are.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

/// Bytes that are under way in each direction.
const BUFFER: usize = 16 * 1024;

/// Carries bytes both ways until both ends are done, or either breaks.
pub async fn carry(mut client: impl AsyncRead + AsyncWrite + Unpin, mut host: TcpStream) {
    // What breaks a tunnel is seen by those at its ends.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut host, BUFFER, BUFFER).await;
    let _ = client.shutdown().await;
}
