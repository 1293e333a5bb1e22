//! The tokenizer against Hugging Face's `tokenizers`, on texts chosen to be awkward and on random
//! ones.
//!
//! Every tokenizer here is also converted to GGUF's arrays and back, and must encode the same.
//! Published tokenizers (GPT-2's, GPT-NeoX's, Llama 3's, Qwen 3's) are not part of the repository:
//! where the directory `STERNA_TOKENIZERS` names (default `../shared/data/tokenizers`) lacks one,
//! the test says so.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};
use sterna_engine::tokenizer::Tokenizer;

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const TEXTS: &[&str] = &[
    "",
    "Hello, world!",
    "Once upon a time, there was a little girl named Lily. She said, \"I'm happy!\"\n\nThe end.",
    "I'M you'LL we'Ve they'rE it'S don'T I'd 'tis 'S 'ſ ''s can''t 'l 'r 'v ' 're",
    "0 12 123 1234 12345678901 3.14 1,000 ½ ² Ⅷ ٣٤٥ １２３４ a1b22c333",
    "  leading   and  trailing   ",
    "\t tabs\t\tand\nnew\r\nlines\r\r\n\n \n  \n\t x\u{a0}y\u{3000}z\u{2028}w\u{85}v\u{b}u\u{1680}t",
    " \n",
    "\n ",
    " \u{3000}a",
    "a\n",
    "a \n b",
    "\u{a0}\u{a0}5",
    "  5",
    "  !",
    " \t!",
    "!\n\n!",
    "!\r\n x",
    "\u{2003}!",
    "fn main() { println!(\"{}\", x[0] += 1); } // ->=<!== ~~~ ***",
    "naïve café Ünïcödé ßẞ ŉ ǅ ʰ ª º İı K Å",
    "e\u{301}a\u{308} \u{301}x \u{301} 1\u{20e3} क्षि नमस्ते สวัสดี ครับ שלום مرحبا",
    "漢字かなカナ한국어 中文。，！",
    "😀😃 👨‍👩‍👧‍👦 🇺🇳 ✨️ ❤️ Ⓐ ①",
    "\u{0}\u{1}\u{7f}\u{ad}\u{200b}\u{200d}\u{feff}\u{fdd0}\u{fffd}\u{ffff}\u{e000}\u{10ffff}",
    "<|begin_of_text|>x<|end_of_text|><|pad|><|endoftext|>",
    "<s>a</s> <pad><s",
    "<|endoftext|",
    "<unk><mask>",
    "supercalifragilisticexpialidocious antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "                        \n                                 x",
    "--------------------------------------------------------------",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn demo() -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join("demo-tokenizer.json")).unwrap()).unwrap()
}

/// One tokenizer in three forms: ours, ours by way of GGUF, Hugging Face's.
struct Trio {
    ours: Tokenizer,
    from_gguf: Tokenizer,
    theirs: tokenizers::Tokenizer,
}

impl Trio {
    fn new(json: &[u8]) -> Self {
        let ours = Tokenizer::from_json(json).unwrap();
        let from_gguf = Tokenizer::from_gguf(ours.to_gguf()).unwrap();
        Trio {
            ours,
            from_gguf,
            theirs: tokenizers::Tokenizer::from_bytes(json).unwrap(),
        }
    }

