//! f32 rows to storage types, for `convert` and for synthetic models. Source of the layouts: ggml.

use super::{DenseType, q6_k, q8_0};

/// Stores `row` as `ty` in `out`, which holds `ty.row_bytes(row.len())` bytes. Values that fill no
/// whole block, and bytes past the row, are left alone.
pub fn encode_dense_row(ty: DenseType, row: &[f32], out: &mut [u8]) {
    match ty {
        DenseType::F32 => {
            for (x, b) in row.iter().zip(out.as_chunks_mut().0) {
                *b = x.to_le_bytes();
            }
        }
        DenseType::F16 => {
            for (x, b) in row.iter().zip(out.as_chunks_mut().0) {
                *b = half::f16::from_f32_const(*x).to_le_bytes();
            }
        }
        DenseType::Bf16 => {
            for (x, b) in row.iter().zip(out.as_chunks_mut().0) {
                *b = half::bf16::from_f32(*x).to_le_bytes();
            }
        }
        DenseType::Q8_0 => {
            for (x, block) in row.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
                q8_0::encode(x, block);
            }
        }
        DenseType::Q6K => {
            for (x, block) in row.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
                q6_k::encode(x, block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Root of mean squared error over root of mean square, after a round trip.
    fn relative_error(ty: DenseType, row: &[f32]) -> f32 {
        let mut bytes = vec![0; ty.row_bytes(row.len()).unwrap()];
        encode_dense_row(ty, row, &mut bytes);
        let mut back = vec![0.0; row.len()];
        crate::Dense::new(ty, 1, row.len(), &bytes)
            .unwrap()
            .dequantize_row(0, &mut back);
        let error: f32 = row.iter().zip(&back).map(|(a, b)| (a - b) * (a - b)).sum();
        (error / row.iter().map(|v| v * v).sum::<f32>()).sqrt()
    }

    #[test]
    fn round_trips_are_as_close_as_their_bits_allow() {
        let mut rng = Rng::new(3);
        // Sum of uniforms: roughly normal, as weights are.
        let row: Vec<f32> = (0..1024)
            .map(|_| (0..6).map(|_| rng.unit()).sum::<f32>() * 0.02)
            .collect();
        let bounds = [
            (DenseType::F32, 0.0),
            (DenseType::F16, 5e-4),
            (DenseType::Bf16, 4e-3),
            (DenseType::Q8_0, 7e-3),
            (DenseType::Q6K, 2.2e-2),
        ];
        for (ty, bound) in bounds {
            let error = relative_error(ty, &row);
            assert!(error <= bound, "{}: {error}", ty.name());
        }
    }

    #[test]
    fn zero_rows_stay_zero() {
        for ty in [DenseType::Q8_0, DenseType::Q6K] {
            let mut bytes = vec![0xff; ty.row_bytes(256).unwrap()];
            encode_dense_row(ty, &[0.0; 256], &mut bytes);
            let mut back = vec![1.0; 256];
            crate::Dense::new(ty, 1, 256, &bytes)
                .unwrap()
                .dequantize_row(0, &mut back);
            assert!(back.iter().all(|v| *v == 0.0));
        }
    }
}
