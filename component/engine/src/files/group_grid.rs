//! Matrices of numbers that lie on a grid: in each group of 128 or 64 only -d, 0 and +d. What
//! quantised training leaves when its weights are written out, and taken back exactly.
//!
//! A type that cannot keep the grid (Q4_0 has no +8 beside its -8) is taken by the code nearest to
//! it.

use half::f16;
use sterna_kernels::{GroupCodes, GroupShape};

use super::floats::Floats;
use super::table_blocks;
use crate::group_scaled::{GroupRows, GroupedWeights, Packers};

/// Weights that share a scale in the models that are written so.
const GROUP: usize = 128;
/// The same where rows are no multiple of it, or scales change within it.
const NARROW_GROUP: usize = 64;

/// Weights of a Q4_0 block, and its bytes.
pub(super) const Q4_0_BLOCK: usize = 32;
pub(super) const Q4_0_BYTES: usize = 18;

/// A matrix of floats `[rows, cols]` as codes and scales.
///
/// # Errors
/// A sentence where a group has more than one magnitude, or one that is no f16.
pub(super) fn of_floats(
    weights: &Floats,
    [rows, cols]: [usize; 2],
    packers: &Packers,
) -> Result<GroupedWeights, String> {
    let mut first = vec![0.0; cols];
    weights.read(0, &mut first);
    let pack = |group, codes| {
        let shape = GroupShape::new(rows, cols, group, codes);
        let shape = shape.map_err(|error| error.to_string())?;
        let rows = FloatRows { weights, shape };
        GroupedWeights::pack(shape, &rows, packers)
    };
    in_groups(cols, |group| {
        // A ternary row without a zero is next to impossible, and only costs a second try.
        if first.contains(&0.0) {
            return pack(group, GroupCodes::Ternary);
        }
        pack(group, GroupCodes::Binary).or_else(|_| pack(group, GroupCodes::Ternary))
    })
}

/// What `pack` makes of the widest group that fits. Where rows are whole groups of 128, shards of
/// them (TriLM's `o` and `down`) may still begin at any 64; the error is that of the first try.
fn in_groups<T>(cols: usize, pack: impl Fn(usize) -> Result<T, String>) -> Result<T, String> {
    if !cols.is_multiple_of(GROUP) {
        return pack(NARROW_GROUP);
    }
    pack(GROUP).or_else(|error| pack(NARROW_GROUP).map_err(|_| error))
}

/// Rows that are looked at for shards.
const LOOKED_AT: usize = 64;
/// Scales of a row of shards at most; published models have six.
const MOST_SHARDS: usize = 32;

/// What is said of a matrix `[rows, cols]` that is ternary with a scale for each shard (TriLM), and
/// whose groups cannot hold those; `None` of any other.
pub(super) fn shards(weights: &Floats, [rows, cols]: [usize; 2]) -> Option<String> {
    let mut row = vec![0.0; cols];
    let (mut looked_at, mut cut, mut begins) = (0, 0, cols);
    let mut of_rows = Vec::new();
    for index in (0..rows).step_by(rows.div_ceil(LOOKED_AT)) {
        weights.read(index * cols, &mut row);
        looked_at += 1;
        let (mut scale, mut scales, mut last) = (0f32, 0, 0);
        // The first column of a shard that begins within a group, if there is one.
        let mut within = None;
        for (column, weight) in row.iter().map(|weight| weight.abs()).enumerate() {
            if weight == 0.0 {
                continue;
            }
            if weight != scale {
                scales += 1;
                let is_f16 = weight.is_finite() && f16::from_f32(weight).to_f32() == weight;
                if scales > MOST_SHARDS || !is_f16 {
                    return None;
                }
                let group = column / NARROW_GROUP * NARROW_GROUP;
                if scale != 0.0 && last >= group {
                    within = within.or(Some(column));
                }
                scale = weight;
            }
            last = column;
        }
        // Numbers without a zero among them are no trits.
        if scales > 1 && scales * 2 > cols {
            return None;
        }
        if let Some(column) = within {
            cut += 1;
            begins = begins.min(column);
        } else if scale != 0.0 {
            of_rows.push(scale);
        }
    }
    // A row or two are a fault in it; shards are the same in all rows.
    let differ = of_rows.iter().any(|scale| Some(scale) != of_rows.first());
    let place = if 2 * cut > looked_at {
        format!("of columns, which change near column {begins}")
    } else if cut == 0 && differ && !cols.is_multiple_of(NARROW_GROUP) {
        "of rows".to_owned()
    } else {
        return None;
    };
    Some(format!(
        "is ternary with a scale for each shard {place}: rows and shards of columns that are no \
         multiple of {NARROW_GROUP} are not supported, and no other form of this model is whole"
    ))
}