    fn check(&mut self, text: &str) {
        for special in [true, false] {
            self.theirs.set_encode_special_tokens(!special);
            let expected = self
                .theirs
                .encode_fast(text, false)
                .unwrap()
                .get_ids()
                .to_vec();
            if !special {
                // A character that no token has is the only one that may come of a text.
                let unknown = self.theirs.token_to_id("<unk>");
                let marker = |&id: &u32| self.ours.is_special(id) && Some(id) != unknown;
                let ours = self.ours.encode(text, false).unwrap();
                assert!(!ours.iter().any(marker), "{text:?}");
                // Hugging Face's unigram finds the names of special tokens in any text.
                let named =
                    text.contains("<unk>") && expected.iter().any(|&id| Some(id) == unknown);
                if named || expected.iter().any(marker) {
                    continue;
                }
            }
            assert_eq!(
                self.ours.encode(text, special).unwrap(),
                expected,
                "{text:?}, special tokens: {special}"
            );
            assert_eq!(
                self.from_gguf.encode(text, special).unwrap(),
                expected,
                "{text:?} by way of GGUF"
            );
            assert_eq!(
                self.ours.decode(&expected),
                self.theirs.decode(&expected, true).unwrap(),
                "{text:?} back"
            );
            let around = self.theirs.encode_fast(text, true).unwrap();
            for ours in [&self.ours, &self.from_gguf] {
                let ids = [ours.prefix(), &expected, ours.suffix()].concat();
                assert_eq!(ids, around.get_ids(), "{text:?} with what goes around it");
            }
        }
    }

    fn check_all(&mut self) {
        assert_eq!(self.ours.vocab_size(), self.theirs.get_vocab_size(true));
        TEXTS.iter().for_each(|text| self.check(text));
        self.check(&TEXTS.concat());
    }

    /// The long text and the thousand odd ones of the fixtures.
    fn check_odd(&mut self) {
        let texts = std::fs::read(fixtures().join("tokenizers/texts.json")).unwrap();
        let texts: Value = serde_json::from_slice(&texts).unwrap();
        let odd = texts["odd"].as_array().unwrap();
        assert_eq!(odd.len(), 1000);
        for text in odd.iter().chain([&texts["long"]]) {
            self.check(text.as_str().unwrap());
        }
    }
}

fn check_json(value: &Value) {
    Trio::new(&serde_json::to_vec(value).unwrap()).check_all();
}

#[test]
fn the_demo_model() {
    check_json(&demo());
}

#[test]
fn the_tiny_models() {
    for form in [
        "master-bf16-online",
        "packed-autobitlinear",
        "packed-bitlinear-inverse",
    ] {
        Trio::new(&std::fs::read(fixtures().join(form).join("tokenizer.json")).unwrap())
            .check_all();
    }
}

/// The demo model's vocabulary under each of the other pipelines that are supported.
#[test]
fn other_pipelines() {
    let split = |pattern: &str, behavior: &str, invert: bool| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]})
    };
    let mut variant = demo();
    variant["model"]["ignore_merges"] = json!(true);
    check_json(&variant);
    variant["pre_tokenizer"] = split(&LLAMA3.replace("{1,3}", ""), "Isolated", false);
    variant["normalizer"] = json!({"type": "NFC"});
    check_json(&variant);
    variant["pre_tokenizer"] = split(LLAMA3, "Removed", true);
    check_json(&variant);
    variant["pre_tokenizer"] =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
    variant["model"]["ignore_merges"] = json!(false);
    check_json(&variant);
}

/// Expressions that differ from the known ones in their spelling, and steps that are arranged
/// otherwise.
#[test]
fn other_spellings_of_the_same_cut() {
    let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let sequence = |steps: Vec<Value>| json!({"type": "Sequence", "pretokenizers": steps});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    let patterns = [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]|\s+(?!\S)|\s+",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s",
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"(?:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{N}\p{L}]?\p{L}+|\p{N}{1,2}| ?[^\p{N}\s\p{L}]+[\n\r]*|\s*[\n\r]+|\s+(?!\S)",
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s",
        gpt2,
    ];
    let mut variants: Vec<Value> = patterns
        .iter()
        .map(|pattern| sequence(vec![split(pattern), bytes(false)]))
        .collect();
    variants.extend([
        sequence(vec![digits.clone(), bytes(true)]),
        sequence(vec![split(r"\p{N}"), bytes(true)]),
        sequence(vec![digits, split(LLAMA3), bytes(false)]),
        sequence(vec![
            sequence(vec![split(gpt2)]),
            sequence(vec![bytes(false)]),
        ]),
        sequence(vec![bytes(true)]),
    ]);
    for pre_tokenizer in variants {
        let mut variant = demo();
        variant["pre_tokenizer"] = pre_tokenizer;
        check_json(&variant);
    }
}

