//! The listener: accept, bound the number of connections, and stop without breaking a stream.

mod answer;
mod body;
mod connection;
mod lifecycle;
mod request_log;
mod service;
mod write_timeout;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::api_component::ApiComponent;
use crate::metrics::Metrics;
use lifecycle::{Lifecycle, Phase};
use service::Service;

/// What a client may take from the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; further ones wait in the system's backlog.
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

impl Server {
    /// Take the address.
    ///
    /// # Errors
    /// It is in use, not this machine's, or not allowed; the message says which and what to do.
    pub async fn bind(address: &str, api: ApiComponent, limits: Limits) -> anyhow::Result<Server> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| cannot_listen(address))?;
        let lifecycle = Arc::new(Lifecycle::default());
        let metrics = Arc::clone(api.engine().metrics());
        let service = Service::new(
            api,
            Arc::clone(&metrics),
            Arc::clone(&lifecycle),
            limits.body_timeout,
        );
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

    /// Serve until `stop` is ready; then take no more requests, let the running ones finish for at
    /// most `drain_timeout`, and close. Returns how many had to be cut.
    pub async fn run(self, stop: impl Future<Output = ()>, drain_timeout: Duration) -> usize {
        let Server {
            listener,
            service,
            lifecycle,
            metrics,
            limits,
        } = self;
        let mut connections = JoinSet::new();
        let slots = Arc::new(Semaphore::new(limits.max_connections));
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = accept(&listener, &slots) => accepted,
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
            let (service, phase) = (service.clone(), lifecycle.phase());
            let open = metrics.connections.clone();
            connections.spawn(async move {
                open.inc();
                connection::serve(stream, service, limits, phase).await;
                open.dec();
                drop(slot);
            });
        }
        drop(listener);
        lifecycle.enter(Phase::Draining);
        let running = lifecycle.in_flight();
        tracing::info!(
            running,
            timeout_s = drain_timeout.as_secs(),
            "stopping: running requests finish, new ones are refused"
        );
        let cut = match tokio::time::timeout(drain_timeout, lifecycle.idle()).await {
            Ok(()) => 0,
            Err(_) => lifecycle.in_flight(),
        };
        if cut > 0 {
            tracing::warn!(
                cut,
                "the drain timeout has passed; the remaining requests are cut off"
            );
        } else {
            lifecycle.enter(Phase::Closing);
            // Idle connections close at once; others flush what the last answers left.
            let all = async { while connections.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(FLUSH_TIMEOUT, all).await;
        }
        connections.shutdown().await;
        cut
    }
}

/// To hand the last bytes of finished answers to the system.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
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
