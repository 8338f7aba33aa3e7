//! A vault's files, with keys that every target knows.

use std::sync::OnceLock;

use hpke::rand_core::{CryptoRng, TryCryptoRng, TryRng};

use super::text::SIGNED;
use crate::device::enrolled::{EnrolledKey, Profile};
use crate::device::soft::SoftKey;
use crate::encoding::exchange::Exchange;
use crate::encoding::jwk::{self, Algorithm, PublicKey};
use crate::encoding::self_signed::Certificates;
use crate::encoding::sshsig::ecdsa;
use crate::encoding::sshsig::{Namespace, Point};
use crate::encoding::{Digest, jcs};
use crate::mint::key;
use crate::mint::self_signed::certificate;
use crate::vault::backup::archive::Writer;
use crate::vault::bytes::Hex;
use crate::vault::index::{Ancestor, Child, Entry, Head, Kind, Node, Version, page_bytes, seal_below};
use crate::vault::record::Clear;
use crate::vault::recovery::RecoveryCode;
use crate::vault::rules::{Delivery, Header, Rules};
use crate::vault::scope::Ring;
use crate::vault::signer::Signer;
use crate::vault::slot::{Holder, Place, Private, seal_half, seal_scope_key};
use crate::vault::statement::{FORMAT, NEWEST, ScopeEntry, SlotEntry, Statement};
use crate::vault::{crypto, journal};

/// What the key answers for the slot's salt.
pub const OUTPUT: [u8; 32] = [5; 32];

/// Counts. One input has to have one outcome.
struct Counter(u64);

