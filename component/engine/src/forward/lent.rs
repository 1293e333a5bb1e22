//! The arithmetic of one pass, done by the host (`wit/kernels.wit`): weights and cache are lent
//! where they lie.

use sterna_kernels::{DenseType, GroupCodes, Isa, KvType, TernaryLayout};

use super::batch::{BatchToken, embed, places, remember};
use super::shape::Rotation;
use crate::config::{Activation, ModelConfig, RopePairs};
use crate::group_scaled::GroupedWeights;
use crate::kv::{Cached as _, KvCache};
use crate::matrix::{Matrix, Table};
use crate::model::Model;
use crate::request::clamp_u32;
use crate::weights::{DenseWeights, Linear};

mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "kernels-borrower",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use bindings::sterna::inference::kernels as host;

/// True if the host lends its kernels.
#[must_use]
pub fn available() -> bool {
    host::available()
}

/// A pass in the host.
pub(super) struct LentPass {
    pass: host::Pass,
    isa_name: String,
    /// For what is not lent.
    isa: Isa,
    hidden_size: usize,
    /// The logits that came back last, `[n_wanted, vocab_size]`.
    logits: Vec<u32>,
    /// The batch's embeddings, `[n_tokens, hidden_size]`.
    states: Vec<f32>,
}

impl LentPass {
    /// Buffers in the host for batches of up to `max_tokens` tokens; `None` where it lends nothing.
    pub(super) fn new(config: &ModelConfig, isa: Isa, max_tokens: usize) -> Option<Self> {
        if !available() {
            return None;
        }
        let shape = host::Shape {
            hidden_size: clamp_u32(config.hidden_size),
            ffn_size: clamp_u32(config.ffn_size),
            n_layers: clamp_u32(config.n_layers),
            n_heads: clamp_u32(config.n_heads),
            n_kv_heads: clamp_u32(config.n_kv_heads),
            head_dim: clamp_u32(config.head_dim),
            rms_norm_eps: config.rms_norm_eps,
            activation: match config.activation {
                Activation::Relu2 => host::Activation::Relu2,
                Activation::Silu => host::Activation::Silu,
                Activation::GeluTanh => host::Activation::GeluTanh,
            },
            attention_scale: config.attention_scale(),
            input_norm_eps: config.block.input_norm_eps,
        };
        let Rotation {
            frequencies,
            magnitude,
            pairs,
            local,
        } = Rotation::of(config);
        let rotation = host::RotationParam {
            frequencies: bytemuck::cast_slice(&frequencies),
            magnitude,
            pairs: match pairs {
                RopePairs::Halves => host::RopePairs::Halves,
                RopePairs::Adjacent => host::RopePairs::Adjacent,
            },
            local: local.as_deref().map(bytemuck::cast_slice),
        };
        Some(LentPass {
            pass: host::Pass::new(shape, rotation, clamp_u32(max_tokens)),
            isa_name: host::isa(),
            isa,
            hidden_size: config.hidden_size,
            logits: Vec::new(),
            states: Vec::new(),
        })
    }

    /// The instruction set that computes.
    pub(super) fn isa_name(&self) -> &str {
        &self.isa_name
    }

    /// Embedding and all layers.
    pub(super) fn run_layers(&mut self, model: &Model, batch: &[BatchToken], kv: &mut KvCache) {
        self.states.resize(batch.len() * self.hidden_size, 0.0);
        embed(model, batch, &mut self.states);
        let places: Vec<host::Place> = places(batch)
            .map(|place| host::Place {
                sequence: clamp_u32(place.sequence),
                position: clamp_u32(place.position),
            })
            .collect();
        let kv_type = match kv.shape().ty {
            KvType::F32 => host::KvType::Float32,
            KvType::F16 => host::KvType::Float16,
            KvType::Int8 => host::KvType::Int8,
        };
        self.pass.begin(&places, bits(&self.states));
        for (index, layer) in model.weights.layers.iter().enumerate() {
            let norms = layer.input_norms.as_deref();
            let (keys, values) = self.pass.project(
                bits(&layer.attn_norm),
                linear(&layer.q, norms.map(|norms| &norms.q)),
                linear(&layer.k, norms.map(|norms| &norms.k)),
                linear(&layer.v, norms.map(|norms| &norms.v)),
                layer.q_norm.as_deref().map(bits),
                layer.k_norm.as_deref().map(bits),
                layer.window.is_some(),
            );
            remember(kv, self.isa, index, batch, floats(&keys), floats(&values));
            let blocks: Vec<Vec<&[u32]>> = (0..kv.n_sequences())
                .map(|sequence| kv.blocks(sequence).collect())
                .collect();
            let cache: Vec<&[&[u32]]> = blocks.iter().map(Vec::as_slice).collect();
            let sub_norm = layer.attn_sub_norm.as_deref().map(bits);
            self.pass.attend(
                clamp_u32(index),
                &cache,
                kv_type,
                layer.window.map(clamp_u32),
                sub_norm,
                linear(&layer.o, norms.map(|norms| &norms.o)),
                layer.attn_post_norm.as_deref().map(bits),
            );
            self.pass.feed_forward(
                bits(&layer.ffn_norm),
                linear(&layer.gate, norms.map(|norms| &norms.gate)),
                linear(&layer.up, norms.map(|norms| &norms.up)),
                layer.ffn_sub_norm.as_deref().map(bits),
                linear(&layer.down, norms.map(|norms| &norms.down)),
                layer.ffn_post_norm.as_deref().map(bits),
            );
        }
    }

