//! Many connections and long bodies: memory stays as it is.

use tokio::net::TcpListener;

use super::*;

/// Bytes of this process that are in memory (proc(5), `VmRSS`).
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

const PIECE: usize = 64 * 1024;

#[test]
fn a_body_without_end_goes_both_ways_in_memory_that_stays_as_it_is() {
    // 256 MiB each way: a sample.
    body_of(4096);
}

#[test]
#[ignore = "long"]
fn t61_ten_gigabytes_go_both_ways_in_memory_that_stays_as_it_is() {
    body_of(10_000_000_000 / PIECE + 1);
}

/// A request and its answer of this many pieces, at the same time.
fn body_of(pieces: usize) {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let total = PIECE * pieces;
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut read, mut write) = stream.into_split();
            write
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let reads = async {
                let (mut piece, mut count) = (vec![0; PIECE], 0);
                while count < total {
                    count += read.read(&mut piece).await.unwrap();
                }
            };
            let writes = async {
                let piece = vec![b'x'; PIECE];
                for _ in 0..pieces {
                    write.write_all(&piece).await.unwrap();
                }
            };
            tokio::join!(reads, writes);
        });
        let mark = rig.grant(grant(port)).await;
        let (mut read, mut write) = rig.dial().await.into_split();
        let head = rig.head(
            &format!("POST http://localhost:{port}/allowed/x"),
            &format!("Authorization: Bearer {mark}\r\nContent-Length: {total}\r\n"),
        );
        write.write_all(head.as_bytes()).await.unwrap();
        let sends = async {
            let piece = vec![b'y'; PIECE];
            for _ in 0..pieces {
                write.write_all(&piece).await.unwrap();
            }
        };
        let reads = async {
            let (mut piece, mut count, mut before, mut most) = (vec![0; PIECE], 0, 0, 0);
            loop {
                match read.read(&mut piece).await.unwrap() {
                    0 => return (count, before, most),
                    got => count += got,
                }
                match count {
                    few if few < total / 16 => before = resident(),
                    _ => most = most.max(resident()),
                }
            }
        };
        let ((), (count, before, most)) = tokio::join!(sends, reads);
        assert!(count >= total, "{count} of {total}");
        assert!(most < before + (8 << 20), "{before} bytes of memory became {most}");
        println!(
            "T61 body: {} of {} MiB each way, memory grew by {} KiB",
            total >> 20,
            total >> 20,
            most.saturating_sub(before) >> 10
        );
    });
}

/// As many as this process may have descriptors for: two for each connection.
#[test]
fn thousands_of_idle_connections_cost_little_and_the_next_one_is_served() {
    let _ = crate::sys::process::raise_descriptors();
    let may = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    let wanted = 10_000;
    let count = usize::try_from(may.saturating_sub(200) / 2).unwrap().min(wanted);
    assert!(count >= 400, "a process may have {may} descriptors here");
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = super::host::Host::new(|_| super::host::ok("done")).await;
        let mark = rig.grant(grant(host.port)).await;
        let before = resident();
        let mut idle = Vec::with_capacity(count);
        let head = rig.head("GET http://elsewhere.example/", "").replace("Connection: close\r\n", "");
        let mut piece = [0; 2048];
        for _ in 0..count {
            let mut client = rig.dial().await;
            // Without the bearer it would keep no place.
            client.write_all(head.as_bytes()).await.unwrap();
            assert!(client.read(&mut piece).await.unwrap() > 0);
            idle.push(client);
        }
        rig.settle().await;
        let line = format!("GET http://localhost:{}/allowed/x", host.port);
        let answer = rig.ask(&line, &format!("Authorization: Bearer {mark}\r\n"), b"").await;
        assert_eq!(answer.status, 200);
        let each = resident().saturating_sub(before) / count;
        // Each had a request, whose buffers the HTTP library keeps, and its other end is in this process too.
        assert!(each < 32 * 1024, "{each} bytes for each idle connection");
        println!("T61 idle: {count} of {wanted} idle connections, {each} bytes each");
        drop(idle);
    });
}

