//! The size of a model as one component: the limit, and the forms in which a model that is above it
//! would fit.

use clap::ValueEnum;
use sterna_engine::files::plan::{Form, Plan, Planned};
use sterna_kernels::{GroupCodes, TernaryLayout};

use crate::head_type::HeadType;

/// A core module of a component, and a component in a component, may be this large: the limit of
/// every runtime and tool on wasmparser.
pub const MODULE_BYTES: u64 = 1 << 30;
/// More than the padding between a model's tensors.
const PADDING_BYTES: u64 = 1 << 16;
/// The size of a baked engine without the model's file: code, the tokenizer's tables.
pub const ENGINE_BYTES: u64 = 32 << 20;

/// Why a model that needs so many bytes is refused, and the forms in which it would fit; `plan` is
/// its converted file's, where that could be read.
#[must_use]
pub fn too_large(plan: Option<&Plan>, needed: u64) -> String {
    let remedy = plan.map_or_else(String::new, |plan| remedy(plan, needed));
    format!(
        "the model takes {} as a component, and a WebAssembly module holds {} at most: {remedy}or serve its \
         file with `sterna serve --model`, which has no such limit",
        size(needed),
        size(MODULE_BYTES)
    )
}

/// What to do about a model that needs so many bytes as it is.
fn remedy(plan: &Plan, needed: u64) -> String {
    let forms = smaller_forms(plan, needed);
    let fit = forms.iter().filter(|(_, bytes)| *bytes <= MODULE_BYTES);
    let fit: Vec<String> = fit
        .map(|(options, bytes)| format!("{options} ({})", size(*bytes)))
        .collect();
    if !fit.is_empty() {
        return format!("choose {}, ", fit.join(" or "));
    }
    let smallest = forms.iter().min_by_key(|(_, bytes)| bytes);
    smallest.map_or_else(
        || "it has no smaller form; choose a smaller model, ".into(),
        |(options, bytes)| {
            format!(
                "its smallest form, {options}, takes {}; choose a smaller model, ",
                size(*bytes)
            )
        },
    )
}

/// Options that make it smaller, with the bytes that it needs then. A layout is only named where
/// the head alone is not enough.
#[must_use]
pub fn smaller_forms(plan: &Plan, needed: u64) -> Vec<(String, u64)> {
    let layout = if is_grouped(plan) { "trits8" } else { "trits5" };
    let (matrices_saved, tables_saved) = saved_by_layouts(plan);
    let mut forms = Vec::new();
    let smallest = needed - matrices_saved - tables_saved;
    if smallest < needed {
        forms.push((format!("--layout {layout}"), smallest));
    }
    let present: u64 = plan.tables.iter().map(Planned::bytes).sum();
    for head in [HeadType::F16, HeadType::Q8_0, HeadType::Q6K] {
        let Some(ty) = head.kernel() else {
            continue;
        };
        let fits = |table: &Planned| ty.row_bytes(table.shape[1]).is_some();
        let bytes: u64 = (plan.tables.iter())
            .map(|table| Form::Dense(ty).bytes(table.shape))
            .sum();
        let Some(name) = head.to_possible_value() else {
            continue;
        };
        if bytes >= present || !plan.tables.iter().all(fits) {
            continue;
        }
        let (name, needed) = (name.get_name(), needed - (present - bytes));
        forms.push(if needed <= MODULE_BYTES || matrices_saved == 0 {
            (format!("--head {name}"), needed)
        } else {
            let both = format!("--head {name} --layout {layout}");
            (both, needed - matrices_saved)
        });
    }
    forms
}

/// Bytes that are to be saved by packing some matrices as trits8, for a converted file that is too
/// large by `excess` bytes; `None` where that cannot save so many.
#[must_use]
pub fn saved_by_packing(plan: &Plan, excess: u64) -> Option<u64> {
    let (matrices, tables) = saved_by_layouts(plan);
    // Padding between tensors may change.
    let to_save = excess + PADDING_BYTES;
    (is_grouped(plan) && matrices + tables >= to_save).then_some(to_save)
}

fn is_grouped(plan: &Plan) -> bool {
    let grouped = |planned: &Planned| matches!(planned.form, Form::Grouped(..));
    plan.matrices.iter().any(grouped)
}

/// Bytes that the densest layout saves of all linears, and of embedding and head.
fn saved_by_layouts(plan: &Plan) -> (u64, u64) {
    let saved = |planned: &[Planned]| planned.iter().map(saved_by_layout).sum();
    (saved(&plan.matrices), saved(&plan.tables))
}