/// Falcon's steps, and others of their kind.
#[test]
fn steps_before_and_after_the_expression() {
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let punctuation = json!({"type": "Punctuation", "behavior": "Contiguous"});
    let digits = |alone: bool| json!({"type": "Digits", "individual_digits": alone});
    let triples = json!({"type": "Split", "pattern": {"Regex": "[0-9][0-9][0-9]"}, "behavior": "Isolated", "invert": false});
    for steps in [
        vec![&punctuation, &bytes, &digits(false), &triples],
        vec![&punctuation, &bytes, &digits(true)],
        vec![&bytes, &digits(false)],
        vec![&bytes, &triples],
        vec![&punctuation, &bytes],
    ] {
        let mut variant = demo();
        variant["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": steps});
        let mut trio = Trio::new(&serde_json::to_vec(&variant).unwrap());
        trio.check_all();
        trio.check_odd();
    }
}

fn pieces(name: &str) -> Value {
    let path = fixtures().join(format!("tokenizers/{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Vocabularies of SentencePiece's kind, as transformers writes them.
#[test]
fn pieces_of_text() {
    for name in ["llama", "gemma", "unigram"] {
        let mut trio = Trio::new(&serde_json::to_vec(&pieces(name)).unwrap());
        trio.check_all();
        trio.check_odd();
    }
}

/// The same pieces under other normal forms, cuts and rules for unknown characters.
#[test]
fn other_pipelines_of_pieces() {
    let metaspace = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split});
    let mut variants = Vec::new();
    for scheme in ["always", "first", "never"] {
        for split in [true, false] {
            let mut llama = pieces("llama");
            llama["normalizer"] = Value::Null;
            llama["pre_tokenizer"] = metaspace(scheme, split);
            llama["decoder"] = json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, metaspace(scheme, split)]});
            variants.push(llama);
            let mut unigram = pieces("unigram");
            unigram["normalizer"] = json!({"type": "NFKC"});
            unigram["pre_tokenizer"] = metaspace(scheme, split);
            variants.push(unigram);
        }
    }
    for (byte_fallback, fuse) in [(false, true), (false, false)] {
        let mut gemma = pieces("gemma");
        gemma["model"]["byte_fallback"] = json!(byte_fallback);
        gemma["model"]["fuse_unk"] = json!(fuse);
        variants.push(gemma);
    }
    let mut words = pieces("unigram");
    words["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace("always", true)]});
    variants.push(words);
    let mut normalized = pieces("llama");
    for token in normalized["added_tokens"].as_array_mut().unwrap() {
        token["normalized"] = json!(true);
    }
    variants.push(normalized);
    for (n, variant) in variants.iter().enumerate() {
        eprintln!("variant {n}");
        let mut trio = Trio::new(&serde_json::to_vec(variant).unwrap());
        trio.check_all();
        trio.check_odd();
    }
}

