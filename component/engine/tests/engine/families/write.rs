//! Writes a [`Tiny`] as published models are stored: Hugging Face directories and GGUF files.

use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value as Json, json};
use sterna_engine::files::gguf_write::{Entry, GgufWriter, TensorPlan};

use super::encode::{self, Ty};
use super::tiny::{Kind, Matrix, Tiny};
use crate::support;

/// What a directory's linears are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Weights {
    /// uint8, with `weight_scale` a factor or a divisor.
    Packed { divide: bool },
    /// The numbers themselves.
    Unpacked,
    /// Weights that are to be quantised.
    Masters,
}

/// A Hugging Face directory.
pub(crate) struct Directory {
    pub(crate) weights: Weights,
    /// The type of all that is not packed.
    pub(crate) ty: Ty,
    /// Changes to `config.json`: keys that are added, or taken away where they are null.
    pub(crate) config: Json,
    /// 1bitLLM's names of the sub-norms.
    pub(crate) old_names: bool,
}

impl Default for Directory {
    fn default() -> Self {
        Directory {
            weights: Weights::Packed { divide: false },
            ty: Ty::Bf16,
            config: json!({}),
            old_names: false,
        }
    }
}

impl Directory {
    pub(crate) fn write(&self, dir: &Path, model: &Tiny) {
        let mut config = json!({
            "model_type": if model.sub_norms { "bitnet" } else { "llama" },
            "vocab_size": model.vocab,
            "hidden_size": model.hidden,
            "intermediate_size": model.ffn,
            "num_hidden_layers": model.layers,
            "num_attention_heads": model.heads,
            "num_key_value_heads": model.kv_heads,
            "head_dim": model.head_dim,
            "hidden_act": if model.relu2 { "relu2" } else { "silu" },
            "max_position_embeddings": 512,
            "rms_norm_eps": model.eps,
            "rope_theta": model.theta,
            "tie_word_embeddings": model.tied,
            "bos_token_id": 1,
            "eos_token_id": 2,
        });
        for (key, value) in self.config.as_object().unwrap() {
            config[key] = value.clone();
        }
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        let tokenizer = support::fixture("packed-autobitlinear/tokenizer.json");
        std::fs::copy(tokenizer, dir.join("tokenizer.json")).unwrap();
        let dtype = match self.ty {
            Ty::F16 => Dtype::F16,
            Ty::Bf16 => Dtype::BF16,
            _ => Dtype::F32,
        };
        let mut tensors = Vec::new();
        for (name, kind) in model.tensors() {
            let name = if self.old_names {
                let name = name.replace("attn_sub_norm", "inner_attn_ln");
                name.replace("ffn_sub_norm", "ffn_layernorm")
            } else {
                name
            } + ".weight";
            let floats = |values: Vec<f32>| encode::floats(self.ty, values.into_iter());
            let (dtype, shape, bytes) = match kind {
                Kind::Norm(values) => (dtype, vec![values.len()], floats(values)),
                Kind::Table(shape, values) => (dtype, shape.to_vec(), floats(values)),
                Kind::Linear(matrix) => {
                    let shape = matrix.shape.to_vec();
                    match self.weights {
                        Weights::Packed { divide } => {
                            let scale = matrix.scale(0);
                            let scale = if divide { 1.0 / scale } else { scale };
                            let scale = (Dtype::F32, vec![1], scale.to_le_bytes().to_vec());
                            tensors.push((format!("{name}_scale"), scale));
                            let packed = encode::hf_packed(&matrix);
                            (Dtype::U8, vec![shape[0].div_ceil(4), shape[1]], packed)
                        }
                        Weights::Unpacked => (dtype, shape, floats(matrix.weights())),
                        Weights::Masters => (dtype, shape, floats(matrix.masters)),
                    }
                }
            };
            tensors.push((name, (dtype, shape, bytes)));
        }
        let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
            (name, view)
        });
        let file = safetensors::serialize(views, None).unwrap();
        std::fs::write(dir.join("model.safetensors"), file).unwrap();
    }
}

/// A GGUF file.
pub(crate) struct File<'a> {
    pub(crate) architecture: &'a str,
    /// The linears' type, where a matrix fits it.
    pub(crate) ty: Ty,
    pub(crate) pre: Option<&'a str>,
    /// True if `output.weight` is there although the model is tied.
    pub(crate) head_again: bool,
    /// True if linears are -1, 0 and +1, and `.scale` tensors have their scales.
    pub(crate) factors: bool,
    /// True if linears are master weights.
    pub(crate) masters: bool,
    pub(crate) more: Vec<(&'a str, Entry)>,
}

impl Default for File<'_> {
    fn default() -> Self {
        File {
            architecture: "llama",
            ty: Ty::I2S,
            pre: Some("llama-bpe"),
            head_again: false,
            factors: false,
            masters: false,
            more: Vec::new(),
        }
    }
}

const NAMES: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.attn_sub_norm", "attn_sub_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.ffn_sub_norm", "ffn_sub_norm"),
    ("mlp.down_proj", "ffn_down"),
];

fn gguf_name(name: &str) -> String {
    match name {
        "model.embed_tokens" => "token_embd".into(),
        "model.norm" => "output_norm".into(),
        "lm_head" => "output".into(),
        _ => {
            let rest = name.strip_prefix("model.layers.").unwrap();
            let (layer, part) = rest.split_once('.').unwrap();
            let (_, own) = NAMES.iter().find(|(name, _)| *name == part).unwrap();
            format!("blk.{layer}.{own}")
        }
    }
}

