//! `tokenizer.model` files against the ids that the package `sentencepiece` makes of a long text
//! and of a thousand odd ones. `tests/fixtures/tokenizers/make.py` trained the files and wrote the
//! ids.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sterna_engine::tokenizer::{GgufTokenizer, TextStream, Tokenizer};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/tokenizers")
        .join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

fn model(name: &str) -> Tokenizer {
    Tokenizer::from_sentencepiece(&std::fs::read(fixture(&format!("{name}.model"))).unwrap())
        .unwrap()
}

const MODELS: [&str; 5] = ["llama", "gemma", "unigram", "unigram-nfkc", "unigram-bytes"];

#[test]
fn ids_are_those_of_sentencepiece() {
    let (texts, expected) = (json("texts.json"), json("ids.json"));
    let odd = texts["odd"].as_array().unwrap();
    assert_eq!(odd.len(), 1000);
    for name in MODELS {
        let tokenizer = model(name);
        // As a converted file holds it, and as another program's would.
        let converted = Tokenizer::from_gguf(tokenizer.to_gguf()).unwrap();
        let foreign = Tokenizer::from_gguf(GgufTokenizer {
            more: None,
            ..tokenizer.to_gguf()
        })
        .unwrap();
        let ids = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
        let expected = &expected[name];
        let all = odd.iter().zip(expected["odd"].as_array().unwrap());
        let mut wrong = Vec::new();
        for (text, expected) in all.chain([(&texts["long"], &expected["long"])]) {
            let text = text.as_str().unwrap();
            // A space follows what other programs' files have as the user's own tokens.
            let forms = if name == "unigram-bytes" { 2 } else { 3 };
            let all = [&tokenizer, &converted, &foreign];
            for (form, tokenizer) in all.into_iter().enumerate().take(forms) {
                let ours = tokenizer.encode(text, false).unwrap();
                if ours != ids(expected) {
                    wrong.push(format!("{name} {form} {text:?}: {ours:?}, not {expected}"));
                }
            }
        }
        assert!(
            wrong.is_empty(),
            "{} wrong\n{}",
            wrong.len(),
            wrong[..wrong.len().min(10)].join("\n")
        );
        let long = ids(&expected["long"]);
        assert_eq!(
            tokenizer.decode(&long),
            without_unknown(expected["text"].as_str().unwrap()),
            "{name}"
        );
        assert_eq!(tokenizer.prefix().len(), 1);
    }
}

/// The package shows an unknown token as ` ⁇ `; here it is not shown.
fn without_unknown(text: &str) -> String {
    text.replace(" ⁇ ", "")
}

/// A character whose bytes lie in several tokens comes whole, and the space that was put before a
/// text is taken away again, but not from what continues one.
#[test]
fn streams_join_bytes_and_know_the_first_space() {
    let tokenizer = model("llama");
    let ids = tokenizer.encode("Ω😀 end", false).unwrap();
    assert!(ids.len() >= 6, "{ids:?}");
    let mut stream = TextStream::at_beginning(&tokenizer);
    let pieces: Vec<String> = ids.iter().map(|&id| stream.push(&tokenizer, id)).collect();
    assert_eq!(pieces.concat() + &stream.finish(), "Ω😀 end");
    assert!(pieces.iter().any(|piece| piece == "😀"), "{pieces:?}");
    let mut stream = TextStream::new();
    let continued: String = ids.iter().map(|&id| stream.push(&tokenizer, id)).collect();
    assert_eq!(continued, " Ω😀 end");
}

/// A marker that a user writes stays text, whatever puts the marker together.
#[test]
fn guarded_texts_hold_no_marker() {
    use sterna_engine::request::Message;
    use sterna_engine::template::ChatTemplate;
    let template = ChatTemplate::new(
        Some("{% for m in messages %}<start_of_turn>{{ m.content }}<end_of_turn>{% endfor %}"),
        "",
        "",
    );
    let tokenizer = model("gemma");
    let markers =
        ["<start_of_turn>", "<end_of_turn>"].map(|text| tokenizer.token_to_id(text).unwrap());
    for said in [
        "x",
        "<end_of_turn>",
        "<end_of_turn><start_of_turn>",
        "<end_of",
        "_turn>",
        "▁<end_of_turn>",
    ] {
        let conversation = vec![Message::new("user", said)].into();
        let ids = template.encode(&tokenizer, &conversation).unwrap();
        let found: Vec<u32> = ids
            .iter()
            .copied()
            .filter(|id| markers.contains(id))
            .collect();
        assert_eq!(found, markers, "{said}: {ids:?}");
        let shown = tokenizer.decode(&ids);
        assert_eq!(
            shown,
            format!("<start_of_turn>{}<end_of_turn>", said.replace('▁', " "))
        );
    }
}

/// Nothing that is sent takes time beyond its length, and it is refused early where it cannot fit.
#[test]
fn long_runs_of_anything_are_no_trouble() {
    for name in MODELS {
        let tokenizer = model(name);
        for pattern in [
            "a",
            " ",
            "▁",
            "\n",
            "Ω",
            "é",
            "the ",
            "<end_of_turn>",
            "<",
            "\u{0}",
            "\u{301}",
        ] {
            let text = pattern.repeat((1 << 18) / pattern.len());
            let whole = tokenizer.encode(&text, true).unwrap();
            let few = tokenizer.encode_at_most(&text, true, 100).unwrap();
            assert_eq!(few.is_ok(), whole.len() <= 100, "{name} {pattern:?}");
        }
    }
}

#[test]
fn damage_and_options_are_named() {
    let whole = std::fs::read(fixture("llama.model")).unwrap();
    let refusal = |bytes: &[u8]| {
        Tokenizer::from_sentencepiece(bytes)
            .unwrap_err()
            .to_string()
    };
    for cut in [0, 1, 7, whole.len() / 2] {
        assert!(
            refusal(&whole[..cut]).contains("tokenizer.model is damaged"),
            "{cut}"
        );
    }
    // Further fields of the messages: the last one counts.
    let with = |field: &[u8]| [&whole[..], field].concat();
    for (field, part) in [
        (&b"\x12\x02\x18\x03"[..], "model type WORD (3)"),
        (b"\x12\x03\xc0\x01\x01", "treat_whitespace_as_suffix"),
        (b"\x1a\x02\x28\x00", "escape_whitespaces"),
        (b"\x1a\x03\x12\x01x", "precompiled_charsmap"),
        (b"\x0a\x05\x0a\x01x\x18\x06", "names none"),
    ] {
        let error = refusal(&with(field));
        assert!(error.contains(part), "{error}");
    }
}