/// Compares the tokens that post-processors put around a text with the library's own.
#[test]
fn around_a_text() {
    let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let template = |single: Vec<Value>| {
        json!({"type": "TemplateProcessing", "single": single, "pair": [text, json!({"Sequence": {"id": "B", "type_id": 1}})],
            "special_tokens": {"b": {"id": "b", "ids": [0], "tokens": ["<|begin_of_text|>"]},
                "p": {"id": "p", "ids": [2, 1], "tokens": ["<|pad|>", "<|end_of_text|>"]}}})
    };
    let pair = |kind: &str| {
        let mut step = json!({"type": kind, "sep": ["<|end_of_text|>", 1], "cls": ["<|pad|>", 2]});
        if kind == "RobertaProcessing" {
            step["trim_offsets"] = json!(true);
            step["add_prefix_space"] = json!(false);
        }
        step
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    let shapes = [
        Value::Null,
        bytes.clone(),
        template(vec![text.clone()]),
        template(vec![special("b"), text.clone()]),
        template(vec![special("p"), special("b"), text.clone(), special("p")]),
        template(vec![text.clone(), special("b")]),
        pair("BertProcessing"),
        pair("RobertaProcessing"),
        json!({"type": "Sequence", "processors": [bytes, template(vec![special("p"), text.clone()])]}),
        json!({"type": "Sequence", "processors": [pair("RobertaProcessing")]}),
    ];
    for post_processor in shapes {
        let mut variant = demo();
        variant["post_processor"] = post_processor;
        let json = serde_json::to_vec(&variant).unwrap();
        let ours = Tokenizer::from_json(&json).unwrap();
        let from_gguf = Tokenizer::from_gguf(ours.to_gguf()).unwrap();
        let theirs = tokenizers::Tokenizer::from_bytes(&json).unwrap();
        for text in TEXTS {
            let expected = theirs.encode_fast(*text, true).unwrap();
            for ours in [&ours, &from_gguf] {
                let ids = [
                    ours.prefix(),
                    &ours.encode(text, true).unwrap(),
                    ours.suffix(),
                ]
                .concat();
                assert_eq!(
                    ids,
                    expected.get_ids(),
                    "{text:?}: {}",
                    variant["post_processor"]
                );
            }
        }
    }
}

#[test]
fn options_of_added_tokens() {
    let mut variant = demo();
    variant["normalizer"] = json!({"type": "NFC"});
    for (id, (content, options)) in (4096..).zip([
        ("<l>", json!({"lstrip": true})),
        ("<r>", json!({"rstrip": true, "special": true})),
        (
            "<both>",
            json!({"rstrip": true, "lstrip": true, "normalized": true}),
        ),
        ("word", json!({"single_word": true})),
        ("café", json!({"normalized": true})),
        ("    ", json!({})),
    ]) {
        let mut token = json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false});
        token
            .as_object_mut()
            .unwrap()
            .extend(options.as_object().unwrap().clone());
        variant["added_tokens"].as_array_mut().unwrap().push(token);
    }
    let json = serde_json::to_vec(&variant).unwrap();
    let ours = Tokenizer::from_json(&json).unwrap();
    let from_gguf = Tokenizer::from_gguf(ours.to_gguf()).unwrap();
    let mut theirs = tokenizers::Tokenizer::from_bytes(&json).unwrap();
    for text in [
        "a <l> b",
        "a  <l><r>  b",
        " \n<both> \t x",
        "word words a word, sword (word) word_ _word",
        "café cafe\u{301} \u{e9}",
        "a     b         c",
        "<l><l> <r> <r>",
        "<both>",
        "  <both>  ",
    ] {
        for special in [true, false] {
            theirs.set_encode_special_tokens(!special);
            let expected = theirs.encode_fast(text, false).unwrap().get_ids().to_vec();
            for ours in [&ours, &from_gguf] {
                assert_eq!(
                    ours.encode(text, special).unwrap(),
                    expected,
                    "{text:?}, special tokens: {special}"
                );
            }
        }
    }
}

#[test]
fn published_tokenizers() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/tokenizers");
    let directory = std::env::var_os("STERNA_TOKENIZERS").map_or(default, PathBuf::from);
    for name in ["gpt2", "neox", "llama3", "qwen3", "llama2", "gemma3"] {
        let path = directory.join(name).join("tokenizer.json");
        match std::fs::read(&path) {
            Ok(json) => {
                let mut trio = Trio::new(&json);
                trio.check_all();
                trio.check_odd();
            }
            Err(error) => eprintln!(
                "left out: the {name} tokenizer; cannot read {}: {error}",
                path.display()
            ),
        }
    }
}

