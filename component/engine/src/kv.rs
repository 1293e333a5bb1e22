//! Keys and values of the running sequences, in blocks of 64 positions.
//!
//! A sequence owns as many blocks as its positions need and gives them back when it ends; nothing
//! is allocated before a position is used. A block holds all layers, so that growing is one step:
//! `[n_layers, 2 (keys, values), n_kv_heads, BLOCK, head_dim]` f32. Within a layer and a kv head
//! the positions of a block lie side by side, as attention reads them.

use crate::config::ModelConfig;
use crate::error::EngineError;

/// Positions of a block.
pub const BLOCK: usize = 64;

/// The shape of a position's keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are ModelConfig's")]
pub struct KvShape {
    pub n_layers: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
}

impl KvShape {
    /// The shape a model asks for.
    #[must_use]
    pub fn of(config: &ModelConfig) -> Self {
        KvShape {
            n_layers: config.n_layers,
            n_kv_heads: config.n_kv_heads,
            head_dim: config.head_dim,
        }
    }

    /// Numbers of a block.
    #[must_use]
    pub fn block_len(&self) -> usize {
        self.n_layers * 2 * self.n_kv_heads * BLOCK * self.head_dim
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        (self.block_len() * size_of::<f32>()) as u64
    }

    /// The start of `[BLOCK, head_dim]` of a layer and kv head; keys, then values half a layer on.
    fn offset(&self, layer: usize, kv_head: usize) -> usize {
        (layer * 2 * self.n_kv_heads + kv_head) * BLOCK * self.head_dim
    }

    /// From a kv head's keys to its values.
    fn to_values(self) -> usize {
        self.n_kv_heads * BLOCK * self.head_dim
    }
}

/// Keys and values as attention reads them, wherever their blocks lie.
pub trait Cached: Sync {
    /// The shape of a position.
    fn shape(&self) -> KvShape;

    /// Positions of a sequence that its blocks have room for; 0 where there is no such sequence.
    fn positions(&self, sequence: usize) -> usize;

    /// One block of a sequence, `shape().block_len()` numbers.
    fn block(&self, sequence: usize, index: usize) -> &[f32];

    /// The first `n` positions of a sequence, layer and kv head: per block `(keys, values)`, each
    /// `[up to BLOCK, head_dim]`.
    fn read(
        &self,
        sequence: usize,
        layer: usize,
        kv_head: usize,
        n: usize,
    ) -> impl Iterator<Item = (&[f32], &[f32])> + Clone {
        let shape = self.shape();
        let keys_at = shape.offset(layer, kv_head);
        let values_at = keys_at + shape.to_values();
        (0..n.div_ceil(BLOCK)).map(move |index| {
            let block = self.block(sequence, index);
            let len = (n - index * BLOCK).min(BLOCK) * shape.head_dim;
            (
                &block[keys_at..keys_at + len],
                &block[values_at..values_at + len],
            )
        })
    }
}

type Block = Box<[f32]>;

/// The blocks of every sequence, and those waiting for the next sequence.
pub struct KvCache {
    shape: KvShape,
    sequences: Vec<Vec<Block>>,
    free: Vec<Block>,
}

impl KvCache {
    /// An empty cache for `n_sequences` sequences.
    #[must_use]
    pub fn new(shape: KvShape, n_sequences: usize) -> Self {
        KvCache {
            shape,
            sequences: (0..n_sequences).map(|_| Vec::new()).collect(),
            free: Vec::new(),
        }
    }

    /// Sequences there is a place for, used or not.
    #[must_use]
    pub fn n_sequences(&self) -> usize {
        self.sequences.len()
    }

