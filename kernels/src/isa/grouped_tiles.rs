//! The group-scaled product over any ISA: walks over tiles and tokens, and the one shape of its
//! float sums.

use super::kernels::Kernels;
use crate::grouped::{BLOCK, LINE_BYTES, TILE_ROWS, TokenBlocks, UNIT};
use crate::simd::LANES;
use crate::{BlockActivations, GroupCodes, Grouped, OutputRows};

/// Bytes of tiles that stay in L2 while all tokens pass over them.
const PANEL_BYTES: usize = 256 << 10;

/// See [`crate::grouped_matmul`].
#[inline(always)]
pub(crate) fn matmul<K: Kernels>(
    k: K,
    w: Grouped<'_>,
    x: &BlockActivations,
    out: &mut OutputRows<'_>,
) {
    if k.grouped_many(w, x, out) {
        return;
    }
    match w.shape().codes() {
        GroupCodes::Binary => walk::<K, InBits<1>>(k, w, x, out),
        GroupCodes::Ternary => walk::<K, InBits<2>>(k, w, x, out),
        GroupCodes::Trits8 => walk::<K, InTrits8>(k, w, x, out),
    }
}

/// Tiles that one token meets at a time where an ISA cannot ask for memory early: each is a stream
/// of its own for the hardware's prefetcher.
pub(crate) const FAR: usize = 4;

/// How codes lie, and their products.
pub(crate) trait Codes {
    /// Adds to each token's sums of a group those of its codes, whose activations begin at block
    /// `b`: block by block the exact dot times the activations' scale.
    fn add_group<K: Kernels, const T: usize>(
        k: K,
        codes: &[u8],
        x: &BlockActivations,
        t: usize,
        b: usize,
        sums: &mut [K::F; T],
    );
}

/// A block after the other.
pub(crate) struct InBits<const BITS: usize>;

impl<const BITS: usize> Codes for InBits<BITS> {
    #[inline(always)]
    fn add_group<K: Kernels, const T: usize>(
        k: K,
        codes: &[u8],
        x: &BlockActivations,
        t: usize,
        first: usize,
        sums: &mut [K::F; T],
    ) {
        for (b, codes) in codes.chunks_exact(64 * BITS).enumerate() {
            ask_ahead::<K, T>(k, codes);
            let x = x.tokens_from(t, first + b);
            add_block(k, k.group_dots::<BITS, T>(codes, x), x, sums);
        }
    }
}

/// Two blocks at a time.
pub(crate) struct InTrits8;

impl Codes for InTrits8 {
    #[inline(always)]
    fn add_group<K: Kernels, const T: usize>(
        k: K,
        codes: &[u8],
        x: &BlockActivations,
        t: usize,
        first: usize,
        sums: &mut [K::F; T],
    ) {
        for (unit, codes) in codes.as_chunks().0.iter().enumerate() {
            ask_ahead::<K, T>(k, codes);
            let b = first + unit * (UNIT / BLOCK);
            let x = [x.tokens_from(t, b), x.tokens_from(t, b + 1)];
            let [low, high] = k.trits8_dots::<T>(codes, x);
            add_block(k, low, x[0], sums);
            add_block(k, high, x[1], sums);
        }
    }
}

/// Adds a block's exact dots, times its activations' scales.
#[inline(always)]
fn add_block<K: Kernels, const T: usize>(
    k: K,
    dots: [K::F; T],
    x: TokenBlocks<'_>,
    sums: &mut [K::F; T],
) {
    for i in 0..T {
        let scaled = k.mul(dots[i], k.splat(x.token(i).scale));
        sums[i] = k.add(sums[i], scaled);
    }
}

/// Prefetches for these codes' lines.
#[inline(always)]
fn ask_ahead<K: Kernels, const T: usize>(k: K, codes: &[u8]) {
    for line in codes.chunks(LINE_BYTES) {
        k.prefetch(&line[0]);
        if T == 1 {
            k.prefetch_near(&line[0]);
        }
    }
}

#[inline(always)]
fn walk<K: Kernels, C: Codes>(
    k: K,
    w: Grouped<'_>,
    x: &BlockActivations,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    let mut tiles = range.start / TILE_ROWS..range.end.div_ceil(TILE_ROWS);
    if K::FAR_GROUP_TILES && x.n_tokens() == 1 {
        let each = tiles.len() / FAR;
        for tile in tiles.start..tiles.start + each {
            let far = [tile, tile + each, tile + 2 * each, tile + 3 * each];
            for (tile, sums) in far.into_iter().zip(k.far_group_tiles::<C>(w, far, x)) {
                write(out, tile, 0, &sums);
            }
        }
        tiles.start += FAR * each;
    }
    let panel = (PANEL_BYTES / w.shape().tile_bytes()).max(1);
    for start in tiles.clone().step_by(panel) {
        let panel = start..tiles.end.min(start + panel);
        let mut t = 0;
        while t < x.n_tokens() {
            let panel = panel.clone();
            t += match x.n_tokens() - t {
                left if left >= 8 && K::GROUP_TOKENS >= 8 => {
                    tokens::<K, C, 8>(k, w, x, out, panel, t)
                }
                left if left >= 4 && K::GROUP_TOKENS >= 4 => {
                    tokens::<K, C, 4>(k, w, x, out, panel, t)
                }
                left if left >= 2 && K::GROUP_TOKENS >= 2 => {
                    tokens::<K, C, 2>(k, w, x, out, panel, t)
                }
                _ => tokens::<K, C, 1>(k, w, x, out, panel, t),
            };
        }
    }
}

