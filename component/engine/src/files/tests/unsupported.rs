//! Keys and tensors that would change the arithmetic are refused by name, unless they ask for
//! nothing.

use super::edit::Edited;
use super::*;
use crate::config::Pooling;
use crate::files::gguf_value::ValueType;

const ARCH: &str = "bitnet-b1.58";

fn refused(file: &Edited, key: &str) {
    let error = file.refusal();
    assert!(error.contains(&format!("`{key}`")), "{key}: {error}");
}

#[test]
fn numbers_of_gguf_keys_that_are_not_computed_are_refused() {
    for (key, value, nothing) in [
        ("attention.sliding_window", 16.0, 0.0),
        ("attention.sliding_window_pattern", 2.0, 0.0),
        ("attention.scale", 0.5, 0.0),
        ("attention.max_alibi_bias", 8.0, 0.0),
        ("attention.clamp_kqv", 6.0, 0.0),
        ("attention.output_scale", 2.0, 1.0),
        ("attn_logit_softcapping", 50.0, 0.0),
        ("final_logit_softcapping", 30.0, 0.0),
        ("logit_scale", 0.0625, 1.0),
        ("residual_scale", 0.22, 1.0),
        ("embedding_scale", 12.0, 1.0),
        ("expert_count", 8.0, 0.0),
        ("expert_used_count", 2.0, 0.0),
        ("expert_weights_scale", 2.5, 0.0),
        ("rope.scaling.attn_factor", 1.2, 1.0),
        ("rope.scale_linear", 4.0, 1.0),
        ("rope.scaling.yarn_log_multiplier", 0.1, 0.0),
        ("attention.kv_lora_rank", 512.0, 0.0),
        ("ssm.state_size", 16.0, 0.0),
        ("nextn_predict_layers", 1.0, 0.0),
        ("a_key_of_next_year", 3.0, 0.0),
    ] {
        let key = format!("{ARCH}.{key}");
        // A window needs a pattern and the other way round; alone the pattern asks for nothing.
        if key.ends_with("_pattern") {
            let windowed =
                Edited::fixture().with_u32(&format!("{ARCH}.attention.sliding_window"), 16);
            assert!(windowed.load().is_err());
        } else {
            refused(&Edited::fixture().with_f32(&key, value), &key);
            refused(&Edited::fixture().with_text(&key, "some"), &key);
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small numbers"
        )]
        let whole = nothing as u32;
        Edited::fixture().with_f32(&key, nothing).load().unwrap();
        Edited::fixture().with_u32(&key, whole).load().unwrap();
    }
}

/// A file that names one is a model for embeddings.
#[test]
fn the_pooling_is_read() {
    let key = format!("{ARCH}.pooling_type");
    for (number, pooling) in [
        (0, None),
        (1, Some(Pooling::Mean)),
        (2, Some(Pooling::First)),
        (3, Some(Pooling::Last)),
    ] {
        let model = Edited::fixture().with_u32(&key, number).load().unwrap();
        assert_eq!(model.config.embedding.pooling, pooling);
    }
    refused(&Edited::fixture().with_u32(&key, 4), &key);
    refused(&Edited::fixture().with_u32(&key, 9), &key);
    refused(&Edited::fixture().with_text(&key, "last"), &key);
}

#[test]
fn other_gguf_keys_are_refused_unless_they_ask_for_nothing() {
    let key = |name: &str| format!("{ARCH}.{name}");
    let causal = key("attention.causal");
    refused(&Edited::fixture().with_bool(&causal, false), &causal);
    Edited::fixture().with_bool(&causal, true).load().unwrap();
    let parallel = key("use_parallel_residual");
    refused(&Edited::fixture().with_bool(&parallel, true), &parallel);
    Edited::fixture()
        .with_bool(&parallel, false)
        .load()
        .unwrap();
    let order = key("tensor_data_layout");
    refused(
        &Edited::fixture().with_text(&order, "Meta AI original pth"),
        &order,
    );
    let window = key("attention.sliding_window");
    Edited::fixture().with_u32(&window, 1 << 20).load().unwrap();
    let scale = key("attention.scale");
    let own = 1.0 / 32f32.sqrt();
    Edited::fixture().with_f32(&scale, own).load().unwrap();
    for folded in ["prism.hadamard.version", "prism.hadamard.tensors"] {
        refused(&Edited::fixture().with_u32(folded, 1), folded);
    }
    for kind in ["adapter", "mmproj", "imatrix", "other"] {
        refused(
            &Edited::fixture().with_text("general.type", kind),
            "general.type",
        );
    }
    Edited::fixture()
        .with_text("general.type", "model")
        .load()
        .unwrap();
    refused(
        &Edited::fixture().with_text("adapter.type", "lora"),
        "adapter.type",
    );
    let sections = key("rope.dimension_sections");
    let four = |n: u32| {
        let mut bytes = (ValueType::U32 as u32).to_le_bytes().to_vec();
        bytes.extend(4u64.to_le_bytes());
        bytes.extend(n.to_le_bytes().repeat(4));
        bytes
    };
    refused(
        &Edited::fixture().with(&sections, ValueType::Array, &four(8)),
        &sections,
    );
    Edited::fixture()
        .with(&sections, ValueType::Array, &four(0))
        .load()
        .unwrap();
    // Those of another architecture say nothing about this one, nor do names nobody computes with.
    Edited::fixture()
        .with_u32("llama.attention.sliding_window", 16)
        .with_text("quantize.imatrix.file", "a")
        .with_text("somebody.note", "b")
        .load()
        .unwrap();
}

