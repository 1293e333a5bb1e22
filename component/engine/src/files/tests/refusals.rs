//! Unusable values are refused with their name and a remedy.

use super::*;

/// The fixture GGUF, and where the header keeps the entry of a tensor (just after its name).
fn fixture_bytes(tensor: &str) -> (Vec<u8>, usize) {
    let bytes = std::fs::read(fixture("tiny-I2_S.gguf")).unwrap();
    let mut needle = (tensor.len() as u64).to_le_bytes().to_vec();
    needle.extend(tensor.as_bytes());
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    (bytes, at + needle.len())
}

/// The error when the type of matrix `tensor` is changed.
fn with_type(tensor: &str, ty: u32) -> String {
    let (mut bytes, at) = fixture_bytes(tensor);
    let dims = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    bytes[at + 4 + 8 * dims..][..4].copy_from_slice(&ty.to_le_bytes());
    load_bytes(bytes).unwrap_err().to_string()
}

#[test]
fn unknown_tensor_types_are_named_with_a_remedy() {
    for (ty, name) in [
        (38, "TL1"),
        (10, "Q2_K"),
        (335, "IQ2_BN_R4"),
        (12345, "unknown"),
    ] {
        let error = with_type("blk.1.ffn_down.weight", ty);
        for part in [
            "blk.1.ffn_down.weight",
            name,
            &ty.to_string(),
            "I2_S",
            "safetensors",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    let error = with_type("token_embd.weight", 10);
    assert!(
        error.contains("token_embd.weight") && error.contains("Q2_K") && error.contains("Q4_K"),
        "{error}"
    );
    let error = with_type("output_norm.weight", 8);
    assert!(
        error.contains("output_norm.weight") && error.contains("BF16"),
        "{error}"
    );
}

#[test]
fn a_wrong_shape_names_tensor_found_and_expected() {
    let (mut bytes, at) = fixture_bytes("blk.2.ffn_gate.weight");
    bytes[at + 4..][..8].copy_from_slice(&128u64.to_le_bytes());
    let error = load_bytes(bytes).unwrap_err().to_string();
    for part in ["blk.2.ffn_gate.weight", "[640, 128]", "[640, 256]"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_absent_tensor_is_named() {
    let (mut bytes, at) = fixture_bytes("blk.3.attn_sub_norm.weight");
    bytes[at - 1] = b'X';
    let error = load_bytes(bytes).unwrap_err().to_string();
    assert!(
        error.contains("blk.3.attn_sub_norm.weight") && error.contains("absent"),
        "{error}"
    );
}

#[test]
fn other_architectures_are_named() {
    let (mut bytes, _) = fixture_bytes("token_embd.weight");
    let name = b"general.architecture";
    let at = bytes
        .windows(name.len())
        .position(|window| window == name)
        .unwrap()
        + name.len()
        + 12;
    bytes[at..at + 12].copy_from_slice(b"qwen3-moe-xy");
    let error = load_bytes(bytes).unwrap_err().to_string();
    assert!(
        error.contains("qwen3-moe-xy") && error.contains("bitnet-b1.58"),
        "{error}"
    );
}

#[test]
fn paths_that_are_no_model_say_what_to_give() {
    let dir = tempfile::tempdir().unwrap();
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("config.json"), "{error}");
    let error = load(&dir.path().join("absent.gguf"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("absent.gguf"), "{error}");
    let text = dir.path().join("model.safetensors");
    std::fs::write(&text, "not a model").unwrap();
    let error = load(&text).unwrap_err().to_string();
    assert!(error.contains("directory"), "{error}");

    std::fs::copy(
        fixture("packed-autobitlinear/config.json"),
        dir.path().join("config.json"),
    )
    .unwrap();
    std::fs::copy(
        fixture("packed-autobitlinear/tokenizer.json"),
        dir.path().join("tokenizer.json"),
    )
    .unwrap();
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("it is a text"), "{error}");
    std::fs::remove_file(&text).unwrap();
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors.index.json"), "{error}");
}

#[test]
fn hugging_face_tensors_are_checked() {
    use safetensors::Dtype;
    let config = ModelConfig {
        vocab_size: 513,
        n_layers: 1,
        ..odd_config()
    };
    let model = synthetic::from_config("odd", config, true, DenseType::F32, 5).unwrap();
    let name = "model.layers.0.self_attn.q_proj";
    let refuse = |change: &dyn Fn(&mut Vec<Tensor>), parts: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        write_hf(dir.path(), &model, Linears::PackedMultiply, 1);
        let mut tensors = hf_tensors(&model, Linears::PackedMultiply);
        change(&mut tensors);
        write_safetensors(&dir.path().join("model.safetensors"), &tensors);
        let error = load(dir.path()).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
    };
    let find =
        |tensors: &[Tensor], name: &str| tensors.iter().position(|(n, ..)| n == name).unwrap();
    let weight = format!("{name}.weight");
    let scale = format!("{name}.weight_scale");
    refuse(
        &|tensors| tensors.retain(|(name, ..)| *name != scale),
        &[&scale, "absent"],
    );
    refuse(
        &|tensors| {
            let at = find(tensors, &scale);
            tensors[at].3 = f32::INFINITY.to_le_bytes().to_vec();
        },
        &[&scale, "inf"],
    );
    refuse(
        &|tensors| {
            let at = find(tensors, &weight);
            tensors[at].2 = vec![52, 8];
        },
        &[&weight, "[52, 8]", "[8, 52]"],
    );
    refuse(
        &|tensors| {
            let at = find(tensors, &weight);
            (tensors[at].1, tensors[at].2) = (Dtype::I8, vec![30, 52]);
            tensors[at].3 = vec![0; 30 * 52];
        },
        &[&weight, "I8", "BF16"],
    );
    refuse(
        &|tensors| tensors.push((format!("{name}.bias"), Dtype::F32, vec![1], vec![1; 4])),
        &["q_proj.bias"],
    );
    refuse(
        &|tensors| drop(tensors.remove(0)),
        &["model.embed_tokens.weight", "absent"],
    );
}

#[test]
fn a_tokenizer_larger_than_the_vocabulary_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_hf(dir.path(), &odd_model(0), Linears::PackedMultiply, 1);
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("512") && error.contains("263"), "{error}");
}
