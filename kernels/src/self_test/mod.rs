//! Known vectors through every kernel of an ISA and through scalar. The engine refuses to serve on
//! a mismatch.
//!
//! The comparisons are functions of a shape, so that the load-time test (few shapes) and
//! [`crate::checks`] (many) are the same code.

mod attention;
mod grouped;

use crate::rng::Rng;
use crate::{
    Dense, DenseInput, DenseType, GroupCodes, Isa, Line, NonZero, OutputRows, QuantizedActivations,
    SelfTestError, ShapeError, Ternary, TernaryColumns, TernaryLayout, add_assign, dense_matmul,
    encode_dense_row, gelu_mul, pack_columns, pack_trits5, relu2_mul, rms_norm, rope_angles,
    rope_frequencies, rope_rotate_half, silu_mul, softmax, ternary_columns_matmul, ternary_matmul,
    ternary_matmul_rows,
};

pub(crate) use attention::attention;
pub(crate) use grouped::grouped;
#[cfg(any(test, feature = "checks"))]
pub(crate) use grouped::{group_layouts, grouped_bytes};

/// Activations to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Uniform in -1..1.
    Uniform,
    /// Mixed magnitudes, with zeros of both signs.
    Mixed,
    /// All +1, all -1 or a mixture: every int8 and int16 activation at its limit.
    Limits,
    /// Subnormals.
    #[cfg(any(test, feature = "checks"))]
    Tiny,
    /// Near the largest f32; sums overflow to infinity.
    #[cfg(any(test, feature = "checks"))]
    Huge,
    /// Now and then an infinity or NaN.
    #[cfg(any(test, feature = "checks"))]
    Broken,
}

impl Fill {
    #[cfg(any(test, feature = "checks"))]
    pub(crate) const ALL: [Fill; 6] = [
        Fill::Uniform,
        Fill::Mixed,
        Fill::Limits,
        Fill::Tiny,
        Fill::Huge,
        Fill::Broken,
    ];

    pub(crate) fn values(self, rng: &mut Rng, n: usize) -> Vec<f32> {
        let sign = rng.below(3);
        (0..n)
            .map(|_| {
                let v = rng.unit();
                match self {
                    Fill::Uniform => v,
                    Fill::Mixed => [v, 0.0, -0.0, v * 1e-20, v * 50.0, v * 1e4][rng.below(6)],
                    Fill::Limits => [1.0, -1.0, 1f32.copysign(v)][sign],
                    #[cfg(any(test, feature = "checks"))]
                    Fill::Tiny => f32::from_bits((v.abs() * 8e6) as u32).copysign(v),
                    #[cfg(any(test, feature = "checks"))]
                    Fill::Huge => v * 3e38,
                    #[cfg(any(test, feature = "checks"))]
                    Fill::Broken => {
                        if rng.below(40) == 0 {
                            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][rng.below(3)]
                        } else {
                            v
                        }
                    }
                }
            })
            .collect()
    }
}

/// Weights to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codes {
    /// Any bytes: all four codes.
    Random,
    /// All code 3, the worst case for narrow sums.
    AllThree,
    /// Trits alone: every layout can hold them.
    Trits,
    /// All +1, the worst case of layouts for trits.
    #[cfg(any(test, feature = "checks"))]
    AllTwo,
}

impl Codes {
    /// Random rows `[rows, cols]` in I2_S.
    pub(crate) fn packed(self, rng: &mut Rng, rows: usize, cols: usize) -> Vec<u8> {
        (0..rows * Ternary::row_bytes(cols))
            .map(|_| match self {
                Codes::Random => rng.next() as u8,
                Codes::AllThree => 0xff,
                Codes::Trits => {
                    let byte = rng.next() as u8;
                    byte & !((byte >> 1) & byte & 0x55)
                }
                #[cfg(any(test, feature = "checks"))]
                Codes::AllTwo => 0b_10_10_10_10,
            })
            .collect()
    }
}

