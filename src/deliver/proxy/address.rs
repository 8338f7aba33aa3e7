//! Which addresses the proxy connects to. What was judged here is what is connected to: a name is looked up once (T39).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anybody's.
    Public,
    /// Of a private network: RFC 1918, RFC 4193, RFC 6598, RFC 2544.
    Private,
    /// This machine.
    Loopback,
    /// Never a host to speak to: link-local ones, where cloud machines have their metadata, and the metadata services elsewhere;
    /// unspecified, multicast, reserved ones.
    Closed,
}

/// Why a host may be reached at all, which decides at what addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A lease names it.
    Granted {
        /// Its rule lets its name stand for a private address.
        allow_private: bool,
    },
    /// The network is open.
    Open,
}

/// Whether `address`, which `host` (in its one form) stands for, may be connected to.
#[must_use]
pub fn may_reach(host: &str, address: IpAddr, reach: Reach) -> bool {
    let literal = super::hosts::address_of(host) == Some(address);
    match reach {
        // The rule names this very address.
        Reach::Granted { .. } if literal => true,
        Reach::Granted { .. } if host == "localhost" => is_own_loopback(address),
        Reach::Granted { allow_private } => match kind(address) {
            Kind::Public => true,
            Kind::Private => allow_private,
            Kind::Loopback | Kind::Closed => false,
        },
        // As without the proxy, but for this machine: in a sandbox, the proxy is the only way out, and must not be a way to its keeper.
        Reach::Open => matches!(kind(address), Kind::Public | Kind::Private),
    }
}

/// Loopback without a detour.
fn is_own_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST,
    }
}

/// What an address is; one that embeds an IPv4 address is what that is, if that is worse.
#[must_use]
pub fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    }
}

fn kind_v4(v4: Ipv4Addr) -> Kind {
    /// Metadata services outside the link-local network: Azure's, Alibaba's, Oracle's.
    const METADATA: [Ipv4Addr; 3] = [
        Ipv4Addr::new(168, 63, 129, 16),
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(192, 0, 0, 192),
    ];
    let [a, b, c, _] = v4.octets();
    match (a, b, c) {
        (127, ..) => Kind::Loopback,
        _ if METADATA.contains(&v4) => Kind::Closed,
        (0, ..) | (169, 254, _) | (192, 0, 0) | (224.., ..) => Kind::Closed,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) | (198, 18..=19, _) => Kind::Private,
        _ => Kind::Public,
    }
}

fn kind_v6(v6: Ipv6Addr) -> Kind {
    /// Amazon's, in a private network of its own.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    if v6 == Ipv6Addr::LOCALHOST {
        return Kind::Loopback;
    }
    let [a, b, c, ..] = v6.segments();
    match (a, b, c) {
        _ if v6 == METADATA => Kind::Closed,
        // Mapped, compatible, translated (RFC 6052, RFC 8215), 6to4: they end at, or go through, the IPv4 address inside.
        (0, 0, 0) => embedded(v6, 12).filter(|_| v6.to_ipv4().is_some()).unwrap_or(Kind::Closed),
        (0x64, 0xff9b, 0..=1) => embedded(v6, 12).unwrap_or(Kind::Closed),
        (0x2002, ..) => embedded(v6, 2).unwrap_or(Kind::Closed),
        // Teredo has its server and client in it, both hidden.
        (0x2001, 0, _) => Kind::Closed,
        (0xfc00..=0xfdff, ..) => Kind::Private,
        (0x2000..=0x3fff, ..) => Kind::Public,
        // Link-local, site-local, multicast, and what is nobody's yet.
        _ => Kind::Closed,
    }
}

/// What the IPv4 address at byte `at` is; loopback by such a detour is nothing that anybody means.
fn embedded(v6: Ipv6Addr, at: usize) -> Option<Kind> {
    let octets: [u8; 4] = v6.octets().get(at..at + 4)?.try_into().ok()?;
    match kind_v4(octets.into()) {
        Kind::Loopback => None,
        kind => Some(kind),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GRANTED: Reach = Reach::Granted { allow_private: false };
    const PRIVATE: Reach = Reach::Granted { allow_private: true };

    fn reaches(host: &str, address: &str, reach: Reach) -> bool {
        may_reach(host, address.parse().unwrap(), reach)
    }

    #[test]
    fn t39_a_name_never_stands_for_this_machine_its_link_or_its_metadata() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fd00:ec2::254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::7f00:1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "4000::1",
            "100::1",
        ] {
            for reach in [GRANTED, PRIVATE, Reach::Open] {
                assert!(!reaches("a.example", address, reach), "{address} {reach:?}");
                assert!(!reaches("localhost.example", address, reach), "{address} {reach:?}");
            }
            assert!(!reaches("localhost", address, Reach::Open), "{address}");
        }
    }

    #[test]
    fn t39_private_networks_are_reached_where_the_rule_says_so_or_the_network_is_open() {
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "fd12::1",
            "::ffff:10.0.0.1",
            "2002:a00:1::",
        ] {
            assert!(!reaches("a.example", address, GRANTED), "{address}");
            assert!(
                reaches("a.example", address, PRIVATE) && reaches("a.example", address, Reach::Open),
                "{address}"
            );
        }
        for address in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "64:ff9b::1.1.1.1",
            "::ffff:1.1.1.1",
            "192.0.1.1",
        ] {
            for reach in [GRANTED, PRIVATE, Reach::Open] {
                assert!(reaches("a.example", address, reach), "{address} {reach:?}");
            }
        }
    }

    #[test]
    fn t39_a_rule_that_names_an_address_or_localhost_means_it_and_nothing_else() {
        assert!(reaches("127.0.0.1", "127.0.0.1", GRANTED));
        assert!(reaches("[::1]", "::1", GRANTED));
        assert!(reaches("169.254.169.254", "169.254.169.254", GRANTED));
        assert!(!reaches("127.0.0.1", "127.0.0.2", GRANTED));
        assert!(!reaches("127.0.0.1", "127.0.0.1", Reach::Open));
        assert!(reaches("localhost", "127.0.0.1", GRANTED) && reaches("localhost", "::1", GRANTED));
        for address in ["1.1.1.1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "0.0.0.0"] {
            assert!(!reaches("localhost", address, PRIVATE), "{address}");
        }
    }
}
