//! Where things lie.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why there is no place for our files.
#[derive(Debug, Error)]
pub enum PathsError {
    /// Neither HOME nor the XDG variables are set.
    #[error("HOME is not set, so there is no place for the vault and the log")]
    NoHome,
    /// XDG variables are to be absolute (XDG Base Directory Specification).
    #[error("{variable} is not an absolute path")]
    Relative {
        /// Which.
        variable: &'static str,
    },
    /// The socket's path is longer than a socket's path can be.
    #[error("the socket would be {}, which has {} bytes; {LONGEST_SOCKET} are possible", .socket.display(), .socket.as_os_str().len())]
    Long {
        /// Its path.
        socket: PathBuf,
    },
}

/// Longest path of a socket in bytes, without the zero at its end (unix(7), `sun_path`).
const LONGEST_SOCKET: usize = 107;

/// The places of one user, as the environment at start gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// `config.toml`.
    pub config: PathBuf,
    /// The vault when nobody names another.
    pub vault: PathBuf,
    /// State: a folder for each vault id.
    pub state: PathBuf,
    /// Folder of the socket, mode 0700.
    pub runtime: PathBuf,
}

impl Places {
    /// Reads the environment through `var`.
    ///
    /// # Errors
    /// See [`PathsError`].
    pub fn from_env(var: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, PathsError> {
        let home = var("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let base = |variable, below: &str| match absolute(var, variable)? {
            Some(path) => Ok(path.join("touchlease")),
            None => Ok(home.as_ref().ok_or(PathsError::NoHome)?.join(below).join("touchlease")),
        };
        let state = base("XDG_STATE_HOME", ".local/state")?;
        let places = Self {
            config: base("XDG_CONFIG_HOME", ".config")?.join("config.toml"),
            vault: match absolute(var, "TOUCHLEASE_VAULT")? {
                Some(path) => path,
                None => base("XDG_DATA_HOME", ".local/share")?.join("vault"),
            },
            runtime: match absolute(var, "XDG_RUNTIME_DIR")? {
                Some(path) => path.join("touchlease"),
                None => state.join("run"),
            },
            state,
        };
        match places.socket() {
            socket if socket.as_os_str().len() > LONGEST_SOCKET => Err(PathsError::Long { socket }),
            _ => Ok(places),
        }
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("socket")
    }

    /// State of one vault.
    #[must_use]
    pub fn state_of(&self, vault_id: &str) -> PathBuf {
        self.state.join(vault_id)
    }

    /// The task file of `folder`: its own, or of the nearest folder above.
    #[must_use]
    pub fn task_file(folder: &Path) -> Option<PathBuf> {
        folder
            .ancestors()
            .map(|above| above.join("touchlease.toml"))
            .find(|file| file.is_file())
    }
}

fn absolute(var: &dyn Fn(&str) -> Option<OsString>, variable: &'static str) -> Result<Option<PathBuf>, PathsError> {
    match var(variable).filter(|value| !value.is_empty()).map(PathBuf::from) {
        Some(path) if path.is_relative() => Err(PathsError::Relative { variable }),
        path => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn places(vars: &[(&str, &str)]) -> Result<Places, PathsError> {
        let vars: Vec<(String, OsString)> = vars.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Places::from_env(&|name| vars.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn home_alone_is_enough() {
        let places = places(&[("HOME", "/home/a")]).unwrap();
        assert_eq!(places.vault, Path::new("/home/a/.local/share/touchlease/vault"));
        assert_eq!(places.config, Path::new("/home/a/.config/touchlease/config.toml"));
        assert_eq!(places.socket(), Path::new("/home/a/.local/state/touchlease/run/socket"));
    }

    #[test]
    fn xdg_variables_and_the_vault_variable_come_first() {
        let places = places(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/1"), ("TOUCHLEASE_VAULT", "/v")]).unwrap();
        assert_eq!(places.socket(), Path::new("/run/user/1/touchlease/socket"));
        assert_eq!(places.vault, Path::new("/v"));
    }

    #[test]
    fn a_socket_has_a_path_that_a_socket_can_have() {
        let folder = |bytes: usize| format!("/{}", "x".repeat(bytes - "/".len() - "/touchlease/socket".len()));
        assert!(places(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", &folder(LONGEST_SOCKET))]).is_ok());
        assert!(matches!(
            places(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", &folder(LONGEST_SOCKET + 1))]),
            Err(PathsError::Long { .. })
        ));
    }

    #[test]
    fn relative_places_and_no_home_are_refused() {
        assert!(matches!(
            places(&[("HOME", "/h"), ("XDG_STATE_HOME", "x")]),
            Err(PathsError::Relative {
                variable: "XDG_STATE_HOME"
            })
        ));
        assert!(matches!(places(&[]), Err(PathsError::NoHome)));
    }
}
