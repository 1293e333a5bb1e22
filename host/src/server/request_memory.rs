//! Memory for the instances that answer requests: promised before it is used, so that a memory
//! limit is never met by surprise. An instance holds its request's body, the values parsed from it,
//! and little else.
//!
//! A request is promised what any instance takes, and more as its body comes: what a client has
//! only announced costs nobody anything. Where the memory runs out, the request whose client has
//! been waited for longest is cut off for the others.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::client::Client;
use super::memory_ledger::{Ledger, Line, Units};
use crate::wasm_config::INSTANCE_MEMORY_BYTES;

/// Bytes an instance takes for any request with a small body, its share of hyper's and wasmtime's
/// memory included.
pub const INSTANCE_BASE_BYTES: usize = (1 << 20) + UNIT_BYTES;

/// Bytes an instance may take for each byte of a body: the body itself, text and values parsed
/// from it, the prompt.
const BYTES_PER_BODY_BYTE: u64 = 6;

/// Memory is counted in units of this size.
const UNIT_BYTES: usize = 64 << 10;

/// The time a request waits for memory that others are giving back.
const PATIENCE: Duration = Duration::from_secs(2);

/// After that a further request is cut off for one that waits.
const NEXT_CUT: Duration = Duration::from_millis(50);

/// A budget that requests share.
#[derive(Clone)]
pub(super) struct RequestMemory(Arc<Budget>);

struct Budget {
    ledger: Arc<Ledger>,
    arriving: Mutex<Arriving>,
}

/// Requests whose bodies have not all come.
#[derive(Default)]
struct Arriving {
    next: u64,
    bodies: HashMap<u64, Body>,
    /// Those of them that were cut off, and still have their memory.
    returning: usize,
}

struct Body {
    client: Arc<Client>,
    promise: Promise,
    taken_back: oneshot::Sender<()>,
}

/// The memory promised to a request until it ends.
#[derive(Clone)]
pub(super) struct Promise(Arc<Promised>);

struct Promised {
    budget: Arc<Budget>,
    units: Mutex<Units>,
    /// Bytes of the answer that were asked for beside what any instance takes.
    answer_bytes: AtomicUsize,
    cut_off: AtomicBool,
}

impl RequestMemory {
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT_BYTES as u64).unwrap_or(usize::MAX);
        RequestMemory(Arc::new(Budget {
            ledger: Ledger::new(units),
            arriving: Mutex::default(),
        }))
    }

    /// Room for a request with a small body, or with the beginning of a larger one; `None` where
    /// there is none, and nobody who could make some. It goes ahead of bodies that grow, so that
    /// they cannot keep small requests out.
    pub(super) async fn promise(&self) -> Option<Promise> {
        let budget = &self.0;
        let units = budget.take(units_of(0), Line::First, Duration::ZERO);
        Some(Promise(Arc::new(Promised {
            units: Mutex::new(units.await?),
            answer_bytes: AtomicUsize::new(0),
            budget: Arc::clone(budget),
            cut_off: AtomicBool::new(false),
        })))
    }

    /// The memory that the body of this client's request takes beside `promise` as it comes, up to
    /// one of `longest` bytes.
    pub(super) fn growth(&self, promise: &Promise, client: Arc<Client>, longest: u32) -> Growth {
        let (sender, taken_back) = oneshot::channel();
        let mut arriving = self.0.arriving();
        let number = arriving.next;
        arriving.next += 1;
        let body = Body {
            client,
            promise: promise.clone(),
            taken_back: sender,
        };
        arriving.bodies.insert(number, body);
        Growth {
            promise: promise.clone(),
            number,
            taken_back: Some(taken_back),
            body_bytes: 0,
            longest: longest.into(),
            asking: None,
        }
    }

    /// True if a further request would be refused.
    pub(super) fn is_full(&self) -> bool {
        if self.0.ledger.free() >= units_of(0) {
            return false;
        }
        let arriving = self.0.arriving();
        let mut clients = arriving.bodies.values().map(|body| &body.client);
        arriving.returning == 0 && !clients.any(|client| client.sending_since().is_some())
    }
}