/// Bytes that the densest layout saves; none of binary codes and of numbers.
fn saved_by_layout(planned: &Planned) -> u64 {
    let densest = match planned.form {
        Form::Grouped(GroupCodes::Ternary, group) => Form::Grouped(GroupCodes::Trits8, group),
        Form::Ternary(_) => Form::Ternary(TernaryLayout::Trits5),
        form @ (Form::Grouped(..) | Form::Dense(_)) => form,
    };
    planned.bytes().saturating_sub(densest.bytes(planned.shape))
}

/// Bytes as a person reads them.
#[must_use]
pub fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "for reading")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.1} MB")
}

#[cfg(test)]
mod tests {
    use sterna_engine::config::ModelConfig;
    use sterna_engine::synthetic::{self, Stored};

    use sterna_kernels::DenseType;

    use super::*;

    #[test]
    fn what_is_too_large_is_told_the_heads_that_fit() {
        let model = synthetic::model("tiny", DenseType::F32).unwrap();
        let plan = Plan::of(&model.weights);
        // A table of 512 x 256: f32 takes 524 288 bytes, f16 half of that, q8_0 139 264.
        let over = |bytes| too_large(Some(&plan), MODULE_BYTES + bytes);
        let message = over(262_144);
        assert!(message.contains("1074.0 MB as a component"), "{message}");
        assert!(message.contains("holds 1073.7 MB at most"), "{message}");
        assert!(
            message.contains("choose --head f16 (1073.7 MB) or --head q8_0"),
            "{message}"
        );
        let message = over(300_000);
        assert!(
            message.contains("--head f16 --layout trits5 (") && message.contains("--head q8_0 ("),
            "{message}"
        );
        let tied = synthetic::shape("bonsai-1.7b").map(|config| ModelConfig {
            vocab_size: 512,
            n_layers: 1,
            ..config
        });
        let stored = Stored::Groups(GroupCodes::Ternary);
        let model = synthetic::from_config("t", tied.unwrap(), true, stored, 1).unwrap();
        let [two_bits, trits8] = [2.125, 1.75].map(|bits| {
            // Norms are no matrices.
            (f64::from(u32::try_from(model.parameters()).unwrap()) * bits / 8.0) as u64
        });
        let bonsai = Plan::of(&model.weights);
        let forms = smaller_forms(&bonsai, MODULE_BYTES);
        assert_eq!(forms.len(), 1, "every head is larger than a table of codes");
        let saved = MODULE_BYTES - forms[0].1;
        assert!(saved.abs_diff(two_bits - trits8) < 10_000, "{saved}");
        let fits = remedy(&bonsai, MODULE_BYTES + saved);
        assert_eq!(fits, "choose --layout trits8 (1073.7 MB), ");
        let too_large = remedy(&bonsai, 2 * MODULE_BYTES);
        assert!(
            too_large.contains("smallest form, --layout trits8, takes 21"),
            "{too_large}"
        );
        let message = over(524_288);
        assert!(
            message.contains("its smallest form, --head q6_k --layout trits5, takes 107"),
            "{message}"
        );
        assert!(message.contains("sterna serve --model"), "{message}");
    }

    #[test]
    fn a_head_of_numbers_beside_codes_is_what_to_make_smaller() {
        let config = synthetic::shape("bonsai-1.7b").map(|config| ModelConfig {
            vocab_size: 512,
            n_layers: 1,
            ..config
        });
        let stored = |codes| {
            let mut model = synthetic::from_config(
                "t",
                config.clone().unwrap(),
                true,
                Stored::Groups(codes),
                1,
            )
            .unwrap();
            let table = synthetic::model("tiny", DenseType::F32).unwrap();
            model.weights.embedding = table.weights.embedding.clone();
            Plan::of(&model.weights)
        };
        // A table of 512 x 256 numbers.
        let binary = remedy(&stored(GroupCodes::Binary), MODULE_BYTES + 262_144);
        assert!(
            binary.starts_with("choose --head f16 (1073.7 MB) or --head q8_0"),
            "{binary}"
        );
        assert!(!binary.contains("layout"), "{binary}");
        let none = remedy(&stored(GroupCodes::Binary), MODULE_BYTES + (1 << 20));
        assert!(
            none.contains("smallest form, --head q6_k, takes 107"),
            "{none}"
        );
        let both = remedy(&stored(GroupCodes::Ternary), MODULE_BYTES + (2 << 20));
        assert!(both.contains("--layout trits8 ("), "{both}");
    }
}
