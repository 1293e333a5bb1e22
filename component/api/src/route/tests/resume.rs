//! Streams that were cut behind each of their events, and go on with the rest.

use super::*;
use crate::engine::{Error, FinishReason};
use calls::{PIECES, qwen};

const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const OLLAMA: &str = "/api/chat";

fn key(letter: char) -> String {
    letter.to_string().repeat(32)
}

fn keyed(keys: &[char]) -> Settings {
    Settings {
        resume_keys: keys.iter().copied().map(key).collect(),
        ..settings()
    }
}

/// What a client did with a stream: its body, and the ids that it was sent.
#[derive(Clone, Default)]
struct Client {
    last: Option<String>,
    resume: Option<Value>,
}

fn open(
    settings: &Settings,
    engine: &ScriptedEngine,
    path: &str,
    body: &Value,
    at: u64,
    client: &Client,
) -> Got {
    let mut body = body.clone();
    if let Some(resume) = &client.resume {
        body["resume"] = resume.clone();
    }
    let body = body.to_string();
    let head = Head {
        last_event_id: client.last.clone(),
        ..head("POST", path, body.as_bytes())
    };
    let stamp = Stamp {
        id: u128::from(at) << 90,
        created: at,
        clock: || 0,
    };
    let reply = now(handle(engine, settings, &head, &mut body.as_bytes(), stamp));
    Got {
        status: reply.status,
        headers: Vec::new(),
        body: match reply.body {
            Body::Whole(bytes) => bytes,
            Body::Events(events) => all(*events).concat(),
        },
    }
}

/// Each event with its id; those without one are left out.
fn told(got: &Got) -> Vec<(String, String)> {
    let body = std::str::from_utf8(&got.body).unwrap();
    let events = body.split_inclusive("\n\n");
    let told = events.filter_map(|event| event.strip_prefix("id: ")?.split_once('\n'));
    told.map(|(id, event)| (id.to_owned(), event.to_owned()))
        .collect()
}

