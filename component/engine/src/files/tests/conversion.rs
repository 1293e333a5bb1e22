//! `convert` writes what was read, and what bitnet.cpp's tools write.

use super::*;
use crate::convert::{ConvertError, ConvertOptions, ConvertReport, convert, save};
use crate::files::{Gguf, TableType, Value, ggml_id, gguf::TensorInfo};
use crate::placement;

fn converted(from: &Path, options: &ConvertOptions) -> (tempfile::TempDir, PathBuf, ConvertReport) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.gguf");
    let report = convert(from, &path, options, &mut |_, _| ()).unwrap();
    (dir, path, report)
}

fn bytes_of(gguf: &Gguf, tensor: &TensorInfo) -> Bytes {
    let n = usize::try_from(tensor.elements()).unwrap();
    let n_bytes = match tensor.ty {
        ggml_id::I2_S => n / 4 + 32,
        ggml_id::F16 => 2 * n,
        ggml_id::F32 => 4 * n,
        other => panic!("type {other}"),
    };
    gguf.data(tensor, n_bytes).unwrap()
}

#[test]
fn tensors_equal_the_reference_converters_byte_for_byte() {
    let (_dir, path, report) =
        converted(&fixture("packed-autobitlinear"), &ConvertOptions::default());
    let ours = Gguf::parse(placement::open(&path).unwrap()).unwrap();
    let theirs = Gguf::parse(placement::open(&fixture("tiny-I2_S.gguf")).unwrap()).unwrap();
    assert_eq!(ours.tensors().len(), theirs.tensors().len());
    for tensor in theirs.tensors() {
        let own = ours.tensor(&tensor.name).unwrap();
        assert_eq!(
            (own.ty, &own.ne),
            (tensor.ty, &tensor.ne),
            "{}",
            tensor.name
        );
        assert!(
            bytes_of(&ours, own)[..] == bytes_of(&theirs, tensor)[..],
            "{}",
            tensor.name
        );
    }
    for key in ["general.architecture", "tokenizer.ggml.model"] {
        assert_eq!(
            ours.get(key).unwrap().as_str(),
            theirs.get(key).unwrap().as_str(),
            "{key}"
        );
    }
    for (key, value) in theirs
        .metadata()
        .filter(|(key, _)| key.starts_with("bitnet-b1.58."))
    {
        let own = ours.get(key).unwrap();
        assert_eq!(
            (own.as_i64(), own.as_f64()),
            (value.as_i64(), value.as_f64()),
            "{key}"
        );
    }
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"] {
        let strings = |gguf: &Gguf| {
            gguf.get(key)
                .and_then(Value::as_array)
                .unwrap()
                .strings()
                .unwrap()
        };
        assert_eq!(strings(&ours), strings(&theirs), "{key}");
    }
    assert_eq!(report.n_bytes, std::fs::metadata(&path).unwrap().len());
    // bf16 holds numbers too small for f16; this model has a few.
    assert!(report.notes.len() <= 1, "{:?}", report.notes);
}

#[test]
fn a_converted_model_is_the_same_model() {
    for name in [
        "packed-autobitlinear",
        "packed-bitlinear-inverse",
        "master-bf16-online",
        "tiny-I2_S.gguf",
    ] {
        let source = load(&fixture(name)).unwrap();
        let options = ConvertOptions {
            head: Some(DenseType::F32.into()),
            ..ConvertOptions::default()
        };
        let (_dir, path, report) = converted(&fixture(name), &options);
        let loaded = load(&path).unwrap();
        assert_same(&source, &loaded, 0.0);
        assert!(report.notes.is_empty());
        assert_eq!(
            ModelConfig {
                architecture: loaded.config.architecture.clone(),
                ..source.config.clone()
            },
            loaded.config,
            "{name}"
        );
        let text = "Hello there, it's 12345 o'clock.\n\n  <s> done";
        assert_eq!(
            source.tokenize(text, true).unwrap(),
            loaded.tokenize(text, true).unwrap(),
            "{name}"
        );
        assert!(
            linears(&loaded)
                .iter()
                .all(|linear| linear.packed().is_owned() == cfg!(not(feature = "native")))
        );
    }
}

