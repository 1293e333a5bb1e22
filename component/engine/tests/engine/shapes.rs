//! Shapes no published model has, against the naive transformer of `support/naive.rs`: odd head
//! counts, MHA, widths that fill no block, an odd vocabulary, SiLU, no sub-norms, a head of its
//! own.

use std::sync::Arc;

use crate::support::naive::{self, Shape, Ternary};
use crate::support::{batch, forward, load};
use sterna_engine::config::{
    Activation, BlockOptions, EmbeddingConfig, ModelConfig, RopePairs, RopeScaling,
    SamplingDefaults, SlidingWindow, Yarn,
};
use sterna_engine::constraint::Constraints;
use sterna_engine::matrix::{Matrix, Table};
use sterna_engine::model::Model;
use sterna_engine::placement::Bytes;
use sterna_engine::weights::{DenseWeights, InputNorms, Layer, Linear, Weights};
use sterna_kernels::pack::pack_ternary;
use sterna_kernels::{DenseType, Isa, encode_dense_row};

/// The parameters that vary; the rest follows.
#[derive(Clone, Copy, Debug)]
struct Case {
    hidden_size: usize,
    ffn_size: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    vocab_size: usize,
    silu: bool,
    sub_norms: bool,
    /// As Qwen3: norms of queries and keys, and here YaRN with them.
    qwen: bool,
    tied: bool,
    /// Each linear norms its own input.
    own_norms: bool,
    /// As Gemma 3: norms of queries, keys and what is added, a window, factors, GELU.
    gemma: bool,
}

/// A case of none of these.
const PLAIN: Case = Case {
    hidden_size: 0,
    ffn_size: 0,
    n_heads: 1,
    n_kv_heads: 1,
    head_dim: 0,
    vocab_size: 0,
    silu: false,
    sub_norms: false,
    qwen: false,
    tied: true,
    own_norms: false,
    gemma: false,
};

const CASES: [Case; 10] = [
    // As Qwen3: heads wider together than hidden_size, no sub-norms, YaRN.
    Case {
        hidden_size: 128,
        ffn_size: 320,
        n_heads: 6,
        n_kv_heads: 2,
        head_dim: 48,
        vocab_size: 99,
        silu: true,
        sub_norms: false,
        qwen: true,
        tied: true,
        ..PLAIN
    },
    // GQA 3:1; no width is a multiple of 128.
    Case {
        hidden_size: 96,
        ffn_size: 200,
        n_heads: 3,
        n_kv_heads: 1,
        head_dim: 32,
        vocab_size: 77,
        silu: false,
        sub_norms: true,
        qwen: false,
        tied: true,
        ..PLAIN
    },
    // MHA of 5 heads whose dim is no multiple of 16 and whose width is not hidden_size.
    Case {
        hidden_size: 160,
        ffn_size: 321,
        n_heads: 5,
        n_kv_heads: 5,
        head_dim: 20,
        vocab_size: 1001,
        silu: true,
        sub_norms: true,
        qwen: false,
        tied: false,
        ..PLAIN
    },
    // As Llama: SiLU, no sub-norms, adjacent pairs; widths above one block and not whole blocks.
    Case {
        hidden_size: 300,
        ffn_size: 513,
        n_heads: 6,
        n_kv_heads: 2,
        head_dim: 50,
        vocab_size: 33,
        silu: true,
        sub_norms: false,
        qwen: false,
        tied: false,
        ..PLAIN
    },
    Case {
        hidden_size: 128,
        ffn_size: 384,
        n_heads: 1,
        n_kv_heads: 1,
        head_dim: 128,
        vocab_size: 256,
        silu: false,
        sub_norms: false,
        qwen: false,
        tied: true,
        ..PLAIN
    },
    Case {
        hidden_size: 34,
        ffn_size: 7,
        n_heads: 7,
        n_kv_heads: 7,
        head_dim: 2,
        vocab_size: 3,
        silu: false,
        sub_norms: true,
        qwen: false,
        tied: true,
        ..PLAIN
    },
    // head_dim 100, as bitnet_b1_58-3B.
    Case {
        hidden_size: 200,
        ffn_size: 540,
        n_heads: 2,
        n_kv_heads: 2,
        head_dim: 100,
        vocab_size: 515,
        silu: true,
        sub_norms: true,
        qwen: false,
        tied: true,
        ..PLAIN
    },
    // As BitNet's embedding models, on Qwen3 and on Gemma 3.
    Case {
        hidden_size: 128,
        ffn_size: 192,
        n_heads: 6,
        n_kv_heads: 2,
        head_dim: 32,
        vocab_size: 50,
        silu: true,
        qwen: true,
        own_norms: true,
        ..PLAIN
    },
    Case {
        hidden_size: 80,
        ffn_size: 200,
        n_heads: 4,
        n_kv_heads: 1,
        head_dim: 36,
        vocab_size: 60,
        own_norms: true,
        gemma: true,
        ..PLAIN
    },
    // Sub-norms and a norm of each linear's own beside them.
    Case {
        hidden_size: 64,
        ffn_size: 96,
        n_heads: 2,
        n_kv_heads: 2,
        head_dim: 32,
        vocab_size: 40,
        sub_norms: true,
        own_norms: true,
        ..PLAIN
    },
];

