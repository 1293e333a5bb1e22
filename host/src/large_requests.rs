//! Requests with large bodies, read and parsed on a thread of low priority.
//!
//! A guest that parses some megabytes computes for tens of milliseconds. On the threads that carry
//! the streams, a few of them would hold up every token; here they hold up each other. Once its
//! generation has begun, a guest only passes on tokens, and moves to where the streams are.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Body;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::low_priority;

/// A body of more bytes is large. Parsing so many takes about a millisecond.
const LARGE_BODY_BYTES: u64 = 64 << 10;

/// True if a body is large, or may become so.
pub(crate) fn is_large(body: &impl Body) -> bool {
    let most = body.size_hint().upper();
    most.is_none_or(|bytes| bytes > LARGE_BODY_BYTES)
}

/// The thread, and what runs on it.
pub(crate) struct LargeRequests(Option<Runtime>);

impl LargeRequests {
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("large-requests")
            .on_thread_start(|| low_priority::lower("large requests"))
            .enable_time()
            .build()?;
        Ok(LargeRequests(Some(runtime)))
    }

    /// A request's guest, ready to be run: here until `has_begun` if its body `is_large`, and then
    /// where the result is awaited. Dropping it ends the guest.
    pub(crate) fn guest<T: Send + 'static>(
        &self,
        is_large: bool,
        has_begun: impl Fn() -> bool + Send + Unpin + 'static,
        guest: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let here = self.0.as_ref().filter(|_| is_large);
        run(
            here.map(|runtime| runtime.handle().clone()),
            has_begun,
            guest,
        )
    }
}

impl Drop for LargeRequests {
    fn drop(&mut self) {
        // Waiting for the thread is not allowed where this may be dropped.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

async fn run<T: Send + 'static>(
    here: Option<Handle>,
    has_begun: impl Fn() -> bool + Send + Unpin + 'static,
    guest: impl Future<Output = T> + Send + 'static,
) -> T {
    let Some(here) = here else { return guest.await };
    let guest = Some(Box::pin(guest));
    let mut task = EndOnDrop(here.spawn(UntilBegun { guest, has_begun }));
    match (&mut task.0).await {
        Ok(Left::Ended(result)) => result,
        Ok(Left::Begun(guest)) => guest.await,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shut down: the process ends.
            Err(_) => std::future::pending().await,
        },
    }
}

struct EndOnDrop<T>(JoinHandle<T>);

impl<T> Drop for EndOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a guest to its end, or to where it `has_begun`.
struct UntilBegun<F, B> {
    /// Absent after the end.
    guest: Option<Pin<Box<F>>>,
    has_begun: B,
}

/// The way a guest left the thread.
enum Left<F: Future> {
    Ended(F::Output),
    Begun(Pin<Box<F>>),
}

impl<F: Future, B: Fn() -> bool + Unpin> Future for UntilBegun<F, B> {
    type Output = Left<F>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Left<F>> {
        let this = &mut *self;
        let Some(guest) = &mut this.guest else {
            return Poll::Pending;
        };
        if let Poll::Ready(result) = guest.as_mut().poll(context) {
            this.guest = None;
            return Poll::Ready(Left::Ended(result));
        }
        if !(this.has_begun)() {
            return Poll::Pending;
        }
        // Who awaits it polls it at once, so no wake-up is lost.
        this.guest
            .take()
            .map_or(Poll::Pending, |guest| Poll::Ready(Left::Begun(guest)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::sync::{Arc, Mutex};

    use http_body_util::Full;
    use hyper::body::Bytes;
    use tokio::sync::oneshot;

    use super::*;

    const THREAD: &str = "large-requests";

    fn thread() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    fn body(bytes: u64) -> Full<Bytes> {
        Full::new(Bytes::from(vec![0; usize::try_from(bytes).unwrap()]))
    }

    #[tokio::test]
    async fn only_large_bodies_are_read_there() {
        let requests = LargeRequests::start().unwrap();
        for (bytes, there) in [(LARGE_BODY_BYTES, false), (LARGE_BODY_BYTES + 1, true)] {
            let name = requests.guest(is_large(&body(bytes)), || false, async { thread() });
            assert_eq!(name.await == THREAD, there, "{bytes}");
        }
    }

    #[tokio::test]
    async fn a_guest_moves_once_its_generation_has_begun() {
        let requests = LargeRequests::start().unwrap();
        let begun = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let guest = {
            let (begun, seen) = (Arc::clone(&begun), Arc::clone(&seen));
            async move {
                for step in 0..3 {
                    seen.lock().unwrap().push(thread() == THREAD);
                    begun.store(step == 1, SeqCst);
                    tokio::task::yield_now().await;
                }
            }
        };
        let has_begun = move || begun.load(SeqCst);
        requests.guest(true, has_begun, guest).await;
        assert_eq!(*seen.lock().unwrap(), [true, true, false]);
    }

    #[tokio::test]
    async fn a_guest_ends_with_who_awaits_it() {
        let requests = LargeRequests::start().unwrap();
        let (held, dropped) = oneshot::channel::<()>();
        let (runs, is_running) = oneshot::channel();
        let guest = async move {
            let _held = held;
            let _ = runs.send(());
            std::future::pending::<()>().await;
        };
        let guest = requests.guest(true, || false, guest);
        let task = tokio::spawn(guest);
        is_running.await.unwrap();
        task.abort();
        assert!(
            dropped.await.is_err(),
            "the guest is gone, and what it held"
        );
    }
}