/// The events, those of each choice behind those of the one before it: which comes first depends on
/// the server. So do the usages of all of them together, except the last.
fn texts(told: &[(String, String)]) -> Vec<String> {
    let index = |event: &str| {
        let data = event.lines().find_map(|line| line.strip_prefix("data: "));
        let mut chunk: Value = serde_json::from_str(data?).ok()?;
        let index = chunk["choices"][0]["index"].as_u64()?;
        chunk["usage"] = Value::Null;
        Some((index, chunk.to_string()))
    };
    let mut events: Vec<(u64, String)> = told
        .iter()
        .map(|(_, event)| index(event).unwrap_or((u64::MAX, event.clone())))
        .collect();
    events.sort_by_key(|(index, _)| *index);
    events.into_iter().map(|(_, event)| event).collect()
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn streamed(body: Value) -> Value {
    with(body, "stream", json!(true))
}

/// The requests of which every cut is tried.
fn cases() -> Vec<(&'static str, ScriptedEngine, Value)> {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    let calling = || qwen(&PIECES, FinishReason::Stop);
    let limited = || {
        let mut engine = story();
        engine.models[0].max_sequences = 2;
        engine
    };
    let chat = |field: &str, value| streamed(with(hello(), field, value));
    let usage = json!({"include_usage": true, "continuous_usage_stats": true});
    let prompts = json!({"prompt": ["a", "b", "c"], "n": 2, "stream": true, "echo": true});
    let asks = json!({"input": "Hello", "stream": true, "tools": [{"type": "function",
        "name": "f", "parameters": {}}]});
    let message = with(hello(), "max_tokens", json!(50));
    let named = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    vec![
        (CHAT, story(), streamed(hello())),
        (CHAT, story(), chat("stream_options", usage.clone())),
        (CHAT, limited(), chat("n", json!(3))),
        (
            CHAT,
            story(),
            with(chat("n", json!(2)), "stream_options", usage),
        ),
        (CHAT, calling(), chat("tools", tools)),
        (CHAT, calling(), chat("include_reasoning", json!(false))),
        (
            CHAT,
            story(),
            with(chat("logprobs", json!(true)), "top_logprobs", json!(2)),
        ),
        (TEXT, story(), json!({"prompt": "Hi", "stream": true})),
        (TEXT, limited(), prompts),
        (RESPONSES, calling(), asks),
        (
            RESPONSES,
            story(),
            json!({"input": "Hello", "stream": true}),
        ),
        (MESSAGES, story(), streamed(message.clone())),
        (MESSAGES, calling(), streamed(with(message, "tools", named))),
    ]
}

#[test]
fn the_rest_follows_a_cut_behind_any_event() {
    for (path, engine, body) in cases() {
        let first = open(
            &keyed(&['a']),
            &engine,
            path,
            &body,
            1000,
            &Client::default(),
        );
        let whole = told(&first);
        let count = first
            .body
            .windows(5)
            .filter(|bytes| *bytes == b"data:")
            .count();
        assert_eq!(whole.len(), count, "each event has an id: {body}");
        let ids: Vec<String> = whole.iter().map(|(id, _)| id.clone()).collect();
        for cut in 1..=whole.len() {
            let header = Client {
                last: Some(ids[cut - 1].clone()),
                ..Client::default()
            };
            let one = Client {
                resume: Some(json!(ids[cut - 1])),
                ..Client::default()
            };
            let all = Client {
                resume: Some(json!(ids[..cut])),
                last: Some(ids[cut - 1].clone()),
            };
            for client in [header, one, all] {
                // Another server, later, with other keys beside.
                let rest = open(&keyed(&['b', 'a']), &engine, path, &body, 2000, &client);
                assert_eq!(rest.status, 200, "{}", String::from_utf8_lossy(&rest.body));
                let rest = told(&rest);
                assert_eq!(texts(&rest), texts(&whole[cut..]), "{cut} of {body}");
            }
        }
    }
}

#[test]
fn a_stream_goes_on_as_often_as_it_is_cut() {
    for (path, engine, body) in cases() {
        let settings = keyed(&['a']);
        let whole = told(&open(
            &settings,
            &engine,
            path,
            &body,
            1000,
            &Client::default(),
        ));
        let mut sent: Vec<(String, String)> = Vec::new();
        while sent.len() < whole.len() {
            let ids: Vec<_> = sent.iter().map(|(id, _)| id.as_str()).collect();
            let client = Client {
                resume: Some(json!(ids)),
                ..Client::default()
            };
            // One event of each.
            let at = if sent.is_empty() { 1000 } else { 3000 };
            let got = told(&open(&settings, &engine, path, &body, at, &client));
            sent.push(got[0].clone());
        }
        assert_eq!(texts(&sent), texts(&whole), "{body}");
    }
}

#[test]
fn the_engine_is_told_the_tokens_that_the_client_was_sent() {
    let engine = story();
    let settings = keyed(&['a']);
    let body = streamed(with(hello(), "n", json!(2)));
    let whole = told(&open(
        &settings,
        &engine,
        CHAT,
        &body,
        1000,
        &Client::default(),
    ));
    let resumed = |client: &Client| {
        engine.asked.borrow_mut().clear();
        open(&settings, &engine, CHAT, &body, 2000, client);
        let asked = engine.asked.borrow();
        let asked = asked.iter();
        asked
            .map(|asked| (asked.sampling.seed, asked.resumed.clone()))
            .collect::<Vec<_>>()
    };
    let seed = (1000_u128 << 90 >> 75) as u64;
    let ids: Vec<&str> = whole.iter().map(|(id, _)| id.as_str()).collect();
    // Openings, "Once" of both, and the end of the first.
    let all = Client {
        resume: Some(json!(ids[..4])),
        ..Client::default()
    };
    assert_eq!(
        resumed(&all),
        [(Some(seed), vec![1]), (Some(seed + 1), vec![1])]
    );
    let last = Client {
        last: Some(ids[3].to_owned()),
        ..Client::default()
    };
    assert_eq!(
        resumed(&last),
        [(Some(seed), vec![]), (Some(seed + 1), vec![1])]
    );
    // The first has ended: it is not generated again.
    let ended = Client {
        resume: Some(json!(ids[..6])),
        ..Client::default()
    };
    let told = resumed(&ended);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, Some(seed + 1));
}