/// Knuth's MMIX generator: plain, and enough to fill weights.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Between -1 and 1.
    fn float(&mut self) -> f32 {
        self.bits() as f32 / (1u64 << 30) as f32 - 1.0
    }

    fn norm(&mut self, width: usize) -> Vec<f32> {
        (0..width).map(|_| 1.0 + 0.3 * self.float()).collect()
    }

    fn ternary(&mut self, rows: usize, cols: usize) -> Ternary {
        let trits = (0..rows * cols)
            .map(|_| (self.bits() % 3) as i8 - 1)
            .collect();
        Ternary {
            rows,
            cols,
            trits,
            scale: 0.03 + 0.02 * self.float(),
        }
    }
}

/// The same random weights for the naive transformer and for the engine.
fn build(case: Case) -> (Shape, Vec<naive::Layer>, Arc<Model>) {
    let mut random = Random(case.hidden_size as u64);
    let Case {
        hidden_size,
        ffn_size,
        n_heads,
        n_kv_heads,
        head_dim,
        vocab_size,
        ..
    } = case;
    let head_norms = case.qwen || case.gemma;
    let layers: Vec<naive::Layer> = (0..2)
        .map(|index| naive::Layer {
            attn_norm: random.norm(hidden_size),
            q: random.ternary(n_heads * head_dim, hidden_size),
            k: random.ternary(n_kv_heads * head_dim, hidden_size),
            v: random.ternary(n_kv_heads * head_dim, hidden_size),
            q_norm: head_norms.then(|| random.norm(head_dim)),
            k_norm: head_norms.then(|| random.norm(head_dim)),
            attn_sub_norm: case.sub_norms.then(|| random.norm(n_heads * head_dim)),
            o: random.ternary(hidden_size, n_heads * head_dim),
            ffn_norm: random.norm(hidden_size),
            gate: random.ternary(ffn_size, hidden_size),
            up: random.ternary(ffn_size, hidden_size),
            ffn_sub_norm: case.sub_norms.then(|| random.norm(ffn_size)),
            down: random.ternary(hidden_size, ffn_size),
            own_norms: case.own_norms.then(|| {
                let (h, q, f) = (hidden_size, n_heads * head_dim, ffn_size);
                [h, h, h, q, h, h, f].map(|width| random.norm(width))
            }),
            post_norms: [(); 2].map(|()| case.gemma.then(|| random.norm(hidden_size))),
            // Over more than one block, and not all of either.
            window: (case.gemma && index == 0).then_some(33),
        })
        .collect();
    let linear = |w: &Ternary| -> Matrix {
        let packed = pack_ternary(w.rows, w.cols, &w.trits);
        Linear::new(w.rows, w.cols, Bytes::from(packed), w.scale)
            .unwrap()
            .into()
    };
    // GGUF's `llama` has the rows of q and k in another order.
    let rope_pairs = if case.silu && !case.sub_norms && !case.qwen {
        RopePairs::Adjacent
    } else {
        RopePairs::Halves
    };
    let heads = |w: &Ternary| -> Matrix {
        let place = |row| match rope_pairs {
            RopePairs::Halves => row,
            RopePairs::Adjacent => RopePairs::adjacent_from_halves(row, head_dim),
        };
        let row = |row| &w.trits[place(row) * w.cols..][..w.cols];
        linear(&Ternary {
            trits: (0..w.rows).flat_map(row).copied().collect(),
            ..*w
        })
    };
    let mut table = || {
        let mut bytes = vec![0; vocab_size * hidden_size * 4];
        for row in bytes.chunks_exact_mut(hidden_size * 4) {
            let values: Vec<f32> = (0..hidden_size).map(|_| random.float()).collect();
            encode_dense_row(DenseType::F32, &values, row);
        }
        let table = DenseWeights::new(DenseType::F32, vocab_size, hidden_size, Bytes::from(bytes));
        Table::Dense(table.unwrap())
    };
    let embedding = table();
    let head = (!case.tied).then(&mut table);
    let weights = Weights {
        embedding,
        head,
        output_norm: random.norm(hidden_size),
        layers: layers
            .iter()
            .map(|layer| Layer {
                attn_norm: layer.attn_norm.clone(),
                q: heads(&layer.q),
                k: heads(&layer.k),
                v: linear(&layer.v),
                q_norm: layer.q_norm.clone(),
                k_norm: layer.k_norm.clone(),
                attn_sub_norm: layer.attn_sub_norm.clone(),
                o: linear(&layer.o),
                ffn_norm: layer.ffn_norm.clone(),
                gate: linear(&layer.gate),
                up: linear(&layer.up),
                ffn_sub_norm: layer.ffn_sub_norm.clone(),
                down: linear(&layer.down),
                input_norms: layer.own_norms.clone().map(|norms| {
                    let [q, k, v, o, gate, up, down] = norms;
                    Box::new(InputNorms {
                        q,
                        k,
                        v,
                        o,
                        gate,
                        up,
                        down,
                    })
                }),
                attn_post_norm: layer.post_norms[0].clone(),
                ffn_post_norm: layer.post_norms[1].clone(),
                window: layer.window,
            })
            .collect(),
    };
    let config = ModelConfig {
        architecture: "bitnet-b1.58".into(),
        vocab_size,
        hidden_size,
        ffn_size,
        n_layers: layers.len(),
        n_heads,
        n_kv_heads,
        head_dim,
        context_length: 256,
        rope_theta: 10000.0,
        rope_scaling: if case.qwen {
            RopeScaling::Yarn(Yarn::new(4.0, 64.0))
        } else {
            RopeScaling::Unscaled
        },
        rope_pairs,
        rms_norm_eps: 1e-5,
        activation: match case {
            Case { gemma: true, .. } => Activation::GeluTanh,
            Case { silu: true, .. } => Activation::Silu,
            _ => Activation::Relu2,
        },
        sub_norms: case.sub_norms,
        qk_norms: head_norms,
        bos_token: None,
        eos_tokens: vec![],
        block: BlockOptions {
            input_norm_eps: case.own_norms.then_some(1e-3),
            post_norms: case.gemma,
            embedding_scale: case.gemma.then_some(8.5),
            attention_scale: case.gemma.then_some(0.11),
            window: case
                .gemma
                .then(|| SlidingWindow::periodic(33, 2, layers.len(), 500.0)),
        },
        embedding: EmbeddingConfig::default(),
    };
    config.validate().unwrap();
    let shape = Shape {
        n_heads,
        n_kv_heads,
        head_dim,
        frequencies: config.rope_scaling.frequencies(10000.0, head_dim),
        magnitude: config.rope_scaling.magnitude(),
        local_frequencies: RopeScaling::Unscaled.frequencies(500.0, head_dim),
        attention_scale: f64::from(config.attention_scale()),
        eps: f64::from(1e-5f32),
        own_eps: f64::from(1e-3f32),
        activation: config.activation,
    };
    // Tokenizer and template are not asked here: any will do.
    let tiny = load("packed-autobitlinear");
    let model = Model {
        id: "random".into(),
        config,
        weights,
        tokenizer: tiny.tokenizer.clone(),
        template: tiny.template.clone(),
        fingerprint: String::new(),
        warnings: Vec::new(),
        constraints: Constraints::default(),
        defaults: SamplingDefaults::default(),
    };
    (shape, layers, Arc::new(model))
}

