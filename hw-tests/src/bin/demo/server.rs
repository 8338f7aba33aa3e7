//! An HTTP server on loopback that lets in whoever has the token.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

/// The server; it ends with the program.
pub struct Server {
    address: SocketAddr,
    let_in: Arc<AtomicU32>,
}

impl Server {
    /// Starts one that knows this token.
    pub fn start(token: String) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let let_in = Arc::new(AtomicU32::new(0));
        let count = let_in.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(true) = answer(&client, &token) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { address, let_in })
    }

    pub fn url(&self) -> String {
        format!("http://{}/release", self.address)
    }

    /// How many requests had the token.
    pub fn let_in(&self) -> u32 {
        self.let_in.load(Ordering::Relaxed)
    }
}

/// Reads one request and answers it. True if it had the token.
fn answer(client: &TcpStream, token: &str) -> io::Result<bool> {
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut authorization = None;
    let mut lines = BufReader::new(client).lines();
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            authorization = Some(value.trim().to_owned());
        }
    }
    let right = authorization.as_deref() == Some(&format!("Bearer {token}"));
    let (status, body) = if right {
        // It says too much, as servers do.
        ("200 OK", format!("released (for Bearer {token})\n"))
    } else {
        ("401 Unauthorized", "no token, or a wrong one\n".to_owned())
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    (&mut &*client).write_all(format!("{head}{body}").as_bytes())?;
    Ok(right)
}
