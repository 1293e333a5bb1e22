//! The report for people: a line for each fact, named on its left.

use std::fmt::{self, Display, Formatter};

use sterna_engine::config::{Activation, ModelConfig, Pooling, RopeScaling, SlidingWindow};
use sterna_engine::files::plan::{Form, Plan};
use sterna_engine::files::survey::Survey;
use sterna_engine::inspect::Loadable;

use super::{Baking, Report, TEMPLATE_LINES, Use, tokens_per_s};
use crate::baked_size::size;

/// Prints as lines of text.
pub(super) struct Table<'a>(pub(super) &'a Report<'a>);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Table(report) = self;
        let survey = &report.inspection.survey;
        let path = report.path.display();
        let format = if survey.format.is_empty() {
            "no model's container"
        } else {
            &survey.format
        };
        row(
            f,
            "model",
            format_args!("{path} ({format}, {})", size(survey.n_bytes)),
        )?;
        if let Some(name) = &survey.name {
            row(f, "name", quoted(name))?;
        }
        if let Some(architecture) = &survey.architecture {
            row(f, "architecture", quoted(architecture))?;
        }
        match &report.inspection.loadable {
            Ok(model) => shape(f, &model.config, model.tied)?,
            Err(_) => {
                for (key, value) in &survey.keys {
                    row(f, "", format_args!("{} = {}", quoted(key), quoted(value)))?;
                }
            }
        }
        types(f, survey)?;
        if let Ok(model) = &report.inspection.loadable {
            row(f, "scales", scales(&model.plan).join("; "))?;
        }
        tokenizer(f, survey, report.inspection.loadable.as_ref().ok())?;
        template(f, report)?;
        match (&report.inspection.loadable, &report.use_) {
            (Ok(_), Some(use_)) => uses(f, use_)?,
            (Err(error), _) => {
                row(f, "loads", format_args!("no: {error}"))?;
            }
            (Ok(_), None) => {}
        }
        Ok(())
    }
}

/// Width of the names.
const NAMES: usize = 14;

fn row(f: &mut Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "{name:<NAMES$} {value}")
}

/// A text from a file, on one line and not longer than that.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut shown: String = text.chars().take(LONGEST).map(plain).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// Nothing that a terminal obeys.
fn plain(character: char) -> char {
    if character.is_control() {
        '\u{FFFD}'
    } else {
        character
    }
}

fn shape(f: &mut Formatter<'_>, config: &ModelConfig, tied: bool) -> fmt::Result {
    let ModelConfig {
        vocab_size,
        hidden_size,
        ffn_size,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        ..
    } = config;
    row(
        f,
        "shape",
        format_args!(
            "{n_layers} layers, hidden {hidden_size}, feed-forward {ffn_size}, {n_heads} heads of \
             {head_dim}, {n_kv_heads} of keys and values, vocabulary {vocab_size}"
        ),
    )?;
    let mut parts = vec![match config.activation {
        Activation::Relu2 => "squared ReLU",
        Activation::Silu => "SiLU",
        Activation::GeluTanh => "GELU (tanh)",
    }];
    parts.extend(config.sub_norms.then_some("sub-norms"));
    parts.extend(config.qk_norms.then_some("norms of queries and keys"));
    parts.push(if tied { "tied head" } else { "head of its own" });
    parts.extend(config.block.post_norms.then_some("norms after sub-layers"));
    let input_norms = config.block.input_norm_eps.is_some();
    parts.extend(input_norms.then_some("a norm of each linear's input"));
    row(f, "", parts.join(", "))?;
    if let Some(pooling) = config.embedding.pooling {
        row(
            f,
            "embeds only",
            format_args!(
                "{}, in {hidden_size} numbers of length 1 (L2)",
                pooled(pooling)
            ),
        )?;
    }
    if let Some(window) = &config.block.window {
        row(f, "attention", windows(window))?;
    }
    row(
        f,
        "context",
        format_args!("{} positions", config.context_length),
    )?;
    row(
        f,
        "rope",
        format_args!(
            "theta {}, {}",
            config.rope_theta,
            scaling(&config.rope_scaling)
        ),
    )
}

fn pooled(pooling: Pooling) -> &'static str {
    match pooling {
        Pooling::Last => "the last token's state",
        Pooling::Mean => "the mean of all tokens' states",
        Pooling::First => "the first token's state",
    }
}

fn windows(window: &SlidingWindow) -> String {
    let local = window.layers.iter().filter(|local| **local).count();
    format!(
        "{local} of {} layers see the nearest {} positions (sliding window, rope theta {})",
        window.layers.len(),
        window.size,
        window.rope_theta
    )
}

fn scaling(scaling: &RopeScaling) -> String {
    match scaling {
        RopeScaling::Unscaled => "not scaled".into(),
        RopeScaling::Yarn(yarn) => format!(
            "YaRN: {} times {} positions",
            yarn.factor, yarn.original_context
        ),
        RopeScaling::Llama3(llama3) => format!(
            "llama3: {} times {} positions",
            llama3.factor, llama3.original_context
        ),
    }
}

fn types(f: &mut Formatter<'_>, survey: &Survey) -> fmt::Result {
    for (index, ty) in survey.types.iter().enumerate() {
        row(
            f,
            if index == 0 { "tensors" } else { "" },
            format_args!(
                "{:<28} {:>5}  {:>10}",
                quoted(&ty.ty),
                ty.tensors,
                size(ty.n_bytes)
            ),
        )?;
    }
    Ok(())
}

