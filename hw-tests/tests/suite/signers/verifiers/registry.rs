//! docker-registry 2.8, and skopeo that pushes into it with nothing but a token.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use touchlease::encoding::Digest;

use super::super::{AUD, ISSUER, export, lab, read, refused};
use crate::lab::{Lab, until};

/// For how long after its end the registry still takes a token (distribution, `registry/auth/token`, `Leeway`).
const LEEWAY: Duration = Duration::from_secs(60);
const OTHER: &str = "https://other.example";

/// A registry on loopback that trusts the certificates that `issuer export` wrote, and nothing else.
struct Registry {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Registry {
    fn start(folder: &Path, bundle: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = json!({
            "version": "0.1",
            "storage": { "filesystem": { "rootdirectory": folder.join("storage") } },
            "http": { "addr": format!("127.0.0.1:{port}") },
            "auth": { "token": { "realm": ISSUER, "service": AUD, "issuer": ISSUER, "rootcertbundle": bundle } },
        });
        let (path, log) = (folder.join("registry.json"), folder.join("registry.log"));
        // YAML reads JSON.
        fs::write(&path, config.to_string()).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let registry = Self { child, port, log };
        until("the registry", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        registry
    }

    /// Pushes the image with `token`: whether it got in.
    fn push(&self, image: &Path, to: &str, token: &str) -> bool {
        let out = self.copy(image, to, token);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.success() || said.contains("unauthorized") || said.contains("denied"),
            "{said}"
        );
        out.status.success()
    }

    fn copy(&self, image: &Path, to: &str, token: &str) -> Output {
        let mut skopeo = Command::new("skopeo");
        skopeo.args([
            "--insecure-policy",
            "copy",
            "--quiet",
            "--dest-tls-verify=false",
            "--dest-registry-token",
            token,
        ]);
        skopeo.arg(format!("oci:{}:latest", image.display()));
        skopeo.arg(format!("docker://127.0.0.1:{}/{to}", self.port));
        skopeo.stdin(Stdio::null()).output().unwrap()
    }

    /// Why it refused last.
    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The smallest image that there is: an empty archive (two blocks of zeros) as its one layer.
pub fn image(folder: &Path) -> PathBuf {
    let image = folder.join("image");
    let blobs = image.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes).to_string();
        fs::write(blobs.join(&digest), bytes).unwrap();
        json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{digest}"), "size": bytes.len() })
    };
    let layer = [0; 1024];
    let ids = json!({ "type": "layers", "diff_ids": [format!("sha256:{}", Digest::of(&layer))] });
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {}, "rootfs": ids });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", config.to_string().as_bytes()),
        "layers": [blob("layer.v1.tar", &layer)],
    });
    let mut named = blob("manifest.v1+json", manifest.to_string().as_bytes());
    named["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [named] });
    fs::write(image.join("index.json"), index.to_string()).unwrap();
    fs::write(image.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string()).unwrap();
    image
}

fn token(lab: &Lab, aud: &str, access: &str, more: &[&str]) -> String {
    let asked = [&["token", "prod/deployer", "--aud", aud, "--access", access], more].concat();
    lab.prints(&asked).trim_end().to_owned()
}

#[test]
#[ignore = "needs hw-tests/with-verifiers"]
fn t28_a_registry_that_knows_keys_by_libtrust_takes_a_push_for_what_a_token_names_and_not_after_its_end_for_others_or_by_a_rotated_key() {
    pushes_as_a_token_says("libtrust");
}

#[test]
#[ignore = "needs hw-tests/with-verifiers"]
fn t28_a_registry_that_knows_keys_by_certificates_takes_a_push_for_what_a_token_names_and_not_after_its_end_for_others_or_by_a_rotated_key()
{
    pushes_as_a_token_says("x5c");
}