    /// Give `sequence` blocks for `positions` positions in all. What it has stays.
    ///
    /// # Errors
    /// `Unavailable` where the system, or the sandbox, gives no memory.
    pub fn reserve(&mut self, sequence: usize, positions: usize) -> Result<(), EngineError> {
        let shape = self.shape;
        let blocks = &mut self.sequences[sequence];
        while blocks.len() * BLOCK < positions {
            // A recycled block keeps its old contents: attention reads no position before it is
            // written.
            let block = self.free.pop().map_or_else(|| fresh_block(shape), Ok)?;
            blocks.push(block);
        }
        Ok(())
    }

    /// Take back all blocks of `sequence`.
    pub fn free(&mut self, sequence: usize) {
        self.free.append(&mut self.sequences[sequence]);
    }

    /// Store a position's keys and values, each `[n_kv_heads, head_dim]`. The position must be
    /// reserved.
    pub fn write(
        &mut self,
        sequence: usize,
        layer: usize,
        position: usize,
        keys: &[f32],
        values: &[f32],
    ) {
        let KvShape { head_dim, .. } = self.shape;
        let block = &mut self.sequences[sequence][position / BLOCK];
        let heads = keys
            .chunks_exact(head_dim)
            .zip(values.chunks_exact(head_dim));
        for (kv_head, (key, value)) in heads.enumerate() {
            let at = self.shape.offset(layer, kv_head) + position % BLOCK * head_dim;
            block[at..at + head_dim].copy_from_slice(key);
            let at = at + self.shape.to_values();
            block[at..at + head_dim].copy_from_slice(value);
        }
    }

    /// The blocks of a sequence, first to last.
    pub fn blocks(&self, sequence: usize) -> impl Iterator<Item = &[f32]> {
        self.sequences[sequence].iter().map(|block| &**block)
    }

    /// Bytes of the blocks that sequences hold.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.sequences.iter().map(Vec::len).sum::<usize>() as u64 * self.shape.block_bytes()
    }

    /// Bytes of all blocks, the free ones included.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.used_bytes() + self.free.len() as u64 * self.shape.block_bytes()
    }
}

fn fresh_block(shape: KvShape) -> Result<Block, EngineError> {
    let mut block = Vec::new();
    block.try_reserve_exact(shape.block_len()).map_err(|_| {
        let bytes = shape.block_bytes();
        EngineError::Unavailable(format!(
            "no memory for {BLOCK} more positions of a sequence ({bytes} bytes)"
        ))
    })?;
    block.resize(shape.block_len(), 0.0);
    Ok(block.into_boxed_slice())
}

impl Cached for KvCache {
    fn shape(&self) -> KvShape {
        self.shape
    }

    fn positions(&self, sequence: usize) -> usize {
        self.sequences
            .get(sequence)
            .map_or(0, |blocks| blocks.len() * BLOCK)
    }

    fn block(&self, sequence: usize, index: usize) -> &[f32] {
        &self.sequences[sequence][index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: KvShape = KvShape {
        n_layers: 2,
        n_kv_heads: 3,
        head_dim: 5,
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
        let mut kv = KvCache::new(SHAPE, 2);
        for position in 0..150 {
            kv.reserve(1, position + 1).unwrap();
            for layer in 0..2 {
                let (keys, values) = row(position, layer);
                kv.write(1, layer, position, &keys, &values);
            }
        }
        for layer in 0..2 {
            for kv_head in 0..3 {
                let keys: Vec<f32> = kv
                    .read(1, layer, kv_head, 131)
                    .flat_map(|(k, _)| k.to_vec())
                    .collect();
                let values: Vec<f32> = kv
                    .read(1, layer, kv_head, 131)
                    .flat_map(|(_, v)| v.to_vec())
                    .collect();
                assert_eq!(keys.len(), 131 * 5);
                for position in 0..131 {
                    let (want_keys, want_values) = row(position, layer);
                    assert_eq!(keys[position * 5..][..5], want_keys[kv_head * 5..][..5]);
                    assert_eq!(values[position * 5..][..5], want_values[kv_head * 5..][..5]);
                }
            }
        }
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
}