/// The kinds of scales that its matrices and tables have in memory, each once.
pub(super) fn scales(plan: &Plan) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for (what, some) in [
        ("matrices", &plan.matrices),
        ("embedding and head", &plan.tables),
    ] {
        for planned in some {
            let kind = match planned.form {
                Form::Ternary(_) => format!("{what}: one a tensor"),
                Form::Grouped(_, group) => format!("{what}: one for each {group} weights"),
                Form::Dense(ty) => format!("{what}: of {}", ty.name()),
            };
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    kinds
}

fn tokenizer(f: &mut Formatter<'_>, survey: &Survey, model: Option<&Loadable>) -> fmt::Result {
    let tokenizer = &survey.tokenizer;
    let mut parts = Vec::new();
    parts.extend(tokenizer.kind.as_deref().map(quoted));
    parts.extend(
        tokenizer
            .pre
            .as_deref()
            .map(|pre| format!("pre-tokenizer {}", quoted(pre))),
    );
    parts.extend(tokenizer.tokens.map(|n| format!("{n} tokens")));
    parts.extend(tokenizer.merges.map(|n| format!("{n} merges")));
    if !parts.is_empty() {
        row(f, "tokenizer", parts.join(", "))?;
    }
    let Some(model) = model else { return Ok(()) };
    let shown = |(id, text): &(u32, String)| format!("{} ({id})", quoted(text));
    if let Some(bos) = &model.bos {
        row(f, "begin token", shown(bos))?;
    }
    let ends: Vec<String> = model.ends.iter().map(shown).collect();
    row(
        f,
        "end tokens",
        if ends.is_empty() {
            "none".into()
        } else {
            ends.join(", ")
        },
    )
}

fn template(f: &mut Formatter<'_>, report: &Report<'_>) -> fmt::Result {
    let survey = &report.inspection.survey;
    let model = report.inspection.loadable.as_ref().ok();
    let own = survey.template.as_ref();
    let (whose, text) = match (model, own) {
        (Some(model), _) if report.args.reading.chat_template.is_some() => (
            "that of --chat-template".to_owned(),
            model.template.as_deref(),
        ),
        (Some(model), own) if model.template_is_other => {
            let instead = own.map_or("the file has none", |_| "in place of the file's");
            (format!("Sterna's, {instead}"), model.template.as_deref())
        }
        (_, Some((place, text))) => (format!("the file's ({place})"), Some(text.as_str())),
        (_, None) => ("none".to_owned(), None),
    };
    row(f, "chat template", whose)?;
    if let Some(fault) = model.and_then(|model| model.template_fault.as_deref()) {
        row(f, "", format_args!("cannot be used: {}", quoted(fault)))?;
    }
    let lines = if report.args.template {
        usize::MAX
    } else {
        TEMPLATE_LINES
    };
    let text = text.unwrap_or_default();
    for line in text.lines().take(lines) {
        if report.args.template {
            let line: String = line.chars().map(plain).collect();
            row(f, "", format_args!("| {line}"))?;
        } else {
            row(f, "", format_args!("| {}", quoted(line)))?;
        }
    }
    if text.lines().nth(lines).is_some() {
        row(
            f,
            "",
            format_args!("| … {} lines (--template)", text.lines().count()),
        )?;
    }
    Ok(())
}

fn uses(f: &mut Formatter<'_>, use_: &Use) -> fmt::Result {
    let memory = &use_.memory;
    row(
        f,
        "memory",
        format_args!(
            "weights {} in the mapped file and {} in memory, {} keys and values {} for {} positions, \
             buffers {}: {} at most",
            size(memory.mapped_bytes),
            size(memory.owned_bytes),
            use_.kv_type.name(),
            size(memory.kv_bytes),
            use_.positions,
            size(memory.buffer_bytes),
            size(memory.peak_bytes()),
        ),
    )?;
    match &use_.baking {
        Baking::Packed(bytes) => row(
            f,
            "bakes",
            format_args!("yes, with some of its {} packed as trits8", size(*bytes)),
        )?,
        Baking::Fits(bytes) => row(f, "bakes", format_args!("yes, about {}", size(*bytes)))?,
        Baking::TooLarge(bytes, forms) => {
            let forms: Vec<String> = (forms.iter())
                .map(|(options, bytes)| format!("{options} ({})", size(*bytes)))
                .collect();
            let with = if forms.is_empty() {
                "in no form".into()
            } else {
                format!("with {}", forms.join(" or "))
            };
            row(
                f,
                "bakes",
                format_args!("as it is no ({}); {with}", size(*bytes)),
            )?;
        }
        Baking::Never(reason) => row(f, "bakes", format_args!("no: {reason}"))?,
    }
    row(
        f,
        "kernels",
        format_args!("{}, {} threads", use_.isa.name(), use_.threads),
    )?;
    let limit = match (use_.read_gb_per_s, tokens_per_s(use_)) {
        (Some(read), Some(tokens)) => {
            format!("; at {read:.1} GB/s, which this machine reads, {tokens:.1} tokens/s at most")
        }
        _ => String::new(),
    };
    row(
        f,
        "speed limit",
        format_args!("a token reads {}{limit}", size(use_.token_bytes)),
    )?;
    for warning in &use_.warnings {
        row(f, "warning", warning)?;
    }
    row(f, "loads", "yes")
}
