//! What an operator sets: by options and variables of the native server, in the environment of a composed component,
//! and as Spin's variables.

use serde_json::json;

use crate::support::plain_host::PlainHost;
use crate::support::server::{Server, run, sterna};
use crate::support::{LILY, LILY_GREEDY, greedy};

#[test]
fn the_native_server_obeys_options_and_variables() {
    let options = [
        "--max-tokens=48",
        "--default-max-tokens=3",
        "--model-alias=small",
        "--max-prompt-tokens=40",
    ];
    let server = Server::start_with(&options, &[("STERNA_API_KEY", "sesame, other")]);
    let body = greedy(LILY, 48, false);
    let refused = server.post("/v1/completions", &body);
    refused.error(401);
    assert!(
        refused.head.contains("www-authenticate: bearer"),
        "{}",
        refused.head
    );
    let ask = |body: &serde_json::Value| {
        let headers = [
            "Content-Type: application/json",
            "Authorization: Bearer other",
        ];
        let body = body.to_string();
        server
            .connect()
            .request("POST", "/v1/completions", &headers, body.as_bytes())
    };
    assert_eq!(ask(&body).completion(), LILY_GREEDY);
    let message = ask(&greedy(LILY, 49, false)).error(400);
    assert!(message.contains("at most 48 tokens"), "{message}");
    let message = ask(&greedy(&[LILY; 5].join(" "), 1, false)).error(400);
    assert!(message.contains("takes 40 at most"), "{message}");
    let short = ask(&json!({"prompt": LILY, "temperature": 0})).json();
    assert_eq!(
        (&short["usage"]["completion_tokens"], &short["model"]),
        (&json!(3), &json!("small"))
    );
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/metrics").status, 200);
    assert!(!server.log().contains("sesame"), "{}", server.log());
}

#[test]
fn a_setting_that_cannot_be_used_stops_the_native_server() {
    for (name, value, named) in [
        (
            "STERNA_MAX_TOKENS",
            "many",
            "--max-tokens (STERNA_MAX_TOKENS)",
        ),
        (
            "STERNA_API_KEY",
            "hidden,,key",
            "--api-key (STERNA_API_KEY)",
        ),
    ] {
        let mut command = sterna();
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env(name, value);
        let (status, _, stderr) = run(&mut command);
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(named), "{stderr}");
        assert!(!stderr.contains("hidden"), "{stderr}");
    }
    let mut command = sterna();
    command
        .args(["serve", "--help"])
        .env("STERNA_API_KEY", "hidden");
    let (_, help, _) = run(&mut command);
    assert!(
        help.contains("STERNA_API_KEY") && !help.contains("hidden"),
        "{help}"
    );
}

#[test]
fn a_composed_component_reads_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app.wasm");
    let (status, _, stderr) = run(sterna().args(["bake", "-o"]).arg(&app));
    assert!(status.success(), "{stderr}");
    let host = PlainHost::new(&app);
    let open = host.with_variable("STERNA_DEFAULT_MAX_TOKENS", "48");
    let mut body = greedy(LILY, 1, false);
    body.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(open.text(&body), LILY_GREEDY);
    let locked = open.with_variable("STERNA_API_KEY", "sesame");
    assert!(locked.post(&body).contains("missing_api_key"));
    let wrong = locked.with_variable("STERNA_MAX_BODY_BYTES", "lots");
    let answer = wrong.post(&body);
    assert!(
        answer.contains("misconfigured") && answer.contains("STERNA_MAX_BODY_BYTES"),
        "{answer}"
    );
}

#[test]
fn a_component_for_spin_reads_its_variables() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app.wasm");
    let (status, _, stderr) = run(sterna().args(["bake", "--spin", "-o"]).arg(&app));
    assert!(status.success(), "{stderr}");
    let mut body = greedy(LILY, 1, false);
    body.as_object_mut().unwrap().remove("max_tokens");
    let (host, variables) = PlainHost::of_spin(&app);
    // Spin's manifest gives all of them, empty where nothing is set; one that it does not give is not set either.
    *variables.lock().unwrap() = [("default_max_tokens", "48"), ("api_key", "")].into();
    assert_eq!(host.text(&body), LILY_GREEDY);
    *variables.lock().unwrap() = [("api_key", "sesame")].into();
    assert!(host.post(&body).contains("missing_api_key"));
    *variables.lock().unwrap() = [("max_tokens", "many")].into();
    let answer = host.post(&body);
    assert!(
        answer.contains("setting max_tokens cannot be used"),
        "{answer}"
    );
}
