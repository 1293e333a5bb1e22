//! Matrices of trits or bits in ggml's block types, which other programs read too: from groups of
//! whichever size, or from one scale.

use std::io::Write;

use half::f16;
use sterna_kernels::pack::unpack_row;
use sterna_kernels::{GroupCodes, Ternary, TernaryLayout};

use super::ConvertError;
use super::loss::Loss;
use super::sample::Sample;
use crate::files::gguf_write::GgufWriter;
use crate::files::{BlockType, tensor_error};
use crate::matrix::Matrix;

/// A matrix, and the type in which it is written.
pub(super) struct Blocks {
    matrix: Matrix,
    ty: BlockType,
}

impl Blocks {
    /// `name` is for errors. `requantize`: scales of several groups may become one.
    pub(super) fn new(
        matrix: Matrix,
        ty: BlockType,
        requantize: bool,
        name: &str,
    ) -> Result<Self, ConvertError> {
        let refused =
            |what: String| Err(ConvertError::Unsupported(format!("tensor `{name}` {what}")));
        let [_, cols] = matrix.shape();
        if ty.row_bytes(cols).is_none() {
            return refused(format!(
                "has rows of {cols} weights, which are no whole groups of {} as {} needs them: choose \
                 a type with smaller groups, or leave --layout out",
                ty.group(),
                ty.name()
            ));
        }
        if let Matrix::Grouped(grouped) = &matrix {
            let shape = grouped.shape();
            if ty.is_binary() != (shape.codes() == GroupCodes::Binary) && ty.is_binary() {
                return refused(format!(
                    "is ternary, and {} has no zeros: choose a ternary type",
                    ty.name()
                ));
            }
            if shape.group() < ty.group() && !requantize {
                return refused(format!(
                    "has a scale for each {} weights, and {} has one for {}, so that scales would be \
                     lost: choose a type with groups of {} at most, or --requantize if a worse model \
                     will do",
                    shape.group(),
                    ty.name(),
                    ty.group(),
                    shape.group()
                ));
            }
        } else if ty.is_binary() {
            return refused(format!(
                "is ternary, and {} has no zeros: choose a ternary type",
                ty.name()
            ));
        }
        let matrix = match &matrix {
            // In rows of their own, whose weights are codes of two bits.
            Matrix::Ternary(linear) => {
                let rows = linear.to_layout(TernaryLayout::I2S);
                let rows = rows.map_err(|reason| tensor_error(name, reason))?;
                if rows
                    .packed()
                    .iter()
                    .any(|byte| byte & byte >> 1 & 0x55 != 0)
                {
                    return refused("has the code 3, which block types have no place for".into());
                }
                Matrix::Ternary(rows)
            }
            Matrix::Grouped(_) => matrix,
        };
        Ok(Blocks { matrix, ty })
    }

    /// The type's id, and the bytes of its data.
    pub(super) fn ty_and_bytes(&self) -> (u32, usize) {
        let [rows, cols] = self.matrix.shape();
        (
            self.ty.id(),
            rows * self.ty.row_bytes(cols).unwrap_or_default(),
        )
    }

    /// The types before and after, for reports.
    pub(super) fn types(&self) -> (String, String) {
        let from = match &self.matrix {
            Matrix::Ternary(_) => "one scale".to_owned(),
            Matrix::Grouped(grouped) => format!("groups of {}", grouped.shape().group()),
        };
        (from, self.ty.name().to_owned())
    }

    /// The sample of its rows as they are to be read back.
    pub(super) fn sample(&self) -> u64 {
        let [rows, cols] = self.matrix.shape();
        let group = self.ty.group();
        let (mut codes, mut scales) = (vec![0i8; cols], vec![0u16; cols / group]);
        Sample::of_rows(rows, cols, |row, out| {
            self.row(row, &mut codes, &mut scales, &mut Loss::default());
            let groups = out.chunks_exact_mut(group).zip(codes.chunks_exact(group));
            for ((out, codes), scale) in groups.zip(&scales) {
                let scale = f16::from_bits(*scale).to_f32();
                for (out, code) in out.iter_mut().zip(codes) {
                    *out = f32::from(*code) * scale;
                }
            }
        })
    }

    /// Write its data.
    pub(super) fn write(&self, writer: &mut GgufWriter<impl Write>) -> std::io::Result<Loss> {
        let [rows, cols] = self.matrix.shape();
        let mut loss = Loss::default();
        let mut codes = vec![0i8; cols];
        let mut scales = vec![0u16; cols / self.ty.group()];
        let mut out = vec![0u8; self.ty.row_bytes(cols).unwrap_or_default()];
        for row in 0..rows {
            self.row(row, &mut codes, &mut scales, &mut loss);
            self.ty.encode(&codes, &scales, &mut out);
            writer.append(&out)?;
        }
        Ok(loss)
    }

