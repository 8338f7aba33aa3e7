//! Names to addresses, by the system, and which name it is that is looked up.
//!
//! The system's resolver completes names: one that it finds nowhere it tries again with each domain of `search` in resolv.conf(5) behind it, and
//! first of all so where it has fewer dots than `ndots`. What a lease names is that host and no other, so its name is looked up as it stands,
//! with the dot at its end that says so (RFC 1034, 3.1). The table of hosts knows no such dots, and comes first, as everywhere.

use std::fs::File;
use std::future::Future;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;

use tokio::net::lookup_host;
use tokio::task::spawn_blocking;

/// The table of hosts (hosts(5)).
const HOSTS: &str = "/etc/hosts";

/// Bytes of a table that is read at once: it takes less than to have another thread read it. Some have lists of a hundred thousand names in it.
const SHORT: u64 = 8 * 1024;

/// What a name may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The host of that name.
    None,
    /// What the system takes it for.
    System,
}

/// Looks names up: host and port to addresses.
pub type Resolve = Box<dyn Fn(String, u16, Completion) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>>>>>;

/// The system's way to look names up.
#[must_use]
pub fn system_resolver() -> Resolve {
    Box::new(|host, port, completion| {
        Box::pin(async move {
            if completion == Completion::System {
                return Ok(lookup_host((host, port)).await?.collect());
            }
            let whole = format!("{host}.");
            // Without a table there is nothing in it.
            let listed = match File::open(Path::new(HOSTS)).and_then(|table| Ok((table.metadata()?.len(), table))) {
                Ok((..=SHORT, table)) => listed(BufReader::new(table), &host),
                Ok((_, table)) => {
                    let listed = spawn_blocking(move || listed(BufReader::new(table), &host));
                    listed.await.map_err(io::Error::other)?
                }
                Err(error) => Err(error),
            };
            let listed = listed.unwrap_or_default();
            if !listed.is_empty() {
                return Ok(listed.into_iter().map(|address| SocketAddr::new(address, port)).collect());
            }
            Ok(lookup_host((whole, port)).await?.collect())
        })
    })
}

/// What a table of hosts says of a name.
fn listed(table: impl BufRead, host: &str) -> io::Result<Vec<IpAddr>> {
    let mut found = vec![];
    for line in table.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        if words.any(|name| name.eq_ignore_ascii_case(host)) {
            found.extend(address);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t31_a_table_of_hosts_gives_the_addresses_of_whole_names_alone() {
        let table = "127.0.0.1 localhost\n192.0.2.1\tApi.Example.com api # 192.0.2.9 other.example\n\
                     2001:db8::1 api.example.com\n# 192.0.2.2 api.example.com\nfe80::1%eth0 api.example.com\n192.0.2.3 api.example.com.corp\r\n";
        let found = |host: &str| listed(table.as_bytes(), host).unwrap();
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert_eq!(found("api.example.com"), addresses(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(found("api"), addresses(&["192.0.2.1"]));
        assert_eq!(found("api.example.com.corp"), addresses(&["192.0.2.3"]));
        for none in ["example.com", "other.example", "api.example", "192.0.2.1", ""] {
            assert_eq!(found(none), addresses(&[]), "{none}");
        }
        assert_eq!(listed(&b"192.0.2.4 \xff api"[..], "api").unwrap(), addresses(&["192.0.2.4"]));
    }
}
