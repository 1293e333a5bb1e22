//! Encoders of every published ternary type, written from their descriptions and not from the
//! readers.

use half::{bf16, f16};

use super::tiny::Matrix;

/// A ggml type as a file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ty {
    F32,
    F16,
    Bf16,
    Q4_0,
    Tq1_0,
    Tq2_0,
    I2S,
    /// Of bitnet.cpp's build for ARM.
    I2SArm,
    Q2_0G64,
    Q2_0G128,
    Iq1Bn,
    Iq2Bn,
    Pq2_0,
    Ptq1_0,
}

impl Ty {
    pub(crate) fn id(self) -> u32 {
        match self {
            Ty::F32 => 0,
            Ty::F16 => 1,
            Ty::Q4_0 => 2,
            Ty::Bf16 => 30,
            Ty::Tq1_0 => 34,
            Ty::Tq2_0 => 35,
            Ty::I2S | Ty::I2SArm => 36,
            Ty::Q2_0G64 | Ty::Q2_0G128 => 42,
            Ty::Iq1Bn => 134,
            Ty::Iq2Bn => 135,
            Ty::Pq2_0 => 142,
            Ty::Ptq1_0 => 143,
        }
    }

    /// It, or what `llama-quantize` and the converters take for a matrix that it cannot hold.
    pub(crate) fn for_shape(self, [rows, cols]: [usize; 2]) -> Ty {
        let fits = match self {
            Ty::F32 | Ty::F16 | Ty::Bf16 => true,
            Ty::Q4_0 => cols.is_multiple_of(32),
            Ty::Q2_0G64 | Ty::Iq1Bn | Ty::Iq2Bn => cols.is_multiple_of(64),
            Ty::Q2_0G128 | Ty::Pq2_0 | Ty::Ptq1_0 => cols.is_multiple_of(128),
            Ty::Tq1_0 | Ty::Tq2_0 => cols.is_multiple_of(256),
            Ty::I2S => (rows * cols).is_multiple_of(128),
            Ty::I2SArm => (rows * cols).is_multiple_of(64),
        };
        match self {
            ty if fits => ty,
            Ty::Tq1_0 | Ty::Tq2_0 => Ty::Q4_0.for_shape([rows, cols]),
            _ => Ty::F16,
        }
    }
}

/// The bytes of floats of a type.
pub(crate) fn floats(ty: Ty, values: impl Iterator<Item = f32>) -> Vec<u8> {
    match ty {
        Ty::F16 => values
            .flat_map(|x| f16::from_f32(x).to_le_bytes())
            .collect(),
        Ty::Bf16 => values
            .flat_map(|x| bf16::from_f32(x).to_le_bytes())
            .collect(),
        _ => values.flat_map(f32::to_le_bytes).collect(),
    }
}

