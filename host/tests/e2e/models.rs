//! Several models in one process: each with its own tokens, by its names, also where they do not
//! fit into memory together.

use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::support::server::{Server, run, sterna};
use crate::support::{LILY, LILY_GREEDY, wait_until};

/// The demo model is called `story` here, and one of the fixtures' `tiny`.
const STORY: &str = "story=demo";
/// Too little for both, enough for either.
const TIGHT: [&str; 2] = ["--models-memory", "64"];

fn fixture() -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let path = fixtures.join("qwen3/ternary-Q2_0.gguf");
    path.to_str().unwrap().to_owned()
}

fn serve(options: &[&str]) -> Server {
    let tiny = format!("tiny={}", fixture());
    let models = ["--model", STORY, "--model", &tiny];
    Server::start(&[&models, options].concat())
}

fn story(model: &str) -> Value {
    json!({"model": model, "prompt": LILY, "max_tokens": 48, "temperature": 0})
}

fn tiny(model: &str) -> Value {
    json!({
        "model": model, "prompt": [284, 17, 300, 42, 42, 290, 7, 128], "max_tokens": 24,
        "temperature": 0, "ignore_eos": true,
    })
}

/// The tokens of the other model, from a server that has no other.
fn tiny_alone() -> String {
    let server = Server::start(&["--model", &fixture(), "--model-name", "alone"]);
    let text = server.post("/v1/completions", &tiny("alone")).completion();
    assert!(!text.is_empty());
    text
}

fn ask(server: &Server, body: &Value) -> String {
    server.post("/v1/completions", body).completion()
}

fn states(server: &Server) -> Vec<(String, String)> {
    let listed = server.get("/v1/models").json();
    let listed = listed["data"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    listed
        .map(|model| (text(&model["id"]), text(&model["state"])))
        .collect()
}

fn are(server: &Server, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(id, state)| ((*id).to_owned(), (*state).to_owned()))
        .collect();
    assert_eq!(states(server), expected, "{}", server.log());
}

#[test]
fn each_model_has_its_own_tokens_by_all_of_its_names() {
    let alone = tiny_alone();
    let server = serve(&["--alias", "gpt-4=tiny"]);
    are(
        &server,
        &[
            ("story", "loaded"),
            ("tiny", "unloaded"),
            ("gpt-4", "unloaded"),
        ],
    );
    assert_eq!(server.get("/readyz").json()["model"], "story");
    assert_eq!(ask(&server, &story("story")), LILY_GREEDY);
    assert_eq!(ask(&server, &tiny("gpt-4")), alone);
    // The first one answers who names none.
    let mut unnamed = story("");
    unnamed.as_object_mut().unwrap().remove("model");
    let answer = server.post("/v1/completions", &unnamed).json();
    assert_eq!(answer["model"], "story");
    assert_eq!(answer["choices"][0]["text"], LILY_GREEDY);
    are(
        &server,
        &[("story", "loaded"), ("tiny", "loaded"), ("gpt-4", "loaded")],
    );
    let listed = server.get("/v1/models").json();
    assert_eq!(listed["data"][2]["root"], "tiny");
    assert_ne!(
        listed["data"][0]["parameters"],
        listed["data"][1]["parameters"]
    );
    for path in ["/api/ps", "/api/tags"] {
        let listed = server.get(path).json();
        assert_eq!(listed["models"].as_array().unwrap().len(), 3, "{listed}");
    }
    assert_eq!(
        server.metric("sterna_model_loaded{model_name=\"tiny\"}"),
        1.0
    );
    let tokens = "sterna_model_generated_tokens_total{model_name=\"tiny\"}";
    assert_eq!(server.metric(tokens), 24.0);
    assert_eq!(server.metric("sterna_generated_tokens_total"), 120.0);
}

#[test]
fn an_unknown_name_is_refused_with_those_there_are_or_answered_by_the_default() {
    let server = serve(&[]);
    let message = server.post("/v1/completions", &story("gpt-4")).error(404);
    assert!(message.contains("There are: 'story', 'tiny'."), "{message}");
    let chat = json!({"model": "gpt-4", "messages": [{"role": "user", "content": "x"}]});
    let ollama = server.post("/api/chat", &chat);
    assert_eq!(ollama.status, 404);
    assert!(
        ollama.text().contains("There are: 'story'"),
        "{}",
        ollama.text()
    );
    drop(server);
    let server = serve(&["--default-model", "story"]);
    let answer = server.post("/v1/completions", &story("gpt-4")).json();
    assert_eq!(answer["model"], "gpt-4");
    assert_eq!(answer["choices"][0]["text"], LILY_GREEDY);
    assert_eq!(states(&server)[1].1, "unloaded");
}

#[test]
fn models_that_do_not_fit_together_take_turns() {
    let alone = tiny_alone();
    let server = serve(&TIGHT);
    for _ in 0..3 {
        assert_eq!(ask(&server, &story("story")), LILY_GREEDY);
        are(&server, &[("story", "loaded"), ("tiny", "unloaded")]);
        assert_eq!(ask(&server, &tiny("tiny")), alone);
        are(&server, &[("story", "unloaded"), ("tiny", "loaded")]);
    }
    assert_eq!(
        server.metric("sterna_model_loads_total{model_name=\"tiny\",result=\"ok\"}"),
        3.0
    );
    assert_eq!(
        server.metric("sterna_model_unloads_total{model_name=\"story\"}"),
        3.0
    );
    assert_eq!(
        server.metric("sterna_model_memory_bytes{model_name=\"story\"}"),
        0.0
    );
    assert_eq!(server.metric("sterna_sequences_running"), 0.0);
    assert_eq!(
        server.get("/readyz").status,
        200,
        "it is loaded when it is asked for"
    );
    let log = server.log();
    assert!(log.contains("they take turns"), "{log}");
}

