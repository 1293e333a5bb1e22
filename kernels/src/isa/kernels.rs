//! The list of kernels that every instruction set provides.
//!
//! Float kernels are the generic functions of [`crate::ops`] and [`crate::dense`] compiled for the ISA: one macro makes
//! their entry points. What differs by ISA are the integer inner loops, which each ISA writes itself.

use crate::dense::{Dense, DenseInput};
use crate::simd::LANES;
use crate::simd::Simd;
use crate::sparse::columns;
use crate::ternary::{Block, TokenRow};
use crate::{NonZero, OutputRows, QuantizedActivations, Ternary, TernaryColumns};

/// One token's int16 activations for the quantised dense types. See [`crate::DenseInput`] for how they are made.
#[derive(Clone, Copy)]
pub(crate) struct QuantRow<'a> {
    /// `[k]`, all that the result depends on.
    pub(crate) wide: &'a [i16],
    /// Only for byte-wise multipliers; empty unless the type is Q6_K, and in x86-64 unless it is the only token.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(crate) split: SplitRow<'a>,
    /// Only for Q6_K and several tokens, two blocks an element; else empty.
    #[cfg(target_arch = "x86_64")]
    pub(crate) pairs: &'a [super::x86::q6_k_pairs::PairOfBlocks],
    /// `[k / 256]`, only for Q6_K: the same as SIMD128's inner loops take it.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    pub(crate) groups: &'a [super::simd128::q6_k_one::Arranged],
    /// `[k / 256]`, only for Q6_K: the same for one token in relaxed SIMD.
    #[cfg(all(
        target_arch = "wasm32",
        target_feature = "simd128",
        feature = "relaxed-simd"
    ))]
    pub(crate) arranged: &'a [super::simd128::q6_k_one_relaxed::Arranged],
}

/// The int16 activations in the parts that `vpmaddubsw` and `sdot` can take.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[derive(Clone, Copy, Default)]
pub(crate) struct SplitRow<'a> {
    /// wide = 256 * high + low
    pub(crate) high: &'a [i8],
    pub(crate) low: &'a [i8],
    /// wide[2i] + wide[2i+1]
    #[cfg(target_arch = "x86_64")]
    pub(crate) pairs: &'a [i16],
    /// -32 * (high[4i] + high[4i+1] + high[4i+2] + high[4i+3]): what 32 more in each of four weights adds, taken off
    #[cfg(target_arch = "x86_64")]
    pub(crate) high_offsets: &'a [i32],
    /// The same of `low`.
    #[cfg(target_arch = "x86_64")]
    pub(crate) low_offsets: &'a [i32],
}

