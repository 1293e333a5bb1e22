//! 2 MiB pages for weights: an address then costs a five hundredth of the page-table walks, and the
//! processor's prefetchers do not stop at each 4 KiB.
//!
//! All of it is advice: where the system grants none (not Linux, switched off, no free huge page),
//! memory stays as it was.

use std::ops::Range;

/// A huge page's size and alignment.
const HUGE: usize = 2 << 20;
/// Pieces of memory closer than this are treated as one: a heap's own notes lie between its blocks.
const GAP: usize = 4096;

/// Say that this memory is wanted in 2 MiB pages when it is first touched, or that it is not.
pub fn ask<T>(memory: &[T], huge: bool) {
    let advice = if huge { Advice::Huge } else { Advice::NotHuge };
    advise(range(memory), advice);
}

/// True if the system gives 2 MiB pages to those who ask, as far as it has any: cheap to learn,
/// where [`total`] walks all pages of the process.
#[must_use]
pub fn wanted() -> bool {
    let choice = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    choice.is_ok_and(|choice| choice.contains("[always]") || choice.contains("[madvise]"))
}

/// Move memory of this process's own, already in use, to 2 MiB pages in place. Takes about as long
/// as copying it. Pieces that lie side by side are moved together, since a small one has no whole 2
/// MiB.
pub fn gather<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) {
    for whole in joined(pieces.into_iter().map(range).collect()) {
        let inner = whole.start.next_multiple_of(HUGE)..whole.end / HUGE * HUGE;
        if inner.start < inner.end {
            advise(inner.clone(), Advice::Huge);
            // Page by page, so that one that cannot be had does not end it.
            for page in inner.step_by(HUGE) {
                advise(page..page + HUGE, Advice::Collapse);
            }
        }
    }
}

/// Bring memory in, from its file if it has one: what is asked for before the first use.
pub fn populate<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) {
    for whole in joined(pieces.into_iter().map(range).collect()) {
        advise(whole, Advice::Populate);
    }
}

/// Bytes of `memory` that lie in 2 MiB pages now, as the system says.
#[must_use]
pub fn bytes_within(memory: &[u8]) -> u64 {
    total([memory])
}

/// The same for several pieces.
#[must_use]
pub fn total<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let areas = areas(&smaps);
    let pieces = pieces.into_iter().map(range);
    pieces.map(|piece| share_of(&areas, &piece)).sum()
}

/// A mapped area, and its bytes in huge pages.
struct Area {
    range: Range<usize>,
    huge: u64,
}

/// Of a piece of memory, an even part of each area it meets: within an area nobody says which pages
/// are huge.
fn share_of(areas: &[Area], piece: &Range<usize>) -> u64 {
    let parts = areas.iter().map(|Area { range, huge }| {
        let met = range
            .end
            .min(piece.end)
            .saturating_sub(range.start.max(piece.start));
        (*huge as f64 * met as f64 / range.len().max(1) as f64) as u64
    });
    parts.sum()
}

/// `/proc/PID/smaps`: a line `start-end perms ...` for each area, then lines `Name: N kB`.
fn areas(smaps: &str) -> Vec<Area> {
    let mut areas: Vec<Area> = Vec::new();
    for line in smaps.lines() {
        let (name, rest) = line.split_once([' ', ':']).unwrap_or((line, ""));
        if let Some((start, end)) = name.split_once('-')
            && let (Ok(start), Ok(end)) = (
                usize::from_str_radix(start, 16),
                usize::from_str_radix(end, 16),
            )
        {
            areas.push(Area {
                range: start..end,
                huge: 0,
            });
        } else if matches!(name, "AnonHugePages" | "FilePmdMapped" | "ShmemPmdMapped")
            && let Some(area) = areas.last_mut()
        {
            let kib = rest
                .split_whitespace()
                .find_map(|word| word.parse::<u64>().ok());
            area.huge += kib.unwrap_or(0) * 1024;
        }
    }
    areas
}

/// Ranges in order, those that touch or nearly touch made one.
fn joined(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP) => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

fn range<T>(memory: &[T]) -> Range<usize> {
    let start = memory.as_ptr().addr();
    start..start + size_of_val(memory)
}

/// Only what changes neither contents nor access, whoever else uses the memory.
#[derive(Clone, Copy)]
enum Advice {
    Huge,
    NotHuge,
    Collapse,
    Populate,
}

/// True if the system took the advice for the whole pages around `range`.
#[cfg(target_os = "linux")]
fn advise(range: Range<usize>, advice: Advice) -> bool {
    const PAGE: usize = 4096;
    let advice = match advice {
        Advice::Huge => libc::MADV_HUGEPAGE,
        Advice::NotHuge => libc::MADV_NOHUGEPAGE,
        // Since Linux 6.1; earlier ones refuse it.
        Advice::Collapse => libc::MADV_COLLAPSE,
        // Since Linux 5.14; reads like any access would, and returns an error where that would be a
        // signal.
        Advice::Populate => libc::MADV_POPULATE_READ,
    };
    let start = range.start / PAGE * PAGE;
    // SAFETY: these change which pages back the memory, never what is in it or who may use it, so
    // they are sound for any range, whoever owns it; an address is not dereferenced.
    unsafe {
        libc::madvise(
            std::ptr::without_provenance_mut(start),
            range.end - start,
            advice,
        ) == 0
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_range: Range<usize>, _advice: Advice) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_read_from_smaps() {
        let smaps = "7f00000000-7f00400000 r--p 00000000 fe:00 123 /a model.gguf\n\
                     Size:               4096 kB\nAnonHugePages:         0 kB\nFilePmdMapped:      2048 kB\n\
                     VmFlags: rd mr\n\
                     7f00400000-7f00800000 rw-p 00000000 00:00 0\nAnonHugePages:      4096 kB\n";
        let areas = areas(smaps);
        assert_eq!(areas.len(), 2);
        assert_eq!((areas[0].huge, areas[1].huge), (2 << 20, 4 << 20));
        // Half of the first area, half of which is huge, and a quarter of the second.
        let piece = 0x7f00200000..0x7f00500000;
        assert_eq!(share_of(&areas, &piece), (1 << 20) + (1 << 20));
        assert_eq!(share_of(&areas, &(0..4096)), 0);
    }

    #[test]
    fn neighbours_are_joined() {
        let ranges = vec![9000..20000, 0..4000, 8000..9000, 30000..30001];
        assert_eq!(joined(ranges), [0..20000, 30000..30001]);
        assert!(joined(Vec::new()).is_empty());
    }

    #[test]
    fn gathering_changes_no_byte() {
        let pieces: Vec<Vec<u8>> = (0..5u8)
            .map(|i| vec![i; (3 << 20) + usize::from(i)])
            .collect();
        gather(pieces.iter().map(Vec::as_slice));
        for (i, piece) in (0..5u8).zip(&pieces) {
            assert!(piece.iter().all(|byte| *byte == i));
        }
        let bytes: usize = pieces.iter().map(Vec::len).sum();
        assert!(total(pieces.iter().map(Vec::as_slice)) <= bytes as u64);
        gather([]);
    }
}
