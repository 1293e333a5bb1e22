//! Which values of the shared parameters are read, how, and which are refused.

use super::{tokens::Biased, *};
use serde_json::json;

fn read(body: Value) -> Result<Params, ApiError> {
    let body = Object::top(&body)?;
    known::check(&body, Place::Body)?;
    parse(Kind::Text, &body, &crate::testing::settings())
}

#[track_caller]
fn refused(body: Value, param: &str) {
    let error = read(body.clone()).unwrap_err();
    assert_eq!(
        (error.status, error.param.as_deref()),
        (400, Some(param)),
        "{body}"
    );
}

#[test]
fn everything_at_once() {
    let params = read(json!({
        "model": "m", "max_completion_tokens": 5, "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 40,
        "min_p": 0.05, "repetition_penalty": 1.1, "presence_penalty": -1, "frequency_penalty": 2, "seed": 7,
        "stop": ["a", "b"], "n": 1, "stream": true, "stream_options": {"include_usage": true},
        "user": "u", "metadata": {"k": "v"}, "store": true,
        "min_tokens": 2, "stop_token_ids": [7, 8], "include_stop_str_in_output": true, "ignore_eos": true,
        "priority": 3, "cache_salt": "me", "timeout": 2.5,
    }))
    .unwrap();
    assert_eq!(
        params,
        Params {
            model: Some("m".into()),
            max_tokens: Some(5),
            min_tokens: 2,
            stop: vec!["a".into(), "b".into()],
            stop_tokens: vec![7, 8],
            include_stop: true,
            ignore_eos: true,
            sampling: Sampling {
                temperature: Some(0.5),
                top_k: Some(40),
                top_p: Some(0.9),
                min_p: Some(0.05),
                repetition_penalty: Some(1.1),
                presence_penalty: Some(-1.0),
                frequency_penalty: Some(2.0),
                seed: Some(7),
            },
            tokens: TokenParams::default(),
            n: 1,
            best_of: 1,
            treatment: Treatment {
                cache_salt: Some("me".into()),
                priority: 3,
                timeout_ms: Some(2500),
            },
            stream: true,
            usage: StreamUsage::AtTheEnd,
            timings: false,
        }
    );
}

#[test]
fn nothing_at_all_leaves_every_default_to_the_engine() {
    let params =
        read(json!({"model": "", "temperature": null, "stop": null, "stream": null})).unwrap();
    assert_eq!(
        (params.model, params.max_tokens, params.stop.len()),
        (None, None, 0)
    );
    assert_eq!(params.sampling.temperature, None);
    assert_eq!((params.stream, params.usage), (false, StreamUsage::Never));
}

#[test]
fn wrong_values_are_named() {
    for (field, value) in [
        ("max_tokens", json!(0)),
        ("max_tokens", json!(-1)),
        ("max_tokens", json!(1.5)),
        ("max_tokens", json!("5")),
        ("max_tokens", json!(1_u64 << 32)),
        ("max_completion_tokens", json!(0)),
        ("temperature", json!(-0.1)),
        ("temperature", json!(2.1)),
        ("temperature", json!("hot")),
        ("top_p", json!(-0.1)),
        ("top_p", json!(1.1)),
        ("top_k", json!(-2)),
        ("top_k", json!(0.5)),
        ("min_p", json!(-0.1)),
        ("repetition_penalty", json!(0)),
        ("presence_penalty", json!(-2.1)),
        ("frequency_penalty", json!(2.1)),
        ("seed", json!(0.5)),
        ("seed", json!("x")),
        ("stream", json!("yes")),
        ("stream", json!(1)),
        ("stream_options", json!({"include_usage": true})),
        ("model", json!(1)),
        ("stop", json!(1)),
        ("n_predict", json!(0)),
        ("n_predict", json!(-3)),
        ("max_new_tokens", json!(-1)),
        ("min_tokens", json!(-1)),
        ("min_tokens", json!(true)),
        ("stop_token_ids", json!(1)),
        ("repeat_penalty", json!(0)),
        ("ignore_eos", json!(1)),
        ("priority", json!("high")),
        ("priority", json!(1_i64 << 31)),
        ("priority", json!(-1)),
        ("cache_salt", json!(1)),
        ("include_stop_str_in_output", json!("yes")),
        ("random_seed", json!(0.5)),
        ("stop", json!(vec!["x"; MAX_STOPS + 1])),
    ] {
        refused(json!({ field: value }), field);
    }
    refused(json!({"stop": ["a", ""]}), "stop[1]");
    refused(json!({"stop": ["a", 2]}), "stop[1]");
    refused(json!({"stop": ""}), "stop[0]");
    refused(json!({"stop_token_ids": [1, "a"]}), "stop_token_ids[1]");
    refused(json!({"stop_token_ids": [-1]}), "stop_token_ids[0]");
    for (one, other) in [
        (
            json!({"max_tokens": 4, "max_completion_tokens": 5}),
            "max_completion_tokens",
        ),
        (json!({"max_tokens": 4, "n_predict": 5}), "n_predict"),
        (
            json!({"num_predict": 4, "max_new_tokens": 5}),
            "num_predict",
        ),
        (
            json!({"min_tokens": 4, "min_new_tokens": 5}),
            "min_new_tokens",
        ),
        (
            json!({"repetition_penalty": 1, "repeat_penalty": 1.1}),
            "repeat_penalty",
        ),
        (json!({"seed": 4, "random_seed": 5}), "random_seed"),
    ] {
        refused(one, other);
    }
    refused(
        json!({"stream": true, "stream_options": []}),
        "stream_options",
    );
    refused(
        json!({"stream": true, "stream_options": {"include_usage": 1}}),
        "stream_options.include_usage",
    );
}