#[test]
fn odd_shapes_survive_conversion() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("odd.gguf");
    for seed in 0..3 {
        let model = odd_model(seed);
        save(&model, &path, &ConvertOptions::default(), &mut |_, _| ())
            .unwrap_or_else(|e| panic!("{e}"));
        let f16 = load(&path).unwrap();
        assert_eq!(f16.weights.head().type_name(), DenseType::F16.name());
        let exact = ConvertOptions {
            head: Some(DenseType::F32.into()),
            ..ConvertOptions::default()
        };
        save(&model, &path, &exact, &mut |_, _| ()).unwrap();
        let loaded = load(&path).unwrap();
        assert_same(&model, &loaded, 0.0);
        assert_eq!(loaded.config, model.config);
    }
    // [640, 96]: rows end inside blocks, the tensor does not.
    let config = ModelConfig {
        hidden_size: 96,
        ffn_size: 640,
        head_dim: 32,
        ..odd_config()
    };
    let model = synthetic::from_config("flat", config, true, DenseType::F32, 9).unwrap();
    let exact = ConvertOptions {
        head: Some(DenseType::F32.into()),
        ..ConvertOptions::default()
    };
    save(&model, &path, &exact, &mut |_, _| ()).unwrap();
    let gguf = Gguf::parse(placement::open(&path).unwrap()).unwrap();
    assert_eq!(
        gguf.tensor("blk.0.ffn_up.weight").unwrap().ty,
        ggml_id::I2_S
    );
    assert_same(&model, &load(&path).unwrap(), 0.0);
}