/// Both at once: nobody's stream is cut, and everybody gets their model's tokens.
#[test]
fn those_who_ask_for_both_at_once_all_get_their_own() {
    let alone = tiny_alone();
    for options in [&[][..], &TIGHT] {
        let server = serve(options);
        thread::scope(|scope| {
            for number in 0..12 {
                let (server, alone) = (&server, &alone);
                scope.spawn(move || {
                    for _ in 0..2 {
                        if number % 2 == 0 {
                            let mut body = story("story");
                            body["stream"] = true.into();
                            let events = server.connect().post_stream("/v1/completions", &body);
                            assert_eq!(events.text(), LILY_GREEDY);
                        } else {
                            assert_eq!(ask(server, &tiny("tiny")), *alone);
                        }
                    }
                });
            }
        });
        assert_eq!(server.metric("sterna_generations_cancelled_total"), 0.0);
        server.wait_metric("sterna_sequences_running", 0.0);
    }
}

/// What a stream uses stays, and who waits for another model is answered after it.
#[test]
fn a_running_stream_keeps_its_model() {
    let alone = tiny_alone();
    let server = serve(&[&TIGHT[..], &["--isa", "scalar", "--threads", "1"]].concat());
    let mut body = story("story");
    body["stream"] = true.into();
    let mut events = server.connect().post_stream("/v1/completions", &body);
    let first = events.next().unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(|| ask(&server, &tiny("tiny")));
        wait_until("the other one waits", || {
            states(&server)[1].1 != "unloaded" || other.is_finished()
        });
        let first = first["choices"][0]["text"].as_str().unwrap().to_owned();
        assert_eq!(first + &events.text(), LILY_GREEDY);
        assert_eq!(other.join().unwrap(), alone);
    });
}

#[test]
fn a_model_that_cannot_be_loaded_is_a_503_and_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.gguf");
    std::fs::write(&path, b"GGUF and nothing else").unwrap();
    let damaged = format!("damaged={}", path.display());
    let server = serve(&["--model", &damaged]);
    let message = server.post("/v1/completions", &story("damaged")).error(503);
    assert!(message.contains("cannot be loaded"), "{message}");
    assert_eq!(states(&server)[2].1, "failed");
    assert_eq!(ask(&server, &story("story")), LILY_GREEDY);
    let failed = "sterna_model_loads_total{model_name=\"damaged\",result=\"failed\"}";
    assert_eq!(server.metric(failed), 1.0);
    // Once it is a model, it is served, after the pause.
    std::fs::remove_file(&path).unwrap();
    std::fs::copy(fixture(), &path).unwrap();
    wait_until("another try", || {
        server.post("/v1/completions", &tiny("damaged")).status == 200
    });
}

#[test]
fn a_server_that_drains_finishes_what_runs_in_every_model() {
    let mut server = serve(&["--preload", "all", "--isa", "scalar"]);
    are(&server, &[("story", "loaded"), ("tiny", "loaded")]);
    let mut bodies = [story("story"), tiny("tiny")];
    let streams: Vec<_> = bodies
        .iter_mut()
        .map(|body| {
            body["stream"] = true.into();
            server.connect().post_stream("/v1/completions", body)
        })
        .collect();
    server.wait_metric("sterna_generations_started_total", 2.0);
    server.signal("TERM");
    let texts: Vec<String> = streams.into_iter().map(|stream| stream.text()).collect();
    assert_eq!(texts[0], LILY_GREEDY);
    assert!(!texts[1].is_empty());
    assert!(server.wait().success());
}

#[test]
fn command_lines_that_mean_nothing_are_refused_by_name() {
    let file = fixture();
    let tiny = format!("tiny={file}");
    for (options, part) in [
        (
            &["--model", &tiny, "-m", &file][..],
            "has no name, and there are 2 models",
        ),
        (
            &["--model", &tiny, "--model", "tiny=demo"],
            "two models are called tiny",
        ),
        (
            &["--model", "a=/absent.gguf"],
            "--model a=/absent.gguf: there is no such file",
        ),
        (&["--model", "=demo"], "the model has no name"),
        (&["--model", "a="], "names no model"),
        (
            &["--model", &tiny, "--alias", "b=c"],
            "no model is called \"c\"",
        ),
        (
            &["--model", &tiny, "--default-model", "c"],
            "no model is called \"c\"",
        ),
        (&["--alias", "a=b"], "--alias is for models that have names"),
        (&["--model", &tiny, "--model-name", "x"], "--model-name"),
        (
            &["--model", &tiny, "--models-memory", "16"],
            "the model tiny: it needs at least",
        ),
    ] {
        let (status, _, stderr) = run(sterna()
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(options));
        assert!(!status.success(), "{options:?}");
        assert!(stderr.contains(part), "{options:?}: {stderr}");
    }
}
