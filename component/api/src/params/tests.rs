//! Which values of the shared parameters are read, how, and which are refused.

use super::*;
use serde_json::json;

fn read(body: Value) -> Result<Params, ApiError> {
    let body = Object::top(&body)?;
    known::check(&body, Place::Body)?;
    parse(&body, &crate::testing::settings())
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
            stream: true,
            usage: StreamUsage::AtTheEnd,
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
