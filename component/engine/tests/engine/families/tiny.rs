//! The models of `tests/fixtures/families/models.json`: each number is a hash of its tensor's name
//! and its place, as `make.py` there has it.

use serde::Deserialize;
use serde_json::Value as Json;

use crate::support;

/// A model's shape and what `make.py` found out about it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Tiny {
    pub(crate) name: String,
    pub(crate) hidden: usize,
    pub(crate) ffn: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocab: usize,
    pub(crate) relu2: bool,
    pub(crate) sub_norms: bool,
    pub(crate) tied: bool,
    pub(crate) theta: f64,
    pub(crate) eps: f64,
    pub(crate) shards: usize,
    pub(crate) salt: u32,
    /// Greedy tokens by kind of activations.
    pub(crate) greedy: Json,
}

/// A tensor of numbers, or of trits with a scale each.
pub(crate) enum Kind {
    Norm(Vec<f32>),
    /// `[rows, cols]`
    Table([usize; 2], Vec<f32>),
    Linear(Matrix),
}

/// Trits `[rows, cols]` with the scale of each place, and master weights that are quantised to the
/// same trits.
pub(crate) struct Matrix {
    pub(crate) shape: [usize; 2],
    pub(crate) trits: Vec<i8>,
    pub(crate) masters: Vec<f32>,
    scales: Vec<f32>,
    by_columns: bool,
}

impl Matrix {
    pub(crate) fn scale(&self, index: usize) -> f32 {
        let [rows, cols] = self.shape;
        let shard = if self.by_columns {
            index % cols / (cols / self.scales.len())
        } else {
            index / cols / (rows / self.scales.len())
        };
        self.scales[shard]
    }

    pub(crate) fn weights(&self) -> Vec<f32> {
        let trits = self.trits.iter().enumerate();
        trits
            .map(|(i, &trit)| f32::from(trit) * self.scale(i))
            .collect()
    }

    /// The one scale, which is 1 from then on.
    pub(crate) fn take_scale(&mut self) -> f32 {
        let [scale] = self.scales[..] else {
            panic!("{} scales", self.scales.len());
        };
        self.scales = vec![1.0];
        scale
    }

    /// Row i is this matrix's row `place(i)`.
    pub(crate) fn with_rows(&self, place: impl Fn(usize) -> usize) -> Matrix {
        // Rows move within a head, and a shard of rows is of whole heads.
        let [rows, cols] = self.shape;
        let row = |row| &self.trits[place(row) * cols..][..cols];
        let masters = |row| &self.masters[place(row) * cols..][..cols];
        Matrix {
            shape: self.shape,
            trits: (0..rows).flat_map(row).copied().collect(),
            masters: (0..rows).flat_map(masters).copied().collect(),
            scales: self.scales.clone(),
            by_columns: self.by_columns,
        }
    }
}

pub(crate) fn models() -> Vec<Tiny> {
    serde_json::from_value(support::json("families/models.json")).unwrap()
}

pub(crate) fn tiny(name: &str) -> Tiny {
    let mut models = models().into_iter();
    models.find(|model| model.name == name).unwrap()
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |value, byte| {
        (value ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

impl Tiny {
    pub(crate) fn q_size(&self) -> usize {
        self.heads * self.head_dim
    }

    pub(crate) fn kv_size(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Whole numbers below `limit`, of SplitMix64's outputs.
    fn below(&self, name: &str, n: usize, limit: u64) -> impl Iterator<Item = u16> + use<> {
        let seed = hash(&format!("{}.{}.{name}", self.name, self.salt));
        (1..=n as u64).map(move |i| {
            let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            u16::try_from(((z ^ (z >> 31)) >> 33) % limit).unwrap()
        })
    }

    fn norm(&self, name: &str, width: usize) -> Kind {
        let values = self.below(name, width, 64);
        Kind::Norm(values.map(|x| f32::from(96 + x) / 128.0).collect())
    }

    fn table(&self, name: &str) -> Kind {
        let small = name == "model.embed_tokens" && self.tied;
        let size = if small { 1.0 / 4096.0 } else { 1.0 / 128.0 };
        let values = self.below(name, self.vocab * self.hidden, 255);
        let values = values.map(|x| (f32::from(x) - 127.0) * size);
        Kind::Table([self.vocab, self.hidden], values.collect())
    }

    fn matrix(&self, name: &str, shape: [usize; 2]) -> Kind {
        let n = shape[0] * shape[1];
        let trits: Vec<i8> = self
            .below(name, n, 3)
            .map(|x| i8::try_from(x).unwrap() - 1)
            .collect();
        let noise = self.below(&format!("{name}.master"), n, 3);
        let master =
            |(trit, noise): (&i8, u16)| (3.0 * f32::from(*trit) + f32::from(noise) - 1.0) / 64.0;
        let power = (shape[1] as f64).sqrt().log2().ceil() as i32;
        let scales = self.below(&format!("{name}.scale"), self.shards, 128);
        let scale = |x: u16| f32::from(128 + x) / 128.0 * 2f32.powi(-power);
        Kind::Linear(Matrix {
            shape,
            masters: trits.iter().zip(noise).map(master).collect(),
            trits,
            scales: scales.map(scale).collect(),
            by_columns: name.ends_with("o_proj") || name.ends_with("down_proj"),
        })
    }

    /// Every tensor by its Hugging Face name, without `.weight`.
    pub(crate) fn tensors(&self) -> Vec<(String, Kind)> {
        let mut tensors = vec![
            (
                "model.embed_tokens".into(),
                self.table("model.embed_tokens"),
            ),
            ("model.norm".into(), self.norm("model.norm", self.hidden)),
        ];
        if !self.tied {
            tensors.push(("lm_head".into(), self.table("lm_head")));
        }
        let (hidden, ffn, q, kv) = (self.hidden, self.ffn, self.q_size(), self.kv_size());
        for layer in 0..self.layers {
            let full = |name: &str| format!("model.layers.{layer}.{name}");
            for (name, shape) in [
                ("self_attn.q_proj", [q, hidden]),
                ("self_attn.k_proj", [kv, hidden]),
                ("self_attn.v_proj", [kv, hidden]),
                ("self_attn.o_proj", [hidden, q]),
                ("mlp.gate_proj", [ffn, hidden]),
                ("mlp.up_proj", [ffn, hidden]),
                ("mlp.down_proj", [hidden, ffn]),
            ] {
                tensors.push((full(name), self.matrix(&full(name), shape)));
            }
            let sub_norms = [("self_attn.attn_sub_norm", q), ("mlp.ffn_sub_norm", ffn)];
            let norms = [
                ("input_layernorm", hidden),
                ("post_attention_layernorm", hidden),
            ];
            let sub_norms = sub_norms.into_iter().filter(|_| self.sub_norms);
            for (name, width) in norms.into_iter().chain(sub_norms) {
                tensors.push((full(name), self.norm(&full(name), width)));
            }
        }
        tensors
    }

    /// Logits of the prompt by `make.py`, `[16, vocab]`.
    pub(crate) fn reference(&self, kind: &str) -> Vec<f32> {
        let path = format!("families/{}-{kind}.f32", self.name);
        let bytes = std::fs::read(support::fixture(&path)).unwrap();
        let floats = bytes.as_chunks::<4>().0;
        floats.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }
}

/// The prompt of every model.
pub(crate) const PROMPT: [u32; 16] = [
    1, 17, 300, 42, 42, 511, 7, 128, 255, 256, 3, 99, 450, 12, 200, 64,
];
