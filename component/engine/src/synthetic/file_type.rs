//! The tensor types that a file of random weights may have.

use sterna_kernels::DenseType;

/// The type of a file's matrices, as the files of published models are named by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// Binary, a scale for each 128 weights.
    Q1_0,
    /// Ternary in 2 bits, a scale for each 128 weights: `Q2_0` as PrismML publishes it.
    Q2_0,
    /// The same under the same id with a scale for each 64 weights, as llama.cpp has it.
    Q2_0G64,
    /// Ternary in 2 bits, a scale for each 128 weights, under an id of its own.
    Pq2_0,
    /// Ternary in 1.6 bits, a scale for each 256 weights.
    Tq1_0,
    /// Ternary in 2 bits, a scale for each 256 weights.
    Tq2_0,
    /// Ternary in 2 bits, one scale a matrix: bitnet.cpp's.
    I2S,
    /// Halves that are -d, 0 or +d, with one d a matrix.
    F16,
}

impl FileType {
    /// ggml's name, in lower case; `_g64` where one name is two types.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FileType::Q1_0 => "q1_0",
            FileType::Q2_0 => "q2_0",
            FileType::Q2_0G64 => "q2_0_g64",
            FileType::Pq2_0 => "pq2_0",
            FileType::Tq1_0 => "tq1_0",
            FileType::Tq2_0 => "tq2_0",
            FileType::I2S => "i2_s",
            FileType::F16 => "f16",
        }
    }

    /// True if its blocks have a scale each.
    pub(super) fn in_groups(self) -> bool {
        !matches!(self, FileType::I2S | FileType::F16)
    }

    /// The type of embedding and head beside it in published files. `grouped`: of a model whose
    /// tables are on a grid too.
    pub(super) fn table(self, grouped: bool) -> TableType {
        match self {
            FileType::Tq1_0 | FileType::Tq2_0 => TableType::Q4K,
            FileType::F16 if !grouped => TableType::Dense(DenseType::F16),
            FileType::I2S => TableType::Dense(DenseType::F16),
            same => TableType::Like(same),
        }
    }
}

/// The type of a file's embedding and head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableType {
    /// As the matrices.
    Like(FileType),
    /// A type of the kernels.
    Dense(DenseType),
    /// 32 weights in 18 bytes: 4-bit values, f16 scale.
    Q4_0,
    /// 256 weights in 144 bytes: 4-bit values, a 6-bit scale and minimum for each 32.
    Q4K,
}
