//! Every form of the fixture model, and shapes that are not round.

use super::*;
use crate::files::floats::{FloatType, Floats};
use crate::files::ggml_id;
use crate::files::gguf_write::{Entry, GgufWriter, TensorPlan};
use crate::files::ternary::{I2sForm, from_hf_packed, from_i2s, quantize, to_i2s};

#[test]
fn every_form_of_the_fixture_has_the_same_weights() {
    let packed = load(&fixture("packed-autobitlinear")).unwrap();
    let config = &packed.config;
    assert_eq!(
        (
            config.n_heads,
            config.n_kv_heads,
            config.head_dim,
            config.ffn_size
        ),
        (8, 2, 32, 640)
    );
    assert_eq!(config.eos_tokens, [2]);
    assert_eq!(packed.id, "packed-autobitlinear");
    assert_eq!(
        packed.parameters(),
        512 * 256 + 4 * (2 * 65536 + 2 * 16384 + 3 * 163_840 + 3 * 256 + 640) + 256
    );

    let gguf = load(&fixture("tiny-I2_S.gguf")).unwrap();
    assert_same(&packed, &gguf, 0.0);
    // The scales were rounded to bf16 (2^-8 at most), here one as s and the other as 1/s.
    let inverse = load(&fixture("packed-bitlinear-inverse")).unwrap();
    assert_same(&packed, &inverse, 2f32.powi(-7));
    let master = load(&fixture("master-bf16-online")).unwrap();
    assert_same(&packed, &master, 2f32.powi(-8));
}

#[test]
fn a_published_gguf_is_used_where_it_lies() {
    let model = load(&fixture("tiny-I2_S.gguf")).unwrap();
    assert!(
        linears(&model)
            .iter()
            .all(|linear| linear.packed().is_owned() == cfg!(not(feature = "native")))
    );
    assert_eq!(model.weights.embedding.type_name(), DenseType::F16.name());
    assert_eq!(
        model.weights.embedding.bytes().is_owned(),
        cfg!(not(feature = "native"))
    );
}

#[test]
fn progress_ends_at_the_total() {
    let mut seen = Vec::new();
    Model::load(
        &fixture("packed-autobitlinear"),
        &LoadOptions::default(),
        &mut |done, total| seen.push((done, total)),
    )
    .unwrap();
    let (done, total) = *seen.last().unwrap();
    assert_eq!(done, total);
    assert!(seen.is_sorted() && seen.len() == 5);
}

#[test]
fn odd_shapes_survive_the_hugging_face_form() {
    let model = odd_model(3);
    for form in [Linears::PackedMultiply, Linears::PackedDivide] {
        let dir = tempfile::tempdir().unwrap();
        // The fixture's tokenizer is larger than this vocabulary, so it gets its own.
        let mut model = model.clone();
        model.config.vocab_size = 513;
        let mut wide =
            synthetic::from_config("odd", model.config.clone(), false, DenseType::F32, 3).unwrap();
        wide.config.bos_token = Some(1);
        write_hf(dir.path(), &wide, form, 1);
        let loaded = load(dir.path()).unwrap();
        assert_same(&wide, &loaded, 1e-6);
        assert_eq!(loaded.config.activation, Activation::Silu);
        assert_eq!(loaded.config.head_dim, 10);
    }
}

#[test]
fn shards_are_one_model() {
    let dir = tempfile::tempdir().unwrap();
    let config = ModelConfig {
        vocab_size: 513,
        ..odd_config()
    };
    let model = synthetic::from_config("odd", config, true, DenseType::F32, 4).unwrap();
    write_hf(dir.path(), &model, Linears::PackedMultiply, 3);
    assert!(!dir.path().join("model.safetensors").exists());
    assert_same(&model, &load(dir.path()).unwrap(), 0.0);

    let index = dir.path().join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index)
        .unwrap()
        .replace("model-1.", "../model-1.");
    std::fs::write(&index, text).unwrap();
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("no file name"), "{error}");
}