#[test]
fn head_types_and_metadata_are_chosen() {
    for ty in [DenseType::Q8_0, DenseType::Q6K] {
        let options = ConvertOptions {
            head: Some(ty.into()),
            name: Some("A name".into()),
            license: Some("MIT".into()),
            chat_template: Some("{{ bos_token }}".into()),
            ..ConvertOptions::default()
        };
        let (_dir, path, report) = converted(&fixture("packed-autobitlinear"), &options);
        let model = load(&path).unwrap();
        assert_eq!(model.weights.head().type_name(), ty.name());
        assert_eq!(model.template.source(), Some("{{ bos_token }}"));
        assert!(
            report.notes.is_empty(),
            "rounding is what a quantised head is for"
        );
        let gguf = Gguf::parse(placement::open(&path).unwrap()).unwrap();
        assert_eq!(
            gguf.get("general.name").and_then(Value::as_str),
            Some("A name")
        );
        assert_eq!(
            gguf.get("general.license").and_then(Value::as_str),
            Some("MIT")
        );
        // A second conversion keeps what is there.
        let (_dir, again, _) = converted(&path, &ConvertOptions::default());
        let head = load(&again).unwrap().weights.head().type_name();
        assert_eq!(head, ty.name());
        let gguf = Gguf::parse(placement::open(&again).unwrap()).unwrap();
        assert_eq!(
            gguf.get("general.name").and_then(Value::as_str),
            Some("A name")
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    for ty in [DenseType::Q8_0.into(), TableType::Q4_0, TableType::Q4K] {
        let options = ConvertOptions {
            head: Some(ty),
            ..ConvertOptions::default()
        };
        refuses_narrow_rows(&path, &options);
    }
}

fn refuses_narrow_rows(path: &Path, options: &ConvertOptions) {
    let error = save(&odd_model(0), path, options, &mut |_, _| ()).unwrap_err();
    assert!(
        matches!(&error, ConvertError::Unsupported(text) if text.contains("52")),
        "{error}"
    );
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        0,
        "no partial file stays"
    );
}

#[test]
fn four_bit_heads_are_what_every_reader_of_them_has() {
    let source = load(&fixture("packed-autobitlinear")).unwrap();
    let (rows, cols) = (source.config.vocab_size, source.config.hidden_size);
    for (ty, weights, bytes) in [(TableType::Q4_0, 32, 18), (TableType::Q4K, 256, 144)] {
        let options = ConvertOptions {
            head: Some(ty),
            ..ConvertOptions::default()
        };
        let (_dir, path, report) = converted(&fixture("packed-autobitlinear"), &options);
        assert!(report.notes.is_empty(), "{:?}", report.notes);
        let lossy = &report.lossy[0];
        assert_eq!(
            (lossy.tensor.as_str(), lossy.to.as_str()),
            ("token_embd.weight", ty.name())
        );
        assert!(lossy.relative_error < 0.1, "{lossy:?}");
        let gguf = Gguf::parse(placement::open(&path).unwrap()).unwrap();
        let tensor = gguf.tensor("token_embd.weight").unwrap();
        assert_eq!(tensor.ty, ty.id());
        let row_bytes = cols / weights * bytes;
        let data = gguf.data(tensor, rows * row_bytes).unwrap();
        let loaded = load(&path).unwrap();
        assert_eq!(loaded.weights.head().type_name(), DenseType::Q8_0.name());
        let (mut row, mut expected) = (vec![0f32; cols], vec![0f32; cols]);
        for index in [0, rows / 2, rows - 1] {
            loaded.weights.head().view().row(index, &mut row);
            ty.loaded_row(&data[index * row_bytes..][..row_bytes], &mut expected);
            assert_eq!(row, expected, "{}", ty.name());
        }
        // Once more the type is the one it was rewritten in.
        let (_dir, again, _) = converted(&path, &ConvertOptions::default());
        let head = load(&again).unwrap();
        assert_eq!(head.weights.head().type_name(), DenseType::Q8_0.name());
    }
}

#[test]
fn trits_in_four_bits_are_trits_again() {
    let options = ConvertOptions {
        head: Some(TableType::Q4_0),
        ..ConvertOptions::default()
    };
    for name in ["qwen3/ternary-Q2_0.gguf", "qwen3/binary-Q1_0.gguf"] {
        let source = load(&fixture(name)).unwrap();
        let (_dir, path, _) = converted(&fixture(name), &options);
        let loaded = load(&path).unwrap();
        assert_eq!(table(&loaded, false), table(&source, false), "{name}");
    }
}

#[test]
fn end_tokens_and_sampling_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    let mut model = odd_model(1);
    model.config.eos_tokens = vec![9, 4, 200];
    model.defaults.temperature = Some(0.7);
    model.defaults.top_k = Some(40);
    save(&model, &path, &ConvertOptions::default(), &mut |_, _| ()).unwrap();
    let loaded = load(&path).unwrap();
    assert_eq!(loaded.config.eos_tokens, [9, 4, 200]);
    assert_eq!(loaded.defaults, model.defaults);
}

#[test]
fn the_demo_model_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo.gguf");
    let model = load(&path).unwrap();
    assert_eq!(model.id, "demo");
    assert_eq!(
        (model.defaults.temperature, model.defaults.top_k),
        (Some(0.7), Some(40))
    );
    assert_eq!(
        (model.config.vocab_size, model.config.context_length),
        (4096, 512)
    );
    let messages =
        ["One day", "a dog"].map(|content| crate::request::Message::new("user", content));
    assert_eq!(
        model.apply_template(&messages.to_vec().into()).unwrap(),
        "<|begin_of_text|>One day\n\na dog"
    );
    let expected: Json =
        serde_json::from_slice(&std::fs::read(fixture("demo-expected.json")).unwrap()).unwrap();
    for case in expected.as_array().unwrap() {
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(
            model
                .tokenize(case["prompt"].as_str().unwrap(), true)
                .unwrap(),
            ids
        );
    }
}
