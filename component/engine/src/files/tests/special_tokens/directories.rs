//! Special tokens by the files of a Hugging Face directory, and by a GGUF that is made of it.

use super::*;
use crate::request::Message;

#[test]
fn every_file_of_a_directory_may_name_an_end() {
    let eos = |directory: Directory| directory.load_converted().config.eos_tokens;
    // `</s>` is 2, and an end by its text too.
    let none = json!({"eos_token_id": null});
    assert_eq!(eos(Directory::new().set("config.json", none.clone())), [2]);
    assert_eq!(
        eos(Directory::new().set("config.json", json!({"eos_token_id": [7, 9, -1]}))),
        [7, 9, 2]
    );
    let generation = json!({"eos_token_id": [9, 8]});
    assert_eq!(
        eos(Directory::new()
            .set("config.json", json!({"eos_token_id": 7}))
            .set("generation_config.json", generation)),
        [7, 9, 8, 2]
    );
    for token in [
        json!("<pad>"),
        json!({"__type": "AddedToken", "content": "<pad>"}),
    ] {
        for file in ["tokenizer_config.json", "special_tokens_map.json"] {
            let directory = Directory::new()
                .set("config.json", none.clone())
                .set("tokenizer_config.json", json!({"eos_token": null}))
                .set(file, json!({"eos_token": token}));
            assert_eq!(eos(directory), [0, 2], "{file}");
        }
    }
}

#[test]
fn an_end_that_cannot_be_one_is_warned_of() {
    let model = Directory::new()
        .set("config.json", json!({"eos_token_id": [2, 512]}))
        .set("tokenizer_config.json", json!({"eos_token": "<nowhere>"}))
        .load();
    assert_eq!(model.config.eos_tokens, [2]);
    let warnings = model.warnings.join("\n");
    assert!(
        warnings.contains("<nowhere>") && warnings.contains("eos_token_id 512"),
        "{warnings}"
    );

    let model = Directory::new()
        .set("config.json", json!({"eos_token_id": null}))
        .edit("tokenizer_config.json", |json| *json = json!({}))
        .edit("tokenizer.json", |json| {
            let text = json.to_string().replace("</s>", "<|over|>");
            *json = serde_json::from_str(&text).unwrap();
        })
        .load();
    assert!(model.config.eos_tokens.is_empty());
    let [warning] = &model.warnings[..] else {
        panic!("{:?}", model.warnings)
    };
    assert!(warning.contains("no token ends its turn"), "{warning}");
    assert!(Directory::new().load().warnings.is_empty());
}

#[test]
fn what_goes_around_a_text_is_the_post_processors() {
    let template = |single: Json| {
        json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, {
            "type": "TemplateProcessing", "single": single, "pair": [],
            "special_tokens": {"<pad>": {"id": "<pad>", "ids": [0], "tokens": ["<pad>"]},
                "both": {"id": "both", "ids": [2, 1], "tokens": ["</s>", "<s>"]}}}]})
    };
    let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let around = |post: Json, beside: Json| {
        let model = Directory::new()
            .edit("tokenizer.json", |json| json["post_processor"] = post)
            .set("tokenizer_config.json", beside)
            .load_converted();
        let (before, after) = (model.tokenizer.prefix(), model.tokenizer.suffix());
        (before.to_vec(), after.to_vec())
    };
    let none = json!({});
    // config.json's bos_token_id is 1, tokenizer_config.json's text `<s>`, which is 1 too.
    let pad = template(json!([special("<pad>"), text]));
    assert_eq!(around(pad.clone(), none.clone()), (vec![0], vec![]));
    let both = template(json!([special("both"), text, special("<pad>")]));
    assert_eq!(around(both, none.clone()), (vec![2, 1], vec![0]));
    for kind in ["BertProcessing", "RobertaProcessing"] {
        let pair = json!({"type": kind, "sep": ["</s>", 2], "cls": ["<pad>", 0]});
        assert_eq!(around(pair, none.clone()), (vec![0], vec![2]), "{kind}");
    }
    assert_eq!(around(Json::Null, none), (vec![], vec![]));
    assert_eq!(
        around(Json::Null, json!({"add_bos_token": true})),
        (vec![1], vec![])
    );
    assert_eq!(
        around(pad.clone(), json!({"add_bos_token": true})),
        (vec![0], vec![])
    );
    assert_eq!(
        around(pad.clone(), json!({"add_bos_token": false})),
        (vec![0], vec![])
    );
    assert_eq!(
        around(pad, json!({"add_eos_token": true, "eos_token": "</s>"})),
        (vec![0], vec![])
    );
    let flags = json!({"add_bos_token": true, "add_eos_token": true, "eos_token": "</s>"});
    assert_eq!(around(Json::Null, flags), (vec![1], vec![2]));
}

