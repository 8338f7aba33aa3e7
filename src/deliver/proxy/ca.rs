//! The certificate authority of one session, made when the worker starts and gone with it.
//!
//! Its private key lies in locked memory from when it is drawn, loaded once. The one key of the
//! leaves is held by `rustls`, which has no way to lock its memory: whoever has that key alone can answer for the hosts whose certificates
//! were made, to a client of this session, until the certificates expire.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use p256::ecdsa::Signature;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SignatureAlgorithm,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::h2;
use super::hosts::address_of;
use crate::encoding::jwk::Algorithm;
use crate::secret::signing_key::public_of;
use crate::secret::{Secret, SigningKey};

/// Certificates that are kept; the hosts of a session are few.
const MOST_LEAVES: usize = 256;
/// A session ends long before: a lease lasts eight hours at most.
const LIFE: Duration = Duration::from_secs(48 * 3600);
/// Clocks of containers and virtual machines differ.
const EARLIER: Duration = Duration::from_secs(3600);

/// Of no machine (RFC 6666, a prefix to discard what is sent there).
const NOBODY: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0);

/// The session's authority.
pub struct Ca {
    issuer: Issuer<'static, LockedKey>,
    pem: String,
    der: CertificateDer<'static>,
    leaf_key: KeyPair,
    not_before: u64,
    permitted: Vec<String>,
    provider: Arc<CryptoProvider>,
    leaves: RefCell<HashMap<String, Arc<ServerConfig>>>,
}

/// The authority's key, loaded once for the certificates of all hosts.
struct LockedKey(SigningKey);

impl LockedKey {
    fn generate() -> io::Result<Self> {
        let mut scalar = Secret::zeroed(32)?;
        // One in 2^32 draws is not below the group's order.
        let public = loop {
            getrandom::fill(scalar.expose_mut()).map_err(io::Error::other)?;
            if let Some(public) = public_of(Algorithm::Es256, scalar.expose()) {
                break public;
            }
        };
        SigningKey::load(scalar.expose(), &public).map(Self).map_err(io::Error::other)
    }
}

impl PublicKeyData for LockedKey {
    /// The point, uncompressed.
    fn der_bytes(&self) -> &[u8] {
        self.0.public().as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for LockedKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let refused = || rcgen::Error::RemoteKeyError;
        let signature = self.0.sign(message).ok_or_else(refused)?;
        let signature = Signature::from_slice(&signature).map_err(|_| refused())?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

impl Ca {
    /// A new authority, good from an hour before `now` (seconds since 1970) on; for `hosts` only, where there are any.
    ///
    /// # Errors
    /// No randomness, no locked memory.
    pub fn new(hosts: &[String], now: u64, provider: Arc<CryptoProvider>) -> io::Result<Self> {
        let key = LockedKey::generate()?;
        let mut params = params("touchlease, for this session only", now);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if !hosts.is_empty() {
            params.name_constraints = Some(constraints(hosts));
        }
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        Ok(Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            leaf_key: KeyPair::generate().map_err(io::Error::other)?,
            not_before: now,
            permitted: hosts.to_vec(),
            provider,
            leaves: RefCell::default(),
        })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether certificates for this host are accepted by those who trust this authority.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        self.permitted.is_empty() || self.permitted.iter().any(|permitted| permitted == host)
    }

    /// What answers for `host` (in its one form) towards clients.
    ///
    /// # Errors
    /// The host is no name for a certificate.
    pub fn leaf(&self, host: &str) -> io::Result<Arc<ServerConfig>> {
        if let Some(known) = self.leaves.borrow().get(host) {
            return Ok(known.clone());
        }
        let config = Arc::new(self.make_leaf(host)?);
        let mut leaves = self.leaves.borrow_mut();
        if leaves.len() >= MOST_LEAVES {
            leaves.clear();
        }
        leaves.insert(host.to_owned(), config.clone());
        Ok(config)
    }

    fn make_leaf(&self, host: &str) -> io::Result<ServerConfig> {
        let address = address_of(host);
        // OpenSSL takes a common name of digits and dots for a DNS name, and finds it outside of the constraints.
        let mut params = params(address.map_or(host, |_| "an address"), self.not_before);
        params.subject_alt_names = vec![match address {
            Some(address) => SanType::IpAddress(address),
            None => SanType::DnsName(host.try_into().map_err(io::Error::other)?),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&self.leaf_key, &self.issuer).map_err(io::Error::other)?;
        let key = Zeroizing::new(self.leaf_key.serialize_der());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone(), self.der.clone()], key)
            .map_err(io::Error::other)?;
        // Both ends are on this machine: the cipher is the one that costs it less.
        config.ignore_client_order = true;
        // A client that begins many connections at one time begins most of them anew: one ticket is what the next one uses.
        config.send_tls13_tickets = 1;
        config.alpn_protocols = vec![h2::ALPN.to_vec(), h2::ALPN_1.to_vec()];
        Ok(config)
    }
}

