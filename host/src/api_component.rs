//! Runs the HTTP component: a fresh instance for each request, dropped when the request is over.
//!
//! A guest that waits in `generation.next` sees no disconnect. So the task that runs it is tied to
//! the answer: when the client leaves, hyper drops the answer (or the future that waits for it),
//! the task is aborted, its store dropped, and with it the guest's generations, which cancels them.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context, anyhow, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes};
use hyper::header::HOST;
use hyper::{Request, Response};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{
    RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use sterna_config::Settings;

use crate::bindings::{config, engine};
use crate::engine::handle::EngineHandle;
use crate::engine_import::{EngineImport, HasEngine, TokenCount};
use crate::epoch_clock::EpochClock;
use crate::guest_wasi::add_proxy_to_linker;
use crate::large_requests::{LargeRequests, is_large};
use crate::models::{Held, Models};
use crate::settings::{ConfigImport, HasConfig};
use crate::wasm_config::{EPOCH, INSTANCE_MEMORY_BYTES};

/// Asks for memory for so many further bytes of an answer that an instance collects before it is
/// sent; false where there is none.
pub type AnswerRoom =
    Arc<dyn Fn(usize) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// The HTTP component, linked and ready to be instantiated.
#[derive(Clone)]
pub struct ApiComponent {
    pre: ProxyPre<InstanceState>,
    models: Arc<Models>,
    settings: Arc<Settings>,
    /// A busy guest yields at its ticks, so that it cannot keep a thread from the others.
    clock: Arc<EpochClock>,
    /// Instances there may be. One that was ended goes a moment later, when its task is next run,
    /// so a further one may have to wait for it.
    instances: Arc<Semaphore>,
    large: Arc<LargeRequests>,
}

impl ApiComponent {
    /// Link the component to WASI, to `models` and to what the operator has set, for so many
    /// `instances` at a time. Takes the code compiled ahead of time where it fits this wasmtime and
    /// this CPU, else compiles `wasm`.
    ///
    /// # Errors
    /// The component needs an import the host does not have.
    pub fn new(
        wasmtime: &Engine,
        wasm: &[u8],
        cwasm: &[u8],
        models: Arc<Models>,
        settings: Settings,
        instances: usize,
    ) -> anyhow::Result<Self> {
        // SAFETY: `cwasm` comes from this program's own build (embedded.rs), by
        // `Engine::precompile_component`.
        let component = match unsafe { Component::deserialize(wasmtime, cwasm) } {
            Ok(component) => component,
            Err(error) => {
                tracing::warn!(%error, "the precompiled component does not fit; compiling it now");
                Component::new(wasmtime, wasm)
                    .map_err(anyhow::Error::from)
                    .context("api.wasm")?
            }
        };
        let mut linker = Linker::new(wasmtime);
        add_proxy_to_linker(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        engine::add_to_linker::<_, HasEngine>(&mut linker, InstanceState::engine)?;
        config::add_to_linker::<_, HasConfig>(&mut linker, |state: &mut InstanceState| {
            ConfigImport(&state.settings)
        })?;
        let pre = ProxyPre::new(linker.instantiate_pre(&component)?)
            .map_err(anyhow::Error::from)
            .context("api.wasm does not fit this host")?;
        Ok(ApiComponent {
            pre,
            models,
            settings: Arc::new(settings),
            clock: Arc::new(EpochClock::start(wasmtime, EPOCH)?),
            instances: Arc::new(Semaphore::new(instances)),
            large: Arc::new(LargeRequests::start()?),
        })
    }

    /// The models behind the component.
    #[must_use]
    pub fn models(&self) -> &Arc<Models> {
        &self.models
    }

    /// Bytes a request's body may have.
    #[must_use]
    pub fn max_body_bytes(&self) -> u32 {
        self.settings.max_body_bytes
    }

    /// Make one instance and have it answer: a machine that gives no memory for it, or no address
    /// space, is found out before anybody is told that the server is ready.
    ///
    /// # Errors
    /// As [`ApiComponent::handle`]; or the answer is none.
    pub async fn try_one(&self) -> anyhow::Result<()> {
        let none = |never: Infallible| -> wasmtime_wasi_http::Error { match never {} };
        let request = Request::get("http://localhost/health")
            .header(HOST, "localhost")
            .body(Empty::<Bytes>::new().map_err(none))?;
        let (response, _guest) = self.handle(request, Arc::default(), None).await?;
        let status = response.status();
        ensure!(status.is_success(), "it answered with status {status}");
        Ok(())
    }

    /// Answer one request. The guest runs until the returned [`GuestTask`] is dropped, and that is
    /// the caller's duty: after the answer's last byte, or when the client has left.
    ///
    /// # Errors
    /// The instance could not be made, the guest trapped, or it ended without an answer.
    pub async fn handle<B>(
        &self,
        request: Request<B>,
        tokens: Arc<TokenCount>,
        room: Option<AnswerRoom>,
    ) -> anyhow::Result<(Response<HyperOutgoingBody>, GuestTask)>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<wasmtime_wasi_http::Error>,
    {
        let place = Arc::clone(&self.instances).acquire_owned().await?;
        let has_begun = {
            let tokens = Arc::clone(&tokens);
            move || tokens.prompt.load(Relaxed) > 0
        };
        let mut store = Store::new(
            self.pre.engine(),
            InstanceState::new(
                Arc::clone(&self.models),
                Arc::clone(&self.settings),
                tokens,
                room,
            ),
        );
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let (answer, answered) = oneshot::channel();
        let large = is_large(request.body());
        let request = store
            .data_mut()
            .http()
            .new_incoming_request(Scheme::Http, request)?;
        let out = store.data_mut().http().new_response_outparam(answer)?;
        let (pre, guest) = (self.pre.clone(), self.clock.guest());
        let run = async move {
            // Dropped after the store, whose place it is.
            let _place = place;
            let (_guest, mut store) = (guest, store);
            let proxy: Proxy = pre.instantiate_async(&mut store).await?;
            proxy
                .wasi_http_incoming_handler()
                .call_handle(store, request, out)
                .await
        };
        let mut task = GuestTask(tokio::spawn(self.large.guest(large, has_begun, run)));
        match answered.await {
            Ok(Ok(response)) => Ok((response, task)),
            Ok(Err(code)) => Err(anyhow!("the component refused to answer: {code:?}")),
            // The sender went with the store, so the task has ended or is about to.
            Err(_) => match (&mut task.0).await? {
                Ok(()) => Err(anyhow!("the component ended without an answer")),
                Err(trap) => Err(anyhow::Error::from(trap).context("the component failed")),
            },
        }
    }
}

/// The task in which a guest runs; dropping it ends the guest and frees all it holds.
pub struct GuestTask(JoinHandle<wasmtime::Result<()>>);

impl Drop for GuestTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The resources of one instance: its streams, its memory, its models. No files, no sockets, no
/// environment.
struct InstanceState {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoOutgoingRequests,
    limits: StoreLimits,
    models: Held<EngineHandle>,
    settings: Arc<Settings>,
    tokens: Arc<TokenCount>,
    room: Option<AnswerRoom>,
}

impl InstanceState {
    fn new(
        models: Arc<Models>,
        settings: Arc<Settings>,
        tokens: Arc<TokenCount>,
        room: Option<AnswerRoom>,
    ) -> Self {
        InstanceState {
            table: ResourceTable::new(),
            // A panic message of the guest belongs in the host's log.
            wasi: WasiCtx::builder().inherit_stderr().build(),
            http: WasiHttpCtx::new(),
            hooks: NoOutgoingRequests,
            limits: StoreLimitsBuilder::new()
                .memory_size(INSTANCE_MEMORY_BYTES)
                .build(),
            models: Held::new(models),
            settings,
            tokens,
            room,
        }
    }

    fn engine(&mut self) -> EngineImport<'_> {
        EngineImport {
            table: &mut self.table,
            models: &mut self.models,
            tokens: &self.tokens,
            room: self.room.as_ref(),
        }
    }
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for InstanceState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

/// The HTTP component answers requests; it sends none.
struct NoOutgoingRequests;

type Io = Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>;

impl WasiHttpHooks for NoOutgoingRequests {
    fn send_request(
        &mut self,
        _request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Io,
    ) -> Box<dyn Future<Output = wasmtime_wasi_http::Result<(Response<WasiBody>, Io)>> + Send> {
        Box::new(std::future::ready(Err(
            wasmtime_wasi_http::Error::HttpRequestDenied,
        )))
    }
}
