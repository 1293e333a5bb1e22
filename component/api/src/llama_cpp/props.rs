//! The facts of the server, as far as they are known here: neither the model's file nor its chat
//! template is.

use serde_json::json;

use crate::{engine::ListedModel, error::ApiError, json::to_json};

/// `/props`, of the default model.
///
/// # Errors
/// There is none.
pub(super) fn document(models: &[ListedModel]) -> Result<Vec<u8>, ApiError> {
    let model = models
        .first()
        .ok_or_else(|| ApiError::unavailable("no model is loaded"))?;
    let info = model.info.as_ref();
    Ok(to_json(&json!({
        "default_generation_settings": {"n_ctx": info.map(|info| info.context_length)},
        "total_slots": info.map(|info| info.max_sequences),
        "model_alias": model.id,
        "modalities": {"vision": false, "audio": false},
        "build_info": concat!("sterna-", env!("CARGO_PKG_VERSION")),
    })))
}
