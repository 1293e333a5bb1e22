//! One way to ask for weights, whatever the container, and the order in which a model asks.

use sterna_kernels::TernaryLayout;

use super::names::Part::{
    AttnNorm, AttnPostNorm, AttnSubNorm, Down, DownIn, FfnNorm, FfnPostNorm, FfnSubNorm, Gate,
    GateIn, K, KIn, KNorm, O, OIn, Q, QIn, QNorm, Up, UpIn, V, VIn,
};
use super::names::{Part, TensorId};
use super::stored_tensor::StoredTensor;
use super::tensor_error;
use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::matrix::{Matrix, Table};
use crate::weights::{InputNorms, Layer, Linear, Weights};

/// A container of weights. Every method checks the tensor against the shape asked for.
pub(crate) trait WeightSource {
    /// True if the container has this tensor.
    fn has(&self, id: TensorId) -> bool;
    /// The tensor as its file has it, from the header alone; `None` where there is none.
    fn stored(&self, _id: TensorId) -> Option<StoredTensor> {
        None
    }
    /// A vector of `len` floats.
    fn norm(&self, id: TensorId, len: usize) -> Result<Vec<f32>, LoadError>;
    /// A linear's matrix `[rows, cols]`, quantised here if the file holds floats.
    fn linear(&self, id: TensorId, rows: usize, cols: usize) -> Result<Matrix, LoadError>;
    /// The layout in which `linear` gives that matrix.
    fn layout(&self, _id: TensorId) -> TernaryLayout {
        TernaryLayout::I2S
    }
    /// True if a matrix or table may have a scale for each group. Some are known only once they
    /// are read.
    fn may_have_groups(&self) -> bool;
    /// True if an embedding or head of floats may lie on the grid that the matrices lie on.
    fn may_have_grouped_tables(&self) -> bool {
        false
    }
    /// Give `add` each tensor's name, type and shape, and its first bytes, in a fixed order: what
    /// its fingerprint is made of.
    fn sample(&self, _add: &mut dyn FnMut(&[u8])) {}
    /// An embedding or head `[rows, cols]`, as stored.
    fn table(&self, id: TensorId, rows: usize, cols: usize) -> Result<Table, LoadError>;
}

/// The values, if all are numbers: one that is none would make every answer one.
pub(super) fn finite(name: &str, values: Vec<f32>) -> Result<Vec<f32>, LoadError> {
    match values.iter().find(|x| !x.is_finite()) {
        Some(x) => Err(tensor_error(
            name,
            format!("holds {x}: the file is damaged"),
        )),
        None => Ok(values),
    }
}

/// Weights that are in memory already. What they are was checked when they were made.
impl WeightSource for Weights {
    fn has(&self, id: TensorId) -> bool {
        id != TensorId::Head || self.head.is_some()
    }

    fn norm(&self, id: TensorId, _len: usize) -> Result<Vec<f32>, LoadError> {
        let norm = match id {
            TensorId::OutputNorm => Some(&self.output_norm),
            TensorId::Block(index, part) => self.layers.get(index).and_then(|layer| match part {
                AttnNorm => Some(&layer.attn_norm),
                QNorm => layer.q_norm.as_ref(),
                KNorm => layer.k_norm.as_ref(),
                AttnSubNorm => layer.attn_sub_norm.as_ref(),
                FfnNorm => Some(&layer.ffn_norm),
                FfnSubNorm => layer.ffn_sub_norm.as_ref(),
                AttnPostNorm => layer.attn_post_norm.as_ref(),
                FfnPostNorm => layer.ffn_post_norm.as_ref(),
                QIn | KIn | VIn | OIn | GateIn | UpIn | DownIn => {
                    layer.input_norms.as_deref().and_then(|norms| match part {
                        QIn => Some(&norms.q),
                        KIn => Some(&norms.k),
                        VIn => Some(&norms.v),
                        OIn => Some(&norms.o),
                        GateIn => Some(&norms.gate),
                        UpIn => Some(&norms.up),
                        DownIn => Some(&norms.down),
                        _ => None,
                    })
                }
                Q | K | V | O | Gate | Up | Down => None,
            }),
            TensorId::Embedding | TensorId::Head => None,
        };
        norm.cloned()
            .ok_or_else(|| tensor_error(&id.gguf(), "is absent"))
    }