struct FloatRows<'a> {
    weights: &'a Floats,
    shape: GroupShape,
}

impl GroupRows for FloatRows<'_> {
    fn read(&self, row: usize, codes: &mut [i8], scales: &mut [u16]) -> Result<(), String> {
        let group = self.shape.group();
        let mut values = [0.0; GROUP];
        let values = &mut values[..group];
        for (index, (codes, scale)) in codes.chunks_exact_mut(group).zip(scales).enumerate() {
            let start = row * self.shape.cols() + index * group;
            self.weights.read(start, values);
            let d = values.iter().fold(0f32, |d, x| d.max(x.abs()));
            let stored = f16::from_f32(d);
            let fault = |fault: &str| {
                let columns = index * group;
                Err(format!(
                    "row {row}, columns {columns} to {}: {fault}",
                    columns + group - 1
                ))
            };
            if !stored.is_finite() || stored.to_f32() != d {
                return fault(&format!("the largest magnitude is {d}, which is no f16"));
            }
            for (value, code) in values.iter().zip(codes) {
                *code = match *value {
                    x if x == d && d > 0.0 => 1,
                    x if x == -d && d > 0.0 => -1,
                    0.0 if self.shape.codes() == GroupCodes::Ternary => 0,
                    x => {
                        return fault(&format!(
                            "{x} lies beside {d}, and a group of a ternary or binary model has \
                             one magnitude"
                        ));
                    }
                };
            }
            *scale = stored.to_bits();
        }
        Ok(())
    }
}

/// A Q4_0 matrix `[rows, cols]` that was ternary when it was quantised: each of its codes is -8, 7
/// or 0, where 7 stands for +8.
///
/// # Errors
/// A sentence where it has another code, or magnitudes that differ within a group.
pub(super) fn of_q4_0(
    bytes: &[u8],
    [rows, cols]: [usize; 2],
    packers: &Packers,
) -> Result<GroupedWeights, String> {
    in_groups(cols, |group| {
        let shape = GroupShape::new(rows, cols, group, GroupCodes::Ternary);
        let shape = shape.map_err(|error| error.to_string())?;
        GroupedWeights::pack(shape, &Q4Rows { bytes, cols, group }, packers)
    })
}

/// Rows of a Q4_0 matrix that was ternary, with a scale for each `group` weights, a multiple of 32.
pub(super) struct Q4Rows<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) cols: usize,
    pub(super) group: usize,
}

impl GroupRows for Q4Rows<'_> {
    fn read(&self, row: usize, codes: &mut [i8], scales: &mut [u16]) -> Result<(), String> {
        let Q4Rows { bytes, cols, group } = *self;
        let row_bytes = cols / Q4_0_BLOCK * Q4_0_BYTES;
        let row_blocks = &bytes[row * row_bytes..][..row_bytes];
        let groups = row_blocks.chunks_exact(group / Q4_0_BLOCK * Q4_0_BYTES);
        let codes = codes.chunks_exact_mut(group);
        for ((blocks, codes), scale) in groups.zip(codes).zip(scales) {
            let blocks = blocks.as_chunks::<Q4_0_BYTES>().0.iter();
            for (block, codes) in blocks.zip(codes.as_chunks_mut::<Q4_0_BLOCK>().0) {
                let magnitude =
                    q4_0_trits(block, codes).map_err(|reason| format!("row {row} has {reason}"))?;
                if magnitude.to_bits() == 0 {
                    continue;
                }
                if *scale != 0 && *scale != magnitude.to_bits() {
                    return Err(format!(
                        "row {row} has two magnitudes in a group of {group}"
                    ));
                }
                *scale = magnitude.to_bits();
            }
        }
        Ok(())
    }
}

/// The trits of a block and their magnitude; 0 where all of them are 0.
fn q4_0_trits(block: &[u8; Q4_0_BYTES], codes: &mut [i8; Q4_0_BLOCK]) -> Result<f16, String> {
    let (d, values) = q4_0_block(block);
    for (value, code) in values.into_iter().zip(codes.iter_mut()) {
        *code = match value {
            -8 => -1,
            0 => 0,
            7 => 1,
            other => return Err(format!("the Q4_0 code {other}")),
        };
    }
    let magnitude = f16::from_f32(8.0 * d.to_f32().abs());
    if !magnitude.is_finite() {
        return Err(format!("the scale {d}"));
    }
    if magnitude.to_bits() == 0 {
        codes.fill(0);
    }
    if codes.iter().all(|code| *code == 0) {
        return Ok(f16::ZERO);
    }
    if d.is_sign_negative() {
        codes.iter_mut().for_each(|code| *code = -*code);
    }
    Ok(magnitude)
}

