//! Moves a loaded model's weights to 2 MiB pages while it is in use, and packs them tighter on the
//! way.
//!
//! A mapped file is used at once from its mapping. The page cache holds it in 4 KiB pages, unless
//! the file system took the mapping's wish for 2 MiB pages when it was read; where the kernel
//! cannot put them together in place, the weights are copied, some tens of megabytes at a time, and
//! every view that is taken afterwards shows the copy. Both hold the same bytes, so that nobody
//! waits for anybody. The file's pages are given back as they are copied: they stay in the page
//! cache, where others may map them and the kernel may drop them. Where trits5 is wanted a mapped
//! file's two-bit matrices are not copied but packed (`repack.rs`): that takes less memory, and
//! pays in small pages too.
//!
//! Once all that a step streams is copied, a small embedding is copied as well: then nothing is
//! read from the file any more, and what happens to it does not matter.

use std::sync::Arc;

use memmap2::MmapMut;
use sterna_kernels::Isa;

use super::{Bytes, huge_pages, repack};
use crate::optimisations::Optimisations;
use crate::weights::{Layer, Weights};

/// Pieces are copied together until they are so large, so that little is lost to the last page.
pub(super) const GROUP_BYTES: usize = 64 << 20;
/// The alignment of a piece in its group: a cache line.
pub(super) const ALIGNMENT: usize = 64;

/// The present place of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Bytes of weights in 2 MiB pages.
    pub huge_bytes: u64,
    /// Bytes of weights.
    pub bytes: u64,
    /// Bytes that were copied out of a mapped file for it.
    pub copied_bytes: u64,
    /// Bytes of trits5 that were made of a mapped file's I2_S matrices.
    pub trits5_bytes: u64,
}

impl Settled {
    /// Nearly all: what is left is where a piece of memory ends within a page.
    fn is_enough(&self) -> bool {
        self.huge_bytes >= self.bytes / 10 * 9
    }
}

/// The treatment of the weights.
#[derive(Clone, Copy, Debug)]
pub struct Settling {
    /// Move them to 2 MiB pages.
    pub huge_pages: bool,
    /// Pack a mapped file's I2_S matrices as trits5.
    pub trits5: bool,
    /// The ISA whose kernels pack them.
    pub isa: Isa,
    /// Bytes that copies of all kinds may take.
    pub budget: u64,
}

impl Settling {
    /// The plan of these optimisations for `threads` threads of `isa`, within `budget` bytes.
    #[must_use]
    pub fn of(optimisations: Optimisations, isa: Isa, threads: usize, budget: u64) -> Self {
        Settling {
            huge_pages: optimisations.huge_pages,
            trits5: optimisations.wants_trits5(isa, threads),
            isa,
            budget,
        }
    }
}

/// Pack matrices as trits5 and move weights to 2 MiB pages, as far as that is wanted and the system
/// grants them. Takes about as long as reading them once; to be called on a thread of its own where
/// somebody waits.
pub fn settle(weights: &Weights, how: Settling) -> Settled {
    let mut trits5_bytes = 0;
    if how.trits5 {
        let linears = weights.layers.iter().flat_map(Layer::linears);
        trits5_bytes = repack::pack_mapped(linears, how);
    }
    let streamed: Vec<&Bytes> = weights.streamed().collect();
    let mut copied_bytes = 0;
    if how.huge_pages {
        copied_bytes = move_to_huge_pages(&streamed, how.budget - trits5_bytes);
    }
    let embedding = weights.embedding.bytes();
    let left = streamed.iter().any(|bytes| bytes.read_from().is_some());
    if !left && embedding.read_from().is_some() && embedding.len() <= GROUP_BYTES {
        let budget = how.budget.saturating_sub(trits5_bytes + copied_bytes);
        if embedding.len() as u64 <= budget && copy_plainly(embedding) {
            copied_bytes += embedding.len() as u64;
        }
    }
    Settled {
        trits5_bytes,
        ..now(&streamed, copied_bytes)
    }
}

/// Returns the bytes copied, `budget` at most.
fn move_to_huge_pages(weights: &[&Bytes], budget: u64) -> u64 {
    let owned = weights.iter().filter(|bytes| bytes.is_owned());
    huge_pages::gather(owned.map(|bytes| &***bytes));
    let mapped: Vec<&Bytes> = weights
        .iter()
        .copied()
        .filter(|bytes| bytes.is_mapped())
        .collect();
    if mapped.is_empty() {
        return 0;
    }
    // From here on the file's pages are in memory, in whatever size.
    huge_pages::populate(mapped.iter().map(|bytes| &***bytes));
    if now(&mapped, 0).is_enough() {
        return 0;
    }
    huge_pages::gather(mapped.iter().map(|bytes| &***bytes));
    if now(&mapped, 0).is_enough() {
        return 0;
    }
    copy(mapped, budget)
}

fn now(weights: &[&Bytes], copied_bytes: u64) -> Settled {
    Settled {
        huge_bytes: huge_pages::total(weights.iter().map(|bytes| &***bytes)),
        bytes: weights.iter().map(|bytes| bytes.len() as u64).sum(),
        copied_bytes,
        trits5_bytes: 0,
    }
}