    fn linear(&self, id: TensorId, _rows: usize, _cols: usize) -> Result<Matrix, LoadError> {
        linear_of(self, id)
            .cloned()
            .ok_or_else(|| tensor_error(&id.gguf(), "is absent"))
    }

    fn layout(&self, id: TensorId) -> TernaryLayout {
        let linear = linear_of(self, id).and_then(Matrix::ternary);
        linear.map_or(TernaryLayout::I2S, Linear::layout)
    }

    fn may_have_groups(&self) -> bool {
        let grouped = |matrix: &Matrix| matrix.ternary().is_none();
        let mut matrices = self.layers.iter().flat_map(Layer::matrices);
        let mut tables = [Some(&self.embedding), self.head.as_ref()]
            .into_iter()
            .flatten();
        matrices.any(grouped) || tables.any(|table| table.dense().is_none())
    }

    fn table(&self, id: TensorId, _rows: usize, _cols: usize) -> Result<Table, LoadError> {
        let table = match id {
            TensorId::Embedding => Some(&self.embedding),
            TensorId::Head => self.head.as_ref(),
            TensorId::OutputNorm | TensorId::Block(..) => None,
        };
        table
            .cloned()
            .ok_or_else(|| tensor_error(&id.gguf(), "is absent"))
    }
}

fn linear_of(weights: &Weights, id: TensorId) -> Option<&Matrix> {
    let TensorId::Block(index, part) = id else {
        return None;
    };
    let layer = weights.layers.get(index)?;
    match part {
        Q => Some(&layer.q),
        K => Some(&layer.k),
        V => Some(&layer.v),
        O => Some(&layer.o),
        Gate => Some(&layer.gate),
        Up => Some(&layer.up),
        Down => Some(&layer.down),
        _ => None,
    }
}

/// `[rows, cols]` of a linear.
pub(crate) fn linear_shape(config: &ModelConfig, part: Part) -> Option<(usize, usize)> {
    let (hidden, ffn) = (config.hidden_size, config.ffn_size);
    match part {
        Q => Some((config.q_size(), hidden)),
        K | V => Some((config.kv_size(), hidden)),
        O => Some((hidden, config.q_size())),
        Gate | Up => Some((ffn, hidden)),
        Down => Some((hidden, ffn)),
        _ => None,
    }
}

/// Length of a norm.
pub(crate) fn norm_len(config: &ModelConfig, part: Part) -> Option<usize> {
    match part {
        AttnNorm | FfnNorm => Some(config.hidden_size),
        QNorm | KNorm => config.qk_norms.then_some(config.head_dim),
        AttnSubNorm => config.sub_norms.then(|| config.q_size()),
        FfnSubNorm => config.sub_norms.then_some(config.ffn_size),
        AttnPostNorm | FfnPostNorm => config.block.post_norms.then_some(config.hidden_size),
        QIn | KIn | VIn | OIn | GateIn | UpIn | DownIn => {
            config.block.input_norm_eps?;
            let (_, cols) = linear_shape(config, part.normed_linear()?)?;
            Some(cols)
        }
        Q | K | V | O | Gate | Up | Down => None,
    }
}

/// Every tensor of a block, in the order of the computation.
pub(crate) const PARTS: [Part; 22] = [
    AttnNorm,
    QIn,
    Q,
    KIn,
    K,
    VIn,
    V,
    QNorm,
    KNorm,
    AttnSubNorm,
    OIn,
    O,
    AttnPostNorm,
    FfnNorm,
    GateIn,
    Gate,
    UpIn,
    Up,
    FfnSubNorm,
    DownIn,
    Down,
    FfnPostNorm,
];