    /// A row's codes, and the scale of each group of the type.
    fn row(&self, row: usize, codes: &mut [i8], scales: &mut [u16], loss: &mut Loss) {
        match &self.matrix {
            Matrix::Ternary(linear) => {
                let bytes = Ternary::row_bytes(linear.cols());
                let packed = &linear.packed()[row * bytes..][..bytes];
                unpack_row(packed, linear.cols(), codes);
                let stored = f16::from_f32(linear.scale());
                scales.fill(stored.to_bits());
                let nonzero = codes.iter().filter(|code| **code != 0).count();
                loss.add(linear.scale(), stored.to_f32(), nonzero);
            }
            Matrix::Grouped(grouped) => {
                let from = grouped.shape().group();
                let mut own = vec![0u16; grouped.shape().groups()];
                grouped.view().read_row(row, codes, &mut own);
                regroup(codes, &own, from, scales, self.ty.group(), loss);
            }
        }
    }
}

/// The scales of groups of `to` weights for codes with a scale for each `from`. Where several
/// become one it is their mean, each weighted by its weights that are not zero: the least squares.
fn regroup(codes: &[i8], own: &[u16], from: usize, scales: &mut [u16], to: usize, loss: &mut Loss) {
    for (index, (scale, codes)) in scales.iter_mut().zip(codes.chunks_exact(to)).enumerate() {
        let parts = || {
            codes.chunks(from.min(to)).enumerate().map(|(part, codes)| {
                let d = own[(index * to + part * from.min(to)) / from];
                let nonzero = codes.iter().filter(|code| **code != 0).count();
                (d, nonzero)
            })
        };
        let mut present = parts().filter(|(_, nonzero)| *nonzero > 0);
        let first = present.next().map(|(d, _)| d);
        *scale = match first {
            None => own[index * to / from],
            Some(first) if present.all(|(d, _)| d == first) => first,
            Some(_) => {
                let (sum, n) = parts().fold((0f64, 0usize), |(sum, n), (d, nonzero)| {
                    let d = f64::from(f16::from_bits(d).to_f32());
                    #[allow(clippy::cast_precision_loss, reason = "at most 256")]
                    let weight = nonzero as f64;
                    (sum + d * weight, n + nonzero)
                });
                #[allow(clippy::cast_precision_loss, reason = "at most 256")]
                let mean = sum / n.max(1) as f64;
                f16::from_f64(mean).to_bits()
            }
        };
        let stored = f16::from_bits(*scale).to_f32();
        for (d, nonzero) in parts() {
            loss.add(f16::from_bits(d).to_f32(), stored, nonzero);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regrouped(scales: &[f32], from: usize, to: usize, codes: &[i8]) -> (Vec<f32>, Loss) {
        let own: Vec<u16> = scales.iter().map(|d| f16::from_f32(*d).to_bits()).collect();
        let (mut new, mut loss) = (vec![0; codes.len() / to], Loss::default());
        regroup(codes, &own, from, &mut new, to, &mut loss);
        let new = new.iter().map(|d| f16::from_bits(*d).to_f32()).collect();
        (new, loss)
    }

    #[test]
    fn smaller_groups_repeat_a_scale_and_larger_ones_take_the_mean() {
        let codes = vec![1i8; 256];
        let (split, loss) = regrouped(&[1.0, 3.0], 128, 64, &codes);
        assert_eq!(split, [1.0, 1.0, 3.0, 3.0]);
        assert_eq!(loss.relative(), 0.0);
        let (same, loss) = regrouped(&[1.0, 3.0], 128, 128, &codes);
        assert_eq!((same, loss.relative()), (vec![1.0, 3.0], 0.0));
        let (equal, loss) = regrouped(&[2.0, 2.0], 128, 256, &codes);
        assert_eq!((equal, loss.relative()), (vec![2.0], 0.0));
        let (mean, loss) = regrouped(&[1.0, 3.0], 128, 256, &codes);
        assert_eq!(mean, [2.0]);
        // Half are wrong by 1 of 1, half by 1 of 3.
        assert!(
            (loss.relative() - (2.0f64 / 10.0).sqrt()).abs() < 1e-9,
            "{}",
            loss.relative()
        );
        // A group of zeros has no say.
        let mut half = codes.clone();
        half[..128].fill(0);
        let (other, loss) = regrouped(&[7.0, 3.0], 128, 256, &half);
        assert_eq!((other, loss.relative()), (vec![3.0], 0.0));
        let (none, loss) = regrouped(&[7.0, 3.0], 128, 256, &[0; 256]);
        assert_eq!((none, loss.relative()), (vec![7.0], 0.0));
    }
}
