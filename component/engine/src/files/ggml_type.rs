//! Names and sizes of ggml's tensor types, and what to do about those the engine does not read.

use sterna_kernels::{DenseType, GroupCodes, GroupShape, TernaryLayout};

use super::group_blocks::{self, BlockFormat, q2_0};
use super::group_tiles;
use super::row_blocks::RowBlocks;
use super::table_blocks::TableBlocks;

/// After the data of a ternary tensor its scale, eight times: what bitnet.cpp's tools write.
pub(crate) const SCALES: usize = 8;
/// The same in bytes.
pub(crate) const TAIL_BYTES: usize = SCALES * size_of::<f32>();

/// Bytes of a tensor of a type the engine reads, its scales included; `ne` as GGUF orders it,
/// innermost first. `None` for other types, and where the sizes do not divide into whole blocks.
pub(crate) fn n_bytes(ty: u32, ne: &[u64]) -> Option<usize> {
    let (&inner, outer) = ne.split_first()?;
    let cols = usize::try_from(inner).ok()?;
    let rows = outer.iter().try_fold(1usize, |rows, &n| {
        rows.checked_mul(usize::try_from(n).ok()?)
    })?;
    let blocks = |format: BlockFormat| format.row_bytes(cols)?.checked_mul(rows);
    let dense = |ty: DenseType| ty.row_bytes(cols)?.checked_mul(rows);
    match ty {
        id::F32 => dense(DenseType::F32),
        id::F16 => dense(DenseType::F16),
        id::BF16 => dense(DenseType::Bf16),
        id::Q8_0 => dense(DenseType::Q8_0),
        id::Q6_K => dense(DenseType::Q6K),
        id::I2_S => {
            let n = rows.checked_mul(cols)?;
            n.is_multiple_of(I2_S_LEAST_BLOCK)
                .then_some((n / 4).checked_add(TAIL_BYTES)?)
        }
        id::STERNA_TRITS5 => TernaryLayout::Trits5
            .bytes(rows, cols)
            .checked_add(TAIL_BYTES),
        id::TQ1_0 => blocks(group_blocks::TQ1_0),
        id::TQ2_0 => blocks(group_blocks::TQ2_0),
        id::Q1_0 => blocks(group_blocks::Q1_0),
        // At least: in groups of 64 it takes more.
        id::Q2_0 => blocks(q2_0(128)).or_else(|| blocks(q2_0(64))),
        _ => match group_tiles::kind(ty) {
            Some((codes, group)) => {
                let shape = GroupShape::new(rows, cols, group, codes).ok()?;
                Some(shape.packed_bytes())
            }
            None => {
                let of_rows = RowBlocks::of(ty).map(|format| format.row_bytes(cols));
                let of_table = || TableBlocks::of(ty)?.row_bytes(cols).ok();
                of_rows.unwrap_or_else(of_table)?.checked_mul(rows)
            }
        },
    }
}

/// Weights of a block of I2_S's smaller form; a tensor holds whole blocks.
const I2_S_LEAST_BLOCK: usize = 64;

/// The types whose matrices have one scale in whichever model: ik_llama.cpp's have one a row,
/// which are the same in what its tools make of a BitNet.
pub(super) const HAVE_ONE_SCALE: [u32; 4] = [id::I2_S, id::STERNA_TRITS5, id::IQ1_BN, id::IQ2_BN];

/// ids as in ggml.h; 36 to 38 are bitnet.cpp's, 134 and up are forks'.
pub(crate) mod id {
    pub(crate) const F32: u32 = 0;
    pub(crate) const F16: u32 = 1;
    pub(crate) const Q4_0: u32 = 2;
    pub(crate) const Q4_1: u32 = 3;
    pub(crate) const Q5_0: u32 = 6;
    pub(crate) const Q5_1: u32 = 7;
    pub(crate) const Q8_0: u32 = 8;
    pub(crate) const Q4_K: u32 = 12;
    pub(crate) const Q5_K: u32 = 13;
    pub(crate) const Q6_K: u32 = 14;
    pub(crate) const BF16: u32 = 30;
    pub(crate) const TQ1_0: u32 = 34;
    pub(crate) const TQ2_0: u32 = 35;
    pub(crate) const I2_S: u32 = 36;
    /// This engine's own: layout trits5 of sterna-kernels. Nobody else reads it; a metadata key has
    /// its version.
    pub(crate) const STERNA_TRITS5: u32 = 0x5354_0005;
    pub(crate) const Q1_0: u32 = 41;
    pub(crate) const Q2_0: u32 = 42;
    /// ik_llama.cpp's.
    pub(crate) const IQ1_BN: u32 = 134;
    pub(crate) const IQ2_BN: u32 = 135;
    /// PrismML's. ik_llama.cpp had other types of these ids once, which no `qwen3` file has.
    pub(crate) const PQ2_0: u32 = 142;
    pub(crate) const PTQ1_0: u32 = 143;
}

