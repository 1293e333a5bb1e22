//! The listener: accept, bound the number of connections, and stop without breaking a stream.

mod answer;
mod body;
mod client;
mod client_stream;
mod connection;
mod keep_alive;
mod key_limits;
mod lifecycle;
mod memory_ledger;
mod places;
mod probes;
mod refusal;
mod request_id;
mod request_log;
mod request_memory;
mod service;
mod target;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use sterna_config::Settings;
use sterna_http_rules::{Addresses, AllowedHosts};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::api_component::ApiComponent;
use crate::engine::handle::EngineHandle;
use crate::metrics::Metrics;
use key_limits::KeyLimits;
pub use key_limits::PerKey;
use lifecycle::{Lifecycle, Phase};
use places::Places;
pub use request_memory::INSTANCE_BASE_BYTES;
use request_memory::RequestMemory;
use service::{App, Service, Shared};

/// The limits of a client's use of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time that may ask for more than probes. Where all have a request that is
    /// being answered, a few further ones may probe; else the client that was silent longest makes
    /// room.
    pub max_connections: usize,
    /// To send a request's head, from its first byte on.
    pub header_timeout: Duration,
    /// Without a request, before the first one or after any.
    pub idle_timeout: Duration,
    /// To send a request's body, from its head on.
    pub body_timeout: Duration,
    /// Without a byte of a body that is not complete.
    pub body_idle_timeout: Duration,
    /// Without taking a byte of the answer.
    pub write_timeout: Duration,
    /// For each API key.
    pub per_key: PerKey,
}

/// A bound listener that is not yet accepting.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// Hands a running server its model.
#[derive(Clone)]
pub struct Loading(Arc<Shared>);

impl Loading {
    /// Serve from now on, with so much memory for the requests that run at a time. False where the
    /// server was told to stop meanwhile.
    #[must_use]
    pub fn done(&self, api: ApiComponent, request_memory_bytes: u64) -> bool {
        let memory = RequestMemory::new(request_memory_bytes);
        self.0.app.get_or_init(|| App { api, memory });
        self.0.lifecycle.loaded()
    }
}

impl Server {
    /// Take the address. Requests are refused, and probes answered, until [`Loading::done`].
    /// Of the settings, `allowed_hosts` and `api_keys` count here; where the former is empty, a
    /// listener on a loopback address answers by local names only.
    ///
    /// # Errors
    /// It is in use, not this machine's, or not allowed; the message says which and what to do.
    pub async fn bind(
        address: &str,
        metrics: Arc<Metrics>,
        limits: Limits,
        settings: &Settings,
    ) -> anyhow::Result<Server> {
        let listener = listen(address)
            .await
            .with_context(|| cannot_listen(address))?;
        let hosts = answered_hosts(&settings.allowed_hosts, listener.local_addr()?);
        let keys = settings.api_keys.clone();
        let shared = Arc::new(Shared {
            app: OnceLock::new(),
            metrics,
            lifecycle: Arc::default(),
            places: Places::new(limits.max_connections),
            limits,
            hosts,
            keys: KeyLimits::new(limits.per_key, keys, Instant::now()),
        });
        Ok(Server { listener, shared })
    }

    /// The address it listens on: the port the system chose where 0 was asked for.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// For whoever loads the model.
    #[must_use]
    pub fn loading(&self) -> Loading {
        Loading(Arc::clone(&self.shared))
    }

    /// Serve until `stop` is ready; then refuse requests, let the running ones finish for at most
    /// `drain_timeout`, end the rest with a last event, and close. Returns how many were ended so.
    pub async fn run(self, stop: impl Future<Output = ()>, drain_timeout: Duration) -> usize {
        let mut connections = JoinSet::new();
        self.accept_until(stop, &mut connections).await;
        let lifecycle: &Lifecycle = &self.shared.lifecycle;
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
        self.accept_until(drained, &mut connections).await;
        let cut = lifecycle.in_flight();
        if cut > 0 {
            tracing::warn!(
                cut,
                "the drain timeout has passed; the remaining requests are cut off"
            );
            if let Some(app) = self.shared.app.get() {
                let models = app.api.models();
                models.end();
                models.loaded().iter().for_each(EngineHandle::end_all);
            }
            let told = async {
                let _ = tokio::time::timeout(FLUSH_TIMEOUT, lifecycle.idle()).await;
            };
            self.accept_until(told, &mut connections).await;
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
    async fn accept_until(&self, end: impl Future<Output = ()>, connections: &mut JoinSet<()>) {
        let mut end = pin!(end);
        let door = Arc::new(Semaphore::new(DOOR));
        loop {
            let accepted = tokio::select! {
                () = &mut end => return,
                accepted = accept(&self.listener, &door) => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, at_door)) => {
                    connections.spawn(attend(Arc::clone(&self.shared), stream, at_door));
                }
                Err(error) => {
                    // Out of descriptors, mostly: they come back when connections end.
                    tracing::warn!(%error, "cannot accept");
                    self.shared.places.make_room().await;
                }
            }
        }
    }
}