impl Budget {
    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Take memory; where there is none, that of bodies that are waited for. Wait `patience` if
    /// nobody is giving any back.
    async fn take(&self, units: usize, line: Line, patience: Duration) -> Option<Units> {
        let started = Instant::now();
        let mut waiting = self.ledger.line_up(units, line);
        if let Ok(units) = timeout(Duration::ZERO, &mut waiting).await {
            return Some(units);
        }
        let mut patience = patience;
        // Who is on the way out may be enough.
        let mut cut = self.arriving().returning == 0;
        loop {
            if (cut && self.cut_off_one()) || self.arriving().returning > 0 {
                patience = PATIENCE;
            }
            cut = true;
            let left = patience.saturating_sub(started.elapsed());
            if left.is_zero() {
                return None;
            }
            if let Ok(units) = timeout(left.min(NEXT_CUT), &mut waiting).await {
                return Some(units);
            }
        }
    }

    /// Cut off the body that has been waited for longest.
    fn cut_off_one(&self) -> bool {
        let mut arriving = self.arriving();
        let bodies = arriving.bodies.iter();
        let awaited =
            bodies.filter_map(|(number, body)| Some((body.client.sending_since()?, *number)));
        let Some((_, number)) = awaited.min() else {
            return false;
        };
        let Some(body) = arriving.bodies.remove(&number) else {
            return false;
        };
        body.promise.0.cut_off.store(true, SeqCst);
        arriving.returning += 1;
        // The last of a promise locks this list, so it may not go while it is locked.
        drop(arriving);
        body.taken_back.send(()).is_ok()
    }
}

impl Promise {
    /// Room for so many further bytes of an answer that is collected before it is sent; false where
    /// there is none in time. All that an instance may have is the most.
    pub(super) async fn more(&self, bytes: usize) -> bool {
        let promised = &self.0;
        let left = INSTANCE_MEMORY_BYTES.saturating_sub(promised.answer_bytes.load(SeqCst));
        let bytes = bytes.min(left);
        let before = promised.answer_bytes.fetch_add(bytes, SeqCst);
        let units = (before + bytes).div_ceil(UNIT_BYTES) - before.div_ceil(UNIT_BYTES);
        if units == 0 {
            return true;
        }
        let granted = promised.budget.take(units, Line::Second, PATIENCE).await;
        let Some(more) = granted else {
            promised.answer_bytes.fetch_sub(bytes, SeqCst);
            return false;
        };
        promised
            .units
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .merge(more);
        true
    }
}

impl Drop for Promised {
    fn drop(&mut self) {
        if self.cut_off.load(SeqCst) {
            self.budget.arriving().returning -= 1;
        }
    }
}

type Asking = Pin<Box<dyn Future<Output = Option<Units>> + Send>>;

/// The memory of one body as it comes.
pub(super) struct Growth {
    promise: Promise,
    number: u64,
    /// `None` once it was taken back.
    taken_back: Option<oneshot::Receiver<()>>,
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
            let budget = Arc::clone(&self.promise.0.budget);
            self.asking = Some(Box::pin(async move {
                budget.take(more, Line::Second, PATIENCE).await
            }));
        }
    }

    /// Ready with true once what was asked for is granted; false if it is refused, or the request
    /// is to end for others.
    pub(super) fn poll_granted(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.poll_taken_back(cx).is_ready() {
            return Poll::Ready(false);
        }
        let Some(asking) = &mut self.asking else {
            return Poll::Ready(true);
        };
        let granted = std::task::ready!(asking.as_mut().poll(cx));
        self.asking = None;
        let Some(more) = granted else {
            return Poll::Ready(false);
        };
        let units = &self.promise.0.units;
        units
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .merge(more);
        Poll::Ready(true)
    }

    /// Ready when the request is to end, for others.
    pub(super) fn poll_taken_back(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(taken_back) = &mut self.taken_back {
            // Without a word: the list is gone, and the server with it.
            let _ = std::task::ready!(Pin::new(taken_back).poll(cx));
            self.taken_back = None;
        }
        Poll::Ready(())
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        let body = self.promise.0.budget.arriving().bodies.remove(&self.number);
        // After the list's lock: see `cut_off_one`.
        drop(body);
    }
}

