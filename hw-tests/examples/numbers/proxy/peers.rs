//! Other proxies, each set up to put the credential into every request, with one thread where it says how many, and without a log of requests.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::run::version;
use super::super::server::{Server, free_port};
use super::super::table::Failure;
use super::client::{Door, Form, trusting};
use super::origin::{Authority, VALUE};

/// A proxy that serves.
pub struct Peer {
    pub name: &'static str,
    pub version: String,
    pub server: Server,
    pub door: Door,
}

/// What they need to know.
pub struct Place<'a> {
    /// For their files, readable by whoever they become.
    pub folder: &'a Path,
    /// The host's port without TLS, and with.
    pub plain: u16,
    pub tls: u16,
    /// Who signed for the host.
    pub host: &'a Authority,
    /// Who signs in its place.
    pub stand_in: &'a Authority,
}

/// How to start one; an error is a peer that is missing.
pub type Start = fn(&Place<'_>) -> Result<Peer, Failure>;

pub fn nginx(place: &Place<'_>) -> Result<Peer, Failure> {
    let (program, port, folder) = (found("/usr/sbin/nginx", "nginx-light")?, free_port()?, place.folder.display());
    let file = place.folder.join("nginx.conf");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {folder}/nginx-{name};"));
    let text = format!(
        "daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log /dev/null;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; keepalive_requests 10000000; {}\n\
         upstream host {{ server 127.0.0.1:{}; keepalive 64; keepalive_requests 10000000; }}\n\
         server {{ listen 127.0.0.1:{port}; tcp_nodelay on; location / {{ proxy_pass http://host; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host $http_host; proxy_set_header Authorization \"Bearer {VALUE}\"; }} }} }}\n",
        temporary.join(" "),
        place.plain,
    );
    fs::write(&file, text)?;
    let mut command = quiet(&program);
    command.args(["-e", "/dev/null", "-c"]).arg(file);
    served("nginx", version("/usr/sbin/nginx", "-v"), command, plain(port, place))
}

pub fn haproxy(place: &Place<'_>) -> Result<Peer, Failure> {
    let (program, port, file) = (
        found("/usr/sbin/haproxy", "haproxy")?,
        free_port()?,
        place.folder.join("haproxy.cfg"),
    );
    let text = format!(
        "global\n nbthread 1\n maxconn 512\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         frontend clients\n bind 127.0.0.1:{port}\n http-request set-header Authorization \"Bearer {VALUE}\"\n default_backend host\n\
         backend host\n server host 127.0.0.1:{}\n",
        place.plain
    );
    fs::write(&file, text)?;
    let mut command = quiet(&program);
    command.args(["-db", "-f"]).arg(file);
    served("haproxy", version("/usr/sbin/haproxy", "-v"), command, plain(port, place))
}

/// It becomes the user `proxy` where it is started by root.
pub fn squid(place: &Place<'_>) -> Result<Peer, Failure> {
    let (program, port, folder) = (found("/usr/sbin/squid", "squid-openssl")?, free_port()?, place.folder.display());
    let maker = found("/usr/lib/squid/security_file_certgen", "squid-openssl")?;
    let bundle = place.folder.join("squid-ca.pem");
    let parts = [fs::read(&place.stand_in.certificate)?, fs::read(&place.stand_in.key)?];
    fs::write(&bundle, parts.concat())?;
    let made = Command::new(&maker)
        .args(["-c", "-s"])
        .arg(place.folder.join("squid-certificates"))
        .args(["-M", "4MB"])
        .output()?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
    }
    let file = place.folder.join("squid.conf");
    let text = format!(
        "http_port 127.0.0.1:{port} ssl-bump tls-cert={} generate-host-certificates=on dynamic_cert_mem_cache_size=4MB\n\
         sslcrtd_program {} -s {folder}/squid-certificates -M 4MB\n\
         ssl_bump bump all\nhttp_access allow all\nrequest_header_access Authorization deny all\nrequest_header_add Authorization \"Bearer {VALUE}\" all\n\
         tls_outgoing_options cafile={}\ncache deny all\ncache_mem 0 MB\naccess_log none\ncache_log {folder}/squid.log\n\
         pid_filename none\ncoredump_dir {folder}\nshutdown_lifetime 0 seconds\nnetdb_filename none\n",
        bundle.display(),
        maker.display(),
        place.host.certificate.display(),
    );
    fs::write(&file, text)?;
    if rustix::process::geteuid().is_root() {
        let owned = Command::new("chown").args(["-R", "proxy"]).arg(place.folder).output()?;
        if !owned.status.success() {
            return Err("squid's files cannot be given to the user proxy".into());
        }
    }
    let mut command = quiet(&program);
    command.args(["-N", "-f"]).arg(file);
    served(
        "squid",
        version("/usr/sbin/squid", "-v"),
        command,
        tunnel(port, place, &place.stand_in.certificate)?,
    )
}

