//! Embeddings and heads in ggml's block types of four bits, for files that are smaller and that
//! other programs read too: what [`TableBlocks`] reads. Layouts: ggml-quants.c.

use half::f16;
use sterna_kernels::{Dense, DenseType, encode_dense_row};

use super::ggml_type::id;
use super::table_blocks::TableBlocks;

/// Weights that share a scale.
const SUB_BLOCK: usize = 32;
/// Weights and bytes of a Q4_K block, and its groups of [`SUB_BLOCK`].
const SUPER_BLOCK: usize = 256;
const Q4_K_BYTES: usize = 144;
const SUB_BLOCKS: usize = SUPER_BLOCK / SUB_BLOCK;
const Q4_0_BYTES: usize = 18;

/// The storage type of an embedding or head in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableType {
    /// A type that the kernels compute with as it lies.
    Kernel(DenseType),
    /// 32 weights in 18 bytes: an f16 scale times -8 to 7.
    Q4_0,
    /// 256 weights in 144 bytes: for each 32 a scale and a minimum of six bits.
    Q4K,
}

impl From<DenseType> for TableType {
    fn from(ty: DenseType) -> Self {
        TableType::Kernel(ty)
    }
}

impl TableType {
    /// ggml's name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TableType::Kernel(ty) => ty.name(),
            TableType::Q4_0 => "q4_0",
            TableType::Q4K => "q4_k",
        }
    }

    /// ggml's id.
    pub(crate) fn id(self) -> u32 {
        match self {
            TableType::Kernel(DenseType::F32) => id::F32,
            TableType::Kernel(DenseType::F16) => id::F16,
            TableType::Kernel(DenseType::Bf16) => id::BF16,
            TableType::Kernel(DenseType::Q8_0) => id::Q8_0,
            TableType::Kernel(DenseType::Q6K) => id::Q6_K,
            TableType::Q4_0 => id::Q4_0,
            TableType::Q4K => id::Q4_K,
        }
    }

    /// True if rounding is what it is for.
    pub(crate) fn is_quantised(self) -> bool {
        use DenseType::{Bf16, F16, F32};
        !matches!(self, TableType::Kernel(F32 | F16 | Bf16))
    }

    /// Bytes of a row of `cols` weights; `None` where they are no whole blocks.
    pub(crate) fn row_bytes(self, cols: usize) -> Option<usize> {
        match self {
            TableType::Kernel(ty) => ty.row_bytes(cols),
            _ => TableBlocks::of(self.id())?.row_bytes(cols).ok(),
        }
    }

    /// Stores whole blocks of `row` in `out`, which holds `row_bytes(row.len())` bytes.
    pub(crate) fn encode_row(self, row: &[f32], out: &mut [u8]) {
        match self {
            TableType::Kernel(ty) => encode_dense_row(ty, row, out),
            TableType::Q4_0 => {
                let blocks = out.as_chunks_mut::<Q4_0_BYTES>().0.iter_mut();
                for (x, block) in row.as_chunks().0.iter().zip(blocks) {
                    q4_0(x, block);
                }
            }
            TableType::Q4K => {
                let blocks = out.as_chunks_mut::<Q4_K_BYTES>().0.iter_mut();
                for (x, block) in row.as_chunks().0.iter().zip(blocks) {
                    q4_k(x, block);
                }
            }
        }
    }

    /// The weights of a row in this type, as every reader of it has them.
    pub(crate) fn decode_row(self, encoded: &[u8], out: &mut [f32]) {
        match self {
            TableType::Kernel(ty) => {
                // A row that was just made is one.
                if let Ok(dense) = Dense::new(ty, 1, out.len(), encoded) {
                    dense.dequantize_row(0, out);
                }
            }
            _ => {
                if let Some(blocks) = TableBlocks::of(self.id()) {
                    blocks.decode(encoded, out);
                }
            }
        }
    }

    /// The weights of a row in this type as the engine has them once it is loaded: the four-bit
    /// types are rewritten in Q8_0.
    pub(crate) fn loaded_row(self, encoded: &[u8], out: &mut [f32]) {
        match (self, TableBlocks::of(self.id())) {
            (TableType::Kernel(_), _) | (_, None) => self.decode_row(encoded, out),
            (_, Some(blocks)) => {
                let q8_0 = TableType::Kernel(DenseType::Q8_0);
                let mut rewritten = vec![0; q8_0.row_bytes(out.len()).unwrap_or_default()];
                blocks.rewrite(encoded, &mut rewritten);
                q8_0.decode_row(&rewritten, out);
            }
        }
    }
}

/// As ggml's `quantize_row_q4_0_ref`: the weight of largest magnitude, the first of equal ones,
/// becomes -8.
fn q4_0(x: &[f32; SUB_BLOCK], block: &mut [u8; Q4_0_BYTES]) {
    let peak = x
        .iter()
        .fold(0f32, |max, x| if x.abs() > max.abs() { *x } else { max });
    let d = peak / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let (scale, codes) = block.split_at_mut(2);
    scale.copy_from_slice(&f16::from_f32(d).to_le_bytes());
    let code = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    for (i, byte) in codes.iter_mut().enumerate() {
        *byte = code(x[i]) | code(x[i + SUB_BLOCK / 2]) << 4;
    }
}

