//! A baked engine that attacks its host (`tests/hostile-engine`): each attack ends with an error
//! for its client, and the server goes on, in as little memory as before.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use sterna::sandbox::mark_engine;

use crate::support::http::Answer;
use crate::support::server::{Server, run, sterna};
use crate::support::{component, wait_until};

/// The attacker as a file of `sterna bake`: marked, and inside another component.
fn app(folder: &tempfile::TempDir) -> PathBuf {
    let (engine, app) = (
        folder.path().join("engine.wasm"),
        folder.path().join("app.wasm"),
    );
    fs::write(&engine, mark_engine(component("hostile-engine.wasm"))).unwrap();
    let (status, _, stderr) = run(sterna()
        .arg("compose")
        .arg("--engine")
        .arg(&engine)
        .arg("-o")
        .arg(&app));
    assert!(status.success(), "{stderr}");
    app
}

fn serve(options: &[&str]) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let app = app(&folder);
    let app = app.to_str().unwrap();
    Server::start(&[&[app, "--step-timeout", "2"], options].concat())
}

fn ask(server: &Server, prompt: &str) -> Answer {
    let request: Value = json!({ "model": "hostile", "prompt": prompt, "max_tokens": 1 });
    server.post("/v1/completions", &request)
}

/// Until the engine has been started again.
fn answers_again(server: &Server) {
    wait_until("an answer of the next engine", || {
        let answer = ask(server, "good");
        answer.status == 200 && answer.completion() == "ok"
    });
}

/// The most memory the server has had.
fn peak_mib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn attacks_fail_and_the_server_goes_on() {
    let server = serve(&[]);
    answers_again(&server);
    for (prompt, words) in [
        ("trap", "unreachable"),
        ("loop", "longer than 2 s"),
        ("loop in submit", "longer than 2 s"),
        ("loop in admit", "check failed"),
        ("stack", "stack"),
        ("wait", "must not wait"),
        ("exit", "exit"),
        ("passes", "a further pass beside"),
        ("large pass", "bytes of buffers"),
        ("layers", "layers"),
        ("large shape", "cannot lie in a file"),
        ("two shapes", "the model's is"),
        ("empty shape", "no such shape"),
        ("no tokens", "a batch of 0 tokens"),
        ("not begun", "begin first"),
        ("far position", "attention scores"),
        ("frequencies", "rotary frequencies"),
        ("wide heads", "no such shape"),
        ("few tiles", "group-scaled matrix of [1000, 128] needs"),
        ("odd groups", "groups of 48 weights"),
        ("mixed kinds", "some ternary, some group-scaled"),
        ("short head norms", "q-norm has shape [3]"),
        ("norms of its own", "q has a norm of its input"),
        (
            "turns of its own",
            "frequencies that the pass does not have",
        ),
        ("short post-norm", "post-norm has shape [5]"),
        (
            "cache of another type",
            "a cache block has 8192 words; the shape needs 2112",
        ),
        ("no window", "a window of no positions"),
        ("logits", "logits of 10000 x 100000"),
        ("logits of one token", "logits of 10000000 tokens"),
        ("lists in lists", "does not lie in"),
        ("many events", "more than a generation asked for"),
        ("long text", "more than a generation asked for"),
        ("long embedding", "10485760 numbers in the place of 0"),
    ] {
        let answer = ask(&server, prompt);
        assert!(answer.status >= 500, "{prompt}: {}", answer.text());
        wait_until(&format!("{prompt}: {words} in the log"), || {
            server.log().contains(words)
        });
        assert_eq!(server.get("/livez").status, 200, "{prompt}");
        answers_again(&server);
    }
    let peak = peak_mib(&server);
    assert!(peak < 700, "{peak} MiB");
    assert!(server.metric("sterna_engine_restarts_total") >= 18.0);
    let log = server.log();
    assert!(!log.contains('\u{1b}'), "control characters of the guest");
    assert!(log.contains("the engine says: "), "{log}");
}

#[test]
fn what_is_harmless_is_answered() {
    let server = serve(&["--max-instance-memory", "100000000"]);
    for (prompt, answer) in [
        ("passes one after another", "survived"),
        ("nobody's event", "ok"),
        ("log", "survived"),
    ] {
        let answered = ask(&server, prompt);
        assert_eq!(answered.status, 200, "{prompt}: {}", server.log());
        assert_eq!(answered.completion(), answer, "{prompt}");
    }
    let grown: u64 = ask(&server, "memory").completion().parse().unwrap();
    assert!((48..100).contains(&grown), "{grown} MiB");
    // A shape of its own, and an engine has one.
    let other = serve(&[]);
    assert_eq!(ask(&other, "not a number").completion(), "survived");
    // 5,000 lines were written.
    let lines = server.log().lines().count();
    assert!(lines < 500, "{lines} lines");
}

#[test]
fn an_engine_has_a_memory_limit_by_default() {
    let server = serve(&[]);
    let grown: u64 = ask(&server, "memory").completion().parse().unwrap();
    // 4 GiB at most, on a machine that has more.
    assert!(grown < 4096, "{grown} MiB");
    answers_again(&server);
    let folder = tempfile::tempdir().unwrap();
    let limit = ["--max-instance-memory", "100000"];
    let (status, _, stderr) = run(sterna()
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(limit)
        .arg(app(&folder)));
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("--max-instance-memory"), "{stderr}");
}

#[test]
fn an_engine_that_fails_again_and_again_is_not_ready() {
    let server = serve(&[]);
    answers_again(&server);
    // The first failure may be its request's.
    assert_eq!(ask(&server, "trap").status, 500);
    let unready = |server: &Server| {
        let answer = server.get("/readyz");
        (answer.status == 503).then(|| answer.text())
    };
    let mut seen = None;
    for _ in 0..20 {
        let status = ask(&server, "trap").status;
        assert!(status == 500 || status == 503, "{status}");
        seen = unready(&server);
        if seen.is_some() {
            break;
        }
    }
    let seen = seen.expect("it stays ready");
    assert!(seen.contains("several times in a row"), "{seen}");
    assert_eq!(server.get("/livez").status, 200);
    answers_again(&server);
    assert_eq!(unready(&server), None);
}

#[test]
fn what_it_says_of_its_model_must_make_sense() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(&folder);
    for (context, words) in [("666", "control characters"), ("667", "positions")] {
        let (status, _, stderr) = run(sterna()
            .args(["serve", "--listen", "127.0.0.1:0", "--context", context])
            .arg(&app));
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(words) && stderr.len() < 10_000, "{stderr}");
    }
}

#[test]
fn questions_about_texts_have_an_end_too() {
    let server = serve(&[]);
    let embed = json!({ "model": "hostile", "input": "a" });
    let answer = server.post("/v1/embeddings", &embed);
    assert!(answer.status >= 400, "{}", answer.text());
    answers_again(&server);
}
