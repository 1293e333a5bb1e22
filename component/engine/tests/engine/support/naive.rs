//! BitNet b1.58, and Gemma 3's block, as plainly as they can be written: whole sequences, f64
//! floats, i64 dot products, one loop per formula (FORMATS.md's sources: transformers'
//! `modeling_bitnet.py`). Written from those, not from `forward/`.

use sterna_engine::config::Activation;

/// A matrix `[rows, cols]` of trits with one scale.
pub struct Ternary {
    pub rows: usize,
    pub cols: usize,
    pub trits: Vec<i8>,
    pub scale: f32,
}

impl Ternary {
    /// Quantise `x` by its largest magnitude to int8, multiply, scale back.
    fn apply(&self, x: &[f64]) -> Vec<f64> {
        assert_eq!(x.len(), self.cols);
        let largest = x
            .iter()
            .fold(0f64, |largest, value| largest.max(value.abs()));
        let scale = 127.0 / largest.max(1e-5);
        let quantised: Vec<i64> = x
            .iter()
            .map(|value| (value * scale).round_ties_even().clamp(-128.0, 127.0) as i64)
            .collect();
        self.trits
            .chunks_exact(self.cols)
            .map(|row| {
                row.iter()
                    .zip(&quantised)
                    .map(|(trit, q)| i64::from(*trit) * q)
                    .sum::<i64>()
            })
            .map(|sum| sum as f64 / scale * f64::from(self.scale))
            .collect()
    }
}

pub struct Layer {
    pub attn_norm: Vec<f32>,
    pub q: Ternary,
    pub k: Ternary,
    pub v: Ternary,
    pub q_norm: Option<Vec<f32>>,
    pub k_norm: Option<Vec<f32>>,
    pub attn_sub_norm: Option<Vec<f32>>,
    pub o: Ternary,
    pub ffn_norm: Vec<f32>,
    pub gate: Ternary,
    pub up: Ternary,
    pub ffn_sub_norm: Option<Vec<f32>>,
    pub down: Ternary,
    /// Of the inputs of q, k, v, o, gate, up and down, after every other norm.
    pub own_norms: Option<[Vec<f32>; 7]>,
    /// Of what attention and feed-forward network add.
    pub post_norms: [Option<Vec<f32>>; 2],
    /// Positions that a token sees.
    pub window: Option<usize>,
}

impl Layer {
    /// A matrix after the norm of its own input, if it has one.
    fn linear(&self, shape: &Shape, matrix: &Ternary, own: usize, x: &[f64]) -> Vec<f64> {
        let norm = self.own_norms.as_ref().map(|norms| &norms[own]);
        matrix.apply(&optional_norm(x.to_vec(), norm, shape.own_eps))
    }
}

pub struct Shape {
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    /// Radians a pair turns from one position to the next.
    pub frequencies: Vec<f64>,
    /// Factor of every rotated head.
    pub magnitude: f64,
    /// The same in layers with a window, unscaled.
    pub local_frequencies: Vec<f64>,
    pub attention_scale: f64,
    pub eps: f64,
    /// Of the norms of linears' own inputs.
    pub own_eps: f64,
    pub activation: Activation,
}

pub fn norm(x: &[f64], weight: &[f32], eps: f64) -> Vec<f64> {
    let mean = x.iter().map(|value| value * value).sum::<f64>() / x.len() as f64;
    x.iter()
        .zip(weight)
        .map(|(value, weight)| value / (mean + eps).sqrt() * f64::from(*weight))
        .collect()
}

fn optional_norm(x: Vec<f64>, weight: Option<&Vec<f32>>, eps: f64) -> Vec<f64> {
    weight.map_or(x.clone(), |weight| norm(&x, weight, eps))
}

/// Element i turns with element i + head_dim/2.
fn rope(head: &mut [f64], position: usize, shape: &Shape, local: bool) {
    let half = head.len() / 2;
    let (frequencies, magnitude) = if local {
        (&shape.local_frequencies, 1.0)
    } else {
        (&shape.frequencies, shape.magnitude)
    };
    for i in 0..half {
        let angle = position as f64 * frequencies[i];
        let (a, b) = (head[i], head[i + half]);
        head[i] = (a * angle.cos() - b * angle.sin()) * magnitude;
        head[i + half] = (b * angle.cos() + a * angle.sin()) * magnitude;
    }
}

/// One layer over a whole sequence, `hidden[position][hidden_size]`.
pub fn layer(shape: &Shape, layer: &Layer, hidden: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let dim = shape.head_dim;
    let rotate = |mut heads: Vec<f64>, weight: Option<&Vec<f32>>, position| {
        for head in heads.chunks_exact_mut(dim) {
            head.copy_from_slice(&optional_norm(head.to_vec(), weight, shape.eps));
            rope(head, position, shape, layer.window.is_some());
        }
        heads
    };
    let (mut queries, mut keys, mut values) = (vec![], vec![], vec![]);
    for (position, h) in hidden.iter().enumerate() {
        let x = norm(h, &layer.attn_norm, shape.eps);
        let linear = |matrix, own| layer.linear(shape, matrix, own, &x);
        queries.push(rotate(linear(&layer.q, 0), layer.q_norm.as_ref(), position));
        keys.push(rotate(linear(&layer.k, 1), layer.k_norm.as_ref(), position));
        values.push(linear(&layer.v, 2));
    }
    let mut out = vec![];
    for (position, h) in hidden.iter().enumerate() {
        let mut attended = vec![];
        for head in 0..shape.n_heads {
            let kv = head / (shape.n_heads / shape.n_kv_heads) * dim;
            let query = &queries[position][head * dim..][..dim];
            let first = layer
                .window
                .map_or(0, |window| (position + 1).saturating_sub(window));
            let scores: Vec<f64> = keys[first..=position]
                .iter()
                .map(|key| {
                    query
                        .iter()
                        .zip(&key[kv..])
                        .map(|(q, k)| q * k)
                        .sum::<f64>()
                        * shape.attention_scale
                })
                .collect();
            let largest = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            for d in 0..dim {
                attended.push(
                    weights
                        .iter()
                        .zip(&values[first..])
                        .map(|(w, v)| w / total * v[kv + d])
                        .sum(),
                );
            }
        }
        let attended = optional_norm(attended, layer.attn_sub_norm.as_ref(), shape.eps);
        let added = layer.linear(shape, &layer.o, 3, &attended);
        let added = optional_norm(added, layer.post_norms[0].as_ref(), shape.eps);
        let h: Vec<f64> = h.iter().zip(added).map(|(h, o)| h + o).collect();
        let x = norm(&h, &layer.ffn_norm, shape.eps);
        let activate = |gate: f64| match shape.activation {
            Activation::Silu => gate / (1.0 + (-gate).exp()),
            Activation::Relu2 => gate.max(0.0).powi(2),
            Activation::GeluTanh => {
                let inner = gate + 0.044_715 * gate.powi(3);
                0.5 * gate * (1.0 + (inner * (2.0 / std::f64::consts::PI).sqrt()).tanh())
            }
        };
        let gate = layer.linear(shape, &layer.gate, 4, &x);
        let up = layer.linear(shape, &layer.up, 5, &x);
        let gated = gate
            .into_iter()
            .zip(up)
            .map(|(g, u)| activate(g) * u)
            .collect();
        let gated = optional_norm(gated, layer.ffn_sub_norm.as_ref(), shape.eps);
        let added = layer.linear(shape, &layer.down, 6, &gated);
        let added = optional_norm(added, layer.post_norms[1].as_ref(), shape.eps);
        out.push(h.iter().zip(added).map(|(h, d)| h + d).collect());
    }
    out
}
