//! Keys and values of the sequences, in blocks of 64 positions.
//!
//! A sequence has as many blocks as its positions need and gives them back when it ends; nothing
//! is allocated before a position is used. Full blocks can be kept (`keep`) and are then shared: a
//! sequence that begins with the same tokens begins with them (`attach`), whether the one that
//! filled them still runs or not. Those that no sequence uses make room when blocks run out.
//!
//! A block holds all layers, so that growing is one step:
//! `[n_layers, 2 (keys, values), n_kv_heads, BLOCK, head_dim]` numbers of a
//! [`KvType`](sterna_kernels::KvType). Within a layer and a kv head the positions of a block lie
//! side by side, as attention reads them; of int8 their scales follow, `[BLOCK]`.

mod prefix_tree;
mod shape;
#[cfg(test)]
mod tests;

use sterna_kernels::{Isa, store_kv_row};

use crate::error::EngineError;
use prefix_tree::{BlockId, PrefixTree};
pub use shape::{BLOCK, Cached, KvShape};

/// Words, whatever the numbers are stored as: lists of integers cross to a host.
type Block = Box<[u32]>;

/// The blocks of a sequence, first to last.
#[derive(Default)]
struct Sequence {
    blocks: Vec<BlockId>,
    /// The first so many of them are in the tree: others may read them, and nobody writes.
    kept: usize,
}

/// The blocks of every sequence, those kept for sequences to come, and those of no use.
pub struct KvCache {
    shape: KvShape,
    /// All that were allocated.
    blocks: Vec<Block>,
    /// Of no use: nothing that was written there is read again.
    free: Vec<BlockId>,
    sequences: Vec<Sequence>,
    tree: PrefixTree,
    /// Places in `blocks` whose memory was given back.
    vacant: Vec<BlockId>,
    max_blocks: usize,
    /// Blocks there were when the system gave no memory for one more.
    short_at: usize,
}

impl KvCache {
    /// An empty cache for `n_sequences` sequences, without a limit.
    #[must_use]
    pub fn new(shape: KvShape, n_sequences: usize) -> Self {
        KvCache {
            shape,
            blocks: Vec::new(),
            free: Vec::new(),
            sequences: (0..n_sequences).map(|_| Sequence::default()).collect(),
            tree: PrefixTree::default(),
            vacant: Vec::new(),
            max_blocks: usize::MAX,
            short_at: usize::MAX,
        }
    }

    /// The same with at most so many blocks, kept ones included.
    #[must_use]
    pub fn with_limit(self, max_blocks: usize) -> Self {
        KvCache { max_blocks, ..self }
    }

    /// Sequences there is a place for, used or not.
    #[must_use]
    pub fn n_sequences(&self) -> usize {
        self.sequences.len()
    }

    /// Give `sequence` blocks for `positions` positions in all. What it has stays. Where there is
    /// no further block to be had, those kept for nobody make room.
    ///
    /// # Errors
    /// `Unavailable` where all blocks there may be are in use, or the system, or the sandbox, gives
    /// no memory.
    pub fn reserve(&mut self, sequence: usize, positions: usize) -> Result<(), EngineError> {
        while self.sequences[sequence].blocks.len() * BLOCK < positions {
            // A recycled block keeps its old contents: attention reads no position before it is
            // written.
            let block = match self.free.pop() {
                Some(block) => block,
                None => self.another_block()?,
            };
            self.sequences[sequence].blocks.push(block);
        }
        Ok(())
    }

    fn another_block(&mut self) -> Result<BlockId, EngineError> {
        let allocated = self.n_allocated();
        let fresh = if allocated < self.max_blocks {
            fresh_block(self.shape).inspect_err(|_| self.short_at = allocated)
        } else {
            Err(EngineError::Unavailable(format!(
                "all {} blocks of keys and values are in use",
                self.max_blocks
            )))
        };
        match fresh {
            Ok(block) => {
                let place = self.vacant.pop().unwrap_or(self.blocks.len());
                if place == self.blocks.len() {
                    self.blocks.push(block);
                } else {
                    self.blocks[place] = block;
                }
                Ok(place)
            }
            Err(error) => self.tree.evict().ok_or(error),
        }
    }

    /// Take back all blocks of `sequence`; those that it kept stay for others.
    pub fn free(&mut self, sequence: usize) {
        let Sequence { mut blocks, kept } = std::mem::take(&mut self.sequences[sequence]);
        self.free.extend(blocks.drain(kept..));
        self.tree.release(&blocks);
        self.leave_memory();
    }

    /// Where the system has no more memory, an eighth of what the blocks had is not for kept ones:
    /// whatever else needs memory cannot make them go.
    fn leave_memory(&mut self) {
        while self.n_allocated() > self.short_at - self.short_at.div_ceil(8) {
            let Some(block) = self.free.pop().or_else(|| self.tree.evict()) else {
                return;
            };
            self.blocks[block] = Block::default();
            self.vacant.push(block);
        }
    }

    /// Blocks that have memory.
    fn n_allocated(&self) -> usize {
        self.blocks.len() - self.vacant.len()
    }

    /// Give `sequence`, all of whose blocks are kept ones, the kept blocks that go on with
    /// `tokens`, which are those of the sequence from its first on. Returns the positions it has
    /// with them.
    ///
    /// Sequences share blocks only where their `salt` is the same, which the first block's tokens
    /// are put together with.
    pub fn attach(&mut self, sequence: usize, salt: &[u32], tokens: &[u32]) -> usize {
        let Sequence { blocks, kept } = &mut self.sequences[sequence];
        let (full, _) = tokens.as_chunks::<BLOCK>();
        for tokens in full.iter().skip(blocks.len()) {
            let parent = blocks.last().copied();
            let Some(block) = self.tree.child(parent, &key(parent, salt, tokens)) else {
                break;
            };
            self.tree.take(block);
            blocks.push(block);
            *kept += 1;
        }
        *kept * BLOCK
    }

