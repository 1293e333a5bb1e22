//! What `/metrics` shows (OpenMetrics text, read by Prometheus). Every name starts with `sterna_`.
//!
//! Labels have few values: routes are those of a fixed list, so no client can grow the table.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use sterna_engine::engine::{EngineStats, ModelInfo};

/// The `Content-Type` of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Which answer a request got.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// A known route, else `other`.
    pub route: &'static str,
    /// The HTTP status; 499 where the client left before there was one.
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FinishLabels {
    reason: &'static str,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
    /// Connections open now.
    pub connections: Gauge,
    /// Requests being answered now.
    pub in_flight: Gauge,
    /// Generations the engine took.
    pub generations_started: Counter,
    finished: Family<FinishLabels, Counter>,
    /// Generations whose client left before the end.
    pub generations_cancelled: Counter,
    /// Tokens of accepted prompts.
    pub prompt_tokens: Counter,
    /// Tokens sampled.
    pub generated_tokens: Counter,
    running: Gauge,
    queued: Gauge,
    kv_bytes: Gauge,
}

impl Metrics {
    /// Counters at zero, for a server of this model.
    #[must_use]
    pub fn new(model: &ModelInfo, threads: usize) -> Self {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("sterna"),
            requests: Family::default(),
            // From a health check (under 1 ms) to a long completion (minutes).
            duration: Histogram::new([
                0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
            ]),
            connections: Gauge::default(),
            in_flight: Gauge::default(),
            generations_started: Counter::default(),
            finished: Family::default(),
            generations_cancelled: Counter::default(),
            prompt_tokens: Counter::default(),
            generated_tokens: Counter::default(),
            running: Gauge::default(),
            queued: Gauge::default(),
            kv_bytes: Gauge::default(),
        };
        metrics.register(model, threads);
        metrics
    }

    fn register(&mut self, model: &ModelInfo, threads: usize) {
        let registry = &mut self.registry;
        registry.register(
            "http_requests",
            "HTTP requests answered",
            self.requests.clone(),
        );
        registry.register(
            "http_request_duration_seconds",
            "Time from a request's head to its answer's last byte",
            self.duration.clone(),
        );
        registry.register(
            "http_connections",
            "Connections open",
            self.connections.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests being answered",
            self.in_flight.clone(),
        );
        registry.register(
            "generations_started",
            "Generations accepted",
            self.generations_started.clone(),
        );
        registry.register(
            "generations_finished",
            "Generations ended, by reason",
            self.finished.clone(),
        );
        registry.register(
            "generations_cancelled",
            "Generations whose client left before the end",
            self.generations_cancelled.clone(),
        );
        registry.register(
            "prompt_tokens",
            "Tokens of accepted prompts",
            self.prompt_tokens.clone(),
        );
        registry.register(
            "generated_tokens",
            "Tokens generated",
            self.generated_tokens.clone(),
        );
        registry.register(
            "sequences_running",
            "Sequences in prefill or decode",
            self.running.clone(),
        );
        registry.register(
            "sequences_queued",
            "Requests that wait for a slot",
            self.queued.clone(),
        );
        registry.register(
            "kv_cache_bytes",
            "Memory of the keys and values in use",
            self.kv_bytes.clone(),
        );
        let facts = vec![
            ("id", model.id.clone()),
            ("architecture", model.architecture.clone()),
            ("head_type", model.head_type.clone()),
            ("isa", model.isa.clone()),
            ("threads", threads.to_string()),
            ("context_length", model.context_length.to_string()),
        ];
        registry.register("model", "The model that is served", Info::new(facts));
    }

    /// Count an answered request.
    pub fn request(&self, labels: RequestLabels, seconds: f64) {
        self.requests.get_or_create(&labels).inc();
        self.duration.observe(seconds);
    }

    /// Count a generation that came to its end: `stop`, `length` or `error`.
    pub fn finished(&self, reason: &'static str) {
        self.finished.get_or_create(&FinishLabels { reason }).inc();
    }

    /// Show the engine's present state.
    pub fn engine(&self, stats: &EngineStats) {
        self.running.set(gauge(stats.running as u64));
        self.queued.set(gauge(stats.queued as u64));
        self.kv_bytes.set(gauge(stats.kv_bytes));
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
