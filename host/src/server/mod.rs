//! The listener: accept, bound the number of connections, and stop without breaking a stream.

mod answer;
mod body;
mod connection;
mod lifecycle;
mod probes;
mod refusal;
mod request_log;
mod request_memory;
mod service;
mod write_timeout;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::api_component::ApiComponent;
use crate::metrics::Metrics;
use lifecycle::{Lifecycle, Phase};
pub use request_memory::INSTANCE_BASE_BYTES;
use request_memory::RequestMemory;
use service::{App, Service};

/// What a client may take from the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time that may ask for more than probes; a few further ones may probe, and the rest waits in the
    /// system's backlog.
    pub max_connections: usize,
    /// To send a request's head; also how long a kept-alive connection may idle.
    pub header_timeout: Duration,
    /// To send a request's body, from its head on.
    pub body_timeout: Duration,
    /// Without taking a byte of the answer.
    pub write_timeout: Duration,
}

/// A bound listener that is not yet accepting.
pub struct Server {
    listener: TcpListener,
    service: Service,
    lifecycle: Arc<Lifecycle>,
    metrics: Arc<Metrics>,
    limits: Limits,
}

/// Hands a running server its model.
#[derive(Clone)]
pub struct Loading {
    app: Arc<OnceLock<App>>,
    lifecycle: Arc<Lifecycle>,
}

impl Loading {
    /// Serve from now on, with so much memory for the requests that run at a time. False where the server was told to
    /// stop meanwhile.
    pub fn done(&self, api: ApiComponent, request_memory_bytes: u64) -> bool {
        let memory = RequestMemory::new(request_memory_bytes);
        self.app.get_or_init(|| App { api, memory });
        self.lifecycle.loaded()
    }
}

impl Server {
    /// Take the address. Requests are refused, and probes answered, until [`Loading::done`].
    ///
    /// # Errors
    /// It is in use, not this machine's, or not allowed; the message says which and what to do.
    pub async fn bind(
        address: &str,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> anyhow::Result<Server> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| cannot_listen(address))?;
        let lifecycle = Arc::new(Lifecycle::default());
        let service = Service {
            app: Arc::default(),
            metrics: Arc::clone(&metrics),
            lifecycle: Arc::clone(&lifecycle),
            body_timeout: limits.body_timeout,
            probes_only: false,
        };
        Ok(Server {
            listener,
            service,
            lifecycle,
            metrics,
            limits,
        })
    }

    /// Where it listens: the port the system chose where 0 was asked for.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// For whoever loads the model.
    #[must_use]
    pub fn loading(&self) -> Loading {
        Loading {
            app: Arc::clone(&self.service.app),
            lifecycle: Arc::clone(&self.lifecycle),
        }
    }

    /// Serve until `stop` is ready; then refuse requests, let the running ones finish for at most `drain_timeout`, end
    /// the rest with a last event, and close. Returns how many were ended so.
    pub async fn run(self, stop: impl Future<Output = ()>, drain_timeout: Duration) -> usize {
        let mut connections = JoinSet::new();
        let slots = Slots::new(self.limits.max_connections);
        self.accept_until(stop, &slots, &mut connections).await;
        let lifecycle = &self.lifecycle;
        lifecycle.enter(Phase::Draining);
        let running = lifecycle.in_flight();
        tracing::info!(
            running,
            timeout_s = drain_timeout.as_secs(),
            "stopping: running requests finish, new ones are refused"
        );
        // Still accepting: who comes now is told to go elsewhere, and probes learn why.
        let drained = async {
            let _ = tokio::time::timeout(drain_timeout, lifecycle.idle()).await;
        };
        self.accept_until(drained, &slots, &mut connections).await;
        let cut = lifecycle.in_flight();
        if cut > 0 {
            tracing::warn!(
                cut,
                "the drain timeout has passed; the remaining requests are cut off"
            );
            if let Some(app) = self.service.app.get() {
                app.api.engine().end_all();
            }
            let told = async {
                let _ = tokio::time::timeout(FLUSH_TIMEOUT, lifecycle.idle()).await;
            };
            self.accept_until(told, &slots, &mut connections).await;
        }
        drop(self.listener);
        lifecycle.enter(Phase::Closing);
        // Idle connections close at once; others flush what the last answers left.
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, all).await;
        connections.shutdown().await;
        cut
    }

    /// Accept until `end` is ready.
    async fn accept_until(
        &self,
        end: impl Future<Output = ()>,
        slots: &Slots,
        connections: &mut JoinSet<()>,
    ) {
        let mut end = pin!(end);
        loop {
            let accepted = tokio::select! {
                () = &mut end => return,
                accepted = accept(&self.listener, slots) => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let (stream, slot) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: they come back when connections end.
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let service = Service {
                probes_only: slot.probes_only,
                ..self.service.clone()
            };
            let (limits, phase) = (self.limits, self.lifecycle.follow());
            let open = self.metrics.connections.clone();
            connections.spawn(async move {
                open.inc();
                connection::serve(stream, service, limits, phase).await;
                open.dec();
                drop(slot);
            });
        }
    }
}

/// To hand the last bytes of finished answers to the system, or the last events of those that were cut.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections beyond the limit that are accepted all the same, so that probes and scrapes get through to a full server.
const PROBE_CONNECTIONS: usize = 32;

/// Places for connections.
struct Slots {
    all: Arc<Semaphore>,
    probes: Arc<Semaphore>,
}

/// A connection's place.
struct Slot {
    probes_only: bool,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    fn new(max_connections: usize) -> Self {
        Slots {
            all: Arc::new(Semaphore::new(max_connections)),
            probes: Arc::new(Semaphore::new(PROBE_CONNECTIONS)),
        }
    }

    async fn take(&self) -> io::Result<Slot> {
        let (permit, probes_only) = tokio::select! {
            biased;
            permit = Arc::clone(&self.all).acquire_owned() => (permit, false),
            permit = Arc::clone(&self.probes).acquire_owned() => (permit, true),
        };
        Ok(Slot {
            probes_only,
            _permit: permit.map_err(io::Error::other)?,
        })
    }
}

async fn accept(listener: &TcpListener, slots: &Slots) -> io::Result<(TcpStream, Slot)> {
    let mut slot = slots.take().await?;
    let (stream, _) = listener.accept().await?;
    if slot.probes_only
        && let Ok(permit) = Arc::clone(&slots.all).try_acquire_owned()
    {
        // One has become free while this was waiting for the connection.
        slot = Slot {
            probes_only: false,
            _permit: permit,
        };
    }
    // Tokens are small; they must not wait for more.
    stream.set_nodelay(true)?;
    Ok((stream, slot))
}

fn cannot_listen(address: &str) -> String {
    format!(
        "cannot listen on {address}. If the port is in use, stop the other server (`ss -ltnp` names it) or choose \
         another one, for example --listen 127.0.0.1:8081; port 0 takes a free one"
    )
}
