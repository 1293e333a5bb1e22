//! `/completion`, `/props` and the counting of prompts, as llama.cpp's server has them.

use super::known_fields::{Effect, with};
use super::*;
use crate::engine::{ContextOverflow, Error, Finish, FinishReason, Prompt, Usage};
use crate::known::Place;

const COMPLETION: &str = "/completion";

fn prompt() -> Value {
    json!({"prompt": "x"})
}

/// A case for each honoured field.
pub(super) fn effects() -> Vec<Effect> {
    let completion = |without, with| (COMPLETION, without, with);
    let field = |name, value| completion(prompt(), with(prompt(), name, value));
    let parts = |part| json!({"prompt": {"content": [part]}});
    let cases = vec![
        (
            Place::LlamaCompletion,
            "prompt",
            completion(prompt(), json!({"prompt": [1, 2]})),
        ),
        (
            Place::LlamaCompletion,
            "return_tokens",
            field("return_tokens", json!(true)),
        ),
        (
            Place::LlamaCompletion,
            "response_fields",
            field("response_fields", json!(["content"])),
        ),
        (
            Place::PromptObject,
            "prompt_string",
            completion(prompt(), json!({"prompt": {"prompt_string": "y"}})),
        ),
        (
            Place::PromptObject,
            "content",
            completion(prompt(), parts(json!({"type": "text", "text": "y"}))),
        ),
        (
            Place::PromptPart,
            "type",
            completion(
                parts(json!({"text": "x"})),
                parts(json!({"type": "text", "text": "x"})),
            ),
        ),
        (
            Place::PromptPart,
            "text",
            completion(
                parts(json!({"type": "text", "text": "x"})),
                parts(json!({"type": "text", "text": "y"})),
            ),
        ),
    ];
    let effect = |(place, name, (path, without, with))| (place, name, path, (without, with));
    cases.into_iter().map(effect).collect()
}

