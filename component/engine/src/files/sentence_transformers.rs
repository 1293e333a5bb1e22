//! A model for embeddings as the library Sentence Transformers saves it: `modules.json` names the
//! folder in which the pooling is described.

use std::path::Path;

use serde_json::Value as Json;

use super::read_optional_json;
use crate::config::{Pooling, bad};
use crate::error::LoadError;

/// The flags of a pooling that is computed. Others are refused.
const MODES: [(&str, Pooling); 3] = [
    ("pooling_mode_lasttoken", Pooling::Last),
    ("pooling_mode_mean_tokens", Pooling::Mean),
    ("pooling_mode_cls_token", Pooling::First),
];

/// The pooling of the model in a directory; `None` where nothing says that it is for embeddings.
///
/// # Errors
/// `LoadError::Config` where it is none that is computed, or several together.
pub(super) fn pooling(dir: &Path) -> Result<Option<Pooling>, LoadError> {
    let Some(modules) = read_optional_json(&dir.join("modules.json"))? else {
        return Ok(None);
    };
    let is_pooling = |module: &&Json| {
        let ty = module.get("type").and_then(Json::as_str);
        ty.is_some_and(|ty| ty.ends_with("Pooling"))
    };
    let module = modules
        .as_array()
        .and_then(|all| all.iter().find(is_pooling));
    let Some(folder) = module.and_then(|module| module.get("path")?.as_str()) else {
        return Ok(None);
    };
    // A name within the directory; no other file is this model's.
    if Path::new(folder).components().count() != 1 || folder.starts_with('.') {
        return Err(bad(
            "modules.json",
            format!("names `{folder}`, which is no folder in it"),
        ));
    }
    let Some(config) = read_optional_json(&dir.join(folder).join("config.json"))? else {
        return Err(bad(
            "modules.json",
            format!("names the folder {folder}, which has no config.json: download it too"),
        ));
    };
    let Some(flags) = config.as_object() else {
        return Err(bad("pooling_mode", "is in no object"));
    };
    let is_on = |value: &Json| value.as_bool() == Some(true);
    let set = flags
        .iter()
        .filter(|(key, value)| key.starts_with("pooling_mode_") && is_on(value));
    let set: Vec<&str> = set.map(|(key, _)| key.as_str()).collect();
    let found = match set.as_slice() {
        [only] => MODES.iter().find(|(key, _)| key == only),
        _ => None,
    };
    match found {
        Some((_, pooling)) => Ok(Some(*pooling)),
        None => Err(bad(
            "pooling_mode",
            format!(
                "of {folder}/config.json is {}; one of lasttoken, mean_tokens and cls_token is supported",
                if set.is_empty() {
                    "none".into()
                } else {
                    set.join(" and ")
                }
            ),
        )),
    }
}
