//! The state of the engines that run: each model's has its own lines, and the sums of all have the
//! names they have where there is one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use sterna_engine::request::{EngineStats, ModelInfo};

use super::{EngineTotal, Metrics, ModelLabels, Ratio, ResultLabels, gauge};

/// Lines for each model.
#[derive(Default)]
pub(super) struct OfModels {
    pub(super) loaded: Family<ModelLabels, Gauge>,
    pub(super) memory_bytes: Family<ModelLabels, Gauge>,
    pub(super) loads: Family<ResultLabels, Counter>,
    pub(super) unloads: Family<ModelLabels, Counter>,
    pub(super) generations: Family<ModelLabels, Counter>,
    pub(super) generated_tokens: Family<ModelLabels, Counter>,
}

/// The engines there are, by a number of each.
#[derive(Default)]
pub(super) struct Engines(Mutex<Running>);

#[derive(Default)]
struct Running {
    next: u64,
    engines: BTreeMap<u64, Shown>,
}

/// An engine's last figures, and its limits.
#[derive(Clone, Copy, Default)]
struct Shown {
    stats: EngineStats,
    max_sequences: u32,
    max_queue: u32,
}

impl Engines {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one engine counts; its part of the gauges goes with it.
pub struct EngineMetrics {
    all: Arc<Metrics>,
    number: u64,
    info: ModelInfo,
    drafted: EngineTotal,
    accepted: EngineTotal,
    prefix_hits: EngineTotal,
    preemptions: EngineTotal,
    /// vLLM's.
    waiting: Gauge,
    running: Gauge,
    kv_ratio: Ratio,
    /// Generations that this model took.
    pub generations: Counter,
    /// Tokens that it generated.
    pub generated_tokens: Counter,
}

impl Metrics {
    /// A model is loaded: the figures of its engine.
    #[must_use]
    pub fn loaded(
        self: &Arc<Self>,
        model: &ModelInfo,
        threads: usize,
        max_queue: u32,
    ) -> EngineMetrics {
        self.platform.loaded(model);
        self.state.threads.set(gauge(threads as u64));
        let mut running = self.engines.running();
        let number = running.next;
        running.next += 1;
        let shown = Shown {
            max_sequences: model.max_sequences,
            max_queue,
            ..Shown::default()
        };
        running.engines.insert(number, shown);
        self.sum_up(&running);
        drop(running);
        let labels = ModelLabels {
            model_name: model.id.clone(),
        };
        let of_models = &self.of_models;
        of_models.loaded.get_or_create(&labels).set(1);
        // There from the start, at 0.
        drop(of_models.unloads.get_or_create(&labels));
        let total = |counter: &Counter| EngineTotal {
            counter: counter.clone(),
            ..EngineTotal::default()
        };
        EngineMetrics {
            number,
            info: model.clone(),
            drafted: total(&self.drafted_tokens),
            accepted: total(&self.accepted_tokens),
            prefix_hits: total(&self.prefix_hit_tokens),
            preemptions: total(&self.preemptions),
            waiting: self.vllm.waiting.get_or_create(&labels).clone(),
            running: self.vllm.running.get_or_create(&labels).clone(),
            kv_ratio: self.vllm.kv_ratio.get_or_create(&labels).clone(),
            generations: of_models.generations.get_or_create(&labels).clone(),
            generated_tokens: of_models.generated_tokens.get_or_create(&labels).clone(),
            all: Arc::clone(self),
        }
    }

    /// A model was loaded, or could not be.
    pub fn load_ended(&self, model: &str, ok: bool) {
        let labels = ResultLabels {
            model_name: model.to_owned(),
            result: if ok { "ok" } else { "failed" },
        };
        self.of_models.loads.get_or_create(&labels).inc();
    }

    /// A model may take so many bytes now; 0 once it is unloaded.
    pub fn model_memory(&self, model: &str, bytes: u64) {
        let labels = ModelLabels {
            model_name: model.to_owned(),
        };
        let family = &self.of_models.memory_bytes;
        family.get_or_create(&labels).set(gauge(bytes));
    }

    /// A model made room for others.
    pub fn unloaded(&self, model: &str) {
        let labels = ModelLabels {
            model_name: model.to_owned(),
        };
        self.of_models.unloads.get_or_create(&labels).inc();
        self.model_memory(model, 0);
    }

