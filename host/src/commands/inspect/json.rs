//! The report for programs.

use serde_json::{Value as Json, json};
use sterna_engine::config::{Activation, ModelConfig, Pooling, RopeScaling};
use sterna_engine::files::plan::{Form, Plan, Planned};
use sterna_engine::group_scaled::codes_name;
use sterna_engine::inspect::Loadable;

use super::{Baking, Report, Use, tokens_per_s};

/// One object; what is not known is null.
pub(super) fn of(report: &Report<'_>) -> Json {
    let survey = &report.inspection.survey;
    let model = report.inspection.loadable.as_ref();
    let types = survey.types.iter().map(|ty| {
        json!({"type": ty.ty, "tensors": ty.tensors, "numbers": ty.numbers, "bytes": ty.n_bytes})
    });
    let keys = survey.keys.iter();
    let keys: serde_json::Map<_, _> = keys
        .map(|(key, value)| (key.clone(), Json::from(value.as_str())))
        .collect();
    let loaded = model.ok();
    let template = survey.template.as_ref();
    let template_text = match loaded {
        Some(model) => model.template.as_deref(),
        None => template.map(|(_, text)| text.as_str()),
    };
    json!({
        "path": report.path.display().to_string(),
        "format": (!survey.format.is_empty()).then_some(&survey.format),
        "bytes": survey.n_bytes,
        "name": survey.name,
        "architecture": survey.architecture,
        "loads": model.is_ok(),
        "refused": model.err().map(ToString::to_string),
        "keys": keys,
        "tensors": types.collect::<Vec<_>>(),
        "tokenizer": {
            "kind": survey.tokenizer.kind,
            "pre": survey.tokenizer.pre,
            "tokens": survey.tokenizer.tokens,
            "merges": survey.tokenizer.merges,
        },
        "chat_template": {
            "in": template.map(|(place, _)| place),
            "stands_in": loaded.map(|model| model.template_is_other),
            "fault": loaded.and_then(|model| model.template_fault.as_deref()),
            "text": template_text,
        },
        "model": loaded.map(of_model),
        "use": report.use_.as_ref().map(of_use),
        "warnings": report.use_.as_ref().map(|use_| &use_.warnings),
    })
}

fn of_model(model: &Loadable) -> Json {
    let ModelConfig {
        vocab_size,
        hidden_size,
        ffn_size,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        context_length,
        rope_theta,
        rms_norm_eps,
        sub_norms,
        qk_norms,
        ..
    } = &model.config;
    let token = |(id, text): &(u32, String)| json!({"id": id, "text": text});
    json!({
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": ffn_size,
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv_heads,
        "head_dim": head_dim,
        "context_length": context_length,
        "rope_theta": rope_theta,
        "rope_scaling": scaling(&model.config.rope_scaling),
        "rms_norm_eps": rms_norm_eps,
        "activation": match model.config.activation {
            Activation::Relu2 => "relu2",
            Activation::Silu => "silu",
            Activation::GeluTanh => "gelu_tanh",
        },
        "sub_norms": sub_norms,
        "qk_norms": qk_norms,
        "input_norms": model.config.block.input_norm_eps.is_some(),
        "post_norms": model.config.block.post_norms,
        "embedding_scale": model.config.block.embedding_scale,
        "attention_scale": model.config.attention_scale(),
        "sliding_window": window(&model.config),
        "embedding": embedding(&model.config),
        "tied": model.tied,
        "begin_token": model.bos.as_ref().map(token),
        "end_tokens": model.ends.iter().map(token).collect::<Vec<_>>(),
        "weights": weights(&model.plan),
    })
}

/// Null where every layer sees the whole context.
fn window(config: &ModelConfig) -> Json {
    let Some(window) = &config.block.window else {
        return Json::Null;
    };
    let local = window
        .layers
        .iter()
        .enumerate()
        .filter(|(_, local)| **local);
    json!({
        "size": window.size,
        "layers": local.map(|(index, _)| index).collect::<Vec<_>>(),
        "rope_theta": window.rope_theta,
    })
}

/// Null of a model that generates.
fn embedding(config: &ModelConfig) -> Json {
    let Some(pooling) = config.embedding.pooling else {
        return Json::Null;
    };
    json!({
        "pooling": match pooling {
            Pooling::Last => "last",
            Pooling::Mean => "mean",
            Pooling::First => "cls",
        },
        "normalization": "l2",
        "dimensions": config.hidden_size,
        "end_token": config.embedding.end_token,
    })
}

fn scaling(scaling: &RopeScaling) -> Json {
    match scaling {
        RopeScaling::Unscaled => Json::Null,
        RopeScaling::Yarn(yarn) => json!({
            "type": "yarn", "factor": yarn.factor, "original_context": yarn.original_context,
            "attention_factor": yarn.attention_factor,
        }),
        RopeScaling::Llama3(llama3) => json!({
            "type": "llama3", "factor": llama3.factor, "original_context": llama3.original_context,
        }),
    }
}

/// Matrices and tables in memory, by their form.
fn weights(plan: &Plan) -> Vec<Json> {
    let mut forms: Vec<(Form, bool, u64, u64)> = Vec::new();
    for Planned { form, mapped, .. } in plan.all() {
        if !forms
            .iter()
            .any(|known| (known.0, known.1) == (*form, *mapped))
        {
            forms.push((*form, *mapped, 0, 0));
        }
    }
    for planned in plan.all() {
        for known in &mut forms {
            if (known.0, known.1) == (planned.form, planned.mapped) {
                known.2 += 1;
                known.3 += planned.bytes();
            }
        }
    }
    let forms = forms.into_iter().map(|(form, mapped, tensors, bytes)| {
        let (kind, scale, group) = match form {
            Form::Ternary(layout) => (layout.name(), "tensor", None),
            Form::Grouped(codes, group) => (codes_name(codes), "group", Some(group)),
            Form::Dense(ty) => (ty.name(), "none", None),
        };
        json!({
            "form": kind, "scale": scale, "group": group, "mapped": mapped,
            "tensors": tensors, "bytes": bytes,
        })
    });
    forms.collect()
}

fn of_use(use_: &Use) -> Json {
    let memory = &use_.memory;
    let baking = match &use_.baking {
        Baking::Fits(bytes) => json!({"fits": true, "bytes": bytes}),
        Baking::Packed(bytes) => json!({"fits": true, "bytes": bytes, "packed": "trits8"}),
        Baking::TooLarge(bytes, forms) => {
            let forms = forms.iter();
            let forms = forms.map(|(options, bytes)| json!({"options": options, "bytes": bytes}));
            json!({"fits": false, "bytes": bytes, "with": forms.collect::<Vec<_>>()})
        }
        Baking::Never(reason) => json!({"fits": false, "reason": reason}),
    };
    json!({
        "memory": {
            "positions": use_.positions,
            "kv_type": use_.kv_type.name(),
            "mapped_bytes": memory.mapped_bytes,
            "owned_bytes": memory.owned_bytes,
            "kv_bytes": memory.kv_bytes,
            "buffer_bytes": memory.buffer_bytes,
            "peak_bytes": memory.peak_bytes(),
        },
        "bakes": baking,
        "isa": use_.isa.name(),
        "threads": use_.threads,
        "token_bytes": use_.token_bytes,
        "read_gb_per_s": use_.read_gb_per_s,
        "tokens_per_s_at_most": tokens_per_s(use_),
    })
}
