//! One number for all results: equal to scalar is not enough if scalar itself differs between
//! targets.

use crate::pack::pack_ternary;
use crate::rng::Rng;
use crate::self_test::{Fill, grouped_bytes};
use crate::{
    BlockActivations, Dense, DenseInput, DenseType, GroupCodes, GroupShape, Grouped, Isa, KvBuffer,
    KvRows, KvType, Line, OutputRows, QuantizedActivations, QuantizedQueries, Queries,
    SelfTestError, Ternary, attention_mix, attention_scores, dense_matmul, encode_dense_row,
    exp_f32, grouped_matmul, ln_f32, pack_columns, pack_group_tile, pack_trits5, relu2_mul,
    rms_norm, rope_angles, rope_frequencies, rope_rotate_half, silu_mul, softmax, ternary_matmul,
};

/// FNV-1a over the bits of every result below, the same on every target and ISA. It changes when a
/// kernel's definition changes, and then every model's output does too: say so in the commit.
const GOLDEN: u64 = 0x08a7_956d_3f03_131c;

/// The same of keys and values in f16 and int8.
const GOLDEN_CACHED: u64 = 0xa4ae_ba81_09cd_869c;

/// FNV-1a over matrices in the layouts that files and memory hold: a file written today is read for
/// ever.
const GOLDEN_LAYOUTS: u64 = 0x6eaa_8432_edd0_9426;

/// FNV-1a over group-scaled matrices as they are packed, and over their products.
const GOLDEN_GROUPED: u64 = 0x5dab_0b8c_5fc6_3f19;

/// The same of layout trits8.
const GOLDEN_TRITS8: u64 = 0x6ca3_503c_7db8_99c3;

/// FNV-1a, 64 bits.
struct Digest(u64);

impl Digest {
    const START: u64 = 0xcbf2_9ce4_8422_2325;

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn floats(&mut self, values: &[f32]) {
        for value in values {
            self.bytes(&value.to_bits().to_le_bytes());
        }
    }
}

/// Runs a small model's worth of steps and compares the digest with [`GOLDEN`].
pub(super) fn golden(isa: Isa, _cases: usize) -> Result<(), SelfTestError> {
    let fail = |detail: String| SelfTestError {
        isa: isa.name(),
        kernel: "golden",
        detail,
    };
    let mut rng = Rng::new(2026);
    let mut digest = Digest(Digest::START);
    for fill in [Fill::Uniform, Fill::Mixed, Fill::Limits] {
        matmuls(isa, &mut rng, fill, &mut digest).map_err(|e| fail(e.to_string()))?;
        floats(isa, &mut rng, fill, &mut digest);
    }
    let mut packed = Digest(Digest::START);
    layouts(isa, &mut packed).map_err(|e| fail(e.to_string()))?;
    let mut grouped = Digest(Digest::START);
    let in_bits = [(GroupCodes::Binary, 128), (GroupCodes::Ternary, 64)];
    grouped_matrices(isa, 1024, &in_bits, &mut grouped).map_err(|e| fail(e.to_string()))?;
    let mut trits8 = Digest(Digest::START);
    let in_trits8 = [(GroupCodes::Trits8, 64), (GroupCodes::Trits8, 256)];
    grouped_matrices(isa, 1625, &in_trits8, &mut trits8).map_err(|e| fail(e.to_string()))?;
    let mut cached = Digest(Digest::START);
    for fill in [Fill::Uniform, Fill::Mixed, Fill::Limits] {
        few_bits(isa, &mut Rng::new(88), fill, &mut cached);
    }
    for (what, found, expected) in [
        ("keys and values in fewer bits", cached.0, GOLDEN_CACHED),
        ("results", digest.0, GOLDEN),
        ("layouts", packed.0, GOLDEN_LAYOUTS),
        ("group-scaled matrices", grouped.0, GOLDEN_GROUPED),
        ("matrices in trits8", trits8.0, GOLDEN_TRITS8),
    ] {
        if found != expected {
            return Err(fail(format!(
                "digest of {what} {found:#018x}, expected {expected:#018x}"
            )));
        }
    }
    Ok(())
}

/// Random trits of odd shapes in every layout.
fn layouts(isa: Isa, digest: &mut Digest) -> Result<(), crate::ShapeError> {
    let mut rng = Rng::new(1958);
    for (rows, cols) in [(1, 1), (7, 330), (300, 130)] {
        let trits: Vec<i8> = (0..rows * cols).map(|_| rng.below(3) as i8 - 1).collect();
        let packed = pack_ternary(rows, cols, &trits);
        let w = Ternary::new(rows, cols, &packed, 1.0)?;
        digest.bytes(&packed);
        digest.bytes(&pack_trits5(isa, w).unwrap_or_default());
        let mut lines = vec![Line::default(); cols];
        for tile in 0..rows.div_ceil(256) {
            pack_columns(isa, w, tile, &mut lines);
            lines.iter().for_each(|line| digest.bytes(&line.0));
        }
    }
    Ok(())
}

