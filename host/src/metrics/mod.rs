//! The metrics of `/metrics`. Our own names start with `sterna_`; beside them stand three gauges
//! under the names by which gateways know vLLM's, and the ones every Prometheus client library has
//! for a process.
//!
//! Labels have few values: routes and reasons are those of fixed lists, so no client can grow a
//! table. `tests/ops/metrics.txt` lists every name, `docs/operations.md` says what they mean.

mod classic;
mod engines;
mod exposition;
mod platform;
mod register;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::cgroup::Cgroup;
pub use engines::EngineMetrics;
use engines::{Engines, OfModels};
pub use exposition::Exposition;
use platform::Platform;

/// Which answer a request got.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// A known route, else `other`.
    pub route: &'static str,
    /// The HTTP status; 499 where the client left before there was one.
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    model_name: String,
    result: &'static str,
}

/// Why a request was refused before the engine computed anything for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "`name` says it")]
pub enum Reject {
    QueueFull,
    Memory,
    Connections,
    Draining,
    Loading,
    Unavailable,
    Unauthorized,
    KeyLimit,
    TooLarge,
    Invalid,
}

impl Reject {
    const ALL: [Reject; 10] = [
        Reject::QueueFull,
        Reject::Memory,
        Reject::Connections,
        Reject::Draining,
        Reject::Loading,
        Reject::Unavailable,
        Reject::Unauthorized,
        Reject::KeyLimit,
        Reject::TooLarge,
        Reject::Invalid,
    ];

    /// The label's value.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reject::QueueFull => "queue_full",
            Reject::Memory => "memory",
            Reject::Connections => "connections",
            Reject::Draining => "draining",
            Reject::Loading => "loading",
            Reject::Unavailable => "unavailable",
            Reject::Unauthorized => "unauthorized",
            Reject::KeyLimit => "key_limit",
            Reject::TooLarge => "too_large",
            Reject::Invalid => "invalid",
        }
    }

    /// The reason for a refusal by its status alone; `None` where the request was not refused.
    #[must_use]
    pub fn of_status(status: u16) -> Option<Reject> {
        Some(match status {
            401 => Reject::Unauthorized,
            413 => Reject::TooLarge,
            429 => Reject::QueueFull,
            503 => Reject::Unavailable,
            // The client left.
            499 => return None,
            400..500 => Reject::Invalid,
            _ => return None,
        })
    }
}

/// The reasons for which generations end.
const FINISH_REASONS: [&str; 6] = ["stop", "length", "embedded", "error", "drain", "timeout"];

type Ratio = Gauge<f64, AtomicU64>;

/// Everything that is counted. Clones of a handle count for the same line.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
    rejected: Family<ReasonLabels, Counter>,
    /// Connections open now.
    pub connections: Gauge,
    /// Requests being answered now.
    pub in_flight: Gauge,
    ready: Gauge,
    /// Generations the engine took.
    pub generations_started: Counter,
    finished: Family<ReasonLabels, Counter>,
    /// Generations whose client left before the end.
    pub generations_cancelled: Counter,
    /// Tokens of accepted prompts.
    pub prompt_tokens: Counter,
    /// Tokens sampled.
    pub generated_tokens: Counter,
    drafted_tokens: Counter,
    accepted_tokens: Counter,
    prefix_hit_tokens: Counter,
    preemptions: Counter,
    first_token: Histogram,
    between_tokens: Histogram,
    /// Times the engine was started again after a failure.
    pub engine_restarts: Counter,
    state: EngineState,
    engines: Engines,
    of_models: OfModels,
    vllm: Vllm,
    platform: Arc<Platform>,
}

/// The counters of an engine since it was created. One that was started again counts from 0; the
/// sum goes on.
#[derive(Default)]
struct EngineTotal {
    counter: Counter,
    seen: AtomicU64,
}

impl EngineTotal {
    /// The engine says `total` now.
    fn follow(&self, total: u64) {
        let seen = self.seen.swap(total, Ordering::Relaxed);
        // Less than before is another engine's.
        self.counter
            .inc_by(total.checked_sub(seen).unwrap_or(total));
    }
}

/// The load of all engines together and their limits.
#[derive(Default)]
struct EngineState {
    running: Gauge,
    queued: Gauge,
    running_limit: Gauge,
    queued_limit: Gauge,
    kv_bytes: Gauge,
    prefix_bytes: Gauge,
    kv_reserved_bytes: Gauge,
    kv_limit_bytes: Gauge,
    kv_ratio: Ratio,
    threads: Gauge,
}

