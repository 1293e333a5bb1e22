//! The tensors of a Hugging Face directory: one `model.safetensors`, or shards named by
//! `model.safetensors.index.json`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value as Json;

use super::{damaged, directory, read_json, safetensors_header, what_is};

use crate::placement::Bytes;

use crate::error::LoadError;
use crate::placement;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// One tensor, as a range of its mapped file.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Bytes,
}

/// Every tensor of the directory by name.
#[derive(Debug)]
pub(crate) struct TensorFiles {
    tensors: HashMap<String, Tensor>,
}

impl TensorFiles {
    /// Map the files and read their headers. Weights are not touched.
    pub(crate) fn open(dir: &Path) -> Result<Self, LoadError> {
        let mut files = TensorFiles {
            tensors: HashMap::new(),
        };
        let single = dir.join(SINGLE);
        let index = dir.join(INDEX);
        if single.is_file() {
            files.add(&single)?;
        } else if index.is_file() {
            let shards = shards(&index)?;
            for shard in shards.values().collect::<BTreeSet<_>>() {
                files.add(&dir.join(shard))?;
            }
            if let Some((tensor, shard)) = shards
                .iter()
                .find(|(tensor, _)| files.get(tensor).is_none())
            {
                let shard = shard.display();
                return Err(damaged(
                    &index,
                    format!("tensor `{tensor}` is not in {shard}, which should have it"),
                ));
            }
        } else {
            return Err(LoadError::NotAModel {
                path: dir.to_owned(),
                reason: directory::without_weights(dir, &format!("{SINGLE} nor {INDEX}")),
            });
        }
        Ok(files)
    }

    /// The names of all tensors, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    fn add(&mut self, path: &Path) -> Result<(), LoadError> {
        let file = placement::open(path)?;
        safetensors_header::check(&file).map_err(|reason| {
            // What begins with a length and `{` is one, though it may be damaged.
            let other = what_is(&file, path).filter(|what| !what.contains("safetensors file"));
            damaged(path, other.unwrap_or(reason))
        })?;
        let (header, metadata) = SafeTensors::read_metadata(&file)
            .map_err(|error| damaged(path, format!("safetensors header: {error}")))?;
        let data = header + size_of::<u64>();
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let bytes = data
                .checked_add(start)
                .zip(data.checked_add(end))
                .and_then(|(start, end)| file.slice(start..end))
                .ok_or_else(|| {
                    damaged(
                        path,
                        format!("tensor `{name}` reaches past the end of the file"),
                    )
                })?;
            let tensor = Tensor {
                dtype: info.dtype,
                shape: info.shape.clone(),
                bytes,
            };
            if self.tensors.insert(name.clone(), tensor).is_some() {
                return Err(damaged(
                    path,
                    format!("tensor `{name}` is in another shard too"),
                ));
            }
        }
        Ok(())
    }
}

/// The shard of each tensor an index names. Only plain file names: an index must not reach out of
/// its directory.
fn shards(index: &Path) -> Result<BTreeMap<String, PathBuf>, LoadError> {
    let json = read_json(index)?;
    let map = json
        .get("weight_map")
        .and_then(Json::as_object)
        .ok_or_else(|| damaged(index, "it has no `weight_map`"))?;
    let mut shards = BTreeMap::new();
    for (tensor, file) in map {
        let name = file
            .as_str()
            .map(Path::new)
            .filter(|name| name.file_name() == Some(name.as_os_str()));
        let name = name.ok_or_else(|| {
            damaged(
                index,
                format!("tensor `{tensor}`: `{file}` is no file name"),
            )
        })?;
        shards.insert(tensor.clone(), name.to_owned());
    }
    Ok(shards)
}
