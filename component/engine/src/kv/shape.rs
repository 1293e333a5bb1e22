//! The shape of keys and values, and of a block of them in memory.

use sterna_kernels::{KvRowMut, KvRows, KvType};

use crate::config::ModelConfig;

/// Positions of a block.
pub const BLOCK: usize = 64;
const _: () = assert!(BLOCK.is_multiple_of(KvType::RUN));

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
    pub(super) fn head_words(&self) -> usize {
        BLOCK * self.ty.row_bytes(self.head_dim) / size_of::<u32>()
    }

    /// The start of the keys of a layer and kv head; the values are half a layer on.
    pub(super) fn offset(&self, layer: usize, kv_head: usize) -> usize {
        (layer * 2 * self.n_kv_heads + kv_head) * self.head_words()
    }

    /// From a kv head's keys to its values.
    pub(super) fn to_values(self) -> usize {
        self.n_kv_heads * self.head_words()
    }

    /// The words that the codes of a kv head take.
    pub(super) fn code_words(self) -> usize {
        BLOCK * self.head_dim / size_of::<u32>()
    }

    /// A block's keys, or values, of a kv head, which begin in `words`.
    pub(super) fn rows(self, words: &[u32]) -> KvRows<'_> {
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
    pub(super) fn row_mut(self, words: &mut [u32], position: usize) -> KvRowMut<'_> {
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