fn pushes_as_a_token_says(profile: &str) {
    let named = [AUD, OTHER].map(|aud| format!("{aud}={profile}"));
    let more = [
        &["--aud", OTHER, "--access", "repository:team/app:pull,push"][..],
        &["--profile", &named[0], "--profile", &named[1]],
    ];
    let lab = lab("es256", &more.concat());
    let (folder, site) = (lab.home.path().join("registry"), lab.home.work().join("site"));
    fs::create_dir(&folder).unwrap();
    let image = image(&folder);
    let serve = || {
        assert!(export(&lab, &site).status.success());
        Registry::start(&folder, &site.join("rootcertbundle.pem"))
    };
    let _watch = lab.home.watch().unwrap();
    let registry = serve();
    let push = "repository:team/app:pull,push";
    let good = token(&lab, AUD, push, &["--ttl", "10m"]);
    let (header, claims) = read(&good);
    assert_eq!(header.get("x5c").is_some(), profile == "x5c");
    assert_eq!(
        claims["access"],
        json!([{ "type": "repository", "name": "team/app", "actions": ["pull", "push"] }])
    );
    let short = token(&lab, AUD, push, &["--ttl", "2s"]);
    assert!(registry.push(&image, "team/app:1", &short), "{}", registry.said());
    assert!(registry.push(&image, "team/app:2", &good), "{}", registry.said());
    let ended = std::time::Instant::now() + Duration::from_secs(3) + LEEWAY;
    // For nothing else than it says.
    assert!(!registry.push(&image, "team/other:1", &good));
    assert!(!registry.push(&image, "team/app:3", &token(&lab, AUD, "repository:team/app:pull", &[])));
    assert!(!registry.push(&image, "team/app:3", &token(&lab, OTHER, push, &[])));
    assert!(
        registry.said().contains("token intended for another audience"),
        "{}",
        registry.said()
    );
    assert!(!registry.push(&image, "team/app:3", &super::flipped(&good)));
    // It knew the next key before that signed.
    lab.person(&["signer", "rotate", "prod/deployer"]);
    let rotated = token(&lab, AUD, push, &[]);
    assert!(registry.push(&image, "team/app:4", &rotated), "{}", registry.said());
    assert!(registry.push(&image, "team/app:5", &good), "{}", registry.said());
    thread::sleep(ended.saturating_duration_since(std::time::Instant::now()));
    assert!(!registry.push(&image, "team/app:6", &short));
    assert!(registry.said().contains("token not to be used after"), "{}", registry.said());
    drop(registry);
    // After a plain rotation what was signed before is good to its end; after one of compromised keys it is not.
    let registry = serve();
    assert!(registry.push(&image, "team/app:7", &good), "{}", registry.said());
    drop(registry);
    lab.person(&["signer", "rotate", "prod/deployer", "--compromised"]);
    let registry = serve();
    assert!(!registry.push(&image, "team/app:8", &good));
    assert!(!registry.push(&image, "team/app:8", &rotated));
    assert!(
        registry.push(&image, "team/app:8", &token(&lab, AUD, push, &[])),
        "{}",
        registry.said()
    );
}

#[test]
fn t28_what_a_token_may_do_at_a_registry_is_shown_and_nothing_beyond_the_sealed_rules_is_asked_of_anybody() {
    let profile = format!("{AUD}=libtrust");
    let lab = lab("es256", &["--access", "repository:team/app:pull,push", "--profile", &profile]);
    let asked = |access: &str| refused(&lab, &["token", "prod/deployer", "--aud", AUD, "--access", access]);
    for access in ["repository:team/app:delete", "repository:team/other:pull", "repository:team/app:*"] {
        assert_eq!(asked(access), (62, "access".into()), "{access}");
    }
    for access in ["repository:team/app", "repository:*:pull", "repository:team/app:push,pull"] {
        assert_eq!(asked(access), (65, "access_form".into()), "{access}");
    }
    let shown = lab.person(&["token", "prod/deployer", "--aud", AUD, "--access", "repository:team/app:pull"]);
    for part in ["pull of repository team/app", "by its libtrust fingerprint"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let signer = lab.json(&["signer", "show", "prod/deployer"])["signer"].clone();
    let _watch = lab.home.watch().unwrap();
    let (header, claims) = read(&token(&lab, AUD, "repository:team/app:pull", &[]));
    assert_eq!(header["kid"], signer["keys"][0]["libtrust"]);
    assert_eq!(
        claims["access"],
        json!([{ "type": "repository", "name": "team/app", "actions": ["pull"] }])
    );
    // Verifiers of key sets find the key by that name, too.
    let site = lab.home.work().join("site");
    assert!(export(&lab, &site).status.success());
    let set: Value = serde_json::from_slice(&fs::read(site.join(".well-known/jwks.json")).unwrap()).unwrap();
    let of = |kid: &Value| {
        set["keys"]
            .as_array()
            .unwrap()
            .iter()
            .find(|key| key["kid"] == *kid)
            .cloned()
            .unwrap()
    };
    assert_eq!(of(&header["kid"])["x"], of(&signer["keys"][0]["kid"])["x"]);
}

#[test]
fn t28_a_profile_that_needs_certificates_comes_with_new_keys_and_goes_with_its_audience() {
    fn rotate<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["signer", "rotate", "prod/deployer"], more].concat()
    }
    let lab = lab("es256", &["--aud", OTHER]);
    let profile = format!("{AUD}=x5c");
    assert_eq!(refused(&lab, &rotate(&["--profile", &profile])), (65, "no_certificates".into()));
    lab.person(&rotate(&["--profile", &profile, "--compromised"]));
    let site = lab.home.work().join("site");
    let bundle = site.join("rootcertbundle.pem");
    let certificates = || fs::read_to_string(&bundle).map_or(0, |text| text.matches("BEGIN CERTIFICATE").count());
    assert!(export(&lab, &site).status.success());
    assert_eq!(certificates(), 2);
    lab.person(&rotate(&[]));
    assert!(export(&lab, &site).status.success());
    assert_eq!(certificates(), 3);
    lab.person(&rotate(&["--aud", OTHER]));
    assert_eq!(lab.json(&["signer", "show", "prod/deployer"])["signer"]["profiles"], json!({}));
    assert!(export(&lab, &site).status.success());
    assert_eq!(certificates(), 0);
    let eddsa = [
        "signer",
        "add",
        "prod/other",
        "--alg",
        "eddsa",
        "--issuer",
        ISSUER,
        "--aud",
        AUD,
        "--profile",
        &profile,
    ];
    assert_eq!(refused(&lab, &eddsa), (65, "profile_algorithm".into()));
}
