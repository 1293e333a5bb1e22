//! Model files: GGUF and Hugging Face directories, behind one [`WeightSource`].
//!
//! `open` reads headers, configuration, tokenizer and template; weights are asked for afterwards, by
//! `Model::load` (all of them) or by `convert` (one at a time).

mod bytes;
#[cfg(feature = "native")]
mod copies;
mod finish;
mod floats;
mod ggml_type;
pub mod gguf;
pub(crate) mod gguf_tokenizer;
pub mod gguf_value;
mod gguf_weights;
pub mod gguf_write;
mod hf;
#[cfg(feature = "native")]
pub mod huge_pages;
mod mmap;
mod names;
mod open;
#[cfg(feature = "native")]
mod pace;
#[cfg(feature = "native")]
mod repack;
mod safetensors;
#[cfg(feature = "native")]
mod settle;
mod source;
mod ternary;

use std::path::Path;

pub use bytes::Bytes;
#[cfg(feature = "native")]
pub use copies::Copies;
pub(crate) use ggml_type::id as ggml_id;
pub use gguf::Gguf;
pub use gguf_value::{Array, Value};
pub(crate) use gguf_weights::{SCALES as LINEAR_SCALES, T5_VERSION, T5_VERSION_KEY};
pub(crate) use names::TensorId;
pub use open::stem;
pub(crate) use open::{OpenModel, open, open_gguf_bytes};
#[cfg(feature = "native")]
pub use settle::{Settled, Settling, settle};
pub(crate) use source::{PARTS, WeightSource, linear_shape, norm_len};
pub(crate) use ternary::to_i2s;

use crate::error::LoadError;

/// A `LoadError::Damaged` for `path`.
pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> LoadError {
    LoadError::Damaged {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

/// A `LoadError::Tensor` for `tensor`.
pub(crate) fn tensor_error(tensor: &str, reason: impl Into<String>) -> LoadError {
    LoadError::Tensor {
        tensor: tensor.to_owned(),
        reason: reason.into(),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|source| LoadError::Io {
        path: path.to_owned(),
        source,
    })
}

/// A parsed JSON file.
fn read_json(path: &Path) -> Result<serde_json::Value, LoadError> {
    serde_json::from_slice(&read_file(path)?).map_err(|error| damaged(path, error.to_string()))
}

/// A parsed JSON file, or `None` where there is none.
fn read_optional_json(path: &Path) -> Result<Option<serde_json::Value>, LoadError> {
    if path.is_file() {
        read_json(path).map(Some)
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
