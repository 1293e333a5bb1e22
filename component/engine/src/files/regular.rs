//! Opening what is to be a regular file: a pipe would make the reader wait for ever, a device may
//! have no end.

use std::fs::{File, FileType};
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

use crate::error::LoadError;

/// Open a regular file for reading.
///
/// # Errors
/// Those of the system, and `InvalidInput` that says what else it is.
pub(crate) fn open(path: &Path) -> Result<File> {
    check(path.metadata()?.file_type())?;
    let mut options = File::options();
    options.read(true);
    // Another one may have taken its place meanwhile; then this does not wait either.
    #[cfg(all(unix, feature = "native"))]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    check(file.metadata()?.file_type())?;
    Ok(file)
}

/// Refuse what is neither a regular file nor a directory, without opening it.
///
/// # Errors
/// `LoadError::Io` that says what it is, or why nothing is known of it.
pub fn refuse_special(path: &Path) -> std::result::Result<(), LoadError> {
    let checked = path
        .metadata()
        .and_then(|metadata| match metadata.file_type() {
            kind if kind.is_dir() => Ok(()),
            kind => check(kind),
        });
    checked.map_err(|source| LoadError::Io {
        path: path.to_owned(),
        source,
    })
}

fn check(kind: FileType) -> Result<()> {
    if kind.is_file() {
        return Ok(());
    }
    let what = name(kind);
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("it is {what}, not a regular file"),
    ))
}

fn name(kind: FileType) -> &'static str {
    if kind.is_dir() {
        return "a directory";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    "something else"
}
