//! `sterna serve`: the OpenAI-compatible HTTP server. `load` makes its models ready beside it.

mod load;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure};
use clap::{Arg, ArgAction};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::assets::Assets;
use crate::cgroup::Cgroup;
use crate::logging::{self, LogFormat};
use crate::metrics::Metrics;
use crate::model_source::{ModelArgs, Serving};
use crate::models::args::ModelsArgs;
use crate::resource_limits;
use crate::server::{Limits, PerKey, Server};
use crate::settings::SettingsArgs;
use load::{Load, announce};

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
                let loaded = catch_unwind(AssertUnwindSafe(|| load.run()));
                let panicked = |_| Err(anyhow!("loading the model panicked; the log says where"));
                let _ = match loaded.unwrap_or_else(panicked) {
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