    /// Output norm and head of the batch's tokens `wanted`: `[n_wanted, vocab_size]`.
    pub(super) fn logits(&mut self, wanted: &[usize], norm: &[f32], head: &Table) -> &mut [f32] {
        self.logits.clear();
        if !wanted.is_empty() {
            let wanted: Vec<u32> = wanted.iter().map(|&token| clamp_u32(token)).collect();
            self.logits = self.pass.logits(&wanted, bits(norm), lent_head(head));
        }
        bytemuck::cast_slice_mut(&mut self.logits)
    }

    /// One token's state after the output norm, `[hidden_size]`.
    pub(super) fn state(&self, token: usize, norm: &[f32]) -> Vec<f32> {
        let state = self.pass.state(clamp_u32(token), bits(norm));
        floats(&state).to_vec()
    }
}

fn linear<'a>(weights: &'a Matrix, norm: Option<&'a Vec<f32>>) -> host::LinearParam<'a> {
    host::LinearParam {
        weights: matrix(weights),
        norm: norm.map(|norm| bits(norm)),
    }
}

fn matrix(matrix: &Matrix) -> host::MatrixParam<'_> {
    match matrix {
        Matrix::Ternary(linear) => host::MatrixParam::Ternary(ternary(linear)),
        Matrix::Grouped(matrix) => host::MatrixParam::Grouped(grouped(matrix)),
    }
}

fn lent_head(head: &Table) -> host::HeadParam<'_> {
    match head {
        Table::Dense(head) => host::HeadParam::Table(table(head)),
        Table::Grouped(head) => host::HeadParam::Grouped(grouped(head)),
    }
}

fn ternary(linear: &Linear) -> host::TernaryParam<'_> {
    host::TernaryParam {
        rows: clamp_u32(linear.rows()),
        cols: clamp_u32(linear.cols()),
        scale: linear.scale(),
        layout: match linear.layout() {
            TernaryLayout::I2S => host::TernaryLayout::I2S,
            TernaryLayout::Trits5 => host::TernaryLayout::T5,
        },
        packed: linear.packed(),
    }
}

fn grouped(matrix: &GroupedWeights) -> host::GroupedParam<'_> {
    let shape = matrix.shape();
    host::GroupedParam {
        rows: clamp_u32(shape.rows()),
        cols: clamp_u32(shape.cols()),
        group: clamp_u32(shape.group()),
        codes: match shape.codes() {
            GroupCodes::Binary => host::GroupCodes::Binary,
            GroupCodes::Ternary => host::GroupCodes::Ternary,
            GroupCodes::Trits8 => host::GroupCodes::Trits8,
        },
        tiles: matrix.bytes(),
    }
}

fn table(table: &DenseWeights) -> host::TableParam<'_> {
    host::TableParam {
        ty: match table.ty() {
            DenseType::F32 => host::TableType::Float32,
            DenseType::F16 => host::TableType::Float16,
            DenseType::Bf16 => host::TableType::Bfloat16,
            DenseType::Q8_0 => host::TableType::Q80,
            DenseType::Q6K => host::TableType::Q6K,
        },
        rows: clamp_u32(table.rows()),
        cols: clamp_u32(table.cols()),
        bytes: table.bytes(),
    }
}

fn bits(floats: &[f32]) -> &[u32] {
    bytemuck::cast_slice(floats)
}

fn floats(bits: &[u32]) -> &[f32] {
    bytemuck::cast_slice(bits)
}
