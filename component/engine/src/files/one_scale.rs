//! Matrices whose weights share one scale, from types that write a scale for each block or row:
//! what a BitNet is in any of ggml's types.

use half::f16;
use sterna_kernels::Ternary;

use super::ternary::{code_of, pack_codes, padded_codes};
use crate::group_scaled::GroupRows;
use crate::team::Team;

/// Rows that a thread packs at a time.
const ROWS: usize = 64;

/// Pack a matrix `[rows, cols]` into padded I2_S rows, with its scale. `read(row, codes)` gives a
/// row's weights before their scale (-1, 0 or +1), and that scale unless all of them are 0; it is
/// called on the team's threads.
///
/// # Errors
/// That of a row, or a sentence where two rows have different scales.
pub(super) fn pack(
    [rows, cols]: [usize; 2],
    team: &Team,
    read: impl Fn(usize, &mut [i8]) -> Result<Option<f32>, String> + Sync,
) -> Result<(Vec<u8>, f32), String> {
    let row_bytes = Ternary::row_bytes(cols);
    let mut packed = vec![0; rows * row_bytes];
    let mut scales = Vec::new();
    scales.resize_with(rows.div_ceil(ROWS), || Ok(Scale::default()));
    let parts = packed.chunks_mut(ROWS * row_bytes).zip(&mut scales);
    let tasks: Vec<_> = parts.enumerate().collect();
    team.run(|| {
        team.for_each(tasks, rows.saturating_mul(cols), |(part, (out, scale))| {
            *scale = pack_rows(part * ROWS, cols, out, &read);
        });
    });
    let mut all = Scale::default();
    for scale in scales {
        all.meet(scale?.0)?;
    }
    // Of nothing but zeros any will do.
    Ok((packed, all.0.unwrap_or(1.0)))
}

/// [`pack`] of rows with a scale for each `group` weights.
///
/// # Errors
/// As [`pack`], and where a row has two.
pub(super) fn pack_groups(
    rows: &dyn GroupRows,
    shape: [usize; 2],
    group: usize,
    team: &Team,
) -> Result<(Vec<u8>, f32), String> {
    pack(shape, team, |row, codes| {
        let mut scales = vec![0; codes.len() / group];
        rows.read(row, codes, &mut scales)?;
        let mut all = Scale::default();
        for (codes, bits) in codes.chunks_exact_mut(group).zip(scales) {
            let scale = f16::from_bits(bits).to_f32();
            if scale == 0.0 {
                codes.fill(0);
            } else if scale < 0.0 {
                codes.iter_mut().for_each(|code| *code = -*code);
            }
            if codes.iter().any(|code| *code != 0) {
                all.meet(Some(scale.abs()))?;
            }
        }
        Ok(all.0)
    })
}

fn pack_rows(
    first: usize,
    cols: usize,
    out: &mut [u8],
    read: &impl Fn(usize, &mut [i8]) -> Result<Option<f32>, String>,
) -> Result<Scale, String> {
    let (mut trits, mut codes) = (vec![0; cols], padded_codes(cols));
    let mut all = Scale::default();
    let rows = out.chunks_exact_mut(Ternary::row_bytes(cols)).enumerate();
    for (index, out) in rows {
        all.meet(read(first + index, &mut trits)?)?;
        for (code, &trit) in codes.iter_mut().zip(&trits) {
            *code = code_of(trit);
        }
        pack_codes(&codes, out);
    }
    Ok(all)
}

/// The scale of all that was seen.
#[derive(Clone, Copy, Default)]
struct Scale(Option<f32>);

impl Scale {
    fn meet(&mut self, other: Option<f32>) -> Result<(), String> {
        match (self.0, other) {
            (Some(one), Some(other)) if one != other => Err(format!(
                "has the scales {one} and {other}, and a matrix of this model has one"
            )),
            (one, other) => {
                self.0 = one.or(other);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of three groups of two, with their scales.
    struct Rows(Vec<([i8; 6], [f32; 3])>);

    impl GroupRows for Rows {
        fn read(&self, row: usize, codes: &mut [i8], scales: &mut [u16]) -> Result<(), String> {
            let (own, floats) = self.0.get(row).ok_or("no such row")?;
            codes.copy_from_slice(own);
            scales.copy_from_slice(&floats.map(|x| f16::from_f32(x).to_bits()));
            Ok(())
        }
    }

    fn packed(rows: Vec<([i8; 6], [f32; 3])>) -> Result<(Vec<Vec<i8>>, f32), String> {
        let (n, team) = (rows.len(), Team::new(2).unwrap());
        let (packed, scale) = pack_groups(&Rows(rows), [n, 6], 2, &team)?;
        let unpacked = packed.chunks(packed.len() / n).map(|row| {
            let mut trits = vec![0; 6];
            sterna_kernels::pack::unpack_row(row, 6, &mut trits);
            trits
        });
        Ok((unpacked.collect(), scale))
    }

    #[test]
    fn zeros_have_any_scale_and_a_negative_one_turns_signs() {
        let a = ([1, 0, 0, 0, -1, 1], [0.5, 0.25, 0.5]);
        let b = ([1, 0, 1, -1, -1, 1], [-0.5, 0.0, 0.5]);
        let (trits, scale) = packed(vec![a, b]).unwrap();
        assert_eq!(scale, 0.5);
        assert_eq!(trits, [[1, 0, 0, 0, -1, 1], [-1, 0, 0, 0, -1, 1]]);
        assert_eq!(packed(vec![([0; 6], [0.1; 3])]).unwrap().1, 1.0);
    }

    #[test]
    fn two_scales_are_refused_wherever_they_are() {
        let row = |scale: f32| ([1; 6], [scale; 3]);
        let mut rows = vec![row(0.5); 100];
        packed(rows.clone()).unwrap();
        rows[99] = row(0.25);
        let error = packed(rows.clone()).unwrap_err();
        assert!(error.contains("0.5 and 0.25"), "{error}");
        rows[99] = ([1; 6], [0.5, 0.5, 0.75]);
        let error = packed(rows).unwrap_err();
        assert!(error.contains("0.5 and 0.75"), "{error}");
    }
}
