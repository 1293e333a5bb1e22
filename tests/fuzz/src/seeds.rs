//! Writes inputs that are right, from which the fuzzer starts: `seeds DIRECTORY` makes a folder for
//! each target.

use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use sterna_engine::config::{
    Activation, BlockOptions, EmbeddingConfig, ModelConfig, RopePairs, RopeScaling, Yarn,
};
use sterna_engine::convert::{self, ConvertOptions};
use sterna_engine::files::gguf::TensorInfo;
use sterna_engine::files::gguf_write::{Entry, GgufWriter, TensorPlan};
use sterna_engine::files::{Gguf, Value};
use sterna_engine::synthetic::{self, Stored};
use sterna_fuzz::SEPARATOR;
use sterna_kernels::{DenseType, GroupCodes, TernaryLayout};

type Error = Box<dyn std::error::Error>;

const TOKENIZER: &[u8] = include_bytes!("../../fixtures/packed-autobitlinear/tokenizer.json");

fn main() -> Result<(), Error> {
    let root = std::env::args_os().nth(1).ok_or("usage: seeds DIRECTORY")?;
    let root = Path::new(&root);
    for target in ["gguf", "inspect"] {
        gguf(&folder(root, target)?)?;
    }
    pull(&folder(root, "pull")?)?;
    huggingface(&folder(root, "huggingface")?)?;
    embedding(&folder(root, "embedding")?)?;
    tokenizer(&folder(root, "tokenizer")?)?;
    sentencepiece(&folder(root, "sentencepiece")?)?;
    template(&folder(root, "template")?)?;
    request(&folder(root, "request")?)
}

