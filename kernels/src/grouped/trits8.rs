//! Ternary codes in 1.625 bits: five in a byte.
//!
//! A unit is 64 columns of 16 rows. Its codes in two bits would be four lines of 64 bytes, each
//! byte four codes of a row. The bytes of three of these lines hold a fifth code besides, and the
//! fifth codes are three quarters of the last line. What is left of that, its last four columns,
//! stays in two bits.
//!
//! ```text
//! byte i of line l (0..3)   c0 + 3 c1 + 9 c2 + 27 c3 + 84 c4
//!                           c0..c3: the codes of byte i of two-bit line l
//!                           c4: code l of byte i of two-bit line 3
//! byte i of the 16 behind   bits 2k, 2k + 1: code 3 of byte 16 k + i of two-bit line 3
//! ```
//!
//! 84 and not 81, so that a fourth of a byte tells its fifth code: tables of 64 entries suffice.

use super::{LINE_BYTES, UNIT};

/// Bytes of a unit.
pub(crate) const UNIT_BYTES: usize = 3 * LINE_BYTES + LINE_BYTES / 4;

/// What a fifth code is multiplied by.
pub(crate) const FIFTH: u8 = 84;

/// The codes of a byte: four in two bits each, the first lowest, and the fifth.
///
/// Bytes that nothing packs have codes too, the same everywhere: the fifth is at most 2, and the
/// fourth of a remainder above 80 is 3.
pub(crate) const fn unpack_byte(byte: u8) -> (u8, u8) {
    let fifth = if byte / FIFTH < 2 { byte / FIFTH } else { 2 };
    (two_bits(byte - FIFTH * fifth), fifth)
}

/// Four codes in two bits each by their number, 0 to 87.
pub(crate) const fn two_bits(four: u8) -> u8 {
    (four % 3) | ((four / 3 % 3) << 2) | ((four / 9 % 3) << 4) | ((four / 27) << 6)
}

/// n % 3 and n / 3 for n below 10: two codes of a ninth, 0 to 9, or of what it leaves, 0 to 8.
pub(crate) const THIRDS: [[u8; 16]; 2] = {
    let mut tables = [[0; 16]; 2];
    let mut n = 0;
    while n < 10 {
        tables[0][n] = n as u8 % 3;
        tables[1][n] = n as u8 / 3;
        n += 1;
    }
    tables
};

/// A unit's lines in two bits.
#[inline(always)]
pub(crate) fn unpack(unit: &[u8; UNIT_BYTES]) -> [[u8; LINE_BYTES]; 4] {
    let (lines, rest) = unit.as_chunks::<LINE_BYTES>();
    let mut out = [[0; LINE_BYTES]; 4];
    for (i, byte) in out[3].iter_mut().enumerate() {
        *byte = (rest[i % 16] >> (i / 16 * 2)) << 6;
    }
    for (l, line) in lines.iter().enumerate() {
        for (i, byte) in line.iter().enumerate() {
            let (four, fifth) = TABLE[usize::from(*byte)];
            out[l][i] = four;
            out[3][i] |= fifth << (2 * l);
        }
    }
    out
}

/// A unit of these lines in two bits. False, and no unit, where a code is 3.
#[inline]
pub(super) fn pack(lines: &[[u8; LINE_BYTES]; 4], unit: &mut [u8; UNIT_BYTES]) -> bool {
    let mut both = 0;
    let (out, rest) = unit.as_chunks_mut::<LINE_BYTES>();
    for (l, out) in out.iter_mut().enumerate() {
        for ((byte, out), fifth) in lines[l].iter().zip(out).zip(&lines[3]) {
            both |= byte & (byte >> 1);
            let code = |k: u8| (byte >> (2 * k)) & 3;
            let four = code(0) + 3 * code(1) + 9 * code(2) + 27 * code(3);
            // Of the code 3 it means nothing.
            *out = four.wrapping_add(((fifth >> (2 * l)) & 3).wrapping_mul(FIFTH));
        }
    }
    rest.fill(0);
    for (k, line) in lines[3].as_chunks::<16>().0.iter().enumerate() {
        for (byte, out) in line.iter().zip(&mut *rest) {
            both |= byte & (byte >> 1);
            *out |= (byte >> 6) << (2 * k);
        }
    }
    both & 0x55 == 0
}

/// The code of column `col` in row `row` of a unit.
pub(super) fn code(unit: &[u8; UNIT_BYTES], row: usize, col: usize) -> u8 {
    let (line, quad, byte) = (col / 16, col / 4 % 4, 4 * row + col % 4);
    match (line, quad) {
        (3, 3) => unit[3 * LINE_BYTES + byte % 16] >> (byte / 16 * 2) & 3,
        (3, _) => unpack_byte(unit[quad * LINE_BYTES + byte]).1,
        _ => unpack_byte(unit[line * LINE_BYTES + byte]).0 >> (2 * quad) & 3,
    }
}

/// Puts the codes of row `row` into a unit whose row is zeros.
pub(super) fn pack_row(codes: &[u8; UNIT], row: usize, unit: &mut [u8; UNIT_BYTES]) {
    let (lines, rest) = unit.as_chunks_mut::<LINE_BYTES>();
    // Four codes at a time: no byte of a sum is more than 248.
    let quads: [u32; UNIT / 4] =
        std::array::from_fn(|i| u32::from_le_bytes(std::array::from_fn(|j| codes[4 * i + j])));
    let (fours, last) = quads.as_chunks::<4>();
    for ((line, four), fifth) in lines.iter_mut().zip(fours).zip(&fours[3]) {
        let [a, b, c, d] = four;
        let word = a + 3 * b + 9 * c + 27 * d + u32::from(FIFTH) * fifth;
        line[4 * row..][..4].copy_from_slice(&word.to_le_bytes());
    }
    debug_assert!(last.is_empty());
    let place = 4 * row;
    for (byte, code) in rest[place % 16..].iter_mut().zip(&codes[UNIT - 4..]) {
        *byte |= code << (place / 16 * 2);
    }
}

/// Every byte's codes.
static TABLE: [(u8, u8); 256] = {
    let mut table = [(0, 0); 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = unpack_byte(byte as u8);
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_codes() {
        let mut packed = std::collections::HashSet::new();
        for byte in 0..=255 {
            let (four, fifth) = unpack_byte(byte);
            let codes: [u8; 4] = std::array::from_fn(|k| four >> (2 * k) & 3);
            assert!(codes[..3].iter().all(|code| *code < 3) && fifth < 3);
            let sum: u8 = codes.iter().zip([1, 3, 9, 27]).map(|(c, p)| c * p).sum();
            assert_eq!(sum + FIFTH * fifth, byte);
            if codes[3] < 3 {
                packed.insert((codes, fifth));
            }
        }
        assert_eq!(packed.len(), 243, "all five trits");
    }

    #[test]
    fn rows_are_packed_and_unpacked() {
        let code = |row: usize, col: usize| ((row * 7 + col * 5 + row * col / 3) % 3) as u8;
        let mut unit = [0; UNIT_BYTES];
        for row in 0..16 {
            pack_row(&std::array::from_fn(|col| code(row, col)), row, &mut unit);
        }
        let lines = unpack(&unit);
        for (row, col) in (0..16).flat_map(|row| (0..UNIT).map(move |col| (row, col))) {
            assert_eq!(super::code(&unit, row, col), code(row, col));
            let byte = lines[col / 16][4 * row + col % 4];
            assert_eq!(
                byte >> (col / 4 % 4 * 2) & 3,
                code(row, col),
                "{row}, {col}"
            );
        }
    }
}