/// Units an instance may take whose body has so many bytes. The promise for none is enough for a
/// small one, so that only larger bodies wait in the second line.
fn units_of(body_bytes: u64) -> usize {
    let values = usize::try_from(body_bytes * BYTES_PER_BODY_BYTE).unwrap_or(usize::MAX);
    let bytes = INSTANCE_BASE_BYTES
        .saturating_add(values.saturating_sub(UNIT_BYTES))
        .min(INSTANCE_MEMORY_BYTES);
    bytes.div_ceil(UNIT_BYTES)
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
        let all = memory.0.ledger.free();
        let used = || all - memory.0.ledger.free();
        let promise = memory.promise().await.unwrap();
        let mut growth = memory.growth(&promise, sending(), LONGEST);
        assert_eq!(used(), units_of(0));
        assert!(grow(&mut growth, 6).await);
        assert_eq!(used(), units_of(0), "a small body needs nothing more");
        assert!(grow(&mut growth, 100_000).await);
        assert_eq!(used(), units_of(100_006));
        for _ in 0..3 {
            assert!(grow(&mut growth, LONGEST as usize).await);
            assert_eq!(used(), units_of(LONGEST.into()));
        }
        drop((growth, promise));
        assert_eq!(used(), 0);
    }

    #[tokio::test]
    async fn an_answer_is_charged_as_it_is_collected() {
        let memory = budget(2);
        let all = memory.0.ledger.free();
        let promise = memory.promise().await.unwrap();
        let base = units_of(0);
        let used = || all - memory.0.ledger.free();
        for (bytes, units) in [(1, 1), (UNIT_BYTES - 1, 1), (1, 2), (3 * UNIT_BYTES, 5)] {
            assert!(promise.more(bytes).await);
            assert_eq!(used(), base + units);
        }
        assert!(
            !promise.more(INSTANCE_BASE_BYTES).await,
            "more than there is"
        );
        assert!(
            promise.more(UNIT_BYTES).await,
            "and what there is afterwards"
        );
        assert_eq!(used(), base + 6);
        drop(promise);
        assert_eq!(used(), 0);

        let memory = budget(2 * INSTANCE_MEMORY_BYTES / INSTANCE_BASE_BYTES);
        let all = memory.0.ledger.free();
        let promise = memory.promise().await.unwrap();
        for _ in 0..3 {
            assert!(promise.more(INSTANCE_MEMORY_BYTES - 1).await);
        }
        let most = base + INSTANCE_MEMORY_BYTES / UNIT_BYTES;
        assert_eq!(all - memory.0.ledger.free(), most);
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
        assert_eq!(memory.0.arriving().returning, 0);
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

    /// Bodies that wait for memory themselves are cut off as well, and meanwhile nobody is refused
    /// because there is none left to cut.
    #[tokio::test]
    async fn bodies_that_grow_do_not_keep_new_requests_out() {
        let memory = budget(4);
        let mut guests = Vec::new();
        for _ in 0..4 {
            let promise = memory.promise().await.unwrap();
            let mut growth = memory.growth(&promise, sending(), LONGEST);
            guests.push(tokio::spawn(async move {
                growth.ask(LONGEST as usize);
                let granted = poll_fn(|cx| growth.poll_granted(cx)).await;
                drop((growth, promise));
                granted
            }));
        }
        tokio::task::yield_now().await;
        assert!(!memory.is_full() && memory.promise().await.is_some());
        for guest in guests {
            assert!(!guest.await.unwrap());
        }
        assert_eq!(memory.0.arriving().returning, 0);
        assert!(memory.0.arriving().bodies.is_empty());
    }
}