/// The name of a type, or `unknown`. One id may have two: forks disagree about 39.
pub(crate) fn name(ty: u32) -> &'static str {
    match ty {
        id::F32 => "F32",
        id::F16 => "F16",
        id::Q4_0 => "Q4_0",
        id::Q4_1 => "Q4_1",
        id::Q5_0 => "Q5_0",
        id::Q5_1 => "Q5_1",
        id::Q8_0 => "Q8_0",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        id::Q4_K => "Q4_K",
        id::Q5_K => "Q5_K",
        id::Q6_K => "Q6_K",
        15 => "Q8_K",
        16..=23 | 29 => "a type of the IQ family",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        id::BF16 => "BF16",
        id::TQ1_0 => "TQ1_0",
        id::TQ2_0 => "TQ2_0",
        id::I2_S => "I2_S",
        37 => "I8_S",
        38 => "TL1",
        39 => "TL2 or MXFP4",
        40 => "NVFP4",
        id::Q1_0 => "Q1_0",
        id::Q2_0 => "Q2_0",
        id::IQ1_BN => "IQ1_BN",
        id::IQ2_BN => "IQ2_BN",
        id::PQ2_0 => "PQ2_0 or IQ1_TN",
        id::PTQ1_0 => "PTQ1_0 or IQ2_TN",
        335 => "IQ2_BN_R4",
        id::STERNA_TRITS5 => "trits5 (Sterna's own)",
        _ => match group_tiles::kind(ty) {
            Some((GroupCodes::Binary, _)) => "binary tiles (Sterna's own)",
            Some((GroupCodes::Ternary, _)) => "ternary tiles (Sterna's own)",
            Some((GroupCodes::Trits8, _)) => "ternary tiles in trits8 (Sterna's own)",
            None => "unknown",
        },
    }
}

/// Why a ternary linear of this type cannot be read, and what to do. Which forms a model has
/// depends on its scales: I2_S holds one a matrix, TQ1_0 and TQ2_0 one for each block.
pub(crate) fn refuse_linear(ty: u32) -> String {
    let name = name(ty);
    let reason = match ty {
        37 => "it is for activations while a program runs",
        38 => {
            "its layout depends on tile sizes of the machine it was made for, which are not in the file"
        }
        39 => {
            "the id means TL2, whose layout depends on tile sizes that are not in the file, or MXFP4, which is no \
             ternary type"
        }
        335 => "its rows are interleaved for one program; the same model's IQ2_BN file is read",
        2 | 3 | 6..=15 | 16..=23 | 29 | 40 => "it is no ternary type",
        _ => "it is none that is known",
    };
    format!("type {name} (id {ty}) is not supported for a linear: {reason}. {ANOTHER_FORM}")
}

const ANOTHER_FORM: &str = "Use this model's safetensors directory, its I2_S file (a BitNet's) or its \
                            TQ1_0 or TQ2_0 file";

/// The same of a model whose linears have a scale for each group.
pub(crate) fn refuse_grouped(ty: u32) -> String {
    let name = name(ty);
    format!(
        "type {name} (id {ty}) is not supported for a linear of this model, which has a scale for each \
         group: use its Q2_0, Q1_0, TQ1_0, TQ2_0 or F16 file, or its unpacked safetensors directory"
    )
}

/// The same of an id with two meanings.
pub(crate) fn refuse_ambiguous(ty: u32) -> String {
    let name = name(ty);
    format!(
        "is of the id {ty}, which means {name}: the one is PrismML's, the other was ik_llama.cpp's, and \
         neither this file's architecture and keys nor its size say that it is PrismML's. \
         {ANOTHER_FORM}"
    )
}

/// What to do about a matrix whose scales differ, of a type that should have one.
pub(crate) fn several_scales_remedy(ty: u32) -> &'static str {
    match ty {
        id::IQ1_BN | id::IQ2_BN => {
            "a row of this type has one scale, and a model whose scales differ has lost some of them. \
             Use its TQ1_0 or TQ2_0 file, or its safetensors directory"
        }
        _ => "use another file of this model, or its safetensors directory",
    }
}

/// Why an embedding or head of this type cannot be read, and what to do.
pub(crate) fn refuse_dense(ty: u32) -> String {
    let name = name(ty);
    format!(
        "type {name} (id {ty}) is not supported here; F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, \
         Q4_K, Q4_1 and Q4_0 are. Requantise it to one of them"
    )
}

/// Why a norm of this type cannot be read.
pub(crate) fn refuse_float(ty: u32) -> String {
    let name = name(ty);
    format!("type {name} (id {ty}) is not supported here; F32, F16 and BF16 are")
}
