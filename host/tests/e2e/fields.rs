//! Fields of other servers, histories with calls, and lists of prompts: whole and streamed, by the
//! native engine and by a baked one with the host's kernels and with its own.

use serde_json::{Value, json};

use crate::sandboxed::{ALLOW, compiled};
use crate::support::plain_host::PlainHost;
use crate::support::server::{Server, run, sterna};
use crate::support::{LILY, LILY_GREEDY};

/// The demo model ends this after 7 tokens by itself.
const ENDS: [u32; 3] = [5, 6, 7];
const SENTENCE: &str = "ivity of the world.";

fn merged(mut base: Value, more: &Value) -> Value {
    let more = more.as_object().unwrap().clone();
    base.as_object_mut().unwrap().extend(more);
    base
}

/// Text and reason of the first choice, which are the same whole and streamed.
fn completed(server: &Server, body: &Value) -> (String, String) {
    let body = merged(json!({ "temperature": 0 }), body);
    let whole = server.post("/v1/completions", &body).json();
    let choice = &whole["choices"][0];
    let streamed = merged(body, &json!({ "stream": true }));
    let (mut text, mut reason) = (String::new(), Value::Null);
    for event in server.connect().post_stream("/v1/completions", &streamed) {
        text += event["choices"][0]["text"].as_str().unwrap();
        reason = event["choices"][0]["finish_reason"].clone();
    }
    assert_eq!(
        (json!(text), reason),
        (choice["text"].clone(), choice["finish_reason"].clone())
    );
    (text, choice["finish_reason"].as_str().unwrap().to_owned())
}

/// Each honoured field on a request whose answer it changes, with what the answer is then.
fn effects(server: &Server) -> Vec<(String, String)> {
    let ends = |more: Value| {
        completed(
            server,
            &merged(json!({ "prompt": ENDS, "max_tokens": 20 }), &more),
        )
    };
    let lily = |more: Value| completed(server, &merged(json!({ "prompt": LILY }), &more));
    let stop = "stop".to_owned();
    assert_eq!(ends(json!({})), (SENTENCE.into(), stop.clone()));
    // The token behind "of".
    let ids = server.post(
        "/v1/completions",
        &json!({ "prompt": ENDS, "max_tokens": 20, "temperature": 0 }),
    );
    assert_eq!(ids.json()["usage"]["completion_tokens"], 7);
    assert_eq!(
        ends(json!({ "stop": "the" })),
        ("ivity of ".into(), stop.clone())
    );
    let shown = json!({ "stop": "the", "include_stop_str_in_output": true });
    assert_eq!(ends(shown), ("ivity of the".into(), stop));
    for field in [
        "max_new_tokens",
        "n_predict",
        "num_predict",
        "max_completion_tokens",
    ] {
        let (text, reason) = lily(json!({ field: 3 }));
        assert_eq!(
            (text.as_str(), reason.as_str()),
            (" She loved to", "length"),
            "{field}"
        );
    }
    let longer = [
        ends(json!({ "ignore_eos": true })),
        ends(json!({ "min_tokens": 20 })),
        ends(json!({ "min_new_tokens": 12, "stop": ["."] })),
    ];
    for (text, _) in &longer {
        assert!(
            text.starts_with("ivity of the world") && text.len() > SENTENCE.len(),
            "{text}"
        );
    }
    assert_eq!(
        (longer[0].1.as_str(), longer[1].1.as_str()),
        ("length", "length")
    );
    let penalised = lily(json!({ "repeat_penalty": 5.0, "max_tokens": 24 }));
    assert_eq!(
        penalised,
        lily(json!({ "repetition_penalty": 5.0, "max_tokens": 24 }))
    );
    assert!(!LILY_GREEDY.starts_with(&penalised.0));
    let greedy = lily(json!({ "top_p": 0, "temperature": 2, "seed": 3, "max_tokens": 24 }));
    assert!(LILY_GREEDY.starts_with(&greedy.0), "{greedy:?}");
    [longer.to_vec(), vec![penalised, greedy]].concat()
}

#[test]
fn honoured_fields_have_the_same_effect_by_every_engine() {
    let native = effects(&Server::start(&[]));
    let compiled = compiled();
    assert_eq!(effects(&Server::start(&[&compiled, ALLOW])), native);
    assert_eq!(
        effects(&Server::start(&[&compiled, ALLOW, "--isa", "simd128"])),
        native
    );
}

