//! The storage types of an output head, as the command line names them.

use clap::ValueEnum;
use sterna_kernels::DenseType;

/// A storage type of the embedding table and output head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HeadType {
    /// 4 bytes a weight.
    #[value(name = "f32")]
    F32,
    /// 2 bytes a weight; what published models have.
    #[value(name = "f16")]
    F16,
    /// 2 bytes a weight, with f32's range.
    #[value(name = "bf16")]
    Bf16,
    /// 34 bytes per 32 weights: hardly a difference to f16, in half the time.
    #[value(name = "q8_0")]
    Q8_0,
    /// 210 bytes per 256 weights: the fastest.
    #[value(name = "q6_k")]
    Q6K,
}

impl From<HeadType> for DenseType {
    fn from(head: HeadType) -> Self {
        match head {
            HeadType::F32 => DenseType::F32,
            HeadType::F16 => DenseType::F16,
            HeadType::Bf16 => DenseType::Bf16,
            HeadType::Q8_0 => DenseType::Q8_0,
            HeadType::Q6K => DenseType::Q6K,
        }
    }
}
