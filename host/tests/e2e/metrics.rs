//! `/metrics`: every name of the list and no other, in both formats, and figures that follow what
//! was done.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::http::header;
use crate::support::server::Server;
use crate::support::{LILY, greedy};

/// The list that alerts and dashboards are checked against: `name type labels`.
const LIST: &str = include_str!("../../../tests/ops/metrics.txt");

/// The list's lines as the page has them: of each family its type, and the labels of its samples.
fn shown(page: &str) -> BTreeSet<String> {
    let types: Vec<(&str, &str)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let labels_of = |family: &str, kind: &str| {
        let suffixes: &[&str] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let mut labels = Vec::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let end = line.find(['{', ' ']).unwrap();
            let Some(suffix) = line[..end].strip_prefix(family) else {
                continue;
            };
            if !suffixes.contains(&suffix) || !line[end..].starts_with('{') {
                continue;
            }
            for pair in line[end + 1..line.rfind('}').unwrap()].split("\",") {
                let label = pair.split_once('=').unwrap().0.to_owned();
                if label != "le" && !labels.contains(&label) {
                    labels.push(label);
                }
            }
        }
        if labels.is_empty() {
            "-".into()
        } else {
            labels.join(",")
        }
    };
    types
        .iter()
        .map(|(family, kind)| format!("{family} {kind} {}", labels_of(family, kind)))
        .collect()
}

#[test]
fn the_page_has_what_the_list_says_and_nothing_else() {
    let server = Server::start(&[]);
    server
        .post("/v1/completions", &greedy(LILY, 4, false))
        .completion();
    let listed: BTreeSet<String> = LIST
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(ToOwned::to_owned)
        .collect();
    let page = server.get("/metrics").text();
    assert_eq!(
        shown(&page),
        listed,
        "shown (left), tests/ops/metrics.txt (right)"
    );
    let helped = page
        .lines()
        .filter(|line| line.starts_with("# HELP "))
        .count();
    assert_eq!(helped, listed.len(), "every metric says what it is");
}

#[test]
fn a_scraper_gets_the_format_it_asks_for() {
    let server = Server::start(&[]);
    let get = |accept: &[&str]| {
        let answer = server.connect().request("GET", "/metrics", accept, b"");
        (
            header(&answer.head, "content-type").unwrap().to_owned(),
            answer.text(),
        )
    };
    let (kind, page) = get(&[]);
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert!(
        page.contains("# TYPE sterna_generations_started_total counter\n"),
        "{page}"
    );
    assert!(!page.contains("# EOF"), "{page}");
    // What Prometheus sends.
    let (kind, page) = get(&[
        "Accept: application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain",
    ]);
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    assert!(
        page.contains("# TYPE sterna_generations_started counter\n"),
        "{page}"
    );
    assert!(page.ends_with("# EOF\n"), "{page}");
}

#[test]
fn figures_follow_what_was_done() {
    let server = Server::start_with(
        &["--max-sequences", "3", "--max-queue", "5", "--threads", "1"],
        &[("STERNA_API_KEY", "sesame")],
    );
    let keyed = [
        "Content-Type: application/json",
        "Authorization: Bearer sesame",
    ];
    let body = greedy(LILY, 10, false).to_string();
    let answer = server
        .connect()
        .request("POST", "/v1/completions", &keyed, body.as_bytes());
    let prompt_tokens = answer.json()["usage"]["prompt_tokens"].as_f64().unwrap();
    server
        .post("/v1/completions", &json!({"prompt": "x"}))
        .error(401);
    let invalid = json!({"prompt": 7}).to_string();
    let answer = server
        .connect()
        .request("POST", "/v1/completions", &keyed, invalid.as_bytes());
    answer.error(400);
    for (name, value) in [
        ("sterna_time_to_first_token_seconds_count", 1.0),
        ("sterna_inter_token_latency_seconds_count", 9.0),
        ("sterna_generated_tokens_total", 10.0),
        ("sterna_prompt_tokens_total", prompt_tokens),
        ("sterna_generations_finished_total{reason=\"length\"}", 1.0),
        (
            "sterna_requests_rejected_total{reason=\"unauthorized\"}",
            1.0,
        ),
        ("sterna_requests_rejected_total{reason=\"invalid\"}", 1.0),
        ("sterna_requests_rejected_total{reason=\"queue_full\"}", 0.0),
        ("sterna_sequences_running_limit", 3.0),
        ("sterna_sequences_queued_limit", 5.0),
        ("sterna_threads", 1.0),
        ("sterna_ready", 1.0),
        ("sterna_kv_cache_bytes", 0.0),
        ("vllm:num_requests_running{model_name=\"demo\"}", 0.0),
    ] {
        server.wait_metric(name, value);
    }
    for name in [
        "sterna_kv_cache_limit_bytes",
        "sterna_memory_limit_bytes",
        "sterna_memory_usage_bytes",
        "sterna_memory_working_set_bytes",
        "sterna_cpu_limit_cores",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
    ] {
        assert!(server.metric(name) > 0.0, "{name}");
    }
}

#[test]
fn a_running_generation_shows_in_the_gauges_gateways_read() {
    let server = Server::start(&["--isa", "scalar", "--max-sequences", "1"]);
    let mut running = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 400, true));
    running.next().unwrap();
    let waiting = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 4, true));
    server.wait_metric("vllm:num_requests_waiting{model_name=\"demo\"}", 1.0);
    let page = server.get("/metrics").text();
    let value = |name: &str| -> f64 {
        page.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .unwrap_or_else(|| panic!("{name} in {page}"))
    };
    assert_eq!(value("vllm:num_requests_running{model_name=\"demo\"}"), 1.0);
    let (used, reserved, limit) = (
        value("sterna_kv_cache_bytes "),
        value("sterna_kv_cache_reserved_bytes "),
        value("sterna_kv_cache_limit_bytes "),
    );
    assert!(
        0.0 < used && used <= reserved && reserved <= limit,
        "{used} {reserved} {limit}"
    );
    let ratio = value("vllm:kv_cache_usage_perc{model_name=\"demo\"}");
    assert_eq!(ratio, value("sterna_kv_cache_usage_ratio "));
    assert!((ratio - used / limit).abs() < 1e-9, "{ratio}");
    running.kill();
    waiting.kill();
}
