//! `sterna serve`: the OpenAI-compatible HTTP server.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use clap::{Arg, ArgAction};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::admission::AdmissionMemory;
use crate::api_component::ApiComponent;
use crate::assets::Assets;
use crate::cgroup::Cgroup;
use crate::engine::handle::EngineHandle;
use crate::logging::{self, LogFormat};
use crate::memory::budget::{MemoryBudget, MemoryState};
use crate::memory::lost_pages;
use crate::metrics::Metrics;
use crate::model_source::{Granted, ModelArgs, Needs, Serving};
use crate::models::args::{ModelsArgs, Several};
use crate::models::{Claim, ModelLoader, Models, Spec};
use crate::server::{Limits, PerKey, Server};
use crate::settings::SettingsArgs;
use crate::{resource_limits, wasm_config};

/// Serve a model over HTTP, with OpenAI's API
///
/// Routes: POST /v1/chat/completions, POST /v1/completions, POST /v1/embeddings, GET /v1/models,
/// GET /health, and more that GET / lists; for operators: GET /livez, GET /readyz, GET /metrics.
/// SIGTERM or Ctrl-C lets running requests finish; a second one exits at once.
/// STERNA_LOG selects what is logged (for example `debug`, `warn`).
#[derive(Debug, clap::Args)]
#[command(mut_arg("model", named_models))]
pub struct Args {
    /// The same as --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    path: Option<PathBuf>,

    // Before `model`, which takes the values from where this reads them.
    #[command(flatten)]
    models: ModelsArgs,

    #[command(flatten)]
    model: ModelArgs,

    /// Address and port; port 0 takes a free one
    #[arg(
        short,
        long,
        env = "STERNA_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8080"
    )]
    listen: String,

    /// Sequences generated at the same time; further requests wait in the queue
    #[arg(long, env = "STERNA_MAX_SEQUENCES", value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..))]
    max_sequences: u16,

    /// Requests that may wait; further ones get 429
    #[arg(long, env = "STERNA_MAX_QUEUE", value_name = "N", default_value_t = 64)]
    max_queue: u16,

    /// Milliseconds that a step may take which takes in prompts while other answers are being
    /// generated: what these wait for between two tokens. Prompts go on with a few tokens a step
    /// whatever it is; 0 sets no bound [default: twice what a step without prompts takes]
    #[arg(long, env = "STERNA_MAX_STEP_MS", value_name = "MS")]
    max_step_ms: Option<u32>,

    /// Connections at a time. Where all have a running request, 32 further ones may probe (/livez,
    /// /readyz, /metrics); else the client that was silent longest makes room
    #[arg(long, env = "STERNA_MAX_CONNECTIONS", value_name = "N", default_value_t = 512,
          value_parser = clap::value_parser!(u16).range(1..))]
    max_connections: u16,

    /// Seconds a client has to send a request's head, from its first byte on
    #[arg(long, env = "STERNA_HEADER_TIMEOUT", value_name = "S", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=LONGEST_S))]
    header_timeout: u64,

    /// Seconds a connection is kept without a request. More than proxies keep theirs, which else
    /// reuse one that is being closed; the longest common one is 600 s (Google Cloud)
    #[arg(long, env = "STERNA_IDLE_TIMEOUT", value_name = "S", default_value_t = 620,
          value_parser = clap::value_parser!(u64).range(1..=LONGEST_S))]
    idle_timeout: u64,

    /// Seconds a client has to send a request's body
    #[arg(long, env = "STERNA_BODY_TIMEOUT", value_name = "S", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=LONGEST_S))]
    body_timeout: u64,

    /// Seconds between two bytes of a request's body
    #[arg(long, env = "STERNA_BODY_IDLE_TIMEOUT", value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=LONGEST_S))]
    body_idle_timeout: u64,

    /// Seconds a client may take no byte of its answer
    #[arg(long, env = "STERNA_WRITE_TIMEOUT", value_name = "S", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=LONGEST_S))]
    write_timeout: u64,

    /// Requests that each API key may have at a time; further ones get 429
    #[arg(long, env = "STERNA_MAX_REQUESTS_PER_KEY", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..))]
    max_requests_per_key: Option<u32>,

    /// Requests that each API key may begin in a minute; further ones get 429
    #[arg(long, env = "STERNA_REQUESTS_PER_MINUTE", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_minute: Option<u32>,

    /// Seconds running requests get to finish after SIGTERM
    #[arg(
        long,
        env = "STERNA_DRAIN_TIMEOUT",
        value_name = "S",
        default_value_t = 30
    )]
    drain_timeout: u64,

    #[command(flatten)]
    settings: SettingsArgs,

    /// Format of log lines
    #[arg(long, env = "STERNA_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

impl Args {
    /// The limits of each API key.
    ///
    /// # Errors
    /// There are none without keys.
    fn per_key(&self, settings: &sterna_config::Settings) -> anyhow::Result<PerKey> {
        let limits = PerKey {
            running: self.max_requests_per_key,
            per_minute: self.requests_per_minute,
        };
        ensure!(
            limits == PerKey::default() || !settings.api_keys.is_empty(),
            "--max-requests-per-key and --requests-per-minute are for each API key, and there is none: set --api-key \
             (or STERNA_API_KEY) too"
        );
        Ok(limits)
    }
}

impl Args {
    /// What is said of one model is not said of several.
    ///
    /// # Errors
    /// An option is that.
    fn refuse_for_several(&self) -> anyhow::Result<()> {
        ensure!(
            self.model.model_name.is_none(),
            "--model-name (or STERNA_MODEL_NAME) is for one model without a name: --model NAME=PATH names each"
        );
        if let Some(option) = self.model.reading.first() {
            bail!(
                "{option} says what the files of one model do not, and is not taken with --model NAME=PATH: \
                   write it into a file with `sterna convert`"
            );
        }
        Ok(())
    }
}