#[test]
fn scaled_positions_are_refused() {
    let kind = format!("{ARCH}.rope.scaling.type");
    let factor = format!("{ARCH}.rope.scaling.factor");
    for name in ["longrope", "llama3", "dynamic"] {
        // The fixture may have the key already, and a key that occurs twice is damage.
        let error = Edited::fixture().with_text(&kind, name).refusal();
        assert!(error.contains("rope.scaling.type"), "{error}");
    }
    let error = Edited::fixture().with_f32(&factor, 4.0).refusal();
    assert!(error.contains("rope.scaling"), "{error}");
}

#[test]
fn a_model_without_its_epsilon_is_refused() {
    let mut file = Edited::fixture();
    let key = b"attention.layer_norm_rms_epsilon";
    let at = file.0.windows(key.len()).position(|w| w == key).unwrap();
    // Another key of the same length, of nobody's architecture.
    file.0[at - ARCH.len() - 1] = b'x';
    let error = file.refusal();
    assert!(
        error.contains("layer_norm_rms_epsilon") && error.contains("absent"),
        "{error}"
    );
}

#[test]
fn tensors_that_would_be_left_out_are_refused() {
    for name in [
        "blk.0.attn_q.bias",
        "blk.0.attn_q_norm.weight",
        "blk.0.attn_k_norm.weight",
        "blk.0.attn_q_norm_out.weight",
        "blk.0.attn_q.weight.lora_a",
        "blk.0.attn_q.input_scale",
        "blk.4.attn_norm.weight",
        "blk.0.ffn_gate_inp.weight",
        "token_embd_norm.weight",
        "token_embd.scale",
        "output.bias",
        "anything",
    ] {
        let error = Edited::fixture().with_floats(name, &[0.5; 256]).refusal();
        assert!(error.contains(&format!("`{name}`")), "{name}: {error}");
    }
    let error = Edited::fixture()
        .with_floats("blk.4.attn_norm.weight", &[1.0; 256])
        .refusal();
    assert!(error.contains("4 blocks"), "{error}");
    Edited::fixture()
        .with_floats("blk.0.attn_q.bias", &[0.0; 256])
        .load()
        .unwrap();
    Edited::fixture()
        .with_floats("rope_freqs.weight", &[1.0; 16])
        .load()
        .unwrap();
    let error = Edited::fixture()
        .with_floats("rope_freqs.weight", &[2.0; 16])
        .refusal();
    assert!(error.contains("rope_freqs"), "{error}");
}

#[test]
fn numbers_that_are_none_are_refused() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut file = Edited::fixture();
        let start = file.gguf().tensor("blk.1.ffn_norm.weight").unwrap().start;
        file.0[start..start + 4].copy_from_slice(&bad.to_le_bytes());
        let error = file.refusal();
        assert!(error.contains("blk.1.ffn_norm.weight"), "{error}");
    }
}