/// Tiles that are packed from weights, and products with random tiles.
fn grouped_matrices(
    isa: Isa,
    seed: u64,
    kinds: &[(GroupCodes, usize)],
    digest: &mut Digest,
) -> Result<(), crate::ShapeError> {
    let mut rng = Rng::new(seed);
    for &(codes, group) in kinds {
        let shape = GroupShape::new(21, 256, group, codes)?;
        let mut tile = vec![0; shape.tile_bytes()];
        let fill = |_, codes: &mut [i8], scales: &mut [u16]| {
            for code in codes {
                *code = match shape.codes() {
                    GroupCodes::Binary => 2 * rng.below(2) as i8 - 1,
                    GroupCodes::Ternary | GroupCodes::Trits8 => rng.below(3) as i8 - 1,
                };
            }
            scales.fill_with(|| rng.next() as u16 & 0x3fff);
        };
        pack_group_tile(shape, 1, fill, &mut tile);
        digest.bytes(&tile);
        for (fill, n_tokens) in [(Fill::Uniform, 1), (Fill::Mixed, 5), (Fill::Limits, 2)] {
            let packed = grouped_bytes(shape, &mut rng, fill);
            let x = fill.values(&mut rng, n_tokens * shape.cols());
            let mut q = BlockActivations::with_capacity(n_tokens, shape.cols());
            q.quantize(isa, &x, shape.cols());
            let mut out = vec![0.0; n_tokens * shape.rows()];
            let view = OutputRows::new(&mut out, n_tokens, shape.rows())?;
            grouped_matmul(isa, Grouped::new(shape, &packed)?, &q, view);
            // Infinite scales make NaN, whose payload is not one for all.
            out.iter_mut()
                .filter(|v| v.is_nan())
                .for_each(|v| *v = f32::NAN);
            digest.floats(&out);
        }
    }
    Ok(())
}

fn matmuls(
    isa: Isa,
    rng: &mut Rng,
    fill: Fill,
    digest: &mut Digest,
) -> Result<(), crate::ShapeError> {
    let (rows, cols) = (7, 512);
    let packed: Vec<u8> = (0..rows * Ternary::row_bytes(cols))
        .map(|_| rng.next() as u8)
        .collect();
    let dense_rows: Vec<f32> = Fill::Uniform.values(rng, rows * cols);
    for n_tokens in [1, 3, 20] {
        let x = fill.values(rng, n_tokens * cols);
        let mut out = vec![0.0; n_tokens * rows];
        let mut q = QuantizedActivations::with_capacity(n_tokens, cols);
        q.quantize(isa, &x, cols);
        let w = Ternary::new(rows, cols, &packed, 0.37)?;
        ternary_matmul(isa, w, &q, OutputRows::new(&mut out, n_tokens, rows)?);
        digest.floats(&out);
        for ty in [
            DenseType::F32,
            DenseType::F16,
            DenseType::Bf16,
            DenseType::Q8_0,
            DenseType::Q6K,
        ] {
            let mut bytes = vec![0; rows * ty.row_bytes(cols).unwrap_or(0)];
            encode_dense_row(ty, &dense_rows, &mut bytes);
            digest.bytes(&bytes);
            let mut input = DenseInput::with_capacity(n_tokens, cols);
            input.set(isa, &x, cols, ty);
            let w = Dense::new(ty, rows, cols, &bytes)?;
            dense_matmul(isa, w, &input, OutputRows::new(&mut out, n_tokens, rows)?);
            digest.floats(&out);
        }
    }
    Ok(())
}

/// Attention over keys and values in f16 and int8.
fn few_bits(isa: Isa, rng: &mut Rng, fill: Fill, digest: &mut Digest) {
    let (d, n, n_queries) = (150, 70, 3);
    let q = Fill::Uniform.values(rng, n_queries * d);
    let rows = fill.values(rng, n * d);
    let mut quantized = QuantizedQueries::default();
    quantized.quantize(isa, &q, d);
    for (ty, queries) in [
        (KvType::F16, Queries::Floats(&q)),
        (KvType::Int8, quantized.heads(0..n_queries)),
    ] {
        let cache = KvBuffer::store(isa, ty, &rows, d);
        digest.floats(&cache.to_f32());
        let mut scores = vec![0.0; n_queries * n];
        attention_scores(isa, d, queries, cache.rows(), None, 0.18, n, &mut scores);
        digest.floats(&scores);
        scores.chunks_mut(n).for_each(|row| softmax(isa, row));
        let mut out = vec![0.0; n_queries * d];
        attention_mix(isa, d, &scores, n, cache.rows(), None, &mut out);
        digest.floats(&out);
    }
}

fn floats(isa: Isa, rng: &mut Rng, fill: Fill, digest: &mut Digest) {
    let n = 150;
    let (mut x, y) = (fill.values(rng, n), Fill::Uniform.values(rng, n));
    let (mut cos, mut sin, mut out) = (vec![0.0; n / 2], vec![0.0; n / 2], vec![0.0; n]);
    for (theta, position) in [(10_000.0, 1), (500_000.0, 4095), (1_000_042.0, 32_767)] {
        rope_angles(
            &rope_frequencies(theta, n),
            1.0,
            position,
            &mut cos,
            &mut sin,
        );
        rope_rotate_half(isa, &mut x, &cos, &sin);
        digest.floats(&x);
    }
    rms_norm(isa, &x, &y, 1e-5, &mut out);
    digest.floats(&out);
    relu2_mul(isa, &x, &y, &mut out);
    digest.floats(&out);
    silu_mul(isa, &x, &y, &mut out);
    digest.floats(&out);
    let mut scores = vec![0.0; 5];
    let cache = KvRows::F32(&x);
    let queries = Queries::Floats(&y[..30]);
    attention_scores(isa, 30, queries, cache, None, 0.18, 0, &mut scores);
    softmax(isa, &mut scores);
    digest.floats(&scores);
    attention_mix(isa, 30, &scores, 0, cache, None, &mut out[..30]);
    digest.floats(&out);
    digest.floats(&y.iter().map(|v| exp_f32(v * 80.0)).collect::<Vec<_>>());
    digest.floats(&y.iter().map(|v| ln_f32(v.abs())).collect::<Vec<_>>());
}