#[test]
fn what_a_text_begins_with_is_not_put_before_it_again() {
    let pair = json!({"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]});
    let model = Directory::new()
        .edit("tokenizer.json", |json| json["post_processor"] = pair)
        .load();
    let ids = model.tokenize("<s>Once", true).unwrap();
    assert_eq!(ids, model.tokenize("Once", true).unwrap());
    assert_eq!((ids[0], ids.last()), (1, Some(&2)));
    assert_ne!(ids[1], 1);
}

#[test]
fn post_processors_that_are_not_known_are_named() {
    let refusal = |post: Json| {
        let directory =
            Directory::new().edit("tokenizer.json", |json| json["post_processor"] = post);
        load(directory.0.path()).unwrap_err().to_string()
    };
    assert!(refusal(json!({"type": "Other"})).contains("`Other`"));
    let bert = json!({"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]});
    assert!(refusal(json!({"type": "Sequence", "processors": [bert, bert]})).contains("several"));
    let far = json!({"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 5000]});
    assert!(refusal(far).contains("`cls`"));
    let empty = json!({"type": "TemplateProcessing", "single": [], "special_tokens": {}});
    assert!(refusal(empty).contains("`Sequence`"));
}

#[test]
fn an_added_token_beyond_the_embedding_is_served_around() {
    let add =
        |id: u32, text: &str, special: bool| json!({"id": id, "content": text, "special": special});
    let directory = Directory::new()
        .edit("tokenizer.json", |json| {
            let added = json["added_tokens"].as_array_mut().unwrap();
            added.extend([add(512, "<pad2>", true), add(513, "<x>", false)]);
        })
        .set("tokenizer_config.json", json!({"chat_template": CHATML}));
    for model in [directory.load(), directory.load_converted()] {
        assert!(
            model.warnings[0].contains("`<pad2>`, `<x>`"),
            "{:?}",
            model.warnings
        );
        // A prompt of it is refused by its id; users of a chat cannot write it.
        assert_eq!(model.tokenize("<pad2>", true).unwrap(), [512]);
        let ids = model
            .encode_messages(&vec![Message::new("user", "<pad2><x>")].into())
            .unwrap();
        assert!(ids.iter().all(|&id| id < 512), "{ids:?}");
    }
    // An ordinary token there means another model's tokenizer.
    let directory = Directory::new().edit("tokenizer.json", |json| {
        json["model"]["vocab"]["zz"] = json!(512)
    });
    let error = load(directory.0.path()).unwrap_err().to_string();
    assert!(
        error.contains("513 tokens") && error.contains("id 512"),
        "{error}"
    );
}

#[test]
fn added_tokens_and_their_options_come_from_the_files_beside() {
    // `<x>` gets other options, `<tool>` an id that is free.
    let beside = json!({"added_tokens_decoder": {
        "512": {"content": "<x>", "lstrip": true, "rstrip": true, "special": false},
        "513": {"content": "<tool>", "special": true}}});
    let directory = Directory::new()
        .edit("tokenizer.json", |json| {
            let added = json["added_tokens"].as_array_mut().unwrap();
            added.push(json!({"id": 512, "content": "<x>", "special": false}));
        })
        .set("tokenizer_config.json", beside);
    for model in [directory.load(), directory.load_converted()] {
        let plain = |text| model.tokenizer.encode(text, true).unwrap();
        let [a, b] = [plain("a")[0], plain("b")[0]];
        assert_eq!(plain("a  <x> \n b<tool>"), [a, 512, b, 513]);
        assert!(model.tokenizer.is_special(513) && !model.tokenizer.is_special(512));
    }
    let directory = Directory::new()
        .edit("added_tokens.json", |json| {
            *json = json!({"<tool>": 512, "<s>": 900})
        })
        .edit("special_tokens_map.json", |json| {
            *json = json!({"additional_special_tokens": ["<tool>", "<no>"]})
        });
    let model = directory.load();
    assert_eq!(model.tokenize("<tool>", true).unwrap(), [512]);
    assert_eq!(model.tokenize("<s>", true).unwrap(), [1]);
    assert!(model.tokenizer.is_special(512) && model.tokenizer.token_to_id("<no>").is_none());
}

#[test]
fn sampling_out_of_range_does_not_keep_a_model_from_loading() {
    let model = Directory::new()
        .set(
            "generation_config.json",
            json!({"temperature": -1, "top_p": 3, "top_k": 5, "min_p": "x"}),
        )
        .load();
    assert_eq!(
        (model.defaults.top_k, model.defaults.temperature),
        (Some(5), None)
    );
    assert_eq!(model.warnings.len(), 3);
}

#[test]
fn lists_without_end_are_refused_and_errors_are_short() {
    let many: Vec<u32> = (0..100_000).collect();
    let refusal = |directory: Directory| load(directory.0.path()).unwrap_err().to_string();
    for file in ["config.json", "generation_config.json"] {
        let error = refusal(Directory::new().set(file, json!({"eos_token_id": many})));
        assert!(
            error.contains("eos_token_id") && error.contains("256"),
            "{error}"
        );
    }
    let long = "x".repeat(100_000);
    let tokenizer = |change: &dyn Fn(&mut Json)| {
        refusal(Directory::new().edit("tokenizer.json", |json| change(json)))
    };
    for error in [
        tokenizer(&|json| json["model"]["unk_token"] = json!(long)),
        tokenizer(&|json| json["model"]["type"] = json!(long)),
        tokenizer(&|json| json["model"]["merges"][0] = json!([long, "a"])),
        tokenizer(&|json| json["model"]["merges"][0] = json!(long)),
        tokenizer(&|json| json["model"]["vocab"][&long] = json!(5)),
        tokenizer(&|json| json["added_tokens"][0] = json!({"id": 5, "content": long})),
        tokenizer(&|json| json["pre_tokenizer"] = json!({"type": long})),
        tokenizer(&|json| json["normalizer"] = json!({"type": long})),
        tokenizer(&|json| json["post_processor"] = json!({"type": long})),
    ] {
        assert!(
            error.len() < 1200,
            "{} bytes: {}",
            error.len(),
            &error[..300]
        );
    }
    let around = json!({"type": "TemplateProcessing", "special_tokens": {"m": {"id": "m", "ids": vec![0; 65]}},
        "single": [{"SpecialToken": {"id": "m"}}, {"Sequence": {"id": "A"}}]});
    assert!(tokenizer(&|json| json["post_processor"] = around.clone()).contains("64"));
}

#[test]
fn no_other_spelling_of_a_marker_becomes_one() {
    let add = |id: u32, text: &str| json!({"id": id, "content": text, "special": id == 512, "normalized": true});
    let model = Directory::new()
        .edit("tokenizer.json", |json| {
            json["normalizer"] = json!({"type": "NFC"});
            let added = json["added_tokens"].as_array_mut().unwrap();
            added.extend([add(512, "<|MASK|>"), add(513, "<|Å|>"), add(514, "<K>")]);
        })
        .set(
            "tokenizer_config.json",
            json!({"chat_template": "{{ messages[0].content }}<|MASK|>"}),
        )
        .load();
    // The Kelvin and Angstrom signs and a ring of its own are other spellings of K and \u{c5}.
    for text in [
        "<|MAS\u{212a}|>",
        "<|\u{212b}|>",
        "<|A\u{30a}|>",
        "<\u{212a}>",
        "<|MASK|>",
    ] {
        let read = model.tokenize(text, true).unwrap();
        assert!(matches!(read[..], [512..=514]), "{text}: {read:?}");
        let ids = model
            .encode_messages(&vec![Message::new("user", text)].into())
            .unwrap();
        let (marker, said) = ids.split_last().unwrap();
        assert!(
            *marker == 512 && said.iter().all(|id| *id < 512),
            "{text}: {ids:?}"
        );
    }
}
