//! Clients of agents: whether they were told of us, whether the hook is run, and whether a sandbox is in the way of the proxy.

use std::env;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::super::connect::{Client, connected, hooks_off};
use super::super::hook;
use crate::finding::{Finding, Part, quoted};
use crate::paths::Places;

/// Longest wait for the proxy, which is on this machine.
const SOON: Duration = Duration::from_secs(1);

/// One line for each client in whose settings there is anything of ours.
pub fn clients(places: &Places) -> Vec<Finding> {
    let each = [(Client::Codex, "Codex"), (Client::Claude, "Claude Code")];
    each.into_iter()
        .filter_map(|(client, name)| {
            let var = |name: &str| env::var_os(name);
            let state = connected(client, &var);
            if let Ok((_, true)) = state
                && let Some((file, setting)) = hooks_off(client, &var, &env::current_dir().unwrap_or_default())
            {
                return Some(switched_off(name, &file, setting));
            }
            finding(client, name, state, hook::was_run(places, client))
        })
        .collect()
}

fn finding(client: Client, name: &str, state: Result<(bool, bool), (std::path::PathBuf, String)>, was_run: bool) -> Option<Finding> {
    let connect = client.connect(&[]);
    Some(match state {
        Ok((false, false)) => return None,
        Err((file, why)) => Part::Agents.warning(
            "client_settings",
            format!("{} of {name} cannot be read: {why}", file.display()),
            format!("\"${{EDITOR:-vi}}\" {}", quoted(&file)),
        ),
        Ok((true, true)) if was_run => Part::Agents.ok("connected", format!("{name} knows the server, and has run the hook")),
        Ok((_, true)) if !was_run => {
            let (why, remedy) = match client {
                Client::Codex => (
                    ": it runs none before you have trusted it, and does not say so",
                    "codex (then trust it: /hooks)",
                ),
                Client::Claude => ("", "claude (start it once; whatever tool it uses runs the hook)"),
            };
            let what = format!("{name} has not run the hook since it was written into its settings, so it is not active{why}");
            Part::Agents.warning("hook_not_run", what, remedy)
        }
        Ok((true, _)) => Part::Agents.note("no_hook", format!("{name} knows the server, and has no hook"), connect),
        Ok((false, _)) => Part::Agents.note("no_server", format!("{name} has the hook, and does not know the server"), connect),
    })
}

/// A hook that was run once may be none any more.
fn switched_off(name: &str, file: &Path, setting: &str) -> Finding {
    Part::Agents.warning(
        "hooks_off",
        format!("{name} runs no hook: {setting} in {}", file.display()),
        format!("\"${{EDITOR:-vi}}\" {}", quoted(file)),
    )
}

/// Whether the proxy that this process's variables name can be reached, where it is one of ours.
pub fn proxy(variable: &dyn Fn(&str) -> Option<String>) -> Option<Finding> {
    let named = variable("HTTPS_PROXY").or_else(|| variable("https_proxy"))?;
    let port = port(&named)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let error = match TcpStream::connect_timeout(&address, SOON) {
        Ok(_) => return Some(Part::Agents.ok("proxy", format!("the lease's proxy is reached on port {port}"))),
        Err(error) => error,
    };
    Some(match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::NetworkUnreachable => Part::Agents.problem(
            "proxy_sandboxed",
            format!("a sandbox keeps this command from the lease's proxy on port {port}: {error}"),
            "the sandbox has to go through it itself: features.network_proxy = true and allow_upstream_proxy = true (Codex), \
             network.parentProxy (sandbox-runtime); see docs/agents.md",
        ),
        // In a network of its own there is nobody at that port.
        _ => Part::Agents.problem(
            "proxy_gone",
            format!("nobody answers where the lease's proxy was, on port {port}: {error}"),
            "run the command anew under `touchlease run`; in a sandbox with a network of its own, as for proxy_sandboxed in docs/agents.md",
        ),
    })
}

/// The port, where a proxy's URL is in the form of ours: `http://x:` and 32 hex digits, at 127.0.0.1.
fn port(url: &str) -> Option<u16> {
    let (bearer, place) = url.strip_prefix("http://x:")?.split_once('@')?;
    let is_ours = bearer.len() == 32 && bearer.bytes().all(|byte| byte.is_ascii_hexdigit());
    place
        .strip_prefix("127.0.0.1:")
        .filter(|_| is_ours)?
        .trim_end_matches('/')
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::finding::Level;

    #[test]
    fn a_hook_that_was_never_run_is_said_to_be_none() {
        let said = |state, was_run| finding(Client::Codex, "Codex", Ok(state), was_run).map(|found| (found.level, found.reason));
        assert_eq!(said((false, false), false), None);
        assert_eq!(said((true, true), true), Some((Level::Ok, "connected".into())));
        assert_eq!(said((true, true), false), Some((Level::Warning, "hook_not_run".into())));
        assert_eq!(said((true, false), true), Some((Level::Note, "no_hook".into())));
        assert_eq!(said((false, true), true), Some((Level::Note, "no_server".into())));
    }

    #[test]
    fn a_proxy_of_ours_is_known_by_its_form_and_one_that_is_gone_is_told() {
        let ours = format!("http://x:{}@127.0.0.1:4711", "0123456789abcdef".repeat(2));
        assert_eq!(port(&ours), Some(4711));
        for other in ["http://127.0.0.1:3128", "http://x:secret@127.0.0.1:1", "http://x:0@proxy.example:1"] {
            assert_eq!(port(other), None, "{other}");
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let here = ours.replace("4711", &listener.local_addr().unwrap().port().to_string());
        let found = || proxy(&|name| (name == "HTTPS_PROXY").then(|| here.clone())).unwrap();
        assert_eq!(found().reason, "proxy");
        drop(listener);
        assert_eq!(found().reason, "proxy_gone");
    }
}
