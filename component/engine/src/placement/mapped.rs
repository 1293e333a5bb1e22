//! A mapped file, and whether it still is what was mapped.
//!
//! A map shows what the file holds now. Somebody who overwrites it changes weights in use, and
//! whoever cuts it short takes pages away: reading those is a signal (SIGBUS), not an error.
//! Neither can be undone here; but it can be noticed, by size and time of change.

use std::fs::{File, Metadata};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memmap2::Mmap;

use crate::files::regular;

/// A map with the file it is of.
#[derive(Debug)]
pub struct MappedFile {
    map: Mmap,
    file: WatchedFile,
}

impl MappedFile {
    /// `map` is of all of `file`, which was opened at `path`.
    pub(super) fn new(map: Mmap, file: File, path: &Path) -> std::io::Result<Self> {
        let file = WatchedFile {
            // What a change between the two calls made of it counts as one.
            len: map.len() as u64,
            ..WatchedFile::new(file, path)?
        };
        Ok(MappedFile { map, file })
    }

    /// The map.
    pub(super) fn map(&self) -> &Mmap {
        &self.map
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &WatchedFile {
        &self.file
    }
}

/// An open file, and what was known of it at first.
#[derive(Debug)]
pub struct WatchedFile {
    file: File,
    path: PathBuf,
    len: u64,
    modified: Option<SystemTime>,
}

impl WatchedFile {
    /// Watch a file from now on.
    ///
    /// # Errors
    /// Those of the system; and it must be a regular file.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Self::new(regular::open(path)?, path)
    }

    fn new(file: File, path: &Path) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(WatchedFile {
            len: metadata.len(),
            modified: modified(&metadata),
            file,
            path: path.to_owned(),
        })
    }

    /// The path at which it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes it had.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.len
    }

    /// The change to the file since, if any: half a sentence. One system call.
    ///
    /// A file that was replaced by renaming another one to its name is not changed: the map is of
    /// the old one.
    #[must_use]
    pub fn change(&self) -> Option<String> {
        let Ok(now) = self.file.metadata() else {
            return Some("cannot be asked about any more".into());
        };
        if now.len() != self.len {
            return Some(format!(
                "had {} bytes when it was loaded and has {}",
                self.len,
                now.len()
            ));
        }
        (modified(&now) != self.modified).then(|| "was written to since it was loaded".into())
    }
}

fn modified(metadata: &Metadata) -> Option<SystemTime> {
    metadata.modified().ok()
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::mmap;

    #[test]
    fn a_change_is_noticed_and_a_renamed_successor_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, [7; 5000]).unwrap();
        let bytes = mmap::open(&path).unwrap();
        let mapped = bytes.read_from().unwrap().clone();
        let file = mapped.file();
        assert_eq!(file.change(), None);

        let next = folder.path().join("next");
        std::fs::write(&next, [8; 100]).unwrap();
        std::fs::rename(&next, &path).unwrap();
        assert_eq!(file.change(), None);
        assert!(bytes.iter().all(|&byte| byte == 7));

        let bytes = mmap::open(&path).unwrap();
        let mapped = bytes.read_from().unwrap().clone();
        let file = mapped.file();
        let writer = std::fs::File::options().write(true).open(&path).unwrap();
        let later = std::time::SystemTime::now() + Duration::from_secs(5);
        writer.set_modified(later).unwrap();
        assert!(file.change().unwrap().contains("written"));
        writer.set_len(50).unwrap();
        let change = file.change().unwrap();
        assert!(
            change.contains("100 bytes") && change.contains("has 50"),
            "{change}"
        );
    }
}
