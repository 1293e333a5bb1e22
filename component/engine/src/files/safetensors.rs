//! The tensors of a Hugging Face directory: one `model.safetensors`, or shards named by
//! `model.safetensors.index.json`.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value as Json;

use super::{Bytes, damaged, mmap, read_json};
use crate::error::LoadError;

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
            for shard in shard_names(&index)? {
                files.add(&dir.join(shard))?;
            }
        } else {
            return Err(LoadError::NotAModel {
                path: dir.to_owned(),
                reason: format!("it has a config.json, but neither {SINGLE} nor {INDEX}"),
            });
        }
        Ok(files)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    fn add(&mut self, path: &Path) -> Result<(), LoadError> {
        let file = mmap::open(path)?;
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

/// The shards an index names. Only plain file names: an index must not reach out of its directory.
fn shard_names(index: &Path) -> Result<BTreeSet<PathBuf>, LoadError> {
    let json = read_json(index)?;
    let map = json
        .get("weight_map")
        .and_then(Json::as_object)
        .ok_or_else(|| damaged(index, "it has no `weight_map`"))?;
    let mut names = BTreeSet::new();
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
        names.insert(name.to_owned());
    }
    Ok(names)
}
