//! Files that somebody names, or may have put there: read up to a limit, and without waiting for anybody.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use zeroize::Zeroizing;

/// All of a plain file of at most `limit` bytes, in a buffer that never grows and is wiped.
///
/// # Errors
/// [`ErrorKind::FileTooLarge`]; a device, a pipe, a folder; what the system says.
pub fn read_plain(path: &Path, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Opening a pipe must not wait for its other end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let len = usize::try_from(meta.len()).unwrap_or(usize::MAX);
    if len > limit {
        return Err(ErrorKind::FileTooLarge.into());
    }
    read_up_to(file, len)
}

/// The same as text.
///
/// # Errors
/// As [`read_plain`]; [`ErrorKind::InvalidData`] where it is no UTF-8.
pub fn read_text(path: &Path, limit: usize) -> io::Result<String> {
    let bytes = read_plain(path, limit)?;
    let text = str::from_utf8(&bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok(text.to_owned())
}

/// All that comes from `source`, at most `limit` bytes of it, in a buffer that never grows and is wiped.
///
/// # Errors
/// [`ErrorKind::FileTooLarge`]; what the system says.
pub fn read_up_to(source: impl Read, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    source.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn p13_a_file_is_read_whole_or_not_at_all_and_nothing_without_an_end_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"ten bytes.").unwrap();
        assert_eq!(read_plain(&path, 10).unwrap().as_slice(), b"ten bytes.");
        assert_eq!(read_text(&path, 10).unwrap(), "ten bytes.");
        assert_eq!(read_plain(&path, 9).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read_up_to(io::repeat(b'x'), 99).unwrap_err().kind(), ErrorKind::FileTooLarge);
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for path in [&fifo, folder.path(), Path::new("/dev/zero")] {
            assert_eq!(read_plain(path, 9).unwrap_err().to_string(), "it is no plain file", "{path:?}");
        }
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path, 10).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
