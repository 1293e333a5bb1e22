//! A tensor as a container describes it.

/// A tensor as its container has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredTensor {
    /// Its name in the container.
    pub(crate) name: String,
    /// The name of its type, as GGUF or safetensors has it.
    pub(crate) ty: String,
    /// `[out, in]`, or `[n]`.
    pub(crate) shape: Vec<usize>,
}
