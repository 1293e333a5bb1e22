//! Tiny models of each published family in every published form, against the reference of
//! `tests/fixtures/families` (`make.py`), an implementation in f64 that reproduces transformers'
//! logits of other fixtures.
//!
//! Every number of these models is exact in bf16 and f16, so that all forms with the same
//! activations are one model: they must give the same bits, unless their scales or the groups of a
//! sum differ.

mod encode;
mod tiny;
mod write;

use std::path::Path;
use std::sync::Arc;

use crate::support::{batch, complete, engine, forward, greedy, ids};
use encode::Ty;
use serde_json::{Value as Json, json};
use sterna_engine::convert::{ConvertError, ConvertOptions, convert};
use sterna_engine::error::LoadError;
use sterna_engine::files::LoadOptions;
use sterna_engine::files::gguf_write::Entry;
use sterna_engine::files::plan::Plan;
use sterna_engine::inspect::inspect;
use sterna_engine::model::Model;
use sterna_engine::request::{Prompt, Request};
use sterna_kernels::{GroupCodes, Isa, KvType, TernaryLayout};
use tiny::{PROMPT, Tiny, tiny};
use write::{Directory, File, Weights};

fn load(path: &Path, options: &LoadOptions) -> Result<Arc<Model>, LoadError> {
    Model::load(path, options, &mut |_, _| ()).map(Arc::new)
}

fn logits(model: &Arc<Model>) -> Vec<f32> {
    let (mut forward, mut kv) = forward(model, Isa::detect(), 1, PROMPT.len(), 1);
    let logits = forward.forward(&batch(0, &PROMPT), &mut kv).unwrap();
    logits.to_vec()
}

/// The root mean square of the difference, as a share of the reference's.
fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let pairs = actual.iter().zip(expected);
    let difference: f64 = pairs.map(|(a, e)| square(a - e)).sum();
    (difference / expected.iter().map(|e| square(*e)).sum::<f64>()).sqrt()
}

/// A model and its logits against the reference of these activations.
fn check(model: &Arc<Model>, logits: &[f32], tiny: &Tiny, kind: &str, form: &str) {
    let reference = tiny.reference(kind);
    // An int8 value between two falls the other way now and then, and what comes after differs.
    let tokens = logits.chunks(tiny.vocab).zip(reference.chunks(tiny.vocab));
    let errors: Vec<f64> = tokens.map(|(a, e)| relative_error(a, e)).collect();
    let exact = errors.iter().filter(|error| **error < 1e-4).count();
    let error = relative_error(logits, &reference);
    println!(
        "{}, {form}: {exact} of 16 positions exact, {error:.5} off in all",
        tiny.name
    );
    let most = if kind == "float" { 0.05 } else { 0.03 };
    assert!(error < most, "{}, {form}: {errors:?}", tiny.name);
    let request = Request {
        max_tokens: Some(16),
        sampling: greedy(),
        ..Request::new(Prompt::Tokens(PROMPT.to_vec()))
    };
    let completion = complete(&mut engine(model, |o| o.kv_type = KvType::F32), request).unwrap();
    let expected = ids(&tiny.greedy[kind]);
    assert_eq!(completion.tokens, expected, "{}, {form}", tiny.name);
}

/// All forms of one model with the same activations.
struct Forms {
    tiny: Tiny,
    kinds: &'static [&'static str],
    first: Option<Vec<f32>>,
    folder: tempfile::TempDir,
    options: LoadOptions,
}