impl TryRng for Counter {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.try_next_u64()? as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 += 1;
        Ok(self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for part in bytes.chunks_mut(8) {
            let next = self.try_next_u64()?.to_be_bytes();
            part.copy_from_slice(&next[..part.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

/// The same numbers each time.
pub fn random() -> impl CryptoRng {
    Counter(0)
}

pub fn place() -> Place {
    Place {
        vault: Digest([1; 32]),
        scope: Hex([2; 16]),
        slot: Hex([3; 16]),
    }
}

pub fn holder() -> Holder<'static> {
    Holder {
        credential: b"credential",
        profile: "pin",
    }
}

/// The slot's pair, which is also the recovery key's.
pub fn pair() -> &'static (Private, Point) {
    static PAIR: OnceLock<(Private, Point)> = OnceLock::new();
    PAIR.get_or_init(|| Private::generate(&mut random()))
}

/// The scope's keys.
pub fn ring() -> Ring {
    Ring::generate(place().vault, place().scope, 1, &mut random())
}

pub fn clear(ring: &Ring) -> Clear {
    Clear {
        changed: 1_700_000_000,
        id: Hex([7; 16]),
        key: ring.current(),
        name: "TOKEN".into(),
        rules: Rules::value(&[Delivery::Env]),
        scope: ring.scope,
        v: FORMAT,
        version: 1,
    }
}

pub fn marker() -> Vec<Vec<u8>> {
    [
        "touchlease vault 1\n",
        "touchlease vault 2\n",
        "touchlease vault 18446744073709551615\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn enrolled() -> Vec<EnrolledKey> {
    vec![
        SoftKey::new("blue", Profile::Pin, 1).enrolled(),
        SoftKey::new("spare", Profile::TouchOnly, 2).enrolled(),
    ]
}

fn scope(name: &str, id: u8, keys: &[EnrolledKey]) -> ScopeEntry {
    let slot = |(n, key): (usize, &EnrolledKey)| SlotEntry::Fido2 {
        half: (n > 0).then_some(Digest([4; 32])),
        id: Hex([id + 1 + n as u8; 16]),
        key: key.id().0,
        public: pair().1,
        salt: Hex([6; 32]),
    };
    let mut slots: Vec<SlotEntry> = keys.iter().enumerate().map(slot).collect();
    slots.push(SlotEntry::Recovery { id: Hex([id + 9; 16]) });
    ScopeEntry {
        commitment: Digest([8; 32]),
        epoch: u64::from(id),
        id: Hex([id; 16]),
        name: name.into(),
        slots,
    }
}

pub fn statement() -> Vec<Vec<u8>> {
    let first = Statement {
        at: 1_700_000_000,
        name: "laptop".into(),
        keys: enrolled().drain(..1).collect(),
        previous: vec![],
        random: Some(Hex([0; 32])),
        recovery: pair().1,
        scopes: vec![scope("prod", 1, &enrolled()[..1])],
        v: FORMAT,
        vault: place().vault,
    };
    let second = Statement {
        keys: enrolled(),
        previous: vec![Digest([1; 32]), Digest([2; 32])],
        random: None,
        scopes: vec![scope("prod", 1, &enrolled()), scope("dev", 30, &enrolled())],
        ..first.clone()
    };
    let card = SoftKey::piv("card", 3).enrolled();
    let mut third = Statement {
        keys: enrolled().into_iter().chain([card.clone()]).collect(),
        v: NEWEST,
        ..second.clone()
    };
    third.scopes[0].slots.push(SlotEntry::Piv {
        id: Hex([20; 16]),
        key: card.id().0,
    });
    [first, second, third]
        .map(|statement| statement.to_bytes().expect("a statement"))
        .into()
}

pub fn recovery_signature() -> Vec<Vec<u8>> {
    let (private, point) = pair();
    let sign = |namespace, text: &[u8]| {
        ecdsa::sign(private.scalar(), point, namespace, text)
            .expect("a signature")
            .into_bytes()
    };
    vec![
        sign(Namespace::Vault, SIGNED),
        sign(Namespace::Vault, b"{}"),
        sign(Namespace::Lease, SIGNED),
    ]
}

fn version(change: u8, file: Option<Digest>) -> Version {
    Version {
        number: 3,
        change: Hex([change; 16]),
        record: file.map(|file| (Hex([1; 16]), file)),
    }
}

fn leaf() -> Node {
    let entry = |name: &str, versions: Vec<Version>| Entry {
        name: name.into(),
        versions,
    };
    let entries = [
        entry("a", vec![version(1, Some(Digest::of(b"a")))]),
        entry("b", vec![version(1, None)]),
        entry("東京", vec![version(1, Some(Digest::of(b"1"))), version(2, Some(Digest::of(b"2")))]),
    ];
    Node::Leaf(entries.map(|entry| (entry.name.clone(), entry)).into())
}

fn branch() -> Node {
    let child = |name: &[u8]| Child {
        digest: Digest::of(name),
        change: Hex([9; 16]),
    };
    Node::Branch([(0, child(b"x")), (63, child(b"y"))].into())
}

fn ancestor() -> Ancestor {
    Ancestor {
        digest: Digest([2; 32]),
        change: Hex([3; 16]),
    }
}

/// Whole files, and the contents of boxes.
pub fn head() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for (root, recent, earlier) in [(Node::empty(), 0, 0), (leaf(), 3, 0), (branch(), 60, 2)] {
        let head = Head {
            parents: vec![Digest([1; 32])],
            change: Hex([2; 16]),
            root,
            recent: vec![ancestor(); recent],
            earlier: vec![Digest([3; 32]); earlier],
        };
        let file = head.seal(&ring(), &mut random()).expect("a head");
        let key = ring().derive(&ring().current(), "index", &[]).expect("the key in force");
        samples.push(crypto::open(&key, &file[..73], &file[73..]).expect("our own head").to_vec());
        samples.push(file);
    }
    samples
}

pub fn node() -> Vec<Vec<u8>> {
    let mut samples: Vec<Vec<u8>> = [Node::empty(), leaf(), branch()].map(|node| node.to_bytes()).into();
    samples.push(seal_below(&ring(), Kind::Node, &leaf().to_bytes(), &mut random()).expect("a node"));
    samples
}

pub fn page() -> Vec<Vec<u8>> {
    let pages = [page_bytes(&[], &[]), page_bytes(&[ancestor(); 3], &[Digest([2; 32])])];
    let sealed = seal_below(&ring(), Kind::Page, &pages[1], &mut random()).expect("a page");
    pages.into_iter().chain([sealed]).collect()
}

pub fn record() -> Vec<Vec<u8>> {
    use crate::secret::Secret;
    use crate::vault::record::seal;
    let ring = ring();
    let secret = |len: usize| Secret::from_slice_wiping(&mut vec![b'x'; len]).expect("locked memory");
    let mut proxied = clear(&ring);
    proxied.rules = Rules {
        header: Some(Header {
            name: "x-api-key".into(),
            prefix: "Bearer ".into(),
        }),
        ttl: Some(900),
        uses: Some(3),
        ..Rules::for_hosts(&["api.example.com", "[::1]:8080", "127.0.0.1:80"])
    };
    let mut placed = clear(&ring);
    placed.rules = Rules {
        methods: ["GET".to_owned(), "PUT".to_owned()].into(),
        paths: ["/".to_owned(), "/v4/*/pages/*".to_owned()].into(),
        ..Rules::for_hosts(&["http://localhost:8080"])
    }
    .in_form("basic:oauth2".parse().expect("a form"));
    let mut samples = vec![
        seal(&ring, &clear(&ring), &secret(5), &mut random()).expect("a record"),
        seal(&ring, &clear(&ring), &secret(300), &mut random()).expect("a record"),
        seal(&ring, &proxied, &secret(5), &mut random()).expect("a record"),
        seal(&ring, &placed, &secret(5), &mut random()).expect("a record"),
    ];
    let signers = [signer(Algorithm::EdDsa), signer(Algorithm::Es256), exchanged()];
    samples.extend(signers.map(|rules| {
        let signer = Clear {
            rules,
            v: 2,
            ..clear(&ring)
        };
        seal(&ring, &signer, &secret(64), &mut random()).expect("a record")
    }));
    // What is in the box of the first: length, value, zeros.
    let len = jcs::to_vec(&clear(&ring)).map_or(0, |clear| clear.len()).max(256);
    let mut plain = vec![0, 0, 0, 5, b'v', b'a', b'l', b'u', b'e'];
    plain.resize(4 + len, 0);
    samples.push(plain);
    samples
}

/// The base point of P-256 (SEC 2, 2.4.2) and twice that.
const POINTS: [&str; 2] = [
    "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
    "BHzyexiNA09-ilI4AwS1GsPAiWnid_IbNaYLSPxHZpl4B3dVENuO0EApPZrGn3Qw27p9reY86YIpngS3nSJ4c9E",
];

/// Certificates of the two.
fn certificates() -> Certificates {
    let of = |private: u8| {
        let mut scalar = [0; 32];
        scalar[31] = private;
        let key = key::public_of(Algorithm::Es256, &scalar).expect("a key");
        certificate(&scalar, &key).expect("a certificate")
    };
    Certificates {
        current: of(1),
        next: of(2),
        previous: None,
    }
}

/// Where they are.
pub fn exchange() -> Exchange {
    Exchange {
        addresses: ["https://127.0.0.1:8200".into(), "https://bao.example".into()].into(),
        ca: [certificates().current].into(),
        mount: "team/jwt".into(),
        paths: ["database/creds/app".into()].into(),
        policies: ["app".into()].into(),
        role: "deploy".into(),
        token_uses: Some(2),
    }
}

/// Rules of a signer whose tokens are exchanged.
fn exchanged() -> Rules {
    let mut rules = signer(Algorithm::EdDsa);
    rules.uses = Some(1);
    if let Some(signer) = rules.signer.as_mut() {
        signer.access.clear();
        signer.audiences = ["https://bao.example".into()].into();
        signer.exchange = Some(exchange());
    }
    rules
}

/// Rules of a signer.
fn signer(alg: Algorithm) -> Rules {
    let key = |private: u8| match alg {
        Algorithm::EdDsa => {
            let public = ed25519_dalek::SigningKey::from_bytes(&[private; 32]).verifying_key();
            PublicKey::from_bytes(alg, public.as_bytes()).expect("a key").to_text()
        }
        Algorithm::Es256 => POINTS[usize::from(private) - 1].to_owned(),
    };
    Rules {
        signer: Some(Box::new(Signer {
            access: ["registry:catalog:*".into(), "repository:team/app:pull,push".into()].into(),
            alg,
            audiences: ["https://a.example".into(), "https://b.example".into()].into(),
            certificates: (alg == Algorithm::Es256).then(certificates),
            claims: [("env".into(), ["dev".into(), "prod".into()].into()), ("ref".into(), [].into())].into(),
            current: key(1),
            exchange: None,
            force_command: None,
            hardware: None,
            issuer: "https://id.example:8443/touchlease".into(),
            namespaces: None,
            next: Some(key(2)),
            previous: (alg == Algorithm::EdDsa).then(|| key(3)),
            principals: None,
            profiles: match alg {
                Algorithm::Es256 => [
                    ("https://a.example".into(), jwk::Profile::Libtrust),
                    ("https://b.example".into(), jwk::Profile::X5c),
                ]
                .into(),
                Algorithm::EdDsa => [].into(),
            },
            source_addresses: [].into(),
            subjects: ["deployer".into()].into(),
        })),
        ttl: Some(600),
        uses: Some(3),
        ..Rules::value(&[Delivery::Signer])
    }
}

pub fn slot_half() -> Vec<Vec<u8>> {
    let (private, _) = pair();
    let file = seal_half(&place(), &holder(), &OUTPUT, private, &mut random()).expect("a half");
    let plain = crypto::open(&half_key(), &file[..8], &file[8..]).expect("our own half").to_vec();
    vec![file, plain]
}

/// The key under which the slot's half is sealed, as `docs/format.md` has it.
pub fn half_key() -> crypto::Key {
    let context = [
        &place().slot.0[..],
        &place().scope.0,
        holder().credential,
        holder().profile.as_bytes(),
    ];
    crypto::derive(&OUTPUT, &place().vault.0, &crypto::label("slot", &context))
}

pub fn slot_seal() -> Vec<Vec<u8>> {
    let key = crypto::Key::new([9; 32]);
    vec![seal_scope_key(&place(), 1, &pair().1, &key, &mut random()).expect("a sealed key")]
}

pub fn carry() -> Vec<Vec<u8>> {
    let later = ring().followed_by(&Ring::generate(place().vault, place().scope, 2, &mut random()));
    let mut plain = 1_u64.to_be_bytes().to_vec();
    plain.extend([7; 32]);
    let mut two = plain.clone();
    two.extend(2_u64.to_be_bytes());
    two.extend([8; 32]);
    vec![later.carry(&mut random()).expect("carried keys"), plain, two, vec![]]
}

pub fn change_list() -> Vec<Vec<u8>> {
    let list = |adds: &[&str], removes: &[&str]| {
        let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        journal::Pending {
            decides: "heads/0a/1b".into(),
            adds: paths(adds),
            removes: paths(removes),
        }
        .to_text()
        .into_bytes()
    };
    vec![
        list(&[], &[]),
        list(&["records/0a/ff/x-y", "index/0a/00/ab"], &["records/0a/ff/x-z"]),
        list(&["../x"], &[]),
    ]
}

pub fn accepted() -> Vec<Vec<u8>> {
    let vault = place().vault;
    let text = |heads: &str| format!("{{\"heads\":{{{heads}}},\"roster\":\"{vault}\",\"v\":1,\"vault\":\"{vault}\"}}").into_bytes();
    vec![text(""), text(&format!("\"{}\":\"{vault}\"", place().scope))]
}

pub fn records_list() -> Vec<Vec<u8>> {
    let (one, two) = ("0a".repeat(16), "1b".repeat(16));
    let texts = [
        format!("{one}\n{two}\n"),
        format!("{one}\n-{one}\n{two}\n"),
        format!("{one}\n-{two}\n{}", &one[..9]),
    ];
    texts.map(String::into_bytes).into()
}

pub fn backup() -> Vec<Vec<u8>> {
    let archive = |files: &[(&str, &[u8])]| {
        let mut out = vec![];
        let mut writer = Writer::new(&mut out);
        for (path, bytes) in files {
            writer.add(path, bytes).expect("a file");
        }
        writer.finish(place().vault, place().vault).expect("an archive");
        out
    };
    let format: (&str, &[u8]) = ("format", b"touchlease vault 1\n");
    let sig = format!("roster/{}.sig", place().vault);
    vec![archive(&[]), archive(&[format]), archive(&[format, (&sig, b"-----")])]
}

pub fn recovery_code() -> Vec<Vec<u8>> {
    let text = RecoveryCode::generate(&mut random()).to_text();
    let typed = format!(" {}\n", text.to_lowercase().replace('0', "o").replace('1', "l").replace('-', " "));
    vec![
        text.as_bytes().to_vec(),
        typed.into_bytes(),
        b"ABCD-EFGH".to_vec(),
        b"UUUU".to_vec(),
    ]
}
