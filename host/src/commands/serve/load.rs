//! Makes the models of a listening server ready, and says so.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::runtime::Handle;

use crate::admission::AdmissionMemory;
use crate::api_component::ApiComponent;
use crate::assets::Assets;
use crate::cgroup::Cgroup;
use crate::engine::handle::EngineHandle;
use crate::memory::budget::{MemoryBudget, MemoryState};
use crate::memory::lost_pages;
use crate::metrics::Metrics;
use crate::model_source::{Granted, ModelArgs, Needs, Serving};
use crate::models::args::Several;
use crate::models::{Claim, ModelLoader, Models, Spec};
use crate::wasm_config;

/// The parts needed to turn a listening server into a serving one.
pub(super) struct Load {
    pub(super) settings: sterna_config::Settings,
    pub(super) model: ModelArgs,
    pub(super) several: Option<Several>,
    pub(super) serving: Serving,
    pub(super) max_connections: u16,
    pub(super) assets: &'static Assets,
    pub(super) cgroup: Cgroup,
    pub(super) metrics: Arc<Metrics>,
    /// Of the server.
    pub(super) runtime: Handle,
}

impl Load {
    /// The component with its models, and the memory that its instances may take.
    pub(super) fn run(mut self) -> anyhow::Result<(ApiComponent, u64)> {
        let (models, request_bytes) = match self.several.take() {
            Some(several) => self.several(several)?,
            None => self.one()?,
        };
        let wasmtime = wasm_config::serving_engine(self.max_connections.into())?;
        let assets = self.assets;
        let api = ApiComponent::new(
            &wasmtime,
            assets.api_wasm,
            assets.api_cwasm,
            Arc::new(models),
            self.settings,
            self.max_connections.into(),
        )?;
        self.runtime
            .block_on(api.try_one())
            .context("cannot make an instance of the HTTP component. If `ulimit -v` (LimitAS=) or a sandbox limits the \
                      address space, raise that limit or take it away: what limits memory is a cgroup")?;
        Ok((api, request_bytes))
    }

    /// One model, which stays.
    fn one(&self) -> anyhow::Result<(Models, u64)> {
        let (mut request_bytes, mut admission_bytes, mut mapped_bytes) = (0, 0, 0);
        let mut kv_budget = |needs: Needs| {
            let state = MemoryState::now(&self.cgroup, needs.mapped_bytes);
            let budget = state.share(needs.copy_bytes)?;
            log_shares(&state, &budget);
            request_bytes = budget.request_bytes;
            admission_bytes = budget.admission_bytes;
            mapped_bytes = needs.mapped_bytes;
            Ok(Granted {
                kv_bytes: Some(budget.kv_bytes),
                copies: budget.copy_bytes == needs.copy_bytes,
            })
        };
        let engines = self
            .model
            .engines(self.assets, self.serving, &mut kv_budget)?;
        let (threads, metrics) = (self.model.threads(), Arc::clone(&self.metrics));
        let admission = AdmissionMemory::new(admission_bytes);
        let engine = EngineHandle::start_with(engines, threads, metrics, admission, None)
            .context("cannot start the engine")?;
        let info = engine.info().clone();
        let bytes = mapped_bytes.saturating_add(engine.kv_limit_bytes());
        self.metrics.load_ended(&info.id, true);
        self.metrics.model_memory(&info.id, bytes);
        Ok((Models::of_one(engine, info), request_bytes))
    }

    /// Several, which take turns where they do not fit together.
    fn several(&self, several: Several) -> anyhow::Result<(Models, u64)> {
        let Several {
            models,
            names,
            preload,
            memory,
        } = several;
        let state = MemoryState::now(&self.cgroup, 0);
        let budget = state.share_among_models()?;
        log_shares(&state, &budget);
        let pool = memory.map_or(budget.kv_bytes, |bytes| bytes.min(budget.kv_bytes));
        let all: Vec<&str> = (0..models.len()).map(|index| names.id(index)).collect();
        lost_pages::tell_of(Path::new(&all.join(" or ")));
        let (mut specs, mut claims) = (Vec::new(), Vec::new());
        for (name, path) in all.iter().zip(&models) {
            let named = || format!("the model {name}");
            let spec = Spec::find(name, path.as_deref(), &self.model, self.serving);
            let spec = spec.with_context(named)?;
            let claim = Claim::of(spec.measured, pool).with_context(named)?;
            specs.push(spec.with_claim(&claim));
            claims.push(claim);
        }
        let least: u64 = claims.iter().map(|claim| claim.least).sum();
        if least > pool {
            tracing::warn!(
                needed_bytes = least,
                models_bytes = pool,
                "the models do not fit into memory together: they take turns"
            );
        }
        let most_waiting =
            usize::from(self.serving.max_queue) + usize::from(self.serving.max_sequences);
        let loader = ModelLoader {
            specs,
            assets: self.assets,
            serving: self.serving,
            metrics: Arc::clone(&self.metrics),
            admission: AdmissionMemory::new(budget.admission_bytes),
        };
        let models = Models::start(names, &claims, pool, most_waiting, loader)?;
        for index in preload {
            let name = models.names().id(index).to_owned();
            let load = async {
                let asking = models.ask(Some(&name)).map_err(|why| anyhow!("{why:?}"))?;
                anyhow::Ok(asking.wait(Duration::MAX).await?)
            };
            let loaded = self.runtime.block_on(load);
            loaded.with_context(|| format!("the model {name}"))?;
        }
        Ok((models, budget.request_bytes))
    }
}

fn log_shares(state: &MemoryState, budget: &MemoryBudget) {
    tracing::info!(
        limit_bytes = state.limit_bytes,
        used_bytes = state.used_bytes,
        mapped_bytes = state.mapped_bytes,
        copy_bytes = budget.copy_bytes,
        kv_bytes = budget.kv_bytes,
        request_bytes = budget.request_bytes,
        admission_bytes = budget.admission_bytes,
        "memory shared out"
    );
}

/// The facts a person wants to know first, on stdout; log lines go to stderr.
pub(super) fn announce(models: &Models, threads: usize, load: Duration, address: &str) {
    let listed = models.listed();
    let names: Vec<&str> = listed.iter().map(|model| model.id.as_str()).collect();
    let (first, what) = match (&listed[..], models.default_info()) {
        ([only], Some(info)) => (
            only.id.as_str(),
            format!(
                "{} ({}, {:.1} M parameters, head {}) on {}",
                info.id,
                info.architecture,
                info.parameters as f64 / 1e6,
                info.head_type,
                info.isa,
            ),
        ),
        _ => (
            names.first().copied().unwrap_or_default(),
            format!("models {}", names.join(", ")),
        ),
    };
    let (route, fields) = if models.default_info().is_none_or(|info| info.generates) {
        (
            "completions",
            r#""prompt": "Once upon a time", "max_tokens": 64"#,
        )
    } else {
        ("embeddings", r#""input": "Once upon a time""#)
    };
    let text = format!(
        "sterna: {what} with {threads} threads, ready in {} ms at http://{address}\n\
         try:    curl http://{address}/v1/{route} -H 'Content-Type: application/json' \
         -d '{{\"model\": \"{first}\", {fields}}}'\n",
        load.as_millis(),
    );
    // A server goes on when nobody reads its output any more.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
