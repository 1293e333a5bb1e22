//! Model files: GGUF and Hugging Face directories, behind one [`WeightSource`].
//!
//! `open` reads headers, configuration, tokenizer and template; weights are asked for afterwards,
//! by `Model::load` (all of them) or by `convert` (one at a time).

mod directory;
mod fingerprint;
mod finish;
mod float_linear;
mod floats;
mod ggml_type;
pub mod gguf;
mod gguf_blocks;
pub(crate) mod gguf_tokenizer;
pub mod gguf_value;
mod gguf_weights;
pub mod gguf_write;
mod group_blocks;
mod group_encode;
mod group_grid;
pub(crate) mod group_tiles;
mod hf;
mod leftovers;
mod names;
mod one_scale;
mod open;
mod options;
mod own_layout;
mod parts;
pub mod plan;
mod ranges;
pub(crate) mod regular;
mod row_blocks;
mod safetensors;
mod safetensors_header;
mod sentence_transformers;
mod source;
mod stored_tensor;
pub mod survey;
mod table_blocks;
mod table_encode;
mod ternary;
mod unlike;

use std::path::Path;

pub(crate) use fingerprint::fingerprint;
pub(crate) use ggml_type::{SCALES as LINEAR_SCALES, id as ggml_id};
pub use gguf::Gguf;
pub use gguf_value::{Array, Value};
pub(crate) use gguf_weights::TRITS5;
pub use group_encode::BlockType;
pub(crate) use names::{Part, TensorId};
pub use open::stem;
pub(crate) use open::{OpenModel, open, open_gguf_bytes};
pub use options::LoadOptions;
pub(crate) use own_layout::OwnLayout;
pub use regular::refuse_special;
pub(crate) use source::{PARTS, linear_shape, load_weights, norm_len};
pub use table_encode::TableType;
pub(crate) use ternary::to_i2s;

use unlike::what_is;

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

/// The largest text file that is read whole: several times the largest tokenizer.json there is.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// A text file (JSON, a template), whole.
fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Io {
        path: path.to_owned(),
        source,
    };
    let mut text = Vec::new();
    let file = regular::open(path).map_err(failed)?;
    std::io::Read::read_to_end(
        &mut std::io::Read::take(file, MAX_TEXT_BYTES + 1),
        &mut text,
    )
    .map_err(failed)?;
    if text.len() as u64 > MAX_TEXT_BYTES {
        return Err(damaged(
            path,
            format!(
                "it is larger than {} MiB: no such file of a model is",
                MAX_TEXT_BYTES >> 20
            ),
        ));
    }
    Ok(text)
}

/// A parsed JSON file.
fn read_json(path: &Path) -> Result<serde_json::Value, LoadError> {
    let bytes = read_file(path)?;
    serde_json::from_slice(&bytes).map_err(|error| match what_is(&bytes, path) {
        Some(other) => damaged(path, other),
        None => damaged(path, format!("it is no JSON: {error}")),
    })
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
