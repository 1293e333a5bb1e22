//! ik_llama.cpp's ternary types with a scale for each row (iqk_quantize.cpp): IQ1_BN and IQ2_BN,
//! which its tools make of BitNets.

use super::ggml_type::id;

/// Weights of a block.
const BLOCK: usize = 64;

/// A row's scale, then blocks of 64 weights.
#[derive(Clone, Copy)]
pub(super) struct RowBlocks {
    /// Bytes of the scale: 2 of an f16, 4 of an f32.
    scale_bytes: usize,
    /// Bytes of a block.
    bytes: usize,
    decode: fn(&[u8], &mut [i8; BLOCK]),
}

impl RowBlocks {
    /// The type of ggml's id `ty`, if it is one of these.
    pub(super) fn of(ty: u32) -> Option<RowBlocks> {
        match ty {
            id::IQ1_BN => Some(RowBlocks {
                scale_bytes: 2,
                bytes: 13,
                decode: iq1_bn,
            }),
            id::IQ2_BN => Some(RowBlocks {
                scale_bytes: 4,
                bytes: 16,
                decode: iq2_bn,
            }),
            _ => None,
        }
    }

    /// Bytes of a row of `cols` weights; `None` where they are no whole blocks.
    pub(super) fn row_bytes(self, cols: usize) -> Option<usize> {
        cols.is_multiple_of(BLOCK)
            .then(|| self.scale_bytes + cols / BLOCK * self.bytes)
    }

    /// A row's weights before their scale, and the scale unless all of them are 0.
    ///
    /// # Errors
    /// A sentence where a weight or the scale is none.
    pub(super) fn read(self, row: &[u8], codes: &mut [i8]) -> Result<Option<f32>, String> {
        let (scale, blocks) = row
            .split_at_checked(self.scale_bytes)
            .ok_or("a row is cut short")?;
        let scale = match *scale {
            [a, b] => half::f16::from_le_bytes([a, b]).to_f32(),
            [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
            _ => f32::NAN,
        };
        if !scale.is_finite() {
            return Err(format!(
                "has a row of the scale {scale}: the file is damaged"
            ));
        }
        let codes_of_blocks = codes.as_chunks_mut::<BLOCK>().0.iter_mut();
        for (block, codes) in blocks.chunks_exact(self.bytes).zip(codes_of_blocks) {
            (self.decode)(block, codes);
        }
        if codes.iter().any(|code| *code > 1) {
            return Err("has the code 3 (weight +2), which no ternary model has".into());
        }
        if scale == 0.0 {
            codes.fill(0);
        } else if scale < 0.0 {
            codes.iter_mut().for_each(|code| *code = -*code);
        }
        let any = codes.iter().any(|code| *code != 0);
        Ok(any.then_some(scale.abs()))
    }
}

/// Bits 2k of byte j are weight 16k + j.
fn iq2_bn(block: &[u8], codes: &mut [i8; BLOCK]) {
    for (k, codes) in codes.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        for (byte, code) in block.iter().zip(codes) {
            *code = (byte >> (2 * k) & 3).cast_signed() - 1;
        }
    }
}

/// Each 16 weights: five base-3 digits a byte of three bytes, and one digit of the last byte. The
/// first digit of a byte is its least.
fn iq1_bn(block: &[u8], codes: &mut [i8; BLOCK]) {
    const POWERS: [u8; 5] = [81, 27, 9, 3, 1];
    let digit = |byte: u8, power: u8| {
        let v = u16::from(byte.wrapping_mul(power));
        ((v + (v >> 1)) >> 7) as i8 - 1
    };
    let Some((&extra, bytes)) = block.split_last() else {
        return;
    };
    let sixteens = codes.as_chunks_mut::<16>().0.iter_mut();
    let groups = bytes.as_chunks::<3>().0.iter().zip(sixteens).zip(POWERS);
    for ((bytes, codes), power) in groups {
        let digits = bytes
            .iter()
            .flat_map(|byte| POWERS.map(|power| digit(*byte, power)));
        for (code, digit) in codes.iter_mut().zip(digits.chain([digit(extra, power)])) {
            *code = digit;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    /// Two rows of 256 by a reference encoder in Python, byte for byte ik_llama.cpp's own.
    #[test]
    fn both_have_the_reference_encoders_codes() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/format_vectors.json"
        );
        let vectors: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let values: Vec<i8> = serde_json::from_value(vectors["values"].clone()).unwrap();
        for (name, ty) in [("iq1_bn_2x256", id::IQ1_BN), ("iq2_bn_2x256", id::IQ2_BN)] {
            let hex = vectors[name].as_str().unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            let format = RowBlocks::of(ty).unwrap();
            let row_bytes = format.row_bytes(256).unwrap();
            assert_eq!(bytes.len(), 2 * row_bytes, "{name}");
            for (row, expected) in bytes.chunks(row_bytes).zip(values.chunks(256)) {
                let mut codes = [9; 256];
                assert_eq!(
                    format.read(row, &mut codes).unwrap(),
                    Some(0.0625),
                    "{name}"
                );
                assert_eq!(codes, *expected, "{name}");
            }
            assert_eq!(format.row_bytes(96), None);
        }
    }

    #[test]
    fn damage_is_refused_and_zeros_have_no_scale() {
        let format = RowBlocks::of(id::IQ2_BN).unwrap();
        let mut row = [0.5f32.to_le_bytes().as_slice(), &[0x55; 16]].concat();
        let mut codes = [9; 64];
        assert_eq!(format.read(&row, &mut codes), Ok(None));
        row[4] = 0x00;
        row[..4].copy_from_slice(&(-0.5f32).to_le_bytes());
        assert_eq!(format.read(&row, &mut codes), Ok(Some(0.5)));
        assert_eq!((codes[0], codes[16], codes[1]), (1, 1, 0));
        row[4] = 0xff;
        assert!(
            format
                .read(&row, &mut codes)
                .unwrap_err()
                .contains("code 3")
        );
        row[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(format.read(&row, &mut codes).unwrap_err().contains("NaN"));
    }
}
