//! Tests of whole models: every form loads to the same weights, odd shapes survive, damage is an
//! error.

mod conversion;
mod damage;
mod downloads;
mod edit;
mod forms;
mod layouts;
mod overlaps;
mod refusals;
mod special_tokens;
mod tiles;
mod unsupported;

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use sterna_kernels::DenseType;
use sterna_kernels::pack::unpack_row;

use crate::config::{
    Activation, BlockOptions, EmbeddingConfig, ModelConfig, RopePairs, RopeScaling, Yarn,
};
use crate::error::LoadError;
use crate::files::LoadOptions;
use crate::model::Model;
use crate::placement::Bytes;
use crate::synthetic;
use crate::weights::{Layer, Linear};

/// `tests/fixtures` of the repository.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

fn load(path: &Path) -> Result<Model, LoadError> {
    Model::load(path, &LoadOptions::default(), &mut |_, _| ())
}

fn load_bytes(bytes: impl Into<Bytes>) -> Result<Model, LoadError> {
    Model::from_gguf_bytes("test", bytes.into())
}

/// The trits of a linear, row-major.
fn trits(linear: &Linear) -> Vec<i8> {
    let mut all = vec![0; linear.rows() * linear.cols()];
    let row_bytes = linear.packed().len() / linear.rows();
    for (row, out) in linear
        .packed()
        .chunks_exact(row_bytes)
        .zip(all.chunks_exact_mut(linear.cols()))
    {
        unpack_row(row, linear.cols(), out);
    }
    all
}

fn linears(model: &Model) -> Vec<&Linear> {
    let layers = model.weights.layers.iter();
    layers.flat_map(Layer::linears).collect()
}

/// Embedding or head as floats.
fn table(model: &Model, head: bool) -> Vec<f32> {
    let weights = if head {
        model.weights.head()
    } else {
        &model.weights.embedding
    };
    let [rows, cols] = weights.shape();
    let mut all = vec![0.0; rows * cols];
    for (row, out) in all.chunks_exact_mut(cols).enumerate() {
        weights.view().row(row, out);
    }
    all
}

/// Same trits, scales within `tolerance` (relative), same norms; tables save for what f16 cannot
/// hold of bf16.
fn assert_same(a: &Model, b: &Model, tolerance: f32) {
    assert_eq!(a.weights.layers.len(), b.weights.layers.len());
    for (index, (x, y)) in linears(a).into_iter().zip(linears(b)).enumerate() {
        assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()));
        assert!(trits(x) == trits(y), "trits of linear {index} differ");
        let error = (x.scale() - y.scale()).abs() / y.scale().abs();
        assert!(
            error <= tolerance,
            "scale of linear {index}: {} and {}",
            x.scale(),
            y.scale()
        );
    }
    for (x, y) in a.weights.layers.iter().zip(&b.weights.layers) {
        assert_eq!((&x.attn_norm, &x.ffn_norm), (&y.attn_norm, &y.ffn_norm));
        assert_eq!(
            (&x.attn_sub_norm, &x.ffn_sub_norm),
            (&y.attn_sub_norm, &y.ffn_sub_norm)
        );
    }
    assert_eq!(a.weights.output_norm, b.weights.output_norm);
    for head in [false, true] {
        let (x, y) = (table(a, head), table(b, head));
        assert!(
            x.len() == y.len() && x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-7),
            "tables differ"
        );
    }
}

/// Nothing about this shape is round: 3 heads of 10 on a width of 52, 7 rows of k, an odd
/// vocabulary.
fn odd_config() -> ModelConfig {
    ModelConfig {
        architecture: "bitnet".into(),
        vocab_size: 263,
        hidden_size: 52,
        ffn_size: 75,
        n_layers: 2,
        n_heads: 3,
        n_kv_heads: 3,
        head_dim: 10,
        context_length: 33,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::Unscaled,
        rope_pairs: RopePairs::Halves,
        rms_norm_eps: 1e-6,
        activation: Activation::Silu,
        sub_norms: true,
        qk_norms: false,
        bos_token: Some(256),
        eos_tokens: vec![3],
        block: BlockOptions::default(),
        embedding: EmbeddingConfig::default(),
    }
}