impl Forms {
    fn new(name: &str, kinds: &'static [&'static str]) -> Self {
        Forms {
            tiny: tiny(name),
            kinds,
            first: None,
            folder: tempfile::tempdir().unwrap(),
            options: LoadOptions::default(),
        }
    }

    /// With logits that differ from the first form's by so much.
    fn check(&mut self, path: &Path, form: &str, most: f64) {
        let model = load(path, &self.options).unwrap_or_else(|e| panic!("{form}: {e}"));
        assert!(model.warnings.is_empty(), "{form}: {:?}", model.warnings);
        assert_eq!(model.config.eos_tokens, [2], "{form}");
        if cfg!(feature = "native") {
            let looked_at = inspect(path, &self.options).loadable.unwrap();
            let (found, plan) = (looked_at.plan, Plan::of(&model.weights));
            assert_eq!(found.tables, plan.tables, "{form}");
            // Of floats one matrix is looked at, and others may have smaller groups.
            assert_eq!(found.matrices.len(), plan.matrices.len(), "{form}");
        }
        let own = logits(&model);
        for kind in self.kinds {
            check(&model, &own, &self.tiny, kind, form);
        }
        let first = self.first.get_or_insert_with(|| own.clone());
        let other = relative_error(&own, first);
        assert!(other <= most, "{form} differs from the first form: {other}");
        self.check_converted(path, form, &own, model.weights.is_grouped());
    }

    /// Converted, to each layout: the same bits.
    fn check_converted(&self, path: &Path, form: &str, own: &[f32], grouped: bool) {
        let to = self.folder.path().join("converted.gguf");
        let default = ConvertOptions {
            load: self.options.clone(),
            ..ConvertOptions::default()
        };
        let tighter = if grouped {
            ConvertOptions {
                groups: Some(GroupCodes::Trits8),
                ..default.clone()
            }
        } else {
            ConvertOptions {
                layout: Some(TernaryLayout::Trits5),
                ..default.clone()
            }
        };
        for options in [default, tighter] {
            let report = convert(path, &to, &options, &mut |_, _| ());
            let report = report.unwrap_or_else(|e| panic!("{form}: {e}"));
            assert!(report.notes.is_empty(), "{form}: {:?}", report.notes);
            let converted = load(&to, &LoadOptions::default()).unwrap();
            assert!(logits(&converted) == own, "{form}, converted");
        }
    }

    fn directory(&mut self, directory: &Directory, most: f64) {
        let path = self.folder.path().join("directory");
        std::fs::create_dir_all(&path).unwrap();
        directory.write(&path, &self.tiny);
        let Directory {
            weights,
            ty,
            config,
            ..
        } = directory;
        self.check(
            &path,
            &format!("directory {weights:?} {ty:?} {config}"),
            most,
        );
    }

    fn file(&mut self, file: &File<'_>, most: f64) {
        let path = self.folder.path().join("file.gguf");
        std::fs::write(&path, file.bytes(&self.tiny)).unwrap();
        let form = format!("{} {:?} {:?}", file.architecture, file.ty, file.pre);
        self.check(&path, &form, most);
    }
}

fn quantised(linear_class: Option<&str>) -> Json {
    json!({"quantization_config": {"quant_method": "bitnet", "linear_class": linear_class}})
}

const ONE_SCALE: [Ty; 11] = [
    Ty::I2S,
    Ty::Tq1_0,
    Ty::Tq2_0,
    Ty::Q2_0G64,
    Ty::Q2_0G128,
    Ty::Iq1Bn,
    Ty::Iq2Bn,
    Ty::Q4_0,
    Ty::F16,
    Ty::Bf16,
    Ty::F32,
];

/// 2B-4T: packed, on the grid, in each type under both architectures' names.
#[test]
fn two_b() {
    let mut forms = Forms::new("two-b", &["token"]);
    let auto = || quantised(Some("autobitlinear"));
    let packed = Directory {
        config: auto(),
        ..Directory::default()
    };
    forms.directory(&packed, 0.0);
    for ty in [Ty::Bf16, Ty::F16, Ty::F32] {
        let unpacked = Directory {
            weights: Weights::Unpacked,
            ty,
            config: auto(),
            ..Directory::default()
        };
        forms.directory(&unpacked, 0.0);
    }
    let divided = Directory {
        weights: Weights::Packed { divide: true },
        config: quantised(Some("bitlinear")),
        ..Directory::default()
    };
    // 1 / (1 / s) is s but for its last bit.
    forms.directory(&divided, 0.02);
    for ty in ONE_SCALE {
        let file = File {
            architecture: "bitnet-b1.58",
            ty,
            pre: None,
            ..File::default()
        };
        forms.file(&file, 0.0);
    }
    let first_upload = File {
        architecture: "bitnet-25",
        head_again: true,
        ..File::default()
    };
    forms.file(&first_upload, 0.0);
    for ty in [Ty::Pq2_0, Ty::Ptq1_0] {
        let more = vec![("prism.version", Entry::U32(1))];
        let file = File {
            architecture: "bitnet-b1.58",
            ty,
            more,
            ..File::default()
        };
        forms.file(&file, 0.0);
    }
    forms.options.i2s_arm = true;
    let arm = File {
        architecture: "bitnet-b1.58",
        ty: Ty::I2SArm,
        ..File::default()
    };
    forms.file(&arm, 0.0);
}

