//! Rotary positions as a `config.json` says them.

use serde_json::Value as Json;

use super::hf_object::Object;
use super::rope::growth;
use super::{Llama3, RopeScaling, Yarn, bad};
use crate::error::LoadError;

/// The scaling of the rotary frequencies, which transformers 5 moved into `rope_parameters`: one
/// for all layers, of the whole head; or, `by_kind` of layer, an object for each.
pub(super) fn rope_scaling(
    object: &Object<'_>,
    context_length: usize,
    by_kind: bool,
) -> Result<RopeScaling, LoadError> {
    let mut found = RopeScaling::Unscaled;
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(value) = object.get(key) else {
            continue;
        };
        let of_kinds = |parameters: &serde_json::Map<String, Json>| {
            parameters.keys().all(|kind| kind.ends_with("_attention"))
        };
        if by_kind && value.as_object().is_some_and(of_kinds) {
            // `gemma` reads them.
            continue;
        }
        if value
            .as_object()
            .is_none_or(|scaling| scaling.values().any(Json::is_object))
        {
            return Err(bad(
                key,
                "must be an object with one type and one theta for all layers; others are not \
                 supported",
            ));
        }
        let scaling = Object(value);
        if scaling
            .number("partial_rotary_factor")?
            .is_some_and(|factor| factor != 1.0)
        {
            return Err(bad(
                &format!("{key}.partial_rotary_factor"),
                "only a rotary embedding over the whole head is supported",
            ));
        }
        let factor = scaling.number("factor")?;
        // A file may say it outside, as Phi's do, and that counts before what is inside.
        let original = object.number("original_max_position_embeddings")?;
        let original = original.or(scaling.number("original_max_position_embeddings")?);
        let original = original.unwrap_or(context_length as f64);
        let kind = scaling.text("rope_type")?.or(scaling.text("type")?);
        match (kind.as_deref(), factor.unwrap_or(1.0)) {
            (None | Some("default" | "none" | "linear"), 1.0) => {}
            (Some("yarn"), _) => {
                let factor = factor.unwrap_or(context_length as f64 / original);
                found = RopeScaling::Yarn(yarn(&scaling, factor, original)?);
            }
            (Some("llama3"), _) => {
                let number = |name: &str| {
                    let absent = || bad(&format!("{key}.{name}"), "is absent");
                    scaling.number(name)?.ok_or_else(absent)
                };
                found = RopeScaling::Llama3(Llama3 {
                    factor: number("factor")?,
                    low_freq_factor: number("low_freq_factor")?,
                    high_freq_factor: number("high_freq_factor")?,
                    original_context: original,
                });
            }
            (kind, factor) => {
                let kind = kind.unwrap_or("default");
                return Err(bad(
                    key,
                    format!(
                        "`{kind}` with factor {factor} is not supported; `yarn`, `llama3` and \
                         unscaled positions are"
                    ),
                ));
            }
        }
    }
    Ok(found)
}

fn yarn(scaling: &Object<'_>, factor: f64, original: f64) -> Result<Yarn, LoadError> {
    // A number that is 0 counts as absent in transformers.
    let number = |key: &str| Ok(scaling.number(key)?.filter(|&x| x != 0.0));
    let yarn = Yarn::new(factor, original);
    let by_mscale = match (number("mscale")?, number("mscale_all_dim")?) {
        (Some(mscale), Some(all)) => growth(factor, mscale) / growth(factor, all),
        _ => yarn.attention_factor,
    };
    Ok(Yarn {
        beta_fast: number("beta_fast")?.unwrap_or(yarn.beta_fast),
        beta_slow: number("beta_slow")?.unwrap_or(yarn.beta_slow),
        attention_factor: scaling.number("attention_factor")?.unwrap_or(by_mscale),
        truncate: scaling.flag("truncate")?.unwrap_or(yarn.truncate),
        ..yarn
    })
}

/// transformers 5 moved it into `rope_parameters`; BitNet's class default is 500000, Llama's 10000.
pub(super) fn rope_theta(object: &Object<'_>) -> Result<f64, LoadError> {
    let parameters = Object(object.0.get("rope_parameters").unwrap_or(&Json::Null));
    if let Some(theta) = parameters
        .number("rope_theta")?
        .or(object.number("rope_theta")?)
    {
        return Ok(theta);
    }
    let native = object.text("model_type")?.as_deref() == Some("bitnet");
    Ok(if native { 500_000.0 } else { 10_000.0 })
}
