//! Copies of weights that belong to somebody else, such as an engine in a sandbox: in 2 MiB pages
//! of this process, and packed tighter where that pays.
//!
//! Such memory may only be read while its owner waits. So no thread copies it in the background
//! (`settle`): each pass copies some of what it is about to read, for a share of its time
//! (`time_share`), and later passes read the copies. The first pass that reads all weights, the
//! head too, only counts; a part of a prompt does not read the head. Memory for the copies comes
//! from a thread all the same: the system clears a page at its first touch, which takes several
//! times as long as the copying.
//!
//! Weights are known by where they lie. Their owner must not change them as long as the copies
//! live.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use memmap2::MmapMut;
use sterna_kernels::{Dense, Grouped, Ternary, TernaryLayout, pack_trits5_into};

use super::huge_pages;
use super::settle::Settling;
use super::time_share::TimeShare;
use crate::matrix::{MatrixView, TableView};

/// Bytes that are copied between two looks at the clock.
const STEP: usize = 1 << 20;
/// Smaller models gain nothing: caches hold them, or the tables of their pages.
const LEAST_BYTES: u64 = 64 << 20;
/// Memory is taken in pieces of this size, or of a matrix where that is larger.
const CHUNK: usize = 64 << 20;
/// The alignment of a copy: a cache line.
const ALIGNMENT: usize = 64;
/// Copies at most: somebody else's weights may be in pieces so small that knowing them takes more
/// than they do.
const MOST_PIECES: usize = 1 << 16;

/// Weights by where they lie: address and length.
type Key = (usize, usize);

/// Copies of one model's weights.
pub struct BorrowedCopies {
    how: Settling,
    state: State,
    time: TimeShare,
    /// This pass has met the head, which comes last: it has met all weights.
    met_head: bool,
    /// This pass has met weights that are not copied yet, or not to their end.
    incomplete: bool,
    /// Bytes of weights that no room was found for yet.
    remaining: usize,
    /// The next of the chunks, once it is ready; `None` where the system has no memory.
    preparing: Option<Receiver<Option<MmapMut>>>,
    chunks: Vec<MmapMut>,
    /// Bytes of the last chunk that are in use.
    used: usize,
    pieces: HashMap<Key, Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a pass that has met so many bytes.
    Counting(u64),
    Copying,
    /// Nothing more is copied.
    Done,
}

/// The place of a copy.
struct Piece {
    chunk: usize,
    start: usize,
    len: usize,
    /// Bytes that are there already.
    filled: usize,
    /// Of a matrix that was packed anew, how.
    layout: Option<TernaryLayout>,
}

impl BorrowedCopies {
    /// Copies of all weights, or of none where they are more than the budget: in 2 MiB pages if
    /// those are wanted and the system has them switched on, and I2_S matrices as trits5 if that is
    /// wanted.
    #[must_use]
    pub fn new(how: Settling) -> Self {
        let how = Settling {
            huge_pages: how.huge_pages && huge_pages::wanted(),
            ..how
        };
        BorrowedCopies {
            how,
            state: State::Counting(0),
            time: TimeShare::default(),
            met_head: false,
            incomplete: false,
            remaining: 0,
            preparing: None,
            chunks: Vec::new(),
            used: 0,
            pieces: HashMap::new(),
        }
    }

    /// Another pass begins. Returns the bytes that were copied, once, when there is nothing left to
    /// copy.
    pub fn begin(&mut self) -> Option<u64> {
        let met_all = std::mem::take(&mut self.met_head);
        let incomplete = std::mem::take(&mut self.incomplete);
        if self.state != State::Done {
            self.time.begin();
        }
        match self.state {
            State::Counting(_) if !met_all => {
                self.state = State::Counting(0);
                None
            }
            State::Counting(bytes) => {
                let wanted = self.how.huge_pages || self.how.trits5;
                let worth_it = wanted && (LEAST_BYTES..=self.how.budget).contains(&bytes);
                self.state = if worth_it {
                    State::Copying
                } else {
                    State::Done
                };
                self.remaining = usize::try_from(bytes).unwrap_or(usize::MAX);
                None
            }
            State::Copying if met_all && !incomplete => {
                self.state = State::Done;
                Some(self.pieces.values().map(|piece| piece.len as u64).sum())
            }
            State::Copying | State::Done => None,
        }
    }

