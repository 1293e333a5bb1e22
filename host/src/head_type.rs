//! The storage types of an output head, as the command line names them.

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sterna_engine::files::TableType;
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
    /// 18 bytes per 32 weights: for small files. Sterna rewrites it in q8_0 at each start.
    #[value(name = "q4_0")]
    Q4_0,
    /// 144 bytes per 256 weights, closer to them than q4_0. Sterna rewrites it in q8_0 at each
    /// start.
    #[value(name = "q4_k")]
    Q4K,
}

impl From<HeadType> for TableType {
    fn from(head: HeadType) -> Self {
        match head {
            HeadType::F32 => DenseType::F32.into(),
            HeadType::F16 => DenseType::F16.into(),
            HeadType::Bf16 => DenseType::Bf16.into(),
            HeadType::Q8_0 => DenseType::Q8_0.into(),
            HeadType::Q6K => DenseType::Q6K.into(),
            HeadType::Q4_0 => TableType::Q4_0,
            HeadType::Q4K => TableType::Q4K,
        }
    }
}

impl HeadType {
    /// The type, if the kernels compute with it as it lies.
    #[must_use]
    pub fn kernel(self) -> Option<DenseType> {
        match TableType::from(self) {
            TableType::Kernel(ty) => Some(ty),
            TableType::Q4_0 | TableType::Q4K => None,
        }
    }
}

/// Reads the name of a type that the kernels compute with as it lies.
pub fn kernel_head() -> impl TypedValueParser<Value = DenseType> {
    let types = HeadType::value_variants().iter();
    let named = types.filter(|head| head.kernel().is_some());
    PossibleValuesParser::new(named.filter_map(HeadType::to_possible_value)).try_map(|name| {
        let head = HeadType::from_str(&name, false)?;
        head.kernel()
            .ok_or_else(|| format!("{name} is a type of files alone"))
    })
}