fn folder(root: &Path, name: &str) -> Result<std::path::PathBuf, Error> {
    let folder = root.join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// What Hugging Face says of a repository, and a registry of an artifact.
fn pull(folder: &Path) -> Result<(), Error> {
    let file = |name: &str| {
        json!({"rfilename": name, "size": 7,
            "lfs": {"sha256": "0".repeat(64), "size": 7, "pointerSize": 130}})
    };
    let layer = |ty: &str, key: &str, path: &str| {
        json!({"mediaType": format!("application/vnd.cncf.model.{ty}"), "size": 7,
            "digest": format!("sha256:{}", "0".repeat(64)), "annotations": {key: path}})
    };
    let path = "org.cncf.model.filepath";
    for (name, value) in [
        (
            "file",
            json!({"sha": "0123abcd", "siblings": [file("README.md"), file("m-Q2_0.gguf"),
                file("mmproj-m.gguf")]}),
        ),
        (
            "parts",
            json!({"sha": "0123abcd", "siblings": [file("m-00001-of-00002.gguf"),
                file("sub/m-00002-of-00002.gguf"), file("m-00002-of-00002.gguf")]}),
        ),
        (
            "directory",
            json!({"sha": "0123abcd", "siblings": [file("config.json"),
                file("model.safetensors"), file("../tokenizer.json")]}),
        ),
        (
            "manifest",
            json!({"schemaVersion": 2, "layers": [layer("weight.v1.raw", path, "m.gguf"),
                layer("code.v1.raw", path, "a.py"), layer("weight.config.v1.raw",
                "org.opencontainers.image.title", "config.json")]}),
        ),
    ] {
        fs::write(folder.join(name), value.to_string())?;
    }
    Ok(())
}

/// Parts of an input as the targets take them apart.
fn joined<const N: usize>(parts: [&[u8]; N]) -> Vec<u8> {
    parts.join(&SEPARATOR)
}

/// As small as a model can be: what is fuzzed is the reading.
fn config() -> ModelConfig {
    ModelConfig {
        architecture: "bitnet-b1.58".into(),
        vocab_size: 258,
        hidden_size: 8,
        ffn_size: 12,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 1,
        head_dim: 4,
        context_length: 64,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::Unscaled,
        rope_pairs: RopePairs::Halves,
        rms_norm_eps: 1e-6,
        activation: Activation::Relu2,
        sub_norms: true,
        qk_norms: false,
        bos_token: Some(256),
        eos_tokens: vec![3],
        block: BlockOptions::default(),
        embedding: EmbeddingConfig::default(),
    }
}

/// The same with a scale for each group of weights, which are 128.
fn group_scaled() -> ModelConfig {
    ModelConfig {
        architecture: "qwen3".into(),
        hidden_size: 128,
        ffn_size: 128,
        head_dim: 64,
        rope_scaling: RopeScaling::Yarn(Yarn::new(4.0, 16.0)),
        activation: Activation::Silu,
        sub_norms: false,
        qk_norms: true,
        ..config()
    }
}

fn gguf(folder: &Path) -> Result<(), Error> {
    for (name, tied, head, layout) in [
        ("tied", true, DenseType::F32, TernaryLayout::I2S),
        ("head", false, DenseType::F16, TernaryLayout::I2S),
        ("trits5", true, DenseType::F16, TernaryLayout::Trits5),
    ] {
        let model = synthetic::from_config(name, config(), tied, head, 1)?;
        let path = folder.join(name);
        let options = ConvertOptions {
            layout: Some(layout),
            ..ConvertOptions::default()
        };
        convert::save(&model, &path, &options, &mut |_, _| ())?;
    }
    for (name, tied, codes) in [
        ("tiles-binary", true, GroupCodes::Binary),
        ("tiles-ternary", false, GroupCodes::Ternary),
        ("tiles-trits8", true, GroupCodes::Trits8),
    ] {
        let stored = Stored::Groups(codes);
        let model = synthetic::from_config(name, group_scaled(), tied, stored, 1)?;
        let options = ConvertOptions::default();
        convert::save(&model, &folder.join(name), &options, &mut |_, _| ())?;
    }
    // A Llama, and its matrices with rows of 256 in each type that is made of blocks: all zeros,
    // which are blocks of the scale 0.
    let llama = ModelConfig {
        architecture: "llama".into(),
        hidden_size: 256,
        activation: Activation::Silu,
        sub_norms: false,
        ..config()
    };
    let model = synthetic::from_config("llama", llama, true, DenseType::F16, 1)?;
    let path = folder.join("llama");
    convert::save(&model, &path, &ConvertOptions::default(), &mut |_, _| ())?;
    // Name, ggml's id, bytes of a row.
    for (name, ty, row_bytes) in [
        ("q4_0", 2, 144),
        ("tq1_0", 34, 54),
        ("tq2_0", 35, 66),
        ("q1_0", Q1_0, Q1_0_BYTES),
        ("q2_0", 42, 72),
        ("iq1_bn", 134, 54),
        ("iq2_bn", 135, 68),
        ("pq2_0", 142, 68),
        ("ptq1_0", 143, 56),
    ] {
        with_blocks(&path, &folder.join(name), ty, row_bytes)?;
    }
    // No longer than the fuzzer's inputs may be.
    fs::remove_file(path)?;
    Ok(())
}

const Q1_0: u32 = 41;
const Q1_0_BYTES: usize = 36;

/// The file `from`, a Llama's, with its linears whose rows are of 256 in type `ty`, and its
/// embedding as Q1_0: zeros.
fn with_blocks(from: &Path, to: &Path, ty: u32, row_bytes: usize) -> Result<(), Error> {
    let gguf = Gguf::parse(fs::read(from)?.into())?;
    let mut metadata = Vec::new();
    for (key, value) in gguf.metadata() {
        metadata.extend(entry(value).map(|entry| (key.to_owned(), entry)));
    }
    // PrismML's ids mean something else without.
    metadata.push(("prism.seed".into(), Entry::U32(1)));
    let (mut plans, mut data) = (Vec::new(), Vec::new());
    for tensor in gguf.tensors() {
        let shape: Vec<usize> = tensor.ne.iter().rev().map(|&n| n as usize).collect();
        let linear = tensor.name.starts_with("blk.");
        let n: usize = shape.iter().product();
        let (ty, bytes) = match shape[..] {
            [rows, 256] if linear => (ty, vec![0; rows * row_bytes]),
            [rows, 256] => (Q1_0, vec![0; rows * Q1_0_BYTES]),
            // I2_S, and norms.
            [_, _] => (tensor.ty, copied(&gguf, tensor, n / 4 + 32)?),
            _ => (tensor.ty, copied(&gguf, tensor, 4 * n)?),
        };
        plans.push(TensorPlan {
            name: tensor.name.clone(),
            shape,
            ty,
            n_bytes: bytes.len(),
        });
        data.push(bytes);
    }
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &plans)?;
    for bytes in data {
        writer.append(&bytes)?;
        writer.pad()?;
    }
    fs::write(to, writer.into_inner())?;
    Ok(())
}

