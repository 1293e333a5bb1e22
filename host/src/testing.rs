//! What tests of several modules need.

use sterna_engine::request::ModelInfo;

/// The facts of a model that there is not.
pub(crate) fn model_info(id: &str) -> ModelInfo {
    ModelInfo {
        id: id.into(),
        created: 7,
        architecture: "bitnet".into(),
        context_length: 64,
        vocab_size: 8,
        parameters: 1,
        head_type: "f16".into(),
        kv_type: "f32".into(),
        isa: "scalar".into(),
        fingerprint: String::new(),
        max_sequences: 4,
        embedding_size: 4,
        generates: true,
        reasoning_tags: None,
        call_form: None,
    }
}
