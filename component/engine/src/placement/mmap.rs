//! Opening a file as bytes: mapped where the platform can, read into memory in wasm.
//!
//! With `huge_pages` and the team's `crew` the only module of this crate with `unsafe`.

use std::path::Path;

use super::Bytes;
use crate::error::LoadError;
use crate::files::regular;

/// The bytes of the file at `path`. Mapping touches none of its pages.
///
/// # Errors
/// `LoadError::Io` where it cannot be opened or mapped.
pub(crate) fn open(path: &Path) -> Result<Bytes, LoadError> {
    open_inner(path).map_err(|source| LoadError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(feature = "native")]
fn open_inner(path: &Path) -> std::io::Result<Bytes> {
    let file = regular::open(path)?;
    // SAFETY: the map is private and read-only, and only ever seen as `&[u8]`. What Rust cannot
    // rule out is another process changing the file meanwhile: a model file is replaced by renaming
    // (as `convert` does), never written in place (`mapped.rs` notices), and whoever can write to
    // it owns the model anyway. Nothing here relies on the bytes staying what they were: every
    // index into the weights comes from the header, which is copied out of the map while it is
    // checked.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    // Before a page is touched: a file system with large pages in its cache then reads them so.
    super::huge_pages::ask(&map, true);
    Ok(Bytes::mapped(super::MappedFile::new(map, file, path)?))
}

/// Give back the pages that lie wholly within a range of a file that was mapped by [`open`]: they
/// leave this process, and come again from the page cache or the file where they are read once
/// more.
#[cfg(feature = "native")]
pub(super) fn give_back(map: &memmap2::Mmap, range: std::ops::Range<usize>) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let inner = range.start.next_multiple_of(PAGE)..range.end / PAGE * PAGE;
        if inner.start < inner.end && inner.end <= map.len() {
            // SAFETY: a read-only map of a file: a page that is dropped is read again with the
            // file's bytes, so nothing that was seen changes. A failure leaves it where it is.
            let _ = unsafe {
                map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    inner.start,
                    inner.len(),
                )
            };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (map, range);
}

/// Read to a cache line's beginning: what is aligned in the file is aligned in memory.
#[cfg(not(feature = "native"))]
fn open_inner(path: &Path) -> std::io::Result<Bytes> {
    use std::io::{Error, ErrorKind, Read};

    const LINE: usize = 64;
    let mut file = regular::open(path)?;
    let too_large = |_| Error::from(ErrorKind::FileTooLarge);
    let len = usize::try_from(file.metadata()?.len()).map_err(too_large)?;
    let mut memory = Vec::new();
    let room = len.saturating_add(LINE);
    let refused = |_| Error::from(ErrorKind::OutOfMemory);
    memory.try_reserve_exact(room).map_err(refused)?;
    memory.resize(room, 0);
    let start = memory.as_ptr().align_offset(LINE).min(LINE);
    file.read_exact(&mut memory[start..start + len])?;
    let bytes = Bytes::from(memory).slice(start..start + len);
    Ok(bytes.unwrap_or_else(|| Vec::new().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written_and_names_what_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, b"bytes").unwrap();
        assert_eq!(&*open(&path).unwrap(), b"bytes");
        std::fs::write(&path, b"").unwrap();
        assert!(open(&path).unwrap().is_empty());
        let error = open(&dir.path().join("absent")).unwrap_err().to_string();
        assert!(error.contains("absent"), "{error}");
        assert!(open(dir.path()).is_err());
    }
}