/// A block's scale and its codes.
fn q4_0_block(block: &[u8; Q4_0_BYTES]) -> (f16, [i8; Q4_0_BLOCK]) {
    let mut codes = [0; Q4_0_BLOCK];
    table_blocks::q4_0(block, &mut codes);
    (f16::from_le_bytes([block[0], block[1]]), codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::floats::FloatType;

    fn floats(values: &[f32]) -> Floats {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Floats {
            ty: FloatType::F32,
            bytes: bytes.into(),
        }
    }

    fn packers() -> Packers {
        Packers::default()
    }

    #[test]
    fn what_is_on_the_grid_is_taken_as_it_is() {
        for zero in [0.0, 1.0] {
            let value = |i: usize| match (i * 7 + i / 128) % 3 {
                0 => 0.5 + (i / 128) as f32,
                1 => -0.5 - (i / 128) as f32,
                _ => (0.5 + (i / 128) as f32) * zero,
            };
            let values: Vec<f32> = (0..3 * 256).map(value).collect();
            let packed = of_floats(&floats(&values), [3, 256], &packers()).unwrap();
            let binary = packed.shape().codes() == GroupCodes::Binary;
            assert_eq!(binary, zero == 1.0);
            let mut row = vec![0.0; 256];
            for (index, expected) in values.chunks(256).enumerate() {
                packed.view().row(index, &mut row);
                assert_eq!(row, expected);
            }
        }
        // A row without a zero above rows with some.
        let mut values = vec![0.25; 256];
        values[200] = 0.0;
        let packed = of_floats(&floats(&values), [2, 128], &packers()).unwrap();
        assert_eq!(packed.shape().codes(), GroupCodes::Ternary);
    }

    #[test]
    fn shards_that_groups_cannot_hold_are_told_from_other_floats() {
        let trit = |i: usize| [0.0, 1.0, -1.0][i * 7 % 3];
        let columns = (0..4 * 96).map(|i| trit(i) * if i % 96 < 48 { 0.5 } else { 0.75 });
        let found = shards(&floats(&columns.collect::<Vec<_>>()), [4, 96]).unwrap();
        assert!(found.contains("shard of columns"), "{found}");
        assert!(found.contains("near column 4"), "{found}");
        let rows = (0..4 * 96).map(|i| trit(i) * if i < 192 { 0.5 } else { 0.75 });
        let found = shards(&floats(&rows.collect::<Vec<_>>()), [4, 96]).unwrap();
        assert!(found.contains("shard of rows"), "{found}");
        let other: Vec<f32> = (0..4 * 96).map(|i| (i as f32).sin()).collect();
        assert_eq!(shards(&floats(&other), [4, 96]), None);
        for bad in [0.1, f32::NAN, f32::INFINITY] {
            assert_eq!(shards(&floats(&[0.5, 0.0, 0.0, bad]), [1, 4]), None);
        }
        // A fault in one of many rows.
        let mut damaged: Vec<f32> = (0..8 * 128).map(|i| trit(i) * 0.5).collect();
        damaged[1000] = 0.75;
        assert_eq!(shards(&floats(&damaged), [8, 128]), None);
    }

    #[test]
    fn what_is_off_the_grid_is_refused_with_its_place() {
        let mut values = vec![0.25; 256];
        values[199] = 0.125;
        let error = of_floats(&floats(&values), [1, 256], &packers()).unwrap_err();
        assert!(error.contains("columns 128 to 255"), "{error}");
        for odd in [0.1, f32::NAN, f32::INFINITY, 1e-30] {
            assert!(of_floats(&floats(&[odd; 128]), [1, 128], &packers()).is_err());
        }
    }

    #[test]
    fn q4_0_of_ternary_weights_is_ternary_again() {
        let d = f16::from_f32(-0.0625);
        let mut block = [0u8; Q4_0_BYTES];
        block[..2].copy_from_slice(&d.to_le_bytes());
        // -8, 7 and 0, as their offsets 0, 15 and 8.
        block[2..].fill(0x8f);
        block[5] = 0x00;
        let packed = of_q4_0(&block.repeat(4), [1, 128], &packers()).unwrap();
        let mut row = vec![0.0; 128];
        packed.view().row(0, &mut row);
        assert_eq!((row[0], row[3], row[16], row[19]), (-0.5, 0.5, 0.0, 0.5));
        block[9] = 0x13;
        assert!(of_q4_0(&block.repeat(4), [1, 128], &packers()).is_err());
    }
}