#[test]
fn two_b_master_weights() {
    let mut forms = Forms::new("two-b", &["masters"]);
    for ty in [Ty::Bf16, Ty::F32] {
        let masters = Directory {
            weights: Weights::Masters,
            ty,
            config: quantised(Some("autobitlinear")),
            ..Directory::default()
        };
        forms.directory(&masters, 0.0);
    }
}

fn one_bit_llm() -> Json {
    json!({
        "architectures": ["BitnetForCausalLM"],
        "model_type": "llama",
        "weight_bits": 1,
        "input_bits": 8,
    })
}

/// 1bitLLM's: heads of 100, rows that are no whole blocks, I2_S blocks across rows, SiLU, scales as
/// tensors of their own.
#[test]
fn one_bit_llms() {
    let mut forms = Forms::new("one-bit", &["token"]);
    let unpacked = Directory {
        weights: Weights::Unpacked,
        ty: Ty::F16,
        config: one_bit_llm(),
        old_names: true,
    };
    forms.directory(&unpacked, 0.0);
    for (ty, factors) in [
        (Ty::I2S, false),
        (Ty::F16, false),
        (Ty::F32, true),
        (Ty::Tq2_0, false),
        (Ty::Tq1_0, true),
        (Ty::I2S, true),
    ] {
        let file = File {
            architecture: "bitnet",
            ty,
            factors,
            more: vec![
                ("bitnet.rope.scaling.type", Entry::String("linear".into())),
                ("bitnet.rope.scaling.factor", Entry::F32(1.0)),
            ],
            ..File::default()
        };
        forms.file(&file, 0.0);
    }
    forms.options.i2s_arm = true;
    let arm = File {
        architecture: "bitnet",
        ty: Ty::I2SArm,
        ..File::default()
    };
    forms.file(&arm, 0.0);

    let mut forms = Forms::new("one-bit", &["masters"]);
    for ty in [Ty::F16, Ty::Bf16] {
        let masters = Directory {
            weights: Weights::Masters,
            ty,
            config: one_bit_llm(),
            old_names: true,
        };
        forms.directory(&masters, 0.0);
    }
}

/// Llama3-8B-1.58, Falcon3 and Falcon-E: no sub-norms, a head of its own, a head_dim of its own,
/// and in GGUF rows of q and k in another order.
#[test]
fn llamas_with_one_scale() {
    let mut forms = Forms::new("falcon", &["token"]);
    let unpacked = Directory {
        weights: Weights::Unpacked,
        config: quantised(None),
        ..Directory::default()
    };
    forms.directory(&unpacked, 0.0);
    for (ty, pre) in ONE_SCALE
        .into_iter()
        .zip(["llama-bpe", "falcon3", "falcon_e"].into_iter().cycle())
    {
        let file = File {
            ty,
            pre: Some(pre),
            ..File::default()
        };
        forms.file(&file, 0.0);
    }
    for (divide, class) in [
        (true, None),
        (true, Some("bitlinear")),
        (false, Some("autobitlinear")),
    ] {
        let packed = Directory {
            weights: Weights::Packed { divide },
            config: quantised(class),
            ..Directory::default()
        };
        forms.directory(&packed, if divide { 0.02 } else { 0.0 });
    }
    forms.options.i2s_arm = true;
    let arm = File {
        ty: Ty::I2SArm,
        ..File::default()
    };
    forms.file(&arm, 0.0);
}

/// `prequantized`: with a configuration that says so, and with the option where it does not.
#[test]
fn llamas_of_master_weights() {
    let mut forms = Forms::new("falcon", &["masters"]);
    let masters = |config| Directory {
        weights: Weights::Masters,
        config,
        ..Directory::default()
    };
    forms.directory(&masters(quantised(None)), 0.0);
    let plain = masters(json!({}));
    plain.write(&forms.folder.path().join("directory"), &forms.tiny);
    let error = load(&forms.folder.path().join("directory"), &forms.options);
    let error = error.unwrap_err().to_string();
    for part in [
        "model.layers.0.self_attn.q_proj.weight",
        "--quantize",
        "float weights",
    ] {
        assert!(error.contains(part), "{error}");
    }
    forms.options.quantize = true;
    forms.directory(&plain, 0.0);
    let file = File {
        ty: Ty::F16,
        masters: true,
        ..File::default()
    };
    forms.file(&file, 0.0);
}