fn copied(gguf: &Gguf, tensor: &TensorInfo, n_bytes: usize) -> Result<Vec<u8>, Error> {
    let bytes = gguf.data(tensor, n_bytes).ok_or("a tensor is cut short")?;
    Ok(bytes.to_vec())
}

/// A value to be written again, of the kinds that `convert` writes.
fn entry(value: &Value) -> Option<Entry> {
    Some(match value {
        Value::U32(x) => Entry::U32(*x),
        Value::F32(x) => Entry::F32(*x),
        Value::Bool(x) => Entry::Bool(*x),
        Value::String(x) => Entry::String(x.clone()),
        Value::Array(array) => match array.strings() {
            Some(texts) => Entry::Strings(texts),
            None => {
                let numbers = array.integers()?.into_iter();
                Entry::I32s(numbers.filter_map(|n| i32::try_from(n).ok()).collect())
            }
        },
        _ => return None,
    })
}

fn huggingface(folder: &Path) -> Result<(), Error> {
    let config = json!({
        "model_type": "bitnet", "vocab_size": 516, "hidden_size": 8, "intermediate_size": 12,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
        "hidden_act": "relu2", "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
        "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2,
        "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear"},
    })
    .to_string();
    // name, rows, columns; a norm has no columns
    let tensors = [
        ("self_attn.q_proj", 8, 8),
        ("self_attn.k_proj", 4, 8),
        ("self_attn.v_proj", 4, 8),
        ("self_attn.o_proj", 8, 8),
        ("mlp.gate_proj", 12, 8),
        ("mlp.up_proj", 12, 8),
        ("mlp.down_proj", 8, 12),
        ("input_layernorm", 8, 0),
        ("self_attn.attn_sub_norm", 8, 0),
        ("post_attention_layernorm", 8, 0),
        ("mlp.ffn_sub_norm", 12, 0),
    ];
    for packed in [true, false] {
        let data = vec![0x3F; 4 * 516 * 8];
        let mut views = vec![
            view("model.embed_tokens.weight", Dtype::BF16, &[516, 8], &data)?,
            view("model.norm.weight", Dtype::F32, &[8], &data)?,
        ];
        for (name, rows, columns) in tensors {
            let name = format!("model.layers.0.{name}.weight");
            let weight = match (columns, packed) {
                (0, _) => view(&name, Dtype::F32, &[rows], &data)?,
                (_, false) => view(&name, Dtype::BF16, &[rows, columns], &data)?,
                (_, true) => {
                    let scale = format!("{name}_scale");
                    views.push(view(&scale, Dtype::F32, &[1], &data)?);
                    view(&name, Dtype::U8, &[rows / 4, columns], &data)?
                }
            };
            views.push(weight);
        }
        let file = safetensors::serialize(views, None)?;
        let name = if packed { "packed" } else { "floats" };
        fs::write(folder.join(name), joined([config.as_bytes(), &file]))?;
    }
    Ok(())
}

fn embedding(folder: &Path) -> Result<(), Error> {
    let config = &include_bytes!("../../fixtures/embedding/qwen3/config.json")[..];
    let modules = &include_bytes!("../../fixtures/embedding/qwen3/modules.json")[..];
    let tokenizer = &include_bytes!("../../fixtures/embedding/qwen3/tokenizer_config.json")[..];
    for mode in ["lasttoken", "mean_tokens", "cls_token"] {
        let pooling = format!("{{\"pooling_mode_{mode}\": true, \"include_prompt\": true}}");
        let parts = [config, modules, pooling.as_bytes(), tokenizer];
        fs::write(folder.join(mode), joined(parts))?;
    }
    // It generates.
    fs::write(folder.join("plain"), joined([config, b"", b"", tokenizer]))?;
    Ok(())
}

/// A tensor of the first bytes of `data`.
fn view<'a>(
    name: &str,
    dtype: Dtype,
    shape: &[usize],
    data: &'a [u8],
) -> Result<(String, TensorView<'a>), Error> {
    let len = shape.iter().product::<usize>() * dtype.bitsize() / 8;
    let view = TensorView::new(dtype, shape.to_vec(), &data[..len])?;
    Ok((name.into(), view))
}