/// Runs known vectors through every kernel of `isa` and through scalar; takes well under 2 ms.
pub fn self_test(isa: Isa) -> Result<(), SelfTestError> {
    let mut rng = Rng::new(2026);
    for n_tokens in [1, 3, 33] {
        ternary(
            isa,
            &mut rng,
            6,
            11 * 128 + 40,
            n_tokens,
            Codes::Random,
            Fill::Uniform,
        )?;
    }
    ternary(isa, &mut rng, 1, 24 * 128, 1, Codes::AllThree, Fill::Limits)?;
    ternary(isa, &mut rng, 6, 520, 2, Codes::Trits, Fill::Uniform)?;
    sparse(isa, &mut rng, 300, 140, 2, Codes::Random, Fill::Mixed)?;
    for ty in [
        DenseType::F32,
        DenseType::F16,
        DenseType::Bf16,
        DenseType::Q8_0,
        DenseType::Q6K,
    ] {
        dense(isa, &mut rng, ty, 5, 512, 1, Fill::Uniform)?;
        dense(isa, &mut rng, ty, 2, 256, 5, Fill::Mixed)?;
    }
    for (codes, n_tokens) in [(GroupCodes::Binary, 1), (GroupCodes::Ternary, 1)]
        .into_iter()
        .chain([(GroupCodes::Binary, 11), (GroupCodes::Ternary, 15)])
        .chain([(GroupCodes::Trits8, 1), (GroupCodes::Trits8, 15)])
    {
        let shape = (17, 128, 64);
        grouped(isa, &mut rng, codes, shape, n_tokens, Fill::Uniform)?;
    }
    floats(isa, &mut rng, 75, Fill::Uniform)?;
    floats(isa, &mut rng, 128, Fill::Mixed)?;
    attention(isa, &mut rng, 72, 7, Fill::Uniform)
}

/// Quantisation and ternary product, `[rows, cols]` by `n_tokens`, whole and cut into row chunks.
pub(crate) fn ternary(
    isa: Isa,
    rng: &mut Rng,
    rows: usize,
    cols: usize,
    n_tokens: usize,
    codes: Codes,
    fill: Fill,
) -> Result<(), SelfTestError> {
    let shape = || format!("[{rows}, {cols}] x {n_tokens}, {codes:?}, {fill:?}");
    let packed = codes.packed(rng, rows, cols);
    let x = fill.values(rng, n_tokens * cols);
    let fail = |kernel, detail: String| SelfTestError {
        isa: isa.name(),
        kernel,
        detail,
    };
    let w = Ternary::new(rows, cols, &packed, 0.37)
        .map_err(|e| fail("ternary_matmul", e.to_string()))?;

    let mut q = [
        QuantizedActivations::with_capacity(n_tokens, cols),
        QuantizedActivations::with_capacity(n_tokens, cols),
    ];
    q[0].quantize(Isa::SCALAR, &x, cols);
    q[1].quantize(isa, &x, cols);
    for t in 0..n_tokens {
        if q[0].row(t) != q[1].row(t) || q[0].sum(t) != q[1].sum(t) {
            return Err(fail("quantize", format!("{}, token {t}", shape())));
        }
    }
    let scales = q
        .each_ref()
        .map(|q| (0..n_tokens).map(|t| q.scale(t)).collect::<Vec<_>>());
    same(isa, "quantize", &shape, &scales[0], &scales[1])?;

    let run = |isa, w, rows_per_chunk| {
        let mut out = vec![f32::NAN; n_tokens * rows];
        let view = OutputRows::new(&mut out, n_tokens, rows)
            .map_err(|e| fail("ternary_matmul", e.to_string()))?;
        for chunk in view.chunks(rows_per_chunk) {
            ternary_matmul(isa, w, &q[0], chunk);
        }
        Ok(out)
    };
    let expected = run(Isa::SCALAR, w, rows)?;
    let kernel = if n_tokens == 1 {
        "ternary_matmul (one token)"
    } else {
        "ternary_matmul (several tokens)"
    };
    same(isa, kernel, &shape, &expected, &run(isa, w, rows)?)?;
    let cut = 1 + rng.below(rows);
    same(isa, kernel, &shape, &expected, &run(isa, w, cut)?)?;
    let Some(small) = pack_trits5(isa, w) else {
        return Ok(()); // a code 3 among them
    };
    let small = Ternary::with_layout(TernaryLayout::Trits5, rows, cols, &small, 0.37)
        .map_err(|e| fail("pack_trits5", e.to_string()))?;
    for rows_per_chunk in [rows, cut] {
        let out = run(isa, small, rows_per_chunk)?;
        same(isa, "ternary_matmul (trits5)", &shape, &expected, &out)?;
    }
    Ok(())
}