/// Copy group by group, while the budget lasts and the system grants huge pages. Returns the bytes
/// copied.
fn copy(mut mapped: Vec<&Bytes>, budget: u64) -> u64 {
    let bytes: u64 = mapped.iter().map(|bytes| bytes.len() as u64).sum();
    if bytes > budget {
        return 0;
    }
    mapped.sort_by_key(|bytes| bytes.as_ptr());
    let mut copied = 0;
    let mut rest = &mapped[..];
    while !rest.is_empty() {
        let (mut n, mut size) = (0, 0usize);
        while n < rest.len() && size < GROUP_BYTES {
            size += rest[n].len().next_multiple_of(ALIGNMENT);
            n += 1;
        }
        let (group, others) = rest.split_at(n);
        rest = others;
        if !copy_group(group, size) {
            break;
        }
        copied += size as u64;
    }
    copied
}

/// Returns true if the group is in huge pages now. If there are none, nothing is gained: it stays
/// where it was.
fn copy_group(group: &[&Bytes], size: usize) -> bool {
    let Ok(mut memory) = MmapMut::map_anon(size) else {
        return false;
    };
    huge_pages::ask(&memory, true);
    let mut starts = Vec::with_capacity(group.len());
    let mut at = 0;
    for bytes in group {
        memory[at..at + bytes.len()].copy_from_slice(bytes);
        starts.push(at);
        at += bytes.len().next_multiple_of(ALIGNMENT);
    }
    if huge_pages::total([&*memory]) < size as u64 / 2 {
        return false;
    }
    let Ok(memory) = memory.make_read_only() else {
        return false;
    };
    let memory = Arc::new(memory);
    for (bytes, start) in group.iter().zip(starts) {
        bytes.show(&memory, start);
    }
    true
}

/// Copy into memory of whatever pages. False where the system has none.
fn copy_plainly(bytes: &Bytes) -> bool {
    let Ok(mut memory) = MmapMut::map_anon(bytes.len()) else {
        return false;
    };
    memory.copy_from_slice(bytes);
    let Ok(memory) = memory.make_read_only() else {
        return false;
    };
    bytes.show(&Arc::new(memory), 0);
    true
}

#[cfg(test)]
mod tests {
    use super::super::mmap;
    use super::*;

    fn mapped(folder: &tempfile::TempDir, sizes: &[usize]) -> (Vec<Bytes>, Vec<u8>) {
        let all: Vec<u8> = (0..sizes.iter().sum::<usize>())
            .map(|i| (i * 31 % 251) as u8)
            .collect();
        let path = folder.path().join("weights");
        std::fs::write(&path, &all).unwrap();
        let file = mmap::open(&path).unwrap();
        let mut start = 0;
        let pieces = sizes.iter().map(|size| {
            start += size;
            file.slice(start - size..start).unwrap()
        });
        (pieces.collect(), all)
    }

    #[test]
    fn a_copy_shows_the_same_bytes_to_every_clone() {
        let folder = tempfile::tempdir().unwrap();
        let (pieces, all) = mapped(&folder, &[5 << 20, 123, 3 << 20, 0, 77]);
        let clones = pieces.clone();
        // A view that was taken before is of the old place, and stays good.
        let before: Vec<&[u8]> = pieces.iter().map(|bytes| &**bytes).collect();
        let size = pieces
            .iter()
            .map(|bytes| bytes.len().next_multiple_of(ALIGNMENT))
            .sum();
        let moved = copy_group(&pieces.iter().collect::<Vec<_>>(), size);
        let mut start = 0;
        for ((piece, clone), before) in pieces.iter().zip(&clones).zip(before) {
            let expected = &all[start..start + piece.len()];
            assert_eq!(&**piece, expected);
            assert_eq!(before, expected);
            assert_eq!(piece.as_ptr(), clone.as_ptr());
            assert_eq!(
                moved && !piece.is_empty(),
                !piece.is_empty() && piece.as_ptr() != before.as_ptr()
            );
            start += piece.len();
        }
    }

    #[test]
    fn nothing_is_copied_beyond_the_budget() {
        let folder = tempfile::tempdir().unwrap();
        let (pieces, all) = mapped(&folder, &[3 << 20, 2 << 20]);
        assert_eq!(copy(pieces.iter().collect(), (5 << 20) - 1), 0);
        let pieces: Vec<&Bytes> = pieces.iter().collect();
        assert_eq!(move_to_huge_pages(&pieces, 0), 0);
        assert_eq!([&**pieces[0], &**pieces[1]].concat(), all);
    }

    #[test]
    fn owned_and_static_bytes_stay_what_they_are() {
        let pieces = [Bytes::from(vec![7; 5 << 20]), Bytes::from_static(b"abc")];
        let all: Vec<&Bytes> = pieces.iter().collect();
        assert_eq!(move_to_huge_pages(&all, u64::MAX), 0);
        assert_eq!(now(&all, 0).bytes, (5 << 20) + 3);
        assert!(pieces[0].iter().all(|byte| *byte == 7));
        assert_eq!(move_to_huge_pages(&[], u64::MAX), 0);
    }
}
