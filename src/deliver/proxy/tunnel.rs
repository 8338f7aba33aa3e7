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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_tunnel_carries_any_bytes_both_ways_and_each_ends_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let (near, client) = tokio::io::duplex(64);
        let carried = tokio::spawn(carry(client, host));
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let sent = bytes.clone();
        let answers = tokio::spawn(async move {
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).await.unwrap();
            far.write_all(&heard).await.unwrap();
        });
        let (mut read, mut write) = tokio::io::split(near);
        let writes = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut back = Vec::new();
        let ((), heard) = tokio::join!(writes, read.read_to_end(&mut back));
        assert_eq!((heard.unwrap(), back == bytes), (bytes.len(), true));
        answers.await.unwrap();
        carried.await.unwrap();
    }
}