/// The `bfloat16` revision, which transformers runs with float activations, and small TriLMs.
#[test]
fn llamas_on_a_grid_with_float_activations() {
    let mut forms = Forms::new("falcon", &["blocks", "float"]);
    for ty in [Ty::Bf16, Ty::F16, Ty::F32] {
        let unpacked = Directory {
            weights: Weights::Unpacked,
            ty,
            ..Directory::default()
        };
        forms.directory(&unpacked, 0.0);
    }
    for ty in [Ty::Tq1_0, Ty::Tq2_0, Ty::F16] {
        let file = File {
            ty,
            pre: Some("olmo"),
            ..File::default()
        };
        forms.file(&file, OTHER_GROUPS);
    }
}

/// A sum over groups of other sizes is another float, and may round to another int8 value.
const OTHER_GROUPS: f64 = 0.01;

/// Scales by shard, in rows or in columns, which are never one.
#[test]
fn tri_lms() {
    for (name, types) in [
        ("tri-lm", &[Ty::Tq1_0, Ty::Tq2_0, Ty::F16, Ty::Q2_0G64][..]),
        ("tri-lm-3", &[Ty::Tq1_0, Ty::Tq2_0, Ty::Bf16]),
    ] {
        let mut forms = Forms::new(name, &["blocks", "float"]);
        for ty in [Ty::F16, Ty::Bf16] {
            let unpacked = Directory {
                weights: Weights::Unpacked,
                ty,
                ..Directory::default()
            };
            forms.directory(&unpacked, 0.0);
        }
        for (ty, pre) in types.iter().zip(["olmo", "gpt-2"].into_iter().cycle()) {
            let file = File {
                ty: *ty,
                pre: Some(pre),
                ..File::default()
            };
            forms.file(&file, OTHER_GROUPS);
        }
    }
}

/// The error of a file of the model `name`.
fn refusal(name: &str, file: &File<'_>) -> String {
    let bytes = file.bytes(&tiny(name));
    let error = Model::from_gguf_bytes("refused", bytes.into()).unwrap_err();
    error.to_string()
}

fn contains(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "`{part}`: {error}");
    }
}

#[test]
fn what_loses_scales_or_has_two_meanings_is_refused() {
    let file = |ty| File {
        ty,
        ..File::default()
    };
    // Its scales differ by rows in `q` and within the rows of `down`, where one would be lost.
    let error = refusal("tri-lm", &file(Ty::Iq2Bn));
    contains(
        &error,
        &["blk.0.attn_q.weight", "one scale", "TQ1_0", "safetensors"],
    );
    assert!(!error.contains("I2_S"), "{error}");
    for (ty, names) in [
        (Ty::Pq2_0, "PQ2_0 or IQ1_TN"),
        (Ty::Ptq1_0, "PTQ1_0 or IQ2_TN"),
    ] {
        let error = refusal("tri-lm", &file(ty));
        contains(&error, &["blk.0.attn_q.weight", names, "PrismML", "TQ1_0"]);
    }
    // A BitNet has one scale.
    let file = File {
        architecture: "bitnet",
        ty: Ty::Tq2_0,
        ..File::default()
    };
    let mut two = tiny("one-bit");
    two.shards = 2;
    let bytes = file.bytes(&two);
    let error = Model::from_gguf_bytes("refused", bytes.into()).unwrap_err();
    contains(
        &error.to_string(),
        &["has the scales", "a matrix of this model has one"],
    );
    // A factor on a matrix whose scales are f16.
    let factors = File {
        ty: Ty::Tq2_0,
        factors: true,
        pre: Some("olmo"),
        ..File::default()
    };
    let error = refusal("falcon", &factors);
    contains(&error, &["blk.0.attn_q.scale", "factor"]);
}

#[test]
fn an_ordinary_llama_is_no_ternary_model() {
    let masters = File {
        ty: Ty::F16,
        masters: true,
        ..File::default()
    };
    let error = refusal("falcon", &masters);
    contains(&error, &["float weights", "--quantize", "TQ2_0"]);

    let folder = tempfile::tempdir().unwrap();
    let packed = Directory::default();
    packed.write(folder.path(), &tiny("falcon"));
    let error = load(folder.path(), &LoadOptions::default()).unwrap_err();
    contains(
        &error.to_string(),
        &["q_proj.weight", "quantization_config"],
    );
}

#[test]
fn a_refused_model_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
    let file = File {
        ty: Ty::Iq2Bn,
        ..File::default()
    };
    std::fs::write(&from, file.bytes(&tiny("tri-lm"))).unwrap();
    let error = convert(&from, &to, &ConvertOptions::default(), &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, ConvertError::Load(_)), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