/// Each 32 weights get the scale and the minimum that fit them best; both are then stored in six
/// bits against the block's largest, and the weights are rounded again with what is stored.
fn q4_k(x: &[f32; SUPER_BLOCK], block: &mut [u8; Q4_K_BYTES]) {
    block.fill(0);
    let fits: [Fit; SUB_BLOCKS] = std::array::from_fn(|n| fit(&x.as_chunks::<SUB_BLOCK>().0[n]));
    let largest =
        |of: fn(&Fit) -> f32| f16::from_f32(fits.iter().map(of).fold(0.0, f32::max) / 63.0);
    let (d, dmin) = (largest(|fit| fit.scale), largest(|fit| fit.minimum));
    block[..2].copy_from_slice(&d.to_le_bytes());
    block[2..4].copy_from_slice(&dmin.to_le_bytes());
    let (d, dmin) = (d.to_f32(), dmin.to_f32());
    // As what is stored: what is not finite is found by who reads it back.
    let six_bits = |x: f32, unit: f32| {
        if unit > 0.0 {
            ((x / unit).round_ties_even() as u8).min(63)
        } else {
            0
        }
    };
    for (n, (x, fit)) in x.as_chunks::<SUB_BLOCK>().0.iter().zip(&fits).enumerate() {
        let (scale, minimum) = (six_bits(fit.scale, d), six_bits(fit.minimum, dmin));
        put_scales(&mut block[4..16], n, scale, minimum);
        let (step, low) = (d * f32::from(scale), dmin * f32::from(minimum));
        let bytes = &mut block[16 + n / 2 * SUB_BLOCK..][..SUB_BLOCK];
        for (x, byte) in x.iter().zip(bytes) {
            *byte |= level((x + low) / step) << (4 * (n % 2));
        }
    }
}

/// Scale and minimum of the nth 32 weights, where [`TableBlocks`] finds them.
fn put_scales(bytes: &mut [u8], n: usize, scale: u8, minimum: u8) {
    if n < 4 {
        bytes[n] |= scale;
        bytes[n + 4] |= minimum;
    } else {
        bytes[n + 4] = (scale & 15) | minimum << 4;
        bytes[n - 4] |= (scale >> 4) << 6;
        bytes[n] |= (minimum >> 4) << 6;
    }
}

/// The nearest of 0 to 15; 0 of what is no number.
fn level(x: f32) -> u8 {
    // The cast saturates.
    (x.round_ties_even() as u8).min(15)
}

/// Weights as `scale * q - minimum`, q from 0 to 15; neither is negative.
#[derive(Clone, Copy)]
struct Fit {
    scale: f32,
    minimum: f32,
}

/// The best of several: for steps around a 15th of the range, the least squares of the levels that
/// each gives, where large weights count more.
fn fit(x: &[f32; SUB_BLOCK]) -> Fit {
    let low = x.iter().fold(0f32, |low, x| low.min(*x));
    let high = x.iter().fold(low, |high, x| high.max(*x));
    let range = high - low;
    let mut best = Fit {
        scale: range / 15.0,
        minimum: -low,
    };
    if !(range.is_finite() && range > 0.0) {
        return best;
    }
    let typical = (x.iter().map(|x| x * x).sum::<f32>() / 32.0).sqrt();
    let weight = |x: f32| typical + x.abs();
    let error = |fit: Fit| {
        let off = |x: &f32| {
            let q = level((x + fit.minimum) / fit.scale);
            let off = fit.scale * f32::from(q) - fit.minimum - x;
            weight(*x) * off * off
        };
        x.iter().map(off).sum::<f32>()
    };
    let mut least = error(best);
    for shift in -10..=10i8 {
        let inverse = (15.0 + f32::from(shift) / 10.0) / range;
        let Some(fit) = least_squares(x, |x| f32::from(level((x - low) * inverse)), weight) else {
            continue;
        };
        let error = error(fit);
        if error < least {
            (best, least) = (fit, error);
        }
    }
    best
}