/// Each layer from the naive transformer's own input, over more than one cache block. Rows where an
/// int8 rounding fell the other way (f32 here, f64 there) are counted.
#[test]
fn every_layer_equals_the_naive_one() {
    const TOKENS: usize = 70;
    for case in CASES {
        let (shape, layers, model) = build(case);
        let mut random = Random(99);
        let tokens: Vec<u32> = (0..TOKENS)
            .map(|_| (random.bits() % case.vocab_size as u64) as u32)
            .collect();
        let embedded = |token: &u32| {
            let mut row = vec![0.0; case.hidden_size];
            model
                .weights
                .embedding
                .view()
                .row(*token as usize, &mut row);
            let scale = f64::from(model.config.block.embedding_scale.unwrap_or(1.0));
            row.iter().map(|value| f64::from(*value) * scale).collect()
        };
        let mut hidden: Vec<Vec<f64>> = tokens.iter().map(embedded).collect();
        let (mut forward, mut kv) = forward(&model, Isa::detect(), 2, TOKENS, 1);
        let mut flipped = 0;
        for (index, layer) in layers.iter().enumerate() {
            let mut actual: Vec<f32> = hidden
                .concat()
                .into_iter()
                .map(|value| value as f32)
                .collect();
            forward
                .layer(index, &mut actual, &batch(0, &tokens), &mut kv)
                .unwrap();
            hidden = naive::layer(&shape, layer, &hidden);
            for (actual, expected) in actual.chunks_exact(case.hidden_size).zip(&hidden) {
                let largest = expected
                    .iter()
                    .fold(0f64, |largest, value| largest.max(value.abs()));
                let worst = actual
                    .iter()
                    .zip(expected)
                    .fold(0f64, |worst, (a, e)| worst.max((f64::from(*a) - e).abs()));
                assert!(
                    worst < 0.03 * largest,
                    "{case:?}, layer {index}: off by {worst} of {largest}"
                );
                flipped += usize::from(worst > 1e-4 * largest);
            }
        }
        println!(
            "{case:?}: {flipped} of {} rows with a rounding flip",
            2 * TOKENS
        );
        assert!(
            flipped <= 4,
            "{case:?}: {flipped} of {} rows differ",
            2 * TOKENS
        );

        // The head, from the engine's own last layer.
        forward.run_layers(&batch(0, &tokens), &mut kv).unwrap();
        let state = forward.final_state(TOKENS - 1).unwrap();
        let logits = forward.forward(&batch(0, &tokens), &mut kv).unwrap();
        let last = &logits[(TOKENS - 1) * case.vocab_size..];
        for (token, logit) in last.iter().enumerate() {
            let mut row = vec![0.0; case.hidden_size];
            model.weights.head().view().row(token, &mut row);
            let expected: f64 = row
                .iter()
                .zip(&state)
                .map(|(w, x)| f64::from(*w) * f64::from(*x))
                .sum();
            assert!(
                (f64::from(*logit) - expected).abs() < 1e-3,
                "{case:?}, token {token}: {logit}, {expected}"
            );
        }
    }
}

/// And on every instruction set the same bits, whole or a token at a time.
#[test]
fn every_shape_gives_the_same_bits_everywhere() {
    for case in CASES {
        let (.., model) = build(case);
        let tokens: Vec<u32> = (0..70).map(|i| (i * 31 % case.vocab_size) as u32).collect();
        let bits = |isa, threads, chunk| {
            let (mut forward, mut kv) = forward(&model, isa, threads, chunk, 1);
            let mut bits = Vec::new();
            for chunk in batch(0, &tokens).chunks(chunk) {
                bits.extend(
                    forward
                        .forward(chunk, &mut kv)
                        .unwrap()
                        .iter()
                        .map(|logit| logit.to_bits()),
                );
            }
            bits
        };
        let oracle = bits(Isa::SCALAR, 1, 70);
        for isa in Isa::supported() {
            for (threads, chunk) in [(1, 70), (2, 7), (1, 1)] {
                assert!(
                    bits(isa, threads, chunk) == oracle,
                    "{case:?}, {}, {threads} threads, {chunk}",
                    isa.name()
                );
            }
        }
    }
}