    /// These matrices, from the copies where those are complete; the pass's share of copying is
    /// done first.
    pub fn matrices<'a, const N: usize>(
        &'a mut self,
        of: [MatrixView<'a>; N],
    ) -> [MatrixView<'a>; N] {
        for w in &of {
            match w {
                MatrixView::Ternary(w) => self.copy(w.packed(), Some(*w)),
                MatrixView::Grouped(w) => self.copy(w.bytes(), None),
            }
        }
        let copies = &*self;
        of.map(|w| match w {
            MatrixView::Ternary(w) => copies.ternary(w).into(),
            MatrixView::Grouped(w) => MatrixView::Grouped(copies.grouped(w)),
        })
    }

    /// The same for an output head.
    pub fn head<'a>(&'a mut self, w: TableView<'a>) -> TableView<'a> {
        self.met_head = true;
        match w {
            TableView::Dense(w) => {
                self.copy(w.bytes(), None);
                let copy = self.get(w.bytes());
                let copy =
                    copy.and_then(|(bytes, _)| Dense::new(w.ty(), w.rows(), w.cols(), bytes).ok());
                TableView::Dense(copy.unwrap_or(w))
            }
            TableView::Grouped(w) => {
                self.copy(w.bytes(), None);
                TableView::Grouped(self.grouped(w))
            }
        }
    }

    fn ternary<'a>(&'a self, w: Ternary<'a>) -> Ternary<'a> {
        let Some((packed, layout)) = self.get(w.packed()) else {
            return w;
        };
        let layout = layout.unwrap_or(w.layout());
        Ternary::with_layout(layout, w.rows(), w.cols(), packed, w.scale()).unwrap_or(w)
    }

    fn grouped<'a>(&'a self, w: Grouped<'a>) -> Grouped<'a> {
        let copy = self.get(w.bytes());
        let copy = copy.and_then(|(tiles, _)| Grouped::new(w.shape(), tiles).ok());
        copy.unwrap_or(w)
    }

    fn get(&self, bytes: &[u8]) -> Option<(&[u8], Option<TernaryLayout>)> {
        let piece = self.pieces.get(&key(bytes))?;
        let copy = &self.chunks[piece.chunk][piece.start..][..piece.len];
        (piece.filled == piece.len).then_some((copy, piece.layout))
    }

    /// The pass's share of copying `bytes`, which are those of `matrix` if they are a ternary
    /// one's.
    fn copy(&mut self, bytes: &[u8], matrix: Option<Ternary<'_>>) {
        match &mut self.state {
            State::Counting(met) => *met += bytes.len() as u64,
            State::Copying => {
                self.time.goes_on();
                self.incomplete |= !self.copy_on(bytes, matrix);
            }
            State::Done => {}
        }
    }

    /// More of a copy, or its beginning, if there is time. Whether all of it is there.
    fn copy_on(&mut self, bytes: &[u8], matrix: Option<Ternary<'_>>) -> bool {
        if !self.pieces.contains_key(&key(bytes)) {
            if self.pieces.len() == MOST_PIECES {
                self.state = State::Done;
                return false;
            }
            if !self.time.has_time() {
                return false;
            }
            let Some(piece) = self.begin_copy(bytes, matrix) else {
                return false;
            };
            self.remaining = self.remaining.saturating_sub(bytes.len());
            self.pieces.insert(key(bytes), piece);
        }
        let Some(piece) = self.pieces.get_mut(&key(bytes)) else {
            return false;
        };
        let room = &mut self.chunks[piece.chunk][piece.start..][..piece.len];
        while piece.filled < piece.len && self.time.has_time() {
            let now = piece.filled..bytes.len().min(piece.filled + STEP);
            self.time
                .work(|| room[now.clone()].copy_from_slice(&bytes[now.clone()]));
            piece.filled = now.end;
        }
        piece.filled == piece.len
    }