#[test]
fn stop_token_ids_end_the_answer() {
    let server = Server::start(&[]);
    let body = |more: &Value| merged(json!({ "prompt": ENDS, "max_tokens": 20 }), more);
    let plain = completed(&server, &body(&json!({}))).0;
    // Whichever token of the answer is named first, the answer ends there.
    let all: Vec<u32> = (0..4096).collect();
    let ended: Vec<String> = all
        .chunks(64)
        .map(|ids| completed(&server, &body(&json!({ "stop_token_ids": ids }))).0)
        .collect();
    assert!(
        ended.iter().all(|text| plain.starts_with(text.as_str())),
        "{ended:?}"
    );
    assert!(
        ended.iter().filter(|text| text.len() < plain.len()).count() >= 2,
        "{ended:?}"
    );
    let refused =
        |ids: Value| server.post("/v1/completions", &body(&json!({ "stop_token_ids": ids })));
    for ids in [json!([4096]), json!(vec![1; 65]), json!([-1]), json!("x")] {
        let answer = refused(ids);
        assert!(
            answer.error(400).contains("stop_token_ids"),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn seeds_are_drawn_where_minus_one_asks_for_it() {
    let server = Server::start(&[]);
    let texts: std::collections::HashSet<String> = (0..6)
        .map(|_| {
            let body = json!({ "prompt": LILY, "max_tokens": 16, "temperature": 1.5, "seed": -1 });
            server.post("/v1/completions", &body).completion()
        })
        .collect();
    assert!(texts.len() > 1, "{texts:?}");
}

/// Each choice of a list is what its prompt gets alone.
fn listed(post: impl Fn(&Value) -> Value, streamed: impl Fn(&Value) -> Vec<Value>) {
    let prompts = [
        json!(LILY),
        json!(ENDS),
        json!("The dog"),
        json!([9, 10]),
        json!(LILY),
    ];
    let sampling = json!({ "max_tokens": 12, "temperature": 0.9, "seed": 5 });
    let alone: Vec<Value> = prompts
        .iter()
        .map(|prompt| post(&merged(sampling.clone(), &json!({ "prompt": prompt }))))
        .collect();
    let list = merged(sampling, &json!({ "prompt": prompts }));
    let whole = post(&list);
    let choices = whole["choices"].as_array().unwrap();
    for (index, (choice, alone)) in choices.iter().zip(&alone).enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(choice["text"], alone["choices"][0]["text"]);
        assert_eq!(
            choice["finish_reason"],
            alone["choices"][0]["finish_reason"]
        );
    }
    assert_eq!(choices.len(), prompts.len());
    for field in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        let sum: u64 = alone
            .iter()
            .map(|alone| alone["usage"][field].as_u64().unwrap())
            .sum();
        assert_eq!(whole["usage"][field], sum, "{field}");
    }
    let options = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let events = streamed(&merged(list, &options));
    let mut texts = vec![String::new(); prompts.len()];
    let mut reasons = vec![Value::Null; prompts.len()];
    for choice in events.iter().filter_map(|event| event["choices"].get(0)) {
        let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
        assert!(
            reasons[index].is_null(),
            "text after the end of choice {index}"
        );
        texts[index] += choice["text"].as_str().unwrap();
        reasons[index] = choice["finish_reason"].clone();
    }
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(
            (&json!(texts[index]), &reasons[index]),
            (&choice["text"], &choice["finish_reason"])
        );
    }
    let (sum, said) = (&whole["usage"], &events.last().unwrap()["usage"]);
    assert_eq!(
        (&said["completion_tokens"], &said["prompt_tokens"]),
        (&sum["completion_tokens"], &sum["prompt_tokens"])
    );
}

#[test]
fn a_list_of_prompts_gets_a_choice_each() {
    // One at a time and one in the queue: longer lists than the engine has places for.
    let small = Server::start(&["--max-sequences", "1", "--max-queue", "1"]);
    for server in [
        &Server::start(&[]),
        &Server::start(&[&compiled(), ALLOW]),
        &small,
    ] {
        listed(
            |body| server.post("/v1/completions", body).json(),
            |body| {
                server
                    .connect()
                    .post_stream("/v1/completions", body)
                    .collect()
            },
        );
    }
    let long = json!({ "prompt": vec!["A"; 128], "max_tokens": 1 });
    let answer = small.post("/v1/completions", &long).json();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 128, "{answer}");
    assert_eq!(small.metric("sterna_sequences_running"), 0.0);
    let bad = json!({ "prompt": ["A", LILY.repeat(100)], "max_tokens": 1 });
    let answer = Server::start(&[]).post("/v1/completions", &bad);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["param"], "prompt[1]");
}

