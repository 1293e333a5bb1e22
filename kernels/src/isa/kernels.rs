//! The kernels that every instruction set provides.
//!
//! [`kernel_list`] is the list of those that are called from outside: a new one is a line in it.
//! Float kernels are the generic functions of [`crate::ops`], compiled for each ISA. Of the others
//! the list names a generic function, over which an ISA may put its own. What the generic functions
//! are built from are the integer inner loops, which each ISA writes itself: the methods of
//! [`Kernels`] that are not in the list.

use std::ops::Range;

use super::scalar::grouped;
use super::{column_tiles, grouped_tiles, ternary, unpacked};
use crate::grouped::{LINE_BYTES, TokenBlocks, trits8};
use crate::simd::{LANES, Simd};
use crate::sparse::columns::{Line, TILE};
use crate::{
    BlockActivations, Dense, DenseInput, Grouped, OutputRows, QuantizedActivations, Ternary,
};

/// Hands the list to the macro `$then`, in two parts: `over_lanes`, with the function over
/// [`Simd`], and `generic`, with the function over [`Kernels`].
macro_rules! kernel_list {
    ($then:ident $($with:tt)*) => {
        $then! { [$($with)*]
            over_lanes {
                pub(crate) fn quantize_row(x: &[f32], q: &mut [i8]) -> (f32, i32)
                    = $crate::ops::quantize::quantize_row;
                pub(crate) fn quantize_row_wide(x: &[f32], limit: f32, q: &mut [i16]) -> f32
                    = $crate::ops::quantize::quantize_row_wide;
                pub(crate) fn quantize_blocks(x: &[f32], out: &mut [$crate::grouped::ActivationBlock]) -> ()
                    = $crate::ops::quantize::quantize_blocks;
                pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> ()
                    = $crate::ops::norm::rms_norm_lanes;
                pub(crate) fn rope_rotate_half(head: &mut [f32], cos: &[f32], sin: &[f32]) -> ()
                    = $crate::ops::rope::rope_lanes;
                pub(crate) fn softmax(x: &mut [f32]) -> () = $crate::ops::softmax::softmax_lanes;
                pub(crate) fn relu2_mul(gate: &[f32], up: &[f32], out: &mut [f32]) -> ()
                    = $crate::ops::activation::relu2_mul_lanes;
                pub(crate) fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) -> ()
                    = $crate::ops::activation::silu_mul_lanes;
                pub(crate) fn gelu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) -> ()
                    = $crate::ops::activation::gelu_mul_lanes;
                pub(crate) fn add_assign(x: &mut [f32], y: &[f32]) -> ()
                    = $crate::ops::activation::add_assign_lanes;
                pub(crate) fn attention_scores(
                    head_dim: usize,
                    queries: $crate::Queries<'_>,
                    keys: $crate::KvRows<'_>,
                    next: Option<$crate::KvRows<'_>>,
                    scale: f32,
                    stride: usize,
                    out: &mut [f32],
                ) -> () = $crate::ops::attention::attention_scores_lanes;
                pub(crate) fn attention_mix(
                    head_dim: usize,
                    p: &[f32],
                    stride: usize,
                    values: $crate::KvRows<'_>,
                    next: Option<$crate::KvRows<'_>>,
                    acc: &mut [f32],
                ) -> () = $crate::ops::attention::attention_mix_lanes;
                pub(crate) fn store_kv_row(x: &[f32], out: $crate::KvRowMut<'_>) -> ()
                    = $crate::ops::kv::store_row;
                pub(crate) fn dense_matmul(
                    w: $crate::Dense<'_>,
                    x: &$crate::DenseInput,
                    out: &mut $crate::OutputRows<'_>,
                ) -> () = $crate::isa::dense_tiles::matmul;
                pub(crate) fn grouped_matmul(
                    w: $crate::Grouped<'_>,
                    x: &$crate::BlockActivations,
                    out: &mut $crate::OutputRows<'_>,
                ) -> () = $crate::isa::grouped_tiles::matmul;
            }
            generic {
                /// Packs a dense product's input, so that no thread of the product has to.
                pub(crate) fn pack_dense(x: &$crate::DenseInput) -> ()
                    = $crate::isa::dense_tiles::pack;
                /// See [`crate::ternary_matmul`].
                pub(crate) fn ternary_matmul(
                    w: $crate::Ternary<'_>,
                    x: &$crate::QuantizedActivations,
                    out: &mut $crate::OutputRows<'_>,
                ) -> () = $crate::isa::ternary::matmul;
                /// See [`crate::ternary_matmul_rows`].
                pub(crate) fn ternary_rows(
                    w: $crate::Ternary<'_>,
                    x: &$crate::QuantizedActivations,
                    rows: &[u32],
                    out: &mut $crate::OutputRows<'_>,
                ) -> () = $crate::isa::ternary::rows;
                /// See [`crate::ternary_columns_matmul`].
                pub(crate) fn ternary_columns(
                    w: $crate::TernaryColumns<'_>,
                    x: &$crate::QuantizedActivations,
                    nonzero: &$crate::NonZero,
                    out: &mut $crate::OutputRows<'_>,
                ) -> () = $crate::isa::column_tiles::matmul;
                /// The rows `rows` of a matrix in layout trits5 as I2_S rows.
                pub(crate) fn trits5_unpack(
                    w: $crate::Ternary<'_>,
                    rows: std::ops::Range<usize>,
                    out: &mut [u8],
                ) -> () = $crate::isa::unpacked::unpack;
                /// Packs the first groups of a row, as many as there is a loop for: their number,
                /// and whether every code had a place.
                pub(crate) fn trits5_pack(
                    blocks: &[$crate::ternary::Block],
                    out: &mut [[u8; $crate::trits5::GROUP_BYTES]],
                ) -> (usize, bool) = $crate::isa::unpacked::pack;
                /// True if trits5 has loops of its own, for any number of tokens.
                pub(crate) fn has_trits5() -> bool = $crate::isa::preferences::has_trits5;
                /// True if trits5 serves better than I2_S with that many threads: its loops take
                /// any number of tokens at nearly I2_S's speed, and read five sixths of the bytes.
                /// That pays where memory is slower than arithmetic: where threads share it, and on
                /// Intel's CPUs with one (docs/experiments.md has the figures).
                pub fn prefers_trits5(threads: usize) -> bool = $crate::isa::preferences::prefers_trits5;
                /// True if group-scaled ternary matrices serve better in trits8 than in two bits
                /// with that many threads: its loops keep up with the memory while they read five
                /// sixths of the bytes (docs/experiments.md has the figures).
                pub fn prefers_trits8(threads: usize) -> bool = $crate::isa::preferences::prefers_trits8;
                /// Up to which share of a matrix reading by a list is faster than reading all of it
                /// (docs/experiments.md has the figures).
                pub fn listing_limits() -> $crate::ListingLimits
                    = $crate::isa::preferences::listing_limits;
                /// Prompt tokens that one pass should take in where nothing else decides
                /// (docs/experiments.md has the figures).
                pub fn prefill_chunk() -> usize = $crate::isa::preferences::prefill_chunk;
                /// Reads every byte once, as fast as this instruction set can, and returns the
                /// exclusive or of the little-endian u64 words (the last one padded with zeros).
                pub fn read_through(bytes: &[u8]) -> u64 = $crate::isa::probe::read_through;
                /// Runs the densest int8 multiply-add instruction of this instruction set in
                /// independent chains, registers only: `tdpbssd`, `vpdpbusd`, `vpmaddubsw` with the
                /// `vpaddw` that keeps its sums, `smmla`, `sdot`, or what the compiler makes of
                /// plain Rust.
                pub fn multiply_add_peak(turns: u32) -> $crate::PeakRun
                    = $crate::isa::probe::multiply_add_peak;
            }
        }
    };
}