    /// A place for a copy, if there is room now: with the whole matrix as trits5 in it, if that is
    /// wanted and possible.
    fn begin_copy(&mut self, bytes: &[u8], matrix: Option<Ternary<'_>>) -> Option<Piece> {
        if let Some(w) = matrix.filter(|w| self.how.trits5 && w.layout() == TernaryLayout::I2S) {
            let mut piece = self.place(TernaryLayout::Trits5.bytes(w.rows(), w.cols()))?;
            let room = &mut self.chunks[piece.chunk][piece.start..][..piece.len];
            if self.time.work(|| pack_trits5_into(self.how.isa, w, room)) {
                piece.filled = piece.len;
                piece.layout = Some(TernaryLayout::Trits5);
                return Some(piece);
            }
            // One with a code that trits5 has not.
            self.used = piece.start;
            self.how.budget += piece.len as u64;
        }
        self.place(bytes.len())
    }

    /// Room for so many bytes, within the budget. `None` where there is none yet, and then where
    /// there never will be: what was copied stays in use.
    fn place(&mut self, len: usize) -> Option<Piece> {
        let Some(budget) = self.how.budget.checked_sub(len as u64) else {
            self.state = State::Done;
            return None;
        };
        let fits = |chunk: &MmapMut| self.used + len <= chunk.len();
        if !self.chunks.last().is_some_and(fits) {
            self.next_chunk(len)?;
        }
        self.how.budget = budget;
        let start = self.used;
        self.used = (start + len).next_multiple_of(ALIGNMENT);
        Some(Piece {
            chunk: self.chunks.len() - 1,
            start,
            len,
            filled: 0,
            layout: None,
        })
    }

    /// Take the chunk that is ready, if it is and holds `len` bytes; else have one made.
    fn next_chunk(&mut self, len: usize) -> Option<()> {
        if let Some(preparing) = self.preparing.take() {
            match preparing.try_recv() {
                Ok(Some(chunk)) if chunk.len() >= len => {
                    self.chunks.push(chunk);
                    self.used = 0;
                    return Some(());
                }
                // Made for a smaller matrix.
                Ok(Some(_)) => {}
                Err(TryRecvError::Empty) => {
                    self.preparing = Some(preparing);
                    return None;
                }
                Ok(None) | Err(TryRecvError::Disconnected) => {
                    self.state = State::Done;
                    return None;
                }
            }
        }
        let size = len.max(CHUNK.min(self.remaining));
        self.preparing = Some(prepare(size, self.how.huge_pages));
        None
    }
}

/// So many bytes of memory, touched by a thread. It sends nothing where the system refuses the
/// thread.
fn prepare(size: usize, huge: bool) -> Receiver<Option<MmapMut>> {
    const PAGE: usize = 4096;
    let (sender, receiver) = sync_channel(1);
    let work = move || {
        let memory = MmapMut::map_anon(size).ok().map(|mut memory| {
            huge_pages::ask(&memory, huge);
            memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
            memory
        });
        // Nobody waits where the pass has gone meanwhile.
        let _ = sender.send(memory);
    };
    let thread = std::thread::Builder::new().name("sterna-pages".into());
    // Its sender is gone then, which the receiver says.
    let _ = thread.spawn(work);
    receiver
}

fn key(bytes: &[u8]) -> Key {
    (bytes.as_ptr().addr(), bytes.len())
}

#[cfg(test)]
mod tests {
    use sterna_kernels::{DenseType, GroupCodes, GroupShape, Isa, unpack_trits5};

    use super::*;

    const ROWS: usize = 4096;
    const COLS: usize = 16384;
    /// Of a matrix of that shape.
    const BYTES: usize = ROWS * COLS / 4;

