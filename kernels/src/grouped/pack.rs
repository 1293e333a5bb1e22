//! Packing of group-scaled rows into tiles.

use super::{BLOCK, GroupCodes, GroupShape, Grouped, LINE_BYTES, TILE_ROWS, UNIT, trits8};

/// Packs tile `tile` of a matrix into `out`, `shape.tile_bytes()` of it. Tiles are independent, so
/// that threads can pack one each.
///
/// `fill` gives the tile's rows in their order: `fill(row, codes, scales)` puts the row's weights
/// (-1, 0 or +1; binary has no 0) into `codes`, `[cols]`, and each group's scale, the bits of an
/// f16, into `scales`, `[groups]`. Both are zeros before. Rows past the last have scale 0.
///
/// # Panics
/// If there is no such tile, `out` has another length or a weight is none: a caller's mistake.
pub fn pack_group_tile(
    shape: GroupShape,
    tile: usize,
    mut fill: impl FnMut(usize, &mut [i8], &mut [u16]),
    out: &mut [u8],
) {
    assert!(tile < shape.tiles(), "no such tile");
    assert_eq!(out.len(), shape.tile_bytes(), "a tile has its own size");
    out.fill(0);
    let first = tile * TILE_ROWS;
    let mut codes = vec![0; shape.cols()];
    let mut scales = vec![0; shape.groups()];
    for row in first..shape.rows().min(first + TILE_ROWS) {
        codes.fill(0);
        scales.fill(0);
        fill(row, &mut codes, &mut scales);
        let groups = out.chunks_exact_mut(shape.group_bytes());
        let codes = codes.chunks_exact(shape.group());
        for ((out, codes), scale) in groups.zip(codes).zip(&scales) {
            pack_group(shape, row - first, codes, *scale, out);
        }
    }
}

/// Packs tile `tile` of a matrix in two bits into `out` as layout trits8 has it: the tile's bytes
/// of the same shape with [`GroupCodes::Trits8`]. False, and no tile, where a weight has the code
/// 3.
///
/// # Panics
/// If `w` has other codes than [`GroupCodes::Ternary`], no such tile, or `out` another length: a
/// caller's mistake.
pub fn pack_trits8_tile(w: Grouped<'_>, tile: usize, out: &mut [u8]) -> bool {
    let (from, to) = (w.shape(), w.shape().with_codes(GroupCodes::Trits8));
    assert_eq!(from.codes(), GroupCodes::Ternary, "codes in two bits");
    assert!(tile < from.tiles(), "no such tile");
    assert_eq!(out.len(), to.tile_bytes(), "a tile has its own size");
    let groups = w.tile(tile).chunks_exact(from.group_bytes());
    let mut fits = true;
    for (group, out) in groups.zip(out.chunks_exact_mut(to.group_bytes())) {
        let (codes, scales) = group.split_at(from.code_bytes());
        let (units, out_scales) = out.split_at_mut(to.code_bytes());
        let lines = codes.as_chunks::<LINE_BYTES>().0.as_chunks::<4>().0;
        for (lines, unit) in lines.iter().zip(units.as_chunks_mut().0) {
            fits &= trits8::pack(lines, unit);
        }
        out_scales.copy_from_slice(scales);
    }
    fits
}

/// One row's part of a group.
fn pack_group(shape: GroupShape, row: usize, weights: &[i8], scale: u16, out: &mut [u8]) {
    let (codes, scales) = out.split_at_mut(shape.code_bytes());
    match shape.codes() {
        GroupCodes::Binary => pack_bits::<1>(row, weights, codes, |weight| match weight {
            -1 => 0,
            1 => 1,
            _ => none(shape, weight),
        }),
        GroupCodes::Ternary => pack_bits::<2>(row, weights, codes, |weight| trit(shape, weight)),
        GroupCodes::Trits8 => {
            let units = codes.as_chunks_mut().0.iter_mut();
            for (unit, weights) in units.zip(weights.as_chunks::<UNIT>().0) {
                trits8::pack_row(&weights.map(|weight| trit(shape, weight)), row, unit);
            }
        }
    }
    scales[2 * row..][..2].copy_from_slice(&scale.to_le_bytes());
}

