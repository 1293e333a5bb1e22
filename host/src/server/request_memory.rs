//! Memory for the instances that answer requests: promised before it is used, so that a memory limit is never met by
//! surprise. An instance holds its request's body, the values parsed from it, and little else.
//!
//! A request is promised what any instance takes, and more as its body comes: what a client has
//! only announced costs nobody anything. Where the memory runs out, the request whose client has
//! been waited for longest is cut off for the others.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};

use super::client::Client;
use crate::wasm_config::INSTANCE_MEMORY_BYTES;

/// What an instance takes whatever it is asked, its share of hyper's and wasmtime's memory included.
pub const INSTANCE_BASE_BYTES: usize = 1 << 20;

/// Bytes an instance may take for each byte of a body: the body itself, text and values parsed from it, the prompt.
const BYTES_PER_BODY_BYTE: u64 = 6;

/// A semaphore counts in `u32`; 64 KiB each reaches 256 TiB.
const UNIT_BYTES: usize = 64 << 10;

/// How long a request waits for memory that others are giving back.
const PATIENCE: Duration = Duration::from_secs(2);

/// After that a further request is cut off for one that waits.
const NEXT_CUT: Duration = Duration::from_millis(50);

/// A budget that requests share.
#[derive(Clone)]
pub(super) struct RequestMemory(Arc<Budget>);

struct Budget {
    units: Arc<Semaphore>,
    /// Requests whose bodies have not all come, by the number of their promise.
    arriving: Mutex<Arriving>,
}

#[derive(Default)]
struct Arriving {
    next: u64,
    bodies: HashMap<u64, (Arc<Client>, oneshot::Sender<()>)>,
}

/// What a request was promised, until it ends.
#[derive(Clone)]
pub(super) struct Promise(Arc<Mutex<OwnedSemaphorePermit>>);

impl RequestMemory {
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT_BYTES as u64).unwrap_or(usize::MAX);
        RequestMemory(Arc::new(Budget {
            units: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            arriving: Mutex::default(),
        }))
    }

    /// Room for a request without its body; `None` where there is none, and nobody who could make
    /// some.
    pub(super) async fn promise(&self) -> Option<Promise> {
        let permit = self.0.take(units_of(0), Duration::ZERO).await?;
        Some(Promise(Arc::new(Mutex::new(permit))))
    }

    /// What the body of this client's request takes beside `promise` as it comes, up to one of
    /// `longest` bytes.
    pub(super) fn growth(&self, promise: &Promise, client: Arc<Client>, longest: u32) -> Growth {
        let (sender, taken_back) = oneshot::channel();
        let mut arriving = self.0.arriving();
        let number = arriving.next;
        arriving.next += 1;
        arriving.bodies.insert(number, (client, sender));
        Growth {
            budget: Arc::clone(&self.0),
            promise: promise.clone(),
            number,
            taken_back,
            body_bytes: 0,
            longest: longest.into(),
            asking: None,
        }
    }

    /// Whether a further request would be refused.
    pub(super) fn is_full(&self) -> bool {
        self.0.units.available_permits() < units_of(0) as usize
            && !self.0.arriving().bodies.values().any(is_awaited)
    }
}

impl Budget {
    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Take memory; where there is none, that of the bodies that are waited for. Wait so long if
    /// nobody can give any at once.
    async fn take(&self, units: u32, patience: Duration) -> Option<OwnedSemaphorePermit> {
        let started = Instant::now();
        let mut patience = patience;
        loop {
            if let Ok(permit) = Arc::clone(&self.units).try_acquire_many_owned(units) {
                return Some(permit);
            }
            if self.take_back_one() {
                patience = PATIENCE;
            }
            if started.elapsed() >= patience {
                return None;
            }
            let freed = Arc::clone(&self.units).acquire_many_owned(units);
            if let Ok(permit) = timeout(NEXT_CUT, freed).await {
                return permit.ok();
            }
        }
    }

    /// Cut off the body that has been waited for longest.
    fn take_back_one(&self) -> bool {
        let mut arriving = self.arriving();
        let bodies = arriving.bodies.iter();
        let awaited =
            bodies.filter_map(|(number, (client, _))| Some((client.sending_since()?, *number)));
        let Some((_, number)) = awaited.min() else {
            return false;
        };
        // Its receiver is dropped only after it has left this list.
        arriving
            .bodies
            .remove(&number)
            .is_some_and(|(_, taken_back)| taken_back.send(()).is_ok())
    }
}

fn is_awaited((client, _): &(Arc<Client>, oneshot::Sender<()>)) -> bool {
    client.sending_since().is_some()
}

type Asking = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// The memory of one body as it comes.
pub(super) struct Growth {
    budget: Arc<Budget>,
    promise: Promise,
    number: u64,
    taken_back: oneshot::Receiver<()>,
    body_bytes: u64,
    longest: u64,
    asking: Option<Asking>,
}