fn tokenizer(folder: &Path) -> Result<(), Error> {
    let text = "Hello  world, it's 1234 <s>\u{1F600}".as_bytes();
    fs::write(folder.join("fixture"), joined([TOKENIZER, text]))?;
    // One that is small enough for most mutations to hit something.
    let small = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 5, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": {"a": 0, "b": 1, "ab": 2, "\u{120}": 3, "\u{120}a": 4}, "merges": [["a", "b"], ["\u{120}", "a"]]},
    });
    fs::write(
        folder.join("small"),
        joined([small.to_string().as_bytes(), b"ab a<s>ba"]),
    )?;
    // Of SentencePiece's kind.
    let mut pieces = small;
    pieces["normalizer"] = json!({"type": "Sequence", "normalizers": [
        {"type": "NFKC"}, {"type": "Prepend", "prepend": "\u{2581}"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]});
    pieces["pre_tokenizer"] = json!(null);
    pieces["decoder"] = json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
    pieces["model"] = json!({"type": "BPE", "unk_token": "<u>", "fuse_unk": true, "byte_fallback": true,
        "vocab": {"a": 0, "b": 1, "ab": 2, "\u{2581}": 3, "\u{2581}a": 4, "<u>": 6, "<0x41>": 7},
        "merges": [["a", "b"], ["\u{2581}", "a"]]});
    let mut unigram = pieces.clone();
    unigram["normalizer"] = json!({"type": "Nmt"});
    unigram["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true}]});
    unigram["decoder"] = unigram["pre_tokenizer"]["pretokenizers"][1].clone();
    unigram["added_tokens"][0]["normalized"] = json!(true);
    unigram["model"] = json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false,
        "vocab": [["<u>", 0.0], ["a", -1.5], ["b", -1.25], ["ab", -2.1], ["\u{2581}", -1.0]]});
    for (name, json) in [("pieces", pieces), ("unigram", unigram)] {
        let input = joined([json.to_string().as_bytes(), "ab a<s>ba \u{e9}A".as_bytes()]);
        fs::write(folder.join(name), input)?;
    }
    Ok(())
}

fn sentencepiece(folder: &Path) -> Result<(), Error> {
    let text = "the dog  cat <mark>\n\u{2581}\u{1F600}e\u{301} 12".as_bytes();
    for (name, model) in [
        (
            "llama",
            &include_bytes!("../../fixtures/tokenizers/llama.model")[..],
        ),
        (
            "gemma",
            include_bytes!("../../fixtures/tokenizers/gemma.model"),
        ),
        (
            "unigram",
            include_bytes!("../../fixtures/tokenizers/unigram.model"),
        ),
        (
            "unigram-bytes",
            include_bytes!("../../fixtures/tokenizers/unigram-bytes.model"),
        ),
    ] {
        fs::write(folder.join(name), joined([model, text]))?;
    }
    // Three pieces (one of them unknown), BPE, and the rules of the normal form.
    let small = b"\x0a\x0a\x0a\x01u\x15\0\0\0\0\x18\x02\x0a\x08\x0a\x01a\x15\0\0\x80\xbf\x0a\x09\x0a\x02aa\x15\0\0\0\xc0\
        \x12\x02\x18\x02\x1a\x04\x18\x01\x20\0";
    fs::write(folder.join("small"), joined([&small[..], b"aaa b"]))?;
    Ok(())
}