/// Four columns at a time, whose codes are neighbouring bytes of a line.
fn pack_bits<const BITS: usize>(
    row: usize,
    weights: &[i8],
    out: &mut [u8],
    code: impl Fn(i8) -> u8,
) {
    let lines = out.as_chunks_mut::<LINE_BYTES>().0.iter_mut();
    for (line, weights) in lines.zip(weights.chunks_exact(BLOCK / BITS)) {
        let quads = weights.as_chunks::<4>().0.iter().enumerate();
        let word = quads.fold(0, |word, (i, quad)| {
            word | u32::from_le_bytes(quad.map(&code)) << (BITS * i)
        });
        line[4 * row..][..4].copy_from_slice(&word.to_le_bytes());
    }
}

fn trit(shape: GroupShape, weight: i8) -> u8 {
    match weight {
        -1..=1 => (weight + 1) as u8,
        _ => none(shape, weight),
    }
}

fn none(shape: GroupShape, weight: i8) -> ! {
    panic!("{weight} is no {:?} weight", shape.codes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_in_two_bits_become_those_that_rows_are_packed_into() {
        let two_bits = GroupShape::new(18, 384, 128, GroupCodes::Ternary).unwrap();
        let trits8 = two_bits.with_codes(GroupCodes::Trits8);
        let fill = |row: usize, codes: &mut [i8], scales: &mut [u16]| {
            for (col, code) in codes.iter_mut().enumerate() {
                *code = ((row * 11 + col * 7 + row * col) % 3) as i8 - 1;
            }
            scales.fill(row as u16);
        };
        let mut packed = vec![0; two_bits.packed_bytes()];
        for (tile, out) in packed.chunks_exact_mut(two_bits.tile_bytes()).enumerate() {
            pack_group_tile(two_bits, tile, fill, out);
        }
        let (mut expected, mut actual) =
            (vec![0; trits8.tile_bytes()], vec![1; trits8.tile_bytes()]);
        for tile in 0..2 {
            pack_group_tile(trits8, tile, fill, &mut expected);
            let w = Grouped::new(two_bits, &packed).unwrap();
            assert!(pack_trits8_tile(w, tile, &mut actual));
            assert_eq!(actual, expected);
        }
        packed[100] |= 0b11;
        let w = Grouped::new(two_bits, &packed).unwrap();
        assert!(!pack_trits8_tile(w, 0, &mut actual));
    }

    #[test]
    fn rows_come_back_as_they_were() {
        for codes in GroupCodes::ALL {
            let shape = GroupShape::new(21, 256, 64, codes).unwrap();
            let weight = |row: usize, col: usize| match codes {
                GroupCodes::Binary => ((row * 7 + col * 5) / 3 % 2) as i8 * 2 - 1,
                _ => ((row * 7 + col * 5) / 2 % 3) as i8 - 1,
            };
            let scale = |row, group| half::f16::from_f32((row * 4 + group) as f32 / 64.0);
            let mut packed = vec![0xff; shape.packed_bytes()];
            for (tile, out) in packed.chunks_exact_mut(shape.tile_bytes()).enumerate() {
                let fill = |row, codes: &mut [i8], scales: &mut [u16]| {
                    for (col, code) in codes.iter_mut().enumerate() {
                        *code = weight(row, col);
                    }
                    for (group, bits) in scales.iter_mut().enumerate() {
                        *bits = scale(row, group).to_bits();
                    }
                };
                pack_group_tile(shape, tile, fill, out);
            }
            let w = Grouped::new(shape, &packed).unwrap();
            let mut out = vec![f32::NAN; 256];
            for row in 0..21 {
                w.row(row, &mut out);
                for (col, value) in out.iter().enumerate() {
                    let expected = f32::from(weight(row, col)) * scale(row, col / 64).to_f32();
                    assert_eq!(*value, expected);
                }
                let (mut weights, mut scales) = ([9; 256], [9; 4]);
                w.read_row(row, &mut weights, &mut scales);
                assert_eq!(weights, std::array::from_fn(|col| weight(row, col)));
                assert_eq!(
                    scales,
                    std::array::from_fn(|group| scale(row, group).to_bits())
                );
            }
        }
    }
}
