//! The storage types of keys and values, as the command line names them.

use clap::ValueEnum;
use sterna_kernels::KvType;

/// A storage type of keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Name {
    /// 4 bytes a number: nothing is rounded.
    #[value(name = "f32")]
    F32,
    /// 2 bytes a number: no difference in what is generated but for near ties.
    #[default]
    #[value(name = "f16")]
    F16,
    /// 1 byte a number, and a scale for each position and head; queries are rounded alike.
    #[value(name = "int8", alias = "q8_0")]
    Int8,
}

/// The option that chooses it, shared by the commands that compute.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct KvTypeArgs {
    /// Storage type of keys and values: what a long context costs in memory and time. Each gives
    /// the same tokens on every machine, one alone or many in a batch
    #[arg(
        long,
        env = "STERNA_KV_TYPE",
        value_enum,
        default_value_t,
        value_name = "TYPE"
    )]
    kv_type: Name,
}

impl KvTypeArgs {
    /// The type.
    #[must_use]
    pub fn get(self) -> KvType {
        match self.kv_type {
            Name::F32 => KvType::F32,
            Name::F16 => KvType::F16,
            Name::Int8 => KvType::Int8,
        }
    }
}