#[test]
fn t41_who_does_not_know_the_bearer_has_few_places_and_little_memory() {
    let _ = crate::sys::process::raise_descriptors();
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = super::host::Host::new(|_| super::host::ok("done")).await;
        let mark = rig.grant(grant(host.port)).await;
        let line = format!("GET http://localhost:{}/allowed/x", host.port);
        let auth = format!("Authorization: Bearer {mark}\r\n");
        let mut ours = rig.dial().await;
        let head = rig.head(&line, &auth);
        let open = head.replace("Connection: close\r\n", "");
        ours.write_all(open.as_bytes()).await.unwrap();
        let mut piece = [0; 4096];
        assert!(ours.read(&mut piece).await.unwrap() > 0);
        let before = resident();
        let begun = format!("GET http://localhost/ HTTP/1.1\r\nX-Long: {}", "x".repeat(12 * 1024));
        let mut strangers = Vec::new();
        for _ in 0..1000 {
            let mut stranger = rig.dial().await;
            let _ = stranger.write_all(begun.as_bytes()).await;
            strangers.push(stranger);
        }
        rig.settle().await;
        let grown = resident().saturating_sub(before);
        let mut kept = 0;
        for stranger in &strangers {
            let mut one = [0; 1];
            let gone = matches!(stranger.try_read(&mut one), Ok(0))
                || matches!(stranger.try_read(&mut one), Err(error) if error.kind() != std::io::ErrorKind::WouldBlock);
            kept += usize::from(!gone);
        }
        assert!(kept <= super::super::entrance::MOST, "{kept} strangers have a place");
        assert!(grown < 48 << 20, "{grown} bytes for strangers");
        assert_eq!(rig.ask(&line, &auth, b"").await.status, 200, "who has the bearer is served");
        ours.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut ours).await.status, 200, "and was not pushed out");
        println!("T41: {kept} of 1000 strangers kept, {} KiB", grown >> 10);
    });
}

#[test]
fn t41_a_long_head_without_the_bearer_and_a_second_request_after_407_are_not_read() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = super::host::Host::new(|_| super::host::ok("done")).await;
        let mark = rig.grant(grant(host.port)).await;
        let long = format!("X-Long: {}\r\n", "x".repeat(40 * 1024));
        let line = format!("GET http://localhost:{}/allowed/x", host.port);
        let auth = format!("Authorization: Bearer {mark}\r\n");
        let mut stranger = rig.dial().await;
        let _ = stranger
            .write_all(format!("GET http://localhost/ HTTP/1.1\r\n{long}").as_bytes())
            .await;
        let mut bytes = Vec::new();
        let ended = timeout(PATIENCE, stranger.read_to_end(&mut bytes)).await;
        assert!(ended.is_ok() && !bytes.starts_with(b"HTTP/1.1 407"));
        // The bearer first, and the rest of a connection is as long as it may be.
        let mut ours = rig.dial().await;
        let open = rig.head(&line, &auth).replace("Connection: close\r\n", "");
        let mut piece = [0; 4096];
        ours.write_all(open.as_bytes()).await.unwrap();
        assert!(ours.read(&mut piece).await.unwrap() > 0);
        ours.write_all(rig.head(&line, &format!("{auth}{long}")).as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut ours).await.status, 200);
        // Without the bearer, one answer and no more.
        let mut stranger = rig.dial().await;
        let twice = format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{}", rig.head(&line, &auth));
        stranger.write_all(twice.as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut stranger).await.status, 407);
        assert_eq!(host.requests().len(), 2);
    });
}

#[test]
fn t61_a_thousand_requests_at_once_and_a_daemon_that_reads_nothing_while_it_writes_do_not_wait_for_each_other() {
    let _ = crate::sys::process::raise_descriptors();
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let mark = rig.grant(grant(1)).await;
        rig.verdict.set(Verdict::UsedUp);
        rig.pace.slow.set(true);
        let head = rig.head("GET http://localhost:1/allowed/x", &format!("Authorization: Bearer {mark}\r\n"));
        let mut clients = Vec::new();
        for _ in 0..1000 {
            let mut client = rig.dial().await;
            client.write_all(head.as_bytes()).await.unwrap();
            clients.push(client);
        }
        for client in &mut clients {
            assert_eq!(Answer::read(client).await.reason(), "used_up");
        }
        assert_eq!(rig.uses(), 1000);
        let most = rig.pace.most_asked.get();
        assert!(most <= super::super::uses::MOST_ASKED, "{most} questions at one time");
        println!("P4: 1000 of 1000 requests at once, {most} asked at one time");
    });
}