    /// Keep the full blocks of `sequence`, whose `tokens` are written from its first position on
    /// and stay as they are. One that another sequence has kept already is given back for that
    /// one's, which is the same to the bit.
    pub fn keep(&mut self, sequence: usize, salt: &[u32], tokens: &[u32]) {
        let Sequence { blocks, kept } = &mut self.sequences[sequence];
        let (full, _) = tokens.as_chunks::<BLOCK>();
        for (index, tokens) in full.iter().enumerate().skip(*kept) {
            let parent = index.checked_sub(1).map(|before| blocks[before]);
            let key = key(parent, salt, tokens);
            if let Some(other) = self.tree.child(parent, &key) {
                self.tree.take(other);
                self.free.push(std::mem::replace(&mut blocks[index], other));
            } else {
                self.tree.insert(parent, key, blocks[index]);
            }
            *kept = index + 1;
        }
    }

    /// The first so many positions of two sequences are in the same blocks; whole blocks of kept
    /// ones only.
    #[must_use]
    pub fn shares(&self, one: usize, other: usize, positions: usize) -> bool {
        let Some(last) = (positions / BLOCK).checked_sub(1) else {
            return true;
        };
        let block = |sequence: usize| {
            let Sequence { blocks, kept } = &self.sequences[sequence];
            blocks[..*kept].get(last)
        };
        // A kept block has one path to it.
        block(one).is_some_and(|id| block(other) == Some(id))
    }

    /// Store a position's keys and values, each `[n_kv_heads, head_dim]`. The position must be
    /// reserved, and not kept.
    pub fn write(
        &mut self,
        isa: Isa,
        sequence: usize,
        layer: usize,
        position: usize,
        keys: &[f32],
        values: &[f32],
    ) {
        let KvShape { head_dim, .. } = self.shape;
        let Sequence { blocks, kept } = &self.sequences[sequence];
        debug_assert!(position / BLOCK >= *kept, "{position} is kept for others");
        let block = &mut self.blocks[blocks[position / BLOCK]];
        let heads = keys
            .chunks_exact(head_dim)
            .zip(values.chunks_exact(head_dim));
        for (kv_head, (key, value)) in heads.enumerate() {
            let at = self.shape.offset(layer, kv_head);
            for (at, row) in [(at, key), (at + self.shape.to_values(), value)] {
                let out = self.shape.row_mut(&mut block[at..], position % BLOCK);
                store_kv_row(isa, row, out);
            }
        }
    }

    /// True if a position of `sequence` lies in a block that others may read.
    #[must_use]
    pub fn is_kept(&self, sequence: usize, position: usize) -> bool {
        position / BLOCK < self.sequences[sequence].kept
    }

    /// The blocks of a sequence, first to last.
    pub fn blocks(&self, sequence: usize) -> impl Iterator<Item = &[u32]> {
        let blocks = self.sequences[sequence].blocks.iter();
        blocks.map(|&block| &*self.blocks[block])
    }

    /// Blocks of `sequence` that it has.
    #[must_use]
    pub fn n_blocks(&self, sequence: usize) -> usize {
        self.sequences[sequence].blocks.len()
    }

    /// Blocks that sequences can get: free ones, kept ones that none uses, and those yet to be
    /// allocated.
    #[must_use]
    pub fn n_available(&self) -> usize {
        let fresh = self.max_blocks.min(self.short_at);
        let fresh = fresh.saturating_sub(self.n_allocated());
        fresh.saturating_add(self.free.len() + self.tree.n_idle())
    }

    /// A number that changes whenever something else can be attached than before.
    #[must_use]
    pub fn tree_changes(&self) -> u64 {
        self.tree.changes()
    }

    /// Bytes of the blocks that sequences use, shared ones once.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let unused = self.free.len() + self.tree.n_idle();
        (self.n_allocated() - unused) as u64 * self.shape.block_bytes()
    }

    /// Bytes of the blocks that are kept and that no sequence uses.
    #[must_use]
    pub fn idle_bytes(&self) -> u64 {
        self.tree.n_idle() as u64 * self.shape.block_bytes()
    }

    /// Bytes of all blocks, the free ones included.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.n_allocated() as u64 * self.shape.block_bytes()
    }
}

/// What a block is found by among those that follow `parent`.
fn key(parent: Option<BlockId>, salt: &[u32], tokens: &[u32]) -> Vec<u32> {
    let salt = if parent.is_none() { salt } else { &[] };
    [tokens, salt].concat()
}

fn fresh_block(shape: KvShape) -> Result<Block, EngineError> {
    let mut block = Vec::new();
    block.try_reserve_exact(shape.block_words()).map_err(|_| {
        let bytes = shape.block_bytes();
        EngineError::Unavailable(format!(
            "no memory for {BLOCK} more positions of a sequence ({bytes} bytes)"
        ))
    })?;
    block.resize(shape.block_words(), 0);
    Ok(block.into_boxed_slice())
}

impl Cached for KvCache {
    fn shape(&self) -> KvShape {
        self.shape
    }

    fn positions(&self, sequence: usize) -> usize {
        self.sequences
            .get(sequence)
            .map_or(0, |sequence| sequence.blocks.len() * BLOCK)
    }

    fn block(&self, sequence: usize, index: usize) -> &[u32] {
        &self.blocks[self.sequences[sequence].blocks[index]]
    }
}