#[test]
fn the_last_event_of_a_cut_stream_has_all_that_is_needed() {
    let settings = keyed(&['a']);
    let body = streamed(hello());
    let cut = || {
        let fault = Error::Unavailable("the server is shutting down".into());
        ScriptedEngine::new(Ok(vec![text("Once"), text(" upon"), Err(fault)]))
    };
    let whole_engine = ScriptedEngine::new(Ok(vec![text("Once"), text(" upon"), end(" a time")]));
    let message = with(body.clone(), "max_tokens", json!(9));
    let asked = json!({"input": "Hello", "stream": true});
    for (path, body) in [(CHAT, body), (MESSAGES, message), (RESPONSES, asked)] {
        let whole = told(&open(
            &settings,
            &whole_engine,
            path,
            &body,
            1000,
            &Client::default(),
        ));
        let broken = open(&settings, &cut(), path, &body, 1000, &Client::default());
        let events = told(&broken);
        let (last, sent) = events.split_last().unwrap();
        assert_eq!(texts(sent), texts(&whole[..sent.len()]));
        let mut data = last
            .1
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        let document: Value = serde_json::from_str(data.next().unwrap()).unwrap();
        let resume = [
            &document["error"]["resume"],
            &document["resume"],
            &document["response"]["resume"],
        ];
        let resume = resume
            .into_iter()
            .find(|resume| resume.is_object())
            .unwrap();
        assert_eq!(resume["token"], last.0);
        assert_eq!(resume["tokens"], json!([1, 1]));
        let client = Client {
            last: Some(last.0.clone()),
            ..Client::default()
        };
        let rest = open(&settings, &whole_engine, path, &body, 2000, &client);
        assert_eq!(texts(&told(&rest)), texts(&whole[sent.len()..]), "{path}");
        let asked = whole_engine.asked.borrow();
        assert_eq!(asked.last().unwrap().resumed, [1, 1]);
    }
}

