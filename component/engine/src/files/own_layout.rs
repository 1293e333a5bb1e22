//! Tensors in layouts of this engine's own, with a metadata key for their version.

use super::Gguf;
use super::gguf::TensorInfo;
use crate::placement::Bytes;

/// A layout that is a cache of a standard file's.
#[derive(Clone, Copy)]
pub(crate) struct OwnLayout {
    /// What errors call it.
    pub(crate) name: &'static str,
    /// The metadata key of its version.
    pub(crate) version_key: &'static str,
    /// The one version there is.
    pub(crate) version: u32,
    /// What to do about a file that cannot be read.
    pub(crate) remedy: &'static str,
}

/// Between tensors a file leaves less than its alignment, or than a cache line.
const LINE: usize = 64;

/// The `n_bytes` of a tensor of such a layout.
///
/// # Errors
/// A sentence for `LoadError::Tensor` where the file's version is another, or the tensor has more
/// or less room: other layouts have other sizes, so that one that was written as something else is
/// found out.
pub(super) fn read(
    layout: OwnLayout,
    gguf: &Gguf,
    tensor: &TensorInfo,
    n_bytes: usize,
) -> Result<Bytes, String> {
    let OwnLayout {
        name,
        version_key,
        version,
        remedy,
    } = layout;
    match gguf.get(version_key) {
        None => {
            return Err(format!(
                "is of type {name}, and the file has no metadata key `{version_key}`: {remedy}"
            ));
        }
        Some(found) if found.as_usize() != Some(version as usize) => {
            let found = found.as_usize();
            let found = found.map_or("no number".to_owned(), |n| n.to_string());
            return Err(format!(
                "is of type {name}, of which `{version_key}` is {found}; this program reads {version}: {remedy}"
            ));
        }
        Some(_) => {}
    }
    let room = gguf.room(tensor);
    let bytes = gguf
        .data(tensor, n_bytes)
        .filter(|_| room >= n_bytes && room - n_bytes < gguf.alignment().max(LINE));
    bytes.ok_or_else(|| {
        let shape: Vec<u64> = tensor.ne.iter().rev().copied().collect();
        format!("has {room} bytes in the file; {name} of {shape:?} takes {n_bytes}: {remedy}")
    })
}