macro_rules! define_kernels {
    ([]
        over_lanes { $(
            $lanes_vis:vis fn $lanes:ident($($lanes_arg:ident: $lanes_ty:ty),* $(,)?)
                -> $lanes_ret:ty = $over_lanes:path;
        )* }
        generic { $(
            $(#[$doc:meta])*
            $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty = $generic:path;
        )* }
    ) => {
        /// Every kernel of one instruction set.
        pub(crate) trait Kernels: Simd {
            $(
                #[allow(clippy::too_many_arguments, reason = "sizes, what is read and written")]
                fn $lanes(self, $($lanes_arg: $lanes_ty),*) -> $lanes_ret;
            )*
            $(
                $(#[$doc])*
                #[inline]
                fn $name(self, $($arg: $ty),*) -> $ret {
                    $generic(self, $($arg),*)
                }
            )*

            /// An I2_S product's input as this ISA's loops read it; `()` where that is as it lies.
            type I2sInput: Default + Send + Sync + 'static;
            /// A Q6_K product's input as this ISA's loops read it.
            type Q6kInput: Default + Send + Sync + 'static;

            /// Tokens that a group-scaled product takes at a time, 1, 2, 4 or 8.
            const GROUP_TOKENS: usize = 8;

            /// True if a group-scaled product takes one token by several far tiles at a time.
            const FAR_GROUP_TILES: bool = false;

            /// Packs an I2_S product's input.
            #[inline]
            fn pack_i2s(self, _x: &QuantizedActivations, _packed: &mut Self::I2sInput) {}
            /// Packs a Q6_K product's input.
            #[inline]
            fn pack_q6_k(self, _x: &DenseInput, _packed: &mut Self::Q6kInput) {}

            /// The product with a matrix in layout I2_S.
            fn i2s_matmul(
                self,
                w: Ternary<'_>,
                x: &QuantizedActivations,
                packed: &Self::I2sInput,
                out: &mut OutputRows<'_>,
            );
            /// The same for listed rows alone.
            #[inline]
            fn i2s_rows(
                self,
                w: Ternary<'_>,
                x: &QuantizedActivations,
                packed: &Self::I2sInput,
                rows: &[u32],
                out: &mut OutputRows<'_>,
            ) {
                ternary::i2s_runs(self, w, x, packed, rows, out);
            }
            /// The product with a matrix in layout trits5.
            #[inline]
            fn trits5_matmul(
                self,
                w: Ternary<'_>,
                x: &QuantizedActivations,
                out: &mut OutputRows<'_>,
            ) {
                let unpack = |w: Ternary<'_>, rows: Range<usize>, to: &mut [u8]| {
                    self.trits5_unpack(w, rows, to);
                };
                unpacked::matmul(w, out, unpacked::PANEL, unpack, |w, out| {
                    self.ternary_matmul(w, x, out);
                });
            }
            /// The same for listed rows alone.
            #[inline]
            fn trits5_rows(
                self,
                w: Ternary<'_>,
                x: &QuantizedActivations,
                rows: &[u32],
                out: &mut OutputRows<'_>,
            ) {
                let unpack = |w: Ternary<'_>, rows: Range<usize>, to: &mut [u8]| {
                    self.trits5_unpack(w, rows, to);
                };
                unpacked::rows(w, rows, out, unpack, |w, run, out| {
                    self.ternary_rows(w, x, run, out);
                });
            }
            /// sums[r] = sum of code * value over the listed columns of a tile of 256 rows, exact.
            #[inline(always)]
            fn columns_tile(
                self,
                lines: &[Line],
                columns: &[[u32; 4]],
                values: &[[i8; 4]],
                sums: &mut [i32; TILE],
            ) {
                column_tiles::tile_sums(lines, columns, values, sums);
            }
            /// A group-scaled product with so many tokens that this ISA unpacks codes to L1 first;
            /// false, and nothing done, where it does not.
            #[inline(always)]
            fn grouped_many(
                self,
                _w: Grouped<'_>,
                _x: &BlockActivations,
                _out: &mut OutputRows<'_>,
            ) -> bool {
                false
            }
            /// For each token lane r is sum of weight * q over a block of 32 columns of a tile's
            /// row r, exact. `codes` is the tile's 64 * BITS bytes for them, weights as
            /// [`crate::GroupCodes`] with so many whole bits has them.
            #[inline(always)]
            fn group_dots<const BITS: usize, const T: usize>(
                self,
                codes: &[u8],
                x: TokenBlocks<'_>,
            ) -> [Self::F; T] {
                grouped::dots::<Self, BITS, T>(self, codes, x)
            }
            /// Each token's sums of the rows of tile number `tile`, for the T tokens from `t` on.
            #[inline(always)]
            fn group_tile<C: grouped_tiles::Codes, const T: usize>(
                self,
                w: Grouped<'_>,
                tile: usize,
                x: &BlockActivations,
                t: usize,
            ) -> [[f32; LANES]; T] {
                grouped_tiles::tile_sums::<Self, C, T>(self, w, tile, x, t)
            }
            /// One token's sums of the rows of tiles that lie far apart.
            #[inline(always)]
            fn far_group_tiles<C: grouped_tiles::Codes>(
                self,
                w: Grouped<'_>,
                tiles: [usize; grouped_tiles::FAR],
                x: &BlockActivations,
            ) -> [[f32; LANES]; grouped_tiles::FAR] {
                grouped_tiles::far_tile_sums::<Self, C>(self, w, tiles, x)
            }
            /// As `group_dots` for two blocks, whose codes are a unit of layout trits8 and whose
            /// activations are `x`.
            #[inline(always)]
            fn trits8_dots<const T: usize>(
                self,
                unit: &[u8; trits8::UNIT_BYTES],
                x: [TokenBlocks<'_>; 2],
            ) -> [[Self::F; T]; 2] {
                let lines = trits8::unpack(unit);
                let (first, second) = lines.as_flattened().split_at(2 * LINE_BYTES);
                let dots = self.group_dots::<2, T>(first, x[0]);
                [dots, self.group_dots::<2, T>(second, x[1])]
            }
            /// Lane 8 (b % 2) + j sums d * (block b's products i with i % 16 / 2 == j, exact in
            /// i32).
            fn q8_0_row<const T: usize>(self, w: &[u8], x: [&[i16]; T]) -> [[f32; LANES]; T];
            /// The product with a Q6_K matrix. Of a row, lane 8 (b % 2) + j sums d * (block b's
            /// scaled products i with i % 32 / 4 == j, exact in i32).
            fn q6_k_matmul(
                self,
                w: Dense<'_>,
                x: &DenseInput,
                packed: &Self::Q6kInput,
                out: &mut OutputRows<'_>,
            );
        }
    };
}

kernel_list!(define_kernels);

/// Inside an `impl Kernels`: the kernels over lanes, `plain` or compiled with a list of features.
macro_rules! over_lanes {
    ([$how:tt]
        over_lanes { $(
            $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty = $over_lanes:path;
        )* }
        generic { $($generic:tt)* }
    ) => {
        $($crate::isa::kernels::entry! { $how fn $name($($arg: $ty),*) -> $ret = $over_lanes; })*
    };
}

macro_rules! entry {
    (plain fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $over_lanes:path;) => {
        #[inline]
        fn $name(self, $($arg: $ty),*) -> $ret {
            $over_lanes(self, $($arg),*)
        }
    };
    ($features:literal fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $over_lanes:path;) => {
        #[inline]
        fn $name(self, $($arg: $ty),*) -> $ret {
            #[target_feature(enable = $features)]
            #[allow(clippy::too_many_arguments, reason = "sizes, what is read and written")]
            fn entry<S: $crate::isa::kernels::Kernels>(s: S, $($arg: $ty),*) -> $ret {
                $over_lanes(s, $($arg),*)
            }
            // SAFETY: a token of this type exists only where detection found these features.
            unsafe { entry(self, $($arg),*) }
        }
    };
}

pub(crate) use {entry, kernel_list, over_lanes};
