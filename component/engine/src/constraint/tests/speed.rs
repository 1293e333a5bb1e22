//! The cost of a mask for a vocabulary of 150,000 tokens; `--nocapture` shows it.

use std::time::{Duration, Instant};

use super::*;
use crate::tokenizer::GgufTokenizer;

const TOKENS: usize = 150_000;

/// Words of syllables, half of them behind a space, numbers, blanks and marks: lengths and shared
/// beginnings as in a trained vocabulary.
fn large() -> Tokenizer {
    let printable: Vec<char> = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').collect();
    let others = (0x100..0x144).filter_map(char::from_u32);
    let mut tokens: Vec<String> = printable
        .into_iter()
        .chain(others)
        .map(String::from)
        .collect();
    assert_eq!(tokens.len(), 256);
    for marks in [
        "{\"", "\":", "\",", "\"}", "\"]", "},", "],", "[{", "}]", "ĊĊ", "ĠĠ", "ĠĠĠĠ",
    ] {
        tokens.push(marks.into());
    }
    tokens.extend((0..1000).map(|n| n.to_string()).filter(|n| n.len() > 1));
    let syllables: Vec<String> = [
        "b", "d", "f", "g", "k", "l", "m", "n", "r", "s", "t", "tr", "st", "ch", "pl",
    ]
    .iter()
    .flat_map(|begin| {
        ["a", "e", "i", "o", "u", "er", "in", "on"].map(|end| format!("{begin}{end}"))
    })
    .collect();
    let mut state = 1u64;
    let mut seen: std::collections::HashSet<String> = tokens.iter().cloned().collect();
    while tokens.len() < TOKENS - 1 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let mut word = String::from(if state >> 60 & 1 == 0 { "Ġ" } else { "" });
        for part in 0..1 + (state >> 40) as usize % 4 {
            let place = (state >> (10 * part)) as usize % syllables.len();
            word += &syllables[place];
        }
        if seen.insert(word.clone()) {
            tokens.push(word);
        }
    }
    tokens.push("<|end|>".into());
    let mut token_types = vec![1; TOKENS];
    token_types[TOKENS - 1] = 3;
    Tokenizer::from_gguf(GgufTokenizer {
        model: "gpt2".into(),
        pre: Some("qwen2".into()),
        tokens,
        token_types,
        ..GgufTokenizer::default()
    })
    .unwrap()
}

const SCHEMA: &str = r##"{"type": "object", "properties": {
    "name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}},
    "kind": {"enum": ["person", "company", "place"]},
    "children": {"type": "array", "items": {"$ref": "#"}, "maxItems": 3}},
    "required": ["name", "age", "tags", "kind", "children"], "additionalProperties": false}"##;

/// The bound is far above what it takes, so that a busy machine passes and a mask that walks all of
/// the vocabulary a byte at a time with a slow grammar does not.
#[test]
fn a_mask_of_a_large_vocabulary_is_quick() {
    let tokenizer = large();
    let constraints = Constraints::default();
    let start = Instant::now();
    let grammar = |n: usize| Grammar::JsonSchema {
        schema: SCHEMA.replace("150", &(150 + n).to_string()),
        strict: true,
    };
    constraints.matcher(&tokenizer, &grammar(0)).unwrap();
    let first = start.elapsed();
    let start = Instant::now();
    constraints.matcher(&tokenizer, &grammar(1)).unwrap();
    let further = start.elapsed();
    let start = Instant::now();
    constraints.matcher(&tokenizer, &grammar(1)).unwrap();
    let kept = start.elapsed();
    println!("first grammar {first:?}, further one {further:?}, known one {kept:?}");
    let end = end_of(&tokenizer);
    for (name, grammar) in [
        ("schema", grammar(1)),
        ("object", Grammar::JsonObject),
        ("regex", Grammar::Regex(r"(\w+ ){3,8}\d+".into())),
        (
            "choice",
            Grammar::Choice((0..100).map(|n| format!("choice {n}")).collect()),
        ),
    ] {
        let (mut masks, mut takes) = (Vec::new(), Vec::new());
        for seed in 0..20 {
            let mut guard = guard(&constraints, &tokenizer, &grammar);
            let mut random = Random::new(seed);
            for generated in 0..100 {
                let mut logits = random.logits(&tokenizer, generated);
                let start = Instant::now();
                let mask = guard.mask(&[end], &[]).unwrap().unwrap();
                mask.apply(&mut logits);
                masks.push(start.elapsed());
                let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
                let token = u32::try_from(best.unwrap()).unwrap();
                if token == end {
                    break;
                }
                let start = Instant::now();
                let ended = guard.take(&tokenizer, token).unwrap();
                takes.push(start.elapsed());
                if ended {
                    break;
                }
            }
        }
        let (mask, worst) = summary(&mut masks);
        let (take, _) = summary(&mut takes);
        println!(
            "{name}: a mask {mask:?}, the slowest {worst:?} of {}, a token {take:?}",
            masks.len()
        );
        assert!(mask < Duration::from_millis(20), "{name}: {mask:?}");
    }
}

/// The median and the largest.
fn summary(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}
