//! `run --agent` and D-Bus: real daemons where a system has them, and the agent gets to none of them by any of its names.

use super::*;

/// A bus for everybody, that starts what is asked for of its own folder of services, outside of all walls.
const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <servicedir>SERVICES</servicedir>
  <policy context="default">
    <allow user="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

const SERVICE: &str = "[D-BUS Service]\nName=org.example.Run\nExec=/bin/touch MARK\n";

struct Bus {
    daemon: Child,
    socket: PathBuf,
}

impl Bus {
    fn start(folder: &Path, name: &str, socket: &str) -> Self {
        let config = folder.join(format!("{name}.conf"));
        let text = CONFIG.replace("SOCKET", socket).replace("SERVICES", &folder.display().to_string());
        fs::write(&config, text).unwrap();
        let socket = PathBuf::from(socket);
        let mut daemon = Command::new("dbus-daemon");
        daemon.args(["--nofork", "--nopidfile", "--nosyslog", "--config-file"]).arg(config);
        let daemon = daemon.uid(NOBODY).gid(NOBODY).stderr(Stdio::null()).spawn().unwrap();
        until("the bus", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        Self { daemon, socket }
    }

    /// As its service manager does.
    fn restart(self, folder: &Path, name: &str) -> Self {
        let socket = self.socket.display().to_string();
        drop(self);
        // A daemon that is killed leaves its socket behind.
        fs::remove_file(&socket).unwrap();
        Self::start(folder, name, &socket)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
fn t24_neither_the_systems_bus_nor_the_sessions_is_reached_by_any_of_its_names() {
    if !inside("buses::t24_neither_the_systems_bus_nor_the_sessions_is_reached_by_any_of_its_names") {
        return;
    }
    let rigged = Rigged::without_vault(NOBODY, None);
    let session = format!("/run/user/{NOBODY}");
    emptied("/run/dbus", NOBODY);
    emptied("/run/user", 0);
    fs::create_dir(&session).unwrap();
    own(Path::new(&session), NOBODY);
    let (folder, _) = for_everybody(Path::new(PROBE));
    own(folder.path(), NOBODY);
    let mark = folder.path().join("ran-outside");
    let service = SERVICE.replace("MARK", &mark.display().to_string());
    fs::write(folder.path().join("org.example.Run.service"), service).unwrap();
    let elsewhere = folder.path().join("buses");
    fs::create_dir(&elsewhere).unwrap();
    own(&elsewhere, NOBODY);
    let named = elsewhere.join("named-bus").display().to_string();
    let mut buses: Vec<(&str, Bus)> = [
        ("system", "/run/dbus/system_bus_socket"),
        ("session", &format!("{session}/bus")),
        ("named", &named),
    ]
    .into_iter()
    .map(|(name, socket)| (name, Bus::start(folder.path(), name, socket)))
    .collect();
    let places = [
        "/run/dbus/system_bus_socket",
        "/var/run/dbus/system_bus_socket",
        &format!("{session}/bus"),
        &format!("/var/run/user/{NOBODY}/bus"),
        &named,
    ];
    // Each place is asked for the names on the bus, and to start the service.
    let ask = |place: &str, what: &str| format!("dbus-send --bus=unix:path={place} --print-reply --reply-timeout=500 --dest={what}");
    let lines = places.iter().flat_map(|place| {
        let list = ask(place, "org.freedesktop.DBus / org.freedesktop.DBus.ListNames");
        let start = ask(
            place,
            "org.freedesktop.DBus / org.freedesktop.DBus.StartServiceByName string:org.example.Run uint32:0",
        );
        [
            format!("{list} > /dev/null 2>&1 && echo {place} reached"),
            format!("{start} > /dev/null 2>&1"),
        ]
    });
    let by_variable = ["session", "system"].map(|bus| {
        format!("dbus-send --{bus} --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames > /dev/null 2>&1 && echo {bus} reached")
    });
    let asks: Vec<String> = lines.chain(by_variable).collect();
    let asks = format!("{}\necho done\n", asks.join("\n"));
    let variables = [
        ("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={named}")),
        ("XDG_RUNTIME_DIR", session.clone()),
    ];
    let mut outside = Command::new("sh");
    let outside = outside.args(["-c", &asks]).envs(variables.clone()).uid(NOBODY).gid(NOBODY);
    let said = String::from_utf8(outside.output().unwrap().stdout).unwrap();
    assert_eq!(said.lines().filter(|line| line.ends_with("reached")).count(), 7, "{said}");
    until("the service, outside", || mark.exists());
    fs::remove_file(&mark).unwrap();

    let script = format!("touch started; {asks}touch first; while [ ! -e anew ]; do sleep 0.05; done\n{asks}");
    let mut agent = rigged.home.detached(["run", "--agent", "--", "sh", "-c", &script]);
    agent
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let agent = agent.spawn().unwrap();
    until("the agent's first look", || rigged.home.work().join("first").exists());
    buses = buses
        .into_iter()
        .map(|(name, bus)| (name, bus.restart(folder.path(), name)))
        .collect();
    fs::write(rigged.home.work().join("anew"), "").unwrap();
    let out = agent.wait_with_output().unwrap();
    let said = String::from_utf8(out.stdout.clone()).unwrap();
    println!("T24 buses: {} of 14 ways reached", said.matches("reached").count());
    assert!(out.status.success() && said == "done\ndone\n", "{out:?}");
    assert!(!mark.exists(), "nothing was started outside");
    drop(buses);
}
