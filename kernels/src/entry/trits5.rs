//! I2_S matrices as trits5, and back.

use crate::trits5;
use crate::{Isa, Ternary, TernaryLayout};

/// Packs an I2_S matrix as trits5. `None` where a weight has the code 3, which has no place here,
/// or `w` is trits5 already.
pub fn pack_trits5(isa: Isa, w: Ternary<'_>) -> Option<Vec<u8>> {
    let mut out = vec![0; TernaryLayout::Trits5.bytes(w.rows(), w.cols())];
    pack_trits5_into(isa, w, &mut out).then_some(out)
}

/// The same into memory at hand, `TernaryLayout::Trits5.bytes(w.rows(), w.cols())` of it. False,
/// and anything in `out`, where that is not its length or [`pack_trits5`] would give `None`.
#[must_use]
pub fn pack_trits5_into(isa: Isa, w: Ternary<'_>, out: &mut [u8]) -> bool {
    w.layout() == TernaryLayout::I2S
        && out.len() == TernaryLayout::Trits5.bytes(w.rows(), w.cols())
        && trits5::pack::pack_rows(w, out, &|blocks, groups| isa.trits5_pack(blocks, groups))
}

/// All rows of a matrix as I2_S rows, for what knows only those.
pub fn unpack_trits5(isa: Isa, w: Ternary<'_>) -> Vec<u8> {
    let row_bytes = Ternary::row_bytes(w.cols());
    let mut out = vec![0; w.rows() * row_bytes];
    match w.layout() {
        TernaryLayout::Trits5 => isa.trits5_unpack(w, 0..w.rows(), &mut out),
        TernaryLayout::I2S => {
            for (r, out) in out.chunks_exact_mut(row_bytes).enumerate() {
                out.copy_from_slice(w.row(r).as_flattened());
            }
        }
    }
    out
}