fn params(name: &str, now: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    // The common name has 64 characters at most (RFC 5280, A.1).
    subject.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    params.distinguished_name = subject;
    let from = std::time::UNIX_EPOCH + Duration::from_secs(now);
    params.not_before = (from - EARLIER.min(Duration::from_secs(now))).into();
    params.not_after = (from + LIFE).into();
    params
}

/// A name permits what is below it, too (RFC 5280, 4.2.1.10): there is no narrower form. A kind of names without a subtree is free there,
/// so that each has one: a name (RFC 6761) or an address (RFC 5737) that is nobody's where the hosts have none.
fn constraints(hosts: &[String]) -> NameConstraints {
    let subtree = |host: &String| match address_of(host) {
        Some(IpAddr::V4(v4)) => GeneralSubtree::IpAddress(CidrSubnet::V4(v4.octets(), [255; 4])),
        Some(IpAddr::V6(v6)) => GeneralSubtree::IpAddress(CidrSubnet::V6(v6.octets(), [255; 16])),
        None => GeneralSubtree::DnsName(host.clone()),
    };
    let mut permitted_subtrees: Vec<_> = hosts.iter().map(subtree).collect();
    let is = |matches: fn(&IpAddr) -> bool| hosts.iter().filter_map(|host| address_of(host)).any(|address| matches(&address));
    if hosts.iter().all(|host| address_of(host).is_some()) {
        permitted_subtrees.push(GeneralSubtree::DnsName("invalid".into()));
    }
    if !is(IpAddr::is_ipv4) {
        permitted_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::V4([192, 0, 2, 0], [255; 4])));
    }
    if !is(IpAddr::is_ipv6) {
        permitted_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::V6(NOBODY.octets(), [255; 16])));
    }
    NameConstraints {
        permitted_subtrees,
        excluded_subtrees: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

    use super::*;

    /// Whether who trusts this authority takes a certificate of it for `host`.
    fn is_taken(ca: &Ca, host: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(ca.provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut server = ServerConnection::new(ca.leaf(host).unwrap()).unwrap();
        while client.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut rest = &wire[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                if client.process_new_packets().is_err() {
                    return false;
                }
            }
        }
        true
    }

    #[test]
    fn t37_an_authority_for_names_signs_for_no_address_and_one_for_addresses_for_no_name() {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let hosts = ["api.example.com", "127.0.0.1", "[::1]"];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        for permitted in hosts {
            let ca = Ca::new(&[permitted.to_owned()], now, provider.clone()).unwrap();
            for host in hosts.into_iter().chain(["api.bank.example", "192.0.2.1", "[2001:db8::1]"]) {
                assert_eq!(is_taken(&ca, host), host == permitted, "{host} by an authority for {permitted}");
            }
        }
        let all = Ca::new(&hosts.map(str::to_owned), now, provider).unwrap();
        assert!(hosts.iter().all(|host| is_taken(&all, host)) && !is_taken(&all, "api.bank.example"));
    }
}