#[test]
fn signed_seeds_and_open_top_k() {
    let seed = |body| read(body).unwrap().sampling.seed;
    assert_eq!(seed(json!({"seed": -1})), None);
    assert_eq!(seed(json!({"seed": -2})), Some(u64::MAX - 1));
    assert_eq!(seed(json!({"seed": u64::MAX})), Some(u64::MAX));
    assert_eq!(seed(json!({"random_seed": 3})), Some(3));
    assert_eq!(read(json!({"top_k": -1})).unwrap().sampling.top_k, Some(0));
    assert_eq!(read(json!({"top_p": 0})).unwrap().sampling.top_p, Some(0.0));
    assert_eq!(read(json!({"stop": "x"})).unwrap().stop, ["x"]);
}

#[test]
fn one_limit_by_any_name() {
    for name in MAX_TOKENS {
        assert_eq!(
            read(json!({name: 3})).unwrap().max_tokens,
            Some(3),
            "{name}"
        );
    }
    for (name, open) in [("n_predict", -1), ("n_predict", -2), ("num_predict", -1)] {
        assert_eq!(read(json!({name: open})).unwrap().max_tokens, None);
    }
    let both = read(json!({"max_tokens": 3, "n_predict": 3, "repeat_penalty": 1.5})).unwrap();
    assert_eq!(both.max_tokens, Some(3));
    assert_eq!(both.sampling.repetition_penalty, Some(1.5));
}

#[test]
fn usage_in_streams() {
    let usage = |options: Value| {
        read(json!({"stream": true, "stream_options": options}))
            .unwrap()
            .usage
    };
    assert_eq!(usage(json!({})), StreamUsage::Never);
    let both = json!({"include_usage": true, "continuous_usage_stats": true});
    assert_eq!(usage(both), StreamUsage::Always);
    let alone = json!({"include_obfuscation": true, "continuous_usage_stats": true});
    assert_eq!(usage(alone), StreamUsage::Never);
    refused(
        json!({"stream": true, "stream_options": {"colour": 1}}),
        "stream_options.colour",
    );
}

fn parsed(kind: Kind, body: &Value) -> Result<Params, ApiError> {
    parse(kind, &Object::top(body)?, &crate::testing::settings())
}

#[test]
fn probabilities_are_asked_for_in_the_ways_of_both_routes() {
    for (kind, body, expected) in [
        (Kind::Chat, json!({}), None),
        (
            Kind::Chat,
            json!({"logprobs": false, "top_logprobs": 0}),
            None,
        ),
        (Kind::Chat, json!({"logprobs": true}), Some(0)),
        (
            Kind::Chat,
            json!({"logprobs": true, "top_logprobs": 20}),
            Some(20),
        ),
        (Kind::Chat, json!({"n_probs": 3}), Some(3)),
        (Kind::Text, json!({"n_probs": 0}), None),
        (Kind::Text, json!({"logprobs": false}), None),
        (Kind::Text, json!({"logprobs": 0}), Some(0)),
        (Kind::Text, json!({"logprobs": 5, "n_probs": 7}), Some(7)),
    ] {
        let tokens = parsed(kind, &body).unwrap().tokens;
        assert_eq!(tokens.logprobs, expected, "{body}");
    }
    for (kind, body, param) in [
        (Kind::Chat, json!({"top_logprobs": 1}), "top_logprobs"),
        (
            Kind::Chat,
            json!({"logprobs": true, "top_logprobs": 21}),
            "top_logprobs",
        ),
        (Kind::Chat, json!({"logprobs": 1}), "logprobs"),
        (Kind::Text, json!({"logprobs": 21}), "logprobs"),
        (Kind::Text, json!({"logprobs": -1}), "logprobs"),
        (
            Kind::Text,
            json!({"prompt_logprobs": -1}),
            "prompt_logprobs",
        ),
        (Kind::Text, json!({"n_probs": 21}), "n_probs"),
        (
            Kind::Text,
            json!({"max_tokens": 0, "logprobs": 1}),
            "max_tokens",
        ),
    ] {
        let error = parsed(kind, &body).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{body}");
    }
    for told in [
        json!({"max_tokens": 0, "echo": true}),
        json!({"max_tokens": 0, "prompt_logprobs": 0}),
    ] {
        assert_eq!(parsed(Kind::Text, &told).unwrap().max_tokens, Some(0));
    }
}