fn odd_model(seed: u64) -> Model {
    synthetic::from_config("odd", odd_config(), false, DenseType::F32, seed).unwrap()
}

/// The storage of linears in a Hugging Face directory.
#[derive(Clone, Copy, PartialEq)]
enum Linears {
    PackedMultiply,
    PackedDivide,
}

/// A named tensor of a safetensors file.
type Tensor = (String, safetensors::Dtype, Vec<usize>, Vec<u8>);

/// Write `model` as a Hugging Face directory, in one file or in `shards`.
fn write_hf(dir: &Path, model: &Model, form: Linears, shards: usize) {
    let config = hf_config(&model.config, form, model.weights.head.is_none());
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    std::fs::copy(
        fixture("packed-autobitlinear/tokenizer.json"),
        dir.join("tokenizer.json"),
    )
    .unwrap();
    let tensors = hf_tensors(model, form);
    if shards == 1 {
        return write_safetensors(&dir.join("model.safetensors"), &tensors);
    }
    let mut map = serde_json::Map::new();
    for (index, shard) in tensors.chunks(tensors.len().div_ceil(shards)).enumerate() {
        let name = format!("model-{index}.safetensors");
        write_safetensors(&dir.join(&name), shard);
        map.extend(
            shard
                .iter()
                .map(|(tensor, ..)| (tensor.clone(), json!(name))),
        );
    }
    let index = json!({"metadata": {}, "weight_map": map});
    std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

fn hf_config(config: &ModelConfig, form: Linears, tied: bool) -> Json {
    json!({
        "model_type": "bitnet",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.ffn_size,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "quantization_config": {
            "quant_method": "bitnet",
            "linear_class": if form == Linears::PackedMultiply { "autobitlinear" } else { "bitlinear" },
        },
    })
}

fn hf_tensors(model: &Model, form: Linears) -> Vec<Tensor> {
    use crate::files::source::WeightSource;
    use crate::files::{PARTS, TensorId, linear_shape, norm_len};
    use safetensors::Dtype;

    let floats = |values: &[f32]| {
        values
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let (config, weights) = (&model.config, &model.weights);
    let shape = vec![config.vocab_size, config.hidden_size];
    let mut tensors = vec![
        (
            "model.embed_tokens.weight".into(),
            Dtype::F32,
            shape.clone(),
            floats(&table(model, false)),
        ),
        (
            "model.norm.weight".into(),
            Dtype::F32,
            vec![config.hidden_size],
            floats(&weights.output_norm),
        ),
    ];
    if weights.head.is_some() {
        tensors.push((
            "lm_head.weight".into(),
            Dtype::F32,
            shape,
            floats(&table(model, true)),
        ));
    }
    for (index, part) in (0..config.n_layers).flat_map(|index| PARTS.map(|part| (index, part))) {
        let id = TensorId::Block(index, part);
        let name = id.hf_base() + ".weight";
        if let Some((rows, cols)) = linear_shape(config, part) {
            let matrix = weights.linear(id, rows, cols).unwrap();
            let linear = matrix.ternary().unwrap();
            let n = rows.div_ceil(4);
            let mut packed = vec![0u8; n * cols];
            for (i, trit) in trits(linear).into_iter().enumerate() {
                let (row, col) = (i / cols, i % cols);
                packed[row % n * cols + col] |= u8::try_from(trit + 1).unwrap() << (2 * (row / n));
            }
            let scale = if form == Linears::PackedMultiply {
                linear.scale()
            } else {
                1.0 / linear.scale()
            };
            tensors.push((
                format!("{name}_scale"),
                Dtype::F32,
                vec![1],
                floats(&[scale]),
            ));
            tensors.push((name, Dtype::U8, vec![n, cols], packed));
        } else if let Some(len) = norm_len(config, part) {
            tensors.push((
                name,
                Dtype::F32,
                vec![len],
                floats(&weights.norm(id, len).unwrap()),
            ));
        }
    }
    tensors
}

fn write_safetensors(path: &Path, tensors: &[Tensor]) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (
            name,
            safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
        )
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}