/// The scale and minimum with the least weighted squares of errors for given levels; `None` where
/// they do not say, or the scale would not be positive.
fn least_squares(
    x: &[f32; SUB_BLOCK],
    level: impl Fn(f32) -> f32,
    weight: impl Fn(f32) -> f32,
) -> Option<Fit> {
    let [mut n, mut sum_q, mut sum_qq, mut sum_x, mut sum_qx] = [0f32; 5];
    for &x in x {
        let (w, q) = (weight(x), level(x));
        n += w;
        sum_q += w * q;
        sum_qq += w * q * q;
        sum_x += w * x;
        sum_qx += w * q * x;
    }
    let determinant = n * sum_qq - sum_q * sum_q;
    let mut fit = Fit {
        scale: (n * sum_qx - sum_q * sum_x) / determinant,
        minimum: (sum_q * sum_qx - sum_qq * sum_x) / determinant,
    };
    if fit.minimum < 0.0 {
        fit = Fit {
            scale: sum_qx / sum_qq,
            minimum: 0.0,
        };
    }
    (fit.scale.is_finite() && fit.scale > 0.0 && fit.minimum.is_finite()).then_some(fit)
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    /// Sums of uniforms: roughly normal, as weights are.
    fn weights(n: usize, mut seed: u64) -> Vec<f32> {
        let mut unit = || {
            seed = seed
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            (seed >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let mut sum = || (0..6).map(|_| unit()).sum::<f32>() * 0.02;
        (0..n).map(|_| sum()).collect()
    }

    fn round_trip(ty: TableType, row: &[f32]) -> Vec<f32> {
        let mut bytes = vec![0xff; ty.row_bytes(row.len()).unwrap()];
        ty.encode_row(row, &mut bytes);
        let mut back = vec![f32::NAN; row.len()];
        ty.decode_row(&bytes, &mut back);
        back
    }

    #[test]
    fn q4_0_has_the_reference_encoders_bytes() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/table_blocks/encoded.json"
        );
        let vectors: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let values = vectors["values"].as_array().unwrap().iter();
        let row: Vec<f32> = values.map(|x| x.as_f64().unwrap() as f32).collect();
        let mut bytes = vec![0; TableType::Q4_0.row_bytes(row.len()).unwrap()];
        TableType::Q4_0.encode_row(&row, &mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, vectors["Q4_0"].as_str().unwrap());
    }

    #[test]
    fn no_weight_is_off_by_more_than_a_step() {
        for seed in 0..20 {
            let row = weights(1024, seed);
            for ty in [TableType::Q4_0, TableType::Q4K] {
                let back = round_trip(ty, &row);
                for (x, back) in row.chunks(SUB_BLOCK).zip(back.chunks(SUB_BLOCK)) {
                    let (low, high) = x
                        .iter()
                        .fold((0f32, 0f32), |(low, high), x| (low.min(*x), high.max(*x)));
                    // Q4_0 has no +8 beside its -8: a whole step there.
                    let step = match ty {
                        TableType::Q4_0 => low.abs().max(high) / 8.0,
                        _ => (high - low) / 15.0,
                    };
                    for (x, back) in x.iter().zip(back) {
                        let off = (x - back).abs();
                        assert!(off <= 1.01 * step, "{}: {off} of {step}", ty.name());
                    }
                }
            }
        }
    }

    #[test]
    fn errors_are_as_small_as_four_bits_allow() {
        let row = weights(256 * 64, 3);
        let relative = |ty| {
            let back = round_trip(ty, &row);
            let off = row.iter().zip(&back).map(|(x, y)| (x - y) * (x - y));
            (off.sum::<f32>() / row.iter().map(|x| x * x).sum::<f32>()).sqrt()
        };
        let [q4_0, q4_k] = [TableType::Q4_0, TableType::Q4K].map(relative);
        assert!(q4_0 < 0.09, "{q4_0}");
        assert!(q4_k < 0.072, "{q4_k}");
    }

    #[test]
    fn odd_blocks_survive() {
        let ramp: Vec<f32> = (0..256).map(|i| i as f32).collect();
        let negative: Vec<f32> = ramp.iter().map(|x| -x - 1.0).collect();
        let mut lone = vec![0.0; 256];
        lone[37] = 0.5;
        for ty in [TableType::Q4_0, TableType::Q4K] {
            assert!(round_trip(ty, &[0.0; 256]).iter().all(|x| *x == 0.0));
            assert!(
                round_trip(ty, &[-0.25; 256])
                    .iter()
                    .all(|x| (x + 0.25).abs() < 1e-3)
            );
            assert!(
                round_trip(ty, &[0.25; 256])
                    .iter()
                    .all(|x| (x - 0.25).abs() < 1e-3)
            );
            let back = round_trip(ty, &lone);
            assert!(
                (back[37] - 0.5).abs() < 1e-3 && back[36] == 0.0,
                "{}",
                ty.name()
            );
            for row in [&ramp, &negative] {
                for (x, back) in row.iter().zip(round_trip(ty, row)) {
                    assert!((x - back).abs() <= 32.0, "{}: {x} {back}", ty.name());
                }
            }
            // Too small for an f16 scale.
            assert!(
                round_trip(ty, &[1e-12; 256])
                    .iter()
                    .all(|x| x.abs() <= 1e-12)
            );
        }
        // Q4_K's minimum holds a ramp that Q4_0 cannot.
        let off = |(x, back): (&f32, f32)| (x - back).abs();
        let most = ramp.iter().zip(round_trip(TableType::Q4K, &ramp)).map(off);
        assert!(most.fold(0.0, f32::max) <= 17.0);
    }
}
