//! Every route, and the shape of errors.

use serde_json::json;

use crate::apps::App;
use crate::support::LILY;
use crate::support::greedy;
use crate::support::server::Server;

#[test]
fn all_routes_answer() {
    for app in [App::DEMO, App::DEMO_P3] {
        let server = app.serve::<&str>(&[]);
        assert_eq!(server.get("/health").json(), json!({"status": "ok"}));
        assert_eq!(server.get("/livez").json(), json!({"live": true}));
        let ready = json!({"ready": true, "model": "demo", "isa": "simd128"});
        assert_eq!(server.get("/readyz").json(), ready);
        let no_metrics = server.get("/metrics").error(404);
        assert!(no_metrics.contains("counts nothing"), "{no_metrics}");
        let models = server.get("/v1/models").json();
        assert_eq!(models["data"][0]["id"], "demo");
        assert_eq!(models["data"][0]["isa"], "simd128");
        assert_eq!(server.get("/v1/models/demo").status, 200);
        assert!(server.get("/").text().contains("POST /v1/chat/completions"));
        let page = server
            .connect()
            .request("GET", "/", &["Accept: text/html"], b"");
        assert!(page.text().starts_with("<!doctype html>"));
        for file in ["/chat.js", "/style.css"] {
            assert_eq!(server.get(file).status, 200, "{file}");
        }
        let chat = json!({"messages": [{"role": "user", "content": LILY}], "max_tokens": 4});
        let answer = server.post("/v1/chat/completions", &chat).json();
        assert_eq!(answer["object"], "chat.completion");
        assert_eq!(answer["usage"]["completion_tokens"], 4);
        let preflight = server
            .connect()
            .request("OPTIONS", "/v1/chat/completions", &[], b"");
        assert_eq!(preflight.status, 200);
    }
}

#[test]
fn texts_are_embedded() {
    let size =
        |server: &Server| server.get("/v1/models").json()["data"][0]["embedding_size"].clone();
    let inputs = json!({"input": [LILY, "A dog.", [7, 8, 9]], "encoding_format": "float"});
    let answers = [App::DEMO, App::DEMO_P3].map(|app| {
        let server = app.serve::<&str>(&[]);
        let answer = server.post("/v1/embeddings", &inputs).json();
        for (index, item) in answer["data"].as_array().unwrap().iter().enumerate() {
            assert_eq!(item["index"], index);
            let numbers = item["embedding"].as_array().unwrap();
            assert_eq!(json!(numbers.len()), size(&server));
            let squares = numbers.iter().map(|v| v.as_f64().unwrap().powi(2));
            assert!((squares.sum::<f64>() - 1.0).abs() < 1e-5);
        }
        let long = json!({"input": LILY.repeat(100)});
        let message = server.post("/v1/embeddings", &long).error(400);
        assert!(message.contains("context has 512 positions"), "{message}");
        answer
    });
    assert_eq!(answers[0]["data"].as_array().unwrap().len(), 3);
    assert_eq!(answers[0]["data"], answers[1]["data"]);
}

#[test]
fn errors_have_openais_shape() {
    for app in [App::DEMO, App::DEMO_P3] {
        let server = app.serve::<&str>(&[]);
        server.get("/nowhere").error(404);
        server.get("/v1/models/other").error(404);
        server.get("/v1/completions").error(405);
        let mut client = server.connect();
        let json = ["Content-Type: application/json"];
        client
            .request("POST", "/v1/completions", &json, b"{")
            .error(400);
        let mut hot = greedy(LILY, 1, false);
        hot["temperature"] = json!(5);
        server.post("/v1/completions", &hot).error(400);
        let long = greedy(&LILY.repeat(100), 1, false);
        let message = server.post("/v1/completions", &long).error(400);
        assert!(message.contains("context has 512 positions"), "{message}");
    }
}