/// Listed rows alone, and the matrix by columns: each the product's own bits.
pub(crate) fn sparse(
    isa: Isa,
    rng: &mut Rng,
    rows: usize,
    cols: usize,
    n_tokens: usize,
    codes: Codes,
    fill: Fill,
) -> Result<(), SelfTestError> {
    let shape = || format!("[{rows}, {cols}] x {n_tokens}, {codes:?}, {fill:?}");
    let fail = |e: ShapeError| SelfTestError {
        isa: isa.name(),
        kernel: "sparse",
        detail: e.to_string(),
    };
    let packed = codes.packed(rng, rows, cols);
    // From no zeros to nothing but zeros.
    let density = rng.below(5);
    let mut x = fill.values(rng, n_tokens * cols);
    x.iter_mut()
        .filter(|_| rng.below(4) >= density)
        .for_each(|x| *x = 0.0);
    let mut q = QuantizedActivations::with_capacity(n_tokens, cols);
    q.quantize(Isa::SCALAR, &x, cols);
    let w = Ternary::new(rows, cols, &packed, 0.37).map_err(fail)?;
    let mut expected = vec![0.0; n_tokens * rows];
    let view = OutputRows::new(&mut expected, n_tokens, rows).map_err(fail)?;
    ternary_matmul(Isa::SCALAR, w, &q, view);

    let mut lines = vec![Line::default(); TernaryColumns::n_lines(rows, cols)];
    for (tile, lines) in lines.chunks_exact_mut(cols).enumerate() {
        pack_columns(isa, w, tile, lines);
    }
    let by_columns = TernaryColumns::new(rows, cols, &lines, 0.37).map_err(fail)?;
    let small = pack_trits5(isa, w);
    let small = match &small {
        Some(small) => {
            let w = Ternary::with_layout(TernaryLayout::Trits5, rows, cols, small, 0.37)
                .map_err(fail)?;
            let mut again = vec![Line::default(); cols];
            for (tile, lines) in lines.chunks_exact(cols).enumerate() {
                pack_columns(isa, w, tile, &mut again);
                if again != lines {
                    return Err(SelfTestError {
                        isa: isa.name(),
                        kernel: "pack_columns (trits5)",
                        detail: shape(),
                    });
                }
            }
            w
        }
        None => w,
    };
    let mut nonzero = NonZero::default();
    nonzero.set(&q);
    for rows_per_chunk in [256, 1 + rng.below(rows)] {
        let mut out = vec![f32::NAN; n_tokens * rows];
        let view = OutputRows::new(&mut out, n_tokens, rows).map_err(fail)?;
        for chunk in view.chunks(rows_per_chunk) {
            ternary_columns_matmul(isa, by_columns, &q, &nonzero, chunk);
        }
        same(isa, "ternary_columns_matmul", &shape, &expected, &out)?;
    }

    let listed: Vec<u32> = (0..rows as u32).filter(|_| rng.below(3) == 0).collect();
    for t in 0..n_tokens {
        for r in (0..rows).filter(|r| !listed.contains(&(*r as u32))) {
            expected[t * rows + r] = 7.0;
        }
    }
    let mut out = vec![7.0; n_tokens * rows];
    let view = OutputRows::new(&mut out, n_tokens, rows).map_err(fail)?;
    let cut = rng.below(rows + 1);
    let (low, high) = listed.split_at(listed.partition_point(|&r| (r as usize) < cut));
    let (low_out, high_out) = view.split_at(cut);
    ternary_matmul_rows(isa, w, &q, low, low_out);
    ternary_matmul_rows(isa, w, &q, high, high_out);
    same(isa, "ternary_matmul_rows", &shape, &expected, &out)?;
    let mut out = vec![7.0; n_tokens * rows];
    let view = OutputRows::new(&mut out, n_tokens, rows).map_err(fail)?;
    ternary_matmul_rows(isa, small, &q, &listed, view);
    same(isa, "ternary_matmul_rows (trits5)", &shape, &expected, &out)
}

/// Dense product of random weights stored as `ty`.
pub(crate) fn dense(
    isa: Isa,
    rng: &mut Rng,
    ty: DenseType,
    rows: usize,
    cols: usize,
    n_tokens: usize,
    fill: Fill,
) -> Result<(), SelfTestError> {
    let shape = || format!("{} [{rows}, {cols}] x {n_tokens}, {fill:?}", ty.name());
    let kernel = "dense_matmul";
    let fail = |detail: String| SelfTestError {
        isa: isa.name(),
        kernel,
        detail,
    };
    let row_bytes = ty.row_bytes(cols).ok_or_else(|| fail(shape()))?;
    let mut bytes = vec![0u8; rows * row_bytes];
    for row in bytes.chunks_exact_mut(row_bytes) {
        encode_dense_row(ty, &Fill::Uniform.values(rng, cols), row);
        if fill == Fill::Limits {
            extreme_values(ty, rng, row);
        }
    }
    let w = Dense::new(ty, rows, cols, &bytes).map_err(|e| fail(e.to_string()))?;
    let x = fill.values(rng, n_tokens * cols);
    let run = |isa| {
        let mut input = DenseInput::with_capacity(n_tokens, cols);
        input.set(isa, &x, cols, ty);
        let mut out = vec![f32::NAN; n_tokens * rows];
        let view = OutputRows::new(&mut out, n_tokens, rows).map_err(|e| fail(e.to_string()))?;
        for chunk in view.chunks(3) {
            dense_matmul(isa, w, &input, chunk);
        }
        Ok(out)
    };
    same(isa, kernel, &shape, &run(Isa::SCALAR)?, &run(isa)?)
}

