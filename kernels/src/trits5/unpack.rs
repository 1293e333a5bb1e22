//! trits5 rows as I2_S rows, in portable code.

use std::ops::Range;

use super::{CodeWords, GROUP_BYTES, TAIL_BYTES, bytes, parts};
use crate::Ternary;
use crate::pack::BLOCK_BYTES;

/// Bytes of 1 where a byte of `x` is `limit` or more; all are below 128.
#[inline(always)]
fn at_least(x: u64, limit: u8) -> u64 {
    (x + bytes(128 - limit)) >> 7 & bytes(1)
}

/// The codes of a group's weights 0.., 64.. and 128... Words of eight triples, in steps over all
/// eight words: a compiler makes vectors of them where the target has some.
#[inline(always)]
fn group_codes(group: &[u8; GROUP_BYTES]) -> [CodeWords; 3] {
    let mut out = [[0; 8]; 3];
    let mut x = [0u64; 8];
    for (x, five) in x.iter_mut().zip(group.as_chunks::<5>().0) {
        let [a, b, c, d, e] = *five;
        *x = u64::from(u32::from_le_bytes([a, b, c, d])) | u64::from(e) << 32;
    }
    for i in 0..8 {
        // 40 bits to two times 20, four times 10, eight times 5.
        let x = x[i] & 0xf_ffff | (x[i] & 0xff_fff0_0000) << 12;
        let x = x & 0x0000_03ff_0000_03ff | (x & 0x000f_fc00_000f_fc00) << 6;
        let x = x & 0x001f_001f_001f_001f | (x & 0x03e0_03e0_03e0_03e0) << 3;
        // The five patterns that no writer makes count as the last that one does, as in the tables
        // of the loops.
        let none = at_least(x, 27) * 0xff;
        let x = x & !none | bytes(26) & none;
        let nines = at_least(x, 9) + at_least(x, 18);
        let x = x - 9 * nines;
        let threes = at_least(x, 3) + at_least(x, 6);
        out[0][i] = x - 3 * threes;
        out[1][i] = threes;
        out[2][i] = nines;
    }
    out
}

/// The codes of a piece of the tail.
#[inline(always)]
fn tail_codes(piece: &[u8; TAIL_BYTES]) -> CodeWords {
    let words = piece.as_chunks::<8>().0;
    std::array::from_fn(|i| u64::from_le_bytes(words[i % 2]) >> (6 - i / 2 * 2) & bytes(3))
}

/// Half a block of I2_S: 64 codes in bits 2 and 0 of 32 bytes.
#[inline(always)]
fn half_block(codes: &CodeWords) -> [u64; 4] {
    std::array::from_fn(|i| codes[i] << 2 | codes[4 + i])
}

/// Puts a row together from halves of blocks, in order.
struct Halves<'a> {
    blocks: std::slice::IterMut<'a, [u8; BLOCK_BYTES]>,
    first: Option<[u64; 4]>,
}

impl Halves<'_> {
    #[inline(always)]
    fn push(&mut self, second: [u64; 4]) {
        let Some(first) = self.first.take() else {
            self.first = Some(second);
            return;
        };
        // Past the row's last block only padding comes.
        if let Some(block) = self.blocks.next() {
            for (i, out) in block.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                *out = (first[i] << 4 | second[i]).to_le_bytes();
            }
        }
    }
}

/// One row as I2_S blocks, `Ternary::row_bytes(cols)`.
#[inline(always)]
fn unpack_row(row: &[u8], cols: usize, out: &mut [u8]) {
    /// Two codes of weight 0.
    const ZEROS: [u64; 4] = [bytes(0b0101); 4];
    let (body, tail) = row.split_at(parts(cols).0 * GROUP_BYTES);
    let mut halves = Halves {
        blocks: out.as_chunks_mut().0.iter_mut(),
        first: None,
    };
    for group in body.as_chunks().0 {
        for codes in &group_codes(group) {
            halves.push(half_block(codes));
        }
    }
    for piece in tail.as_chunks().0 {
        halves.push(half_block(&tail_codes(piece)));
    }
    if halves.first.is_some() {
        halves.push(ZEROS);
    }
}

/// The rows `rows` of `w`, which is trits5, as I2_S rows into `out`: as many times
/// `Ternary::row_bytes(w.cols())`.
#[inline(always)]
pub(crate) fn unpack_rows(w: Ternary<'_>, rows: Range<usize>, out: &mut [u8]) {
    for (r, out) in rows.zip(out.chunks_exact_mut(Ternary::row_bytes(w.cols()))) {
        unpack_row(w.trits5_row(r), w.cols(), out);
    }
}
