//! An operator's settings: by options and variables of the native server, in the environment of a
//! composed component, and as Spin's variables.

use serde_json::json;

use crate::support::plain_host::PlainHost;
use crate::support::server::{Server, run, sterna};
use crate::support::{LILY, LILY_GREEDY, greedy, wait_until};

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
fn each_key_has_its_share() {
    let per_minute = "--requests-per-minute=3";
    let options = [
        "--isa=scalar",
        "--threads=1",
        "--max-requests-per-key=1",
        per_minute,
    ];
    let server = Server::start_with(&options, &[("STERNA_API_KEY", "one,two")]);
    let headers = |key: &str| {
        let key = format!("Authorization: Bearer {key}");
        ["Content-Type: application/json".to_owned(), key]
    };
    let ask = |method: &str, path: &str, key: &str| {
        let headers = headers(key);
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let body = greedy(LILY, 2, false).to_string();
        server
            .connect()
            .request(method, path, &headers, body.as_bytes())
    };
    let post = |key: &str| ask("POST", "/v1/completions", key);
    // A stream that nobody reads is a running request.
    let held = headers("one");
    let held: Vec<&str> = held.iter().map(String::as_str).collect();
    let body = greedy(LILY, 200, true);
    let mut stream = server
        .connect()
        .post_stream_with("/v1/completions", &held, &body);
    stream.next().unwrap();
    let refused = post("one");
    assert!(
        refused.error(429).contains("1 requests with this API key"),
        "{}",
        refused.head
    );
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    assert_eq!(ask("GET", "/v1/models", "one").status, 200);
    assert_eq!(post("two").status, 200, "another key's share is its own");
    stream.kill();
    server.wait_metric("sterna_sequences_running", 0.0);
    // Three a minute: the stream was the first.
    for left in ["1", "0"] {
        let mut head = String::new();
        wait_until("the key's place is free", || {
            let answer = post("one");
            head = answer.head;
            answer.status == 200
        });
        let told = format!("x-ratelimit-remaining-requests: {left}");
        assert!(head.contains(&told), "{head}");
    }
    let refused = post("one");
    assert!(
        refused.error(429).contains("within a minute"),
        "{}",
        refused.head
    );
    assert!(
        refused.head.contains("x-ratelimit-limit-requests: 3"),
        "{}",
        refused.head
    );
    assert!(server.metric("sterna_requests_rejected_total{reason=\"key_limit\"}") >= 2.0);
    // In the form that each API's clients read.
    let refused = |path: &str| {
        let answer = ask("POST", path, "one");
        assert_eq!(answer.status, 429, "{}", answer.head);
        (answer.head.clone(), answer.json())
    };
    let (head, error) = refused("/v1/messages");
    assert_eq!(error["type"], "error");
    assert_eq!(error["error"]["type"], "rate_limit_error");
    let id = error["request_id"].as_str().unwrap();
    assert!(head.contains(&format!("request-id: {id}")), "{head}");
    let (_, error) = refused("/api/chat");
    assert!(error["error"].as_str().unwrap().contains("within a minute"));
    let (_, error) = refused("/v1/completions");
    assert_eq!(error["error"]["type"], "rate_limit_error");
    // Nobody's key is the component's to refuse.
    post("three").error(401);

    let mut command = sterna();
    command.args(["serve", "--listen", "127.0.0.1:0", per_minute]);
    let (status, _, stderr) = run(&mut command);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("set --api-key"), "{stderr}");
}

#[test]
fn a_setting_that_says_nothing_is_refused_by_name() {
    let refused = |arguments: &[&str], variables: &[(&str, &str)], named: &str| {
        let mut command = sterna();
        command.args(arguments).envs(variables.iter().copied());
        let (status, _, stderr) = run(&mut command);
        assert_eq!(status.code(), Some(1), "{named}: {stderr}");
        assert!(
            stderr.contains(named) && stderr.contains("is set, but to"),
            "{stderr}"
        );
    };
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    for name in [
        "API_KEY",
        "ALLOWED_HOSTS",
        "CORS_ORIGIN",
        "LISTEN",
        "LOG",
        "MAX_QUEUE",
        "WITHOUT",
    ] {
        for blank in ["", " ", ",", " , "] {
            let name = format!("STERNA_{name}");
            refused(&serve, &[(&name, blank)], &name);
        }
    }
    for option in [
        "--api-key= ",
        "--api-key=",
        "--api-key=,",
        "--model-alias= ",
        "--without=,",
    ] {
        let name = option.split('=').next().unwrap();
        refused(&[&serve[..], &[option]].concat(), &[], name);
    }
    refused(&["up"], &[("STERNA_API_KEY", " ")], "STERNA_API_KEY");
    refused(
        &["up"],
        &[("SPIN_HTTP_LISTEN_ADDR", " ")],
        "SPIN_HTTP_LISTEN_ADDR",
    );
    for name in ["SPIN_VARIABLE_API_KEY", "SPIN_VARIABLE_ALLOWED_HOSTS"] {
        let mut command = sterna();
        let (status, _, stderr) = run(command.arg("up").env(name, " "));
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains(&format!("{name} cannot be used: it is set, but to nothing")),
            "{stderr}"
        );
    }
}

