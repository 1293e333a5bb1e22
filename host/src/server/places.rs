//! Places for connections: so many may ask for anything, and a few more may probe. Where all are
//! taken, the client that has been waited for longest gives its place up: one that is connected and
//! silent, that dribbles a head or a body, or that does not read its answer. No connection whose
//! request is being answered is ended so.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::Client;

/// Connections beyond the limit that are accepted all the same, so that probes and scrapes get
/// through to a server that is answering as many requests as it may.
pub(super) const PROBE_CONNECTIONS: usize = 32;

/// Before that a client cannot be called silent: its first bytes may lie in the socket, unread.
const GRACE: Duration = Duration::from_millis(20);

/// The interval at which a connection without a place looks for one that has become silent.
const LOOK: Duration = Duration::from_millis(50);

/// A connection's task may be kept from running for a moment.
const LEAVE: Duration = Duration::from_secs(1);

/// All places of a server.
pub(super) struct Places {
    all: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    taken: Mutex<HashMap<u64, Arc<Holder>>>,
    next: AtomicU64,
}

/// The holder of a place.
struct Holder {
    client: Arc<Client>,
    probes_only: bool,
    /// Somebody waits for this one to leave.
    leaving: AtomicBool,
    leave: Notify,
    /// It has left, or has shown that its turn is over.
    settled: Notify,
}

/// A connection's place, until it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    holder: Arc<Holder>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(super) fn new(max_connections: usize) -> Arc<Self> {
        Arc::new(Places {
            all: Arc::new(Semaphore::new(max_connections)),
            probes: Arc::new(Semaphore::new(PROBE_CONNECTIONS)),
            taken: Mutex::default(),
            next: AtomicU64::default(),
        })
    }

    /// True if a request on a new connection would be refused: every place has a request that is
    /// being answered.
    pub(super) fn are_all_busy(&self) -> bool {
        self.all.available_permits() == 0 && self.longest_awaited(false).is_none()
    }

    /// A place for a new connection; one for probes only where all others are busy.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            for (places, probes_only) in [(&self.all, false), (&self.probes, true)] {
                if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
                    return self.enter(permit, probes_only);
                }
                if self.clear_one(probes_only).await {
                    break;
                }
                if probes_only {
                    // Somebody leaves, or becomes silent.
                    sleep(LOOK).await;
                }
            }
        }
    }

    fn enter(self: &Arc<Self>, permit: OwnedSemaphorePermit, probes_only: bool) -> Place {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let holder = Arc::new(Holder {
            client: Arc::new(Client::new()),
            probes_only,
            leaving: AtomicBool::new(false),
            leave: Notify::new(),
            settled: Notify::new(),
        });
        self.taken().insert(number, Arc::clone(&holder));
        Place {
            places: Arc::clone(self),
            number,
            holder,
            permit: Some(permit),
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u64, Arc<Holder>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn longest_awaited(&self, probes_only: bool) -> Option<(Instant, Arc<Holder>)> {
        let taken = self.taken();
        let awaited = taken.values().filter_map(|holder| {
            let free = !holder.leaving.load(Ordering::Relaxed);
            let wanted = holder.probes_only == probes_only && free;
            Some((holder.client.awaited_since().filter(|_| wanted)?, holder))
        });
        let (since, holder) = awaited.min_by_key(|(since, _)| *since)?;
        Some((since, Arc::clone(holder)))
    }

    /// Have a silent client's connection closed, of all places or of those for probes. False where
    /// there is none.
    async fn clear_one(&self, probes_only: bool) -> bool {
        let Some((since, holder)) = self.longest_awaited(probes_only) else {
            return false;
        };
        let ready = since + GRACE;
        if ready > Instant::now() {
            sleep_until(ready).await;
        } else if !holder.leaving.swap(true, Ordering::Relaxed) {
            holder.leave.notify_one();
            let _ = timeout(LEAVE, holder.settled.notified()).await;
        }
        true
    }

    /// The system gives no further connection: have one closed.
    pub(super) async fn make_room(&self) {
        if !self.clear_one(true).await && !self.clear_one(false).await {
            sleep(LOOK).await;
        }
    }
}

impl Place {
    /// True if its connection may only probe.
    pub(super) fn probes_only(&self) -> bool {
        self.holder.probes_only
    }

    /// The client at the other end.
    pub(super) fn client(&self) -> &Arc<Client> {
        &self.holder.client
    }

    /// Ready when the place is needed, and the client is silent still.
    pub(super) async fn given_up(&self) {
        loop {
            self.holder.leave.notified().await;
            if self.client().awaited_since().is_some() {
                return;
            }
            self.holder.leaving.store(false, Ordering::Relaxed);
            self.holder.settled.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().remove(&self.number);
        drop(self.permit.take());
        self.holder.settled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that leaves when it is told to.
    fn hold(place: Place) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { place.given_up().await })
    }

    #[tokio::test]
    async fn the_client_that_was_silent_longest_makes_room() {
        let places = Places::new(2);
        let first = places.take().await;
        let second = places.take().await;
        let gone = Arc::downgrade(first.client());
        let kept = Arc::downgrade(second.client());
        let (first, second) = (hold(first), hold(second));
        let third = places.take().await;
        assert!(!third.probes_only());
        first.await.unwrap();
        assert!(gone.upgrade().is_none() && kept.upgrade().is_some());
        second.abort();
    }

    #[tokio::test]
    async fn who_is_being_answered_keeps_the_place_and_probes_get_others() {
        let places = Places::new(1);
        let busy = places.take().await;
        busy.client().sent_head(false);
        assert!(places.are_all_busy());
        let mut probes = Vec::new();
        for _ in 0..PROBE_CONNECTIONS {
            let probe = places.take().await;
            assert!(probe.probes_only());
            probes.push(hold(probe));
        }
        assert!(places.take().await.probes_only(), "a silent probe has left");
        busy.client().answered();
        assert!(!places.are_all_busy());
        let busy = hold(busy);
        assert!(
            !places.take().await.probes_only(),
            "a silent client has left"
        );
        busy.await.unwrap();
    }

    #[tokio::test]
    async fn one_whose_bytes_came_meanwhile_stays() {
        let places = Places::new(1);
        let place = places.take().await;
        let client = Arc::clone(place.client());
        let kept = hold(place);
        let other = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take().await.probes_only() }
        });
        client.sent_head(false);
        assert!(other.await.unwrap(), "the other got a place for probes");
        assert!(!kept.is_finished());
        kept.abort();
    }
}
