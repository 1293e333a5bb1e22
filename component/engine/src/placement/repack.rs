//! Packs a mapped file's I2_S matrices as trits5 while the model is in use.
//!
//! Each matrix is packed from the file's pages into new memory, and from then on every view that is
//! taken shows the new rows with their layout, both at once; the sums are the same, so that nobody
//! waits for anybody. The file's pages are given back.

use std::sync::Arc;

use memmap2::MmapMut;
use sterna_kernels::{TernaryLayout, pack_trits5_into};

use super::settle::{ALIGNMENT, GROUP_BYTES, Settling};
use super::{Bytes, huge_pages};
use crate::weights::Linear;

/// Pack those of `linears` that are I2_S in a mapped file, all of them or, where that takes more
/// than the budget, none. A matrix with a code that trits5 has not stays what it is. Returns the
/// bytes of trits5.
pub(super) fn pack_mapped<'a>(linears: impl Iterator<Item = &'a Linear>, how: Settling) -> u64 {
    let linears: Vec<&Linear> = linears
        .filter(|linear| linear.layout() == TernaryLayout::I2S && linear.packed().is_mapped())
        .collect();
    let bytes: u64 = linears.iter().map(|linear| room(linear) as u64).sum();
    if bytes > how.budget {
        return 0;
    }
    let mut packed = 0;
    let mut rest = &linears[..];
    while !rest.is_empty() {
        let (mut n, mut size) = (0, 0);
        while n < rest.len() && size < GROUP_BYTES {
            size += room(rest[n]);
            n += 1;
        }
        let (group, others) = rest.split_at(n);
        rest = others;
        let Some(bytes) = pack_group(group, size, how) else {
            break;
        };
        packed += bytes;
    }
    packed
}

/// Bytes of a matrix in trits5, up to where the next may begin.
fn room(linear: &Linear) -> usize {
    let bytes = TernaryLayout::Trits5.bytes(linear.rows(), linear.cols());
    bytes.next_multiple_of(ALIGNMENT)
}

/// Bytes of trits5 that were made. `None` where the system has no memory.
fn pack_group(group: &[&Linear], size: usize, how: Settling) -> Option<u64> {
    let mut memory = MmapMut::map_anon(size).ok()?;
    if how.huge_pages {
        huge_pages::ask(&memory, true);
    }
    let mut made = Vec::with_capacity(group.len());
    let mut at = 0;
    for linear in group {
        let (view, stored) = (linear.view(), linear.packed());
        let end = at + TernaryLayout::Trits5.bytes(linear.rows(), linear.cols());
        // From the file in one go.
        huge_pages::populate([&**stored]);
        if pack_trits5_into(how.isa, view, &mut memory[at..end]) {
            made.push((*linear, stored, at..end));
            at = end.next_multiple_of(ALIGNMENT);
        }
    }
    let memory = Arc::new(memory.make_read_only().ok()?);
    let mut bytes = 0;
    for (linear, stored, range) in made {
        let trits5 = Bytes::anonymous(&memory, range)?;
        bytes += trits5.len() as u64;
        if linear.show_trits5(trits5) {
            stored.give_back();
        }
    }
    Some(bytes)
}