/// Load every weight. `progress` gets (bytes done, bytes in all), of packed weights and tables.
pub(crate) fn load_weights(
    source: &dyn WeightSource,
    config: &ModelConfig,
    tied: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Weights, LoadError> {
    let (vocab, hidden) = (config.vocab_size, config.hidden_size);
    let embedding = source.table(TensorId::Embedding, vocab, hidden)?;
    let head = if tied {
        None
    } else {
        Some(source.table(TensorId::Head, vocab, hidden)?)
    };
    let output_norm = source.norm(TensorId::OutputNorm, hidden)?;

    let layer_bytes: u64 = PARTS
        .iter()
        .filter_map(|&part| linear_shape(config, part))
        .map(|(rows, cols)| (rows as u64 * cols as u64) / 4)
        .sum();
    let mut done = [Some(&embedding), head.as_ref()]
        .into_iter()
        .flatten()
        .map(|t| t.bytes().len() as u64)
        .sum();
    let total = done + layer_bytes * config.n_layers as u64;
    progress(done, total);

    let mut layers = Vec::with_capacity(config.n_layers);
    for index in 0..config.n_layers {
        layers.push(load_layer(source, config, index)?);
        done += layer_bytes;
        progress(done, total);
    }
    Ok(Weights {
        embedding,
        head,
        output_norm,
        layers,
    })
}

fn load_layer(
    source: &dyn WeightSource,
    config: &ModelConfig,
    index: usize,
) -> Result<Layer, LoadError> {
    let linear = |part| {
        let (rows, cols) = linear_shape(config, part).unwrap_or_default();
        source.linear(TensorId::Block(index, part), rows, cols)
    };
    let optional_norm = |part| {
        norm_len(config, part)
            .map(|len| source.norm(TensorId::Block(index, part), len))
            .transpose()
    };
    let norm = |part| source.norm(TensorId::Block(index, part), config.hidden_size);
    let own = |part| optional_norm(part).map(Option::unwrap_or_default);
    let input_norms = match config.block.input_norm_eps {
        None => None,
        Some(_) => Some(InputNorms {
            q: own(QIn)?,
            k: own(KIn)?,
            v: own(VIn)?,
            o: own(OIn)?,
            gate: own(GateIn)?,
            up: own(UpIn)?,
            down: own(DownIn)?,
        }),
    };
    let layer = Layer {
        attn_norm: norm(AttnNorm)?,
        q: linear(Q)?,
        k: linear(K)?,
        v: linear(V)?,
        q_norm: optional_norm(QNorm)?,
        k_norm: optional_norm(KNorm)?,
        attn_sub_norm: optional_norm(AttnSubNorm)?,
        o: linear(O)?,
        ffn_norm: norm(FfnNorm)?,
        gate: linear(Gate)?,
        up: linear(Up)?,
        ffn_sub_norm: optional_norm(FfnSubNorm)?,
        down: linear(Down)?,
        input_norms: input_norms.map(Box::new),
        attn_post_norm: optional_norm(AttnPostNorm)?,
        ffn_post_norm: optional_norm(FfnPostNorm)?,
        window: config.window(index),
    };
    let kinds = layer.matrices().map(|matrix| matrix.ternary().is_none());
    check_kinds(index, &kinds)?;
    Ok(layer)
}

/// Matrices that share an input take it in one form: `grouped` says of each of a layer's, in the
/// order they are used, whether it has a scale for each group.
pub(super) fn check_kinds(index: usize, grouped: &[bool]) -> Result<(), LoadError> {
    for (first, n) in [(0, 3), (4, 2)] {
        let same = grouped.iter().skip(first).take(n);
        let n_grouped = same.clone().filter(|grouped| **grouped).count();
        if n_grouped != 0 && n_grouped != same.len() {
            return Err(tensor_error(
                &format!("blk.{index}"),
                "has linears with one scale beside linears with a scale for each group, which is not \
                 supported; convert the model to one type",
            ));
        }
    }
    Ok(())
}
