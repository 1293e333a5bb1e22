//! Directories with SentencePiece's own vocabulary, and chat templates that the files do not have.

use super::*;
use crate::request::Message;
use crate::template::{CHATML, STORY, built_in};

/// The fixture with 500 pieces of SentencePiece's in place of its tokenizer.json.
fn with_pieces() -> Directory {
    let directory = Directory::new()
        .edit("tokenizer.json", |json| *json = Json::Null)
        .set("tokenizer_config.json", json!({"add_bos_token": null}));
    let pieces = fixture("tokenizers").join("unigram.model");
    std::fs::copy(pieces, directory.0.path().join("tokenizer.model")).unwrap();
    directory
}

#[test]
fn a_tokenizer_model_is_read_where_there_is_no_json() {
    let directory = with_pieces();
    let model = directory.load();
    let ids = model.tokenize("Ａ dog  and a cat", true).unwrap();
    assert_eq!(ids[0], 1);
    assert_eq!(model.detokenize(&ids), "A dog and a cat");
    let converted = directory.load_converted();
    assert_eq!(converted.tokenize("Ａ dog  and a cat", true).unwrap(), ids);
    assert_eq!(converted.detokenize(&ids), "A dog and a cat");
    // As its flags say.
    let bare = with_pieces().set("tokenizer_config.json", json!({"add_bos_token": false}));
    assert_eq!(bare.load().tokenize("A dog", true).unwrap()[0], ids[1]);
    // The JSON comes first where there are both.
    let both = Directory::new();
    std::fs::write(both.0.path().join("tokenizer.model"), "damaged").unwrap();
    assert_eq!(both.load().tokenizer.vocab_size(), 512);
    std::fs::remove_file(both.0.path().join("tokenizer.json")).unwrap();
    assert!(load(both.0.path()).is_err());
}

fn template_of(directory: &Directory, asked_for: Option<&str>) -> (Option<String>, String) {
    let options = LoadOptions {
        chat_template: asked_for.map(str::to_owned),
        ..LoadOptions::default()
    };
    let model = Model::load(directory.0.path(), &options, &mut |_, _| ()).unwrap();
    let source = model.template.source().map(str::to_owned);
    (source, model.warnings.join("\n"))
}

#[test]
fn a_template_is_the_one_asked_for_the_files_or_the_vocabularys() {
    let own = json!({"chat_template": "{{ messages[0].content }}"});
    let with_own = Directory::new().set("tokenizer_config.json", own);
    assert_eq!(
        template_of(&with_own, Some(STORY)).0.as_deref(),
        Some(STORY)
    );
    let (source, _) = template_of(&with_own, None);
    assert_eq!(source.as_deref(), Some("{{ messages[0].content }}"));
    assert_eq!(template_of(&Directory::new(), None).0, None);

    let add = |id: u32, text: &str| json!({"id": id, "content": text, "special": true});
    let chatml = Directory::new().edit("tokenizer.json", |json| {
        json["added_tokens"][0]["content"] = json!("<|im_start|>");
        json["added_tokens"]
            .as_array_mut()
            .unwrap()
            .push(add(512, "<|im_end|>"));
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        let id = vocab.remove("<pad>").unwrap();
        vocab.insert("<|im_start|>".into(), id);
    });
    let (source, warnings) = template_of(&chatml, None);
    assert_eq!(source.as_deref(), Some(CHATML));
    assert!(warnings.contains("ChatML"), "{warnings}");
    let (source, warnings) = template_of(&chatml, built_in("llama-2"));
    assert!(
        source.unwrap().contains("[INST]") && !warnings.contains("ChatML"),
        "{warnings}"
    );
}

/// What a template writes are the markers, and it stays with the converted file.
#[test]
fn a_template_that_is_asked_for_is_converted_with_the_model() {
    let directory = Directory::new();
    let path = directory.0.path().join("converted.gguf");
    let load_with = LoadOptions {
        chat_template: built_in("gemma").map(str::to_owned),
        ..LoadOptions::default()
    };
    let options = ConvertOptions {
        load: load_with,
        ..ConvertOptions::default()
    };
    convert(directory.0.path(), &path, &options, &mut |_, _| ()).unwrap();
    let model = load(&path).unwrap();
    assert_eq!(model.template.source(), built_in("gemma"));
    let text = model
        .template
        .render(&vec![Message::new("user", "Hi")].into());
    assert!(text.unwrap().ends_with("<start_of_turn>model\n"));
}