#[test]
fn known_ids() {
    let tokenizer =
        Tokenizer::from_json(&std::fs::read(fixtures().join("demo-tokenizer.json")).unwrap())
            .unwrap();
    assert_eq!(tokenizer.prefix(), [0]);
    // Prompts and ids of the demo model's reference run, its beginning-of-sequence token left out.
    let cases: &[(&str, &[u32])] = &[
        (
            "Once upon a time, there was a little girl named Lily.",
            &[
                442, 458, 261, 411, 14, 398, 286, 261, 408, 476, 419, 446, 16,
            ],
        ),
        ("The dog and the cat", &[381, 546, 270, 264, 519]),
        ("Tom wanted to", &[928, 447, 268]),
        (
            "One day, a small bird found a shiny stone.",
            &[388, 337, 14, 261, 563, 483, 531, 261, 1100, 1909, 16],
        ),
    ];
    for (text, ids) in cases {
        assert_eq!(tokenizer.encode(text, true).unwrap(), *ids);
        assert_eq!(tokenizer.decode(ids), *text);
    }
    assert_eq!(tokenizer.encode("<|end_of_text|>", true).unwrap(), [1]);
    assert_eq!(tokenizer.token_to_id("<|end_of_text|>"), Some(1));
    assert_eq!(tokenizer.token_bytes(261), Some(&b" a"[..]));
    assert_eq!(tokenizer.token_bytes(4096), None);
    assert_eq!(tokenizer.decode(&[0, 381, 1, 9999]), "The");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_texts(text in "(\\PC|[ \\n\\r\\t'a-zA-Z0-9.!]|'(s|LL|ve)|\\p{L}|\\p{N}|\\p{M}|\\s|<s>|<\\|pad\\|>){0,40}") {
        // Built once for all cases.
        thread_local!(static TRIOS: std::cell::RefCell<Vec<Trio>> = std::cell::RefCell::new(vec![
            Trio::new(&std::fs::read(fixtures().join("demo-tokenizer.json")).unwrap()),
            Trio::new(&std::fs::read(fixtures().join("packed-autobitlinear/tokenizer.json")).unwrap()),
        ]));
        TRIOS.with_borrow_mut(|trios| trios.iter_mut().for_each(|trio| trio.check(&text)));
    }
}

/// SentencePiece's table of replacements in a `tokenizer.json` (T5, XLM-R), alone and with what
/// transformers puts beside it: SentencePiece's own large table, and a small one.
#[test]
fn tables_of_replacements() {
    let table = |name: &str| {
        let model = std::fs::read(fixtures().join(format!("tokenizers/{name}.model"))).unwrap();
        let table = Tokenizer::from_sentencepiece(&model)
            .unwrap()
            .to_gguf()
            .charsmap;
        assert!(table.len() > 1000);
        json!({"type": "Precompiled", "precompiled_charsmap": BASE64_STANDARD.encode(table)})
    };
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let words =
        json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]});
    let strip = |left: bool, right: bool| json!({"type": "Strip", "strip_left": left, "strip_right": right});
    let runs = |by: &str| json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": by});
    for name in ["unigram", "unigram-nfkc"] {
        let table = table(name);
        let several = |after: &[&Value]| {
            let steps: Vec<_> = [&table].into_iter().chain(after.iter().copied()).collect();
            json!({"type": "Sequence", "normalizers": steps})
        };
        for (normalizer, cuts) in [
            (table.clone(), &metaspace),
            (table.clone(), &words),
            (several(&[&strip(false, true), &runs("▁")]), &metaspace),
            (several(&[&strip(true, true), &runs(" ")]), &metaspace),
            (several(&[&runs("▁")]), &words),
        ] {
            let mut variant = pieces("unigram");
            variant["normalizer"] = normalizer;
            variant["pre_tokenizer"] = cuts.clone();
            let mut trio = Trio::new(&serde_json::to_vec(&variant).unwrap());
            trio.check_all();
            trio.check_odd();
        }
    }
}
