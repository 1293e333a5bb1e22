//! Keys and values of the sequences, in blocks of 64 positions.
//!
//! A sequence has as many blocks as its positions need and gives them back when it ends; nothing
//! is allocated before a position is used. Full blocks can be kept (`keep`) and are then shared: a
//! sequence that begins with the same tokens begins with them (`attach`), whether the one that
//! filled them still runs or not. Those that no sequence uses make room when blocks run out.
//!
//! A block holds all layers, so that growing is one step:
//! `[n_layers, 2 (keys, values), n_kv_heads, BLOCK, head_dim]` numbers of a [`KvType`]. Within a
//! layer and a kv head the positions of a block lie side by side, as attention reads them; of int8
//! their scales follow, `[BLOCK]`.

use sterna_kernels::{Isa, KvRowMut, KvRows, KvType, store_kv_row};

use crate::config::ModelConfig;
use crate::error::EngineError;
use crate::prefix_tree::{BlockId, PrefixTree};

/// Positions of a block.
pub const BLOCK: usize = 64;

/// The shape of a position's keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are ModelConfig's")]
pub struct KvShape {
    pub n_layers: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    /// The type that is cached.
    pub ty: KvType,
}

impl KvShape {
    /// The shape a model asks for, in this type.
    #[must_use]
    pub fn of(config: &ModelConfig, ty: KvType) -> Self {
        KvShape {
            ty,
            n_layers: config.n_layers,
            n_kv_heads: config.n_kv_heads,
            head_dim: config.head_dim,
        }
    }

    /// Words of 32 bits of a block.
    #[must_use]
    pub fn block_words(&self) -> usize {
        self.n_layers * 2 * self.n_kv_heads * self.head_words()
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        (self.block_words() * size_of::<u32>()) as u64
    }

    /// Words of a block's keys, or values, of a layer and kv head.
    fn head_words(&self) -> usize {
        BLOCK * self.ty.row_bytes(self.head_dim) / size_of::<u32>()
    }

    /// The start of the keys of a layer and kv head; the values are half a layer on.
    fn offset(&self, layer: usize, kv_head: usize) -> usize {
        (layer * 2 * self.n_kv_heads + kv_head) * self.head_words()
    }

    /// From a kv head's keys to its values.
    fn to_values(self) -> usize {
        self.n_kv_heads * self.head_words()
    }

    /// The words that the codes of a kv head take.
    fn code_words(self) -> usize {
        BLOCK * self.head_dim / size_of::<u32>()
    }

    /// A block's keys, or values, of a kv head, which begin in `words`.
    fn rows(self, words: &[u32]) -> KvRows<'_> {
        let words = &words[..self.head_words()];
        match self.ty {
            KvType::F32 => KvRows::F32(bytemuck::cast_slice(words)),
            KvType::F16 => KvRows::F16(bytemuck::cast_slice(words)),
            KvType::Int8 => {
                let (codes, scales) = words.split_at(self.code_words());
                KvRows::Int8 {
                    codes: bytemuck::cast_slice(codes),
                    scales: bytemuck::cast_slice(scales),
                }
            }
        }
    }

    /// The place of one position of them.
    fn row_mut(self, words: &mut [u32], position: usize) -> KvRowMut<'_> {
        let words = &mut words[..self.head_words()];
        let at = position * self.head_dim..(position + 1) * self.head_dim;
        match self.ty {
            KvType::F32 => KvRowMut::F32(&mut bytemuck::cast_slice_mut(words)[at]),
            KvType::F16 => KvRowMut::F16(&mut bytemuck::cast_slice_mut(words)[at]),
            KvType::Int8 => {
                let (codes, scales) = words.split_at_mut(self.code_words());
                KvRowMut::Int8 {
                    codes: &mut bytemuck::cast_slice_mut(codes)[at],
                    scale: &mut bytemuck::cast_slice_mut(scales)[position],
                }
            }
        }
    }
}

/// Keys and values as attention reads them, wherever their blocks lie.
pub trait Cached: Sync {
    /// The shape of a position.
    fn shape(&self) -> KvShape;

    /// Positions of a sequence that its blocks have room for; 0 where there is no such sequence.
    fn positions(&self, sequence: usize) -> usize;

    /// One block of a sequence, `shape().block_words()` words.
    fn block(&self, sequence: usize, index: usize) -> &[u32];