/// `--model` as this command takes it: several times.
fn named_models(model: Arg) -> Arg {
    model
        .action(ArgAction::Append)
        .value_name("[NAME=]PATH")
        .help(
            "A GGUF file, a Hugging Face directory, what `sterna bake` wrote (.wasm, .cwasm), or a name that `sterna \
             pull` takes. With NAME=, once for each of several models, of which requests choose one by that name. \
             Without it: the small demo model inside this program",
        )
}

/// A year: the longest any limit may be.
const LONGEST_S: u64 = 365 * 86_400;

/// Listen, load, serve until told to stop.
///
/// # Errors
/// A setting cannot be used, the model cannot be loaded, the options do not fit it, or the address
/// cannot be taken.
pub fn main(args: &Args, assets: &'static Assets) -> anyhow::Result<()> {
    let _flush = logging::init(args.log_format)?;
    let started = Instant::now();
    let cgroup = Cgroup::of_this_process();
    let metrics = Arc::new(Metrics::new(cgroup.clone()));
    let settings = args.settings.read()?;
    let per_key = args.per_key(&settings)?;
    let several = args.models.read()?;
    if several.is_some() {
        args.refuse_for_several()?;
    }
    let of_server = settings.clone();
    let runtime = resource_limits::server_runtime()?;
    let max_connections = resource_limits::connections(
        args.max_connections.into(),
        resource_limits::raise_descriptors(),
    );
    if max_connections < args.max_connections.into() {
        tracing::warn!(
            max_connections,
            "the limit of open files (ulimit -n, LimitNOFILE=) is too low for --max-connections: fewer are taken"
        );
    }
    let load = Load {
        settings,
        model: ModelArgs {
            model: args.path.clone().or_else(|| args.model.model.clone()),
            ..args.model.clone()
        },
        several,
        serving: Serving {
            max_sequences: args.max_sequences,
            max_queue: args.max_queue,
            max_step_ms: args.max_step_ms,
        },
        max_connections: args.max_connections,
        assets,
        cgroup,
        metrics: Arc::clone(&metrics),
        runtime: runtime.handle().clone(),
    };
    let limits = Limits {
        max_connections,
        header_timeout: Duration::from_secs(args.header_timeout),
        idle_timeout: Duration::from_secs(args.idle_timeout),
        body_timeout: Duration::from_secs(args.body_timeout),
        body_idle_timeout: Duration::from_secs(args.body_idle_timeout),
        write_timeout: Duration::from_secs(args.write_timeout),
        per_key,
    };
    let drain_timeout = Duration::from_secs(args.drain_timeout);
    runtime.block_on(async {
        let server = Server::bind(&args.listen, metrics, limits, &of_server).await?;
        let stop = stop_signal()?;
        let (loading, address) = (server.loading(), server.address()?);
        // No URL: people and scripts take the one on stdout, which says that the model is there.
        tracing::info!("listening on {address}; loading the model");
        let (failed, failure) = oneshot::channel();
        // Beside the server, which answers probes meanwhile and stops when told so.
        std::thread::Builder::new()
            .name("load".into())
            .spawn(move || {
                let threads = load.model.threads();
                // Nobody listens where the server has stopped: there is nobody to tell then.
                let _ = match load.run() {
                    Ok((api, memory_bytes)) => {
                        let models = Arc::clone(api.models());
                        if loading.done(api, memory_bytes) {
                            announce(&models, threads, started.elapsed(), &address.to_string());
                        }
                        return;
                    }
                    Err(error) => failed.send(error),
                };
            })?;
        tokio::select! {
            _ = server.run(stop, drain_timeout) => Ok(()),
            // A load that succeeds says nothing.
            Ok(error) = failure => Err(error),
        }
    })?;
    // Guests and the engine's thread hold nothing that must be put in order.
    runtime.shutdown_background();
    tracing::info!("stopped");
    Ok(())
}

/// The parts needed to turn a listening server into a serving one.
struct Load {
    settings: sterna_config::Settings,
    model: ModelArgs,
    several: Option<Several>,
    serving: Serving,
    max_connections: u16,
    assets: &'static Assets,
    cgroup: Cgroup,
    metrics: Arc<Metrics>,
    /// Of the server.
    runtime: Handle,
}

impl Load {
    /// The component with its models, and the memory that its instances may take.
    fn run(mut self) -> anyhow::Result<(ApiComponent, u64)> {
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
        let bytes = mapped_bytes + engine.kv_limit_bytes();
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
fn announce(models: &Models, threads: usize, load: Duration, address: &str) {
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
    let text = format!(
        "sterna: {what} with {threads} threads, ready in {} ms at http://{address}\n\
         try:    curl http://{address}/v1/completions -H 'Content-Type: application/json' \
         -d '{{\"model\": \"{first}\", \"prompt\": \"Once upon a time\", \"max_tokens\": 64}}'\n",
        load.as_millis(),
    );
    // A server goes on when nobody reads its output any more.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Ready at the first SIGTERM or SIGINT; the second one ends the process.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(async move {
        let mut stop = Some(stop);
        loop {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            match stop.take() {
                // The receiver lives as long as the server.
                Some(stop) => drop(stop.send(())),
                None => {
                    tracing::warn!("second signal: exiting at once");
                    logging::exit(130);
                }
            }
        }
    });
    Ok(async {
        // An error means that the task above is gone, and with it the way to stop: stop now.
        let _ = stopped.await;
    })
}