impl Growth {
    /// So many more bytes have come.
    pub(super) fn ask(&mut self, bytes: usize) {
        // What is longer than allowed is refused, and not kept.
        let after = (self.body_bytes + bytes as u64).min(self.longest);
        let more = units_of(after) - units_of(self.body_bytes);
        self.body_bytes = after;
        if more > 0 {
            let budget = Arc::clone(&self.budget);
            self.asking = Some(Box::pin(async move { budget.take(more, PATIENCE).await }));
        }
    }

    /// Whether what was asked for is granted.
    pub(super) fn poll_granted(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(asking) = &mut self.asking else {
            return Poll::Ready(true);
        };
        let granted = std::task::ready!(asking.as_mut().poll(cx));
        self.asking = None;
        Poll::Ready(match granted {
            Some(more) => {
                let mut permit = self
                    .promise
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                permit.merge(more);
                true
            }
            None => false,
        })
    }

    /// Ready when the request is to end, for others that have come whole.
    pub(super) fn poll_taken_back(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An error: its sender has gone with the whole server.
        Pin::new(&mut self.taken_back).poll(cx).map(|_| ())
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.budget.arriving().bodies.remove(&self.number);
    }
}

/// What an instance may take whose body has so many bytes.
fn units_of(body_bytes: u64) -> u32 {
    let values = usize::try_from(body_bytes * BYTES_PER_BODY_BYTE).unwrap_or(usize::MAX);
    let bytes = INSTANCE_BASE_BYTES
        .saturating_add(values)
        .min(INSTANCE_MEMORY_BYTES);
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LONGEST: u32 = 4 << 20;

    fn budget(instances: usize) -> RequestMemory {
        RequestMemory::new((instances * INSTANCE_BASE_BYTES) as u64)
    }

    /// A client whose body is on its way.
    fn sending() -> Arc<Client> {
        let client = Arc::new(Client::new());
        client.sent_head(true);
        client
    }

    async fn grow(growth: &mut Growth, bytes: usize) -> bool {
        growth.ask(bytes);
        poll_fn(|cx| growth.poll_granted(cx)).await
    }

    #[tokio::test]
    async fn promises_are_kept_within_the_budget_and_given_back() {
        let memory = budget(2);
        let promises = (memory.promise().await, memory.promise().await);
        assert!(promises.0.is_some() && promises.1.is_some());
        assert!(memory.is_full() && memory.promise().await.is_none());
        drop(promises);
        assert!(!memory.is_full() && memory.promise().await.is_some());
    }

    #[tokio::test]
    async fn a_body_is_charged_as_it_comes_and_never_for_more_than_the_longest() {
        let memory = budget(64);
        let all = memory.0.units.available_permits();
        let used = || all - memory.0.units.available_permits();
        let promise = memory.promise().await.unwrap();
        let mut growth = memory.growth(&promise, sending(), LONGEST);
        assert_eq!(used(), units_of(0) as usize);
        assert!(grow(&mut growth, 6).await);
        assert_eq!(used(), units_of(6) as usize);
        assert!(grow(&mut growth, 100_000).await);
        assert_eq!(used(), units_of(100_006) as usize);
        for _ in 0..3 {
            assert!(grow(&mut growth, LONGEST as usize).await);
            assert_eq!(used(), units_of(LONGEST.into()) as usize);
        }
        drop((growth, promise));
        assert_eq!(used(), 0);
    }

    #[tokio::test]
    async fn the_body_that_was_waited_for_longest_is_cut_off_for_others() {
        let memory = budget(2);
        let slow = memory.promise().await.unwrap();
        let mut slow_body = memory.growth(&slow, sending(), LONGEST);
        let other = memory.promise().await.unwrap();
        let other_body = memory.growth(&other, sending(), LONGEST);
        assert!(!memory.is_full(), "one that has come whole would get room");
        let guest = tokio::spawn(async move {
            poll_fn(|cx| slow_body.poll_taken_back(cx)).await;
            drop((slow_body, slow));
        });
        assert!(memory.promise().await.is_some());
        guest.await.unwrap();
        assert_eq!(memory.0.arriving().bodies.len(), 1);
        drop((other, other_body));
    }

    #[tokio::test]
    async fn a_body_that_has_come_is_not_cut_off() {
        let memory = budget(1);
        let promise = memory.promise().await.unwrap();
        let client = sending();
        let mut growth = memory.growth(&promise, Arc::clone(&client), LONGEST);
        client.ended_body();
        assert!(memory.is_full() && memory.promise().await.is_none());
        let none = poll_fn(|cx| Poll::Ready(growth.poll_taken_back(cx))).await;
        assert!(none.is_pending());
    }
}
