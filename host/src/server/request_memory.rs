//! Memory for the instances that answer requests: promised before it is used, so that a memory limit is never met by
//! surprise. An instance holds its request's body, the values parsed from it, and little else.

use std::sync::Arc;

use hyper::Request;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::wasm_config::INSTANCE_MEMORY_BYTES;

/// What an instance takes whatever it is asked, its share of hyper's and wasmtime's memory included.
pub const INSTANCE_BASE_BYTES: usize = 1 << 20;

/// Bytes an instance may take for each byte of a body: the body itself, text and values parsed from it, the prompt.
const BYTES_PER_BODY_BYTE: u64 = 6;

/// A semaphore counts in `u32`; 64 KiB each reaches 256 TiB.
const UNIT_BYTES: usize = 64 << 10;

/// A budget that requests share.
#[derive(Clone)]
pub(super) struct RequestMemory(Arc<Semaphore>);

/// What a request was promised, until it ends.
pub(super) type Promise = OwnedSemaphorePermit;

impl RequestMemory {
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT_BYTES as u64).unwrap_or(usize::MAX);
        RequestMemory(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// Room for a request with this body; `None` where there is none now.
    pub(super) fn promise<B: Body>(
        &self,
        request: &Request<B>,
        longest_body: u32,
    ) -> Option<Promise> {
        // Without a declared length it may become as long as any.
        let hint = request.body().size_hint();
        let body = hint.exact().unwrap_or(longest_body.into());
        let units = u32::try_from(needed_bytes(body.min(longest_body.into())).div_ceil(UNIT_BYTES));
        Arc::clone(&self.0).try_acquire_many_owned(units.ok()?).ok()
    }
}

fn needed_bytes(body: u64) -> usize {
    let values = usize::try_from(body * BYTES_PER_BODY_BYTE).unwrap_or(usize::MAX);
    INSTANCE_BASE_BYTES
        .saturating_add(values)
        .min(INSTANCE_MEMORY_BYTES)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::Full;
    use hyper::body::{Bytes, Frame};

    use super::*;

    const LONGEST: u32 = 4 << 20;

    fn with_body(bytes: usize) -> Request<Full<Bytes>> {
        Request::new(Full::new(Bytes::from(vec![0; bytes])))
    }

    #[test]
    fn promises_are_kept_within_the_budget_and_given_back() {
        let memory = RequestMemory::new(3 * INSTANCE_BASE_BYTES as u64);
        let promises: Vec<_> = (0..3)
            .map(|_| memory.promise(&with_body(0), LONGEST))
            .collect();
        assert!(promises.iter().all(Option::is_some));
        assert!(memory.promise(&with_body(0), LONGEST).is_none());
        drop(promises);
        assert!(memory.promise(&with_body(100_000), LONGEST).is_some());
        assert!(memory.promise(&with_body(1_000_000), LONGEST).is_none());
    }

    /// A chunked body, which says nothing about its length.
    struct Unknown;

    impl Body for Unknown {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(None)
        }
    }

    #[test]
    fn a_body_of_unknown_length_is_taken_for_a_long_one() {
        let memory = RequestMemory::new(needed_bytes(LONGEST.into()) as u64);
        let promise = memory.promise(&Request::new(Unknown), LONGEST);
        assert!(promise.is_some() && memory.promise(&with_body(0), LONGEST).is_none());
    }
}
