//! `/v1/embeddings`: inputs of every shape, the answer's forms, and what is refused.

use super::*;
use crate::embeddings::{MAX_INPUTS, MAX_VECTOR_BYTES};
use crate::engine::{ContextOverflow, Error, InvalidRequest, Prompt};
use crate::testing::vector;

fn texts(texts: &[&str]) -> Vec<Prompt> {
    texts
        .iter()
        .map(|text| Prompt::Text((*text).into()))
        .collect()
}

/// As an answer has them: in as few digits as tell one `f32` from the others.
fn numbers(vector: &[f32]) -> Value {
    serde_json::from_str(&serde_json::to_string(vector).unwrap()).unwrap()
}

fn embedding(index: usize, vector: &[f32]) -> Value {
    json!({"object": "embedding", "index": index, "embedding": numbers(vector)})
}

fn embeddings(prompts: &[Prompt]) -> Value {
    let data = prompts.iter().enumerate();
    let data = data.map(|(index, prompt)| embedding(index, &vector(prompt)));
    Value::Array(data.collect())
}

/// Status, code and field of the error that a body leads to.
fn refused(engine: &ScriptedEngine, body: &Value) -> (u16, String, Option<String>) {
    post(engine, EMBED, body).error()
}

#[test]
fn inputs_come_in_four_shapes_and_keep_their_order() {
    let ids = |ids: &[u32]| Prompt::Tokens(ids.into());
    for (input, prompts) in [
        (json!("abc"), texts(&["abc"])),
        (json!(["abc"]), texts(&["abc"])),
        (json!(["abc", "a", ""]), texts(&["abc", "a", ""])),
        (json!([7, 8]), vec![ids(&[7, 8])]),
        (json!([[7], [8, 9]]), vec![ids(&[7]), ids(&[8, 9])]),
    ] {
        let engine = story();
        let got = post(&engine, EMBED, &json!({"input": input})).json();
        let tokens = 3 * prompts.len();
        let expected = json!({
            "object": "list", "data": embeddings(&prompts), "model": "org/demo",
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        });
        assert_eq!(got, expected, "{input}");
        let asked = engine.asked.borrow();
        assert!(asked.iter().all(|asked| asked.embed));
        let given: Vec<_> = asked.iter().map(|asked| asked.prompt.clone()).collect();
        assert_eq!(given, prompts);
    }
}

#[test]
fn base64_has_the_same_numbers() {
    let engine = story();
    let floats = vector(&Prompt::Text("abc".into()));
    let of = |format: Value| {
        let body = json!({"input": "abc", "encoding_format": format});
        post(&engine, EMBED, &body).json()["data"][0]["embedding"].clone()
    };
    for format in [Value::Null, json!("float")] {
        assert_eq!(of(format), numbers(&floats));
    }
    // As Python's `base64` and `struct` write 3, 1, 0 and 2 over the root of 14.
    assert_eq!(of(json!("base64")), json!("skFNP3fWiD4AAAAAd9YIPw=="));
}

#[test]
fn dimensions_cut_and_scale_again() {
    let of = |dimensions: u32| {
        let body = json!({"input": "abc", "dimensions": dimensions});
        let got = post(&story(), EMBED, &body).json();
        let numbers = got["data"][0]["embedding"].as_array().unwrap().clone();
        let numbers: Vec<f64> = numbers.iter().map(|v| v.as_f64().unwrap()).collect();
        let length = numbers.iter().map(|v| v * v).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() < 1e-6, "{numbers:?}");
        numbers
    };
    assert_eq!(of(1), [1.0]);
    let two = of(2);
    assert!((two[0] / two[1] - 3.0).abs() < 1e-6);
    assert_eq!(of(4).len(), 4);
}