/// Every kernel of one instruction set.
pub(crate) trait Kernels: Simd {
    fn quantize_row(self, x: &[f32], q: &mut [i8]) -> (f32, i32);
    fn quantize_row_wide(self, x: &[f32], limit: f32, q: &mut [i16]) -> f32;
    fn rms_norm(self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);
    fn rope_rotate_half(self, head: &mut [f32], cos: &[f32], sin: &[f32]);
    fn softmax(self, x: &mut [f32]);
    fn relu2_mul(self, gate: &[f32], up: &[f32], out: &mut [f32]);
    fn silu_mul(self, gate: &[f32], up: &[f32], out: &mut [f32]);
    fn add_assign(self, x: &mut [f32], y: &[f32]);
    #[allow(
        clippy::too_many_arguments,
        reason = "sizes, what is read and what is written"
    )]
    fn attention_scores(
        self,
        head_dim: usize,
        queries: &[f32],
        keys: &[f32],
        next: Option<&[f32]>,
        scale: f32,
        stride: usize,
        out: &mut [f32],
    );
    fn attention_mix(
        self,
        head_dim: usize,
        p: &[f32],
        stride: usize,
        values: &[f32],
        next: Option<&[f32]>,
        acc: &mut [f32],
    );
    fn dense_matmul(self, w: Dense<'_>, x: &DenseInput, out: &mut OutputRows<'_>);

    fn ternary_matmul(self, w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>);
    /// Whether `trits5_matmul` is a loop of this ISA's own.
    #[inline]
    fn has_trits5(self) -> bool {
        false
    }
    /// The product with a matrix in layout T5. Called only where `has_trits5`.
    fn trits5_matmul(self, _: Ternary<'_>, _: &QuantizedActivations, _: &mut OutputRows<'_>) {
        unreachable!("this instruction set unpacks T5");
    }
    /// The rows `rows` of a matrix in layout T5 as I2_S rows.
    #[inline]
    fn trits5_unpack(self, w: Ternary<'_>, rows: std::ops::Range<usize>, out: &mut [u8]) {
        crate::trits5::unpack_rows(w, rows, out);
    }
    /// `ternary_rows` for layout T5. Called only where `has_trits5`.
    fn trits5_rows(
        self,
        _: Ternary<'_>,
        _: &QuantizedActivations,
        _: &[u32],
        _: &mut OutputRows<'_>,
    ) {
        unreachable!("this instruction set unpacks T5");
    }
    /// The product for listed rows alone; see [`crate::ternary_matmul_rows`].
    #[inline]
    fn ternary_rows(
        self,
        w: Ternary<'_>,
        x: &QuantizedActivations,
        rows: &[u32],
        out: &mut OutputRows<'_>,
    ) {
        // As many neighbours at once as there are.
        for run in rows.chunk_by(|a, b| a + 1 == *b) {
            let run = run[0] as usize..run[0] as usize + run.len();
            self.ternary_matmul(w, x, &mut out.part(run));
        }
    }
    /// The product with a matrix by columns; see [`crate::ternary_columns_matmul`].
    #[inline(always)]
    fn ternary_columns(
        self,
        w: TernaryColumns<'_>,
        x: &QuantizedActivations,
        nonzero: &NonZero,
        out: &mut OutputRows<'_>,
    ) {
        columns::matmul_tiles(self, w, x, nonzero, out);
    }
    /// sums[r] = sum of code * value over the listed columns of a tile of 256 rows, exact.
    #[inline(always)]
    fn columns_tile(
        self,
        lines: &[columns::Line],
        columns: &[[u32; 4]],
        values: &[[i8; 4]],
        sums: &mut [i32; columns::TILE],
    ) {
        columns::tile_sums(lines, columns, values, sums);
    }
    /// Lane 8 (b % 2) + j sums d * (block b's products i with i % 16 / 2 == j, exact in i32).
    fn q8_0_row<const T: usize>(self, w: &[u8], x: [QuantRow<'_>; T]) -> [[f32; LANES]; T];
    /// Lane 8 (b % 2) + j sums d * (block b's scaled products i with i % 32 / 4 == j, exact in i32).
    fn q6_k_row<const T: usize>(self, w: &[u8], x: [QuantRow<'_>; T]) -> [[f32; LANES]; T];
    /// The whole product with a Q6_K matrix; an ISA may walk its rows in another order.
    #[inline(always)]
    fn q6_k_matmul(self, w: Dense<'_>, x: &DenseInput, out: &mut OutputRows<'_>) {
        crate::dense::quant_rows(self, w, x, out);
    }
}

/// The ternary inner loop of an ISA that lets [`crate::ternary::matmul_tiles`] walk rows and tokens.
pub(crate) trait TernaryTiles: Kernels {
    /// sums[r][t] = sum of code * q, exact. All rows and tokens have as many blocks as `w[0]`.
    fn ternary_tile<const R: usize, const T: usize>(
        self,
        w: [&[Block]; R],
        x: [TokenRow<'_>; T],
    ) -> [[i32; T]; R];
}

/// Entry points of the float kernels inside an `impl Kernels`: `plain`, or compiled with a target feature list.
macro_rules! float_kernels {
    ($how:tt) => {
        $crate::isa::kernels::entries! { $how
            fn quantize_row(x: &[f32], q: &mut [i8]) -> (f32, i32) = $crate::quantize::quantize_row;
            fn quantize_row_wide(x: &[f32], limit: f32, q: &mut [i16]) -> f32 = $crate::dense::quantize_row_wide;
            fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> () = $crate::ops::norm::rms_norm_lanes;
            fn rope_rotate_half(head: &mut [f32], cos: &[f32], sin: &[f32]) -> () = $crate::ops::rope::rope_lanes;
            fn softmax(x: &mut [f32]) -> () = $crate::ops::softmax::softmax_lanes;
            fn relu2_mul(gate: &[f32], up: &[f32], out: &mut [f32]) -> () = $crate::ops::activation::relu2_mul_lanes;
            fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) -> () = $crate::ops::activation::silu_mul_lanes;
            fn add_assign(x: &mut [f32], y: &[f32]) -> () = $crate::ops::activation::add_assign_lanes;
            fn attention_scores(head_dim: usize, queries: &[f32], keys: &[f32], next: Option<&[f32]>, scale: f32, stride: usize, out: &mut [f32]) -> ()
                = $crate::ops::attention::attention_scores_lanes;
            fn attention_mix(head_dim: usize, p: &[f32], stride: usize, values: &[f32], next: Option<&[f32]>, acc: &mut [f32]) -> () = $crate::ops::attention::attention_mix_lanes;
            fn dense_matmul(w: $crate::Dense<'_>, x: &$crate::DenseInput, out: &mut $crate::OutputRows<'_>) -> ()
                = $crate::dense::matmul_rows;
        }
    };
}

macro_rules! entries {
    (plain $(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $generic:path;)*) => {
        $(#[inline] fn $name(self, $($arg: $ty),*) -> $ret { $generic(self, $($arg),*) })*
    };
    ($features:literal $(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $generic:path;)*) => {
        $(#[inline] fn $name(self, $($arg: $ty),*) -> $ret {
            #[target_feature(enable = $features)]
            #[allow(clippy::too_many_arguments, reason = "sizes, what is read and what is written")]
            fn entry<S: $crate::isa::Kernels>(s: S, $($arg: $ty),*) -> $ret { $generic(s, $($arg),*) }
            // SAFETY: a token of this type exists only where detection found these features (isa/mod.rs).
            unsafe { entry(self, $($arg),*) }
        })*
    };
}

pub(crate) use {entries, float_kernels};
