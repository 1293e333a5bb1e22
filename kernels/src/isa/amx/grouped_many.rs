//! The group-scaled product in tiles: 16 tokens by 32 matrix rows by a block of 32 columns, whose
//! sums leave the tiles at once, since each block has an activation scale of its own.
//!
//! ```text
//! a group of 128 columns, 16 tokens, 32 rows (two tiles of weights):
//!   4 x (tileloadd A · 2 x (tileloadd B · tilezero C · tdpbssd C, A, B))
//!       8 x tilestored, each behind the multiplication after the next two
//!   16 x (8 x (vcvtdq2ps · vmulps by the activations' scale) · 6 x vaddps
//!         · 2 x (vmulps by the weights' scales · vaddps to the tokens' sums))
//!
//! A: int8 activations, 16 tokens x 32 columns, each row within a cache line
//! B: weights, 32 columns x 16 rows (x86/group_panel.rs)
//! C: i32, four tiles in turn
//! ```
//!
//! The float steps take longer than the multiplications, which run beside them. The other form, A
//! and B in bfloat16, whose sums are f32 at once, lost (docs/experiments.md).

use super::grouped_input::GroupInput;
use super::tiles::{Plain, ROW_BYTES, ROWS, TileShape, Tiles, bytes, bytes_mut};
use crate::grouped::BLOCK;
use crate::isa::x86::group_panel::{Chunk, GroupVectors, Line, Sums, TILES, walk};
use crate::simd::LANES;
use crate::{Grouped, OutputRows};

/// Tiles by number.
const C0: u8 = 0;
const C1: u8 = 1;
const C2: u8 = 2;
const C3: u8 = 3;
const A0: u8 = 4;
const A1: u8 = 5;
const B0: u8 = 6;
const B1: u8 = 7;

/// Of one token the exact dots of each block of a group with two tiles' rows, on cache lines of
/// their own.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Dots<const BLOCKS: usize>([[[i32; LANES]; TILES]; BLOCKS]);

impl<const BLOCKS: usize> Plain for Dots<BLOCKS> {}

/// See [`crate::grouped_matmul`].
#[inline(always)]
pub(crate) fn matmul<T: Tiles, V: GroupVectors>(
    tiles: &mut T,
    vectors: V,
    w: Grouped<'_>,
    x: &GroupInput,
    out: &mut OutputRows<'_>,
) {
    let mut shapes = [TileShape::WHOLE; 8];
    for a in [A0, A1] {
        shapes[usize::from(a)].row_bytes = BLOCK;
    }
    for b in [B0, B1] {
        shapes[usize::from(b)].rows = BLOCK / 4;
    }
    tiles.configure(shapes);
    walk::<V, 1>(
        vectors,
        w,
        x.n_tokens(),
        out,
        #[inline(always)]
        |chunk, first, sums| {
            for (n, sums) in sums.chunks_mut(ROWS).enumerate() {
                let t = first + n * ROWS;
                match w.shape().group() / BLOCK {
                    2 => add_chunk::<T, V, 2>(tiles, vectors, chunk, x, t, sums),
                    4 => add_chunk::<T, V, 4>(tiles, vectors, chunk, x, t, sums),
                    _ => add_chunk::<T, V, 8>(tiles, vectors, chunk, x, t, sums),
                }
            }
        },
    );
}

/// Up to 16 tokens from `t` on meet a chunk, whose groups have `BLOCKS` blocks.
#[inline(always)]
fn add_chunk<T: Tiles, V: GroupVectors, const BLOCKS: usize>(
    tiles: &mut T,
    vectors: V,
    chunk: &Chunk<'_>,
    x: &GroupInput,
    t: usize,
    sums: &mut [Sums],
) {
    let mut dots = [Dots([[[0; LANES]; TILES]; BLOCKS]); ROWS];
    for (n, g) in chunk.groups().enumerate() {
        let lines = |tile, b| chunk.block(tile, n * BLOCKS + b);
        products(tiles, x.tile(t, g * BLOCKS), x.stride(), lines, &mut dots);
        let d = [chunk.scales(vectors, 0, g), chunk.scales(vectors, 1, g)];
        for (i, (sums, dots)) in sums.iter_mut().zip(&dots).enumerate() {
            let scales = x.scales(t + i, g * BLOCKS).first_chunk();
            add_group(vectors, dots, scales.expect("a group's blocks"), d, sums);
        }
    }
}