fn template(folder: &Path) -> Result<(), Error> {
    let chat = "{% for m in messages %}{% if loop.first and m.role != 'user' %}{{ raise_exception('no') }}{% endif %}\
                {{ m['role']|capitalize }}: {{ m.content.strip() | trim }}{{ eos_token }}\n{% endfor %}\
                {% if add_generation_prompt %}Assistant:{% endif %}";
    let more = "{% macro f(x) %}{{ x | tojson }}{% endmacro %}{% set n = namespace(a=1) %}{{ f(messages[0]) }}\
                {{ strftime_now('%d %b %Y') }}{% for k, v in messages[0] | items %}{{ k ~ v[:3] }}{% endfor %}\
                {{ messages | length }}{{ 'a b'.split(' ')[::-1] | join(',') }}{% if tools is none %}-{% endif %}";
    for (name, source) in [("chat", chat), ("more", more)] {
        let input = joined([source.as_bytes(), b"user", b"Hi <s> there"]);
        fs::write(folder.join(name), input)?;
    }
    let tools = br#"[{"type": "function", "function": {"name": "f", "parameters": {"a": [1.5]}}}]"#;
    let input = joined([
        b"{% for tool in tools or [] %}{{ tool | tojson(indent=2) }}{{ tool.function }}{% endfor %}{{ a }}",
        b"user",
        b"Hi",
        tools,
        br#"{"a": {"b": [null, false]}, "documents": []}"#,
    ]);
    fs::write(folder.join("tools"), input)?;
    for (n, attack) in sterna_fuzz::jinja::ATTACKS.iter().enumerate() {
        let input = joined([attack.as_bytes(), b"user", br#"{"a": [1, {"b": null}]}"#]);
        fs::write(folder.join(format!("attack-{n}")), input)?;
    }
    // Choices among fragments, of every kind and length.
    for n in 0..32_u32 {
        let mut choices = vec![0];
        choices.extend(
            (0..8 * n)
                .map(|at| (at.wrapping_mul(n.wrapping_mul(2_654_435_761) | 1) >> 7) as u8 & 0x7F),
        );
        fs::write(
            folder.join(format!("choices-{n}")),
            joined([&choices[..], b"user", b"Hi"]),
        )?;
    }
    Ok(())
}

fn request(folder: &Path) -> Result<(), Error> {
    let chat = json!({
        "model": "m", "messages": [{"role": "system", "content": "Be brief."},
                                   {"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "max_tokens": 5, "stop": ["a", "b"], "stream": true, "stream_options": {"include_usage": true},
        "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "seed": -1, "frequency_penalty": 1,
        "presence_penalty": -2, "repetition_penalty": 1.1, "n": 1, "tools": [], "logit_bias": {},
        "response_format": {"type": "text"},
    });
    let call =
        json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}});
    let tools = json!({
        "messages": [{"role": "user", "content": "Hi"},
                     {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [call]},
                     {"role": "tool", "tool_call_id": "c", "content": "7"}],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "strict": true,
                                                    "parameters": {"type": "object", "properties": {}}}}],
        "tool_choice": "auto", "parallel_tool_calls": false, "reasoning_effort": "none",
        "chat_template_kwargs": {"x": [1, "y"]}, "reasoning_format": "auto", "include_reasoning": true,
    });
    let text =
        json!({"prompt": [1, 2, 3], "max_tokens": 5, "echo": false, "stop": "x", "logprobs": null});
    for (name, line, body) in [
        ("chat", "POST /v1/chat/completions", chat.to_string()),
        ("tools", "POST /v1/chat/completions", tools.to_string()),
        ("text", "POST /v1/completions?x=1", text.to_string()),
        ("responses", "POST /v1/responses", responses().to_string()),
        ("messages", "POST /v1/messages", messages().to_string()),
        ("ollama", "POST /api/chat", ollama().to_string()),
        (
            "tokenize",
            "POST /tokenize",
            json!({"content": "Hi", "with_pieces": true}).to_string(),
        ),
        (
            "detokenize",
            "POST /detokenize",
            json!({"tokens": [1, 2]}).to_string(),
        ),
        ("model", "GET /v1/models/a%2Fb", String::new()),
        ("ready", "HEAD /readyz", String::new()),
    ] {
        let input = joined([line.as_bytes(), b"application/json", body.as_bytes()]);
        fs::write(folder.join(name), input)?;
    }
    Ok(())
}

/// A body of `/v1/responses` with an item of each type.
fn responses() -> serde_json::Value {
    json!({
        "model": "m", "instructions": "Be brief.", "max_output_tokens": 5, "stream": true, "store": false,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": "Hello"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "7"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {}}], "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}, "reasoning": {"effort": "none"},
        "include": ["reasoning.encrypted_content"], "metadata": {"a": "b"},
    })
}

/// A body of `/v1/messages` with a block of each type.
fn messages() -> serde_json::Value {
    json!({
        "model": "m", "max_tokens": 5, "system": [{"type": "text", "text": "Be brief."}], "stream": true,
        "stop_sequences": ["x"], "thinking": {"type": "disabled"}, "metadata": {"user_id": "u"},
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "Hello"},
                {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "7"}], "is_error": true},
            ]},
        ],
        "tools": [{"name": "f", "input_schema": {}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
    })
}

/// A body of `/api/chat`.
fn ollama() -> serde_json::Value {
    let call = json!({"id": "c", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}});
    json!({
        "model": "m:latest", "stream": false, "think": false, "format": {"type": "object"}, "keep_alive": "5m",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call]},
            {"role": "tool", "tool_name": "f", "content": "7"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "options": {"num_predict": 5, "temperature": 0.5, "num_ctx": 9, "stop": ["x"], "seed": 1},
    })
}