/// The same under vLLM's names and with its label, for gateways that pick a replica by them
/// (Gateway API Inference Extension, model-server protocol).
#[derive(Default)]
struct Vllm {
    waiting: Family<ModelLabels, Gauge>,
    running: Family<ModelLabels, Gauge>,
    kv_ratio: Family<ModelLabels, Ratio>,
}

impl Metrics {
    /// Counters at zero, for a server whose model is not loaded yet.
    #[must_use]
    pub fn new(cgroup: Cgroup) -> Self {
        let seconds = |buckets: &[f64]| Histogram::new(buckets.iter().copied());
        let mut metrics = Metrics {
            registry: Registry::default(),
            requests: Family::default(),
            // From a health check (under 1 ms) to a long completion (minutes).
            duration: seconds(&[
                0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
            ]),
            rejected: Family::default(),
            connections: Gauge::default(),
            in_flight: Gauge::default(),
            ready: Gauge::default(),
            generations_started: Counter::default(),
            finished: Family::default(),
            generations_cancelled: Counter::default(),
            prompt_tokens: Counter::default(),
            generated_tokens: Counter::default(),
            drafted_tokens: Counter::default(),
            accepted_tokens: Counter::default(),
            prefix_hit_tokens: Counter::default(),
            preemptions: Counter::default(),
            // From the demo model on an idle machine to a long queue.
            first_token: seconds(&[
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
                60.0, 120.0,
            ]),
            // From the demo model alone to a throttled 2B model in a full batch.
            between_tokens: seconds(&[
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
            ]),
            engine_restarts: Counter::default(),
            state: EngineState::default(),
            engines: Engines::default(),
            of_models: OfModels::default(),
            vllm: Vllm::default(),
            platform: Arc::new(Platform::new(cgroup)),
        };
        // Series that begin at 0: a rate over one that appears with its first event misses that
        // event.
        for reason in Reject::ALL {
            let _ = metrics
                .rejected
                .get_or_create(&reason_labels(reason.name()));
        }
        for reason in FINISH_REASONS {
            let _ = metrics.finished.get_or_create(&reason_labels(reason));
        }
        metrics.register();
        metrics
    }

    /// Sets the readiness that `/readyz` reports.
    pub fn ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }

    /// Count an answered request.
    pub fn request(&self, labels: RequestLabels, seconds: f64) {
        self.requests.get_or_create(&labels).inc();
        self.duration.observe(seconds);
    }

    /// Count a refused request.
    pub fn rejected(&self, reason: Reject) {
        self.rejected
            .get_or_create(&reason_labels(reason.name()))
            .inc();
    }

    /// Count a generation that came to its end: `stop`, `length`, `embedded`, `error` or `drain`.
    pub fn finished(&self, reason: &'static str) {
        self.finished.get_or_create(&reason_labels(reason)).inc();
    }

    /// A generation's first token has come this long after it was asked for.
    pub fn first_token(&self, waited: Duration) {
        self.first_token.observe(waited.as_secs_f64());
    }

    /// A further token has come this long after the one before.
    pub fn next_token(&self, waited: Duration) {
        self.between_tokens.observe(waited.as_secs_f64());
    }

    /// Requests that wait, and how many may.
    #[must_use]
    pub fn queue(&self) -> (i64, i64) {
        (self.state.queued.get(), self.state.queued_limit.get())
    }

    /// True if a further request would get 429.
    #[must_use]
    pub fn queue_is_full(&self) -> bool {
        let state = &self.state;
        let (queued, limit) = self.queue();
        let running_limit = state.running_limit.get();
        // A request that can begin at once is taken whatever the queue, and so is one that has its
        // model loaded.
        running_limit > 0 && queued >= limit && state.running.get() >= running_limit
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn render(&self, exposition: Exposition) -> String {
        exposition.render(&self.registry)
    }
}

fn reason_labels(reason: &'static str) -> ReasonLabels {
    ReasonLabels { reason }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_starts_again_does_not_set_a_counter_back() {
        let total = EngineTotal::default();
        for (says, sum) in [(0, 0), (5, 5), (5, 5), (9, 9), (2, 11), (3, 12)] {
            total.follow(says);
            assert_eq!(total.counter.get(), sum, "{says}");
        }
    }
}