    fn sum_up(&self, running: &Running) {
        let engines = || running.engines.values();
        let sum = |of: fn(&Shown) -> u64| engines().map(of).sum::<u64>();
        let show = |shown: &Gauge, of: fn(&Shown) -> u64| {
            shown.set(gauge(sum(of)));
        };
        let state = &self.state;
        show(&state.running, |it| it.stats.running as u64);
        show(&state.queued, |it| it.stats.queued as u64);
        show(&state.running_limit, |it| it.max_sequences.into());
        show(&state.queued_limit, |it| it.max_queue.into());
        show(&state.kv_bytes, |it| it.stats.kv_bytes);
        show(&state.prefix_bytes, |it| it.stats.kv_idle_bytes);
        show(&state.kv_reserved_bytes, |it| it.stats.kv_reserved_bytes);
        show(&state.kv_limit_bytes, |it| it.stats.kv_limit_bytes);
        let limit = sum(|it| it.stats.kv_limit_bytes).max(1);
        let ratio = sum(|it| it.stats.kv_bytes) as f64 / limit as f64;
        state.kv_ratio.set(ratio);
    }
}

impl EngineMetrics {
    /// Show the engine's present state.
    pub fn show(&self, stats: &EngineStats) {
        let mut running = self.all.engines.running();
        if let Some(shown) = running.engines.get_mut(&self.number) {
            shown.stats = *stats;
        }
        self.all.sum_up(&running);
        drop(running);
        self.drafted.follow(stats.drafted);
        self.accepted.follow(stats.accepted);
        self.prefix_hits.follow(stats.cached_tokens);
        self.preemptions.follow(stats.preempted);
        self.waiting.set(gauge(stats.queued as u64));
        self.running.set(gauge(stats.running as u64));
        let limit = stats.kv_limit_bytes.max(1);
        self.kv_ratio.set(stats.kv_bytes as f64 / limit as f64);
    }
}

impl Drop for EngineMetrics {
    fn drop(&mut self) {
        self.show(&EngineStats::default());
        let mut running = self.all.engines.running();
        running.engines.remove(&self.number);
        self.all.sum_up(&running);
        drop(running);
        let labels = ModelLabels {
            model_name: self.info.id.clone(),
        };
        self.all.of_models.loaded.get_or_create(&labels).set(0);
        self.all.platform.unloaded(&self.info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Cgroup;
    use crate::metrics::Exposition;
    use crate::testing::model_info;

    fn stats(running: usize, drafted: u64) -> EngineStats {
        EngineStats {
            running,
            drafted,
            kv_bytes: 10,
            kv_limit_bytes: 40,
            ..EngineStats::default()
        }
    }

    #[test]
    fn gauges_are_sums_and_each_model_has_its_own() {
        let metrics = Arc::new(Metrics::new(Cgroup::default()));
        let has = |line: &str| {
            let page = metrics.render(Exposition::Classic);
            assert!(page.lines().any(|it| it == line), "{line}\n{page}");
        };
        let one = metrics.loaded(&model_info("a"), 2, 10);
        let two = metrics.loaded(&model_info("b"), 2, 10);
        one.show(&stats(1, 5));
        two.show(&stats(2, 7));
        has("sterna_sequences_running 3");
        has("sterna_sequences_running_limit 8");
        has("sterna_sequences_queued_limit 20");
        has("sterna_drafted_tokens_total 12");
        has("sterna_kv_cache_usage_ratio 0.25");
        has("vllm:num_requests_running{model_name=\"a\"} 1");
        has("sterna_model_loaded{model_name=\"b\"} 1");
        drop(two);
        has("sterna_sequences_running 1");
        has("sterna_sequences_running_limit 4");
        has("sterna_drafted_tokens_total 12");
        has("vllm:num_requests_running{model_name=\"b\"} 0");
        has("sterna_model_loaded{model_name=\"b\"} 0");
        let page = metrics.render(Exposition::Classic);
        assert!(
            page.contains("sterna_model_info{id=\"a\"")
                && !page.contains("sterna_model_info{id=\"b\"")
        );
    }
}