#[test]
fn lists_that_compete_for_few_places_are_answered_whole() {
    let server = Server::start(&["--max-sequences", "1", "--max-queue", "1"]);
    let body = json!({ "prompt": vec![LILY; 8], "max_tokens": 6, "temperature": 0 });
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || server.post("/v1/completions", &body);
        let clients: Vec<_> = (0..5).map(|_| scope.spawn(ask)).collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    let taken: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status != 429)
        .collect();
    assert!(!taken.is_empty());
    for answer in taken {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["choices"].as_array().unwrap().len(), 8);
    }
}

#[test]
fn a_list_of_prompts_in_one_file_under_any_host() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app.wasm");
    let (status, _, stderr) = run(sterna().args(["compose", "-o"]).arg(&app));
    assert!(status.success(), "{stderr}");
    let models =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../component/engine/models");
    let plain = PlainHost::new(&app).with_models(&models);
    let json = |line: &str| serde_json::from_str(line).ok();
    listed(
        |body| serde_json::from_str(&plain.post(body)).unwrap(),
        |body| {
            plain
                .post(body)
                .lines()
                .filter_map(|line| json(line.strip_prefix("data: ")?))
                .collect()
        },
    );
}

#[test]
fn a_client_that_leaves_a_list_cancels_all_of_it() {
    let server = Server::start(&["--isa", "scalar", "--threads", "1"]);
    let body =
        json!({ "prompt": vec![LILY; 20], "max_tokens": 400, "temperature": 0, "stream": true });
    let mut events = server.connect().post_stream("/v1/completions", &body);
    events.next().unwrap();
    events.kill();
    server.wait_metric("sterna_generations_cancelled_total", 8.0);
    server.wait_metric("sterna_sequences_running", 0.0);
    server.wait_metric("sterna_sequences_queued", 0.0);
}

#[test]
fn histories_are_taken_as_clients_replay_them() {
    let call = json!({ "id": "1", "type": "function", "function": { "name": "f", "arguments": "{\"a\": [1]}" } });
    let user = json!({ "role": "user", "content": LILY });
    let compiled = compiled();
    let servers = [Server::start(&[]), Server::start(&[&compiled, ALLOW])];
    for turn in [
        vec![json!({ "role": "assistant", "content": null })],
        vec![json!({ "role": "assistant" })],
        vec![json!({ "role": "assistant", "content": [{ "type": "refusal", "refusal": "no" }] })],
        vec![
            json!({ "role": "assistant", "content": null, "tool_calls": [call] }),
            json!({ "role": "tool", "tool_call_id": "1", "content": "5" }),
        ],
        vec![
            json!({ "role": "assistant", "content": null, "function_call": call["function"] }),
            json!({ "role": "function", "name": "f", "content": "5" }),
        ],
    ] {
        let messages = [vec![user.clone()], turn, vec![user.clone()]].concat();
        let body = json!({ "messages": messages, "max_tokens": 4, "temperature": 0,
            "tools": [{ "type": "function", "function": { "name": "f" } }], "tool_choice": "none" });
        let [native, sandboxed] = servers.each_ref().map(|server| {
            let answer = server.post("/v1/chat/completions", &body);
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.json()["choices"].clone()
        });
        assert_eq!(native, sandboxed);
    }
}

#[test]
fn json_that_nests_without_end_is_refused() {
    let server = Server::start(&[]);
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
    let json = ["Content-Type: application/json"];
    for n in [129, 10_000, 400_000] {
        for value in [deep(n), objects(n.min(100_000))] {
            let body = format!("{{\"prompt\": \"x\", \"metadata\": {value}}}");
            let answer =
                server
                    .connect()
                    .request("POST", "/v1/completions", &json, body.as_bytes());
            assert!([400, 413].contains(&answer.status), "{}", answer.text());
        }
    }
    // Within a text it is a text, and stays one.
    let call = json!({ "function": { "name": "f", "arguments": deep(50_000) } });
    let messages =
        json!([{ "role": "assistant", "tool_calls": [call] }, { "role": "user", "content": "x" }]);
    let body = json!({ "messages": messages, "max_tokens": 1 });
    let answer = server.post("/v1/chat/completions", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
}