#[test]
fn lines_of_ollama_go_on_with_the_token_of_the_last() {
    let settings = keyed(&['a']);
    let fault = Error::Unavailable("the server is shutting down".into());
    let engine = ScriptedEngine::new(Ok(vec![text("Once"), text(" upon"), Err(fault)]));
    let cut = open(
        &settings,
        &engine,
        OLLAMA,
        &hello(),
        1000,
        &Client::default(),
    );
    let whole_engine = ScriptedEngine::new(Ok(vec![text("Once"), text(" upon"), end(" a time")]));
    let whole = open(
        &settings,
        &whole_engine,
        OLLAMA,
        &hello(),
        1000,
        &Client::default(),
    );
    let lines = |got: &Got| -> Vec<String> {
        let text = String::from_utf8(got.body.clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let (cut, whole) = (lines(&cut), lines(&whole));
    let (last, sent) = cut.split_last().unwrap();
    assert_eq!(sent, &whole[..sent.len()]);
    let last: Value = serde_json::from_str(last).unwrap();
    let client = Client {
        resume: Some(last["resume"]["token"].clone()),
        ..Client::default()
    };
    let rest = open(&settings, &whole_engine, OLLAMA, &hello(), 2000, &client);
    assert_eq!(lines(&rest), whole[sent.len()..]);
}

#[test]
fn what_cannot_be_resumed_is_refused() {
    let (settings, engine, body) = (keyed(&['a']), story(), streamed(hello()));
    let whole = told(&open(
        &settings,
        &engine,
        CHAT,
        &body,
        1000,
        &Client::default(),
    ));
    let id = whole[1].0.clone();
    let other = told(&open(
        &settings,
        &engine,
        CHAT,
        &body,
        1001,
        &Client::default(),
    ));
    let refused =
        |settings: &Settings, engine: &ScriptedEngine, path, body: &Value, at, resume: Value| {
            let client = Client {
                resume: Some(resume),
                ..Client::default()
            };
            let got = open(settings, engine, path, body, at, &client);
            assert_eq!(got.status, 400);
            let error = got.json()["error"].clone();
            assert_eq!(error["param"], "resume", "{error}");
            error["message"].as_str().unwrap().to_owned()
        };
    let asks = |resume: Value| refused(&settings, &engine, CHAT, &body, 2000, resume);
    let changed = id.replacen(&id[20..21], if &id[20..21] == "A" { "B" } else { "A" }, 1);
    for (resume, why) in [
        (json!(changed), "signed"),
        (json!("x"), "whole and as it was sent"),
        (json!(""), "whole and as it was sent"),
        (json!([id, "x"]), "whole and as it was sent"),
        (json!([id, other[1].0]), "several streams"),
        (json!(7), "the id of an event"),
        (json!({"id": id}), "the id of an event"),
    ] {
        let message = asks(resume);
        assert!(message.contains(why), "{message}");
    }
    let own = json!(id);
    for (settings, engine, path, body, at, why) in [
        (keyed(&['b']), story(), CHAT, body.clone(), 2000, "signed"),
        (keyed(&[]), story(), CHAT, body.clone(), 2000, "resume_key"),
        (
            keyed(&['a']),
            story(),
            CHAT,
            hello(),
            2000,
            "'stream': true",
        ),
        (
            keyed(&['a']),
            story(),
            CHAT,
            with(body.clone(), "temperature", json!(0.5)),
            2000,
            "another request",
        ),
        (
            keyed(&['a']),
            story(),
            TEXT,
            json!({"prompt": "Hello", "stream": true}),
            2000,
            "another request",
        ),
        (
            keyed(&['a']),
            story(),
            CHAT,
            body.clone(),
            1000 + 86_401,
            "older",
        ),
    ] {
        let message = refused(&settings, &engine, path, &body, at, own.clone());
        assert!(message.contains(why), "{message}");
    }
    for change in [
        |engine: &mut ScriptedEngine| engine.models[0].fingerprint = "cafe".into(),
        |engine: &mut ScriptedEngine| engine.models[0].kv_type = "int8".into(),
    ] {
        let mut engine = story();
        change(&mut engine);
        let message = refused(&settings, &engine, CHAT, &body, 2000, own.clone());
        assert!(message.contains("another model"), "{message}");
    }
    // A day later to the second it still is one.
    let client = Client {
        resume: Some(own),
        ..Client::default()
    };
    assert_eq!(
        open(&settings, &engine, CHAT, &body, 1000 + 86_400, &client).status,
        200
    );
}

#[test]
fn an_answer_that_is_another_ends_with_a_fault() {
    let (settings, body) = (keyed(&['a']), streamed(hello()));
    let whole = told(&open(
        &settings,
        &story(),
        CHAT,
        &body,
        1000,
        &Client::default(),
    ));
    let client = Client {
        last: Some(whole[whole.len() - 2].0.clone()),
        ..Client::default()
    };
    let other = ScriptedEngine::new(Ok(vec![end("")]));
    let got = open(&settings, &other, CHAT, &body, 2000, &client);
    let sent = String::from_utf8(got.body).unwrap();
    assert!(sent.contains("not the one that was begun"), "{sent}");
}

#[test]
fn without_a_key_there_are_no_ids() {
    let got = open(
        &settings(),
        &story(),
        CHAT,
        &streamed(hello()),
        1000,
        &Client::default(),
    );
    assert!(told(&got).is_empty());
    assert!(!String::from_utf8(got.body).unwrap().contains("id: "));
}
