//! A baked engine in the server's sandbox, with the host's kernels and without: the native server's
//! texts.

use std::fs;
use std::path::{Path, PathBuf};

use crate::baked::bake;
use crate::support::server::{Server, run, sterna};
use crate::support::{LILY, LILY_GREEDY, greedy, sampled};

/// The demo model, baked and compiled by the binary under test: once for all tests, which run as
/// processes of their own.
fn baked() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("baked");
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let modified = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let app = folder.join("app.wasm");
    let binary = Path::new(env!("CARGO_BIN_EXE_sterna"));
    if modified(&app.with_extension("cwasm")) < modified(binary) {
        bake(&folder, &["--aot"]);
    }
    app
}

/// The operator's word that it may run.
pub(crate) const ALLOW: &str = "--allow-precompiled";

pub(crate) fn compiled() -> String {
    let path = baked().with_extension("cwasm");
    path.to_str().unwrap().to_owned()
}

#[test]
fn lent_kernels_and_its_own_give_the_native_texts() {
    let native = Server::start(&[]);
    let compiled = compiled();
    let lent = Server::start(&[&compiled, ALLOW]);
    let own = Server::start(&[&compiled, ALLOW, "--isa", "simd128"]);
    let scalar = Server::start(&[&compiled, ALLOW, "--isa", "scalar", "--threads", "1"]);
    for server in [&lent, &own, &scalar] {
        let answer = server.post("/v1/completions", &greedy(LILY, 48, false));
        assert_eq!(answer.completion(), LILY_GREEDY);
    }
    for seed in 1..4 {
        let request = sampled(LILY, seed, 60, false);
        let expected = native.post("/v1/completions", &request).completion();
        for server in [&lent, &own] {
            let answer = server.post("/v1/completions", &request).completion();
            assert_eq!(answer, expected, "seed {seed}");
        }
    }
    // Whose kernels computed is shown.
    let isa = |server: &Server| {
        let models = server.get("/v1/models").text();
        let models: serde_json::Value = serde_json::from_str(&models).unwrap();
        models["data"][0]["isa"].as_str().unwrap().to_owned()
    };
    assert_eq!(isa(&lent), isa(&native));
    assert_eq!(isa(&scalar), "scalar");
    assert!(isa(&own).starts_with("simd128"), "{}", isa(&own));
}

#[test]
fn what_bake_wrote_first_is_served_too() {
    let app = baked();
    let server = Server::start(&["--model", app.to_str().unwrap()]);
    let answer = server.post("/v1/completions", &greedy(LILY, 48, false));
    assert_eq!(answer.completion(), LILY_GREEDY);
}

#[test]
fn many_streams_share_the_one_instance() {
    let server = Server::start(&[&compiled(), ALLOW, "--max-sequences", "8"]);
    let texts: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..20)
            .map(|_| {
                let client = server.connect();
                scope.spawn(move || {
                    client
                        .post_stream("/v1/completions", &greedy(LILY, 48, true))
                        .text()
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    assert!(texts.iter().all(|text| text == LILY_GREEDY), "{texts:?}");
    assert_eq!(server.metric("sterna_sequences_running"), 0.0);
    assert_eq!(server.metric("sterna_kv_cache_bytes"), 0.0);
}

#[test]
fn a_client_that_leaves_stops_its_generation() {
    let server = Server::start(&[&compiled(), ALLOW, "--isa", "scalar", "--threads", "1"]);
    let mut client = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 400, true));
    client.next().unwrap();
    client.kill();
    server.wait_metric("sterna_generations_cancelled_total", 1.0);
    server.wait_metric("sterna_sequences_running", 0.0);
}

#[test]
fn requests_it_cannot_take_are_refused_as_by_the_native_engine() {
    let native = Server::start(&["--context", "64"]);
    let sandboxed = Server::start(&[&compiled(), ALLOW, "--context", "64"]);
    let long = [LILY; 36].join(" ");
    for request in [
        greedy(&long, 20, false),
        serde_json::json!({ "model": "demo", "prompt": "Once", "temperature": -1 }),
        serde_json::json!({ "model": "demo", "prompt": [999_999] }),
    ] {
        let expected = native.post("/v1/completions", &request);
        let answer = sandboxed.post("/v1/completions", &request);
        assert_eq!(answer.status, expected.status);
        assert_eq!(answer.text(), expected.text());
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
}

#[test]
fn the_terminal_takes_a_baked_model_too() {
    let (status, stdout, stderr) = run(sterna()
        .args(["run", ALLOW, "--model", &compiled(), "--temperature", "0"])
        .args(["--max-tokens", "48", LILY]));
    assert!(status.success(), "{stderr}");
    assert_eq!(stdout.trim_end_matches('\n'), LILY_GREEDY);
}

#[test]
fn files_that_hold_no_engine_say_what_would() {
    let folder = tempfile::tempdir().unwrap();
    let fail = |path: &Path, words: &str| {
        let (status, _, stderr) = run(sterna()
            .args(["serve", ALLOW, "--listen", "127.0.0.1:0"])
            .arg(path));
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(words), "{words}: {stderr}");
        assert!(stderr.contains(path.to_str().unwrap()), "{stderr}");
    };
    let other = folder.path().join("other.wasm");
    fs::write(&other, b"\0asm\x0d\0\x01\0").unwrap();
    fail(&other, "holds no baked engine");
    let module = folder.path().join("module.wasm");
    fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    fail(&module, "no WebAssembly component");
    // Half of a compiled engine, and a program.
    let half = folder.path().join("half.cwasm");
    let whole = fs::read(compiled()).unwrap();
    fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    fail(&half, "bake it again");
    let program = folder.path().join("program.cwasm");
    fs::copy("/bin/true", &program).unwrap();
    fail(&program, "bake it again");

    let (status, _, stderr) = run(sterna()
        .args(["serve", ALLOW, "--model-name", "other"])
        .arg(compiled()));
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("sterna bake"), "{stderr}");
}

#[test]
fn what_the_file_itself_decides_cannot_be_switched_off() {
    let (status, _, stderr) = run(sterna().args([
        "run",
        ALLOW,
        "-m",
        &compiled(),
        "--without",
        "speculation",
        "A",
    ]));
    assert!(!status.success());
    assert!(stderr.contains("--without speculation"), "{stderr}");
    let (status, _, stderr) =
        run(sterna().args(["run", ALLOW, "-m", &compiled(), "--without", "warp", "A"]));
    assert!(!status.success());
    assert!(
        stderr.contains("warp") && stderr.contains("huge-pages"),
        "{stderr}"
    );
}
