//! Checks that weights fit the shape of a pass. They are borrowed, perhaps from a sandbox, which
//! may hand over anything.

use sterna_kernels::ShapeError;

use super::shape::{PassShape, Place};
use super::sub_layers::{AttentionOutput, FeedForward, LinearView, Projection};
use crate::error::EngineError;
use crate::kv::Cached;
use crate::matrix::TableView;

impl Projection<'_> {
    pub(super) fn check(&self, shape: &PassShape) -> Result<(), EngineError> {
        let (q_size, kv_size) = (shape.q_size(), shape.kv_size());
        check_norm("norm", self.norm, shape.hidden_size)?;
        for (name, norm) in [("q-norm", self.q_norm), ("k-norm", self.k_norm)] {
            norm.map_or(Ok(()), |norm| check_norm(name, norm, shape.head_dim))?;
        }
        check_linear("q", &self.q, shape, [q_size, shape.hidden_size])?;
        check_linear("k", &self.k, shape, [kv_size, shape.hidden_size])?;
        check_linear("v", &self.v, shape, [kv_size, shape.hidden_size])?;
        check_kinds("q, k and v", [self.q, self.k, self.v])
    }
}

impl AttentionOutput<'_> {
    pub(super) fn check(&self, shape: &PassShape) -> Result<(), EngineError> {
        if let Some(norm) = self.sub_norm {
            check_norm("sub-norm", norm, shape.q_size())?;
        }
        check_post_norm(self.post_norm, shape)?;
        if self.window == Some(0) {
            return Err(EngineError::Internal("a window of no positions".into()));
        }
        check_linear("o", &self.o, shape, [shape.hidden_size, shape.q_size()])
    }
}

impl FeedForward<'_> {
    pub(super) fn check(&self, shape: &PassShape) -> Result<(), EngineError> {
        let (hidden_size, ffn_size) = (shape.hidden_size, shape.ffn_size);
        check_norm("norm", self.norm, hidden_size)?;
        if let Some(norm) = self.sub_norm {
            check_norm("sub-norm", norm, ffn_size)?;
        }
        check_post_norm(self.post_norm, shape)?;
        check_linear("gate", &self.gate, shape, [ffn_size, hidden_size])?;
        check_linear("up", &self.up, shape, [ffn_size, hidden_size])?;
        check_linear("down", &self.down, shape, [hidden_size, ffn_size])?;
        check_kinds("gate and up", [self.gate, self.up])
    }
}

/// The cache is of this shape, and every place of the batch is in it.
pub(super) fn check_cache(
    shape: &PassShape,
    layer: usize,
    cache: &impl Cached,
    places: &[Place],
) -> Result<(), EngineError> {
    if cache.shape() != shape.kv(cache.shape().ty) || layer >= shape.n_layers {
        return Err(EngineError::Internal(format!(
            "layer {layer} of a cache of {:?}; the model is {:?}",
            cache.shape(),
            shape.kv(cache.shape().ty)
        )));
    }
    let is_absent = |place: &&Place| place.position >= cache.positions(place.sequence);
    match places.iter().find(is_absent) {
        None => Ok(()),
        Some(place) => Err(EngineError::Internal(format!(
            "{place:?} is not in the cache"
        ))),
    }
}

/// An output head has any number of rows.
pub(super) fn check_head(head: &TableView<'_>, hidden_size: usize) -> Result<(), EngineError> {
    let [rows, cols] = head.shape();
    if cols == hidden_size {
        return Ok(());
    }
    Err(misfit("head", &[rows, cols], &[rows, hidden_size]))
}

/// Matrices that share an input take it in one form.
fn check_kinds<const N: usize>(
    names: &str,
    matrices: [LinearView<'_>; N],
) -> Result<(), EngineError> {
    let matrices = matrices.map(|linear| linear.weights);
    let [first, rest @ ..] = &matrices[..] else {
        return Ok(());
    };
    if rest
        .iter()
        .all(|w| w.takes_blocks() == first.takes_blocks())
    {
        return Ok(());
    }
    Err(EngineError::Internal(format!(
        "{names} are some ternary, some group-scaled; they must be one or the other"
    )))
}

pub(super) fn check_norm(name: &str, weight: &[f32], width: usize) -> Result<(), EngineError> {
    if weight.len() == width {
        return Ok(());
    }
    Err(misfit(name, &[weight.len()], &[width]))
}

fn check_post_norm(norm: Option<&[f32]>, shape: &PassShape) -> Result<(), EngineError> {
    norm.map_or(Ok(()), |norm| {
        check_norm("post-norm", norm, shape.hidden_size)
    })
}

/// The matrix has these sizes, and a norm of its input exactly where the pass has linears with
/// such.
fn check_linear(
    name: &str,
    linear: &LinearView<'_>,
    shape: &PassShape,
    [rows, cols]: [usize; 2],
) -> Result<(), EngineError> {
    let is = linear.weights.shape();
    if is != [rows, cols] {
        return Err(misfit(name, &is, &[rows, cols]));
    }
    match (linear.norm, shape.input_norm_eps) {
        (None, None) => Ok(()),
        (Some(norm), Some(_)) => check_norm(&format!("{name}'s norm"), norm, cols),
        (norm, _) => {
            let has = if norm.is_some() { "has a" } else { "has no" };
            Err(EngineError::Internal(format!(
                "{name} {has} norm of its input, unlike the pass's shape"
            )))
        }
    }
}

/// Shapes are checked when a model is loaded; one that does not fit here is a fault of the caller.
fn misfit(name: &str, is: &[usize], should_be: &[usize]) -> EngineError {
    EngineError::Internal(format!("{name} has shape {is:?}; it must be {should_be:?}"))
}

pub(super) fn internal(error: ShapeError) -> EngineError {
    EngineError::Internal(error.to_string())
}