/// From PyPI: `hw-tests/bench` says where it is.
pub fn mitmproxy(place: &Place<'_>) -> Result<Peer, Failure> {
    let program = std::env::var("MITMDUMP").map_err(|_| "hw-tests/bench installs it")?;
    let (port, folder) = (free_port()?, place.folder.join("mitmproxy"));
    let mut command = quiet(Path::new(&program));
    command.args(["-q", "--listen-host", "127.0.0.1", "-p", &port.to_string(), "--modify-headers"]);
    command.arg(format!("/~q/Authorization/Bearer {VALUE}"));
    for (name, path) in [("confdir", &folder), ("ssl_verify_upstream_trusted_ca", &place.host.certificate)] {
        command.arg("--set").arg(format!("{name}={}", path.display()));
    }
    let mut server = Server::start(&mut command)?;
    server.listens(port)?;
    let door = tunnel(port, place, &folder.join("mitmproxy-ca-cert.pem"))?;
    let version = version(&program, "--version").unwrap_or_default();
    Ok(Peer {
        name: "mitmproxy",
        version,
        server,
        door,
    })
}

/// A library, in a program of `hw-tests/peers` that `hw-tests/bench` builds.
pub fn hudsucker(place: &Place<'_>) -> Result<Peer, Failure> {
    let program = std::env::var("HUDSUCKER").map_err(|_| "hw-tests/bench builds it")?;
    let port = free_port()?;
    let mut command = quiet(Path::new(&program));
    command
        .arg(port.to_string())
        .args([&place.stand_in.certificate, &place.stand_in.key, &place.host.certificate])
        .arg(VALUE);
    let version = Some("0.25.0, with its own defaults".to_owned());
    served("hudsucker", version, command, tunnel(port, place, &place.stand_in.certificate)?)
}

fn served(name: &'static str, version: Option<String>, mut command: Command, door: Door) -> Result<Peer, Failure> {
    let mut server = Server::start(&mut command)?;
    server.listens(door.port)?;
    let version = version.unwrap_or_default();
    Ok(Peer {
        name,
        version,
        server,
        door,
    })
}

fn plain(port: u16, place: &Place<'_>) -> Door {
    Door {
        port,
        host: place.plain,
        form: Form::Origin,
        bearer: None,
        authorization: None,
        tls: None,
    }
}

fn tunnel(port: u16, place: &Place<'_>, roots: &Path) -> Result<Door, Failure> {
    let tls = Some(trusting(roots)?);
    Ok(Door {
        port,
        host: place.tls,
        form: Form::Tunnel,
        bearer: None,
        authorization: None,
        tls,
    })
}

/// Where Debian puts it.
fn found(path: &str, package: &str) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(path);
    let is_there = fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    if is_there {
        Ok(path)
    } else {
        Err(format!("apt-get install {package}").into())
    }
}

fn quiet(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