/// llama.cpp's `permute`: `[heads, 2, head_dim / 2]` rows become `[heads, head_dim / 2, 2]`.
fn permuted(matrix: &Matrix, head_dim: usize) -> Matrix {
    let half = head_dim / 2;
    matrix.with_rows(|row| {
        let (head, pair, side) = (row / head_dim, row % head_dim / 2, row % 2);
        (head * 2 + side) * half + pair
    })
}

impl File<'_> {
    /// The bytes of the file.
    pub(crate) fn bytes(&self, model: &Tiny) -> Vec<u8> {
        let mut tensors: Vec<(String, Vec<usize>, Ty, Vec<u8>)> = Vec::new();
        for (name, kind) in model.tensors() {
            let own = gguf_name(&name);
            let weight = own.clone() + ".weight";
            let floats = |ty, values: Vec<f32>| encode::floats(ty, values.into_iter());
            match kind {
                Kind::Norm(values) => {
                    let shape = vec![values.len()];
                    tensors.push((weight, shape, Ty::F32, floats(Ty::F32, values)));
                }
                Kind::Table(shape, values) => {
                    let bytes = floats(Ty::F16, values);
                    if self.head_again && own == "token_embd" {
                        let again = "output.weight".into();
                        tensors.push((again, shape.to_vec(), Ty::F16, bytes.clone()));
                    }
                    tensors.push((weight, shape.to_vec(), Ty::F16, bytes));
                }
                Kind::Linear(mut matrix) => {
                    let turns = own.ends_with("attn_q") || own.ends_with("attn_k");
                    if self.architecture == "llama" && turns {
                        matrix = permuted(&matrix, model.head_dim);
                    }
                    if self.factors {
                        let scale = matrix.take_scale();
                        let bytes = floats(Ty::F32, vec![scale]);
                        tensors.push((own + ".scale", vec![1], Ty::F32, bytes));
                    }
                    let shape = matrix.shape.to_vec();
                    let ty = self.ty.for_shape(matrix.shape);
                    let bytes = if self.masters {
                        floats(ty, matrix.masters)
                    } else {
                        encode::matrix(ty, &matrix)
                    };
                    tensors.push((weight, shape, ty, bytes));
                }
            }
        }
        let plans: Vec<TensorPlan> = tensors
            .iter()
            .map(|(name, shape, ty, bytes)| TensorPlan {
                name: name.clone(),
                shape: shape.clone(),
                ty: ty.id(),
                n_bytes: bytes.len(),
            })
            .collect();
        let mut writer = GgufWriter::new(Vec::new(), &self.metadata(model), &plans).unwrap();
        for (.., bytes) in &tensors {
            writer.append(bytes).unwrap();
            writer.pad().unwrap();
        }
        writer.into_inner()
    }

    fn metadata(&self, model: &Tiny) -> Vec<(String, Entry)> {
        let architecture = self.architecture;
        let text = |key: &str, value: &str| (key.to_owned(), Entry::String(value.to_owned()));
        let mut entries = vec![
            text("general.architecture", architecture),
            text("general.name", "tiny"),
        ];
        for (key, value) in [
            ("vocab_size", model.vocab),
            ("context_length", 512),
            ("embedding_length", model.hidden),
            ("block_count", model.layers),
            ("feed_forward_length", model.ffn),
            ("rope.dimension_count", model.head_dim),
            ("attention.head_count", model.heads),
            ("attention.head_count_kv", model.kv_heads),
            ("attention.key_length", model.head_dim),
            ("attention.value_length", model.head_dim),
        ] {
            let value = Entry::U32(u32::try_from(value).unwrap());
            entries.push((format!("{architecture}.{key}"), value));
        }
        for (key, value) in [
            ("rope.freq_base", model.theta),
            ("attention.layer_norm_rms_epsilon", model.eps),
        ] {
            entries.push((format!("{architecture}.{key}"), Entry::F32(value as f32)));
        }
        let json = support::json("packed-autobitlinear/tokenizer.json");
        let mut tokens: Vec<(u64, String)> = json["model"]["vocab"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(token, id)| (id.as_u64().unwrap(), token.clone()))
            .collect();
        tokens.sort();
        let merges = json["model"]["merges"].as_array().unwrap().iter();
        let merge = |pair: &Json| {
            format!(
                "{} {}",
                pair[0].as_str().unwrap(),
                pair[1].as_str().unwrap()
            )
        };
        let types = (0..tokens.len()).map(|id| if id < 3 { 3 } else { 1 });
        entries.extend([
            text("tokenizer.ggml.model", "gpt2"),
            (
                "tokenizer.ggml.token_type".into(),
                Entry::I32s(types.collect()),
            ),
            (
                "tokenizer.ggml.tokens".into(),
                Entry::Strings(tokens.into_iter().map(|(_, token)| token).collect()),
            ),
            (
                "tokenizer.ggml.merges".into(),
                Entry::Strings(merges.map(merge).collect()),
            ),
            ("tokenizer.ggml.bos_token_id".into(), Entry::U32(1)),
            ("tokenizer.ggml.eos_token_id".into(), Entry::U32(2)),
        ]);
        entries.extend(self.pre.map(|pre| text("tokenizer.ggml.pre", pre)));
        let more = self.more.iter();
        entries.extend(more.map(|(key, value)| ((*key).to_owned(), value.clone())));
        entries
    }
}
