//! Refusals: a shape that does not fit its bytes, an ISA this machine lacks, a kernel
//! that computes wrongly.

use thiserror::Error;

/// A matrix or output whose dimensions and bytes do not agree.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShapeError {
    /// The slice is shorter or longer than the dimensions say.
    #[error("{what} of [{rows}, {cols}] needs {expected} {unit}, got {actual}")]
    Length {
        /// The object, for example "ternary matrix".
        what: &'static str,
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
        /// Length that the dimensions ask for.
        expected: usize,
        /// Length of the slice given.
        actual: usize,
        /// Unit of both lengths.
        unit: &'static str,
    },
    /// Columns do not fill whole blocks of the storage type.
    #[error(
        "{ty} rows are made of whole blocks; {cols} columns are not a multiple of {block}: store this tensor as F16 or Q8_0"
    )]
    Block {
        /// Storage type.
        ty: &'static str,
        /// Columns asked for.
        cols: usize,
        /// Block size in columns.
        block: usize,
    },
    /// Weights do not share a scale in groups that kernels know.
    #[error("groups of {group} weights with a scale each; known are 64, 128 and 256")]
    Group {
        /// Weights of a group.
        group: usize,
    },
    /// A dimension is zero or so large that a sum could leave 32 bits.
    #[error(
        "{what} of [{rows}, {cols}]: rows and columns must be at least 1, and columns at most {max_cols}"
    )]
    Range {
        /// The object.
        what: &'static str,
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
        /// Most columns allowed.
        max_cols: usize,
    },
}

/// An instruction set that cannot be used here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IsaError {
    /// No kernel set of that name exists in this build.
    #[error("unknown ISA {name:?}; this machine supports: {supported}")]
    Unknown {
        /// The name given.
        name: String,
        /// Names that would work here, comma-separated.
        supported: String,
    },
    /// The kernel set exists, but the CPU lacks its instructions.
    #[error("this machine has no {name}; it supports: {supported}")]
    Unsupported {
        /// The name given.
        name: String,
        /// Names that would work here, comma-separated.
        supported: String,
    },
}

/// A kernel whose result differs from the scalar oracle's on this machine: do not serve with it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "kernel {kernel} of {isa} differs from scalar on this machine ({detail}); choose another with STERNA_ISA and report this"
)]
pub struct SelfTestError {
    /// The instruction set under test.
    pub isa: &'static str,
    /// The kernel that differs.
    pub kernel: &'static str,
    /// Shape, place and both values.
    pub detail: String,
}
