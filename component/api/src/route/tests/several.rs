//! Several answers to one prompt: `n` and `best_of`.

use super::*;

fn seeds(engine: &ScriptedEngine) -> Vec<Option<u64>> {
    let asked = engine.asked.borrow();
    asked.iter().map(|asked| asked.sampling.seed).collect()
}

#[test]
fn choices_have_seeds_of_their_own_and_the_prompt_counts_once() {
    let engine = story();
    let mut body = hello();
    body["n"] = json!(3);
    body["seed"] = json!(5);
    let got = post(&engine, CHAT, &body).json();
    let choices = got["choices"].as_array().unwrap();
    let indices: Vec<_> = choices
        .iter()
        .map(|choice| choice["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indices, [0, 1, 2]);
    assert!(
        choices
            .iter()
            .all(|choice| choice["message"]["content"] == "Once upon")
    );
    assert_eq!(seeds(&engine), [Some(5), Some(6), Some(7)]);
    let usage = &got["usage"];
    assert_eq!(
        (
            &usage["prompt_tokens"],
            &usage["completion_tokens"],
            &usage["total_tokens"]
        ),
        (&json!(3), &json!(6), &json!(9))
    );
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 1);
    assert_eq!(engine.alive(), 0);
}

#[test]
fn each_prompt_of_a_list_has_its_choices_side_by_side() {
    let engine = story();
    let body = json!({"prompt": ["a", "b"], "n": 2, "seed": 9, "echo": true});
    let got = post(&engine, TEXT, &body).json();
    let texts: Vec<_> = got["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| choice["text"].clone())
        .collect();
    assert_eq!(
        texts,
        ["aOnce upon", "aOnce upon", "bOnce upon", "bOnce upon"]
    );
    assert_eq!(seeds(&engine), [Some(9), Some(10), Some(9), Some(10)]);
    assert_eq!(got["usage"]["prompt_tokens"], 6);
}

#[test]
fn a_stream_tells_choices_in_turns() {
    let mut body = hello();
    body["n"] = json!(2);
    body["stream"] = json!(true);
    let got = post(&story(), CHAT, &body);
    let told: Vec<(u64, Value)> = events(&got)
        .iter()
        .map(|chunk| &chunk["choices"][0])
        .map(|choice| (choice["index"].as_u64().unwrap(), choice["delta"].clone()))
        .collect();
    let opening = json!({"role": "assistant", "content": null});
    let text = |text: &str| json!({ "content": text });
    assert_eq!(
        told,
        [
            (0, opening.clone()),
            (0, text("Once")),
            (1, opening),
            (1, text("Once")),
            (0, text(" upon")),
            (0, json!({})),
            (1, text(" upon")),
            (1, json!({})),
        ]
    );
    let sent = String::from_utf8(got.body).unwrap();
    assert!(sent.ends_with("data: [DONE]\n\n") && sent.matches("[DONE]").count() == 1);
}

#[test]
fn the_best_of_more_are_told() {
    let engine = story();
    let got = post(
        &engine,
        TEXT,
        &json!({"prompt": ["a", "b"], "n": 1, "best_of": 3}),
    )
    .json();
    let choices = got["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 2);
    assert!(choices.iter().all(|choice| choice["logprobs"].is_null()));
    assert_eq!(choices[1]["index"], 1);
    assert_eq!(engine.asked.borrow().len(), 6);
    assert_eq!(engine.asked.borrow()[0].logprobs, Some(0));
    assert_eq!(got["usage"]["completion_tokens"], 12);
}

#[test]
fn there_are_no_more_than_there_may_be() {
    let prompts = vec!["x"; 128];
    let error = post(&story(), TEXT, &json!({"prompt": prompts, "n": 9})).error();
    assert_eq!((error.0, error.2.as_deref()), (400, Some("prompt")));
    let got = post(&story(), TEXT, &json!({"prompt": prompts, "n": 8})).json();
    assert_eq!(got["choices"].as_array().map(Vec::len), Some(1024));
}
