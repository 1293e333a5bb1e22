//! What answers tell of tokens: `logprobs`, `prompt_logprobs`, `echo`, `return_token_ids`.

use super::*;
use crate::choices::MAX_BYTES;

/// The choices of a completion, and its usage.
fn completed(body: Value) -> (Value, Value) {
    let got = post(&story(), TEXT, &body).json();
    (got["choices"].clone(), got["usage"].clone())
}

#[test]
fn a_chat_tells_each_token_and_the_likeliest_ones() {
    let mut body = hello();
    body["logprobs"] = json!(true);
    body["top_logprobs"] = json!(2);
    let got = post(&story(), CHAT, &body).json();
    let token = |text: &str, logprob: f32| json!({"token": text, "logprob": logprob, "bytes": text.as_bytes()});
    let told = |text: &str, logprob: f32| {
        let mut told = token(text, logprob);
        told["top_logprobs"] = json!([token("t1", -1.0), token("t2", -2.0)]);
        told
    };
    assert_eq!(
        got["choices"][0]["logprobs"],
        json!({"content": [told("Once", -1.0), told("", -1.0), told(" upon", -2.0)], "refusal": null})
    );
    assert_eq!(got["choices"][0]["message"]["content"], "Once upon");
    body["top_logprobs"] = json!(0);
    body["return_tokens_as_token_ids"] = json!(true);
    let got = post(&story(), CHAT, &body).json();
    let content = &got["choices"][0]["logprobs"]["content"];
    assert_eq!(content[2]["token"], "token_id:2");
    assert_eq!(content[2]["top_logprobs"], json!([]));
}

#[test]
fn a_completion_tells_tokens_in_lists() {
    let (choices, _) = completed(json!({"prompt": "x", "logprobs": 1}));
    assert_eq!(
        choices[0]["logprobs"],
        json!({
            "tokens": ["Once", "", " upon"],
            "token_logprobs": [-1.0, -1.0, -2.0],
            "top_logprobs": [
                {"t1": -1.0, "Once": -1.0},
                {"t1": -1.0, "": -1.0},
                {"t1": -1.0, " upon": -2.0},
            ],
            "text_offset": [0, 4, 4],
        })
    );
    let (choices, _) = completed(json!({"prompt": "x"}));
    assert_eq!(choices[0]["logprobs"], Value::Null);
}

/// As lm-eval asks for the likelihood of a text.
#[test]
fn an_echo_comes_before_the_answer_in_text_and_probabilities() {
    let request =
        json!({"prompt": [7, 8, 9], "echo": true, "logprobs": 1, "max_tokens": 1, "seed": 1234});
    let (choices, _) = completed(request);
    let choice = &choices[0];
    // The special token is none of the text.
    assert_eq!(choice["text"], "Hi éyouOnce upon");
    let logprobs = &choice["logprobs"];
    assert_eq!(
        logprobs["tokens"],
        json!([
            "<s>",
            "bytes:\\x48\\x69\\x20\\xc3",
            "bytes:\\xa9\\x79\\x6f\\x75",
            "Once",
            "",
            " upon"
        ])
    );
    assert_eq!(
        logprobs["token_logprobs"],
        json!([null, -8.0, -9.0, -1.0, -1.0, -2.0])
    );
    assert_eq!(logprobs["text_offset"], json!([0, 0, 3, 7, 11, 11]));
    assert_eq!(logprobs["top_logprobs"][0], Value::Null);
    assert_eq!(
        logprobs["top_logprobs"][1],
        json!({"t1": -1.0, "bytes:\\x48\\x69\\x20\\xc3": -8.0})
    );
    // The text that the client wrote comes as it is.
    let (choices, _) = completed(json!({"prompt": "A\tb", "echo": true}));
    assert_eq!(choices[0]["text"], "A\tbOnce upon");
    // Of one that is cut, what is left.
    let (cut, _) = completed(json!({"prompt": "A\tb", "echo": true, "truncate_prompt_tokens": 3}));
    assert_eq!(cut[0]["text"], "Hi éyouOnce upon");
    assert_eq!(choices[0]["logprobs"], Value::Null);
}

#[test]
fn a_prompt_may_be_all_there_is() {
    let engine = story();
    let body = json!({"prompt": ["x", [1]], "echo": true, "logprobs": 2, "max_tokens": 0});
    let got = post(&engine, TEXT, &body).json();
    for (at, text) in ["x", "Hi éyou"].into_iter().enumerate() {
        let choice = &got["choices"][at];
        assert_eq!(choice["text"], text);
        assert_eq!(
            choice["logprobs"]["token_logprobs"],
            json!([null, -8.0, -9.0])
        );
        assert_eq!(choice["finish_reason"], "length");
    }
    let asked = engine.asked.borrow();
    assert_eq!(
        (asked[0].max_tokens, asked[0].prompt_logprobs),
        (Some(0), Some(2))
    );
    let refused = post(&engine, TEXT, &json!({"prompt": "x", "max_tokens": 0}));
    assert_eq!(refused.error().2.as_deref(), Some("max_tokens"));
}

