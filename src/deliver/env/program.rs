//! The file that a command's name means.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Where programs are where nobody says (`execvp` of the C library).
const STANDARD: &str = "/bin:/usr/bin";

/// The program that `execvp` would start with `path` as `PATH`: a name with a slash is a file's, any other is looked for in the folders
/// of `path`, of which an empty one is the working folder. What cannot be executed is passed over. The file has a slash in its own name,
/// so it is looked for no more when it is started.
#[must_use]
pub fn find(program: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program)).filter(|file| is_executable(file));
    }
    let folders = std::env::split_paths(path.unwrap_or(OsStr::new(STANDARD)));
    let here = |folder: PathBuf| if folder == Path::new("") { ".".into() } else { folder };
    let files = folders.map(|folder| here(folder).join(program));
    files.filter(|_| !program.is_empty()).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn put(file: &Path, mode: u32) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
        fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
    }

    fn found(program: &str, path: &str) -> Option<PathBuf> {
        find(OsStr::new(program), Some(OsStr::new(path)))
    }

    #[test]
    fn the_first_file_of_the_path_that_can_be_executed_is_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| folder.path().join(name));
        fs::create_dir_all(a.join("tool")).unwrap();
        put(&b.join("tool"), 0o644);
        put(&c.join("tool"), 0o755);
        put(&d.join("tool"), 0o755);
        let path = [&a, &b, Path::new("/nowhere"), &c, &d]
            .map(|folder| folder.to_str().unwrap())
            .join(":");
        assert_eq!(found("tool", &path), Some(c.join("tool")));
        assert_eq!(found("other", &path), None);
        assert_eq!(found("", &path), None);
    }

    #[test]
    fn a_name_with_a_slash_is_a_file_wherever_the_path_leads() {
        let folder = tempfile::tempdir().unwrap();
        let (tool, text) = (folder.path().join("tool"), folder.path().join("text"));
        put(&tool, 0o755);
        put(&text, 0o644);
        assert_eq!(found(tool.to_str().unwrap(), "/nowhere"), Some(tool));
        assert_eq!(found(text.to_str().unwrap(), folder.path().to_str().unwrap()), None);
        assert_eq!(found("./touchlease-has-no-such-program", ""), None);
    }

    #[test]
    fn an_empty_folder_of_the_path_is_the_working_folder_and_no_path_is_the_standard_one() {
        // Beside the manifest, where tests run: a file that is there, and may be read only.
        for path in ["", "/nowhere:", ":/nowhere"] {
            assert_eq!(found("Cargo.toml", path), None);
            assert_eq!(found("true", &format!("{path}:/bin")), Some("/bin/true".into()));
        }
        assert_eq!(find(OsStr::new("true"), None), Some("/bin/true".into()));
    }
}