/// The dots of 16 tokens, which lie `stride` apart, with a group's weights.
#[inline(always)]
fn products<'a, T: Tiles, const BLOCKS: usize>(
    tiles: &mut T,
    a: &[i8],
    stride: usize,
    lines: impl Fn(usize, usize) -> &'a [Line; BLOCK / 4],
    dots: &mut [Dots<BLOCKS>; ROWS],
) {
    let a = bytes(a);
    let weights = |tile, b| bytes(lines(tile, b).as_flattened());
    let token = size_of::<Dots<BLOCKS>>();
    let to = bytes_mut(dots);
    for b in (0..BLOCKS).step_by(2) {
        // From the block before the last to the first, and from those of the last to these.
        let before = |n: usize| (TILES * b - 4 + n) * ROW_BYTES;
        if b > 0 {
            tiles.store::<C0>(&mut to[before(0)..], token);
        }
        tiles.load::<A0>(&a[b * BLOCK..], stride);
        tiles.load::<B0>(weights(0, b), ROW_BYTES);
        tiles.zero::<C0>();
        tiles.multiply::<C0, A0, B0>();
        if b > 0 {
            tiles.store::<C1>(&mut to[before(1)..], token);
        }
        tiles.load::<B1>(weights(1, b), ROW_BYTES);
        tiles.zero::<C1>();
        tiles.multiply::<C1, A0, B1>();
        if b > 0 {
            tiles.store::<C2>(&mut to[before(2)..], token);
        }
        tiles.load::<A1>(&a[(b + 1) * BLOCK..], stride);
        tiles.load::<B0>(weights(0, b + 1), ROW_BYTES);
        tiles.zero::<C2>();
        tiles.multiply::<C2, A1, B0>();
        if b > 0 {
            tiles.store::<C3>(&mut to[before(3)..], token);
        }
        tiles.load::<B1>(weights(1, b + 1), ROW_BYTES);
        tiles.zero::<C3>();
        tiles.multiply::<C3, A1, B1>();
    }
    let last = |n: usize| (TILES * BLOCKS - 4 + n) * ROW_BYTES;
    tiles.store::<C0>(&mut to[last(0)..], token);
    tiles.store::<C1>(&mut to[last(1)..], token);
    tiles.store::<C2>(&mut to[last(2)..], token);
    tiles.store::<C3>(&mut to[last(3)..], token);
}

/// The float steps of one token and group, in the order of [`crate::isa::grouped_tiles`]. That they
/// start at the first block and not at +0 may only turn a zero's sign round, which is gone as soon
/// as it is added to sums that start at +0.
#[inline(always)]
fn add_group<V: GroupVectors, const BLOCKS: usize>(
    v: V,
    dots: &Dots<BLOCKS>,
    scales: &[f32; BLOCKS],
    d: [V::F; TILES],
    sums: &mut Sums,
) {
    let scaled = |b: usize, tile: usize, scale: V::F| v.mul(v.load_ints(&dots.0[b][tile]), scale);
    let scale = v.splat(scales[0]);
    let mut group = [scaled(0, 0, scale), scaled(0, 1, scale)];
    #[allow(clippy::needless_range_loop)] // b indexes scales and dots side by side
    for b in 1..BLOCKS {
        let scale = v.splat(scales[b]);
        group[0] = v.add(group[0], scaled(b, 0, scale));
        group[1] = v.add(group[1], scaled(b, 1, scale));
    }
    for tile in 0..TILES {
        let sum = v.add(v.load(&sums.0[tile]), v.mul(group[tile], d[tile]));
        sums.0[tile] = v.to_array(sum);
    }
}