/// The bytes of a matrix in a type that holds its shape.
pub(crate) fn matrix(ty: Ty, m: &Matrix) -> Vec<u8> {
    let (trits, cols) = (&m.trits, m.shape[1]);
    let code = |i: usize| (trits[i] + 1).cast_unsigned();
    // Of a block: the largest magnitude, 0 where all weights are.
    let scale = |start: usize, n: usize| {
        let weights = (start..start + n).map(|i| f32::from(trits[i].abs()) * m.scale(i));
        weights.fold(0f32, f32::max)
    };
    let half = |start, n| f16::from_f32(scale(start, n)).to_le_bytes();
    let blocks = |n: usize| (0..trits.len()).step_by(n);
    let two_bits = |places: [usize; 4], shifts: [u8; 4]| {
        let codes = places.into_iter().zip(shifts);
        codes.fold(0u8, |byte, (i, shift)| byte | code(i) << shift)
    };
    // Each of `width` bytes has `digits` base-3 digits of weights `width` apart.
    let digits = |start: usize, width: usize, digits: usize| {
        let byte = move |m: usize| {
            let value = (0..digits).fold(0, |v, n| 3 * v + u32::from(code(start + width * n + m)));
            let value = if digits == 4 { 3 * value } else { value };
            u8::try_from((value * 256).div_ceil(243)).unwrap()
        };
        (0..width).map(byte).collect::<Vec<u8>>()
    };
    let low_first = [0, 2, 4, 6];
    let mut out = Vec::new();
    match ty {
        Ty::F32 | Ty::F16 | Ty::Bf16 => out = floats(ty, m.weights().into_iter()),
        Ty::I2S | Ty::I2SArm => {
            let group = if ty == Ty::I2S { 32 } else { 16 };
            for b in blocks(4 * group) {
                let places = |p| [b + p, b + group + p, b + 2 * group + p, b + 3 * group + p];
                out.extend((0..group).map(|p| two_bits(places(p), [6, 4, 2, 0])));
            }
            // bitnet.cpp's packed converter writes it once and pads, the other eight times.
            out.extend(m.scale(0).to_le_bytes());
            out.extend([0; 28]);
        }
        Ty::Tq2_0 => {
            for b in blocks(256) {
                for h in [b, b + 128] {
                    let places = |m| [h + m, h + 32 + m, h + 64 + m, h + 96 + m];
                    out.extend((0..32).map(|m| two_bits(places(m), low_first)));
                }
                out.extend(half(b, 256));
            }
        }
        Ty::Tq1_0 => {
            for b in blocks(256) {
                out.extend(digits(b, 32, 5));
                out.extend(digits(b + 160, 16, 5));
                out.extend(digits(b + 240, 4, 4));
                out.extend(half(b, 256));
            }
        }
        Ty::Ptq1_0 => {
            for b in blocks(128) {
                out.extend(digits(b, 16, 5));
                out.extend(digits(b + 80, 8, 5));
                out.extend(digits(b + 120, 2, 4));
                out.extend(half(b, 128));
            }
        }
        Ty::Q2_0G64 | Ty::Q2_0G128 | Ty::Pq2_0 => {
            let group = if ty == Ty::Q2_0G64 { 64 } else { 128 };
            for b in blocks(group) {
                out.extend(half(b, group));
                let places = |i| [b + i, b + i + 1, b + i + 2, b + i + 3];
                out.extend(
                    (0..group)
                        .step_by(4)
                        .map(|i| two_bits(places(i), low_first)),
                );
            }
        }
        Ty::Q4_0 => {
            for b in blocks(32) {
                // ggml: the first weight of the largest magnitude becomes -8.
                let first = (b..b + 32).find(|&i| trits[i] != 0);
                let d = first.map_or(0.0, |i| f32::from(trits[i]) * m.scale(i) / -8.0);
                let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
                let quant = |i: usize| {
                    let weight = f32::from(trits[i]) * m.scale(i);
                    ((weight * inverse + 8.5) as u8).min(15)
                };
                out.extend(f16::from_f32(d).to_le_bytes());
                out.extend((b..b + 16).map(|i| quant(i) | quant(i + 16) << 4));
            }
        }
        Ty::Iq2Bn => {
            for row in blocks(cols) {
                out.extend(scale(row, cols).to_le_bytes());
                for b in (row..row + cols).step_by(64) {
                    let places = |j| [b + j, b + 16 + j, b + 32 + j, b + 48 + j];
                    out.extend((0..16).map(|j| two_bits(places(j), low_first)));
                }
            }
        }
        Ty::Iq1Bn => {
            let byte = |places: &mut dyn Iterator<Item = usize>| {
                let places: Vec<usize> = places.collect();
                let value = places
                    .iter()
                    .rev()
                    .fold(0, |v, &i| 3 * v + u32::from(code(i)));
                u8::try_from((value * 256).div_ceil(243)).unwrap()
            };
            for row in blocks(cols) {
                out.extend(half(row, cols));
                for b in (row..row + cols).step_by(64) {
                    for i in (b..b + 64).step_by(16) {
                        for k in (i..i + 15).step_by(5) {
                            out.push(byte(&mut (k..k + 5)));
                        }
                    }
                    out.push(byte(&mut (b + 15..b + 64).step_by(16)));
                }
            }
        }
    }
    out
}

/// Hugging Face's packed bytes `[ceil(rows / 4), cols]`.
pub(crate) fn hf_packed(m: &Matrix) -> Vec<u8> {
    let [rows, cols] = m.shape;
    let n = rows.div_ceil(4);
    let mut packed = vec![0; n * cols];
    for (i, trit) in m.trits.iter().enumerate() {
        let (row, col) = (i / cols, i % cols);
        packed[row % n * cols + col] |= (trit + 1).cast_unsigned() << (2 * (row / n));
    }
    packed
}