    /// Many of them wait for memory.
    const MOST_PASSES: usize = 1_000_000;

    /// So many matrices' bytes, no two alike.
    fn weights(n: usize) -> Vec<Vec<u8>> {
        // Without the code 3.
        let byte = |i: usize| ((i * 31 % 251) as u8) & 0xaa;
        let matrix = |m: usize| (0..BYTES).map(|i| byte(i + m)).collect();
        (0..n).map(matrix).collect()
    }

    fn matrix(packed: &[u8]) -> Ternary<'_> {
        Ternary::new(ROWS, COLS, packed, 0.5).unwrap()
    }

    /// A head of one row, less than a matrix.
    const HEAD: usize = 4096;

    /// The layers of one pass: what `begin` said, and where each matrix was read.
    fn read(copies: &mut BorrowedCopies, weights: &[Vec<u8>]) -> (Option<u64>, Vec<*const u8>) {
        // Less than any model of that size takes.
        std::thread::sleep(std::time::Duration::from_micros(200));
        let finished = copies.begin();
        let places = weights.iter().map(|packed| {
            let [MatrixView::Ternary(w)] = copies.matrices([matrix(packed).into()]) else {
                panic!("another kind")
            };
            assert_eq!(w.scale(), 0.5);
            w.packed().as_ptr()
        });
        (finished, places.collect())
    }

    /// The number of matrices read from copies, all of which are right. Looked at when the pass is
    /// over, whose share of copying follows from its time.
    fn copied(copies: &BorrowedCopies, weights: &[Vec<u8>], places: &[*const u8]) -> usize {
        let mut copied = 0;
        for (packed, place) in weights.iter().zip(places) {
            if *place == packed.as_ptr() {
                continue;
            }
            let (bytes, layout) = copies.get(packed).expect("it was read");
            assert_eq!(bytes.as_ptr(), *place);
            match layout {
                None => assert!(bytes == packed),
                Some(layout) => {
                    let w = Ternary::with_layout(layout, ROWS, COLS, bytes, 0.5).unwrap();
                    assert!(unpack_trits5(Isa::detect(), w) == *packed);
                }
            }
            copied += 1;
        }
        copied
    }

    /// A part of a prompt: the layers alone.
    fn layers(copies: &mut BorrowedCopies, weights: &[Vec<u8>]) -> (Option<u64>, usize) {
        let (finished, places) = read(copies, weights);
        (finished, copied(copies, weights, &places))
    }

    /// One pass over all weights; of a head there is as much as the first matrix has bytes for.
    fn pass(copies: &mut BorrowedCopies, weights: &[Vec<u8>]) -> (Option<u64>, usize) {
        let (finished, places) = read(copies, weights);
        let bytes = &weights[0][..HEAD];
        let head = Dense::new(DenseType::F32, 1, HEAD / 4, bytes).unwrap();
        let TableView::Dense(head) = copies.head(head.into()) else {
            panic!("another kind")
        };
        assert!(head.bytes() == bytes);
        let head_is_copied = head.bytes().as_ptr() != bytes.as_ptr();
        let copied = copied(copies, weights, &places);
        (finished, copied + usize::from(head_is_copied))
    }

    fn how(huge_pages: bool, trits5: bool, budget: u64) -> Settling {
        Settling {
            huge_pages,
            trits5,
            isa: Isa::detect(),
            budget,
        }
    }

    #[test]
    fn a_large_model_is_copied_a_little_with_each_pass() {
        if !huge_pages::wanted() {
            println!("left out: 2 MiB pages are switched off on this machine");
            return;
        }
        let weights = weights(5);
        let total = (5 * BYTES + HEAD) as u64;
        let mut copies = BorrowedCopies::new(how(true, false, total));
        assert_eq!(pass(&mut copies, &weights), (None, 0), "it only counts");
        let mut before = 0;
        let finished = (0..MOST_PASSES).find_map(|_| {
            let (finished, copied) = pass(&mut copies, &weights);
            // A small head comes with the matrix before it.
            assert!((before..=before + 2).contains(&copied), "few at a time");
            before = copied;
            finished
        });
        assert_eq!((finished, before), (Some(total), 6));
        assert_eq!(pass(&mut copies, &weights), (None, 6));
    }

    #[test]
    fn tiles_are_copied_as_they_are() {
        if !huge_pages::wanted() {
            println!("left out: 2 MiB pages are switched off on this machine");
            return;
        }
        let shape = GroupShape::new(4096, 8192, 128, GroupCodes::Ternary).unwrap();
        let byte = |i: usize| (i * 31 % 251) as u8;
        let tiles = |m: usize| (0..shape.packed_bytes()).map(|i| byte(i + m)).collect();
        let weights: Vec<Vec<u8>> = (0..8).map(tiles).collect();
        let view = |m: usize| Grouped::new(shape, &weights[m]).unwrap();
        let total = 8 * shape.packed_bytes() as u64;
        let mut copies = BorrowedCopies::new(how(true, true, total));
        let finished = (0..MOST_PASSES).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_micros(200));
            let finished = copies.begin();
            for m in 0..7 {
                let [MatrixView::Grouped(w)] = copies.matrices([MatrixView::Grouped(view(m))])
                else {
                    panic!("another kind")
                };
                assert_eq!(w.shape(), shape);
            }
            copies.head(TableView::Grouped(view(7)));
            finished
        });
        assert_eq!(finished, Some(total));
        for (m, tiles) in weights.iter().enumerate() {
            let copy = copies.grouped(view(m));
            assert!(copy.bytes() == tiles && copy.bytes().as_ptr() != tiles.as_ptr());
        }
    }

    #[test]
    fn small_models_and_small_budgets_stay_where_they_are() {
        let weights = weights(5);
        for (weights, budget) in [(&weights[..3], u64::MAX), (&weights, 5 * BYTES as u64)] {
            let mut copies = BorrowedCopies::new(how(true, true, budget));
            for _ in 0..4 {
                assert_eq!(pass(&mut copies, weights), (None, 0));
            }
            assert!(copies.chunks.is_empty());
        }
    }

    #[test]
    fn matrices_are_packed_where_that_is_possible() {
        let mut weights = weights(5);
        weights[3][BYTES / 2] |= 3; // has no place in trits5
        let mut copies = BorrowedCopies::new(how(false, true, u64::MAX));
        pass(&mut copies, &weights);
        let mut passes = (0..MOST_PASSES).map(|_| pass(&mut copies, &weights));
        let last = passes.find(|(finished, _)| finished.is_some()).unwrap();
        assert_eq!(last.1, 6);
        let trits5 = TernaryLayout::Trits5.bytes(ROWS, COLS);
        let taken: usize = copies.pieces.values().map(|piece| piece.len).sum();
        assert_eq!(taken, 4 * trits5 + BYTES + HEAD);
    }

    #[test]
    fn parts_of_a_prompt_neither_count_for_all_nor_end_it() {
        let weights = weights(5);
        let mut copies = BorrowedCopies::new(how(false, true, u64::MAX));
        for _ in 0..3 {
            assert_eq!(layers(&mut copies, &weights), (None, 0));
        }
        assert!(
            copies.state == State::Counting(5 * BYTES as u64),
            "{:?}",
            copies.state
        );
        pass(&mut copies, &weights);
        // All layers, and then some passes with nothing left to copy but the head, which they do
        // not read.
        let mut parts = (0..MOST_PASSES).map(|_| layers(&mut copies, &weights));
        assert!(parts.any(|(_, copied)| copied == 5));
        for _ in 0..3 {
            assert_eq!(layers(&mut copies, &weights), (None, 5));
        }
        let mut passes = (0..MOST_PASSES).map(|_| pass(&mut copies, &weights));
        assert!(passes.any(|(finished, copied)| finished.is_some() && copied == 6));
    }
}