#[test]
fn format_vectors_decode() {
    let vectors: Json =
        serde_json::from_slice(&std::fs::read(fixture("format_vectors.json")).unwrap()).unwrap();
    let values: Vec<i8> = serde_json::from_value(vectors["values"].clone()).unwrap();
    let bytes = |key: &str| {
        let hex = vectors[key].as_str().unwrap();
        (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect::<Vec<u8>>()
    };
    let check = |packed: Vec<u8>, rows: usize, cols: usize, what: &str| {
        let linear = Linear::new(rows, cols, packed.into(), 1.0).unwrap();
        assert_eq!(trits(&linear), values[..rows * cols], "{what}");
    };
    check(from_hf_packed(&bytes("hf_packed_8x64"), 8, 64), 8, 64, "hf");
    for (rows, cols) in [(4, 128), (8, 64), (1, 512), (32, 16), (512, 1), (2, 256)] {
        check(
            from_i2s(&bytes("i2_s_x86"), rows, cols, I2sForm::Interleave128),
            rows,
            cols,
            "x86",
        );
        check(
            from_i2s(&bytes("i2_s_arm"), rows, cols, I2sForm::Interleave64),
            rows,
            cols,
            "arm",
        );
        let packed = from_i2s(&bytes("i2_s_x86"), rows, cols, I2sForm::Interleave128);
        assert_eq!(
            to_i2s(&packed, rows, cols),
            bytes("i2_s_x86")[..128],
            "[{rows}, {cols}] back to flat"
        );
    }
}

#[test]
fn master_weights_round_half_to_even_at_the_mean() {
    // mean magnitude 1: 0.5 and 1.5 are ties.
    let values: [f32; 8] = [0.5, -0.5, 1.5, -1.5, 2.0, -0.51, 0.49, 1.0];
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let weights = Floats {
        ty: FloatType::F32,
        bytes: bytes.into(),
    };
    let (packed, scale) = quantize(&weights, 2, 4).unwrap();
    assert_eq!(scale, 1.0);
    let linear = Linear::new(2, 4, packed.into(), scale).unwrap();
    assert_eq!(trits(&linear), [0, 0, 1, -1, 1, -1, 0, 1]);

    let zeros = Floats {
        ty: FloatType::Bf16,
        bytes: vec![0; 16].into(),
    };
    assert_eq!(quantize(&zeros, 2, 4).unwrap().1, 1e-5);
    let nan = Floats {
        ty: FloatType::F32,
        bytes: f32::NAN.to_le_bytes().repeat(8).into(),
    };
    assert!(quantize(&nan, 2, 4).unwrap_err().contains("not a number"));
}

/// The fixture's tensors with every linear as floats of type `ty`.
fn float_gguf(model: &Model, ty: u32, value: impl Fn(i8, f32) -> f32) -> Vec<u8> {
    use crate::files::source::WeightSource;
    use crate::files::{PARTS, TensorId, linear_shape, norm_len};
    let config = &model.config;
    let encode = |x: f32| match ty {
        ggml_id::F32 => x.to_le_bytes().to_vec(),
        ggml_id::F16 => half::f16::from_f32(x).to_le_bytes().to_vec(),
        _ => half::bf16::from_f32(x).to_le_bytes().to_vec(),
    };
    let floats = |values: &[f32]| {
        values
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let (vocab, hidden) = (config.vocab_size, config.hidden_size);
    let mut tensors = vec![
        (
            TensorId::Embedding,
            vec![vocab, hidden],
            ggml_id::F32,
            floats(&table(model, false)),
        ),
        (
            TensorId::OutputNorm,
            vec![hidden],
            ggml_id::F32,
            floats(&model.weights.output_norm),
        ),
    ];
    for (index, part) in (0..config.n_layers).flat_map(|index| PARTS.map(|part| (index, part))) {
        let id = TensorId::Block(index, part);
        if let Some((rows, cols)) = linear_shape(config, part) {
            let matrix = model.weights.linear(id, rows, cols).unwrap();
            let linear = matrix.ternary().unwrap();
            let values = trits(linear)
                .into_iter()
                .flat_map(|t| encode(value(t, linear.scale())));
            tensors.push((id, vec![rows, cols], ty, values.collect()));
        } else if let Some(len) = norm_len(config, part) {
            let norm = model.weights.norm(id, len).unwrap();
            tensors.push((id, vec![len], ggml_id::F32, floats(&norm)));
        }
    }
    let plans: Vec<TensorPlan> = tensors
        .iter()
        .map(|(id, shape, ty, data)| TensorPlan {
            name: id.gguf(),
            shape: shape.clone(),
            ty: *ty,
            n_bytes: data.len(),
        })
        .collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata(model), &plans).unwrap();
    for (.., data) in &tensors {
        writer.append(data).unwrap();
        writer.pad().unwrap();
    }
    writer.into_inner()
}

/// Metadata of arch `bitnet-b1.58` as other tools write it, with `<|eot_id|>` and the wrong
/// template of 2B-4T's GGUF.
fn metadata(model: &Model) -> Vec<(String, Entry)> {
    let config = &model.config;
    let mut tokenizer = model.tokenizer.to_gguf();
    tokenizer.tokens[5] = "<|eot_id|>".into();
    tokenizer.tokens.push("<|more|>".into());
    tokenizer.token_types.push(3);
    tokenizer.token_types[5] = 3;
    tokenizer
        .merges
        .retain(|merge| !merge.split(' ').any(|part| part == "#"));
    let mut entries = crate::files::gguf_tokenizer::entries(tokenizer);
    let size = |key: &str, n: usize| {
        (
            format!("bitnet-b1.58.{key}"),
            Entry::U32(u32::try_from(n).unwrap()),
        )
    };
    entries.extend([
        (
            "general.architecture".into(),
            Entry::String("bitnet-b1.58".into()),
        ),
        (
            "tokenizer.chat_template".into(),
            Entry::String("Human: x BITNETAssistant: ".into()),
        ),
        size("context_length", config.context_length),
        size("embedding_length", config.hidden_size),
        size("block_count", config.n_layers),
        size("feed_forward_length", config.ffn_size),
        size("attention.head_count", config.n_heads),
        size("attention.head_count_kv", config.n_kv_heads),
        ("bitnet-b1.58.rope.freq_base".into(), Entry::F32(500_000.0)),
        (
            "bitnet-b1.58.attention.layer_norm_rms_epsilon".into(),
            Entry::F32(config.rms_norm_eps),
        ),
    ]);
    entries
}

#[test]
fn float_linears_of_a_gguf_keep_their_grid_or_are_quantised() {
    let model = load(&fixture("tiny-I2_S.gguf")).unwrap();
    for (ty, tolerance) in [
        (ggml_id::F32, 0.0),
        (ggml_id::F16, 2f32.powi(-11)),
        (ggml_id::BF16, 2f32.powi(-8)),
    ] {
        let loaded = load_bytes(float_gguf(&model, ty, |trit, scale| {
            f32::from(trit) * scale
        }))
        .unwrap();
        assert_same(&loaded, &model, tolerance);
    }
    // Off the grid: 0 becomes 0.1, so the mean magnitude is the scale, and 0.1 / mean still rounds
    // to 0.
    let master = |trit: i8, scale| {
        if trit == 0 {
            0.1 * scale
        } else {
            f32::from(trit) * scale
        }
    };
    let loaded = load_bytes(float_gguf(&model, ggml_id::F32, master)).unwrap();
    for (a, b) in linears(&loaded).into_iter().zip(linears(&model)) {
        assert!(trits(a) == trits(b));
        let zeros =
            trits(b).iter().filter(|&&trit| trit == 0).count() as f32 / trits(b).len() as f32;
        let mean = b.scale() * (1.0 - 0.9 * zeros);
        assert!(
            (a.scale() - mean).abs() < 1e-5 * mean,
            "{} {mean}",
            a.scale()
        );
    }
}

#[test]
fn the_2b_4t_family_stops_on_eot_and_has_its_own_template() {
    let model = load(&fixture("tiny-I2_S.gguf")).unwrap();
    let loaded = load_bytes(float_gguf(&model, ggml_id::F32, |trit, scale| {
        f32::from(trit) * scale
    }))
    .unwrap();
    assert_eq!(
        loaded.config.vocab_size, 512,
        "from the embedding, as the key is absent"
    );
    assert!(loaded.config.eos_tokens.contains(&5));
    let [warning] = &loaded.warnings[..] else {
        panic!("{:?}", loaded.warnings)
    };
    assert!(
        warning.contains("`<|more|>` beyond the 512 rows"),
        "{warning}"
    );
    let source = loaded.template.source().unwrap();
    assert!(
        !source.contains("BITNETAssistant") && source.contains("<|eot_id|>"),
        "{source}"
    );
}