#[test]
fn a_completion_tells_its_facts() {
    let engine = story();
    let body = json!({
        "prompt": "x", "n_predict": 2, "seed": 5, "stop": ["z"], "n_probs": 1, "return_tokens": true,
        "logit_bias": [[7, false], ["a", -1.5]],
    });
    let got = post(&engine, COMPLETION, &body).json();
    let asked = engine.asked.borrow();
    assert_eq!(asked[0].prompt, Prompt::Text("x".into()));
    assert_eq!((asked[0].max_tokens, asked[0].logprobs), (Some(2), Some(1)));
    assert_eq!(got["content"], "Once upon");
    assert_eq!(got["tokens"], json!([1, 1, 2]));
    assert_eq!(got["prompt"], "<s>Hi \u{e9}you");
    assert_eq!(
        (&got["stop"], &got["stop_type"]),
        (&json!(true), &json!("limit"))
    );
    assert_eq!(
        (&got["truncated"], &got["has_new_line"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(
        (&got["tokens_evaluated"], &got["tokens_cached"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(got["tokens_predicted"], 2);
    let timings = &got["timings"];
    assert_eq!(
        (
            &timings["cache_n"],
            &timings["prompt_n"],
            &timings["predicted_n"]
        ),
        (&json!(1), &json!(2), &json!(2))
    );
    let settings = &got["generation_settings"];
    assert_eq!(
        (&settings["n_predict"], &settings["seed"]),
        (&json!(2), &json!(5))
    );
    assert_eq!(settings["temperature"], Value::Null);
    assert_eq!(
        settings["logit_bias"],
        json!([{"token": 7, "bias": null}, {"token": "a", "bias": -1.5}])
    );
    let probable = &got["completion_probabilities"][0];
    assert_eq!(
        (&probable["id"], &probable["bytes"]),
        (&json!(1), &json!(b"Once"))
    );
    assert_eq!(probable["top_logprobs"][0]["token"], "t1");
}

#[test]
fn a_stream_ends_with_the_facts() {
    let body = json!({
        "prompt": "x", "stream": true, "timings_per_token": true, "n_probs": 1,
        "response_fields": ["stop", "generation_settings/stream", "nothing/here"],
    });
    let got = post(&story(), COMPLETION, &body);
    assert!(
        !String::from_utf8(got.body.clone())
            .unwrap()
            .contains("[DONE]")
    );
    let events = events(&got);
    let text: String = events
        .iter()
        .filter_map(|it| it["content"].as_str())
        .collect();
    assert_eq!(text, "Once upon");
    let (last, pieces) = events.split_last().unwrap();
    assert_eq!(
        *last,
        json!({"stop": true, "generation_settings/stream": true})
    );
    let tokens: Vec<&Value> = pieces.iter().map(|it| &it["tokens"]).collect();
    assert_eq!(tokens, [&json!([1]), &json!([1, 2])]);
    for piece in pieces {
        assert_eq!(piece["stop"], false);
        assert!(piece["timings"]["predicted_n"].is_u64());
        let probable = piece["completion_probabilities"].as_array().unwrap();
        assert_eq!(probable.len(), piece["tokens"].as_array().unwrap().len());
    }
}

fn ended(last: &str, reason: FinishReason, completion_tokens: u32) -> ScriptedEngine {
    let mut end = end(last).unwrap();
    end.finish = Some(Finish {
        reason,
        usage: Usage {
            prompt_tokens: 3,
            completion_tokens,
            cached_tokens: 0,
        },
    });
    ScriptedEngine::new(Ok(vec![text("Once\n"), Ok(end)]))
}

#[test]
fn an_answer_says_why_it_ended() {
    for (last, reason, tokens, body, why) in [
        (
            "",
            FinishReason::Stop,
            2,
            json!({}),
            ("eos", "", "Once\n", false),
        ),
        (
            " the end",
            FinishReason::Stop,
            2,
            json!({"stop": ["end", "the end"]}),
            ("word", "the end", "Once\n ", false),
        ),
        (
            " the end",
            FinishReason::Stop,
            2,
            json!({"stop": ["end", "the end"], "include_stop_str_in_output": false}),
            ("word", "the end", "Once\n ", false),
        ),
        (
            " end",
            FinishReason::Stop,
            2,
            json!({"stop": "end", "include_stop_str_in_output": true}),
            ("word", "end", "Once\n end", false),
        ),
        (
            "",
            FinishReason::Length,
            2,
            json!({}),
            ("limit", "", "Once\n", false),
        ),
        (
            "",
            FinishReason::Length,
            509,
            json!({}),
            ("limit", "", "Once\n", true),
        ),
    ] {
        let body = with(body, "prompt", json!("x"));
        for body in [body.clone(), with(body, "stream", json!(true))] {
            let got = post(&ended(last, reason, tokens), COMPLETION, &body);
            let events = match body.get("stream") {
                Some(_) => events(&got),
                None => vec![got.json()],
            };
            let content: String = events
                .iter()
                .filter_map(|it| it["content"].as_str())
                .collect();
            let end = events.last().unwrap();
            let told = (
                end["stop_type"].as_str().unwrap(),
                end["stopping_word"].as_str().unwrap(),
                content.as_str(),
                end["truncated"].as_bool().unwrap(),
            );
            assert_eq!(told, why, "{body}");
            assert_eq!(end["has_new_line"], true);
        }
    }
}

#[test]
fn several_prompts_or_choices_are_a_list() {
    for (body, n) in [
        (json!({"prompt": ["a", [1, 2], {"prompt_string": "b"}]}), 3),
        (json!({"prompt": [[1, "a"]]}), 1),
        (json!({"prompt": "a", "n_cmpl": 2}), 2),
    ] {
        let got = post(&story(), COMPLETION, &body).json();
        let all = got.as_array().unwrap();
        assert_eq!(all.len(), n, "{body}");
        for (i, one) in all.iter().enumerate() {
            assert_eq!(
                (&one["index"], &one["content"]),
                (&json!(i), &json!("Once upon"))
            );
        }
    }
}

#[test]
fn refusals_have_the_servers_form() {
    for (body, status, kind, param) in [
        (json!({}), 400, "invalid_request_error", "prompt"),
        (
            json!({"prompt": "x", "n_predict": "a"}),
            400,
            "invalid_request_error",
            "n_predict",
        ),
        (
            json!({"prompt": "x", "response_fields": "a"}),
            400,
            "invalid_request_error",
            "response_fields",
        ),
        (
            json!({"prompt": "x", "response_fields": vec!["content"; 65]}),
            400,
            "invalid_request_error",
            "response_fields",
        ),
        (
            json!({"prompt": "x", "stream": true, "resume": "y"}),
            400,
            "invalid_request_error",
            "resume",
        ),
        (
            json!({"prompt": {"prompt_string": 5}}),
            400,
            "invalid_request_error",
            "prompt.prompt_string",
        ),
        (
            json!({"prompt": "x", "model": "y"}),
            404,
            "not_found_error",
            "model",
        ),
    ] {
        let got = post(&story(), COMPLETION, &body);
        let error = &got.json()["error"];
        assert_eq!(
            (got.status, &error["code"]),
            (status, &json!(status)),
            "{body}"
        );
        assert_eq!(
            (&error["type"], &error["param"]),
            (&json!(kind), &json!(param))
        );
    }
    let full = ScriptedEngine::new(Err(Error::ContextOverflow(ContextOverflow {
        limit: 512,
        requested: 601,
    })));
    let error = post(&full, COMPLETION, &prompt()).json()["error"].clone();
    assert_eq!(error["type"], "exceed_context_size_error");
    assert_eq!(
        (&error["n_prompt_tokens"], &error["n_ctx"]),
        (&json!(600), &json!(512))
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("exceeds the available context size"),
        "{message}"
    );
    let broken = ScriptedEngine::new(Ok(vec![text("Once"), Err(Error::Internal("NaN".into()))]));
    let got = post(&broken, COMPLETION, &with(prompt(), "stream", json!(true)));
    let last = events(&got).pop().unwrap();
    assert_eq!(last["error"]["type"], "server_error");
    assert_eq!(last["error"]["resume"]["tokens"], json!([1]));
}

#[test]
fn times_are_told_where_they_are_wanted() {
    let asked = with(hello(), "timings_per_token", json!(true));
    let whole = post(&story(), CHAT, &asked).json();
    assert_eq!(whole["timings"]["predicted_n"], 2);
    assert_eq!(post(&story(), CHAT, &hello()).json().get("timings"), None);
    let streamed = with(asked, "stream", json!(true));
    let events = events(&post(&story(), CHAT, &streamed));
    let (opening, others) = events.split_first().unwrap();
    assert_eq!(opening.get("timings"), None);
    assert!(
        others
            .iter()
            .all(|it| it["timings"]["prompt_ms"].is_number())
    );
}

#[test]
fn props_are_the_default_models() {
    let got = send(&story(), "GET", "/props", b"").json();
    assert_eq!(got["default_generation_settings"]["n_ctx"], 512);
    assert_eq!(
        (&got["total_slots"], &got["model_alias"]),
        (&json!(4), &json!("org/demo"))
    );
}

#[test]
fn prompts_are_counted() {
    for (path, body) in [
        ("/v1/chat/completions/input_tokens", hello()),
        ("/chat/completions/input_tokens", hello()),
        ("/v1/responses/input_tokens", json!({"input": "Hello"})),
    ] {
        let got = post(&story(), path, &body);
        let counted = got.json();
        assert_eq!(
            (got.status, &counted["object"]),
            (200, &json!("response.input_tokens"))
        );
        assert!(counted["input_tokens"].as_u64().unwrap() >= 5, "{counted}");
    }
    let wrong = post(&story(), "/v1/responses/input_tokens", &json!({"input": 5}));
    assert_eq!(
        (wrong.status, wrong.error().2.as_deref()),
        (400, Some("input"))
    );
}

#[test]
fn any_name_may_mean_the_default_model() {
    let mut settings = settings();
    settings.model_alias = Some("*".into());
    let body = with(hello(), "model", json!("gpt-4o")).to_string();
    let head = head("POST", CHAT, body.as_bytes());
    let engine = story();
    let got = ask_under(&settings, &engine, &head, body.as_bytes()).json();
    assert_eq!(got["model"], "gpt-4o");
    assert_eq!(engine.asked.borrow()[0].model, "org/demo");
    let list = ask_under(
        &settings,
        &engine,
        &super::head("GET", "/v1/models", b""),
        b"",
    );
    assert_eq!(list.json()["data"].as_array().unwrap().len(), 1);
}
