//! The names under which things are counted, and what the page says about them.

use std::sync::Arc;

use super::Metrics;

impl Metrics {
    /// Put everything into the registry, in the order of the page.
    pub(super) fn register(&mut self) {
        let ours = self.registry.sub_registry_with_prefix("sterna");
        ours.register(
            "http_requests",
            "HTTP requests answered, by route and status",
            self.requests.clone(),
        );
        ours.register(
            "http_request_duration_seconds",
            "Time from a request's head to its answer's last byte",
            self.duration.clone(),
        );
        ours.register(
            "requests_rejected",
            "Requests refused before anything was computed, by reason",
            self.rejected.clone(),
        );
        ours.register(
            "http_connections",
            "Connections open",
            self.connections.clone(),
        );
        ours.register(
            "http_requests_in_flight",
            "Requests being answered",
            self.in_flight.clone(),
        );
        ours.register(
            "ready",
            "1 while /readyz answers 200, else 0",
            self.ready.clone(),
        );
        ours.register(
            "generations_started",
            "Generations accepted",
            self.generations_started.clone(),
        );
        ours.register(
            "generations_finished",
            "Generations ended, by reason",
            self.finished.clone(),
        );
        ours.register(
            "generations_cancelled",
            "Generations whose client left before the end",
            self.generations_cancelled.clone(),
        );
        ours.register(
            "prompt_tokens",
            "Tokens of accepted prompts",
            self.prompt_tokens.clone(),
        );
        ours.register(
            "generated_tokens",
            "Tokens generated",
            self.generated_tokens.clone(),
        );
        ours.register(
            "drafted_tokens",
            "Tokens that were guessed and computed with a step",
            self.drafted_tokens.clone(),
        );
        ours.register(
            "accepted_draft_tokens",
            "Drafted tokens that were right: each saved its sequence a step",
            self.accepted_tokens.clone(),
        );
        ours.register(
            "prefix_cache_hit_tokens",
            "Prompt tokens that need not be computed: their keys and values were kept",
            self.prefix_hit_tokens.clone(),
        );
        ours.register(
            "preemptions",
            "Times a sequence gave its keys and values up for others and went on later",
            self.preemptions.clone(),
        );
        ours.register(
            "time_to_first_token_seconds",
            "Time from the engine being asked to its first token, the queue included",
            self.first_token.clone(),
        );
        ours.register(
            "inter_token_latency_seconds",
            "Time between two tokens of one generation",
            self.between_tokens.clone(),
        );
        ours.register(
            "engine_restarts",
            "Times the engine was started again after a failure",
            self.engine_restarts.clone(),
        );
        let state = &self.state;
        ours.register(
            "sequences_running",
            "Sequences in prefill or decode",
            state.running.clone(),
        );
        ours.register(
            "sequences_running_limit",
            "Sequences that may run at a time",
            state.running_limit.clone(),
        );
        ours.register(
            "sequences_queued",
            "Requests that wait",
            state.queued.clone(),
        );
        ours.register(
            "sequences_queued_limit",
            "Requests that may wait; a further one gets 429",
            state.queued_limit.clone(),
        );
        ours.register(
            "kv_cache_bytes",
            "Memory of the keys and values in use",
            state.kv_bytes.clone(),
        );
        ours.register(
            "prefix_cache_bytes",
            "Memory of keys and values that no sequence uses, kept for prompts that begin alike",
            state.prefix_bytes.clone(),
        );
        ours.register(
            "kv_cache_reserved_bytes",
            "Memory the running sequences may come to need for keys and values",
            state.kv_reserved_bytes.clone(),
        );
        ours.register(
            "kv_cache_limit_bytes",
            "Memory that keys and values may take: a budget, or all sequences at full length",
            state.kv_limit_bytes.clone(),
        );
        ours.register(
            "kv_cache_usage_ratio",
            "Keys and values in use, as a share of their limit, 0 to 1",
            state.kv_ratio.clone(),
        );
        ours.register("threads", "Threads that compute", state.threads.clone());
        let of_models = &self.of_models;
        ours.register(
            "model_loaded",
            "1 while the model is in memory, else 0",
            of_models.loaded.clone(),
        );
        ours.register(
            "model_memory_bytes",
            "Memory that the model may take, of what there is for all of several; 0 while it is not loaded",
            of_models.memory_bytes.clone(),
        );
        ours.register(
            "model_loads",
            "Times the model was loaded, by result",
            of_models.loads.clone(),
        );
        ours.register(
            "model_unloads",
            "Times the model was unloaded to make room for others",
            of_models.unloads.clone(),
        );
        ours.register(
            "model_generations_started",
            "Generations that the model accepted",
            of_models.generations.clone(),
        );
        ours.register(
            "model_generated_tokens",
            "Tokens that the model generated",
            of_models.generated_tokens.clone(),
        );
        let registry = &mut self.registry;
        let vllm = &self.vllm;
        registry.register(
            "vllm:num_requests_waiting",
            "As sterna_sequences_queued",
            vllm.waiting.clone(),
        );
        registry.register(
            "vllm:num_requests_running",
            "As sterna_sequences_running",
            vllm.running.clone(),
        );
        registry.register(
            "vllm:kv_cache_usage_perc",
            "As sterna_kv_cache_usage_ratio",
            vllm.kv_ratio.clone(),
        );
        registry.register_collector(Box::new(Arc::clone(&self.platform)));
    }
}
