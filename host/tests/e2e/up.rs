//! `sterna up` as Spin's operator and the containerd shim start it. What it finds in an image's
//! root folder is tested in pods (`tests/pods`), since a test has no root folder of its own.

use crate::sandboxed::ALLOW;
use crate::support::server::{Server, run, sterna};
use crate::support::{LILY, LILY_GREEDY, greedy};

const MODEL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../component/engine/models/demo.gguf"
);

#[test]
fn the_operators_arguments_and_environment_serve_the_images_model() {
    let mut command = sterna();
    command
        .args([
            "up",
            "--listen",
            "127.0.0.1:0",
            "-f",
            "registry.example/llm:1",
        ])
        .args(["--runtime-config-file", "/runtime-config.toml"])
        .args(["--component-id", "llm", "--quiet", "--tls-cert", "a.pem"])
        .env("STERNA_MODEL", MODEL)
        .env("SPIN_VARIABLE_MAX_TOKENS", "48")
        .env("SPIN_VARIABLE_MODEL_ALIAS", "small")
        .env("SPIN_HTTP_LISTEN_ADDR", "127.0.0.1:1")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let mut server = Server::announced(&mut command);
    let answer = server.post("/v1/completions", &greedy(LILY, 48, false));
    assert_eq!(answer.completion(), LILY_GREEDY);
    let unnamed = serde_json::json!({"prompt": LILY, "max_tokens": 1});
    let answer = server.post("/v1/completions", &unnamed).json();
    assert_eq!(answer["model"], "small");
    let message = server
        .post("/v1/completions", &greedy(LILY, 49, false))
        .error(400);
    assert!(message.contains("at most 48 tokens"), "{message}");
    let log = server.log();
    assert!(log.contains("--quiet --tls-cert"), "{log}");
    assert!(
        log.contains("registry.example/llm:1 is not pulled"),
        "{log}"
    );
    server.signal("TERM");
    assert!(server.wait().success());
}

#[test]
fn what_cannot_be_used_is_named_as_the_operator_wrote_it() {
    for (variable, value, arguments, words) in [
        (
            "SPIN_VARIABLE_MAX_TOKENS",
            "many",
            vec!["up"],
            "SPIN_VARIABLE_MAX_TOKENS cannot be used",
        ),
        (
            "STERNA_MODEL",
            "/absent.gguf",
            vec!["up", "--listen", "127.0.0.1:0"],
            "/absent.gguf",
        ),
        (
            "SPIN_HTTP_LISTEN_ADDR",
            "nowhere",
            vec!["up"],
            "cannot listen on nowhere",
        ),
        (
            "UNUSED",
            "",
            vec!["up", "--listen"],
            "--listen needs a value",
        ),
    ] {
        let (status, _, stderr) = run(sterna().args(&arguments).env(variable, value));
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
}

#[test]
fn a_baked_model_takes_no_more_memory_than_the_operator_gives() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app.wasm");
    let (status, _, stderr) = run(sterna().args(["bake", "--aot", "-o"]).arg(&app));
    assert!(status.success(), "{stderr}");
    let up = |bytes: &str| {
        let mut command = sterna();
        command
            .args(["up", ALLOW, "--listen", "127.0.0.1:0", "--model"])
            .arg(app.with_extension("cwasm"))
            .env("SPIN_MAX_INSTANCE_MEMORY", bytes);
        command
    };
    let server = Server::announced(&mut up("67108864"));
    assert_eq!(
        server
            .post("/v1/completions", &greedy(LILY, 48, false))
            .completion(),
        LILY_GREEDY
    );
    let (status, _, stderr) = run(&mut up("1048576"));
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("SPIN_MAX_INSTANCE_MEMORY"), "{stderr}");
}