#[test]
fn the_log_holds_no_query_no_key_and_no_prompt() {
    for format in ["text", "json"] {
        let server = Server::start_with(
            &["--log-format", format],
            &[("STERNA_LOG", "trace"), ("STERNA_API_KEY", "secret-key")],
        );
        let ask = |method: &str, path: &str, key: &str, body: &str| {
            let key = format!("Authorization: Bearer {key}");
            let headers = ["Content-Type: application/json", key.as_str()];
            server
                .connect()
                .request(method, path, &headers, body.as_bytes())
                .status
        };
        let body =
            json!({"prompt": "secret-prompt", "max_tokens": 4, "stop": "secret-stop"}).to_string();
        let chat = json!({"messages": [{"role": "user", "content": "secret-turn"}], "max_tokens": 4, "stream": true});
        let query = "?api_key=secret-query";
        assert_eq!(
            ask(
                "POST",
                &format!("/v1/completions{query}"),
                "secret-key",
                &body
            ),
            200
        );
        let chat = chat.to_string();
        assert_eq!(
            ask("POST", "/v1/chat/completions", "secret-key", &chat),
            200
        );
        assert_eq!(ask("POST", "/v1/completions", "secret-wrong", &body), 401);
        assert_eq!(ask("GET", &format!("/livez{query}"), "secret-key", ""), 200);
        assert_eq!(
            ask("GET", &format!("//metrics/{query}"), "secret-key", ""),
            200
        );
        assert_eq!(
            ask(
                "POST",
                "/v1/completions",
                "secret-key",
                "{\"prompt\": secret-json}"
            ),
            400
        );
        assert_eq!(
            ask("GET", &format!("/nowhere{query}"), "secret-key", ""),
            404
        );
        wait_until("the last line", || server.log().contains("/nowhere"));
        assert!(!server.log().contains("secret"), "{}", server.log());
    }
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
    for blank in ["", " ", ","] {
        let host = PlainHost::new(&app).with_variable("STERNA_API_KEY", blank);
        let answer = host.post(&body);
        assert!(
            answer.contains("STERNA_API_KEY cannot be used"),
            "{blank:?}: {answer}"
        );
    }
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
    // Spin's manifest gives all of them, empty where nothing is set; one that it does not give is
    // not set either.
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
    *variables.lock().unwrap() = [("api_key", " ")].into();
    let answer = host.post(&body);
    assert!(
        answer.contains("setting api_key cannot be used"),
        "{answer}"
    );
    // The host asks by the name `test`; Spin's own would by whatever is in Host.
    *variables.lock().unwrap() = [
        ("default_max_tokens", "48"),
        ("allowed_hosts", "llm.example"),
    ]
    .into();
    assert_eq!(host.text(&body), LILY_GREEDY);
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let binary = sterna();
    let mut command = std::process::Command::new("sh");
    command
        // The server holds both ends of its stderr, and reads none of it.
        .args(["-ec", "mkfifo $0; exec 3<>$0; exec \"$@\" 2>&3"])
        .arg(folder.path().join("log"))
        .arg(binary.get_program())
        .args(["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::announced(&mut command);
    let mut client = server.connect();
    // A line for each, and a pipe takes 64 KiB.
    for _ in 0..2000 {
        let answer = client.request("GET", "/v1/models", &[], b"");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(server.get("/livez").status, 200);
    let body = greedy(LILY, 48, false);
    let answer = server.post("/v1/completions", &body);
    assert_eq!(answer.completion(), LILY_GREEDY);
}