/// Serve a connection, once it has a place.
async fn attend(shared: Arc<Shared>, stream: TcpStream, at_door: OwnedSemaphorePermit) {
    let place = shared.places.take().await;
    drop(at_door);
    let (open, limits) = (shared.metrics.connections.clone(), shared.limits);
    let phase = shared.lifecycle.follow();
    let service = Service {
        shared,
        client: Arc::clone(place.client()),
        probes_only: place.probes_only(),
    };
    open.inc();
    connection::serve(stream, service, limits, phase, place).await;
    open.dec();
}

/// To hand the last bytes of finished answers to the system, or the last events of those that were
/// cut.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Accepted connections that wait for a place, while others give theirs up.
const DOOR: usize = 64;

async fn accept(
    listener: &TcpListener,
    door: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let at_door = Arc::clone(door).acquire_owned().await;
    let at_door = at_door.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Tokens are small; they must not wait for more.
    stream.set_nodelay(true)?;
    Ok((stream, at_door))
}

/// Connections the system keeps until they are accepted. A burst fills the usual 1024, and the
/// system drops who comes then: a probe tries again a second later, which is too late. Linux takes
/// `net.core.somaxconn` at most, 4096 by default.
const BACKLOG: u32 = 4096;

/// Take the first of the addresses that can be had.
async fn listen(address: &str) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "it is no address");
    for address in lookup_host(address).await? {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A port whose last connections are still closing can be had again.
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// By which names requests are answered. What listens on a loopback address is there for the
/// machine's own programs, and a foreign name can only come from a web page whose owner lets the
/// name mean this address.
fn answered_hosts(allowed: &[String], listener: SocketAddr) -> AllowedHosts {
    let (addresses, default) = if listener.ip().to_canonical().is_loopback() {
        let own = Addresses::Loopback;
        (own, AllowedHosts::Names(Vec::new(), own))
    } else {
        (Addresses::Any, AllowedHosts::Any)
    };
    AllowedHosts::of_setting(allowed, addresses, default)
}

fn cannot_listen(address: &str) -> String {
    format!(
        "cannot listen on {address}. If the port is in use, stop the other server (`ss -ltnp` names it) or choose \
         another one, for example --listen 127.0.0.1:8081; port 0 takes a free one"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_http_rules::Authority;

    #[test]
    fn only_listeners_for_this_machine_ask_by_which_name() {
        let listed = ["llm.example".to_owned()];
        for (listener, allowed, host, answered) in [
            ("127.0.0.1:8080", &[][..], "localhost:8080", true),
            ("127.0.0.1:8080", &[], "evil.example", false),
            ("127.0.0.1:8080", &[], "10.0.0.7", false),
            ("[::1]:8080", &[], "evil.example", false),
            ("[::ffff:127.0.0.1]:80", &[], "evil.example", false),
            ("127.0.0.1:8080", &listed, "llm.example", true),
            ("127.0.0.1:8080", &listed, "evil.example", false),
            ("0.0.0.0:8080", &[], "llm.cluster.example", true),
            ("[::]:8080", &[], "10.0.0.7:8080", true),
            ("0.0.0.0:8080", &listed, "10.0.0.7:8080", true),
            ("0.0.0.0:8080", &listed, "evil.example", false),
        ] {
            let hosts = answered_hosts(allowed, listener.parse().unwrap());
            let got = hosts.allow(&Authority::parse(host).unwrap());
            assert_eq!(got, answered, "{listener} {allowed:?} {host}");
        }
    }
}