/// Integer fields of quantised blocks at random or all at their limits; the f16 scales stay as they
/// are.
fn extreme_values(ty: DenseType, rng: &mut Rng, row: &mut [u8]) {
    let (from, to, block) = match ty {
        DenseType::Q8_0 => (2, 34, 34),
        DenseType::Q6K => (0, 208, 210),
        _ => return special_values(ty, rng, row),
    };
    for block in row.chunks_exact_mut(block) {
        match rng.below(3) {
            0 => block[from..to].fill(0x80), // Q8_0 -128; Q6_K scales -128
            1 if ty == DenseType::Q6K => {
                block[..192].fill(0); // q - 32 = -32
                block[192..to].fill(0x80);
            }
            _ => block[from..to]
                .iter_mut()
                .for_each(|b| *b = rng.next() as u8),
        }
    }
}

/// Subnormals of both signs here and there, and rarely an infinity, among float weights.
fn special_values(ty: DenseType, rng: &mut Rng, row: &mut [u8]) {
    let (size, infinity) = match ty {
        DenseType::F16 => (2, 0x7c),
        DenseType::Bf16 => (2, 0x7f),
        _ => (4, 0x7f),
    };
    for weight in row.chunks_exact_mut(size) {
        match rng.below(300) {
            0 => {
                weight.fill(0);
                weight[size - 1] = infinity;
                if infinity == 0x7f {
                    weight[size - 2] = 0x80;
                }
            }
            1..30 => {
                weight.iter_mut().for_each(|b| *b = rng.next() as u8);
                weight[size - 1] &= 0x83; // f16: exponent 0
                if infinity == 0x7f {
                    weight[size - 1] &= 0x80;
                    weight[size - 2] &= 0x7f;
                }
            }
            _ => {}
        }
    }
}

/// Norm, RoPE, softmax and the gates, on `n` values.
pub(crate) fn floats(isa: Isa, rng: &mut Rng, n: usize, fill: Fill) -> Result<(), SelfTestError> {
    let shape = || format!("[{n}], {fill:?}");
    let x = fill.values(rng, n);
    let y = Fill::Mixed.values(rng, n);
    let (mut cos, mut sin) = (vec![0.0; n / 2], vec![0.0; n / 2]);
    let frequencies = rope_frequencies(5e5, n & !1);
    rope_angles(&frequencies, 1.0, 1 + rng.below(4096), &mut cos, &mut sin);
    type Step<'a> = (&'static str, &'a dyn Fn(Isa, &mut [f32]));
    let steps: [Step<'_>; 7] = [
        ("rms_norm", &|isa, out| rms_norm(isa, &x, &y, 1e-5, out)),
        ("rope_rotate_half", &|isa, out| {
            rope_rotate_half(isa, &mut out[..n & !1], &cos, &sin)
        }),
        ("softmax", &|isa, out| softmax(isa, out)),
        ("relu2_mul", &|isa, out| relu2_mul(isa, &x, &y, out)),
        ("silu_mul", &|isa, out| silu_mul(isa, &x, &y, out)),
        ("gelu_mul", &|isa, out| gelu_mul(isa, &x, &y, out)),
        ("add_assign", &|isa, out| add_assign(isa, out, &y)),
    ];
    for (kernel, step) in steps {
        let (mut expected, mut actual) = (x.clone(), x.clone());
        step(Isa::SCALAR, &mut expected);
        step(isa, &mut actual);
        same(isa, kernel, &shape, &expected, &actual)?;
    }
    Ok(())
}

/// Equal bits, or NaN in both.
pub(crate) fn same(
    isa: Isa,
    kernel: &'static str,
    shape: &dyn Fn() -> String,
    expected: &[f32],
    actual: &[f32],
) -> Result<(), SelfTestError> {
    for (i, (e, a)) in expected.iter().zip(actual).enumerate() {
        if e.to_bits() != a.to_bits() && !(e.is_nan() && a.is_nan()) {
            let detail = format!("{}, value {i}: scalar {e:e}, here {a:e}", shape());
            return Err(SelfTestError {
                isa: isa.name(),
                kernel,
                detail,
            });
        }
    }
    Ok(())
}