/// Directories with one key of `config.json` changed.
#[test]
fn keys_of_a_config_that_are_not_computed_are_refused() {
    let fixture = fixture("packed-autobitlinear");
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&fixture).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let config: Json =
        serde_json::from_slice(&std::fs::read(fixture.join("config.json")).unwrap()).unwrap();
    let load_with = |key: &str, value: &Json| {
        let mut config = config.clone();
        config[key] = value.clone();
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        load(dir.path())
    };
    let window = json!(16);
    for (key, value, nothing) in [
        ("attention_bias", json!(true), json!(false)),
        ("mlp_bias", json!(true), json!(false)),
        ("logit_scale", json!(0.0625), json!(1.0)),
        ("logits_scaling", json!(8), json!(1)),
        ("embedding_multiplier", json!(12.0), json!(1)),
        ("residual_multiplier", json!(0.22), json!(1.0)),
        (
            "attention_multiplier",
            json!(0.015),
            json!(1.0 / 32f64.sqrt()),
        ),
        ("query_pre_attn_scalar", json!(256), json!(32)),
        ("attn_logit_softcapping", json!(50.0), json!(null)),
        ("final_logit_softcapping", json!(30.0), json!(0)),
        ("sliding_window", window, json!(null)),
        ("sliding_window", json!(100), json!(4096)),
        (
            "layer_types",
            json!(["sliding_attention"]),
            json!(["full_attention"]),
        ),
        ("use_bidirectional_attention", json!(true), json!(false)),
        ("is_causal", json!(false), json!(true)),
        ("partial_rotary_factor", json!(0.5), json!(1.0)),
        (
            "rope_scaling",
            json!({"type": "dynamic", "factor": 4}),
            json!(null),
        ),
        (
            "rope_scaling",
            json!({"factor": 4}),
            json!({"rope_type": "default"}),
        ),
        (
            "rope_scaling",
            json!({"rope_type": "linear", "factor": 2.0}),
            json!({"type": "linear", "factor": 1.0}),
        ),
        (
            "rope_parameters",
            json!({"full_attention": {"rope_theta": 1e6}}),
            json!({"rope_theta": 5e5}),
        ),
        (
            "rope_parameters",
            json!({"rope_theta": 1e4, "partial_rotary_factor": 0.25}),
            json!({"rope_theta": 5e5}),
        ),
        ("no_rope_layers", json!([1, 0]), json!([1, 1])),
        ("num_local_experts", json!(8), json!(0)),
        ("qk_norm", json!(true), json!(false)),
        ("weight_bits", json!(2), json!(1)),
        ("input_bits", json!(4), json!(8)),
    ] {
        let error = match load_with(key, &value) {
            Ok(_) => panic!("{key}: {value} loads"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(&format!("`{key}")), "{key}: {error}");
        load_with(key, &nothing).unwrap_or_else(|error| panic!("{key}: {nothing}: {error}"));
    }
    let error = load_with("rms_norm_eps", &json!(null))
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("rms_norm_eps"), "{error}");
    // Many keys mean nothing to an answer.
    load_with("somebody_else", &json!({"a": 1})).unwrap();
}

#[test]
fn tensors_of_a_directory_that_would_be_left_out_are_refused() {
    use safetensors::Dtype;
    let config = ModelConfig {
        vocab_size: 513,
        n_layers: 1,
        ..odd_config()
    };
    let model = synthetic::from_config("odd", config, true, DenseType::F32, 5).unwrap();
    let floats = |values: &[f32]| {
        values
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let load_with = |name: &str, values: &[f32]| {
        let dir = tempfile::tempdir().unwrap();
        write_hf(dir.path(), &model, Linears::PackedMultiply, 1);
        let mut tensors = hf_tensors(&model, Linears::PackedMultiply);
        tensors.push((name.into(), Dtype::F32, vec![values.len()], floats(values)));
        write_safetensors(&dir.path().join("model.safetensors"), &tensors);
        load(dir.path()).map(|_| ())
    };
    let layer = "model.layers.0";
    for name in [
        "q_norm.weight",
        "q_proj.bias",
        "q_proj.rms_norm.weight",
        "q_proj.norm.weight",
        "q_proj.lora_A.weight",
        "inner_attn_ln.weight",
    ] {
        let name = format!("{layer}.self_attn.{name}");
        let error = load_with(&name, &[0.5; 30]).unwrap_err().to_string();
        assert!(error.contains(&name), "{error}");
    }
    let error = load_with("model.layers.1.input_layernorm.weight", &[1.0; 52]).unwrap_err();
    assert!(error.to_string().contains("1 blocks"), "{error}");
    let error = load_with("lm_head.weight", &[0.5; 7])
        .unwrap_err()
        .to_string();
    assert!(error.contains("tie_word_embeddings"), "{error}");
    load_with(&format!("{layer}.self_attn.q_proj.bias"), &[0.0; 30]).unwrap();
    let frequencies =
        |theta: f32| -> Vec<f32> { (0..5).map(|i| theta.powf(-(i as f32) / 5.0)).collect() };
    let name = format!("{layer}.self_attn.rotary_emb.inv_freq");
    load_with(&name, &frequencies(10_000.0)).unwrap();
    assert!(load_with(&name, &frequencies(500_000.0)).is_err());
    // A float matrix with a scale beside it: which of the two is meant cannot be told.
    let dir = tempfile::tempdir().unwrap();
    write_hf(dir.path(), &model, Linears::PackedMultiply, 1);
    let mut tensors = hf_tensors(&model, Linears::PackedMultiply);
    let weight = format!("{layer}.self_attn.q_proj.weight");
    let at = tensors
        .iter()
        .position(|(name, ..)| *name == weight)
        .unwrap();
    (tensors[at].1, tensors[at].2) = (Dtype::F32, vec![30, 52]);
    tensors[at].3 = floats(&[0.5; 30 * 52]);
    write_safetensors(&dir.path().join("model.safetensors"), &tensors);
    let error = load(dir.path()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("q_proj.weight_scale"), "{error}");
}
