//! Codes of two group-scaled tiles, unpacked for many tokens: four neighbouring columns of sixteen
//! rows in each line, as they lie packed. That is the B operand of `tdpbssd`, and what `vpdpbusd`
//! takes with four activations repeated in all lanes.
//!
//! ```text
//! line i of a tile:   row 0: code[4 i ..][..4]   row 1: the same   ...   row 15
//! ```

use std::ops::Range;

use crate::grouped::{BLOCK, LINE_BYTES, SCALE_BYTES, TILE_ROWS, UNIT};
use crate::simd::{LANES, Simd};
use crate::{GroupCodes, Grouped, OutputRows};

/// Tiles whose codes are unpacked together.
pub(crate) const TILES: usize = 2;
/// Most columns of a chunk, whole groups of any size. Codes of two tiles are 16 KB, which stay in
/// L1 while all tokens pass.
const CHUNK: usize = 512;
/// Tokens whose sums are kept while a chunk of codes is unpacked: 64 KB.
pub(crate) const TOKENS: usize = 512;

/// Four columns of 16 rows: codes 0 to 3, or less 1 the weights -1 to +2.
pub(crate) type Line = [i8; LINE_BYTES];
/// One token's sums of two tiles' rows, on cache lines of their own.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Sums(pub(crate) [[f32; LANES]; TILES]);

impl Sums {
    const ZERO: Self = Self([[0.0; LANES]; TILES]);
}

/// The work around the products.
pub(crate) trait GroupVectors: Simd {
    /// The codes of 64 columns, each less `LESS`. Binary ones are 0 and 2.
    fn unpack<const LESS: i8>(self, codes: GroupCodes, unit: &[u8], lines: &mut [Line; UNIT / 4]);
    /// Sixteen i32 below 2^24 as f32, exact.
    fn load_ints(self, x: &[i32; LANES]) -> Self::F;
}

/// Some groups of a pair of tiles, unpacked.
#[repr(C, align(64))]
pub(crate) struct Chunk<'a> {
    lines: [[Line; CHUNK / 4]; TILES],
    w: Grouped<'a>,
    tiles: [usize; TILES],
    groups: Range<usize>,
}

impl<'a> Chunk<'a> {
    /// The groups' numbers.
    #[inline(always)]
    pub(crate) fn groups(&self) -> Range<usize> {
        self.groups.clone()
    }

    /// Blocks of a group.
    #[inline(always)]
    pub(crate) fn group_blocks(&self) -> usize {
        self.w.shape().group() / BLOCK
    }

    /// Block `b` of the chunk in tile `tile` of the two.
    #[inline(always)]
    pub(crate) fn block(&self, tile: usize, b: usize) -> &[Line; BLOCK / 4] {
        &self.lines[tile].as_chunks().0[b]
    }

    /// The scales of group `group` of the matrix in tile `tile` of the two.
    #[inline(always)]
    pub(crate) fn scales<V: GroupVectors>(&self, vectors: V, tile: usize, group: usize) -> V::F {
        let shape = self.w.shape();
        let at = group * shape.group_bytes() + shape.code_bytes();
        let scales = self.w.tile(self.tiles[tile])[at..].first_chunk::<SCALE_BYTES>();
        vectors.load_f16(scales.expect("a group's scales"))
    }

    /// Takes in the groups `groups` of the tiles `tiles`, and asks for those that follow: products
    /// leave the memory idle for thousands of cycles.
    #[inline(always)]
    fn fill<V: GroupVectors, const LESS: i8>(
        &mut self,
        vectors: V,
        tiles: [usize; TILES],
        groups: Range<usize>,
    ) {
        let shape = self.w.shape();
        let (codes, bytes) = (shape.codes(), shape.group_bytes());
        for (tile, lines) in tiles.into_iter().zip(&mut self.lines) {
            let whole = self.w.tile(tile);
            let part = &whole[groups.start * bytes..groups.end * bytes];
            let lines = lines.as_chunks_mut::<{ UNIT / 4 }>().0;
            let to = lines.chunks_exact_mut(shape.group() / UNIT);
            for (group, lines) in part.chunks_exact(bytes).zip(to) {
                let units = group.chunks_exact(codes.unit_bytes());
                for (unit, lines) in units.zip(lines) {
                    vectors.unpack::<LESS>(codes, unit, lines);
                }
            }
            let next = match tile + TILES {
                _ if groups.end < shape.groups() => &whole[groups.end * bytes..],
                next if next < shape.tiles() => self.w.tile(next),
                _ => &[],
            };
            for line in next.chunks(LINE_BYTES).take(part.len() / LINE_BYTES) {
                vectors.ask(&line[0]);
            }
        }
        (self.tiles, self.groups) = (tiles, groups);
    }
}

/// Walks over the rows of `out` in pairs of tiles, over `n_tokens` tokens and over columns by
/// chunks, whose codes are unpacked less `LESS`. `add` adds to the sums of some tokens, the first
/// of which is given, those of a chunk's groups, in their order.
#[inline(always)]
pub(crate) fn walk<V: GroupVectors, const LESS: i8>(
    vectors: V,
    w: Grouped<'_>,
    n_tokens: usize,
    out: &mut OutputRows<'_>,
    mut add: impl FnMut(&Chunk<'_>, usize, &mut [Sums]),
) {
    let range = out.range();
    let (groups, step) = (w.shape().groups(), CHUNK / w.shape().group());
    let row_tiles = range.start / TILE_ROWS..range.end.div_ceil(TILE_ROWS);
    let mut chunk = Chunk {
        lines: [[[0; LINE_BYTES]; CHUNK / 4]; TILES],
        w,
        tiles: [0; TILES],
        groups: 0..0,
    };
    let mut sums = [Sums::ZERO; TOKENS];
    for tile in row_tiles.clone().step_by(TILES) {
        // A last tile alone is taken twice.
        let pair = [tile, (tile + 1).min(row_tiles.end - 1)];
        for first in (0..n_tokens).step_by(TOKENS) {
            let sums = &mut sums[..TOKENS.min(n_tokens - first)];
            sums.fill(Sums::ZERO);
            for g in (0..groups).step_by(step) {
                chunk.fill::<V, LESS>(vectors, pair, g..groups.min(g + step));
                add(&chunk, first, sums);
            }
            write(sums, pair, &range, first, out);
        }
    }
}

/// Writes the sums of two tiles' rows, those of them that `range` has.
#[inline(always)]
fn write(
    sums: &[Sums],
    pair: [usize; TILES],
    range: &Range<usize>,
    first_token: usize,
    out: &mut OutputRows<'_>,
) {
    for (t, sums) in sums.iter().enumerate() {
        let out = out.token(first_token + t);
        for (tile, sums) in pair.into_iter().zip(&sums.0) {
            let first = tile * TILE_ROWS;
            let rows = range.start.max(first)..range.end.min(first + TILE_ROWS);
            out[rows.start - range.start..rows.end - range.start]
                .copy_from_slice(&sums[rows.start - first..rows.end - first]);
        }
    }
}