#[test]
fn wrong_bodies_are_named() {
    let engine = story();
    let many = vec!["a"; MAX_INPUTS + 1];
    for (body, param) in [
        (json!({}), "input"),
        (json!({"input": null}), "input"),
        (json!({"input": 5}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": [[]]}), "input[0]"),
        (json!({"input": ["a", true]}), "input[1]"),
        (json!({"input": ["a", null]}), "input[1]"),
        (json!({"input": [1, -2]}), "input[1]"),
        (json!({"input": {"text": "a"}}), "input.text"),
        (json!({ "input": many }), "input"),
        (json!({"input": "a", "model": 5}), "model"),
        (
            json!({"input": "a", "encoding_format": "int8"}),
            "encoding_format",
        ),
        (
            json!({"input": "a", "encoding_format": 1}),
            "encoding_format",
        ),
        (json!({"input": "a", "dimensions": 0}), "dimensions"),
        (json!({"input": "a", "dimensions": 5}), "dimensions"),
        (json!({"input": "a", "dimensions": 1.5}), "dimensions"),
        (json!({"input": "a", "dimensions": "2"}), "dimensions"),
        (json!({"input": "a", "input_type": "query"}), "input_type"),
        (json!({"input": "a", "temperature": 0}), "temperature"),
        (json!({"input": "a", "inptu": "b"}), "inptu"),
    ] {
        let (status, _, named) = refused(&engine, &body);
        assert_eq!((status, named.as_deref()), (400, Some(param)), "{body}");
    }
    assert!(engine.asked.borrow().is_empty());
    assert_eq!(
        post(&engine, EMBED, &json!({"input": many[1..]})).status,
        200
    );
}

#[test]
fn an_answer_that_would_be_too_large_is_refused_with_what_fits() {
    let mut engine = story();
    engine.models[0].embedding_size = 1 << 14;
    for (form, bytes, remedy) in [
        (json!({}), 14 << 14, true),
        (
            json!({"encoding_format": "base64"}),
            (4 << 14) / 3 * 4 + 4,
            false,
        ),
        (json!({"dimensions": 1 << 13}), 14 << 13, true),
    ] {
        let most = MAX_VECTOR_BYTES / bytes;
        let body = |inputs: usize| {
            let mut body = form.clone();
            body["input"] = json!(vec!["a"; inputs]);
            body
        };
        let got = post(&engine, EMBED, &body(most + 1)).json()["error"].clone();
        let message = got["message"].to_string();
        let fits = format!("at most {most} inputs");
        assert!(message.contains(&fits), "{message}");
        assert_eq!(message.contains("base64"), remedy, "{message}");
        assert!(engine.asked.borrow().is_empty());
        assert_eq!(post(&engine, EMBED, &body(most)).status, 200, "{form}");
        engine.asked.borrow_mut().clear();
    }
}

#[test]
fn a_list_takes_no_more_places_than_there_are() {
    for places in [1, 2, usize::MAX] {
        let mut engine = story();
        engine.places = places;
        let inputs: Vec<String> = (0..10).map(|n| "a".repeat(n)).collect();
        let got = post(&engine, EMBED, &json!({ "input": inputs })).json();
        let prompts: Vec<_> = inputs.into_iter().map(Prompt::Text).collect();
        assert_eq!(got["data"], embeddings(&prompts));
        assert_eq!(engine.alive(), 0);
    }
    let mut full = story();
    full.places = 0;
    assert_eq!(refused(&full, &json!({"input": ["a", "b"]})).0, 429);
}

#[test]
fn the_engines_errors_name_the_input() {
    let overflow = Error::ContextOverflow(ContextOverflow {
        limit: 8,
        requested: 9,
    });
    let only_embeds = Error::InvalidRequest(InvalidRequest {
        field: "model".into(),
        message: "no".into(),
    });
    for (error, status, param) in [
        (overflow.clone(), 400, Some("input[0]")),
        (only_embeds, 400, Some("model")),
        (Error::Unavailable("draining".into()), 503, None),
        (Error::Internal("NaN".into()), 500, None),
    ] {
        let engine = ScriptedEngine::new(Err(error));
        let got = refused(&engine, &json!({"input": ["a", "b"]}));
        assert_eq!((got.0, got.2.as_deref()), (status, param));
    }
    let engine = ScriptedEngine::new(Err(overflow));
    let error = post(&engine, EMBED, &json!({"input": "a"})).json()["error"].clone();
    assert_eq!(error["param"], "input");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("embed its parts")
    );
    let (status, code, _) = refused(&story(), &json!({"input": "a", "model": "other"}));
    assert_eq!((status, code.as_str()), (404, "model_not_found"));
}

#[test]
fn the_operators_limits_hold() {
    let ask = |settings: &Settings, body: &Value| {
        let body = body.to_string();
        let head = head("POST", EMBED, body.as_bytes());
        ask_under(settings, &story(), &head, body.as_bytes())
    };
    let short = Settings {
        max_prompt_tokens: Some(2),
        ..settings()
    };
    let (status, code, param) = ask(&short, &json!({"input": ["a", "b"]})).error();
    assert_eq!((status, code.as_str()), (400, "context_length_exceeded"));
    assert_eq!(param.as_deref(), Some("input[0]"));
    let small = Settings {
        max_body_bytes: 64,
        ..settings()
    };
    assert_eq!(
        ask(&small, &json!({"input": "a".repeat(64)})).error().0,
        413
    );
    let alias = Settings {
        model_alias: Some("text-embedding-3-small".into()),
        ..settings()
    };
    for model in [json!("text-embedding-3-small"), Value::Null] {
        let got = ask(&alias, &json!({"input": "a", "model": model})).json();
        assert_eq!(got["model"], "text-embedding-3-small");
    }
}

#[test]
fn it_is_a_route_like_the_others() {
    let engine = story();
    let get = send(&engine, "GET", EMBED, b"");
    assert_eq!(
        (get.error().0, get.header("allow")),
        (405, Some("POST, OPTIONS"))
    );
    assert_eq!(send(&engine, "OPTIONS", EMBED, b"").status, 200);
    let plain = Head {
        content_type: Some("text/plain".into()),
        ..head("POST", EMBED, b"")
    };
    assert_eq!(ask(&engine, &plain, br#"{"input": "a"}"#).error().0, 415);
    assert_eq!(
        post(&engine, "//v1/embeddings/", &json!({"input": "a"})).status,
        200
    );
}