#[test]
fn t41_another_users_connection_is_closed_before_it_is_read() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        // A socket is its owner's, and root may give one away (socket(7), fchown(2)); the blocking call does not let the worker run before.
        let address = SocketAddr::from(([127, 0, 0, 1], rig.port));
        let other = std::net::TcpStream::connect(address).unwrap();
        let nobody = rustix::process::Uid::from_raw(65_534);
        if rustix::process::getuid().is_root() {
            rustix::fs::fchown(&other, Some(nobody), None).unwrap();
        } else {
            println!("T41: 0 of 1 other users: only root can give a socket away");
            return;
        }
        other.set_nonblocking(true).unwrap();
        let mut other = TcpStream::from_std(other).unwrap();
        let head = rig.head("GET http://elsewhere.example/", "");
        let _ = other.write_all(head.as_bytes()).await;
        let mut heard = Vec::new();
        let ended = timeout(PATIENCE, other.read_to_end(&mut heard)).await;
        assert!(ended.is_ok() && heard.is_empty(), "{}", String::from_utf8_lossy(&heard));
        let own = rig.ask("GET http://elsewhere.example/", "", b"").await;
        assert_eq!(own.reason(), "not_granted");
        println!("T41: 1 of 1 other users");
    });
}

/// A host that reads each request's head, does this with the connection, and counts those that are over.
async fn host_that<F: Future<Output = ()> + 'static>(does: impl Fn(TcpStream) -> F + 'static) -> (u16, Rc<Cell<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, over) = (listener.local_addr().unwrap().port(), Rc::<Cell<usize>>::default());
    let ended = over.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let (doing, ended) = (does(stream), ended.clone());
            tokio::task::spawn_local(async move {
                doing.await;
                ended.set(ended.get() + 1);
            });
        }
    });
    (port, over)
}

#[test]
fn t61_clients_that_leave_in_the_middle_leave_nothing_behind_and_the_host_sees_them_go() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let count = 200;
        // It says nothing, and reads what comes until the end.
        let (port, over) = host_that(async |mut stream| {
            let mut piece = vec![0; PIECE];
            while let Ok(1..) = stream.read(&mut piece).await {}
        })
        .await;
        let mark = rig.grant(grant(port)).await;
        let line = format!("POST http://localhost:{port}/allowed/x");
        let head = rig.head(&line, &format!("Authorization: Bearer {mark}\r\nContent-Length: 10000000\r\n"));
        let before = resident();
        for _ in 0..count {
            let mut client = rig.dial().await;
            client.write_all(head.as_bytes()).await.unwrap();
            client.write_all(&vec![b'x'; PIECE]).await.unwrap();
            // Until the host has it.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        timeout(PATIENCE, async {
            while over.get() < rig.uses() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the host sees all of them go");
        let grown = resident().saturating_sub(before);
        assert!(rig.uses() > count / 2 && grown < 16 << 20, "{} uses, {grown} bytes", rig.uses());
        println!(
            "T61 left: {} clients left in the middle, memory grew by {} KiB",
            rig.uses(),
            grown >> 10
        );
    });
}

#[test]
fn t61_a_client_that_does_not_read_and_a_host_that_does_not_either_hold_few_bytes_each() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let count = 20;
        // It sends without end, and takes nothing of the body.
        let (port, _) = host_that(async |mut stream| {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n";
            if stream.write_all(head).await.is_ok() {
                let piece = vec![b'x'; PIECE];
                while stream.write_all(&piece).await.is_ok() {}
            }
        })
        .await;
        let mark = rig.grant(grant(port)).await;
        let line = format!("POST http://localhost:{port}/allowed/x");
        let head = rig.head(&line, &format!("Authorization: Bearer {mark}\r\nContent-Length: 100000000000\r\n"));
        let (before, mut clients) = (resident(), Vec::new());
        for _ in 0..count {
            let mut client = rig.dial().await;
            client.write_all(head.as_bytes()).await.unwrap();
            let piece = vec![b'y'; PIECE];
            // Until nobody takes any more.
            while timeout(Duration::from_millis(30), client.write_all(&piece)).await.is_ok() {}
            clients.push(client);
        }
        let each = resident().saturating_sub(before) / count;
        // A piece of the host's and one of the client's are in this process too.
        assert!(each < 1 << 20, "{each} bytes for each that waits");
        let end = timeout(Duration::from_secs(1), rig.revoke("L")).await;
        end.expect("all of them cut within a second");
        println!("T61 stalled: {count} connections that wait both ways, {each} bytes each");
    });
}