    /// The first `n` positions of a sequence, layer and kv head: per block `(keys, values)`, each
    /// `[up to BLOCK, head_dim]`.
    fn read(
        &self,
        sequence: usize,
        layer: usize,
        kv_head: usize,
        n: usize,
    ) -> impl Iterator<Item = (KvRows<'_>, KvRows<'_>)> + Clone {
        let shape = self.shape();
        let keys_at = shape.offset(layer, kv_head);
        let values_at = keys_at + shape.to_values();
        (0..n.div_ceil(BLOCK)).map(move |index| {
            let block = self.block(sequence, index);
            let len = (n - index * BLOCK).min(BLOCK);
            let rows = |at: usize| shape.rows(&block[at..]).first(len, shape.head_dim);
            (rows(keys_at), rows(values_at))
        })
    }
}

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

#[cfg(test)]
mod tests {
    use sterna_kernels::KvBuffer;

    use super::*;

    const SHAPE: KvShape = KvShape {
        n_layers: 2,
        n_kv_heads: 3,
        head_dim: 5,
        ty: KvType::F32,
    };

    fn row(position: usize, layer: usize) -> (Vec<f32>, Vec<f32>) {
        let value = |i: usize| (position * 1000 + layer * 100 + i) as f32;
        (
            (0..15).map(value).collect(),
            (0..15).map(|i| -value(i)).collect(),
        )
    }

    #[test]
    fn reads_back_what_was_written_across_blocks() {
        for ty in KvType::ALL {
            reads_back(KvShape { ty, ..SHAPE });
        }
    }