#[test]
fn prompt_probabilities_and_ids_are_vllms() {
    let wishes = json!({"prompt_logprobs": 1, "return_token_ids": true});
    let places = json!([
        null,
        {
            "1": {"logprob": -1.0, "rank": 1, "decoded_token": "t1"},
            "8": {"logprob": -8.0, "rank": 8, "decoded_token": "bytes:\\x48\\x69\\x20\\xc3"},
        },
        {
            "1": {"logprob": -1.0, "rank": 1, "decoded_token": "t1"},
            "9": {"logprob": -9.0, "rank": 9, "decoded_token": "bytes:\\xa9\\x79\\x6f\\x75"},
        },
    ]);
    let with = |mut body: Value| {
        let fields = body.as_object_mut().unwrap();
        fields.extend(wishes.as_object().unwrap().clone());
        body
    };
    let text = post(&story(), TEXT, &with(json!({"prompt": "x"}))).json();
    let choice = &text["choices"][0];
    assert_eq!(choice["prompt_logprobs"], places);
    assert_eq!(choice["prompt_token_ids"], json!([7, 8, 9]));
    assert_eq!(choice["token_ids"], json!([1, 1, 2]));
    assert_eq!(
        (&choice["text"], &choice["logprobs"]),
        (&json!("Once upon"), &Value::Null)
    );
    let chat = post(&story(), CHAT, &with(hello())).json();
    assert_eq!(chat["prompt_logprobs"], places);
    assert_eq!(chat["prompt_token_ids"], json!([7, 8, 9]));
    assert_eq!(chat["choices"][0]["token_ids"], json!([1, 1, 2]));
    let plain = post(&story(), CHAT, &hello()).json();
    assert!(
        plain.get("prompt_token_ids").is_none() && plain["choices"][0].get("token_ids").is_none()
    );
}

#[test]
fn a_stream_tells_each_token_once_and_none_without_its_place() {
    let body = json!({
        "prompt": [7, 8, 9], "echo": true, "logprobs": 0, "max_tokens": 5, "stream": true,
        "return_token_ids": true,
    });
    let chunks = events(&post(&story(), TEXT, &body));
    let mut told: [Vec<Value>; 4] = Default::default();
    let mut text = String::new();
    for choice in chunks.iter().filter_map(|chunk| chunk["choices"].get(0)) {
        text += choice["text"].as_str().unwrap();
        let logprobs = &choice["logprobs"];
        let lists = [
            &logprobs["tokens"],
            &logprobs["text_offset"],
            &choice["token_ids"],
            &choice["prompt_token_ids"],
        ];
        for (told, list) in told.iter_mut().zip(lists) {
            told.extend(list.as_array().into_iter().flatten().cloned());
        }
    }
    assert_eq!(text, "Hi éyouOnce upon");
    let [tokens, offsets, ids, prompt] = told.map(Value::from);
    assert_eq!(tokens.as_array().map(Vec::len), Some(6));
    assert_eq!(offsets, json!([0, 0, 3, 7, 11, 11]));
    assert_eq!((ids, prompt), (json!([1, 1, 2]), json!([7, 8, 9])));
}

#[test]
fn biases_of_texts_are_those_of_their_tokens() {
    let engine = story();
    let body = json!({"prompt": "x", "logit_bias": {"ab": -1, "3": 2}});
    assert_eq!(post(&engine, TEXT, &body).status, 200);
    let expected = engine.tokenize("org/demo", "ab", false).unwrap();
    let mut expected: Vec<(u32, f32)> = expected.into_iter().map(|id| (id, -1.0)).collect();
    expected.insert(0, (3, 2.0));
    assert_eq!(engine.asked.borrow()[0].logit_bias, expected);
}

#[test]
fn a_last_message_may_be_continued() {
    use crate::engine::{ConversationEnd, Prompt};
    for (fields, expected) in [
        (
            json!({"continue_final_message": true}),
            ConversationEnd::LastTurnOpen,
        ),
        (
            json!({"continue_final_message": true, "add_generation_prompt": false}),
            ConversationEnd::LastTurnOpen,
        ),
        (
            json!({"add_generation_prompt": false}),
            ConversationEnd::Closed,
        ),
        (
            json!({"add_generation_prompt": true}),
            ConversationEnd::AnswerOpening,
        ),
    ] {
        let engine = story();
        let mut body = hello();
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        assert_eq!(post(&engine, CHAT, &body).status, 200);
        let asked = engine.asked.borrow();
        let Prompt::Messages(conversation) = &asked[0].prompt else {
            panic!("a conversation");
        };
        assert_eq!(conversation.end, expected);
    }
    let mut both = hello();
    both["continue_final_message"] = json!(true);
    both["add_generation_prompt"] = json!(true);
    let error = post(&story(), CHAT, &both).error();
    assert_eq!(error.2.as_deref(), Some("continue_final_message"));
}

#[test]
fn an_answer_that_is_collected_has_a_bound_and_a_stream_has_none() {
    let long = || {
        let text_of = "x".repeat(100_000);
        ScriptedEngine::new(Ok(vec![text(&text_of), end("")]))
    };
    let most = MAX_BYTES / 100_000;
    let body = |n: usize| json!({"prompt": "x", "n": n});
    let refused = post(&long(), TEXT, &body(most + 1));
    let (status, code, _) = refused.error();
    assert_eq!((status, code.as_str()), (400, "answer_too_large"));
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("8 MiB"), "{message}");
    assert_eq!(post(&long(), TEXT, &body(most)).status, 200);
    let mut stream = body(most + 1);
    stream["stream"] = json!(true);
    let chunks = events(&post(&long(), TEXT, &stream));
    assert!(chunks.iter().all(|chunk| chunk.get("error").is_none()));
}