#[test]
fn biases_come_as_objects_and_as_lists() {
    let text = |text: &str, path: &str| Biased::Text(text.into(), path.into());
    for (value, expected) in [
        (json!({}), vec![]),
        (json!(false), vec![]),
        (
            json!({"5": -100, "7": 0.5}),
            vec![(Biased::Token(5), -100.0), (Biased::Token(7), 0.5)],
        ),
        (
            json!({"Hi": false}),
            vec![(text("Hi", "logit_bias.Hi"), f32::NEG_INFINITY)],
        ),
        (
            json!([[5, 1], ["Hi", -2], [6, false]]),
            vec![
                (Biased::Token(5), 1.0),
                (text("Hi", "logit_bias[1]"), -2.0),
                (Biased::Token(6), f32::NEG_INFINITY),
            ],
        ),
    ] {
        let params = read(json!({ "logit_bias": value })).unwrap();
        assert_eq!(params.tokens.logit_bias, expected, "{value}");
    }
    for (value, param) in [
        (json!({"5": 100.5}), "logit_bias.5"),
        (json!({"5": "x"}), "logit_bias.5"),
        (json!({"5": true}), "logit_bias.5"),
        (json!({"": 1}), "logit_bias."),
        (json!([[5]]), "logit_bias[0]"),
        (json!([[-5, 1]]), "logit_bias[0][0]"),
        (json!([5, 1]), "logit_bias[0]"),
        (json!(5), "logit_bias"),
        (json!(vec![json!([5, 1]); 1025]), "logit_bias"),
        (json!(vec![json!(["a", 1]); 65]), "logit_bias"),
    ] {
        refused(json!({ "logit_bias": value }), param);
    }
    // What is said of a token twice adds up.
    let both = vec![
        (Biased::Token(5), 80.0),
        (text("5", "x"), 80.0),
        (Biased::Token(6), f32::NEG_INFINITY),
        (text("6", "x"), 80.0),
    ];
    let sums = biases(both, |text, _| Ok(vec![text.parse().unwrap()])).unwrap();
    assert_eq!(sums, [(5, 100.0), (6, f32::NEG_INFINITY)]);
}

#[test]
fn numbers_of_choices() {
    for (body, expected) in [
        (json!({}), (1, 1)),
        (json!({"n": 3}), (3, 3)),
        (json!({"n": 3, "n_cmpl": 3, "best_of": 5}), (3, 5)),
        (json!({"num_return_sequences": 128}), (128, 128)),
        (json!({"n": 2, "best_of": 2, "stream": true}), (2, 2)),
    ] {
        let params = read(body.clone()).unwrap();
        assert_eq!((params.n, params.best_of), expected, "{body}");
    }
    refused(json!({"n": 0}), "n");
    refused(json!({"n": 129}), "n");
    refused(json!({"n": 2, "n_cmpl": 3}), "n_cmpl");
    refused(json!({"n": 2, "best_of": 1}), "best_of");
    refused(json!({"best_of": 2, "stream": true}), "best_of");
}

#[test]
fn other_wishes_about_tokens() {
    let tokens = |body: Value| read(body).unwrap().tokens;
    assert_eq!(
        tokens(json!({"truncate_prompt_tokens": -1})).truncate_prompt,
        Some(u32::MAX)
    );
    assert_eq!(
        tokens(json!({"truncate_prompt_tokens": 7})).truncate_prompt,
        Some(7)
    );
    assert!(tokens(json!({"skip_special_tokens": false})).show_special);
    assert!(!tokens(json!({"skip_special_tokens": true})).show_special);
    for nothing in [json!([]), json!(""), json!({}), json!(false)] {
        let body =
            json!({"bad_words": nothing, "allowed_token_ids": nothing, "logit_bias": nothing});
        assert_eq!(tokens(body), TokenParams::default());
    }
    refused(
        json!({"truncate_prompt_tokens": 0}),
        "truncate_prompt_tokens",
    );
    refused(
        json!({"truncate_prompt_tokens": -2}),
        "truncate_prompt_tokens",
    );
    refused(json!({"bad_words": ["a", ""]}), "bad_words[1]");
    refused(json!({"bad_words": "a"}), "bad_words");
    refused(
        json!({"allowed_token_ids": [1, -1]}),
        "allowed_token_ids[1]",
    );
    refused(json!({"return_token_ids": 1}), "return_token_ids");
}
