//! A range of bytes that is cheap to clone: owned, static, or a part of a mapped file.
//!
//! Weights hold these, so that a mapped file is used where it lies and stays mapped as long as any
//! tensor needs it. A part of a mapped file may move to other memory with the same contents
//! (`settle`).

use std::ops::{Deref, Range};
use std::sync::Arc;
#[cfg(feature = "native")]
use std::sync::OnceLock;

#[cfg(feature = "native")]
use memmap2::Mmap;

#[cfg(feature = "native")]
use super::MappedFile;

#[derive(Clone)]
enum Source {
    Owned(Arc<Vec<u8>>),
    Static(&'static [u8]),
    /// A map of no file.
    #[cfg(feature = "native")]
    Anonymous(Arc<Mmap>),
    #[cfg(feature = "native")]
    Mapped {
        file: Arc<MappedFile>,
        /// The place of this part, if it has moved: a map, and the part's start in it. Clones share
        /// it.
        moved: Arc<OnceLock<(Arc<Mmap>, usize)>>,
    },
}

/// Shared, immutable bytes. Dereferences to `[u8]`.
#[derive(Clone)]
pub struct Bytes {
    source: Source,
    range: Range<usize>,
}

impl Bytes {
    /// Bytes of a mapped file.
    #[cfg(feature = "native")]
    pub(super) fn mapped(file: MappedFile) -> Self {
        let range = 0..file.map().len();
        Bytes {
            source: Source::Mapped {
                file: Arc::new(file),
                moved: Arc::default(),
            },
            range,
        }
    }

    /// A part of a map of no file. `None` where it reaches past the end.
    #[cfg(feature = "native")]
    pub(super) fn anonymous(map: &Arc<Mmap>, range: Range<usize>) -> Option<Self> {
        map.get(range.clone()).is_some().then(|| Bytes {
            source: Source::Anonymous(map.clone()),
            range,
        })
    }

    /// Give back the pages of a mapped file that are these bytes' alone: for bytes that are hardly
    /// read again.
    #[cfg(feature = "native")]
    pub(super) fn give_back(&self) {
        if let Source::Mapped { file, .. } = &self.source {
            super::mmap::give_back(file.map(), self.range.clone());
        }
    }

    /// From now on these bytes and their clones are those of `memory` from `start` on, which must
    /// be the same; a view taken before stays good. What of the file's pages is theirs alone is
    /// given back. Only the first call counts.
    #[cfg(feature = "native")]
    pub(super) fn show(&self, memory: &Arc<Mmap>, start: usize) {
        if let Source::Mapped { file, moved } = &self.source
            && memory.get(start..start + self.range.len()) == file.get(self.range.clone())
            && moved.set((memory.clone(), start)).is_ok()
        {
            super::mmap::give_back(file.map(), self.range.clone());
        }
    }

    /// Bytes that are part of the program.
    pub fn from_static(bytes: &'static [u8]) -> Self {
        Bytes {
            source: Source::Static(bytes),
            range: 0..bytes.len(),
        }
    }

    /// A part of these bytes, sharing them. `None` where it reaches past the end.
    pub fn slice(&self, range: Range<usize>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.range.len() {
            return None;
        }
        let start = self.range.start + range.start;
        let source = match &self.source {
            // A part moves by itself.
            #[cfg(feature = "native")]
            Source::Mapped { file, .. } => Source::Mapped {
                file: file.clone(),
                moved: Arc::default(),
            },
            source => source.clone(),
        };
        Some(Bytes {
            source,
            range: start..start + range.len(),
        })
    }

    /// True if these bytes live in the process's own memory rather than in a file or the program.
    pub fn is_owned(&self) -> bool {
        match self.source {
            Source::Owned(_) => true,
            #[cfg(feature = "native")]
            Source::Anonymous(_) => true,
            _ => false,
        }
    }

    /// The mapped file these bytes are read from: of those that have moved, none.
    #[cfg(feature = "native")]
    pub fn read_from(&self) -> Option<&Arc<MappedFile>> {
        match &self.source {
            Source::Mapped { file, moved } if moved.get().is_none() => Some(file),
            _ => None,
        }
    }

    /// True if these bytes are a mapped file's, moved or not.
    #[cfg(feature = "native")]
    pub fn is_mapped(&self) -> bool {
        matches!(self.source, Source::Mapped { .. })
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Bytes {
            source: Source::Owned(Arc::new(bytes)),
            range,
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all: &[u8] = match &self.source {
            Source::Owned(bytes) => bytes,
            Source::Static(bytes) => bytes,
            #[cfg(feature = "native")]
            Source::Anonymous(map) => map,
            #[cfg(feature = "native")]
            Source::Mapped { file, moved } => match moved.get() {
                Some((memory, start)) => return &memory[*start..][..self.range.len()],
                None => file,
            },
        };
        &all[self.range.clone()]
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_and_nest() {
        let bytes = Bytes::from((0u8..100).collect::<Vec<_>>());
        let inner = bytes.slice(10..50).unwrap().slice(5..8).unwrap();
        assert_eq!(&*inner, &[15, 16, 17]);
        assert!(bytes.slice(10..101).is_none());
        assert!(inner.slice(0..4).is_none());
        #[allow(clippy::reversed_empty_ranges, reason = "a damaged file may give one")]
        let reversed = bytes.slice(5..4);
        assert!(reversed.is_none());
        assert_eq!(Bytes::from_static(b"abc").slice(3..3).unwrap().len(), 0);
    }
}
