//! Group-scaled matrices: their products and, where checks run, their layouts.

use super::{Fill, same};
#[cfg(any(test, feature = "checks"))]
use crate::pack_group_tile;
use crate::rng::Rng;
use crate::{
    BlockActivations, GroupCodes, GroupShape, Grouped, Isa, OutputRows, SelfTestError, ShapeError,
    grouped_matmul,
};

/// Quantisation in blocks and a group-scaled product of random weights, `(rows, cols, group)` by
/// `n_tokens`, whole and cut into row chunks.
pub(crate) fn grouped(
    isa: Isa,
    rng: &mut Rng,
    codes: GroupCodes,
    (rows, cols, group): (usize, usize, usize),
    n_tokens: usize,
    fill: Fill,
) -> Result<(), SelfTestError> {
    let detail = || format!("{codes:?} [{rows}, {cols}] by {group} x {n_tokens}, {fill:?}");
    let kernel = "grouped_matmul";
    let fail = |e: ShapeError| SelfTestError {
        isa: isa.name(),
        kernel,
        detail: e.to_string(),
    };
    let shape = GroupShape::new(rows, cols, group, codes).map_err(fail)?;
    let packed = grouped_bytes(shape, rng, fill);
    let w = Grouped::new(shape, &packed).map_err(fail)?;
    let x = fill.values(rng, n_tokens * cols);
    let mut q = [
        BlockActivations::with_capacity(n_tokens, cols),
        BlockActivations::with_capacity(n_tokens, cols),
    ];
    q[0].quantize(Isa::SCALAR, &x, cols);
    q[1].quantize(isa, &x, cols);
    for t in 0..n_tokens {
        for (expected, actual) in q[0].row(t).iter().zip(q[1].row(t)) {
            if (expected.q, expected.minus_sum) != (actual.q, actual.minus_sum) {
                return Err(SelfTestError {
                    isa: isa.name(),
                    kernel: "quantize_blocks",
                    detail: format!("{}, token {t}", detail()),
                });
            }
            let scales = ([expected.scale], [actual.scale]);
            same(isa, "quantize_blocks", &detail, &scales.0, &scales.1)?;
        }
    }
    let run = |isa, rows_per_chunk| {
        let mut out = vec![f32::NAN; n_tokens * rows];
        let view = OutputRows::new(&mut out, n_tokens, rows).map_err(fail)?;
        for chunk in view.chunks(rows_per_chunk) {
            grouped_matmul(isa, w, &q[0], chunk);
        }
        Ok(out)
    };
    let expected = run(Isa::SCALAR, rows)?;
    for rows_per_chunk in [rows, 1 + rng.below(rows)] {
        same(isa, kernel, &detail, &expected, &run(isa, rows_per_chunk)?)?;
    }
    Ok(())
}

/// The same random trits and scales, `(rows, cols, group)`, in two bits and in trits8, by
/// `n_tokens`.
#[cfg(any(test, feature = "checks"))]
pub(crate) fn group_layouts(
    isa: Isa,
    rng: &mut Rng,
    (rows, cols, group): (usize, usize, usize),
    n_tokens: usize,
) -> Result<(), SelfTestError> {
    let detail = || format!("[{rows}, {cols}] by {group} x {n_tokens}");
    let kernel = "grouped_matmul (trits8)";
    let fail = |e: ShapeError| SelfTestError {
        isa: isa.name(),
        kernel,
        detail: e.to_string(),
    };
    let weights: Vec<i8> = (0..rows * cols).map(|_| rng.below(3) as i8 - 1).collect();
    let scales: Vec<u16> = (0..rows * cols / group)
        .map(|_| rng.next() as u16 & 0xbfff)
        .collect();
    let x = Fill::Uniform.values(rng, n_tokens * cols);
    let mut q = BlockActivations::with_capacity(n_tokens, cols);
    q.quantize(isa, &x, cols);
    let run = |codes| {
        let shape = GroupShape::new(rows, cols, group, codes).map_err(fail)?;
        let mut packed = vec![0; shape.packed_bytes()];
        let fill = |row: usize, codes: &mut [i8], to: &mut [u16]| {
            codes.copy_from_slice(&weights[row * cols..][..cols]);
            to.copy_from_slice(&scales[row * cols / group..][..cols / group]);
        };
        for (tile, out) in packed.chunks_exact_mut(shape.tile_bytes()).enumerate() {
            pack_group_tile(shape, tile, fill, out);
        }
        let mut out = vec![f32::NAN; n_tokens * rows];
        let view = OutputRows::new(&mut out, n_tokens, rows).map_err(fail)?;
        grouped_matmul(isa, Grouped::new(shape, &packed).map_err(fail)?, &q, view);
        Ok(out)
    };
    let (expected, actual) = (run(GroupCodes::Ternary)?, run(GroupCodes::Trits8)?);
    same(isa, kernel, &detail, &expected, &actual)
}

/// Tiles of random codes and scales of all magnitudes; or every code at its limit.
pub(crate) fn grouped_bytes(shape: GroupShape, rng: &mut Rng, fill: Fill) -> Vec<u8> {
    let mut packed = vec![0; shape.packed_bytes()];
    for group in packed.chunks_exact_mut(shape.group_bytes()) {
        let (codes, scales) = group.split_at_mut(shape.code_bytes());
        let all = match shape.codes() {
            GroupCodes::Binary | GroupCodes::Ternary => [0xff, 0x00][rng.below(2)],
            // All five codes are 2; nothing packs that, but its fourth code is 3; all are 0.
            GroupCodes::Trits8 => [0xf8, 0xff, 0x00][rng.below(3)],
        };
        for byte in codes {
            *byte = if fill == Fill::Limits {
                all
            } else {
                rng.next() as u8
            };
        }
        for scale in scales.as_chunks_mut::<2>().0 {
            let random = rng.next() as u16;
            let bits = match rng.below(64) {
                0 => [0, 0x8000, 0x7bff, 0xfbff][rng.below(4)], // zeros, the largest
                1 => random & 0x83ff,                           // subnormals
                2 if fill == Fill::Mixed => 0x7c00 | random & 0x8000, // infinities
                _ => random & 0xbfff | 0x0400,                  // below 2 in magnitude
            };
            *scale = bits.to_le_bytes();
        }
    }
    packed
}
