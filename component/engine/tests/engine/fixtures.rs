//! The reference model of `tests/fixtures` in every form, against what transformers computed.
//!
//! `expected.json` is transformers in f32 on packed-autobitlinear. `reference/` has each form's
//! logits and the layers' outputs. The forms differ among themselves: `weight_scale` was rounded to
//! bf16 once as s and once as 1/s. An int8 rounding of a near-tie may flip where two
//! implementations differ in the last bit of a float, and then spreads; so layers are compared from
//! the reference's own input, and flips are counted.

use crate::support::{
    argmax, batch, complete, engine, forward, greedy, ids, json, load, reference,
};
use sterna_engine::request::{Prompt, Request};
use sterna_kernels::{Isa, KvType};

/// Each form with its own reference logits.
const FORMS: [(&str, &str); 4] = [
    ("packed-autobitlinear", "packed_autobitlinear__float32"),
    (
        "packed-bitlinear-inverse",
        "packed_bitlinear_inverse__float32",
    ),
    ("master-bf16-online", "master_bf16_online__float32"),
    ("tiny-I2_S.gguf", "packed_autobitlinear__float32"),
];

#[test]
fn every_position_predicts_what_the_reference_predicts() {
    let expected = json("expected.json");
    let prompt = ids(&expected["ids"]);
    for (form, array) in FORMS {
        let model = load(form);
        let vocab_size = model.config.vocab_size;
        let (mut forward, mut kv) = forward(&model, Isa::detect(), 1, prompt.len(), 1);
        let logits = forward.forward(&batch(0, &prompt), &mut kv).unwrap();
        let reference = reference(array);
        let error = relative_error(logits, &reference);
        println!("{form}: logits differ by {error:.5} of their size");
        // Rounding flips spread over four layers; transformers and the integer reference differ by
        // 0.017.
        assert!(error < 0.04, "{form}: {error}");
        let best = |logits: &[f32]| {
            logits
                .chunks_exact(vocab_size)
                .map(argmax)
                .collect::<Vec<u32>>()
        };
        assert_eq!(best(logits), best(&reference), "{form}");
        if array == "packed_autobitlinear__float32" {
            assert_eq!(best(logits), ids(&expected["argmax"]), "{form}");
        }
    }
}

/// `expected.json` is transformers' continuation of packed-autobitlinear. `greedy.json` has each
/// form's own, by `greedy_reference.py`, which equals transformers where that is known: the forms'
/// scales are rounded differently, and in transformers, too, they predict other tokens at some of
/// the prompt's positions.
#[test]
fn greedy_continuations_equal_the_reference() {
    let expected = json("expected.json");
    let own = json("greedy.json");
    for (form, array) in FORMS {
        let model = load(form);
        let request = Request {
            max_tokens: Some(16),
            sampling: greedy(),
            ..Request::new(Prompt::Tokens(ids(&expected["ids"])))
        };
        let completion =
            complete(&mut engine(&model, |o| o.kv_type = KvType::F32), request).unwrap();
        let reference = match array {
            "packed_autobitlinear__float32" => &expected["greedy16"],
            _ => &own[form]["greedy"],
        };
        assert_eq!(completion.tokens, ids(reference), "{form}");
    }
}

/// The root mean square of the difference, as a share of the reference's.
fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let squares =
        |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let difference = squares(&mut actual.iter().zip(expected).map(|(a, e)| f64::from(a - e)));
    (difference / squares(&mut expected.iter().map(|e| f64::from(*e)))).sqrt()
}

/// Compare each token's row of two `[n_tokens, width]`. Returns how many differ by more than 1e-4
/// of the row's largest value; none may differ by more than a flip explains.
fn flipped_rows(actual: &[f32], expected: &[f32], width: usize) -> usize {
    let rows = actual.chunks_exact(width).zip(expected.chunks_exact(width));
    let errors = rows.map(|(actual, expected)| {
        let largest = expected
            .iter()
            .fold(0f32, |largest, value| largest.max(value.abs()));
        actual
            .iter()
            .zip(expected)
            .fold(0f32, |worst, (a, e)| worst.max((a - e).abs()))
            / largest
    });
    errors
        .filter(|error| {
            assert!(
                *error < 0.02,
                "{error} of the largest value is no rounding flip"
            );
            *error > 1e-4
        })
        .count()
}

/// `layer` is an integer implementation in numpy, `hf_layer` transformers in f32, which kept three
/// layers.
#[test]
fn each_layer_equals_the_reference_from_its_own_input() {
    let prompt = ids(&json("expected.json")["ids"]);
    for form in ["packed-autobitlinear", "tiny-I2_S.gguf"] {
        for (prefix, n_layers) in [("layer", 4), ("hf_layer", 3)] {
            let model = load(form);
            let width = model.config.hidden_size;
            let (mut forward, mut kv) = forward(&model, Isa::detect(), 1, prompt.len(), 1);
            let mut input = vec![0.0; prompt.len() * width];
            for (token, row) in prompt.iter().zip(input.chunks_exact_mut(width)) {
                model.weights.embedding.view().row(*token as usize, row);
            }
            let mut flips = 0;
            for layer in 0..n_layers {
                let mut hidden = input.clone();
                forward
                    .layer(layer, &mut hidden, &batch(0, &prompt), &mut kv)
                    .unwrap();
                let output = reference(&format!("{prefix}{layer}_out"));
                let flipped = flipped_rows(&hidden, &output, width);
                println!(
                    "{form}, {prefix}{layer}: {flipped} of {} rows with a rounding flip",
                    prompt.len()
                );
                flips += flipped;
                input = output;
            }
            assert!(
                flips <= 4,
                "{form}: {flips} of {} rows differ from {prefix}",
                n_layers * prompt.len()
            );
        }
    }
}
