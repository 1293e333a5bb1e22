//! Tensors the engine would leave out: refused by name.
//!
//! A bias, a norm too many, a block beyond the last, an adapter: a model that has one was trained
//! with it, and without it answers something else.

use std::collections::BTreeSet;

use super::names::TensorId;
use super::source::{PARTS, linear_shape, norm_len};
use super::tensor_error;
use crate::config::ModelConfig;
use crate::error::LoadError;

/// Every tensor that is read of a model of this shape, without the companions a container may have.
pub(super) fn wanted(config: &ModelConfig, tied: bool) -> impl Iterator<Item = TensorId> {
    let mut parts = PARTS.to_vec();
    parts.retain(|&part| linear_shape(config, part).is_some() || norm_len(config, part).is_some());
    let blocks = (0..config.n_layers).flat_map(move |index| {
        parts
            .clone()
            .into_iter()
            .map(move |part| TensorId::Block(index, part))
    });
    [TensorId::Embedding, TensorId::OutputNorm]
        .into_iter()
        .chain((!tied).then_some(TensorId::Head))
        .chain(blocks)
}

/// Refuse a tensor of the container that is not among the `read`, unless `asks_for_nothing` finds
/// that it changes nothing.
pub(super) fn refuse<'a>(
    tensors: impl Iterator<Item = &'a str>,
    read: &BTreeSet<String>,
    config: &ModelConfig,
    asks_for_nothing: impl Fn(&str) -> bool,
) -> Result<(), LoadError> {
    let left: Vec<&str> = tensors
        .filter(|name| !read.contains(*name) && !asks_for_nothing(name))
        .collect();
    let Some(first) = left.iter().min() else {
        return Ok(());
    };
    let others = match left.len() - 1 {
        0 => String::new(),
        n => format!(" ({n} further ones like it)"),
    };
    Err(tensor_error(
        first,
        format!("{}{others}", reason(first, config)),
    ))
}

fn reason(name: &str, config: &ModelConfig) -> String {
    let lower = name.to_lowercase();
    if lower.contains("lora") {
        return "is of an adapter (LoRA), which is not supported; merge it into its model first"
            .into();
    }
    if block(name).is_some_and(|index| index >= config.n_layers) {
        return format!(
            "is of a block that the configuration does not count: it says {} blocks. Leaving it out \
             would change every answer",
            config.n_layers
        );
    }
    if lower.ends_with(".bias") {
        return "is a bias, which is not supported; leaving it out would change every answer"
            .into();
    }
    format!(
        "is unknown for architecture `{}`, and leaving it out would change every answer; this model \
         is not supported",
        config.architecture
    )
}

/// N of `blk.N.` or `model.layers.N.`.
fn block(name: &str) -> Option<usize> {
    let rest = name
        .strip_prefix("blk.")
        .or_else(|| name.strip_prefix("model.layers."))?;
    rest.split('.').next()?.parse().ok()
}
