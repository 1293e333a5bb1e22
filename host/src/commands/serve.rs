//! `sterna serve`: the OpenAI-compatible HTTP server.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::api_component::ApiComponent;
use crate::assets::Assets;
use crate::engine_actor::EngineHandle;
use crate::logging::{self, LogFormat};
use crate::model_source::ModelArgs;
use crate::server::{Limits, Server};
use crate::settings::SettingsArgs;
use crate::wasm_config;

/// Serve a model over HTTP, with OpenAI's API
///
/// Routes: POST /v1/chat/completions, POST /v1/completions, GET /v1/models, GET /health;
/// for operators: GET /livez, GET /readyz, GET /metrics.
/// SIGTERM or Ctrl-C lets running requests finish; a second one exits at once.
/// STERNA_LOG selects what is logged (for example `debug`, `warn`).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The same as --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    path: Option<PathBuf>,

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

    /// Connections at a time; further ones wait to be accepted
    #[arg(long, env = "STERNA_MAX_CONNECTIONS", value_name = "N", default_value_t = 512,
          value_parser = clap::value_parser!(u16).range(1..))]
    max_connections: u16,

    /// Seconds a client has to send a request's head; also how long an idle connection is kept
    #[arg(
        long,
        env = "STERNA_HEADER_TIMEOUT",
        value_name = "S",
        default_value_t = 30
    )]
    header_timeout: u64,

    /// Seconds a client has to send a request's body
    #[arg(
        long,
        env = "STERNA_BODY_TIMEOUT",
        value_name = "S",
        default_value_t = 60
    )]
    body_timeout: u64,

    /// Seconds a client may take no byte of its answer
    #[arg(
        long,
        env = "STERNA_WRITE_TIMEOUT",
        value_name = "S",
        default_value_t = 60
    )]
    write_timeout: u64,

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

    /// How log lines look
    #[arg(long, env = "STERNA_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

/// Load, listen, serve until told to stop.
///
/// # Errors
/// A setting cannot be used, the model cannot be loaded, the options do not fit it, or the address cannot be taken.
pub fn main(args: &Args, assets: &'static Assets) -> anyhow::Result<()> {
    logging::init(args.log_format);
    let started = Instant::now();
    let settings = args.settings.read()?;
    let model = ModelArgs {
        model: args.path.clone().or_else(|| args.model.model.clone()),
        ..args.model.clone()
    };
    let engines = model.engines(assets, args.max_sequences, args.max_queue)?;
    let engine =
        EngineHandle::start(engines, model.threads()).context("cannot start the engine")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let wasmtime = wasm_config::serving_engine(args.max_connections.into())?;
        let api = ApiComponent::new(
            &wasmtime,
            assets.api_wasm,
            assets.api_cwasm,
            engine.clone(),
            settings,
        )?;
        let limits = Limits {
            max_connections: args.max_connections.into(),
            header_timeout: Duration::from_secs(args.header_timeout),
            body_timeout: Duration::from_secs(args.body_timeout),
            write_timeout: Duration::from_secs(args.write_timeout),
        };
        let server = Server::bind(&args.listen, api, limits).await?;
        let stop = stop_signal()?;
        announce(
            &engine,
            model.threads(),
            started.elapsed(),
            &server.address()?.to_string(),
        );
        server
            .run(stop, Duration::from_secs(args.drain_timeout))
            .await;
        anyhow::Ok(())
    })?;
    // Guests and the engine's thread hold nothing that must be put in order.
    runtime.shutdown_background();
    tracing::info!("stopped");
    Ok(())
}

/// What a person wants to know first, on stdout; log lines go to stderr.
fn announce(engine: &EngineHandle, threads: usize, load: Duration, address: &str) {
    let info = engine.info();
    let text = format!(
        "sterna: {} ({}, {:.1} M parameters, head {}) on {} with {threads} threads, ready in {} ms at http://{address}\n\
         try:    curl http://{address}/v1/completions -H 'Content-Type: application/json' \
         -d '{{\"model\": \"{}\", \"prompt\": \"Once upon a time\", \"max_tokens\": 64}}'\n",
        info.id,
        info.architecture,
        info.parameters as f64 / 1e6,
        info.head_type,
        info.isa,
        load.as_millis(),
        info.id,
    );
    // A server goes on when nobody reads its output any more.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Ready at the first SIGTERM or SIGINT; the second one ends the process.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut stop = Some(stop);
        loop {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            match stop.take() {
                // The receiver lives as long as the server.
                Some(stop) => drop(stop.send(())),
                None => {
                    tracing::warn!("second signal: exiting at once");
                    std::process::exit(130);
                }
            }
        }
    });
    Ok(async {
        // An error means that the task above is gone, and with it the way to stop: stop now.
        let _ = stopped.await;
    })
}
