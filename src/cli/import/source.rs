//! What a file holds, whatever its format: values with the place in the file that they come from, and what is no secret for a vault.

use std::io::ErrorKind;
use std::path::Path;

use zeroize::Zeroizing;

use super::{env, onepux};
use crate::sys::file::read_plain;
use crate::wire::{Failure, Outcome};

/// Largest file in bytes.
const LARGEST_FILE: usize = 256 << 20;

/// Formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// An environment file
    Env,
    /// An export of 1Password
    #[value(name = "1pux")]
    OnePux,
    /// A KeePass database
    Kdbx,
}

/// A value and where it comes from.
#[derive(Debug)]
pub struct Found {
    /// Folders or vaults above it, its title, and its field, for a person.
    pub place: String,
    /// What it would be called, if names could be like that.
    pub name: String,
    /// The value.
    pub value: Zeroizing<Vec<u8>>,
}

/// Something of the file that does not go into the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What, as the file calls it.
    pub what: String,
    /// Why.
    pub why: &'static str,
}

/// A file, read.
#[derive(Debug)]
pub struct Source {
    /// As what it was read.
    pub format: Format,
    /// What it holds, in its order.
    pub found: Vec<Found>,
    /// What stays behind.
    pub left_out: Vec<LeftOut>,
}

impl Format {
    /// What the file is, for a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Env => "environment file",
            Self::OnePux => "1Password export",
            Self::Kdbx => "KeePass database",
        }
    }

    /// By the bytes that a file of this kind begins with: a zip archive's, a KeePass database's.
    fn of(bytes: &[u8]) -> Self {
        match bytes {
            [b'P', b'K', 3, 4, ..] => Self::OnePux,
            [0x03, 0xd9, 0xa2, 0x9a, ..] => Self::Kdbx,
            _ => Self::Env,
        }
    }
}

impl Source {
    /// Reads `path`, as `format` or as what it looks like.
    ///
    /// # Errors
    /// The file cannot be read, or is not what it was taken for.
    pub fn read(path: &Path, format: Option<Format>, key_file: Option<&Path>) -> Result<Self, Failure> {
        let bytes = read_file(path)?;
        let format = format.unwrap_or_else(|| Format::of(&bytes));
        if key_file.is_some() && format != Format::Kdbx {
            return Err(Failure::new(Outcome::Usage, "key_file", "--key-file goes with a KeePass database")
                .hint("leave it out, or say that it is one: --format kdbx"));
        }
        let (found, left_out) = match format {
            Format::Env => env::read(&bytes)?,
            Format::OnePux => onepux::read(&bytes)?,
            Format::Kdbx => kdbx(path, &bytes, key_file)?,
        };
        Ok(Self { format, found, left_out })
    }
}

#[cfg(feature = "kdbx")]
fn kdbx(path: &Path, bytes: &[u8], key_file: Option<&Path>) -> Result<(Vec<Found>, Vec<LeftOut>), Failure> {
    let key_file = key_file.map(read_file).transpose()?;
    super::kdbx::ask_and_read(path, bytes, key_file.as_deref().map(Vec::as_slice))
}

#[cfg(not(feature = "kdbx"))]
fn kdbx(_path: &Path, _bytes: &[u8], _key_file: Option<&Path>) -> Result<(Vec<Found>, Vec<LeftOut>), Failure> {
    Err(
        Failure::new(Outcome::BadInput, "no_kdbx", "this program was built without KeePass databases")
            .hint("build it with --features kdbx"),
    )
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Failure::new(Outcome::BadInput, "file", format!("{shown} cannot be read: {error}")).hint("check the path and its permissions")
    };
    read_plain(path, LARGEST_FILE).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => Failure::new(Outcome::BadInput, "huge_file", format!("{shown} has more than 256 MiB"))
            .hint("export without attachments, or in parts"),
        _ => unreadable(error),
    })
}

/// The file is not what it was taken for.
pub fn not_read(format: Format, why: &str) -> Failure {
    Failure::new(
        Outcome::BadInput,
        "import_format",
        format!("this is no {} that can be read: {why}", format.name()),
    )
    .hint(match format {
        Format::Kdbx => "if it is a KeePass database, open it there, save it anew, and import that",
        _ => "touchlease import --help names the formats; say which with --format",
    })
}
