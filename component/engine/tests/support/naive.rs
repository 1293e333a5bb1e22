//! BitNet b1.58 as plainly as it can be written: whole sequences, f64 floats, i64 dot products, one
//! loop per formula (FORMATS.md's sources: transformers' `modeling_bitnet.py`). Written from those,
//! not from `forward/`.

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
}

pub struct Shape {
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    /// Radians a pair turns from one position to the next.
    pub frequencies: Vec<f64>,
    /// Factor of every rotated head.
    pub magnitude: f64,
    pub eps: f64,
    pub silu: bool,
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
fn rope(head: &mut [f64], position: usize, shape: &Shape) {
    let half = head.len() / 2;
    for i in 0..half {
        let angle = position as f64 * shape.frequencies[i];
        let (a, b) = (head[i], head[i + half]);
        head[i] = (a * angle.cos() - b * angle.sin()) * shape.magnitude;
        head[i + half] = (b * angle.cos() + a * angle.sin()) * shape.magnitude;
    }
}

/// One layer over a whole sequence, `hidden[position][hidden_size]`.
pub fn layer(shape: &Shape, layer: &Layer, hidden: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let dim = shape.head_dim;
    let rotate = |mut heads: Vec<f64>, weight: Option<&Vec<f32>>, position| {
        for head in heads.chunks_exact_mut(dim) {
            head.copy_from_slice(&optional_norm(head.to_vec(), weight, shape.eps));
            rope(head, position, shape);
        }
        heads
    };
    let (mut queries, mut keys, mut values) = (vec![], vec![], vec![]);
    for (position, h) in hidden.iter().enumerate() {
        let x = norm(h, &layer.attn_norm, shape.eps);
        queries.push(rotate(layer.q.apply(&x), layer.q_norm.as_ref(), position));
        keys.push(rotate(layer.k.apply(&x), layer.k_norm.as_ref(), position));
        values.push(layer.v.apply(&x));
    }
    let mut out = vec![];
    for (position, h) in hidden.iter().enumerate() {
        let mut attended = vec![];
        for head in 0..shape.n_heads {
            let kv = head / (shape.n_heads / shape.n_kv_heads) * dim;
            let query = &queries[position][head * dim..][..dim];
            let scores: Vec<f64> = keys[..=position]
                .iter()
                .map(|key| {
                    query
                        .iter()
                        .zip(&key[kv..])
                        .map(|(q, k)| q * k)
                        .sum::<f64>()
                        / (dim as f64).sqrt()
                })
                .collect();
            let largest = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            for d in 0..dim {
                attended.push(
                    weights
                        .iter()
                        .zip(&values)
                        .map(|(w, v)| w / total * v[kv + d])
                        .sum(),
                );
            }
        }
        let attended = optional_norm(attended, layer.attn_sub_norm.as_ref(), shape.eps);
        let h: Vec<f64> = h
            .iter()
            .zip(layer.o.apply(&attended))
            .map(|(h, o)| h + o)
            .collect();
        let x = norm(&h, &layer.ffn_norm, shape.eps);
        let activate = |gate: f64| {
            if shape.silu {
                gate / (1.0 + (-gate).exp())
            } else {
                gate.max(0.0).powi(2)
            }
        };
        let gated = layer
            .gate
            .apply(&x)
            .into_iter()
            .zip(layer.up.apply(&x))
            .map(|(g, u)| activate(g) * u)
            .collect();
        let gated = optional_norm(gated, layer.ffn_sub_norm.as_ref(), shape.eps);
        out.push(
            h.iter()
                .zip(layer.down.apply(&gated))
                .map(|(h, d)| h + d)
                .collect(),
        );
    }
    out
}