/// Tiles `tiles` for tokens t..t + T; returns T.
#[inline(always)]
fn tokens<K: Kernels, C: Codes, const T: usize>(
    k: K,
    w: Grouped<'_>,
    x: &BlockActivations,
    out: &mut OutputRows<'_>,
    tiles: std::ops::Range<usize>,
    t: usize,
) -> usize {
    for tile in tiles {
        let sums = k.group_tile::<C, T>(w, tile, x, t);
        for (i, sums) in sums.iter().enumerate() {
            write(out, tile, t + i, sums);
        }
    }
    T
}

/// Writes token `t`'s sums of a tile's rows, those of them that are asked for.
#[inline(always)]
fn write(out: &mut OutputRows<'_>, tile: usize, t: usize, sums: &[f32; LANES]) {
    let (range, first) = (out.range(), tile * TILE_ROWS);
    let rows = range.start.max(first)..range.end.min(first + TILE_ROWS);
    out.token(t)[rows.start - range.start..rows.end - range.start]
        .copy_from_slice(&sums[rows.start - first..rows.end - first]);
}

/// Each token's sums of a tile's rows: a block's exact dot times its activation scale; a group's
/// blocks added in order; their sum times the weight scale; groups added in order.
#[inline(always)]
pub(crate) fn tile_sums<K: Kernels, C: Codes, const T: usize>(
    k: K,
    w: Grouped<'_>,
    tile: usize,
    x: &BlockActivations,
    t: usize,
) -> [[f32; LANES]; T] {
    let blocks = w.shape().group() / BLOCK;
    let code_bytes = w.shape().code_bytes();
    let mut sums = [k.splat(0.0); T];
    let groups = w.tile(tile).chunks_exact(w.shape().group_bytes());
    for (g, group) in groups.enumerate() {
        let (codes, scales) = group.split_at(code_bytes);
        let mut group_sums = [k.splat(0.0); T];
        C::add_group(k, codes, x, t, g * blocks, &mut group_sums);
        for scales in scales.as_chunks().0 {
            let d = k.load_f16(scales);
            for i in 0..T {
                sums[i] = k.add(sums[i], k.mul(group_sums[i], d));
            }
        }
    }
    let mut out = [[0.0; LANES]; T];
    for (out, sums) in out.iter_mut().zip(sums) {
        *out = k.to_array(sums);
    }
    out
}

/// One token's sums of the rows of some tiles, a group of each in turn. Written out, so that each
/// has load instructions of its own: by their addresses Intel's cores tell streams apart.
#[inline(always)]
pub(crate) fn far_tile_sums<K: Kernels, C: Codes>(
    k: K,
    w: Grouped<'_>,
    tiles: [usize; FAR],
    x: &BlockActivations,
) -> [[f32; LANES]; FAR] {
    let (bytes, blocks) = (w.shape().group_bytes(), w.shape().group() / BLOCK);
    let [a, b, c, d] = tiles.map(
        #[inline(always)]
        |tile| w.tile(tile).chunks_exact(bytes),
    );
    let mut sums = [k.splat(0.0); FAR];
    for (g, (((a, b), c), d)) in a.zip(b).zip(c).zip(d).enumerate() {
        add_one::<K, C>(k, w, a, x, g * blocks, &mut sums[0]);
        add_one::<K, C>(k, w, b, x, g * blocks, &mut sums[1]);
        add_one::<K, C>(k, w, c, x, g * blocks, &mut sums[2]);
        add_one::<K, C>(k, w, d, x, g * blocks, &mut sums[3]);
    }
    let mut out = [[0.0; LANES]; FAR];
    for (out, sums) in out.iter_mut().zip(sums) {
        *out = k.to_array(sums);
    }
    out
}

/// Adds a group's sums of one token, whose activations begin at block `b`.
#[inline(always)]
fn add_one<K: Kernels, C: Codes>(
    k: K,
    w: Grouped<'_>,
    group: &[u8],
    x: &BlockActivations,
    b: usize,
    sum: &mut K::F,
) {
    let (codes, scales) = group.split_at(w.shape().code_bytes());
    let mut group_sums = [k.splat(0.0)];
    C::add_group(k, codes, x, 0, b, &mut group_sums);
    for scales in scales.as_chunks().0 {
        *sum = k.add(*sum, k.mul(group_sums[0], k.load_f16(scales)));
    }
}