    fn reads_back(shape: KvShape) {
        let mut kv = KvCache::new(shape, 2);
        for position in 0..150 {
            kv.reserve(1, position + 1).unwrap();
            for layer in 0..2 {
                let (keys, values) = row(position, layer);
                kv.write(Isa::SCALAR, 1, layer, position, &keys, &values);
            }
        }
        for layer in 0..2 {
            for kv_head in 0..3 {
                let rows = |which: fn((KvRows<'_>, KvRows<'_>)) -> Vec<f32>| -> Vec<f32> {
                    kv.read(1, layer, kv_head, 131).flat_map(which).collect()
                };
                let keys = rows(|(keys, _)| keys.to_f32(5));
                let values = rows(|(_, values)| values.to_f32(5));
                assert_eq!(keys.len(), 131 * 5);
                for position in 0..131 {
                    let (want_keys, want_values) = row(position, layer);
                    for (is, want) in [(&keys, want_keys), (&values, want_values)] {
                        let (is, want) = (&is[position * 5..][..5], &want[kv_head * 5..][..5]);
                        let stored = KvBuffer::store(Isa::SCALAR, shape.ty, want, 5).to_f32();
                        assert_eq!(is, stored, "{shape:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn int8_and_f16_take_a_quarter_and_a_half() {
        // BitNet b1.58 2B-4T.
        let mib = |ty| {
            let shape = KvShape {
                n_layers: 30,
                n_kv_heads: 5,
                head_dim: 128,
                ty,
            };
            shape.block_bytes() as f64 * 64.0 / f64::from(1 << 20)
        };
        assert_eq!(KvType::ALL.map(mib), [600.0, 300.0, 152.34375]);
    }

    #[test]
    fn blocks_come_with_use_and_are_recycled() {
        let mut kv = KvCache::new(SHAPE, 2);
        assert_eq!(kv.allocated_bytes(), 0);
        kv.reserve(0, 1).unwrap();
        kv.reserve(0, 64).unwrap();
        assert_eq!(kv.used_bytes(), SHAPE.block_bytes());
        kv.reserve(0, 65).unwrap();
        kv.reserve(1, 64).unwrap();
        assert_eq!(kv.used_bytes(), 3 * SHAPE.block_bytes());
        kv.free(0);
        assert_eq!(kv.used_bytes(), SHAPE.block_bytes());
        kv.reserve(1, 192).unwrap();
        assert_eq!(kv.allocated_bytes(), 3 * SHAPE.block_bytes());
        kv.free(1);
        assert_eq!(
            (kv.used_bytes(), kv.allocated_bytes()),
            (0, 3 * SHAPE.block_bytes())
        );
    }

    /// Fill `sequence` with `tokens` and keep its full blocks.
    fn fill(kv: &mut KvCache, sequence: usize, salt: &[u32], tokens: &[u32]) {
        let from = kv.attach(sequence, salt, tokens);
        kv.reserve(sequence, tokens.len()).unwrap();
        for (position, &token) in tokens.iter().enumerate().skip(from) {
            let (keys, values) = row(position * 7 + token as usize, 1);
            kv.write(Isa::SCALAR, sequence, 1, position, &keys, &values);
        }
        kv.keep(sequence, salt, tokens);
    }

    fn contents(kv: &KvCache, sequence: usize) -> Vec<Vec<u32>> {
        kv.blocks(sequence).map(<[u32]>::to_vec).collect()
    }

    #[test]
    fn what_is_kept_is_shared_by_those_that_begin_alike() {
        let mut kv = KvCache::new(SHAPE, 3);
        let tokens: Vec<u32> = (0..150).collect();
        fill(&mut kv, 0, &[], &tokens);
        let filled = contents(&kv, 0);
        // Beside it, and after its end.
        for _ in 0..2 {
            assert_eq!(kv.attach(1, &[], &tokens[..127]), 64);
            assert_eq!(kv.attach(1, &[], &tokens), 128);
            assert_eq!(contents(&kv, 1), filled[..2]);
            assert!(kv.shares(1, 1, 128) && !kv.shares(1, 2, 64));
            kv.free(1);
            kv.free(0);
        }
        assert_eq!(
            (kv.used_bytes(), kv.idle_bytes()),
            (0, 2 * SHAPE.block_bytes())
        );
        // Another token, or another salt.
        let other: Vec<u32> = tokens.iter().map(|&token| token ^ (token / 63)).collect();
        assert_eq!(kv.attach(1, &[], &other), 0);
        assert_eq!(kv.attach(1, &[7], &tokens), 0);
        assert_eq!(kv.attach(1, &[], &[]), 0);
    }

    #[test]
    fn two_that_fill_the_same_block_end_up_with_one() {
        let mut kv = KvCache::new(SHAPE, 2);
        let tokens: Vec<u32> = (0..70).collect();
        // Both begin before either is done.
        for sequence in [0, 1] {
            kv.reserve(sequence, 70).unwrap();
            for position in 0..70 {
                let (keys, values) = row(position, 0);
                kv.write(Isa::SCALAR, sequence, 0, position, &keys, &values);
            }
        }
        assert_eq!(kv.used_bytes(), 4 * SHAPE.block_bytes());
        kv.keep(0, &[], &tokens);
        kv.keep(1, &[], &tokens);
        assert_eq!(kv.used_bytes(), 3 * SHAPE.block_bytes());
        assert!(kv.shares(0, 1, 64));
        assert_eq!(contents(&kv, 0)[0], contents(&kv, 1)[0]);
        kv.free(0);
        kv.free(1);
        assert_eq!(kv.idle_bytes(), SHAPE.block_bytes());
    }

    #[test]
    fn kept_blocks_make_room_and_used_ones_do_not() {
        let mut kv = KvCache::new(SHAPE, 2).with_limit(4);
        let tokens: Vec<u32> = (0..128).collect();
        fill(&mut kv, 0, &[], &tokens);
        kv.free(0);
        fill(&mut kv, 0, &[1], &tokens[..64]);
        assert_eq!(
            (kv.n_available(), kv.idle_bytes()),
            (3, 2 * SHAPE.block_bytes())
        );
        kv.reserve(1, 192).unwrap();
        assert_eq!((kv.n_available(), kv.idle_bytes()), (0, 0));
        assert!(kv.reserve(1, 193).is_err());
        kv.free(0);
        kv.reserve(1, 193).unwrap();
        assert_eq!(kv.allocated_bytes(), 4 * SHAPE.block_bytes());
        kv.free(1);
        assert_eq!((kv.n_available(), kv.attach(0, &[], &tokens)), (4, 0));
    }

    #[test]
    fn where_memory_is_short_kept_blocks_leave_some() {
        let mut kv = KvCache::new(SHAPE, 2);
        let tokens: Vec<u32> = (0..1024).collect();
        fill(&mut kv, 0, &[], &tokens);
        // As if there had been no memory for a seventeenth.
        kv.short_at = 16;
        assert_eq!((kv.n_allocated(), kv.n_available()), (16, 0));
        kv.free(0);
        assert_eq!((kv.n_allocated(), kv.n_available()), (14, 16));
        assert_eq!(kv.allocated_bytes(), 14 * SHAPE.block_bytes());
        assert_eq!(kv.attach(0, &[], &tokens), 14 * BLOCK);
        // All of it is there for those that run.
        kv.reserve(0, 1024).unwrap();
        assert_eq!(
            (kv.n_allocated(), kv.used_bytes()),
            (16, 16 * SHAPE.block_bytes())
        );
    }
}
